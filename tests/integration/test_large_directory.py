"""Archives whose central directory does not come with the first request."""

from __future__ import annotations

import hashlib
import zipfile
from typing import TYPE_CHECKING

import pytest

from fdf256_fast import TransferError, install
from fdf256_fast.catalog import Archive, Catalog, Digest
from fdf256_fast.limits import Limits
from fdf256_fast.origin import Origin
from fdf256_fast.workspace import Workspace

if TYPE_CHECKING:
    from pathlib import Path

MEMBERS = 3000
"""Their records take some 200 KB, three times the tail that is asked for first."""


def served(folder: Path) -> Path:
    folder.mkdir()
    path = folder / "many.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for index in range(MEMBERS):
            archive.writestr(f"train/images/{index}.png", bytes((index + i) % 251 for i in range(50)))
    return path


def catalog_of(url: str, path: Path) -> Catalog:
    digest = Digest("md5", hashlib.md5(path.read_bytes()).hexdigest())
    archive = Archive("many", "images", (f"{url}/many.zip",), digest)
    return Catalog("many", "Many members", (archive,), "test")


def check(target: Path, path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            assert (target / name).read_bytes() == archive.read(name)


async def test_a_directory_larger_than_the_tail_is_read_whole(tmp_path: Path) -> None:
    path = served(tmp_path / "served")
    async with Origin(path.parent) as origin:
        report = await install(tmp_path / "target", catalog=catalog_of(origin.url, path))
        assert report.files == MEMBERS
        assert origin.bytes_sent == path.stat().st_size
    check(tmp_path / "target", path)


@pytest.mark.parametrize("cut", [70_000, 100_000, 180_000])
async def test_a_run_cut_off_inside_the_directory_goes_on_there(tmp_path: Path, cut: int) -> None:
    path = served(tmp_path / "served")
    target = tmp_path / "target"
    async with Origin(path.parent, rate=1_000_000) as origin:
        catalog = catalog_of(origin.url, path)
        origin.cut(cut)
        with pytest.raises(TransferError):
            await install(target, catalog=catalog, limits=Limits(retries=0))
        front = Workspace.of(target).end("many.front")
        had = front.stat().st_size if front.exists() else 0
        origin.restore()
        before = origin.bytes_sent
        await install(target, catalog=catalog)
        # The tail and what had come of the rest are not sent again, but for the probe.
        assert origin.bytes_sent - before <= path.stat().st_size - 65_000 - had + 4096
    check(target, path)
