"""``fdf256 download``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from fdf256_fast.options import Common, archive_limits, limits, option, run


@click.command()
@click.argument("target", type=click.Path(path_type=Path), default=Path("data/fdf256"))
@option("--catalog", default="fdf256", show_default=True, help="A built-in catalog, or a TOML file.")
@option("--mirror", multiple=True, help="Base URL or local folder that holds the archives; tried first.")
@option("--keep-archives", is_flag=True, help="Also keep the archives, in TARGET/.fdf256/archives.")
@option("--metadata-only", is_flag=True, help="Only the archives with metadata.")
@option("--dry-run", is_flag=True, help="Only print what would be fetched.")
@archive_limits
@limits
def download(target: Path, catalog: str, mirror: tuple[str, ...], **arguments: Any) -> None:
    """Install a dataset into TARGET (default: data/fdf256).

    What was interrupted goes on where it stopped: run the same command again.

    Example: fdf256 download data/fdf256 --mirror /mnt/usb/fdf256
    """
    from fdf256_fast.catalog import load_catalog
    from fdf256_fast.installation import Options, install_catalog

    common = Common(arguments)
    options = Options(mirrors=mirror, limits=common.limits, **arguments)
    report = run(install_catalog(target, load_catalog(catalog), options, common.progress))
    common.show(report, verb="Installed")
