"""The parsers of Python's side, given damaged text: a clear refusal or a valid result, nothing else."""

from __future__ import annotations

import contextlib
import json
import random
from typing import TYPE_CHECKING, Any

from hypothesis import given, settings
from hypothesis import strategies as st

from fdf256_fast.catalog import Catalog, Digest, parse_catalog
from fdf256_fast.errors import CatalogError, UsageError
from fdf256_fast.journal import Entry, Journal, read_journal, render
from fdf256_fast.sources import Validator
from fdf256_fast.units import parse_rate, parse_size

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

CATALOG = """\
name = "mine"
title = "My dataset"

[[archive]]
name = "a"
role = "images"
url = ["https://example.org/a.zip", "http://example.org/b.zip"]
digest = "md5:b790269bd64e9a6c1b1b032a9ff60410"
license = "cc-by-2"
size = 123
"""

JOURNAL = render(
    Journal(
        publishing=["b"],
        entries={
            "a": Entry(
                "a.zip md5:1", 123, {"http://x/a": Validator()}, 7, '{"version": 1}', source="http://x/a"
            ),
            "b": Entry("b.zip md5:2", 5, verified="md5:2", digest="md5:2", members=3),
        },
    )
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def damaged(text: str, at: int, change: int, by: str) -> str:
    at %= len(text)
    return [
        text[:at] + by + text[at + 1 :],
        text[:at] + by + text[at:],
        text[:at] + text[at + 1 :],
        text[:at],
    ][change]


DAMAGE = (st.integers(0, 10_000), st.integers(0, 3), st.text(max_size=3))


def check_catalog(text: str) -> None:
    problem = ""
    try:
        found = parse_catalog(text, "my.toml")
    except CatalogError as error:
        problem = str(error)
    else:
        assert isinstance(found, Catalog)
        assert all(archive.urls for archive in found.archives)
    assert not problem or "my.toml" in problem


@given(*DAMAGE)
def test_a_damaged_catalog_is_refused_or_valid(at: int, change: int, by: str) -> None:
    check_catalog(damaged(CATALOG, at, change, by))


@given(st.text(max_size=60))
def test_any_text_is_refused_as_a_catalog(text: str) -> None:
    check_catalog(text)


@given(st.sampled_from(["name", "title", "archive"]), JSON)
def test_a_catalog_with_another_kind_of_value_is_refused_or_valid(key: str, value: Any) -> None:
    check_catalog(CATALOG.replace(f"{key} =", f"{key}_ =") + f"\n[{key}]\nx = {json.dumps(str(value))}\n")


@given(st.sampled_from(["name", "role", "url", "digest", "license", "size"]), JSON)
def test_an_archive_with_another_kind_of_value_is_refused_or_valid(key: str, value: Any) -> None:
    lines = [
        line for line in CATALOG.splitlines() if not line.startswith(f"{key} =") or line == 'name = "mine"'
    ]
    # Most of JSON's values are TOML's as well; where not, that is damage of another kind.
    check_catalog("\n".join([*lines, f"{key} = {json.dumps(value)}"]))


def test_a_catalog_of_very_deep_lists_is_refused() -> None:
    check_catalog("x = " + "[" * 20_000)


async def check_journal(path: Path, text: str) -> None:
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    found = await read_journal(path)
    assert isinstance(found, Journal)
    if found.problem:
        assert str(path) in found.problem
        assert not found.entries
    else:
        # What is taken up can be written again.
        assert json.loads(render(found))["version"] == 1


async def test_a_journal_damaged_at_every_byte_is_damaged_or_valid(tmp_path: Path) -> None:
    values = random.Random(256)
    for at in range(len(JOURNAL)):
        by = chr(values.choice([0, 34, 44, 48, 91, 123, 125, 233, 0xD800]))
        await check_journal(tmp_path / "journal", damaged(JOURNAL, at, values.randrange(4), by))


def replaced(value: Any, choices: random.Random, fresh: Any) -> Any:
    """``value`` with one of its parts, at any depth, replaced."""
    if isinstance(value, dict) and value and choices.random() < 0.85:
        key = choices.choice(sorted(value))
        return {**value, key: replaced(value[key], choices, fresh)}
    if isinstance(value, list) and value and choices.random() < 0.85:
        return [replaced(value[0], choices, fresh), *value[1:]]
    return fresh


@settings(max_examples=300)
@given(st.randoms(use_true_random=False), JSON)
async def test_a_journal_with_another_kind_of_value_is_damaged_or_valid(
    tmp_path_factory: pytest.TempPathFactory, choices: random.Random, fresh: Any
) -> None:
    text = json.dumps(replaced(json.loads(JOURNAL), choices, fresh))
    await check_journal(tmp_path_factory.getbasetemp() / "journal", text)


async def test_a_journal_of_very_deep_lists_is_damaged(tmp_path: Path) -> None:
    await check_journal(tmp_path / "journal", "[" * 200_000)


@given(st.text(max_size=20))
def test_any_text_is_a_size_a_rate_and_a_digest_or_refused(text: str) -> None:
    for parse in (parse_size, parse_rate, Digest.parse):
        with contextlib.suppress(UsageError):
            parse(text)
