"""An installed tree against its manifest: ``verify``."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from fdf256_fast._core import Audit, Job
from fdf256_fast.arguments import texts
from fdf256_fast.auditing import Course, audited, check_folder, told
from fdf256_fast.blocking import blocking
from fdf256_fast.durable import storing
from fdf256_fast.errors import Error, TransferError, UsageError
from fdf256_fast.forgotten import is_forgotten, read_forgotten
from fdf256_fast.limits import Limits
from fdf256_fast.progress import Progress
from fdf256_fast.record import Record, download_command, read_record
from fdf256_fast.sizes import read_sizes, write_sizes
from fdf256_fast.sums import BadLine
from fdf256_fast.verification import Damaged, Verification
from fdf256_fast.watch import in_job, in_thread
from fdf256_fast.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from fdf256_fast.catalog import Catalog

__all__ = ["Checking", "verify", "verify_async", "verify_tree", "verify_unlisted"]

StrPath = str | os.PathLike[str]


@dataclass(frozen=True, slots=True)
class Checking:
    """How to look, and what to do then.

    ``is_quick`` looks at kinds and sizes only; ``is_strict`` makes files that nobody expects a failure;
    ``repairs`` fetches what is damaged or missing again, from ``catalog`` (None: what the record
    says) and ``mirrors``.
    """

    is_quick: bool = False
    is_strict: bool = False
    repairs: bool = False
    catalog: Catalog | None = None
    mirrors: tuple[str, ...] = ()
    limits: Limits = field(default_factory=Limits)


async def verify_async(
    target: StrPath = "data/fdf256",
    *,
    quick: bool = False,
    repair: bool = False,
    catalog: str | Path | Catalog | None = None,
    mirrors: str | Iterable[str] = (),
    limits: Limits | None = None,
    progress: Progress | None = None,
) -> Verification:
    """Look whether every file of an installed tree is as it was installed, on all cores.

    Nothing in the tree is changed, unless ``repair`` is set.  A tree without a manifest, of another program,
    is compared with the archives' directories, which are fetched for it.

    Args:
        target: the folder that was installed into.
        quick: look whether the files are there, are files, and have their sizes; read none.
        repair: fetch what is damaged or missing again: only the spans that hold it.
        catalog: what was installed, for ``repair`` and trees without a manifest: a built-in catalog's name, a
            catalog file's path, or a catalog; None: what the record says, else FDF256.
        mirrors: base URLs or local folders that hold the archives, tried first.
        limits: ``workers``; for what is fetched all of them.
        progress: receives counters about ten times a second.

    Returns:
        What was found.  Damage is no exception: look at ``ok``.

    Raises:
        StorageError: the folder is not there, or its manifest cannot be read.
        UsageError: what was asked for cannot be done with a tree without a manifest; CatalogError.
        IntegrityError, TransferError, LockedError: as for ``install``, where something is fetched.
    """
    if isinstance(catalog, str | Path):
        from fdf256_fast.catalog import load_catalog  # noqa: PLC0415 - with tomllib, for those who name one

        catalog = await in_thread(load_catalog, catalog)
    checking = Checking(
        quick, repairs=repair, catalog=catalog, mirrors=texts(mirrors), limits=limits or Limits()
    )
    return await verify_tree(Path(target), checking, progress or Progress())


verify = blocking(verify_async, __name__, "verify")
"""Like :func:`verify_async`, but returns when it is done."""


async def verify_tree(target: Path, checking: Checking, progress: Progress) -> Verification:
    """Do what ``checking`` says.  Raises what :func:`verify_async` does."""
    workspace = Workspace.of(target)
    manifest = await in_thread(_manifest, workspace)
    if manifest is None:
        return await verify_unlisted(target, checking, progress)
    found = await _Look(workspace, manifest, checking, progress).run()
    wrong = _repairable(found)
    if not checking.repairs or not wrong:
        return found
    return await _repaired(workspace, found, wrong, checking, progress)


def _manifest(workspace: Workspace) -> bytes | None:
    """The manifest's text; None for a folder that has none.  Raises StorageError."""
    with contextlib.suppress(FileNotFoundError), _storing("read", workspace.manifest):
        return workspace.manifest.read_bytes()
    check_folder(workspace.target)
    return None


