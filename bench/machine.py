"""What the figures depend on: processor, kernel, memory, versions of the programs."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from contestants import cores

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["describe_machine", "roomy_folder", "versions"]

_MEMORY_FILE_SYSTEM: Final = Path("/dev/shm")
#: Those that the digests, CRC-32 and copying in our core and in the others choose their code by.
_RELEVANT_FLAGS: Final = (
    "ssse3", "avx2", "bmi2", "avx512f", "avx512bw", "avx512vl",
    "pclmulqdq", "vpclmulqdq", "sha_ni", "erms",
)  # fmt: skip


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


def versions(nginx: str, programs: Sequence[str]) -> dict[str, str]:
    """The first line that each program says of itself."""
    asked = {"fdf256": [sys.executable, "-m", "fdf256_fast", "--version"], "nginx": [nginx, "-v"]}
    asked |= {program: [program, "--version"] for program in programs}
    told: dict[str, str] = {}
    for name, command in asked.items():
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
        lines = (answer.stdout + answer.stderr).strip().splitlines()
        told[name] = lines[0] if lines else "unknown"
    return told


def roomy_folder(needed_bytes: int, wanted: Path | None) -> tuple[Path, str]:
    """A folder to make temporary ones in, and what kind of place it is.

    The memory file system where it has room: what is compared is work, not a disk's mood.
    """
    if wanted is not None:
        return wanted, "the folder that was asked for"
    if _MEMORY_FILE_SYSTEM.is_dir() and os.access(_MEMORY_FILE_SYSTEM, os.W_OK):
        free = min(shutil.disk_usage(_MEMORY_FILE_SYSTEM).free, _memory("MemAvailable"))
        if free >= needed_bytes:
            return _MEMORY_FILE_SYSTEM, "memory file system"
        kind = "temporary folder (the memory file system has no room)"
    else:
        kind = "temporary folder (no memory file system)"
    return Path(tempfile.gettempdir()), kind


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
