"""Credits as CSV, Markdown, HTML, JSON and BibTeX: each takes batches and gives text; pure.

Titles and names come from strangers: for whoever reads the format, whatever they hold stays text.  A
spreadsheet that opens CSV does more than to read it: see docs/credits.md.
"""

from __future__ import annotations

import csv
import io
import json
import re
from functools import lru_cache
from html import escape
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import quote

from fdf256_fast.metadata import Entry, MetadataFile, license_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = ["CHANGE", "CITATION", "FORMATS", "Credit", "credit_of"]

CHANGE: Final = "cropped and resized to 256x256"
"""What was done to every photo; the licences ask that it be told."""

DATASET: Final = {
    "title": "Flickr Diverse Faces 256 (FDF256)",
    "paper": "DeepPrivacy2: Towards Realistic Full-Body Anonymization",
    "author": "Hukkelås, Håkon and Lindseth, Frank",
    "url": "https://doi.org/10.1109/WACV56688.2023.00138",
}

CITATION: Final = """\
@inproceedings{hukkelas23DP2,
  author={Hukkelås, Håkon and Lindseth, Frank},
  booktitle={2023 IEEE/CVF Winter Conference on Applications of Computer Vision (WACV)},
  title={DeepPrivacy2: Towards Realistic Full-Body Anonymization},
  year={2023},
  volume={},
  number={},
  pages={1329-1338},
  doi={10.1109/WACV56688.2023.00138}}
"""
"""How the dataset itself is cited, as its page asks."""


class Credit(NamedTuple):
    """One image; ``license_name`` is the catalog's name, empty for another licence."""

    path: str
    split: str
    number: str
    title: str
    author: str
    user_nsid: str
    photo_url: str
    license: str
    license_url: str
    license_name: str


def credit_of(file: MetadataFile, entry: Entry) -> Credit:
    """The credit that ``entry`` of ``file`` asks for."""
    number, title, author, user_nsid, license_title, license_url, photo_url = entry
    return Credit(
        file.image_path(number),
        file.split,
        number,
        title,
        author,
        user_nsid,
        photo_url,
        license_title,
        license_url,
        _license_name(license_url),
    )


# Four licences and some thousand authors are named again and again; more would be memory for nothing.
_remembered = lru_cache(maxsize=2048)
_license_name = _remembered(license_name)

_URL_SAFE: Final = "/:?#@!$&*+,;=-._~%"
_PLAIN_URL = re.compile(r"[A-Za-z0-9/:?#@!$&*+,;=._~%-]*")

_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


# ---- CSV ---------------------------------------------------------------------------------------------

_COLUMNS: Final = (
    "path", "title", "author", "user_nsid", "photo_url", "license", "license_url", "change",
)  # fmt: skip


def _csv(batches: Iterable[list[Credit]]) -> Iterator[str]:
    """RFC 4180: CRLF, quotes doubled.  The first row is the dataset's own, with no path."""
    yield _rows([_COLUMNS, ("", DATASET["paper"], DATASET["author"], "", DATASET["url"], "", "", "")])
    for batch in batches:
        yield _rows(
            (
                credit.path,
                credit.title,
                credit.author,
                credit.user_nsid,
                credit.photo_url,
                credit.license,
                credit.license_url,
                CHANGE,
            )
            for credit in batch
        )


def _rows(rows: Iterable[tuple[str, ...]]) -> str:
    out = io.StringIO(newline="")
    csv.writer(out).writerows(rows)
    return out.getvalue()


# ---- Markdown ----------------------------------------------------------------------------------------

_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>()#+.!|~&@:$^=-])")


def _markdown(batches: Iterable[list[Credit]]) -> Iterator[str]:
    yield f"# Credits\n\nThe images are from {DATASET['title']}, which is cited as\n\n"
    yield f"```bibtex\n{CITATION}```\n\nEach photo was {CHANGE}.\n\n"
    yield "| image | title | author | license | change |\n|---|---|---|---|---|\n"
    for batch in batches:
        yield "".join(
            f"| {_md_path(credit)} | {_md_link(_known(credit.title, 'untitled'), credit.photo_url)} "
            f"| {_md_author(_known(credit.author, credit.user_nsid))} "
            f"| {_md_license(_known(credit.license, credit.license_url), credit.license_url)} | {CHANGE} |\n"
            for credit in batch
        )


def _md(text: str) -> str:
    """Every character that Markdown reads as more than itself has a backslash; line ends become blanks."""
    return _MARKDOWN.sub(r"\\\1", _line(text))


def _md_path(credit: Credit) -> str:
    return credit.path if credit.number.isascii() and credit.number.isalnum() else _md(credit.path)


def _md_link(text: str, url: str) -> str:
    return f"[{_md(text)}]({_url(url)})" if _is_link(url) else _md(text)


_md_author = _remembered(_md)
_md_license = _remembered(_md_link)


# ---- HTML --------------------------------------------------------------------------------------------


