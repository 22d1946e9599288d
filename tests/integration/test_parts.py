"""Parts of a dataset: what they fetch, what they leave, and what becomes of them together."""

from __future__ import annotations

import asyncio
import random
import zipfile
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fdf256_fast import UsageError, install
from fdf256_fast.catalog import parse_catalog
from fdf256_fast.forgotten import write_forgotten
from fdf256_fast.origin import Origin
from fdf256_fast.plan import GAP_BYTES_FREE, GAP_BYTES_MAX, GAP_SHARE, join
from fdf256_fast.selection import Ids, Image, Selection
from fdf256_fast.workspace import Workspace
from tests.integration.oracles import (
    FOLDER,
    WORKSPACE,
    bytes_of,
    check_installed,
    check_manifest,
    same_tree,
    tree_of,
    write_zip,
)
from tests.integration.runs import Recorder, cancelled, command
from tests.machine.sites import start_machine_anew
from tests.servers import python_server

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from fdf256_fast.synthetic import Compression
    from tests.integration.oracles import Published, Tree
    from tests.servers import Serve

    Publish = Mapping[Compression, Published]

TAILS = 5 * 66_000
"""The ends of five archives, which are fetched whatever is wanted."""


def only(tree: Tree, wanted: Callable[[str], bool]) -> Tree:
    """The files of ``tree`` that are wanted, and their folders."""
    files = {path: digest for path, digest in tree.items() if digest != FOLDER and wanted(path)}
    folders = {path for path, digest in tree.items() if digest == FOLDER}
    return {path: FOLDER for path in folders if any(file.startswith(f"{path}/") for file in files)} | files


def is_image(path: str) -> bool:
    return path.endswith(".png")


def members(made: Published, archive: str) -> set[str]:
    """By zipfile."""
    with zipfile.ZipFile(made.dataset.archives[archive]) as opened:
        return set(opened.namelist())


def weight(made: Published, wanted: Callable[[str], bool]) -> int:
    """What the wanted members take in the archives, headers included, by zipfile."""
    total = 0
    for path in made.dataset.archives.values():
        with zipfile.ZipFile(path) as opened:
            infos = sorted(opened.infolist(), key=lambda info: info.header_offset)
            ends = [info.header_offset for info in infos[1:]] + [opened.start_dir]
            total += sum(
                end - info.header_offset
                for info, end in zip(infos, ends, strict=True)
                if wanted(info.filename)
            )
    return total


# ---- what is fetched -------------------------------------------------------------------------------


@pytest.mark.parametrize("split", ["train", "val"])
async def test_a_split_is_what_unzip_gives_of_it(
    serve: Serve, published: Publish, split: str, tmp_path: Path
) -> None:
    made = published["mixed"]
    target = tmp_path / "target"
    async with serve(made.folder) as server:
        report = await install(target, catalog=made.catalog(server.url), splits={split})
        check_installed(target, only(made.tree, lambda path: path.startswith(split)))
        assert (await install(target, catalog=made.catalog(server.url), splits={split})).already_installed
    files = sum(is_image(path) for path in tree_of(target))
    assert sum(archive.members or 0 for archive in report.archives) == files + 3


async def test_the_validation_split_costs_hardly_more_than_its_bytes(
    larger: Published, tmp_path: Path
) -> None:
    own = weight(larger, lambda path: path.startswith("val/"))
    async with Origin(larger.folder) as origin:
        report = await install(tmp_path / "target", catalog=larger.catalog(origin.url), splits={"val"})
        assert origin.bytes_sent <= 1.1 * own + TAILS
        assert report.bytes_downloaded == origin.bytes_sent
    assert report.verified == "crc32"


