"""Anybody's files against a list of digests: ``verify --sums``."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from fdf256_fast._core import Audit, Job
from fdf256_fast.auditing import Course, Look, check_folder, told
from fdf256_fast.blocking import blocking
from fdf256_fast.cores import workers_of
from fdf256_fast.errors import StorageError
from fdf256_fast.sums import STANDARD_INPUT, BadLine, no_lines, read_sums

if TYPE_CHECKING:
    from fdf256_fast.limits import Limits
    from fdf256_fast.progress import Progress, Snapshot
    from fdf256_fast.verification import Verification

__all__ = ["ListCheck", "ListOrder", "verify_sums", "verify_sums_async"]

StrPath = str | os.PathLike[str]


class ListOrder(NamedTuple):
    """Which list is checked, and how; the words of :func:`verify_sums_async`."""

    sums: Path
    folder: Path
    algorithm: str | None = None
    ignore_missing: bool = False
    strict: bool = False
    limits: Limits | None = None


async def verify_sums_async(
    sums: StrPath,
    folder: StrPath = ".",
    *,
    algorithm: str | None = None,
    ignore_missing: bool = False,
    strict: bool = False,
    limits: Limits | None = None,
    progress: Progress | None = None,
) -> Verification:
    """Look whether files are what a list of digests says, on all cores.

    The list may be what ``sha256sum``, ``md5sum``, ``sha1sum``, ``sha512sum``, ``b3sum`` or ``openssl dgst``
    write, with tags or without.  As for those programs, names in it may lead anywhere, and links are
    followed; but only files are read, no devices or pipes.

    Args:
        sums: the list; ``-`` is the standard input.
        folder: where relative names begin.
        algorithm: what digests without a tag are; None to tell from the list's name and their length.
        ignore_missing: files that are not there are no failure, as long as any is.
        strict: lines that are none are a failure.
        limits: ``workers``.
        progress: receives counters about ten times a second.

    Returns:
        What was found.  Damage is no exception: look at ``ok``.

    Raises:
        IntegrityError: there is no line of a list in it, or with ``ignore_missing`` none of its files.
        StorageError: the list or the folder cannot be read.
        UsageError: an algorithm that is not known.
    """
    from fdf256_fast.progress import Progress  # noqa: PLC0415 - the command does without
    from fdf256_fast.watch import in_job, showing  # noqa: PLC0415 - and without asyncio

    order = ListOrder(Path(sums), Path(folder), algorithm, ignore_missing, strict, limits)
    check = ListCheck(order)
    progress = progress or Progress()
    progress.started(check.title)
    try:
        with showing(progress, check.snapshot):
            return await in_job(check.job, check.run)
    finally:
        progress.finished()


class ListCheck:
    """One list and its files."""

    def __init__(self, order: ListOrder) -> None:
        self.job = Job()
        self._order = order
        self._look: Look | None = None

    @property
    def title(self) -> str:
        """What is checked, for people."""
        return "standard input" if str(self._order.sums) == STANDARD_INPUT else self._order.sums.name

    def snapshot(self) -> Snapshot:
        """How far it is; to be called from any thread."""
        if self._look is not None:
            return self._look.snapshot()
        from fdf256_fast.progress import ArchiveProgress, Snapshot  # noqa: PLC0415 - for who is shown it

        return Snapshot((ArchiveProgress(self.title),), 0.0, 0.0)

    def run(self) -> Verification:
        """Check it, in this thread and the core's own.  Raises what :func:`verify_sums_async` does."""
        order = self._order
        text = read_sums(order.sums, order.algorithm, self.job)
        audit = Audit(
            order.folder,
            text.data,
            algorithm=text.algorithm,
            is_sure=text.is_sure,
            lone_name=text.lone_name,
        )
        if audit.files == 0:
            raise no_lines(text.name, [BadLine(*problem) for problem in audit.problems])
        check_folder(order.folder)
        course = Course(self.title, workers_of(order.limits), is_closed=False)
        self._look = Look(audit, self.job, course)
        seconds = self._look.run()
        missing, damaged = told(audit)
        if order.ignore_missing and len(missing) == audit.files:
            raise no_files(text.name, order.folder)
        from fdf256_fast.verification import Verification  # noqa: PLC0415 - imported beside the audit

        algorithms = audit.algorithms
        return Verification(
            str(order.folder),
            audit.files,
            audit.status()[1],
            seconds,
            algorithms[0] if len(algorithms) == 1 else "digest",
            () if order.ignore_missing else missing,
            damaged,
            bad_lines=tuple(BadLine(*problem) for problem in audit.problems),
            bad_line_count=audit.problem_count,
            ignored=len(missing) if order.ignore_missing else 0,
            is_strict=order.strict,
            is_manifest=False,
        )


verify_sums = blocking(verify_sums_async, __name__, "verify_sums")
"""Like :func:`verify_sums_async`, but returns when it is done."""


def no_files(name: str, folder: Path) -> StorageError:
    """What to raise where none of a list's files is there."""
    return StorageError(
        f"none of the files in {name} is in {folder}",
        errno=errno.ENOENT,
        filename=str(folder),
        hint="Names in a list begin at the folder that it was made in: give that as DIR.",
    )
