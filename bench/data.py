"""The dataset to install: made from a seed by a process of its own, described by a small value.

A process of its own, because the kernel counts the memory of the one that starts a program into
that program's peak: this script's modules and pictures would show up in everybody's figure.

Run as ``python -m bench.data FOLDER IMAGES IMAGE_BYTES COMPRESSION SEED URL``, it prints the description.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["Data", "Shape", "make_data"]

_ROOT: Final = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True)
class Shape:
    """How much, and whether members are ``stored`` or ``deflated``."""

    images: int
    image_bytes: int = 100_000
    compression: str = "stored"


@dataclass(frozen=True, slots=True)
class Data:
    """Archives in a folder that a server has at ``url``.

    ``names`` are file names, the largest archive first, so that two workers end together;
    ``md5`` and ``sizes`` (bytes) are by file name; ``catalog`` is the text for ``--catalog``.
    """

    folder: Path
    url: str
    names: tuple[str, ...]
    md5: dict[str, str]
    sizes: dict[str, int]
    members: int
    catalog: str

    @property
    def urls(self) -> tuple[str, ...]:
        """In the order of ``names``."""
        return tuple(f"{self.url}/{name}" for name in self.names)

    @property
    def paths(self) -> tuple[Path, ...]:
        """In the order of ``names``."""
        return tuple(self.folder / name for name in self.names)

    @property
    def total_bytes(self) -> int:
        """Of all archives."""
        return sum(self.sizes.values())


def make_data(folder: Path, shape: Shape, seed: int, url: str) -> Data:
    """Write the archives into ``folder``; a minute for 10,000 deflated images, ten seconds stored.

    Raises subprocess.CalledProcessError; the child has said why.
    """
    arguments = [str(folder), str(shape.images), str(shape.image_bytes), shape.compression, str(seed), url]
    command = [sys.executable, "-m", "bench.data", *arguments]
    made = subprocess.run(command, cwd=_ROOT, stdout=subprocess.PIPE, check=True)
    told = json.loads(made.stdout)
    return Data(
        folder=folder,
        url=url,
        names=tuple(sorted(told["sizes"], key=lambda name: told["sizes"][name], reverse=True)),
        md5=told["md5"],
        sizes=told["sizes"],
        members=told["members"],
        catalog=told["catalog"],
    )


def _main(folder: str, images: str, image_bytes: str, compression: str, seed: str, url: str) -> None:
    # Here and not above: who only wants `Data` should not load the package (see the module).
    from fdf256_fast.synthetic import make_dataset  # noqa: PLC0415

    made = make_dataset(
        Path(folder),
        images=int(images),
        image_bytes=int(image_bytes),
        seed=int(seed),
        compression=compression,  # type: ignore[arg-type]  # make_dataset checks it
    )
    told = {
        "md5": {f"{name}.zip": digest.removeprefix("md5:") for name, digest in made.digests.items()},
        "sizes": {f"{name}.zip": size for name, size in made.sizes.items()},
        "members": sum(made.members.values()),
        "catalog": made.catalog_toml(url),
    }
    print(json.dumps(told))


if __name__ == "__main__":
    _main(*sys.argv[1:])
