"""What resume needs, on disk: one small JSON file, replaced as a whole.

Each archive's entry, and the rest, has a digest of its own: what was torn or changed is plain, and only that
starts anew.  Signed addresses and credentials never get in: sources are named without query and user.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from fdf256_fast.durable import boot_id, replace_file, storing
from fdf256_fast.errors import StorageError
from fdf256_fast.sources import Validator
from fdf256_fast.watch import in_thread

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Entry", "Journal", "journal_draft", "read_journal", "read_journal_now", "write_journal"]

VERSION = 2
JOURNAL_BYTES_MAX = 64 * 1024 * 1024
"""Nobody's journal is as large; something else lies there."""


@dataclass(slots=True)
class Entry:
    """One archive.

    ``identity`` says what it was meant to be (its digest, or its address): another identity, another
    archive.  ``total`` is its size in bytes, ``validators`` what each source showed, by the source's
    name; ``directory_start`` where the bytes kept of its end start, and ``end`` their SHA-256; ``state`` is
    the core's saved state, and ``verified`` the digest of a finished archive (empty while unfinished,
    ``crc32`` or ``none`` where there is no digest).  ``digest`` and ``members`` are for the record of what
    is installed.

    ``doubtful``: what is on disk must be read before it is believed; the machine was started anew since it
    was written, or a member was being fetched again.  ``crc32_only``: some member was fetched again of which
    no record was left, so that the archive's digest does not vouch for it.

    Of a part of an archive: ``members`` counts those that will be in the target, ``of`` how many there would
    be of the whole archive, and ``parts`` which selections it is complete for.
    """

    identity: str
    total: int | None = None
    validators: dict[str, Validator] = field(default_factory=dict)
    directory_start: int | None = None
    end: str = ""
    state: str | None = None
    verified: str = ""
    source: str = ""
    digest: str = ""
    members: int | None = None
    doubtful: bool = False
    crc32_only: bool = False
    of: int | None = None
    parts: list[str] = field(default_factory=list)

    @property
    def is_fresh(self) -> bool:
        """Nothing is had of it yet."""
        return self.total is None and self.state is None and not self.verified


@dataclass(slots=True)
class Journal:
    """All archives of a target.

    ``publishing`` names those that are verified and on their way from staging to the target; their manifest
    is written.  Whatever the next run wants, it finishes that first.
    """

    publishing: list[str] = field(default_factory=list)
    catalog: str = ""
    """What those that are published belong to, for the record of what is installed."""
    entries: dict[str, Entry] = field(default_factory=dict)
    problem: str = ""
    """Why an existing journal could not be used at all, empty if it could or there was none."""
    damaged: list[str] = field(default_factory=list)
    """What of a journal that could be used could not: archives, or ``the head``."""


async def read_journal(path: Path) -> Journal:
    """The journal at ``path``; an empty one, with its ``problem``, where it cannot be used.

    Raises StorageError when the disk does not give it.
    """
    return await in_thread(read_journal_now, path)


def read_journal_now(path: Path) -> Journal:
    """The same in a thread."""
    with storing("read", path):
        try:
            with path.open("rb") as file:
                data = file.read(JOURNAL_BYTES_MAX)
        except FileNotFoundError:
            return Journal()
    try:
        return _parse(json.loads(data))
    # RecursionError: brackets in brackets, thousands of them.
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        return Journal(problem=f"{path} is damaged or of another version")


async def write_journal(path: Path, journal: Journal) -> None:
    """Replace the journal at ``path``: after a crash it is the old one or the new one.

    Raises StorageError.
    """
    text = render(journal, await in_thread(boot_id))
    # One call in one thread: a cancellation can come between two, and leave a file open.
    await in_thread(replace_file, path, text.encode(), spare=True)


def write_journal_now(path: Path, journal: Journal) -> None:
    """The same from a thread, for a run that has ended; what cannot be written is not worth an error.

    It takes the room that was reserved for it, and reserves none.
    """
    with contextlib.suppress(StorageError):  # the journal of half a second ago is still there
        replace_file(path, render(journal, boot_id()).encode())


def remove_journal(path: Path) -> None:
    """Nothing is unfinished any more.  Raises OSError."""
    path.unlink(missing_ok=True)
    journal_draft(path).unlink(missing_ok=True)


def journal_draft(path: Path) -> Path:
    """Where the next journal grows; a killed run may leave it."""
    return path.with_name(path.name + ".new")


def render(journal: Journal, boot: str) -> str:
    """The journal as text; ``boot`` is the present start of the machine."""
    head: dict[str, Any] = {"version": VERSION, "boot": boot, "publishing": journal.publishing}
    if journal.catalog:
        head["catalog"] = journal.catalog
    entries = {name: asdict(entry) for name, entry in journal.entries.items()}
    for name, values in entries.items():
        values["check"] = _check(name, values)
    return json.dumps({**head, "check": _check("", head), "archives": entries}, indent=1)


def _check(name: str, values: dict[str, Any]) -> str:
    text = json.dumps([name, values], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _parse(raw: Any) -> Journal:
    if raw["version"] != VERSION:
        raise ValueError
    journal = Journal()
    for name, values in raw["archives"].items():
        entry = _parse_entry(name, values)
        if entry is None:
            journal.damaged.append(name)
        else:
            journal.entries[name] = entry
    head = {key: raw.get(key) for key in ("version", "boot", "publishing")}
    if "catalog" in raw:
        head["catalog"] = raw["catalog"]
    publishing = head["publishing"]
    if raw.get("check") == _check("", head) and isinstance(publishing, list):
        known = all(isinstance(name, str) and name in journal.entries for name in publishing)
        if known and all(journal.entries[name].verified for name in publishing):
            journal.publishing = publishing
            journal.catalog = str(head.get("catalog") or "")
        elif publishing:
            journal.damaged.append("the head")
    else:
        journal.damaged.append("the head")
    if "the head" in journal.damaged or not head["boot"] or head["boot"] != boot_id():
        for entry in journal.entries.values():
            entry.doubtful = True
    return journal


def _parse_entry(name: str, values: Any) -> Entry | None:
    """The entry, or None where anything in it is not as it was written."""
    try:
        check = values.pop("check")
        # A name becomes a path.
        if check != _check(name, values) or name in {"", ".", ".."} or "/" in name or "\0" in name:
            return None
        validators = {
            source: Validator(**validator) for source, validator in values.pop("validators").items()
        }
        entry = Entry(**values, validators=validators)
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
    return entry if _is_sound(entry) else None


def _is_sound(entry: Entry) -> bool:
    numbers = (entry.total, entry.directory_start, entry.members)
    texts = (entry.identity, entry.end, entry.verified, entry.source, entry.digest)
    maybe = [entry.state]
    for validator in entry.validators.values():
        maybe += [validator.etag, validator.last_modified]
    return (
        all(number is None or (type(number) is int and 0 <= number < 1 << 63) for number in numbers)
        and all(isinstance(text, str) for text in texts)
        and all(isinstance(text, str | None) for text in maybe)
        and all(isinstance(flag, bool) for flag in (entry.doubtful, entry.crc32_only))
    )
