"""Lines that somebody took out of the manifest: no later run may take the rest for all there was."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

import fdf256_fast as fdf
from fdf256_fast.record import read_record
from fdf256_fast.watch import in_thread
from fdf256_fast.workspace import Workspace
from tests.extract.archives import MEMBERS, tar_of
from tests.integration.oracles import check_manifest, tree_of
from tests.siblings.sites import Site
from tests.verify.sets import SET, lines_of, lose_line, make_set

if TYPE_CHECKING:
    from pathlib import Path

    from fdf256_fast.catalog import Catalog

LOST = "val/images/5.png"
FAULT = "lines, and"


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    return make_set(tmp_path / "m")


def check_all_but(target: Path, *gone: str) -> None:
    assert {path for path, digest in tree_of(target).items() if len(digest) == 64} == SET.keys() - set(gone)
    check_manifest(target)


async def check_mended_by_a_download(target: Path, catalog: Catalog) -> None:
    await fdf.install(target, catalog=catalog)
    check_all_but(target)
    assert (await fdf.verify_async(target)).ok


async def test_a_download_looks_for_what_lost_its_line(catalog: Catalog, tmp_path: Path) -> None:
    target = tmp_path / "target"
    await fdf.install(target, catalog=catalog)
    lose_line(target, LOST)
    assert FAULT in (await fdf.verify_async(target)).fault
    await check_mended_by_a_download(target, catalog)
    assert (await fdf.install(target, catalog=catalog)).already_installed


@pytest.mark.parametrize("is_forgotten_first", [True, False])
async def test_forgetting_an_image_does_not_hide_a_line_that_is_gone(
    is_forgotten_first: bool, catalog: Catalog, tmp_path: Path
) -> None:
    target = tmp_path / "target"
    await fdf.install(target, catalog=catalog)
    if is_forgotten_first:
        await fdf.forget_async(target, ["train/3"])
    lose_line(target, LOST)
    if not is_forgotten_first:
        await fdf.forget_async(target, ["train/3"])
    assert FAULT in (await fdf.verify_async(target)).fault
    await fdf.forget_async(target)
    assert FAULT in (await fdf.verify_async(target)).fault
    assert not (await fdf.install(target, catalog=catalog)).already_installed
    check_all_but(target, "train/images/3.png")
    assert (await fdf.verify_async(target)).ok


async def test_a_download_of_something_else_does_not_hide_it(catalog: Catalog, tmp_path: Path) -> None:
    target = tmp_path / "target"
    await fdf.install(target, catalog=catalog, splits={"val"})
    lose_line(target, LOST)
    await fdf.install(target, catalog=catalog, splits={"train"})
    assert FAULT in (await fdf.verify_async(target)).fault
    assert (await fdf.install(target, catalog=catalog, splits={"train"})).already_installed
    await fdf.install(target, catalog=catalog, splits={"val"})
    check_all_but(target)
    assert (await fdf.verify_async(target)).ok


async def test_it_is_over_when_what_was_complete_is_so_again(catalog: Catalog, tmp_path: Path) -> None:
    target = tmp_path / "target"
    await fdf.install(target, catalog=catalog, splits={"val"})
    lose_line(target, LOST)
    await fdf.install(target, catalog=catalog, splits={"val"})
    check_manifest(target)
    assert (target / LOST).exists()
    assert (await fdf.verify_async(target)).ok
    assert (await fdf.install(target, catalog=catalog, splits={"val"})).already_installed


async def test_a_manifest_that_is_gone_as_a_whole_is_no_other_case(catalog: Catalog, tmp_path: Path) -> None:
    target = tmp_path / "target"
    await fdf.install(target, catalog=catalog, splits={"val"})
    (target / ".fdf256/SHA256SUMS").unlink()
    (target / LOST).unlink()
    await fdf.install(target, catalog=catalog, splits={"train"})
    assert FAULT in (await fdf.verify_async(target)).fault
    await check_mended_by_a_download(target, catalog)


async def test_a_repair_of_something_else_does_not_hide_it(catalog: Catalog, tmp_path: Path) -> None:
    target = tmp_path / "target"
    await fdf.install(target, catalog=catalog)
    lose_line(target, LOST)
    (target / "train/images/2.png").write_bytes(b"damaged")
    found = await fdf.verify_async(target, repair=True, catalog=catalog)
    assert (found.repaired, found.ok) == (1, False)
    assert FAULT in (await fdf.verify_async(target)).fault
    await check_mended_by_a_download(target, catalog)


async def test_a_run_that_ends_early_does_not_hide_it(catalog: Catalog, tmp_path: Path) -> None:
    target = tmp_path / "target"
    await fdf.install(target, catalog=catalog)
    lose_line(target, LOST)
    moved = tmp_path / "moved"
    (tmp_path / "m").rename(moved)
    with pytest.raises(fdf.Error):
        await fdf.install(target, catalog=catalog)
    assert FAULT in (await fdf.verify_async(target)).fault
    await fdf.install(target, catalog=catalog, mirrors=[moved])
    check_all_but(target)


async def test_a_line_more_than_there_were_is_no_line_that_is_gone(catalog: Catalog, tmp_path: Path) -> None:
    target = tmp_path / "target"
    await fdf.install(target, catalog=catalog)
    (target / ".fdf256/SHA256SUMS").write_bytes(b"".join([*lines_of(target), b"0" * 64 + b"  stranger\n"]))
    await fdf.install(target, catalog=catalog)
    record = await in_thread(read_record, Workspace.of(target))
    assert record is not None
    assert all(archive.is_whole for archive in record.archives.values())


async def test_of_a_tar_its_list_has_the_lines(tmp_path: Path) -> None:
    site, target = Site(tmp_path / "served"), tmp_path / "target"
    site.put("a.tar", tar_of(MEMBERS))
    catalog = site.catalog((tmp_path / "served").as_uri())
    await fdf.install(target, catalog=catalog)
    manifest = target / ".fdf256/SHA256SUMS"
    manifest.write_bytes(b"".join(lines_of(target)[:-1]))
    report = await fdf.install(target, catalog=catalog)
    assert report.archives[0].bytes_resumed == len(tar_of(MEMBERS))
    check_manifest(target)
    assert (await fdf.verify_async(target)).ok
    assert (await fdf.install(target, catalog=catalog)).already_installed


@pytest.mark.parametrize("left", [("train/images/2.png",), ()], ids=["one left", "none left"])
async def test_an_image_is_let_in_again_though_another_one_is_forgotten_then(
    left: tuple[str, ...], catalog: Catalog, tmp_path: Path
) -> None:
    target = tmp_path / "target"
    await fdf.install(target, catalog=catalog)
    await fdf.forget_async(target, ["train/1", "train/2"])
    (target / ".fdf256/forgotten").write_text("".join(f"{path}\n" for path in left))
    await fdf.forget_async(target, ["train/3"])
    assert (await fdf.verify_async(target)).ok
    await fdf.install(target, catalog=catalog)
    check_all_but(target, *left, "train/images/3.png")
    assert (await fdf.verify_async(target)).ok
    (target / ".fdf256/forgotten").write_text("")
    await fdf.install(target, catalog=catalog, splits={"val"})
    await fdf.install(target, catalog=catalog, splits={"train"})
    check_all_but(target)


async def test_a_typed_number_with_leading_zeros_is_that_image(catalog: Catalog, tmp_path: Path) -> None:
    target = tmp_path / "target"
    await fdf.install(target, catalog=catalog)
    (target / ".fdf256/forgotten").write_text("train/images/0003.png\n")
    found = await fdf.verify_async(target)
    assert found.returned == ("train/images/3.png",)
    await fdf.install(target, catalog=catalog)
    check_all_but(target, "train/images/3.png")


@pytest.mark.parametrize("change", [{"lost": "1"}, {"forgotten_list": 5}, {"lost": None}], ids=str)
async def test_a_record_that_somebody_changed_is_none(
    change: dict[str, object], catalog: Catalog, tmp_path: Path
) -> None:
    target = tmp_path / "target"
    await fdf.install(target, catalog=catalog)
    installed = target / ".fdf256/installed.json"
    installed.write_text(json.dumps(json.loads(installed.read_text()) | change))
    assert await in_thread(read_record, Workspace.of(target)) is None
    await fdf.install(target, catalog=catalog)
    check_all_but(target)
