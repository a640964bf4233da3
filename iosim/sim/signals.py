"""Signals, sleeping, and what else a process asks of itself: signal(7)."""

from __future__ import annotations

from errno import EAGAIN

from ..calls import (
    SIG_BLOCK,
    getpid,
    pause,
    sigaction,
    sigprocmask,
    sigtimedwait,
    sleep,
)
from .answers import answers
from .descriptions import failure
from .kernel import Kernel
from .task import FOREVER, Side, Task, asleep

__all__: list[str] = []


@answers(sigaction)
def set_handler(kernel: Kernel, task: Task, request: sigaction) -> None:
    """sigaction(2)."""
    task.handlers = {**(task.handlers or {}), request.signo: request.handler}


@answers(sigprocmask)
def hold_back(kernel: Kernel, task: Task, request: sigprocmask) -> None:
    """sigprocmask(2)."""
    held, named = task.blocked or set(), set(request.signals)
    task.blocked = held | named if request.how == SIG_BLOCK else held - named


@answers(sigtimedwait)
def take_signal(kernel: Kernel, task: Task, request: sigtimedwait) -> Side:
    """sigtimedwait(2): it is taken, so that no handler runs."""
    until = kernel.deadline(request.timeout)
    while True:
        pending = task.pending or []
        signo = next((signo for signo in pending if signo in request.signals), None)
        if signo is not None:
            pending.remove(signo)
            task.notice = "signal"
            return signo
        if kernel.passed(until):
            raise failure(EAGAIN)
        yield asleep(until)


@answers(pause)
def wait_for_handler(kernel: Kernel, task: Task, request: pause) -> Side:
    """pause(2): the end of a handler ends it, too (`Kernel`)."""
    while True:
        yield FOREVER


@answers(sleep)
def nanosleep(kernel: Kernel, task: Task, request: sleep) -> Side:
    """clock_nanosleep(2): a handler does not make it shorter (PEP 475)."""
    until = kernel.now + request.ns
    while kernel.now < until:
        yield asleep(until)


@answers(getpid)
def own_number(kernel: Kernel, task: Task, request: getpid) -> int:
    """getpid(2): processes are numbered from 1."""
    return 1 + kernel.processes.index(task)
