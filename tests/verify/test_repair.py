"""``verify --repair``, and trees that another program made."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

import fdf256_fast as fdf
from fdf256_fast.errors import IntegrityError, UsageError
from fdf256_fast.origin import Origin
from tests.extract.archives import MEMBERS, tar_of
from tests.integration.oracles import bytes_of, check_manifest, same_tree, unzipped, write_zip
from tests.integration.runs import Recorder, command
from tests.siblings.sites import Site
from tests.verify.sets import IMAGES, lines_of, make_set

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from fdf256_fast.synthetic import Compression
    from tests.integration.oracles import Published

    Publish = Mapping[Compression, Published]

IMAGE_BYTES = 100_000
TAILS = 5 * 66_000
"""The ends of five archives."""


def some_images(target: Path) -> list[Path]:
    return sorted((target / "train/images").iterdir())


async def test_a_repair_fetches_what_is_damaged_or_missing_and_nothing_else(
    larger: Published, tmp_path: Path
) -> None:
    target = tmp_path / "target"
    async with Origin(larger.folder) as origin:
        catalog = larger.catalog(origin.url)
        await fdf.install(target, catalog=catalog)
        damaged, missing, turned, *_ = some_images(target)
        damaged.write_bytes(damaged.read_bytes()[:-1] + b"?")
        missing.unlink()
        turned.unlink()
        turned.symlink_to(damaged.name)
        before = origin.bytes_sent
        found = await fdf.verify_async(target, repair=True, catalog=catalog)
        sent = origin.bytes_sent - before
    assert (found.ok, found.verified, found.repaired) == (True, "sha256", 3)
    assert 0 < found.bytes_downloaded <= sent <= 3 * 1.1 * IMAGE_BYTES + TAILS
    same_tree(target, larger.tree)
    check_manifest(target)


async def test_what_no_archive_has_stays_damaged_and_is_told(published: Publish, tmp_path: Path) -> None:
    made, target = published["mixed"], tmp_path / "target"
    (tmp_path / "catalog.toml").write_text(made.dataset.catalog_toml("http://127.0.0.1:1"))
    options = ("--catalog", tmp_path / "catalog.toml", "--mirror", made.folder)
    assert (await command("download", target, *options)).status == 0
    first = some_images(target)[0]
    first.write_bytes(b"x")
    with (target / ".fdf256/SHA256SUMS").open("a") as manifest:
        manifest.write(f"{'0' * 64}  train/stranger\n")
    result = await command("verify", target, *options, "--repair", "--json")
    assert result.status == 3, result.stderr
    assert (result.report["missing"], result.report["damaged"]) == (["train/stranger"], [])
    assert result.report["repaired"] == 1
    people = await command("verify", target, *options, "--repair")
    assert "could not be repaired" in people.stdout


async def test_a_sound_tree_is_repaired_without_a_request(published: Publish, tmp_path: Path) -> None:
    made, target = published["mixed"], tmp_path / "target"
    async with Origin(made.folder) as origin:
        await fdf.install(target, catalog=made.catalog(origin.url))
        before = origin.bytes_sent
        found = await fdf.verify_async(target, repair=True)
        assert (found.ok, origin.bytes_sent - before) == (True, 0)


@pytest.mark.parametrize("compression", ["stored", "deflated"])
async def test_a_tree_of_another_program_is_compared_with_the_archives(
    compression: Compression, published: Publish, tmp_path: Path
) -> None:
    made, target = published[compression], tmp_path / "target"
    unzipped(made.dataset.archives.values(), target)
    (target / "notes").write_bytes(b"mine")
    async with Origin(made.folder) as origin:
        catalog = made.catalog(origin.url)
        found = await fdf.verify_async(target, catalog=catalog)
        assert (found.ok, found.verified, found.files) == (True, "crc32", made.files)
        assert found.extra == ("notes",)
        damaged, missing, *_ = some_images(target)
        damaged.write_bytes(bytes(damaged.stat().st_size))
        missing.unlink()
        # By its path, too.
        (tmp_path / "catalog.toml").write_text(made.dataset.catalog_toml(origin.url))
        found = await fdf.verify_async(target, catalog=tmp_path / "catalog.toml")
    relative = [str(path.relative_to(target)) for path in (damaged, missing)]
    assert ([one.path for one in found.damaged], list(found.missing)) == (relative[:1], relative[1:])
    assert not (target / ".fdf256").exists()


async def test_the_command_says_how_to_adopt_such_a_tree(published: Publish, tmp_path: Path) -> None:
    made, target = published["mixed"], tmp_path / "target"
    unzipped(made.dataset.archives.values(), target)
    (tmp_path / "catalog.toml").write_text(made.dataset.catalog_toml("http://127.0.0.1:1"))
    options = ("--catalog", tmp_path / "catalog.toml", "--mirror", made.folder)
    result = await command("verify", target, *options)
    assert (result.status, "size and CRC-32" in result.stdout) == (0, True), result.stderr
    shutil.rmtree(target / "val")
    result = await command("verify", target, *options)
    assert result.status == 3
    assert f"fdf256 download {target}" in result.stdout
    result = await command("verify", target, *options, "--repair")
    assert (result.status, "fdf256 download" in result.stderr) == (2, True)


async def test_a_repair_keeps_forgotten_images_out(published: Publish, tmp_path: Path) -> None:
    made, target = published["mixed"], tmp_path / "target"
    async with Origin(made.folder) as origin:
        catalog = made.catalog(origin.url)
        await fdf.install(target, catalog=catalog)
        gone, damaged, *_ = [str(path.relative_to(target)) for path in some_images(target)]
        await fdf.forget_async(target, [gone])
        (target / damaged).unlink()
        found = await fdf.verify_async(target, repair=True, catalog=catalog, progress=Recorder())
    assert (found.ok, found.repaired) == (True, 1)
    assert not (target / gone).exists()
    assert (target / damaged).is_file()


async def test_an_empty_folder_is_no_tree(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing is installed"):
        await fdf.verify_async(tmp_path)


@pytest.mark.parametrize("record", ["gone", "of another digest", "intact"])
async def test_a_repair_never_puts_another_version_in_a_files_place(record: str, tmp_path: Path) -> None:
    catalog, target, path = make_set(tmp_path / "m"), tmp_path / "target", "train/images/3.png"
    other = make_set(tmp_path / "m2", {**IMAGES, path: bytes_of(len(IMAGES[path]), 99)})
    await fdf.install(target, catalog=catalog)
    manifest = (target / ".fdf256/SHA256SUMS").read_bytes()
    (target / path).write_bytes(b"damaged")
    if record == "gone":
        (target / ".fdf256/installed.json").unlink()
    mirrors = [str(tmp_path / "m2")]
    (tmp_path / "m").rename(tmp_path / "away")
    with pytest.raises(IntegrityError, match=r"3\.png|digest"):
        await fdf.verify_async(
            target, repair=True, catalog=other if record == "of another digest" else catalog, mirrors=mirrors
        )
    assert (target / ".fdf256/SHA256SUMS").read_bytes() == manifest
    assert (target / path).read_bytes() == b"damaged"
    (tmp_path / "away").rename(tmp_path / "m")
    found = await fdf.verify_async(target, repair=True, catalog=catalog)
    assert (found.ok, found.repaired) == (True, 1)
    assert sorted(lines_of(target)) == sorted(manifest.splitlines(keepends=True))
    assert (target / path).read_bytes() == IMAGES[path]


async def test_a_repair_without_a_record_makes_nothing_complete(tmp_path: Path) -> None:
    catalog, target = make_set(tmp_path / "m"), tmp_path / "target"
    await fdf.install(target, catalog=catalog)
    (target / ".fdf256/installed.json").unlink()
    (target / "train/images/3.png").unlink()
    assert (await fdf.verify_async(target, repair=True, catalog=catalog)).ok
    assert not (await fdf.install(target, catalog=catalog)).already_installed
    assert (await fdf.install(target, catalog=catalog)).already_installed


async def test_nor_does_it_one_of_a_tar(tmp_path: Path) -> None:
    target, path = tmp_path / "target", "train/images/3.png"
    site, other = Site(tmp_path / "one"), Site(tmp_path / "other")
    site.put("a.tar", tar_of(MEMBERS))
    other.put("a.tar", tar_of({**MEMBERS, path: bytes_of(len(MEMBERS[path]), 99)}))
    catalog = site.catalog((tmp_path / "one").as_uri())
    await fdf.install(target, catalog=catalog)
    manifest = lines_of(target)
    (target / path).write_bytes(b"damaged")
    with pytest.raises(IntegrityError, match="another file than the one that was installed"):
        await fdf.verify_async(target, repair=True, catalog=other.catalog((tmp_path / "other").as_uri()))
    assert (lines_of(target), (target / path).read_bytes()) == (manifest, b"damaged")
    assert (await fdf.verify_async(target, repair=True, catalog=catalog)).ok
    assert (target / path).read_bytes() == MEMBERS[path]


@pytest.mark.parametrize("others", [{}, {"b.zip": b""}], ids=["tar alone", "with a zip"])
async def test_a_tree_without_a_manifest_is_not_called_sound_for_archives_that_tell_nothing(
    others: dict[str, bytes], tmp_path: Path
) -> None:
    target, site = tmp_path / "target", Site(tmp_path / "served")
    site.put("im.tar", tar_of(MEMBERS))
    for name in others:
        site.put(name, write_zip(tmp_path / name, {"val/images/9.png": b"9"}).read_bytes())
    (target / "train/images").mkdir(parents=True)
    (target / "train/images/1.png").write_bytes(b"garbage")
    catalog = site.catalog(site.folder.as_uri())
    with pytest.raises(UsageError, match=r"im\.tar does not say what lies where") as caught:
        await fdf.verify_async(target, catalog=catalog)
    assert "fdf256 download" in (caught.value.hint or "")
    await fdf.install(target, catalog=catalog)
    assert (target / "train/images/1.png").read_bytes() == MEMBERS["train/images/1.png"]
    assert (await fdf.verify_async(target)).ok
