"""One file where the network is the limit: far away, or held back by the server."""

from __future__ import annotations

import contextlib
import dataclasses
from typing import TYPE_CHECKING, Final

from bench import downloaders
from bench.downloaders import CONNECTIONS, Download
from bench.figures import ideal_ratio
from bench.files import make_files
from bench.frame import Aim, CannotRun, Case, Job
from bench.line import Line, long_line
from bench.nginx import Options, running_nginx
from bench.paced import Rates, paced_origin

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bench.frame import Contestant, Workshop

__all__ = ["JOB"]

_QUICK_PART: Final = 20
_LINE: Final = Line(round_trip_seconds=0.050, loss=0.001, bytes_per_second=1e9 / 8, congestion_control="bbr")
#: By congestion control.  With 0.1 % of packets lost, cubic gets 1 MB/s through a connection of 50 ms: what
#: takes a second at the line's rate takes 16 connections several, and one connection two minutes.
_DISTANT_BYTES: Final = {"bbr": 300_000_000, "cubic": 100_000_000}
_PATIENCE_SECONDS: Final = 30.0

_LIMITED_BYTES: Final = 2_000_000_000
_LIMIT_BYTES_PER_SECOND: Final = 50_000_000

_UNEVEN_BYTES: Final = 600_000_000
_FAST_BYTES_PER_SECOND: Final = 20_000_000
_SLOW_BYTES_PER_SECOND: Final = 1_000_000
#: Who leaves the slow connection a sixteenth of the file waits 37 s for it; that need not be seen six times.
_UNEVEN_PATIENCE_SECONDS: Final = 15.0

_WITH_ONE: Final = dict.fromkeys(
    ("curl", "wget2"), f"one connection for a file: about {CONNECTIONS} times the ideal time"
)


@dataclasses.dataclass(frozen=True, slots=True)
class _Shop:
    workshop: Workshop
    nginx: str

    def file(self, size: int) -> Path:
        """Of that size, or small for a look; in a folder of its own."""
        part = _QUICK_PART if self.workshop.quick else 1
        folder = self.workshop.folder / str(size)
        return make_files(folder, 1, size // part)[0]


def _cases(workshop: Workshop) -> Iterator[Case]:
    nginx = workshop.tools.path("nginx")
    if nginx is None:
        raise CannotRun(workshop.tools.missing(["nginx"]))
    shop = _Shop(workshop, nginx)
    for congestion_control, size in _DISTANT_BYTES.items():
        yield from _distant(shop, congestion_control, size)
    yield from _limited(shop)
    yield from _uneven(shop)


def _distant(shop: _Shop, congestion_control: str, size: int) -> Iterator[Case]:
    """A line of which a packet is lost now and then."""
    name = f"distant-{congestion_control}"
    title = f"50 ms away, 0.1 % of packets lost, 1 Gbit/s, {congestion_control}"
    line = dataclasses.replace(_LINE, congestion_control=congestion_control, seed=shop.workshop.seed)
    path = shop.file(size)
    with contextlib.ExitStack() as stack:
        try:
            ends = stack.enter_context(long_line(shop.workshop.tools, line))
        except CannotRun as error:
            yield Case(name, title, (), ("memory",), left_out={"all": str(error)})
            return
        options = Options(address=ends.server_address, port=80)
        server = stack.enter_context(running_nginx((*ends.server, shop.nginx), path.parent, options))
        download = Download(server.url, [path], shop.workshop.tools, inside=ends.client)
        actual = path.stat().st_size
        is_slow_alone = congestion_control == "cubic"
        yield Case(
            name,
            f"{title}: {actual / 1e6:g} MB",
            _with_connections(download) if is_slow_alone else _all(download),
            places=("memory",),
            ideal_seconds=actual / line.bytes_per_second + line.round_trip_seconds,
            meter=server.meter(actual),
            left_out=_WITH_ONE if is_slow_alone else {},
            patience_seconds=_PATIENCE_SECONDS,
        )


def _limited(shop: _Shop) -> Iterator[Case]:
    """An origin that gives every connection the same."""
    path = shop.file(_LIMITED_BYTES)
    rates = Rates(_LIMIT_BYTES_PER_SECOND, _LIMIT_BYTES_PER_SECOND, CONNECTIONS)
    with paced_origin(path.parent, rates) as server:
        download = Download(server.url, [path], shop.workshop.tools)
        actual = path.stat().st_size
        yield Case(
            "limited",
            f"an origin that limits each connection to {_LIMIT_BYTES_PER_SECOND / 1e6:g} MB/s: "
            f"{actual / 1e9:g} GB",
            _with_connections(download),
            places=("memory",),
            ideal_seconds=actual / (CONNECTIONS * _LIMIT_BYTES_PER_SECOND),
            meter=server.meter(actual),
            left_out=_WITH_ONE,
            patience_seconds=_PATIENCE_SECONDS,
        )


def _uneven(shop: _Shop) -> Iterator[Case]:
    """An origin that gives one connection of sixteen less than the others."""
    path = shop.file(_UNEVEN_BYTES)
    rates = Rates(_FAST_BYTES_PER_SECOND, _SLOW_BYTES_PER_SECOND, CONNECTIONS)
    with paced_origin(path.parent, rates) as server:
        download = Download(server.url, [path], shop.workshop.tools)
        actual = path.stat().st_size
        together = (CONNECTIONS - 1) * _FAST_BYTES_PER_SECOND + _SLOW_BYTES_PER_SECOND
        yield Case(
            "uneven",
            f"one connection of {CONNECTIONS} gets {_SLOW_BYTES_PER_SECOND / 1e6:g} MB/s, the others "
            f"{_FAST_BYTES_PER_SECOND / 1e6:g}: {actual / 1e6:g} MB",
            _with_connections(download),
            places=("memory",),
            ideal_seconds=actual / together,
            meter=server.meter(actual),
            left_out=_WITH_ONE,
            patience_seconds=_UNEVEN_PATIENCE_SECONDS,
        )


def _all(download: Download) -> list[Contestant]:
    """Checking a digest is not what is compared here."""
    return downloaders.contestants(download, verified=False)


def _with_connections(download: Download) -> list[Contestant]:
    """Those that have more than one for a file."""
    return [one for one in _all(download) if one.name not in _WITH_ONE]


JOB: Final = Job(
    name="shaped",
    title="Shaped links: one file where the network is the limit",
    about=(
        "The figure is the time over the ideal time: bytes over the line's rate and a round trip, or over"
        f" the sum of the rates of {CONNECTIONS} connections. Who opens more of these may be faster than"
        " that. The line is a program between two network namespaces (`bench/link.rs`) that delays, drops and"
        " paces packets; the origin that holds connections back is `bench/paced.py`."
    ),
    cases=_cases,
    needs=("nginx", "ip", "link", *downloaders.NEEDS),
    aims=(
        Aim("shaped link, a limit for each connection, over the ideal time", 1.05, ideal_ratio("limited")),
    ),
)
