"""A set of two small archives, images and metadata, in a folder that serves as their mirror."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from fdf256_fast.catalog import Catalog, parse_catalog
from tests.integration.oracles import bytes_of, write_zip

if TYPE_CHECKING:
    from pathlib import Path

IMAGES = {
    **{f"train/images/{number}.png": bytes_of(3000 + number, number) for number in range(1, 11)},
    **{f"val/images/{number}.png": bytes_of(2000 + number, number + 7) for number in range(1, 6)},
}
METADATA = {f"{split}/fdf_metainfo.json": b'{"%b": 1}\n' % split.encode() for split in ("train", "val")}
SET = {**METADATA, **IMAGES}


def make_set(folder: Path, images: dict[str, bytes] = IMAGES) -> Catalog:
    """``meta.zip`` and ``a.zip`` in ``folder``, and the catalog of them."""
    folder.mkdir()
    lines = ['name = "x"', 'title = "X"']
    for name, role, members in (("meta", "metadata", METADATA), ("a", "images", images)):
        archive = write_zip(folder / f"{name}.zip", members)
        lines += ["[[archive]]", f'name = "{name}"', f'role = "{role}"']
        lines += [f'url = "{archive.as_uri()}"', f'digest = "md5:{_md5(archive)}"']
    (folder / "catalog.toml").write_text("\n".join(lines))
    return parse_catalog("\n".join(lines), str(folder / "catalog.toml"))


def _md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


def lines_of(target: Path) -> list[bytes]:
    """Of the manifest, each with its newline."""
    return (target / ".fdf256/SHA256SUMS").read_bytes().splitlines(keepends=True)


def lose_line(target: Path, path: str) -> None:
    """Take ``path`` out of the manifest, and its file out of the tree."""
    kept = [line for line in lines_of(target) if line[66:].strip() != path.encode()]
    assert len(kept) == len(lines_of(target)) - 1
    (target / ".fdf256/SHA256SUMS").write_bytes(b"".join(kept))
    (target / path).unlink()
