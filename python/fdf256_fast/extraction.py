"""Local archives, unpacked all or nothing: ``extract``."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, TypeVarTuple

from fdf256_fast._core import Job, LocalArchive, Names, Staging
from fdf256_fast.catalog import Digest
from fdf256_fast.errors import Error, StorageError, UsageError
from fdf256_fast.limits import Limits
from fdf256_fast.merging import merge
from fdf256_fast.progress import ArchiveProgress, Progress, Snapshot
from fdf256_fast.report import ArchiveReport, Report
from fdf256_fast.units import format_bytes
from fdf256_fast.watch import all_of, in_job, in_thread, showing, unbroken
from fdf256_fast.workspace import Workspace, storage_error

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence

__all__ = ["Order", "extract_async", "extract_files"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
StrPath = str | os.PathLike[str]

STANDARD_INPUT = "-"


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be unpacked, where to, and how."""

    archives: tuple[Path, ...]
    folder: Path
    digest: Digest | None = None
    force: bool = False
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        if not self.archives:
            raise UsageError("there is no archive to unpack")
        if self.digest and len(self.archives) > 1:
            raise UsageError("a digest is for one archive")
        if self.digest and str(self.archives[0]) == STANDARD_INPUT:
            raise UsageError("the digest of the standard input cannot be checked before it is unpacked")
        if [str(path) for path in self.archives].count(STANDARD_INPUT) > 1:
            raise UsageError("there is only one standard input")


async def extract_async(
    archives: StrPath | Sequence[StrPath],
    folder: StrPath = ".",
    *,
    digest: str | None = None,
    force: bool = False,
    limits: Limits | None = None,
    progress: Progress | None = None,
) -> Report:
    """Unpack local archives into ``folder``, all of them or none.

    Zip, tar, and tar compressed by gzip, zstd, xz or bzip2; told apart by their first bytes.

    Args:
        archives: one path or several; ``-`` is the standard input (for tars).
        folder: where to; it is made if it is not there.
        digest: ``algorithm:hex`` that the archive must have (for one archive).
        force: replace files that are there already, instead of refusing.
        limits: threads, and what each archive may ask for (ratio, bytes, members, names).
        progress: receives counters about ten times a second.

    Returns:
        What was unpacked; ``verified`` is the digest's algorithm, ``crc32`` where the archives' own checksums
        cover everything, or ``none`` (plain tar, zstd without checksums).

    Raises:
        IntegrityError: an archive is damaged, hostile, cut off or of an unsupported kind.
        StorageError: the disk is full or refuses, or a file is there already.
        LockedError: another process works on ``folder``.
        UsageError: a bad argument.
    """
    given = [archives] if isinstance(archives, str | os.PathLike) else archives
    order = Order(
        tuple(Path(path) for path in given),
        Path(folder),
        Digest.parse(digest) if digest else None,
        force=force,
        limits=limits or Limits(),
    )
    return await extract_files(order, progress or Progress())


async def extract_files(order: Order, progress: Progress) -> Report:
    """Do what ``order`` says.  Raises what :func:`extract_async` does."""
    run = _Extraction(order, progress)
    first = run.names[0]
    progress.started(first if len(run.names) == 1 else f"{len(run.names)} archives")
    try:
        async with _working_folder(order.folder) as work:
            try:
                await run.unpack(work)
            except Error as error:
                error.report = Report(str(order.folder), (), 0, run.seconds)
                raise
        return run.report()
    finally:
        progress.finished()


