"""Time, the cores and one run queue.

Events happen in the order of `(time, number)`: what was planned first happens first, and of what
happens at the same instant an arrival from the network comes first.  The tasks share the cores
first come first served, with a time slice (sched(7), SCHED_RR).  Times are int ns.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from heapq import heappop, heappush
from typing import Any

from ..costs import Costs
from ..trace import KERNEL, READY, SLEEPING, USER
from ..trace.builder import TraceBuilder
from ..validate import whole
from .task import Task

__all__ = ["Scheduler", "Then"]

STANDSTILL = 100_000  # events at one instant before the run is given up

Event = tuple[int, int, Any, Task, int]  # time, number (0: an arrival), what to do, to whom, token
Then = Callable[[Any], None]


class Scheduler:
    """Time, cores and tasks; what they ask for is answered in `Kernel`, which stands on it.

    `events` counts what has happened; `tape` None takes nothing down (for large runs).
    """

    def __init__(self, costs: Costs, cores: int, tape: TraceBuilder | None) -> None:
        self.costs, self.tape = costs, tape
        self.cores = whole("cores", cores, 1, 1024, "cores")
        self.arrivals: Iterator[int] = iter(())  # when the next one comes; asked again, it is here
        self.now = 0
        self.events = 0
        self.processes: list[Task] = []
        self._alive: set[Task] = set()  # which the run waits for: not a process's threads
        #: Who goes on outside of this loop, with its reply or error: see `iosim.plain`.
        self.handed: deque[tuple[Task, object, BaseException | None]] = deque()
        self._heap: list[Event] = []
        self._number = 0
        self._queue: deque[Task] = deque()
        self._idle = self.cores
        self._running: list[Task] = []
        self._nobody = Task("network", None)  # for events that no task has a part in
        self._wakeup, self._switch = round(costs.wakeup), round(costs.context_switch)
        self._slice, self._slack = round(costs.time_slice), round(costs.timer_slack)
        self._cold_call = round(costs.cold_call)
        self._cools_off = bool(costs.cold_call or costs.cold_receive)
        # Bound once: a bound method costs time and memory for every task that holds one.
        self._when_ready, self._when_on_core = self._ready, self._on_core
        self.when_awake, self._when_preempted = self._awake, self._preempt
        self._when_arrived = self._arrival

    def _awake(self, task: Task) -> None:
        """`task` has slept, and has a core again."""
        raise NotImplementedError

    def _interrupt(self, task: Task, left: int, then: Then | None = None) -> None:
        raise NotImplementedError

    def run(self) -> None:
        """Until every process is over.  TimeoutError if one would wait for ever."""
        self.open()
        self.proceed()

    def open(self) -> None:
        """The instant 0: every process is there, and the first arrival is on its way."""
        for task in self.processes:
            self.start(task)
        self._arrival(self._nobody)

    def proceed(self) -> None:
        """Event by event, until every process is over, or somebody else has `handed` to go on.

        One loop and no calls but the event's: it turns a million times in a large run.
        """
        heap, handed, still = self._heap, self.handed, 0
        while self._alive and not handed:
            if not heap:
                self.standstill()
                continue
            at, number, act, task, token = heappop(heap)
            if task.token != token:
                continue
            if at != self.now or not number:
                self.now, still = at, 0
            elif (still := still + 1) > STANDSTILL:
                raise TimeoutError(f"no time passes: {still:,} events at {at:,} ns")
            self.events += 1
            act(task)

    def standstill(self) -> None:
        """Nothing more is on its way: TimeoutError."""
        raise TimeoutError(self._deadlock())

    def _deadlock(self) -> str:
        stuck = next(task for task in self.processes if task.program is not None)
        name = type(stuck.request).__name__
        return f"{stuck.name} would wait in {name} for ever: nothing more is on its way"

    def deadline(self, timeout: int | None) -> int | None:
        """`timeout` ns from now; None: never."""
        return None if timeout is None else self.now + timeout

    def passed(self, deadline: int | None) -> bool:
        """Is it so late?"""
        return deadline is not None and self.now >= deadline

    def plan(self, delay: int, act: Then, task: Task) -> None:
        """`act(task)` in `delay` ns, unless `task` begins something else before."""
        self._number += 1
        heappush(self._heap, (self.now + delay, self._number, act, task, task.token))

    def _arrival(self, nobody: Task) -> None:
        """What comes from the network is here; the next one comes first of all of its instant."""
        at = next(self.arrivals, None)
        if at is not None:
            heappush(self._heap, (at, 0, self._when_arrived, nobody, nobody.token))

    def later(self, delay: int, act: Callable[[], None]) -> None:
        """`act` in `delay` ns: an event that no task has a part in."""
        self.plan(delay, lambda nobody: act(), self._nobody)

    # -- cores and the run queue ---------------------------------------------------------------

    def start(self, task: Task) -> None:
        """A new task: on a core at once, if one is idle."""
        if self._idle:
            self._idle -= 1
            self._on_core(task)
        else:
            self._ready(task)

    def start_later(self, task: Task) -> None:
        """A new task: ready once it was woken for the first time."""
        self.plan(self._wakeup, self._when_ready, task)

    def _ready(self, task: Task) -> None:
        """`task` may run: give it a core, or a place in the queue and an end to others' slices."""
        if self.tape is not None:
            self._mark(task, READY)
        if self._idle:
            self._idle -= 1
            self.plan(self._switch, self._when_on_core, task)
        else:
            self._queue.append(task)
            for other in self._running:
                self._plan_preemption(other)

    def _plan_preemption(self, task: Task) -> None:
        if task.slice_end < task.until:
            self.plan(max(0, task.slice_end - self.now), self._when_preempted, task)

    def _on_core(self, task: Task) -> None:
        self._running.append(task)
        task.slice_end = self.now + self._slice
        if not task.left:
            task.then(task)  # type: ignore[misc]
        elif task.mode is USER and task.told:
            self._interrupt(task, task.left)
        else:
            self.work(task, task.mode, task.left, task.then, task.note)

    def off_core(self, task: Task) -> None:
        """Its core is for the next one."""
        self._running.remove(task)
        if self._queue:
            self.plan(self._switch, self._when_on_core, self._queue.popleft())
        else:
            self._idle += 1

    def _preempt(self, task: Task) -> None:
        if not self._queue:
            return
        task.left = task.until - self.now
        task.token += 1
        self._mark(task, READY)
        self._queue.append(task)
        self.off_core(task)

    def in_own_code(self, task: Task) -> bool:
        """Does it run, outside of the kernel?"""
        return task.mode is USER and task in self._running

    def work(self, task: Task, mode: str, ns: int, then: Then | None, note: str = "") -> None:
        """Hold the core for `ns` in `mode`, then go on with `then`.

        What is left of a call in which its task slept takes `Costs.cold_call` longer.  Own code
        needs the interpreter's lock, if there is one.
        """
        if mode is USER and task.interpreter is not None:
            if not task.interpreter.take(task):
                task.interpreter.wait_for(task, ns, then)
                return
        elif task.chilled and mode is KERNEL:
            ns += self._cold_call
            task.chilled = False
        task.mode, task.then, task.left, task.note = mode, then, 0, note
        task.until = self.now + ns
        task.token += 1
        if self.tape is not None:
            self.tape.change(task.name, self.now, mode, task.call, note)
        self._number += 1
        heappush(self._heap, (task.until, self._number, then, task, task.token))
        if self._queue:
            self._plan_preemption(task)

    def sleep(self, task: Task, deadline: int | None = None, note: str = "") -> None:
        """Give up the core until woken, or until `deadline` (ns) and the timer's slack."""
        if task.interpreter is not None:
            task.interpreter.let_go(task)
        if self.tape is not None:
            self._mark(task, SLEEPING, note)
        task.sleeping = task.cold = True
        task.chilled = self._cools_off
        task.lately = None
        task.token += 1
        task.mode, task.then = KERNEL, self.when_awake
        task.left = task.until = task.slice_end = 0
        if deadline is not None:
            self.plan(max(0, deadline + self._slack - self.now), self.wake, task)
        self.off_core(task)

    def wake(self, task: Task) -> None:
        """It looks again, once it has a core; nothing if it does not sleep."""
        if task.sleeping:
            task.sleeping = False
            task.leave_line()
            task.token += 1
            self.plan(self._wakeup, self._when_ready, task)

    def _mark(self, task: Task, state: str, note: str = "") -> None:
        if self.tape is not None:
            self.tape.change(task.name, self.now, state, task.call, note)
