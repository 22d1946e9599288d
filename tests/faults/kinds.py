"""What can be wrong with a server, and when.

A :class:`Fault` is a kind, an :class:`Act` a kind with its numbers, a :class:`Rule` an act and the requests
that it is for.  A :class:`Plan` holds the rules of one origin and says which acts a request gets: several at
once, where several rules fit.
"""

from __future__ import annotations

import enum
from collections import Counter
from dataclasses import dataclass, field

__all__ = ["Act", "Asked", "Fault", "Plan", "Rule", "When", "after", "always", "at", "once", "times"]


class Fault(enum.Enum):
    """Kinds of faults, in the order in which they are applied to one answer."""

    # Which file, and what is told of it.
    CHANGED = "the file is the next version of itself"
    CHANGED_DURING = "the body begins with one version, and from `offset` on goes on with the next"
    WEAK_ETAG = "a weak ETag"
    NO_ETAG = "only Last-Modified"
    NO_VALIDATOR = "neither ETag nor Last-Modified"
    NO_RANGES = "the whole file, whatever range was asked for"
    RANGES_NONE = "the same, and `Accept-Ranges: none`"
    RANGE_CAPPED = "at most `count` bytes of a range"
    # Another answer altogether.
    STATUS = "`status`, with a short body and, if there is `text`, with `Retry-After: text`"
    HEAD_REFUSED = "`status` for HEAD"
    BUSY_ABOVE = "503 for a request that is one too many: more than `count` at once"
    REDIRECT = "`status` and `count` hops, then to the base address `text`, if there is one"
    REDIRECT_LOOP = "`status` in a circle"
    REDIRECT_TO = "`status` with `Location: text`, or without Location where `text` is empty"
    SIGNED = "to a signed address (at `text`, if there is one) that is good for `count` requests"
    HTML_PAGE = "200 with a page that says sorry"
    MULTIPART = "206 with multipart/byteranges for a single range"
    WHOLE_SHORTER = "200 with the file but its last `count` bytes, and a length that fits"
    # Headers that are wrong.
    RANGE_SHIFTED = "Content-Range `count` bytes too far"
    RANGE_OTHER_TOTAL = "Content-Range with a total that is `count` bytes too large"
    RANGE_MISSING = "206 without Content-Range"
    RANGE_MALFORMED = "206 with a Content-Range that is `text`"
    RANGE_TOTAL_UNKNOWN = "206 with `*` for the total"
    LENGTHS = "Content-Length is each of `text`, separated by commas"
    LENGTH_ADDED = "Content-Length is `count` more than there is"
    # Bytes that are wrong.
    CORRUPT = "the byte at `offset` of the file is another one"
    BODY_LONGER = "`count` bytes more than the range has, and a length that fits"
    BODY_SHORTER = "`count` bytes less than the range has, and a length that fits"
    GZIP = "compressed although nobody asked for that"
    # How it is sent.
    CHUNKED = "chunked, without a length"
    INTERIM = "`count` interim answers before the real one"
    HTTP_1_0 = "HTTP/1.0: the connection ends with the answer"
    HEADER_FLOOD = "`count` headers"
    HEADER_HUGE = "a header of `count` bytes"
    STATUS_ENDLESS = "a status line that never ends"
    GARBAGE = "bytes that are not HTTP"
    RATE = "no faster than `rate` bytes per second"
    RESET = "a reset once `offset` bytes of the body are sent"
    CLOSE = "the connection is closed once `offset` bytes of the body are sent"
    SILENCE = "nothing more once `offset` bytes of the body are sent; below 0, not even a status line"
    CLOSE_SILENTLY = "the connection is closed behind an answer that promises to keep it"
    # The connection, before any request.
    REFUSE_ABOVE = "a connection is closed at once if more than `count` are open"
    REFUSE = "a connection is closed at once"


AT_ACCEPT = frozenset({Fault.REFUSE, Fault.REFUSE_ABOVE})
ORDER = {fault: number for number, fault in enumerate(Fault)}


@dataclass(frozen=True, slots=True)
class Act:
    """A fault with its numbers: which of them count, the fault says."""

    fault: Fault
    status: int = 302
    offset: int = 0
    count: int = 1
    rate: float = 0.0
    text: str = ""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as a rule sees it.

    ``number`` counts the requests of an origin from 1, ``connection`` its connections.  ``start`` and ``end``
    are the span that is asked for of a file of ``size`` bytes: the whole file without a range.
    """

    number: int
    method: str
    path: str
    connection: int
    start: int = 0
    end: int = 0
    size: int = 0
    is_ranged: bool = False


@dataclass(frozen=True, slots=True)
class When:
    """Which requests a rule is for: all conditions at once, and of what fits only the first ``times``.

    ``covering`` is an offset in the file; below 0 it counts from the end.  ``beyond`` stands for requests
    that reach beyond that offset.
    """

    name: str | None = None
    number: int | None = None
    after: int = 0
    times: int | None = None
    connection: int | None = None
    covering: int | None = None
    beyond: int | None = None
    is_ranged: bool | None = None

    def fits(self, asked: Asked) -> bool:
        """Whether ``asked`` meets all conditions but ``times``."""
        offset = self.covering
        if offset is not None and offset < 0:
            offset += asked.size
        return (
            (self.name is None or asked.path.rpartition("/")[2] == self.name)
            and self.number in {None, asked.number}
            and asked.number > self.after
            and self.connection in {None, asked.connection}
            and self.is_ranged in {None, asked.is_ranged}
            and (offset is None or asked.start <= offset < asked.end)
            and (self.beyond is None or asked.end > self.beyond)
        )


@dataclass(frozen=True, slots=True)
class Rule:
    """An act, and the requests it is for."""

    act: Act
    when: When = field(default_factory=When)


def always(act: Act, **conditions: int | str | bool) -> Rule:
    """For every request that fits the conditions."""
    return Rule(act, When(**conditions))  # type: ignore[arg-type]


def once(act: Act, **conditions: int | str | bool) -> Rule:
    """For the first request that fits."""
    return always(act, times=1, **conditions)


def times(count: int, act: Act, **conditions: int | str | bool) -> Rule:
    """For the first ``count`` requests that fit."""
    return always(act, times=count, **conditions)


def at(number: int, act: Act) -> Rule:
    """For the request of that number, from 1."""
    return always(act, number=number)


def after(number: int, act: Act) -> Rule:
    """For every request after the one of that number."""
    return always(act, after=number)


class Plan:
    """The rules of one origin; ``applied`` counts how often each kind of fault was really used."""

    def __init__(self, *rules: Rule) -> None:
        self._rules = rules
        self._fitted = [0] * len(rules)
        self.applied: Counter[Fault] = Counter()

    def off(self) -> None:
        """From now on nothing is wrong."""
        self._rules = ()

    def add(self, *rules: Rule) -> None:
        """From now on these too."""
        self._rules += rules
        self._fitted += [0] * len(rules)

    def acts(self, asked: Asked, *, at_accept: bool = False) -> list[Act]:
        """What happens to this request, or to this connection, in the order in which it is applied."""
        found = []
        for index, rule in enumerate(self._rules):
            if (rule.act.fault in AT_ACCEPT) is not at_accept or not rule.when.fits(asked):
                continue
            if rule.when.times is not None and self._fitted[index] >= rule.when.times:
                continue
            self._fitted[index] += 1
            self.applied[rule.act.fault] += 1
            found.append(rule.act)
        return sorted(found, key=lambda act: ORDER[act.fault])
