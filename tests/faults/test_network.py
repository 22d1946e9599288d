"""Names, addresses and proxies: what lies between us and a server."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

import aiohttp
import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from fdf256_fast import TransferError
from tests.faults.kinds import Act, Fault, Plan, always
from tests.faults.origin import Origin
from tests.faults.proxy import Proxy
from tests.faults.running import PATIENCE_SECONDS, limits
from tests.faults.worlds import WORLDS, Where, World
from tests.integration.runs import Recorder

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

HOST = "data.example.invalid"


class Book(AbstractResolver):
    """Knows one name, and its addresses in a fixed order."""

    def __init__(self, *addresses: str) -> None:
        self._addresses = addresses

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The addresses, or the error of a name that nobody knows."""
        if host != HOST or not self._addresses:
            raise OSError(None, "Name or service not known")
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in self._addresses
        ]

    async def close(self) -> None:
        """Nothing is open."""


async def transferred(world: World, where: Where) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        await world.transfer(where, 0)


@pytest.mark.parametrize("name", WORLDS)
async def test_a_name_that_nobody_knows_is_told_by_name(
    name: str, worlds: Mapping[str, World], tmp_path: Path
) -> None:
    world, folder = worlds[name], tmp_path / "goal"
    world.prepare(folder)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(resolver=Book())) as session:
        where = Where([f"http://{HOST}:8080"], folder, limits(retries=1), Recorder(), session)
        with pytest.raises(TransferError, match=f"{HOST}.*cannot be found"):
            await transferred(world, where)
    if folder.exists():
        world.check_not_there(folder)


@pytest.mark.parametrize("name", WORLDS)
@pytest.mark.parametrize(
    "addresses",
    [("::1", "127.0.0.1"), ("127.0.0.2", "127.0.0.1"), ("127.0.0.1", "::1")],
    ids="-then-".join,
)
async def test_an_address_where_nobody_listens_is_passed_over_for_the_next(
    addresses: tuple[str, ...], name: str, worlds: Mapping[str, World], tmp_path: Path
) -> None:
    world, folder = worlds[name], tmp_path / "goal"
    world.prepare(folder)
    connector = aiohttp.TCPConnector(resolver=Book(*addresses), limit=0)
    async with Origin(world.files) as origin, aiohttp.ClientSession(connector=connector) as session:
        urls = [f"http://{HOST}:{origin.port}"]
        recorder = Recorder()
        await transferred(world, Where(urls, folder, limits(retries=0), recorder, session))
    world.check_there(folder, 0)
    assert origin.log[0].headers["host"] == f"{HOST}:{origin.port}"
    assert recorder.last is not None
    assert recorder.last.retries == 0


@pytest.mark.parametrize("name", WORLDS)
async def test_localhost_finds_a_server_that_only_has_an_ipv4_address(
    name: str, worlds: Mapping[str, World], tmp_path: Path
) -> None:
    world, folder = worlds[name], tmp_path / "goal"
    world.prepare(folder)
    async with Origin(world.files) as origin:
        await transferred(world, Where([f"http://localhost:{origin.port}"], folder, limits(), Recorder()))
    world.check_there(folder, 0)


@pytest.mark.skipif(not socket.has_ipv6, reason="this machine has no IPv6")
async def test_an_ipv6_address_in_a_url_is_asked(worlds: Mapping[str, World], tmp_path: Path) -> None:
    world, folder = worlds["dataset"], tmp_path / "goal"
    async with Origin(world.files, host="::1") as origin:
        await transferred(world, Where([origin.url], folder, limits(), Recorder()))
    world.check_there(folder, 0)


# ---- proxies -----------------------------------------------------------------------------------------


@pytest.fixture
def no_proxy_is_unset(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The suite's own exception for this machine would hide what is tested here."""
    for variable in ("no_proxy", "NO_PROXY", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    return monkeypatch


@pytest.mark.parametrize("name", WORLDS)
async def test_the_proxy_of_the_environment_is_used(
    name: str, worlds: Mapping[str, World], tmp_path: Path, no_proxy_is_unset: pytest.MonkeyPatch
) -> None:
    world, folder = worlds[name], tmp_path / "goal"
    world.prepare(folder)
    async with Origin(world.files) as origin, Proxy(origin) as proxy:
        no_proxy_is_unset.setenv("http_proxy", proxy.url)
        # No resolver knows this name: only the proxy can get there.
        await transferred(world, Where([f"http://{HOST}"], folder, limits(), Recorder()))
    world.check_there(folder, 0)
    assert len(proxy.asked) == len(origin.log)
    assert all(target.startswith(f"http://{HOST}/") for target in proxy.asked)


async def test_the_password_of_a_proxy_goes_to_the_proxy_alone(
    worlds: Mapping[str, World], tmp_path: Path, no_proxy_is_unset: pytest.MonkeyPatch
) -> None:
    world, folder = worlds["file with digest"], tmp_path / "goal"
    world.prepare(folder)
    async with Origin(world.files) as origin, Proxy(origin) as proxy:
        no_proxy_is_unset.setenv("http_proxy", proxy.url.replace("//", "//user:word@"))
        await transferred(world, Where([f"http://{HOST}"], folder, limits(), Recorder()))
    world.check_there(folder, 0)
    assert "Proxy-Authorization: Basic dXNlcjp3b3Jk" in proxy.headers
    assert not any("authorization" in name for one in origin.log for name in one.headers)


@pytest.mark.parametrize("name", WORLDS)
async def test_hosts_in_no_proxy_are_asked_directly(
    name: str, worlds: Mapping[str, World], tmp_path: Path, no_proxy_is_unset: pytest.MonkeyPatch
) -> None:
    world, folder = worlds[name], tmp_path / "goal"
    world.prepare(folder)
    async with Origin(world.files) as origin, Proxy(origin) as proxy:
        no_proxy_is_unset.setenv("http_proxy", proxy.url)
        no_proxy_is_unset.setenv("no_proxy", "example.org,127.0.0.1")
        await transferred(world, Where([origin.url], folder, limits(), Recorder()))
    world.check_there(folder, 0)
    assert proxy.asked == []
    assert origin.log


async def test_a_redirect_to_another_host_goes_through_the_proxy_too(
    worlds: Mapping[str, World], tmp_path: Path, no_proxy_is_unset: pytest.MonkeyPatch
) -> None:
    world, folder = worlds["dataset"], tmp_path / "goal"
    plan = Plan(always(Act(Fault.REDIRECT, text=f"http://other.{HOST}")))
    async with Origin(world.files, plan) as origin, Proxy(origin) as proxy:
        no_proxy_is_unset.setenv("http_proxy", proxy.url)
        await transferred(world, Where([f"http://{HOST}"], folder, limits(), Recorder()))
    world.check_there(folder, 0)
    assert any(target.startswith(f"http://other.{HOST}/") for target in proxy.asked)


async def test_a_proxy_that_does_not_listen_is_an_error_that_names_it(
    worlds: Mapping[str, World], tmp_path: Path, no_proxy_is_unset: pytest.MonkeyPatch
) -> None:
    world, folder = worlds["file with digest"], tmp_path / "goal"
    world.prepare(folder)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        no_proxy_is_unset.setenv("http_proxy", f"http://user:word@127.0.0.1:{port}")
        with pytest.raises(TransferError, match=HOST) as caught:
            await transferred(world, Where([f"http://{HOST}"], folder, limits(retries=0), Recorder()))
    assert f"127.0.0.1:{port}" in str(caught.value)
    assert "word" not in str(caught.value)
