"""Human units: sizes, rates and durations, written and read.

Pure functions.  Prefixes are decimal, as networks and disks count them (1 MB = 1,000,000 bytes);
the binary ones (1 MiB = 1,048,576 bytes) are understood wherever a person may type a size.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

from fdf256_fast.errors import UsageError

if TYPE_CHECKING:
    from decimal import Decimal

__all__ = [
    "BYTES_MAX",
    "format_bytes",
    "format_countdown",
    "format_duration",
    "format_part",
    "format_percent",
    "format_rate",
    "parse_rate",
    "parse_size",
]

BYTES_MAX = 1 << 62
"""Of a size that somebody may ask for: two of them can still be added in the 64 bits that the core has."""

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")

# 18 digits hold any size that exists, and keep a number exact in Decimal's default 28 digits.
_NUMBER = r"(?P<number>[0-9]{1,18}(?:\.[0-9]{1,9})?|\.[0-9]{1,9})"
_PREFIX = r"(?P<prefix>(?:[kKmMgGtTpP][iI]?)?)"
# Compiled when first used: most commands only write such texts.
_SIZE = rf"{_NUMBER}\s*{_PREFIX}[bB]?"
_RATE = rf"{_NUMBER}\s*{_PREFIX}(?:(?P<bits>(?i:bits?)(?:/s)?|bps)|(?P<unsure>b(?:/s)?)|B?(?:/s)?)"


def format_bytes(count: float) -> str:
    """``count`` bytes with three significant digits: ``999 B``, ``1.29 GB``, ``26.0 GB``."""
    divisor, unit, decimals = _scale(count)
    return f"{count / divisor:.{decimals}f} {unit}"


def format_part(part: float, whole: float, separator: str = " of ") -> str:
    """Two byte counts in the unit of the larger: ``1.2 of 26.0 GB``."""
    divisor, unit, decimals = _scale(whole)
    return f"{part / divisor:.{decimals}f}{separator}{whole / divisor:.{decimals}f} {unit}"


def format_percent(part: float, whole: float, decimals: int = 0) -> str:
    """The share in percent, without the sign; cut, not rounded, so that 100 means complete."""
    if part >= whole:
        return f"{100:.{decimals}f}"
    steps = 10**decimals
    return f"{math.floor(part / whole * 100 * steps) / steps:.{decimals}f}"


def format_rate(bytes_per_second: float) -> str:
    """``112 MB/s``."""
    return f"{format_bytes(bytes_per_second)}/s"


def format_duration(seconds: float) -> str:
    """Time that has passed: ``1.8 s``, ``42 s``, ``3:41`` (minutes), ``1h 04m``, ``3d 05h``."""
    if seconds < 9.95:
        return f"{max(0.0, seconds):.1f} s"
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    return format_countdown(seconds, up=False)


def format_countdown(seconds: float, *, up: bool = True) -> str:
    """Time that is left, at most seven characters: ``0:42``, ``3:41``, ``1h 04m``, ``3d 05h``.

    Whole seconds are rounded ``up``, so that ``0:00`` appears only when nothing is left.
    """
    # Written so that NaN, and the infinity a rate close to zero leads to, end here as well.
    if not seconds < 100 * 86_400:
        return "> 99d"
    whole = max(0, math.ceil(seconds) if up else round(seconds))
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02}"
    minutes = whole // 60
    if minutes < 24 * 60:
        return f"{minutes // 60}h {minutes % 60:02}m"
    hours = minutes // 60
    return f"{hours // 24}d {hours % 24:02}h"


def parse_size(text: str) -> int:
    """Bytes from ``1048576``, ``64k`` (1000), ``64Ki`` (1024), ``256MiB``, ``1.5GB``.

    The case does not matter and a fraction of a byte is dropped.  Raises :class:`UsageError`, also for more
    than ``BYTES_MAX``.
    """
    match = re.fullmatch(_SIZE, text.strip(), re.ASCII)
    if match is None:
        raise UsageError(
            f"{text!r} is not a size",
            hint="write a number of bytes, or one with a unit: 64k, 256MiB, 1.5GB",
        )
    size = _amount(match)
    if size > BYTES_MAX:
        raise UsageError(f"{text!r} is more than any memory or disk has", hint=f"{BYTES_MAX} is the most")
    return int(size)


def parse_rate(text: str) -> float:
    """Bytes per second, more than 0, from ``10MB/s``, ``10M``, ``512KiB/s``, ``80Mbit/s``.

    ``80Mbps`` is read as bits, which it always means.  ``10Mb`` is refused: people write it for
    both bits and bytes, and a guess is wrong by a factor of eight.  Raises :class:`UsageError`.
    """
    match = re.fullmatch(_RATE, text.strip(), re.ASCII)
    if match is None:
        raise UsageError(
            f"{text!r} is not a rate",
            hint="write a number with a unit: 10MB/s, 512KiB/s, 80Mbit/s",
        )
    if match["unsure"]:
        stem = match["number"] + match["prefix"]
        raise UsageError(
            f"{text!r} may mean bits or bytes",
            hint=f"write {stem}B/s for bytes, or {stem}bit/s for bits",
        )
    rate = float(_amount(match)) / (8 if match["bits"] else 1)
    if rate <= 0:
        raise UsageError(f"{text!r} would never let a byte through", hint="leave it out for no limit")
    return rate


def _scale(count: float) -> tuple[int, str, int]:
    """Divisor, unit and decimals that show ``count`` bytes with three significant digits."""
    divisor = 1
    for unit in _UNITS:
        value = count / divisor
        # 999.5 would be rounded to 1000, which is the next unit's business.
        if value < 999.5 or unit == _UNITS[-1]:
            break
        divisor *= 1000
    if divisor == 1 or value >= 99.95:
        decimals = 0
    elif value >= 9.995:
        decimals = 1
    else:
        decimals = 2
    return divisor, unit, decimals


def _amount(match: re.Match[str]) -> Decimal:
    from decimal import Decimal  # noqa: PLC0415 - as above

    prefix = match["prefix"].lower()
    base = Decimal(1024 if prefix.endswith("i") else 1000)
    exponent = " kmgtp".index(prefix[0]) if prefix else 0
    return Decimal(match["number"]) * base**exponent
