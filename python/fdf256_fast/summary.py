"""What a run has done, in words and columns; how they are shown is up to ``plain.py`` and ``console.py``."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from fdf256_fast.plain import installed_words, number, objects, retries_words
from fdf256_fast.units import format_bytes, format_duration, format_rate

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["NOT_VERIFIED", "SIZE_COLUMNS", "archive_columns", "closing_line", "sizes"]

NOT_VERIFIED = "no"

SIZE_COLUMNS = frozenset({"size", "downloaded", "resumed"})
"""Those that are aligned to the right."""


def archive_columns(report: Mapping[str, object]) -> dict[str, list[str]]:
    """A cell for each archive, by heading; nothing where there is no archive.

    ``report`` is the object that ``--json`` prints.
    """
    archives = objects(report.get("archives"))
    if not archives:
        return {}
    columns = {
        "archive": [str(archive.get("name", "")) for archive in archives],
        "size": sizes(archives, "bytes"),
        "downloaded": sizes(archives, "bytes_downloaded"),
        "resumed": sizes(archives, "bytes_resumed"),
        "verified": [_verified(archive.get("verified")) for archive in archives],
        "from": [_host(archive.get("url")) for archive in archives],
    }
    # Most runs resume nothing, and a column of zeros says nothing.
    if not any(number(archive.get("bytes_resumed")) for archive in archives):
        del columns["resumed"]
    return columns


def sizes(archives: Iterable[Mapping[str, object]], field: str) -> list[str]:
    """What each of them has there, as a person reads it."""
    return [format_bytes(number(archive.get(field))) for archive in archives]


def closing_line(report: Mapping[str, object], verb: str) -> str:
    """What was done in all; of a run that succeeded it starts with ``verb``."""
    if not report.get("ok"):
        return f"Not finished: {_transfer_words(report)}."
    verified = _verified_words(report.get("verified"), len(objects(report.get("archives"))))
    return f"{verb} {installed_words(report)}: {_transfer_words(report)}, {verified}."


def _verified(verified: object) -> str:
    return NOT_VERIFIED if not isinstance(verified, str) or verified == "none" else verified


def _host(url: object) -> str:
    """Who delivered; the rest of a signed address is nobody's business."""
    if str(url or "").startswith("file:"):
        return "here"
    try:
        return urlsplit(str(url or "")).hostname or ""
    except ValueError:
        return ""


def _transfer_words(report: Mapping[str, object]) -> str:
    """``1.29 GB in 1.8 s (715 MB/s), 2 retries``."""
    downloaded = number(report.get("bytes_downloaded"))
    resumed = number(report.get("bytes_resumed"))
    seconds = number(report.get("seconds"))
    words = f"{format_bytes(downloaded)} in {format_duration(seconds)}"
    if downloaded and seconds > 0:
        words += f" ({format_rate(downloaded / seconds)})"
    if any(number(archive.get("adopted")) for archive in objects(report.get("archives"))):
        words += f", {format_bytes(resumed)} were there already"
    elif resumed:
        words += f" after {format_bytes(resumed)} kept from an earlier run"
    retries = int(number(report.get("retries")))
    return f"{words}, {retries_words(retries)}" if retries else words


def _verified_words(verified: object, archives: int) -> str:
    """What was checked, and no more than that."""
    if verified == "crc32":
        return "every file matches its CRC-32"
    if not isinstance(verified, str) or verified == "none":
        return "not verified: no digest is known"
    if archives == 1:
        return f"the archive matches its published {verified}"
    return f"all archives match their published {verified}"
