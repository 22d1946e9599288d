"""Some members of one archive: those that are wanted and not had yet, wherever they may be had from.

A member may be in the target already (the manifest says so, and its size is right), may lie there without a
manifest (its CRC-32 is right: it is adopted), or may wait in staging since an earlier call.  Only the rest is
fetched.  Each member that is done has its record, so that an interrupted part needs no other state.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from fdf256_fast._core import Staging
from fdf256_fast.archive_run import ArchiveRun, Shared
from fdf256_fast.durable import storing
from fdf256_fast.forgotten import is_forgotten
from fdf256_fast.plan import join, requests
from fdf256_fast.progress import ArchiveProgress
from fdf256_fast.report import ArchiveReport
from fdf256_fast.selection import Image, image_of
from fdf256_fast.sources import Source, Sources, redacted
from fdf256_fast.space import Need, block_bytes
from fdf256_fast.watch import in_job, in_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fdf256_fast._core import Directory
    from fdf256_fast.catalog import Archive
    from fdf256_fast.journal import Entry
    from fdf256_fast.spans import Span
    from fdf256_fast.transfer import Feed
    from fdf256_fast.workspace import Workspace

__all__ = ["PartRun", "Tree", "archive_of", "part_key"]

Wants: TypeAlias = "Callable[[str], bool]"
"""Whether a path is wanted."""

_PART = "~part"
"""Not allowed in an archive's name."""

ADOPT_MEMBERS = 1000
"""So many files are read between two looks at the counters: some 100 MB of FDF256's images."""

STATE = "part"
"""In place of the core's state: the records are all that a part needs."""


def part_key(name: str) -> str:
    """What a part of archive ``name`` is called in journal and workspace."""
    return name + _PART


def archive_of(key: str) -> str:
    """The name of the archive that ``key`` is, or is a part of."""
    return key.removesuffix(_PART)


@dataclass(frozen=True, slots=True)
class Tree:
    """What is known of the target before the run.

    ``manifest`` is None where it does not vouch for this archive (but for a repair, which has to make what it
    says); ``verified`` is how the archive's files in it were verified, empty where it does not vouch for
    them.  Files in ``damaged`` do not count as there.  ``forgotten`` are never wanted.  With ``is_dry`` files
    are not read.
    """

    target: Path
    manifest: Path | None = None
    verified: str = ""
    damaged: frozenset[str] = frozenset()
    forgotten: frozenset[str] = frozenset()
    is_dry: bool = False


@dataclass(slots=True)
class _Part:
    """Members by number, each list in ascending order.

    ``files`` are the wanted ones.  Of all files of the archive, ``listed`` are in the target; of the wanted,
    ``adopted`` are too, ``missing`` must be fetched.  ``is_new`` where any of the wanted ones has no SHA-256
    in the manifest that it must have.
    """

    files: list[int]
    listed: set[int]
    adopted: list[int]
    missing: list[int]
    is_new: bool
    of: int
    """Files of this archive that are not forgotten."""
    spans: list[Span] = field(default_factory=list)
    bytes: int = 0
    missing_bytes: int = 0
    members: int = 0
    """Files of this archive in the target after the run."""
    images: frozenset[Image] = frozenset()
    """Those among the wanted files."""
    staged: frozenset[str] = frozenset()
    """Paths of the wanted files that come from staging, now or when they are fetched."""
    has_records: bool = False
    """Whether some of the missing have the SHA-256 in their record already that they must have."""


