"""Tars and plain files, from servers that nobody here wrote: the result is what tarfile gives."""

from __future__ import annotations

import asyncio
import hashlib
import json
import shutil
from typing import TYPE_CHECKING

import pytest

from fdf256_fast import UsageError, fetch, install
from fdf256_fast.catalog import load_catalog, parse_catalog
from fdf256_fast.errors import CatalogError
from fdf256_fast.forgotten import write_forgotten
from fdf256_fast.origin import Origin
from fdf256_fast.repair import repair
from fdf256_fast.workspace import Workspace
from tests.extract.archives import COMPRESSORS, MEMBERS, files_in, has_program, tar_of
from tests.integration.oracles import bytes_of, same_tree, tree_of, write_zip
from tests.integration.runs import Recorder, command
from tests.siblings.sites import Site, check_sibling, publish_sibling

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.oracles import Published
    from tests.servers import Serve
    from tests.siblings.sites import Sibling


async def test_the_installed_tree_is_what_tarfile_gives(
    serve: Serve, sibling: Sibling, tmp_path: Path
) -> None:
    target = tmp_path / "target"
    async with serve(sibling.folder) as server:
        report = await install(target, catalog=sibling.catalog(server.url))
    check_sibling(target, sibling.tree)
    assert report.verified == "md5"
    assert {one.name: one.bytes for one in report.archives} == sibling.made.sizes
    assert report.files == sum(1 for digest in sibling.tree.values() if len(digest) == 64)
    assert sum(one.members or 0 for one in report.archives) == report.files


async def test_the_command_tells_one_object(sibling: Sibling, tmp_path: Path) -> None:
    catalog = tmp_path / "fdh.toml"
    async with Origin(sibling.folder) as origin:
        catalog.write_text(sibling.made.catalog_toml(origin.url))
        ended = await command("download", tmp_path / "t", "--catalog", catalog, "--json")
        again = await command("download", tmp_path / "t", "--catalog", catalog)
    assert ended.status == 0, ended.stderr
    assert (ended.report["ok"], ended.report["verified"]) == (True, "md5")
    assert {one["verified"] for one in ended.report["archives"]} == {"md5"}
    assert "Nothing to download" in again.stdout
    check_sibling(tmp_path / "t", sibling.tree)


async def test_a_dry_run_tells_sizes_and_touches_nothing(sibling: Sibling, tmp_path: Path) -> None:
    async with Origin(sibling.folder) as origin:
        report = await install(tmp_path / "t", catalog=sibling.catalog(origin.url), dry_run=True)
        assert origin.bytes_sent < 100
    assert sum(one.bytes_to_fetch for one in report.archives) == sibling.size
    assert not (tmp_path / "t").exists()


async def test_zips_without_a_digest_are_held_to_their_crc32_and_that_is_said_once(
    published: dict[str, Published], tmp_path: Path
) -> None:
    made = published["mixed"]
    recorder = Recorder()
    async with Origin(made.folder) as origin:
        text = made.dataset.catalog_toml(origin.url)
        bare = "\n".join(line for line in text.splitlines() if not line.startswith("digest"))
        report = await install(tmp_path / "t", catalog=parse_catalog(bare, "fdf-like"), progress=recorder)
    assert report.verified == "crc32"
    assert [told for told in recorder.messages if "No digest is published" in told] == recorder.messages[:1]
    same_tree(tmp_path / "t", made.tree)


async def test_without_a_digest_a_tar_is_installed_and_nothing_is_claimed(site: Site, tmp_path: Path) -> None:
    site.put("a.tar", tar_of(MEMBERS), None)
    site.put("b.json", b"[]", None)
    recorder = Recorder()
    async with Origin(site.folder) as origin:
        report = await install(tmp_path / "t", catalog=site.catalog(origin.url), progress=recorder)
    assert report.verified == "none"
    assert files_in_target(tmp_path / "t") == {**MEMBERS, "b.json": b"[]"}
    assert "No digest is published for any of it" in recorder.messages[0]


async def test_metadata_comes_alone_and_the_rest_later_without_it(sibling: Sibling, tmp_path: Path) -> None:
    target = tmp_path / "t"
    async with Origin(sibling.folder) as origin:
        catalog = sibling.catalog(origin.url)
        first = await install(target, catalog=catalog, metadata_only=True)
        assert [one.name for one in first.archives] == ["metadata.json"]
        assert set(files_in_target(target)) == {"metadata.json"}
        second = await install(target, catalog=catalog, licenses=["cc-by-2"])
        assert {one.name: one.bytes_downloaded > 0 for one in second.archives} == {
            "cc-by-2.tar": True,
            "metadata.json": False,
        }
        third = await install(target, catalog=catalog)
    fetched = {one.name for one in third.archives if one.bytes_downloaded}
    assert fetched == set(sibling.made.archives) - {"metadata.json", "cc-by-2.tar"}
    check_sibling(target, sibling.tree)


