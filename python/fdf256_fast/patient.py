"""Writing to who may never read: pipes, terminals, devices; given up when a job is cancelled.

A thread that waits in ``write``, or in the opening of a pipe without a reader, cannot be called back: signals
go to the main thread.  So it waits for no longer than a tenth of a second at a time.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import stat
import time
from typing import TYPE_CHECKING

from fdf256_fast.foreground import cancelled

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fdf256_fast._core import Job

__all__ = ["PatientWriter", "open_pipe", "patient"]

WAIT_SECONDS = 0.1
"""How long at most until a cancelled job is noticed."""

_FLAGS = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class PatientWriter:
    """The open file ``file``, of whose reader nothing is known; cancelled work raises CancelledError."""

    def __init__(self, file: int, job: Job) -> None:
        self._file = file
        self._job = job
        self._poll = select.poll()
        self._poll.register(file, select.POLLOUT)

    def write(self, data: bytes) -> int:
        """Write all of ``data``.  Raises OSError, BrokenPipeError where the reader has gone."""
        rest = memoryview(data)
        while rest:
            _check(self._job)
            if not self._poll.poll(1000 * WAIT_SECONDS):
                continue
            try:
                # A pipe that polls as writable has room for so much: also one that blocks does not.
                rest = rest[os.write(self._file, rest[: select.PIPE_BUF]) :]
            except BlockingIOError:  # somebody else was quicker
                time.sleep(WAIT_SECONDS)
        return len(data)


@contextlib.contextmanager
def patient(file: int, job: Job) -> Iterator[PatientWriter]:
    """A writer to ``file``, which others may have open too, and which stays as it is.

    Whether a write blocks belongs to what all of them share.  So it is opened anew, where the system allows
    it: not for sockets, nor for a terminal of another user.
    """
    try:
        own = os.open(f"/proc/self/fd/{file}", _FLAGS)
    except OSError:
        yield PatientWriter(file, job)
        return
    try:
        yield PatientWriter(own, job)
    finally:
        os.close(own)


@contextlib.contextmanager
def open_pipe(path: Path, job: Job) -> Iterator[PatientWriter]:
    """Open a pipe, as soon as somebody reads from it, or a device.  Raises OSError."""
    while True:
        _check(job)
        try:
            file = os.open(path, _FLAGS)
            break
        except OSError as error:
            # Of a pipe it says that nobody reads yet; of a socket, that it cannot be opened at all.
            if error.errno != errno.ENXIO or not stat.S_ISFIFO(path.stat().st_mode):
                raise
        time.sleep(WAIT_SECONDS)
    try:
        yield PatientWriter(file, job)
    finally:
        os.close(file)


def _check(job: Job) -> None:
    if job.cancelled:
        raise cancelled()
