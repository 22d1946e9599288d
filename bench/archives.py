"""Archives to unpack: many small members or few large ones; their bytes compress to half, or not at all."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["make_tar", "make_zip"]

_POOL_BYTES: Final = 16 << 20
_BLOCK_BYTES: Final = 1 << 20
#: A prime, so that no two members begin alike.
_STRIDE_BYTES: Final = 104_729
#: zip's own default; large members are made by the quickest one.
_LEVEL: Final = 6
_LARGE_LEVEL: Final = 1


def make_zip(path: Path, sizes: list[int], *, deflated: bool, seed: int) -> None:
    """A zip with a member of each size: stored noise, or deflated text and noise in turns."""
    _apart("zip", str(path), sizes, deflated, seed)


def make_tar(path: Path, original: Path, compress: tuple[str, ...]) -> None:
    """The members of a zip as a tar that ``compress`` packs."""
    _apart("tar", str(path), str(original), compress)


def _apart(*what: object) -> None:
    """In a process of its own, so that this one stays small (see :class:`bench.measure.Usage`)."""
    command = [sys.executable, "-m", "bench.archives", json.dumps(what)]
    subprocess.run(command, cwd=Path(__file__).parents[1], check=True)


def _write_zip(path: str, sizes: list[int], deflated: bool, seed: int) -> None:
    pool = _text_and_noise(seed) if deflated else random.Random(seed).randbytes(_POOL_BYTES)
    is_large = max(sizes) > _POOL_BYTES
    method = zipfile.ZIP_DEFLATED if deflated else zipfile.ZIP_STORED
    with zipfile.ZipFile(path, "w", method, compresslevel=_LARGE_LEVEL if is_large else _LEVEL) as archive:
        for number, size in enumerate(sizes):
            name = f"weights/{number}.bin" if is_large else f"images/{number}.png"
            with archive.open(name, "w", force_zip64=is_large) as member:
                for block in _blocks(pool, number, size):
                    member.write(block)


def _write_tar(path: str, original: str, compress: list[str]) -> None:
    with (
        Path(path).open("wb") as file,
        subprocess.Popen(compress, stdin=subprocess.PIPE, stdout=file) as packer,
        zipfile.ZipFile(original) as archive,
    ):
        assert packer.stdin is not None
        with tarfile.open(fileobj=packer.stdin, mode="w|") as tar:
            for entry in archive.infolist():
                told = tarfile.TarInfo(entry.filename)
                told.size = entry.file_size
                with archive.open(entry) as member:
                    tar.addfile(told, member)
        packer.stdin.close()
        if packer.wait() != 0:
            raise subprocess.CalledProcessError(packer.returncode, compress)


def _blocks(pool: bytes, number: int, size: int) -> Iterator[memoryview]:
    """``size`` bytes of ``pool``, which begin elsewhere for each number."""
    left, start = size, number * _STRIDE_BYTES
    while left:
        start %= len(pool) - min(_BLOCK_BYTES, left)
        block = memoryview(pool)[start : start + min(_BLOCK_BYTES, left)]
        left -= len(block)
        start += _STRIDE_BYTES
        yield block


def _text_and_noise(seed: int) -> bytes:
    chance = random.Random(seed)
    words = [chance.randbytes(chance.randint(2, 6)).hex().encode() for _ in range(4_000)]
    pool = bytearray()
    while len(pool) < _POOL_BYTES:
        # A few words are common, most are rare, as in a language.
        pool += b" ".join(words[int(4_000 * chance.random() ** 3)] for _ in range(150))
        pool += chance.randbytes(700)
    return bytes(pool[:_POOL_BYTES])


if __name__ == "__main__":
    kind, *arguments = json.loads(sys.argv[1])
    (_write_zip if kind == "zip" else _write_tar)(*arguments)
