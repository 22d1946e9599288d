"""Files that a person names to be written: none of the dataset's own, and there as a whole or as before."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from fdf256_fast.arrays import BOUNDING_BOX, LANDMARKS
from fdf256_fast.durable import storing
from fdf256_fast.entries import FILE_NAME
from fdf256_fast.errors import UsageError
from fdf256_fast.layout import SPLITS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["check_output", "is_one_file", "replace_output", "replacing_output", "split_metadata"]


def split_metadata(root: Path) -> tuple[Path, ...]:
    """Where the metadata of each split are in an installed tree, whether they are there or not."""
    return tuple(root / split / FILE_NAME for split in SPLITS)


def check_output(path: Path, root: Path, metadata: Iterable[Path]) -> None:
    """Refuse a file to be written that belongs to the dataset in ``root``.

    That is its ``metadata`` and what lies beside them, and what this package keeps.  Raises UsageError.
    """
    files = tuple(metadata)
    arrays = [file.with_name(kind.file_name) for file in files for kind in (LANDMARKS, BOUNDING_BOX)]
    folders = [root / ".fdf256", *(file.parent / "images" for file in files)]
    place = Path(os.path.realpath(path))
    if any(is_one_file(path, own) for own in (*files, *arrays)) or any(
        place.is_relative_to(os.path.realpath(folder)) for folder in folders
    ):
        raise UsageError(
            f"{path} belongs to the dataset, and would be lost", hint="Name another file to write."
        )


def is_one_file(path: Path, other: Path) -> bool:
    """Whether two names, of files that need not be there, mean one file."""
    if os.path.realpath(path) == os.path.realpath(other):
        return True
    with contextlib.suppress(OSError):
        # By another name: a second link to it, or in other letters where these are taken for the same.
        return path.samefile(other)
    return False


@contextlib.contextmanager
def replacing_output(path: Path) -> Iterator[BinaryIO]:
    """Replace the file at ``path`` by what the block writes; if that raises, the old file stays.

    Until then it has a name that nobody else's file has.  Raises StorageError.
    """
    # As short as it is: a name made of the file's own might be longer than a system takes.
    fresh = path.with_name(f".fdf256-{os.getpid()}-{secrets.token_hex(4)}.new")
    with storing("write", path):
        try:
            with fresh.open("xb") as file:
                try:
                    yield file
                    file.flush()
                    os.fsync(file.fileno())
                    fresh.replace(path)
                except BaseException:
                    with contextlib.suppress(OSError):
                        fresh.unlink(missing_ok=True)
                    raise
        except OSError as error:
            if error.filename == str(fresh):
                # The name that somebody gave says more than ours.
                error.filename = str(path)
            raise


def replace_output(path: Path, data: bytes) -> None:
    """:func:`replacing_output` by ``data``."""
    with replacing_output(path) as file:
        file.write(data)
