"""``fdf256 extract`` and ``fdf256_fast.extract``: all or nothing, in whatever state the folder is."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import zipfile
from typing import TYPE_CHECKING

import pytest

import fdf256_fast as fdf
from fdf256_fast.errors import DigestMismatch, LockedError, MemberError, StorageError, UsageError
from fdf256_fast.workspace import Workspace
from tests.extract.archives import COMPRESSORS, MEMBERS, files_in, tar_of
from tests.integration.oracles import busy_threads, bytes_of, write_zip
from tests.integration.runs import Recorder, command, ended, started

if TYPE_CHECKING:
    from pathlib import Path

    from blockbuster import BlockBuster

MANY = {f"m{number % 7}/{number}.bin": bytes_of(20_000, number) for number in range(2000)}


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "a.tar.gz"
    path.write_bytes(COMPRESSORS["tar.gz"](tar_of(MEMBERS)))
    return path


async def test_the_command_prints_one_object_and_leaves_no_workspace(archive: Path, tmp_path: Path) -> None:
    result = await command("extract", archive, "-d", tmp_path / "out", "--json")
    assert result.status == 0, result.stderr
    assert result.report["archives"] == [
        {
            "name": "a.tar.gz",
            "bytes": archive.stat().st_size,
            "bytes_downloaded": 0,
            "bytes_resumed": 0,
            "verified": "crc32",
            "url": str(archive),
            "members": len(MEMBERS),
            "bytes_to_fetch": 0,
            "requests": 0,
            "adopted": 0,
            "error": None,
        }
    ]
    assert result.report["ok"] is True
    assert (result.report["files"], result.report["bytes_downloaded"]) == (len(MEMBERS), 0)
    assert files_in(tmp_path / "out") == MEMBERS


async def test_a_refused_archive_ends_with_status_3_and_one_object(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(tar_of({"../x": b"1"}))
    result = await command("extract", "a.tar", "-d", "out", "--json", cwd=tmp_path)
    assert result.status == 3
    assert result.report["ok"] is False
    assert "'../x'" in result.report["error"]
    assert [path.name for path in tmp_path.iterdir()] == ["a.tar"]


async def test_a_file_that_is_not_there_ends_with_status_5(tmp_path: Path) -> None:
    result = await command("extract", "none.zip", cwd=tmp_path)
    assert result.status == 5
    assert "none.zip" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_tar_may_come_through_a_pipe(archive: Path, tmp_path: Path) -> None:
    run = [sys.executable, "-m", "fdf256_fast", "extract", "-", "-d", str(tmp_path / "out"), "-q"]
    subprocess.run(run, input=archive.read_bytes(), check=True, timeout=60)
    assert files_in(tmp_path / "out") == MEMBERS
    zipped = write_zip(tmp_path / "a.zip", MEMBERS).read_bytes()
    result = subprocess.run(run, input=zipped, check=False, timeout=60, capture_output=True)
    assert result.returncode == 3
    assert b"pipe" in result.stderr


async def test_a_named_pipe_may_be_opened_by_its_writer_later_or_never(tmp_path: Path) -> None:
    pipe, out = tmp_path / "pipe", tmp_path / "out"
    os.mkfifo(pipe)

    async def working() -> None:
        async with asyncio.timeout(60):
            while not (out / ".fdf256/lock").exists():  # noqa: ASYNC110 - it is another process
                await asyncio.sleep(0.01)
        # It is about to open the pipe; until somebody writes, nothing more is to be seen.
        await asyncio.sleep(0.3)

    async with started("extract", pipe, "-d", out) as process:
        await working()
        with pipe.open("wb") as writer:
            writer.write(tar_of(MEMBERS)[:700])
            writer.flush()
            await asyncio.sleep(0.1)
            writer.write(tar_of(MEMBERS)[700:])
        assert (await ended(process)).status == 0
    assert files_in(out) == MEMBERS
    shutil.rmtree(out)
    async with started("extract", pipe, "-d", out) as process:
        await working()
        process.send_signal(signal.SIGINT)
        assert (await ended(process)).status == 130
    assert [left.name for left in tmp_path.iterdir()] == ["pipe"]


def test_the_standard_input_is_the_file_that_is_open_and_not_its_name(tmp_path: Path) -> None:
    run = [sys.executable, "-m", "fdf256_fast", "extract", "-", "-q", "-d"]
    (tmp_path / "file").write_bytes(b"a line of another program\n" + COMPRESSORS["tar.gz"](tar_of(MEMBERS)))
    with (tmp_path / "file").open("rb", buffering=0) as file:
        assert file.read(26).endswith(b"\n")
        subprocess.run([*run, str(tmp_path / "rest")], stdin=file, check=True, timeout=60)
    assert files_in(tmp_path / "rest") == MEMBERS
    ours, theirs = socket.socketpair()
    with ours, theirs, subprocess.Popen([*run, str(tmp_path / "socket")], stdin=theirs.fileno()) as process:
        theirs.close()
        ours.sendall(tar_of(MEMBERS))
        ours.shutdown(socket.SHUT_WR)
        assert process.wait(60) == 0
    assert files_in(tmp_path / "socket") == MEMBERS
    zipped = write_zip(tmp_path / "a.zip", MEMBERS)
    with zipped.open("rb") as file:
        subprocess.run([*run, str(tmp_path / "zip")], stdin=file, check=True, timeout=60)
    assert files_in(tmp_path / "zip") == MEMBERS


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz"])
def test_without_threads_what_needs_none_is_unpacked_and_the_rest_says_so(kind: str, tmp_path: Path) -> None:
    archive = tmp_path / "a"
    if kind == "zip":
        write_zip(archive, large_and_small(), zipfile.ZIP_DEFLATED)
    else:
        archive.write_bytes(COMPRESSORS[kind](tar_of(MEMBERS)))
    digest = f"sha256:{hashlib.sha256(archive.read_bytes()).hexdigest()}"
    command = [sys.executable, "-m", "fdf256_fast", "extract", "a", "--digest", digest, "--workers", "4"]
    result = subprocess.run(
        [*command, "-d", "out"],
        # More than there are addresses: no thread of the core's can be started.
        env={**os.environ, "RUST_MIN_STACK": str(1 << 47)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert "panicked" not in result.stderr
    if kind == "zip":
        assert result.returncode == 0, result.stderr
        assert files_in(tmp_path / "out") == large_and_small()
    else:
        assert result.returncode == 1
        assert "cannot start a thread" in result.stderr
        assert [left.name for left in tmp_path.iterdir()] == ["a"]


def test_several_archives_are_unpacked_or_none(tmp_path: Path, archive: Path) -> None:
    second = write_zip(tmp_path / "b.zip", {"train/images/6.png": b"6", "c": b"c"}, zipfile.ZIP_DEFLATED)
    report = fdf.extract([archive, second], tmp_path / "out")
    assert files_in(tmp_path / "out") == {**MEMBERS, "train/images/6.png": b"6", "c": b"c"}
    assert (report.files, report.verified) == (len(MEMBERS) + 2, "crc32")
    third = write_zip(tmp_path / "c.zip", {"train/images/1.png": b"other"})
    with pytest.raises(MemberError, match="another archive"):
        fdf.extract([archive, third], tmp_path / "none")
    bad = write_zip(tmp_path / "d.zip", {"z": bytes_of(100)})
    bad.write_bytes(bad.read_bytes().replace(bytes_of(100), bytes_of(100, 1)))
    with pytest.raises(MemberError, match="CRC-32"):
        fdf.extract([archive, bad], tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_a_file_that_is_there_is_kept_unless_told_otherwise(archive: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / "val").mkdir(parents=True)
    (out / "val/landmarks.npy").write_bytes(b"mine")
    (out / "val/notes").write_bytes(b"mine too")
    with pytest.raises(StorageError, match=r"landmarks\.npy.*there already") as caught:
        fdf.extract(archive, out)
    assert (caught.value.errno, caught.value.filename) == (errno.EEXIST, str(out / "val/landmarks.npy"))
    assert files_in(out) == {"val/landmarks.npy": b"mine", "val/notes": b"mine too"}
    fdf.extract(archive, out, force=True)
    assert files_in(out) == {**MEMBERS, "val/notes": b"mine too"}


@pytest.mark.parametrize("force", [False, True])
def test_a_folder_and_a_file_never_replace_each_other(archive: Path, tmp_path: Path, force: bool) -> None:
    out = tmp_path / "out"
    (out / "val/landmarks.npy").mkdir(parents=True)
    with pytest.raises(StorageError, match="the archive has a file of this name"):
        fdf.extract(archive, out, force=force)
    (out / "val/landmarks.npy").rmdir()
    (out / "train").write_bytes(b"mine")
    with pytest.raises(StorageError, match="the archive has a folder of this name"):
        fdf.extract(archive, out, force=force)
    assert files_in(out) == {"train": b"mine"}


@pytest.mark.parametrize("force", [False, True])
def test_nothing_goes_through_a_symbolic_link(archive: Path, tmp_path: Path, force: bool) -> None:
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    out.mkdir()
    elsewhere.mkdir()
    (out / "val").symlink_to(elsewhere)
    with pytest.raises(StorageError, match="symbolic link"):
        fdf.extract(archive, out, force=force)
    assert list(elsewhere.iterdir()) == []
    assert [path.name for path in out.iterdir()] == ["val"]


def test_a_digest_is_checked_before_anything_appears(archive: Path, tmp_path: Path) -> None:
    right = hashlib.sha256(archive.read_bytes()).hexdigest()
    with pytest.raises(DigestMismatch) as caught:
        fdf.extract(archive, tmp_path / "out", digest=f"sha256:{'0' * 64}")
    assert caught.value.computed == f"sha256:{right}"
    assert not (tmp_path / "out").exists()
    assert fdf.extract(archive, tmp_path / "out", digest=f"sha256:{right}").verified == "sha256"
    with pytest.raises(UsageError):
        fdf.extract([archive, archive], tmp_path / "two", digest=f"sha256:{right}")


async def test_it_works_inside_a_running_loop_and_awaited(
    archive: Path, tmp_path: Path, loop_watch: BlockBuster
) -> None:
    # To block is what this call is for.
    loop_watch.functions["threading.Lock.acquire"].can_block_in("fdf256_fast/blocking.py", "call")
    assert fdf.extract(str(archive), tmp_path / "one").files == len(MEMBERS)
    recorder = Recorder()
    report = await fdf.extract_async(archive, tmp_path / "two", progress=recorder)
    assert report.files == len(MEMBERS)
    assert recorder.last is not None
    assert recorder.last.archives[0].state == "done"


async def test_a_locked_folder_is_left_alone(archive: Path, tmp_path: Path) -> None:
    async with Workspace.of(tmp_path / "out").locked():
        with pytest.raises(LockedError):
            await fdf.extract_async(archive, tmp_path / "out")
    assert files_in(tmp_path / "out").keys() <= {".fdf256/lock"}


def test_an_installed_datasets_workspace_is_left_alone(archive: Path, tmp_path: Path) -> None:
    home = tmp_path / "out/.fdf256"
    home.mkdir(parents=True)
    (home / "installed.json").write_text("{}")
    fdf.extract(archive, tmp_path / "out")
    assert sorted(path.name for path in home.iterdir()) == ["installed.json", "lock"]


def test_what_a_killed_run_left_is_removed_and_not_published(archive: Path, tmp_path: Path) -> None:
    left = tmp_path / "out/.fdf256/extract/staging/left"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"half a file")
    fdf.extract(archive, tmp_path / "out")
    assert files_in(tmp_path / "out") == MEMBERS


@pytest.mark.parametrize("kind", ["tar", "tar.gz", "zip"])
async def test_a_cancelled_call_leaves_nothing(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "many"
    if kind == "zip":
        write_zip(path, MANY)
    else:
        path.write_bytes(COMPRESSORS[kind](tar_of(MANY)))
    cancelled = 0
    for turns in (0, 1, 2, 3, 5, 8, 13, 40):
        task = asyncio.create_task(fdf.extract_async(path, tmp_path / "out"))
        for _ in range(turns):
            await asyncio.sleep(0.001)
        task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            cancelled += 1
        # On a fast machine the later ones come too late, even when all is in its place already.
        if (tmp_path / "out").exists():
            assert files_in(tmp_path / "out") == MANY
            shutil.rmtree(tmp_path / "out")
        assert [left.name for left in tmp_path.iterdir()] == ["many"]
        assert busy_threads() == []
    assert cancelled >= 3


async def waiting_in(folder: Path) -> None:
    """Until a command hears signals, and is about to open its archive, or has."""
    async with asyncio.timeout(30):
        while not (folder / ".fdf256/lock").exists():  # noqa: ASYNC110 - it is another process's
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.1)


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
async def test_whoever_waits_for_a_pipe_can_be_interrupted(sign: signal.Signals, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    async with started("extract", "fifo", "-d", "out", cwd=tmp_path) as process:
        await waiting_in(tmp_path / "out")
        process.send_signal(sign)
        said = await ended(process)
    assert (said.status, said.stderr.splitlines()[-1]) == (
        130,
        "Interrupted. Archives are unpacked as a whole or not at all.",
    )
    assert not (tmp_path / "out").exists()


async def test_an_archive_may_come_through_a_named_pipe_late(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    async with started("extract", "fifo", "-d", "out", "--quiet", cwd=tmp_path) as process:
        await waiting_in(tmp_path / "out")
        await asyncio.to_thread((tmp_path / "fifo").write_bytes, tar_of(MEMBERS))
        said = await ended(process)
    assert (said.status, said.stderr) == (0, "")
    assert files_in(tmp_path / "out") == MEMBERS


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
async def test_an_interrupted_command_says_so_and_leaves_nothing(sign: int, tmp_path: Path) -> None:
    # A pipe that says no more than a beginning: the command waits for the rest.
    read, write = os.pipe()
    os.write(write, tar_of(MANY)[:30_000])
    (tmp_path / "out").mkdir()
    try:
        async with started("extract", f"/proc/{os.getpid()}/fd/{read}", "-d", tmp_path / "out") as process:
            async with asyncio.timeout(60):
                staging = tmp_path / "out/.fdf256/extract/staging"
                while not staging.exists():  # noqa: ASYNC110 - it is another process
                    await asyncio.sleep(0.01)
            process.send_signal(sign)
            result = await ended(process)
    finally:
        os.close(read)
        os.close(write)
    assert result.status == 130
    assert "as a whole or not at all" in result.stderr
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("kind", ["tar.gz", "zip"])
def test_a_write_that_fails_leaves_nothing(kind: str, tmp_path: Path) -> None:
    # No file may grow beyond this: the write fails in the middle, as it does on a full disk.
    path = tmp_path / "a"
    members = {"a": bytes_of(1000), "b": bytes_of(3_000_000)}
    if kind == "zip":
        write_zip(path, members, zipfile.ZIP_DEFLATED)
    else:
        path.write_bytes(COMPRESSORS[kind](tar_of(members)))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, before[1]))
    try:
        with pytest.raises(StorageError) as caught:
            fdf.extract(path, tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert caught.value.errno == errno.EFBIG
    assert caught.value.filename is not None
    assert caught.value.filename.endswith("/b")
    assert [left.name for left in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("kind", ["tar.gz", "zip"])
def test_a_member_larger_than_the_memory_passes_through_it(kind: str, tmp_path: Path) -> None:
    size = 300_000_000
    path = tmp_path / "a"
    program = f"""
