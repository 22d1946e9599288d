"""The system's certificates: not read for nothing, and there when they are needed."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import trustme

if TYPE_CHECKING:
    from pathlib import Path

BEGIN = {
    "socket": "context.wrap_socket(socket.socketpair()[0], do_handshake_on_connect=False)",
    "transport": "context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO())",
}


def printed_by(program: str, folder: Path) -> list[str]:
    """What ``program`` prints where the system trusts one authority; in a process of its own."""
    path = folder / "authority.pem"
    trustme.CA().cert_pem.write_to_path(path)
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"SSL_CERT_FILE": str(path), "SSL_CERT_DIR": str(folder / "none")},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split()


@pytest.mark.parametrize("kind", BEGIN)
def test_they_are_read_when_a_context_begins_to_encrypt(kind: str, tmp_path: Path) -> None:
    program = f"""
import socket, ssl
from fdf256_fast.authorities import read_when_needed
read_when_needed()
read_when_needed()
context = ssl.create_default_context()
context.check_hostname = False
before = context.cert_store_stats()["x509_ca"]
{BEGIN[kind]}
first = context.cert_store_stats()["x509_ca"]
{BEGIN[kind]}
print(before, first, context.cert_store_stats()["x509_ca"])
"""
    assert printed_by(program, tmp_path) == ["0", "1", "1"]


def test_a_program_that_imports_this_package_reads_them_as_ever(tmp_path: Path) -> None:
    program = """
import ssl, fdf256_fast, fdf256_fast.fetching, fdf256_fast.options
print(ssl.create_default_context().cert_store_stats()["x509_ca"])
"""
    assert printed_by(program, tmp_path) == ["1"]