async def test_a_licence_alone_is_its_archive_checked_by_its_digest(
    published: Publish, tmp_path: Path
) -> None:
    made = published["mixed"]
    target = tmp_path / "target"
    async with Origin(made.folder) as origin:
        catalog = made.catalog(origin.url)
        report = await install(target, catalog=catalog, licenses={"cc-by-2"})
        assert [archive.name for archive in report.archives] == ["metainfo", "cc-by-2"]
        assert report.verified == "md5"
        both = members(made, "metainfo") | members(made, "cc-by-2")
        check_installed(target, only(made.tree, both.__contains__))
        with pytest.raises(UsageError, match="cc-by-3") as caught:
            await install(target, catalog=catalog, licenses={"cc-by-3"})
    assert "cc-by-nc-sa-2" in caught.value.hint


async def test_listed_images_come_with_all_metadata(published: Publish, tmp_path: Path) -> None:
    made = published["mixed"]
    target = tmp_path / "target"
    ids = ["3", "train/7", "train/images/11.png", "./val/images/0.png", "# none", "", "train/99999"]
    async with Origin(made.folder) as origin:
        report = await install(target, catalog=made.catalog(origin.url), ids=ids)
    chosen = {"train/images/3.png", "val/images/3.png", "train/images/7.png", "train/images/11.png"}
    chosen |= {"val/images/0.png"}
    check_installed(target, only(made.tree, lambda path: not is_image(path) or path in chosen))
    # All of the metadata is there, and so its digest could be checked.
    assert {archive.name: archive.verified for archive in report.archives}["metainfo"] == "md5"
    assert report.verified == "crc32"


async def test_a_sample_is_the_same_each_time_and_grows(published: Publish, tmp_path: Path) -> None:
    made = published["mixed"]

    async def images(name: str, sample: int, seed: int) -> set[str]:
        target = tmp_path / name
        await install(target, catalog=made.catalog(made.folder.as_uri()), sample=sample, seed=seed)
        check_manifest(target)
        return set(filter(is_image, tree_of(target)))

    ten, same = await images("a", 10, 1), await images("b", 10, 1)
    twenty, other = await images("c", 20, 1), await images("d", 10, 2)
    assert len(ten) == 10
    assert len(twenty) == 20
    assert ten == same
    assert ten < twenty
    assert other != ten
    assert len(await images("e", 1000, 1)) == 100


async def test_one_text_is_one_value(published: Publish, tmp_path: Path) -> None:
    made = published["mixed"]
    target = tmp_path / "target"
    catalog = made.catalog(made.folder.as_uri())
    await install(target, catalog=catalog, splits="train", ids="17")
    assert [path for path in tree_of(target) if is_image(path)] == ["train/images/17.png"]
    report = await install(tmp_path / "other", catalog=catalog, licenses="cc-by-2")
    assert [archive.name for archive in report.archives] == ["metainfo", "cc-by-2"]


async def test_selections_combine(published: Publish, tmp_path: Path) -> None:
    made = published["mixed"]
    target = tmp_path / "target"
    async with Origin(made.folder) as origin:
        await install(
            target, catalog=made.catalog(origin.url), splits={"train"}, licenses={"cc-by-nc-sa-2"}, sample=5
        )
    images = set(filter(is_image, tree_of(target)))
    assert len(images) == 5
    assert images <= {path for path in members(made, "cc-by-nc-sa-2") if path.startswith("train/")}
    assert not (target / "val").exists()


async def test_a_dry_run_tells_members_bytes_and_requests(larger: Published, tmp_path: Path) -> None:
    target, catalog = tmp_path / "target", tmp_path / "catalog.toml"
    async with Origin(larger.folder) as origin:
        catalog.write_text(larger.dataset.catalog_toml(origin.url), "utf-8")
        arguments = ("download", target, "--catalog", catalog, "--split", "val", "--json")
        planned = (await command(*arguments, "--dry-run")).report
        assert not target.exists()
        asked, sent = origin.requests, origin.bytes_sent
        done = (await command(*arguments)).report
        asked, sent = origin.requests - asked, origin.bytes_sent - sent
    chosen = [path for path in larger.tree if path.startswith("val/images/")]
    assert planned["files"] == len(chosen) + 3
    assert planned["dry_run"] is True
    requests = sum(archive["requests"] for archive in planned["archives"])
    wanted = sum(archive["bytes_to_fetch"] for archive in planned["archives"])
    # And the ends, one request each; long spans are cut while the speed is not known.
    assert requests + 5 <= asked <= 3 * requests + 5
    assert sent == wanted + sum(min(size, 65_558) for size in larger.dataset.sizes.values())
    assert done["bytes_downloaded"] == sent


