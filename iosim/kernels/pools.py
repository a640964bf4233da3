"""What both kernels know of the pools of the standard library, and of callbacks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from ..calls import Program, Request, compute, sleep
from ..calls.futures import Callback
from ..trace import QUEUED, WAIT, Interval, Outcome, Timeline
from ..validate import whole
from .launch import resume

__all__ = ["CALLER", "FLAVOURS", "Flavour", "Promise", "calls_of", "crew", "flavour", "with_jobs"]

CALLER = "caller"
MAX_WORKERS = 61  # what ProcessPoolExecutor accepts on every system


@dataclass(frozen=True, slots=True)
class Flavour:
    """How a pool is built: Lib/multiprocessing/pool.py, Lib/concurrent/futures/*.py.

    `processes`: its workers are processes, else threads.  `collector`: the thread of the caller's
    process that takes the results in ("": the workers do it themselves) and runs the callbacks.
    `callback_first`: before it wakes who waits for the result (Pool), or after that (executors).
    """

    processes: bool
    collector: str
    callback_first: bool


FLAVOURS = {
    "Pool": Flavour(True, "result handler", True),
    "ProcessPoolExecutor": Flavour(True, "executor manager", False),
    "ThreadPoolExecutor": Flavour(False, "", False),
}


def flavour(pool: str) -> Flavour:
    """The pool of that name.  ValueError if there is none."""
    if pool not in FLAVOURS:
        raise ValueError(f"pool must be one of {', '.join(FLAVOURS)}, got {pool!r}")
    return FLAVOURS[pool]


def crew(workers: int) -> list[str]:
    """The names of so many workers."""
    whole("workers", workers, 1, MAX_WORKERS, "workers")
    return [f"worker {number}" for number in range(1, workers + 1)]


@dataclass(slots=True)
class Promise:
    """A future, as the kernels see it: one asking for one job, and what has become of it."""

    number: int
    job: int
    call: int
    asked: int
    callbacks: list[Callback] = field(default_factory=list)
    worker: str | None = None
    begun: int | None = None
    done: int | None = None
    received: int | None = None
    told: str = ""
    value: int | None = None
    error: Exception | None = None
    visible: bool = False  # to who asks for it; a Pool runs the callback before that
    waiters: list[Any] = field(default_factory=list)

    def tell(self, how: str) -> None:
        """The program learns of the result, if it did not know."""
        self.told = self.told or how

    def hand_over(self, at: int, how: str) -> None:
        """The result, or the error, is in the program's hands."""
        self.tell(how)
        self.received = at if self.received is None else self.received

    def outcome(self) -> Outcome:
        """What it came to."""
        return Outcome(
            self.number, self.job, self.call, CALLER, self.asked, self.begun, self.done,
            self.received, self.worker, self.told,
        )  # fmt: skip

    def lane(self, end: int) -> list[Interval]:
        """The job's lane: waited for, then there and not fetched."""
        name = f"job {self.job}"
        done = end if self.done is None else self.done
        fetched = end if self.received is None else self.received
        parts = ((WAIT, self.asked, done), (QUEUED, done, fetched))
        return [
            Interval(name, start, until, state, message=self.number)
            for state, start, until in parts
            if start < until
        ]


def with_jobs(timeline: Timeline, promises: list[Promise]) -> Timeline:
    """The same run with the lanes and the fates of its jobs."""
    end, lanes = timeline.end, set[str]()
    data: list[Interval] = []
    for promise in promises:
        lane = promise.lane(end)
        if f"job {promise.job}" in lanes:  # asked for again: a lane of its own
            lane = [replace(i, lane=f"{i.lane}, asked {promise.number}") for i in lane]
        lanes.update(i.lane for i in lane)
        data += lane
    return replace(
        timeline,
        intervals=(*timeline.intervals, *data),
        outcomes=tuple(promise.outcome() for promise in promises),
    )


def calls_of(callback: Program) -> Iterator[Request]:
    """What a callback asks for, one by one: it may compute and sleep.

    RuntimeError for anything else: it runs in a thread of the library, which others wait for.
    """
    while True:
        try:
            request = resume(callback)
        except StopIteration:
            return
        if not isinstance(request, compute | sleep):
            raise RuntimeError(f"a callback may compute and sleep, not {request!r}")
        yield request
