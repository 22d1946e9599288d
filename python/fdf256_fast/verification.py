"""What came of looking at a tree: returned by the Python functions, printed as JSON by the command."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from fdf256_fast.units import format_bytes, format_duration, format_rate

if TYPE_CHECKING:
    from fdf256_fast.sums import BadLine

__all__ = ["Damaged", "Verification"]


class Damaged(NamedTuple):
    """A file that is not what it should be; ``expected`` and ``computed`` are ``algorithm:hex``.

    ``computed`` is empty where nothing was read: ``reason`` says why.
    """

    path: str
    reason: str
    expected: str = ""
    computed: str = ""


class Verification(NamedTuple):
    """What was found; paths are relative to ``target``, sorted or in the list's order.

    ``files`` is how many there should be, ``bytes`` how many bytes were read, ``seconds`` how long it took.
    ``checked`` is what was looked at: ``sha256`` (or another algorithm, or ``digest`` for several), ``crc32``
    (sizes and CRC-32 of a tree without manifest), ``size``, or ``presence``.

    ``missing`` and ``damaged`` files, ``returned`` ones (images that were to be forgotten and are there),
    and lines of our own manifest that are none (``bad_lines``; there may be more, see ``bad_line_count``) are
    failures.  ``extra`` files, and bad lines of anybody else's list, are so with ``is_strict`` only.
    ``repaired`` counts files that were fetched again and are right now.
    """

    target: str
    files: int
    bytes: int
    seconds: float
    checked: str
    missing: tuple[str, ...] = ()
    damaged: tuple[Damaged, ...] = ()
    extra: tuple[str, ...] = ()
    returned: tuple[str, ...] = ()
    bad_lines: tuple[BadLine, ...] = ()
    bad_line_count: int = 0
    ignored: int = 0
    """Files that are not there, where that is no failure."""
    is_strict: bool = False
    is_manifest: bool = True
    fault: str = ""
    """What is wrong with the manifest as a whole."""
    repaired: int = 0
    bytes_downloaded: int = 0

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.error

    @property
    def verified(self) -> str:
        """``checked`` if nothing is wrong, else ``none``."""
        return self.checked if self.ok else "none"

    @property
    def error(self) -> str:
        """What is wrong, in one line; empty if nothing is."""
        words = [
            f"{count:,} {'file is' if count == 1 else 'files are'} {what}"
            for count, what in (
                (len(self.damaged), "damaged"),
                (len(self.missing), "missing"),
                (len(self.returned), "forgotten, but there"),
                (len(self.extra) if self.is_strict else 0, "not expected"),
            )
            if count
        ]
        if self.bad_line_count and (self.is_strict or self.is_manifest):
            count = self.bad_line_count
            whose = "the manifest" if self.is_manifest else "the list"
            words.append(f"{count:,} {'line' if count == 1 else 'lines'} of {whose} cannot be used")
        if self.fault:
            words.append(self.fault)
        return ", ".join(words)

    @property
    def summary(self) -> str:
        """``data/fdf256: 248,515 files are as they should be (sha256): 26.1 GB in 12 s (2.17 GB/s)``."""
        took = format_duration(self.seconds)
        if self.bytes:
            took = f"{format_bytes(self.bytes)} in {took}"
            took += f" ({format_rate(self.bytes / self.seconds)})" if self.seconds > 0 else ""
        files = f"{self.files:,} {'file' if self.files == 1 else 'files'}"
        if not self.ok:
            return f"{self.target}: of {files}, {self.error}. {took}"
        are, have = ("is", "has") if self.files == 1 else ("are", "have")
        checked = {
            "presence": f"{are} there, and not empty; sizes are not known, nothing was read",
            "size": f"{are} there with the size that was installed; nothing was read",
            "crc32": f"{have} the size and CRC-32 that the archives say",
        }
        known = checked.get(self.checked) if self.is_manifest else None
        others = f"; {self.ignored:,} not there" if self.ignored else ""
        return (
            f"{self.target}: {files} {known or f'{are} as they should be ({self.checked})'}{others}: {took}"
        )

    @property
    def is_plain(self) -> bool:
        """Whether there is nothing to list."""
        return self.ok and not (self.extra or self.bad_lines or self.repaired)

    def as_json(self) -> dict[str, Any]:
        """The object that ``--json`` prints."""
        return {
            "ok": self.ok,
            "error": self.error or None,
            "target": self.target,
            "archives": [],
            "files": self.files,
            "bytes": self.bytes,
            "seconds": round(self.seconds, 3),
            "verified": self.verified,
            "checked": self.checked,
            "missing": list(self.missing),
            "damaged": [one._asdict() for one in self.damaged],
            "extra": list(self.extra),
            "returned": list(self.returned),
            "bad_lines": [one._asdict() for one in self.bad_lines],
            "bad_line_count": self.bad_line_count,
            "fault": self.fault,
            "ignored": self.ignored,
            "repaired": self.repaired,
            "bytes_downloaded": self.bytes_downloaded,
            "bytes_resumed": 0,
            "retries": 0,
        }
