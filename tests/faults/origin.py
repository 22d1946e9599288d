"""The fault origin: a small HTTP/1.1 server that does wrong what it is told to.

Written from RFC 9110 and 9112 on bare asyncio streams, so that nothing stands between a fault and the wire,
and that no mistake of the client's library can be repeated here.  Files are bytes in memory, each in one
version or several; the :class:`~.kinds.Plan` says which answers are wrong, and :attr:`Origin.log` what was
asked and how many bytes went out.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import socket
import struct
import termios
from dataclasses import dataclass
from email.utils import formatdate
from typing import TYPE_CHECKING, Self

from tests.faults.answers import Answer, End, Request, Served, Version, answer_to, span_of
from tests.faults.kinds import Asked, Fault, Plan

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping, Sequence

__all__ = ["Logged", "Origin", "noise"]

PIECE_BYTES = 64 * 1024
EPOCH_SECONDS = 1_700_000_000


def noise(size: int, seed: str = "") -> bytes:
    """Bytes that depend on their position, with a prime period, and that deflate cannot shorten."""
    period = bytes(i % 251 for i in range(251))
    shift = (period * (size // 251 + 1))[:size]
    random = hashlib.shake_128(seed.encode()).digest(size)
    return (int.from_bytes(shift) ^ int.from_bytes(random)).to_bytes(size) if size else b""


@dataclass(slots=True)
class Logged:
    """A request, and what became of it; ``body_bytes`` are those of the body that were sent."""

    asked: Asked
    target: str
    headers: Mapping[str, str]
    status: int = 0
    body_bytes: int = 0

    @property
    def is_content(self) -> bool:
        """Whether the answer was, or claimed to be, the file."""
        return self.status in {200, 206}


class Origin:
    """``async with Origin({"a.bin": content}, plan) as origin:`` serves until the block ends.

    A file may be a list of versions; which one is sent is a fault, :attr:`Fault.CHANGED`.
    """

    def __init__(
        self,
        files: Mapping[str, bytes | Sequence[bytes]],
        plan: Plan | None = None,
        *,
        tls: ssl.SSLContext | None = None,
        host: str = "127.0.0.1",
    ) -> None:
        self.plan = plan or Plan()
        self.log: list[Logged] = []
        self.connections = 0
        self.connections_most = 0
        """At the same time."""
        self._files = {
            name: _versions(name, [one] if isinstance(one, bytes) else one) for name, one in files.items()
        }
        self._tls = tls
        self._host = host
        self._uses: dict[str, int] = {}
        self._expired: set[str] = set()
        self._open: dict[asyncio.StreamWriter, asyncio.Task[object] | None] = {}
        self._under_way = 0
        self._server: asyncio.Server
        self.port = 0
        """Where it listens, or did."""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, self._host, 0, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        tasks = [task for task in self._open.values() if task is not None]
        for writer in list(self._open):
            writer.transport.abort()
        if tasks:
            await asyncio.wait(tasks)
        await self._server.wait_closed()

    # ---- what tests ask ----------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """Base address, without a slash at the end."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{'https' if self._tls else 'http'}://{host}:{self.port}"

    @property
    def body_bytes(self) -> int:
        """Bytes of all bodies that were sent."""
        return sum(one.body_bytes for one in self.log)

    @property
    def content_bytes(self) -> int:
        """Those of them that were a file's, or claimed to be."""
        return sum(one.body_bytes for one in self.log if one.is_content)

    def expire(self) -> None:
        """Signed addresses given so far are good no more."""
        self._expired.update(self._uses)

    def cut(self) -> None:
        """Reset every connection that is open."""
        for writer in list(self._open):
            _reset(writer)

    # ---- one connection ----------------------------------------------------------------------------

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        number = self.connections
        self._open[writer] = asyncio.current_task()
        self.connections_most = max(self.connections_most, len(self._open))
        try:
            if self._tls is None:
                # drain() then waits until the system has every byte; asyncio's TLS would wait for ever.
                writer.transport.set_write_buffer_limits(0)
            if self._is_refused(number):
                _reset(writer)
                return
            while await self._answer_one(number, reader, writer):
                pass
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # the client left, which is its right
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
            del self._open[writer]

    def _is_refused(self, connection: int) -> bool:
        asked = Asked(len(self.log) + 1, "", "", connection)
        return any(
            act.fault is Fault.REFUSE or len(self._open) > act.count
            for act in self.plan.acts(asked, at_accept=True)
        )

    async def _answer_one(
        self, connection: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """Read a request and answer it; whether there may be another one on this connection."""
        request = _parse(await reader.readuntil(b"\r\n\r\n"))
        served = self._served(request, connection)
        logged = Logged(served.asked, request.target, request.headers)
        self.log.append(logged)
        self._under_way += 1
        try:
            served.under_way = self._under_way
            answer = self._answer(served)
            logged.status = answer.status
            await _send(answer, request, logged, reader, writer)
        finally:
            self._under_way -= 1
        return (
            not answer.closes
            and not answer.hangs_up
            and request.headers.get("connection", "").lower() != "close"
        )

    def _served(self, request: Request, connection: int) -> Served:
        versions = self._files.get(request.name, [])
        size = len(versions[0].content) if versions else 0
        span = span_of(request.headers.get("range"), size)
        start, end = span or (0, size)
        asked = Asked(
            number=len(self.log) + 1,
            method=request.method,
            path=request.path,
            connection=connection,
            start=start,
            end=end,
            size=size,
            is_ranged=span is not None,
        )
        return Served(request, asked, versions, uses=self._uses, expired=self._expired)

    def _answer(self, served: Served) -> Answer:
        if not served.versions:
            return Answer(404, [], b"there is no such file\n")
        return answer_to(served, self.plan.acts(served.asked))


# ---- the wire ----------------------------------------------------------------------------------------


def _parse(head: bytes) -> Request:
    """Request line and headers (RFC 9112, 3 and 5)."""
    line, *fields = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    method, target, _ = line.split(" ")
    headers: dict[str, str] = {}
    for field in fields:
        name, _, value = field.partition(":")
        headers[name.lower()] = value.strip()
    return Request(method, target, headers)


async def _send(
    answer: Answer,
    request: Request,
    logged: Logged,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
) -> None:
    """The answer, to its end or to where the fault ends it."""
    body = b"" if request.method == "HEAD" or answer.status in {204, 304} else answer.body
    ends = answer.end is not None and answer.end_offset <= len(body)
    if ends and answer.end_offset < 0:
        await _end(answer, reader, writer)
        return
    if answer.instead is not None:
        await _send_instead(answer, writer)
        return
    writer.write(answer.before + answer.head())
    await writer.drain()
    last = answer.end_offset if ends else len(body)
    piece = PIECE_BYTES if answer.rate is None else max(1, min(PIECE_BYTES, int(answer.rate / 50)))
    for start in range(0, last, piece):
        data = body[start : min(last, start + piece)]
        writer.write(b"%x\r\n%b\r\n" % (len(data), data) if answer.is_chunked else data)
        await writer.drain()
        logged.body_bytes += len(data)
        if answer.rate is not None:
            await asyncio.sleep(len(data) / answer.rate)
    if ends:
        await _end(answer, reader, writer)
    elif answer.is_chunked:
        writer.write(b"0\r\n\r\n")
        await writer.drain()


async def _send_instead(answer: Answer, writer: asyncio.StreamWriter) -> None:
    writer.write(answer.instead or b"")
    await writer.drain()
    while answer.endless:
        writer.write(answer.endless)
        await writer.drain()
        # A client that reads for ever shall not keep the test's own loop from running.
        await asyncio.sleep(0.001)


async def _end(answer: Answer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    answer.closes = True
    if answer.end is End.SILENCE:
        while await reader.read(PIECE_BYTES):
            pass
    elif answer.end is End.RESET:
        await _delivered(writer)
        _reset(writer)


async def _delivered(writer: asyncio.StreamWriter) -> None:
    """Wait until the other side's system has all bytes, since a reset throws away what is on its way."""
    for _ in range(1000):
        connection = writer.get_extra_info("socket")
        left = bytearray(4)
        fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, left)
        if not any(left):
            return
        await asyncio.sleep(0.001)


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close with a reset instead of a goodbye."""
    connection: socket.socket = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def _versions(name: str, contents: Sequence[bytes]) -> list[Version]:
    return [
        Version(content, f'"{name}-{number}"', formatdate(EPOCH_SECONDS + 1000 * number, usegmt=True))
        for number, content in enumerate(contents)
    ]
