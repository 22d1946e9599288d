"""``fdf256 demo``."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import click

from fdf256_fast.options import PATH, Common, Interrupted, limits, option, run

if TYPE_CHECKING:
    from pathlib import Path


@click.command()
@click.argument("target", type=PATH, required=False)
@option(
    "--images",
    type=click.IntRange(4, 100_000),
    default=1200,
    show_default=True,
    help="How many images to make up.",
)
@limits
def demo(target: Path | None, images: int, **arguments: Any) -> None:
    """Install a small made-up dataset from a server on this machine, cut off half-way and resumed.

    Example: fdf256 demo /tmp/demo --images 300
    """
    from fdf256_fast.demo import run_demo

    common = Common(arguments)
    show = (lambda _: None) if common.as_json or common.quiet else click.echo
    try:
        report = run(run_demo(target, images, common.limits, common.progress, show))
    except (KeyboardInterrupt, asyncio.CancelledError) as error:
        left = f"What it had made so far is in {target}" if target is not None else "Nothing of it is left"
        raise Interrupted(f"The demo cannot be continued. {left}.") from error
    common.show(report, verb="Installed")