@pytest.mark.parametrize("chosen", [(), ("--metadata-only",), ("--license", "cc-by-2")], ids=str)
async def test_a_dry_run_of_whole_archives_counts_their_ends_once(
    chosen: tuple[str, ...], larger: Published, tmp_path: Path
) -> None:
    target, catalog = tmp_path / "target", tmp_path / "catalog.toml"
    async with Origin(larger.folder) as origin:
        catalog.write_text(larger.dataset.catalog_toml(origin.url), "utf-8")
        arguments: tuple[str | Path, ...] = ("download", target, "--catalog", catalog, "--json", *chosen)
        planned = (await command(*arguments, "--dry-run")).report
        sent = origin.bytes_sent
        await command(*arguments)
        sent = origin.bytes_sent - sent
    # The ends are read to plan, and read again by the run itself.
    wanted = sum(archive["bytes_to_fetch"] for archive in planned["archives"])
    assert sent == wanted + planned["bytes_downloaded"]


# ---- one part after the other ----------------------------------------------------------------------


async def test_parts_add_up_and_nothing_is_fetched_twice(larger: Published, tmp_path: Path) -> None:
    target = tmp_path / "target"
    calls: list[dict[str, object]] = [
        {"sample": 15, "seed": 4},
        {"splits": {"val"}},
        {"licenses": {"cc-by-2"}, "splits": {"train"}},
        {"ids": [str(number) for number in range(40)]},
        {},
    ]
    async with Origin(larger.folder) as origin:
        catalog = larger.catalog(origin.url)
        for selected in calls:
            report = await install(target, catalog=catalog, **selected)  # type: ignore[arg-type]
            check_manifest(target)
            assert (await install(target, catalog=catalog, **selected)).already_installed  # type: ignore[arg-type]
        assert origin.bytes_sent <= 1.07 * larger.size + len(calls) * TAILS
    check_installed(target, larger.tree)
    checks = {archive.name: archive.verified for archive in report.archives}
    # Nothing but the metadata ever came as a whole.
    assert checks == {"metainfo": "md5"} | {name: "crc32" for name in checks if name != "metainfo"}


async def test_a_part_of_a_whole_that_is_there_needs_no_request(published: Publish, tmp_path: Path) -> None:
    made = published["mixed"]
    target = tmp_path / "target"
    async with Origin(made.folder) as origin:
        await install(target, catalog=made.catalog(origin.url))
        asked = origin.requests
        for selected in ({"val"}, {"train"}):
            report = await install(target, catalog=made.catalog(origin.url), splits=selected)
            assert report.already_installed
        assert origin.requests == asked
    check_installed(target, made.tree)


async def test_an_interrupted_part_goes_on(larger: Published, tmp_path: Path) -> None:
    target = tmp_path / "target"
    own = weight(larger, lambda path: path.startswith("train/"))
    async with Origin(larger.folder, rate=larger.size) as origin:
        catalog = larger.catalog(origin.url)
        await cancelled(
            lambda progress: install(target, catalog=catalog, splits={"train"}, progress=progress), own // 2
        )
        assert not (target / "train").exists()
        report = await install(target, catalog=catalog, splits={"train"})
    assert report.bytes_resumed >= own // 2
    assert report.bytes_downloaded <= 1.1 * own - own // 2 + TAILS
    check_installed(target, only(larger.tree, lambda path: path.startswith("train")))


