"""What the commands share: options, and the loop that a command runs in."""

from __future__ import annotations

import asyncio
import gc
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from fdf256_fast.calls import Common, Interrupted, print_json
from fdf256_fast.errors import UsageError, no_thread
from fdf256_fast.layout import SPLITS

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from fdf256_fast.selection import Selection

__all__ = [
    "FILE",
    "PATH",
    "Common",
    "Interrupted",
    "archive_limits",
    "described",
    "limits",
    "option",
    "origins",
    "print_json",
    "run",
    "screen",
    "selecting",
    "selection_of",
    "workers",
]

T = TypeVar("T")
F = TypeVar("F", bound="Callable[..., Any]")
_ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""SIGINT too: asyncio's own handler raises KeyboardInterrupt at the second one, wherever the loop is just
then; a callback that was under way is lost, and with it may be what somebody waits for without end."""


# ---- options ---------------------------------------------------------------------------------------

# click would call what may not be read a usage error; the work itself says more, and ends with status 5.
PATH = click.Path(readable=False, path_type=Path)
FILE = click.Path(readable=False, path_type=Path, dir_okay=False)


def _size(_: click.Context, __: click.Parameter, value: str) -> int:
    from fdf256_fast.units import parse_size

    try:
        return parse_size(value)
    except UsageError as error:
        raise click.BadParameter(str(error)) from error


def _size_or_none(context: click.Context, parameter: click.Parameter, value: str | None) -> int | None:
    return None if value is None else _size(context, parameter, value)


def _rate(_: click.Context, __: click.Parameter, value: str | None) -> float | None:
    from fdf256_fast.units import parse_rate

    try:
        return None if value is None else parse_rate(value)
    except UsageError as error:
        raise click.BadParameter(str(error)) from error


_WITHOUT_BLANKS = frozenset({"--split", "--license", "--user-nsid", "--photo-url"})
"""Options whose values have none, so that blanks may part them in the environment, too."""


class _Repeatable(click.Option):
    """One that may be given several times: in the environment, a value a line.

    click's own way is to part them at blanks, which names, headers and paths have in them.
    """

    def value_from_envvar(self, ctx: click.Context) -> list[str] | None:
        """The values, None where the environment says nothing."""
        text = self.resolve_envvar_value(ctx)
        if text is not None and not _WITHOUT_BLANKS.isdisjoint(self.opts):
            return text.split()
        lines = (text or "").replace("\r\n", "\n").split("\n")
        return None if text is None else [line for line in lines if line.strip()]


def option(*names: str, **settings: Any) -> Callable[[F], F]:
    """An option that can also come from the environment: ``--limit-rate`` from ``FDF256_LIMIT_RATE``."""
    variable = "FDF256_" + names[0].removeprefix("--").upper().replace("-", "_")
    if settings.get("multiple"):
        settings["cls"] = _Repeatable
    return click.option(*names, envvar=variable, **settings)


def _all_of(options: Sequence[Callable[[F], F]]) -> Callable[[F], F]:
    def decorate(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def described(name: str, words: str) -> Callable[[F], F]:
    """Other words of help for a shared option, in a command where it does something else; stands above it."""

    def decorate(function: F) -> F:
        for parameter in function.__click_params__:  # type: ignore[attr-defined]
            if parameter.name == name:
                parameter.help = words
        return function

    return decorate


workers = option("--workers", type=int, default=0, help="Threads that unpack and hash; one per core.")

screen = _all_of(
    [
        option(
            "--progress",
            type=click.Choice(["auto", "rich", "plain", "none"]),
            default="auto",
            show_default=True,
            help="How progress is shown.",
        ),
        option("--json", "as_json", is_flag=True, help="Print one JSON object at the end."),
        option("--quiet", "-q", is_flag=True, help="Print errors only."),
        option("--verbose", "-v", count=True, help="Log requests and retries to stderr."),
    ]
)

limits = _all_of(
    [
        option(
            "--connections",
            type=int,
            help="HTTP requests at once.  [default: 16, and more where each is held back]",
        ),
        option(
            "--memory",
            callback=_size,
            metavar="SIZE",
            default="256MiB",
            show_default=True,
            help="Received bytes that may wait for their turn.",
        ),
        workers,
        option("--limit-rate", callback=_rate, metavar="RATE", help="Bytes per second, such as 10MB/s."),
        option(
            "--retries",
            type=int,
            default=8,
            show_default=True,
            help="Failures in a row, with no progress between, before giving up.",
        ),
        option(
            "--timeout",
            type=float,
            default=30.0,
            show_default=True,
            help="Seconds that a connection may be silent.",
        ),
        option("--header", multiple=True, metavar="'K: V'", help="Sent to the sources' hosts only."),
        screen,
    ]
)


def archive_limits(function: F) -> F:
    """What an archive may ask for before it is refused."""
    for decorate in reversed(
        [
            option(
                "--max-ratio",
                type=int,
                default=250,
                show_default=True,
                metavar="N",
                help="Refuse archives that unpack to more than N times their size, and to over 1 GiB.",
            ),
            option(
                "--max-unpacked",
                callback=_size_or_none,
                metavar="SIZE",
                help="Refuse archives that unpack to more than this.  [default: the disk is the limit]",
            ),
            option(
                "--max-members",
                type=int,
                default=10_000_000,
                show_default=True,
                metavar="N",
                help="Refuse archives with more files and folders.",
            ),
            option(
                "--any-names",
                is_flag=True,
                help="Also unpack names that not every system can hold, or that look like other names.",
            ),
        ]
    ):
        function = decorate(function)
    return function


origins = _all_of(
    [
        option(
            "--catalog",
            default="fdf256",
            show_default=True,
            help="A built-in catalog (fdf256, fdf or fdh), or a TOML file.",
        ),
        option(
            "--mirror", multiple=True, help="Base URL or local folder that holds the archives; tried first."
        ),
    ]
)

selecting = _all_of(
    [
        option(
            "--split",
            "splits",
            multiple=True,
            type=click.Choice(SPLITS),
            help="Only this split (repeatable).",
        ),
        option(
            "--license",
            "licenses",
            multiple=True,
            metavar="NAME",
            help="Only images under this licence, such as cc-by-2 (repeatable).",
        ),
        option(
            "--ids",
            type=FILE,
            metavar="FILE",
            help="Only these images: one a line, as 123, train/123 or train/images/123.png; - is stdin.",
        ),
        option(
            "--sample", type=click.IntRange(1), metavar="N", help="Only so many of them, chosen by --seed."
        ),
        option("--seed", type=int, help="What --sample chooses by.  [default: 0]"),
    ]
)


def selection_of(arguments: dict[str, Any]) -> Selection:
    """The selection that the options of ``selecting`` ask for, taken out of click's arguments."""
    from fdf256_fast.selection import Ids, Selection

    taken = arguments.pop
    splits, licenses, ids = taken("splits"), taken("licenses"), taken("ids")
    sample, seed = taken("sample"), taken("seed")
    # From the environment it is for whichever command takes it.
    is_typed = click.get_current_context().get_parameter_source("seed") == ParameterSource.COMMANDLINE
    if seed is not None and sample is None and is_typed:
        raise click.UsageError("--seed chooses what --sample takes: give --sample N as well")
    return Selection(
        frozenset(splits),
        frozenset(licenses),
        Ids.read(ids) if ids is not None else None,
        sample,
        seed or 0,
    )


