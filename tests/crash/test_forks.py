"""Processes that come from one that has the package imported and used: fork, forkserver, spawn."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.crash.kills import contents
from tests.crash.scenarios import Size, make_version
from tests.crash.served import ROOT, served

if TYPE_CHECKING:
    from pathlib import Path

PROGRAM = """
import multiprocessing, sys, threading, time
from pathlib import Path
import fdf256_fast

def install(catalog, folder):
    fdf256_fast.install_sync(folder, catalog=catalog)

def fetch(url, path):
    fdf256_fast.fetch_sync(url, path)

def threads():
    # The system lists a thread that was joined for a moment more.
    until = time.monotonic() + 2.0
    while (count := len(list(Path("/proc/self/task").iterdir()))) > 1 and time.monotonic() < until:
        time.sleep(0.01)
    return count

def main(method, catalog, url, folder):
    install(catalog, folder / "parent")
    fetch(url, folder / "parent.bin")
    # Python 3.12 warns of a fork with more than one thread, and is right to do so.
    assert threads() == 1, threads()
    context = multiprocessing.get_context(method)
    if BESIDE:
        beside = threading.Thread(target=install, args=(catalog, folder / "beside"))
        beside.start()
    children = [context.Process(target=install, args=(catalog, folder / f"install{i}")) for i in range(3)]
    children += [context.Process(target=fetch, args=(url, folder / f"fetch{i}.bin")) for i in range(3)]
    for child in children:
        child.start()
    for child in children:
        child.join(60)
        assert child.exitcode == 0, child
    if BESIDE:
        beside.join()
    install(catalog, folder / "after")

if __name__ == "__main__":
    method, catalog, url, folder = sys.argv[1:]
    main(method, Path(catalog), url, Path(folder))
"""


@pytest.mark.parametrize(
    ("method", "beside"),
    [("fork", False), ("fork", True), ("forkserver", False), ("spawn", False)],
    ids=["fork", "fork beside an installation", "forkserver", "spawn"],
)
def test_children_of_a_process_that_used_the_package_can_use_it(
    method: str, beside: bool, tmp_path: Path
) -> None:
    version = make_version(tmp_path / "served", Size(archives=2, members=30), 1)
    single = version.archives[0]
    out = tmp_path / "out"
    out.mkdir()
    program = tmp_path / "program.py"
    program.write_text(PROGRAM.replace("BESIDE", repr(beside)), "utf-8")
    # The warning that Python 3.12 has for it is what the caller asked for with a thread of its own.
    warnings = "ignore::DeprecationWarning" if beside else "error"
    with served(version.folder) as url:
        ended = subprocess.run(
            (
                *(sys.executable, "-W", warnings, program, method),
                *(version.catalog(url), f"{url}/{single.name}", out),
            ),
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr == ""
    installed = ["parent", "after", *(f"install{number}" for number in range(3)), *["beside"] * beside]
    for name in installed:
        assert contents(out / name) == version.contents
    for name in ["parent", *(f"fetch{number}" for number in range(3))]:
        assert (out / f"{name}.bin").read_bytes() == single.read_bytes()
