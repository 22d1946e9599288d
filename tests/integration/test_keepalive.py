"""Second and later answers on a connection, from a server whose every byte the test decides."""

from __future__ import annotations

import asyncio
import re
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from fdf256_fast import Limits, client, fetch, keepalive
from fdf256_fast.keepalive import SILENT_MAX

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

BODY = bytes(i % 251 for i in range(12_000_000))
LATER = 3
"""The request on a connection that is answered in another way; aiohttp has the first one."""


@dataclass
class Asked:
    """One request: which connection, which of its requests, and its header."""

    connection: int
    number: int
    header: dict[str, str]


@dataclass
class Played:
    """A server, and what it was asked."""

    answer: Callable[[Asked, bytes, bytes], bytes | None]
    url: str = ""
    asked: list[Asked] = field(default_factory=list)
    connections: int = 0
    pieces: bool = False
    delays: dict[tuple[int, int], float] = field(default_factory=dict)
    """Seconds before an answer, by connection and request."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        connection, number = self.connections, 0
        try:
            while True:
                lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                number += 1
                header = dict(line.split(": ", 1) for line in lines[1:] if line)
                one = Asked(connection, number, header)
                self.asked.append(one)
                match = re.fullmatch(r"bytes=(\d+)-(\d+)", header["Range"])
                assert match is not None
                start, end = int(match[1]), min(int(match[2]) + 1, len(BODY))
                head = (
                    "HTTP/1.1 206 Partial Content\r\n"
                    f"Content-Range: bytes {start}-{end - 1}/{len(BODY)}\r\n"
                    f'Content-Length: {end - start}\r\nETag: "one"\r\n'
                )
                await asyncio.sleep(self.delays.get((connection, number), 0.0))
                sent = self.answer(one, head.encode(), BODY[start:end])
                if sent is None:
                    break
                for at in range(40 if self.pieces else 0):
                    writer.write(sent[at : at + 1])
                    await asyncio.sleep(0)
                writer.write(sent[40:] if self.pieces else sent)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


def plain(_asked: Asked, head: bytes, body: bytes) -> bytes:
    return head + b"\r\n" + body


def later(answer: Callable[[bytes, bytes], bytes | None]) -> Callable[[Asked, bytes, bytes], bytes | None]:
    """``answer`` to the first connection's third request, and what is right to all others."""

    def answered(asked: Asked, head: bytes, body: bytes) -> bytes | None:
        if (asked.connection, asked.number) == (1, LATER):
            return answer(head, body)
        return plain(asked, head, body)

    return answered


@asynccontextmanager
async def playing(answer: Callable[[Asked, bytes, bytes], bytes | None]) -> AsyncIterator[Played]:
    played = Played(answer)
    server = await asyncio.start_server(played.serve, "127.0.0.1", 0)
    played.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/file.bin"
    async with server:
        yield played


async def fetched(played: Played, path: Path, **limits: Any) -> None:
    """Fetch it over one connection; every byte must be right."""
    await fetch(played.url, path, limits=Limits(connections=1, **limits))
    assert path.read_bytes() == BODY


async def test_all_requests_of_one_connection_say_the_same(tmp_path: Path) -> None:
    async with playing(plain) as played:
        await fetched(played, tmp_path / "out", headers={"X-Token": "secret", "User-Agent": "mine"})
    assert played.connections == 1
    assert len(played.asked) > LATER
    first, *others = ({**one.header, "Range": ""} for one in played.asked)
    assert first["X-Token"] == "secret"
    assert first["User-Agent"] == "mine"
    for other in others:
        assert other == first


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(lambda _head, _body: None, id="closed"),
        pytest.param(lambda head, body: b"garbage " + head + b"\r\n" + body, id="no header"),
        pytest.param(
            lambda head, body: b"HTTP/1.1 103 Early Hints\r\n\r\n" + head + b"\r\n" + body, id="hints"
        ),
        pytest.param(lambda head, body: head + b"Content-Length: 7\r\n\r\n" + body, id="two lengths"),
        pytest.param(lambda head, body: head + b"a b: c\r\n\r\n" + body, id="a bad field"),
        pytest.param(lambda head, body: re.sub(rb"h: \d+", b"h: +1", head) + b"\r\n" + body, id="no number"),
        pytest.param(
            lambda head, body: (
                re.sub(rb"Content-Length: \d+", b"Transfer-Encoding: chunked", head)
                + b"\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
            ),
            id="chunked",
        ),
        pytest.param(lambda head, body: b"x" * 70_000 + head + b"\r\n" + body, id="endless"),
    ],
)
async def test_what_is_no_answer_costs_the_connection_only(
    answer: Callable[[bytes, bytes], bytes | None], tmp_path: Path
) -> None:
    async with playing(later(answer)) as played:
        await fetched(played, tmp_path / "out", retries=0)
    failed, again = played.asked[LATER - 1 : LATER + 1]
    assert (failed.connection, again.connection) == (1, 2)
    assert again.header == failed.header


