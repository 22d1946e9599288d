"""TLS by the core: after OpenSSL has accepted a server, only with that server, and as safely."""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import aiohttp
import pytest
import trustme
from aiohttp import web

from fdf256_fast import Limits, Progress, TransferError, connector, fetch
from fdf256_fast._core import TlsPeer
from fdf256_fast.fetching import Wanted, fetch_files
from fdf256_fast.pour import Pour
from fdf256_fast.tls import TlsTransport
from tests import servers
from tests.faults.kinds import Act, Fault, Plan, always, times
from tests.faults.origin import Origin
from tests.integration.oracles import bytes_of
from tests.servers import NginxTls, application_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

AUTHORITY = trustme.CA()
HOST = "127.0.0.1"
LARGE = bytes_of(20_000_000, 1)
FEW = Limits(connections=4, memory_bytes=8 * 1024 * 1024, workers=2)
FLAKY = Limits(connections=4, memory_bytes=8 * 1024 * 1024, workers=2, retries=20)


class Handshakes:
    """Those of the core."""

    def __init__(self) -> None:
        self.tried = 0
        self.done = 0


@pytest.fixture(autouse=True)
def handshakes(monkeypatch: pytest.MonkeyPatch) -> Handshakes:
    """Counted; and no body that the core could have decrypted is read by the event loop."""
    counted = Handshakes()
    shake, fill = TlsTransport.handshake, Pour.get_buffer

    async def counting(self: TlsTransport) -> None:
        counted.tried += 1
        await shake(self)
        counted.done += 1

    def reading(self: Pour, hint: int) -> memoryview:
        assert not isinstance(self._transport, TlsTransport)
        return fill(self, hint)

    monkeypatch.setattr(TlsTransport, "handshake", counting)
    monkeypatch.setattr(Pour, "get_buffer", reading)
    return counted


@pytest.fixture(autouse=True)
def trust(monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """The default context, as it would be with SSL_CERT_FILE when aiohttp is imported."""
    context = ssl.create_default_context()
    AUTHORITY.configure_trust(context)
    monkeypatch.setattr("aiohttp.connector._SSL_CONTEXT_VERIFIED", context)
    return context


def server_context(name: str = HOST, authority: trustme.CA = AUTHORITY) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def served(tmp_path: Path) -> Path:
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "large.bin").write_bytes(LARGE)
    return folder


@pytest.mark.parametrize("protocol", ["TLSv1.2", "TLSv1.3"])
async def test_a_large_file_from_nginx_comes_whole_and_mostly_through_the_core(
    served: Path, tmp_path: Path, handshakes: Handshakes, protocol: str
) -> None:
    certificate = tmp_path / "server.pem"
    AUTHORITY.issue_cert(HOST).private_key_and_cert_chain_pem.write_to_path(str(certificate))
    async with servers.nginx(served, NginxTls(certificate, protocol)) as server:
        path = await fetch(f"{server.url}/large.bin", tmp_path / "out", limits=FEW)
    assert sha256(path.read_bytes()) == sha256(LARGE)
    assert handshakes.done == handshakes.tried > 0
    # And one byte, to hear of its size.
    assert server.body_bytes == len(LARGE) + 1


