"""Plain files: the same transfer code, into ``NAME.part`` and by a rename to ``NAME``."""

from __future__ import annotations

import asyncio
import os
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeGuard
from urllib.parse import unquote

from fdf256_fast._core import Job, hash_file
from fdf256_fast.arguments import texts
from fdf256_fast.client import Client
from fdf256_fast.cores import usable_cores
from fdf256_fast.durable import check_replaceable, storing, sync_files
from fdf256_fast.errors import (
    DigestMismatch,
    Error,
    IntegrityError,
    LockedError,
    StorageError,
    TransferError,
    UsageError,
)
from fdf256_fast.in_order import InOrder, final, first_span_bytes
from fdf256_fast.journal import (
    Entry,
    Journal,
    read_journal_now,
    remove_journal,
    write_journal,
    write_journal_now,
)
from fdf256_fast.limits import Limits
from fdf256_fast.lock import Locks
from fdf256_fast.progress import ArchiveProgress, Progress
from fdf256_fast.report import ArchiveReport, Report, attach
from fdf256_fast.retry import Budget, Transient
from fdf256_fast.sources import OriginChanged, Source, Sources, given_url, redacted
from fdf256_fast.space import Need, check_space, explain_full, used_bytes
from fdf256_fast.together import Together, each
from fdf256_fast.transfer import Transfer
from fdf256_fast.watch import (
    GO_ON,
    JOURNAL_SECONDS,
    advised,
    affordable,
    all_of,
    in_job,
    in_thread,
    watching,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fdf256_fast.catalog import Digest
    from fdf256_fast.client import ClientSession

__all__ = ["Wanted", "extract_url", "fetch", "fetch_files"]

RESTARTS_MAX = 3

PLACES_PER_CONNECTION = 4
"""A small file spends as long being prepared, checked and published as it spends coming; see `_places`."""

_BESIDE = (".part", ".part.journal", ".part.journal.new", ".part.lock", ".part.lock.holder")
"""What an unfinished file has beside it."""

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
    mirrors: str | Sequence[str] = (),
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
    from fdf256_fast.catalog import Digest

    limits, progress = limits or Limits(), progress or Progress()
    parsed = None if digest is None else Digest.parse(digest)
    if extract:
        folder = Path(path or ".")
        await extract_url(url, folder, parsed, limits, progress, session, mirrors=texts(mirrors))
        return folder
    goal = Path(path) if path is not None else Path()
    if await in_thread(goal.is_dir):
        goal /= file_name(url)
    await fetch_files([Wanted(url, goal, parsed, texts(mirrors))], limits, progress, session)
    return goal


def file_name(url: str) -> str:
    """The file name that a URL suggests.  Raises UsageError where it has none that is safe to use."""
    name = unquote(given_url(url).path).rpartition("/")[2]
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
    # These take 50 ms to import, which a plain file need not wait for.
    from fdf256_fast.catalog import Archive, Catalog
    from fdf256_fast.installation import Options, install_catalog

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
    await in_thread(_check_apart, wanted)
    started = time.monotonic()
    # A file that is fetched is open itself, and has a lock.
    limits = await affordable(limits, progress, each=3 if len(wanted) > 1 else 1)
    places = await in_thread(_places, limits)
    client = Client(
        timeout_seconds=limits.timeout_seconds,
        headers=limits.headers,
        session=session,
        is_paced=limits.rate is not None,
    )
    progress.started(wanted[0].path.name if len(wanted) == 1 else f"{len(wanted)} files")
    try:
        async with (
            # Held until the last journal is written.
            Locks(keep=False) as locks,
            client,
            Transfer(client, limits, progress.message) as transfer,
        ):
            run = _Files(wanted, _Shared(transfer, limits, locks, places))
            async with watching(run, transfer, limits, progress):
                try:
                    await run.run()
                except (Error, asyncio.CancelledError) as stop:
                    attach(run.report(started), stop)
                    raise
                return run.report(started)
    finally:
        progress.finished()


def _check_apart(wanted: Sequence[Wanted]) -> None:
    """Raises UsageError where two files, or one and what another needs beside it, have one name."""
    paths = [os.path.normpath(one.path.absolute()) for one in wanted]
    known = set(paths)
    if len(known) < len(paths):
        raise UsageError("two of the URLs would be written to the same file")
    for path in paths:
        for suffix in _BESIDE:
            if path + suffix in known:
                raise UsageError(
                    f"{path}{suffix} is where {path} grows, or is locked: both cannot be fetched at once",
                    hint="Fetch them one after the other, or give one another name with -o.",
                )


def _places(limits: Limits) -> int:
    """How many files may be begun and not yet published.

    More than there are connections, if this process may have so many files open: what is prepared and what
    waits for the disk needs no connection.
    """
    connections = limits.connections_start
    roomy = limits.within_open_files(each=1 + 2 * PLACES_PER_CONNECTION)
    return connections * (PLACES_PER_CONNECTION if roomy.connections_start == connections else 1)


class _Shared:
    """What the files of one call have in common; ``places`` is how many of them may be under way."""

    def __init__(self, transfer: Transfer, limits: Limits, locks: Locks, places: int) -> None:
        self.transfer = transfer
        self.limits = limits
        self.locks = locks
        self.places = places
        # Files that are there already are read by no more threads: the loop's others are for those that come.
        self.reading = asyncio.Semaphore(min(limits.worker_threads, usable_cores()))
        self.first_span_bytes = first_span_bytes(limits, places)
        self.connections = asyncio.Semaphore(limits.connections_start)
        self.folders: set[Path] = set()
        """Those that are there."""
        self.prepare: Together[_FileRun, Journal] = Together(each(_FileRun.prepare))
        self.is_file: Together[Path, bool] = Together(each(Path.is_file))
        self.add: Together[_FileRun, int] = Together(each(_FileRun.add))
        self.publish: Together[_FileRun, None] = Together(_publish)


class _Files:
    """All files of one call."""

    def __init__(self, wanted: Sequence[Wanted], shared: _Shared) -> None:
        self._wanted = wanted
        self._shared = shared
        self._under_way: dict[int, _FileRun] = {}
        # Of files that are done with only this is kept; there may be very many of them.
        self._shown = [ArchiveProgress(one.path.name) for one in wanted]
        self._reports: dict[int, ArchiveReport] = {}
        self._done_bytes = 0
        self._failures: dict[int, Error] = {}
        # Why one file was given up while nothing came of any other: those to come would fare no better.
        self._silence: TransferError | None = None

    async def run(self) -> None:
        """Fetch them; one that fails does not keep the others.  Raises what stands for all failures."""
        waiting = iter(enumerate(self._wanted))

        async def work() -> None:
            for number, wanted in waiting:
                await self._one(number, wanted)

        await all_of(
            (work() for _ in range(min(self._shared.places, len(self._wanted)))),
            hint=GO_ON,
        )
        if self._failures:
            raise self._failure()

    async def _one(self, number: int, wanted: Wanted) -> None:
        # With as many files to come as there are connections, each file gets one of them.
        is_alone = len(self._wanted) - number <= self._shared.limits.connections_start
        run = _FileRun(wanted, self._shared, is_alone=is_alone)
        self._under_way[number] = run
        before = self._shared.transfer.came_bytes
        try:
            if self._silence is not None:
                raise TransferError(
                    f"{wanted.path.name} was not asked for: {self._silence.message}", url=wanted.url
                )
            await run.run()
        except _OF_ONE_FILE as error:
            if len(self._wanted) == 1:
                raise
            if _is_silence(error) and self._shared.transfer.came_bytes == before:
                self._silence = self._silence or error
            await self._failed(number, run, error)
            return
        del self._under_way[number]
        self._shown[number] = run.progress
        self._reports[number] = run.report
        self._done_bytes += run.frontier
        run.close()

    async def _failed(self, number: int, run: _FileRun, error: Error) -> None:
        """Keep what arrived of it, and go on with the others."""
        self._failures[number] = error
        self._shared.transfer.tell(_of_file(self._wanted[number], error))
        await run.give_up()
        self._shown[number] = run.progress
        self._reports[number] = run.report._replace(error=error.message)
        self._done_bytes += run.frontier
        del self._under_way[number]
        run.close()

    def _failure(self) -> Error:
        """The error that the run ends with: wrong bytes come before absent ones, whenever they came."""
        failures = sorted(self._failures.items())
        number, worst = min(failures, key=lambda failure: _rank(failure[1]))
        worst.message = _of_file(self._wanted[number], worst)
        if len(failures) > 1:
            names = [self._wanted[other].path.name for other, _ in failures if other != number]
            some = ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
            worst.message += f"; {len(names)} more failed: {some}"
        done = len(self._wanted) - len(failures)
        others = f"The {'other is' if done == 1 else f'{done} others are'} complete." if done else ""
        worst.hint = f"{advised(worst, GO_ON).hint} {others}".strip()
        return worst

    @property
    def frontier(self) -> int:
        return self._done_bytes + sum(run.frontier for run in self._under_way.values())

    @property
    def archives(self) -> tuple[ArchiveProgress, ...]:
        for number, run in self._under_way.items():
            self._shown[number] = run.progress
        return tuple(self._shown)

    async def save(self) -> None:
        for run in tuple(self._under_way.values()):
            if run.is_worth_saving:
                await run.save()

    def save_now(self) -> None:
        for run in self._under_way.values():
            run.save_now()

    def report(self, started: float) -> Report:
        paths = [one.path for one in self._wanted]
        return Report(
            target=str(paths[0]) if len(paths) == 1 else _common_folder(paths),
            archives=tuple(self._report(number) for number in range(len(paths))),
            files=len(self._reports)
            - len(self._failures)
            + sum(run.is_done for run in self._under_way.values()),
            seconds=time.monotonic() - started,
            retries=self._shared.transfer.retries,
        )

    def _report(self, number: int) -> ArchiveReport:
        if number in self._reports:
            return self._reports[number]
        run = self._under_way.get(number)
        # Of one that was not begun, too, it says where it would have come from.
        return (run or _FileRun(self._wanted[number], self._shared, is_alone=False)).report


_OF_ONE_FILE = (IntegrityError, TransferError, LockedError)
"""What is wrong with one file, and says nothing of the others; worst first."""


def _rank(error: Error) -> int:
    return next(rank for rank, kind in enumerate(_OF_ONE_FILE) if isinstance(error, kind))


def _is_silence(error: Error) -> TypeGuard[TransferError]:
    """Whether it was given up because nobody answered, and not for what was answered."""
    return isinstance(error.__cause__, Transient) and error.__cause__.status is None


def _of_file(wanted: Wanted, error: Error) -> str:
    """Its message, which begins with the name that the file has here, or with its address."""
    known = (wanted.path.name, redacted(wanted.url))
    return error.message if error.message.startswith(known) else f"{known[0]}: {error.message}"


def _common_folder(paths: Sequence[Path]) -> str:
    """The folder that all files are in, as it was given."""
    try:
        return os.path.commonpath([path.parent for path in paths]) or "."
    except ValueError:  # some are absolute and some are not
        return "."


def _publish(runs: Sequence[_FileRun]) -> Sequence[Error | None]:
    """On the disk first, then visible: a power cut cannot leave an empty file under the good name."""
    unsynced = sync_files([run.part for run in runs])
    for run, problem in zip(runs, unsynced, strict=True):
        if problem is not None:
            run.doubt()
    problems = _go_on(runs, unsynced, _FileRun.make_visible)
    unsynced = sync_files([run.part.parent for run in runs])
    return _go_on(
        runs, [one or other for one, other in zip(problems, unsynced, strict=True)], _FileRun.clean_up
    )


def _go_on(
    runs: Sequence[_FileRun], problems: Sequence[Error | None], step: Callable[[_FileRun], None]
) -> list[Error | None]:
    """Do ``step`` for those that have no problem; the problems after that."""
    problems = list(problems)
    for number, run in enumerate(runs):
        if problems[number] is None:
            try:
                step(run)
            except Error as error:
                problems[number] = error
    return problems


def _identity(path: Path) -> tuple[int, int]:
    """Which file this is, whatever it is called.  Raises OSError."""
    found = path.lstat()
    return found.st_dev, found.st_ino


class _FileRun(InOrder):
    """One file from its sources to its path."""

    def __init__(self, wanted: Wanted, shared: _Shared, *, is_alone: bool) -> None:
        super().__init__(wanted.path.name)
        self.wanted = wanted
        self.is_done = False
        self._shared = shared
        self._transfer = shared.transfer
        self._engine = shared.transfer.engine
        self._limits = shared.limits
        if not is_alone:
            self._first_span_bytes = shared.first_span_bytes
        self._sources = Sources(map(Source.parse, (wanted.url, *wanted.mirrors)))
        self._budget = Budget(shared.limits.retries)
        digest = wanted.digest
        self._digest = (digest.algorithm, digest.value) if digest else None
        self.part = Path(f"{wanted.path}.part")
        self._journal_path = Path(f"{wanted.path}.part.journal")
        self._lock_path = Path(f"{wanted.path}.part.lock")
        self._journal = Journal()
        self._saving = asyncio.Lock()
        self._begun_at = time.monotonic()
        self._is_connected = False
        self._has_lock = False
        self._written: tuple[int, int] | None = None

    def _known(self) -> Entry:
        return self._entry

    @property
    def _entry(self) -> Entry:
        name = self.wanted.path.name
        entry = self._journal.entries.get(name)
        if entry is None:
            entry = self._journal.entries[name] = Entry(self._sources.all[0].name)
        return entry

    async def run(self) -> None:
        self._journal = await self._shared.prepare(self)
        try:
            if await self._is_there():
                return
            await self._shared.connections.acquire()
            self._is_connected, self._begun_at = True, time.monotonic()
            try:
                await self._fetch()
            finally:
                self._all_came()
            async with self._saving:  # a journal under way would come back after it was removed
                await self._shared.publish(self)
        except Error as error:
            await in_thread(explain_full, error, self.wanted.path.parent, self._need)
            raise

    def prepare(self) -> Journal:
        """Take its lock, and see what an earlier call left; in a thread."""
        path, folders = self.wanted.path, self._shared.folders
        check_replaceable(path)
        if path.parent not in folders:
            with storing("write", path):
                path.parent.mkdir(parents=True, exist_ok=True)
            folders.add(path.parent)
        self._shared.locks.take(self._lock_path, f"fetching {path}")
        self._has_lock = True
        return read_journal_now(self._journal_path)

    def _all_came(self) -> None:
        """Let another file have its connection."""
        if self._is_connected:
            self._is_connected = False
            self._shared.connections.release()

    async def give_up(self) -> None:
        """Keep what arrived, and let go of its lock, if it was had."""
        if self._has_lock:
            await self.save()
            await in_thread(self._shared.locks.release, self._lock_path)

    def close(self) -> None:
        """Let go of the open file; thousands may follow."""
        if self._number is not None:
            self._transfer.drop(self._number)

    def _need(self) -> Need:
        return Need(max(0, (self._entry.total or 0) - used_bytes(self.part)))

    async def _is_there(self) -> bool:
        """Whether the file is at its path already, as its digest tells."""
        path, digest = self.wanted.path, self.wanted.digest
        if digest is None or not await self._shared.is_file(path):
            return False
        job = Job()
        async with self._shared.reading:
            computed = await in_job(job, hash_file, job, path, digest.algorithm)
        if computed != digest.value:
            return False
        self._entry.total = self._resumed = (await in_thread(path.stat)).st_size
        self._entry.verified = str(digest)
        self.is_done = True
        await in_thread(self.clean_up)
        return True

    async def _fetch(self) -> None:
        problem = self._journal.problem
        if self.wanted.path.name in self._journal.damaged:
            problem = f"{self._journal_path} is damaged"
        if problem or self._entry.identity != self._sources.all[0].name:
            if problem:
                self._transfer.tell(f"{problem}: starting anew")
            self._journal = Journal()
        computed = await self._repeat()
        self._entry.verified = computed if computed and self._digest else "none"

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
        if saved is None:
            self._number = await self._shared.add(self)
        else:
            # What is there may have to be read, and nobody else shall wait for that.
            self._number = await in_thread(self.add, saved)
        return self._number

    def add(self, saved: str | None = None) -> int:
        """Tell the engine of it, which opens the file; in a thread."""
        if self._entry.total is not None:
            self._check_space()
        number = self._engine.add(
            # For messages: bytes of a name that are no text cannot cross the boundary.
            os.fsencode(self.wanted.path.name).decode("utf-8", "replace"),
            self._entry.total,
            self._limits.memory_bytes,
            file=self.part,
            # Without a digest to meet, one is computed all the same: it proves what is kept.
            digest=self._digest or ("crc32", None),
            saved=saved,
            thorough=self._entry.doubtful,
        )
        with storing("read", self.part):
            self._written = _identity(self.part)
        return number

    def _check_space(self) -> None:
        check_space(self.part.parent, self._need(), self.wanted.path)

    async def _forget(self, reason: str) -> None:
        name = self.wanted.path.name
        self._transfer.tell(f"{name}: {reason.removeprefix(f'{name}: ')}. What was had of it is dropped.")
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
        with storing("remove", self.part):
            remove_journal(self._journal_path)
            self.part.unlink(missing_ok=True)

    def doubt(self) -> None:
        """The system tells of what it could not write once only: the next run has to read it."""
        self._entry.doubtful = True

    def make_visible(self) -> None:
        """Rename it, which is on the disk; in a thread.  Raises StorageError."""
        path = self.wanted.path
        with storing("publish", path):
            if _identity(self.part) != self._written:
                raise StorageError(
                    f"{self.part} is another file than was written: somebody has put it there",
                    filename=os.fspath(self.part),
                    hint="It was left as it is. See who else writes there, and run the same command again.",
                )
            try:
                self.part.replace(path)
            except OSError as error:
                # The goal is what somebody can do something about.
                error.filename = os.fspath(path)
                raise
        # At once: a run that is cancelled meanwhile must not write the journal again.
        self.is_done = True

    def clean_up(self) -> None:
        """Remove what only an unfinished file needs; in a thread.  Raises StorageError."""
        self._remove()
        self._has_lock = False
        self._shared.locks.release(self._lock_path)

    # ---- journal and screen ------------------------------------------------------------------------

    @property
    def frontier(self) -> int:
        """Bytes of it that are done with."""
        if self._number is None:
            return self._resumed if self.is_done else 0
        return self._engine.status(self._number)[1]

    @property
    def is_worth_saving(self) -> bool:
        """Whether it takes so long that a journal is due: what a younger one loses by a kill is little."""
        return time.monotonic() - self._begun_at >= JOURNAL_SECONDS

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
