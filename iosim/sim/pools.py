"""A pool of workers: PEP 3148 and multiprocessing in virtual time.

The workers, and the thread that takes their results in, are tasks beside the caller: they share the
cores, and those of one process share its interpreter lock.  A worker without a job, and a caller
whose result is not there, sleep in a futex(2).  All workers are started before the run begins.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from errno import ETIMEDOUT
from typing import ClassVar

from ..calls import Program, Request, compute, sleep
from ..calls.futures import (
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
)
from ..calls.request import PASSES
from ..kernels.launch import resume
from ..kernels.pools import CALLER, Flavour, Promise, calls_of, crew
from ..trace import KERNEL, SLEEPING, USER
from ..workloads.jobs import COMPUTE, Job, Jobs
from .answers import answers
from .descriptions import failure
from .interpreter import Interpreter, Thread
from .kernel import Kernel
from .task import FOREVER, Side, Task, Thrown, asleep

__all__ = ["Pool"]


class _Memory(Request):
    """What the library's own threads do without a call of the program's."""

    __slots__ = ()
    role: ClassVar[str] = PASSES
    trap: ClassVar[bool] = False


class take(_Memory):
    """A worker, or the collector, wants the next thing from its queue, and sleeps until then."""

    __slots__ = ("queue",)

    def __init__(self, queue: deque[Promise]) -> None:
        super().__init__()
        self.queue = queue


class io(_Memory):
    """A step of a job that waits for `ns`."""

    __slots__ = ("ns",)

    def __init__(self, ns: int) -> None:
        super().__init__()
        self.ns = ns


class post(_Memory):
    """A write(2) to the pipe, or to the queue, to the collector."""

    __slots__ = ()


class Pool:
    """A pool that does `story`'s jobs for one caller, and the future of each asking."""

    def __init__(
        self, kernel: Kernel, story: Jobs, workers: int, flavour: Flavour, gil: bool, interval: int
    ) -> None:
        self._kernel, self.jobs, self._flavour = kernel, story, flavour
        self.promises: list[Promise] = []
        self.for_room: deque[Task] = deque()
        self._interpreter = Interpreter(kernel, interval) if gil else None
        self._todo: deque[Promise] = deque()
        self._results: deque[Promise] = deque()
        self._takers: dict[int, list[Task]] = {id(self._todo): [], id(self._results): []}
        self._names = crew(workers)
        kernel.pool = self

    def open(self, program: Program) -> None:
        """The caller, ready to run `program`, and all the others, asleep."""
        assert self._kernel.tape is not None
        self._kernel.add(Thread(CALLER, program, self._interpreter))
        self._kernel.tape.change(CALLER, 0, USER)
        for name in self._names:
            interpreter = None if self._flavour.processes else self._interpreter
            self._helper(name, interpreter, self._work)
        if self._flavour.collector:
            self._helper(self._flavour.collector, self._interpreter, self._collect)

    def _helper(
        self, name: str, interpreter: Interpreter | None, program: Callable[[Thread], Program]
    ) -> None:
        """It has slept in `take` since before the run."""
        thread = Thread(name, None, interpreter)
        thread.program = program(thread)
        assert self._kernel.tape is not None
        self._kernel.tape.helpers.append(name)
        self._kernel.tape.change(name, 0, SLEEPING)
        request = resume(thread.program)
        assert isinstance(request, take)
        thread.request, thread.side = request, take_next(self._kernel, thread, request)
        next(thread.side)
        thread.sleeping = True
        thread.mode, thread.then = KERNEL, self._kernel.when_awake

    # -- the library's own threads, which are programs as well ---------------------------------

    def _work(self, thread: Thread) -> Program:
        kernel = self._kernel
        while True:
            promise = yield take(self._todo)
            promise.begun, promise.worker = kernel.now, thread.name
            self._open_call(thread, f"job {promise.job}")
            yield from self.steps(promise.job)
            yield post()
            kernel.leave(thread)
            if self._flavour.collector:
                self._results.append(promise)
                self._call_up(self._results)
            else:
                yield from self._settle(thread, promise)

    def _collect(self, thread: Thread) -> Program:
        while True:
            promise = yield take(self._results)
            yield from self._settle(thread, promise)

    def steps(self, number: int) -> Program:
        """What job `number` does."""
        for kind, ns in self.jobs[number].steps:
            yield compute(ns) if kind == COMPUTE else io(ns)

    def _settle(self, thread: Thread, promise: Promise) -> Program:
        """The result is there: wake who waits for it, run the callbacks; in the pool's order."""
        kernel = self._kernel
        if own_code := round(kernel.costs.user):
            yield compute(own_code)
        promise.done = kernel.now
        conclude(promise, self.jobs[promise.job])
        if not self._flavour.callback_first:
            self._announce(promise)
        for callback in promise.callbacks:
            promise.hand_over(kernel.now, "callback")
            self._open_call(thread, "callback")
            yield from told_by(callback, promise)
            kernel.leave(thread)
        if self._flavour.callback_first:
            self._announce(promise)

    def _announce(self, promise: Promise) -> None:
        """Wake who waits for this one, or for several of which it is the last."""
        promise.visible = True
        waiters, promise.waiters = promise.waiters, []
        for task in waiters:
            several = task.request.futures if isinstance(task.request, wait) else ()
            if all(self.future(number).visible for number in several):
                self._kernel.wake(task)
        while self.for_room:
            self._kernel.wake(self.for_room.popleft())

    def _open_call(self, thread: Thread, name: str) -> None:
        """From here on the lane says what its thread does for the program."""
        tape, now = self._kernel.tape, self._kernel.now
        assert tape is not None
        thread.call = tape.enter(thread.name, now, name, None, None, False, False)

    # -- queues and futures --------------------------------------------------------------------

    def takers(self, queue: deque[Promise]) -> list[Task]:
        """Who waits for something in this queue."""
        return self._takers[id(queue)]

    def _call_up(self, queue: deque[Promise]) -> None:
        """Wake who has waited longest."""
        if takers := self.takers(queue):
            self._kernel.wake(takers.pop(0))

    def future(self, number: int) -> Promise:
        """ValueError if there is none."""
        if number > len(self.promises):
            raise ValueError(f"no future {number}: there are {len(self.promises)}")
        return self.promises[number - 1]

    def promise(self, task: Task, job: int) -> Promise:
        """A new future for the call that `task` is in."""
        self.jobs[job]  # there must be one
        assert task.call is not None
        promise = Promise(len(self.promises) + 1, job, task.call, self._kernel.now)
        self.promises.append(promise)
        return promise

    def hand_in(self, task: Task, job: int) -> Promise:
        """The same, and a worker is called."""
        promise = self.promise(task, job)
        self._todo.append(promise)
        self._call_up(self._todo)
        return promise


