"""Connections for aiohttp's client whose TLS the core does, to servers that Python's own TLS has accepted.

The first connection to a server is aiohttp's and OpenSSL's as ever, and so is the verdict on its
certificate; it is closed after its first answer.  Those that follow are the core's, which speaks only to
the owner of that certificate.  Where that fails, for whatever reason, aiohttp makes the connection, and says
what is wrong.

The one hook that is not public is looked at before it is used: where it is another one, everything is
aiohttp's.  So are connections through proxies, and those of callers' own sessions.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import ssl
import time
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import aiohttp

from fdf256_fast._core import TlsPeer
from fdf256_fast.tls import TlsTransport

if TYPE_CHECKING:
    from aiohttp.client_proto import ResponseHandler

__all__ = ["connector"]

logger = logging.getLogger(__name__)

VOUCHED_SECONDS = 600.0
"""How long OpenSSL's verdict on a certificate counts for further connections; not beyond its expiry."""

FAILURES_MAX = 3
"""After so many failures in a row a server is left to aiohttp: it may have a new certificate each time."""

_IS_PROXIED: ContextVar[bool] = ContextVar("_IS_PROXIED", default=False)
"""Whether the connection is one to a proxy, which aiohttp puts its own TLS on."""


def connector() -> aiohttp.TCPConnector:
    """For one session; the number of connections is not limited here."""
    return _Connector(limit=0) if _has_hook() else aiohttp.TCPConnector(limit=0)


def _has_hook() -> bool:
    hook = getattr(aiohttp.TCPConnector, "_wrap_create_connection", None)
    if hook is None or not hasattr(aiohttp.TCPConnector, "_create_proxy_connection"):
        return False
    kinds = {name: one.kind for name, one in inspect.signature(hook).parameters.items()}
    return kinds.get("req") == kinds.get("timeout") == inspect.Parameter.KEYWORD_ONLY and {
        inspect.Parameter.VAR_POSITIONAL,
        inspect.Parameter.VAR_KEYWORD,
    } <= set(kinds.values())


@dataclass(slots=True)
class _Server:
    """What is known of a server's TLS."""

    peer: TlsPeer
    until: float
    failures: int = 0

    @property
    def is_vouched(self) -> bool:
        return time.monotonic() < self.until

    @property
    def is_given_up(self) -> bool:
        return self.failures >= FAILURES_MAX


class _Connector(aiohttp.TCPConnector):
    def __init__(self, *, limit: int) -> None:
        super().__init__(limit=limit)
        self._servers: dict[tuple[str, int | None], _Server] = {}

    async def _create_proxy_connection(self, *args: Any, **kwargs: Any) -> Any:
        token = _IS_PROXIED.set(True)
        try:
            return await super()._create_proxy_connection(*args, **kwargs)
        finally:
            _IS_PROXIED.reset(token)

    async def _wrap_create_connection(
        self, *args: Any, **kwargs: Any
    ) -> tuple[asyncio.Transport, ResponseHandler]:
        name, request, context = kwargs.get("server_hostname"), kwargs["req"], kwargs.get("ssl")
        # Anybody's own idea of whom to trust, such as a fingerprint, is for OpenSSL.
        is_default = getattr(request, "ssl", None) is True and getattr(self, "_ssl", None) is True
        if not (args and name and isinstance(context, ssl.SSLContext) and is_default) or _IS_PROXIED.get():
            return await super()._wrap_create_connection(*args, **kwargs)
        key = (name, request.port)
        server = self._servers.get(key)
        has_failed = False
        if server is not None and server.is_vouched and not server.is_given_up:
            made = await self._connect(server, *args, **kwargs)
            if made is not None:
                return made
            has_failed = True
        transport, protocol = await super()._wrap_create_connection(*args, **kwargs)
        if self._learn(key, transport, has_failed=has_failed):
            protocol.force_close()
        return transport, protocol

    async def _connect(
        self, server: _Server, factory: Any, *args: Any, **kwargs: Any
    ) -> tuple[asyncio.Transport, ResponseHandler] | None:
        """A connection with the core's TLS; None where the handshake fails.

        Raises what aiohttp raises where not even TCP works, and TimeoutError.
        """
        session = server.peer.connect()
        context, seconds = kwargs["ssl"], kwargs["timeout"].sock_connect
        protocol: ResponseHandler = factory()
        _, made = await super()._wrap_create_connection(
            lambda: TlsTransport(session, protocol, context),
            *args,
            **{**kwargs, "ssl": None, "server_hostname": None},
        )
        tls: Any = made
        try:
            async with asyncio.timeout(seconds):
                await tls.handshake()
        except TimeoutError:
            tls.abort()
            raise
        except OSError as error:
            tls.abort()
            logger.info("%s: %s; leaving it to OpenSSL", kwargs["req"].url.host, error)
            return None
        except BaseException:
            tls.abort()
            raise
        server.failures = 0
        return tls, protocol

    def _learn(self, key: tuple[str, int | None], transport: asyncio.Transport, *, has_failed: bool) -> bool:
        """OpenSSL has accepted the server; whether its next connection can be the core's."""
        verified = transport.get_extra_info("ssl_object")
        certificate = None if verified is None else verified.getpeercert(binary_form=True)
        if certificate is None:
            return False
        server = self._servers.get(key)
        if server is None or not (server.is_vouched or server.is_given_up):
            try:
                server = _Server(TlsPeer(key[0]), _until(verified.getpeercert()))
            except (OSError, ValueError):
                return False
            self._servers[key] = server
        is_new = server.peer.vouch(certificate)
        if has_failed:
            # With a certificate that it knew already there is nothing to hope for.
            server.failures += 1 if is_new else FAILURES_MAX
        return server.is_vouched and not server.is_given_up


def _until(certificate: dict[str, Any]) -> float:
    """When the verdict on ``certificate`` does not count any more.  Raises ValueError."""
    valid_seconds = ssl.cert_time_to_seconds(certificate["notAfter"]) - time.time()
    return time.monotonic() + min(VOUCHED_SECONDS, valid_seconds)
