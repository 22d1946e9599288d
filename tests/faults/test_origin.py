"""That the fault origin does what it says, as Python's http.client and a bare socket see it."""

from __future__ import annotations

import asyncio
import gzip
import http.client
import socket
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from tests.faults.answers import BOUNDARY, SECRET
from tests.faults.kinds import Act, Fault, Plan, Rule, always, at, once, times
from tests.faults.origin import Origin, noise

if TYPE_CHECKING:
    from collections.abc import Callable

FILE = noise(300_000)
NEXT = noise(300_000, "next")


@dataclass(frozen=True, slots=True)
class Got:
    """An answer as http.client read it."""

    status: int
    headers: dict[str, str]
    body: bytes
    is_whole: bool = True
    closed: bool = False


@dataclass(slots=True)
class Asker:
    """Asks over one connection, which is opened anew where it was closed."""

    origin: Origin
    connection: http.client.HTTPConnection = field(init=False)

    def __post_init__(self) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", self.origin.port, timeout=10)

    def ask(
        self, range_: str | None = None, path: str = "/a.bin", method: str = "GET", **headers: str
    ) -> Got:
        """One request."""
        if range_ is not None:
            headers["Range"] = f"bytes={range_}"
        self.connection.request(method, path, headers=headers)
        answer = self.connection.getresponse()
        is_whole = True
        try:
            body = answer.read()
        except http.client.IncompleteRead as error:
            body, is_whole = error.partial, False
        return Got(answer.status, {k.lower(): v for k, v in answer.getheaders()}, body, is_whole)


async def asking(act: Callable[[Asker], None], *rules: Rule, **files: list[bytes]) -> Origin:
    """Run ``act`` in a thread, against an origin with ``rules``."""
    async with Origin({"a.bin": [FILE, NEXT], **files}, Plan(*rules)) as origin:

        def run() -> None:
            asker = Asker(origin)
            with closing(asker.connection):
                act(asker)

        await asyncio.to_thread(run)
    return origin


async def raw(origin: Origin, limit: int = 1 << 20) -> bytes:
    """Everything that comes for a plain request, up to a limit."""

    def run() -> bytes:
        with socket.create_connection(("127.0.0.1", origin.port), timeout=10) as connection:
            connection.sendall(b"GET /a.bin HTTP/1.1\r\nHost: a\r\n\r\n")
            got = b""
            while len(got) < limit and (data := connection.recv(65536)):
                got += data
            return got

    return await asyncio.to_thread(run)


async def test_without_faults_it_is_a_server_as_the_rfc_wants_it() -> None:
    def act(asker: Asker) -> None:
        whole = asker.ask()
        assert (whole.status, whole.body, whole.headers["accept-ranges"]) == (200, FILE, "bytes")
        for text, body in (
            ("0-0", FILE[:1]),
            ("10-19", FILE[10:20]),
            ("299990-", FILE[299_990:]),
            ("299990-400000", FILE[299_990:]),
            ("-5", FILE[-5:]),
            ("-999999", FILE),
        ):
            got = asker.ask(text)
            first = FILE.index(body)
            told = f"bytes {first}-{first + len(body) - 1}/300000"
            assert (got.status, got.body, got.headers["content-range"]) == (206, body, told)
        beyond = asker.ask("300000-")
        assert (beyond.status, beyond.headers["content-range"]) == (416, "bytes */300000")
        for ignored in ("5-4", "x", "0-1,5-6"):
            assert asker.ask(ignored).status == 200
        assert asker.ask("0-9", **{"If-Range": whole.headers["etag"]}).status == 206
        assert asker.ask("0-9", **{"If-Range": '"other"'}).status == 200
        assert asker.ask("0-9", **{"If-Match": '"other"'}).status == 412
        head = asker.ask(method="HEAD")
        assert (head.status, head.body, head.headers["content-length"]) == (200, b"", "300000")
        assert asker.ask(path="/b.bin").status == 404
        assert asker.ask(method="DELETE").status == 405

    origin = await asking(act)
    assert origin.connections == 1
    assert [one.asked.number for one in origin.log] == list(range(1, 18))
    assert origin.log[2].body_bytes == 10
    assert origin.log[2].headers["range"] == "bytes=10-19"


