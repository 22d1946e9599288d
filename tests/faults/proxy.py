"""A tiny proxy: takes absolute-form requests (RFC 9112, 3.2.2), and sends all of them to one origin."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from tests.faults.origin import Origin

__all__ = ["Proxy"]


class Proxy:
    """``async with Proxy(origin) as proxy:``; ``asked`` holds the targets, ``headers`` the header lines."""

    def __init__(self, origin: Origin) -> None:
        self.asked: list[str] = []
        self.headers: list[str] = []
        self._origin = origin
        self._open: dict[asyncio.StreamWriter, asyncio.Task[object] | None] = {}
        self._server: asyncio.Server
        self.url = ""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        tasks = [task for task in self._open.values() if task is not None]
        for writer in list(self._open):
            writer.transport.abort()
        if tasks:
            await asyncio.wait(tasks)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open[writer] = asyncio.current_task()
        try:
            await self._forward(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass  # either side left
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
            del self._open[writer]

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request and its answer; the origin is told to close behind it, so that the end is seen."""
        line, *headers = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, target, _ = line.split(" ")
        self.asked.append(target)
        self.headers += headers
        path = urlsplit(target).path
        kept = [
            header for header in headers if header and not header.lower().startswith(("connection", "proxy"))
        ]
        head = "\r\n".join([f"{method} {path} HTTP/1.1", *kept, "Connection: close", "", ""])
        back, forth = await asyncio.open_connection("127.0.0.1", self._origin.port)
        try:
            forth.write(head.encode("latin-1"))
            while data := await back.read(65_536):
                writer.write(data)
                await writer.drain()
        finally:
            forth.close()
