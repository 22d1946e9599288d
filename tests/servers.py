"""Servers that nobody here wrote, and our own, each over a folder of files on 127.0.0.1."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest
from aiohttp import web

from fdf256_fast.origin import Origin

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Callable, Iterator

PATIENCE_SECONDS = 20.0
"""For a server to start or to end: never reached, unless something is broken."""


class Server(Protocol):
    """What all of them have."""

    @property
    def url(self) -> str:
        """Base address, without a slash at the end."""


class Serve(Protocol):
    """``async with serve(folder) as server``."""

    def __call__(self, folder: Path, /) -> contextlib.AbstractAsyncContextManager[Server]:
        """Serve the files of ``folder`` until the block ends."""


# ---- nginx -----------------------------------------------------------------------------------------

NGINX_PROGRAM = shutil.which("nginx", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")

# One process and the rights of whoever runs the tests: a worker of its own would be the user nobody,
# who cannot look into pytest's folders.
_NGINX_CONFIGURATION = """
daemon off;
master_process off;
pid "{home}/pid";
error_log "{home}/error.log";
events {{ worker_connections 256; }}
http {{
    log_format counted '$status $body_bytes_sent $request_method $uri $http_range';
    access_log "{home}/access.log" counted;
    client_body_temp_path "{home}/body";
    proxy_temp_path "{home}/proxy";
    fastcgi_temp_path "{home}/fastcgi";
    uwsgi_temp_path "{home}/uwsgi";
    scgi_temp_path "{home}/scgi";
    sendfile on;
    server {{
        listen 127.0.0.1:{port}{listen};
        {tls}
        root "{folder}";
    }}
}}
"""


_NGINX_TLS = """
        ssl_certificate "{tls.certificate}";
        ssl_certificate_key "{tls.certificate}";
        ssl_protocols {tls.protocol};
"""


@dataclass(frozen=True, slots=True)
class NginxTls:
    """``certificate`` is a file with its key and its chain; ``protocol`` is ``TLSv1.2`` or ``TLSv1.3``."""

    certificate: Path
    protocol: str


@dataclass(slots=True)
class Nginx:
    """``log`` is there once the server has ended: only then nginx has told of every request."""

    url: str
    log: list[str] = field(default_factory=list)

    @property
    def body_bytes(self) -> int:
        """Bytes of all answers without their headers, as nginx counted them."""
        return sum(int(line.split()[1]) for line in self.log)


@contextlib.asynccontextmanager
async def nginx(folder: Path, tls: NginxTls | None = None) -> AsyncIterator[Nginx]:
    """The real thing; the test is skipped where there is none."""
    if NGINX_PROGRAM is None:
        pytest.skip("nginx is not installed")
    with tempfile.TemporaryDirectory(prefix="nginx-") as home:
        process, port = await _start_nginx(NGINX_PROGRAM, folder, Path(home), tls)
        server = Nginx(f"{'https' if tls else 'http'}://127.0.0.1:{port}")
        try:
            yield server
        finally:
            await _end(process, signal.SIGQUIT)
            server.log = (Path(home) / "access.log").read_text("utf-8").splitlines()


async def _start_nginx(
    program: str, folder: Path, home: Path, tls: NginxTls | None
) -> tuple[asyncio.subprocess.Process, int]:
    """nginx cannot choose a port by itself: somebody may take the one found here, then it is another."""
    for _ in range(5):
        port = _free_port()
        configuration = home / "nginx.conf"
        configuration.write_text(
            _NGINX_CONFIGURATION.format(
                home=home,
                port=port,
                folder=folder,
                listen=" ssl" if tls else "",
                tls=_NGINX_TLS.format(tls=tls) if tls else "",
            ),
            "utf-8",
        )
        process = await asyncio.create_subprocess_exec(
            *(program, "-p", home, "-e", home / "error.log", "-c", configuration),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        if await _listens(process, port):
            return process, port
    raise RuntimeError(f"nginx does not start: {(home / 'error.log').read_text('utf-8')}")


async def _listens(process: asyncio.subprocess.Process, port: int) -> bool:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while process.returncode is None:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except ConnectionError:
                await asyncio.sleep(0.01)
            else:
                writer.close()
                await writer.wait_closed()
                return True
    return False


async def _end(process: asyncio.subprocess.Process, how: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(how)
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


# ---- Python's own: no ranges -----------------------------------------------------------------------


class _SilentHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Nobody reads it."""


class _PythonServer(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that leaves is no error; anything else is one of these tests."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


@dataclass(frozen=True, slots=True)
class Address:
    """A server of which nothing but its address matters."""

    url: str


@contextlib.asynccontextmanager
async def python_server(folder: Path) -> AsyncIterator[Address]:
    """``python -m http.server``: answers every range with the whole file."""
    with _PythonServer(("127.0.0.1", 0), partial(_SilentHandler, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), name="http.server", daemon=True)
        thread.start()
        try:
            yield Address(f"http://127.0.0.1:{server.server_port}")
        finally:
            await asyncio.to_thread(server.shutdown)
            await asyncio.to_thread(thread.join)


# ---- aiohttp's files, and ours ---------------------------------------------------------------------


@contextlib.asynccontextmanager
async def aiohttp_server(folder: Path) -> AsyncIterator[Address]:
    """``aiohttp.web.FileResponse``: ranges by somebody else's reading of the RFC."""

    async def answer(request: web.Request) -> web.StreamResponse:
        path = folder / request.match_info["name"]
        return web.FileResponse(path) if path.is_file() else web.Response(status=404)

    async with application_server(answer) as url:
        yield Address(url)


@contextlib.asynccontextmanager
async def application_server(
    answer: Callable[[web.Request], Any], tls: ssl.SSLContext | None = None
) -> AsyncIterator[str]:
    """``answer`` at every ``/{name}``; yields the base address."""
    application = web.Application()
    application.router.add_get("/{name}", answer)
    runner = web.AppRunner(application, access_log=None, handler_cancellation=True, shutdown_timeout=1.0)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
        await site.start()
        yield f"{'https' if tls else 'http'}://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def origin(folder: Path) -> Origin:
    """Our own, at full speed."""
    return Origin(folder)


SERVERS: dict[str, Serve] = {
    "nginx": nginx,
    "http.server": python_server,
    "aiohttp": aiohttp_server,
    "origin": origin,
}


@contextlib.contextmanager
def dead_port() -> Iterator[int]:
    """A port that refuses every connection, and that nobody else can get meanwhile."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]
