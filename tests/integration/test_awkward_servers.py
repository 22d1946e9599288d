"""Servers that tell no length, and connections that fall silent."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import hashlib
import time
import zipfile
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from fdf256_fast import client, fetch, fetching, install, transfer
from fdf256_fast.catalog import Archive, Catalog, Digest
from fdf256_fast.errors import StorageError, TransferError, UsageError
from fdf256_fast.limits import Limits
from fdf256_fast.progress import Progress
from fdf256_fast.spans import SPAN_BYTES_MIN
from fdf256_fast.transfer import Transfer
from tests.integration.runs import PATIENCE_SECONDS, Recorder

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path


def bytes_of(length: int) -> bytes:
    """Position-dependent, and too noisy for deflate to remove."""
    noise = hashlib.shake_128(b"seed").digest(length)
    return bytes((i % 251) ^ noise[i] for i in range(length))


@contextlib.asynccontextmanager
async def serving(handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_get("/{name}", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        port = runner.addresses[0][1]
        yield f"http://127.0.0.1:{port}"
    finally:
        await runner.cleanup()


def chunked(content: bytes) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """No range, no length: only the end tells the end."""

    async def handle(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.enable_chunked_encoding()
        await response.prepare(request)
        for start in range(0, len(content), 50_000):
            await response.write(content[start : start + 50_000])
        await response.write_eof()
        return response

    return handle


async def test_a_plain_file_without_a_length_arrives_whole(tmp_path: Path) -> None:
    content = bytes_of(700_001)
    async with serving(chunked(content)) as url:
        path = await fetch(
            f"{url}/a.bin", tmp_path / "a.bin", digest=f"sha256:{hashlib.sha256(content).hexdigest()}"
        )
    assert path.read_bytes() == content


async def test_a_file_without_a_length_is_reported_with_its_size(tmp_path: Path) -> None:
    content = bytes_of(100_001)
    async with serving(chunked(content)) as url:
        wanted = fetching.Wanted(f"{url}/a.bin", tmp_path / "a.bin")
        report = await fetching.fetch_files([wanted], Limits(), Progress())
    assert [archive.bytes for archive in report.archives] == [len(content)]


async def test_a_body_that_only_the_end_of_its_connection_ends_is_told_of(tmp_path: Path) -> None:
    content = bytes_of(50_000)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.0 200 OK\r\n\r\n" + content)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    recorder = Recorder()
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/a.bin"
        await fetch(url, tmp_path / "a.bin", progress=recorder)
        assert any("nothing tells whether all of it came" in message for message in recorder.messages)
        recorder.messages.clear()
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        await fetch(url, tmp_path / "b.bin", progress=recorder, digest=digest)
        assert not recorder.messages
    assert (tmp_path / "a.bin").read_bytes() == content


async def test_a_dataset_without_a_length_is_spooled_and_installed(tmp_path: Path) -> None:
    archive = tmp_path / "one.zip"
    content = bytes_of(300_000)
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as out:
        for index in range(5):
            out.writestr(f"train/images/{index}.png", content[index * 1000 :])
    digest = Digest("md5", hashlib.md5(archive.read_bytes()).hexdigest())
    async with serving(chunked(archive.read_bytes())) as url:
        catalog = Catalog("one", "One", (Archive("one", "images", (f"{url}/one.zip",), digest),), "test")
        report = await install(tmp_path / "target", catalog=catalog)
    assert report.verified == "md5"
    for index in range(5):
        assert (tmp_path / f"target/train/images/{index}.png").read_bytes() == content[index * 1000 :]
    assert not (tmp_path / "target/.fdf256/spool").exists()


async def partial(request: web.Request, content: bytes) -> tuple[web.StreamResponse, bytes]:
    """The head of the answer to a request for a span, and the body that belongs to it."""
    span = request.http_range
    start, stop = span.start or 0, min(span.stop or len(content), len(content))
    headers = {
        "Content-Range": f"bytes {start}-{stop - 1}/{len(content)}",
        "Content-Length": str(stop - start),
        "ETag": '"one"',
    }
    response = web.StreamResponse(status=206, headers=headers)
    await response.prepare(request)
    return response, content[start:stop]


async def test_a_connection_that_falls_silent_is_raced_by_another(tmp_path: Path) -> None:
    content = bytes_of(4_000_000)
    asked: list[str] = []
    quiet = asyncio.Event()

    async def handle(request: web.Request) -> web.StreamResponse:
        asked.append(request.headers["Range"])
        is_third = len(asked) == 3
        response, body = await partial(request, content)
        # Half of the third span, and then nothing for ever.
        await response.write(body[: len(body) // 2] if is_third else body)
        if is_third:
            await quiet.wait()
        return response

    async with serving(handle) as url:
        # Without a race, the end would come no sooner than the timeout, which is longer than this test's.
        path = await fetch(
            f"{url}/a.bin", tmp_path / "a.bin", limits=Limits(timeout_seconds=600, connections=4)
        )
        quiet.set()
    assert path.read_bytes() == content


async def test_a_redirect_to_a_port_that_is_none_is_a_transfer_error(tmp_path: Path) -> None:
    async def handle(_request: web.Request) -> web.StreamResponse:
        return web.Response(status=302, headers={"Location": "http://127.0.0.1:99999/a.bin"})

    async with serving(handle) as url:
        with pytest.raises(TransferError, match="redirects to something that is no address"):
            await fetch(f"{url}/a.bin", tmp_path / "a.bin")


@pytest.mark.parametrize("name", ["", "a.bin"], ids=["named by the URL", "named"])
@pytest.mark.parametrize("host", ["127.0.0.1:99999", "127.0.0.1:x", "[::1"])
async def test_what_is_no_url_is_a_usage_error_without_secrets(host: str, name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a URL") as caught:
        await fetch(f"http://user:secret@{host}/a.bin?secret#secret", tmp_path / name)
    assert host in str(caught.value)
    assert "secret" not in str(caught.value)
    assert not list(tmp_path.iterdir())


async def test_an_answer_that_waited_too_long_for_its_file_is_asked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = bytes_of(200_000)
    again = asyncio.Event()
    asked = 0
    add = fetching._FileRun.add

    def add_late(run: fetching._FileRun, saved: str | None = None) -> int:
        time.sleep(0.8)
        return add(run, saved)

    async def handle(request: web.Request) -> web.StreamResponse:
        nonlocal asked
        asked += 1
        is_first = asked == 1
        response, body = await partial(request, content)
        if is_first:
            await response.write(body[:1000])
            await again.wait()
        else:
            again.set()
            await response.write(body)
        return response

    monkeypatch.setattr(fetching._FileRun, "add", add_late)
    async with serving(handle) as url, asyncio.timeout(PATIENCE_SECONDS):
        path = await fetch(f"{url}/a.bin", tmp_path / "a.bin", limits=Limits(timeout_seconds=0.3))
    assert path.read_bytes() == content
    assert again.is_set()


async def test_a_mirror_is_asked_while_another_source_wants_to_be_left_alone(tmp_path: Path) -> None:
    content = bytes_of(10_000)

    async def handle(request: web.Request) -> web.StreamResponse:
        if request.match_info["name"] == "busy.bin":
            return web.Response(status=503, headers={"Retry-After": "300"})
        return web.Response(body=content, headers={"ETag": '"one"'})

    async with serving(handle) as url, asyncio.timeout(PATIENCE_SECONDS):
        path = await fetch(f"{url}/busy.bin", tmp_path / "a.bin", mirrors=[f"{url}/a.bin"])
    assert path.read_bytes() == content


async def test_an_outage_of_all_connections_is_not_taken_for_too_many_of_them(tmp_path: Path) -> None:
    content = bytes_of(8_000_000)
    broken = asyncio.Event()
    begun = refused = 0

    async def handle(request: web.Request) -> web.StreamResponse:
        nonlocal begun, refused
        if broken.is_set() and not refused:
            refused += 1
            return web.Response(status=503)
        is_first = request.http_range.start == 0
        response, body = await partial(request, content)
        if is_first or broken.is_set():
            await response.write(body)
            return response
        begun += 1
        if begun == 3:
            broken.set()
        await broken.wait()
        assert request.transport is not None
        request.transport.abort()
        return response

    recorder = Recorder()
    async with serving(handle) as url, asyncio.timeout(PATIENCE_SECONDS):
        path = await fetch(f"{url}/a.bin", tmp_path / "a.bin", progress=recorder)
    assert path.read_bytes() == content
    assert refused == 1
    assert not [text for text in recorder.messages if "more connections" in text]


async def fetched_at_once(url: str, folder: Path, count: int, **limits: Any) -> None:
    """Fetch so many files, which all have the same content."""
    wanted = [fetching.Wanted(f"{url}/{number}.bin", folder / f"{number}.bin") for number in range(count)]
    async with asyncio.timeout(PATIENCE_SECONDS):
        await fetching.fetch_files(wanted, Limits(**limits), Progress())


@dataclasses.dataclass
class Crowded:
    """A server that sends ``room`` answers at a time, each for so long, and refuses all others."""

    content: bytes
    room: int
    seconds: float
    status: int = 503
    headers: dict[str, str] = dataclasses.field(default_factory=dict)
    refused: int = 0
    sending: int = 0

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if self.sending >= self.room:
            self.refused += 1
            # Not before the others have begun: a server that answers nobody is not a crowded one.
            await asyncio.sleep(self.seconds / 2)
            return web.Response(status=self.status, headers=self.headers)
        self.sending += 1
        try:
            response, body = await partial(request, self.content)
            await response.write(body[:1000])
            await asyncio.sleep(self.seconds)
            await response.write(body[1000:])
            return response
        finally:
            self.sending -= 1


async def test_files_beyond_those_that_a_server_sends_at_a_time_wait_for_their_turn(tmp_path: Path) -> None:
    server = Crowded(bytes_of(10_000), 3, 0.4, headers={"Retry-After": "300"})
    async with serving(server.answer) as url:
        await fetched_at_once(url, tmp_path, 12, retries=0)
    assert [path.read_bytes() == server.content for path in tmp_path.iterdir()] == [True] * 12
    assert 9 <= server.refused < 20, "after the first time they are not asked for in vain"


async def test_a_file_that_is_always_refused_is_given_up_and_others_come(tmp_path: Path) -> None:
    content = bytes_of(10_000)

    async def handle(request: web.Request) -> web.StreamResponse:
        if request.match_info["name"] == "5.bin":
            await asyncio.sleep(0.05)
            return web.Response(status=503)
        response, body = await partial(request, content)
        await response.write(body[:1000])
        await asyncio.sleep(0.1)
        await response.write(body[1000:])
        return response

    async with serving(handle) as url:
        with pytest.raises(TransferError, match=r"5\.bin answered 503"):
            await fetched_at_once(url, tmp_path, 24, retries=2)
    names = {path.name for path in tmp_path.glob("*.bin")}
    assert names == {f"{number}.bin" for number in range(24)} - {"5.bin"}


async def test_a_host_that_names_a_time_goes_on_with_those_that_it_serves(tmp_path: Path) -> None:
    server = Crowded(bytes_of(8_000_000), 2, 0.05, 429, {"Retry-After": "300"})
    async with serving(server.answer) as url, asyncio.timeout(PATIENCE_SECONDS):
        path = await fetch(f"{url}/a.bin", tmp_path / "a.bin", limits=Limits(connections=4))
    assert path.read_bytes() == server.content
    assert server.refused


async def test_a_stream_without_a_size_leaves_the_windows_of_others_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = bytes_of(30_000_000)
    shares: list[list[int]] = []
    set_windows = Transfer._set_windows

    def observed(run: Transfer) -> None:
        set_windows(run)
        if len(run.feeds) == 2 and all(feed.downloaded > 1_000_000 for feed in run.feeds):
            shares.append([feed.ahead_bytes for feed in run.feeds])
            assert all(feed.remaining >= 0 for feed in run.feeds)
            assert sum(shares[-1]) <= run._ahead_bytes + 4 * SPAN_BYTES_MIN

    async def handle(request: web.Request) -> web.StreamResponse:
        if request.match_info["name"] == "0.bin":
            return await chunked(content)(request)
        response, body = await partial(request, content)
        for start in range(0, len(body), 100_000):
            await response.write(body[start : start + 100_000])
            await asyncio.sleep(0.001)
        return response

    monkeypatch.setattr(Transfer, "_set_windows", observed)
    async with serving(handle) as url:
        await fetched_at_once(url, tmp_path, 2)
    assert [path.read_bytes() == content for path in tmp_path.iterdir()] == [True, True]
    assert shares


async def test_a_slow_stream_is_not_raced_by_another_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "HEDGE_SECONDS_START", 0.2)
    content = bytes_of(400_000)
    asked = 0

    async def handle(request: web.Request) -> web.StreamResponse:
        nonlocal asked
        asked += 1
        response = web.StreamResponse(headers={"Content-Length": str(len(content))})
        await response.prepare(request)
        for start in range(0, len(content), 10_000):
            await response.write(content[start : start + 10_000])
            await asyncio.sleep(0.03)
        return response

    recorder = Recorder()
    async with serving(handle) as url, asyncio.timeout(PATIENCE_SECONDS):
        path = await fetch(f"{url}/a.bin", tmp_path / "a.bin", progress=recorder)
    assert path.read_bytes() == content
    assert asked == 1
    assert not recorder.messages


@pytest.mark.parametrize("digest", [True, False], ids=["digest", "no digest"])
async def test_a_stream_with_a_rate_limit_ends(digest: bool, tmp_path: Path) -> None:
    content = bytes_of(20_000)

    async def handle(_request: web.Request) -> web.StreamResponse:
        return web.Response(body=content)

    value = f"sha256:{hashlib.sha256(content).hexdigest()}" if digest else None
    async with serving(handle) as url, asyncio.timeout(PATIENCE_SECONDS):
        path = await fetch(f"{url}/a.bin", tmp_path / "a.bin", digest=value, limits=Limits(rate=100_000))
    assert path.read_bytes() == content


@pytest.mark.parametrize("length", [True, False], ids=["length", "no length"])
async def test_a_stream_that_ends_before_the_size_that_is_known_is_not_the_file(
    length: bool, tmp_path: Path
) -> None:
    content = bytes_of(400_000)
    asked: list[str] = []

    async def handle(request: web.Request) -> web.StreamResponse:
        asked.append(request.headers.get("Range", "all"))
        if len(asked) == 1:
            # Without a validator only one answer will do, and this one tells the size.
            response = web.StreamResponse(
                status=206, headers={"Content-Range": f"bytes 0-262143/{len(content)}"}
            )
            await response.prepare(request)
            await response.write(content[:262_144])
            return response
        head = (
            f"HTTP/1.1 200 OK\r\nContent-Length: {len(content)}\r\n\r\n"
            if length
            else "HTTP/1.1 200 OK\r\n\r\n"
        )
        assert request.transport is not None
        assert isinstance(request.transport, asyncio.WriteTransport)
        request.transport.write(head.encode() + (content[:300_000] if len(asked) < 4 else content))
        request.transport.close()
        return web.Response()

    async with serving(handle) as url, asyncio.timeout(PATIENCE_SECONDS):
        path = await fetch(f"{url}/a.bin", tmp_path / "a.bin")
    assert path.read_bytes() == content
    assert len(asked) == 4


async def test_a_server_behind_a_redirect_that_takes_few_at_a_time_gets_few(tmp_path: Path) -> None:
    server = Crowded(bytes_of(10_000), 3, 0.4)
    async with serving(server.answer) as storage:

        async def redirect(request: web.Request) -> web.StreamResponse:
            return web.Response(status=302, headers={"Location": f"{storage}/{request.match_info['name']}"})

        async with serving(redirect) as url:
            await fetched_at_once(url, tmp_path, 12, retries=0)
    assert [path.read_bytes() == server.content for path in tmp_path.iterdir()] == [True] * 12
    assert server.refused >= 9


async def test_a_server_that_takes_one_at_a_time_and_names_no_size(tmp_path: Path) -> None:
    content = bytes_of(2_000_000)
    sending = 0

    async def handle(request: web.Request) -> web.StreamResponse:
        nonlocal sending
        if sending:
            return web.Response(status=503)
        sending += 1
        try:
            span = request.http_range
            size = len(content)
            start, stop = span.start or 0, min(span.stop or size, size)
            start = size + start if start < 0 else start
            headers = {"Content-Range": f"bytes {start}-{stop - 1}/*", "ETag": '"one"'}
            response = web.StreamResponse(status=206, headers=headers)
            await response.prepare(request)
            for at in range(start, stop, 50_000):
                await response.write(content[at : min(at + 50_000, stop)])
                await asyncio.sleep(0.001)
            return response
        finally:
            sending -= 1

    async with serving(handle) as url, asyncio.timeout(PATIENCE_SECONDS):
        path = await fetch(f"{url}/a.bin", tmp_path / "a.bin")
    assert path.read_bytes() == content


async def test_a_racer_that_is_refused_leaves_its_span_to_the_one_that_it_raced(tmp_path: Path) -> None:
    content = bytes_of(4_000_000)
    slow_spans: list[str] = []
    asked: list[str] = []
    is_over = asyncio.Event()

    async def handle(request: web.Request) -> web.StreamResponse:
        wanted = request.headers["Range"]
        asked.append(wanted)
        end = wanted.rpartition("-")[2]
        if any(span.endswith(f"-{end}") for span in slow_spans):
            is_over.set()
            return web.Response(status=503)
        is_slow = len(asked) == 3
        if is_slow:
            slow_spans.append(wanted)
        response, body = await partial(request, content)
        await response.write(body[: len(body) // 2] if is_slow else body)
        if is_slow:
            await is_over.wait()
            await asyncio.sleep(0.3)
            await response.write(body[len(body) // 2 :])
        return response

    async with serving(handle) as url, asyncio.timeout(PATIENCE_SECONDS):
        path = await fetch(
            f"{url}/a.bin", tmp_path / "a.bin", limits=Limits(timeout_seconds=600, connections=4, retries=0)
        )
    assert path.read_bytes() == content
    (slow,) = slow_spans
    again = [wanted for wanted in asked if wanted.rpartition("-")[2] == slow.rpartition("-")[2]]
    assert len(again) == 2, "itself, and the racer"


async def test_an_archive_that_failed_while_its_stream_was_begun_again_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = bytes_of(300_000)
    asked = 0
    runs: list[Transfer] = []
    add = Transfer.add

    def observed(run: Transfer, feed: transfer.Feed) -> None:
        runs.append(run)
        add(run, feed)

    async def handle(request: web.Request) -> web.StreamResponse:
        nonlocal asked
        asked += 1
        response = web.StreamResponse(headers={"Content-Length": str(len(content)), "ETag": '"one"'})
        if asked == 2:
            # What had arrived is dealt with meanwhile, and cannot be written.
            runs[0].engine.abandon(0)
            runs[0]._act_on(("failed", 0, StorageError("the disk is full")))
        await response.prepare(request)
        await response.write(content[:200_000])
        if asked == 1:
            assert request.transport is not None
            request.transport.close()
        else:
            await response.write(content[200_000:])
        return response

    monkeypatch.setattr(Transfer, "add", observed)
    async with serving(handle) as url, asyncio.timeout(PATIENCE_SECONDS):
        with pytest.raises(StorageError, match="the disk is full"):
            await fetch(f"{url}/a.bin", tmp_path / "a.bin")


async def test_connections_that_wait_for_a_new_address_do_not_wait_one_after_the_other(
    tmp_path: Path,
) -> None:
    content = bytes_of(12_000_000)
    asked = 0
    expired = asyncio.Event()

    async def handle(request: web.Request) -> web.StreamResponse:
        nonlocal asked
        if request.match_info["name"] == "a.bin":
            if not expired.is_set():
                return web.Response(status=302, headers={"Location": "/signed.bin"})
            asked += 1
            await asyncio.sleep(600)
        if expired.is_set():
            return web.Response(status=403)
        response, body = await partial(request, content)
        if request.http_range.start:
            expired.set()
        await response.write(body)
        return response

    async with serving(handle) as url, asyncio.timeout(PATIENCE_SECONDS):
        with pytest.raises(TransferError, match="no answer in time"):
            await fetch(
                f"{url}/a.bin", tmp_path / "a.bin", limits=Limits(connections=8, timeout_seconds=1, retries=0)
            )
    assert asked <= 2, "and not each of them"


async def test_a_first_request_that_gets_no_answer_is_sent_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "SECOND_ASK_SECONDS", 0.2)
    content = bytes_of(10_000)
    quiet = asyncio.Event()
    asked: list[str | None] = []

    async def handle(request: web.Request) -> web.StreamResponse:
        asked.append(request.headers.get("Range"))
        if len(asked) == 1:
            await quiet.wait()
        return web.Response(body=content, headers={"ETag": '"one"'})

    async with serving(handle) as url:
        path = await fetch(f"{url}/a.bin", tmp_path / "a.bin", limits=Limits(timeout_seconds=600))
        quiet.set()
    assert path.read_bytes() == content
    assert len(asked) == 2, "one in silence, and one whose answer is the file"
