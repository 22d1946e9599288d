"""Metadata files to search, and what the published script's way says of them: ``json.load`` and a loop."""

from __future__ import annotations

import json
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any

from fdf256_fast._core import Job, search_metadata
from fdf256_fast.synthetic_metadata import invent_faces, metainfo_json

if TYPE_CHECKING:
    from pathlib import Path

NSID = "12345678@N00"
"""Who the first of the synthetic faces is by."""

CRASHES = (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError)
"""What the published script would end with on a file that is not as it should be."""


def synthetic(count: int, seed: int = 1, split: str = "train") -> bytes:
    """A file as the synthetic dataset has it."""
    return metainfo_json(split, invent_faces(Random(seed), count))


def loaded(text: bytes) -> Any:
    """As ``json.load`` of a file that was opened as UTF-8."""
    return json.loads(text.decode("utf-8"))


def published_way(text: bytes, nsid: str) -> list[tuple[str, dict[str, Any]]]:
    """The entries of a user, by ``json.load`` and a loop.  Raises one of CRASHES."""
    return [(key, value) for key, value in loaded(text).items() if value["user_nsid"] == nsid]


def shown(value: Any) -> str:
    """A field as the core gives it: strings and numbers, and nothing else."""
    if isinstance(value, str):
        return value
    return json.dumps(value) if isinstance(value, int | float) and not isinstance(value, bool) else ""


def expected(text: bytes, nsid: str) -> list[tuple[str, ...]]:
    """The core's answer, by the published script's way."""
    fields = ("photo_title", "author", "user_nsid", "license", "license_url", "photo_url")
    found = published_way(text, nsid)
    return [(key, *(shown(value.get(field, "")) for field in fields)) for key, value in found]


def searched(path: Path, nsid: str, workers: int = 1) -> list[tuple[str, ...]]:
    """The core's answer."""
    _, size, found = search_metadata(
        Job(), path, workers, users=[nsid.encode("utf-8", "surrogatepass")], authors=[], photo_urls=[]
    )
    assert size == path.stat().st_size
    return list(found)


@dataclass(frozen=True, slots=True)
class Tree:
    """An installed tree, or one that the published script made."""

    root: Path
    texts: dict[str, bytes]

    def paths_of(self, nsid: str) -> list[str]:
        """The images of a user, by the published script's way."""
        return [
            f"{split}/images/{key}.png"
            for split, text in self.texts.items()
            for key, _ in published_way(text, nsid)
        ]


def tree_at(root: Path, *, train: int = 60, val: int = 9, images: bool = True) -> Tree:
    """Metadata of both splits, and (empty) images."""
    texts = {"train": synthetic(train, 1), "val": synthetic(val, 2, "val")}
    for split, text in texts.items():
        folder = root / split
        folder.mkdir(parents=True)
        (folder / "fdf_metainfo.json").write_bytes(text)
        if images:
            (folder / "images").mkdir()
            for key in loaded(text):
                (folder / "images" / f"{key}.png").touch()
    return Tree(root, texts)
