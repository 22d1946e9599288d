"""Whatever is accepted has the names and bytes that Python's tarfile and zipfile, and other programs, see."""

from __future__ import annotations

import io
import lzma
import random
import subprocess
import tarfile
import zipfile
from typing import TYPE_CHECKING

import pytest

import fdf256_fast as fdf
from fdf256_fast.errors import ArchiveError
from tests.extract.archives import COMPRESSORS, MEMBERS, by_program, by_tarfile, files_in, has_program, tar_of
from tests.integration.oracles import bytes_of, write_zip

if TYPE_CHECKING:
    from pathlib import Path

FORMS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """MEMBERS as files, for programs that make archives."""
    root = tmp_path / "tree"
    for name, data in MEMBERS.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return root


@pytest.mark.parametrize("kind", COMPRESSORS)
def test_every_kind_of_tar_is_unpacked_whatever_its_name(kind: str, tmp_path: Path) -> None:
    if kind == "tar.zst" and not has_program("zstd"):
        pytest.skip("zstd is not installed")
    archive = tmp_path / "no-suffix"
    archive.write_bytes(COMPRESSORS[kind](tar_of(MEMBERS)))
    report = fdf.extract(archive, tmp_path / "out")
    assert files_in(tmp_path / "out") == MEMBERS
    assert report.files == len(MEMBERS)
    assert report.verified == ("none" if kind == "tar" else "crc32")
    assert report.archives[0].bytes == archive.stat().st_size


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("seed", range(5))
def test_tars_of_each_format_are_what_tarfile_says(form: str, seed: int, tmp_path: Path) -> None:
    draw = random.Random(seed)
    members = {
        f"{draw.choice(['a', 'b/c', 'd' * 90])}/{number}{'x' * draw.randrange(90)}.bin": bytes_of(
            draw.choice([0, 1, 511, 512, 513, draw.randrange(100_000)]), number
        )
        for number in range(draw.randrange(1, 80))
    }
    data = tar_of(members, FORMS[form])
    (tmp_path / "a.tar").write_bytes(data)
    fdf.extract(tmp_path / "a.tar", tmp_path / "out")
    assert files_in(tmp_path / "out") == members == by_tarfile(data)


def test_a_tar_of_small_and_large_files_by_turns_is_unpacked(tmp_path: Path) -> None:
    # Small files wait for each other, and each holds a buffer that large ones lie between.
    members = {}
    for number in range(100):
        members[f"{number}.json"] = bytes_of(7_000, number)
        members[f"{number}.jpg"] = bytes(1_100_000)
    (tmp_path / "a.tar").write_bytes(tar_of(members))
    fdf.extract(tmp_path / "a.tar", tmp_path / "out")
    assert files_in(tmp_path / "out") == members


def test_an_old_tar_without_magic_is_unpacked(tmp_path: Path) -> None:
    data = bytearray(tar_of({"a/b": bytes_of(600)}, tarfile.USTAR_FORMAT))
    data[257:265] = bytes(8)
    data[148:156] = b" " * 8
    data[148:156] = b"%06o\0 " % sum(data[:512])
    (tmp_path / "a.tar").write_bytes(data)
    fdf.extract(tmp_path / "a.tar", tmp_path / "out")
    assert files_in(tmp_path / "out") == {"a/b": bytes_of(600)} == by_tarfile(bytes(data))


def test_a_member_without_a_type_is_what_its_whole_name_says(tmp_path: Path) -> None:
    # What of the name stands in the header ends in a slash.
    name = "x" * 99 + "/" + "y" * 30
    data = bytearray(tar_of({name: bytes_of(600)}, tarfile.GNU_FORMAT))
    header = 1024  # behind the long name and its own header
    assert data[header : header + 100] == b"x" * 99 + b"/"
    data[header + 156] = 0
    data[header + 148 : header + 156] = b" " * 8
    data[header + 148 : header + 156] = b"%06o\0 " % sum(data[header : header + 512])
    (tmp_path / "a.tar").write_bytes(data)
    fdf.extract(tmp_path / "a.tar", tmp_path / "out")
    for program in filter(has_program, ("tar", "bsdtar")):
        (tmp_path / program).mkdir()
        command = [program, "-xf", str(tmp_path / "a.tar"), "-C", str(tmp_path / program)]
        subprocess.run(command, check=True, timeout=60)
        assert files_in(tmp_path / "out") == {name: bytes_of(600)} == files_in(tmp_path / program)


