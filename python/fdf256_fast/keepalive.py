"""Connections that have answered, and are asked again without the HTTP library.

aiohttp needs a third of a millisecond of the event loop for a request on a connection that is there
already: a session's defaults, cookies, traces, timers, a response object, a parser, a stream.  The next range
of a file needs a request line and the same header fields; the answer's head goes through hyper's parser, and
its body to the core's workers (:mod:`.pour`).

aiohttp makes each connection (names, TLS, timeouts) and has the first answer on it.  Whatever goes wrong
here before the head of an answer is there costs the connection and nothing else: aiohttp asks anew, and says
what is the matter.  Only public parts of asyncio and aiohttp are used.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from aiohttp import HttpVersion11, hdrs
from multidict import CIMultiDict
from yarl import URL

from fdf256_fast._core import parse_head
from fdf256_fast.tls import SESSION

if TYPE_CHECKING:
    from collections.abc import Mapping

    import aiohttp
    from multidict import CIMultiDictProxy

__all__ = ["READ_BUFFER_BYTES", "FirstReply", "Gone", "KeptConnections", "KeptReply", "address_of"]

logger = logging.getLogger(__name__)

IDLE_SECONDS = 15.0
"""A connection that nobody has used for so long is closed, as aiohttp does: what is between may have
forgotten it."""

READ_BUFFER_BYTES = 1 << 20
"""What aiohttp holds before it stops reading: a quarter of a span, so that reads stay large."""

READ_BYTES = 4096
"""At most so much of a body comes with the head, through Python; the rest stays for the workers."""

HEAD_BYTES_MAX = 64 * 1024

_HEAD_END = re.compile(rb"\n\r?\n")
"""A server that ends its lines without CR is for aiohttp to understand."""

SILENT_MAX = 3
"""So many requests in a row on kept connections that got no answer in time, to one server: what is between
drops connections that rest, and each would cost that time again."""

SILENT_APART_SECONDS = 5.0
"""Those that come closer together are one silence of the line, and not of one connection each."""

_COMMON = frozenset({"host", "accept", "user-agent"})
"""Fields that are the same in each request to a server; all others are in the caller's hands."""

Origin = tuple[str, str]
"""Scheme and authority."""


class Gone(Exception):
    """No answer on this connection; it is closed, and the request can be made on another one."""


class Address(NamedTuple):
    """A URL as a request needs it."""

    origin: Origin
    target: str


_WRITTEN = re.compile(
    r"https?://[a-z0-9.:\[\]-]+/(?:[A-Za-z0-9._~:/?\[\]@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*", re.ASCII
)


def as_written(url: str) -> URL:
    """``url``, to be sent letter for letter where it is a URL already.

    The library would write it in its own way, and a signature may be over what it was.  Raises ValueError.
    """
    return URL(url, encoded=_WRITTEN.fullmatch(url) is not None)


@lru_cache(64)
def address_of(url: str) -> Address:
    """Where to ask for ``url``, and with what.  Raises ValueError."""
    parsed = as_written(url)
    return Address((parsed.scheme, parsed.raw_authority), parsed.raw_path_qs)


class Head(NamedTuple):
    """What an answer begins with."""

    status: int
    reason: str
    headers: CIMultiDict[str]
    content_length: int
    is_last: bool
    """Whether the server closes the connection afterwards."""


