"""The only door to aiohttp's client: one request, checked before a byte of it is handed on.

A ranged answer is 206, exactly the span asked for, out of the remembered total, with the remembered
validator; or it is an error.  What the network does wrong arrives as :class:`~.retry.Transient`
(worth another try), :class:`~.errors.StatusError` (final) or :class:`~.sources.OriginChanged`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import ssl
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Self, TypeAlias
from urllib.parse import urljoin, urlsplit

import aiohttp
from aiohttp import hdrs

from fdf256_fast.connector import connector
from fdf256_fast.credentials import Credentials, origin_of, without_user
from fdf256_fast.errors import Error, StatusError, TransferError
from fdf256_fast.keepalive import (
    READ_BUFFER_BYTES,
    FirstReply,
    Gone,
    KeptConnections,
    KeptReply,
    address_of,
    as_written,
)
from fdf256_fast.pour import Pour
from fdf256_fast.retry import Transient, Unranged, retry_after_seconds, status_is_retried
from fdf256_fast.sources import UNRANGED_MAX, OriginChanged, Source, Validator, redacted, split_url
from fdf256_fast.spans import ContentRange, Span, parse_content_range, range_header

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from fdf256_fast._core import Receiver
    from fdf256_fast.pour import Intake

ClientSession = aiohttp.ClientSession
"""Callers may pass their own."""

_Reply: TypeAlias = FirstReply | KeptReply

__all__ = ["Answer", "Client", "ClientSession"]

logger = logging.getLogger(__name__)

REDIRECTS_MAX = 10
SECOND_ASK_SECONDS = 5.0
"""A server that has not begun to answer by then is asked once more: a connection that hangs is far more often
the reason than a server that needs so long, and that one answers the second time."""

PACED_BUFFER_BYTES = 1 << 16
"""And with a rate limit: what is read in one piece comes at once, whatever the limit."""

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
BYTES_MAX = 1 << 62
"""No file has more; a size that a 64-bit number cannot hold must not get any further."""

_EXPIRED = frozenset({400, 401, 403, 404, 410})
"""What a redirect's target answers once its signature has expired; the origin is asked again."""


