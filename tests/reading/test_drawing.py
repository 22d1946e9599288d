"""``fdf256 info --plot`` and ``fdf256_fast.plot``: pictures that open, and pages that can do no harm."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from importlib.metadata import requires
from io import BytesIO
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from PIL import Image

import fdf256_fast as fdf
from fdf256_fast import dataset as dataset_module
from fdf256_fast.errors import Error, IntegrityError, StorageError, UsageError
from fdf256_fast.faces import sample_faces, short_license
from tests.integration.runs import command
from tests.reading.trees import entry, items, write_split

if TYPE_CHECKING:
    from pathlib import Path

KINDS = ("png", "svg", "html")
HOSTILE = "</figcaption><script>alert(1)</script>&\"'$x^2$ \ud800 山\x00"


class Page(HTMLParser):
    """The tags of a page, with their attributes, and its text."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def values(self, tag: str, attribute: str) -> list[str]:
        return [found[attribute] or "" for name, found in self.tags if name == tag and attribute in found]


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_draws_the_same_faces_and_another_one_others(
    tree: Path, tmp_path: Path, kind: str
) -> None:
    def drawn(name: str, seed: int) -> bytes:
        fdf.plot(tree, tmp_path / f"{name}.{kind}", faces=3, seed=seed)
        data = (tmp_path / f"{name}.{kind}").read_bytes()
        # matplotlib numbers the parts of an SVG by chance.
        return re.sub(rb'(id="|href="#|url\(#)[^")]*', b"", data)

    first = drawn("first", 1)
    assert drawn("again", 1) == first
    assert drawn("other", 2) != first


def test_a_png_has_room_for_charts_and_for_each_row_of_faces(tree: Path, tmp_path: Path) -> None:
    heights = []
    for faces in (0, 1, 8, 9):
        fdf.plot(tree, tmp_path / "a.png", faces=faces)
        with Image.open(tmp_path / "a.png") as picture:
            picture.load()
            heights.append(picture.height)
            assert picture.width == 1440
    assert heights[0] < heights[1] == heights[2] < heights[3]


def test_an_svg_is_xml_with_the_faces_in_it(tree: Path, tmp_path: Path) -> None:
    fdf.plot(tree, tmp_path / "a.svg", faces=5)
    root = ET.parse(tmp_path / "a.svg").getroot()
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    images = root.findall(".//{http://www.w3.org/2000/svg}image")
    assert len(images) == 5
    for image in images:
        assert image.attrib["{http://www.w3.org/1999/xlink}href"].startswith("data:image/png;base64,")


def test_a_page_credits_every_face_and_needs_no_other_file(tree: Path, tmp_path: Path) -> None:
    fdf.plot(tree, tmp_path / "a.html", faces=7, seed=3)
    page = Page(tmp_path / "a.html")
    sources = page.values("image", "href") + page.values("img", "src")
    assert len(sources) == 7
    assert all(source.startswith("data:image/") for source in sources)
    assert not {"script", "iframe", "object", "link"} & {tag for tag, _ in page.tags}
    assert "default-src 'none'" in page.values("meta", "content")[0]
    shown = page.values("svg", "aria-label")
    assert len(set(shown)) == 7
    links = page.values("a", "href")
    text = " ".join(page.text.split())
    for path in shown:
        split, _, name = path.split("/")
        metadata = items(tree, split)[int(name.removesuffix(".png"))][3]
        assert {metadata["photo_url"], metadata["license_url"]} <= set(links)
        title = " ".join(metadata["photo_title"].split()) or "untitled"
        assert f"{title} by {' '.join(metadata['author'].split())}" in text


@pytest.mark.parametrize("kind", KINDS)
def test_hostile_texts_are_drawn_as_text(small: Path, tmp_path: Path, kind: str) -> None:
    path = small / "train" / "fdf_metainfo.json"
    fields = ("author", "user_nsid", "photo_title", "photo_url", "license_url")
    hostile = dict.fromkeys(fields, HOSTILE) | {"photo_url": "javascript:alert(1)//http://"}
    path.write_text(json.dumps({str(number): entry(number, **hostile) for number in range(6)}), "utf-8")
    out = tmp_path / f"a.{kind}"
    fdf.plot(small, out)
    if kind == "html":
        page = Page(out)
        assert {tag for tag, _ in page.tags}.isdisjoint({"script", "a"})
        assert page.text.count("<script>alert(1)</script>") >= 12
        assert "\ud800" not in page.text
    elif kind == "svg":
        ET.parse(out)


def test_the_box_and_the_landmarks_are_where_the_arrays_say(small: Path, tmp_path: Path) -> None:
    fdf.plot(small, tmp_path / "a.html")
    page = Page(tmp_path / "a.html")
    wanted = items(small, "train")
    rectangles = [
        tuple(int(found[name] or "") for name in ("x", "y", "width", "height"))
        for tag, found in page.tags
        if tag == "rect" and found.get("stroke") == "#ffb000"
    ]
    assert rectangles == [(x0, y0, x1 - x0, y1 - y0) for _, (x0, y0, x1, y1), _, _ in wanted.values()]
    circles = [
        [float(found["cx"] or ""), float(found["cy"] or "")] for tag, found in page.tags if tag == "circle"
    ]
    expected = np.concatenate([points * 256 for _, _, points, _ in wanted.values()])
    assert np.allclose(circles, expected, atol=0.06)


