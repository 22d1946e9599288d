from __future__ import annotations

import asyncio
import os
import time
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from email.utils import formatdate
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import aiohttp
import pytest
from blockbuster import blockbuster_ctx
from yarl import URL

from fdf256_fast.errors import UsageError
from fdf256_fast.origin import Origin

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

SIZE = 1_000_003
CONTENT = bytes(i % 251 for i in range(SIZE))
AN_HOUR = 3600


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "secret.bin").write_bytes(b"outside")
    served = tmp_path / "served"
    served.mkdir()
    (served / "a.zip").write_bytes(CONTENT)
    (served / "empty.bin").write_bytes(b"")
    (served / "folder").mkdir()
    (served / ".hidden").write_bytes(b"not for you")
    old = time.time() - AN_HOUR
    for path in served.iterdir():
        os.utime(path, (old, old))
    return served


@asynccontextmanager
async def client(origin: Origin) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(origin.url, timeout=aiohttp.ClientTimeout(total=60)) as session:
        yield session


async def ask(
    origin: Origin,
    path: str | URL,
    headers: dict[str, str] | None = None,
    *,
    method: str = "GET",
    follow: bool = True,
) -> Answer:
    async with (
        client(origin) as session,
        session.request(method, path, headers=headers, allow_redirects=follow) as response,
    ):
        return Answer(response.status, response.headers, await response.read())


async def test_a_plain_request_gets_the_whole_file_with_its_validators(directory: Path) -> None:
    async with Origin(directory) as origin:
        answer = await ask(origin, "/a.zip")
    assert (answer.status, answer.body) == (200, CONTENT)
    assert answer.headers["Content-Length"] == str(SIZE)
    assert answer.headers["Accept-Ranges"] == "bytes"
    assert answer.headers["ETag"].startswith('"')
    status = await asyncio.to_thread((directory / "a.zip").stat)
    assert answer.headers["Last-Modified"] == formatdate(int(status.st_mtime), usegmt=True)
    assert "Content-Range" not in answer.headers
    assert (origin.requests, origin.bytes_sent, origin.connections) == (1, SIZE, 1)


@pytest.mark.parametrize(
    ("header", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=0-250", 0, 251),
        ("bytes=262100-524400", 262_100, 524_401),
        (f"bytes={SIZE - 1}-", SIZE - 1, SIZE),
        (f"bytes={SIZE - 1}-{SIZE - 1}", SIZE - 1, SIZE),
        ("bytes=1000-", 1000, SIZE),
        ("bytes=999000-99999999999999999999999", 999_000, SIZE),
        ("bytes=-1", SIZE - 1, SIZE),
        ("bytes=-66000", SIZE - 66_000, SIZE),
        (f"bytes=-{SIZE}", 0, SIZE),
        ("bytes=-99999999999999999999999", 0, SIZE),
        ("Bytes=7-8", 7, 9),
    ],
)
async def test_a_range_gets_exactly_its_bytes(directory: Path, header: str, start: int, end: int) -> None:
    async with Origin(directory) as origin:
        answer = await ask(origin, "/a.zip", {"Range": header})
    assert answer.status == 206
    assert answer.body == CONTENT[start:end]
    assert answer.headers["Content-Range"] == f"bytes {start}-{end - 1}/{SIZE}"
    assert answer.headers["Content-Length"] == str(end - start)
    assert origin.bytes_sent == end - start


@pytest.mark.parametrize(
    "header",
    [
        "bytes=5-2",
        "bytes=-",
        "bytes",
        "bytes=",
        "bytes=a-b",
        "bytes=1-2-3",
        "bytes=0x1-0x2",
        "bytes=0-1,4-5",
        "items=0-5",
        "bytes=" + "9" * 5000 + "-",
    ],
)
async def test_a_range_that_is_none_is_ignored(directory: Path, header: str) -> None:
    async with Origin(directory) as origin:
        answer = await ask(origin, "/a.zip", {"Range": header})
    assert (answer.status, answer.body) == (200, CONTENT)


