"""``fdf256 search-user``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fdf256_fast.options import Common, limits, option, print_json, run

if TYPE_CHECKING:
    from fdf256_fast.search import SearchResult


@click.command("search-user")
@click.argument("target", type=click.Path(path_type=Path), default=Path("data/fdf256"))
@option("--user-nsid", multiple=True, metavar="NSID", help="A Flickr user; may be repeated.")
@option("--author", multiple=True, metavar="NAME", help="An author's name, in upper or lower case.")
@option("--photo-url", multiple=True, metavar="URL", help="A photo's page on Flickr.")
@option("--plain", is_flag=True, help="Print the path of one image a line, and nothing else on stdout.")
@option("--catalog", default="fdf256", show_default=True, help="A built-in catalog, or a TOML file.")
@option("--mirror", multiple=True, help="Base URL or local folder that holds the archives; tried first.")
@limits
def search_user(
    target: Path,
    user_nsid: tuple[str, ...],
    author: tuple[str, ...],
    photo_url: tuple[str, ...],
    plain: bool,
    **arguments: Any,
) -> None:
    """Find the images of a Flickr user in TARGET (default: data/fdf256), and say how to get them removed.

    TARGET is an installed dataset, one that the published script made, or a fdf_metainfo.json. Where it has
    no metadata, they are fetched alone, into your cache folder. An image is found that any of the options
    fits.

    Example: fdf256 search-user data/fdf256 --user-nsid 12345678@N00
    """
    from fdf256_fast.errors import UsageError
    from fdf256_fast.metadata import Published
    from fdf256_fast.search import REMOVAL, Query, search

    published = Published(arguments.pop("catalog"), arguments.pop("mirror"))
    common = Common(arguments)
    if plain and common.as_json:
        raise UsageError("--plain and --json exclude each other")
    query = Query(user_nsid, author, photo_url)
    result = run(search(target, query, published, common.limits, lambda: common.progress))
    if common.as_json:
        print_json(result.as_json())
        return
    if plain:
        from fdf256_fast.console import one_line

        for image in result.images:
            click.echo(one_line(image.path))
        if not common.quiet:
            click.echo(f"{one_line(result.summary)}\n\n{REMOVAL}", err=True)
        return
    _show(result)


def _show(result: SearchResult) -> None:
    from fdf256_fast.console import one_line, print_table, print_text
    from fdf256_fast.search import REMOVAL

    if result.images:
        is_tree = any(image.is_installed is not None for image in result.images)
        columns = ["image", "split", "title", "author", "license", "photo"]
        rows = [
            [image.path, image.split, image.title, image.author, image.license, image.photo_url]
            for image in result.images
        ]
        rows = [list(map(one_line, row)) for row in rows]
        if is_tree:
            columns.append("installed")
            for image, row in zip(result.images, rows, strict=True):
                row.append("yes" if image.is_installed else "no")
        print_table("", columns, rows)
        print_text("")
    print_text(f"{result.summary}\n\n{REMOVAL}")
