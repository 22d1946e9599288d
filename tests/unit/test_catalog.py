from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fdf256_fast import catalog
from fdf256_fast.catalog import (
    ALGORITHMS,
    Archive,
    Catalog,
    Digest,
    load_catalog,
    parse_catalog,
)
from fdf256_fast.errors import CatalogError, UsageError

HEAD = 'name = "mine"\ntitle = "My dataset"\n'
MD5 = "b790269bd64e9a6c1b1b032a9ff60410"


def archive(**fields: str) -> str:
    """One [[archive]] table; each field is written as TOML, and "" leaves a usual one out."""
    usual = {"name": '"a"', "role": '"images"', "url": '"https://example.org/a"'}
    lines = [f"{key} = {value}" for key, value in (usual | fields).items() if value]
    return "\n".join(["[[archive]]", *lines, ""])


def problem(text: str) -> str:
    """The whole message of the error that a catalog's text leads to."""
    with pytest.raises(CatalogError) as caught:
        parse_catalog(text, "my.toml")
    return str(caught.value)


def test_fdf256_is_built_in_and_complete() -> None:
    found = load_catalog("fdf256")
    assert "fdf256" in catalog.available()
    assert (found.name, found.title) == ("fdf256", "Flickr Diverse Faces 256")
    assert {a.name: (a.role, a.license, str(a.digest)) for a in found.archives} == {
        "metainfo": ("metadata", None, "md5:b790269bd64e9a6c1b1b032a9ff60410"),
        "cc-by-2": ("images", "cc-by-2", "md5:e45e313358a5912927ed3a8aa620b3b1"),
        "cc-by-nc-2": ("images", "cc-by-nc-2", "md5:12c531a59a47783bca53d69b04653805"),
        "cc-by-sa-2": ("images", "cc-by-sa-2", "md5:2cd40e77def0e14148530d7f250a199e"),
        "cc-by-nc-sa-2": ("images", "cc-by-nc-sa-2", "md5:afad28fdb033ae57ce5e5e2d95a6be18"),
    }
    urls = [url for a in found.archives for url in a.urls]
    assert len(set(urls)) == len(found.archives)
    assert all(url.startswith("https://") for url in urls)


@pytest.mark.parametrize("name", catalog.available())
def test_every_built_in_catalog_loads_under_its_own_name(name: str) -> None:
    assert load_catalog(name).name == name


def test_all_fields_are_read() -> None:
    text = HEAD + archive(
        url='["https://example.org/a", "file:///mnt/a.zip"]',
        digest=f'"md5:{MD5.upper()}"',
        license='"cc-by-2"',
        size="251",
    )
    assert parse_catalog(text, "my.toml") == Catalog(
        name="mine",
        title="My dataset",
        archives=(
            Archive(
                name="a",
                role="images",
                urls=("https://example.org/a", "file:///mnt/a.zip"),
                digest=Digest("md5", MD5),
                license="cc-by-2",
                size=251,
            ),
        ),
        source="my.toml",
    )


def test_optional_fields_are_none_where_the_catalog_does_not_say() -> None:
    (found,) = parse_catalog(HEAD + archive(), "my.toml").archives
    assert found == Archive("a", "images", ("https://example.org/a",), None, None, None)