@pytest.mark.parametrize(
    ("path", "header"),
    [
        ("/a.zip", f"bytes={SIZE}-"),
        ("/a.zip", f"bytes={SIZE}-{SIZE + 5}"),
        ("/a.zip", "bytes=-0"),
        ("/empty.bin", "bytes=0-"),
        ("/empty.bin", "bytes=0-0"),
    ],
)
async def test_a_range_outside_the_file_is_416_and_tells_the_size(
    directory: Path, path: str, header: str
) -> None:
    async with Origin(directory) as origin:
        answer = await ask(origin, path, {"Range": header})
    assert answer.status == 416
    size = SIZE if path == "/a.zip" else 0
    assert answer.headers["Content-Range"] == f"bytes */{size}"
    assert origin.bytes_sent == 0


async def test_an_empty_file_is_served_whole_even_to_a_suffix_range(directory: Path) -> None:
    async with Origin(directory) as origin:
        for headers in (None, {"Range": "bytes=-5"}):
            answer = await ask(origin, "/empty.bin", headers)
            assert (answer.status, answer.body) == (200, b"")


@pytest.mark.parametrize(
    ("kind", "status"),
    [("same tag", 206), ("same date", 206), ("weak tag", 200), ("other tag", 200), ("old", 200)],
)
async def test_if_range_gives_the_range_only_of_the_same_version(
    directory: Path, kind: str, status: int
) -> None:
    async with Origin(directory) as origin:
        validators = (await ask(origin, "/a.zip", {"Range": "bytes=0-0"})).headers
        if_range = {
            "same tag": validators["ETag"],
            "weak tag": "W/" + validators["ETag"],
            "other tag": '"other"',
            "same date": validators["Last-Modified"],
            "old": formatdate(0, usegmt=True),
        }[kind]
        answer = await ask(origin, "/a.zip", {"Range": "bytes=0-9", "If-Range": if_range})
    assert answer.status == status
    assert answer.body == (CONTENT[:10] if status == 206 else CONTENT)


async def test_a_date_that_could_still_change_within_its_second_is_no_strong_validator(
    directory: Path,
) -> None:
    path = directory / "a.zip"
    ahead = time.time() + AN_HOUR
    os.utime(path, (ahead, ahead))
    async with Origin(directory) as origin:
        date = formatdate(int(ahead), usegmt=True)
        answer = await ask(origin, "/a.zip", {"Range": "bytes=0-9", "If-Range": date})
    assert answer.status == 200


@pytest.mark.parametrize(
    ("header", "value", "status"),
    [
        ("If-Match", "{tag}", 206),
        ("If-Match", '"x", {tag}', 206),
        ("If-Match", "*", 206),
        ("If-Match", "W/{tag}", 412),
        ("If-Match", '"x"', 412),
        ("If-None-Match", "{tag}", 304),
        ("If-None-Match", "W/{tag}", 304),
        ("If-None-Match", "*", 304),
        ("If-None-Match", '"x"', 206),
        ("If-Modified-Since", "{date}", 304),
        ("If-Modified-Since", "Thu, 01 Jan 1970 00:00:00 GMT", 206),
        ("If-Modified-Since", "yesterday", 206),
        ("If-Unmodified-Since", "{date}", 206),
        ("If-Unmodified-Since", "Thu, 01 Jan 1970 00:00:00 -0000", 412),
    ],
)
async def test_preconditions_are_evaluated_before_the_range(
    directory: Path, header: str, value: str, status: int
) -> None:
    async with Origin(directory) as origin:
        validators = (await ask(origin, "/a.zip", {"Range": "bytes=0-0"})).headers
        given = value.format(tag=validators["ETag"], date=validators["Last-Modified"])
        answer = await ask(origin, "/a.zip", {"Range": "bytes=0-9", header: given})
    assert answer.status == status
    assert answer.headers["ETag"] == validators["ETag"]


async def test_a_changed_file_has_another_entity_tag(directory: Path) -> None:
    async with Origin(directory) as origin:
        before = (await ask(origin, "/a.zip")).headers["ETag"]
        await asyncio.to_thread((directory / "a.zip").write_bytes, CONTENT[::-1])
        assert (await ask(origin, "/a.zip")).headers["ETag"] != before


@pytest.mark.parametrize("redirect", [False, True])
async def test_head_is_refused_as_signed_storage_refuses_it(directory: Path, redirect: bool) -> None:
    async with Origin(directory, redirect=redirect) as origin:
        answer = await ask(origin, "/a.zip", method="HEAD")
    assert (answer.status, answer.body) == (403, b"")


