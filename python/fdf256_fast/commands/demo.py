"""``fdf256 demo``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from fdf256_fast.options import PATH, Common, limits, option, run

if TYPE_CHECKING:
    from pathlib import Path


@click.command()
@click.argument("target", type=PATH, required=False)
@option("--images", type=click.IntRange(4, 100_000), default=1200, show_default=True)
@limits
def demo(target: Path | None, images: int, **arguments: Any) -> None:
    """Install a small made-up dataset from a server on this machine, cut off half-way and resumed."""
    from fdf256_fast.demo import run_demo

    common = Common(arguments)
    show = (lambda _: None) if common.as_json or common.quiet else click.echo
    report = run(run_demo(target, images, common.limits, common.progress, show))
    common.show(report, verb="Installed")
