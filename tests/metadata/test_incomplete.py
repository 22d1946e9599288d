"""Trees that lack metadata: whoever asks is told, and gets no answer about a part as if it were all."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest

import fdf256_fast as fdf
from fdf256_fast.errors import StorageError
from tests.integration.runs import command
from tests.metadata.files import NSID, Tree, tree_at

if TYPE_CHECKING:
    from pathlib import Path

COMMANDS = [("search-user", "--user-nsid", NSID), ("credits",), ("info",)]


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return tree_at(tmp_path / "data")


def take_away(tree: Tree, split: str, how: str) -> None:
    """The metadata of ``split``: ``gone``, a ``link`` to nothing, or in a ``folder`` that is one."""
    path = tree.root / split / "fdf_metainfo.json"
    path.unlink()
    if how == "link":
        path.symlink_to(tree.root / "not-mounted")
    elif how == "folder":
        shutil.rmtree(tree.root / split)
        (tree.root / split).symlink_to(tree.root / "not-mounted")


@pytest.mark.parametrize("how", ["gone", "link", "folder"])
@pytest.mark.parametrize("split", ["train", "val"])
@pytest.mark.parametrize("arguments", COMMANDS, ids=[words[0] for words in COMMANDS])
async def test_a_split_whose_metadata_are_not_there_is_not_left_out_in_silence(
    arguments: tuple[str, ...], split: str, how: str, tree: Tree
) -> None:
    take_away(tree, split, how)
    result = await command(*arguments, tree.root)
    assert (result.status, result.stdout) == (5, "")
    assert f"{tree.root}/{split}/fdf_metainfo.json" in "".join(result.stderr.split())
    if how == "gone":
        assert "--metadata-only" in result.stderr


@pytest.mark.parametrize("arguments", COMMANDS, ids=[words[0] for words in COMMANDS])
async def test_a_split_of_which_nothing_is_there_is_not_asked_for(
    arguments: tuple[str, ...], tree: Tree
) -> None:
    shutil.rmtree(tree.root / "train")
    (tree.root / "train").mkdir()
    result = await command(*arguments, tree.root)
    assert result.status == 0, result.stderr
    assert "val" in result.stdout


async def test_credits_of_one_split_need_no_metadata_of_the_other(tree: Tree) -> None:
    take_away(tree, "train", "gone")
    result = await command("credits", tree.root, "--split", "val")
    assert result.status == 0, result.stderr
    assert result.stdout.count("val/images/") == 9


def test_images_of_which_no_metadata_know_are_counted(tree: Tree) -> None:
    for name in ("1000.png", "x.png", "._0.png", "notes.txt"):
        (tree.root / "train" / "images" / name).touch()
    (tree.root / "val" / "images" / "500.png").touch()
    for is_all in (False, True):
        report = fdf.write_credits(tree.root, os.devnull, is_all=is_all)
        assert (report.images, report.without_metadata) == (69, 3)
    assert fdf.write_credits(tree.root / "val", os.devnull).as_json()["without_metadata"] == 1


async def test_the_command_says_how_many_images_have_no_credit(tree: Tree) -> None:
    (tree.root / "train" / "images" / "1000.png").touch()
    result = await command("credits", tree.root)
    assert result.status == 0
    assert "1 images that are there have no metadata" in result.stderr


async def test_a_target_that_is_neither_folder_nor_file_is_refused(tmp_path: Path) -> None:
    pipe, nothing = tmp_path / "pipe", tmp_path / "nothing"
    os.mkfifo(pipe)
    nothing.symlink_to("not-mounted")
    for target in (pipe, nothing):
        for arguments in COMMANDS[:2]:
            result = await command(*arguments, target)
            assert result.status == 5, result.stderr
            assert str(target) in "".join(result.stderr.split())
        with pytest.raises(StorageError):
            await fdf.search_user_async(target, NSID)
