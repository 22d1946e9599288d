"""A local command's work, in a thread, while the main thread hears signals and shows how far it is.

What asyncio does for the commands that speak HTTP.  Those that work on this machine's files need no more than
this, and asyncio takes longer to import (45 ms) than 3,000 files of 100 kB to check.
"""

from __future__ import annotations

import _thread
import contextlib
import gc
import signal
import sys
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from fdf256_fast.errors import no_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fdf256_fast._core import Job
    from fdf256_fast.progress import Progress, Snapshot

__all__ = ["Shown", "cancelled", "in_foreground", "is_cancelled"]

T = TypeVar("T")

SHOW_SECONDS = 0.1
"""How often counters are read for the screen."""

_ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Shown(NamedTuple):
    """Who is told how the work goes, and what."""

    progress: Progress
    snapshot: Callable[[], Snapshot]

    def update(self) -> None:
        """Show the counters."""
        self.progress.updated(self.snapshot())


def cancelled() -> BaseException:
    """What cancelled work raises; its class is asyncio's, which only this needs."""
    from asyncio import CancelledError  # noqa: PLC0415 - see above

    return CancelledError()


def is_cancelled(error: BaseException) -> bool:
    """Whether it is what :func:`cancelled` returns, from wherever it comes."""
    asyncio = sys.modules.get("asyncio")
    return asyncio is not None and isinstance(error, asyncio.CancelledError)


def in_foreground(job: Job, work: Callable[[], T], meanwhile: Callable[[], Shown | None]) -> T:
    """Do ``work`` to its end, and raise what it raises; Ctrl-C, SIGTERM and SIGHUP set ``job``'s flag.

    To be called in the main thread.  ``meanwhile`` is called when the work is under way: it may take its time
    to import what shows the work, and its result.  Raises Error when the system gives no thread more.
    """
    running = _Running(work)
    with _hearing(job.cancel):
        # What the imports made lives as long as the process: the collector need not look at it again.
        gc.freeze()
        gc.enable()
        running.start()
        try:
            _show(running, meanwhile())
        except BaseException:
            job.cancel()
            running.is_over(-1)
            raise
    return running.result()


def _show(running: _Running[T], shown: Shown | None) -> None:
    if shown is None:
        # Not in one go: a signal that comes just before it begins to wait does not interrupt it, and would
        # be heard at its end.
        while not running.is_over(SHOW_SECONDS):
            pass
        return
    try:
        while not running.is_over(SHOW_SECONDS):
            shown.update()
    finally:
        shown.update()
        shown.progress.finished()


@contextlib.contextmanager
def _hearing(stop: Callable[[], None]) -> Iterator[None]:
    # One that is ignored is so on purpose: nohup lets a run outlive its terminal.
    before = {end: signal.getsignal(end) for end in _ENDS if signal.getsignal(end) is not signal.SIG_IGN}
    for end in before:
        signal.signal(end, lambda *_: stop())
    try:
        yield
    finally:
        for end, handler in before.items():
            signal.signal(end, handler)


class _Running(Generic[T]):
    """One call in a thread of its own."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self._is_going = _thread.allocate_lock()
        self._outcome: list[T] = []
        self._error: BaseException | None = None

    def start(self) -> None:
        self._is_going.acquire()
        try:
            _thread.start_new_thread(self._run, ())
        except RuntimeError as error:
            raise no_thread(error) from error

    def _run(self) -> None:
        try:
            self._outcome.append(self._work())
        except BaseException as error:  # noqa: BLE001 - raised in the main thread
            self._error = error
        finally:
            self._is_going.release()

    def is_over(self, wait_seconds: float) -> bool:
        """Wait for its end, for so long at most (-1: as long as it takes)."""
        if not self._is_going.acquire(timeout=wait_seconds):
            return False
        # For the next one who asks.
        self._is_going.release()
        return True

    def result(self) -> T:
        if self._error is not None:
            raise self._error
        return self._outcome[0]
