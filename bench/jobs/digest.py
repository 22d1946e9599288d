"""Lists of digests: one large file, many small ones, and the MD5 of a few archives."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from bench.figures import cpu_ratio, ratio
from bench.files import make_files
from bench.frame import Aim, Case, Contestant, Job
from bench.measure import Command

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from bench.frame import Workshop

__all__ = ["JOB"]

_LARGE_BYTES: Final = 2_000_000_000
_FILES: Final = 10_000
_FILE_BYTES: Final = 100_000
_ARCHIVES: Final = 4
_QUICK_PART: Final = 50
_PROGRAMS: Final = {"sha256": "sha256sum", "md5": "md5sum", "blake3": "b3sum"}
#: Lists that the peers take, for each core: with one each, the slower core would end alone.
_PARTS_EACH: Final = 4


@dataclass(frozen=True, slots=True)
class _Work:
    """Files in a folder, and an algorithm."""

    workshop: Workshop
    paths: Sequence[Path]
    algorithm: str

    @property
    def folder(self) -> Path:
        return self.paths[0].parent

    def tool(self, name: str) -> str:
        return self.workshop.tools.path(name) or name


def _cases(workshop: Workshop) -> Iterator[Case]:
    part = _QUICK_PART if workshop.quick else 1
    shapes = {
        "one": (1, _LARGE_BYTES // part),
        "many": (_FILES // part, _FILE_BYTES),
        "four": (_ARCHIVES, _LARGE_BYTES // _ARCHIVES // part),
    }
    for shape, (count, size) in shapes.items():
        paths = make_files(workshop.folder / shape, count, size)
        words = f"one file of {size / 1e9:g} GB" if count == 1 else f"{count:,} files of {size / 1e6:g} MB"
        for algorithm in ("md5",) if shape == "four" else _PROGRAMS:
            work = _Work(workshop, paths, algorithm)
            if algorithm != "blake3" or workshop.tools.path("b3sum") is not None:
                yield _case(f"{shape}-{algorithm}", f"{algorithm.upper()} of {words}", work)
        shutil.rmtree(workshop.folder / shape)


def _case(name: str, title: str, work: _Work) -> Case:
    program = _PROGRAMS[work.algorithm]
    lines = _list_of(work)
    sums = work.workshop.folder / f"{name}.{program}"
    sums.write_text("".join(lines))
    contestants = [
        _contestant(
            "fdf256", (sys.executable, "-m", "fdf256_fast", "verify", "--sums", str(sums), "."), work
        ),
        _contestant(program, (work.tool(program), "--check", "--quiet", str(sums)), work),
    ]
    names = sums.with_name(f"{name}.names")
    names.write_text("".join(f"{path.name}\n" for path in work.paths))
    if len(lines) > 1:
        parts = _parts(sums.with_name(f"{name}.parts"), lines)
        contestants.append(_at_once(program, f"{program} --check --quiet", 1, parts, work))
    if work.algorithm != "blake3":
        hashing = ("dgst", f"-{work.algorithm}")
        argv = (work.tool("xargs"), "-a", str(names), work.tool("openssl"), *hashing)
        contestants.append(_contestant("openssl", argv, work))
        if len(lines) > 1:
            each = -(-len(lines) // (_cores() * _PARTS_EACH))
            contestants.append(_at_once("openssl", f"openssl {' '.join(hashing)}", each, names, work))
    return Case(name, title, contestants, places=("memory",))


def _list_of(work: _Work) -> list[str]:
    """The list's lines, by another implementation than ours."""
    if work.algorithm == "blake3":
        import subprocess  # noqa: PLC0415  # only where Python itself does not know it

        command = [work.tool("xargs"), work.tool("b3sum")]
        given = "\n".join(path.name for path in work.paths)
        done = subprocess.run(
            command, cwd=work.folder, input=given, capture_output=True, text=True, check=True
        )
        return done.stdout.splitlines(keepends=True)
    lines = []
    for path in work.paths:
        with path.open("rb") as file:
            lines.append(f"{hashlib.file_digest(file, work.algorithm).hexdigest()}  {path.name}\n")
    return lines


def _parts(folder: Path, lines: Sequence[str]) -> Path:
    """The list cut into some for each core; the file with their names, one a line."""
    folder.mkdir()
    count = min(len(lines), _cores() * _PARTS_EACH)
    names = []
    for number in range(count):
        part = folder / f"{number}.sums"
        part.write_text("".join(lines[number::count]))
        names.append(f"{part}\n")
    listed = folder / "names"
    listed.write_text("".join(names))
    return listed


def _cores() -> int:
    return len(os.sched_getaffinity(0))


def _contestant(name: str, argv: tuple[str, ...], work: _Work) -> Contestant:
    ours = name == "fdf256"
    words = ("fdf256", *argv[3:]) if ours else tuple(word for word in argv if word not in {"-a", argv[0]})
    shown = " ".join(word.rpartition("/")[2] for word in (words if ours or name == "openssl" else argv))
    return Contestant(
        name,
        shown,
        lambda _: [Command(name, argv, work.folder)],
        needs=() if ours else ("xargs", "openssl") if name == "openssl" else (name,),
    )


def _at_once(program: str, command: str, each: int, given: Path, work: _Work) -> Contestant:
    """``command`` for ``each`` of the given lines, as often at once as there are cores."""
    name = f"xargs -P, {program}"
    argv = (work.tool("xargs"), "-a", str(given), "-P", str(_cores()), "-n", str(each), *command.split())
    return Contestant(
        name,
        f"xargs -P cores -n {each} {command}",
        lambda _: [Command(name, argv, work.folder)],
        needs=("xargs", program),
    )


def _aims() -> Iterator[Aim]:
    for shape, words in (("one", "one file"), ("many", "10,000 files")):
        for algorithm in _PROGRAMS:
            yield Aim(
                f"{algorithm.upper()} of {words}, against the fastest", 0.9, ratio(f"{shape}-{algorithm}")
            )
    yield Aim(
        "CPU seconds for the MD5 of four archives, against openssl", 0.35, cpu_ratio("four-md5", "openssl")
    )


JOB: Final = Job(
    name="digest",
    title="Digests: a list of them, checked",
    about=(
        "`fdf256 verify --sums` beside the programs that write such lists, which check them, too, and beside"
        " openssl, which only computes. Files lie in the page cache."
    ),
    cases=_cases,
    needs=(*_PROGRAMS.values(), "openssl", "xargs"),
    aims=tuple(_aims()),
    touched_bytes=0,
)
