"""What is meant for one host only: the caller's headers, the netrc entry; and through which proxy.

A redirect to another host takes none of it along.  All of it is read once for a run: the library's own
handling would read the netrc file at every request, and send its ``default`` entry to signed addresses,
which refuse what has two kinds of authorization.
"""

from __future__ import annotations

import logging
import netrc
import os
from base64 import b64encode
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit, urlunsplit
from urllib.request import getproxies, proxy_bypass

from fdf256_fast.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Credentials", "Proxy", "without_user"]

logger = logging.getLogger(__name__)


HOSTS_KNOWN = 256


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy's URL without user and password, and these as a ``Proxy-Authorization`` value."""

    url: str
    authorization: str | None = None


class Credentials:
    """Headers and proxies of one run.

    ``headers`` are the caller's.  ``environment`` says whether proxy variables and the netrc file count.
    """

    def __init__(self, headers: Mapping[str, str], *, environment: bool = True) -> None:
        self._headers = dict(headers)
        self._netrc = _read_netrc() if environment else None
        self._proxies = getproxies() if environment else {}
        # Both depend on scheme and host alone, and take 60 microseconds to find out: one host may have
        # thousands of files.
        self._headers_of = lru_cache(HOSTS_KNOWN)(self._find_headers)
        self._proxy_of = lru_cache(HOSTS_KNOWN)(self._find_proxy)

    def headers(self, url: str, home: str) -> Mapping[str, str]:
        """What to send to ``url``, which asking ``home`` has led to."""
        return self._headers_of(_front(url), _front(home))

    def proxy(self, url: str) -> Proxy | None:
        """The proxy for ``url``; None for a direct connection.  Raises UsageError for one of another kind."""
        return self._proxy_of(_front(url))

    def _find_headers(self, url: str, home: str) -> Mapping[str, str]:
        is_home = origin_of(url) == origin_of(home)
        own = dict(self._headers) if is_home else {}
        if "authorization" not in {name.lower() for name in own}:
            # A server that sends on to itself does not repeat the user.
            value = _from_url(url) or (_from_url(home) if is_home else None)
            if urlsplit(url).scheme == urlsplit(home).scheme or urlsplit(url).scheme == "https":
                value = value or self._from_netrc(url, is_home=is_home)
            if value is not None:
                own["Authorization"] = value
        return own

    def _find_proxy(self, url: str) -> Proxy | None:
        parts = urlsplit(url)
        address = self._proxies.get(parts.scheme) or self._proxies.get("all")
        if not address or proxy_bypass(parts.netloc.rpartition("@")[2]):
            return None
        if "://" not in address:
            address = f"http://{address}"
        if urlsplit(address).scheme not in {"http", "https"}:
            raise UsageError(
                f"the proxy for {parts.scheme} addresses is of the kind {urlsplit(address).scheme}, "
                "only http and https can be used",
                hint="Set the variables http_proxy, https_proxy or no_proxy.",
            )
        return Proxy(without_user(address), _from_url(address))

    def _from_netrc(self, url: str, *, is_home: bool) -> str | None:
        host = urlsplit(url).hostname
        if self._netrc is None or host is None:
            return None
        # The default entry is for the host that somebody named, not for wherever that one points.
        if host not in self._netrc.hosts and not is_home:
            return None
        found = self._netrc.authenticators(host)
        return None if found is None else _basic(found[0] or "", found[2] or "")


def _front(url: str) -> str:
    """Scheme, user, host and port of ``url``, as an address."""
    end = url.find("/", len("https://"))
    return url if end < 0 else url[:end]


def origin_of(url: str) -> tuple[str, str | None, int | None]:
    """Scheme, host and port: what credentials are bound to."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def without_user(url: str) -> str:
    """``url`` without user and password."""
    if "@" not in url:
        return url
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _from_url(url: str) -> str | None:
    parts = urlsplit(url)
    if parts.username is None:
        return None
    return _basic(unquote(parts.username), unquote(parts.password or ""))


def _basic(user: str, password: str) -> str:
    """RFC 7617."""
    return "Basic " + b64encode(f"{user}:{password}".encode()).decode("ascii")


def _read_netrc() -> netrc.netrc | None:
    path = Path(os.environ.get("NETRC") or Path("~/.netrc").expanduser())
    try:
        return netrc.netrc(path)
    except FileNotFoundError:
        return None
    except (OSError, netrc.NetrcParseError, UnicodeDecodeError) as error:
        # The error's text may quote the line, and the line may hold the password.
        logger.warning("%s cannot be used (%s)", path, type(error).__name__)
        return None
