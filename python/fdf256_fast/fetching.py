"""Plain files: the same transfer code, into ``NAME.part`` and by a rename to ``NAME``."""

from __future__ import annotations

import asyncio
import os
import re
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from fdf256_fast._core import Job, hash_file
from fdf256_fast.catalog import Archive, Catalog, Digest
from fdf256_fast.client import Client
from fdf256_fast.durable import storage_error, storing, sync_folder
from fdf256_fast.errors import DigestMismatch, Error, TransferError, UsageError
from fdf256_fast.in_order import InOrder, final
from fdf256_fast.installation import Options, install_catalog
from fdf256_fast.journal import (
    Entry,
    Journal,
    read_journal,
    remove_journal,
    write_journal,
    write_journal_now,
)
from fdf256_fast.limits import Limits
from fdf256_fast.lock import locked
from fdf256_fast.progress import ArchiveProgress, Progress
from fdf256_fast.report import ArchiveReport, Report
from fdf256_fast.retry import Budget
from fdf256_fast.sources import OriginChanged, Source, Sources
from fdf256_fast.space import Need, check_space, explain_full, used_bytes
from fdf256_fast.transfer import Transfer
from fdf256_fast.watch import affordable, all_of, in_job, in_thread, watching

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fdf256_fast.client import ClientSession

__all__ = ["Wanted", "extract_url", "fetch", "fetch_files"]

RESTARTS_MAX = 3

