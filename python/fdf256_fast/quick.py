"""Plain calls of the commands that work on this machine's files, read without click.

click takes 25 ms to import, and with that half as long again as it takes to search 240,000 entries.  So what
is common is read here, and whatever is not (help, a misspelt or rare option, options in the environment) is
left to click, which alone says what is wrong.  A test holds both against each other.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = ["COMMANDS", "Quick", "understood"]


class Option(NamedTuple):
    """What an option is called in the arguments, and what its text becomes; a flag has no text."""

    name: str
    read: Callable[[str], Any] | None = None
    is_many: bool = False


class Quick(NamedTuple):
    """A command: the function of ``local.py`` that it is, its options, and what they are where not typed."""

    function: str
    options: dict[str, Option]
    defaults: dict[str, Any]
    #: Of the words that are no options: the name of their argument, and whether it takes several.
    words: str
    is_many: bool = False
    #: An option without which it is left to click.
    needs: str | None = None


def _kind(text: str) -> str:
    if text not in {"auto", "rich", "plain", "none"}:
        raise ValueError(text)
    return text


_SCREEN = {
    "--progress": Option("progress", _kind),
    "--json": Option("as_json"),
    "--quiet": Option("quiet"),
    "-q": Option("quiet"),
    "--workers": Option("workers", int),
}
_SCREEN_DEFAULTS = {"progress": "auto", "as_json": False, "quiet": False, "verbose": 0, "workers": 0}

COMMANDS = {
    "extract": Quick(
        "extract",
        {
            "--directory": Option("directory", Path),
            "-d": Option("directory", Path),
            "--digest": Option("digest", str),
            "--force": Option("force"),
            **_SCREEN,
        },
        {"directory": Path(), "digest": None, "force": False, **_SCREEN_DEFAULTS},
        "archives",
        is_many=True,
    ),
    "verify": Quick(
        "verify_list",
        {
            "--sums": Option("sums", Path),
            "--algorithm": Option("algorithm", str),
            "--ignore-missing": Option("ignore_missing"),
            "--strict": Option("strict"),
            **_SCREEN,
        },
        {
            "target": None,
            "sums": None,
            "algorithm": None,
            "ignore_missing": False,
            "strict": False,
            **_SCREEN_DEFAULTS,
        },
        "target",
        needs="sums",
    ),
    "search-user": Quick(
        "search_user",
        {
            "--user-nsid": Option("user_nsid", str, is_many=True),
            "--author": Option("author", str, is_many=True),
            "--photo-url": Option("photo_url", str, is_many=True),
            "--plain": Option("plain"),
            **_SCREEN,
        },
        {
            "target": Path("data/fdf256"),
            "user_nsid": (),
            "author": (),
            "photo_url": (),
            "plain": False,
            "catalog": "fdf256",
            "mirror": (),
            **_SCREEN_DEFAULTS,
        },
        "target",
    ),
}


def understood(typed: Sequence[str]) -> Callable[[], int] | None:
    """The call that is typed, if it is a plain one; it returns the exit status.  None: ask click."""
    command = COMMANDS.get(typed[0]) if typed else None
    if command is None or any(name.startswith("FDF256_") for name in os.environ):
        return None
    arguments = _read(command, typed[1:])
    if arguments is None:
        return None

    def call() -> int:
        from fdf256_fast import local  # noqa: PLC0415 - only when it is called

        status: int = getattr(local, command.function)(arguments)
        return status

    return call


def _read(command: Quick, typed: Sequence[str]) -> dict[str, Any] | None:
    arguments = dict(command.defaults)
    words = []
    rest = iter(typed)
    try:
        for word in rest:
            if not word.startswith("-") or word == "-":
                words.append(Path(word))
            else:
                _take(command.options[word], rest, arguments)
    except (KeyError, StopIteration, ValueError):
        return None
    if (not words and command.words not in command.defaults) or (not command.is_many and len(words) > 1):
        return None
    if words:
        arguments[command.words] = tuple(words) if command.is_many else words[0]
    return None if command.needs and arguments[command.needs] is None else arguments


def _take(option: Option, rest: Iterator[str], arguments: dict[str, Any]) -> None:
    if option.read is None:
        arguments[option.name] = True
        return
    value = option.read(next(rest))
    arguments[option.name] = (*arguments[option.name], value) if option.is_many else value
