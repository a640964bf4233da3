"""The calls of a pool on this machine: multiprocessing.Pool and the executors of PEP 3148.

Each request is made as the call that it names, on a pool whose workers have been started.  A
process of its own looks at all the threads meanwhile.  What the workers did they report with their
results.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from ..calls import Program, Request
from ..calls.futures import (
    add_done_callback,
    apply,
    apply_async,
    call,
    done,
    get,
    ready,
    result,
    submit,
    wait,
)
from ..costs import Costs
from ..kernels.launch import launch_jobs
from ..kernels.pools import CALLER, Promise
from ..machine.cores import usable_cores
from ..trace import Timeline
from ..validate import HOUR_NS, whole
from ..workloads.jobs import Jobs
from . import worker_tasks
from .answers import Prepared, Thrown, answers
from .features import machine
from .measure import Measurement
from .measured import Run, Stretch
from .pool_adapters import OpenPool
from .pool_futures import Futures, Outcome
from .process import Process, SharedTraceBuilder
from .worker_tasks import Rows

if TYPE_CHECKING:
    from .driver import Driver

__all__ = ["measure_jobs"]


def measure_jobs(
    program: Callable[..., Program], story: Jobs, *, pool: str = "Pool", workers: int = 2,
    start_method: str | None = None, switch_interval: int | None = None,
    cores: int | None = None, costs: Costs | None = None, gil: bool | None = None,
    limit_s: float = 10.0, **options: object,
) -> Timeline:  # fmt: skip
    """Run `program` over the jobs of `story` with a real pool and return its `Timeline`.

    pool          "Pool" (of multiprocessing), "ProcessPoolExecutor" or "ThreadPoolExecutor"
    workers       how many workers it has; all are started before the run
    start_method  "fork", "spawn" or "forkserver"; None: multiprocessing's default
    switch_interval  sys.setswitchinterval() for the run, in ns; None: as it is
    cores, costs, gil  accepted, so that `measure` can stand for `simulate`; they have no effect
    limit_s       seconds after which a run that has not ended is stopped
    options       further arguments of the program

    Raises what the program raises; TypeError or ValueError for bad input; TimeoutError at the
    limit; RuntimeError for a call that was never yielded.  No worker and no thread is left.
    """
    plan = launch_jobs(program, story, options)
    if switch_interval is not None:
        whole("switch_interval", switch_interval, 1, HOUR_NS, "ns")
    with ExitStack() as stack:
        run = Run([], False, SharedTraceBuilder(), plan.text.title, CALLER)
        futures = Futures(story, OpenPool(pool, workers, start_method), run, stack)
        process = Process(futures, run, 0)
        with _interval(switch_interval):
            PoolMeasurement(process, plan.start(), limit_s, stack).go()
    return run.timeline(plan.text, usable_cores(), machine())


@contextmanager
def _interval(ns: int | None) -> Iterator[None]:
    """The interpreter's switch interval, for a while."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(before if ns is None else ns / 1e9)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


class PoolMeasurement(Measurement):
    """One run of a program with a pool."""

    def check(self) -> None:
        """An error in a callback is the program's."""
        self.process.outside.complain()  # type: ignore[attr-defined]
        super().check()


# -- the calls ---------------------------------------------------------------------------------


def _futures(driver: Driver, request: Request) -> Futures:
    """RuntimeError if the story has no jobs."""
    futures = driver.process.outside
    if not isinstance(futures, Futures):
        raise RuntimeError(f"{type(request).__name__} needs a story of Jobs")
    return futures


def _left_s(driver: Driver) -> float:
    """No wait goes on for ever."""
    return driver.process.threads.left_s()


@answers(call)
def _call(driver: Driver, request: call) -> Prepared:
    futures = _futures(driver, request)

    def go_through() -> tuple[Promise, str]:
        promise = futures.promise(request.job)
        promise.begun, rows = promise.asked, Rows()
        steps, fails = futures.steps(request.job)
        worker_tasks.go_through(steps, rows)
        for state, start, end, note in rows:
            part = Stretch(start - driver.zero, end - driver.zero, state, note=note)
            driver.stretches.append(part)
        promise.done, promise.visible = futures.now(), True
        return promise, fails

    def finish(
        number: int, start: int, end: int, made: tuple[Promise, str]
    ) -> tuple[int | None, int]:
        for part in reversed(driver.stretches):
            if part.start < start:
                break
            part.call = number
        promise, fails = made
        error = RuntimeError(fails) if fails else None
        return _in_hands(driver, promise, number, end, (request.job, error), new=True)

    return go_through, finish


def _in_hands(
    driver: Driver, promise: Promise, number: int, end: int, outcome: Outcome,
    new: bool = False,
) -> tuple[int | None, int]:  # fmt: skip
    """The call that waited for this result returns with it, or raises its error."""
    promise.call = number if new else promise.call
    driver.process.run.awaited[number] = promise
    promise.hand_over(end, "return")
    value, error = outcome
    if error is not None:
        raise Thrown(error)
    return value, 0


@answers(apply)
def _apply(driver: Driver, request: apply) -> Prepared:
    futures = _futures(driver, request)

    def ask() -> tuple[Promise, Outcome]:
        promise = futures.hand_in(request.job)
        return promise, futures.value(promise, None, _left_s(driver))

    def finish(
        number: int, start: int, end: int, made: tuple[Promise, Outcome]
    ) -> tuple[int | None, int]:
        promise, outcome = made
        return _in_hands(driver, promise, number, end, outcome, new=True)

    return ask, finish


@answers(apply_async)
@answers(submit)
def _submit(driver: Driver, request: submit) -> Prepared:
    futures = _futures(driver, request)

    def hand_in() -> Promise:
        if request.room is not None:
            futures.wait_for_room(request.room, _left_s(driver))
        return futures.hand_in(request.job, request.callback)

    def finish(number: int, start: int, end: int, promise: Promise) -> tuple[int, int]:
        promise.call = number
        return promise.number, 0

    return hand_in, finish


@answers(get)
@answers(result)
def _result(driver: Driver, request: result) -> Prepared:
    futures = _futures(driver, request)
    promise = futures.future(request.future)

    def finish(number: int, start: int, end: int, outcome: Outcome) -> tuple[int | None, int]:
        return _in_hands(driver, promise, number, end, outcome)

    return lambda: futures.value(promise, request.timeout, _left_s(driver)), finish


@answers(wait)
def _wait(driver: Driver, request: wait) -> Prepared:
    futures = _futures(driver, request)
    promises = [futures.future(number) for number in request.futures]

    def finish(number: int, start: int, end: int, there: list[Promise]) -> tuple[list[int], int]:
        if there:
            last = max(there, key=lambda promise: promise.done or 0)
            driver.process.run.awaited[number] = last
        for promise in there:
            promise.tell("return")
        return [promise.number for promise in there], 0

    return lambda: futures.wait_for(promises, request.timeout, _left_s(driver)), finish


@answers(ready)
@answers(done)
def _done(driver: Driver, request: done) -> Prepared:
    futures = _futures(driver, request)
    promise = futures.future(request.future)

    def finish(number: int, start: int, end: int, there: bool) -> tuple[bool, int]:
        if there:
            promise.tell("check")
        return there, 0

    return lambda: futures.done(promise), finish


@answers(add_done_callback)
def _add_done_callback(driver: Driver, request: add_done_callback) -> Prepared:
    futures = _futures(driver, request)
    promise = futures.future(request.future)

    def finish(number: int, start: int, end: int, made: None) -> tuple[None, int]:
        return None, 0

    return lambda: futures.add_callback(promise, request.callback, _left_s(driver)), finish