class FirstReply:
    """An answer that aiohttp has read the head of; ``kept`` may take its connection once it is over."""

    def __init__(self, response: aiohttp.ClientResponse, kept: KeptConnections | None) -> None:
        self._response = response
        self._kept = kept
        self._is_adopted = False
        self._is_read = False
        # Beyond this the library may have stopped in the middle of what it had read.
        self.is_at_body = False
        self.status = response.status
        self.reason = response.reason or ""
        self.headers = response.headers
        self.content_length = response.content_length

    @property
    def url(self) -> URL:
        """What was asked for."""
        return self._response.url

    @property
    def content_type(self) -> str:
        """Without its parameters."""
        return self._response.content_type

    @property
    def transport(self) -> asyncio.Transport | None:
        """Where the rest of the body can be read; None where nothing is left or the connection is gone."""
        connection = self._response.connection
        if connection is None or self._response.content.is_eof():
            return None
        transport = connection.transport
        return transport if isinstance(transport, asyncio.Transport) and not transport.is_closing() else None

    def begun(self) -> bytes:
        """What of the body has been read with the head."""
        first = self._response.content.read_nowait()
        self.is_at_body = len(first) < READ_BUFFER_BYTES
        return first

    def poured(self) -> None:
        """All of the body has been read from the transport."""
        self._is_adopted = self._kept is not None and self._kept.adopt(self._response)
        if not self._is_adopted:
            # The library's own parser has not seen the rest; it gets a new one with the next request.
            self._response.content.feed_eof()

    async def read(self, _seconds: float) -> bytes:
        """Some more of the body; nothing at its end.  Raises ClientError, OSError, TimeoutError."""
        transport = self.transport
        if transport is not None and not self._is_read:
            # It may have been held; from here on aiohttp stops and goes on as it needs to.
            transport.resume_reading()
        self._is_read = True
        return await self._response.content.readany()

    def close(self) -> None:
        """Read no more of it.  An answer that was read to its end has given its connection back."""
        if not self._is_adopted:
            self._response.close()


class KeptReply:
    """An answer on a kept connection, with the parts of aiohttp's response that are of use."""

    is_at_body = True

    def __init__(self, connection: KeptConnection, url: str, head: Head) -> None:
        self._connection = connection
        self._url = url
        self.status = head.status
        self.reason = head.reason
        self.headers = head.headers
        self.content_length = head.content_length
        self.is_dropped = False

    @property
    def url(self) -> URL:
        """What was asked for."""
        return as_written(self._url)

    @property
    def content_type(self) -> str:
        """Without its parameters; what RFC 9110 has for none."""
        kind = self.headers.get(hdrs.CONTENT_TYPE, "").partition(";")[0].strip().lower()
        return kind or "application/octet-stream"

    @property
    def transport(self) -> asyncio.Transport | None:
        """Where the rest of the body can be read; None where nothing is left or the connection is gone."""
        return self._connection.body_transport(self)

    def begun(self) -> bytes:
        """What of the body came with the head."""
        return self._connection.take(self)

    def poured(self) -> None:
        """All of the body has been read from the transport."""
        self._connection.end(self)

    async def read(self, seconds: float) -> bytes:
        """Some more of the body; nothing at its end.

        Raises OSError when the connection ends before, TimeoutError when nothing comes for ``seconds``.
        """
        return await self._connection.read(self, seconds)

    def close(self) -> None:
        """Read no more of it.  An answer that was read to its end has given its connection back."""
        self._connection.drop(self)


