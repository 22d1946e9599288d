"""Keeping archives, metadata only, dry runs, and going from one of them to another."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

import pytest

from fdf256_fast import Limits, StorageError, install
from fdf256_fast.catalog import Catalog, parse_catalog
from fdf256_fast.origin import Origin
from fdf256_fast.transfer import PACED_EACH, Transfer
from tests.integration.oracles import (
    FINISHED,
    WORKSPACE,
    bytes_of,
    check_installed,
    check_manifest,
    same_tree,
    sha256,
    tree_of,
    unzipped,
    write_zip,
)
from tests.integration.runs import cancelled, command, ended, sent, started
from tests.servers import python_server

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from fdf256_fast.progress import Progress
    from fdf256_fast.report import Report
    from fdf256_fast.synthetic import Compression
    from tests.integration.oracles import Published
    from tests.servers import Serve

    Publish = Mapping[Compression, Published]


# ---- keeping the archives --------------------------------------------------------------------------


def check_kept(target: Path, made: Published) -> None:
    """The kept archives are the publisher's, byte for byte, and there is nothing beside them."""
    kept = target / WORKSPACE / "archives"
    assert {path.name: sha256(path) for path in kept.iterdir()} == {
        path.name: sha256(path) for path in made.dataset.archives.values()
    }
    assert {path.name for path in (target / WORKSPACE).iterdir()} == {*FINISHED, "archives"}
    same_tree(target, made.tree)
    check_manifest(target)


@pytest.mark.parametrize("compression", ["stored", "deflated"])
async def test_kept_archives_are_the_publishers(
    serve: Serve, compression: Compression, published: Publish, tmp_path: Path
) -> None:
    made = published[compression]
    target = tmp_path / "target"
    async with serve(made.folder) as server:
        await install(target, catalog=made.catalog(server.url), keep_archives=True)
    check_kept(target, made)


async def test_archives_from_a_folder_are_kept_too(published: Publish, tmp_path: Path) -> None:
    made = published["mixed"]
    target = tmp_path / "target"
    await install(
        target, catalog=made.catalog("http://127.0.0.1:9"), mirrors=[made.folder], keep_archives=True
    )
    check_kept(target, made)


async def test_kept_archives_survive_a_kill(larger: Published, tmp_path: Path) -> None:
    made = larger
    target = tmp_path / "target"
    async with Origin(made.folder, rate=made.size / 2) as origin:
        catalog = tmp_path / "catalog.toml"
        catalog.write_text(made.dataset.catalog_toml(origin.url), "utf-8")
        arguments = (
            "download",
            target,
            "--catalog",
            catalog,
            "--keep-archives",
            "--progress",
            "none",
            "--json",
        )
        for part in (0.5, 0.4):
            async with started(*arguments) as process:
                await sent(origin, origin.bytes_sent + int(part * made.size), process)
                process.kill()
                assert (await ended(process)).status == -signal.SIGKILL
        done = await command(*arguments)
    assert done.status == 0, done.stderr
    assert done.report["bytes_resumed"] > 0
    check_kept(target, made)


async def test_kept_archives_do_as_a_mirror_for_another_target(published: Publish, tmp_path: Path) -> None:
    made = published["mixed"]
    async with Origin(made.folder) as origin:
        catalog = made.catalog(origin.url)
        await install(tmp_path / "one", catalog=catalog, keep_archives=True)
    archives = tmp_path / "one" / WORKSPACE / "archives"
    await install(tmp_path / "two", catalog=catalog, mirrors=[archives])
    check_installed(tmp_path / "two", made.tree)


async def test_archives_can_be_wished_for_after_an_installation_without(
    published: Publish, tmp_path: Path
) -> None:
    made = published["stored"]
    target = tmp_path / "target"
    async with Origin(made.folder) as origin:
        catalog = made.catalog(origin.url)
        await install(target, catalog=catalog)
        await install(target, catalog=catalog, keep_archives=True)
    check_kept(target, made)


async def test_archives_can_be_wished_for_after_a_cut_off_run_without(tmp_path: Path) -> None:
    folder = tmp_path / "served"
    folder.mkdir()
    archives = [
        write_zip(folder / "small.zip", {"small.bin": bytes_of(1000)}),
        write_zip(folder / "large.zip", {f"{i}.bin": bytes_of(40_000, i) for i in range(50)}),
    ]
    tree = unzipped(archives, tmp_path / "unzipped")
    target = tmp_path / "target"
    async with Origin(folder, rate=2_000_000) as origin:
        catalog = catalog_of(origin.url, "small", "large")
        # By then the small one is done with, and was not kept.
        await cancelled(lambda progress: install(target, catalog=catalog, progress=progress), 30_000)
        await install(target, catalog=catalog, keep_archives=True)
    kept = target / WORKSPACE / "archives"
    assert {path.name: sha256(path) for path in kept.iterdir()} == {
        path.name: sha256(path) for path in archives
    }
    same_tree(target, tree)


