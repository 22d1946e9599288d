"""What goes on beside the bytes: journal and screen, several jobs at once and their first error."""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial
from typing import TYPE_CHECKING, Protocol, TypeVar

from fdf256_fast.errors import Error, StatusError, TransferError, no_thread
from fdf256_fast.progress import Snapshot

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Iterator

    from fdf256_fast._core import Job
    from fdf256_fast.limits import Limits
    from fdf256_fast.progress import ArchiveProgress, Progress
    from fdf256_fast.transfer import Transfer

__all__ = [
    "GO_ON",
    "Watched",
    "advised",
    "affordable",
    "all_of",
    "in_job",
    "in_thread",
    "showing",
    "to_its_end",
    "unbroken",
    "watching",
]

T = TypeVar("T")

JOURNAL_SECONDS = 0.5
"""Longest time between two journals while anything moves."""

JOURNAL_MEMORY_SHARE = 1 / 4
"""And the most bytes, as a share of the memory budget: on a fast link half a second is too long."""

CATCH_UP_SECONDS = 0.5
"""How long a run that ends early takes to do what it can with the bytes that it has."""

SCREEN_SECONDS = 0.1
"""How often counters are read for the screen."""

POLL_SECONDS = 0.05

GO_ON = "What arrived is kept: run the same command again to go on."
_NO_USE = "What arrived is kept. To ask for the same again will not help: look at the address."


class Watched(Protocol):
    """A run that can be journalled and shown."""

    @property
    def frontier(self) -> int:
        """Bytes that are done with; a journal is due when it has moved."""

    @property
    def archives(self) -> tuple[ArchiveProgress, ...]:
        """Where each archive or file stands."""

    async def save(self) -> None:
        """Write the journal."""

    def save_now(self) -> None:
        """Write the journal without an event loop's help."""


@contextlib.asynccontextmanager
async def watching(
    run: Watched, transfer: Transfer, limits: Limits, progress: Progress
) -> AsyncIterator[None]:
    """Keep journal and screen up to date until the block ends.

    When it ends early, for whatever reason, a last journal keeps what is verified by then.
    """
    loop = asyncio.get_running_loop()
    started = loop.time()

    def last_journal() -> None:
        # Digests may lie behind what was written: they would ask for all that once more.
        transfer.engine.catch_up(CATCH_UP_SECONDS)
        run.save_now()

    def show() -> None:
        progress.updated(
            Snapshot(
                archives=run.archives,
                seconds=loop.time() - started,
                rate=transfer.meter.rate,
                connections=transfer.connections,
                retries=transfer.retries,
            )
        )

    async def watch() -> None:
        saved_at, saved_bytes, shown_at = loop.time(), run.frontier, 0.0
        while True:
            await asyncio.sleep(POLL_SECONDS)
            now = loop.time()
            if now - shown_at >= SCREEN_SECONDS:
                shown_at = now
                show()
            moved = run.frontier - saved_bytes
            due = moved != 0 and now - saved_at >= JOURNAL_SECONDS
            if due or abs(moved) >= limits.memory_bytes * JOURNAL_MEMORY_SHARE:
                saved_bytes += moved
                await run.save()
                saved_at = loop.time()

    # A task of the transfer's group: an error in it (a journal that cannot be written) ends the run.
    watcher = transfer.beside(watch())
    try:
        yield
    except BaseException:
        await _ended(watcher)
        # Also when the cancellation is repeated: what is verified by now shall stay so.
        await in_thread(last_journal)
        raise
    else:
        await _ended(watcher)
    finally:
        show()


@contextlib.contextmanager
def showing(progress: Progress, snapshot: Callable[[], Snapshot]) -> Iterator[None]:
    """Show what ``snapshot`` gives until the block ends, and once more then; in a running loop."""
    loop = asyncio.get_running_loop()
    timers: list[asyncio.TimerHandle] = []

    def show() -> None:
        if timers:
            timers.clear()
            progress.updated(snapshot())
        timers.append(loop.call_later(SCREEN_SECONDS, show))

    show()
    try:
        yield
    finally:
        timers[0].cancel()
        progress.updated(snapshot())


