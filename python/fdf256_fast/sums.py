"""Lists of digests as others write them: which file, which algorithm.

``sha256sum``, ``md5sum`` and their kin, also with ``--tag`` and ``--zero``, ``b3sum``, ``openssl dgst``,
``.sfv``.  The lines themselves are the core's (``sums.rs``).
"""

from __future__ import annotations

import errno
import os
import re
import select
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from fdf256_fast._core import Job, parse_sums
from fdf256_fast.durable import storing
from fdf256_fast.errors import IntegrityError, StorageError, UsageError
from fdf256_fast.foreground import cancelled

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "ALGORITHMS",
    "STANDARD_INPUT",
    "BadLine",
    "SumsFile",
    "named_digests",
    "read_sums",
    "standard_input",
]

ALGORITHMS = ("md5", "sha1", "sha256", "sha512", "blake3", "crc32")

STANDARD_INPUT = "-"

LIST_BYTES_MAX = 1 << 30
"""A list of ten million files; what is larger is no list."""

PATIENCE_MILLISECONDS = 50
"""How often somebody who waits for a pipe asks whether that is still wanted."""

READ_BYTES = 1 << 20

_HINTS = (
    (re.compile(r"b3sum|blake3|\.b3\b"), "blake3"),
    (re.compile(r"sha-?512"), "sha512"),
    (re.compile(r"sha-?256"), "sha256"),
    (re.compile(r"sha-?1(?!\d)"), "sha1"),
    (re.compile(r"md5"), "md5"),
    (re.compile(r"crc32|\.sfv$"), "crc32"),
)

_UNKNOWN = re.compile(r"b2sums?\b|blake2|\.b2\b|sha3-|sha-?(?:224|384)|\bmd4|\bsm3")

_SUFFIX = re.compile(r"\.(?:b3|b3sum|blake3|md5|md5sum|sha1|sha1sum|sha256|sha256sum|sha512|sha512sum|crc32)")


class BadLine(NamedTuple):
    """A line of a list that is none: its number from one on, its beginning, and what is wrong with it."""

    line: int
    text: str
    reason: str


class SumsFile(NamedTuple):
    """The text of a list, and how it is to be read.

    ``algorithm`` is for lines that do not say; ``is_sure`` if somebody said so, and not only
    the list's name.  ``lone_name`` is the file that a list with nothing but a digest is about.
    """

    name: str
    data: bytes
    algorithm: str | None = None
    is_sure: bool = False
    lone_name: str | None = None

    @classmethod
    def of(cls, name: str, data: bytes, algorithm: str | None = None) -> SumsFile:
        """A list that is called ``name``.  Raises UsageError for an algorithm that is not one of ours."""
        base = Path(name).name
        if algorithm is not None:
            if algorithm.lower() not in ALGORITHMS:
                raise UsageError(
                    f"{algorithm!r} is not an algorithm that is known here",
                    hint=f"Known: {', '.join(ALGORITHMS)}.",
                )
            return cls(name, data, algorithm.lower(), is_sure=True, lone_name=_named_after(base))
        lower = base.lower()
        if _UNKNOWN.search(lower):
            raise UsageError(
                f"{name}: by its name, its digests are of an algorithm that is not known here",
                hint=f"Known: {', '.join(ALGORITHMS)}. If it is one of them, say so with --algorithm.",
            )
        hint = next((algorithm for pattern, algorithm in _HINTS if pattern.search(lower)), None)
        return cls(name, data, hint, lone_name=_named_after(base))


def _named_after(base: str) -> str | None:
    suffix = _SUFFIX.search(base.lower())
    return base[: suffix.start()] or None if suffix and suffix.end() == len(base) else None


def read_sums(path: Path, algorithm: str | None = None, job: Job | None = None) -> SumsFile:
    """Read the list at ``path``; ``-`` is the standard input.

    A pipe may say nothing for a long time: once ``job`` is cancelled, nobody waits for it any more.  Raises
    StorageError, UsageError, CancelledError.
    """
    job = job or Job()
    if str(path) == STANDARD_INPUT:
        with storing("read", Path("the standard input")):
            data = _read(standard_input().fileno(), job)
        _check_size(path, len(data))
        return SumsFile.of("standard input", data, algorithm)
    with storing("read", path):
        # To open a pipe that nobody writes to would wait for whoever does.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            os.set_blocking(handle, True)
            status = os.fstat(handle)
            _check_size(path, status.st_size if stat.S_ISREG(status.st_mode) else 0)
            data = _read(handle, job)
        finally:
            os.close(handle)
    _check_size(path, len(data))
    return SumsFile.of(str(path), data, algorithm)


def _read(handle: int, job: Job) -> bytes:
    """All of a list, and a little more of what is too large for one.  Raises OSError, CancelledError."""
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    chunks, left = [], LIST_BYTES_MAX + 1
    while left > 0:
        if job.cancelled:
            raise cancelled()
        if not poll.poll(PATIENCE_MILLISECONDS):
            continue
        chunk = os.read(handle, min(left, READ_BYTES))
        if not chunk:
            break
        chunks.append(chunk)
        left -= len(chunk)
    return b"".join(chunks)


def standard_input() -> BinaryIO:
    """Its bytes.  Raises StorageError where this process was started without one."""
    if sys.stdin is None:
        raise StorageError("the standard input is closed", errno=errno.EBADF)
    return sys.stdin.buffer


def _check_size(path: Path, size: int) -> None:
    if size > LIST_BYTES_MAX:
        raise StorageError(f"{path} is too large for a list of digests", filename=str(path))


def named_digests(sums: SumsFile) -> Mapping[str, str]:
    """``algorithm:hex`` by the last part of each file's name, for whoever fetches files of these names.

    Names that occur with two digests of one algorithm are left out: nobody knows which is meant; of several
    algorithms the first counts.  Raises IntegrityError where there is no line of a list.
    """
    files, problems = parse_sums(
        sums.data, algorithm=sums.algorithm, is_sure=sums.is_sure, lone_name=sums.lone_name
    )
    if not files:
        raise no_lines(sums.name, [BadLine(*problem) for problem in problems])
    found: dict[str, str] = {}
    doubtful = set()
    for name, digest in files:
        base = name.rpartition("/")[2]
        before = found.setdefault(base, digest)
        if before != digest and before.partition(":")[0] == digest.partition(":")[0]:
            doubtful.add(base)
    return {name: digest for name, digest in found.items() if name not in doubtful}


def no_lines(name: str, problems: list[BadLine]) -> IntegrityError:
    """What to raise where a list has no line that can be used."""
    why = f" Line {problems[0].line}: {problems[0].reason}." if problems else ""
    return IntegrityError(
        f"{name}: there is no digest with a file name in it",
        hint=f"It is not a list as sha256sum, md5sum or b3sum write it, or is empty.{why}",
    )