class KeptConnection(asyncio.BufferedProtocol):
    """One connection, which has one answer under way at most.

    It remains the connection of ``response``, aiohttp's first answer on it, and is closed through that.
    """

    def __init__(
        self,
        kept: KeptConnections,
        origin: Origin,
        response: aiohttp.ClientResponse,
        transport: asyncio.Transport,
    ) -> None:
        self.origin = origin
        self.used = time.monotonic()
        self._kept = kept
        self._response = response
        self._transport = transport
        self._owner = transport.get_protocol()
        self._common = {
            name: value for name, value in response.request_info.headers.items() if name.lower() in _COMMON
        }
        self._buffer = memoryview(bytearray(READ_BYTES))
        self._came = bytearray()
        self._waiter: asyncio.Future[None] | None = None
        self._reply: KeptReply | None = None
        self._left = 0
        self._is_last = False
        transport.set_protocol(self)

    # ---- what the transport calls ------------------------------------------------------------------

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - the head is to come, and little else
        """Room for the next read."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """``nbytes`` were read."""
        self._came += self._buffer[:nbytes]
        if self._waiter is None:
            # Between two answers nobody has anything to say.
            if self._reply is None:
                self.close()
        elif self._waiter.done():
            # TLS had it already when reading stopped.
            pass
        elif self._reply is not None or _HEAD_END.search(self._came):
            self._transport.pause_reading()
            self._waiter.set_result(None)
        elif len(self._came) > HEAD_BYTES_MAX:
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone; aiohttp, which waits for that, hears of it too."""
        self._owner.connection_lost(exc)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(exc or ConnectionResetError("closed before its end"))

    # ---- asking ------------------------------------------------------------------------------------

    @property
    def is_usable(self) -> bool:
        """Whether another request can be sent."""
        return not self._transport.is_closing() and time.monotonic() - self.used < IDLE_SECONDS

    async def ask(self, target: str, headers: Mapping[str, str], url: str) -> KeptReply:
        """Send a GET request.  Raises Gone."""
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            self._transport.write(_request(target, self._common, headers))
            await self._waiter
            head, length = _head(bytes(self._came))
        except (OSError, ValueError) as error:
            self.close()
            if isinstance(error, ValueError):
                # A server of another kind than this is made for.
                self._kept.give_up(self.origin)
            raise Gone(str(error)) from error
        except asyncio.CancelledError:
            # Whoever asked has waited long enough.
            self.close()
            self._kept.was_silent(self.origin)
            raise
        finally:
            self._waiter = None
        self._kept.answered(self.origin)
        del self._came[:length]
        self._left, self._is_last = head.content_length, head.is_last
        reply = self._reply = KeptReply(self, url, head)
        if self._left == 0:
            self.end(reply)
        return reply

    # ---- the body ----------------------------------------------------------------------------------

    def body_transport(self, reply: KeptReply) -> asyncio.Transport | None:
        """See :class:`KeptReply`."""
        if reply is not self._reply or len(self._came) >= self._left or self._transport.is_closing():
            return None
        return self._transport

    def take(self, reply: KeptReply) -> bytes:
        """See :meth:`KeptReply.begun`."""
        if reply is not self._reply:
            return b""
        taken = bytes(self._came[: self._left])
        del self._came[: len(taken)]
        self._left -= len(taken)
        if self._left == 0:
            self.end(reply)
        return taken

    async def read(self, reply: KeptReply, seconds: float) -> bytes:
        """See :class:`KeptReply`."""
        if reply.is_dropped:
            raise ConnectionResetError("dropped before its end")
        if reply is self._reply and not self._came:
            if self._transport.is_closing():
                raise ConnectionResetError("closed before its end")
            self._waiter = asyncio.get_running_loop().create_future()
            self._transport.resume_reading()
            try:
                async with asyncio.timeout(seconds):
                    await self._waiter
            finally:
                self._waiter = None
            if reply.is_dropped:
                raise ConnectionResetError("dropped before its end")
        return self.take(reply)

    def end(self, reply: KeptReply) -> None:
        """All of the body is here."""
        if reply is not self._reply:
            return
        self._reply = None
        if self._is_last or self._came or self._transport.is_closing():
            self.close()
            return
        # That the other end closes it shall be heard of.
        self._transport.resume_reading()
        self.used = time.monotonic()
        self._kept.give_back(self)

    def drop(self, reply: KeptReply) -> None:
        """See :meth:`KeptReply.close`."""
        if reply is self._reply:
            reply.is_dropped = True
            self._reply = None
            self.close()

    def close(self) -> None:
        """Close the connection."""
        self._response.close()


class _Silence(NamedTuple):
    """How many requests in a row had no answer, and when the last one of them was given up."""

    times: int
    at: float