class Answer:
    """An answer whose headers passed; the body is still on its way."""

    def __init__(self, reply: _Reply, source: Source, span: Span | None, timeout_seconds: float) -> None:
        self._reply = reply
        self._source = source
        self._timeout_seconds = timeout_seconds
        self.span = span
        """The span that the body is, None where the server sends the whole file instead."""
        self.total = source.total
        """Size of the whole file in bytes, None while unknown."""
        self.abandoned = False

    @property
    def validator(self) -> Validator:
        """What this answer itself says of the file's version."""
        return _validator(self._reply)

    @property
    def has_end(self) -> bool:
        """Whether the answer tells where its body ends; else it is over when the connection is."""
        return self._reply.content_length is not None or hdrs.TRANSFER_ENCODING in self._reply.headers

    def abandon(self) -> None:
        """Drop the connection: somebody else was faster."""
        self.abandoned = True
        self._reply.close()

    def hold(self) -> None:
        """Read no more of the body until somebody takes it, so that :meth:`pour` gets as much as can be."""
        transport = self._plain_transport()
        if transport is not None:
            transport.pause_reading()

    async def pour(self, intake: Intake, receiver: Receiver, write: Callable[[bytes], None]) -> None:
        """The body, read into ``receiver`` where the transport allows it, given to ``write`` where not.

        What the HTTP library has read already, with the headers, goes to ``write`` first, which then aims the
        receiver behind it.  Raises Transient when the body breaks off.
        """
        transport = self._plain_transport()
        if transport is not None and self.span is not None:
            try:
                first = self._reply.begun()
            except (aiohttp.ClientError, OSError) as error:
                # It was held for longer than aiohttp waits for the next byte.
                raise _transient(error, self._source) from error
            left = self.span.length - len(first)
            if first:
                write(first)
            if left > 0 and self._reply.is_at_body:
                try:
                    await Pour(intake, transport, receiver, left, self._timeout_seconds)
                except OSError as error:
                    raise _transient(error, self._source) from error
                self._reply.poured()
                return
            self.span = Span(self.span.start + len(first), self.span.end)
        async for chunk in self.chunks():
            write(chunk)

    def _plain_transport(self) -> asyncio.Transport | None:
        """The transport, if the rest of the body is nothing but the body's bytes on it."""
        reply = self._reply
        if (
            self.span is None
            or reply.content_length != self.span.length
            or hdrs.TRANSFER_ENCODING in reply.headers
        ):
            return None
        return reply.transport

    @property
    def _length(self) -> int | None:
        """Of the body, as the server says it; None where only its end tells."""
        reply = self._reply
        return None if hdrs.TRANSFER_ENCODING in reply.headers else reply.content_length

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body, as it arrives and not joined.  Raises Transient when it breaks off."""
        left = self.span.length if self.span is not None else self._length
        if left == 0:
            # The body of a 416 is a message about the file, not the file.
            return
        try:
            while True:
                chunk = await self._reply.read(self._timeout_seconds)
                if not chunk:
                    break
                if left is not None:
                    if len(chunk) > left:
                        raise Transient(
                            f"{self._source.name} sent more than was asked for", url=self._source.name
                        )
                    left -= len(chunk)
                yield chunk
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise _transient(error, self._source) from error
        if left:
            raise Transient(
                f"{self._source.name}: the answer ended {left} bytes early", url=self._source.name
            )


class Client:
    """One session for a run; ``session`` may be the caller's own, which is then left open.

    ``timeout_seconds`` is how long a connection may be silent.  ``headers`` go to the hosts of the
    sources only, never to where a redirect leads.  ``is_paced`` says that a rate limit holds the reads up.
    """

    def __init__(
        self,
        *,
        timeout_seconds: float,
        headers: Mapping[str, str] | None = None,
        session: aiohttp.ClientSession | None = None,
        is_paced: bool = False,
    ) -> None:
        self._timeout_seconds = timeout_seconds
        self._read_bytes = PACED_BUFFER_BYTES if is_paced else READ_BUFFER_BYTES
        self._headers = headers or {}
        self._given = session
        self._session: aiohttp.ClientSession
        self._credentials: Credentials
        self._elsewhere: aiohttp.ClientSession | None = None
        self._asking: dict[Source, _Asking] = {}
        # A caller's own session may do with requests what nobody here knows of.
        is_own = session is None and not is_paced and "host" not in {name.lower() for name in self._headers}
        self._kept = KeptConnections() if is_own else None

    async def __aenter__(self) -> Self:
        # A caller's own session knows itself whether the environment counts.
        self._credentials = await asyncio.to_thread(
            Credentials, self._headers, environment=self._given is None
        )
        self._session = self._given or aiohttp.ClientSession(
            # The number of connections is decided in transfer.py, and bounded there.
            connector=connector()
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._kept is not None:
            self._kept.close()
        if self._given is None:
            await self._session.close()
        if self._elsewhere is not None:
            await self._elsewhere.close()

    @contextlib.asynccontextmanager
    async def get(
        self,
        source: Source,
        span: Span | None = None,
        *,
        tail_bytes: int = 0,
        vouched: bool = False,
        pieced: bool = False,
        patience_seconds: float = math.inf,
    ) -> AsyncIterator[Answer]:
        """Ask ``source`` for ``span``, for its last ``tail_bytes``, or for everything.

        Yields an :class:`Answer` whose ``span`` is what was asked for, or None when the server answers
        with the whole file; a source that has shown to give no ranges is not asked for one.  ``vouched``
        says that a digest will check all that arrives, so that a redirect from https to http is acceptable.
        ``pieced`` says that nothing will check what the answers are put together to: then each must name the
        version that the first one named.  ``patience_seconds`` is for silence, where it is less than the
        timeout.

        Raises Transient, StatusError, TransferError or OriginChanged.
        """
        headers: dict[str, str] = {hdrs.ACCEPT_ENCODING: "identity"}
        if not source.gives_ranges:
            span, tail_bytes = None, 0
        if span is not None:
            headers[hdrs.RANGE] = range_header(span)
        elif tail_bytes:
            headers[hdrs.RANGE] = f"bytes=-{tail_bytes}"
        silence = min(patience_seconds, self._timeout_seconds)
        reply = await self._request(source, _Request(headers, silence, vouched))
        led_to = source.resolved
        try:
            yield _check(reply, source, _Asked(span, tail_bytes, pieced), self._timeout_seconds)
        except Transient:
            _doubt_redirect(source, led_to)
            raise
        finally:
            # Closing is right in any case: an answer that was read to its end has given its connection
            # back already.
            reply.close()

    async def _request(self, source: Source, request: _Request) -> _Reply:
        """Send it, following redirects; the address they led to is asked directly the next time."""
        while True:
            start = source.resolved
            if start is None and source.redirects:
                # Its signature has expired under all connections at once: one of them asks for a new one.
                asking = self._asking.setdefault(source, _Asking())
                failures = asking.failures
                async with asking.lock:
                    if asking.failures != failures:
                        # Each would wait as long for nothing, and the last one for all of them together.
                        raise Transient(asking.reason, url=source.name)
                    if source.resolved is None:
                        try:
                            return await self._follow(source, source.url, request)
                        except Transient as error:
                            asking.failures, asking.reason = asking.failures + 1, error.reason
                            raise
                continue
            try:
                reply = await self._follow(source, start or source.url, request)
            except Transient:
                _doubt_redirect(source, start)
                raise
            if start is None or reply.status not in _EXPIRED:
                return reply
            reply.close()
            if source.resolved == start:
                source.resolved = None

    async def _follow(self, source: Source, url: str, request: _Request) -> _Reply:
        for _ in range(REDIRECTS_MAX + 1):
            reply = await self._send(source, url, request)
            logger.info("%s: %d (%s)", redacted(url), reply.status, request.headers.get(hdrs.RANGE, "all"))
            if reply.status not in _REDIRECTS or hdrs.LOCATION not in reply.headers:
                source.answered_by = url
                if url != source.url and reply.status < 400:
                    source.resolved = url
                return reply
            reply.close()
            source.redirects = True
            following = _joined(source, url, reply.headers[hdrs.LOCATION])
            if (split_url(url).scheme, split_url(following).scheme) == (
                "https",
                "http",
            ) and not request.vouched:
                raise TransferError(
                    f"{source.name} redirects from https to {redacted(following)}",
                    url=source.name,
                    hint="Give a digest, so that it does not matter who sent the bytes.",
                )
            url = following
        raise TransferError(
            f"{source.name} redirects in a circle (more than {REDIRECTS_MAX} times, last to {redacted(url)})",
            url=source.name,
        )

    async def _send(self, source: Source, url: str, request: _Request) -> _Reply:
        """Ask once; and once more, over another connection, when the first is silent from the start."""
        # None is no limit of its own: the timeout comes first then.
        patience = SECOND_ASK_SECONDS if self._timeout_seconds > SECOND_ASK_SECONDS else None
        first = asyncio.timeout(patience)
        try:
            async with first:
                kept = await self._ask_kept(source, url, request)
                return kept or await self._send_once(source, url, request)
        except TimeoutError:
            if not first.expired():
                raise
            logger.info("%s: no answer in %.0f s, asking again", source.name, SECOND_ASK_SECONDS)
        return await self._send_once(source, url, request)

    async def _ask_kept(self, source: Source, url: str, request: _Request) -> KeptReply | None:
        """Ask on a connection that has answered before; None where there is none, or it does not answer."""
        # Cookies are aiohttp's; a proxy is asked in other words.
        if self._kept is None or len(self._session.cookie_jar) or self._credentials.proxy(url) is not None:
            return None
        try:
            address = address_of(without_user(url))
        except ValueError:
            return None
        connection = self._kept.find(address.origin)
        if connection is None:
            return None
        headers = {**request.headers, **self._credentials.headers(url, source.url)}
        # A longer silence ends with `_send`'s own patience: one timer for most requests.
        is_short = request.silence_seconds <= SECOND_ASK_SECONDS
        try:
            async with asyncio.timeout(request.silence_seconds) if is_short else contextlib.nullcontext():
                reply = await connection.ask(address.target, headers, url)
        except (Gone, TimeoutError) as error:
            logger.info("%s: asking again over another connection (%s)", source.name, error)
            return None
        if hdrs.SET_COOKIE in reply.headers:
            self._session.cookie_jar.update_cookies_from_headers(
                reply.headers.getall(hdrs.SET_COOKIE), reply.url
            )
        return reply

    def _session_for(self, url: str, source: Source) -> aiohttp.ClientSession:
        """The session; where a caller's own has led elsewhere, one without what it sends by default."""
        if self._given is None or origin_of(url) == origin_of(source.url):
            return self._session
        if self._elsewhere is None:
            self._elsewhere = aiohttp.ClientSession(
                connector=self._given.connector,
                connector_owner=False,
                cookie_jar=self._given.cookie_jar,
                trust_env=self._given.trust_env,
            )
        return self._elsewhere

    async def _send_once(self, source: Source, url: str, request: _Request) -> _Reply:
        timeout = _timeout(self._timeout_seconds, request.silence_seconds)
        headers = {**request.headers, **self._credentials.headers(url, source.url)}
        proxy = self._credentials.proxy(url)
        proxy_headers: dict[str, str] = {}
        if proxy is not None and proxy.authorization is not None:
            # A plain request goes to the proxy as it is; for TLS, only the one that opens the tunnel does.
            own = headers if urlsplit(url).scheme == "http" else proxy_headers
            own[hdrs.PROXY_AUTHORIZATION] = proxy.authorization
        try:
            if self._kept is not None and self._kept.is_silent(address_of(without_user(url)).origin):
                headers[hdrs.CONNECTION] = "close"
            # The library's own limits do not cover the wait for a proxy's tunnel.
            patience = self._timeout_seconds + request.silence_seconds if proxy else None
            async with asyncio.timeout(patience):
                response = await self._session_for(url, source).get(
                    as_written(without_user(url)),
                    headers=headers,
                    allow_redirects=False,
                    auto_decompress=False,
                    raise_for_status=False,
                    timeout=timeout,
                    read_bufsize=self._read_bytes,
                    proxy=proxy.url if proxy else None,
                    proxy_headers=proxy_headers if proxy else None,
                )
            return FirstReply(response, None if proxy else self._kept)
        except aiohttp.ClientConnectorCertificateError as error:
            raise TransferError(
                f"{redacted(url)}: the server's certificate is not trusted: {error.certificate_error}",
                url=source.name,
                hint="Check the address and this machine's clock and certificates.",
            ) from error
        except aiohttp.ClientHttpProxyError as error:
            raise _proxy_error(error, source) from error
        except (aiohttp.InvalidURL, ValueError) as error:
            raise TransferError(f"{redacted(url)} is not a URL that can be asked", url=source.name) from error
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise _transient(error, source, crowded=True) from error


