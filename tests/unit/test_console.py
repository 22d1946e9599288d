"""What a person sees: the live display, plain lines, tables and errors."""

from __future__ import annotations

import io
import re
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from fdf256_fast.console import (
    RichProgress,
    print_error,
    print_report,
    print_table,
)
from fdf256_fast.errors import UsageError
from fdf256_fast.plain import PlainProgress, choose_progress, print_local_report
from fdf256_fast.plain import print_report as print_plain_report
from fdf256_fast.plain import print_table as print_plain_table
from fdf256_fast.progress import ArchiveProgress, Progress, Snapshot

if TYPE_CHECKING:
    from collections.abc import Sequence

MEGA = 1_000_000

METAINFO = ArchiveProgress("metainfo", 12 * MEGA, 12 * MEGA, 0, 12 * MEGA, 6, 6, "done")
RECEIVING = ArchiveProgress(
    "cc-by-2", 8_900 * MEGA, 4_120 * MEGA, 0, 3_900 * MEGA, 84_120, 36_203, "receiving"
)
WAITING = ArchiveProgress("cc-by-nc-sa-2", 11_100 * MEGA, members=120_000)
THREE = (METAINFO, RECEIVING, WAITING)


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


class DeadTerminal(Terminal):
    """A terminal whose window was closed."""

    def write(self, text: str) -> int:
        raise OSError(5, "Input/output error")


@pytest.fixture(autouse=True)
def _ordinary_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "COLUMNS", "CI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")


def terminal(width: int = 80, height: int = 30, *, file: Any = None) -> Console:
    stream = io.StringIO() if file is None else file
    return Console(file=stream, force_terminal=True, width=width, height=height, color_system=None)


