"""The simulated kernel with a pool of workers: PEP 3148 and multiprocessing in virtual time.

The workers, and the thread that takes their results in, are tasks beside the caller: they share the
cores, and those of one process share its interpreter lock.  A worker without a job, and a caller
whose result is not there, sleep in a futex(2).  All workers are started before the run begins.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from errno import ETIMEDOUT
from typing import Any, ClassVar

from ...bounds import HOUR_NS, whole
from ...costs import Costs
from ...futures import (
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
from ...jobs import COMPUTE, Job, Jobs
from ...syscalls import Program, Request, compute, ms, sleep
from ...timeline import GIL, KERNEL, SLEEPING, USER, Timeline
from ..launch import launch_jobs, resume
from ..pools import CALLER, Flavour, Promise, calls_of, crew, flavour, with_jobs
from ..watchdog import watchdog
from .kernel import SimKernel
from .parts import Task

__all__ = ["PoolKernel", "simulate_jobs"]

SWITCH_INTERVAL = ms(5)  # sys.getswitchinterval() of CPython, in ns


class Interpreter:
    """A process's interpreter lock (Python/ceval_gil.c): who has it, and who waits for it."""

    __slots__ = ("holder", "switches", "waiters")

    def __init__(self) -> None:
        self.holder: Thread | None = None
        self.waiters: deque[Thread] = deque()
        self.switches = 0


class Thread(Task):
    """A task that needs an interpreter to run its own code; `gil` None: one without a lock."""

    __slots__ = ("dropping", "gil", "owed", "seen")

    def __init__(self, name: str, program: Program, gil: Interpreter | None) -> None:
        super().__init__(name, program)
        self.gil = gil
        self.owed: tuple[int, Callable[[Task], None] | None] = (0, None)  # once it has the lock
        self.seen = 0  # how often the lock had changed hands when it began to wait
        self.dropping = False  # it is asked to let go of the lock


class _Memory(Request):
    """What the library's own threads do without a call of the program's."""

    __slots__ = ()
    trap: ClassVar[bool] = False


class take(_Memory):
    """A worker, or the collector, wants the next thing from its queue, and sleeps until then."""

    __slots__ = ("queue",)

    def __init__(self, queue: deque[Any]) -> None:
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


