"""The main job, from servers that nobody here wrote: the result is what unzip gives."""

from __future__ import annotations

import zipfile
from typing import TYPE_CHECKING

import pytest
from blockbuster import BlockingError

from fdf256_fast import IntegrityError, Limits, LockedError, MemberError, install
from fdf256_fast.catalog import parse_catalog
from fdf256_fast.origin import Origin
from fdf256_fast.progress import Progress, Snapshot
from tests.integration.oracles import (
    WORKSPACE,
    check_installed,
    tree_of,
    unzipped,
    write_zip,
)
from tests.integration.runs import Recorder, command, sent, started
from tests.servers import nginx

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from fdf256_fast.synthetic import Compression
    from tests.integration.oracles import Published
    from tests.servers import Serve

    Publish = Mapping[Compression, Published]


@pytest.mark.parametrize("compression", ["stored", "deflated", "mixed"])
async def test_the_installed_tree_is_what_unzip_gives(
    serve: Serve, compression: Compression, published: Publish, tmp_path: Path
) -> None:
    made = published[compression]
    target = tmp_path / "target"
    async with serve(made.folder) as server:
        report = await install(target, catalog=made.catalog(server.url))
    check_installed(target, made.tree)
    assert report.verified == "md5"
    assert report.files == made.files
    assert report.bytes_downloaded >= made.size
    assert {one.name: one.bytes for one in report.archives} == made.dataset.sizes


@pytest.mark.parametrize("compression", ["stored", "deflated"])
async def test_nginx_sends_hardly_more_than_the_archives(
    compression: Compression, published: Publish, tmp_path: Path
) -> None:
    made = published[compression]
    async with nginx(made.folder) as server:
        report = await install(tmp_path / "target", catalog=made.catalog(server.url))
    assert made.size <= server.body_bytes <= 1.01 * made.size
    assert report.bytes_downloaded == server.body_bytes


async def test_counters_end_at_all_bytes_and_all_members(published: Publish, tmp_path: Path) -> None:
    made = published["mixed"]
    recorder = Recorder()
    async with Origin(made.folder) as origin:
        await install(tmp_path / "target", catalog=made.catalog(origin.url), progress=recorder)
    assert recorder.last is not None
    assert recorder.last.arrived == recorder.last.size == made.size
    assert {one.state for one in recorder.last.archives} == {"done"}
    # One of the archives names its folders too.
    assert sum(one.unpacked for one in recorder.last.archives) >= made.files


async def test_a_finished_target_is_recognised_without_a_request(published: Publish, tmp_path: Path) -> None:
    made = published["mixed"]
    target = tmp_path / "target"
    async with Origin(made.folder) as origin:
        catalog = made.catalog(origin.url)
        await install(target, catalog=catalog)
        requests = origin.requests
        report = await install(target, catalog=catalog)
        assert origin.requests == requests
    assert report.already_installed
    assert report.files == made.files
    assert report.bytes_downloaded == 0
    # And with nobody there to be asked.
    assert (await install(target, catalog=catalog)).already_installed
    check_installed(target, made.tree)


async def test_a_target_that_lost_a_file_is_made_whole_again(published: Publish, tmp_path: Path) -> None:
    made = published["stored"]
    target = tmp_path / "target"
    async with Origin(made.folder) as origin:
        catalog = made.catalog(origin.url)
        await install(target, catalog=catalog)
        next((target / "train" / "images").iterdir()).unlink()
        report = await install(target, catalog=catalog)
    assert not report.already_installed
    check_installed(target, made.tree)


async def test_files_beside_the_dataset_stay_as_they_were(published: Publish, tmp_path: Path) -> None:
    made = published["stored"]
    target = tmp_path / "target"
    (target / "train" / "images").mkdir(parents=True)
    (target / "train" / "images" / "mine.txt").write_text("mine")
    (target / "notes.txt").write_text("notes")
    async with Origin(made.folder) as origin:
        await install(target, catalog=made.catalog(origin.url))
    tree = tree_of(target)
    assert tree.pop("train/images/mine.txt")
    assert tree.pop("notes.txt")
    assert tree == made.tree


