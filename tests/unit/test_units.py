"""Human units, written and read."""

from __future__ import annotations

import contextlib
import math
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fdf256_fast.errors import UsageError
from fdf256_fast.units import (
    format_bytes,
    format_countdown,
    format_duration,
    format_part,
    format_percent,
    format_rate,
    parse_rate,
    parse_size,
)


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1, "1 B"),
        (999, "999 B"),
        (999.6, "1.00 kB"),
        (1000, "1.00 kB"),
        (9_994, "9.99 kB"),
        (9_996, "10.0 kB"),
        (99_960, "100 kB"),
        (999_499, "999 kB"),
        (999_500, "1.00 MB"),
        (715_000_000, "715 MB"),
        (1_290_000_000, "1.29 GB"),
        (26_000_000_000, "26.0 GB"),
        (3 * 10**15, "3.00 PB"),
        (10**18, "1000 PB"),
    ],
)
def test_a_byte_count_has_three_significant_digits(count: float, text: str) -> None:
    assert format_bytes(count) == text


@settings(deadline=None)
@given(st.integers(0, 10**18 - 1))
def test_a_byte_count_is_never_wider_than_eight_characters(count: int) -> None:
    assert re.fullmatch(r"(\d{1,3}|\d\.\d\d|\d\d\.\d|1000) (B|[kMGTP]B)", format_bytes(count))


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [
        (1_196_000_000, 26_000_000_000, "1.2 of 26.0 GB"),
        (0, 26_000_000_000, "0.0 of 26.0 GB"),
        (450_000_000, 1_290_000_000, "0.45 of 1.29 GB"),
        (45, 715, "45 of 715 B"),
        (0, 0, "0 of 0 B"),
    ],
)
def test_a_part_is_shown_in_the_unit_of_the_whole(part: int, whole: int, text: str) -> None:
    assert format_part(part, whole) == text


@pytest.mark.parametrize(
    ("part", "whole", "decimals", "text"),
    [
        (0, 7, 0, "0"),
        (1_196_000_000, 26_000_000_000, 1, "4.6"),
        (999_999, 1_000_000, 0, "99"),
        (999_999, 1_000_000, 1, "99.9"),
        (7, 7, 1, "100.0"),
        (8, 7, 0, "100"),
        (0, 0, 0, "100"),
    ],
)
def test_a_percentage_reaches_100_only_when_complete(part: int, whole: int, decimals: int, text: str) -> None:
    assert format_percent(part, whole, decimals) == text


def test_a_rate_is_bytes_per_second() -> None:
    assert format_rate(112_345_678) == "112 MB/s"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0.0 s"),
        (0, "0.0 s"),
        (1.84, "1.8 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.6, "1:00"),
        (221, "3:41"),
        (3599.7, "1h 00m"),
        (3600 + 4 * 60 + 59, "1h 04m"),
        (3 * 86_400 + 5 * 3600, "3d 05h"),
    ],
)
def test_a_duration_reads_as_people_say_it(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-3, "0:00"),
        (0, "0:00"),
        (0.01, "0:01"),
        (41.2, "0:42"),
        (221, "3:41"),
        (3600, "1h 00m"),
        (86_399, "23h 59m"),
        (86_400, "1d 00h"),
        (1e9, "> 99d"),
        (math.inf, "> 99d"),
        (math.nan, "> 99d"),
    ],
)
def test_a_countdown_is_zero_only_when_nothing_is_left(seconds: float, text: str) -> None:
    assert format_countdown(seconds) == text


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("1048576", 1_048_576),
        ("64k", 64_000),
        ("64K", 64_000),
        ("64kB", 64_000),
        ("64Ki", 65_536),
        ("64kib", 65_536),
        ("256MiB", 268_435_456),
        ("1.5GB", 1_500_000_000),
        (" 1.5 gb ", 1_500_000_000),
        (".5M", 500_000),
        ("2T", 2 * 10**12),
        ("1PiB", 2**50),
        ("12B", 12),
        ("1.9", 1),
        ("999999999999999999", 10**18 - 1),
    ],
)
def test_a_size_is_read(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "MB",
        "-1",
        "+1",
        "1,5GB",
        "1.GB",
        "1 2",
        "1e5",
        "10Mbit",
        "10MB/s",
        "5i",
        "5iB",
        "inf",
        "nan",
        "0x10",
        "1_000",
        "5X",
        "٣",
        "1\N{KELVIN SIGN}",
        "9" * 5000,
    ],
)
def test_what_is_no_size_is_refused_by_name(text: str) -> None:
    with pytest.raises(UsageError, match="is not a size") as caught:
        parse_size(text)
    assert repr(text) in caught.value.message
    assert "256MiB" in caught.value.hint


