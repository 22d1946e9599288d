"""What a benchmark is made of: a job has cases, a case has data and contestants.

README.md says how to add a job.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from bench.figures import Results
    from bench.measure import Command
    from bench.tools import Tools

__all__ = ["Aim", "CannotRun", "Case", "Contestant", "Job", "Place", "Workshop", "WrongResult"]

Place = Literal["memory", "disk"]


class CannotRun(Exception):
    """A job or a case is impossible here; the message is the reason that the results give."""


class WrongResult(Exception):
    """A program ended with status 0 and left something else than it should have."""


def _nothing(_: Path) -> None:
    """A check for programs that leave nothing behind, and say with their status whether all is well."""


@dataclass(frozen=True, slots=True)
class Contestant:
    """A way to get the work done, in a fresh folder each time.

    ``description`` is the commands, in short; ``needs`` are names of :mod:`bench.tools`.  ``prepare``
    makes, untimed, what the commands need in the folder that it is given, and returns the commands,
    which are timed together, one after the other.  ``check`` raises :class:`WrongResult` unless all is
    there; it is called once, after the warm-up.
    """

    name: str
    description: str
    prepare: Callable[[Path], Sequence[Command]]
    check: Callable[[Path], None] = _nothing
    needs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Case:
    """One kind of work.  The first contestant is ours, which all others are compared with.

    ``meter`` is called before a run, to forget what went before, and after it, for further figures of
    that run (such as what a server sent); it may raise :class:`WrongResult`.  ``left_out`` are those that
    cannot do this work, each with the reason.  ``ideal_seconds`` is what no program can be faster than.
    Who takes longer than ``patience_seconds`` is left out, too.  ``facts`` go to the JSON as they are.
    """

    name: str
    title: str
    contestants: Sequence[Contestant]
    places: tuple[Place, ...] = ("memory", "disk")
    ideal_seconds: float | None = None
    meter: Callable[[], dict[str, float]] | None = None
    left_out: Mapping[str, str] = field(default_factory=dict)
    patience_seconds: float = 120.0
    facts: Mapping[str, float | str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Workshop:
    """What a job gets to make its cases from.

    ``folder`` is empty, for the data, and removed when the job has ended; ``quick`` asks for little of
    them.
    """

    folder: Path
    tools: Tools
    quick: bool
    seed: int
    say: Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Aim:
    """A figure that is to be at most ``limit``; None where it was not measured."""

    words: str
    limit: float
    figure: Callable[[Results], float | None]
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Job:
    """One comparison.

    ``cases`` is a generator: data of a case are made before it is yielded, and may be removed when it
    goes on.  ``needs`` are all the tools that its contestants may use, so that they can be installed first.
    ``room_bytes`` is what data and results take at most, ``touched_bytes`` what memory a run fills, page
    cache included: see :mod:`bench.warm`.  ``drawing`` is a function of :mod:`bench.plots`.
    """

    name: str
    title: str
    about: str
    cases: Callable[[Workshop], Iterator[Case]]
    needs: tuple[str, ...]
    aims: tuple[Aim, ...] = ()
    room_bytes: int = 5 << 30
    touched_bytes: int = 3 << 30
    drawing: str = "bars"
