"""The programs that are compared: what each comes from, where it is, and how it is installed.

Debian's by apt-get (which asks for root), Python's into a virtual environment of their own, Rust's by cargo;
the last two under ``target/bench``, so that ``make clean`` removes them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["Tools"]

#: Program -> Debian's package.
_DEBIAN: Final = {
    "7z": "p7zip-full",
    "aria2c": "aria2",
    "axel": "axel",
    "b3sum": "b3sum",
    "bsdtar": "libarchive-tools",
    "curl": "curl",
    "grep": "grep",
    "gzip": "gzip",
    "ip": "iproute2",
    "jq": "jq",
    "md5sum": "coreutils",
    "nginx": "nginx",
    "openssl": "openssl",
    "pigz": "pigz",
    "sha256sum": "coreutils",
    "split": "coreutils",
    "tar": "tar",
    "unzip": "unzip",
    "wget2": "wget2",
    "xargs": "findutils",
    "zstd": "zstd",
}
#: Modules of the environment of their own; each is a package of the same name.
_PYTHON: Final = ("hf_transfer", "parfive", "pypdl")
_CARGO: Final = ("ripunzip",)
#: Ours, between two namespaces: see line.py.
_LINK: Final = "link"
_LINK_SOURCE: Final = Path(__file__).with_name("link.rs")
#: Debian puts servers and `ip` where only root looks.
_MORE_PATH: Final = ("/usr/sbin", "/usr/local/sbin", "/sbin")
#: What prints a version, where it is not --version.
_VERSION: Final = {"nginx": ("-v",), "openssl": ("version",), "ip": ("-V",), "7z": (), "unzip": ("-v",)}


@dataclass(frozen=True, slots=True)
class Tools:
    """``folder`` is where what is not the system's lies."""

    folder: Path

    def path(self, name: str) -> str | None:
        """Of a program; of a Python module, the interpreter that has it.  None where it is not here."""
        if name in _PYTHON:
            found = any(self._environment.glob(f"lib/python3*/site-packages/{name}"))
            return str(self._environment / "bin" / "python") if found else None
        if name == _LINK:
            built = self.folder / _LINK
            is_new = built.exists() and built.stat().st_mtime >= _LINK_SOURCE.stat().st_mtime
            return str(built) if is_new else None
        search = os.pathsep.join([os.environ.get("PATH", os.defpath), *_MORE_PATH])
        return shutil.which(name, path=f"{self._cargo / 'bin'}{os.pathsep}{search}")

    def needed(self, name: str) -> str:
        """As :meth:`path`, for what was found before."""
        found = self.path(name)
        assert found is not None, name
        return found

    def missing(self, names: Iterable[str]) -> str | None:
        """The reason why what needs ``names`` cannot run, or None."""
        absent = [name for name in names if self.path(name) is None]
        if not absent:
            return None
        return ", ".join(f"{name} is not here ({_origin(name)})" for name in absent)

    def set_up(self, names: Iterable[str], say: Callable[[str], None]) -> None:
        """Install what is missing, where that is possible; what stays away is left out later, by name."""
        absent = [name for name in sorted(set(names)) if self.path(name) is None]
        packages = sorted({_DEBIAN[name] for name in absent if name in _DEBIAN})
        if packages:
            if os.geteuid() == 0 and shutil.which("apt-get"):
                _try(("apt-get", "install", "--yes", "--no-install-recommends", *packages), say)
            else:
                say(f"not here, and apt-get asks for root: {' '.join(packages)}")
        modules = [name for name in absent if name in _PYTHON]
        if modules:
            _try((sys.executable, "-m", "venv", str(self._environment)), say)
            _try(
                (str(self._environment / "bin" / "python"), "-m", "pip", "install", "--quiet", *modules), say
            )
        if _LINK in absent:
            _try(("rustc", "-O", "--edition=2021", "-o", str(self.folder / _LINK), str(_LINK_SOURCE)), say)
        for name in absent:
            if name in _CARGO:
                _try(("cargo", "install", "--quiet", "--locked", "--root", str(self._cargo), name), say)

    def version(self, name: str) -> str:
        """The first line that a program says of itself."""
        if name == _LINK:
            return "bench/link.rs"
        if name in _PYTHON:
            found = next(self._environment.glob(f"lib/python3*/site-packages/{name}-*.dist-info"), None)
            return found.name.removesuffix(".dist-info").replace("-", " ") if found else "unknown"
        command = [self.needed(name), *_VERSION.get(name, ("--version",))]
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
        lines = (answer.stdout + answer.stderr).strip().splitlines()
        return lines[0] if lines else "unknown"

    @property
    def _environment(self) -> Path:
        return self.folder / "venv"

    @property
    def _cargo(self) -> Path:
        return self.folder / "cargo"


def _origin(name: str) -> str:
    if name in _PYTHON:
        return f"pip install {name}"
    if name == _LINK:
        return "rustc -O bench/link.rs"
    if name in _CARGO:
        return f"cargo install {name}"
    return f"Debian: apt-get install {_DEBIAN[name]}"


def _try(command: tuple[str, ...], say: Callable[[str], None]) -> None:
    say(" ".join(command))
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        say(f"  {error}")
        return
    if done.returncode != 0:
        say(f"  status {done.returncode}: {done.stderr.strip()[-400:]}")
