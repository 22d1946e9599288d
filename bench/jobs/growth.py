"""What an installation costs as members and connections become more; ours only."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING, Final

from bench import checks
from bench.data import Data, Shape, make_data
from bench.figures import peak_bytes, seconds
from bench.frame import Aim, CannotRun, Case, Contestant, Job
from bench.many import make_many
from bench.measure import Command
from bench.nginx import running_nginx

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from bench.figures import Results
    from bench.frame import Workshop
    from bench.nginx import Nginx

__all__ = ["JOB"]

_MEMBERS: Final = (1_000, 10_000, 100_000, 1_000_000)
_QUICK_MEMBERS: Final = (100, 1_000)
_CONNECTIONS: Final = (1, 4, 16, 64)
_SHAPE: Final = Shape(images=4_000)
_QUICK_SHAPE: Final = Shape(images=200)
#: The command's default for --memory, and what it may have besides.
_MEMORY_BYTES: Final = 256 << 20
_BESIDES_MB: Final = 64.0
_DIRECTORY_BYTES_EACH: Final = 100.0


def _ours(data: Data, connections: int) -> Contestant:
    def prepare(folder: Path) -> Sequence[Command]:
        catalog = folder / "catalog.toml"
        catalog.write_text(data.catalog)
        module = (
            sys.executable,
            "-m",
            "fdf256_fast",
            "download",
            str(folder / "tree"),
            "--catalog",
            str(catalog),
        )
        options = ("--progress", "none", "--json", "--connections", str(connections))
        return [Command("fdf256", module + options, folder)]

    def check(folder: Path) -> None:
        checks.unpacked(folder / "tree", data.paths)

    return Contestant("fdf256", f"fdf256 download --connections {connections}", prepare, check)


def _cases(workshop: Workshop) -> Iterator[Case]:
    nginx = workshop.tools.path("nginx")
    if nginx is None:
        raise CannotRun(workshop.tools.missing(["nginx"]))
    served = workshop.folder / "served"
    served.mkdir()
    with running_nginx((nginx,), served) as server:
        for members in _QUICK_MEMBERS if workshop.quick else _MEMBERS:
            workshop.say(f"making {members:,} members")
            data = make_many(served, members, server.url)
            yield _case(server, data, 16, "members", members)
        shutil.rmtree(served)
        served.mkdir()
        shape = _QUICK_SHAPE if workshop.quick else _SHAPE
        data = make_data(served, shape, workshop.seed, server.url)
        for connections in _CONNECTIONS:
            yield _case(server, data, connections, "connections", connections)


def _case(server: Nginx, data: Data, connections: int, axis: str, amount: int) -> Case:
    return Case(
        name=f"{axis}-{amount}",
        title=f"{amount:,} {axis}: {data.members:,} members, {data.total_bytes / 1e6:,.0f} MB",
        contestants=[_ours(data, connections)],
        places=("memory",),
        meter=server.meter(data.total_bytes),
        facts={"x": axis, "members": data.members, "bytes": data.total_bytes, axis: amount},
    )


def _besides(members: int) -> Callable[[Results], float | None]:
    """Megabytes beyond --memory, without what the directory may take."""

    def figure(results: Results) -> float | None:
        peak = peak_bytes(f"members-{members}")(results)
        return None if peak is None else (peak - _MEMORY_BYTES - members * _DIRECTORY_BYTES_EACH) / 1e6

    return figure


def _time_each(few: int, many: int) -> Callable[[Results], float | None]:
    """A member's time with many of them, over that with few."""

    def figure(results: Results) -> float | None:
        found = [results.find(f"members-{members}") for members in (few, many)]
        if found[0] is None or found[1] is None:
            return None
        less, more = (one.spread("fdf256", seconds).median for one in found if one is not None)
        return (more / many) / (less / few)

    return figure


JOB: Final = Job(
    name="growth",
    title="Growth: an installation of more members, and over more connections",
    about=(
        "Members of 1 kB, stored, in one archive; then five archives of 0.4 GB over few and many connections."
        " Time and memory of each member must not grow with their number."
    ),
    cases=_cases,
    needs=("nginx",),
    aims=(
        *(
            Aim(
                f"peak beyond --memory and {_DIRECTORY_BYTES_EACH:g} bytes a member, {members:,} members",
                _BESIDES_MB,
                _besides(members),
                "MB",
            )
            for members in _MEMBERS[1:]
        ),
        Aim("a member's time, of 1,000,000 over of 100,000", 1.2, _time_each(100_000, 1_000_000)),
    ),
    # A million files of 1 kB take a page each, and their names and inodes as much again.
    room_bytes=9 << 30,
    drawing="growth",
)
