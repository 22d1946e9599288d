"""A disk that fills up at any stage: status 5, what was verified is kept, and with room it goes on."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import resource
import subprocess
from typing import TYPE_CHECKING

import pytest

import fdf256_fast.installation
from fdf256_fast import StorageError, fetch, install
from fdf256_fast.journal import Entry, Journal, read_journal, render, write_journal, write_journal_now
from fdf256_fast.origin import Origin
from tests.integration.oracles import bytes_of, check_installed, sha256, tree_of
from tests.integration.runs import command
from tests.machine.sites import ALONE, ASKED_ANYWAY_BYTES, FILE_BYTES, make_site

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator
    from pathlib import Path

BLOCK = 4096


@contextlib.contextmanager
def small_disk(folder: Path, size: int, *, files: int = 0) -> Iterator[Path]:
    """A disk of so many bytes (and files).  Where nothing can be mounted there is none: the test says so."""
    folder.mkdir()
    options = f"size={size}" + (f",nr_inodes={files}" if files else "")
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder],
        check=False,
        capture_output=True,
        text=True,
    )
    if made.returncode != 0:
        pytest.skip(f"nothing can be mounted here, see the tests with a limit instead: {made.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def resize(folder: Path, size: int, files: int = 0) -> None:
    options = f"remount,size={size},nr_inodes={files}"
    subprocess.run(["mount", "-o", options, folder], check=True, capture_output=True)


async def refusal(run: Coroutine[object, object, object]) -> StorageError | None:
    """What the disk said, if it was too small."""
    try:
        await run
    except StorageError as error:
        return error
    return None


@pytest.fixture
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody else fills the disk after the check before the start."""
    monkeypatch.setattr(fdf256_fast.installation, "check_space", lambda *_: None)
    monkeypatch.setattr("fdf256_fast.fetching.check_space", lambda *_: None)


async def test_what_is_missing_is_said_before_anything_is_fetched(tmp_path: Path) -> None:
    site = make_site(tmp_path)
    with small_disk(tmp_path / "target", 1 << 20):
        async with Origin(site.folder) as origin:
            with pytest.raises(StorageError, match="are missing") as caught:
                await install(site.target, catalog=site.catalog(origin))
            assert origin.bytes_sent < ASKED_ANYWAY_BYTES
        assert caught.value.errno == errno.ENOSPC
        assert caught.value.filename == str(site.target)


async def test_files_that_the_disk_has_no_room_for_are_said_before_anything_is_fetched(
    tmp_path: Path,
) -> None:
    site = make_site(tmp_path)
    with small_disk(tmp_path / "target", 1 << 26, files=40):
        async with Origin(site.folder) as origin:
            with pytest.raises(StorageError, match="inodes"):
                await install(site.target, catalog=site.catalog(origin))


async def test_a_fetch_says_what_is_missing_before_it_writes(tmp_path: Path) -> None:
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "a.bin").write_bytes(bytes_of(3_000_000))
    with small_disk(tmp_path / "target", 1 << 20) as disk:
        async with Origin(tmp_path / "served") as origin:
            with pytest.raises(StorageError, match="are missing"):
                await fetch(f"{origin.url}/a.bin", disk)
            assert {path.name for path in disk.iterdir()} <= {"a.bin.part"}


# From a disk that cannot hold the directory's end to one that lacks nothing but the manifest.
SIZES = [1, 2, 3, 8, 14, 20, 30, 60, 110, 200, 300, 400, 450, 480, 495, 500, 505, 510, 515, 520]


@pytest.mark.parametrize("blocks", SIZES)
async def test_a_disk_that_fills_up_keeps_what_is_verified_and_the_run_goes_on(
    blocks: int, unchecked: None, tmp_path: Path
) -> None:
    site = make_site(tmp_path)
    with small_disk(tmp_path / "target", blocks * BLOCK):
        async with Origin(site.folder) as origin:
            catalog = site.catalog(origin)
            frontier = 0
            error = await refusal(install(site.target, catalog=catalog, limits=ALONE))
            if error is not None:
                assert error.errno == errno.ENOSPC
                assert error.filename is not None
                assert str(site.target) in error.filename
                assert "what was verified is kept" in str(error) or "run the same command" in str(error)
                journal = await read_journal(site.home / "journal")
                assert not journal.problem
                if journal.entries and journal.entries["a"].state:
                    frontier = site.frontier
                assert not {"train"} & tree_of(site.target).keys() or journal.publishing
            resize(tmp_path / "target", 1 << 26)
            before = origin.bytes_sent
            await site.finish(catalog)
            assert origin.bytes_sent - before <= site.size - frontier + ASKED_ANYWAY_BYTES
        check_installed(site.target, site.tree)


