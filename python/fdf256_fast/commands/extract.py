"""``fdf256 extract``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from fdf256_fast import local
from fdf256_fast.options import PATH, archive_limits, option, screen, workers


@click.command()
@click.argument("archives", metavar="ARCHIVE...", nargs=-1, required=True, type=PATH)
@option(
    "--directory",
    "-d",
    type=PATH,
    default=Path(),
    help="Folder to unpack into. [default: here]",
)
@option("--digest", metavar="ALGO:HEX", help="What the archive must have (for one archive).")
@option("--force", is_flag=True, help="Replace files that are there already.")
@archive_limits
@workers
@screen
def extract(**arguments: Any) -> int:
    """Unpack local archives, all of them or nothing: zip, tar, tar.gz, tar.zst, tar.xz, tar.bz2.

    Every file is checked, nothing appears in the folder before all is whole, and hostile archives are
    refused. "-" is the standard input.

    Example: fdf256 extract cc-by-2.zip metainfo.zip -d data/fdf256
    """
    return local.extract(arguments)
