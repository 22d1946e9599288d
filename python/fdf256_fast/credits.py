"""Who made the photos, as their licences ask: ``write_credits``."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol

from fdf256_fast._core import Job, MetadataRecords
from fdf256_fast.blocking import blocking
from fdf256_fast.credit_formats import FORMATS, Credit, credit_of
from fdf256_fast.durable import storing
from fdf256_fast.errors import StorageError, UsageError
from fdf256_fast.images import count_images
from fdf256_fast.layout import SPLITS
from fdf256_fast.limits import Limits
from fdf256_fast.metadata import Entry, local_files
from fdf256_fast.outputs import check_output, replacing_output
from fdf256_fast.patient import open_pipe, patient
from fdf256_fast.search import has_folder, is_image_there
from fdf256_fast.selection import Image, Selection, plain_number
from fdf256_fast.watch import in_job

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fdf256_fast.metadata import MetadataFile

__all__ = ["CreditsReport", "Wanted", "write_credits", "write_credits_async", "write_wanted"]


class _Writable(Protocol):
    def write(self, data: bytes, /) -> object: ...


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which credits, and how; ``is_all`` asks for images too that are not installed."""

    selection: Selection = field(default_factory=Selection)
    format: str = "csv"
    is_all: bool = False

    def __post_init__(self) -> None:
        if self.format not in FORMATS:
            raise UsageError(f"there is no format {self.format!r}", hint=f"Known: {', '.join(FORMATS)}.")
        if self.selection.sample is not None:
            raise UsageError(
                "credits are of all the images that are there, and of no sample",
                hint="Install the sample, or name its images by ids.",
            )


@dataclass(frozen=True, slots=True)
class CreditsReport:
    """What was written: ``images`` is how many, ``entries`` how many there are metadata of.

    ``output`` is a path, or empty where it went to a stream.  ``licenses`` counts the images by the catalog's
    name of their licence (empty for one that has none).  ``without_metadata`` counts images that are there
    and of which nothing is known, so that nobody is credited; ``absent`` are the ids that no credited image
    has.
    """

    target: str
    output: str
    format: str
    images: int
    entries: int
    licenses: dict[str, int]
    seconds: float
    without_metadata: int = 0
    absent: tuple[str, ...] = ()

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
            "without_metadata": self.without_metadata,
            "absent": list(self.absent),
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
        selection: splits, licences (as the catalog names them), ids; no sample.
        is_all: also images that are not installed.
        limits: threads.

    Returns:
        How many images, by licence.

    Raises:
        MetadataError: a metadata file is damaged, with the byte offset; nothing was written then.
        StorageError: ``target`` has no metadata, or images of a split without them, or cannot be read; or
            ``output`` cannot be written.
        UsageError: a bad argument; a selection by splits from a file of which the split is not known; or
            ``output`` is a file of the dataset.
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
        self._without_metadata = 0
        self._found: set[Image] = set()

    def write(self, output: Path | IO[bytes] | None) -> CreditsReport:
        selection = self._wanted.selection
        files = local_files(self._target, selection.splits or SPLITS)
        if not files:
            raise StorageError(
                f"{self._target} has no metadata: there is no fdf_metainfo.json in it",
                filename=str(self._target),
                hint=f"Fetch them: fdf256 download {self._target} --metadata-only",
            )
        if selection.splits and not all(file.split for file in files):
            raise UsageError(
                f"{files[0].path}: of which split it is cannot be told", hint="Leave out --split."
            )
        if isinstance(output, Path):
            check_output(output, self._target, (file.path for file in files))
        # Both files are checked before the first line is written.
        opened = [(file, MetadataRecords.open(self.job, file.path, self._workers)) for file in files]
        with _writing(output, self.job) as stream:
            for lines in FORMATS[self._wanted.format](self._credits(opened)):
                stream.write(lines.encode("utf-8", "backslashreplace"))
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
            without_metadata=self._without_metadata,
            absent=tuple(selection.ids.without(self._found)) if selection.ids is not None else (),
        )

    def _credits(self, opened: Sequence[tuple[MetadataFile, MetadataRecords]]) -> Iterator[list[Credit]]:
        """The wanted ones, some at a time."""
        for file, records in opened:
            self._entries += records.entries
            splits = self._wanted.selection.splits
            if splits and file.split and file.split not in splits:
                continue
            has_images = has_folder(file.images)
            known = 0
            while batch := records.next(self.job):
                entries = [Entry(*record) for record in batch]
                if has_images:
                    installed = [entry for entry in entries if is_image_there(file.images, entry.number)]
                    known += len(installed)
                    entries = entries if self._wanted.is_all else installed
                made = [credit for entry in entries if self._wants(credit := credit_of(file, entry))]
                self._licenses.update(credit.license_name for credit in made)
                yield made
            if has_images:
                self._without_metadata += max(0, count_images(file.images) - known)

    def _wants(self, credit: Credit) -> bool:
        selection = self._wanted.selection
        if selection.licenses and credit.license_name not in selection.licenses:
            return False
        if selection.ids is None:
            return True
        number = plain_number(credit.number)
        named = [Image(split, number) for split in ([credit.split] if credit.split else SPLITS)]
        found = [image for image in named if image in selection.ids]
        self._found.update(found)
        return bool(found)


@contextlib.contextmanager
def _writing(output: Path | IO[bytes] | None, job: Job) -> Iterator[_Writable]:
    """Where the credits go: a file is there as a whole in the end, or as it was."""
    if output is None:
        if sys.stdout is None:  # where Python was started without one
            raise StorageError(
                "cannot write to the standard output: it is closed",
                errno=errno.EBADF,
                hint="Name a file with -o.",
            )
        sys.stdout.flush()
        file = _file_of(sys.stdout)
        if file is not None and not stat.S_ISREG(os.fstat(file).st_mode):
            with patient(file, job) as writer:
                yield writer
            return
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
    elif not isinstance(output, Path):
        yield output
        output.flush()
    else:
        with _writing_to(output, job) as stream:
            yield stream


@contextlib.contextmanager
def _writing_to(path: Path, job: Job) -> Iterator[_Writable]:
    with storing("write", path):
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if path.exists() and not path.is_file():
            # A pipe or a device can only be written as it is.
            with open_pipe(path, job) as writer:
                yield writer
        else:
            # Through a link, as a shell's redirection would.
            with replacing_output(path.resolve()) as stream:
                yield stream


def _file_of(stream: IO[str]) -> int | None:
    """The number of the open file that it is; None where somebody has put something else in its place."""
    try:
        return stream.fileno()
    except (OSError, ValueError, AttributeError):
        return None
