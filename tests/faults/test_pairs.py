"""Two faults at once, each of which does not matter alone: drawn by a seed, so that a failure comes again."""

from __future__ import annotations

import itertools
import random
from typing import TYPE_CHECKING

import pytest

from tests.faults.cases import CASES, Case
from tests.faults.kinds import Fault
from tests.faults.outcomes import RECOVERS
from tests.faults.running import run_case
from tests.faults.worlds import WORLDS, World

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

PAIRS = 30
SLOW = frozenset({Fault.RATE, Fault.SILENCE})
STREAMS = frozenset({Fault.NO_RANGES, Fault.RANGES_NONE})
ANOTHER = frozenset({Fault.HTML_PAGE, Fault.WHOLE_SHORTER})
DETOURS = frozenset({Fault.REDIRECT, Fault.SIGNED})
BREAKS = frozenset({Fault.RESET, Fault.CLOSE, Fault.SILENCE, Fault.CHANGED, Fault.CHANGED_DURING})


def _faults(case: Case) -> set[Fault]:
    return {rule.act.fault for rule in case.rules}


def _fit(one: Case, other: Case) -> bool:
    """Whether the pair can be survived at all, and is quick enough."""
    kinds = _faults(one), _faults(other)
    if one.version and other.version:
        return False
    if kinds[0] & kinds[1] or (kinds[0] & SLOW and kinds[1] & SLOW):
        return False
    # Behind so many hops "in the middle" is the first answer of all, and nothing tells that it is wrong.
    if ANOTHER & (kinds[0] | kinds[1]) and DETOURS & (kinds[0] | kinds[1]):
        return False
    # What begins anew at byte 0 never ends where every connection breaks.
    return not (STREAMS & (kinds[0] | kinds[1]) and BREAKS & (kinds[0] | kinds[1]))


def _pairs() -> list[Case]:
    alone = [
        case
        for case in CASES
        if case.outcomes == (RECOVERS,) * 3 and not case.tls and not case.other and case.rules
    ]
    fitting = [pair for pair in itertools.combinations(alone, 2) if _fit(*pair)]
    return [
        Case(
            f"{one.name} + {other.name}",
            one.rules + other.rules,
            timeout_seconds=min(one.timeout_seconds, other.timeout_seconds),
            version=max(one.version, other.version),
            retries=6,
        )
        for one, other in random.Random(256).sample(fitting, PAIRS)
    ]


@pytest.mark.parametrize(
    ("case", "name"),
    [(case, WORLDS[number % 3]) for number, case in enumerate(_pairs())],
    ids=[case.name.replace(" ", "-") for case in _pairs()],
)
async def test_two_faults_at_once_are_survived_like_one(
    case: Case, name: str, worlds: Mapping[str, World], tmp_path: Path
) -> None:
    await run_case(case, worlds[name], RECOVERS, tmp_path)
