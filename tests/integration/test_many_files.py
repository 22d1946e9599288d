"""``fetch`` of very many small files: one request each, and as safe as one file."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fdf256_fast import Limits, LockedError, Progress, TransferError, durable
from fdf256_fast.errors import StorageError
from fdf256_fast.fetching import Wanted, fetch_files
from fdf256_fast.lock import locked
from fdf256_fast.origin import Origin
from tests.integration.oracles import bytes_of

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


async def test_an_error_of_one_names_it_and_keeps_what_is_done(origin: Origin, tmp_path: Path) -> None:
    (tmp_path / "served/150.bin").unlink()
    with pytest.raises(TransferError, match=r"150\.bin") as caught:
        await fetch_files(wanted(origin, tmp_path / "out"), Limits(), Progress())
    assert caught.value.report is not None
    assert len(caught.value.report.archives) == MANY
    visible = {name: data for name, data in contents(tmp_path / "out").items() if name in FILES}
    assert visible.items() <= FILES.items()
    assert caught.value.report.files == len(visible)
    assert not list((tmp_path / "out").glob("*.lock*"))
    (tmp_path / "served/150.bin").write_bytes(FILES["150.bin"])
    await fetch_files(wanted(origin, tmp_path / "out"), Limits(), Progress())
    assert contents(tmp_path / "out") == FILES


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
