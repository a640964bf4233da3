"""Threads: they share all descriptors (clone(2), CLONE_FILES)."""

from __future__ import annotations

from errno import ESRCH

from ..calls import pthread_create, pthread_join
from .answers import answers
from .descriptions import failure
from .kernel import Kernel
from .task import FOREVER, Side, Task

__all__: list[str] = []


@answers(pthread_create)
def start_thread(kernel: Kernel, task: Task, request: pthread_create) -> Side:
    """pthread_create(3)."""
    clone = round(kernel.costs.clone)
    if clone:
        yield clone
    return kernel.spawn_thread(request.start)


@answers(pthread_join)
def await_thread(kernel: Kernel, task: Task, request: pthread_join) -> Side:
    """pthread_join(3)."""
    if request.thread > len(kernel.threads):
        raise failure(ESRCH)
    thread = kernel.threads[request.thread - 1]
    while thread.program is not None:
        kernel.when_over.setdefault(thread, []).append(task)
        yield FOREVER
