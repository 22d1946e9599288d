"""Staging to target, by renames.

Publishing can be cut off anywhere and done again: what was moved is no longer in staging, and what is in
staging is still to be moved.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from fdf256_fast.workspace import storage_error

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fdf256_fast.workspace import Workspace

__all__ = ["missing_file", "publish"]


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
        raise storage_error("publish", error, workspace.target) from error


def _move_into(source: str, destination: str) -> None:
    with os.scandir(source) as entries:
        found = list(entries)
    for entry in found:
        goal = f"{destination}/{entry.name}"
        if entry.is_dir(follow_symlinks=False) and os.path.lexists(goal):
            _move_into(entry.path, goal)
            os.rmdir(entry.path)  # noqa: PTH106 - strings all the way: there may be 250,000 of them
        else:
            os.replace(entry.path, goal)  # noqa: PTH105


def missing_file(workspace: Workspace) -> str | None:
    """The first file of the manifest that is not in the target; None when all are there."""
    # As bytes, which is what the core wrote and the system has, whatever the locale.
    target = os.fsencode(workspace.target)
    with workspace.manifest.open("rb") as lines:
        for line in lines:
            name = line.rstrip(b"\n")[66:]
            if not os.path.lexists(os.path.join(target, name)):  # noqa: PTH118 - of bytes
                return os.fsdecode(name)
    return None
