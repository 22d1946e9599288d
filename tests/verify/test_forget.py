"""``fdf256 forget``: gone from the tree, and not to come back, whatever ends the call."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest

import fdf256_fast as fdf
from fdf256_fast.errors import IntegrityError, LockedError, StorageError, UsageError
from fdf256_fast.forgetting import finish
from fdf256_fast.forgotten import is_forgotten, read_forgotten
from fdf256_fast.origin import Origin
from fdf256_fast.workspace import Workspace
from tests.integration.oracles import check_manifest, tree_of, unzipped
from tests.integration.runs import command
from tests.verify.trees import FILES, make_tree, manifest_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from fdf256_fast.synthetic import Compression
    from tests.integration.oracles import Published

    Publish = Mapping[Compression, Published]

ONE, OTHER = "train/images/7.png", "val/images/3.png"


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return make_tree(tmp_path / "target")


def files_of(target: Path) -> set[str]:
    return {path for path in FILES if (target / path).exists()}


def record_of(target: Path) -> dict[str, object]:
    record = json.loads((target / ".fdf256/installed.json").read_text())
    assert isinstance(record, dict)
    return record


async def test_images_go_and_everything_else_stays(target: Path) -> None:
    await fdf.verify_async(target)
    done = await fdf.forget_async(target, ["train/7", OTHER])
    assert [one.path for one in done.removed] == [ONE, OTHER]
    assert done.bytes == len(FILES[ONE]) + len(FILES[OTHER])
    assert files_of(target) == FILES.keys() - {ONE, OTHER}
    check_manifest(target)
    assert record_of(target)["files"] == done.files == len(FILES) - 2
    found = await fdf.verify_async(target, quick=True)
    assert (found.ok, found.checked) == (True, "size")
    assert (await fdf.verify_async(target)).ok


async def test_the_record_has_paths_and_nothing_else(published: Publish, tmp_path: Path) -> None:
    made, target = published["stored"], tmp_path / "target"
    unzipped(made.dataset.archives.values(), target)
    metadata = json.loads((target / "train/fdf_metainfo.json").read_text())
    number, entry = next(iter(metadata.items()))
    await fdf.forget_async(target, user_nsid=entry["user_nsid"])
    lines = (target / ".fdf256/forgotten").read_text().splitlines()
    assert f"train/images/{number}.png" in lines
    assert lines == sorted(set(lines))
    assert all(line.split("/")[1] == "images" and line.endswith(".png") for line in lines)


async def test_all_images_of_a_user_go_in_every_split(published: Publish, tmp_path: Path) -> None:
    made, target = published["stored"], tmp_path / "target"
    async with Origin(made.folder) as origin:
        await fdf.install(target, catalog=made.catalog(origin.url))
    users: dict[str, set[str]] = {}
    for split in ("train", "val"):
        for number, entry in json.loads((target / split / "fdf_metainfo.json").read_text()).items():
            users.setdefault(entry["user_nsid"], set()).add(f"{split}/images/{number}.png")
    user, paths = max(users.items(), key=lambda item: len(item[1]))
    before = tree_of(target)
    dry = await command("forget", target, "--user-nsid", user, "--dry-run", "--json")
    assert {one["path"] for one in dry.report["removed"]} == paths
    assert tree_of(target) == before
    done = await command("forget", target, "--user-nsid", user, "--json")
    assert done.status == 0, done.stderr
    assert {one["path"] for one in done.report["removed"]} == paths
    assert before.keys() - tree_of(target).keys() == paths
    assert user not in (target / ".fdf256/forgotten").read_text()
    check_manifest(target)
    again = await command("forget", target, "--user-nsid", user, "--json")
    assert (again.status, again.report["removed"], set(again.report["absent"])) == (0, [], paths)
    nobody = await command("forget", target, "--user-nsid", "nobody")
    assert (nobody.status, "No image of nobody" in nobody.stdout) == (0, True)
    nobody = await command("forget", target, "--user-nsid", "nobody", "--json")
    same = {"total": len(paths), "files": done.report["files"], "removed": [], "recorded": [], "absent": []}
    assert {name: nobody.report[name] for name in same} == same


async def test_rows_stay_in_their_places(published: Publish, tmp_path: Path) -> None:
    made, target = published["stored"], tmp_path / "target"
    unzipped(made.dataset.archives.values(), target)
    positional = [target / "train" / name for name in ("landmarks.npy", "bounding_box.npy")]
    before = [np.load(path) for path in positional]
    metadata = (target / "train/fdf_metainfo.json").read_bytes()
    first = min((target / "train/images").iterdir(), key=lambda path: int(path.stem))
    await fdf.forget_async(target, [f"train/{first.stem}"])
    assert not first.exists()
    for path, rows in zip(positional, before, strict=True):
        np.testing.assert_array_equal(np.load(path), rows)
    assert (target / "train/fdf_metainfo.json").read_bytes() == metadata


async def test_a_later_download_leaves_them_out_also_if_they_never_were_there(
    published: Publish, tmp_path: Path
) -> None:
    made, target = published["mixed"], tmp_path / "target"
    target.mkdir()
    (never, *_), *_ = [sorted(path for path in made.tree if path.startswith("val/images/"))]
    assert (await fdf.forget_async(target, [never])).absent == (never,)
    async with Origin(made.folder) as origin:
        catalog = made.catalog(origin.url)
        await fdf.install(target, catalog=catalog)
        assert tree_of(target).keys() == made.tree.keys() - {never}
        gone = str(min((target / "train/images").iterdir()).relative_to(target))
        await fdf.forget_async(target, [gone])
        again = await fdf.install(target, catalog=catalog)
    assert again.bytes_downloaded == 0
    assert tree_of(target).keys() == made.tree.keys() - {never, gone}
    assert (await fdf.verify_async(target)).ok
    check_manifest(target)


def test_names_with_leading_zeros_are_the_same_images(tmp_path: Path) -> None:
    target = make_tree(tmp_path / "target", {"train/images/0012.png": b"a", "train/images/0013.png": b"b"})
    done = fdf.forget(target, ["12"])
    assert [one.path for one in done.removed] == ["train/images/0012.png"]
    check_manifest(target)
    assert read_forgotten(Workspace.of(target)) == {"train/images/12.png", "val/images/12.png"}
    assert is_forgotten("val/images/00012.png", read_forgotten(Workspace.of(target)))
    assert fdf.verify(target).ok


async def test_what_an_unfinished_download_has_of_them_goes_as_well(target: Path) -> None:
    for folder in ("cc-by-2", "cc-by-2~part", "cc-by-2~spare"):
        path = target / ".fdf256/staging" / folder / ONE
        path.parent.mkdir(parents=True)
        path.write_bytes(b"half")
    done = await fdf.forget_async(target, [ONE])
    assert len(done.removed) == 4
    assert list((target / ".fdf256/staging").rglob("*.png")) == []


async def test_kept_archives_are_named_and_left_alone(target: Path) -> None:
    kept = target / ".fdf256/archives/cc-by-2.zip"
    kept.parent.mkdir()
    kept.write_bytes(b"zip")
    result = await command("forget", target, "--ids", "-")
    assert result.status == 2
    (target.parent / "ids").write_text("train/7  # mine\n\n")
    result = await command("forget", target, "--ids", target.parent / "ids")
    assert (result.status, kept.read_bytes()) == (0, b"zip")
    assert str(kept) in result.stdout


KILL = """
import os, signal, sys
from pathlib import Path
import fdf256_fast as fdf
count = 0
def hook(event, arguments):
    global count
    if event in {"open", "os.rename", "os.remove"} and "target" in str(arguments):
        count += 1
        if count == int(sys.argv[2]):
            os.kill(os.getpid(), signal.SIGKILL)
