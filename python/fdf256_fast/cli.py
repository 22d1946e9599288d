"""The command ``fdf256``: its errors, its exit statuses, and where its commands are.

Nothing prints but this, ``options.py``, the modules in ``commands`` and ``console.py``, and nothing else
exits.  Nothing heavy is imported before a command runs, so that ``--version`` and ``--help`` answer at once.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, NoReturn

import click

from fdf256_fast._core import __version__
from fdf256_fast.errors import Error, StorageError, UsageError
from fdf256_fast.options import Interrupted, print_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fdf256_fast.report import Report

__all__ = ["main"]

INTERRUPTED = 130
KEPT = "What was verified is kept; the same command goes on from there."

COMMANDS = ("download", "fetch", "extract", "verify", "info", "search-user", "credits", "forget", "demo")
"""In the order in which ``--help`` lists them; each is in the module of its name in ``commands``, and there
has its name with ``_`` for ``-``."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command and exit with its status (see the statuses in errors.py; 130 when interrupted)."""
    # Imports make a great many objects and no garbage; looking for it costs a tenth of the start-up.
    gc.disable()
    _open_standard_streams()
    given = sys.argv[1:] if arguments is None else arguments
    wants_json = "--json" in given or os.environ.get("FDF256_JSON", "0").lower() in {"1", "true", "yes", "on"}
    try:
        status = _command.main(arguments, prog_name="fdf256", standalone_mode=False) or 0
    except click.exceptions.Exit as stop:
        status = stop.exit_code
    except click.ClickException as error:
        error.show()
        if wants_json:
            _print_failure(error.format_message())
        status = UsageError.exit_status
    except (click.Abort, KeyboardInterrupt, asyncio.CancelledError) as stop:
        if wants_json:
            _print_failure("interrupted")
        words = stop.words if isinstance(stop, Interrupted) else KEPT
        click.echo(f"Interrupted. {words}", err=True)
        status = INTERRUPTED
    except Error as error:
        status = _failed(error, wants_json=wants_json)
    except BrokenPipeError:
        # Whoever read the output has gone; there is nobody left to tell.
        _drop_output()
        status = 1
    except OSError as error:
        # Results that cannot be written: the disk behind standard output is full.
        _drop_output()
        click.echo(f"error: {error}", err=True)
        status = StorageError.exit_status
    except MemoryError:
        click.echo("error: out of memory. Give less --memory, or fewer --connections.", err=True)
        status = Error.exit_status
    sys.exit(status)


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
        _print_failure(error.message, error.report)
    print_error(error.message, error.hint)
    return error.exit_status


def _print_failure(message: str, report: Report | None = None) -> None:
    """The object of a run that failed: every field is there, also where nothing was done."""
    from fdf256_fast.report import Report  # noqa: PLC0415

    report = report or Report("", (), 0, 0.0)
    print_json({**report.as_json(), "ok": False, "error": message})


class _Commands(click.Group):
    """Commands that are imported when they are called for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - as above
        if cmd_name not in COMMANDS:
            return None
        name = cmd_name.replace("-", "_")
        command = getattr(import_module(f"fdf256_fast.commands.{name}"), name)
        assert isinstance(command, click.Command)
        return command


@click.group(
    cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(__version__, message="fdf256 %(version)s")
def _command() -> None:
    """Install the FDF256 dataset, or fetch any large file, in one verified pass.

    Every option can come from the environment: --connections from FDF256_CONNECTIONS.
    """