@dataclass(slots=True)
class _Asking:
    """The one request at a time for where a source's redirects lead now; ``reason`` of the last failure."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    failures: int = 0
    reason: str = ""


@lru_cache(64)
def _timeout(connect_seconds: float, silence_seconds: float) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=None, sock_connect=connect_seconds, sock_read=silence_seconds)


@dataclass(frozen=True, slots=True)
class _Request:
    """What goes out, wherever redirects lead."""

    headers: dict[str, str]
    silence_seconds: float
    vouched: bool


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a request was for: a span, so many bytes of the end, or neither: everything."""

    span: Span | None
    tail_bytes: int
    pieced: bool = False

    @property
    def is_ranged(self) -> bool:
        return self.span is not None or self.tail_bytes > 0

    def expected(self, total: int) -> Span:
        """The span that should come from a file of ``total`` bytes."""
        if self.span is None:
            return Span(max(0, total - self.tail_bytes), total)
        # A span that was asked for before the size was known may end behind the file.
        return Span(self.span.start, min(self.span.end, total))

    def total(self, got: Span) -> int | None:
        """The file's size, as far as ``got`` shows it where the server does not tell."""
        if self.span is None or got.length < self.span.length:
            return got.end
        return None


def _check(reply: _Reply, source: Source, asked: _Asked, timeout_seconds: float) -> Answer:
    """Whether the answer is what was asked for."""
    status = reply.status
    if status in {200, 206}:
        _check_encoding(reply, source)
        if (reply.content_length or 0) > BYTES_MAX:
            raise Transient(f"{source.name} claims to send {reply.content_length} bytes", url=source.name)
    try:
        if status == 206 and asked.is_ranged:
            span = _check_partial(reply, source, asked)
            source.unranged, source.has_given_ranges = 0, True
            return Answer(reply, source, span, timeout_seconds)
        if status == 416 and asked.is_ranged:
            return Answer(reply, source, _check_unsatisfiable(reply, source), timeout_seconds)
        if status != 200:
            raise _status_error(reply, source)
        _check_whole(reply, source, asked)
    except Unranged:
        source.unranged += 1
        raise
    if asked.is_ranged:
        may_give = source.has_given_ranges or reply.headers.get(hdrs.ACCEPT_RANGES) == "bytes"
        source.unranged += 1 if may_give else UNRANGED_MAX
    return Answer(reply, source, None, timeout_seconds)


