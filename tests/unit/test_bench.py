"""The benchmark runs, with few data, so that it does not rot.  Nothing here looks at times."""

from __future__ import annotations

import itertools
import json
import sys
from typing import TYPE_CHECKING

import pytest

from bench import results, runner
from bench.figures import CaseResult, Results, Run, ratio
from bench.frame import Aim, CannotRun, Case, Contestant, Job, Workshop, WrongResult
from bench.jobs import load_jobs
from bench.measure import Command, CommandFailed, Usage
from bench.tools import Tools

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

SETTING = {
    "machine": {"cores": 2, "processor": "one", "flags": [], "kernel": "a kernel", "python": "3"},
    "versions": {},
    "quick": True,
    "runs": 2,
}


def writes(text: str) -> Callable[[Path], Sequence[Command]]:
    """A contestant's commands: one that leaves ``text`` in the file ``written``."""
    program = f"open('written', 'w').write({text!r})"
    return lambda folder: [Command("python", (sys.executable, "-c", program), folder)]


def reads_right(folder: Path) -> None:
    if (folder / "written").read_text() != "right":
        raise WrongResult("that is not right")


def job(*contestants: Contestant) -> Job:
    def cases(workshop: Workshop) -> Iterator[Case]:
        yield Case("only", "one case", contestants, places=("memory",), ideal_seconds=0.001)

    aim = Aim("against the other", 1e9, ratio("only", "other"))
    return Job("toy", "A toy", "For a test.", cases, needs=(), aims=(aim,), room_bytes=1 << 20)


def run(job: Job, folder: Path) -> Results:
    wanted = runner.Wanted(runs=2, quick=True, seed=1, places=("memory",), cases=(), say=lambda _: None)
    return runner.run_job(job, Tools(folder), wanted)


