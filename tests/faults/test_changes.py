"""The file on the server becomes another one, after every request that there is: never a mixture."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from fdf256_fast import Error, IntegrityError
from tests.faults.kinds import Act, Fault, Plan, after, always, at
from tests.faults.origin import Origin
from tests.faults.running import PATIENCE_SECONDS, limits
from tests.faults.worlds import WORLDS, Dataset, File, Where, World
from tests.integration.runs import Recorder, cancelled

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from fdf256_fast.progress import Progress

VALIDATORS = {
    "strong ETag": [],
    "Last-Modified": [always(Act(Fault.NO_ETAG))],
    "no validator": [always(Act(Fault.NO_VALIDATOR))],
}
SIZES = {"same size": 1, "other size": 2}
MOMENTS = range(1, 10)
AT_ONCE = 5
"""Runs side by side: most of their time is waiting."""


async def _run(world: World, where: Where, version: int) -> Error | None:
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            await world.transfer(where, version)
    except Error as error:
        return error
    return None


async def _for_each_moment(one: object, folder: Path) -> None:
    slots = asyncio.Semaphore(AT_ONCE)

    async def run(moment: int) -> None:
        async with slots:
            here = folder / str(moment)
            here.mkdir()
            try:
                await one(moment, here / "goal")  # type: ignore[operator]
            except Exception as error:
                error.add_note(f"It had changed after request {moment}.")
                raise

    async with asyncio.TaskGroup() as group:
        for moment in MOMENTS:
            group.create_task(run(moment))


@pytest.mark.parametrize("name", WORLDS)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("validator", VALIDATORS)
async def test_a_file_that_changes_is_never_mixed(
    name: str, size: str, validator: str, worlds: Mapping[str, World], tmp_path: Path
) -> None:
    world, version = worlds[name], SIZES[size]
    tells = validator != "no validator" or version == 2
    if not tells and name == "file without digest":
        # Nothing could tell: the program can do no better than the server lets it.
        pytest.skip("neither a validator, nor a digest, nor the size")

    async def one(moment: int, folder: Path) -> None:
        plan = Plan(*VALIDATORS[validator], after(moment, Act(Fault.CHANGED, count=version)))
        async with Origin(world.files, plan) as origin:
            world.prepare(folder)
            where = Where([origin.url], folder, limits(), Recorder())
            error = await _run(world, where, version)
            if error is None:
                saw_change = len(origin.log) > moment
                world.check_there(folder, version if saw_change else 0)
                return
            # Bytes of before that nothing tells from those of after, and a digest that does.
            assert isinstance(error, IntegrityError), error
            world.check_not_there(folder)
            if isinstance(world, File):
                assert not tells or len(origin.log) <= moment
            origin.plan.off()
            origin.plan.add(*VALIDATORS[validator], always(Act(Fault.CHANGED, count=version)))
            assert await _run(world, where, version) is None
            world.check_there(folder, version)

    await _for_each_moment(one, tmp_path)


@pytest.mark.parametrize("name", ["file with digest", "dataset"])
async def test_a_span_that_is_half_one_version_and_half_the_next_is_found_out(
    name: str, worlds: Mapping[str, World], tmp_path: Path
) -> None:
    world = worlds[name]

    async def one(moment: int, folder: Path) -> None:
        plan = Plan(at(moment, Act(Fault.CHANGED_DURING, offset=10_000)), after(moment, Act(Fault.CHANGED)))
        async with Origin(world.files, plan) as origin:
            where = Where([origin.url], folder, limits(), Recorder())
            world.prepare(folder)
            error = await _run(world, where, 1)
            if error is not None:
                assert isinstance(error, IntegrityError), error
                world.check_not_there(folder)
                origin.plan.off()
                origin.plan.add(always(Act(Fault.CHANGED)))
                assert await _run(world, where, 1) is None
            world.check_there(folder, 1)

    await _for_each_moment(one, tmp_path)


@pytest.mark.parametrize("name", WORLDS)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("validator", ["strong ETag", "Last-Modified"])
async def test_a_file_that_changes_between_two_runs_is_begun_anew(
    name: str, size: str, validator: str, worlds: Mapping[str, World], tmp_path: Path
) -> None:
    world, version = worlds[name], SIZES[size]
    folder = tmp_path / "goal"
    slow = always(Act(Fault.RATE, rate=400_000.0))
    async with Origin(world.files, Plan(slow, *VALIDATORS[validator])) as origin:
        world.prepare(folder)

        async def begin(progress: Progress) -> None:
            await world.transfer(Where([origin.url], folder, limits(), progress), 0)

        # Within the first span of 256 KiB: behind it, all the others may have come meanwhile.
        await cancelled(begin, 200_000)
        world.check_not_there(folder)
        origin.plan.off()
        origin.plan.add(*VALIDATORS[validator], always(Act(Fault.CHANGED, count=version)))
        recorder = Recorder()
        await world.transfer(Where([origin.url], folder, limits(), recorder), version)
        world.check_there(folder, version)
        if not isinstance(world, Dataset):  # its digests are others now, which is what it tells
            assert any("dropped" in message for message in recorder.messages), recorder.messages
