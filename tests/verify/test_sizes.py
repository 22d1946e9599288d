"""The record of the files' sizes, which an installation writes at its end."""

from __future__ import annotations

import asyncio
import hashlib
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import fdf256_fast as fdf
from fdf256_fast._core import Job
from fdf256_fast.durable import replacing
from fdf256_fast.errors import StorageError
from fdf256_fast.repair import repair
from fdf256_fast.sizes import read_sizes, record_sizes
from fdf256_fast.workspace import Workspace
from tests.verify.sets import make_set

if TYPE_CHECKING:
    from pathlib import Path

LINES = 300_000
"""A manifest of some 27 MB."""

MOST_BYTES = 8 << 20
"""Some blocks of a megabyte; with 26 bytes a line it would be more."""

PEAK = """
import resource, sys
from pathlib import Path
from fdf256_fast._core import Job
from fdf256_fast.repair import repair
from fdf256_fast.sizes import record_sizes
from fdf256_fast.workspace import Workspace
from tests.verify.sets import make_set

before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
record_sizes(Workspace.of(Path(sys.argv[1])), Job())
print(1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before))
"""


def installed(target: Path, lines: int) -> Workspace:
    """A target whose manifest is to have so many lines, all of them about one file."""
    workspace = Workspace.of(target)
    workspace.home.mkdir(parents=True)
    (target / "one").write_bytes(b"1")
    line = f"{hashlib.sha256(b'1').hexdigest()}  one\n"
    with workspace.next_manifest.open("w") as file:
        file.writelines(line for _ in range(lines))
    return workspace


def test_sizes_of_very_many_files_are_recorded_without_keeping_them(tmp_path: Path) -> None:
    workspace = installed(tmp_path, LINES)
    command = [sys.executable, "-c", PEAK, str(tmp_path)]
    grown = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert int(grown) < MOST_BYTES
    assert read_sizes(workspace, workspace.next_manifest.read_bytes()) == b"1  one\n" * LINES


def test_sizes_that_cannot_be_told_leave_the_old_ones(tmp_path: Path) -> None:
    workspace = installed(tmp_path, 2)
    record_sizes(workspace, Job())
    before = workspace.sizes.read_bytes()
    with workspace.next_manifest.open("a") as file:
        file.write(f"{hashlib.sha256(b'2').hexdigest()}  two\n")
    job = Job()
    job.cancel()
    with pytest.raises(asyncio.CancelledError):
        record_sizes(workspace, job)
    workspace.next_manifest.unlink()
    with pytest.raises(StorageError):
        record_sizes(workspace, Job())
    assert workspace.sizes.read_bytes() == before
    assert not list(workspace.home.glob("*.new"))


def test_a_file_is_replaced_as_a_whole_or_stays(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"before")
    with pytest.raises(TypeError), replacing(path) as file:
        file.writelines([b"half", "no bytes"])  # type: ignore[list-item]
    assert path.read_bytes() == b"before"
    with replacing(path) as file:
        file.writelines([b"af", b"ter"])
    assert path.read_bytes() == b"after"
    assert list(tmp_path.iterdir()) == [path]


async def quick(target: Path) -> tuple[str, list[str]]:
    found = await fdf.verify_async(target, quick=True)
    return found.checked, [one.path for one in found.damaged]


async def test_a_file_that_is_cut_short_is_not_taken_for_sound_after_other_files_came(tmp_path: Path) -> None:
    catalog, target, path = make_set(tmp_path / "m"), tmp_path / "target", "val/images/2.png"
    await fdf.install(target, catalog=catalog, splits={"val"})
    (target / path).write_bytes(b"short")
    assert await quick(target) == ("size", [path])
    await fdf.install(target, catalog=catalog, splits={"train"})
    assert await quick(target) == ("size", [path])
    (target / "train/images/1.png").write_bytes(b"short as well")
    await repair(target, ["train/images/1.png"], catalog)
    assert await quick(target) == ("size", [path])
    await repair(target, [path], catalog)
    assert await quick(target) == ("size", [])


async def test_sizes_that_nobody_wrote_down_are_not_made_up(tmp_path: Path) -> None:
    catalog, target, path = make_set(tmp_path / "m"), tmp_path / "target", "val/images/2.png"
    await fdf.install(target, catalog=catalog, splits={"val"})
    (target / ".fdf256/SIZES").unlink()
    (target / path).write_bytes(b"short")
    await fdf.install(target, catalog=catalog, splits={"train"})
    assert await quick(target) == ("presence", [])
    assert [one.path for one in (await fdf.verify_async(target)).damaged] == [path]
    await repair(target, [path], catalog)
    assert (await fdf.verify_async(target)).ok
    assert await quick(target) == ("size", [])


async def test_a_run_that_ended_after_it_wrote_the_sizes_is_finished_with_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog, target, path = make_set(tmp_path / "m"), tmp_path / "target", "val/images/2.png"
    await fdf.install(target, catalog=catalog, splits={"val"})
    (target / path).write_bytes(b"short")

    def ended(workspace: Workspace, job: Job) -> None:
        record_sizes(workspace, job)
        raise OSError("dead")

    with monkeypatch.context() as patch:
        patch.setattr("fdf256_fast.finishing.record_sizes", ended)
        with pytest.raises(StorageError, match="dead"):
            await fdf.install(target, catalog=catalog, splits={"train"})
    await fdf.install(target, catalog=catalog, splits={"train"})
    assert await quick(target) == ("size", [path])