async def test_other_methods_are_told_which_one_is_allowed(directory: Path) -> None:
    async with Origin(directory) as origin:
        answer = await ask(origin, "/a.zip", method="DELETE")
    assert (answer.status, answer.headers["Allow"]) == (405, "GET")
    assert await asyncio.to_thread((directory / "a.zip").exists)


@pytest.mark.parametrize(
    "path",
    [
        "/missing.zip",
        "/folder",
        "/.hidden",
        "/..%2Fsecret.bin",
        "/%2E%2E%2Fsecret.bin",
        "/%2Fetc%2Fpasswd",
        "/a.zip%00",
        "/folder/a.zip",
        "/" + "n" * 300,
    ],
)
async def test_nothing_but_the_files_of_the_directory_is_served(directory: Path, path: str) -> None:
    async with Origin(directory) as origin:
        answer = await ask(origin, URL(origin.url + path, encoded=True))
    assert answer.status == 404
    assert b"outside" not in answer.body


async def test_a_redirect_leads_to_a_signed_address_and_keeps_the_range(directory: Path) -> None:
    async with Origin(directory, redirect=True) as origin:
        redirection = await ask(origin, "/a.zip", {"Range": "bytes=5-9"}, follow=False)
        assert (redirection.status, redirection.body) == (302, b"")
        location = urlsplit(redirection.headers["Location"])
        assert location.path == "/signed/a.zip"
        assert set(parse_qs(location.query)) == {"expires", "signature"}
        answer = await ask(origin, "/a.zip", {"Range": "bytes=5-9"})
    assert (answer.status, answer.body) == (206, CONTENT[5:10])
    assert origin.requests == 3


async def test_a_signed_address_expires_with_an_xml_error(directory: Path) -> None:
    async with Origin(directory, redirect=True, expires_seconds=AN_HOUR) as origin:
        location = (await ask(origin, "/a.zip", follow=False)).headers["Location"]
        origin.advance_clock(AN_HOUR - 60)
        assert (await ask(origin, URL(location, encoded=True))).status == 200
        origin.advance_clock(60)
        expired = await ask(origin, URL(location, encoded=True))
        assert expired.status == 403
        assert expired.headers["Content-Type"].startswith("application/xml")
        assert b"<Message>Request has expired</Message>" in expired.body
        assert (await ask(origin, "/a.zip")).status == 200, "a new signature holds again"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("expires=", "expires=9"),
        ("signature=", "signature=0"),
        ("signature=", "signature=%C3%A9"),
        ("/a.zip", "/empty.bin"),
        ("expires=", "else="),
        ("signature=", "else="),
    ],
)
async def test_an_address_that_was_tampered_with_is_refused(directory: Path, old: str, new: str) -> None:
    async with Origin(directory, redirect=True) as origin:
        location = (await ask(origin, "/a.zip", follow=False)).headers["Location"]
        answer = await ask(origin, URL(location.replace(old, new), encoded=True))
    assert answer.status == 403
    assert b"SignatureDoesNotMatch" in answer.body


async def test_a_cut_breaks_the_transfer_and_refuses_until_restored(directory: Path) -> None:
    async with Origin(directory) as origin:
        origin.cut(after_bytes=300_001)
        with pytest.raises(aiohttp.ClientError):
            await ask(origin, "/a.zip")
        assert origin.is_cut
        assert origin.bytes_sent == 300_001
        for _ in range(3):
            with pytest.raises(aiohttp.ClientError):
                await ask(origin, "/a.zip", {"Range": "bytes=0-0"})
        assert origin.bytes_sent == 300_001
        origin.restore()
        assert (await ask(origin, "/a.zip")).body == CONTENT


async def test_a_cut_reaches_all_connections_at_once(directory: Path) -> None:
    async with Origin(directory, rate=2_000_000) as origin:
        origin.cut(after_bytes=400_000)
        outcomes = await asyncio.gather(*(ask(origin, "/a.zip") for _ in range(5)), return_exceptions=True)
        assert all(isinstance(outcome, aiohttp.ClientError) for outcome in outcomes)
        assert origin.bytes_sent == 400_000


