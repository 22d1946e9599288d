"""Plain files and archives from any address."""

from __future__ import annotations

import asyncio
import ensurepip
import hashlib
import os
import random
import signal
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from fdf256_fast import (
    DigestMismatch,
    IntegrityError,
    Limits,
    LockedError,
    Progress,
    StorageError,
    TransferError,
    UsageError,
    fetch,
    install,
)
from fdf256_fast.fetching import Wanted, fetch_files, file_name
from fdf256_fast.origin import Origin
from fdf256_fast.workspace import Workspace
from tests.integration.oracles import (
    WORKSPACE,
    bytes_of,
    check_manifest,
    same_tree,
    sha256,
    tree_of,
    unzipped,
    write_zip,
)
from tests.integration.runs import Recorder, cancelled, command, ended, sent, started
from tests.servers import application_server, dead_port, nginx

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from fdf256_fast.synthetic import Compression
    from tests.integration.oracles import Published
    from tests.servers import Serve

SIZE = 3_000_017
CONTENT = bytes_of(SIZE)

# The first three are BLAKE3's own published test vectors, whose input has this very period.
BLAKE3 = {
    0: "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262",
    1: "2d3adedff11b61f14c886e35afa036736dcd87a74d27b5c1510225d0f592e213",
    102_400: "bc3e3d41a1146b069abffad3c0d44860cf664390afce4d9661f7902e7943e085",
    SIZE: "06444fff6f16bf0cd5865b23aa223df898038715c3518764ae560799072e90c8",
}


def digest_of(algorithm: str, data: bytes) -> str:
    """By Python's library, or as published."""
    if algorithm == "blake3":
        return f"blake3:{BLAKE3[len(data)]}"
    if algorithm == "crc32":
        return f"crc32:{zlib.crc32(data):08x}"
    return f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"


@pytest.fixture
def served(tmp_path: Path) -> Path:
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "a.bin").write_bytes(CONTENT)
    return folder


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


def only(folder: Path, **files: bytes) -> None:
    """``folder`` holds exactly these files, so no part, journal or lock either."""
    expected = {name.replace("__", "."): hashlib.sha256(data).hexdigest() for name, data in files.items()}
    same_tree(folder, expected)


# ---- whole files -----------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ["sha256", "md5", "blake3", None])
async def test_a_file_arrives_as_it_is(serve: Serve, algorithm: str | None, served: Path, out: Path) -> None:
    digest = algorithm and digest_of(algorithm, CONTENT)
    async with serve(served) as server:
        path = await fetch(f"{server.url}/a.bin", out, digest=digest)
    assert path == out / "a.bin"
    only(out, a__bin=CONTENT)


@pytest.mark.parametrize("algorithm", ["md5", "sha1", "sha256", "sha512", "blake3", "crc32"])
@pytest.mark.parametrize("size", [0, 1, 102_400])
async def test_each_digest_is_computed_as_the_libraries_do(
    algorithm: str, size: int, served: Path, out: Path
) -> None:
    data = bytes_of(size)
    (served / "b.bin").write_bytes(data)
    async with Origin(served) as origin:
        await fetch(f"{origin.url}/b.bin", out, digest=digest_of(algorithm, data))
    only(out, b__bin=data)


SPAN = 256 * 1024
"""What the first request asks for."""


@pytest.mark.parametrize("size", [0, 1, 250, SPAN - 1, SPAN, SPAN + 1, 2 * SPAN])
async def test_files_of_any_size_arrive(serve: Serve, size: int, served: Path, out: Path) -> None:
    data = bytes_of(size)
    (served / "b.bin").write_bytes(data)
    async with serve(served) as server:
        await fetch(f"{server.url}/b.bin", out)
        await fetch(f"{server.url}/b.bin", out / "c.bin", digest=digest_of("sha256", data))
    only(out, b__bin=data, c__bin=data)


async def test_nginx_sends_each_byte_once(served: Path, out: Path) -> None:
    async with nginx(served) as server:
        await fetch(f"{server.url}/a.bin", out)
    assert SIZE <= server.body_bytes <= 1.01 * SIZE


