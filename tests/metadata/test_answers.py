"""The core's answers against ``json.load`` and a loop, on files of every kind, whole and damaged."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fdf256_fast._core import Job, MetadataRecords, search_metadata
from fdf256_fast.errors import MetadataError, StorageError
from tests.metadata.files import CRASHES, NSID, expected, loaded, searched, synthetic

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_every_user_of_the_synthetic_set_is_found(tmp_path: Path, workers: int) -> None:
    text = synthetic(4_000)
    path = tmp_path / "fdf_metainfo.json"
    path.write_bytes(text)
    entries = loaded(text)
    for nsid in sorted({value["user_nsid"] for value in entries.values()})[:40]:
        wanted = [key for key, value in entries.items() if value["user_nsid"] == nsid]
        assert [record[0] for record in searched(path, nsid, workers)] == wanted
    assert searched(path, NSID, workers) == expected(text, NSID)
    assert searched(path, "nobody@N00", workers) == []


def test_all_records_are_those_of_json_load(tmp_path: Path) -> None:
    text = synthetic(3_000)
    path = tmp_path / "fdf_metainfo.json"
    path.write_bytes(text)
    job = Job()
    records = MetadataRecords.open(job, path, 2)
    found = []
    while batch := records.next(job):
        found += batch
    assert records.entries == len(found) == 3_000
    wanted = ("photo_title", "author", "user_nsid", "license", "license_url", "photo_url")
    assert found == [(key, *(value[name] for name in wanted)) for key, value in loaded(text).items()]


# ---- files of every kind -------------------------------------------------------------------------------

NSIDS = [NSID, "1@N00", "", "é", "夏🦊", "\ud800", "a\\u0031", '"', "12345678@N0", "12345678@N000"]
NAMES = ["user_nsid", "author", "photo_title", "photo_url", "user_nsi", "landmarks", "é", ""]

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats() | st.sampled_from(NSIDS),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=6,
)


class Writer:
    """JSON with whatever whitespace, escapes and repetition somebody could have written it with."""

    def __init__(self, chosen: random.Random) -> None:
        self._chosen = chosen

    def text(self, text: str) -> str:
        how = self._chosen.randrange(3)
        units = [text.encode("utf-16-be", "surrogatepass")[i : i + 2] for i in range(0, 2 * len(text), 2)]
        if how == 0 and all(ord(character) < 0x10000 for character in text):
            return '"' + "".join(f"\\u{unit.hex()}" for unit in units) + '"'
        is_ascii = how == 1 or any(0xD800 <= ord(character) < 0xE000 for character in text)
        return json.dumps(text, ensure_ascii=is_ascii)

    def space(self) -> str:
        return self._chosen.choice(["", "", " ", "\n\t", "\r\n  "])

    def value(self, value: Any) -> str:
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list):
            return self.joined("[", [self.value(item) for item in value], "]")
        if isinstance(value, dict):
            return self.pairs(list(value.items()))
        return json.dumps(value)

    def pairs(self, pairs: list[tuple[str, Any]]) -> str:
        return self.joined("{", [self.pair(key, self.value(value)) for key, value in pairs], "}")

    def pair(self, key: str, value: str) -> str:
        return f"{self.text(key)}{self.space()}:{self.space()}{value}"

    def file(self, entries: list[tuple[str, list[tuple[str, Any]]]]) -> str:
        written = [self.pair(key, self.pairs(fields)) for key, fields in entries]
        return self.space() + self.joined("{", written, "}") + self.space()

    def joined(self, left: str, items: list[str], right: str) -> str:
        inside = f"{self.space()},{self.space()}".join(items)
        return f"{left}{self.space()}{inside}{self.space()}{right}"


FIELDS = st.lists(st.tuples(st.sampled_from(NAMES), VALUES), max_size=5)
ENTRIES = st.lists(
    st.tuples(
        st.sampled_from(["1", "2", "10", "01", "é", "x"]) | st.integers(0, 10**9).map(str),
        st.builds(
            lambda before, nsid, after: [*before, ("user_nsid", nsid), *after],
            FIELDS,
            st.sampled_from(NSIDS) | VALUES,
            FIELDS,
        ),
    ),
    max_size=6,
)


@settings(max_examples=400)
@given(ENTRIES, st.randoms(use_true_random=False), st.sampled_from(NSIDS))
def test_any_valid_file_has_the_answer_of_json_load(
    tmp_path_factory: pytest.TempPathFactory,
    entries: list[tuple[str, list[tuple[str, Any]]]],
    chosen: random.Random,
    nsid: str,
) -> None:
    text = Writer(chosen).file(entries).encode()
    path = tmp_path_factory.getbasetemp() / "valid.json"
    path.write_bytes(text)
    assert [found[0] for found in searched(path, nsid)] == [found[0] for found in expected(text, nsid)]
    found = searched(path, nsid)
    # Numbers are shown as they are written, which json.dumps may do otherwise.
    assert [record[3] for record in found] == [nsid] * len(found)


ODD = {
    "an escape in the nsid": b'{"1": {"user_nsid": "\\u0031@N00"}}',
    "an escape in the field's name": b'{"1": {"user\\u005fnsid": "1@N00"}}',
    "an escape in the number": b'{"\\u0031": {"user_nsid": "1@N00"}, "1": {"user_nsid": "2"}}',
    "the field twice": b'{"1": {"user_nsid": "2", "user_nsid": "1@N00"}, '
    b'"2": {"user_nsid": "1@N00", "user_nsid": 5}}',
    "the number twice": b'{"1": {"user_nsid": "1@N00"}, "2": {"user_nsid": "1@N00"}, '
    b'"1": {"user_nsid": "2"}}',
    "the number twice, the last by the user": b'{"7": {}, "2": {"user_nsid": "1@N00"}, '
    b'"7": {"user_nsid": "1@N00"}}',
    "the field in a nested object": b'{"1": {"exif": {"user_nsid": "1@N00"}, "user_nsid": "x"}}',
    "a number for a user": b'{"1": {"user_nsid": 1}, "2": {"user_nsid": "1@N00"}}',
    "no user": b'{"1": {"user_nsid": null}}',
    "no entries": b" { } \n",
    "numbers that only Python knows": b'{"1": {"user_nsid": "1@N00", "area": NaN, '
    b'"x": [-Infinity, Infinity]}}',
    "half a surrogate pair": b'{"1": {"user_nsid": "1@N00", "photo_title": "\\ud800!", '
    b'"author": "\\udc00\\ud83e"}}',
    "a surrogate pair": b'{"1": {"user_nsid": "1@N00", "author": "\\ud83e\\udd8a"}}',
    "whitespace after it": b'{"1": {"user_nsid": "1@N00"}}\r\n\t ',
    "a slash with an escape": b'{"1": {"user_nsid": "1@N00", "photo_url": "http:\\/\\/x\\/"}}',
    "deep nesting": b'{"1": {"x": ' + b"[" * 400 + b"]" * 400 + b', "user_nsid": "1@N00"}}',
}


@pytest.mark.parametrize("name", ODD)
def test_an_odd_file_has_the_answer_of_json_load(tmp_path: Path, name: str) -> None:
    path = tmp_path / "odd.json"
    path.write_bytes(ODD[name])
    assert searched(path, "1@N00") == expected(ODD[name], "1@N00")


def test_half_a_surrogate_pair_can_be_searched_for(tmp_path: Path) -> None:
    text = b'{"1": {"user_nsid": "\\ud800"}, "2": {"user_nsid": "\\ud801"}}'
    path = tmp_path / "odd.json"
    path.write_bytes(text)
    assert searched(path, "\ud800") == expected(text, "\ud800") != []


# ---- damaged files -------------------------------------------------------------------------------------

BROKEN = {
    "empty": (b"", 0),
    "a byte order mark": (b'\xef\xbb\xbf{"1": {"user_nsid": "1"}}', 0),
    "a list": (b"[]", 0),
    "a string": (b'  "x"', 2),
    "something behind it": (b'{"1": {"user_nsid": "1"}} x', 26),
    "an entry that is no object": (b'{"1": {"user_nsid": "1"}, "2": ["user_nsid"]}', 31),
    "an entry without the field": (b'{"1": {"user_nsid": "1"}, "2": {"author": "1"}}', 26),
    "bytes that are not UTF-8": (b'{"1": {"user_nsid": "a\xff"}}', 22),
    "a surrogate in UTF-8": (b'{"1": {"user_nsid": "\xed\xa0\x80"}}', 21),
    "a line end in a string": (b'{"1": {"user_nsid": "a\nb"}}', 22),
    "a comma too many": (b'{"1": {"user_nsid": "1"},}', 25),
    "an unknown escape": (b'{"1": {"user_nsid": "\\x31"}}', 22),
    "cut off": (b'{"1": {"user_nsid": "1"', 23),
    "nested without end": (b'{"1": {"x": ' + b"[" * 100_000, 12 + 1000),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_refused_with_the_byte(tmp_path: Path, name: str) -> None:
    text, offset = BROKEN[name]
    path = tmp_path / "broken.json"
    path.write_bytes(text)
    with pytest.raises(CRASHES):
        expected(text, "1")
    with pytest.raises(MetadataError) as caught:
        searched(path, "1")
    assert (caught.value.path, caught.value.offset) == (str(path), offset)
    assert caught.value.reason
    assert caught.value.exit_status == 3


def answer(text: bytes) -> list[tuple[str, ...]] | None:
    try:
        return expected(text, NSID)
    except CRASHES:
        return None


def check_damaged(path: Path, text: bytes) -> None:
    path.write_bytes(text)
    told = answer(text)
    if told is None:
        with pytest.raises(MetadataError) as caught:
            searched(path, NSID)
        assert 0 <= caught.value.offset <= len(text)
    else:
        assert [record[0] for record in searched(path, NSID)] == [record[0] for record in told], text


def damages(text: bytes, at: int, by: bytes) -> list[bytes]:
    return [
        text[:at],
        text[:at] + by + text[at + 1 :],
        text[:at] + by + text[at:],
        text[:at] + text[at + 1 :],
        text[:at] + bytes([text[at] ^ 1]) + text[at + 1 :],
    ]


def test_a_file_damaged_at_every_byte_is_refused_or_has_the_answer_of_json_load(tmp_path: Path) -> None:
    chosen = random.Random(256)
    text = synthetic(2)
    path = tmp_path / "damaged.json"
    for at in range(len(text)):
        by = bytes([chosen.choice(b'"{}[],:\\0-.eE \n\xff\xc3\x00n')])
        for damaged in damages(text, at, by):
            check_damaged(path, damaged)


@settings(max_examples=300)
@given(st.integers(0, 10**6), st.binary(max_size=4), st.integers(0, 4), st.sampled_from(sorted(ODD)))
def test_an_odd_file_damaged_anywhere_is_refused_or_has_the_answer_of_json_load(
    tmp_path_factory: pytest.TempPathFactory, at: int, by: bytes, kind: int, name: str
) -> None:
    text = ODD[name]
    check_damaged(tmp_path_factory.getbasetemp() / "damaged.json", damages(text, at % len(text), by)[kind])


def test_records_of_a_damaged_file_are_refused_before_the_first(tmp_path: Path) -> None:
    text = synthetic(3_000)
    path = tmp_path / "late.json"
    path.write_bytes(text[:-2])
    with pytest.raises(MetadataError) as caught:
        MetadataRecords.open(Job(), path, 2)
    assert caught.value.offset == len(text) - 2


def test_a_folder_is_no_metadata_file(tmp_path: Path) -> None:
    with pytest.raises(StorageError):
        searched(tmp_path, NSID)


# ---- authors and addresses ------------------------------------------------------------------------------


def numbers(path: Path, *, authors: tuple[str, ...] = (), photo_urls: tuple[bytes, ...] = ()) -> list[str]:
    _, _, found = search_metadata(Job(), path, 1, users=[], authors=authors, photo_urls=photo_urls)
    return [record[0] for record in found]


def test_authors_match_in_upper_and_lower_case(tmp_path: Path) -> None:
    text = synthetic(500)
    path = tmp_path / "fdf_metainfo.json"
    path.write_bytes(text)
    entries = loaded(text)
    for author in {value["author"] for value in entries.values()}:
        wanted = [key for key, value in entries.items() if value["author"].casefold() == author.casefold()]
        for written in (author, author.upper(), author.lower(), author.swapcase()):
            if written.casefold() == author.casefold():
                assert numbers(path, authors=(written,)) == wanted, written
    assert numbers(path, authors=("Ada",)) == []


def test_addresses_match_with_either_scheme_and_with_or_without_a_slash(tmp_path: Path) -> None:
    urls = [
        "http://www.flickr.com/photos/1@N00/5/",
        "https://www.flickr.com/photos/1@N00/5",
        "http://x/y",
        "",
        5,
    ]
    path = tmp_path / "fdf_metainfo.json"
    path.write_bytes(json.dumps({str(i): {"photo_url": url} for i, url in enumerate(urls)}).encode())
    for url in (b"http://www.flickr.com/photos/1@N00/5", b"HTTPS://www.flickr.com/photos/1@N00/5//"):
        assert numbers(path, photo_urls=(url,)) == ["0", "1"]
    assert numbers(path, photo_urls=(b"www.flickr.com/photos/1@N00/5",)) == ["0", "1"]
    assert numbers(path, photo_urls=(b"http://www.flickr.com/photos/1@N00",)) == []


# ---- memory -----------------------------------------------------------------------------------------------

SEARCH = r"""
import re, sys
from fdf256_fast._core import Job, MetadataRecords, search_metadata
path = sys.argv[1]
entries, size, found = search_metadata(Job(), path, 2, users=[b"12345678@N00"], authors=[], photo_urls=[])
records = MetadataRecords.open(Job(), path, 2)
count = 0
while batch := records.next(Job()):
    count += len(batch)
assert count == entries
# Not getrusage: there the parent's memory counts, whose child this was before it became another program.
peak = re.search(r"VmHWM:\s*(\d+) kB", open("/proc/self/status").read())[1]
print(entries, len(found), size, int(peak) * 1024)
"""


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    values = [json.dumps(value) for value in loaded(synthetic(1_000)).values()]
    path = tmp_path / "fdf_metainfo.json"
    with path.open("w") as file:
        file.write("{")
        for number in range(130_000):
            file.write(f'{", " if number else ""}"{number}": {values[number % 1_000]}')
        file.write("}")
    command = [sys.executable, "-c", SEARCH, str(path)]
    result = subprocess.run(command, check=True, capture_output=True, text=True, timeout=100)
    entries, found, size, memory = map(int, result.stdout.split())
    assert (entries, size) == (130_000, path.stat().st_size)
    assert found >= 130
    assert size > 110_000_000
    assert memory < 64_000_000
