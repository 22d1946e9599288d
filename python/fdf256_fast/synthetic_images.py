"""Pictures for the synthetic dataset: real 256x256 RGB PNGs, made at a thousand a second.

Painting and deflating every picture would take longer than whatever a test or a benchmark wants
to look at.  So a bank of strips is painted once, 16 rows each, filtered and deflated.  PNG's
filters make every byte relative to a neighbour: a strip hangs on its first pixel alone and takes
any colour from it.  And deflate blocks that end on a whole byte may follow one another.  So a
picture is 16 strips, each behind a pixel of its own, and only the checksums touch every byte.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass
from random import Random
from struct import pack
from typing import Final

from .errors import UsageError

__all__ = ["LARGEST_IMAGE_BYTES", "SIDE_PIXELS", "SMALLEST_IMAGE_BYTES", "Painter"]

SIDE_PIXELS: Final = 256

#: Below this the fixed parts of the file outweigh the picture and its size can no longer be chosen.
SMALLEST_IMAGE_BYTES: Final = 5_000
#: Pure noise takes 256 * (1 + 3 * 256) = 196,864 bytes; a little less is left to steer with.
LARGEST_IMAGE_BYTES: Final = 190_000

_STRIP_ROWS: Final = 16
_STRIPS: Final = SIDE_PIXELS // _STRIP_ROWS
#: Twice a picture, so that pictures which start at different strips show different parts of it.
_BANK_ROWS: Final = 2 * SIDE_PIXELS
_ROW_BYTES: Final = 3 * SIDE_PIXELS

_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_HEADER: Final = pack(">IIBBBBB", SIDE_PIXELS, SIDE_PIXELS, 8, 2, 0, 0, 0)  # 8 bits a sample, RGB
_FILTER_SUB: Final = b"\x01"
_FILTER_UP: Final = b"\x02"
#: Under the Up filter nothing remains of a row that is equal to the one above it.
_SAME_AS_ABOVE: Final = _FILTER_UP + bytes(_ROW_BYTES)

_ZLIB_HEADER: Final = b"\x78\x01"  # RFC 1950: deflate, 32 KiB window, fastest
_STORED_FOUR_BYTES: Final = pack("<BHH", 0, 4, 4 ^ 0xFFFF)  # RFC 1951, 3.2.4
_STORED_NOTHING_AND_END: Final = pack("<BHH", 1, 0, 0xFFFF)


@dataclass(frozen=True, slots=True)
class _Strip:
    """Sixteen rows: the first pixel relative to the picture's colour, and all that follows it."""

    edge: tuple[int, int, int]
    filtered: bytes
    deflated: bytes


class Painter:
    """Paints distinct pictures of about ``image_bytes`` bytes each; the seed decides the bank.

    Raises :class:`UsageError` where ``image_bytes`` is not within ``SMALLEST_IMAGE_BYTES`` and
    ``LARGEST_IMAGE_BYTES``.
    """

    def __init__(self, seed: int, image_bytes: int) -> None:
        if not SMALLEST_IMAGE_BYTES <= image_bytes <= LARGEST_IMAGE_BYTES:
            raise UsageError(
                f"a synthetic image cannot have {image_bytes:,} bytes",
                hint=f"choose {SMALLEST_IMAGE_BYTES:,} to {LARGEST_IMAGE_BYTES:,} bytes",
            )
        self._seed = seed
        levels = _noise_levels(8 * image_bytes / (_ROW_BYTES * SIDE_PIXELS))
        field = _noisy_field(Random(f"{seed}/bank"), levels)
        self._strips = self._sized(field, image_bytes)

    def paint(self, label: str) -> bytes:
        """The PNG of that label (its path, say): always the same one, and like no other."""
        generator = Random(f"{self._seed}/image/{label}")
        comment = f"Comment\0synthetic, not a photograph: {label}".encode("latin-1")
        return b"".join(
            (
                _SIGNATURE,
                _chunk(b"IHDR", _HEADER),
                _chunk(b"tEXt", comment),
                _chunk(b"IDAT", self._pixels(generator)),
                _chunk(b"IEND", b""),
            )
        )

    def _pixels(self, generator: Random) -> bytes:
        """The zlib stream: strips from a random one on, in a colour that slides downwards."""
        first = generator.randrange(len(self._strips))
        colour = [generator.randrange(80, 140) for _ in range(3)]
        slide = [generator.randrange(-40, 41) for _ in range(3)]
        filtered: list[bytes] = []
        deflated: list[bytes] = [_ZLIB_HEADER]
        for index in range(_STRIPS):
            strip = self._strips[(first + index) % len(self._strips)]
            start = _FILTER_SUB + bytes(
                (base + offset + step * index // _STRIPS) % 256
                for base, offset, step in zip(colour, strip.edge, slide, strict=True)
            )
            filtered += (start, strip.filtered)
            deflated += (_STORED_FOUR_BYTES, start, strip.deflated)
        checksum = zlib.adler32(b"".join(filtered))
        deflated += (_STORED_NOTHING_AND_END, pack(">I", checksum))
        return b"".join(deflated)

    def _sized(self, field: list[list[int]], image_bytes: int) -> list[_Strip]:
        """The bank whose pictures have, on average, the wanted size.

        Levels are whole numbers, so every row fresh gives at least that size.  A row that repeats
        the one above it costs next to nothing: how many do is the fine adjustment, found by
        false position.
        """
        low_share, high_share = 0.0, 1.0
        low_bytes, high_bytes = (
            self._mean_size(_cut_in_strips(field, share)) for share in (low_share, high_share)
        )
        strips: list[_Strip] = []
        for _ in range(6):
            part = (image_bytes - low_bytes) / (high_bytes - low_bytes)
            share = low_share + (high_share - low_share) * min(1.0, max(0.0, part))
            strips = _cut_in_strips(field, share)
            size = self._mean_size(strips)
            if abs(size - image_bytes) < image_bytes / 100 or share in (low_share, high_share):
                break
            if size < image_bytes:
                low_share, low_bytes = share, size
            else:
                high_share, high_bytes = share, size
        return strips

    def _mean_size(self, strips: list[_Strip]) -> float:
        """Bytes of an average picture made of such strips."""
        self._strips = [_Strip((0, 0, 0), b"", b"")]
        frame = len(self.paint("train/images/0.png"))
        return frame + _STRIPS * sum(len(strip.deflated) for strip in strips) / len(strips)


def _chunk(kind: bytes, data: bytes) -> bytes:
    """One PNG chunk: length, kind, data, CRC-32 over kind and data."""
    return pack(">I", len(data)) + kind + data + pack(">I", zlib.crc32(data, zlib.crc32(kind)))


def _deflated(rows: bytes) -> bytes:
    """Deflate blocks without an end, closed on a whole byte, so that others may follow.

    Run lengths only: a search for matches in noise costs time and finds nothing.
    """
    compressor = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS, 9, zlib.Z_RLE)
    return compressor.compress(rows) + compressor.flush(zlib.Z_SYNC_FLUSH)


