"""Who is compared: the commands as a user would give them, and whether their result is right."""

from __future__ import annotations

import filecmp
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from measure import Command

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from data import Data

__all__ = ["Aria2", "Chain", "Contestant", "Ours", "WrongResult", "cores", "same_tree", "which_run"]

#: Program -> Debian's package.
_PACKAGES: Final = {
    "aria2c": "aria2",
    "bsdtar": "libarchive-tools",
    "md5sum": "coreutils",
    "wget2": "wget2",
    "xargs": "findutils",
}

#: Measured with wget2 1.99.1 on 1.01 GB stored, 2 cores, medians of 3 (least) in seconds.  Whole
#: archives: 2 threads 0.97 (0.81), 3 threads 0.88 (0.82), 5 threads 0.93 (0.91), 16 threads 0.97
#: (0.97).  With --chunk-size it is slower at any size: 16 threads and 1M 1.95, 2M 1.56, 8M 1.68,
#: 16M 2.3, 64M 4.1, for chunks are requested one by one and large ones held in memory.
_WGET2: Final = ("wget2", "--quiet", "--max-threads=3")

#: As the design names it.  -k, -s, --disk-cache made no difference beyond the noise.
_ARIA2: Final = ("aria2c", "--quiet", "--no-conf", "-x4", "-j4", "--file-allocation=none")


class WrongResult(Exception):
    """A program ended with status 0 and left something else than it should have."""


class Contestant(Protocol):
    """A way to get the work done, in a fresh folder each time."""

    @property
    def name(self) -> str:
        """For tables."""
        ...

    @property
    def description(self) -> str:
        """The commands, in short."""
        ...

    @property
    def needs(self) -> tuple[str, ...]:
        """Programs that must be here."""
        ...

    def prepare(self, folder: Path, data: Data) -> Sequence[Command]:
        """The commands to time, one after the other; what they need is made now, untimed."""
        ...

    def check(self, folder: Path, data: Data) -> None:
        """Raise :class:`WrongResult` unless all is there."""
        ...


@dataclass(frozen=True, slots=True)
class Ours:
    """The command of this package, in the interpreter that runs this script."""

    name: str = "fdf256"
    description: str = "fdf256 download --progress none --json: download, verify, unpack, publish"
    needs: tuple[str, ...] = ()

    def prepare(self, folder: Path, data: Data) -> Sequence[Command]:
        """One command; the catalog holds the digests and the addresses."""
        catalog = folder / "catalog.toml"
        catalog.write_text(data.catalog)
        module = (sys.executable, "-m", "fdf256_fast", "download", str(folder / "tree"))
        options = ("--catalog", str(catalog), "--progress", "none", "--json")
        return [Command("fdf256", module + options, folder)]

    def check(self, folder: Path, data: Data) -> None:
        """Compare with what Python's own zipfile unpacks."""
        reference = folder / "reference"
        for name in data.names:
            unzip = [sys.executable, "-m", "zipfile", "-e", str(data.folder / name)]
            subprocess.run([*unzip, str(reference)], check=True)
        same_tree(folder / "tree", reference)
        shutil.rmtree(reference)


@dataclass(frozen=True, slots=True)
class Chain:
    """The best chain of stock tools, each on all cores."""

    name: str = "chain"
    description: str = f"{' '.join(_WGET2)} URL...; xargs -P{{cores}} md5sum -c; xargs -P{{cores}} bsdtar -x"
    needs: tuple[str, ...] = ("wget2", "xargs", "md5sum", "bsdtar")

    def prepare(self, folder: Path, data: Data) -> Sequence[Command]:
        """Three commands; one checksum file for each archive, so that they can be checked at once."""
        archives = folder / "archives"
        archives.mkdir()
        (folder / "tree").mkdir()
        for name in data.names:
            (archives / f"{name}.md5").write_text(f"{data.md5[name]}  {name}\n")
        (folder / "archive-list").write_text("".join(f"{name}\n" for name in data.names))
        (folder / "check-list").write_text("".join(f"{name}.md5\n" for name in data.names))
        xargs = ("xargs", f"--max-procs={cores()}", "--max-args=1")
        check = ("--arg-file=../check-list", "md5sum", "--check", "--quiet")
        unpack = ("--arg-file=../archive-list", "bsdtar", "-C", "../tree", "-xf")
        return [
            Command("wget2", _WGET2 + data.urls, archives),
            Command("md5sum", xargs + check, archives),
            Command("bsdtar", xargs + unpack, archives),
        ]

    def check(self, folder: Path, data: Data) -> None:
        """What was downloaded, byte by byte; the tree is what ours is compared with."""
        _same_archives(folder / "archives", data)


@dataclass(frozen=True, slots=True)
class Aria2:
    """Downloads only: nothing is verified or unpacked."""

    name: str = "aria2c"
    description: str = f"{' '.join(_ARIA2)} -i FILE: download only"
    needs: tuple[str, ...] = ("aria2c",)

    def prepare(self, folder: Path, data: Data) -> Sequence[Command]:
        """One command."""
        archives = folder / "archives"
        archives.mkdir()
        (folder / "urls").write_text("".join(f"{url}\n" for url in data.urls))
        return [Command("aria2c", (*_ARIA2, "-i", "../urls"), archives)]

    def check(self, folder: Path, data: Data) -> None:
        """What was downloaded, byte by byte."""
        _same_archives(folder / "archives", data)


def cores() -> int:
    """Processors that this process may use, as nproc counts them."""
    return len(os.sched_getaffinity(0))


def which_run(
    contestants: Sequence[Contestant],
) -> tuple[list[Contestant], dict[str, str]]:
    """Those whose programs are here, and why the others are left out, by name."""
    here: list[Contestant] = []
    left_out: dict[str, str] = {}
    for contestant in contestants:
        missing = [program for program in contestant.needs if shutil.which(program) is None]
        if missing:
            packages = " ".join(_PACKAGES[program] for program in missing)
            left_out[contestant.name] = f"{', '.join(missing)} not found (Debian: apt-get install {packages})"
        else:
            here.append(contestant)
    return here, left_out


def same_tree(ours: Path, theirs: Path) -> None:
    """Raise :class:`WrongResult` with the first differences; our own folder is not compared."""
    compared = subprocess.run(
        ["diff", "-r", "--brief", "--exclude=.fdf256", str(ours), str(theirs)],
        capture_output=True,
        text=True,
        check=False,
    )
    if compared.returncode != 0:
        raise WrongResult(f"the trees differ: {(compared.stdout + compared.stderr)[:2_000]}")


def _same_archives(archives: Path, data: Data) -> None:
    for name in data.names:
        if not filecmp.cmp(archives / name, data.folder / name, shallow=False):
            raise WrongResult(f"{archives.parent.name}: {name} is not what the server has")
