"""Which row of the published arrays belongs to which image: ``index``.

``landmarks.npy`` and ``bounding_box.npy`` stay as they were published also where only a part of the images
is installed.  Row *i* is that of the image with the *i*-th smallest number in the metadata, whether the image
is there or not.
"""

from __future__ import annotations

import csv
import io
from array import array
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from fdf256_fast.arrays import BOUNDING_BOX, LANDMARKS, Array, damaged
from fdf256_fast.durable import check_replaceable
from fdf256_fast.entries import FILE_NAME, Entries
from fdf256_fast.errors import IntegrityError
from fdf256_fast.images import StrPath, check_split, image_numbers, image_path
from fdf256_fast.outputs import replace_output
from fdf256_fast.selection import SPLITS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from fdf256_fast._core import Job

__all__ = ["Row", "Split", "index", "rows_of", "write_index"]


class Row(NamedTuple):
    """One image that is there: its path below the target, split, number, and row in the split's arrays."""

    path: str
    split: str
    number: int
    row: int


@dataclass(frozen=True, slots=True)
class Split:
    """The published files of one split, looked at as far as that is quick: kinds and lengths."""

    folder: Path
    landmarks: Array
    boxes: Array

    @classmethod
    def of(cls, root: StrPath, split: str) -> Split:
        """Raises StorageError where a file is missing, IntegrityError where one is not what it should be."""
        folder = Path(root) / check_split(split)
        landmarks, boxes = Array.of(folder, LANDMARKS), Array.of(folder, BOUNDING_BOX)
        if landmarks.rows != boxes.rows:
            raise damaged(
                landmarks.path, f"has {landmarks.rows} rows, and {boxes.path.name} beside it {boxes.rows}"
            )
        return cls(folder, landmarks, boxes)

    def entries(self, job: Job | None = None) -> Entries:
        """The metadata, which must be of as many images as the arrays have rows.

        Raises MetadataError, StorageError, IntegrityError.
        """
        entries = Entries.of(self.folder / FILE_NAME, job)
        if len(entries) != self.boxes.rows:
            raise damaged(
                self.boxes.path,
                f"has {self.boxes.rows} rows, and {FILE_NAME} beside it is about {len(entries)} images: "
                "which row belongs to which image cannot be told",
            )
        return entries


def rows_of(numbers: Sequence[int], entries: Entries, folder: Path) -> array[int]:
    """The row of each image of ``numbers`` (ascending), which lie in ``folder``.

    Raises IntegrityError for an image that the metadata do not know.
    """
    count = len(entries)
    if count and entries.numbers[-1] == count - 1 and (not numbers or numbers[-1] < count):
        # Numbers from 0 on without a gap, as published: the number is the row.
        return array("q", numbers)
    rows = array("q")
    for number in numbers:
        row = entries.row_of(number)
        if row is None:
            raise IntegrityError(
                f"{folder / f'{number}.png'}: there is no image {number} in {entries.path}",
                hint="Move it elsewhere, or look whether the metadata are whole: fdf256 verify TARGET.",
            )
        rows.append(row)
    return rows


def index(root: StrPath, split: str | None = None) -> list[Row]:
    """Every image that is there, with its row in the published arrays of its split.

    Row ``row`` of ``SPLIT/landmarks.npy`` and ``SPLIT/bounding_box.npy`` is about ``path``.

    Args:
        root: an installed tree, or a part of one.
        split: ``train`` or ``val``; None for each that has a folder in ``root``.

    Returns:
        The images by split and number.

    Raises:
        StorageError: there is no dataset, or a file is missing or cannot be read.
        MetadataError: ``fdf_metainfo.json`` is damaged; with the byte offset.
        IntegrityError: the files do not fit together, such as arrays of another length than the metadata.
        UsageError: there is no such split.
    """
    splits = [split] if split is not None else _splits_in(Path(root))
    return [row for each in splits for row in _rows_in(root, each)]


def _splits_in(root: Path) -> list[str]:
    found = [split for split in SPLITS if (root / split / "images").is_dir()]
    if not found:
        image_numbers(root, SPLITS[0])  # says what is missing
    return found


def _rows_in(root: StrPath, split: str) -> Iterable[Row]:
    numbers = image_numbers(root, split)
    files = Split.of(root, split)
    rows = rows_of(numbers, files.entries(), files.folder / "images")
    for number, row in zip(numbers, rows, strict=True):
        yield Row(image_path("", split, number).as_posix(), split, number, row)


def write_index(root: StrPath, path: Path) -> None:
    """Write the index of ``root`` as CSV with a heading: ``path,split,number,row``.

    Raises what :func:`index` does, and StorageError where ``path`` cannot be written.
    """
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(Row._fields)
    lines.writerows(index(root))
    check_replaceable(path)
    replace_output(path, text.getvalue().encode())
