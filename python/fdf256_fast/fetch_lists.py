"""What ``fetch`` is told by files: URLs one a line, and digests by file name."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from fdf256_fast._core import Job
from fdf256_fast.catalog import Digest
from fdf256_fast.durable import storing
from fdf256_fast.errors import UsageError
from fdf256_fast.fetching import Wanted, fetch_files, file_name
from fdf256_fast.progress import Progress
from fdf256_fast.sums import STANDARD_INPUT, named_digests, read_sums, standard_input
from fdf256_fast.watch import in_job, in_thread

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from fdf256_fast.limits import Limits

__all__ = ["read_digests", "read_urls", "with_digests"]

URLS_BYTES_MAX = 1 << 26
"""A list of half a million URLs."""


def read_urls(path: Path) -> list[tuple[str, Digest | None]]:
    """URLs, each with its digest if there is one: ``URL`` or ``URL ALGO:HEX``, one a line.

    Empty lines and those that begin with ``#`` do not count; ``-`` is the standard input.  Raises UsageError
    that names the line; StorageError.
    """
    if str(path) == STANDARD_INPUT:
        data = standard_input().read(URLS_BYTES_MAX + 1)
    else:
        with storing("read", path), path.open("rb") as file:
            data = file.read(URLS_BYTES_MAX + 1)
    if len(data) > URLS_BYTES_MAX:
        raise UsageError(f"{path} is too large for a list of URLs")
    found = []
    for number, line in enumerate(data.decode("utf-8-sig", "replace").splitlines(), start=1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if len(words) > 2 or "://" not in words[0]:
            raise UsageError(
                f"{path}: line {number}: {line[:80]!r} is no URL",
                hint="One URL a line; after it, if known, its digest as ALGO:HEX.",
            )
        try:
            digest = Digest.parse(words[1]) if len(words) > 1 else None
        except UsageError as error:
            raise UsageError(f"{path}: line {number}: {error}") from error
        found.append((words[0], digest))
    if not found:
        raise UsageError(f"{path}: there is no URL in it")
    return found


async def read_digests(source: str, limits: Limits) -> Mapping[str, Digest]:
    """The digests of a list that is a local file or at a URL, by file name.

    Raises IntegrityError where it is none; StorageError, TransferError.
    """
    if "://" not in source:
        job = Job()
        sums = await in_job(job, read_sums, Path(source), None, job)
    else:
        with storing("make", Path("a temporary folder")):
            folder = await in_thread(tempfile.TemporaryDirectory, prefix="fdf256-")
        try:
            path = Path(folder.name) / file_name(source)
            await fetch_files([Wanted(source, path)], limits, Progress())
            sums = await in_thread(read_sums, path)
        finally:
            await in_thread(folder.cleanup)
    found = await in_thread(named_digests, sums)
    return {name: Digest.parse(digest) for name, digest in found.items()}


def with_digests(
    urls: Sequence[tuple[str, Digest | None]], digests: Mapping[str, Digest], source: str
) -> Iterable[tuple[str, Digest]]:
    """Each URL with its own digest, or the one that the list ``source`` has for its file name.

    Raises UsageError for a URL without: what cannot be checked is not fetched.
    """
    for url, digest in urls:
        found = digest or digests.get(file_name(url))
        if found is None:
            raise UsageError(
                f"{source}: there is no digest for {file_name(url)}",
                hint="Fetch it without --sums, or give its digest with --digest.",
            )
        yield url, found
