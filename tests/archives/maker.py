"""A writer of zips that says whatever it is told to, also what is not so."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

DEFLATED = 8
ZSTD = 93
UTF8 = 1 << 11
DESCRIPTOR = 1 << 3
UNIX = 3


def deflated(data: bytes) -> bytes:
    """As a zip member has it: no header, no checksum."""
    packer = zlib.compressobj(6, zlib.DEFLATED, -15)
    return packer.compress(data) + packer.flush()


def zstd_frame(data: bytes, *, window_log: int = 20) -> bytes:
    """A frame of blocks that are not compressed (RFC 8878), with a window of 2**window_log bytes."""
    blocks = [data[at : at + (1 << 17)] for at in range(0, len(data), 1 << 17)] or [b""]
    frame = struct.pack("<IBB", 0xFD2FB528, 0, (window_log - 10) << 3)
    for number, block in enumerate(blocks):
        last = number == len(blocks) - 1
        frame += (last | len(block) << 3).to_bytes(3, "little") + block
    return frame


def zstd_zeros(blocks: int) -> bytes:
    """A frame that says "128 KiB of zeros" so many times, in four bytes each."""
    frame = struct.pack("<IBB", 0xFD2FB528, 0, 10 << 3)
    for number in range(blocks):
        frame += (int(number == blocks - 1) | 1 << 1 | (1 << 17) << 3).to_bytes(3, "little") + b"\0"
    return frame


class Fields(NamedTuple):
    """What a local header, a record of the directory and a data descriptor all say."""

    name: bytes
    flags: int
    method: int
    crc32: int
    compressed_bytes: int
    unpacked_bytes: int
    extra: bytes = b""


@dataclass
class Member:
    """One member; ``local`` and ``central`` replace fields in one of the two places."""

    name: str | bytes
    data: bytes = b""
    method: int = 0
    flags: int = 0
    packed: bytes | None = None
    extra: bytes = b""
    trailer: bytes = b""
    attributes: int = 0
    made_by: int = UNIX
    version: int = 20
    offset: int | None = None
    local: Mapping[str, object] = field(default_factory=dict)
    central: Mapping[str, object] = field(default_factory=dict)

    @property
    def fields(self) -> Fields:
        """The truth."""
        name = self.name if isinstance(self.name, bytes) else self.name.encode()
        flags = self.flags | (0 if isinstance(self.name, bytes) or name.isascii() else UTF8)
        packed = self.contents
        return Fields(
            name, flags, self.method, zlib.crc32(self.data), len(packed), len(self.data), self.extra
        )

    @property
    def contents(self) -> bytes:
        """The data as it lies in the archive."""
        if self.packed is not None:
            return self.packed
        packers = {DEFLATED: deflated, ZSTD: zstd_frame}
        return packers.get(self.method, bytes)(self.data)

    def descriptor(self, *, signed: bool = True, wide: bool = False, **lies: int) -> bytes:
        """The data descriptor that belongs behind it."""
        told = self.fields._replace(**lies)  # type: ignore[arg-type]
        sizes = struct.pack("<QQ" if wide else "<II", told.compressed_bytes, told.unpacked_bytes)
        return (b"PK\x07\x08" if signed else b"") + struct.pack("<I", told.crc32) + sizes


def local_header(told: Fields) -> bytes:
    """One local header."""
    fixed = (told.crc32, told.compressed_bytes, told.unpacked_bytes, len(told.name), len(told.extra))
    head = struct.pack("<IHHHHHIIIHH", 0x04034B50, 20, told.flags, told.method, 0, 0x21, *fixed)
    return head + told.name + told.extra


def central_record(member: Member, told: Fields, offset: int) -> bytes:
    """One record of the central directory."""
    head = struct.pack("<IBBBB", 0x02014B50, 30, member.made_by, member.version, 0)
    head += struct.pack("<HHHH", told.flags, told.method, 0, 0x21)
    head += struct.pack("<III", told.crc32, told.compressed_bytes, told.unpacked_bytes)
    head += struct.pack("<HHHHHII", len(told.name), len(told.extra), 0, 0, 0, member.attributes, offset)
    return head + told.name + told.extra


def end_record(members: int, directory_bytes: int, start: int, comment: bytes = b"", /, **lies: int) -> bytes:
    """The record at the end."""
    told = {
        "disk": 0,
        "directory_disk": 0,
        "here": members,
        "members": members,
        "bytes": directory_bytes,
        "start": start,
        "comment": len(comment),
    } | lies
    return struct.pack("<IHHHHIIH", 0x06054B50, *told.values()) + comment


def end64_records(members: int, directory_bytes: int, start: int, /, **lies: int) -> bytes:
    """The zip64 end record and its locator, which come before the end record."""
    at = start + directory_bytes
    told = {
        "size": 44,
        "disk": 0,
        "directory_disk": 0,
        "here": members,
        "members": members,
        "bytes": directory_bytes,
        "start": start,
        "locator_disk": 0,
        "locator": at,
        "disks": 1,
    } | lies
    values = list(told.values())
    record = struct.pack("<IQHHIIQQQQ", 0x06064B50, values[0], 45, 45, *values[1:7])
    return record + struct.pack("<IIQI", 0x07064B50, *values[7:])


def archive(
    members: Sequence[Member],
    *,
    prefix: bytes = b"",
    before_directory: bytes = b"",
    comment: bytes = b"",
    end: Mapping[str, int] | None = None,
    end64: Mapping[str, int] | None = None,
) -> bytes:
    """The whole archive; ``end64`` (empty for an honest one) adds the zip64 end records."""
    out, directory = b"", b""
    for member in members:
        offset = len(out) if member.offset is None else member.offset
        truth = member.fields
        out += local_header(truth._replace(**member.local)) + member.contents + member.trailer  # type: ignore[arg-type]
        directory += central_record(member, truth._replace(**member.central), offset)  # type: ignore[arg-type]
    out += before_directory
    told = (len(members), len(directory), len(out))
    wide = b"" if end64 is None else end64_records(*told, **end64)
    return prefix + out + directory + wide + end_record(*told, comment, **(end or {}))


def quoted_overlap(data: bytes, files: int) -> bytes:
    """A bomb as in David Fifield's "A better zip bomb" (2019): each file's deflate stream quotes the next
    file's local header in a stored block, and goes on with that file's own stream.
    """
    kernel = deflated(data)
    streams = [(kernel, data)]
    names = [f"{number:03}".encode() for number in reversed(range(files))]
    fields = [Fields(names[0], 0, DEFLATED, zlib.crc32(data), len(kernel), len(data))]
    for name in names[1:]:
        packed, unpacked = streams[-1]
        quoted = local_header(fields[-1])
        block = struct.pack("<BHH", 0, len(quoted), len(quoted) ^ 0xFFFF)
        streams.append((block + quoted + packed, quoted + unpacked))
        packed, unpacked = streams[-1]
        fields.append(Fields(name, 0, DEFLATED, zlib.crc32(unpacked), len(packed), len(unpacked)))
    out = local_header(fields[-1]) + streams[-1][0]
    directory = b""
    offset = 0
    for told in reversed(fields):
        directory += central_record(Member(told.name), told, offset)
        # The header, and the block header that quotes the next one.
        offset += len(local_header(told)) + 5
    return out + directory + end_record(files, len(directory), len(out))
