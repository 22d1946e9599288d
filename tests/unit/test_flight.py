"""When a span counts as slow: decisions over made-up times."""

from __future__ import annotations

import pytest

from fdf256_fast.sources import Source
from fdf256_fast.spans import Span
from fdf256_fast.transfer import HEDGE_SECONDS_MIN, Flight

USUAL = 1.0


def flight(came: int) -> Flight:
    """A span of a thousand bytes, asked for at 0, of which so many have come."""
    return Flight(Span(5_000, 6_000), Source.parse("http://127.0.0.1/a"), 0.0, 5_000 + came)


@pytest.mark.parametrize(
    ("now", "came", "is_slow"),
    [
        (0.9, 0, False),
        (1.1, 0, True),
        (1.1, 100, True),
        (1.1, 500, False),
        (2.9, 900, False),
        (3.1, 999, True),
    ],
    ids=["young", "silent", "a tenth", "half", "late, nearly there", "three times the usual"],
)
def test_slow_is_what_takes_three_times_the_usual_or_will(now: float, came: int, is_slow: bool) -> None:
    assert flight(came).is_slow(now, USUAL) is is_slow


def test_nothing_is_slow_within_a_round_trip() -> None:
    assert not flight(0).is_slow(HEDGE_SECONDS_MIN * 0.9, 0.001)
    assert flight(0).is_slow(HEDGE_SECONDS_MIN * 1.1, 0.001)
