"""Few files or threads, closed or full outputs, no home, odd names: a clear end, never a traceback."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from fdf256_fast import Limits
from tests.crash.kills import check_sums, contents, unpacked
from tests.crash.scenarios import Size, Version, make_version
from tests.crash.served import served
from tests.integration.oracles import bytes_of
from tests.metadata.files import tree_at

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FILES = 200


@dataclass(frozen=True, slots=True)
class World:
    """A dataset of many folders, many single files, and where they are served."""

    version: Version
    catalog: Path
    url: str


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("world")
    version = make_version(folder / "served", Size(archives=3, members=10), 1)
    folders, names = version.folder / "folders.zip", version.folder / "names.zip"
    with zipfile.ZipFile(folders, "w") as archive:
        for index in range(1500):
            archive.writestr(f"d{index % 150}/e{index % 7}/{index}.txt", bytes_of(index))
    with zipfile.ZipFile(names, "w") as archive:
        archive.writestr("Größe/日本.txt", b"not ASCII")
    version.archives.extend([folders, names])
    for index in range(FILES):
        (version.folder / f"{index}.bin").write_bytes(bytes_of(20_000, index))
    with served(version.folder) as url:
        yield World(version, version.catalog(url), url)


def run(
    *arguments: str | Path,
    before: str = "",
    redirections: str = "",
    environment: dict[str, str] | None = None,
    cwd: Path | None = None,
) -> subprocess.CompletedProcess[str]:
    """The command by way of a shell, which can close what subprocess cannot; stderr has no traceback."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("FDF256_")}
    ended = subprocess.run(
        (
            *("bash", "-c", f'{before} exec "$@" {redirections}', "bash"),
            *(sys.executable, "-m", "fdf256_fast", *map(str, arguments)),
        ),
        env=own if environment is None else environment,
        cwd=cwd,
        capture_output=True,
        stdin=subprocess.DEVNULL,
        text=True,
        errors="backslashreplace",
        timeout=60,
        check=False,
    )
    assert "Traceback" not in ended.stderr, ended.stderr
    assert "panicked" not in ended.stderr, ended.stderr
    return ended


def check(world: World, target: Path) -> None:
    wanted = unpacked(world.version.archives)
    assert contents(target) == wanted
    check_sums(target, wanted)


# ---- few files, few threads, little memory -----------------------------------------------------------


@pytest.mark.parametrize("options", [(), ("--keep-archives", "--connections", "64", "--workers", "8")])
def test_64_open_files_are_enough_for_a_dataset(
    options: tuple[str, ...], world: World, tmp_path: Path
) -> None:
    target = tmp_path / "target"
    arguments: list[str | Path] = ["download", target, "--catalog", world.catalog, *options]
    ended = run(*arguments, "--progress", "plain", before="ulimit -n 64;")
    assert ended.returncode == 0, ended.stderr
    assert "this process may have few files open" in ended.stderr
    check(world, target)


def test_64_open_files_are_enough_for_200_files(world: World, tmp_path: Path) -> None:
    urls = [f"{world.url}/{index}.bin" for index in range(FILES)]
    ended = run("fetch", *urls, "-d", tmp_path / "out", "--progress", "none", before="ulimit -n 64;")
    assert ended.returncode == 0, ended.stderr
    wanted = {f"{index}.bin": bytes_of(20_000, index) for index in range(FILES)}
    assert contents(tmp_path / "out") == wanted


def test_with_files_enough_all_connections_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (4096, 4096))
    limits = Limits(connections=16, workers=2)
    assert limits.within_open_files(archives=5) is limits
    monkeypatch.setattr(resource, "getrlimit", lambda _: (8, 8))
    assert limits.within_open_files(archives=5).connections == 1


STACK_BYTES = 1 << 47
"""More than there are addresses: no thread with such a stack can be started."""


