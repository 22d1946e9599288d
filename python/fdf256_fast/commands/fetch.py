"""``fdf256 fetch``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from fdf256_fast.options import PATH, Common, archive_limits, limits, option, run

if TYPE_CHECKING:
    from fdf256_fast.catalog import Digest
    from fdf256_fast.limits import Limits


@click.command()
@click.argument("urls", metavar="URL...", nargs=-1)
@option("--output", "-o", type=PATH, help="File to write (for one URL).")
@option(
    "--directory",
    "-d",
    type=PATH,
    default=Path(),
    help="Folder to write or unpack into. [default: here]",
)
@option("--digest", metavar="ALGO:HEX", help="What the file must have (for one URL).")
@option("--sums", metavar="FILE|URL", help="A list such as SHA256SUMS, with the digest of each file.")
@option(
    "--input-file",
    metavar="FILE",
    type=PATH,
    help='More URLs, one a line, each with " ALGO:HEX" if known; "-" for stdin.',
)
@option(
    "--extract",
    is_flag=True,
    help="Unpack the archive instead of keeping it, in one pass; files of the same names are replaced.",
)
@archive_limits
@limits
def fetch(
    urls: tuple[str, ...], output: Path | None, directory: Path, extract: bool, **arguments: Any
) -> None:
    """Fetch files, many spans at once, resuming what an earlier call left.

    \b
    Examples:
      fdf256 fetch https://example.org/model.zip --extract -d model --digest sha256:9f86d0…
      fdf256 fetch --input-file urls.txt --sums https://example.org/SHA256SUMS
    """  # noqa: D301 - click wants the character itself
    from fdf256_fast.errors import Error
    from fdf256_fast.fetching import Wanted, extract_url, fetch_files, file_name
    from fdf256_fast.report import Report

    digest, sums, listed = (arguments.pop(name) for name in ("digest", "sums", "input_file"))
    common = Common(arguments)
    if not urls and listed is None:
        raise click.UsageError("Missing argument 'URL...'.")
    wishes = _wishes(urls, digest, sums, listed, common.limits)
    if len(wishes) > 1 and (output or digest is not None):
        raise click.UsageError("--output and --digest are for one URL")
    source = click.get_current_context().get_parameter_source
    if output and source("directory") == source("output") == ParameterSource.COMMANDLINE:
        raise click.UsageError("--output names the whole path: leave out --directory, or give that alone")
    if extract and output:
        raise click.UsageError("--extract unpacks into a folder: give it with --directory")
    if extract:
        limits, progress = common.limits, common.progress
        reports: list[Report] = []
        for url, parsed in wishes:
            try:
                reports.append(run(extract_url(url, directory, parsed, limits, progress)))
            except Error as error:
                # What came before it is unpacked.
                if reports:
                    error.report = Report.of([*reports, error.report] if error.report else reports)
                raise
        common.show(Report.of(reports), verb="Unpacked")
        return
    wanted = [Wanted(url, output or directory / file_name(url), parsed) for url, parsed in wishes]
    common.show(run(fetch_files(wanted, common.limits, common.progress)), verb="Fetched")


def _wishes(
    urls: tuple[str, ...], digest: str | None, sums: str | None, listed: Path | None, limits: Limits
) -> list[tuple[str, Digest | None]]:
    """URLs, each with its digest if it is known."""
    parsed = None if digest is None else _digest(digest)
    found = [(url, parsed) for url in urls]
    if listed is None and sums is None:
        return found
    from fdf256_fast.fetch_lists import read_digests, read_urls, with_digests

    if listed is not None:
        found += read_urls(listed)
    if sums is not None:
        found = list(with_digests(found, run(read_digests(sums, limits)), sums))
    return found


def _digest(text: str) -> Digest:
    """An empty one too is a wish to check, by a script whose variable is unset.  Raises UsageError."""
    from fdf256_fast.catalog import Digest
    from fdf256_fast.errors import UsageError

    try:
        return Digest.parse(text)
    except UsageError as error:
        raise UsageError(f"--digest: {error.message}", hint=error.hint) from error
