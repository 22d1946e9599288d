"""``fdf256 verify --sums``: what other programs write, held against those programs."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import zlib
from typing import TYPE_CHECKING

import pytest

import fdf256_fast as fdf
from fdf256_fast.errors import IntegrityError, StorageError, UsageError
from fdf256_fast.sums import SumsFile, named_digests
from tests.integration.oracles import bytes_of
from tests.integration.runs import command

if TYPE_CHECKING:
    from pathlib import Path

NAMES = [
    "plain",
    "with space",
    " leading",
    "new\nline",
    "back\\slash",
    "cr\rin it",
    "(round) = brackets",
    "*star",
    "sub/inside",
    "\udcff not utf-8",
    "ünïcode",
]
PROGRAMS = {
    "sha256sum": [],
    "sha256sum --tag": [],
    "sha256sum --binary": [],
    "sha256sum --zero": [],
    "sha512sum": [],
    "sha1sum": [],
    "md5sum": [],
    "md5sum --tag": [],
    "b3sum": ["\udcff not utf-8"],
    "openssl dgst -sha256": ["new\nline", "cr\rin it", "back\\slash"],
    "openssl dgst -sha512": ["new\nline", "cr\rin it", "back\\slash"],
    "openssl dgst -md5": ["new\nline", "cr\rin it", "back\\slash"],
}
"""And the names that the program cannot write so that they can be read again."""


def make_files(folder: Path, names: list[str]) -> None:
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes_of(1000 * number, number))


def skip_without(program: str) -> None:
    """All but b3sum come with every Debian."""
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_what_other_programs_write_is_read_and_damage_found(
    program: str, line_end: str, tmp_path: Path
) -> None:
    parts = program.split()
    skip_without(parts[0])
    names = [name for name in NAMES if name not in PROGRAMS[program]]
    folder = tmp_path / "files"
    make_files(folder, names)
    made = subprocess.run([*parts, *names], cwd=folder, check=True, capture_output=True, timeout=60)
    if "--zero" in program and line_end != "\n":
        return
    sums = tmp_path / ("B3SUMS" if parts[0] == "b3sum" else "list")
    sums.write_bytes(made.stdout.replace(b"\n", line_end.encode()))
    found = fdf.verify_sums(sums, folder)
    assert (found.error, found.files) == ("", len(names)), found
    (folder / "plain").write_bytes(b"other")
    (folder / "with space").unlink()
    found = fdf.verify_sums(sums, folder)
    assert [one.path for one in found.damaged] == ["plain"]
    assert found.missing == ("with space",)


@pytest.mark.parametrize("program", ["sha256sum", "md5sum", "sha1sum", "sha512sum", "b3sum"])
async def test_the_status_is_that_of_the_program(program: str, tmp_path: Path) -> None:
    skip_without(program)
    make_files(tmp_path, ["a", "b", "c"])
    made = subprocess.run([program, "a", "b", "c"], cwd=tmp_path, check=True, capture_output=True, timeout=60)
    sums = tmp_path / f"{program.upper()}S"
    sums.write_bytes(made.stdout)

    async def same() -> bool:
        check = [program, "--check", "--quiet", sums.name]
        theirs = subprocess.run(check, cwd=tmp_path, capture_output=True, check=False, timeout=60).returncode
        ours = (await command("verify", "--sums", sums.name, cwd=tmp_path)).status
        assert (ours == 0) == (theirs == 0)
        assert ours in {0, 3}
        return ours == 0

    assert await same()
    (tmp_path / "b").write_bytes(b"x")
    assert not await same()
    (tmp_path / "b").unlink()
    assert not await same()


def test_names_may_be_absolute_lead_out_or_be_links_as_for_sha256sum(tmp_path: Path) -> None:
    make_files(tmp_path, ["outside"])
    (tmp_path / "in").mkdir()
    (tmp_path / "in/link").symlink_to("../outside")
    digest = hashlib.sha256((tmp_path / "outside").read_bytes()).hexdigest()
    names = ["../outside", "link", str(tmp_path / "outside")]
    (tmp_path / "list").write_text("".join(f"{digest}  {name}\n" for name in names))
    assert fdf.verify_sums(tmp_path / "list", tmp_path / "in").ok


@pytest.mark.parametrize("name", ["/dev/zero", "pipe", "folder"])
def test_what_is_no_file_is_not_read(name: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "list").write_text(f"{'0' * 64}  {name}\n")
    found = fdf.verify_sums(tmp_path / "list", tmp_path)
    assert [one.path for one in found.damaged] == [name]
    assert "not a file" in found.damaged[0].reason


async def test_missing_files_may_be_ignored_but_not_all_of_them(tmp_path: Path) -> None:
    make_files(tmp_path, ["a"])
    digest = hashlib.md5((tmp_path / "a").read_bytes()).hexdigest()
    (tmp_path / "list").write_text(f"{digest}  a\n{digest}  gone\n")
    assert (await command("verify", "--sums", "list", cwd=tmp_path)).status == 3
    some = await command("verify", "--sums", "list", "--ignore-missing", "--json", cwd=tmp_path)
    assert (some.status, some.report["ignored"], some.report["verified"]) == (0, 1, "md5")
    (tmp_path / "a").unlink()
    none = await command("verify", "--sums", "list", "--ignore-missing", "--json", cwd=tmp_path)
    assert none.status == 5
    assert "none of the files" in none.report["error"]


@pytest.mark.parametrize("text", [b"", b"# only this\n", b"hello\n", b"<html>\n", bytes(1000), b"\xff" * 99])
async def test_a_file_without_a_line_of_a_list_is_an_error(text: bytes, tmp_path: Path) -> None:
    (tmp_path / "list").write_bytes(text)
    result = await command("verify", "--sums", "list", "--json", cwd=tmp_path)
    assert (result.status, result.report["ok"]) == (3, False)
    assert "no digest" in result.report["error"]


async def test_bad_lines_are_told_and_fail_with_strict_only(tmp_path: Path) -> None:
    make_files(tmp_path, ["a"])
    digest = hashlib.sha1((tmp_path / "a").read_bytes()).hexdigest()
    (tmp_path / "list").write_text(f"{digest}  a\nwhat is this?\n")
    lax = await command("verify", "--sums", "list", "--json", cwd=tmp_path)
    assert (lax.status, lax.report["bad_line_count"], lax.report["bad_lines"][0]["line"]) == (0, 1, 2)
    assert (await command("verify", "--sums", "list", "--strict", cwd=tmp_path)).status == 3


def test_a_name_may_end_in_what_also_ends_lines(tmp_path: Path) -> None:
    skip_without("sha256sum")
    make_files(tmp_path, ["end\r"])
    told = subprocess.run(["sha256sum", "-z", "end\r"], cwd=tmp_path, capture_output=True, check=True).stdout
    (tmp_path / "list").write_bytes(told)
    assert fdf.verify_sums(tmp_path / "list", tmp_path).ok


def test_the_list_may_come_through_a_pipe(tmp_path: Path) -> None:
    make_files(tmp_path, ["a"])
    digest = hashlib.sha256((tmp_path / "a").read_bytes()).hexdigest()
    run = [sys.executable, "-m", "fdf256_fast", "verify", "--sums", "-", str(tmp_path), "--json"]
    said = subprocess.run(run, input=f"{digest}  a".encode(), capture_output=True, check=True, timeout=60)
    assert b'"verified": "sha256"' in said.stdout


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM], ids=lambda how: how.name)
@pytest.mark.parametrize("source", ["-", "fifo"])
async def test_whoever_waits_for_a_list_can_be_interrupted(
    source: str, how: signal.Signals, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "fifo")
    run = [sys.executable, "-c", ANNOUNCED, "verify", "--quiet", "--sums", source, str(tmp_path)]
    pipe = subprocess.PIPE
    with subprocess.Popen(run, cwd=tmp_path, stdin=pipe, stdout=pipe, stderr=pipe) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"waiting\n"
            process.send_signal(how)
            assert process.wait(timeout=30) == 130
            assert process.stderr is not None
            assert process.stderr.read() == b"Interrupted. Nothing was changed.\n"
        finally:
            process.kill()


ANNOUNCED = """
import select, sys
from fdf256_fast import foreground, sums, status

