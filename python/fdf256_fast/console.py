"""What a person sees: progress, tables, errors.  The only module that imports rich.

Progress goes to standard error, results to standard output, so that a pipe carries results alone.
Names and messages come from servers and archives: they are never read as markup, and what could
move the cursor or hide text in a terminal is written as an escape (:func:`printable`).
"""

from __future__ import annotations

import contextlib
import math
import sys
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TextIO

from rich.cells import cell_len, set_cell_size
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from fdf256_fast.plain import (
    GONE,
    average_rate,
    closing_words,
    counted,
    files_words,
    is_terminal,
    joined,
    number,
    objects,
    printable,
    retries_words,
    total_of,
)
from fdf256_fast.progress import ArchiveProgress, Progress, Snapshot
from fdf256_fast.summary import NOT_VERIFIED, SIZE_COLUMNS, archive_columns, closing_line, sizes
from fdf256_fast.units import (
    format_bytes,
    format_countdown,
    format_part,
    format_percent,
    format_rate,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

__all__ = [
    "RichProgress",
    "print_error",
    "print_forgotten",
    "print_plan",
    "print_report",
    "print_table",
    "print_text",
    "print_verification",
    "rich_progress",
]

# ------------------------------------------------------------------------------------- the numbers


class _Rate:
    """Exponential average of how fast a counter grows, in counts per second."""

    # Long enough to keep the digits still, short enough to show a stall within a few seconds.
    MEMORY_SECONDS = 3.0

    def __init__(self) -> None:
        self._count = 0
        self._seconds: float | None = None
        self._sum = 0.0
        self._weight = 0.0

    def add(self, count: int, seconds: float) -> None:
        """Take the counter's value at a moment; the first one is only the start."""
        if self._seconds is not None:
            passed = seconds - self._seconds
            if passed <= 0:
                return
            keep = math.exp(-passed / self.MEMORY_SECONDS)
            # A span fetched anew may set the counter back: a pause, not a negative rate.
            grown = max(0, count - self._count)
            self._sum = self._sum * keep + grown / passed * (1 - keep)
            self._weight = self._weight * keep + (1 - keep)
        self._count, self._seconds = count, seconds

    @property
    def value(self) -> float:
        # Divided by the weight, since an average that starts at zero would creep up for seconds.
        return self._sum / self._weight if self._weight else 0.0


class _Rates:
    """One rate for each archive.  What an earlier run fetched took no time and is not counted."""

    def __init__(self) -> None:
        self._rates: dict[tuple[str, int], _Rate] = {}

    def add(self, snapshot: Snapshot) -> tuple[float, ...]:
        """Take a snapshot; returns bytes per second now, in the order of its archives."""
        seen: Counter[str] = Counter()
        values = []
        for archive in snapshot.archives:
            # Two plain files may have one name, hence the number.
            rate = self._rates.setdefault((archive.name, seen[archive.name]), _Rate())
            seen[archive.name] += 1
            rate.add(archive.arrived - archive.resumed, snapshot.seconds)
            values.append(rate.value)
        return tuple(values)


# ------------------------------------------------------------------------------- the live display


@dataclass(frozen=True, slots=True)
class _Glyphs:
    """What bars and marks are drawn with."""

    verified: str
    arrived: str
    half: str  # a cell whose left half has arrived; empty where there is no such character
    missing: str
    check: str
    separator: str
    ellipsis: str


_UNICODE = _Glyphs("━", "━", "╾", "─", "✓", " · ", "…")
_ASCII = _Glyphs("#", "=", "", "-", "ok", ", ", "~")

_VERIFIED_STYLE = "green"
_ARRIVED_STYLE = "cyan"
_QUIET_STYLE = "dim"

_GAP = "  "
_BAR_CELLS = range(10, 41)  # narrower says nothing, wider says no more
_NAME_CELLS = 24

# Cells for each column: fixed, so that nothing moves while the numbers change.
_COLUMNS = {
    "bytes": len("99.9/99.9 GB"),
    "percent": len("100%"),
    "rate": len("9.99 MB/s"),
    "left": len("23h 59m"),
    "verified": len("verified 99%"),
    "check": len("ok 99%"),
}
_LEFT_ALIGNED = {"verified", "check"}

# From all there is to tell down to what matters most; the first one that fits is drawn.
_LAYOUTS: tuple[tuple[str, ...], ...] = (
    ("bytes", "percent", "rate", "left", "verified", "files"),
    ("bytes", "percent", "rate", "left", "check", "files"),
    ("bytes", "percent", "rate", "left", "check"),
    ("bytes", "percent", "rate", "check"),
    ("bytes", "percent", "rate"),
    ("percent", "rate"),
    ("percent",),
)


@dataclass(frozen=True, slots=True)
class _Layout:
    """Columns of the display and their widths in cells; a bar of 0 cells is not drawn."""

    name: int
    bar: int
    columns: dict[str, int]


@dataclass(frozen=True, slots=True)
class _Row:
    """One line of the display; ``rate`` and ``left`` are None where there is nothing to say."""

    archive: ArchiveProgress
    rate: float | None = None
    left: float | None = None
    name_style: str = ""


def _choose_layout(width: int, rows: Sequence[_Row]) -> _Layout:
    """The richest layout that fits into ``width`` cells."""
    longest = max((cell_len(row.archive.name) for row in rows), default=0)
    name = min(longest, _NAME_CELLS, max(4, width // 3))
    counts = [len(_files_cell(row.archive, full=True)) for row in rows]
    widths = {**_COLUMNS, "files": max(counts, default=0)}
    for names in _LAYOUTS:
        columns = {column: widths[column] for column in names if widths[column]}
        bar = width - name - sum(len(_GAP) + cells for cells in columns.values()) - len(_GAP)
        if bar >= _BAR_CELLS.start:
            return _Layout(name, min(bar, _BAR_CELLS.stop - 1), columns)
    return _Layout(name, 0, {"percent": widths["percent"]})


def _bytes_cell(archive: ArchiveProgress) -> str:
    if archive.state == "waiting" and not archive.arrived:
        return "" if archive.size is None else format_bytes(archive.size)
    if archive.state == "done" or archive.size is None:
        return format_bytes(archive.arrived)
    return format_part(archive.arrived, archive.size, "/")


def _percent_cell(archive: ArchiveProgress) -> str:
    if archive.state == "done":
        return "100%"
    if archive.size is None or (archive.state == "waiting" and not archive.arrived):
        return ""
    return f"{format_percent(archive.arrived, archive.size)}%"


def _verified_cell(archive: ArchiveProgress, word: str) -> str:
    """The word alone once all is verified; nothing before any of it is."""
    size = archive.arrived if archive.state == "done" else archive.size
    if not archive.verified or size is None:
        return ""
    if archive.verified >= size:
        return word
    return f"{word} {format_percent(archive.verified, size)}%"


def _files_cell(archive: ArchiveProgress, *, full: bool = False) -> str:
    """``41,203/84,120``; ``full`` for the widest it will become."""
    if archive.members is None:
        return f"{archive.unpacked:,}" if archive.unpacked else ""
    return f"{archive.members if full else archive.unpacked:,}/{archive.members:,}"


def _cells(row: _Row, glyphs: _Glyphs) -> dict[str, str]:
    return {
        "bytes": _bytes_cell(row.archive),
        "percent": _percent_cell(row.archive),
        "rate": "" if row.rate is None else format_rate(row.rate),
        "left": "" if row.left is None else format_countdown(row.left),
        "verified": _verified_cell(row.archive, "verified"),
        "check": _verified_cell(row.archive, glyphs.check),
        "files": _files_cell(row.archive),
    }


def _bar(archive: ArchiveProgress, cells: int, glyphs: _Glyphs, pulse: float | None) -> Text:
    """A bar of ``cells``; ``pulse`` is the time in seconds that moves one of unknown size."""
    if archive.size is None and archive.state == "receiving" and pulse is not None:
        return _pulse(cells, glyphs, pulse)
    # A size of 0, or none, leaves only the two ends of the bar.
    size = archive.arrived if archive.state == "done" else archive.size or 0
    full = 1.0 if archive.state == "done" else 0.0
    arrived = min(1.0, archive.arrived / size) if size else full
    verified = min(arrived, archive.verified / size if size else full)
    steps = 2 if glyphs.half else 1
    filled, half = divmod(math.floor(arrived * cells * steps), steps)
    checked = min(filled, math.floor(verified * cells))
    bar = Text()
    bar.append(glyphs.verified * checked, _VERIFIED_STYLE)
    bar.append(glyphs.arrived * (filled - checked) + glyphs.half * half, _ARRIVED_STYLE)
    bar.append(glyphs.missing * (cells - filled - half), _QUIET_STYLE)
    return bar


def _pulse(cells: int, glyphs: _Glyphs, seconds: float) -> Text:
    """A stretch that wanders from one end to the other and back, 8 cells a second."""
    stretch = max(2, cells // 5)
    room = cells - stretch
    step = int(seconds * 8) % (2 * room)
    before = min(step, 2 * room - step)
    bar = Text()
    bar.append(glyphs.missing * before, _QUIET_STYLE)
    bar.append(glyphs.arrived * stretch, _ARRIVED_STYLE)
    bar.append(glyphs.missing * (room - before), _QUIET_STYLE)
    return bar


def _draw_row(row: _Row, layout: _Layout, glyphs: _Glyphs, pulse: float | None) -> Text:
    name = row.archive.name
    if cell_len(name) > layout.name:
        name = set_cell_size(name, layout.name - 1).rstrip() + glyphs.ellipsis
    waiting = row.archive.state == "waiting" and not row.archive.arrived
    line = Text(no_wrap=True, overflow="crop")
    line.append(set_cell_size(name, layout.name), _QUIET_STYLE if waiting else row.name_style)
    if layout.bar:
        line.append(_GAP).append_text(_bar(row.archive, layout.bar, glyphs, pulse))
    cells = _cells(row, glyphs)
    for column, width in layout.columns.items():
        cell = cells[column]
        style = _QUIET_STYLE if waiting or column in {"rate", "left", "files"} else ""
        if column in _LEFT_ALIGNED:
            cell, style = cell.ljust(width), _VERIFIED_STYLE
        line.append(_GAP).append(cell.rjust(width), style)
    line.rstrip()
    return line


def _visible(archives: Sequence[ArchiveProgress], most: int) -> tuple[list[int], str]:
    """Indices of the archives to show when ``most`` lines are free, and words for the others."""
    if len(archives) <= most:
        return list(range(len(archives))), ""
    rank = {"receiving": 0, "waiting": 1, "done": 2}
    ranked = sorted(range(len(archives)), key=lambda index: rank.get(archives[index].state, 0))
    shown, hidden = sorted(ranked[: most - 1]), ranked[most - 1 :]
    states = Counter(archives[index].state for index in hidden)
    parts = [f"{states[state]:,} {state}" for state in sorted(states)]
    return shown, f"and {len(hidden):,} more: {', '.join(parts)}"


class _Display:
    """Turns a snapshot into lines; ``over`` says that the run has ended."""

    def __init__(self, console: Console, title: str) -> None:
        self._console = console
        self._title = title
        # The encoding tells what can be written, as rich itself decides about its boxes.
        self._glyphs = _UNICODE if console.encoding.startswith("utf") else _ASCII

    def lines(self, snapshot: Snapshot | None, rates: Sequence[float], *, over: bool) -> list[Text]:
        """At most as many lines as the terminal has, none wider than it."""
        title = [self._small_print(self._title, "bold")] if self._title else []
        if snapshot is None:
            return title
        archives = [archive._replace(name=self._show(archive.name)) for archive in snapshot.archives]
        total = self._total_row(snapshot, over=over)
        shown, others = _visible(archives, self._free_lines())
        if len(archives) == 1:
            # A single line is its own total.
            shown, total = [], replace(total, archive=archives[0], name_style="")
        rows = [self._row(archives[index], rates[index], over=over) for index in shown]
        layout = _choose_layout(self._console.width, [*rows, total])
        pulse = None if over else snapshot.seconds
        return [
            *title,
            *(_draw_row(row, layout, self._glyphs, pulse) for row in rows),
            *([self._small_print(others)] if others else []),
            _draw_row(total, layout, self._glyphs, pulse),
            self._small_print(self._footer(snapshot, total, layout, over=over)),
        ]

    def _row(self, archive: ArchiveProgress, rate: float, *, over: bool) -> _Row:
        if over or archive.state != "receiving":
            return _Row(archive)
        left = None
        if archive.size is not None and rate > 0:
            left = max(0, archive.size - archive.arrived) / rate
        return _Row(archive, rate, left)

    def _total_row(self, snapshot: Snapshot, *, over: bool) -> _Row:
        total = total_of(snapshot)
        if over:
            return _Row(total, rate=average_rate(snapshot), name_style="bold")
        return _Row(total, snapshot.rate, snapshot.seconds_left, name_style="bold")

    def _footer(self, snapshot: Snapshot, total: _Row, layout: _Layout, *, over: bool) -> str:
        """What the columns do not say, as much of it as fits."""
        parts = []
        if over:
            parts.append(closing_words(snapshot))
        elif total.left is not None and "left" not in layout.columns:
            parts.append(f"{format_countdown(total.left)} left")
        if "files" not in layout.columns:
            parts.append(files_words(total.archive))
        if snapshot.connections and not over:
            parts.append(counted(snapshot.connections, "connection"))
        parts.append(retries_words(snapshot.retries))
        parts = [part for part in parts if part]
        while len(parts) > 1 and len(self._glyphs.separator.join(parts)) > self._console.width:
            parts.pop()
        return self._glyphs.separator.join(parts)

    def _free_lines(self) -> int:
        """Lines for archives, once title, total and footer have theirs and one stays empty."""
        if not self._console.is_terminal:
            return sys.maxsize
        return max(2, self._console.height - 4)

    def _show(self, text: str) -> str:
        return printable(joined(text), self._console.encoding)

    def _small_print(self, text: str, style: str = _QUIET_STYLE) -> Text:
        line = Text(self._show(text), style, no_wrap=True, overflow="crop")
        line.truncate(self._console.width)
        return line


class RichProgress(Progress):
    """A live table on a terminal: one line for each archive, a total, and a line of small print.

    Each bar shows the verified part in green, what has arrived beyond it in cyan.  The display is
    redrawn inside :meth:`updated`, on the caller's thread, at most about ten times a second; it has
    no thread of its own.  On anything but a terminal only the final state is written.

    A terminal that goes away ends the display, not the run.  The default ``console`` writes to
    standard error.
    """

    # A little less than a tenth, or a poll every 0.1 s would be drawn only every other time.
    REFRESH_SECONDS = 0.09

    def __init__(self, console: Console | None = None) -> None:
        self._console = Console(stderr=True) if console is None else console
        self._display = _Display(self._console, "")
        self._live: Live | None = None
        self._over = False
        self._snapshot: Snapshot | None = None
        self._rates = _Rates()
        self._values: tuple[float, ...] = ()
        self._drawn_seconds = -math.inf

    def started(self, title: str) -> None:
        """See :meth:`Progress.started`; a finished display can be started again."""
        self._display = _Display(self._console, title)
        self._over = False
        self._snapshot = None
        self._rates = _Rates()
        self._values = ()
        self._drawn_seconds = -math.inf
        self._draw()

    def updated(self, snapshot: Snapshot) -> None:
        """See :meth:`Progress.updated`."""
        if self._over:
            return
        self._snapshot, self._values = snapshot, self._rates.add(snapshot)
        if abs(snapshot.seconds - self._drawn_seconds) >= self.REFRESH_SECONDS:
            self._drawn_seconds = snapshot.seconds
            self._draw()

    def message(self, text: str) -> None:
        """Print a line above the display."""
        line = Text(printable(joined(text), self._console.encoding))
        with contextlib.suppress(*GONE):
            self._console.print(line, soft_wrap=True)

    def finished(self) -> None:
        """Leave the final state on the screen and give the cursor back; once is enough."""
        self._over = True
        if self._live is None:
            return
        self._draw()
        live, self._live = self._live, None
        with contextlib.suppress(*GONE):
            live.stop()

    def _draw(self) -> None:
        lines = self._display.lines(self._snapshot, self._values, over=self._over)
        with contextlib.suppress(*GONE):
            if self._live is None:
                self._live = Live(
                    console=self._console,
                    auto_refresh=False,
                    # What others print goes above the display, but only where it would have gone to
                    # a terminal anyway: a pipe must get its bytes, and nobody else's.
                    redirect_stdout=is_terminal(sys.stdout),
                    redirect_stderr=is_terminal(sys.stderr),
                )
                self._live.start()
            self._live.update(Group(*lines), refresh=True)


def rich_progress(stream: TextIO | None) -> RichProgress:
    """The live display on ``stream`` (default: standard error)."""
    return RichProgress(None if stream is None else Console(file=stream))


# ---------------------------------------------------------------------------------------- results

# A table that goes to a file or a pipe is not cut to a window that nobody looks through.
_UNLIMITED_CELLS = 10_000

# A table of thousands of rows tells a person nothing, and pushes the closing line off the screen.
_ROWS_SHOWN = 50


def _output(console: Console | None, *, stderr: bool = False) -> Console:
    if console is not None:
        return console
    console = Console(stderr=stderr)
    if not console.is_terminal and not console.is_jupyter:
        console.width = _UNLIMITED_CELLS
    return console


def print_table(
    title: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    right: Collection[str] = (),
    console: Console | None = None,
) -> None:
    """Print ``rows`` below the headings ``columns`` on standard output.

    ``right`` names the columns that are aligned to the right, for numbers.  An empty ``title`` is
    left out.  Cells are written with ``str``; what does not fit is folded, never cut.
    """
    out = _output(console)

    def cell(value: object) -> Text:
        # A Text of one's own passes, with its style; its words come from this module.
        return value if isinstance(value, Text) else Text(printable(str(value), out.encoding))

    table = Table(
        title=cell(title) if title else None,
        title_style="bold",
        title_justify="left",
        header_style=_QUIET_STYLE,
        box=None,
        padding=(0, 2, 0, 0),
        pad_edge=False,
    )
    for column in columns:
        table.add_column(cell(column), justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(cell, row))
    out.print(table)


def print_report(
    report: Mapping[str, object],
    console: Console | None = None,
    *,
    verb: str = "Installed",
) -> None:
    """Print what a run has done: a row for each archive and a closing line, on standard output.

    ``report`` is the object that ``--json`` prints.  Fields that are missing are left out.  The
    closing line of a run that succeeded starts with ``verb``.  A terminal gets no more than the first rows.
    """
    out = _output(console)
    table = archive_columns(report)
    if table:
        _print_archives(table, out)
        out.print()
    out.print(Text(printable(closing_line(report, verb), out.encoding)))


def print_plan(report: Mapping[str, object], console: Console | None = None) -> None:
    """What a run would fetch: a row for each archive, and the whole in words."""
    out = _output(console)
    archives = objects(report.get("archives"))

    def total(field: str) -> int:
        return int(sum(number(archive.get(field)) for archive in archives))

    counts = [archive.get("members") for archive in archives]
    rows = zip(
        [archive.get("name", "") for archive in archives],
        # A tar does not say in advance what is in it.
        ["?" if count is None else f"{number(count):,.0f}" for count in counts],
        sizes(archives, "bytes"),
        sizes(archives, "bytes_to_fetch"),
        [f"{number(archive.get('requests')):,.0f}" for archive in archives],
        strict=True,
    )
    headings = ("archive", "files", "size", "to fetch", "requests")
    print_table("", headings, rows, right=headings[1:], console=out)
    out.print()
    words = f"Would fetch {format_bytes(total('bytes_to_fetch'))} in {counted(total('requests'), 'request')}"
    if None not in counts:
        words += f" for {counted(int(number(report.get('files'))), 'file')}"
    words += f" {'into' if None in counts else 'in'} {report.get('target')}"
    if ends := number(report.get("bytes_downloaded")):
        words += f", besides the archives' ends, which were read for this ({format_bytes(ends)})"
    words += "."
    if adopted := total("adopted"):
        words += f" {counted(adopted, 'file')} of the right size lie there already and would be read first."
    out.print(Text(printable(words, out.encoding)), soft_wrap=True)


def print_error(message: str, hint: str = "", console: Console | None = None) -> None:
    """Print an error, and what can be done about it, on standard error.

    Neither is wrapped or read as markup, so that a path in it can be copied.
    """
    out = _output(console, stderr=True)
    line = Text.assemble(("error:", "bold red"), " ", printable(message, out.encoding))
    out.print(line, soft_wrap=True)
    if hint:
        out.print(Text(f"  {printable(hint, out.encoding)}", _QUIET_STYLE), soft_wrap=True)


def _print_archives(table: Mapping[str, Sequence[str]], out: Console) -> None:
    columns: dict[str, Sequence[object]] = {
        heading: cells[:_ROWS_SHOWN] if out.is_terminal else cells for heading, cells in table.items()
    }
    # A narrow terminal gets fewer columns rather than folded ones.
    for dispensable in ("from", "resumed", "downloaded"):
        if _table_cells(columns) > out.width:
            columns.pop(dispensable, None)
    columns["verified"] = [_verified_mark(cell) for cell in columns["verified"]]
    rows = list(zip(*columns.values(), strict=True))
    print_table("", list(columns), rows, right=SIZE_COLUMNS, console=out)
    if left := len(table["archive"]) - len(rows):
        out.print(f"and {left:,} more: --json has them all", style=_QUIET_STYLE)


def _table_cells(columns: Mapping[str, Sequence[object]]) -> int:
    """Cells that a table needs to fold nothing."""
    widths = [max(cell_len(str(cell)) for cell in (heading, *cells)) for heading, cells in columns.items()]
    return sum(widths) + len(_GAP) * (len(widths) - 1)


def _verified_mark(verified: object) -> Text:
    # It comes from this program, or from a journal.
    return Text(printable(str(verified), "ascii"), "yellow" if verified == NOT_VERIFIED else _VERIFIED_STYLE)


# ------------------------------------------------------------------------------------ what was found


def print_verification(found: Mapping[str, object], summary: str, console: Console | None = None) -> None:
    """Print what is wrong with a tree, a row for each file, and ``summary``, on standard output.

    ``found`` is the object that ``--json`` prints.
    """
    out = _output(console)
    rows = list(_findings(found))
    if rows:
        print_table("", ["", "file", "why"], rows[:_ROWS_SHOWN], console=out)
    if len(rows) > _ROWS_SHOWN:
        out.print(f"and {len(rows) - _ROWS_SHOWN:,} more: --json has them all", style=_QUIET_STYLE)
    repaired, downloaded = (int(number(found.get(field))) for field in ("repaired", "bytes_downloaded"))
    if repaired:
        took = f", {format_bytes(downloaded)} downloaded" if downloaded else ""
        out.print(f"Repaired: {counted(repaired, 'file')}{took}.", soft_wrap=True)
    words = printable(summary, out.encoding)
    out.print(Text(words, "" if found.get("ok") else "bold"), soft_wrap=True)


def _findings(found: Mapping[str, object]) -> Iterable[tuple[str, object, str]]:
    for one in objects(found.get("damaged")):
        yield "damaged", one.get("path", ""), str(one.get("reason", ""))
    for words, field, why in (
        ("missing", "missing", ""),
        ("returned", "returned", "it was to stay out"),
        ("extra", "extra", "nobody expects it"),
    ):
        paths = found.get(field)
        yield from ((words, path, why) for path in (paths if isinstance(paths, list) else []))
    for one in objects(found.get("bad_lines")):
        yield "bad line", f"line {one.get('line')}: {one.get('text')}", str(one.get("reason", ""))


def print_forgotten(done: Mapping[str, object], console: Console | None = None) -> None:
    """Print which images went, and what there is still to know, on standard output.

    ``done`` is the object that ``--json`` prints.
    """
    out = _output(console)

    def say(words: str, style: str = "") -> None:
        out.print(Text(printable(words, out.encoding), style), soft_wrap=True)

    removed, absent = objects(done.get("removed")), _strings(done.get("absent"))
    would = "Would remove" if done.get("dry_run") else "Removed"
    for one in removed[:_ROWS_SHOWN]:
        say(str(one.get("path")))
    if len(removed) > _ROWS_SHOWN:
        say(f"and {len(removed) - _ROWS_SHOWN:,} more: --json has them all", _QUIET_STYLE)
    size = format_bytes(number(done.get("bytes")))
    say(f"{would} {counted(len(removed), 'file')} ({size}) from {done.get('target')}.")
    if absent:
        some = ", ".join(absent[:5]) + (", ..." if len(absent) > 5 else "")
        say(f"{counted(len(absent), 'image')} not there, and kept out from now on: {some}")
    total = int(number(done.get("total")))
    if total and not done.get("dry_run"):
        say(
            f"In all, {counted(total, 'image')} {'is' if total == 1 else 'are'} kept out of it.",
            _QUIET_STYLE,
        )
    archives = _strings(done.get("archives"))
    if archives:
        say(
            "These files still hold all of their images; remove them if they are to go as well:",
            "bold yellow",
        )
        for path in archives:
            say(f"  {path}")


def _strings(value: object) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list) else []


# ------------------------------------------------------------------------------------------- plain text


def print_text(text: str, console: Console | None = None) -> None:
    """Print ``text`` on standard output, not wrapped and not read as markup."""
    out = _output(console)
    out.print(Text(printable(text, out.encoding)), soft_wrap=True)
