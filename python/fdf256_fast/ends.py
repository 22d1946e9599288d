"""The end of an archive: its central directory, fetched first, kept on disk for the next run.

Never by HEAD, which signed addresses refuse: a ranged GET of the tail tells the size from its
Content-Range, and brings the directory of a small archive along.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import aiofiles
import aiofiles.os

from fdf256_fast._core import Directory
from fdf256_fast.durable import replace_file, storage_error, storing
from fdf256_fast.retry import Unranged
from fdf256_fast.sources import OriginChanged, Source, Validator
from fdf256_fast.spans import Span
from fdf256_fast.watch import in_thread, unbroken
from fdf256_fast.workspace import end_part, file_size

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from fdf256_fast._core import Policy
    from fdf256_fast.client import Answer
    from fdf256_fast.journal import Entry
    from fdf256_fast.transfer import Transfer

__all__ = ["EndReader"]

TAIL_BYTES = 64 * 1024 + 22
"""The longest comment and the end record itself: the end record is always in there."""

PATIENCE_SECONDS = 5.0
"""Silence in the middle of the tail, for which everything else waits; twice as long after each failure."""

PROBE_BYTES = 4 * 1024
"""Of an end that is on disk already, so much is asked for again, to see whether it is the same file."""


@dataclass(slots=True)
class _Begun:
    """A tail that is on its way, and what has come of it."""

    source: Source
    span: Span
    data: bytearray = field(default_factory=bytearray)


class EndReader:
    """Gets the end of one archive from one source.

    ``path`` is where the end is kept, ``policy`` what the archive may ask for.  ``count`` hears of bytes that
    came over the network, ``arrived`` how many of the end are here, and ``save`` is awaited when the entry
    holds something that the journal must know.
    """

    def __init__(  # noqa: PLR0913 - each is needed, and there is one caller
        self,
        transfer: Transfer,
        path: Path,
        entry: Entry,
        *,
        vouched: bool,
        policy: Policy,
        count: Callable[[int], None],
        arrived: Callable[[int], None],
        save: Callable[[], Awaitable[None]],
    ) -> None:
        self._transfer = transfer
        self._path = path
        self._entry = entry
        self._vouched = vouched
        self._policy = policy
        self._count = count
        self._arrived = arrived
        self._save = save
        self._begun: _Begun | None = None

    async def read(self, name: str, source: Source) -> tuple[Directory, bytes] | None:
        """The validated directory, and the end of the archive that it was read from.

        Returns None when the source cannot be read by ranges.  Raises OriginChanged when it has another
        file than the one whose end is on disk; ArchiveError, MemberError; what the network raises.
        """
        # With a part of the archive unpacked, only the very same directory will do.
        known = self._entry.end if self._entry.state or self._entry.verified else ""
        tail = await self._kept()
        if tail is not None and len(tail) > (self._entry.total or 0):
            raise OriginChanged(f"{name}: what is known of its size and its end does not fit together")
        if tail is None:
            if known:
                source.total = self._entry.total
                source.validator = self._entry.validators.get(source.name, Validator())
            tail = await self._fetch_tail(source)
            if tail is None:
                return None
            await self._write(self._path, tail)
        elif not await self._is_same(source, tail):
            return None
        total = self._entry.total
        assert total is not None
        while True:
            parsed = await in_thread(Directory.parse, name, tail, total, self._policy)
            if isinstance(parsed, Directory):
                await self._found(tail, known, source)
                return parsed, tail
            longer = await self._with_front(source, Span(parsed, total - len(tail)), tail)
            if longer is None:
                return None
            tail = longer

    async def _found(self, end: bytes, known: str, source: Source) -> None:
        digest = await in_thread(_sha256, end)
        if known and digest != known:
            raise OriginChanged(f"{source.name}: the directory of the archive is another one now")
        if digest != self._entry.end:
            self._entry.end = digest
            await self._save()

    async def kept(self, name: str) -> Directory | None:
        """The directory that an earlier run left, if it is whole."""
        tail = await self._kept()
        if tail is None or self._entry.total is None:
            return None
        parsed = await in_thread(Directory.parse, name, tail, self._entry.total, self._policy)
        return parsed if isinstance(parsed, Directory) else None

    async def _kept(self) -> bytes | None:
        if self._entry.total is None:
            return None
        try:
            tail = await unbroken(_read(self._path))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise storage_error("read", error, self._path) from error
        # One that is not as it was written is asked for again.
        return tail if await in_thread(_sha256, tail) == self._entry.end else None

    async def _fetch_tail(self, source: Source) -> bytes | None:
        if source.path is not None:
            size = await file_size(source.path)
            source.total = size
            self._entry.total = size
            return await _read_span(source.path, Span(max(0, size - TAIL_BYTES), size))
        if self._begun is not None and self._begun.source is source:
            return await self._fetch_rest_of_tail(source, self._begun)
        async with self._transfer.get(
            source,
            tail_bytes=TAIL_BYTES,
            vouched=self._vouched,
            patience_seconds=PATIENCE_SECONDS * 2**source.failures,
        ) as answer:
            if _gives_none(source, answer):
                # All of it would come, then.
                self._entry.total = answer.total
                return None
            assert answer.span is not None
            self._begun = _Begun(source, answer.span)
            await self._take(self._begun, answer)
        self._entry.total = answer.total
        self._entry.validators[source.name] = source.validator
        return self._whole_tail()

    async def _fetch_rest_of_tail(self, source: Source, begun: _Begun) -> bytes | None:
        """Go on where an answer broke off."""
        rest = Span(begun.span.start + len(begun.data), begun.span.end)
        if rest.length > 0:
            async with self._transfer.get(
                source,
                rest,
                vouched=self._vouched,
                patience_seconds=PATIENCE_SECONDS * 2**source.failures,
            ) as answer:
                if _gives_none(source, answer):
                    return None
                await self._take(begun, answer)
        self._entry.total = source.total
        self._entry.validators[source.name] = source.validator
        return self._whole_tail()

    async def _take(self, begun: _Begun, answer: Answer) -> None:
        async for chunk in answer.chunks():
            self._count(len(chunk))
            begun.data += chunk
            self._arrived(len(begun.data))

    def _whole_tail(self) -> bytes:
        begun, self._begun = self._begun, None
        assert begun is not None
        return bytes(begun.data)

    async def _is_same(self, source: Source, tail: bytes) -> bool:
        """Compare the source with what is kept; False when it does not give ranges any more."""
        total = self._entry.total
        assert total is not None
        known = self._entry.validators.get(source.name, Validator())
        # Where neither digest nor validator will tell, all of the directory must be the same.
        probe_bytes = PROBE_BYTES if self._vouched or known else len(tail)
        probe = Span(total - min(len(tail), probe_bytes), total)
        if source.path is not None:
            size = await file_size(source.path)
            same = size == total and tail.endswith(await _read_span(source.path, probe))
            if not same:
                raise OriginChanged(f"{source.name} is another file than the one begun with")
            source.total = size
            return True
        source.total = total
        source.validator = known
        async with self._transfer.get(source, probe, vouched=self._vouched) as answer:
            if _gives_none(source, answer):
                return False
            got = b"".join([chunk async for chunk in answer.chunks()])
        self._count(len(got))
        if not tail.endswith(got):
            raise OriginChanged(f"{source.name}: the file was replaced on the server")
        self._entry.validators[source.name] = source.validator
        return True

    async def _with_front(self, source: Source, front: Span, tail: bytes) -> bytes | None:
        """The directory's bytes before the tail as well, kept as they come; None without ranges.

        They are put together on disk: in memory both would be there twice for a moment.
        """
        part = end_part(self._path)
        if source.path is not None:
            await self._write(
                self._path, await _read_span(source.path, Span(front.start, front.end + len(tail)))
            )
            return await unbroken(_read(self._path))
        have = 0
        if self._entry.directory_start == front.start and not self._entry.doubtful:
            # An earlier run was cut off here.
            have = min(await unbroken(_length(part)), front.length)
        if have == 0:
            with storing("remove", part):
                await in_thread(part.unlink, True)
        self._entry.directory_start = front.start
        await self._save()
        self._arrived(len(tail) + have)
        rest = Span(front.start + have, front.end)
        if rest.length > 0 and not await self._fetch_rest(source, rest, part, len(tail) + have):
            return None
        try:
            await unbroken(_finish(part, front.length, tail, self._path))
            return await unbroken(_read(self._path))
        except OSError as error:
            raise storage_error("write", error, part) from error

    async def _fetch_rest(self, source: Source, rest: Span, part: Path, have: int) -> bool:
        async with self._transfer.get(source, rest, vouched=self._vouched) as answer:
            if _gives_none(source, answer):
                return False
            async for chunk in answer.chunks():
                self._count(len(chunk))
                try:
                    await unbroken(_append(part, chunk))
                except OSError as error:
                    raise storage_error("write", error, part) from error
                have += len(chunk)
                self._arrived(have)
        return True

    async def _write(self, path: Path, data: bytes) -> None:
        await in_thread(_replace, path, data)
        if not (self._entry.state or self._entry.verified):
            self._entry.end = await in_thread(_sha256, data)
        await self._save()


def _gives_none(source: Source, answer: Answer) -> bool:
    """Whether the source knows no ranges.  Raises Unranged while that is not certain."""
    if answer.span is None and source.gives_ranges:
        raise Unranged(f"{source.name} sends the whole file instead of a range", url=source.name)
    return answer.span is None


async def _read(path: Path) -> bytes:
    async with aiofiles.open(path, "rb") as file:
        return await file.read()


def _no_link(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o666)


async def _append(path: Path, data: bytes) -> None:
    async with aiofiles.open(path, "ab", opener=_no_link) as file:
        await file.write(data)


async def _finish(part: Path, length: int, tail: bytes, path: Path) -> None:
    """Put ``tail`` behind the first ``length`` bytes of ``part``, which then becomes ``path``."""
    async with aiofiles.open(part, "r+b", opener=_no_link) as file:
        await file.truncate(length)
        await file.seek(length)
        await file.write(tail)
    await aiofiles.os.replace(part, path)


def _replace(path: Path, data: bytes) -> None:
    """Write a file as a whole or not at all."""
    with storing("write", path):
        path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, data)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


async def _length(path: Path) -> int:
    """Size of a file, 0 where there is none."""
    try:
        return (await aiofiles.os.stat(path)).st_size
    except OSError:
        return 0


async def _read_span(path: Path, span: Span) -> bytes:
    async def read() -> bytes:
        async with aiofiles.open(path, "rb") as file:
            await file.seek(span.start)
            return await file.read(span.length)

    try:
        return await unbroken(read())
    except OSError as error:
        raise storage_error("read", error, path) from error
