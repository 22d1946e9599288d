"""Small targets in FDF256's layout, written by NumPy, Pillow and json, and what is in them by the same."""

from __future__ import annotations

import json
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

LICENSES = {
    "cc-by-2": "http://creativecommons.org/licenses/by/2.0/",
    "cc-by-nc-sa-2": "https://creativecommons.org/licenses/by-nc-sa/2.0/",
}


def entry(number: int, **changes: Any) -> dict[str, Any]:
    """An image's metadata; ``changes`` replace fields."""
    return {
        "author": f"author {number}",
        "user_nsid": f"{number}@N00",
        "photo_title": f"title {number}",
        "photo_url": f"http://www.flickr.com/photos/{number}/",
        "license_url": list(LICENSES.values())[number % 2],
        "original_bounding_box": [10, 20.5, 10 + 3 * number % 2000, 20.5 + 70],
        "date_captured": f"{2004 + number % 9}-07-09 21:47:59.0",
        "date_uploaded": f"{2005 + number % 9}-08-10",
        **changes,
    }


def png(number: int, mode: str = "RGB", size: tuple[int, int] = (256, 256)) -> bytes:
    """An image that is another one for every number."""
    pixels = (np.arange(size[0] * size[1] * 3, dtype=np.uint32) // 7 + number * 31) % 251
    picture = Image.fromarray(pixels.astype(np.uint8).reshape(size[1], size[0], 3), "RGB")
    out = BytesIO()
    picture.convert(mode).save(out, "PNG", compress_level=1)
    return out.getvalue()


def boxes(count: int) -> np.ndarray[Any, np.dtype[np.int32]]:
    """Row i is (i, i + 1, i + 100, i + 102), as far as an image goes."""
    rows = np.arange(count, dtype=np.int32)[:, None] % 150
    return (rows + np.array([0, 1, 100, 102], np.int32)).astype(np.int32)


def landmarks(count: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """No two rows are equal."""
    return (np.arange(count * 14) / (count * 14 + 1)).reshape(count, 7, 2).astype(np.float32)


def write_split(
    root: Path,
    split: str,
    published: Sequence[int],
    present: Iterable[int] | None = None,
    indent: int | None = None,
) -> None:
    """A split whose metadata are about ``published``, in that order, and that has the images ``present``."""
    folder = root / split
    (folder / "images").mkdir(parents=True)
    text = json.dumps({str(number): entry(number) for number in published}, indent=indent)
    (folder / "fdf_metainfo.json").write_text(text, "utf-8")
    np.save(folder / "bounding_box.npy", boxes(len(published)))
    np.save(folder / "landmarks.npy", landmarks(len(published)))
    for number in published if present is None else present:
        (folder / "images" / f"{number}.png").write_bytes(png(number))


Item = tuple[Any, Any, Any, dict[str, Any]]


def items(root: Path, split: str) -> dict[int, Item]:
    """What each image that is there has, as the published loader finds it in the whole split."""
    folder = root / split
    entries = json.loads((folder / "fdf_metainfo.json").read_bytes())
    ranks = {number: row for row, number in enumerate(sorted(map(int, entries)))}
    all_boxes = np.load(folder / "bounding_box.npy")
    all_landmarks = np.load(folder / "landmarks.npy")
    found = {}
    for number in sorted(int(path.stem) for path in (folder / "images").glob("*.png")):
        with Image.open(folder / "images" / f"{number}.png") as picture:
            image = np.array(picture)
        row = ranks[number]
        found[number] = (image, all_boxes[row], all_landmarks[row], entries[str(number)])
    return found


def same_item(item: Item, wanted: Item) -> bool:
    """All four parts are equal."""
    return (
        all(np.array_equal(*pair) for pair in zip(item[:3], wanted[:3], strict=True)) and item[3] == wanted[3]
    )
