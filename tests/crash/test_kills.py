"""SIGKILL at any moment: nothing unverified is ever visible, and the next run goes on to the same end."""

from __future__ import annotations

import contextlib
import random
from typing import TYPE_CHECKING

import pytest

from tests.crash.kills import TIMES, Hit, Zygote, publishing_starts, traced, trial, zygote
from tests.crash.scenarios import Size, scenarios

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.crash.kills import Scenario

SCENARIOS = [
    "download",
    "keep archives",
    "over another version",
    "a part",
    "adopt",
    "no ranges",
    "fetch",
    "fetch without a digest",
    "fetch --extract",
]


@contextlib.asynccontextmanager
async def stage(
    home: Path, name: str, *, rate: float | None = None
) -> AsyncIterator[tuple[Zygote, Scenario]]:
    async with zygote(home) as mother, scenarios(home, Size(), mother, rate=rate) as all_of_them:
        assert list(all_of_them) == SCENARIOS
        yield mother, all_of_them[name]


@pytest.mark.parametrize("name", SCENARIOS)
async def test_a_run_killed_at_each_step_of_publishing_is_finished_by_the_next(
    name: str, tmp_path: Path
) -> None:
    async with stage(tmp_path, name) as (mother, scenario):
        target = tmp_path / "target"
        changes, _ = await traced(mother, scenario, target)
        points = range(publishing_starts(changes), len(changes) + 1)
        happened = 0
        for at in points:
            happened += await trial(mother, scenario, target, [Hit(at)])
    assert happened > len(points) / 2


@pytest.mark.parametrize("name", SCENARIOS)
async def test_a_run_killed_again_and_again_at_random_moments_comes_to_its_end(
    name: str, tmp_path: Path
) -> None:
    moments = random.Random(f"kill {name}")
    async with stage(tmp_path, name) as (mother, scenario):
        target = tmp_path / "target"
        changes, seconds = await traced(mother, scenario, target)
        for _ in range(2 * TIMES):
            hits = [Hit(moments.randint(1, len(changes))) for _ in range(3)]
            hits += [Hit(later=((moments.uniform(0.0, seconds), 9),)) for _ in range(2)]
            moments.shuffle(hits)
            await trial(mother, scenario, target, hits)