class PoolKernel(SimKernel):
    """Answers the calls of one caller that has `story`'s jobs done by `workers`."""

    def __init__(
        self, story: Jobs, costs: Costs | None, cores: int, workers: int, pool: Flavour, gil: bool,
        switch_interval: int,
    ) -> None:  # fmt: skip
        super().__init__(None, costs, cores)
        self.jobs, self.flavour = story, pool
        self.promises: list[Promise] = []
        self._interval = switch_interval
        self._here = Interpreter() if gil else None
        self._todo: deque[Promise] = deque()
        self._results: deque[Promise] = deque()
        self._takers: dict[int, list[Thread]] = {id(self._todo): [], id(self._results): []}
        self._for_room: deque[Task] = deque()
        self._names = crew(workers)

    def open(self, program: Program) -> None:
        """The caller, ready to run `program`, and all the others, asleep."""
        caller = Thread(CALLER, program, self._here)
        caller.then = self._begin
        self.processes.append(caller)
        self._alive += 1
        assert self.tape is not None
        self.tape.change(CALLER, 0, USER)
        for name in self._names:
            self._helper(name, None if self.flavour.processes else self._here, self._worker)
        if self.flavour.collector:
            self._helper(self.flavour.collector, self._here, self._collector)

    def _helper(
        self, name: str, gil: Interpreter | None, program: Callable[[Thread], Program]
    ) -> None:
        thread = Thread(name, None, gil)  # type: ignore[arg-type]
        thread.program = program(thread)
        assert self.tape is not None
        self.tape.helpers.append(name)
        self.tape.change(name, 0, SLEEPING)
        request = resume(thread.program)
        assert isinstance(request, take)
        self._takers[id(request.queue)].append(thread)
        thread.request, thread.sleeping = request, True
        thread.mode, thread.then = KERNEL, self._when_awake

    # -- the library's own threads, which are programs as well ---------------------------------

    def _worker(self, thread: Thread) -> Program:
        while True:
            promise = yield take(self._todo)
            job = self.jobs[promise.job]
            promise.begun, promise.worker = self.now, thread.name
            self._open_call(thread, f"job {promise.job}")
            yield from self._steps(job)
            yield post()
            self._leave(thread)
            if self.flavour.collector:
                self._results.append(promise)
                self._call_up(self._results)
            else:
                yield from self._settle(thread, promise)

    def _collector(self, thread: Thread) -> Program:
        while True:
            promise = yield take(self._results)
            yield from self._settle(thread, promise)

    def _steps(self, job: Job) -> Program:
        for kind, ns in job.steps:
            yield compute(ns) if kind == COMPUTE else io(ns)

    def _settle(self, thread: Thread, promise: Promise) -> Program:
        """The result is there: wake who waits for it, run the callbacks; in the pool's order."""
        if self._user:
            yield compute(self._user)
        job = self.jobs[promise.job]
        promise.done = self.now
        promise.value, promise.error = promise.job, RuntimeError(job.fails) if job.fails else None
        if not self.flavour.callback_first:
            self._announce_done(promise)
        for callback in promise.callbacks:
            promise.hand_over(self.now, "callback")
            self._open_call(thread, "callback")
            yield from self._told_by(callback, promise)
            self._leave(thread)
        if self.flavour.callback_first:
            self._announce_done(promise)

    @staticmethod
    def _told_by(callback: Callback, promise: Promise) -> Program:
        """The callback's program, within whatever its thread is doing."""
        for request in calls_of(callback(None if promise.error else promise.value)):
            yield io(request.ns) if isinstance(request, sleep) else request

    def _announce_done(self, promise: Promise) -> None:
        """Wake who waits for this one, or for several of which it is the last."""
        promise.visible = True
        waiters, promise.waiters = promise.waiters, []
        for task in waiters:
            several = task.request.futures if isinstance(task.request, wait) else ()
            if all(self._future(number).visible for number in several):
                self._wake(task)
        while self._for_room:
            self._wake(self._for_room.popleft())

    def _open_call(self, thread: Thread, name: str) -> None:
        """From here on the lane says what its thread does for the program."""
        assert self.tape is not None
        thread.call = self.tape.enter(thread.name, self.now, name, None, None, False, False)

    def _call_up(self, queue: deque[Any]) -> None:
        """Wake who has waited longest for something in this queue."""
        if self._takers[id(queue)]:
            self._wake(self._takers[id(queue)].pop(0))

    def _hand_out(self, task: Thread, request: take) -> None:
        if request.queue:
            self._work(task, KERNEL, self._syscall, self._handed_out)
            return
        takers = self._takers[id(request.queue)]
        takers += [] if task in takers else [task]
        self._sleep(task)

    def _handed_out(self, task: Task) -> None:
        assert isinstance(task.request, take)
        if task.request.queue:
            self._resume(task, task.request.queue.popleft())
        else:  # another one was quicker
            self._again(task)

    def _io(self, task: Task, request: io) -> None:
        """The call that waits, and its return."""
        if task.deadline is None:
            task.deadline = self.now + self._syscall + request.ns
            self._work(task, KERNEL, self._syscall, lambda task: self._sleep(task, task.deadline))
        else:
            task.deadline = None
            self._resume(task, None)

    def _post(self, task: Task, request: post) -> None:
        self._work(task, KERNEL, self._syscall, self._begin)

    # -- the interpreter lock ------------------------------------------------------------------

    def _work(
        self, task: Task, mode: str, ns: int, then: Callable[[Task], None] | None, note: str = ""
    ) -> None:
        """A thread's own code needs the lock; in the kernel it needs none."""
        lock = task.gil if isinstance(task, Thread) else None
        if mode is not USER or lock is None:
            super()._work(task, mode, ns, then, note)
            return
        assert isinstance(task, Thread)
        if lock.holder is None and not lock.waiters:
            lock.holder = task
        if lock.holder is task and not (task.dropping and lock.waiters):
            task.dropping = False
            super()._work(task, mode, ns, then, note)
        else:
            self._await_lock(task, ns, then)

    def _await_lock(self, task: Thread, ns: int, then: Callable[[Task], None] | None) -> None:
        """Sleep until the lock is handed over; ask for it after the switch interval."""
        assert task.gil is not None
        task.owed, task.dropping = (ns, then), False
        self._let_go(task)
        task.gil.waiters.append(task)
        super()._sleep(task, None, GIL)
        task.then = self._have_lock
        task.seen = task.gil.switches
        self._plan(self._interval, self._demand, task)

    def _have_lock(self, task: Task) -> None:
        assert isinstance(task, Thread)
        ns, then = task.owed
        self._work(task, USER, ns, then)

    def _let_go(self, task: Task) -> None:
        """Hand the lock over to who has waited longest."""
        lock = task.gil if isinstance(task, Thread) else None
        if lock is None or lock.holder is not task:
            return
        lock.holder = lock.waiters.popleft() if lock.waiters else None
        if lock.holder is not None:
            lock.switches += 1
            self._wake(lock.holder)

    def _demand(self, waiter: Task) -> None:
        """The interval is over.  It begins anew if the lock has changed hands meanwhile."""
        assert isinstance(waiter, Thread)
        lock = waiter.gil
        assert lock is not None
        if lock.switches != waiter.seen or lock.holder is None:
            waiter.seen = lock.switches
            self._plan(self._interval, self._demand, waiter)
            return
        holder = lock.holder
        holder.dropping = True  # seen where it next looks: between two steps of its own code
        if holder.mode is USER and holder in self._running:
            holder.token += 1
            self._await_lock(holder, holder.until - self.now, holder.then)

    def _sleep(self, task: Task, deadline: int | None = None, note: str = "") -> None:
        self._let_go(task)
        super()._sleep(task, deadline, note)

    def _over(self, task: Task) -> None:
        if not task.frames:
            self._let_go(task)
        super()._over(task)

    # -- asking for jobs -----------------------------------------------------------------------

    def _trap(self, task: Task) -> None:
        """To call a function is not to enter the kernel."""
        if type(task.request) is call:
            task.deadline = None
            task.call = self._enter(task)
            self._again(task)
        else:
            super()._trap(task)

    def _call(self, task: Task, request: call) -> None:
        promise = self._promise(task, request.job)
        promise.begun = self.now
        self._insert(task, self._steps(self.jobs[request.job]), self._called)

    def _called(self, task: Task) -> None:
        promise = next(p for p in self.promises if p.call == task.call)
        promise.done, promise.value = self.now, promise.job
        fails = self.jobs[promise.job].fails
        promise.error = RuntimeError(fails) if fails else None
        self._deliver(task, promise)

    def _insert(self, task: Task, program: Program, after: Callable[[Task], None]) -> None:
        """The caller runs another program before its call returns."""
        if task.frames is None:
            task.frames = []
        frame = (task.program, task.request, task.call, task.deadline, after, 0)
        task.frames.append(frame)
        task.program, task.deadline = program, None
        self._begin(task)

    def _promise(self, task: Task, job: int) -> Promise:
        self.jobs[job]  # there must be one
        assert task.call is not None
        promise = Promise(len(self.promises) + 1, job, task.call, self.now)
        self.promises.append(promise)
        return promise

    def _enqueue_job(self, task: Task, job: int) -> Promise:
        promise = self._promise(task, job)
        self._todo.append(promise)
        self._call_up(self._todo)
        return promise

    def _submit(self, task: Task, request: submit) -> None:
        undone = sum(promise.done is None for promise in self.promises)
        if request.room is not None and undone >= request.room:
            self._for_room.append(task)
            self._sleep(task)
            return
        promise = self._enqueue_job(task, request.job)
        promise.callbacks += [request.callback] if request.callback else []
        self._reply(task, promise.number)

    def _apply(self, task: Task, request: apply) -> None:
        asked = next((p for p in self.promises if p.call == task.call), None)
        promise = asked or self._enqueue_job(task, request.job)
        self._await(task, promise, None)

    # -- learning of results -------------------------------------------------------------------

    def _future(self, number: int) -> Promise:
        if number > len(self.promises):
            raise ValueError(f"no future {number}: there are {len(self.promises)}")
        return self.promises[number - 1]

    def _await(self, task: Task, promise: Promise, timeout: int | None) -> None:
        if promise.visible:
            self._deliver(task, promise)
        elif self._expired(task, timeout):
            promise.waiters = [other for other in promise.waiters if other is not task]
            self._fail(task, ETIMEDOUT)
        else:
            promise.waiters += [] if task in promise.waiters else [task]
            self._sleep(task, task.deadline)

    def _deliver(self, task: Task, promise: Promise) -> None:
        """The call returns with the value, or raises the error."""
        promise.hand_over(self.now, "return")
        if promise.error is None:
            self._reply(task, promise.value)
        else:
            self._leave(task)
            self._resume(task, None, promise.error)

    def _result(self, task: Task, request: result) -> None:
        self._await(task, self._future(request.future), request.timeout)

    def _wait(self, task: Task, request: wait) -> None:
        promises = [self._future(number) for number in request.futures]
        undone = [promise for promise in promises if not promise.visible]
        if undone and not self._expired(task, request.timeout):
            for promise in undone:
                promise.waiters += [] if task in promise.waiters else [task]
            self._sleep(task, task.deadline)
            return
        for promise in promises:
            promise.waiters = [other for other in promise.waiters if other is not task]
            if promise.visible:
                promise.tell("return")
        self._reply(task, [promise.number for promise in promises if promise.visible])

    def _done(self, task: Task, request: done) -> None:
        promise = self._future(request.future)
        if promise.visible:
            promise.tell("check")
        self._glance(task)
        self._resume(task, promise.visible)

    def _add_done_callback(self, task: Task, request: add_done_callback) -> None:
        promise = self._future(request.future)
        if not promise.visible:
            promise.callbacks.append(request.callback)
            self._reply(task)
            return
        promise.hand_over(self.now, "callback")
        self._insert(task, self._told_by(request.callback, promise), self._reply)

    _table: ClassVar[dict[type, Callable[..., None]]] = SimKernel._table | {
        take: _hand_out, io: _io, post: _post, call: _call, apply: _apply, submit: _submit,
        apply_async: _submit, result: _result, get: _result, done: _done, ready: _done, wait: _wait,
        add_done_callback: _add_done_callback,
    }  # fmt: skip


