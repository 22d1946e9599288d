"""The only door to aiohttp's client: one request, checked before a byte of it is handed on.

A ranged answer is 206, exactly the span asked for, out of the remembered total, with the remembered
validator; or it is an error.  What the network does wrong arrives as :class:`~.retry.Transient`
(worth another try), :class:`~.errors.StatusError` (final) or :class:`~.sources.OriginChanged`.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Self
from urllib.parse import urljoin, urlsplit

import aiohttp
from aiohttp import hdrs

from fdf256_fast.errors import Error, StatusError, TransferError
from fdf256_fast.pour import Pour, Receiver
from fdf256_fast.retry import Transient, retry_after_seconds, status_is_retried
from fdf256_fast.sources import OriginChanged, Source, Validator, redacted
from fdf256_fast.spans import ContentRange, Span, parse_content_range, range_header

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

ClientSession = aiohttp.ClientSession
"""Callers may pass their own."""

__all__ = ["Answer", "Client", "ClientSession"]

REDIRECTS_MAX = 10
READ_BUFFER_BYTES = 1 << 20
"""What aiohttp holds before it stops reading: a quarter of a span, so that reads stay large."""

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_EXPIRED = frozenset({401, 403, 404, 410})
"""What a redirect's target answers once its signature has expired; the origin is asked again."""


