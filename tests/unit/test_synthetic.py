from __future__ import annotations

import ast
import hashlib
import itertools
import json
import struct
import tomllib
import zipfile
import zlib
from typing import TYPE_CHECKING, Any

import pytest

from fdf256_fast.errors import UsageError
from fdf256_fast.synthetic import ARCHIVE_NAMES, Compression, SyntheticDataset, make_dataset
from fdf256_fast.synthetic_images import Painter

if TYPE_CHECKING:
    from pathlib import Path

IMAGES = 40
VAL_IMAGES = 9
IMAGE_ARCHIVES = [name for name in ARCHIVE_NAMES if name != "metainfo"]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> SyntheticDataset:
    return make_dataset(
        tmp_path_factory.mktemp("origin"), images=IMAGES, val_images=VAL_IMAGES, image_bytes=6_000
    )


def metadata(dataset: SyntheticDataset, name: str) -> bytes:
    with zipfile.ZipFile(dataset.archives["metainfo"]) as archive:
        return archive.read(name)


def png_chunks(png: bytes) -> list[tuple[bytes, bytes]]:
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    chunks = []
    position = 8
    while position < len(png):
        length, kind = struct.unpack_from(">I4s", png, position)
        data = png[position + 8 : position + 8 + length]
        (crc,) = struct.unpack_from(">I", png, position + 8 + length)
        assert crc == zlib.crc32(kind + data)
        chunks.append((kind, data))
        position += 12 + length
    return chunks


def png_pixels(png: bytes) -> list[list[int]]:
    """Rows of samples, unfiltered slowly by the book (PNG specification, section 9)."""
    chunks = png_chunks(png)
    filtered = zlib.decompress(b"".join(data for kind, data in chunks if kind == b"IDAT"))
    assert len(filtered) == 256 * (1 + 3 * 256)
    rows: list[list[int]] = []
    above = [0] * 768
    for start in range(0, len(filtered), 769):
        kind, values = filtered[start], list(filtered[start + 1 : start + 769])
        assert kind in {1, 2}
        for x in range(768):
            left = values[x - 3] if x >= 3 else 0
            values[x] = (values[x] + (left if kind == 1 else above[x])) % 256
        rows.append(values)
        above = values
    return rows


def npy(data: bytes) -> tuple[str, tuple[int, ...], tuple[Any, ...]]:
    assert data[:8] == b"\x93NUMPY\x01\x00"
    (length,) = struct.unpack_from("<H", data, 8)
    assert (10 + length) % 64 == 0
    header = ast.literal_eval(data[10 : 10 + length].decode("latin-1"))
    assert header["fortran_order"] is False
    code = {"<f4": "f", "<i4": "i"}[header["descr"]]
    return (
        header["descr"],
        header["shape"],
        tuple(v for (v,) in struct.iter_unpack(f"<{code}", data[10 + length :])),
    )


def test_all_five_archives_pass_zipfiles_own_check(dataset: SyntheticDataset) -> None:
    assert set(dataset.archives) == {
        "metainfo",
        "cc-by-2",
        "cc-by-sa-2",
        "cc-by-nc-2",
        "cc-by-nc-sa-2",
    }
    for name, path in dataset.archives.items():
        assert path == dataset.directory / f"{name}.zip"
        with zipfile.ZipFile(path) as archive:
            assert archive.testzip() is None
            files = [info for info in archive.infolist() if not info.is_dir()]
            assert len(files) == dataset.members[name] > 0


def test_sizes_and_digests_are_those_of_the_files(dataset: SyntheticDataset) -> None:
    for name, path in dataset.archives.items():
        content = path.read_bytes()
        assert dataset.sizes[name] == len(content)
        assert dataset.digests[name] == f"md5:{hashlib.md5(content).hexdigest()}"