def written(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def plain(text: str) -> str:
    """``text`` without colours, cursor movements and spaces at line ends."""
    return re.sub(r" +$", "", re.sub(r"\x1b\[[?0-9;]*[a-zA-Z]|\r", "", text), flags=re.MULTILINE)


def frames(console: Console) -> list[list[str]]:
    """Each state of the screen, from one erasing of the display to the next."""
    parts = re.split(r"(?:\r|\x1b\[1A|\x1b\[2K)+", written(console))
    return [plain(part).strip("\n").split("\n") for part in parts if plain(part).strip()]


def last_frame(console: Console) -> list[str]:
    return frames(console)[-1]


def shown(archives: Sequence[ArchiveProgress], width: int = 80, height: int = 30, **totals: Any) -> list[str]:
    """The lines for a single snapshot."""
    console = terminal(width, height)
    progress = RichProgress(console)
    progress.started("FDF256")
    progress.updated(Snapshot(tuple(archives), **{"seconds": 1.0, "rate": 112e6, **totals}))
    lines = last_frame(console)
    progress.finished()
    return lines


# ------------------------------------------------------------------------------- the live display


def test_a_terminal_of_80_columns_shows_bars_bytes_rates_and_what_is_verified() -> None:
    assert shown(THREE, connections=16, retries=2) == [
        "FDF256",
        "metainfo       ━━━━━━━━━━━━━━━━━       12.0 MB  100%                      ✓",
        "cc-by-2        ━━━━━━━╾─────────  4.12/8.90 GB   46%      0 B/s           ✓ 43%",
        "cc-by-nc-sa-2  ─────────────────       11.1 GB",
        "total          ━━━╾─────────────   4.1/20.0 GB   20%   112 MB/s     2:22  ✓ 19%",
        "36,209 of 204,126 files · 16 connections · 2 retries",
    ]


def test_a_wide_terminal_says_verified_in_full_and_counts_files_for_each_archive() -> None:
    lines = shown(THREE, width=120, connections=1, retries=1)
    assert [line.split("  ")[-1].strip() for line in lines[1:5]] == [
        "6/6",
        "36,203/84,120",
        "0/120,000",
        "36,209/204,126",
    ]
    assert "  verified 43%  " in lines[2]
    assert lines[5] == "1 connection · 1 retry"


def test_without_retries_none_are_mentioned() -> None:
    assert not any("retr" in line for line in shown(THREE, connections=4))


@pytest.mark.parametrize("width", range(1, 140))
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    long_name = ArchiveProgress("a-very-long-file-name-" * 3, None, 5, state="receiving")
    wide_name = ArchiveProgress("写真の写真の写真の写真.zip", 10, 5, state="receiving")
    for line in shown((*THREE, long_name, wide_name), width=width, connections=16, retries=3):
        assert cell_len(line) <= width


def test_a_narrow_terminal_keeps_the_name_the_bar_and_the_percentage() -> None:
    lines = shown(THREE, width=40, connections=16)
    assert lines[2] == "cc-by-2        ━━━━━━━━╾──────────   46%"
    assert lines[-1] == "2:22 left · 36,209 of 204,126 files"


archive_progress = st.builds(
    ArchiveProgress,
    name=st.text(max_size=30),
    size=st.none() | st.integers(0, 10**13),
    arrived=st.integers(0, 10**13),
    resumed=st.integers(0, 10**13),
    verified=st.integers(0, 10**13),
    members=st.none() | st.integers(0, 10**7),
    unpacked=st.integers(0, 10**7),
    state=st.sampled_from(["waiting", "receiving", "done"]),
)
snapshots = st.builds(
    Snapshot,
    archives=st.lists(archive_progress, max_size=6).map(tuple),
    seconds=st.floats(0, 1e7),
    rate=st.floats(0, 1e12),
    connections=st.integers(0, 2000),
    retries=st.integers(0, 2000),
)


@settings(deadline=None)
@given(st.lists(snapshots, max_size=4), st.integers(1, 130), st.integers(1, 30))
def test_no_counters_however_odd_break_the_display(run: list[Snapshot], width: int, height: int) -> None:
    console = terminal(width, height)
    progress = RichProgress(console)
    progress.started("FDF256")
    for snapshot in run:
        progress.updated(snapshot)
    progress.finished()
    for frame in frames(console):
        assert all(cell_len(line) <= width for line in frame)


def run_of(console: Console, *archives: ArchiveProgress) -> RichProgress:
    """A display that has seen one archive at these states, a second apart."""
    progress = RichProgress(console)
    progress.started("FDF256")
    other = ArchiveProgress("other", 1000)
    for second, archive in enumerate(archives):
        progress.updated(Snapshot((archive, other), float(second), 0.0))
    return progress


def receiving(arrived: int, resumed: int = 0, size: int | None = 10_000) -> ArchiveProgress:
    return ArchiveProgress("photos", size, arrived, resumed, 0, None, 0, "receiving")


def test_an_archives_rate_and_time_left_are_its_own() -> None:
    console = terminal()
    run_of(console, receiving(0), receiving(1000), receiving(2000))
    assert "1.00 kB/s     0:08" in last_frame(console)[1]


def test_a_resumed_part_counts_as_done_but_not_as_rate() -> None:
    console = terminal()
    run_of(console, receiving(0), receiving(7000, 7000), receiving(7000, 7000))
    line = last_frame(console)[1]
    assert " 70% " in line
    assert " 0 B/s" in line


def test_the_rate_sinks_when_an_archive_stalls_and_is_never_negative() -> None:
    console = terminal()
    run_of(console, *map(receiving, (0, 900, 900, 900, 500, 500)))
    found = [re.search(r"(\d+) B/s", frame[1]) for frame in frames(console)[1:]]
    rates = [int(match[1]) for match in found if match]
    assert rates[0] == 0
    assert rates[1] == 900
    assert rates[1:] == sorted(rates[1:], reverse=True)
    assert 0 < rates[-1] < 300


def test_two_files_of_one_name_have_two_rates() -> None:
    console = terminal()
    progress = RichProgress(console)
    progress.started("two mirrors")
    for second in (0, 1):
        pair = (receiving(second * 3000), receiving(second * 5000))
        progress.updated(Snapshot(pair, float(second), 8000.0))
    lines = last_frame(console)
    assert "3.00 kB/s" in lines[1]
    assert "5.00 kB/s" in lines[2]
    assert "8.00 kB/s" in lines[3]


def test_a_size_that_is_not_known_gives_a_bar_that_wanders() -> None:
    console = terminal()
    run_of(console, *(receiving(second * 1000, size=None) for second in range(4)))
    lines = [frame[1] for frame in frames(console)[1:]]
    bars = [re.sub(r"[^━─]", "", line) for line in lines]
    assert len(set(bars)) == 4
    assert {bar.count("━") for bar in bars} == {bars[0].count("━")}
    assert "3.00 kB" in lines[-1]
    assert "%" not in lines[-1]


def test_members_that_are_not_known_leave_their_column_blank() -> None:
    with_members = shown((METAINFO, receiving(1)), width=120)
    assert with_members[1].endswith("6/6")
    assert not with_members[2].endswith("/0")
    assert "file" not in shown((receiving(1), receiving(2)))[-1]


def test_the_number_of_files_has_no_whole_while_an_archives_members_are_not_known() -> None:
    lines = shown((METAINFO, receiving(1)), width=120)
    assert lines[1].endswith(" 6/6")
    assert lines[3].endswith(" 6")
    narrow = shown((METAINFO, receiving(1)), width=60, connections=3)
    assert narrow[-1] == "0:01 left · 6 files · 3 connections"


def test_archives_may_appear_later() -> None:
    console = terminal()
    progress = RichProgress(console)
    progress.started("FDF256")
    progress.updated(Snapshot((), 0.0, 0.0))
    progress.updated(Snapshot((METAINFO,), 1.0, 0.0))
    progress.updated(Snapshot((WAITING, METAINFO), 2.0, 0.0))
    names = [[line.split(" ")[0] for line in frame[:4]] for frame in frames(console)[-2:]]
    assert names[0][:2] == ["FDF256", "metainfo"]
    assert names[1] == ["FDF256", "cc-by-nc-sa-2", "metainfo", "total"]


def test_a_single_archive_is_its_own_total() -> None:
    lines = shown((RECEIVING,), rate=MEGA * 10.0)
    assert len(lines) == 3
    assert lines[1].startswith("cc-by-2 ")
    assert "10.0 MB/s     7:58" in lines[1]


def test_more_archives_than_lines_are_summed_up_and_those_in_work_stay_visible() -> None:
    done = [ArchiveProgress(f"done-{i}", 10, 10, 0, 10, state="done") for i in range(20)]
    busy = [ArchiveProgress(f"busy-{i}", 10, 5, state="receiving") for i in range(3)]
    waiting = [ArchiveProgress(f"waiting-{i}", 10) for i in range(40)]
    lines = shown((*done, *busy, *waiting), height=10, connections=16)
    assert len(lines) == 9
    assert [line.split(" ")[0] for line in lines[1:6]] == [
        "busy-0",
        "busy-1",
        "busy-2",
        "waiting-0",
        "waiting-1",
    ]
    assert lines[6] == "and 58 more: 20 done, 38 waiting"


def test_verified_has_no_percentage_once_complete_and_no_mark_before_anything_is() -> None:
    unverified = ArchiveProgress("plain", 10, 10, state="done")
    lines = shown((METAINFO, unverified, receiving(5)))
    assert "  verified   " in lines[1]
    assert "verified" not in lines[2]
    assert "verified" not in lines[3]


def test_the_bar_tells_the_verified_part_from_the_rest_by_colour() -> None:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=80, color_system="standard")
    half = ArchiveProgress("half", 100, 50, 0, 25, state="receiving")
    RichProgress(console).updated(Snapshot((half,), 1.0, 1.0))
    green, cyan, dim = ("\x1b[32m", "\x1b[36m", "\x1b[2m")
    bar = f"{green}━━━━━\x1b[0m{cyan}━━━━━\x1b[0m{dim}──────────\x1b[0m"
    assert bar in stream.getvalue()


