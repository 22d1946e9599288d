"""Who gets to see headers, passwords and proxies."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fdf256_fast import UsageError
from fdf256_fast.credentials import Credentials, Proxy, origin_of, without_user

if TYPE_CHECKING:
    from pathlib import Path

HOME = "https://data.example.org/a.zip"
BASIC = "Basic bWU6c2VjcmV0"
"""``me:secret``"""


@pytest.fixture(autouse=True)
def _nobodys_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))


def netrc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    path = tmp_path / "netrc"
    path.write_text(text, "utf-8")
    path.chmod(0o600)
    monkeypatch.setenv("NETRC", str(path))


@pytest.mark.parametrize(
    "elsewhere",
    [
        "https://store.example.org/a.zip",
        "http://data.example.org/a.zip",
        "https://data.example.org:8443/a.zip",
        "https://data.example.org.evil.example/a.zip",
    ],
)
def test_headers_stay_with_scheme_host_and_port(elsewhere: str) -> None:
    credentials = Credentials({"X-Key": "1", "Authorization": "Bearer 2"})
    assert credentials.headers(HOME, HOME) == {"X-Key": "1", "Authorization": "Bearer 2"}
    assert credentials.headers("https://data.example.org:443/b", HOME) != {}
    assert credentials.headers(elsewhere, HOME) == {}


def test_a_user_in_the_address_is_sent_as_a_header_and_to_that_address_alone() -> None:
    home = "https://me:secret@data.example.org/a.zip"
    credentials = Credentials({})
    assert credentials.headers(home, home) == {"Authorization": BASIC}
    assert credentials.headers("https://store.example.org/", home) == {}
    assert without_user(home) == HOME


def test_netrc_is_for_the_hosts_that_it_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc(tmp_path, monkeypatch, "machine data.example.org login me password secret\n")
    credentials = Credentials({})
    assert credentials.headers(HOME, HOME) == {"Authorization": BASIC}
    assert credentials.headers("https://store.example.org/", HOME) == {}
    # A redirect to a host that has an entry of its own gets that one.
    assert credentials.headers(HOME, "https://other.example.org/") == {"Authorization": BASIC}


def test_the_default_entry_does_not_follow_a_redirect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc(tmp_path, monkeypatch, "default login me password secret\n")
    credentials = Credentials({})
    assert credentials.headers(HOME, HOME) == {"Authorization": BASIC}
    assert credentials.headers("https://signed.example.org/?signature=1", HOME) == {}


def test_a_header_that_was_given_comes_before_netrc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc(tmp_path, monkeypatch, "machine data.example.org login me password secret\n")
    assert Credentials({"authorization": "Bearer 2"}).headers(HOME, HOME) == {"authorization": "Bearer 2"}


def test_a_netrc_that_cannot_be_read_is_told_without_its_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    netrc(tmp_path, monkeypatch, "machine data.example.org login me passwort secret\n")
    assert Credentials({}).headers(HOME, HOME) == {}
    assert str(tmp_path / "netrc") in caplog.text
    assert "secret" not in caplog.text


def test_proxies_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://me:secret@proxy.example.org:3128")
    monkeypatch.setenv("no_proxy", "localhost,.internal.example.org")
    credentials = Credentials({})
    assert credentials.proxy(HOME) == Proxy("http://proxy.example.org:3128", BASIC)
    assert credentials.proxy("http://data.example.org/") is None
    assert credentials.proxy("https://a.internal.example.org/") is None


def test_a_proxy_without_a_scheme_is_an_http_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("all_proxy", "proxy.example.org:3128")
    assert Credentials({}).proxy(HOME) == Proxy("http://proxy.example.org:3128")


def test_a_proxy_of_another_kind_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "socks5://proxy.example.org:1080")
    with pytest.raises(UsageError, match="socks5"):
        Credentials({}).proxy(HOME)


def test_a_callers_session_keeps_its_own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://proxy.example.org:3128")
    assert Credentials({}, environment=False).proxy(HOME) is None


def test_a_port_that_goes_without_saying_is_the_same() -> None:
    assert origin_of("https://a.example/") == origin_of("https://a.example:443/x")
    assert origin_of("http://a.example/") != origin_of("https://a.example/")