def test_numbers_run_over_the_split_and_each_is_in_the_archive_of_its_license(
    dataset: SyntheticDataset,
) -> None:
    found: dict[str, str] = {}
    for name in IMAGE_ARCHIVES:
        with zipfile.ZipFile(dataset.archives[name]) as archive:
            for member in archive.namelist():
                if not member.endswith("/"):
                    assert member not in found
                    found[member] = name
    numbers = {"train": IMAGES - VAL_IMAGES, "val": VAL_IMAGES}
    for split, count in numbers.items():
        entries = json.loads(metadata(dataset, f"{split}/fdf_metainfo.json"))
        assert list(entries) == [str(number) for number in range(count)]
        for number, entry in entries.items():
            archive_name = found.pop(f"{split}/images/{number}.png")
            url = f"/licenses/{archive_name.removeprefix('cc-').removesuffix('-2')}/2.0/"
            assert entry["license_url"].endswith(url)
    assert found == {}


def test_every_member_is_a_png_that_decodes_and_no_two_are_equal(dataset: SyntheticDataset) -> None:
    pictures = set()
    for name in IMAGE_ARCHIVES:
        with zipfile.ZipFile(dataset.archives[name]) as archive:
            for member in archive.namelist():
                if member.endswith("/"):
                    continue
                chunks = png_chunks(archive.read(member))
                assert [kind for kind, _ in chunks] == [b"IHDR", b"tEXt", b"IDAT", b"IEND"]
                assert chunks[0][1] == struct.pack(">IIBBBBB", 256, 256, 8, 2, 0, 0, 0)
                assert len(zlib.decompress(chunks[2][1])) == 256 * (1 + 3 * 256)
                pictures.add(chunks[2][1])
    assert len(pictures) == IMAGES


def test_a_picture_looks_like_a_photograph_smooth_with_noise() -> None:
    rows = png_pixels(Painter(256, 100_000).paint("train/images/0.png"))
    sideways = [abs(row[x] - row[x - 3]) for row in rows for x in range(3, 768)]
    downwards = [abs(row[x] - above[x]) for above, row in itertools.pairwise(rows) for x in range(768)]
    for differences in (sideways, downwards):
        assert max(differences) < 64, "a sample wrapped around"
        assert 1 < sum(differences) / len(differences) < 10
    flat = [sample for row in rows for sample in row]
    assert max(flat) - min(flat) > 40, "nothing but one colour"


@pytest.mark.parametrize("image_bytes", [5_000, 8_000, 12_000, 30_000, 55_000, 100_000, 190_000])
def test_images_have_about_the_size_that_was_asked_for(image_bytes: int) -> None:
    painter = Painter(7, image_bytes)
    for number in range(20):
        assert len(painter.paint(f"train/images/{number}.png")) == pytest.approx(image_bytes, rel=0.15)


@pytest.mark.parametrize("image_bytes", [0, 4_999, 190_001])
def test_a_size_that_no_image_can_have_is_refused(image_bytes: int) -> None:
    with pytest.raises(UsageError, match="cannot have"):
        Painter(7, image_bytes)


@pytest.mark.parametrize(("images", "val_images"), [(0, None), (-1, None), (5, 6), (5, -1), (0, 0)])
def test_numbers_that_make_no_dataset_are_refused(
    tmp_path: Path, images: int, val_images: int | None
) -> None:
    with pytest.raises(UsageError, match="no dataset has"):
        make_dataset(tmp_path, images=images, val_images=val_images)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("images", "expected"), [(1, 0), (2, 1), (40, 1), (600, 16)])
def test_validation_has_the_share_that_it_has_in_fdf256(tmp_path: Path, images: int, expected: int) -> None:
    dataset = make_dataset(tmp_path, images=images, image_bytes=5_000)
    assert len(json.loads(metadata(dataset, "val/fdf_metainfo.json"))) == expected
    assert sum(dataset.members[name] for name in IMAGE_ARCHIVES) == images


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    def digests(folder: str, seed: int) -> dict[str, str]:
        return make_dataset(tmp_path / folder, images=12, image_bytes=5_000, seed=seed).digests

    first = digests("first", 1)
    assert digests("again", 1) == first
    assert all(digest != first[name] for name, digest in digests("other", 2).items())