async def test_redirects_to_signed_addresses_are_followed(served: Path, out: Path) -> None:
    async with Origin(served, redirect=True) as origin:
        await fetch(f"{origin.url}/a.bin", out)
    only(out, a__bin=CONTENT)


@pytest.mark.parametrize("digest", [None, digest_of("sha256", CONTENT)])
async def test_a_server_that_tells_no_length_does_too(digest: str | None, out: Path) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.enable_chunked_encoding()
        await response.prepare(request)
        for start in range(0, SIZE, 100_000):
            await response.write(CONTENT[start : start + 100_000])
        return response

    async with application_server(answer) as url:
        await fetch(f"{url}/a.bin", out, digest=digest)
    only(out, a__bin=CONTENT)


async def test_many_files_come_in_one_call(serve: Serve, served: Path, out: Path) -> None:
    sizes = [0, 1, 2, 1000, SPAN, SPAN + 1, 700_000, *range(3, 30)]
    for i, size in enumerate(sizes):
        (served / f"{i}.bin").write_bytes(bytes_of(size, i))
    async with serve(served) as server:
        wanted = [Wanted(f"{server.url}/{i}.bin", out / "deep" / f"{i}.bin") for i in range(len(sizes))]
        report = await fetch_files(wanted, Limits(connections=8), Progress())
    assert report.files == len(sizes)
    assert report.bytes_downloaded == sum(sizes)
    only(out / "deep", **{f"{i}__bin": bytes_of(size, i) for i, size in enumerate(sizes)})


async def test_the_command_fetches_several_files_and_reports_them(served: Path, out: Path) -> None:
    (served / "with space.bin").write_bytes(b"space")
    (served / "empty.bin").write_bytes(b"")
    async with Origin(served) as origin:
        urls = [f"{origin.url}/{name}" for name in ("a.bin", "with%20space.bin", "empty.bin")]
        done = await command("fetch", *urls, "-d", out, "--json")
    assert done.status == 0, done.stderr
    assert {one["name"]: one["bytes"] for one in done.report["archives"]} == {
        "a.bin": SIZE,
        "with space.bin": 5,
        "empty.bin": 0,
    }
    assert {path.name for path in out.iterdir()} == {"a.bin", "with space.bin", "empty.bin"}
    assert (out / "with space.bin").read_bytes() == b"space"


async def test_the_command_writes_where_it_is_told(served: Path, out: Path) -> None:
    async with Origin(served) as origin:
        digest = digest_of("sha256", CONTENT)
        done = await command("fetch", f"{origin.url}/a.bin", "-o", "x/y.bin", "--digest", digest, cwd=out)
        assert done.status == 0, done.stderr
        again = await command("fetch", f"{origin.url}/a.bin", cwd=out / "x")
        assert again.status == 0, again.stderr
    only(out / "x", y__bin=CONTENT, a__bin=CONTENT)


