"""``fdf256 demo``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from fdf256_fast.options import Common, limits, option, run


@click.command()
@click.argument("target", type=click.Path(path_type=Path), required=False)
@option("--images", type=click.IntRange(4, 100_000), default=1200, show_default=True)
@limits
def demo(target: Path | None, images: int, **arguments: Any) -> None:
    """Install a small made-up dataset from a server on this machine, cut off half-way and resumed."""
    from fdf256_fast.demo import run_demo

    common = Common(arguments)
    show = (lambda _: None) if common.as_json or common.quiet else click.echo
    report = run(run_demo(target, images, common.limits, common.progress, show))
    common.show(report, verb="Installed")
