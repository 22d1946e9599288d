"""Programs that download files, each with as many connections as ours has by default."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from bench import checks, peers
from bench.files import sha256
from bench.frame import Contestant
from bench.measure import Command

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from bench.tools import Tools

__all__ = ["CONNECTIONS", "NEEDS", "Download", "contestants", "left_out"]

#: The default of `fdf256 fetch --connections`.
CONNECTIONS: Final = 16
#: See bench/jobs/install.py for -k, --disk-cache and the like.
_ARIA2: Final = ("--quiet", "--no-conf", "-x16", "-s16", "-j16", "--file-allocation=none")
_CURL: Final = ("--silent", "--fail", "--remote-name-all")
_CURL_PARALLEL: Final = (*_CURL, "--parallel", "--parallel-max", "16")
_WGET2: Final = ("--quiet", "--max-threads=16")
_AXEL: Final = ("--quiet", "--num-connections=16")
_LIBRARIES: Final = {
    "hf_transfer": "hf_transfer.download with huggingface_hub's numbers (up to 128 connections)",
    "pypdl": "Pypdl, 16 segments of one file or 16 files",
    "parfive": "parfive.Downloader, 16 splits of one file or 16 files",
}
#: 2,000 files of 1 MB, one call after the other, took hf_transfer 20 s where others take 2 to 10.
_ONE_A_CALL: Final = {"axel": "takes one file a call", "hf_transfer": "takes one file a call"}
NEEDS: Final = ("aria2c", "wget2", "curl", "axel", *_LIBRARIES)


@dataclass(frozen=True, slots=True)
class Download:
    """What to get: ``paths`` from the root of ``url``.

    ``authority`` is the certificate to trust, for TLS.  ``inside`` are words before every command, such as
    ``ip netns exec NAME``.
    """

    url: str
    paths: Sequence[Path]
    tools: Tools
    authority: Path | None = None
    inside: tuple[str, ...] = ()

    @property
    def urls(self) -> list[str]:
        """In the order of ``paths``."""
        return [f"{self.url}/{path.name}" for path in self.paths]

    def contestant(
        self, name: str, description: str, argv: tuple[str, ...], needs: tuple[str, ...] = ()
    ) -> Contestant:
        """One command, that downloads into the folder that it starts in; ../urls has the addresses."""

        def prepare(folder: Path) -> Sequence[Command]:
            (folder / "urls").write_text("".join(f"{url}\n" for url in self.urls))
            (folder / "urls.curl").write_text("".join(f"url = {url}\n" for url in self.urls))
            (folder / "files").mkdir()
            # OpenSSL's way to say whom to trust, which Python's `ssl` follows.
            env = {"SSL_CERT_FILE": str(self.authority)} if self.authority else {}
            return [Command(name, self.inside + argv, folder / "files", env)]

        return Contestant(name, description, prepare, self._check, needs)

    def _check(self, folder: Path) -> None:
        checks.same_files(folder / "files", self.paths)


def contestants(download: Download, *, verified: bool = True) -> list[Contestant]:
    """Ours, ours with a digest (``verified``, of one file), and all others that can do it."""
    ours = (sys.executable, "-m", "fdf256_fast", "fetch", "--progress", "none")
    found = [
        download.contestant("fdf256", "fdf256 fetch --input-file FILE", (*ours, "--input-file", "../urls"))
    ]
    one = download.paths[0] if len(download.paths) == 1 else None
    if one is not None and verified:
        argv = (*ours, "--digest", f"sha256:{sha256(one)}", download.urls[0])
        found.append(download.contestant("fdf256, checked", "fdf256 fetch --digest sha256:HEX URL", argv))
    others = [*(make(download) for make in _PROGRAMS), *_libraries(download)]
    return [*found, *(other for other in others if one or other.name not in _ONE_A_CALL)]


def left_out(download: Download) -> dict[str, str]:
    """Those that cannot do it, with the reason."""
    if len(download.paths) == 1:
        return {}
    return dict(_ONE_A_CALL)


def _aria2(download: Download) -> Contestant:
    trust = (f"--ca-certificate={download.authority}",) if download.authority else ()
    argv = (*_path(download, "aria2c"), *_ARIA2, *trust, "-i", "../urls")
    return download.contestant("aria2c", f"aria2c {' '.join(_ARIA2)} -i FILE", argv, ("aria2c",))


def _wget2(download: Download) -> Contestant:
    trust = (f"--ca-certificate={download.authority}",) if download.authority else ()
    # --chunk-size asks for ranges of one file, but one after the other.
    argv = (*_path(download, "wget2"), *_WGET2, *trust, "-i", "../urls")
    return download.contestant("wget2", f"wget2 {' '.join(_WGET2)} -i FILE", argv, ("wget2",))


def _curl(download: Download) -> Contestant:
    options = _CURL_PARALLEL if len(download.paths) > 1 else _CURL
    trust = ("--cacert", str(download.authority)) if download.authority else ()
    argv = (*_path(download, "curl"), *options, *trust, "--config", "../urls.curl")
    return download.contestant("curl", f"curl {' '.join(options)} --config FILE", argv, ("curl",))


def _axel(download: Download) -> Contestant:
    # It cannot be told whom to trust, and finds no name in a certificate for an address.
    options = (*_AXEL, "--insecure") if download.authority else _AXEL
    argv = (*_path(download, "axel"), *options, download.urls[0])
    return download.contestant("axel", f"axel {' '.join(options)} URL", argv, ("axel",))


def _libraries(download: Download) -> list[Contestant]:
    return [
        download.contestant(
            name,
            description,
            (*_path(download, name), peers.__file__, name, "../urls", "."),
            (name,),
        )
        for name, description in _LIBRARIES.items()
    ]


def _path(download: Download, name: str) -> tuple[str, ...]:
    """Empty where it is not here: who needs it is left out before it is run."""
    path = download.tools.path(name)
    return () if path is None else (path,)


_PROGRAMS: Final[tuple[Callable[[Download], Contestant], ...]] = (_aria2, _wget2, _curl, _axel)
