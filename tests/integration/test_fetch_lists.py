"""``fetch --sums`` and ``--input-file``: URLs and digests from files."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest

from fdf256_fast.origin import Origin
from tests.integration.oracles import bytes_of
from tests.integration.runs import command

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

FILES = {"a.bin": bytes_of(300_000), "b c.bin": bytes_of(50_000, 1), "none.bin": b""}


@pytest.fixture
async def origin(tmp_path: Path) -> AsyncIterator[Origin]:
    served = tmp_path / "served"
    served.mkdir()
    for name, data in FILES.items():
        (served / name).write_bytes(data)
    lines = [f"{hashlib.sha256(data).hexdigest()}  ./{name}\n" for name, data in FILES.items()]
    (served / "SHA256SUMS").write_text("".join(lines))
    async with Origin(served) as running:
        yield running


def urls(origin: Origin) -> list[str]:
    return [f"{origin.url}/{name.replace(' ', '%20')}" for name in FILES]


@pytest.mark.parametrize("remote", [True, False])
async def test_each_file_gets_its_digest_from_the_list(remote: bool, origin: Origin, tmp_path: Path) -> None:
    sums = f"{origin.url}/SHA256SUMS" if remote else str(tmp_path / "served/SHA256SUMS")
    (tmp_path / "urls").write_text("# mine\n\n" + "\r\n".join(urls(origin)))
    options = ("--input-file", tmp_path / "urls", "--sums", sums, "-d", tmp_path / "out", "--json")
    result = await command("fetch", *options)
    assert result.status == 0, result.stderr
    assert result.report["verified"] == "sha256"
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == FILES


async def test_a_file_that_is_not_what_the_list_says_is_refused(origin: Origin, tmp_path: Path) -> None:
    (tmp_path / "served/a.bin").write_bytes(bytes_of(300_000, 5))
    options = ("--sums", f"{origin.url}/SHA256SUMS", "-d", tmp_path / "out")
    result = await command("fetch", urls(origin)[0], *options)
    assert (result.status, (tmp_path / "out/a.bin").exists()) == (3, False)


async def test_a_file_that_the_list_does_not_have_is_not_fetched(origin: Origin, tmp_path: Path) -> None:
    (tmp_path / "list").write_text(f"{'0' * 32}  other\n")
    before = origin.bytes_sent
    result = await command("fetch", urls(origin)[0], "--sums", tmp_path / "list", "-d", tmp_path)
    assert (result.status, origin.bytes_sent) == (2, before)
    assert "no digest for a.bin" in result.stderr


async def test_a_line_may_have_its_own_digest(origin: Origin, tmp_path: Path) -> None:
    right, wrong = hashlib.md5(FILES["a.bin"]).hexdigest(), "0" * 32
    for digest, status in ((right, 0), (wrong, 3)):
        (tmp_path / "urls").write_text(f"{urls(origin)[0]} md5:{digest}\n")
        result = await command("fetch", "--input-file", tmp_path / "urls", "-d", tmp_path / digest)
        assert result.status == status, result.stderr


@pytest.mark.parametrize(
    "text", ["", "# nothing\n", "hello\n", "http://x/y z w\n", "http://x/y sha3:00\n", "\0\n", "\xff\n"]
)
async def test_what_is_no_list_of_urls_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "urls").write_bytes(text.encode("latin-1"))
    result = await command("fetch", "--input-file", "urls", "--json", cwd=tmp_path)
    assert (result.status, result.report["ok"]) == (2, False)
    assert "urls" in result.report["error"]
    assert [path.name for path in tmp_path.iterdir()] == ["urls"]


async def test_there_must_be_a_url(tmp_path: Path) -> None:
    assert (await command("fetch", cwd=tmp_path)).status == 2
    assert (await command("fetch", "--input-file", tmp_path / "none", cwd=tmp_path)).status == 5


@pytest.mark.parametrize("digest", ["", "md5:", "00"])
async def test_a_digest_that_is_none_is_not_taken_for_no_wish(
    digest: str, origin: Origin, tmp_path: Path
) -> None:
    result = await command("fetch", urls(origin)[0], "--digest", digest, "-d", tmp_path / "out", "--json")
    assert (result.status, origin.bytes_sent, (tmp_path / "out").exists()) == (2, 0, False)
    assert "--digest" in result.report["error"]
