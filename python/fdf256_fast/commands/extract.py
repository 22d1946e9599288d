"""``fdf256 extract``."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import click

from fdf256_fast.options import Common, Interrupted, archive_limits, option, run, screen, workers


@click.command()
@click.argument("archives", metavar="ARCHIVE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@option(
    "--directory",
    "-d",
    type=click.Path(path_type=Path),
    default=Path(),
    help="Folder to unpack into. [default: here]",
)
@option("--digest", metavar="ALGO:HEX", help="What the archive must have (for one archive).")
@option("--force", is_flag=True, help="Replace files that are there already.")
@archive_limits
@workers
@screen
def extract(
    archives: tuple[Path, ...], directory: Path, digest: str | None, force: bool, **arguments: Any
) -> None:
    """Unpack local archives, all of them or nothing: zip, tar, tar.gz, tar.zst, tar.xz, tar.bz2.

    Every file is checked, nothing appears in the folder before all is whole, and hostile archives are
    refused. "-" is the standard input.

    Example: fdf256 extract cc-by-2.zip metainfo.zip -d data/fdf256
    """
    from fdf256_fast.catalog import Digest
    from fdf256_fast.extraction import Order, extract_files

    common = Common(arguments)
    parsed = Digest.parse(digest) if digest else None
    order = Order(archives, directory, parsed, force=force, limits=common.limits)
    try:
        report = run(extract_files(order, common.progress))
    except (KeyboardInterrupt, asyncio.CancelledError) as error:
        raise Interrupted("Archives are unpacked as a whole or not at all.") from error
    common.show(report, verb="Unpacked", is_local=True)