def _doubt_redirect(source: Source, led_to: str | None) -> None:
    """Ask the source itself the next time: where it led may be gone, and it may lead elsewhere by now."""
    if led_to is not None and source.resolved == led_to and source.failures:
        source.resolved = None


def _check_encoding(reply: _Reply, source: Source) -> None:
    encoding = reply.headers.get(hdrs.CONTENT_ENCODING, "identity").lower()
    if encoding in {"identity", ""}:
        return
    # Servers often call a file that is compressed itself encoded: the bytes are the file's own.
    path = urlsplit(source.url).path.lower()
    if encoding in {"gzip", "x-gzip"} and path.endswith((".gz", ".tgz")):
        return
    raise TransferError(
        f"{source.name} sends the file encoded as {encoding} although that was not asked for",
        url=source.name,
    )


def _check_partial(reply: _Reply, source: Source, asked: _Asked) -> Span:
    content_range = parse_content_range(reply.headers.get(hdrs.CONTENT_RANGE))
    if content_range is None or content_range.span is None:
        raise Unranged(f"{source.name}: a 206 answer without a usable Content-Range", url=source.name)
    got, total = content_range.span, content_range.total
    if total is None:
        total = source.total if source.total is not None else asked.total(got)
    expected = asked.span if total is None else asked.expected(total)
    if (total or 0) > BYTES_MAX:
        raise Transient(f"{source.name} claims to have {total} bytes", url=source.name)
    if source.total not in {None, total}:
        # Another size is another file, and no wonder that the span is another one.
        _remember(source, total, _validator(reply))
    if got != expected:
        raise Unranged(f"{source.name}: asked for bytes {expected}, got {got}", url=source.name)
    if reply.content_length not in {None, got.length}:
        raise Unranged(
            f"{source.name}: a 206 answer of {reply.content_length} bytes for {got}", url=source.name
        )
    version = _validator(reply)
    if asked.pieced and source.validator and not source.validator.compares(version):
        raise Unranged(
            f"{source.name}: a 206 answer that does not say of which version of the file it is",
            url=source.name,
        )
    _remember(source, total, version)
    source.content_type = reply.content_type
    return got


