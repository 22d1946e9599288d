"""Servers that tell no length, and connections that fall silent."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import zipfile
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from fdf256_fast import client, fetch, install
from fdf256_fast.catalog import Archive, Catalog, Digest
from fdf256_fast.errors import TransferError, UsageError
from fdf256_fast.limits import Limits
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


async def test_a_connection_that_falls_silent_is_raced_by_another(tmp_path: Path) -> None:
    content = bytes_of(4_000_000)
    asked: list[int] = []
    quiet = asyncio.Event()

    async def handle(request: web.Request) -> web.StreamResponse:
        span = request.http_range
        start, stop = span.start or 0, min(span.stop or len(content), len(content))
        asked.append(start)
        response = web.StreamResponse(
            status=206,
            headers={
                "Content-Range": f"bytes {start}-{stop - 1}/{len(content)}",
                "Content-Length": str(stop - start),
                "ETag": '"one"',
            },
        )
        await response.prepare(request)
        if len(asked) == 3:
            # Half of the third span, and then nothing for ever.
            await response.write(content[start : start + (stop - start) // 2])
            await quiet.wait()
            return response
        await response.write(content[start:stop])
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


async def test_a_port_that_is_none_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"http://127\.0\.0\.1:99999/a\.bin\?… .*range"):
        await fetch("http://127.0.0.1:99999/a.bin?secret", tmp_path / "a.bin")
    assert not list(tmp_path.iterdir())


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
    state = {"begun": 0, "refused": 0}

    async def handle(request: web.Request) -> web.StreamResponse:
        start, end = map(int, request.headers["Range"].removeprefix("bytes=").split("-"))
        stop = min(end + 1, len(content))
        if broken.is_set() and state["refused"] == 0:
            state["refused"] += 1
            return web.Response(status=503)
        response = web.StreamResponse(
            status=206,
            headers={
                "Content-Range": f"bytes {start}-{stop - 1}/{len(content)}",
                "Content-Length": str(stop - start),
                "ETag": '"one"',
            },
        )
        await response.prepare(request)
        if start and not broken.is_set():
            state["begun"] += 1
            if state["begun"] == 3:
                broken.set()
            await broken.wait()
            assert request.transport is not None
            request.transport.abort()
            return response
        await response.write(content[start:stop])
        return response

    recorder = Recorder()
    async with serving(handle) as url, asyncio.timeout(PATIENCE_SECONDS):
        path = await fetch(f"{url}/a.bin", tmp_path / "a.bin", progress=recorder)
    assert path.read_bytes() == content
    assert state["refused"] == 1
    assert not [text for text in recorder.messages if "more connections" in text]


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
