"""What a person sees where no terminal is: lines of text, and the words that all output shares.

Without rich, which takes as long to import as 10,000 files to check.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
from typing import TYPE_CHECKING, TextIO

from fdf256_fast.calls import say
from fdf256_fast.errors import UsageError
from fdf256_fast.progress import ArchiveProgress, Progress, Snapshot
from fdf256_fast.units import (
    format_bytes,
    format_countdown,
    format_duration,
    format_part,
    format_percent,
    format_rate,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

__all__ = [
    "GONE",
    "PlainProgress",
    "average_rate",
    "choose_progress",
    "closing_words",
    "counted",
    "files_words",
    "installed_words",
    "is_terminal",
    "joined",
    "local_words",
    "number",
    "objects",
    "one_line",
    "print_local_report",
    "print_report",
    "print_table",
    "print_text",
    "printable",
    "retries_words",
    "total_of",
]

# Control characters but for newline and tab; line and paragraph separators; the marks that turn the
# direction of writing, with which `exe.gnp` can be shown as `png.exe`; halves of surrogate pairs.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")

# What writing to a terminal that has gone away raises; ValueError, where the stream was closed.
GONE = (OSError, ValueError)


def printable(text: str, encoding: str | None) -> str:
    """``text`` as ``encoding`` (None: UTF-8) can write it and a terminal will only show it."""
    shown = _UNPRINTABLE.sub(lambda match: match[0].encode("unicode_escape").decode(), text)
    encoding = encoding or "utf-8"
    return shown.encode(encoding, "backslashreplace").decode(encoding)


def joined(text: str) -> str:
    """Its lines as one."""
    return " ".join(line.strip() for line in text.splitlines())


def counted(count: int, one: str, many: str = "") -> str:
    """``1 file``, ``12,301 files``."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def total_of(snapshot: Snapshot) -> ArchiveProgress:
    """All archives as if they were one."""
    states = {archive.state for archive in snapshot.archives}
    members = [archive.members for archive in snapshot.archives if archive.members is not None]
    # An archive that is done without members has none; any other may still turn out to have some.
    unknown = any(archive.members is None and archive.state != "done" for archive in snapshot.archives)
    return ArchiveProgress(
        name="total",
        size=snapshot.size,
        arrived=snapshot.arrived,
        resumed=sum(archive.resumed for archive in snapshot.archives),
        verified=sum(archive.verified for archive in snapshot.archives),
        members=sum(members) if members and not unknown else None,
        unpacked=sum(archive.unpacked for archive in snapshot.archives),
        state=states.pop() if len(states) == 1 else "receiving",
    )


def average_rate(snapshot: Snapshot) -> float:
    """Bytes per second over the whole run, 0.0 for a run without duration."""
    total = total_of(snapshot)
    return max(0, total.arrived - total.resumed) / snapshot.seconds if snapshot.seconds > 0 else 0.0


def closing_words(snapshot: Snapshot) -> str:
    """``in 12 s``."""
    # That all has arrived does not mean success: publishing may still have failed.
    words = "in" if total_of(snapshot).state == "done" else "stopped after"
    return f"{words} {format_duration(snapshot.seconds)}"


def retries_words(retries: int) -> str:
    """``2 retries``; nothing for none."""
    return counted(retries, "retry", "retries") if retries else ""


def files_words(total: ArchiveProgress) -> str:
    """``12,301 of 248,515 files``, without the whole while it is not known."""
    if total.members is None:
        return counted(total.unpacked, "file") if total.unpacked else ""
    return f"{total.unpacked:,} of {counted(total.members, 'file')}"


