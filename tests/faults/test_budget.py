"""Who gets how many tries: progress is never given up, standstill is, an old signature is no failure."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from fdf256_fast import StatusError, TransferError
from tests.faults.kinds import Act, Fault, Plan, after, always, times
from tests.faults.origin import Origin
from tests.faults.running import PATIENCE_SECONDS, limits
from tests.faults.worlds import WORLDS, Where, World
from tests.integration.runs import Recorder

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


async def transferred(world: World, where: Where) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        await world.transfer(where, 0)


@pytest.mark.parametrize("name", WORLDS)
@pytest.mark.parametrize("how", [Fault.RESET, Fault.CLOSE])
async def test_hundreds_of_broken_connections_do_not_matter_while_bytes_arrive(
    name: str, how: Fault, worlds: Mapping[str, World], tmp_path: Path
) -> None:
    world, folder = worlds[name], tmp_path / "goal"
    world.prepare(folder)
    async with Origin(world.files, Plan(always(Act(how, offset=5_000)))) as origin:
        await transferred(world, Where([origin.url], folder, limits(retries=2), Recorder()))
    world.check_there(folder, 0)
    assert origin.plan.applied[how] > 200


@pytest.mark.parametrize("name", WORLDS)
@pytest.mark.parametrize(
    "act",
    [Act(Fault.STATUS, status=503), Act(Fault.RESET), Act(Fault.CLOSE, offset=-1), Act(Fault.GARBAGE)],
    ids=lambda act: act.fault.name.lower(),
)
async def test_a_server_that_brings_nothing_is_given_up_after_the_retries(
    name: str, act: Act, worlds: Mapping[str, World], tmp_path: Path
) -> None:
    world, folder = worlds[name], tmp_path / "goal"
    world.prepare(folder)
    async with Origin(world.files, Plan(always(act))) as origin:
        where = Where([origin.url], folder, limits(retries=2), Recorder())
        with pytest.raises(TransferError):
            await transferred(world, where)
    # Each connection may try three times; a library may send a request once more on a connection that
    # was closed while it was idle.
    assert 3 <= len(origin.log) <= 2 * 3 * where.limits.connections_most


@pytest.mark.parametrize("name", WORLDS)
@pytest.mark.parametrize("status", [401, 403, 404, 410])
async def test_a_final_status_is_asked_for_once_by_each(
    name: str, status: int, worlds: Mapping[str, World], tmp_path: Path
) -> None:
    world, folder = worlds[name], tmp_path / "goal"
    world.prepare(folder)
    async with Origin(world.files, Plan(always(Act(Fault.STATUS, status=status)))) as origin:
        recorder = Recorder()
        with pytest.raises(StatusError, match=f"127.0.0.1.*{status}") as caught:
            await transferred(world, Where([origin.url], folder, limits(), recorder))
    assert caught.value.status == status
    assert len(origin.log) <= len(world.files)
    assert recorder.last is not None
    assert recorder.last.retries == 0


@pytest.mark.parametrize("name", WORLDS)
async def test_no_retries_means_that_the_first_failure_is_the_last(
    name: str, worlds: Mapping[str, World], tmp_path: Path
) -> None:
    world, folder = worlds[name], tmp_path / "goal"
    world.prepare(folder)
    async with Origin(world.files, Plan(times(50, Act(Fault.STATUS, status=500)))) as origin:
        with pytest.raises(TransferError):
            await transferred(world, Where([origin.url], folder, limits(retries=0), Recorder()))
    assert len(origin.log) <= len(world.files)


@pytest.mark.parametrize("name", WORLDS)
@pytest.mark.parametrize("elsewhere", [True, False], ids=["at another host", "at the same host"])
async def test_an_expired_signature_is_renewed_once_for_all_connections_and_is_no_failure(
    elsewhere: bool, name: str, worlds: Mapping[str, World], tmp_path: Path
) -> None:
    world, folder = worlds[name], tmp_path / "goal"
    world.prepare(folder)
    signed = Act(Fault.SIGNED, count=2)
    # Slow enough that all connections are at work when the address expires under them.
    plan = Plan(always(signed), always(Act(Fault.RATE, rate=2_000_000.0), is_ranged=True))
    async with Origin(world.files, plan) as storage:
        there = replace(signed, text=storage.url)
        async with Origin(world.files, Plan(always(there))) as origin:
            recorder = Recorder()
            asked = origin if elsewhere else storage
            await transferred(world, Where([asked.url], folder, limits(retries=0), recorder))
    world.check_there(folder, 0)
    originals = [one for one in asked.log if "/signed/" not in one.target]
    refused = {one.target for one in storage.log if one.status == 403}
    assert refused
    # One address for each file to begin with, and one for each that was found to be good no more.
    assert len(originals) <= len(world.files) + len(refused)
    assert recorder.last is not None
    assert recorder.last.retries == 0


@pytest.mark.parametrize("name", WORLDS)
async def test_a_server_that_wants_few_connections_gets_few(
    name: str, worlds: Mapping[str, World], tmp_path: Path
) -> None:
    world, folder = worlds[name], tmp_path / "goal"
    world.prepare(folder)
    plan = Plan(always(Act(Fault.BUSY_ABOVE, count=2)), after(3, Act(Fault.RATE, rate=2_000_000.0)))
    async with Origin(world.files, plan) as origin:
        recorder = Recorder()
        await transferred(world, Where([origin.url], folder, limits(retries=2), recorder))
    world.check_there(folder, 0)
    refused = sum(one.status == 503 for one in origin.log)
    assert refused < len(origin.log) / 2
    if refused > 2:
        assert any("more connections" in message for message in recorder.messages), recorder.messages


@pytest.mark.parametrize("name", WORLDS)
@pytest.mark.parametrize("status", [404, 503])
async def test_what_was_verified_when_a_server_failed_is_not_fetched_again(
    name: str, status: int, worlds: Mapping[str, World], tmp_path: Path
) -> None:
    world, folder = worlds[name], tmp_path / "goal"
    world.prepare(folder)
    # Within the first span of 256 KiB: behind it, all the others may have come meanwhile.
    verified = 200_000
    async with Origin(world.files, Plan(always(Act(Fault.RATE, rate=400_000.0)))) as origin:

        def fail() -> None:
            # No answer from now on, and those under way are cut off.
            origin.plan.add(always(Act(Fault.STATUS, status=status)))
            origin.cut()

        with pytest.raises(TransferError):
            await transferred(world, Where([origin.url], folder, limits(retries=0), Recorder(verified, fail)))
        world.check_not_there(folder)
        origin.plan.off()
        before = origin.content_bytes
        await transferred(world, Where([origin.url], folder, limits(), Recorder()))
    world.check_there(folder, 0)
    # An archive's end is looked at again, to see whether it is still the same: 4 KiB of each.
    assert origin.content_bytes - before <= world.size(0) - verified + 4096 * len(world.files)
