"""Installations that must end right whatever happens, with their figures.

1. ``kills``: the large set, ended by SIGKILL at ten random moments, then left to finish: the same tree as
   ``unzip`` makes, and how many bytes the server sent in all.
2. ``wheels``: archives that nobody here made: wheels of numpy and scipy as ``pip download`` gets them,
   unpacked by ``fdf256 fetch --extract --digest``, compared with ``unzip``.

Usage: python -m bench.proof [--images N] [--kills N] [--seed N]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.data import Shape, make_data
from bench.machine import folder_of
from bench.nginx import Nginx, running_nginx
from bench.tools import Tools

FDF256 = (sys.executable, "-m", "fdf256_fast")


def main() -> int:
    """Run both; returns an exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=256)
    options = parser.parse_args()
    program = Tools(folder_of("disk")).path("nginx")
    if program is None:
        print("nginx is not installed (Debian: nginx-light)", file=sys.stderr)
        return 2
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as name:
        folder = Path(name)
        folder.chmod(0o755)  # the server's workers run as another user
        served = folder / "served"
        served.mkdir()
        with running_nginx((program,), served) as server:
            kills(folder, server, options.images, options.kills, options.seed)
            wheels(folder, server)
    return 0


def kills(folder: Path, server: Nginx, images: int, count: int, seed: int) -> None:
    """Kill at random moments, let the last run finish, compare."""
    data = make_data(folder / "served", Shape(images), seed, server.url)
    catalog, target = folder / "catalog.toml", folder / "target"
    catalog.write_text(data.catalog, encoding="utf-8")
    command = [*FDF256, "download", str(target), "--catalog", str(catalog), "--progress", "none", "--json"]
    moments = random.Random(seed)
    started = time.monotonic()
    for _ in range(count):
        run = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            # Most of a run's length on two cores, start-up included: some kills come before the first byte.
            run.wait(moments.uniform(0.3, 1.5))
        except subprocess.TimeoutExpired:
            run.kill()
            run.wait()
    last = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    report = json.loads(last.stdout)
    sent = server.traffic().body_bytes
    unzip(sorted((folder / "served").glob("*.zip")), folder / "unzipped")
    subprocess.run(["diff", "-r", "-x", ".fdf256", folder / "unzipped", target], check=True)
    subprocess.run(["sha256sum", "-c", "--quiet", ".fdf256/SHA256SUMS"], cwd=target, check=True)
    print(
        f"kills: {count} times SIGKILL, then to the end in {time.monotonic() - started:.1f} s: "
        f"{report['files']} files as unzip has them, manifest passes; sent {sent:,} of {data.total_bytes:,} "
        f"bytes ({sent / data.total_bytes:.3f}), the last run resumed {report['bytes_resumed']:,}"
    )


def wheels(folder: Path, server: Nginx) -> None:
    """Real archives against ``unzip``."""
    served = folder / "served"
    subprocess.run(
        [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "-d", served, "numpy", "scipy"],
        check=True,
    )
    for wheel in sorted(served.glob("*.whl")):
        wheel.chmod(0o644)
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        target = folder / wheel.stem
        url = f"{server.url}/{wheel.name}"
        before = server.traffic().body_bytes
        command = [*FDF256, "fetch", url, "--extract", "-d", str(target), "--digest", f"sha256:{digest}"]
        subprocess.run([*command, "-q"], check=True)
        sent = server.traffic().body_bytes - before
        unzip([wheel], folder / f"{wheel.stem}.unzipped")
        subprocess.run(["diff", "-r", folder / f"{wheel.stem}.unzipped", target], check=True)
        size = wheel.stat().st_size
        print(f"wheels: {wheel.name}: as unzip has it; sent {sent:,} of {size:,} bytes ({sent / size:.4f})")


def unzip(archives: list[Path], target: Path) -> None:
    """The independent way."""
    for archive in archives:
        subprocess.run(["unzip", "-q", "-o", archive, "-d", target], check=True)


if __name__ == "__main__":
    sys.exit(main())
