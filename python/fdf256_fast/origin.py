"""An embedded origin: serves a directory of archives on 127.0.0.1 for demo, tests and benchmarks.

It behaves as FDF256's real one may: ranges and validators by RFC 9110, HEAD refused, and where
wanted a redirect to addresses that are signed and expire.  It can be slow (``rate``), and it can go
away in the middle of everything (:meth:`Origin.cut`), which is how the demo shows a resume.

Not a web server: it knows one directory, no subdirectories, and only clients on this machine.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, Self, TypeVar
from urllib.parse import quote, urlencode

from aiohttp import web

from .errors import UsageError
from .served_file import ServedFile, asked_span, precondition_status

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["Origin"]

#: Large enough that a hop to a thread (about 50 us) does not show, small enough to stop promptly.
_BLOCK_BYTES: Final = 256 * 1024
#: With a rate limit a block takes about this long: the flow looks even at 10 snapshots a second.
_PACED_BLOCK_SECONDS: Final = 0.02
#: Threads of its own: a client in the same process may hold all of the event loop's default ones.
_READERS: Final = 4
#: Connections are reset before, so that nothing is left to wait for; this only bounds a mistake.
_SHUTDOWN_SECONDS: Final = 1.0

_Result = TypeVar("_Result")


class _Pacer:
    """Spreads the bytes of all connections over time, at ``rate`` bytes a second."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._free_at = 0.0

    async def take(self, count: int) -> None:
        """Return when ``count`` bytes have had their time on the line; first come, first served."""
        now = asyncio.get_running_loop().time()
        self._free_at = max(self._free_at, now) + count / self._rate
        await asyncio.sleep(self._free_at - now)


