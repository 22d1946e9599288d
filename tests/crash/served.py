"""A server in a process of its own: ``python -m tests.crash.served FOLDER [--without-ranges]``.

Prints its address and serves until standard input ends, so that none of its threads, sockets and tasks can
be taken for those of the process that is looked at.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tests.servers import origin, python_server

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]


@contextlib.contextmanager
def served(folder: Path, *, ranges: bool = True) -> Iterator[str]:
    """The address of such a server over ``folder``, which is gone when the block ends."""
    with subprocess.Popen(
        (sys.executable, "-m", "tests.crash.served", folder, *(() if ranges else ("--without-ranges",))),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert url, "the server did not start"
        try:
            yield url
        finally:
            process.stdin.close()


async def main() -> None:
    """Serve."""
    serve = python_server if "--without-ranges" in sys.argv else origin
    async with serve(Path(sys.argv[1])) as server:
        sys.stdout.write(f"{server.url}\n")
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main())
