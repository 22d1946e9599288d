"""Plain files over loopback: one large one, and many small ones; with and without TLS."""

from __future__ import annotations

import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Final

from bench import downloaders
from bench.downloaders import Download
from bench.figures import ratio
from bench.files import make_files
from bench.frame import Aim, CannotRun, Case, Job
from bench.nginx import Options, running_nginx

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bench.frame import Workshop

__all__ = ["JOB"]

_LARGE_BYTES: Final = 2_000_000_000
_SMALL_BYTES: Final = 1_000_000
_FILES: Final = 2_000
_QUICK_PART: Final = 50
_PEERS: Final = downloaders.NEEDS


def _cases(workshop: Workshop) -> Iterator[Case]:
    nginx = workshop.tools.path("nginx")
    if nginx is None:
        raise CannotRun(workshop.tools.missing(["nginx"]))
    part = _QUICK_PART if workshop.quick else 1
    certificates = workshop.folder / "certificates"
    certificates.mkdir()
    # A process of its own, which takes the memory for it along when it ends.
    command = [sys.executable, "-m", "trustme", "-q", "-d", str(certificates), "-i", "127.0.0.1"]
    subprocess.run(command, check=True)
    for name, count, size in (("one", 1, _LARGE_BYTES // part), ("many", _FILES // part, _SMALL_BYTES)):
        served = workshop.folder / name
        paths = make_files(served, count, size)
        for is_secret in (False, True):
            options = Options(certificates if is_secret else None)
            authority = certificates / "client.pem" if is_secret else None
            with running_nginx((nginx,), served, options) as server:
                download = Download(server.url, paths, workshop.tools, authority)
                yield _case(name, download, server.meter(count * size))
        shutil.rmtree(served)


def _case(name: str, download: Download, meter: Callable[[], dict[str, float]]) -> Case:
    count, size = len(download.paths), download.paths[0].stat().st_size
    what = f"one file of {size / 1e9:g} GB" if count == 1 else f"{count:,} files of {size / 1e6:g} MB"
    is_secret = download.authority is not None
    return Case(
        name=f"{name}-tls" if is_secret else name,
        title=what + (", TLS" if is_secret else ""),
        contestants=downloaders.contestants(download),
        # What TLS costs does not depend on where the bytes go.
        places=("memory",) if is_secret else ("memory", "disk"),
        meter=meter,
        left_out=downloaders.left_out(download),
    )


JOB: Final = Job(
    name="fetch",
    title="Fetch: plain files over loopback",
    about=(
        "An nginx on this machine sends; client and server share its cores, so what is compared is work."
        " Nothing is checked by the others, and by ours only in the row that says so."
    ),
    cases=_cases,
    needs=("nginx", *downloaders.NEEDS),
    aims=(
        Aim("fetch one file, against the fastest", 1.0, ratio("one", *_PEERS)),
        Aim("fetch one file over TLS, against the fastest", 1.0, ratio("one-tls", *_PEERS)),
        Aim("fetch 2,000 files, against the fastest", 1.0, ratio("many", *_PEERS)),
        Aim("fetch 2,000 files over TLS, against the fastest", 1.0, ratio("many-tls", *_PEERS)),
    ),
)
