"""The command ``fdf256`` with all its options, read by click, and where its commands are.

Nothing prints but ``calls``, ``local``, ``plain``, ``status``, ``console``, ``commands`` and click.
Nothing heavy is imported before a command runs, so that ``--help`` answers at once.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

import click

from fdf256_fast._core import __version__
from fdf256_fast.authorities import read_when_needed
from fdf256_fast.errors import UsageError
from fdf256_fast.status import print_failure

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["run"]

COMMANDS = ("download", "fetch", "extract", "verify", "info", "search-user", "credits", "forget", "demo")
"""In the order in which ``--help`` lists them; each is in the module of its name in ``commands``, and there
has its name with ``_`` for ``-``."""


def run(arguments: Sequence[str], *, wants_json: bool) -> int:
    """Run the command and return its status; raises what it raises, but for what click has to say."""
    # Before a command imports aiohttp.
    read_when_needed()
    try:
        return _command.main(arguments, prog_name="fdf256", standalone_mode=False) or 0
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.ClickException as error:
        error.show()
        if wants_json:
            print_failure(error.format_message())
        return UsageError.exit_status
    except click.Abort as stop:
        raise KeyboardInterrupt from stop


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

    Every option can come from the environment: --connections from FDF256_CONNECTIONS. Of one that may be
    repeated, such as --header, the values are one a line there.
    """
