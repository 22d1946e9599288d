"""Downloaders that are libraries: one call of each, as its documentation has it.

``python peers.py LIBRARY URLS FOLDER``; ``URLS`` is a file with one address a line.  Run by the interpreter
that has the library, so nothing of this package is imported here, and of the libraries only that one.
"""

from __future__ import annotations

import sys
from pathlib import Path


def hf_transfer(urls: list[str], folder: Path) -> None:
    """With the numbers that huggingface_hub gives it.  One file a call."""
    import hf_transfer  # type: ignore[import-not-found]  # noqa: PLC0415

    for url in urls:
        hf_transfer.download(
            url,
            str(folder / name_of(url)),
            max_files=128,
            chunk_size=10 << 20,
            parallel_failures=127,
            max_retries=5,
        )


def parfive(urls: list[str], folder: Path) -> None:
    from parfive import Downloader, SessionConfig  # type: ignore[import-not-found]  # noqa: PLC0415

    # By default it asks for gzip, and then compares the size with that of what it unpacked.
    config = SessionConfig(file_progress=False, headers={"Accept-Encoding": "identity"})
    # Several files at once with one connection each, or one file with several.
    connections, splits = (16, 1) if len(urls) > 1 else (1, 16)
    downloader = Downloader(max_conn=connections, max_splits=splits, progress=False, config=config)
    for url in urls:
        downloader.enqueue_file(url, path=folder)
    failed = downloader.download().errors
    if failed:
        sys.exit(str(failed[0]))


def pypdl(urls: list[str], folder: Path) -> None:
    from pypdl import Pypdl  # type: ignore[import-not-found]  # noqa: PLC0415

    tasks = [{"url": url, "file_path": str(folder / name_of(url))} for url in urls]
    at_once, segments = (16, 1) if len(urls) > 1 else (1, 16)
    downloader = Pypdl(max_concurrent=at_once)
    downloader.start(tasks=tasks, multisegment=segments > 1, segments=segments, display=False)
    if downloader.failed:
        sys.exit(str(downloader.failed[0]))


def name_of(url: str) -> str:
    return url.rpartition("/")[2]


if __name__ == "__main__":
    library, given, target = sys.argv[1:]
    download = {"hf_transfer": hf_transfer, "parfive": parfive, "pypdl": pypdl}[library]
    download(Path(given).read_text().split(), Path(target))
