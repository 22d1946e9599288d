"""What is in a target: what was installed, and what its metadata tell of the images: ``info``."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from fdf256_fast._core import Job, statistics
from fdf256_fast.durable import storing
from fdf256_fast.entries import FILE_NAME
from fdf256_fast.forgotten import read_forgotten
from fdf256_fast.images import StrPath, image_numbers, missing
from fdf256_fast.metadata import splits_with_metadata
from fdf256_fast.record import Installed, download_command, read_record
from fdf256_fast.selection import SPLITS
from fdf256_fast.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from fdf256_fast._core import _Counts
    from fdf256_fast.errors import StorageError

K = TypeVar("K")

__all__ = ["FRACTIONS", "SIZE_EDGES", "Counts", "SplitSurvey", "Survey", "info", "no_metadata", "survey"]

SIZE_EDGES = (64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072)
"""Pixels: half octaves from the smallest that FDF256.md promises; the dataset's own 256 is one of them."""

FRACTIONS = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)


@dataclass(frozen=True, slots=True)
class Counts:
    """Some images, counted.

    ``licenses`` are by the catalogs' names (the licence's address where it is none of Creative Commons').
    ``face_sizes`` counts faces by the longer side of their box in the photo, in pixels: below the first of
    ``SIZE_EDGES``, from each to below the next, from the last on.  ``size_quantiles`` are the sides that the
    shares ``FRACTIONS`` of the faces do not exceed; empty without images.  Years are the photos', None where
    it is not known.
    """

    images: int
    licenses: Mapping[str, int]
    face_sizes: tuple[int, ...]
    size_quantiles: tuple[float, ...]
    years_taken: Mapping[int | None, int]
    years_uploaded: Mapping[int | None, int]

    @classmethod
    def of(cls, counts: _Counts) -> Counts:
        """What the core has counted."""
        images, licenses, sizes, quantiles, taken, uploaded = counts
        return cls(
            images, dict(licenses), tuple(sizes), tuple(quantiles), _by_year(taken), _by_year(uploaded)
        )

    @classmethod
    def sum_of(cls, counts: Iterable[Counts]) -> Counts:
        """Several together, without quantiles, which cannot be added up."""
        parts = list(counts)
        return cls(
            sum(part.images for part in parts),
            _sum(part.licenses for part in parts),
            tuple(map(sum, zip(*(part.face_sizes for part in parts), strict=True))),
            (),
            _sum(part.years_taken for part in parts),
            _sum(part.years_uploaded for part in parts),
        )

    def as_json(self) -> dict[str, Any]:
        """An object for ``--json``: what is not known is called ``unknown``."""
        return {
            "images": self.images,
            "licenses": dict(self.licenses),
            "face_sizes": [
                {"from": low, "to": high, "images": count}
                for low, high, count in zip(
                    (0, *SIZE_EDGES), (*SIZE_EDGES, None), self.face_sizes, strict=True
                )
            ],
            "face_size_quantiles": {
                f"{fraction:g}": round(size, 2)
                for fraction, size in zip(FRACTIONS, self.size_quantiles, strict=False)
            },
            "years_taken": _json_years(self.years_taken),
            "years_uploaded": _json_years(self.years_uploaded),
        }


@dataclass(frozen=True, slots=True)
class SplitSurvey:
    """One split: all that its metadata tell of, and what of that is there.

    ``without_metadata`` counts images that are there and that no metadata are about.
    """

    name: str
    published: Counts
    present: Counts
    without_metadata: int

    @property
    def is_whole(self) -> bool:
        """Whether every image of the metadata is there."""
        return self.present.images == self.published.images