def _html(batches: Iterable[list[Credit]]) -> Iterator[str]:
    title = escape(f"Credits: {DATASET['title']}")
    yield '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
    yield f"<title>{title}</title>\n</head>\n<body>\n<h1>{title}</h1>\n"
    yield f"<p>The dataset is cited as</p>\n<pre>{escape(CITATION)}</pre>\n"
    yield f"<p>Each photo was {CHANGE}.</p>\n<table>\n"
    yield "<tr><th>image</th><th>title</th><th>author</th><th>license</th><th>change</th></tr>\n"
    for batch in batches:
        yield "".join(
            f"<tr><td>{_safe(credit.path)}</td>"
            f"<td>{_html_link(_known(credit.title, 'untitled'), credit.photo_url)}</td>"
            f"<td>{_html_author(_known(credit.author, credit.user_nsid))}</td>"
            f"<td>{_html_license(_known(credit.license, credit.license_url), credit.license_url)}</td>"
            f"<td>{CHANGE}</td></tr>\n"
            for credit in batch
        )
    yield "</table>\n</body>\n</html>\n"


def _safe(text: str) -> str:
    """Text in HTML; what HTML cannot hold at all is replaced."""
    return escape(text if text.isprintable() else _CONTROL.sub(_REPLACEMENT, text))


def _html_link(text: str, url: str) -> str:
    return f'<a href="{_safe(url)}">{_safe(text)}</a>' if _is_link(url) else _safe(text)


_html_author = _remembered(_safe)
_html_license = _remembered(_html_link)


# ---- JSON --------------------------------------------------------------------------------------------


def _json(batches: Iterable[list[Credit]]) -> Iterator[str]:
    head = {"dataset": {**DATASET, "citation": CITATION}, "change": CHANGE}
    yield json.dumps(head, ensure_ascii=False, indent=1).removesuffix("\n}") + ',\n "images": ['
    comma = "\n"
    encode = json.JSONEncoder(ensure_ascii=False).encode
    for batch in batches:
        if batch:
            yield comma + ",\n".join(encode(credit._asdict()) for credit in batch)
            comma = ",\n"
    yield "\n]}\n"


# ---- BibTeX ------------------------------------------------------------------------------------------

_LATEX: Final = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        # Not \{: BibTeX counts braces, with a backslash or without.
        "{": r"\textbraceleft{}",
        "}": r"\textbraceright{}",
        "%": r"\%",
        "&": r"\&",
        "#": r"\#",
        "_": r"\_",
        "$": r"\$",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        # In a name or a note, a quote may only stand in braces.
        '"': r"{\textquotedbl}",
    }
)


_LATEX_SPECIAL = re.compile(r"[\\{}%&#_$~^\"]")


def _bibtex(batches: Iterable[list[Credit]]) -> Iterator[str]:
    yield CITATION
    for batch in batches:
        yield "".join(map(_bibtex_entry, batch))


def _bibtex_entry(credit: Credit) -> str:
    # Twice in braces: an author is one name, whatever words are in it, and a title keeps its case.
    return (
        f"\n@misc{{{_bibtex_key(credit)},\n"
        f"  author = {{{{{_tex_known(_known(credit.author, credit.user_nsid))}}}}},\n"
        f"  title = {{{{{_tex(_known(credit.title, 'untitled'))}}}}},\n"
        f"  url = {{{_url(credit.photo_url)}}},\n"
        f"  note = {{License: {_tex_known(_known(credit.license, credit.license_url))}"
        f" ({_tex_known(credit.license_url)}). Change: {CHANGE}. Image: {_tex(credit.path)}}}\n}}\n"
    )


def _bibtex_key(credit: Credit) -> str:
    """In a key only few characters may stand; others are written as in an address."""
    number = credit.number
    if not (number.isascii() and number.isalnum()):
        number = quote(number, safe="", errors="replace").replace("%", "+")
    return f"fdf256-{credit.split}-{number}" if credit.split else f"fdf256-{number}"


def _tex(text: str) -> str:
    line = _line(text)
    return line.translate(_LATEX) if _LATEX_SPECIAL.search(line) else line


_tex_known = _remembered(_tex)


# ---- all of them -------------------------------------------------------------------------------------


def _known(text: str, other: str) -> str:
    """``text``, or what stands for it where it has nothing but blanks: an empty link is no credit."""
    return text if text.strip() else other


def _line(text: str) -> str:
    """In one line, without control characters and halves of surrogate pairs."""
    return text if text.isprintable() else " ".join(_CONTROL.sub(_REPLACEMENT, text).split())


def _url(url: str) -> str:
    """An address as it may stand in Markdown and BibTeX as well: without brackets, blanks and quotes."""
    return url if _PLAIN_URL.fullmatch(url) else quote(url, safe=_URL_SAFE, errors="replace")


def _is_link(url: str) -> bool:
    """Other schemes, such as ``javascript:``, stay text."""
    return url.startswith(("http://", "https://"))


FORMATS: Final[dict[str, Callable[[Iterable[list[Credit]]], Iterator[str]]]] = {
    "csv": _csv,
    "md": _markdown,
    "html": _html,
    "json": _json,
    "bibtex": _bibtex,
}
