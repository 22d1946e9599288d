"""Second opinions: what is right, as programs and libraries say that are not ours."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import threading
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path
from traceback import walk_stack
from typing import TYPE_CHECKING

from fdf256_fast.catalog import Catalog, parse_catalog
from fdf256_fast.synthetic import Compression, SyntheticDataset, make_dataset

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Tree = dict[str, str]
"""Per relative path the SHA-256 of a file, or FOLDER."""

FOLDER = "a folder"
WORKSPACE = ".fdf256"
FINISHED = {"lock", "SHA256SUMS", "SIZES", "installed.json"}
"""What lies in a workspace after everything went well."""


@dataclass(frozen=True, slots=True)
class Published:
    """A dataset as its publisher has it: the archives, and the tree that unzip makes of them."""

    dataset: SyntheticDataset
    tree: Tree

    @property
    def folder(self) -> Path:
        """Where the archives lie."""
        return self.dataset.directory

    @property
    def size(self) -> int:
        """All archives together, in bytes."""
        return sum(self.dataset.sizes.values())

    @property
    def files(self) -> int:
        """Files in all archives."""
        return sum(self.dataset.members.values())

    def catalog(self, url: str) -> Catalog:
        """The archives at ``url``."""
        return parse_catalog(self.dataset.catalog_toml(url), "test catalog")


def publish_dataset(
    folder: Path, *, images: int, compression: Compression, image_bytes: int = 20_000, seed: int = 256
) -> Published:
    """Make a dataset in ``folder/archives`` and unpack it."""
    dataset = make_dataset(
        folder / "archives", images=images, image_bytes=image_bytes, compression=compression, seed=seed
    )
    return Published(dataset, unzipped(dataset.archives.values(), folder / "unzipped"))


def unzipped(archives: Iterable[Path], folder: Path) -> Tree:
    """The tree that Info-ZIP makes of ``archives``; Python's zipfile where it is not installed."""
    folder.mkdir(parents=True)
    unzip = shutil.which("unzip")
    for archive in archives:
        if unzip is not None:
            subprocess.run([unzip, "-q", "-o", archive, "-d", folder], check=True, timeout=60)
        else:
            with zipfile.ZipFile(archive) as opened:
                opened.extractall(folder)
    return tree_of(folder)


def tree_of(folder: Path, *, workspace: bool = False) -> Tree:
    """Everything under ``folder``, without our workspace unless asked for."""
    tree: Tree = {}
    for root, folders, files in os.walk(folder):
        here = Path(root)
        if not workspace and here == folder and WORKSPACE in folders:
            folders.remove(WORKSPACE)
        for name in folders:
            tree[str((here / name).relative_to(folder))] = FOLDER
        for name in files:
            tree[str((here / name).relative_to(folder))] = sha256(here / name)
    return tree


def same_tree(folder: Path, tree: Mapping[str, str]) -> None:
    """``folder`` holds exactly ``tree``."""
    found = tree_of(folder)
    missing, surplus = sorted(tree.keys() - found.keys()), sorted(found.keys() - tree.keys())
    other = sorted(path for path in tree.keys() & found.keys() if tree[path] != found[path])
    assert (missing, surplus, other) == ([], [], []), f"{missing=}\n{surplus=}\n{other=}"


def sha256(path: Path) -> str:
    """By hashlib."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_manifest(target: Path) -> None:
    """The program sha256sum is content with the manifest, and the manifest knows every file."""
    manifest = target / WORKSPACE / "SHA256SUMS"
    files = {path: digest for path, digest in tree_of(target).items() if digest != FOLDER}
    told = {line[66:]: line[:64] for line in manifest.read_text("utf-8").splitlines()}
    assert told == files
    if (sha256sum := shutil.which("sha256sum")) is not None:
        command = [sha256sum, "--check", "--strict", "--quiet", f"{WORKSPACE}/SHA256SUMS"]
        subprocess.run(command, cwd=target, check=True, timeout=60)


def check_installed(target: Path, tree: Mapping[str, str]) -> None:
    """``target`` is ``tree``, with a manifest, and with nothing else left behind."""
    same_tree(target, tree)
    check_manifest(target)
    assert {path.name for path in (target / WORKSPACE).iterdir()} == FINISHED


def write_zip(path: Path, members: Mapping[str, bytes], method: int = zipfile.ZIP_STORED) -> Path:
    """An archive by Python's zipfile, always the same bytes for the same members."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name), data, method, compresslevel=1)
    return path


def bytes_of(size: int, shift: int = 0) -> bytes:
    """Bytes that depend on their position with a prime period: swaps and shifts show."""
    period = bytes((i + shift) % 251 for i in range(251))
    return (period * (size // 251 + 1))[:size]


def busy_threads() -> list[str]:
    """Executors' threads that are still at some work, a second after it was to be over."""
    until = time.monotonic() + 1.0
    while (busy := _busy_threads()) and time.monotonic() < until:
        time.sleep(0.01)
    return busy


def _busy_threads() -> list[str]:
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    busy = []
    for ident, frame in sys._current_frames().items():
        # An idle thread of an executor waits in _worker; one with work is in _WorkItem.run below it.
        code = {(Path(each.f_code.co_filename).name, each.f_code.co_name) for each, _ in walk_stack(frame)}
        if ("thread.py", "run") in code:
            busy.append(names.get(ident, "?"))
    return busy
