"""``FDF256``: what its items are, for the whole dataset and for a part of it."""

from __future__ import annotations

import json
import pickle
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fdf256_fast as fdf
from fdf256_fast import dataset as dataset_module
from fdf256_fast.errors import Error, IntegrityError, MetadataError, StorageError, UsageError
from fdf256_fast.selection import SPLITS
from tests.reading.trees import Item, boxes, items, landmarks, same_item, write_split

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("split", SPLITS)
def test_every_item_is_what_pillow_numpy_and_json_find(tree: Path, split: str) -> None:
    dataset = fdf.FDF256(tree, split)
    wanted = items(tree, split)
    assert len(dataset) == len(wanted) == {"train": 40, "val": 20}[split]
    assert dataset.ids.tolist() == list(wanted)
    for item, expected in zip(dataset, wanted.values(), strict=True):
        assert same_item(item, expected)


def test_arrays_have_the_types_and_shapes_of_the_docstring_and_are_the_callers_own(tree: Path) -> None:
    dataset = fdf.FDF256(tree, "val")
    image, box, points, metadata = dataset[3]
    assert (str(image.dtype), image.shape) == ("uint8", (256, 256, 3))
    assert (str(box.dtype), box.shape) == ("int32", (4,))
    assert (str(points.dtype), points.shape) == ("float32", (7, 2))
    assert isinstance(metadata["user_nsid"], str)
    for array in (image, box, points):
        assert array.flags.c_contiguous
        array[:] = 0
    assert dataset[3][1].any(), "the file was changed"


def test_a_part_has_the_rows_of_its_images_and_not_the_first_ones(small: Path) -> None:
    dataset = fdf.FDF256(small)
    assert dataset.ids.tolist() == dataset.rows.tolist() == [0, 2, 3, 5]
    assert all(same_item(*pair) for pair in zip(dataset, items(small, "train").values(), strict=True))
    with pytest.raises(ValueError, match="read-only"):
        dataset.rows[0] = 1


