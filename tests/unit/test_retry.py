from __future__ import annotations

import asyncio
import itertools
import math
import random
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fdf256_fast import retry
from fdf256_fast.errors import StatusError, TransferError
from fdf256_fast.retry import (
    Budget,
    Transient,
    is_retried,
    retry_after_seconds,
    retrying,
    status_is_retried,
    wait_seconds,
)

NOW = datetime(2026, 2, 28, 23, 59, 30, tzinfo=UTC)


def status_error(status: int) -> StatusError:
    return StatusError("no", url="http://127.0.0.1/a", status=status)


class Top(random.Random):
    """Always draws the top of the range, so that waits are the ceilings."""

    def uniform(self, a: float, b: float) -> float:
        return b


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_a_status_that_passes_by_itself_is_retried(status: int) -> None:
    assert status_is_retried(status)
    assert is_retried(status_error(status))


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 410, 416, 451, 501, 505])
def test_a_status_that_is_an_answer_is_final(status: int) -> None:
    assert not status_is_retried(status)
    assert not is_retried(status_error(status))


def test_forbidden_is_retried_only_at_a_signed_address() -> None:
    assert is_retried(status_error(403), signed=True)
    assert not is_retried(status_error(404), signed=True)


def test_every_retried_status_has_a_reason() -> None:
    assert all(retry.RETRIED_STATUSES.values())
    assert all(retry.RETRIED_WHEN_SIGNED.values())


def test_a_transient_failure_is_retried_and_says_what_it_was() -> None:
    error = Transient("connection reset", url="http://127.0.0.1/a", retry_after=2.0, status=503)
    assert is_retried(error)
    assert isinstance(error, TransferError)
    assert (error.reason, error.url, error.retry_after, error.status, str(error)) == (
        "connection reset",
        "http://127.0.0.1/a",
        2.0,
        503,
        "connection reset",
    )


@pytest.mark.parametrize("error", [ValueError(), OSError(), TransferError("x"), KeyboardInterrupt()])
def test_any_other_failure_is_final(error: BaseException) -> None:
    assert not is_retried(error)


def test_a_budget_is_exhausted_by_one_failure_more_than_it_has_retries() -> None:
    budget = Budget(2)
    assert [(budget.spend(), budget.exhausted) for _ in range(3)] == [
        (1, False),
        (2, False),
        (3, True),
    ]


def test_a_budget_without_retries_is_exhausted_by_the_first_failure() -> None:
    budget = Budget(0)
    assert not budget.exhausted
    budget.spend()
    assert budget.exhausted


def test_progress_refills_a_budget() -> None:
    budget = Budget(1)
    budget.spend()
    budget.spend()
    budget.refill(1)
    assert not budget.exhausted
    assert budget.spend() == 1


def test_bytes_that_were_here_before_are_no_progress() -> None:
    budget = Budget(0)
    budget.refill(100)
    budget.spend()
    budget.refill(100)
    assert budget.exhausted
    budget.refill(101)
    assert not budget.exhausted


def test_an_archive_that_begins_anew_counts_from_nothing() -> None:
    budget = Budget(0)
    budget.refill(100)
    budget.spend()
    budget.restart()
    budget.refill(1)
    assert not budget.exhausted


def test_progress_on_one_share_refills_all_of_them() -> None:
    budget = Budget(1)
    shares = [budget.share() for _ in range(3)]
    for share in shares:
        share.spend()
        share.spend()
    assert all(share.exhausted for share in shares)
    shares[0].refill(1)
    assert not any(share.exhausted for share in shares)
    assert [share.spend() for share in shares] == [1, 1, 1]


def test_connections_that_break_together_do_not_use_up_each_others_retries() -> None:
    budget = Budget(1)
    shares = [budget.share() for _ in range(16)]
    assert [share.spend() for share in shares] == [1] * 16
    assert not any(share.exhausted for share in shares)
    assert not budget.share().exhausted


def test_a_negative_number_of_retries_is_refused() -> None:
    with pytest.raises(ValueError, match="must not be negative"):
        Budget(-1)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("0", 0.0),
        ("7", 7.0),
        (" 7 ", 7.0),
        ("1.5", 1.5),
        ("-5", 0.0),
        ("300", 300.0),
        ("301", 300.0),
        ("9" * 5000, 300.0),
        ("Sun, 01 Mar 2026 00:00:00 GMT", 30.0),
        ("Sun, 01 Mar 2026 00:00:00 -0000", 30.0),
        ("Sunday, 01-Mar-26 00:00:00 GMT", 30.0),
        ("Sun Mar  1 00:00:00 2026", 30.0),
        ("Sat, 28 Feb 2026 23:59:00 GMT", 0.0),
        ("Sat, 28 Feb 2099 23:59:00 GMT", 300.0),
        (None, None),
        ("", None),
        ("soon", None),
        ("7 seconds", None),
        ("1e2", None),
        ("inf", None),
        ("nan", None),
        ("\u0667", None),
        ("Sun, 99 Mar 2026 00:00:00 GMT", None),
        ("Sun, 01 Mar 99999999999999999999 00:00:00 GMT", None),
    ],
)
def test_retry_after_is_read_as_seconds_or_as_a_date(header: str | None, seconds: float | None) -> None:
    assert retry_after_seconds(header, NOW) == seconds


