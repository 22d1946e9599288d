"""Is my photo in the dataset: ``search_user``."""

from __future__ import annotations

import errno
import os
import re
import stat
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from fdf256_fast._core import Job, search_metadata
from fdf256_fast.arguments import texts
from fdf256_fast.blocking import blocking
from fdf256_fast.cores import workers_of
from fdf256_fast.durable import storage_error
from fdf256_fast.errors import UsageError
from fdf256_fast.metadata import Entry, MetadataFile, Published, metadata_files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from fdf256_fast.catalog import Catalog
    from fdf256_fast.limits import Limits
    from fdf256_fast.progress import Progress
    from fdf256_fast.search_results import FoundImage, SearchResult

__all__ = ["Query", "Search", "has_folder", "is_image_there", "search", "search_user", "search_user_async"]

_ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG})
"""What the system says of a file that is not there, or whose name none could have."""


_SCHEME = re.compile("https?://", re.IGNORECASE)


class Query(NamedTuple):
    """Who is looked for; an image is found that any of it fits.

    ``users`` are Flickr NSIDs, which must match exactly; ``authors`` match in upper and lower case;
    ``photo_urls`` with ``http`` and ``https``, with and without a slash at their end.
    """

    users: tuple[str, ...] = ()
    authors: tuple[str, ...] = ()
    photo_urls: tuple[str, ...] = ()

    @classmethod
    def of(cls, users: Iterable[str], authors: Iterable[str], photo_urls: Iterable[str]) -> Query:
        """What is typed or pasted: blanks around users and addresses, which have none, do not count.

        Raises UsageError where nothing is looked for, or what could be nobody's.
        """
        query = cls(
            tuple(user.strip() for user in users), tuple(authors), tuple(url.strip() for url in photo_urls)
        )
        query._check()
        return query

    def _check(self) -> None:
        everything = (*self.users, *self.authors, *self.photo_urls)
        if not everything:
            raise UsageError(
                "there is nothing to search for",
                hint="Give --user-nsid NSID (such as 12345678@N00), --author NAME, or --photo-url URL.",
            )
        if not all(text.strip() for text in everything):
            raise UsageError("what is searched for must not be empty")
        for url in self.photo_urls:
            if not _SCHEME.sub("", url).strip("/"):
                raise UsageError(
                    f"{url} is the address of no photo",
                    hint="Such as http://www.flickr.com/photos/12345678@N00/6202652740/",
                )
        for author in self.authors:
            if not _is_text(author):
                raise UsageError(
                    f"the author {author!r} is not valid UTF-8, as every name in the metadata is",
                    hint="Type it in a terminal that is set to UTF-8, or search by --user-nsid.",
                )

    def __str__(self) -> str:
        parts = [f"user {user}" for user in self.users]
        parts += [f"author {author}" for author in self.authors]
        return " or ".join([*parts, *(f"photo {url}" for url in self.photo_urls)])


async def search_user_async(  # noqa: PLR0913 - the public call: each is a keyword that people type
    target: str | os.PathLike[str] = "data/fdf256",
    user_nsid: str | Iterable[str] = (),
    *,
    author: str | Iterable[str] = (),
    photo_url: str | Iterable[str] = (),
    catalog: str | Path | Catalog = "fdf256",
    mirrors: str | os.PathLike[str] | Iterable[str | os.PathLike[str]] = (),
    limits: Limits | None = None,
    progress: Progress | None = None,
) -> SearchResult:
    """Find the images of users, in every split: one pass over the metadata, in constant memory.

    The answer is that of a loop over ``json.load`` of the same files.  An image is found that any of the
    users, authors or addresses fits.

    Args:
        target: an installed tree, one that the published script made, or a metadata file.  Where it has no
            metadata, those of ``catalog`` are fetched alone, into the user's cache.
        user_nsid: one Flickr user NSID, such as ``12345678@N00``, or several; blanks around it do not count.
        author: names as the metadata have them, in upper or lower case.
        photo_url: addresses of photos on Flickr; blanks around them do not count.
        catalog: name of a built-in catalog, path of a catalog file, or a catalog.
        mirrors: base URLs or local folders that hold its archives, tried first.
        limits: threads, and what a download may take.
        progress: told of a download, where there is one.

    Returns:
        The images, and how many entries of which files were looked at.

    Raises:
        MetadataError: a metadata file is damaged, or lacks the field that is asked for; with the byte offset.
        StorageError: a file cannot be read, or images of a split are there and its metadata are not.
        UsageError: nothing is searched for, or what could be nobody's; a bad catalog.
        TransferError: the metadata are not here, and cannot be fetched.
    """
    from fdf256_fast.limits import Limits  # noqa: PLC0415 - the command does without
    from fdf256_fast.progress import Progress  # noqa: PLC0415

    query = Query.of(texts(user_nsid), texts(author), texts(photo_url))
    published = Published(catalog, texts(mirrors))
    receiver = progress or Progress()
    return await search(Path(target), query, published, limits or Limits(), lambda: receiver)


