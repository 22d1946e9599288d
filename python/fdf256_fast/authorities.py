"""The system's certificate authorities, read when a connection is first to be encrypted.

aiohttp makes two TLS contexts when it is imported, and each reads them: that was 52 of the 293 ms that the
command took to fetch a small file.  Most runs need one of these contexts, and those over plain HTTP none.
"""

from __future__ import annotations

import ssl
from functools import wraps
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["read_when_needed"]


def read_when_needed() -> None:
    """Put the reading off until a context begins to encrypt.

    For all of this process, so only the command may ask for it; once is enough.
    """
    if "set_default_verify_paths" in vars(ssl.SSLContext):
        return
    read = ssl.SSLContext.set_default_verify_paths
    waiting: list[ssl.SSLContext] = []

    def after_reading(begin: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(begin)
        def begun(context: ssl.SSLContext, *args: Any, **kwargs: Any) -> Any:
            if context in waiting:
                waiting.remove(context)
                read(context)
            return begin(context, *args, **kwargs)

        return begun

    def put_off(context: ssl.SSLContext) -> None:
        waiting.append(context)

    changes = {
        "set_default_verify_paths": put_off,
        # Sockets begin with the one, asyncio's transports with the other.
        "wrap_socket": after_reading(ssl.SSLContext.wrap_socket),
        "wrap_bio": after_reading(ssl.SSLContext.wrap_bio),
    }
    for name, method in changes.items():
        setattr(ssl.SSLContext, name, method)
