"""Which metadata files there are: in a target, or in the user's cache, fetched alone."""

from __future__ import annotations

import errno
import os
import re
import stat
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from fdf256_fast.durable import storing
from fdf256_fast.errors import StorageError, UsageError
from fdf256_fast.layout import SPLITS

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from fdf256_fast.catalog import Archive, Catalog
    from fdf256_fast.limits import Limits
    from fdf256_fast.progress import Progress

__all__ = [
    "FILE_NAME",
    "Entry",
    "MetadataFile",
    "Published",
    "license_name",
    "local_files",
    "metadata_files",
    "splits_with_metadata",
]

FILE_NAME = "fdf_metainfo.json"

_LICENSE = re.compile(
    r"(?:https?:)?//(?:www\.)?creativecommons\.org/licenses/([a-z]+(?:-[a-z]+)*)/(\d+\.\d+)(?:[/?#].*)?",
    # As the core does: other alphabets have digits too, and letters whose small ones are ours.
    re.IGNORECASE | re.DOTALL | re.ASCII,
)


class Entry(NamedTuple):
    """One image's metadata, as the core gives it; what is not there is empty."""

    number: str
    title: str
    author: str
    user_nsid: str
    license: str
    license_url: str
    photo_url: str


class MetadataFile(NamedTuple):
    """One ``fdf_metainfo.json``; ``split`` is empty where its path does not tell."""

    path: Path
    split: str

    @property
    def images(self) -> Path:
        """The folder in which this split's images are, if they are installed."""
        return self.path.parent / "images"

    def image_path(self, number: str) -> str:
        """The path of an image, relative to the target; its file name, where the split is not known."""
        return f"{self.split}/images/{number}.png" if self.split else f"{number}.png"


class Published(NamedTuple):
    """Where metadata that are not here come from: ``catalog`` is a name, a file, or a catalog."""

    catalog: str | Path | Catalog = "fdf256"
    mirrors: tuple[str, ...] = ()


def local_files(target: Path, wanted: Collection[str] = SPLITS) -> tuple[MetadataFile, ...]:
    """The metadata files of ``target``; none, where it is not there or has none.

    ``target`` is an installed tree (by this package or by the published script), the folder of one split, or
    a metadata file itself; ``wanted`` are the splits without which an answer would be wrong.  Raises
    StorageError where it is none of that, cannot be looked at, or has images of a wanted split without their
    metadata beside another split's.
    """
    with storing("read", target):
        if not _is_there(target):
            if target.suffix != ".json":
                return ()
            raise StorageError(
                f"cannot read {target}: there is no such file", errno=errno.ENOENT, filename=str(target)
            )
        mode = target.stat().st_mode
        if stat.S_ISREG(mode):
            return (_file(target),)
        if not stat.S_ISDIR(mode):
            raise StorageError(
                f"cannot read {target}: it is neither a folder nor a file",
                errno=errno.EINVAL,
                filename=str(target),
            )
        splits = splits_with_metadata(target, wanted)
        found = [target / split / FILE_NAME for split in splits] or [target / FILE_NAME]
        return tuple(_file(path) for path in found if splits or _is_there(path))


def splits_with_metadata(root: Path, wanted: Collection[str] = SPLITS) -> list[str]:
    """The splits whose metadata are in ``root``, sound or not: who reads them says what is wrong with them.

    Links to nothing are among them: a disk that is not mounted must not make half of a dataset vanish from an
    answer.  Raises StorageError where a split of ``wanted`` has images and no metadata, and another one has
    some; OSError where that cannot be told.  Datasets without any such metadata have no splits.
    """
    found = [
        split
        for split in SPLITS
        if _is_there(root / split / FILE_NAME) or (_is_there(root / split) and not _leads(root / split))
    ]
    for split in SPLITS:
        if found and split in wanted and split not in found and _is_there(root / split / "images"):
            from fdf256_fast.survey import no_metadata  # noqa: PLC0415 - hardly ever

            raise no_metadata(root)
    return found


def _is_there(path: Path) -> bool:
    """Whether there is anything of that name.  Raises OSError where that cannot be told."""
    return _found(path, os.lstat)


def _leads(path: Path) -> bool:
    """Whether a link leads to anything; whatever is no link does."""
    return _found(path, os.stat)


