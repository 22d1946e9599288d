"""TLS by the core: a transport whose session the core's workers can have while they read a body.

asyncio's own decrypts 16 kB at a time in the event loop and copies what comes out twice: 2 GB took 2.8 s of
processor time, and 2.0 to 2.1 s so.  The event loop does the handshake, requests and headers, and the workers
the bodies (:mod:`.pour`).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    import ssl

    from fdf256_fast._core import TlsSession

__all__ = ["SESSION", "TlsTransport"]

SESSION = "fdf256_tls"
"""The name under which ``get_extra_info`` gives the session."""

READ_BYTES_LEAST = (1 << 14) + 512
"""The first read of an answer: one record, with the headers.  The rest stays in the socket, for the workers.

With 1,000 files of 1 MB, 256 KiB here made twice as many page faults, and took 4 to 17 % longer."""

READ_BYTES_MOST = 1 << 18
"""Where they do not come the loop reads more each time, up to what it would read without TLS."""


class TlsTransport(asyncio.Transport, asyncio.BufferedProtocol):
    """``session`` over another transport, whose protocol this is; ``protocol`` gets what is in the records.

    It hears of the connection once the handshake is done, see :meth:`handshake`.  ``context`` has the rules.
    """

    def __init__(
        self, session: TlsSession, protocol: asyncio.BaseProtocol, context: ssl.SSLContext | None = None
    ) -> None:
        super().__init__()
        self._loop = asyncio.get_running_loop()
        self._session = session
        self._protocol = protocol
        self._own = {SESSION: session, "sslcontext": context}
        self._below: asyncio.Transport
        self._error: Exception | None = None
        self._is_paused = False
        self._buffer = memoryview(bytearray(READ_BYTES_LEAST))
        self._wanted = READ_BYTES_LEAST
        self._is_shaken = False
        self._ready: asyncio.Future[None] = self._loop.create_future()
        # Who gave up waiting wants to hear of no error.
        self._ready.add_done_callback(lambda done: done.cancelled() or done.exception())

    async def handshake(self) -> None:
        """Wait for its end.  Raises OSError when it fails."""
        await self._ready

    # ---- what the transport below calls ------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say hello."""
        self._below = cast("asyncio.Transport", transport)
        self._below.write(self._session.outgoing())

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - the answer's headers decide
        """Room for the next read."""
        if len(self._buffer) < self._wanted:
            self._buffer = memoryview(bytearray(self._wanted))
        return self._buffer[: self._wanted]

    def buffer_updated(self, nbytes: int) -> None:
        """``nbytes`` were read."""
        if nbytes == self._wanted:
            self._wanted = min(2 * nbytes, READ_BYTES_MOST)
        self._take(bytes(self._buffer[:nbytes]))

    def _take(self, records: bytes) -> None:
        """Pass on what is in these."""
        try:
            plain = self._session.received(records)
        except OSError as error:
            self._fail(error)
            return
        answer = self._session.outgoing()
        if answer:
            self._below.write(answer)
        if not self._is_shaken and self._session.is_ready and not self._ready.done():
            self._is_shaken = True
            self._ready.set_result(None)
            self._protocol.connection_made(self)
        self._deliver(plain)
        if self._session.is_closed:
            self.eof_received()
            self.close()

    def eof_received(self) -> None:
        """Nothing more comes; the transport below closes then."""
        if self._is_shaken:
            cast("asyncio.Protocol", self._protocol).eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        error = self._error or exc
        if self._is_shaken:
            self._protocol.connection_lost(error)
        elif not self._ready.done():
            self._ready.set_exception(error or ConnectionResetError("closed during the handshake"))

    def pause_writing(self) -> None:
        """More is written than the system takes."""
        self._protocol.pause_writing()

    def resume_writing(self) -> None:
        """The system has taken it."""
        self._protocol.resume_writing()

    def _deliver(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            # Who takes it may hand the connection on.
            protocol = self._protocol
            if not isinstance(protocol, asyncio.BufferedProtocol):
                cast("asyncio.Protocol", protocol).data_received(bytes(rest))
                return
            room = memoryview(protocol.get_buffer(len(rest)))
            length = min(len(room), len(rest))
            room[:length] = rest[:length]
            protocol.buffer_updated(length)
            rest = rest[length:]

    def _deliver_rest(self) -> None:
        # Who paused again meanwhile finds it in the session.
        if not self._is_paused and not self.is_closing():
            self._take(b"")

    def _fail(self, error: Exception) -> None:
        self._error = error
        # What the core has to say of it, an alert, still goes out.
        self._below.write(self._session.outgoing())
        self._below.close()

    # ---- what the protocol calls -------------------------------------------------------------------

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """What the transport below knows, the session and the context."""
        return self._own[name] if name in self._own else self._below.get_extra_info(name, default)

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Who gets what is in the records."""
        return self._protocol

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """``protocol`` gets it from now on."""
        self._protocol = protocol

    def pause_reading(self) -> None:
        """Leave records with the system."""
        self._is_paused = True
        self._below.pause_reading()

    def resume_reading(self) -> None:
        """Read on; what is left in the session from a body comes first."""
        self._is_paused = False
        self._below.resume_reading()
        if self._session.is_pending:
            self._loop.call_soon(self._deliver_rest)

    def is_reading(self) -> bool:
        """Whether records are read."""
        return self._below.is_reading()

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        """Send ``data`` in records."""
        if self.is_closing() or not data:
            return
        try:
            records = self._session.encrypt(bytes(data))
        except OSError as error:
            self._fail(error)
            return
        self._wanted = READ_BYTES_LEAST
        self._below.write(records)

    def can_write_eof(self) -> bool:
        """TLS has no half-closed connections."""
        return False

    def get_write_buffer_size(self) -> int:
        """Bytes that the system has not taken yet."""
        return self._below.get_write_buffer_size()

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """See asyncio."""
        return self._below.get_write_buffer_limits()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """See asyncio."""
        self._below.set_write_buffer_limits(high, low)

    def is_closing(self) -> bool:
        """Whether it is closed, or about to be."""
        return self._below.is_closing()

    def close(self) -> None:
        """Say so, and close the connection once everything is sent."""
        if not self.is_closing():
            self._below.write(self._session.farewell())
            self._below.close()

    def abort(self) -> None:
        """Close it at once."""
        self._below.abort()
