"""Is a result right?  Compared with what it was made from, by Python's own modules."""

from __future__ import annotations

import filecmp
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from bench.frame import WrongResult

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["same_file", "same_files", "unpacked"]


def same_file(here: Path, there: Path) -> None:
    """Raise WrongResult unless both have the same bytes."""
    if not here.is_file():
        raise WrongResult(f"{here.name} is not there")
    if not filecmp.cmp(here, there, shallow=False):
        raise WrongResult(f"{here.name} is not what it was made from")


def same_files(folder: Path, originals: Iterable[Path]) -> None:
    """All ``originals`` are in ``folder``, by name, with the same bytes."""
    for original in originals:
        same_file(folder / original.name, original)


def unpacked(tree: Path, archives: Iterable[Path]) -> None:
    """All members of the zips are in ``tree``, and nothing else but our own folder.

    In a process of its own, so that this one stays small (see :class:`bench.measure.Usage`).
    """
    command = [sys.executable, "-m", "bench.checks", str(tree), *(str(archive) for archive in archives)]
    root = Path(__file__).parents[1]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise WrongResult(f"{(done.stdout + done.stderr).strip()[-400:]}")


def _compare(tree: Path, archives: Iterable[Path]) -> str | None:
    """What is wrong first."""
    wanted = 0
    for archive in archives:
        with zipfile.ZipFile(archive) as opened:
            for entry in opened.infolist():
                if entry.is_dir():
                    continue
                wanted += 1
                path = tree / entry.filename
                if not path.is_file() or path.read_bytes() != opened.read(entry):
                    return f"{entry.filename} is not what {archive.name} has"
    found = sum(path.is_file() for path in tree.rglob("*") if ".fdf256" not in path.parts)
    return None if found == wanted else f"{found} files, not {wanted}"


if __name__ == "__main__":
    sys.exit(_compare(Path(sys.argv[1]), [Path(name) for name in sys.argv[2:]]))
