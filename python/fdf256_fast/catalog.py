"""Catalogs: what a dataset consists of, read from TOML.

::

    name = "fdf256"
    title = "Flickr Diverse Faces 256"

    [[archive]]
    name = "metainfo"              # file name; ".zip" unless it ends in a suffix of its own
    role = "metadata"              # metadata | images | extra
    url = ["https://…"]            # a string, or a list: mirrors, in the order to try
    digest = "md5:b790269b…"       # optional; without it only the members' CRC-32 can be checked
    license = "cc-by-2"            # optional; what --license selects by
    size = 123                     # optional; bytes

A catalog comes from outside, and its names become paths: everything that is not exactly as above is
refused with a :class:`~fdf256_fast.errors.CatalogError` that names the file and the field.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NoReturn

from fdf256_fast.errors import CatalogError, UsageError
from fdf256_fast.sources import split_url

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from importlib.resources.abc import Traversable

__all__ = [
    "ALGORITHMS",
    "Archive",
    "Catalog",
    "Digest",
    "Kind",
    "Role",
    "available",
    "load_catalog",
    "parse_catalog",
]

Role = Literal["metadata", "images", "extra"]
Kind = Literal["zip", "tar", "compressed tar", "file"]

ALGORITHMS: Mapping[str, int] = {
    "md5": 32,
    "sha1": 40,
    "sha256": 64,
    "sha512": 128,
    "blake3": 64,
    "crc32": 8,
}
"""The digest algorithms, and how many hexadecimal digits a value of each has."""

_COMPRESSED = (".tar.gz", ".tgz", ".tar.zst", ".tar.xz", ".txz", ".tar.bz2", ".tbz2")
_SUFFIXES = (".zip", ".tar", ".json", ".torch", *_COMPRESSED)
_SCHEMES = ("https", "http", "file")
_ROLES: tuple[Role, ...] = ("metadata", "images", "extra")

# Part of a path here, of a URL under --mirror, and of messages: narrow enough to need no quoting in
# any of them, and never ".", ".." or something that looks like an option.
_SAFE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")


@dataclass(frozen=True, slots=True)
class Digest:
    """A digest's algorithm (a key of :data:`ALGORITHMS`) and its value in lower-case hexadecimal.

    Raises :class:`~fdf256_fast.errors.UsageError` for anything else: a digest that cannot be
    checked must not look like one that was.
    """

    algorithm: str
    value: str

    def __post_init__(self) -> None:
        length = ALGORITHMS.get(self.algorithm)
        if length is None:
            raise UsageError(
                f"unknown digest algorithm {self.algorithm!r}",
                hint=_suggestion(self.algorithm, ALGORITHMS) or f"known: {', '.join(ALGORITHMS)}",
            )
        if re.fullmatch(rf"[0-9a-f]{{{length}}}", self.value) is None:
            raise UsageError(
                f"{self.algorithm} digest must be {length} hexadecimal digits, got {self.value!r}"
            )

    @classmethod
    def parse(cls, text: str) -> Digest:
        """Read ``algorithm:hex``, in either case.

        Raises :class:`~fdf256_fast.errors.UsageError`.
        """
        algorithm, colon, value = text.partition(":")
        if not colon:
            raise UsageError(f"a digest is written ALGORITHM:HEX, got {text!r}")
        return cls(algorithm.lower(), value.lower())

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.value}"


@dataclass(frozen=True, slots=True)
class Archive:
    """One archive: where to get it, and what is known about it beforehand.

    ``urls`` are mirrors of the same bytes, in the order to try.  ``size`` is in bytes.  ``digest``,
    ``license`` and ``size`` are None where the catalog does not say.
    """

    name: str
    role: Role
    urls: tuple[str, ...]
    digest: Digest | None = None
    license: str | None = None
    size: int | None = None

    @property
    def file_name(self) -> str:
        """The archive's file name, at a mirror and on disk."""
        return self.name if self.name.endswith(_SUFFIXES) else f"{self.name}.zip"

    @property
    def kind(self) -> Kind:
        """What its file name says it is; a file of no known kind is put into the target as it is."""
        if self.file_name.endswith(".zip"):
            return "zip"
        if self.file_name.endswith(".tar"):
            return "tar"
        return "compressed tar" if self.file_name.endswith(_COMPRESSED) else "file"


