"""More than one source: folders and URLs, missing, dead and damaged ones."""

from __future__ import annotations

import hashlib
import shutil
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fdf256_fast import IntegrityError, Limits, UsageError, fetch, install, verify_async
from fdf256_fast.catalog import parse_catalog
from fdf256_fast.origin import Origin
from tests.integration.oracles import (
    bytes_of,
    check_installed,
    sha256,
    tree_of,
    unzipped,
    write_zip,
)
from tests.integration.runs import Recorder, command
from tests.servers import dead_port, python_server

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from fdf256_fast.synthetic import Compression
    from tests.integration.oracles import Published
    from tests.servers import Serve

    Publish = Mapping[Compression, Published]

NOWHERE = "http://127.0.0.1:9"
"""Never asked in these tests: a request to it would fail."""


@pytest.mark.parametrize("compression", ["stored", "deflated", "mixed"])
async def test_a_folder_with_all_archives_needs_no_request(
    compression: Compression, published: Publish, tmp_path: Path
) -> None:
    made = published[compression]
    target = tmp_path / "target"
    before = tree_of(made.folder)
    async with Origin(made.folder) as origin:
        report = await install(target, catalog=made.catalog(origin.url), mirrors=[made.folder])
        assert origin.requests == 0
    assert report.bytes_downloaded == 0
    assert report.verified == "md5"
    assert all(archive.url.startswith("file://") for archive in report.archives)
    check_installed(target, made.tree)
    assert tree_of(made.folder) == before