async def test_a_part_after_another_that_was_cut_off_shows_only_its_own(
    larger: Published, tmp_path: Path
) -> None:
    target = tmp_path / "target"
    own = weight(larger, lambda path: path.startswith("train/"))
    async with Origin(larger.folder, rate=larger.size) as origin:
        catalog = larger.catalog(origin.url)
        await cancelled(
            lambda progress: install(target, catalog=catalog, splits={"train"}, progress=progress), own // 2
        )
        await install(target, catalog=catalog, splits={"val"})
        same_tree(target, only(larger.tree, lambda path: path.startswith("val")))
        check_manifest(target)
        report = await install(target, catalog=catalog, splits={"train"})
    # What the first call had was kept aside all the time.
    assert report.bytes_downloaded <= 1.1 * own - own // 2 + TAILS
    check_installed(target, larger.tree)


async def test_after_a_power_cut_all_that_a_part_had_is_read_whatever_is_wanted_next(
    larger: Published, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "target"
    own = weight(larger, lambda path: path.startswith("train/"))
    async with Origin(larger.folder, rate=larger.size) as origin:
        catalog = larger.catalog(origin.url)
        await cancelled(
            lambda progress: install(target, catalog=catalog, splits={"train"}, progress=progress), own // 2
        )
        staged = sorted(path for path in (target / WORKSPACE / "staging").rglob("*.png"))
        assert staged
        for path in staged[::5]:
            path.write_bytes(bytes(path.stat().st_size))
        start_machine_anew(monkeypatch)
        await install(target, catalog=catalog, splits={"val"})
        await install(target, catalog=catalog, splits={"train"})
    check_installed(target, larger.tree)


async def test_a_whole_that_was_cut_off_is_still_checked_by_its_digest_after_a_part(
    larger: Published, tmp_path: Path
) -> None:
    target = tmp_path / "target"
    async with Origin(larger.folder, rate=larger.size) as origin:
        catalog = larger.catalog(origin.url)
        await cancelled(
            lambda progress: install(target, catalog=catalog, progress=progress), larger.size // 2
        )
        part = await install(target, catalog=catalog, splits={"val"})
        assert part.verified == "crc32"
        same_tree(target, only(larger.tree, lambda path: path.startswith("val")))
        report = await install(target, catalog=catalog)
    assert report.bytes_resumed >= larger.size // 3
    assert report.verified == "md5"
    check_installed(target, larger.tree)


async def test_a_file_beside_the_dataset_does_not_cost_the_digest(published: Publish, tmp_path: Path) -> None:
    made = published["mixed"]
    target = tmp_path / "target"
    target.mkdir()
    (target / "notes.txt").write_text("mine", "utf-8")
    async with Origin(made.folder) as origin:
        report = await install(target, catalog=made.catalog(origin.url))
        assert origin.bytes_sent <= made.size + TAILS
    assert report.verified == "md5"


async def test_forgotten_images_stay_out_of_every_download(larger: Published, tmp_path: Path) -> None:
    target = tmp_path / "target"
    gone = {"val/images/0.png", "train/images/3.png"}
    workspace = Workspace.of(target)
    workspace.home.mkdir(parents=True)
    await asyncio.to_thread(write_forgotten, workspace, gone)
    async with Origin(larger.folder) as origin:
        catalog = larger.catalog(origin.url)
        for selected in ({"val"}, {"train"}, set[str]()):
            report = await install(target, catalog=catalog, splits=selected)
            found = tree_of(target)
            assert not gone & found.keys()
            check_manifest(target)
        assert report.already_installed or report.verified == "crc32"
        assert (await install(target, catalog=catalog)).already_installed
        with pytest.raises(UsageError, match="forgotten"):
            await install(target, catalog=catalog, keep_archives=True)
    same_tree(target, {path: digest for path, digest in larger.tree.items() if path not in gone})


# ---- awkward ones ----------------------------------------------------------------------------------


async def test_a_part_from_a_server_without_ranges_is_checked_by_the_digest(
    published: Publish, tmp_path: Path
) -> None:
    made = published["mixed"]
    target = tmp_path / "target"
    async with python_server(made.folder) as server:
        report = await install(target, catalog=made.catalog(server.url), splits={"val"})
    assert report.verified == "md5"
    check_installed(target, only(made.tree, lambda path: path.startswith("val")))


async def test_damage_in_a_part_costs_one_member(larger: Published, tmp_path: Path) -> None:
    damaged = bytearray(larger.dataset.archives["cc-by-2"].read_bytes())
    with zipfile.ZipFile(larger.dataset.archives["cc-by-2"]) as opened:
        val = next(info for info in opened.infolist() if info.filename.startswith("val/images/"))
    damaged[val.header_offset + 300] ^= 1
    bad = tmp_path / "bad"
    bad.mkdir()
    (bad / "cc-by-2.zip").write_bytes(damaged)
    heard = Recorder()
    async with Origin(larger.folder) as origin:
        report = await install(
            tmp_path / "target",
            catalog=larger.catalog(origin.url),
            mirrors=[bad],
            splits={"val"},
            progress=heard,
        )
    assert any(val.filename in message for message in heard.messages)
    assert report.retries >= 1
    check_installed(tmp_path / "target", only(larger.tree, lambda path: path.startswith("val")))


async def test_an_archive_that_changes_under_a_part_is_begun_anew(tmp_path: Path) -> None:
    folder = tmp_path / "served"
    folder.mkdir()
    target = tmp_path / "target"
    files = {f"train/images/{i}.png": bytes_of(60_000, i) for i in range(60)}
    write_zip(folder / "first.zip", files)
    catalog_text = (
        'name = "c"\ntitle = "C"\n[[archive]]\nname = "first"\nrole = "images"\nurl = "URL/first.zip"\n'
    )
    other = {name: bytes_of(61_000, i + 5) for i, name in enumerate(files)}
    async with Origin(folder, rate=2_000_000) as origin:
        catalog = parse_catalog(catalog_text.replace("URL", origin.url), "test")
        ids = [str(i) for i in range(50)]
        await cancelled(
            lambda progress: install(target, catalog=catalog, ids=ids, progress=progress), 1_000_000
        )
        write_zip(folder / "first.zip", other)
        heard = Recorder()
        await install(target, catalog=catalog, ids=ids, progress=heard)
    assert any("starts anew" in message for message in heard.messages)
    found = {path: digest for path, digest in tree_of(target).items() if digest != FOLDER}
    assert len(found) == 50
    for path in found:
        assert (target / path).read_bytes() == other[path]
    check_manifest(target)


async def test_many_small_members_far_apart_come_over_many_connections(tmp_path: Path) -> None:
    folder = tmp_path / "served"
    folder.mkdir()
    generator = random.Random(3)
    files = {
        f"{'val' if generator.random() < 0.05 else 'train'}/images/{i}.png": bytes_of(
            generator.randrange(9_000), i
        )
        for i in range(3000)
    }
    write_zip(folder / "a.zip", files)
    text = 'name = "c"\ntitle = "C"\n[[archive]]\nname = "a"\nrole = "images"\nurl = "URL/a.zip"\n'
    peak = 0

    class Watcher(Recorder):
        def updated(self, snapshot: object) -> None:
            nonlocal peak
            peak = max(peak, getattr(snapshot, "connections"))  # noqa: B009

    async with Origin(folder, rate=400_000) as origin:
        catalog = parse_catalog(text.replace("URL", origin.url), "test")
        await install(tmp_path / "target", catalog=catalog, splits={"val"}, progress=Watcher())
    assert peak >= 8
    found = {path for path, digest in tree_of(tmp_path / "target").items() if digest != FOLDER}
    assert found == {path for path in files if path.startswith("val/")}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--license", "cc0"], "cc0"),
        (["--split", "val", "--keep-archives"], "kept"),
        (["--ids", "IDS"], "line 2"),
        (["--ids", "EMPTY"], "no image"),
        (["--ids", "NOBODY"], "no image"),
        (["--ids", "none.txt"], "none.txt"),
        (["--split", "test"], "test"),
        (["--sample", "0"], "0"),
        (["--seed", "3"], "--sample"),
    ],
)
async def test_what_cannot_be_selected_is_named_with_status_2(
    arguments: list[str], words: str, published: Publish, tmp_path: Path
) -> None:
    made = published["mixed"]
    catalog = tmp_path / "catalog.toml"
    catalog.write_text(made.dataset.catalog_toml(made.folder.as_uri()), "utf-8")
    lists = {"IDS": "1\ntwo words\n", "EMPTY": "# nothing\n", "NOBODY": "train/987654\n"}
    for name, text in lists.items():
        (tmp_path / name).write_text(text, "utf-8")
    given = [str(tmp_path / argument) if argument in lists else argument for argument in arguments]
    done = await command("download", tmp_path / "target", "--catalog", catalog, *given)
    assert done.status == 2, done.stderr
    assert words in done.stderr
    assert not (tmp_path / "target" / "train").exists()


