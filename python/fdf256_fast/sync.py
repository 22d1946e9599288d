"""The same functions for callers without a running event loop, and for notebooks, which have one."""

from __future__ import annotations

from fdf256_fast.blocking import blocking
from fdf256_fast.extraction import extract_async
from fdf256_fast.fetching import fetch
from fdf256_fast.installation import install

__all__ = ["extract", "fetch_sync", "install_sync"]

install_sync = blocking(install)
"""Like :func:`~fdf256_fast.installation.install`, but returns when it is done."""

fetch_sync = blocking(fetch)
"""Like :func:`~fdf256_fast.fetching.fetch`, but returns when it is done."""

extract = blocking(extract_async)
"""Like :func:`~fdf256_fast.extraction.extract_async`, but returns when it is done."""
