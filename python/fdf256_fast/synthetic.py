"""A synthetic dataset in FDF256's layout, for ``demo``, tests and benchmarks.

Five archives, as published: ``metainfo.zip`` and one archive per licence.  The same seed and
arguments give the same bytes (with the same build of zlib).  The people in them are invented.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Final, Literal, get_args

from .errors import UsageError
from .synthetic_images import Painter
from .synthetic_metadata import (
    LICENSES,
    Face,
    bounding_box_npy,
    invent_faces,
    landmarks_npy,
    metainfo_json,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

__all__ = ["ARCHIVE_NAMES", "Compression", "SyntheticDataset", "make_dataset"]

Compression = Literal["stored", "deflated", "mixed"]

METADATA_ARCHIVE: Final = "metainfo"
ARCHIVE_NAMES: Final = (METADATA_ARCHIVE, *LICENSES)

#: FDF256 has 6,533 validation images besides 241,982 for training (its FDF256.md).
_VALIDATION_SHARE: Final = 6_533 / (6_533 + 241_982)
#: With ``mixed`` these are stored, the others deflated: both must work, in one run.
_STORED_WHEN_MIXED: Final = frozenset({"cc-by-2", "cc-by-sa-2"})
#: Archives made from a folder name the folders too; one does here, the others only name files.
_ARCHIVE_WITH_FOLDERS: Final = "cc-by-sa-2"
#: The first moment that a zip can tell; a real date would make every archive another one.
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class SyntheticDataset:
    """What was written: per archive name its path, ``md5:`` digest, size and number of members.

    ``sizes`` are in bytes; ``members`` counts files, not folders.
    """

    directory: Path
    archives: dict[str, Path]
    digests: dict[str, str]
    sizes: dict[str, int]
    members: dict[str, int]

    def catalog_toml(self, base_url: str) -> str:
        """A catalog of this dataset, its archives at ``base_url/<name>.zip``."""
        lines = ['name = "fdf256-synthetic"', 'title = "Synthetic FDF256"']
        for name, path in self.archives.items():
            # A JSON string is a TOML basic string as well.
            url = json.dumps(f"{base_url.rstrip('/')}/{path.name}")
            role = "metadata" if name == METADATA_ARCHIVE else "images"
            lines += ["", "[[archive]]", f'name = "{name}"', f'role = "{role}"', f"url = {url}"]
            lines += [f'digest = "{self.digests[name]}"', f"size = {self.sizes[name]}"]
            if role == "images":
                lines.append(f'license = "{name}"')
        return "\n".join(lines) + "\n"


def make_dataset(
    directory: Path,
    *,
    images: int = 600,
    image_bytes: int = 100_000,
    val_images: int | None = None,
    seed: int = 256,
    compression: Compression = "mixed",
) -> SyntheticDataset:
    """Write the five archives into ``directory``, which is made where it is missing.

    ``images`` is the number in both splits together, ``val_images`` how many of them are for
    validation (by default FDF256's share, at least one where there are two).  ``image_bytes`` is
    the mean size of a PNG.  ``compression`` is that of the members: all stored, all deflated, or
    some archives of each kind.  Takes about 0.2 s, and then 0.5 ms for an image that is stored and
    5 ms for one that is deflated: call it in a thread.

    Raises :class:`UsageError` for numbers that make no dataset, OSError where writing fails.
    """
    if compression not in get_args(Compression):
        raise UsageError(f"no compression is called {compression!r}")
    if val_images is None:
        val_images = max(1, round(images * _VALIDATION_SHARE)) if images > 1 else 0
    if not 0 <= val_images <= images or images < 1:
        raise UsageError(f"no dataset has {images} images, {val_images} of them for validation")
    painter = Painter(seed, image_bytes)
    generator = Random(f"{seed}/faces")
    splits = {
        "train": invent_faces(generator, images - val_images),
        "val": invent_faces(generator, val_images),
    }
    directory.mkdir(parents=True, exist_ok=True)
    archives = {name: directory / f"{name}.zip" for name in ARCHIVE_NAMES}
    members: dict[str, int] = {}
    for name, path in archives.items():
        is_stored = compression == "stored" or (compression == "mixed" and name in _STORED_WHEN_MIXED)
        content = (
            _metadata_members(splits) if name == METADATA_ARCHIVE else _image_members(splits, name, painter)
        )
        with_folders = name == _ARCHIVE_WITH_FOLDERS
        members[name] = _write_archive(path, content, is_stored, with_folders)
    return SyntheticDataset(
        directory=directory,
        archives=archives,
        digests={name: f"md5:{_md5(path)}" for name, path in archives.items()},
        sizes={name: path.stat().st_size for name, path in archives.items()},
        members=members,
    )


def _metadata_members(splits: dict[str, list[Face]]) -> Iterator[tuple[str, bytes]]:
    for split, faces in splits.items():
        yield f"{split}/fdf_metainfo.json", metainfo_json(split, faces)
        yield f"{split}/landmarks.npy", landmarks_npy(faces)
        yield f"{split}/bounding_box.npy", bounding_box_npy(faces)


def _image_members(
    splits: dict[str, list[Face]], archive: str, painter: Painter
) -> Iterator[tuple[str, bytes]]:
    for split, faces in splits.items():
        for number, face in enumerate(faces):
            if face.license == archive:
                name = f"{split}/images/{number}.png"
                yield name, painter.paint(name)


def _write_archive(
    path: Path, content: Iterable[tuple[str, bytes]], is_stored: bool, with_folders: bool
) -> int:
    """Write one archive and return its number of files."""
    method = zipfile.ZIP_STORED if is_stored else zipfile.ZIP_DEFLATED
    files = 0
    folders: set[str] = set()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in content:
            if with_folders:
                for folder in _folders_of(name):
                    if folder not in folders:
                        folders.add(folder)
                        archive.writestr(_entry(folder, 0o040755 << 16 | 0x10), b"")
            entry = _entry(name, 0o100644 << 16)
            archive.writestr(entry, data, compress_type=method, compresslevel=1)
            files += 1
    return files


def _folders_of(name: str) -> Iterator[str]:
    """``a/b/c.png`` lies in ``a/`` and in ``a/b/``."""
    parts = name.split("/")
    for count in range(1, len(parts)):
        yield "/".join(parts[:count]) + "/"


def _entry(name: str, attributes: int) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, _EPOCH)
    entry.create_system = 3  # Unix, whatever this runs on: the bytes must not depend on it
    entry.external_attr = attributes
    return entry


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        # FDF256 publishes MD5s: what is wanted here is the same check, not security.
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
