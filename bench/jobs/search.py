"""The images of one user, in a metadata file of the train split's size."""

from __future__ import annotations

import shlex
import subprocess
import sys
from typing import TYPE_CHECKING, Final

from bench.figures import ratio
from bench.frame import Aim, Case, Contestant, Job, WrongResult
from bench.measure import Command

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from bench.frame import Workshop

__all__ = ["JOB"]

_ENTRIES: Final = 242_000
_QUICK_PART: Final = 50
_USER: Final = "12345678@N00"

#: What the published script does, with its answer as ours.
_JSON_LOAD: Final = """
import json, sys
with open(sys.argv[1], encoding="utf-8") as file:
    for key, value in json.load(file).items():
        if value["user_nsid"] == sys.argv[2]:
            print(f"{key}.png")
"""

_LIBRARY: Final = """
import sys
from fdf256_fast import search_user
for image in search_user(sys.argv[1], sys.argv[2]).images:
    print(f"{image.number}.png")
"""

#: Writes the file, and prints the user's images as the generator knows them.
_MAKE: Final = """
import sys
from random import Random
from fdf256_fast.synthetic_metadata import invent_faces, metainfo_json
faces = invent_faces(Random(int(sys.argv[4])), int(sys.argv[2]))
with open(sys.argv[1], "wb") as file:
    file.write(metainfo_json("train", faces))
print(*(f"{number}.png" for number, face in enumerate(faces) if face.user_nsid == sys.argv[3]))
"""

_JQ: Final = 'to_entries[] | select(.value.user_nsid == $user) | .key + ".png"'


def _cases(workshop: Workshop) -> Iterator[Case]:
    entries = _ENTRIES // (_QUICK_PART if workshop.quick else 1)
    path = workshop.folder / "fdf_metainfo.json"
    # In a process of its own: the memory of this one would count in the peak of those it starts.
    maker = [sys.executable, "-c", _MAKE, str(path), str(entries), _USER, str(workshop.seed)]
    wanted = subprocess.run(maker, check=True, capture_output=True, text=True).stdout.split()
    ours = (sys.executable, "-m", "fdf256_fast", "search-user", str(path), "--user-nsid", _USER)
    jq = (workshop.tools.path("jq") or "jq", "-r", "--arg", "user", _USER, _JQ, str(path))
    grep = (workshop.tools.path("grep") or "grep", "-c", "-F", _USER, str(path))
    yield Case(
        "one-user",
        f"{entries:,} entries, {path.stat().st_size / 1e6:,.0f} MB",
        [
            _finds(
                "fdf256", f"fdf256 search-user --user-nsid {_USER} --plain", (*ours, "--plain", "-q"), wanted
            ),
            _finds("json.load", "json.load and a loop", _python(_JSON_LOAD, path), wanted),
            _finds("jq", f"jq '{_JQ}'", jq, wanted, needs=("jq",)),
            _finds("library", "fdf256_fast.search_user, in Python", _python(_LIBRARY, path), wanted),
            # Says in how many lines, not which images: what reading costs at least.
            _finds("grep -c", "grep -c -F: counts lines, and finds nothing", grep, None, needs=("grep",)),
        ],
        places=("memory",),
    )


def _python(program: str, path: Path) -> tuple[str, ...]:
    return (sys.executable, "-c", program, str(path), _USER)


def _finds(
    name: str,
    description: str,
    argv: tuple[str, ...],
    wanted: Sequence[str] | None,
    needs: tuple[str, ...] = (),
) -> Contestant:
    """One whose standard output, a file, is to have the names that are ``wanted``."""

    def check(folder: Path) -> None:
        found = [line.rpartition("/")[2] for line in (folder / "found").read_text().split()]
        if wanted is not None and found != list(wanted):
            raise WrongResult(f"{name} found {found[:5]}, not {list(wanted)[:5]}")

    shell = ("sh", "-c", f"exec {shlex.join(argv)} > found")
    return Contestant(name, description, lambda folder: [Command(name, shell, folder)], check, needs)


JOB: Final = Job(
    name="search",
    title="Search: the images of one user",
    about="One metadata file of the train split's size, in the page cache. Every answer is compared.",
    cases=_cases,
    needs=("jq", "grep"),
    aims=(Aim("search, against json.load and a loop", 0.02, ratio("one-user", "json.load")),),
    room_bytes=1 << 30,
    touched_bytes=2 << 30,
)
