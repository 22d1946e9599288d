"""``forget`` in a target that a download left in the middle of something."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import fdf256_fast as fdf
from fdf256_fast.limits import Limits
from fdf256_fast.origin import Origin
from tests.extract.archives import MEMBERS, tar_of
from tests.integration.oracles import check_manifest, tree_of
from tests.integration.runs import cancelled
from tests.machine.sites import start_machine_anew
from tests.siblings.sites import Site
from tests.verify.sets import SET, make_set

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping

    from fdf256_fast.catalog import Catalog
    from fdf256_fast.progress import Progress
    from fdf256_fast.synthetic import Compression
    from fdf256_fast.workspace import Workspace
    from tests.integration.oracles import Published


async def published_by_half(target: Path, catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    """The journal says that all of it is to be published; of it, the validation split is in the target."""

    def die(*_: object) -> int:
        raise OSError("dead")

    await fdf.install(target, catalog=catalog, splits={"val"})
    with monkeypatch.context() as patch:
        patch.setattr("fdf256_fast.installation.finish_publishing", die)
        with pytest.raises(OSError, match="dead"):
            await fdf.install(target, catalog=catalog)


def check_all_but(target: Path, *gone: str) -> None:
    assert {path for path, digest in tree_of(target).items() if len(digest) == 64} == SET.keys() - set(gone)
    check_manifest(target)


async def test_forgetting_leaves_the_manifest_of_what_was_to_be_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog, target = make_set(tmp_path / "m"), tmp_path / "target"
    await published_by_half(target, catalog, monkeypatch)
    await fdf.forget_async(target, ["val/3"])
    await fdf.install(target, catalog=catalog)
    check_all_but(target, "val/images/3.png")
    assert (await fdf.verify_async(target)).extra == ()


async def test_a_disk_that_is_full_while_something_is_forgotten_costs_no_manifest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog, target = make_set(tmp_path / "m"), tmp_path / "target"
    await published_by_half(target, catalog, monkeypatch)

    fsync = os.fsync

    def full(handle: int) -> None:
        if Path(f"/proc/self/fd/{handle}").readlink().name.startswith("SHA256SUMS"):
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(handle)

    with monkeypatch.context() as patch:
        patch.setattr("fdf256_fast.durable.os.fsync", full)
        with pytest.raises(fdf.StorageError, match="space"):
            await fdf.forget_async(target, ["val/3"])
    await fdf.install(target, catalog=catalog)
    check_all_but(target, "val/images/3.png")


async def test_what_an_earlier_version_was_publishing_is_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog, target = make_set(tmp_path / "m"), tmp_path / "target"
    await published_by_half(target, catalog, monkeypatch)
    (target / ".fdf256/SHA256SUMS.next").rename(target / ".fdf256/SHA256SUMS.new")
    await fdf.forget_async(target, ["val/3"])
    await fdf.install(target, catalog=catalog)
    check_all_but(target, "val/images/3.png")


@pytest.mark.parametrize("draft", [None, b"", b"torn"], ids=["none", "empty", "torn"])
@pytest.mark.parametrize("wanted", [(), ("val",)], ids=["all", "val"])
async def test_nothing_is_published_that_the_manifest_does_not_name(
    wanted: tuple[str, ...], draft: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog, target = make_set(tmp_path / "m"), tmp_path / "target"
    await published_by_half(target, catalog, monkeypatch)
    (target / ".fdf256/SHA256SUMS.next").unlink()
    if draft is not None:
        (target / ".fdf256/SHA256SUMS.new").write_bytes(draft)
    await fdf.install(target, catalog=catalog, splits=wanted)
    check_manifest(target)
    await fdf.install(target, catalog=catalog)
    check_all_but(target)


async def test_images_of_calls_that_were_killed_go_wherever_they_wait(tmp_path: Path) -> None:
    catalog, target = make_set(tmp_path / "m"), tmp_path / "target"
    await fdf.install(target, catalog=catalog)
    home = target / ".fdf256"
    one, other = "train/images/3.png", "train/images/4.png"
    waiting = [home / "extract/staging", home / "fetch/a.zip/staging/a.zip", home / "fetch/b/staging/b~part"]
    for folder in waiting:
        for path in (one, other):
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(SET[path])
    kept = [home / "fetch/a.zip" / name for name in ("archives/a.zip", "spool/a.zip.archive")]
    for path_of_archive in kept:
        path_of_archive.parent.mkdir()
        path_of_archive.write_bytes(b"zip")
    done = await fdf.forget_async(target, ["train/3"], dry_run=True)
    assert len(done.removed) == 4
    assert (waiting[0] / one).exists()
    done = await fdf.forget_async(target, ["train/3"])
    assert len(done.removed) == 4
    assert set(done.archives) == set(map(str, kept))
    assert list(target.rglob("3.png")) == [target / "val/images/3.png"]
    assert not (home / "extract").exists()
    assert (waiting[1] / other).exists()


async def test_a_folder_that_is_a_link_holds_nothing_of_ours(tmp_path: Path) -> None:
    catalog, target = make_set(tmp_path / "m"), tmp_path / "target"
    await fdf.install(target, catalog=catalog)
    elsewhere = tmp_path / "elsewhere/staging/train/images"
    elsewhere.mkdir(parents=True)
    (elsewhere / "3.png").write_bytes(b"somebody's")
    (target / ".fdf256/extract").symlink_to(tmp_path / "elsewhere")
    (target / ".fdf256/fetch").mkdir()
    (target / ".fdf256/fetch/x").symlink_to(tmp_path / "elsewhere")
    await fdf.forget_async(target, ["train/3"])
    assert (elsewhere / "3.png").exists()


async def test_an_image_that_only_waited_to_be_published_was_there(tmp_path: Path) -> None:
    target = tmp_path / "target"
    staged = target / ".fdf256/staging/a/train/images/0003.png"
    staged.parent.mkdir(parents=True)
    staged.write_bytes(b"3")
    done = await fdf.forget_async(target, ["train/3", "train/4"])
    assert [one.bytes for one in done.removed] == [1]
    assert done.absent == ("train/images/4.png",)


@pytest.mark.parametrize("is_installed", [True, False])
async def test_nothing_is_kept_of_an_image_that_came_in_a_tar_but_its_path(
    is_installed: bool, tmp_path: Path
) -> None:
    site, target, path = Site(tmp_path / "served"), tmp_path / "target", "train/images/3.png"
    site.put("a.tar", tar_of(MEMBERS))
    catalog = site.catalog(site.folder.as_uri())
    target.mkdir()
    if is_installed:
        await fdf.install(target, catalog=catalog)
    await fdf.forget_async(target, ["train/3"])
    await fdf.install(target, catalog=catalog)
    listing = (target / ".fdf256/listings/a.tar").read_bytes()
    digest = hashlib.sha256(MEMBERS[path]).hexdigest().encode()
    assert (digest in listing, path.encode() in listing) == (False, True)
    assert hashlib.sha256(MEMBERS["train/images/4.png"]).hexdigest().encode() in listing
    assert (await fdf.install(target, catalog=catalog)).already_installed
    check_manifest(target)
    (target / "val/landmarks.npy").unlink()
    assert (await fdf.verify_async(target, repair=True, catalog=catalog)).ok
    (target / ".fdf256/forgotten").unlink()
    await fdf.install(target, catalog=catalog)
    assert (target / path).read_bytes() == MEMBERS[path]
    assert (await fdf.verify_async(target)).ok
    check_manifest(target)


def waiting_in(target: Path, *, key: str = "") -> list[Path]:
    staging = target / ".fdf256/staging"
    return [path for path in staging.glob(f"{key or '*'}/**/images/*.png") if path.stat().st_size]


async def cut_off(target: Path, made: Published, origin: Origin) -> None:
    limits = Limits(connections=1, rate=10_000_000)

    def job(progress: Progress) -> Coroutine[Any, Any, object]:
        return fdf.install(target, catalog=made.catalog(origin.url), limits=limits, progress=progress)

    await cancelled(job, made.size // 3)


async def cut_off_with_one_to_forget(
    target: Path, made: Published, origin: Origin
) -> tuple[list[Path], int, str]:
    """What waits then, its bytes, and the path of the first of these images."""
    await cut_off(target, made, origin)
    had = waiting_in(target)
    gone = had[0].relative_to(target / ".fdf256/staging").as_posix().partition("/")[2]
    return had, sum(path.stat().st_size for path in had), gone


@pytest.mark.parametrize("boot", ["the same", "another"])
async def test_an_interrupted_download_goes_on_though_an_image_of_it_is_forgotten(
    boot: str, larger: Published, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "target"
    async with Origin(larger.folder) as origin:
        had, sizes, gone = await cut_off_with_one_to_forget(target, larger, origin)
        assert sizes > larger.size // 5
        await fdf.forget_async(target, [gone])
        if boot == "another":
            start_machine_anew(monkeypatch)
            # What a power cut leaves of a file that seems to be there.
            had[1].write_bytes(bytes(had[1].stat().st_size))
        before = origin.bytes_sent
        report = await fdf.install(target, catalog=larger.catalog(origin.url))
        sent = origin.bytes_sent - before
    # Mixed archives: some of the images are smaller there than they are here.
    assert sent < larger.size - sizes // 2
    assert {one.verified for one in report.archives} == {"crc32", "md5"}
    assert set(larger.tree) - set(tree_of(target)) == {gone}
    assert (await fdf.verify_async(target)).ok
    check_manifest(target)
    assert not (target / ".fdf256/staging").exists()


@pytest.mark.parametrize("moved", ["nothing", "files", "all"])
async def test_it_does_not_matter_where_the_taking_over_is_cut_off(
    moved: str, larger: Published, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "target"
    async with Origin(larger.folder) as origin:
        _, sizes, gone = await cut_off_with_one_to_forget(target, larger, origin)
        await fdf.forget_async(target, [gone])

        def dies(workspace: Workspace, name: str, key: str) -> None:
            if moved != "nothing":
                workspace.staging(name).replace(workspace.staging(key))
            if moved == "all":
                workspace.records(name).replace(workspace.records(key))
            raise fdf.StorageError("dead")

        with monkeypatch.context() as patch:
            patch.setattr("fdf256_fast.part_run._move_archive", dies)
            with pytest.raises(fdf.StorageError, match="dead"):
                await fdf.install(target, catalog=larger.catalog(origin.url))
        before = origin.bytes_sent
        await fdf.install(target, catalog=larger.catalog(origin.url))
        assert origin.bytes_sent - before < larger.size - sizes // 2
    assert set(larger.tree) - set(tree_of(target)) == {gone}
    assert (await fdf.verify_async(target)).ok
    check_manifest(target)


async def test_nothing_of_another_version_is_taken_over(
    larger: Published, published: Mapping[Compression, Published], tmp_path: Path
) -> None:
    target, other = tmp_path / "target", published["mixed"]
    async with Origin(larger.folder) as origin:
        await cut_off(target, larger, origin)
    (gone, *_), *_ = [sorted(path for path in other.tree if path.startswith("train/images/"))]
    await fdf.forget_async(target, [gone])
    async with Origin(other.folder) as origin:
        await fdf.install(target, catalog=other.catalog(origin.url))
    assert tree_of(target) == {path: digest for path, digest in other.tree.items() if path != gone}
    assert (await fdf.verify_async(target)).ok