async def _ended(task: asyncio.Task[None]) -> None:
    """Cancel it and wait until it is over; its error, if it had one, is its group's business."""
    task.cancel()
    await asyncio.wait([task])


async def affordable(limits: Limits, progress: Progress, *, archives: int = 0, each: int = 1) -> Limits:
    """``limits`` with no more connections than this process may have files open; says so if it matters."""
    fewer = await in_thread(partial(limits.within_open_files, archives=archives, each=each))
    if fewer.connections_start < limits.connections_start:
        progress.message(
            f"connections: {fewer.connections_start} instead of {limits.connections_start}, since this "
            "process may have few files open (see ulimit -n)"
        )
    return fewer


async def in_thread(function: Callable[..., T], *arguments: object, **options: object) -> T:
    """``asyncio.to_thread`` for work on the target: a cancellation waits until the thread has ended.

    Else somebody could lock the target and work in it while the thread still does.  Raises Error when the
    system gives this process no thread more.
    """
    try:
        job = asyncio.get_running_loop().run_in_executor(None, partial(function, *arguments, **options))
    except RuntimeError as error:
        raise no_thread(error) from error
    try:
        return await to_its_end(job)
    finally:
        del job


async def in_job(job: Job, function: Callable[..., T], *arguments: object) -> T:
    """``in_thread`` for a long call of the core: a cancellation sets ``job``'s flag before it waits."""
    try:
        call = asyncio.get_running_loop().run_in_executor(None, partial(function, *arguments))
    except RuntimeError as error:
        raise no_thread(error) from error
    try:
        return await to_its_end(call, job.cancel)
    finally:
        del call


async def unbroken(job: Coroutine[object, object, T]) -> T:
    """Do ``job``, which is short, to its end even when a cancellation comes in between.

    A file that is being opened in a thread would else stay open, with nobody to close it.
    """
    return await to_its_end(asyncio.get_running_loop().create_task(job))


async def to_its_end(job: asyncio.Future[T], stop: Callable[[], None] | None = None) -> T:
    """Wait for ``job``; a cancellation is raised when it is over, however often it is repeated.

    ``stop`` is called when the cancellation comes.
    """
    try:
        return await asyncio.shield(job)
    except asyncio.CancelledError:
        if stop is not None:
            stop()
        while not job.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait([job])
        if not job.cancelled():
            job.exception()  # else asyncio complains that nobody has heard of it
        raise
    finally:
        # The job has its error, whose traceback has this frame: what it holds open would wait for the
        # garbage collector.
        del job


async def all_of(jobs: Iterable[Awaitable[None]], *, hint: str) -> None:
    """Do all of them at once; the first error ends the others and is raised as it is.

    ``hint`` is what to do when no source delivers.
    """

    async def one(job: Awaitable[None]) -> None:
        await job

    try:
        async with asyncio.TaskGroup() as group:
            for job in jobs:
                group.create_task(one(job))
    except BaseExceptionGroup as errors:
        # Not with `except*`, which before Python 3.11.4 makes another group of what is raised in it.
        known, others = errors.split(Error)
        if known is None or others is not None:
            raise
        first = _first(known)
        raise advised(first, hint) from None


def advised(error: Error, hint: str) -> Error:
    """``error`` with ``hint``, if no source delivered; one that refuses will do so again."""
    if isinstance(error, TransferError) and not error.hint:
        error.hint = hint.replace(GO_ON, _NO_USE) if isinstance(error, StatusError) else hint
    return error


def _first(errors: BaseExceptionGroup[Error]) -> Error:
    found: BaseException = errors
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    assert isinstance(found, Error)
    return found
