"""``fdf256 credits``."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fdf256_fast.options import PATH, Common, Interrupted, option, print_json, run, screen, workers

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fdf256_fast.credits import CreditsReport


@click.command()
@click.argument("target", type=PATH, default=Path("data/fdf256"))
@option("--split", multiple=True, type=click.Choice(["train", "val"]), help="Only this split (repeatable).")
@option("--ids", type=PATH, metavar="FILE", help="Only these images, one a line.")
@option(
    "--license", multiple=True, metavar="NAME", help="Only images under it, such as cc-by-2 (repeatable)."
)
@option(
    "--format",
    type=click.Choice(["csv", "md", "html", "json", "bibtex"]),
    default="csv",
    show_default=True,
    help="What to write.",
)
@option("--output", "-o", type=PATH, metavar="FILE", help="Where to.  [default: stdout]")
@option("--all", "is_all", is_flag=True, help="Also images that are not installed.")
@workers
@screen
def credits(target: Path, output: Path | None, is_all: bool, **arguments: Any) -> None:  # noqa: A001 - its name
    """Write title, author, source, licence and change of every image in TARGET (default: data/fdf256).

    This is what the photos' licences ask of whoever shows or passes on the images. The dataset's own citation
    comes first. Where only metadata are installed, or with --all, it is every image that they tell of.

    Example: fdf256 credits data/fdf256 --format html -o credits.html
    """
    from fdf256_fast.credits import Wanted, write_wanted
    from fdf256_fast.errors import UsageError
    from fdf256_fast.selection import Ids, Selection

    taken = arguments.pop
    splits, licenses, ids, form = taken("split"), taken("license"), taken("ids"), taken("format")
    common = Common(arguments)
    if str(output) == "-":
        output = None
    if common.as_json and output is None:
        raise UsageError("--json needs -o FILE: both cannot go to standard output")
    selection = Selection(
        splits=frozenset(splits), licenses=_known(licenses), ids=Ids.read(ids) if ids else None
    )
    try:
        report = run(write_wanted(target, output, Wanted(selection, form, is_all), common.limits))
    except (KeyboardInterrupt, asyncio.CancelledError) as error:
        raise Interrupted(_cut_off(output)) from error
    if common.as_json:
        print_json(report.as_json())
    elif not common.quiet:
        where = f" in {output}" if output else ""
        words = f"{report.images:,} of {report.entries:,} images credited{where}."
        if not report.images:
            words += " No image fits; see --all, --split, --license and --ids."
        click.echo(words, err=output is None)
        for line in _omitted(report):
            click.echo(line, err=True)


def _omitted(report: CreditsReport) -> Iterable[str]:
    """Who is not credited, though somebody may think so."""
    if report.without_metadata:
        yield f"{report.without_metadata:,} images that are there have no metadata, and so no credit."
    if report.absent:
        some = ", ".join(report.absent[:5]) + (", …" if len(report.absent) > 5 else "")
        yield f"{len(report.absent):,} of the listed images are not among those credited: {some}"


def _cut_off(output: Path | None) -> str:
    if output is None or (output.exists() and not output.is_file()):
        return "What was written is not all of it."
    return f"{output} is replaced as a whole or not at all."


def _known(licenses: tuple[str, ...]) -> frozenset[str]:
    from fdf256_fast.catalog import load_catalog
    from fdf256_fast.errors import UsageError

    known = sorted({archive.license for archive in load_catalog("fdf256").archives if archive.license})
    for name in licenses:
        if name not in known:
            raise UsageError(f"there is no license {name!r}", hint=f"Known: {', '.join(known)}.")
    return frozenset(licenses)
