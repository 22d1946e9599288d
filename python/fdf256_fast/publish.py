"""Staging to target, by renames.

Publishing can be cut off anywhere and done again: what was moved is no longer in staging, and what is in
staging is still to be moved.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from fdf256_fast.workspace import storage_error

if TYPE_CHECKING:
    from fdf256_fast.workspace import Workspace

__all__ = ["missing_file", "publish"]


def publish(workspace: Workspace) -> None:
    """Move everything from staging to the target, whole folders at once where they are new there.

    Files of the same name in the target are replaced.  Raises StorageError.
    """
    try:
        if workspace.staging.is_dir():
            _move_into(workspace.staging, workspace.target)
    except OSError as error:
        raise storage_error("publish", error, workspace.target) from error


def _move_into(source: Path, destination: Path) -> None:
    with os.scandir(source) as entries:
        found = list(entries)
    for entry in found:
        goal = destination / entry.name
        is_folder = entry.is_dir(follow_symlinks=False)
        if is_folder and os.path.lexists(goal):
            _move_into(Path(entry.path), goal)
            Path(entry.path).rmdir()
        else:
            Path(entry.path).replace(goal)


def missing_file(workspace: Workspace) -> str | None:
    """The first file of the manifest that is not in the target; None when all are there."""
    with workspace.manifest.open(encoding="utf-8") as lines:
        for line in lines:
            name = line.rstrip("\n")[66:]
            if not os.path.lexists(workspace.target / name):
                return name
    return None
