"""``TARGET/.fdf256/SIZES``: bytes of each file of the manifest, for ``verify --quick``.

One line says which manifest it is about (``SHA256SUMS sha256:<hex>``), then ``<bytes>  <path>`` for each of
its files, in its order.  With another manifest it counts as not there, so that nobody has to remove it.
"""

from __future__ import annotations

import contextlib
import hashlib
from typing import TYPE_CHECKING

from fdf256_fast._core import Audit
from fdf256_fast.durable import replace_file, storing

if TYPE_CHECKING:
    from fdf256_fast._core import Job
    from fdf256_fast.workspace import Workspace

__all__ = ["read_sizes", "record_sizes", "write_sizes"]


def record_sizes(workspace: Workspace, job: Job, workers: int) -> None:
    """Write down the sizes of what is installed now, as it lies there; call it with the target locked.

    Asks for the size of each file and reads none: 0.4 seconds for 250,000 of them.  Raises StorageError,
    CancelledError.
    """
    with storing("read", workspace.manifest):
        manifest = workspace.manifest.read_bytes()
    audit = Audit(workspace.target, manifest, is_manifest=True)
    audit.run(job, workers, is_quick=True, is_closed=True)
    write_sizes(workspace, manifest, audit.size_lines())


def write_sizes(workspace: Workspace, manifest: bytes, lines: bytes) -> None:
    """Write ``lines`` as the sizes of the files of ``manifest``.  Raises StorageError."""
    replace_file(workspace.sizes, _head(manifest) + lines)


def read_sizes(workspace: Workspace, manifest: bytes) -> bytes | None:
    """The lines about the files of ``manifest``; None where there are none for it."""
    with contextlib.suppress(OSError):
        head, lines = _head(manifest), workspace.sizes.read_bytes()
        if lines.startswith(head):
            return lines[len(head) :]
    return None


def _head(manifest: bytes) -> bytes:
    return b"SHA256SUMS sha256:%s\n" % hashlib.sha256(manifest).hexdigest().encode()
