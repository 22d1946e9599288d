"""One archive from its sources to the staging folder, whatever state it is found in.

First :meth:`ArchiveRun.prepare` learns what it is (size, members), then :meth:`ArchiveRun.run` gets the
bytes.  Between the two, the caller sees all archives at once and can refuse before a body byte moves.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from fdf256_fast._core import Job, Staging, hash_file
from fdf256_fast.durable import forget_cached, storing
from fdf256_fast.ends import EndReader
from fdf256_fast.errors import DigestMismatch, Error, IntegrityError, MemberError, TransferError
from fdf256_fast.journal import Entry, Journal
from fdf256_fast.plan import join, requests
from fdf256_fast.progress import ArchiveProgress
from fdf256_fast.report import ArchiveReport
from fdf256_fast.retry import Budget
from fdf256_fast.sources import OriginChanged, Source, Sources, redacted
from fdf256_fast.space import Need, block_bytes, check_space, used_bytes
from fdf256_fast.spans import Span
from fdf256_fast.transfer import Feed, Transfer
from fdf256_fast.watch import in_thread

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from fdf256_fast._core import Directory, Engine
    from fdf256_fast.catalog import Archive
    from fdf256_fast.limits import Limits
    from fdf256_fast.workspace import Workspace

__all__ = ["ArchiveRun", "Shared"]

RESTARTS_MAX = 3
"""How often an archive that changes under our hands is begun anew before it is given up."""


@dataclass(frozen=True, slots=True)
class Shared:
    """What all archives of a run have in common."""

    transfer: Transfer
    engine: Engine
    workspace: Workspace
    journal: Journal
    limits: Limits
    save: Callable[[], Awaitable[None]]
    keep_archives: bool = False
    job: Job = field(default_factory=Job)


class ArchiveRun:
    """One archive; ``directory`` is known after ``prepare`` unless its server gives no ranges.

    ``key`` is what it is called in journal and workspace: its name, unless it is a part of an archive.
    """

    def __init__(self, archive: Archive, sources: Sources, shared: Shared, key: str = "") -> None:
        self.archive = archive
        self.key = key or archive.name
        # What a part is made of has no archive file of its own to keep or to drop.
        self._file_name = key or archive.file_name
        self.sources = sources
        self.directory: Directory | None = None
        self._shared = shared
        self._budget = Budget(shared.limits.retries)
        self._number: int | None = None
        # All that the engine has or had of it since it was begun.
        self._numbers: list[int] = []
        self._resumed = 0
        self._downloaded = 0
        self._end_kept_bytes = 0
        self._end_fetched_bytes = 0
        self._is_spooling = False
        self._again: list[int] = []
        self._again_bytes = 0
        self._took_up = False
        digest = archive.digest
        identity = f"{self._file_name} {digest or redacted(archive.urls[0])}"
        self._tail = b""
        self._entry = shared.journal.entries.setdefault(self.key, Entry(identity))
        self._identity = identity
        self._digest = (digest.algorithm, digest.value) if digest else None
        self._end_reader = self._new_end_reader()

    # ---- what the caller does ----------------------------------------------------------------------

    async def prepare(self) -> None:
        """Learn the archive's size and members.  Raises what the network and the archive raise."""
        if self._entry.identity != self._identity:
            await self._forget("the catalog has another digest for it now")
        elif self._entry.is_fresh:
            # What lies there belongs to nobody: a journal was lost, or its entry.
            await in_thread(self._shared.workspace.forget_archive, self.key, self._file_name)
        if self._entry.verified:
            problem = await self._take_up_verified()
            if problem:
                await self._forget(problem)
            elif self.directory is not None and not self._again:
                return
        await self._repeat(self._read_directory)
        if self._entry.verified and self.directory is not None:
            await self._recheck(self.directory)

    async def _take_up_verified(self) -> str:
        """Use what an earlier run has finished; returns what is wrong with it, or nothing."""
        if self._shared.keep_archives and not await in_thread(self._is_kept):
            return "the earlier run did not keep the archive"
        directory = await self._end_reader.kept(self.archive.name)
        if directory is not None:
            self.directory = directory
            self._resumed = directory.total
            await self._recheck(directory)
        return ""

    def _is_kept(self) -> bool:
        """Whether the whole archive is there, perhaps still under the name that it grew under."""
        workspace = self._shared.workspace
        kept = workspace.archives / self.archive.file_name
        for part in (self._kept_part(), workspace.spool(f"{self.key}.archive")):
            if part is not None and not kept.is_file() and part.is_file():
                self._keep(part)
        algorithm, _, value = self._entry.verified.partition(":")
        if not kept.is_file():
            return False
        if not self._entry.doubtful or not value:
            return kept.stat().st_size == self._entry.total
        forget_cached(kept)
        return hash_file(self._shared.job, kept, algorithm) == value

    async def _recheck(self, directory: Directory, *, is_last: bool = True) -> None:
        """See which members the state claims and the disk has no more: they are fetched again.

        Doubts stay unless this ``is_last`` of what there is to look at.
        """
        workspace, name, entry = self._shared.workspace, self.archive.name, self._entry
        if entry.doubtful:
            self._shared.transfer.tell(f"{name}: reading what is there of it, to see whether it is sound")
        staging = await in_thread(Staging, workspace.staging(self.key))
        self._again, unrecorded = await in_thread(
            self._shared.engine.recheck,
            directory,
            staging,
            workspace.records(self.key),
            self._shared.limits.worker_threads,
            saved=None if entry.verified else entry.state or "",
            thorough=entry.doubtful,
        )
        self._again_bytes = sum(end - start for start, end in directory.extents(self._again))
        if self._again:
            self._shared.transfer.tell(
                f"{name}: {len(self._again)} of the files that were unpacked are gone or damaged on disk "
                "and are fetched again, everything else is kept"
            )
        if unrecorded:
            # The archive's digest was computed over bytes that nobody can compare any more.
            entry.crc32_only = True
            if entry.verified:
                entry.verified = "crc32"
        # If this run ends in between, what it wrote is compared with the records first.
        entry.doubtful = bool(self._again) or (entry.doubtful and not is_last)
        await self._shared.save()

    async def run(self) -> None:
        """Get, check and unpack all of it.  Raises IntegrityError, TransferError, StorageError."""
        if not self._entry.verified or self._again:
            await self._repeat(self._get)

    def save(self) -> None:
        """Bring the journal's entry up to date."""
        if self._number is not None and not self._entry.verified and not self._is_spooling:
            self._entry.state = self._shared.engine.save(self._number)

    @property
    def frontier(self) -> int:
        """The offset below which everything is done with."""
        return 0 if self._number is None else self._shared.engine.status(self._number)[1]

    @property
    def need(self) -> Need:
        """What its members will still take on disk, roughly, and the archive itself if it is kept."""
        if self.directory is None or (self._entry.verified and not self._again):
            return Need(0, 0)
        if self._entry.verified:
            block = block_bytes(self._shared.workspace.home)
            return Need(self.directory.disk_bytes(block, self._again), len(self._again))
        workspace = self._shared.workspace
        block = block_bytes(workspace.home)
        needed = self.directory.disk_bytes(block) - used_bytes(workspace.staging(self.key))
        kept = self._kept_part()
        if kept is not None:
            needed += self.directory.total - used_bytes(kept)
        needed += self.directory.spool_bytes(self._shared.limits.memory_bytes)
        files = self.directory.members
        if self._number is None and not self._entry.state:
            return Need(max(0, needed), files)
        unpacked = self._shared.engine.status(self._number)[2] if self._number is not None else files
        return Need(max(0, needed), max(0, files - unpacked))

    @property
    def progress(self) -> ArchiveProgress:
        """Where it stands."""
        total = self.directory.total if self.directory else self._entry.total
        members = self.directory.files if self.directory else None
        if self._entry.verified:
            return ArchiveProgress(
                self.archive.name, total, total or 0, self._resumed, total or 0, members, members or 0, "done"
            )
        if self._number is None:
            return ArchiveProgress(self.archive.name, total, members=members)
        arrived, frontier, unpacked, _ = self._shared.engine.status(self._number)
        return ArchiveProgress(
            self.archive.name, total, arrived, self._resumed, frontier, members, unpacked, "receiving"
        )

    @property
    def report(self) -> ArchiveReport:
        """What became of it."""
        size = self.progress.size or 0
        rest = Span(self._resumed, max(self._resumed, size - self._end_fetched_bytes))
        return ArchiveReport(
            name=self.archive.name,
            bytes=size,
            bytes_downloaded=self._downloaded,
            bytes_resumed=self._resumed,
            verified=self._entry.verified.partition(":")[0] or "none",
            url=self._entry.source or self.sources.all[0].name,
            members=self.directory.files if self.directory else None,
            bytes_to_fetch=rest.length,
            requests=requests([rest] if rest.length else []),
        )

    @property
    def manifest_part(self) -> tuple[Directory, Path, list[int] | None] | None:
        """Directory, records, and (where it is not all of them) members, for the manifest."""
        return self.directory and (self.directory, self._shared.workspace.records(self.key), None)

    def take_over(self, part: ArchiveRun) -> None:
        """Go on with what ``part`` has learnt of the same archive: nothing of it is had, all is wanted.

        The end of the archive has been moved to its place already.
        """
        entry, learnt = self._entry, part._entry
        entry.total, entry.validators, entry.end = learnt.total, learnt.validators, learnt.end
        entry.source, entry.directory_start = learnt.source, learnt.directory_start
        self.directory, self._tail = part.directory, part._tail
        self._downloaded, self._end_kept_bytes = part._downloaded, part._end_kept_bytes
        self._end_fetched_bytes = part._end_fetched_bytes

    # ---- beginning anew ----------------------------------------------------------------------------

    async def _repeat(self, step: Callable[[], Awaitable[None]]) -> None:
        """Do ``step``; when the origin's file changes under it, begin anew with the new one."""
        for restart in range(RESTARTS_MAX + 1):
            try:
                await step()
            except OriginChanged as error:
                if restart == RESTARTS_MAX:
                    raise error.as_final() from error
                await self._forget(error.message)
            except TransferError as error:
                other = None if restart == RESTARTS_MAX else self.sources.second_opinion(error)
                if other is None:
                    # Addresses are often opaque; the archive's name is not.
                    error.message = f"{self.archive.name}: {error.message}"
                    raise self.sources.explained(error) from error
                await self._forget(f"{error.message}; {other.name} has another file")
            except IntegrityError as error:
                # Members that pass and a digest that does not, or a directory that cannot be: whoever
                # sent this does not have the archive.
                if self._took_up and isinstance(error, DigestMismatch) and restart < RESTARTS_MAX:
                    # What an earlier run left may be the culprit as well as the source.
                    self._took_up = False
                    await self._forget(f"{error.message}, with what an earlier run had left")
                    continue
                culprit = self.sources.best()
                if restart == RESTARTS_MAX or not self.sources.has_other_than(culprit):
                    raise self._explained(error) from error
                culprit.dead = error
                await self._forget(f"{error.message}; it came from {culprit.name}")
            else:
                return

    async def _forget(self, reason: str) -> None:
        """Drop what was had of the archive: never a mixture of two files."""
        name = self.archive.name
        self._shared.transfer.tell(f"{name}: {reason}. What was had of it is dropped, it starts anew.")
        for number in self._numbers:
            self._shared.engine.abandon(number)
            # Who still writes a member would put it back into a folder that is being removed.
            await in_thread(self._shared.engine.rest, number)
        self._numbers.clear()
        self._number = None
        self._resumed = 0
        self._again, self._again_bytes = [], 0
        self._budget.restart()
        self.directory = None
        for source in self.sources.all:
            source.forget()
        self._entry = Entry(self._identity)
        self._shared.journal.entries[self.key] = self._entry
        self._end_reader = self._new_end_reader()
        await in_thread(self._shared.workspace.forget_archive, self.key, self._file_name)
        await self._shared.save()

    def _explained(self, error: IntegrityError) -> Error:
        page = self.sources.best().web_page_hint
        if page:
            error.hint = page
        elif isinstance(error, MemberError):
            error.hint = (
                f"It came from {self.sources.best().name}, more than once where that could help; nothing of "
                "it was published. Try another source, or ask whoever made the archive."
            )
        elif isinstance(error, DigestMismatch):
            error.hint = (
                f"All bytes came from {self.sources.best().name}, and nothing of them was published. "
                "The file there is not the expected one, or was damaged; try another source."
            )
        return error

    # ---- the directory -----------------------------------------------------------------------------

    def _new_end_reader(self) -> EndReader:
        return EndReader(
            self._shared.transfer,
            self._shared.workspace.end(self.key),
            self._entry,
            vouched=self._digest is not None,
            policy=self._shared.limits.policy,
            count=self._count,
            arrived=self._budget.refill,
            save=self._shared.save,
        )

    async def _read_directory(self) -> None:
        async def read(source: Source) -> None:
            before = self._downloaded
            found = await self._end_reader.read(self.archive.name, source)
            self.directory, self._tail = found or (None, b"")
            # What of the end was on disk already counts as resumed, like the rest; a local copy's does not.
            came = self._downloaded - before if source.path is None else len(self._tail)
            self._end_kept_bytes = max(0, len(self._tail) - came)
            self._end_fetched_bytes = len(self._tail) - self._end_kept_bytes
            self._entry.source = source.name

        await self._shared.transfer.ask(self.sources, self._budget, read)

    def _count(self, length: int) -> None:
        self._downloaded += length
        self._shared.transfer.count(None, length)

    # ---- the bytes ---------------------------------------------------------------------------------

    async def _get(self) -> None:
        if self.directory is None:
            await self._read_directory()
        if self._entry.verified and self.directory is not None:
            await self._fetch_again(self.directory)
        elif self.directory is None:
            await self._spool()
        else:
            await self._unpack(self.directory)

    async def _unpack(self, directory: Directory) -> None:
        """The one pass: spans from anywhere, members as they come."""
        number = await self._add_unpacking(directory, self._digest, kept=self._kept_part())
        tail, self._tail = self._tail, b""
        tail_start = directory.total - len(tail)
        frontier = self.frontier
        feed = self._feed(number, directory.total, cursor=min(frontier, tail_start), end=tail_start)
        self._shared.engine.write(number, tail_start, tail)
        if self._again:
            await self._fetch_again(directory)
        computed = await self._serve(feed)
        await self._verified(computed or "crc32")
        if self._shared.keep_archives:
            await in_thread(self._keep, self._kept_part())

    async def _fetch_again(self, directory: Directory) -> None:
        """Fetch and unpack the members that the disk has lost, and nothing else.

        The state of the archive's digest stays as it is: a member whose record is there must become the
        very file that it was.
        """
        spans = join(directory.extents(self._again))
        await self._serve(await self._feed_of(directory, self._again, spans))
        self._again, self._again_bytes = [], 0
        self._entry.doubtful = False
        await self._shared.save()

    async def _feed_of(self, directory: Directory, members: list[int], spans: list[Span]) -> Feed:
        """A feed that unpacks ``members`` and nothing else, and asks for ``spans``."""
        workspace, shared = self._shared.workspace, self._shared
        staging = await in_thread(Staging, workspace.staging(self.key))
        spool = workspace.spool(f"{self.key}.again")
        number = await in_thread(
            partial(
                shared.engine.add,
                self.archive.name,
                directory.total,
                shared.limits.memory_bytes,
                unpack=(directory, staging, workspace.records(self.key), spool),
                redo=members,
            )
        )
        self._numbers.append(number)
        feed = self._feed(number, directory.total, cursor=directory.total, end=directory.total)
        feed.fetch_again(spans)
        return feed

    async def _add_unpacking(
        self,
        directory: Directory,
        digest: tuple[str, str | None] | None,
        *,
        kept: Path | None,
    ) -> int:
        workspace, name = self._shared.workspace, self.archive.name
        staging = await in_thread(Staging, workspace.staging(self.key))
        thorough = self._entry.doubtful
        self._took_up = self._entry.state is not None
        if self._took_up:
            await self._recheck(directory, is_last=False)

        def add(saved: str | None) -> int:
            return self._shared.engine.add(
                name,
                directory.total,
                self._shared.limits.memory_bytes,
                file=kept,
                digest=digest,
                unpack=(directory, staging, workspace.records(self.key), workspace.spool(self.key)),
                saved=saved,
                thorough=thorough,
            )

        saved = self._entry.state
        try:
            self._number = await in_thread(add, saved)
        except ValueError as error:
            self._shared.transfer.tell(f"{error}; {name} starts anew")
            self._took_up = False
            self._entry.state = None
            self._again, self._again_bytes = [], 0
            self._number = await in_thread(add, None)
        self._numbers.append(self._number)
        # By now the archive that is kept has been read, too.
        self._entry.doubtful = bool(self._again)
        lost = self._shared.engine.lost(self._number)
        if lost:
            self._shared.transfer.tell(f"{name}: {lost} bytes of it are gone from the disk and fetched again")
        self._resumed = min(directory.total, self.frontier + self._end_kept_bytes) - self._again_bytes
        return self._number

    async def _spool(self) -> None:
        """The slower path with the same guarantees: the whole archive to a part file, over one stream,
        and from there like any local archive.
        """
        directory, local, computed = await self._spooled()
        number = await self._add_unpacking(directory, None, kept=None)
        feed = self._feed(number, directory.total, cursor=0, end=directory.total)
        feed.sources = Sources([local])
        await self._serve(feed)
        await self._verified(computed or "crc32")
        spool = self._shared.workspace.spool(f"{self.key}.archive")
        if self._shared.keep_archives:
            await in_thread(self._keep, spool)
        else:
            await in_thread(_remove, spool)

    async def _spooled(self) -> tuple[Directory, Source, str | None]:
        """The archive as a local file, its directory, and its digest (if one is known that it must have)."""
        workspace, name = self._shared.workspace, self.archive.name
        spool = workspace.spool(f"{self.key}.archive")
        # Nothing says that the server sends the same file as in an earlier run.
        await in_thread(workspace.forget_archive, self.key, self._file_name)
        self._entry.state = self._entry.total = None
        self._is_spooling = True
        computed = await self._shared.transfer.ask(
            self.sources, self._budget, lambda source: self._stream(source, spool)
        )
        local = Source.parse(str(spool))
        self._entry.total = None
        found = await self._end_reader.read(name, local)
        assert found is not None
        directory = self.directory = found[0]
        await in_thread(lambda: check_space(workspace.home, self.need, workspace.target))
        # What is saved from now on is the state of the unpacking, not that of the stream before it.
        self._number = None
        self._is_spooling = False
        return directory, local, computed

    async def _stream(self, source: Source, spool: Path) -> str | None:
        engine, transfer = self._shared.engine, self._shared.transfer
        async with transfer.get(source, vouched=self._digest is not None) as answer:
            self._entry.source = source.name
            self._entry.total = answer.total
            if answer.total is not None:
                await in_thread(check_space, self._shared.workspace.home, Need(answer.total), spool)
            add = engine.add
            number = await in_thread(
                lambda: add(
                    self.archive.name,
                    answer.total,
                    self._shared.limits.memory_bytes,
                    file=spool,
                    digest=self._digest,
                )
            )
            self._number = number
            self._numbers.append(number)
            feed = self._feed(number, answer.total or 0, cursor=0, end=0)
            transfer.add(feed)
            try:
                await transfer.stream(feed, answer, source)
                return await feed.done
            except BaseException:
                engine.abandon(number)
                # Who still writes what came would write it into the file that the next attempt begins.
                await in_thread(engine.rest, number)
                raise
            finally:
                transfer.remove(feed)
                self._downloaded += feed.downloaded

    def _feed(self, number: int, total: int, *, cursor: int, end: int) -> Feed:
        return Feed(
            self.archive.name,
            number,
            self.sources,
            total,
            cursor,
            end,
            self._budget,
            vouched=self._digest is not None,
        )

    async def _serve(self, feed: Feed) -> str | None:
        self._shared.transfer.add(feed)
        try:
            return await feed.done
        finally:
            self._shared.transfer.remove(feed)
            self._downloaded += feed.downloaded

    async def _verified(self, digest: str) -> None:
        self._entry.verified = "crc32" if self._entry.crc32_only else digest
        self._entry.digest = str(self.archive.digest or "")
        self._entry.members = self.directory.files if self.directory else None
        self._entry.state = None
        await self._shared.save()

    def _kept_part(self) -> Path | None:
        if not self._shared.keep_archives:
            return None
        return self._shared.workspace.kept_part(self.archive.file_name)

    def _keep(self, part: Path | None) -> None:
        assert part is not None
        archives = self._shared.workspace.archives
        with storing("keep", archives / self.archive.file_name):
            archives.mkdir(parents=True, exist_ok=True)
            part.replace(archives / self.archive.file_name)


def _remove(path: Path) -> None:
    with storing("remove", path):
        path.unlink(missing_ok=True)
