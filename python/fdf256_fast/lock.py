"""Who may work in a folder: one process, on one machine.

Two things have to agree.  ``flock`` on the lock file, which the system lets go of whatever ends the process;
it is tried out at once, since there are file systems that grant it to everybody.  And a holder file beside
it, made exclusively, that says who holds the lock: it decides where ``flock`` does not, and is touched every
few seconds, so that one on another machine that stays behind can be told from one that is at work.
"""

from __future__ import annotations

import _thread
import contextlib
import fcntl
import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from fdf256_fast.durable import boot_id, storage_error
from fdf256_fast.errors import LockedError, no_thread

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

__all__ = ["Holder", "held", "locked"]

BEAT_SECONDS = 10.0
"""How often a holder shows that it is alive."""

STALE_SECONDS = 60.0
"""A holder on another machine that has not shown itself for so long is gone; by the disk's own clock."""

TRIES = 5


class Holder(NamedTuple):
    """One process: ``started`` is in clock ticks since the machine's start, ``since`` for people."""

    host: str
    boot: str
    namespace: str
    pid: int
    started: str
    since: str

    @classmethod
    def me(cls) -> Holder:
        """This process."""
        since = time.strftime("%Y-%m-%d %H:%M:%S %Z")
        pid = os.getpid()
        return cls(_host(), boot_id(), _namespace(), pid, _started(pid), since)

    @classmethod
    def parse(cls, text: str) -> Holder | None:
        """What a holder file says; None where it is torn."""
        try:
            holder = cls(**json.loads(text))
        except (ValueError, TypeError, RecursionError):
            return None
        return holder if type(holder.pid) is int else None

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, since {self.since}"


@contextlib.contextmanager
def held(path: Path, work: str, *, keep: bool) -> Iterator[None]:
    """Hold the lock file at ``path``, which stays with ``keep``; ``work`` is what it guards, for messages.

    Raises LockedError when another process holds it, StorageError; Error where there is no thread to be had.
    """
    lock = _Lock(path, work)
    try:
        lock.take()
    except OSError as error:
        raise storage_error("use", error, path) from error
    try:
        with _beating(lock):
            yield
    finally:
        lock.release(keep=keep)


@contextlib.contextmanager
def _beating(lock: _Lock) -> Iterator[None]:
    """Touch the holder file now and then, in a thread of its own."""
    is_over = _thread.allocate_lock()
    is_over.acquire()

    def beat() -> None:
        while not is_over.acquire(timeout=BEAT_SECONDS):
            lock.beat()

    try:
        _thread.start_new_thread(beat, ())
    except RuntimeError as error:
        raise no_thread(error) from error
    try:
        yield
    finally:
        is_over.release()


@contextlib.asynccontextmanager
async def locked(path: Path, work: str, *, keep: bool) -> AsyncIterator[None]:
    """:func:`held`, without keeping the event loop waiting."""
    import asyncio  # noqa: PLC0415 - local commands hold a lock without it

    from fdf256_fast.watch import in_thread  # noqa: PLC0415

    lock = _Lock(path, work)
    try:
        await in_thread(lock.take)
    except asyncio.CancelledError:
        # It may have come when the lock was taken already.
        await in_thread(lock.release, keep=keep)
        raise
    except OSError as error:
        raise storage_error("use", error, path) from error
    try:
        with _beating(lock):
            yield
    finally:
        await in_thread(lock.release, keep=keep)


