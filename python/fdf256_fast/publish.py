"""Staging to target, by renames.

Publishing can be cut off anywhere and done again: what was moved is no longer in staging, and what is in
staging is still to be moved.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from fdf256_fast.durable import storage_error
from fdf256_fast.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fdf256_fast.workspace import Workspace

__all__ = ["check_way", "publish"]


def check_way(workspace: Workspace, names: Iterable[str]) -> None:
    """Refuse, before anything moves, what lies in the way of the archives ``names``.  Raises StorageError.

    A link to a folder is in the way too: nothing is written outside of the target.
    """
    try:
        for name in names:
            staged = workspace.staging(name)
            if staged.is_dir():
                _check_folder(os.fspath(staged), os.fspath(workspace.target))
    except OSError as error:
        raise storage_error("publish", error, workspace.target) from error


def _check_folder(source: str, destination: str) -> None:
    with os.scandir(destination) as entries:
        there = {entry.name: entry for entry in entries}
    with os.scandir(source) as entries:
        for entry in entries:
            found = there.get(entry.name)
            if found is None:
                continue
            goal = f"{destination}/{entry.name}"
            if entry.is_dir(follow_symlinks=False):
                if found.is_symlink():
                    raise _refusal(goal, f"is a symbolic link to {Path(goal).readlink()}", "folder")
                if not found.is_dir(follow_symlinks=False):
                    raise _refusal(goal, "is a file", "folder")
                _check_folder(entry.path, goal)
            elif found.is_dir(follow_symlinks=False):
                raise _refusal(goal, "is a folder", "file")


def _refusal(goal: str, what: str, wanted: str) -> StorageError:
    return StorageError(
        f"cannot publish {goal}: it {what}, and a {wanted} of that name is to be published",
        errno=errno.EEXIST,
        filename=goal,
        hint="Move it away and run the same command again; everything is downloaded and verified already.",
    )


def publish(workspace: Workspace, names: Iterable[str]) -> None:
    """Move the files of the archives ``names`` from staging to the target.

    Whole folders at once where they are new there, so the largest archive should come first.  Files of the
    same name in the target are replaced.  Raises StorageError.
    """
    try:
        for name in names:
            staged = workspace.staging(name)
            if staged.is_dir():
                _move_into(os.fspath(staged), os.fspath(workspace.target))
                staged.rmdir()
    except OSError as error:
        raise _explained(error, workspace) from error


def _explained(error: OSError, workspace: Workspace) -> StorageError:
    """What could not be published is the goal of a rename, not its source."""
    if isinstance(error, StorageError):
        return error
    goal = error.filename2 or error.filename or workspace.target
    hint = "What is left is kept: run the same command again to publish it."
    if error.errno == errno.EXDEV:
        hint = "It lies on another disk, where nothing can be moved at once; put the whole target there."
    return StorageError(
        f"cannot publish {goal}: {error.strerror}", errno=error.errno, filename=str(goal), hint=hint
    )


def _move_into(source: str, destination: str) -> None:
    with os.scandir(source) as entries:
        found = list(entries)
    for entry in found:
        goal = f"{destination}/{entry.name}"
        if entry.is_dir(follow_symlinks=False) and os.path.lexists(goal):
            if not stat.S_ISDIR(os.lstat(goal).st_mode):
                raise _refusal(goal, "is not a folder", "folder")
            _move_into(entry.path, goal)
            os.rmdir(entry.path)  # noqa: PTH106 - strings all the way: there may be 250,000 of them
        else:
            os.replace(entry.path, goal)  # noqa: PTH105