class _Extraction:
    """All archives of one call."""

    def __init__(self, order: Order, progress: Progress) -> None:
        self.names = [
            "standard input" if str(path) == STANDARD_INPUT else path.name for path in order.archives
        ]
        self._order = order
        self._progress = progress
        self._started = time.monotonic()
        self._job = Job()
        self._taken = Names(order.limits.portable_names)
        self._opened: list[LocalArchive] = []
        self._done: set[int] = set()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._started

    async def unpack(self, work: Path) -> None:
        policy = self._order.limits.policy
        for path, name in zip(self._order.archives, self.names, strict=True):
            opened = await in_job(self._job, LocalArchive.open, self._job, path, name, policy)
            self._opened.append(opened)
        await in_job(self._job, self._check_room)
        if len(self._opened) > 1:
            # Within one zip its directory has told already.
            for number, archive in enumerate(self._opened):
                await in_job(self._job, archive.claim, self._job, self._taken, number)
        staging = await in_job(self._job, Staging, work / "staging")
        with showing(self._progress, self._snapshot):
            await all_of(self._jobs(staging), hint="")
        if len(self._done) < len(self._opened):
            # A task group takes a task that was cancelled from within for one that is done.
            raise asyncio.CancelledError
        await in_job(self._job, self._merge, work / "staging")

    def _jobs(self, staging: Staging) -> Iterator[Coroutine[object, object, None]]:
        """One for each archive: as many tars at once as there are cores, since each is bound to one; zips
        one by one, since each keeps all cores busy.
        """
        workers = self._order.limits.worker_threads
        turns = {True: asyncio.Semaphore(1), False: asyncio.Semaphore(workers)}
        digest = self._order.digest
        wanted = (digest.algorithm, digest.value) if digest else None

        async def one(number: int, archive: LocalArchive) -> None:
            async with turns[archive.kind == "zip"]:
                arguments = (self._job, staging, self._taken, number, workers, wanted)
                await in_job(self._job, archive.unpack, *arguments)
            self._done.add(number)

        return (one(number, archive) for number, archive in enumerate(self._opened))

    def _snapshot(self) -> Snapshot:
        archives = []
        # A tar does not say how many members it has, and a sum over some of the archives would mislead.
        is_counted = all(archive.members is not None for archive in self._opened)
        for number, (name, archive) in enumerate(zip(self.names, self._opened, strict=True)):
            read, unpacked, _, _ = archive.status()
            members = archive.members if is_counted else None
            state = "done" if number in self._done else "receiving" if read else "waiting"
            archives.append(ArchiveProgress(name, archive.total, read, 0, read, members, unpacked, state))
        arrived = sum(archive.arrived for archive in archives)
        return Snapshot(tuple(archives), self.seconds, arrived / max(self.seconds, 0.001))

    def _check_room(self) -> None:
        """Refuse what surely does not fit; a compressed tar does not tell its size."""
        known = [
            archive.unpacked_bytes or (archive.total or 0 if archive.kind == "tar" else 0)
            for archive in self._opened
        ]
        free = shutil.disk_usage(self._order.folder).free
        missing = sum(known) - free
        if missing > 0:
            raise StorageError(
                f"cannot unpack into {self._order.folder}: {format_bytes(sum(known))} are needed, "
                f"{format_bytes(free)} are free",
                errno=errno.ENOSPC,
                filename=str(self._order.folder),
                hint=f"Make room for {format_bytes(missing)} more, or choose another folder with -d.",
            )

    def _merge(self, staged: Path) -> None:
        merge(staged, self._order.folder, self._job, force=self._order.force)

    def report(self) -> Report:
        """What was unpacked."""
        digest = self._order.digest
        archives = []
        files = 0
        for path, name, archive in zip(self._order.archives, self.names, self._opened, strict=True):
            read, members, unpacked, _ = archive.status()
            verified = digest.algorithm if digest else archive.verified
            size = read if archive.total is None else archive.total
            archives.append(ArchiveReport(name, size, 0, 0, verified, str(path), members))
            files += unpacked
        return Report(str(self._order.folder), tuple(archives), files, self.seconds)


# ---- the folder to work in ---------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def _working_folder(folder: Path) -> AsyncIterator[Path]:
    """An empty folder in ``folder``'s workspace, which is locked meanwhile; nothing of it stays."""
    workspace = Workspace.of(folder)
    made = await in_thread(_missing, folder)
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(in_thread, _remove_empty, made)
        work = workspace.home / "extract"

        async def enter() -> None:
            await stack.enter_async_context(workspace.locked())
            stack.push_async_callback(in_thread, _clean, workspace, work)

        # To its end even when cancelled: the stack then lets go of a lock that was just taken.
        await unbroken(enter())
        # A run that was killed may have left files that are in no archive of this one.
        await in_thread(_remove, work)
        yield work


def _missing(folder: Path) -> list[Path]:
    """The folders that have to be made for ``folder``, the innermost first."""
    return [path for path in (folder, *folder.parents) if not os.path.lexists(path)]


def _remove(work: Path) -> None:
    try:
        if os.path.lexists(work):
            shutil.rmtree(work)
    except OSError as error:
        raise storage_error("remove", error, work) from error


def _clean(workspace: Workspace, work: Path) -> None:
    shutil.rmtree(work, ignore_errors=True)
    with contextlib.suppress(OSError):
        if {path.name for path in workspace.home.iterdir()} <= {"lock", "lock.holder"}:
            # While it is held: whoever waits for it finds out and takes a new one.
            shutil.rmtree(workspace.home)


def _remove_empty(folders: list[Path]) -> None:
    with contextlib.suppress(OSError):
        for folder in folders:
            folder.rmdir()
