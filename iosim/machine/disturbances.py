"""Was the machine ours?  What other work did to a run, and the verdict that this allows.

A duration, a share of CPU time or a number of samples is another one where somebody else had the
core.  Whether that was so is told by evidence that knows nothing of the claim: the scheduler's own
count of the time in line for a core (schedstat), the host's count of stolen time (/proc/stat), the
sender's clock.  So a run is repeated because it *was disturbed*, never because an assertion failed;
and where no try was left alone the verdict is neither "holds" nor "fails" but "inconclusive".
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol, TypeVar

from ..validate import number, whole
from . import procfs

__all__ = ["Disturbance", "Interference", "inconclusive", "interference", "undisturbed"]

TRIES = 5
LIMIT_MS = 1.0  # a sleeper's way back to a core takes some hundredths of it
NS_IN_MS = 1_000_000


@dataclass(frozen=True, slots=True)
class Disturbance:
    """What other work did to a real run, in a few words, and for how long in all: `ns`.

    Told by the scheduler, the host or the sender's clock, never by what the run came out as.
    """

    what: str
    ns: int


class Disturbed(Protocol):
    """Whatever says of itself what disturbed it: a `Timeline`, `Costs`, a `with interference()`."""

    @property
    def disturbances(self) -> tuple[Disturbance, ...]: ...


Run = TypeVar("Run", bound=Disturbed)


class Interference:
    """What disturbed the body of `with interference()`; empty until that is over."""

    def __init__(self) -> None:
        self.disturbances: tuple[Disturbance, ...] = ()


@contextmanager
def interference(*threads: int) -> Iterator[Interference]:
    """`with interference() as found:` takes down what other work does to this thread meanwhile.

    threads  the native numbers of further threads of this process, which must live as long as the
             body (`threading.get_native_id()`)

    Where the system tells nothing of it (no /proc), nothing is found.
    """
    watched = (threading.get_native_id(), *threads)
    found = Interference()
    before = _in_line(watched), _stolen()
    yield found
    counts = _in_line(watched) - before[0], _stolen() - before[1]
    amounts = zip(("in line for a core", "core taken by the host"), counts, strict=True)
    found.disturbances = tuple(Disturbance(what, ns) for what, ns in amounts if ns > 0)


def _in_line(threads: tuple[int, ...]) -> int:
    """ns in the run queue, of all of them, so far."""
    counts = (procfs.schedstat("self", thread) for thread in threads)
    return sum(count[1] for count in counts if count is not None)


def _stolen() -> int:
    """ns for which a virtual machine's cores were not there, so far: "steal" of proc_stat(5)."""
    try:
        with open("/proc/stat", "rb") as file:
            return int(file.readline().split()[8]) * 1_000_000_000 // os.sysconf("SC_CLK_TCK")
    except (OSError, IndexError, ValueError):
        return 0


def undisturbed(make_run: Callable[[], Run], tries: int = TRIES, limit_ms: float = LIMIT_MS) -> Run:
    """`make_run()`, repeated until it gives a run that was not disturbed; at last a disturbed one.

    tries     how often at most
    limit_ms  disturbances of so many ms in all do not count

    What was found stays with the run, as `run.disturbances`; `inconclusive(run)` judges by it.
    TypeError for what does not say so of itself; ValueError for bad numbers.
    """
    whole("tries", tries, 1, 1_000, "runs")
    for _ in range(tries):
        run = make_run()
        if _disturbed_ns(run) <= _limit_ns(limit_ms):
            break
    return run


def inconclusive(*runs: Disturbed, limit_ms: float | None = None) -> bool:
    """Was one of the `runs` disturbed for more than `limit_ms` ms in all?

    limit_ms  if it is not given, what a thing says itself (`allowed_ms`: a second for `Costs`,
              whose prices are medians of many seconds), or 1 ms

    Says so in one sentence, which is printed.  It is also appended as one line to the file that the
    environment variable IOSIM_INCONCLUSIVE names, so that a test suite can count.
    TypeError for what does not say of itself what disturbed it.
    """
    allowed = [
        getattr(run, "allowed_ms", LIMIT_MS) if limit_ms is None else limit_ms for run in runs
    ]
    over = [_disturbed_ns(run) - _limit_ns(ms) for run, ms in zip(runs, allowed, strict=True)]
    if max(over) <= 0:
        return False
    worst = runs[over.index(max(over))]
    told = "; ".join(f"{d.what}: {d.ns / NS_IN_MS:,.1f} ms" for d in worst.disturbances)
    sentence = f"Inconclusive, because other work disturbed the run ({told})."
    print(sentence)
    path = os.environ.get("IOSIM_INCONCLUSIVE")
    if path:
        with open(path, "a", encoding="utf-8") as file:
            file.write(sentence + "\n")
    return True


def _limit_ns(limit_ms: float) -> float:
    return number("limit_ms", limit_ms, 0, 1e6, "ms") * NS_IN_MS


def _disturbed_ns(run: Disturbed) -> int:
    found = getattr(run, "disturbances", None)
    if not isinstance(found, tuple):
        raise TypeError(f"{run!r} does not say what disturbed it: a Timeline does")
    return sum(one.ns for one in found)
