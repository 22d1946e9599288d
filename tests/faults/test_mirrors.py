"""The first mirror fails, in each way that there is: the second one is used, within the same archive."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest

from fdf256_fast import Error, IntegrityError, TransferError
from tests.faults.cases import CASES, MIDDLE, Case
from tests.faults.kinds import Act, Fault, Plan, after, always
from tests.faults.origin import Origin
from tests.faults.outcomes import RECOVERS
from tests.faults.running import PATIENCE_SECONDS, limits
from tests.faults.worlds import WORLDS, Where, World
from tests.integration.runs import Recorder
from tests.servers import dead_port

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

RACED_BYTES = 64 * 1024
"""A span that lags is raced by a second request, and comes twice then."""

FAILING = [case for case in CASES if RECOVERS not in case.outcomes and not case.tls and not case.other]
FROM_THE_MIDDLE = [
    Act(Fault.STATUS, status=404),
    Act(Fault.STATUS, status=503),
    Act(Fault.RESET),
    Act(Fault.SILENCE, offset=-1),
    Act(Fault.GZIP),
    Act(Fault.HTML_PAGE),
    Act(Fault.RANGE_SHIFTED, count=7),
]


@pytest.mark.parametrize("case", FAILING, ids=[case.name.replace(" ", "-") for case in FAILING])
async def test_when_the_first_mirror_fails_the_second_is_used(
    case: Case, worlds: Mapping[str, World], tmp_path: Path
) -> None:
    async def one(world: World, folder: Path) -> None:
        world.prepare(folder)
        async with Origin(world.files, Plan(*case.rules)) as first, Origin(world.files) as second:
            bounds = limits(retries=case.retries, timeout_seconds=case.timeout_seconds)
            where = Where([first.url, second.url], folder, bounds, Recorder())
            try:
                async with asyncio.timeout(PATIENCE_SECONDS):
                    await world.transfer(where, 0)
            except Error as error:
                error.add_note(f"This was the {world.name}.")
                raise
        world.check_there(folder, 0)
        assert first.connections
        assert second.content_bytes > 0

    async with asyncio.TaskGroup() as group:
        for number, name in enumerate(("file with digest", "dataset")):
            group.create_task(one(worlds[name], tmp_path / f"goal-{number}"))


@pytest.mark.parametrize("name", WORLDS)
@pytest.mark.parametrize("act", FROM_THE_MIDDLE, ids=lambda act: f"{act.fault.name.lower()}-{act.status}")
async def test_when_it_fails_in_the_middle_what_it_brought_is_kept(
    act: Act, name: str, worlds: Mapping[str, World], tmp_path: Path
) -> None:
    world, folder = worlds[name], tmp_path / "goal"
    world.prepare(folder)
    # The same file at both: without a digest nothing else shows that they may be mixed.
    async with Origin(world.files, Plan(after(MIDDLE, act))) as first, Origin(world.files) as second:
        bounds = limits(timeout_seconds=0.6)
        async with asyncio.timeout(PATIENCE_SECONDS):
            await world.transfer(Where([first.url, second.url], folder, bounds, Recorder()), 0)
    world.check_there(folder, 0)
    used = [one for one in first.log if one.asked.number <= MIDDLE and one.is_content]
    brought = sum(one.body_bytes for one in used)
    assert second.content_bytes <= world.size(0) - brought + RACED_BYTES + 64 * 1024


@pytest.mark.parametrize("name", WORLDS)
async def test_a_mirror_that_does_not_listen_costs_nothing_but_a_look(
    name: str, worlds: Mapping[str, World], tmp_path: Path
) -> None:
    world, folder = worlds[name], tmp_path / "goal"
    world.prepare(folder)
    with dead_port() as port:
        async with Origin(world.files) as second, asyncio.timeout(PATIENCE_SECONDS):
            urls = [f"http://127.0.0.1:{port}", second.url]
            await world.transfer(Where(urls, folder, limits(), Recorder()), 0)
    world.check_there(folder, 0)


async def test_a_mirror_with_another_version_is_not_mixed_in(
    worlds: Mapping[str, World], tmp_path: Path
) -> None:
    world, folder = worlds["dataset"], tmp_path / "goal"
    stale = Plan(always(Act(Fault.CHANGED)))
    async with Origin(world.files, stale) as first, Origin(world.files) as second:
        async with asyncio.timeout(PATIENCE_SECONDS):
            await world.transfer(Where([first.url, second.url], folder, limits(), Recorder()), 0)
    world.check_there(folder, 0)


@pytest.mark.parametrize("name", WORLDS)
async def test_when_all_mirrors_fail_the_message_names_each(
    name: str, worlds: Mapping[str, World], tmp_path: Path
) -> None:
    world, folder = worlds[name], tmp_path / "goal"
    world.prepare(folder)
    async with contextlib.AsyncExitStack() as stack:
        plans = [Plan(always(Act(Fault.STATUS, status=status))) for status in (404, 403, 410)]
        origins = [await stack.enter_async_context(Origin(world.files, plan)) for plan in plans]
        urls = [origin.url for origin in origins]
        with pytest.raises((TransferError, IntegrityError)) as caught:
            await world.transfer(Where(urls, folder, limits(), Recorder()), 0)
    world.check_not_there(folder)
    for origin, status in zip(origins, ("404", "403", "410"), strict=True):
        assert f"127.0.0.1:{origin.port}" in str(caught.value)
        assert status in str(caught.value)


def test_there_are_mirrors_that_fail() -> None:
    assert len(FAILING) > 20