@pytest.mark.parametrize(
    ("program", "variables"),
    [
        (f"import threading; threading.stack_size({STACK_BYTES});", {}),
        ("", {"RUST_MIN_STACK": str(STACK_BYTES)}),
    ],
    ids=["of Python", "of the core"],
)
def test_without_threads_a_run_says_so(
    program: str, variables: dict[str, str], world: World, tmp_path: Path
) -> None:
    target = tmp_path / "target"
    program += "import sys; from fdf256_fast.status import run; run(sys.argv[1:])"
    arguments = ("download", str(target), "--catalog", str(world.catalog), "--progress", "none")
    ended = subprocess.run(
        (sys.executable, "-c", program, *arguments),
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 1, ended
    assert "cannot start a thread" in ended.stderr
    assert "Traceback" not in ended.stderr, ended.stderr
    assert "panicked" not in ended.stderr, ended.stderr
    assert contents(target) == {}


# ---- standard streams ------------------------------------------------------------------------------


@pytest.mark.parametrize("redirections", [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize("options", [("--json",), ("--progress", "plain"), ("--progress", "rich")])
def test_closed_streams_do_not_stop_a_run(
    redirections: str, options: tuple[str, ...], world: World, tmp_path: Path
) -> None:
    target = tmp_path / "target"
    ended = run("download", target, "--catalog", world.catalog, *options, redirections=redirections)
    assert ended.returncode == 0, ended.stderr
    check(world, target)


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (("fetch", "--input-file", "-"), 5),
        (("fetch", "http://127.0.0.1:9/a.bin", "--sums", "-"), 5),
        (("verify", "--sums", "-"), 5),
        (("download", "target", "--ids", "-"), 2),
        (("forget", "target", "--ids", "-"), 2),
        (("credits", "data", "--ids", "-"), 2),
    ],
)
def test_a_closed_input_is_told(arguments: tuple[str, ...], status: int, tmp_path: Path) -> None:
    ended = run(*arguments, redirections="<&-", cwd=tmp_path)
    assert (ended.returncode, "closed" in ended.stderr) == (status, True), ended.stderr
    assert contents(tmp_path) == {}


def test_a_closed_output_for_credits_is_told(tmp_path: Path) -> None:
    tree = tree_at(tmp_path / "data")
    ended = run("credits", tree.root, redirections=">&-")
    assert (ended.returncode, "closed" in ended.stderr) == (5, True), ended.stderr
    assert run("credits", tree.root, "-o", tmp_path / "file", redirections=">&-").returncode == 0


def test_a_full_output_is_told_with_status_5_after_the_work_is_done(world: World, tmp_path: Path) -> None:
    target = tmp_path / "target"
    arguments = ("download", target, "--catalog", world.catalog, "--json", "--progress", "none")
    ended = run(*arguments, redirections="> /dev/full")
    assert ended.returncode == 5
    assert "No space left" in ended.stderr
    check(world, target)
    ended = run(*arguments, redirections="2> /dev/full")
    assert ended.returncode == 0


@pytest.mark.parametrize("pipe", ["> >(true)", "2> >(true)"])
def test_a_reader_that_has_gone_does_no_harm(pipe: str, world: World, tmp_path: Path) -> None:
    target = tmp_path / "target"
    ended = run("download", target, "--catalog", world.catalog, "-vv", redirections=pipe)
    assert ended.returncode in {0, 1}
    check(world, target)


# ---- environment and names -------------------------------------------------------------------------


def test_an_empty_environment_is_enough(world: World, tmp_path: Path) -> None:
    target = tmp_path / "target"
    ended = run("download", target, "--catalog", world.catalog, environment={"NO_PROXY": "127.0.0.1"})
    assert ended.returncode == 0, ended.stderr
    check(world, target)


def test_home_and_temporary_folder_need_not_be_there(world: World, tmp_path: Path) -> None:
    nowhere = {"HOME": "/nonexistent", "TMPDIR": "/nonexistent", "NO_PROXY": "127.0.0.1"}
    target = tmp_path / "target"
    arguments = ("download", target, "--catalog", world.catalog)
    assert run(*arguments, "--dry-run", environment=nowhere).returncode == 0
    assert run(*arguments, environment=nowhere).returncode == 0
    check(world, target)


@pytest.mark.parametrize("name", ["zażółć", os.fsdecode(b"x\xff\xfey")], ids=["text", "bytes"])
def test_a_locale_without_these_letters_changes_nothing(name: str, world: World, tmp_path: Path) -> None:
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "NO_PROXY": "127.0.0.1"}
    target = tmp_path / name
    arguments = ("download", target, "--catalog", world.catalog)
    assert run(*arguments, environment=plain).returncode == 0
    check(world, target)
    # What is there already is recognised, with and without that locale.
    for environment in (plain, None):
        again = run(*arguments, "--json", environment=environment)
        assert json.loads(again.stdout)["already_installed"], again.stderr
    url = f"{world.url}/names.zip"
    assert run("fetch", url, "-o", target / "größe", environment=plain).returncode == 0
    assert (target / "größe").read_bytes() == world.version.archives[-1].read_bytes()


@pytest.mark.parametrize("options", [("--json",), ("--progress", "plain"), ("--progress", "rich")])
def test_an_archive_whose_name_is_no_text_is_unpacked(options: tuple[str, ...], tmp_path: Path) -> None:
    archive = tmp_path / os.fsdecode(b"x\xffy.zip")
    with zipfile.ZipFile(archive, "w") as made:
        made.writestr("a.txt", b"a")
    ended = run("extract", archive, "-d", tmp_path / "out", *options)
    assert ended.returncode == 0, ended.stderr
    assert contents(tmp_path / "out") == {"a.txt": b"a"}
    (tmp_path / "out/a.txt").unlink()
    archive.write_bytes(archive.read_bytes()[:40])
    ended = run("extract", archive, "-d", tmp_path / "out", *options)
    assert (ended.returncode, "x\N{REPLACEMENT CHARACTER}y.zip" in ended.stderr) == (3, True), ended.stderr


