"""Archives that must be refused: a name, the bytes, and a part of the reason."""

from __future__ import annotations

import struct
import zlib
from typing import NamedTuple

from tests.archives.maker import (
    DEFLATED,
    DESCRIPTOR,
    UTF8,
    ZSTD,
    Member,
    archive,
    central_record,
    deflated,
    end_record,
    local_header,
    quoted_overlap,
    zstd_frame,
    zstd_zeros,
)
from tests.integration.oracles import bytes_of

DATA = bytes_of(700)
LARGE = bytes_of(2 << 20)
"""More than is inflated in one call."""


class Hostile(NamedTuple):
    """``reason`` is part of the message; ``member`` says whether a member is named."""

    name: str
    archive: bytes
    reason: str
    member: bool = True


def named(name: str | bytes, reason: str, *others: str, flags: int = 0) -> Hostile:
    """An archive with this name in it, after some harmless ones."""
    members = [Member("harmless", DATA), *(Member(other, b"x") for other in others)]
    text = ascii(name)
    contents = b"" if text.endswith("/'") else b"y"
    return Hostile(f"name {text}", archive([*members, Member(name, contents, flags=flags)]), reason)


NAMES = [
    named("../up", "'..'"),
    named("a/../../up", "'..'"),
    named("a/..", "'..'"),
    named("a/./b", "'.'"),
    named("./../a", "'..'"),
    named(".//a", "absolute"),
    named("./harmless", "occurs twice"),
    named("/absolute", "absolute"),
    named("//host/share", "absolute"),
    named("C:/windows", "drive"),
    named("c:relative", "drive"),
    named("a\\b", "backslash"),
    named("..\\up", "backslash"),
    named("a//b", "empty component"),
    named("", "empty"),
    named("a\0.txt", "NUL"),
    named("a\x1b[31m", "control"),
    named("a\u0085b", "control"),
    named(b"\xff\xfe", "not", flags=UTF8),
    named("x" * 256, "255 bytes"),
    named("x/" * 1600 + "x", "longer than"),
    named("x/" * 300 + "x", "deep"),
    named(".fdf256/journal", ".fdf256"),
    named(".FDF256/journal", ".fdf256"),
    named(".fdf\u200c256/journal", ".fdf256"),
    named("harmless", "occurs twice"),
    named("harmless/", "occurs twice"),
    named("harmless/below", "needs a directory"),
    named("folder", "needs a directory", "folder/file"),
    named("d/e", "needs a directory", "d/e/f/g"),
]

ANY_NAMES = [
    named("HARMLESS", "differ only in case"),
    named("stra\u00dfe", "differ only in case", "STRASSE"),
    named("\u00e9", "differ only in case", "e\u0301"),
    named("\u212b", "differ only in case", "\u00c5"),
    named("a\u200db", "differ only in case", "ab"),
    named("Folder/b", "differ only in case", "folder/a"),
    named("Folder/", "differ only in case", "folder/a"),
    named("Harmless/below", "needs a directory"),
    named("CON", "reserved"),
    named("a/nul.txt", "reserved"),
    named("COM\u00b9", "reserved"),
    named("conin$", "reserved"),
    named("a.", "Windows drops"),
    named("a /b", "Windows drops"),
    named("what?", "Windows cannot hold"),
    named("ab:stream", "Windows cannot hold"),
    named("photo\u202egnp.exe", "looks like"),
    named("a\u200bb", "looks like"),
    named("\ufeffa", "looks like"),
]
"""Names that ``--any-names`` lets through (beside the archives in them that some system cannot hold)."""


def lying(name: str, reason: str, **fields: object) -> Hostile:
    """One member of which these fields are not so."""
    return Hostile(name, archive([Member("first", DATA), Member("liar", DATA, **fields)]), reason)  # type: ignore[arg-type]


def descriptor(name: str, trailer: bytes, reason: str = "data descriptor") -> Hostile:
    zeros = {"crc32": 0, "unpacked_bytes": 0, "compressed_bytes": 0}
    return lying(name, reason, flags=DESCRIPTOR, local=zeros, trailer=trailer)


HONEST = Member("liar", DATA)
UNICODE_PATH = struct.pack("<BI", 1, zlib.crc32(b"liar")) + b"other"