async def test_only_the_tar_of_a_missing_file_is_fetched_again(sibling: Sibling, tmp_path: Path) -> None:
    target = tmp_path / "t"
    async with Origin(sibling.folder) as origin:
        catalog = sibling.catalog(origin.url)
        await install(target, catalog=catalog)
        next((target / "cc-by-2").glob("*.png")).unlink()
        report = await install(target, catalog=catalog)
    assert {one.name for one in report.archives if one.bytes_downloaded} == {"cc-by-2.tar"}
    check_sibling(target, sibling.tree)


async def test_repair_fetches_the_tars_and_files_that_hold_what_is_damaged(
    sibling: Sibling, tmp_path: Path
) -> None:
    target = tmp_path / "t"
    async with Origin(sibling.folder) as origin:
        catalog = sibling.catalog(origin.url)
        await install(target, catalog=catalog)
        damaged = next((target / "cc-by-2").glob("*.png"))
        damaged.write_bytes(b"damaged")
        (target / "metadata.json").write_bytes(b"{}")
        wrong = [str(damaged.relative_to(target)), "metadata.json"]
        report = await repair(target, wrong, catalog)
    assert {one.name for one in report.archives} == {"cc-by-2.tar", "metadata.json"}
    check_sibling(target, sibling.tree)


async def test_a_forgotten_image_of_a_tar_stays_out(site: Site, tmp_path: Path) -> None:
    target = tmp_path / "t"
    site.put("a.tar", tar_of(MEMBERS))
    gone = "train/images/2.png"
    async with Origin(site.folder) as origin:
        catalog = site.catalog(origin.url)
        await install(target, catalog=catalog)
        (target / gone).unlink()
        sums = target / ".fdf256/SHA256SUMS"
        lines = sums.read_text().splitlines(keepends=True)
        sums.write_text("".join(line for line in lines if gone not in line))
        await asyncio.to_thread(write_forgotten, Workspace.of(target), [gone])
        (target / "train/images/1.png").unlink()
        report = await install(target, catalog=catalog)
    assert report.archives[0].bytes_downloaded
    wanted = {name: data for name, data in MEMBERS.items() if name != gone}
    assert files_in_target(target) == wanted
    assert gone not in sums.read_text()
    assert report.archives[0].members == len(wanted)


async def test_kept_archives_are_the_tars_and_a_plain_file_is_its_own(
    sibling: Sibling, tmp_path: Path
) -> None:
    target = tmp_path / "t"
    async with Origin(sibling.folder) as origin:
        catalog = sibling.catalog(origin.url)
        await install(target, catalog=catalog, keep_archives=True)
        again = await install(target, catalog=catalog, keep_archives=True)
    assert again.already_installed
    kept = {path.name: path.read_bytes() for path in (target / ".fdf256/archives").iterdir()}
    tars = {name: path.read_bytes() for name, path in sibling.made.archives.items() if name.endswith(".tar")}
    assert kept == tars
    check_sibling(target, sibling.tree, archives=True)


async def test_a_mirror_has_the_files_by_their_names(sibling: Sibling, tmp_path: Path) -> None:
    report = await install(
        tmp_path / "t", catalog=sibling.catalog("http://127.0.0.1:9"), mirrors=[sibling.folder]
    )
    assert report.bytes_downloaded == 0
    check_sibling(tmp_path / "t", sibling.tree)


@pytest.mark.parametrize("kind", COMPRESSORS)
async def test_compressed_tars_are_installed_and_unpacked_by_fetch(
    kind: str, site: Site, tmp_path: Path
) -> None:
    if kind == "tar.zst" and not has_program("zstd"):
        pytest.skip("zstd is not installed")
    data = COMPRESSORS[kind](tar_of(MEMBERS))
    site.put(f"a.{kind}", data)
    async with Origin(site.folder) as origin:
        report = await install(tmp_path / "t", catalog=site.catalog(origin.url))
        await fetch(f"{origin.url}/a.{kind}", tmp_path / "u", extract=True)
    assert report.verified == "md5"
    assert files_in_target(tmp_path / "t") == files_in(tmp_path / "u") == MEMBERS
    check_sibling(tmp_path / "t", tree_of(tmp_path / "u"))


async def test_an_empty_plain_file_is_a_file(site: Site, tmp_path: Path) -> None:
    site.put("empty.json", b"")
    site.put("a.json", bytes_of(300_001))
    async with Origin(site.folder) as origin:
        await install(tmp_path / "t", catalog=site.catalog(origin.url))
    assert files_in_target(tmp_path / "t") == {"empty.json": b"", "a.json": bytes_of(300_001)}


