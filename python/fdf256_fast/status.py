"""How a command ends: its exit status, and what is said then."""

from __future__ import annotations

import contextlib
import os
import sys
from functools import partial
from typing import TYPE_CHECKING, NoReturn

from fdf256_fast.calls import Interrupted, complain, print_json
from fdf256_fast.errors import Error, StorageError
from fdf256_fast.foreground import is_cancelled
from fdf256_fast.quick import understood

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fdf256_fast.report import Report

__all__ = ["INTERRUPTED", "print_failure", "run"]

INTERRUPTED = 130
TRUE = frozenset({"1", "true", "t", "yes", "y", "on"})
"""What click takes for yes: an error is to be JSON wherever a result would be."""

KEPT = "What was verified is kept; the same command goes on from there."


def run(arguments: Sequence[str]) -> NoReturn:
    """Run the command that ``arguments`` are and exit with its status."""
    _open_standard_streams()
    wants_json = "--json" in arguments or os.environ.get("FDF256_JSON", "").strip().lower() in TRUE
    call = understood(arguments)
    status = _status_of(call or partial(_with_click, arguments, wants_json=wants_json), wants_json=wants_json)
    if call is not None:
        _leave(status)
    sys.exit(status)


def _leave(status: int) -> None:
    """End at once: to take down what was imported takes 4 ms, and a local command has nothing else open."""
    with contextlib.suppress(OSError, ValueError):
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
        os._exit(status)


def _with_click(arguments: Sequence[str], *, wants_json: bool) -> int:
    from fdf256_fast import cli  # noqa: PLC0415 - what is common does without

    return cli.run(arguments, wants_json=wants_json)


def _status_of(call: Callable[[], int], *, wants_json: bool) -> int:
    """The status that ``call`` returns, or that what it raises stands for: see errors.py, and 130."""
    try:
        status = call()
    except Error as error:
        status = _failed(error, wants_json=wants_json)
    except BrokenPipeError:
        # Whoever read the output has gone; there is nobody left to tell.
        _drop_output()
        status = 1
    except OSError as error:
        # Results that cannot be written: the disk behind standard output is full.  Or it is another file's,
        # and whoever reads the results is still there.
        if wants_json:
            with contextlib.suppress(OSError, ValueError):
                print_failure(str(error))
        _drop_output()
        complain(f"error: {error}")
        status = StorageError.exit_status
    except MemoryError:
        if wants_json:
            print_failure("out of memory")
        complain("error: out of memory. Give less --memory, or fewer --connections.")
        status = Error.exit_status
    except BaseException as stop:
        if not (isinstance(stop, KeyboardInterrupt | Interrupted) or is_cancelled(stop)):
            raise
        if wants_json:
            from fdf256_fast.report import attached  # noqa: PLC0415

            print_failure("interrupted", attached(stop))
        complain(f"Interrupted. {stop.words if isinstance(stop, Interrupted) else KEPT}")
        status = INTERRUPTED
    return status


def _open_standard_streams() -> None:
    """Where standard streams were closed, a file of ours would get their numbers, and whatever is printed."""
    while (opened := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(opened)


def _drop_output() -> None:
    """What is still to be written goes nowhere, or Python would fail once more at its end."""
    if sys.stdout is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _failed(error: Error, *, wants_json: bool) -> int:
    from fdf256_fast.console import print_error  # noqa: PLC0415 - rich, only when needed

    if wants_json:
        print_failure(error.message, error.report)
    print_error(error.message, error.hint)
    return error.exit_status


def print_failure(message: str, report: Report | None = None) -> None:
    """The object of a run that failed: every field is there, also where nothing was done."""
    from fdf256_fast.report import Report  # noqa: PLC0415

    report = report or Report("", (), 0, 0.0)
    print_json({**report.as_json(), "ok": False, "error": message})
