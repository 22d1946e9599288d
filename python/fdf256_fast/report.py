"""What a run did: returned by the Python functions, printed as JSON by the command."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["ArchiveReport", "Report", "attach", "attached"]


class ArchiveReport(NamedTuple):
    """One archive: sizes in bytes; ``verified`` is md5, sha256…, crc32 (members only) or none.

    Of a part, ``bytes`` and ``members`` are those of the part.  ``bytes_to_fetch`` and ``requests`` are what
    was planned when the run began, its directory aside; ``adopted`` counts files that were there without a
    manifest and turned out to be right.  ``error`` says why this file is not there where others are.
    """

    name: str
    bytes: int
    bytes_downloaded: int
    bytes_resumed: int
    verified: str
    url: str
    members: int | None = None
    bytes_to_fetch: int = 0
    requests: int = 0
    adopted: int = 0
    error: str | None = None


class Report(NamedTuple):
    """A whole run; ``seconds`` is its length, ``files`` how many were published."""

    target: str
    archives: tuple[ArchiveReport, ...]
    files: int
    seconds: float
    retries: int = 0
    dry_run: bool = False
    already_installed: bool = False

    @classmethod
    def of(cls, reports: Sequence[Report]) -> Report:
        """Several runs with one target, one after the other, as one."""
        return cls(
            reports[0].target,
            tuple(archive for report in reports for archive in report.archives),
            sum(report.files for report in reports),
            sum(report.seconds for report in reports),
            sum(report.retries for report in reports),
        )

    @property
    def bytes_downloaded(self) -> int:
        """Bytes of the archives that came over the network in this run."""
        return sum(archive.bytes_downloaded for archive in self.archives)

    @property
    def bytes_resumed(self) -> int:
        """Bytes that earlier runs had left."""
        return sum(archive.bytes_resumed for archive in self.archives)

    @property
    def verified(self) -> str:
        """The weakest check that an archive got; archives with different digests count as ``digest``."""
        checks = {archive.verified for archive in self.archives}
        for weak in ("none", "crc32"):
            if weak in checks or not checks:
                return weak
        return checks.pop() if len(checks) == 1 else "digest"

    def as_json(self) -> dict[str, Any]:
        """The object that ``--json`` prints."""
        return {
            "ok": True,
            "error": None,
            "target": self.target,
            "archives": [archive._asdict() for archive in self.archives],
            "files": self.files,
            "bytes_downloaded": self.bytes_downloaded,
            "bytes_resumed": self.bytes_resumed,
            "seconds": round(self.seconds, 3),
            "retries": self.retries,
            "verified": self.verified,
            "dry_run": self.dry_run,
            "already_installed": self.already_installed,
        }


def attach(report: Report, stop: BaseException) -> None:
    """Let what ends a run, an error or a cancellation, say what had been done by then."""
    vars(stop)["report"] = report


def attached(stop: BaseException) -> Report | None:
    """What :func:`attach` gave it."""
    found = vars(stop).get("report")
    return found if isinstance(found, Report) else None