SECOND_TRY_BYTES = 256 * 1024 * 1024
"""A smaller file whose digest is wrong is fetched once more: the damage may have happened on the way.  For a
larger one, whose address or digest is more likely to be wrong, that would be a long wait for nothing."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """One file: where from, where to, and what digest it must have."""

    url: str
    path: Path
    digest: Digest | None = None
    mirrors: tuple[str, ...] = ()


async def fetch(  # noqa: PLR0913 - the public call: each is a keyword that people type
    url: str,
    path: str | os.PathLike[str] | None = None,
    *,
    digest: str | None = None,
    mirrors: Sequence[str] = (),
    extract: bool = False,
    limits: Limits | None = None,
    progress: Progress | None = None,
    session: ClientSession | None = None,
) -> Path:
    """Fetch one file, many spans at once, resuming what an earlier call left.

    Args:
        url: http, https or file URL.
        path: where it goes: a file, or a folder that exists; by default the URL's last part, here.  With
            ``extract`` the folder to unpack into, by default the current one.
        digest: ``algorithm:hex`` that it must have; a file at ``path`` that has it is not fetched again.
        mirrors: other URLs of the same file, asked when ``url`` fails.
        extract: unpack it (a zip or a tar) instead of keeping it, in one pass unless a tar is compressed.
        limits: connections, memory (bytes), threads, rate (bytes per second), retries, timeout.
        progress: receives counters about ten times a second.
        session: your own HTTP session; it is not closed.

    Returns:
        The path of the file, or of the folder.

    Raises:
        IntegrityError: the digest, a CRC-32 or the archive is wrong; nothing of it is visible.
        TransferError: no source delivers; what arrived is kept.
        StorageError: the disk is full or refuses.
        LockedError: another process fetches to the same path.
        UsageError: a bad argument.
    """
    limits, progress = limits or Limits(), progress or Progress()
    parsed = Digest.parse(digest) if digest else None
    if extract:
        folder = Path(path or ".")
        await extract_url(url, folder, parsed, limits, progress, session, mirrors=mirrors)
        return folder
    goal = Path(path) if path is not None else Path()
    if await in_thread(goal.is_dir):
        goal /= file_name(url)
    await fetch_files([Wanted(url, goal, parsed, tuple(mirrors))], limits, progress, session)
    return goal


def file_name(url: str) -> str:
    """The file name that a URL suggests.  Raises UsageError where it has none that is safe to use."""
    name = unquote(urlsplit(url).path).rpartition("/")[2]
    if not name or name in {".", ".."} or len(os.fsencode(name)) > 200 or not name.isprintable():
        raise UsageError(f"{url}: no file name can be made of this URL", hint="Give one with -o.")
    return name


async def extract_url(
    url: str,
    folder: Path,
    digest: Digest | None,
    limits: Limits,
    progress: Progress,
    session: ClientSession | None = None,
    *,
    mirrors: Sequence[str] = (),
) -> Report:
    """Fetch an archive and unpack it into ``folder``, in one pass and without keeping it."""
    name = re.sub(r"[^A-Za-z0-9._-]", "_", file_name(url)).lstrip(".-") or "archive"
    archive = Archive(name[:100], "images", (url, *mirrors), digest)
    catalog = Catalog(name, name, (archive,), url)
    options = Options(keep_workspace=False, limits=limits)
    return await install_catalog(folder, catalog, options, progress, session)


async def fetch_files(
    wanted: Sequence[Wanted],
    limits: Limits,
    progress: Progress,
    session: ClientSession | None = None,
) -> Report:
    """Fetch several files over the same connections."""
    started = time.monotonic()
    # A file that is fetched is open itself, and has a lock.
    limits = await affordable(limits, progress, each=3 if len(wanted) > 1 else 1)
    client = Client(
        timeout_seconds=limits.timeout_seconds,
        headers=limits.headers,
        session=session,
        is_paced=limits.rate is not None,
    )
    progress.started(wanted[0].path.name if len(wanted) == 1 else f"{len(wanted)} files")
    try:
        async with client, Transfer(client, limits, progress.message) as transfer:
            run = _Files([_FileRun(one, transfer, limits) for one in wanted])
            async with watching(run, transfer, limits, progress):
                try:
                    await run.run(limits.connections_start)
                except Error as error:
                    error.report = run.report(transfer, started)
                    raise
                return run.report(transfer, started)
    finally:
        progress.finished()


@dataclass(slots=True)
class _Files:
    """All files of one call."""

    runs: list[_FileRun]
    under_way: set[_FileRun] = field(default_factory=set)

    async def run(self, at_once: int) -> None:
        slots = asyncio.Semaphore(at_once)

        async def one(run: _FileRun) -> None:
            async with slots:
                self.under_way.add(run)
                try:
                    await run.run()
                finally:
                    self.under_way.discard(run)

        await all_of(
            (one(run) for run in self.runs),
            hint="What arrived is kept: run the same command again to go on.",
        )

    @property
    def frontier(self) -> int:
        return sum(run.frontier for run in self.runs)

    @property
    def archives(self) -> tuple[ArchiveProgress, ...]:
        return tuple(run.progress for run in self.runs)

    async def save(self) -> None:
        for run in tuple(self.under_way):
            await run.save()

    def save_now(self) -> None:
        for run in self.runs:
            run.save_now()

    def report(self, transfer: Transfer, started: float) -> Report:
        paths = [run.wanted.path for run in self.runs]
        return Report(
            target=str(paths[0]) if len(paths) == 1 else _common_folder(paths),
            archives=tuple(run.report for run in self.runs),
            files=sum(run.is_done for run in self.runs),
            seconds=time.monotonic() - started,
            retries=transfer.retries,
        )


def _common_folder(paths: Sequence[Path]) -> str:
    """The folder that all files are in, as it was given."""
    try:
        return os.path.commonpath([path.parent for path in paths]) or "."
    except ValueError:  # some are absolute and some are not
        return "."


class _FileRun(InOrder):
    """One file from its sources to its path."""

    def __init__(self, wanted: Wanted, transfer: Transfer, limits: Limits) -> None:
        super().__init__(wanted.path.name)
        self.wanted = wanted
        self.is_done = False
        self._transfer = transfer
        self._engine = transfer.engine
        self._limits = limits
        self._sources = Sources(map(Source.parse, (wanted.url, *wanted.mirrors)))
        self._budget = Budget(limits.retries)
        digest = wanted.digest
        self._digest = (digest.algorithm, digest.value) if digest else None
        self._part = wanted.path.with_name(wanted.path.name + ".part")
        self._journal_path = self._part.with_name(self._part.name + ".journal")
        self._journal = Journal()
        self._saving = asyncio.Lock()

    def _known(self) -> Entry:
        return self._entry

    @property
    def _entry(self) -> Entry:
        identity = self._sources.all[0].name
        return self._journal.entries.setdefault(self.wanted.path.name, Entry(identity))

    async def run(self) -> None:
        path = self.wanted.path
        try:
            await in_thread(path.parent.mkdir, parents=True, exist_ok=True)
        except OSError as error:
            raise storage_error("write", error, path) from error
        lock = self._part.with_name(self._part.name + ".lock")
        async with locked(lock, f"fetching {path}", keep=False):
            try:
                if not await self._is_there():
                    await self._fetch()
            except Error as error:
                await in_thread(explain_full, error, path.parent, self._need)
                raise

    def _check_space(self) -> None:
        check_space(self._part.parent, self._need(), self.wanted.path)

    def _need(self) -> Need:
        return Need(max(0, (self._entry.total or 0) - used_bytes(self._part)))

    async def _is_there(self) -> bool:
        """Whether the file is at its path already, as its digest tells."""
        path, digest = self.wanted.path, self.wanted.digest
        if digest is None or not await in_thread(path.is_file):
            return False
        job = Job()
        computed = await in_job(job, hash_file, job, path, digest.algorithm)
        if computed != digest.value:
            return False
        self._entry.total = self._resumed = (await in_thread(path.stat)).st_size
        self._entry.verified = str(digest)
        self.is_done = True
        await in_thread(self._remove)
        return True

    async def _fetch(self) -> None:
        self._journal = await read_journal(self._journal_path)
        problem = self._journal.problem
        if self.wanted.path.name in self._journal.damaged:
            problem = f"{self._journal_path} is damaged"
        if problem or self._entry.identity != self._sources.all[0].name:
            if problem:
                self._transfer.tell(f"{problem}: starting anew")
            self._journal = Journal()
        computed = await self._repeat()
        async with self._saving:  # a journal under way would come back after it was removed
            self._entry.verified = computed if computed and self._digest else "none"
            await in_thread(self._publish)
        if self._number is not None:
            # Lets go of the open file; thousands may follow.
            self._engine.abandon(self._number)

    async def _repeat(self) -> str | None:
        """Attempts, until one is right or there is no sense in another."""
        suspects: set[Source] = set()
        for restart in range(RESTARTS_MAX + 1):
            is_last = restart == RESTARTS_MAX
            try:
                return await self._attempt()
            except OriginChanged as error:
                if is_last:
                    raise error.as_final() from error
                await self._forget(error.message)
            except TransferError as error:
                other = None if is_last else self._sources.second_opinion(error)
                if other is None:
                    raise self._sources.explained(final(error)) from error
                await self._forget(f"{error.message}; {other.name} has another file")
            except DigestMismatch as error:
                await self._suspect(error, suspects, is_last=is_last)
        raise AssertionError("the last attempt returns or raises")

    async def _suspect(self, error: DigestMismatch, suspects: set[Source], *, is_last: bool) -> None:
        """Begin anew, elsewhere or once more from the same source; or raise ``error``."""
        culprit = self._sources.best()
        is_cheap = (self._entry.total or 0) <= SECOND_TRY_BYTES and culprit not in suspects
        await self._forget(f"{error.message}; it came from {culprit.name}")
        suspects.add(culprit)
        has_other = self._sources.has_other_than(culprit)
        if is_last or not (has_other or is_cheap):
            error.hint = culprit.web_page_hint or (
                "It was not kept. The file there is not the expected one, or was damaged."
            )
            raise error
        if has_other:
            culprit.dead = error

    async def _add(self, total: int | None, saved: str | None) -> int:
        self._entry.total = total
        if total is not None:
            await in_thread(self._check_space)
        self._number = await in_thread(
            lambda: self._engine.add(
                # For messages: bytes of a name that are no text cannot cross the boundary.
                os.fsencode(self.wanted.path.name).decode("utf-8", "replace"),
                total,
                self._limits.memory_bytes,
                file=self._part,
                # Without a digest to meet, one is computed all the same: it proves what is kept.
                digest=self._digest or ("crc32", None),
                saved=saved,
                thorough=self._entry.doubtful,
            )
        )
        return self._number

    async def _forget(self, reason: str) -> None:
        self._transfer.tell(f"{self.wanted.path.name}: {reason}. What was had of it is dropped.")
        if self._number is not None:
            self._engine.abandon(self._number)
        self._number = None
        self._resumed = 0
        self._budget.restart()
        for source in self._sources.all:
            source.forget()
        self._journal = Journal()
        async with self._saving:  # one that is being written would lose its draft
            await in_thread(self._remove)

    def _remove(self) -> None:
        with storing("remove", self._part):
            remove_journal(self._journal_path)
            self._part.unlink(missing_ok=True)

    def _publish(self) -> None:
        """On the disk first, then visible: a power cut cannot leave an empty file under the good name."""
        path = self.wanted.path
        with storing("publish", path):
            with self._part.open("rb") as part:
                os.fsync(part.fileno())
            try:
                self._part.replace(path)
            except OSError as error:
                # The goal is what somebody can do something about.
                error.filename = os.fspath(path)
                raise
            # At once: a run that is cancelled meanwhile must not write the journal again.
            self.is_done = True
            sync_folder(path.parent)
        self._remove()

    # ---- journal and screen ------------------------------------------------------------------------

    @property
    def frontier(self) -> int:
        """Bytes of it that are done with."""
        if self._number is None:
            return self._resumed if self.is_done else 0
        return self._engine.status(self._number)[1]

    async def save(self) -> None:
        """Write its journal."""
        async with self._saving:
            if self._remember():
                await write_journal(self._journal_path, self._journal)

    def save_now(self) -> None:
        """Write its journal at once."""
        if self._remember():
            write_journal_now(self._journal_path, self._journal)

    def _remember(self) -> bool:
        if self._number is None or self.is_done or self._entry.total is None:
            return False
        self._entry.state = self._engine.save(self._number)
        return True

    @property
    def progress(self) -> ArchiveProgress:
        """Where it stands."""
        total, name = self._entry.total, self.wanted.path.name
        if self.is_done:
            return ArchiveProgress(name, total, total or 0, self._resumed, total or 0, state="done")
        if self._number is None:
            return ArchiveProgress(name, total)
        arrived, frontier, _, _ = self._engine.status(self._number)
        return ArchiveProgress(name, total, arrived, self._resumed, frontier, state="receiving")

    @property
    def report(self) -> ArchiveReport:
        """What became of it."""
        return ArchiveReport(
            name=self.wanted.path.name,
            bytes=self._entry.total or 0,
            bytes_downloaded=self._downloaded,
            bytes_resumed=self._resumed,
            verified=self._entry.verified.partition(":")[0] or "none",
            url=self._entry.source or self._sources.all[0].name,
        )