async def test_a_kept_archive_that_got_shorter_at_the_origin_has_no_old_end(tmp_path: Path) -> None:
    folder = tmp_path / "served"
    folder.mkdir()
    target = tmp_path / "target"
    archive = write_zip(folder / "a.zip", {f"{i}.bin": bytes_of(40_000, i) for i in range(50)})
    async with Origin(folder, rate=1_000_000) as origin:
        catalog = catalog_of(origin.url, "a")

        async def job(progress: Progress) -> Report:
            return await install(target, catalog=catalog, keep_archives=True, progress=progress)

        # More than the new one will have, and early: a busy machine cancels it some tenths of a second late.
        await cancelled(job, 300_000)
        write_zip(archive, {f"{i}.bin": bytes_of(40_000, i + 1) for i in range(5)})
        await install(target, catalog=catalog, keep_archives=True)
    assert sha256(target / WORKSPACE / "archives" / "a.zip") == sha256(archive)


def catalog_of(url: str, *names: str) -> Catalog:
    """Archives without a digest."""
    lines = ['name = "x"', 'title = "X"']
    for name in names:
        lines += ["[[archive]]", f'name = "{name}"', 'role = "images"', f'url = "{url}/{name}.zip"']
    return parse_catalog("\n".join(lines), "test catalog")


# ---- metadata only ---------------------------------------------------------------------------------


@pytest.fixture
def metadata(published: Publish, tmp_path: Path) -> dict[str, str]:
    return unzipped([published["mixed"].dataset.archives["metainfo"]], tmp_path / "metadata")


async def test_metadata_only_asks_for_that_archive_and_the_rest_can_follow(
    published: Publish, metadata: dict[str, str], tmp_path: Path
) -> None:
    made = published["mixed"]
    target = tmp_path / "target"
    async with Origin(made.folder) as origin:
        catalog = made.catalog(origin.url)
        first = await install(target, catalog=catalog, metadata_only=True)
        assert [archive.name for archive in first.archives] == ["metainfo"]
        assert origin.bytes_sent <= 1.01 * made.dataset.sizes["metainfo"]
        check_installed(target, metadata)
        assert (await install(target, catalog=catalog, metadata_only=True)).already_installed
        second = await install(target, catalog=catalog)
        assert not second.already_installed
        check_installed(target, made.tree)
        # The whole has the metadata in it.
        assert (await install(target, catalog=catalog, metadata_only=True)).already_installed
        assert (await install(target, catalog=catalog)).already_installed