# ---- trees that somebody else made -----------------------------------------------------------------


def unpack(made: Published, target: Path) -> None:
    """As the published script does: each archive over the final folder."""
    for archive in made.dataset.archives.values():
        with zipfile.ZipFile(archive) as opened:
            opened.extractall(target)


async def test_a_tree_of_another_tool_is_adopted_without_its_bytes(larger: Published, tmp_path: Path) -> None:
    target = tmp_path / "target"
    await asyncio.to_thread(unpack, larger, target)
    async with Origin(larger.folder) as origin:
        report = await install(target, catalog=larger.catalog(origin.url))
        assert origin.bytes_sent <= TAILS
        assert (await install(target, catalog=larger.catalog(origin.url))).already_installed
    assert report.verified == "crc32"
    assert sum(archive.adopted for archive in report.archives) == larger.files
    check_installed(target, larger.tree)


async def test_only_what_is_wrong_in_an_adopted_tree_is_fetched(larger: Published, tmp_path: Path) -> None:
    target = tmp_path / "target"
    await asyncio.to_thread(unpack, larger, target)
    images = sorted(target.glob("train/images/*.png"))
    images[0].write_bytes(bytes(images[0].stat().st_size))
    images[1].write_bytes(images[1].read_bytes()[:-1])
    images[2].unlink()
    images[3].unlink()
    images[3].symlink_to(images[4])
    other = images[5].stat().st_ino
    async with Origin(larger.folder) as origin:
        catalog = larger.catalog(origin.url)
        plan = await install(target, catalog=catalog, dry_run=True)
        assert sum(archive.adopted for archive in plan.archives) == larger.files - 3
        report = await install(target, catalog=catalog)
        assert origin.bytes_sent <= 2 * TAILS + 5 * 130_000
    assert sum(archive.adopted for archive in report.archives) == larger.files - 4
    assert images[5].stat().st_ino == other
    assert not images[3].is_symlink()
    check_installed(target, larger.tree)


