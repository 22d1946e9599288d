"""Pictures of results, from the JSON: the same JSON gives the same SVG."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import matplotlib as mpl
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes

__all__ = ["DRAWINGS"]

_OURS: Final = "#1b6ca8"
_OTHERS: Final = "#b8b8b8"
#: Any: matplotlib's own type is a list of all its settings, which changes with its version.
_STYLE: Final[dict[Any, Any]] = {
    "svg.hashsalt": "fdf256",
    "font.size": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def bars(value: Mapping[str, Any], path: Path) -> None:
    """A panel for each case, a bar for each contestant: the median, with least and most."""
    cases = [case for case in value["cases"] if case["contestants"]]
    heights = [0.9 + 0.22 * len(case["contestants"]) for case in cases]
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(8, sum(heights)), layout="constrained")
        panels = figure.subplots(len(cases), 1, squeeze=False, height_ratios=heights)
        for axes, case in zip(panels[:, 0], cases, strict=True):
            _bars_of(axes, case)
        _save(figure, path)


def _bars_of(axes: Axes, case: Mapping[str, Any]) -> None:
    contestants = case["contestants"]
    names = [one["name"] for one in contestants]
    spreads = [one["wall_seconds"] for one in contestants]
    medians = [median for median, _, _ in spreads]
    errors = [
        [median - least for median, least, _ in spreads],
        [most - median for median, _, most in spreads],
    ]
    colours = [_OURS if name.startswith("fdf256") else _OTHERS for name in names]
    axes.barh(names, medians, xerr=errors, color=colours, ecolor="#555555", capsize=2)
    for index, median in enumerate(medians):
        # At the foot of its bar, where no error line is; a short bar does not hide it.
        is_short = median < max(medians) / 10
        colour = "white" if colours[index] == _OURS and not is_short else "black"
        axes.annotate(f" {median:.3g} s", (0, index), va="center", color=colour, fontsize=7)
    if case["ideal_seconds"] is not None:
        axes.axvline(case["ideal_seconds"], color="#c44e52", linestyle="--", linewidth=1)
    axes.invert_yaxis()
    axes.set_title(f"{case['title']} ({case['place']})", loc="left")
    axes.set_xlabel("seconds, median; the line from least to most")


def growth(value: Mapping[str, Any], path: Path) -> None:
    """Ours only: seconds and peak memory over the fact that a case names with ``x``."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for case in value["cases"]:
        groups.setdefault(str(case["facts"]["x"]), []).append(case)
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(8, 2.6 * len(groups)), layout="constrained")
        panels = figure.subplots(len(groups), 2, squeeze=False)
        for (label, cases), (left, right) in zip(groups.items(), panels, strict=True):
            amounts = [case["facts"][label] for case in cases]
            ours = [case["contestants"][0] for case in cases]
            _line(left, amounts, [one["wall_seconds"][0] for one in ours], (label, "seconds"))
            _line(right, amounts, [one["peak_bytes"][0] / 1e6 for one in ours], (label, "peak memory, MB"))
        _save(figure, path)


def _line(axes: Axes, amounts: Sequence[float], values: Sequence[float], labels: tuple[str, str]) -> None:
    axes.plot(amounts, values, marker="o", color=_OURS)
    axes.set_xscale("log")
    axes.set_xticks(amounts, [f"{amount:,}" for amount in amounts])
    axes.minorticks_off()
    axes.set_yscale("log" if labels[1] == "seconds" and max(values) > 20 * min(values) else "linear")
    if axes.get_yscale() == "linear":
        axes.set_ylim(0, max(values) * 1.1)
    axes.set_xlabel(labels[0])
    axes.set_ylabel(labels[1])


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path, format="svg", metadata={"Date": None})


DRAWINGS: Final[dict[str, Callable[[Mapping[str, Any], Path], None]]] = {"bars": bars, "growth": growth}
