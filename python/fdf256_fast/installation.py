"""One dataset from plan to publish."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import shutil
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from fdf256_fast._core import Directory, Engine, Job, write_manifest
from fdf256_fast.archive_run import ArchiveRun, Shared
from fdf256_fast.catalog import Archive, Catalog, load_catalog
from fdf256_fast.client import Client, ClientSession
from fdf256_fast.errors import Error, StorageError, UsageError
from fdf256_fast.journal import Entry, Journal, read_journal, write_journal, write_journal_now
from fdf256_fast.limits import Limits
from fdf256_fast.progress import ArchiveProgress, Progress
from fdf256_fast.publish import missing_file, publish
from fdf256_fast.report import ArchiveReport, Report
from fdf256_fast.sources import Source, Sources
from fdf256_fast.transfer import Transfer
from fdf256_fast.units import format_bytes
from fdf256_fast.watch import affordable, all_of, in_thread, watching
from fdf256_fast.workspace import Workspace, storage_error

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["Options", "install", "install_catalog"]

SPARE_BYTES = 16 * 1024 * 1024
"""Disk space that must be left beyond the members: folders, journal, manifest."""


@dataclass(frozen=True, slots=True)
class Options:
    """What is wanted of an installation beyond its catalog and target."""

    mirrors: tuple[str, ...] = ()
    keep_archives: bool = False
    metadata_only: bool = False
    dry_run: bool = False
    keep_workspace: bool = True
    """Whether manifest and record stay in the target (they do not for ``fetch --extract``)."""
    limits: Limits = field(default_factory=Limits)


async def install(  # noqa: PLR0913 - the public call: each is a keyword that people type
    target: str | os.PathLike[str] = "data/fdf256",
    *,
    catalog: str | Path | Catalog = "fdf256",
    mirrors: Iterable[str | os.PathLike[str]] = (),
    keep_archives: bool = False,
    metadata_only: bool = False,
    dry_run: bool = False,
    limits: Limits | None = None,
    progress: Progress | None = None,
    session: ClientSession | None = None,
) -> Report:
    """Install a dataset: download, verify, unpack and publish it, in one pass.

    A call that was interrupted, in whatever way, is continued by the same call.  A target that is
    installed already is recognised without a download.

    Args:
        target: folder to install into; made where it does not exist.
        catalog: name of a built-in catalog, path of a catalog file, or a catalog.
        mirrors: base URLs or local folders that hold the archives, tried first, in this order.
        keep_archives: also keep the archives themselves, in ``TARGET/.fdf256/archives``.
        metadata_only: only the archives whose role is ``metadata``.
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
    found = catalog if isinstance(catalog, Catalog) else await asyncio.to_thread(load_catalog, catalog)
    options = Options(
        mirrors=tuple(os.fspath(mirror) for mirror in mirrors),
        keep_archives=keep_archives,
        metadata_only=metadata_only,
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
    archives = tuple(
        archive for archive in catalog.archives if archive.role == "metadata" or not options.metadata_only
    )
    if not archives:
        raise UsageError(f"{catalog.source}: no archive has the role metadata")
    started = time.monotonic()
    async with contextlib.AsyncExitStack() as stack:
        if options.dry_run:
            folder = await asyncio.to_thread(tempfile.mkdtemp, prefix="fdf256-")
            stack.push_async_callback(asyncio.to_thread, shutil.rmtree, folder, ignore_errors=True)
            workspace = Workspace(target, Path(folder))
            journal = Journal()
        else:
            # What is only unpacked must not touch the record of a dataset that is installed there.
            workspace = Workspace.of(target)
            if not options.keep_workspace:
                workspace = Workspace(target, workspace.home / "fetch" / catalog.name)
            await stack.enter_async_context(workspace.locked())
            journal = await _finished_journal(workspace, progress)
            await in_thread(_drop_strangers, workspace, journal, catalog)
            done = await in_thread(_already_installed, workspace, archives, options)
            if done is not None:
                if not options.keep_workspace:
                    await in_thread(workspace.remove)
                return done
        run = _Run(workspace, catalog, archives, options, progress, started, journal)
        return await run.run(session)


class _Run:
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
        self._archives = archives
        self._options = options
        self._progress = progress
        self._started = started
        self._journal = journal
        self._saving = asyncio.Lock()
        self._is_published = False
        self._runs: list[ArchiveRun] = []
        self._transfer: Transfer | None = None

    async def run(self, session: ClientSession | None) -> Report:
        self._progress.started(f"{self._catalog.title} → {self._workspace.target}")
        try:
            return await self._transfer_all(session)
        finally:
            self._progress.finished()

    async def _transfer_all(self, session: ClientSession | None) -> Report:
        limits = await affordable(self._options.limits, self._progress, archives=len(self._archives))
        engine = Engine(Job(), limits.worker_threads)
        client = Client(
            timeout_seconds=limits.timeout_seconds,
            headers=limits.headers,
            session=session,
            is_paced=limits.rate is not None,
        )
        async with client, Transfer(client, engine, limits, self._progress.message) as transfer:
            self._transfer = transfer
            shared = Shared(
                transfer,
                engine,
                self._workspace,
                self._journal,
                limits,
                self.save,
                self._options.keep_archives,
            )
            located = await in_thread(self._locate)
            self._runs = [ArchiveRun(archive, located[archive.name], shared) for archive in self._archives]
            async with watching(self, transfer, limits, self._progress):
                try:
                    return await self._work()
                except Error as error:
                    error.report = self._report(0)
                    raise

    def _locate(self) -> dict[str, Sources]:
        """Mirrors first, then the catalog's own addresses."""
        found = {}
        for archive in self._archives:
            mirrors = [_on_mirror(mirror, archive.file_name) for mirror in self._options.mirrors]
            own = map(Source.parse, archive.urls)
            found[archive.name] = Sources(source for source in (*mirrors, *own) if source is not None)
        return found

    async def _work(self) -> Report:
        await all_of((run.prepare() for run in self._runs), hint=self._hint)
        directories = [run.directory for run in self._runs if run.directory is not None]
        await in_thread(Directory.check_disjoint, directories)
        if self._options.dry_run:
            return self._report(sum(directory.files for directory in directories))
        await in_thread(self._check_space)
        await all_of((run.run() for run in self._runs), hint=self._hint)
        files = await self._publish()
        return self._report(files)

    def _check_space(self) -> None:
        """Refuse before the first byte when the disk cannot hold the result."""
        staged = _used(self._workspace.home / "staging")
        needed = sum(run.unpacked_bytes_left for run in self._runs) - staged + SPARE_BYTES
        try:
            free = shutil.disk_usage(self._workspace.home).free
        except OSError as error:
            raise storage_error("look at", error, self._workspace.target) from error
        if needed > free:
            raise StorageError(
                f"{self._workspace.target}: {format_bytes(needed)} of disk space are needed, "
                f"{format_bytes(free)} are free: {format_bytes(needed - free)} are missing",
                errno=errno.ENOSPC,
                filename=str(self._workspace.target),
                hint="Make space and run the same command again; what was verified is kept.",
            )

    # ---- the end -----------------------------------------------------------------------------------

    @property
    def _hint(self) -> str:
        """What to do when no source delivers."""
        kept = "What arrived is kept: run the same command again to go on."
        if not self._options.keep_workspace:
            return kept
        return (
            f"{kept} If the host stays away, give --mirror URL or --mirror FOLDER with the archives from "
            "elsewhere; they are held to the same digests."
        )

    async def _publish(self) -> int:
        """Manifest, then renames, then the record; each can be repeated after a crash."""
        await in_thread(self._write_manifest)
        largest_first = sorted(self._runs, key=lambda run: run.progress.size or 0, reverse=True)
        self._journal.publishing = [run.archive.name for run in largest_first]
        await self.save()
        async with self._saving:
            self._is_published = True
        files = await in_thread(_finish_publishing, self._workspace, self._journal)
        if not self._options.keep_workspace:
            await in_thread(self._workspace.remove)
        return files

    def _write_manifest(self) -> None:
        workspace = self._workspace
        parts = [part for run in self._runs if (part := run.manifest_part) is not None]
        write_manifest(workspace.next_manifest, parts)
        if workspace.manifest.exists():
            # Archives that were installed before and are not part of this run stay in the manifest.
            fresh = _names(workspace.next_manifest)
            with workspace.manifest.open("rb") as old, workspace.next_manifest.open("ab") as out:
                out.writelines(line for line in old if line[66:] not in fresh)

    def _report(self, files: int) -> Report:
        assert self._transfer is not None
        return Report(
            target=str(self._workspace.target),
            archives=tuple(run.report for run in self._runs),
            files=files,
            seconds=time.monotonic() - self._started,
            retries=self._transfer.retries,
            dry_run=self._options.dry_run,
        )

    # ---- journal and screen ------------------------------------------------------------------------

    @property
    def frontier(self) -> int:
        """Bytes that are done with, over all archives."""
        return sum(run.frontier for run in self._runs)

    @property
    def archives(self) -> tuple[ArchiveProgress, ...]:
        """Where each archive stands."""
        return tuple(run.progress for run in self._runs)

    async def save(self) -> None:
        """Write the journal."""
        async with self._saving:
            if self._is_published:
                return
            for run in self._runs:
                run.save()
            await write_journal(self._workspace.journal, self._journal)

    def save_now(self) -> None:
        """The last journal of a run that ends early: what is verified by now stays so."""
        for run in self._runs:
            run.save()
        if self._workspace.home.is_dir() and not self._is_published:
            write_journal_now(self._workspace.journal, self._journal)


def _on_mirror(mirror: str, file_name: str) -> Source | None:
    """The archive on a mirror; None for a local folder that does not hold it."""
    base = Source.parse(mirror)
    if base.path is None:
        parts = urlsplit(mirror)
        return Source(urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/{file_name}")))
    if not base.path.is_dir():
        raise UsageError(f"--mirror {mirror}: no such folder")
    path = base.path / file_name
    return Source.parse(str(path)) if path.is_file() else None


# ---- publishing --------------------------------------------------------------------------------------


async def _finished_journal(workspace: Workspace, progress: Progress) -> Journal:
    """The journal, after what an earlier run was publishing is published."""
    journal = await read_journal(workspace.journal)
    if journal.problem:
        progress.message(f"{journal.problem}: starting anew")
        await in_thread(workspace.clean)
    if journal.publishing:
        await in_thread(_finish_publishing, workspace, journal)
    return Journal(entries=journal.entries)


def _drop_strangers(workspace: Workspace, journal: Journal, catalog: Catalog) -> None:
    """Forget archives that the catalog does not have: nobody will ever finish them."""
    known = {archive.name for archive in catalog.archives}
    for name in [name for name in journal.entries if name not in known]:
        entry = journal.entries.pop(name)
        workspace.forget_archive(name, entry.identity.partition(" ")[0])


def _finish_publishing(workspace: Workspace, journal: Journal) -> int:
    """Move what the journal says is verified, record it, and drop what only its transfer needed.

    Returns how many files the manifest has.  Progress of archives that are not published stays.
    """
    publish(workspace, journal.publishing)
    try:
        if workspace.next_manifest.exists():
            workspace.next_manifest.replace(workspace.manifest)
        with workspace.manifest.open("rb") as lines:
            files = sum(1 for _ in lines)
        _record(workspace, {name: journal.entries[name] for name in journal.publishing}, files)
        for name in journal.publishing:
            entry = journal.entries.pop(name)
            workspace.forget_archive(name, entry.identity.partition(" ")[0])
        journal.publishing = []
        if journal.entries:
            write_journal_now(workspace.journal, journal)
        else:
            workspace.clean()
    except OSError as error:
        raise storage_error("finish", error, workspace.target) from error
    return files


def _record(workspace: Workspace, entries: Mapping[str, Entry], files: int) -> None:
    """Bring ``installed.json`` up to date."""
    record = _read_installed(workspace) or {"archives": {}}
    for name, entry in entries.items():
        record["archives"][name] = {
            "digest": entry.digest,
            "bytes": entry.total,
            "members": entry.members,
            "verified": entry.verified.partition(":")[0],
            "url": entry.source,
        }
    record |= {"version": 1, "files": files, "installed": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
    fresh = workspace.installed.with_suffix(".new")
    fresh.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    fresh.replace(workspace.installed)


# ---- what is there already -------------------------------------------------------------------------


def _already_installed(workspace: Workspace, archives: Sequence[Archive], options: Options) -> Report | None:
    """The report of a target that is complete; None when there is something to do."""
    record = _read_installed(workspace)
    if record is None:
        return None
    known = record["archives"]
    if any(known.get(archive.name, {}).get("digest") != str(archive.digest or "") for archive in archives):
        return None
    if options.keep_archives and not all(
        (workspace.archives / archive.file_name).is_file() for archive in archives
    ):
        return None
    try:
        if missing_file(workspace) is not None:
            return None
    except OSError:
        return None
    reports = [
        ArchiveReport(
            name=archive.name,
            bytes=known[archive.name]["bytes"],
            bytes_downloaded=0,
            bytes_resumed=known[archive.name]["bytes"],
            verified=known[archive.name]["verified"],
            url=known[archive.name]["url"],
            members=known[archive.name]["members"],
        )
        for archive in archives
    ]
    return Report(str(workspace.target), tuple(reports), record["files"], 0.0, already_installed=True)


def _read_installed(workspace: Workspace) -> dict[str, Any] | None:
    """``installed.json``; None where there is none that can be used."""
    try:
        record = json.loads(workspace.installed.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    usable = (
        isinstance(record, dict) and record.get("version") == 1 and isinstance(record.get("archives"), dict)
    )
    return record if usable else None


def _names(manifest: Path) -> set[bytes]:
    with manifest.open("rb") as lines:
        return {line[66:] for line in lines}


def _used(folder: Path) -> int:
    """Bytes that an earlier run left in ``folder``."""
    total = 0
    for root, _, files in os.walk(folder):
        for name in files:
            with contextlib.suppress(OSError):
                total += (Path(root) / name).lstat().st_size
    return total
