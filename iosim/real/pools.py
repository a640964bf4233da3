"""The calls of a pool on this machine: multiprocessing.Pool and the executors of PEP 3148.

A program is resumed step by step in this thread; each request is made as the call that it names,
on a pool whose workers have been started.  A process of its own looks at all the threads
meanwhile.  What the workers did they report with their results; all of it becomes a timeline.
"""

from __future__ import annotations

import gc
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from errno import ETIMEDOUT
from functools import partial
from time import perf_counter_ns as clock
from typing import Any, ClassVar

from ..bounds import HOUR_NS, whole
from ..cores import usable_cores
from ..costs import Costs
from ..disturbances import interference
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
from ..kernels.launch import JobPlan, launch_jobs, line_of, resume
from ..kernels.pools import CALLER, Promise, calls_of, with_jobs
from ..kernels.tape import Tape
from ..kernels.watchdog import Expired, watchdog
from ..syscalls import Program, Request, compute, getpid, sleep
from ..timeline import KERNEL, READY, SLEEPING, USER, Evidence, Timeline
from . import worker_tasks
from .accounting import Meter
from .features import machine
from .measured import Stretch, Usage, within_cores
from .pool_adapters import Crew, Told
from .proc_sampler import SamplerProcess, Seen, watching

__all__ = ["measure_jobs"]

Rows = worker_tasks.Rows


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
        team = Crew(pool, workers, start_method)
        kernel = CallKernel(plan, team, stack)
        stack.callback(kernel.close)
        with (
            watching(kernel.threads()) as seen, _interval(switch_interval),
            interference() as found,
        ):  # fmt: skip
            kernel.run_program(limit_s, seen.watcher)
        kernel.wait_for_the_rest(limit_s)
        kernel.complain()
    return replace(kernel.timeline(seen), disturbances=found.disturbances)


