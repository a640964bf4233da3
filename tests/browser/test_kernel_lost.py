"""An explorer whose kernel is interrupted, restarted or killed works, or says what to do.

What it looks like then lies in build/screenshots.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import lab
import pytest
from paths import ROOT
from waiting import until

from . import checks
from .gates import GATE, HELD, Gate

if TYPE_CHECKING:
    from playwright.sync_api import Locator

checks.needs_a_browser()

PICTURES = ROOT / "build" / "screenshots"

#: An explorer whose views wait at the gate.
SLOW = f"""
{GATE}
import os
from iosim.explore import ModelExplorer

class Slow(ModelExplorer):
    @classmethod
    def view(cls, state):
        pass_gate()
        return ModelExplorer.view(state)

explorer = Slow()
display(explorer)
"""
#: JupyterLab gives widgets a thread of the kernel (a subshell), which no interrupt reaches; other
#: front ends, and JupyterLab before it has begun, send their messages to the main thread.
THREADS = {"main": "disabled", "subshell": "perCommTarget"}
SET_THREAD = "how => { jupyterapp.serviceManager.kernels.commsOverSubshells = how; }"


@pytest.fixture(params=THREADS)
def thread(request: pytest.FixtureRequest, desk: lab.Desk) -> Iterator[str]:
    """Where the kernel hears the explorer."""
    desk.page.evaluate(SET_THREAD, THREADS[request.param])
    yield request.param
    desk.page.evaluate(SET_THREAD, THREADS["subshell"])


@pytest.fixture
def shown(desk: lab.Desk) -> Iterator[lab.Notebook]:
    with lab.opened(desk, [SLOW]) as notebook:
        notebook.run_all()
        works(notebook)
        yield notebook


def works(notebook: lab.Notebook) -> None:
    """The controls can be used, and a key brings a new view; beyond it there is none to make."""
    slider = checks.root(notebook.page).locator("[name=delay_ms]:enabled")
    slider.wait_for()
    before = checks.seq(notebook.page)
    slider.press("Home" if slider.input_value() == slider.get_attribute("max") else "End")
    assert checks.answered(notebook.page, before)
    assert not checks.root(notebook.page).locator("[role=alert]:visible").count()


# --- interrupted ----------------------------------------------------------------------------------

INTERRUPT = "async () => { await jupyterapp.commands.execute('notebook:interrupt-kernel'); }"


def test_it_works_after_interrupts(thread: str, shown: lab.Notebook, gate: Gate) -> None:
    """After one, and after two of them with two choices under way."""
    for names in (["delay_ms"], ["messages", "size"]):
        gate.shut()
        interrupted(thread, shown, gate, names)
        gate.open()
        works(shown)
    assert shown.seen.faults() == []


#: Do the controls of these names stand where they stood before?
AGAIN = """([names, before]) => names.every(
    (name, n) => document.querySelector(`.iosim-controls [name=${name}]`).value === before[n]
)"""


def interrupted(thread: str, notebook: lab.Notebook, gate: Gate, names: list[str]) -> None:
    """Choose with each control what was not there before, and interrupt each view."""
    root = checks.root(notebook.page)
    controls = {name: root.locator(f"[name={name}]") for name in names}
    before = [control.input_value() for control in controls.values()]
    for name, control in controls.items():
        control.press("Home" if name == "delay_ms" else "End")
    for _ in names:
        held = gate.next()
        notebook.page.evaluate(INTERRUPT)
        if thread == "subshell":
            held.unlink()
        until(lambda held=held: not held.exists())
    if thread == "main":
        alert = root.locator("[role=alert]:visible")
        alert.filter(has_text="The kernel was interrupted: choose again.").wait_for()
        lab.until(notebook.page, AGAIN, arg=[names, before])


# --- gone -----------------------------------------------------------------------------------------

SESSION = f"{lab.PANEL}.sessionContext"
DIALOG = ".jp-Dialog button.jp-mod-accept"


def restarted(notebook: lab.Notebook) -> None:
    notebook.page.evaluate(f"async () => {{ await {SESSION}.restartKernel(); }}")


def killed(notebook: lab.Notebook) -> None:
    """JupyterLab begins another one, and says so in a dialog."""
    os.kill(notebook.ask("os.getpid()"), signal.SIGKILL)
    notebook.page.locator(DIALOG).click()


def shut_down(notebook: lab.Notebook) -> None:
    notebook.page.evaluate(f"async () => {{ await {SESSION}.shutdown(); }}")


ENDS: dict[str, Callable[[lab.Notebook], None]] = {
    "restarted": restarted,
    "killed": killed,
    "shut down": shut_down,
}
LOOKS = {"dark": ("JupyterLab Dark", 900), "light": ("JupyterLab Light", 1280)}
SAYS = "The kernel was restarted or stopped: run this cell again."
REST = "[role=status]"


@pytest.mark.parametrize("end", ENDS)
def test_it_says_that_its_kernel_is_gone(shown: lab.Notebook, end: str) -> None:
    page, root = shown.page, checks.root(shown.page)
    ENDS[end](shown)
    root.locator(REST).filter(has_text=SAYS).wait_for()
    assert not root.locator(".iosim-controls :enabled").count()
    # JupyterLab asks the new kernel for its widgets, the playhead asks nobody.
    assert [f for f in checks.talkative(page, lambda: None) if "asked the kernel" not in f] == []
    inert(root)
    for look, (theme, width) in LOOKS.items():
        shown.theme(theme)
        with shown.sized(width, 900):
            assert [*checks.faint(page), *checks.crowded(page)] == []
            shown.picture(root, PICTURES / f"kernel-{end.replace(' ', '-')}-{look}.png")
    assert shown.seen.faults() == []
    again(shown)


def inert(root: Locator) -> None:
    """What is left of the controls does nothing, and nobody complains."""
    field = root.locator("[name=state]")
    before = field.input_value()
    field.press("a")
    field.press("Enter")
    assert field.input_value() == before


def again(notebook: lab.Notebook) -> None:
    """What it says helps."""
    notebook.page.evaluate(f"async () => {{ await {SESSION}.startKernel?.(); }}")
    notebook.run_all()
    works(notebook)
    assert not checks.root(notebook.page).locator(REST).filter(has_text=SAYS).count()
    assert notebook.seen.faults() == []


# --- what is stored -------------------------------------------------------------------------------

SAYS_STORED = "No kernel answers: wait if it is busy, otherwise run this cell."
#: JupyterLab's widgets look for a stored model every 0.1 s until 2 s are over, and not once more
#: (ipywidgets 8.1): one that is restored after the last look, when the kernel begins slowly, is
#: "not found" for good. Here the 2 s never end.
LOOK_ON = """() => {
    window.now = Date.now;
    Date.now = () => new Error().stack.includes('get_model') ? 0 : window.now();
}"""
LOOK_AS_BEFORE = "() => { Date.now = window.now; }"


@pytest.fixture
def patient_desk(desk: lab.Desk) -> Iterator[lab.Desk]:
    """A stored widget is waited for, however long its kernel takes to begin."""
    desk.page.evaluate(LOOK_ON)
    yield desk
    desk.page.evaluate(LOOK_AS_BEFORE)


def test_it_says_what_to_do_where_it_was_only_stored(patient_desk: lab.Desk) -> None:
    """Its notebook is opened, with the widget's state in it, and no cell has run."""
    name = "stored.ipynb"
    store(patient_desk.server.root / name)
    with lab.shown(patient_desk, name) as notebook:
        root = checks.root(notebook.page)
        root.locator(REST).filter(has_text=SAYS_STORED).wait_for()
        assert not root.locator(".iosim-controls :enabled").count()
        inert(root)
        assert list(checks.faint(notebook.page)) == []
        notebook.picture(root, PICTURES / "kernel-none.png")
        again(notebook)