class KeptConnections:
    """Those of one session that wait for a request."""

    def __init__(self) -> None:
        self._waiting: dict[Origin, list[KeptConnection]] = {}
        self._given_up: set[Origin] = set()
        self._silent: dict[Origin, _Silence] = {}

    def adopt(self, response: aiohttp.ClientResponse) -> bool:
        """Keep the connection of ``response``, whose body has been read past aiohttp.

        False where it cannot be kept; then it is still aiohttp's.
        """
        url, connection = response.url, response.connection
        origin = url.scheme, url.raw_authority
        transport = connection.transport if connection is not None else None
        if (
            not isinstance(transport, asyncio.Transport)
            or transport.is_closing()
            or origin in self._given_up
            or self.is_silent(origin)
            or response.version != HttpVersion11
            or _says_close(response.headers)
            # Where OpenSSL does TLS, the connector wants it to end after one answer.
            or (transport.get_extra_info("sslcontext") is not None and not transport.get_extra_info(SESSION))
        ):
            return False
        self.give_back(KeptConnection(self, origin, response, transport))
        return True

    def find(self, origin: Origin) -> KeptConnection | None:
        """One that can be asked now, which is then the caller's."""
        waiting = self._waiting.get(origin)
        while waiting:
            connection = waiting.pop()
            if connection.is_usable:
                return connection
            connection.close()
        return None

    def give_back(self, connection: KeptConnection) -> None:
        """It has nothing to do."""
        if connection.origin in self._given_up:
            connection.close()
        else:
            self._waiting.setdefault(connection.origin, []).append(connection)

    def answered(self, origin: Origin) -> None:
        """A request got its answer."""
        self._silent.pop(origin, None)

    def was_silent(self, origin: Origin) -> None:
        """A request got no answer in time."""
        now = time.monotonic()
        before = self._silent.get(origin)
        if before is not None and now - before.at < SILENT_APART_SECONDS:
            return
        self._silent[origin] = _Silence(1 if before is None else before.times + 1, now)
        if self.is_silent(origin):
            logger.info("%s://%s does not answer on connections that were kept", *origin)
            self._close(origin)

    def is_silent(self, origin: Origin) -> bool:
        """Whether its connections are to be used once only, by aiohttp too."""
        silence = self._silent.get(origin)
        return silence is not None and silence.times >= SILENT_MAX

    def give_up(self, origin: Origin) -> None:
        """Leave this server to aiohttp."""
        logger.info("%s://%s answers in a way that only aiohttp may understand", *origin)
        self._given_up.add(origin)
        self._close(origin)

    def close(self) -> None:
        """Close those that wait."""
        for origin in tuple(self._waiting):
            self._close(origin)

    def _close(self, origin: Origin) -> None:
        for connection in self._waiting.pop(origin, ()):
            connection.close()


def _request(target: str, common: Mapping[str, str], headers: Mapping[str, str]) -> bytes:
    """A GET request.  Raises Gone for what cannot be sent as it is."""
    own = {name.lower() for name in headers}
    fields = [f"{name}: {value}" for name, value in common.items() if name.lower() not in own]
    fields += [f"{name}: {value}" for name, value in headers.items()]
    lines = [f"GET {target} HTTP/1.1", *fields, "", ""]
    text = "\r\n".join(lines)
    if text.count("\n") != len(lines) - 1 or text.count("\r") != len(lines) - 1:
        raise Gone("a line end in a header")
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise Gone(str(error)) from error


def _head(data: bytes) -> tuple[Head, int]:
    """The head that ``data`` begins with, and its length.  Raises ValueError where aiohttp must read it."""
    parsed = parse_head(data)
    if parsed is None:
        raise ValueError("no end of the header")
    length, minor_version, status, reason, fields = parsed
    if not data.endswith(b"\r\n\r\n", 0, length):
        raise ValueError("lines that end without CR")
    headers = CIMultiDict((name, value.decode("utf-8", "surrogateescape")) for name, value in fields)
    lengths = headers.getall(hdrs.CONTENT_LENGTH, [])
    if minor_version != 1 or hdrs.TRANSFER_ENCODING in headers or len(lengths) != 1:
        raise ValueError("the body ends in another way than with its length")
    (text,) = lengths
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise ValueError("the length of the body is no number")
    return Head(status, reason, headers, int(text), _says_close(headers)), length


def _says_close(headers: CIMultiDict[str] | CIMultiDictProxy[str]) -> bool:
    return "close" in headers.get(hdrs.CONNECTION, "").lower()
