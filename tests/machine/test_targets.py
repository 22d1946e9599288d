"""Targets that cannot be used, or not as they are: the right status, the path in the message, no harm."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from fdf256_fast import StorageError, install
from fdf256_fast.origin import Origin
from tests.integration.oracles import check_installed, check_manifest, same_tree, tree_of
from tests.integration.runs import command
from tests.machine.sites import make_site

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

OTHER_USER = 65534


def a_file(target: Path) -> None:
    target.write_bytes(b"1")


def a_parent_that_is_a_file(target: Path) -> None:
    target.parent.write_bytes(b"1")


def a_link_to_nothing(target: Path) -> None:
    target.symlink_to(target.parent / "nowhere")


def a_workspace_that_is_a_file(target: Path) -> None:
    target.mkdir()
    (target / ".fdf256").write_bytes(b"1")


def a_workspace_that_is_a_link(target: Path) -> None:
    target.mkdir()
    (target.parent / "elsewhere").mkdir()
    (target / ".fdf256").symlink_to(target.parent / "elsewhere")


def a_staging_that_is_a_link(target: Path) -> None:
    (target / ".fdf256").mkdir(parents=True)
    (target.parent / "elsewhere").mkdir()
    (target / ".fdf256" / "staging").symlink_to(target.parent / "elsewhere")


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (a_file, "target"),
        (a_link_to_nothing, "nowhere"),
        (a_workspace_that_is_a_file, ".fdf256"),
        (a_workspace_that_is_a_link, ".fdf256"),
        (a_staging_that_is_a_link, "staging"),
    ],
)
async def test_a_target_that_cannot_be_one_ends_with_status_5_and_is_left_alone(
    make: Callable[[Path], None], named: str, tmp_path: Path
) -> None:
    site = make_site(tmp_path)
    make(site.target)
    before = tree_of(site.target, workspace=True)
    async with Origin(site.folder) as origin:
        with pytest.raises(StorageError, match=named) as caught:
            await install(site.target, catalog=site.catalog(origin))
        assert origin.requests == 0
    assert caught.value.exit_status == 5
    assert caught.value.filename
    after = tree_of(site.target, workspace=True)
    after.pop(".fdf256/lock", None)
    assert after == before
    assert not list((tmp_path / "elsewhere").iterdir()) if (tmp_path / "elsewhere").exists() else True


async def test_the_command_names_what_is_in_the_way_without_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"1")
    for target in (tmp_path / "file", tmp_path / "file" / "below", tmp_path / ("n" * 300)):
        done = await command("download", target)
        assert done.status == 5, done.stderr
        assert str(target)[:80] in done.stderr.replace("\n", "")
        assert "Traceback" not in done.stderr


async def test_a_target_that_is_a_link_to_a_folder_stays_one(tmp_path: Path) -> None:
    site = make_site(tmp_path)
    (tmp_path / "real").mkdir()
    site.target.symlink_to(tmp_path / "real")
    async with Origin(site.folder) as origin:
        await install(site.target, catalog=site.catalog(origin))
    assert site.target.is_symlink()
    check_installed(tmp_path / "real", site.tree)


async def test_a_link_inside_the_target_is_not_written_through(tmp_path: Path) -> None:
    site = make_site(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    site.target.mkdir()
    (site.target / "train").symlink_to(tmp_path / "elsewhere")
    async with Origin(site.folder) as origin:
        with pytest.raises(StorageError, match="train: it is a symbolic link") as caught:
            await install(site.target, catalog=site.catalog(origin))
        assert caught.value.filename == str(site.target / "train")
        assert not list((tmp_path / "elsewhere").iterdir())
        (site.target / "train").unlink()
        report, _ = await site.finish(site.catalog(origin))
    assert report.bytes_downloaded == 0
    check_installed(site.target, site.tree)


@pytest.mark.parametrize("way", ["folder for a file", "file for a folder"])
async def test_what_is_in_the_way_of_publishing_is_named_and_left_and_then_all_goes_on(
    way: str, tmp_path: Path
) -> None:
    site = make_site(tmp_path)
    if way == "folder for a file":
        wrong = site.target / "train" / "images" / "007.bin"
        wrong.mkdir(parents=True)
        (wrong / "mine").write_bytes(b"1")
    else:
        wrong = site.target / "train" / "images"
        wrong.parent.mkdir(parents=True)
        wrong.write_bytes(b"mine")
    before = tree_of(site.target)
    async with Origin(site.folder) as origin:
        with pytest.raises(StorageError, match=wrong.name):
            await install(site.target, catalog=site.catalog(origin))
        assert tree_of(site.target) == before  # nothing moved yet
        wrong.rename(tmp_path / "moved away")
        report, _ = await site.finish(site.catalog(origin))
    assert report.bytes_downloaded == 0
    check_installed(site.target, site.tree)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
async def test_a_target_of_somebody_else_ends_with_status_5(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir(mode=0o755)
    for folder in (tmp_path, *tmp_path.parents):
        with contextlib.suppress(PermissionError):
            if folder.name.startswith("pytest") or folder == tmp_path:
                folder.chmod(0o755)
    # Loaded before it becomes somebody else, who may not be allowed to read this checkout.
    script = f"""
