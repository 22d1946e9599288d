"""Images out of a tree, for good: ``forget``.

In an order in which nothing comes back, whatever ends it: first the record of what is to stay out, then the
files, then the manifest without their lines.  Whoever comes after a call that was killed does the rest
(:func:`finish`).
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import time
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fdf256_fast.arguments import texts
from fdf256_fast.auditing import check_folder
from fdf256_fast.blocking import blocking
from fdf256_fast.durable import replace_file, storing, sync_folder
from fdf256_fast.errors import StorageError, UsageError
from fdf256_fast.forgotten import (
    is_forgotten,
    list_digest,
    plain_path,
    read_forgotten,
    write_forgotten,
)
from fdf256_fast.listings import without_digests
from fdf256_fast.record import read_record, rescue_next_manifest, write_archives
from fdf256_fast.selection import SPLITS, Ids
from fdf256_fast.sizes import read_sizes, write_sizes
from fdf256_fast.watch import in_thread
from fdf256_fast.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = [
    "Forgotten",
    "Removed",
    "finish",
    "forget",
    "forget_async",
    "forget_images",
    "nothing_forgotten",
]

StrPath = str | os.PathLike[str]


@dataclass(frozen=True, slots=True)
class Removed:
    """A file that was removed; ``path`` is relative to the target, ``bytes`` its size."""

    path: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What was done.

    ``recorded`` are the images that are to stay out from now on, and were not before; ``removed`` the files
    that went, those of an unfinished download too; ``absent`` the images that were asked for and were not in
    the tree.  ``total`` is how many images the record has, ``files`` how many files the manifest has now
    (None where there is none).  ``archives`` are files that still hold all images of theirs: they are not
    touched.
    """

    target: str
    recorded: tuple[str, ...]
    removed: tuple[Removed, ...]
    absent: tuple[str, ...]
    total: int
    files: int | None
    archives: tuple[str, ...] = ()
    seconds: float = 0.0
    dry_run: bool = False

    @property
    def bytes(self) -> int:
        """Bytes of the files that went."""
        return sum(one.bytes for one in self.removed)

    def as_json(self) -> dict[str, Any]:
        """The object that ``--json`` prints."""
        return {
            "ok": True,
            "error": None,
            "target": self.target,
            "recorded": list(self.recorded),
            "removed": [asdict(one) for one in self.removed],
            "absent": list(self.absent),
            "bytes": self.bytes,
            "total": self.total,
            "files": self.files,
            "archives": list(self.archives),
            "bytes_downloaded": 0,
            "bytes_resumed": 0,
            "seconds": round(self.seconds, 3),
            "retries": 0,
            "verified": "none",
            "dry_run": self.dry_run,
        }


async def forget_async(
    target: StrPath, images: Iterable[str] = (), *, user_nsid: str | Iterable[str] = (), dry_run: bool = False
) -> Forgotten:
    """Remove images from an installed tree, and keep them out of it from now on.

    Later downloads and repairs leave them out, and ``verify`` tells if they come back.  Nothing but their
    paths is written down.  ``fdf_metainfo.json``, ``landmarks.npy`` and ``bounding_box.npy`` stay as they are
    published: row i is that of the i-th image of the metadata, and so stays in its place.

    Args:
        target: the folder that was installed into, by this program or another.
        images: ``123`` (in every split), ``train/123``, or ``train/images/123.png``; they need not be there.
        user_nsid: Flickr users, all of whose images are meant; they are looked up in the metadata.
        dry_run: only say what would be removed.

    Without images and users, what an earlier call did not come to is done.

    Raises:
        UsageError: something is no image, or nothing was ever forgotten here.
        StorageError: a file cannot be removed; the record stays, and the next call tries again.
        LockedError: another process works on ``target``.
        MetadataError: users were given, and the metadata are damaged.
    """
    folder = Path(target)
    wanted = set(paths_of(Ids.parse(images, "images")))
    users = texts(user_nsid)
    if users:
        wanted |= await paths_of_users(folder, users)
    return await forget_images(folder, wanted, dry_run=dry_run)