@pytest.mark.parametrize("text", ["4097PiB", "99999999999999999PB"])
def test_a_size_beyond_any_disk_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="more than any memory or disk"):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("10MB/s", 10e6),
        ("10MB", 10e6),
        ("10 M", 10e6),
        ("10m/s", 10e6),
        ("500k", 500e3),
        ("512KiB/s", 524_288.0),
        ("80Mbit/s", 10e6),
        ("80mbit", 10e6),
        ("80 Mbits/s", 10e6),
        ("80Mbps", 10e6),
        ("8bit", 1.0),
        ("1.5GB/s", 1.5e9),
        ("1048576", 1_048_576.0),
    ],
)
def test_a_rate_is_read(text: str, rate: float) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize("text", ["", "fast", "-1MB", "10MB/h", "10/s/s", "1,5MB", "10 Mbit/min"])
def test_what_is_no_rate_is_refused_by_name(text: str) -> None:
    with pytest.raises(UsageError, match="is not a rate") as caught:
        parse_rate(text)
    assert "80Mbit/s" in caught.value.hint


@pytest.mark.parametrize("text", ["10Mb", "10mb/s", "10b", "1.5Gb/s"])
def test_a_rate_that_may_mean_bits_or_bytes_is_refused_with_both_readings(text: str) -> None:
    with pytest.raises(UsageError, match="bits or bytes") as caught:
        parse_rate(text)
    assert re.search(r"write (\S+)B/s .* \1bit/s", caught.value.hint)


@pytest.mark.parametrize("text", ["0", "0MB/s", "0bit"])
def test_a_rate_of_nothing_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="never let a byte through"):
        parse_rate(text)


@settings(deadline=None)
@given(st.integers(0, 10**18 - 1))
def test_plain_bytes_come_back_exactly(size: int) -> None:
    assert parse_size(str(size)) == size


@settings(deadline=None)
@given(
    st.integers(0, 4096),
    st.sampled_from(["k", "M", "G", "T", "P"]),
    st.sampled_from([("", 1000), ("B", 1000), ("i", 1024), ("iB", 1024)]),
)
def test_every_prefix_multiplies(number: int, prefix: str, ending: tuple[str, int]) -> None:
    text, base = ending
    expected = number * base ** (" kMGTP".index(prefix))
    assert parse_size(f"{number}{prefix}{text}") == expected
    assert parse_size(f"{number} {prefix}{text}".lower()) == expected


@settings(deadline=None)
@given(st.integers(0, 10**18 - 1))
def test_what_is_written_for_bytes_reads_back_to_three_digits(size: int) -> None:
    assert parse_size(format_bytes(size)) == pytest.approx(size, rel=0.006)


@settings(deadline=None)
@given(st.floats(1, 1e17))
def test_what_is_written_for_a_rate_reads_back_to_three_digits(rate: float) -> None:
    assert parse_rate(format_rate(rate)) == pytest.approx(rate, rel=0.006, abs=0.51)


@settings(deadline=None)
@given(st.text(max_size=12))
def test_any_text_is_a_size_and_a_rate_or_a_usage_error(text: str) -> None:
    with contextlib.suppress(UsageError):
        assert parse_size(text) >= 0
    with contextlib.suppress(UsageError):
        assert parse_rate(text) > 0
