"""What a thread used up, and when its data arrived, on the clock of the run."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from time import perf_counter_ns as clock

from ..machine.clocks import cpu_clock
from .features import Ancillary, read_stamp
from .measured import Usage

__all__ = ["Meter", "WallClock", "wall_clock"]


class Meter:
    """What the scheduler says that this thread used.

    Its own clock gives CPU time to the ns; schedstat's CPU time is only as new as the last tick or
    switch, but its time in the run queue is exact, as it changes only when that ends.
    `queues` False: do without schedstat, which takes a descriptor.
    """

    def __init__(self, stack: ExitStack, queues: bool = True) -> None:
        self._file: int | None = None
        try:
            if queues:
                path = f"/proc/self/task/{threading.get_native_id()}/schedstat"
                self._file = os.open(path, os.O_RDONLY)
                stack.callback(os.close, self._file)
        except OSError:
            pass
        self.switches = _switches()  # how often it gave its core away

    def off_core(self) -> tuple[int, int]:
        """(ns in the run queue, times that it gave its core away), up to now.

        The switches first: pread lets go of the GIL, and to wait for it is a switch as well, which
        belongs to what comes next.
        """
        switches = self.switches()
        queued = 0 if self._file is None else int(os.pread(self._file, 64, 0).split()[1])
        return queued, switches

    def read(self) -> Usage:
        """Before a call: the CPU time last, so that reading does not count."""
        queued, switches = self.off_core()
        return Usage(cpu_clock(), queued, switches)

    def since(self, before: Usage) -> Usage:
        """After it: the CPU time first."""
        cpu = cpu_clock() - before.cpu
        queued, switches = self.off_core()
        return Usage(max(0, cpu), max(0, queued - before.queued), switches - before.switches)


def _switches() -> Callable[[], int]:
    """A function that counts how often this thread gave its core away: getrusage(2)."""
    try:
        import resource

        who = resource.RUSAGE_THREAD
    except (ImportError, AttributeError):  # then every call that may sleep is taken to sleep
        numbers = iter(range(sys.maxsize))
        return lambda: next(numbers)
    return lambda: resource.getrusage(who).ru_nvcsw


class WallClock:
    """Turns the kernel's arrival stamps (CLOCK_REALTIME) into times of the run."""

    def __init__(self, offset: int) -> None:
        self._offset = offset
        self.zero = 0

    @property
    def began(self) -> int:
        """The start of the run in ns of CLOCK_REALTIME."""
        return self.zero + self._offset

    def at(self, ancillary: Ancillary) -> int | None:
        """When the stamped bytes arrived, or None."""
        stamped = read_stamp(ancillary)
        return None if stamped is None else stamped - self._offset - self.zero


def wall_clock() -> WallClock:
    """The tightest of 20 pairs of readings tells the offset between the two clocks."""
    pairs = []
    for _ in range(20):
        before, wall, after = clock(), time.time_ns(), clock()
        pairs.append((after - before, wall - (before + after) // 2))
    return WallClock(min(pairs)[1])
