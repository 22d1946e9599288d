"""Spans over connections: who fetches what next, back-pressure, hedging, retries.

Each :class:`Feed` is one archive on its way from its sources into the engine.  A fixed set of connection
tasks serves all feeds: the one with the most bytes left for each connection it has comes first, so that
all archives end together (and the digests of all keep the SIMD lanes full).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import random
import statistics
from bisect import bisect_right
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Self, TypeAlias, TypeVar

from fdf256_fast._core import Engine, Job
from fdf256_fast.crowd import FEW, Appetite, Crowd
from fdf256_fast.errors import Error, StorageError, TransferError
from fdf256_fast.meter import Meter, Pacer
from fdf256_fast.plan import joined
from fdf256_fast.pour import Intake
from fdf256_fast.retry import Budget, Transient, Unranged, is_retried, retrying
from fdf256_fast.sources import OriginChanged, Source, Sources, Validator
from fdf256_fast.spans import SPAN_BYTES_MIN, Span, span_bytes
from fdf256_fast.watch import in_thread

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Iterator

    from fdf256_fast._core import Receiver
    from fdf256_fast.client import Answer, Client
    from fdf256_fast.limits import Limits

__all__ = ["Feed", "Flight", "Transfer"]

T = TypeVar("T")
Event: TypeAlias = (
    tuple[Literal["moved"]]
    | tuple[Literal["damaged"], int, int, int, Exception]
    | tuple[Literal["finished"], int, str | None]
    | tuple[Literal["failed"], int, Exception]
)
"""What the engine tells: see ``Engine.wait``."""

logger = logging.getLogger(__name__)

AHEAD_SECONDS = 1.25
"""How much transfer, at the present rate, may be under way or waiting in the window: what a kill costs.
With the journal's half second it stays below the two seconds that the design promises."""

AHEAD_MEMORY_SHARE = 0.375
"""Of the memory budget; the rest is for members and pieces that a worker is at."""

AHEAD_BYTES_START = 2 * 1024 * 1024
"""Until the rate is known: two seconds of a slow line, a twentieth of a second of a fast one."""

AGAIN_BYTES_MIN = 256 * 1024
"""Spans of single members are not cut below this: most members are smaller, and half of one is of no use."""

HEDGE_SECONDS_MIN = 0.2
"""A span younger than this is not raced, however slow it looks."""

HEDGE_SECONDS_START = 1.0
"""Nor one younger than this, as long as nobody knows what is usual."""

ANSWERS_PER_SPAN = 4
"""The last spans become smaller, but not so small that they would not take some times as long as an answer
takes to begin: nothing comes over a connection until then."""

ANSWERS_AVERAGED = 8

USUAL_SPANS = 16
"""So many must have come before that is known."""

HEDGE_FACTOR = 3.0
"""A span that takes this many times the usual, or at its present rate would from now on, is raced by a second
request."""

PACED_EACH = 256 * 1024
"""With a rate limit each connection has so many bytes per second at least: what it reads first, 64 KiB and
what the system holds, is there at once."""

TELL_SECONDS = 1.0
"""A retry that waits longer than this is told of, once for each reason."""

EVENT_PATIENCE_SECONDS = 0.5
HEAR_SECONDS = 0.01
STEER_SECONDS = 0.1
STEER_SECONDS_START = 0.02
"""In the first half second, in which the windows grow from the least to what the line gives."""

START_SECONDS = 0.5


@dataclass(slots=True, eq=False)
class Flight:
    """A span on its way over one connection; ``raced`` is the other one that brings the same, but slowly."""

    span: Span
    source: Source
    started: float
    reached: int
    answer: Answer | None = None
    receiver: Receiver | None = None
    counted: int = 0
    hedged: bool = False
    raced: Flight | None = None
    abandoned: bool = False

    @property
    def position(self) -> int:
        """The offset of the next byte."""
        return self.reached if self.receiver is None else self.receiver.position

    def is_slow(self, now: float, usual_seconds: float) -> bool:
        """Whether it lags behind what is usual for a span."""
        seconds = now - self.started
        if seconds < max(HEDGE_SECONDS_MIN, usual_seconds):
            return False
        patience = HEDGE_FACTOR * usual_seconds
        came, left = self.position - self.span.start, self.span.end - self.position
        return seconds >= patience or left * seconds > patience * came

    @contextlib.contextmanager
    def into(self, receiver: Receiver) -> Iterator[None]:
        """The bytes come through ``receiver``, which is aimed at them, until the block ends."""
        self.receiver, self.counted = receiver, receiver.position
        try:
            yield
        finally:
            self.reached, self.receiver = receiver.position, None

    def abandon(self) -> None:
        """Somebody else delivered the rest."""
        self.abandoned = True
        if self.answer is not None:
            self.answer.abandon()


