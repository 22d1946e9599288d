"""Tars and plain files as a publisher has them, catalogs of them, and what tarfile makes of them."""

from __future__ import annotations

import hashlib
import json
import tarfile
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fdf256_fast.catalog import parse_catalog
from fdf256_fast.synthetic_siblings import SyntheticSibling, make_sibling
from tests.integration.oracles import FINISHED, WORKSPACE, check_manifest, same_tree, tree_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from fdf256_fast.catalog import Catalog
    from tests.integration.oracles import Tree


@dataclass(frozen=True, slots=True)
class Sibling:
    """A set such as FDH, and its tree."""

    made: SyntheticSibling
    tree: Tree

    @property
    def folder(self) -> Path:
        return self.made.directory

    @property
    def size(self) -> int:
        return sum(self.made.sizes.values())

    def catalog(self, url: str) -> Catalog:
        return parse_catalog(self.made.catalog_toml(url), "test catalog")


def publish_sibling(folder: Path, *, images: int = 60, image_bytes: int = 20_000) -> Sibling:
    """Make one in ``folder/served``, and its tree by tarfile."""
    made = make_sibling(folder / "served", images=images, image_bytes=image_bytes)
    tree = folder / "tree"
    tree.mkdir()
    for name, path in made.archives.items():
        if name.endswith(".tar"):
            with tarfile.open(path) as opened:
                opened.extractall(tree, filter="data")
        else:
            (tree / name).write_bytes(path.read_bytes())
    return Sibling(made, tree_of(tree))


def check_sibling(target: Path, tree: Mapping[str, str], *, archives: bool = False) -> None:
    """``target`` is ``tree``, with a manifest, and nothing but the lists of the tars beside it."""
    same_tree(target, tree)
    check_manifest(target)
    names = {path.name for path in (target / WORKSPACE).iterdir()}
    assert names == FINISHED | {"listings"} | ({"archives"} if archives else set())


@dataclass(slots=True)
class Site:
    """Files in a folder to be served, one after the other."""

    folder: Path
    files: dict[str, str] = field(default_factory=dict)

    def put(self, name: str, data: bytes, digest: str | None = "") -> None:
        """Serve ``data``; ``digest`` is the right one unless given, None for a catalog that has none."""
        self.folder.mkdir(exist_ok=True)
        (self.folder / name).write_bytes(data)
        md5 = f"md5:{hashlib.md5(data).hexdigest()}" if digest == "" else digest
        self.files[name] = md5 or ""

    def catalog(self, url: str, *other_urls: str) -> Catalog:
        lines = ['name = "x"', 'title = "X"']
        for name, digest in self.files.items():
            urls = json.dumps([f"{base}/{name}" for base in (url, *other_urls)])
            lines += ["[[archive]]", f'name = "{name}"', 'role = "images"', f"url = {urls}"]
            if digest:
                lines.append(f'digest = "{digest}"')
        return parse_catalog("\n".join(lines), "test catalog")


def nothing_published(target: Path) -> bool:
    """Whether nobody sees anything of it."""
    return {path.name for path in target.iterdir()} <= {WORKSPACE}
