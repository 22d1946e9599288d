"""What is taken for a URL or a path, and what is refused before anybody is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fdf256_fast.errors import UsageError
from fdf256_fast.sources import Source
from tests.integration.runs import command

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("location", "path"),
    [
        ("http://a/b", None),
        ("HTTPS://[::1]:8080/b?c", None),
        ("file:///a%20b", "/a b"),
        ("/a:b//c", "/a:b/c"),
        ("/mnt/x://y", "/mnt/x:/y"),
    ],
)
def test_urls_and_paths_are_told_apart(location: str, path: str | None) -> None:
    found = Source.parse(location).path
    assert (None if found is None else str(found)) == path
    assert Source.parse("C:b").path is not None


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("", "not empty"),
        ("ftp://secret@a/b?secret", "ftp is not spoken"),
        ("s3://a/b", "s3 is not spoken"),
        ("http:///x", "no host"),
        ("https://secret@/x", "no host"),
        ("http://:80/x", "no host"),
        ("http:x", "no host"),
        ("http://[x/y", "is not a URL"),
    ],
)
def test_what_is_no_source_is_refused(location: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason) as caught:
        Source.parse(location)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "arguments",
    [
        ("fetch", "ftp://a/b.zip"),
        ("fetch", "ftp://a/b.zip", "--extract"),
        ("fetch", "http:///x"),
        ("fetch", "http:///x", "-o", "y"),
        ("download", "target", "--mirror", ""),
        ("download", "target", "--mirror", "ftp://a/b"),
    ],
)
async def test_the_command_ends_with_status_2(arguments: tuple[str, ...], tmp_path: Path) -> None:
    result = await command(*arguments, "--json", cwd=tmp_path)
    assert (result.status, result.report["ok"]) == (2, False), result.stderr
