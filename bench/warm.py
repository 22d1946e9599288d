"""Memory that the machine has at hand, so that no run is timed for what the machine under it does.

A virtual machine may give free memory back to its host, and gets each page of it anew at the first touch.
Here, with Linux's free page reporting, writing to a memory file system went at 3.3 GB/s into pages that had
just been freed, and at 0.36 GB/s into others: 2 GiB took 0.66 s or 3.2 s.  Who ran after a pause, or wrote
more, was charged for that.

``python -m bench.warm BYTES`` touches that many and frees them; a host takes them back a second or two later.
"""

from __future__ import annotations

import mmap
import subprocess
import sys
from pathlib import Path
from typing import Final

__all__ = ["warm"]

_ROOT: Final = Path(__file__).parents[1]


def warm(size: int) -> None:
    """Touch ``size`` bytes and free them."""
    # In a process of its own: Linux would count them to the peak of every program that this one starts later.
    subprocess.run([sys.executable, "-m", "bench.warm", str(size)], cwd=_ROOT, check=True)


def _touch(size: int) -> None:
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    # Where the kernel cannot do it in one call, every page is written to.
    populate: int | None = getattr(mmap, "MAP_POPULATE", None)
    with mmap.mmap(-1, size, flags | (populate or 0)) as memory:
        if populate is None:
            for offset in range(0, size, mmap.PAGESIZE):
                memory[offset] = 1


if __name__ == "__main__":
    _touch(int(sys.argv[1]))