def test_the_screen_is_drawn_about_ten_times_a_second_however_often_it_is_told() -> None:
    often, tenths = terminal(), terminal()
    for console, steps in ((often, 1000), (tenths, 100)):
        progress = RichProgress(console)
        progress.started("FDF256")
        for step in range(steps):
            progress.updated(Snapshot(THREE, step * 10.0 / steps, 1.0))
    assert 90 <= len(frames(often)) <= 115
    assert len(frames(tenths)) == 101


def test_the_final_state_stays_on_the_screen_with_the_average_rate() -> None:
    console = terminal()
    progress = RichProgress(console)
    progress.started("FDF256")
    progress.updated(Snapshot((receiving(4000, 4000), METAINFO), 2.0, 500.0, 8))
    done = ArchiveProgress("photos", 10_000, 10_000, 4000, 10_000, 9, 9, "done")
    # Too soon after the first to be drawn by itself.
    progress.updated(Snapshot((done, METAINFO), 2.01, 0.0, 8))
    progress.finished()
    lines = last_frame(console)
    assert "100%" in lines[1]
    assert "5.97 MB/s" in lines[3]
    assert lines[3].endswith("15/15")
    assert lines[4] == "in 2.0 s"


def test_a_run_that_ends_early_says_so() -> None:
    console = terminal()
    run_of(console, receiving(0), receiving(1000)).finished()
    lines = last_frame(console)
    assert " 10%" in lines[1]
    assert lines[-1] == "stopped after 1.0 s"


