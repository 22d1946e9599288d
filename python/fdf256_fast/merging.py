"""From a staging folder into a folder that may have files already: all of it or nothing.

Everything is looked at before anything is moved.  A move is a rename, of whole folders where the target
has none of that name.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from typing import TYPE_CHECKING, NamedTuple

from fdf256_fast.errors import StorageError
from fdf256_fast.foreground import cancelled
from fdf256_fast.workspace import storage_error

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fdf256_fast._core import Job

__all__ = ["merge"]


class _Move(NamedTuple):
    source: str
    goal: str
    replaces: bool


def merge(staged: Path, target: Path, job: Job, *, force: bool) -> None:
    """Move everything in ``staged`` into ``target``.

    Without ``force``, a file that is there already is an error; with it, it is replaced.  A folder never
    takes the place of a file, nor the other way round, and nothing is moved through a symbolic link.

    When a move fails, or ``job`` is cancelled, those before it are undone; files that were replaced by
    then stay so.

    Raises:
        StorageError: something is in the way (``errno`` EEXIST and the like), or the system refuses.
        CancelledError: ``job`` was cancelled.
    """
    done: list[_Move] = []
    try:
        for move in list(_moves(os.fspath(staged), os.fspath(target), job, force=force)):
            _check(job)
            os.rename(move.source, move.goal)  # noqa: PTH104 - there may be 250,000 of them
            done.append(move)
    except BaseException as error:
        _undo(done)
        if isinstance(error, OSError) and not isinstance(error, StorageError):
            raise storage_error("publish", error, target) from error
        raise


def _check(job: Job) -> None:
    if job.cancelled:
        raise cancelled()


def _moves(source: str, target: str, job: Job, *, force: bool) -> Iterator[_Move]:
    with os.scandir(source) as entries:
        found = sorted(entries, key=lambda entry: entry.name)
    for entry in found:
        _check(job)
        goal = f"{target}/{entry.name}"
        try:
            mode = os.lstat(goal).st_mode
        except FileNotFoundError:
            yield _Move(entry.path, goal, replaces=False)
            continue
        is_folder = entry.is_dir(follow_symlinks=False)
        if stat.S_ISLNK(mode):
            raise _in_the_way(errno.EEXIST, goal, "it is a symbolic link", can_force=False)
        if is_folder != stat.S_ISDIR(mode):
            number, words = (errno.ENOTDIR, "a folder") if is_folder else (errno.EISDIR, "a file")
            raise _in_the_way(number, goal, f"the archive has {words} of this name", can_force=False)
        if is_folder:
            yield from _moves(entry.path, goal, job, force=force)
        elif force:
            yield _Move(entry.path, goal, replaces=True)
        else:
            raise _in_the_way(errno.EEXIST, goal, "it is there already", can_force=True)


def _in_the_way(number: int, path: str, words: str, *, can_force: bool) -> StorageError:
    advice = ", or --force to replace files of the same name" if can_force else ""
    return StorageError(
        f"cannot write {path}: {words}. Nothing was unpacked.",
        errno=number,
        filename=path,
        hint=f"Choose another folder with -d{advice}.",
    )


def _undo(done: list[_Move]) -> None:
    for move in reversed(done):
        if not move.replaces:
            # What cannot be moved back is whole and verified, and the first error is what is to be told.
            with contextlib.suppress(OSError):
                os.rename(move.goal, move.source)  # noqa: PTH104
