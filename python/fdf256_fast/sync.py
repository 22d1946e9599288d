"""The same functions for callers without a running event loop, and for notebooks, which have one."""

from __future__ import annotations

import asyncio
import functools
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from fdf256_fast.extraction import extract_async
from fdf256_fast.fetching import fetch
from fdf256_fast.forget import forget_async
from fdf256_fast.installation import install
from fdf256_fast.listed import verify_sums_async
from fdf256_fast.tree import verify_async

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

__all__ = ["extract", "fetch_sync", "forget", "install_sync", "verify", "verify_sums"]

P = ParamSpec("P")
T = TypeVar("T")


def _blocking(function: Callable[P, Coroutine[object, object, T]]) -> Callable[P, T]:
    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return asyncio.run(function(*args, **kwargs))
        # A loop cannot run inside a loop: give the call a thread with a loop of its own.
        with ThreadPoolExecutor(1, thread_name_prefix="fdf256") as thread:
            return thread.submit(asyncio.run, function(*args, **kwargs)).result()

    return call


install_sync = _blocking(install)
"""Like :func:`~fdf256_fast.installation.install`, but returns when it is done."""

fetch_sync = _blocking(fetch)
"""Like :func:`~fdf256_fast.fetching.fetch`, but returns when it is done."""

extract = _blocking(extract_async)
"""Like :func:`~fdf256_fast.extraction.extract_async`, but returns when it is done."""

forget = _blocking(forget_async)
"""Like :func:`~fdf256_fast.forget.forget_async`, but returns when it is done."""

verify = _blocking(verify_async)
"""Like :func:`~fdf256_fast.tree.verify_async`, but returns when it is done."""

verify_sums = _blocking(verify_sums_async)
"""Like :func:`~fdf256_fast.listed.verify_sums_async`, but returns when it is done."""
