"""A process that has everything imported, and becomes the command as often as it is asked to.

A fork takes milliseconds where starting Python takes half a second, so that a test can afford hundreds of
runs that are killed.  Each line on standard input is an order (JSON, see :class:`tests.crash.kills.Order`),
each line on standard output says how that run ended.

A run can be hit at an exact point: Python tells an audit hook of every file that it is about to open for
writing, rename or remove, and at the n-th of those the run sends itself a signal.
"""

from __future__ import annotations

import gc
import importlib
import itertools
import json
import os
import signal
import sys
import time
from typing import Any

MODULES = ("status", "cli", "local", "extraction", "installation", "fetching", "console", "report", "_core")

_CHANGES = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate", "os.link", "shutil.rmtree"}
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


class Trap:
    """Counts what is about to change under ``folder``; at number ``at`` it sends ``how``."""

    def __init__(self, folder: str, at: int | None, how: int, trace: str | None) -> None:
        self._folder = folder
        self._at = at
        self._how = how
        self._numbers = itertools.count(1)
        self._trace = os.open(trace, os.O_WRONLY | os.O_CREAT | os.O_APPEND) if trace else None

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._counts(event, arguments):
            return
        number = next(self._numbers)
        if self._trace is not None:
            os.write(self._trace, f"{event} {arguments[0]}\n".encode(errors="surrogateescape"))
        if number == self._at:
            os.kill(os.getpid(), self._how)

    def _counts(self, event: str, arguments: tuple[Any, ...]) -> bool:
        if event == "open":
            return bool(arguments[2] & _WRITES) and self._is_inside(arguments[0])
        # What is removed relative to a handle is removed by rmtree, which only we call.
        relative = event in {"os.remove", "os.rmdir"} and arguments[1] != -1
        return event in _CHANGES and (relative or self._is_inside(arguments[0]))

    def _is_inside(self, path: object) -> bool:
        return isinstance(path, str | os.PathLike) and os.fspath(path).startswith(self._folder)


def become(order: dict[str, Any]) -> None:
    """In the child: be the command."""
    for number, path in enumerate((os.devnull, order["stdout"], order["stderr"])):
        opened = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        os.dup2(opened, number)
        os.close(opened)
    # A process that was just started has this; the zygote's own may be ignored by whoever runs the tests.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.update(order["environment"])
    sys.addaudithook(Trap(order["folder"], order["at"], order["how"], order["trace"]))
    status = importlib.import_module("fdf256_fast.status")
    try:
        status.run(order["arguments"])
    except SystemExit as end:
        sys.stdout.flush()
        sys.stderr.flush()
        # Taking down all that is imported here takes as long as the run itself.
        os._exit(int(end.code or 0))


def run(order: dict[str, Any]) -> dict[str, Any]:
    """Fork, hit the child when it is time, and wait for its end."""
    started = time.monotonic()
    child = os.fork()
    if child == 0:
        become(order)
    for seconds, how in order["later"]:
        time.sleep(max(0.0, started + seconds - time.monotonic()))
        os.kill(child, how)  # one that has ended is still there until it was waited for
    _, status = os.waitpid(child, 0)
    return {"status": os.waitstatus_to_exitcode(status), "seconds": time.monotonic() - started}


def serve() -> None:
    """Obey until standard input ends."""
    for module in MODULES:
        importlib.import_module(f"fdf256_fast.{module}")
    gc.freeze()
    for line in sys.stdin:
        sys.stdout.write(json.dumps(run(json.loads(line))) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    serve()
