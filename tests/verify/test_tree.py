"""``fdf256 verify``: every kind of damage, and manifests that somebody changed."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fdf256_fast as fdf
from fdf256_fast._core import Audit, Job
from fdf256_fast.auditing import told
from fdf256_fast.errors import IntegrityError, StorageError, UsageError
from fdf256_fast.tree import Checking, verify_tree
from fdf256_fast.workspace import Workspace
from tests.integration.oracles import busy_threads, bytes_of
from tests.integration.runs import Recorder, command
from tests.verify.trees import FILES, make_tree, manifest_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from blockbuster import BlockBuster

PATH = "train/images/7.png"


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return make_tree(tmp_path / "target")


def replaced(path: Path, make: Callable[[Path], object]) -> None:
    path.unlink()
    make(path)


def bind_socket(path: Path) -> None:
    # Its address may be no longer than 107 bytes.
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(os.path.relpath(path))


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "a flipped bit": (lambda path: path.write_bytes(bytes([1]) + path.read_bytes()[1:]), "bytes"),
    "one byte more": (lambda path: path.write_bytes(path.read_bytes() + b"x"), "bytes"),
    "one byte less": (lambda path: path.write_bytes(path.read_bytes()[:-1]), "bytes"),
    "nothing in it": (lambda path: path.write_bytes(b""), "bytes"),
    "a link": (lambda path: replaced(path, lambda at: at.symlink_to("8.png")), "a symbolic link"),
    "a link to nothing": (lambda path: replaced(path, lambda at: at.symlink_to("none")), "a symbolic link"),
    "a folder": (lambda path: replaced(path, lambda at: at.mkdir()), "a folder"),
    "a pipe": (lambda path: replaced(path, os.mkfifo), "a pipe"),
    "a socket": (lambda path: replaced(path, bind_socket), "a socket"),
}


@pytest.mark.parametrize("kind", DAMAGE)
async def test_each_kind_of_damage_is_found_and_no_other_file_is_blamed(kind: str, target: Path) -> None:
    make, words = DAMAGE[kind]
    make(target / PATH)
    found = await fdf.verify_async(target)
    assert [one.path for one in found.damaged] == [PATH]
    assert words in found.damaged[0].reason
    assert found.damaged[0].expected == f"sha256:{hashlib.sha256(FILES[PATH]).hexdigest()}"
    assert (found.missing, found.extra, found.ok, found.verified) == ((), (), False, "none")
    if words == "bytes":
        now = hashlib.sha256((target / PATH).read_bytes()).hexdigest()
        assert found.damaged[0].computed == f"sha256:{now}"


async def test_an_untouched_tree_is_right_and_sizes_are_written_down_for_the_next_time(target: Path) -> None:
    found = await fdf.verify_async(target)
    assert (found.ok, found.verified, found.files) == (True, "sha256", len(FILES))
    assert found.bytes == sum(map(len, FILES.values()))
    lines = (target / ".fdf256/SIZES").read_text().splitlines()
    manifest = manifest_of(target).read_bytes()
    assert lines == [
        f"SHA256SUMS sha256:{hashlib.sha256(manifest).hexdigest()}",
        *(f"{len(data)}  {path}" for path, data in FILES.items()),
    ]


async def test_a_missing_file_and_a_missing_folder_are_missing(target: Path) -> None:
    (target / PATH).unlink()
    shutil.rmtree(target / "val")
    found = await fdf.verify_async(target)
    assert set(found.missing) == {PATH, *(path for path in FILES if path.startswith("val/"))}
    assert found.damaged == ()


async def test_a_folder_that_is_a_link_is_not_followed(target: Path) -> None:
    (target / "val").rename(target.parent / "val")
    (target / "val").symlink_to("../val")
    found = await fdf.verify_async(target)
    assert {one.path for one in found.damaged} == {path for path in FILES if path.startswith("val/")}
    assert "symbolic link" in found.damaged[0].reason
    assert found.extra == ("val",)


async def test_what_nobody_expects_is_told_and_fails_with_strict_only(target: Path) -> None:
    for path in ("notes", "train/images/new.png", "other/deep/file", "train/.hidden"):
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        (target / path).write_bytes(b"x")
    (target / "val/link").symlink_to("/etc")
    (target / "empty").mkdir()
    found = await fdf.verify_async(target)
    assert found.ok
    extra = ("notes", "other/deep/file", "train/.hidden", "train/images/new.png", "val/link")
    assert found.extra == extra
    strict = await command("verify", target, "--strict", "--json")
    assert (strict.status, strict.report["ok"], tuple(strict.report["extra"])) == (3, False, extra)
    assert "5 files are not expected" in strict.report["error"]


async def test_a_quick_look_finds_what_sizes_can_tell(target: Path) -> None:
    (target / PATH).write_bytes(bytes(len(FILES[PATH])))
    (target / "val/images/1.png").write_bytes(b"")
    (target / "val/images/2.png").write_bytes(b"short")
    unknown = await fdf.verify_async(target, quick=True)
    assert unknown.checked == "presence"
    assert [one.path for one in unknown.damaged] == ["val/images/1.png"]
    for path, data in FILES.items():
        (target / path).write_bytes(data)
    await fdf.verify_async(target)
    (target / PATH).write_bytes(bytes(len(FILES[PATH])))
    (target / "val/images/2.png").write_bytes(b"short")
    known = await fdf.verify_async(target, quick=True)
    assert (known.checked, known.bytes) == ("size", 0)
    assert [(one.path, one.reason) for one in known.damaged] == [
        ("val/images/2.png", "it has 5 bytes, not 502")
    ]


@pytest.mark.parametrize(
    "text", [b"", b"hello", b"\xff\n", b"SHA256SUMS sha256:0\n5  train/images/1.png\n", bytes(100)]
)
async def test_sizes_of_another_manifest_or_none_at_all_do_no_harm(text: bytes, target: Path) -> None:
    (target / ".fdf256/SIZES").write_bytes(text)
    found = await fdf.verify_async(target, quick=True)
    assert (found.ok, found.checked) == (True, "presence")


async def test_sizes_that_somebody_changed_are_at_worst_wrong_about_sizes(target: Path) -> None:
    await fdf.verify_async(target)
    sizes = target / ".fdf256/SIZES"
    head, *lines = sizes.read_bytes().splitlines(keepends=True)
    sizes.write_bytes(
        head + b"x  a\n-1  train/images/1.png\n" + lines[3] + b"99  ../x\n\xff\n" + lines[0][:3]
    )
    found = await fdf.verify_async(target, quick=True)
    assert (found.ok, found.checked) == (True, "presence")
    assert (await fdf.verify_async(target)).ok


@pytest.mark.parametrize(
    "path", ["../outside", "/etc/passwd", "train/../../outside", ".fdf256/lock", "train//x", "", "a\\b", "a/"]
)
async def test_a_manifest_cannot_lead_out_of_the_target(path: str, target: Path) -> None:
    digest = hashlib.sha256(b"secret").hexdigest()
    (target.parent / "outside").write_bytes(b"secret")
    with manifest_of(target).open("a") as manifest:
        manifest.write(f"{digest}  {path}\n")
    found = await fdf.verify_async(target)
    assert [line.line for line in found.bad_lines] == [len(FILES) + 1]
    assert (found.ok, found.files, found.damaged) == (False, len(FILES), ())
    assert "1 line of the manifest cannot be used" in found.error


async def test_lines_that_are_none_and_paths_that_come_twice_are_told(target: Path) -> None:
    lines = manifest_of(target).read_text().splitlines(keepends=True)
    changed = [*lines, "\n", lines[3].replace("  ", " *"), f"{'0' * 64}  {PATH}\n", "x" * 500 + "\n"]
    manifest_of(target).write_text("".join(changed))
    result = await command("verify", target, "--json")
    assert result.status == 3
    told = {one["line"]: one["reason"] for one in result.report["bad_lines"]}
    number = len(lines)
    assert told.keys() == {number + 2, number + 3, number + 4}
    assert "twice" in told[number + 3]
    assert result.report["damaged"] == []


@settings(max_examples=60)
@given(st.binary(max_size=400))
def test_any_bytes_for_a_manifest_are_told_apart_from_one(data: bytes) -> None:
    audit = Audit("/nowhere", data, is_manifest=True)
    lines = [line for line in data.split(b"\n") if line]
    assert audit.files + audit.problem_count == len(lines)


async def test_names_are_never_printed_raw(target: Path) -> None:
    name = "\x1b[2J\u202egnp.exe"
    (target / "train" / name).write_bytes(b"x")
    result = await command("verify", target, "--strict")
    assert result.status == 3
    assert "\x1b" not in result.stdout
    assert "\\x1b[2J\\u202egnp.exe" in result.stdout.replace("\n", "")


async def test_a_long_list_is_cut_for_people_and_whole_in_json(target: Path) -> None:
    for number in range(70):
        (target / f"extra{number:02}").write_bytes(b"")
    people = await command("verify", target, "--strict")
    assert "and 20 more" in people.stdout
    assert "extra49" in people.stdout
    assert "extra50" not in people.stdout
    assert len((await command("verify", target, "--json")).report["extra"]) == 70


async def test_a_target_that_is_not_there_or_is_a_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    for name in ("none", "file"):
        result = await command("verify", tmp_path / name, "--json")
        assert (result.status, result.report["ok"]) == (5, False)
        assert name in result.report["error"]
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


async def test_a_manifest_that_cannot_be_read_is_an_error(target: Path) -> None:
    manifest_of(target).unlink()
    manifest_of(target).mkdir()
    with pytest.raises(StorageError, match="SHA256SUMS"):
        await fdf.verify_async(target)


def test_files_and_folders_that_may_not_be_read_are_damaged(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (target / PATH).chmod(0)
    (target / "val").chmod(0)
    manifest = manifest_of(target).read_bytes()
    user = os.geteuid()
    target.chmod(0o755)
    monkeypatch.chdir(target)
    audit = Audit(".", manifest, is_manifest=True)
    if user == 0:
        # Nobody refuses root anything.
        os.seteuid(65534)
    try:
        audit.run(Job(), 2, is_closed=True, finds_extra=True)
    finally:
        os.seteuid(user)
        (target / "val").chmod(0o700)
    missing, damaged = told(audit)
    reasons = {one.path: one.reason for one in damaged}
    assert "Permission denied" in reasons[PATH]
    assert "Permission denied" in reasons["val"]
    assert reasons.keys() == {PATH, "val", *(path for path in FILES if path.startswith("val/"))}
    assert missing == ()


async def test_nothing_is_written_into_a_tree_that_is_locked(target: Path) -> None:
    async with Workspace.of(target).locked():
        assert (await fdf.verify_async(target)).ok
    assert not (target / ".fdf256/SIZES").exists()


async def test_forgotten_images_are_not_expected_and_are_told_when_they_come_back(target: Path) -> None:
    (target / ".fdf256/forgotten").write_text(f"{PATH}\ntrain/images/999.png\n")
    returned = await command("verify", target, "--json")
    assert (returned.status, returned.report["returned"]) == (3, [PATH])
    (target / PATH).unlink()
    found = await fdf.verify_async(target)
    assert (found.ok, found.files) == (True, len(FILES) - 1)
    (target / "train/images/00999.png").write_bytes(b"x")
    assert (await fdf.verify_async(target)).returned == ("train/images/00999.png",)
    (target / ".fdf256/forgotten").write_text("../x\n")
    with pytest.raises(IntegrityError, match="line 1 is no image"):
        await fdf.verify_async(target)


def test_it_agrees_with_sha256sum_on_a_tree_of_many_files(tmp_path: Path) -> None:
    files = {f"train/images/{number}.png": bytes_of(50 + number % 200, number) for number in range(20_000)}
    target = make_tree(tmp_path / "target", files)
    damaged = [f"train/images/{number}.png" for number in range(0, 20_000, 1111)]
    for path in damaged:
        (target / path).write_bytes(files[path] + b"x")
    found = fdf.verify(target)
    check = ["sha256sum", "--check", "--quiet", ".fdf256/SHA256SUMS"]
    said = subprocess.run(check, cwd=target, capture_output=True, text=True, check=False, timeout=60)
    assert said.stdout.splitlines() == [f"{one.path}: FAILED" for one in found.damaged]
    assert [one.path for one in found.damaged] == damaged
    assert found.files == 20_000


def test_the_list_takes_no_more_than_150_bytes_a_file(tmp_path: Path) -> None:
    count = 400_000
    lines = "".join(f"{number:064x}  train/images/{number}.png\n" for number in range(count))
    (tmp_path / "list").write_text(lines)
    measure = """
