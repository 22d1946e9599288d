"""How fast bytes come in, and how fast they may."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Meter", "Pacer"]

HISTORY_SECONDS = 3.0
"""The present rate is that of this long: longer than a burst, shorter than a person's patience."""

TICK_SECONDS = 0.02


class Meter:
    """Counts received bytes, and tells their present rate in bytes per second."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._start = clock()
        self._ticks: deque[tuple[float, int]] = deque([(self._start, 0)])
        self.total = 0

    def add(self, count: int) -> None:
        """``count`` bytes arrived."""
        self.total += count
        now = self._clock()
        if now - self._ticks[-1][0] >= TICK_SECONDS:
            self._ticks.append((now, self.total))
            while now - self._ticks[0][0] > HISTORY_SECONDS:
                self._ticks.popleft()

    @property
    def rate(self) -> float:
        """Bytes per second over the last seconds, 0 while it is too early to tell."""
        now = self._clock()
        since, count = self._ticks[0]
        for when, total in self._ticks:
            if now - when <= HISTORY_SECONDS:
                break
            since, count = when, total
        seconds = min(now - since, HISTORY_SECONDS)
        return (self.total - count) / seconds if seconds >= TICK_SECONDS else 0.0


class Pacer:
    """Holds all connections together to ``rate`` bytes per second; None lets everything through.

    Each chunk is paid for after it came; the wait fills the socket's buffer, and TCP slows the sender.
    """

    def __init__(self, rate: float | None, clock: Callable[[], float]) -> None:
        self._rate = rate
        self._clock = clock
        self._paid_until = 0.0

    async def pay(self, count: int) -> None:
        """Wait until ``count`` more bytes fit the rate."""
        if self._rate is None:
            return
        now = self._clock()
        self._paid_until = max(self._paid_until, now) + count / self._rate
        await asyncio.sleep(self._paid_until - now)
