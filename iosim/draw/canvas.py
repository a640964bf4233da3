"""What every picture is made of: looks of the states, measured text, free space, SVG elements.

Nothing here knows a timeline.  Sizes are in px; text is measured with the widths of DejaVu Sans,
which Verdana, the next font of the list, does not exceed by more than the padding.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from html import escape

from ..shown import bundle, picture
from ..trace import KERNEL, Interval

__all__ = [
    "FONT", "INBOUND", "INK", "LOOKS", "MUTED", "TAGS", "Free", "Look", "Picture", "Sheet", "Tag",
    "clipped", "esc", "look_of", "luminance", "stroked", "swatch", "text_width",
]  # fmt: skip

FONT = "DejaVu Sans, Verdana, sans-serif"
INK, MUTED, HAIR, PAPER = "#1a1a1a", "#5a5a5a", "#c9c9c9", "#ffffff"
ALARM = "#b00020"

# Advance widths in 1/100 em of the characters 32 to 126: DejaVu Sans and its bold.
_REGULAR = (
    "32 40 46 84 64 95 78 27 39 39 50 84 32 36 32 34 64 64 64 64 64 64 64 64 64 64 34 34 84 84 84 "
    "53 100 68 69 70 77 63 58 77 75 29 29 66 56 86 75 79 60 79 69 63 61 73 68 99 69 61 69 39 34 39 "
    "84 50 50 61 63 55 63 62 35 63 63 28 28 58 28 97 63 61 63 63 41 52 39 63 59 82 59 59 52 64 34 "
    "64 84"
)
_BOLD = (
    "35 46 52 84 70 100 87 31 46 46 52 84 38 42 38 37 70 70 70 70 70 70 70 70 70 70 40 40 84 84 84 "
    "58 100 77 76 73 83 68 68 82 84 37 37 77 64 100 84 85 73 85 77 72 68 81 77 110 77 72 73 46 37 "
    "46 84 50 50 67 72 59 72 68 44 72 71 34 34 67 34 104 71 69 72 72 49 60 48 71 65 92 65 65 58 71 "
    "37 71 84"
)
_EXTRA = {"·": 38, "–": 50, "µ": 74, "“": 66, "”": 66, "’": 38}
_WIDE = 100  # any other character


def _widths(table: str) -> dict[str, int]:
    return {chr(32 + i): int(width) for i, width in enumerate(table.split())} | _EXTRA


_WIDTHS = {False: _widths(_REGULAR), True: _widths(_BOLD)}


@lru_cache(maxsize=4096)
def text_width(text: str, size: float, bold: bool = False) -> float:
    """The width of `text` in px."""
    widths = _WIDTHS[bold]
    return sum(widths.get(char, _WIDE) for char in text) * size / 100


#: What XML does not take as it is; it takes no control character at all.
XML = str.maketrans(
    {chr(code): "?" for code in range(32)} | {"\ufffe": "?", "\n": "\n"}
    | {char: escape(char) for char in "&<>\"'"}
)  # fmt: skip


@lru_cache(maxsize=4096)
def esc(text: str) -> str:
    """`text` as XML text or attribute: escaped, and control characters shown as "?"."""
    return text.translate(XML).encode("utf-8", "replace").decode()


@lru_cache(maxsize=1024)
def clipped(text: str, width: float, size: float, bold: bool = False) -> str:
    """`text`, cut to `width` px with an ellipsis where it must be."""
    if text_width(text, size, bold) <= width:
        return text
    while text and text_width(text + "…", size, bold) > width:
        text = text[:-1]
    return text.rstrip() + "…" if text else ""


# -- looks --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Look:
    """How a state is drawn: a base colour, `hatch` (SVG) in a tile of `tile` px, in words, in text.

    `char` stands for it in a text picture; `hatch_mpl` is matplotlib's.
    """

    fill: str
    hatch: str
    tile: int
    words: str
    char: str
    hatch_mpl: str = ""


def _line(path: str, colour: str, width: float) -> str:
    return f'<path d="{path}" stroke="{colour}" stroke-width="{width}" fill="none"/>'


#: States and phases: each differs by pattern and by colour.
INBOUND = "inbound"  # how a copy of a call's arguments into the kernel looks
OUTSIDE = "outside"  # how the kernel's work outside a call looks: a signal, io_uring's task work

LOOKS = {
    "user": Look("#12806a", "", 0, "user: own code", "#"),
    "kernel": Look(
        "#f0a35e", _line("M-1 1L1 -1M0 6L6 0M5 7L7 5", "#8a3a00", 1.5), 6,
        "kernel: in a call", "K", "////",
    ),
    OUTSIDE: Look(
        "#fbe0c0", _line("M-1 3.5H9M3.5 -1V9", "#8a3a00", 0.9), 7,
        "kernel: outside a call", "k", "++",
    ),
    "ready": Look(
        "#f7e463", '<circle cx="3" cy="3" r="1.2" fill="#4d4400"/>', 6,
        "ready: wants a core", "r", "..",
    ),
    "sleeping": Look(
        "#eceef2", _line("M0 3.5H7", "#9aa0ab", 1), 7, "sleeping", "z", "--",
    ),
    "step": Look("#6a3d9a", _line("M0 0L4 4", "#ffffff", 0.8), 4, "a task runs", "T", "oo"),
    "awaits": Look(
        "#efe6f7", '<circle cx="4" cy="4" r="0.9" fill="#6a3d9a"/>', 8, "a task awaits", "t", "..",
    ),
    "wait": Look(
        "#cfe6f7", _line("M0 0L9 9M-1 8L1 10M8 -1L10 1", "#5b9bc8", 1), 9,
        "wait: data not here yet", "w", "\\\\",
    ),
    "queued": Look(
        "#dcb8d8", _line("M0 0L6 6M0 6L6 0", "#7d3a76", 0.9), 6,
        "queued: here, not fetched", "q", "xx",
    ),
    "copy": Look(
        "#0b4f8a", _line("M2.5 0V5", "#ffffff", 1), 5, "copy: kernel to process", "C", "||",
    ),
    INBOUND: Look(
        "#5c93c4", _line("M0 2.5H5", "#ffffff", 1), 5, "copy: process to kernel", "c", "---",
    ),
    "transit": Look(
        "#8b8b8b", _line("M1 0L4 3L1 6", "#ffffff", 1.2), 6, "on its way", ">", "oo",
    ),
}  # fmt: skip


def luminance(colour: str) -> float:
    """The relative luminance of "#rrggbb", from 0 (black) to 1: what is left of it in grey."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def look_of(interval: Interval) -> str:
    """How it looks: as its state; but a signal, or task work, is the kernel's in no call."""
    outside = interval.state == KERNEL and interval.call is None and interval.note
    return OUTSIDE if outside else interval.state


