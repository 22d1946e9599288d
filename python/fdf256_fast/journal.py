"""What resume needs, on disk: one small JSON file, replaced as a whole.

A journal that is torn, damaged or of another version is the same as none: the run starts anew, and
says so.  Signed addresses and credentials never get in: sources are named without query and user.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import aiofiles

from fdf256_fast.errors import StorageError
from fdf256_fast.sources import Validator
from fdf256_fast.watch import in_thread, unbroken
from fdf256_fast.workspace import storage_error

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Entry", "Journal", "journal_draft", "read_journal", "write_journal"]

VERSION = 1


@dataclass(slots=True)
class Entry:
    """One archive.

    ``identity`` says what it was meant to be (its digest, or its address): another identity, another
    archive.  ``total`` is its size in bytes, ``validators`` what each source showed, by the source's
    name; ``directory_start`` where the bytes kept of its end start; ``state`` is the core's saved state,
    and ``verified`` the digest of a finished archive (empty while unfinished, ``crc32`` or ``none``
    where there is no digest).  ``digest`` and ``members`` are for the record of what is installed.
    """

    identity: str
    total: int | None = None
    validators: dict[str, Validator] = field(default_factory=dict)
    directory_start: int | None = None
    state: str | None = None
    verified: str = ""
    source: str = ""
    digest: str = ""
    members: int | None = None


@dataclass(slots=True)
class Journal:
    """All archives of a target.

    ``publishing`` names those that are verified and on their way from staging to the target; their manifest
    is written.  Whatever the next run wants, it finishes that first.
    """

    publishing: list[str] = field(default_factory=list)
    entries: dict[str, Entry] = field(default_factory=dict)
    problem: str = ""
    """Why an existing journal could not be used, empty if it could or there was none."""


async def read_journal(path: Path) -> Journal:
    """The journal at ``path``; an empty one, with its ``problem``, where it cannot be used."""
    try:
        text = await unbroken(_read(path))
    except FileNotFoundError:
        return Journal()
    except OSError as error:
        raise storage_error("read", error, path) from error
    except UnicodeDecodeError:
        return Journal(problem=f"{path} is damaged")
    try:
        return _parse(json.loads(text))
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        return Journal(problem=f"{path} is damaged or of another version")


async def _read(path: Path) -> str:
    async with aiofiles.open(path, encoding="utf-8") as file:
        return await file.read()


async def write_journal(path: Path, journal: Journal) -> None:
    """Replace the journal at ``path``: after a crash it is the old one or the new one.

    Raises StorageError.
    """
    # One call in one thread: a cancellation can come between two, and leave a file open.
    await in_thread(_replace, path, render(journal))


def write_journal_now(path: Path, journal: Journal) -> None:
    """The same from a thread, for a run that has ended; what cannot be written is not worth an error."""
    with contextlib.suppress(StorageError):  # the journal of half a second ago is still there
        _replace(path, render(journal))


def _replace(path: Path, text: str) -> None:
    fresh = journal_draft(path)
    try:
        fresh.write_text(text, encoding="utf-8")
        fresh.replace(path)
    except OSError as error:
        raise storage_error("write", error, path) from error


def journal_draft(path: Path) -> Path:
    """Where the next journal grows; a killed run may leave it."""
    return path.with_name(path.name + ".new")


def render(journal: Journal) -> str:
    """The journal as text."""
    entries = {name: asdict(entry) for name, entry in journal.entries.items()}
    return json.dumps({"version": VERSION, "publishing": journal.publishing, "archives": entries}, indent=1)


def _parse(raw: Any) -> Journal:
    if raw["version"] != VERSION:
        raise ValueError
    journal = Journal(publishing=list(raw["publishing"]))
    for name, values in raw["archives"].items():
        values["validators"] = {
            source: Validator(**validator) for source, validator in values["validators"].items()
        }
        entry = Entry(**values)
        numbers = (entry.total, entry.directory_start, entry.members)
        texts = (entry.identity, entry.verified, entry.source, entry.digest)
        if not all(number is None or (type(number) is int and number >= 0) for number in numbers):
            raise ValueError
        if not all(isinstance(text, str) for text in texts) or not isinstance(entry.state, str | None):
            raise ValueError
        journal.entries[name] = entry
    if not all(journal.entries[name].verified for name in journal.publishing):
        raise ValueError
    return journal
