"""A whole file that comes as one stream, and breaks off: when the next attempt may begin."""

from __future__ import annotations

import asyncio
import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from fdf256_fast.errors import TransferError
from fdf256_fast.in_order import InOrder
from fdf256_fast.journal import Entry
from fdf256_fast.sources import Source

if TYPE_CHECKING:
    from fdf256_fast.client import Answer

PATIENCE_SECONDS = 20.0


class Engine:
    """Of which a worker still writes what came."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.asked = threading.Event()
        self.written = threading.Event()

    def abandon(self, number: int) -> None:
        self.told.append(f"abandon {number}")

    def rest(self, number: int) -> None:
        self.asked.set()
        assert self.written.wait(PATIENCE_SECONDS)
        self.told.append(f"rest {number}")


class Transfer:
    """Whose streams break off."""

    def add(self, feed: object) -> None: ...

    def remove(self, feed: object) -> None: ...

    async def stream(self, *_: object) -> None:
        raise TransferError("it broke off", url="http://127.0.0.1/a")


class Stream(InOrder):
    """One that nothing is known of: neither a validator nor a digest."""

    def __init__(self, engine: Engine) -> None:
        super().__init__("a")
        self._engine = cast("Any", engine)
        self._transfer = cast("Any", Transfer())
        self._digest = None
        self._sources = cast("Any", None)
        self._budget = cast("Any", None)
        self.entry = Entry("a")

    def _known(self) -> Entry:
        return self.entry

    async def _add(self, total: int | None, saved: str | None) -> int:
        self._number = 7
        return self._number

    async def attempt(self) -> None:
        answer = cast("Answer", SimpleNamespace(total=1000))
        await self._stream_whole(Source.parse("http://127.0.0.1/a"), answer)


@pytest.mark.parametrize("is_cancelled", [False, True])
async def test_nobody_writes_any_more_when_a_broken_stream_is_tried_again(is_cancelled: bool) -> None:
    engine = Engine()
    attempt = asyncio.create_task(Stream(engine).attempt())
    assert await asyncio.to_thread(engine.asked.wait, PATIENCE_SECONDS)
    for _ in range(3):
        if is_cancelled:
            attempt.cancel()
        await asyncio.sleep(0.01)
    assert not attempt.done()
    engine.written.set()
    with pytest.raises(asyncio.CancelledError if is_cancelled else TransferError):
        await attempt
    assert engine.told == ["abandon 7", "rest 7"]
