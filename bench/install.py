"""Time an installation side by side with the tools that one would pick instead.

``python bench/install.py --help``; README.md beside this file says what is measured.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

import results
from compare import Bench, compare
from contestants import Aria2, Chain, Ours, WrongResult, which_run
from data import make_data
from machine import describe_machine, roomy_folder, versions
from measure import CommandFailed, environment
from nginx import DEBIAN_PACKAGE, find_nginx, running_nginx

if TYPE_CHECKING:
    from collections.abc import Sequence

    from contestants import Contestant

_COMPRESSIONS: Final = ("stored", "deflated", "mixed")
_RESULTS: Final = Path(__file__).parent / "results"
#: A member and its share of the archive's directory, with make_dataset's images of 100 kB.
_IMAGE_BYTES: Final = 101_300
#: The archives, and in the warm-up our tree, the chain's archives and tree, aria2c's archives;
#: and as much as the programs may want for themselves.
_COPIES: Final = 5
_SPARE_BYTES: Final = 1 << 30


def main() -> int:
    """Return the exit status: 0 done, 1 a result was wrong, 2 no nginx, 130 interrupted."""
    options = _parse()
    nginx = find_nginx()
    if nginx is None:
        print(f"nginx is needed and not here (Debian: apt-get install {DEBIAN_PACKAGE})")
        return 2
    # So that a terminated benchmark, too, ends its server and frees the memory its files take.
    signal.signal(signal.SIGTERM, _exit)
    contestants, left_out = which_run((Ours(), Chain(), Aria2()))
    for name, reason in left_out.items():
        print(f"left out: {name}: {reason}")
    needed = options.images * _IMAGE_BYTES * _COPIES + _SPARE_BYTES
    place, kind = roomy_folder(needed, options.folder)
    setting = results.Setting(
        machine=describe_machine(),
        versions=versions(nginx, [name for one in contestants for name in one.needs]),
        place=kind,
        images=options.images,
        seed=options.seed,
        runs=options.runs,
        left_out=left_out,
    )
    try:
        measured = [
            _compare(nginx, place, contestants, options, compression)
            for compression in options.compression or _COMPRESSIONS[:2]
        ]
    except (CommandFailed, WrongResult, subprocess.CalledProcessError, RuntimeError) as error:
        print(f"not a result: {error}")
        return 1
    except KeyboardInterrupt:
        print("interrupted")
        return 130
    print(f"\n{results.as_markdown(setting, measured)}")
    if options.write:
        for path in results.write(_RESULTS, setting, measured):
            print(f"written: {path.relative_to(_RESULTS.parent.parent)}")
    return 0


def _compare(
    nginx: str,
    place: Path,
    contestants: Sequence[Contestant],
    options: argparse.Namespace,
    compression: str,
) -> results.Result:
    """One kind of data, made, compared, and removed."""
    with tempfile.TemporaryDirectory(prefix="fdf256-bench-", dir=place) as temporary:
        folder = Path(temporary)
        for name in ("served", "home", "runs"):
            (folder / name).mkdir()
        with running_nginx(nginx, folder / "served") as server:
            _say(f"{compression}: making {options.images:,} images")
            data = make_data(folder / "served", options.images, compression, options.seed, server.url)
            bench = Bench(folder / "runs", server, environment(folder / "home"), _say)
            measured = compare(bench, contestants, data, options.runs)
        return results.Result(data, contestants, measured)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench/install.py", description=__doc__)
    parser.add_argument(
        "--images", type=int, default=10_000, metavar="N", help="of about 100 kB (default 10000)"
    )
    parser.add_argument(
        "--compression",
        action="append",
        choices=_COMPRESSIONS,
        help="of the members; may be repeated (default: stored, then deflated)",
    )
    parser.add_argument(
        "--runs", type=int, default=5, metavar="N", help="counted, after a warm-up (default 5)"
    )
    parser.add_argument("--seed", type=int, default=256, metavar="N", help="of the data")
    parser.add_argument(
        "--folder",
        type=Path,
        metavar="PATH",
        help="where the data and the results lie (default: a memory file system)",
    )
    parser.add_argument(
        "--write", action="store_true", help="write bench/results/install.json and install.md"
    )
    options = parser.parse_args()
    if options.images < 1 or options.runs < 1:
        parser.error("--images and --runs start at 1")
    return options


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _exit(number: int, _frame: object) -> NoReturn:
    sys.exit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
