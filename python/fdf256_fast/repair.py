"""Fetch files of an installed tree again, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fdf256_fast.arguments import texts
from fdf256_fast.catalog import Catalog, load_catalog
from fdf256_fast.installation import Options, install_catalog
from fdf256_fast.limits import Limits
from fdf256_fast.progress import Progress
from fdf256_fast.record import read_record
from fdf256_fast.watch import in_thread
from fdf256_fast.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from fdf256_fast.client import ClientSession
    from fdf256_fast.report import Report

__all__ = ["catalog_of", "repair"]

DEFAULT_CATALOG = "fdf256"


async def repair(
    target: Path,
    paths: Iterable[str],
    catalog: Catalog | None = None,
    *,
    mirrors: str | Iterable[str] = (),
    limits: Limits | None = None,
    progress: Progress | None = None,
    session: ClientSession | None = None,
) -> Report:
    """Fetch ``paths`` (relative to ``target``) again, whatever lies there: only the spans that hold them.

    A file that the manifest names must become what it was, byte by byte; another one, what its archive says.
    Paths that are in no archive of the catalog are passed over.

    Args:
        target: an installed tree.
        paths: what is damaged or missing.
        catalog: what was installed; None: what the record says, else FDF256.
        mirrors: base URLs or local folders that hold the archives, tried first.
        limits: as for ``install``.
        progress: as for ``install``.
        session: as for ``install``.

    Returns:
        What was fetched, by archive; its ``files`` is how many files the manifest has now.

    Raises:
        IntegrityError: what the origin has is not what was installed, or damaged; nothing was replaced by it.
        TransferError, StorageError, LockedError, UsageError: as for ``install``.
    """
    found = catalog if catalog is not None else await in_thread(catalog_of, target)
    options = Options(mirrors=texts(mirrors), redo=frozenset(paths), limits=limits or Limits())
    return await install_catalog(target, found, options, progress or Progress(), session)


def catalog_of(target: Path) -> Catalog:
    """The catalog that ``target`` was installed by, FDF256's where nothing says.  Raises CatalogError."""
    record = read_record(Workspace.of(target))
    return load_catalog((record.catalog if record is not None else "") or DEFAULT_CATALOG)