def test_finishing_is_final_gives_the_cursor_back_and_leaves_no_thread() -> None:
    before = threading.enumerate()
    console = terminal()
    progress = run_of(console, receiving(0), receiving(1))
    assert threading.enumerate() == before
    progress.finished()
    after = written(console)
    assert after.rindex("\x1b[?25h") > after.rindex("\x1b[?25l")
    progress.finished()
    progress.updated(Snapshot(THREE, 9.0, 1.0))
    assert written(console) == after
    assert threading.enumerate() == before


def test_a_display_that_never_began_has_nothing_to_finish() -> None:
    console = terminal()
    RichProgress(console).finished()
    assert written(console) == ""


def test_a_finished_display_can_be_started_again() -> None:
    console = terminal()
    progress = run_of(console, receiving(0), receiving(1000))
    progress.finished()
    progress.started("again")
    progress.updated(Snapshot((receiving(5000), WAITING), 0.0, 0.0))
    lines = last_frame(console)
    assert lines[0] == "again"
    assert " 0 B/s" in lines[1]
    progress.finished()


def test_a_message_is_printed_above_the_display() -> None:
    console = terminal()
    progress = RichProgress(console)
    progress.message("before")
    progress.started("FDF256")
    progress.updated(Snapshot(THREE, 0.0, 0.0))
    progress.message("cc-by-2: resumed\nat [bold]4.1 GB[/bold]")
    lines = last_frame(console)
    assert lines[:2] == ["cc-by-2: resumed at [bold]4.1 GB[/bold]", "FDF256"]
    assert frames(console)[0][0] == "before"
    progress.finished()
    progress.message("after :smile:")
    assert last_frame(console)[-1] == "after :smile:"


def test_names_and_messages_cannot_move_the_cursor_hide_text_or_be_markup() -> None:
    console = terminal()
    hostile = "a[red]\x1b[2J\n\u202egnp.exe\udc80"
    progress = RichProgress(console)
    progress.started(hostile)
    progress.updated(Snapshot((ArchiveProgress(hostile, 1), METAINFO), 0.0, 0.0))
    progress.message(hostile)
    progress.finished()
    text = written(console)
    assert "\x1b[2J" not in text
    assert "\u202e" not in text
    assert r"a[red]\x1b[2J \u202egnp.exe\udc80" in text


