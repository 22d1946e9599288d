"""Every fault of the table, under every kind of transfer."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.faults.cases import CASES, Case
from tests.faults.running import run_case
from tests.faults.worlds import WORLDS, World

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@pytest.mark.parametrize("case", CASES, ids=[case.name.replace(" ", "-") for case in CASES])
async def test_each_fault_ends_as_the_table_says(
    case: Case, worlds: Mapping[str, World], tmp_path: Path
) -> None:
    """The three side by side: most of their time is waiting."""

    async def one(name: str, number: int) -> None:
        folder = tmp_path / str(number)
        folder.mkdir()
        try:
            await run_case(case, worlds[name], case.outcomes[number], folder)
        except Exception as error:
            error.add_note(f"This was the {name}.")
            raise

    jobs = [one(name, number) for number, name in enumerate(WORLDS)]
    found = await asyncio.gather(*jobs, return_exceptions=True)
    wrong = [each for each in found if isinstance(each, Exception)]
    if wrong:
        raise ExceptionGroup(f"{len(wrong)} of 3 did not end as the table says", wrong)


def test_no_two_lines_of_the_table_have_the_same_name() -> None:
    assert len({case.name for case in CASES}) == len(CASES)