@pytest.mark.parametrize(
    ("name", "file_name"),
    [
        ("cc-by-2", "cc-by-2.zip"),
        ("cc-by-2.zip", "cc-by-2.zip"),
        ("cc-by-2.tar", "cc-by-2.tar"),
        ("metadata.json", "metadata.json"),
        ("embed_map.torch", "embed_map.torch"),
        ("v1.5", "v1.5.zip"),
    ],
)
def test_a_file_name_ends_in_zip_unless_it_has_a_known_suffix(name: str, file_name: str) -> None:
    assert Archive(name, "images", ("https://example.org/a",)).file_name == file_name


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name = ", "my.toml: not TOML: "),
        ("a = " + "[" * 100_000, "my.toml: not a catalog: nested too deeply"),
        ("", "my.toml: there must be at least one [[archive]]"),
        (HEAD, "my.toml: there must be at least one [[archive]]"),
        (HEAD + "archive = []", "my.toml: there must be at least one [[archive]]"),
        (HEAD + "archive = 1", "my.toml: archive must be written as [[archive]] tables"),
        (HEAD + "archive = [1]", "my.toml: archive must be written as [[archive]] tables"),
        (HEAD + '[archive]\nname = "a"', "my.toml: archive must be written as [[archive]] tables"),
        ('title = "x"\n' + archive(), "my.toml: name is missing"),
        ('name = "x"\n' + archive(), "my.toml: title is missing"),
        ('name = "x"\ntitle = 1\n' + archive(), "my.toml: title must be a string"),
        ('name = "x"\ntitle = " "\n' + archive(), "my.toml: title must be a string"),
        ('name = "../x"\ntitle = "x"\n' + archive(), "my.toml: name '../x' cannot be used as"),
        (HEAD + "size = 3\n" + archive(), "my.toml: unknown key 'size'"),
    ],
)
def test_a_malformed_catalog_is_refused_with_its_file_and_field(text: str, message: str) -> None:
    assert problem(text).startswith(message)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": ""}, "name is missing"),
        ({"name": "1"}, "name must be a string that is not empty"),
        ({"role": ""}, "role is missing"),
        ({"role": '"image"'}, "role must be metadata, images or extra, not 'image'"),
        ({"url": ""}, "url is missing"),
        ({"url": "1"}, "url must be a string or a list of strings"),
        ({"url": '["https://example.org/a", 1]'}, "url must be a string or a list of strings"),
        ({"url": "[]"}, "url must name at least one address"),
        ({"digest": "1"}, "digest must be a string that is not empty"),
        ({"digest": f'"{MD5}"'}, "digest: a digest is written ALGORITHM:HEX"),
        ({"digest": '"md5:12"'}, "digest: md5 digest must be 32 hexadecimal digits, got '12'"),
        ({"digest": f'"md6:{MD5}"'}, "digest: unknown digest algorithm 'md6'"),
        ({"license": '""'}, "license must be a string that is not empty"),
        ({"size": '"1"'}, "size must be a whole number of bytes above 0"),
        ({"size": "1.0"}, "size must be a whole number of bytes above 0"),
        ({"size": "0"}, "size must be a whole number of bytes above 0"),
        ({"size": "true"}, "size must be a whole number of bytes above 0"),
        ({"mirror": '"https://example.org"'}, "unknown key 'mirror'"),
    ],
)
def test_a_malformed_archive_is_refused_with_its_number_and_field(
    fields: dict[str, str], message: str
) -> None:
    text = HEAD + archive(name='"first"') + archive(**fields)
    assert problem(text).startswith(f"my.toml: archive 2: {message}")


def test_an_unknown_key_comes_with_the_key_that_was_probably_meant() -> None:
    assert "did you mean 'digest'?" in problem(HEAD + archive(digset='"md5:12"'))
    assert "known: name, title, archive" in problem("xyzzy = 1\n" + HEAD + archive())


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "/etc/passwd",
        "a/b",
        "a\\\\b",
        "-rf",
        ".hidden",
        "a b",
        "a\\u0000",
        "å",
        "a\\n",
    ],
)
def test_an_archive_name_that_is_not_one_plain_path_component_is_refused(name: str) -> None:
    assert problem(HEAD + archive(name=f'"{name}"')).startswith("my.toml: archive 1: name ")


@pytest.mark.parametrize("again", ["a", "a.zip", "A"])
def test_two_archives_that_would_be_the_same_file_are_refused(again: str) -> None:
    text = HEAD + archive() + archive(name=f'"{again}"')
    assert problem(text) == f"my.toml: archive 2: name {again!r} is taken by archive 1"


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:8080/a.zip", "https://[::1]/a", "file:///mnt/a", "file://localhost/a"],
)
def test_http_https_and_file_urls_are_taken(url: str) -> None:
    (found,) = parse_catalog(HEAD + archive(url=f'"{url}"'), "my.toml").archives
    assert found.urls == (url,)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("", "must begin with https://, http://, file://"),
        ("a.zip", "must begin with https://, http://, file://"),
        ("ftp://example.org/a", "must begin with https://, http://, file://"),
        ("https:///a", "has no host"),
        ("https://:80/a", "has no host"),
        ("https://[::1/a", "is not a URL"),
        ("https://example.org:99999/a", "is not a URL"),
        ("https://example.org/a b", "has a space or control character in it"),
        ("https://exam\\tple.org/a", "has a space or control character in it"),
        ("https://example.org/a\\r\\nX: y", "has a space or control character in it"),
        ("file://a/b", "must hold an absolute path"),
        ("file:a", "must hold an absolute path"),
    ],
)
def test_other_urls_are_refused(url: str, message: str) -> None:
    found = problem(HEAD + archive(url=f'["https://example.org/a", "{url}"]'))
    assert found.startswith("my.toml: archive 1: url ")
    assert message in found