def test_a_terminal_without_unicode_gets_ascii() -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="strict")
    console = terminal(file=stream)
    progress = RichProgress(console)
    progress.started("Gesichter: schön")
    half = ArchiveProgress("größe-" * 9, 100, 75, 0, 25, state="receiving")
    progress.updated(Snapshot((*THREE, half), 1.0, 1e6, 16, 1))
    progress.message("für dich")
    progress.finished()
    stream.flush()
    assert isinstance(stream.buffer, io.BytesIO)
    text = plain(stream.buffer.getvalue().decode("ascii"))
    assert re.search(r"gr\\xf6\\xdfe\S+~  #+=+-+ ", text)
    assert "ok 43%" in text
    assert r"f\xfcr dich" in text


def test_a_terminal_that_goes_away_does_not_end_the_run() -> None:
    progress = run_of(terminal(file=DeadTerminal()), receiving(0), receiving(1))
    progress.message("nobody reads this")
    progress.finished()


def test_a_closed_stream_does_not_end_the_run() -> None:
    console = terminal()
    progress = run_of(console, receiving(0))
    console.file.close()
    progress.updated(Snapshot(THREE, 9.0, 1.0))
    progress.message("nobody reads this")
    progress.finished()


def test_what_goes_to_a_pipe_stays_out_of_the_display(capsys: pytest.CaptureFixture[str]) -> None:
    console = terminal()
    progress = RichProgress(console)
    progress.started("FDF256")
    sys.stdout.write('{"ok": true}\n')
    progress.finished()
    assert capsys.readouterr().out == '{"ok": true}\n'
    assert "ok" not in written(console)


def test_on_anything_but_a_terminal_only_the_final_state_is_written() -> None:
    console = Console(file=io.StringIO(), width=80)
    run_of(console, receiving(0), receiving(1000), receiving(2000)).finished()
    text = written(console)
    assert "\x1b" not in text
    assert text.count("FDF256") == 1
    assert " 20%" in text


def test_by_default_the_display_is_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    progress = RichProgress()
    progress.started("FDF256")
    progress.finished()
    streams = capsys.readouterr()
    assert streams.out == ""
    assert "FDF256" in streams.err


# ------------------------------------------------------------------------------------ plain lines