search_user = blocking(search_user_async, __name__, "search_user")
"""Like :func:`search_user_async`, but returns when it is done."""


async def search(
    target: Path, query: Query, published: Published, limits: Limits, progress: Callable[[], Progress]
) -> SearchResult:
    """:func:`search_user_async`, with its arguments in groups."""
    from fdf256_fast.watch import in_job  # noqa: PLC0415 - the command does without asyncio

    started = time.monotonic()
    files, fetched = await metadata_files(target, published, limits, progress)
    run = Search(target, query, files, limits, fetched=fetched, started=started)
    return await in_job(run.job, run.run)


class Search:
    """One search in files that are here."""

    def __init__(
        self,
        target: Path,
        query: Query,
        files: Sequence[MetadataFile],
        limits: Limits | None,
        *,
        fetched: bool,
        started: float,
    ) -> None:
        self.job = Job()
        self._target = target
        self._query = query
        self._files = files
        self._workers = workers_of(limits)
        self._fetched = fetched
        self._started = started

    def run(self) -> SearchResult:
        """Search, in this thread and the core's own.  Raises MetadataError, StorageError."""
        found = [self._found_in(file) for file in self._files]
        from fdf256_fast.search_results import SearchedFile, SearchResult  # noqa: PLC0415 - imported beside it

        searched = tuple(
            SearchedFile(str(file.path), file.split, entries, size)
            for file, (entries, size, _) in zip(self._files, found, strict=True)
        )
        images = tuple(
            image
            for file, (_, _, records) in zip(self._files, found, strict=True)
            for image in _images(file, records)
        )
        seconds = time.monotonic() - self._started
        return SearchResult(str(self._target), self._query, images, searched, self._fetched, seconds)

    def _found_in(self, file: MetadataFile) -> tuple[int, int, list[Entry]]:
        entries, size, records = search_metadata(
            self.job,
            file.path,
            self._workers,
            users=_encoded(self._query.users),
            authors=self._query.authors,
            photo_urls=_encoded(self._query.photo_urls),
        )
        return entries, size, [Entry(*record) for record in records]


def _is_text(text: str) -> bool:
    """Whether no half of a surrogate pair is in it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _encoded(texts: Sequence[str]) -> list[bytes]:
    return [text.encode("utf-8", "surrogatepass") for text in texts]


def _images(file: MetadataFile, entries: Sequence[Entry]) -> list[FoundImage]:
    from fdf256_fast.search_results import FoundImage  # noqa: PLC0415

    has_images = has_folder(file.images)
    images = []
    for entry in entries:
        is_installed = is_image_there(file.images, entry.number) if has_images else None
        path = file.image_path(entry.number)
        images.append(FoundImage(path, file.split, *entry, is_installed=is_installed))
    return images


def has_folder(folder: Path) -> bool:
    """Whether there is such a folder.  Raises StorageError where that cannot be told."""
    found = _looked_up(str(folder), os.stat)
    return found is not None and stat.S_ISDIR(found.st_mode)


def is_image_there(folder: Path, number: str) -> bool:
    """Whether ``folder`` has the image; a number that is no file name has none.

    Raises StorageError where that cannot be told: to leave out the credits of an image that is there would
    break its licence.
    """
    if "/" in number or "\0" in number:
        return False
    return _looked_up(f"{folder}/{number}.png", os.lstat) is not None


def _looked_up(path: str, look: Callable[[str], os.stat_result]) -> os.stat_result | None:
    try:
        return look(path)
    except OSError as error:
        if error.errno in _ABSENT:
            return None
        raise storage_error("look for", error, Path(path)) from error
    except ValueError:  # half a surrogate pair, which no file system here has
        return None
