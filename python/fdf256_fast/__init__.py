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
    from fdf256_fast.console import RichProgress
    from fdf256_fast.credits import CreditsReport, write_credits, write_credits_async
    from fdf256_fast.dataset import FDF256, face_mask
    from fdf256_fast.drawing import plot
    from fdf256_fast.extraction import extract_async
    from fdf256_fast.fetching import fetch
    from fdf256_fast.forgetting import Forgotten, Removed, forget, forget_async
    from fdf256_fast.installation import install
    from fdf256_fast.limits import Limits
    from fdf256_fast.listed import verify_sums, verify_sums_async
    from fdf256_fast.plain import PlainProgress
    from fdf256_fast.progress import ArchiveProgress, Progress, Snapshot
    from fdf256_fast.report import ArchiveReport, Report
    from fdf256_fast.rows import Row, index
    from fdf256_fast.search import search_user, search_user_async
    from fdf256_fast.search_results import FoundImage, SearchResult
    from fdf256_fast.selection import Ids, Selection
    from fdf256_fast.survey import Survey, info
    from fdf256_fast.sync import extract, fetch_sync, install_sync
    from fdf256_fast.tree import verify, verify_async
    from fdf256_fast.verification import Damaged, Verification

__all__ = [
    "FDF256",
    "Archive",
    "ArchiveError",
    "ArchiveProgress",
    "ArchiveReport",
    "Catalog",
    "CatalogError",
    "CreditsReport",
    "Damaged",
    "Digest",
    "DigestMismatch",
    "Error",
    "Forgotten",
    "FoundImage",
    "Ids",
    "IntegrityError",
    "Limits",
    "LockedError",
    "MemberError",
    "MetadataError",
    "PlainProgress",
    "Progress",
    "Removed",
    "Report",
    "RichProgress",
    "Row",
    "SearchResult",
    "Selection",
    "Snapshot",
    "StatusError",
    "StorageError",
    "Survey",
    "TransferError",
    "UsageError",
    "Verification",
    "extract",
    "extract_async",
    "face_mask",
    "fetch",
    "fetch_sync",
    "forget",
    "forget_async",
    "index",
    "info",
    "install",
    "install_sync",
    "load_catalog",
    "plot",
    "search_user",
    "search_user_async",
    "verify",
    "verify_async",
    "verify_sums",
    "verify_sums_async",
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
    "FDF256": "dataset",
    "FoundImage": "search_results",
    "Ids": "selection",
    "Damaged": "verification",
    "Forgotten": "forgetting",
    "Limits": "limits",
    "PlainProgress": "plain",
    "Progress": "progress",
    "Removed": "forgetting",
    "Report": "report",
    "RichProgress": "console",
    "Row": "rows",
    "SearchResult": "search_results",
    "Selection": "selection",
    "Snapshot": "progress",
    "Verification": "verification",
    "Survey": "survey",
    "extract": "sync",
    "extract_async": "extraction",
    "face_mask": "dataset",
    "fetch": "fetching",
    "fetch_sync": "sync",
    "forget": "forgetting",
    "forget_async": "forgetting",
    "index": "rows",
    "info": "survey",
    "install": "installation",
    "install_sync": "sync",
    "load_catalog": "catalog",
    "plot": "drawing",
    "search_user": "search",
    "search_user_async": "search",
    "write_credits": "credits",
    "write_credits_async": "credits",
    "verify": "tree",
    "verify_async": "tree",
    "verify_sums": "listed",
    "verify_sums_async": "listed",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415 - see above

    value = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value
