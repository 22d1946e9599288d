"""What the commands do that work on this machine's files, once their options are read.

Their results' modules are imported by the main thread while the work goes on.
"""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fdf256_fast.calls import Common, Interrupted, aimed_at, complain, print_json, say
from fdf256_fast.errors import IntegrityError, UsageError
from fdf256_fast.foreground import in_foreground, is_cancelled

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fdf256_fast.search_results import SearchResult
    from fdf256_fast.verification import Verification

__all__ = ["extract", "search_user", "show_verification", "verify_list"]


@contextlib.contextmanager
def _ended_with(words: str) -> Iterator[None]:
    """Whoever interrupts the block is told ``words``."""
    try:
        yield
    except BaseException as error:
        if is_cancelled(error):
            raise Interrupted(words) from error
        raise


def extract(arguments: dict[str, Any]) -> int:
    """``fdf256 extract``; returns the exit status."""
    from fdf256_fast.extraction import Extraction, Order

    common = Common(arguments)
    digest = arguments["digest"]
    if digest is not None:
        from fdf256_fast.catalog import Digest

        digest = Digest.parse(digest)
    order = Order(
        arguments["archives"], arguments["directory"], digest, arguments["force"], common.local_limits
    )
    run = Extraction(order)
    meanwhile = common.shown(run.title, run.snapshot, "report", *(() if common.quiet else ("plain",)))
    with _ended_with("Archives are unpacked as a whole or not at all."):
        report = in_foreground(run.job, run.run, meanwhile)
    common.show(report, verb="Unpacked", is_local=True)
    return 0


def verify_list(arguments: dict[str, Any]) -> int:
    """``fdf256 verify --sums``; returns the exit status."""
    from fdf256_fast.listed import ListCheck, ListOrder

    common = Common(arguments)
    order = ListOrder(
        arguments["sums"],
        arguments["target"] or Path(),
        arguments["algorithm"],
        arguments["ignore_missing"],
        arguments["strict"],
        common.local_limits,
    )
    check = ListCheck(order)
    meanwhile = common.shown(check.title, check.snapshot, "verification")
    with _ended_with("Nothing was changed."), aimed_at(order.folder):
        found = in_foreground(check.job, check.run, meanwhile)
    show_verification(found, common)
    return 0 if found.ok else IntegrityError.exit_status


def show_verification(found: Verification, common: Common) -> None:
    """JSON, what is wrong and a summary, or nothing."""
    if common.as_json:
        print_json(found.as_json())
    elif found.is_plain:
        if not common.quiet:
            # Without rich, which takes as long to import as 10,000 files to check.
            say(found.summary)
    elif not found.ok or not common.quiet:
        from fdf256_fast.console import print_verification

        print_verification(found.as_json(), found.summary)


def search_user(arguments: dict[str, Any]) -> int:
    """``fdf256 search-user``; returns the exit status."""
    from fdf256_fast.metadata import Published, local_files
    from fdf256_fast.search import Query, Search

    started = time.monotonic()
    published = Published(arguments["catalog"], arguments["mirror"])
    common = Common(arguments)
    if arguments["plain"] and common.as_json:
        raise UsageError("--plain and --json exclude each other")
    query = Query.of(arguments["user_nsid"], arguments["author"], arguments["photo_url"])
    target = arguments["target"]
    files = local_files(target)
    if files:
        run = Search(target, query, files, common.local_limits, fetched=False, started=started)
        with _ended_with("A search changes nothing."):
            result = in_foreground(run.job, run.run, _import_results)
    else:
        from fdf256_fast.options import run as run_loop
        from fdf256_fast.search import search

        result = run_loop(search(target, query, published, common.limits, lambda: common.progress))
    _show_found(result, common, is_plain=arguments["plain"])
    return 0


def _import_results() -> None:
    from fdf256_fast import plain, search_results  # noqa: F401 - while others search


def _show_found(result: SearchResult, common: Common, *, is_plain: bool) -> None:
    from fdf256_fast.plain import one_line, print_table, print_text
    from fdf256_fast.search_results import REMOVAL

    if common.as_json:
        print_json(result.as_json())
        return
    if is_plain:
        for image in result.images:
            say(one_line(image.path))
        if not common.quiet:
            complain(f"{one_line(result.summary)}\n\n{REMOVAL}")
        return
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
        print_table(columns, rows)
        print_text("")
    print_text(f"{result.summary}\n\n{REMOVAL}")
