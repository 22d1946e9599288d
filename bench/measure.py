"""Run a command as a whole process and say what it took."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

__all__ = ["Command", "CommandFailed", "Usage", "environment", "measure"]

#: Linux counts the resident set in KiB.
_RSS_UNIT_BYTES: Final = 1024
_SAID_BYTES: Final = 600


class CommandFailed(Exception):
    """A command that was to be timed did not end with status 0, or not in time."""


@dataclass(frozen=True, slots=True)
class Command:
    """One program, what to call it in a table, the folder it starts in, and its own environment."""

    label: str
    argv: tuple[str, ...]
    folder: Path
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Usage:
    """What a command and all of its children took.

    ``cpu_seconds`` is user and system time together.  ``peak_bytes`` is the resident set of the
    largest single process, not the sum.
    """

    wall_seconds: float
    cpu_seconds: float
    peak_bytes: int

    @staticmethod
    def together(parts: Iterable[Usage]) -> Usage:
        """Of commands that ran one after the other."""
        listed = list(parts)
        return Usage(
            wall_seconds=sum(part.wall_seconds for part in listed),
            cpu_seconds=sum(part.cpu_seconds for part in listed),
            peak_bytes=max(part.peak_bytes for part in listed),
        )


def environment(home: Path) -> dict[str, str]:
    """An environment in which no proxy and no user's settings change what a program does."""
    dropped = ("FDF256_", "PYTHON", "ARIA2", "SSL_CERT")
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(dropped) and not name.lower().endswith("_proxy")
    }
    return {**kept, "HOME": str(home), "XDG_CONFIG_HOME": str(home), "LC_ALL": "C.UTF-8"}


def measure(command: Command, env: Mapping[str, str], log: Path, patience_seconds: float = 600.0) -> Usage:
    """Run ``command`` to its end; what it says goes to the file ``log``.

    The kernel adds up what a process and the children it waited for have used, so a program that
    starts others (xargs) is counted with them.

    Raises :class:`CommandFailed` with the last of what was said.
    """
    with log.open("wb") as output:
        started = time.perf_counter()
        # A session of its own: whatever ends this script, the command's children end with it.
        process = subprocess.Popen(
            command.argv,
            cwd=command.folder,
            env={**env, **command.env},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        try:
            _wait(process.pid, command.label, patience_seconds)
            wall_seconds = time.perf_counter() - started
            _, status, used = os.wait4(process.pid, 0)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        said = " ".join(log.read_bytes()[-_SAID_BYTES:].decode(errors="replace").split())
        raise CommandFailed(f"{command.label} ended with status {process.returncode}: {said}")
    return Usage(
        wall_seconds=wall_seconds,
        cpu_seconds=used.ru_utime + used.ru_stime,
        peak_bytes=used.ru_maxrss * _RSS_UNIT_BYTES,
    )


def _wait(pid: int, label: str, patience_seconds: float) -> None:
    """Until it has ended, without reaping, which would lose what the kernel has counted."""
    watched = os.pidfd_open(pid)
    try:
        poll = select.poll()
        poll.register(watched, select.POLLIN)
        if not poll.poll(patience_seconds * 1_000):
            raise CommandFailed(f"{label} had not ended after {patience_seconds:.0f} s")
    finally:
        os.close(watched)
