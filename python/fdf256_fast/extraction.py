"""Local archives, unpacked all or nothing: ``extract``."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from fdf256_fast._core import Job, LocalArchive, Names, Policy, Staging
from fdf256_fast.cores import workers_of
from fdf256_fast.errors import Error, StorageError, UsageError
from fdf256_fast.merging import merge
from fdf256_fast.workspace import Workspace, remove_folder, storage_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from fdf256_fast.catalog import Digest
    from fdf256_fast.limits import Limits
    from fdf256_fast.progress import Progress, Snapshot
    from fdf256_fast.report import Report

__all__ = ["Extraction", "Order", "extract_async"]

StrPath = str | os.PathLike[str]

STANDARD_INPUT = "-"


class Order(NamedTuple):
    """What is to be unpacked, where to, and how; without ``limits``, with the default ones."""

    archives: tuple[Path, ...]
    folder: Path
    digest: Digest | None = None
    force: bool = False
    limits: Limits | None = None

    def check(self) -> None:
        """Raises UsageError for what cannot be done."""
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
    from fdf256_fast.catalog import Digest  # noqa: PLC0415 - the command needs neither these
    from fdf256_fast.progress import Progress  # noqa: PLC0415
    from fdf256_fast.watch import in_job, showing  # noqa: PLC0415 - nor asyncio

    given = [archives] if isinstance(archives, str | os.PathLike) else archives
    order = Order(
        tuple(Path(path) for path in given),
        Path(folder),
        None if digest is None else Digest.parse(digest),
        force=force,
        limits=limits,
    )
    run = Extraction(order)
    progress = progress or Progress()
    progress.started(run.title)
    try:
        with showing(progress, run.snapshot):
            return await in_job(run.job, run.run)
    finally:
        progress.finished()


class Extraction:
    """All archives of one call; raises UsageError for what cannot be done."""

    def __init__(self, order: Order) -> None:
        order.check()
        self.job = Job()
        self._names = [_label(path) for path in order.archives]
        self._order = order
        self._started = time.monotonic()
        self._taken = Names(order.limits is None or order.limits.portable_names)
        self._opened: list[LocalArchive] = []
        self._done: set[int] = set()

    @property
    def title(self) -> str:
        """What is unpacked, for people."""
        return self._names[0] if len(self._names) == 1 else f"{len(self._names)} archives"

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return time.monotonic() - self._started

    def run(self) -> Report:
        """Unpack them all, in this thread and its own; ends early, with an error, once the job is cancelled.

        Raises what :func:`extract_async` does.
        """
        with _working_folder(self._order.folder) as work:
            try:
                self._unpack(work)
            except Error as error:
                from fdf256_fast.report import Report  # noqa: PLC0415 - imported beside the unpacking

                error.report = Report(str(self._order.folder), (), 0, self.seconds)
                raise
        return self._report()

    def _unpack(self, work: Path) -> None:
        limits = self._order.limits
        policy = Policy() if limits is None else limits.policy
        for path, name in zip(self._order.archives, self._names, strict=True):
            self._opened.append(LocalArchive.open(self.job, path, name, policy))
        self._check_room()
        if len(self._opened) > 1:
            # Within one zip its directory has told already.
            for number, archive in enumerate(self._opened):
                archive.claim(self.job, self._taken, number)
        staging = Staging(work / "staging")
        if len(self._opened) == 1:
            self._unpack_one(staging, 0)
        else:
            self._unpack_several(staging)
        merge(work / "staging", self._order.folder, self.job, force=self._order.force)

    def _unpack_one(self, staging: Staging, number: int) -> None:
        digest = self._order.digest
        wanted = (digest.algorithm, digest.value) if digest else None
        workers = workers_of(self._order.limits)
        self._opened[number].unpack(self.job, staging, self._taken, number, workers, wanted)
        self._done.add(number)

    def _unpack_several(self, staging: Staging) -> None:
        """As many tars at once as there are cores, since each is bound to one; zips one by one, since each
        keeps all cores busy.
        """
        numbers = range(len(self._opened))
        zips = [number for number in numbers if self._opened[number].kind == "zip"]
        one = partial(self._unpack_one, staging)

        def one_by_one() -> None:
            for number in zips:
                one(number)

        tars = [partial(one, number) for number in numbers if number not in zips]
        _at_once(self.job, [*([one_by_one] if zips else []), *tars], workers_of(self._order.limits) + 1)

    def snapshot(self) -> Snapshot:
        """Where each archive stands; to be called from any thread."""
        from fdf256_fast.progress import ArchiveProgress, Snapshot  # noqa: PLC0415 - for who is shown it

        opened = list(self._opened)
        archives = []
        # A tar does not say how many members it has, and a sum over some of the archives would mislead.
        is_counted = all(archive.members is not None for archive in opened)
        for number, (name, archive) in enumerate(zip(self._names, opened, strict=False)):
            read, unpacked, _, _ = archive.status()
            members = archive.members if is_counted else None
            state = "done" if number in self._done else "receiving" if read else "waiting"
            archives.append(ArchiveProgress(name, archive.total, read, 0, read, members, unpacked, state))
        archives += [ArchiveProgress(name) for name in self._names[len(opened) :]]
        arrived = sum(archive.arrived for archive in archives)
        return Snapshot(tuple(archives), self.seconds, arrived / max(self.seconds, 0.001))

    def _check_room(self) -> None:
        """Refuse what surely does not fit; a compressed tar does not tell its size."""
        known = [
            archive.unpacked_bytes or (archive.total or 0 if archive.kind == "tar" else 0)
            for archive in self._opened
        ]
        system = os.statvfs(self._order.folder)
        free = system.f_bavail * system.f_frsize
        missing = sum(known) - free
        if missing > 0:
            from fdf256_fast.units import format_bytes  # noqa: PLC0415 - only here

            raise StorageError(
                f"cannot unpack into {self._order.folder}: {format_bytes(sum(known))} are needed, "
                f"{format_bytes(free)} are free",
                errno=errno.ENOSPC,
                filename=str(self._order.folder),
                hint=f"Make room for {format_bytes(missing)} more, or choose another folder with -d.",
            )

    def _report(self) -> Report:
        from fdf256_fast.report import ArchiveReport, Report  # noqa: PLC0415 - imported beside the unpacking

        digest = self._order.digest
        archives = []
        files = 0
        for path, name, archive in zip(self._order.archives, self._names, self._opened, strict=True):
            read, members, unpacked, _ = archive.status()
            verified = digest.algorithm if digest else archive.verified
            size = read if archive.total is None else archive.total
            archives.append(ArchiveReport(name, size, 0, 0, verified, str(path), members))
            files += unpacked
        return Report(str(self._order.folder), tuple(archives), files, self.seconds)


def _label(path: Path) -> str:
    """What an archive is called in messages, where bytes of a name that are no text cannot be shown."""
    return (
        "standard input" if str(path) == STANDARD_INPUT else os.fsencode(path.name).decode("utf-8", "replace")
    )


def _at_once(job: Job, calls: Sequence[Callable[[], None]], most: int) -> None:
    """Do all of them, ``most`` at once; the first error ends the others and is raised."""
    from concurrent.futures import ThreadPoolExecutor, as_completed  # noqa: PLC0415 - only for several

    first: BaseException | None = None
    with ThreadPoolExecutor(min(most, len(calls)), "fdf256 extract") as pool:
        for done in as_completed([pool.submit(call) for call in calls]):
            error = done.exception()
            if error is not None and first is None:
                first = error
                # Those that have not begun end at once.
                job.cancel()
    if first is not None:
        raise first


# ---- the folder to work in ---------------------------------------------------------------------------


@contextlib.contextmanager
def _working_folder(folder: Path) -> Iterator[Path]:
    """An empty folder in ``folder``'s workspace, which is locked meanwhile; nothing of it stays."""
    workspace = Workspace.of(folder)
    made = _missing(folder)
    work = workspace.home / "extract"
    try:
        with workspace.held():
            # A run that was killed may have left files that are in no archive of this one.
            _remove(work)
            try:
                yield work
            finally:
                _clean(workspace, work)
    finally:
        _remove_empty(made)


def _missing(folder: Path) -> list[Path]:
    """The folders that have to be made for ``folder``, the innermost first."""
    return [path for path in (folder, *folder.parents) if not os.path.lexists(path)]


def _remove(work: Path) -> None:
    if not os.path.lexists(work):
        return
    import shutil  # noqa: PLC0415 - takes as long to import as a hundred files to unpack

    try:
        shutil.rmtree(work)
    except OSError as error:
        raise storage_error("remove", error, work) from error


def _clean(workspace: Workspace, work: Path) -> None:
    remove_folder(work / "staging")
    remove_folder(work)
    with contextlib.suppress(OSError):
        if {path.name for path in workspace.home.iterdir()} <= {"lock", "lock.holder"}:
            # While it is held: whoever waits for it finds out and takes a new one.
            for path in workspace.home.iterdir():
                path.unlink()
            workspace.home.rmdir()


def _remove_empty(folders: list[Path]) -> None:
    with contextlib.suppress(OSError):
        for folder in folders:
            folder.rmdir()
