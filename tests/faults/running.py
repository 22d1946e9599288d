"""Runs one line of the table: the transfer under its fault, what must come of it, and the way back."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import aiohttp
import trustme

from fdf256_fast import DigestMismatch, Error, Limits, TransferError
from tests.faults.answers import SECRET
from tests.faults.kinds import Fault, Plan, Rule
from tests.faults.origin import Origin
from tests.faults.worlds import File, Where, World
from tests.integration.runs import Recorder

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from tests.faults.cases import Case
    from tests.faults.outcomes import Outcome

__all__ = ["PATIENCE_SECONDS", "Ran", "limits", "run_case"]

PATIENCE_SECONDS = 45.0
"""No transfer here takes a tenth of it: what does has hung."""

PROBE_BYTES = 4 * 1024
"""A resumed archive may be asked for so much of its end, to see whether it is still the same."""


@dataclass(frozen=True, slots=True)
class Ran:
    """What a transfer under a fault cost.

    ``extra_bytes`` are bytes of bodies beyond the size of what was transferred, both calls together where
    the first one failed; ``seconds`` and ``requests`` are those of the first call.
    """

    outcome: str
    seconds: float
    extra_bytes: int
    requests: int


def limits(*, retries: int = 2, timeout_seconds: float = 5.0, connections: int = 6) -> Limits:
    """Little memory, so that spans are small and there are many of them."""
    return Limits(
        connections=connections,
        memory_bytes=4 * 1024 * 1024,
        workers=2,
        retries=retries,
        timeout_seconds=timeout_seconds,
    )


@contextlib.asynccontextmanager
async def origins(case: Case, world: World) -> AsyncIterator[tuple[Origin, Origin]]:
    """The one that is asked, and the other that it may send us to."""
    context = None
    if case.tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        _authority().issue_cert("127.0.0.1").configure_cert(context)
    async with (
        Origin(world.files, Plan(*case.other)) as other,
        Origin(world.files, Plan(*_addressed(case.rules, other.url)), tls=context) as origin,
    ):
        yield origin, other


def _addressed(rules: Sequence[Rule], url: str) -> list[Rule]:
    return [
        replace(rule, act=replace(rule.act, text=rule.act.text.replace("{other}", url))) for rule in rules
    ]


AUTHORITY: list[trustme.CA] = []


def _authority() -> trustme.CA:
    if not AUTHORITY:
        AUTHORITY.append(trustme.CA())
    return AUTHORITY[0]


@contextlib.asynccontextmanager
async def session(case: Case) -> AsyncIterator[aiohttp.ClientSession | None]:
    """A session that trusts our authority, where that is wanted."""
    if case.tls != "trusted":
        yield None
        return
    context = ssl.create_default_context()
    _authority().configure_trust(context)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context, limit=0)) as one:
        yield one


async def run_case(case: Case, world: World, outcome: Outcome, folder: Path) -> Ran:
    """Run it, and assert everything that must hold."""
    async with origins(case, world) as (origin, other), session(case) as own:
        goal = folder / "goal"
        world.prepare(goal)
        recorder = Recorder()
        bounds = limits(retries=case.retries, timeout_seconds=case.timeout_seconds)
        where = Where([origin.url], goal, bounds, recorder, own)
        started = time.monotonic()
        error = await _transfer(world, where, case.version)
        seconds = time.monotonic() - started
        requests = len(origin.log) + len(other.log)
        _check(error, outcome, world, goal, case.version)
        if error is not None:
            _check_message(error, world, origin)
            if case.tls != "untrusted":
                await _check_resumes(world, where, _is_kept(case, error), (origin, other))
        is_there = error is None or case.tls != "untrusted"
        needed = world.size(case.version if error is None else 0) if is_there else 0
        sent = origin.body_bytes + other.body_bytes
        return Ran(str(outcome), seconds, max(0, sent - needed), requests)


async def _transfer(world: World, where: Where, version: int) -> Error | None:
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            await world.transfer(where, version)
    except Error as error:
        return error
    return None


def _check(error: Error | None, outcome: Outcome, world: World, goal: Path, version: int) -> None:
    if outcome.error is None:
        if error is not None:
            raise AssertionError(f"it should have recovered: {error!r}") from error
        if outcome.sent is not None:
            assert isinstance(world, File)
            world.check_is(goal, outcome.sent(world.contents[version]))
        else:
            world.check_there(goal, version)
        return
    assert error is not None, f"it should have failed with {outcome}"
    world.check_not_there(goal)
    assert isinstance(error, outcome.error), f"it should have failed with {outcome}, not {error!r}"
    assert error.exit_status == outcome.error.exit_status
    for word in outcome.words:
        assert word in str(error), f"{word!r} is missing in: {error}"


def _check_message(error: Error, world: World, origin: Origin) -> None:
    """It names the file, for a transfer the address too, and no secret."""
    text = str(error)
    assert any(name.removesuffix(".zip") in text for name in world.files), text
    if isinstance(error, TransferError):
        assert f"127.0.0.1:{origin.port}" in text, text
    assert SECRET not in text
    assert all(char.isprintable() or char == "\n" for char in text), repr(text)
    assert len(error.message) < 600, "a person has to read it"
    assert "\n" not in error.message, "a log has it in one line"
    assert error.hint, "a message says what to do next"


def _is_kept(case: Case, error: Error) -> bool:
    """Not where the bytes are known to be wrong, nor where the file then has another size than it had; and
    not what came without ranges, since no such server goes on.
    """
    streams = {Fault.NO_RANGES, Fault.RANGES_NONE, Fault.WHOLE_SHORTER, Fault.HTML_PAGE}
    faults = {rule.act.fault for rule in case.rules}
    return not isinstance(error, DigestMismatch) and not faults & (streams | {Fault.RANGE_OTHER_TOTAL})


async def _check_resumes(world: World, where: Where, is_kept: bool, both: tuple[Origin, Origin]) -> None:
    """With the fault gone the same call goes on, and fetches nothing again that it says it has."""
    before = sum(origin.content_bytes for origin in both)
    for origin in both:
        origin.plan.off()
    recorder = Recorder()
    error = await _transfer(world, replace(where, progress=recorder), 0)
    if error is not None:
        raise AssertionError(f"it should have gone on: {error!r}") from error
    world.check_there(where.folder, 0)
    if not is_kept:
        return
    assert recorder.last is not None
    resumed = sum(archive.resumed for archive in recorder.last.archives)
    spent = sum(origin.content_bytes for origin in both) - before
    most = world.size(0) - resumed + PROBE_BYTES * len(world.files)
    assert spent <= most, f"{spent - most} bytes were fetched again although they were verified"
