"""Hostile and damaged archives: status 3, the member's name, and nothing left anywhere."""

from __future__ import annotations

import contextlib
import random
import subprocess
import tarfile
from typing import TYPE_CHECKING

import pytest

import fdf256_fast as fdf
from fdf256_fast.errors import Error, IntegrityError, MemberError
from tests.extract.archives import COMPRESSORS, files_in, has_program, member, tar_of, tar_with, unpack
from tests.integration.oracles import bytes_of, write_zip

if TYPE_CHECKING:
    from pathlib import Path

GOOD = member("good.bin", size=1000)
KINDS = [kind for kind in COMPRESSORS if kind != "tar.zst" or has_program("zstd")]


def refused(data: bytes, tmp_path: Path, reason: str, name: str | None = None) -> None:
    """The archive is refused, and the folder around it is as it was."""
    box = tmp_path / "box"
    box.mkdir()
    (box / "a.tar").write_bytes(data)
    with pytest.raises(IntegrityError, match=reason) as caught:
        fdf.extract(box / "a.tar", box / "out")
    assert caught.value.exit_status == 3
    if name is not None:
        assert isinstance(caught.value, MemberError)
        assert caught.value.member == name
    assert [path.name for path in tmp_path.rglob("*")] == ["box", "a.tar"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("../escape", r"'\.\.'"),
        ("a/../../escape", r"'\.\.'"),
        ("a/..", r"'\.\.'"),
        ("/etc/passwd", "absolute"),
        ("a\\..\\b", "backslash"),
        ("C:/windows", "drive letter"),
        ("a\nb", "control character"),
        ("NUL", "reserved"),
        (".fdf256/journal", "belongs to this program"),
        ("a//b", "empty component"),
        ("x" * 256, "255 bytes"),
        ("y/" * 2000 + "z", "3072 bytes"),
        ("z" * 70_000, "claims"),
    ],
)
@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_a_name_that_leads_astray_is_refused(name: str, reason: str, form: int, tmp_path: Path) -> None:
    if form == tarfile.PAX_FORMAT and reason == "claims":
        reason = "3072 bytes"
    refused(tar_with(GOOD, member(name, size=3), form=form), tmp_path, reason)


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (member("l", tarfile.SYMTYPE, link="/etc"), "symbolic link"),
        (member("l", tarfile.SYMTYPE, link="good.bin"), "symbolic link"),
        (member("l", tarfile.SYMTYPE, link="k" * 300), "symbolic link"),
        (member("l", tarfile.LNKTYPE, link="../../etc/passwd"), "hard link"),
        (member("l", tarfile.LNKTYPE, link="good.bin"), "hard link"),
        (member("l", tarfile.CHRTYPE), "device"),
        (member("l", tarfile.BLKTYPE), "device"),
        (member("l", tarfile.FIFOTYPE), "pipe"),
        (member("l", tarfile.GNUTYPE_SPARSE), "sparse"),
        (member("l", b"V"), "volume label"),
        (member("l", b"?"), "not known"),
    ],
)
def test_what_is_neither_file_nor_folder_is_refused(
    bad: tarfile.TarInfo, reason: str, tmp_path: Path
) -> None:
    refused(tar_with(GOOD, bad), tmp_path, reason, "l")


def test_a_link_that_a_later_member_would_go_through_is_refused(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    data = tar_with(member("d", tarfile.SYMTYPE, link=str(outside)), member("d/file", size=5))
    refused(data, tmp_path, "symbolic link", "d")


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (["a", "a"], "twice"),
        (["a", "./a"], "twice"),
        (["a", "A"], "only in case"),
        (["\u00e9", "e\u0301"], "Unicode"),
        (["D/a", "d/b"], "only in case"),
        (["a", "a/b"], "file of the same name"),
        (["a/b", "a"], "need a folder"),
    ],
)
def test_names_in_each_others_way_are_refused(names: list[str], reason: str, tmp_path: Path) -> None:
    data = tar_with(*(member(name, size=1) for name in names), form=tarfile.PAX_FORMAT)
    refused(data, tmp_path, reason, names[1].removeprefix("./"))