@pytest.mark.parametrize("files", [3, 5, 7, 9, 12, 20, 40, 70, 72, 74])
async def test_a_disk_without_room_for_more_files_is_survived_as_well(
    files: int, unchecked: None, tmp_path: Path
) -> None:
    site = make_site(tmp_path)
    with small_disk(tmp_path / "target", 1 << 26, files=files):
        async with Origin(site.folder) as origin:
            catalog = site.catalog(origin)
            with contextlib.suppress(StorageError):
                await install(site.target, catalog=catalog, limits=ALONE)
            resize(tmp_path / "target", 1 << 26)
            await site.finish(catalog)
        check_installed(site.target, site.tree)


@pytest.mark.parametrize("blocks", [0, 1, 5, 6, 7, 100, 400, 700, 730, 733, 740])
async def test_a_fetch_that_fills_the_disk_goes_on_from_where_it_was(
    blocks: int, unchecked: None, tmp_path: Path
) -> None:
    content = bytes_of(3_000_000)
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "a.bin").write_bytes(content)
    with small_disk(tmp_path / "target", blocks * BLOCK or 1) as disk:
        async with Origin(tmp_path / "served") as origin:
            url = f"{origin.url}/a.bin"
            error = await refusal(fetch(url, disk / "a.bin", limits=ALONE))
            if error is not None:
                assert error.exit_status == 5
                assert error.filename is not None
                assert str(disk) in error.filename
            resize(disk, 1 << 26)
            await fetch(url, disk / "a.bin")
        assert (disk / "a.bin").read_bytes() == content
        assert {path.name for path in disk.iterdir()} == {"a.bin"}


def test_a_journal_is_written_even_when_the_disk_has_become_full(tmp_path: Path) -> None:
    with small_disk(tmp_path / "target", 20 * BLOCK) as disk:
        asyncio.run(write_journal(disk / "journal", Journal(entries={"a": Entry("first")})))
        with contextlib.suppress(OSError), (disk / "rest").open("wb", buffering=0) as file:
            while True:
                file.write(bytes(BLOCK))
        assert os.statvfs(disk).f_bavail == 0
        journal = Journal(entries={"a": Entry("second")})
        asyncio.run(write_journal(disk / "journal", journal))
        assert (disk / "journal").read_text() == render(journal, _boot())
        last = Journal(entries={"a": Entry("third")})
        write_journal_now(disk / "journal", last)
        assert (disk / "journal").read_text() == render(last, _boot())


def _boot() -> str:
    from fdf256_fast.durable import boot_id  # noqa: PLC0415

    return boot_id()


async def test_the_command_ends_with_status_5_and_says_how_much(tmp_path: Path) -> None:
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "a.bin").write_bytes(bytes_of(3_000_000))
    with small_disk(tmp_path / "target", 1 << 20) as disk:
        async with Origin(tmp_path / "served") as origin:
            done = await command("fetch", f"{origin.url}/a.bin", "-d", disk, "--progress", "none")
    assert done.status == 5, done.stderr
    assert "missing" in done.stderr
    assert "Traceback" not in done.stderr


# ---- where nothing can be mounted ------------------------------------------------------------------


@pytest.mark.parametrize("limit", [2_000, 10_000, FILE_BYTES - 1, 25_000])
async def test_a_file_that_may_not_become_large_enough_is_a_storage_error_and_then_all_goes_on(
    limit: int, tmp_path: Path
) -> None:
    """No disk to fill: the system refuses files beyond a limit (EFBIG), as with a quota."""
    site = make_site(tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    async with Origin(site.folder) as origin:
        catalog = site.catalog(origin)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        try:
            with pytest.raises(StorageError) as caught:
                await install(site.target, catalog=catalog, limits=ALONE)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert caught.value.errno == errno.EFBIG
        assert tree_of(site.target) == {}
        await site.finish(catalog)
    check_installed(site.target, site.tree)
    assert sha256(site.archive)
