"""What an object shows of itself in a notebook: the form that every viewer of notebooks takes.

A viewer chooses one of the forms of an output, and drops what it does not trust.  By their source,
or as their users report:

| viewer                      | image/svg+xml     | text/html, an <img> | text/markdown, an <img> |
|-----------------------------|-------------------|---------------------|-------------------------|
| JupyterLab, trusted         | without alt text  | shown               | shown                   |
| JupyterLab, not trusted     | dropped           | shown               | shown                   |
| VS Code, in restricted mode | an empty output   | an empty output     | shown                   |
| VS Code, trusted            | shown             | shown               | shown                   |
| nbconvert, nbviewer, GitHub | parts may be lost | shown               | shown                   |
| GitLab                      | shown             | shown               | shown, without alt text |

Where both stand in an output, all of them take text/html; so only the other one is there.  And a
picture in an `<img>` is a document of its own: `url(#id)` in it finds its own ids, however many
notebooks a page holds.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Sequence
from html import escape, unescape

__all__ = ["bundle", "image", "in_columns", "picture"]

WORDS = re.compile(r"<desc[^>]*>(.*?)</desc>", re.DOTALL)
#: What Markdown would read as mathematics, or as the end of a piece of HTML.
MARKDOWN = str.maketrans({"$": "&#36;", "\\": "&#92;", "\n": "&#10;"})


def bundle(text: str, html: str = "") -> dict[str, str]:
    """The forms of an output: its text, and `html`, if it has such a form."""
    shown = {"text/plain": text}
    return shown | {"text/markdown": html.translate(MARKDOWN)} if html else shown


def in_columns(rows: Sequence[Sequence[str]], sides: str) -> list[str]:
    """Rows of text in columns: `sides` has an l or an r for each, flush left or right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    flush = [str.ljust if side == "l" else str.rjust for side in sides]
    return [
        "  ".join(put(cell, width) for put, cell, width in zip(flush, row, widths, strict=True))
        .rstrip()
        for row in rows
    ]  # fmt: skip


def image(data: bytes, kind: str, alt: str) -> str:
    """An `<img>` that holds `data` of the media type `kind`, and what it shows in words."""
    return f'<img alt="{escape(alt)}" src="data:{kind};base64,{b64encode(data).decode()}">'


def picture(svg: str, note: str = "") -> str:
    """An `<img>` of one of this package's SVGs, described as it describes itself; `note` below."""
    words = WORDS.search(svg)
    alt = unescape(words[1]) if words else ""
    shown = image(svg.encode(), "image/svg+xml", alt)
    return f"<figure>{shown}<figcaption>{escape(note)}</figcaption></figure>" if note else shown