# ---- the loop --------------------------------------------------------------------------------------


def run(job: Coroutine[Any, Any, T]) -> T:
    """Run to the end; Ctrl-C, SIGTERM and SIGHUP cancel the work, which keeps what is verified."""

    async def work() -> T:
        # What the imports made lives as long as the process: the collector need not look at it again.
        gc.freeze()
        gc.enable()
        task, loop = asyncio.current_task(), asyncio.get_running_loop()
        assert task is not None
        # One that is ignored is so on purpose: nohup lets a run outlive its terminal.
        ends = [end for end in _ENDS if signal.getsignal(end) is not signal.SIG_IGN]
        for end in ends:
            loop.add_signal_handler(end, task.cancel)
        try:
            return await job
        except asyncio.CancelledError:
            for end in ends:
                # This run is ending already, and shall say so.
                loop.remove_signal_handler(end)
                signal.signal(end, signal.SIG_IGN)
            raise
        finally:
            for end in ends:
                # Not left to the loop, which closes first what the handler needs.
                loop.remove_signal_handler(end)

    running = work()
    try:
        return asyncio.run(running)
    except RuntimeError as error:
        # Even its end takes asyncio a thread, so that our own error may be covered by Python's.
        if "start new thread" in str(error):
            raise no_thread(error) from error
        raise
    finally:
        # Ctrl-C may have come before the loop had them; Python would complain that nobody awaited them.
        running.close()
        job.close()
