"""The ways to use the command that are killed: what each begins with, and what must come of it."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import random
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fdf256_fast.origin import Origin
from tests.crash.kills import Contents, Scenario, Zygote, any_of, unpacked
from tests.integration.oracles import bytes_of
from tests.servers import python_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

QUIET = ("--progress", "none")
SMALL = ("--memory", "4MiB")
"""The least there may be: a member of a few MB does not fit into the window then."""


@dataclass(frozen=True, slots=True)
class Size:
    """How much there is to kill: ``members`` in each of ``archives``, of so many bytes on average."""

    archives: int = 3
    members: int = 8
    member_bytes: int = 3_000
    large_bytes: int = 0
    """Of one member more in the last archive, for the path of members that do not fit into the window."""


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a dataset: archives in a folder, and a catalog for wherever they are served."""

    folder: Path
    archives: list[Path]

    @property
    def contents(self) -> Contents:
        """What it unpacks to."""
        return unpacked(self.archives)

    def catalog(self, url: str) -> Path:
        """A catalog file with the archives at ``url``."""
        lines = ['name = "killed"', 'title = "To be killed"']
        for path in self.archives:
            digest = hashlib.md5(path.read_bytes()).hexdigest()
            lines += ["", "[[archive]]", f'name = "{path.stem}"', 'role = "images"']
            lines += [f"url = {json.dumps(f'{url}/{path.name}')}", f'digest = "md5:{digest}"']
        catalog = self.folder.with_suffix(".toml")
        catalog.write_text("\n".join(lines), "utf-8")
        return catalog


def make_version(folder: Path, size: Size, seed: int) -> Version:
    """Archives that share folders, so that most files are moved one by one when they are published."""
    folder.mkdir(parents=True)
    noise = random.Random(f"{seed}")
    paths = []
    for number in range(size.archives):
        path = folder / f"part{number}.zip"
        with zipfile.ZipFile(path, "w") as archive:
            method = zipfile.ZIP_DEFLATED if number % 2 else zipfile.ZIP_STORED
            for index in range(size.members):
                split = "val" if index % 5 == 0 else "train"
                length = noise.randrange(2 * size.member_bytes)
                # Half of the names are the same in every version, the other half its own.
                name = f"{split}/images/{number}-{seed if index % 2 else 0}-{index}.png"
                archive.writestr(zipfile.ZipInfo(name), bytes_of(length, seed + number + index), method)
            if size.large_bytes and number == size.archives - 1:
                archive.writestr(
                    zipfile.ZipInfo("train/large.npy"), noise.randbytes(size.large_bytes), method
                )
            archive.writestr(zipfile.ZipInfo(f"part{number}/info.json"), f"[{seed}, {number}]")
        paths.append(path)
    return Version(folder, paths)


def make_foreign(folder: Path, made: Contents) -> Contents:
    """A tree as another program may have left it: a third is missing, a third is damaged."""
    left = {}
    for number, (path, data) in enumerate(made.items()):
        if number % 3 == 0:
            continue
        left[path] = data if number % 3 == 1 else bytes(len(data))
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(left[path])
    return left


@contextlib.asynccontextmanager
async def scenarios(
    home: Path, size: Size, zygote: Zygote, *, rate: float | None = None
) -> AsyncIterator[dict[str, Scenario]]:
    """All scenarios, by their names, with servers that run until the block ends."""
    old, new = (make_version(home / "served" / name, size, seed) for seed, name in ((1, "old"), (2, "new")))
    old_contents, new_contents = old.contents, new.contents
    file = new.folder / "file.bin"
    file.write_bytes(bytes_of(size.archives * size.members * size.member_bytes + size.large_bytes))
    data, digest = file.read_bytes(), f"sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}"
    first = new.archives[-1]
    both = old_contents | new_contents
    async with (
        Origin(new.folder, rate=rate) as origin,
        python_server(new.folder) as plain,
        Origin(old.folder) as old_origin,
    ):
        catalog = new.catalog(origin.url)
        plain_catalog = new.catalog(plain.url).rename(home / "plain.toml")
        catalog = new.catalog(origin.url)
        before = home / "before"
        download: list[str | Path] = ["download", "--catalog", catalog, *QUIET, *SMALL]
        ended = await zygote.run(
            ["download", before, "--catalog", old.catalog(old_origin.url), *QUIET], before
        )
        assert ended.status == 0, ended.stderr
        found_there = home / "foreign"
        foreign = make_foreign(found_there, new_contents)
        found = [
            Scenario("download", lambda to: [*download, to], new_contents, any_of(new_contents)),
            Scenario(
                "keep archives",
                lambda to: [*download, to, "--keep-archives"],
                new_contents,
                any_of(new_contents),
                kept={path.name: path.read_bytes() for path in new.archives},
            ),
            Scenario(
                "over another version",
                lambda to: [*download, to],
                both,
                any_of(old_contents, new_contents),
                before=before,
            ),
            Scenario(
                "a part",
                lambda to: [*download, to, "--split", "train"],
                (train := {path: data for path, data in new_contents.items() if not path.startswith("val/")}),
                any_of(train),
            ),
            Scenario(
                "adopt",
                lambda to: [*download, to],
                new_contents,
                any_of(new_contents, foreign),
                before=found_there,
            ),
            Scenario(
                "no ranges",
                lambda to: ["download", to, "--catalog", plain_catalog, *QUIET],
                new_contents,
                any_of(new_contents),
            ),
            Scenario(
                "fetch",
                lambda to: ["fetch", f"{origin.url}/file.bin", "-d", to, "--digest", digest, *QUIET],
                {"file.bin": data},
                any_of({"file.bin": data}),
                parts={"file.bin": data},
                has_workspace=False,
            ),
            Scenario(
                "fetch without a digest",
                lambda to: ["fetch", f"{origin.url}/file.bin", f"{origin.url}/part0.zip", "-d", to, *QUIET],
                (several := {"file.bin": data, "part0.zip": new.archives[0].read_bytes()}),
                any_of(several),
                parts=several,
                has_workspace=False,
            ),
            Scenario(
                "fetch --extract",
                lambda to: ["fetch", f"{origin.url}/{first.name}", "--extract", "-d", to, *QUIET, *SMALL],
                unpacked([first]),
                any_of(unpacked([first])),
                has_workspace=False,
            ),
        ]
        yield {scenario.name: scenario for scenario in found}
        await asyncio.sleep(0)
