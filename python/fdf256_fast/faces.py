"""Some faces of a target, with what is drawn on them and the credit that their licences ask for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fdf256_fast.dataset import FDF256
from fdf256_fast.selection import Selection

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from fdf256_fast.images import StrPath

__all__ = ["LICENSE_TITLES", "Face", "sample_faces", "short_license"]

LICENSE_TITLES = {
    "cc-by-2": "CC BY 2.0",
    "cc-by-sa-2": "CC BY-SA 2.0",
    "cc-by-nc-2": "CC BY-NC 2.0",
    "cc-by-nc-sa-2": "CC BY-NC-SA 2.0",
}
"""How Creative Commons abbreviates the four licences, by the catalog's names."""


@dataclass(frozen=True, slots=True)
class Face:
    """One image with its annotations (see :class:`~fdf256_fast.dataset.FDF256`) and its credit.

    The texts come from the metadata as they are there, and are empty where they are not.
    """

    path: str
    image: NDArray[np.uint8]
    bounding_box: NDArray[np.int32]
    landmarks: NDArray[np.float32]
    author: str
    user_nsid: str
    title: str
    license_url: str
    photo_url: str


def short_license(url: str) -> str:
    """``CC BY-NC 2.0`` for the address of such a licence; other addresses as they are."""
    _, found, rest = url.partition("creativecommons.org/licenses/")
    kind, _, version = rest.strip("/").partition("/")
    return f"CC {kind.upper()} {version}" if found and kind and version else url


def sample_faces(root: StrPath, splits: Sequence[str], count: int, seed: int) -> list[Face]:
    """At most ``count`` of the faces that are there, the same ones for the same seed.

    Raises what reading :class:`~fdf256_fast.dataset.FDF256` does.
    """
    if not count or not splits:
        return []
    datasets = {split: FDF256(root, split) for split in splits}
    places = {
        f"{split}/images/{number}.png": (dataset, position)
        for split, dataset in datasets.items()
        for position, number in enumerate(dataset.ids)
    }
    drawn = Selection(sample=count, seed=seed).draw(places) or ()
    # In the order in which they are listed, which is that of the numbers in each split.
    return [_face(path, *place) for path, place in places.items() if path in drawn]


def _face(path: str, dataset: FDF256[Any], position: int) -> Face:
    image, box, landmarks, entry = dataset[position]

    def text(field: str) -> str:
        value = entry.get(field)
        return value if isinstance(value, str) else ""

    return Face(
        path,
        image,
        box,
        landmarks,
        text("author"),
        text("user_nsid"),
        text("photo_title"),
        text("license_url"),
        text("photo_url"),
    )
