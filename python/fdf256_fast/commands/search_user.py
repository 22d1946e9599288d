"""``fdf256 search-user``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from fdf256_fast import local
from fdf256_fast.options import PATH, described, limits, option


@click.command("search-user")
@click.argument("target", type=PATH, default=Path("data/fdf256"))
@option("--user-nsid", multiple=True, metavar="NSID", help="A Flickr user; may be repeated.")
@option("--author", multiple=True, metavar="NAME", help="An author's name, in upper or lower case.")
@option("--photo-url", multiple=True, metavar="URL", help="A photo's page on Flickr.")
@option("--plain", is_flag=True, help="Print the path of one image a line, and nothing else on stdout.")
@option("--catalog", default="fdf256", show_default=True, help="A built-in catalog, or a TOML file.")
@option("--mirror", multiple=True, help="Base URL or local folder that holds the archives; tried first.")
@described("quiet", "Print no progress, and with --plain no summary. What is found is printed all the same.")
@limits
def search_user(**arguments: Any) -> int:
    """Find the images of a Flickr user in TARGET (default: data/fdf256), and say how to get them removed.

    TARGET is an installed dataset, one that the published script made, or a fdf_metainfo.json. Where it has
    no metadata, they are fetched alone, into your cache folder. An image is found that any of the options
    fits.

    Example: fdf256 search-user data/fdf256 --user-nsid 12345678@N00
    """
    return local.search_user(arguments)