ANSWERS: list[tuple[str, Act, Callable[[Got], bool]]] = [
    ("no ranges", Act(Fault.NO_RANGES), lambda got: got.status == 200 and got.body == FILE),
    ("ranges none", Act(Fault.RANGES_NONE), lambda got: got.headers["accept-ranges"] == "none"),
    ("capped", Act(Fault.RANGE_CAPPED, count=7), lambda got: told(got) == "bytes 10-16/300000"),
    ("changed", Act(Fault.CHANGED), lambda got: got.body == NEXT[10:110] and "-1" in got.headers["etag"]),
    (
        "changed during",
        Act(Fault.CHANGED_DURING, offset=30),
        lambda got: got.body == FILE[10:40] + NEXT[40:110] and "-0" in got.headers["etag"],
    ),
    ("weak", Act(Fault.WEAK_ETAG), lambda got: got.headers["etag"] == 'W/"a.bin-0"'),
    ("no etag", Act(Fault.NO_ETAG), lambda got: "etag" not in got.headers and "last-modified" in got.headers),
    ("no validator", Act(Fault.NO_VALIDATOR), lambda got: not {"etag", "last-modified"} & set(got.headers)),
    ("status", Act(Fault.STATUS, status=410), lambda got: got.status == 410),
    ("denied", Act(Fault.STATUS, status=403), lambda got: got.body.startswith(b"<?xml")),
    ("busy", Act(Fault.STATUS, status=503, text="7"), lambda got: got.headers["retry-after"] == "7"),
    ("redirect", Act(Fault.REDIRECT, status=307), lambda got: got.headers["location"] == "/hop/1/a.bin"),
    ("loop", Act(Fault.REDIRECT_LOOP, status=308), lambda got: got.headers["location"] == "/again/a.bin"),
    ("to", Act(Fault.REDIRECT_TO, text="ftp://a/"), lambda got: got.headers["location"] == "ftp://a/"),
    ("to nowhere", Act(Fault.REDIRECT_TO), lambda got: got.status == 302 and "location" not in got.headers),
    ("signed", Act(Fault.SIGNED), lambda got: SECRET in got.headers["location"]),
    ("html", Act(Fault.HTML_PAGE), lambda got: got.status == 200 and got.body.startswith(b"<!DOCTYPE")),
    (
        "multipart",
        Act(Fault.MULTIPART),
        lambda got: BOUNDARY in got.headers["content-type"] and FILE[10:110] in got.body,
    ),
    (
        "whole shorter",
        Act(Fault.WHOLE_SHORTER, count=9),
        lambda got: got.status == 200 and got.body == FILE[:-9],
    ),
    ("shifted", Act(Fault.RANGE_SHIFTED, count=3), lambda got: told(got) == "bytes 13-112/300003"),
    ("total", Act(Fault.RANGE_OTHER_TOTAL, count=3), lambda got: told(got) == "bytes 10-109/300003"),
    ("no range told", Act(Fault.RANGE_MISSING), lambda got: got.status == 206 and told(got) is None),
    ("malformed", Act(Fault.RANGE_MALFORMED, text="bytes ten"), lambda got: told(got) == "bytes ten"),
    ("unknown", Act(Fault.RANGE_TOTAL_UNKNOWN), lambda got: told(got) == "bytes 10-109/*"),
    ("negative", Act(Fault.LENGTHS, text="-5"), lambda got: got.headers["content-length"] == "-5"),
    ("length lies", Act(Fault.LENGTH_ADDED, count=8), lambda got: not got.is_whole and len(got.body) == 100),
    ("length is short", Act(Fault.LENGTH_ADDED, count=-8), lambda got: got.body == FILE[10:102]),
    (
        "corrupt",
        Act(Fault.CORRUPT, offset=11),
        lambda got: (
            got.body[0] == FILE[10] and got.body[1] == FILE[11] ^ 255 and got.body[2:] == FILE[12:110]
        ),
    ),
    ("corrupt elsewhere", Act(Fault.CORRUPT, offset=110), lambda got: got.body == FILE[10:110]),
    ("longer", Act(Fault.BODY_LONGER, count=5), lambda got: len(got.body) == 105 and got.is_whole),
    ("shorter", Act(Fault.BODY_SHORTER, count=5), lambda got: len(got.body) == 95 and got.is_whole),
    ("gzip", Act(Fault.GZIP), lambda got: gzip.decompress(got.body) == FILE[10:110]),
    (
        "chunked",
        Act(Fault.CHUNKED),
        lambda got: got.body == FILE[10:110] and "content-length" not in got.headers,
    ),
    ("http 1.0", Act(Fault.HTTP_1_0), lambda got: got.body == FILE[10:110]),
    ("close", Act(Fault.CLOSE, offset=60), lambda got: not got.is_whole and got.body == FILE[10:70]),
    ("close silently", Act(Fault.CLOSE_SILENTLY), lambda got: got.body == FILE[10:110]),
]