@contextlib.contextmanager
def _storing(action: str, path: Path) -> Iterator[None]:
    """Like ``storing``, but a file that is not there stays a FileNotFoundError."""
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        with storing(action, path):
            raise error from None


# ---- a tree with a manifest ------------------------------------------------------------------------


class _Look:
    """One pass over the files of a manifest."""

    def __init__(self, workspace: Workspace, manifest: bytes, checking: Checking, progress: Progress) -> None:
        self._workspace = workspace
        self._manifest = manifest
        self._checking = checking
        self._progress = progress
        self._job = Job()
        self._has_sizes = False
        self._record: Record | None = None

    async def run(self) -> Verification:
        checking, target = self._checking, self._workspace.target
        forgotten = await in_thread(read_forgotten, self._workspace)
        audit, size = await in_job(self._job, self._prepare, forgotten)
        seconds = await audited(
            audit,
            self._job,
            self._progress,
            Course(str(target), checking.limits.worker_threads, checking.is_quick, size, finds_extra=True),
        )
        found = await in_thread(self._found, audit, forgotten, seconds)
        if found.ok and not checking.is_quick and not self._has_sizes:
            await self._write_sizes(audit)
        return found

    def _prepare(self, forgotten: frozenset[str]) -> tuple[Audit, int | None]:
        # Now, and not when all is read: a download, or a call of forget, may replace both meanwhile.
        self._record = read_record(self._workspace)
        leave_out = sorted(forgotten)
        if forgotten:
            # Names with leading zeros are recorded without.
            lines = self._manifest.decode("utf-8", "surrogateescape").splitlines()
            leave_out += [
                line[66:] for line in lines if "/images/0" in line and is_forgotten(line[66:], forgotten)
            ]
        audit = Audit(self._workspace.target, self._manifest, is_manifest=True, leave_out=leave_out)
        sizes = read_sizes(self._workspace, self._manifest)
        if sizes is None:
            return audit, None
        known, size = audit.take_sizes(sizes)
        self._has_sizes = known >= audit.files
        return audit, size if self._has_sizes else None

    def _found(self, audit: Audit, forgotten: frozenset[str], seconds: float) -> Verification:
        missing, damaged = told(audit)
        extra = audit.extra()
        returned = tuple(path for path in extra if is_forgotten(path, forgotten))
        checked = ("size" if self._has_sizes else "presence") if self._checking.is_quick else "sha256"
        return Verification(
            str(self._workspace.target),
            audit.files,
            audit.status()[1],
            seconds,
            checked,
            missing,
            damaged,
            tuple(path for path in extra if not is_forgotten(path, forgotten)),
            returned,
            tuple(BadLine(*problem) for problem in audit.problems),
            audit.problem_count,
            is_strict=self._checking.is_strict,
            fault=self._fault(forgotten),
        )

    def _fault(self, forgotten: frozenset[str]) -> str:
        """Lines that are gone are named by nothing but their number.

        A call of ``forget`` that was killed may have left lines in it that the record does not count any
        more, or does still.
        """
        lines, record = self._manifest.splitlines(), self._record
        if record is not None:
            there = len(lines)
            if forgotten and record.knows(forgotten):
                there -= sum(is_forgotten(os.fsdecode(line[66:]), forgotten) for line in lines)
            if record.files != there or record.lost:
                expected = record.files + record.lost
                return f"the manifest has {there:,} lines, and {expected:,} files were installed"
        return "" if lines else "the manifest is empty"

    async def _write_sizes(self, audit: Audit) -> None:
        # A help for the next --quick: where it cannot be written, or somebody is at work, it is not there.
        with contextlib.suppress(Error):
            async with self._workspace.locked():
                lines = await in_thread(audit.size_lines)
                await in_thread(write_sizes, self._workspace, self._manifest, lines)


# ---- repair ----------------------------------------------------------------------------------------


def _repairable(found: Verification) -> frozenset[str]:
    return frozenset(found.missing) | {one.path for one in found.damaged if one.expected}