async def test_a_cut_now_drops_a_connection_that_is_idle(directory: Path) -> None:
    async with Origin(directory) as origin, client(origin) as session:
        async with session.get("/a.zip") as response:
            await response.read()
        origin.cut(after_bytes=0)
        await origin.wait_until_cut()
        with pytest.raises(aiohttp.ClientError):
            async with session.get("/a.zip"):
                pass
        origin.restore()
        async with session.get("/a.zip", headers={"Range": "bytes=-3"}) as response:
            assert await response.read() == CONTENT[-3:]


async def test_a_cut_that_is_restored_in_time_does_not_happen(directory: Path) -> None:
    async with Origin(directory) as origin:
        origin.cut(after_bytes=1000)
        origin.restore()
        assert (await ask(origin, "/a.zip")).body == CONTENT


async def test_connections_counts_the_most_that_were_served_together(directory: Path) -> None:
    async with Origin(directory, rate=20_000) as origin, client(origin) as session:
        async with AsyncExitStack() as stack:
            for _ in range(3):
                await stack.enter_async_context(session.get("/a.zip"))
            assert origin.connections == 3
        await ask(origin, "/a.zip", {"Range": "bytes=0-0"})
        assert origin.connections == 3
        assert origin.requests == 4


async def test_the_rate_is_never_exceeded_by_all_connections_together(directory: Path) -> None:
    async with Origin(directory, rate=1_000_000) as origin:
        started = asyncio.get_running_loop().time()
        await asyncio.gather(*(ask(origin, "/a.zip", {"Range": "bytes=0-49999"}) for _ in range(4)))
        # Only a lower bound: a busy machine is slower, never faster.
        assert asyncio.get_running_loop().time() - started > 0.199


async def test_a_file_that_changes_while_it_is_sent_breaks_the_connection(directory: Path) -> None:
    async with (
        Origin(directory, rate=500_000) as origin,
        client(origin) as session,
        session.get("/a.zip") as response,
    ):
        received = await response.content.readexactly(1000)
        await asyncio.to_thread((directory / "a.zip").write_bytes, bytes(SIZE))
        with pytest.raises(aiohttp.ClientError):
            await response.read()
    assert received == CONTENT[:1000]
    assert origin.bytes_sent < SIZE


async def test_closing_does_not_wait_for_a_client_that_reads_slowly(directory: Path) -> None:
    async with (
        Origin(directory, rate=20) as origin,  # more than half a day for the file
        client(origin) as session,
        session.get("/a.zip") as response,
    ):
        assert await response.content.readexactly(1) == CONTENT[:1]
        await origin.__aexit__()
        with pytest.raises(aiohttp.ClientError):
            await response.read()


async def test_closing_ends_the_port_and_every_task(directory: Path) -> None:
    async with Origin(directory) as origin:
        await ask(origin, "/a.zip")
    with pytest.raises(aiohttp.ClientConnectorError):
        await ask(origin, "/a.zip")
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_client_that_leaves_in_the_middle_disturbs_nobody(
    directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with Origin(directory) as origin:
        async with client(origin) as session, session.get("/a.zip") as response:
            await response.content.readexactly(10)
        assert (await ask(origin, "/a.zip")).body == CONTENT
    assert caplog.records == []


async def test_serving_never_blocks_the_event_loop(directory: Path) -> None:
    with blockbuster_ctx():
        async with Origin(directory, rate=50_000_000, redirect=True) as origin:
            assert (await ask(origin, "/a.zip")).body == CONTENT
            assert (await ask(origin, "/a.zip", {"Range": "bytes=3-5"})).body == CONTENT[3:6]
            assert (await ask(origin, "/missing.zip")).status == 404
            origin.cut(after_bytes=500_000)
            with pytest.raises(aiohttp.ClientError):
                await ask(origin, "/a.zip")


async def test_a_directory_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a directory"):
        async with Origin(tmp_path / "missing"):
            pass


@pytest.mark.parametrize("rate", [0, -1.5])
def test_a_rate_that_is_not_positive_is_refused(tmp_path: Path, rate: float) -> None:
    with pytest.raises(UsageError, match="bytes per second"):
        Origin(tmp_path, rate=rate)