class Answer:
    """An answer whose headers passed; the body is still on its way."""

    def __init__(
        self, response: aiohttp.ClientResponse, source: Source, span: Span | None, timeout_seconds: float
    ) -> None:
        self._response = response
        self._source = source
        self._timeout_seconds = timeout_seconds
        self.span = span
        """The span that the body is, None where the server sends the whole file instead."""
        self.total = source.total
        """Size of the whole file in bytes, None while unknown."""
        self.abandoned = False

    def abandon(self) -> None:
        """Drop the connection: somebody else was faster."""
        self.abandoned = True
        self._response.close()

    async def pour(
        self, receiver: Receiver, write: Callable[[bytes], None], heard: Callable[[int], None]
    ) -> None:
        """The body, read into ``receiver`` where the transport allows it, given to ``write`` where not.

        ``heard`` is called with the length of each read.  What the HTTP library has read already, with the
        headers, goes to ``write`` first; the caller then aims the receiver behind it.  Raises Transient
        when the body breaks off.
        """
        transport = self._plain_transport()
        stream = self._response.content
        if transport is not None and self.span is not None:
            first = stream.read_nowait()
            left = self.span.length - len(first)
            if first:
                write(first)
                heard(len(first))
            # Beyond this the library may have stopped in the middle of what it had read.
            if left > 0 and len(first) < READ_BUFFER_BYTES:
                pour = Pour(transport, receiver, left, self._timeout_seconds, heard)
                try:
                    await pour.done
                except OSError as error:
                    raise _transient(error, self._source) from error
                # The library's own parser has not seen the rest; it gets a new one with the next request.
                stream.feed_eof()
                return
            self.span = Span(self.span.start + len(first), self.span.end)
        async for chunk in self.chunks():
            write(chunk)
            heard(len(chunk))

    def _plain_transport(self) -> asyncio.Transport | None:
        """The transport, if the rest of the body is nothing but the body's bytes on it."""
        connection = self._response.connection
        if connection is None or self.span is None or self._response.content.is_eof():
            return None
        if (
            self._response.content_length != self.span.length
            or hdrs.TRANSFER_ENCODING in self._response.headers
        ):
            return None
        transport = connection.transport
        return transport if isinstance(transport, asyncio.Transport) and not transport.is_closing() else None

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body, as it arrives and not joined.  Raises Transient when it breaks off."""
        left = self.span.length if self.span else None
        if left == 0:
            # The body of a 416 is a message about the file, not the file.
            return
        stream = self._response.content
        try:
            while True:
                chunk = await stream.readany()
                if not chunk:
                    break
                if left is not None:
                    if len(chunk) > left:
                        raise Transient("the server sent more than was asked for", url=self._source.name)
                    left -= len(chunk)
                yield chunk
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise _transient(error, self._source) from error
        if left:
            raise Transient(f"the answer ended {left} bytes early", url=self._source.name)


class Client:
    """One session for a run; ``session`` may be the caller's own, which is then left open.

    ``timeout_seconds`` is how long a connection may be silent.  ``headers`` go to the hosts of the
    sources only, never to where a redirect leads.
    """

    def __init__(
        self,
        *,
        timeout_seconds: float,
        headers: Mapping[str, str] | None = None,
        session: aiohttp.ClientSession | None = None,
    ) -> None:
        self._timeout_seconds = timeout_seconds
        self._headers = dict(headers or {})
        self._given = session
        self._session: aiohttp.ClientSession

    async def __aenter__(self) -> Self:
        self._session = self._given or aiohttp.ClientSession(
            # The number of connections is decided in transfer.py, and bounded there.
            connector=aiohttp.TCPConnector(limit=0),
            trust_env=True,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._given is None:
            await self._session.close()

    @contextlib.asynccontextmanager
    async def get(
        self, source: Source, span: Span | None = None, *, tail_bytes: int = 0, vouched: bool = False
    ) -> AsyncIterator[Answer]:
        """Ask ``source`` for ``span``, for its last ``tail_bytes``, or for everything.

        Yields an :class:`Answer` whose ``span`` is what was asked for, or None when the server answers
        with the whole file.  ``vouched`` says that a digest will check all that arrives, so that a redirect
        from https to http is acceptable.  Raises Transient, StatusError, TransferError or OriginChanged.
        """
        headers: dict[str, str] = {hdrs.ACCEPT_ENCODING: "identity"}
        if span is not None:
            headers[hdrs.RANGE] = range_header(span)
        elif tail_bytes:
            headers[hdrs.RANGE] = f"bytes=-{tail_bytes}"
        response = await self._request(source, headers, vouched=vouched)
        try:
            yield _check(response, source, span, tail_bytes, self._timeout_seconds)
        finally:
            # Closing is right in any case: an answer that was read to its end has given its connection
            # back already.
            response.close()

    async def _request(
        self, source: Source, headers: dict[str, str], *, vouched: bool
    ) -> aiohttp.ClientResponse:
        """Send it, following redirects; the address they led to is asked directly the next time."""
        while True:
            start = source.resolved or source.url
            response = await self._follow(source, start, headers, vouched=vouched)
            if response.status not in _EXPIRED or start == source.url:
                return response
            # The signature has expired: whoever notices first forgets the address, for all.
            response.close()
            if source.resolved == start:
                source.resolved = None

    async def _follow(
        self, source: Source, url: str, headers: dict[str, str], *, vouched: bool
    ) -> aiohttp.ClientResponse:
        home = _host(source.url)
        for _ in range(REDIRECTS_MAX + 1):
            own = self._headers if _host(url) == home else {}
            response = await self._send(source, url, {**headers, **own})
            if response.status not in _REDIRECTS or hdrs.LOCATION not in response.headers:
                if url != source.url:
                    source.resolved = url
                return response
            response.close()
            following = urljoin(url, response.headers[hdrs.LOCATION])
            if urlsplit(following).scheme not in {"http", "https"}:
                raise TransferError(
                    f"{source.name} redirects to {redacted(following)}, which is not http",
                    url=source.name,
                )
            if url.startswith("https:") and following.startswith("http:") and not vouched:
                raise TransferError(
                    f"{source.name} redirects from https to {redacted(following)}",
                    url=source.name,
                    hint="Give a digest, so that it does not matter who sent the bytes.",
                )
            url = following
        raise TransferError(f"{source.name} redirects in a circle", url=source.name)

    async def _send(self, source: Source, url: str, headers: dict[str, str]) -> aiohttp.ClientResponse:
        timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=self._timeout_seconds, sock_read=self._timeout_seconds
        )
        try:
            return await self._session.get(
                url,
                headers=headers,
                allow_redirects=False,
                auto_decompress=False,
                timeout=timeout,
                read_bufsize=READ_BUFFER_BYTES,
            )
        except aiohttp.ClientConnectorCertificateError as error:
            raise TransferError(
                f"{redacted(url)}: the server's certificate is not trusted: {error.certificate_error}",
                url=source.name,
                hint="Check the address and this machine's clock and certificates.",
            ) from error
        except aiohttp.InvalidURL as error:
            raise TransferError(f"{redacted(url)} is not a URL that can be asked", url=source.name) from error
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise _transient(error, source) from error


def _check(
    response: aiohttp.ClientResponse,
    source: Source,
    span: Span | None,
    tail_bytes: int,
    timeout_seconds: float,
) -> Answer:
    """Whether the answer is what was asked for."""
    status = response.status
    encoding = response.headers.get(hdrs.CONTENT_ENCODING, "identity")
    if status in {200, 206} and encoding != "identity":
        raise TransferError(
            f"{source.name} sends the file encoded as {encoding} although that was not asked for",
            url=source.name,
        )
    if status == 206 and (span is not None or tail_bytes):
        return _check_partial(response, source, span, tail_bytes, timeout_seconds)
    if status == 416:
        return _check_unsatisfiable(response, source, timeout_seconds)
    if status != 200:
        raise _status_error(response, source)
    _remember(source, response.content_length, _validator(response))
    return Answer(response, source, None, timeout_seconds)


def _check_partial(
    response: aiohttp.ClientResponse,
    source: Source,
    span: Span | None,
    tail_bytes: int,
    timeout_seconds: float,
) -> Answer:
    content_range = parse_content_range(response.headers.get(hdrs.CONTENT_RANGE))
    if content_range is None or content_range.span is None:
        raise Transient("a 206 answer without a usable Content-Range", url=source.name)
    got, total = content_range
    if total is None:
        raise Transient("a 206 answer that does not tell the file's size", url=source.name)
    expected = span or Span(max(0, total - tail_bytes), total)
    # A span that was asked for before the size was known may end at the file's end.
    if got != expected and not (span and got == Span(span.start, min(span.end, total))):
        raise Transient(f"asked for bytes {expected}, got {got}", url=source.name)
    if response.content_length not in {None, got.length}:
        raise Transient("a 206 answer whose length contradicts its Content-Range", url=source.name)
    _remember(source, total, _validator(response))
    return Answer(response, source, got, timeout_seconds)


def _check_unsatisfiable(response: aiohttp.ClientResponse, source: Source, timeout_seconds: float) -> Answer:
    """An empty file has no range to give; any other 416 means that it is not the file we knew."""
    content_range = parse_content_range(response.headers.get(hdrs.CONTENT_RANGE)) or ContentRange(None, None)
    if content_range.total == 0:
        _remember(source, 0, _validator(response))
        return Answer(response, source, Span(0, 0), timeout_seconds)
    if source.total is not None and content_range.total not in {None, source.total}:
        _remember(source, content_range.total, Validator())
    raise _status_error(response, source)


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


def _status_error(response: aiohttp.ClientResponse, source: Source) -> Error:
    status = response.status
    reason = f"{source.name} answered {status} {response.reason or ''}".rstrip()
    if status_is_retried(status, signed=source.resolved is not None):
        wait = retry_after_seconds(response.headers.get(hdrs.RETRY_AFTER), datetime.now(UTC))
        return Transient(reason, url=source.name, retry_after=wait, status=status)
    return StatusError(reason, url=source.name, status=status)


def _transient(error: Exception, source: Source) -> Error:
    if isinstance(error, (asyncio.TimeoutError, aiohttp.ServerTimeoutError)):
        text = "no answer in time"
    elif isinstance(error, aiohttp.ClientConnectorDNSError):
        text = f"the host name {error.host} cannot be found"
    elif isinstance(error, ssl.SSLError):
        text = f"TLS failed: {error.reason or error}"
    else:
        text = str(error) or type(error).__name__
    return Transient(f"{source.name}: {text}", url=source.name)


def _validator(response: aiohttp.ClientResponse) -> Validator:
    return Validator.of(response.headers.get(hdrs.ETAG), response.headers.get(hdrs.LAST_MODIFIED))


def _host(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port
