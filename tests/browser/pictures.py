"""What must hold for every picture of a stored notebook, wherever it is shown.

A check yields what is amiss, in words; test_stored.py and test_exports.py plant a fault for each.
"""

from __future__ import annotations

import base64
import io
import json
import re
import time
from collections.abc import Collection, Iterator
from html import unescape
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import render
from paths import ROOT

from iosim.draw import LOOKS

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
IMG = re.compile(r'<img alt="([^"]*)" src="(data:([^;]*);base64,([^"]*))">')
#: px of one colour that make a filled area; a line of text has fewer of any.
AREA = 12
PATIENCE_S = 20

#: Of each picture: where it comes from, its words, its width and its colours with their px.
PICTURES = """async selector => {
    const images = [...document.querySelectorAll(selector)].filter(img => !img.closest('object'));
    await Promise.all(images.map(img => img.decode().catch(() => null)));
    return images.map(img => {
        const seen = {src: img.src, alt: img.alt, wide: img.naturalWidth, colours: {}};
        if (!img.naturalWidth) return seen;
        const canvas = document.createElement('canvas');
        [canvas.width, canvas.height] = [img.naturalWidth, img.naturalHeight];
        const context = canvas.getContext('2d');
        context.drawImage(img, 0, 0);
        const {data} = context.getImageData(0, 0, canvas.width, canvas.height);
        const counts = new Map(); // of 0xbbggrr
        for (const px of new Uint32Array(data.buffer)) {
            counts.set(px & 0xffffff, (counts.get(px & 0xffffff) ?? 0) + 1);
        }
        const hex = n => (n & 255).toString(16).padStart(2, '0');
        for (const [n, px] of counts) seen.colours[`#${hex(n)}${hex(n >> 8)}${hex(n >> 16)}`] = px;
        return seen;
    });
}"""

#: Ids that stand twice on the page, among those in outputs.
TWICE = """() => {
    const ids = [...document.querySelectorAll('.jp-OutputArea [id]')].map(({id}) => id);
    return ids.filter((id, place) => ids.indexOf(id) !== place);
}"""

Faults = Iterator[str]


class Stored(NamedTuple):
    """A picture in a notebook: its cell, what it shows in words, its address, and its states."""

    cell: str
    alt: str
    src: str
    states: Collection[str]


def stored(path: Path) -> list[Stored]:
    """The pictures in the outputs of a notebook, in their order."""
    found = []
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        for output in cell.get("outputs", []):
            html = render.text_of(output.get("data", {}).get("text/markdown", ""))
            for alt, src, kind, data in IMG.findall(html):
                svg = base64.b64decode(data).decode() if "svg" in kind else ""
                found.append(Stored(cell["id"], unescape(alt), src, states_in(svg)))
    return found


def states_in(svg: str) -> set[str]:
    """The states whose hatching is painted in an SVG."""
    return {state for state in LOOKS if re.search(rf"url\(#[\w-]*-{state}\)", svg)}


def missing(page: Page, wanted: Collection[Stored], selector: str = "img") -> Faults:
    """Pictures that the page does not show as they are stored, among its images `selector`."""
    if not wanted:
        yield "there is no picture to look for"
    shown = {each["src"]: each for each in page.evaluate(PICTURES, selector)}
    for picture in wanted:
        seen = shown.get(picture.src)
        if seen is None:
            yield f"{picture.cell}: the picture is not on the page"
        elif not seen["wide"]:
            yield f"{picture.cell}: the picture cannot be drawn"
        else:
            if not picture.alt or seen["alt"] != picture.alt:
                yield f"{picture.cell}: the picture's alt text is {seen['alt']!r}"
            yield from (f"{picture.cell}: {f}" for f in unpainted(seen["colours"], picture.states))


def unpainted(colours: dict[str, int], states: Collection[str]) -> Faults:
    """States whose hatching does not stand on the page."""
    for state in states:
        if colours.get(LOOKS[state].fill, 0) < AREA:
            yield f"no hatching for {state}"


def unseen(part: Locator, states: Collection[str]) -> list[str]:
    """States whose hatching does not come to the screen; a document in the page takes a moment."""
    until = time.monotonic() + PATIENCE_S
    part.scroll_into_view_if_needed()
    while (found := list(unpainted(colours_of(part), states))) and time.monotonic() < until:
        part.page.wait_for_timeout(100)
    return found


def colours_of(part: Locator) -> dict[str, int]:
    """The colours of a part of the page, as it is on the screen, with their px."""
    from PIL import Image

    image = Image.open(io.BytesIO(part.screenshot())).convert("RGB")
    found: Any = image.getcolors(image.width * image.height)
    return {f"#{red:02x}{green:02x}{blue:02x}": count for count, (red, green, blue) in found}


def twice(page: Page) -> Faults:
    """Ids that stand twice on the page: `url(#id)` finds the first, which may be hidden."""
    yield from (f"the id {name} stands twice on the page" for name in page.evaluate(TWICE))