@dataclass(slots=True, eq=False)
class _Request:
    """One that is made before there is a flight, which may take its answer over."""

    source: Source
    answer: Answer | None = None


def _future() -> asyncio.Future[str | None]:
    """A future whose error may go unheard: a feed that is dropped has nobody who waits for it."""
    future: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
    future.add_done_callback(lambda done: done.cancelled() or done.exception())
    return future


@dataclass(slots=True, eq=False)
class Feed:
    """One archive between its sources and the engine.

    ``number`` is the engine's; bytes from ``cursor`` to ``end`` have not been asked for yet, and ``holes``
    must be asked for again.  ``is_streamed`` while all of it comes over one connection, because its source
    does not keep to ranges.  ``begun_with`` is whose version all others must have, of a file that nothing
    checks as a whole.  ``done`` gives the digest of the finished archive, or its error.
    """

    name: str
    number: int
    sources: Sources
    total: int
    cursor: int
    end: int
    budget: Budget
    vouched: bool = False
    begun_with: Source | None = None
    is_streamed: bool = False
    holes: deque[Span] = field(default_factory=deque)
    again: deque[Span] = field(default_factory=deque)
    again_bytes: int = 0
    _again_starts: list[int] = field(default_factory=list)
    _again_before: list[int] = field(default_factory=list)
    flights: list[Flight] = field(default_factory=list)
    ahead_bytes: int = SPAN_BYTES_MIN
    downloaded: int = 0
    done: asyncio.Future[str | None] = field(default_factory=_future)

    @property
    def unrequested(self) -> int:
        """Bytes that nobody has been asked for yet."""
        return self.end - self.cursor + self.again_bytes + sum(hole.length for hole in self.holes)

    def check_version(self, source: Source, version: Validator) -> None:
        """Raises OriginChanged unless ``source`` surely has what was begun with, where nothing else tells."""
        begun = self.begun_with
        if (
            begun is None
            or (source is begun and source.path is not None)
            or begun.validator.confirms(version)
        ):
            return
        if source is begun:
            raise OriginChanged(f"nothing tells whether {source.name} still has the same file")
        raise OriginChanged(f"nothing tells whether {source.name} has the same file as {begun.name}")

    def is_racing(self, flight: Flight) -> bool:
        """Whether another flight still brings what ``flight`` was to bring sooner."""
        return flight.raced in self.flights and not flight.raced.abandoned

    def fetch_again(self, spans: Iterable[Span]) -> None:
        """Ask for these as well, which are in ascending order: there may be very many of them."""
        self.again.extend(spans)
        before = 0
        for span in self.again:
            self._again_starts.append(span.start)
            self._again_before.append(before)
            before += span.length
        self.again_bytes = before
        self._again_before.append(before)

    def again_done(self, frontier: int) -> int:
        """How many of the bytes that were to be fetched again lie below ``frontier``."""
        number = bisect_right(self._again_starts, frontier)
        if number == 0:
            return 0
        before, after = self._again_before[number - 1 : number + 1]
        return min(after, before + frontier - self._again_starts[number - 1])

    def again_ahead(self, frontier: int) -> int:
        """How many of them have been asked for, and lie above ``frontier``.

        Their offsets do not tell: members that are wanted may be far apart.
        """
        asked = self._again_before[-1] - self.again_bytes if self._again_before else 0
        return asked - self.again_done(frontier)

    @property
    def remaining(self) -> int:
        """Bytes that have not arrived yet, roughly; 0 where only the end will tell how many there are."""
        return self.unrequested + sum(max(0, flight.span.end - flight.position) for flight in self.flights)


def _is_over(feed: Feed, flight: Flight) -> bool:
    """Whether nobody wants this flight any more."""
    return flight.abandoned or feed.done.done()