def test_names_that_differ_in_case_pass_when_asked_for(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(tar_of({"a": b"1", "A": b"2"}))
    fdf.extract(tmp_path / "a.tar", tmp_path / "out", limits=fdf.Limits(portable_names=False))
    assert files_in(tmp_path / "out") == {"a": b"1", "A": b"2"}


@pytest.mark.parametrize(
    ("records", "reason"),
    [
        ({"size": "999"}, "contradicts"),
        ({"size": "-1"}, "not a size"),
        ({"size": "1" * 30}, "not a size"),
        ({"size": str(2**63)}, "larger than any file"),
        ({"size": str(2**62)}, "times the archive's size"),
        ({"path": "../b"}, r"'\.\.'"),
        ({"GNU.sparse.major": "1", "GNU.sparse.minor": "0"}, "sparse"),
    ],
)
def test_pax_records_that_trick_are_refused(records: dict[str, str], reason: str, tmp_path: Path) -> None:
    refused(tar_with(member("a", size=5, pax=records), form=tarfile.PAX_FORMAT), tmp_path, reason)


def test_a_sparse_file_of_gnu_tar_is_refused_by_name(tmp_path: Path) -> None:
    holes = tmp_path / "holes"
    with holes.open("wb") as file:
        file.write(b"start")
        file.truncate(10_000_000)
    box = tmp_path / "in"
    box.mkdir()
    for form in ("gnu", "posix"):
        archive = box / form
        command = ["tar", "-S", f"--format={form}", "-cf", str(archive), "-C", str(tmp_path), "holes"]
        subprocess.run(command, check=True, timeout=60)
        with pytest.raises(MemberError, match="sparse file") as caught:
            fdf.extract(archive, tmp_path / "out")
        assert "holes" in caught.value.member


def test_a_bomb_is_refused_at_its_limit_before_it_is_written(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(tar_of({f"{number}": bytes_of(1000) for number in range(20)}))
    with pytest.raises(IntegrityError, match="more than 5000 bytes"):
        fdf.extract(tmp_path / "a.tar", tmp_path / "out", limits=fdf.Limits(max_unpacked_bytes=5000))
    with pytest.raises(IntegrityError, match="7 members"):
        fdf.extract(tmp_path / "a.tar", tmp_path / "out", limits=fdf.Limits(max_members=7))
    zeros = member("zeros", size=(1 << 30) + 1)
    head = tar_with(GOOD)[:-10240] + zeros.tobuf()
    (tmp_path / "b.tar.gz").write_bytes(COMPRESSORS["tar.gz"](head))
    with pytest.raises(MemberError, match="250 times") as caught:
        fdf.extract(tmp_path / "b.tar.gz", tmp_path / "out")
    assert caught.value.member == "zeros"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", KINDS)
def test_an_archive_that_is_cut_off_anywhere_is_refused(kind: str, tmp_path: Path) -> None:
    members = {"a/1": bytes_of(700), "b": bytes_of(20)}
    whole = COMPRESSORS[kind](tar_of(members, tarfile.USTAR_FORMAT)[: 7 * 512])
    archive = tmp_path / "a"
    archive.write_bytes(whole)
    unpack(archive, tmp_path / "whole")
    assert files_in(tmp_path / "whole") == members
    # A plain tar's last block is padding, and every byte of one is tried in the core's own tests.
    lengths = range(0, 6 * 512, 37) if kind == "tar" else range(len(whole))
    for length in lengths:
        archive.write_bytes(whole[:length])
        with pytest.raises(IntegrityError):
            unpack(archive, tmp_path / "staging")


@pytest.mark.parametrize("kind", KINDS)
def test_something_behind_the_end_is_refused(kind: str, tmp_path: Path) -> None:
    whole = COMPRESSORS[kind](tar_of({"a": b"1"}))
    for more in (whole, b"junk" * 300):
        (tmp_path / "a").write_bytes(whole + more)
        with pytest.raises(IntegrityError, match="behind"):
            unpack(tmp_path / "a", tmp_path / "staging")


@pytest.mark.parametrize("seed", range(6))
def test_a_mutated_archive_is_refused_or_stays_inside(seed: int, tmp_path: Path) -> None:
    draw = random.Random(seed)
    members = {f"d{number % 3}/{number}": bytes_of(number * 50) for number in range(12)}
    form = draw.choice([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT])
    zipped = write_zip(tmp_path / "z", members).read_bytes()
    box = tmp_path / "box"
    box.mkdir()
    for turn in range(60):
        data = bytearray(zipped if turn % 4 == 0 else tar_of(members, form))
        for _ in range(draw.randrange(1, 6)):
            at = draw.randrange(len(data))
            data[at] = draw.choice([0, 0xFF, ord("."), ord("/"), draw.randrange(256)])
            block = at - at % 512
            if turn % 4 and draw.random() < 0.7 and data[block + 257 : block + 262] == b"ustar":
                data[block + 148 : block + 156] = b" " * 8
                total = sum(data[block : block + 512])
                data[block + 148 : block + 156] = b"%06o\0 " % total
        (tmp_path / "a").write_bytes(data)
        with contextlib.suppress(Error):
            unpack(tmp_path / "a", box / f"{turn}")
        assert {path.name for path in tmp_path.iterdir()} == {"z", "a", "box"}
    assert {path.name for path in box.iterdir()} <= {f"{turn}" for turn in range(60)}


def test_a_compressed_archive_with_a_flipped_bit_leaves_nothing(tmp_path: Path) -> None:
    data = bytearray(COMPRESSORS["tar.gz"](tar_of({f"{n}": bytes_of(3000, n) for n in range(50)})))
    data[-6] ^= 1  # in the checksum, which comes last
    refused(bytes(data), tmp_path, "damaged")


def test_a_zip_whose_last_member_is_damaged_leaves_nothing(tmp_path: Path) -> None:
    members = {f"{number}": bytes_of(5000, number) for number in range(40)}
    data = bytearray(write_zip(tmp_path / "z", members).read_bytes())
    (tmp_path / "z").unlink()
    data[data.rindex(bytes_of(5000, 39)) + 100] ^= 1
    refused(bytes(data), tmp_path, "CRC-32", "39")