import gzip, io, sys, tarfile, zipfile
class Zeros(io.RawIOBase):
    def read(self, count=-1):
        return bytes(count)
if {kind!r} == "zip":
    with zipfile.ZipFile(sys.argv[1], "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        with archive.open("large", "w") as member:
            for _ in range({size} // 1000000):
                member.write(bytes(1000000))
else:
    with gzip.open(sys.argv[1], "wb", 1) as out, tarfile.open(fileobj=out, mode="w|") as tar:
        info = tarfile.TarInfo("large")
        info.size = {size}
        tar.addfile(info, Zeros())
"""
    subprocess.run([sys.executable, "-c", program, path], check=True, timeout=60)
    measure = """
import re, sys
import fdf256_fast
fdf256_fast.extract(sys.argv[1], sys.argv[2])
# Not getrusage: there the process that started this one counts as well.
print(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1])
"""
    run = [sys.executable, "-c", measure, str(path), str(tmp_path / "out")]
    peak = int(subprocess.run(run, check=True, capture_output=True, timeout=60).stdout) * 1024
    assert (tmp_path / "out/large").stat().st_size == size
    assert peak < 150_000_000


LARGE = {f"large/{number}.bin": bytes_of(11_000_000 + number, number) for number in range(3)}
SMALL = {f"small/{number}.bin": bytes_of(1_000, number) for number in range(20)}


def large_and_small() -> dict[str, bytes]:
    (first, large), *others = LARGE.items()
    return {first: large, **SMALL, **dict(others), "last": b"last"}


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("workers", [1, 2, 3, 8])
def test_large_members_are_shared_by_the_threads(method: int, workers: int, tmp_path: Path) -> None:
    archive = write_zip(tmp_path / "a.zip", large_and_small(), method)
    report = fdf.extract(archive, tmp_path / "out", limits=fdf.Limits(workers=workers))
    assert files_in(tmp_path / "out") == large_and_small()
    assert (report.files, report.verified) == (len(large_and_small()), "crc32")


@pytest.mark.parametrize("workers", [1, 2, 8])
@pytest.mark.parametrize("at", [0, 8 << 20, (8 << 20) - 1, 10_999_999])
def test_a_large_member_damaged_in_any_part_is_refused(at: int, workers: int, tmp_path: Path) -> None:
    archive = write_zip(tmp_path / "a.zip", large_and_small())
    data = bytearray(archive.read_bytes())
    name = b"large/1.bin"
    data[data.index(name) + len(name) + at] ^= 1
    archive.write_bytes(data)
    with pytest.raises(MemberError, match="CRC-32") as refused:
        fdf.extract(archive, tmp_path / "out", limits=fdf.Limits(workers=workers))
    assert refused.value.member == "large/1.bin"
    assert not (tmp_path / "out").exists()
