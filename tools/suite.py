"""All that must hold, step by step: `make test`. Each step says what it does and how long it took.

    python tools/suite.py               all steps; it ends after the first that fails
    python tools/suite.py lint types    only these

What needs no real kernel runs on all cores, side by side; what measures runs alone.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

__all__ = ["STEPS", "Step", "cores", "main", "run"]

ROOT = Path(__file__).resolve().parent.parent


class Step(NamedTuple):
    """What this interpreter is to run, and what for."""

    name: str
    does: str
    arguments: str


TESTS = "-m pytest tests --ignore=tests/browser --cov=iosim"

#: In their order; those of one row run side by side. Tracing for coverage would slow down what the
#: notebooks measure. What they assert holds on a busy machine, and the browser leaves a core idle.
STEPS = [
    [Step("lint", "ruff finds no fault", "-m ruff check")],
    [Step("format", "nor anything to lay out anew", "-m ruff format --check")],
    [Step("types", "mypy agrees", "-m mypy")],
    [Step("stored", "the notebooks are in their normal form", "tools/render.py --check")],
    [Step("simulated", "tests that need no real kernel, on all cores",
          f"{TESTS} -m 'not real' --numprocesses={{cores}} --dist=worksteal --cov-report=")],
    [Step("real", "tests on this machine's kernel, one by one; coverage of both",
          f"{TESTS} -m real --cov-append --cov-fail-under=95")],
    [Step("notebooks", "every notebook run and compared with what it says",
          "-m pytest --nbval notebooks"),
     Step("browser", "the explorers in a browser", "-m pytest tests/browser")],
]  # fmt: skip


def cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def run(rows: Sequence[Sequence[Step]]) -> int:
    """Run them, and tell; 0, or the exit status of the first that fails."""
    begun, total, done = time.monotonic(), sum(map(len, rows)), 0
    for row in rows:
        statuses = _side_by_side([(f"[{done + i}/{total}]", step) for i, step in enumerate(row, 1)])
        if any(statuses):
            print(f"something does not hold; {_took(begun)} in all", flush=True)
            return next(filter(None, statuses))
        done += len(row)
    print(f"everything holds; {_took(begun)} in all", flush=True)
    return 0


def _side_by_side(row: Sequence[tuple[str, Step]]) -> list[int]:
    """Run the steps of one row; their exit statuses."""
    statuses = [1] * len(row)
    pipe, to_pipe = (subprocess.PIPE, subprocess.STDOUT) if len(row) > 1 else (None, None)

    def one(place: int, number: str, step: Step) -> None:
        begun = time.monotonic()
        print(f"{number} {step.name}: {step.does} ...", flush=True)
        command = [sys.executable, *shlex.split(step.arguments.format(cores=cores()))]
        null = subprocess.DEVNULL
        with subprocess.Popen(
            command, cwd=ROOT, stdin=null, stdout=pipe, stderr=to_pipe
        ) as process:
            for line in process.stdout or ():  # whose lines they are, where two run at once
                text = line.decode(errors="replace").rstrip()
                print(f"{step.name:>9} | {text}", flush=True)
        statuses[place] = process.returncode
        verdict = f"FAILED ({process.returncode})" if process.returncode else "holds"
        print(f"{number} {step.name}: {verdict}, {_took(begun)}", flush=True)

    threads = [threading.Thread(target=one, args=(i, *each)) for i, each in enumerate(row)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return statuses


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
