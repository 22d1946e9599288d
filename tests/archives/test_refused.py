"""What is refused, with which words; that nothing is left of it, and nothing published."""

from __future__ import annotations

import io
import resource
import zipfile
import zlib
from typing import TYPE_CHECKING

import pytest

from fdf256_fast import ArchiveError, IntegrityError, Limits, MemberError, fetch
from fdf256_fast._core import Directory, Policy
from tests.archives import hostile
from tests.archives.maker import DEFLATED, ZSTD, Member, archive, zstd_zeros
from tests.archives.unpacking import by_core, core_or_refusal
from tests.integration.oracles import bytes_of, tree_of
from tests.integration.runs import command

if TYPE_CHECKING:
    from pathlib import Path

    from tests.archives.hostile import Hostile

ANY = Policy(portable_names=False)


def ids(one: Hostile) -> str:
    return one.name[:60]


@pytest.mark.parametrize("one", hostile.HOSTILE, ids=ids)
async def test_a_hostile_archive_is_refused_and_nothing_is_published(one: Hostile, tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(one.archive)
    target = tmp_path / "in" / "target"
    with pytest.raises(IntegrityError) as caught:
        await fetch(path.as_uri(), target, extract=True)
    error = caught.value
    assert one.reason in error.message, error.message
    assert isinstance(error, MemberError if one.member else ArchiveError)
    assert error.archive == "a.zip"
    assert error.exit_status == 3
    assert tree_of(target) == {}
    assert {each.name for each in tmp_path.iterdir()} == {"a.zip", "in"}
    assert [each.name for each in (tmp_path / "in").iterdir()] == ["target"]


@pytest.mark.parametrize(
    "one",
    [hostile.NAMES[0], hostile.ANY_NAMES[0], hostile.MEMBERS[0], hostile.ENDS[2], hostile.BOMB],
    ids=ids,
)
async def test_the_command_ends_with_status_3_and_says_why(one: Hostile, tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(one.archive)
    ended = await command("fetch", "--extract", path.as_uri(), "-d", tmp_path / "target", "--json")
    assert (ended.status, ended.report["ok"]) == (3, False)
    assert one.reason in ended.report["error"]
    assert tree_of(tmp_path / "target") == {}


@pytest.mark.parametrize("one", hostile.ANY_NAMES, ids=ids)
def test_any_names_lets_through_what_this_system_can_hold(one: Hostile, tmp_path: Path) -> None:
    assert len(by_core(one.archive, tmp_path / "a", ANY)) >= 2


@pytest.mark.parametrize("one", [*hostile.NAMES, *hostile.MEMBERS, *hostile.ENDS], ids=ids)
def test_any_names_lets_nothing_else_through(one: Hostile, tmp_path: Path) -> None:
    assert isinstance(core_or_refusal(one.archive, tmp_path / "a", ANY), IntegrityError)


async def test_names_that_only_some_systems_hold_are_unpacked_on_request(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(archive([Member("what?", b"1"), Member("README", b"2"), Member("readme", b"3")]))
    refused = await command("fetch", "--extract", path.as_uri(), "-d", tmp_path / "one", "-q")
    assert refused.status == 3
    assert "--any-names" in " ".join(refused.stderr.split())
    done = await command("fetch", "--extract", path.as_uri(), "-d", tmp_path / "two", "-q", "--any-names")
    assert done.status == 0, done.stderr
    assert {*tree_of(tmp_path / "two")} == {"what?", "README", "readme"}


@pytest.mark.parametrize(
    ("option", "enough", "too_little"),
    [("--max-members", "3", "2"), ("--max-unpacked", "2100", "2kB")],
)
async def test_each_limit_is_named_and_can_be_moved(
    option: str, enough: str, too_little: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(archive([Member(name, bytes_of(700)) for name in ("a", "b", "c")]))
    refused = await command("fetch", "--extract", path.as_uri(), "-d", tmp_path / "x", option, too_little)
    assert refused.status == 3
    assert option in " ".join(refused.stderr.split())
    done = await command("fetch", "--extract", path.as_uri(), "-d", tmp_path / "x", option, enough)
    assert done.status == 0, done.stderr


def test_the_ratio_can_be_moved() -> None:
    with pytest.raises(ArchiveError, match="--max-ratio"):
        Directory.parse("a.zip", hostile.BOMB.archive, len(hostile.BOMB.archive))
    parsed = Directory.parse(
        "a.zip", hostile.BOMB.archive, len(hostile.BOMB.archive), Policy(max_ratio=100_000)
    )
    assert isinstance(parsed, Directory)
    assert parsed.unpacked_bytes == 16_000 << 17


@pytest.mark.parametrize("bad", [{"max_ratio": 0}, {"max_members": 0}, {"max_unpacked_bytes": -1}])
def test_limits_that_cannot_be_used_are_refused(bad: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must be 1 to"):
        Limits(**bad)  # type: ignore[arg-type]


@pytest.mark.parametrize("method", [DEFLATED, ZSTD])
def test_a_member_that_unpacks_to_more_than_it_says_is_stopped_there(method: int, tmp_path: Path) -> None:
    """2 MB are declared, and 64 MB or 2 GB would come: memory and disk see no more than the former."""
    if method == ZSTD:
        packed = zstd_zeros(16_000)
    else:
        packer = zlib.compressobj(9, zlib.DEFLATED, -15)
        packed = b"".join(packer.compress(bytes(1 << 24)) for _ in range(4)) + packer.flush()
    lie = {"unpacked_bytes": 2 << 20}
    data = archive([Member("zeros", b"", method, packed=packed, local=lie, central=lie)])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    error = core_or_refusal(data, tmp_path / "a", Policy(max_ratio=1_000_000))
    assert isinstance(error, MemberError)
    assert "more than" in error.reason
    kept = [path.stat().st_size for path in (tmp_path / "a" / "staging").rglob("*") if path.is_file()]
    assert sum(kept) <= 2 << 20
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 << 10  # kB


def test_deep_folders_cost_no_more_memory_than_their_names() -> None:
    """Each of its folders used to be kept as text: a third of a million of them in 0.9 MB."""
    members = [Member(f"{number}/" + "x/" * 250 + "f") for number in range(1500)]
    data = archive(members)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert isinstance(Directory.parse("a.zip", data, len(data)), Directory)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 60 << 10  # kB


def test_two_archives_in_one_folder_must_not_meet(tmp_path: Path) -> None:
    def of(name: str, *names: str) -> Directory:
        data = archive([Member(each, b"1" if each[-1] != "/" else b"") for each in names])
        parsed = Directory.parse(name, data, len(data))
        assert isinstance(parsed, Directory)
        return parsed

    one = of("one.zip", "d/", "d/a", "B", "c/x")
    Directory.check_disjoint([one, of("two.zip", "d/", "d/b", "c/y", "C2")])
    for names, reason in [
        (["d/a"], "occurs twice"),
        (["D/A"], "differ only in case"),
        (["b"], "differ only in case"),
        (["C/y"], "differ only in case"),
        (["d"], "twice"),
        (["b/below"], "needs a directory"),
        (["c"], "needs a directory"),
    ]:
        with pytest.raises(MemberError, match=reason) as caught:
            Directory.check_disjoint([one, of("two.zip", *names)])
        assert "one.zip" in caught.value.message
        assert "two.zip" in caught.value.message


def test_the_overlap_bomb_is_one() -> None:
    """Zipfile of some versions unpacks it: so the bomb of these tests would go off."""
    data = next(one.archive for one in hostile.MEMBERS if one.name == "a quoted overlap bomb")
    with zipfile.ZipFile(io.BytesIO(data)) as opened:
        sizes = [info.file_size for info in opened.infolist()]
        assert sum(sizes) > 19 * 5000
        try:
            contents = opened.read(opened.infolist()[0])
        except zipfile.BadZipFile as error:
            assert "Overlap" in str(error)  # noqa: PT017 - newer versions refuse it too
        else:
            assert len(contents) == sizes[0]
