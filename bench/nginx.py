"""An nginx of our own: loopback only, everything it writes in a temporary folder, ended by pid."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.error import HTTPError
from urllib.request import ProxyHandler, build_opener

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["DEBIAN_PACKAGE", "Nginx", "Traffic", "find_nginx", "running_nginx"]

DEBIAN_PACKAGE: Final = "nginx"

#: Two, so that the server is not the one process that all connections wait for, and no more, so
#: that it leaves the processor to what is measured.
_WORKERS: Final = 2
_START_SECONDS: Final = 10.0
_STOP_SECONDS: Final = 5.0
#: A line is logged when its answer is out, which may be a moment after the client has ended.
_LOG_SETTLES_SECONDS: Final = 0.1

#: Relative paths mean the prefix, so that no quoting is needed whatever the temporary folder's name.
#: `reuseport` gives both workers connections; without it one may take them all.
_CONFIGURATION: Final = """\
{user}daemon off;
worker_processes {workers};
pid nginx.pid;
error_log error.log warn;
events {{
    worker_connections 1024;
}}
http {{
    log_format counted '$status $body_bytes_sent $request_method "$http_range" $uri';
    access_log access.log counted;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 1000000;
    default_type application/zip;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    server {{
        listen 127.0.0.1:{port} reuseport;
        root files;
    }}
}}
"""


@dataclass(frozen=True, slots=True)
class Traffic:
    """What the server has sent: answers by status, and bytes of bodies."""

    answers: dict[int, int]
    body_bytes: int


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
        for line in lines.decode().splitlines():
            status, sent, _ = line.split(maxsplit=2)
            answers[int(status)] = answers.get(int(status), 0) + 1
            body_bytes += int(sent)
        return Traffic(answers, body_bytes)


def find_nginx() -> str | None:
    """Path of the program, or None; Debian puts it where only root looks."""
    search = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"])
    return shutil.which("nginx", path=search)


@contextlib.contextmanager
def running_nginx(program: str, files: Path) -> Iterator[Nginx]:
    """Serve the folder ``files`` on a free port of 127.0.0.1 until the block ends.

    Raises RuntimeError, with nginx's own words, where it does not start.
    """
    with tempfile.TemporaryDirectory(prefix="fdf256-nginx-") as folder:
        prefix = Path(folder)
        (prefix / "files").symlink_to(files.resolve(), target_is_directory=True)
        port = _free_port()
        configuration = _CONFIGURATION.format(user=_user(), workers=_WORKERS, port=port)
        (prefix / "nginx.conf").write_text(configuration)
        command = [program, "-p", f"{prefix}/", "-c", "nginx.conf", "-e", "error.log"]
        said = prefix / "said.log"
        with (
            said.open("wb") as output,
            subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output) as process,
        ):
            try:
                url = f"http://127.0.0.1:{port}"
                _wait_until_it_answers(process, url, said, prefix / "error.log")
                server = Nginx(url, prefix / "access.log")
                server.traffic()  # the answers to our own questions do not count
                yield server
            finally:
                _stop(process)


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


def _wait_until_it_answers(process: subprocess.Popen[bytes], url: str, *said: Path) -> None:
    opener = build_opener(ProxyHandler({}))
    deadline = time.monotonic() + _START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            opener.open(f"{url}/no-such-file", timeout=1).close()
        except HTTPError:
            return  # 404: it runs
        except OSError:
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
