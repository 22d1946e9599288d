"""``fdf256 download``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from fdf256_fast.calls import aimed_at
from fdf256_fast.options import (
    PATH,
    Common,
    archive_limits,
    limits,
    option,
    origins,
    run,
    selecting,
    selection_of,
)


@click.command()
@click.argument("target", type=PATH, required=False)
@origins
@selecting
@option("--keep-archives", is_flag=True, help="Also keep the archives, in TARGET/.fdf256/archives.")
@option("--metadata-only", is_flag=True, help="Only the archives with metadata.")
@option("--dry-run", is_flag=True, help="Only print what would be fetched.")
@archive_limits
@limits
def download(target: Path | None, catalog: str, mirror: tuple[str, ...], **arguments: Any) -> None:
    """Install a dataset, or a part of it, into TARGET (default: data/ and the catalog's name).

    What was interrupted goes on where it stopped: run the same command again. What is there already, also
    from another program, is checked and not fetched again.

    \b
    Examples:
      fdf256 download data/fdf256 --mirror /mnt/usb/fdf256
      fdf256 download --catalog fdh --license cc-by-2
      fdf256 download data/val --split val --license cc-by-2 --license cc-by-sa-2
    """  # noqa: D301 - click wants the character itself
    from fdf256_fast.catalog import load_catalog
    from fdf256_fast.installation import Options, install_catalog

    common = Common(arguments)
    selection = selection_of(arguments)
    options = Options(mirrors=mirror, selection=selection, limits=common.limits, **arguments)
    with aimed_at(target or ""):
        found = load_catalog(catalog)
        goal = target or Path("data") / found.name
    with aimed_at(goal):
        report = run(install_catalog(goal, found, options, common.progress))
    common.show(report, verb="Installed")
