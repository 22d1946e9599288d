"""What is installed: the manifest ``SHA256SUMS`` and the record ``installed.json``, written and believed.

Both are for others to read, and so may have been edited: what is not as it should be counts as not installed,
and is installed again.
"""

from __future__ import annotations

import json
import os
import re
import time
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from fdf256_fast.durable import replace_file, storing
from fdf256_fast.forgotten import is_forgotten, list_digest, read_forgotten
from fdf256_fast.report import ArchiveReport, Report
from fdf256_fast.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    from fdf256_fast.catalog import Archive, Catalog
    from fdf256_fast.journal import Entry

__all__ = [
    "Installed",
    "Record",
    "add_old_lines",
    "already_installed",
    "count_lines",
    "doubt_record",
    "download_command",
    "missing_file",
    "names_in",
    "read_record",
    "rescue_next_manifest",
    "write_archives",
    "write_record",
]

LINE = re.compile(rb"[0-9a-f]{64}  ([^\0\r\n\\]+)\n")
"""Names with other characters are in no archive that is accepted."""


@dataclass(frozen=True, slots=True)
class Installed:
    """One archive in the record.

    ``members`` counts its files in the target, and ``of`` how many there are of it (None: all of them are in
    the target); ``parts`` are the selections that are complete (see ``Selection.token``).  ``doubtful`` are
    those that were, until the manifest lost lines, or images were let in again; the empty text is all of it.
    """

    digest: str
    bytes: int
    members: int | None
    verified: str
    url: str
    of: int | None = None
    parts: tuple[str, ...] = ()
    doubtful: tuple[str, ...] = ()

    @property
    def is_whole(self) -> bool:
        """Whether all of its files that are not forgotten are in the target."""
        return not self.doubtful and (self.of is None or self.members == self.of)

    def has(self, token: str) -> bool:
        """Whether the selection ``token`` is complete."""
        return self.is_whole or (bool(token) and token in self.parts)

    def doubted(self) -> Installed:
        """The same, with nothing complete until it is looked at again."""
        complete = ("",) if self.is_whole else self.parts
        return replace(self, parts=(), doubtful=tuple(dict.fromkeys([*self.doubtful, *complete])))


@dataclass(frozen=True, slots=True)
class Record:
    """``installed.json``: its archives by name, how many files the manifest has, and the catalog.

    ``forgotten`` is how many images are kept out, as far as this record knows, and ``forgotten_list`` the
    digest of the list of them (None in a record of an earlier version); ``files`` counts none of them.
    ``lost`` is how many lines the manifest has lost, of what is doubtful.
    """

    archives: dict[str, Installed]
    files: int
    catalog: str = ""
    forgotten: int = 0
    forgotten_list: str | None = None
    lost: int = 0

    def knows(self, forgotten: Collection[str]) -> bool:
        """Whether it was written when these images were kept out, and no others."""
        if self.forgotten_list is None:
            return self.forgotten == len(forgotten)
        return self.forgotten_list == list_digest(forgotten)

    def doubted(self) -> Record:
        """The same, with nothing complete until it is looked at again."""
        return replace(self, archives={name: each.doubted() for name, each in self.archives.items()})


# ---- the manifest ----------------------------------------------------------------------------------


def add_old_lines(workspace: Workspace) -> None:
    """Add to the next manifest what the present one has of archives that are not part of this run.

    Raises StorageError.
    """
    with storing("write", workspace.next_manifest):
        if not workspace.manifest.exists():
            return
        with workspace.next_manifest.open("rb") as lines:
            fresh = {line[66:] for line in lines}
        with workspace.manifest.open("rb") as old, workspace.next_manifest.open("ab") as out:
            out.writelines(line for line in old if LINE.fullmatch(line) and line[66:] not in fresh)


def rescue_next_manifest(workspace: Workspace) -> None:
    """Give the next manifest of an earlier version, which called it ``SHA256SUMS.new``, its present name.

    Before anything replaces the manifest: that would write over it.  What somebody who was killed left of a
    new manifest is no harm: it is passed over if it names less than the present one, and else says the same.
    Raises StorageError, IntegrityError where the list of forgotten images is damaged.
    """
    draft = workspace.manifest_draft
    with storing("read", draft):
        if workspace.next_manifest.exists() or not draft.is_file():
            return
        with draft.open("rb") as lines:
            if not all(map(LINE.fullmatch, lines)):
                return
        if workspace.manifest.exists():
            forgotten = read_forgotten(workspace)
            lost = names_in(workspace.manifest) - names_in(draft)
            if not all(is_forgotten(os.fsdecode(name), forgotten) for name in lost):
                return
    with storing("rename", draft):
        draft.replace(workspace.next_manifest)


def names_in(manifest: Path) -> frozenset[bytes]:
    """The paths that a manifest names; lines that are none are passed over.  Raises OSError."""
    with manifest.open("rb") as lines:
        return frozenset(match[1] for line in lines if (match := LINE.fullmatch(line)))


def count_lines(manifest: Path) -> int:
    """How many files a manifest has.  Raises StorageError."""
    with storing("read", manifest), manifest.open("rb") as lines:
        return sum(1 for _ in lines)


def missing_file(workspace: Workspace) -> str | None:
    """The first file of the manifest that is not in the target, or the first line that is none.

    None when all are there.  Raises OSError.
    """
    with workspace.manifest.open("rb") as lines:
        for line in lines:
            match = LINE.fullmatch(line)
            name = os.fsdecode(match[1] if match else line)
            if match is None or not os.path.lexists(workspace.target / name):
                return name
    return None


