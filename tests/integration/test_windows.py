"""Little memory: members larger than the window, and many members in a small one."""

from __future__ import annotations

import random
import signal
import zipfile
from typing import TYPE_CHECKING

import pytest

from fdf256_fast import Limits, install
from fdf256_fast.catalog import Catalog, parse_catalog
from fdf256_fast.origin import Origin
from tests.integration.oracles import (
    Tree,
    bytes_of,
    check_installed,
    sha256,
    tree_of,
    unzipped,
    write_zip,
)
from tests.integration.runs import cancelled, command, ended, sent, started

if TYPE_CHECKING:
    from pathlib import Path

MEMORY = 4 << 20
"""The least that can be asked for."""

LARGE = 20_000_000
RATE = 30_000_000
SLOW = Limits(memory_bytes=MEMORY, rate=RATE, connections=4)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Tree]:
    """An archive with two members that do not fit the window, and small ones around them."""
    folder = tmp_path_factory.mktemp("large")
    # Noise: bytes with a period would be deflated to next to nothing.
    noise = random.Random(256)
    archive = folder / "large.zip"
    with zipfile.ZipFile(archive, "w") as writing:
        for name, size, method in [
            ("small/first.bin", 1_000, zipfile.ZIP_STORED),
            ("deflated.bin", LARGE, zipfile.ZIP_DEFLATED),
            ("small/between.bin", 70_000, zipfile.ZIP_DEFLATED),
            ("stored.bin", LARGE, zipfile.ZIP_STORED),
            ("small/last.bin", 1, zipfile.ZIP_STORED),
        ]:
            writing.writestr(zipfile.ZipInfo(name), noise.randbytes(size), method, compresslevel=1)
    (folder / "served").mkdir()
    return archive.rename(folder / "served" / "a.zip"), unzipped(
        [folder / "served" / "a.zip"], folder / "unzipped"
    )


def catalog_of(url: str, archive: Path) -> Catalog:
    return parse_catalog(catalog_text(url, archive), "test catalog")


def catalog_text(url: str, archive: Path) -> str:
    text = f'name = "x"\ntitle = "X"\n[[archive]]\nname = "a"\nrole = "images"\nurl = "{url}/a.zip"\n'
    return f'{text}digest = "sha256:{sha256(archive)}"\n'


async def test_members_larger_than_the_window_are_unpacked(large: tuple[Path, Tree], tmp_path: Path) -> None:
    archive, tree = large
    async with Origin(archive.parent) as origin:
        catalog = catalog_of(origin.url, archive)
        await install(tmp_path / "target", catalog=catalog, limits=Limits(memory_bytes=MEMORY))
        assert origin.bytes_sent <= 1.01 * archive.stat().st_size
    check_installed(tmp_path / "target", tree)


async def test_members_larger_than_the_window_come_from_a_folder_too(
    large: tuple[Path, Tree], tmp_path: Path
) -> None:
    archive, tree = large
    catalog = catalog_of("http://127.0.0.1:9", archive)
    await install(
        tmp_path / "target", catalog=catalog, mirrors=[archive.parent], limits=Limits(memory_bytes=MEMORY)
    )
    check_installed(tmp_path / "target", tree)


async def test_a_run_cancelled_inside_each_large_member_goes_on_there(
    large: tuple[Path, Tree], tmp_path: Path
) -> None:
    archive, tree = large
    target = tmp_path / "target"
    async with Origin(archive.parent) as origin:
        catalog = catalog_of(origin.url, archive)
        for verified in (LARGE // 2, LARGE + LARGE // 2):
            await cancelled(
                lambda progress: install(target, catalog=catalog, limits=SLOW, progress=progress), verified
            )
            assert tree_of(target) == {}
        report = await install(target, catalog=catalog, limits=Limits(memory_bytes=MEMORY))
    assert report.bytes_resumed >= LARGE
    assert report.verified == "sha256"
    check_installed(target, tree)


async def test_a_run_killed_inside_each_large_member_goes_on_there(
    large: tuple[Path, Tree], tmp_path: Path
) -> None:
    archive, tree = large
    target = tmp_path / "target"
    async with Origin(archive.parent, rate=RATE) as origin:
        catalog = tmp_path / "catalog.toml"
        catalog.write_text(catalog_text(origin.url, archive), "utf-8")
        arguments = (
            "download",
            target,
            "--catalog",
            catalog,
            "--memory",
            "4MiB",
            "--progress",
            "none",
            "--json",
        )
        for more in (LARGE // 2 + 3_000_000, LARGE):
            async with started(*arguments) as process:
                await sent(origin, origin.bytes_sent + more, process)
                process.kill()
                assert (await ended(process)).status == -signal.SIGKILL
        done = await command(*arguments)
        assert done.status == 0, done.stderr
        # A kill costs at most the memory budget (and what sockets hold: each of 16 connections a bit).
        assert origin.bytes_sent <= archive.stat().st_size + 2 * (MEMORY + (2 << 20))
    assert done.report["bytes_resumed"] > LARGE // 2
    check_installed(target, tree)


async def test_a_large_member_that_is_damaged_is_fetched_again(
    large: tuple[Path, Tree], tmp_path: Path
) -> None:
    archive, tree = large
    folder = tmp_path / "folder"
    folder.mkdir()
    data = bytearray(archive.read_bytes())
    with zipfile.ZipFile(archive) as opened:
        stored = opened.getinfo("stored.bin")
    data[stored.header_offset + LARGE // 2] ^= 1
    (folder / "a.zip").write_bytes(data)
    async with Origin(archive.parent) as origin:
        report = await install(
            tmp_path / "target",
            catalog=catalog_of(origin.url, archive),
            mirrors=[folder],
            limits=Limits(memory_bytes=MEMORY),
        )
        assert origin.requests > 0
    assert report.verified == "sha256"
    check_installed(tmp_path / "target", tree)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
async def test_many_members_pass_through_a_small_window(method: int, tmp_path: Path) -> None:
    folder = tmp_path / "served"
    folder.mkdir()
    members = {f"{i % 16:x}/{i}.bin": bytes_of(i, i) for i in range(1200)}
    archive = write_zip(folder / "a.zip", members, method)
    async with Origin(folder) as origin:
        report = await install(
            tmp_path / "target",
            catalog=catalog_of(origin.url, archive),
            limits=Limits(memory_bytes=MEMORY, workers=2),
        )
    assert report.files == len(members)
    check_installed(tmp_path / "target", unzipped([archive], tmp_path / "unzipped"))


async def test_a_small_archive_may_hold_a_large_member(tmp_path: Path) -> None:
    folder = tmp_path / "served"
    folder.mkdir()
    archive = write_zip(folder / "a.zip", {"large.bin": bytes_of(LARGE)}, zipfile.ZIP_DEFLATED)
    assert archive.stat().st_size < LARGE // 20
    async with Origin(folder) as origin:
        catalog = catalog_of(origin.url, archive)
        await install(tmp_path / "target", catalog=catalog, limits=Limits(memory_bytes=MEMORY))
    check_installed(tmp_path / "target", unzipped([archive], tmp_path / "unzipped"))
