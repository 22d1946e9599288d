"""``forget`` in a target that a download left in the middle of something."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import fdf256_fast as fdf
from tests.integration.oracles import check_manifest, tree_of
from tests.verify.sets import SET, make_set

if TYPE_CHECKING:
    from fdf256_fast.catalog import Catalog


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
