"""FDF256 as a map-style dataset of NumPy arrays, for training: ``FDF256``.

It has what ``torch.utils.data.DataLoader`` asks of a dataset, and does not import torch.
"""

from __future__ import annotations

import io
import operator
import struct
import zlib
from dataclasses import dataclass
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, SupportsIndex, TypeAlias, TypeVar, cast, overload

from fdf256_fast.arrays import damaged
from fdf256_fast.durable import storing
from fdf256_fast.entries import FILE_NAME, Entries
from fdf256_fast.errors import Error, IntegrityError
from fdf256_fast.images import StrPath, image_folder, image_numbers, image_path
from fdf256_fast.rows import Split, rows_of

if TYPE_CHECKING:
    from array import array
    from collections.abc import Callable, Iterator

    import numpy as np
    from numpy.typing import NDArray

    Item: TypeAlias = tuple[NDArray[np.uint8], NDArray[np.int32], NDArray[np.float32], dict[str, Any]]

__all__ = ["FDF256", "SIDE_PIXELS", "face_mask", "need"]

T = TypeVar("T")

SIDE_PIXELS = 256

_PNG_START = b"\x89PNG\r\n\x1a\n"


def need(extra: str, **modules: str) -> None:
    """Raise Error, naming ``extra``, where a module is not installed: ``need("read", numpy="NumPy")``."""
    missing = [name for module, name in modules.items() if find_spec(module) is None]
    if missing:
        raise Error(
            f"this needs {' and '.join(missing)}, which {'are' if len(missing) > 1 else 'is'} not installed",
            hint=f"pip install 'fdf256_fast[{extra}]'",
        )


def face_mask(bounding_box: NDArray[np.integer[Any]]) -> NDArray[np.bool_]:
    """Where the image is to be kept: True outside the face's box, False inside.

    ``bounding_box`` is x0, y0, x1, y1 in pixels, x1 and y1 not included; what of it is outside the image
    does not count.  Returns bool of shape (1, 256, 256): one channel, then rows, then columns.  Convention
    and shape are those of the published loader (``FDF256Dataset`` in DeepPrivacy2's ``fdf.py``), which for
    a box that begins left of the image or above it masks nothing.
    """
    import numpy as np  # noqa: PLC0415 - an extra

    mask = np.ones((1, SIDE_PIXELS, SIDE_PIXELS), np.bool_)
    x0, y0, x1, y1 = (max(0, int(edge)) for edge in bounding_box)
    mask[:, y0:y1, x0:x1] = False
    return mask


@dataclass(frozen=True, slots=True)
class _Opened:
    """What a process has open: never pickled, and made anew in each that needs it."""

    rows: array[int]
    entries: Entries
    boxes: NDArray[Any]
    landmarks: NDArray[Any]


