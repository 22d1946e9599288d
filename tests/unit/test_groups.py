"""Errors of tasks come out of their group one by one, whichever Python runs it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import fdf256_fast
from fdf256_fast.errors import StorageError
from fdf256_fast.watch import all_of


async def _fail(error: Exception) -> None:
    raise error


async def test_the_first_error_is_raised_as_it_is() -> None:
    first = StorageError("first")
    with pytest.raises(StorageError) as caught:
        await all_of([_fail(first), _fail(StorageError("second"))], hint="")
    assert caught.value is first


async def test_what_is_a_bug_is_not_covered_by_an_error() -> None:
    with pytest.raises(ExceptionGroup) as caught:
        await all_of([_fail(StorageError("first")), _fail(ZeroDivisionError())], hint="")
    assert caught.value.subgroup(ZeroDivisionError) is not None


def test_nobody_uses_a_statement_that_wraps_what_is_raised_in_it() -> None:
    """Python 3.11.0 to 3.11.3 make a group of an error that is raised in ``except*``."""
    for path in Path(fdf256_fast.__file__).parent.rglob("*.py"):
        starred = [
            node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.TryStar)
        ]
        assert not starred, path
