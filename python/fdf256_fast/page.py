"""Charts and sample faces as one HTML file that needs no other: for ``fdf256 info --plot FILE.html``."""

from __future__ import annotations

import base64
import io
import re
from html import escape
from typing import TYPE_CHECKING

from fdf256_fast.charts import BOX_COLOR, LANDMARK_COLOR, chart_sheet
from fdf256_fast.dataset import SIDE_PIXELS
from fdf256_fast.faces import short_license

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fdf256_fast.faces import Face
    from fdf256_fast.survey import Survey

__all__ = ["html_page"]

JPEG_QUALITY = 85
"""About 15 KB for a face, where the PNG has 100."""

# What a browser may do with the page: show it. Nothing is fetched, nothing is run.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"

_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; color: #22313a; margin: 2rem auto; padding: 0 1rem; }
body { max-width: 72rem; }
h2 { font-size: 1.15rem; margin: 2rem 0 .3rem; }
p { max-width: 46rem; color: #66757f; margin: .2rem 0 1rem; }
.charts svg { width: 100%; height: auto; }
.faces { display: grid; grid-template-columns: repeat(auto-fill, minmax(10.5rem, 1fr)); gap: 1.1rem .9rem; }
figure { margin: 0; }
figure svg { width: 100%; height: auto; display: block; border-radius: 3px; }
figcaption { font-size: .78rem; line-height: 1.35; padding-top: .35rem; overflow-wrap: anywhere; }
figcaption .path { color: #66757f; }
a { color: #33658a; }
""".strip()


def html_page(survey: Survey, faces: Sequence[Face]) -> bytes:
    """The page.  What comes from the metadata is text in it, whatever it looks like."""
    title = escape(f"FDF256 in {survey.target}")
    parts = [
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{title}</title>\n<style>\n{_STYLE}\n</style>\n</head>\n<body>",
        f'<div class="charts">{_inline_svg(chart_sheet(survey, "svg"))}</div>',
        *_faces(faces),
        "</body>\n</html>\n",
    ]
    # Half a surrogate pair, which JSON may hold and UTF-8 not, becomes a question mark.
    return "\n".join(parts).encode("utf-8", "replace")


def _inline_svg(svg: bytes) -> str:
    """The picture without what only a file of its own has in front."""
    return svg[svg.index(b"<svg") :].decode()


def _faces(faces: Sequence[Face]) -> Iterator[str]:
    if not faces:
        return
    yield "<h2>Some of the faces</h2>"
    yield (
        "<p>With the face's box and seven landmarks drawn on them. Each was cropped from a photo on Flickr "
        "and resized to 256x256 pixels by the makers of the dataset, and compressed again for this page.</p>"
    )
    yield '<div class="faces">'
    yield from map(_figure, faces)
    yield "</div>"


def _figure(face: Face) -> str:
    x0, y0, x1, y1 = (int(edge) for edge in face.bounding_box)
    points = "".join(
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{LANDMARK_COLOR}" stroke="#10202a"/>'
        for x, y in (face.landmarks * SIDE_PIXELS).tolist()
    )
    title = escape(face.title) or "untitled"
    author = escape(face.author or face.user_nsid) or "unknown author"
    license_ = escape(short_license(face.license_url)) or "unknown licence"
    return (
        f'<figure><svg viewBox="0 0 {SIDE_PIXELS} {SIDE_PIXELS}" role="img" '
        f'aria-label="{escape(face.path)}">'
        f'<image width="{SIDE_PIXELS}" height="{SIDE_PIXELS}" '
        f'href="data:image/jpeg;base64,{_jpeg(face)}"/>'
        f'<rect x="{x0}" y="{y0}" width="{max(0, x1 - x0)}" height="{max(0, y1 - y0)}" fill="none" '
        f'stroke="{BOX_COLOR}" stroke-width="2"/>{points}</svg>'
        f'<figcaption><span class="path">{escape(face.path)}</span><br>'
        f"{_linked(title, face.photo_url)} by {author}, {_linked(license_, face.license_url)}"
        "</figcaption></figure>"
    )


def _linked(text: str, url: str) -> str:
    """``text`` (HTML), as a link where ``url`` is one that can do no harm."""
    if not re.match(r"https?://", url):
        return text
    return f'<a href="{escape(url)}" rel="noreferrer">{text}</a>'


def _jpeg(face: Face) -> str:
    from PIL import Image  # noqa: PLC0415 - an extra

    out = io.BytesIO()
    Image.fromarray(face.image).save(out, "JPEG", quality=JPEG_QUALITY)
    return base64.b64encode(out.getvalue()).decode("ascii")
