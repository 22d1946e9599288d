"""Time a search for one user's images side by side with the ways that one would take instead.

``python -m bench.search --help``; README.md beside this file says what is measured.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bench.machine import describe_machine, folder_of
from bench.measure import Command, CommandFailed, Usage, environment, measure

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_RESULTS: Final = Path(__file__).parent / "results"
_USER: Final = "12345678@N00"

#: What the published script does; prints what it found, and the seconds without Python's start.
_JSON_LOAD: Final = """
import json, sys, time
started = time.perf_counter()
with open(sys.argv[1], encoding="utf-8") as file:
    found = [key for key, value in json.load(file).items() if value["user_nsid"] == sys.argv[2]]
print(" ".join(found), time.perf_counter() - started)
"""

_OURS: Final = """
import sys, time
from fdf256_fast.search import search_user
started = time.perf_counter()
found = [image.number for image in search_user(sys.argv[1], sys.argv[2]).images]
print(" ".join(found), time.perf_counter() - started)
"""

#: Writes the file, and prints the user's images as the generator knows them.
_MAKE: Final = """
import sys
from random import Random
from fdf256_fast.synthetic_metadata import invent_faces, metainfo_json
faces = invent_faces(Random(1), int(sys.argv[2]))
with open(sys.argv[1], "wb") as file:
    file.write(metainfo_json("train", faces))
print(*(number for number, face in enumerate(faces) if face.user_nsid == sys.argv[3]))
"""

_JQ: Final = "to_entries[] | select(.value.user_nsid == $user) | .key"


@dataclass(frozen=True, slots=True)
class Contestant:
    """A way to search; ``inner`` says that the last word it prints is the seconds of the search alone."""

    name: str
    argv: tuple[str, ...]
    inner: bool = False
    finds: bool = True


def main() -> int:
    """Return the exit status: 0 done, 1 a result was wrong."""
    options = _parse()
    place, kind = options.folder or folder_of("memory"), "memory file system"
    with tempfile.TemporaryDirectory(prefix="fdf256-bench-", dir=place) as temporary:
        folder = Path(temporary)
        path = folder / "fdf_metainfo.json"
        # In a process of its own: the memory of this one would count in the peak of those it starts.
        maker = [sys.executable, "-c", _MAKE, str(path), str(options.entries), _USER]
        made = subprocess.run(maker, check=True, capture_output=True, text=True)
        size = path.stat().st_size
        contestants = _contestants(path)
        try:
            measured = _compare(contestants, options.runs, folder, made.stdout.split())
        except CommandFailed as error:
            print(f"not a result: {error}")
            return 1
    result = {
        "machine": describe_machine(),
        "place": kind,
        "entries": options.entries,
        "bytes": size,
        "runs": options.runs,
        "measured": {
            name: [asdict(usage) | {"search_seconds": inner} for usage, inner in runs]
            for name, runs in measured.items()
        },
    }
    page = _page(result, contestants, measured)
    print(page)
    if options.write:
        (_RESULTS / "search.json").write_text(json.dumps(result, indent=1) + "\n")
        (_RESULTS / "search.md").write_text(page + "\n")
    return 0


def _contestants(path: Path) -> list[Contestant]:
    file = str(path)
    command = [sys.executable, "-m", "fdf256_fast", "search-user", file, "--user-nsid", _USER]
    listed = [
        Contestant("fdf256 search-user --plain", (*command, "--plain", "--quiet"), finds=False),
        Contestant("fdf256_fast.search_user", (sys.executable, "-c", _OURS, file, _USER), inner=True),
        Contestant("json.load and a loop", (sys.executable, "-c", _JSON_LOAD, file, _USER), inner=True),
        Contestant("jq", ("jq", "-r", "--arg", "user", _USER, _JQ, file)),
        # Says how often the bytes are there, not in which images: what reading costs at least.
        Contestant("grep -c (counts lines)", ("grep", "-c", "-F", _USER, file), finds=False),
    ]
    return [one for one in listed if shutil.which(one.argv[0]) is not None]


def _compare(
    contestants: Sequence[Contestant], runs: int, folder: Path, wanted: Sequence[str]
) -> Mapping[str, list[tuple[Usage, float | None]]]:
    """Rounds of A B C A B C ..., after one that warms up; every answer is checked."""
    env = environment(folder)
    log = folder / "log"
    measured: dict[str, list[tuple[Usage, float | None]]] = {one.name: [] for one in contestants}
    for number in range(runs + 1):
        for one in contestants:
            usage = measure(Command(one.name, one.argv, folder), env, log)
            words = log.read_text().split()
            inner = float(words.pop()) if one.inner else None
            if one.finds and words != list(wanted):
                raise CommandFailed(f"{one.name} found {words[:5]} …, not {wanted[:5]} …")
            if number:
                measured[one.name].append((usage, inner))
        print(f"round {number} of {runs}", file=sys.stderr, flush=True)
    return measured


def _page(
    result: Mapping[str, object],
    contestants: Sequence[Contestant],
    measured: Mapping[str, list[tuple[Usage, float | None]]],
) -> str:
    machine = result["machine"]
    assert isinstance(machine, dict)
    base = measured["json.load and a loop"]
    lines = [
        "# Search: the images of one user, ours beside the ways that one would take instead",
        "",
        (
            f"{result['entries']:,} entries, {result['bytes']:,} bytes, in the page cache; {result['runs']} "
            "runs of each, taken in turns after a warm-up; every answer was checked. "
            "Medians (least-most)."
        ),
        "",
        f"- {machine['cores']} cores, {machine['processor']}; {machine['kernel']}",
        f"- Python {machine['python']}",
        "- search alone: without Python's start; times: how many times as long json.load and a loop take",
        "",
        "| what | wall s | CPU s | peak MB | search alone s | times |",
        "|---|---|---|---|---|---|",
    ]
    for one in contestants:
        usages = [usage for usage, _ in measured[one.name]]
        inner = [seconds for _, seconds in measured[one.name] if seconds is not None]
        ours = inner or [usage.wall_seconds for usage in usages]
        theirs = [seconds for _, seconds in base if seconds is not None]
        if not inner:
            theirs = [usage.wall_seconds for usage, _ in base]
        ratio = statistics.median(their / our for their, our in zip(theirs, ours, strict=True))
        cells = [
            one.name,
            _spread([usage.wall_seconds for usage in usages]),
            _spread([usage.cpu_seconds for usage in usages]),
            f"{max(usage.peak_bytes for usage in usages) / 1e6:.0f}",
            _spread(inner) if inner else "",
            f"{ratio:.1f}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _spread(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f}-{max(values):.2f})"


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.search", description=__doc__)
    parser.add_argument(
        "--entries", type=int, default=242_000, metavar="N", help="as FDF256's train split has (242000)"
    )
    parser.add_argument(
        "--runs", type=int, default=5, metavar="N", help="counted, after a warm-up (default 5)"
    )
    parser.add_argument("--folder", type=Path, metavar="PATH", help="where the file lies meanwhile")
    parser.add_argument("--write", action="store_true", help="write bench/results/search.json and search.md")
    options = parser.parse_args()
    if options.entries < 1 or options.runs < 1:
        parser.error("--entries and --runs start at 1")
    return options


if __name__ == "__main__":
    sys.exit(main())
