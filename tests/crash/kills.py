"""Runs that are killed, what must hold at that moment, and what must come of the runs after them."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import zipfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tests.integration.oracles import FINISHED, WORKSPACE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Mapping

ROOT = Path(__file__).parents[2]

TIMES = int(os.environ.get("CRASH_TIMES", "1"))
"""How many times as many random moments as usual are tried; 3 for a thorough look, which takes minutes."""

Contents = dict[str, bytes]
"""Files by their path relative to the target."""


# ---- runs ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Hit:
    """When a run is hit, and by which signal: at the ``at``-th change under its folder, or after seconds."""

    at: int | None = None
    how: int = signal.SIGKILL
    later: tuple[tuple[float, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Order:
    """What the zygote is asked for."""

    arguments: list[str]
    folder: str
    stdout: str
    stderr: str
    at: int | None = None
    how: int = signal.SIGKILL
    later: tuple[tuple[float, int], ...] = ()
    trace: str | None = None
    environment: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Ended:
    """A run that has ended; a negative status is the signal that ended it."""

    status: int
    seconds: float
    stdout: str
    stderr: str


class Zygote:
    """The command in forks of one process; one run at a time."""

    def __init__(self, process: asyncio.subprocess.Process, home: Path) -> None:
        self._process = process
        self._home = home

    async def run(
        self, arguments: Iterable[str | Path], folder: Path, hit: Hit | None = None, trace: Path | None = None
    ) -> Ended:
        """The command with ``arguments``; changes under ``folder`` count."""
        stdout, stderr = self._home / "stdout", self._home / "stderr"
        hit = hit or Hit()
        order = Order(
            arguments=[os.fspath(argument) for argument in arguments],
            folder=str(folder),
            stdout=str(stdout),
            stderr=str(stderr),
            at=hit.at,
            how=hit.how,
            later=hit.later,
            trace=str(trace) if trace else None,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(asdict(order)).encode() + b"\n")
        answer = json.loads(await self._process.stdout.readline())
        return Ended(
            answer["status"], answer["seconds"], stdout.read_text("utf-8"), stderr.read_text("utf-8")
        )


@contextlib.asynccontextmanager
async def zygote(home: Path) -> AsyncIterator[Zygote]:
    """One that is gone when the block ends; ``home`` is for its files."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("FDF256_")}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.crash.zygote"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=ROOT,
        env=own,
    )
    try:
        yield Zygote(process, home)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        await process.wait()


# ---- scenarios -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Scenario:
    """One way to use the command.

    ``before`` is what the target holds at the beginning (a folder to copy), ``wanted`` what it must hold in
    the end, ``allowed`` what may be visible meanwhile: for each path one or two contents.
    """

    name: str
    arguments: Callable[[Path], list[str | Path]]
    wanted: Contents
    allowed: Mapping[str, set[bytes]]
    before: Path | None = None
    parts: Mapping[str, bytes] = field(default_factory=dict)
    """Files that grow beside their goal, by the goal's name."""
    kept: Mapping[str, bytes] = field(default_factory=dict)
    """Archives that must be in the workspace in the end."""
    has_workspace: bool = True

    def prepare(self, target: Path) -> None:
        """Make ``target`` what it is at the beginning."""
        if self.before is None:
            target.mkdir()
        else:
            # Nothing changes a file in place, and if something does, the oracle's copy shows it.
            shutil.copytree(self.before, target, copy_function=os.link)

    def check_visible(self, target: Path) -> None:
        """What must hold whenever a run was killed: nothing can be seen that is not verified."""
        for path, data in contents(target).items():
            goal = path.removesuffix(".part")
            if path in self.allowed:
                assert data in self.allowed[path], f"{path} is visible and wrong"
            elif goal in self.parts and path != goal:
                assert self.parts[goal].startswith(data), f"{path} is no prefix of the file"
            else:
                rest = {f"{goal}.part{suffix}" for goal in self.parts for suffix in _BESIDE}
                assert path in rest, f"{path} is visible and nobody asked for it"

    def check_finished(self, target: Path) -> None:
        """What must hold in the end."""
        found = contents(target)
        assert found.keys() == self.wanted.keys(), sorted(found.keys() ^ self.wanted.keys())
        wrong = [path for path in found if found[path] != self.wanted[path]]
        assert not wrong, wrong
        workspace = target / WORKSPACE
        if not self.has_workspace:
            assert not workspace.exists(), _listing(workspace)
            return
        names = {path.name for path in workspace.iterdir()}
        assert names == FINISHED | ({"archives"} if self.kept else set()), _listing(workspace)
        kept = workspace / "archives"
        assert {path.name: path.read_bytes() for path in kept.glob("*")} == dict(self.kept)
        check_sums(target, self.wanted)