@given(st.integers(0, 300))
def test_retry_after_dates_and_seconds_agree(seconds: int) -> None:
    date = format_datetime(NOW + timedelta(seconds=seconds), usegmt=True)
    assert retry_after_seconds(date, NOW) == retry_after_seconds(str(seconds), NOW) == seconds


@given(st.text() | st.from_regex(r"\A\w{0,4},? ?\d+[ -]\w{3}[ -]\d+ \d+:\d+:\d+ ?[+-]?\w*\Z"))
def test_no_retry_after_header_breaks_the_reader(header: str) -> None:
    seconds = retry_after_seconds(header, NOW)
    assert seconds is None or 0 <= seconds <= retry.RETRY_AFTER_CAP_SECONDS


def test_the_longest_wait_doubles_from_a_quarter_second_to_thirty_seconds() -> None:
    waits = [wait_seconds(n, retry_after=None, random=Top()) for n in [*range(1, 10), 10**9]]
    assert waits == [0.25, 0.5, 1, 2, 4, 8, 16, 30, 30, 30]


@given(st.integers(1, 10**6), st.none() | st.floats(0, 300), st.integers())
def test_a_wait_lies_between_what_the_server_asked_for_and_the_cap_above_it(
    attempt: int, retry_after: float | None, seed: int
) -> None:
    wait = wait_seconds(attempt, retry_after=retry_after, random=random.Random(seed))
    assert (retry_after or 0) <= wait <= (retry_after or 0) + retry.CAP_SECONDS


def test_waits_are_spread_over_the_whole_range() -> None:
    generator = random.Random(251)
    waits = [wait_seconds(4, retry_after=None, random=generator) for _ in range(1000)]
    counts = [sum(math.floor(wait * 5) == tenth for wait in waits) for tenth in range(10)]
    assert min(counts) > 50


class Recorder:
    """A request that fails as told, and what its loop did about it; the waits are not waited."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *failures: BaseException) -> None:
        self.failures = list(failures)
        self.tries = 0
        self.waits: list[float] = []
        self.told: list[tuple[BaseException, float]] = []
        monkeypatch.setattr(asyncio, "sleep", self.sleep)

    async def sleep(self, seconds: float) -> None:
        self.waits.append(float(seconds))

    def tell(self, error: BaseException, seconds: float) -> None:
        self.told.append((error, seconds))

    async def run(self, budget: Budget) -> int:
        async for attempt in retrying(budget, Top(), on_retry=self.tell):
            with attempt:
                self.tries += 1
                if self.failures:
                    raise self.failures.pop(0)
        return self.tries


async def test_a_request_is_tried_until_it_succeeds(monkeypatch: pytest.MonkeyPatch) -> None:
    failures = [Transient("reset"), status_error(503), Transient("busy", retry_after=7.0)]
    recorder = Recorder(monkeypatch, *failures)
    assert await recorder.run(Budget(3)) == 4
    assert recorder.waits == [0.25, 0.5, 8.0]
    assert recorder.told == list(zip(failures, recorder.waits, strict=True))


async def test_the_failure_that_exhausts_the_budget_is_raised(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recorder = Recorder(monkeypatch, *(Transient(f"failure {n}") for n in range(10)))
    with pytest.raises(Transient, match="failure 2"):
        await recorder.run(Budget(2))
    assert recorder.tries == 3


async def test_a_final_failure_is_raised_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder(monkeypatch, status_error(404))
    with pytest.raises(StatusError):
        await recorder.run(Budget(5))
    assert (recorder.tries, recorder.waits) == (1, [])


async def test_a_request_never_gives_up_while_its_archive_makes_progress(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    budget = Budget(1)
    arrived = itertools.count(1)
    recorder = Recorder(monkeypatch, *(Transient("reset") for _ in range(100)))
    monkeypatch.setattr(recorder, "tell", lambda _error, _seconds: budget.refill(next(arrived)))
    assert await recorder.run(budget) == 101


async def test_cancelling_a_request_is_not_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder(monkeypatch, asyncio.CancelledError())
    with pytest.raises(asyncio.CancelledError):
        await recorder.run(Budget(5))
    assert (recorder.tries, recorder.told) == (1, [])
