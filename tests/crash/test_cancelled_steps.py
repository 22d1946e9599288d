"""A call cancelled at any step of the event loop leaves nothing behind, and the next call goes on."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import shutil
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from fdf256_fast import Limits, fetch, install
from tests.crash.kills import TIMES, Contents, check_sums, contents, unpacked
from tests.crash.scenarios import Size, make_version
from tests.crash.served import served
from tests.integration.oracles import WORKSPACE, busy_threads, bytes_of

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

POINTS = 20 * TIMES
"""At so many steps, spread over the whole run, each way to use the library is cancelled."""

LIMITS = Limits(connections=4)


class SteppedLoop(asyncio.SelectorEventLoop):
    """Counts what is put on its list of things to do, and acts when the count comes to given numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = 0
        self._acts: dict[int, Callable[[], object]] = {}

    def aim(self, act: Callable[[], object], *steps: int) -> None:
        """Count from here, and do ``act`` at each of ``steps``."""
        self.steps = 0
        self._acts = dict.fromkeys(steps, act)

    def call_soon(self, *arguments: Any, **context: Any) -> asyncio.Handle:  # type: ignore[override]
        handle = super().call_soon(*arguments, **context)
        self.steps += 1
        if (act := self._acts.pop(self.steps, None)) is not None:
            super().call_soon(act)
        return handle


# ---- what may not be left --------------------------------------------------------------------------


def descriptors() -> list[str]:
    """What this process has open."""
    found = []
    for link in Path("/proc/self/fd").iterdir():
        try:
            found.append(str(link.readlink()))
        except FileNotFoundError:  # the one that lists them
            continue
    # Names of sockets are their numbers: an end that is left shows as one more.
    return sorted(found)


def core_threads() -> set[int]:
    """Threads of this process that Python does not know."""
    known = {thread.native_id for thread in threading.enumerate()}
    return {int(task.name) for task in Path("/proc/self/task").iterdir()} - known


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of one call: whether the cancellation came in time, and the steps that it took."""

    cancelled: bool
    steps: int


async def call(job: Callable[[], Coroutine[Any, Any, object]], *steps: int) -> Outcome:
    """Do ``job``, cancelled at ``steps``; nothing of it may be left but threads that wait for work."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, SteppedLoop)
    unheard: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: unheard.append(context))
    open_before, threads_before = descriptors(), core_threads()
    task = loop.create_task(job())
    loop.aim(task.cancel, *steps)
    # Not awaited: a cancellation that is repeated is for the call alone.
    await asyncio.wait([task])
    taken = loop.steps
    loop.aim(task.cancel)
    outcome = Outcome(task.cancelled(), taken)
    if not task.cancelled():
        task.result()
    del task
    for _ in range(3):
        await asyncio.sleep(0)  # transports that are closed let go of their sockets in the next turn
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert busy_threads() == []
    until = time.monotonic() + 2.0
    while not core_threads() <= threads_before and time.monotonic() < until:
        time.sleep(0.01)  # the system lists a thread that was joined for a moment more
    assert core_threads() <= threads_before
    assert descriptors() == open_before
    gc.collect()
    assert unheard == []
    return outcome


def run(job: Callable[[], Coroutine[Any, Any, object]], *steps: int) -> Outcome:
    """The same in a loop of its own."""
    with asyncio.Runner(loop_factory=SteppedLoop) as runner:
        return runner.run(call(job, *steps))


# ---- ways to use the library -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Way:
    """A call into a target, and what must come of it."""

    start: Callable[[Path], Coroutine[Any, Any, object]]
    wanted: Contents
    has_manifest: bool = True

    def check(self, target: Path) -> None:
        """After a call that came to its end."""
        assert contents(target) == self.wanted
        if self.has_manifest:
            check_sums(target, self.wanted)
            left = {path.name for path in (target / WORKSPACE).iterdir()} - {"archives"}
            assert left == {"lock", "SHA256SUMS", "SIZES", "installed.json"}
        else:
            assert not (target / WORKSPACE).exists()

    def check_visible(self, target: Path) -> None:
        """After a call that was cancelled."""
        for path, data in contents(target).items():
            if path in self.wanted:
                assert data == self.wanted[path]
            else:
                name, dot, _ = path.partition(".part")
                assert dot
                assert not path.endswith(".part") or self.wanted[name].startswith(data)


WAYS = ["install", "install and keep", "install a part", "install from mirrors", "install without ranges"]
WAYS += ["fetch", "fetch and extract", "fetch without ranges"]


@pytest.fixture(scope="module")
def ways(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Way]]:
    folder = tmp_path_factory.mktemp("ways")
    version = make_version(folder / "served", Size(archives=2, members=8, member_bytes=9_000), 1)
    mirror = folder / "mirror"
    mirror.mkdir()
    shutil.copy(version.archives[0], mirror)
    data = bytes_of(700_000)
    (version.folder / "file.bin").write_bytes(data)
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    with served(version.folder) as url, served(version.folder, ranges=False) as plain:
        catalog = version.catalog(url)
        plain_catalog = version.catalog(plain).rename(folder / "plain.toml")
        catalog = version.catalog(url)
        whole, first = version.contents, unpacked(version.archives[:1])
        train = {path: data for path, data in whole.items() if not path.startswith("val/")}

        def installing(catalog: Path, wanted: Contents = whole, **options: Any) -> Way:
            return Way(lambda target: install(target, catalog=catalog, limits=LIMITS, **options), wanted)

        def fetching(url: str, wanted: Contents, **options: Any) -> Way:
            return Way(
                lambda target: fetch(url, target, limits=LIMITS, **options), wanted, has_manifest=False
            )

        yield {
            "install": installing(catalog),
            "install and keep": installing(catalog, keep_archives=True),
            "install a part": installing(catalog, train, splits={"train"}),
            "install from mirrors": installing(catalog, mirrors=[mirror, f"{plain}/nothing"]),
            "install without ranges": installing(plain_catalog),
            "fetch": fetching(f"{url}/file.bin", {"file.bin": data}, digest=digest),
            "fetch and extract": fetching(f"{url}/part0.zip", first, extract=True),
            "fetch without ranges": fetching(f"{plain}/file.bin", {"file.bin": data}),
        }


@pytest.mark.parametrize("name", WAYS)
def test_a_call_cancelled_at_any_step_leaves_nothing_and_the_next_goes_on(
    name: str, ways: dict[str, Way], tmp_path: Path
) -> None:
    way = ways[name]
    target = tmp_path / "whole"
    target.mkdir()
    whole = run(lambda: way.start(target))
    way.check(target)
    cancelled = 0
    for point in range(POINTS):
        target = tmp_path / f"target{point}"
        target.mkdir()
        step = 1 + point * whole.steps // POINTS
        # Some are cancelled twice: at once, or a few steps later, when the first is being obeyed.
        again = [(), (step + 1,), (step + 3,), (), (step + 10,)][point % 5]
        cancelled += run(lambda: way.start(target), step, *again).cancelled  # noqa: B023 - called here
        way.check_visible(target)
        run(lambda: way.start(target))  # noqa: B023
        way.check(target)
        shutil.rmtree(target)
    assert cancelled > POINTS // 2
