"""Coroutine functions for callers that have no ``await``; notebooks have a loop, and no place for another."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

__all__ = ["blocking"]

P = ParamSpec("P")
T = TypeVar("T")


def blocking(function: Callable[P, Coroutine[object, object, T]]) -> Callable[P, T]:
    """``function`` as one that returns when it is done, also inside a running loop."""

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        import asyncio  # noqa: PLC0415 - modules with such functions are imported by commands that need no loop

        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return asyncio.run(function(*args, **kwargs))
        from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - as above

        # A loop cannot run inside a loop: give the call a thread with a loop of its own.
        with ThreadPoolExecutor(1, thread_name_prefix="fdf256") as thread:
            return thread.submit(asyncio.run, function(*args, **kwargs)).result()

    return call