@pytest.mark.parametrize("target", ["file/x", "link/x"])
def test_a_demo_that_cannot_write_its_target_says_so(target: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"1")
    (tmp_path / "link").symlink_to("link")
    ended = run("demo", tmp_path / target, "--images", "4", "--json")
    assert ended.returncode == 5, ended.stderr
    assert target in json.loads(ended.stdout)["error"]


def test_a_demo_without_room_says_which_file_also_as_json(tmp_path: Path) -> None:
    own = {**os.environ, "TMPDIR": str(tmp_path / "temporary")}
    (tmp_path / "temporary").mkdir()
    ended = run("demo", "--images", "4", "--json", before="ulimit -f 20;", environment=own)
    assert ended.returncode == 5, ended.stderr
    assert str(tmp_path / "temporary") in json.loads(ended.stdout)["error"]
    assert list((tmp_path / "temporary").iterdir()) == []


def test_an_error_of_the_system_that_nobody_expected_is_told_as_json_too() -> None:
    code = (
        "import sys; from fdf256_fast.status import _status_of\n"
        "def call(): raise OSError(28, 'No space left on device', 'some/file')\n"
        "sys.exit(_status_of(call, wants_json=True))"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.returncode == 5
    assert "some/file" in json.loads(ended.stdout)["error"]
    assert "some/file" in ended.stderr


@pytest.mark.parametrize("has_target", [False, True])
def test_a_demo_that_is_cut_short_says_what_is_left(has_target: bool, tmp_path: Path) -> None:
    temporary, target = tmp_path / "temporary", tmp_path / "target"
    temporary.mkdir()
    with subprocess.Popen(
        [sys.executable, "-m", "fdf256_fast", "demo", *([str(target)] if has_target else [])],
        env={**os.environ, "TMPDIR": str(temporary)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        for line in process.stdout:
            if line.startswith("Serving"):
                process.send_signal(signal.SIGTERM)
        told = process.stderr.read()
    assert process.returncode == 130
    left = f"What it had made so far is in {target}." if has_target else "Nothing of it is left."
    assert f"Interrupted. The demo cannot be continued. {left}" in told
    assert list(temporary.iterdir()) == []


def test_a_working_folder_that_is_gone_is_told(world: World, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    arguments: list[tuple[str | Path, ...]] = [
        ("fetch", f"{world.url}/1.bin"),
        ("fetch", f"{world.url}/names.zip", "--extract"),
        ("download", "--catalog", world.catalog),
    ]
    for each in arguments:
        gone.mkdir()
        ended = run(*each, before=f"rmdir '{gone}';", cwd=gone)
        assert ended.returncode == 5
        assert "No such file or directory" in ended.stderr
    gone.mkdir()
    target = tmp_path / "target"
    ended = run(*arguments[-1], target, before=f"rmdir '{gone}';", cwd=gone)
    assert ended.returncode == 0, ended.stderr
    check(world, target)


# ---- development mode ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["download", "fetch", "fetch --extract", "demo"])
def test_pythons_development_mode_has_nothing_to_say(name: str, world: World, tmp_path: Path) -> None:
    target = tmp_path / "target"
    arguments: dict[str, tuple[str | Path, ...]] = {
        "download": ("download", target, "--catalog", world.catalog),
        "fetch": ("fetch", f"{world.url}/1.bin", f"{world.url}/2.bin", "-d", target),
        "fetch --extract": ("fetch", f"{world.url}/folders.zip", "--extract", "-d", target),
        "demo": ("demo", target, "--images", "40"),
    }
    # A callback that took long is told of as well; on a busy machine that is nobody's fault, and whether
    # something blocks is what blockbuster watches in all the other tests.
    program = (
        "import asyncio.base_events, sys\n"
        "patient = property(lambda _: 60.0, lambda *_: None)\n"
        "asyncio.BaseEventLoop.slow_callback_duration = patient\n"
        "from fdf256_fast.status import run; run(sys.argv[1:])"
    )
    ended = subprocess.run(
        (
            *(sys.executable, "-X", "dev", "-W", "error", "-c", program),
            *(*map(str, arguments[name]), "--progress", "none"),
        ),
        env={**os.environ, "PYTHONASYNCIODEBUG": "1"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr == ""


def test_the_debug_mode_of_asyncio_is_really_on(tmp_path: Path) -> None:
    """Or the test before this one would see nothing."""
    program = "import asyncio\nasync def main(): return asyncio.get_running_loop().get_debug()\n"
    program += "print(asyncio.run(main()))"
    own: dict[str, Any] = {**os.environ, "PYTHONASYNCIODEBUG": "1"}
    ended = subprocess.run(
        (sys.executable, "-c", program), env=own, capture_output=True, text=True, check=True
    )
    assert ended.stdout.strip() == "True"
