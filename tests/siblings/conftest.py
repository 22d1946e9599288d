from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.siblings.sites import Sibling, Site, publish_sibling

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session")
def sibling(tmp_path_factory: pytest.TempPathFactory) -> Sibling:
    """Made once; nobody may change it."""
    return publish_sibling(tmp_path_factory.mktemp("sibling"))


@pytest.fixture(scope="session")
def larger_sibling(tmp_path_factory: pytest.TempPathFactory) -> Sibling:
    """12 MB, for runs that are cut off in the middle."""
    return publish_sibling(tmp_path_factory.mktemp("larger"), images=160, image_bytes=50_000)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "served")