def _check_unsatisfiable(reply: _Reply, source: Source) -> Span:
    """An empty file has no range to give; 416 for any other is a mistake, or another file."""
    content_range = parse_content_range(reply.headers.get(hdrs.CONTENT_RANGE)) or ContentRange(None, None)
    if content_range.total == 0:
        _remember(source, 0, _validator(reply))
        return Span(0, 0)
    if content_range.total is not None:
        _remember(source, content_range.total, Validator())
    raise Unranged(f"{source.name} answered 416 to a range that the file has", url=source.name)


def _check_whole(reply: _Reply, source: Source, asked: _Asked) -> None:
    """A 200 answer: the file, or something that a portal, a proxy or a login page sends in its place."""
    length = reply.content_length
    if source.total is not None and length != source.total:
        is_page = reply.content_type in {"text/html", "application/xhtml+xml"}
        is_another = source.validator.contradicts(_validator(reply))
        # A page in between says nothing about the file; what was had of it stays good.
        if is_page or (asked.is_ranged and length is not None and not is_another):
            raise Transient(
                f"{source.name} answered with {'a web page' if is_page else f'{length} bytes'} "
                f"instead of the file of {source.total} bytes",
                url=source.name,
            )
    source.content_type = reply.content_type
    version = _validator(reply)
    # What it says less of than was known is for whoever puts pieces together to judge.
    is_less = asked.pieced and source.validator and not source.validator.compares(version)
    _remember(source, length, Validator() if is_less else version)


