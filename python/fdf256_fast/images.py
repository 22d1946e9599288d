"""The images of one split that are there, by their numbers.

``SPLIT/images/<number>.png`` is all that says which images a target has: a part of the dataset, or one
without what was forgotten, has fewer of them than its metadata tell of.
"""

from __future__ import annotations

import errno
import os
from array import array
from pathlib import Path

from fdf256_fast.durable import storage_error
from fdf256_fast.errors import IntegrityError, StorageError, UsageError
from fdf256_fast.selection import SPLITS

__all__ = [
    "NUMBER_MAX",
    "check_split",
    "count_images",
    "image_folder",
    "image_numbers",
    "image_path",
    "missing",
]

StrPath = str | os.PathLike[str]

NUMBER_MAX = 2**63 - 1
"""Larger ones fit in no array of NumPy's."""


def check_split(split: str) -> str:
    """``split``, if there is one of that name.  Raises UsageError."""
    if split not in SPLITS:
        raise UsageError(f"there is no split {split!r}", hint=f"Known: {', '.join(SPLITS)}.")
    return split


def image_folder(root: StrPath, split: str) -> Path:
    """Where the images of ``split`` lie."""
    return Path(root) / check_split(split) / "images"


def image_path(root: StrPath, split: str, number: int) -> Path:
    """Where image ``number`` lies."""
    return image_folder(root, split) / f"{number}.png"


def image_numbers(root: StrPath, split: str) -> array[int]:
    """The numbers of the images that ``split`` has in ``root``, ascending (64 bits each).

    Takes about 0.4 s for 242,000 images.  Hidden files and what does not end in ``.png`` do not count.

    Raises:
        StorageError: the folder of images is not there, or cannot be read.
        IntegrityError: a PNG there has a name that is no number.
        UsageError: there is no such split.
    """
    folder = image_folder(root, split)
    try:
        with os.scandir(folder) as found:
            names = [entry.name for entry in found]
    except FileNotFoundError as error:
        raise _no_images(Path(root), folder) from error
    except OSError as error:
        raise storage_error("read", error, folder) from error
    return array("q", sorted(_number(folder, name) for name in names if _is_image(name)))


def count_images(folder: Path) -> int:
    """How many PNGs ``folder`` has, whatever they are called.  Raises StorageError."""
    try:
        with os.scandir(folder) as found:
            return sum(1 for entry in found if _is_image(entry.name))
    except OSError as error:
        raise storage_error("read", error, folder) from error


def _is_image(name: str) -> bool:
    # Macs leave `._12.png` beside `12.png` on disks of other kinds.
    return name.endswith(".png") and not name.startswith(".")


def _number(folder: Path, name: str) -> int:
    text = name.removesuffix(".png")
    # Only what `f"{number}.png"` makes again: `012.png` would be a second image 12.
    if text.isascii() and text.isdigit() and len(text) < 20 and (text[0] != "0" or text == "0"):
        number = int(text)
        if number <= NUMBER_MAX:
            return number
    raise IntegrityError(
        f"{folder / name} is no image of this dataset: they are called <number>.png",
        hint="Move it elsewhere.",
    )


def _no_images(root: Path, folder: Path) -> StorageError:
    others = [split for split in SPLITS if (root / split / "images").is_dir()]
    if others:
        return missing(folder, hint=f"What {root} has images of: {', '.join(others)}.")
    return missing(folder, hint=f"Install the dataset first: fdf256 download {root}")


def missing(path: Path, *, hint: str) -> StorageError:
    """What to raise when a file or folder of the dataset is not there."""
    return StorageError(f"{path} is not there", errno=errno.ENOENT, filename=str(path), hint=hint)
