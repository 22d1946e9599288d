"""Archives to unpack, made by programs that are not ours, and what they must become."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import shutil
import subprocess
import tarfile
from typing import TYPE_CHECKING

from fdf256_fast._core import Job, LocalArchive, Names, Policy, Staging
from tests.integration.oracles import bytes_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

MEMBERS: Mapping[str, bytes] = {
    "train/images/1.png": bytes_of(5000),
    "train/images/2.png": bytes_of(511, 1),
    "train/images/3.png": bytes_of(512, 2),
    "train/images/4.png": bytes_of(513, 3),
    "val/images/5.png": b"",
    "val/landmarks.npy": bytes_of(70_000, 4),
    f"deep/{'long' * 30}/{'name' * 20}.txt": bytes_of(300, 5),
    "ünïcode/文.txt": bytes_of(20, 6),
}
"""With names of more than 100 bytes, as many sizes around 512 as matter, and letters beyond ASCII."""

COMPRESSORS: Mapping[str, Callable[[bytes], bytes]] = {
    "tar": lambda data: data,
    "tar.gz": lambda data: gzip.compress(data, 1),
    "tar.xz": lzma.compress,
    "tar.bz2": bz2.compress,
    "tar.zst": lambda data: by_program(["zstd", "-q", "--check"], data),
}


def by_program(command: Sequence[str], data: bytes) -> bytes:
    """What a program makes of ``data``."""
    return subprocess.run(command, input=data, capture_output=True, check=True, timeout=60).stdout


def has_program(name: str) -> bool:
    """Whether it is installed here."""
    return shutil.which(name) is not None


def tar_of(members: Mapping[str, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    """A tar by Python's tarfile."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def tar_with(*infos: tarfile.TarInfo, form: int = tarfile.GNU_FORMAT) -> bytes:
    """A tar of members of any kind, files with bytes that depend on their position."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as tar:
        for info in infos:
            tar.addfile(info, io.BytesIO(bytes_of(info.size)) if info.isreg() else None)
    return out.getvalue()


def member(
    name: str,
    kind: bytes = tarfile.REGTYPE,
    size: int = 0,
    link: str = "",
    pax: Mapping[str, str] | None = None,
) -> tarfile.TarInfo:
    """One member; ``pax`` are records of its own."""
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname = kind, size, link
    info.pax_headers = dict(pax or {})
    return info


def files_in(folder: Path) -> dict[str, bytes]:
    """Every file under ``folder``, by name; a link would be an error."""
    assert not any(path.is_symlink() for path in folder.rglob("*"))
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def by_tarfile(data: bytes) -> dict[str, bytes]:
    """Names and bytes of a tar's files, as Python's tarfile has them."""
    found = {}
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        for info in tar:
            if info.isreg():
                file = tar.extractfile(info)
                assert file is not None
                found[info.name.removeprefix("./")] = file.read()
    return found


def unpack(archive: Path, staging: Path) -> None:
    """By the core alone, without the folder's lock and the renames, which take most of the time."""
    job, names = Job(), Names(portable=True)
    LocalArchive.open(job, archive, archive.name, Policy()).unpack(job, Staging(staging), names, 0, 2)
