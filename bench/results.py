"""What was measured, as pages for people, pictures, and JSON for programs.

``python -m bench.results`` writes the pages and pictures anew from the JSON files that are there.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from bench.figures import as_json
from bench.jobs import load_jobs

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from bench.figures import Results
    from bench.frame import Job

__all__ = ["FOLDER", "as_markdown", "summary", "told", "write"]

FOLDER: Final = Path(__file__).parent / "results"


def told(job: Job, results: Results, setting: Mapping[str, Any]) -> dict[str, Any]:
    """All that there is to say about a job's run, as it goes to JSON."""
    return {
        "job": job.name,
        "title": job.title,
        "about": job.about,
        **setting,
        "aims": [
            {"words": aim.words, "limit": aim.limit, "unit": aim.unit, "measured": aim.figure(results)}
            for aim in job.aims
        ],
        "cases": [as_json(case) for case in results.cases],
    }


def write(job: Job, value: Mapping[str, Any]) -> list[Path]:
    """Write a job's JSON, page and picture, and the summary of all jobs; return their paths."""
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / f"{job.name}.json"
    path.write_text(json.dumps(value, indent=1) + "\n")
    # A process of its own: matplotlib would count as memory of every program that is run later.
    subprocess.run([sys.executable, "-m", "bench.results", job.name], cwd=FOLDER.parents[1], check=True)
    return [path, *(FOLDER / name for name in (f"{job.name}.md", f"{job.name}.svg", "README.md"))]


def as_markdown(value: Mapping[str, Any]) -> str:
    """The page of one job."""
    machine = value["machine"]
    lines = [
        f"# {value['title']}",
        "",
        value["about"],
        "",
        *(["**Little data, for a look: not a result.**", ""] if value["quick"] else []),
        (
            f"{value['runs']} runs of each, taken in turns after a warm-up in which every result was"
            " checked. Medians (least-most). Ratios are ours over theirs, of pairs that ran one after the"
            " other: below 1 means that ours needs less. Memory is that of the largest process."
        ),
        "",
        f"![the same as a picture]({value['job']}.svg)",
    ]
    grown = [case for case in value["cases"] if "x" in case["facts"]]
    for axis in dict.fromkeys(case["facts"]["x"] for case in grown):
        of_axis = [case for case in grown if case["facts"]["x"] == axis]
        lines += ["", f"## By {axis}", "", *_grown(axis, of_axis)]
    for case in (case for case in value["cases"] if case not in grown):
        lines += ["", f"## {_heading(case)}", "", *_facts(case), *_table(case), ""]
        lines += [f"- {one['name']}: `{one['description']}`" for one in case["contestants"]]
        lines += _steps(case)
        lines += [f"- left out: {name}: {reason}" for name, reason in case["left_out"].items()]
    if value["aims"]:
        lines += ["", "## Aims", "", *_grid([_AIM_COLUMNS, *(_aim_row(aim) for aim in value["aims"])])]
    lines += [
        "",
        "## Measured on",
        "",
        f"- {machine['cores']} cores, {machine['processor']} ({' '.join(machine['flags'])})",
        f"- {machine['kernel']}, Python {machine['python']}",
        *(f"- {name}: {version}" for name, version in value["versions"].items()),
    ]
    return "\n".join(lines) + "\n"


def summary(jobs: Iterable[Job], values: Mapping[str, Mapping[str, Any]]) -> str:
    """The page of all aims; ``values`` is by the name of a job."""
    rows: list[Sequence[str]] = [("job", *_AIM_COLUMNS)]
    for job in jobs:
        measured = {aim["words"]: aim for aim in values.get(job.name, {}).get("aims", ())}
        for aim in job.aims:
            unmeasured = {"words": aim.words, "limit": aim.limit, "unit": aim.unit, "measured": None}
            row = _aim_row({**measured.get(aim.words, unmeasured), "limit": aim.limit})
            rows.append((f"[{job.name}]({job.name}.md)" if job.name in values else job.name, *row))
    pages = [
        f"- [{values[job.name]['title']}]({job.name}.md), [JSON]({job.name}.json)"
        for job in jobs
        if job.name in values
    ]
    lines = [
        "# Results",
        "",
        (
            "Written by `python -m bench --write`; what is measured, and how, is in"
            " [../README.md](../README.md). Each figure is the median of ratios, ours over theirs, of"
            " pairs of runs, unless it has a unit."
            " Of several peers it is that of the fastest."
        ),
        "",
        *_grid(rows),
        "",
        *pages,
    ]
    return "\n".join(lines).rstrip() + "\n"


