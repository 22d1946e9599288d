"""A whole dataset: five archives downloaded, checked and unpacked."""

from __future__ import annotations

import functools
import shutil
import sys
from typing import TYPE_CHECKING, Final

from bench import checks, published
from bench.data import Data, Shape, make_data
from bench.figures import peak_bytes, ratio
from bench.frame import Aim, CannotRun, Case, Contestant, Job
from bench.machine import cores
from bench.measure import Command
from bench.nginx import running_nginx

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from bench.figures import Results
    from bench.frame import Workshop
    from bench.tools import Tools

__all__ = ["JOB"]

_FULL: Final = Shape(images=10_000, image_bytes=130_000)
_QUICK: Final = Shape(images=100)
#: The command's default for --memory.
_MEMORY_BYTES: Final = 256 << 20

#: Measured with wget2 1.99.1 on 1.01 GB stored, 2 cores, medians of 3 (least) in seconds.  Whole
#: archives: 2 threads 0.97 (0.81), 3 threads 0.88 (0.82), 5 threads 0.93 (0.91), 16 threads 0.97
#: (0.97).  With --chunk-size it is slower at any size: 16 threads and 1M 1.95, 2M 1.56, 8M 1.68,
#: 16M 2.3, 64M 4.1, for chunks are requested one by one and large ones held in memory.
_WGET2: Final = ("--quiet", "--max-threads=3")

#: -k, -s, --disk-cache made no difference beyond the noise.
_ARIA2: Final = ("--quiet", "--no-conf", "-x4", "-j4", "--file-allocation=none")
_CURL: Final = ("--silent", "--fail", "--parallel", "--remote-name-all")
_AXEL: Final = ("--quiet", "--num-connections=4")

_CHAIN: Final = f"wget2 {' '.join(_WGET2)} URL...; xargs -P{cores()} md5sum -c; "


class _Install:
    """One kind of data on a server, and who may install it."""

    def __init__(self, data: Data, tools: Tools) -> None:
        self.data = data
        self._tools = tools

    def contestants(self) -> list[Contestant]:
        """Ours first."""
        trees = functools.partial(self._check_tree)
        archives = functools.partial(self._check_archives)
        return [
            Contestant(
                "fdf256", "fdf256 download: checks members and archives, manifest", self._ours, trees
            ),
            Contestant("published way", "GET, md5, extractall: bench/published.py", self._published, trees),
            Contestant(
                "chain, bsdtar", f"{_CHAIN}xargs -P{cores()} bsdtar -x", self._with_bsdtar, trees,
                ("wget2", "xargs", "md5sum", "bsdtar"),
            ),
            Contestant(
                "chain, ripunzip", f"{_CHAIN}xargs -P{cores()} ripunzip unzip-file", self._with_ripunzip,
                trees, ("wget2", "xargs", "md5sum", "ripunzip"),
            ),
            Contestant(
                "ripunzip unzip-uri", f"xargs -P{cores()} ripunzip unzip-uri: checks no digest",
                self._unzip_uri, trees, ("xargs", "ripunzip"),
            ),
            Contestant(
                "aria2c, downloads only", f"aria2c {' '.join(_ARIA2)} -i FILE", self._aria2, archives,
                ("aria2c",),
            ),
            Contestant(
                "wget2, downloads only", f"wget2 {' '.join(_WGET2)} URL...", self._wget2, archives,
                ("wget2",),
            ),
            Contestant(
                "curl, downloads only", f"curl {' '.join(_CURL)} URL...", self._curl, archives, ("curl",)
            ),
            Contestant(
                "axel, downloads only", f"axel {' '.join(_AXEL)} URL, one after the other", self._axel,
                archives, ("axel",),
            ),
        ]  # fmt: skip

    def _ours(self, folder: Path) -> Sequence[Command]:
        catalog = folder / "catalog.toml"
        catalog.write_text(self.data.catalog)
        module = (sys.executable, "-m", "fdf256_fast", "download", str(folder / "tree"))
        options = ("--catalog", str(catalog), "--progress", "none", "--json")
        return [Command("fdf256", module + options, folder)]

    def _published(self, folder: Path) -> Sequence[Command]:
        pairs = [
            word for name in self.data.names for word in (self.data.md5[name], f"{self.data.url}/{name}")
        ]
        return [Command("published", (sys.executable, published.__file__, "tree", *pairs), folder)]

    def _downloaded(self, folder: Path) -> list[Command]:
        """The chain's first two steps; a checksum file for each archive, so that they are checked at once."""
        archives, tree = self._folder_for_archives(folder), folder / "tree"
        tree.mkdir()
        for name in self.data.names:
            (archives / f"{name}.md5").write_text(f"{self.data.md5[name]}  {name}\n")
        (folder / "archives.list").write_text("".join(f"{name}\n" for name in self.data.names))
        (folder / "checks.list").write_text("".join(f"{name}.md5\n" for name in self.data.names))
        check = (
            *self._xargs,
            "--arg-file=../checks.list",
            self._tools.needed("md5sum"),
            "--check",
            "--quiet",
        )
        return [*self._wget2(folder), Command("md5sum", check, archives)]

    def _with_bsdtar(self, folder: Path) -> Sequence[Command]:
        unpack = ("--arg-file=../archives.list", self._tools.needed("bsdtar"), "-C", "../tree", "-xf")
        return [*self._downloaded(folder), Command("bsdtar", self._xargs + unpack, folder / "archives")]

    def _with_ripunzip(self, folder: Path) -> Sequence[Command]:
        # It has threads of its own, and two at once are faster all the same: 0.22 s, not 0.32 s, for 0.4 GB
        # stored in these five archives on two cores; bsdtar takes 0.34 s.
        program = self._tools.needed("ripunzip")
        unpack = ("--arg-file=../archives.list", program, "unzip-file", "-q", "-d", "../tree")
        return [*self._downloaded(folder), Command("ripunzip", self._xargs + unpack, folder / "archives")]

    def _unzip_uri(self, folder: Path) -> Sequence[Command]:
        (folder / "urls").write_text("".join(f"{url}\n" for url in self.data.urls))
        argv = ("--arg-file=urls", self._tools.needed("ripunzip"), "unzip-uri", "-q", "-d", "tree")
        return [Command("ripunzip", self._xargs + argv, folder)]

    def _aria2(self, folder: Path) -> Sequence[Command]:
        (folder / "urls").write_text("".join(f"{url}\n" for url in self.data.urls))
        argv = (self._tools.needed("aria2c"), *_ARIA2, "-i", "../urls")
        return [Command("aria2c", argv, self._folder_for_archives(folder))]

    def _wget2(self, folder: Path) -> Sequence[Command]:
        argv = (self._tools.needed("wget2"), *_WGET2, *self.data.urls)
        return [Command("wget2", argv, self._folder_for_archives(folder))]

    def _curl(self, folder: Path) -> Sequence[Command]:
        argv = (self._tools.needed("curl"), *_CURL, *self.data.urls)
        return [Command("curl", argv, self._folder_for_archives(folder))]

    def _axel(self, folder: Path) -> Sequence[Command]:
        archives, program = self._folder_for_archives(folder), self._tools.needed("axel")
        return [Command("axel", (program, *_AXEL, url), archives) for url in self.data.urls]

    @property
    def _xargs(self) -> tuple[str, ...]:
        return (self._tools.needed("xargs"), f"--max-procs={cores()}", "--max-args=1")

    def _folder_for_archives(self, folder: Path) -> Path:
        archives = folder / "archives"
        archives.mkdir(exist_ok=True)
        return archives

    def _check_tree(self, folder: Path) -> None:
        checks.unpacked(folder / "tree", self.data.paths)

    def _check_archives(self, folder: Path) -> None:
        checks.same_files(folder / "archives", self.data.paths)


