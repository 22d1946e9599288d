"""The folder ``TARGET/.fdf256``: what lies where, and the lock over it."""

from __future__ import annotations

import contextlib
import errno
import os
from typing import TYPE_CHECKING, NamedTuple

from fdf256_fast.durable import storage_error, storing
from fdf256_fast.errors import LockedError, StorageError
from fdf256_fast.lock import held, locked

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

__all__ = ["Workspace", "remove_folder", "storage_error"]

LOCK_POLL_SECONDS = 0.1

FOLDERS = ("staging", "records", "ends", "spool", "archives", "listings")


class Workspace(NamedTuple):
    """Paths of one target; ``home`` is ``TARGET/.fdf256``."""

    target: Path
    home: Path

    @classmethod
    def of(cls, target: Path) -> Workspace:
        """The workspace of ``target``."""
        return cls(target, target / ".fdf256")

    @property
    def journal(self) -> Path:
        """What resume needs."""
        return self.home / "journal"

    def staging(self, name: str) -> Path:
        """Unpacked files of archive ``name`` that are not visible yet."""
        return self.home / "staging" / name

    def spare(self, name: str) -> Path:
        """Unpacked files of archive ``name`` that an earlier call wanted and this one does not."""
        return self.home / "staging" / f"{name}~spare"

    @property
    def manifest(self) -> Path:
        """One SHA-256 per published file, for ``sha256sum -c`` in the target."""
        return self.home / "SHA256SUMS"

    @property
    def next_manifest(self) -> Path:
        """The manifest of what is about to be published.

        Not the name that a new :attr:`manifest` grows under: to replace that one must not touch this one.
        """
        return self.home / "SHA256SUMS.next"

    @property
    def manifest_draft(self) -> Path:
        """Where a new :attr:`manifest` grows; earlier versions had their :attr:`next_manifest` there."""
        return self.home / "SHA256SUMS.new"

    @property
    def installed(self) -> Path:
        """What was installed, from where, verified how."""
        return self.home / "installed.json"

    @property
    def sizes(self) -> Path:
        """Bytes of each file of the manifest, for a look that reads none of them."""
        return self.home / "SIZES"

    @property
    def forgotten(self) -> Path:
        """Images that are to stay out, one path a line; outlives every run."""
        return self.home / "forgotten"

    @property
    def archives(self) -> Path:
        """Where ``--keep-archives`` keeps them."""
        return self.home / "archives"

    def records(self, name: str) -> Path:
        """The members' SHA-256 of archive ``name``, a record each."""
        return self.home / "records" / name

    def listing(self, name: str) -> Path:
        """What of archive ``name`` is in the target, where it has no directory that tells; outlives a run."""
        return self.home / "listings" / name

    def end(self, name: str) -> Path:
        """The end of archive ``name``: its central directory and what follows."""
        return self.home / "ends" / name

    def spool(self, name: str) -> Path:
        """Compressed bytes that must wait on disk: of a large member, or of a whole archive whose
        server gives no ranges.
        """
        return self.home / "spool" / name

    @contextlib.asynccontextmanager
    async def locked(self) -> AsyncIterator[None]:
        """Hold the target.  Raises LockedError when another process does, StorageError."""
        from fdf256_fast.watch import in_thread  # noqa: PLC0415 - local commands need no asyncio

        await in_thread(self._make_home)
        async with locked(self.home / "lock", f"working on {self.target}", keep=True):
            yield

    @contextlib.asynccontextmanager
    async def locked_shortly(self, patience_seconds: float) -> AsyncIterator[None]:
        """Hold the target for a moment, for work that has another place; leaves no lock file of its own.

        Raises LockedError when another process holds it for longer than that, StorageError.
        """
        import asyncio  # noqa: PLC0415 - local commands need no asyncio

        from fdf256_fast.watch import in_thread  # noqa: PLC0415 - as above

        path = self.home / "lock"
        deadline = asyncio.get_running_loop().time() + patience_seconds
        async with contextlib.AsyncExitStack() as stack:
            while True:
                await in_thread(self._make_home)
                keep = await in_thread(self._has_dataset)
                try:
                    await stack.enter_async_context(locked(path, f"working on {self.target}", keep=keep))
                    break
                except (LockedError, StorageError) as error:
                    # Whoever is done last removes the folder, too.
                    is_gone = isinstance(error, StorageError) and error.errno == errno.ENOENT
                    if not (is_gone or isinstance(error, LockedError)):
                        raise
                    if asyncio.get_running_loop().time() >= deadline:
                        raise
                await asyncio.sleep(LOCK_POLL_SECONDS)
            yield

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """The same, for a thread that may wait."""
        self._make_home()
        with held(self.home / "lock", f"working on {self.target}", keep=True):
            yield

    def _has_dataset(self) -> bool:
        """Whether one is, or is being, installed here, whose lock file stays."""
        return any(path.exists() for path in (self.journal, self.manifest, self.installed))

    def _make_home(self) -> None:
        try:
            self._check_and_make_home()
        except OSError as error:
            raise storage_error("use folder", error, self.target) from error

    def _check_and_make_home(self) -> None:
        target = self.target
        if target.is_symlink() and not target.exists():
            raise StorageError(
                f"{target} is a symbolic link to {target.readlink()}, which does not exist",
                errno=errno.ENOENT,
                filename=str(target),
                hint="Make the folder that it points to, or remove the link.",
            )
        if target.exists() and not target.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(target))
        above = [folder for folder in self.home.parents if folder != target and folder.is_relative_to(target)]
        for folder in (*above, self.home, *(self.home / name for name in FOLDERS)):
            # What is written there must stay in the target; nobody here ever made a link.
            if folder.is_symlink():
                raise StorageError(
                    f"{folder} is a symbolic link: it is not followed",
                    errno=errno.ELOOP,
                    filename=str(folder),
                    hint="Remove it and run the same command again.",
                )
        self.home.mkdir(parents=True, exist_ok=True)

    def forget_archive(self, name: str, file_name: str) -> None:
        """Drop all that was had of archive ``name``, its unpacked files too.  Raises StorageError."""
        for folder in (self.staging(name), self.spare(name)):
            remove_folder(folder)
            # What is left there would be published with what comes now.
            with storing("remove", folder):
                if os.path.lexists(folder):
                    folder.rmdir()
        paths = [
            self.records(name),
            self.spool(name),
            self.spool(f"{name}.again"),
            self.spool(f"{name}.archive"),
            self.kept_part(file_name),
        ]
        for path in [*paths, self.end(name), end_part(self.end(name))]:
            with storing("remove", path):
                path.unlink(missing_ok=True)

    def kept_part(self, file_name: str) -> Path:
        """Where an archive that is kept grows."""
        return self.archives / f"{file_name}.part"

    def clean(self) -> None:
        """Remove what only an unfinished run needs; the journal last, since with it this is done again."""
        for folder in ("staging", "records", "ends", "spool"):
            remove_folder(self.home / folder)
        for path in (self.journal, self.manifest, self.next_manifest, self.installed, self.sizes):
            path.with_name(path.name + ".new").unlink(missing_ok=True)
        self.next_manifest.unlink(missing_ok=True)
        self.journal.unlink(missing_ok=True)

    def remove(self) -> None:
        """Remove the whole workspace (but not the target)."""
        remove_folder(self.home)
        # Folders that are empty now were made for this run, or are as good as new.
        for folder in self.home.parents:
            if not folder.is_relative_to(self.target):
                break
            with contextlib.suppress(OSError):
                folder.rmdir()

    def remove_if_empty(self) -> None:
        """Remove the workspace and the target, if there is nothing in them."""
        for folder in (self.home, self.target):
            with contextlib.suppress(OSError):
                folder.rmdir()


def end_part(end: Path) -> Path:
    """Where the front part of an end grows while it is fetched."""
    return end.with_name(end.name + ".front")


def remove_folder(path: Path) -> None:
    """Remove a folder and all that is in it; what cannot be removed stays."""
    # Most are empty, or not there, and shutil takes as long to import as a hundred files to unpack.
    try:
        path.rmdir()
    except FileNotFoundError:
        return
    except OSError:
        import shutil  # noqa: PLC0415

        shutil.rmtree(path, ignore_errors=True)


async def file_size(path: Path) -> int:
    """Size of a file in bytes.  Raises StorageError."""
    from fdf256_fast.watch import in_thread  # noqa: PLC0415 - local commands need no asyncio

    try:
        return (await in_thread(path.stat)).st_size
    except OSError as error:
        raise storage_error("read", error, path) from error
