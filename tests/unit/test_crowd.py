"""How many connections: decisions over made-up rates."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest

from fdf256_fast.crowd import (
    FULL_SECONDS_MAX,
    FULL_SECONDS_START,
    GROW_SECONDS,
    LOOK_SECONDS,
    REFUSED_SECONDS,
    Appetite,
    Crowd,
)

if TYPE_CHECKING:
    from collections.abc import Callable

MEGABYTE = 1_000_000


def watched(crowd: Crowd, rate: Callable[[int], float], seconds: float = 60.0) -> list[int]:
    """The levels that ``crowd`` goes through when ``rate`` (bytes per second) depends on the level."""
    levels = [crowd.level]
    total = 0.0
    for step in range(int(seconds * 10)):
        total += rate(crowd.level) / 10
        crowd.measured(int(total), crowd.level, step / 10)
        if crowd.level != levels[-1]:
            levels.append(crowd.level)
    return levels


def test_a_host_that_limits_each_connection_gets_more_of_them() -> None:
    assert watched(Crowd(16, 64), lambda level: level * MEGABYTE) == [16, 24, 36, 54, 64]


def test_a_full_link_keeps_the_number() -> None:
    assert watched(Crowd(16, 64), lambda _: 100 * MEGABYTE) == [16, 24, 16]


@pytest.mark.parametrize("enough", [20, 30, 50])
def test_it_stops_where_more_bring_nothing(enough: int) -> None:
    levels = watched(Crowd(16, 64), lambda level: min(level, enough) * MEGABYTE)
    assert levels[-1] < 64
    assert min(levels[-1], enough) >= 0.7 * enough


def test_a_number_that_was_asked_for_stays() -> None:
    assert watched(Crowd(4, 4), lambda level: level * MEGABYTE) == [4]


def test_connections_that_wait_for_something_else_say_nothing() -> None:
    crowd = Crowd(16, 64)
    for step in range(600):
        crowd.measured(step * MEGABYTE, 8, step / 10)
    assert crowd.level == 16


def test_a_host_that_refuses_gets_no_more_than_it_served() -> None:
    crowd = Crowd(16, 64)
    assert crowd.refused("a", 3, 0.0)
    assert not crowd.refused("a", 3, 0.1)
    assert crowd.room("a", 2, 0.2)
    assert not crowd.room("a", 3, 0.2)
    assert crowd.room("b", 15, 0.2)


def test_a_host_that_refused_is_tried_again_with_one_more() -> None:
    crowd = Crowd(16, 64)
    crowd.refused("a", 3, 0.0)
    moments = itertools.count(1)
    used = 3
    while used < 6:
        now = next(moments) * (REFUSED_SECONDS / 2)
        if crowd.room("a", used, now):
            used += 1
    assert used == 6


def test_a_host_that_says_when_is_not_tried_with_one_more_before() -> None:
    crowd = Crowd(16, 64)
    crowd.refused("a", 3, 0.0, retry_after=60.0)
    assert crowd.room("a", 2, 0.1), "the others go on"
    assert not crowd.room("a", 3, 60.0)
    assert crowd.room("a", 3, 60.0 + REFUSED_SECONDS)


def test_only_a_host_that_has_as_many_as_ever_refuses_for_their_number() -> None:
    crowd = Crowd(16, 64)
    assert not crowd.explains("a", 0)
    assert crowd.explains("a", 5)
    crowd.refused("a", 5, 0.0)
    assert not crowd.explains("a", 4)
    assert crowd.explains("a", 5)


def test_a_trial_that_is_refused_is_taken_back_and_is_nobodys_failure() -> None:
    crowd = Crowd(16, 64)
    crowd.refused("a", 4, 0.0)
    for trial in range(1, 6):
        now = trial * REFUSED_SECONDS
        assert crowd.room("a", 4, now), "a trial"
        assert crowd.explains("a", 4)
        # That one of the four has just ended, or not yet begun, says nothing.
        crowd.refused("a", 3, now)
        assert crowd.room("a", 3, now)
        assert not crowd.room("a", 4, now)


def test_a_host_is_tried_with_one_more_only_where_it_has_all_that_it_takes() -> None:
    crowd = Crowd(16, 64)
    crowd.refused("a", 4, 0.0)
    for step in range(1, 20):
        assert crowd.room("a", 2, step * REFUSED_SECONDS)
    assert not crowd.explains("a", 3)
    assert crowd.room("a", 4, 20 * REFUSED_SECONDS)
    assert not crowd.room("a", 5, 20 * REFUSED_SECONDS)


def test_a_place_that_is_reserved_is_not_given_away() -> None:
    crowd = Crowd(16, 64)
    crowd.refused("a", 4, 0.0)
    assert crowd.room("a", 3, 0.1)
    assert not crowd.room("a", 3, 0.1, reserved=1)
    assert crowd.room("a", 2, 0.1, reserved=1)


def test_a_host_that_refuses_is_not_asked_with_more() -> None:
    crowd = Crowd(16, 64)
    crowd.refused("a", 3, 0.0)
    assert watched(crowd, lambda level: level * MEGABYTE, 4 * GROW_SECONDS) == [16]


def level_after(rates: list[int]) -> int:
    """The level after these rates (MB/s), a tenth of a second each, whatever the level."""
    crowd, total = Crowd(16, 64), 0
    for step, rate in enumerate([0, *rates]):
        total += rate * MEGABYTE // 10
        crowd.measured(total, crowd.level, step / 10)
    return crowd.level


def test_a_steady_rate_is_judged_before_one_that_still_rises() -> None:
    steps = int(20 * LOOK_SECONDS) + 2
    assert level_after([100] * steps) > 16
    assert level_after([100 + 10 * step for step in range(steps)]) == 16


def test_a_rate_that_never_settles_is_judged_all_the_same() -> None:
    swinging = [100 + 50 * (step // 4 % 2) for step in range(int(10 * GROW_SECONDS) + 5)]
    assert level_after(swinging[: len(swinging) // 2]) == 16
    assert level_after(swinging) > 16


def hunger_over(shares: list[float]) -> list[bool]:
    """Whether workers count as hungry after each hundredth of a second of which they wait such a share."""
    appetite, waited, found = Appetite(), 0.0, []
    appetite.looked(waited, 0.0)
    for step, share in enumerate(shares, start=1):
        waited += share / 100
        appetite.looked(waited, step / 100)
        found.append(appetite.is_hungry)
    return found


def test_workers_that_hardly_wait_have_enough_and_those_that_do_get_all_connections() -> None:
    assert not any(hunger_over([0.2] * 100))
    assert hunger_over([0.2] * 100 + [0.9] * 10)[-1]
    assert not hunger_over([1.0] * 100 + [0.05] * 30)[-1]


def test_before_the_first_answer_they_wait() -> None:
    assert all(hunger_over([1.0] * 100)[5:])


def test_a_moment_without_bytes_or_a_burst_of_them_changes_nothing() -> None:
    assert not any(hunger_over([0.0] * 100 + [1.0, 1.0, 0.0, 0.0, 0.0, 0.0] * 10))
    assert all(hunger_over([1.0] * 100 + [0.0] * 4 + [1.0] * 20)[10:])


@pytest.mark.parametrize("is_hungry", [True, False])
def test_between_the_two_shares_it_stays_as_it_is(is_hungry: bool) -> None:
    before = [1.0 if is_hungry else 0.0] * 100
    assert set(hunger_over(before + [0.4] * 200)[100:]) == {is_hungry}


def test_where_few_were_not_enough_all_of_them_stay_longer_each_time() -> None:
    found = hunger_over(([1.0] * 20 + [0.0] * 1000) * 8)
    runs = [len(list(group)) / 100 for is_hungry, group in itertools.groupby(found) if is_hungry]
    # At the beginning nobody had enough yet.
    assert runs[0] < FULL_SECONDS_START
    expected = [min(FULL_SECONDS_MAX, FULL_SECONDS_START * 2**again) for again in range(7)]
    assert runs[1:] == pytest.approx(expected, abs=0.02)


def test_two_looks_at_one_moment_are_one() -> None:
    appetite = Appetite()
    for _ in range(2):
        appetite.looked(0.0, 1.0)
        appetite.looked(0.1, 1.1)
    assert appetite.is_hungry
