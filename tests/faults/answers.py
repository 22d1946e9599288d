"""Answers: what RFC 9110 wants for a request, and what each fault makes of it."""

from __future__ import annotations

import enum
import gzip
import re
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tests.faults.kinds import Act, Asked, Fault

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["Answer", "End", "Request", "Served", "Version", "answer_to", "span_of"]

RANGE = re.compile(r"bytes=(\d*)-(\d*)", re.IGNORECASE)
BOUNDARY = "THIS_IS_WHERE_IT_PARTS"
SECRET = "SIGNATURE-THAT-NOBODY-MAY-SEE"
"""In the query of every signed address."""

HTML = b"<!DOCTYPE html><html><title>Sorry</title><p>We are down for maintenance.</html>\n"
DENIED = (
    b'<?xml version="1.0" encoding="UTF-8"?>\n'
    b"<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>"
)
GARBAGE = bytes(range(128, 256)) * 8 + b"\r\n\r\n"


class End(enum.Enum):
    """How an answer ends before its end."""

    RESET = "reset"
    CLOSE = "close"
    SILENCE = "silence"


@dataclass(frozen=True, slots=True)
class Version:
    """A file at one time."""

    content: bytes
    etag: str
    last_modified: str


@dataclass(frozen=True, slots=True)
class Request:
    """What came over the wire; header names are in lower case."""

    method: str
    target: str
    headers: Mapping[str, str]

    @property
    def path(self) -> str:
        """Without the query."""
        return urlsplit(self.target).path

    @property
    def name(self) -> str:
        """The file that is asked for, behind however many hops."""
        return self.path.rpartition("/")[2]


@dataclass(slots=True)
class Answer:
    """What goes over the wire."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes = b""
    start: int = 0
    """Where in the file the body begins."""
    instead: bytes | None = None
    """Sent in the place of everything."""
    endless: bytes | None = None
    """Sent again and again behind ``instead``."""
    before: bytes = b""
    protocol: str = "HTTP/1.1"
    end: End | None = None
    end_offset: int = 0
    rate: float | None = None
    is_chunked: bool = False
    closes: bool = False
    """And says so."""
    hangs_up: bool = False
    """And does not say so."""

    def header(self, name: str) -> str | None:
        """The first of that name."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)

    def set(self, name: str, value: str | None) -> None:
        """Replace all of that name; None leaves them out."""
        self.headers = [(key, old) for key, old in self.headers if key.lower() != name.lower()]
        if value is not None:
            self.headers.append((name, value))

    def replace(self, status: int, body: bytes, kind: str = "text/plain") -> None:
        """Another answer, that has nothing to do with the file."""
        self.status, self.body, self.start = status, body, 0
        self.headers = [("Content-Type", kind)]

    def head(self) -> bytes:
        """Status line and headers."""
        try:
            reason = HTTPStatus(self.status).phrase
        except ValueError:
            reason = "Unheard Of"
        lines = [
            f"{self.protocol} {self.status} {reason}",
            *(f"{key}: {value}" for key, value in self.headers),
        ]
        if self.is_chunked:
            lines.append("Transfer-Encoding: chunked")
        elif self.header("Content-Length") is None and self.status >= 200 and self.status not in {204, 304}:
            lines.append(f"Content-Length: {len(self.body)}")
        if self.protocol == "HTTP/1.1" and self.closes:
            lines.append("Connection: close")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


@dataclass(slots=True)
class Served:
    """One request on its way to its answer, and what the origin knows beside it."""

    request: Request
    asked: Asked
    versions: list[Version]
    under_way: int = 1
    uses: dict[str, int] = field(default_factory=dict)
    """How often each ticket of a signed address was used."""
    expired: set[str] = field(default_factory=set)
    version: int = 0
    ranges: bool = True

    @property
    def file(self) -> Version:
        """The version that is sent."""
        return self.versions[min(self.version, len(self.versions) - 1)]