def _cut(waiting: deque[Span], length: int) -> Span:
    """Take at most ``length`` bytes off the first span that waits."""
    span = waiting.popleft()
    if span.length <= length:
        return span
    waiting.appendleft(Span(span.start + length, span.end))
    return Span(span.start, span.start + length)


class Transfer:
    """Runs the connections of one run, for as long as it is entered.

    ``tell`` gets one line for a person when something is worth knowing.
    """

    def __init__(
        self, client: Client, limits: Limits, tell: Callable[[str], None], job: Job | None = None
    ) -> None:
        self.client = client
        # Made here, and no earlier: its threads run from now on, and only what is entered is left.
        self.engine = Engine(job or Job(), limits.worker_threads)
        self.limits = limits
        self.tell = tell
        self.retries = 0
        self._told: set[str] = set()
        self._clock = asyncio.get_running_loop().time
        self.meter = Meter(self._clock)
        # Local copies do not count as download, but the windows follow their speed too.
        self._flow = Meter(self._clock)
        self.feeds: list[Feed] = []
        self._by_number: dict[int, Feed] = {}
        self._early: dict[int, list[Event]] = {}
        # How archives ended, which the engine tells once.
        self._ended: dict[int, Event] = {}
        self._pacer = Pacer(limits.rate, self._clock)
        self._intake = Intake(self.engine)
        self._wake = asyncio.Event()
        self._receivers: list[Receiver] = []
        self._idle: deque[asyncio.Future[tuple[Feed, Flight]]] = deque()
        # How long answers take to begin, about.
        self._answer_seconds = 0.0
        # Seconds and bytes of the last spans.
        self._came: deque[tuple[float, int]] = deque(maxlen=64)
        self._crowd = Crowd(limits.connections_start, limits.connections_most)
        self._appetite = Appetite()
        self._connected = 0
        self._requests: list[_Request] = []
        # Those for which a host has no room.
        self._waiting: list[Source] = []
        self._random = random.Random()
        self._ahead_bytes: float = AHEAD_BYTES_START
        self._group = asyncio.TaskGroup()
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        self._intake.open()
        self._appetite.looked(self.engine.hungry(), self._clock())
        self._tasks = [self._group.create_task(job) for job in (self._hear(), self._steer())]
        self._add_connections()
        return self

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self.engine.cancel()
        for task in self._tasks:
            task.cancel()
        try:
            # The group hears of no error: the caller's own, or the cancellation, goes on as it is.
            await self._group.__aexit__(None, None, None)
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None
        finally:
            self._intake.close()
            await in_thread(self.engine.close)

    # ---- what the caller does ----------------------------------------------------------------------

    def add(self, feed: Feed) -> None:
        """Serve ``feed`` from now on."""
        self.feeds.append(feed)
        self._by_number[feed.number] = feed
        if feed.number in self._ended:
            # That came while another request was begun for it.
            self._act_on(self._ended[feed.number])
        for event in self._early.pop(feed.number, []):
            self._act_on(event)
        # Of a small file nothing more is to be asked for: thousands may come and go.
        if feed.unrequested > 0:
            self._set_windows()
            self._dispatch()

    def remove(self, feed: Feed) -> None:
        """Do not serve ``feed`` any more, and let its connections go; its ``downloaded`` is all that came."""
        if feed in self.feeds:
            self.feeds.remove(feed)
        for flight in feed.flights:
            # The engine may have had all of it before the connection's own task heard of its last bytes.
            if flight.receiver is not None:
                self._count_poured(feed, flight)
            # Then it ends by itself, and its connection is good for more.
            if flight.receiver is None or flight.position < flight.span.end:
                flight.abandon()

    def drop(self, number: int) -> None:
        """Forget an archive of the engine's, with which everybody is done."""
        self.engine.abandon(number)
        self._by_number.pop(number, None)
        self._early.pop(number, None)
        self._ended.pop(number, None)

    @contextlib.asynccontextmanager
    async def get(
        self,
        source: Source,
        span: Span | None = None,
        *,
        tail_bytes: int = 0,
        vouched: bool = False,
        pieced: bool = False,
        patience_seconds: float = math.inf,
    ) -> AsyncIterator[Answer]:
        """:meth:`Client.get`, outside of the connections that are had here but counted with them.

        Waits while the host takes no more of them.
        """
        request = _Request(source)
        while True:
            await self._wait_for_room(source)
            self._requests.append(request)
            try:
                async with self.client.get(
                    source,
                    span,
                    tail_bytes=tail_bytes,
                    vouched=vouched,
                    pieced=pieced,
                    patience_seconds=patience_seconds,
                ) as answer:
                    request.answer = answer
                    yield answer
                    return
            except Transient as error:
                # A file that is never sent must not make its host look crowded for ever.
                others = len(self._answers_of(source.host)) - 1
                if (
                    request.answer is not None
                    or not self._crowd.explains(source.host, others)
                    or not self._is_crowded(source, error)
                ):
                    raise
            finally:
                if request in self._requests:
                    self._requests.remove(request)
                self._wake.set()

    async def _wait_for_room(self, source: Source) -> None:
        """Until the source's host takes another connection; spans of what has begun come after that."""
        if self._has_room(source):
            return
        self._waiting.append(source)
        try:
            while not self._has_room(source):
                await self._woken(STEER_SECONDS)
        finally:
            self._waiting.remove(source)

    def _hand_over(self, flight: Flight, answer: Answer) -> None:
        """From now on ``answer`` is the flight's."""
        flight.answer = answer
        self._requests = [request for request in self._requests if request.answer is not answer]

    @contextlib.contextmanager
    def receiving(self) -> Iterator[Receiver]:
        """A buffer for an answer that none of the connections here has asked for."""
        receiver = self._receivers.pop() if self._receivers else self.engine.receiver()
        try:
            yield receiver
        finally:
            self._receivers.append(receiver)

    def beside(self, job: Coroutine[object, object, None]) -> asyncio.Task[None]:
        """Run ``job`` beside the connections; an error in it ends the run."""
        return self._group.create_task(job)

    @property
    def connections(self) -> int:
        """Requests under way."""
        return sum(len(feed.flights) for feed in self.feeds)

    @property
    def came_bytes(self) -> int:
        """What has come so far, from wherever it was."""
        return self._flow.total

    @property
    def _level(self) -> int:
        """How many requests there may be now."""
        level = self._crowd.level
        if self.limits.rate is not None:
            level = min(level, max(1, int(self.limits.rate / PACED_EACH)))
        if self._appetite.is_hungry:
            return level
        return min(level, max(FEW, len(self.feeds)))

    async def deliver(
        self, feed: Feed, flight: Flight, answer: Answer, receiver: Receiver | None = None
    ) -> None:
        """Hand the body of ``answer`` to the engine as it arrives.

        With a ``receiver``, and without a rate limit, it is read straight into Rust's buffers.
        """
        self._hand_over(flight, answer)
        if receiver is not None and self.limits.rate is None and answer.span is not None:
            await self._pour(feed, flight, answer, receiver)
            return
        async for chunk in answer.chunks():
            self.engine.write(feed.number, flight.position, chunk)
            flight.reached += len(chunk)
            self.count(feed, len(chunk))
            await self._pacer.pay(len(chunk))
            # Also when it happened before there was an answer to drop.
            if flight.abandoned:
                return

    async def _pour(self, feed: Feed, flight: Flight, answer: Answer, receiver: Receiver) -> None:
        end = flight.span.end if answer.span is None else answer.span.end
        receiver.aim(feed.number, flight.position, end)

        def write(chunk: bytes) -> None:
            offset = receiver.position
            self.engine.write(feed.number, offset, chunk)
            receiver.aim(feed.number, offset + len(chunk), end)

        with flight.into(receiver):
            try:
                await answer.pour(self._intake, receiver, write)
            finally:
                self._count_poured(feed, flight)

    def _count_poured(self, feed: Feed, flight: Flight) -> None:
        """What has come through the flight's receiver, which tells nobody by itself."""
        length = flight.position - flight.counted
        flight.counted += length
        self.count(feed, length)

    def count(self, feed: Feed | None, length: int) -> None:
        """``length`` bytes came over the network."""
        self.meter.add(length)
        self._flow.add(length)
        if feed is not None:
            feed.downloaded += length

    async def stream(self, feed: Feed, answer: Answer, source: Source) -> None:
        """Feed a whole file that comes over one connection, without a range and perhaps without a size.

        Reads no further ahead of the frontier than the window allows; what is behind it is passed over.
        """
        flight = Flight(Span(0, feed.total), source, self._clock(), 0)
        feed.flights.append(flight)
        feed.is_streamed = True
        try:
            await self._stream(feed, flight, answer)
            if not feed.done.done() and not feed.total:
                self.engine.set_total(feed.number, flight.position)
        finally:
            feed.is_streamed = False
            feed.budget.refill(self.engine.status(feed.number)[0])
            feed.flights.remove(flight)

    async def _stream(self, feed: Feed, flight: Flight, answer: Answer) -> None:
        """Read all of ``answer``, or until nobody wants more.  Raises Transient where it is not the whole."""
        flight.reached = 0
        self._hand_over(flight, answer)
        try:
            async for chunk in answer.chunks():
                self.engine.write(feed.number, flight.position, chunk)
                flight.reached += len(chunk)
                self.count(feed, len(chunk))
                await self._pacer.pay(len(chunk))
                await self._wait_for_window(feed, flight)
                if feed.done.done():
                    return
        except Transient:
            # Its connection is closed where all of the file is there before the answer has ended.
            if not feed.done.done():
                raise
        if not feed.done.done() and (flight.abandoned or flight.position < feed.total):
            raise Transient(f"{flight.source.name}: the answer ended early", url=flight.source.name)

    async def _wait_for_window(self, feed: Feed, flight: Flight) -> None:
        while flight.position - self.engine.status(feed.number)[1] > feed.ahead_bytes:
            await self._woken(STEER_SECONDS)
            if feed.done.done():
                return
            if feed.holes:
                # A damaged member holds the frontier up, and must be read again from its start.
                raise Transient(f"{flight.source.name}: a part arrived damaged", url=flight.source.name)

    # ---- connections -------------------------------------------------------------------------------

    def _add_connections(self) -> None:
        """As many as the crowd may have."""
        while self._connected < self._crowd.level:
            self._connected += 1
            self._tasks.append(self._group.create_task(self._connect()))

    async def _connect(self) -> None:
        """One connection: take the next span, fetch it, again and again."""
        receiver = self.engine.receiver()
        while True:
            feed, flight = await self._next()
            try:
                await self._fetch(feed, flight, receiver)
            except Error as error:
                # What it tried to bring sooner is still on its way.
                if not (isinstance(error, Transient) and feed.is_racing(flight)):
                    self._fail(feed, error)
            finally:
                feed.flights.remove(flight)
                if self._waiting:
                    self._wake.set()

    async def _next(self) -> tuple[Feed, Flight]:
        """Wait for something to fetch."""
        waiting: asyncio.Future[tuple[Feed, Flight]] = asyncio.get_running_loop().create_future()
        self._idle.append(waiting)
        self._dispatch()
        return await waiting

    def _dispatch(self, *, hedging: bool = False) -> None:
        """Give idle connections what there is to fetch.

        Called whenever something has changed; one look for all of them, since a look by each at every
        change cost more than a millisecond a span.
        """
        while self._idle and self.connections < self._level:
            found = self._choose() or (self._hedge() if hedging else None)
            if found is None:
                return
            waiting = self._idle.popleft()
            if not waiting.done():
                feed, flight = found
                feed.flights.append(flight)
                waiting.set_result(found)

    async def _woken(self, seconds: float) -> None:
        """Sleep until something changes, at most ``seconds``."""
        self._wake.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()

    def _choose(self) -> tuple[Feed, Flight] | None:
        """The next span of the feed that has the most bytes left for each of its connections."""
        waiting = [
            feed
            for feed in self.feeds
            if feed.unrequested > 0 and not feed.is_streamed and not feed.done.done()
        ]
        waiting.sort(key=lambda feed: feed.unrequested / (len(feed.flights) + 1), reverse=True)
        for feed in waiting:
            try:
                source = feed.sources.best()
            except Error as error:
                self._fail(feed, error)
                continue
            span = self._next_span(feed) if self._has_room_for_span(source) else None
            if span is not None:
                return feed, Flight(span, source, self._clock(), span.start)
        return None

    def _has_room(self, source: Source, *, reserved: int = 0) -> bool:
        """Whether the source's host takes another connection now, as far as it has shown."""
        host = source.host
        if not self._crowd.is_limited(host):
            return True
        return self._crowd.room(host, len(self._answers_of(host)), self._clock(), reserved=reserved)

    def _has_room_for_span(self, source: Source) -> bool:
        """The same, where a file that has not begun does not wait for that."""
        host = source.host
        return self._has_room(source, reserved=any(other.host == host for other in self._waiting))

    def _answers_of(self, host: str) -> list[Answer | None]:
        """Of each request to ``host`` that is under way; None while there is no answer."""
        answers = [
            flight.answer for feed in self.feeds for flight in feed.flights if flight.source.host == host
        ]
        return answers + [one.answer for one in self._requests if one.source.host == host]

    def _served(self, host: str) -> int:
        """How many requests ``host`` is answering."""
        return sum(answer is not None for answer in self._answers_of(host))

    def _next_span(self, feed: Feed) -> Span | None:
        level = self._level
        length = span_bytes(self._ahead_bytes, level)
        if feed.holes:
            return _cut(feed.holes, length)
        frontier = self.engine.status(feed.number)[1]
        ahead = feed.again_ahead(frontier) if feed.again else 0
        if feed.again and (ahead < feed.ahead_bytes or feed.again[0].start <= frontier):
            span = _cut(feed.again, max(length, AGAIN_BYTES_MIN))
            feed.again_bytes -= span.length
            return span
        # The span at the frontier is always allowed, or nothing would ever move.
        if feed.cursor >= feed.end or feed.cursor >= frontier + feed.ahead_bytes:
            return None
        if len(self.feeds) == 1:
            # Towards the end smaller ones, so that all connections end together.
            left = (feed.end - feed.cursor) // (2 * level)
            each = self._flow.rate / level
            least = int(ANSWERS_PER_SPAN * self._answer_seconds * each)
            length = min(length, max(left, least, SPAN_BYTES_MIN))
        span = Span(feed.cursor, min(feed.end, feed.cursor + length))
        feed.cursor = span.end
        return span

    def _hedge(self) -> tuple[Feed, Flight] | None:
        """A second request for a span that lags where the frontier waits for it."""
        if self.limits.rate is not None:
            # It is we who hold it up.
            return None
        now = self._clock()
        for feed in self.feeds:
            if feed.done.done() or feed.is_streamed or not feed.flights:
                continue
            slow = min(feed.flights, key=lambda flight: flight.position)
            if (
                slow.hedged
                or slow.source.path is not None
                or not slow.is_slow(now, self._usual_seconds(slow.span))
            ):
                continue
            rest = Span(slow.position, slow.span.end)
            if rest.length <= 0:
                continue
            try:
                source = feed.sources.best()
            except Error:
                continue
            if not self._has_room_for_span(source):
                continue
            slow.hedged = True
            logger.debug("%s: racing %s", feed.name, rest)
            return feed, Flight(rest, source, now, rest.start, hedged=True, raced=slow)
        return None

    def _usual_seconds(self, span: Span) -> float:
        """How long such a span has taken of late."""
        if len(self._came) < USUAL_SPANS:
            return HEDGE_SECONDS_START
        # Of a shorter one as much longer; of a longer one the same, which may have been mostly round trip.
        return statistics.median(seconds * max(1.0, span.length / length) for seconds, length in self._came)

    async def _fetch(self, feed: Feed, flight: Flight, receiver: Receiver) -> None:
        async def attempt(source: Source) -> None:
            if _is_over(feed, flight):
                return
            flight.source = source
            try:
                await self._fetch_missing(feed, flight, source, receiver)
            except Error as error:
                # While it waits for another try it is not being served.
                flight.answer = None
                # Before the failure is counted: what it brought nevertheless is progress.
                feed.budget.refill(self.engine.status(feed.number)[0])
                # A connection that was dropped because somebody else was faster is nobody's fault.
                if _is_over(feed, flight):
                    return
                if not self._is_crowded(source, error):
                    raise
                # What did not come goes back to those that wait, and one connection less is used.
                flight.abandon()
                if flight.position < flight.span.end and not feed.is_racing(flight):
                    feed.holes.append(Span(flight.position, flight.span.end))

        await self.ask(feed.sources, feed.budget, attempt)
        # One that was refused, or that somebody else was faster than, does not tell how long a span takes.
        if flight.span.length > 0 and not flight.abandoned:
            self._came.append((self._clock() - flight.started, flight.span.length))
        for other in feed.flights:
            if other is not flight and self._is_covered(feed, other):
                other.abandon()

    def _is_crowded(self, source: Source, error: Error) -> bool:
        """Whether ``error`` only means that there are too many connections.

        Then fewer are used from now on: no failure, since others are being served.
        """
        host = source.host
        served = self._served(host)
        if not isinstance(error, Transient) or not error.crowded or not served:
            return False
        if self._crowd.refused(host, served, self._clock(), error.retry_after or 0.0):
            self.tell(f"{error.message}: {host} does not take more connections, going on with {served}")
        self.retries += 1
        return True

    async def ask(self, sources: Sources, budget: Budget, action: Callable[[Source], Awaitable[T]]) -> T:
        """Do ``action`` with the best source there is, again and elsewhere as long as the budget lasts."""
        async for attempt in retrying(budget, self._random, retried=is_retried, on_retry=self._count_retry):
            with attempt:
                source = sources.best()
                try:
                    result = await action(source)
                except (TransferError, OriginChanged) as error:
                    raise self._blame(sources, source, error) from error
                except StorageError as error:
                    # Only a local source that cannot be read is the source's fault.
                    if source.path is None or error.filename != str(source.path):
                        raise
                    raise self._blame(sources, source, error) from error
                source.failures = 0
                return result
        raise AssertionError("the last attempt returns or raises")

    def _is_covered(self, feed: Feed, flight: Flight) -> bool:
        """Whether others have brought what this flight is still waiting for."""
        if flight.position >= flight.span.end:
            # It has just ended by itself; its connection is good for the next span.
            return False
        return not self.engine.missing(feed.number, flight.position, flight.span.end)

    async def _fetch_missing(self, feed: Feed, flight: Flight, source: Source, receiver: Receiver) -> None:
        missing = self.engine.missing(feed.number, flight.position, flight.span.end)
        for start, end in joined(missing):
            flight.reached = start
            if source.path is not None:
                feed.check_version(source, Validator())
            if source.path is None:
                await self._request(feed, flight, source, Span(start, end), receiver)
            else:
                await in_thread(self.engine.read_local, feed.number, source.path, start, end)
                flight.reached = end
                self._flow.add(end - start)
            if flight.abandoned:
                return

    async def _request(
        self, feed: Feed, flight: Flight, source: Source, span: Span, receiver: Receiver
    ) -> None:
        asked = self._clock()
        is_pieced = feed.begun_with is not None
        async with self.client.get(source, span, vouched=feed.vouched, pieced=is_pieced) as answer:
            self._answer_seconds += (self._clock() - asked - self._answer_seconds) / ANSWERS_AVERAGED
            if answer.total not in {None, feed.total}:
                raise OriginChanged(f"{source.name} has {answer.total} bytes, the archive has {feed.total}")
            feed.check_version(source, answer.validator)
            if answer.span is None:
                await self._take_whole(feed, flight, source, answer)
            else:
                await self.deliver(feed, flight, answer, receiver)

    async def _take_whole(self, feed: Feed, flight: Flight, source: Source, answer: Answer) -> None:
        """The source sends everything, whatever is asked for: read it from its start, for all connections."""
        if source.gives_ranges:
            raise Unranged(f"{source.name} sends the whole file instead of a range", url=source.name)
        if feed.is_streamed:
            flight.abandon()
            return
        self.tell(f"{source.name} does not keep to ranges: {feed.name} comes over one connection")
        feed.is_streamed = True
        feed.holes.clear()
        feed.cursor = feed.end
        for other in feed.flights:
            if other is not flight:
                other.abandon()
        try:
            await self._stream(feed, flight, answer)
            flight.abandoned = True
        finally:
            feed.is_streamed = False
            flight.reached = flight.span.start
            # What did not come is up to whoever is idle, this connection too.
            gaps = self.engine.missing(feed.number, 0, feed.total)
            feed.holes.extend(Span(start, end) for start, end in gaps)

    def _blame(self, sources: Sources, source: Source, error: Error) -> Error:
        """Note that ``source`` failed; what to raise: worth another try as long as somebody can be asked."""
        source.failures += 1
        if isinstance(error, Transient):
            if sources.has_better_than(source):
                # That one is asked next, whom this one's wish to be left alone does not concern.
                error.retry_after = None
            return error
        if isinstance(error, OriginChanged) and not sources.has_other_than(source):
            # It is begun anew with this one, a local copy too.
            return error
        source.dead = error
        if sources.has_other_than(source):
            self.tell(f"{error.message}; going on with {sources.best().name}")
            return Transient(error.message, url=source.name)
        return error

    def _count_retry(self, error: BaseException, seconds: float) -> None:
        self.retries += 1
        logger.info("%s; next try in %.1f s", error, seconds)
        # The first waits are too short to be worth a line; a person who waits longer wants to know why.
        if seconds >= TELL_SECONDS and str(error) not in self._told:
            self._told.add(str(error))
            self.tell(f"{error}; trying again")

    # ---- the engine's side -------------------------------------------------------------------------

    async def _hear(self) -> None:
        """Wait for the engine's events, in a thread, and act on them."""
        while True:
            events = await in_thread(self.engine.wait, EVENT_PATIENCE_SECONDS)
            for event in events:
                self._act_on(event)
            self._wake.set()
            self._dispatch()
            # Frontiers move with each member; the connections need to hear of it a hundred times a second.
            await asyncio.sleep(HEAR_SECONDS)

    def _act_on(self, event: Event) -> None:
        if event[0] == "moved":
            for feed in self.feeds:
                feed.budget.refill(self.engine.status(feed.number)[0])
        elif event[1] not in self._by_number:
            # An empty or finished archive has its say before its feed is here.
            self._early.setdefault(event[1], []).append(event)
        elif event[0] == "damaged":
            self._damaged(self._by_number[event[1]], Span(event[2], event[3]), event[4])
        elif event[0] == "finished":
            self._ended[event[1]] = event
            self._settle(self._by_number[event[1]], event[2])
        else:
            self._ended[event[1]] = event
            self._fail(self._by_number[event[1]], event[2])

    def _damaged(self, feed: Feed, span: Span, error: Exception) -> None:
        """Bytes that failed their check: ask again, if possible somebody else."""
        if feed.done.done():
            return
        try:
            source = feed.sources.best()
        except Error as nobody:
            self._fail(feed, nobody)
            return
        source.damage = str(error)
        if feed.sources.has_other_than(source):
            source.failures += 1
        self.retries += 1
        self.tell(f"{error}; fetching {span.length} bytes again")
        feed.holes.append(span)

    def _settle(self, feed: Feed, digest: str | None) -> None:
        if not feed.done.done():
            feed.done.set_result(digest)
        self.remove(feed)

    def _fail(self, feed: Feed, error: Exception) -> None:
        if not feed.done.done():
            feed.done.set_exception(error)
        self.remove(feed)

    # ---- windows -----------------------------------------------------------------------------------

    async def _steer(self) -> None:
        """Let the windows follow the speed."""
        started = self._clock()
        while True:
            is_start = self._clock() - started < START_SECONDS
            await asyncio.sleep(STEER_SECONDS_START if is_start else STEER_SECONDS)
            for feed in self.feeds:
                for flight in feed.flights:
                    if flight.receiver is not None:
                        self._count_poured(feed, flight)
            self._set_windows()
            self._appetite.looked(self.engine.hungry(), self._clock())
            if self._crowd.measured(self.meter.total, self.connections, self._clock()):
                logger.info("trying %d connections", self._crowd.level)
                self._add_connections()
            self._dispatch(hedging=True)

    def _set_windows(self) -> None:
        """Share what may be under way between the feeds, by what each has left."""
        most = self.limits.memory_bytes * AHEAD_MEMORY_SHARE
        wanted = self._flow.rate * AHEAD_SECONDS or AHEAD_BYTES_START
        self._ahead_bytes = max(2.0 * SPAN_BYTES_MIN, min(most, wanted))
        active = [feed for feed in self.feeds if not feed.done.done()]
        # One without a size counts as if it had as much left as may be under way.
        left = [feed.remaining if feed.total else self._ahead_bytes for feed in active]
        most_left = sum(left) or 1
        for feed, part in zip(active, left, strict=True):
            share = int(self._ahead_bytes * part / most_left)
            feed.ahead_bytes = max(2 * SPAN_BYTES_MIN, share)
            self.engine.set_window(feed.number, feed.ahead_bytes)
