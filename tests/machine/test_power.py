"""What the disk has lost of what the journal promises is found, and nothing else is fetched again."""

from __future__ import annotations

import errno
import hashlib
import os
import random
import zlib
from typing import TYPE_CHECKING

import pytest

from fdf256_fast import IntegrityError, Limits, StorageError, fetch, install
from fdf256_fast.archive_run import ArchiveRun
from fdf256_fast.origin import Origin
from tests.integration.oracles import bytes_of, check_installed, check_manifest, same_tree
from tests.integration.runs import Recorder
from tests.machine.sites import (
    ALONE,
    ASKED_ANYWAY_BYTES,
    FILE_BYTES,
    FILES,
    cut_off,
    make_site,
    start_machine_anew,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fdf256_fast._core import Directory


def drop(path: Path) -> None:
    path.unlink()


def shorten(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 3)


def empty(path: Path) -> None:
    os.truncate(path, 0)


def zero(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def zero_the_second_half(path: Path) -> None:
    half = path.stat().st_size // 2
    with path.open("r+b") as file:
        file.seek(half)
        file.write(bytes(path.stat().st_size - half))


each_damage = pytest.mark.parametrize("damage", [drop, shorten, empty, zero, zero_the_second_half])
each_plain_damage = pytest.mark.parametrize("damage", [drop, shorten, empty])


@each_plain_damage
async def test_staged_files_that_are_gone_are_fetched_again_alone(
    damage: Callable[[Path], None], tmp_path: Path
) -> None:
    site = make_site(tmp_path)
    async with Origin(site.folder) as origin:
        catalog = site.catalog(origin)
        await site.begin(origin, catalog)
        passed, lost = site.frontier, site.kept[:12:3]
        for path in lost:
            damage(path)
        before = origin.bytes_sent
        report, messages = await site.finish(catalog)
        sent = origin.bytes_sent - before
    assert sent <= site.size - passed + len(lost) * (FILE_BYTES + 200) + ASKED_ANYWAY_BYTES
    assert any(f"{len(lost)} of the files" in message for message in messages), messages
    assert report.verified == "md5"
    assert report.bytes_resumed <= passed - len(lost) * FILE_BYTES + ASKED_ANYWAY_BYTES
    assert report.bytes_resumed + report.bytes_downloaded >= site.size
    check_installed(site.target, site.tree)


@each_damage
@pytest.mark.parametrize("digest", [True, False], ids=["digest", "no digest"])
async def test_after_a_power_cut_files_with_other_bytes_are_found_and_fetched_again_alone(
    damage: Callable[[Path], None], digest: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = make_site(tmp_path)
    async with Origin(site.folder) as origin:
        catalog = site.catalog(origin, digest=digest)
        await site.begin(origin, catalog)
        passed, lost = site.frontier, site.staged[1:13:3]
        for path in lost:
            damage(path)
        start_machine_anew(monkeypatch)
        before = origin.bytes_sent
        report, _ = await site.finish(catalog)
        sent = origin.bytes_sent - before
    assert sent <= site.size - passed + len(lost) * (FILE_BYTES + 200) + ASKED_ANYWAY_BYTES
    assert report.verified == ("md5" if digest else "crc32")
    check_installed(site.target, site.tree)


@each_damage
async def test_lost_records_are_made_again_from_the_files(
    damage: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = make_site(tmp_path)
    async with Origin(site.folder) as origin:
        catalog = site.catalog(origin)
        await site.begin(origin, catalog)
        passed = site.frontier
        damage(site.home / "records" / "a")
        start_machine_anew(monkeypatch)
        before = origin.bytes_sent
        report, _ = await site.finish(catalog)
        assert origin.bytes_sent - before <= site.size - passed + ASKED_ANYWAY_BYTES
    assert report.verified == "md5"
    check_installed(site.target, site.tree)


async def test_what_is_lost_with_its_record_is_not_said_to_be_vouched_for_by_the_digest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = make_site(tmp_path)
    async with Origin(site.folder) as origin:
        catalog = site.catalog(origin)
        await site.begin(origin, catalog)
        (site.home / "records" / "a").unlink()
        zero(site.staged[0])
        start_machine_anew(monkeypatch)
        report, _ = await site.finish(catalog)
    assert report.verified == "crc32"
    check_installed(site.target, site.tree)


@each_damage
async def test_a_lost_end_of_the_archive_is_asked_for_again_and_nothing_else(
    damage: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = make_site(tmp_path)
    async with Origin(site.folder) as origin:
        catalog = site.catalog(origin)
        await site.begin(origin, catalog)
        passed = site.frontier
        damage(site.home / "ends" / "a")
        before = origin.bytes_sent
        await site.finish(catalog)
        assert origin.bytes_sent - before <= site.size - passed + ASKED_ANYWAY_BYTES
    check_installed(site.target, site.tree)


async def test_a_lost_end_does_not_let_another_version_of_the_archive_in(tmp_path: Path) -> None:
    site = make_site(tmp_path)
    (tmp_path / "other").mkdir()
    members = {f"train/images/{i:03}.bin": bytes_of(FILE_BYTES, i + 99) for i in range(FILES)}
    other = make_site(tmp_path / "other", members)
    async with Origin(site.folder) as origin:
        catalog = site.catalog(origin, digest=False)
        await site.begin(origin, catalog)
        (site.home / "ends" / "a").unlink()
        other.archive.replace(site.archive)
        _, messages = await site.finish(catalog)
    assert any("starts anew" in message for message in messages)
    check_installed(site.target, other.tree)


async def test_a_verified_archive_that_lost_files_before_it_was_published_gets_those_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = make_site(tmp_path)
    async with Origin(site.folder) as origin:
        catalog = site.catalog(origin)
        with monkeypatch.context() as patch:
            patch.setattr("fdf256_fast.installation.write_manifest", _refuse)
            with pytest.raises(OSError, match="no"):
                await install(site.target, catalog=catalog)
        lost = site.staged[::7]
        for path in lost:
            zero(path)
        start_machine_anew(monkeypatch)
        before = origin.bytes_sent
        report, _ = await site.finish(catalog)
        assert origin.bytes_sent - before <= len(lost) * (FILE_BYTES + 200) + ASKED_ANYWAY_BYTES
    assert report.verified == "md5"
    assert 0 < report.bytes_downloaded < report.bytes_resumed
    check_installed(site.target, site.tree)


def _refuse(*_: object) -> int:
    raise OSError("no")


async def test_a_file_fetched_again_must_be_the_very_one_that_the_digest_saw(tmp_path: Path) -> None:
    """The record tells, where a CRC-32 could be met on purpose: here the record is of another file."""
    site = make_site(tmp_path)
    async with Origin(site.folder) as origin:
        catalog = site.catalog(origin)
        await site.begin(origin, catalog)
        records = site.home / "records" / "a"
        wrong = hashlib.sha256(b"another").digest()
        index = 2
        check = zlib.crc32(index.to_bytes(8, "little") + wrong).to_bytes(4, "little")
        with records.open("r+b") as file:
            file.seek(36 * index)
            file.write(wrong + check)
        site.staged[index].unlink()
        with pytest.raises(IntegrityError, match="verified before"):
            await install(site.target, catalog=catalog)
    assert {path.name for path in site.target.iterdir()} == {".fdf256"}


# ---- large members ---------------------------------------------------------------------------------

STREAMED = Limits(connections=1, retries=0, memory_bytes=4 << 20)
"""So little memory that a member of some megabytes does not fit into the window."""


@pytest.mark.parametrize("method", [0, 8], ids=["stored", "deflated"])
@pytest.mark.parametrize("damage", [drop, shorten, zero])
async def test_a_large_member_cut_off_in_its_middle_goes_back_to_its_start_at_most(
    method: int, damage: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = random.Random(256).randbytes(6_000_000)
    members = {f"{i:02}.bin": bytes_of(50_000, i) for i in range(20)} | {"large.bin": noise}
    site = make_site(tmp_path, members, method)
    async with Origin(site.folder) as origin:
        catalog = site.catalog(origin)
        await site.begin(origin, catalog, share=0.75, limits=STREAMED)
        assert site.state["stream"] is not None
        damage(site.home / "spool" / "a" if method else site.home / "staging" / "a" / "large.bin")
        start_machine_anew(monkeypatch)
        before = origin.bytes_sent
        recorder = Recorder()
        report = await install(site.target, catalog=catalog, limits=STREAMED, progress=recorder)
        assert origin.bytes_sent - before <= len(noise) + 2 * ASKED_ANYWAY_BYTES + 1_000_000 * (method == 0)
    assert report.verified == "md5"
    check_installed(site.target, site.tree)


async def test_a_large_member_that_is_lost_after_it_was_done_is_streamed_again(tmp_path: Path) -> None:
    noise = random.Random(1).randbytes(5_000_000)
    rest = {f"{i:02}.bin": random.Random(i).randbytes(100_000) for i in range(20)}
    site = make_site(tmp_path, {"large.bin": noise, **rest}, 8)
    async with Origin(site.folder) as origin:
        catalog = site.catalog(origin)
        await site.begin(origin, catalog, share=0.98, limits=STREAMED)
        (site.home / "staging" / "a" / "large.bin").unlink()
        report = await install(site.target, catalog=catalog, limits=STREAMED)
    assert report.verified == "md5"
    check_installed(site.target, site.tree)


async def test_a_large_member_that_ended_after_the_last_journal_is_not_fetched_again(tmp_path: Path) -> None:
    noise = random.Random(2).randbytes(6_000_000)
    rest = {f"{i:02}.bin": random.Random(i).randbytes(100_000) for i in range(20)}
    site = make_site(tmp_path, {"large.bin": noise, **rest}, 8)
    async with Origin(site.folder) as origin:
        catalog = site.catalog(origin)
        await site.begin(origin, catalog, share=0.5, limits=STREAMED)
        assert site.state["stream"] is not None
        frontier, journal = site.frontier, (site.home / "journal").read_bytes()
        await site.begin(origin, catalog, share=0.4, limits=STREAMED)
        assert site.state["stream"] is None
        assert not (site.home / "spool" / "a").exists()
        # As it is after a kill just behind the member's end.
        (site.home / "journal").write_bytes(journal)
        before = origin.bytes_sent
        report = await install(site.target, catalog=catalog, limits=STREAMED)
        assert origin.bytes_sent - before <= site.size - frontier + ASKED_ANYWAY_BYTES
    assert report.verified == "md5"
    check_installed(site.target, site.tree)


# ---- kept archives, plain files --------------------------------------------------------------------


@each_damage
async def test_a_kept_archive_is_believed_as_far_as_it_can_be_proven(
    damage: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = make_site(tmp_path)
    async with Origin(site.folder) as origin:
        catalog = site.catalog(origin)
        await site.begin(origin, catalog, keep_archives=True)
        damage(site.home / "archives" / "a.zip.part")
        start_machine_anew(monkeypatch)
        report, _ = await site.finish(catalog, keep_archives=True)
    assert report.verified == "md5"
    same_tree(site.target, site.tree)
    check_manifest(site.target)
    assert (site.home / "archives" / "a.zip").read_bytes() == site.archive.read_bytes()


async def test_doubts_about_a_kept_archive_outlive_a_run_that_is_cut_off_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = make_site(tmp_path)
    recheck = ArchiveRun._recheck

    async def cut_off_after(run: ArchiveRun, directory: Directory, **options: bool) -> None:
        await recheck(run, directory, **options)
        raise StorageError("cut off")

    async with Origin(site.folder) as origin:
        catalog = site.catalog(origin)
        await site.begin(origin, catalog, keep_archives=True)
        zero(site.home / "archives" / "a.zip.part")
        start_machine_anew(monkeypatch)
        with monkeypatch.context() as patch:
            patch.setattr(ArchiveRun, "_recheck", cut_off_after)
            with pytest.raises(StorageError, match="cut off"):
                await site.finish(catalog, keep_archives=True)
        await site.finish(catalog, keep_archives=True)
    assert (site.home / "archives" / "a.zip").read_bytes() == site.archive.read_bytes()
    same_tree(site.target, site.tree)


async def test_what_the_disk_could_not_write_is_read_before_it_is_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = make_site(tmp_path)

    def fail(_folder: Path) -> None:
        # The system says so once only; what it could not write is lost.
        for path in site.staged[::7]:
            zero(path)
        raise StorageError("cannot write to disk", errno=errno.EIO)

    async with Origin(site.folder) as origin:
        catalog = site.catalog(origin)
        with monkeypatch.context() as patch:
            patch.setattr("fdf256_fast.installation.sync_file_system", fail)
            with pytest.raises(StorageError, match="cannot write to disk"):
                await install(site.target, catalog=catalog)
        report, _ = await site.finish(catalog)
    assert report.bytes_downloaded < report.bytes_resumed
    check_installed(site.target, site.tree)


async def test_a_file_that_the_disk_could_not_write_is_read_before_it_is_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "served").mkdir()
    (tmp_path / "served/a.bin").write_bytes(CONTENT)
    goal = tmp_path / "a.bin"

    def fail(paths: list[Path]) -> list[StorageError | None]:
        for path in paths:
            if path.is_file():
                zero_the_second_half(path)
        return [StorageError("cannot write to disk", errno=errno.EIO) for _ in paths]

    async with Origin(tmp_path / "served") as origin:
        with monkeypatch.context() as patch:
            patch.setattr("fdf256_fast.fetching.sync_files", fail)
            with pytest.raises(StorageError, match="cannot write to disk"):
                await fetch(f"{origin.url}/a.bin", goal)
        assert not goal.exists()
        await fetch(f"{origin.url}/a.bin", goal)
    assert goal.read_bytes() == CONTENT


SIZE = 12_000_017
CONTENT = bytes_of(SIZE)


async def _begin_fetch(origin: Origin, goal: Path, digest: str | None) -> None:
    url = f"{origin.url}/a.bin"
    await cut_off(origin, SIZE * 3 // 4, fetch(url, goal, digest=digest, limits=ALONE))


@pytest.mark.parametrize("algorithm", ["", "md5", "sha256", "crc32"])
@pytest.mark.parametrize("anew", [False, True], ids=["same start", "another start"])
async def test_a_part_that_became_shorter_is_kept_as_far_as_it_goes(
    algorithm: str, anew: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "a.bin").write_bytes(CONTENT)
    digest = {
        "": None,
        "md5": f"md5:{hashlib.md5(CONTENT).hexdigest()}",
        "sha256": f"sha256:{hashlib.sha256(CONTENT).hexdigest()}",
        "crc32": f"crc32:{zlib.crc32(CONTENT):08x}",
    }[algorithm]
    goal = tmp_path / "out.bin"
    async with Origin(tmp_path / "served") as origin:
        await _begin_fetch(origin, goal, digest)
        os.truncate(tmp_path / "out.bin.part", SIZE // 2)
        if anew:
            start_machine_anew(monkeypatch)
        before = origin.bytes_sent
        await fetch(f"{origin.url}/a.bin", goal, digest=digest)
        sent = origin.bytes_sent - before
    # Between two starts of the machine only what a mark proves is believed.
    assert sent <= SIZE // 2 + (4_000_000 if anew else 10)
    assert goal.read_bytes() == CONTENT
    assert {path.name for path in tmp_path.iterdir()} == {"served", "out.bin"}


@pytest.mark.parametrize("digest", [None, f"md5:{hashlib.md5(CONTENT).hexdigest()}"], ids=["none", "md5"])
async def test_zeros_in_a_part_after_a_power_cut_are_found_and_the_sound_beginning_is_kept(
    digest: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "a.bin").write_bytes(CONTENT)
    goal = tmp_path / "out.bin"
    async with Origin(tmp_path / "served") as origin:
        await _begin_fetch(origin, goal, digest)
        with (tmp_path / "out.bin.part").open("r+b") as part:
            part.seek(SIZE // 2)
            part.write(bytes(100_000))
        start_machine_anew(monkeypatch)
        before = origin.bytes_sent
        await fetch(f"{origin.url}/a.bin", goal, digest=digest)
        sent = origin.bytes_sent - before
    assert SIZE // 2 <= sent <= SIZE * 7 // 8
    assert goal.read_bytes() == CONTENT
