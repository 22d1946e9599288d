"""What was measured, and what follows from it: medians, ratios pair by pair, aims."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from bench.frame import Place
    from bench.measure import Usage

__all__ = [
    "CaseResult", "Results", "Run", "Spread", "cpu_ratio", "ideal_ratio", "peak_bytes", "ratio",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Run:
    """One contestant, once: all of it, each command of it, and what the case's meter said."""

    usage: Usage
    steps: Mapping[str, Usage]
    metered: Mapping[str, float]


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
class CaseResult:
    """One case at one place.  ``runs`` is by contestant, ours first."""

    case: str
    title: str
    place: Place
    descriptions: Mapping[str, str]
    runs: Mapping[str, Sequence[Run]]
    left_out: Mapping[str, str]
    ideal_seconds: float | None = None
    facts: Mapping[str, float | str] = field(default_factory=dict)

    @property
    def ours(self) -> str:
        """The contestant that the others are compared with."""
        return next(iter(self.runs))

    def spread(self, name: str, what: Callable[[Run], float]) -> Spread:
        """Of one contestant's runs."""
        return Spread.of(what(run) for run in self.runs[name])

    def ratios(self, name: str, what: Callable[[Run], float]) -> Spread:
        """Ours over theirs, pair by pair: both of a pair ran within seconds on the same machine."""
        pairs = zip(self.runs[self.ours], self.runs[name], strict=True)
        return Spread.of(what(mine) / max(what(theirs), 1e-9) for mine, theirs in pairs)


@dataclass(frozen=True, slots=True)
class Results:
    """All cases of a job, at all places."""

    cases: Sequence[CaseResult]

    def find(self, case: str, place: Place = "memory") -> CaseResult | None:
        """None where it was not measured."""
        wanted = (case, place)
        return next((one for one in self.cases if (one.case, one.place) == wanted and one.runs), None)


def seconds(run: Run) -> float:
    return run.usage.wall_seconds


def cpu_seconds(run: Run) -> float:
    return run.usage.cpu_seconds


def ratio(
    case: str, *peers: str, place: Place = "memory", what: Callable[[Run], float] = seconds
) -> Callable[[Results], float | None]:
    """For an aim: the median ratio of time, ours over theirs; of several peers the best one's.

    Without ``peers``, all that were measured.
    """

    def figure(results: Results) -> float | None:
        found = results.find(case, place)
        if found is None:
            return None
        names = [name for name in peers or list(found.runs)[1:] if name in found.runs]
        return max((found.ratios(name, what).median for name in names), default=None)

    return figure


def cpu_ratio(case: str, *peers: str, place: Place = "memory") -> Callable[[Results], float | None]:
    """For an aim: as :func:`ratio`, of CPU seconds."""
    return ratio(case, *peers, place=place, what=cpu_seconds)


def ideal_ratio(case: str, place: Place = "memory") -> Callable[[Results], float | None]:
    """For an aim: the median of our time over the ideal one."""

    def figure(results: Results) -> float | None:
        found = results.find(case, place)
        if found is None or found.ideal_seconds is None:
            return None
        return found.spread(found.ours, seconds).median / found.ideal_seconds

    return figure


def peak_bytes(case: str, place: Place = "memory") -> Callable[[Results], float | None]:
    """For an aim: the largest resident set of all our runs."""

    def figure(results: Results) -> float | None:
        found = results.find(case, place)
        return None if found is None else max(run.usage.peak_bytes for run in found.runs[found.ours])

    return figure


def as_json(result: CaseResult) -> dict[str, Any]:
    """With everything that the pages show, so that nobody has to compute it again."""
    return {
        "case": result.case,
        "title": result.title,
        "place": result.place,
        "ideal_seconds": result.ideal_seconds,
        "facts": dict(result.facts),
        "left_out": dict(result.left_out),
        "contestants": [_contestant_as_json(result, name) for name in result.runs],
    }


def _contestant_as_json(result: CaseResult, name: str) -> dict[str, Any]:
    runs = result.runs[name]
    told: dict[str, Any] = {
        "name": name,
        "description": result.descriptions[name],
        "wall_seconds": _spread_as_json(result.spread(name, seconds)),
        "cpu_seconds": _spread_as_json(result.spread(name, cpu_seconds)),
        "peak_bytes": _spread_as_json(result.spread(name, lambda run: run.usage.peak_bytes)),
        "metered": {
            label: _spread_as_json(result.spread(name, lambda run, label=label: run.metered[label]))  # type: ignore[misc]
            for label in runs[0].metered
        },
    }
    if len(runs[0].steps) > 1:
        told["step_seconds"] = {
            label: _spread_as_json(Spread.of(run.steps[label].wall_seconds for run in runs))
            for label in runs[0].steps
        }
    if result.ideal_seconds is not None:
        told["over_ideal"] = round(result.spread(name, seconds).median / result.ideal_seconds, 4)
    if name != result.ours:
        told["ours_over_theirs"] = _spread_as_json(result.ratios(name, seconds))
        told["ours_over_theirs_cpu"] = _spread_as_json(result.ratios(name, cpu_seconds))
    told["runs"] = [
        {
            "wall_seconds": round(run.usage.wall_seconds, 5),
            "cpu_seconds": round(run.usage.cpu_seconds, 5),
            "peak_bytes": run.usage.peak_bytes,
            **run.metered,
        }
        for run in runs
    ]
    return told


def _spread_as_json(spread: Spread) -> list[float]:
    """Median, least, most."""
    return [round(value, 5) for value in (spread.median, spread.least, spread.most)]