forget = blocking(forget_async, __name__, "forget")
"""Like :func:`forget_async`, but returns when it is done."""


def paths_of(ids: Ids) -> Iterator[str]:
    """The paths of images.  Raises UsageError for what cannot be one."""
    for split, number in ids.wanted:
        for each in (split,) if split else SPLITS:
            path = plain_path(f"{each}/images/{number}.png")
            if path is None:
                raise UsageError(f"{number!r} is no image", hint="One image each, as 123 or train/123.")
            yield path


async def paths_of_users(target: Path, users: tuple[str, ...]) -> frozenset[str]:
    """The paths of all images of Flickr users, as the metadata in ``target`` have them.

    Raises UsageError where a split's metadata are not there: images of theirs could come with it later.
    """
    from fdf256_fast.search import search_user_async  # noqa: PLC0415 - only for this

    await in_thread(check_folder, target)
    absent = await in_thread(_absent_splits, target)
    if absent:
        raise UsageError(
            f"the metadata of {' and '.join(absent)} are not in {target}, so nobody knows which images of "
            "these users could come there later; nothing was changed",
            hint=f"Fetch them: fdf256 download {target} --metadata-only (with --catalog, if it is not "
            "FDF256), then run this again. Or name the images by --ids.",
        )
    found = await search_user_async(target, users)
    return frozenset(path for image in found.images if (path := plain_path(image.path)) is not None)


def _absent_splits(target: Path) -> list[str]:
    """Splits whose metadata are not in ``target``, unless its dataset does not have them."""
    from fdf256_fast.metadata import local_files  # noqa: PLC0415 - only for this

    here = {file.split for file in local_files(target, ())}
    record = read_record(Workspace.of(target))
    if here and record is not None and all(archive.is_whole for archive in record.archives.values()):
        return []
    return [split for split in SPLITS if split not in here]


async def forget_images(target: Path, wanted: Iterable[str], *, dry_run: bool = False) -> Forgotten:
    """:func:`forget_async`, with paths as ``plain_path`` gives them."""
    started = time.monotonic()
    await in_thread(check_folder, target)
    workspace, paths = Workspace.of(target), frozenset(wanted)
    if dry_run:
        done = await in_thread(_forget, workspace, paths, is_dry=True)
    else:
        async with workspace.locked():
            done = await in_thread(_forget, workspace, paths)
    return replace(done, seconds=time.monotonic() - started)


async def nothing_forgotten(target: Path, *, dry_run: bool = False) -> Forgotten:
    """What to say where no image was meant: what the record and the manifest have, and that nothing was done.

    Raises StorageError, IntegrityError.
    """
    return await in_thread(_nothing, Workspace.of(target), dry_run=dry_run)


def _nothing(workspace: Workspace, *, dry_run: bool) -> Forgotten:
    return Forgotten(
        target=str(workspace.target),
        recorded=(),
        removed=(),
        absent=(),
        total=len(read_forgotten(workspace)),
        files=_Removal(workspace, frozenset(), is_dry=True).rewrite(),
        archives=tuple(_archives(workspace)),
        dry_run=dry_run,
    )


def finish(workspace: Workspace) -> tuple[Removed, ...]:
    """Remove whatever is forgotten and still, or again, there; call it with the target locked.

    Returns at once where nothing was ever forgotten.  Raises StorageError, IntegrityError.
    """
    return _forget(workspace, frozenset()).removed if read_forgotten(workspace) else ()


