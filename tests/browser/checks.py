"""What must hold for every explorer on a page: each check yields what is amiss, in words.

A check knows the names of explorer.js and no explorer. test_checks.py plants a fault for each.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lab
import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

PROBE = Path(__file__).with_name("probe.js").read_text(encoding="utf-8")
ROOT = ".iosim-explorer"
CONTROLS = "a[href], button, input, select, textarea, summary, [tabindex='0']"
#: A newer view, with what stands beside its picture, which comes a little later.
ANSWERED = """before => {
    const [picture, beside] = ['.iosim-picture', '.iosim-parts']
        .map(part => document.querySelector(part)?.dataset.seq);
    return Number(picture) > before && [picture, undefined].includes(beside);
}"""
PATIENCE_MS = 10_000  # with a kernel on a busy machine
LABELS = """svg => (svg.getAttribute('aria-labelledby') ?? '').split(' ')
    .map(id => svg.querySelector(`#${CSS.escape(id)}`)?.textContent.trim())"""
STEPS = 12  # of the playhead, forth and back
MOST_STOPS = 200  # of the keyboard, before a check gives up
IN_WORDS = re.compile(r"[^\W\d_]|[×%]")

Faults = Iterator[str]


def needs_a_browser() -> None:
    """Skip the module that calls this, in one line for all of them, where there is none."""
    if reason := lab.missing():
        pytest.skip(reason, allow_module_level=True)


def root(page: Page) -> Locator:
    return page.locator(ROOT).first


def press(button: Locator, key: str = "Enter") -> None:
    """Press a button, once it can be: a key on one that is disabled is lost without a word."""
    from playwright.sync_api import expect

    expect(button).to_be_enabled(timeout=PATIENCE_MS)
    button.press(key)


def probe(page: Page, question: str) -> Any:
    """The answer of probe.js about the explorer."""
    if not page.evaluate("'probe' in window"):
        page.evaluate(PROBE)
    return page.evaluate(f"probe.{question}(document.querySelector('{ROOT}'))")


def seq(page: Page) -> int:
    """The number of the view that is shown."""
    return int(page.locator(f"{ROOT} .iosim-picture").first.get_attribute("data-seq") or 0)


def comm_messages(page: Page) -> int:
    """How many messages of widgets went to the kernel."""
    return page.evaluate("messagesToKernel.filter(type => type.startsWith('comm_')).length")


def late(wait: Callable[[], object]) -> bool:
    """Does it not come in time?"""
    from playwright.sync_api import TimeoutError as NotInTime

    try:
        wait()
    except NotInTime:
        return True
    return False


# --- names ----------------------------------------------------------------------------------------


def unnamed(page: Page) -> Faults:
    """What a screen reader would say badly."""
    said: list[tuple[str, str]] = []
    for node in accessible(page):
        role, name = node["role"]["value"], node.get("name", {}).get("value", "").strip()
        if not name:
            yield f"a {role} without a name"
        elif (role, name) in said:
            yield f"two of the same name: {role} '{name}'"
        said.append((role, name))
    for slider in root(page).locator("input[type=range]:visible").all():
        words = slider.get_attribute("aria-valuetext") or ""
        if not IN_WORDS.search(words):
            yield f"the slider '{slider.get_attribute('name')}' says {words!r}, without a unit"


def accessible(page: Page) -> list[dict[str, Any]]:
    """The nodes of the accessibility tree that stand for what the keyboard reaches."""
    probe(page, "stops")
    with cdp(page) as send:
        stops = send(
            "Runtime.evaluate", expression=f"probe.stops(document.querySelector('{ROOT}'))"
        )["result"]["objectId"]
        found = send("Runtime.getProperties", objectId=stops, ownProperties=True)["result"]
        elements = [each["value"]["objectId"] for each in found if each["name"].isdigit()]
        return [
            send("Accessibility.getPartialAXTree", objectId=each, fetchRelatives=False)["nodes"][0]
            for each in elements
        ]


@contextmanager
def cdp(page: Page) -> Iterator[Callable[..., Any]]:
    """Chromium's own protocol: `send(method, name=value)`."""
    session = page.context.new_cdp_session(page)
    try:
        yield lambda method, **params: session.send(method, params)
    finally:
        session.detach()


