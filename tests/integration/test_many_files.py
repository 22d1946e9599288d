"""``fetch`` of very many small files: one request each, and as safe as one file."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fdf256_fast import DigestMismatch, Limits, LockedError, Progress, TransferError, UsageError, durable
from fdf256_fast.catalog import Digest
from fdf256_fast.errors import StorageError
from fdf256_fast.fetching import Wanted, fetch_files
from fdf256_fast.lock import locked
from fdf256_fast.origin import Origin
from tests.integration.oracles import bytes_of
from tests.integration.runs import Recorder, sent

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

MANY = 200
FILES = {f"{number:03}.bin": bytes_of(number * 1500, number) for number in range(MANY)}


@pytest.fixture
async def origin(tmp_path: Path) -> AsyncIterator[Origin]:
    served = tmp_path / "served"
    served.mkdir()
    for name, data in FILES.items():
        (served / name).write_bytes(data)
    async with Origin(served) as running:
        yield running


def wanted(origin: Origin, folder: Path) -> list[Wanted]:
    return [Wanted(f"{origin.url}/{name}", folder / name) for name in FILES]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


async def test_each_takes_one_request_and_leaves_nothing_beside_it(origin: Origin, tmp_path: Path) -> None:
    report = await fetch_files(wanted(origin, tmp_path / "out"), Limits(), Progress())
    assert contents(tmp_path / "out") == FILES
    assert report.files == MANY
    assert [archive.bytes for archive in report.archives] == [len(data) for data in FILES.values()]
    # The last ones share all connections, as a single file would.
    assert origin.requests <= MANY + 2 * Limits().connections_start


async def test_what_is_wrong_with_some_does_not_keep_the_others(origin: Origin, tmp_path: Path) -> None:
    (tmp_path / "served/150.bin").unlink()
    ordered = [
        replace(one, digest=Digest("md5", "0" * 32)) if one.path.name == "020.bin" else one
        for one in wanted(origin, tmp_path / "out")
    ]
    with pytest.raises(DigestMismatch) as caught:
        await fetch_files(ordered, Limits(), Progress())
    # Wrong bytes come before absent ones, whichever was seen first.
    assert "020.bin" in str(caught.value)
    assert "1 more failed: 150.bin" in str(caught.value)
    assert "The 198 others are complete" in caught.value.hint
    report = caught.value.report
    assert report is not None
    assert report.files == MANY - 2
    errors = {archive.name: archive.error for archive in report.archives if archive.error}
    assert set(errors) == {"020.bin", "150.bin"}
    assert "404" in errors["150.bin"]
    assert contents(tmp_path / "out") == {name: data for name, data in FILES.items() if name not in errors}
    (tmp_path / "served/150.bin").write_bytes(FILES["150.bin"])
    await fetch_files(wanted(origin, tmp_path / "out"), Limits(), Progress())
    assert contents(tmp_path / "out") == FILES


async def test_a_refusal_alone_is_a_transfer_error_that_does_not_say_to_try_again(
    origin: Origin, tmp_path: Path
) -> None:
    (tmp_path / "served/150.bin").unlink()
    with pytest.raises(TransferError, match=r"150\.bin") as caught:
        await fetch_files(wanted(origin, tmp_path / "out"), Limits(), Progress())
    assert "will not help" in caught.value.hint
    assert "run the same command" not in caught.value.hint


async def test_what_arrived_of_one_that_failed_is_kept(origin: Origin, tmp_path: Path) -> None:
    """The others go on for a while, and its journal must not wait for them."""
    served = tmp_path / "served"
    large = bytes_of(8_000_000, 1)
    (served / "large.bin").write_bytes(large)
    broken = Origin(served)
    async with broken:
        broken.cut(5_000_000)
        files = [
            Wanted(f"{broken.url}/large.bin", tmp_path / "out/large.bin"),
            *wanted(origin, tmp_path / "out"),
        ]
        with pytest.raises(TransferError) as caught:
            await fetch_files(files, Limits(retries=0, connections=2), Progress())
        assert caught.value.report is not None
        assert caught.value.report.files == MANY
        broken.restore()
        report = await fetch_files(files[:1], Limits(), Progress())
    assert report.bytes_resumed > 1_000_000
    assert (tmp_path / "out/large.bin").read_bytes() == large


async def test_where_nobody_answers_not_every_file_is_waited_for(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    gone = [Wanted(f"http://127.0.0.1:{port}/{name}", tmp_path / "out" / name) for name in FILES]
    recorder = Recorder()
    with pytest.raises(TransferError, match="199 more failed") as caught:
        await fetch_files(gone, Limits(retries=1, connections=4), recorder)
    assert "run the same command again" in caught.value.hint
    spared = [message for message in recorder.messages if "was not asked for" in message]
    assert len(spared) > MANY // 2


async def test_one_that_another_process_is_at_is_left_to_it(origin: Origin, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    async with locked(tmp_path / "out/100.bin.part.lock", "fetching it", keep=False):
        with pytest.raises(LockedError):
            await fetch_files(wanted(origin, tmp_path / "out"), Limits(), Progress())
        assert not (tmp_path / "out/100.bin").exists()
    await fetch_files(wanted(origin, tmp_path / "out"), Limits(), Progress())
    assert contents(tmp_path / "out") == FILES


async def test_what_cannot_be_forced_to_the_disk_does_not_become_visible(
    origin: Origin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise StorageError("the disk is ill", errno=errno.EIO)

    def refuse_some(file: int, fsync: object = os.fsync) -> None:
        if Path(f"/proc/self/fd/{file}").readlink().name == "120.bin.part":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        assert callable(fsync)
        fsync(file)

    monkeypatch.setattr(durable, "sync_file_system", refuse)
    monkeypatch.setattr(os, "fsync", refuse_some)
    with pytest.raises(StorageError, match=r"120\.bin"):
        await fetch_files(wanted(origin, tmp_path / "out"), Limits(), Progress())
    assert not (tmp_path / "out/120.bin").exists()
    assert (tmp_path / "out/120.bin.part").exists()


@pytest.mark.parametrize("suffix", [".part", ".part.journal", ".part.lock"])
async def test_a_file_where_another_grows_is_refused(suffix: str, origin: Origin, tmp_path: Path) -> None:
    out = tmp_path / "out"
    both = [Wanted(f"{origin.url}/100.bin", out / "x"), Wanted(f"{origin.url}/101.bin", out / f"x{suffix}")]
    with pytest.raises(UsageError, match="grows"):
        await fetch_files(both, Limits(), Progress())
    assert not out.exists()
    with pytest.raises(UsageError, match="same file"):
        await fetch_files([both[0], replace(both[1], path=out / "y/../x")], Limits(), Progress())


async def test_a_file_that_another_has_put_in_place_of_the_part_is_not_taken_for_it(tmp_path: Path) -> None:
    served, out = tmp_path / "served", tmp_path / "out"
    served.mkdir()
    (served / "a.bin").write_bytes(bytes_of(2_000_000, 1))
    async with Origin(served, rate=4_000_000) as origin:
        job = asyncio.create_task(
            fetch_files([Wanted(f"{origin.url}/a.bin", out / "a.bin")], Limits(), Progress())
        )
        await sent(origin, 500_000)
        (out / "other").write_bytes(b"another's")
        (out / "other").replace(out / "a.bin.part")
        with pytest.raises(StorageError, match="another file than was written"):
            await job
    assert not (out / "a.bin").exists()
    assert (out / "a.bin.part").read_bytes() == b"another's"
