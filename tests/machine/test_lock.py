"""One process on one target, whatever the file system thinks of locks."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest

from fdf256_fast import LockedError, lock
from fdf256_fast.lock import STALE_SECONDS, Holder, Locks, locked

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def hold(path: Path) -> subprocess.Popen[bytes]:
    """Another process that holds the lock until it is killed."""
    script = f"""
import asyncio, pathlib
from fdf256_fast.lock import locked
async def main():
    async with locked(pathlib.Path({str(path)!r}), "at it", keep=True):
        print("held", flush=True)
        await asyncio.sleep(60)
asyncio.run(main())
"""
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"held\n"
    return process


def end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate()


async def take(path: Path) -> None:
    async with locked(path, "working", keep=True):
        pass


@pytest.fixture(params=["flock", "flock that grants everything", "no flock"])
def flock(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    def grants(_file: int, _how: int) -> None: ...

    def refuses(_file: int, _how: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    kind = str(request.param)
    if kind != "flock":
        monkeypatch.setattr(fcntl, "flock", grants if "grants" in kind else refuses)
    return kind


def test_the_second_is_told_who_holds_it_and_a_killed_one_holds_nothing(flock: str, tmp_path: Path) -> None:
    path = tmp_path / "lock"
    process = hold(path)
    try:
        with pytest.raises(LockedError, match=f"process {process.pid} on .* since 20") as caught:
            asyncio.run(take(path))
        assert caught.value.exit_status == 6
    finally:
        end(process)
    asyncio.run(take(path))
    assert {found.name for found in tmp_path.iterdir()} == {"lock"}


async def test_two_in_one_process_exclude_each_other(flock: str, tmp_path: Path) -> None:
    async with locked(tmp_path / "lock", "working", keep=False):
        with pytest.raises(LockedError):
            await take(tmp_path / "lock")
    assert not list(tmp_path.iterdir())


async def test_of_many_at_once_one_gets_it(flock: str, tmp_path: Path) -> None:
    async def attempt() -> bool:
        try:
            await stack.enter_async_context(locked(tmp_path / "lock", "working", keep=False))
        except LockedError:
            return False
        return True

    async with AsyncExitStack() as stack:
        got = await asyncio.gather(*(attempt() for _ in range(20)))
        assert sum(got) == 1


def leave(path: Path, holder: Holder | str, age_seconds: float = 0) -> None:
    holder_path = path.with_name("lock.holder")
    holder_path.write_text(holder if isinstance(holder, str) else json.dumps(holder._asdict()))
    moment = time.time() - age_seconds
    os.utime(holder_path, (moment, moment))


async def test_a_holder_of_another_start_of_this_machine_is_gone(flock: str, tmp_path: Path) -> None:
    leave(tmp_path / "lock", (await asyncio.to_thread(Holder.me))._replace(boot="before"))
    await take(tmp_path / "lock")


async def test_a_number_that_was_given_out_again_is_not_the_holder(flock: str, tmp_path: Path) -> None:
    leave(tmp_path / "lock", (await asyncio.to_thread(Holder.me))._replace(pid=1, started="0"))
    await take(tmp_path / "lock")


async def test_a_holder_on_another_machine_is_there_as_long_as_it_shows_itself(
    flock: str, tmp_path: Path
) -> None:
    other = (await asyncio.to_thread(Holder.me))._replace(host="another", boot="another")
    leave(tmp_path / "lock", other)
    with pytest.raises(LockedError, match="on another"):
        await take(tmp_path / "lock")
    for age in (STALE_SECONDS + 5, 10 * 365 * 86400, -10 * 365 * 86400):
        leave(tmp_path / "lock", other, age)
        await take(tmp_path / "lock")


@pytest.mark.parametrize("text", ["", "{", "[]", "[" * 100_000, '{"pid": "x"}', "\0"])
async def test_a_torn_holder_file_locks_nobody_out(text: str, tmp_path: Path) -> None:
    leave(tmp_path / "lock", text)
    await take(tmp_path / "lock")


async def test_a_link_in_place_of_the_lock_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").write_bytes(b"1")
    (tmp_path / "lock").symlink_to(tmp_path / "precious")
    with pytest.raises(OSError, match="lock") as caught:
        await take(tmp_path / "lock")
    assert caught.value.errno == errno.ELOOP
    assert (tmp_path / "precious").read_bytes() == b"1"


async def test_a_moment_without_threads_does_not_end_the_signs_of_life(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()
    run_in_executor = loop.run_in_executor
    refused = 0

    def refuse_twice(executor: None, function: Callable[..., object], *arguments: object) -> object:
        nonlocal refused
        if getattr(function, "__name__", "") == "_beat" and refused < 2:
            refused += 1
            raise RuntimeError("can't start new thread")
        return run_in_executor(executor, function, *arguments)

    monkeypatch.setattr(lock, "BEAT_SECONDS", 0.05)
    async with Locks(keep=False) as locks:
        await asyncio.to_thread(locks.take, tmp_path / "lock", "at it")
        monkeypatch.setattr(loop, "run_in_executor", refuse_twice)
        holder = tmp_path / "lock.holder"
        await asyncio.to_thread(os.utime, holder, (0, 0))
        async with asyncio.timeout(20):
            while (await asyncio.to_thread(holder.stat)).st_mtime == 0:  # noqa: ASYNC110 - a file tells nobody
                await asyncio.sleep(0.02)
    assert refused == 2