@asynccontextmanager
async def counting_server(folder: Path, tls: ssl.SSLContext) -> AsyncIterator[tuple[str, dict[Any, int]]]:
    """aiohttp's; and how many requests came over each of its connections."""
    requests: dict[Any, int] = {}

    async def answer(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        peer = request.transport.get_extra_info("peername")
        requests[peer] = requests.get(peer, 0) + 1
        return web.FileResponse(folder / request.match_info["name"])

    async with application_server(answer, tls) as url:
        yield url, requests


async def test_many_small_files_come_over_connections_that_are_kept(
    tmp_path: Path, handshakes: Handshakes
) -> None:
    served = tmp_path / "served"
    served.mkdir()
    files = {f"{number:03}.bin": bytes_of(number * 997, number) for number in range(150)}
    for name, data in files.items():
        (served / name).write_bytes(data)
    async with counting_server(served, server_context()) as (url, requests):
        wanted = [Wanted(f"{url}/{name}", tmp_path / "out" / name) for name in files]
        await fetch_files(wanted, Limits(connections=4), Progress())
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == files
    # OpenSSL's own, one for each of ours at the most, and those of the core.
    assert 0 < handshakes.done <= 4
    assert len(requests) <= handshakes.done + 4
    assert sum(requests.values()) >= len(files)


async def test_one_connection_is_openssls_once_and_then_the_cores(
    served: Path, tmp_path: Path, handshakes: Handshakes
) -> None:
    async with counting_server(served, server_context()) as (url, requests):
        path = await fetch(f"{url}/large.bin", tmp_path / "out", limits=Limits(connections=1))
    assert sha256(path.read_bytes()) == sha256(LARGE)
    assert handshakes.done == 1
    assert len(requests) == 2
    assert next(iter(requests.values())) == 1


@pytest.mark.parametrize("fault", [Fault.CLOSE, Fault.RESET])
async def test_bodies_that_break_off_are_gone_on_with(
    tmp_path: Path, handshakes: Handshakes, fault: Fault
) -> None:
    plan = Plan(times(8, Act(fault, offset=100_000)))
    async with Origin({"large.bin": [LARGE]}, plan, tls=server_context()) as origin:
        path = await fetch(f"{origin.url}/large.bin", tmp_path / "out", limits=FLAKY)
        assert plan.applied[fault] == 8
    assert sha256(path.read_bytes()) == sha256(LARGE)
    assert handshakes.done > 0


async def test_an_early_close_of_every_answer_still_leads_to_the_end(
    tmp_path: Path, handshakes: Handshakes
) -> None:
    plan = Plan(always(Act(Fault.CLOSE, offset=900_001)))
    async with Origin({"large.bin": [LARGE]}, plan, tls=server_context()) as origin:
        path = await fetch(f"{origin.url}/large.bin", tmp_path / "out", limits=FLAKY)
    assert sha256(path.read_bytes()) == sha256(LARGE)
    assert handshakes.done > 0


@pytest.mark.parametrize("fault", [Fault.CHUNKED, Fault.NO_RANGES])
async def test_answers_that_cannot_be_lent_come_through_the_stream(tmp_path: Path, fault: Fault) -> None:
    plan = Plan(always(Act(fault)))
    async with Origin({"large.bin": [LARGE]}, plan, tls=server_context()) as origin:
        path = await fetch(f"{origin.url}/large.bin", tmp_path / "out", limits=FEW)
    assert sha256(path.read_bytes()) == sha256(LARGE)


async def test_a_rate_limit_holds_and_the_file_comes_whole(
    served: Path, tmp_path: Path, handshakes: Handshakes
) -> None:
    limits = Limits(connections=2, rate=40e6)
    async with counting_server(served, server_context()) as (url, _):
        path = await fetch(f"{url}/large.bin", tmp_path / "out", limits=limits)
    assert sha256(path.read_bytes()) == sha256(LARGE)
    assert handshakes.done > 0


# ---- whom to trust ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("context", "words"),
    [
        (server_context("other.example"), "not valid for|doesn't match"),
        (server_context(authority=trustme.CA()), "unable to get local issuer|self.signed"),
    ],
    ids=["another name", "another authority"],
)
async def test_a_certificate_that_openssl_refuses_is_an_error_in_its_words(
    served: Path, tmp_path: Path, handshakes: Handshakes, context: ssl.SSLContext, words: str
) -> None:
    async with counting_server(served, context) as (url, requests):
        with pytest.raises(TransferError, match=words):
            await fetch(f"{url}/large.bin", tmp_path / "out", limits=FEW)
    assert not requests
    assert handshakes.tried == 0


