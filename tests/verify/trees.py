"""Trees as an installation leaves them, made by hand."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

from tests.integration.oracles import bytes_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

FILES = {
    **{f"train/images/{number}.png": bytes_of(1000 + number, number) for number in range(40)},
    **{f"val/images/{number}.png": bytes_of(500 + number, number + 7) for number in range(10)},
    "train/fdf_metainfo.json": b"{}\n",
    "train/landmarks.npy": bytes_of(3000),
    "val/nothing": b"",
}


def make_tree(target: Path, files: Mapping[str, bytes] = FILES) -> Path:
    """``files`` in ``target``, with manifest and record."""
    lines = []
    for path, data in files.items():
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        (target / path).write_bytes(data)
        lines.append(f"{hashlib.sha256(data).hexdigest()}  {path}\n")
    home = target / ".fdf256"
    home.mkdir(parents=True, exist_ok=True)
    (home / "SHA256SUMS").write_text("".join(lines))
    archive = {"digest": "", "bytes": 1, "members": len(files), "verified": "md5", "url": "x"}
    record = {"archives": {"a": archive}, "version": 1, "files": len(files)}
    (home / "installed.json").write_text(json.dumps(record))
    return target


def manifest_of(target: Path) -> Path:
    """Where its manifest is."""
    return target / ".fdf256/SHA256SUMS"