def span_of(text: str | None, size: int) -> tuple[int, int] | None:
    """The span that a Range header asks for, None where it is to be ignored (RFC 9110, 14.2).

    One that cannot be satisfied comes back empty.
    """
    match = RANGE.fullmatch((text or "").strip())
    if match is None or match.group(0) == "bytes=-":
        return None
    first, last = match.groups()
    if not first:
        length = int(last)
        return (max(0, size - length), size) if length and size else (0, 0)
    start = int(first)
    end = min(size, int(last) + 1) if last else size
    if last and int(last) < start:
        return None
    return (start, end) if start < size else (0, 0)


def answer_to(served: Served, acts: list[Act]) -> Answer:
    """The answer to a request, with everything in it that is to be wrong."""
    for act in acts:
        if before := _BEFORE.get(act.fault):
            before(served, act)
    answer = _right(served)
    for act in acts:
        if change := _CHANGES.get(act.fault):
            change(answer, served, act)
    return answer


def _right(served: Served) -> Answer:
    """What the RFC wants."""
    file, headers = served.file, served.request.headers
    size = len(file.content)
    answer = Answer(200, [("ETag", file.etag), ("Last-Modified", file.last_modified)], file.content)
    answer.headers += [("Content-Type", "application/octet-stream")]
    if served.request.method not in {"GET", "HEAD"}:
        answer.replace(405, b"no\n")
        return answer
    wanted = headers.get("if-match")
    if wanted is not None and wanted != "*" and file.etag not in re.split(r"\s*,\s*", wanted):
        answer.replace(412, b"it is another one\n")
        return answer
    if not served.ranges:
        return answer
    answer.headers.append(("Accept-Ranges", "bytes"))
    span = span_of(headers.get("range"), size)
    if span is None or headers.get("if-range") not in {None, file.etag, file.last_modified}:
        return answer
    start, end = span
    if start == end:
        answer.replace(416, b"")
        answer.set("Content-Range", f"bytes */{size}")
        return answer
    answer.status, answer.body, answer.start = 206, file.content[start:end], start
    answer.set("Content-Range", f"bytes {start}-{end - 1}/{size}")
    return answer


# ---- before there is an answer -----------------------------------------------------------------------


def _change(served: Served, act: Act) -> None:
    served.version += act.count


def _no_ranges(served: Served, _: Act) -> None:
    served.ranges = False


_BEFORE: dict[Fault, Callable[[Served, Act], None]] = {
    Fault.CHANGED: _change,
    Fault.NO_RANGES: _no_ranges,
    Fault.RANGES_NONE: _no_ranges,
}

# ---- another answer ----------------------------------------------------------------------------------


def _changed_during(answer: Answer, served: Served, act: Act) -> None:
    if answer.status not in {200, 206} or served.version + 1 >= len(served.versions):
        return
    later = served.versions[served.version + 1].content[answer.start : answer.start + len(answer.body)]
    answer.body = answer.body[: act.offset] + later[act.offset :].ljust(len(answer.body) - act.offset, b"\0")


def _weak_etag(answer: Answer, served: Served, _: Act) -> None:
    answer.set("ETag", f"W/{served.file.etag}")


def _no_etag(answer: Answer, _: Served, __: Act) -> None:
    answer.set("ETag", None)


def _no_validator(answer: Answer, _: Served, __: Act) -> None:
    answer.set("ETag", None)
    answer.set("Last-Modified", None)


def _ranges_none(answer: Answer, _: Served, __: Act) -> None:
    answer.set("Accept-Ranges", "none")


def _range_capped(answer: Answer, served: Served, act: Act) -> None:
    if answer.status == 206:
        answer.body = answer.body[: act.count]
        _set_content_range(answer, served)


def _status(answer: Answer, _: Served, act: Act) -> None:
    xml = act.status == 403
    answer.replace(act.status, DENIED if xml else b"no\n", "application/xml" if xml else "text/plain")
    if act.text:
        answer.set("Retry-After", act.text)


def _head_refused(answer: Answer, served: Served, act: Act) -> None:
    if served.request.method == "HEAD":
        answer.replace(act.status, b"no\n")


def _busy_above(answer: Answer, served: Served, act: Act) -> None:
    if served.under_way > act.count:
        answer.replace(503, b"too many at once\n")