def simulate_jobs(
    program: Callable[..., Program], story: Jobs, *, costs: Costs | None = None, cores: int = 2,
    pool: str = "Pool", workers: int = 2, gil: bool = True, switch_interval: int = SWITCH_INTERVAL,
    start_method: str | None = None, limit_s: float = 10.0, **options: Any,
) -> Timeline:  # fmt: skip
    """Run `program` over the jobs of `story` on the simulated kernel and return its `Timeline`.

    costs            what each step costs (ns); `Costs.textbook()` unless given
    cores            how many cores the caller and the workers share
    pool             "Pool" (of multiprocessing), "ProcessPoolExecutor" or "ThreadPoolExecutor"
    workers          how many workers it has; all are started before the run
    gil              has each process an interpreter lock?  False: a free-threaded Python (PEP 703)
    switch_interval  ns after which who waits for the lock asks for it: sys.setswitchinterval()
    start_method     accepted, so that `simulate` can stand for `measure`; it has no effect
    limit_s          seconds of processor time after which a run is stopped
    options          further arguments of the program

    Raises what the program raises; TypeError or ValueError for bad input; TimeoutError if the
    caller would wait for ever, or the program never yields.
    """
    plan = launch_jobs(program, story, options)
    whole("switch_interval", switch_interval, 1, HOUR_NS, "ns")
    kernel = PoolKernel(story, costs, cores, workers, flavour(pool), bool(gil), switch_interval)
    kernel.open(plan.start())
    with watchdog(limit_s, f"{plan.text.title} on the simulated kernel", of_work=True):
        kernel.run()
    assert kernel.tape is not None
    run = kernel.tape.timeline(plan.text, "simulated", cores, (), kernel.now)
    return with_jobs(run, kernel.promises)
