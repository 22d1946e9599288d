"""``fdf256 info``."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fdf256_fast.options import FILE, PATH, Common, Interrupted, option, print_json, run, screen

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from fdf256_fast.survey import Counts, Survey


@click.command()
@click.argument("target", type=PATH, default=Path("data/fdf256"))
@option(
    "--plot",
    type=FILE,
    metavar="FILE",
    help="Also draw charts and sample faces: a .png, .svg or .html file.",
)
@option("--faces", type=click.IntRange(0, 200), default=24, show_default=True, help="Sample faces to draw.")
@option(
    "--seed", type=int, default=0, show_default=True, help="Which faces: the same ones for the same seed."
)
@option(
    "--index",
    type=FILE,
    metavar="FILE",
    help="Also write which row of the published arrays each image has, as CSV: path,split,number,row.",
)
@screen
def info(
    target: Path, plot: Path | None, faces: int, seed: int, index: Path | None, **arguments: Any
) -> None:
    """Show what is installed in TARGET (default: data/fdf256), and statistics of it.

    From where it came and how it was verified; images by split and licence, sizes of the faces in their
    photos, years. Where only a part is there, both are shown: what is there, and what was published.

    Example: fdf256 info data/fdf256 --plot fdf256.html --faces 40
    """
    common = Common(arguments)
    if plot is None:
        _refuse_idle("faces", "seed")
    try:
        found = run(_look(target, plot, faces, seed, index))
    except (KeyboardInterrupt, asyncio.CancelledError) as error:
        raise Interrupted("Nothing in the target is changed by looking at it.") from error
    written = [str(path) for path in (plot, index) if path is not None]
    if common.as_json:
        print_json({**found.as_json(), "written": written})
    elif not common.quiet:
        _show(found)
        from fdf256_fast.console import print_text

        for path in written:
            print_text(f"Written: {path}")


def _refuse_idle(*names: str) -> None:
    """Refuse options of --plot that are typed; in the environment they may be meant for other calls."""
    context = click.get_current_context()
    for name in names:
        if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
            raise click.UsageError(f"--{name} is about what --plot draws: give --plot FILE as well")


def _check_outputs(target: Path, outputs: Sequence[Path]) -> None:
    from fdf256_fast.errors import UsageError
    from fdf256_fast.outputs import check_output, is_one_file, split_metadata

    for path in outputs:
        check_output(path, target, split_metadata(target))
    if len(outputs) == 2 and is_one_file(*outputs):
        raise UsageError("--plot and --index name one file", hint="Each needs a file of its own.")


async def _look(target: Path, plot: Path | None, faces: int, seed: int, index: Path | None) -> Survey:
    from fdf256_fast._core import Job
    from fdf256_fast.survey import survey
    from fdf256_fast.watch import in_job, in_thread

    await in_thread(_check_outputs, target, [path for path in (plot, index) if path is not None])
    if plot is not None:
        from fdf256_fast.drawing import check_drawing

        # Before the long part: what is missing for it is missing now.
        check_drawing(plot)
    job = Job()
    found = await in_job(job, survey, target, job)
    if index is not None:
        from fdf256_fast.rows import write_index

        await in_thread(write_index, target, index)
    if plot is not None:
        from fdf256_fast.drawing import draw, without_settings

        with without_settings():
            await in_thread(draw, found, plot, faces, seed)
    return found


# ---- tables ----------------------------------------------------------------------------------------


def _show(found: Survey) -> None:
    from fdf256_fast.console import print_text

    for line in _heading(found):
        print_text(line)
    _show_archives(found)
    if found.splits:
        _show_licenses(found)
        _show_sizes(found)
        _show_years(found)


def _heading(found: Survey) -> Iterable[str]:
    parts = [
        f"{_part(split.present.images, split.published.images)} in {split.name}" for split in found.splits
    ]
    images = f"images: {', '.join(parts)}" if parts else "no metadata of FDF256, and so no statistics"
    yield f"{found.target}: {images}"
    for split in found.splits:
        if split.without_metadata:
            yield f"{split.name}: {split.without_metadata:,} images have no metadata and are not counted"
    if found.forgotten:
        yield f"{found.forgotten:,} images are kept out, as was asked for (fdf256 forget)"
    if not found.archives:
        damaged = (Path(found.target) / ".fdf256" / "installed.json").exists()
        why = "The record of where it came from is damaged" if damaged else "Another tool made it: no record"
        yield f"{why}. fdf256 download (with the same --catalog) reads what is there and writes a new one."
    else:
        catalog = f" by the catalog {found.catalog}" if found.catalog else ""
        yield f"installed{catalog}, last change {found.installed or 'unknown'}: {found.files:,} files"
    yield ""


def _show_archives(found: Survey) -> None:
    from fdf256_fast.console import print_table, print_text
    from fdf256_fast.units import format_bytes

    if found.archives:
        rows = [
            (
                name,
                format_bytes(archive.bytes),
                _part(archive.members or 0, archive.of if archive.of is not None else archive.members or 0),
                archive.verified,
                archive.url,
            )
            for name, archive in found.archives.items()
        ]
        columns = ("archive", "size", "files", "verified", "from")
        print_table("What was installed", columns, rows, right={"size", "files"})
        print_text("")


def _show_licenses(found: Survey) -> None:
    from fdf256_fast.console import print_table, print_text
    from fdf256_fast.survey import Counts

    published = Counts.sum_of(split.published for split in found.splits)
    present = Counts.sum_of(split.present for split in found.splits)
    names = [split.name for split in found.splits]

    def row(name: str) -> Sequence[str]:
        cells = [
            _part(split.present.licenses.get(name, 0), split.published.licenses.get(name, 0))
            for split in found.splits
        ]
        return (name, *cells, _part(present.licenses.get(name, 0), published.licenses.get(name, 0)))

    totals = [_part(split.present.images, split.published.images) for split in found.splits]
    rows = [*map(row, sorted(published.licenses)), ("all", *totals, _part(present.images, published.images))]
    print_table("Images by licence", ("licence", *names, "all"), rows, right={*names, "all"})
    print_text("")


def _show_sizes(found: Survey) -> None:
    from fdf256_fast.console import print_table, print_text
    from fdf256_fast.survey import FRACTIONS, SIZE_EDGES

    published, present = found.published, found.present
    shown = _shown(found)
    most = max(shown.face_sizes, default=0)
    rows = [
        (
            f"{low:,}" if low else "",
            f"{high:,}" if high else "",
            _part(here, all_),
            _bar(mine, most),
        )
        for low, high, here, all_, mine in zip(
            (0, *SIZE_EDGES),
            (*SIZE_EDGES, 0),
            present.face_sizes,
            published.face_sizes,
            shown.face_sizes,
            strict=True,
        )
        if all_
    ]
    columns = ("from", "below", "images", "")
    title = f"Longer side of the face in its photo, pixels{_where(found)}"
    print_table(title, columns, rows, right=set(columns[:3]))
    print_text("")
    splits = [
        (split.name, split.present if split.present.images else split.published) for split in found.in_use
    ]
    heads = ["smallest", *(f"{fraction:.0%}" for fraction in FRACTIONS[1:-1]), "largest"]
    quantiles = [
        (name, *(f"{size:,.0f}" for size in counts.size_quantiles))
        for name, counts in splits
        if counts.size_quantiles
    ]
    print_table("So many of the faces are no larger, pixels", ("split", *heads), quantiles, right=set(heads))
    print_text("")


def _show_years(found: Survey) -> None:
    from fdf256_fast.console import print_table

    published, present = found.published, found.present
    years = sorted({*published.years_taken, *published.years_uploaded}, key=lambda year: year or 0)
    rows = [
        (
            "unknown" if year is None else year,
            _part(present.years_taken.get(year, 0), published.years_taken.get(year, 0)),
            _part(present.years_uploaded.get(year, 0), published.years_uploaded.get(year, 0)),
        )
        for year in years
    ]
    print_table(
        f"Photos by year{_where(found)}", ("year", "taken", "uploaded"), rows, right={"taken", "uploaded"}
    )


def _where(found: Survey) -> str:
    """Which splits a table is about, if there are others."""
    if len(found.in_use) == len(found.splits):
        return ""
    return f" ({', '.join(split.name for split in found.in_use)})"


def _shown(found: Survey) -> Counts:
    """What is there, or all that was published where nothing is there but the metadata."""
    return found.present if found.present.images else found.published


def _part(here: int, published: int) -> str:
    return f"{here:,}" if here == published else f"{here:,} of {published:,}"


def _bar(count: int, most: int) -> str:
    return "#" * (round(40 * count / most) or 1) if count else ""