@pytest.mark.parametrize(
    ("compression", "deflated"),
    [
        ("stored", set()),
        ("deflated", set(ARCHIVE_NAMES)),
        ("mixed", {"metainfo", "cc-by-nc-2", "cc-by-nc-sa-2"}),
    ],
)
def test_members_are_compressed_as_asked(
    tmp_path: Path, compression: Compression, deflated: set[str]
) -> None:
    dataset = make_dataset(tmp_path, images=8, image_bytes=5_000, compression=compression)
    for name, path in dataset.archives.items():
        with zipfile.ZipFile(path) as archive:
            methods = {info.compress_type for info in archive.infolist() if not info.is_dir()}
        assert methods == {zipfile.ZIP_DEFLATED if name in deflated else zipfile.ZIP_STORED}


def test_one_archive_names_its_folders_before_what_is_in_them(dataset: SyntheticDataset) -> None:
    folders = {}
    for name in ARCHIVE_NAMES:
        with zipfile.ZipFile(dataset.archives[name]) as archive:
            names = archive.namelist()
        folders[name] = [member for member in names if member.endswith("/")]
        if folders[name]:
            assert names[:2] == ["train/", "train/images/"]
    assert folders.pop("cc-by-sa-2") == ["train/", "train/images/", "val/", "val/images/"]
    assert not any(folders.values())


@pytest.mark.parametrize("split", ["train", "val"])
def test_landmarks_and_boxes_are_arrays_that_lie_within_the_image(
    dataset: SyntheticDataset, split: str
) -> None:
    count = VAL_IMAGES if split == "val" else IMAGES - VAL_IMAGES
    kind, shape, landmarks = npy(metadata(dataset, f"{split}/landmarks.npy"))
    assert (kind, shape, len(landmarks)) == ("<f4", (count, 7, 2), count * 14)
    assert all(0 <= value <= 1 for value in landmarks)
    kind, shape, boxes = npy(metadata(dataset, f"{split}/bounding_box.npy"))
    assert (kind, shape, len(boxes)) == ("<i4", (count, 4), count * 4)
    for x0, y0, x1, y1 in zip(*[iter(boxes)] * 4, strict=True):
        assert 0 <= x0 < x1 <= 256
        assert 0 <= y0 < y1 <= 256


def test_arrays_and_json_tell_the_same(dataset: SyntheticDataset) -> None:
    entries = json.loads(metadata(dataset, "train/fdf_metainfo.json")).values()
    _, _, landmarks = npy(metadata(dataset, "train/landmarks.npy"))
    told = [value for entry in entries for point in entry["landmark"] for value in point]
    assert landmarks == pytest.approx(told)


def test_metadata_have_an_author_to_search_for_and_awkward_text(dataset: SyntheticDataset) -> None:
    text = metadata(dataset, "train/fdf_metainfo.json")
    entries = json.loads(text)
    assert entries["0"]["user_nsid"] == "12345678@N00"
    assert all(
        entry["photo_url"].startswith(f"http://www.flickr.com/photos/{entry['user_nsid']}/")
        for entry in entries.values()
    )
    assert not text.isascii()
    assert b"\\u" in text
    assert b'\\"' in text


def test_the_catalog_says_where_and_what_the_archives_are(dataset: SyntheticDataset) -> None:
    catalog = tomllib.loads(dataset.catalog_toml('http://127.0.0.1:1/a"b/'))
    assert [entry["name"] for entry in catalog["archive"]] == list(ARCHIVE_NAMES)
    for entry in catalog["archive"]:
        name = entry["name"]
        assert entry["url"] == f'http://127.0.0.1:1/a"b/{name}.zip'
        assert entry["digest"] == dataset.digests[name]
        assert entry["size"] == dataset.sizes[name]
        assert entry["role"] == ("metadata" if name == "metainfo" else "images")
        assert entry.get("license") == (None if name == "metainfo" else name)