class Origin:
    """Serves the files of ``directory`` at ``<url>/<name>`` while its ``async with`` block runs.

    ``rate`` limits all connections together, in bytes per second.  With ``redirect`` a file's
    address answers 302 to ``/signed/<name>?expires=<unix seconds>&signature=<hex>``, which is good
    for ``expires_seconds`` and then answers 403.  Raises :class:`UsageError` for a rate that is not
    positive or a directory that is none.
    """

    def __init__(
        self,
        directory: Path,
        *,
        rate: float | None = None,
        redirect: bool = False,
        expires_seconds: int = 300,
    ) -> None:
        if rate is not None and rate <= 0:
            raise UsageError(f"an origin cannot send {rate} bytes per second")
        self._directory = directory
        self._pacer = None if rate is None else _Pacer(rate)
        paced_bytes = _BLOCK_BYTES if rate is None else int(rate * _PACED_BLOCK_SECONDS)
        self._block_bytes = max(1, min(_BLOCK_BYTES, paced_bytes))
        self._redirect = redirect
        self._expires_seconds = expires_seconds
        self._key = secrets.token_bytes(32)
        self._clock_ahead_seconds = 0.0
        self._port = 0
        self._requests = 0
        self._bytes_sent = 0
        self._active = 0
        self._most_active = 0
        self._bytes_until_cut: int | None = None
        self._cut_happened = asyncio.Event()
        self._readers: ThreadPoolExecutor | None = None
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        """Base address, without a slash at the end; valid inside the ``async with`` block."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def requests(self) -> int:
        """Requests that arrived, refused ones and redirects included."""
        return self._requests

    @property
    def bytes_sent(self) -> int:
        """Bytes of file content handed to the network."""
        return self._bytes_sent

    @property
    def connections(self) -> int:
        """The largest number of connections that were being sent file content at the same time."""
        return self._most_active

    @property
    def is_cut(self) -> bool:
        """Whether the origin is gone at present."""
        return self._cut_happened.is_set()

    def cut(self, after_bytes: int) -> None:
        """After ``after_bytes`` more bytes, reset every connection, and every later one too.

        What is then in the system's send buffers is lost as well, as when a machine dies.  Holds
        until :meth:`restore`.
        """
        self._bytes_until_cut = max(0, after_bytes)
        if self._bytes_until_cut == 0:
            self._fall_silent()

    async def wait_until_cut(self) -> None:
        """Return once a :meth:`cut` has taken effect."""
        await self._cut_happened.wait()

    def restore(self) -> None:
        """Serve again; a cut that has not taken effect yet is forgotten."""
        self._bytes_until_cut = None
        self._cut_happened.clear()

    def advance_clock(self, seconds: float) -> None:
        """Let signatures age by that much at once, so that nobody must wait for them to expire."""
        self._clock_ahead_seconds += seconds

    async def __aenter__(self) -> Self:
        if not await asyncio.to_thread(self._directory.is_dir):
            raise UsageError(f"{self._directory}: not a directory, nothing to serve")
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="origin")
        application = web.Application()
        application.router.add_route("*", "/{name}", self._answer_plain)
        application.router.add_route("*", "/signed/{name}", self._answer_signed)
        application.on_shutdown.append(self._on_shutdown)
        # handler_cancellation: nothing reads, or waits for its turn, for a client that has left.
        self._runner = web.AppRunner(
            application,
            access_log=None,
            handler_cancellation=True,
            shutdown_timeout=_SHUTDOWN_SECONDS,
        )
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self._port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *exception: object) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
        if self._readers is not None:
            # Not waited for: a thread that is still reading ends with that one block.
            self._readers.shutdown(wait=False, cancel_futures=True)

    async def _on_shutdown(self, _application: web.Application) -> None:
        # At this point no new connection is accepted any more.
        self._reset_connections()

    async def _answer_plain(self, request: web.Request) -> web.StreamResponse:
        """``/<name>``: the file itself, or the way to it."""
        refusal = self._refused(request)
        if refusal is not None:
            return refusal
        if self._redirect:
            return self._redirection(request.match_info["name"])
        return await self._file(request)

    async def _answer_signed(self, request: web.Request) -> web.StreamResponse:
        """``/signed/<name>``: the file, for those who come with a signature that holds."""
        refusal = self._refused(request)
        if refusal is None:
            refusal = self._badly_signed(request)
        return await self._file(request) if refusal is None else refusal

    def _refused(self, request: web.Request) -> web.StreamResponse | None:
        """What holds for every request: the cut, the methods, the names."""
        self._requests += 1
        if self.is_cut:
            return _reset(request, web.Response())
        if request.method == "HEAD":  # a signature for GET does not hold for HEAD in object storage
            return _refusal(403, "AccessDenied", "This address is for GET only")
        if request.method != "GET":
            return _refusal(405, "MethodNotAllowed", "This origin knows GET only", {"Allow": "GET"})
        name = request.match_info["name"]
        # A slash that the client escaped arrives here as a slash.
        if name.startswith(".") or any(character in name for character in "/\\\0"):
            return _no_such_file()
        return None

    def _redirection(self, name: str) -> web.Response:
        expires = str(int(self._now() + self._expires_seconds))
        query = urlencode({"expires": expires, "signature": self._signature(name, expires)})
        location = f"{self.url}/signed/{quote(name)}?{query}"
        return web.Response(status=302, headers={"Location": location, "Cache-Control": "no-store"})

    def _badly_signed(self, request: web.Request) -> web.Response | None:
        expires = request.query.get("expires", "")
        given = request.query.get("signature", "")
        expected = self._signature(request.match_info["name"], expires)
        if not hmac.compare_digest(given.encode(), expected.encode()):
            return _refusal(403, "SignatureDoesNotMatch", "This signature is not ours")
        if self._now() >= int(expires):
            return _refusal(403, "AccessDenied", "Request has expired")
        return None

    async def _file(self, request: web.Request) -> web.StreamResponse:
        """Decide what of the file to send, and send it."""
        name = request.match_info["name"]
        file = await self._in_reader(ServedFile.at, self._directory / name)
        if file is None:
            return _no_such_file()
        headers = {
            "Accept-Ranges": "bytes",
            "ETag": file.entity_tag,
            "Last-Modified": file.last_modified,
        }
        status = precondition_status(request.headers, file)
        if status != 200:
            return web.Response(status=status, headers=headers)
        span = asked_span(request.headers, file)
        if span is None:
            span = (0, file.size)
        elif span[0] >= span[1]:
            headers["Content-Range"] = f"bytes */{file.size}"
            return _refusal(416, "InvalidRange", "No byte of the file is in that range", headers)
        else:
            status = 206
            headers["Content-Range"] = f"bytes {span[0]}-{span[1] - 1}/{file.size}"
        response = web.StreamResponse(status=status, headers=headers)
        # Not guessed: the mimetypes module would read the system's tables on the event loop.
        response.content_type = "application/zip" if name.endswith(".zip") else "binary/octet-stream"
        response.content_length = span[1] - span[0]
        self._active += 1
        self._most_active = max(self._most_active, self._active)
        try:
            await response.prepare(request)
            return await self._send(request, response, file, span)
        except ConnectionError:
            return response  # the client has left: that is its right
        finally:
            self._active -= 1

    async def _send(
        self,
        request: web.Request,
        response: web.StreamResponse,
        file: ServedFile,
        span: tuple[int, int],
    ) -> web.StreamResponse:
        """Send the bytes ``[start, end)`` of the file, block by block."""
        start, end = span
        while start < end:
            block_end = min(start + self._block_bytes, end)
            block = await self._in_reader(file.read, start, block_end)
            if not block:  # it changed under our hands, and the ETag we sent must stay true
                return _reset(request, response)
            if self._pacer is not None:
                await self._pacer.take(len(block))
            if self._bytes_until_cut is not None:
                block = block[: self._bytes_until_cut]
                self._bytes_until_cut -= len(block)
            self._bytes_sent += len(block)
            await response.write(block)
            if self._bytes_until_cut == 0:
                self._fall_silent()
                return response
            start += len(block)
        await response.write_eof()
        return response

    def _fall_silent(self) -> None:
        self._cut_happened.set()
        self._reset_connections()

    def _reset_connections(self) -> None:
        """Reset every connection, those between two requests too."""
        server = self._runner.server if self._runner is not None else None
        for connection in server.connections if server is not None else ():
            if connection.transport is not None:
                connection.transport.abort()

    def _now(self) -> float:
        """Unix time in seconds, as the signatures see it."""
        return time.time() + self._clock_ahead_seconds

    def _signature(self, name: str, expires: str) -> str:
        return hmac.new(self._key, f"{expires}\n{name}".encode(), hashlib.sha256).hexdigest()

    async def _in_reader(self, work: Callable[..., _Result], *arguments: object) -> _Result:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._readers, work, *arguments)


def _reset(request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
    """Reset the connection.  A handler must return some response; nobody receives this one."""
    if request.transport is not None:
        request.transport.abort()
    return response


def _refusal(status: int, code: str, message: str, headers: dict[str, str] | None = None) -> web.Response:
    """An error in the form that object storage gives it."""
    body = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"
    )
    return web.Response(status=status, text=body, content_type="application/xml", headers=headers)


def _no_such_file() -> web.Response:
    return _refusal(404, "NoSuchKey", "There is no such file")
