"""README and ARCHITECTURE against the program: what they name must exist."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest

from fdf256_fast import cli, errors
from fdf256_fast.status import INTERRUPTED

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
ARCHITECTURE = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
DOCUMENTS = [ROOT / name for name in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md")]
DOCUMENTS += sorted((ROOT / "docs").glob("*.md"))

OPTION = re.compile(r"(?<![\w-])--?[a-z][a-z-]*\b")
CALL = re.compile(r"(?<![\w/.-])fdf256 ([a-z][a-z-]*)([^\n`|]*)")
ROW = re.compile(r"^\| *(\d+) *\|[^|]*\|([^|]*)\|$", re.MULTILINE)
MAPPED = re.compile(r"`((?:python|rust|tests|bench|docs)/[^`]*)`")
LINK = re.compile(r"\]\((?!https?:|mailto:)([^)#]+)")


def commands() -> Mapping[str, click.Command]:
    found = {name: cli._command.get_command(click.Context(cli._command), name) for name in cli.COMMANDS}
    return {name: command for name, command in found.items() if command is not None}


def options_of(command: click.Command) -> set[str]:
    """The options that ``--help`` lists."""
    context = click.Context(command, help_option_names=["-h", "--help"])
    return set(OPTION.findall(command.get_help(context))) | {"--help", "-h"}


def section(text: str, title: str) -> str:
    found = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found is not None, f"there is no section {title}"
    return found[1]


def code_of(text: str) -> str:
    """What stands between backticks, in fences or in a line."""
    fenced = re.findall(r"^```[a-z]*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    without = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    return "\n".join([*fenced, *re.findall(r"`([^`\n]+)`", without)])


def calls() -> list[tuple[str, str]]:
    """Each call of ``fdf256`` in README's code: the command, and the rest of its line."""
    return CALL.findall(code_of(README))


def test_every_command_in_the_readme_exists() -> None:
    named = {name for name, _ in calls()}
    assert {"download", "fetch", "demo"} <= named
    assert named <= set(commands())


def test_every_call_in_the_readme_uses_options_of_its_command() -> None:
    for name, rest in calls():
        unknown = set(OPTION.findall(rest)) - options_of(commands()[name])
        assert not unknown, f"fdf256 {name} has no {', '.join(sorted(unknown))}"


def test_every_option_in_the_table_of_the_quick_start_is_one_of_download() -> None:
    rows = [line for line in section(README, "Quick start").splitlines() if line.startswith("| `--")]
    named = {option for row in rows for option in OPTION.findall(row.split("|")[1])}
    assert named, "the table is gone"
    assert named <= options_of(commands()["download"])


def test_every_long_option_in_the_readme_exists_somewhere() -> None:
    known = set().union(*map(options_of, commands().values())) | {"--version"}
    # An option of another program stands in a line that names that program.
    lines = [line for line in code_of(README).splitlines() if "sha256sum" not in line]
    named = {option for line in lines for option in OPTION.findall(line) if option.startswith("--")}
    assert named <= known


def test_the_exit_statuses_in_the_readme_are_those_of_the_program() -> None:
    rows = ROW.findall(section(README, "Exit statuses"))
    table = {int(status): set(re.findall(r"`(\w+)`", names)) for status, names in rows}
    expected: dict[int, set[str]] = {0: set(), INTERRUPTED: set()}
    for name in errors.__all__:
        expected.setdefault(getattr(errors, name).exit_status, set()).add(name)
    assert table == expected


def test_every_file_that_the_map_names_exists() -> None:
    named = set(MAPPED.findall(ARCHITECTURE))
    assert named, "the map is gone"
    missing = sorted(path for path in named if not (ROOT / path).exists())
    assert not missing, f"ARCHITECTURE.md names what is not there: {missing}"


@pytest.mark.parametrize(
    ("folder", "pattern"),
    [
        ("python/fdf256_fast", "**/*.py"),
        ("python/fdf256_fast", "*.pyi"),
        ("rust/core", "src/**/*.rs"),
        ("rust/core", "examples/*.rs"),
        ("rust/bindings", "src/**/*.rs"),
    ],
)
def test_every_module_is_on_the_map(folder: str, pattern: str) -> None:
    named = set(MAPPED.findall(section(ARCHITECTURE, "Map")))
    found = {path.relative_to(ROOT).as_posix() for path in (ROOT / folder).glob(pattern)}
    assert found, f"there is nothing in {folder}"
    # A module's tests in a file beside it are part of the module.
    modules = {path for path in found if not path.endswith("_tests.rs")}
    assert not modules - named, f"not on ARCHITECTURE.md's map: {sorted(modules - named)}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_to_a_file_leads_somewhere(document: Path) -> None:
    links = LINK.findall(document.read_text(encoding="utf-8"))
    missing = [link for link in links if not (document.parent / link).exists()]
    assert not missing
