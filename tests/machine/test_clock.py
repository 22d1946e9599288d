"""A clock that jumps by years decides nothing."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest

from fdf256_fast import install
from fdf256_fast.origin import Origin
from tests.integration.oracles import check_installed
from tests.machine.sites import make_site

if TYPE_CHECKING:
    from pathlib import Path

YEARS = 30 * 365 * 86400.0


@pytest.mark.parametrize("jump", [YEARS, -YEARS], ids=["ahead", "back"])
async def test_a_run_goes_on_and_is_recognised_after_the_clock_has_jumped(
    jump: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = make_site(tmp_path)
    real = time.time
    async with Origin(site.folder) as origin:
        catalog = site.catalog(origin)
        await site.begin(origin, catalog)
        monkeypatch.setattr(time, "time", lambda: real() + jump)
        for path in site.home.rglob("*"):
            os.utime(path, (real() - jump, real() - jump), follow_symlinks=False)
        report, _ = await site.finish(catalog)
        assert report.bytes_resumed > 0
        monkeypatch.setattr(time, "time", lambda: real() - jump)
        assert (await install(site.target, catalog=catalog)).already_installed
    check_installed(site.target, site.tree)


@pytest.mark.parametrize("when", [1, 4_000_000_000], ids=["1970", "2096"])
async def test_dates_of_the_served_file_in_the_past_or_the_future_do_no_harm(
    when: int, tmp_path: Path
) -> None:
    site = make_site(tmp_path)
    os.utime(site.archive, (when, when))
    async with Origin(site.folder) as origin:
        catalog = site.catalog(origin)
        await site.begin(origin, catalog)
        report, _ = await site.finish(catalog)
    assert report.bytes_resumed > 0
    check_installed(site.target, site.tree)