_AIM_COLUMNS: Final = ("aim", "at most", "measured", "met")


def _aim_row(aim: Mapping[str, Any]) -> tuple[str, ...]:
    measured, unit = aim["measured"], f" {aim['unit']}" if aim["unit"] else ""
    if measured is None:
        return (aim["words"], f"{aim['limit']:g}{unit}", "not measured", "")
    shown = f"{measured:.0f}" if measured >= 100 else f"{measured:.3g}"
    return (
        aim["words"],
        f"{aim['limit']:g}{unit}",
        shown + unit,
        "yes" if measured <= aim["limit"] else "no",
    )


def _heading(case: Mapping[str, Any]) -> str:
    place = {"memory": "memory file system", "disk": "disk, until it has everything"}[case["place"]]
    return f"{case['title']}; {place}"


def _facts(case: Mapping[str, Any]) -> list[str]:
    told = [f"{name}: {value}" for name, value in case["facts"].items()]
    if case["ideal_seconds"] is not None:
        told.append(f"ideal: {case['ideal_seconds']:.2f} s")
    return ["; ".join(told), ""] if told else []


def _table(case: Mapping[str, Any]) -> list[str]:
    contestants = case["contestants"]
    if not contestants:
        return []
    metered = list(contestants[0]["metered"])
    others = len(contestants) > 1
    header = ["what", "wall s", "CPU s", "peak MB", *metered]
    header += ["time / ideal"] if case["ideal_seconds"] is not None else []
    header += ["time, ours / theirs", "CPU, ours / theirs"] if others else []
    rows: list[Sequence[str]] = [header]
    for one in contestants:
        row = [
            one["name"],
            _spread(one["wall_seconds"]),
            _spread(one["cpu_seconds"]),
            f"{one['peak_bytes'][0] / 1e6:.0f}",
            *(f"{one['metered'][label][0]:,.6g}" for label in metered),
        ]
        row += [f"{one['over_ideal']:.2f}"] if case["ideal_seconds"] is not None else []
        if others:
            row += [
                _spread(one[key]) if key in one else ""
                for key in ("ours_over_theirs", "ours_over_theirs_cpu")
            ]
        rows.append(row)
    return _grid(rows)


def _grown(axis: str, cases: Sequence[Mapping[str, Any]]) -> list[str]:
    """Ours in all cases that differ in one number, which the fact ``x`` names."""
    rows: list[Sequence[str]] = [(axis, "wall s", "CPU s", "peak MB", "µs / member", "s / GB", "what")]
    for case in cases:
        for one in case["contestants"]:
            facts, seconds = case["facts"], one["wall_seconds"][0]
            each = (f"{seconds / facts['members'] * 1e6:,.0f}", f"{seconds / facts['bytes'] * 1e9:.2f}")
            peak = f"{one['peak_bytes'][0] / 1e6:.0f}"
            spreads = (_spread(one["wall_seconds"]), _spread(one["cpu_seconds"]))
            rows.append((f"{facts[axis]:,}", *spreads, peak, *each, case["title"]))
    return _grid(rows)


def _steps(case: Mapping[str, Any]) -> list[str]:
    """Where a contestant of several commands spends its time."""
    return [
        f"- {one['name']}, step by step (medians): "
        + ", ".join(f"{label} {spread[0]:.2f} s" for label, spread in one["step_seconds"].items())
        for one in case["contestants"]
        if "step_seconds" in one
    ]


def _spread(spread: Sequence[float]) -> str:
    median, least, most = spread
    places = 2 if median >= 0.2 else 3
    return f"{median:.{places}f} ({least:.{places}f}-{most:.{places}f})"


def _grid(rows: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table, in columns that a terminal shows straight."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in rows
    ]
    return [lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]]


def _main(names: Sequence[str]) -> None:
    from bench import plots  # noqa: PLC0415  # see `write`

    jobs = load_jobs()
    values = {job.name: json.loads(path.read_text()) for job in jobs if (path := _json(job)).exists()}
    for job in jobs:
        if job.name in values and (not names or job.name in names):
            (FOLDER / f"{job.name}.md").write_text(as_markdown(values[job.name]))
            plots.DRAWINGS[job.drawing](values[job.name], FOLDER / f"{job.name}.svg")
    (FOLDER / "README.md").write_text(summary(jobs, values))


def _json(job: Job) -> Path:
    return FOLDER / f"{job.name}.json"


if __name__ == "__main__":
    _main(sys.argv[1:])
