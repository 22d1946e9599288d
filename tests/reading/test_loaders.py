"""``FDF256`` in workers, forked or spawned: a stand-in for torch's DataLoader, and torch where it is."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.reading.loader import fingerprint
from tests.reading.trees import items

ROOT = Path(__file__).resolve().parents[2]
METHODS = ("fork", "spawn", "forkserver")


def _loaded(who: str, method: str, state: str, tree: Path) -> dict[str, str]:
    # In another interpreter: this one has threads, which do not go together with fork.
    command = [
        sys.executable,
        "-W",
        "error",
        "-m",
        "tests.reading.loader",
        who,
        method,
        state,
        str(tree),
        "train",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=110, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    found: dict[str, str] = json.loads(done.stdout)
    return found


def _wanted(tree: Path) -> dict[str, str]:
    found = items(tree, "train").values()
    return {str(position): fingerprint(item) for position, item in enumerate(found)}


@pytest.mark.parametrize("state", ["fresh", "used"])
@pytest.mark.parametrize("method", METHODS)
def test_workers_read_the_same_items_as_this_process(tree: Path, method: str, state: str) -> None:
    assert _loaded("own", method, state, tree) == _wanted(tree)


@pytest.mark.skipif(find_spec("torch") is None, reason="torch is not installed")
@pytest.mark.parametrize("method", METHODS)
def test_torchs_own_loader_reads_the_same_items(tree: Path, method: str) -> None:
    assert _loaded("torch", method, "fresh", tree) == _wanted(tree)
