"""The rest of an answer's body, from the socket into buffers that Rust owns.

aiohttp's own path allocates each chunk, copies it once more in its parser, and passes it through a
stream.  For a body whose length is known, none of that is needed once the headers have been read.  Over a
plain connection the core's workers read from the socket themselves (:class:`Intake`), and no Python runs
until the last byte is there.  Over TLS the event loop reads into the receiver's slabs.  Either hands the
connection back at the last byte.  Only public parts of asyncio and aiohttp are used; where a transport does
not offer them, the stream does the same, more slowly.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from typing import TYPE_CHECKING

from fdf256_fast.tls import SESSION

if TYPE_CHECKING:
    from collections.abc import Generator

    from fdf256_fast._core import Engine, Receiver

__all__ = ["Intake", "Pour"]

CLOSED = -1
"""How the core tells that the sender closed the connection early; positive numbers are the system's."""

GARBLED = -2
"""And that what came cannot be decrypted."""


class Intake:
    """Bodies that the core's workers read from their sockets, and who waits for the end of which."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._loop = asyncio.get_running_loop()
        self._handle: int | None = None
        self._pours: dict[int, Pour] = {}

    def open(self) -> None:
        """Listen to the core, in the running loop; where that is not possible nothing is given to it."""
        handle = self._engine.poured_handle
        if handle is not None:
            try:
                self._loop.add_reader(handle, self._hear)
            except NotImplementedError:
                return
            self._handle = handle

    def close(self) -> None:
        """Do not listen any more."""
        if self._handle is not None:
            self._loop.remove_reader(self._handle)
            self._handle = None

    def take(self, pour: Pour, transport: asyncio.Transport, receiver: Receiver) -> int | None:
        """Let the core read what ``receiver`` is aimed at; None where it cannot."""
        socket = transport.get_extra_info("socket")
        session = transport.get_extra_info(SESSION)
        is_foreign = session is None and transport.get_extra_info("sslcontext") is not None
        if self._handle is None or socket is None or is_foreign:
            return None
        try:
            number = receiver.pour(socket.fileno(), session)
        except OSError:
            # It has no handle left for another socket, say.
            return None
        self._pours[number] = pour
        return number

    def stop(self, number: int, receiver: Receiver) -> None:
        """Nothing of this body is read any more."""
        receiver.stop(number)
        del self._pours[number]

    def _hear(self) -> None:
        for number, error in self._engine.poured():
            # One that was stopped meanwhile has nobody who waits.
            pour = self._pours.get(number)
            if pour is None:
                continue
            if error == 0:
                pour.end()
            elif error == CLOSED:
                pour.end(ConnectionResetError("closed before its end"))
            elif error == GARBLED:
                pour.end(ssl.SSLError(ssl.SSL_ERROR_SSL, "what came cannot be decrypted"))
            else:
                pour.end(OSError(error, os.strerror(error)))


class Pour(asyncio.BufferedProtocol):
    """Takes ``length`` bytes off ``transport`` into ``receiver``, then gives it back to who had it.

    The receiver must be aimed at them.  ``await`` it once: raises ConnectionError when the connection ends
    before, and TimeoutError when nothing comes for ``timeout_seconds``.
    """

    def __init__(
        self,
        intake: Intake,
        transport: asyncio.Transport,
        receiver: Receiver,
        length: int,
        timeout_seconds: float,
    ) -> None:
        loop = asyncio.get_running_loop()
        self._intake = intake
        self._transport = transport
        self._owner = transport.get_protocol()
        self._receiver = receiver
        self._left = length
        self._timeout_seconds = timeout_seconds
        self._done: asyncio.Future[None] = loop.create_future()
        # One timer for the whole body: moving it at each read would cost more than the read's bookkeeping.
        self._timer = loop.call_later(timeout_seconds, self._check_silence)
        # Whoever closes the connection meanwhile, it is heard of here.
        transport.set_protocol(self)
        # Before anybody else reads from its socket.
        transport.pause_reading()
        self._number = intake.take(self, transport, receiver)
        if self._number is None:
            transport.resume_reading()

    def __await__(self) -> Generator[object, None, None]:
        """Wait until all of it is there."""
        try:
            yield from self._done
        finally:
            self._give_back()

    def end(self, error: Exception | None = None) -> None:
        """All of it is there, or nothing more will come because of ``error``."""
        if self._done.done():
            return
        if error is None:
            self._done.set_result(None)
        else:
            self._done.set_exception(error)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - the slab knows best
        """Room for the next read."""
        # TLS transports slice what they get, which only a memoryview can.
        return memoryview(self._receiver)

    def buffer_updated(self, nbytes: int) -> None:
        """``nbytes`` were read."""
        self._receiver.filled(nbytes)
        self._left -= nbytes
        if self._left == 0:
            # At once, and not when the task that waits comes to it: more may follow that is not the body's.
            self._give_back()
            self.end()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone; its owner waits to hear of that, too."""
        self._owner.connection_lost(exc)
        self.end(exc or ConnectionResetError("closed before its end"))

    def _give_back(self) -> None:
        self._timer.cancel()
        if self._number is not None:
            self._intake.stop(self._number, self._receiver)
            self._number = None
        if self._transport.get_protocol() is self and not self._transport.is_closing():
            self._transport.set_protocol(self._owner)
            self._transport.resume_reading()

    def _check_silence(self) -> None:
        left = self._timeout_seconds - self._receiver.silent_seconds
        if left > 0:
            self._timer = asyncio.get_running_loop().call_later(left, self._check_silence)
        else:
            self.end(TimeoutError())