def _redirect(answer: Answer, served: Served, act: Act) -> None:
    parts = served.request.path.split("/")
    hop = int(parts[2]) if parts[1] == "hop" else 0
    if hop < act.count:
        following = f"/hop/{hop + 1}/{served.request.name}"
        _redirect_to(answer, served, Act(act.fault, act.status, text=act.text + following))


def _redirect_loop(answer: Answer, served: Served, act: Act) -> None:
    name = served.request.name
    following = f"/{name}" if served.request.path.startswith("/again/") else f"/again/{name}"
    _redirect_to(answer, served, Act(act.fault, act.status, text=following))


def _redirect_to(answer: Answer, _: Served, act: Act) -> None:
    answer.replace(act.status, b"over there\n")
    answer.set("Location", act.text or None)


def _signed(answer: Answer, served: Served, act: Act) -> None:
    """``/a.zip`` leads to ``/signed/TICKET/a.zip?signature``; a ticket is good for some requests."""
    parts = served.request.path.split("/")
    if parts[1] != "signed":
        ticket = f"{len(served.uses) + 1}"
        served.uses[ticket] = 0
        following = f"{act.text}/signed/{ticket}/{served.request.name}?X-Signature={SECRET}{ticket}"
        _redirect_to(answer, served, Act(act.fault, act.status, text=following))
        return
    ticket = parts[2]
    served.uses[ticket] = served.uses.get(ticket, 0) + 1
    if served.uses[ticket] > act.count or ticket in served.expired or SECRET not in served.request.target:
        answer.replace(403, DENIED, "application/xml")


def _html(answer: Answer, _: Served, __: Act) -> None:
    answer.replace(200, HTML, "text/html")


def _multipart(answer: Answer, _: Served, __: Act) -> None:
    if answer.status == 206:
        part = f"--{BOUNDARY}\r\nContent-Range: {answer.header('Content-Range')}\r\n\r\n".encode()
        answer.body = part + answer.body + f"\r\n--{BOUNDARY}--\r\n".encode()
        answer.set("Content-Range", None)
        answer.set("Content-Type", f"multipart/byteranges; boundary={BOUNDARY}")


def _whole_shorter(answer: Answer, served: Served, act: Act) -> None:
    answer.status, answer.start = 200, 0
    answer.body = served.file.content[: -act.count]
    answer.set("Content-Range", None)


# ---- headers and bytes -------------------------------------------------------------------------------


def _set_content_range(answer: Answer, served: Served, shift: int = 0, total: str | None = None) -> None:
    if answer.status == 206:
        first = answer.start + shift
        last = first + len(answer.body) - 1
        answer.set("Content-Range", f"bytes {first}-{last}/{total or len(served.file.content)}")


def _range_shifted(answer: Answer, served: Served, act: Act) -> None:
    _set_content_range(answer, served, act.count, str(len(served.file.content) + act.count))


def _range_other_total(answer: Answer, served: Served, act: Act) -> None:
    _set_content_range(answer, served, 0, str(len(served.file.content) + act.count))


def _range_missing(answer: Answer, _: Served, __: Act) -> None:
    answer.set("Content-Range", None)


def _range_malformed(answer: Answer, _: Served, act: Act) -> None:
    if answer.status == 206:
        answer.set("Content-Range", act.text)


def _range_total_unknown(answer: Answer, served: Served, _: Act) -> None:
    _set_content_range(answer, served, 0, "*")


def _lengths(answer: Answer, _: Served, act: Act) -> None:
    answer.headers += [("Content-Length", each) for each in act.text.split(",")]
    answer.closes = True


def _length_added(answer: Answer, _: Served, act: Act) -> None:
    answer.set("Content-Length", str(len(answer.body) + act.count))
    answer.closes = True


def _corrupt(answer: Answer, _: Served, act: Act) -> None:
    place = act.offset - answer.start
    if answer.status in {200, 206} and 0 <= place < len(answer.body):
        wrong = bytes([answer.body[place] ^ 0xFF])
        answer.body = answer.body[:place] + wrong + answer.body[place + 1 :]


def _body_longer(answer: Answer, _: Served, act: Act) -> None:
    answer.body += bytes(act.count)


