"""A tree that has no manifest, against the archives' directories, which alone are fetched."""

from __future__ import annotations

import os
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from fdf256_fast.installation import Options, Run
from fdf256_fast.journal import Journal
from fdf256_fast.part_run import PartRun, Tree
from fdf256_fast.watch import all_of, in_thread
from fdf256_fast.workspace import Workspace

if TYPE_CHECKING:
    from fdf256_fast.catalog import Catalog
    from fdf256_fast.client import ClientSession
    from fdf256_fast.progress import ArchiveProgress, Progress
    from fdf256_fast.report import Report

__all__ = ["Comparison", "compare"]


@dataclass(frozen=True, slots=True)
class Comparison:
    """What of a catalog's archives is in a tree: paths relative to it, each list sorted.

    ``good`` have the size and the CRC-32 that their archive says; ``damaged`` are there and have not;
    ``missing`` are not there.  ``report`` says what was fetched for it, by archive.
    """

    good: tuple[str, ...]
    damaged: tuple[str, ...]
    missing: tuple[str, ...]
    report: Report


async def compare(
    target: Path,
    catalog: Catalog,
    options: Options,
    progress: Progress,
    session: ClientSession | None = None,
) -> Comparison:
    """Compare ``target`` with what the archives of ``catalog`` would unpack to; nothing in it is changed.

    Only the ends of the archives are fetched, and every file that is in one of them is read.  Raises what
    ``install`` does.
    """
    archives = tuple(archive for archive in catalog.archives if options.wants(archive))
    with_folder = await in_thread(
        lambda: tempfile.TemporaryDirectory(prefix="fdf256-", ignore_cleanup_errors=True)
    )
    try:
        workspace = Workspace(target, Path(with_folder.name))
        options = replace(options, dry_run=True)
        run = _Comparing(workspace, catalog, archives, options, progress, time.monotonic(), Journal())
        return await run.compare(session)
    finally:
        await in_thread(with_folder.cleanup)


class _Comparing(Run):
    """A run that ends where the fetching would begin."""

    _is_over = False
    _good: tuple[str, ...] = ()
    _wrong: tuple[str, ...] = ()

    @property
    def archives(self) -> tuple[ArchiveProgress, ...]:
        """What was read of each archive's files; nothing more is to come in the end."""
        found = super().archives
        if not self._is_over:
            return found
        return tuple(one._replace(size=one.arrived, members=one.unpacked, state="done") for one in found)

    async def compare(self, session: ClientSession | None) -> Comparison:
        report = await self.run(session)
        there = await in_thread(self._there)
        return Comparison(
            self._good,
            tuple(path for path in self._wrong if path in there),
            tuple(path for path in self._wrong if path not in there),
            report,
        )

    def _there(self) -> set[str]:
        return {path for path in self._wrong if os.path.lexists(self.target / path)}

    def _trees(self) -> dict[str, Tree]:
        found = super()._trees()
        unknown = Tree(self.target)
        return {
            archive.name: replace(found.get(archive.name, unknown), manifest=None, verified="", is_dry=False)
            for archive in self.archives_wanted
        }

    async def _work(self) -> Report:
        await all_of((run.prepare() for run in self.runs), hint="")
        parts = [run for run in self.runs if isinstance(run, PartRun)]
        await all_of((part.settle(self.options.selection.wants) for part in parts), hint="")
        self._is_over = True
        good, wrong = [], []
        for part in parts:
            here, not_here = await part.found()
            good += here
            wrong += not_here
        self._good, self._wrong = tuple(sorted(good)), tuple(sorted(wrong))
        return self.report(len(good))
