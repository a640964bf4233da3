"""Every notebook as it is stored, opened in JupyterLab: trusted and not, alone and beside one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lab
import pytest
import render
from paths import ROOT

from iosim.draw import LOOKS

from . import checks, pictures

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page

checks.needs_a_browser()

OUTPUTS = ".jp-Notebook .jp-OutputArea-output img"
SAVE = "async () => { await jupyterapp.commands.execute('docmanager:save'); }"
CHANGED = f"{lab.PANEL}.context.model.dirty"
PATIENCE_MS = 90_000  # for a whole notebook on a busy machine
#: Each output of a cell is drawn; one in Markdown comes somewhat later.
IS_DRAWN = """({model, outputArea}) => outputArea?.isAttached
    && outputArea.widgets.length === model.outputs.length
    && [...outputArea.node.querySelectorAll('.jp-RenderedMarkdown')].every(
        ({childNodes}) => childNodes.length)"""
WITH_OUTPUTS = f"{lab.PANEL}.content.widgets.filter(({{model}}) => model.outputs?.length)"
DRAWN = f"() => {WITH_OUTPUTS}.every({IS_DRAWN})"
#: JupyterLab draws a cell when it comes into sight, or when there is time for it. When it says that
#: it has scrolled, the cell may be drawn long since, or not yet: each is looked for by itself.
LOOK_AT_ALL = f"""async () => {{
    const notebook = {lab.PANEL}.content;
    for (const cell of {WITH_OUTPUTS}) {{
        notebook.scrollToItem(notebook.widgets.indexOf(cell)).catch(() => null);
        const enough = performance.now() + 500;
        while (!({IS_DRAWN})(cell) && performance.now() < enough)
            await new Promise(requestAnimationFrame);
    }}
}}"""
#: What the page was asked to do has been done: two frames of it have been drawn.
SETTLED = """() => new Promise(
    done => requestAnimationFrame(() => requestAnimationFrame(() => done(true))))"""

EXPLORER = "from iosim.explore import ModelExplorer\nModelExplorer(model='nonblocking')"
INLINE = """from iosim import draw, models, simulate, traffic
draw.inline(simulate(models.blocking, traffic.one()))"""


@pytest.fixture(scope="module")
def desk(browser: BrowserContext) -> Iterator[lab.Desk]:
    """A JupyterLab with this clone's settings."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTER_CONFIG_PATH", str(ROOT / "tools" / "jupyter"))
        with lab.serving() as server, lab.working(browser, server) as found:
            yield found


@contextmanager
def opened(desk: lab.Desk, path: Path, trusted: bool = False) -> Iterator[Path]:
    """A copy of the notebook `path`, open, all of it drawn, its kernel idle; its file."""
    file = desk.server.root / f"{'trusted' if trusted else 'strange'}-{path.name}"
    shutil.copy(path, file)
    if trusted:
        trust(desk, file)
    desk.page.evaluate(lab.OPEN, file.name)
    lab.until(desk.page, lab.READY, arg=file.name, timeout=PATIENCE_MS)
    desk.page.evaluate(LOOK_AT_ALL)
    lab.until(desk.page, DRAWN, timeout=PATIENCE_MS)
    try:
        yield file
    finally:
        desk.page.evaluate(lab.CLOSE)


def trust(desk: lab.Desk, file: Path) -> None:
    """What `jupyter trust` does, for this server."""
    from nbformat import read
    from nbformat.sign import NotebookNotary

    notary = NotebookNotary(data_dir=str(desk.server.root.parent / "data"))
    notary.sign(read(file, as_version=4))
    notary.store.close()


# --- the checks -----------------------------------------------------------------------------------


def changed(page: Page, file: Path) -> Iterator[str]:
    """Traces of having been opened: in the page, and, once it is saved, in the file."""
    before = file.read_bytes()
    page.evaluate(SETTLED)
    if page.evaluate(CHANGED):
        yield "it is marked changed"
    page.evaluate(SAVE)
    if file.read_bytes() != before:
        yield "saving it changes its file"


def faults(desk: lab.Desk, path: Path, trusted: bool = False) -> list[str]:
    """What is amiss with a stored notebook that is opened."""
    pointed = [each for each in pictures.stored(path) if each.cell in live(path)]
    with opened(desk, path, trusted) as file:
        page = desk.page
        wanted = [p for p in pictures.stored(path) if not (trusted and p in pointed)]
        found = [*pictures.missing(page, wanted, OUTPUTS), *pictures.twice(page)]
        for picture, part in zip(pointed, page.locator("object:visible").all(), strict=trusted):
            found += [f"{picture.cell}: {f}" for f in pictures.unseen(part, picture.states)]
        found += changed(page, file)
    return found


