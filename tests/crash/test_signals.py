"""Signals that ask a run to end: at any step it says so in one line, ends with 130, and can be taken up."""

from __future__ import annotations

import contextlib
import random
import shutil
import signal
from typing import TYPE_CHECKING

import pytest

from tests.crash.kills import TIMES, Hit, traced, zygote
from tests.crash.scenarios import Size, scenarios

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

INTERRUPTED = 130
MOST_RUNS = 30
"""On a busy machine a run may be over before the signal comes, again and again."""


@pytest.fixture
def heard_hangup() -> Iterator[None]:
    """Where the tests run without a terminal, as by nohup, programs would inherit that it is ignored."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("heard_hangup")
@pytest.mark.parametrize(
    "signals",
    [(signal.SIGINT,), (signal.SIGTERM,), (signal.SIGHUP,), (signal.SIGINT,) * 2, (signal.SIGTERM,) * 3],
    ids=lambda signals: " ".join(one.name for one in signals),
)
@pytest.mark.parametrize("name", ["download", "fetch without a digest", "fetch --extract"])
async def test_a_signal_at_any_moment_ends_a_run_in_peace(
    signals: tuple[signal.Signals, ...], name: str, tmp_path: Path
) -> None:
    moments = random.Random(f"{signals} {name}")
    size = Size(members=40)
    async with zygote(tmp_path) as mother, scenarios(tmp_path, size, mother) as found:
        scenario, target = found[name], tmp_path / "target"
        changes, seconds = await traced(mother, scenario, target)
        interrupted = 0
        for number in range(MOST_RUNS):
            if number >= 3 * TIMES and interrupted:
                break
            scenario.prepare(target)
            if number % 2 and len(signals) == 1:
                hit = Hit(at=moments.randint(2, len(changes)), how=signals[0])
            else:
                # Not before the command has begun: until then it is Python that is interrupted.
                first = moments.uniform(0.03, max(0.03, seconds - 0.02))
                after = (first + 0.001 * count for count in range(len(signals)))
                hit = Hit(later=tuple(zip(after, signals, strict=True)))
            arguments = scenario.arguments(target)
            ended = await mother.run(arguments, target, hit)
            # It may have been over already; the process then ends as the signal has it.
            assert ended.status in {INTERRUPTED, 0, -signals[0]}, ended
            assert "Traceback" not in ended.stderr, ended.stderr
            if ended.status == INTERRUPTED:
                interrupted += 1
                # A line of its own, behind what the terminal shows for Ctrl-C.
                assert ended.stderr.strip().count("\n") == 0, ended.stderr
                assert "the same command goes on from there" in ended.stderr
            scenario.check_visible(target)
            ended = await mother.run(arguments, target)
            assert ended.status == 0, ended.stderr
            scenario.check_finished(target)
            shutil.rmtree(target)
    assert interrupted


async def test_an_ignored_hangup_stays_ignored(tmp_path: Path) -> None:
    """As nohup has it: the run goes on without its terminal."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with contextlib.ExitStack() as stack:
        stack.callback(signal.signal, signal.SIGHUP, before)
        async with zygote(tmp_path) as mother, scenarios(tmp_path, Size(), mother) as found:
            scenario, target = found["download"], tmp_path / "target"
            scenario.prepare(target)
            ended = await mother.run(scenario.arguments(target), target, Hit(at=20, how=signal.SIGHUP))
            assert ended.status == 0, ended.stderr
            scenario.check_finished(target)
