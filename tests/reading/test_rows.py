"""``fdf256_fast.index`` and ``fdf256 info --index``: which row of the published arrays is whose."""

from __future__ import annotations

import asyncio
import csv
from typing import TYPE_CHECKING

import numpy as np
import pytest

import fdf256_fast as fdf
from fdf256_fast.errors import IntegrityError, StorageError, UsageError
from tests.integration.runs import command
from tests.reading.trees import boxes, write_split

if TYPE_CHECKING:
    from pathlib import Path


def test_the_index_of_a_part_has_the_images_that_are_there_with_their_rows(small: Path) -> None:
    write_split(small, "val", [20, 3, 11], present=[11])
    assert fdf.index(small) == [
        ("train/images/0.png", "train", 0, 0),
        ("train/images/2.png", "train", 2, 2),
        ("train/images/3.png", "train", 3, 3),
        ("train/images/5.png", "train", 5, 5),
        ("val/images/11.png", "val", 11, 1),
    ]
    assert fdf.index(small, "val") == [fdf.Row("val/images/11.png", "val", 11, 1)]


def test_the_row_leads_to_the_images_own_box(small: Path) -> None:
    dataset = fdf.FDF256(small)
    published = np.load(small / "train" / "bounding_box.npy")
    for position, row in enumerate(fdf.index(small, "train")):
        assert np.array_equal(published[row.row], dataset[position][1])


async def test_the_command_writes_the_index_as_csv(small: Path, tmp_path: Path) -> None:
    path = tmp_path / "index.csv"
    result = await command("info", small, "--index", path, "--json")
    assert result.status == 0, result.stderr
    assert result.report["written"] == [str(path)]
    with path.open(newline="", encoding="utf-8") as file:
        heading, *rows = csv.reader(file)
    assert heading == ["path", "split", "number", "row"]
    wanted = await asyncio.to_thread(fdf.index, small)
    assert [(path, split, int(number), int(row)) for path, split, number, row in rows] == wanted


async def test_an_index_that_cannot_be_written_ends_with_status_5(small: Path) -> None:
    result = await command("info", small, "--index", small / "no" / "index.csv", "--json")
    assert result.status == 5
    assert (result.report["ok"], "index.csv" in result.report["error"]) == (False, True)


def test_what_is_missing_is_named(tmp_path: Path, small: Path) -> None:
    with pytest.raises(StorageError, match="images is not there"):
        fdf.index(tmp_path / "nowhere")
    with pytest.raises(StorageError, match="val/images is not there"):
        fdf.index(small, "val")
    with pytest.raises(UsageError, match="no split 'test'"):
        fdf.index(small, "test")


def test_there_is_no_index_where_arrays_and_metadata_differ_in_length(small: Path) -> None:
    np.save(small / "train" / "bounding_box.npy", boxes(5))
    with pytest.raises(
        IntegrityError, match=r"landmarks\.npy: has 6 rows, and bounding_box\.npy beside it 5"
    ):
        fdf.index(small)
