"""The rest of an answer's body, from the socket into buffers that Rust owns.

aiohttp's own path allocates each chunk, copies it once more in its parser, and passes it through a
stream.  For a body whose length is known, none of that is needed once the headers have been read: a
``BufferedProtocol`` on the connection's transport reads into the receiver's slabs, and hands the
connection back at the last byte.  Only public parts of asyncio and aiohttp are used; where a transport
does not offer them, the stream does the same, more slowly.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Pour", "Receiver"]


class Receiver(Protocol):
    """Where the bytes go: ``_core.Receiver``, aimed at a span."""

    def filled(self, length: int, /) -> None:
        """So many bytes were read into the last view."""

    def __buffer__(self, flags: int, /) -> memoryview:
        """Room for the next read."""


class Pour(asyncio.BufferedProtocol):
    """Takes ``length`` bytes off ``transport``, then gives it back to the protocol that had it.

    ``done`` is set at the last byte; it fails with ConnectionError when the connection ends before, and
    with TimeoutError when nothing comes for ``timeout_seconds``.  ``heard`` is called with the length of
    each read.
    """

    def __init__(
        self,
        transport: asyncio.Transport,
        receiver: Receiver,
        length: int,
        timeout_seconds: float,
        heard: Callable[[int], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport = transport
        self._owner = transport.get_protocol()
        self._receiver = receiver
        self._left = length
        self._timeout_seconds = timeout_seconds
        self._heard = heard
        self._last = self._loop.time()
        self.done: asyncio.Future[None] = self._loop.create_future()
        self._timer = self._loop.call_later(timeout_seconds, self._check_silence)
        transport.set_protocol(self)
        transport.resume_reading()

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - the slab knows best
        """Room for the next read."""
        # TLS transports slice what they get, which only a memoryview can.
        return memoryview(self._receiver)

    def buffer_updated(self, nbytes: int) -> None:
        """``nbytes`` were read."""
        self._receiver.filled(nbytes)
        self._left -= nbytes
        self._last = self._loop.time()
        self._heard(nbytes)
        if self._left == 0:
            self._give_back()
            if not self.done.done():
                self.done.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone; its owner waits to hear of that, too."""
        self._timer.cancel()
        self._owner.connection_lost(exc)
        if not self.done.done():
            self.done.set_exception(exc or ConnectionResetError(f"closed {self._left} bytes early"))

    def _give_back(self) -> None:
        self._timer.cancel()
        self._transport.set_protocol(self._owner)

    def _check_silence(self) -> None:
        # One timer for the whole body: moving it at each read would cost more than the read's bookkeeping.
        silent = self._loop.time() - self._last
        if silent < self._timeout_seconds:
            self._timer = self._loop.call_later(self._timeout_seconds - silent, self._check_silence)
        elif not self.done.done():
            self.done.set_exception(TimeoutError())
