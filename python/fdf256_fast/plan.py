"""Which spans of an archive to fetch for some of its members.  Pure, no I/O."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from fdf256_fast.spans import SPAN_BYTES_MAX, SPAN_BYTES_MIN, Span

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["GAP_BYTES_MAX", "join", "joined", "requests"]

GAP_BYTES_MAX = SPAN_BYTES_MIN
"""Longer gaps are never fetched: below this a request's own cost (a round trip of a connection, some 500
bytes of headers) is about that of the bytes, at 50 ms and 20 MB/s over 16 connections."""

GAP_BYTES_FREE = 512
"""Gaps that are shorter than the headers of a request and its answer are always fetched."""

GAP_SHARE = 1 / 16
"""The other gaps may cost so much of what is wanted, so that a part never costs 1.1 of its own bytes."""


def join(extents: Sequence[tuple[int, int]]) -> list[Span]:
    """Spans that hold all ``extents`` (half-open, ascending), joined where a gap is cheaper than a request.

    The shortest gaps come first; those above ``GAP_BYTES_FREE`` together take at most ``GAP_SHARE`` of the
    extents' own bytes.
    """
    budget = int(sum(end - start for start, end in extents) * GAP_SHARE)
    gaps = ((after[0] - before[1], number) for number, (before, after) in enumerate(pairwise(extents)))
    crossed = set()
    for gap, number in sorted(gaps):
        if gap > GAP_BYTES_MAX:
            break
        if gap > GAP_BYTES_FREE:
            budget -= gap
            if budget < 0:
                break
        crossed.add(number)
    spans: list[Span] = []
    for number, (start, end) in enumerate(extents):
        if number - 1 in crossed:
            spans[-1] = Span(spans[-1].start, end)
        else:
            spans.append(Span(start, end))
    return spans


def joined(missing: Iterable[tuple[int, int]]) -> list[Span]:
    """What of one span is missing, as so few requests as its gaps allow.

    All gaps of a span that :func:`join` made are meant to be fetched, and no other span has any as short.
    """
    spans: list[Span] = []
    for start, end in missing:
        if spans and start - spans[-1].end <= GAP_BYTES_MAX:
            spans[-1] = Span(spans[-1].start, end)
        else:
            spans.append(Span(start, end))
    return spans


def requests(spans: Iterable[Span]) -> int:
    """How many requests ``spans`` take at least."""
    return sum(-(-span.length // SPAN_BYTES_MAX) for span in spans)
