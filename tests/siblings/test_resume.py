"""Tars and plain files that are cut off in their middle: what is there is believed only if it is sound."""

from __future__ import annotations

import random
import shutil
import signal
import tarfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from fdf256_fast import Limits, TransferError, install
from fdf256_fast.origin import Origin
from tests.crash.kills import Hit, Scenario, any_of, contents, publishing_starts, traced, trial, zygote
from tests.extract.archives import COMPRESSORS, tar_of
from tests.integration.oracles import FINISHED, bytes_of
from tests.integration.runs import Recorder, cancelled
from tests.servers import python_server
from tests.siblings.sites import Site, check_sibling, nothing_published

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fdf256_fast.catalog import Catalog
    from fdf256_fast.report import Report
    from tests.siblings.sites import Sibling

ALONE = Limits(connections=1, retries=0)
"""One span after the other, and no second try when the network is gone."""


@pytest.mark.parametrize("part", [0.1, 0.5, 0.8])
async def test_a_cancelled_run_goes_on_where_it_was(
    part: float, larger_sibling: Sibling, tmp_path: Path
) -> None:
    target, size = tmp_path / "t", larger_sibling.size
    async with Origin(larger_sibling.folder, rate=size / 2) as origin:
        catalog = larger_sibling.catalog(origin.url)
        await cancelled(
            lambda progress: install(target, catalog=catalog, progress=progress), int(part * size)
        )
        assert nothing_published(target)
    async with Origin(larger_sibling.folder) as origin:
        report = await install(target, catalog=larger_sibling.catalog(origin.url))
    check_sibling(target, larger_sibling.tree)
    assert report.verified == "md5"
    assert report.bytes_resumed >= 0.8 * part * size
    assert report.bytes_resumed + report.bytes_downloaded <= 1.3 * size


async def cut_off(site: Site, target: Path, bytes_: int) -> None:
    """Begin, and lose the network for good after so many bytes."""
    async with Origin(site.folder) as origin:
        origin.cut(bytes_)
        with pytest.raises(TransferError):
            await install(target, catalog=site.catalog(origin.url), limits=ALONE)
    assert nothing_published(target)


async def finished(site: Site, target: Path) -> tuple[Report, list[str]]:
    recorder = Recorder()
    async with Origin(site.folder) as origin:
        report = await install(target, catalog=site.catalog(origin.url), progress=recorder)
    return report, recorder.messages


async def test_a_large_member_goes_on_in_its_middle(site: Site, tmp_path: Path) -> None:
    members = {"a/large.npy": bytes_of(6_000_000), "a/small.txt": b"small"}
    site.put("a.tar", tar_of(members))
    await cut_off(site, tmp_path / "t", 3_000_000)
    report, messages = await finished(site, tmp_path / "t")
    assert report.bytes_resumed > 1_000_000
    assert report.bytes_downloaded < 5_000_000
    assert contents(tmp_path / "t") == members, messages


async def test_a_plain_file_goes_on_in_its_middle(site: Site, tmp_path: Path) -> None:
    site.put("a.torch", bytes_of(6_000_000))
    await cut_off(site, tmp_path / "t", 3_000_000)
    report, _ = await finished(site, tmp_path / "t")
    assert report.bytes_resumed > 1_000_000
    assert contents(tmp_path / "t") == {"a.torch": bytes_of(6_000_000)}


MANY = {f"a/{number}.bin": bytes_of(20_000, number) for number in range(300)}


def _remove(staged: Path) -> None:
    staged.unlink()


def _shorten(staged: Path) -> None:
    staged.write_bytes(staged.read_bytes()[:-1])


@pytest.mark.parametrize("harm", [_remove, _shorten])
async def test_an_early_staged_file_that_is_gone_or_shorter_begins_the_tar_anew(
    harm: Callable[[Path], None], site: Site, tmp_path: Path
) -> None:
    site.put("a.tar", tar_of(MANY))
    await cut_off(site, tmp_path / "t", 3_000_000)
    harm(tmp_path / "t/.fdf256/staging/a.tar/a/0.bin")
    report, messages = await finished(site, tmp_path / "t")
    assert (report.bytes_resumed, report.verified) == (0, "md5")
    assert any("1 of the files that were unpacked are gone or damaged" in told for told in messages)
    assert contents(tmp_path / "t") == MANY


