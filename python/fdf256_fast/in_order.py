"""A file of which nothing is known beforehand: taken in order, over as many connections as its source allows.

The first answer tells its size and whether there are ranges; the other connections join in then.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from fdf256_fast.errors import Error, TransferError
from fdf256_fast.retry import Transient, Unranged
from fdf256_fast.sources import UNRANGED_MAX, OriginChanged, Source, Sources, Validator
from fdf256_fast.spans import SPAN_BYTES_MAX, Span
from fdf256_fast.transfer import AHEAD_MEMORY_SHARE, Feed, Flight, Transfer
from fdf256_fast.watch import in_thread
from fdf256_fast.workspace import file_size

if TYPE_CHECKING:
    from pathlib import Path

    from fdf256_fast._core import Engine
    from fdf256_fast.client import Answer
    from fdf256_fast.journal import Entry
    from fdf256_fast.limits import Limits
    from fdf256_fast.retry import Budget

__all__ = ["InOrder", "final", "first_span_bytes"]

FIRST_SPAN_BYTES = 256 * 1024
"""The first request asks for so much and learns the size from its answer; a small file is done then."""

FIRST_SPAN_BYTES_MOST = SPAN_BYTES_MAX
"""And where there are other files for the other connections: one request is all that most files need then."""


def final(error: TransferError) -> TransferError:
    """``error`` as one that is not tried again."""
    return TransferError(error.message, url=error.url) if isinstance(error, Transient) else error


def first_span_bytes(limits: Limits, files: int) -> int:
    """How much to ask for first of one of many files, of which ``files`` may have come and not be written.

    All of them together fit into the memory.
    """
    share = int(limits.memory_bytes * AHEAD_MEMORY_SHARE / files)
    return max(FIRST_SPAN_BYTES, min(FIRST_SPAN_BYTES_MOST, share))


class InOrder:
    """How such a file comes; what becomes of its bytes is up to ``_add``, which its owner has."""

    _transfer: Transfer
    _engine: Engine
    _sources: Sources
    _budget: Budget
    _digest: tuple[str, str] | None

    def __init__(self, label: str) -> None:
        self._label = label
        self._number: int | None = None
        self._is_pieced = False
        self._resumed = 0
        self._downloaded = 0
        self._first_span_bytes = FIRST_SPAN_BYTES

    def _known(self) -> Entry:
        """Its entry in the journal."""
        raise NotImplementedError

    async def _add(self, total: int | None, saved: str | None) -> int:
        """Tell the engine of it.  Raises ValueError when ``saved`` cannot be taken up."""
        raise NotImplementedError

    async def _forget(self, reason: str) -> None:
        """Drop what is had of it."""
        raise NotImplementedError

    def _all_came(self) -> None:
        """All of it has come, and is only to be checked."""

    @property
    def frontier(self) -> int:
        """Bytes of it that are done with."""
        raise NotImplementedError

    async def _attempt(self) -> str | None:
        state = self._known().state
        if state is not None:
            if self._known().doubtful:
                self._transfer.tell(f"{self._label}: reading what is there, to see whether it is still sound")
            try:
                number = await self._add(self._known().total, state)
            except ValueError as error:
                await self._forget(str(error))
            else:
                self._known().doubtful = False
                self._resumed = self.frontier
                lost = self._engine.lost(number)
                if lost:
                    self._transfer.tell(f"{self._label}: {lost} bytes of it are gone and fetched again")
                self._is_pieced = self._resumed > 0
        computed = await self._transfer.ask(self._sources, self._budget, self._from)
        if self._digest is None and self._is_pieced:
            await self._transfer.ask(self._sources, self._budget, self._confirm)
        return computed

    async def _confirm(self, source: Source) -> None:
        """Ask once more for one byte: the pieces are of one version if the last answer still names it."""
        total = self._known().total
        if source.path is None and total:
            source.total = total
            source.validator = source.validator or self._known().validators.get(source.name, Validator())
            async with self._transfer.get(source, Span(total - 1, total), pieced=True):
                pass

    async def _from(self, source: Source) -> str | None:
        """Begin (or go on) with ``source``; the other connections join in once the size is known."""
        total, frontier = self._known().total, self.frontier
        if frontier == total:
            return await self._serve_first(await self._begin(frontier, frontier, source), None, None)
        if source.path is not None:
            return await self._from_local(source, source.path)
        if self._number is not None:
            source.total = total if total is not None else source.total
            source.validator = self._known().validators.get(source.name, Validator())
            if self._has_bytes and not source.validator and self._digest is None:
                raise OriginChanged(f"nothing tells whether {source.name} is still the file it was")
        span = Span(frontier, frontier + self._first_span_bytes)
        if total is not None:
            span = Span(frontier, min(span.end, total))
        is_vouched = self._digest is not None
        async with self._transfer.get(source, span, vouched=is_vouched, pieced=not is_vouched) as answer:
            self._known().source = source.name
            # Until the engine has been told of it, which takes a thread.
            answer.hold()
            if answer.span is None:
                if source.gives_ranges:
                    raise Unranged(f"{source.name} sends the whole file instead of a range", url=source.name)
                return await self._stream_whole(source, answer)
            is_known = source.total is not None
            if answer.span.end == source.total or (is_known and self._can_be_pieced(source)):
                feed = await self._begin(source.total or 0, answer.span.end, source)
                self._known().validators[source.name] = source.validator
                started = asyncio.get_running_loop().time()
                flight = Flight(answer.span, source, started, answer.span.start)
                return await self._serve_first(feed, flight, answer)
        if not is_known and await self._learn_total(source):
            return await self._from(source)
        source.unranged = UNRANGED_MAX
        return await self._from(source)

    async def _from_local(self, source: Source, path: Path) -> str | None:
        if self._has_bytes and self._digest is None and self._known().source != source.name:
            raise OriginChanged(f"nothing tells whether {source.name} is the file that was begun with")
        size = await file_size(path)
        self._known().source = source.name
        return await self._serve_first(await self._begin(size, self.frontier, source), None, None)

    async def _learn_total(self, source: Source) -> bool:
        """Where the range came with "*" for the size, the last byte's own range may tell it."""
        with contextlib.suppress(Unranged):
            async with self._transfer.get(source, tail_bytes=1, vouched=self._digest is not None):
                pass
        return source.total is not None

    def _can_be_pieced(self, source: Source) -> bool:
        """Whether many answers can be put together to one file; False when only one answer will do."""
        self._is_pieced = self._digest is not None or bool(source.validator)
        if not self._is_pieced:
            self._transfer.tell(
                f"{source.name} sends neither a strong ETag nor Last-Modified, so that a change could not be "
                "noticed: it comes over one connection. With a digest it could come over many."
            )
        return self._is_pieced

    @property
    def _has_bytes(self) -> bool:
        """Whether anything of it is here, also out of its turn."""
        return self._number is not None and self._engine.status(self._number)[0] > 0

    async def _begin(self, total: int, cursor: int, source: Source) -> Feed:
        if self._number is None:
            await self._add(total, None)
        elif self._known().total is None and self._digest is not None:
            # A stream without a size broke off; now that the size is known, the digest will do the rest.
            self._known().total = total
            self._engine.set_total(self._number, total)
        elif total != self._known().total:
            raise OriginChanged(f"{self._label}: it has {total} bytes now")
        return self._feed_at(total, cursor, source)

    async def _stream_whole(self, source: Source, answer: Answer) -> str | None:
        """The server sends the whole file: nothing that is here can be used."""
        if self._number is not None:
            if answer.total != self._known().total or not (self._digest or source.validator):
                raise OriginChanged(f"{source.name} gives no ranges any more")
            known = self._known().validators.get(source.name, Validator())
            if self._has_bytes and self._digest is None and not known.confirms(answer.validator):
                raise OriginChanged(f"nothing tells whether {source.name} is still the file it was")
            # The same file, all of it once more: what is here already is passed over.
            number = self._number
        else:
            number = await self._add(answer.total, None)
        self._known().validators[source.name] = source.validator
        if not (answer.has_end or self._digest):
            self._transfer.tell(
                f"{source.name} does not say how long the file is: nothing tells whether all of it came"
            )
        feed = self._feed_at(answer.total or 0, 0, source)
        feed.end = 0
        self._transfer.add(feed)
        try:
            await self._transfer.stream(feed, answer, source)
            computed = await feed.done
        except BaseException:
            if not source.validator and self._digest is None:
                self._engine.abandon(number)
                self._number = None
                # Who still writes what came would write it into the file that the next attempt begins.
                await in_thread(self._engine.rest, number)
            raise
        finally:
            self._transfer.remove(feed)
            self._downloaded += feed.downloaded
        if self._known().total is None:
            self._known().total = self.frontier
        return computed

    async def _serve_first(self, feed: Feed, flight: Flight | None, answer: Answer | None) -> str | None:
        """Let the connections have ``feed``; the answer that is open already is the first of them."""
        if flight is not None:
            feed.flights.append(flight)
        self._transfer.add(feed)
        try:
            if flight is not None and answer is not None:
                try:
                    with self._transfer.receiving() as receiver:
                        await self._transfer.deliver(feed, flight, answer, receiver)
                    if flight.position == feed.total:
                        self._all_came()
                except Error:
                    # The connections take over what did not come.
                    feed.holes.append(Span(flight.position, flight.span.end))
                finally:
                    feed.flights.remove(flight)
            return await feed.done
        except Transient as error:
            # The connections have spent the budget already; it is not to be spent again on the whole.
            raise final(error) from error
        finally:
            self._transfer.remove(feed)
            self._downloaded += feed.downloaded

    def _feed_at(self, total: int, cursor: int, source: Source) -> Feed:
        assert self._number is not None
        return Feed(
            self._label,
            self._number,
            self._sources,
            total,
            cursor,
            total,
            self._budget,
            vouched=self._digest is not None,
            begun_with=source if self._digest is None else None,
        )