MEMBERS = [
    lying("encrypted", "encrypted", flags=1),
    lying("strongly encrypted", "encrypted", flags=1 << 6),
    lying("masked headers", "encrypted", flags=1 << 13),
    lying("patched data", "patch", flags=1 << 5),
    lying("encrypted in the local header only", "method", local={"flags": 1}),
    *(
        lying(f"method {number}", f"method {number} is not", method=number)
        for number in (1, 6, 9, 12, 14, 95, 99)
    ),
    lying("version 9.9", "newer version", version=99),
    lying("symbolic link", "symbolic link", attributes=0o120777 << 16),
    lying("symbolic link by a system that has none", "symbolic link", attributes=0o120777 << 16, made_by=0),
    lying("device", "device", attributes=0o060644 << 16),
    lying("pipe", "device", attributes=0o010644 << 16),
    lying("socket", "device", attributes=0o140644 << 16),
    lying("a directory without a slash", "marked as a directory", attributes=0o040755 << 16),
    lying("a DOS directory without a slash", "marked as a directory", attributes=1 << 4, made_by=0),
    lying("a link in the PKWARE field", "link or a device", extra=struct.pack("<HH", 0x0D, 16) + b"x" * 16),
    lying(
        "a link in the ASi field",
        "link or a device",
        extra=struct.pack("<HHIHIHH", 0x756E, 14, 0, 0o120777, 0, 0, 0),
    ),
    lying("another Unicode name", "another name", extra=struct.pack("<HH", 0x7075, 10) + UNICODE_PATH),
    lying("an extra field that is cut off", "cut off", central={"extra": b"\x01\x00\xff\x00"}),
    lying("two zip64 fields", "two zip64", extra=b"\x01\x00\x00\x00" * 2),
    Hostile(
        "a directory with data",
        archive([Member("d/", b"data")]),
        "directory and has data",
    ),
    Hostile(
        "a directory whose deflate data is not empty",
        archive([Member("d/", b"", DEFLATED, packed=deflated(b"x"))]),
        "another size",
    ),
    # The local header against the directory.
    lying("another local name", "another name", local={"name": b"lair"}),
    lying("no local header", "no local header", offset=737, trailer=bytes(8)),
    lying("another local method", "another method", local={"method": 8}),
    lying("another local CRC-32", "size or CRC-32", local={"crc32": 1}),
    lying("another local size", "size or CRC-32", local={"unpacked_bytes": 1}),
    lying("another local packed size", "size or CRC-32", local={"compressed_bytes": 1}),
    lying("a local zip64 size without its field", "size or CRC-32", local={"unpacked_bytes": 0xFFFFFFFF}),
    lying(
        "a local zip64 size that lies",
        "size or CRC-32",
        local={"unpacked_bytes": 0xFFFFFFFF, "extra": struct.pack("<HHQ", 1, 8, 701)},
    ),
    Hostile(
        "a local name that is not UTF-8",
        archive([Member("\u00e9", b"1", local={"flags": 0})]),
        "another name",
    ),
    # What the data is, against both.
    lying("another CRC-32", "CRC-32 is", local={"crc32": 1}, central={"crc32": 1}),
    lying("stored with two sizes", "two different sizes", central={"unpacked_bytes": 7}),
    *(
        lying(
            f"method {method}, {name}",
            "",
            method=method,
            local={"unpacked_bytes": 700 + more},
            central={"unpacked_bytes": 700 + more},
        )
        for method in (DEFLATED, ZSTD)
        for name, more in (("longer than declared", -1), ("shorter than declared", 1))
    ),
    lying("deflate data that is none", "deflate data is damaged", method=DEFLATED, packed=b"\x07garbage"),
    lying("deflate data without an end", "", method=DEFLATED, packed=deflated(DATA)[:-3]),
    lying(
        "deflate data with bytes behind",
        "bytes behind the end",
        method=DEFLATED,
        packed=deflated(DATA) + b"more",
    ),
    lying(
        "deflate data with one zero behind",
        "bytes behind the end",
        method=DEFLATED,
        packed=deflated(DATA) + b"\0",
    ),
    Hostile(
        "large deflate data with bytes behind",
        archive([Member("large", LARGE, DEFLATED, packed=deflated(LARGE) + b"more")]),
        "bytes behind the end",
    ),
    lying("zstd data that is none", "zstd data is damaged", method=ZSTD, packed=b"garbage garbage"),
    lying("zstd data without an end", "", method=ZSTD, packed=zstd_frame(DATA)[:-3]),
    lying(
        "zstd data with bytes behind", "zstd data is damaged", method=ZSTD, packed=zstd_frame(DATA) + b"more"
    ),
    lying("a zstd frame with a window of 2 GiB", "zstd", method=ZSTD, packed=zstd_frame(DATA, window_log=31)),
    lying("no zstd data at all", "", method=ZSTD, packed=b""),
    # Data descriptors.
    descriptor("no descriptor", b""),
    descriptor("another CRC-32 in the descriptor", HONEST.descriptor(crc32=1)),
    descriptor("another size in the descriptor", HONEST.descriptor(unpacked_bytes=1)),
    descriptor(
        "another packed size in the bare descriptor", HONEST.descriptor(signed=False, compressed_bytes=1)
    ),
    descriptor("another size in the wide descriptor", HONEST.descriptor(wide=True, unpacked_bytes=1)),
    descriptor("a descriptor that is cut off", HONEST.descriptor()[:-1]),
    descriptor(
        "a member behind the descriptor",
        HONEST.descriptor() + local_header(HONEST.fields) + DATA,
        "does not have",
    ),
    lying(
        "a member that the directory does not have",
        "does not have",
        trailer=local_header(HONEST.fields) + DATA,
    ),
    # Overlap.
    Hostile("a quoted overlap bomb", quoted_overlap(b"a" * 5000, 20), "overlaps"),
    Hostile("two members with one header", archive([HONEST, Member("other", offset=0)]), "overlaps"),
    lying(
        "data into the directory",
        "overlaps",
        local={"compressed_bytes": 900},
        central={"compressed_bytes": 900, "unpacked_bytes": 900},
    ),
    lying(
        "a local extra field into the next member",
        "overlaps",
        local={"extra": b"\x99\x99\x04\x00long", "compressed_bytes": 700},
        central={"compressed_bytes": 700},
        packed=DATA[:-8],
    ),
]