def _forget(workspace: Workspace, wanted: frozenset[str], *, is_dry: bool = False) -> Forgotten:
    before = read_forgotten(workspace)
    if not wanted and not before:
        raise UsageError(
            f"no image was ever forgotten in {workspace.target}, and none was named",
            hint="Give --user-nsid NSID or --ids FILE.",
        )
    every = before | wanted
    if not is_dry:
        rescue_next_manifest(workspace)
        if every != before:
            # Of a call that was killed: else its lines would count among those that go now.  And while it can
            # be seen that somebody edited the list.
            _Removal(workspace, before, is_new=False).rewrite()
        if every != before:
            write_forgotten(workspace, every)
    work = _Removal(workspace, every, is_dry=is_dry, is_new=every != before)
    with storing("remove images in", workspace.target):
        work.clear()
    work.rewrite_listings()
    work.rewrite_next()
    files = work.rewrite()
    return Forgotten(
        str(workspace.target),
        tuple(sorted(wanted - before)),
        tuple(work.removed),
        tuple(sorted(wanted - work.found)),
        len(every),
        files,
        tuple(_archives(workspace)),
        dry_run=is_dry,
    )


def _archives(workspace: Workspace) -> Iterator[str]:
    """Files that hold images of archives that are kept, or were on their way."""
    for home in (workspace.home, *_folders(workspace.home / "fetch")):
        for folder in (home / "archives", home / "spool"):
            with contextlib.suppress(OSError):
                yield from sorted(str(path) for path in folder.iterdir() if path.stat().st_size)


def _folders(folder: Path) -> list[Path]:
    """The folders in a folder of ours, in which nobody ever made a link; none where it is not there."""
    try:
        return sorted(path for path in folder.iterdir() if path.is_dir() and not path.is_symlink())
    except (FileNotFoundError, NotADirectoryError):
        return []


