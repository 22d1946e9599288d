"""The main job on a made-up dataset: made, served, cut off, resumed, verified, published."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from fdf256_fast.catalog import parse_catalog
from fdf256_fast.durable import storing
from fdf256_fast.errors import IntegrityError, TransferError, UsageError
from fdf256_fast.installation import Options, install_catalog
from fdf256_fast.origin import Origin
from fdf256_fast.synthetic import make_dataset
from fdf256_fast.units import format_bytes, format_percent
from fdf256_fast.watch import in_thread
from fdf256_fast.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Callable

    from fdf256_fast.limits import Limits
    from fdf256_fast.progress import Progress
    from fdf256_fast.report import Report
    from fdf256_fast.synthetic import SyntheticDataset

__all__ = ["run_demo"]

RATE_BYTES = 40_000_000
"""The demo's server is slowed down to this, so that there is something to watch: about three seconds."""


async def run_demo(
    target: Path | None, images: int, limits: Limits, progress: Progress, say: Callable[[str], None]
) -> Report:
    """Run it; ``say`` gets what happens, a line at a time.  The result stays in ``target``, or in a new
    temporary folder, which is removed if the demo does not come to its end.

    Raises UsageError when ``target`` is not empty, and whatever an installation raises.
    """
    if target is not None and await asyncio.to_thread(_is_used, target):
        raise UsageError(f"{target} is not empty", hint="The demo wants a folder of its own.")
    made: list[Path] = []
    try:
        archives = await in_thread(_make_folder, "fdf256-origin-", made)
        if target is None:
            target = await in_thread(_make_folder, "fdf256-demo-", made)
        report = await _demonstrate(target, archives, images, Options(limits=limits), progress, say)
        # Only what has been shown as a whole is left for others to look at.
        made[1:] = []
        return report
    finally:
        for folder in made:
            await in_thread(shutil.rmtree, folder, ignore_errors=True)


def _make_folder(prefix: str, made: list[Path]) -> Path:
    """A new one, which is in ``made`` also if nobody waits for it any more.  Raises StorageError."""
    with storing("make", Path("a temporary folder")):
        folder = Path(tempfile.mkdtemp(prefix=prefix))
    made.append(folder)
    return folder


async def _demonstrate(
    target: Path,
    archives: Path,
    images: int,
    options: Options,
    progress: Progress,
    say: Callable[[str], None],
) -> Report:
    say(f"Making {images} images of 256x256 in five archives, as FDF256 has them …")
    dataset = await in_thread(_make_dataset, archives, images)
    total = sum(dataset.sizes.values())
    async with Origin(archives, rate=RATE_BYTES, redirect=True) as origin:
        say(f"Serving {format_bytes(total)} at {origin.url}, behind redirects to signed addresses.")
        catalog = parse_catalog(dataset.catalog_toml(origin.url), "demo catalog")
        await _cut_off(origin, total, install_catalog(target, catalog, options, progress), say)
        report = await install_catalog(target, catalog, options, progress)
    say(f"The second run took up {format_bytes(report.bytes_resumed)} from the first.")
    checked = await asyncio.to_thread(_check_manifest, target)
    say(f"All {checked} files have the SHA-256 that the manifest says (checked with hashlib).")
    say(f"The result is in {target}")
    return report


def _make_dataset(folder: Path, images: int) -> SyntheticDataset:
    with storing("write", folder):
        return make_dataset(folder, images=images)


async def _cut_off(origin: Origin, total: int, run: object, say: Callable[[str], None]) -> None:
    """Let ``run`` have a bit more than half of the bytes, then drop every connection and end it."""
    assert asyncio.iscoroutine(run)
    origin.cut(total * 55 // 100)
    try:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(_tolerant(run))
            await origin.wait_until_cut()
            task.cancel()
    except BaseExceptionGroup as errors:
        # There is one task, and whoever called knows its errors by their classes.
        raise errors.exceptions[0] from None
    share = format_percent(origin.bytes_sent, total)
    say(f"The server has dropped all connections at {share} %, and the run was ended. Once more:")
    origin.restore()


async def _tolerant(run: object) -> None:
    assert asyncio.iscoroutine(run)
    try:
        await run
    except TransferError:
        # The cut came first: just as good an end.
        return


def _check_manifest(target: Path) -> int:
    """Check every line with an implementation that is not ours; returns how many there are."""
    lines = Workspace.of(target).manifest.read_text(encoding="utf-8").splitlines()
    for line in lines:
        expected, name = line[:64], line[66:]
        if hashlib.sha256((target / name).read_bytes()).hexdigest() != expected:
            raise IntegrityError(f"{target / name} does not match the manifest")
    return len(lines)


def _is_used(target: Path) -> bool:
    with storing("read", target):
        return target.exists() and (not target.is_dir() or any(target.iterdir()))
