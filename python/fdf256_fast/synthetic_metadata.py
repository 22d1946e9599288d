"""Invented metadata for the synthetic dataset, in the files and fields that FDF's README describes.

``user_nsid``, which FDF256 adds, is what ``search-user`` looks for.  Names and titles are chosen to
be awkward: quotes, backslashes, line ends, many scripts, a character outside the basic plane.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from struct import pack
from typing import TYPE_CHECKING, Final

from .synthetic_images import SIDE_PIXELS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from random import Random

__all__ = [
    "LICENSES",
    "Face",
    "bounding_box_npy",
    "invent_faces",
    "landmarks_npy",
    "metainfo_json",
]


@dataclass(frozen=True, slots=True)
class _License:
    """``weight`` is the number of FDF's images under it, in thousands (FDF's README)."""

    title: str
    url: str
    weight: int


#: By the name of the archive that holds the images.
LICENSES: Final = {
    "cc-by-2": _License("Attribution License", "http://creativecommons.org/licenses/by/2.0/", weight=353),
    "cc-by-sa-2": _License(
        "Attribution-ShareAlike License",
        "http://creativecommons.org/licenses/by-sa/2.0/",
        weight=200,
    ),
    "cc-by-nc-2": _License(
        "Attribution-NonCommercial License",
        "http://creativecommons.org/licenses/by-nc/2.0/",
        weight=295,
    ),
    "cc-by-nc-sa-2": _License(
        "Attribution-NonCommercial-ShareAlike License",
        "http://creativecommons.org/licenses/by-nc-sa/2.0/",
        weight=624,
    ),
}

_AUTHORS: Final = (
    "Ada Beispiel",
    "Håkon Ødegård",
    "山田 花子",
    'José "Pepe" Núñez',
    "Ирина Ж.",
    "O'Brien \\ Daughters",
    "نور",
    "🦊 fox & friends",
    "plain_name",
    "Zoë\u2028Line",
)
_TITLES: Final = (
    "IMG_0042.JPG",
    "Grandma's 80th birthday",
    'The "quiet" one',
    "Première neige\nà Besançon",
    "tab\there, backslash \\ there",
    "夏祭り 2010",
    "</script><b>not bold</b>",
    "",
    "Straße & Café ☕",
    '{"not": "json"}',
)
#: Nose, right and left eye, ear, shoulder of a face that looks into the camera; 0 to 1.
_LANDMARKS: Final = (
    (0.50, 0.56),
    (0.41, 0.45),
    (0.59, 0.45),
    (0.30, 0.50),
    (0.70, 0.50),
    (0.14, 0.93),
    (0.86, 0.93),
)


@dataclass(frozen=True, slots=True)
class Face:
    """One image's metadata; its number is its place in the list.

    ``landmarks`` are seven (x, y) from 0 to 1; ``box`` is x0, y0, x1, y1 in pixels of the image,
    ``original_box`` the same in the photo.
    """

    license: str
    user_nsid: str
    author: str
    title: str
    photo: int
    day: str
    landmarks: tuple[tuple[float, float], ...]
    box: tuple[int, int, int, int]
    original_box: tuple[int, int, int, int]


def invent_faces(generator: Random, count: int) -> list[Face]:
    """That many faces, by about a third as many authors, under all four licences from four on.

    The author of the first is ``12345678@N00``, so that examples have somebody to look for.
    """
    names, weights = list(LICENSES), [entry.weight for entry in LICENSES.values()]
    authors = [("12345678@N00", _AUTHORS[0])]
    for _ in range(count // 3):
        nsid = f"{generator.randrange(10_000_000, 99_999_999)}@N0{generator.randrange(9)}"
        authors.append((nsid, generator.choice(_AUTHORS)))
    faces: list[Face] = []
    for number in range(count):
        is_early = number < len(names)
        user_nsid, author = authors[0] if number == 0 else generator.choice(authors)
        faces.append(
            Face(
                license=names[number] if is_early else generator.choices(names, weights)[0],
                user_nsid=user_nsid,
                author=author,
                title=generator.choice(_TITLES),
                photo=generator.randrange(10**8, 10**10),
                day=f"2010-{generator.randrange(1, 13):02}-{generator.randrange(1, 29):02}",
                landmarks=_jittered_landmarks(generator),
                box=_box(generator, 60, SIDE_PIXELS - 60, 24),
                original_box=_box(generator, 400, 800, 200),
            )
        )
    return faces


def metainfo_json(split: str, faces: Sequence[Face]) -> bytes:
    """``fdf_metainfo.json``: one object, keyed by image number, UTF-8.

    Every other value is written with escapes, the rest in raw UTF-8: readers meet both.
    """
    values = (
        f"{json.dumps(str(number))}: "
        + json.dumps(_json_value(split, number, face), ensure_ascii=number % 2 == 0)
        for number, face in enumerate(faces)
    )
    return ("{" + ", ".join(values) + "}").encode()


def landmarks_npy(faces: Sequence[Face]) -> bytes:
    """``landmarks.npy``: float32, shape (N, 7, 2)."""
    numbers = [value for face in faces for point in face.landmarks for value in point]
    return _npy("<f4", (len(faces), 7, 2), pack(f"<{len(numbers)}f", *numbers))


def bounding_box_npy(faces: Sequence[Face]) -> bytes:
    """``bounding_box.npy``: int32, shape (N, 4), each x0, y0, x1, y1 in pixels."""
    numbers = [value for face in faces for value in face.box]
    return _npy("<i4", (len(faces), 4), pack(f"<{len(numbers)}i", *numbers))


def _npy(kind: str, shape: Iterable[int], data: bytes) -> bytes:
    """NumPy's file format, version 1.0: the data begin at a multiple of 64 bytes."""
    description = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {tuple(shape)}, }}"
    padding = -(10 + len(description) + 1) % 64
    header = (description + " " * padding + "\n").encode("latin-1")
    return b"\x93NUMPY\x01\x00" + pack("<H", len(header)) + header + data