@dataclass(frozen=True, slots=True)
class Catalog:
    """A dataset: at least one archive.  ``source`` says where the catalog was read from."""

    name: str
    title: str
    archives: tuple[Archive, ...]
    source: str

    @property
    def reference(self) -> str:
        """What ``load_catalog`` finds it by, from any working folder."""
        if self.source == f"{self.name}.toml (built in)":
            return self.name
        return os.path.abspath(self.source)  # noqa: PTH100 - nothing is to be resolved

    @property
    def licenses(self) -> tuple[str, ...]:
        """The licences that its archives are under, sorted."""
        return tuple(sorted({archive.license for archive in self.archives if archive.license}))


def available() -> tuple[str, ...]:
    """Names of the built-in catalogs, sorted."""
    names = (entry.name for entry in _built_in().iterdir())
    return tuple(sorted(name.removesuffix(".toml") for name in names if name.endswith(".toml")))


def load_catalog(name_or_path: str | Path) -> Catalog:
    """Read a built-in catalog by its name, or a file by its path.

    A built-in name wins over a file of that name in the working directory; write ``./name`` for the
    file.  Raises :class:`~fdf256_fast.errors.CatalogError`.
    """
    names = available()
    if name_or_path in names:
        file = f"{name_or_path}.toml"
        return parse_catalog((_built_in() / file).read_text("utf-8"), f"{file} (built in)")
    source = str(name_or_path)
    try:
        # utf-8-sig: some editors put a byte order mark first, of which TOML knows nothing.
        text = Path(name_or_path).read_text("utf-8-sig")
    except FileNotFoundError:
        raise CatalogError(
            f"{source}: there is no such file, nor a built-in catalog of that name",
            hint=_suggestion(source, names) or f"built in: {', '.join(names)}",
        ) from None
    except OSError as error:
        raise CatalogError(f"{source}: cannot be read: {error.strerror or error}") from error
    except ValueError as error:  # not UTF-8, or a NUL in the path
        raise CatalogError(f"{source}: cannot be read: {error}") from error
    return parse_catalog(text, source)


def parse_catalog(text: str, source: str) -> Catalog:
    """Read a catalog's text; ``source`` is what messages call it.

    Raises :class:`~fdf256_fast.errors.CatalogError`.
    """
    import tomllib

    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise CatalogError(f"{source}: not TOML: {error}") from error
    except RecursionError:
        raise CatalogError(f"{source}: not a catalog: nested too deeply") from None
    table = _Table(values, source)
    table.allow("name", "title", "archive")
    archives = tuple(_archive(entry) for entry in table.tables("archive"))
    _refuse_duplicates(archives, table)
    return Catalog(table.safe_name("name"), table.text("title"), archives, source)


def _archive(table: _Table) -> Archive:
    table.allow("name", "role", "url", "digest", "license", "size")
    return Archive(
        name=table.safe_name("name"),
        role=table.role("role"),
        urls=table.urls("url"),
        digest=table.digest("digest"),
        license=table.safe_name("license") if "license" in table.values else None,
        size=table.size("size"),
    )


def _refuse_duplicates(archives: Iterable[Archive], table: _Table) -> None:
    """Compare file names, without case: "a", "a.zip" and, on some disks, "A" are the same file."""
    seen: dict[str, int] = {}
    for number, archive in enumerate(archives, start=1):
        first = seen.setdefault(archive.file_name.lower(), number)
        if first != number:
            table.fail(f"archive {number}: name {archive.name!r} is taken by archive {first}")