async def test_a_zip_beside_a_tar_is_installed_with_it(site: Site, tmp_path: Path) -> None:
    site.put("a.tar", tar_of(MEMBERS))
    path = write_zip(tmp_path / "b.zip", {"train/other.png": bytes_of(9000)})
    site.put("b.zip", path.read_bytes())
    async with Origin(site.folder) as origin:
        report = await install(tmp_path / "t", catalog=site.catalog(origin.url))
    assert report.verified == "md5"
    assert files_in_target(tmp_path / "t") == {**MEMBERS, "train/other.png": bytes_of(9000)}


async def test_no_part_of_a_tar_can_be_chosen(sibling: Sibling, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="a tar does not say what lies where"):
        await install(tmp_path / "t", catalog=sibling.catalog("http://127.0.0.1:9"), splits=["val"])
    assert not (tmp_path / "t").exists()


# ---- the catalogs ----------------------------------------------------------------------------------


def test_fdf_has_five_zips_and_no_digest() -> None:
    found = load_catalog("fdf")
    assert {one.name: (one.role, one.license, one.kind) for one in found.archives} == {
        "metainfo": ("metadata", None, "zip"),
        "cc-by-2": ("images", "cc-by-2", "zip"),
        "cc-by-sa-2": ("images", "cc-by-sa-2", "zip"),
        "cc-by-nc-2": ("images", "cc-by-nc-2", "zip"),
        "cc-by-nc-sa-2": ("images", "cc-by-nc-sa-2", "zip"),
    }
    assert all(one.digest is None for one in found.archives)


def test_fdh_has_five_tars_and_two_files_with_their_md5s() -> None:
    found = load_catalog("fdh")
    assert {one.file_name: (one.role, one.kind, str(one.digest)) for one in found.archives} == {
        "metadata.json": ("metadata", "file", "md5:220b8e5f495a6bd60aed267f66da1c5a"),
        "cc-by-2.tar": ("images", "tar", "md5:4277732684f20518635f243e6a18d378"),
        "cc-by-sa-2.tar": ("images", "tar", "md5:7f86cef7e86386505510026e17d72241"),
        "cc-by-nc-2.tar": ("images", "tar", "md5:f87ca81af4e8a250709e840f29f80dca"),
        "cc-by-nc-sa-2.tar": ("images", "tar", "md5:81ac9e42dc61b3ab3f73240aa5f19109"),
        "embeddings.tar": ("extra", "tar", "md5:a8d793f6c7e625e19d1ad97c763f2fbe"),
        "embed_map.torch": ("extra", "file", "md5:456ef247f0f1f0f393d1b10310d571a4"),
    }


def test_all_addresses_of_the_built_in_catalogs_are_different() -> None:
    found = [load_catalog(name) for name in ("fdf", "fdf256", "fdh")]
    urls = [url for catalog in found for archive in catalog.archives for url in archive.urls]
    assert len(urls) == len(set(urls)) == 5 + 5 + 7
    # The host's addresses end in two numbers of 16 bytes, one glued to the other's end.
    assert {len(url.rpartition("/")[2]) for url in urls} == {108}


def test_an_unknown_catalog_is_answered_with_those_that_there_are() -> None:
    with pytest.raises(CatalogError) as caught:
        load_catalog("no-such")
    assert caught.value.hint == "built in: fdf, fdf256, fdh"


async def test_each_catalog_has_a_target_of_its_own(sibling: Sibling, tmp_path: Path) -> None:
    shutil.copytree(sibling.folder, tmp_path / "served")
    async with Origin(tmp_path / "served") as origin:
        (tmp_path / "mine.toml").write_text(sibling.made.catalog_toml(origin.url))
        ended = await command("download", "--catalog", "mine.toml", "--json", cwd=tmp_path)
    assert ended.report["target"] == "data/fdh-synthetic"
    check_sibling(tmp_path / "data/fdh-synthetic", sibling.tree)


def files_in_target(target: Path) -> dict[str, bytes]:
    return {name: data for name, data in files_in(target).items() if not name.startswith(".fdf256")}


def test_the_synthetic_set_is_always_the_same(sibling: Sibling, tmp_path: Path) -> None:
    assert publish_sibling(tmp_path).made.digests == sibling.made.digests
    listed = json.loads((sibling.folder / "metadata.json").read_text())
    assert len(listed) == 60
    for name, path in sibling.made.archives.items():
        assert sibling.made.digests[name] == f"md5:{hashlib.md5(path.read_bytes()).hexdigest()}"
