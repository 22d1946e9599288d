"""What is read without click is read as click reads it."""

from __future__ import annotations

import importlib
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from fdf256_fast import local, quick

if TYPE_CHECKING:
    from pathlib import Path

    import click

CALLS = [
    "extract a.zip",
    "extract a.zip b.tar.gz -d out",
    "extract - --directory out --force --workers 3",
    "extract a.zip --digest md5:00 --json -q --progress none",
    "verify --sums S",
    "verify --sums S folder --algorithm md5 --strict --ignore-missing",
    "verify folder --sums - --quiet --progress plain --workers 2",
    "search-user --user-nsid 1@N00",
    "search-user data --user-nsid 1@N00 --user-nsid 2@N00 --author A --photo-url u --plain",
    "search-user data/fdf_metainfo.json --author A --json --workers 1 --progress auto",
]

LEFT_TO_CLICK = [
    "",
    "--help",
    "download out",
    "extract",
    "extract --help",
    "extract a.zip -h",
    "extract a.zip --directory=out",
    "extract a.zip --dir out",
    "extract a.zip -dout",
    "extract a.zip -d",
    "extract a.zip -qv",
    "extract a.zip --workers two",
    "extract a.zip --progress fancy",
    "extract a.zip --max-ratio 5",
    "extract -- -a.zip",
    "verify",
    "verify folder",
    "verify --sums S --repair",
    "verify a b --sums S",
    "search-user a b",
    "search-user --catalog fdf --author A",
]


def note_arguments(function: str, seen: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def note(arguments: dict[str, Any]) -> int:
        seen.update(arguments)
        return 0

    monkeypatch.setattr(local, function, note)


def read_by_click(typed: list[str], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    seen: dict[str, Any] = {}
    note_arguments(quick.COMMANDS[typed[0]].function, seen, monkeypatch)
    name = typed[0].replace("-", "_")
    command: click.Command = getattr(importlib.import_module(f"fdf256_fast.commands.{name}"), name)
    assert command.main(typed[1:], standalone_mode=False) == 0
    return seen


@pytest.mark.parametrize("call", CALLS)
def test_both_read_the_same(call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    typed = call.split()
    theirs = read_by_click(typed, monkeypatch)
    ours: dict[str, Any] = {}
    note_arguments(quick.COMMANDS[typed[0]].function, ours, monkeypatch)
    understood = quick.understood(typed)
    assert understood is not None
    assert understood() == 0
    assert ours == {name: theirs[name] for name in ours}
    # What only click knows was not typed.
    left = set(theirs) - set(ours)
    again = read_by_click([typed[0], *required(typed[0])], monkeypatch)
    assert {name: theirs[name] for name in left} == {name: again[name] for name in left}


def required(command: str) -> list[str]:
    return {"extract": ["a.zip"], "verify": ["--sums", "S"], "search-user": []}[command]


@pytest.mark.parametrize("call", LEFT_TO_CLICK)
def test_what_is_not_plain_is_left_to_click(call: str) -> None:
    assert quick.understood(call.split()) is None


def test_options_in_the_environment_are_left_to_click(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FDF256_FORCE", "1")
    assert quick.understood(["extract", "a.zip"]) is None


@pytest.mark.parametrize("command", ["extract", "verify", "search-user"])
def test_local_commands_import_neither_asyncio_nor_click_nor_rich(command: str, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"a")
    (tmp_path / "SHA256SUMS").write_text(f"{SHA256_OF_A}  a.txt\n")
    (tmp_path / "fdf_metainfo.json").write_text("{}")
    subprocess.run(["tar", "-cf", "a.tar", "a.txt"], cwd=tmp_path, check=True)
    typed = {
        "extract": ["extract", "a.tar", "-d", "out"],
        "verify": ["verify", "--sums", "SHA256SUMS"],
        "search-user": ["search-user", "fdf_metainfo.json", "--user-nsid", "1@N00"],
    }[command]
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "fdf256_fast", *typed],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if "|" in line}
    assert "fdf256_fast.local" in imported
    assert not imported & {"asyncio", "click", "rich", "aiohttp", "fdf256_fast.installation"}


SHA256_OF_A = "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"
