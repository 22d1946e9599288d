"""How many cores there are to use."""

from __future__ import annotations

import os

# As in __init__.py: commands that work here for a moment only need this module, and not typing.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from fdf256_fast.limits import Limits

__all__ = ["usable_cores", "workers_of"]


def usable_cores() -> int:
    """The number of cores that this process may use."""
    # Not every system tells which they are.
    allowed = getattr(os, "sched_getaffinity", None)
    return len(allowed(0)) if allowed else os.cpu_count() or 1


def workers_of(limits: Limits | None) -> int:
    """Threads that ``limits`` allow; without any, one for each core."""
    return usable_cores() if limits is None else limits.worker_threads