@pytest.fixture(autouse=True)
def in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether or not this machine has a memory file system with room."""
    monkeypatch.setattr(runner, "folder_of", lambda place: tmp_path)
    monkeypatch.setattr(runner, "has_room", lambda place, needed_bytes: True)


def test_a_job_is_run_in_turns_and_told_as_json_and_as_a_page(tmp_path: Path) -> None:
    ours = Contestant("fdf256", "as it is", writes("right"), reads_right)
    other = Contestant("other", "as they are", writes("right"), reads_right)
    toy = job(ours, other)
    value = json.loads(json.dumps(results.told(toy, run(toy, tmp_path), SETTING)))
    only = value["cases"][0]
    assert [len(one["runs"]) for one in only["contestants"]] == [2, 2]
    assert only["contestants"][1]["ours_over_theirs"][0] == pytest.approx(
        value["aims"][0]["measured"], abs=1e-4
    )
    assert "| against the other |" in results.as_markdown(value)
    assert "| toy" in results.summary([toy], {})
    assert "[toy](toy.md)" in results.summary([toy], {"toy": value})


def test_the_same_results_give_the_same_picture(tmp_path: Path) -> None:
    from bench.plots import DRAWINGS  # noqa: PLC0415  # matplotlib is slow to load

    toy = job(Contestant("fdf256", "as it is", writes("right"), reads_right))
    value = results.told(toy, run(toy, tmp_path), SETTING)
    value["cases"][0]["facts"] = {"x": "members", "members": 3, "bytes": 3}
    for name, draw in DRAWINGS.items():
        pictures = [tmp_path / f"{name}-{number}.svg" for number in range(2)]
        for picture in pictures:
            draw(value, picture)
        assert pictures[0].read_bytes() == pictures[1].read_bytes() != b""
    assert "## By members" in results.as_markdown(value)


def test_who_is_wrong_or_missing_is_left_out_by_name(tmp_path: Path) -> None:
    toy = job(
        Contestant("fdf256", "", writes("right"), reads_right),
        Contestant("wrong", "", writes("wrong"), reads_right),
        Contestant("absent", "", writes("right"), needs=("parfive",)),
        Contestant("slow", "", lambda folder: [Command("exit", (sys.executable, "-c", "exit(3)"), folder)]),
    )
    (only,) = run(toy, tmp_path).cases
    assert list(only.runs) == ["fdf256"]
    assert only.left_out["wrong"] == "that is not right"
    assert "pip install parfive" in only.left_out["absent"]
    assert "status 3" in only.left_out["slow"]


def test_what_a_failure_has_left_to_a_meter_is_not_the_next_ones(tmp_path: Path) -> None:
    calls = itertools.count()

    def meter() -> dict[str, float]:
        if next(calls) % 2 == 0:
            raise WrongResult("half of it, before this run")
        return {}

    def cases(workshop: Workshop) -> Iterator[Case]:
        ours = [Contestant(name, "", writes("right"), reads_right) for name in ("fdf256", "other")]
        yield Case("only", "one case", ours, places=("memory",), meter=meter)

    (only,) = run(Job("toy", "A toy", "For a test.", cases, needs=()), tmp_path).cases
    assert list(only.runs) == ["fdf256", "other"]


def test_a_place_without_room_is_left_out_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cases(workshop: Workshop) -> Iterator[Case]:
        yield Case("only", "one case", [Contestant("fdf256", "", writes("right"), reads_right)])

    toy = Job("toy", "A toy", "For a test.", cases, needs=())
    monkeypatch.setattr(runner, "has_room", lambda place, needed_bytes: place == "disk")
    wanted = runner.Wanted(1, True, 1, ("memory", "disk"), (), lambda _: None)
    memory, disk = runner.run_job(toy, Tools(tmp_path), wanted).cases
    assert "no room" in memory.left_out["all"]
    assert len(disk.runs["fdf256"]) == 1
    monkeypatch.setattr(runner, "has_room", lambda place, needed_bytes: False)
    with pytest.raises(CannotRun):
        runner.run_job(toy, Tools(tmp_path), wanted)


def test_a_failure_of_ours_is_never_timed(tmp_path: Path) -> None:
    with pytest.raises(WrongResult):
        run(job(Contestant("fdf256", "", writes("wrong"), reads_right)), tmp_path)
    with pytest.raises(CommandFailed):
        run(job(Contestant("fdf256", "", lambda _: [Command("no", ("false",), tmp_path)])), tmp_path)


def test_of_several_peers_the_fastest_counts() -> None:
    def took(*seconds: float) -> list[Run]:
        return [Run(Usage(one, one, 1), {}, {}) for one in seconds]

    runs = {"fdf256": took(1, 2, 3), "slow": took(10, 20, 30), "fast": took(2, 4, 6)}
    found = Results([CaseResult("only", "", "memory", {}, runs, {})])
    assert ratio("only")(found) == 0.5
    assert ratio("only", "slow")(found) == 0.1
    assert ratio("another")(found) is None


def test_every_job_loads_and_has_a_drawing_and_aims_of_different_words() -> None:
    from bench.plots import DRAWINGS  # noqa: PLC0415  # matplotlib is slow to load

    jobs = load_jobs()
    assert {job.drawing for job in jobs} <= set(DRAWINGS)
    for one in jobs:
        assert len({aim.words for aim in one.aims}) == len(one.aims)
        assert all(aim.figure(Results([])) is None for aim in one.aims)


def test_an_installation_is_measured_with_what_is_here(tmp_path: Path) -> None:
    tools = Tools(tmp_path)
    if tools.path("nginx") is None:
        pytest.skip("nginx is not installed")
    (install,) = (job for job in load_jobs() if job.name == "install")
    wanted = runner.Wanted(1, True, 1, ("memory",), ("stored",), lambda _: None)
    found = runner.run_job(install, tools, wanted).find("stored")
    assert found is not None
    assert {"fdf256", "published way"} <= set(found.runs)
    assert found.runs["fdf256"][0].metered["sent"] == pytest.approx(1.0, abs=0.05)
