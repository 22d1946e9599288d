"""The core against zipfile: the same names and bytes, or a refusal that is on the list."""

from __future__ import annotations

import ensurepip
import io
import random
import re
import shutil
import struct
import subprocess
import sysconfig
import tempfile
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fdf256_fast import IntegrityError, fetch
from fdf256_fast.origin import Origin
from tests.archives.differences import DIFFERENCES
from tests.archives.maker import DEFLATED, DESCRIPTOR, ZSTD, Member, archive, zstd_frame
from tests.archives.unpacking import (
    ZIPFILE_REFUSALS,
    Contents,
    by_core,
    by_zipfile,
    core_or_refusal,
    on_disk,
    zipfile_or_none,
)
from tests.integration.oracles import bytes_of

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "archives.md"


def same(data: bytes) -> Contents:
    """What both of them make of it."""
    with tempfile.TemporaryDirectory() as folder:
        found = by_core(data, Path(folder) / "a")
    assert found == by_zipfile(data)
    return found


# ---- the list --------------------------------------------------------------------------------------


def test_every_difference_is_on_the_list_and_has_an_example() -> None:
    listed = re.findall(r"^\| `([a-z0-9-]+)` \|", DOCUMENT.read_text("utf-8"), re.MULTILINE)
    assert listed == list(DIFFERENCES)


@pytest.mark.parametrize("difference", DIFFERENCES)
def test_each_difference_is_one(difference: str, tmp_path: Path) -> None:
    data, zipfile_reads, core_reads = DIFFERENCES[difference]
    found = core_or_refusal(data, tmp_path / "a")
    assert isinstance(found, IntegrityError) is not core_reads
    if zipfile_reads is None or difference == "limits":
        return
    with warnings.catch_warnings(action="ignore"), zipfile.ZipFile(io.BytesIO(data)) as opened:
        try:
            for info in opened.infolist():
                if not info.is_dir():
                    opened.read(info)
        except ZIPFILE_REFUSALS:
            assert not zipfile_reads
        else:
            assert zipfile_reads


# ---- archives of several makers --------------------------------------------------------------------

FOLDERS = st.sampled_from(["", "folder/", "folder/below/", "été/"])
LEAVES = st.text("abcxyz019-_ éß日", min_size=1, max_size=6).filter(lambda name: not name.endswith(" "))
CONTENTS = st.one_of(
    st.binary(max_size=60),
    st.integers(0, 5000).map(bytes_of),
    st.integers(0, 3000).map(bytes),
)
TREES = st.dictionaries(st.tuples(FOLDERS, LEAVES.map(lambda leaf: leaf + ".x")), CONTENTS, max_size=6)


