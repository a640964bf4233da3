"""Synchronous and asynchronous calls, each a program of a few lines; they return all values.

A program's first parameter is `jobs`: the numbers of the jobs in its story.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..calls import Program, Request, compute, futures, ms, sleep

__all__ = [
    "apply", "apply_async", "bounded", "callback", "direct", "give_up", "notification", "status",
    "status_sleeping", "submit", "submit_result",
]  # fmt: skip

OTHER_WORK, NAP = compute(ms(1)), sleep(ms(5))


def direct(jobs: Sequence[int]) -> Program:
    """Call the function: the caller does the job itself."""
    values = []
    for job in jobs:
        values.append((yield futures.call(job)))
    return values


def apply(jobs: Sequence[int]) -> Program:
    """`Pool.apply`: a worker does it, and the caller waits in place."""
    values = []
    for job in jobs:
        values.append((yield futures.apply(job)))
    return values


def submit_result(jobs: Sequence[int]) -> Program:
    """`Executor().submit(...).result()`: asynchronous, and made synchronous at once."""
    values = []
    for job in jobs:
        future = yield futures.submit(job)
        values.append((yield futures.result(future)))
    return values


def submit(jobs: Sequence[int], work: Request = OTHER_WORK) -> Program:
    """`Executor.submit`: all of them, then other work, then the results."""
    started, values = [], []
    for job in jobs:
        started.append((yield futures.submit(job)))
    yield work
    for future in started:
        values.append((yield futures.result(future)))
    return values


def apply_async(jobs: Sequence[int], work: Request = OTHER_WORK) -> Program:
    """`Pool.apply_async`: as `submit`, by the other library's names."""
    started, values = [], []
    for job in jobs:
        started.append((yield futures.apply_async(job)))
    yield work
    for future in started:
        values.append((yield futures.get(future)))
    return values


def bounded(jobs: Sequence[int], room: int = 1) -> Program:
    """`submit` to a queue with an end: asynchronous, and yet it blocks when there is no room."""
    started, values = [], []
    for job in jobs:
        started.append((yield futures.submit(job, room=room)))
    for future in started:
        values.append((yield futures.result(future)))
    return values


def status(jobs: Sequence[int], between: Request = OTHER_WORK) -> Program:
    """Told by status: look again and again whether it is done, with something `between`."""
    started, values = [], []
    for job in jobs:
        started.append((yield futures.submit(job)))
    for future in started:
        while not (yield futures.done(future)):
            yield between
        values.append((yield futures.result(future)))
    return values


def status_sleeping(jobs: Sequence[int], between: Request = NAP) -> Program:
    """Told by status, asleep between two looks."""
    return (yield from status(jobs, between))


def notification(jobs: Sequence[int]) -> Program:
    """Told by notification: sleep until the library says that all are done."""
    started, values = [], []
    for job in jobs:
        started.append((yield futures.submit(job)))
    for future in (yield futures.wait(started)):
        values.append((yield futures.result(future)))
    return values


def callback(
    jobs: Sequence[int], work: Request = OTHER_WORK, slow: int = ms(0.1),
    then: Callable[[Any], None] = lambda value: None,
) -> Program:  # fmt: skip
    """Told by callback, which takes `slow` ns, while the caller goes on with its own `work`."""
    values: list[Any] = []

    def told(value: Any) -> Program:
        values.append(value)
        then(value)
        yield compute(slow)

    for job in jobs:
        yield futures.submit(job, told)
    while len(values) < len(jobs):
        yield work
    return values


def give_up(jobs: Sequence[int], timeout: int = ms(5)) -> Program:
    """`result(timeout)`: stop waiting after `timeout` ns; the job itself goes on."""
    values = []
    for job in jobs:
        future = yield futures.submit(job)
        try:
            values.append((yield futures.result(future, timeout)))
        except TimeoutError:
            values.append(None)
    return values
