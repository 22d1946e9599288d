"""Whether a failure is worth another try, and when: decisions only, nothing touches the network.

What is retried stands in two tables, :data:`RETRIED_STATUSES` and :data:`RETRIED_WHEN_SIGNED`, one
line and one reason each; failures without a status arrive as :class:`Transient` from ``client.py``,
which alone knows the exceptions of the HTTP library.  Everything else is final.

One :class:`Budget` serves all requests for one archive, and bytes that are new refill it: a source may
fail any number of times as long as it delivers in between, and is given up soon if it does not.
:func:`retrying` puts the parts together as a loop::

    async for attempt in retrying(budget, random.Random()):
        with attempt:
            await request_one_span()
"""

from __future__ import annotations

import asyncio
import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Self

from fdf256_fast.errors import StatusError, TransferError

if TYPE_CHECKING:
    import random
    from collections.abc import AsyncIterator, Callable, Mapping
    from contextlib import AbstractContextManager

__all__ = [
    "RETRIED_STATUSES",
    "RETRIED_WHEN_SIGNED",
    "Budget",
    "Transient",
    "Unranged",
    "is_retried",
    "retry_after_seconds",
    "retrying",
    "status_is_retried",
    "wait_seconds",
]

RETRIED_STATUSES: Mapping[int, str] = {
    408: "the server gave up waiting for the request, which a new connection sends at once",
    425: "the server will not act on early data; the next handshake is a full one",
    429: "too many requests; the server says, or back-off finds, when there are few enough",
    500: "object stores answer so under load, and ask for a retry",
    502: "a proxy lost its server; the next request may meet another",
    503: "overloaded or restarting",
    504: "a proxy's server was too slow; it may have warmed up since",
}
"""Statuses that pass by themselves, and why."""

RETRIED_WHEN_SIGNED: Mapping[int, str] = {
    403: "a signed address has expired; asking the origin again gives a new one",
}
"""Statuses that pass only at a signed address that a redirect led to, and why.

At any other address they are as final as 400, 401, 404, 405, 410 and 451: the same question gets
the same answer, and asking again is rude.
"""

BASE_SECONDS = 0.25
"""Longest wait before the first retry: about what one lost packet costs TCP."""

CAP_SECONDS = 30.0
"""Longest back-off: an origin that comes back after an outage is found within half a minute."""

RETRY_AFTER_CAP_SECONDS = 300.0
"""Longest Retry-After that is obeyed; who must wait longer had better be told, and come back."""

_DELAY = re.compile(r"-?[0-9]+(\.[0-9]+)?")


class Transient(TransferError):
    """A request failed in a way that may pass.

    ``reason`` says how, for messages; ``retry_after`` is how many seconds the server asked for,
    None if it did not; ``status`` is the HTTP status, None if none arrived; ``crowded`` says that there may
    have been too many connections.  It is a transfer error, so that the last of its kind ends where
    callers expect it.
    """

    def __init__(
        self,
        reason: str,
        *,
        url: str = "",
        retry_after: float | None = None,
        status: int | None = None,
        crowded: bool = False,
    ) -> None:
        super().__init__(reason, url=url)
        self.reason = reason
        self.retry_after = retry_after
        self.status = status
        self.crowded = crowded


class Unranged(Transient):
    """An answer to a ranged request that is not the range: the whole file, or another part of it.

    One server of many behind a name may do so now and then.  A source that does nothing else is read from
    start to end instead.
    """


@dataclass(slots=True)
class _Refills:
    """What all shares of a budget have in common."""

    count: int = 0
    furthest: int = 0


class Budget:
    """How many failures in a row a source may have before it is given up.

    ``attempts`` is the number of retries: 0 means that the first failure is the last.

    Each connection spends from its own :meth:`share`, and progress on any of them refills all.
    With one common count, an outage that breaks sixteen connections would look like sixteen
    failures in a row, and use up the retries within a second.
    """

    def __init__(self, attempts: int) -> None:
        if attempts < 0:
            raise ValueError(f"attempts must not be negative, got {attempts}")
        self.attempts = attempts
        self._refills = _Refills()
        self._spent = 0
        self._spent_since = 0

    def share(self) -> Budget:
        """A full budget of the same size, which is refilled together with this one."""
        other = Budget(self.attempts)
        other._refills = self._refills
        other._spent_since = self._refills.count
        return other

    def spend(self) -> int:
        """Count a failure, and return how many there were in a row, this one included."""
        self._spent = self._in_a_row() + 1
        self._spent_since = self._refills.count
        return self._spent

    def refill(self, arrived_bytes: int) -> None:
        """Forget all failures, of every share, if more of the archive is here than ever before.

        A stream that always breaks at the same place, and begins anew, makes no progress; nor does a
        member that always arrives damaged.
        """
        if arrived_bytes > self._refills.furthest:
            self._refills.furthest = arrived_bytes
            self._refills.count += 1

    def restart(self) -> None:
        """The archive begins anew: what is progress is counted from nothing."""
        self._refills.furthest = 0

    @property
    def exhausted(self) -> bool:
        """Whether there were more failures in a row than there are retries."""
        return self._in_a_row() > self.attempts

    def _in_a_row(self) -> int:
        return self._spent if self._spent_since == self._refills.count else 0


