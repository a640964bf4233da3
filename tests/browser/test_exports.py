"""What nbconvert makes of the stored notebooks: pages and slides without a network, and scripts."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lab
import pytest
import render
from paths import ROOT

from iosim.shown import picture

from . import checks, pictures

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page

checks.needs_a_browser()

#: A text, and the cell that it is about. What one cell prints or draws is not divided: a slide that
#: is higher than the screen scrolls.
MOST_CELLS = 2
SCROLLS = "var scroll = true"
#: Of each slide: its cells, and those of them with pictures.
SLIDES = """() => [...document.querySelectorAll('.slides section')]
    .filter(section => !section.querySelector('section'))
    .map(section => [...section.querySelectorAll('.jp-Cell')])
    .map(cells => ({
        cells: cells.length,
        drawn: cells.filter(cell => cell.querySelector('img')).length,
    }))"""

Faults = Iterator[str]
each_notebook = pytest.mark.parametrize("path", pictures.NOTEBOOKS, ids=lambda path: path.stem)


@cache
def exporter(kind: str) -> Any:
    """nbconvert's, with this clone's settings."""
    from nbconvert.exporters import get_exporter
    from traitlets.config.loader import PyFileConfigLoader

    loader = PyFileConfigLoader("jupyter_nbconvert_config.py", str(ROOT / "tools" / "jupyter"))
    return get_exporter(kind)(config=loader.load_config())


def exported(kind: str, path: Path, folder: Path) -> Path:
    """The notebook `path` as `kind`, in a file."""
    text, resources = exporter(kind).from_filename(str(path))
    file = folder / f"{path.stem}{resources['output_extension']}"
    file.write_text(text, encoding="utf-8")
    return file


@pytest.fixture
def page(browser: BrowserContext) -> Iterator[tuple[Page, lab.Seen]]:
    with lab.watched(browser) as both:
        yield both


# --- the checks -----------------------------------------------------------------------------------


def without_text(page: Page, path: Path) -> Faults:
    """Outputs of text that the page does not show."""
    body = " ".join(page.locator("body").inner_text().split())
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            text = output.get("text", "" if "text/markdown" in data else data.get("text/plain", ""))
            words = " ".join(render.ANSI.sub("", render.text_of(text)).split())
            if words not in body:
                yield f"{cell['id']}: its text is not on the page"


def crowded(page: Page) -> Faults:
    """Slides with more than one thing to look at, or whose end nobody can reach."""
    slides = page.evaluate(SLIDES)
    if len(slides) < 2:
        yield "these are no slides"
    if SCROLLS not in page.content():
        yield "a slide that is higher than the screen does not scroll"
    for number, slide in enumerate(slides, start=1):
        if slide["drawn"] > 1:
            yield f"slide {number} has the pictures of {slide['drawn']} cells"
        if slide["cells"] > MOST_CELLS:
            yield f"slide {number} has {slide['cells']} cells"


def shown(page: Page, seen: lab.Seen, file: Path, path: Path) -> list[str]:
    """What is amiss with the page of HTML `file`, made of the notebook `path`."""
    page.goto(file.as_uri())
    found = [*pictures.missing(page, pictures.stored(path)), *without_text(page, path)]
    return found + [f"it asks for {url}" for url in seen.requests if not url.startswith("file:")]


# --- the notebooks --------------------------------------------------------------------------------


@each_notebook
def test_a_page_shows_every_picture_and_text_and_asks_nobody(
    page: tuple[Page, lab.Seen], tmp_path: Path, path: Path
) -> None:
    assert shown(*page, exported("html", path, tmp_path), path) == []


@each_notebook
def test_slides_show_the_pictures_of_one_cell_each(
    page: tuple[Page, lab.Seen], tmp_path: Path, path: Path
) -> None:
    page[0].goto(exported("slides", path, tmp_path).as_uri())
    assert list(pictures.missing(page[0], pictures.stored(path))) == []
    assert list(crowded(page[0])) == []


@each_notebook
def test_a_script_is_python(tmp_path: Path, path: Path) -> None:
    """As IPython takes it: a cell may await by itself."""
    file = exported("script", path, tmp_path)
    assert file.suffix == ".py"
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    assert compile(file.read_text(encoding="utf-8"), path.stem, "exec", flags, dont_inherit=True)


# --- the checks are checked -----------------------------------------------------------------------


def cell(number: int, *outputs: dict[str, Any]) -> dict[str, Any]:
    """A code cell that was executed."""
    return {
        "cell_type": "code", "id": f"c{number}", "metadata": {}, "source": str(number),
        "execution_count": number, "outputs": list(outputs),
    }  # fmt: skip


def display(**data: Any) -> dict[str, Any]:
    named = {name.replace("_", "/"): value for name, value in data.items()}
    return {"output_type": "display_data", "metadata": {}, "data": named}


def notebook(path: Path, *cells: dict[str, Any], **metadata: Any) -> Path:
    made = render.normalise({"cells": list(cells), "metadata": {}})
    made["metadata"] = made["metadata"] | metadata
    path.write_text(render.dumps(made), encoding="utf-8")
    return path


DOT = picture("<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'><desc>dot</desc></svg>")


def test_an_explorer_that_is_an_empty_box_is_seen(
    page: tuple[Page, lab.Seen], tmp_path: Path
) -> None:
    """Its widget is stored with its state, for which nbconvert asks another host."""
    wanted = notebook(
        tmp_path / "good.ipynb", cell(1, display(text_plain="dot", text_markdown=DOT))
    )
    stored = json.loads(wanted.read_text(encoding="utf-8"))
    stored["cells"][0]["outputs"][0]["data"][render.VIEW] = {"model_id": "1"}
    state = {"state": {"1": {}}, "version_major": 2, "version_minor": 0}
    stored["metadata"]["widgets"] = {"application/vnd.jupyter.widget-state+json": state}
    path = tmp_path / "boxed.ipynb"
    path.write_text(render.dumps(stored), encoding="utf-8")
    assert shown(*page, exported("html", wanted, tmp_path), wanted) == []
    found = shown(*page, exported("html", path, tmp_path), wanted)
    assert found[0] == "c1: the picture is not on the page"
    assert any(fault.startswith("it asks for https://") for fault in found)


def test_a_text_that_is_not_on_the_page_is_seen(
    page: tuple[Page, lab.Seen], tmp_path: Path
) -> None:
    path = notebook(tmp_path / "a.ipynb", cell(1, display(text_plain="it")))
    page[0].set_content("<p>no")
    assert list(without_text(page[0], path)) == ["c1: its text is not on the page"]


def test_crowded_slides_are_seen(page: tuple[Page, lab.Seen]) -> None:
    def slides(*sections: str) -> list[str]:
        inside = "".join(f"<section>{section}</section>" for section in sections)
        page[0].set_content(f"<div class='slides'>{inside}</div>{scrolls}")
        return list(crowded(page[0]))

    scrolls = f"<script>{SCROLLS}</script>"
    one, text = "<div class='jp-Cell'><img><img></div>", "<div class='jp-Cell'></div>"
    assert slides(one, text + one) == []
    assert slides(one) == ["these are no slides"]
    assert slides("", one + one) == ["slide 2 has the pictures of 2 cells"]
    assert slides(text * 3, "") == ["slide 1 has 3 cells"]
    scrolls = ""
    assert slides(one, one) == ["a slide that is higher than the screen does not scroll"]


def test_a_notebook_that_does_not_say_what_its_files_are_called_gives_no_python(
    tmp_path: Path,
) -> None:
    path = notebook(tmp_path / "a.ipynb", cell(1), language_info={"name": "python"})
    assert exported("script", path, tmp_path).suffix == ".txt"