def _cases(workshop: Workshop) -> Iterator[Case]:
    nginx = workshop.tools.path("nginx")
    if nginx is None:
        raise CannotRun(workshop.tools.missing(["nginx"]))
    full = _QUICK if workshop.quick else _FULL
    for compression in ("stored", "deflated"):
        served = workshop.folder / compression
        served.mkdir()
        with running_nginx((nginx,), served) as server:
            shape = Shape(full.images, full.image_bytes, compression)
            workshop.say(f"making {shape.images:,} images, {compression}")
            data = make_data(served, shape, workshop.seed, server.url)
            yield Case(
                name=compression,
                title=f"{len(data.names)} archives, {data.members:,} members {compression}, "
                f"{data.total_bytes / 1e9:.2f} GB",
                contestants=_Install(data, workshop.tools).contestants(),
                # The disk is the same for both, and has no part in inflating.
                places=("memory", "disk") if compression == "stored" else ("memory",),
                meter=server.meter(data.total_bytes),
            )
        shutil.rmtree(served)


def _peak_beyond_memory(results: Results) -> float | None:
    peak = peak_bytes("stored")(results)
    return None if peak is None else (peak - _MEMORY_BYTES) / 1e6


_CHAINS: Final = ("chain, bsdtar", "chain, ripunzip")

JOB: Final = Job(
    name="install",
    title="Install: a dataset of five archives",
    about=(
        "Five archives in FDF256's layout, served by an nginx on this machine. `fdf256 download` checks every"
        " member and every archive, unpacks, publishes, and writes a manifest with a SHA-256 of every file;"
        " the chains check archives and unpack them; the others only do what their name says."
    ),
    cases=_cases,
    needs=("nginx", "wget2", "xargs", "md5sum", "bsdtar", "ripunzip", "aria2c", "curl", "axel"),
    aims=(
        *(
            aim
            for case in ("stored", "deflated")
            for aim in (
                Aim(f"install ({case}) against the best chain", 0.45, ratio(case, *_CHAINS)),
                Aim(
                    f"install ({case}) against aria2c, which only downloads",
                    0.7,
                    ratio(case, "aria2c, downloads only"),
                ),
                Aim(f"install ({case}) against the published way", 0.16, ratio(case, "published way")),
            )
        ),
        Aim("peak memory of an install beyond --memory", 64.0, _peak_beyond_memory, "MB"),
    ),
)