def store(path: Path) -> None:
    """A notebook that shows an explorer, with the state of its widget, signed as one's own."""
    import nbformat
    from ipywidgets import Widget
    from nbformat.sign import NotebookNotary

    from iosim.explore import ModelExplorer

    explorer = ModelExplorer()
    data, _ = explorer._repr_mimebundle_()
    state = Widget.get_manager_state(widgets=[explorer, explorer.layout])
    explorer.close()
    source = "from iosim.explore import ModelExplorer\nModelExplorer()"
    output = nbformat.v4.new_output("display_data", data)
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(source, outputs=[output])],
        metadata={"kernelspec": lab.KERNEL, "widgets": {WIDGETS: state}},
    )
    nbformat.write(notebook, path)
    NotebookNotary(data_dir=str(path.parent.parent / "data")).sign(notebook)


WIDGETS = "application/vnd.jupyter.widget-state+json"

# --- real runs ------------------------------------------------------------------------------------

REAL = f"{HELD}\nexplorer = Held()\ndisplay(explorer)"


@pytest.mark.skipif(sys.platform != "linux", reason="the real kernel here is Linux's")
def test_a_real_run_outlives_an_interrupt_and_ends_with_its_kernel(
    desk: lab.Desk, gate: Gate
) -> None:
    gate.shut()
    with lab.opened(desk, [REAL]) as notebook:
        notebook.run_all()
        root = checks.root(notebook.page)
        checks.press(root.get_by_role("button", name="Run it for real"))
        first = gate.next()
        root.locator(REST).filter(has_text="1 of 5: ").wait_for()
        pid = notebook.ask("explorer._background.pid")
        notebook.page.evaluate(INTERRUPT)
        first.unlink()
        gate.next()
        root.locator(REST).filter(has_text="2 of 5: ").wait_for()
        assert notebook.ask("len(explorer.measured)") == 1
        restarted(notebook)
        root.locator(REST).filter(has_text=SAYS).wait_for()
        assert not root.locator("progress:visible, .iosim-actions :enabled").count()
        until(lambda: not Path(f"/proc/{pid}").exists())
        assert notebook.seen.faults() == []


# --- never heard ----------------------------------------------------------------------------------

#: anywidget gives up on a module that is not there in 2 s, as on a busy page; here, at once.
#: It counts itself: JupyterLab keeps silent about it where a message had come for the widget.
GIVE_UP = """() => {
    window.timeout = AbortSignal.timeout;
    window.givenUp = 0;
    AbortSignal.timeout = () => {
        const now = new AbortController();
        queueMicrotask(() => { now.abort(); window.givenUp += 1; });
        return now.signal;
    };
}"""
AS_IT_WAS = "() => { AbortSignal.timeout = window.timeout; }"


@pytest.fixture
def given_up(desk: lab.Desk) -> Iterator[lab.Notebook]:
    """It is shown, and was changed at once."""
    desk.page.evaluate(GIVE_UP)
    with lab.opened(desk, [SLOW, "explorer.set(delay_ms=40)"]) as notebook:
        notebook.run_all()
        yield notebook
    desk.page.evaluate(AS_IT_WAS)


def test_it_works_where_anywidget_gave_up_on_it(given_up: lab.Notebook) -> None:
    checks.root(given_up.page).locator(".iosim-picture[data-seq='1'] svg").wait_for()
    assert checks.root(given_up.page).locator("[name=delay_ms]").input_value() == "40"
    works(given_up)
    assert given_up.page.evaluate("() => window.givenUp")
    assert given_up.seen.faults() == []
