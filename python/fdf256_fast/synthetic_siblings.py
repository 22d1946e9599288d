"""A made-up dataset such as FDH, the sibling of FDF256: tars and plain files, for tests and documentation.

What lies where in the published tars is not known here; these have ``<licence>/<number>.png``.
The same arguments give the same bytes.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Final

from .synthetic_images import Painter
from .synthetic_metadata import LICENSES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

__all__ = ["SyntheticSibling", "make_sibling"]

_PERIOD: Final = bytes(index % 251 for index in range(251))


@dataclass(frozen=True, slots=True)
class SyntheticSibling:
    """What was written: per file name its path, ``md5:`` digest and size in bytes."""

    directory: Path
    archives: dict[str, Path]
    digests: dict[str, str]
    sizes: dict[str, int]

    def catalog_toml(self, base_url: str) -> str:
        """A catalog of it, its files at ``base_url/<file name>``."""
        lines = ['name = "fdh-synthetic"', 'title = "Synthetic FDH"']
        for name in self.archives:
            license_name = name.removesuffix(".tar")
            is_images = license_name in LICENSES
            role = "images" if is_images else "metadata" if name == "metadata.json" else "extra"
            lines += ["", "[[archive]]", f'name = "{name}"', f'role = "{role}"']
            lines += [f'url = "{base_url.rstrip("/")}/{name}"', f'digest = "{self.digests[name]}"']
            if is_images:
                lines.append(f'license = "{license_name}"')
        return "\n".join(lines) + "\n"


def make_sibling(
    directory: Path, *, images: int = 120, image_bytes: int = 20_000, seed: int = 288
) -> SyntheticSibling:
    """Write four tars of images, ``embeddings.tar``, ``metadata.json`` and ``embed_map.torch``.

    ``images`` is the number over all licences, ``image_bytes`` the mean size of one.  Call it in a thread.
    Raises OSError where writing fails.
    """
    directory.mkdir(parents=True, exist_ok=True)
    painter, generator = Painter(seed, image_bytes), Random(f"{seed}/siblings")
    licenses = {number: generator.choice(tuple(LICENSES)) for number in range(images)}
    archives = {}
    for license_name in LICENSES:
        mine = [number for number in licenses if licenses[number] == license_name]
        pictures = ((f"{license_name}/{number}.png", painter.paint(f"fdh/{number}")) for number in mine)
        archives[f"{license_name}.tar"] = _write_tar(directory / f"{license_name}.tar", pictures)
    archives["embeddings.tar"] = _write_tar(directory / "embeddings.tar", _embeddings(images))
    archives["metadata.json"] = directory / "metadata.json"
    archives["metadata.json"].write_text(
        json.dumps({str(number): {"license": licenses[number]} for number in licenses}, indent=1)
    )
    archives["embed_map.torch"] = directory / "embed_map.torch"
    archives["embed_map.torch"].write_bytes(_PERIOD * (4 * images))
    return SyntheticSibling(
        directory,
        archives,
        {name: f"md5:{_md5(path)}" for name, path in archives.items()},
        {name: path.stat().st_size for name, path in archives.items()},
    )


def _embeddings(images: int) -> Iterator[tuple[str, bytes]]:
    """Small files, a long name and one large file: what a tar may have."""
    for number in range(images):
        yield f"embeddings/{number}.npy", _PERIOD[number % 251 :] * 4
    yield f"embeddings/{'vertices-' * 20}.npy", _PERIOD * 100
    yield "embeddings/all.npy", _PERIOD * (100 * images)


def _write_tar(path: Path, members: Iterable[tuple[str, bytes]]) -> Path:
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        folders = set()
        for name, data in members:
            folder = name.partition("/")[0]
            if folder not in folders:
                folders.add(folder)
                entry = tarfile.TarInfo(folder)
                entry.type, entry.mode = tarfile.DIRTYPE, 0o755
                archive.addfile(entry)
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return path


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
