"""Plain files to transfer or to hash."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["make_files", "sha256"]

_BLOCK_BYTES: Final = 1 << 20


def make_files(folder: Path, count: int, size: int) -> list[Path]:
    """``count`` files of ``size`` bytes (eight or more), named by number, in ``folder``.

    They all differ; their bytes depend on their position with a prime period, so that shifts and swaps show.
    """
    folder.mkdir(parents=True, exist_ok=True)
    period = bytes(i % 251 for i in range(_BLOCK_BYTES + 2 * 251))
    paths = []
    for number in range(count):
        path = folder / f"{number:06}.bin"
        with path.open("wb") as file:
            file.write(number.to_bytes(8, "big"))
            left = size - 8
            while left:
                # A view: a slice would copy each block once more.
                left -= file.write(memoryview(period)[number % 251 :][: min(left, _BLOCK_BYTES)])
        paths.append(path)
    return paths


def sha256(path: Path) -> str:
    """In hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
