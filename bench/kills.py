"""Runs ended by SIGKILL at many moments, then left to finish: is anything lost, wrong or left behind?

Each trial takes one of the ways to use the command in turn (see ``tests/crash/scenarios.py``), on a few MB
in thousands of files, so that publishing is a good part of the run.  It is hit once to four times, each
time either at a random moment or at an exact step: the n-th file that Python opens for writing, renames or
removes.
After each hit, whatever is visible must be right; in the end, everything must be, with nothing left over.

Usage: python -m bench.kills [--kills N] [--seed N] [--members N]
"""

from __future__ import annotations

import argparse
import asyncio
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.crash.kills import Hit, Scenario, Zygote, publishing_starts, traced, trial, zygote
from tests.crash.scenarios import Size, scenarios

LARGE_BYTES = 6_000_000
"""One member that does not fit into the window of the smallest memory budget."""


def main() -> int:
    """Run it; returns an exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=256)
    parser.add_argument("--members", type=int, default=500, help="files in each of three archives")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kills-") as home:
        return asyncio.run(run(Path(home), options))


async def run(home: Path, options: argparse.Namespace) -> int:
    """Trials until there were enough kills."""
    started = time.monotonic()
    moments = random.Random(options.seed)
    size = Size(members=options.members, member_bytes=2_000, large_bytes=LARGE_BYTES)
    kills, trials, failures = Counter[str](), 0, 0
    async with zygote(home) as mother, scenarios(home, size, mother, rate=30_000_000) as found:
        measured = {name: await traced(mother, scenario, home / "target") for name, scenario in found.items()}
        for name, (changes, seconds) in measured.items():
            print(
                f"{name}: {len(changes)} steps, publishing from {publishing_starts(changes)}, {seconds:.2f} s"
            )
        while kills.total() < options.kills:
            name = list(found)[trials % len(found)]
            trials += 1
            hits = [choose(moments, *measured[name]) for _ in range(moments.randint(1, 4))]
            happened = await attempt(mother, found[name], home / f"target{trials}", hits)
            failures += happened is None
            kills[name] += len(hits) if happened is None else happened
    for name, count in kills.items():
        print(f"{name}: {count} kills")
    print(
        f"{kills.total()} kills in {trials} trials, {time.monotonic() - started:.0f} s: {failures} failures"
    )
    return 1 if failures else 0


def choose(moments: random.Random, changes: list[str], seconds: float) -> Hit:
    """Half at a random moment, a quarter at any step, a quarter at a step of publishing."""
    kind = moments.randrange(4)
    if kind < 2:
        return Hit(later=((moments.uniform(0.0, seconds), signal.SIGKILL),))
    first = 1 if kind == 2 else publishing_starts(changes)
    return Hit(at=moments.randint(first, len(changes)))


async def attempt(mother: Zygote, scenario: Scenario, target: Path, hits: list[Hit]) -> int | None:
    """One trial; None when something was wrong, which is printed."""
    try:
        return await trial(mother, scenario, target, hits)
    except AssertionError as error:
        print(f"{scenario.name} {hits}: {str(error)[:2000]}")
        return None


if __name__ == "__main__":
    sys.exit(main())