@contextmanager
def _interval(ns: int | None) -> Iterator[None]:
    """The interpreter's switch interval, for a while."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(before if ns is None else ns / 1e9)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


class CallKernel:
    """Makes a program's requests, and takes down when."""

    def __init__(self, plan: JobPlan, team: Crew, stack: ExitStack) -> None:
        self.plan, self.team = plan, team
        self.tape = Tape()
        self.me = os.getpid(), threading.get_native_id()
        self.zero = self.end = 0
        self.promises: list[Promise] = []
        self.handles: dict[int, Any] = {}  # by the number of the promise
        self.own: list[tuple[Stretch | Rows, int | None, Promise | None]] = []
        self.acts: dict[str, list[tuple[str, Rows]]] = {}  # what the other lanes did
        self.meter = Meter(stack)
        self._left_at: tuple[int, Usage] | None = None  # since when it runs its own code
        self._change = threading.Condition()
        self._trouble: BaseException | None = None
        self._untold = 0  # what the library has still to call us for
        self._over = False

    def threads(self) -> dict[str, tuple[int, int]]:
        """The lanes and their threads."""
        named = {CALLER: self.me} | {name: where for where, name in self.team.names.items()}
        if self.team.collector is not None:
            named[self.team.flavour.collector] = self.me[0], self.team.collector
        return named

    def now(self) -> int:
        """ns since the start of the run."""
        return clock() - self.zero

    def close(self) -> None:
        """Let the pool go, at once if jobs are still under way."""
        self._over = True
        self.team.close(at_once=not all(map(self.team.pool.done, self.handles.values())))

    # -- running the program -------------------------------------------------------------------

    def run_program(self, limit_s: float, watcher: SamplerProcess | None = None) -> None:
        """From its start to its end; it ends early if the watcher does."""
        program, collects = self.plan.start(), gc.isenabled()
        gc.disable()  # its pauses would look like the program's
        try:
            with watchdog(limit_s, self.plan.text.title, needed=watcher) as self.dog:
                self.zero = clock()
                self.until = time.monotonic() + limit_s
                self._guarded(program, limit_s, watcher)
        finally:
            self.end = self.now()
            program.close()
            if collects:
                gc.enable()

    def _guarded(self, program: Program, limit_s: float, watcher: SamplerProcess | None) -> None:
        self.doing: tuple[Request | None, int | None] = (None, None)
        try:
            self._drive(program)
        except Expired:
            if watcher is not None:
                watcher.check()
            request, line = self.doing
            where = "its own code" if request is None else f"{request!r}, line {line}"
            raise TimeoutError(
                f"{self.plan.text.title} was not over after {limit_s:g} s: it was in {where}"
            ) from None

    def _drive(self, program: Program) -> None:
        reply: Any = None
        error: Exception | None = None
        while True:
            self.doing = (None, None)
            try:
                request = resume(program, reply, error)
            except StopIteration:
                break
            self.doing = (request, line_of(program))
            reply, error = None, None
            try:
                reply = self._perform(request)
            except TimeoutError as late:
                error = late
            except worker_tasks.Failed as failed:
                error = RuntimeError(failed.text)
            self.complain()
            self.dog.check()

    def complain(self) -> None:
        """An error in a callback is the program's."""
        if self._trouble is not None:
            raise self._trouble

    def _perform(self, request: Request) -> Any:
        if isinstance(request, compute):
            rows: Rows = []
            self.own.append((rows, None, None))
            worker_tasks.compute(request.ns, rows)
            self._left_at = None
            return None
        action = self._table.get(type(request))
        if action is None:
            raise RuntimeError(f"a pool has no call {type(request).__name__}")
        # Reading the meter lets go of the GIL: in a loop that only looks, that would starve others.
        metered = request.trap and not isinstance(request, call)
        before = self.meter.read() if metered else None
        start = self.now()
        self._note_queueing(before, start)
        number = self.tape.enter(
            CALLER, start, type(request).__name__, None, self.doing[1],
            request.waits(False), request.arms, request.trap,
        )  # fmt: skip
        errno = None
        try:
            return action(self, request, number)
        except TimeoutError:
            errno = ETIMEDOUT
            raise
        finally:
            end = self.now()
            self.tape.leave(number, end, errno)
            if before is not None:
                usage = self.meter.since(before)
                stretch = Stretch(start, end, KERNEL, number, "", usage)
                self.own.append((stretch, number, self._awaited(request, number)))
                self._left_at = end, self.meter.read()
            self._in_hands(request, number, end)

    def _note_queueing(self, before: Usage | None, start: int) -> None:
        """The time in the run queue since the last call is not the program's own."""
        if before is not None and self._left_at is not None:
            left, usage = self._left_at
            queued = min(before.queued - usage.queued, start - left)
            if queued > worker_tasks.GAP_NS:
                self.own.append((Stretch(left, left + queued, READY), None, None))
        self._left_at = None

    def _in_hands(self, request: Request, number: int, end: int) -> None:
        promise = self._awaited(request, number)
        if promise is not None and promise.visible and not isinstance(request, wait):
            promise.hand_over(end, "return")

    def _awaited(self, request: Request, number: int) -> Promise | None:
        """The job whose end ends this call, if it is known."""
        if isinstance(request, result):
            return self._future(request.future)
        if isinstance(request, submit):
            return None
        if isinstance(request, wait):
            last = [self._future(future) for future in request.futures]
            return max(last, key=lambda p: p.done or 0, default=None)
        return next((p for p in self.promises if p.call == number), None)

    def _left(self, timeout: int | None) -> float:
        """Seconds that a call may wait: no wait goes on for ever."""
        left = max(0.0, self.until - time.monotonic())
        return left if timeout is None else min(left, timeout / 1e9)

    # -- the requests --------------------------------------------------------------------------

    def _promise(self, job: int, number: int) -> Promise:
        self.plan.story[job]  # there must be one
        promise = Promise(len(self.promises) + 1, job, number, self.now())
        self.promises.append(promise)
        return promise

    def _job(self, number: int) -> tuple[Any, str, int]:
        job = self.plan.story[number]
        return job.steps, job.fails, number

    def _call(self, request: call, number: int) -> Any:
        promise = self._promise(request.job, number)
        promise.begun = promise.asked
        rows: Rows = []
        self.own.append((rows, number, None))
        job = self.plan.story[request.job]
        worker_tasks.go_through(job.steps, rows)
        promise.done, promise.visible = self.now(), True
        if job.fails:
            raise worker_tasks.Failed(job.fails, rows, self.me)
        return request.job

    def _submit(self, request: submit, number: int) -> int:
        if request.room is not None:
            self._wait_for_room(request.room)
        promise = self._promise(request.job, number)
        promise.callbacks += [request.callback] if request.callback else []
        self._hand_in(promise)
        return promise.number

    def _wait_for_room(self, room: int) -> None:
        def undone() -> int:
            return sum(promise.done is None for promise in self.promises)

        with self._change:
            if not self._change.wait_for(lambda: undone() < room, self._left(None)):
                raise Expired

    def _hand_in(self, promise: Promise) -> None:
        given = self._job(promise.job)
        stopped = () if self.team.stopped is None else (self.team.stopped,)
        told = self._awaiting(partial(self._settled, promise))
        self.handles[promise.number] = self.team.pool.submit(
            told, worker_tasks.perform, *given, *stopped
        )

    def _apply(self, request: apply, number: int) -> Any:
        promise = self._promise(request.job, number)
        self._hand_in(promise)
        return self._value(promise, None)

    def _value(self, promise: Promise, timeout: int | None) -> Any:
        left = self._left(timeout)
        try:
            value, _, _ = self.team.pool.get(self._handle(promise), left)
        except TimeoutError:
            if timeout is None or left < timeout / 1e9:
                raise Expired from None
            raise
        except worker_tasks.Failed:
            promise.visible = True
            raise
        promise.visible = True
        return value

    def _future(self, number: int) -> Promise:
        if number not in self.handles:
            raise ValueError(f"no future {number}: there are {len(self.handles)}")
        return self.promises[number - 1]

    def _handle(self, promise: Promise) -> Any:
        return self.handles[promise.number]

    def _result(self, request: result, number: int) -> Any:
        return self._value(self._future(request.future), request.timeout)

    def _wait(self, request: wait, number: int) -> list[int]:
        promises = [self._future(future) for future in request.futures]
        self.team.pool.wait([self._handle(p) for p in promises], self._left(request.timeout))
        there = [p for p in promises if self.team.pool.done(self._handle(p))]
        if len(there) < len(promises) and request.timeout is None:
            raise Expired
        for promise in there:
            promise.tell("return")
        return [promise.number for promise in there]

    def _done(self, request: done, number: int) -> bool:
        promise = self._future(request.future)
        there = self.team.pool.done(self._handle(promise))
        if there:
            promise.tell("check")
        return there

    def _add_done_callback(self, request: add_done_callback, number: int) -> None:
        promise = self._future(request.future)

        def told(value: Any, error: BaseException | None) -> None:
            promise.hand_over(self.now(), "callback")
            self._run_callback(request.callback, value)

        handle = self._handle(promise)
        if self.team.pool.add(handle, self._awaiting(told)):
            return
        self._count(-1)  # it does not take them: we run them ourselves
        with self._change:
            later = promise.done is None
            if later:
                promise.callbacks.append(request.callback)
        if not later:
            told(*self._outcome_of(handle))

    def _outcome_of(self, handle: Any) -> tuple[Any, BaseException | None]:
        try:
            return self.team.pool.get(handle, self._left(None)), None
        except worker_tasks.Failed as failed:
            return None, failed

    def _sleep(self, request: sleep, number: int) -> None:
        time.sleep(request.ns / 1e9)

    def _getpid(self, request: getpid, number: int) -> int:
        return os.getpid()

    _table: ClassVar[dict[type, Callable[..., Any]]] = {
        call: _call, apply: _apply, submit: _submit, apply_async: _submit, result: _result,
        get: _result, done: _done, ready: _done, wait: _wait, sleep: _sleep, getpid: _getpid,
        add_done_callback: _add_done_callback,
    }  # fmt: skip

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
        promise.worker = self.team.names.get(where)
        promise.begun = rows[0][1] - self.zero
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
        return "" if here == self.me else self.team.names.get(here, self.team.flavour.collector)

    def _act(self, lane: str, name: str, rows: Rows) -> None:
        self.acts.setdefault(lane, []).append((name, rows))

    # -- afterwards ----------------------------------------------------------------------------

    def wait_for_the_rest(self, limit_s: float) -> None:
        """Jobs that nobody waits for any more are let finish, and callbacks too, to hear of them.

        A program may learn of a result while its callback is still under way, or not begun.
        """
        with self._change:
            self._change.wait_for(lambda: not self._untold, limit_s)

    def timeline(self, seen: Seen) -> Timeline:
        """The whole run."""
        self._caller_lane()
        for name in list(self.threads())[1:]:
            self.tape.helpers.append(name)
            self._helper_lane(name)
        for promise in self.promises:
            self._settle_times(promise)
        evidence = [
            Evidence(at - self.zero, state, wchan, syscall, name)
            for at, name, state, wchan, syscall in seen.rows
            if 0 <= at - self.zero <= self.end
        ]
        cores = usable_cores()
        run = self.tape.timeline(
            self.plan.text, "measured", cores, (), self.end, evidence, machine()
        )
        log = tuple(sorted(run.call_log, key=lambda one: (one.start, one.id)))
        return with_jobs(replace(within_cores(run), call_log=log), self.promises)

    def _settle_times(self, promise: Promise) -> None:
        """Nothing is told of what happened after the end of the run.

        A result that the program has was done, even if we heard so later.
        """
        if promise.received is not None and promise.done is not None:
            promise.done = min(promise.done, promise.received)
        for name in ("begun", "done", "received"):
            at = getattr(promise, name)
            if at is not None and at > self.end:
                setattr(promise, name, None)
        if promise.begun is not None:
            promise.begun = max(promise.begun, promise.asked)
            if promise.done is not None:
                promise.begun = min(promise.begun, promise.done)

    def _caller_lane(self) -> None:
        change = self.tape.change
        change(CALLER, 0, USER)
        for what, number, promise in self.own:
            if isinstance(what, Stretch):
                woken = None if promise is None else promise.done
                woken = None if woken is None or woken <= what.start else min(woken, what.end)
                parts = [(at, state, "") for at, state in what.parts(woken)]
                end = what.end
            else:
                parts = [(start - self.zero, state, note) for state, start, _, note in what]
                end = what[-1][2] - self.zero if what else self.end
            for at, state, note in parts:
                change(CALLER, at, state, number, note)
            change(CALLER, min(end, self.end), USER)

    def _helper_lane(self, name: str) -> None:
        """Asleep but for its jobs and callbacks, which are clipped at the end of the run."""
        change, end = self.tape.change, self.end
        change(name, 0, SLEEPING)
        for label, rows in sorted(self.acts.get(name, []), key=lambda act: act[1][0][1]):
            start, stop = rows[0][1] - self.zero, min(rows[-1][2] - self.zero, end)
            if start >= end:
                continue
            number = self.tape.enter(name, start, label, None, None, False, False)
            for state, at, _, note in rows:
                if at - self.zero < stop:
                    change(name, at - self.zero, state, number, note)
            self.tape.leave(number, stop)
            change(name, stop, SLEEPING)