def ended(name: str, data: bytes, reason: str) -> Hostile:
    return Hostile(name, data, reason, member=False)


ONE = [Member("one", DATA)]
PLAIN = archive(ONE)
EMPTY = end_record(0, 0, 0)

ENDS = [
    ended(
        "a zip64 size without its field",
        archive([Member("one", DATA, central={"unpacked_bytes": 0xFFFFFFFF})]),
        "damaged",
    ),
    ended("nothing", b"", "no end record"),
    ended("no zip", DATA, "no end record"),
    ended("bytes behind the end", PLAIN + b"\n", "bytes behind its end"),
    ended("bytes behind zeros behind the end", PLAIN + bytes(100) + b"\n", "bytes behind its end"),
    ended("64 KiB of zeros behind the end", PLAIN + bytes(1 << 16), "no end record"),
    ended(
        "an end record in the comment of one with zeros behind",
        archive(ONE, comment=b"hello " + EMPTY) + bytes(100),
        "two archives in one",
    ),
    ended("the last byte cut off", PLAIN[:-1], "no end record"),
    ended("its beginning cut off", PLAIN[100:], "behind itself"),
    ended("an end record in the comment", archive(ONE, comment=b"hello " + EMPTY), "two archives in one"),
    ended(
        "half an end record in the comment",
        archive(ONE, comment=EMPTY[:10] + b"!" * 30),
        "two archives in one",
    ),
    ended(
        "an archive that is another's comment",
        PLAIN[:-2] + struct.pack("<H", len(PLAIN)) + PLAIN,
        "two archives",
    ),
    ended(
        "more members counted than there are",
        archive(ONE, end={"here": 2, "members": 2}),
        "more members than",
    ),
    ended(
        "fewer members counted than there are",
        archive([*ONE, Member("two")], end={"here": 1, "members": 1}),
        "behind its last record",
    ),
    ended("no members counted", archive(ONE, end={"here": 0, "members": 0}), "behind its last record"),
    ended("a directory too small", archive(ONE, end={"bytes": 48}), "damaged"),
    ended(
        "a directory larger than the archive", archive(ONE, end={"bytes": 1 << 20}), "larger than the archive"
    ),
    ended("a directory behind the end", archive(ONE, end={"start": 1 << 20}), "behind itself"),
    ended("a second volume", archive(ONE, end={"disk": 1}), "volume"),
    ended("a directory on another volume", archive(ONE, end={"directory_disk": 1}), "volume"),
    ended("members on other volumes", archive(ONE, end={"here": 0}), "volume"),
    ended("zip64: a second volume", archive(ONE, end64={"disk": 1}), "volume"),
    ended("zip64: two volumes", archive(ONE, end64={"disks": 2}), "volume"),
    ended("zip64: a narrow record of a second volume", archive(ONE, end={"disk": 1}, end64={}), "volume"),
    ended("zip64: other members", archive(ONE, end64={"here": 2, "members": 2}), "contradict"),
    ended("zip64: another start", archive(ONE, end64={"start": 1}), "contradict"),
    ended("zip64: another size", archive(ONE, end64={"bytes": 1}), "contradict"),
    ended(
        "zip64: a locator that points elsewhere",
        archive(ONE, end64={"locator": 5}),
        "locator points elsewhere",
    ),
    ended("zip64: a record of another version", archive(ONE, end64={"size": 60}), "not supported"),
    ended(
        "zip64: only a locator",
        PLAIN[:-22] + struct.pack("<IIQI", 0x07064B50, 0, 0, 1) + PLAIN[-22:],
        "zip64 end record",
    ),
    ended("4 million members in 22 bytes", end_record(0xFFFE, 0, 0), "more members than"),
]


def bomb() -> bytes:
    """2.1 GB of zeros in 64 kB."""
    blocks = 16_000
    member = Member("zeros", b"", ZSTD, packed=zstd_zeros(blocks))
    told = member.fields._replace(unpacked_bytes=blocks << 17)
    return (
        local_header(told)
        + member.contents
        + central_record(member, told, 0)
        + end_record(1, len(central_record(member, told, 0)), len(local_header(told)) + len(member.contents))
    )


BOMB = ended("a ratio bomb", bomb(), "--max-ratio")
HOSTILE = [*NAMES, *ANY_NAMES, *MEMBERS, *ENDS, BOMB]
assert len({one.name for one in HOSTILE}) == len(HOSTILE)