#: The `<pattern>` of each hatched state; its id has a NUL where the picture's own name goes.
PATTERNS = {
    state: f'<pattern id="\0-{state}" width="{look.tile}" height="{look.tile}" '
    f'patternUnits="userSpaceOnUse"><rect width="{look.tile}" height="{look.tile}" '
    f'fill="{look.fill}"/>{look.hatch}</pattern>'
    for state, look in LOOKS.items() if look.hatch
}  # fmt: skip
#: The `fill` of each state: its pattern, or its colour if it has none.
FILLS = {s: f"url(#\0-{s})" if look.hatch else look.fill for s, look in LOOKS.items()}


@dataclass(frozen=True, slots=True)
class Tag:
    """How a kind of run is told apart: the tag's colours and the picture's frame."""

    name: str
    clock: str
    colour: str
    solid: bool
    dash: str = ""
    double: bool = False


TAGS = {
    "simulated": Tag("SIMULATED", "virtual time", "#1f4e9c", True),
    "predicted": Tag("PREDICTED", "virtual time", "#1f4e9c", True),
    "measured": Tag("MEASURED", "real time", "#b34700", False, double=True),
    "recorded": Tag("RECORDED", "real time", "#5b3a86", False, dash="6 3"),
    "witnessed": Tag("WITNESSED", "time under strace", "#5c5a00", False, dash="2 2", double=True),
}


# -- free space ---------------------------------------------------------------------------------


@dataclass(slots=True)
class Free:
    """The free stretches of one line of labels: one bit for each px, from `low` to `high`."""

    low: float
    high: float
    taken: int = 0

    def _mask(self, left: float, right: float) -> int:
        first, last = int(left - self.low), int(right - self.low) + 1
        return ((1 << (last - first)) - 1) << first

    def fits(self, left: float, right: float) -> bool:
        """Is `left` to `right` inside the line and free?"""
        if left < self.low or right > self.high:
            return False
        return not self.taken & self._mask(left, right)

    def take(self, left: float, right: float) -> None:
        """Nothing else may stand from `left` to `right`."""
        left, right = max(left, self.low), min(right, self.high)
        if left <= right:
            self.taken |= self._mask(left, right)

    def offer(self, left: float, right: float) -> bool:
        """Take it if it is free; was it?"""
        if not self.fits(left, right):
            return False
        self.take(left, right)
        return True


# -- a sheet of SVG -----------------------------------------------------------------------------


def stroked(path: str, stroke: str, width: float, more: str = "") -> str:
    """A path that is drawn as a line."""
    return f'<path d="{path}" fill="none" stroke="{stroke}" stroke-width="{width:g}"{more}/>'


