"""Who made the photos, as their licences ask: ``write_credits``."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from fdf256_fast._core import Job, MetadataRecords
from fdf256_fast.blocking import blocking
from fdf256_fast.credit_formats import FORMATS, Credit, credit_of
from fdf256_fast.durable import storing
from fdf256_fast.errors import StorageError, UsageError
from fdf256_fast.limits import Limits
from fdf256_fast.metadata import Entry, local_files
from fdf256_fast.search import has_folder, is_image_there
from fdf256_fast.selection import Image, Selection
from fdf256_fast.watch import in_job

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fdf256_fast.metadata import MetadataFile

__all__ = ["CreditsReport", "Wanted", "write_credits", "write_credits_async", "write_wanted"]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which credits, and how; ``is_all`` asks for images too that are not installed."""

    selection: Selection = field(default_factory=Selection)
    format: str = "csv"
    is_all: bool = False

    def __post_init__(self) -> None:
        if self.format not in FORMATS:
            raise UsageError(f"there is no format {self.format!r}", hint=f"Known: {', '.join(FORMATS)}.")


@dataclass(frozen=True, slots=True)
class CreditsReport:
    """What was written: ``images`` is how many, ``entries`` how many there are metadata of.

    ``output`` is a path, or empty where it went to a stream.  ``licenses`` counts the images by the catalog's
    name of their licence (empty for one that has none).
    """

    target: str
    output: str
    format: str
    images: int
    entries: int
    licenses: dict[str, int]
    seconds: float

    def as_json(self) -> dict[str, Any]:
        """The object that ``--json`` prints."""
        return {
            "ok": True,
            "error": None,
            "target": self.target,
            "output": self.output,
            "format": self.format,
            "images": self.images,
            "entries": self.entries,
            "licenses": dict(sorted(self.licenses.items())),
            "seconds": round(self.seconds, 3),
        }


async def write_credits_async(
    target: str | os.PathLike[str] = "data/fdf256",
    output: str | os.PathLike[str] | IO[bytes] | None = None,
    *,
    format: str = "csv",  # noqa: A002 - what everybody calls it
    selection: Selection | None = None,
    is_all: bool = False,
    limits: Limits | None = None,
) -> CreditsReport:
    """Write title, author, source, licence and change of every image, and the dataset's own citation.

    The images are those that are installed; where no image of a split is (metadata alone), all of that split.
    Memory does not grow with their number.

    Args:
        target: an installed tree, one that the published script made, or a metadata file.
        output: a path, which is replaced as a whole when all is written, or a binary stream; None for the
            standard output.
        format: ``csv``, ``md``, ``html``, ``json`` or ``bibtex``; all of them in UTF-8.
        selection: splits, licences (as the catalog names them), ids.
        is_all: also images that are not installed.
        limits: threads.

    Returns:
        How many images, by licence.

    Raises:
        MetadataError: a metadata file is damaged, with the byte offset; nothing was written then.
        StorageError: ``target`` has no metadata or cannot be read, or ``output`` cannot be written.
        UsageError: a bad argument.
    """
    wanted = Wanted(selection or Selection(), format, is_all)
    where = Path(output) if isinstance(output, str | os.PathLike) else output
    return await write_wanted(Path(target), where, wanted, limits or Limits())


write_credits = blocking(write_credits_async, __name__, "write_credits")
"""Like :func:`write_credits_async`, but returns when it is done."""


async def write_wanted(
    target: Path, output: Path | IO[bytes] | None, wanted: Wanted, limits: Limits
) -> CreditsReport:
    """:func:`write_credits_async`, with its arguments in groups."""
    run = _Run(target, wanted, limits.worker_threads)
    return await in_job(run.job, run.write, output)


class _Run:
    """One call; all of it in one thread, beside those of the core."""

    def __init__(self, target: Path, wanted: Wanted, workers: int) -> None:
        self.job = Job()
        self._target = target
        self._wanted = wanted
        self._workers = workers
        self._started = time.monotonic()
        self._entries = 0
        self._licenses: Counter[str] = Counter()

    def write(self, output: Path | IO[bytes] | None) -> CreditsReport:
        files = local_files(self._target)
        if not files:
            raise StorageError(
                f"{self._target} has no metadata: there is no fdf_metainfo.json in it",
                filename=str(self._target),
                hint=f"Fetch them: fdf256 download {self._target} --metadata-only",
            )
        # Both files are checked before the first line is written.
        opened = [(file, MetadataRecords.open(self.job, file.path, self._workers)) for file in files]
        with _writing(output) as stream:
            text = io.TextIOWrapper(stream, "utf-8", errors="backslashreplace", newline="")
            try:
                # Whole lines in pieces of some size: TextIOWrapper's own are of 8 KiB.
                for lines in FORMATS[self._wanted.format](self._credits(opened)):
                    text.write(lines)
                text.flush()
            finally:
                # The stream is its owner's; what could not be written is not tried again.
                with contextlib.suppress(OSError, ValueError):
                    text.detach()
        where = str(output) if isinstance(output, Path) else ""
        seconds = time.monotonic() - self._started
        return CreditsReport(
            target=str(self._target),
            output=where,
            format=self._wanted.format,
            images=self._licenses.total(),
            entries=self._entries,
            licenses=dict(self._licenses),
            seconds=seconds,
        )

    def _credits(self, opened: Sequence[tuple[MetadataFile, MetadataRecords]]) -> Iterator[list[Credit]]:
        """The wanted ones, some at a time."""
        for file, records in opened:
            self._entries += records.entries
            splits = self._wanted.selection.splits
            if splits and file.split and file.split not in splits:
                continue
            only_installed = not self._wanted.is_all and has_folder(file.images)
            while batch := records.next(self.job):
                entries = [Entry(*record) for record in batch]
                if only_installed:
                    entries = [entry for entry in entries if is_image_there(file.images, entry.number)]
                made = [credit for entry in entries if self._wants(credit := credit_of(file, entry))]
                self._licenses.update(credit.license_name for credit in made)
                yield made

    def _wants(self, credit: Credit) -> bool:
        selection = self._wanted.selection
        if selection.licenses and credit.license_name not in selection.licenses:
            return False
        if selection.ids is None:
            return True
        splits = (credit.split,) if credit.split else ("train", "val")
        return any(Image(split, credit.number) in selection.ids for split in splits)


@contextlib.contextmanager
def _writing(output: Path | IO[bytes] | None) -> Iterator[IO[bytes]]:
    """Where the credits go: a file is there as a whole in the end, or as it was."""
    if output is None:
        if sys.stdout is None:  # where Python was started without one
            raise StorageError(
                "cannot write to the standard output: it is closed",
                errno=errno.EBADF,
                hint="Name a file with -o.",
            )
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
    elif not isinstance(output, Path):
        yield output
    elif output.exists() and not output.is_file() and not output.is_dir():
        # A pipe or a device can only be written as it is.
        with storing("write", output), output.open("wb") as stream:
            yield stream
    else:
        with _replacing(output) as stream:
            yield stream


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[IO[bytes]]:
    # Through a link, as a shell's redirection would.
    place = path.resolve()
    fresh = place.with_name(f".{place.name}.{os.getpid()}.new")
    with storing("write", path):
        if place.is_dir():
            raise IsADirectoryError(21, "Is a directory", str(path))
        try:
            with fresh.open("xb") as stream:
                yield stream
            fresh.replace(place)
        except BaseException as error:
            if isinstance(error, OSError) and error.filename == str(fresh):
                # The name that somebody gave says more than ours.
                error.filename = str(path)
            with contextlib.suppress(OSError):
                fresh.unlink(missing_ok=True)
            raise