def local_words(report: Mapping[str, object], archives: Sequence[Mapping[str, object]]) -> str:
    """``61.2 MB in 0.2 s (306 MB/s), every checksum in it is right``."""
    size = sum(number(archive.get("bytes")) for archive in archives)
    seconds = number(report.get("seconds"))
    words = f"{format_bytes(size)} in {format_duration(seconds)}"
    if seconds > 0:
        words += f" ({format_rate(size / seconds)})"
    match report.get("verified"):
        case "crc32":
            return f"{words}, every checksum in {'it' if len(archives) == 1 else 'them'} is right"
        case str(digest) if digest != "none":
            return f"{words}, the archive has the {digest} that was given"
    return f"{words}, not verified: not all has a checksum"


def installed_words(report: Mapping[str, object]) -> str:
    """``10,006 files in data/fdf256``."""
    words = counted(int(number(report.get("files"))), "file")
    target = report.get("target")
    return f"{words} in {target}" if target else words


def objects(value: object) -> list[Mapping[str, object]]:
    """Those of a list that are objects."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def number(value: object) -> float:
    """``value`` if it is a number, else 0."""
    return value if isinstance(value, int | float) else 0


# ------------------------------------------------------------------------------------ plain lines


class PlainProgress(Progress):
    """A line of text now and then, for pipes, logs and terminals that cannot move their cursor.

    ``stream`` is where to write, by default whatever ``sys.stderr`` is at the time; ``interval`` is
    in seconds.  A stream that is gone ends the lines, not the run.
    """

    def __init__(self, stream: TextIO | None = None, *, interval: float = 5.0) -> None:
        self._stream = stream
        self._interval = interval
        self._next_seconds = interval
        self._snapshot: Snapshot | None = None
        self._over = False

    def started(self, title: str) -> None:
        """See :meth:`Progress.started`."""
        self._next_seconds = self._interval
        self._snapshot = None
        self._over = False
        self._write(title)

    def updated(self, snapshot: Snapshot) -> None:
        """See :meth:`Progress.updated`."""
        if self._over:
            return
        self._snapshot = snapshot
        if snapshot.seconds >= self._next_seconds:
            self._next_seconds = snapshot.seconds + self._interval
            self._write(_status_line(snapshot, over=False))

    def message(self, text: str) -> None:
        """Write a line."""
        self._write(text)

    def finished(self) -> None:
        """Write the final state, once."""
        if not self._over and self._snapshot is not None:
            self._write(_status_line(self._snapshot, over=True))
        self._over = True

    def _write(self, text: str) -> None:
        stream = sys.stderr if self._stream is None else self._stream
        if stream is None:  # a program without a console, such as one started by pythonw
            return
        line = printable(joined(f"fdf256: {text}"), getattr(stream, "encoding", None))
        with contextlib.suppress(*GONE):
            stream.write(f"{line}\n")
            stream.flush()


def _status_line(snapshot: Snapshot, *, over: bool) -> str:
    """``1.2 of 26.0 GB (4.6 %), 112 MB/s, 3:41 left, 12,301 of 248,515 files``."""
    if snapshot.size is None:
        parts = [format_bytes(snapshot.arrived)]
    else:
        percent = format_percent(snapshot.arrived, snapshot.size, 1)
        parts = [f"{format_part(snapshot.arrived, snapshot.size)} ({percent} %)"]
    parts.append(format_rate(average_rate(snapshot) if over else snapshot.rate))
    if over:
        parts.append(closing_words(snapshot))
    elif snapshot.seconds_left is not None:
        parts.append(f"{format_countdown(snapshot.seconds_left)} left")
    parts.append(files_words(total_of(snapshot)))
    parts.append(retries_words(snapshot.retries))
    return ", ".join(part for part in parts if part)


# ----------------------------------------------------------------------------------------- choice


def choose_progress(kind: str, *, stream: TextIO | None = None) -> Progress:
    """The receiver for ``--progress KIND``: ``auto``, ``rich``, ``plain`` or ``none``.

    ``auto`` is ``rich`` on a terminal that can move its cursor, unless a CI system records it, and
    ``plain`` otherwise.  ``stream`` (default: standard error) is looked at and written to.  Raises
    :class:`UsageError` for another kind.
    """
    if kind == "auto":
        kind = "rich" if _can_redraw(sys.stderr if stream is None else stream) else "plain"
    if kind == "rich":
        from fdf256_fast.console import rich_progress  # noqa: PLC0415 - see above

        return rich_progress(stream)
    if kind == "plain":
        return PlainProgress(stream)
    if kind == "none":
        return Progress()
    raise UsageError(f"{kind!r} is not a kind of progress", hint="choose one of auto, rich, plain, none")


def _can_redraw(stream: TextIO | None) -> bool:
    dumb = os.environ.get("TERM", "").lower() in {"dumb", "unknown"}
    recorded = os.environ.get("CI", "").lower() not in {"", "0", "false"}
    return is_terminal(stream) and not dumb and not recorded


def is_terminal(stream: TextIO | None) -> bool:
    """Whether somebody looks at it."""
    try:
        return stream is not None and stream.isatty()
    except ValueError:  # closed
        return False


# ---------------------------------------------------------------------------------------- results

_GAP = "  "


def print_text(text: str) -> None:
    """Print ``text`` on standard output, as it is."""
    say(printable(text, getattr(sys.stdout, "encoding", None)))


def print_table(
    columns: Sequence[str], rows: Iterable[Sequence[object]], *, right: Collection[str] = ()
) -> None:
    """Print ``rows`` below the headings ``columns`` on standard output, ``right`` ones aligned so."""
    lines = [list(map(str, row)) for row in (columns, *rows)]
    if _needs_rich(lines):
        from fdf256_fast import console  # noqa: PLC0415

        console.print_table("", columns, lines[1:], right=right)
        return
    lines = [[printable(cell, "ascii") for cell in line] for line in lines]
    widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
    aligned = [str.rjust if name in right else str.ljust for name in columns]
    # As one text: a line of its own each costs a call of the system.
    say(
        "\n".join(
            _GAP.join(
                align(cell, width) for align, cell, width in zip(aligned, line, widths, strict=True)
            ).rstrip()
            for line in lines
        )
    )


def _needs_rich(lines: Iterable[Iterable[str]]) -> bool:
    """Widths of windows and of characters are its business."""
    return is_terminal(sys.stdout) or not all(cell.isascii() for line in lines for cell in line)


def print_report(report: Mapping[str, object], *, verb: str) -> None:
    """Print what a run has done: a row for each archive and a closing line, on standard output.

    ``report`` is the object that ``--json`` prints.  The closing line of a run that succeeded starts with
    ``verb``.  Into a pipe it goes without rich, which took half a second for 2,000 rows.
    """
    from fdf256_fast.summary import SIZE_COLUMNS, archive_columns, closing_line  # noqa: PLC0415 - needs this

    columns = archive_columns(report)
    if _needs_rich(columns.values()):
        from fdf256_fast import console  # noqa: PLC0415

        console.print_report(report, verb=verb)
        return
    if columns:
        print_table(list(columns), zip(*columns.values(), strict=True), right=SIZE_COLUMNS)
        print_text("")
    print_text(closing_line(report, verb))


def print_local_report(report: Mapping[str, object], *, verb: str) -> None:
    """Print what was done with local archives: a row for each, and a closing line that starts with ``verb``.

    ``report`` is the object that ``--json`` prints, of a run that succeeded.
    """
    from fdf256_fast.summary import SIZE_COLUMNS, archive_columns  # noqa: PLC0415 - needs this

    columns = archive_columns(report)
    shown = ("archive", "size", "verified")
    print_table(shown, zip(*(columns[heading] for heading in shown), strict=True), right=SIZE_COLUMNS)
    archives = objects(report.get("archives"))
    print_text(f"\n{verb} {installed_words(report)}: {local_words(report, archives)}.")


def one_line(text: str) -> str:
    """``text`` in one line, line ends and tabs as escapes too, for a list that another program reads."""
    return printable(text.replace("\n", "\\n").replace("\t", "\\t"), None)