async def test_a_server_of_another_kind_is_left_to_aiohttp(tmp_path: Path) -> None:
    def answer(asked: Asked, head: bytes, body: bytes) -> bytes:
        if asked.number == 1:
            return plain(asked, head, body)
        head = re.sub(rb"Content-Length: \d+", b"Transfer-Encoding: chunked", head)
        return head + b"\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)

    async with playing(answer) as played:
        await fetched(played, tmp_path / "out", retries=0)
    # The first is closed when its second answer comes in chunks; aiohttp keeps the other one.
    assert played.connections == 2
    assert len(played.asked) > LATER


async def test_silence_is_asked_again_over_another_connection(tmp_path: Path) -> None:
    async with playing(later(lambda _head, _body: b"")) as played:
        await fetched(played, tmp_path / "out", retries=0, timeout_seconds=0.5)
    failed, again = played.asked[LATER - 1 : LATER + 1]
    assert (failed.connection, again.connection) == (1, 2)
    assert again.header == failed.header


async def test_connections_that_die_when_they_are_kept_are_used_once_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keepalive, "SILENT_APART_SECONDS", 0.2)

    def answer(asked: Asked, head: bytes, body: bytes) -> bytes:
        if asked.number > 1:
            return b""
        closes = asked.header.get("Connection") == "close"
        return head + (b"Connection: close\r\n" if closes else b"") + b"\r\n" + body

    async with playing(answer) as played:
        await fetched(played, tmp_path / "out", retries=0, timeout_seconds=0.3)
    asked_in_vain = [one for one in played.asked if one.number > 1]
    assert len(asked_in_vain) == SILENT_MAX
    assert len(played.asked) > 2 * SILENT_MAX + 1


def test_one_silence_of_the_line_is_not_one_of_each_connection() -> None:
    kept = keepalive.KeptConnections()
    for _ in range(2 * SILENT_MAX):
        kept.was_silent(("http", "127.0.0.1"))
    assert not kept.is_silent(("http", "127.0.0.1"))


async def test_lines_that_end_without_cr_are_read_by_the_library(tmp_path: Path) -> None:
    # Of the body only so much that nobody takes it for an endless head.
    async with playing(later(lambda head, body: head.replace(b"\r\n", b"\n") + b"\n" + body[:9])) as played:
        # Who waited for a CR would wait for longer than this.
        async with asyncio.timeout(3):
            await fetched(played, tmp_path / "out", retries=0, timeout_seconds=600)
    failed, again = played.asked[LATER - 1 : LATER + 1]
    assert (failed.connection, again.connection) == (1, 2)


async def test_a_slow_answer_is_waited_for_after_one_silence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "SECOND_ASK_SECONDS", 0.2)
    async with playing(plain) as played:
        played.delays = {(1, LATER): 0.6, (2, 1): 0.6}
        await fetched(played, tmp_path / "out", timeout_seconds=600)
    assert played.connections == 2, "the second is as slow, and is not given up"


async def test_a_server_that_says_close_is_not_asked_again(tmp_path: Path) -> None:
    def answer(head: bytes, body: bytes) -> bytes:
        return head + b"Connection: close\r\n\r\n" + body

    async with playing(later(answer)) as played:
        await fetched(played, tmp_path / "out", retries=0)
    assert [one.number for one in played.asked if one.connection == 1] == [1, 2, LATER]
    assert played.connections == 2


async def test_bytes_behind_a_body_are_of_no_answer(tmp_path: Path) -> None:
    async with playing(later(lambda head, body: head + b"\r\n" + body + b"more")) as played:
        await fetched(played, tmp_path / "out", retries=0)
    # That they came may be seen before the next request or after it.
    assert played.connections == 2


async def test_another_span_is_not_taken(tmp_path: Path) -> None:
    def answer(head: bytes, body: bytes) -> bytes:
        return re.sub(rb"bytes \d+", b"bytes 7", head) + b"\r\n" + body

    async with playing(later(answer)) as played:
        await fetched(played, tmp_path / "out")
    failed, again = played.asked[LATER - 1 : LATER + 1]
    assert (failed.connection, again.connection) == (1, 2)
    assert again.header == failed.header


async def test_a_cookie_is_sent_back(tmp_path: Path) -> None:
    async with playing(later(lambda head, body: head + b"Set-Cookie: a=b\r\n\r\n" + body)) as played:
        # Cookies are not for bare addresses.
        played.url = played.url.replace("127.0.0.1", "localhost")
        await fetched(played, tmp_path / "out", retries=0)
    cookies = [one.header.get("Cookie") for one in played.asked]
    assert cookies[:LATER] == [None] * LATER
    assert set(cookies[LATER:]) == {"a=b"}


async def test_a_header_that_comes_in_pieces(tmp_path: Path) -> None:
    async with playing(plain) as played:
        played.pieces = True
        await fetched(played, tmp_path / "out", retries=0)
    assert played.connections == 1
