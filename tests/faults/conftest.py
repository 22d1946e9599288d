"""What the fault tests share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fdf256_fast import retry
from tests.faults.worlds import World, make_worlds

if TYPE_CHECKING:
    from collections.abc import Mapping


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hundreds of retries must not take minutes; how waits grow is tested in tests/unit/test_retry.py."""
    monkeypatch.setattr(retry, "BASE_SECONDS", 0.02)


@pytest.fixture(scope="session")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, World]:
    """What is transferred, made once; nobody may change it."""
    return make_worlds(tmp_path_factory.mktemp("worlds"))
