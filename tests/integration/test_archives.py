"""Zips as other programs make them: whatever unzip takes, and refused is what it should not."""

from __future__ import annotations

import io
import random
import warnings
import zipfile
from typing import TYPE_CHECKING, Any

import pytest

from fdf256_fast import IntegrityError, Limits, fetch
from fdf256_fast.origin import Origin
from tests.integration.oracles import same_tree, tree_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Make = Callable[[Path, int], None]

LIMITS = Limits(memory_bytes=4 << 20)


class Pipe(io.RawIOBase):
    """A file that cannot seek: zipfile then writes sizes and CRCs behind the data, in data descriptors."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._file = path.open("wb")

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        return self._file.write(data)

    def close(self) -> None:
        self._file.close()
        super().close()


def contents() -> dict[str, bytes]:
    noise = random.Random(256)
    return {f"folder/{i}.bin": noise.randbytes(3000 * i) for i in range(20)}


def with_data_descriptors(path: Path, method: int) -> None:
    with Pipe(path) as pipe, zipfile.ZipFile(pipe, "w", method) as archive:
        for name, data in contents().items():
            archive.writestr(name, data)


def with_zip64_fields(path: Path, method: int) -> None:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in contents().items():
            with archive.open(name, "w", force_zip64=True) as member:
                member.write(data)


def with_both(path: Path, method: int) -> None:
    with Pipe(path) as pipe, zipfile.ZipFile(pipe, "w", method) as archive:
        for name, data in contents().items():
            with archive.open(name, "w", force_zip64=True) as member:
                member.write(data)


def with_a_large_member_and_descriptors(path: Path, method: int) -> None:
    with Pipe(path) as pipe, zipfile.ZipFile(pipe, "w", method) as archive:
        archive.writestr("large.bin", random.Random(256).randbytes(9_000_000))
        archive.writestr("small.bin", b"small")


def with_the_longest_comment(path: Path, method: int) -> None:
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.comment = b"c" * 65_535
        archive.writestr("a.txt", "a" * 1000)


def behind_a_program(path: Path, method: int) -> None:
    """As self-extracting archives are: all offsets count from behind the program."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        archive.writestr("a.txt", "a" * 1000)
        archive.writestr("b.txt", "b")
    path.write_bytes(b"#!/bin/sh\n" * 100 + buffer.getvalue())


def with_unusual_names(path: Path, method: int) -> None:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name in [
            "été/ü.txt",
            " space .txt",
            "-rf",
            "~",
            "x" * 255,
            "日本語",
            "a'$(b).txt",
            "empty/folder/",
        ]:
            archive.writestr(name, b"" if name.endswith("/") else name.encode())


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED], ids=["stored", "deflated"])
@pytest.mark.parametrize(
    "make",
    [
        with_data_descriptors,
        with_zip64_fields,
        with_both,
        with_a_large_member_and_descriptors,
        with_the_longest_comment,
        behind_a_program,
        with_unusual_names,
    ],
)
async def test_an_archive_is_unpacked_as_zipfile_does(make: Make, method: int, tmp_path: Path) -> None:
    archive = tmp_path / "a.zip"
    make(archive, method)
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(tmp_path / "expected")
    async with Origin(tmp_path) as origin:
        await fetch(f"{origin.url}/a.zip", tmp_path / "target", extract=True, limits=LIMITS)
    same_tree(tmp_path / "target", tree_of(tmp_path / "expected"))


# ---- refused ---------------------------------------------------------------------------------------


def with_the_same_name_twice(path: Path, method: int) -> None:
    with zipfile.ZipFile(path, "w", method) as archive, warnings.catch_warnings(action="ignore"):
        archive.writestr("a.txt", "one")
        archive.writestr("a.txt", "two")


def with_a_file_for_a_folder(path: Path, method: int) -> None:
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("a", "one")
        archive.writestr("a/b", "two")


def with_a_symbolic_link(path: Path, method: int) -> None:
    link = zipfile.ZipInfo("link")
    link.create_system = 3
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("a.txt", "one")
        archive.writestr(link, "/etc/passwd")


def with_a_line_feed_in_a_name(path: Path, method: int) -> None:
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("a\nb.txt", "one")


def with_an_unknown_method(path: Path, method: int) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("a.txt", "one" * 1000)


def cut_short(path: Path, method: int) -> None:
    with_data_descriptors(path, method)
    path.write_bytes(path.read_bytes()[:-1000])


def without_its_beginning(path: Path, method: int) -> None:
    with_data_descriptors(path, method)
    path.write_bytes(path.read_bytes()[1000:])


@pytest.mark.parametrize(
    "make",
    [
        with_the_same_name_twice,
        with_a_file_for_a_folder,
        with_a_symbolic_link,
        with_a_line_feed_in_a_name,
        with_an_unknown_method,
        cut_short,
        without_its_beginning,
    ],
)
async def test_an_archive_that_cannot_be_trusted_is_refused_whole(make: Make, tmp_path: Path) -> None:
    make(tmp_path / "a.zip", zipfile.ZIP_STORED)
    async with Origin(tmp_path) as origin:
        with pytest.raises(IntegrityError) as caught:
            await fetch(f"{origin.url}/a.zip", tmp_path / "target", extract=True, limits=LIMITS)
    assert "a.zip" in str(caught.value)
    assert tree_of(tmp_path / "target") == {}
