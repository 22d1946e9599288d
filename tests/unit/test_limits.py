"""What a run may use: every number that cannot be used is refused by the name of its option."""

from __future__ import annotations

import math
from typing import Any

import pytest

from fdf256_fast import Limits
from fdf256_fast.errors import UsageError
from tests.integration.runs import command


@pytest.mark.parametrize(
    ("field", "option", "values"),
    [
        ("connections", "--connections", [0, -1, 1025, math.nan]),
        ("memory_bytes", "--memory", [0, (4 << 20) - 1, (1 << 62) + 1, math.inf]),
        ("workers", "--workers", [-1, 1025]),
        ("rate", "--limit-rate", [0, -1.0, math.nan, math.inf]),
        ("retries", "--retries", [-1, 10**30]),
        ("timeout_seconds", "--timeout", [0, -1.0, math.nan, math.inf, 1e300]),
        ("max_ratio", "--max-ratio", [0, 1 << 64]),
        ("max_unpacked_bytes", "--max-unpacked", [-1, 1 << 64]),
        ("max_members", "--max-members", [0, 1 << 64]),
    ],
)
def test_a_number_that_cannot_be_used_is_refused(field: str, option: str, values: list[Any]) -> None:
    for value in values:
        with pytest.raises(
            UsageError, match=rf"{field} \({option}\) must be .*, not {value}".replace("+", ".")
        ):
            Limits(**{field: value})


def test_the_outermost_numbers_can_be_used() -> None:
    Limits(connections=1, memory_bytes=4 << 20, rate=0.1, retries=0, timeout_seconds=0.001, max_ratio=1)
    Limits(connections=1024, memory_bytes=1 << 62, rate=1e18, timeout_seconds=86_400.0, max_ratio=1 << 62)


@pytest.mark.parametrize("name", ["", "a b", "a:", "a\r\nb", "ä", "a\n", "a\0", "(a)", "\udcff"])
def test_what_is_no_name_of_a_header_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="--header"):
        Limits(headers={name: "x"})


@pytest.mark.parametrize("value", ["a\rb", "a\nEvil: b", "\0", "secret\udcff"])
def test_a_header_whose_value_cannot_be_sent_is_refused_without_telling_it(value: str) -> None:
    with pytest.raises(UsageError, match=r"--header.*X-Name") as caught:
        Limits(headers={"X-Name": value})
    assert value not in str(caught.value)
    Limits(headers={"X-Name": "ü\tä", "authorization": "Bearer a=", "x_1.~": ""})


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--timeout", "nan"),
        ("--timeout", "inf"),
        ("--memory", "4.19MB"),
        ("--memory", "99999999999999999PB"),
        ("--max-ratio", "0"),
        ("--header", "a b: c"),
        ("--header", "a: b\r\nEvil: c"),
        ("--header", ": c"),
        ("--header", "a"),
    ],
)
async def test_the_command_ends_with_status_2(option: str, value: str) -> None:
    result = await command("fetch", "http://127.0.0.1:9/a.bin", option, value, "--json")
    assert (result.status, result.report["ok"]) == (2, False), result.stderr
    assert option in result.report["error"]
    assert "4.19 MB" not in result.report["error"]
