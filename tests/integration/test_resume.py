"""Whatever ends a run, the next one goes on; and what changed in between is never mixed."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import random
import signal
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from fdf256_fast import IntegrityError, Limits, TransferError, install
from fdf256_fast.catalog import Catalog, parse_catalog
from fdf256_fast.origin import Origin
from tests.integration.oracles import (
    bytes_of,
    check_installed,
    tree_of,
    unzipped,
    write_zip,
)
from tests.integration.runs import Recorder, cancelled, command, ended, sent, started
from tests.servers import aiohttp_server, application_server, nginx, origin, python_server

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from fdf256_fast.progress import Progress, Snapshot
    from fdf256_fast.report import Report
    from fdf256_fast.synthetic import Compression
    from tests.integration.oracles import Published, Tree
    from tests.servers import Serve

    Publish = Mapping[Compression, Published]

KILL_COSTS_SECONDS = 2.0
"""What the design promises: of transfer at the present speed."""

KILL_COSTS_BYTES = 1 << 20
"""What is asked for again at a start (the ends of five archives), and what sockets hold."""


def write_catalog(folder: Path, made: Published, url: str) -> Path:
    catalog = folder / "catalog.toml"
    catalog.write_text(made.dataset.catalog_toml(url), "utf-8")
    return catalog


# ---- ended from outside ----------------------------------------------------------------------------


async def test_runs_killed_at_random_moments_end_in_the_same_tree(larger: Published, tmp_path: Path) -> None:
    moments = random.Random(256)
    rate, kills = 6_000_000, 3
    target = tmp_path / "target"
    async with Origin(larger.folder, rate=rate) as source:
        catalog = write_catalog(tmp_path, larger, source.url)
        arguments = ("download", target, "--catalog", catalog, "--progress", "none", "--json")
        for _ in range(kills):
            async with started(*arguments) as process:
                await sent(source, source.bytes_sent + int(moments.uniform(0.3, 2.2) * rate), process)
                process.kill()
                assert (await ended(process)).status == -signal.SIGKILL
            assert tree_of(target) == {}
        done = await command(*arguments)
        assert done.status == 0, done.stderr
        most = larger.size + kills * (KILL_COSTS_SECONDS * rate + KILL_COSTS_BYTES)
        assert source.bytes_sent <= most
    assert done.report["bytes_resumed"] > 0
    check_installed(target, larger.tree)


async def test_a_run_killed_after_two_seconds_has_made_durable_progress(
    larger: Published, tmp_path: Path
) -> None:
    rate, seconds = 4_000_000, 3.0
    target = tmp_path / "target"
    async with Origin(larger.folder, rate=rate) as source:
        catalog = write_catalog(tmp_path, larger, source.url)
        arguments = ("download", target, "--catalog", catalog, "--progress", "none", "--json")
        async with started(*arguments) as process:
            await sent(source, int(rate * seconds), process)
            process.kill()
            await ended(process)
            had = source.bytes_sent
    async with Origin(larger.folder) as source:
        catalog = write_catalog(tmp_path, larger, source.url)
        done = await command(*arguments)
    assert done.status == 0, done.stderr
    assert done.report["bytes_resumed"] >= had - KILL_COSTS_SECONDS * rate - KILL_COSTS_BYTES
    check_installed(target, larger.tree)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_ends_the_command_soon_with_status_130_and_no_traceback(
    how: signal.Signals, published: Publish, tmp_path: Path
) -> None:
    made = published["mixed"]
    target = tmp_path / "target"
    async with Origin(made.folder, rate=made.size) as source:
        catalog = write_catalog(tmp_path, made, source.url)
        arguments = ("download", target, "--catalog", catalog, "--progress", "plain", "--json")
        async with started(*arguments) as process:
            await sent(source, made.size // 2, process)
            process.send_signal(how)
            # The promise is one second; a busy machine gets some more.
            async with asyncio.timeout(6):
                stopped = await ended(process)
        assert stopped.status == 130
        assert "Traceback" not in stopped.stderr
        report = stopped.report
        assert (report["ok"], report["error"], report["target"]) == (False, "interrupted", str(target))
        assert report["bytes_downloaded"] >= made.size // 4
        assert len(report["archives"]) == len(made.dataset.sizes)
        assert tree_of(target) == {}
        done = await command(*arguments)
    assert done.status == 0, done.stderr
    assert done.report["bytes_resumed"] > 0
    check_installed(target, made.tree)


async def test_a_lost_network_ends_with_status_4_and_the_next_run_goes_on(
    published: Publish, tmp_path: Path
) -> None:
    made = published["deflated"]
    target = tmp_path / "target"
    async with Origin(made.folder, rate=made.size) as source:
        catalog = write_catalog(tmp_path, made, source.url)
        arguments = (
            "download",
            target,
            "--catalog",
            catalog,
            "--progress",
            "none",
            "--retries",
            "1",
            "--json",
        )
        source.cut(made.size * 2 // 3)
        lost = await command(*arguments)
        assert lost.status == 4
        assert lost.report["ok"] is False
        assert "--mirror" in lost.stderr
        assert "Traceback" not in lost.stderr
        assert tree_of(target) == {}
        source.restore()
        done = await command(*arguments)
    assert done.status == 0, done.stderr
    assert done.report["bytes_resumed"] > 0
    check_installed(target, made.tree)


async def test_a_short_outage_is_survived_in_one_run(published: Publish, tmp_path: Path) -> None:
    made = published["mixed"]
    async with Origin(made.folder, rate=2 * made.size) as source:
        source.cut(made.size // 3)
        async with asyncio.TaskGroup() as group:
            job = group.create_task(install(tmp_path / "target", catalog=made.catalog(source.url)))
            await source.wait_until_cut()
            source.restore()
        assert job.result().retries > 0
    check_installed(tmp_path / "target", made.tree)


async def test_what_was_resumed_and_what_was_downloaded_are_the_whole_together(
    larger: Published, tmp_path: Path
) -> None:
    target = tmp_path / "target"
    async with Origin(larger.folder, rate=larger.size) as source:
        catalog = larger.catalog(source.url)
        await cancelled(
            lambda progress: install(target, catalog=catalog, progress=progress), larger.size // 4
        )
        report = await install(target, catalog=catalog)
    for archive in report.archives:
        assert archive.bytes_resumed <= archive.bytes
        assert archive.bytes_resumed + archive.bytes_downloaded >= archive.bytes, archive.name


@pytest.mark.parametrize("damage", [b"", b'{"version": 1}', b"\xff\xfe"])
async def test_a_damaged_journal_means_a_new_start_and_not_a_wrong_tree(
    damage: bytes, published: Publish, tmp_path: Path
) -> None:
    made = published["stored"]
    target = tmp_path / "target"
    limits = Limits(rate=1.5 * made.size)
    async with Origin(made.folder) as source:
        catalog = made.catalog(source.url)
        await cancelled(
            lambda progress: install(target, catalog=catalog, limits=limits, progress=progress),
            made.size // 4,
        )
        journal = target / ".fdf256" / "journal"
        assert journal.exists()
        journal.write_bytes(damage)
        recorder = Recorder()
        report = await install(target, catalog=catalog, progress=recorder)
    assert report.bytes_resumed == 0
    assert any("journal" in message for message in recorder.messages)
    check_installed(target, made.tree)


async def test_a_staged_file_that_somebody_removed_is_fetched_again(
    published: Publish, tmp_path: Path
) -> None:
    made = published["stored"]
    target = tmp_path / "target"
    limits = Limits(rate=1.5 * made.size)
    async with Origin(made.folder) as source:
        catalog = made.catalog(source.url)
        await cancelled(
            lambda progress: install(target, catalog=catalog, limits=limits, progress=progress),
            made.size // 8,
        )
        staged = [path for path in (target / ".fdf256" / "staging").rglob("*.png") if path.stat().st_size > 0]
        assert staged
        for path in staged[::3]:
            path.unlink()
        await install(target, catalog=catalog)
    check_installed(target, made.tree)


async def test_archives_that_were_finished_are_not_asked_for_again(tmp_path: Path) -> None:
    folder = tmp_path / "served"
    folder.mkdir()
    small = write_zip(folder / "small.zip", {"small.bin": bytes_of(1000)})
    large = write_zip(folder / "large.zip", {f"{i}.bin": bytes_of(40_000, i) for i in range(50)})
    tree = unzipped([small, large], tmp_path / "unzipped")
    target = tmp_path / "target"
    async with Origin(folder, rate=2_000_000) as source:
        catalog = plain_catalog(source.url, "small", "large")
        await cancelled(lambda progress: install(target, catalog=catalog, progress=progress), 30_000)
        report = await install(target, catalog=catalog)
    first, second = report.archives
    assert (first.bytes_downloaded, first.bytes_resumed) == (0, small.stat().st_size)
    assert 0 < second.bytes_downloaded < large.stat().st_size
    check_installed(target, tree)


# ---- the origin's file changes ---------------------------------------------------------------------

# Two versions have no member in common, so that one left over shows.
FILES, FILE_BYTES = 60, 30_000
RATE = 4_000_000
SLOW = Limits(rate=RATE, connections=2)


def write_version(path: Path, version: int, files: int = FILES) -> Path:
    """The archive's version, put in its place at once as a publisher would; each has a date of its own."""
    fresh = path.with_suffix(".new")
    members = {f"images/{version}-{i:03}.bin": bytes_of(FILE_BYTES, 50 * version + i) for i in range(files)}
    write_zip(fresh, members)
    # nginx's ETag and everybody's Last-Modified have whole seconds.
    os.utime(fresh, (1_600_000_000 + 60 * version, 1_600_000_000 + 60 * version))
    return fresh.replace(path)


