"""The calls of a pool on this machine: multiprocessing.Pool and the executors of PEP 3148.

Each request is made as the call that it names, on a pool whose workers have been started.  A
process of its own looks at all the threads meanwhile.  What the workers did they report with their
results.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from errno import ETIMEDOUT
from functools import partial
from time import perf_counter_ns as clock
from typing import TYPE_CHECKING, Any

from ..cores import usable_cores
from ..costs import Costs
from ..futures import (
    Callback,
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
)  # fmt: skip
from ..jobs import Jobs
from ..kernels.launch import launch_jobs
from ..kernels.pools import CALLER, Promise, calls_of
from ..kernels.watchdog import Expired
from ..syscalls import Program, Request, compute, sleep
from ..timeline import SLEEPING, USER, Evidence, Timeline
from ..validate import HOUR_NS, whole
from . import worker_tasks
from .answers import Prepared, Thrown, answers
from .descriptors import failure
from .features import machine
from .measure import Measurement
from .measured import Run, Stretch
from .pool_adapters import OpenPool, Told
from .proc_sampler import SamplerProcess
from .process import Process, SharedTraceBuilder
from .worker_tasks import Rows

if TYPE_CHECKING:
    from .driver import Driver

__all__ = ["Futures", "measure_jobs"]


def measure_jobs(
    program: Callable[..., Program], story: Jobs, *, pool: str = "Pool", workers: int = 2,
    start_method: str | None = None, switch_interval: int | None = None,
    cores: int | None = None, costs: Costs | None = None, gil: bool | None = None,
    limit_s: float = 10.0, **options: Any,
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


class Futures:
    """The jobs that were asked for, each with its future, and the pool that does them.

    It is the story's side of a run (`process.Outside`): the library's threads come into it from
    outside.
    """

    shows_line = True

    def __init__(self, story: Jobs, crew: OpenPool, run: Run, stack: ExitStack) -> None:
        self._story, self.crew, self._run = story, crew, run
        stack.callback(self._close)
        self._me = os.getpid(), threading.get_native_id()
        self._zero = 0
        self.handles: dict[int, Any] = {}  # by the number of the promise
        self._change = threading.Condition()
        self._trouble: BaseException | None = None
        self._untold = 0  # what the library has still to call us for
        self._over = False
        self.helper = SamplerProcess()
        stack.callback(self.helper.kill)
        self.helper.prepare(self._threads())

    def _threads(self) -> dict[str, tuple[int, int]]:
        """The lanes and their threads."""
        named = {CALLER: self._me} | {name: where for where, name in self.crew.names.items()}
        if self.crew.collector is not None:
            named[self.crew.flavour.collector] = self._me[0], self.crew.collector
        return named

    def now(self) -> int:
        """ns since the start of the run."""
        return clock() - self._zero

    def _close(self) -> None:
        """Let the pool go, at once if jobs are still under way."""
        self._over = True
        self.crew.close(at_once=not all(map(self.crew.pool.done, self.handles.values())))

    # -- the story's side ----------------------------------------------------------------------

    def sockets(self) -> Sequence[Any]:
        """None."""
        return ()

    def gate(self, process: Process, thread: int) -> None:
        """Nothing comes from outside."""

    def begun(self, thread: int) -> None:
        """Nobody waits for it."""

    def ended(self, thread: int) -> None:
        """Likewise."""

    def has_come(self, driver: Driver, fd: int, port: int) -> None:
        """From the program itself."""

    def begin(self, zero: int) -> None:
        """The run begins."""
        self._zero = zero

    def settle(self, process: Process) -> None:
        """Jobs that nobody waits for any more are let finish, and callbacks too, to hear of them.

        A program may learn of a result while its callback is still under way, or not begun.
        """
        with self._change:
            self._change.wait_for(lambda: not self._untold, process.threads.limit_s)
        self.complain()
        process.descriptors.close()

    def report(self, process: Process, told: Any) -> None:
        """What was seen of the threads."""
        run, helpers = process.run, list(self._threads())[1:]
        run.tape.helpers += helpers
        for name in helpers:
            run.acts.setdefault(name, [])
        run.evidence = [
            Evidence(at - self._zero, state, wchan, syscall, name)
            for at, name, state, wchan, syscall in told
            if 0 <= at - self._zero <= run.end
        ]

    def complain(self) -> None:
        """Raise the error of a callback."""
        if self._trouble is not None:
            raise self._trouble

    # -- jobs and futures ----------------------------------------------------------------------

    def promise(self, job: int) -> Promise:
        """A new future."""
        self._story[job]  # there must be one
        promise = Promise(len(self._run.promises) + 1, job, -1, self.now())
        self._run.promises.append(promise)
        return promise

    def steps(self, job: int) -> tuple[Any, str]:
        """What it does, and how it fails ("": it does not)."""
        return self._story[job].steps, self._story[job].fails

    def future(self, number: int) -> Promise:
        """ValueError if there is none."""
        if number not in self.handles:
            raise ValueError(f"no future {number}: there are {len(self.handles)}")
        return self._run.promises[number - 1]

    def hand_in(self, job: int, callback: Callback | None = None) -> Promise:
        """A new future, whose job a worker will do."""
        promise = self.promise(job)
        promise.callbacks += [callback] if callback else []
        stopped = () if self.crew.stopped is None else (self.crew.stopped,)
        told = self._awaiting(partial(self._settled, promise))
        self.handles[promise.number] = self.crew.pool.submit(
            told, worker_tasks.perform, *self.steps(job), job, *stopped
        )
        return promise

    def wait_for_room(self, room: int, left_s: float) -> None:
        """Until fewer than `room` jobs are under way."""

        def undone() -> int:
            return sum(promise.done is None for promise in self._run.promises)

        with self._change:
            if not self._change.wait_for(lambda: undone() < room, left_s):
                raise Expired

    def value(self, promise: Promise, timeout: int | None, left_s: float) -> tuple[Any, Any]:
        """The value of its job and None, or None and its error; ETIMEDOUT."""
        wanted = left_s if timeout is None else min(left_s, timeout / 1e9)
        try:
            value, _, _ = self.crew.pool.get(self.handles[promise.number], wanted)
        except TimeoutError:
            if timeout is None or left_s < timeout / 1e9:
                raise Expired from None
            raise failure(ETIMEDOUT) from None
        except worker_tasks.Failed as failed:
            promise.visible = True
            return None, RuntimeError(failed.text)
        promise.visible = True
        return value, None

    def wait_for(
        self, promises: list[Promise], timeout: int | None, left_s: float
    ) -> list[Promise]:
        """Those of them that are done, all but after `timeout` ns."""
        wanted = left_s if timeout is None else min(left_s, timeout / 1e9)
        self.crew.pool.wait([self.handles[p.number] for p in promises], wanted)
        there = [p for p in promises if self.done(p)]
        if len(there) < len(promises) and timeout is None:
            raise Expired
        return there

    def done(self, promise: Promise) -> bool:
        """Is there a result, or an error?"""
        return self.crew.pool.done(self.handles[promise.number])

    def add_callback(self, promise: Promise, callback: Callback, left_s: float) -> None:
        """It is called with the value; at once, if there is one."""

        def told(value: Any, error: BaseException | None) -> None:
            promise.hand_over(self.now(), "callback")
            self._run_callback(callback, value)

        handle = self.handles[promise.number]
        if self.crew.pool.add(handle, self._awaiting(told)):
            return
        self._count(-1)  # it does not take them: we run them ourselves
        with self._change:
            later = promise.done is None
            if later:
                promise.callbacks.append(callback)
        if not later:
            try:
                told(self.crew.pool.get(handle, left_s), None)
            except worker_tasks.Failed as failed:
                told(None, failed)

    # -- in a thread of the library ------------------------------------------------------------

    def _awaiting(self, tell: Told) -> Told:
        """`tell`, for the library to call; the run is over when that has returned."""

        def told(value: Any, error: BaseException | None) -> None:
            try:
                tell(value, error)
            finally:
                self._count(-1)

        self._count(1)
        return told

    def _count(self, step: int) -> None:
        with self._change:
            self._untold += step
            self._change.notify_all()

    def _settled(self, promise: Promise, value: Any, error: BaseException | None) -> None:
        """A result has come in."""
        at = self.now()
        if self._over:
            return
        if isinstance(error, worker_tasks.Failed):
            value = (None, error.rows, error.where)
        with self._change:
            promise.done = at
            self._report(promise, value)
            callbacks = list(promise.callbacks)
            self._change.notify_all()
        for callback in callbacks:
            promise.hand_over(self.now(), "callback")
            self._run_callback(callback, value)

    def _report(self, promise: Promise, value: Any) -> None:
        if value is None:  # the worker was lost: nothing is known of what it did
            return
        _, rows, where = value
        promise.worker = self.crew.names.get(where)
        promise.begun = rows[0][1] - self._zero
        self._act(promise.worker or "", f"job {promise.job}", rows)

    def _run_callback(self, callback: Callback, value: Any) -> None:
        rows: Rows = [(USER, clock(), clock(), "")]  # before anybody can learn of it
        try:
            for request in calls_of(callback(None if value is None else value[0])):
                if isinstance(request, compute):
                    worker_tasks.compute(request.ns, rows)
                elif isinstance(request, sleep):
                    start = clock()
                    time.sleep(request.ns / 1e9)
                    rows.append((SLEEPING, start, clock(), ""))
        except BaseException as error:  # a Pool's thread would die of it, and nobody would be told
            self._trouble = error
        if lane := self._lane_here():
            self._act(lane, "callback", rows)

    def _lane_here(self) -> str:
        """In whose lane does this code run?  "" in the caller's, where the call is shown."""
        here = os.getpid(), threading.get_native_id()
        return "" if here == self._me else self.crew.names.get(here, self.crew.flavour.collector)

    def _act(self, lane: str, name: str, rows: Rows) -> None:
        moved = [
            (state, start - self._zero, end - self._zero, note) for state, start, end, note in rows
        ]
        self._run.acts.setdefault(lane, []).append((name, moved))


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

    def finish(number: int, start: int, end: int, made: tuple[Promise, str]) -> tuple[Any, int]:
        for part in reversed(driver.stretches):
            if part.start < start:
                break
            part.call = number
        promise, fails = made
        error = RuntimeError(fails) if fails else None
        return _in_hands(driver, promise, number, end, (request.job, error), new=True)

    return go_through, finish


def _in_hands(
    driver: Driver, promise: Promise, number: int, end: int, outcome: tuple[Any, Any],
    new: bool = False,
) -> tuple[Any, int]:  # fmt: skip
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

    def ask() -> tuple[Promise, tuple[Any, Any]]:
        promise = futures.hand_in(request.job)
        return promise, futures.value(promise, None, _left_s(driver))

    def finish(number: int, start: int, end: int, made: Any) -> tuple[Any, int]:
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

    def finish(number: int, start: int, end: int, outcome: Any) -> tuple[Any, int]:
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
