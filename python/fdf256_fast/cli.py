"""The command ``fdf256``: the only module that prints (beside console.py) or exits.

Nothing heavy is imported before a command runs, so that ``--version`` and ``--help`` answer at once.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import signal
import sys
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click

from fdf256_fast.errors import Error, StorageError, UsageError, no_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from fdf256_fast.limits import Limits
    from fdf256_fast.progress import Progress
    from fdf256_fast.report import Report

__all__ = ["main"]

INTERRUPTED = 130
KEPT = "What was verified is kept; the same command goes on from there."
_ENDS = (signal.SIGTERM, signal.SIGHUP)
F = TypeVar("F", bound="Callable[..., Any]")


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
        words = stop.words if isinstance(stop, _Interrupted) else KEPT
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


class _Interrupted(click.Abort):
    """Ctrl-C or SIGTERM, with what is to be said of a command that keeps nothing."""

    def __init__(self, words: str) -> None:
        super().__init__(words)
        self.words = words


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
    _print_json({**report.as_json(), "ok": False, "error": message})


def _print_json(report: dict[str, Any]) -> None:
    click.echo(json.dumps(report))


# ---- options that several commands share -----------------------------------------------------------


def _size(_: click.Context, __: click.Parameter, value: str) -> int:
    from fdf256_fast.units import parse_size  # noqa: PLC0415

    try:
        return parse_size(value)
    except UsageError as error:
        raise click.BadParameter(str(error)) from error


def _size_or_none(context: click.Context, parameter: click.Parameter, value: str | None) -> int | None:
    return None if value is None else _size(context, parameter, value)


def _rate(_: click.Context, __: click.Parameter, value: str | None) -> float | None:
    from fdf256_fast.units import parse_rate  # noqa: PLC0415

    try:
        return None if value is None else parse_rate(value)
    except UsageError as error:
        raise click.BadParameter(str(error)) from error


def _option(*names: str, **settings: Any) -> Callable[[F], F]:
    """An option that can also come from the environment: ``--limit-rate`` from ``FDF256_LIMIT_RATE``."""
    variable = "FDF256_" + names[0].removeprefix("--").upper().replace("-", "_")
    return click.option(*names, envvar=variable, **settings)


def _all_of(options: Sequence[Callable[[F], F]]) -> Callable[[F], F]:
    def decorate(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


_workers = _option("--workers", type=int, default=0, help="Threads that unpack and hash; one per core.")

_screen = _all_of(
    [
        _option(
            "--progress",
            type=click.Choice(["auto", "rich", "plain", "none"]),
            default="auto",
            show_default=True,
            help="How progress is shown.",
        ),
        _option("--json", "as_json", is_flag=True, help="Print one JSON object at the end."),
        _option("--quiet", "-q", is_flag=True, help="Print errors only."),
        _option("--verbose", "-v", count=True, help="Log requests and retries to stderr."),
    ]
)

_limits = _all_of(
    [
        _option(
            "--connections",
            type=int,
            help="HTTP requests at once.  [default: 16, and more where each is held back]",
        ),
        _option(
            "--memory",
            callback=_size,
            metavar="SIZE",
            default="256MiB",
            show_default=True,
            help="Received bytes that may wait for their turn.",
        ),
        _workers,
        _option("--limit-rate", callback=_rate, metavar="RATE", help="Bytes per second, such as 10MB/s."),
        _option(
            "--retries",
            type=int,
            default=8,
            show_default=True,
            help="Failures in a row, with no progress between, before giving up.",
        ),
        _option(
            "--timeout",
            type=float,
            default=30.0,
            show_default=True,
            help="Seconds that a connection may be silent.",
        ),
        _option("--header", multiple=True, metavar="'K: V'", help="Sent to the sources' hosts only."),
        _screen,
    ]
)


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


def _archive_limits(function: F) -> F:
    """What an archive may ask for before it is refused."""
    for decorate in reversed(
        [
            _option(
                "--max-ratio",
                type=int,
                default=250,
                show_default=True,
                metavar="N",
                help="Refuse archives that unpack to more than N times their size, and to over 1 GiB.",
            ),
            _option(
                "--max-unpacked",
                callback=_size_or_none,
                metavar="SIZE",
                help="Refuse archives that unpack to more than this.  [default: the disk is the limit]",
            ),
            _option(
                "--max-members",
                type=int,
                default=10_000_000,
                show_default=True,
                metavar="N",
                help="Refuse archives with more files and folders.",
            ),
            _option(
                "--any-names",
                is_flag=True,
                help="Also unpack names that not every system can hold, or that look like other names.",
            ),
        ]
    ):
        function = decorate(function)
    return function


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


class _Common:
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
            level = logging.DEBUG if verbose > 1 else logging.INFO
            logging.basicConfig(level=level, format="%(relativeCreated)8d ms %(name)s: %(message)s")

    @property
    def limits(self) -> Limits:
        from fdf256_fast.limits import Limits  # noqa: PLC0415

        return Limits(**self._limits)

    @property
    def progress(self) -> Progress:
        if self.quiet or self._progress == "none":
            # Without rich, which takes a tenth of a second to import.
            from fdf256_fast.progress import Progress  # noqa: PLC0415

            return Progress()
        from fdf256_fast.console import choose_progress  # noqa: PLC0415

        return choose_progress(self._progress)

    def show(self, report: Report, *, verb: str, is_local: bool = False) -> None:
        """Print what was done: JSON, a summary, or nothing."""
        if self.as_json:
            _print_json(report.as_json())
        elif not self.quiet:
            from fdf256_fast.console import print_report  # noqa: PLC0415
            from fdf256_fast.units import format_bytes  # noqa: PLC0415

            if report.already_installed:
                click.echo(f"{report.target} is complete: {report.files} files. Nothing to download.")
            elif report.dry_run:
                total = format_bytes(sum(archive.bytes for archive in report.archives))
                names = ", ".join(archive.name for archive in report.archives)
                click.echo(f"Would fetch {total} for {report.files} files into {report.target}: {names}.")
            else:
                print_report(report.as_json(), verb=verb, is_local=is_local)


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise click.BadParameter(f"{text!r} is not 'Name: value'", param_hint="--header")
    return name.strip(), value.strip()


def _run(job: Coroutine[Any, Any, Report]) -> Report:
    """Run to the end; Ctrl-C, SIGTERM and SIGHUP cancel the work, which keeps what is verified."""

    async def run() -> Report:
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

    running = run()
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


# ---- commands --------------------------------------------------------------------------------------


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(version("fdf256_fast"), message="fdf256 %(version)s")
def _command() -> None:
    """Install the FDF256 dataset, or fetch any large file, in one verified pass.

    Every option can come from the environment: --connections from FDF256_CONNECTIONS.
    """


@_command.command()
@click.argument("target", type=click.Path(path_type=Path), default=Path("data/fdf256"))
@_option("--catalog", default="fdf256", show_default=True, help="A built-in catalog, or a TOML file.")
@_option("--mirror", multiple=True, help="Base URL or local folder that holds the archives; tried first.")
@_option("--keep-archives", is_flag=True, help="Also keep the archives, in TARGET/.fdf256/archives.")
@_option("--metadata-only", is_flag=True, help="Only the archives with metadata.")
@_option("--dry-run", is_flag=True, help="Only print what would be fetched.")
@_archive_limits
@_limits
def download(target: Path, catalog: str, mirror: tuple[str, ...], **arguments: Any) -> None:
    """Install a dataset into TARGET (default: data/fdf256).

    What was interrupted goes on where it stopped: run the same command again.

    Example: fdf256 download data/fdf256 --mirror /mnt/usb/fdf256
    """
    from fdf256_fast.catalog import load_catalog  # noqa: PLC0415
    from fdf256_fast.installation import Options, install_catalog  # noqa: PLC0415

    common = _Common(arguments)
    options = Options(mirrors=mirror, limits=common.limits, **arguments)
    report = _run(install_catalog(target, load_catalog(catalog), options, common.progress))
    common.show(report, verb="Installed")


@_command.command()
@click.argument("urls", metavar="URL...", nargs=-1, required=True)
@_option("--output", "-o", type=click.Path(path_type=Path), help="File to write (for one URL).")
@_option(
    "--directory",
    "-d",
    type=click.Path(path_type=Path),
    default=Path(),
    help="Folder to write or unpack into. [default: here]",
)
@_option("--digest", metavar="ALGO:HEX", help="What the file must have (for one URL).")
@_option("--extract", is_flag=True, help="Unpack the archive instead of keeping it, in one pass.")
@_archive_limits
@_limits
def fetch(
    urls: tuple[str, ...],
    output: Path | None,
    directory: Path,
    digest: str | None,
    extract: bool,
    **arguments: Any,
) -> None:
    """Fetch files, many spans at once, resuming what an earlier call left.

    Example: fdf256 fetch https://example.org/model.zip --extract -d model --digest sha256:9f86d0…
    """
    from fdf256_fast.catalog import Digest  # noqa: PLC0415
    from fdf256_fast.fetching import Wanted, extract_url, fetch_files, file_name  # noqa: PLC0415
    from fdf256_fast.report import Report  # noqa: PLC0415

    common = _Common(arguments)
    if len(urls) > 1 and (output or digest):
        raise click.UsageError("--output and --digest are for one URL")
    if extract and output:
        raise click.UsageError("--extract unpacks into a folder: give it with --directory")
    parsed = Digest.parse(digest) if digest else None
    if extract:
        limits, progress = common.limits, common.progress
        reports = [_run(extract_url(url, directory, parsed, limits, progress)) for url in urls]
        common.show(Report.of(reports), verb="Unpacked")
        return
    wanted = [Wanted(url, output or directory / file_name(url), parsed) for url in urls]
    if len({one.path for one in wanted}) < len(wanted):
        raise click.UsageError("two of the URLs would be written to the same file")
    common.show(_run(fetch_files(wanted, common.limits, common.progress)), verb="Fetched")


@_command.command()
@click.argument("archives", metavar="ARCHIVE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@_option(
    "--directory",
    "-d",
    type=click.Path(path_type=Path),
    default=Path(),
    help="Folder to unpack into. [default: here]",
)
@_option("--digest", metavar="ALGO:HEX", help="What the archive must have (for one archive).")
@_option("--force", is_flag=True, help="Replace files that are there already.")
@_archive_limits
@_workers
@_screen
def extract(
    archives: tuple[Path, ...], directory: Path, digest: str | None, force: bool, **arguments: Any
) -> None:
    """Unpack local archives, all of them or nothing: zip, tar, tar.gz, tar.zst, tar.xz, tar.bz2.

    Every file is checked, nothing appears in the folder before all is whole, and hostile archives are
    refused. "-" is the standard input.

    Example: fdf256 extract cc-by-2.zip metainfo.zip -d data/fdf256
    """
    from fdf256_fast.catalog import Digest  # noqa: PLC0415
    from fdf256_fast.extraction import Order, extract_files  # noqa: PLC0415

    common = _Common(arguments)
    parsed = Digest.parse(digest) if digest else None
    order = Order(archives, directory, parsed, force=force, limits=common.limits)
    try:
        report = _run(extract_files(order, common.progress))
    except (KeyboardInterrupt, asyncio.CancelledError) as error:
        raise _Interrupted("Archives are unpacked as a whole or not at all.") from error
    common.show(report, verb="Unpacked", is_local=True)


@_command.command()
@click.argument("target", type=click.Path(path_type=Path), required=False)
@_option("--images", type=click.IntRange(4, 100_000), default=1200, show_default=True)
@_limits
def demo(target: Path | None, images: int, **arguments: Any) -> None:
    """Install a small made-up dataset from a server on this machine, cut off half-way and resumed."""
    from fdf256_fast.demo import run_demo  # noqa: PLC0415

    common = _Common(arguments)
    show = (lambda _: None) if common.as_json or common.quiet else click.echo
    report = _run(run_demo(target, images, common.limits, common.progress, show))
    common.show(report, verb="Installed")
