"""Which metadata files there are: in a target, or in the user's cache, fetched alone."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from fdf256_fast.durable import storing
from fdf256_fast.errors import StorageError, UsageError
from fdf256_fast.layout import SPLITS

if TYPE_CHECKING:
    from collections.abc import Callable

    from fdf256_fast.catalog import Catalog
    from fdf256_fast.limits import Limits
    from fdf256_fast.progress import Progress

__all__ = ["FILE_NAME", "Entry", "MetadataFile", "Published", "license_name", "local_files", "metadata_files"]

FILE_NAME = "fdf_metainfo.json"

_LICENSE = re.compile(
    r"(?:https?:)?//(?:www\.)?creativecommons\.org/licenses/([a-z]+(?:-[a-z]+)*)/(\d+\.\d+)(?:[/?#].*)?",
    re.IGNORECASE | re.DOTALL,
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


def local_files(target: Path) -> tuple[MetadataFile, ...]:
    """The metadata files of ``target``; none, where it is not there or has none.

    ``target`` is an installed tree (by this package or by the published script), the folder of one split, or
    a metadata file itself.  Raises StorageError where it cannot be looked at.
    """
    with storing("read", target):
        if target.is_file():
            return (_file(target),)
        if target.suffix == ".json":
            raise StorageError(
                f"cannot read {target}: there is no such file", errno=errno.ENOENT, filename=str(target)
            )
        of_splits = [target / split / FILE_NAME for split in SPLITS]
        found = [path for path in of_splits if path.is_file()] or [target / FILE_NAME]
        return tuple(_file(path) for path in found if path.is_file())


def _file(path: Path) -> MetadataFile:
    folder = path.absolute().parent.name
    return MetadataFile(path, folder if folder in SPLITS else "")


async def metadata_files(
    target: Path, published: Published, limits: Limits, progress: Callable[[], Progress]
) -> tuple[tuple[MetadataFile, ...], bool]:
    """The metadata files of ``target``, or the catalog's where it has none; and whether it is the latter.

    Those of a catalog are fetched alone, into ``$XDG_CACHE_HOME/fdf256_fast/<catalog>``, once.  ``progress``
    is called for when something has to be fetched.  Raises what :func:`~fdf256_fast.installation.install`
    does.
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
    folder = _cache_folder() / catalog.name
    archives = [archive for archive in catalog.archives if archive.role == "metadata"]
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
    same.
    """
    match = _LICENSE.fullmatch(url.strip())
    return f"cc-{match[1].lower()}-{match[2].removesuffix('.0')}" if match else ""
