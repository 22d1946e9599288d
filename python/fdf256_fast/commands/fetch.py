"""``fdf256 fetch``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from fdf256_fast.options import Common, archive_limits, limits, option, run


@click.command()
@click.argument("urls", metavar="URL...", nargs=-1, required=True)
@option("--output", "-o", type=click.Path(path_type=Path), help="File to write (for one URL).")
@option(
    "--directory",
    "-d",
    type=click.Path(path_type=Path),
    default=Path(),
    help="Folder to write or unpack into. [default: here]",
)
@option("--digest", metavar="ALGO:HEX", help="What the file must have (for one URL).")
@option("--extract", is_flag=True, help="Unpack the archive instead of keeping it, in one pass.")
@archive_limits
@limits
def fetch(
    urls: tuple[str, ...],
    output: Path | None,
    directory: Path,
    digest: str | None,
    extract: bool,
    **arguments: Any,
) -> None:
    """Fetch files, many spans at once, resuming what an earlier call left.

    Example: fdf256 fetch https://example.org/model.zip --extract -d model --digest sha256:9f86d0…
    """
    from fdf256_fast.catalog import Digest
    from fdf256_fast.fetching import Wanted, extract_url, fetch_files, file_name
    from fdf256_fast.report import Report

    common = Common(arguments)
    if len(urls) > 1 and (output or digest):
        raise click.UsageError("--output and --digest are for one URL")
    if extract and output:
        raise click.UsageError("--extract unpacks into a folder: give it with --directory")
    parsed = Digest.parse(digest) if digest else None
    if extract:
        limits, progress = common.limits, common.progress
        reports = [run(extract_url(url, directory, parsed, limits, progress)) for url in urls]
        common.show(Report.of(reports), verb="Unpacked")
        return
    wanted = [Wanted(url, output or directory / file_name(url), parsed) for url in urls]
    if len({one.path for one in wanted}) < len(wanted):
        raise click.UsageError("two of the URLs would be written to the same file")
    common.show(run(fetch_files(wanted, common.limits, common.progress)), verb="Fetched")