def _rect(x: float, y: float, w: float, h: float, fill: str, more: str = "") -> str:
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{w:.1f}" height="{h:.1f}" fill="{fill}"{more}/>'


def swatch(state: str, x: float, y: float) -> str:
    """A small sample of a state's look."""
    return _rect(x, y, 16, 10, FILLS[state], ' stroke="#555555" stroke-width="0.6"')


@lru_cache(maxsize=256)
def _style(size: float, anchor: str, fill: str, bold: bool, halo: bool) -> str:
    """The attributes of a line of text, besides its place."""
    more = ' font-weight="bold"' if bold else ""
    if anchor != "start":
        more += f' text-anchor="{anchor}"'
    if halo:
        more += ' stroke="#ffffff" stroke-width="3" paint-order="stroke" stroke-linejoin="round"'
    return f'font-size="{size:g}" fill="{fill}"{more}'


@dataclass(slots=True)
class Sheet:
    """SVG elements in the order of drawing."""

    parts: list[str] = field(default_factory=list)

    def add(self, part: str) -> None:
        """Append raw SVG."""
        self.parts.append(part)

    def text(
        self, x: float, y: float, text: str, size: float = 11, anchor: str = "start",
        fill: str = INK, bold: bool = False, halo: bool = False,
    ) -> None:  # fmt: skip
        """One line of text with its baseline at `y`; `halo` keeps it legible over a line."""
        style = _style(size, anchor, fill, bold, halo)
        self.parts.append(f'<text x="{x:.1f}" y="{y:.1f}" {style}>{esc(text)}</text>')

    def line(self, path: str, stroke: str = MUTED, width: float = 1, more: str = "") -> None:
        """A stroked path."""
        self.parts.append(stroked(path, stroke, width, more))

    def box(self, x: float, y: float, w: float, h: float, fill: str, more: str = "") -> None:
        """A rectangle."""
        self.parts.append(_rect(x, y, w, h, fill, more))

    def finish(
        self, width: int, height: float, title: str, desc: str, states: Iterable[str],
        frame: Tag | None = None, attributes: str = "",
    ) -> str:  # fmt: skip
        """The whole document: its own white ground, its patterns, title and description."""
        defs = "".join(PATTERNS.get(state, "") for state in states)
        body = "".join(self.parts)
        name = f"io{zlib.crc32((title + desc + body).encode('utf-8', 'replace')):08x}"
        text = (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height:.0f}" '
            f'viewBox="0 0 {width} {height:.0f}" role="img" aria-labelledby="\0-t \0-d" '
            f'font-family="{FONT}" style="max-width:100%;height:auto"{attributes}>'
            f'<title id="\0-t">{esc(title)}</title><desc id="\0-d">{esc(desc)}</desc>'
            f"<defs>{defs}</defs>"
            f'<rect width="{width}" height="{height:.0f}" fill="{PAPER}"/>'
            f"{_frame(width, round(height), frame)}{body}</svg>"
        )
        return text.replace("\0", name)


def _frame(width: int, height: int, tag: Tag | None) -> str:
    if tag is None:
        return ""
    dash = f' stroke-dasharray="{tag.dash}"' if tag.dash else ""
    insets = (1.0, 4.0) if tag.double else (0.5,)
    thick = 2 if tag.double else 1
    return "".join(
        f'<rect x="{i:g}" y="{i:g}" width="{width - 2 * i:g}" height="{height - 2 * i:g}" '
        f'fill="none" stroke="{tag.colour}" stroke-width="{thick}"{dash}/>'
        for i in insets
    )


def draw_tag(sheet: Sheet, x: float, y: float, tag: Tag, size: float = 10) -> float:
    """The tag of a kind of run, with its top left corner at (x, y); returns its right edge."""
    wide, high = text_width(tag.name, size, True) + 14, size + 8
    dash = f' stroke-dasharray="{tag.dash}"' if tag.dash else ""
    ink = PAPER if tag.solid else tag.colour
    sheet.box(
        x, y, wide, high, tag.colour if tag.solid else PAPER,
        f' rx="3" stroke="{tag.colour}" stroke-width="1.5"{dash}',
    )  # fmt: skip
    if tag.double:
        sheet.box(x + 3, y + 3, wide - 6, high - 6, "none", f' stroke="{tag.colour}"')
    sheet.text(x + wide / 2, y + high - 5.5, tag.name, size, "middle", ink, bold=True)
    return x + wide


@dataclass(frozen=True, repr=False)
class Picture:
    """A drawing and its text form: Jupyter shows `svg`, `print` shows `text`."""

    svg: str
    text: str

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return self.text

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        return bundle(self.text, picture(self.svg))
