"""A third verdict for pytest: *inconclusive*, shown by name, and red above 1 % of a suite.

A test or a notebook's cell that says `iosim.inconclusive(run)` has neither passed nor failed.  It
appends a line to the file that IOSIM_INCONCLUSIVE names; whatever was appended while a test ran is
that test's.  What a disturbed cell prints is not what is stored: that alone does not fail it, an
error still does.

What is one suite of several steps (`make test`) is judged as one: where IOSIM_TALLY names a file,
each step appends how many tests it had and how many of them were inconclusive, and who named it
judges.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

VARIABLE = "IOSIM_INCONCLUSIVE"
TALLY = "IOSIM_TALLY"
WORD = "inconclusive"
DIFFERS = "Cell outputs differ"  # nbval's words for outputs that are not those stored


def allowed(count: int) -> int:
    """How many of `count` tests may be inconclusive: 1 %, and one of a small suite."""
    return max(1, count // 100)


def judged(told: int, count: int) -> str:
    """In words: are `told` of `count` tests too many?"""
    most = allowed(count)
    return f"{'too many' if told > most else 'allowed'}: at most {most}"


def pytest_configure(config: pytest.Config) -> None:
    """Whatever is run from here on, also a notebook's kernel, writes into one file."""
    config.pluginmanager.register(Verdicts(config), "iosim-verdicts")


class Verdicts:
    """What was appended, by whom."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.before = os.environ.get(VARIABLE)
        self.own = tempfile.TemporaryDirectory(prefix="iosim-verdicts-")
        self.path = Path(self.own.name) / WORD  # each process of a suite has one of its own
        os.environ[VARIABLE] = str(self.path)
        self.tally = os.environ.pop(TALLY, None)  # what a test starts is judged by itself
        self.told: list[str] = []
        self.count = 0

    def lines(self) -> list[str]:
        """All that was said so far."""
        return self.path.read_text("utf-8").splitlines() if self.path.exists() else []

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self) -> Iterator[None]:
        """What a test says is its own."""
        self.path.unlink(missing_ok=True)
        return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, call: pytest.CallInfo[None]) -> Iterator[None]:
        """Mark the report of a test that said so."""
        report: Any = yield
        if report.when == "call" and (lines := self.lines()):
            error = call.excinfo and call.excinfo.value
            if type(error).__name__ == "NbCellError" and str(error) == DIFFERS:
                report.outcome, report.longrepr = "passed", None
            if report.outcome == "passed":
                report.inconclusive = lines[-1]
        return report  # type: ignore[no-any-return]

    @pytest.hookimpl(tryfirst=True)
    def pytest_report_teststatus(self, report: Any) -> tuple[str, str, str] | None:
        """Neither a dot nor an F."""
        return (WORD, "?", WORD.upper()) if hasattr(report, WORD) else None

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Also what other processes report (pytest-xdist)."""
        self.count += report.when == "call"
        if hasattr(report, WORD):
            self.told.append(f"{report.nodeid}: {report.inconclusive}")

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Iterator[None]:
        """Too many are red."""
        result = yield
        if self.tally:
            with open(self.tally, "a", encoding="utf-8") as file:
                file.write(f"{self.count} {len(self.told)}\n")
        elif len(self.told) > allowed(self.count) and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
        return result

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Say how many, and which."""
        if self.told:
            terminalreporter.section(WORD)
            for line in self.told:
                terminalreporter.line(line)
            verdict = "" if self.tally else f" ({judged(len(self.told), self.count)})"
            terminalreporter.line(f"{len(self.told)} of {self.count} inconclusive{verdict}")

    def pytest_unconfigure(self) -> None:
        """Tell whoever asked for it, and leave nothing."""
        if self.before is None:
            del os.environ[VARIABLE]
        else:
            os.environ[VARIABLE] = self.before
            if not hasattr(self.config, "workerinput"):
                with open(self.before, "a", encoding="utf-8") as file:
                    file.writelines(line + "\n" for line in self.told)
        if self.tally:
            os.environ[TALLY] = self.tally
        self.own.cleanup()
