"""The two ways to an archive's contents: the core's, and Python's zipfile."""

from __future__ import annotations

import io
import zipfile
import zlib
from typing import TYPE_CHECKING, TypeAlias

from fdf256_fast._core import Directory, Engine, Job, Policy, Staging
from fdf256_fast.errors import IntegrityError

if TYPE_CHECKING:
    from pathlib import Path

Contents: TypeAlias = dict[str, bytes]
"""Files by name; folders have a slash at the end of their name, and no bytes."""

PATIENCE_SECONDS = 20.0


def by_core(data: bytes, folder: Path, policy: Policy | None = None) -> Contents:
    """Unpack with the core's engine, as a run does, and read what is there.  Raises IntegrityError."""
    directory = Directory.parse("a.zip", data, len(data), policy)
    assert isinstance(directory, Directory)
    folder.mkdir(parents=True)
    engine = Engine(Job(), 1)
    try:
        staging = Staging(folder / "staging")
        unpack = (directory, staging, folder / "records", folder / "spool")
        archive = engine.add("a.zip", len(data), 1 << 20, unpack=unpack)
        engine.write(archive, 0, data)
        while True:
            events = engine.wait(PATIENCE_SECONDS)
            assert events, "it hangs"
            for event in events:
                if event[0] == "finished":
                    return on_disk(folder / "staging")
                if event[0] == "failed":
                    raise event[2]
                if event[0] == "damaged":
                    raise event[4]
    finally:
        engine.cancel()
        engine.close()


def on_disk(folder: Path) -> Contents:
    """What lies in ``folder``; folders that hold something are not told."""
    found: Contents = {}
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        assert not path.is_symlink()
        if path.is_file():
            found[name] = path.read_bytes()
        elif not any(path.iterdir()):
            found[name + "/"] = b""
    return found


def by_zipfile(data: bytes) -> Contents:
    """What zipfile reads, folders that hold something left out.  Raises whatever it raises."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        read = {info.filename: b"" if info.is_dir() else archive.read(info) for info in archive.infolist()}
    return {
        name: contents
        for name, contents in read.items()
        if not (name.endswith("/") and any(other != name and other.startswith(name) for other in read))
    }


ZIPFILE_REFUSALS = (
    zipfile.BadZipFile,
    zipfile.LargeZipFile,
    zlib.error,
    NotImplementedError,
    RuntimeError,  # encrypted
    EOFError,
    OSError,
    ValueError,
    UnicodeDecodeError,
    MemoryError,
    OverflowError,
)
"""What zipfile raises for archives that it cannot read."""


def core_or_refusal(data: bytes, folder: Path, policy: Policy | None = None) -> Contents | IntegrityError:
    """The contents, or why there are none.  Any other exception is a bug, and goes through."""
    try:
        return by_core(data, folder, policy)
    except IntegrityError as error:
        return error


def zipfile_or_none(data: bytes) -> Contents | None:
    """The contents as zipfile sees them, or None."""
    try:
        return by_zipfile(data)
    except ZIPFILE_REFUSALS:
        return None
