"""``fdf256 info --plot`` and ``fdf256_fast.plot``: which kind of picture, and where it goes."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from fdf256_fast.dataset import need
from fdf256_fast.durable import check_replaceable, storing
from fdf256_fast.errors import UsageError
from fdf256_fast.faces import sample_faces
from fdf256_fast.outputs import check_output, replace_output, split_metadata
from fdf256_fast.survey import info, no_metadata

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fdf256_fast.images import StrPath
    from fdf256_fast.survey import Survey

__all__ = ["check_drawing", "draw", "plot", "without_settings"]

KINDS = (".png", ".svg", ".html")


def plot(target: StrPath, file: StrPath, *, faces: int = 24, seed: int = 0) -> Survey:
    """Draw charts of what ``target`` has (licences, splits, face sizes, years), and sample faces.

    Args:
        target: what :func:`~fdf256_fast.survey.info` takes.
        file: where to; ``.png``, ``.svg`` or ``.html`` says what kind of file it becomes.  An HTML file needs
            no other, and names author, title and licence of every face, with links.
        faces: how many faces at most, each with its box and landmarks.
        seed: which faces: the same ones for the same seed.

    Returns:
        What was drawn.

    Raises:
        Error: matplotlib, NumPy or Pillow is not installed (``pip install 'fdf256_fast[plot]'``).
        UsageError: ``file`` has another ending, or is one of the dataset's.
        StorageError: ``file`` cannot be written, or a file of the dataset cannot be read.
        IntegrityError, MetadataError: a file of the dataset is damaged.
    """
    path = Path(file)
    check_drawing(path)
    check_output(path, Path(target), split_metadata(Path(target)))
    found = info(target)
    draw(found, path, faces, seed)
    return found


def check_drawing(file: Path) -> None:
    """Raise what can be told before anything is read: see :func:`plot`."""
    if file.suffix.lower() not in KINDS:
        raise UsageError(
            f"{file}: what kind of picture it is to be cannot be told", hint=f"One of {', '.join(KINDS)}."
        )
    check_replaceable(file)
    need("plot", matplotlib="matplotlib", numpy="NumPy", PIL="Pillow")


def draw(found: Survey, file: Path, faces: int, seed: int) -> None:
    """Draw ``found`` with some of its faces to ``file``; raises what :func:`plot` does."""
    if not found.splits:
        raise no_metadata(Path(found.target))
    splits = [split.name for split in found.splits if split.present.images]
    sample = sample_faces(found.target, splits, faces, seed)
    kind = file.suffix.lower().removeprefix(".")
    if kind == "html":
        from fdf256_fast.page import html_page  # noqa: PLC0415 - matplotlib

        replace_output(file, html_page(found, sample))
    else:
        from fdf256_fast.charts import picture  # noqa: PLC0415 - matplotlib

        replace_output(file, picture(found, sample, kind))


@contextlib.contextmanager
def without_settings() -> Iterator[None]:
    """Keep matplotlib, while it is imported, from making its folders in the user's home.

    For a process of our own: matplotlib looks for its settings once.
    """
    if "matplotlib" in sys.modules or "MPLCONFIGDIR" in os.environ:
        yield
        return
    with contextlib.ExitStack() as stack:
        with storing("make", Path("a temporary folder")):
            folder = stack.enter_context(TemporaryDirectory(prefix="fdf256-", ignore_cleanup_errors=True))
        os.environ["MPLCONFIGDIR"] = folder
        try:
            yield
        finally:
            del os.environ["MPLCONFIGDIR"]