def test_a_sample_is_the_same_for_the_images_that_are_left(tree: Path, small: Path) -> None:
    few, many = ([face.path for face in sample_faces(tree, ["train", "val"], count, 5)] for count in (4, 9))
    assert len(few) == 4
    assert set(few) < set(many)
    assert len(sample_faces(small, ["train"], 100, 0)) == 4
    assert sample_faces(small, [], 9, 0) == sample_faces(small, ["train"], 0, 0) == []


def test_a_target_with_metadata_alone_has_charts_and_no_faces(tmp_path: Path) -> None:
    write_split(tmp_path, "train", [0, 1, 2], present=[])
    (tmp_path / "train" / "images").rmdir()
    fdf.plot(tmp_path, tmp_path / "a.html")
    page = Page(tmp_path / "a.html")
    assert "svg" in {tag for tag, _ in page.tags}
    assert not page.values("image", "href")


def test_a_damaged_face_is_named_and_no_picture_is_left(small: Path, tmp_path: Path) -> None:
    image = small / "train" / "images" / "3.png"
    image.write_bytes(image.read_bytes()[:-200])
    with pytest.raises(IntegrityError, match=r"3\.png: is damaged"):
        fdf.plot(small, tmp_path / "a.png")
    assert not list(tmp_path.glob("a.png*"))


def test_nothing_of_a_callers_matplotlib_is_changed(tree: Path, tmp_path: Path) -> None:
    code = (
        "import sys, matplotlib\n"
        # A plain look at the setting `backend` would import pyplot.
        "before = matplotlib.rcParams.copy()\n"
        "import fdf256_fast\n"
        "for kind in ('png', 'svg', 'html'):\n"
        "    fdf256_fast.plot(sys.argv[1], f'{sys.argv[2]}/a.{kind}', faces=1)\n"
        "assert matplotlib.rcParams.copy() == before\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    arguments = [sys.executable, "-W", "error", "-c", code, str(tree), str(tmp_path)]
    subprocess.run(arguments, check=True, timeout=100)


def test_the_command_writes_nothing_but_the_picture(tree: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    out = tmp_path / "a.png"
    unset = ("MPLCONFIGDIR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME")
    environment = {name: value for name, value in os.environ.items() if name not in unset}
    subprocess.run(
        [sys.executable, "-m", "fdf256_fast", "info", str(tree), "--plot", str(out), "--faces", "2", "-q"],
        check=True,
        timeout=100,
        cwd=home,
        env={**environment, "HOME": str(home), "TMPDIR": str(tmp_path)},
    )
    with Image.open(BytesIO(out.read_bytes())) as picture:
        picture.load()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "home"]
    assert list(home.iterdir()) == []


async def test_another_kind_of_file_ends_with_status_2_before_anything_is_read(tmp_path: Path) -> None:
    result = await command("info", tmp_path / "nowhere", "--plot", tmp_path / "a.pdf", "--json")
    assert result.status == 2
    assert ".png, .svg, .html" in result.stderr


def test_what_is_not_installed_is_named_with_its_extra(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dataset_module, "find_spec", lambda name: None)
    wanted = r"needs matplotlib and NumPy and Pillow, .*\n  pip install 'fdf256_fast\[plot\]'"
    with pytest.raises(Error, match=wanted) as caught:
        fdf.plot(small, tmp_path / "a.png")
    assert caught.value.exit_status == 1


@pytest.mark.parametrize(
    ("extra", "modules"), [("read", {"numpy", "pillow"}), ("plot", {"matplotlib", "numpy", "pillow"})]
)
def test_the_extras_that_errors_name_exist_and_bring_what_is_missing(extra: str, modules: set[str]) -> None:
    wanted = [
        line for line in requires("fdf256_fast") or [] if f'extra == "{extra}"' in line.replace("'", '"')
    ]
    assert {re.match(r"[\w-]+", line)[0].lower() for line in wanted} == modules  # type: ignore[index]


def test_a_picture_that_cannot_be_written_is_an_error_of_the_disk(small: Path, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="no/such"):
        fdf.plot(small, tmp_path / "no" / "such" / "a.png")
    with pytest.raises(UsageError, match="cannot be told"):
        fdf.plot(small, tmp_path / "a.jpeg")


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("http://creativecommons.org/licenses/by-nc-sa/2.0/", "CC BY-NC-SA 2.0"),
        ("https://creativecommons.org/licenses/by/2.0", "CC BY 2.0"),
        ("https://example.org/x", "https://example.org/x"),
        ("", ""),
    ],
)
def test_licences_are_called_as_creative_commons_does(url: str, name: str) -> None:
    assert short_license(url) == name


@pytest.mark.parametrize("kind", KINDS)
def test_metadata_of_no_image_are_drawn_as_well(kind: str, tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    (tmp_path / "train/fdf_metainfo.json").write_text("{}")
    assert fdf.plot(tmp_path, tmp_path / f"x.{kind}").published.images == 0
    assert (tmp_path / f"x.{kind}").stat().st_size > 1000


def test_the_dataset_is_not_drawn_over(tree: Path) -> None:
    with pytest.raises(UsageError, match="belongs to the dataset"):
        fdf.plot(tree, tree / "val/images/drawn.svg")
