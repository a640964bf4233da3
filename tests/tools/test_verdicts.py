"""A third verdict: how a suite counts what other work disturbed, and when that is too much."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
from paths import ROOT

CONFTEST = (
    f"import sys; sys.path.insert(0, {str(ROOT / 'tools')!r})\npytest_plugins = ['verdicts']\n"
)
SUITE = """
import pytest
from dataclasses import replace
from iosim import inconclusive, models, simulate, traffic
from iosim.trace import Disturbance
RUN = replace(simulate(models.blocking, traffic.one()), disturbances=(Disturbance("x", 10**9),))

@pytest.mark.parametrize("number", range({count}))
def test_it(number):
    if number < {disturbed} and inconclusive(RUN):
        {then}
"""


def suite(folder: Path, *arguments: str) -> tuple[int, str]:
    """The exit status of pytest there, and what it printed; all verdicts are told in `told`."""
    (folder / "conftest.py").write_text(CONFTEST)
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull,
         f"--rootdir={folder}", *arguments, str(folder)],
        capture_output=True, text=True, timeout=100,
        env=os.environ | {"IOSIM_INCONCLUSIVE": str(folder / "told")},
    )  # fmt: skip
    return ran.returncode, ran.stdout + ran.stderr


@pytest.mark.parametrize(
    ("count", "strangers", "then", "status", "says"),
    [
        (300, 3, "return", 0, r"3 of 300 inconclusive \(allowed: at most 3\)"),
        (300, 4, "return", 1, r"4 of 300 inconclusive \(too many: at most 3\)"),
        (5, 1, "return", 0, r"1 of 5 inconclusive \(allowed: at most 1\)"),
        (5, 1, "raise ValueError", 1, "1 failed, 4 passed"),
    ],
)
def test_a_suite_counts_the_third_verdict(
    tmp_path: Path, count: int, strangers: int, then: str, status: int, says: str
) -> None:
    text = SUITE.format(count=count, disturbed=strangers, then=then)
    (tmp_path / "test_it.py").write_text(text)
    code, out = suite(tmp_path)
    assert code == status
    assert re.search(says, out)
    if then == "return" and strangers:
        assert f"{count - strangers} passed" in out
        assert "test_it.py::test_it[0]: Inconclusive, because" in out
        assert len((tmp_path / "told").read_text().splitlines()) == strangers


def test_a_step_of_a_suite_is_not_judged_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IOSIM_TALLY", str(tmp_path / "tally"))
    text = SUITE.format(count=5, disturbed=2, then="return")
    (tmp_path / "test_it.py").write_text(text)
    code, out = suite(tmp_path)
    assert code == 0
    assert "2 of 5 inconclusive\n" in out
    assert (tmp_path / "tally").read_text() == "5 2\n"


def cells(*sources: str) -> Any:
    """A notebook whose cells have printed nothing."""
    book = nbformat.v4.new_notebook()
    for number, source in enumerate(sources, start=1):
        book.cells.append(nbformat.v4.new_code_cell(source, execution_count=number))
    return book


def test_a_cell_that_is_inconclusive_neither_fails_nor_passes(tmp_path: Path) -> None:
    """An error fails it all the same, and so does another output without a verdict."""
    first = SUITE.split("@pytest")[0].replace("import pytest\n", "")
    wrong = "assert not inconclusive(RUN)", "print('another text')"
    nbformat.write(cells(first, "inconclusive(RUN);", *wrong), tmp_path / "book.ipynb")
    code, out = suite(tmp_path, "--nbval", "--nbval-current-env")
    assert code == 1
    assert "2 failed, 1 passed, 1 inconclusive" in out
    assert "book.ipynb::Cell 1: Inconclusive, because other work disturbed the run" in out
