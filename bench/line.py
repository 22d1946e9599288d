"""A long line on this machine: two network namespaces, and bench/link.rs between them.  Needs root.

Nothing in the namespaces reaches outside, and all of it is removed at the end.  The kernel's own netem would
do what link.rs does, but many kernels are built without.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bench.frame import CannotRun

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.tools import Tools

__all__ = ["Line", "Namespaces", "long_line"]

_PREFIX: Final = "fdf256-bench"
_CLIENT_ADDRESS: Final = "10.77.0.1"
_SERVER_ADDRESS: Final = "10.77.0.2"
#: What the interface holds until link.rs has taken it: more than it ever should.
_INTERFACE_PACKETS: Final = 10_000
_MTU_BYTES: Final = 1_500


@dataclass(frozen=True, slots=True)
class Line:
    """``loss`` is a part of 1.  The queue in front of the line holds what it carries in a round trip.

    ``congestion_control`` is that of both ends, as the kernel calls it.
    """

    round_trip_seconds: float
    loss: float
    bytes_per_second: float
    congestion_control: str
    seed: int = 1

    @property
    def words(self) -> tuple[str, ...]:
        """For link.rs."""
        return (
            f"{self.round_trip_seconds * 1_000 / 2:g}",
            f"{self.loss * 1e6:.0f}",
            f"{self.bytes_per_second * 8:.0f}",
            f"{self.bytes_per_second * self.round_trip_seconds:.0f}",
            str(self.seed),
        )


@dataclass(frozen=True, slots=True)
class Namespaces:
    """Words to put before a command at either end, and where the server is."""

    client: tuple[str, ...]
    server: tuple[str, ...]
    server_address: str = _SERVER_ADDRESS


@contextlib.contextmanager
def long_line(tools: Tools, line: Line) -> Iterator[Namespaces]:
    """Both ends, until the block ends.  Raises CannotRun where there cannot be any."""
    reason = tools.missing(("ip", "link"))
    if reason is None and os.geteuid() != 0:
        reason = "network namespaces need root"
    if reason is None and not Path("/dev/net/tun").exists():
        reason = "the kernel has no TUN interfaces"
    if reason is not None:
        raise CannotRun(reason)
    ip = tools.needed("ip")
    _remove_forgotten(ip)
    client, server = (f"{_PREFIX}-{os.getpid()}-{end}" for end in ("client", "server"))
    with contextlib.ExitStack() as stack:
        for name in (client, server):
            _ip(ip, "netns", "add", name)
            stack.callback(_ip, ip, "netns", "delete", name)
        stack.enter_context(_link(tools.needed("link"), client, server, line))
        _set_up_end(ip, client, (_CLIENT_ADDRESS, _SERVER_ADDRESS), line)
        _set_up_end(ip, server, (_SERVER_ADDRESS, _CLIENT_ADDRESS), line)
        inside = (ip, "netns", "exec")
        yield Namespaces((*inside, client), (*inside, server))


def _set_up_end(ip: str, name: str, addresses: tuple[str, str], line: Line) -> None:
    here, there = addresses
    _ip(ip, "-n", name, "link", "set", "lo", "up")
    _ip(ip, "-n", name, "address", "add", here, "dev", "link0")
    queue = ("txqueuelen", str(_INTERFACE_PACKETS))
    _ip(ip, "-n", name, "link", "set", "link0", "mtu", str(_MTU_BYTES), *queue, "up")
    # By the route, since not every one may be a namespace's default.
    _ip(ip, "-n", name, "route", "add", there, "dev", "link0", "congctl", line.congestion_control)


@contextlib.contextmanager
def _link(program: str, client: str, server: str, line: Line) -> Iterator[None]:
    """It ends when its standard input does, so also when this process is killed."""
    command = [program, client, server, *line.words]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            if process.stdout.readline().strip() != "ready":
                raise CannotRun("the line between the namespaces cannot be made")
            yield
        finally:
            process.stdin.close()


def _remove_forgotten(ip: str) -> None:
    """Namespaces of a benchmark that was killed."""
    for path in Path("/run/netns").glob(f"{_PREFIX}-*"):
        found = re.fullmatch(rf"{_PREFIX}-(\d+)-\w+", path.name)
        if found and not Path(f"/proc/{found[1]}").exists():
            _ip(ip, "netns", "delete", path.name)


def _ip(ip: str, *words: str) -> None:
    done = subprocess.run([ip, *words], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise CannotRun(f"ip {' '.join(words)}: {done.stderr.strip()}")
