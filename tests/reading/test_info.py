"""``fdf256 info`` and ``fdf256_fast.info``: counts against json, Counter and NumPy."""

from __future__ import annotations

import asyncio
import json
import os
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fdf256_fast as fdf
from fdf256_fast.catalog import parse_catalog
from fdf256_fast.errors import MetadataError, StorageError
from fdf256_fast.faces import sample_faces
from fdf256_fast.survey import FRACTIONS, SIZE_EDGES
from tests.integration.runs import command
from tests.reading.trees import LICENSES, entry, items, same_item, write_split

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from fdf256_fast.survey import Counts
    from fdf256_fast.synthetic import SyntheticDataset

NAMES = {url: name for name, url in LICENSES.items()}


def counted(entries: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """What ``Counts`` says of the same entries."""
    known = list(entries)
    sizes = [max(x1 - x0, y1 - y0) for x0, y0, x1, y1 in (e["original_bounding_box"] for e in known)]
    bins = np.histogram(sizes, [-np.inf, *SIZE_EDGES, np.inf])[0]
    return {
        "images": len(known),
        "licenses": Counter(NAMES[e["license_url"]] for e in known),
        "face_sizes": tuple(bins.tolist()),
        "size_quantiles": tuple(np.quantile(sizes, FRACTIONS).tolist()) if sizes else (),
        "years_taken": Counter(int(e["date_captured"][:4]) for e in known),
        "years_uploaded": Counter(int(e["date_uploaded"][:4]) for e in known),
    }


def same_counts(counts: Counts, wanted: dict[str, Any]) -> None:
    for name, value in wanted.items():
        found = getattr(counts, name)
        assert found == (pytest.approx(value) if name == "size_quantiles" else value), name


@given(numbers=st.sets(st.integers(0, 5000), min_size=1, max_size=60), data=st.data())
def test_counts_are_those_of_a_slow_count_for_all_images_and_for_those_that_are_there(
    numbers: set[int], data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    present = data.draw(st.sets(st.sampled_from(sorted(numbers))))
    root = tmp_path_factory.mktemp("info")
    write_split(root, "train", sorted(numbers, key=str), present=[])
    for number in present:
        (root / "train" / "images" / f"{number}.png").touch()
    (split,) = fdf.info(root).splits
    same_counts(split.published, counted(map(entry, numbers)))
    same_counts(split.present, counted(map(entry, present)))
    assert (split.is_whole, split.without_metadata) == (present == numbers, 0)


def test_a_tree_of_another_tool_has_statistics_and_no_record(tree: Path) -> None:
    found = fdf.info(tree)
    assert (found.archives, found.installed, found.forgotten) == ({}, "", 0)
    assert [(split.name, split.present.images) for split in found.splits] == [("train", 40), ("val", 20)]
    assert found.present == found.published
    assert found.present.images == 60
    assert sum(found.present.licenses.values()) == sum(found.present.face_sizes) == 60


def test_an_installed_tree_says_what_came_from_where_and_how_it_was_verified(
    dataset: SyntheticDataset, tmp_path: Path
) -> None:
    target = tmp_path / "fdf256"
    catalog = parse_catalog(dataset.catalog_toml(dataset.directory.as_uri()), "test catalog")
    fdf.install_sync(target, catalog=catalog)
    found = fdf.info(target)
    assert set(found.archives) == {"metainfo", "cc-by-2", "cc-by-sa-2", "cc-by-nc-2", "cc-by-nc-sa-2"}
    for name, archive in found.archives.items():
        assert archive.verified == "md5"
        assert archive.url == dataset.archives[name].as_uri()
        assert archive.bytes == dataset.sizes[name]
    assert found.files == 66
    assert found.installed.endswith("Z")


async def test_the_command_prints_one_object(small: Path) -> None:
    result = await command("info", small, "--json")
    assert result.status == 0, result.stderr
    report = result.report
    assert list(report)[:3] == ["ok", "error", "target"]
    assert (report["ok"], report["error"], report["target"]) == (True, None, str(small))
    train = report["splits"]["train"]
    assert (train["present"]["images"], train["published"]["images"]) == (4, 6)
    assert sum(size["images"] for size in train["published"]["face_sizes"]) == 6
    assert train["published"]["face_sizes"][1] == {"from": 64, "to": 96, "images": 6}
    assert train["present"]["years_taken"] == {"2004": 1, "2006": 1, "2007": 1, "2009": 1}
    assert train["published"]["face_size_quantiles"]["0.5"] == 70.0
    assert report["archives"] == report["written"] == []


async def test_the_command_prints_tables_of_what_is_there_and_of_what_was_published(small: Path) -> None:
    result = await command("info", small)
    assert result.status == 0, result.stderr
    lines = [line.split() for line in result.stdout.splitlines()]
    assert ["cc-by-2", "2", "of", "3", "2", "of", "3"] in lines
    assert ["all", "4", "of", "6", "4", "of", "6"] in lines
    assert "images: 4 of 6 in train" in result.stdout
    assert "Another tool made it: no record" in result.stdout


async def test_a_split_without_images_does_not_count_where_another_has_some(small: Path) -> None:
    write_split(small, "val", [0, 1, 2], present=[])
    found = await asyncio.to_thread(fdf.info, small)
    assert [split.name for split in found.in_use] == ["train"]
    assert (found.published.images, found.present.images) == (6, 4)
    result = await command("info", small)
    lines = [line.split() for line in result.stdout.splitlines()]
    assert ["all", "4", "of", "6", "0", "of", "3", "4", "of", "9"] in lines
    assert "pixels (train)" in result.stdout


async def test_the_metadata_alone_have_statistics_too(tmp_path: Path) -> None:
    write_split(tmp_path, "train", [0, 1, 2], present=[])
    (tmp_path / "train" / "images").rmdir()
    result = await command("info", tmp_path)
    assert result.status == 0, result.stderr
    assert "images: 0 of 3 in train" in result.stdout
    assert fdf.info(tmp_path).splits[0].published.images == 3


async def test_an_installed_target_without_such_metadata_says_what_was_installed(
    dataset: SyntheticDataset, tmp_path: Path
) -> None:
    target = tmp_path / "fdf256"
    catalog = parse_catalog(dataset.catalog_toml(dataset.directory.as_uri()), "test catalog")
    await fdf.install(target, catalog=catalog)
    for split in ("train", "val"):
        (target / split / "fdf_metainfo.json").unlink()
    result = await command("info", target)
    assert result.status == 0, result.stderr
    assert "no metadata of FDF256" in result.stdout
    assert "cc-by-nc-sa-2.zip" in result.stdout
    result = await command("info", target, "--plot", tmp_path / "a.png")
    assert result.status == 5
    assert not (tmp_path / "a.png").exists()


async def test_images_without_metadata_are_told_of(small: Path) -> None:
    (small / "train" / "images" / "99.png").touch()
    result = await command("info", small)
    assert result.status == 0, result.stderr
    assert "train: 1 images have no metadata" in result.stdout


def test_forgotten_images_are_counted(small: Path) -> None:
    (small / ".fdf256").mkdir()
    (small / ".fdf256" / "forgotten").write_text("train/images/1.png\ntrain/images/4.png\n", "ascii")
    assert fdf.info(small).forgotten == 2


def test_forgotten_images_are_gone_from_items_and_sample_and_the_rows_of_the_others_stay(
    dataset: SyntheticDataset, tmp_path: Path
) -> None:
    target = tmp_path / "fdf256"
    catalog = parse_catalog(dataset.catalog_toml(dataset.directory.as_uri()), "test catalog")
    fdf.install_sync(target, catalog=catalog, splits={"val"})
    wanted = items(target, "val")
    fdf.forget(target, ["val/0", "val/7"])
    del wanted[0], wanted[7]
    left = fdf.FDF256(target, "val")
    assert left.ids.tolist() == left.rows.tolist() == list(wanted)
    assert all(same_item(*pair) for pair in zip(left, wanted.values(), strict=True))
    found = fdf.info(target)
    assert (found.forgotten, found.present.images, found.published.images) == (2, 18, 20)
    faces = {face.path for face in sample_faces(target, ["val"], 200, 0)}
    assert len(faces) == 18
    assert faces.isdisjoint({"val/images/0.png", "val/images/7.png"})


async def test_a_folder_without_a_dataset_ends_with_status_5(tmp_path: Path) -> None:
    result = await command("info", tmp_path, "--json")
    assert result.status == 5
    assert result.report["ok"] is False
    assert "fdf_metainfo.json is not there" in result.report["error"]
    assert "fdf256 download" in result.stderr


def test_images_without_their_metadata_file_are_told_how_to_get_it(small: Path) -> None:
    (small / "train" / "fdf_metainfo.json").unlink()
    with pytest.raises(StorageError, match="--metadata-only"):
        fdf.info(small)


async def test_options_of_a_plot_that_is_not_drawn_are_refused(
    small: Path,
) -> None:
    for options in (("--faces", "3"), ("--seed", "1")):
        result = await command("info", small, *options)
        assert (result.status, "--plot" in result.stderr) == (2, True)


@pytest.mark.parametrize("option", ["--index", "--plot"])
async def test_no_other_file_is_lost_for_what_is_written(option: str, small: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "x.svg.new").write_text("somebody's")
    result = await command("info", small, option, out / "x.svg")
    assert result.status == 0, result.stderr
    assert {path.name for path in out.iterdir()} == {"x.svg", "x.svg.new"}
    assert (out / "x.svg.new").read_text() == "somebody's"


async def test_neither_the_dataset_nor_one_file_twice_is_written(small: Path) -> None:
    metadata = small / "train/fdf_metainfo.json"
    before = metadata.read_bytes()
    (small / "faces.svg").symlink_to(small / "train/bounding_box.npy")
    outputs = {
        "--index": ("train/fdf_metainfo.json", "train/landmarks.npy", "train/images/new.csv"),
        "--plot": ("faces.svg", "train/images/0.png"),
    }
    for option, names in outputs.items():
        for name in names:
            result = await command("info", small, option, small / name)
            assert (result.status, "belongs to the dataset" in result.stderr) == (2, True)
    result = await command("info", small, "--index", small / "s.svg", "--plot", small / "train/../s.svg")
    assert (result.status, "one file" in result.stderr) == (2, True)
    assert metadata.read_bytes() == before
    assert not (small / "s.svg").exists()


@pytest.mark.parametrize("keys", [("7", "07"), ("07", "007")])
def test_an_image_with_two_entries_is_refused_and_not_counted_twice(
    keys: tuple[str, str], tmp_path: Path
) -> None:
    images = tmp_path / "train/images"
    images.mkdir(parents=True)
    (images / "7.png").touch()
    metadata = tmp_path / "train/fdf_metainfo.json"
    metadata.write_text(json.dumps({key: entry(7) for key in keys}))
    with pytest.raises(MetadataError, match="image 7 is there twice"):
        fdf.info(tmp_path)


def test_a_box_without_length_is_refused(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    box = [-1e308, 0, 1e308, 1]
    text = json.dumps({"1": entry(1, original_bounding_box=box)})
    (tmp_path / "train/fdf_metainfo.json").write_text(text)
    with pytest.raises(MetadataError, match="a box with sides") as caught:
        fdf.info(tmp_path)
    assert caught.value.offset == text.index("[-1e")


@pytest.mark.parametrize("arguments", [("info",), ("credits",), ("search-user", "--user-nsid", "1@N00")])
async def test_a_pipe_in_place_of_the_metadata_keeps_nobody(arguments: tuple[str, ...], small: Path) -> None:
    metadata = small / "train/fdf_metainfo.json"
    metadata.unlink()
    os.mkfifo(metadata)
    result = await command(*arguments, small)
    assert result.status == 5
    assert str(metadata) in "".join(result.stderr.split())


# ---- damaged metadata ------------------------------------------------------------------------------


def _changed(root: Path, **changes: Any) -> bytes:
    """Write metadata whose second entry has other values (None: not there); returns the file's bytes."""
    second = {key: value for key, value in entry(1, **changes).items() if value is not ...}
    data = json.dumps({"0": entry(0), "1": second, "2": entry(2)}).encode()
    (root / "train").mkdir(exist_ok=True)
    (root / "train" / "fdf_metainfo.json").write_bytes(data)
    return data


@pytest.mark.parametrize("field", ["license_url", "original_bounding_box"])
async def test_a_field_that_is_missing_is_named_with_its_entrys_place(tmp_path: Path, field: str) -> None:
    data = _changed(tmp_path, **{field: ...})
    with pytest.raises(MetadataError, match=f'entry "1" has no field "{field}"') as caught:
        fdf.info(tmp_path)
    assert caught.value.offset == data.index(b'"1": ')
    result = await command("info", tmp_path, "--json")
    assert result.status == 3
    assert f"(at byte {caught.value.offset})" in result.report["error"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("license_url", 7),
        ("license_url", None),
        ("license_url", ["http://creativecommons.org/licenses/by/2.0/"]),
        ("original_bounding_box", [1, 2, 3]),
        ("original_bounding_box", [1, 2, 3, 4, 5]),
        ("original_bounding_box", [1, 2, 3, "4"]),
        ("original_bounding_box", [1, 2, 3, float("nan")]),
        ("original_bounding_box", {"x0": 1}),
        ("original_bounding_box", "1, 2, 3, 4"),
        ("date_captured", 2010),
        ("date_uploaded", ["2010-01-16"]),
    ],
)
def test_a_value_of_another_kind_is_refused_with_its_place(tmp_path: Path, field: str, value: Any) -> None:
    data = _changed(tmp_path, **{field: value})
    with pytest.raises(MetadataError, match="is expected, not") as caught:
        fdf.info(tmp_path)
    key = f'"{field}": '.encode()
    assert caught.value.offset == data.index(key, data.index(b'"1": ')) + len(key)


@pytest.mark.parametrize("date", [None, ..., "", "0000-00-00 00:00:00.0", "unknown", "20100-1-1"])
def test_a_date_that_is_not_known_is_counted_as_such(tmp_path: Path, date: Any) -> None:
    _changed(tmp_path, date_captured=date)
    assert fdf.info(tmp_path).splits[0].published.years_taken == {2004: 1, 2006: 1, None: 1}


def test_the_date_taken_counts_where_there_is_none_captured(tmp_path: Path) -> None:
    _changed(tmp_path, date_captured=..., date_taken="1999-12-31 00:00:00.0")
    assert fdf.info(tmp_path).splits[0].published.years_taken == {1999: 1, 2004: 1, 2006: 1}


def test_another_licence_is_counted_by_its_address_and_shown_as_harmless_text(tmp_path: Path) -> None:
    _changed(tmp_path, license_url="https://example.org/\x1b[31mred")
    licenses = fdf.info(tmp_path).splits[0].published.licenses
    assert licenses == {"cc-by-2": 2, "https://example.org/\x1b[31mred": 1}


async def test_no_terminal_codes_from_the_metadata_reach_the_screen(tmp_path: Path) -> None:
    _changed(tmp_path, license_url="https://example.org/\x1b[31mred[bold]")
    result = await command("info", tmp_path)
    assert result.status == 0, result.stderr
    assert "\x1b" not in result.stdout
    assert "\\x1b[31mred[bold]" in result.stdout


async def test_an_index_without_a_file_name_is_refused(tmp_path: Path) -> None:
    write_split(tmp_path, "train", [1, 2])
    result = await command("info", tmp_path, "--index", "", "--json", cwd=tmp_path)
    assert result.status == 5, result.stderr
    assert "directory" in result.report["error"]


@given(place=st.integers(0, 10**6), value=st.none() | st.integers(0, 255))
def test_metadata_damaged_at_any_byte_are_counted_or_refused_with_an_offset(
    place: int, value: int | None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.getbasetemp() / "damaged"
    root.mkdir(exist_ok=True)
    data = _changed(root)
    place %= len(data)
    damaged = data[:place] if value is None else data[:place] + bytes([value]) + data[place + 1 :]
    (root / "train" / "fdf_metainfo.json").write_bytes(damaged)
    try:
        images = fdf.info(root).published.images
    except MetadataError as error:
        offset = error.offset
    else:
        assert images == len(json.loads(damaged))
        return
    assert 0 <= offset <= len(damaged)
