"""Targets that tests of reading share; nobody may change them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fdf256_fast.synthetic import SyntheticDataset, make_dataset
from tests.integration.oracles import unzipped
from tests.reading.trees import write_split

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> SyntheticDataset:
    """The five archives of a synthetic dataset with 40 images for training and 20 for validation."""
    return make_dataset(tmp_path_factory.mktemp("archives"), images=60, val_images=20, image_bytes=8_000)


@pytest.fixture(scope="session")
def tree(dataset: SyntheticDataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What unzip makes of them, as the published script does."""
    folder = tmp_path_factory.mktemp("tree") / "fdf256"
    unzipped(dataset.archives.values(), folder)
    return folder


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """Six images for training, of which two are not there; it may be changed."""
    write_split(tmp_path, "train", [0, 1, 2, 3, 4, 5], present=[0, 2, 3, 5])
    return tmp_path
