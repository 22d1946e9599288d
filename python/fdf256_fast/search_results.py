"""What a search found: returned by the Python functions, printed by the command."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from fdf256_fast.search import Query

__all__ = ["REMOVAL", "FoundImage", "SearchResult", "SearchedFile"]

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


class FoundImage(NamedTuple):
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


class SearchedFile(NamedTuple):
    """A metadata file that was searched, and how many images and bytes it has."""

    path: str
    split: str
    entries: int
    bytes: int


class SearchResult(NamedTuple):
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
            "query": {name: list(texts) for name, texts in self.query._asdict().items()},
            "images": [image._asdict() for image in self.images],
            "files": [file._asdict() for file in self.files],
            "entries": self.entries,
            "fetched": self.fetched,
            "seconds": round(self.seconds, 3),
            "removal": REMOVAL,
        }
