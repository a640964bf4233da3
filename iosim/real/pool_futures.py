"""The jobs that a program asks a pool for, and what the library tells of them in its threads."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from errno import ETIMEDOUT
from functools import partial
from time import perf_counter_ns as clock
from typing import TYPE_CHECKING

from ..calls import compute, sleep
from ..calls.futures import Callback
from ..kernels.pools import CALLER, Promise, calls_of
from ..kernels.watchdog import Expired
from ..trace import SLEEPING, USER, Evidence
from ..workloads.jobs import Jobs
from . import worker_tasks
from .descriptors import failure
from .measured import Run
from .pool_adapters import OpenPool, Told
from .proc_sampler import SamplerProcess
from .process import Process
from .worker_tasks import Done, Rows

if TYPE_CHECKING:
    from .driver import Driver

__all__ = ["Futures"]


#: The value of a job and None, or None and its error.
Outcome = tuple[int | None, Exception | None]


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
        self.handles: dict[int, object] = {}  # by the number of the promise
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

    def sockets(self) -> tuple[()]:
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

    def report(self, process: Process, told: Sequence[tuple[int, str, str, str, str]]) -> None:
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

    def steps(self, job: int) -> tuple[tuple[tuple[str, int], ...], str]:
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

    def value(self, promise: Promise, timeout: int | None, left_s: float) -> Outcome:
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

        def told(value: Done | None, error: BaseException | None) -> None:
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

    def _awaiting(self, tell: Told[Done]) -> Told[Done]:
        """`tell`, for the library to call; the run is over when that has returned."""

        def told(value: Done | None, error: BaseException | None) -> None:
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

    def _settled(self, promise: Promise, value: Done | None, error: BaseException | None) -> None:
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

    def _report(self, promise: Promise, done: Done | None) -> None:
        if done is None:  # the worker was lost: nothing is known of what it did
            return
        _, rows, where = done
        promise.worker = self.crew.names.get(where)
        promise.begun = rows[0][1] - self._zero
        self._act(promise.worker or "", f"job {promise.job}", rows)

    def _run_callback(self, callback: Callback, value: Done | None) -> None:
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
