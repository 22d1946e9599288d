"""Fixtures that every test directory shares."""

from __future__ import annotations

from hypothesis import settings

# A busy machine may stall for longer than any example takes; pytest-timeout ends what hangs.
settings.register_profile("no-deadline", deadline=None)
settings.load_profile("no-deadline")
