"""Is my photo in the dataset: ``search_user``."""

from __future__ import annotations

import os
import time
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fdf256_fast._core import Job, search_metadata
from fdf256_fast.blocking import blocking
from fdf256_fast.errors import UsageError
from fdf256_fast.limits import Limits
from fdf256_fast.metadata import Entry, MetadataFile, Published, metadata_files
from fdf256_fast.progress import Progress
from fdf256_fast.watch import in_job, in_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from fdf256_fast.catalog import Catalog

__all__ = [
    "REMOVAL",
    "FoundImage",
    "Query",
    "SearchResult",
    "SearchedFile",
    "search",
    "search_user",
    "search_user_async",
]

REMOVAL = """\
To have a photo of yours removed from FDF256:
 1. On Flickr, do one of these:
    - give the photo the tag no_cv: it is then not to be used for computer vision;
    - set its license to "None" (all rights reserved), or to a Creative Commons license with NoDerivs: it may
      then not be passed on in changed form;
    - make it private, so that only you, your friends or your family see it;
    - delete it.
 2. Write to hakon.hukkelas@ntnu.no, and give your Flickr user NSID in the mail."""
"""What the dataset's authors ask of people who want a photo removed."""


@dataclass(frozen=True, slots=True)
class Query:
    """Who is looked for; an image is found that any of it fits.

    ``users`` are Flickr NSIDs, which must match exactly; ``authors`` match in upper and lower case;
    ``photo_urls`` with ``http`` and ``https``, with and without a slash at their end.
    """

    users: tuple[str, ...] = ()
    authors: tuple[str, ...] = ()
    photo_urls: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        everything = (*self.users, *self.authors, *self.photo_urls)
        if not everything:
            raise UsageError(
                "there is nothing to search for",
                hint="Give --user-nsid NSID (such as 12345678@N00), --author NAME, or --photo-url URL.",
            )
        if not all(text.strip() for text in everything):
            raise UsageError("what is searched for must not be empty")

    def __str__(self) -> str:
        parts = [f"user {user}" for user in self.users]
        parts += [f"author {author}" for author in self.authors]
        return " or ".join([*parts, *(f"photo {url}" for url in self.photo_urls)])


@dataclass(frozen=True, slots=True)
class FoundImage:
    """One image; ``path`` is relative to the target (``123.png`` where the split is not known).

    What the metadata do not tell is empty.  ``is_installed`` says whether the image is there, None where
    there are metadata alone.
    """

    path: str
    split: str
    number: str
    title: str
    author: str
    user_nsid: str
    license: str
    license_url: str
    photo_url: str
    is_installed: bool | None = None


@dataclass(frozen=True, slots=True)
class SearchedFile:
    """A metadata file that was searched, and how many images and bytes it has."""

    path: str
    split: str
    entries: int
    bytes: int


@dataclass(frozen=True, slots=True)
class SearchResult:
    """What was found, in the order of the files; ``fetched`` says that the target had no metadata."""

    target: str
    query: Query
    images: tuple[FoundImage, ...]
    files: tuple[SearchedFile, ...]
    fetched: bool
    seconds: float

    @property
    def entries(self) -> int:
        """Images that were looked at."""
        return sum(file.entries for file in self.files)

    @property
    def summary(self) -> str:
        """One sentence for people: what was found, and in which files."""
        count = len(self.images)
        found = "No image" if not count else "One image" if count == 1 else f"{count:,} images"
        files = " and ".join(f"{file.entries:,} of {file.path}" for file in self.files)
        return f"{found} of {self.query}, among {self.entries:,} entries ({files})."

    def as_json(self) -> dict[str, Any]:
        """The object that ``--json`` prints."""
        return {
            "ok": True,
            "error": None,
            "target": self.target,
            "query": {name: list(texts) for name, texts in asdict(self.query).items()},
            "images": [asdict(image) for image in self.images],
            "files": [asdict(file) for file in self.files],
            "entries": self.entries,
            "fetched": self.fetched,
            "seconds": round(self.seconds, 3),
            "removal": REMOVAL,
        }