@pytest.mark.parametrize("form", ["v7", "oldgnu", "gnu", "ustar", "posix"])
def test_what_gnu_tar_writes_is_unpacked(form: str, tree: Path, tmp_path: Path) -> None:
    if form in {"v7", "ustar"}:
        # Their names are short.
        for folder in (tree / "deep").iterdir():
            for file in folder.iterdir():
                file.unlink()
            folder.rmdir()
    wanted = files_in(tree)
    archive = tmp_path / "a.tar"
    subprocess.run(["tar", f"--format={form}", "-cf", archive, "-C", tree, "."], check=True, timeout=60)
    fdf.extract(archive, tmp_path / "out")
    assert files_in(tmp_path / "out") == wanted == by_tarfile(archive.read_bytes())


@pytest.mark.skipif(not has_program("bsdtar"), reason="bsdtar is not installed")
@pytest.mark.parametrize("form", ["gnutar", "pax", "ustar", "zip"])
def test_what_bsdtar_writes_is_unpacked(form: str, tree: Path, tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    names = sorted(path.name for path in tree.iterdir())
    command = ["bsdtar", "-c", "--format", form, "-f", str(archive), "-C", str(tree), *names]
    # bsdtar takes names in the locale's letters.
    environment = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}
    result = subprocess.run(command, check=False, capture_output=True, timeout=60, env=environment)
    if form == "ustar" and result.returncode != 0:
        return  # a name that is too long for it
    fdf.extract(archive, tmp_path / "out")
    assert files_in(tmp_path / "out") == MEMBERS


@pytest.mark.skipif(not has_program("bsdtar"), reason="bsdtar is not installed")
@pytest.mark.parametrize("options", ["-z", "-j", "-J", "--format=zip"])
def test_what_bsdtar_writes_to_a_pipe_is_unpacked(options: str, tree: Path, tmp_path: Path) -> None:
    environment = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}
    command = ["bsdtar", "-c", options, "-f", "-", "-C", str(tree), "."]
    data = subprocess.run(command, check=True, capture_output=True, timeout=60, env=environment).stdout
    assert len(data) % 10_240 == 0
    assert data.endswith(bytes(4))
    (tmp_path / "archive").write_bytes(data)
    report = fdf.extract(tmp_path / "archive", tmp_path / "out")
    assert files_in(tmp_path / "out") == MEMBERS
    assert report.verified == "crc32"


@pytest.mark.parametrize("kind", ["tar.gz", "tar.bz2"])
def test_zeros_behind_the_compressed_data_are_passed_over(kind: str, tmp_path: Path) -> None:
    whole = COMPRESSORS[kind](tar_of(MEMBERS)) + bytes(5000)
    (tmp_path / "a").write_bytes(whole)
    fdf.extract(tmp_path / "a", tmp_path / "out")
    assert files_in(tmp_path / "out") == MEMBERS
    for more in (b"\n", COMPRESSORS[kind](b"")):
        (tmp_path / "a").write_bytes(whole + more)
        with pytest.raises(ArchiveError, match="behind"):
            fdf.extract(tmp_path / "a", tmp_path / "none")


@pytest.mark.skipif(not has_program("zip"), reason="Info-ZIP is not installed")
def test_names_of_info_zip_are_those_of_the_files(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    members = {"été/é.txt": b"1", "日本/文.txt": b"22", "plain/a.txt": b"333"}
    for name, data in members.items():
        (tree / name).parent.mkdir(parents=True)
        (tree / name).write_bytes(data)
    archive = tmp_path / "a.zip"
    environment = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}
    subprocess.run(["zip", "-qr", archive, "."], cwd=tree, check=True, timeout=60, env=environment)
    fdf.extract(archive, tmp_path / "out")
    assert files_in(tmp_path / "out") == members


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_zip_is_what_zipfile_says(method: int, tmp_path: Path) -> None:
    members = {f"{folder}/{number}.bin": bytes_of(number * 97) for folder in "abc" for number in range(300)}
    members["large.bin"] = bytes_of(9_000_000)
    archive = write_zip(tmp_path / "a.zip", members, method)
    report = fdf.extract(archive, tmp_path / "out")
    assert files_in(tmp_path / "out") == members
    assert (report.verified, report.files, report.archives[0].members) == ("crc32", 901, 901)