@dataclass(frozen=True, slots=True)
class Survey:
    """What is in a target.

    ``archives`` are those of ``installed.json`` (empty where another tool made the tree), ``installed`` is
    when it was last written, ``catalog`` the catalog's name, ``forgotten`` how many images are kept out
    (``fdf256 forget``).
    """

    target: str
    splits: tuple[SplitSurvey, ...]
    archives: Mapping[str, Installed]
    installed: str
    catalog: str
    files: int
    forgotten: int

    @property
    def in_use(self) -> tuple[SplitSurvey, ...]:
        """The splits that have images; all of them where none has, but the metadata."""
        return tuple(split for split in self.splits if split.present.images) or self.splits

    @property
    def published(self) -> Counts:
        """All that was published of the splits in use, without quantiles."""
        return Counts.sum_of(split.published for split in self.in_use)

    @property
    def present(self) -> Counts:
        """All that is there, without quantiles."""
        return Counts.sum_of(split.present for split in self.in_use)

    def as_json(self) -> dict[str, Any]:
        """The object that ``--json`` prints."""
        return {
            "ok": True,
            "error": None,
            "target": self.target,
            "catalog": self.catalog or None,
            "installed": self.installed or None,
            "files": self.files,
            "archives": [
                {"name": name, **asdict(archive), "whole": archive.is_whole}
                for name, archive in self.archives.items()
            ],
            "forgotten": self.forgotten,
            "splits": {
                split.name: {
                    "present": split.present.as_json(),
                    "published": split.published.as_json(),
                    "without_metadata": split.without_metadata,
                }
                for split in self.splits
            },
        }


def info(target: StrPath) -> Survey:
    """Look at what ``target`` has: one pass over its metadata, none over its images.

    ``target`` may have been installed by whatever tool, as a whole or in part.  One that has a record of what
    was installed, and no metadata of this kind, has no ``splits`` (other datasets).

    Raises:
        StorageError: there is no dataset, a file is missing or cannot be read, or a split has images and no
            metadata.
        MetadataError: ``fdf_metainfo.json`` is damaged, or lacks a licence or a box; with the byte offset.
        IntegrityError: an image has a name that is no number, or ``.fdf256/forgotten`` is damaged.
    """
    return survey(target, Job())


def survey(target: StrPath, job: Job) -> Survey:
    """:func:`info` with a ``job`` that can be cancelled from another thread; raises the same."""
    root = Path(target)
    workspace = Workspace.of(root)
    record = read_record(workspace)
    forgotten = read_forgotten(workspace)
    with storing("read", root):
        names = splits_with_metadata(root)
    if not names and record is None:
        raise no_metadata(root)
    return Survey(
        str(target),
        tuple(_split(root, name, job) for name in names),
        record.archives if record else {},
        _installed_at(workspace) if record else "",
        record.catalog if record else "",
        record.files if record else 0,
        len(forgotten),
    )


def _split(root: Path, name: str, job: Job) -> SplitSurvey:
    # The metadata alone are installed by --metadata-only, and before a part of the other split.
    has_images = os.path.lexists(root / name / "images")
    numbers = image_numbers(root, name) if has_images else ()
    published, present = map(
        Counts.of, statistics(job, root / name / FILE_NAME, numbers, SIZE_EDGES, FRACTIONS)
    )
    return SplitSurvey(name, published, present, len(numbers) - present.images)


def no_metadata(root: Path) -> StorageError:
    """What to raise where the metadata are needed and not there."""
    for split in SPLITS:
        if os.path.lexists(root / split / "images") and not os.path.lexists(root / split / FILE_NAME):
            return missing(
                root / split / FILE_NAME,
                hint=f"There are images of {split}. Fetch the metadata alone: "
                f"{download_command(root)} --metadata-only",
            )
    return missing(root / SPLITS[0] / FILE_NAME, hint=f"Install the dataset first: fdf256 download {root}")


def _installed_at(workspace: Workspace) -> str:
    """When the record was written; it has just been found sound."""
    try:
        told = json.loads(workspace.installed.read_bytes()).get("installed")
    except (OSError, ValueError, AttributeError, RecursionError):
        return ""
    return told if isinstance(told, str) else ""


def _by_year(years: Iterable[tuple[int, int]]) -> dict[int | None, int]:
    return {year or None: count for year, count in years}


def _json_years(years: Mapping[int | None, int]) -> dict[str, int]:
    return {"unknown" if year is None else str(year): count for year, count in years.items()}


def _sum(parts: Iterable[Mapping[K, int]]) -> dict[K, int]:
    total: dict[K, int] = {}
    for part in parts:
        for key, count in part.items():
            total[key] = total.get(key, 0) + count
    return total
