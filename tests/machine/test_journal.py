"""What lies in the workspace may be torn, of another version, or tampered with: never a wrong file for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fdf256_fast import fetch, install
from fdf256_fast.journal import _check, read_journal
from fdf256_fast.origin import Origin
from tests.integration.oracles import bytes_of, check_installed
from tests.integration.runs import Recorder
from tests.machine.sites import ALONE, Site, cut_off, make_site

WRONG: list[Any] = [None, -1, 2**63, 10**30, 1.5, True, "", "../../x", [], ["../../x"], {}, {"a": []}]


def set_field(raw: dict[str, Any], path: tuple[str, ...], value: object, *, sign: bool) -> None:
    """Change a field; with ``sign`` as somebody would who knows how the digests are made."""
    inner = raw
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    if sign:
        for name, entry in raw["archives"].items():
            if isinstance(entry, dict):
                entry.pop("check", None)
                entry["check"] = _check(name, entry)
        raw["check"] = _check("", {key: raw.get(key) for key in ("version", "boot", "publishing")})


HEAD = [("version",), ("boot",), ("publishing",), ("check",)]
FIELDS = (
    "identity total validators directory_start end state verified source digest members "
    "doubtful crc32_only check"
)
ENTRY = [("archives", "a", name) for name in FIELDS.split()]


async def half_done(tmp_path: Path, origin: Origin, site: Site) -> dict[str, Any]:
    await site.begin(origin, site.catalog(origin))
    raw: dict[str, Any] = json.loads((site.home / "journal").read_text())
    return raw


async def test_a_journal_cut_off_at_any_byte_is_read_without_an_error(tmp_path: Path) -> None:
    site = make_site(tmp_path)
    async with Origin(site.folder) as origin:
        await half_done(tmp_path, origin, site)
    text = (site.home / "journal").read_bytes()
    torn = tmp_path / "torn"
    for length in range(len(text)):
        torn.write_bytes(text[:length])
        journal = await read_journal(torn)
        assert journal.problem
        assert not journal.entries
    assert (await read_journal(site.home / "journal")).entries


@pytest.mark.parametrize("sign", [False, True], ids=["plain", "signed"])
@pytest.mark.parametrize("path", [*HEAD, *ENTRY], ids=lambda path: path[-1])
async def test_no_value_of_any_field_leads_to_an_error_or_out_of_the_workspace(
    path: tuple[str, ...], sign: bool, tmp_path: Path
) -> None:
    site = make_site(tmp_path)
    async with Origin(site.folder) as origin:
        raw = await half_done(tmp_path, origin, site)
    for value in WRONG:
        changed = json.loads(json.dumps(raw))
        set_field(changed, path, value, sign=sign and path[-1] != "check")
        (tmp_path / "journal").write_text(json.dumps(changed))
        journal = await read_journal(tmp_path / "journal")
        for name, entry in journal.entries.items():
            assert name == "a"
            assert entry.total is None or 0 <= entry.total < 2**63
        assert set(journal.publishing) <= {name for name, entry in journal.entries.items() if entry.verified}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("archives", "a", "state"), "{}"),
        (("archives", "a", "state"), None),
        (("archives", "a", "total"), 17),
        (("archives", "a", "verified"), "md5:00"),
        (("archives", "a", "end"), "00"),
        (("archives", "a", "directory_start"), 5),
        (("archives", "a", "identity"), "../../../x md5:0"),
        (("publishing",), ["a"]),
        (("publishing",), ["../../x"]),
    ],
    ids=str,
)
@pytest.mark.parametrize("sign", [False, True], ids=["plain", "signed"])
async def test_a_run_after_tampering_ends_in_the_right_tree(
    path: tuple[str, ...], value: object, sign: bool, tmp_path: Path
) -> None:
    site = make_site(tmp_path)
    bait = tmp_path / "x"
    bait.mkdir()
    (bait / "precious").write_bytes(b"1")
    async with Origin(site.folder) as origin:
        raw = await half_done(tmp_path, origin, site)
        set_field(raw, path, value, sign=sign)
        (site.home / "journal").write_text(json.dumps(raw))
        _, messages = await site.finish(site.catalog(origin))
    assert messages or sign
    assert (bait / "precious").read_bytes() == b"1"
    check_installed(site.target, site.tree)


@pytest.mark.parametrize("name", ["../../x", "../x", "/tmp/x", "..", "", "a/../../x"])
async def test_an_archive_in_the_journal_that_is_named_like_a_path_removes_nothing(
    name: str, tmp_path: Path
) -> None:
    site = make_site(tmp_path)
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "precious").write_bytes(b"1")
    (site.target.parent / "target").mkdir()
    (site.target / "x").mkdir()
    (site.target / "x" / "precious").write_bytes(b"2")
    tree = site.tree | {"x": "a folder"}
    async with Origin(site.folder) as origin:
        raw = await half_done(tmp_path, origin, site)
        entry = dict(raw["archives"]["a"])
        raw["archives"][name] = entry | {"identity": f"{name} x"}
        set_field(raw, ("boot",), raw["boot"], sign=True)
        (site.home / "journal").write_text(json.dumps(raw))
        report, _ = await site.finish(site.catalog(origin))
    assert report.bytes_resumed > 0  # what was sound is kept
    assert (tmp_path / "x" / "precious").read_bytes() == b"1"
    assert (site.target / "x" / "precious").read_bytes() == b"2"
    assert tree.keys() <= {path.relative_to(site.target).as_posix() for path in site.target.rglob("*")}


@pytest.mark.parametrize("field", ["passed", "position", "file", "total", "unpacked"])
@pytest.mark.parametrize("value", [-1, 0, 1000, 10**6, 2**64, "x", None])
async def test_a_state_with_other_numbers_never_gives_another_tree(
    field: str, value: object, tmp_path: Path
) -> None:
    site = make_site(tmp_path, {f"{i}.bin": bytes_of(20_000, i) for i in range(20)})
    async with Origin(site.folder) as origin:
        raw = await half_done(tmp_path, origin, site)
        state = json.loads(raw["archives"]["a"]["state"])
        inner = state["digest"] if field == "position" else state
        inner[field] = value
        set_field(raw, ("archives", "a", "state"), json.dumps(state), sign=True)
        (site.home / "journal").write_text(json.dumps(raw))
        await site.finish(site.catalog(origin))
    check_installed(site.target, site.tree)


async def test_a_newer_version_is_not_read_and_the_run_says_so(tmp_path: Path) -> None:
    site = make_site(tmp_path)
    async with Origin(site.folder) as origin:
        raw = await half_done(tmp_path, origin, site)
        set_field(raw, ("version",), 3, sign=True)
        (site.home / "journal").write_text(json.dumps(raw))
        report, messages = await site.finish(site.catalog(origin))
    assert report.bytes_resumed == 0
    assert any("another version" in message for message in messages)
    check_installed(site.target, site.tree)


async def test_thousands_of_brackets_are_no_journal_and_no_traceback(tmp_path: Path) -> None:
    site = make_site(tmp_path)
    async with Origin(site.folder) as origin:
        await half_done(tmp_path, origin, site)
        (site.home / "journal").write_text("[" * 1_000_000)
        await site.finish(site.catalog(origin))
    check_installed(site.target, site.tree)


# ---- what is installed -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"{",
        b"[" * 100_000,
        b'{"version": 1, "archives": {"a": 1}}',
        b'{"version": 1, "archives": {"a": {}}, "files": 1}',
        b'{"version": 1, "archives": {}, "files": "x"}',
        b"\xff\xfe",
    ],
    ids=range(7),
)
async def test_a_damaged_record_is_none_and_the_dataset_is_installed_again(
    damage: bytes, tmp_path: Path
) -> None:
    site = make_site(tmp_path)
    async with Origin(site.folder) as origin:
        await install(site.target, catalog=site.catalog(origin))
        (site.home / "installed.json").write_bytes(damage)
        report, _ = await site.finish(site.catalog(origin))
        assert not report.already_installed
        check_installed(site.target, site.tree)
        assert (await site.finish(site.catalog(origin)))[0].already_installed


@pytest.mark.parametrize("damage", ["torn", "empty", "binary", "path", "short"])
async def test_a_damaged_manifest_is_not_believed(damage: str, tmp_path: Path) -> None:
    site = make_site(tmp_path)
    async with Origin(site.folder) as origin:
        await install(site.target, catalog=site.catalog(origin))
        manifest = site.home / "SHA256SUMS"
        sound = manifest.read_bytes()
        lines = sound.splitlines(keepends=True)
        manifest.write_bytes(
            {
                "torn": sound[:-30],
                "empty": b"",
                "binary": b"\xff\x00\xfe" * 100,
                "path": sound + b"0" * 64 + b"  ../../../etc/nothing\n",
                "short": b"".join(lines[1:]),
            }[damage]
        )
        report, _ = await site.finish(site.catalog(origin))
        assert not report.already_installed
    same = sorted(line for line in manifest.read_bytes().splitlines() if b"../" not in line)
    assert same == sorted(sound.splitlines())


async def test_the_catalog_is_recorded_also_when_another_run_publishes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = make_site(tmp_path)

    def die(*_: object) -> int:
        raise OSError("dead")

    async with Origin(site.folder) as origin:
        catalog = site.catalog(origin)
        with monkeypatch.context() as patch:
            patch.setattr("fdf256_fast.installation.finish_publishing", die)
            with pytest.raises(OSError, match="dead"):
                await install(site.target, catalog=catalog)
        await install(site.target, catalog=catalog)
    record = json.loads((site.home / "installed.json").read_text("utf-8"))
    assert record["catalog"] == str(Path.cwd() / catalog.source)


async def test_a_lost_manifest_in_the_middle_of_publishing_is_not_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = make_site(tmp_path)

    def die(*_: object) -> int:
        raise OSError("dead")

    async with Origin(site.folder) as origin:
        with monkeypatch.context() as patch:
            patch.setattr("fdf256_fast.installation.finish_publishing", die)
            with pytest.raises(OSError, match="dead"):
                await install(site.target, catalog=site.catalog(origin))
        (site.home / "SHA256SUMS.next").unlink()
        before = origin.bytes_sent
        await site.finish(site.catalog(origin))
        assert origin.bytes_sent - before < 10_000
    check_installed(site.target, site.tree)


# ---- fetch -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("sign", [False, True], ids=["plain", "signed"])
@pytest.mark.parametrize("value", [b"", "{}", -1, "../../x", None, {"a": 1}], ids=str)
async def test_a_tampered_journal_of_a_part_never_gives_another_file(
    value: Any, sign: bool, tmp_path: Path
) -> None:
    content = bytes_of(3_000_000)
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "a.bin").write_bytes(content)
    goal = tmp_path / "a.bin"
    async with Origin(tmp_path / "served") as origin:
        await cut_off(origin, 2_000_000, fetch(f"{origin.url}/a.bin", goal, limits=ALONE))
        journal = tmp_path / "a.bin.part.journal"
        if isinstance(value, bytes):
            journal.write_bytes(value)
        else:
            raw = json.loads(journal.read_text())
            for field in ("state", "total", "validators"):
                raw["archives"]["a.bin"][field] = value
            set_field(raw, ("boot",), raw["boot"], sign=sign)
            journal.write_text(json.dumps(raw))
        recorder = Recorder()
        await fetch(f"{origin.url}/a.bin", goal, progress=recorder)
    assert goal.read_bytes() == content
    assert {path.name for path in tmp_path.iterdir()} == {"served", "a.bin"}