def without_alt(page: Page) -> Faults:
    """Pictures that a screen reader could not read, and results that it would not."""
    if not root(page).get_attribute("aria-label"):
        yield "the explorer has no name"
    pictures = root(page).locator("svg:visible").all()
    if not pictures:
        yield "there is no picture"
    for picture in pictures:
        words = picture.evaluate(LABELS)
        if picture.get_attribute("role") != "img" or len(words) < 2 or not all(words):
            yield "an SVG without role, title and description"
    panel = root(page).locator(".iosim-now-panel")
    if not panel.or_(panel.locator("*")).and_(page.locator("[role=status]")).count():
        yield "what is so at this instant is not a status"


# --- the keyboard ---------------------------------------------------------------------------------


def unreached(page: Page) -> Faults:
    """Tab goes through all the controls, and out again."""
    stops = len(probe(page, "stops"))
    root(page).evaluate("element => { element.tabIndex = -1; element.focus(); }")
    reached: set[int] = set()
    for _ in range(MOST_STOPS):
        page.keyboard.press("Tab")
        at = probe(page, "focus")
        if not at["inside"]:
            break
        if not at["visible"]:
            yield f"{at['name']} does not show that it has the focus"
        reached.add(at["place"])
    else:
        yield "the keyboard does not come out again"
    root(page).evaluate("element => element.removeAttribute('tabindex')")
    if missed := sorted(set(range(stops)) - reached):
        yield f"Tab misses the controls number {missed} of {stops}"


def controls(page: Page) -> list[Locator]:
    """Those of the kernel's controls that can be seen, one by one as they are asked for."""
    names = root(page).locator(".iosim-controls [name]").evaluate_all("all => all.map(e => e.name)")
    return [root(page).locator(f".iosim-controls [name='{name}']") for name in names]


def unanswered(page: Page) -> Faults:
    """Every control that can be seen answers a key with a new view, and another brings it back."""
    for control in controls(page):
        for key in moves(control) if usable(control) else ():
            before, name = seq(page), control.get_attribute("name")
            control.press(key)
            if not answered(page, before):
                yield f"'{name}' brings no new view for {key}"
                return  # each would take as long
            if not control.evaluate("e => e === document.activeElement"):
                yield f"'{name}' loses the focus for {key}"


def answered(page: Page, before: int) -> bool:
    """Does a view come that is newer than this one?"""
    return not late(lambda: lab.until(page, ANSWERED, arg=before, timeout=PATIENCE_MS))


def usable(control: Locator) -> bool:
    return control.is_visible() and control.is_enabled()


def moves(control: Locator) -> list[str]:
    """A key that changes it, and a key that brings it back."""
    kind = control.evaluate("e => e.type")
    if kind == "checkbox":
        return ["Space", "Space"]
    keys = ["ArrowDown", "ArrowUp"] if kind == "select-one" else ["ArrowRight", "ArrowLeft"]
    at_end = control.evaluate(
        "e => e.options ? e.selectedIndex === e.options.length - 1 : e.value === e.max"
    )
    return keys[::-1] if at_end else keys


#: Is the first marked line of each text, if there is one, in the part of it that is shown?
IN_SIGHT = """async explorer => {
    await new Promise(requestAnimationFrame);
    await new Promise(requestAnimationFrame);
    return [...explorer.querySelectorAll('.iosim-program')].every(text => {
        const line = text.querySelector('.iosim-now');
        if (!line) return true;
        const [inner, outer] = [line, line.parentElement].map(e => e.getBoundingClientRect());
        return inner.top >= outer.top - 1 && inner.bottom <= outer.bottom + 1;
    });
}"""


