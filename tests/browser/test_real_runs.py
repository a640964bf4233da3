"""CompareExplorer in JupyterLab: real runs in the background, their progress, and their end."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import lab
import pytest

from . import checks
from .gates import HELD, Gate

if TYPE_CHECKING:
    from playwright.sync_api import Locator

checks.needs_a_browser()

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the real kernel here is Linux's")

STATE = "delay_ms=90 messages=5"
CELLS = [HELD, f"explorer = Held({STATE!r})\ndisplay(explorer)"]
WORDS = ".iosim-actions [role=status]"
#: What stands beside the buttons, and the number of the picture, whenever one of them changes.
WATCH = f"""() => {{
    const words = document.querySelector("{WORDS}");
    const bar = document.querySelector(".iosim-actions progress");
    window.said = [];
    new MutationObserver(() => said.push([words.textContent, !bar.hidden, bar.value, bar.max]))
        .observe(words, {{ childList: true, characterData: true, subtree: true }});
}}"""


@pytest.fixture(scope="module")
def shown(desk: lab.Desk) -> Iterator[lab.Notebook]:
    """A notebook with an explorer that can be run for real."""
    with lab.opened(desk, CELLS) as notebook:
        notebook.run_all()
        button(notebook, "Run it for real").and_(notebook.page.locator(":enabled")).wait_for()
        yield notebook


def button(notebook: lab.Notebook, name: str) -> Locator:
    return checks.root(notebook.page).get_by_role("button", name=name)


def says(notebook: lab.Notebook, words: str) -> None:
    """Wait until these words stand beside the buttons."""
    checks.root(notebook.page).locator(WORDS).filter(has_text=words).wait_for()


def drawn(notebook: lab.Notebook) -> int:
    """How many measured runs the picture has."""
    shown = checks.root(notebook.page).locator(".iosim-picture g[data-run$=', measured']")
    return len(set(shown.evaluate_all("all => all.map(e => e.dataset.run)")))


def test_what_is_running_can_be_cancelled(shown: lab.Notebook, gate: Gate) -> None:
    gate.shut()
    assert button(shown, "Cancel").is_disabled()
    checks.press(button(shown, "Run it for real"))
    says(shown, "of 5: ")
    assert button(shown, "Run it for real").is_disabled()
    assert checks.root(shown.page).locator("progress").is_visible()
    checks.press(button(shown, "Cancel"))
    says(shown, "cancelled: ")
    assert shown.ask("explorer.wait(0)")
    assert not checks.root(shown.page).locator("progress").is_visible()
    assert button(shown, "Cancel").is_disabled()


def test_real_runs_are_drawn_as_they_come(shown: lab.Notebook) -> None:
    playhead = checks.root(shown.page).locator("[name=playhead]")
    for key in ("Home", "ArrowRight", "ArrowRight"):
        playhead.press(key)
    clock = checks.root(shown.page).locator(".iosim-player output")
    at = clock.text_content()
    shown.page.evaluate(WATCH)
    checks.press(button(shown, "Run it for real"))
    says(shown, "measured: ")
    assert clock.text_content() == at != "0.000 ms"  # the reader has not moved it
    count = shown.ask("len(explorer.measured)")
    assert count >= 4  # containers often refuse io_uring
    assert drawn(shown) == len([r for r in shown.ask("[r.kernel for r in explorer.measured]")
                                if r == "measured"])  # fmt: skip
    said = shown.page.evaluate("said")
    numbered = [row for row in said if " of 5: " in row[0]]
    assert numbered
    assert all(row[1:] == [True, int(row[0][0]) - 1, 5] for row in numbered)
    assert [row[0][0] for row in numbered] == sorted({row[0][0] for row in numbered})
    assert said[-1][0] == f"measured: {count} of 5"


def test_the_state_knows_nothing_of_it(shown: lab.Notebook) -> None:
    assert shown.ask("explorer.state") == STATE
    field = checks.root(shown.page).locator("[name=state]")
    assert (field.input_value().partition(" at_ms")[0]) == STATE


def test_other_messages_take_it_off_the_picture(shown: lab.Notebook) -> None:
    before = checks.seq(shown.page)
    checks.root(shown.page).locator("[name=delay_ms]").press("ArrowRight")
    assert checks.answered(shown.page, before)
    assert drawn(shown) == shown.ask("len(explorer.measured)") == 0


def test_closing_it_ends_the_process(shown: lab.Notebook, gate: Gate) -> None:
    gate.shut()
    checks.press(button(shown, "Run it for real"))
    says(shown, "of 5: ")
    gone = "running = explorer._background\nexplorer.close()"
    assert shown.ask("running.wait(0)", gone)
    checks.root(shown.page).wait_for(state="detached")
    assert shown.seen.faults() == []
