"""What was measured, as a table for people and as JSON for programs."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from compare import Spread, ratios

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from compare import Run
    from contestants import Contestant
    from data import Data

__all__ = ["Result", "Setting", "as_markdown", "table", "write"]

_COLUMNS = (
    "what", "wall s", "CPU s", "peak MB", "sent / archives", "time, ours / theirs",
    "CPU, ours / theirs",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Setting:
    """What holds for all results of one call."""

    machine: dict[str, object]
    versions: dict[str, str]
    place: str
    images: int
    seed: int
    runs: int
    left_out: dict[str, str]


@dataclass(frozen=True, slots=True)
class Result:
    """One kind of data; the first contestant is ours."""

    data: Data
    contestants: Sequence[Contestant]
    measured: dict[str, list[Run]]


def table(result: Result) -> str:
    """Markdown, in columns that a terminal shows straight."""
    rows = [_COLUMNS, *(_row(result, contestant) for contestant in result.contestants)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in rows
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def as_markdown(setting: Setting, results: Sequence[Result]) -> str:
    """The whole page."""
    machine = setting.machine
    lines = [
        "# Install: ours beside the tools one would pick instead",
        "",
        (
            f"{setting.images:,} images, seed {setting.seed}; {setting.runs} runs of each, taken"
            " in turns after a warm-up in which every result was checked. Medians (least-most);"
            " ratios are of pairs that ran one after the other, below 1 means that ours needs"
            " less. The server's own CPU time is not in the table."
        ),
        "",
        f"- {machine['cores']} cores, {machine['processor']} ({' '.join(_strings(machine['flags']))})",
        f"- {machine['kernel']}, Python {machine['python']}; destination: {setting.place}",
        *(f"- {name}: {version}" for name, version in setting.versions.items()),
    ]
    for result in results:
        lines += ["", f"## {headline(result)}", "", table(result), ""]
        lines += [f"- {one.name}: `{one.description}`" for one in result.contestants]
        lines += _steps(result)
    lines += ["", *_absent(setting)]
    return "\n".join(lines).rstrip() + "\n"


def headline(result: Result) -> str:
    """What was installed."""
    data = result.data
    return (
        f"{data.compression.capitalize()}: {len(data.names)} archives, {data.members:,} members, "
        f"{data.total_bytes / 1e9:.2f} GB"
    )


def write(folder: Path, setting: Setting, results: Sequence[Result]) -> list[Path]:
    """Write ``install.json`` and ``install.md``, and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    told = {**asdict(setting), "results": [_as_json(result) for result in results]}
    written = [folder / "install.json", folder / "install.md"]
    written[0].write_text(json.dumps(told, indent=1) + "\n")
    written[1].write_text(as_markdown(setting, results))
    return written


def _row(result: Result, contestant: Contestant) -> tuple[str, ...]:
    runs = result.measured[contestant.name]
    ours = result.measured[result.contestants[0].name]
    sent = Spread.of(run.traffic.body_bytes / result.data.total_bytes for run in runs)
    measured = (
        contestant.name,
        _spread(Spread.of(run.usage.wall_seconds for run in runs), 2),
        _spread(Spread.of(run.usage.cpu_seconds for run in runs), 2),
        _spread(Spread.of(run.usage.peak_bytes / 1e6 for run in runs), 0),
        f"{sent.most:.4f}",
    )
    if runs is ours:
        return (*measured, "", "")
    return (
        *measured,
        _spread(ratios(ours, runs, lambda usage: usage.wall_seconds), 2),
        _spread(ratios(ours, runs, lambda usage: usage.cpu_seconds), 2),
    )


def _spread(spread: Spread, places: int) -> str:
    return f"{spread.median:.{places}f} ({spread.least:.{places}f}-{spread.most:.{places}f})"


def _steps(result: Result) -> list[str]:
    """Where a contestant of several commands spends its time."""
    lines = []
    for contestant in result.contestants:
        runs = result.measured[contestant.name]
        if len(runs[0].steps) > 1:
            parts = [
                f"{label} {Spread.of(run.steps[label].wall_seconds for run in runs).median:.2f} s"
                for label in runs[0].steps
            ]
            lines.append(f"- {contestant.name}, step by step (medians): {', '.join(parts)}")
    return lines


def _absent(setting: Setting) -> list[str]:
    return [f"- left out: {name}: {reason}" for name, reason in setting.left_out.items()]


def _as_json(result: Result) -> dict[str, Any]:
    ours = result.measured[result.contestants[0].name]
    compared = {
        contestant.name: {
            "wall": asdict(ratios(ours, runs, lambda usage: usage.wall_seconds)),
            "cpu": asdict(ratios(ours, runs, lambda usage: usage.cpu_seconds)),
        }
        for contestant in result.contestants[1:]
        for runs in [result.measured[contestant.name]]
    }
    return {
        "compression": result.data.compression,
        "archive_bytes": result.data.total_bytes,
        "members": result.data.members,
        "ratios_ours_over_theirs": compared,
        "contestants": [
            {
                "name": contestant.name,
                "description": contestant.description,
                "wall_seconds": asdict(Spread.of(run.usage.wall_seconds for run in runs)),
                "cpu_seconds": asdict(Spread.of(run.usage.cpu_seconds for run in runs)),
                "peak_bytes": asdict(Spread.of(run.usage.peak_bytes for run in runs)),
                "runs": [asdict(run) for run in runs],
            }
            for contestant in result.contestants
            for runs in [result.measured[contestant.name]]
        ],
    }


def _strings(value: object) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list) else []