async def test_a_relative_folder_is_a_mirror_too(
    published: Publish, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = published["mixed"]
    monkeypatch.chdir(made.folder.parent)
    await install(tmp_path / "target", catalog=made.catalog(NOWHERE), mirrors=[made.folder.name])
    check_installed(tmp_path / "target", made.tree)


@pytest.mark.parametrize("kind", [str, Path])
async def test_one_mirror_need_not_be_in_a_list(
    kind: Callable[[Path], str | Path], published: Publish, tmp_path: Path
) -> None:
    made, target = published["mixed"], tmp_path / "target"
    catalog = made.catalog(NOWHERE)
    await install(target, catalog=catalog, mirrors=kind(made.folder))
    image = next(target.glob("val/images/*.png"))
    image.unlink()
    checked = await verify_async(target, repair=True, catalog=catalog, mirrors=str(made.folder))
    assert checked.ok
    check_installed(target, made.tree)
    url = made.dataset.archives["metainfo"].as_uri()
    await fetch((tmp_path / "none.zip").as_uri(), tmp_path / "m.zip", mirrors=url)
    assert (tmp_path / "m.zip").read_bytes() == made.dataset.archives["metainfo"].read_bytes()


async def test_the_command_installs_from_a_folder_without_a_network(
    published: Publish, tmp_path: Path
) -> None:
    made = published["deflated"]
    catalog = tmp_path / "catalog.toml"
    catalog.write_text(made.dataset.catalog_toml(NOWHERE), "utf-8")
    done = await command(
        *("download", tmp_path / "target", "--catalog", catalog, "--mirror", made.folder, "--json")
    )
    assert done.status == 0, done.stderr
    assert done.report["bytes_downloaded"] == 0
    check_installed(tmp_path / "target", made.tree)


async def test_only_what_the_folder_lacks_comes_over_the_network(published: Publish, tmp_path: Path) -> None:
    made = published["mixed"]
    folder = tmp_path / "usb stick"
    folder.mkdir()
    lacking = {"cc-by-2", "metainfo"}
    for name, path in made.dataset.archives.items():
        if name not in lacking:
            shutil.copy(path, folder)
    async with Origin(made.folder) as origin:
        report = await install(tmp_path / "target", catalog=made.catalog(origin.url), mirrors=[folder])
    for archive in report.archives:
        assert (archive.bytes_downloaded > 0) == (archive.name in lacking), archive.name
    check_installed(tmp_path / "target", made.tree)


async def test_a_folder_that_does_not_exist_is_a_usage_error(published: Publish, tmp_path: Path) -> None:
    catalog = published["mixed"].catalog(NOWHERE)
    with pytest.raises(UsageError, match="no such folder"):
        await install(tmp_path / "target", catalog=catalog, mirrors=[tmp_path / "nothing"])
    assert not (tmp_path / "target").exists()


async def test_a_mirror_is_asked_before_the_official_host(
    serve: Serve, published: Publish, tmp_path: Path
) -> None:
    made = published["mixed"]
    async with Origin(made.folder) as official, serve(made.folder) as mirror:
        report = await install(
            tmp_path / "target", catalog=made.catalog(official.url), mirrors=[f"{mirror.url}/"]
        )
        assert official.requests == 0
    assert {archive.url.rpartition("/")[0] for archive in report.archives} == {mirror.url}
    check_installed(tmp_path / "target", made.tree)


async def test_a_mirror_without_the_archives_is_passed_over(published: Publish, tmp_path: Path) -> None:
    made = published["mixed"]
    recorder = Recorder()
    async with Origin(made.folder) as official, python_server(made.folder) as mirror:
        report = await install(
            tmp_path / "target",
            catalog=made.catalog(official.url),
            mirrors=[f"{mirror.url}/nothing/here"],
            progress=recorder,
        )
    assert {archive.url.rpartition("/")[0] for archive in report.archives} == {official.url}
    assert any("404" in message for message in recorder.messages)
    check_installed(tmp_path / "target", made.tree)


async def test_a_dead_mirror_is_passed_over(published: Publish, tmp_path: Path) -> None:
    made = published["mixed"]
    with dead_port() as port:
        async with Origin(made.folder) as official:
            await install(
                tmp_path / "target",
                catalog=made.catalog(official.url),
                mirrors=[f"http://127.0.0.1:{port}"],
            )
    check_installed(tmp_path / "target", made.tree)


async def test_a_dead_official_host_is_passed_over_for_its_second_address(
    published: Publish, tmp_path: Path
) -> None:
    made = published["mixed"]
    with dead_port() as port:
        async with Origin(made.folder) as second:
            text = made.dataset.catalog_toml(f"http://127.0.0.1:{port}")
            for name in made.dataset.archives:
                first = f'"http://127.0.0.1:{port}/{name}.zip"'
                text = text.replace(f"url = {first}", f'url = [{first}, "{second.url}/{name}.zip"]')
            await install(tmp_path / "target", catalog=parse_catalog(text, "test"))
    check_installed(tmp_path / "target", made.tree)


async def test_an_official_host_that_dies_half_way_is_replaced_by_the_mirror(
    published: Publish, tmp_path: Path
) -> None:
    made = published["mixed"]
    async with Origin(made.folder, rate=made.size) as official, Origin(made.folder) as second:
        text = made.dataset.catalog_toml(official.url)
        for name in made.dataset.archives:
            first = f'"{official.url}/{name}.zip"'
            text = text.replace(f"url = {first}", f'url = [{first}, "{second.url}/{name}.zip"]')
        official.cut(made.size // 2)
        await install(tmp_path / "target", catalog=parse_catalog(text, "test"))
        assert 0 < second.bytes_sent < made.size
    check_installed(tmp_path / "target", made.tree)


async def test_when_only_a_dead_host_is_left_the_message_names_mirror_and_the_status_is_4(
    published: Publish, tmp_path: Path
) -> None:
    made = published["stored"]
    with dead_port() as port:
        catalog = tmp_path / "catalog.toml"
        catalog.write_text(made.dataset.catalog_toml(f"http://127.0.0.1:{port}"), "utf-8")
        done = await command(
            *("download", tmp_path / "target", "--catalog", catalog, "--retries", "1", "--progress", "none")
        )
    assert done.status == 4
    assert done.stdout == ""
    assert "--mirror" in done.stderr
    assert "Traceback" not in done.stderr
    assert tree_of(tmp_path / "target") == {}


# ---- damaged sources -------------------------------------------------------------------------------


def flip(archive: Path, member: int) -> None:
    """Change one bit in the middle of a member's data."""
    with zipfile.ZipFile(archive) as opened:
        info = opened.infolist()[member]
    offset = info.header_offset + 30 + len(info.filename) + info.compress_size // 2
    with archive.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 1]))


@pytest.mark.parametrize("compression", ["stored", "deflated"])
async def test_a_damaged_span_of_a_folders_archive_comes_from_the_host(
    compression: Compression, published: Publish, tmp_path: Path
) -> None:
    made = published[compression]
    folder = tmp_path / "folder"
    shutil.copytree(made.folder, folder)
    flip(folder / "cc-by-2.zip", 5)
    damaged = sha256(folder / "cc-by-2.zip")
    recorder = Recorder()
    async with Origin(made.folder) as origin:
        report = await install(
            tmp_path / "target", catalog=made.catalog(origin.url), mirrors=[folder], progress=recorder
        )
        assert origin.requests > 0
    assert report.verified == "md5"
    assert any("again" in message for message in recorder.messages)
    for archive in report.archives:
        assert (archive.bytes_downloaded > 0) == (archive.name == "cc-by-2"), archive.name
    check_installed(tmp_path / "target", made.tree)
    assert sha256(folder / "cc-by-2.zip") == damaged