def changing(first: ssl.SSLContext, then: ssl.SSLContext) -> ssl.SSLContext:
    """The first connection sees one certificate, all others another one."""
    seen = 0

    def choose(connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        nonlocal seen
        seen += 1
        connection.context = first if seen == 1 else then

    chosen = server_context()
    chosen.sni_callback = choose
    return chosen


async def test_the_core_does_not_trust_another_certificate_of_the_same_server(
    served: Path, tmp_path: Path, handshakes: Handshakes
) -> None:
    context = changing(server_context(), server_context(authority=trustme.CA()))
    async with counting_server(served, context) as (url, requests):
        with pytest.raises(TransferError, match=r"unable to get local issuer|self.signed"):
            await fetch(f"{url}/large.bin", tmp_path / "out", limits=Limits(connections=1))
    assert handshakes.tried > handshakes.done == 0
    assert len(requests) == 1


async def test_a_new_certificate_that_openssl_accepts_is_the_cores_from_then_on(
    served: Path, tmp_path: Path, handshakes: Handshakes
) -> None:
    context = changing(server_context(), server_context())
    async with counting_server(served, context) as (url, requests):
        path = await fetch(f"{url}/large.bin", tmp_path / "out", limits=Limits(connections=1))
    assert sha256(path.read_bytes()) == sha256(LARGE)
    assert (handshakes.tried, handshakes.done) == (2, 1)
    # Its first, the second after the core's failure, and the core's, which is kept.
    assert len(requests) == 3
    assert list(requests.values())[:2] == [1, 1]


async def test_where_the_core_cannot_shake_hands_it_tries_once_only(
    served: Path, tmp_path: Path, handshakes: Handshakes
) -> None:
    context = server_context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("ECDHE-ECDSA-AES128-SHA256")
    async with counting_server(served, context) as (url, requests):
        path = await fetch(f"{url}/large.bin", tmp_path / "out", limits=Limits(connections=1))
    assert sha256(path.read_bytes()) == sha256(LARGE)
    assert (handshakes.tried, handshakes.done) == (1, 0)
    # And what OpenSSL made after that is kept.
    assert len(requests) == 2


async def test_an_old_verdict_does_not_count(
    served: Path, tmp_path: Path, handshakes: Handshakes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connector, "VOUCHED_SECONDS", 0.0)
    async with counting_server(served, server_context()) as (url, _):
        path = await fetch(f"{url}/large.bin", tmp_path / "out", limits=FEW)
    assert sha256(path.read_bytes()) == sha256(LARGE)
    assert handshakes.tried == 0


class Silent(asyncio.Protocol):
    """Must not hear of anything."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        pytest.fail("there is no connection")

    def connection_lost(self, exc: Exception | None) -> None:
        pytest.fail("there was no connection")


@pytest.mark.parametrize("is_closed", [True, False], ids=["the server closes", "the client gives up"])
async def test_a_handshake_without_an_end_is_nothing_that_the_protocol_hears_of(is_closed: bool) -> None:
    loop = asyncio.get_running_loop()
    accepted: asyncio.Future[asyncio.StreamWriter] = loop.create_future()
    listener = await asyncio.start_server(lambda _, writer: accepted.set_result(writer), HOST, 0)
    port = listener.sockets[0].getsockname()[1]
    session = TlsPeer(HOST).connect()
    _, made = await loop.create_connection(lambda: TlsTransport(session, Silent()), HOST, port)
    shaking = asyncio.gather(made.handshake(), return_exceptions=True)
    writer = await accepted
    await asyncio.sleep(0)
    if is_closed:
        writer.close()
        (outcome,) = await shaking
        assert isinstance(outcome, ConnectionResetError)
    else:
        shaking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await shaking
        made.abort()
        writer.close()
    await writer.wait_closed()
    listener.close()
    await listener.wait_closed()
    assert made.is_closing()


# ---- what stays aiohttp's --------------------------------------------------------------------------


async def test_a_callers_session_is_left_alone(
    served: Path, tmp_path: Path, handshakes: Handshakes, trust: ssl.SSLContext
) -> None:
    async with (
        counting_server(served, server_context()) as (url, _),
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trust)) as session,
    ):
        path = await fetch(f"{url}/large.bin", tmp_path / "out", limits=FEW, session=session)
    assert sha256(path.read_bytes()) == sha256(LARGE)
    assert handshakes.tried == 0


async def test_a_hook_that_is_another_one_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async def changed(_self: object, request: object) -> None:
        """Without what is needed."""

    assert type(connector.connector()) is not aiohttp.TCPConnector
    monkeypatch.setattr(aiohttp.TCPConnector, "_wrap_create_connection", changed)
    assert type(connector.connector()) is aiohttp.TCPConnector
    monkeypatch.delattr(aiohttp.TCPConnector, "_wrap_create_connection")
    assert type(connector.connector()) is aiohttp.TCPConnector


@asynccontextmanager
async def tunnel() -> AsyncIterator[tuple[str, list[str]]]:
    """A proxy that takes CONNECT only; and the hosts that it was asked for."""
    asked: list[str] = []

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(1 << 16):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass  # either side left
        finally:
            writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        method, target, _ = head.split(b"\r\n")[0].decode().split(" ")
        assert method == "CONNECT"
        asked.append(target)
        there, back = await asyncio.open_connection(*target.split(":"))
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        await asyncio.gather(copy(reader, back), copy(there, writer))

    server = await asyncio.start_server(serve, HOST, 0)
    try:
        yield f"http://{HOST}:{server.sockets[0].getsockname()[1]}", asked
    finally:
        server.close()


async def test_through_a_proxy_it_is_aiohttps(
    served: Path, tmp_path: Path, handshakes: Handshakes, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with counting_server(served, server_context()) as (url, _), tunnel() as (proxy, asked):
        monkeypatch.setenv("https_proxy", proxy)
        monkeypatch.setenv("no_proxy", "")
        monkeypatch.setenv("NO_PROXY", "")
        path = await fetch(f"{url}/large.bin", tmp_path / "out", limits=FEW)
    assert sha256(path.read_bytes()) == sha256(LARGE)
    assert set(asked) == {urlsplit(url).netloc}
    assert handshakes.tried == 0
