"""``fdf256 verify``."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fdf256_fast import local
from fdf256_fast.calls import aimed_at, say
from fdf256_fast.errors import IntegrityError
from fdf256_fast.options import PATH, Common, Interrupted, limits, option, run

if TYPE_CHECKING:
    from fdf256_fast.verification import Verification

TARGET = Path("data/fdf256")
FOR_LISTS = ("algorithm", "ignore_missing")
FOR_TREES = ("quick", "repair", "catalog", "mirror")


@click.command()
@click.argument("target", metavar="[TARGET|DIR]", type=PATH, required=False)
@option("--quick", is_flag=True, help="Look at presence and sizes only; read nothing.")
@option("--repair", is_flag=True, help="Fetch what is damaged or missing again, and nothing else.")
@option("--catalog", help="A built-in catalog, or a TOML file.  [default: what was installed]")
@option("--mirror", multiple=True, help="Base URL or local folder that holds the archives; tried first.")
@option("--strict", is_flag=True, help="Also fail on files that nobody expects, or bad lines of a list.")
@option("--sums", metavar="FILE", type=PATH, help='A list of digests; "-" for stdin.')
@option("--algorithm", metavar="ALGO", help="What the list's digests are, where it does not say.")
@option("--ignore-missing", is_flag=True, help="Files of the list that are not there are no failure.")
@limits
def verify(**arguments: Any) -> int:
    """Check every file of TARGET (default: data/fdf256) against its manifest, on all cores.

    Status 3 when anything is damaged or missing. A tree that another program unpacked, which has no
    manifest, is compared with the archives' directories, which are fetched for it.

    With --sums, check the files of a list that sha256sum, md5sum, b3sum or the like wrote; names in it
    begin at DIR (default: here).

    \b
    Examples:
      fdf256 verify data/fdf256 --repair
      fdf256 verify --sums SHA256SUMS downloads
    """  # noqa: D301 - click wants the character itself
    others = FOR_TREES if arguments["sums"] else FOR_LISTS
    for name in others:
        if arguments[name]:
            raise click.UsageError(
                f"--{name.replace('_', '-')} {'does not go' if arguments['sums'] else 'goes'} with --sums"
            )
    if arguments["sums"]:
        return local.verify_list(arguments)
    common = Common(arguments)
    try:
        with aimed_at(arguments["target"] or TARGET):
            found = _tree(arguments["target"], arguments, common)
    except (KeyboardInterrupt, asyncio.CancelledError) as error:
        words = "What was fetched is kept." if arguments["repair"] else "Nothing was changed."
        raise Interrupted(words) from error
    local.show_verification(found, common)
    if not common.as_json:
        _show_rest(found, common, arguments)
    return 0 if found.ok else IntegrityError.exit_status


def _tree(target: Path | None, arguments: dict[str, Any], common: Common) -> Verification:
    from fdf256_fast.tree import Checking, verify_tree

    catalog = None
    if arguments["catalog"]:
        from fdf256_fast.catalog import load_catalog

        catalog = load_catalog(arguments["catalog"])
    checking = Checking(
        is_quick=arguments["quick"],
        is_strict=arguments["strict"],
        repairs=arguments["repair"],
        catalog=catalog,
        mirrors=arguments["mirror"],
        limits=common.limits,
    )
    return run(verify_tree(target or TARGET, checking, common.progress))


def _show_rest(found: Verification, common: Common, arguments: dict[str, Any]) -> None:
    if found.ok or common.quiet:
        return
    if found.returned:
        say(f"Images that were to be forgotten are there: fdf256 forget {found.target} removes them.")
    if found.is_manifest:
        _show_advice(found, arguments)


def _show_advice(found: Verification, arguments: dict[str, Any]) -> None:
    download = _download_command(found, arguments)
    if found.fault or found.bad_line_count:
        say(f"{download} makes the manifest anew, and fetches only what is missing.")
    elif (found.missing or found.damaged) and arguments["repair"]:
        say("What is left could not be repaired: no archive has it, or something is in its way.")
    elif found.missing or found.damaged:
        again = download if found.checked == "crc32" else f"fdf256 verify {found.target} --repair"
        say(f"{again} fetches it again.")


def _download_command(found: Verification, arguments: dict[str, Any]) -> str:
    from fdf256_fast.record import download_command

    given = arguments["catalog"]
    command = download_command(Path(found.target))
    return f"fdf256 download {found.target} --catalog {given}" if given else command
