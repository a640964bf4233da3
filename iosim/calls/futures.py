"""The vocabulary of a pool of workers: the calls by which a program has its jobs done.

The names are those of PEP 3148 (`concurrent.futures`), and beside them those of
`multiprocessing.Pool` for the same thing: `apply_async` is `submit`, `get` is `result`, `ready` is
`done`.  Every pool answers both.  A job is named by its number in the story, from 1; `submit`
replies with a future, also a number from 1.  Times are in ns.

    future = yield submit(job)
    value = yield result(future)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from ..validate import whole
from .request import (
    ASKS,
    FETCHES,
    HANDS_IN,
    PASSES,
    RECEIVES,
    Bound,
    Program,
    Request,
    Waiting,
    WithTimeout,
)

__all__ = [
    "Callback", "add_done_callback", "apply", "apply_async", "call", "done", "get", "ready",
    "result", "submit", "wait",
]  # fmt: skip

MAX_NUMBER = 1_000_000
A_JOB: Bound = (1, MAX_NUMBER, "(a job)")
A_FUTURE: Bound = (1, MAX_NUMBER, "(a future)")

#: Told of a result: a program of one argument, the job's value (None if it failed).  It may compute
#: and sleep, and runs in whatever thread learns of the result first.
Callback = Callable[[int | None], Program]


def _callback(name: str, callback: object) -> None:
    if not callable(callback):
        raise TypeError(f"{name}: callback must be a program, got {callback!r}")


@dataclass(slots=True, eq=False)
class call(Waiting):
    """Do the job oneself: an ordinary call of a function.  No pool has a part in it.

    Replies with its value; raises what it raises.
    """

    role: ClassVar[str] = PASSES
    enters: ClassVar[bool] = False
    bounds: ClassVar[dict[str, Bound]] = {"job": A_JOB}
    job: int

    def sleeps(self, nonblocking: bool) -> bool:
        """What it does is one's own code."""
        return False


@dataclass(slots=True, eq=False)
class apply(Waiting):
    """Have the job done by a worker, and wait for its value: `multiprocessing.Pool.apply`.

    It is `apply_async(...).get()` (Lib/multiprocessing/pool.py).  Raises what the job raises.
    """

    role: ClassVar[str] = RECEIVES
    bounds: ClassVar[dict[str, Bound]] = {"job": A_JOB}
    job: int


@dataclass(slots=True, eq=False)
class submit(Request):
    """Have the job done by a worker, and go on: `Executor.submit` (PEP 3148).  Gives a future.

    `callback` is called with the value.  The pools of the standard library take any number of jobs.
    With `room` the call first waits until fewer than so many are not done: a bounded queue.
    """

    role: ClassVar[str] = HANDS_IN
    arms: ClassVar[bool] = True
    job: int
    callback: Callback | None = None
    room: int | None = None

    def __post_init__(self) -> None:
        self.check("job", *A_JOB)
        if self.callback is not None:
            _callback(type(self).__name__, self.callback)
        if self.room is not None:
            self.check("room", 1, MAX_NUMBER, "jobs")

    def waits(self, nonblocking: bool) -> bool:
        """If its queue is bounded."""
        return self.room is not None

    def sleeps(self, nonblocking: bool) -> bool:
        """There are locks in it."""
        return True


class apply_async(submit):
    """`submit`, by the name of `multiprocessing.Pool.apply_async`."""

    __slots__ = ()


@dataclass(slots=True, eq=False)
class result(WithTimeout):
    """The value of a future, which is waited for: `Future.result`.  Raises what the job raised.

    TimeoutError after `timeout` ns (None: waits for ever, 0: does not wait); the job goes on.
    """

    role: ClassVar[str] = FETCHES
    future: int
    timeout: int | None = None

    def __post_init__(self) -> None:
        self.check("future", *A_FUTURE)
        self.check_timeout()

    def sleeps(self, nonblocking: bool) -> bool:
        """There are locks in it, whatever its time-out is."""
        return True


class get(result):
    """`result`, by the name of `multiprocessing.pool.AsyncResult.get`."""

    __slots__ = ()


@dataclass(slots=True, eq=False)
class done(Request):
    """Is there a result, or an error, by now?  `Future.done`.  Not a call: looks into memory."""

    role: ClassVar[str] = ASKS
    trap: ClassVar[bool] = False
    bounds: ClassVar[dict[str, Bound]] = {"future": A_FUTURE}
    future: int


class ready(done):
    """`done`, by the name of `multiprocessing.pool.AsyncResult.ready`."""

    __slots__ = ()


@dataclass(slots=True, eq=False)
class wait(WithTimeout):
    """Wait until all `futures` are done: `concurrent.futures.wait`, `AsyncResult.wait`.

    Replies with those that are, fewer than all of them after `timeout` ns.
    """

    role: ClassVar[str] = ASKS
    futures: Sequence[int]
    timeout: int | None = None

    def __post_init__(self) -> None:
        for future in self.futures:
            whole("wait: future", future, *A_FUTURE)
        self.check_timeout()

    def sleeps(self, nonblocking: bool) -> bool:
        """There are locks in it, whatever its time-out is."""
        return True


@dataclass(slots=True, eq=False)
class add_done_callback(Request):
    """Call `callback` with the future's value once there is one: `Future.add_done_callback`.

    If it is done already, the caller itself runs it, at once (PEP 3148).
    """

    role: ClassVar[str] = HANDS_IN
    future: int
    callback: Callback

    def __post_init__(self) -> None:
        self.check("future", *A_FUTURE)
        _callback("add_done_callback", self.callback)

    def sleeps(self, nonblocking: bool) -> bool:
        """There are locks in it."""
        return True
