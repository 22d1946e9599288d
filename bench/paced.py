"""An origin that holds its connections back, each to a rate of its own.

nginx's ``limit_rate`` counts each request anew, in whole seconds, and lets a second's worth through at once:
who asks for small ranges is not held back at all.  Here the kernel paces the connection itself, whatever is
asked on it.  HTTP/1.1 with single ranges, and nothing else.

``python -m bench.paced FILES LOG RATE SLOW_RATE EVERY`` (bytes per second) prints its port, and gives
one connection of each ``EVERY`` the slow rate: the one in their middle, counted anew when nobody was
connected.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bench.nginx import Nginx

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Rates", "paced_origin"]

_ROOT: Final = Path(__file__).parents[1]
#: Not in Python's `socket`; from Linux's asm-generic/socket.h.
_SO_MAX_PACING_RATE: Final = 47
_RANGE: Final = re.compile(r"bytes=(\d*)-(\d*)")
#: So that the connections of a program that opens them all at once do not wait for each other.
_BACKLOG: Final = 512


@dataclass(frozen=True, slots=True)
class Rates:
    """Bytes per second; one connection of each ``every`` gets ``slow``."""

    usual: int
    slow: int
    every: int


@contextlib.contextmanager
def paced_origin(files: Path, rates: Rates) -> Iterator[Nginx]:
    """Serve the folder until the block ends; its log is read as nginx's."""
    with tempfile.TemporaryDirectory(prefix="fdf256-paced-") as folder:
        log = Path(folder) / "access.log"
        log.touch()
        numbers = (str(number) for number in (rates.usual, rates.slow, rates.every))
        command = [sys.executable, "-m", "bench.paced", str(files), str(log), *numbers]
        with subprocess.Popen(command, cwd=_ROOT, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            try:
                port = process.stdout.readline().strip()
                if not port:
                    raise RuntimeError("the paced origin does not start")
                yield Nginx(f"http://127.0.0.1:{port}", log)
            finally:
                process.terminate()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = _BACKLOG

    def __init__(self, files: Path, log: Path, rates: Rates) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files = files
        self.rates = rates
        self.serials = itertools.count()
        self._log = log.open("a", buffering=1)
        self._lock = threading.Lock()
        self._connected = 0
        self._since_nobody_was = 0

    def connected(self) -> int:
        """The rate of one connection more."""
        with self._lock:
            number = self._since_nobody_was if self._connected else 0
            self._since_nobody_was = number + 1
            self._connected += 1
        is_slow = number % self.rates.every == self.rates.every // 2
        return self.rates.slow if is_slow else self.rates.usual

    def disconnected(self) -> None:
        """One less."""
        with self._lock:
            self._connected -= 1

    def write(self, line: str) -> None:
        """One line of the log."""
        with self._lock:
            self._log.write(f"{line}\n")

    def handle_error(self, *_: object) -> None:
        """A client that closes in the middle of an answer is no error here."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def setup(self) -> None:
        super().setup()
        self.serial = next(self.server.serials)
        self.connection.setsockopt(socket.SOL_SOCKET, _SO_MAX_PACING_RATE, self.server.connected())

    def finish(self) -> None:
        self.server.disconnected()
        with contextlib.suppress(OSError):
            super().finish()

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, *, with_body: bool) -> None:
        asked = self.headers.get("Range", "-")
        sent = 0
        try:
            file = (self.server.files / Path(self.path).name).open("rb")
        except OSError:
            self.send_error(404)
            return
        with file:
            size = os.fstat(file.fileno()).st_size
            span = _span(asked, size)
            status, (start, end) = (206, span) if span else (200, (0, size))
            self.send_response(status)
            if span:
                self.send_header("Content-Range", f"bytes {start}-{end - 1}/{size}")
            self.send_header("Content-Length", str(end - start))
            self.send_header("Content-Type", "application/octet-stream")
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("ETag", f'"{size:x}"')
            self.end_headers()
            try:
                while with_body and start + sent < end:
                    sent += os.sendfile(
                        self.connection.fileno(), file.fileno(), start + sent, end - start - sent
                    )
            except OSError:
                self.close_connection = True
            finally:
                self.server.write(f'{status} {sent} {self.serial} {self.command} "{asked}" {self.path}')

    def log_message(self, *_: object) -> None:
        """The log has its own form."""


def _span(asked: str, size: int) -> tuple[int, int] | None:
    """Half-open; None where the whole is to be sent."""
    found = _RANGE.fullmatch(asked)
    if found is None or not any(found.groups()):
        return None
    first, last = found.groups()
    if not first:
        return max(0, size - int(last)), size
    return int(first), min(size, int(last) + 1 if last else size)


if __name__ == "__main__":
    folder, log, *numbers = sys.argv[1:]
    server = _Server(Path(folder), Path(log), Rates(*map(int, numbers)))
    print(server.server_address[1], flush=True)
    server.serve_forever()
