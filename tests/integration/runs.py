"""Runs that are looked at or cut off: in this process, and as the command in another one."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from fdf256_fast.progress import Progress, Snapshot

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine
    from pathlib import Path

    from fdf256_fast.origin import Origin

PATIENCE_SECONDS = 60.0
"""For whatever must happen; tests that wait for so long have failed."""


class Recorder(Progress):
    """Remembers messages and the last counters, and calls ``act`` once so many bytes are verified."""

    def __init__(self, verified_bytes: int | None = None, act: Callable[[], object] | None = None) -> None:
        self.messages: list[str] = []
        self.last: Snapshot | None = None
        self._verified_bytes = verified_bytes
        self._act = act

    def message(self, text: str) -> None:
        """Keep it."""
        self.messages.append(text)

    def updated(self, snapshot: Snapshot) -> None:
        """Keep it, and act when it is time."""
        self.last = snapshot
        if self._act is not None and self._verified_bytes is not None:
            if sum(archive.verified for archive in snapshot.archives) < self._verified_bytes:
                return
            act, self._act = self._act, None
            act()


async def cancelled(job: Callable[[Progress], Coroutine[Any, Any, object]], verified_bytes: int) -> Recorder:
    """Run ``job`` and cancel it once so many bytes are verified.

    They had better be few, however slow the source is: while one connection brings the next of them, the
    others may bring all the rest.
    """
    task: asyncio.Task[object]

    def cancel() -> None:
        task.cancel()

    recorder = Recorder(verified_bytes, cancel)
    task = asyncio.create_task(job(recorder))
    with pytest.raises(asyncio.CancelledError):
        await task
    assert recorder.last is not None
    return recorder


# ---- the command -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Finished:
    """A command that has ended."""

    status: int
    stdout: str
    stderr: str

    @property
    def report(self) -> Any:
        """What ``--json`` printed: one object and nothing else."""
        return json.loads(self.stdout)


@contextlib.asynccontextmanager
async def started(
    *arguments: str | Path, cwd: Path | None = None
) -> AsyncIterator[asyncio.subprocess.Process]:
    """The command in a process of its own, which is gone when the block ends."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("FDF256_")}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "fdf256_fast", *arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=cwd,
        env=own,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


async def ended(process: asyncio.subprocess.Process) -> Finished:
    """Wait for its end."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        stdout, stderr = await process.communicate()
    assert process.returncode is not None
    return Finished(process.returncode, stdout.decode(), stderr.decode())


async def command(*arguments: str | Path, cwd: Path | None = None) -> Finished:
    """Run it to its end."""
    async with started(*arguments, cwd=cwd) as process:
        return await ended(process)


async def sent(origin: Origin, count: int, process: asyncio.subprocess.Process | None = None) -> None:
    """Wait until ``origin`` has sent ``count`` bytes of content in all, which ``process`` asked for."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while origin.bytes_sent < count:
            if process is not None and process.returncode is not None:
                pytest.fail(f"the command has ended: {(await ended(process)).stderr}")
            await asyncio.sleep(0.005)