def conclude(promise: Promise, job: Job) -> None:
    """What the job came to: its number, or an error."""
    promise.value = promise.job
    promise.error = RuntimeError(job.fails) if job.fails else None


def told_by(callback: Callback, promise: Promise) -> Program:
    """The callback's program, within whatever its thread is doing."""
    for request in calls_of(callback(None if promise.error else promise.value)):
        yield io(request.ns) if isinstance(request, sleep) else request


def pool_of(kernel: Kernel, request: Request) -> Pool:
    """RuntimeError if the story has none."""
    if kernel.pool is None:
        raise RuntimeError(f"{type(request).__name__} needs a story of Jobs")
    return kernel.pool


# -- the library's own threads -----------------------------------------------------------------


@answers(take)
def take_next(kernel: Kernel, task: Task, request: take) -> Side:
    """Out of the queue; asleep until there is something."""
    takers = pool_of(kernel, request).takers(request.queue)
    while True:
        if request.queue:
            yield round(kernel.costs.syscall)
            if request.queue:  # else another one was quicker
                return request.queue.popleft()
        else:
            takers += [] if task in takers else [task]
            yield FOREVER


@answers(io)
def wait_for_device(kernel: Kernel, task: Task, request: io) -> Side:
    """The call that waits, and its return."""
    syscall = round(kernel.costs.syscall)
    until = kernel.now + syscall + request.ns
    yield syscall
    yield asleep(until)