class Pipe(io.RawIOBase):
    """Cannot seek, so zipfile writes data descriptors."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.written += bytes(data)
        return len(data)


@settings(max_examples=60)
@given(
    tree=TREES,
    method=st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]),
    piped=st.booleans(),
    wide=st.booleans(),
    comment=st.binary(max_size=30).filter(lambda comment: b"PK" not in comment),
    prefix=st.binary(max_size=30),
)
def test_what_zipfile_writes(
    tree: dict[tuple[str, str], bytes], method: int, piped: bool, wide: bool, comment: bytes, prefix: bytes
) -> None:
    pipe, buffer = Pipe(), io.BytesIO()
    with zipfile.ZipFile(pipe if piped else buffer, "w", method) as opened:
        opened.comment = comment
        for (folder, leaf), contents in tree.items():
            with opened.open(folder + leaf, "w", force_zip64=wide) as member:
                member.write(contents)
    data = pipe.written if piped else buffer.getvalue()
    assert same(prefix + data) == {folder + leaf: contents for (folder, leaf), contents in tree.items()}


@settings(max_examples=60)
@given(
    tree=TREES,
    method=st.sampled_from([0, DEFLATED]),
    descriptor=st.sampled_from([None, (True, False), (False, False), (True, True), (False, True)]),
    padding=st.sampled_from([b"", b"\0\0\0", struct.pack("<HH", 0xD935, 4) + b"\4\0\0\0"]),
    gap=st.binary(max_size=40).filter(lambda gap: not gap.startswith(b"PK")),
    wide=st.booleans(),
)
def test_what_other_makers_may_write(
    tree: dict[tuple[str, str], bytes],
    method: int,
    descriptor: tuple[bool, bool] | None,
    padding: bytes,
    gap: bytes,
    wide: bool,
) -> None:
    members = []
    for (folder, leaf), contents in tree.items():
        member = Member(folder + leaf, contents, method, local={"extra": padding})
        if descriptor is not None:
            member.flags = DESCRIPTOR
            member.trailer = member.descriptor(signed=descriptor[0], wide=descriptor[1])
            member.local = {"extra": padding, "crc32": 0, "unpacked_bytes": 0, "compressed_bytes": 0}
        member.trailer += gap
        members.append(member)
    data = archive(members, before_directory=gap, end64={} if wide else None)
    assert same(data) == {folder + leaf: contents for (folder, leaf), contents in tree.items()}


def test_zstd_members_of_one_frame_and_of_several(tmp_path: Path) -> None:
    one, two = bytes_of(3000), bytes_of(300_000, 3)
    skippable = struct.pack("<II", 0x184D2A50, 3) + b"abc"
    data = archive(
        [
            Member("one", one, ZSTD),
            Member("old number", one, 20, packed=zstd_frame(one)),
            Member("two frames", one + two, ZSTD, packed=zstd_frame(one) + zstd_frame(two)),
            Member("skipped", one, ZSTD, packed=skippable + zstd_frame(one) + skippable),
            Member("empty", b"", ZSTD),
            Member("large", two * 8, ZSTD),
            Member("large frames", two * 8, ZSTD, packed=zstd_frame(two) * 8),
        ]
    )
    found = by_core(data, tmp_path / "a")
    assert found == {
        "one": one,
        "old number": one,
        "two frames": one + two,
        "skipped": one,
        "empty": b"",
        "large": two * 8,
        "large frames": two * 8,
    }


MAKERS = {
    "zip": ["zip", "-q", "-r", "{out}", "."],
    "zip to a pipe": ["sh", "-c", "zip -q -r - . | cat > {out}"],
    "zip -0": ["zip", "-q", "-0", "-r", "{out}", "."],
    "bsdtar": ["bsdtar", "--format", "zip", "-cf", "{out}", "."],
    "7z": ["7z", "a", "-bso0", "-tzip", "{out}", "."],
}


@pytest.mark.parametrize("maker", [maker for maker, words in MAKERS.items() if shutil.which(words[0])])
def test_what_other_programs_write(maker: str, tmp_path: Path) -> None:
    if maker.startswith("zip") and not shutil.which("zip"):
        pytest.skip("Info-ZIP is not installed")
    tree = tmp_path / "tree"
    (tree / "folder" / "empty").mkdir(parents=True)
    for name, size in {"a.txt": 0, "folder/b.bin": 70_000, "folder/été.x": 300, "c d.e": 5}.items():
        (tree / name).write_bytes(bytes_of(size))
    out = tmp_path / "out.zip"
    subprocess.run([word.format(out=out) for word in MAKERS[maker]], cwd=tree, check=True, timeout=60)
    data = out.read_bytes()
    found = by_core(data, tmp_path / "unpacked")
    assert found == on_disk(tree)
    if maker != "bsdtar":  # which stores "./" itself, and "./a.txt"
        flagged = {
            name.encode("cp437").decode() if name not in found else name: contents
            for name, contents in by_zipfile(data).items()
        }
        assert found == flagged


def test_a_name_of_unix_is_utf_8_where_it_can_be(tmp_path: Path) -> None:
    def read(name: str, made_by: int, flags: int = 0) -> set[str]:
        data = archive([Member(name.encode("utf-8" if name != "caf\u00e9" else "cp437"), made_by=made_by)])
        return {*by_core(data, tmp_path / f"{name}{made_by}")}

    for made_by in (3, 19):
        assert read("\u00e9t\u00e9", made_by) == {"\u00e9t\u00e9"}
        assert read("caf\u00e9", made_by) == {"caf\u00e9"}
    # Of MS-DOS and Windows it is code page 437, as zipfile reads it.
    assert read("\u00e9t\u00e9", 0) == {"\u00e9t\u00e9".encode().decode("cp437")}


def test_the_unicode_path_of_a_unix_name_is_that_name(tmp_path: Path) -> None:
    raw = "\u00e9".encode()
    field = struct.pack("<BI", 1, zlib.crc32(raw)) + raw
    data = archive([Member(raw, b"1", extra=struct.pack("<HH", 0x7075, len(field)) + field)])
    assert by_core(data, tmp_path / "a") == {"\u00e9": b"1"}
    written = b"./" + raw
    field = struct.pack("<BI", 1, zlib.crc32(written)) + written
    data = archive([Member(written, b"1", extra=struct.pack("<HH", 0x7075, len(field)) + field)])
    assert by_core(data, tmp_path / "b") == {"\u00e9": b"1"}


def test_names_from_this_folder_are_unpacked_into_it(tmp_path: Path) -> None:
    data = archive([Member("./"), Member("./a", b"1"), Member("././b/"), Member("./b/c", b"2")])
    assert by_core(data, tmp_path / "a") == {"a": b"1", "b/c": b"2"}
    with zipfile.ZipFile(io.BytesIO(data)) as opened:
        opened.extractall(tmp_path / "zipfile")
    assert on_disk(tmp_path / "zipfile") == on_disk(tmp_path / "a" / "staging")


def test_a_folder_may_be_marked_as_deflated_with_or_without_data(tmp_path: Path) -> None:
    data = archive([Member("a/", method=DEFLATED, packed=b""), Member("b/", method=DEFLATED)])
    assert same(data) == {"a/": b"", "b/": b""}


@pytest.mark.parametrize("zeros", [1, 3, 10_239, 65_000])
async def test_zeros_behind_the_end_are_passed_over_on_every_way(zeros: int, tmp_path: Path) -> None:
    members = {f"folder/{number}.bin": bytes_of(number * 10) for number in range(900)}
    data = archive([Member(name, contents) for name, contents in members.items()], comment=b"hello")
    data += bytes(zeros)
    assert same(data) == members
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "a.zip").write_bytes(data)
    async with Origin(tmp_path / "served") as origin:
        await fetch(f"{origin.url}/a.zip", tmp_path / "target", extract=True)
    found = {name: read for name, read in on_disk(tmp_path / "target").items() if ".fdf256" not in name}
    assert found == members


# ---- archives that nobody here made ----------------------------------------------------------------


def foreign_archives() -> list[Path]:
    """What comes with Python and its packages."""
    library = Path(ensurepip.__file__).parent
    places = [library, library.parent / "test", Path(sysconfig.get_path("purelib"))]
    found = [
        path for place in places for end in ("whl", "zip", "jar", "egg") for path in place.rglob(f"*.{end}")
    ]
    return sorted(path for path in found if path.is_file() and path.stat().st_size < 20_000_000)


@pytest.mark.parametrize("path", foreign_archives(), ids=lambda path: path.name)
def test_archives_of_others(path: Path, tmp_path: Path) -> None:
    data = path.read_bytes()
    found = core_or_refusal(data, tmp_path / "a")
    if path.suffix == ".whl":
        assert not isinstance(found, IntegrityError), found
    if not isinstance(found, IntegrityError):
        assert found == by_zipfile(data)


def test_there_is_an_archive_of_others() -> None:
    wheels = [path for path in foreign_archives() if path.suffix == ".whl"]
    assert wheels or not (Path(ensurepip.__file__).parent / "_bundled").exists()


# ---- damage ----------------------------------------------------------------------------------------


def small() -> bytes:
    zeros = {"crc32": 0, "unpacked_bytes": 0, "compressed_bytes": 0}
    told = Member("d", b"dddddddddd", DEFLATED, DESCRIPTOR, local=zeros)
    told.trailer = told.descriptor()
    return archive([Member("f/s", b"stored"), told, Member("e/"), Member("é", b"1")], comment=b"!", end64={})


SMALL = small()
CHANGES = ["flip", "insert", "delete", "truncate"]


def changed(data: bytes, at: int, change: str, value: int) -> bytes:
    if change == "flip":
        return data[:at] + bytes([data[at] ^ (1 << value % 8)]) + data[at + 1 :]
    if change == "insert":
        return data[:at] + bytes([value]) + data[at:]
    if change == "delete":
        return data[:at] + data[at + 1 :]
    return data[:at]


@pytest.mark.parametrize("change", CHANGES)
def test_one_change_at_every_byte_never_gives_other_files(change: str, tmp_path: Path) -> None:
    original = by_core(SMALL, tmp_path / "original")
    assert original == by_zipfile(SMALL)
    values = random.Random(256)
    for at in range(len(SMALL)):
        data = changed(SMALL, at, change, values.randrange(256))
        found = core_or_refusal(data, tmp_path / str(at))
        if isinstance(found, IntegrityError) or found == original:
            continue
        assert found == zipfile_or_none(data), f"{change} at {at}"


async def test_damaged_archives_through_the_whole_run(tmp_path: Path) -> None:
    original = by_core(SMALL, tmp_path / "original")
    values = random.Random(257)
    refused = 0
    for number in range(40):
        data = SMALL
        for _ in range(values.choice([1, 1, 2, 3])):
            change = values.choice(CHANGES)
            data = changed(data, values.randrange(max(1, len(data) - 1)), change, values.randrange(256))
        place = tmp_path / f"run{number}"
        place.mkdir()
        (place / "a.zip").write_bytes(data)
        target = place / "in" / "target"
        try:
            await fetch((place / "a.zip").as_uri(), target, extract=True)
        except IntegrityError:
            refused += 1
            assert [path for path in target.rglob("*") if ".fdf256" not in path.parts] == []
        else:
            found = {name: read for name, read in on_disk(target).items() if ".fdf256" not in name}
            assert found in (original, zipfile_or_none(data))
        assert {path.name for path in place.iterdir()} == {"a.zip", "in"}
        assert {path.name for path in (place / "in").iterdir()} == {"target"}
    assert refused > 20
