from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import pytest

from fdf256_fast.together import Together, each

if TYPE_CHECKING:
    from collections.abc import Sequence


async def test_who_asks_while_a_thread_is_out_goes_with_the_next_one() -> None:
    groups: list[list[int]] = []
    is_out, let_go = threading.Event(), threading.Event()

    def double(items: Sequence[int]) -> list[int]:
        groups.append(list(items))
        is_out.set()
        let_go.wait(10)
        return [2 * item for item in items]

    together = Together(double)
    first = asyncio.create_task(together(1))
    await asyncio.to_thread(is_out.wait, 10)
    others = [asyncio.create_task(together(item)) for item in (2, 3)]
    await asyncio.sleep(0.01)
    assert groups == [[1]]
    let_go.set()
    assert await asyncio.gather(first, *others) == [2, 4, 6]
    assert groups == [[1], [2, 3]]


async def test_an_error_is_that_of_its_own_item() -> None:
    def divide(item: int) -> int:
        return 12 // item

    together = Together(each(divide))
    results = await asyncio.gather(*(together(item) for item in (1, 0, 3)), return_exceptions=True)
    assert [str(result) for result in results] == ["12", "integer division or modulo by zero", "4"]


async def test_an_error_of_the_group_is_everybodys() -> None:
    def fail(_: Sequence[int]) -> list[int]:
        raise KeyError

    together = Together(fail)
    results = await asyncio.gather(together(1), together(2), return_exceptions=True)
    assert [type(result) for result in results] == [KeyError, KeyError]


async def test_a_cancellation_waits_for_the_thread() -> None:
    started, let_go = threading.Event(), threading.Event()
    done: list[int] = []

    def work(item: int) -> None:
        started.set()
        let_go.wait(10)
        done.append(item)

    task = asyncio.create_task(Together(each(work))(1))
    await asyncio.to_thread(started.wait, 10)
    task.cancel()
    await asyncio.sleep(0.01)
    assert not task.done()
    let_go.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert done == [1]