def plain_catalog(url: str, *names: str, digest: str | None = None) -> Catalog:
    """Archives without a digest (or one with)."""
    return parse_catalog(plain_text(url, *names, digest=digest), "test catalog")


def plain_text(url: str, *names: str, digest: str | None = None) -> str:
    """The same as a file has it."""
    lines = ['name = "x"', 'title = "X"']
    for name in names:
        lines += ["[[archive]]", f'name = "{name}"', 'role = "images"', f'url = "{url}/{name}.zip"']
    if digest is not None:
        lines.append(f'digest = "{digest}"')
    return "\n".join(lines)


async def begin(target: Path, catalog: Catalog) -> None:
    """A run that is cut off about half-way."""

    async def job(progress: Progress) -> Report:
        return await install(target, catalog=catalog, limits=SLOW, progress=progress)

    await cancelled(job, FILES * FILE_BYTES // 2)


def version_trees(folder: Path, files: int) -> dict[int, Tree]:
    """What each version unpacks to."""
    folder.mkdir()
    return {
        version: unzipped([write_version(folder / f"{version}.zip", version, count)], folder / str(version))
        for version, count in [(1, FILES), (2, files)]
    }


@pytest.mark.parametrize("files", [FILES, FILES // 4], ids=["same size", "much shorter"])
async def test_a_file_replaced_between_two_runs_is_taken_anew_and_never_mixed(
    serve: Serve, files: int, tmp_path: Path
) -> None:
    folder = tmp_path / "served"
    folder.mkdir()
    target = tmp_path / "target"
    trees = version_trees(tmp_path / "versions", files)
    write_version(folder / "a.zip", 1)
    recorder = Recorder()
    async with serve(folder) as server:
        catalog = plain_catalog(server.url, "a")
        await begin(target, catalog)
        write_version(folder / "a.zip", 2, files)
        report = await install(target, catalog=catalog, progress=recorder)
    assert report.bytes_resumed == 0
    # A server without ranges left nothing to be dropped.
    assert serve is python_server or any("dropped" in message for message in recorder.messages)
    check_installed(target, trees[2])


async def test_the_catalogs_new_digest_drops_what_was_had_of_the_old_archive(tmp_path: Path) -> None:
    folder = tmp_path / "served"
    folder.mkdir()
    target = tmp_path / "target"
    trees = version_trees(tmp_path / "versions", FILES)
    digests = []
    recorder = Recorder()
    async with Origin(folder) as source:
        for version in (1, 2):
            archive = write_version(folder / "a.zip", version)
            digests.append(f"sha512:{hashlib.sha512(archive.read_bytes()).hexdigest()}")
            catalog = plain_catalog(source.url, "a", digest=digests[-1])
            if version == 1:
                await begin(target, catalog)
        report = await install(target, catalog=catalog, progress=recorder)
    assert digests[0] != digests[1]
    assert report.verified == "sha512"
    assert any("digest" in message and "dropped" in message for message in recorder.messages)
    check_installed(target, trees[2])


@pytest.mark.parametrize("serve", [nginx, aiohttp_server, origin, python_server])
async def test_a_replaced_file_that_the_digest_does_not_know_is_never_published(
    serve: Serve, tmp_path: Path
) -> None:
    folder = tmp_path / "served"
    folder.mkdir()
    target = tmp_path / "target"
    archive = write_version(folder / "a.zip", 1)
    digest = f"sha256:{hashlib.sha256(archive.read_bytes()).hexdigest()}"
    async with serve(folder) as server:
        catalog = plain_catalog(server.url, "a", digest=digest)
        await begin(target, catalog)
        write_version(folder / "a.zip", 2)
        with pytest.raises(IntegrityError) as caught:
            await install(target, catalog=catalog)
        assert caught.value.exit_status == 3
        assert tree_of(target) == {}
        # And when the publisher puts the right one back, it is installed.
        write_version(folder / "a.zip", 1)
        await install(target, catalog=catalog)
    check_installed(target, unzipped([archive], tmp_path / "unzipped"))


async def test_the_command_says_that_a_file_was_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "served"
    folder.mkdir()
    target = tmp_path / "target"
    digest = f"md5:{hashlib.md5(write_version(folder / 'a.zip', 1).read_bytes()).hexdigest()}"
    async with Origin(folder) as source:
        await begin(target, plain_catalog(source.url, "a", digest=digest))
        write_version(folder / "a.zip", 2)
        catalog = tmp_path / "catalog.toml"
        catalog.write_text(plain_text(source.url, "a", digest=digest), "utf-8")
        done = await command("download", target, "--catalog", catalog, "--progress", "plain")
    assert done.status == 3
    assert "replaced" in done.stderr
    assert "dropped" in done.stderr
    assert digest in done.stderr
    assert "Traceback" not in done.stderr
    assert tree_of(target) == {}


@pytest.mark.parametrize("files", [FILES, FILES - 7], ids=["same size", "shorter"])
async def test_a_file_replaced_during_a_run_is_taken_anew_and_never_mixed(files: int, tmp_path: Path) -> None:
    folder = tmp_path / "served"
    folder.mkdir()
    target = tmp_path / "target"
    trees = version_trees(tmp_path / "versions", files)
    write_version(folder / "a.zip", 1)
    loop = asyncio.get_running_loop()
    recorder = Recorder(
        FILES * FILE_BYTES // 4, lambda: loop.call_soon(write_version, folder / "a.zip", 2, files)
    )
    async with Origin(folder, rate=RATE) as source:
        catalog = plain_catalog(source.url, "a")
        # Two small spans at a time: most of the file is still to be asked for then.
        await install(target, catalog=catalog, limits=Limits(connections=2), progress=recorder)
    assert any("dropped" in message for message in recorder.messages)
    check_installed(target, trees[2])


@pytest.mark.parametrize("first_ranges", [True, False], ids=["lost", "gained"])
async def test_a_server_that_changes_its_mind_about_ranges_does_no_harm(
    first_ranges: bool, tmp_path: Path
) -> None:
    archive = write_version(tmp_path / "a.zip", 1)
    tree = unzipped([archive], tmp_path / "unzipped")
    target = tmp_path / "target"
    ranges = first_ranges

    async def answer(request: web.Request) -> web.StreamResponse:
        # As a balancer over two unlike servers: the same validator, with ranges or without.
        return web.FileResponse(archive) if ranges else web.Response(body=archive.read_bytes())

    async with application_server(answer) as url:
        catalog = plain_catalog(url, "a")
        await begin(target, catalog)
        ranges = not first_ranges
        await install(target, catalog=catalog)
    check_installed(target, tree)


async def test_a_stream_cut_off_while_it_is_unpacked_is_not_mixed_with_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without ranges the archive comes first and is unpacked then; here the end comes between."""
    folder = tmp_path / "served"
    folder.mkdir()
    target = tmp_path / "target"
    noise = random.Random(256)

    def write(version: int) -> Path:
        members = {f"{version}/{i:02}.bin": noise.randbytes(500_000) for i in range(50)}
        archive = write_zip(folder / "a.zip", members)
        os.utime(archive, (1_600_000_000 + 60 * version, 1_600_000_000 + 60 * version))
        return archive

    first_size = write(1).stat().st_size
    limits = Limits(memory_bytes=4 << 20, workers=1)
    async with python_server(folder) as server:
        catalog = plain_catalog(server.url, "a")
        job: asyncio.Task[Report]

        class Unpacks(Recorder):
            def updated(self, snapshot: Snapshot) -> None:
                if 0 < snapshot.archives[0].unpacked < 50:
                    job.cancel()

        # Unpacking takes less than a tenth of a second, which is how often counters are read.
        monkeypatch.setattr("fdf256_fast.watch.POLL_SECONDS", 0.002)
        monkeypatch.setattr("fdf256_fast.watch.SCREEN_SECONDS", 0.0)
        job = asyncio.create_task(install(target, catalog=catalog, limits=limits, progress=Unpacks()))
        # It may be too fast for the counters all the same: then it is just done.
        with contextlib.suppress(asyncio.CancelledError):
            await job
        second = write(2)
        assert second.stat().st_size == first_size
        if job.cancelled():
            assert tree_of(target) == {}
            await install(target, catalog=catalog, limits=limits)
            check_installed(target, unzipped([second], tmp_path / "unzipped"))


async def test_a_file_that_is_gone_ends_the_run_and_keeps_what_there_is(tmp_path: Path) -> None:
    folder = tmp_path / "served"
    folder.mkdir()
    target = tmp_path / "target"
    trees = version_trees(tmp_path / "versions", FILES)
    archive = write_version(folder / "a.zip", 1)
    async with Origin(folder) as source:
        catalog = plain_catalog(source.url, "a")
        await begin(target, catalog)
        archive.rename(tmp_path / "away.zip")
        with pytest.raises(TransferError, match="404"):
            await install(target, catalog=catalog)
        (tmp_path / "away.zip").rename(archive)
        report = await install(target, catalog=catalog)
    assert report.bytes_resumed > 0
    check_installed(target, trees[1])


def test_the_versions_differ_in_every_member(tmp_path: Path) -> None:
    for one, other in pairwise(version_trees(tmp_path / "versions", FILES).values()):
        assert not {name for name in one if name != "images"} & other.keys()
        assert len(one) == len(other)