def test_a_zip_behind_other_bytes_is_found(tmp_path: Path) -> None:
    plain = write_zip(tmp_path / "a.zip", MEMBERS).read_bytes()
    (tmp_path / "a.run").write_bytes(b"#!/bin/sh\n" + bytes_of(700) + plain)
    fdf.extract(tmp_path / "a.run", tmp_path / "out")
    assert files_in(tmp_path / "out") == MEMBERS


def test_folders_without_files_are_made(tmp_path: Path) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        info = tarfile.TarInfo("empty/inner")
        info.type = tarfile.DIRTYPE
        tar.addfile(info)
    (tmp_path / "a.tar").write_bytes(out.getvalue())
    fdf.extract(tmp_path / "a.tar", tmp_path / "out")
    assert (tmp_path / "out/empty/inner").is_dir()


@pytest.mark.parametrize("kind", ["tar.gz", "tar.xz", "tar.bz2"])
def test_streams_one_behind_the_other_are_one_archive(kind: str, tmp_path: Path) -> None:
    data = tar_of(MEMBERS)
    parts = [COMPRESSORS[kind](data[at : at + 9999]) for at in range(0, len(data), 9999)]
    (tmp_path / "a").write_bytes(b"".join(parts))
    fdf.extract(tmp_path / "a", tmp_path / "out")
    assert files_in(tmp_path / "out") == MEMBERS


@pytest.mark.skipif(not has_program("xz"), reason="xz is not installed")
def test_an_xz_of_many_blocks_is_unpacked(tmp_path: Path) -> None:
    members = {f"{number}": bytes_of(200_000, number) for number in range(20)}
    data = by_program(["xz", "-0", "--block-size=100KiB", "-T2"], tar_of(members))
    (tmp_path / "a.tar.xz").write_bytes(data)
    fdf.extract(tmp_path / "a.tar.xz", tmp_path / "out")
    assert files_in(tmp_path / "out") == members


@pytest.mark.parametrize(
    ("check", "verified"),
    [
        (lzma.CHECK_NONE, "none"),
        (lzma.CHECK_CRC32, "crc32"),
        (lzma.CHECK_CRC64, "crc32"),
        (lzma.CHECK_SHA256, "crc32"),
    ],
)
def test_an_xz_is_called_verified_if_it_has_checksums(check: int, verified: str, tmp_path: Path) -> None:
    (tmp_path / "a.tar.xz").write_bytes(lzma.compress(tar_of(MEMBERS), check=check))
    assert fdf.extract(tmp_path / "a.tar.xz", tmp_path / "out").verified == verified


@pytest.mark.skipif(not has_program("zstd"), reason="zstd is not installed")
def test_a_zstd_without_checksums_is_not_called_verified(tmp_path: Path) -> None:
    (tmp_path / "a.tar.zst").write_bytes(by_program(["zstd", "-q", "--no-check"], tar_of(MEMBERS)))
    assert fdf.extract(tmp_path / "a.tar.zst", tmp_path / "out").verified == "none"


@pytest.mark.skipif(not has_program("zstd"), reason="zstd is not installed")
def test_a_zstd_window_of_more_than_128_mib_is_refused(tmp_path: Path) -> None:
    data = by_program(["zstd", "-q", "-1", "--long=28"], tar_of(MEMBERS))
    (tmp_path / "a.tar.zst").write_bytes(data)
    with pytest.raises(ArchiveError, match="window of more than 128 MiB"):
        fdf.extract(tmp_path / "a.tar.zst", tmp_path / "out")


@pytest.mark.parametrize("kind", ["tar.gz", "tar.xz", "tar.bz2"])
def test_a_single_compressed_file_is_refused_with_advice(kind: str, tmp_path: Path) -> None:
    (tmp_path / "notes.txt.z").write_bytes(COMPRESSORS[kind](b"some notes\n" * 100))
    with pytest.raises(ArchiveError, match=r"no tar archive.*unpack it with \w+ -d"):
        fdf.extract(tmp_path / "notes.txt.z", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("content", [b"", b"hello", bytes_of(5000), b"Rar!\x1a\x07\0" + bytes_of(2000)])
def test_what_is_no_archive_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(ArchiveError, match=r"empty|neither a zip nor a tar"):
        fdf.extract(tmp_path / "a", tmp_path / "out")
    assert not (tmp_path / "out").exists()
