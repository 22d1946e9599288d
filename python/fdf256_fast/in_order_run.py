"""An archive of which nothing says what lies where: a tar, or a plain file.

A tar, and a plain file, is unpacked while it comes, in the order of its bytes; a compressed tar, whose
decompressor cannot be saved in its middle, when all of it is here.  Nothing is published before the digest of
the whole is right.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from fdf256_fast._core import Job, LocalArchive, Names, Staging, Untar, append_sums
from fdf256_fast.archive_run import ArchiveRun, Shared
from fdf256_fast.durable import replacing, storing
from fdf256_fast.errors import Error, IntegrityError, MemberError, UsageError
from fdf256_fast.forgotten import is_forgotten
from fdf256_fast.in_order import InOrder
from fdf256_fast.listings import NO_DIGEST, read_listing, read_paths, without_digests
from fdf256_fast.space import Need, used_bytes
from fdf256_fast.watch import in_job, in_thread
from fdf256_fast.workspace import file_size

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from fdf256_fast.catalog import Archive
    from fdf256_fast.journal import Entry
    from fdf256_fast.progress import ArchiveProgress
    from fdf256_fast.record import Record
    from fdf256_fast.report import ArchiveReport
    from fdf256_fast.selection import Selection
    from fdf256_fast.sources import Source, Sources
    from fdf256_fast.workspace import Workspace

__all__ = ["Company", "InOrderRun", "check_selection", "without_digest"]


def check_selection(archives: Iterable[Archive], selection: Selection) -> None:
    """Refuse to look for single images in tars.  Raises UsageError."""
    tars = [archive.file_name for archive in archives if archive.kind in {"tar", "compressed tar"}]
    if tars and not selection.is_everything:
        raise UsageError(
            f"{tars[0]}: a tar does not say what lies where in it, so no part of it can be fetched",
            hint="Select by --license or --metadata-only, which choose whole archives.",
        )


def without_digest(archives: Sequence[Archive]) -> str:
    """What to say once of archives that nobody has published a digest of; empty if there are none."""
    found = [archive for archive in archives if archive.digest is None]
    if not found:
        return ""
    names = "any of it" if len(found) == len(archives) else ", ".join(archive.file_name for archive in found)
    if all(archive.kind == "zip" for archive in found):
        checked = "each file is held to the CRC-32 in its archive, which finds damage but no other version"
    else:
        checked = "what is in a zip is held to its CRC-32, tars and plain files to nothing"
    return f"No digest is published for {names}: {checked}."


@dataclass(slots=True)
class Company:
    """What the runs of one installation share: the names that are taken, and what is known of the target.

    ``installed`` and ``record`` are None for what is only unpacked; ``redo`` are paths to be repaired.
    """

    names: Names
    installed: Workspace | None = None
    record: Record | None = None
    forgotten: frozenset[str] = frozenset()
    redo: frozenset[str] | None = None
    _numbers: dict[str, int] = field(default_factory=dict)

    def number(self, key: str) -> int:
        """The number of an archive among those that share the names."""
        return self._numbers.setdefault(key, len(self._numbers))

    def claim(self, runs: Iterable[ArchiveRun]) -> None:
        """Take the names of all zips, if others may want them too.  Raises MemberError."""
        if any(isinstance(run, InOrderRun) for run in runs):
            for run in runs:
                if run.directory is not None:
                    self.names.claim(Job(), run.directory, self.number(run.key))


class InOrderRun(ArchiveRun, InOrder):
    """A tar or a plain file, from its sources to the staging folder."""

    def __init__(self, archive: Archive, sources: Sources, shared: Shared, company: Company) -> None:
        InOrder.__init__(self, archive.name)
        ArchiveRun.__init__(self, archive, sources, shared)
        self._transfer, self._engine, self._sources = shared.transfer, shared.engine, sources
        self._company = company
        self._without: set[str] = set()
        self._is_installed = False
        # Whether lines of it may be missing in the manifest; its list has them all.
        self._is_doubtful = False
        self.is_wanted = True
        """Whether anything of it is to be done, or was done; known after ``prepare``."""

    # ---- what the caller does ----------------------------------------------------------------------

    async def prepare(self) -> None:
        """Learn its size, and whether it is installed.  Raises what the network raises."""
        if self._entry.identity != self._identity:
            await self._forget("the catalog has another digest for it now")
        elif self._entry.is_fresh:
            # What lies there belongs to nobody: a journal was lost, or its entry.
            await in_thread(self._shared.workspace.forget_archive, self.key, self._file_name)
        redo = self._company.redo
        if redo is not None:
            self.is_wanted = not redo.isdisjoint(await in_thread(self._installed_paths))
        if not self.is_wanted or await self._find_installed():
            return
        if self._entry.verified:
            problem = await self._take_up()
            if not problem:
                return
            await self._forget(problem)
        if self._entry.total is None:
            await self._repeat(lambda: self._transfer.ask(self.sources, self._budget, self._learn))

    async def run(self) -> None:
        """Get, check and unpack it.  Raises IntegrityError, TransferError, StorageError."""
        if not self._entry.verified:
            await self._repeat(self._get)

    def save(self) -> None:
        """Bring the journal's entry up to date."""
        if self._entry.total is not None:
            super().save()

    @property
    def need(self) -> Need:
        """What it will still take on disk: as much as its own size, twice if it must be here as a whole."""
        total, workspace = self._entry.total, self._shared.workspace
        if self._entry.verified or total is None:
            return Need(0, 0)
        needed = max(0, total - used_bytes(workspace.staging(self.key)))
        whole = self._whole if self._is_compressed else self._kept_part()
        if whole is not None:
            needed += max(0, total - used_bytes(whole))
        return Need(needed)

    @property
    def progress(self) -> ArchiveProgress:
        """Where it stands."""
        found, members = super().progress, self._entry.members
        unpacked = members or 0 if self._entry.verified else found.unpacked
        return found._replace(members=members, unpacked=unpacked)

    @property
    def report(self) -> ArchiveReport:
        """What became of it."""
        members = 1 if self.archive.kind == "file" else self._entry.members
        return super().report._replace(members=members)

    def set_aside(self) -> None:
        """Drop what is to stay out of the target from what is about to be published.

        Raises StorageError, and IntegrityError where a repair would put other files in the place of those
        that were installed.
        """
        if self._is_installed:
            return
        self._without = self._among(read_paths(self._records))
        if self._company.redo is not None:
            self._check_unchanged()
        for path in self._without:
            staged = self._shared.workspace.staging(self.key) / path
            with storing("remove", staged):
                staged.unlink(missing_ok=True)
        self._entry.members = (self._entry.members or 0) - len(self._without)

    def _check_unchanged(self) -> None:
        installed = self._company.installed
        before = read_listing(installed.listing(self.archive.name)) if installed is not None else {}
        now = read_listing(self._records)
        for path, digest in before.items():
            if digest not in {NO_DIGEST, now.get(path)}:
                raise IntegrityError(
                    f"{self.archive.name}: {path} in it is another file than the one that was installed",
                    hint="It is another version of the archive; nothing was replaced by it. Give the catalog "
                    "that this was installed by, or download into another folder.",
                )

    def append_sums(self, manifest: Path) -> None:
        """Add its files to the manifest, and keep the list of them.  Raises StorageError."""
        installed = self._company.installed
        listing = installed.listing(self.archive.name) if installed is not None else None
        if not self._is_installed:
            self._append_sums(manifest, self._records, self._without)
            if listing is not None:
                with storing("write", listing):
                    listing.parent.mkdir(exist_ok=True)
                    with self._records.open("rb") as records, replacing(listing) as fresh:
                        fresh.writelines(without_digests(records, self._without.__contains__))
        elif self._is_doubtful and listing is not None:
            self._append_sums(manifest, listing, self._among(read_paths(listing)))

    def _append_sums(self, manifest: Path, records: Path, without: set[str]) -> None:
        try:
            append_sums(manifest, records, without)
        except ValueError as error:
            raise IntegrityError(
                f"{self.archive.name}: {error}", hint="Run the same command again."
            ) from error

    # ---- what is there -----------------------------------------------------------------------------

    @property
    def _is_compressed(self) -> bool:
        return self.archive.kind == "compressed tar"

    @property
    def _records(self) -> Path:
        return self._shared.workspace.records(self.key)

    @property
    def _whole(self) -> Path:
        return self._shared.workspace.spool(f"{self.key}.archive")

    def _kept_part(self) -> Path | None:
        # A plain file is kept as it is: in the target.
        return None if self.archive.kind == "file" else super()._kept_part()

    def _known(self) -> Entry:
        return self._entry

    def _installed_paths(self) -> list[str]:
        installed = self._company.installed
        return read_paths(installed.listing(self.archive.name)) if installed is not None else []

    async def _find_installed(self) -> bool:
        """Whether all of it is in the target, as the record and the sizes of its files tell."""
        installed, record = self._company.installed, self._company.record
        known = record.archives.get(self.archive.name) if record is not None else None
        is_this = (
            known is not None
            and (known.is_whole or "" in known.doubtful)
            and known.digest == str(self.archive.digest or "")
        )
        if not is_this or installed is None or known is None or self._company.redo is not None:
            return False
        kept = self._shared.workspace.archives / self.archive.file_name
        if self._shared.keep_archives and self.archive.kind != "file" and not await in_thread(kept.is_file):
            return False
        paths = await in_thread(self._installed_paths)
        listing = installed.listing(self.archive.name)
        if not paths or await self._count_files(installed.target, listing, self._among(paths)) is None:
            return False
        await in_thread(self._shared.workspace.forget_archive, self.key, self._file_name)
        entry = self._entry
        entry.total, entry.members, entry.source = known.bytes, known.members, known.url
        entry.verified, entry.digest, entry.state = known.verified, known.digest, None
        self._resumed, self._is_installed, self._is_doubtful = known.bytes, True, bool(known.doubtful)
        return True

    def _among(self, paths: Iterable[str]) -> set[str]:
        """Those of ``paths`` that are to stay out of the target."""
        return {path for path in paths if is_forgotten(path, self._company.forgotten)}

    async def _count_files(self, folder: Path, listing: Path, without: set[str]) -> int | None:
        """How many files ``folder`` has of those in the list; None where any is gone or damaged."""
        job = Job()
        untar = await in_thread(self._untar, folder, listing)
        look = partial(untar.look_at, thorough=self._entry.doubtful, without=without)
        try:
            files, _ = await in_job(job, look, job, self.archive.name, self._shared.limits.worker_threads)
        except ValueError:
            return None
        return files

    async def _take_up(self) -> str:
        """Use what an earlier run has finished and not published; what is wrong with it, or nothing."""
        name, workspace = self.archive.name, self._shared.workspace
        if self._shared.keep_archives and self._kept_part() and not await in_thread(self._is_kept):
            return "the earlier run did not keep the archive"
        if self._entry.doubtful:
            self._transfer.tell(f"{name}: reading what is there of it, to see whether it is sound")
        without = self._among(await in_thread(read_paths, self._records))
        files = await self._count_files(workspace.staging(self.key), self._records, without)
        if files is None or self._entry.members not in {files, files + len(without)}:
            return "what was unpacked of it is gone or damaged on disk"
        self._entry.members = files + len(without)
        self._entry.doubtful = False
        self._resumed = self._entry.total or 0
        return ""

    def _untar(self, folder: Path, records: Path) -> Untar:
        return Untar(
            Staging(folder),
            records,
            self._company.names,
            self._company.number(self.key),
            self._shared.limits.policy,
            self.archive.file_name if self.archive.kind == "file" else None,
        )

    # ---- the bytes ---------------------------------------------------------------------------------

    async def _learn(self, source: Source) -> None:
        """Ask for its size."""
        self._entry.source = source.name
        if source.path is not None:
            self._entry.total = await file_size(source.path)
            return
        async with self._transfer.get(source, tail_bytes=1, vouched=self._digest is not None) as answer:
            self._entry.total = answer.total
            self._entry.validators[source.name] = source.validator

    async def _get(self) -> None:
        self._took_up = self._entry.state is not None
        computed = await self._attempt()
        assert self._number is not None
        self._entry.members = self._engine.status(self._number)[2]
        verified = computed if self._digest is not None else None
        if self._is_compressed:
            checked = await self._unpack_whole()
            verified = verified or checked
        await self._verified(verified or "none")
        if self._shared.keep_archives and (part := self._kept_part()) is not None:
            await in_thread(self._keep, self._whole if self._is_compressed else part)
        elif self._is_compressed:
            with storing("remove", self._whole):
                await in_thread(self._whole.unlink, missing_ok=True)

    async def _add(self, total: int | None, saved: str | None) -> int:
        self._entry.total = total
        workspace = self._shared.workspace
        untar = None
        if not self._is_compressed:
            untar = await in_thread(self._untar, workspace.staging(self.key), self._records)
        add = partial(
            self._engine.add,
            self.archive.name,
            total,
            self._shared.limits.memory_bytes,
            file=self._whole if self._is_compressed else self._kept_part(),
            # Without one to meet, the digest of a spool proves on resume what is there of it.
            digest=self._digest or (("crc32", None) if self._is_compressed else None),
            untar=untar,
            saved=saved,
            thorough=self._entry.doubtful,
        )
        self._number = await in_thread(add)
        self._numbers.append(self._number)
        return self._number

    async def _unpack_whole(self) -> str:
        """Unpack a compressed tar that is here as a whole; returns how its own checksums verify it."""
        job, name, workspace = Job(), self.archive.name, self._shared.workspace
        self._transfer.tell(f"{name}: all of it is here, unpacking")
        policy = self._shared.limits.policy
        archive = await in_job(job, LocalArchive.open, job, self._whole, name, policy)
        untar = await in_thread(self._untar, workspace.staging(self.key), self._records)
        threads = self._shared.limits.worker_threads
        self._entry.members = await in_job(job, archive.untar, job, untar, threads)
        return archive.verified

    async def _verified(self, digest: str) -> None:
        self._entry.verified = digest
        self._entry.digest = str(self.archive.digest or "")
        self._entry.state = None
        await self._shared.save()

    async def _forget(self, reason: str) -> None:
        self._is_pieced = self._took_up = False
        await super()._forget(reason)

    def _explained(self, error: IntegrityError) -> Error:
        explained = super()._explained(error)
        if isinstance(error, MemberError):
            error.hint = f"It came from {self.sources.best().name}; nothing was published."
        return explained
