"""Lists of what was unpacked of a tar: a line for each file, with its SHA-256 and size (``listing.rs``).

One of them stays for each tar that is installed, since nothing else says which files are from it.
"""

from __future__ import annotations

import os
import zlib
from typing import TYPE_CHECKING

from fdf256_fast.durable import storing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

__all__ = ["NO_DIGEST", "read_listing", "read_paths", "without_digests"]

NO_DIGEST = "0" * 64
"""In the place of a SHA-256 that nobody is to know any more: that of a forgotten image."""


def read_paths(listing: Path) -> list[str]:
    """The paths in a list, folders aside; none where there is no list.

    Nothing is proven by them.  Raises StorageError.
    """
    return list(read_listing(listing))


def read_listing(listing: Path) -> dict[str, str]:
    """The same with the SHA-256 of each."""
    with storing("read", listing):
        try:
            data = listing.read_bytes()
        except FileNotFoundError:
            return {}
    return {
        os.fsdecode(fields[3]): fields[1].decode("ascii", "replace")
        for line in data.splitlines()
        if len(fields := line.split(b" ", 3)) == 4 and fields[1] != b"-"
    }


def without_digests(lines: Iterable[bytes], goes: Callable[[str], bool]) -> Iterator[bytes]:
    """``lines``, where those of files that go say neither SHA-256 nor size.

    Their paths stay: by them a later run sees that a file is missing which was let in again.
    """
    for line in lines:
        fields = line.rstrip(b"\n").split(b" ", 3)
        if len(fields) == 4 and fields[1] != b"-" and goes(os.fsdecode(fields[3])):
            rest = b" ".join([NO_DIGEST.encode(), b"0", fields[3]])
            yield b"%08x %b\n" % (zlib.crc32(rest), rest)
        else:
            yield line