async def test_relative_paths_are_from_here(served: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(out)
    async with Origin(served) as origin:
        assert await fetch(f"{origin.url}/a.bin") == Path("a.bin")
        wanted = [Wanted(f"{origin.url}/a.bin", Path(name)) for name in ("x/b.bin", "y z/ü.bin")]
        await fetch_files(wanted, Limits(connections=1), Progress())
    expected = hashlib.sha256(CONTENT).hexdigest()
    files = {path: digest for path, digest in tree_of(out).items() if digest != "a folder"}
    assert files == {"a.bin": expected, "x/b.bin": expected, "y z/ü.bin": expected}


async def test_a_file_url_is_fetched_too(served: Path, out: Path) -> None:
    (served / "with space.bin").write_bytes(CONTENT)
    await fetch((served / "with space.bin").as_uri(), out, digest=digest_of("sha256", CONTENT))
    assert (out / "with space.bin").read_bytes() == CONTENT


async def test_a_file_url_that_leads_nowhere_is_an_error_of_ours(served: Path, out: Path) -> None:
    with pytest.raises((TransferError, StorageError), match=r"nothing\.bin"):
        await fetch((served / "nothing.bin").as_uri(), out)
    done = await command("fetch", (served / "nothing.bin").as_uri(), "-d", out)
    assert done.status in {4, 5}
    assert "Traceback" not in done.stderr


async def test_a_file_that_is_there_with_its_digest_is_not_asked_for(served: Path, out: Path) -> None:
    (out / "a.bin").write_bytes(CONTENT)
    async with Origin(served) as origin:
        await fetch(f"{origin.url}/a.bin", out, digest=digest_of("sha1", CONTENT))
        assert origin.requests == 0
    only(out, a__bin=CONTENT)


async def test_a_file_that_is_there_with_another_digest_is_replaced(served: Path, out: Path) -> None:
    (out / "a.bin").write_bytes(b"old")
    async with Origin(served) as origin:
        await fetch(f"{origin.url}/a.bin", out, digest=digest_of("sha1", CONTENT))
    only(out, a__bin=CONTENT)


async def test_a_file_of_which_nothing_is_known_is_fetched_again(served: Path, out: Path) -> None:
    (out / "a.bin").write_bytes(b"old")
    async with Origin(served) as origin:
        await fetch(f"{origin.url}/a.bin", out)
    only(out, a__bin=CONTENT)


# ---- what goes wrong -------------------------------------------------------------------------------


async def test_a_wrong_digest_leaves_no_file_and_no_part(serve: Serve, served: Path, out: Path) -> None:
    async with serve(served) as server:
        with pytest.raises(IntegrityError) as caught:
            await fetch(f"{server.url}/a.bin", out, digest=digest_of("sha256", b"other"))
    assert isinstance(caught.value, DigestMismatch)
    assert caught.value.computed == digest_of("sha256", CONTENT)
    only(out)


async def test_a_wrong_digest_leaves_the_file_that_was_there(served: Path, out: Path) -> None:
    (out / "a.bin").write_bytes(b"old")
    async with Origin(served) as origin:
        with pytest.raises(DigestMismatch):
            await fetch(f"{origin.url}/a.bin", out, digest=digest_of("sha256", b"other"))
    only(out, a__bin=b"old")


async def test_the_command_ends_with_status_3_for_a_wrong_digest(served: Path, out: Path) -> None:
    async with Origin(served) as origin:
        url, digest = f"{origin.url}/a.bin", digest_of("md5", b"other")
        done = await command("fetch", url, "-d", out, "--digest", digest, "--json")
    assert done.status == 3
    assert done.report["ok"] is False
    assert "Traceback" not in done.stderr
    only(out)


async def test_a_mirror_takes_over_from_a_wrong_and_from_a_dead_source(served: Path, out: Path) -> None:
    (served / "wrong.bin").write_bytes(bytes_of(SIZE, 1))
    with dead_port() as port:
        async with Origin(served) as origin:
            await fetch(
                f"http://127.0.0.1:{port}/a.bin",
                out,
                digest=digest_of("sha256", CONTENT),
                mirrors=[f"{origin.url}/nothing.bin", f"{origin.url}/wrong.bin", f"{origin.url}/a.bin"],
            )
    only(out, a__bin=CONTENT)


async def test_a_file_that_is_not_there_ends_with_status_4(serve: Serve, served: Path, out: Path) -> None:
    async with serve(served) as server:
        with pytest.raises(TransferError, match="404"):
            await fetch(f"{server.url}/nothing.bin", out)
    only(out)


@pytest.mark.parametrize(
    "path", ["", "/", "/folder/", "/..", "/%2e%2e", "/.", "/a%00b", "/a%0ab", "/%1b[31m", "/" + "a" * 300]
)
def test_a_url_without_a_usable_file_name_is_refused(path: str) -> None:
    with pytest.raises(UsageError, match="no file name"):
        file_name(f"http://127.0.0.1{path}")


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/a.zip?token=x/y#part", "a.zip"),
        ("/with%20space.zip", "with space.zip"),
        ("/up/%2e%2e%2fetc%2fpasswd", "passwd"),
        ("/%C3%A9t%C3%A9.zip", "été.zip"),
        ("/.hidden", ".hidden"),
    ],
)
def test_a_file_name_is_the_last_part_of_the_path(path: str, name: str) -> None:
    assert file_name(f"http://127.0.0.1{path}") == name


