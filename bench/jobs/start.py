"""How long it takes until anything happens."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

from bench.figures import ratio
from bench.frame import Aim, Case, Contestant, Job
from bench.measure import Command

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.frame import Workshop

__all__ = ["JOB"]


def _cases(workshop: Workshop) -> Iterator[Case]:
    path = workshop.folder / "fdf_metainfo.json"
    path.write_text("{}")
    # What pip installs beside Python, so that Python finds out what is there the same way for both.
    ours = (sys.executable, "-m", "fdf256_fast")
    search = ("search-user", str(path), "--user-nsid", "12345678@N00", "--plain")
    for name, title, argv in (
        ("version", "fdf256 --version", ("--version",)),
        ("search-user", "fdf256 search-user, in a file without images", search),
        ("help", "fdf256 --help", ("--help",)),
    ):
        yield Case(
            name,
            title,
            [
                _contestant("fdf256", title, (*ours, *argv)),
                _contestant("python", "python -c pass", (sys.executable, "-c", "pass")),
            ],
            places=("memory",),
        )


def _contestant(name: str, description: str, argv: tuple[str, ...]) -> Contestant:
    return Contestant(name, description, lambda folder: [Command(name, argv, folder)])


JOB: Final = Job(
    name="start",
    title="Start: until anything happens",
    about="Beside Python, which starts and does nothing.",
    cases=_cases,
    needs=(),
    aims=(
        Aim("fdf256 --version, against python -c pass", 2.5, ratio("version", "python")),
        Aim("fdf256 search-user of nothing, against python -c pass", 4.0, ratio("search-user", "python")),
    ),
    room_bytes=1 << 26,
    touched_bytes=0,
)