def test_plain_lines_come_at_the_start_at_every_interval_and_at_the_end() -> None:
    stream = io.StringIO()
    progress = PlainProgress(stream, interval=5.0)
    progress.started("Flickr Diverse Faces 256")
    size = 26_000 * MEGA
    for tenth in range(121):
        arrived = tenth * 10 * MEGA
        archive = ArchiveProgress("all", size, arrived, 0, 0, 248_515, tenth * 100, "receiving")
        progress.updated(Snapshot((archive,), tenth / 10, 112e6, 16, tenth // 100))
    progress.finished()
    progress.finished()
    progress.updated(Snapshot((archive,), 99.0, 112e6))
    end = "stopped after 12 s, 12,000 of 248,515 files, 1 retry"
    assert stream.getvalue().splitlines() == [
        "fdf256: Flickr Diverse Faces 256",
        "fdf256: 0.5 of 26.0 GB (1.9 %), 112 MB/s, 3:48 left, 5,000 of 248,515 files",
        "fdf256: 1.0 of 26.0 GB (3.8 %), 112 MB/s, 3:44 left, 10,000 of 248,515 files, 1 retry",
        f"fdf256: 1.2 of 26.0 GB (4.6 %), 100 MB/s, {end}",
    ]


def test_a_plain_line_tells_what_is_known() -> None:
    stream = io.StringIO()
    progress = PlainProgress(stream, interval=0.0)
    progress.updated(Snapshot((receiving(1000, size=None), METAINFO), 1.0, 0.0))
    progress.updated(Snapshot((METAINFO,), 2.0, 0.0))
    progress.finished()
    assert stream.getvalue().splitlines() == [
        "fdf256: 12.0 MB, 0 B/s, 6 files",
        "fdf256: 12.0 of 12.0 MB (100.0 %), 0 B/s, 6 of 6 files",
        "fdf256: 12.0 of 12.0 MB (100.0 %), 6.00 MB/s, in 2.0 s, 6 of 6 files",
    ]


def test_a_plain_message_is_one_line_without_control_characters() -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="strict")
    PlainProgress(stream).message("größe:\n  [b]\x1b[2J\udc80")
    stream.seek(0)
    assert stream.read() == "fdf256: gr\\xf6\\xdfe: [b]\\x1b[2J\\udc80\n"


def test_plain_lines_go_to_what_standard_error_is_at_the_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    progress = PlainProgress()
    later = io.StringIO()
    monkeypatch.setattr(sys, "stderr", later)
    progress.message("hello")
    assert later.getvalue() == "fdf256: hello\n"
    monkeypatch.setattr(sys, "stderr", None)
    progress.message("a program without a console says nothing")


def test_a_plain_stream_that_is_gone_does_not_end_the_run() -> None:
    closed = io.StringIO()
    closed.close()
    for stream in (closed, DeadTerminal()):
        progress = PlainProgress(stream)
        progress.started("FDF256")
        progress.updated(Snapshot(THREE, 9.0, 1.0))
        progress.finished()


# ----------------------------------------------------------------------------------------- choice


@pytest.mark.parametrize(
    ("environment", "kind"),
    [
        ({}, RichProgress),
        ({"CI": "false"}, RichProgress),
        ({"CI": ""}, RichProgress),
        ({"CI": "true"}, PlainProgress),
        ({"TERM": "dumb"}, PlainProgress),
    ],
)
def test_auto_is_rich_on_a_terminal_that_can_redraw(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], kind: type[Progress]
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert type(choose_progress("auto", stream=Terminal())) is kind
    monkeypatch.setattr(sys, "stderr", Terminal())
    assert type(choose_progress("auto")) is kind


def test_auto_is_plain_where_there_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    closed = Terminal()
    closed.close()
    assert type(choose_progress("auto", stream=io.StringIO())) is PlainProgress
    monkeypatch.setattr(sys, "stderr", None)
    assert type(choose_progress("auto")) is PlainProgress


def test_a_kind_that_is_asked_for_is_given_and_writes_where_it_was_told() -> None:
    for kind, expected in (("rich", RichProgress), ("plain", PlainProgress), ("none", Progress)):
        stream = io.StringIO()
        progress = choose_progress(kind, stream=stream)
        assert type(progress) is expected
        progress.started("FDF256")
        progress.finished()
        assert ("FDF256" in stream.getvalue()) == (kind != "none")


def test_an_unknown_kind_is_a_usage_error_that_lists_the_known_ones() -> None:
    with pytest.raises(UsageError, match="fancy") as caught:
        choose_progress("fancy")
    assert "auto, rich, plain, none" in caught.value.hint


# ---------------------------------------------------------------------------------------- results


def test_a_table_has_a_title_headings_and_aligned_numbers(
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows = [(1, "cc-by-2", "x"), (22, "[red]no markup[/]", "\x1b[2J")]
    print_table("Photos of 12@N00 :smile:", ["count", "licence", "url"], rows, right={"count"})
    assert plain(capsys.readouterr().out).splitlines() == [
        "Photos of 12@N00 :smile:",
        "count  licence            url",
        "    1  cc-by-2            x",
        "   22  [red]no markup[/]  \\x1b[2J",
    ]


def test_a_table_that_goes_to_a_pipe_is_not_cut(capsys: pytest.CaptureFixture[str]) -> None:
    url = "https://example.org/" + "abcdefg/" * 50
    print_table("", ["url"], [[url]])
    assert capsys.readouterr().out.split() == ["url", url]


def test_a_table_on_a_terminal_folds_and_loses_nothing() -> None:
    console = terminal(40)
    url = "https://example.org/" + "abcdefg/" * 9
    print_table("", ["id", "url"], [["1", url]], console=console)
    assert "".join(plain(written(console)).split()) == f"idurl1{url}"


def report(**fields: object) -> dict[str, object]:
    archives = [
        {
            "name": name,
            "bytes": size,
            "bytes_downloaded": size,
            "bytes_resumed": 0,
            "verified": "md5",
            "url": f"https://objects.example.org/{name}.zip?signature=secret",
        }
        for name, size in (("metainfo", 12 * MEGA), ("cc-by-2", 1278 * MEGA))
    ]
    return {
        "ok": True,
        "error": None,
        "target": "data/fdf256",
        "archives": archives,
        "files": 10_012,
        "bytes_downloaded": 1290 * MEGA,
        "bytes_resumed": 0,
        "seconds": 1.8,
        "retries": 0,
        "verified": "md5",
        **fields,
    }


def printed(content: dict[str, object], width: int = 200, *, verb: str = "Installed") -> list[str]:
    console = Console(file=io.StringIO(), width=width)
    print_report(content, console, verb=verb)
    return plain(written(console)).splitlines()


def test_a_report_has_a_row_for_each_archive_and_a_closing_line() -> None:
    transfer = "1.29 GB in 1.8 s (717 MB/s)"
    verified = "all archives match their published md5"
    assert printed(report()) == [
        "archive      size  downloaded  verified  from",
        "metainfo  12.0 MB     12.0 MB  md5       objects.example.org",
        "cc-by-2   1.28 GB     1.28 GB  md5       objects.example.org",
        "",
        f"Installed 10,012 files in data/fdf256: {transfer}, {verified}.",
    ]


def test_a_report_is_printed_on_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    print_report(report())
    streams = capsys.readouterr()
    assert streams.out.endswith("all archives match their published md5.\n")
    assert streams.err == ""


@pytest.mark.parametrize("name", ["plain", "größer", "\x1b[2J"])
@pytest.mark.parametrize("ok", [True, False])
def test_a_report_without_rich_is_the_one_that_rich_prints(
    name: str, ok: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    archives = [
        {"name": name, "bytes": 2 * MEGA, "bytes_resumed": 5, "verified": "none", "url": "http://[broken"},
        {"name": "cc-by-2", "bytes": 1, "verified": "md5", "url": "http://example.org/a"},
    ]
    for content in (report(ok=ok, archives=archives), report(ok=ok, archives=[])):
        print_report(content, verb="Fetched")
        with_rich = plain(capsys.readouterr().out)
        print_plain_report(content, verb="Fetched")
        assert plain(capsys.readouterr().out) == with_rich


def test_a_report_of_thousands_of_files_does_not_push_its_closing_line_off_the_screen() -> None:
    archives = [{"name": f"{number:04}", "verified": "md5"} for number in range(1234)]
    console = terminal(200)
    print_report(report(archives=archives), console)
    lines = plain(written(console)).splitlines()
    assert [line.split()[0] for line in lines[1:51]] == [f"{number:04}" for number in range(50)]
    assert lines[51] == "and 1,184 more: --json has them all"
    assert lines[-1].startswith("Installed 10,012 files")
    # A pipe has no screen.
    assert len(printed(report(archives=archives))) == 1234 + 3


def test_a_report_tells_what_was_resumed_and_tried_again() -> None:
    archive = {"name": "a", "bytes": 3000, "bytes_downloaded": 1000, "bytes_resumed": 2000}
    lines = printed(report(archives=[archive], bytes_downloaded=1000, bytes_resumed=2000, retries=1, files=1))
    assert lines[0].split() == ["archive", "size", "downloaded", "resumed", "verified", "from"]
    assert lines[-1] == (
        "Installed 1 file in data/fdf256: 1.00 kB in 1.8 s (556 B/s) after 2.00 kB kept from an "
        "earlier run, 1 retry, the archive matches its published md5."
    )


@pytest.mark.parametrize(
    ("verified", "words"),
    [
        ("crc32", "every file matches its CRC-32."),
        ("none", "not verified: no digest is known."),
        (None, "not verified: no digest is known."),
        ("sha256", "all archives match their published sha256."),
    ],
)
def test_a_report_claims_no_more_than_was_checked(verified: str | None, words: str) -> None:
    assert printed(report(verified=verified))[-1].endswith(f", {words}")


def test_a_report_of_a_failed_run_does_not_say_installed() -> None:
    lines = printed(report(ok=False, error="disk full", archives=[]))
    assert lines == ["Not finished: 1.29 GB in 1.8 s (717 MB/s)."]


def test_a_report_takes_another_verb_and_does_without_missing_fields() -> None:
    assert printed({"ok": True, "files": 1}, verb="Fetched") == [
        "Fetched 1 file: 0 B in 0.0 s, not verified: no digest is known."
    ]


def test_a_report_shows_no_more_of_an_address_than_its_host() -> None:
    strange = {"name": "a[b]", "url": "https://[broken", "verified": "md5"}
    assert "secret" not in "\n".join(printed(report()))
    assert printed(report(archives=[strange]))[1].split() == ["a[b]", *["0", "B"] * 2, "md5"]


def test_a_report_on_a_narrow_terminal_has_fewer_columns() -> None:
    assert printed(report(), width=40)[0].split() == ["archive", "size", "downloaded", "verified"]
    assert printed(report(), width=30)[0].split() == ["archive", "size", "verified"]


def test_an_error_goes_to_standard_error_with_its_hint_and_without_colour(
    capsys: pytest.CaptureFixture[str],
) -> None:
    name = "a[red]\x1b[31m" + "-long" * 60 + ".zip"
    print_error(f"{name}: digest is md5:1", "run the same command again [/]")
    streams = capsys.readouterr()
    assert streams.out == ""
    assert streams.err.splitlines() == [
        "error: a[red]\\x1b[31m" + "-long" * 60 + ".zip: digest is md5:1",
        "  run the same command again [/]",
    ]


def test_an_error_without_a_hint_is_one_line() -> None:
    console = terminal(20)
    print_error("the disk is full and this line is not wrapped", console=console)
    assert written(console) == "error: the disk is full and this line is not wrapped\n"


def test_an_error_is_red_on_a_terminal() -> None:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=80, color_system="standard")
    print_error("no", "do", console)
    assert stream.getvalue() == "\x1b[1;31merror:\x1b[0m no\n\x1b[2m  do\x1b[0m\n"


def test_a_report_on_local_archives_speaks_of_no_download(capsys: pytest.CaptureFixture[str]) -> None:
    print_local_report({**report(), "verified": "crc32"}, verb="Unpacked")
    words = "1.29 GB in 1.8 s (717 MB/s), every checksum in them is right."
    assert capsys.readouterr().out.splitlines() == [
        "archive      size  verified",
        "metainfo  12.0 MB  md5",
        "cc-by-2   1.28 GB  md5",
        "",
        f"Unpacked 10,012 files in data/fdf256: {words}",
    ]
    print_local_report({**report(), "verified": "none"}, verb="Unpacked")
    assert capsys.readouterr().out.endswith("not verified: not all has a checksum.\n")


@pytest.mark.parametrize("last", ["plain", "größer", "\x1b[2J"])
def test_a_table_without_rich_is_the_one_that_rich_prints(
    last: str, capsys: pytest.CaptureFixture[str]
) -> None:
    columns, rows = ["name", "size"], [["a", 5], ["longer", 12345], [last, 1]]
    print_table("", columns, rows, right={"size"})
    with_rich = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    print_plain_table(columns, rows, right={"size"})
    assert [line.rstrip() for line in capsys.readouterr().out.splitlines()] == with_rich
