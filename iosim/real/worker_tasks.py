"""What workers do.  An importable module: a function of a notebook cannot be sent to a process.

Under spawn and forkserver (from Python 3.14 the default) a worker imports what it runs.  A function
that it cannot import breaks an executor, and leaves a `multiprocessing.Pool` waiting for ever.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from time import perf_counter_ns as clock
from typing import Protocol

from ..machine.clocks import cpu_clock
from ..trace import GIL, READY, SLEEPING, USER
from ..workloads.jobs import COMPUTE

__all__ = ["Failed", "compute", "go_through", "greet", "nap", "perform", "prepare", "total"]

GAP_NS = 100_000  # a gap this long in a loop that watches the clock: somebody else ran
GREET_S = 60.0  # for all workers to start, on a busy machine and by spawn

#: `(state, start, end, note)` on `perf_counter_ns`, which all processes of a system share.
Rows = list[tuple[str, int, int, str]]

#: A job's value (None: it failed), what its worker did, and which process and thread that is.
Done = tuple[int | None, Rows, tuple[int, int]]

_here = threading.local()


class Semaphore(Protocol):
    """Of threading, or of multiprocessing."""

    def acquire(self, block: bool, timeout: float, /) -> bool: ...
    def release(self) -> None: ...


# -- for readers -------------------------------------------------------------------------------


def total(n: int) -> int:
    """The sum of 0, 1, ..., n - 1, added up one by one: a job that computes."""
    result = 0
    for i in range(n):
        result += i
    return result


def nap(seconds: float) -> float:
    """Sleep for so long, as one sleeps for a slow device: a job that waits."""
    time.sleep(seconds)
    return seconds


# -- for measure -------------------------------------------------------------------------------


class Failed(RuntimeError):
    """The job failed, with `text`; `rows` say what it did until then."""

    def __init__(self, text: str, rows: Rows, where: tuple[int, int]) -> None:
        super().__init__(text, rows, where)  # what pickle hands to the other process
        self.text, self.rows, self.where = text, rows, where


def prepare(arrived: Semaphore, go: Semaphore) -> None:
    """A worker starts: Ctrl-C is its caller's to handle."""
    _here.gate = arrived, go
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def greet() -> tuple[int, int]:
    """Which process and thread is this?  It answers once all workers have been asked."""
    arrived, go = _here.gate
    arrived.release()
    if not go.acquire(True, GREET_S):
        raise TimeoutError("the other workers did not start")
    return _where()


def _where() -> tuple[int, int]:
    return os.getpid(), threading.get_native_id()


def perform(
    steps: tuple[tuple[str, int], ...], fails: str, value: int,
    stopped: threading.Event | None = None,
) -> Done:  # fmt: skip
    """Do a job: its value, what this thread did, and which thread it is.

    `Failed` if it is to fail, or if it is called off by `stopped`.
    """
    rows: Rows = []
    go_through(steps, rows, stopped)
    if stopped is not None and stopped.is_set():
        raise Failed("called off", rows, _where())
    if fails:
        raise Failed(fails, rows, _where())
    return value, rows, _where()


def go_through(
    steps: tuple[tuple[str, int], ...], rows: Rows, stopped: threading.Event | None = None
) -> None:
    """Do the steps of a job, and put into `rows` what this thread did."""
    for kind, ns in steps:
        (compute if kind == COMPUTE else _wait)(ns, rows, stopped)


def compute(ns: int, rows: Rows, stopped: threading.Event | None = None) -> None:
    """Use up `ns` of CPU time.  Gaps in which the thread did not run are rows of their own."""
    start = last = clock()
    until, gave_up = cpu_clock() + ns, _voluntary()
    while cpu_clock() < until and not (stopped is not None and stopped.is_set()):
        now = clock()
        if now - last > GAP_NS:
            given, gave_up = _voluntary() - gave_up, _voluntary()
            state, note = (SLEEPING, GIL) if given else (READY, "")
            rows += [(USER, start, last, ""), (state, last, now, note)]
            start = now
        last = now
    rows.append((USER, start, clock(), ""))


def _wait(ns: int, rows: Rows, stopped: threading.Event | None = None) -> None:
    """Sleep for `ns`, or until called off."""
    start = clock()
    if stopped is None:
        time.sleep(ns / 1e9)
    else:
        stopped.wait(ns / 1e9)
    rows.append((SLEEPING, start, clock(), ""))


def _voluntary() -> int:
    """How often this thread gave its core away: getrusage(2).  A wait for the GIL is one."""
    try:
        import resource

        return resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw
    except (ImportError, AttributeError):  # not Linux: every gap is taken for a lost core
        return 0
