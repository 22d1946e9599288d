"""Spans: half-open byte intervals, cut and written as HTTP wants them.  Pure, no I/O.

The only place that knows HTTP's inclusive ends: :func:`range_header` writes them,
:func:`parse_content_range` reads them (RFC 9110, sections 14.1.2 and 14.4).
"""

from __future__ import annotations

import re
from typing import NamedTuple

__all__ = ["ContentRange", "Span", "parse_content_range", "range_header", "span_bytes"]

SPAN_BYTES_MIN = 64 * 1024
"""Below this a request's own cost (some 500 bytes and a round trip) is more than 1 % of it."""

SPAN_BYTES_MAX = 8 * 1024 * 1024
"""Larger spans gain nothing measurable and make the frontier wait longer for the slowest."""

SPANS_PER_CONNECTION = 2
"""The window holds the span in flight and a finished one that waits for its turn."""

_CONTENT_RANGE = re.compile(r"bytes (?:(\d{1,19})-(\d{1,19})|\*)/(\d{1,19}|\*)", re.ASCII)


class Span(NamedTuple):
    """The bytes ``start <= offset < end`` of an archive."""

    start: int
    end: int

    @property
    def length(self) -> int:
        """Bytes in the span."""
        return self.end - self.start

    def __str__(self) -> str:
        return f"[{self.start}, {self.end})"


class ContentRange(NamedTuple):
    """What a Content-Range header says: the span (None if unsatisfied) and the total (None if ``*``)."""

    span: Span | None
    total: int | None


def range_header(span: Span) -> str:
    """The value of a Range header that asks for ``span``."""
    return f"bytes={span.start}-{span.end - 1}"


def parse_content_range(header: str | None) -> ContentRange | None:
    """Read a Content-Range header; None where it is missing, malformed, or contradicts itself."""
    match = _CONTENT_RANGE.fullmatch((header or "").strip())
    if match is None:
        return None
    first, last, complete = match.groups()
    total = None if complete == "*" else int(complete)
    if first is None:
        return ContentRange(None, total)
    span = Span(int(first), int(last) + 1)
    if span.length <= 0 or (total is not None and span.end > total):
        return None
    return ContentRange(span, total)


def span_bytes(ahead_bytes: float, connections: int) -> int:
    """How long the next span should be.

    ``ahead_bytes`` is how much may be under way or waiting in the window, over all archives, and
    ``connections`` shares it.
    """
    fair = int(ahead_bytes / (connections * SPANS_PER_CONNECTION))
    return max(SPAN_BYTES_MIN, min(SPAN_BYTES_MAX, fair))