@dataclass(frozen=True, slots=True)
class _Table:
    """A TOML table, and what messages call it."""

    values: Mapping[str, object]
    where: str

    def fail(self, problem: str, *, hint: str = "") -> NoReturn:
        raise CatalogError(f"{self.where}: {problem}", hint=hint)

    def allow(self, *keys: str) -> None:
        """Refuse other keys: a misspelt ``digest`` must not pass for an archive without one."""
        for key in self.values:
            if key not in keys:
                hint = _suggestion(key, keys) or f"known: {', '.join(keys)}"
                self.fail(f"unknown key {key!r}", hint=hint)

    def required(self, key: str) -> object:
        if key not in self.values:
            self.fail(f"{key} is missing")
        return self.values[key]

    def text(self, key: str) -> str:
        value = self.required(key)
        if not isinstance(value, str) or not value.strip():
            self.fail(f"{key} must be a string that is not empty")
        return value

    def safe_name(self, key: str) -> str:
        value = self.text(key)
        if _SAFE_NAME.fullmatch(value) is None:
            self.fail(
                f"{key} {value!r} cannot be used as a file name",
                hint="letters, digits, '.', '_' and '-', at most 128, the first not '.' or '-'",
            )
        return value

    def role(self, key: str) -> Role:
        value = self.text(key)
        for role in _ROLES:
            if value == role:
                return role
        self.fail(f"{key} must be {', '.join(_ROLES[:-1])} or {_ROLES[-1]}, not {value!r}")

    def urls(self, key: str) -> tuple[str, ...]:
        value = self.required(key)
        urls = [value] if isinstance(value, str) else value
        if not isinstance(urls, list) or not all(isinstance(url, str) for url in urls):
            self.fail(f"{key} must be a string or a list of strings")
        if not urls:
            self.fail(f"{key} must name at least one address")
        for url in urls:
            if (problem := _problem_with_url(url)) is not None:
                self.fail(f"{key} {url!r} {problem}")
        return tuple(urls)

    def digest(self, key: str) -> Digest | None:
        if key not in self.values:
            return None
        text = self.text(key)
        try:
            return Digest.parse(text)
        except UsageError as error:
            self.fail(f"{key}: {error.message}", hint=error.hint)

    def size(self, key: str) -> int | None:
        if key not in self.values:
            return None
        value = self.values[key]
        # A bool is an int to Python, but `size = true` is a mistake.
        if isinstance(value, bool) or not isinstance(value, int) or value <= 0:
            self.fail(f"{key} must be a whole number of bytes above 0")
        return value

    def tables(self, key: str) -> list[_Table]:
        values = self.values.get(key, [])
        if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
            self.fail(f"{key} must be written as [[{key}]] tables")
        if not values:
            self.fail(f"there must be at least one [[{key}]]")
        return [
            _Table(value, f"{self.where}: {key} {number}") for number, value in enumerate(values, start=1)
        ]


def _problem_with_url(url: str) -> str | None:
    """What is wrong with a URL, to follow it in a sentence; None if nothing is."""
    # urlsplit drops some control characters silently: it would check another URL than is used.
    if not url.isprintable() or " " in url:
        return "has a space or control character in it"
    try:
        parts = split_url(url)
    except ValueError as error:
        return f"is not a URL: {error}"
    if parts.scheme not in _SCHEMES:
        return f"must begin with {', '.join(f'{scheme}://' for scheme in _SCHEMES)}"
    if parts.scheme == "file":
        if parts.netloc not in ("", "localhost") or not parts.path.startswith("/"):
            return "must hold an absolute path, as in file:///data/a.zip"
    elif not parts.hostname:
        return "has no host"
    return None


def _suggestion(word: str, known: Iterable[str]) -> str:
    """A question with the known word that was probably meant, or nothing."""
    from difflib import get_close_matches

    matches = get_close_matches(word, list(known), n=1)
    return f"did you mean {matches[0]!r}?" if matches else ""


def _built_in() -> Traversable:
    from importlib import resources

    return resources.files("fdf256_fast") / "catalogs"
