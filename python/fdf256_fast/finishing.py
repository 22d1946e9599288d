"""The end of an installation, which can be cut off anywhere: whoever comes next does the rest."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from fdf256_fast._core import Job, sync_file_system
from fdf256_fast.durable import storing
from fdf256_fast.errors import StorageError
from fdf256_fast.journal import Journal, read_journal, write_journal_now
from fdf256_fast.part_run import archive_of, part_key
from fdf256_fast.publish import check_way, publish
from fdf256_fast.record import (
    count_lines,
    missing_file,
    names_in,
    rescue_next_manifest,
    write_record,
)
from fdf256_fast.sizes import record_sizes
from fdf256_fast.watch import in_thread

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fdf256_fast.catalog import Catalog
    from fdf256_fast.progress import Progress
    from fdf256_fast.workspace import Workspace

__all__ = ["drop_strangers", "finish_publishing", "finished_journal"]


async def finished_journal(workspace: Workspace, progress: Progress) -> Journal:
    """The journal, after what an earlier run was publishing is published."""
    journal = await read_journal(workspace.journal)
    if journal.problem:
        progress.message(f"{journal.problem}: starting anew")
        await in_thread(workspace.clean)
    for name in journal.damaged:
        progress.message(f"{workspace.journal}: what it says of {name!r} is damaged and not used")
    if journal.publishing:
        await in_thread(check_way, workspace, journal.publishing)
        problem = await in_thread(_take_up_publishing, workspace, journal)
        if problem:
            progress.message(problem)
    if not journal.entries:
        # Of a run that ended while it tidied up.
        await in_thread(workspace.clean)
    return Journal(entries=journal.entries)


def _take_up_publishing(workspace: Workspace, journal: Journal) -> str:
    """Finish what an earlier run was publishing; returns what was wrong with it, or nothing."""
    rescue_next_manifest(workspace)
    if not _names_all(workspace, journal.publishing):
        return "The manifest of what was to be published is gone: what is missing is fetched again."
    publish(workspace, journal.publishing)
    _replace_manifest(workspace)
    with storing("read", workspace.manifest):
        missing = missing_file(workspace)
    if missing is not None:
        return f"{missing} was to be published and is gone: what is missing is fetched again."
    finish_publishing(workspace, journal)
    return ""


def _names_all(workspace: Workspace, keys: Iterable[str]) -> bool:
    """Whether the manifest that is to be has a line for every file that waits in staging.

    Where it has not, it is the one from before: what it does not name would be published unknown to all.
    """
    manifest = workspace.next_manifest
    if not manifest.exists():
        # Of a run that ended after it was put in its place.
        manifest = workspace.manifest
    with storing("read", manifest):
        if not manifest.exists():
            return False
        named = names_in(manifest)
    for key in keys:
        staging = os.fspath(workspace.staging(key))
        for folder, _, names in os.walk(staging):
            inside = os.path.relpath(folder, staging)
            for name in names:
                path = name if inside == "." else f"{inside}/{name}"
                if os.fsencode(path) not in named:
                    return False
    return True


def drop_strangers(workspace: Workspace, journal: Journal, catalog: Catalog) -> None:
    """Forget archives that the catalog does not have: nobody will ever finish them."""
    known = {archive.name for archive in catalog.archives}
    for key in [key for key in journal.entries if archive_of(key) not in known]:
        entry = journal.entries.pop(key)
        workspace.forget_archive(key, _file_name(entry.identity))


def _file_name(identity: str) -> str:
    """The file name in an identity; it becomes a path, and so must not lead anywhere."""
    return Path(identity.partition(" ")[0]).name or "none"


def finish_publishing(workspace: Workspace, journal: Journal) -> int:
    """Move what the journal says is verified, record it, and drop what only its transfer needed.

    Returns how many files the manifest has.  Progress of archives that are not published stays, and so does
    what an earlier call wanted of an archive and this one does not.
    """
    publish(workspace, journal.publishing)
    _replace_manifest(workspace)
    files = count_lines(workspace.manifest)
    entries = {archive_of(key): journal.entries[key] for key in journal.publishing}
    write_record(workspace, entries, files, journal.catalog)
    # What the journal knows must not go before the renames are sure to stay.
    sync_file_system(workspace.home)
    for key in journal.publishing:
        _drop_published(workspace, journal, key)
    journal.publishing = []
    with storing("finish", workspace.target):
        if journal.entries:
            write_journal_now(workspace.journal, journal)
        else:
            workspace.clean()
    return files


def _replace_manifest(workspace: Workspace) -> None:
    with storing("finish", workspace.target):
        if not workspace.next_manifest.exists():
            return
        with contextlib.suppress(StorageError):
            # Nobody needs them but a quick look, which does without.
            record_sizes(workspace, Job())
        workspace.next_manifest.replace(workspace.manifest)


def _drop_published(workspace: Workspace, journal: Journal, key: str) -> None:
    name, entry = archive_of(key), journal.entries[key]
    is_whole = entry.of is None or entry.members == entry.of
    if workspace.spare(key).exists() and not is_whole:
        entry.verified = ""
        return
    del journal.entries[key]
    workspace.forget_archive(key, _file_name(entry.identity))
    if not is_whole:
        return
    # All of the archive is there: what else was begun of it has no use any more.
    for other in (name, part_key(name)):
        begun = journal.entries.pop(other, None)
        if begun is not None:
            workspace.forget_archive(other, _file_name(begun.identity))
