"""``fdf256 search-user`` and ``fdf256_fast.search_user``: on targets of every kind, and without one."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING
from unicodedata import normalize

import pytest

import fdf256_fast as fdf
from fdf256_fast.calls import Interrupted
from fdf256_fast.errors import MetadataError, StorageError, UsageError
from fdf256_fast.metadata import license_name
from fdf256_fast.quick import understood
from fdf256_fast.search_results import REMOVAL
from fdf256_fast.selection import Ids, image_of
from tests.integration.runs import command
from tests.metadata.files import NSID, Tree, loaded, published_way, tree_at

if TYPE_CHECKING:
    from collections.abc import Mapping

    from blockbuster import BlockBuster

    from fdf256_fast.synthetic import Compression
    from tests.integration.oracles import Published

MAIL = "hakon.hukkelas@ntnu.no"


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return tree_at(tmp_path / "data")


async def test_the_command_prints_a_table_and_how_to_get_a_photo_removed(tree: Tree) -> None:
    result = await command("search-user", tree.root, "--user-nsid", NSID)
    assert result.status == 0, result.stderr
    for path in tree.paths_of(NSID):
        assert path in result.stdout
    assert REMOVAL in result.stdout
    assert all(word in REMOVAL for word in ("no_cv", "NoDerivs", "private", MAIL, "NSID"))
    count = len(tree.paths_of(NSID))
    assert f"{count} images of user {NSID}, among 69 entries" in result.stdout


async def test_one_object_with_json(tree: Tree) -> None:
    result = await command("search-user", tree.root, "--user-nsid", NSID, "--json")
    assert result.status == 0, result.stderr
    report = result.report
    assert [image["path"] for image in report["images"]] == tree.paths_of(NSID)
    key, value = published_way(tree.texts["train"], NSID)[0]
    assert report["images"][0] == {
        "path": f"train/images/{key}.png",
        "split": "train",
        "number": key,
        "title": value["photo_title"],
        "author": value["author"],
        "user_nsid": NSID,
        "license": value["license"],
        "license_url": value["license_url"],
        "photo_url": value["photo_url"],
        "is_installed": True,
    }
    files = [(file["split"], file["entries"], file["bytes"]) for file in report["files"]]
    assert files == [("train", 60, len(tree.texts["train"])), ("val", 9, len(tree.texts["val"]))]
    assert (report["ok"], report["error"], report["target"]) == (True, None, str(tree.root))
    assert (report["entries"], report["fetched"], report["removal"]) == (69, False, REMOVAL)


async def test_plain_lines_are_ids_that_other_commands_read(tree: Tree) -> None:
    result = await command("search-user", tree.root, "--user-nsid", NSID, "--plain")
    assert result.status == 0
    lines = result.stdout.splitlines()
    assert lines == tree.paths_of(NSID)
    ids = Ids.parse(lines, "test")
    assert all(image_of(path) in ids for path in lines)
    assert MAIL in result.stderr
    quiet = await command("search-user", tree.root, "--user-nsid", NSID, "--plain", "--quiet")
    assert (quiet.stdout, quiet.stderr) == (result.stdout, "")


async def test_nobody_is_found_with_status_0_and_the_files_named(tree: Tree) -> None:
    result = await command("search-user", tree.root, "--user-nsid", "nobody@N00")
    assert result.status == 0
    files = (f"60 of {tree.root}/train", f"9 of {tree.root}/val")
    for words in ("No image of user nobody@N00", "69 entries", *files, MAIL):
        assert words in result.stdout
    report = (await command("search-user", tree.root, "--user-nsid", "nobody@N00", "--json")).report
    assert (report["ok"], report["images"], report["entries"]) == (True, [], 69)


async def test_several_users_authors_and_photos_at_once(tree: Tree) -> None:
    entries = loaded(tree.texts["train"])
    other, photo = entries["7"], entries["11"]
    result = await command(
        *("search-user", tree.root, "--user-nsid", NSID, "--user-nsid", other["user_nsid"]),
        *("--photo-url", photo["photo_url"].replace("http:", "https:").rstrip("/"), "--plain"),
    )
    wanted = {*tree.paths_of(NSID), *tree.paths_of(other["user_nsid"]), "train/images/11.png"}
    assert set(result.stdout.splitlines()) == wanted
    by_author = await command("search-user", tree.root, "--author", other["author"].upper(), "--plain")
    assert "train/images/7.png" in by_author.stdout.splitlines()


@pytest.mark.parametrize("kind", ["split", "file", "other name", "only metadata"])
async def test_other_kinds_of_targets(tree: Tree, tmp_path: Path, kind: str) -> None:
    metadata = tree.root / "train" / "fdf_metainfo.json"
    target = {"split": tree.root / "train", "file": metadata}.get(kind, tmp_path / "other.json")
    keys = [key for key, _ in published_way(tree.texts["train"], NSID)]
    wanted = [f"train/images/{key}.png" for key in keys]
    if kind == "other name":
        shutil.copy(metadata, target)
        wanted = [f"{key}.png" for key in keys]
    elif kind == "only metadata":
        target = tree.root
        shutil.rmtree(target / "train" / "images")
        shutil.rmtree(target / "val")
    result = await fdf.search_user_async(target, NSID)
    assert [image.path for image in result.images] == wanted
    installed = None if kind in {"other name", "only metadata"} else True
    assert {image.is_installed for image in result.images} == {installed}


async def test_an_image_that_is_gone_is_said_to_be(tree: Tree) -> None:
    gone = tree.paths_of(NSID)[0]
    (tree.root / gone).unlink()
    result = await fdf.search_user_async(tree.root, NSID)
    assert {image.path: image.is_installed for image in result.images}[gone] is False


async def test_the_function_works_in_a_running_loop(tree: Tree, loop_watch: BlockBuster) -> None:
    # The caller of a blocking function has chosen to block.
    loop_watch.functions["threading.Lock.acquire"].can_block_in("fdf256_fast/blocking.py", "call")
    result = fdf.search_user(tree.root, NSID)
    assert [image.path for image in result.images] == tree.paths_of(NSID)


def test_a_local_search_does_without_the_network_modules(tree: Tree) -> None:
    code = (
        "import sys, fdf256_fast as f; assert f.search_user(sys.argv[1], '12345678@N00').images;"
        "assert 'aiohttp' not in sys.modules and 'rich' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, str(tree.root)], check=True, timeout=60)


async def test_damage_ends_with_status_3_and_the_byte(tree: Tree) -> None:
    path = tree.root / "val" / "fdf_metainfo.json"
    path.write_bytes(path.read_bytes()[:-1])
    size = path.stat().st_size
    for options in ([], ["--json"]):
        result = await command("search-user", tree.root, "--user-nsid", NSID, *options)
        assert result.status == 3
        assert f"{path}: the file ends in the middle" in result.stderr
        assert f"(at byte {size})" in result.stderr
    assert result.report["ok"] is False
    assert f"(at byte {size})" in result.report["error"]
    with pytest.raises(MetadataError) as caught:
        await fdf.search_user_async(tree.root, NSID)
    assert (caught.value.path, caught.value.offset) == (str(path), size)


async def test_bad_arguments_end_with_status_2(tree: Tree) -> None:
    for arguments in (
        [],
        ["--user-nsid", ""],
        ["--user-nsid", NSID, "--plain", "--json"],
        ["--user-nsid", NSID, "--no-such"],
    ):
        result = await command("search-user", tree.root, *arguments)
        assert result.status == 2, arguments
    with pytest.raises(UsageError, match="nothing to search for"):
        await fdf.search_user_async(tree.root)


async def test_blanks_around_a_user_or_an_address_do_not_count(tree: Tree) -> None:
    address = loaded(tree.texts["train"])["11"]["photo_url"]
    for option, value, wanted in (
        ("--user-nsid", f"\t{NSID} \n", tree.paths_of(NSID)),
        ("--photo-url", f" {address} ", ["train/images/11.png"]),
    ):
        result = await command("search-user", tree.root, option, value, "--plain")
        assert result.stdout.splitlines() == wanted
    found = await fdf.search_user_async(tree.root, f" {NSID}", photo_url=f"{address}\n")
    assert {image.path for image in found.images} == {*tree.paths_of(NSID), "train/images/11.png"}


@pytest.mark.parametrize(
    "arguments",
    [
        ("--photo-url", "http://"),
        ("--photo-url", " HTTPS:// "),
        ("--photo-url", "//"),
        ("--author", "a\udcff"),
    ],
)
async def test_what_could_be_nobodys_is_refused(arguments: tuple[str, str], tree: Tree) -> None:
    # The file has an author that a replaced letter would match, and a photo without an address.
    path = tree.root / "val/fdf_metainfo.json"
    path.write_text('{"1": {"author": "a?", "photo_url": ""}}')
    result = await command("search-user", path, *arguments)
    assert (result.status, result.stdout) == (2, ""), result.stderr


async def test_a_file_that_is_not_there_is_no_reason_to_fetch(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="no such file"):
        await fdf.search_user_async(tmp_path / "fdf_metainfo.json", NSID)


# ---- without a target ------------------------------------------------------------------------------------


async def test_without_a_target_the_metadata_are_fetched_alone_and_kept(
    published: Mapping[Compression, Published], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = published["mixed"]
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    catalog = tmp_path / "catalog.toml"
    # Nobody listens there: what is fetched comes from the mirror.
    catalog.write_text(ours.dataset.catalog_toml("http://127.0.0.1:9"))
    arguments = [
        "search-user",
        str(tmp_path / "none"),
        "--user-nsid",
        NSID,
        "--catalog",
        str(catalog),
        "--json",
    ]
    first = await command(*arguments, "--mirror", ours.folder, "--retries", "0")
    assert first.status == 0, first.stderr
    assert f"{tmp_path / 'none'} has no metadata" in first.stderr
    folder = tmp_path / "cache" / "fdf256_fast" / "fdf256-synthetic"
    assert str(folder) in first.stderr
    assert first.report["fetched"] is True
    assert first.report["entries"] == 100
    assert not list(folder.rglob("*.png"))
    assert not (tmp_path / "none").exists()
    # Now without any source, and without a word.
    second = await command(*arguments)
    assert (second.status, second.stderr) == (0, "")
    assert second.report["images"] == first.report["images"] != []
    assert second.report["files"][0]["path"] == str(folder / "train" / "fdf_metainfo.json")


async def test_a_relative_cache_folder_does_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "cache")
    monkeypatch.setenv("HOME", str(tmp_path))
    catalog = tmp_path / "catalog.toml"
    archive = '[[archive]]\nname = "m"\nrole = "metadata"\nurl = "http://127.0.0.1:9/m"\n'
    catalog.write_text(f'name = "x"\ntitle = "X"\n{archive}')
    arguments = ["search-user", "--user-nsid", NSID, "--catalog", str(catalog), "--retries", "0"]
    result = await command(*arguments, "--progress", "plain", cwd=tmp_path)
    assert result.status == 4
    assert str(tmp_path / ".cache" / "fdf256_fast" / "x") in result.stderr
    assert not os.path.lexists(tmp_path / "cache")


async def test_two_catalogs_of_one_name_have_a_cache_each_where_no_digest_tells_them_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    answers = []
    for number in (1, 2, 1):
        served = tmp_path / f"served{number}"
        served.mkdir(exist_ok=True)
        with zipfile.ZipFile(served / "metainfo.zip", "w") as archive:
            archive.writestr("train/fdf_metainfo.json", f'{{"{number}": {{"user_nsid": "{NSID}"}}}}')
        catalog = tmp_path / f"catalog{number}.toml"
        url = (served / "metainfo.zip").as_uri()
        archives = f'[[archive]]\nname = "metainfo"\nrole = "metadata"\nurl = "{url}"\n'
        catalog.write_text(f'name = "mine"\ntitle = "Mine"\n{archives}')
        # By whichever mirror it came, it is the same.
        found = await fdf.search_user_async(
            tmp_path / "none", NSID, catalog=catalog, mirrors=str(served) if number == 1 else ()
        )
        answers.append([image.number for image in found.images])
    assert answers == [["1"], ["2"], ["1"]]
    assert len(list((tmp_path / "cache/fdf256_fast").iterdir())) == 2
    shutil.rmtree(tmp_path / "served1")
    again = await fdf.search_user_async(tmp_path / "none", NSID, catalog=tmp_path / "catalog1.toml")
    assert [image.number for image in again.images] == ["1"]


def test_a_search_that_is_ended_says_that_it_changed_nothing(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ended(*_: object) -> None:
        raise asyncio.CancelledError

    monkeypatch.setattr("fdf256_fast.local.in_foreground", ended)
    call = understood(["search-user", str(tree.root), "--user-nsid", NSID])
    assert call is not None
    with pytest.raises(Interrupted) as caught:
        call()
    assert caught.value.words == "A search changes nothing."


async def test_quiet_prints_what_is_found_and_its_help_says_so(tmp_path: Path) -> None:
    tree = tree_at(tmp_path / "data")
    arguments = ["search-user", str(tree.root), "--user-nsid", NSID]
    loud, quiet = await command(*arguments), await command(*arguments, "-q")
    assert (quiet.status, quiet.stdout, quiet.stderr) == (0, loud.stdout, "")
    plain = await command(*arguments, "-q", "--plain")
    assert (plain.stdout.splitlines(), plain.stderr) == (tree.paths_of(NSID), "")
    told = " ".join((await command("search-user", "--help")).stdout.split())
    assert "-q, --quiet Print no progress, and with --plain no summary. What is found is printed" in told
    assert "Print errors only." not in told
    assert "Print errors only." in (await command("extract", "--help")).stdout


# ---- licences --------------------------------------------------------------------------------------------


VECTORS = Path(__file__).parent.parent / "vectors" / "licences.tsv"


@pytest.mark.parametrize(
    "line", [line for line in VECTORS.read_text("utf-8").splitlines() if not line.startswith("#")]
)
def test_licences_have_the_names_of_the_catalog(line: str) -> None:
    name, _, url = line.partition("\t")
    assert license_name(url) == name


@pytest.mark.parametrize("name", ["José", "Ångström", "Đặng"])
async def test_an_author_is_found_however_the_accents_are_written(name: str, tmp_path: Path) -> None:
    path = tmp_path / "fdf_metainfo.json"
    forms = [normalize(form, name) for form in ("NFC", "NFD")]
    path.write_text(json.dumps({number: {"author": author} for number, author in enumerate(forms)}))
    for written in (*forms, *(form.upper() for form in forms)):
        found = await fdf.search_user_async(path, author=written)
        assert [image.number for image in found.images] == ["0", "1"]
    # Another letter is another name, and one that nobody sees is one too.
    for written in (name.encode("ascii", "ignore").decode(), f"{name}\u3164", "\u3164"):
        assert not (await fdf.search_user_async(path, author=written)).images
