"""One split's metadata, entry by entry: where each lies in ``fdf_metainfo.json``, found in one pass.

The file of the training split has 233 MB, and makes 1.3 GB of Python objects.  What is kept here is 24 bytes
for each entry.
"""

from __future__ import annotations

import json
import os
from bisect import bisect_left
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fdf256_fast._core import Job, entry_offsets
from fdf256_fast.durable import storing
from fdf256_fast.errors import IntegrityError, MetadataError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["FILE_NAME", "Entries"]

FILE_NAME = "fdf_metainfo.json"


@dataclass(frozen=True, slots=True)
class Entries:
    """The entries of one file by their row, which is the rank of the image's number.

    ``numbers`` are the images' numbers, ascending; ``starts`` and ``ends`` the bytes of each entry's value.
    """

    path: Path
    numbers: Sequence[int]
    starts: Sequence[int]
    ends: Sequence[int]
    version: tuple[int, ...]

    @classmethod
    def of(cls, path: Path, job: Job | None = None) -> Entries:
        """Find them.  ``job`` can be cancelled from another thread.

        Raises:
            MetadataError: the file is not what it should be; with the byte offset.
            StorageError: it cannot be read.
        """
        with storing("read", path):
            before = _version(path.stat())
        columns = entry_offsets(job or Job(), path)
        numbers, starts, ends = (memoryview(column).cast("Q") for column in columns)
        with storing("read", path):
            if before != _version(path.stat()):
                raise _changed(path)
        return cls(path, numbers, starts, ends, before)

    def __len__(self) -> int:
        return len(self.numbers)

    def row_of(self, number: int) -> int | None:
        """The row of image ``number``; None where there is none."""
        row = bisect_left(self.numbers, number)
        return row if row < len(self) and self.numbers[row] == number else None

    def read(self, row: int) -> dict[str, Any]:
        """The entry in ``row``.

        Raises:
            StorageError: the file cannot be read.
            IntegrityError: it is another one by now.
            MetadataError: the entry is sound, and more than Python takes: nested about a thousand levels
                deep, or with a number of more than 4300 digits.
        """
        start, end = self.starts[row], self.ends[row]
        # Opened for each, in a hundredth of a millisecond: nothing stays open across a fork.
        with storing("read", self.path), self.path.open("rb", buffering=0) as file:
            version = _version(os.fstat(file.fileno()))
            text = os.pread(file.fileno(), end - start, start)
        if version != self.version or len(text) != end - start:
            raise _changed(self.path)
        try:
            entry = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise MetadataError(str(self.path), start, f"Python cannot read this entry: {error}") from error
        assert isinstance(entry, dict), "the pass over the file has refused anything else"
        return entry


def _version(status: os.stat_result) -> tuple[int, ...]:
    """What is another one after a file was written to or replaced."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _changed(path: Path) -> IntegrityError:
    return IntegrityError(
        f"{path} was changed while it was read", hint="Open the dataset again when nobody writes to it."
    )
