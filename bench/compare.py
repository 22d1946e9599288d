"""Run contestants alternately on the same data, and reduce what was measured to ratios."""

from __future__ import annotations

import shutil
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

from contestants import Chain, Ours, WrongResult, same_tree
from measure import Usage, measure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from contestants import Contestant
    from data import Data
    from nginx import Nginx, Traffic

__all__ = ["Bench", "Run", "Spread", "compare", "ratios"]


@dataclass(frozen=True, slots=True)
class Run:
    """One contestant, once: all of it, each command of it, and what the server sent for it."""

    usage: Usage
    steps: dict[str, Usage]
    traffic: Traffic


@dataclass(frozen=True, slots=True)
class Spread:
    """What several runs gave."""

    median: float
    least: float
    most: float

    @staticmethod
    def of(values: Iterable[float]) -> Spread:
        """At least one value."""
        listed = list(values)
        return Spread(statistics.median(listed), min(listed), max(listed))


@dataclass(frozen=True, slots=True)
class Bench:
    """Where runs happen: a folder for their results, the server, and the environment."""

    folder: Path
    server: Nginx
    env: Mapping[str, str]
    say: Callable[[str], None]


def compare(bench: Bench, contestants: Sequence[Contestant], data: Data, runs: int) -> dict[str, list[Run]]:
    """``runs`` counted rounds of A B C A B C ..., after one that warms up and checks every result.

    Raises CommandFailed or WrongResult: nobody times a failure.
    """
    bench.say("warm-up, results checked")
    _warm_up(bench, contestants, data)
    measured: dict[str, list[Run]] = {contestant.name: [] for contestant in contestants}
    for number in range(1, runs + 1):
        seconds = []
        for contestant in contestants:
            folder = bench.folder / contestant.name
            run = _run(bench, contestant, folder, data)
            shutil.rmtree(folder)
            measured[contestant.name].append(run)
            seconds.append(f"{contestant.name} {run.usage.wall_seconds:.2f} s")
        bench.say(f"round {number} of {runs}: {', '.join(seconds)}")
    return measured


def ratios(ours: Sequence[Run], theirs: Sequence[Run], what: Callable[[Usage], float]) -> Spread:
    """Ours over theirs, pair by pair: both of a pair ran within seconds on the same machine."""
    return Spread.of(what(mine.usage) / what(other.usage) for mine, other in zip(ours, theirs, strict=True))


def _warm_up(bench: Bench, contestants: Sequence[Contestant], data: Data) -> None:
    folders = {contestant.name: bench.folder / contestant.name for contestant in contestants}
    for contestant in contestants:
        _run(bench, contestant, folders[contestant.name], data)
    ours, chain = folders.get(Ours().name), folders.get(Chain().name)
    for contestant in contestants:
        if ours and chain and contestant.name == ours.name:
            same_tree(ours / "tree", chain / "tree")
        else:
            contestant.check(folders[contestant.name], data)
    for folder in folders.values():
        shutil.rmtree(folder)


def _run(bench: Bench, contestant: Contestant, folder: Path, data: Data) -> Run:
    folder.mkdir()
    commands = contestant.prepare(folder, data)
    bench.server.traffic()  # what went before is not this run's
    log = bench.folder / f"{contestant.name}.log"
    steps = {command.label: measure(command, bench.env, log) for command in commands}
    traffic = bench.server.traffic()
    if traffic.body_bytes < data.total_bytes:
        raise WrongResult(f"{contestant.name} downloaded {traffic.body_bytes} bytes only")
    return Run(Usage.together(steps.values()), steps, traffic)
