"""Archives on this machine: zips of many small and few large members, compressed tars."""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING, Final

from bench import checks
from bench.archives import make_tar, make_zip
from bench.figures import ratio
from bench.frame import Aim, Case, Contestant, Job
from bench.measure import Command

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from bench.frame import Workshop

__all__ = ["JOB"]

_FILES: Final = 10_000
_FILE_BYTES: Final = 100_000
_LARGE_FILES: Final = 3
_LARGE_BYTES: Final = 500_000_000
_QUICK_PART: Final = 50
#: Into the folder that they run in; each with what makes it say least.
_OF_ZIPS: Final = {
    "unzip": ("unzip", "-q"),
    "bsdtar": ("bsdtar", "-xf"),
    "7z": ("7z", "x", "-y", "-bso0", "-bsp0"),
    "ripunzip": ("ripunzip", "unzip-file"),
}
_REST: Final = ("unzip", "bsdtar", "7z", "zipfile")
_PACKERS: Final = {"tar.gz": ("gzip", "-6"), "tar.zst": ("zstd", "-q", "-3", "-T0")}


def _cases(workshop: Workshop) -> Iterator[Case]:
    part = _QUICK_PART if workshop.quick else 1
    many, few = [_FILE_BYTES] * (_FILES // part), [_LARGE_BYTES // part] * _LARGE_FILES
    for shape, sizes in (("many", many), ("large", few)):
        for kind in ("stored", "deflated"):
            path = workshop.folder / f"{shape}-{kind}.zip"
            make_zip(path, sizes, deflated=kind == "deflated", seed=workshop.seed)
            yield _zip_case(f"{shape}-{kind}", f"{_size_words(sizes)}, {kind}", path, workshop)
            # The tars are made of it, and compared with it.
            if path.name != "many-deflated.zip":
                path.unlink()
    original = workshop.folder / "many-deflated.zip"
    for kind, packer in _PACKERS.items():
        if workshop.tools.path(packer[0]) is not None:
            path = workshop.folder / f"many.{kind}"
            make_tar(path, original, packer)
            yield _tar_case(kind, f"{_size_words(many)}, {kind}", (path, original), workshop)
            path.unlink()


def _size_words(sizes: Sequence[int]) -> str:
    return f"{len(sizes):,} members of {sizes[0] / 1e6:g} MB"


def _zip_case(name: str, title: str, path: Path, workshop: Workshop) -> Case:
    others = [
        _contestant(tool, (workshop.tools.path(tool) or tool, *words[1:], str(path)), path, needs=(tool,))
        for tool, words in _OF_ZIPS.items()
    ]
    python = (sys.executable, "-m", "zipfile", "-e", str(path), ".")
    return Case(name, title, [_ours(path, path), *others, _contestant("zipfile", python, path)])


def _tar_case(name: str, title: str, paths: tuple[Path, Path], workshop: Workshop) -> Case:
    path, original = paths
    unpackers = {"tar.gz": ("gzip", "pigz"), "tar.zst": ("zstd",)}[name]
    tar, bsdtar = (workshop.tools.path(tool) or tool for tool in ("tar", "bsdtar"))
    others = [
        _contestant(f"tar, {tool}", (tar, "-I", tool, "-xf", str(path)), original, needs=("tar", tool))
        for tool in unpackers
    ]
    others.append(_contestant("bsdtar", (bsdtar, "-xf", str(path)), original, needs=("bsdtar",)))
    if name == "tar.gz":
        python = (sys.executable, "-m", "tarfile", "-e", str(path), ".")
        others.append(_contestant("tarfile", python, original))
    return Case(name, title, [_ours(path, original), *others])


def _ours(path: Path, original: Path) -> Contestant:
    argv = (sys.executable, "-m", "fdf256_fast", "extract", str(path), "-d", ".")
    return _contestant("fdf256", argv, original)


def _contestant(name: str, argv: tuple[str, ...], original: Path, needs: tuple[str, ...] = ()) -> Contestant:
    """One that unpacks into the folder that it runs in; ``original`` is a zip of what there shall be then."""
    words = ("fdf256", *argv[3:]) if name == "fdf256" else (argv[0].rpartition("/")[2], *argv[1:])
    shown = " ".join(word.rpartition("/")[2] if "/" in word else word for word in words)
    return Contestant(
        name,
        shown,
        lambda folder: [Command(name, argv, folder)],
        partial(checks.unpacked, archives=[original]),
        needs,
    )


def _zip_aims() -> Iterator[Aim]:
    for case, words in (
        ("many-stored", "10,000 stored members"),
        ("many-deflated", "10,000 deflated members"),
        ("large-stored", "3 large stored members"),
        ("large-deflated", "3 large deflated members"),
    ):
        yield Aim(f"extract {words}, against ripunzip", 0.8, ratio(case, "ripunzip"))
        yield Aim(f"extract {words}, against the fastest of the rest", 0.8, ratio(case, *_REST))


JOB: Final = Job(
    name="extract",
    title="Extract: archives on this machine",
    about=(
        "Archives lie in the page cache. Ours looks at a zip's whole directory first, checks names, sizes and"
        " CRC-32, and shows nothing before all is whole; none of the others does all of that."
        " The bytes of stored members are noise; deflated ones, and those of tars, compress to about half."
    ),
    cases=_cases,
    needs=(*_OF_ZIPS, "gzip", "pigz", "tar", "zstd"),
    aims=(
        *_zip_aims(),
        Aim("extract tar.gz, against the fastest", 0.8, ratio("tar.gz")),
        Aim("extract tar.zst, against the fastest", 0.8, ratio("tar.zst")),
    ),
)