import asyncio.base_events, fdf256_fast.forgetting
sys.addaudithook(hook)
fdf.forget(sys.argv[1], ["train/7", "val/3"])
print(count)
"""


def test_a_call_that_is_killed_at_any_step_is_finished_by_the_next(tmp_path: Path) -> None:
    number, recorded = 0, 0
    while True:
        number += 1
        target = make_tree(tmp_path / str(number) / "target")
        run = [sys.executable, "-c", KILL, str(target), str(number)]
        ended = subprocess.run(run, capture_output=True, text=True, check=False, timeout=60)
        if ended.returncode == 0:
            break
        assert ended.returncode == -signal.SIGKILL, ended.stderr
        if not (target / ".fdf256/forgotten").exists():
            assert files_of(target) == FILES.keys()
            continue
        recorded += 1
        # Nothing is there and not recorded; whoever looks is told, or content.
        found = fdf.verify(target)
        assert found.ok == (files_of(target) == FILES.keys() - {ONE, OTHER})
        fdf.forget(target)
        assert files_of(target) == FILES.keys() - {ONE, OTHER}
        check_manifest(target)
        assert record_of(target)["files"] == len(FILES) - 2
        assert fdf.verify(target).ok
    assert recorded >= 5


def test_finishing_is_for_whoever_works_in_the_target_next(target: Path) -> None:
    workspace = Workspace.of(target)
    assert finish(workspace) == ()
    (target / ".fdf256/forgotten").write_text(f"{ONE}\n")
    assert [one.path for one in finish(workspace)] == [ONE]
    assert finish(workspace) == ()
    check_manifest(target)


def test_no_link_leads_a_removal_out_of_the_target(target: Path) -> None:
    (target / "train/images").rename(target.parent / "elsewhere")
    (target / "train/images").symlink_to("../../elsewhere")
    with pytest.raises(StorageError, match="symbolic link"):
        fdf.forget(target, ["train/7"])
    assert (target.parent / "elsewhere/7.png").exists()
    assert read_forgotten(Workspace.of(target)) == {ONE}


async def test_a_link_in_an_images_place_goes_and_not_what_it_points_to(target: Path) -> None:
    (target / ONE).unlink()
    (target / ONE).symlink_to("8.png")
    await fdf.forget_async(target, ["train/7"])
    assert not os.path.lexists(target / ONE)
    assert (target / "train/images/8.png").exists()


async def test_a_folder_in_an_images_place_is_an_error_and_stays(target: Path) -> None:
    (target / ONE).unlink()
    (target / ONE).mkdir()
    with pytest.raises(StorageError, match=r"7\.png"):
        await fdf.forget_async(target, ["train/7"])
    assert (target / ONE).is_dir()


@pytest.mark.parametrize(
    "name", ["../x", "train/../../x", "train/images/a/b.png", "test/1", "a\\b", "1\x1b2"]
)
async def test_what_is_no_image_is_refused_before_anything_happens(name: str, target: Path) -> None:
    with pytest.raises(UsageError):
        await fdf.forget_async(target, [name, "train/7"])
    assert files_of(target) == FILES.keys()
    assert not (target / ".fdf256/forgotten").exists()


@pytest.mark.parametrize("text", ["../x\n", "train/landmarks.npy\n", "train/images/1.png\nhello\n", "\n"])
async def test_a_record_that_somebody_changed_is_not_believed(text: str, target: Path) -> None:
    (target / ".fdf256/forgotten").write_text(text)
    with pytest.raises(IntegrityError, match="no image"):
        await fdf.forget_async(target, ["train/7"])
    assert files_of(target) == FILES.keys()


async def test_a_locked_target_is_left_alone(target: Path) -> None:
    async with Workspace.of(target).locked():
        with pytest.raises(LockedError):
            await fdf.forget_async(target, ["train/7"])
    assert files_of(target) == FILES.keys()


async def test_there_must_be_something_to_forget(target: Path, tmp_path: Path) -> None:
    result = await command("forget", target)
    assert (result.status, "--user-nsid" in result.stderr) == (2, True)
    result = await command("forget", tmp_path / "none", "--ids", os.devnull, "--json")
    assert (result.status, result.report["ok"]) == (2, False)
    (tmp_path / "ids").write_text("1\n")
    result = await command("forget", tmp_path / "none", "--ids", tmp_path / "ids", "--json")
    assert (result.status, result.report["ok"]) == (5, False)
    assert not (tmp_path / "none").exists()


async def test_the_manifest_keeps_lines_that_nobody_asked_about(target: Path) -> None:
    with manifest_of(target).open("ab") as manifest:
        manifest.write(b"\xff junk\n")
    await fdf.forget_async(target, ["train/7"])
    lines = manifest_of(target).read_bytes().splitlines()
    assert lines[-1] == b"\xff junk"
    assert len(lines) == len(FILES)


async def test_users_are_not_forgotten_by_half(published: Publish, tmp_path: Path) -> None:
    made, target = published["stored"], tmp_path / "target"
    catalog = made.catalog(made.folder.as_uri())
    await fdf.install(target, catalog=catalog, splits={"val"})
    with pytest.raises(UsageError, match="metadata of train") as caught:
        await fdf.forget_async(target, user_nsid="12345678@N00")
    assert "--metadata-only" in caught.value.hint
    assert not (target / ".fdf256/forgotten").exists()
    await fdf.install(target, catalog=catalog, metadata_only=True)
    done = await fdf.forget_async(target, user_nsid="12345678@N00")
    await fdf.install(target, catalog=catalog)
    gone = set(done.recorded)
    assert any(path.startswith("train/") for path in gone)
    assert not gone & tree_of(target).keys()


async def test_an_image_is_let_in_again_when_its_line_is_removed(published: Publish, tmp_path: Path) -> None:
    made, target = published["stored"], tmp_path / "target"
    catalog = made.catalog(made.folder.as_uri())
    await fdf.install(target, catalog=catalog)
    await fdf.forget_async(target, ["train/1", "train/2"])
    assert (await fdf.install(target, catalog=catalog)).already_installed
    (target / ".fdf256/forgotten").write_text("train/images/2.png\n")
    await fdf.install(target, catalog=catalog)
    assert set(made.tree) - set(tree_of(target)) == {"train/images/2.png"}
    assert (await fdf.install(target, catalog=catalog)).already_installed
    check_manifest(target)


async def test_a_typing_mistake_is_not_recorded(target: Path) -> None:
    with pytest.raises(UsageError, match="'foo' is no image"):
        await fdf.forget_async(target, ["foo"])
    assert not (target / ".fdf256/forgotten").exists()


async def test_a_text_is_one_image_and_not_its_characters(target: Path) -> None:
    done = await fdf.forget_async(target, "train/17", dry_run=True)
    assert done.recorded == ("train/images/17.png",)
