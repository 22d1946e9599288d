"""One dataset from plan to publish."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from fdf256_fast._core import Directory, Job, Names, sync_file_system, write_manifest
from fdf256_fast.archive_run import ArchiveRun, Shared
from fdf256_fast.arguments import texts
from fdf256_fast.catalog import Archive, Catalog, load_catalog
from fdf256_fast.client import Client, ClientSession
from fdf256_fast.durable import storing
from fdf256_fast.errors import Error, StorageError, UsageError
from fdf256_fast.finishing import drop_strangers, finish_publishing, finished_journal
from fdf256_fast.forgotten import read_forgotten
from fdf256_fast.in_order_run import Company, InOrderRun, check_selection, without_digest
from fdf256_fast.journal import Journal, write_journal, write_journal_now
from fdf256_fast.limits import Limits
from fdf256_fast.part_run import PartRun, Tree, part_key
from fdf256_fast.progress import ArchiveProgress, MessagesOnly, Progress
from fdf256_fast.publish import check_way
from fdf256_fast.record import (
    add_old_lines,
    already_installed,
    doubt_record,
    read_record,
)
from fdf256_fast.report import Report, attach
from fdf256_fast.selection import Ids, Image, Selection, image_of
from fdf256_fast.sources import Source, Sources
from fdf256_fast.space import Need, check_space, explain_full
from fdf256_fast.transfer import Transfer
from fdf256_fast.watch import GO_ON, affordable, all_of, in_thread, watching
from fdf256_fast.workspace import Workspace

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Sequence

    from fdf256_fast.forgetting import Removed

__all__ = ["Options", "Run", "install", "install_catalog"]

SPARE_BYTES = 16 * 1024 * 1024
"""Disk space that must be left beyond the members: folders, journal, manifest."""

LOCK_PATIENCE_SECONDS = 5.0
"""How long an archive that is only unpacked waits until others have published into the same folder."""

PATIENCE_SECONDS = 2.0
"""When the disk takes longer for what is left to be written, a person is told why nothing moves."""


@dataclass(frozen=True, slots=True)
class Options:
    """What is wanted of an installation beyond its catalog and target."""

    mirrors: tuple[str, ...] = ()
    keep_archives: bool = False
    metadata_only: bool = False
    selection: Selection = field(default_factory=Selection)
    dry_run: bool = False
    redo: frozenset[str] | None = None
    """Only these paths are wanted, and what lies there does not count: they are to be repaired."""
    keep_workspace: bool = True
    """Whether manifest and record stay in the target (they do not for ``fetch --extract``)."""
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        if self.keep_archives and not self.selection.is_everything:
            raise UsageError(
                "archives of which only a part is fetched cannot be kept",
                hint="Leave out --keep-archives, or the options that select a part.",
            )

    def wants(self, archive: Archive) -> bool:
        """Whether any of ``archive`` can be wanted."""
        if archive.role == "metadata":
            return True
        licenses = self.selection.licenses
        return not self.metadata_only and (not licenses or archive.license in licenses)

    @property
    def is_everything(self) -> bool:
        """Whether whole archives are wanted."""
        return self.redo is None and self.selection.is_everything


async def install(  # noqa: PLR0913 - the public call: each is a keyword that people type
    target: str | os.PathLike[str] = "data/fdf256",
    *,
    catalog: str | Path | Catalog = "fdf256",
    mirrors: str | os.PathLike[str] | Iterable[str | os.PathLike[str]] = (),
    keep_archives: bool = False,
    metadata_only: bool = False,
    splits: Iterable[str] = (),
    licenses: Iterable[str] = (),
    ids: Iterable[str] | None = None,
    sample: int | None = None,
    seed: int = 0,
    dry_run: bool = False,
    limits: Limits | None = None,
    progress: Progress | None = None,
    session: ClientSession | None = None,
) -> Report:
    """Install a dataset, or a part of it: download, verify, unpack and publish it, in one pass.

    A call that was interrupted, in whatever way, is continued by the same call.  A target that is
    installed already is recognised without a download.

    Args:
        target: folder to install into; made where it does not exist.
        catalog: name of a built-in catalog, path of a catalog file, or a catalog.
        mirrors: base URLs or local folders that hold the archives, tried first, in this order.
        keep_archives: also keep the archives themselves, in ``TARGET/.fdf256/archives``.
        metadata_only: only the archives whose role is ``metadata``.
        splits: only these, ``train`` or ``val``; empty means both.
        licenses: only images under these, as the catalog names them; empty means all.
        ids: only these images: ``123``, ``train/123`` or ``train/images/123.png``.
        sample: at most so many images of what the others select; the same ones for the same ``seed``.
        seed: see ``sample``.
        dry_run: fetch the directories only, and report what would be fetched; the target stays as it is.
        limits: connections, memory (bytes), threads, rate (bytes per second), retries, timeout.
        progress: receives counters about ten times a second.
        session: your own HTTP session; it is not closed.

    Returns:
        What was done.  All sizes in it are in bytes.

    Raises:
        IntegrityError: a digest, a CRC-32 or an archive is wrong; nothing of it was published.
        TransferError: no source delivers; what arrived is kept.
        StorageError: the disk is full or refuses; what was verified is kept.
        LockedError: another process works on this target.
        UsageError: a bad argument or catalog.
    """
    found = catalog if isinstance(catalog, Catalog) else await in_thread(load_catalog, catalog)
    options = Options(
        mirrors=texts(mirrors),
        keep_archives=keep_archives,
        metadata_only=metadata_only,
        selection=Selection(
            frozenset([splits] if isinstance(splits, str) else splits),
            frozenset([licenses] if isinstance(licenses, str) else licenses),
            None if ids is None else Ids.parse(ids, "ids"),
            sample,
            seed,
        ),
        dry_run=dry_run,
        limits=limits or Limits(),
    )
    return await install_catalog(Path(target), found, options, progress or Progress(), session)


async def install_catalog(
    target: Path,
    catalog: Catalog,
    options: Options,
    progress: Progress,
    session: ClientSession | None = None,
) -> Report:
    """:func:`install`, with its arguments in groups."""
    _check_licenses(catalog, options.selection.licenses)
    archives = tuple(archive for archive in catalog.archives if options.wants(archive))
    if not archives:
        raise UsageError(f"{catalog.source}: no archive has the role metadata")
    check_selection(archives, options.selection)
    for mirror in options.mirrors:
        # Before anything is made in the target.
        await in_thread(_on_mirror, mirror, "")
    started = time.monotonic()
    async with contextlib.AsyncExitStack() as stack:
        if options.dry_run:
            with storing("make", Path("a temporary folder")):
                folder = await in_thread(tempfile.mkdtemp, prefix="fdf256-")
            stack.push_async_callback(asyncio.to_thread, shutil.rmtree, folder, ignore_errors=True)
            workspace = Workspace(target, Path(folder))
            journal = Journal()
            progress = MessagesOnly(progress)
        else:
            # What is only unpacked must not touch the record of a dataset that is installed there.
            workspace = Workspace.of(target)
            async with contextlib.AsyncExitStack() as shortly:
                if not options.keep_workspace:
                    # What an earlier call was publishing may be published now.
                    await shortly.enter_async_context(workspace.locked_shortly(LOCK_PATIENCE_SECONDS))
                    workspace = Workspace(target, workspace.home / "fetch" / catalog.name)
                await stack.enter_async_context(workspace.locked())
                # What a call of `forget` did not come to.
                removed = await in_thread(_finish_forgetting, workspace)
                if removed:
                    progress.message(f"{len(removed)} forgotten images were there and are removed")
                journal = await finished_journal(workspace, progress)
            lost = await in_thread(doubt_record, workspace)
            if lost:
                progress.message(
                    f"{workspace.manifest} has lost {lost} lines: what they were about is looked for in the "
                    "archives"
                )
            await in_thread(drop_strangers, workspace, journal, catalog)
            done = None
            if options.redo is None:
                done = await in_thread(
                    already_installed,
                    workspace,
                    archives,
                    options.selection.token,
                    keep_archives=options.keep_archives,
                )
            if done is not None:
                if not options.keep_workspace:
                    await in_thread(workspace.remove)
                return done
        run = Run(workspace, catalog, archives, options, progress, started, journal)
        return await run.run(session)


def _check_licenses(catalog: Catalog, wanted: Iterable[str]) -> None:
    for name in wanted:
        if name not in catalog.licenses:
            known = ", ".join(catalog.licenses) or "none"
            raise UsageError(f"{catalog.source}: there is no licence {name!r}", hint=f"Known: {known}.")


def _finish_forgetting(workspace: Workspace) -> tuple[Removed, ...]:
    """Remove whatever is forgotten and still, or again, there."""
    if not read_forgotten(workspace):
        return ()
    from fdf256_fast.forgetting import finish

    return finish(workspace)


class Run:
    """One call of :func:`install` after its target is locked."""

    def __init__(
        self,
        workspace: Workspace,
        catalog: Catalog,
        archives: Sequence[Archive],
        options: Options,
        progress: Progress,
        started: float,
        journal: Journal,
    ) -> None:
        self._workspace = workspace
        self._catalog = catalog
        self.archives_wanted = archives
        self.options = options
        self._progress = progress
        self._started = started
        self._journal = journal
        self._saving = asyncio.Lock()
        self._is_published = False
        self.runs: list[ArchiveRun] = []
        self._transfer: Transfer | None = None

    @property
    def target(self) -> Path:
        """The folder that is installed into."""
        return self._workspace.target

    async def run(self, session: ClientSession | None) -> Report:
        """Do it.  Raises what :func:`install` does."""
        self._progress.started(f"{self._catalog.title} → {self.target}")
        if self.options.keep_workspace and (warning := without_digest(self.archives_wanted)):
            self._progress.message(warning)
        try:
            return await self._transfer_all(session)
        finally:
            self._progress.finished()

    async def _transfer_all(self, session: ClientSession | None) -> Report:
        limits = await affordable(self.options.limits, self._progress, archives=len(self.archives_wanted))
        job = Job()
        client = Client(
            timeout_seconds=limits.timeout_seconds,
            headers=limits.headers,
            session=session,
            is_paced=limits.rate is not None,
        )
        async with client, Transfer(client, limits, self._progress.message, job) as transfer:
            self._transfer = transfer
            shared = Shared(
                transfer,
                transfer.engine,
                self._workspace,
                self._journal,
                limits,
                self.save,
                self.options.keep_archives,
                job,
            )
            located = await in_thread(self._locate)
            self._shared = shared
            trees = await in_thread(self._trees)
            self._company = await in_thread(self._new_company)
            self.runs = [
                self._run_of(archive, located[archive.name], trees.get(archive.name))
                for archive in self.archives_wanted
            ]
            async with watching(self, transfer, limits, self._progress):
                try:
                    return await self._work()
                except (Error, asyncio.CancelledError) as stop:
                    attach(self.report(0), stop)
                    if isinstance(stop, Error):
                        await in_thread(explain_full, stop, self._workspace.home, self._need)
                    raise

    def _run_of(self, archive: Archive, sources: Sources, tree: Tree | None) -> ArchiveRun:
        # What is to be unpacked, and not to be installed, is an archive, whatever it is called.
        if archive.kind != "zip" and (self.options.keep_workspace or archive.kind != "file"):
            return InOrderRun(archive, sources, self._shared, self._company)
        if tree is not None:
            return PartRun(archive, sources, self._shared, tree)
        return ArchiveRun(archive, sources, self._shared)

    def _new_company(self) -> Company:
        options, installed = self.options, Workspace.of(self.target)
        names = Names(options.limits.portable_names)
        if not options.keep_workspace:
            return Company(names)
        return Company(names, installed, read_record(installed), read_forgotten(installed), options.redo)

    def _locate(self) -> dict[str, Sources]:
        """Mirrors first, then the catalog's own addresses."""
        found = {}
        for archive in self.archives_wanted:
            mirrors = [_on_mirror(mirror, archive.file_name) for mirror in self.options.mirrors]
            own = map(Source.parse, archive.urls)
            found[archive.name] = Sources(source for source in (*mirrors, *own) if source is not None)
        return found

    async def _work(self) -> Report:
        await all_of((run.prepare() for run in self.runs), hint=self._hint)
        await self._settle()
        directories = [run.directory for run in self.runs if run.directory is not None]
        await in_thread(Directory.check_disjoint, directories)
        await in_thread(self._company.claim, self.runs)
        if self.options.dry_run:
            return self.report(sum(run.report.members or 0 for run in self.runs))
        if not self.runs:
            return self.report(0)
        await in_thread(self._check_space)
        await all_of((run.run() for run in self.runs), hint=self._hint)
        files = await self._publish()
        return self.report(files)

    # ---- parts -------------------------------------------------------------------------------------

    def _trees(self) -> dict[str, Tree]:
        """What is known of the target, for each archive of which perhaps only a part is to be fetched."""
        options, target = self.options, self.target
        if not options.keep_workspace:
            return {}
        installed = Workspace.of(target)
        forgotten = read_forgotten(installed)
        if forgotten and options.keep_archives:
            raise UsageError(
                f"{target}: images were forgotten here, and the archives hold them",
                hint="Leave out --keep-archives, or give another target.",
            )
        record = read_record(installed)
        known = record.archives if record is not None else {}
        is_empty = not _has_files(target)
        trees = {}
        for archive in self.archives_wanted:
            before = known.get(archive.name)
            is_other = before is not None and before.digest != str(archive.digest or "")
            if options.is_everything and not forgotten:
                entry = self._journal.entries.get(archive.name)
                is_begun = entry is not None and bool(entry.state or entry.verified)
                is_part = part_key(archive.name) in self._journal.entries
                if options.keep_archives or is_begun or is_other or (is_empty and not is_part):
                    continue
            vouches = before is not None and not is_other
            trees[archive.name] = Tree(
                target,
                # What is to be repaired must become what it was, whoever vouches for it.
                installed.manifest if vouches or options.redo is not None else None,
                before.verified if before is not None and vouches else "",
                options.redo or frozenset(),
                forgotten,
                options.dry_run,
            )
        return trees

    async def _settle(self) -> None:
        """Choose the members of each part, see what of them is had, and go the whole way where nothing is."""
        parts = [run for run in self.runs if isinstance(run, PartRun)]
        selection, redo = self.options.selection, self.options.redo
        sample = None
        if selection.sample is not None:
            images = [
                path
                for run in parts
                for path in await run.names()
                if image_of(path) and selection.wants(path)
            ]
            sample = await in_thread(selection.draw, images)

        def wants(path: str) -> bool:
            if redo is not None:
                return path in redo
            return selection.wants(path) and (sample is None or path in sample or image_of(path) is None)

        await all_of((run.settle(wants) for run in parts), hint=self._hint)
        for run in [run for run in self.runs if isinstance(run, InOrderRun) and not run.is_wanted]:
            self.runs.remove(run)
            await self._drop_entry(run)
        if redo is None:
            self._check_images(frozenset().union(*(part.images for part in parts)))
        for part in parts:
            if redo is not None and not part.is_wanted:
                self.runs.remove(part)
                await self._drop_entry(part)
            elif part.is_untouched and not self.options.dry_run:
                await self._go_whole_way(part)
            else:
                part.finished_parts(selection.token if redo is None else "")

    def _check_images(self, found: frozenset[Image]) -> None:
        """Whoever names images wants to know if there are none of that name."""
        selection = self.options.selection
        if selection.is_everything or self.options.metadata_only:
            return
        if not found:
            raise UsageError("no image of this dataset is among those that were asked for")
        absent = (
            selection.ids.without(found) if selection.ids is not None and selection.sample is None else []
        )
        if absent:
            some = ", ".join(absent[:5]) + (", …" if len(absent) > 5 else "")
            self._progress.message(f"{len(absent)} of the listed images are not among those selected: {some}")

    async def _go_whole_way(self, part: PartRun) -> None:
        """Fetch the archive as a whole, so that its digest can be checked."""
        name, workspace = part.archive.name, self._workspace
        if part.is_of(self._journal.entries.get(name)):
            # Interrupted, and only looked at as a part since images of other archives are forgotten.
            whole = ArchiveRun(part.archive, part.sources, self._shared)
            await whole.prepare()
            self.runs[self.runs.index(part)] = whole
            await self._drop_entry(part)
            return
        self._journal.entries.pop(name, None)
        await in_thread(workspace.forget_archive, name, part.archive.file_name)
        whole = ArchiveRun(part.archive, part.sources, self._shared)
        with storing("move", workspace.end(name)):
            await in_thread(workspace.end(part.key).replace, workspace.end(name))
        whole.take_over(part)
        self.runs[self.runs.index(part)] = whole
        await self._drop_entry(part)
        await self.save()

    async def _drop_entry(self, part: ArchiveRun) -> None:
        del self._journal.entries[part.key]
        await in_thread(self._workspace.forget_archive, part.key, part.key)

    def _check_space(self) -> None:
        """Refuse before the first byte when the disk cannot hold the result."""
        need = self._need()
        check_space(self._workspace.home, Need(need.bytes + SPARE_BYTES, need.files), self.target)

    def _need(self) -> Need:
        needs = [run.need for run in self.runs]
        return Need(sum(need.bytes for need in needs), sum(need.files for need in needs))

    # ---- the end -----------------------------------------------------------------------------------

    @property
    def _hint(self) -> str:
        """What to do when no source delivers."""
        if not self.options.keep_workspace:
            return GO_ON
        return (
            f"{GO_ON} If the host stays away, give --mirror URL or --mirror FOLDER with the archives from "
            "elsewhere; they are held to the same digests."
        )

    async def _publish(self) -> int:
        """Manifest, then renames, then the record; each can be repeated after a crash."""
        largest_first = sorted(self.runs, key=lambda run: run.progress.size or 0, reverse=True)
        names = [run.key for run in largest_first]
        for run in self.runs:
            if isinstance(run, PartRun | InOrderRun):
                await in_thread(run.set_aside)
        await in_thread(check_way, self._workspace, names)
        await in_thread(self._write_manifest)
        # The journal must not say that something can be published that a power cut may still take away.
        await self._synced()
        # In a thread, since finding the working folder is a call of the system, too.
        self._journal.catalog = await in_thread(lambda: self._catalog.reference)
        self._journal.publishing = names
        try:
            await self.save()
        except BaseException:
            self._journal.publishing = []
            raise
        async with self._saving:
            self._is_published = True
        if self.options.keep_workspace:
            return await in_thread(finish_publishing, self._workspace, self._journal)
        # Others may install or forget here meanwhile, and must not be come in between.
        whole = Workspace.of(self.target)
        async with whole.locked_shortly(LOCK_PATIENCE_SECONDS):
            files = await in_thread(finish_publishing, self._workspace, self._journal)
            await in_thread(self._workspace.remove)
        await in_thread(whole.remove_if_empty)
        return files

    async def _synced(self) -> None:
        async def tell() -> None:
            await asyncio.sleep(PATIENCE_SECONDS)
            self._progress.message("Everything is here and verified; waiting until the disk has written it.")

        assert self._transfer is not None
        teller = self._transfer.beside(tell())
        try:
            await in_thread(sync_file_system, self._workspace.home)
        except StorageError:
            # The system tells of what it could not write once only: the next run has to read it.
            for run in self.runs:
                self._journal.entries[run.key].doubtful = True
            await self.save()
            raise
        finally:
            teller.cancel()

    def _write_manifest(self) -> None:
        workspace = self._workspace
        parts = [part for run in self.runs if (part := run.manifest_part) is not None]
        with storing("remove", workspace.manifest_draft):
            # Of an earlier version's run: from now on it is out of date.
            workspace.manifest_draft.unlink(missing_ok=True)
        write_manifest(workspace.next_manifest, parts)
        for run in self.runs:
            if isinstance(run, InOrderRun):
                run.append_sums(workspace.next_manifest)
        add_old_lines(workspace)

    def report(self, files: int) -> Report:
        """What was done, with ``files`` published."""
        assert self._transfer is not None
        return Report(
            target=str(self.target),
            archives=tuple(run.report for run in self.runs),
            files=files,
            seconds=time.monotonic() - self._started,
            retries=self._transfer.retries,
            dry_run=self.options.dry_run,
        )

    # ---- journal and screen ------------------------------------------------------------------------

    @property
    def frontier(self) -> int:
        """Bytes that are done with, over all archives."""
        return sum(run.frontier for run in self.runs)

    @property
    def archives(self) -> tuple[ArchiveProgress, ...]:
        """Where each archive stands."""
        return tuple(run.progress for run in self.runs)

    async def save(self) -> None:
        """Write the journal."""
        async with self._saving:
            if self._is_published:
                return
            for run in self.runs:
                run.save()
            await write_journal(self._workspace.journal, self._journal)

    def save_now(self) -> None:
        """The last journal of a run that ends early: what is verified by now stays so."""
        for run in self.runs:
            run.save()
        if self._workspace.home.is_dir() and not self._is_published:
            write_journal_now(self._workspace.journal, self._journal)


def _on_mirror(mirror: str, file_name: str) -> Source | None:
    """The archive on a mirror; None for a local folder that does not hold it."""
    base = Source.parse(mirror)
    if base.path is None:
        parts = urlsplit(mirror)
        return Source(urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/{file_name}")))
    with storing("read", base.path):
        if not base.path.is_dir():
            raise UsageError(f"--mirror {mirror}: no such folder")
        path = base.path / file_name
        return Source.parse(str(path)) if path.is_file() else None


def _has_files(target: Path) -> bool:
    """Whether there is anything in the target but the workspace.  Raises StorageError."""
    with storing("read", target):
        try:
            return any(path.name != ".fdf256" for path in target.iterdir())
        except FileNotFoundError:
            return False