async def test_what_a_killed_part_left_half_written_never_covers_a_good_file(
    larger: Published, tmp_path: Path
) -> None:
    target = tmp_path / "target"
    own = weight(larger, lambda path: path.startswith("train/"))
    async with Origin(larger.folder, rate=larger.size) as origin:
        catalog = larger.catalog(origin.url)
        await cancelled(
            lambda progress: install(target, catalog=catalog, splits={"train"}, progress=progress), own // 2
        )
        staged = sorted((target / WORKSPACE / "staging").glob("*/train/images/*.png"))
        # As a kill leaves it: of the right size or not, and without what was to come.
        staged[0].write_bytes(b"half")
        staged[1].write_bytes(bytes(staged[1].stat().st_size))
        await asyncio.to_thread(unpack, larger, target)
        await install(target, catalog=catalog)
    check_installed(target, larger.tree)


async def test_a_part_adopts_what_it_wants_and_no_more(published: Publish, tmp_path: Path) -> None:
    made = published["mixed"]
    target = tmp_path / "target"
    await asyncio.to_thread(unpack, made, target)
    report = await install(target, catalog=made.catalog(made.folder.as_uri()), splits={"val"})
    manifest = (target / WORKSPACE / "SHA256SUMS").read_text("utf-8").splitlines()
    names = {line[66:] for line in manifest}
    assert names == {
        path for path, digest in made.tree.items() if path.startswith("val/") and digest != FOLDER
    }
    assert sum(archive.adopted for archive in report.archives) == len(names)
    same_tree(target, made.tree)