async def test_the_command_ends_with_status_2_where_no_name_can_be_made(out: Path) -> None:
    done = await command("fetch", "http://127.0.0.1:9/folder/", "-d", out)
    assert done.status == 2
    assert "-o" in done.stderr
    only(out)


async def test_a_folder_that_cannot_be_made_is_a_storage_error(served: Path, out: Path) -> None:
    (out / "file").write_bytes(b"in the way")
    async with Origin(served) as origin:
        with pytest.raises(StorageError) as caught:
            await fetch(f"{origin.url}/a.bin", out / "file" / "a.bin")
    assert caught.value.exit_status == 5
    assert caught.value.errno is not None


async def test_two_calls_do_not_write_the_same_file(served: Path, out: Path) -> None:
    async with Origin(served, rate=SIZE) as origin:
        async with asyncio.TaskGroup() as group:
            first = group.create_task(fetch(f"{origin.url}/a.bin", out))
            await sent(origin, SPAN)
            with pytest.raises(LockedError):
                await fetch(f"{origin.url}/a.bin", out)
        assert first.result() == out / "a.bin"
    only(out, a__bin=CONTENT)


SLOW = Limits(rate=2 * SIZE, connections=2)
"""About half a second for the file, and few spans at a time, so that the frontier moves evenly."""


