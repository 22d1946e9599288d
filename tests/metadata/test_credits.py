"""``fdf256 credits``: every format read back by a parser that is not ours, whatever titles and names hold."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import os
import re
import subprocess
import sys
import time
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from bibtexparser.entrypoint import parse_string
from hypothesis import given
from hypothesis import strategies as st

import fdf256_fast as fdf
from fdf256_fast.credit_formats import CHANGE, CITATION, FORMATS, Credit
from fdf256_fast.errors import MetadataError, StorageError, UsageError
from fdf256_fast.search import is_image_there
from fdf256_fast.selection import Ids, Selection
from fdf256_fast.synthetic_metadata import LICENSES
from tests.integration.oracles import busy_threads
from tests.integration.runs import command
from tests.metadata.files import NSID, Tree, loaded, tree_at

DOI = "10.1109/WACV56688.2023.00138"


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return tree_at(tmp_path / "data")


def entries_of(tree: Tree) -> dict[str, dict[str, Any]]:
    """By path, in the order of the files."""
    return {
        f"{split}/images/{key}.png": value
        for split, text in tree.texts.items()
        for key, value in loaded(text).items()
    }


def read_csv(text: str) -> list[dict[str, str]]:
    """The rows of images; the first one is the dataset's."""
    dataset, *rows = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    assert dataset["path"] == ""
    assert DOI in dataset["photo_url"]
    assert "Lindseth" in dataset["author"]
    return rows