class PartRun(ArchiveRun):
    """One archive of which some members are wanted; :meth:`settle` comes between ``prepare`` and ``run``."""

    def __init__(self, archive: Archive, sources: Sources, shared: Shared, tree: Tree) -> None:
        super().__init__(archive, sources, shared, part_key(archive.name))
        self._tree = tree
        self._wants: Wants = lambda _: True
        self._part: _Part | None = None
        self._feed_again: Feed | None = None
        self._local: Source | None = None
        self._streamed = ""
        self._checking: tuple[int, int, int, int] | None = None

    # ---- what the caller does ----------------------------------------------------------------------

    async def prepare(self) -> None:
        """Learn the archive's members.  Raises what the network and the archive raise."""
        if self._entry.identity != self._identity:
            await self._forget("the catalog has another digest for it now")
        elif self._entry.is_fresh:
            await in_thread(self._shared.workspace.forget_archive, self.key, self._file_name)
        # Of a run that was ended while it published: staging says what is left of it.
        self._entry.verified = ""
        await in_thread(self._take_back_spare)
        await self._repeat(self._learn)
        await self._take_over_whole()

    async def settle(self, wants: Wants) -> None:
        """Find out which of the wanted members are had.  Raises StorageError."""
        self._wants = wants
        await self._repeat(self._look)

    async def names(self) -> list[str]:
        """The paths of the archive's files that are not forgotten."""
        assert self.directory is not None
        found = await in_thread(self.directory.names)
        forgotten = self._tree.forgotten
        return [name for name in found if not name.endswith("/") and not is_forgotten(name, forgotten)]

    async def found(self) -> tuple[list[str], list[str]]:
        """After ``settle``: the paths of the wanted files that are in the target, and of the others."""
        assert self.directory is not None
        assert self._part is not None
        names, part = await in_thread(self.directory.names), self._part
        here = part.listed.union(part.adopted)
        return [names[index] for index in part.files if index in here], [
            names[index] for index in part.files if index not in here
        ]

    @property
    def is_untouched(self) -> bool:
        """Whether every file of the archive is wanted and none is had, so that all of it can be fetched."""
        part = self._part
        directory = self.directory
        return (
            part is not None
            and directory is not None
            and self._local is None
            and len(part.files) == len(part.missing) == directory.files
            and not part.listed
            and not self._tree.damaged
        )

    @property
    def images(self) -> frozenset[Image]:
        """The images that are wanted, had or not."""
        return self._part.images if self._part is not None else frozenset()

    @property
    def is_wanted(self) -> bool:
        """Whether any of its files is."""
        return self._part is not None and bool(self._part.files)

    async def run(self) -> None:
        """Get, check and unpack what is missing.  Raises IntegrityError, TransferError, StorageError."""
        await self._repeat(self._get_part)
        part = self._part
        assert part is not None
        entry = self._entry
        entry.verified = self._verified_by(part)
        entry.digest = str(self.archive.digest or "")
        entry.members, entry.of = part.members, part.of
        if self._local is not None and self._local.path is not None:
            with storing("remove", self._local.path):
                await in_thread(self._local.path.unlink, missing_ok=True)
        await self._shared.save()

    def finished_parts(self, token: str) -> None:
        """The selection ``token`` is complete with this run."""
        self._entry.parts = [token] if token else []

    def save(self) -> None:
        """Nothing to bring up to date: the records are the state."""

    def set_aside(self) -> None:
        """Move all out of the way that lies in staging and is not this run's.  Raises StorageError.

        That is what an earlier call wanted, and also what it left half-written of files that have come into
        the target by another way meanwhile: nobody has checked it.
        """
        assert self._part is not None
        staging = self._shared.workspace.staging(self.key)
        spare, staged = self._shared.workspace.spare(self.key), self._part.staged
        with storing("move", spare):
            _move_files(staging, spare, lambda path: path not in staged)

    @property
    def frontier(self) -> int:
        """Bytes of the part that are done with."""
        if self._number is None or self._feed_again is None:
            return super().frontier
        return self._feed_again.again_done(super().frontier)

    @property
    def need(self) -> Need:
        """What the missing members will take on disk."""
        directory, part = self.directory, self._part
        if directory is None or part is None:
            return Need(0, 0)
        block = block_bytes(self._shared.workspace.home)
        needed = directory.disk_bytes(block, part.missing)
        if part.missing:
            needed += directory.spool_bytes(self._shared.limits.memory_bytes)
        return Need(needed, len(part.missing))

    @property
    def progress(self) -> ArchiveProgress:
        """Where it stands; sizes are those of the part."""
        part = self._part
        if self._checking is not None:
            size, read, files, done = self._checking
            return ArchiveProgress(self.archive.name, size, read, read, read, files, done, "receiving")
        if part is None:
            return super().progress
        had = part.bytes - part.missing_bytes
        files, done = len(part.files), len(part.files) - len(part.missing)
        arrived = verified = part.missing_bytes if self._entry.verified else 0
        if self._feed_again is not None and self._number is not None and not self._entry.verified:
            arrived, _, unpacked, _ = self._shared.engine.status(self._number)
            done += unpacked
            verified = min(self.frontier, arrived)
        elif self._entry.verified:
            done = files
        state = "done" if self._entry.verified else "receiving" if self._feed_again else "waiting"
        return ArchiveProgress(
            self.archive.name,
            part.bytes,
            had + min(arrived, part.missing_bytes),
            had,
            had + min(verified, part.missing_bytes),
            files,
            done,
            state,
        )

    @property
    def report(self) -> ArchiveReport:
        """What became of it; sizes are those of the part."""
        whole = super().report
        part = self._part
        if part is None:
            return whole
        return ArchiveReport(
            name=whole.name,
            bytes=part.bytes,
            bytes_downloaded=whole.bytes_downloaded,
            bytes_resumed=part.bytes - part.missing_bytes,
            verified=whole.verified,
            url=whole.url,
            members=len(part.files),
            bytes_to_fetch=sum(span.length for span in part.spans),
            requests=requests(part.spans),
            adopted=len(part.adopted),
        )

    @property
    def manifest_part(self) -> tuple[Directory, Path, list[int] | None] | None:
        """Directory, records, and the members that the manifest does not have yet."""
        if self.directory is None or self._part is None:
            return None
        fresh = [index for index in self._part.files if index not in self._part.listed]
        return self.directory, self._shared.workspace.records(self.key), fresh

    # ---- what is had -------------------------------------------------------------------------------

    async def _learn(self) -> None:
        await self._read_directory()
        if self.directory is None:
            _, self._local, computed = await self._spooled()
            self._streamed = computed or ""

    async def _look(self) -> None:
        if self.directory is None:
            await self._learn()
        directory = self.directory
        assert directory is not None
        names = await in_thread(directory.names)
        forgotten = self._tree.forgotten
        everything = [
            index
            for index, name in enumerate(names)
            if not name.endswith("/") and not is_forgotten(name, forgotten)
        ]
        files = [index for index in everything if self._wants(names[index])]
        listed, broken, unlisted = await self._survey(directory, everything)
        wanted = set(files)
        adopted = await self._adopt(directory, [index for index in unlisted if index in wanted])
        had = {*listed, *adopted}
        rest = [index for index in files if index not in had]
        missing = await self._unstaged(directory, self._with_folders(names, files, rest))
        extents = directory.extents(missing)
        # The end of the archive is here: what of them lies in it need not come again.
        here = directory.total - len(self._tail)
        self._part = _Part(
            files=files,
            listed=set(listed),
            adopted=adopted,
            missing=missing,
            is_new=bool(wanted - set(listed) - set(broken)),
            of=len(everything),
            spans=join([(start, min(end, here)) for start, end in extents if start < here]),
            bytes=sum(end - start for start, end in directory.extents(files)),
            missing_bytes=sum(end - start for start, end in extents),
            # Of files that nobody vouches for, as a repair may find them, it is not known whose they are.
            members=len(had | wanted if self._tree.verified else wanted.union(adopted)),
            images=frozenset(image for index in files if (image := image_of(names[index]))),
            staged=frozenset(names[index] for index in rest),
            has_records=not set(broken).isdisjoint(missing),
        )

    @staticmethod
    def _with_folders(names: Sequence[str], files: Sequence[int], rest: list[int]) -> list[int]:
        """``rest``, and the archive's folders too if all of its files are wanted: some may be empty."""
        folders = [index for index, name in enumerate(names) if name.endswith("/")]
        return sorted([*rest, *folders]) if rest and len(files) + len(folders) == len(names) else rest

    async def _survey(self, directory: Directory, files: list[int]) -> tuple[list[int], list[int], list[int]]:
        tree = self._tree
        records = self._shared.workspace.records(self.key)
        job = self._shared.job
        arguments = (job, files, tree.target, tree.manifest, tree.damaged, records)
        return await in_job(job, directory.survey, *arguments)

    async def _adopt(self, directory: Directory, members: list[int]) -> list[int]:
        """Which of these, that lie in the target without a manifest, are what they should be."""
        if not members or self._tree.is_dry:
            return members
        self._shared.transfer.tell(
            f"{self.archive.name}: reading {len(members)} files that are there already, to see whether they "
            "are right"
        )
        target = Staging(self._tree.target, read_only=True)
        sizes = [end - start for start, end in directory.extents(members)]
        wrong: set[int] = set()
        for at in range(0, len(members), ADOPT_MEMBERS):
            self._checking = (sum(sizes), sum(sizes[:at]), len(members), at)
            some = members[at : at + ADOPT_MEMBERS]
            wrong.update(await self._recheck_members(directory, target, some, thorough=True))
        self._checking = None
        return [index for index in members if index not in wrong]

    async def _unstaged(self, directory: Directory, members: list[int]) -> list[int]:
        """Which of these are not in staging."""
        if not members:
            return []
        entry = self._entry
        staging = await in_thread(Staging, self._shared.workspace.staging(self.key))
        looked_at = members
        if entry.doubtful:
            # Doubts are about all that is there, whatever is wanted now.
            names = await in_thread(directory.names)
            files = (index for index, name in enumerate(names) if not name.endswith("/"))
            looked_at = sorted({*members, *files})
        gone = set(await self._recheck_members(directory, staging, looked_at, thorough=entry.doubtful))
        missing = [index for index in members if index in gone]
        entry.doubtful = False
        if entry.state != STATE:
            # From now on only the very same directory will do.
            entry.state = STATE
            await self._shared.save()
        return missing

    async def _recheck_members(
        self, directory: Directory, folder: Staging, members: list[int], *, thorough: bool
    ) -> list[int]:
        shared = self._shared
        recheck = partial(
            shared.engine.recheck,
            directory,
            folder,
            shared.workspace.records(self.key),
            shared.limits.worker_threads,
            members=members,
            thorough=thorough,
        )
        return (await in_thread(recheck))[0]

    def _verified_by(self, part: _Part) -> str:
        """How this archive's files in the target are verified now, all of them."""
        if not part.is_new and self._tree.verified:
            # What was fetched again had to become what it was.
            return self._tree.verified
        if self._streamed and not part.listed and not part.adopted:
            return self._streamed
        return "crc32"

    # ---- the bytes ---------------------------------------------------------------------------------

    async def _get_part(self) -> None:
        if self.directory is None:
            await self._look()
        directory, part = self.directory, self._part
        assert directory is not None
        assert part is not None
        if not part.missing:
            return
        feed = await self._feed_of(directory, part.missing, part.spans)
        if self._local is not None:
            feed.sources = Sources([self._local])
        tail, self._tail = self._tail, b""
        self._shared.engine.write(feed.number, directory.total - len(tail), tail)
        self._number, self._feed_again = feed.number, feed
        try:
            if part.has_records:
                # A file that is cut off from its check must not be believed for its record.
                self._entry.doubtful = True
                await self._shared.save()
            await self._serve(feed)
            self._entry.doubtful = False
        except BaseException:
            # What is done has its record; another try looks for it again.
            self._number = self._feed_again = None
            raise

    async def _forget(self, reason: str) -> None:
        await super()._forget(reason)
        self._part = self._feed_again = self._local = None
        self._streamed = ""

    # ---- what an earlier call wanted ---------------------------------------------------------------

    def is_of(self, whole: Entry | None) -> bool:
        """Whether ``whole`` is an entry of all of this very archive, of which something is had."""
        digest, mine = self.archive.digest, self._entry
        return (
            whole is not None
            and bool(whole.state or whole.verified)
            and whole.identity == f"{self.archive.file_name} {digest or redacted(self.archive.urls[0])}"
            and bool(mine.end)
            and (whole.end, whole.total) == (mine.end, mine.total)
        )

    async def _take_over_whole(self) -> None:
        """Go on with what an interrupted run of the whole archive had, if images of it are to stay out now.

        As a whole it can never be finished then.  Members have the same numbers in both, and each file is
        looked at again before it counts (``_unstaged``): so it does not matter where this is cut off.
        """
        entries, name, workspace = self._shared.journal.entries, self.archive.name, self._shared.workspace
        whole = entries.get(name)
        if self._tree.is_dry or self._entry.state is not None or not self.is_of(whole):
            return
        assert whole is not None
        if not await in_thread(self._holds_forgotten):
            return
        self._entry.doubtful = self._entry.doubtful or whole.doubtful
        await in_thread(_move_archive, workspace, name, self.key)
        del entries[name]
        await in_thread(workspace.forget_archive, name, self.archive.file_name)
        await self._shared.save()

    def _holds_forgotten(self) -> bool:
        forgotten = self._tree.forgotten
        names = self.directory.names() if forgotten and self.directory is not None else []
        return any(is_forgotten(name, forgotten) for name in names)

    def _take_back_spare(self) -> None:
        spare, staging = self._shared.workspace.spare(self.key), self._shared.workspace.staging(self.key)
        with storing("move", spare):
            _move_files(spare, staging, lambda _: True)
        with storing("remove", staging):
            _remove_files(staging, self._tree.forgotten)


