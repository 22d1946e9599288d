"""Anybody's files against a list of digests: ``verify --sums``."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from fdf256_fast._core import Audit, Job
from fdf256_fast.auditing import Course, audited, check_folder, told
from fdf256_fast.blocking import blocking
from fdf256_fast.errors import StorageError
from fdf256_fast.limits import Limits
from fdf256_fast.progress import Progress
from fdf256_fast.sums import BadLine, no_lines, read_sums
from fdf256_fast.verification import Verification
from fdf256_fast.watch import in_job, in_thread

__all__ = ["verify_sums", "verify_sums_async"]

StrPath = str | os.PathLike[str]


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
    text, job = await in_thread(read_sums, Path(sums), algorithm), Job()

    def parse() -> Audit:
        return Audit(
            Path(folder),
            text.data,
            algorithm=text.algorithm,
            is_sure=text.is_sure,
            lone_name=text.lone_name,
        )

    audit = await in_job(job, parse)
    bad_lines = tuple(BadLine(*problem) for problem in audit.problems)
    if audit.files == 0:
        raise no_lines(text.name, list(bad_lines))
    await in_thread(check_folder, Path(folder))
    course = Course(Path(text.name).name, (limits or Limits()).worker_threads, is_closed=False)
    seconds = await audited(audit, job, progress or Progress(), course)
    missing, damaged = await in_thread(told, audit)
    if ignore_missing and len(missing) == audit.files:
        raise no_files(text.name, Path(folder))
    algorithms = audit.algorithms
    return Verification(
        str(folder),
        audit.files,
        audit.status()[1],
        seconds,
        algorithms[0] if len(algorithms) == 1 else "digest",
        () if ignore_missing else missing,
        damaged,
        bad_lines=bad_lines,
        bad_line_count=audit.problem_count,
        ignored=len(missing) if ignore_missing else 0,
        is_strict=strict,
        is_manifest=False,
    )


verify_sums = blocking(verify_sums_async)
"""Like :func:`verify_sums_async`, but returns when it is done."""


def no_files(name: str, folder: Path) -> StorageError:
    """What to raise where none of a list's files is there."""
    return StorageError(
        f"none of the files in {name} is in {folder}",
        errno=errno.ENOENT,
        filename=str(folder),
        hint="Names in a list begin at the folder that it was made in: give that as DIR.",
    )
