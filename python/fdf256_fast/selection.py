"""Which images are wanted: by split, licence, number, or as a sample.  Pure, but for reading a list.

An image is ``<split>/images/<number>.png``, in the archives and in an installed tree alike.  Everything else
(metadata) belongs to a split if its path begins with one, and to all of them otherwise.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from fdf256_fast.errors import UsageError
from fdf256_fast.layout import SPLITS
from fdf256_fast.sums import STANDARD_INPUT, standard_input

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from pathlib import Path

__all__ = ["SPLITS", "Ids", "Image", "Selection", "image_of", "plain_number", "split_of"]

_IMAGE = re.compile(r"(train|val)/images/([^/]+)\.png")
_ID = re.compile(r"(?:\./)?(?:(train|val)/(?:images/)?)?([^/\s]+?)(?:\.png)?")


class Image(NamedTuple):
    """One image: its split, and its number as text (without leading zeros, if it is one)."""

    split: str
    number: str


def image_of(path: str) -> Image | None:
    """The image that ``path`` (relative to the target) is, or None for another file."""
    match = _IMAGE.fullmatch(path)
    return match and Image(match[1], plain_number(match[2]))


def split_of(path: str) -> str | None:
    """The split that ``path`` (relative to the target) belongs to; None for all of them."""
    first = path.partition("/")[0]
    return first if first in SPLITS else None


def plain_number(text: str) -> str:
    """``text`` without leading zeros, if it is a number; else as it is."""
    return str(int(text)) if text.isascii() and text.isdigit() and len(text) < 20 else text


@dataclass(frozen=True, slots=True)
class Ids:
    """Images by their numbers: ``(split, number)``, or ``("", number)`` where both splits are meant."""

    wanted: frozenset[tuple[str, str]]

    @classmethod
    def parse(cls, lines: Iterable[str], source: str) -> Ids:
        """Read one image a line: ``123``, ``train/123``, or ``train/images/123.png``.

        Empty lines and what follows a ``#`` do not count.  A number without a split means that number in
        every split.  Raises UsageError that names ``source`` and the line.
        """
        wanted = set()
        # One text is one image, and not as many as it has characters; numbers will do as well.
        for number, line in enumerate([lines] if isinstance(lines, str) else lines, start=1):
            text = str(line).partition("#")[0].strip()
            if not text:
                continue
            match = _ID.fullmatch(text)
            if match is None:
                raise UsageError(
                    f"{source}: line {number}: {text[:80]!r} is no image",
                    hint="One image a line, as 123, train/123 or train/images/123.png.",
                )
            wanted.add((match[1] or "", plain_number(match[2])))
        return cls(frozenset(wanted))

    @classmethod
    def read(cls, path: Path) -> Ids:
        """Read a file of them; ``-`` is the standard input.  Raises UsageError."""
        try:
            is_standard = str(path) == STANDARD_INPUT
            text = (standard_input().read() if is_standard else path.read_bytes()).decode("utf-8-sig")
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise UsageError(f"--ids {path}: cannot be read: {reason}") from error
        found = cls.parse(text.splitlines(), str(path))
        if not found.wanted:
            raise UsageError(f"--ids {path}: there is no image in it")
        return found

    def without(self, images: Collection[Image]) -> list[str]:
        """Those that are none of ``images``, as text, sorted."""
        numbers = {image.number for image in images}
        return sorted(
            f"{split}/{number}" if split else number
            for split, number in self.wanted
            if (Image(split, number) not in images if split else number not in numbers)
        )

    def __contains__(self, image: object) -> bool:
        if not isinstance(image, Image):
            return False
        return image in self.wanted or ("", image.number) in self.wanted


@dataclass(frozen=True, slots=True)
class Selection:
    """What is wanted of a dataset; everything, as it is made without arguments.

    ``splits`` are ``train`` and ``val``, ``licenses`` as the catalog names them (both empty: all); ``ids``
    only these images; ``sample`` at most so many of what is left, the same ones for the same ``seed``.
    """

    splits: frozenset[str] = field(default_factory=frozenset)
    licenses: frozenset[str] = field(default_factory=frozenset)
    ids: Ids | None = None
    sample: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for split in self.splits:
            if split not in SPLITS:
                raise UsageError(f"there is no split {split!r}", hint=f"Known: {', '.join(SPLITS)}.")
        if self.sample is not None and self.sample < 1:
            raise UsageError(f"a sample must have at least one image, not {self.sample}")

    @property
    def is_everything(self) -> bool:
        """Whether whole archives are wanted (perhaps not all of them)."""
        return not self.splits and self.ids is None and self.sample is None

    @property
    def token(self) -> str:
        """What tells this selection from others, for the record of what is installed; empty for everything.

        Licences select whole archives, and so matter only to what a sample is drawn from.
        """
        parts = [f"split={','.join(sorted(self.splits))}"] if self.splits else []
        if self.ids is not None:
            listed = "\n".join("/".join(image) for image in sorted(self.ids.wanted))
            parts.append(f"ids={hashlib.sha256(listed.encode()).hexdigest()[:16]}")
        if self.sample is not None:
            among = f" license={','.join(sorted(self.licenses))}" if self.licenses else ""
            parts.append(f"sample={self.sample} seed={self.seed}{among}")
        return " ".join(parts)

    def wants(self, path: str) -> bool:
        """Whether the member ``path`` is wanted, before a sample is drawn."""
        if self.splits and split_of(path) not in {None, *self.splits}:
            return False
        image = image_of(path)
        return image is None or self.ids is None or image in self.ids

    def draw(self, paths: Iterable[str]) -> frozenset[str] | None:
        """The sample among ``paths``, which are all wanted images; None where no sample is asked for.

        Each image has its place in an order that depends on nothing but the seed and its path: a larger
        sample holds every smaller one, and images that are not there do not move the others.
        """
        if self.sample is None:
            return None
        ranked = sorted(paths, key=self._rank)
        return frozenset(ranked[: self.sample])

    def _rank(self, path: str) -> bytes:
        return hashlib.sha256(f"{self.seed}/{path}".encode()).digest()
