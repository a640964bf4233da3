"""The bar of a long measurement: in a notebook, on a terminal, or where there is neither."""

import io
import sys
from pathlib import Path

import pytest
import render

from iosim.progress import Report, bar

CELL = """
from iosim.progress import bar

report = bar()
report(0, 2, "a < b")
report(1, 2, "c")
LAST
print("and then?")
"""


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def three(report: Report) -> None:
    for done, what in enumerate(("one", "two", "done")):
        report(done, 2, what)


def outputs(last: str) -> list[dict[str, object]]:
    """What a notebook stores of a cell that shows a bar."""
    title = {"cell_type": "markdown", "id": "t", "metadata": {}, "source": "# A notebook"}
    cell = {"cell_type": "code", "id": "c", "metadata": {}, "execution_count": None, "outputs": []}
    notebook = {"cells": [title, cell | {"source": CELL.replace("LAST", last)}], "metadata": {}}
    folder = Path(__file__).parent
    stored: list[dict[str, object]] = render.execute(notebook, folder)["cells"][1]["outputs"]
    return stored


def test_a_notebook_replaces_its_bar_and_stores_a_sentence() -> None:
    shown, after = outputs('report(2, 2, "done")')
    assert shown["data"] == {"text/plain": ["2 of 2 experiments done"]}
    assert after["text"] == ["and then?\n"]


def test_a_bar_in_a_notebook_names_what_is_being_measured() -> None:
    shown, _ = outputs('report(1, 2, "a < b")')
    html = '<label>measuring <progress value="1" max="2"></progress> a &lt; b</label>'
    assert shown["data"] == {"text/plain": ["1 of 2 experiments done"], "text/html": [html]}


def test_a_terminal_has_a_line_that_ends_with_the_last_report(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    three(bar())
    first, *_, last = terminal.getvalue().split("\r")[1:]
    assert first.startswith("." * 30 + " 0/2 one")
    assert last.startswith("#" * 30 + " 2/2 done")
    assert last.endswith("\n")


@pytest.mark.parametrize("wanted", [True, False])
def test_elsewhere_nothing_is_shown(wanted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", stream := io.StringIO() if wanted else Terminal())
    three(bar(wanted))
    assert stream.getvalue() == ""