def live(path: Path) -> set[str]:
    """The cells that show an `<object>`, to those who trust the notebook."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return {cell["id"] for cell in cells if "<object " in json.dumps(cell.get("outputs", []))}


@pytest.mark.parametrize("path", pictures.NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_shown_as_it_is_stored_to_whoever_does_not_trust_it(
    desk: lab.Desk, path: Path
) -> None:
    assert faults(desk, path) == []


@pytest.mark.parametrize("path", pictures.NOTEBOOKS[:2], ids=lambda path: path.stem)
def test_a_trusted_notebook_is_shown_as_it_is_stored(desk: lab.Desk, path: Path) -> None:
    assert faults(desk, path, trusted=True) == []


def test_two_notebooks_are_shown_side_by_side(desk: lab.Desk) -> None:
    first, second = pictures.NOTEBOOKS[:2]
    with opened(desk, first, trusted=True) as file:
        assert faults(desk, second, trusted=True) == []
        desk.page.evaluate(lab.OPEN, file.name)
        assert list(changed(desk.page, file)) == []


@pytest.mark.parametrize(("cell", "part"), [(EXPLORER, ".iosim-picture svg"), (INLINE, "object")])
def test_the_same_picture_in_a_second_notebook_keeps_its_hatching(
    desk: lab.Desk, cell: str, part: str
) -> None:
    """While the first notebook is hidden, what `url(#id)` finds in it is not painted."""
    with lab.opened(desk, [cell]) as first:
        first.run_all()
        desk.page.wait_for_selector(part)
        with lab.opened(desk, [cell, cell]) as second:
            second.run_all()
            parts = desk.page.locator(f"{part}:visible")
            parts.nth(1).wait_for()
            assert list(pictures.twice(desk.page)) == []
            for one in parts.all():
                colours = pictures.colours_of(one)
                assert list(pictures.unpainted(colours, {"kernel", "wait", "copy"})) == []


# --- the checks are checked -----------------------------------------------------------------------

OLD_SVG = (
    "<svg xmlns='http://www.w3.org/2000/svg' id='a' width='9' height='9'><title>A</title></svg>"
)
BLANK = pictures.Stored("c", "words", "", {"wait"})


def notebook(
    path: Path, *html: str, version: str | None = None, kind: str = "text/markdown"
) -> Path:
    """A notebook of one cell with these outputs, in its normal form, but for the version."""
    outputs = [
        {"output_type": "display_data", "metadata": {}, "data": {"text/plain": "it", kind: each}}
        for each in html
    ]
    cell = {"cell_type": "code", "id": "c", "metadata": {}, "execution_count": 1, "source": "1"}
    made: dict[str, Any] = render.normalise(
        {"cells": [cell | {"outputs": outputs}], "metadata": {}}
    )
    if version:
        language = made["metadata"]["language_info"] | {"version": version}
        made["metadata"] = made["metadata"] | {"language_info": language}
    path.write_text(render.dumps(made), encoding="utf-8")
    return path


def svg_of(fill: str) -> str:
    look = LOOKS["wait"]
    return (
        "<svg xmlns='http://www.w3.org/2000/svg' width='90' height='90'><title>A</title>"
        "<desc>words</desc><defs><pattern id='io00000000-wait' width='9' height='9' "
        f"patternUnits='userSpaceOnUse'><rect width='9' height='9' fill='{look.fill}'/></pattern>"
        f"</defs><rect width='90' height='90' fill='{fill}'/></svg>"
    )


GOOD = "url(#io00000000-wait)"


@pytest.mark.parametrize(("fill", "alt", "fault"), [
    (GOOD, "words", None),
    ("url(#io11111111-wait)", "words", "c: no hatching for wait"),
    (GOOD, "", "c: the picture's alt text is 'Image'"),  # which is JupyterLab's
    ("<", "words", "c: the picture cannot be drawn"),
])  # fmt: skip
def test_a_fault_of_a_picture_is_seen(
    desk: lab.Desk, tmp_path: Path, fill: str, alt: str, fault: str | None
) -> None:
    from iosim.shown import image

    path = notebook(tmp_path / "a.ipynb", image(svg_of(fill).encode(), "image/svg+xml", alt))
    assert faults(desk, path) == ([fault] if fault else [])


def test_a_picture_that_is_dropped_is_seen(desk: lab.Desk, tmp_path: Path) -> None:
    path = notebook(tmp_path / "a.ipynb", OLD_SVG, kind="image/svg+xml")
    with opened(desk, path):
        assert list(pictures.missing(desk.page, [BLANK], OUTPUTS)) == [
            "c: the picture is not on the page"
        ]


def test_an_id_that_stands_twice_is_seen(desk: lab.Desk, tmp_path: Path) -> None:
    path = notebook(tmp_path / "a.ipynb", OLD_SVG, OLD_SVG)
    with opened(desk, path, trusted=True):
        assert list(pictures.twice(desk.page)) == ["the id a stands twice on the page"]


def test_a_notebook_that_is_changed_by_being_opened_is_seen(desk: lab.Desk, tmp_path: Path) -> None:
    path = notebook(tmp_path / "a.ipynb", "it", version="3.4.0")
    with opened(desk, path) as file:
        assert list(changed(desk.page, file)) == [
            "it is marked changed", "saving it changes its file"
        ]  # fmt: skip