@answers(post)
def write_result(kernel: Kernel, task: Task, request: post) -> Side:
    """write(2)."""
    yield round(kernel.costs.syscall)


# -- asking for jobs ---------------------------------------------------------------------------


@answers(call)
def do_it_oneself(kernel: Kernel, task: Task, request: call) -> Side:
    """An ordinary call of a function."""
    pool = pool_of(kernel, request)
    promise = pool.promise(task, request.job)
    promise.begun = kernel.now
    yield pool.steps(request.job)
    promise.done = kernel.now
    conclude(promise, pool.jobs[promise.job])
    return value_of(kernel, promise)


@answers(submit, apply_async)
def hand_in(kernel: Kernel, task: Task, request: submit) -> Side:
    """Executor.submit; with `room` it first waits until fewer than so many are not done."""
    pool = pool_of(kernel, request)
    while (
        request.room is not None
        and sum(promise.done is None for promise in pool.promises) >= request.room
    ):
        pool.for_room.append(task)
        yield FOREVER
    promise = pool.hand_in(task, request.job)
    promise.callbacks += [request.callback] if request.callback else []
    return promise.number


@answers(apply)
def have_it_done(kernel: Kernel, task: Task, request: apply) -> Side:
    """apply_async(...).get()."""
    promise = pool_of(kernel, request).hand_in(task, request.job)
    return (yield from await_value(kernel, task, promise, None))


# -- learning of results -----------------------------------------------------------------------


def await_value(kernel: Kernel, task: Task, promise: Promise, timeout: int | None) -> Side:
    """Asleep until the result is visible; ETIMEDOUT."""
    until = kernel.deadline(timeout)
    while not promise.visible:
        if kernel.passed(until):
            promise.waiters = [other for other in promise.waiters if other is not task]
            raise failure(ETIMEDOUT)
        promise.waiters += [] if task in promise.waiters else [task]
        yield asleep(until)
    return value_of(kernel, promise)


def value_of(kernel: Kernel, promise: Promise) -> object:
    """The call returns with the value, or raises the error."""
    promise.hand_over(kernel.now, "return")
    if promise.error is not None:
        raise Thrown(promise.error)
    return promise.value


@answers(result, get)
def fetch(kernel: Kernel, task: Task, request: result) -> Side:
    """Future.result."""
    promise = pool_of(kernel, request).future(request.future)
    return (yield from await_value(kernel, task, promise, request.timeout))


@answers(wait)
def await_all(kernel: Kernel, task: Task, request: wait) -> Side:
    """concurrent.futures.wait."""
    pool, until = pool_of(kernel, request), kernel.deadline(request.timeout)
    promises = [pool.future(number) for number in request.futures]
    while undone := [promise for promise in promises if not promise.visible]:
        if kernel.passed(until):
            break
        for promise in undone:
            promise.waiters += [] if task in promise.waiters else [task]
        yield asleep(until)
    for promise in promises:
        promise.waiters = [other for other in promise.waiters if other is not task]
        if promise.visible:
            promise.tell("return")
    return [promise.number for promise in promises if promise.visible]


@answers(done, ready)
def is_done(kernel: Kernel, task: Task, request: done) -> bool:
    """Future.done: a look into memory."""
    promise = pool_of(kernel, request).future(request.future)
    if promise.visible:
        promise.tell("check")
    kernel.glance(task)
    return promise.visible


@answers(add_done_callback)
def add_callback(kernel: Kernel, task: Task, request: add_done_callback) -> Side:
    """Future.add_done_callback: if it is done already, the caller runs it, at once."""
    promise = pool_of(kernel, request).future(request.future)
    if not promise.visible:
        promise.callbacks.append(request.callback)
        return
    promise.hand_over(kernel.now, "callback")
    yield told_by(request.callback, promise)
