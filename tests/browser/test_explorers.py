"""Every explorer in JupyterLab: keyboard, labels, themes, zoom, bad input, and what it leaves.

The explorers are those of `iosim.explore.__all__`; each is opened once, in its state of STATES, and
the tests of it go on from one to the next. What they looked at lies in build/screenshots.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import lab
import pytest
from paths import ROOT

from iosim import explore

from . import checks

if TYPE_CHECKING:
    from playwright.sync_api import Page

checks.needs_a_browser()

NAMES = [name for name in explore.__all__ if name.endswith("Explorer")]

#: A state that is not the one it begins with, and into which it is put.
STATES = {
    "CallExplorer": "call=status jobs=2",
    "CompareExplorer": "messages=2 cores=2",
    "ModelExplorer": "model=nonblocking_sleeping delay_ms=10",
    "MultiplexExplorer": "call=epoll n=40",
    "ServerExplorer": "server=thread_per_connection clients=2",
}
PICTURES = ROOT / "build" / "screenshots"
MANY = 50  # from about sixty on, Chromium takes longer with each further one

LIGHT, DARK = "JupyterLab Light", "JupyterLab Dark"
LOOKS = {  # theme, and the size of the window in CSS px
    "light": (LIGHT, 1280, 900),
    "dark": (DARK, 1280, 900),
    "zoom": (LIGHT, 640, 450),  # a window of 1280 × 900 at 200 %
    "narrow": (DARK, 700, 900),
}


def test_every_explorer_has_its_row() -> None:
    assert NAMES
    assert set(STATES) == set(NAMES)


@pytest.fixture(scope="module", params=NAMES)
def shown(request: pytest.FixtureRequest, desk: lab.Desk) -> Iterator[lab.Notebook]:
    """A notebook that shows this explorer, which the kernel calls `explorer`."""
    name = request.param
    cells = [
        f"from iosim.explore import {name}",
        f"explorer = {name}({STATES[name]!r})\ndisplay(explorer)",
        "# a cell below",
    ]
    with lab.opened(desk, cells) as notebook:
        notebook.run_all()
        awake(notebook.page)
        yield notebook


def awake(page: Page) -> None:
    """Wait until the last explorer of the page has its picture and its controls work."""
    page.locator(f"{checks.ROOT} .iosim-picture svg").last.wait_for()
    page.locator(f"{checks.ROOT} .iosim-controls :enabled").last.wait_for()


def fence(notebook: lab.Notebook) -> Callable[[], object]:
    """To the kernel and back, behind every message that was sent before."""
    return lambda: notebook.ask("None")


# --- as it is opened ------------------------------------------------------------------------------


def test_it_is_in_the_state_that_it_was_given(shown: lab.Notebook) -> None:
    state = STATES[name_of(shown)]
    assert shown.ask("explorer.state") == state
    assert checks.root(shown.page).locator("[name=state]").input_value() == state


@pytest.mark.parametrize("check", [checks.unnamed, checks.without_alt, checks.unreached])
def test_a_reader_without_eyes_or_mouse_finds_everything(
    shown: lab.Notebook, check: Callable[[Page], Iterator[str]]
) -> None:
    assert list(check(shown.page)) == []


@pytest.mark.parametrize("look", LOOKS)
def test_it_can_be_read(shown: lab.Notebook, look: str) -> None:
    theme, width, height = LOOKS[look]
    page = shown.page
    checks.root(page).locator("details").evaluate_all("all => all.forEach(e => { e.open = true; })")
    shown.theme(theme)
    with shown.sized(width, height):
        faults = [*checks.faint(page), *checks.crowded(page)]
        shown.picture(checks.root(page), PICTURES / f"{name_of(shown)}-{look}.png")
    assert faults == []


#: The lines that are highlighted, in the program and in the kernel's side of its calls.
LINES_NOW = f"""() => [...document.querySelectorAll('{checks.ROOT} .iosim-texts ol')]
    .map(text => [...text.querySelectorAll('.iosim-now')].map(line => line.textContent.trim()))"""


def test_the_playhead_walks_through_the_program_and_the_kernel(shown: lab.Notebook) -> None:
    if name_of(shown) != "ModelExplorer":
        pytest.skip("its view is held against the runs in tests/explore/")
    shown.ask("explorer.set(model='blocking')")
    page = shown.page
    page.wait_for_function(f"() => ({LINES_NOW})().flat().length >= 0")
    lines = []
    page.locator(f"{checks.ROOT} [name=playhead]").press("Home")
    for _ in range(checks.STEPS):
        lines.append(page.evaluate(LINES_NOW))
        page.keyboard.press("ArrowRight")
    asleep = [["data = yield recvfrom(fd, SIZE)"], ["yield in_line(socket, until)"]]
    assert asleep in lines, lines
    shown.ask(f"explorer.set(model={STATES['ModelExplorer'].split()[0].partition('=')[2]!r})")


#: What is higher than it is shown, where one would have to scroll.
CUT = f"""() => [...document.querySelectorAll('{checks.ROOT} *')]
    .filter(part => part.checkVisibility() && getComputedStyle(part).overflowY !== 'visible')
    .filter(part => part.scrollHeight > part.clientHeight + 1 && part.clientHeight > 1)
    .map(part => part.parentElement.tagName + ' ' + part.className)"""


def test_on_paper_nothing_is_cut_off(shown: lab.Notebook) -> None:
    """With all that can be opened open, in a window that is too low for it."""
    page = shown.page
    checks.root(page).locator("details").evaluate_all("all => all.forEach(e => { e.open = true; })")
    with shown.sized(1280, 400):
        lab.until(page, f"({CUT})().length")  # on the screen one scrolls
        page.emulate_media(media="print")
        try:
            assert page.evaluate(CUT) == []
        finally:
            page.emulate_media(media="screen")


# --- as it is used --------------------------------------------------------------------------------


def test_its_controls_answer_the_keyboard(shown: lab.Notebook) -> None:
    assert list(checks.unanswered(shown.page)) == []
    assert shown.ask("explorer.state") == STATES[name_of(shown)]


def test_the_picture_is_that_of_the_kernel(shown: lab.Notebook) -> None:
    """However one has come there: the page changes of the last picture only what is different."""
    slider = checks.root(shown.page).locator(".iosim-controls input[type=range]:visible").first
    slider.focus()
    for key in ("End", "Home", "ArrowRight"):
        before = checks.seq(shown.page)
        shown.page.keyboard.press(key)
        assert checks.answered(shown.page, before)
        assert shown.page.evaluate(SAME_PICTURE, shown.ask("explorer.shows.svg"))
    put_back(shown)


#: Is the picture on the page this one, but for names and for what the playhead marks?
SAME_PICTURE = """text => {
    const parsed = html => {
        const template = document.createElement('template');
        template.innerHTML = html.replaceAll(/\\b(io[0-9a-f]{8}|iosim-title-\\d+)-/g, '');
        template.content.querySelectorAll('.iosim-playhead, rect.iosim-now:not([data-start])')
            .forEach(ours => ours.remove());
        template.content.querySelectorAll('[class]').forEach(e => e.removeAttribute('class'));
        return template.content.firstElementChild;
    };
    return parsed(text).isEqualNode(parsed(document.querySelector('.iosim-picture').innerHTML));
}"""


def test_the_playhead_asks_nobody(shown: lab.Notebook) -> None:
    assert list(checks.talkative(shown.page, fence(shown))) == []


def test_a_key_belongs_to_the_explorer_that_has_the_focus(shown: lab.Notebook) -> None:
    """In JupyterLab 'a' inserts a cell, 'd d' deletes one, and arrows go to another."""
    page, where = shown.page, "[cells.model.cells.length, cells.activeCellIndex, cells.mode]"
    place = f"(() => {{ const cells = {lab.PANEL}.content; return {where}; }})()"
    before = page.evaluate(place)
    stops = checks.root(page).locator(checks.CONTROLS).and_(page.locator(":not([name=state])"))
    for stop in filter(checks.usable, stops.all()):
        stop.focus()
        for key in ["a", "b", "d", "d", "m", "ArrowDown", "ArrowLeft"]:
            page.keyboard.press(key)
        assert page.evaluate(place) == before, stop
    put_back(shown)


def put_back(notebook: lab.Notebook) -> None:
    """Paste the state in which it was opened."""
    field = checks.root(notebook.page).locator("[name=state]")
    before = checks.seq(notebook.page)
    field.fill("")
    field.fill(STATES[name_of(notebook)])
    field.press("Enter")
    lab.until(notebook.page, checks.ANSWERED, arg=before)
    assert notebook.ask("explorer.state") == STATES[name_of(notebook)]


def name_of(notebook: lab.Notebook) -> str:
    return checks.root(notebook.page).get_attribute("data-explorer") or ""


def test_what_is_typed_is_never_wrong(shown: lab.Notebook) -> None:
    assert list(checks.mistyped(shown.page)) == []
    assert shown.ask("explorer.state == state", "state = explorer.state; explorer.set(state)")


def test_a_wrong_state_is_refused(shown: lab.Notebook) -> None:
    slider = checks.root(shown.page).locator(".iosim-controls input[type=range]").first
    name = slider.get_attribute("name")
    for wrong in ["nonsense", "nonsense=1", f"{name}=banana", f"{name}=-1e99", f"{name}=nan"]:
        assert list(checks.gullible(shown.page, wrong, fence(shown))) == []


def test_what_is_being_typed_stays_when_a_view_comes(shown: lab.Notebook) -> None:
    field = checks.root(shown.page).locator("[name=state]")
    slider = checks.root(shown.page).locator(".iosim-controls input[type=range]").first
    before = checks.seq(shown.page)
    slider.evaluate(
        """element => {
            const field = element.closest("[data-explorer]").querySelector("[name=state]");
            element.value = element.valueAsNumber === +element.max ? element.min : element.max;
            element.dispatchEvent(new Event("input", { bubbles: true }));
            field.blur();
            field.focus();
        }"""
    )
    field.fill("half a st")
    lab.until(shown.page, checks.ANSWERED, arg=before)
    checks.settle(shown.page, fence(shown))
    assert field.input_value() == "half a st"
    put_back(shown)
    assert field.input_value() == STATES[name_of(shown)]


def test_a_pasted_state_is_taken(shown: lab.Notebook) -> None:
    put_back(shown)


@contextmanager
def no_frames(page: Page) -> Iterator[None]:
    """The page is as one that is never drawn."""
    page.evaluate("() => { drawn = requestAnimationFrame; requestAnimationFrame = () => 0; }")
    try:
        yield
    finally:
        page.evaluate("() => { requestAnimationFrame = drawn; }")


# --- what it can do besides -----------------------------------------------------------------------


def test_a_guess_comes_before_the_run(shown: lab.Notebook) -> None:
    root = checks.root(shown.page)
    predict, guess = root.locator("[name=predict]"), root.locator(".iosim-guess")
    before = checks.seq(shown.page)
    with no_frames(shown.page):  # what waits for one stays as it is
        checks.press(predict, "Space")
        assert checks.answered(shown.page, before)
    assert guess.is_visible()
    assert not root.locator("svg, .iosim-numbers, .iosim-table, .iosim-log").count()
    assert list(checks.unnamed(shown.page)) == []
    before = checks.seq(shown.page)
    checks.press(guess.get_by_role("button", name="Commit to this guess"))
    assert checks.answered(shown.page, before)
    assert guess.is_hidden()
    assert root.locator(".iosim-picture svg").is_visible()
    assert root.get_by_role("table", name="Your guess and the run").is_visible()
    put_back(shown)


# --- what it leaves -------------------------------------------------------------------------------

CLOSE = """
import gc, weakref
from ipywidgets.widgets.widget import _instances
seen = weakref.ref(explorer)
explorer.close()
del explorer
gc.collect()
"""


def test_closing_it_frees_everything(shown: lab.Notebook) -> None:
    """Widgets of the kernel, the explorer itself, and listeners on what all cells share."""
    widgets, _ = close(shown)  # the last traceback of the interpreter may hold this explorer
    assert widgets == 0
    for _ in range(2):
        shown.run_all()
        awake(shown.page)
        assert close(shown) == (0, True)
        assert listeners(shown.page) == []


def close(notebook: lab.Notebook) -> tuple[int, bool]:
    """Close it while it plays: how many widgets are left, and is it gone?"""
    root = checks.root(notebook.page)
    checks.press(root.get_by_role("button", name="Play", exact=True))
    notebook.ask("None", CLOSE)
    root.wait_for(state="detached")
    left: tuple[int, bool] = notebook.ask("(len(_instances), seen() is None)")
    return left


def listeners(page: Page) -> list[str]:
    """What our script listens to on the page as a whole; JupyterLab has listeners of its own."""
    session = page.context.new_cdp_session(page)
    ours: set[str] = set()  # a widget's script comes from a blob
    session.on(
        "Debugger.scriptParsed",
        lambda script: ours.add(script["scriptId"]) if script["url"].startswith("blob:") else None,
    )
    session.send("Debugger.enable")  # which tells of every script there is
    assert ours
    found = []
    for each in ("window", "document", "document.body", "document.documentElement"):
        target = session.send("Runtime.evaluate", {"expression": each})["result"]["objectId"]
        held = session.send("DOMDebugger.getEventListeners", {"objectId": target})["listeners"]
        found += [f"{each}: {one['type']}" for one in held if one["scriptId"] in ours]
    session.detach()
    return found


def test_it_was_quiet(shown: lab.Notebook) -> None:
    """After all that was done to it above."""
    assert shown.seen.faults() == []
    assert shown.seen.off_host() == []


# --- in a hurry -----------------------------------------------------------------------------------

HURRY = """
from iosim.explore import ModelExplorer
explorer = ModelExplorer(messages=5)
display(explorer)
"""
#: Move the slider in every frame, until what stands beside the picture has changed three times.
SLIDE = """async slider => {
    let changes = 0;
    const parts = document.querySelector('.iosim-parts');
    new MutationObserver(() => { changes += 1; }).observe(parts, {childList: true});
    for (let frames = 0; changes < 3 && frames < 600; frames += 1) {
        slider.value = (+slider.value + 1) % (+slider.max + 1);
        slider.dispatchEvent(new Event('input'));
        await new Promise(requestAnimationFrame);
    }
    return changes;
}"""
NUMBERS = "[...document.querySelectorAll('.iosim-numbers dd')].map(e => e.textContent)"


def test_what_stands_beside_the_picture_keeps_up(desk: lab.Desk) -> None:
    """While a slider moves, and when it rests: then the numbers are those of the picture."""
    with lab.opened(desk, [HURRY]) as notebook:
        notebook.run_all()
        page = notebook.page
        awake(page)
        slider = checks.root(page).locator("[name=delay_ms]")
        assert slider.evaluate(SLIDE) >= 3
        where = slider.input_value()
        wanted = notebook.ask(f"numbers_at({where})", NUMBERS_AT)
        same = f"wanted => JSON.stringify({NUMBERS}) === JSON.stringify(wanted)"
        lab.until(page, same, arg=wanted)
        assert notebook.ask("explorer.state") == f"delay_ms={where} messages=5"
        assert notebook.seen.faults() == []


NUMBERS_AT = """
def numbers_at(delay_ms):
    view = ModelExplorer.preview(messages=5, delay_ms=delay_ms)
    return [number.value for number in view.numbers]