async def search_user_async(  # noqa: PLR0913 - the public call: each is a keyword that people type
    target: str | os.PathLike[str] = "data/fdf256",
    user_nsid: str | Iterable[str] = (),
    *,
    author: str | Iterable[str] = (),
    photo_url: str | Iterable[str] = (),
    catalog: str | Path | Catalog = "fdf256",
    mirrors: Iterable[str | os.PathLike[str]] = (),
    limits: Limits | None = None,
    progress: Progress | None = None,
) -> SearchResult:
    """Find the images of users, in every split: one pass over the metadata, in constant memory.

    The answer is that of a loop over ``json.load`` of the same files.  An image is found that any of the
    users, authors or addresses fits.

    Args:
        target: an installed tree, one that the published script made, or a metadata file.  Where it has no
            metadata, those of ``catalog`` are fetched alone, into the user's cache.
        user_nsid: one Flickr user NSID, such as ``12345678@N00``, or several.
        author: names as the metadata have them, in upper or lower case.
        photo_url: addresses of photos on Flickr.
        catalog: name of a built-in catalog, path of a catalog file, or a catalog.
        mirrors: base URLs or local folders that hold its archives, tried first.
        limits: threads, and what a download may take.
        progress: told of a download, where there is one.

    Returns:
        The images, and how many entries of which files were looked at.

    Raises:
        MetadataError: a metadata file is damaged, or lacks the field that is asked for; with the byte offset.
        StorageError: a file cannot be read.
        UsageError: nothing is searched for, or a bad catalog.
        TransferError: the metadata are not here, and cannot be fetched.
    """
    query = Query(_texts(user_nsid), _texts(author), _texts(photo_url))
    published = Published(catalog, tuple(os.fspath(mirror) for mirror in mirrors))
    receiver = progress or Progress()
    return await search(Path(target), query, published, limits or Limits(), lambda: receiver)


search_user = blocking(search_user_async)
"""Like :func:`search_user_async`, but returns when it is done."""


def _texts(given: str | Iterable[str]) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given)


async def search(
    target: Path, query: Query, published: Published, limits: Limits, progress: Callable[[], Progress]
) -> SearchResult:
    """:func:`search_user_async`, with its arguments in groups."""
    started = time.monotonic()
    files, fetched = await metadata_files(target, published, limits, progress)
    images: list[FoundImage] = []
    searched: list[SearchedFile] = []
    job = Job()
    for file in files:
        call = partial(
            search_metadata,
            job,
            file.path,
            limits.worker_threads,
            users=_encoded(query.users),
            # Half a surrogate pair is in nobody's name.
            authors=[author.encode("utf-8", "replace").decode() for author in query.authors],
            photo_urls=_encoded(query.photo_urls),
        )
        entries, size, found = await in_job(job, call)
        searched.append(SearchedFile(str(file.path), file.split, entries, size))
        images += await in_thread(_images, file, [Entry(*record) for record in found])
    seconds = time.monotonic() - started
    return SearchResult(str(target), query, tuple(images), tuple(searched), fetched, seconds)


def _encoded(texts: Sequence[str]) -> list[bytes]:
    return [text.encode("utf-8", "surrogatepass") for text in texts]


def _images(file: MetadataFile, entries: Sequence[Entry]) -> list[FoundImage]:
    has_images = file.images.is_dir()
    images = []
    for entry in entries:
        is_installed = is_image_there(file.images, entry.number) if has_images else None
        path = file.image_path(entry.number)
        images.append(FoundImage(path, file.split, *entry, is_installed=is_installed))
    return images


def is_image_there(folder: Path, number: str) -> bool:
    """Whether ``folder`` has the image; a number that is no file name has none."""
    return "/" not in number and "\0" not in number and _exists(f"{folder}/{number}.png")


def _exists(path: str) -> bool:
    try:
        return os.path.lexists(path)
    except ValueError:  # half a surrogate pair, which no file system here has
        return False
