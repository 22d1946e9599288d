"""A small archive at an origin, runs that are cut off half-way, and what a machine does to their remains."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any
from zipfile import ZipFile

import pytest

from fdf256_fast import Limits, TransferError, install
from fdf256_fast.catalog import parse_catalog
from tests.integration.oracles import bytes_of, unzipped, write_zip
from tests.integration.runs import Recorder

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from pathlib import Path

    from fdf256_fast.catalog import Catalog
    from fdf256_fast.origin import Origin
    from fdf256_fast.report import Report
    from tests.integration.oracles import Tree

FILES, FILE_BYTES = 60, 30_000
ALONE = Limits(connections=1, retries=0)
"""One span after the other, and no second try when the network is gone."""

ASKED_ANYWAY_BYTES = 100_000
"""The end of the archive, looked at again at each start, and a local header here and there."""


@dataclass(frozen=True, slots=True)
class Site:
    """One archive: where it is served from, and what it unpacks to."""

    folder: Path
    archive: Path
    tree: Tree
    target: Path

    @property
    def size(self) -> int:
        return self.archive.stat().st_size

    @property
    def home(self) -> Path:
        return self.target / ".fdf256"

    @property
    def staged(self) -> list[Path]:
        return sorted(path for path in (self.home / "staging").rglob("*.bin"))

    @property
    def kept(self) -> list[Path]:
        """Of the staged files, those that the journal has as unpacked: on a busy machine not all of them."""
        with ZipFile(self.archive) as archive:
            starts = {member.filename: member.header_offset for member in archive.infolist()}
        offsets = sorted([*starts.values(), self.size])
        after = dict(pairwise(offsets))
        staging = self.home / "staging" / "a"
        unpacked = self.state["passed"]
        return [path for path in self.staged if after[starts[str(path.relative_to(staging))]] <= unpacked]

    @property
    def frontier(self) -> int:
        """The offset below which the journal has everything unpacked and in the digest."""
        state = self.state
        positions = [state["passed"], state["file"]]
        if state["digest"] is not None:
            positions.append(state["digest"]["position"])
        return int(min(position for position in positions if position is not None))

    @property
    def state(self) -> Any:
        entry = json.loads((self.home / "journal").read_text())["archives"]["a"]
        return json.loads(entry["state"])

    def catalog(self, origin: Origin, *, digest: bool = True) -> Catalog:
        lines = ['name = "x"', 'title = "X"', "[[archive]]", 'name = "a"', 'role = "images"']
        lines.append(f'url = "{origin.url}/a.zip"')
        if digest:
            lines.append(f'digest = "md5:{hashlib.md5(self.archive.read_bytes()).hexdigest()}"')
        return parse_catalog("\n".join(lines), "test catalog")

    async def begin(
        self,
        origin: Origin,
        catalog: Catalog,
        *,
        keep_archives: bool = False,
        share: float = 0.6,
        limits: Limits = ALONE,
    ) -> None:
        """A run whose network is gone after ``share`` of it."""
        await cut_off(
            origin,
            int(share * self.size),
            install(self.target, catalog=catalog, limits=limits, keep_archives=keep_archives),
        )
        # On a busy machine what had come may not have been looked at yet, and there is nothing to go on from.
        for _ in range(3):
            if self.frontier >= self.size // 4:
                break
            run = install(self.target, catalog=catalog, limits=limits, keep_archives=keep_archives)
            await cut_off(origin, self.size // 8, run)

    async def finish(self, catalog: Catalog, *, keep_archives: bool = False) -> tuple[Report, list[str]]:
        """The next run, to its end; what it reported, and its messages."""
        recorder = Recorder()
        report = await install(self.target, catalog=catalog, progress=recorder, keep_archives=keep_archives)
        return report, recorder.messages


async def cut_off(origin: Origin, after_bytes: int, run: Coroutine[object, object, object]) -> None:
    """Let the network go after so many bytes; afterwards it is there again."""
    origin.cut(after_bytes)
    with pytest.raises(TransferError):
        await run
    origin.restore()


def make_site(tmp_path: Path, members: dict[str, bytes] | None = None, method: int = 0) -> Site:
    folder = tmp_path / "served"
    folder.mkdir()
    members = members or {f"train/images/{i:03}.bin": bytes_of(FILE_BYTES, i) for i in range(FILES)}
    archive = write_zip(folder / "a.zip", members, method)
    return Site(folder, archive, unzipped([archive], tmp_path / "unzipped"), tmp_path / "target")


def start_machine_anew(monkeypatch: pytest.MonkeyPatch, boot: str = "another start") -> None:
    """From now on the machine has been started another time than the one that wrote the journal."""
    monkeypatch.setattr("fdf256_fast.journal.boot_id", lambda: boot)
    monkeypatch.setattr("fdf256_fast.lock.boot_id", lambda: boot)
