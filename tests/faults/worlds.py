"""What is transferred, and what must come of it: a file with a digest, one without, a small dataset."""

from __future__ import annotations

import hashlib
import zipfile
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from fdf256_fast import fetch, install
from fdf256_fast.catalog import Archive, Catalog, Digest
from tests.faults.origin import noise
from tests.integration.oracles import Tree, check_installed, unzipped

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import aiohttp

    from fdf256_fast.limits import Limits
    from fdf256_fast.progress import Progress

__all__ = ["WORLDS", "Dataset", "File", "World", "make_worlds"]

FILE_BYTES = 1_500_000
OLD = b"what was here before"


@dataclass(frozen=True, slots=True)
class Where:
    """Where from, where to, and with what."""

    urls: Sequence[str]
    """Base addresses, the first of them asked first."""
    folder: Path
    limits: Limits
    progress: Progress
    session: aiohttp.ClientSession | None = None


class World(Protocol):
    """One kind of transfer."""

    name: str
    files: dict[str, list[bytes]]
    """What the origin has, each in its versions."""

    def prepare(self, folder: Path) -> None:
        """Put there what was there before."""

    async def transfer(self, where: Where, version: int) -> None:
        """Get it; ``version`` says whose digests are asked for."""

    def check_there(self, folder: Path, version: int) -> None:
        """It is there, the same as at its origin, and nothing else is."""

    def check_not_there(self, folder: Path) -> None:
        """Nothing of it is visible, and what was there before is untouched."""

    def size(self, version: int) -> int:
        """Bytes that have to come, at least."""


@dataclass(slots=True)
class File:
    """A plain file; where ``vouched`` is false, without a digest and over an older file."""

    name: str
    vouched: bool
    files: dict[str, list[bytes]]

    @property
    def contents(self) -> list[bytes]:
        """The versions of the one file."""
        return self.files["a.bin"]

    def prepare(self, folder: Path) -> None:
        """An older file is in the way of the one without digest."""
        folder.mkdir()
        if not self.vouched:
            (folder / "a.bin").write_bytes(OLD)

    async def transfer(self, where: Where, version: int) -> None:
        """By ``fetch``."""
        digest = f"sha256:{hashlib.sha256(self.contents[version]).hexdigest()}" if self.vouched else None
        path = await fetch(
            f"{where.urls[0]}/a.bin",
            where.folder / "a.bin",
            digest=digest,
            mirrors=[f"{url}/a.bin" for url in where.urls[1:]],
            limits=where.limits,
            progress=where.progress,
            session=where.session,
        )
        assert path == where.folder / "a.bin"

    def check_there(self, folder: Path, version: int) -> None:
        """Byte for byte, and nothing beside it."""
        self.check_is(folder, self.contents[version])

    def check_is(self, folder: Path, content: bytes) -> None:
        """The file is ``content``, and nothing is beside it."""
        assert [path.name for path in folder.iterdir()] == ["a.bin"]
        got = (folder / "a.bin").read_bytes()
        assert (len(got), got == content) == (len(content), True)

    def check_not_there(self, folder: Path) -> None:
        """Only what resume needs, and the older file."""
        found = {path.name for path in folder.iterdir()} - {"a.bin.part", "a.bin.part.journal"}
        assert found == (set() if self.vouched else {"a.bin"})
        if not self.vouched:
            assert (folder / "a.bin").read_bytes() == OLD

    def size(self, version: int) -> int:
        """Of that version."""
        return len(self.contents[version])


@dataclass(slots=True)
class Dataset:
    """Three archives, one of them deflated, each with the MD5 of its version."""

    files: dict[str, list[bytes]]
    trees: list[Tree]
    name: str = "dataset"
    vouched: bool = field(default=True)

    def prepare(self, folder: Path) -> None:
        """A target that does not exist yet."""

    def catalog(self, urls: Sequence[str], version: int) -> Catalog:
        """With these base addresses."""
        archives = tuple(
            Archive(
                name.removesuffix(".zip"),
                "images",
                tuple(f"{url}/{name}" for url in urls),
                Digest("md5", hashlib.md5(versions[version]).hexdigest()),
            )
            for name, versions in self.files.items()
        )
        return Catalog("made-up", "Made up", archives, "test")

    async def transfer(self, where: Where, version: int) -> None:
        """By ``install``."""
        await install(
            where.folder,
            catalog=self.catalog(where.urls, version),
            limits=where.limits,
            progress=where.progress,
            session=where.session,
        )

    def check_there(self, folder: Path, version: int) -> None:
        """The tree that unzip makes, a manifest, and nothing else."""
        check_installed(folder, self.trees[version])

    def check_not_there(self, folder: Path) -> None:
        """Nothing but the workspace."""
        assert {path.name for path in folder.iterdir()} <= {".fdf256"}
        assert not (folder / ".fdf256" / "installed.json").exists()

    def size(self, version: int) -> int:
        """All archives together."""
        return sum(len(versions[version]) for versions in self.files.values())


WORLDS = ("file with digest", "file without digest", "dataset")


def make_worlds(folder: Path, *, file_bytes: int = FILE_BYTES, members: int = 16) -> dict[str, World]:
    """All three, by name.  Versions: the first, another of the same size, another that is longer."""
    contents = [noise(file_bytes, "0"), noise(file_bytes, "1"), noise(file_bytes + 70_001, "2")]
    archives: dict[str, list[bytes]] = {}
    trees = []
    for version in range(3):
        made = _archives(folder / f"version-{version}", version, members)
        trees.append(unzipped(made, folder / f"unzipped-{version}"))
        for path in made:
            archives.setdefault(path.name, []).append(path.read_bytes())
    return {
        "file with digest": File("file with digest", vouched=True, files={"a.bin": contents}),
        "file without digest": File("file without digest", vouched=False, files={"a.bin": contents}),
        "dataset": Dataset(archives, trees),
    }


def _archives(folder: Path, version: int, members: int) -> list[Path]:
    """The first two versions are of the same size: stored, and deflated noise that cannot be shortened."""
    folder.mkdir(parents=True)
    paths = []
    for name, method in (("first", 0), ("packed", 8), ("third", 0)):
        path = folder / f"{name}.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for number in range(members):
                size = 15_000 + 5_003 * (number % 5) + 1_000 * (version == 2)
                data = noise(size, f"{name}/{number}/{version}")
                if method:
                    data = bytes(byte & 15 for byte in data)
                member = zipfile.ZipInfo(f"train/images/{name}-{number}.png")
                archive.writestr(member, data, method, compresslevel=1)
        paths.append(path)
    return paths