class FDF256(Generic[T]):
    """The images of one split that are there, in the order of their numbers, each with its annotations.

    Item *i* is the tuple ``(image, bounding_box, landmarks, metadata)``:

    ``image``
        uint8 of shape (256, 256, 3): rows, columns, red green blue.
    ``bounding_box``
        int32 of shape (4,): x0, y0, x1, y1 of the face in pixels of the image, from its upper left corner;
        x1 and y1 are not included.  By DSFD, says FDF256.md.
    ``landmarks``
        float32 of shape (7, 2): x and y of nose, right eye, left eye, right ear, left ear, right shoulder and
        left shoulder (right and left are the person's), as shares of the image's width and height, 0 to 1.
        By a keypoint R-CNN; the order and the unit are in FDF's README.
    ``metadata``
        dict: the image's entry in ``fdf_metainfo.json`` (author, licence, photo, dates, original box).

    The arrays are the caller's own: contiguous and writable.

    A part of the dataset works like all of it: only images that are there are items, and each has its own
    row of the published arrays (see :attr:`rows`).

    Nothing is read before the first item but the names of the images and the arrays' headers.  The first item
    of a process finds the entries in the metadata, once (0.2 s and 6 MB for the 241,982 of training).
    Pickles hold paths and options only, so that ``DataLoader`` may fork or spawn its workers.

    >>> dataset = FDF256("data/fdf256", "val")  # doctest: +SKIP
    >>> image, bounding_box, landmarks, metadata = dataset[0]  # doctest: +SKIP
    """

    @overload
    def __init__(
        self: FDF256[Item],
        root: StrPath,
        split: str = ...,
        *,
        transform: None = None,
        load_metadata: bool = ...,
    ) -> None: ...

    @overload
    def __init__(
        self,
        root: StrPath,
        split: str = ...,
        *,
        transform: Callable[[Item], T],
        load_metadata: bool = ...,
    ) -> None: ...

    def __init__(
        self,
        root: StrPath,
        split: str = "train",
        *,
        transform: Callable[[Item], T] | None = None,
        load_metadata: bool = True,
    ) -> None:
        """Look at what ``root`` has.

        Args:
            root: an installed tree, whoever installed it, or a part of one.
            split: ``train`` or ``val``.
            transform: called with each item; what it returns is the item instead.  Where workers are
                spawned it must be something that pickles, such as a function of a module.
            load_metadata: False leaves the dict empty, which saves parsing it for each image.

        Raises:
            StorageError: the split is not there, or a file of it is missing or cannot be read.
            IntegrityError: a file is not what it should be.
            UsageError: there is no such split.
            Error: NumPy or Pillow is not installed (``pip install 'fdf256_fast[read]'``).
        """
        need("read", numpy="NumPy", PIL="Pillow")
        self.root = Path(root)
        self.split = split
        self.transform = transform
        self.load_metadata = load_metadata
        numbers = image_numbers(root, split)
        Split.of(root, split)
        with storing("read", self.root / split / FILE_NAME):
            (self.root / split / FILE_NAME).stat()
        self._numbers: array[int] | None = numbers
        self._count = len(numbers)
        self._fingerprint = _fingerprint(numbers)
        self._opened: _Opened | None = None

    def __len__(self) -> int:
        """How many images are there."""
        return self._count

    def __getitem__(self, index: SupportsIndex) -> T:
        """Read item ``index``; negative ones count from the end.

        Raises:
            IndexError: there is no such item.
            TypeError: ``index`` is no integer (torch's ``Subset`` takes slices of a dataset).
            IntegrityError: the image is damaged, or the files of the split do not fit together.
            MetadataError: ``fdf_metainfo.json`` is damaged; with the byte offset.
            StorageError: a file is missing or cannot be read.
        """
        position = self._position(index)
        item = (
            self._image(position),
            self._box(position),
            self._landmarks(position),
            self._metadata(position) if self.load_metadata else {},
        )
        return cast(T, item) if self.transform is None else self.transform(item)

    def __iter__(self) -> Iterator[T]:
        """Every item, in order."""
        return map(self.__getitem__, range(len(self)))

    def __repr__(self) -> str:
        return f"FDF256({str(self.root)!r}, {self.split!r}): {len(self)} images"

    @property
    def ids(self) -> NDArray[np.int64]:
        """The number of each item's image, ascending; int64 of shape (len(self),), read-only."""
        return _view(self._all_numbers())

    @property
    def rows(self) -> NDArray[np.int64]:
        """The row of each item in ``landmarks.npy`` and ``bounding_box.npy``; like :attr:`ids`.

        Row *i* is that of the image with the *i*-th smallest number in the metadata, whether it is there or
        not.  Raises what reading an item does.
        """
        return _view(self._open().rows)

    def path(self, index: SupportsIndex) -> Path:
        """Where the image of item ``index`` lies.  Raises IndexError."""
        return image_path(self.root, self.split, self._all_numbers()[self._position(index)])

    def image(self, index: SupportsIndex) -> NDArray[np.uint8]:
        """Only the image of item ``index``.  Raises what reading the item does."""
        return self._image(self._position(index))

    def metadata(self, index: SupportsIndex) -> dict[str, Any]:
        """Only the metadata of item ``index``, also with ``load_metadata=False``.  Raises as for the item."""
        return self._metadata(self._position(index))

    def mask(self, index: SupportsIndex) -> NDArray[np.bool_]:
        """The mask of item ``index``: True outside the face's box; see :func:`face_mask`."""
        return face_mask(self._box(self._position(index)))

    # ---- pickles -----------------------------------------------------------------------------------

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_numbers": None, "_opened": None}

    def _all_numbers(self) -> array[int]:
        """The images' numbers; in another process than the first they are looked up again."""
        if self._numbers is None:
            numbers = image_numbers(self.root, self.split)
            if _fingerprint(numbers) != self._fingerprint:
                raise IntegrityError(
                    f"{image_folder(self.root, self.split)} has other images now than when the dataset was "
                    f"made: {len(numbers)} instead of {self._count}",
                    hint="Make the dataset anew, so that all processes count the same images.",
                )
            self._numbers = numbers
        return self._numbers

    def _open(self) -> _Opened:
        if self._opened is None:
            files = Split.of(self.root, self.split)
            entries = files.entries()
            rows = rows_of(self._all_numbers(), entries, files.folder / "images")
            self._opened = _Opened(rows, entries, files.boxes.open(), files.landmarks.open())
        return self._opened

    # ---- one item ----------------------------------------------------------------------------------

    def _position(self, index: SupportsIndex) -> int:
        try:
            position = operator.index(index)
        except TypeError as error:
            raise TypeError(f"items are counted by integers, not {type(index).__name__}") from error
        if not -self._count <= position < self._count:
            raise IndexError(f"there is no item {position}: there are {self._count} images")
        return position % self._count

    def _image(self, position: int) -> NDArray[np.uint8]:
        return read_image(image_path(self.root, self.split, self._all_numbers()[position]))

    def _box(self, position: int) -> NDArray[np.int32]:
        opened = self._open()
        box: NDArray[np.int32] = opened.boxes[opened.rows[position]].astype("int32")
        return box

    def _landmarks(self, position: int) -> NDArray[np.float32]:
        opened = self._open()
        points: NDArray[np.float32] = opened.landmarks[opened.rows[position]].astype("float32", order="C")
        return points

    def _metadata(self, position: int) -> dict[str, Any]:
        opened = self._open()
        return opened.entries.read(opened.rows[position])


