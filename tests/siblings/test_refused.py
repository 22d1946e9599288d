"""What is wrong, damaged or hostile: nothing of it is published, and it is said what it is."""

from __future__ import annotations

import hashlib
import tarfile
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from fdf256_fast import DigestMismatch, IntegrityError, Limits, StorageError, UsageError, fetch, install
from fdf256_fast.catalog import Archive, Catalog, Digest
from fdf256_fast.origin import Origin
from tests.crash.kills import contents
from tests.extract.archives import COMPRESSORS, MEMBERS, member, tar_of, tar_with
from tests.integration.oracles import bytes_of, write_zip
from tests.integration.runs import Recorder, command
from tests.servers import application_server
from tests.siblings.sites import Site, nothing_published

if TYPE_CHECKING:
    from pathlib import Path

    from tests.siblings.sites import Sibling

WRONG = "md5:" + "0" * 32


async def refused(site: Site, target: Path, kind: type[IntegrityError] = IntegrityError) -> str:
    async with Origin(site.folder) as origin:
        with pytest.raises(kind) as caught:
            await install(target, catalog=site.catalog(origin.url))
    assert nothing_published(target)
    return str(caught.value)


@pytest.mark.parametrize("name", ["a.tar", "a.json", "a.tar.gz"])
async def test_a_wrong_digest_publishes_nothing(name: str, site: Site, tmp_path: Path) -> None:
    data = tar_of(MEMBERS)
    site.put(name, COMPRESSORS["tar.gz"](data) if name.endswith("gz") else data, WRONG)
    site.put("b.json", b"{}")
    told = await refused(site, tmp_path / "t", DigestMismatch)
    assert "a." in told
    assert WRONG in told


async def test_a_wrong_digest_is_status_3(sibling: Sibling, tmp_path: Path) -> None:
    async with Origin(sibling.folder) as origin:
        text = sibling.made.catalog_toml(origin.url)
        right = sibling.made.digests["embeddings.tar"]
        (tmp_path / "x.toml").write_text(text.replace(right, WRONG))
        ended = await command("download", tmp_path / "t", "--catalog", tmp_path / "x.toml", "--json")
    assert ended.status == 3
    assert ended.report["ok"] is False
    assert "embeddings.tar" in ended.report["error"]
    assert nothing_published(tmp_path / "t")


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (("a.tar", "b.tar"), "another archive has a file of this name"),
        (("a.tar", "c.json"), "another archive has a file of this name"),
        (("a.tar", "d.zip"), "another archive has a file of this name"),
        (("a.tar", "e.tar"), "it lies in a folder of which there is a file"),
    ],
)
async def test_two_archives_with_a_file_of_one_name_are_refused(
    files: tuple[str, ...], words: str, site: Site, tmp_path: Path
) -> None:
    archives = {
        "a.tar": tar_of({"x/1.png": b"1", "c.json": b"2", "f": b"3"}),
        "b.tar": tar_of({"y/1.png": b"1", "x/1.png": b"4"}),
        "c.json": b"{}",
        "d.zip": write_zip(tmp_path / "d", {"x/1.png": b"5"}).read_bytes(),
        "e.tar": tar_of({"f/1": b"6"}),
    }
    for name in files:
        site.put(name, archives[name])
    told = await refused(site, tmp_path / "t")
    assert words in told or "file where" in told or "folder where there is a file" in told


def with_bit_flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


HOSTILE = {
    "above": tar_with(member("../evil", size=3)),
    "absolute": tar_with(member("/evil", size=3)),
    "symbolic link": tar_with(member("link", tarfile.SYMTYPE, link="/etc/passwd")),
    "hard link": tar_with(member("link", tarfile.LNKTYPE, link="other")),
    "device": tar_with(member("null", tarfile.CHRTYPE)),
    "twice": tar_with(member("a", size=3), member("a", size=4)),
    "workspace": tar_with(member(".fdf256/journal", size=4)),
    "no tar": bytes_of(4096),
    "cut off": tar_of(MEMBERS)[:-20_000],
    "no end mark": tar_of({"a": b"1"})[:1024],
    "appended": tar_of({"a": b"1"}) + tar_of({"b": b"1"}),
    "header damaged": with_bit_flipped(tar_with(member("a"), member("b", size=5)), 700),
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("ending", ["tar", "tar.gz"])
async def test_hostile_and_damaged_tars_are_refused(
    name: str, ending: str, site: Site, tmp_path: Path
) -> None:
    site.put("good.tar", tar_of({"good/1.png": b"1"}))
    site.put(f"a.{ending}", COMPRESSORS[ending](HOSTILE[name]))
    await refused(site, tmp_path / "t")
    assert not (tmp_path / "evil").exists()


async def test_limits_hold_for_tars_too(site: Site, tmp_path: Path) -> None:
    site.put("a.tar", tar_of(MEMBERS))
    for limits in (Limits(max_members=3), Limits(max_unpacked_bytes=1000)):
        async with Origin(site.folder) as origin:
            with pytest.raises(IntegrityError):
                await install(tmp_path / "t", catalog=site.catalog(origin.url), limits=limits)
        assert nothing_published(tmp_path / "t")


async def test_a_source_with_another_file_is_left_for_one_that_has_the_right_one(
    site: Site, tmp_path: Path
) -> None:
    site.put("a.tar", tar_of(MEMBERS))
    wrong = Site(tmp_path / "wrong")
    wrong.put("a.tar", with_bit_flipped(tar_of(MEMBERS), 600))
    recorder = Recorder()
    async with Origin(site.folder) as good, Origin(wrong.folder) as bad:
        catalog = site.catalog(bad.url, good.url)
        report = await install(tmp_path / "t", catalog=catalog, progress=recorder)
    assert report.verified == "md5"
    assert any("it came from" in told for told in recorder.messages)
    assert contents(tmp_path / "t") == MEMBERS


async def test_a_tar_without_a_length_comes_over_one_connection(site: Site, tmp_path: Path) -> None:
    data = tar_of(MEMBERS)

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.enable_chunked_encoding()
        await response.prepare(request)
        for start in range(0, len(data), 10_000):
            await response.write(data[start : start + 10_000])
        await response.write_eof()
        return response

    digest = Digest("md5", hashlib.md5(data).hexdigest())
    async with application_server(answer) as url:
        archives = (Archive("a.tar", "images", (f"{url}/a.tar",), digest),)
        report = await install(tmp_path / "t", catalog=Catalog("x", "X", archives, "test"))
    assert report.verified == "md5"
    assert contents(tmp_path / "t") == MEMBERS


async def test_a_disk_that_is_too_small_is_refused_before_the_first_byte(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.put("a.tar", tar_of(MEMBERS))
    monkeypatch.setattr("fdf256_fast.installation.SPARE_BYTES", 1 << 60)
    async with Origin(site.folder) as origin:
        with pytest.raises(StorageError, match="are missing"):
            await install(tmp_path / "t", catalog=site.catalog(origin.url))
        assert origin.bytes_sent < 100


async def test_a_plain_file_is_nothing_to_unpack(site: Site, tmp_path: Path) -> None:
    site.put("a.json", b"{}")
    async with Origin(site.folder) as origin:
        with pytest.raises((IntegrityError, UsageError)):
            await fetch(f"{origin.url}/a.json", tmp_path / "t", extract=True)
    assert not (tmp_path / "t/a.json").exists()
