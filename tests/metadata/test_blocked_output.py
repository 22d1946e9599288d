"""``fdf256 credits`` to who does not read: it ends when it is told to, and leaves everything as it was."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fdf256_fast._core import Job
from fdf256_fast.patient import PatientWriter, open_pipe, patient
from tests.metadata.files import tree_at

if TYPE_CHECKING:
    from collections.abc import Callable

LONG_SECONDS = 60


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """More credits than any pipe or terminal holds."""
    return tree_at(tmp_path_factory.mktemp("much") / "data", train=3_000, images=False).root


def started(target: Path, *options: str | Path, stdout: int) -> subprocess.Popen[bytes]:
    # Where these tests run in the background of a script, SIGINT is ignored, and would be by the command.
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        return subprocess.Popen(
            [sys.executable, "-m", "fdf256_fast", "credits", str(target), *map(str, options)],
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.PIPE,
        )
    finally:
        signal.signal(signal.SIGINT, before)


def is_asleep(thread: Path) -> bool:
    try:
        return (thread / "stat").read_text("ascii").rpartition(")")[2].split()[0] == "S"
    except OSError:  # it has ended
        return False


def wait_until_blocked(process: subprocess.Popen[bytes]) -> None:
    """Until its threads have done nothing for a while."""
    idle = 0
    while idle < 3:
        assert process.poll() is None
        threads = list(Path(f"/proc/{process.pid}/task").iterdir())
        idle = idle + 1 if len(threads) > 1 and all(map(is_asleep, threads)) else 0
        time.sleep(0.05)


def end(process: subprocess.Popen[bytes], by: signal.Signals) -> str:
    with process:
        try:
            wait_until_blocked(process)
            process.send_signal(by)
            assert process.wait(LONG_SECONDS) == 130
            assert process.stderr is not None
            return process.stderr.read().decode()
        finally:
            process.kill()


def pipe() -> tuple[int, int]:
    return os.pipe()


def terminal() -> tuple[int, int]:
    return pty.openpty()


def socket_pair() -> tuple[int, int]:
    ours, theirs = socket.socketpair()
    return ours.detach(), theirs.detach()


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("made", [pipe, terminal, socket_pair])
def test_a_reader_that_does_not_read_does_not_keep_it(
    made: Callable[[], tuple[int, int]], by: signal.Signals, target: Path
) -> None:
    ours, theirs = made()
    try:
        told = end(started(target, stdout=theirs), by)
        # Others have it open as well, and it has to stay as they know it.
        assert not fcntl.fcntl(theirs, fcntl.F_GETFL) & os.O_NONBLOCK
    finally:
        os.close(ours)
        os.close(theirs)
    assert told.strip() == "Interrupted. What was written is not all of it."


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("has_reader", [False, True])
def test_a_named_pipe_that_nobody_reads_does_not_keep_it(
    has_reader: bool, by: signal.Signals, target: Path, tmp_path: Path
) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK) if has_reader else None
    try:
        told = end(started(target, "-o", path, stdout=subprocess.DEVNULL), by)
    finally:
        if reader is not None:
            os.close(reader)
    assert told.strip() == "Interrupted. What was written is not all of it."
    assert [found.name for found in tmp_path.iterdir()] == ["pipe"]


@pytest.mark.parametrize("is_named", [False, True])
def test_a_slow_reader_gets_all_of_it(is_named: bool, target: Path, tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with subprocess.Popen(["/bin/sh", "-c", f"sleep 0.5; cat '{path}'"], stdout=subprocess.PIPE) as cat:
        assert cat.stdout is not None
        if is_named:
            process = started(target, "-o", path, stdout=subprocess.DEVNULL)
        else:
            # Opened for both, it has a reader from the beginning.
            both = os.open(path, os.O_RDWR)
            process = started(target, stdout=both)
            time.sleep(1)
            os.close(both)
        with process:
            text = cat.stdout.read()
            assert process.wait(LONG_SECONDS) == 0
    assert text.count(b"train/images/") == 3_000
    assert text.endswith(b"\r\n")


def test_a_cancelled_writer_and_opener_give_up(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    job = Job()
    job.cancel()
    with pytest.raises(asyncio.CancelledError), open_pipe(path, job):
        pass
    ours, theirs = os.pipe()
    with pytest.raises(asyncio.CancelledError), patient(theirs, job) as writer:
        writer.write(b"x")
    os.close(ours)
    with pytest.raises(BrokenPipeError):
        PatientWriter(theirs, Job()).write(b"x")
    os.close(theirs)


def test_what_is_no_pipe_at_all_is_not_waited_for(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(tmp_path / "socket"))
        with pytest.raises(OSError, match="No such device"), open_pipe(tmp_path / "socket", Job()):
            pass
