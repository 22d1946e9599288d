"""Run the contestants of a case in turns on the same data."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bench.figures import CaseResult, Results, Run
from bench.frame import CannotRun, Workshop, WrongResult
from bench.machine import PLACES, available_bytes, folder_of, has_room
from bench.measure import Command, CommandFailed, Usage, environment, measure
from bench.warm import warm

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from bench.frame import Case, Contestant, Job, Place
    from bench.tools import Tools

__all__ = ["Wanted", "run_job"]

_QUICK_ROOM_BYTES: Final = 1 << 28


@dataclass(frozen=True, slots=True)
class Wanted:
    """What was asked for; no ``cases`` means all of them."""

    runs: int
    quick: bool
    seed: int
    places: Sequence[Place]
    cases: Sequence[str]
    say: Callable[[str], None]


@dataclass(frozen=True, slots=True)
class _Bench:
    """One case at one place.  ``folder`` is fresh, and lies there; a run fills ``touched_bytes``."""

    case: Case
    place: Place
    folder: Path
    home: Path
    touched_bytes: int
    say: Callable[[str], None]


def run_job(job: Job, tools: Tools, wanted: Wanted) -> Results:
    """All wanted cases at all wanted places that have room.

    Raises CannotRun where none has, or where what the job is made of is missing, CommandFailed or
    WrongResult where ours fails: nobody times a failure.
    """
    results: list[CaseResult] = []
    needed_bytes = _QUICK_ROOM_BYTES if wanted.quick else job.room_bytes
    # Asked once, before there are data: these are in what the job says that it needs.
    roomy = {place for place in PLACES if has_room(place, needed_bytes)}
    if not roomy.intersection(wanted.places):
        raise CannotRun(f"no room for {needed_bytes >> 20} MiB")
    with _temporary("memory" if "memory" in roomy else "disk") as folder:
        workshop = Workshop(folder, tools, wanted.quick, wanted.seed, wanted.say)
        with contextlib.closing(job.cases(workshop)) as cases:  # type: ignore[type-var]
            for case in cases:
                if wanted.cases and case.name not in wanted.cases:
                    continue
                for place in wanted.places:
                    if place in case.places and place in roomy:
                        results.append(_run_case(job, case, place, tools, wanted))
                    elif place in case.places:
                        reason = f"no room for {needed_bytes >> 20} MiB"
                        results.append(CaseResult(case.name, case.title, place, {}, {}, {"all": reason}))
    return Results(results)


def _run_case(job: Job, case: Case, place: Place, tools: Tools, wanted: Wanted) -> CaseResult:
    wanted.say(f"{job.name}, {case.name}, {place}: {case.title}")
    left_out = dict(case.left_out)
    able: list[Contestant] = []
    for contestant in case.contestants:
        reason = tools.missing(contestant.needs)
        if reason is None:
            able.append(contestant)
        else:
            left_out[contestant.name] = reason
    with _temporary(place) as folder, tempfile.TemporaryDirectory(prefix="fdf256-home-") as home:
        most = _QUICK_ROOM_BYTES if wanted.quick else available_bytes() // 2
        bench = _Bench(case, place, folder, Path(home), min(job.touched_bytes, most), wanted.say)
        runs = _rounds(bench, able, left_out, wanted.runs)
    for name, reason in left_out.items():
        wanted.say(f"  left out: {name}: {reason}")
    return CaseResult(
        case=case.name,
        title=case.title,
        place=place,
        descriptions={contestant.name: contestant.description for contestant in able},
        runs=runs,
        left_out=left_out,
        ideal_seconds=case.ideal_seconds,
        facts=case.facts,
    )


def _rounds(
    bench: _Bench, able: Sequence[Contestant], left_out: dict[str, str], count: int
) -> dict[str, list[Run]]:
    """``count`` rounds of A B C A B C ..., after one that warms up and checks every result.

    Another's failure leaves it out; ours ends the benchmark.
    """
    if not able:
        return {}
    ours = able[0].name
    runs: dict[str, list[Run]] = {contestant.name: [] for contestant in able}
    for number in range(count + 1):
        here = [contestant for contestant in able if contestant.name not in left_out]
        measured, failed = _round(bench, here, is_warm_up=number == 0)
        if ours in failed:
            raise failed[ours]
        for name, error in failed.items():
            left_out[name] = str(error)
            del runs[name]
        for name, run in measured.items():
            if number:
                runs[name].append(run)
        title = f"round {number} of {count}" if number else "warm-up, results checked"
        seconds = (f"{name} {run.usage.wall_seconds:.2f}" for name, run in measured.items())
        bench.say(f"  {title}: {', '.join(seconds)} s")
    return runs


def _round(
    bench: _Bench, contestants: Sequence[Contestant], *, is_warm_up: bool
) -> tuple[dict[str, Run], dict[str, CommandFailed | WrongResult]]:
    """Each of them once, and who failed."""
    measured: dict[str, Run] = {}
    failed: dict[str, CommandFailed | WrongResult] = {}
    for contestant in contestants:
        try:
            measured[contestant.name] = _run(bench, contestant, check=is_warm_up)
        except (CommandFailed, WrongResult) as error:
            failed[contestant.name] = error
    return measured, failed


def _run(bench: _Bench, contestant: Contestant, *, check: bool) -> Run:
    """Once, in a folder that is made and removed untimed."""
    folder = bench.folder / "run"
    folder.mkdir()
    case = bench.case
    try:
        commands = contestant.prepare(folder)
        if bench.place == "disk":
            os.sync()  # what went before is not this run's
        if case.meter is not None:
            # Who was stopped before this run has left less than the whole: not this one's fault.
            with contextlib.suppress(WrongResult):
                case.meter()
        env, log = environment(bench.home), bench.home / "log"
        if bench.touched_bytes:
            warm(bench.touched_bytes)
        steps: dict[str, Usage] = {}
        for command in _with_sync(commands, bench):
            usage = measure(command, env, log, case.patience_seconds)
            before = steps.get(command.label)
            steps[command.label] = Usage.together((before, usage)) if before else usage
        metered = case.meter() if case.meter is not None else {}
        if check:
            contestant.check(folder)
    finally:
        shutil.rmtree(folder)
    return Run(Usage.together(steps.values()), steps, metered)


def _with_sync(commands: Sequence[Command], bench: _Bench) -> list[Command]:
    """On a disk nobody has ended before the disk has everything.

    Ours waits for that itself before it publishes; the others leave it to the kernel, and would be
    charged for less.
    """
    if bench.place == "memory":
        return list(commands)
    return [*commands, Command("sync", ("sync", "--file-system", str(bench.folder)), bench.folder)]


@contextlib.contextmanager
def _temporary(place: Place) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="fdf256-bench-", dir=folder_of(place)) as name:
        yield Path(name)
