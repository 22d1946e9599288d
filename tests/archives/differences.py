"""An example of each difference to zipfile that docs/archives.md lists, by its id there."""

from __future__ import annotations

import io
import warnings
import zipfile
from typing import NamedTuple

from tests.archives import hostile
from tests.archives.maker import DEFLATED, ZSTD, Member, archive, deflated
from tests.integration.oracles import bytes_of

DATA = bytes_of(700)


class Difference(NamedTuple):
    """``read_by`` says who takes it: some versions of zipfile differ among themselves."""

    archive: bytes
    zipfile_reads: bool | None
    core_reads: bool = False


def of_hostile(name: str) -> bytes:
    return next(one.archive for one in hostile.HOSTILE if one.name == name)


def bzip2() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_BZIP2) as opened:
        opened.writestr("a", DATA)
    return buffer.getvalue()


def duplicates() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as opened, warnings.catch_warnings(action="ignore"):
        opened.writestr("a", "1")
        opened.writestr("a", "2")
    return buffer.getvalue()


def without_an_end() -> bytes:
    """A last block that is not marked as the last one: all of the data, and no end."""
    whole = deflated(b"")
    assert whole == b"\x03\x00"
    block = bytes([0]) + (700).to_bytes(2, "little") + (700 ^ 0xFFFF).to_bytes(2, "little") + DATA
    return archive([Member("a", DATA, DEFLATED, packed=block)])


READ = True
DEPENDS = None
"""On the version of Python."""

DIFFERENCES = {
    "unix-names": Difference(archive([Member("été".encode(), DATA)]), READ, core_reads=True),
    "names-from-here": Difference(archive([Member("./"), Member("./a", DATA)]), READ, core_reads=True),
    "names-that-leave": Difference(of_hostile("name '../up'"), READ),
    "control-characters": Difference(archive([Member("a\x1bb", DATA)]), READ),
    "long-names": Difference(archive([Member("x" * 256, DATA)]), READ),
    "own-folder": Difference(archive([Member(".fdf256/journal", DATA)]), READ),
    "portable-names": Difference(archive([Member("what?", DATA)]), READ),
    "colliding-names": Difference(archive([Member("a", DATA), Member("A", DATA)]), READ),
    "duplicates": Difference(duplicates(), READ),
    "file-for-folder": Difference(archive([Member("a", DATA), Member("a/b", DATA)]), READ),
    "links-and-devices": Difference(of_hostile("symbolic link"), READ),
    "encrypted": Difference(of_hostile("encrypted"), zipfile_reads=False),
    "other-methods": Difference(bzip2(), READ),
    "zstd": Difference(archive([Member("a", DATA, ZSTD)]), DEPENDS, core_reads=True),
    "unicode-path": Difference(of_hostile("another Unicode name"), DEPENDS),
    "directory-with-data": Difference(of_hostile("a directory with data"), READ),
    "extra-attributes": Difference(of_hostile("a link in the ASi field"), READ),
    "local-header": Difference(of_hostile("another local CRC-32"), READ),
    "data-descriptor": Difference(of_hostile("another size in the descriptor"), READ),
    "hidden-member": Difference(of_hostile("a member behind the descriptor"), READ),
    "overlap": Difference(of_hostile("a quoted overlap bomb"), DEPENDS),
    "two-ends": Difference(of_hostile("an end record in the comment"), READ),
    "bytes-behind": Difference(of_hostile("bytes behind the end"), READ),
    "counts": Difference(of_hostile("more members counted than there are"), READ),
    "volumes": Difference(of_hostile("a second volume"), READ),
    "zip64-locator": Difference(of_hostile("zip64: a locator that points elsewhere"), DEPENDS),
    "bytes-behind-data": Difference(of_hostile("deflate data with bytes behind"), READ),
    "no-end-of-data": Difference(without_an_end(), READ),
    "limits": Difference(hostile.BOMB.archive, DEPENDS),
}