def told(got: Got) -> str | None:
    return got.headers.get("content-range")


@pytest.mark.parametrize(("fault", "is_there"), [each[1:] for each in ANSWERS], ids=[a[0] for a in ANSWERS])
async def test_each_fault_is_in_its_answer_and_not_in_the_next(
    fault: Act, is_there: Callable[[Got], bool]
) -> None:
    def act(asker: Asker) -> None:
        assert is_there(asker.ask("10-109"))
        asker.connection.close()
        right = asker.ask("10-109")
        assert (right.status, right.body, told(right)) == (206, FILE[10:110], "bytes 10-109/300000")

    origin = await asking(act, once(fault))
    assert origin.plan.applied == {fault.fault: 1}


def counted(connection: socket.socket, enough: int) -> int:
    """Read until so many bytes are there, or the end."""
    got = 0
    while got < enough and (data := connection.recv(65536)):
        got += len(data)
    return got


async def test_a_reset_comes_behind_the_bytes_that_were_to_arrive() -> None:
    async with Origin({"a.bin": FILE}, Plan(always(Act(Fault.RESET, offset=200_000)))) as origin:

        def run() -> None:
            with socket.create_connection(("127.0.0.1", origin.port), timeout=10) as connection:
                connection.sendall(b"GET /a.bin HTTP/1.1\r\nHost: a\r\n\r\n")
                assert counted(connection, 200_000) >= 200_000
                with pytest.raises(ConnectionResetError):
                    counted(connection, 100_000)

        await asyncio.to_thread(run)


@pytest.mark.parametrize(("offset", "expected"), [(-1, 0), (0, 1), (5000, 5001)])
async def test_silence_begins_where_it_is_to_begin(offset: int, expected: int) -> None:
    async with Origin({"a.bin": FILE}, Plan(always(Act(Fault.SILENCE, offset=offset)))) as origin:

        def run() -> None:
            with socket.create_connection(("127.0.0.1", origin.port), timeout=10) as connection:
                connection.sendall(b"GET /a.bin HTTP/1.1\r\nHost: a\r\n\r\n")
                assert counted(connection, expected) >= expected
                connection.settimeout(0.2)
                with pytest.raises(TimeoutError):
                    counted(connection, 300_000)

        await asyncio.to_thread(run)
        assert origin.body_bytes == max(0, offset)


async def test_headers_may_be_many_or_long() -> None:
    for fault in (Act(Fault.HEADER_FLOOD, count=5000), Act(Fault.HEADER_HUGE, count=900_000)):
        async with Origin({"a.bin": b"x"}, Plan(always(fault, times=1))) as origin:
            got = await raw(origin, 200_000)
            assert got.startswith(b"HTTP/1.1 200 OK\r\nX-")
            assert b"\r\n\r\n" not in got[:200_000]


async def test_a_status_line_may_never_end() -> None:
    async with Origin({"a.bin": b"x"}, Plan(always(Act(Fault.STATUS_ENDLESS)))) as origin:
        got = await raw(origin, 3_000_000)
    assert len(got) >= 3_000_000
    assert got.startswith(b"HTTP/1.1 200 OKKKKK")
    assert b"\n" not in got


async def test_garbage_is_no_http() -> None:
    async with Origin({"a.bin": b"x"}, Plan(always(Act(Fault.GARBAGE)))) as origin:
        assert not (await raw(origin)).startswith(b"HTTP")


async def test_interim_answers_come_before_the_real_one() -> None:
    async with Origin({"a.bin": b"x"}, Plan(always(Act(Fault.INTERIM, count=2)))) as origin:
        got = await raw(origin, 300)
    assert got.count(b"HTTP/1.1 10") == 3
    assert got.index(b"HTTP/1.1 103") < got.index(b"HTTP/1.1 200")


async def test_two_lengths_that_differ_are_both_sent() -> None:
    rule = always(Act(Fault.LENGTHS, text="1,2"))
    async with Origin({"a.bin": b"x"}, Plan(rule)) as origin:
        assert (await raw(origin)).count(b"Content-Length: ") == 2


async def test_connections_above_a_number_are_closed() -> None:
    async with Origin({"a.bin": FILE}, Plan(always(Act(Fault.REFUSE_ABOVE, count=2)))) as origin:

        def run() -> None:
            askers = [Asker(origin) for _ in range(3)]
            assert askers[0].ask("0-9").status == 206
            assert askers[1].ask("0-9").status == 206
            with pytest.raises((ConnectionError, http.client.RemoteDisconnected)):
                askers[2].ask("0-9")
            for asker in askers:
                asker.connection.close()

        await asyncio.to_thread(run)


