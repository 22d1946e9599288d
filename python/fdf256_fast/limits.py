"""What a run may use: the options that every command and function shares, in one frozen group."""

from __future__ import annotations

import re
import resource
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from fdf256_fast._core import Policy
from fdf256_fast.cores import usable_cores
from fdf256_fast.errors import UsageError
from fdf256_fast.units import BYTES_MAX

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Limits"]

MEMORY_BYTES_MIN = 4 * 1024 * 1024
"""Five archives, one smallest span under way and one waiting each, and room for a member."""

CONNECTIONS = 16
"""To begin with, where nobody says how many."""

CONNECTIONS_GROWN = 64
"""So many at most, where nobody says how many; most hosts would take more for an attack."""

CONNECTIONS_MAX = 1024

RETRIES_MAX = 1_000_000_000

TIMEOUT_SECONDS_MAX = 365 * 86_400
"""A year, which nobody waits for; clocks and sockets overflow a good deal later."""

OPEN_FILES_SPARE = 14
"""For standard streams to come, the journal, name lookups, and connections that are being closed."""

_HEADER_NAME = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
"""A token, by RFC 9110, 5.6.2."""

OPEN_FILES_ARCHIVE = 19
"""For each archive: folder handles (see staging.rs), the records, the kept archive, a spool."""


def _check_header(name: str, value: str) -> None:
    """Raises UsageError, which does not quote the value: it may be secret."""
    if not re.fullmatch(_HEADER_NAME, name):
        raise UsageError(
            f"headers (--header): {name!r} is not the name of a header",
            hint="Letters, digits and a few signs such as - and _, without blanks: 'X-Name: value'.",
        )
    # Half a surrogate pair is how bytes that are no text come from the command line.
    if re.search("[\r\n\0\ud800-\udfff]", value):
        raise UsageError(f"headers (--header): the value of {name} has a line end, a NUL, or what is no text")


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of a run.

    Args:
        connections: HTTP requests at the same time, over all archives.  None begins with 16, and takes more
            (up to 64) as long as that makes it faster by a good part.
        memory_bytes: received bytes that may wait for their turn, over all archives.
        workers: Rust threads that unpack and hash; 0 for one per core.
        rate: bytes per second over the network, None for no limit.
        retries: failures in a row, without any progress in between, before a source is given up.
        timeout_seconds: how long a connection may be silent.
        max_ratio: times its own size that an archive may unpack to, if that is more than 1 GiB.
        max_unpacked_bytes: bytes that an archive may unpack to, None where only the disk is the limit.
        max_members: files and folders that an archive may have.
        portable_names: refuse names in archives that not every system can hold, or that mislead.
        headers: sent to the hosts of the sources, never to where they redirect.

    Raises:
        UsageError: for a number or a header that cannot be used.
    """

    connections: int | None = None
    memory_bytes: int = 256 * 1024 * 1024
    workers: int = 0
    rate: float | None = None
    retries: int = 8
    timeout_seconds: float = 30.0
    max_ratio: int = 250
    max_unpacked_bytes: int | None = None
    max_members: int = 10_000_000
    portable_names: bool = True
    headers: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # Each with what it is here and on the command line: whoever reads it may know either.
        bounds: tuple[tuple[str, str, float | None, float, float], ...] = (
            ("connections", "--connections", self.connections, 1, CONNECTIONS_MAX),
            ("memory_bytes", "--memory", self.memory_bytes, MEMORY_BYTES_MIN, BYTES_MAX),
            ("workers", "--workers", self.workers, 0, 1024),
            ("retries", "--retries", self.retries, 0, RETRIES_MAX),
            ("max_ratio", "--max-ratio", self.max_ratio, 1, BYTES_MAX),
            ("max_unpacked_bytes", "--max-unpacked", self.max_unpacked_bytes, 1, BYTES_MAX),
            ("max_members", "--max-members", self.max_members, 1, BYTES_MAX),
        )
        for name, option, value, least, most in bounds:
            # Written so that NaN is refused as well.
            if value is not None and not least <= value <= most:
                raise UsageError(f"{name} ({option}) must be {least} to {most}, not {value}")
        if self.rate is not None and not 0 < self.rate <= BYTES_MAX:
            raise UsageError(
                f"rate (--limit-rate) must be more than 0, to {BYTES_MAX} bytes per second, not {self.rate}"
            )
        if not 0 < self.timeout_seconds <= TIMEOUT_SECONDS_MAX:
            raise UsageError(
                f"timeout_seconds (--timeout) must be more than 0, to {TIMEOUT_SECONDS_MAX} seconds, "
                f"not {self.timeout_seconds}"
            )
        for name, text in self.headers.items():
            _check_header(name, text)

    @property
    def connections_start(self) -> int:
        """Connections to begin with."""
        return self.connections or CONNECTIONS

    @property
    def connections_most(self) -> int:
        """Connections that a run may come to use."""
        return self.connections or CONNECTIONS_GROWN

    @property
    def policy(self) -> Policy:
        """What an archive may ask for, as the core takes it."""
        return Policy(
            max_ratio=self.max_ratio,
            max_unpacked_bytes=self.max_unpacked_bytes,
            max_members=self.max_members,
            portable_names=self.portable_names,
        )

    @property
    def worker_threads(self) -> int:
        """``workers``, or the number of cores that this process may use."""
        return self.workers or usable_cores()

    def within_open_files(self, *, archives: int = 0, each: int = 1) -> Limits:
        """The same with no more connections than this process may have files open, beside those of
        ``archives``; a connection takes ``each`` of them.  Looks at open files: call it in a thread.
        """
        most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        if most == resource.RLIM_INFINITY:
            return self
        its_own = min(OPEN_FILES_ARCHIVE, most // 16 + 3)
        taken = sum(1 for _ in Path("/dev/fd").iterdir()) + OPEN_FILES_SPARE
        taken += 2 * self.worker_threads + archives * its_own
        affordable = max(1, (most - taken) // each)
        if affordable >= self.connections_most:
            return self
        return replace(self, connections=min(affordable, self.connections_start))