# ---- resume ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "algorithm"),
    # BLAKE3's state cannot be saved: what is there is read again.
    [(signal.SIGKILL, "blake3"), (signal.SIGINT, "sha256")],
    ids=["killed", "interrupted"],
)
async def test_a_fetch_that_was_ended_goes_on(
    how: signal.Signals, algorithm: str, served: Path, out: Path
) -> None:
    arguments = ("-d", out, "--progress", "none", "--json", "--digest", digest_of(algorithm, CONTENT))
    async with Origin(served, rate=SIZE / 1.5) as origin:
        url = f"{origin.url}/a.bin"
        async with started("fetch", url, *arguments) as process:
            await sent(origin, SIZE * 3 // 4, process)
            process.send_signal(how)
            stopped = await ended(process)
        assert stopped.status == (130 if how == signal.SIGINT else -how)
        assert "Traceback" not in stopped.stderr
        if how == signal.SIGINT:
            assert stopped.report["archives"][0]["url"] == url
            assert stopped.report["bytes_downloaded"] > SIZE // 2
        assert not (out / "a.bin").exists()
        part = (out / "a.bin.part").read_bytes()
        assert part == CONTENT[: len(part)]
        done = await command("fetch", url, *arguments)
        assert done.status == 0, done.stderr
        # What a kill costs is bounded by the transfer of two seconds, which is all of this file.
        assert origin.bytes_sent < 2 * SIZE
    assert done.report["bytes_resumed"] > 0
    assert done.report["bytes_resumed"] + done.report["bytes_downloaded"] >= SIZE
    only(out, a__bin=CONTENT)


async def test_a_cancelled_fetch_goes_on_from_every_server(serve: Serve, served: Path, out: Path) -> None:
    async with serve(served) as server:
        url = f"{server.url}/a.bin"
        for share in (0.3, 0.6):
            await cancelled(
                lambda progress: fetch(url, out, limits=SLOW, progress=progress), int(share * SIZE)
            )
            assert not (out / "a.bin").exists()
            part = (out / "a.bin.part").read_bytes()
            assert part == CONTENT[: len(part)]
        await fetch(url, out, digest=digest_of("sha256", CONTENT))
    only(out, a__bin=CONTENT)


@pytest.mark.parametrize("other", [bytes_of(SIZE, 1), b""], ids=["same size", "empty"])
async def test_a_file_replaced_between_two_runs_is_fetched_anew(
    serve: Serve, other: bytes, served: Path, out: Path
) -> None:
    os.utime(served / "a.bin", (1_600_000_000, 1_600_000_000))
    async with serve(served) as server:
        url = f"{server.url}/a.bin"
        await cancelled(lambda progress: fetch(url, out, limits=SLOW, progress=progress), SIZE // 2)
        (served / "a.bin").write_bytes(other)
        await fetch(url, out)
    only(out, a__bin=other)


async def test_a_file_replaced_during_a_fetch_is_fetched_anew(served: Path, out: Path) -> None:
    other = bytes_of(SIZE, 1)
    (served / "new").write_bytes(other)
    loop = asyncio.get_running_loop()
    swap = Recorder(SIZE // 3, lambda: loop.call_soon((served / "new").replace, served / "a.bin"))
    async with Origin(served, rate=SIZE) as origin:
        await fetch(f"{origin.url}/a.bin", out, limits=Limits(connections=2), progress=swap)
    assert any("dropped" in message for message in swap.messages)
    only(out, a__bin=other)


async def test_a_part_that_somebody_shortened_is_not_trusted(served: Path, out: Path) -> None:
    async with Origin(served) as origin:
        url = f"{origin.url}/a.bin"
        await cancelled(lambda progress: fetch(url, out, limits=SLOW, progress=progress), SIZE // 2)
        os.truncate(out / "a.bin.part", 1000)
        await fetch(url, out)
    only(out, a__bin=CONTENT)


async def test_a_damaged_journal_of_a_part_means_a_new_start(served: Path, out: Path) -> None:
    async with Origin(served) as origin:
        url = f"{origin.url}/a.bin"
        await cancelled(lambda progress: fetch(url, out, limits=SLOW, progress=progress), SIZE // 2)
        (out / "a.bin.part.journal").write_text("{")
        await fetch(url, out)
    only(out, a__bin=CONTENT)


# ---- archives --------------------------------------------------------------------------------------

_WHEEL_FOLDERS = (Path(ensurepip.__file__).parent / "_bundled", Path("/usr/share/python-wheels"))
WHEELS = next(filter(None, (sorted(folder.glob("*.whl")) for folder in _WHEEL_FOLDERS)), [])
"""Archives that nobody here made: those that come with Python (Debian has them in a place of its own)."""

each_wheel = pytest.mark.parametrize(
    "wheel",
    [pytest.param(wheel, id=wheel.name) for wheel in WHEELS]
    or [pytest.param(None, marks=pytest.mark.skip(reason="this Python comes without wheels"))],
)


@each_wheel
async def test_a_wheel_is_unpacked_as_unzip_does(wheel: Path, serve: Serve, tmp_path: Path) -> None:
    target = tmp_path / "target"
    tree = unzipped([wheel], tmp_path / "unzipped")
    async with serve(wheel.parent) as server:
        url = f"{server.url}/{wheel.name}"
        await fetch(url, target, extract=True, digest=f"sha256:{sha256(wheel)}")
    same_tree(target, tree)
    assert not (target / WORKSPACE).exists()


@each_wheel
async def test_the_command_unpacks_a_wheel(wheel: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    async with nginx(wheel.parent) as server:
        done = await command(
            *("fetch", f"{server.url}/{wheel.name}", "--extract", "-d", target),
            *("--digest", f"sha256:{sha256(wheel)}", "--json"),
        )
    assert done.status == 0, done.stderr
    assert done.report["verified"] == "sha256"
    assert wheel.stat().st_size <= server.body_bytes <= 1.01 * wheel.stat().st_size
    same_tree(target, unzipped([wheel], tmp_path / "unzipped"))


@each_wheel
async def test_a_wheel_cut_off_half_way_is_unpacked_by_the_next_call(wheel: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    size = wheel.stat().st_size
    digest = f"sha256:{sha256(wheel)}"
    async with Origin(wheel.parent, rate=size // 4) as origin:
        url = f"{origin.url}/{wheel.name}"
        await cancelled(
            lambda progress: fetch(url, target, extract=True, digest=digest, progress=progress), size // 2
        )
        assert tree_of(target) == {}
        had = origin.bytes_sent
        await fetch(url, target, extract=True, digest=digest)
        assert origin.bytes_sent < had + size
    same_tree(target, unzipped([wheel], tmp_path / "unzipped"))


async def test_a_wheel_with_another_digest_is_not_unpacked(tmp_path: Path) -> None:
    write_zip(tmp_path / "a.whl", {"one.py": b"1\n", "two.py": b"2\n"}, zipfile.ZIP_DEFLATED)
    target = tmp_path / "target"
    async with Origin(tmp_path) as origin:
        with pytest.raises(DigestMismatch):
            await fetch(f"{origin.url}/a.whl", target, extract=True, digest=digest_of("sha256", b"other"))
    assert tree_of(target) == {}


async def test_what_is_no_zip_is_refused_and_nothing_appears(
    serve: Serve, served: Path, tmp_path: Path
) -> None:
    (served / "page.zip").write_bytes(b"<html>Not found</html>")
    (served / "empty.zip").write_bytes(b"")
    async with serve(served) as server:
        for name in ("page.zip", "empty.zip", "a.bin"):
            with pytest.raises(IntegrityError):
                await fetch(f"{server.url}/{name}", tmp_path / "target", extract=True)
    assert tree_of(tmp_path / "target") == {}


async def test_a_zip_without_members_is_unpacked_to_nothing(
    serve: Serve, served: Path, tmp_path: Path
) -> None:
    write_zip(served / "none.zip", {})
    async with serve(served) as server, asyncio.timeout(20):
        await fetch(f"{server.url}/none.zip", tmp_path / "target", extract=True)
    assert tree_of(tmp_path / "target") == {}


async def test_unpacking_beside_other_files_leaves_them(served: Path, out: Path) -> None:
    archive = write_zip(served / "a.zip", {"folder/one.txt": b"1", "two.txt": b"2"})
    (out / "folder").mkdir()
    (out / "folder" / "mine.txt").write_bytes(b"mine")
    async with Origin(served) as origin:
        await fetch(f"{origin.url}/a.zip", out, extract=True)
    tree = unzipped([archive], out.parent / "unzipped")
    same_tree(out, {**tree, "folder/mine.txt": hashlib.sha256(b"mine").hexdigest()})


async def test_unpacking_beside_what_a_cut_off_call_left_shows_nothing_of_it(
    served: Path, tmp_path: Path
) -> None:
    target = tmp_path / "target"
    first = write_zip(served / "first.zip", {f"first/{i}.bin": bytes_of(50_000, i) for i in range(60)})
    second = write_zip(served / "second.zip", {f"second/{i}.bin": bytes_of(5_000, i) for i in range(6)})
    async with Origin(served, rate=3_000_000) as origin:
        url = f"{origin.url}/first.zip"
        limits = Limits(connections=2)
        await cancelled(
            lambda progress: fetch(url, target, extract=True, limits=limits, progress=progress), 1_000_000
        )
        await fetch(f"{origin.url}/second.zip", target, extract=True)
        same_tree(target, unzipped([second], tmp_path / "second"))
        await fetch(url, target, extract=True)
    same_tree(target, unzipped([first, second], tmp_path / "both"))


async def test_unpacking_does_not_come_in_between_what_others_do_in_the_folder(
    served: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fdf256_fast.installation.LOCK_PATIENCE_SECONDS", 0.3)
    archive = write_zip(served / "a.zip", {f"{i}.bin": bytes_of(50_000, i) for i in range(40)})
    target = tmp_path / "target"
    workspace = Workspace.of(target)
    async with Origin(served, rate=2_000_000) as origin:
        async with workspace.locked():
            with pytest.raises(LockedError):
                await fetch(f"{origin.url}/a.zip", target, extract=True)
        assert tree_of(target) == {}
        # It begins before somebody else does, and comes to its end too early.
        job = asyncio.create_task(fetch(f"{origin.url}/a.zip", target, extract=True))
        await sent(origin, 500_000)
        async with workspace.locked():
            with pytest.raises(LockedError):
                await job
            assert tree_of(target) == {}
    async with Origin(served) as origin:
        before = origin.bytes_sent
        await fetch(f"{origin.url}/a.zip", target, extract=True)
        assert origin.bytes_sent - before < archive.stat().st_size // 4
    same_tree(target, unzipped([archive], tmp_path / "unzipped"))


async def test_several_archives_are_unpacked_into_one_folder_at_once(served: Path, tmp_path: Path) -> None:
    names = [f"{number}.zip" for number in range(4)]
    archives = [
        write_zip(served / name, {f"{name}/{i}.bin": bytes_of(20_000, i) for i in range(20)})
        for name in names
    ]
    async with Origin(served) as origin:
        urls = [f"{origin.url}/{name}" for name in names]
        await asyncio.gather(*(fetch(url, tmp_path / "target", extract=True) for url in urls))
    same_tree(tmp_path / "target", unzipped(archives, tmp_path / "unzipped"))
    assert not (tmp_path / "target/.fdf256").exists()


async def test_each_request_is_logged_when_asked_for_without_its_secrets(served: Path, out: Path) -> None:
    async with Origin(served) as origin:
        done = await command("fetch", f"{origin.url}/a.bin?token=secret", "-o", out / "a.bin", "-v")
    assert done.status == 0
    assert f"{origin.url}/a.bin" in done.stderr
    assert "206" in done.stderr
    assert "secret" not in done.stderr


async def test_two_places_for_one_file_are_refused(out: Path) -> None:
    done = await command("fetch", "http://127.0.0.1:9/a", "-o", out / "a", "-d", out)
    assert done.status == 2
    assert "--directory" in done.stderr


async def test_unpacking_into_an_installed_dataset_leaves_its_manifest(
    published: Mapping[Compression, Published], served: Path, tmp_path: Path
) -> None:
    made = published["mixed"]
    write_zip(served / "notes.zip", {"notes.txt": b"notes"})
    target = tmp_path / "target"
    catalog = made.catalog("http://127.0.0.1:9")
    await install(target, catalog=catalog, mirrors=[made.folder])
    async with Origin(served) as origin:
        await fetch(f"{origin.url}/notes.zip", target, extract=True)
    assert (await install(target, catalog=catalog, mirrors=[made.folder])).already_installed
    (target / "notes.txt").unlink()
    check_manifest(target)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
async def test_a_zip_over_one_stream_of_unknown_length_is_unpacked(method: int, tmp_path: Path) -> None:
    noise = random.Random(256)
    members = {f"{i}.bin": noise.randbytes(20_000) for i in range(40)}
    archive = write_zip(tmp_path / "a.zip", members, method)
    data = archive.read_bytes()

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(data), 50_000):
            yield data[start : start + 50_000]

    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(body=pieces())

    async with application_server(answer) as url:
        await fetch(f"{url}/a.zip", tmp_path / "target", extract=True, digest=digest_of("md5", data))
    same_tree(tmp_path / "target", unzipped([archive], tmp_path / "unzipped"))


@pytest.mark.parametrize("kind", ["folder", "link to a folder", "pipe"])
async def test_what_a_file_must_not_take_the_place_of_is_refused_before_anything_is_asked_for(
    kind: str, tmp_path: Path
) -> None:
    folder, goal = tmp_path / "folder", tmp_path / "goal"
    folder.mkdir()
    if kind == "folder":
        goal.mkdir()
    elif kind == "pipe":
        os.mkfifo(goal)
    else:
        goal.symlink_to(folder)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(StorageError, match="goal"):
        await fetch_files([Wanted("http://127.0.0.1:9/a.bin", goal)], Limits(), Progress())
    assert sorted(tmp_path.rglob("*")) == before
    assert goal.is_fifo() == (kind == "pipe")
    assert goal.is_dir() == (kind != "pipe")


async def test_json_of_a_failure_has_what_was_unpacked_before_it(tmp_path: Path) -> None:
    served = tmp_path / "served"
    served.mkdir()
    write_zip(served / "a.zip", {"a.txt": b"a"}, zipfile.ZIP_STORED)
    async with Origin(served) as origin:
        urls = (f"{origin.url}/a.zip", f"{origin.url}/b.zip")
        done = await command("fetch", *urls, "--extract", "-d", tmp_path / "out", "--json")
    assert done.status == 4
    assert (tmp_path / "out/a.txt").read_bytes() == b"a"
    assert [archive["name"] for archive in done.report["archives"]] == ["a.zip", "b.zip"]
    assert done.report["files"] == 1
