"""Writes docs/faults.md: ``python -m tests.faults.matrix`` runs the tests' table and says what it cost."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tests.faults.cases import GROUPS, Case
from tests.faults.running import Ran, run_case
from tests.faults.worlds import FILE_BYTES, WORLDS, World, make_worlds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

PAGE = Path(__file__).parents[2] / "docs" / "faults.md"

INTRODUCTION = """\
# Faults of servers and networks, and what becomes of a transfer

Written by `python -m tests.faults.matrix`, which runs the table in `tests/faults/cases.py`; the tests run
the same table (`tests/faults/test_table.py`), so that this page cannot promise anything else. The server
is `tests/faults/origin.py`: bare sockets, written from RFC 9110 and 9112, sharing no code with the program.

Each fault meets three transfers: `fetch` of a file of {file} MB **with a SHA-256**, `fetch` of the same
file **without a digest**, over an older file of the same name, and `install` of a **dataset** of {dataset}
MB (three archives, one of them deflated, with MD5s). They use 6 connections, `--retries 2` (6 where ranges
are never kept to), `--timeout 5` (0.6 for silence), and 4 MiB of memory, so that spans are small and many.
Where a cell has one value it holds for all three; where it has three they stand in this order.

- **recovers**: the result is identical to the source (by hashlib, and by the tree that unzip makes), and
  nothing is left beside it.
- **an error class**: nothing of the transfer is visible, the older file is untouched, the message names
  file and address, and the same call, made again once the fault is gone, succeeds; it fetches again
  nothing that was verified, unless it is known to be wrong or came from a server without ranges.
- **as sent**: without a digest nothing can tell that the server's answer is wrong; it is taken as it came.

*Seconds* are those of the call that met the fault, back-off included. *Extra bytes* are what the server
sent beyond the size of the result, both calls together where the first one failed. What it had handed to
its system when a connection was dropped counts in full: on loopback that is most of an answer that was
refused for its headers, of which not a byte was read. *Requests* are those that the first call made. All
of it was run on a machine with 2 cores that had other work too; seconds differ from run to run.
"""


def main() -> int:
    """Run everything, write the page; 1 if a line does not end as the table says."""
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        worlds = make_worlds(Path(folder) / "worlds")
        dataset = worlds["dataset"].size(0) / 1e6
        lines = [INTRODUCTION.format(file=f"{FILE_BYTES / 1e6:.1f}", dataset=f"{dataset:.1f}")]
        wrong = 0
        for group, cases in GROUPS.items():
            lines += [f"\n## {group}\n", "| fault | outcome | seconds | extra bytes | requests |"]
            lines += ["|---|---|--:|--:|--:|"]
            for number, case in enumerate(cases):
                here = Path(folder) / f"{group}-{number}"
                ran = [asyncio.run(_run(case, kind, worlds, here)) for kind in range(len(WORLDS))]
                wrong += sum(one is None for one in ran)
                lines.append(_row(case, ran))
                sys.stderr.write(f"{lines[-1]}\n")
    PAGE.write_text("\n".join(lines) + "\n", "utf-8")
    return 1 if wrong else 0


async def _run(case: Case, kind: int, worlds: Mapping[str, World], folder: Path) -> Ran | None:
    here = folder / str(kind)
    here.mkdir(parents=True)
    try:
        return await run_case(case, worlds[WORLDS[kind]], case.outcomes[kind], here)
    except AssertionError as error:
        sys.stderr.write(f"{case.name}, {WORLDS[kind]}: {error}\n")
        return None


def _row(case: Case, ran: Sequence[Ran | None]) -> str:
    def cell(value: Callable[[Ran], str], missing: str = "?") -> str:
        return _joined([missing if one is None else value(one) for one in ran])

    cells = (
        case.name,
        cell(lambda one: one.outcome, "**not as it should be**"),
        cell(lambda one: f"{one.seconds:.1f}"),
        cell(lambda one: f"{one.extra_bytes:,}"),
        cell(lambda one: f"{one.requests}"),
    )
    return f"| {' | '.join(cells)} |"


def _joined(values: Iterable[str]) -> str:
    each = list(values)
    return each[0] if len(set(each)) == 1 else " / ".join(each)


if __name__ == "__main__":
    sys.exit(main())