def _jittered_landmarks(generator: Random) -> tuple[tuple[float, float], ...]:
    return tuple(
        (
            round(x + generator.uniform(-0.05, 0.05), 4),
            round(y + generator.uniform(-0.05, 0.05), 4),
        )
        for x, y in _LANDMARKS
    )


def _box(generator: Random, low: int, high: int, jitter: int) -> tuple[int, int, int, int]:
    x0, y0 = (low + generator.randrange(-jitter, jitter) for _ in range(2))
    x1, y1 = (high + generator.randrange(-jitter, jitter) for _ in range(2))
    return x0, y0, x1, y1


def _json_value(split: str, number: int, face: Face) -> dict[str, object]:
    license_ = LICENSES[face.license]
    x0, y0, x1, y1 = face.original_box
    landmarks = [list(point) for point in face.landmarks]
    return {
        "author": face.author,
        "user_nsid": face.user_nsid,
        "bounding_box": [value / SIDE_PIXELS for value in face.box],
        "category": "training" if split == "train" else "validation",
        "date_captured": f"{face.day} 21:47:59.0",
        "date_crawled": "2019-3-6",
        "date_taken": f"{face.day} 21:47:59.0",
        "date_uploaded": face.day,
        "landmark": landmarks,
        "license": license_.title,
        "license_url": license_.url,
        "original_bounding_box": list(face.original_box),
        "original_landmark": [[x0 + x * (x1 - x0), y0 + y * (y1 - y0)] for x, y in landmarks],
        "area": (x1 - x0) * (y1 - y0),
        "photo_title": face.title,
        "photo_url": f"http://www.flickr.com/photos/{face.user_nsid}/{face.photo}/",
        "yfcc100m_line_idx": str(number),
    }