async def test_a_lost_record_costs_reading_and_not_fetching(published: Publish, tmp_path: Path) -> None:
    made = published["mixed"]
    target = tmp_path / "target"
    async with Origin(made.folder) as origin:
        catalog = made.catalog(origin.url)
        await install(target, catalog=catalog)
        (target / WORKSPACE / "installed.json").unlink()
        sent = origin.bytes_sent
        report = await install(target, catalog=catalog)
        assert origin.bytes_sent - sent <= TAILS
    # Nobody knows any more that the archives' digests were right.
    assert report.verified == "crc32"
    check_installed(target, made.tree)


async def test_a_missing_file_of_a_manifest_is_fetched_and_the_digest_still_vouches(
    larger: Published, tmp_path: Path
) -> None:
    target = tmp_path / "target"
    async with Origin(larger.folder) as origin:
        catalog = larger.catalog(origin.url)
        await install(target, catalog=catalog)
        next(iter(target.glob("train/images/*.png"))).unlink()
        sent = origin.bytes_sent
        report = await install(target, catalog=catalog)
        assert origin.bytes_sent - sent <= TAILS + 130_000
    assert report.verified == "md5"
    check_installed(target, larger.tree)


# ---- decisions -------------------------------------------------------------------------------------


def _placed(pairs: list[tuple[int, int]]) -> list[tuple[int, int]]:
    found, at = [], 0
    for gap, length in pairs:
        found.append((at + gap, at + gap + length))
        at += gap + length
    return found


extents = st.lists(st.tuples(st.integers(0, 200_000), st.integers(1, 50_000)), min_size=1, max_size=60)


@given(extents.map(_placed))
def test_joined_spans_hold_every_extent_and_cost_little_more(extents: list[tuple[int, int]]) -> None:
    spans = join(extents)
    assert all(before.end < after.start for before, after in pairwise(spans))
    assert all(any(span.start <= start and end <= span.end for span in spans) for start, end in extents)
    own = sum(end - start for start, end in extents)
    cost = sum(span.length for span in spans)
    assert own <= cost <= own * (1 + GAP_SHARE) + GAP_BYTES_FREE * len(extents)
    gaps = {after[0] - before[1] for before, after in pairwise(extents)}
    assert len(spans) >= 1 + sum(gap > GAP_BYTES_MAX for gap in gaps)


def test_the_validation_split_of_the_full_set_costs_less_than_a_tenth_more() -> None:
    generator = random.Random(256)
    own = cost = 0
    for _ in range(4):
        at, wanted = 0, []
        for _ in range(248_515 // 4):
            size = generator.randrange(60_000, 140_000)
            if generator.random() < 6_533 / 248_515:
                wanted.append((at, at + size))
            at += size
        own += sum(end - start for start, end in wanted)
        cost += sum(span.length for span in join(wanted))
    assert cost <= 1.1 * own


def test_a_sample_does_not_depend_on_what_else_is_there() -> None:
    selection = Selection(sample=3, seed=9)
    few = [f"train/images/{i}.png" for i in range(50)]
    chosen = selection.draw(few)
    assert chosen is not None
    rest = [path for path in few if path in chosen or int(path[13:-4]) % 2]
    assert selection.draw(reversed(rest)) == chosen


@pytest.mark.parametrize(
    ("line", "image", "found"),
    [
        ("7", Image("train", "7"), True),
        ("7", Image("val", "7"), True),
        ("train/7", Image("val", "7"), False),
        ("007", Image("val", "7"), True),
        ("val/images/7.png", Image("val", "7"), True),
        ("  train/7  # mine", Image("train", "7"), True),
        ("7", Image("train", "77"), False),
        ("abc", Image("train", "abc"), True),
    ],
)
def test_a_line_means_the_images_that_it_says(line: str, image: Image, found: bool) -> None:
    assert (image in Ids.parse([line], "test")) is found
