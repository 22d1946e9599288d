"""Install FDF256, or fetch and unpack any large file, in one verified pass.

>>> import fdf256_fast as fdf
>>> report = await fdf.install("data/fdf256", progress=fdf.RichProgress())  # doctest: +SKIP
"""

from __future__ import annotations

from fdf256_fast.errors import (
    ArchiveError,
    CatalogError,
    DigestMismatch,
    Error,
    IntegrityError,
    LockedError,
    MemberError,
    MetadataError,
    StatusError,
    StorageError,
    TransferError,
    UsageError,
)

# Type checkers know the name; to import it from typing would take longer than everything else here.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from fdf256_fast.catalog import Archive, Catalog, Digest, load_catalog
    from fdf256_fast.console import PlainProgress, RichProgress
    from fdf256_fast.credits import CreditsReport, write_credits, write_credits_async
    from fdf256_fast.extraction import extract_async
    from fdf256_fast.fetching import fetch
    from fdf256_fast.installation import install
    from fdf256_fast.limits import Limits
    from fdf256_fast.progress import ArchiveProgress, Progress, Snapshot
    from fdf256_fast.report import ArchiveReport, Report
    from fdf256_fast.search import FoundImage, SearchResult, search_user, search_user_async
    from fdf256_fast.selection import Ids, Selection
    from fdf256_fast.sync import extract, fetch_sync, install_sync

__all__ = [
    "Archive",
    "ArchiveError",
    "ArchiveProgress",
    "ArchiveReport",
    "Catalog",
    "CatalogError",
    "CreditsReport",
    "Digest",
    "DigestMismatch",
    "Error",
    "FoundImage",
    "Ids",
    "IntegrityError",
    "Limits",
    "LockedError",
    "MemberError",
    "MetadataError",
    "PlainProgress",
    "Progress",
    "Report",
    "RichProgress",
    "SearchResult",
    "Selection",
    "Snapshot",
    "StatusError",
    "StorageError",
    "TransferError",
    "UsageError",
    "extract",
    "extract_async",
    "fetch",
    "fetch_sync",
    "install",
    "install_sync",
    "load_catalog",
    "search_user",
    "search_user_async",
    "write_credits",
    "write_credits_async",
]

# Imported when first asked for: `fdf256 --version` and the exception classes need neither aiohttp nor
# rich, which take ten times as long to import as the interpreter to start.
_HOMES = {
    "Archive": "catalog",
    "ArchiveProgress": "progress",
    "ArchiveReport": "report",
    "Catalog": "catalog",
    "CreditsReport": "credits",
    "Digest": "catalog",
    "FoundImage": "search",
    "Ids": "selection",
    "Limits": "limits",
    "PlainProgress": "console",
    "Progress": "progress",
    "Report": "report",
    "RichProgress": "console",
    "SearchResult": "search",
    "Selection": "selection",
    "Snapshot": "progress",
    "extract": "sync",
    "extract_async": "extraction",
    "fetch": "fetching",
    "fetch_sync": "sync",
    "install": "installation",
    "install_sync": "sync",
    "load_catalog": "catalog",
    "search_user": "search",
    "search_user_async": "search",
    "write_credits": "credits",
    "write_credits_async": "credits",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415 - see above

    value = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value
