"""What the figures depend on: processor, kernel, memory; and where there is room."""

from __future__ import annotations

import os
import platform
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from bench.frame import Place

__all__ = ["PLACES", "available_bytes", "cores", "describe_machine", "folder_of", "has_room"]

#: The disk is the one that has this checkout: a temporary folder may well lie in memory.
PLACES: Final[dict[Place, Path]] = {
    "memory": Path("/dev/shm"),
    "disk": Path(__file__).parents[1] / "target" / "bench",
}
#: Those that the digests, CRC-32 and copying in our core and in the others choose their code by.
_RELEVANT_FLAGS: Final = (
    "ssse3", "avx2", "bmi2", "avx512f", "avx512bw", "avx512vl",
    "pclmulqdq", "vpclmulqdq", "sha_ni", "erms",
)  # fmt: skip


def cores() -> int:
    """Processors that this process may use, as nproc counts them."""
    return len(os.sched_getaffinity(0))


def describe_machine() -> dict[str, object]:
    """For the results."""
    processor, flags = _processor()
    return {
        "cores": cores(),
        "processor": processor,
        "flags": flags,
        "memory_bytes": _memory("MemTotal"),
        "kernel": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def available_bytes() -> int:
    """Of memory, without anything having to give way."""
    return _memory("MemAvailable")


def folder_of(place: Place) -> Path:
    """Where to make temporary folders."""
    folder = PLACES[place]
    if place == "disk":
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def has_room(place: Place, needed_bytes: int) -> bool:
    """Whether so much may lie there."""
    folder = PLACES[place]
    if place == "disk":
        return shutil.disk_usage(folder_of(place)).free >= needed_bytes
    if not (folder.is_dir() and os.access(folder, os.W_OK)):
        return False
    return min(shutil.disk_usage(folder).free, available_bytes()) >= needed_bytes


def _processor() -> tuple[str, list[str]]:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine(), []
    model = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    listed = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", text, re.MULTILINE)
    has = set(listed[1].split()) if listed else set()
    return model[1] if model else platform.machine(), [f for f in _RELEVANT_FLAGS if f in has]


def _memory(field: str) -> int:
    """Bytes, from the kernel's table; 0 where there is none."""
    try:
        text = Path("/proc/meminfo").read_text()
    except OSError:
        return 0
    found = re.search(rf"^{field}:\s*(\d+) kB$", text, re.MULTILINE)
    return int(found[1]) * 1024 if found else 0
