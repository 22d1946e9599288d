"""The rest of a body, from a real socket into the engine's buffers, and the connection back."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import trustme

from fdf256_fast._core import Engine, Job, TlsPeer
from fdf256_fast.pour import Intake, Pour
from fdf256_fast.tls import TlsTransport

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

BODY = bytes(i % 251 for i in range(2_000_000))
NEXT = b"the next answer"


class Owner(asyncio.Protocol):
    """Who has the connection before and after, as the HTTP library does."""

    def __init__(self) -> None:
        self.had = b""
        self.lost: list[Exception | None] = []

    def data_received(self, data: bytes) -> None:
        self.had += data

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.append(exc)


class Setting:
    """An engine with one plain file, and a connection to a server whose side the test plays."""

    def __init__(self, path: Path) -> None:
        self.engine = Engine(Job(), 2)
        self.number = self.engine.add("body", len(BODY), 1 << 20, file=path, digest=("crc32", None))
        self.intake = Intake(self.engine)
        self.receiver = self.engine.receiver()
        self.receiver.aim(self.number, 0, len(BODY))
        self.owner = Owner()
        self.transport: asyncio.Transport
        self.server: asyncio.StreamWriter

    def pour(self, seconds: float = 30.0) -> Pour:
        return Pour(self.intake, self.transport, self.receiver, len(BODY), seconds)


@asynccontextmanager
async def setting(path: Path, tls: str = "plain") -> AsyncIterator[Setting]:
    made = Setting(path)
    loop = asyncio.get_running_loop()
    accepted: asyncio.Future[asyncio.StreamWriter] = loop.create_future()
    contexts: dict[str, ssl.SSLContext] = {}
    peer = TlsPeer("localhost")
    if tls != "plain":
        authority = trustme.CA()
        contexts["server"] = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate = authority.issue_cert("localhost")
        certificate.configure_cert(contexts["server"])
        peer.vouch(ssl.PEM_cert_to_DER_cert(certificate.cert_chain_pems[0].bytes().decode()))
    if tls == "asyncio":
        contexts["client"] = ssl.create_default_context()
        authority.configure_trust(contexts["client"])
    listener = await asyncio.start_server(
        lambda _, writer: accepted.set_result(writer), "127.0.0.1", 0, ssl=contexts.get("server")
    )
    port = listener.sockets[0].getsockname()[1]
    made.transport, protocol = await loop.create_connection(
        lambda: TlsTransport(peer.connect(), made.owner) if tls == "core" else made.owner,
        "127.0.0.1",
        port,
        ssl=contexts.get("client"),
        server_hostname="localhost" if "client" in contexts else None,
    )
    if isinstance(protocol, TlsTransport):
        await protocol.handshake()
        made.transport = protocol
    made.server = await accepted
    made.intake.open()
    try:
        yield made
    finally:
        made.intake.close()
        made.transport.close()
        made.server.close()
        listener.close()
        await listener.wait_closed()
        made.engine.cancel()
        await asyncio.to_thread(made.engine.close)


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(2_000):
        if condition():
            return
        await asyncio.sleep(0.01)
    pytest.fail("it does not happen")


async def until_heard(owner: Owner, expected: bytes) -> None:
    await until(lambda: owner.had == expected)


by_the_core = pytest.mark.parametrize("tls", ["plain", "core"])


@pytest.mark.parametrize("tls", ["plain", "asyncio", "core"])
async def test_the_body_is_in_the_file_and_the_next_bytes_go_to_the_owner(tmp_path: Path, tls: str) -> None:
    async with setting(tmp_path / "body", tls) as made:
        made.server.write(BODY + (b"" if tls == "asyncio" else NEXT))
        await made.pour()
        assert made.receiver.position == len(BODY)
        if (
            tls == "asyncio"
        ):  # what follows in the same record would be the owner's as well, but nobody sends that
            made.server.write(NEXT)
        await until_heard(made.owner, NEXT)
        events = [event for event in await finished(made.engine) if event[0] == "finished"]
        assert len(events) == 1
    assert (tmp_path / "body").read_bytes() == BODY


async def finished(engine: Engine) -> list[tuple[object, ...]]:
    events: list[tuple[object, ...]] = []
    async with asyncio.timeout(20):
        while not any(event[0] == "finished" for event in events):
            events += await asyncio.to_thread(engine.wait, 0.1)
    return events


@by_the_core
async def test_a_body_is_read_by_the_core_and_not_by_the_loop(
    tmp_path: Path, tls: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_here(_self: Pour, _hint: int) -> memoryview:
        pytest.fail("the event loop reads")

    monkeypatch.setattr(Pour, "get_buffer", read_here)
    async with setting(tmp_path / "body", tls) as made:
        made.server.write(BODY)
        await made.pour()


@by_the_core
async def test_without_a_handle_the_loop_reads(tmp_path: Path, tls: str) -> None:
    async with setting(tmp_path / "body", tls) as made:
        made.intake.close()
        made.server.write(BODY + NEXT)
        await made.pour()
        await until_heard(made.owner, NEXT)


@by_the_core
async def test_a_connection_closed_early_is_an_error_and_its_owner_hears_of_it(
    tmp_path: Path, tls: str
) -> None:
    async with setting(tmp_path / "body", tls) as made:
        made.server.write(BODY[:1000])
        made.server.close()
        with pytest.raises(ConnectionResetError):
            await made.pour()
        assert made.receiver.position == 1000
        await until(lambda: len(made.owner.lost) == 1)


@by_the_core
async def test_silence_is_an_error(tmp_path: Path, tls: str) -> None:
    async with setting(tmp_path / "body", tls) as made:
        made.server.write(BODY[:1000])
        with pytest.raises(TimeoutError):
            await made.pour(seconds=0.2)


@by_the_core
async def test_a_transport_that_somebody_closes_ends_the_wait(tmp_path: Path, tls: str) -> None:
    async with setting(tmp_path / "body", tls) as made:
        made.server.write(BODY[:1000])
        pour = made.pour()
        made.transport.close()
        with pytest.raises(ConnectionResetError):
            await pour
        assert made.owner.lost == [None]


@by_the_core
async def test_nothing_is_read_after_a_cancellation(tmp_path: Path, tls: str) -> None:
    async with setting(tmp_path / "body", tls) as made, asyncio.TaskGroup() as group:
        pour = made.pour()

        async def wait() -> None:
            await pour

        task = group.create_task(wait())
        await asyncio.sleep(0)  # it waits
        made.server.write(BODY[:1000])
        await until(lambda: made.receiver.position == 1000)
        task.cancel()
        await asyncio.wait([task])
        made.server.write(NEXT)
        await until_heard(made.owner, NEXT)
        assert made.receiver.position == 1000