import concurrent.futures.thread
import os, sys, fdf256_fast, fdf256_fast.sync, fdf256_fast.installation
catalog = fdf256_fast.load_catalog("fdf256")
os.setgid({OTHER_USER})
os.setuid({OTHER_USER})
try:
    fdf256_fast.install_sync({str(target)!r}, catalog=catalog)
except fdf256_fast.Error as error:
    print(error)
    sys.exit(error.exit_status)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], check=False, capture_output=True, text=True, timeout=60, cwd="/"
    )
    assert done.returncode == 5, done.stderr
    assert str(target) in done.stdout
    assert "ermission denied" in done.stdout


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
@pytest.mark.parametrize(
    "arguments",
    [
        ("verify", "data"),
        ("info", "data"),
        ("search-user", "data", "--author", "a"),
        ("forget", "data", "--user-nsid", "1"),
        ("fetch", "file:///etc/passwd", "-d", "data"),
        ("demo", "data"),
    ],
)
def test_a_folder_that_may_not_be_read_ends_with_status_5(arguments: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "data").mkdir(mode=0o700)
    for folder in (tmp_path, *tmp_path.parents):
        with contextlib.suppress(PermissionError):
            if folder.name.startswith("pytest") or folder == tmp_path:
                folder.chmod(0o755)
    # All is imported before it becomes somebody else, who may not be allowed to read this checkout.
    script = f"""
import importlib, os, pkgutil, sys, fdf256_fast, fdf256_fast.commands
for package in (fdf256_fast, fdf256_fast.commands):
    for module in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
import encodings.ascii, rich.console, fdf256_fast.status
os.setegid({OTHER_USER})
os.seteuid({OTHER_USER})
fdf256_fast.status.run({[*arguments, "--json"]!r})
"""
    done = subprocess.run(
        [sys.executable, "-c", script], check=False, capture_output=True, text=True, timeout=60, cwd=tmp_path
    )
    assert (done.returncode, "Traceback" in done.stderr) == (5, False), done.stderr
    assert "data" in json.loads(done.stdout)["error"]
    assert "ermission denied" in done.stdout


async def test_a_target_without_write_permission_or_on_a_read_only_mount_is_refused(tmp_path: Path) -> None:
    site = make_site(tmp_path)
    with read_only(site.target):
        async with Origin(site.folder) as origin:
            with pytest.raises(StorageError, match="target") as caught:
                await install(site.target, catalog=site.catalog(origin))
            assert origin.requests == 0
    assert caught.value.exit_status == 5


@contextlib.contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """A mount where that is allowed, else a folder without write permission."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(folder)]
    mounted = os.geteuid() == 0 and subprocess.run(mount, check=False, capture_output=True).returncode == 0
    if not mounted:
        folder.chmod(0o555)
    try:
        yield
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", folder], check=True)
        folder.chmod(0o755)


async def test_other_files_of_the_target_survive(tmp_path: Path) -> None:
    site = make_site(tmp_path)
    (site.target / "train" / "images").mkdir(parents=True)
    (site.target / "train" / "images" / "mine.txt").write_bytes(b"1")
    async with Origin(site.folder) as origin:
        await install(site.target, catalog=site.catalog(origin))
    assert (site.target / "train" / "images" / "mine.txt").read_bytes() == b"1"
    (site.target / "train" / "images" / "mine.txt").unlink()
    same_tree(site.target, site.tree)
    check_manifest(site.target)
