"""Time ``fdf256 verify --sums`` side by side with sha256sum, md5sum and b3sum on the same lists.

``python -m bench.verify --help``; README.md beside this file says what is measured.
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

from bench.machine import cores, describe_machine, folder_of
from bench.measure import Command, CommandFailed, Usage, environment, measure

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_RESULTS: Final = Path(__file__).parent / "results"
_PROGRAMS: Final = {"sha256": "sha256sum", "md5": "md5sum", "blake3": "b3sum"}
#: Lists that the peers take, for each core: with one each, the slower core would end alone.
_PARTS_EACH: Final = 4
_BLOCK_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Case:
    """Files and one algorithm; ours first."""

    files: int
    file_bytes: int
    algorithm: str
    measured: dict[str, list[Usage]]

    @property
    def ratios(self) -> dict[str, float]:
        """Ours over theirs, pair by pair: the median, for each of the others."""
        ours, *others = self.measured
        return {
            name: statistics.median(
                mine.wall_seconds / theirs.wall_seconds
                for mine, theirs in zip(self.measured[ours], self.measured[name], strict=True)
            )
            for name in others
        }


def main() -> int:
    """Return the exit status: 0 done, 1 a program failed, 2 no program to compare with."""
    options = _parse()
    programs = {algorithm: name for algorithm, name in _PROGRAMS.items() if shutil.which(name)}
    for name in _PROGRAMS.values():
        if name not in programs.values():
            print(f"left out, not here: {name}")
    if not programs:
        return 2
    sizes = ((1, options.large_bytes), (options.files, options.small_bytes))
    place, kind = options.folder or folder_of("memory"), "memory file system"
    cases = []
    try:
        for count, size in sizes:
            with tempfile.TemporaryDirectory(prefix="fdf256-bench-", dir=place) as temporary:
                folder = Path(temporary)
                _say(f"making {count:,} files of {size:,} bytes")
                names = _make_files(folder / "files", count, size)
                for algorithm, program in programs.items():
                    cases.append(_compare(folder, names, (count, size), algorithm, program, options.runs))
    except (CommandFailed, subprocess.CalledProcessError) as error:
        print(f"not a result: {error}")
        return 1
    page = _as_markdown(cases, kind, options.runs, list(programs.values()))
    print(page)
    if options.write:
        (_RESULTS / "verify.md").write_text(page)
        values = {
            "machine": describe_machine(),
            "cases": [{**asdict(case), "ratios_ours_over_theirs": case.ratios} for case in cases],
        }
        (_RESULTS / "verify.json").write_text(json.dumps(values, indent=1) + "\n")
    return 0


def _make_files(folder: Path, count: int, size: int) -> list[str]:
    """Files that all differ, from bytes that depend on their position with a prime period."""
    period = bytes(i % 251 for i in range(251 * (_BLOCK_BYTES // 251 + 2)))
    names = []
    for number in range(count):
        name = f"{number % 4}/{number}.bin"
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            file.write(number.to_bytes(8, "big"))
            left = size - 8
            while left:
                block = period[number % 251 :][: min(left, _BLOCK_BYTES)]
                left -= file.write(block)
        names.append(name)
    return names


def _compare(
    folder: Path, names: Sequence[str], shape: tuple[int, int], algorithm: str, program: str, runs: int
) -> Case:
    """``runs`` counted rounds of A B C A B C ..., after one that warms up."""
    files, env = folder / "files", environment(folder)
    sums = folder / f"{program.upper()}S"
    with sums.open("wb") as out:
        # In the order of the names, as xargs gives them on.
        run = ["xargs", "-d", "\n", program]
        subprocess.run(run, cwd=files, input="\n".join(names).encode(), stdout=out, check=True)
    parts = folder / "parts"
    shutil.rmtree(parts, ignore_errors=True)
    parts.mkdir()
    count = min(len(names), cores() * _PARTS_EACH)
    subprocess.run(["split", "-n", f"l/{count}", sums, parts / "part."], check=True)
    ours = (
        sys.executable,
        "-m",
        "fdf256_fast",
        "verify",
        "--sums",
        str(sums),
        str(files),
        "--progress",
        "none",
    )
    parallel = f"ls {parts}/part.* | xargs -P {cores()} -n 1 {program} --check --quiet"
    contestants: Mapping[str, tuple[str, ...]] = {
        "fdf256": ours,
        program: (program, "--check", "--quiet", str(sums)),
    }
    if count > 1:
        contestants = {**contestants, f"xargs -P{cores()} {program}": ("sh", "-c", parallel)}
    measured: dict[str, list[Usage]] = {name: [] for name in contestants}
    for number in range(runs + 1):
        for name, argv in contestants.items():
            usage = measure(Command(name, argv, files), env, folder / "log")
            if number:
                measured[name].append(usage)
        last = ", ".join(f"{name} {runs[-1].wall_seconds:.2f} s" for name, runs in measured.items() if runs)
        _say(f"{algorithm}, round {number} of {runs}: {last}")
    return Case(*shape, algorithm, measured)


def _as_markdown(cases: Sequence[Case], place: str, runs: int, programs: Sequence[str]) -> str:
    machine = describe_machine()
    lines = [
        "# Verify: a list of digests, ours beside the programs that write such lists",
        "",
        (
            f"{runs} runs of each, taken in turns after one that warms up; whole processes, start included."
            " Medians (least-most); ratios are the median of pairs that ran one after the other, below 1"
            " means that ours takes less time."
        ),
        "",
        f"- {machine['cores']} cores, {machine['processor']}",
        f"- {machine['kernel']}, Python {machine['python']}; the files lie on: {place}",
        *(f"- {_version(program)}" for program in programs),
        "",
        "| files | algorithm | what | wall s | CPU s | peak MB | time, ours / theirs |",
        "|---|---|---|---|---|---|---|",
    ]
    for case in cases:
        for name, usages in case.measured.items():
            wall = [usage.wall_seconds for usage in usages]
            ratio = f"{case.ratios[name]:.2f}" if name in case.ratios else ""
            spread = f"{statistics.median(wall):.2f} ({min(wall):.2f}-{max(wall):.2f})"
            cpu = statistics.median(usage.cpu_seconds for usage in usages)
            peak = max(usage.peak_bytes for usage in usages) / 1e6
            shape = f"{case.files:,} of {case.file_bytes / 1e6:,.1f} MB"
            lines.append(
                f"| {shape} | {case.algorithm} | {name} | {spread} | {cpu:.2f} | {peak:.0f} | {ratio} |"
            )
    return "\n".join(lines) + "\n"


def _version(program: str) -> str:
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    return said.splitlines()[0]


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.verify", description=__doc__)
    parser.add_argument("--files", type=int, default=10_000, metavar="N", help="small ones (default 10000)")
    parser.add_argument("--small-bytes", type=int, default=100_000, metavar="N", help="(default 100000)")
    parser.add_argument("--large-bytes", type=int, default=2_000_000_000, metavar="N", help="(default 2 GB)")
    parser.add_argument("--runs", type=int, default=7, metavar="N", help="counted, after one (default 7)")
    parser.add_argument("--folder", type=Path, metavar="PATH", help="(default: a memory file system)")
    parser.add_argument("--write", action="store_true", help="write bench/results/verify.json and verify.md")
    options = parser.parse_args()
    if options.files < 1 or options.runs < 1 or min(options.small_bytes, options.large_bytes) < 8:
        parser.error("--files and --runs start at 1, sizes at 8")
    return options


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
