"""Where redirects, proxies and callers' own sessions lead, and what goes along."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from typing import TYPE_CHECKING

import aiohttp
import pytest
from aiohttp import web
from multidict import CIMultiDict

from fdf256_fast import Limits, StatusError, TransferError, fetch
from fdf256_fast.credentials import Credentials
from tests.integration.oracles import bytes_of
from tests.servers import application_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

CONTENT = bytes_of(1_500_000, 3)
DIGEST = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"


CLOSED = 599
"""Stands for no answer at all."""


class Recorded:
    """What was asked, and an answer to it: the range of ``CONTENT``, or what ``answer`` gives instead."""

    def __init__(self, answer: Callable[[int], web.Response | None] = lambda _: None) -> None:
        self.requests: list[web.Request] = []
        self._answer = answer

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        other = self._answer(len(self.requests))
        if other is not None:
            if other.status == CLOSED and request.transport is not None:
                request.transport.abort()
            return other
        asked = request.http_range
        start, end, _ = slice(asked.start, asked.stop).indices(len(CONTENT))
        headers = {"Content-Range": f"bytes {start}-{end - 1}/{len(CONTENT)}", "ETag": '"one"'}
        return web.Response(status=206, body=CONTENT[start:end], headers=headers)


def to(address: str) -> Callable[[int], web.Response]:
    return lambda _: web.Response(status=302, headers={"Location": address})


@pytest.mark.parametrize("scheme", ["HTTP", "Http"])
async def test_a_redirect_from_https_to_http_is_refused_however_it_is_written(
    scheme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = Recorded()
    async with application_server(seen.handle) as plain:
        # As if it had come over TLS: what the client goes by is the address.
        leads = plain.replace("http", scheme, 1)
        monkeypatch.setattr("fdf256_fast.client.Client._send", answering(leads))
        with pytest.raises(TransferError, match="from https to"):
            await fetch("HTTPS://files.example/f", tmp_path / "f", limits=Limits(retries=0))
    assert not seen.requests


def answering(leads: str) -> Callable[..., object]:
    class Reply:
        status = 302
        headers = CIMultiDict({"Location": f"{leads}/f"})

        def close(self) -> None:
            pass

    async def send(*_: object) -> Reply:
        return Reply()

    return send


async def test_what_a_callers_session_sends_by_default_is_not_for_where_a_redirect_leads(
    tmp_path: Path,
) -> None:
    seen = Recorded()
    async with application_server(seen.handle) as there:
        home = Recorded(to(f"{there}/f"))
        async with (
            application_server(home.handle) as here,
            aiohttp.ClientSession(headers={"Authorization": "Bearer KEY"}) as session,
        ):
            await fetch(f"{here}/f", tmp_path / "f", digest=DIGEST, session=session)
            assert not session.closed
    assert all("Authorization" in request.headers for request in home.requests)
    assert seen.requests
    assert not any("Authorization" in request.headers for request in seen.requests)


async def test_a_callers_session_that_raises_for_a_status_changes_nothing(tmp_path: Path) -> None:
    gone = Recorded(lambda _: web.Response(status=404))
    async with (
        application_server(gone.handle) as url,
        aiohttp.ClientSession(raise_for_status=True) as session,
    ):
        with pytest.raises(StatusError):
            await fetch(f"{url}/f", tmp_path / "f", session=session)
    assert len(gone.requests) == 1


@pytest.mark.parametrize("status", [CLOSED, 503], ids=["closed", "503"])
async def test_where_a_redirect_led_may_be_gone_and_the_source_is_asked_again(
    status: int, tmp_path: Path
) -> None:
    def falls_silent(number: int) -> web.Response | None:
        return None if number == 1 else web.Response(status=status)

    first, second = Recorded(falls_silent), Recorded()
    async with application_server(first.handle) as one, application_server(second.handle) as other:
        home = Recorded(lambda number: to(f"{one if number == 1 else other}/f")(number))
        async with application_server(home.handle) as here:
            await fetch(f"{here}/f", tmp_path / "f", digest=DIGEST, limits=Limits(connections=4, retries=4))
    assert (tmp_path / "f").read_bytes() == CONTENT
    assert second.requests


async def test_a_signed_address_is_sent_as_it_was_written(tmp_path: Path) -> None:
    seen = Recorded()
    signed = "f%28a%29?acl=%2fa%2A&d=a%3B%20f%3D%27%27x&sig=ab%2Bc%2F%3D%7E"
    async with application_server(seen.handle) as url:
        await fetch(f"{url}/{signed}", tmp_path / "f", digest=DIGEST)
    # Also on connections that are asked again without the HTTP library.
    assert len(seen.requests) > 1
    assert {request.raw_path for request in seen.requests} == {f"/{signed}"}


async def test_an_address_that_is_not_written_as_a_url_is_asked_for_all_the_same(tmp_path: Path) -> None:
    seen = Recorded()
    async with application_server(seen.handle) as url:
        await fetch(f"{url}/ä b?x=ü", tmp_path / "f", digest=DIGEST)
    assert {request.raw_path for request in seen.requests} == {"/%C3%A4%20b?x=%C3%BC"}


async def test_user_and_password_go_along_to_the_same_host(tmp_path: Path) -> None:
    seen = Recorded(lambda number: to(f"{base}/real")(number) if number == 1 else None)
    async with application_server(seen.handle) as base:
        await fetch(f"{base.replace('//', '//user:pass@')}/f", tmp_path / "f", digest=DIGEST)
    assert all("Authorization" in request.headers for request in seen.requests)


def test_a_netrc_password_does_not_go_out_in_clear_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("machine h.example login u password p\n", "utf-8")
    (tmp_path / "netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    known = Credentials({})
    assert known.headers("https://h.example/x", "https://h.example/x")
    assert known.headers("http://h.example/x", "http://h.example/x")
    assert not known.headers("http://h.example/x", "https://h.example/x")


# ---- proxies ---------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def proxy(answer: bytes) -> AsyncIterator[tuple[str, list[bytes]]]:
    """One that says ``answer`` to whatever it is asked, or nothing at all; and what it was asked."""
    asked: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            asked.append(await reader.readline())
            writer.write(answer)
            if not answer:
                await reader.read()
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", asked


async def test_a_proxy_that_never_opens_its_tunnel_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with proxy(b"") as (address, asked):
        monkeypatch.setenv("https_proxy", address)
        async with asyncio.timeout(30):
            limits = Limits(timeout_seconds=0.5, retries=0)
            with pytest.raises(TransferError, match="no answer in time"):
                await fetch("https://files.example/f", tmp_path / "f", limits=limits)
    assert asked


async def test_a_proxy_that_refuses_is_told_of_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refusal = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"
    async with proxy(refusal) as (address, asked):
        monkeypatch.setenv("https_proxy", address)
        with pytest.raises(TransferError, match="the proxy answered 407") as caught:
            await fetch("https://files.example/f", tmp_path / "f", limits=Limits(retries=3))
    assert "https_proxy" in caught.value.hint
    assert len(asked) == 1
