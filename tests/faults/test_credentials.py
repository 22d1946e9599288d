"""Secrets go to the host they are for and nowhere else: not to other hosts, to the disk, to the screen."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.faults.answers import SECRET as SIGNATURE
from tests.faults.kinds import Act, Fault, Plan, Rule, after, always
from tests.faults.origin import Origin
from tests.faults.worlds import Dataset, World
from tests.integration.runs import Finished, command

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

KEY = "KEY-THAT-NOBODY-MAY-SEE"
PASSWORD = "PASSWORD-THAT-NOBODY-MAY-SEE"
TOKEN = "TOKEN-THAT-NOBODY-MAY-SEE"
SECRETS = (KEY, PASSWORD, TOKEN, SIGNATURE)

GOES_WRONG: dict[str, list[Rule]] = {
    "nothing": [],
    "403 from the middle on": [after(4, Act(Fault.STATUS, status=403))],
    "500": [always(Act(Fault.STATUS, status=500))],
    "reset": [always(Act(Fault.RESET))],
    "garbage": [always(Act(Fault.GARBAGE))],
    "too many headers": [always(Act(Fault.HEADER_FLOOD, count=5000))],
    "gzip": [always(Act(Fault.GZIP))],
    "other length": [always(Act(Fault.LENGTH_ADDED, count=7))],
    "a damaged byte": [always(Act(Fault.CORRUPT, offset=100_000))],
    "a circle": [always(Act(Fault.REDIRECT_LOOP))],
    "to ftp": [always(Act(Fault.REDIRECT_TO, text=f"ftp://user:{PASSWORD}@h/a?x={SIGNATURE}"))],
    "to no address": [always(Act(Fault.REDIRECT_TO, text=f"http://[x/?x={SIGNATURE}"))],
}


def check_silent(finished: Finished, folder: Path) -> None:
    """No secret on the screen, and none in any file."""
    for secret in SECRETS:
        assert secret not in finished.stdout
        assert secret not in finished.stderr
        for path in folder.rglob("*"):
            assert secret not in path.name
            assert not path.is_file() or secret.encode() not in path.read_bytes(), path


def check_loyal(other: Origin) -> None:
    """What another host was asked had none of what was not for it."""
    for one in other.log:
        told = " ".join((*one.headers, *one.headers.values()))
        assert not any(secret in told for secret in (KEY, PASSWORD, TOKEN)), one
        assert "authorization" not in one.headers
        assert "x-key" not in one.headers
        assert "referer" not in one.headers


OPTIONS = ("--retries=0", "--timeout=5", "--connections=4", "--progress=plain", "--json", "-vv")


@pytest.mark.parametrize("wrong", GOES_WRONG)
async def test_headers_and_queries_stay_secret_whatever_goes_wrong(
    wrong: str, worlds: Mapping[str, World], tmp_path: Path
) -> None:
    world, folder = worlds["file with digest"], tmp_path / "goal"
    folder.mkdir()
    # The signed host does what is wrong; a host of its own, to which nothing but the signature may go.
    rules = [always(Act(Fault.SIGNED, count=1000)), *GOES_WRONG[wrong]]
    async with Origin(world.files, Plan(*rules)) as storage:
        signed = always(Act(Fault.SIGNED, text=storage.url))
        async with Origin(world.files, Plan(signed)) as origin:
            url = f"{origin.url}/a.bin?token={TOKEN}"
            headers = (f"--header=Authorization: Bearer {KEY}", f"--header=X-Key: {KEY}")
            finished = await command("fetch", url, *OPTIONS, *headers, "-o", folder / "a.bin")
    assert finished.status == (0 if wrong in {"nothing", "a damaged byte"} else 4), finished.stderr
    assert json.loads(finished.stdout)["ok"] is (finished.status == 0)
    assert origin.log
    assert all(one.headers["authorization"] == f"Bearer {KEY}" for one in origin.log)
    assert all(one.headers["x-key"] == KEY for one in origin.log)
    assert all(TOKEN in one.target for one in origin.log)
    assert storage.log
    check_loyal(storage)
    check_silent(finished, folder)


async def test_user_and_password_in_an_address_stay_there(
    worlds: Mapping[str, World], tmp_path: Path
) -> None:
    world, folder = worlds["file with digest"], tmp_path / "goal"
    folder.mkdir()
    async with Origin(world.files, Plan(after(3, Act(Fault.STATUS, status=404)))) as storage:
        redirect = always(Act(Fault.REDIRECT, text=storage.url))
        async with Origin(world.files, Plan(redirect)) as origin:
            url = f"{origin.url.replace('//', f'//someone:{PASSWORD}@')}/a.bin"
            finished = await command("fetch", url, *OPTIONS, "-o", folder / "a.bin")
    assert finished.status == 4
    assert all(one.headers["authorization"].startswith("Basic ") for one in origin.log)
    check_loyal(storage)
    check_silent(finished, folder)


async def test_netrc_is_for_its_host_only(
    worlds: Mapping[str, World], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, folder = worlds["file with digest"], tmp_path / "goal"
    folder.mkdir()
    netrc = tmp_path / "netrc"
    netrc.write_text(f"machine 127.0.0.1 login someone password {PASSWORD}\n", "utf-8")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    async with Origin(world.files) as storage:
        # Another name for this machine: another host.
        redirect = always(Act(Fault.REDIRECT, text=f"http://localhost:{storage.port}"))
        async with Origin(world.files, Plan(redirect)) as origin:
            finished = await command("fetch", f"{origin.url}/a.bin", *OPTIONS, "-o", folder / "a.bin")
    assert finished.status == 0, finished.stderr
    assert all(one.headers["authorization"].startswith("Basic ") for one in origin.log)
    assert storage.log
    check_loyal(storage)
    check_silent(finished, folder)


@pytest.mark.parametrize("wrong", ["nothing", "403 from the middle on", "a damaged byte"])
async def test_a_dataset_tells_no_secret_either(
    wrong: str, worlds: Mapping[str, World], tmp_path: Path
) -> None:
    world, folder = worlds["dataset"], tmp_path / "goal"
    folder.mkdir()
    assert isinstance(world, Dataset)
    rules = [always(Act(Fault.SIGNED, count=1000)), *GOES_WRONG[wrong]]
    async with Origin(world.files, Plan(*rules)) as storage:
        signed = always(Act(Fault.SIGNED, text=storage.url))
        async with Origin(world.files, Plan(signed)) as origin:
            lines = ['name = "made-up"', 'title = "Made up"']
            for archive in world.catalog([origin.url], 0).archives:
                lines += ["[[archive]]", f'name = "{archive.name}"', 'role = "images"']
                lines += [f'url = "{archive.urls[0]}?token={TOKEN}"', f'digest = "{archive.digest}"']
            catalog = tmp_path / "catalog.toml"
            catalog.write_text("\n".join(lines), "utf-8")
            header = f"--header=Authorization: Bearer {KEY}"
            finished = await command("download", folder, "--catalog", catalog, header, *OPTIONS)
    expected = {"nothing": 0, "403 from the middle on": 4, "a damaged byte": 3}
    assert finished.status == expected[wrong], finished.stderr
    assert all(one.headers["authorization"] == f"Bearer {KEY}" for one in origin.log)
    check_loyal(storage)
    check_silent(finished, folder)
    if finished.status == 0:
        world.check_there(folder, 0)