@dataclass(slots=True)
class _Removal:
    """Files and lines of ``paths`` that go; ``is_new`` if this call has just put any of them on the list."""

    workspace: Workspace
    paths: frozenset[str]
    is_dry: bool = False
    is_new: bool = False
    removed: list[Removed] = field(default_factory=list)
    found: set[str | None] = field(default_factory=set)
    """Those of ``paths`` of which any file was there, whatever it was called."""

    def rewrite_next(self) -> None:
        """Take the lines out of a manifest that a killed run was about to publish.  Raises StorageError."""
        path = self.workspace.next_manifest
        with storing("read", path):
            if self.is_dry or not path.exists():
                return
            lines = path.read_bytes().splitlines(keepends=True)
        kept = b"".join(line for line in lines if not self._goes(line[66:]))
        replace_file(path, kept)

    def rewrite_listings(self) -> None:
        """Take what the files were out of the lists of the tars they came in.  Raises StorageError."""
        listings = self.workspace.listing("x").parent
        with storing("read", listings):
            found = sorted(listings.iterdir()) if listings.is_dir() and not self.is_dry else []
        for path in found:
            if path.suffix == ".new":
                # Of somebody who was killed; what is written there is without them.
                continue
            with storing("read", path):
                before = path.read_bytes()
            goes = partial(is_forgotten, forgotten=self.paths)
            after = b"".join(without_digests(before.splitlines(keepends=True), goes))
            if after != before:
                replace_file(path, after)

    def clear(self) -> None:
        """Remove the files: of the tree, and of whatever has not finished.  Raises OSError."""
        home = self.workspace.home
        folders = [self.workspace.target, *_folders(home / "staging")]
        # Of archives that were only to be unpacked here.
        for fetched in _folders(home / "fetch"):
            folders += _folders(fetched / "staging")
        extracted = [folder for folder in _folders(home) if folder.name == "extract"]
        for folder in extracted:
            folders += _folders(folder)
        for folder in folders:
            for split in SPLITS:
                self._clear_images(folder, split)
        if not self.is_dry:
            for folder in extracted:
                # Whoever unpacked there was killed: he would hold the lock.  Nobody takes it up again.
                shutil.rmtree(folder)

    def _clear_images(self, folder: Path, split: str) -> None:
        numbers = [path.rpartition("/")[2] for path in self.paths if path.startswith(f"{split}/")]
        handle = _opened(folder, split, "images") if numbers else None
        if handle is None:
            return
        try:
            # Names with leading zeros are recorded without.
            padded = [
                name
                for name in os.listdir(handle)  # noqa: PTH208 - of an open folder
                if name.startswith("0") and is_forgotten(f"{split}/images/{name}", self.paths)
            ]
            inside = os.path.relpath(folder / split / "images", self.workspace.target)
            before = len(self.removed)
            for name in sorted({*numbers, *padded}):
                if self._remove(handle, f"{inside}/{name}", name):
                    self.found.add(plain_path(f"{split}/images/{name}"))
            if len(self.removed) > before and not self.is_dry:
                # On the disk before the manifest is.
                os.fsync(handle)
        finally:
            os.close(handle)

    def _remove(self, handle: int, path: str, name: str) -> bool:
        try:
            status = os.stat(name, dir_fd=handle, follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode):
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(self._at(path)))
            if not self.is_dry:
                os.unlink(name, dir_fd=handle)
        except FileNotFoundError:
            return False
        except OSError as error:
            error.filename = str(self._at(path))
            raise
        self.removed.append(Removed(path, status.st_size))
        return True

    def _at(self, path: str) -> Path:
        return self.workspace.target / path

    def rewrite(self) -> int | None:
        """Take the lines out of manifest, sizes and record; returns the manifest's files.

        Raises StorageError.
        """
        workspace = self.workspace
        with storing("read", workspace.manifest):
            try:
                before = workspace.manifest.read_bytes()
            except FileNotFoundError:
                return None
        lines = before.splitlines(keepends=True)
        kept = [line for line in lines if not self._goes(line[66:])]
        if self.is_dry:
            return len(kept)
        # The record first: it alone knows how many lines there have to be, and so whether others are gone.
        self._rewrite_record(len(lines) - len(kept))
        if len(kept) < len(lines):
            sizes = read_sizes(workspace, before)
            after = b"".join(kept)
            replace_file(workspace.manifest, after)
            if sizes is not None:
                each = sizes.splitlines(keepends=True)
                rest = b"".join(line for line in each if not self._goes(line.partition(b"  ")[2]))
                write_sizes(workspace, after, rest)
        sync_folder(workspace.home)
        return len(kept)

    def _rewrite_record(self, gone: int) -> None:
        """Let the record count so many lines less, unless it does already.  Raises StorageError."""
        record = read_record(self.workspace)
        if record is None or record.knows(self.paths):
            return
        if not self.is_new:
            # Somebody edited the list, or was killed: images may have been let in again, and the next
            # download has to see.
            record = record.doubted()
        listed = list_digest(self.paths)
        files = max(0, record.files - gone)
        write_archives(
            self.workspace, replace(record, files=files, forgotten=len(self.paths), forgotten_list=listed)
        )
        # No power cut may leave the manifest without these lines to a record that counts them.
        sync_folder(self.workspace.home)

    def _goes(self, path: bytes) -> bool:
        # Few of a manifest's lines are looked at twice: 250,000 of them take 0.1 seconds.
        name = path.rstrip(b"\n").decode("utf-8", "surrogateescape")
        return name in self.paths or ("/images/0" in name and is_forgotten(name, self.paths))


def _opened(folder: Path, *inside: str) -> int | None:
    """A handle of a folder in ``folder``, which no link leads to; None where there is none."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    try:
        handle = os.open(folder, flags)
    except (FileNotFoundError, NotADirectoryError):
        return None
    path = folder
    for name in inside:
        path /= name
        try:
            inner = os.open(name, flags | os.O_NOFOLLOW, dir_fd=handle)
        except FileNotFoundError:
            return None
        except OSError as error:
            if path.is_symlink():
                raise StorageError(
                    f"{path} is a symbolic link: what is behind it is not touched",
                    errno=errno.ELOOP,
                    filename=str(path),
                    hint="The images are recorded, and kept out of what is installed from now on. Remove "
                    "them there yourself, or put the folder in the link's place and run this again.",
                ) from error
            if error.errno == errno.ENOTDIR:
                return None
            error.filename = str(path)
            raise
        finally:
            os.close(handle)
        handle = inner
    return handle