def _noise_levels(bits_per_byte: float) -> int:
    """The smallest number of noise levels that leaves at least that entropy after filtering.

    The difference of two uniform values out of ``levels`` is distributed as a triangle, modulo 256.
    """
    for levels in range(2, 256):
        weights = [0] * 256
        for difference in range(1 - levels, levels):
            weights[difference % 256] += levels - abs(difference)
        shares = [weight / levels**2 for weight in weights if weight]
        if -sum(share * math.log2(share) for share in shares) >= bits_per_byte:
            return levels
    return 256


def _wave(generator: Random, length: int, amplitude: int) -> list[int]:
    """A smooth closed curve of ``length`` whole values within ``-amplitude..amplitude``."""
    parts = [(generator.uniform(0.3, 1.0), turns, generator.uniform(0, math.tau)) for turns in (1, 2, 3)]
    scale = amplitude / sum(weight for weight, _, _ in parts)
    return [
        round(scale * sum(w * math.sin(math.tau * t * i / length + phase) for w, t, phase in parts))
        for i in range(length)
    ]


def _noisy_field(generator: Random, levels: int) -> list[list[int]]:
    """Rows of one smooth picture, closed at its ends, around 0, with noise of that many levels."""
    shapes = [
        (
            _wave(generator, _BANK_ROWS, 48),  # how strongly a row follows the first curve
            _wave(generator, SIDE_PIXELS, 48),
            _wave(generator, _BANK_ROWS, 16),  # how bright a row is
            _wave(generator, SIDE_PIXELS, 16),  # a second curve that all rows share
        )
        for _ in range(3)
    ]
    noise_table = bytes(value * levels // 256 for value in range(256))
    rows: list[list[int]] = []
    for index in range(_BANK_ROWS):
        noise = generator.randbytes(_ROW_BYTES).translate(noise_table)
        row = [0] * _ROW_BYTES
        for channel, (strength, curve, brightness, shared) in enumerate(shapes):
            factor, level = strength[index], brightness[index] - levels // 2
            row[channel::3] = [
                level + (factor * a >> 5) + b + c
                for a, b, c in zip(curve, shared, noise[channel::3], strict=True)
            ]
        rows.append(row)
    return rows


def _cut_in_strips(field: list[list[int]], share: float) -> list[_Strip]:
    """The bank with that share (0 to 1) of its rows fresh; the first of each strip always is."""
    followers = len(field) - len(field) // _STRIP_ROWS
    fresh_followers = round(share * followers)
    strips: list[_Strip] = []
    follower = 0
    for top in range(0, len(field), _STRIP_ROWS):
        above = field[top]
        # The filter's kind and the first pixel are put in front of this, picture by picture.
        pieces = [_differences(above[3:], above)]
        for row in field[top + 1 : top + _STRIP_ROWS]:
            follower += 1
            if follower * fresh_followers % followers < fresh_followers:
                pieces += (_FILTER_UP, _differences(row, above))
                above = row
            else:
                pieces.append(_SAME_AS_ABOVE)
        filtered = b"".join(pieces)
        red, green, blue = field[top][:3]
        strips.append(_Strip((red, green, blue), filtered, _deflated(filtered)))
    return strips


def _differences(values: list[int], neighbours: list[int]) -> bytes:
    return bytes((a - b) % 256 for a, b in zip(values, neighbours, strict=False))
