"""A process's interpreter lock (Python/ceval_gil.c): who has it, and who waits for it."""

from __future__ import annotations

from collections import deque
from typing import ClassVar

from ..calls import Program
from ..trace import GIL, USER
from .scheduler import Scheduler, Then
from .task import Task

__all__ = ["Interpreter", "Thread"]


class Thread(Task):
    """A task that needs an interpreter to run its own code; None: one without a lock."""

    __slots__ = ("dropping", "interpreter", "owed", "seen")

    has_source: ClassVar[bool] = True

    def __init__(self, name: str, program: Program | None, interpreter: Interpreter | None) -> None:
        super().__init__(name, program)
        self.interpreter = interpreter
        self.owed: tuple[int, Then | None] = (0, None)  # once it has the lock
        self.seen = 0  # how often the lock had changed hands when it began to wait
        self.dropping = False  # it is asked to let go of the lock


class Interpreter:
    """The lock of the threads of one process; who waits asks for it after `interval` ns."""

    def __init__(self, scheduler: Scheduler, interval: int) -> None:
        self._scheduler, self._interval = scheduler, interval
        self.holder: Thread | None = None
        self.waiters: deque[Thread] = deque()
        self.switches = 0

    def take(self, task: Task) -> bool:
        """May it run its own code?  Not if another one does, or if it is asked to let go."""
        assert isinstance(task, Thread)
        if self.holder is None and not self.waiters:
            self.holder = task
        if self.holder is task and not (task.dropping and self.waiters):
            task.dropping = False
            return True
        return False

    def wait_for(self, task: Task, ns: int, then: Then | None) -> None:
        """Sleep until the lock is handed over; then `ns` of own code, then `then`."""
        assert isinstance(task, Thread)
        task.owed, task.dropping = (ns, then), False
        self.let_go(task)
        self.waiters.append(task)
        self._scheduler.sleep(task, None, GIL)
        task.then = self._handed_over
        task.seen = self.switches
        self._scheduler.plan(self._interval, self._demand, task)

    def _handed_over(self, task: Thread) -> None:
        self._scheduler.work(task, USER, *task.owed)

    def let_go(self, task: Task) -> None:
        """Hand the lock over to who has waited longest, if `task` has it."""
        if self.holder is not task:
            return
        self.holder = self.waiters.popleft() if self.waiters else None
        if self.holder is not None:
            self.switches += 1
            self._scheduler.wake(self.holder)

    def _demand(self, waiter: Thread) -> None:
        """The interval is over.  It begins anew if the lock has changed hands meanwhile."""
        if self.switches != waiter.seen or self.holder is None:
            waiter.seen = self.switches
            self._scheduler.plan(self._interval, self._demand, waiter)
            return
        holder = self.holder
        holder.dropping = True  # seen where it next looks: between two steps of its own code
        if self._scheduler.in_own_code(holder):
            holder.token += 1
            self.wait_for(holder, holder.until - self._scheduler.now, holder.then)