def _body_shorter(answer: Answer, _: Served, act: Act) -> None:
    answer.body = answer.body[: -act.count]


def _gzip(answer: Answer, _: Served, __: Act) -> None:
    if answer.status in {200, 206}:
        answer.body = gzip.compress(answer.body, 1)
        answer.set("Content-Encoding", "gzip")


# ---- how it is sent ----------------------------------------------------------------------------------


def _chunked(answer: Answer, _: Served, __: Act) -> None:
    answer.is_chunked = True


def _interim(answer: Answer, _: Served, act: Act) -> None:
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n"
    answer.before = b"HTTP/1.1 102 Processing\r\n\r\n" + hints * act.count


def _http_1_0(answer: Answer, _: Served, __: Act) -> None:
    answer.protocol, answer.closes = "HTTP/1.0", True


def _header_flood(answer: Answer, _: Served, act: Act) -> None:
    answer.headers = [(f"X-Flood-{number}", "x" * 40) for number in range(act.count)] + answer.headers


def _header_huge(answer: Answer, _: Served, act: Act) -> None:
    answer.headers.insert(0, ("X-Huge", "x" * act.count))


def _status_endless(answer: Answer, _: Served, __: Act) -> None:
    answer.instead, answer.endless = b"HTTP/1.1 200 O", b"K" * 16_384


def _garbage(answer: Answer, _: Served, __: Act) -> None:
    answer.instead, answer.closes = GARBAGE, True


def _rate(answer: Answer, _: Served, act: Act) -> None:
    answer.rate = min(answer.rate or act.rate, act.rate)


def _ending(end: End) -> Callable[[Answer, Served, Act], None]:
    def change(answer: Answer, _: Served, act: Act) -> None:
        answer.end, answer.end_offset = end, act.offset

    return change


def _close_silently(answer: Answer, _: Served, __: Act) -> None:
    answer.hangs_up = True


_CHANGES: dict[Fault, Callable[[Answer, Served, Act], None]] = {
    Fault.CHANGED_DURING: _changed_during,
    Fault.WEAK_ETAG: _weak_etag,
    Fault.NO_ETAG: _no_etag,
    Fault.NO_VALIDATOR: _no_validator,
    Fault.RANGES_NONE: _ranges_none,
    Fault.RANGE_CAPPED: _range_capped,
    Fault.STATUS: _status,
    Fault.HEAD_REFUSED: _head_refused,
    Fault.BUSY_ABOVE: _busy_above,
    Fault.REDIRECT: _redirect,
    Fault.REDIRECT_LOOP: _redirect_loop,
    Fault.REDIRECT_TO: _redirect_to,
    Fault.SIGNED: _signed,
    Fault.HTML_PAGE: _html,
    Fault.MULTIPART: _multipart,
    Fault.WHOLE_SHORTER: _whole_shorter,
    Fault.RANGE_SHIFTED: _range_shifted,
    Fault.RANGE_OTHER_TOTAL: _range_other_total,
    Fault.RANGE_MISSING: _range_missing,
    Fault.RANGE_MALFORMED: _range_malformed,
    Fault.RANGE_TOTAL_UNKNOWN: _range_total_unknown,
    Fault.LENGTHS: _lengths,
    Fault.LENGTH_ADDED: _length_added,
    Fault.CORRUPT: _corrupt,
    Fault.BODY_LONGER: _body_longer,
    Fault.BODY_SHORTER: _body_shorter,
    Fault.GZIP: _gzip,
    Fault.CHUNKED: _chunked,
    Fault.INTERIM: _interim,
    Fault.HTTP_1_0: _http_1_0,
    Fault.HEADER_FLOOD: _header_flood,
    Fault.HEADER_HUGE: _header_huge,
    Fault.STATUS_ENDLESS: _status_endless,
    Fault.GARBAGE: _garbage,
    Fault.RATE: _rate,
    Fault.RESET: _ending(End.RESET),
    Fault.CLOSE: _ending(End.CLOSE),
    Fault.SILENCE: _ending(End.SILENCE),
    Fault.CLOSE_SILENTLY: _close_silently,
}
