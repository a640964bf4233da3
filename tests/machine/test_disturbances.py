"""Runs that other work disturbed say so by themselves, and are a third verdict."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import nbformat
import pytest
from paths import ROOT
from rival import rival

from iosim import (
    Timeline,
    inconclusive,
    interference,
    measure,
    models,
    simulate,
    traffic,
    undisturbed,
)
from iosim.trace import Disturbance

QUIET = simulate(models.blocking, traffic.one())
TOOLS = ROOT / "tools"


def disturbed(ms: float) -> Timeline:
    """As if it had stood in line for so long."""
    return replace(QUIET, disturbances=(Disturbance("in line for a core", round(ms * 1e6)),))


# -- repeated because it was disturbed -------------------------------------------------------------


def test_a_run_is_repeated_until_one_was_left_alone() -> None:
    runs = iter([disturbed(3), disturbed(2), QUIET, disturbed(9)])
    assert undisturbed(lambda: next(runs)) is QUIET
    assert next(runs).disturbances[0].ns == 9_000_000


def test_the_tries_are_bounded_and_the_last_one_is_given_back() -> None:
    made: list[Timeline] = []

    def make() -> Timeline:
        made.append(disturbed(2 + len(made)))
        return made[-1]

    assert undisturbed(make, tries=3) is made[2]
    assert len(made) == 3
    assert undisturbed(make, limit_ms=10) is made[3]


def test_a_wrong_result_is_no_reason_to_repeat() -> None:
    """Only what the run says of itself counts: nothing is tried again because it failed."""
    tries: list[int] = []

    def failing() -> Timeline:
        tries.append(1)
        raise AssertionError

    with pytest.raises(AssertionError):
        undisturbed(failing)
    assert len(tries) == 1


# -- the verdict -----------------------------------------------------------------------------------


def test_the_verdict_is_one_sentence_and_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "said"
    monkeypatch.setenv("IOSIM_INCONCLUSIVE", str(file))
    assert not inconclusive(QUIET, disturbed(1))
    assert not file.exists()
    assert inconclusive(QUIET, disturbed(12.34), disturbed(2))
    told = "Inconclusive, because other work disturbed the run (in line for a core: 12.3 ms).\n"
    assert capsys.readouterr().out == file.read_text() == told
    monkeypatch.delenv("IOSIM_INCONCLUSIVE")
    assert not inconclusive(disturbed(12), limit_ms=20)
    assert inconclusive(disturbed(30), limit_ms=20)
    assert file.read_text() == told


def test_bad_input_is_named() -> None:
    with pytest.raises(TypeError, match="42 does not say what disturbed it: a Timeline does"):
        undisturbed(lambda: 42)  # type: ignore[type-var,return-value]
    with pytest.raises(ValueError, match="tries must be from 1 to 1,000 runs, got 0"):
        undisturbed(lambda: QUIET, tries=0)
    with pytest.raises(ValueError, match="limit_ms must be from 0"):
        inconclusive(QUIET, limit_ms=-1)


# -- the evidence ----------------------------------------------------------------------------------


def test_what_disturbed_a_run_is_saved_with_it() -> None:
    run = disturbed(3)
    assert Timeline.from_json(run.to_json()) == run
    assert "disturbances" not in QUIET.to_json()


@pytest.mark.real
@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux's scheduler")
def test_a_thread_that_stands_in_line_says_so() -> None:
    with rival(), interference() as found:
        until = time.thread_time_ns() + 30_000_000
        while time.thread_time_ns() < until:
            pass
    told = {one.what: one.ns for one in found.disturbances}
    assert told["in line for a core"] > 1_000_000


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux's scheduler")
def test_other_threads_are_watched_if_they_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def schedstat(pid: str, thread: int) -> tuple[int, int, int]:
        asked.append(thread)
        return 0, 500 * len(asked), 0

    monkeypatch.setattr("iosim.machine.procfs.schedstat", schedstat)
    with interference(7, 8) as found:
        assert found.disturbances == ()
    assert asked == [threading.get_native_id(), 7, 8] * 2
    assert found.disturbances[0] == Disturbance("in line for a core", 4_500)


LATE_SENDER = """
from iosim.real.helpers import sender
punctual = sender.Sender.hear
sender.Sender.hear = lambda self, ns: punctual(self, max(200_000_000, ns))
sender.main()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="measures the Linux kernel")
def test_a_sender_that_is_late_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault is planted: the sender's own sleep lasts 200 ms too long."""
    from iosim.real.sender_process import SenderProcess

    monkeypatch.setattr(SenderProcess, "runs", ("-c", LATE_SENDER))
    run = measure(models.blocking, traffic.one(after_ms=5)).check()
    told = {one.what: one.ns for one in run.disturbances}
    assert told["sent late"] > 100_000_000


# -- how a suite counts it -------------------------------------------------------------------------

CONFTEST = f"import sys; sys.path.insert(0, {str(TOOLS)!r})\npytest_plugins = ['verdicts']\n"
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
