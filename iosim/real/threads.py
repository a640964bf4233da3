"""The program's own threads, each a thread of this process with a lane and a meter of its own.

And what of the program needs no kernel's object: its number, and its sleep.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from errno import ESRCH
from functools import partial
from typing import TYPE_CHECKING

from ..calls import Program, getpid, pthread_create, pthread_join, sleep
from ..kernels.resource_limits import beginning
from ..kernels.watchdog import Expired
from .answers import Prepared, answers, as_it_is, nothing
from .descriptors import failure
from .driver import Driver
from .features import Unsupported
from .measured import Thread
from .signals import NoSignals

if TYPE_CHECKING:
    from .process import Process

__all__ = ["Threads"]

JOIN_S = 5.0  # for threads to end, once their sockets are shut
MOST_TOLD = 4  # threads


class Threads:
    """Those that the program has begun, by their number; `trouble` is what went wrong in them.

    in_time  raises `Expired` when the run's time is up: its first thread, which would stop them,
             may wait long for the interpreter's lock while one of them polls
    """

    def __init__(self, process: Process, limit_s: float, in_time: Callable[[], None]) -> None:
        self._process, self.limit_s, self.zero = process, limit_s, 0
        self._in_time = in_time
        self._until = time.monotonic() + limit_s
        self._threads: list[threading.Thread] = []
        self._over: list[threading.Event] = []
        self._at_work: dict[int, Driver] = {}  # by their number
        self._stopping = threading.Event()
        self.trouble: list[BaseException] = []

    def begin(self, program: Program) -> int:
        """Run `program` in a new one; its number.  OSError (EAGAIN) where there is none."""
        number = len(self._threads) + 1
        lane, over = Thread(f"thread {number}", 0), threading.Event()
        thread = threading.Thread(
            target=self._run, args=(program, number, lane, over), name=lane.name, daemon=True
        )
        self._threads.append(thread)
        self._over.append(over)
        self._process.run.threads.append(lane)
        self._process.outside.begun(number)
        try:
            with beginning("a thread of the program"):  # EAGAIN, where Python has a RuntimeError
                thread.start()
        except OSError:
            self._process.outside.ended(number)
            self._threads.remove(thread)
            self._over.remove(over)
            self._process.run.threads.remove(lane)
            raise
        return number

    def over(self, number: int) -> threading.Event:
        """Is set when it is over.  ESRCH if there is none.

        (Not Thread.join: if an alarm interrupts it, CPython 3.11 takes the thread for stopped.)
        """
        if number > len(self._over):
            raise failure(ESRCH)
        return self._over[number - 1]

    def _run(self, program: Program, number: int, lane: Thread, over: threading.Event) -> None:
        with ExitStack() as stack:
            driver = Driver(
                self._process, lane.name, lane.stretches, NoSignals(), self._check, stack, True
            )
            driver.zero = self.zero
            driver.gate = self._process.outside.gate(self._process, number)
            lane.start = driver.now()
            self._at_work[number] = driver
            try:
                driver.drive(program)
            except Expired:
                pass
            except BaseException as error:
                self._complain(driver, error)
            finally:
                program.close()
                del self._at_work[number]
                lane.end = driver.now()
                self._process.outside.ended(number)
                over.set()

    def where(self) -> list[str]:
        """What those that are at work are at; the first ones."""
        at_work = sorted(self._at_work.copy().items())[:MOST_TOLD]
        return [f"thread {number} in {driver.where()}" for number, driver in at_work]

    def _complain(self, driver: Driver, error: BaseException) -> None:
        """It is the program's error, and who waits for this thread must not wait for ever."""
        try:
            driver.explain(error)
        except Unsupported as better:
            error = better
        self.trouble.append(error)
        self._process.descriptors.shut()

    def _check(self) -> None:
        """A thread is stopped when its process is."""
        if self._stopping.is_set():
            raise Expired
        self._in_time()

    def left_s(self) -> float:
        """Seconds until the run is stopped."""
        return max(0.0, self._until - time.monotonic())

    def complain(self, check: Callable[[], None]) -> None:
        """What went wrong in a thread is the program's error; unless `check` knows better."""
        if self.trouble:
            check()
            raise self.trouble[0]

    def stop(self) -> None:
        """None is left: whatever they wait for ends."""
        self._stopping.set()
        started = [thread for thread in self._threads if thread.ident is not None]
        if not all(over.is_set() for over in self._over):
            self._process.descriptors.shut()
        until = max(time.monotonic(), self._until) + JOIN_S  # one in poll may wake up as late
        for thread in started:
            thread.join(max(0.0, until - time.monotonic()))


@answers(pthread_create)
def _pthread_create(driver: Driver, request: pthread_create) -> Prepared:
    return partial(driver.process.threads.begin, request.start), as_it_is


@answers(pthread_join)
def _pthread_join(driver: Driver, request: pthread_join) -> Prepared:
    return driver.process.threads.over(request.thread).wait, nothing


@answers(sleep)
def _sleep(driver: Driver, request: sleep) -> Prepared:
    # outside of the main thread nothing else ends a sleep: it must not pass the limit
    return partial(time.sleep, min(request.ns / 1e9, driver.process.threads.left_s())), nothing


@answers(getpid)
def _getpid(driver: Driver, request: getpid) -> Prepared:
    return os.getpid, as_it_is
