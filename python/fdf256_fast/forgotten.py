"""Images that are to stay out of a target: ``TARGET/.fdf256/forgotten``, read and written.

One path a line, sorted, nothing else: no name, no user, no date.  Whoever installs, repairs or verifies asks
:func:`read_forgotten` first.
"""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

from fdf256_fast.durable import replace_file, storing, sync_folder
from fdf256_fast.errors import IntegrityError
from fdf256_fast.selection import image_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from fdf256_fast.workspace import Workspace

__all__ = ["is_forgotten", "list_digest", "plain_path", "read_forgotten", "write_forgotten"]


def plain_path(path: str) -> str | None:
    """The path under which an image is recorded: without leading zeros.  None for what is no image."""
    image = image_of(path)
    if image is None or not (image.number.isascii() and image.number.isdigit()):
        return None
    return f"{image.split}/images/{image.number}.png"


def is_forgotten(path: str, forgotten: Collection[str]) -> bool:
    """Whether ``path``, relative to the target, is one of ``forgotten``, also if it has leading zeros."""
    return bool(forgotten) and (path in forgotten or plain_path(path) in forgotten)


def list_digest(paths: Iterable[str]) -> str:
    """What tells a list of forgotten images from another one; empty for none."""
    lines = "\n".join(sorted(paths))
    return hashlib.sha256(os.fsencode(lines)).hexdigest()[:16] if lines else ""


def read_forgotten(workspace: Workspace) -> frozenset[str]:
    """The paths that are to stay out, relative to the target; none where nobody asked for it.

    Ask :func:`is_forgotten` about a path.  Raises StorageError when the record cannot be read, IntegrityError
    when a line of it is no image: to go on without it would bring back what somebody wanted to be gone.
    """
    path = workspace.forgotten
    with storing("read", path):
        try:
            lines = path.read_bytes().splitlines()
        except FileNotFoundError:
            return frozenset()
    paths = set()
    for number, line in enumerate(lines, start=1):
        # With leading zeros, as somebody may have typed it, it would be compared with nothing.
        plain = plain_path(os.fsdecode(line))
        if plain is None:
            raise IntegrityError(
                f"{path}: line {number} is no image: {os.fsdecode(line[:80])!r}",
                hint="It says which images are to stay out of this target. Correct or remove that line: one "
                "image a line, as train/images/123.png.",
            )
        paths.add(plain)
    return frozenset(paths)


def write_forgotten(workspace: Workspace, paths: Iterable[str]) -> None:
    """Replace the record; it is on the disk when this returns.  Raises StorageError."""
    lines = b"".join(os.fsencode(path) + b"\n" for path in sorted(set(paths)))
    replace_file(workspace.forgotten, lines)
    # The rename as well: what is removed next must not come back with the next download.
    sync_folder(workspace.home)