def _found(path: Path, look: Callable[[Path], os.stat_result]) -> bool:
    try:
        look(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def _file(path: Path) -> MetadataFile:
    # Only `..` needs the links looked at: a split may be a link to a folder of any name.
    folder = (path.resolve() if ".." in path.parts else path.absolute()).parent.name
    return MetadataFile(path, folder if folder in SPLITS else "")


async def metadata_files(
    target: Path, published: Published, limits: Limits, progress: Callable[[], Progress]
) -> tuple[tuple[MetadataFile, ...], bool]:
    """The metadata files of ``target``, or the catalog's where it has none; and whether it is the latter.

    Those of a catalog are fetched alone, once, into a folder of ``$XDG_CACHE_HOME/fdf256_fast``.
    ``progress`` is called for when something has to be fetched.  Raises what
    :func:`~fdf256_fast.installation.install` does.
    """
    from fdf256_fast.watch import in_thread  # noqa: PLC0415 - who has files needs no asyncio

    files = await in_thread(local_files, target)
    if files:
        return files, False
    folder = await _cached(target, published, limits, progress)
    files = await in_thread(local_files, folder)
    if not files:
        raise UsageError(f"the metadata of catalog {published.catalog} have no {FILE_NAME} in them")
    return files, True


async def _cached(
    target: Path, published: Published, limits: Limits, progress: Callable[[], Progress]
) -> Path:
    """The folder in the user's cache in which a catalog's metadata are, after fetching them if need be."""
    from fdf256_fast.catalog import Catalog, load_catalog  # noqa: PLC0415 - only without a target
    from fdf256_fast.record import already_installed  # noqa: PLC0415
    from fdf256_fast.watch import in_thread  # noqa: PLC0415
    from fdf256_fast.workspace import Workspace  # noqa: PLC0415

    catalog = published.catalog
    if not isinstance(catalog, Catalog):
        catalog = await in_thread(load_catalog, catalog)
    archives = [archive for archive in catalog.archives if archive.role == "metadata"]
    folder = _cache_folder() / _cache_name(catalog, archives)
    # Without its lock: others may search there at the same time.
    done = await in_thread(already_installed, Workspace.of(folder), archives, keep_archives=False)
    if done is not None and archives:
        return folder
    # The network's modules take longer to import than a search takes.
    from fdf256_fast.installation import Options, install_catalog  # noqa: PLC0415

    receiver = progress()
    receiver.message(f"{target} has no metadata: fetching those of {catalog.title} alone, into {folder}")
    options = Options(mirrors=published.mirrors, metadata_only=True, limits=limits)
    await install_catalog(folder, catalog, options, receiver)
    return folder


def _cache_name(catalog: Catalog, archives: Sequence[Archive]) -> str:
    """A folder for whoever means the same metadata by the same name.

    A digest tells whether what is there is what is wanted.  Where one is not known, only the addresses can
    tell two catalogs of one name apart; mirrors, which have the same by definition, have no say.
    """
    if all(archive.digest for archive in archives):
        return catalog.name
    import hashlib  # noqa: PLC0415 - only here

    addresses = "\n".join(url for archive in archives for url in (archive.name, *archive.urls))
    return f"{catalog.name}-{hashlib.sha256(addresses.encode()).hexdigest()[:12]}"


def _cache_folder() -> Path:
    """By the XDG base directory specification, which does not count relative paths."""
    told = os.environ.get("XDG_CACHE_HOME", "")
    if told and Path(told).is_absolute():
        return Path(told) / "fdf256_fast"
    try:
        return Path.home() / ".cache" / "fdf256_fast"
    except RuntimeError as error:
        raise UsageError(
            "there is no home folder to keep the metadata in", hint="Set HOME, or XDG_CACHE_HOME."
        ) from error


def license_name(url: str) -> str:
    """The catalog's name of the licence at ``url``, such as ``cc-by-nc-sa-2``; empty for another one.

    ``http`` and ``https``, with and without a slash at the end, ``deed.en`` or ``legalcode``, are all the
    same.  The core's ``stats.rs`` has the same rule, and ``tests/vectors/licences.tsv`` holds both to it.
    """
    match = _LICENSE.fullmatch(url.strip(" \t\r\n"))
    return f"cc-{match[1].lower()}-{match[2].removesuffix('.0')}" if match else ""