async def test_a_relative_target_with_a_space_in_it_will_do(
    published: Publish, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = published["mixed"]
    monkeypatch.chdir(tmp_path)
    async with Origin(made.folder) as origin:
        limits = Limits(connections=1, workers=1)
        await install("my data/fdf é", catalog=made.catalog(origin.url), limits=limits)
    check_installed(tmp_path / "my data" / "fdf é", made.tree)


async def test_signed_addresses_that_expire_half_way_are_asked_for_again(
    published: Publish, tmp_path: Path
) -> None:
    made = published["mixed"]
    target = tmp_path / "target"
    async with Origin(made.folder, rate=made.size, redirect=True, expires_seconds=300) as origin:
        recorder = Recorder(made.size // 4, lambda: origin.advance_clock(301))
        # Spans are small then, so that many more are asked for after the expiry.
        limits = Limits(connections=4, memory_bytes=4 << 20)
        report = await install(target, catalog=made.catalog(origin.url), progress=recorder, limits=limits)
    check_installed(target, made.tree)
    assert report.verified == "md5"


async def test_an_archive_without_a_digest_is_verified_by_its_members(serve: Serve, tmp_path: Path) -> None:
    folder = tmp_path / "served"
    folder.mkdir()
    archive = write_zip(folder / "a.zip", {"one.txt": b"1" * 1000, "deep/two.txt": b""}, zipfile.ZIP_DEFLATED)
    tree = unzipped([archive], tmp_path / "unzipped")
    async with serve(folder) as server:
        text = (
            f'name = "x"\ntitle = "X"\n[[archive]]\nname = "a"\nrole = "images"\nurl = "{server.url}/a.zip"'
        )
        report = await install(tmp_path / "target", catalog=parse_catalog(text, "test"))
    assert report.verified == "crc32"
    check_installed(tmp_path / "target", tree)


# ---- what is refused -------------------------------------------------------------------------------


def one_archive_catalog(folder: Path, url: str, *names: str) -> Path:
    """A catalog file of the archives ``names``, without digests."""
    lines = ['name = "x"', 'title = "X"']
    for name in names:
        lines += ["[[archive]]", f'name = "{name}"', 'role = "images"', f'url = "{url}/{name}.zip"']
    catalog = folder / "catalog.toml"
    catalog.write_text("\n".join(lines))
    return catalog


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/x", "a/./b", "a\\..\\x", ".fdf256/installed.json"])
async def test_a_member_that_would_leave_the_target_is_refused(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "served"
    folder.mkdir()
    write_zip(folder / "a.zip", {"good.txt": b"good", name: b"evil"})
    async with Origin(folder) as origin:
        catalog = one_archive_catalog(tmp_path, origin.url, "a")
        before = tree_of(tmp_path)
        with pytest.raises(MemberError):
            await install(tmp_path / "target", catalog=catalog)
    after = tree_of(tmp_path)
    assert {path for path in after if not path.startswith(f"target/{WORKSPACE}")} == {*before, "target"}


async def test_the_command_refuses_such_an_archive_with_status_3(tmp_path: Path) -> None:
    folder = tmp_path / "served"
    folder.mkdir()
    write_zip(folder / "a.zip", {"good.txt": b"good", "../evil": b"evil"})
    async with Origin(folder) as origin:
        catalog = one_archive_catalog(tmp_path, origin.url, "a")
        done = await command("download", tmp_path / "target", "--catalog", catalog, "--json")
    assert done.status == 3
    assert done.report["ok"] is False
    assert "../evil" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "evil").exists()
    assert tree_of(tmp_path / "target") == {}


async def test_two_archives_with_the_same_member_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "served"
    folder.mkdir()
    write_zip(folder / "a.zip", {"same.txt": b"one"})
    write_zip(folder / "b.zip", {"same.txt": b"two"})
    async with Origin(folder) as origin:
        catalog = one_archive_catalog(tmp_path, origin.url, "a", "b")
        with pytest.raises(MemberError, match=r"same\.txt"):
            await install(tmp_path / "target", catalog=catalog)
    assert tree_of(tmp_path / "target") == {}


async def test_an_archive_with_another_digest_is_refused_and_nothing_appears(
    serve: Serve, published: Publish, tmp_path: Path
) -> None:
    made = published["stored"]
    target = tmp_path / "target"
    async with serve(made.folder) as server:
        text = made.dataset.catalog_toml(server.url)
        right = made.dataset.digests["cc-by-2"]
        wrong = f"md5:{'0' * 32}"
        assert right in text
        with pytest.raises(IntegrityError, match="cc-by-2") as caught:
            await install(target, catalog=parse_catalog(text.replace(right, wrong), "test"))
    assert caught.value.exit_status == 3
    assert caught.value.report is not None
    assert tree_of(target) == {}


async def test_a_second_process_is_kept_away_with_status_6(published: Publish, tmp_path: Path) -> None:
    made = published["stored"]
    async with Origin(made.folder, rate=made.size / 3) as origin:
        catalog = tmp_path / "catalog.toml"
        catalog.write_text(made.dataset.catalog_toml(origin.url))
        async with started("download", tmp_path / "target", "--catalog", catalog, "--progress", "none"):
            await sent(origin, 1)
            with pytest.raises(LockedError):
                await install(tmp_path / "target", catalog=catalog)
            second = await command("download", tmp_path / "target", "--catalog", catalog, "--json")
    assert second.status == 6
    assert second.report["ok"] is False


# ---- the watch over the event loop -----------------------------------------------------------------


class Sleeper(Progress):
    """What a receiver must not do."""

    def updated(self, snapshot: Snapshot) -> None:
        """Hold up the loop."""
        import time  # noqa: PLC0415

        time.sleep(0.001)


async def test_a_blocked_event_loop_would_be_noticed(published: Publish, tmp_path: Path) -> None:
    made = published["stored"]
    async with Origin(made.folder) as origin:
        with pytest.raises(BlockingError):
            await install(tmp_path / "target", catalog=made.catalog(origin.url), progress=Sleeper())