async def test_metadata_only_after_a_cut_off_run_shows_nothing_of_its_images(
    published: Publish, metadata: dict[str, str], tmp_path: Path
) -> None:
    made = published["mixed"]
    target = tmp_path / "target"
    async with Origin(made.folder, rate=made.size) as origin:
        catalog = made.catalog(origin.url)
        await cancelled(lambda progress: install(target, catalog=catalog, progress=progress), made.size // 3)
        report = await install(target, catalog=catalog, metadata_only=True)
        assert [archive.name for archive in report.archives] == ["metainfo"]
        # Images of archives that nobody has verified: they must not be seen.
        same_tree(target, metadata)
        await install(target, catalog=catalog)
    check_installed(target, made.tree)


async def test_another_catalog_after_a_cut_off_run_shows_nothing_of_the_first(tmp_path: Path) -> None:
    folder = tmp_path / "served"
    folder.mkdir()
    target = tmp_path / "target"
    write_zip(folder / "first.zip", {f"first/{i}.bin": bytes_of(40_000, i) for i in range(50)})
    second = write_zip(folder / "second.zip", {f"second/{i}.bin": bytes_of(4_000, i) for i in range(5)})
    async with Origin(folder, rate=2_000_000) as origin:
        await cancelled(
            lambda progress: install(target, catalog=catalog_of(origin.url, "first"), progress=progress),
            30_000,
        )
        await install(target, catalog=catalog_of(origin.url, "second"))
    check_installed(target, unzipped([second], tmp_path / "unzipped"))


async def test_a_publish_that_failed_is_not_the_end_of_archives_wanted_later(
    published: Publish, tmp_path: Path
) -> None:
    """Everything of the first run is verified when its publishing fails; of the second run, nothing is."""
    made = published["mixed"]
    target = tmp_path / "target"
    target.mkdir()
    (target / "train").write_text("in the way")
    async with Origin(made.folder) as origin:
        catalog = made.catalog(origin.url)
        with pytest.raises(StorageError, match="train"):
            await install(target, catalog=catalog, metadata_only=True)
        (target / "train").unlink()
        report = await install(target, catalog=catalog)
    assert report.verified == "md5"
    check_installed(target, made.tree)


async def test_a_publish_that_failed_is_taken_up_without_a_download(
    published: Publish, tmp_path: Path
) -> None:
    made = published["mixed"]
    target = tmp_path / "target"
    target.mkdir()
    (target / "val").write_text("in the way")
    async with Origin(made.folder) as origin:
        catalog = made.catalog(origin.url)
        with pytest.raises(StorageError, match="val"):
            await install(target, catalog=catalog)
        (target / "val").unlink()
        requests = origin.requests
        await install(target, catalog=catalog)
        assert origin.requests == requests
    check_installed(target, made.tree)


# ---- dry runs --------------------------------------------------------------------------------------


async def test_a_dry_run_makes_no_target(serve: Serve, published: Publish, tmp_path: Path) -> None:
    made = published["mixed"]
    async with serve(made.folder) as server:
        report = await install(tmp_path / "target", catalog=made.catalog(server.url), dry_run=True)
    assert report.dry_run
    assert not (tmp_path / "target").exists()
    if serve is not python_server:  # without ranges nobody can tell what is in it
        assert {archive.name: archive.bytes for archive in report.archives} == made.dataset.sizes
        assert sum(archive.members or 0 for archive in report.archives) >= made.files


async def test_a_dry_run_fetches_only_the_ends(larger: Published, tmp_path: Path) -> None:
    async with Origin(larger.folder) as origin:
        await install(tmp_path / "target", catalog=larger.catalog(origin.url), dry_run=True)
        assert origin.bytes_sent < 5 * 70_000


async def test_a_dry_run_leaves_a_target_as_it_is(published: Publish, tmp_path: Path) -> None:
    made = published["mixed"]
    target = tmp_path / "target"
    async with Origin(made.folder) as origin:
        catalog = tmp_path / "catalog.toml"
        catalog.write_text(made.dataset.catalog_toml(origin.url), "utf-8")
        await install(target, catalog=made.catalog(origin.url), metadata_only=True)
        before = tree_of(target, workspace=True)
        done = await command("download", target, "--catalog", catalog, "--dry-run", "--json")
    assert done.status == 0, done.stderr
    assert done.report["dry_run"] is True
    assert tree_of(target, workspace=True) == before


async def test_a_dry_run_beside_a_run_does_not_disturb_it(published: Publish, tmp_path: Path) -> None:
    made = published["mixed"]
    target = tmp_path / "target"
    async with Origin(made.folder, rate=made.size) as origin:
        catalog = made.catalog(origin.url)
        async with asyncio.TaskGroup() as group:
            job = group.create_task(install(target, catalog=catalog, limits=Limits(connections=4)))
            await sent(origin, made.size // 3)
            await install(target, catalog=catalog, dry_run=True)
        assert job.result().verified == "md5"
    check_installed(target, made.tree)


async def test_a_dry_run_tells_what_a_server_without_ranges_would_send(
    published: Publish, tmp_path: Path
) -> None:
    made = published["mixed"]
    async with python_server(made.folder) as server:
        report = await install(tmp_path / "target", catalog=made.catalog(server.url), dry_run=True)
    assert sum(archive.bytes_to_fetch for archive in report.archives) == made.size
    assert all(archive.requests for archive in report.archives)


async def test_a_low_rate_is_shared_by_few_connections_and_nothing_is_raced(
    published: Publish, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = published["mixed"]
    dispatch = Transfer._dispatch
    most = 0

    def observed(transfer: Transfer, **options: bool) -> None:
        nonlocal most
        dispatch(transfer, **options)
        most = max(most, transfer.connections)

    monkeypatch.setattr(Transfer, "_dispatch", observed)
    # At such a rate every span takes longer than one that is raced.
    monkeypatch.setattr("fdf256_fast.transfer.HEDGE_SECONDS_START", 0.2)
    async with Origin(made.folder) as origin:
        catalog = made.catalog(origin.url)
        await install(tmp_path / "target", catalog=catalog, limits=Limits(rate=2 * PACED_EACH))
        sent = origin.bytes_sent
    assert 1 <= most <= 2
    # The ends are asked for before it is known what is in them.
    assert sent <= made.size + 5 * 70_000
    check_installed(tmp_path / "target", made.tree)
