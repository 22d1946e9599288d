"""One call of a command: what its shared options asked for, and how its result is shown.

Without click: local commands whose options are plain need none of it (``quick.py``).
"""

from __future__ import annotations

import contextlib
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any, TextIO

from fdf256_fast.errors import Error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fdf256_fast.foreground import Shown
    from fdf256_fast.limits import Limits
    from fdf256_fast.progress import Progress, Snapshot
    from fdf256_fast.report import Report

__all__ = ["Common", "Interrupted", "aimed_at", "complain", "print_json", "say"]


class Interrupted(Exception):
    """Ctrl-C or SIGTERM, with what is to be said of a command that keeps nothing."""

    def __init__(self, words: str) -> None:
        super().__init__(words)
        self.words = words


def say(text: str) -> None:
    """A line on standard output."""
    _write(sys.stdout, text)


def complain(text: str) -> None:
    """A line on standard error."""
    _write(sys.stderr, text)


def _write(stream: TextIO | None, text: str) -> None:
    if stream is None:  # closed, where Python was started without one
        return
    try:
        stream.write(f"{text}\n")
    except UnicodeEncodeError:
        # A name of a file may be any bytes, and a stream may be strict.
        encoding = stream.encoding or "ascii"
        stream.write(f"{text.encode(encoding, 'backslashreplace').decode(encoding)}\n")
    stream.flush()


@contextlib.contextmanager
def aimed_at(target: object) -> Iterator[None]:
    """What fails in the block before anything was done says of which folder or file, for ``--json``."""
    try:
        yield
    except Error as error:
        if error.report is None:
            from fdf256_fast.report import Report

            error.report = Report(str(target), (), 0, 0.0)
        raise


def print_json(result: object) -> None:
    """One object, on one line of standard output."""
    import json

    say(json.dumps(result))


_LIMITS: tuple[tuple[str, str, Callable[[Any], Any]], ...] = (
    ("connections", "connections", lambda count: count),
    ("memory", "memory_bytes", int),
    ("workers", "workers", int),
    ("limit_rate", "rate", lambda rate: rate),
    ("retries", "retries", int),
    ("timeout", "timeout_seconds", float),
    ("header", "headers", lambda lines: dict(map(_header, lines))),
)
"""Option, field of ``Limits``, and how the one becomes the other."""


def _archive_fields(arguments: dict[str, Any]) -> dict[str, Any]:
    """The fields of ``Limits`` that these options set; none for commands that do not have them."""
    if "max_ratio" not in arguments:
        return {}
    taken = arguments.pop
    return {
        "max_ratio": taken("max_ratio"),
        "max_unpacked_bytes": taken("max_unpacked"),
        "max_members": taken("max_members"),
        "portable_names": not taken("any_names"),
    }


class Common:
    """The shared options of one call, taken out of click's arguments."""

    def __init__(self, arguments: dict[str, Any]) -> None:
        taken = arguments.pop
        self.as_json: bool = taken("as_json")
        self.quiet: bool = taken("quiet")
        verbose = taken("verbose")
        self._progress: str = taken("progress")
        self._limits = {
            field: read(taken(option))
            for option, field, read in _LIMITS
            # Not every command speaks HTTP.
            if option in arguments
        }
        self._limits |= _archive_fields(arguments)
        if verbose:
            import logging

            level = logging.DEBUG if verbose > 1 else logging.INFO
            logging.basicConfig(level=level, format="%(relativeCreated)8d ms %(name)s: %(message)s")

    @property
    def limits(self) -> Limits:
        """Those of ``--connections`` and the like."""
        from fdf256_fast.limits import Limits

        return Limits(**self._limits)

    @property
    def local_limits(self) -> Limits | None:
        """The same for work on this machine's files; None, without an import, where nothing was asked for."""
        return None if self._limits == {"workers": 0} else self.limits

    @property
    def _is_silent(self) -> bool:
        return self.quiet or self._progress == "none"

    @property
    def progress(self) -> Progress:
        """What ``--progress`` and ``--quiet`` ask for."""
        if self._is_silent:
            # Without rich, which takes a tenth of a second to import.
            from fdf256_fast.progress import Progress

            return Progress()
        from fdf256_fast.plain import choose_progress

        return choose_progress(self._progress)

    def shown(
        self, title: str, snapshot: Callable[[], Snapshot], *results: str
    ) -> Callable[[], Shown | None]:
        """What to do while work is under way: choose who is shown it, import its results' modules."""
        from fdf256_fast.foreground import Shown

        def meanwhile() -> Shown | None:
            for module in results:
                import_module(f"fdf256_fast.{module}")
            if self._is_silent:
                return None
            progress = self.progress
            progress.started(title)
            return Shown(progress, snapshot)

        return meanwhile

    def show(self, report: Report, *, verb: str, is_local: bool = False) -> None:
        """Print what was done: JSON, a summary, or nothing."""
        if self.as_json:
            print_json(report.as_json())
        elif self.quiet:
            return
        elif report.already_installed:
            say(f"{report.target} is complete: {report.files} files. Nothing to download.")
        elif report.dry_run:
            from fdf256_fast.console import print_plan

            print_plan(report.as_json())
        elif is_local:
            from fdf256_fast.plain import print_local_report

            print_local_report(report.as_json(), verb=verb)
        else:
            from fdf256_fast.plain import print_report

            print_report(report.as_json(), verb=verb)


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        from click import BadParameter

        raise BadParameter(f"{text!r} is not 'Name: value'", param_hint="--header")
    return name.strip(), value.strip()
