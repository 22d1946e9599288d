"""Who may work in a folder: one process, on one machine.

Two things have to agree.  ``flock`` on the lock file, which the system lets go of whatever ends the process;
it is tried out at once, since there are file systems that grant it to everybody.  And a holder file beside
it, made exclusively, that says who holds the lock: it decides where ``flock`` does not, and is touched every
few seconds, so that one on another machine that stays behind can be told from one that is at work.

Calls of ``os`` on plain strings, not ``Path``: there may be a lock for each of thousands of files.
"""
# ruff: noqa: PTH105, PTH108, PTH120

from __future__ import annotations

import _thread
import contextlib
import fcntl
import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

from fdf256_fast.durable import boot_id, storage_error
from fdf256_fast.errors import LockedError, no_thread

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator, Iterator

__all__ = ["Holder", "Locks", "held", "locked"]

BEAT_SECONDS = 10.0
"""How often a holder shows that it is alive."""

STALE_SECONDS = 60.0
"""A holder on another machine that has not shown itself for so long is gone; by the disk's own clock."""

HOLDER_BYTES_MAX = 64 * 1024
"""More than any host's name needs."""

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
    lock = _Lock(path, work, _me(), set())
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
    from fdf256_fast.watch import in_thread  # noqa: PLC0415 - local commands hold a lock without asyncio

    async with Locks(keep=keep) as locks:
        await in_thread(locks.take, path, work)
        yield


class Locks:
    """The locks of one run, held until it lets go of them or is left; lock files stay with ``keep``.

    What does not change is found out once: who this process is, and whether ``flock`` keeps others out in a
    folder.  That halves what a lock costs, of which a run may take thousands.
    """

    def __init__(self, *, keep: bool) -> None:
        self._keep = keep
        self._held: dict[Path, _Lock] = {}
        self._proven: set[str] = set()
        self._me = ""
        import asyncio  # noqa: PLC0415 - as above

        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle

    async def __aenter__(self) -> Self:
        self._timer = self._loop.call_later(BEAT_SECONDS, self._beat_soon)
        return self

    async def __aexit__(self, *_: object) -> None:
        from fdf256_fast.watch import in_thread  # noqa: PLC0415

        self._timer.cancel()
        # A cancellation may have come when a lock was taken already.
        await in_thread(self._release_all)

    def take(self, path: Path, work: str) -> None:
        """Take the lock at ``path``; in a thread.  Raises LockedError, StorageError."""
        self._me = self._me or _me()
        lock = _Lock(path, work, self._me, self._proven)
        try:
            lock.take()
        except OSError as error:
            raise storage_error("use", error, path) from error
        self._held[path] = lock

    def release(self, path: Path) -> None:
        """Let go of it; in a thread."""
        self._held.pop(path).release(keep=self._keep)

    def _release_all(self) -> None:
        for path in tuple(self._held):
            self.release(path)

    def _beat_soon(self) -> None:
        self._timer = self._loop.call_later(BEAT_SECONDS, self._beat_soon)
        # Where there is no thread to be had now, the next beat comes early enough.
        with contextlib.suppress(RuntimeError):
            self._loop.run_in_executor(None, self._beat)

    def _beat(self) -> None:
        """Touch all holder files."""
        for lock in tuple(self._held.values()):
            lock.beat()


class _Lock:
    def __init__(self, path: Path, work: str, me: str, proven: set[str]) -> None:
        self._path = os.fspath(path)
        self._holder_path = f"{self._path}.holder"
        self._work = work
        self._me = me
        self._proven = proven
        self._file: int | None = None
        self._is_mine = False

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
            if self._is_mine:
                os.utime(self._holder_path)

    def release(self, *, keep: bool) -> None:
        if self._is_mine:
            self._is_mine = False
            with contextlib.suppress(OSError):
                seen = self._read_holder()
                if seen is not None and seen[0] == self._me:
                    os.unlink(self._holder_path)
        if self._file is not None:
            # Removed while still held: whoever waits for it finds out and takes a new one.
            if not keep:
                with contextlib.suppress(OSError):
                    os.unlink(self._path)
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
        folder = os.path.dirname(self._path)
        if folder in self._proven:
            return True
        second = self._open()
        try:
            fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._proven.add(folder)
            return True
        finally:
            os.close(second)
        return False

    def _is_current(self, file: int) -> bool:
        """Whether the file is still the one at its path: its last holder may have removed it."""
        try:
            return os.path.samestat(os.fstat(file), os.lstat(self._path))
        except FileNotFoundError:
            return False

    # ---- the holder --------------------------------------------------------------------------------

    def _hold(self, file: int, *, is_proof: bool) -> None:
        for _ in range(TRIES):
            try:
                fresh = os.open(self._holder_path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
            except FileExistsError:
                self._displace(file, is_proof=is_proof)
                continue
            try:
                os.write(fresh, self._me.encode())
                self._is_mine = True
            finally:
                os.close(fresh)
                if not self._is_mine:
                    os.unlink(self._holder_path)
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
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._holder_path)
            return
        aside = f"{self._holder_path}.{os.getpid()}"
        with contextlib.suppress(FileNotFoundError):
            os.replace(self._holder_path, aside)
            took = _read_text(aside)
            if took != text:  # somebody was faster, and that was his
                with contextlib.suppress(FileExistsError):
                    os.link(aside, self._holder_path)
                os.unlink(aside)
                raise self._refusal()
            os.unlink(aside)

    def _read_holder(self) -> tuple[str, float] | None:
        try:
            modified = os.lstat(self._holder_path).st_mtime
            return _read_text(self._holder_path), modified
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


def _read_text(path: str) -> str:
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(file, HOLDER_BYTES_MAX).decode("utf-8", "replace")
    finally:
        os.close(file)


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


def _me() -> str:
    """This process, as its holder files say it."""
    return json.dumps(Holder.me()._asdict())


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
