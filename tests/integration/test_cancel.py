"""Inside somebody else's program: cancelled at any moment, beside other work, with their session."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import random
import signal
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
import pytest

from fdf256_fast import Limits, Progress, fetch, fetch_sync, install, install_sync
from fdf256_fast.fetching import Wanted, fetch_files
from fdf256_fast.origin import Origin
from tests.integration.oracles import busy_threads, bytes_of, check_installed, tree_of
from tests.integration.runs import Recorder, sent
from tests.servers import python_server

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from blockbuster import BlockBuster

    from fdf256_fast.synthetic import Compression
    from tests.integration.oracles import Published

    Publish = Mapping[Compression, Published]


def core_threads() -> set[int]:
    """Threads of this process that Python does not know: those of the core, and of other libraries."""
    known = {thread.native_id for thread in threading.enumerate()}
    return {int(task.name) for task in Path("/proc/self/task").iterdir()} - known


async def only_core_threads(before: set[int]) -> bool:
    """Whether there are no more than before; the system lists a joined thread for a moment more."""
    for _ in range(200):
        if core_threads() <= before:
            return True
        await asyncio.sleep(0.01)
    return False


async def test_a_run_cancelled_at_any_moment_leaves_no_thread_and_goes_on(
    larger: Published, tmp_path: Path
) -> None:
    moments = random.Random(256)
    target = tmp_path / "target"
    before = core_threads()
    async with Origin(larger.folder, rate=larger.size) as origin:
        catalog = larger.catalog(origin.url)
        for _ in range(8):
            job = asyncio.create_task(install(target, catalog=catalog))
            # From the first request on, or before there is any.
            await asyncio.sleep(moments.uniform(0.0, 0.3))
            job.cancel()
            with pytest.raises(asyncio.CancelledError):
                await job
            # The origin's own readers end with the block that they are at.
            assert [name for name in busy_threads() if not name.startswith("origin")] == []
            assert await only_core_threads(before)
            assert tree_of(target) == {}
        report = await install(target, catalog=catalog)
        assert await only_core_threads(before)
    assert report.bytes_resumed > 0
    check_installed(target, larger.tree)


@pytest.mark.parametrize(
    ("home", "step"), [("finishing", "publish"), ("installation", "write_manifest")], ids=lambda name: name
)
async def test_a_run_cancelled_at_its_end_leaves_no_thread_and_goes_on(
    home: str, step: str, published: Publish, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = published["mixed"]
    target = tmp_path / "target"
    # By its name: as an attribute of the package it is the function.
    module = importlib.import_module(f"fdf256_fast.{home}")
    original: Callable[..., object] = getattr(module, step)
    reached, over = threading.Event(), threading.Event()

    def slow(*arguments: object) -> object:
        reached.set()
        time.sleep(0.3)
        try:
            return original(*arguments)
        finally:
            over.set()

    catalog = made.catalog("http://127.0.0.1:9")
    with monkeypatch.context() as patch:
        patch.setattr(module, step, slow)
        job = asyncio.create_task(install(target, catalog=catalog, mirrors=[made.folder]))
        await asyncio.to_thread(reached.wait, 20)
        job.cancel()
        with pytest.raises(asyncio.CancelledError):
            await job
        # Somebody else may lock the target from now on: nobody may be at work in it.
        assert over.is_set()
    await install(target, catalog=catalog, mirrors=[made.folder])
    check_installed(target, made.tree)


async def test_a_fetch_cancelled_at_any_moment_leaves_no_thread_and_goes_on(tmp_path: Path) -> None:
    moments = random.Random(256)
    data = bytes_of(3_000_000)
    (tmp_path / "a.bin").write_bytes(data)
    out = tmp_path / "out"
    out.mkdir()
    before = core_threads()
    async with Origin(tmp_path, rate=len(data)) as origin:
        for _ in range(6):
            job = asyncio.create_task(fetch(f"{origin.url}/a.bin", out))
            await asyncio.sleep(moments.uniform(0.0, 0.3))
            job.cancel()
            with pytest.raises(asyncio.CancelledError):
                await job
            assert [name for name in busy_threads() if not name.startswith("origin")] == []
            assert await only_core_threads(before)
        await fetch(f"{origin.url}/a.bin", out)
    assert (out / "a.bin").read_bytes() == data
    assert [path.name for path in out.iterdir()] == ["a.bin"]


async def test_a_timeout_of_the_callers_ends_a_run(published: Publish, tmp_path: Path) -> None:
    made = published["mixed"]
    async with Origin(made.folder, rate=made.size / 20) as origin:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await install(tmp_path / "target", catalog=made.catalog(origin.url))
    assert tree_of(tmp_path / "target") == {}


async def test_an_error_beside_a_run_cancels_it_and_is_the_one_that_is_raised(
    published: Publish, tmp_path: Path
) -> None:
    made = published["mixed"]

    async def fail(origin: Origin) -> None:
        await sent(origin, made.size // 10)
        raise LookupError("of the caller's own")

    async with Origin(made.folder, rate=made.size / 3) as origin:
        with pytest.raises(ExceptionGroup) as caught:  # noqa: PT012 - the group is what raises
            async with asyncio.TaskGroup() as group:
                group.create_task(install(tmp_path / "target", catalog=made.catalog(origin.url)))
                group.create_task(fail(origin))
        assert [type(error) for error in caught.value.exceptions] == [LookupError]


async def test_several_runs_work_at_the_same_time(published: Publish, tmp_path: Path) -> None:
    kinds: list[Compression] = ["stored", "deflated", "mixed"]
    async with contextlib.AsyncExitStack() as stack:
        origins = [await stack.enter_async_context(Origin(published[kind].folder)) for kind in kinds]
        async with asyncio.TaskGroup() as group:
            for kind, origin in zip(kinds, origins, strict=True):
                catalog = published[kind].catalog(origin.url)
                group.create_task(install(tmp_path / kind, catalog=catalog, limits=Limits(connections=4)))
    for kind in kinds:
        check_installed(tmp_path / kind, published[kind].tree)


# ---- the callers' own session ----------------------------------------------------------------------


async def test_the_callers_session_is_used_and_left_open(published: Publish, tmp_path: Path) -> None:
    made = published["mixed"]
    connector = aiohttp.TCPConnector(limit=3)
    async with Origin(made.folder) as origin, aiohttp.ClientSession(connector=connector) as session:
        await install(tmp_path / "target", catalog=made.catalog(origin.url), session=session)
        # No more connections than the session allows: so it was this one.
        assert 0 < origin.connections <= 3
        await fetch(f"{origin.url}/metainfo.zip", tmp_path / "metainfo.zip", session=session)
        assert not session.closed
        async with session.get(f"{origin.url}/metainfo.zip") as response:
            assert len(await response.read()) == made.dataset.sizes["metainfo"]
    check_installed(tmp_path / "target", made.tree)


async def test_the_callers_session_is_left_open_after_a_cancel(published: Publish, tmp_path: Path) -> None:
    made = published["mixed"]
    async with Origin(made.folder, rate=made.size) as origin, aiohttp.ClientSession() as session:
        job = asyncio.create_task(
            install(tmp_path / "target", catalog=made.catalog(origin.url), session=session)
        )
        await sent(origin, made.size // 3)
        job.cancel()
        with pytest.raises(asyncio.CancelledError):
            await job
        assert not session.closed
        await install(tmp_path / "target", catalog=made.catalog(origin.url), session=session)
    check_installed(tmp_path / "target", made.tree)


# ---- without a loop, and inside one ----------------------------------------------------------------


def test_install_sync_needs_no_loop(published: Publish, tmp_path: Path) -> None:
    made = published["mixed"]
    catalog = made.catalog("http://127.0.0.1:9")
    recorder = Recorder()
    before = threading.active_count()
    report = install_sync(tmp_path / "target", catalog=catalog, mirrors=[made.folder], progress=recorder)
    assert report.files == made.files
    assert recorder.last is not None
    assert threading.active_count() == before
    check_installed(tmp_path / "target", made.tree)


async def test_the_sync_functions_work_inside_a_running_loop(
    published: Publish, tmp_path: Path, loop_watch: BlockBuster
) -> None:
    # As in a notebook, where blocking the loop is what the caller asks for.
    loop_watch.functions["threading.Lock.acquire"].can_block_in("fdf256_fast/blocking.py", "call")
    made = published["mixed"]
    # A server with a thread of its own: this loop stands still meanwhile.
    async with python_server(made.folder) as server:
        install_sync(tmp_path / "target", catalog=made.catalog(server.url))
        path = fetch_sync(f"{server.url}/metainfo.zip", tmp_path / "metainfo.zip")
    assert path.stat().st_size == made.dataset.sizes["metainfo"]
    check_installed(tmp_path / "target", made.tree)


async def test_ctrl_c_ends_a_sync_function_in_a_running_loop_and_keeps_what_it_had(tmp_path: Path) -> None:
    """As in a notebook, whose cell is interrupted."""
    served = tmp_path / "served"
    served.mkdir()
    (served / "a.bin").write_bytes(bytes_of(4_000_000, 1))
    code = """
import asyncio, sys, fdf256_fast
async def cell():
    try:
        fdf256_fast.fetch_sync(sys.argv[1], sys.argv[2])
    except KeyboardInterrupt:
        print("interrupted")
asyncio.run(cell())
"""
    async with Origin(served, rate=1_000_000) as origin:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", code, f"{origin.url}/a.bin", str(tmp_path / "a.bin")),
            stdout=asyncio.subprocess.PIPE,
        )
        await sent(origin, 1_500_000, process)
        # asyncio takes the first for its main task, which does not get to hear of it.
        for _ in range(2):
            process.send_signal(signal.SIGINT)
            await asyncio.sleep(0.1)
        output, _ = await asyncio.wait_for(process.communicate(), 10)
        assert output == b"interrupted\n"
        # Not when all had come.
        assert origin.bytes_sent < 3_500_000
        assert not (tmp_path / "a.bin").exists()
        report = await fetch_files([Wanted(f"{origin.url}/a.bin", tmp_path / "a.bin")], Limits(), Progress())
    assert report.bytes_resumed > 500_000
