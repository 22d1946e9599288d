"""The published arrays ``landmarks.npy`` and ``bounding_box.npy``: looked at before they are mapped.

Their rows have no names: row *i* belongs to the image whose number is the *i*-th of the metadata's, in
ascending order.  That is what the published loader relies on, which counts the images of the whole split.
"""

from __future__ import annotations

import ast
import math
import os
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fdf256_fast.durable import storage_error
from fdf256_fast.errors import IntegrityError

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

__all__ = ["BOUNDING_BOX", "LANDMARKS", "Array", "damaged"]

_MAGIC = b"\x93NUMPY"
_HEADER_BYTES_MAX = 10_000
"""What NumPy itself takes without being told to trust the file."""

_HEADER_FORMATS = {(1, 0): "<H", (2, 0): "<I", (3, 0): "<I"}
"""By the version of the format: how the header's length is written."""


@dataclass(frozen=True, slots=True)
class _Kind:
    """What one of the arrays must be: the name of its file, its kinds of numbers, the shape of a row."""

    file_name: str
    kinds: str
    row: tuple[int, ...]
    words: str


LANDMARKS = _Kind("landmarks.npy", "f", (7, 2), "floating-point numbers, seven points (x, y) in each row")
BOUNDING_BOX = _Kind("bounding_box.npy", "iu", (4,), "integers, four in each row")


def damaged(path: Path, reason: str) -> IntegrityError:
    """What to raise when a published file is not what it should be."""
    return IntegrityError(
        f"{path}: {reason}",
        hint="fdf256 verify TARGET says which files are damaged; with --repair they are fetched again.",
    )


@dataclass(frozen=True, slots=True)
class Array:
    """One array on disk, whose header has been read and fits its kind.

    ``offset`` is where the numbers begin, in bytes.
    """

    path: Path
    kind: _Kind
    dtype: str
    shape: tuple[int, ...]
    is_fortran: bool
    offset: int

    @property
    def rows(self) -> int:
        """How many images it tells of."""
        return self.shape[0]

    @classmethod
    def of(cls, folder: Path, kind: _Kind) -> Array:
        """Read the header of the array in ``folder`` (NumPy is not needed for that).

        Raises StorageError where it cannot be read, IntegrityError where it is not such an array.
        """
        path = folder / kind.file_name
        try:
            # A pipe in its place must not keep us until somebody writes into it.
            with open(path, "rb", opener=_without_waiting) as file:
                start = file.read(12 + _HEADER_BYTES_MAX)
                size = os.fstat(file.fileno()).st_size
        except OSError as error:
            raise storage_error("read", error, path) from error
        header, offset = _header(path, start)
        dtype, shape = header["descr"], header["shape"]
        letter, width = _kind_and_width(dtype)
        # The published loader takes landmarks of 14 numbers in a row as well, and so do we.
        flat = (math.prod(kind.row),)
        if not letter or letter not in kind.kinds or len(shape) < 2 or shape[1:] not in {kind.row, flat}:
            raise damaged(path, f"has type {dtype!r:.40} and shape {shape!r:.60} instead of {kind.words}")
        if offset + math.prod(shape) * width != size:
            wanted = offset + math.prod(shape) * width
            raise damaged(path, f"has {size} bytes, and {wanted} for its shape {shape}")
        return cls(path, kind, dtype, shape, header["fortran_order"], offset)

    def open(self) -> np.ndarray[Any, Any]:
        """The numbers, of shape (rows, *kind.row), mapped into memory: only what is looked at is read.

        Raises StorageError, IntegrityError where the file is another one by now.
        """
        import numpy as np  # noqa: PLC0415 - an extra

        try:
            # An empty file, or an empty part of one, cannot be mapped.
            flat = (
                np.asarray(np.memmap(self.path, self.dtype, "r", self.offset, (math.prod(self.shape),)))
                if self.rows
                else np.empty(0, self.dtype)
            )
        except OSError as error:
            raise storage_error("read", error, self.path) from error
        except ValueError as error:
            raise damaged(self.path, "became shorter while it was opened") from error
        shaped = flat.reshape(self.shape, order="F" if self.is_fortran else "C")
        return shaped.reshape((self.rows, *self.kind.row))


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


def _kind_and_width(dtype: object) -> tuple[str, int]:
    """``("f", 4)`` of ``"<f4"``; an empty kind where it is no plain number."""
    if isinstance(dtype, str) and len(dtype) == 3 and dtype[0] in "<>|=" and dtype[2] in "1248":
        return dtype[1], int(dtype[2])
    return "", 0


def _header(path: Path, start: bytes) -> tuple[dict[str, Any], int]:
    """The header's fields, and where the numbers begin.  Raises IntegrityError."""
    form = _HEADER_FORMATS.get((start[6], start[7])) if len(start) >= 12 else None
    if not start.startswith(_MAGIC) or form is None:
        raise damaged(path, "is no array of NumPy's")
    (length,) = struct.unpack_from(form, start, 8)
    begin = 8 + struct.calcsize(form)
    text = start[begin : begin + length]
    if len(text) < length or length > _HEADER_BYTES_MAX:
        raise damaged(path, "its header is cut off, or longer than NumPy reads")
    try:
        # As it is: `strip` would take more for blanks than NumPy does.
        header = ast.literal_eval(text.decode("utf-8" if start[6] == 3 else "latin-1"))
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError) as error:
        raise damaged(path, "its header cannot be read") from error
    if not _is_sound(header):
        raise damaged(path, "its header does not say what is in it")
    return header, begin + length


def _is_sound(header: object) -> bool:
    return (
        isinstance(header, dict)
        and header.keys() == {"descr", "fortran_order", "shape"}
        and isinstance(header["fortran_order"], bool)
        and isinstance(header["shape"], tuple)
        and all(type(size) is int and 0 <= size < 1 << 48 for size in header["shape"])
    )
