"""How many connections to use: fewer where a host refuses them or the machine has enough to do, more where
each of them is held back.

Decisions only: times, rates and counts come in, numbers go out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

__all__ = ["FEW", "Appetite", "Crowd"]

LOOK_SECONDS = 0.4
"""The rate is taken over this long: several spans of each connection.  A number of connections is judged as
soon as two such rates in a row agree; while they do not, connections are still getting up to speed."""

STEADY_SHARE = 0.05
"""So much may they differ.  An origin that holds each connection back differs by less."""

GROW_SECONDS = 2.0
"""A rate that never settles is judged as it is after this long."""

GROW_FACTOR = 1.5
"""From 16: 24, 36, 54, 64."""

GROW_GAIN = 1.12
"""What half as many connections more must bring to be kept.  A host that limits each connection gives 1.5; a
link that is full gives 1, and its rate swings by some percent."""

BUSY_SHARE = 0.75
"""So many connections must be at work for a rate to say anything: some are always between two spans."""

REFUSED_SECONDS = 10.0
"""After so long without a refusal a host is tried with one connection more."""

FEW = 4
"""So many do as long as workers hardly ever wait for bytes, and one for each archive: fewer requests, longer
spans.  Medians (2 cores, loopback): 2 GB 1.50 s instead of 1.57, an installation of 1.3 GB 1.85 s instead of
2.07; with 8 it was 1.57 and 1.88."""

APPETITE_SECONDS = 0.05
"""Whether they wait is averaged over about so long.  It begins with few: where the first answer takes as
long, all connections are there by the time that there is something to ask them for."""

SATED_SHARE = 0.1
"""Who waits a smaller share of the time has enough: on loopback it is a twentieth with 16 connections, and an
eighth with few."""

HUNGRY_SHARE = 0.5
"""And who waits a larger one gets all connections, until it is less than the other."""

FULL_SECONDS_START = 0.5
"""Where few were not enough after all, all of them stay for so long, and twice as long each further time."""

FULL_SECONDS_MAX = 8.0
"""But no longer."""


@dataclass(slots=True)
class Appetite:
    """Whether workers wait for bytes, which more connections might bring."""

    is_hungry: bool = field(init=False, default=False)
    _share: float = field(init=False, default=0.0)
    _waited: float = field(init=False, default=0.0)
    _looked_at: float | None = field(init=False, default=None)
    _was_sated: bool = field(init=False, default=False)
    _full_until: float = field(init=False, default=-math.inf)
    _full_seconds: float = field(init=False, default=FULL_SECONDS_START)

    def looked(self, waited: float, now: float) -> None:
        """Until ``now`` they have waited so long in all; both in seconds."""
        passed = 0.0 if self._looked_at is None else now - self._looked_at
        if passed > 0:
            share = min(1.0, (waited - self._waited) / passed)
            self._share += (share - self._share) * (1 - math.exp(-passed / APPETITE_SECONDS))
            self._decide(now)
        self._waited, self._looked_at = waited, now

    def _decide(self, now: float) -> None:
        if self.is_hungry:
            self.is_hungry = self._share > SATED_SHARE or now < self._full_until
            self._was_sated |= not self.is_hungry
        elif self._share > HUNGRY_SHARE:
            self.is_hungry = True
            # At the beginning nobody had enough yet.
            if self._was_sated:
                self._full_until = now + self._full_seconds
                self._full_seconds = min(FULL_SECONDS_MAX, 2 * self._full_seconds)


@dataclass(slots=True)
class _Host:
    """``allowed`` connections at a time; ``since`` is when the last one was refused, or may be asked for.

    ``is_trial`` while it is not known whether the last of those allowed is served.
    """

    allowed: int
    since: float
    is_trial: bool = False


@dataclass(slots=True)
class Crowd:
    """The number of connections of one run: at first ``start``, never more than ``most``."""

    start: int
    most: int
    level: int = field(init=False)
    _hosts: dict[str, _Host] = field(init=False, default_factory=dict)
    _rate_before: float = field(init=False, default=0.0)
    _level_before: int = field(init=False, default=0)
    _judged_at: float | None = field(init=False, default=None)
    _bytes_then: int = field(init=False, default=0)
    _looked_at: float = field(init=False, default=0.0)
    _bytes_looked: int = field(init=False, default=0)
    _rate_looked: float = field(init=False, default=0.0)
    _is_settled: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        self.level = self.start
        self._is_settled = self.start >= self.most

    def refused(self, host: str, accepted: int, now: float, retry_after: float = 0.0) -> bool:
        """``host`` refused a connection while it served ``accepted``; True the first time, which is news.

        In ``retry_after`` seconds it may be asked for it again: for that one, since the others are served.
        """
        known = self._hosts.get(host)
        # A trial that failed tells no more than that what was before it was right.
        allowed = known.allowed - 1 if known is not None and known.is_trial else accepted
        self._hosts[host] = _Host(max(1, allowed), now + retry_after)
        # A host that wants fewer is not to be asked with more.
        self._is_settled = True
        return known is None

    def is_limited(self, host: str) -> bool:
        """Whether ``host`` has ever refused; for all others there is nothing to count."""
        return host in self._hosts

    def explains(self, host: str, others: int) -> bool:
        """Whether ``host`` may refuse one connection for no other reason than ``others`` that it has."""
        known = self._hosts.get(host)
        return others > 0 and (known is None or others >= known.allowed - known.is_trial)

    def room(self, host: str, used: int, now: float, *, reserved: int = 0) -> bool:
        """Whether ``host``, with ``used`` connections, may get another one and ``reserved`` for others."""
        known = self._hosts.get(host)
        if known is None:
            return True
        if used >= known.allowed and now - known.since >= REFUSED_SECONDS:
            known.allowed, known.since, known.is_trial = known.allowed + 1, now, True
        return used + reserved < known.allowed

    def measured(self, total_bytes: int, busy: int, now: float) -> bool:
        """Judge the present number by what has come in; True when it has just grown.

        ``busy`` connections are at work.  Called several times a second.
        """
        if self._is_settled:
            return False
        if busy < BUSY_SHARE * self.level or self._judged_at is None:
            # Something else is the limit: the window, the disk, or that little is left.
            self._begin(total_bytes, now)
            return False
        rate = self._settled_rate(total_bytes, now)
        if rate is None:
            return False
        self._begin(total_bytes, now)
        if self._rate_before and rate < GROW_GAIN * self._rate_before:
            self.level, self._is_settled = self._level_before, True
            return False
        if self.level >= self.most:
            self._is_settled = True
            return False
        self._rate_before, self._level_before = rate, self.level
        self.level = min(self.most, max(self.level + 1, int(self.level * GROW_FACTOR)))
        return True

    def _begin(self, total_bytes: int, now: float) -> None:
        self._judged_at = self._looked_at = now
        self._bytes_then = self._bytes_looked = total_bytes
        self._rate_looked = 0.0

    def _settled_rate(self, total_bytes: int, now: float) -> float | None:
        """What the present number of connections brings, None while that is not clear."""
        seconds = now - self._looked_at
        if seconds < LOOK_SECONDS:
            return None
        before, rate = self._rate_looked, (total_bytes - self._bytes_looked) / seconds
        self._looked_at, self._bytes_looked, self._rate_looked = now, total_bytes, rate
        if abs(rate - before) <= STEADY_SHARE * rate:
            return rate
        assert self._judged_at is not None
        seconds = now - self._judged_at
        return (total_bytes - self._bytes_then) / seconds if seconds >= GROW_SECONDS else None