def read_image(path: Path) -> NDArray[np.uint8]:
    """Decode one image: uint8 of shape (256, 256, 3), RGB.

    Raises StorageError where it cannot be read, IntegrityError where it is no PNG of 256x256 pixels.
    """
    import numpy as np  # noqa: PLC0415 - an extra
    from PIL import Image  # noqa: PLC0415 - an extra

    with storing("read", path):
        data = path.read_bytes()
    if data[:8] != _PNG_START or data[12:16] != b"IHDR" or len(data) < 24:
        raise damaged(path, "is no PNG")
    # Before Pillow makes room for as many as the header says.
    width, height = struct.unpack_from(">II", data, 16)
    if (width, height) != (SIDE_PIXELS, SIDE_PIXELS):
        raise damaged(path, f"has {width}x{height} pixels, not {SIDE_PIXELS}x{SIDE_PIXELS}")
    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as picture:
            return np.array(picture if picture.mode == "RGB" else picture.convert("RGB"))
    # What Pillow raises for PNGs that are damaged in one place or another; it documents OSError alone.
    except (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error) as error:
        raise damaged(path, f"is damaged: {error}") from error


def _fingerprint(numbers: array[int]) -> bytes:
    return sha256(numbers).digest()


def _view(numbers: array[int]) -> NDArray[np.int64]:
    import numpy as np  # noqa: PLC0415 - an extra

    # C's long long, which is another type to NumPy than its own of 64 bits.
    view = np.asarray(numbers).view(np.int64)
    view.flags.writeable = False
    return view
