"""One audit of the core, run and shown, and what it found in words."""

from __future__ import annotations

import errno
import os
import time
from typing import TYPE_CHECKING, NamedTuple

from fdf256_fast.errors import StorageError

if TYPE_CHECKING:
    from pathlib import Path

    from fdf256_fast._core import Audit, Job
    from fdf256_fast.progress import Progress, Snapshot
    from fdf256_fast.verification import Damaged

__all__ = ["Course", "Look", "audited", "check_folder", "told"]


def check_folder(folder: Path) -> None:
    """Raises StorageError when there is no such folder."""
    if not folder.is_dir():
        number = errno.ENOTDIR if os.path.lexists(folder) else errno.ENOENT
        raise StorageError(
            f"cannot look into {folder}: {os.strerror(number)}",
            errno=number,
            filename=str(folder),
            hint="Give the folder that the dataset, or the files, are in.",
        )


class Course(NamedTuple):
    """How one audit runs: what it is called, how many bytes it will read if that is known."""

    title: str
    workers: int
    is_quick: bool = False
    size: int | None = None
    is_closed: bool = True
    finds_extra: bool = False


class Look:
    """One audit on its way; ``run`` works in one thread, ``snapshot`` tells in any how far it is."""

    def __init__(self, audit: Audit, job: Job, course: Course) -> None:
        self._audit = audit
        self._job = job
        self._course = course
        self._started = time.monotonic()
        self._is_over = False

    def run(self) -> float:
        """Returns the seconds it took.  Raises StorageError."""
        course = self._course
        self._audit.run(
            self._job,
            course.workers,
            is_quick=course.is_quick,
            is_closed=course.is_closed,
            finds_extra=course.finds_extra,
        )
        self._is_over = True
        return time.monotonic() - self._started

    def snapshot(self) -> Snapshot:
        """Where it stands."""
        from fdf256_fast.progress import ArchiveProgress, Snapshot  # noqa: PLC0415 - for who is shown it

        files, read, _ = self._audit.status()
        seconds = time.monotonic() - self._started
        state = "done" if self._is_over else "receiving"
        size = 0 if self._course.is_quick else self._course.size
        shown = ArchiveProgress(self._course.title, size, read, 0, read, self._audit.files, files, state)
        return Snapshot((shown,), seconds, read / max(seconds, 0.001))


async def audited(audit: Audit, job: Job, progress: Progress, course: Course) -> float:
    """Run ``audit``, and show how it goes; returns the seconds.  Raises StorageError."""
    from fdf256_fast.watch import in_job, showing  # noqa: PLC0415 - the command does without asyncio

    look = Look(audit, job, course)
    progress.started(course.title)
    try:
        with showing(progress, look.snapshot):
            return await in_job(job, look.run)
    finally:
        progress.finished()


def told(audit: Audit) -> tuple[tuple[str, ...], tuple[Damaged, ...]]:
    """Missing and damaged files of an audit that has run."""
    from fdf256_fast.verification import Damaged  # noqa: PLC0415 - imported beside the audit

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
