"""A zip of very many small members, and its catalog, written as fast as Python can.

``zipfile`` needs a minute for a million, and a gigabyte of memory; this needs some seconds.  Run as
``python -m bench.many FOLDER MEMBERS``, it prints MD5 and size.  A process of its own for the memory of the
directory: see data.py.
"""

from __future__ import annotations

import hashlib
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Final

from bench.data import Data

__all__ = ["make_many"]

_ROOT: Final = Path(__file__).parents[1]
_NAME: Final = "many"
_MEMBER_BYTES: Final = 1_000
#: How much is joined for one write and one update of the digest.
_BLOCK_BYTES: Final = 1 << 20

_LOCAL: Final = struct.Struct("<4s5H3L2H")
_CENTRAL: Final = struct.Struct("<4s6H3L5H2L")
_END_64: Final = struct.Struct("<4sQ2H2L4Q")
_LOCATOR: Final = struct.Struct("<4sLQL")
_END: Final = struct.Struct("<4s4H2LH")
_VERSION: Final = 20
_MADE_ON_UNIX: Final = 3 << 8 | _VERSION
_FIRST_DATE: Final = 1 << 5 | 1
_REGULAR_FILE: Final = 0o100644 << 16


def make_many(folder: Path, members: int, url: str) -> Data:
    """One archive, in ``folder``, that a server has at ``url``."""
    command = [sys.executable, "-m", "bench.many", str(folder), str(members)]
    made = subprocess.run(command, cwd=_ROOT, stdout=subprocess.PIPE, text=True, check=True)
    md5, size = made.stdout.split()
    name = f"{_NAME}.zip"
    catalog = (
        'name = "many"\ntitle = "Many members"\n\n[[archive]]\n'
        f'name = "{_NAME}"\nrole = "images"\nurl = "{url}/{name}"\ndigest = "md5:{md5}"\nsize = {size}\n'
        'license = "cc-by-2"\n'
    )
    return Data(
        folder=folder,
        url=url,
        names=(name,),
        md5={name: md5},
        sizes={name: int(size)},
        members=members,
        catalog=catalog,
    )


def _write(path: Path, members: int) -> tuple[str, int]:
    """Its MD5 and its size."""
    digest, written = hashlib.md5(), 0
    period = bytes(i % 251 for i in range(_MEMBER_BYTES + 251))
    directory: list[bytes] = []
    block: list[bytes] = []
    in_block = 0
    with path.open("wb") as file:

        def flush() -> None:
            joined = b"".join(block)
            digest.update(joined)
            file.write(joined)
            block.clear()

        for number in range(members):
            name = f"train/images/{number}.png".encode()
            data = number.to_bytes(8, "big") + period[number % 251 :][: _MEMBER_BYTES - 8]
            crc = zlib.crc32(data)
            sizes = (crc, len(data), len(data), len(name), 0)
            local = _LOCAL.pack(b"PK\x03\x04", _VERSION, 0, 0, 0, _FIRST_DATE, *sizes)
            central = _CENTRAL.pack(
                b"PK\x01\x02",
                _MADE_ON_UNIX,
                _VERSION,
                0,
                0,
                0,
                _FIRST_DATE,
                *sizes,
                0,
                0,
                0,
                _REGULAR_FILE,
                written,
            )
            directory += (central, name)
            block += (local, name, data)
            length = len(local) + len(name) + len(data)
            written += length
            in_block += length
            if in_block >= _BLOCK_BYTES:
                flush()
                in_block = 0
        block += directory
        size = sum(map(len, directory))
        block += _ends(members, size, written)
        total = written + size + sum(map(len, block[-3:]))
        flush()
    return digest.hexdigest(), total


def _ends(members: int, size: int, offset: int) -> tuple[bytes, bytes, bytes]:
    """As zip64 always: more than 65,535 members need it."""
    return (
        _END_64.pack(b"PK\x06\x06", _END_64.size - 12, 45, 45, 0, 0, members, members, size, offset),
        _LOCATOR.pack(b"PK\x06\x07", 0, offset + size, 1),
        _END.pack(b"PK\x05\x06", 0xFFFF, 0xFFFF, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0),
    )


if __name__ == "__main__":
    print(*_write(Path(sys.argv[1]) / f"{_NAME}.zip", int(sys.argv[2])))
