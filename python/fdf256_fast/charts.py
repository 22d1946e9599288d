"""Charts and a contact sheet: the only module that imports matplotlib.

Without pyplot, and without changing matplotlib's settings: what is drawn here leaves no trace in a caller's
figures.  Texts from the metadata are never read as formulas, and characters that the font does not have
become boxes.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, get_font
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, MaxNLocator

from fdf256_fast.dataset import SIDE_PIXELS
from fdf256_fast.faces import LICENSE_TITLES, short_license
from fdf256_fast.survey import SIZE_EDGES

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure

    from fdf256_fast.faces import Face
    from fdf256_fast.survey import Survey

__all__ = ["BOX_COLOR", "LANDMARK_COLOR", "chart_sheet", "picture"]

WIDTH_INCHES = 12.0
CHARTS_INCHES = 6.4
FACES_IN_A_ROW = 8
FACE_ROW_INCHES = 2.05
PNG_DOTS_PER_INCH = 120
BARS_MIN = 7
"""Bars are as narrow as if there were so many."""

PRESENT_COLOR = "#33658a"
PUBLISHED_COLOR = "#dde3e8"
TEXT_COLOR = "#22313a"
QUIET_COLOR = "#66757f"
# Told apart from each other and from skin, also by those who do not tell red from green.
BOX_COLOR = "#ffb000"
LANDMARK_COLOR = "#00c8ff"

_FONT_FILE = Path(mpl.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
"""It comes with matplotlib, so that a picture is the same on every machine."""

_MISSING_GLYPH = "\u25a1"


def picture(survey: Survey, faces: Sequence[Face], kind: str) -> bytes:
    """Charts, and the faces below them, as ``png`` or ``svg``."""
    rows = -(-len(faces) // FACES_IN_A_ROW)
    heights = [CHARTS_INCHES, 0.45 + rows * FACE_ROW_INCHES]
    if not faces:
        return chart_sheet(survey, kind)
    figure = Figure(figsize=(WIDTH_INCHES, sum(heights)), facecolor="white")
    above, below = figure.subfigures(2, 1, height_ratios=heights, squeeze=False).flat
    _charts(above, survey)
    _contact_sheet(below, faces, rows, heights[1])
    return _saved(figure, kind)


def chart_sheet(survey: Survey, kind: str) -> bytes:
    """The charts alone."""
    figure = Figure(figsize=(WIDTH_INCHES, CHARTS_INCHES), facecolor="white")
    _charts(figure, survey)
    return _saved(figure, kind)


def _saved(figure: Figure, kind: str) -> bytes:
    out = io.BytesIO()
    # No date and no version: the same target makes the same picture.
    metadata = {"Date": None} if kind == "svg" else {"Software": None}
    figure.savefig(out, format=kind, dpi=PNG_DOTS_PER_INCH, metadata=metadata)
    return out.getvalue()


# ---- charts ----------------------------------------------------------------------------------------


def _charts(figure: Figure | SubFigure, survey: Survey) -> None:
    present, published = survey.present, survey.published
    grid = figure.add_gridspec(
        2, 12, left=0.075, right=0.975, top=0.83, bottom=0.10, hspace=0.52, wspace=0.9, height_ratios=(1, 1.5)
    )
    figure.text(0.02, 0.95, _drawable(f"FDF256 in {survey.target}", 90), **_style(15, weight="bold"))
    figure.text(0.02, 0.905, _drawable(_subtitle(survey), 150), **_style(9.5, color=QUIET_COLOR))
    names = sorted(published.licenses, key=lambda name: -published.licenses[name])
    _sideways(
        figure.add_subplot(grid[0, 1:7]),
        "Images by licence",
        [LICENSE_TITLES.get(name, name) for name in names],
        [present.licenses.get(name, 0) for name in names],
        [published.licenses[name] for name in names],
    )
    _sideways(
        figure.add_subplot(grid[0, 8:]),
        "Images by split",
        [split.name for split in survey.splits],
        [split.present.images for split in survey.splits],
        [split.published.images for split in survey.splits],
    )
    low, high = _used(published.face_sizes)
    edges = ["0", *(f"{edge:,}" for edge in SIZE_EDGES), "more"]
    _upright(
        figure.add_subplot(grid[1, :7]),
        "Faces by their size in the photo",
        "longer side of the face, pixels",
        edges[low : high + 1],
        present.face_sizes[low:high],
        published.face_sizes[low:high],
    )
    years = _years(published.years_taken)
    _upright(
        figure.add_subplot(grid[1, 8:]),
        "Photos by year",
        "year in which the photo was taken",
        [str(year) for year in years],
        [present.years_taken.get(year, 0) for year in years],
        [published.years_taken.get(year, 0) for year in years],
    )


def _subtitle(survey: Survey) -> str:
    present, published = survey.present.images, survey.published.images
    names = " and ".join(split.name for split in survey.in_use)
    if not present:
        words = f"{published:,} images are published in {names} (grey), and none of them is there"
    elif present == published:
        words = f"{present:,} images: all that are published in {names}"
    else:
        words = f"{present:,} of the {published:,} images in {names} are there (blue); the others are grey"
    return f"{words}; {survey.forgotten:,} are kept out on request" if survey.forgotten else words


def _used(counts: Sequence[int]) -> tuple[int, int]:
    """Where those begin and end that are not zero."""
    places = [place for place, count in enumerate(counts) if count]
    return (places[0], places[-1] + 1) if places else (0, len(counts))


def _years(counts: Iterable[int | None]) -> list[int]:
    """From the first to the last that is plausible.

    Cameras whose clocks were never set tell of others; the photos were collected in 2014 (YFCC100M).
    """
    known = [year for year in counts if year is not None and 1990 <= year <= 2014]
    return list(range(min(known), max(known) + 1)) if known else []


def _sideways(
    axes: Axes, title: str, names: Sequence[str], present: Sequence[int], published: Sequence[int]
) -> None:
    places = range(len(names))
    axes.barh(places, published, color=PUBLISHED_COLOR, height=0.68)
    axes.barh(places, present, color=PRESENT_COLOR, height=0.68)
    axes.set_yticks(places, [_drawable(name, 30) for name in names])
    axes.invert_yaxis()
    total = sum(present) or sum(published) or 1  # of nothing, nothing is all
    for place, here, all_ in zip(places, present, published, strict=True):
        share = f"  {here:,}  ({(here or all_) / total:.1%})" if here or not sum(present) else f"  {here:,}"
        axes.text(max(here, all_), place, share, va="center", **_style(8.5))
    axes.set_xlim(0, max([1, *published]) * 1.32)
    axes.xaxis.set_visible(False)
    _plain(axes, title, hidden=("top", "right", "bottom"))


def _upright(
    axes: Axes, title: str, label: str, names: Sequence[str], present: Sequence[int], published: Sequence[int]
) -> None:
    """Bars with their names below them, or, where there is a name more, with one at each edge."""
    places = range(len(present))
    axes.bar(places, published, color=PUBLISHED_COLOR, width=0.86)
    axes.bar(places, present, color=PRESENT_COLOR, width=0.86)
    shift = 0.5 if len(names) > len(present) else 0.0
    # As many labels as there is room for, and no bar as wide as a page.
    step = -(-len(names) // 14) or 1
    axes.set_xticks([place - shift for place in range(len(names))][::step], names[::step])
    room = max(0.0, (BARS_MIN - len(present)) / 2)
    axes.set_xlim(-0.6 - room, len(present) - 0.4 + room)
    axes.set_xlabel(label, **_style(9, color=QUIET_COLOR))
    axes.set_ylabel("images", **_style(9, color=QUIET_COLOR))
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.grid(axis="y", color="#eceff1", linewidth=0.8)
    axes.set_axisbelow(True)
    _plain(axes, title, hidden=("top", "right", "left"))


def _plain(axes: Axes, title: str, hidden: Sequence[str]) -> None:
    axes.set_title(title, loc="left", pad=9, **_style(11, weight="bold"))
    axes.set_facecolor("white")
    for side, spine in axes.spines.items():
        spine.set_visible(side not in hidden)
        spine.set_color("#b6c0c6")
    axes.tick_params(length=0, colors=TEXT_COLOR)
    for tick in (*axes.get_xticklabels(), *axes.get_yticklabels()):
        tick.set(**_style(8.5))


# ---- faces -----------------------------------------------------------------------------------------


def _contact_sheet(figure: SubFigure, faces: Sequence[Face], rows: int, inches: float) -> None:
    grid = figure.add_gridspec(
        rows,
        FACES_IN_A_ROW,
        left=0.02,
        right=0.98,
        top=1 - 0.42 / inches,
        bottom=0.42 / inches,
        hspace=0.36,
        wspace=0.06,
    )
    words = "Some of the faces, with the face's box and seven landmarks drawn on them"
    figure.text(0.02, 1 - 0.30 / inches, words, **_style(11, weight="bold"))
    for face, place in zip(faces, grid, strict=False):  # type: ignore[call-overload] # a grid can be iterated over
        axes = figure.add_subplot(place)
        axes.imshow(face.image, interpolation="antialiased", extent=(0, SIDE_PIXELS, SIDE_PIXELS, 0))
        x0, y0, x1, y1 = (int(edge) for edge in face.bounding_box)
        axes.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, edgecolor=BOX_COLOR, linewidth=1.3))
        points = face.landmarks * SIDE_PIXELS
        axes.scatter(
            points[:, 0],
            points[:, 1],
            s=11,
            color=LANDMARK_COLOR,
            edgecolors="#10202a",
            linewidths=0.5,
            zorder=3,
        )
        axes.set(xlim=(0, SIDE_PIXELS), ylim=(SIDE_PIXELS, 0))
        axes.set_axis_off()
        lines = (
            face.path.replace("/images/", "/"),
            _credit(face),
            short_license(face.license_url),
        )
        for number, line in enumerate(lines):
            axes.text(
                0,
                SIDE_PIXELS + 10 + 25 * number,
                _drawable(line, 24),
                va="top",
                **_style(6.8, color=TEXT_COLOR if number else QUIET_COLOR),
            )


def _credit(face: Face) -> str:
    """The author's name, or number at Flickr where the font has not all of the name's letters."""
    drawn = _drawable(face.author, len(face.author))
    if drawn.strip() and _MISSING_GLYPH not in drawn:
        return face.author
    return face.user_nsid or "unknown author"


# ---- text ------------------------------------------------------------------------------------------


def _style(size: float, *, color: str = TEXT_COLOR, weight: str = "normal") -> dict[str, Any]:
    """How a text is drawn; ``$`` in it begins no formula."""
    name = "DejaVuSans-Bold.ttf" if weight == "bold" else _FONT_FILE.name
    font = FontProperties(fname=str(_FONT_FILE.with_name(name)), size=size)
    return {"fontproperties": font, "color": color, "parse_math": False}


def _drawable(text: str, length_max: int) -> str:
    """``text`` on one line, cut to so many characters, without any that the font cannot draw."""
    flat = " ".join(text.split())
    if len(flat) > length_max:
        flat = flat[: length_max - 1] + "\u2026"
    has = get_font(str(_FONT_FILE)).get_char_index
    return "".join(each if each.isprintable() and has(ord(each)) else _MISSING_GLYPH for each in flat)
