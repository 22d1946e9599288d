"""Where an archive can come from, and which of those places to ask next.  Pure, no I/O."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

from fdf256_fast.errors import Error, TransferError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["OriginChanged", "Source", "Sources", "Validator", "given_url", "redacted", "split_url"]


UNRANGED_MAX = 3
"""So many ranged requests in a row that were answered with something else: it knows no ranges."""


class OriginChanged(Error):
    """The file on the server is another one than before: other size or other validator."""

    exit_status = 4

    def as_final(self) -> TransferError:
        """What to raise when it changes again and again."""
        return TransferError(
            f"{self.message}, once more: it is begun anew each time",
            hint="It is being written at present, or several servers disagree; try again later.",
        )


@dataclass(frozen=True, slots=True)
class Validator:
    """What tells two versions of a file apart: a strong ETag, else Last-Modified (RFC 9110, 8.8)."""

    etag: str | None = None
    last_modified: str | None = None

    @classmethod
    def of(cls, etag: str | None, last_modified: str | None) -> Validator:
        """From an answer's headers; a weak ETag (``W/``) does not promise equal bytes and is left out."""
        return cls(None if etag is None or etag.startswith("W/") else etag, last_modified)

    def contradicts(self, other: Validator) -> bool:
        """Whether the two cannot be of one version.  What either does not know is no contradiction."""
        if self.etag and other.etag:
            return self.etag != other.etag
        if self.last_modified and other.last_modified:
            return self.last_modified != other.last_modified
        return False

    def confirms(self, other: Validator) -> bool:
        """Whether the two are surely of one version."""
        if self.etag and other.etag:
            return self.etag == other.etag
        return self.last_modified is not None and self.last_modified == other.last_modified

    def compares(self, other: Validator) -> bool:
        """Whether the two say enough to tell whether they are of one version."""
        return self.contradicts(other) or self.confirms(other)

    def __bool__(self) -> bool:
        return bool(self.etag or self.last_modified)


@dataclass(slots=True, eq=False)
class Source:
    """One place that an archive can come from: a URL, or a file on this machine.

    ``total`` and ``validator`` are what its answers have shown so far; ``resolved`` where its redirects
    led, ``redirects`` whether there were any, and ``answered_by`` who gave the last answer, of any kind.
    ``failures`` counts those in a row, ``unranged`` the ranged requests in a row that were answered with
    something else; ``content_type`` is what it calls the file; ``dead`` is the reason why it is not asked any
    more.
    """

    url: str
    path: Path | None = None
    total: int | None = None
    validator: Validator = field(default_factory=Validator)
    resolved: str | None = None
    redirects: bool = False
    answered_by: str = ""
    failures: int = 0
    unranged: int = 0
    has_given_ranges: bool = False
    content_type: str = ""
    dead: Error | None = None
    damage: str = ""
    """What was wrong with bytes that came from here, empty if nothing was."""

    @classmethod
    def parse(cls, location: str) -> Source:
        """A source from a URL (http, https, file) or a path.  Raises UsageError for what is neither."""
        parts = given_url(location)
        if not location:
            raise UsageError("a source must be a URL or a path, and not empty")
        if parts.scheme in {"http", "https"}:
            return cls(location)
        path = Path(unquote(parts.path) if parts.scheme == "file" else location)
        return cls(path.absolute().as_uri(), path)

    def forget(self) -> None:
        """Take what it has shown so far for gone."""
        self.total = None
        self.validator = Validator()

    @property
    def host(self) -> str:
        """Who is asked at present: host and port, empty for a file on this machine."""
        return "" if self.path is not None else _host_of(self.resolved or self.answered_by or self.url)

    @property
    def web_page_hint(self) -> str:
        """What to say of bytes that are not what they should be, if the server called them a web page."""
        if self.content_type not in {"text/html", "application/xhtml+xml"}:
            return ""
        return "The server sent a web page, perhaps an error or a login: look at the address in a browser."

    @property
    def gives_ranges(self) -> bool:
        """Whether it is still worth asking for ranges."""
        return self.unranged < UNRANGED_MAX

    @property
    def name(self) -> str:
        """The URL without secrets, for messages and the journal."""
        return redacted(self.url)


@lru_cache(256)
def _host_of(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2]


@lru_cache(256)
def redacted(url: str) -> str:
    """``url`` without user, password, query and fragment, which may hold secrets."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path, "…" if parts.query else "", ""))


def split_url(url: str) -> SplitResult:
    """The parts of ``url``.  Raises ValueError for what is none, a port beyond 65535 included."""
    parts = urlsplit(url)
    _ = parts.port  # looked at by nobody before a request is made, and raises
    return parts


def given_url(url: str) -> SplitResult:
    """The parts of a URL (http, https, file) or path that somebody gave.

    Raises UsageError, which quotes nothing that may be secret.
    """
    try:
        parts = split_url(url)
    except ValueError as error:
        shown = re.split(r"[?#]", url, maxsplit=1)[0].rpartition("@")[2]
        raise UsageError(f"{shown} is not a URL: {error}") from error
    if parts.scheme in {"http", "https"}:
        if not parts.hostname:
            raise UsageError(f"{redacted(url)} is not a URL: it names no host")
    # A path may well have a colon in it.
    elif parts.scheme not in {"", "file"} and "://" in url:
        raise UsageError(
            f"{redacted(url)}: {parts.scheme} is not spoken here", hint="Only http, https and file are."
        )
    return parts


class Sources:
    """The sources of one archive, in order of preference.

    The first healthy one is asked; failures move it back, success brings it to the front again.  One
    that answered for good that it does not have the file is dead, and not asked again in this run.
    """

    def __init__(self, sources: Iterable[Source]) -> None:
        self.all = tuple(sources)

    def best(self) -> Source:
        """The one to ask now.  Raises the first one's reason when all are dead."""
        alive = [source for source in self.all if source.dead is None]
        if not alive:
            raise self._all_dead()
        return min(alive, key=lambda source: source.failures)

    def has_other_than(self, source: Source) -> bool:
        """Whether somebody else can be asked."""
        return any(other.dead is None for other in self.all if other is not source)

    def has_better_than(self, source: Source) -> bool:
        """Whether somebody else is asked next, who has failed less often."""
        return any(other.dead is None and other.failures < source.failures for other in self.all)

    def explained(self, error: TransferError) -> TransferError:
        """``error`` with what else was wrong with any of the sources."""
        for source in self.all:
            if source.damage:
                error.message += f"; the copy at {source.name} is damaged: {source.damage}"
            elif source.dead is not None and source.dead is not error:
                error.message += f"; before that, {source.dead.message}"
        return error

    def second_opinion(self, error: Error) -> Source | None:
        """A source that was dropped because it had another file than those that have failed now.

        Perhaps it was they who had the wrong one: they are dead now, and it is asked again.  None if there
        was no such disagreement.
        """
        others = [source for source in self.all if isinstance(source.dead, OriginChanged)]
        if not others:
            return None
        for source in self.all:
            if source.dead is None:
                source.dead = error
        for source in others:
            source.dead, source.failures = None, 0
        return others[0]

    def _all_dead(self) -> Error:
        reasons = [source.dead for source in self.all if source.dead is not None]
        if len(reasons) == 1:
            return reasons[0]
        told = "; ".join(reason.message for reason in reasons)
        return TransferError(f"no source has it: {told}", url=self.all[0].name)