async def _repaired(
    workspace: Workspace, found: Verification, wrong: frozenset[str], checking: Checking, progress: Progress
) -> Verification:
    """Fetch ``wrong`` again, and look at it once more."""
    from fdf256_fast.repair import repair  # noqa: PLC0415 - with aiohttp, which only this needs

    report = await repair(
        workspace.target,
        wrong,
        checking.catalog,
        mirrors=checking.mirrors,
        limits=checking.limits,
        progress=progress,
    )
    manifest = await in_thread(_manifest, workspace) or b""
    lines = b"".join(
        line for line in manifest.splitlines(keepends=True) if os.fsdecode(line[66:].rstrip(b"\n")) in wrong
    )
    job = Job()
    audit = Audit(workspace.target, lines, is_manifest=True)
    course = Course(str(workspace.target), checking.limits.worker_threads)
    seconds = await audited(audit, job, progress, course)
    missing, damaged = told(audit)
    left = {*missing, *(one.path for one in damaged)}
    return found._replace(
        missing=missing,
        damaged=damaged + tuple(one for one in found.damaged if one.path not in wrong),
        seconds=found.seconds + report.seconds + seconds,
        repaired=len(wrong - left),
        bytes_downloaded=report.bytes_downloaded,
    )


def _has_anything(target: Path) -> bool:
    return any(path.name != ".fdf256" for path in target.iterdir())


# ---- a tree without one ----------------------------------------------------------------------------


async def verify_unlisted(target: Path, checking: Checking, progress: Progress) -> Verification:
    """Compare a tree that has no manifest with the archives' directories: sizes and CRC-32.

    Raises what ``install`` does; UsageError where more is asked for than that.
    """
    from fdf256_fast.comparison import compare  # noqa: PLC0415 - with aiohttp, which only this needs
    from fdf256_fast.installation import Options  # noqa: PLC0415
    from fdf256_fast.repair import catalog_of  # noqa: PLC0415

    download = await in_thread(download_command, target, checking.catalog)
    if checking.is_quick or checking.repairs:
        asked = "--repair" if checking.repairs else "--quick"
        raise UsageError(
            f"{asked} needs a manifest, and {target} has none",
            hint=f"Run {download}: it takes over what is good there, fetches the rest, and writes the "
            "manifest.",
        )
    if not await in_thread(_has_anything, target):
        raise UsageError(
            f"cannot verify {target}: nothing is installed in it (yet)",
            hint=f"Run {download} to install the dataset there, or to finish what was begun.",
        )
    catalog = checking.catalog if checking.catalog is not None else await in_thread(catalog_of, target)
    silent = [archive.file_name for archive in catalog.archives if archive.kind != "zip"]
    if silent:
        # What cannot be looked at must not be called sound for the rest of it.
        raise UsageError(
            f"{target} has no manifest, and {silent[0]} does not say what lies where in it"
            + (f", as little as {len(silent) - 1} others" if silent[1:] else ""),
            hint=f"Run {download}: it fetches what no zip vouches for, and writes the manifest.",
        )
    options = Options(mirrors=checking.mirrors, limits=checking.limits)
    try:
        comparison = await compare(target, catalog, options, progress)
    except TransferError as error:
        if checking.catalog is None:
            error.hint = (
                f"There is no manifest, and so the archives' ends are asked of {catalog.title}. If it is "
                "another dataset, give --catalog; if you have the archives elsewhere, --mirror."
            )
        raise
    job = Job()
    everything = Audit(target, b"", is_manifest=True)
    await in_job(job, lambda: everything.run(job, 1, is_quick=True, is_closed=True, finds_extra=True))
    known = {*comparison.good, *comparison.damaged, *comparison.missing}
    forgotten = await in_thread(read_forgotten, Workspace.of(target))
    surplus = [path for path in everything.extra() if path not in known]
    return Verification(
        str(target),
        len(known),
        0,
        comparison.report.seconds,
        "crc32",
        comparison.missing,
        tuple(Damaged(path, "its size or CRC-32 is not the archive's") for path in comparison.damaged),
        tuple(path for path in surplus if not is_forgotten(path, forgotten)),
        tuple(path for path in surplus if is_forgotten(path, forgotten)),
        is_strict=checking.is_strict,
        bytes_downloaded=comparison.report.bytes_downloaded,
    )
