"""The record of the files' sizes, which an installation writes at its end."""

from __future__ import annotations

import asyncio
import hashlib
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from fdf256_fast._core import Job
from fdf256_fast.durable import replacing
from fdf256_fast.errors import StorageError
from fdf256_fast.sizes import read_sizes, record_sizes
from fdf256_fast.workspace import Workspace

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
from fdf256_fast.sizes import record_sizes
from fdf256_fast.workspace import Workspace

before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
record_sizes(Workspace.of(Path(sys.argv[1])), Job())
print(1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before))
"""


def installed(target: Path, lines: int) -> Workspace:
    """A target whose manifest has so many lines, all of them about one file."""
    workspace = Workspace.of(target)
    workspace.home.mkdir(parents=True)
    (target / "one").write_bytes(b"1")
    line = f"{hashlib.sha256(b'1').hexdigest()}  one\n"
    with workspace.manifest.open("w") as file:
        file.writelines(line for _ in range(lines))
    return workspace


def test_sizes_of_very_many_files_are_recorded_without_keeping_them(tmp_path: Path) -> None:
    workspace = installed(tmp_path, LINES)
    command = [sys.executable, "-c", PEAK, str(tmp_path)]
    grown = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert int(grown) < MOST_BYTES
    assert read_sizes(workspace, workspace.manifest.read_bytes()) == b"1  one\n" * LINES


def test_sizes_that_cannot_be_told_leave_the_old_ones(tmp_path: Path) -> None:
    workspace = installed(tmp_path, 2)
    record_sizes(workspace, Job())
    before = workspace.sizes.read_bytes()
    job = Job()
    job.cancel()
    with pytest.raises(asyncio.CancelledError):
        record_sizes(workspace, job)
    workspace.manifest.unlink()
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
