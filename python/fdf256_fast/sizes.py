"""``TARGET/.fdf256/SIZES``: bytes of each file of the manifest, for ``verify --quick``.

One line says which manifest it is about (``SHA256SUMS sha256:<hex>``), then ``<bytes>  <path>`` for each of
its files, in its order.  With another manifest it counts as not there, so that nobody has to remove it.
"""

from __future__ import annotations

import contextlib
import hashlib
from typing import TYPE_CHECKING

from fdf256_fast._core import SizeLines
from fdf256_fast.durable import replace_file, replacing, storing

if TYPE_CHECKING:
    from pathlib import Path

    from fdf256_fast._core import Job
    from fdf256_fast.workspace import Workspace

__all__ = ["read_sizes", "record_sizes", "write_sizes"]


def record_sizes(workspace: Workspace, job: Job) -> None:
    """Write down the sizes that go with the next manifest, before it takes the old one's place.

    Of files whose lines are new, as they lie there: whoever publishes has just checked them.  Nobody has
    looked at the others: they keep the size that was written down for their line, or have none.  To be called
    with the target locked.

    Asks for the size of each file and reads none: 0.4 seconds for 250,000 of them.  Line by line: of a
    million files an ``Audit`` would keep a quarter of a gigabyte; only what was installed before is kept.
    Raises StorageError, CancelledError.
    """
    with storing("read", workspace.next_manifest), workspace.next_manifest.open("rb") as manifest:
        digest = hashlib.file_digest(manifest, "sha256").hexdigest()
    head = _head(digest)
    if _begins_with(workspace.sizes, head):
        # Of a run that ended between this and the renaming: the old manifest's are no more.
        return
    kept = _kept_lines(workspace)
    lines = SizeLines(job, workspace.target, workspace.next_manifest)
    with replacing(workspace.sizes) as file:
        file.write(head)
        for some in lines:
            file.write(_with_kept(some, kept) if kept else some)
        # Of files that are gone since.
        file.writelines(kept.values())


def _kept_lines(workspace: Workspace) -> dict[bytes, bytes]:
    """By path, of each line that the next manifest has from the old one, what the old sizes say."""
    with storing("read", workspace.manifest):
        if not workspace.manifest.exists():
            return {}
        before = workspace.manifest.read_bytes()
        sizes = read_sizes(workspace, before) or b""
        lines = set(before.splitlines(keepends=True))
        with workspace.next_manifest.open("rb") as manifest:
            kept = {line[66:]: b"" for line in manifest if line in lines}
    for line in sizes.splitlines(keepends=True):
        path = line.partition(b"  ")[2]
        if path in kept:
            kept[path] = line
    return kept


def _with_kept(lines: bytes, kept: dict[bytes, bytes]) -> bytes:
    """``lines`` with those in ``kept``, which they leave, in the place of the ones about the same path."""
    each = lines.splitlines(keepends=True)
    return b"".join(kept.pop(line.partition(b"  ")[2], line) for line in each)


def _begins_with(path: Path, head: bytes) -> bool:
    with contextlib.suppress(OSError), path.open("rb") as file:
        return file.read(len(head)) == head
    return False


def write_sizes(workspace: Workspace, manifest: bytes, lines: bytes) -> None:
    """Write ``lines`` as the sizes of the files of ``manifest``.  Raises StorageError."""
    replace_file(workspace.sizes, _head_of(manifest) + lines)


def read_sizes(workspace: Workspace, manifest: bytes) -> bytes | None:
    """The lines about the files of ``manifest``; None where there are none for it."""
    with contextlib.suppress(OSError):
        head, lines = _head_of(manifest), workspace.sizes.read_bytes()
        if lines.startswith(head):
            return lines[len(head) :]
    return None


def _head_of(manifest: bytes) -> bytes:
    return _head(hashlib.sha256(manifest).hexdigest())


def _head(digest: str) -> bytes:
    return f"SHA256SUMS sha256:{digest}\n".encode()
