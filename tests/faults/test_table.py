"""Every fault of the table, under every kind of transfer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.faults.cases import CASES, Case
from tests.faults.running import run_case
from tests.faults.worlds import WORLDS, World

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@pytest.mark.parametrize("kind", range(3), ids=[name.replace(" ", "-") for name in WORLDS])
@pytest.mark.parametrize("case", CASES, ids=[case.name.replace(" ", "-") for case in CASES])
async def test_each_fault_ends_as_the_table_says(
    case: Case, kind: int, worlds: Mapping[str, World], tmp_path: Path
) -> None:
    await run_case(case, worlds[WORLDS[kind]], case.outcomes[kind], tmp_path)


def test_no_two_lines_of_the_table_have_the_same_name() -> None:
    assert len({case.name for case in CASES}) == len(CASES)