class _Lock:
    def __init__(self, path: Path, work: str) -> None:
        self._path = path
        self._holder_path = path.with_name(path.name + ".holder")
        self._work = work
        self._file: int | None = None
        self._mine: str | None = None

    def take(self) -> None:
        """Raises LockedError, OSError."""
        for _ in range(TRIES):
            file = self._open()
            try:
                is_proof = self._flock(file)
                if self._is_current(file):
                    self._hold(file, is_proof=is_proof)
                    self._file, file = file, -1
                    return
            finally:
                if file >= 0:
                    os.close(file)
        raise self._refusal()

    def beat(self) -> None:
        with contextlib.suppress(OSError):
            if self._mine is not None:
                os.utime(self._holder_path)

    def release(self, *, keep: bool) -> None:
        if self._mine is not None:
            mine, self._mine = self._mine, None
            with contextlib.suppress(OSError, UnicodeError):
                if self._holder_path.read_text("utf-8") == mine:
                    self._holder_path.unlink()
        if self._file is not None:
            # Removed while still held: whoever waits for it finds out and takes a new one.
            if not keep:
                with contextlib.suppress(OSError):
                    self._path.unlink()
            file, self._file = self._file, None
            os.close(file)

    # ---- flock -------------------------------------------------------------------------------------

    def _open(self) -> int:
        return os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)

    def _flock(self, file: int) -> bool:
        """Lock it; whether that keeps others out here."""
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise self._refusal() from error
        except OSError:
            return False  # this file system has no such locks
        second = self._open()
        try:
            fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
        finally:
            os.close(second)
        return False

    def _is_current(self, file: int) -> bool:
        """Whether the file is still the one at its path: its last holder may have removed it."""
        try:
            return os.path.samestat(os.fstat(file), self._path.lstat())
        except FileNotFoundError:
            return False

    # ---- the holder --------------------------------------------------------------------------------

    def _hold(self, file: int, *, is_proof: bool) -> None:
        mine = json.dumps(Holder.me()._asdict())
        for _ in range(TRIES):
            try:
                fresh = os.open(self._holder_path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
            except FileExistsError:
                self._displace(file, is_proof=is_proof)
                continue
            self._mine = mine
            try:
                with os.fdopen(fresh, "w", encoding="utf-8") as out:
                    out.write(mine)
            except OSError:
                self._mine = None
                self._holder_path.unlink(missing_ok=True)
                raise
            return
        raise self._refusal()

    def _displace(self, file: int, *, is_proof: bool) -> None:
        """Take away the holder file of one who is gone.  Raises LockedError when he is not."""
        seen = self._read_holder()
        if seen is None:
            return
        text, modified = seen
        os.utime(file)
        age = os.fstat(file).st_mtime - modified  # both by the clock of the disk, however wrong
        if _is_alive(Holder.parse(text), age, is_proof=is_proof):
            raise self._refusal()
        if is_proof:
            # Nobody else comes this far.  No second name, which a kill could leave behind.
            self._holder_path.unlink(missing_ok=True)
            return
        aside = self._holder_path.with_name(f"{self._holder_path.name}.{os.getpid()}")
        with contextlib.suppress(FileNotFoundError):
            self._holder_path.replace(aside)
            took = aside.read_text("utf-8", "replace")
            if took != text:  # somebody was faster, and that was his
                with contextlib.suppress(FileExistsError):
                    self._holder_path.hardlink_to(aside)
                aside.unlink()
                raise self._refusal()
            aside.unlink()

    def _read_holder(self) -> tuple[str, float] | None:
        try:
            modified = self._holder_path.lstat().st_mtime
            return self._holder_path.read_text("utf-8", "replace"), modified
        except FileNotFoundError:
            return None

    def _refusal(self) -> LockedError:
        seen = None
        with contextlib.suppress(OSError):
            seen = self._read_holder()
        holder = Holder.parse(seen[0]) if seen is not None else None
        return LockedError(
            f"another process is {self._work}" + (f": {holder}" if holder else ""),
            hint="Wait for it to end, or choose another target.",
        )


def _is_alive(holder: Holder | None, age_seconds: float, *, is_proof: bool) -> bool:
    """Whether the holder that a file names may still be at work, although its lock was granted."""
    shown = -BEAT_SECONDS <= age_seconds < STALE_SECONDS
    if holder is None:
        return shown and not is_proof
    if holder.boot and holder.boot == boot_id():
        if is_proof:
            return False
        if holder.namespace == _namespace():
            return _started(holder.pid) == holder.started != ""
        return shown
    # Its machine was started anew, or it is another one: then a lock may be each machine's own.
    return holder.host != _host() and shown


def _host() -> str:
    """What the socket module's gethostname says, without importing it."""
    return os.uname().nodename


def _started(pid: int) -> str:
    """When a process started, in clock ticks; empty when there is none.  Numbers are given out again."""
    try:
        return Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def _namespace() -> str:
    """Two processes in different namespaces do not see each other's numbers."""
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""