def _move_archive(workspace: Workspace, name: str, key: str) -> None:
    """Let what was unpacked of archive ``name``, and the records of it, be those of ``key``."""
    staging, goal = workspace.staging(name), workspace.staging(key)
    with storing("move", staging):
        if staging.is_dir():
            if goal.is_dir():
                _move_files(staging, goal, lambda _: True)
            else:
                staging.replace(goal)
        with contextlib.suppress(FileNotFoundError):
            workspace.records(name).replace(workspace.records(key))


def _remove_files(folder: Path, forgotten: frozenset[str]) -> None:
    """Remove what is forgotten, however its number is written."""
    for inside, _, names in os.walk(folder) if forgotten else ():
        for name in names:
            path = Path(inside, name)
            if is_forgotten(path.relative_to(folder).as_posix(), forgotten):
                path.unlink()


def _move_files(source: Path, goal: Path, chosen: Wants) -> None:
    """Move the files in ``source`` whose relative paths are ``chosen`` to the same places in ``goal``."""
    left: set[str] = set()
    for folder, folders, names in os.walk(source, topdown=False):
        inside = os.path.relpath(folder, source)
        moved = 0
        for name in names:
            path = name if inside == "." else f"{inside}/{name}"
            if chosen(path):
                to = goal / path
                to.parent.mkdir(parents=True, exist_ok=True)
                os.replace(f"{folder}/{name}", to)  # noqa: PTH105 - there may be very many of them
                moved += 1
        # A folder that was empty before is one of the archive's.
        if moved or any(f"{folder}/{name}" in left for name in folders):
            with contextlib.suppress(OSError):  # not empty
                os.rmdir(folder)  # noqa: PTH106
                left.add(folder)