class Announced:
    def __init__(self):
        self._poll = select.poll()
        self.register = self._poll.register
    def poll(self, milliseconds):
        print("waiting", flush=True)
        self.poll = self._poll.poll
        return self.poll(milliseconds)

class module:
    POLLIN, poll = select.POLLIN, Announced

sums.select = module
status.run(sys.argv[1:])
"""
"""The command, which says when it waits for a list: until then it is Python that is interrupted."""


@pytest.mark.parametrize("encoding", ["utf-8:strict", "ascii:strict", "utf-8:surrogateescape"])
@pytest.mark.parametrize("is_sound", [True, False])
def test_a_folder_may_be_called_what_no_text_is(is_sound: bool, encoding: str, tmp_path: Path) -> None:
    folder = tmp_path / "s\udcff"
    make_files(folder, ["a"])
    data = (folder / "a").read_bytes() if is_sound else b"another"
    (tmp_path / "L").write_text(f"{hashlib.sha256(data).hexdigest()}  a\n")
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    for run in (["verify", "--sums", "L"], ["verify"]):
        if len(run) == 1:
            (folder / ".fdf256").mkdir()
            shutil.copy(tmp_path / "L", folder / ".fdf256/SHA256SUMS")
        command = [sys.executable, "-m", "fdf256_fast", *run, "s\udcff"]
        said = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, check=False)
        assert said.returncode == (0 if is_sound else 3), said.stderr
        assert b"Traceback" not in said.stderr
        assert (b"s\\udcff" if "strict" in encoding else b"s\xff") in said.stdout or not is_sound


async def test_a_cancelled_call_does_not_wait_for_a_list(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    task = asyncio.create_task(fdf.verify_sums_async(tmp_path / "fifo", tmp_path))
    await asyncio.sleep(0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_a_list_may_come_through_a_named_pipe_late_and_in_pieces(tmp_path: Path) -> None:
    make_files(tmp_path, ["a"])
    os.mkfifo(tmp_path / "fifo")
    digest = hashlib.sha256((tmp_path / "a").read_bytes()).hexdigest()

    def write() -> None:
        time.sleep(0.1)
        with (tmp_path / "fifo").open("w") as out:
            for piece in (digest[:30], digest[30:], "  a\n"):
                out.write(piece)
                out.flush()
                time.sleep(0.1)

    thread = threading.Thread(target=write)
    thread.start()
    assert fdf.verify_sums(tmp_path / "fifo", tmp_path).ok
    thread.join()


def test_crc32_has_a_form_of_its_own(tmp_path: Path) -> None:
    make_files(tmp_path, ["a b"])
    (tmp_path / "a b").write_bytes(b"abc")
    (tmp_path / "list.sfv").write_text(f"; comment\r\na b {zlib.crc32(b'abc'):08X}\r\n")
    assert fdf.verify_sums(tmp_path / "list.sfv", tmp_path).verified == "crc32"


@pytest.mark.parametrize(
    ("name", "length", "algorithm"),
    [
        ("SHA256SUMS", 64, "sha256"),
        ("b3sums.txt", 64, "blake3"),
        ("x.b3", 64, "blake3"),
        ("BLAKE3SUMS", 64, "blake3"),
        ("list", 64, "sha256"),
        ("md5sums.txt", 64, "sha256"),
        ("list", 32, "md5"),
        ("list", 40, "sha1"),
        ("list", 128, "sha512"),
        ("list", 8, "crc32"),
    ],
)
def test_the_algorithm_is_told_by_name_and_length(name: str, length: int, algorithm: str) -> None:
    sums = SumsFile.of(name, f"{'a' * length}  file\n".encode())
    assert named_digests(sums) == {"file": f"{algorithm}:{'a' * length}"}


def test_an_algorithm_that_is_given_decides() -> None:
    data = f"{'a' * 64}  file\n".encode()
    assert named_digests(SumsFile.of("SHA256SUMS", data, "blake3")) == {"file": f"blake3:{'a' * 64}"}
    with pytest.raises(IntegrityError, match="no digest"):
        named_digests(SumsFile.of("SHA256SUMS", data, "md5"))


@pytest.mark.parametrize("name", ["B2SUMS", "SHA384SUMS", "SHA224SUMS", "x.b2", "sha3-256.txt"])
def test_lists_of_unknown_algorithms_are_refused_by_name(name: str) -> None:
    with pytest.raises(UsageError, match="not known"):
        SumsFile.of(name, b"")
    with pytest.raises(UsageError, match="not an algorithm"):
        SumsFile.of("list", b"", "sha3")


def test_a_lone_digest_is_that_of_the_file_it_is_named_after() -> None:
    assert named_digests(SumsFile.of("d/model.bin.sha256", b"a" * 64)) == {"model.bin": f"sha256:{'a' * 64}"}
    with pytest.raises(IntegrityError):
        named_digests(SumsFile.of("list", b"a" * 64))


def test_a_name_with_two_digests_has_none() -> None:
    data = f"{'a' * 64}  x/file\n{'b' * 64}  y/file\n{'c' * 64}  z\n{'d' * 32}  z\n".encode()
    assert named_digests(SumsFile.of("list", data)) == {"z": f"sha256:{'c' * 64}"}


def test_a_list_or_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="none"):
        fdf.verify_sums(tmp_path / "none", tmp_path)
    (tmp_path / "list").write_text(f"{'a' * 64}  file\n")
    with pytest.raises(StorageError, match="folder"):
        fdf.verify_sums(tmp_path / "list", tmp_path / "folder")