# ---- the record ------------------------------------------------------------------------------------


def write_record(workspace: Workspace, entries: Mapping[str, Entry], files: int, catalog: str = "") -> None:
    """Bring ``installed.json`` up to date: ``entries`` by the archives' names.

    Raises StorageError, and IntegrityError where the list of forgotten images is damaged.
    """
    known = read_record(workspace)
    archives = dict(known.archives) if known is not None else {}
    for name, entry in entries.items():
        before = archives.get(name)
        parts = list(entry.parts)
        doubtful: tuple[str, ...] = ()
        if before is not None and before.digest == entry.digest:
            doubtful = tuple(token for token in before.doubtful if token not in parts)
            parts = [*(token for token in before.parts if token not in parts), *parts]
        fresh = Installed(
            entry.digest,
            entry.total or 0,
            entry.members,
            entry.verified.partition(":")[0],
            entry.source,
            entry.of,
            tuple(parts),
        )
        archives[name] = fresh if fresh.is_whole else replace(fresh, doubtful=doubtful)
    catalog = catalog or (known.catalog if known else "")
    forgotten = read_forgotten(workspace)
    # What was lost may be of any archive: only when none is in doubt any more it is there again.
    lost = known.lost if known and any(archive.doubtful for archive in archives.values()) else 0
    write_archives(workspace, Record(archives, files, catalog, len(forgotten), list_digest(forgotten), lost))


def doubt_record(workspace: Workspace) -> int:
    """Let nothing count as complete if lines of the manifest are gone, or images were let in again.

    To be called before a run writes a manifest: what it counts then must not hide what is gone now.  Returns
    how many lines are.  Raises StorageError, IntegrityError where the list of forgotten images is damaged.
    """
    record = read_record(workspace)
    if record is None:
        return 0
    lines = count_lines(workspace.manifest) if workspace.manifest.exists() else 0
    forgotten = read_forgotten(workspace)
    lost = max(0, record.files - lines)
    if lost or not record.knows(forgotten):
        files, lost_ever = min(record.files, lines), record.lost + lost
        known = replace(record.doubted(), files=files, lost=lost_ever)
        write_archives(
            workspace, replace(known, forgotten=len(forgotten), forgotten_list=list_digest(forgotten))
        )
    return lost


def write_archives(workspace: Workspace, record: Record) -> None:
    """Write ``installed.json``.  Raises StorageError."""
    values = {
        "archives": {name: asdict(archive) for name, archive in record.archives.items()},
        "version": 1,
        "files": record.files,
        "catalog": record.catalog,
        "forgotten": record.forgotten,
        "forgotten_list": record.forgotten_list,
        "lost": record.lost,
        # For people; nothing is decided by it.
        "installed": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    replace_file(workspace.installed, (json.dumps(values, indent=1) + "\n").encode())


def read_record(workspace: Workspace) -> Record | None:
    """The record; None where there is none that can be used."""
    try:
        record = json.loads(workspace.installed.read_bytes())
        archives = {
            name: Installed(
                **{
                    **values,
                    "parts": tuple(values.get("parts", ())),
                    "doubtful": tuple(values.get("doubtful", ())),
                }
            )
            for name, values in record["archives"].items()
        }
        files, catalog = record["files"], record.get("catalog", "")
        forgotten, listed = record.get("forgotten", 0), record.get("forgotten_list")
        lost = record.get("lost", 0)
        if record["version"] != 1 or {type(files), type(forgotten), type(lost)} != {int}:
            return None
        if not (isinstance(catalog, str) and isinstance(listed, str | None)):
            return None
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    found = Record(archives, files, catalog, forgotten, listed, lost)
    return found if all(map(_is_sound, archives.values())) else None


def _is_sound(archive: Installed) -> bool:
    texts = (archive.digest, archive.verified, archive.url, *archive.parts, *archive.doubtful)
    numbers = (archive.bytes, archive.members or 0, archive.of or 0)
    return all(isinstance(text, str) for text in texts) and all(
        type(number) is int and 0 <= number < 1 << 63 for number in numbers
    )


def download_command(target: Path, catalog: Catalog | None = None) -> str:
    """The command that makes ``target`` whole, as its user has to type it."""
    record = read_record(Workspace.of(target))
    name = catalog.reference if catalog is not None else (record.catalog if record is not None else "")
    return f"fdf256 download {target}" + (f" --catalog {name}" if name not in {"", "fdf256"} else "")


def already_installed(
    workspace: Workspace, archives: Sequence[Archive], token: str = "", *, keep_archives: bool = False
) -> Report | None:
    """The report of a target that is complete for the selection ``token``; None when something is to do."""
    record = read_record(workspace)
    if record is None or not record.knows(read_forgotten(workspace)):
        return None
    known = record.archives
    if any(
        archive.name not in known
        or known[archive.name].digest != str(archive.digest or "")
        or not known[archive.name].has(token)
        for archive in archives
    ):
        return None
    try:
        if keep_archives and not all(
            (workspace.archives / archive.file_name).is_file()
            for archive in archives
            if archive.kind != "file"
        ):
            return None
        if missing_file(workspace) is not None or count_lines(workspace.manifest) != record.files:
            return None
    except OSError:
        return None
    reports = [
        ArchiveReport(
            name=name,
            bytes=found.bytes,
            bytes_downloaded=0,
            bytes_resumed=found.bytes,
            verified=found.verified,
            url=found.url,
            members=found.members,
        )
        for name, found in ((archive.name, known[archive.name]) for archive in archives)
    ]
    return Report(str(workspace.target), tuple(reports), record.files, 0.0, already_installed=True)
