"""``python -m bench``: run jobs, print what they gave, and write it where that is wanted."""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any, Final, NoReturn

from bench import results
from bench.frame import CannotRun, WrongResult
from bench.jobs import load_jobs
from bench.machine import PLACES, describe_machine, folder_of
from bench.measure import CommandFailed
from bench.runner import Wanted, run_job
from bench.tools import Tools

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.frame import Job

_RUNS: Final = 5


def main(arguments: Sequence[str] | None = None) -> int:
    """Return the exit status: 0 done, 1 a job could not run or ours failed, 130 interrupted."""
    options = _parse(arguments)
    # So that a terminated benchmark, too, ends its servers and frees the memory its files take.
    signal.signal(signal.SIGTERM, _exit)
    jobs = [job for job in load_jobs() if not options.jobs or job.name in options.jobs]
    if options.list:
        print("\n".join(f"{job.name:10} {job.title}" for job in jobs))
        return 0
    tools = Tools(folder_of("disk"))
    if not options.no_setup:
        tools.set_up({name for job in jobs for name in job.needs}, _say)
    status = 0
    try:
        for job in jobs:
            status |= _run(job, tools, options)
    except KeyboardInterrupt:
        print("interrupted")
        return 130
    return status


def _run(job: Job, tools: Tools, options: argparse.Namespace) -> int:
    places = list(PLACES) if options.place == "both" else [options.place]
    wanted = Wanted(options.runs, options.quick, options.seed, places, options.case or (), _say)
    try:
        measured = run_job(job, tools, wanted)
    except CannotRun as error:
        print(f"{job.name}: left out: {error}")
        return 1
    except (CommandFailed, WrongResult, subprocess.CalledProcessError, RuntimeError) as error:
        print(f"{job.name}: not a result: {error}")
        return 1
    value = results.told(job, measured, _setting(job, tools, options))
    print(f"\n{results.as_markdown(value)}", flush=True)
    if options.write:
        for path in results.write(job, value):
            print(f"written: bench/results/{path.name}")
    return 0


def _setting(job: Job, tools: Tools, options: argparse.Namespace) -> dict[str, Any]:
    ours = subprocess.run(
        [sys.executable, "-m", "fdf256_fast", "--version"], capture_output=True, text=True, check=True
    )
    here = [name for name in job.needs if tools.path(name) is not None]
    return {
        "machine": describe_machine(),
        "versions": {"fdf256": ours.stdout.strip(), **{name: tools.version(name) for name in here}},
        "quick": options.quick,
        "runs": options.runs,
        "seed": options.seed,
    }


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    names = [job.name for job in load_jobs()]
    parser.add_argument("jobs", nargs="*", metavar="JOB", help=f"(default: all) {', '.join(names)}")
    parser.add_argument("--list", action="store_true", help="say what the jobs are, and end")
    parser.add_argument("--runs", type=int, metavar="N", help=f"counted, after a warm-up (default {_RUNS})")
    parser.add_argument("--quick", action="store_true", help="little data, one run: a look, not a result")
    parser.add_argument("--place", choices=(*PLACES, "both"), default="both", help="of the results' files")
    parser.add_argument("--case", action="append", metavar="NAME", help="only this one; may be repeated")
    parser.add_argument("--seed", type=int, default=256, metavar="N", help="of the data")
    parser.add_argument("--no-setup", action="store_true", help="install nothing; leave out what is missing")
    parser.add_argument("--write", action="store_true", help="write JSON, page and picture to bench/results")
    options = parser.parse_args(arguments)
    if unknown := set(options.jobs) - set(names):
        parser.error(f"no such job: {', '.join(sorted(unknown))}")
    if options.runs is None:
        options.runs = 1 if options.quick else _RUNS
    if options.runs < 1:
        parser.error("--runs starts at 1")
    if options.write and (options.quick or options.case):
        parser.error("--write is for whole jobs: without --quick and --case")
    return options


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _exit(number: int, _frame: object) -> NoReturn:
    sys.exit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
