"""Short calls in a thread, as many at a time as have come together meanwhile.

The way into a thread and back costs some 100 microseconds, more than what a small file needs done there.
Who asks while a thread is out waits for the next one, which takes all of them along: nobody waits for
company, and the busier the loop is, the larger are the groups.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Generic, TypeVar

from fdf256_fast.errors import no_thread
from fdf256_fast.watch import to_its_end

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["Together", "each"]

A = TypeVar("A")
T = TypeVar("T")


class Together(Generic[A, T]):
    """``job`` gets all items that wait, and returns for each its result, or the exception to raise."""

    def __init__(self, job: Callable[[Sequence[A]], Sequence[T | Exception]]) -> None:
        self._job = job
        self._loop = asyncio.get_running_loop()
        self._waiting: list[tuple[A, asyncio.Future[T]]] = []
        self._is_out = False

    async def __call__(self, item: A) -> T:
        """The result for ``item``.  A cancellation waits until the thread has ended."""
        done: asyncio.Future[T] = self._loop.create_future()
        self._waiting.append((item, done))
        if not self._is_out:
            self._is_out = True
            # Whoever is woken in the same turn of the loop comes along.
            self._loop.call_soon(self._go)
        return await to_its_end(done)

    def _go(self) -> None:
        group, self._waiting = self._waiting, []
        try:
            job = self._loop.run_in_executor(None, self._job, [item for item, _ in group])
        except RuntimeError as error:
            self._is_out = False
            for _, done in group:
                done.set_exception(no_thread(error))
            return
        job.add_done_callback(lambda job: self._back(group, job))

    def _back(
        self, group: list[tuple[A, asyncio.Future[T]]], job: asyncio.Future[Sequence[T | Exception]]
    ) -> None:
        failure = job.exception()
        results = [failure] * len(group) if failure is not None else job.result()
        for (_, done), result in zip(group, results, strict=True):
            if isinstance(result, BaseException):
                done.set_exception(result)
            else:
                done.set_result(result)
        self._is_out = bool(self._waiting)
        if self._is_out:
            self._go()


def each(function: Callable[[A], T]) -> Callable[[Sequence[A]], Sequence[T | Exception]]:
    """A job that does ``function`` for each item by itself."""

    def one(item: A) -> T | Exception:
        try:
            return function(item)
        except Exception as error:  # noqa: BLE001 - it is raised where it is waited for
            return error

    return lambda items: [one(item) for item in items]