async def test_requests_above_a_number_get_503() -> None:
    rules = always(Act(Fault.BUSY_ABOVE, count=1)), at(1, Act(Fault.SILENCE, offset=0))
    async with Origin({"a.bin": FILE}, Plan(*rules)) as origin:

        def run() -> None:
            first, second = Asker(origin), Asker(origin)
            with closing(first.connection), closing(second.connection):
                first.connection.request("GET", "/a.bin")
                first.connection.getresponse()
                assert second.ask().status == 503

        await asyncio.to_thread(run)


async def test_a_signed_address_is_good_for_so_many_requests_and_until_it_is_revoked() -> None:
    async with Origin({"a.bin": FILE}, Plan(always(Act(Fault.SIGNED, count=2)))) as origin:

        def run() -> None:
            asker = Asker(origin)
            with closing(asker.connection):
                first = asker.ask().headers["location"]
                statuses = [asker.ask(path=first).status for _ in range(3)]
                assert statuses == [200, 200, 403]
                second = asker.ask().headers["location"]
                assert asker.ask(path=second).status == 200
                origin.expire()
                assert asker.ask(path=second).status == 403
                assert asker.ask(path=second.partition("?")[0]).status == 403

        await asyncio.to_thread(run)


async def test_a_chain_ends_at_the_file_and_a_circle_does_not() -> None:
    def chain(asker: Asker) -> None:
        path, statuses = "/a.bin", []
        while (got := asker.ask(path=path)).status != 200:
            statuses.append(got.status)
            path = got.headers["location"]
        assert (statuses, got.body) == ([301, 301, 301], FILE)

    def circle(asker: Asker) -> None:
        path, seen = "/a.bin", []
        for _ in range(4):
            path = asker.ask(path=path).headers["location"]
            seen.append(path)
        assert seen == ["/again/a.bin", "/a.bin"] * 2

    await asking(chain, always(Act(Fault.REDIRECT, status=301, count=3)))
    await asking(circle, always(Act(Fault.REDIRECT_LOOP)))


async def test_head_may_be_refused_while_get_works() -> None:
    def act(asker: Asker) -> None:
        assert asker.ask(method="HEAD").status == 403
        assert asker.ask().status == 200

    await asking(act, always(Act(Fault.HEAD_REFUSED, status=403)))


async def test_rules_choose_by_number_range_connection_and_name() -> None:
    teapot = Act(Fault.STATUS, status=418)

    def act(asker: Asker) -> None:
        statuses = [asker.ask().status for _ in range(5)]
        assert statuses == [200, 418, 200, 418, 418]
        assert asker.ask(path="/b.bin").status == 451
        asker.connection.close()
        assert [asker.ask("0-9").status for _ in range(2)] == [410, 410]
        assert asker.ask("100-199").status == 403
        assert asker.ask("200-299").status == 410
        assert asker.ask("-1").status == 404

    await asking(
        act,
        at(2, teapot),
        always(teapot, after=3, connection=1),
        always(Act(Fault.STATUS, status=451), name="b.bin"),
        always(Act(Fault.STATUS, status=410), connection=2),
        always(Act(Fault.STATUS, status=403), covering=150, is_ranged=True),
        times(2, Act(Fault.STATUS, status=404), covering=-1, is_ranged=True),
        **{"b.bin": [b"b"]},
    )


async def test_faults_add_up() -> None:
    def act(asker: Asker) -> None:
        got = asker.ask("10-109")
        assert got.headers["etag"].startswith("W/")
        assert (got.status, told(got), len(got.body)) == (206, "bytes 10-109/300007", 99)
        assert got.body[5] == FILE[15] ^ 255

    await asking(
        act,
        always(Act(Fault.BODY_SHORTER)),
        always(Act(Fault.RANGE_OTHER_TOTAL, count=7)),
        always(Act(Fault.WEAK_ETAG)),
        always(Act(Fault.CORRUPT, offset=15)),
    )


async def test_a_plan_that_is_switched_off_does_nothing_any_more() -> None:
    async with Origin({"a.bin": FILE}, Plan(always(Act(Fault.GARBAGE)))) as origin:
        origin.plan.off()
        assert (await raw(origin, 1000)).startswith(b"HTTP/1.1 200 OK")
