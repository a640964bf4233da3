"""All that must hold, step by step: `make test`. Each step says what it does and how long it took.

What failed is told once more at the end, where a log that shows only its last lines still has it.

    python tools/suite.py               all steps, also after one that fails
    python tools/suite.py lint types    only these

What needs no real kernel runs on all cores, side by side; what measures runs alone. All steps are
one suite: at most 1 % of its tests may be inconclusive.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import verdicts
from said import said

from iosim.machine.cores import usable_cores

__all__ = ["STEPS", "Step", "main", "run"]


class Step(NamedTuple):
    """What this interpreter is to run, and what for."""

    name: str
    does: str
    arguments: str


TESTS = "-m pytest tests --ignore=tests/browser"
#: From 3.12 on the interpreter itself tells which lines ran (PEP 669, sys.monitoring), at no cost.
#: Before, every line is traced: that takes twice the time, and slows down what is measured.
TOLD = sys.version_info >= (3, 12)
BEGUN, ENDED, COVERED = (
    ("--cov=iosim --cov-report=", "--cov=iosim --cov-append --cov-fail-under=95",
     "coverage of both is 95 % or more")
    if TOLD else ("", "", "no coverage: Python 3.12 and newer tell it at no cost")
)  # fmt: skip
OPENED = [f"tests/browser/test_{name}.py" for name in ("run_all", "stored", "exports")]

#: In their order; those of one row run side by side: what they assert holds on a busy machine, and
#: all three often wait.
STEPS = [
    [Step("lint", "ruff finds no fault", "-m ruff check")],
    [Step("format", "nor anything to lay out anew", "-m ruff format --check")],
    [Step("types", "mypy agrees", "-m mypy")],
    [Step("stored", "the notebooks are in their normal form", "tools/render.py --check")],
    [Step("simulated", "tests that need no real kernel, on all cores",
          f"{TESTS} -m 'not real' --numprocesses={{cores}} --dist=worksteal {BEGUN}")],
    [Step("real", f"tests on this machine's kernel, one by one; {COVERED}",
          f"{TESTS} -m real {ENDED}")],
    [Step("notebooks", "every notebook run and compared with what it says",
          "-m pytest --nbval notebooks"),
     Step("opened", "every notebook opened in JupyterLab, run by Run All, and exported",
          f"-m pytest {' '.join(OPENED)}"),
     Step("browser", "the explorers in a browser",
          f"-m pytest tests/browser {' '.join(f'--ignore={each}' for each in OPENED)}")],
]  # fmt: skip


#: How pytest, and nbval with it, begins a line on what is wrong.
WRONG = re.compile(r"E  |_{3,} .+ _{3,}$|(FAILED|ERROR) ")
KEPT, MOST = 10_000, 40  # lines of one step: looked at, and told again


class Ended(NamedTuple):
    """How a step ended, and what it said of that."""

    status: int
    wrong: Sequence[str]


def _wrong(lines: Sequence[str]) -> Sequence[str]:
    """What to tell again: lines on what is wrong, or else the last ones."""
    return [line for line in lines if WRONG.match(line)][-MOST:] or lines[-MOST:]


def run(rows: Sequence[Sequence[Step]]) -> int:
    """Run them all, and tell; 0, or the exit status of the first that fails."""
    begun, total, done = time.monotonic(), sum(map(len, rows)), 0
    failed: dict[str, Ended] = {}
    with tempfile.TemporaryDirectory(prefix="iosim-suite-") as folder:
        tally = Path(folder) / "tally"
        for row in rows:
            numbered = [(f"[{done + i}/{total}]", step) for i, step in enumerate(row, 1)]
            results = zip(row, _side_by_side(numbered, tally), strict=True)
            failed |= {step.name: ended for step, ended in results if ended.status}
            done += len(row)
        failed |= _inconclusive(tally)
    for name, ended in failed.items():
        print(f"--- {name}, what failed:", *ended.wrong, sep="\n", flush=True)
    verdict = f"does not hold: {', '.join(failed)}" if failed else "everything holds"
    print(f"{verdict}; {_took(begun)} in all", flush=True)
    return next((ended.status for ended in failed.values()), 0)


def _inconclusive(tally: Path) -> dict[str, Ended]:
    """How many tests of all steps were; an entry if they are too many."""
    lines = tally.read_text("utf-8").splitlines() if tally.exists() else []
    count, told = (sum(int(line.split()[i]) for line in lines) for i in (0, 1))
    line = f"{told} of {count} inconclusive ({verdicts.judged(told, count)})"
    if told:
        print(line, flush=True)
    return {verdicts.WORD: Ended(1, [line])} if told > verdicts.allowed(count) else {}


def _side_by_side(row: Sequence[tuple[str, Step]], tally: Path) -> list[Ended]:
    """Run the steps of one row, which count in the file `tally`."""
    environment = os.environ | {verdicts.TALLY: str(tally)}
    ends = [Ended(1, [])] * len(row)

    def one(place: int, number: str, step: Step) -> None:
        begun = time.monotonic()
        print(f"{number} {step.name}: {step.does} ...", flush=True)
        command = [sys.executable, *shlex.split(step.arguments.format(cores=usable_cores()))]
        whose = f"{step.name:>9} | " if len(row) > 1 else ""
        status, lines = said(command, environment, KEPT, whose)
        ends[place] = Ended(status, _wrong(lines))
        verdict = f"FAILED ({status})" if status else "holds"
        print(f"{number} {step.name}: {verdict}, {_took(begun)}", flush=True)

    threads = [threading.Thread(target=one, args=(i, *each)) for i, each in enumerate(row)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return ends


def _took(begun: float) -> str:
    minutes, seconds = divmod(round(time.monotonic() - begun), 60)
    return f"{minutes} min {seconds:02} s" if minutes else f"{seconds} s"


def main(arguments: list[str] | None = None) -> int:
    """The exit status: 0 if all of it holds."""
    names = [step.name for row in STEPS for step in row]
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("steps", nargs="*", metavar="STEP", help=f"of {', '.join(names)}")
    chosen = parser.parse_args(arguments).steps
    if unknown := set(chosen) - set(names):
        parser.error(f"no such step: {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    rows = [[step for step in row if not chosen or step.name in chosen] for row in STEPS]
    return run([row for row in rows if row])


if __name__ == "__main__":
    sys.exit(main())
