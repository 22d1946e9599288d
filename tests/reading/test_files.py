"""Damaged files of every kind: what is read is right, or refused with the file's name."""

from __future__ import annotations

import asyncio
import json
import os
from contextlib import suppress
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import fdf256_fast as fdf
from fdf256_fast._core import Job, entry_offsets, statistics
from fdf256_fast.arrays import BOUNDING_BOX, LANDMARKS, Array
from fdf256_fast.dataset import read_image
from fdf256_fast.entries import Entries
from fdf256_fast.errors import IntegrityError, MetadataError, StorageError
from tests.reading.trees import boxes, entry, landmarks, png

if TYPE_CHECKING:
    from pathlib import Path


# ---- images ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1"])
def test_a_png_of_any_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "7.png"
    path.write_bytes(png(7, mode))
    with Image.open(path) as picture:
        wanted = np.array(picture.convert("RGB"))
    assert np.array_equal(read_image(path), wanted)


@pytest.mark.parametrize("size", [(255, 256), (256, 257), (1, 1)])
def test_a_png_of_another_size_is_refused(tmp_path: Path, size: tuple[int, int]) -> None:
    path = tmp_path / "7.png"
    path.write_bytes(png(7, size=size))
    with pytest.raises(IntegrityError, match=rf"7\.png: has {size[0]}x{size[1]} pixels, not 256x256"):
        read_image(path)


def test_a_png_that_claims_to_be_huge_is_refused_before_there_is_room_made_for_it(tmp_path: Path) -> None:
    path = tmp_path / "7.png"
    data = bytearray(png(7))
    data[16:24] = b"\x7f\xff\xff\xff" * 2
    path.write_bytes(data)
    with pytest.raises(IntegrityError, match="has 2147483647x2147483647 pixels"):
        read_image(path)


@pytest.mark.parametrize("data", [b"", b"\x89PNG\r\n\x1a\n", b"<!doctype html>" * 9, b"GIF89a" * 9])
def test_what_is_no_png_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "7.png"
    path.write_bytes(data)
    with pytest.raises(IntegrityError, match="is no PNG"):
        read_image(path)


def test_a_png_that_is_cut_off_anywhere_is_refused_or_has_all_its_pixels(tmp_path: Path) -> None:
    path = tmp_path / "7.png"
    whole = png(7)
    path.write_bytes(whole)
    wanted = read_image(path)
    refused = []
    # Every cut in the chunks' frames, some in the midst of the pixels.
    for length in {*range(80), *range(80, len(whole) - 80, 997), *range(len(whole) - 80, len(whole))}:
        path.write_bytes(whole[:length])
        try:
            found = read_image(path)
        except IntegrityError as error:
            refused.append(str(error))
        else:
            assert np.array_equal(found, wanted), length
    assert len(refused) > 80
    assert all(str(path) in words for words in refused)