def talkative(page: Page, fence: Callable[[], object]) -> Faults:
    """The playhead goes from event to event in the browser, and asks the kernel nothing.

    `fence` goes to the kernel and comes back: what was sent before is counted then.
    """
    playhead = root(page).locator("[name=playhead]")
    shown = root(page).locator(".iosim-now-panel")
    sent, at = comm_messages(page), seq(page)
    playhead.press("Home")
    for name, key in (("Next event", "ArrowRight"), ("Previous event", "ArrowLeft")):
        button = root(page).get_by_role("button", name=name)
        moved = dict.fromkeys((name, key), False)
        for turn in range(STEPS):
            before = shown.text_content()
            press(button) if turn % 2 else playhead.press(key)
            moved[name if turn % 2 else key] |= before != shown.text_content()
            if not root(page).locator(".iosim-now").count():
                yield f"nothing is marked at {playhead.get_attribute('aria-valuetext')}"
            if not root(page).evaluate(IN_SIGHT):
                yield f"its line is out of sight at {playhead.get_attribute('aria-valuetext')}"
        yield from (f"'{way}' never moves the playhead" for way in moved if not moved[way])
    if not root(page).locator("svg line.iosim-playhead").count():
        yield "the picture has no playhead"
    yield from _playing(page)
    fence()
    if comm_messages(page) != sent or seq(page) != at:
        yield f"the playhead asked the kernel {comm_messages(page) - sent} times"


def _playing(page: Page) -> Faults:
    playhead = root(page).locator("[name=playhead]")
    playhead.press("Home")
    start = playhead.get_attribute("aria-valuetext")
    press(root(page).get_by_role("button", name="Play", exact=True))
    moved = "before => document.querySelector('[name=playhead]').ariaValueText !== before"
    if late(lambda: lab.until(page, moved, arg=start, timeout=PATIENCE_MS)):
        yield "Play does not move the playhead"
    pause = root(page).get_by_role("button", name="Pause", exact=True)
    if pause.count():
        press(pause)
    else:
        yield "what plays cannot be paused"


# --- the looks ------------------------------------------------------------------------------------


def faint(page: Page) -> Faults:
    """Texts with a contrast below WCAG's 4.5 (large ones: 3)."""
    yield from probe(page, "faint")


def crowded(page: Page) -> Faults:
    """Controls that overlap, and whatever makes a reader scroll sideways."""
    yield from probe(page, "overlapping")
    yield from probe(page, "wide")


# --- bad input ------------------------------------------------------------------------------------


def mistyped(page: Page) -> Faults:
    """Letters and numbers that are typed into controls leave a state that is valid."""
    for control in controls(page):
        if usable(control):
            control.press_sequentially("zq-99999999e9")
    yield from probe(page, "outOfBounds")
    if root(page).locator("[role=alert]:visible").count():
        yield f"an error: {root(page).locator('[role=alert]').text_content()}"


def gullible(page: Page, text: str, fence: Callable[[], object]) -> Faults:
    """A state that is wrong is refused, in one line that names it; the picture stays."""
    settle(page, fence)
    field, alert = root(page).locator("[name=state]"), root(page).locator("[role=alert]")
    old, at, picture = field.input_value(), seq(page), _picture(page)
    field.fill(text)
    field.press("Enter")
    if late(lambda: alert.filter(visible=True).wait_for(timeout=PATIENCE_MS)):
        yield f"the state {text!r} is taken without a word"
    words = (alert.text_content() or "").strip()
    if "\n" in words or not re.search(rf"{re.escape(text.split('=')[0])}", words):
        yield f"the error for the state {text!r} does not name it in one line: {words!r}"
    fence()
    if seq(page) != at or _picture(page) != picture:
        yield f"the state {text!r} changes the picture"
    field.fill(old)
    field.press("Enter")
    if late(lambda: alert.filter(visible=True).wait_for(state="hidden", timeout=PATIENCE_MS)):
        yield "the error does not go when the state is good again"


def settle(page: Page, fence: Callable[[], object]) -> None:
    """Until a way to the kernel and back brings no new view."""
    before = -1
    while before != (before := seq(page)):
        fence()


def _picture(page: Page) -> str | None:
    return root(page).locator(".iosim-picture").text_content()
