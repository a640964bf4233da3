"""Is a picture legible? Each `<text>` of the SVG is measured, and no two boxes may meet."""

from __future__ import annotations

from itertools import combinations
from xml.etree import ElementTree

from iosim.draw import canvas

__all__ = ["SVG", "Box", "assert_legible", "box", "boxes"]

SVG = "{http://www.w3.org/2000/svg}"
Box = tuple[float, float, float, float, str]


def box(text: ElementTree.Element) -> Box:
    """The space that a line of text fills: left, top, right, bottom, and the text."""
    size, x, y = (float(text.attrib[name]) for name in ("font-size", "x", "y"))
    wide = canvas.text_width(text.text or "", size, text.get("font-weight") == "bold")
    left = x - wide * {"start": 0, "middle": 0.5, "end": 1}[text.get("text-anchor", "start")]
    return left, y - 0.76 * size, left + wide, y + 0.2 * size, text.text or ""


def boxes(svg: str) -> list[Box]:
    return [box(text) for text in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def assert_legible(svg: str) -> None:
    """No label leaves the picture or meets another one."""
    root = ElementTree.fromstring(svg)
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    labels = boxes(svg)
    for left, top, right, bottom, text in labels:
        assert left >= 0, text
        assert right <= width, text
        assert top >= 0, text
        assert bottom <= height, text
    for a, b in combinations(labels, 2):
        apart = a[2] <= b[0] + 0.3 or b[2] <= a[0] + 0.3 or a[3] <= b[1] + 0.3 or b[3] <= a[1] + 0.3
        assert apart, f"{a[4]!r} and {b[4]!r} overlap"
