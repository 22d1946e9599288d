"""What the embedded origin needs to know of a file: its validators, and what a request asks of it.

Reading apart, everything here is a pure function of one version of a file and a request's headers,
by RFC 9110.  It shares no code with the client, so that a misreading there is not met by its twin.
"""

from __future__ import annotations

import os
import re
import stat
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["ServedFile", "asked_span", "precondition_status"]

#: One range, section 14.1.2.  Numbers longer than any file's size are taken for no range at all.
_SINGLE_RANGE: Final = re.compile(r"bytes=[ \t]*([0-9]{0,30})-([0-9]{0,30})[ \t]*", re.ASCII | re.IGNORECASE)
_ENTITY_TAG: Final = re.compile(r'(W/)?("[^"]*")')


@dataclass(frozen=True, slots=True)
class ServedFile:
    """One version of a file; ``size`` in bytes, ``modified_ns`` since 1970."""

    path: Path
    size: int
    modified_ns: int

    @property
    def entity_tag(self) -> str:
        """A strong ETag, with its quotes."""
        return f'"{self.modified_ns:x}-{self.size:x}"'

    @property
    def modified(self) -> datetime:
        """Time of the last change, cut to whole seconds as HTTP's dates are."""
        return datetime.fromtimestamp(self.modified_ns // 10**9, UTC)

    @property
    def last_modified(self) -> str:
        """The same as an HTTP date."""
        return format_datetime(self.modified, usegmt=True)

    @classmethod
    def at(cls, path: Path) -> ServedFile | None:
        """The present version; None where there is no regular file.  Blocks."""
        try:
            status = path.stat()
        except OSError:
            return None
        if not stat.S_ISREG(status.st_mode):
            return None
        return cls(path, status.st_size, status.st_mtime_ns)

    def read(self, start: int, end: int) -> bytes:
        """The bytes ``[start, end)``; none at all if the file is not this version now.  Blocks.

        Opened for every block: a reader that is cancelled then leaves nothing to be closed.
        """
        try:
            with self.path.open("rb", buffering=0) as file:
                status = os.fstat(file.fileno())
                if (status.st_size, status.st_mtime_ns) != (self.size, self.modified_ns):
                    return b""
                file.seek(start)
                return file.read(end - start)
        except FileNotFoundError:
            return b""


def precondition_status(headers: Mapping[str, str], file: ServedFile) -> int:
    """200 to go on, 304 or 412 to end here: section 13.2.2, in its order."""
    if "If-Match" in headers:
        if not _names_version(headers["If-Match"], file, strong=True):
            return 412
    elif (date := _date(headers.get("If-Unmodified-Since"))) and file.modified > date:
        return 412
    if "If-None-Match" in headers:
        if _names_version(headers["If-None-Match"], file, strong=False):
            return 304
    elif (date := _date(headers.get("If-Modified-Since"))) and file.modified <= date:
        return 304
    return 200


def asked_span(headers: Mapping[str, str], file: ServedFile) -> tuple[int, int] | None:
    """The half-open span to send; None for the whole file; an empty one cannot be satisfied.

    Section 14.2: a range that is malformed, in other units, or (as we choose) one of many is
    ignored; so is a range whose If-Range names another version.
    """
    match = _SINGLE_RANGE.fullmatch(headers.get("Range", ""))
    if match is None or not _range_applies(headers.get("If-Range"), file):
        return None
    first, last = match.groups()
    if first:
        if last and int(last) < int(first):
            return None
        return int(first), min(int(last) + 1 if last else file.size, file.size)
    if not last or (file.size == 0 and int(last) > 0):
        return None  # the second: satisfiable, but no Content-Range can say so
    return max(0, file.size - int(last)), file.size


def _names_version(header: str, file: ServedFile, *, strong: bool) -> bool:
    """Section 13.1.1 and 13.1.2: ``*`` is any version; a strong comparison knows no weak tags."""
    return header.strip() == "*" or any(
        tag == file.entity_tag and not (strong and weak) for weak, tag in _ENTITY_TAG.findall(header)
    )


def _range_applies(if_range: str | None, file: ServedFile) -> bool:
    """Section 13.1.5: a strong tag, or a date that is old enough to be strong, must be equal."""
    if if_range is None or if_range == file.entity_tag:
        return True
    is_date_strong = time.time_ns() - file.modified_ns > 10**9
    return is_date_strong and if_range == file.last_modified


def _date(header: str | None) -> datetime | None:
    """An HTTP date; None where there is none, or where it is none: such a field is ignored."""
    try:
        date = parsedate_to_datetime(header) if header else None
    except ValueError:
        return None
    # Without this a date in "-0000" would be naive, and comparing it an error.
    return date.replace(tzinfo=UTC) if date is not None and date.tzinfo is None else date
