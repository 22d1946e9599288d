"""Room on the disk: what a run will take, what there is, and what to say when it is not enough."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fdf256_fast.durable import FULL, storage_error
from fdf256_fast.errors import StorageError
from fdf256_fast.units import format_bytes

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Need", "check_space", "explain_full", "used_bytes"]

HINT = "Make space and run the same command again; what was verified is kept."


@dataclass(frozen=True, slots=True)
class Need:
    """What is still to be written: bytes, and files."""

    bytes: int
    files: int = 1


def check_space(folder: Path, need: Need, goal: Path) -> None:
    """Refuse when the disk of ``folder`` cannot hold what is needed for ``goal``.  Raises StorageError."""
    try:
        disk = os.statvfs(folder)
    except OSError as error:
        raise storage_error("look at", error, goal) from error
    free = disk.f_bavail * disk.f_frsize
    if need.bytes > free:
        raise StorageError(
            f"{goal}: {format_bytes(need.bytes)} of disk space are needed, "
            f"{format_bytes(free)} are free: {format_bytes(need.bytes - free)} are missing",
            errno=errno.ENOSPC,
            filename=str(goal),
            hint=HINT,
        )
    # Some file systems have no fixed number of files, and say so with 0 in all.
    if disk.f_files and need.files > disk.f_favail:
        raise StorageError(
            f"{goal}: {need.files} files are to be made, and the disk has room for {disk.f_favail} more "
            "(it is out of inodes)",
            errno=errno.ENOSPC,
            filename=str(goal),
            hint=HINT,
        )


def explain_full(error: BaseException, folder: Path, need: Callable[[], Need]) -> None:
    """Add to an error of a full disk how much is missing, and that nothing verified is lost."""
    if not isinstance(error, StorageError) or error.errno not in FULL or error.hint:
        return
    error.hint = HINT
    with contextlib.suppress(OSError):
        disk = os.statvfs(folder)
        if disk.f_files and disk.f_favail == 0:
            error.hint = f"The disk has no room for another file (it is out of inodes). {HINT}"
            return
        free, needed = disk.f_bavail * disk.f_frsize, need().bytes
        error.hint = (
            f"About {format_bytes(needed)} are still to be written, {format_bytes(free)} are free. {HINT}"
        )


def block_bytes(folder: Path) -> int:
    """The disk gives space in blocks of so many bytes.  Raises StorageError."""
    try:
        return os.statvfs(folder).f_frsize or 4096
    except OSError as error:
        raise storage_error("look at", error, folder) from error


def used_bytes(path: Path) -> int:
    """Disk space that a file, or the files in a folder, take."""
    total = 0
    try:
        status = path.lstat()
    except OSError:
        return 0
    if stat.S_ISREG(status.st_mode):
        return status.st_blocks * 512
    for root, _, files in os.walk(path):
        for name in files:
            with contextlib.suppress(OSError):
                total += (Path(root) / name).lstat().st_blocks * 512
    return total