@given(place=st.integers(0, 2**20), value=st.integers(1, 255))
def test_a_png_with_a_changed_byte_raises_nothing_unexpected(
    place: int, value: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "changed.png"
    data = bytearray(png(7))
    data[place % len(data)] ^= value
    path.write_bytes(data)
    with suppress(IntegrityError):
        assert read_image(path).shape == (256, 256, 3)


def test_an_image_that_is_a_folder_is_an_error_of_the_disk(tmp_path: Path) -> None:
    (tmp_path / "7.png").mkdir()
    with pytest.raises(StorageError, match=r"7\.png"):
        read_image(tmp_path / "7.png")


# ---- arrays ----------------------------------------------------------------------------------------


def npy(array: np.ndarray[Any, Any], version: tuple[int, int] = (1, 0)) -> bytes:
    out = BytesIO()
    np.lib.format.write_array(out, array, version, allow_pickle=True)
    return out.getvalue()


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8", "<f2"])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("row", [(7, 2), (14,)])
@pytest.mark.parametrize("count", [0, 1, 5])
@pytest.mark.filterwarnings("ignore:Stored array in format")
def test_landmarks_of_every_floating_type_and_order_are_read_as_numpy_does(
    tmp_path: Path, version: tuple[int, int], dtype: str, order: Any, row: tuple[int, ...], count: int
) -> None:
    wanted = np.asarray(landmarks(count).reshape(count, *row), dtype, order=order)
    (tmp_path / "landmarks.npy").write_bytes(npy(wanted, version))
    array = Array.of(tmp_path, LANDMARKS)
    assert array.rows == count
    assert np.array_equal(array.open(), wanted.reshape(count, 7, 2))


@pytest.mark.parametrize("dtype", ["<i4", ">i4", "<i8", "<u2"])
def test_boxes_of_every_integer_type_are_read(tmp_path: Path, dtype: str) -> None:
    np.save(tmp_path / "bounding_box.npy", boxes(5).astype(dtype))
    assert np.array_equal(Array.of(tmp_path, BOUNDING_BOX).open(), boxes(5))


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (boxes(5).astype(np.float32), "has type '<f4' and shape"),
        (boxes(5)[:, :3], r"has type '<i4' and shape \(5, 3\)"),
        (boxes(5).reshape(-1), r"has type '<i4' and shape \(20,\)"),
        (boxes(5).reshape(5, 2, 2), r"has type '<i4' and shape \(5, 2, 2\)"),
        (boxes(5).astype(object), r"has type '\|O'"),
        (boxes(5).astype(np.bool_), r"has type '\|b1'"),
        (np.zeros(5, [("x", "i4")]), r"has type \[\('x', '<i4'\)\]"),
        (np.int32(7) * np.ones((), np.int32), r"has type '<i4' and shape \(\)"),
    ],
)
def test_an_array_of_another_type_or_shape_is_refused(
    tmp_path: Path, array: np.ndarray[Any, Any], reason: str
) -> None:
    (tmp_path / "bounding_box.npy").write_bytes(npy(array))
    with pytest.raises(IntegrityError, match=rf"bounding_box\.npy: {reason}.* instead of integers, four"):
        Array.of(tmp_path, BOUNDING_BOX)


@pytest.mark.parametrize("change", [-80, -1, 1, 80])
def test_an_array_of_another_length_than_its_header_says_is_refused(tmp_path: Path, change: int) -> None:
    data = npy(boxes(5))
    (tmp_path / "bounding_box.npy").write_bytes(data[:change] if change < 0 else data + bytes(change))
    with pytest.raises(
        IntegrityError, match=rf"has {len(data) + change} bytes, and {len(data)} for its shape"
    ):
        Array.of(tmp_path, BOUNDING_BOX)


@pytest.mark.parametrize("byte", [0x1C, 0x85, 0xA0])
def test_what_only_python_takes_for_a_blank_is_no_end_of_a_header(tmp_path: Path, byte: int) -> None:
    whole = bytearray(npy(boxes(3)))
    whole[whole.index(b"}") + 1] = byte
    path = tmp_path / "bounding_box.npy"
    path.write_bytes(whole)
    with pytest.raises(ValueError, match="header"):
        np.load(path)
    with pytest.raises(IntegrityError, match="its header cannot be read"):
        Array.of(tmp_path, BOUNDING_BOX)