def test_a_catalog_is_loaded_from_a_path(tmp_path: Path) -> None:
    path = tmp_path / "my.toml"
    path.write_text(HEAD + archive(), "utf-8")
    assert load_catalog(path) == load_catalog(str(path))
    assert load_catalog(path).source == str(path)


def test_a_path_is_never_taken_for_a_built_in_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("fdf256").write_text(HEAD + archive(), "utf-8")
    assert load_catalog("fdf256").title == "Flickr Diverse Faces 256"
    assert load_catalog("./fdf256").name == "mine"
    assert load_catalog(Path("fdf256")).name == "mine"


def test_a_byte_order_mark_does_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "my.toml"
    path.write_text(HEAD + archive(), "utf-8-sig")
    assert load_catalog(path).name == "mine"


def test_a_catalog_that_does_not_exist_is_named_with_the_one_that_was_probably_meant() -> None:
    with pytest.raises(CatalogError, match="fdf265: there is no such file") as caught:
        load_catalog("fdf265")
    assert caught.value.hint == "did you mean 'fdf256'?"
    with pytest.raises(CatalogError) as caught:
        load_catalog("no/such/file.toml")
    assert caught.value.hint.startswith("built in: ")


def test_a_catalog_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    not_text = tmp_path / "not-text.toml"
    not_text.write_bytes(bytes(i % 251 for i in range(1000)))
    for path in (tmp_path, not_text, "a\0b"):
        with pytest.raises(CatalogError, match="cannot be read"):
            load_catalog(path)


@pytest.mark.parametrize(("algorithm", "length"), ALGORITHMS.items())
def test_a_digest_is_read_in_either_case_and_written_in_lower_case(algorithm: str, length: int) -> None:
    value = "0123456789abcdef" * 8
    digest = Digest.parse(f"{algorithm.upper()}:{value[:length].upper()}")
    assert digest == Digest(algorithm, value[:length])
    assert str(digest) == f"{algorithm}:{value[:length]}"
    for wrong in (value[: length - 1], value[: length - 1] + "g", value[:length] + "\n", ""):
        with pytest.raises(UsageError, match=f"{length} hexadecimal digits"):
            Digest.parse(f"{algorithm}:{wrong}")


def test_a_digest_of_an_unknown_algorithm_comes_with_the_one_that_was_probably_meant() -> None:
    with pytest.raises(UsageError) as caught:
        Digest.parse("sha-256:00")
    assert caught.value.hint == "did you mean 'sha256'?"
    with pytest.raises(UsageError) as caught:
        Digest.parse("xyzzy:00")
    assert caught.value.hint == "known: md5, sha1, sha256, sha512, blake3, crc32"


@given(st.text())
def test_no_text_makes_a_digest_that_reads_back_as_another(text: str) -> None:
    try:
        digest = Digest.parse(text)
    except UsageError:
        return
    assert Digest.parse(str(digest)) == digest


@given(
    st.dictionaries(
        st.sampled_from(["name", "role", "url", "digest", "license", "size", "other"]),
        st.sampled_from(['""', '"a"', '"images"', '"file:///a"', "1", "-1", "true", "[]", "{}", "[[]]"]),
    )
)
def test_whatever_an_archive_holds_only_catalog_errors_come_out(fields: dict[str, str]) -> None:
    text = "\n".join([HEAD, "[[archive]]", *(f"{key} = {value}" for key, value in fields.items())])
    tomllib.loads(text)
    try:
        parse_catalog(text, "my.toml")
    except CatalogError as error:
        assert error.message.startswith("my.toml: archive 1: ")  # noqa: PT017 - either may happen
