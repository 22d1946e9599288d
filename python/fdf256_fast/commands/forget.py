"""``fdf256 forget``."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import click

from fdf256_fast.calls import aimed_at
from fdf256_fast.options import PATH, Common, Interrupted, option, print_json, run, screen

if TYPE_CHECKING:
    from pathlib import Path

    from fdf256_fast.forgetting import Forgotten


@click.command()
@click.argument("target", type=PATH)
@option("--user-nsid", multiple=True, metavar="NSID", help="All images of this Flickr user (repeatable).")
@option("--ids", metavar="FILE", type=PATH, help='One image a line; "-" for stdin.')
@option("--dry-run", is_flag=True, help="Only say what would be removed.")
@screen
def forget(
    target: Path, user_nsid: tuple[str, ...], ids: Path | None, dry_run: bool, **arguments: Any
) -> None:
    """Remove images from TARGET, and keep them out of it from now on.

    Later downloads and repairs leave them out, and verify tells if they come back. Only paths are written
    down, no names. Without --user-nsid and --ids, what an earlier call did not come to is done.

    \b
    Examples:
      fdf256 forget data/fdf256 --user-nsid 12345678@N00
      echo train/123 | fdf256 forget data/fdf256 --ids -
    """  # noqa: D301 - click wants the character itself
    from fdf256_fast.forgetting import forget_images, nothing_forgotten, paths_of, paths_of_users
    from fdf256_fast.selection import Ids

    common = Common(arguments)
    with aimed_at(target):
        wanted = set(paths_of(Ids.read(ids))) if ids is not None else set()

    async def work() -> Forgotten:
        if user_nsid:
            wanted.update(await paths_of_users(target, user_nsid))
            if not wanted:
                return await nothing_forgotten(target, dry_run=dry_run)
        return await forget_images(target, wanted, dry_run=dry_run)

    try:
        with aimed_at(target):
            done = run(work())
    except (KeyboardInterrupt, asyncio.CancelledError) as error:
        raise Interrupted("What is recorded is kept; the same command goes on from there.") from error
    if common.as_json:
        print_json(done.as_json())
    elif common.quiet:
        return
    elif user_nsid and not wanted:
        click.echo(f"No image of {', '.join(user_nsid)} is in the metadata. Nothing was changed.")
    else:
        from fdf256_fast.console import print_forgotten

        print_forgotten(done.as_json())
