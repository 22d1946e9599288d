"""The same functions for callers without a running event loop, and for notebooks, which have one."""

from __future__ import annotations

from fdf256_fast.blocking import blocking
from fdf256_fast.extraction import extract_async
from fdf256_fast.fetching import fetch
from fdf256_fast.installation import install

__all__ = ["extract", "fetch_sync", "install_sync"]

install_sync = blocking(install, __name__, "install_sync")
"""Like :func:`~fdf256_fast.installation.install`, but returns when it is done."""

fetch_sync = blocking(fetch, __name__, "fetch_sync")
"""Like :func:`~fdf256_fast.fetching.fetch`, but returns when it is done."""

extract = blocking(extract_async, __name__, "extract")
"""Like :func:`~fdf256_fast.extraction.extract_async`, but returns when it is done."""
