"""Files that nothing checks as a whole: pieces of two versions are never put together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from fdf256_fast import Limits, TransferError, fetch
from tests.integration.oracles import bytes_of
from tests.servers import application_server

if TYPE_CHECKING:
    from pathlib import Path

SIZE = 2_000_000
OLD, NEW = bytes_of(SIZE, 1), bytes_of(SIZE, 2)
FEW = Limits(connections=2, retries=2)


def part_of(request: web.Request, content: bytes, **headers: str) -> web.Response:
    """The range that was asked for, and what else the server says of it."""
    asked = request.http_range
    start, end, _ = slice(asked.start, asked.stop).indices(len(content))
    told = {name.replace("_", "-"): value for name, value in headers.items()}
    told["Content-Range"] = f"bytes {start}-{end - 1}/{len(content)}"
    return web.Response(status=206, body=content[start:end], headers=told)


@pytest.mark.parametrize(
    "later",
    [{}, {"ETag": 'W/"new"'}, {"Last_Modified": "Tue, 01 Jan 2030 00:00:00 GMT"}],
    ids=["nothing", "a weak one", "another kind"],
)
async def test_later_answers_must_name_the_version_of_the_first(
    later: dict[str, str], tmp_path: Path
) -> None:
    asked = 0

    async def handle(request: web.Request) -> web.StreamResponse:
        nonlocal asked
        asked += 1
        if asked == 1:
            return part_of(request, OLD, ETag='"old"')
        return part_of(request, NEW, **later)

    async with application_server(handle) as server:
        with pytest.raises(TransferError):
            await fetch(f"{server}/f", tmp_path / "f", limits=FEW)
    assert not (tmp_path / "f").exists()


async def test_a_server_of_several_that_forgets_to_name_the_version_is_asked_again(tmp_path: Path) -> None:
    asked = 0

    async def handle(request: web.Request) -> web.StreamResponse:
        nonlocal asked
        asked += 1
        return part_of(request, OLD) if asked == 2 else part_of(request, OLD, ETag='"old"')

    async with application_server(handle) as server:
        await fetch(f"{server}/f", tmp_path / "f", limits=FEW)
    assert (tmp_path / "f").read_bytes() == OLD


@pytest.mark.parametrize("is_local", [False, True], ids=["mirror", "local copy"])
async def test_a_mirror_that_may_have_another_version_takes_over_from_the_beginning(
    is_local: bool, tmp_path: Path
) -> None:
    asked = 0

    async def first(request: web.Request) -> web.StreamResponse:
        nonlocal asked
        asked += 1
        return part_of(request, OLD, ETag='"old"') if asked == 1 else web.Response(status=404)

    async def second(request: web.Request) -> web.StreamResponse:
        return part_of(request, NEW, ETag='"new"')

    (tmp_path / "copy").write_bytes(NEW)
    async with application_server(first) as one, application_server(second) as other:
        mirror = str(tmp_path / "copy") if is_local else f"{other}/f"
        await fetch(f"{one}/f", tmp_path / "f", mirrors=[mirror], limits=FEW)
    assert asked > 1
    assert (tmp_path / "f").read_bytes() == NEW


async def test_a_mirror_that_surely_has_the_same_version_goes_on(tmp_path: Path) -> None:
    asked = sent = 0

    async def first(request: web.Request) -> web.StreamResponse:
        nonlocal asked
        asked += 1
        return part_of(request, OLD, ETag='"same"') if asked == 1 else web.Response(status=404)

    async def second(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        answer = part_of(request, OLD, ETag='"same"')
        assert isinstance(answer.body, bytes)
        sent += len(answer.body)
        return answer

    async with application_server(first) as one, application_server(second) as other:
        await fetch(f"{one}/f", tmp_path / "f", mirrors=[f"{other}/f"], limits=FEW)
    assert (tmp_path / "f").read_bytes() == OLD
    assert 0 < sent < SIZE


async def test_a_whole_file_in_place_of_a_part_must_name_the_version_too(tmp_path: Path) -> None:
    asked = 0

    async def handle(request: web.Request) -> web.StreamResponse:
        nonlocal asked
        asked += 1
        return part_of(request, OLD, ETag='"old"') if asked == 1 else web.Response(body=NEW)

    async with application_server(handle) as server:
        await fetch(f"{server}/f", tmp_path / "f", limits=FEW)
    assert (tmp_path / "f").read_bytes() == NEW