"""

# --- many of them ---------------------------------------------------------------------------------


IN_FRONT = f".jp-NotebookPanel:not(.lm-mod-hidden) {checks.ROOT}"  # another one may be open
MANY_MS = 120_000  # until all of them are there, on a busy machine
SHEETS = "[...document.styleSheets].filter(each => each.ownerNode.textContent.includes('.iosim-'))"


def test_many_in_one_notebook_stay_usable(desk: lab.Desk) -> None:
    kinds = ", ".join(NAMES)
    first = f"from iosim.explore import {kinds}\nkinds = [{kinds}]"
    ten = "for number in range(10):\n    display(kinds[number % len(kinds)]())"
    with lab.opened(desk, [first, *[ten] * (MANY // 10)]) as notebook:
        notebook.run_all()
        page = notebook.page
        lab.until(
            page,
            f"document.querySelectorAll('{IN_FRONT} .iosim-picture svg').length === {MANY}",
            timeout=MANY_MS,
        )
        assert page.evaluate(f"{SHEETS}.length") == 1  # with each further one all are styled anew
        last = page.locator(IN_FRONT).last
        slider = last.locator(".iosim-controls input[type=range]:enabled").first
        slider.focus(timeout=MANY_MS)  # when the kernel has greeted all of them
        seq = last.locator(".iosim-picture").get_attribute("data-seq")
        page.keyboard.press("ArrowRight")
        last.locator(f".iosim-picture:not([data-seq='{seq}'])").wait_for()
        lab.until(page, f"!document.querySelector('{IN_FRONT} fieldset:disabled')")
        assert notebook.seen.faults() == []
