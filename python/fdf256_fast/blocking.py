"""Coroutine functions for callers that have no ``await``; notebooks have a loop, and no place for another."""

from __future__ import annotations

import contextlib
import functools
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

__all__ = ["blocking"]

P = ParamSpec("P")
T = TypeVar("T")


def blocking(function: Callable[P, Coroutine[object, object, T]], module: str, name: str) -> Callable[P, T]:
    """``function`` as one that returns when it is done, also inside a running loop.

    ``module`` and ``name`` say where it is found: process pools send functions by their names.
    """

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        import asyncio  # noqa: PLC0415 - modules with such functions are imported by commands that need no loop

        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return asyncio.run(function(*args, **kwargs))
        return _in_own_loop(function(*args, **kwargs))

    call.__module__, call.__name__, call.__qualname__ = module, name, name
    return call


def _in_own_loop(job: Coroutine[object, object, T]) -> T:
    """Run ``job`` in a thread with a loop: a loop cannot run inside a loop.

    Ctrl-C, which comes to this thread, cancels it and waits until what is to be kept is kept.
    """
    import asyncio  # noqa: PLC0415 - as above
    from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait  # noqa: PLC0415

    begun: Future[Callable[[], object]] = Future()

    async def work() -> T:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        begun.set_result(lambda: loop.call_soon_threadsafe(task.cancel))
        return await job

    with ThreadPoolExecutor(1, thread_name_prefix="fdf256") as thread:
        done = thread.submit(asyncio.run, work())
        try:
            return done.result()
        except BaseException:
            either: list[Future[Any]] = [begun, done]
            wait(either, return_when=FIRST_COMPLETED)
            if not done.done():
                with contextlib.suppress(RuntimeError):  # it has just ended by itself
                    begun.result()()
            raise