@given(data=st.data())
def test_a_damaged_header_is_refused_or_read_as_numpy_does(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.getbasetemp()
    path = folder / "bounding_box.npy"
    whole = bytearray(npy(boxes(3)))
    if data.draw(st.booleans()):
        del whole[data.draw(st.integers(0, 130)) :]
    else:
        for _ in range(data.draw(st.integers(1, 3))):
            whole[data.draw(st.integers(0, 75))] = data.draw(st.integers(0, 255))
    path.write_bytes(whole)
    refusal = None
    try:
        array = Array.of(folder, BOUNDING_BOX)
    except IntegrityError as error:
        refusal = error
    if refusal is None:
        assert np.array_equal(array.open(), np.load(path))
    else:
        assert str(path) in str(refusal)
        assert "verify TARGET" in refusal.hint


# ---- metadata --------------------------------------------------------------------------------------

METADATA = json.dumps({str(number): entry(number, title="é\n☕") for number in (3, 0, 1)}, indent=1).encode()


def _offsets(path: Path) -> dict[int, bytes]:
    numbers, starts, ends = (memoryview(column).cast("Q") for column in entry_offsets(Job(), path))
    assert list(numbers) == sorted(numbers)
    text = path.read_bytes()
    return {n: text[s:e] for n, s, e in zip(numbers, starts, ends, strict=True)}


def test_the_offsets_are_those_of_each_entrys_value(tmp_path: Path) -> None:
    path = tmp_path / "metadata"
    path.write_bytes(METADATA)
    found = {str(number): json.loads(text) for number, text in _offsets(path).items()}
    assert found == json.loads(METADATA)


@given(place=st.integers(0, len(METADATA) - 1), value=st.none() | st.integers(0, 255))
def test_metadata_damaged_at_any_byte_are_refused_with_an_offset_or_are_what_json_reads(
    place: int, value: int | None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.json"
    data = METADATA[:place] if value is None else METADATA[:place] + bytes([value]) + METADATA[place + 1 :]
    path.write_bytes(data)
    refusal = None
    try:
        found = _offsets(path)
    except MetadataError as error:
        refusal = error
    if refusal is not None:
        assert refusal.path == str(path)
        assert 0 <= refusal.offset <= len(data)
    else:
        wanted = json.loads(data)
        assert {number: json.loads(text) for number, text in found.items()} == {
            int(key): value for key, value in wanted.items()
        }


def test_a_key_that_occurs_twice_counts_with_its_last_value(tmp_path: Path) -> None:
    path = tmp_path / "metadata"
    path.write_bytes(b'{"1": {"a": 1}, "0": {}, "1": {"a": 2}}')
    assert _offsets(path) == {0: b"{}", 1: b'{"a": 2}'}


def test_no_item_is_read_from_metadata_with_a_wrong_byte(small: Path) -> None:
    path = small / "train" / "fdf_metainfo.json"
    text = path.read_bytes()
    place = text.index(b'"author": "author 5"')
    path.write_bytes(text[:place] + b"\x00" + text[place + 1 :])
    with pytest.raises(MetadataError) as caught:
        fdf.FDF256(small)[0]
    assert caught.value.offset == place
    assert caught.value.exit_status == 3


def test_a_cancelled_job_ends_a_pass_over_the_metadata(tmp_path: Path) -> None:
    path = tmp_path / "metadata"
    path.write_bytes(METADATA)
    job = Job()
    job.cancel()
    with pytest.raises(asyncio.CancelledError):
        entry_offsets(job, path)
    with pytest.raises(asyncio.CancelledError):
        statistics(job, path, [], [], [])


def test_an_entry_that_is_more_than_python_takes_is_refused_by_its_place(tmp_path: Path) -> None:
    path = tmp_path / "fdf_metainfo.json"
    deep, long = "[" * 990 + "]" * 990, "9" * 5000
    path.write_text(f'{{"1": {{"x": {deep}}}, "2": {{"x": {long}}}, "3": {{"x": 1}}}}')
    entries = Entries.of(path)

    def nested(levels: int) -> None:
        # As far down as a caller may be.
        if levels:
            nested(levels - 1)
        else:
            entries.read(0)

    with pytest.raises(MetadataError) as caught:
        nested(400)
    assert caught.value.offset == entries.starts[0]
    with pytest.raises(MetadataError, match="4300 digits"):
        entries.read(1)
    assert entries.read(2) == {"x": 1}


@pytest.mark.parametrize("name", ["landmarks.npy", "bounding_box.npy"])
def test_a_pipe_in_place_of_an_array_is_no_array(name: str, small: Path) -> None:
    (small / "train" / name).unlink()
    os.mkfifo(small / "train" / name)
    with pytest.raises(IntegrityError, match=r"is no array"):
        fdf.index(small)