def _remember(source: Source, total: int | None, validator: Validator) -> None:
    """Compare with what this source has shown before, and keep what is new."""
    if None not in {source.total, total} and source.total != total:
        raise OriginChanged(f"{source.name}: the file had {source.total} bytes before and has {total} now")
    if source.validator.contradicts(validator):
        raise OriginChanged(f"{source.name}: the file was replaced on the server")
    source.total = total if source.total is None else source.total
    source.validator = Validator(
        source.validator.etag or validator.etag,
        source.validator.last_modified or validator.last_modified,
    )


def _status_error(reply: _Reply, source: Source) -> Error:
    status = reply.status
    asked = str(reply.url)
    # The library writes an address in its own way (%2e as a dot), so that paths alone do not tell.
    is_home = source.answered_by == source.url or (
        origin_of(asked) == origin_of(source.url) and reply.url.path == urlsplit(source.url).path
    )
    reason = f"{source.name} answered {status} {reply.reason or ''}".rstrip()
    if not is_home:
        reason += f" (at {redacted(asked)}, where it redirects)"
    if status_is_retried(status, signed=not is_home):
        wait = retry_after_seconds(reply.headers.get(hdrs.RETRY_AFTER), datetime.now(UTC))
        return Transient(
            reason, url=source.name, retry_after=wait, status=status, crowded=status in {429, 503}
        )
    return StatusError(reason, url=source.name, status=status)


def _proxy_error(error: aiohttp.ClientHttpProxyError, source: Source) -> TransferError:
    """A proxy that opens no tunnel: what it refuses it will refuse again."""
    text = f"{source.name}: the proxy answered {error.status} {_one_line(error.message)}".rstrip()
    if error.status >= 500:
        return Transient(text, url=source.name)
    return TransferError(
        text, url=source.name, hint="Look at the variables http_proxy, https_proxy and no_proxy."
    )


def _transient(error: Exception, source: Source, *, crowded: bool = False) -> Error:
    if isinstance(error, (asyncio.TimeoutError, aiohttp.ServerTimeoutError)):
        text, crowded = "no answer in time", False
    elif isinstance(error, aiohttp.ClientConnectorDNSError):
        text, crowded = f"the host name {error.host} cannot be found", False
    elif isinstance(error, ssl.SSLError):
        text = f"TLS failed: {error.reason or error}"
    elif isinstance(error, aiohttp.ClientResponseError):
        # Its own text quotes the whole address, with the signature.
        text = f"the answer is not HTTP: {_one_line(error.message)}"
    else:
        # It says how it would have encrypted, whether it would have or not.
        text = _one_line(str(error)).replace(" ssl:default", "").replace(" ssl:True", "")
        text = text.replace(" ssl:False", "") or type(error).__name__
    return Transient(f"{source.name}: {text}", url=source.name, crowded=crowded)


def _joined(source: Source, url: str, location: str) -> str:
    """Where a redirect leads.  Raises TransferError for what is no http address."""
    try:
        following = urljoin(url, location)
        scheme = split_url(following).scheme
    except ValueError as error:
        raise TransferError(
            f"{source.name} redirects to something that is no address", url=source.name
        ) from error
    if scheme not in {"http", "https"}:
        raise TransferError(
            f"{source.name} redirects to {redacted(following)}, which is not http", url=source.name
        )
    return following


def _one_line(text: str) -> str:
    """The first line of a library's message; others may quote what the server sent, byte for byte."""
    first = text.strip().partition("\n")[0].rstrip(" :")
    return "".join(filter(str.isprintable, first))[:200]


def _validator(reply: _Reply) -> Validator:
    return Validator.of(reply.headers.get(hdrs.ETAG), reply.headers.get(hdrs.LAST_MODIFIED))