class Cells(HTMLParser):
    """The texts and links of a table's rows."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.rows: list[list[str]] = []
        self.links: list[str] = []
        self.tags: set[str] = set()
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.links += [value or "" for name, value in attrs if name == "href"]
        assert all(name in {"href", "lang", "charset"} for name, _ in attrs)
        if tag == "tr":
            self.rows.append([])
        elif tag == "td":
            self.rows[-1].append("")

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.rows and self.rows[-1]:
            self.rows[-1][-1] += data.removesuffix("\n") if data == "\n" else data


TAGS = {"html", "head", "meta", "title", "body", "h1", "p", "pre", "table", "tr", "th", "td", "a"}


async def test_csv_has_a_row_for_each_image(tree: Tree) -> None:
    result = await command("credits", tree.root)
    assert result.status == 0, result.stderr
    rows = read_csv(result.stdout)
    wanted = entries_of(tree)
    assert [row["path"] for row in rows] == list(wanted)
    for row, value in zip(rows, wanted.values(), strict=True):
        assert row["title"] == value["photo_title"]
        assert row["author"] == value["author"]
        assert (row["user_nsid"], row["photo_url"]) == (value["user_nsid"], value["photo_url"])
        assert (row["license"], row["license_url"]) == (value["license"], value["license_url"])
        assert row["change"] == CHANGE
    assert "69 of 69 images credited" in result.stderr


async def test_json_has_an_object_for_each_image_and_the_citation(tree: Tree) -> None:
    read = json.loads((await command("credits", tree.root, "--format", "json", "--quiet")).stdout)
    assert read["dataset"]["citation"] == CITATION
    assert read["change"] == CHANGE
    wanted = entries_of(tree)
    assert [image["path"] for image in read["images"]] == list(wanted)
    titles = {name: entry.title for name, entry in LICENSES.items()}
    for image, value in zip(read["images"], wanted.values(), strict=True):
        assert (image["title"], image["author"]) == (value["photo_title"], value["author"])
        assert titles[image["license_name"]] == image["license"] == value["license"]


async def test_html_is_a_table_of_text_and_links(tree: Tree) -> None:
    cells = Cells((await command("credits", tree.root, "--format", "html", "--quiet")).stdout)
    assert cells.tags == TAGS
    assert DOI in cells.text
    wanted = entries_of(tree)
    rows = [row for row in cells.rows if row]
    assert [row[0] for row in rows] == list(wanted)
    for row, value in zip(rows, wanted.values(), strict=True):
        assert row[1] == (value["photo_title"] or "untitled")
        assert row[2:] == [value["author"], value["license"], CHANGE]
    links = [link for value in wanted.values() for link in (value["photo_url"], value["license_url"])]
    assert cells.links == links


def unescaped(cell: str) -> str:
    return re.sub(r"\\(.)", r"\1", cell)


async def test_markdown_is_a_table_whose_cells_hold_their_text(tree: Tree) -> None:
    text = (await command("credits", tree.root, "--format", "md", "--quiet")).stdout
    assert f"```bibtex\n{CITATION}```" in text
    rows = [line for line in text.splitlines() if line.startswith(("| train/", "| val/"))]
    wanted = entries_of(tree)
    for row, (path, value) in zip(rows, wanted.items(), strict=True):
        cells = re.split(r"(?<!\\)\|", row)[1:-1]
        title = re.fullmatch(r" \[(.*)\]\((.*)\) ", cells[1])
        assert title is not None
        assert unescaped(cells[0]).strip() == path
        assert unescaped(title[1]) == (" ".join(value["photo_title"].split()) or "untitled")
        assert title[2] == value["photo_url"]
        assert unescaped(cells[2]).strip() == " ".join(value["author"].split())
        assert value["license_url"] in cells[3]
        assert unescaped(cells[4]).strip() == CHANGE


LATEX = {
    r"\textbackslash{}": "\\",
    r"\textbraceleft{}": "{",
    r"\textbraceright{}": "}",
    r"\textasciitilde{}": "~",
    r"\textasciicircum{}": "^",
    r"{\textquotedbl}": '"',
    **{f"\\{character}": character for character in "%&#_$"},
}
COMMAND = re.compile("|".join(map(re.escape, LATEX)))


def from_latex(text: str) -> str:
    return COMMAND.sub(lambda match: LATEX[match[0]], text)


def read_bibtex(text: str) -> list[dict[str, str]]:
    library = parse_string(text)
    assert not library.failed_blocks, library.failed_blocks
    first, *rest = library.entries
    assert first.fields_dict["doi"].value == DOI
    fields = [{field.key: field.value for field in entry.fields} for entry in rest]
    assert len({entry.key for entry in rest}) == len(rest)
    return fields


async def test_bibtex_has_an_entry_for_each_image(tree: Tree) -> None:
    found = read_bibtex((await command("credits", tree.root, "--format", "bibtex", "--quiet")).stdout)
    for fields, (path, value) in zip(found, entries_of(tree).items(), strict=True):
        assert from_latex(fields["author"])[1:-1] == " ".join(value["author"].split())
        assert from_latex(fields["title"])[1:-1] == (" ".join(value["photo_title"].split()) or "untitled")
        assert fields["url"] == value["photo_url"]
        for words in (value["license"], value["license_url"], CHANGE, path):
            assert words in from_latex(fields["note"])


# ---- whatever titles and names hold ----------------------------------------------------------------------

TEXT = st.text(max_size=20) | st.text(
    alphabet="|\\`*_{}[]()<>#%&$~^\"'\n\r\t,;=@! \u2028\ud800a", max_size=12
)


def made(form: str, credits_: list[Credit]) -> str:
    text = "".join(FORMATS[form]([credits_]))
    # As it is written: what UTF-8 cannot hold becomes an escape.
    return text.encode("utf-8", "backslashreplace").decode()


def credit(title: str, author: str, url: str) -> Credit:
    return Credit("train/images/1.png", "train", "1", title, author, "1@N00", url, "L", "http://l/", "")


def cleaned(text: str) -> str:
    """In one line, as what cannot be shown is left out of it."""
    return " ".join(re.sub("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]", "\ufffd", text).split())


@given(TEXT, TEXT, TEXT)
def test_any_text_stays_text_in_csv_and_json(title: str, author: str, url: str) -> None:
    row = credit(title, author, url)
    written = [text.encode("utf-8", "backslashreplace").decode() for text in (title, author, url)]
    (read,) = read_csv(made("csv", [row]))
    assert [read[name] for name in ("title", "author", "photo_url")] == written
    (image,) = json.loads(made("json", [row]))["images"]
    assert [image[name] for name in ("title", "author", "photo_url")] == [title, author, url]


@given(TEXT, TEXT, TEXT)
def test_any_text_stays_text_in_html(title: str, author: str, url: str) -> None:
    cells = Cells(made("html", [credit(title, author, f"http://x/{url}")]))
    assert cells.tags == TAGS
    (row,) = (row for row in cells.rows if row)
    assert " ".join(row[1].split()) == (cleaned(title) if title.strip() else "untitled")
    assert len(cells.links) == 2


@given(TEXT, TEXT, TEXT)
def test_any_text_stays_in_its_cell_in_markdown(title: str, author: str, url: str) -> None:
    text = made("md", [credit(title, author, f"http://x/{url}")])
    row = text.split("|---|---|---|---|---|\n")[1]
    assert row.count("\n") == 1
    assert row.endswith("\n")
    assert len(re.split(r"(?<!\\)(?:\\\\)*\|", row)) == 7
    assert not re.search(r"(?<!\\)(?:\\\\)*[<`]", row)


@given(TEXT, TEXT, TEXT)
def test_any_text_stays_text_in_bibtex(title: str, author: str, url: str) -> None:
    (fields,) = read_bibtex(made("bibtex", [credit(title, author, url)]))
    assert cleaned(from_latex(fields["author"])[1:-1]) == cleaned(author if author.strip() else "1@N00")
    assert cleaned(from_latex(fields["title"])[1:-1]) == cleaned(title if title.strip() else "untitled")


@pytest.mark.parametrize("form", ["html", "md", "bibtex"])
def test_blanks_are_neither_title_nor_author(form: str) -> None:
    for blanks in (" ", "\t\n", "\N{NO-BREAK SPACE}"):
        text = made(form, [credit(blanks, blanks, "http://x/")])
        assert "untitled" in text
        assert "1@N00" in text.replace("\\", "")


def test_only_web_addresses_become_links() -> None:
    rows = [credit("t", "a", "javascript:alert(1)"), credit("t", "a", "data:text/html,x")]
    assert "javascript" not in made("html", rows) + made("md", rows)
    assert Cells(made("html", rows)).links == ["http://l/"] * 2


# ---- which images ----------------------------------------------------------------------------------------


async def paths(*arguments: str | Path) -> list[str]:
    result = await command("credits", *arguments)
    assert result.status == 0, result.stderr
    return [row["path"] for row in read_csv(result.stdout)]


async def test_only_images_that_are_there_unless_all_are_asked_for(tree: Tree) -> None:
    everything = list(entries_of(tree))
    gone = everything[5:40]
    for path in gone:
        (tree.root / path).unlink()
    assert await paths(tree.root) == [path for path in everything if path not in gone]
    assert await paths(tree.root, "--all") == everything


async def test_metadata_alone_have_credits_for_every_image(tmp_path: Path) -> None:
    tree = tree_at(tmp_path / "data", images=False)
    assert await paths(tree.root) == list(entries_of(tree))


async def test_split_licence_and_ids_choose(tree: Tree, tmp_path: Path) -> None:
    wanted = entries_of(tree)
    assert await paths(tree.root, "--split", "val") == [path for path in wanted if path.startswith("val/")]
    names = ("cc-by-2", "cc-by-nc-sa-2")
    urls = {LICENSES[name].url for name in names}
    options = [word for name in names for word in ("--license", name)]
    assert await paths(tree.root, *options) == [
        path for path, value in wanted.items() if value["license_url"] in urls
    ]
    ids = tmp_path / "ids.txt"
    ids.write_text("train/3\n5\n")
    chosen = ["train/images/3.png", "train/images/5.png", "val/images/5.png"]
    assert await paths(tree.root, "--ids", ids) == chosen
    report = await fdf.write_credits_async(
        tree.root, io.BytesIO(), selection=Selection(ids=Ids.parse(["3"], "x"), splits=frozenset({"val"}))
    )
    assert (report.images, report.entries) == (1, 69)


async def test_ids_are_numbers_however_they_are_written_and_those_without_credit_are_named(
    tree: Tree, tmp_path: Path
) -> None:
    path = tree.root / "train/fdf_metainfo.json"
    path.write_bytes(path.read_bytes().replace(b'"3":', b'"0003":', 1))
    (tree.root / "train/images/3.png").rename(tree.root / "train/images/0003.png")
    ids = tmp_path / "ids.txt"
    ids.write_text("train/03\ntrain/77777\n99999\nval/4\n")
    result = await command("credits", tree.root, "--ids", ids)
    assert [row["path"] for row in read_csv(result.stdout)] == ["train/images/0003.png", "val/images/4.png"]
    assert "2 of the listed images are not among those credited: 99999, train/77777" in result.stderr
    report = (await command("credits", tree.root, "--ids", ids, "-o", tmp_path / "c", "--json")).report
    assert report["absent"] == ["99999", "train/77777"]


async def test_a_split_that_cannot_be_told_is_a_usage_error(
    tree: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = tmp_path / "one"
    (tree.root / "val").rename(one)
    for target in (one, one / "fdf_metainfo.json"):
        result = await command("credits", target, "--split", "val")
        assert (result.status, result.stdout) == (2, "")
        assert "cannot be told" in result.stderr
    # What the path leads to tells, and not how it is written.
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/link").symlink_to(tree.root / "train/images")
    monkeypatch.chdir(tree.root / "train/images")
    for target in (Path(".."), tmp_path / "elsewhere/link/.."):
        found = await paths(target, "--split", "train")
        assert found == [path for path in entries_of(tree) if path.startswith("train/")]


def test_a_sample_is_refused(tree: Tree) -> None:
    with pytest.raises(UsageError, match="no sample"):
        fdf.write_credits(tree.root, io.BytesIO(), selection=Selection(sample=2))


async def test_an_unknown_licence_is_a_usage_error(tree: Tree) -> None:
    result = await command("credits", tree.root, "--license", "cc-by-3")
    assert result.status == 2
    assert "cc-by-sa-2" in result.stderr


# ---- where to ----------------------------------------------------------------------------------------------


async def test_a_file_is_replaced_as_a_whole_and_counted(tree: Tree, tmp_path: Path) -> None:
    out = tmp_path / "out" / "credits.csv"
    out.parent.mkdir()
    out.write_text("old")
    result = await command("credits", tree.root, "-o", out, "--json")
    assert result.status == 0, result.stderr
    licenses: dict[str, int] = {}
    for value in entries_of(tree).values():
        (name,) = [name for name, entry in LICENSES.items() if entry.url == value["license_url"]]
        licenses[name] = licenses.get(name, 0) + 1
    report = {key: value for key, value in result.report.items() if key != "seconds"}
    assert report == {
        "ok": True,
        "error": None,
        "target": str(tree.root),
        "output": str(out),
        "format": "csv",
        "images": 69,
        "entries": 69,
        "licenses": licenses,
        "without_metadata": 0,
        "absent": [],
    }
    with out.open(newline="") as text:
        assert len(read_csv(text.read())) == 69
    assert [path.name for path in out.parent.iterdir()] == ["credits.csv"]


@pytest.mark.parametrize("form", sorted(FORMATS))
async def test_a_damaged_file_leaves_what_was_there(tree: Tree, tmp_path: Path, form: str) -> None:
    path = tree.root / "val" / "fdf_metainfo.json"
    path.write_bytes(path.read_bytes()[:-20])
    out = tmp_path / "credits"
    out.write_text("old")
    result = await command("credits", tree.root, "-o", out, "--format", form)
    assert result.status == 3
    assert f"(at byte {path.stat().st_size})" in result.stderr
    assert out.read_text() == "old"
    assert {path.name for path in tmp_path.iterdir()} == {"credits", "data"}
    # Nor is anything printed.
    assert (await command("credits", tree.root, "--format", form)).stdout == ""
    with pytest.raises(MetadataError):
        await fdf.write_credits_async(tree.root, io.BytesIO(), format=form)


async def test_errors_are_named(tree: Tree, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="has no metadata"):
        await fdf.write_credits_async(tmp_path / "none", io.BytesIO())
    with pytest.raises(UsageError, match="no format"):
        await fdf.write_credits_async(tree.root, io.BytesIO(), format="xml")
    assert (await command("credits", tree.root, "--json")).status == 2
    for out in (tmp_path, tmp_path / "none" / "credits.csv"):
        result = await command("credits", tree.root, "-o", out)
        assert result.status == 5, result.stderr
        assert str(out) in result.stderr


@pytest.mark.parametrize(
    "name",
    [
        "train/fdf_metainfo.json",
        "val/landmarks.npy",
        "train/images/0.png",
        "val/images/new.csv",
        ".fdf256/SHA256SUMS",
        "link",
        "second",
    ],
)
async def test_no_file_of_the_dataset_is_written_over(name: str, tree: Tree) -> None:
    metadata = tree.root / "train/fdf_metainfo.json"
    (tree.root / "link").symlink_to(metadata)
    (tree.root / "second").hardlink_to(metadata)
    (tree.root / "val/landmarks.npy").touch()
    for target in (tree.root, metadata) if name[0] in "tls" else (tree.root,):
        result = await command("credits", target, "-o", tree.root / name)
        assert (result.status, result.stdout) == (2, "")
        assert "belongs to the dataset" in result.stderr
    assert metadata.read_bytes() == tree.texts["train"]


async def test_files_beside_the_output_stay(tree: Tree, tmp_path: Path) -> None:
    names = ["c.csv.new", f".c.csv.{os.getpid()}.new"]
    for name in names:
        (tmp_path / name).write_text("somebody's")
    await fdf.write_credits_async(tree.root, tmp_path / "c.csv")
    long = tmp_path / ("x" * 251 + ".csv")
    await fdf.write_credits_async(tree.root, long)
    assert long.read_bytes() == (tmp_path / "c.csv").read_bytes()
    assert all((tmp_path / name).read_text() == "somebody's" for name in names)
    assert {path.name for path in tmp_path.iterdir()} == {*names, long.name, "c.csv", "data"}


def test_a_reader_that_has_gone_is_no_reason_to_complain(tmp_path: Path) -> None:
    tree = tree_at(tmp_path / "data", train=5_000, images=False)
    process = subprocess.Popen(
        [sys.executable, "-m", "fdf256_fast", "credits", str(tree.root)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline().startswith(b"path,title")
    process.stdout.close()
    with process.stderr:
        assert process.stderr.read() == b""
    assert process.wait(timeout=60) == 1


def test_the_blocking_function_writes_to_a_path(tree: Tree, tmp_path: Path) -> None:
    report = fdf.write_credits(tree.root, tmp_path / "c.json", format="json")
    read = json.loads((tmp_path / "c.json").read_text("utf-8"))
    assert report.images == len(read["images"]) == 69
    assert any(image["user_nsid"] == NSID for image in read["images"])


async def test_a_cancelled_run_stops_writing_and_leaves_no_thread(tmp_path: Path) -> None:
    tree = tree_at(tmp_path / "data", train=20_000, images=False)
    loop = asyncio.get_running_loop()
    task: asyncio.Task[object]

    class Cancelling(io.BytesIO):
        """A stream whose first write ends the run."""

        def write(self, data: Any, /) -> int:
            if not self.tell():
                loop.call_soon_threadsafe(task.cancel)
                time.sleep(0.2)
            return super().write(data)

    stream = Cancelling()
    task = asyncio.create_task(fdf.write_credits_async(tree.root, stream))
    with pytest.raises(asyncio.CancelledError):
        await task
    assert busy_threads() == []
    assert 0 < stream.getvalue().count(b"\r\n") < 20_000


@pytest.mark.parametrize("arguments", [("credits",), ("search-user", "--user-nsid", NSID)])
async def test_images_that_cannot_be_looked_for_are_not_taken_for_missing(
    arguments: tuple[str, ...], tree: Tree
) -> None:
    images = tree.root / "train/images"
    images.rename(tree.root / "elsewhere")
    images.symlink_to("images")
    result = await command(*arguments, tree.root)
    assert (result.status, "Traceback" in result.stderr) == (5, False)
    assert str(images) in "".join(result.stderr.split())


def test_an_image_in_a_folder_that_may_not_be_entered_is_not_missing(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, user = tree.root / "train/images", os.geteuid()
    number = next(folder.iterdir()).stem
    folder.chmod(0o600)
    folder.parent.chmod(0o755)
    monkeypatch.chdir(folder.parent)
    if user == 0:
        # Nobody refuses root anything.
        os.seteuid(65534)
    try:
        with pytest.raises(StorageError, match="Permission denied") as caught:
            is_image_there(Path("images"), number)
    finally:
        os.seteuid(user)
        folder.chmod(0o700)
    assert caught.value.filename == f"images/{number}.png"
    assert is_image_there(folder, number)
    assert not is_image_there(folder, "0" * 1000)
    assert not is_image_there(folder / f"{number}.png", number)
