"""What comes between two steps of a task: signals, and the task work of io_uring.

Linux looks for both where a task is about to leave the kernel, and where it sleeps: signal(7).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..calls import SIGRTMIN, Program, pause, sigtimedwait
from ..trace import KERNEL, USER
from .task import Frame, Task

if TYPE_CHECKING:
    from .kernel import Kernel
    from .scheduler import Then
    from .uring import Operation

__all__ = ["insert", "interrupt", "nudge", "over", "send", "task_work"]


def interrupt(kernel: Kernel, task: Task, left: int, then: Then | None = None) -> None:
    """Signals and task work before `task` goes on with `then`, or `left` ns of its own code."""
    resume = then or task.then
    after: Any = resume if not left else lambda task: kernel.work(task, USER, left, resume)
    if task.work:
        task_work(kernel, task, after)
        return
    signo = task.deliverable()
    assert task.pending is not None
    assert signo is not None
    task.pending.remove(signo)
    handler = (task.handlers or {}).get(signo)
    if handler is None:
        raise RuntimeError(f"signal {signo} ends {task.name}: it has no handler (signal(7))")
    _push(task, handler(signo), after, signo if kernel.holds_back else 0)
    task.call = None
    kernel.work(
        task, KERNEL, round(kernel.costs.signal_delivery), kernel.when_begun, f"signal {signo}"
    )


def _push(task: Task, program: Program, after: Then, signo: int = 0) -> None:
    """`program` runs in the place of the task's own, which then goes on with `after`."""
    if task.frames is None:
        task.frames = []
    task.frames.append(Frame(task.program, task.request, task.call, task.side, after, signo))
    task.program, task.side = program, None


def insert(kernel: Kernel, task: Task, program: Program, after: Then) -> None:
    """The task runs another program before its call returns."""
    _push(task, program, after)
    kernel.begin(task)


def over(kernel: Kernel, task: Task) -> None:
    """A handler returns, or what a call ran."""
    assert task.frames
    task.program, task.request, task.call, task.side, after, _ = task.frames.pop()
    if type(task.request) is pause and task.call is not None:  # which that ends
        task.side = None
        kernel.return_from_call(task, None)
    elif task.told:
        interrupt(kernel, task, 0, after)
    else:
        after(task)


def send(kernel: Kernel, task: Task, signo: int) -> None:
    """Send `signo`: real-time signals queue, the others are pending once (signal(7))."""
    if task.pending is None:
        task.pending = []
    if signo < SIGRTMIN and signo in task.pending:
        return
    task.pending.append(signo)
    request = task.request
    if task.sleeping and type(request) is sigtimedwait and signo in request.signals:
        kernel.wake(task)
    else:
        nudge(kernel, task)


def nudge(kernel: Kernel, task: Task) -> None:
    """`task` may have something new to see: at once if it sleeps or runs its own code.

    A signal that is held back wakes nobody: signal(7).
    """
    if not task.told:
        return
    if task.sleeping:
        kernel.wake(task)
    elif kernel.in_own_code(task):
        interrupt(kernel, task, task.until - kernel.now)


def task_work(kernel: Kernel, task: Task, after: Then | None) -> None:
    """io_uring's operations, on the submitter's CPU: in no call (io_uring_enter does its own).

    Their generators are driven as those of calls are; none of them sleeps.
    """
    assert task.work
    operation: Operation = task.work.pop(0)
    call, task.call = task.call, None
    steps = operation.attempt(kernel, task, round(kernel.costs.completion))

    def step(task: Task) -> None:
        try:
            ns = next(steps)
        except StopIteration:
            task.call = call
            if kernel.tape is not None:
                kernel.at_line(task, "", 0)
            if task.told:
                interrupt(kernel, task, 0, after)
            elif after is not None:
                after(task)
        else:
            if kernel.tape is not None:
                kernel.note_line(task, steps)
            kernel.work(task, KERNEL, ns, step, "task work")

    step(task)
