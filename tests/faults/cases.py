"""The table: each fault, and how each kind of transfer ends under it.

The tests run it, and ``python -m tests.faults.matrix`` writes ``docs/faults.md`` from it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from tests.faults.answers import HTML
from tests.faults.kinds import Act, Fault, Rule, after, always, at, once, times
from tests.faults.outcomes import MISMATCH, RECOVERS, UNSOUND, Outcome, as_sent, gives_up, status

__all__ = ["CASES", "Case"]

MIDDLE = 4
"""Requests that are answered well before a fault in the middle; each transfer here needs more than six."""

TAILS = 3
"""The requests of a dataset that come before all others, one for the end of each archive."""


@dataclass(frozen=True, slots=True)
class Case:
    """A fault (or several), and what becomes of each transfer.

    ``{other}`` in a rule stands for the address of a second origin, which follows the rules ``other``.
    ``version`` is the one that must arrive.
    """

    name: str
    rules: tuple[Rule, ...]
    outcomes: tuple[Outcome, Outcome, Outcome] = (RECOVERS, RECOVERS, RECOVERS)
    """For a file with digest, one without, and a dataset."""
    timeout_seconds: float = 5.0
    tls: Literal["", "trusted", "untrusted"] = ""
    other: tuple[Rule, ...] = field(default=())
    version: int = 0
    retries: int = 2
    group: str = ""


def case(name: str, *rules: Rule, **settings: object) -> Case:
    """All three recover unless told otherwise."""
    return Case(name, rules, **settings)  # type: ignore[arg-type]


def fails(name: str, outcome: Outcome, *rules: Rule, **settings: object) -> Case:
    """All three fail alike."""
    return Case(name, rules, (outcome, outcome, outcome), **settings)  # type: ignore[arg-type]


def both(name: str, act: Act, outcome: Outcome, **settings: object) -> list[Case]:
    """A fault of one answer, which must not matter, and the same one in every answer."""
    return [
        case(f"{name}, once", once(act, after=MIDDLE), **settings),
        fails(f"{name}, always", outcome, always(act), **settings),
    ]


def unkept(name: str, act: Act) -> list[Case]:
    """Ranges that are not kept to.  A source that never does is read from start to end, after three tries."""
    return [case(f"{name}, once", once(act, after=MIDDLE)), case(f"{name}, always", always(act), retries=6)]


NO_RANGES = always(Act(Fault.NO_RANGES))
HTML_PAGE = Act(Fault.HTML_PAGE)

RANGES = [
    case("no ranges: 200 for every range", NO_RANGES),
    case("200 for one range", once(Act(Fault.NO_RANGES), after=MIDDLE)),
    case("`Accept-Ranges: none`", always(Act(Fault.RANGES_NONE))),
    *unkept("Content-Range shifted", Act(Fault.RANGE_SHIFTED, count=512)),
    *unkept("Content-Range with another total", Act(Fault.RANGE_OTHER_TOTAL, count=512)),
    *unkept("Content-Range missing", Act(Fault.RANGE_MISSING)),
    *unkept("Content-Range malformed", Act(Fault.RANGE_MALFORMED, text="bytes 0-x/many")),
    case("Content-Range without a total (`*`), once", once(Act(Fault.RANGE_TOTAL_UNKNOWN), after=MIDDLE)),
    case("Content-Range without a total (`*`), always", always(Act(Fault.RANGE_TOTAL_UNKNOWN))),
    *unkept("a range cut to its first 10,000 bytes", Act(Fault.RANGE_CAPPED, count=10_000)),
    *unkept("multipart/byteranges for one range", Act(Fault.MULTIPART)),
    *both("416 for a range that is there", Act(Fault.STATUS, status=416), gives_up("416")),
]

LENGTHS = [
    *both(
        "206 with 100 bytes more than the range", Act(Fault.BODY_LONGER, count=100), gives_up("a 206 answer")
    ),
    *both(
        "206 with 100 bytes less than the range", Act(Fault.BODY_SHORTER, count=100), gives_up("a 206 answer")
    ),
    *both(
        "206 whose Content-Length is too large", Act(Fault.LENGTH_ADDED, count=100), gives_up("a 206 answer")
    ),
    *both("206 whose Content-Length is too small", Act(Fault.LENGTH_ADDED, count=-100), gives_up()),
    fails(
        "no ranges, and Content-Length too large",
        gives_up(),
        NO_RANGES,
        always(Act(Fault.LENGTH_ADDED, count=100)),
    ),
    case(
        "no ranges, and Content-Length too small",
        NO_RANGES,
        always(Act(Fault.LENGTH_ADDED, count=-100)),
        outcomes=(MISMATCH, as_sent(lambda content: content[:-100]), UNSOUND),
    ),
    case("200 with another length, once", once(Act(Fault.WHOLE_SHORTER, count=1000), after=MIDDLE)),
    case(
        "200 with another length, always",
        always(Act(Fault.WHOLE_SHORTER, count=1000)),
        outcomes=(MISMATCH, as_sent(lambda content: content[:-1000]), UNSOUND),
    ),
    *both("Content-Length negative", Act(Fault.LENGTHS, text="-5"), gives_up()),
    *both("Content-Length of 31 digits", Act(Fault.LENGTHS, text="1" + "0" * 30), gives_up()),
    *both("two Content-Lengths that differ", Act(Fault.LENGTHS, text="100,200"), gives_up()),
    fails(
        "no ranges, and Content-Length of 31 digits",
        gives_up(),
        NO_RANGES,
        always(Act(Fault.LENGTHS, text="1" + "0" * 30)),
    ),
    case("206 in chunks, without Content-Length", always(Act(Fault.CHUNKED))),
    case("no ranges, in chunks, without a length", NO_RANGES, always(Act(Fault.CHUNKED))),
    case(
        "in chunks, closed in the middle, once",
        NO_RANGES,
        always(Act(Fault.CHUNKED)),
        once(Act(Fault.CLOSE, offset=100_000)),
    ),
    fails(
        "in chunks, closed in the middle, always",
        gives_up(),
        NO_RANGES,
        always(Act(Fault.CHUNKED)),
        always(Act(Fault.CLOSE, offset=100_000)),
    ),
    fails("gzip although not asked for, once", gives_up("gzip"), once(Act(Fault.GZIP), after=MIDDLE)),
    fails("gzip although not asked for, always", gives_up("gzip"), always(Act(Fault.GZIP))),
    fails("no ranges, and gzip", gives_up("gzip"), NO_RANGES, always(Act(Fault.GZIP))),
]

VERSIONS = [
    case("weak ETag", always(Act(Fault.WEAK_ETAG))),
    case("no ETag, only Last-Modified", always(Act(Fault.NO_ETAG))),
    case("no validator at all", always(Act(Fault.NO_VALIDATOR))),
    case("the file changes between two spans", after(TAILS, Act(Fault.CHANGED)), version=1),
    case("it changes, and its size too", after(TAILS, Act(Fault.CHANGED, count=2)), version=2),
    case(
        "the file changes during a span",
        at(TAILS + 1, Act(Fault.CHANGED_DURING, offset=30_000)),
        after(TAILS + 1, Act(Fault.CHANGED)),
        version=1,
    ),
]

REDIRECTS = [
    *(case(f"{code}", always(Act(Fault.REDIRECT, status=code))) for code in (301, 302, 303, 307, 308)),
    case("a chain of five redirects", always(Act(Fault.REDIRECT, status=307, count=5))),
    fails("a chain of fifty", gives_up("redirect"), always(Act(Fault.REDIRECT, count=50))),
    fails("a circle", gives_up("redirect"), always(Act(Fault.REDIRECT_LOOP))),
    fails("a redirect without Location", gives_up("302"), always(Act(Fault.REDIRECT_TO))),
    fails("a redirect to ftp", gives_up("ftp"), always(Act(Fault.REDIRECT_TO, text="ftp://127.0.0.1/a.bin"))),
    case("a redirect to another host", always(Act(Fault.REDIRECT, text="{other}"))),
    case("signed addresses, each good for 3 requests", always(Act(Fault.SIGNED, count=3))),
    case(
        "the same at another host",
        always(Act(Fault.SIGNED, count=3, text="{other}")),
        other=(always(Act(Fault.SIGNED, count=3)),),
    ),
    fails("signed addresses that are never good", gives_up("403"), always(Act(Fault.SIGNED, count=0))),
    case("HEAD refused with 405", always(Act(Fault.HEAD_REFUSED, status=405))),
    case("HEAD refused with 403", always(Act(Fault.HEAD_REFUSED, status=403))),
]

STATUSES = [
    *(
        case(f"{code} with Retry-After: {text}, once", once(Act(Fault.STATUS, status=code, text=text)))
        for code in (429, 503)
        for text in ("0", "1", "Tue, 01 Jan 2019 00:00:00 GMT", "soon, I hope")
    ),
    fails(
        "429 with Retry-After: 0, always", gives_up("429"), always(Act(Fault.STATUS, status=429, text="0"))
    ),
    fails("503, always", gives_up("503"), always(Act(Fault.STATUS, status=503))),
    fails("503 from the middle on", gives_up("503"), after(MIDDLE, Act(Fault.STATUS, status=503))),
    *(case(f"{code}, twice", times(2, Act(Fault.STATUS, status=code))) for code in (500, 502, 504)),
    *(
        case(f"{code}, twice in the middle", times(2, Act(Fault.STATUS, status=code), after=MIDDLE))
        for code in (500, 502, 504)
    ),
    *(
        fails(f"{code}", status(code), always(Act(Fault.STATUS, status=code)))
        for code in (401, 403, 404, 410)
    ),
    fails("404 from the middle on", status(404), after(MIDDLE, Act(Fault.STATUS, status=404))),
    case("an HTML page with 200, once", once(HTML_PAGE, after=MIDDLE)),
    case(
        "an HTML page with 200, first of all",
        once(HTML_PAGE),
        outcomes=(RECOVERS, as_sent(lambda _: HTML), RECOVERS),
    ),
    case(
        "an HTML page with 200, always",
        always(HTML_PAGE),
        outcomes=(MISMATCH, as_sent(lambda _: HTML), UNSOUND),
    ),
]

RESET, CLOSE = Fault.RESET, Fault.CLOSE
CONNECTIONS = [
    case("reset in the middle, once", once(Act(RESET, offset=20_000), after=MIDDLE)),
    case("reset behind 20,000 bytes, always", always(Act(RESET, offset=20_000))),
    fails("reset before the body, always", gives_up(), always(Act(RESET))),
    fails("reset before the status line, always", gives_up(), always(Act(RESET, offset=-1))),
    case("closed in the middle, once", once(Act(CLOSE, offset=20_000), after=MIDDLE)),
    case("closed behind 20,000 bytes, always", always(Act(CLOSE, offset=20_000))),
    fails("closed before the body, always", gives_up(), always(Act(CLOSE))),
    fails("closed before the status line, always", gives_up(), always(Act(CLOSE, offset=-1))),
    case("keep-alive promised and not kept", always(Act(Fault.CLOSE_SILENTLY))),
    case("HTTP/1.0", always(Act(Fault.HTTP_1_0))),
    fails("every connection closed at once", gives_up(), always(Act(Fault.REFUSE))),
    case("connections closed above 2", always(Act(Fault.REFUSE_ABOVE, count=2))),
    case("503 for more than 2 requests at once", always(Act(Fault.BUSY_ABOVE, count=2))),
    case("each connection limited to 500 kB/s", always(Act(Fault.RATE, rate=500_000.0))),
    case(
        "one connection a hundred times slower",
        always(Act(Fault.RATE, rate=2_000_000.0)),
        always(Act(Fault.RATE, rate=20_000.0), connection=4),
    ),
]

SILENCE = [
    case("silence before the status line, once", once(Act(Fault.SILENCE, offset=-1)), timeout_seconds=0.6),
    case("silence behind the headers, once", once(Act(Fault.SILENCE), after=MIDDLE), timeout_seconds=0.6),
    case(
        "silence in the middle of a span, once",
        once(Act(Fault.SILENCE, offset=20_000), after=MIDDLE),
        timeout_seconds=0.6,
    ),
    case(
        "silence on the last span, once",
        once(Act(Fault.SILENCE, offset=20_000), covering=-1),
        timeout_seconds=0.6,
    ),
    case(
        "half a span, then silence, eight times",
        times(8, Act(Fault.SILENCE, offset=40_000)),
        timeout_seconds=0.6,
    ),
    fails("silence, always", gives_up(), always(Act(Fault.SILENCE, offset=-1)), timeout_seconds=0.6),
    fails(
        "silence from the middle on",
        gives_up(),
        after(MIDDLE, Act(Fault.SILENCE, offset=-1)),
        timeout_seconds=0.6,
    ),
]


def _flipped(content: bytes) -> bytes:
    return content[:100_000] + bytes([content[100_000] ^ 0xFF]) + content[100_001:]


CORRUPT = Act(Fault.CORRUPT, offset=100_000)
CONTENT = [
    case(
        "a corrupt byte, once",
        once(CORRUPT, covering=100_000),
        outcomes=(RECOVERS, as_sent(_flipped), RECOVERS),
    ),
    case("a corrupt byte, always", always(CORRUPT), outcomes=(MISMATCH, as_sent(_flipped), UNSOUND)),
    case(
        "no ranges, and a corrupt byte",
        NO_RANGES,
        always(CORRUPT),
        outcomes=(MISMATCH, as_sent(_flipped), UNSOUND),
    ),
]

WIRE = [
    *both("garbage instead of HTTP", Act(Fault.GARBAGE), gives_up()),
    *both("5,000 headers", Act(Fault.HEADER_FLOOD, count=5_000), gives_up()),
    *both("a header of 4 MB", Act(Fault.HEADER_HUGE, count=4_000_000), gives_up()),
    *both("a status line that never ends", Act(Fault.STATUS_ENDLESS), gives_up()),
    case("interim answers (102, 103)", always(Act(Fault.INTERIM, count=3))),
    fails("a certificate that nobody vouches for", gives_up("certificate"), tls="untrusted"),
    case("https", tls="trusted"),
    case(
        "https that redirects to http",
        always(Act(Fault.REDIRECT, text="{other}")),
        outcomes=(RECOVERS, gives_up("https"), RECOVERS),
        tls="trusted",
    ),
]

GROUPS = {
    "Ranges": RANGES,
    "Lengths and codings": LENGTHS,
    "Versions": VERSIONS,
    "Redirects": REDIRECTS,
    "Statuses": STATUSES,
    "Connections": CONNECTIONS,
    "Silence": SILENCE,
    "Content": CONTENT,
    "The wire, TLS": WIRE,
}

CASES = [each for group in GROUPS.values() for each in group]
