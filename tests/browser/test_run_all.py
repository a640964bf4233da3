"""Every notebook of the course, opened as it is stored beside another one, runs by Run All.

As students run it, and other than in nbval and nbclient: with IPython's history on, and with
JupyterLab's threads for widgets.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import lab
import pytest

from . import checks
from .conftest import unhurried

checks.needs_a_browser()

NOTEBOOKS = sorted((lab.ROOT / "notebooks").glob("*.ipynb"))
LIMIT_S = 240  # a notebook takes 5 to 30 s on a quiet machine
BESIDE = """
from iosim.explore import ModelExplorer
explorer = ModelExplorer()
display(explorer)
"""


@pytest.fixture(scope="module", autouse=True)
def beside(desk: lab.Desk) -> Iterator[lab.Notebook]:
    """A notebook that is open all the time, with an explorer of its own."""
    with lab.opened(desk, [BESIDE]) as notebook:
        notebook.run_all()
        lab.until(notebook.page, DRAWN)  # once it is hidden, it is not drawn any more
        yield notebook


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def stored(request: pytest.FixtureRequest, desk: lab.Desk) -> Iterator[lab.Notebook]:
    """A copy of a notebook as it is stored, open."""
    copy = desk.server.root / request.param.name
    shutil.copyfile(request.param, copy)
    with lab.shown(desk, copy.name) as notebook:
        yield notebook
    copy.unlink()


#: The kernel's threads, without what Jupyter begins when it needs it.
THREADS = """{thread.name for thread in threading.enumerate()
    if not thread.name.startswith('subshell-') and 'zmq' not in type(thread).__module__}"""
CELLS = f"""{lab.PANEL}.content.model.sharedModel.cells
    .filter(cell => cell.cell_type === 'code' && cell.source.trim()).length"""


def test_it_runs_to_its_end(stored: lab.Notebook) -> None:
    assert stored.ask("get_ipython().history_manager.enabled")
    before = stored.ask(THREADS, "import threading")
    unhurried()
    stored.run_all(LIMIT_S)
    lab.until(stored.page, DRAWN)
    assert stored.ask("get_ipython().execution_count - 1") == stored.page.evaluate(CELLS)
    assert stored.ask(THREADS, "import threading") == before
    assert children(stored.ask("os.getpid()", "import os")) == []
    assert stored.seen.faults() == []
    assert stored.seen.off_host() == []


#: Has every explorer its picture, if it does not ask for a guess first?
DRAWN = f"""() => [...document.querySelectorAll('{checks.ROOT} .iosim-picture:not([hidden])')]
    .every(picture => picture.querySelector('svg'))"""


def children(pid: int) -> list[str]:
    """What the processes do that this one has begun."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found.append(Path(f"/proc/{child}/cmdline").read_text().replace("\0", " "))
    return found