import re, sys
from fdf256_fast._core import Audit
def peak():
    return int(re.search(r"VmRSS:\\s+(\\d+) kB", open("/proc/self/status").read())[1]) * 1024
data = open(sys.argv[1], "rb").read()
before = peak()
audit = Audit(".", data, is_manifest=True)
print(peak() - before, audit.files)
"""
    run = [sys.executable, "-c", measure, str(tmp_path / "list")]
    taken, files = map(int, subprocess.run(run, check=True, capture_output=True, timeout=60).stdout.split())
    assert files == count
    assert taken <= 150 * count


async def test_a_cancelled_look_ends_at_once_and_leaves_nothing(tmp_path: Path) -> None:
    target = make_tree(
        tmp_path / "target", {f"{number}.bin": bytes_of(40_000_000, number) for number in (1, 2)}
    )
    home = target / ".fdf256"
    cancelled = 0
    for turns in (0, 1, 2, 3, 10, 30):
        task = asyncio.create_task(fdf.verify_async(target))
        for _ in range(turns):
            await asyncio.sleep(0.001)
        task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            cancelled += 1
        assert busy_threads() == []
        # On a fast machine the later ones come too late, and the sizes are written down.
        for name in ("SIZES", "lock"):
            (home / name).unlink(missing_ok=True)
        assert {path.name for path in home.iterdir()} == {"SHA256SUMS", "installed.json"}
    assert cancelled >= 3


@pytest.mark.parametrize("workers", [1, 16])
def test_few_open_files_are_enough(workers: int, tmp_path: Path) -> None:
    files = {f"{number % 50}/{number % 7}/{number}": bytes_of(number % 999, number) for number in range(2000)}
    target = make_tree(tmp_path / "target", files)
    run = f"ulimit -n 64; exec '{sys.executable}' -m fdf256_fast verify '{target}' --workers {workers} --json"
    said = subprocess.run(["bash", "-c", run], check=False, capture_output=True, timeout=60)
    assert json.loads(said.stdout)["error"] is None, said.stderr


async def test_progress_counts_files_and_bytes(target: Path) -> None:
    recorder = Recorder()
    await fdf.verify_async(target, progress=recorder)
    assert recorder.last is not None
    (shown,) = recorder.last.archives
    assert (shown.unpacked, shown.members, shown.state) == (len(FILES), len(FILES), "done")
    assert shown.arrived == sum(map(len, FILES.values()))


async def test_it_works_inside_a_running_loop(target: Path, loop_watch: BlockBuster) -> None:
    # To block is what this call is for.
    loop_watch.functions["threading.Lock.acquire"].can_block_in("fdf256_fast/blocking.py", "call")
    assert fdf.verify(str(target)).ok


async def test_the_command_prints_one_object(target: Path) -> None:
    result = await command("verify", target, "--json")
    assert result.status == 0, result.stderr
    report = result.report
    assert list(report)[:3] == ["ok", "error", "target"]
    assert (report["ok"], report["error"], report["verified"]) == (True, None, "sha256")
    people = await command("verify", target)
    assert "53 files are as they should be (sha256)" in people.stdout
    assert json.loads(result.stdout) == report


COMMON = [
    "ok",
    "error",
    "target",
    "archives",
    "files",
    "bytes_downloaded",
    "bytes_resumed",
    "seconds",
    "retries",
    "verified",
]
"""What every command's object has."""


