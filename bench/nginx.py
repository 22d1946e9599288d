"""An nginx of our own: loopback only, everything it writes in a temporary folder, ended by pid."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bench.frame import WrongResult

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = ["Nginx", "Options", "Traffic", "running_nginx"]

#: Two, so that the server is not the one process that all connections wait for, and no more, so
#: that it leaves the processor to what is measured.
_WORKERS: Final = 2
_START_SECONDS: Final = 10.0
_STOP_SECONDS: Final = 5.0
#: A line is logged when its answer is out, which may be a moment after the client has ended.
_LOG_SETTLES_SECONDS: Final = 0.1

#: Relative paths mean the prefix, so that no quoting is needed whatever the temporary folder's name.
#: `reuseport` gives both workers connections; without it one may take them all.  Object storage says in an
#: answer to a range, too, that it takes ranges; nginx does not, and pypdl would use one connection then.
_CONFIGURATION: Final = """\
{user}daemon off;
worker_processes {workers};
pid nginx.pid;
error_log error.log warn;
events {{
    worker_connections 1024;
}}
http {{
    log_format counted '$status $body_bytes_sent $connection $request_method "$http_range" $uri';
    access_log access.log counted;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 1000000;
    default_type application/zip;
    map $http_range $takes {{ "" ""; default bytes; }}
    add_header Accept-Ranges $takes;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    {http}
    server {{
        listen {address}:{port}{listen} reuseport;
        root files;
        {server}
    }}
}}
"""
_TLS: Final = "ssl_certificate {0}/server.pem; ssl_certificate_key {0}/server.key;"


@dataclass(frozen=True, slots=True)
class Options:
    """``certificate`` is a folder with ``server.pem`` and ``server.key``, for TLS; ``http`` and ``server``
    are more configuration.

    ``port`` is that of ``address``, which a namespace may have to itself; 0 finds a free one here.
    """

    certificate: Path | None = None
    http: str = ""
    server: str = ""
    address: str = "127.0.0.1"
    port: int = 0


@dataclass(frozen=True, slots=True)
class Traffic:
    """What the server has sent: answers by status, bytes of bodies, and over how many connections."""

    answers: dict[int, int] = field(default_factory=dict)
    body_bytes: int = 0
    connections: int = 0


class Nginx:
    """A server that runs."""

    def __init__(self, url: str, log: Path) -> None:
        self.url = url
        self._log = log
        self._counted = 0  # bytes of the log that earlier calls of `traffic` have counted

    def traffic(self) -> Traffic:
        """What was sent since the last call."""
        time.sleep(_LOG_SETTLES_SECONDS)
        with self._log.open("rb") as log:
            log.seek(self._counted)
            lines = log.read()
        self._counted += len(lines)
        answers: dict[int, int] = {}
        body_bytes = 0
        connections = set()
        for line in lines.decode().splitlines():
            status, sent, connection, _ = line.split(maxsplit=3)
            answers[int(status)] = answers.get(int(status), 0) + 1
            body_bytes += int(sent)
            connections.add(connection)
        return Traffic(answers, body_bytes, len(connections))

    def meter(self, wanted_bytes: int) -> Callable[[], dict[str, float]]:
        """For a case: what was sent, as a part of ``wanted_bytes``, and over how many connections."""

        def metered() -> dict[str, float]:
            traffic = self.traffic()
            if traffic.body_bytes < wanted_bytes:
                raise WrongResult(f"only {traffic.body_bytes} of {wanted_bytes} bytes were sent")
            return {"sent": traffic.body_bytes / wanted_bytes, "connections": traffic.connections}

        return metered


@contextlib.contextmanager
def running_nginx(
    program: Sequence[str],
    files: Path,
    options: Options = Options(),
) -> Iterator[Nginx]:
    """Serve the folder ``files`` until the block ends.

    ``program`` may have words before it, such as ``ip netns exec NAME``.

    Raises RuntimeError, with nginx's own words, where it does not start.
    """
    with tempfile.TemporaryDirectory(prefix="fdf256-nginx-") as folder:
        prefix = Path(folder)
        (prefix / "files").symlink_to(files.resolve(), target_is_directory=True)
        port = options.port or _free_port()
        (prefix / "nginx.conf").write_text(_configuration(options, port))
        command = [*program, "-p", f"{prefix}/", "-c", "nginx.conf", "-e", "error.log"]
        said = prefix / "said.log"
        with (
            said.open("wb") as output,
            subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output) as process,
        ):
            try:
                _wait_until_it_runs(process, prefix / "nginx.pid", said, prefix / "error.log")
                scheme = "https" if options.certificate else "http"
                yield Nginx(f"{scheme}://{options.address}:{port}", prefix / "access.log")
            finally:
                _stop(process)


def _configuration(options: Options, port: int) -> str:
    server = options.server
    if options.certificate is not None:
        server += _TLS.format(options.certificate)
    return _CONFIGURATION.format(
        user=_user(),
        workers=_WORKERS,
        http=options.http,
        address=options.address,
        port=port,
        listen=" ssl" if options.certificate else "",
        server=server,
    )


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _user() -> str:
    """Started by root, the workers would become another user, who may not read our files."""
    if os.geteuid() != 0:
        return ""
    user = pwd.getpwuid(os.geteuid()).pw_name
    group = grp.getgrgid(os.getegid()).gr_name
    return f"user {user} {group};\n"


def _wait_until_it_runs(process: subprocess.Popen[bytes], pid: Path, *said: Path) -> None:
    """The file with its pid is written when it listens: connections wait from then on."""
    deadline = time.monotonic() + _START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        if pid.exists():
            return
        time.sleep(0.02)
    words = "".join(path.read_text() for path in said if path.exists())
    raise RuntimeError(f"nginx does not start: {words or process.poll()}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the master, which ends its workers."""
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
