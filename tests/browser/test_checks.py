"""The checks pass a good page, and see a fault that was planted in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import lab
import pytest

from . import checks

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page

checks.needs_a_browser()

GOOD = Path(__file__).with_name("stand_in.html").read_text(encoding="utf-8")


#: What a script can do wrong, put before the listener that every form has.
FORM = 'one("form").addEventListener("submit"'
TRAP = f"""root.addEventListener("keydown", event => {{
    if (event.target.textContent === "Copy") {{ play.focus(); event.preventDefault(); }}
}}); {FORM}"""
SKIP = f"""root.addEventListener("focusin", event => {{
    if (event.target.name === "predict") play.focus();
}}); {FORM}"""
NARROW = "<output style='display: inline-block; width: 0; white-space: nowrap'>"
ALARM = "('keydown', () => { alert.hidden = !(alert.textContent = 'no'); })"
HIDE = "alert.hidden = !state.value;"
NEXT = 'next.addEventListener("click", () => place(playhead.valueAsNumber + 1))'
STEP = "place(playhead.value)"
PLAY = "setInterval(() => place(playhead.valueAsNumber + 1), 50)"
MOVE = 'one("line").setAttribute("x1"'
SEQ = ".dataset.seq++"


def fence() -> None:
    """There is no kernel behind this page."""


CHECKS: dict[str, Callable[[Page], Iterator[str]]] = {
    "unnamed": checks.unnamed,
    "without_alt": checks.without_alt,
    "unreached": checks.unreached,
    "unanswered": checks.unanswered,
    "talkative": lambda page: checks.talkative(page, fence),
    "faint": checks.faint,
    "crowded": checks.crowded,
    "mistyped": checks.mistyped,
    "gullible": lambda page: checks.gullible(page, "nonsense=1", fence),
}


@pytest.fixture(scope="module")
def page(browser: BrowserContext) -> Iterator[Page]:
    with lab.watched(browser, width=700) as (page, _):
        yield page


@pytest.mark.parametrize("check", CHECKS)
def test_a_good_page_passes(page: Page, check: str) -> None:
    page.set_content(GOOD)
    assert list(CHECKS[check](page)) == []


@pytest.mark.parametrize(
    ("check", "old", "new", "fault"),
    [
        ("unnamed", "model <select", "<select", "a combobox without a name"),
        ("unnamed", ' aria-label="Playhead"', "", "a slider without a name"),
        ("unnamed", ">Copy</button>", "></button>", "a button without a name"),
        ("unnamed", "Previous event", "Next event", "two of the same name: button 'Next event'"),
        ("unnamed", 'aria-valuetext="20 ms"', 'aria-valuetext="20"', "'delay_ms' says '20'"),
        ("unnamed", ' aria-valuetext="event 0"', "", "'playhead' says ''"),
        ("without_alt", '<title id="t">A bar</title>', "", "an SVG without role, title"),
        ("without_alt", "It is as long as the wait.", "", "an SVG without role, title"),
        ("without_alt", 'role="img"', "", "an SVG without role, title"),
        ("without_alt", "<svg width", '<svg style="display: none" width', "there is no picture"),
        ("without_alt", 'role="status"', "", "is not a status"),
        ("without_alt", ' aria-label="Explorer: a stand-in"', "", "the explorer has no name"),
        ("unreached", '<input name="state"', '<input tabindex="1" name="state"', "Tab misses"),
        ("unreached", "</style>", ":focus { outline: none; }</style>", "does not show"),
        ("unreached", FORM, TRAP, "come out"),
        ("unreached", FORM, SKIP, "Tab misses the controls number [2, 3] of 9"),
        ("unanswered", "setTimeout(", "String(", "'model' brings no new view for ArrowDown"),
        ("unanswered", SEQ, SEQ + " || document.activeElement.blur()", "loses the focus"),
        ("talkative", MOVE, "messagesToKernel.push('comm_msg'); " + MOVE, "asked the kernel"),
        ("talkative", NEXT, "", "'Next event' never moves the playhead"),
        ("talkative", STEP, "0", "'ArrowRight' never moves the playhead"),
        ("talkative", ' class="iosim-now"', "", "nothing is marked at event 0"),
        ("talkative", "</style>", "ol { height: 1px; overflow: hidden; }</style>", "out of sight"),
        ("talkative", 'class="iosim-playhead"', "", "the picture has no playhead"),
        ("talkative", '"Play" : "Pause"', '"Play" : "Play"', "cannot be paused"),
        ("talkative", PLAY, "1", "Play does not move the playhead"),
        ("faint", "color: #1a1a1a", "color: #7a7a7a", "(p.iosim-now-panel): contrast 4.29 < 4.5"),
        ("faint", "background: #ffffff", "background: #333333", "contrast 1."),
        ("faint", 'fill="#ffffff">wait', 'fill="#1a1a1a">wait', "'wait' (text.)"),
        ("faint", "</style>", "::placeholder { color: #aaa; }</style>", "'as it begins' (input.)"),
        ("faint", '<ol class="iosim-program"', '<ol style="opacity: 0.5"', "'recvfrom' (li"),
        ("crowded", "gap: 8px", "gap: 8px; margin-bottom: -20px", "overlap"),
        ("crowded", "svg { max-width: 100%", "svg { min-width: 900px", "sticks out"),
        ("crowded", 'size="20"', 'size="120"', "the explorer scrolls sideways"),
        ("crowded", "font: 13px", "width: 900px; font: 13px", "wider than its place"),
        ("crowded", "<output>", NARROW, "overlap"),
        ("mistyped", 'range" name="delay_ms"', 'number" name="delay_ms"', "'delay_ms' holds"),
        ("mistyped", '("input", ask)', ALARM, "an error: no"),
        ("gullible", HIDE, "alert.hidden = true;", "is taken without a word"),
        ("gullible", "ValueError: there is no '${state.value}'", "No", "does not name it"),
        ("gullible", "ValueError: there", "Traceback\\n there", "does not name it in one line"),
        ("gullible", HIDE, "if (!state.value) return; alert.hidden = false;", "does not go"),
        ("gullible", HIDE, HIDE + "one('.iosim-picture').dataset.seq = 9;", "changes the picture"),
    ],
)  # fmt: skip
def test_a_planted_fault_is_seen(
    page: Page, monkeypatch: pytest.MonkeyPatch, check: str, old: str, new: str, fault: str
) -> None:
    monkeypatch.setattr(checks, "PATIENCE_MS", 500)
    monkeypatch.setattr(checks, "MOST_STOPS", 30)
    assert GOOD.count(old) == 1
    page.set_content(GOOD.replace(old, new))
    assert fault in "\n".join(CHECKS[check](page))
