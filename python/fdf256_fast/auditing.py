"""One audit of the core, run and shown, and what it found in words."""

from __future__ import annotations

import errno
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fdf256_fast.errors import StorageError
from fdf256_fast.progress import ArchiveProgress, Progress, Snapshot
from fdf256_fast.verification import Damaged
from fdf256_fast.watch import in_job, showing

if TYPE_CHECKING:
    from pathlib import Path

    from fdf256_fast._core import Audit, Job

__all__ = ["Course", "audited", "check_folder", "told"]


def check_folder(folder: Path) -> None:
    """Raises StorageError when there is no such folder."""
    if not folder.is_dir():
        number = errno.ENOTDIR if os.path.lexists(folder) else errno.ENOENT
        raise StorageError(
            f"cannot verify {folder}: {os.strerror(number)}",
            errno=number,
            filename=str(folder),
            hint="Give the folder that the dataset, or the files, are in.",
        )


@dataclass(frozen=True, slots=True)
class Course:
    """How one audit runs: what it is called, how many bytes it will read if that is known."""

    title: str
    workers: int
    is_quick: bool = False
    size: int | None = None
    is_closed: bool = True
    finds_extra: bool = False


async def audited(audit: Audit, job: Job, progress: Progress, course: Course) -> float:
    """Run ``audit``, and show how it goes; returns the seconds.  Raises StorageError."""
    started = time.monotonic()
    is_over = False

    def snapshot() -> Snapshot:
        files, read, _ = audit.status()
        seconds = time.monotonic() - started
        state = "done" if is_over else "receiving"
        size = 0 if course.is_quick else course.size
        shown = ArchiveProgress(course.title, size, read, 0, read, audit.files, files, state)
        return Snapshot((shown,), seconds, read / max(seconds, 0.001))

    def run() -> None:
        audit.run(
            job,
            course.workers,
            is_quick=course.is_quick,
            is_closed=course.is_closed,
            finds_extra=course.finds_extra,
        )

    progress.started(course.title)
    try:
        with showing(progress, snapshot):
            await in_job(job, run)
            is_over = True
    finally:
        progress.finished()
    return time.monotonic() - started


def told(audit: Audit) -> tuple[tuple[str, ...], tuple[Damaged, ...]]:
    """Missing and damaged files of an audit that has run."""
    missing, damaged = [], []
    for path, kind, expected, found in audit.faults():
        if kind == "missing":
            missing.append(path)
        else:
            computed = found if kind == "digest" else ""
            damaged.append(Damaged(path, _reason(kind, expected, found), expected, computed))
    for path, number in audit.closed():
        why = os.strerror(number)
        damaged.append(Damaged(path or ".", f"the folder cannot be looked into: {why}"))
    return tuple(missing), tuple(damaged)


def _reason(kind: str, expected: str, found: str) -> str:
    reasons = {
        "digest": "its bytes are not what they were",
        "size": f"it has {found} bytes, not {expected}",
        "empty": "it has no bytes",
        "kind": f"it is {found}, not a file",
        "link": "a folder above it is a symbolic link, which is not followed",
    }
    if kind in reasons:
        return reasons[kind]
    if found == "0":
        return "it became shorter while it was read"
    return f"it cannot be read: {os.strerror(int(found))}"