@pytest.mark.parametrize(
    "arguments",
    [
        ("verify",),
        ("forget", "--ids", "ids"),
        ("verify", "--sums", "none"),
        ("download", "--catalog", "none"),
    ],
)
async def test_the_object_has_what_all_of_them_have_and_names_the_target_also_on_failure(
    arguments: tuple[str, ...], target: Path, tmp_path: Path
) -> None:
    (tmp_path / "ids").write_text("train/3\n")
    done = await command(*arguments, target, "--json", cwd=tmp_path)
    assert done.report["ok"] is ("none" not in arguments)
    for folder in (target, tmp_path / "nowhere"):
        done = await command(*arguments, folder, "--json", cwd=tmp_path)
        assert set(COMMON) <= done.report.keys()
        assert done.report["target"] == str(folder)
    assert (done.status, done.report["ok"]) == (2 if "download" in arguments else 5, False)


async def test_options_that_do_not_go_together_are_refused(target: Path) -> None:
    for arguments in (["--algorithm", "md5"], ["--sums", "x", "--quick"], ["--sums", "x", "--repair"]):
        result = await command("verify", target, *arguments)
        assert result.status == 2, arguments


async def test_an_audit_that_was_cancelled_before_it_began_does_nothing(target: Path) -> None:
    job = Job()
    job.cancel()
    audit = Audit(target, manifest_of(target).read_bytes(), is_manifest=True)
    with pytest.raises(asyncio.CancelledError):
        audit.run(job, 2)


async def test_quick_and_repair_need_a_manifest(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    for checking in (Checking(is_quick=True), Checking(repairs=True)):
        with pytest.raises(UsageError, match="manifest"):
            await verify_tree(tmp_path, checking, fdf.Progress())


@pytest.mark.parametrize("kept", [0, 3])
def test_a_manifest_that_lost_lines_does_not_pass(kept: int, tmp_path: Path) -> None:
    target = make_tree(tmp_path / "target", {f"{number}.bin": bytes_of(100, number) for number in range(6)})
    manifest = target / ".fdf256" / "SHA256SUMS"
    lines = manifest.read_bytes().splitlines(keepends=True)
    assert fdf.verify(target).ok
    manifest.write_bytes(b"".join(lines[:kept]))
    found = fdf.verify(target)
    assert not found.ok
    assert "lines, and 6 files" in found.error
    assert found.verified == "none"
    assert not fdf.verify(target, quick=True).ok
