"""Fixtures that every test directory shares."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from blockbuster import blockbuster_ctx
from hypothesis import settings

from tests.integration.oracles import Published, publish_dataset
from tests.servers import SERVERS, Serve

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from blockbuster import BlockBuster

    from fdf256_fast.synthetic import Compression

# A busy machine may stall for longer than any example takes; pytest-timeout ends what hangs.
settings.register_profile("no-deadline", deadline=None)
# CI has to give one commit one answer: the examples there are always the same.
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "no-deadline")


@pytest.fixture(autouse=True)
def loop_watch() -> Iterator[BlockBuster]:
    """Whatever of ours waits for a disk, a lock or a peer on an event loop's thread raises BlockingError.

    Only with our own package on the stack: a test may read a file in a coroutine.
    """
    with blockbuster_ctx("fdf256_fast") as watch:
        yield watch


@pytest.fixture(autouse=True, scope="session")
def _no_proxy() -> Iterator[None]:
    """Servers on this machine are asked directly, whatever the environment has for the world outside."""
    with pytest.MonkeyPatch.context() as patch:
        for variable in ("NO_PROXY", "no_proxy"):
            patch.setenv(variable, "127.0.0.1,localhost")
        yield


@pytest.fixture(params=SERVERS)
def serve(request: pytest.FixtureRequest) -> Serve:
    """Each of the servers in turn."""
    return SERVERS[request.param]


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Mapping[Compression, Published]:
    """A small dataset of each kind, made once; nobody may change them."""
    kinds: tuple[Compression, ...] = ("stored", "deflated", "mixed")
    return {
        kind: publish_dataset(tmp_path_factory.mktemp(kind), images=100, compression=kind) for kind in kinds
    }


@pytest.fixture(scope="session")
def larger(tmp_path_factory: pytest.TempPathFactory) -> Published:
    """A dataset of 20 MB, for runs that are cut off in the middle; nobody may change it."""
    folder = tmp_path_factory.mktemp("larger")
    return publish_dataset(folder, images=200, compression="mixed", image_bytes=100_000)