@given(
    published=st.lists(st.integers(0, 2**63 - 1) | st.integers(0, 30), min_size=1, max_size=12, unique=True),
    data=st.data(),
)
def test_rows_are_ranks_among_the_metadatas_numbers_whatever_their_order(
    published: list[int], data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    present = data.draw(st.lists(st.sampled_from(published), unique=True))
    root = tmp_path_factory.mktemp("rows")
    write_split(root, "val", published, present=[], indent=data.draw(st.sampled_from([None, 1])))
    for number in present:
        (root / "val" / "images" / f"{number}.png").touch()
    dataset = fdf.FDF256(root, "val")
    ranks = {number: row for row, number in enumerate(sorted(published))}
    assert dataset.ids.tolist() == sorted(present)
    assert dataset.rows.tolist() == [ranks[number] for number in sorted(present)]
    for position, number in enumerate(sorted(present)):
        assert dataset.metadata(position)["author"] == f"author {number}"
        mask = np.ones((1, 256, 256), np.bool_)
        x0, y0, x1, y1 = boxes(len(published))[ranks[number]]
        mask[:, y0:y1, x0:x1] = 0
        assert np.array_equal(dataset.mask(position), mask)


def test_items_are_counted_like_those_of_a_list(small: Path) -> None:
    dataset = fdf.FDF256(small)
    assert same_item(dataset[-1], dataset[3])
    assert same_item(dataset[np.int64(-4)], dataset[0])
    for wrong in (4, -5, 2**70):
        with pytest.raises(IndexError, match="there are 4 images"):
            dataset[wrong]
    wrong_type: Any
    for wrong_type in (1.0, "1", None, slice(0, 2)):
        with pytest.raises(TypeError, match="counted by integers"):
            dataset[wrong_type]


def test_a_split_without_images_is_empty(tmp_path: Path) -> None:
    write_split(tmp_path, "val", [], present=[])
    dataset = fdf.FDF256(tmp_path, "val")
    assert (len(dataset), list(dataset), dataset.rows.tolist()) == (0, [], [])


def test_parts_of_an_item_can_be_asked_for_alone(small: Path) -> None:
    dataset = fdf.FDF256(small, load_metadata=False)
    wanted = items(small, "train")[3]
    assert np.array_equal(dataset.image(2), wanted[0])
    assert dataset.metadata(2) == wanted[3]
    assert dataset.path(2) == small / "train" / "images" / "3.png"
    assert dataset[2][3] == {}
    assert repr(dataset) == f"FDF256({str(small)!r}, 'train'): 4 images"


def _number_of(item: Item) -> str:
    return str(item[3]["author"])


def test_a_transform_makes_the_items(small: Path) -> None:
    assert list(fdf.FDF256(small, transform=_number_of)) == ["author 0", "author 2", "author 3", "author 5"]


# ---- masks -----------------------------------------------------------------------------------------


@given(st.tuples(*[st.integers(-300, 600)] * 4))
def test_a_mask_is_false_inside_the_box_and_nowhere_else(box: tuple[int, int, int, int]) -> None:
    mask = fdf.face_mask(np.array(box, np.int32))
    assert (str(mask.dtype), mask.shape) == ("bool", (1, 256, 256))
    y, x = np.mgrid[:256, :256]
    x0, y0, x1, y1 = box
    assert np.array_equal(mask[0], ~((x0 <= x) & (x < x1) & (y0 <= y) & (y < y1)))


# ---- pickles ---------------------------------------------------------------------------------------


def test_pickles_are_small_before_and_after_use_and_read_the_same(tree: Path) -> None:
    dataset = fdf.FDF256(tree, "train")
    before = pickle.dumps(dataset)
    first = dataset[0]
    after = pickle.dumps(dataset)
    assert len(before) == len(after) < 500 + 2 * len(str(tree))
    for copy in map(pickle.loads, (before, after, pickle.dumps(pickle.loads(after)))):
        assert len(copy) == 40
        assert same_item(copy[0], first)
        assert copy.rows.tolist() == dataset.rows.tolist()


def test_a_pickle_of_other_images_is_refused_when_it_is_used(small: Path) -> None:
    text = pickle.dumps(fdf.FDF256(small))
    (small / "train" / "images" / "0.png").unlink()
    copy = pickle.loads(text)
    assert len(copy) == 4
    with pytest.raises(
        IntegrityError, match="other images now than when the dataset was made: 3 instead of 4"
    ):
        copy[0]


# ---- laziness --------------------------------------------------------------------------------------


def test_nothing_is_read_of_the_metadata_before_the_first_item(small: Path) -> None:
    path = small / "train" / "fdf_metainfo.json"
    text = path.read_bytes()
    path.write_bytes(text[:-1])
    dataset = fdf.FDF256(small)
    assert len(dataset) == 4
    with pytest.raises(MetadataError) as caught:
        dataset[0]
    assert (caught.value.path, caught.value.offset) == (str(path), len(text) - 1)
    path.write_bytes(text)
    assert same_item(dataset[0], items(small, "train")[0])


def test_metadata_that_are_replaced_in_use_are_noticed(small: Path) -> None:
    dataset = fdf.FDF256(small)
    assert dataset.metadata(0)["author"] == "author 0"
    path = small / "train" / "fdf_metainfo.json"
    path.write_bytes(b" " + path.read_bytes())
    with pytest.raises(IntegrityError, match="was changed while it was read"):
        dataset.metadata(1)


# ---- what is missing or does not fit ---------------------------------------------------------------


@pytest.mark.parametrize("name", ["fdf_metainfo.json", "landmarks.npy", "bounding_box.npy"])
def test_a_published_file_that_is_missing_is_named_at_once(small: Path, name: str) -> None:
    path = small / "train" / name
    path.unlink()
    with pytest.raises(StorageError, match=name) as caught:
        fdf.FDF256(small)
    assert (caught.value.filename, caught.value.errno) == (str(path), 2)


def test_a_split_that_is_not_there_is_named_and_the_others_too(small: Path, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"val/images is not there\n.*has images of: train\.") as caught:
        fdf.FDF256(small, "val")
    assert caught.value.exit_status == 5
    with pytest.raises(StorageError, match=r"train/images is not there\n  Install the dataset first"):
        fdf.FDF256(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="there is no split 'test'"):
        fdf.FDF256(small, "test")


def test_an_image_that_went_away_is_named(small: Path) -> None:
    dataset = fdf.FDF256(small)
    (small / "train" / "images" / "3.png").unlink()
    with pytest.raises(StorageError, match=r"images/3\.png"):
        dataset[2]


def test_an_image_without_metadata_is_named(small: Path) -> None:
    (small / "train" / "images" / "77.png").touch()
    dataset = fdf.FDF256(small)
    with pytest.raises(IntegrityError, match=r"images/77\.png: there is no image 77 in .*fdf_metainfo\.json"):
        dataset[0]


@pytest.mark.parametrize("name", ["03.png", "x.png", "-1.png", "1.5.png", "٣.png", " .png", f"{2**63}.png"])
def test_a_png_whose_name_is_no_number_is_refused(small: Path, name: str) -> None:
    (small / "train" / "images" / name).touch()
    with pytest.raises(IntegrityError, match="no image of this dataset"):
        fdf.FDF256(small)


def test_other_files_beside_the_images_do_not_count(small: Path) -> None:
    for name in ("._3.png", ".DS_Store", "Thumbs.db", "7.jpg", "7.png.part"):
        (small / "train" / "images" / name).touch()
    assert fdf.FDF256(small).ids.tolist() == [0, 2, 3, 5]


@pytest.mark.parametrize("name", ["landmarks.npy", "bounding_box.npy"])
def test_arrays_of_another_length_than_the_metadata_are_refused(small: Path, name: str) -> None:
    make = landmarks if name == "landmarks.npy" else boxes
    np.save(small / "train" / name, make(7))
    with pytest.raises(IntegrityError, match=r"has . rows, and bounding_box\.npy beside it ."):
        fdf.FDF256(small)
    np.save(small / "train" / "landmarks.npy", landmarks(7))
    np.save(small / "train" / "bounding_box.npy", boxes(7))
    dataset = fdf.FDF256(small)
    with pytest.raises(IntegrityError, match=r"has 7 rows, and .* is about 6 images"):
        dataset[0]


@pytest.mark.parametrize(
    ("key", "reason"),
    [('"x"', "'x' is no image number"), ('"-1"', "no image number"), ('"02"', "image 2 is there twice")],
)
def test_keys_that_are_no_numbers_or_one_number_twice_are_refused_with_their_place(
    small: Path, key: str, reason: str
) -> None:
    path = small / "train" / "fdf_metainfo.json"
    text = path.read_text("utf-8")[:-1] + f", {key}: {{}}}}"
    path.write_text(text, "utf-8")
    with pytest.raises(MetadataError, match=reason.replace("'", '"')) as caught:
        fdf.FDF256(small)[0]
    start = text.index(key + ": {}")
    assert start <= caught.value.offset < len(text)


def test_what_is_not_installed_is_named_with_its_extra(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset_module, "find_spec", lambda name: None if name == "PIL" else object())
    with pytest.raises(
        Error, match=r"needs Pillow, which is not installed\n  pip install 'fdf256_fast\[read\]'"
    ):
        fdf.FDF256(small)


def test_an_entry_that_is_no_object_is_refused(small: Path) -> None:
    path = small / "train" / "fdf_metainfo.json"
    values = json.loads(path.read_bytes())
    path.write_text(json.dumps({**values, "5": [1]}), "utf-8")
    with pytest.raises(MetadataError):
        fdf.FDF256(small)[0]
