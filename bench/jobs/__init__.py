"""The jobs, in the order in which they run and are listed; each is a module with a ``JOB``."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from bench.frame import Job

__all__ = ["NAMES", "load_jobs"]

NAMES: Final = ("install", "fetch", "shaped", "growth", "extract", "digest", "search", "start")


def load_jobs() -> list[Job]:
    """All of them."""
    return [importlib.import_module(f"bench.jobs.{name}").JOB for name in NAMES]