def status_is_retried(status: int, *, signed: bool = False) -> bool:
    """Whether an answer of this HTTP status is worth another try.

    ``signed`` says that it came from a signed address that a redirect had led to.
    """
    return status in RETRIED_STATUSES or (signed and status in RETRIED_WHEN_SIGNED)


def is_retried(error: BaseException, *, signed: bool = False) -> bool:
    """Whether a failure is worth another try; ``signed`` as in :func:`status_is_retried`."""
    if isinstance(error, StatusError):
        return status_is_retried(error.status, signed=signed)
    return isinstance(error, Transient)


def retry_after_seconds(header: str | None, now: datetime) -> float | None:
    """Read a Retry-After header: seconds or an HTTP date (RFC 9110, section 10.2.3).

    ``now`` must know its time zone.  Returns seconds from now, at least 0 and at most
    :data:`RETRY_AFTER_CAP_SECONDS`; None where there is no header or it is neither.
    """
    text = (header or "").strip()
    if _DELAY.fullmatch(text):
        seconds = float(text)
    else:
        try:
            when = parsedate_to_datetime(text)
        except (ValueError, OverflowError):
            return None
        if when.tzinfo is None:  # "-0000": a time in UTC of which the zone is not told
            when = when.replace(tzinfo=UTC)
        seconds = (when - now).total_seconds()
    return min(max(seconds, 0.0), RETRY_AFTER_CAP_SECONDS)


def wait_seconds(attempt: int, *, retry_after: float | None, random: random.Random) -> float:
    """How long to wait before a retry, in seconds.

    ``attempt`` is the number of failures in a row, from 1; ``retry_after`` how long the server
    asked to be left alone, or None.  The wait is drawn evenly from 0 to a ceiling that doubles with
    each failure ("full jitter"), on top of ``retry_after``: connections that failed together come
    back spread out, and none sooner than it was told.
    """
    # The failures are the budget's, which refills, and not those of one loop.
    doublings = min(attempt - 1, math.ceil(math.log2(CAP_SECONDS / BASE_SECONDS)))
    ceiling = min(CAP_SECONDS, BASE_SECONDS * 2**doublings)
    return (retry_after or 0.0) + random.uniform(0.0, ceiling)


def retrying(
    budget: Budget,
    random: random.Random,
    *,
    retried: Callable[[BaseException], bool] = is_retried,
    on_retry: Callable[[BaseException, float], None] | None = None,
) -> AsyncIterator[AbstractContextManager[object]]:
    """A loop of attempts at one request, paid from a share of ``budget``.

    The last failure is raised as it was.  ``on_retry`` is called before each wait, with the failure
    and the seconds to wait.  Refilling the budget is up to whoever sees bytes arrive.
    """
    return _Attempts(budget.share(), random, retried, on_retry)


class _Attempts:
    """The loop, and each attempt in it.

    Written out, since tenacity's took 80 microseconds for an attempt that succeeds (this: 2), a quarter of
    what a small file costs, and 15 ms of every start to import.
    """

    def __init__(
        self,
        share: Budget,
        random: random.Random,
        retried: Callable[[BaseException], bool],
        on_retry: Callable[[BaseException, float], None] | None,
    ) -> None:
        self._share = share
        self._random = random
        self._retried = retried
        self._on_retry = on_retry
        self._has_begun = False
        self._failure: BaseException | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Self:
        failure, self._failure = self._failure, None
        if failure is not None:
            try:
                await self._wait_after(failure)
            finally:
                # Its traceback has this frame: what it holds open would wait for the garbage collector.
                del failure
        elif self._has_begun:
            raise StopAsyncIteration
        self._has_begun = True
        return self

    async def _wait_after(self, failure: BaseException) -> None:
        failures = self._share.spend()
        if self._share.exhausted:
            raise failure
        retry_after = failure.retry_after if isinstance(failure, Transient) else None
        seconds = wait_seconds(failures, retry_after=retry_after, random=self._random)
        if self._on_retry is not None:
            self._on_retry(failure, seconds)
        await asyncio.sleep(seconds)

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if error is None or not self._retried(error):
            return False
        self._failure = error
        return True