async def test_a_damaged_archive_and_a_dead_host_is_told_as_damage(
    published: Publish, tmp_path: Path
) -> None:
    made = published["mixed"]
    folder = tmp_path / "folder"
    shutil.copytree(made.folder, folder)
    flip(folder / "cc-by-2.zip", 5)
    with dead_port() as port:
        catalog = tmp_path / "catalog.toml"
        catalog.write_text(made.dataset.catalog_toml(f"http://127.0.0.1:{port}"), "utf-8")
        done = await command(
            *("download", tmp_path / "target", "--catalog", catalog, "--mirror", folder, "--retries", "1"),
            *("--progress", "none", "--json"),
        )
    # Which of the two misfortunes names the status is a matter of taste, but the damage must be told: it
    # is what a person can mend.
    assert done.status in {3, 4}
    assert str(folder) in done.stderr
    assert done.report["ok"] is False
    assert "Traceback" not in done.stderr
    assert tree_of(tmp_path / "target") == {}


async def test_a_damaged_archive_that_is_the_only_source_ends_with_status_3(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    archive = write_zip(folder / "a.zip", {f"{i}.bin": bytes_of(5000, i) for i in range(20)})
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    flip(archive, 7)
    text = 'name = "x"\ntitle = "X"\n[[archive]]\nname = "a"\nrole = "images"\n'
    catalog = tmp_path / "catalog.toml"
    catalog.write_text(f'{text}url = "{archive.as_uri()}"\ndigest = "sha256:{digest}"\n', "utf-8")
    done = await command(
        "download", tmp_path / "target", "--catalog", catalog, "--progress", "none", "--json"
    )
    assert done.status == 3, done.stderr
    assert done.report["ok"] is False
    assert "7.bin" in done.stderr
    assert "Traceback" not in done.stderr
    assert tree_of(tmp_path / "target") == {}


async def test_a_server_that_damages_a_member_is_found_out(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    archive = write_zip(folder / "a.zip", {f"{i}.bin": bytes_of(5000, i) for i in range(20)})
    text = 'name = "x"\ntitle = "X"\n[[archive]]\nname = "a"\nrole = "images"\n'
    flip(archive, 7)
    async with Origin(folder) as origin:
        # Without a digest too: each member has its CRC-32.
        catalog = parse_catalog(f'{text}url = "{origin.url}/a.zip"\n', "test")
        with pytest.raises(IntegrityError, match=r"7\.bin"):
            await install(tmp_path / "target", catalog=catalog)
    assert tree_of(tmp_path / "target") == {}


async def test_a_mirror_with_another_file_of_that_name_is_found_out_and_passed_over(
    published: Publish, tmp_path: Path
) -> None:
    made = published["mixed"]
    folder = tmp_path / "folder"
    folder.mkdir()
    # A sound archive with the right name, from an older edition: its members pass, its digest does not.
    write_zip(folder / "cc-by-2.zip", {f"old/{i}.bin": bytes_of(9000, i) for i in range(30)})
    (folder / "cc-by-nc-2.zip").write_bytes(b"<html>not found</html>")
    (folder / "cc-by-sa-2.zip").write_bytes(b"")
    async with Origin(made.folder) as origin:
        report = await install(tmp_path / "target", catalog=made.catalog(origin.url), mirrors=[folder])
    assert report.verified == "md5"
    assert not [path for path in tree_of(tmp_path / "target") if path.startswith("old")]
    check_installed(tmp_path / "target", made.tree)


async def test_spans_of_one_archive_come_from_a_mirror_and_the_host(tmp_path: Path) -> None:
    folder = tmp_path / "served"
    folder.mkdir()
    archive = write_zip(folder / "a.zip", {f"{i}.bin": bytes_of(50_000, i) for i in range(60)})
    digest = hashlib.md5(archive.read_bytes()).hexdigest()
    tree = unzipped([archive], tmp_path / "unzipped")
    async with Origin(folder, rate=3_000_000) as first, Origin(folder, rate=3_000_000) as second:
        text = 'name = "x"\ntitle = "X"\n[[archive]]\nname = "a"\nrole = "images"\n'
        catalog = parse_catalog(f'{text}url = "{first.url}/a.zip"\ndigest = "md5:{digest}"\n', "test")
        second.cut(1_000_000)
        await install(
            tmp_path / "target", catalog=catalog, mirrors=[second.url], limits=Limits(connections=4)
        )
        assert second.bytes_sent >= 1_000_000
        assert 0 < first.bytes_sent < archive.stat().st_size
    check_installed(tmp_path / "target", tree)
