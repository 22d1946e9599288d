"""The published script's way to install, to compare with: one archive, one step after the other.

``python published.py TARGET MD5 URL [MD5 URL ...]``, run in the folder for the archives.  Only what takes
time is here: a GET to disk, the MD5 of the file, which is read whole, and ``extractall``.
"""

from __future__ import annotations

import hashlib
import shutil
import sys
import urllib.request
import zipfile
from pathlib import Path


def install(target: Path, url: str, wanted_md5: str) -> None:
    archive = Path(url.rpartition("/")[2])
    with urllib.request.urlopen(url) as answer, archive.open("wb") as file:
        shutil.copyfileobj(answer, file)
    if hashlib.md5(archive.read_bytes()).hexdigest() != wanted_md5:
        sys.exit(f"{archive}: wrong MD5")
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(target)


if __name__ == "__main__":
    given = sys.argv[2:]
    for md5, url in zip(given[::2], given[1::2], strict=True):
        install(Path(sys.argv[1]), url, md5)
