"""A whole file that comes as one stream, and breaks off: when the next attempt may begin."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from fdf256_fast.archive_run import ArchiveRun
from fdf256_fast.errors import TransferError
from fdf256_fast.in_order import InOrder
from fdf256_fast.journal import Entry
from fdf256_fast.sources import Source

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

PATIENCE_SECONDS = 20.0
NUMBER = 7
SOURCE = Source.parse("http://127.0.0.1/a")
ANSWER: Any = SimpleNamespace(total=None, has_end=True)


class Engine:
    """Of which a worker still writes what came."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.asked = threading.Event()
        self.written = threading.Event()

    def add(self, *_: object, **options: object) -> int:
        return NUMBER

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

    @contextlib.asynccontextmanager
    async def get(self, *_: object, **options: object) -> AsyncIterator[object]:
        yield ANSWER

    async def stream(self, *_: object) -> None:
        raise TransferError("it broke off", url="http://127.0.0.1/a")


class Plain(InOrder):
    """A plain file of which nothing is known: neither a validator nor a digest."""

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
        self._number = NUMBER
        return NUMBER

    async def attempt(self) -> None:
        await self._stream_whole(SOURCE, ANSWER)


class Spooled(ArchiveRun):
    """An archive that goes through a file on disk."""

    def __init__(self, engine: Engine) -> None:
        limits = SimpleNamespace(memory_bytes=1 << 20)
        self._shared = cast("Any", SimpleNamespace(engine=engine, transfer=Transfer(), limits=limits))
        self.archive = cast("Any", SimpleNamespace(name="a"))
        self.sources = self._budget = cast("Any", None)
        self._digest = None
        self._numbers = []
        self._downloaded = 0
        self._entry = Entry("a")

    async def attempt(self) -> None:
        await self._stream(SOURCE, Path("spool"))


@pytest.mark.parametrize("is_cancelled", [False, True])
@pytest.mark.parametrize("kind", [Plain, Spooled])
async def test_nobody_writes_any_more_when_a_broken_stream_is_tried_again(
    kind: Callable[[Engine], Plain | Spooled], is_cancelled: bool
) -> None:
    engine = Engine()
    attempt = asyncio.create_task(kind(engine).attempt())
    asked = asyncio.create_task(asyncio.to_thread(engine.asked.wait, PATIENCE_SECONDS))
    await asyncio.wait({attempt, asked}, return_when=asyncio.FIRST_COMPLETED)
    for _ in range(3):
        if is_cancelled:
            attempt.cancel()
        await asyncio.sleep(0.01)
    still_at_it = not attempt.done()
    engine.written.set()
    engine.asked.set()
    with pytest.raises(asyncio.CancelledError if is_cancelled else TransferError):
        await attempt
    await asked
    assert still_at_it
    assert engine.told == [f"abandon {NUMBER}", f"rest {NUMBER}"]