@pytest.mark.parametrize("harmed", [True, False])
async def test_after_the_machine_was_started_anew_every_staged_byte_is_read(
    harmed: bool, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.put("a.tar", tar_of(MANY))
    await cut_off(site, tmp_path / "t", 3_000_000)
    staged = tmp_path / "t/.fdf256/staging/a.tar/a/7.bin"
    if harmed:
        staged.write_bytes(bytes(20_000))
    monkeypatch.setattr("fdf256_fast.journal.boot_id", lambda: "another")
    report, messages = await finished(site, tmp_path / "t")
    assert (report.bytes_resumed == 0) == harmed, messages
    assert contents(tmp_path / "t") == MANY


LONG = {f"a/{number:04}.bin": bytes_of(20_000, number) for number in range(800)}


@pytest.mark.parametrize("is_new_boot", [True, False])
async def test_what_the_disk_has_lost_last_costs_the_way_back_to_a_checkpoint(
    is_new_boot: bool, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.put("a.tar", tar_of(LONG))
    async with Origin(site.folder, rate=12_000_000) as origin:
        catalog = site.catalog(origin.url)
        await cancelled(lambda to: install(tmp_path / "t", catalog=catalog, progress=to), 12_000_000)
    staged = sorted((tmp_path / "t/.fdf256/staging/a.tar/a").iterdir())[450:]
    for path in staged:
        # A power cut leaves files without their bytes, or bytes that are others.
        path.write_bytes(bytes(20_000) if is_new_boot else b"")
    if is_new_boot:
        monkeypatch.setattr("fdf256_fast.journal.boot_id", lambda: "another")
    report, messages = await finished(site, tmp_path / "t")
    assert report.bytes_resumed > 4_000_000, messages
    assert report.bytes_resumed + report.bytes_downloaded < 1.05 * report.archives[0].bytes
    assert any("bytes of it are gone and fetched again" in told for told in messages)
    assert report.verified == "md5"
    assert contents(tmp_path / "t") == LONG


async def test_a_journal_that_was_changed_is_no_danger(site: Site, tmp_path: Path) -> None:
    site.put("a.tar", tar_of(MANY))
    await cut_off(site, tmp_path / "t", 3_000_000)
    journal = tmp_path / "t/.fdf256/journal"
    journal.write_text(journal.read_text().replace('\\"files\\":', '\\"files\\":1'))
    _, messages = await finished(site, tmp_path / "t")
    assert any("damaged" in told for told in messages)
    assert contents(tmp_path / "t") == MANY


async def test_a_changed_file_is_begun_anew(site: Site, tmp_path: Path) -> None:
    site.put("a.json", bytes_of(6_000_000), None)
    site.put("b.tar", tar_of(MANY), None)
    await cut_off(site, tmp_path / "t", 4_000_000)
    site.put("a.json", bytes_of(5_000_000, 7), None)
    changed = {name: data[::-1] for name, data in MANY.items()}
    site.put("b.tar", tar_of(changed), None)
    await finished(site, tmp_path / "t")
    assert contents(tmp_path / "t") == {**changed, "a.json": bytes_of(5_000_000, 7)}


async def test_a_finished_archive_waits_for_the_others(site: Site, tmp_path: Path) -> None:
    site.put("a.json", bytes_of(1000))
    site.put("b.tar", tar_of(MANY))
    await cut_off(site, tmp_path / "t", 3_000_000)
    report, _ = await finished(site, tmp_path / "t")
    assert {one.name: one.bytes_downloaded for one in report.archives}["a.json"] == 0
    assert contents(tmp_path / "t") == {**MANY, "a.json": bytes_of(1000)}


async def test_a_compressed_tar_goes_on_in_its_middle(site: Site, tmp_path: Path) -> None:
    noise = {f"a/{n}.bin": random.Random(n).randbytes(60_000) for n in range(100)}
    site.put("a.tar.gz", COMPRESSORS["tar.gz"](tar_of(noise)))
    await cut_off(site, tmp_path / "t", 3_000_000)
    report, _ = await finished(site, tmp_path / "t")
    assert report.bytes_resumed > 1_000_000
    assert contents(tmp_path / "t") == noise


# ---- killed ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Installing(Scenario):
    """With the lists of what the tars had, which stay."""

    def check_finished(self, target: Path) -> None:
        # A run that only finishes what another one published may leave the sizes out.
        names = {path.name for path in (target / ".fdf256").iterdir()}
        assert names == FINISHED | {"listings"}
        shutil.rmtree(target / ".fdf256/listings")
        super().check_finished(target)


def site_to_kill(folder: Path) -> tuple[Site, dict[str, bytes]]:
    site = Site(folder)
    small = {f"a/{number}.bin": bytes_of(3000, number) for number in range(12)}
    large = {"b/large.npy": bytes_of(400_000), "b/small.txt": b"small"}
    site.put("a.tar", tar_of(small, tarfile.GNU_FORMAT))
    site.put("b.tar", tar_of(large))
    site.put("c.tar.gz", COMPRESSORS["tar.gz"](tar_of({"c/1": bytes_of(9000)})))
    site.put("d.json", bytes_of(50_000))
    return site, {**small, **large, "c/1": bytes_of(9000), "d.json": bytes_of(50_000)}


def catalog_file(path: Path, catalog: Catalog) -> Path:
    lines = ['name = "x"', 'title = "X"']
    for archive in catalog.archives:
        lines += ["[[archive]]", f'name = "{archive.name}"', 'role = "images"']
        lines += [f'url = "{archive.urls[0]}"', f'digest = "{archive.digest}"']
    path.write_text("\n".join(lines))
    return path


@pytest.mark.parametrize("ranges", [True, False])
async def test_a_run_killed_at_any_moment_is_finished_by_the_next(ranges: bool, tmp_path: Path) -> None:
    moments = random.Random(f"kill {ranges}")
    site, wanted = site_to_kill(tmp_path / "served")
    async with Origin(site.folder) as origin, python_server(site.folder) as plain, zygote(tmp_path) as mother:
        catalog = catalog_file(tmp_path / "x.toml", site.catalog(origin.url if ranges else plain.url))
        scenario = Installing(
            "siblings",
            lambda to: ["download", to, "--catalog", catalog, "--progress", "none", "--memory", "4MiB"],
            wanted,
            any_of(wanted),
        )
        target = tmp_path / "target"
        # Not counted: every change is a moment too.
        changes, _ = await traced(mother, scenario, target)
        publishing = range(publishing_starts(changes), len(changes) + 1)
        happened = 0
        for at in moments.sample(publishing, 6):
            happened += await trial(mother, scenario, target, [Hit(at)])
        for _ in range(3):
            hits = [Hit(moments.randint(1, len(changes)), signal.SIGKILL) for _ in range(4)]
            happened += await trial(mother, scenario, target, hits)
    assert happened >= 8