_BESIDE = ("", ".journal", ".journal.new", ".lock", ".lock.holder")


def check_sums(target: Path, wanted: Contents) -> None:
    """sha256sum is content with the manifest, which names every file once."""
    lines = (target / WORKSPACE / "SHA256SUMS").read_text("utf-8").splitlines()
    assert sorted(line[66:] for line in lines) == sorted(wanted)
    program = shutil.which("sha256sum")
    if program is None:
        for line in lines:
            assert hashlib.sha256((target / line[66:]).read_bytes()).hexdigest() == line[:64]
        return
    command = [program, "--check", "--strict", "--quiet", f"{WORKSPACE}/SHA256SUMS"]
    subprocess.run(command, cwd=target, check=True, timeout=60)


def contents(target: Path) -> Contents:
    """Every file under ``target``, but for the workspace."""
    found = {}
    for root, folders, files in os.walk(target):
        if root == str(target) and WORKSPACE in folders:
            folders.remove(WORKSPACE)
        for name in files:
            path = Path(root) / name
            found[str(path.relative_to(target))] = path.read_bytes()
    return found


def _listing(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def unpacked(archives: Iterable[Path]) -> Contents:
    """What Python's zipfile makes of them; a later one goes over an earlier one."""
    found: Contents = {}
    for path in archives:
        with zipfile.ZipFile(path) as archive:
            found |= {name: archive.read(name) for name in archive.namelist() if not name.endswith("/")}
    return found


def any_of(*versions: Contents) -> dict[str, set[bytes]]:
    """Per path the contents that it has in any of ``versions``."""
    paths = {path for version in versions for path in version}
    return {path: {version[path] for version in versions if path in version} for path in paths}


# ---- trials ----------------------------------------------------------------------------------------


async def trial(zygote: Zygote, scenario: Scenario, target: Path, hits: Iterable[Hit]) -> int:
    """Begin, be hit by each of ``hits`` in a run of its own, then finish; returns how many of them hit.

    Whatever is wrong raises AssertionError.  The target is removed in the end.
    """
    scenario.prepare(target)
    arguments = scenario.arguments(target)
    happened = 0
    for hit in hits:
        ended = await zygote.run(arguments, target, hit)
        assert ended.status in {-signal.SIGKILL, 0}, ended
        happened += ended.status != 0
        scenario.check_visible(target)
    ended = await zygote.run(arguments, target)
    assert ended.status == 0, ended.stderr
    scenario.check_finished(target)
    shutil.rmtree(target)
    return happened


async def traced(zygote: Zygote, scenario: Scenario, target: Path) -> tuple[list[str], float]:
    """A run that nothing hits: the changes that can be hit, and how many seconds it took."""
    scenario.prepare(target)
    trace = target.with_name(f"{target.name}.trace")
    ended = await zygote.run(scenario.arguments(target), target, trace=trace)
    assert ended.status == 0, ended.stderr
    scenario.check_finished(target)
    shutil.rmtree(target)
    changes = trace.read_text("utf-8").splitlines()
    trace.unlink()
    return changes, ended.seconds


def publishing_starts(changes: list[str]) -> int:
    """Number of the first change that belongs to publishing: the journal that says so."""
    first = next(
        number
        for number, change in enumerate(changes, 1)
        if change.startswith("os.rename") and ("/staging/" in change or change.endswith(".part"))
    )
    return max(1, first - 2)
