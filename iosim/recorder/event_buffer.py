"""What a recorder takes down in each thread: stamps of the calls, and looks at the thread itself.

A `Track` belongs to one thread.  It holds one *stamp* for each call (what, when, how it ended) and,
after a call or a stretch of own code that took long, a *look* at what the thread had used up by
then.  Nothing is made sense of here: a stamp must cost next to nothing.
"""

from __future__ import annotations

import threading
from contextlib import ExitStack
from time import perf_counter_ns as clock
from types import CodeType
from typing import Any, NamedTuple, Protocol

from ..machine import procfs
from ..machine.clocks import cpu_clock
from ..real.accounting import Meter

__all__ = [
    "GAP_NS", "LONG_NS", "NOT_MADE", "OFF_NS", "CallGate", "Look", "Row", "Stamp", "Start",
    "Track",
]  # fmt: skip

LONG_NS = 20_000  # a call that took longer is looked into: did the thread run all the time?
GAP_NS = 100_000  # and so is own code
OFF_NS = 3_000  # off its core for no longer than this: it ran
NOT_MADE = ""  # the outcome of a Python call that was refused before it became a system call

Row = tuple[Any, ...]  # a stamp, a look or a start: a plain tuple costs least


class Stamp(NamedTuple):
    """One call: the Python name, its descriptor and time-out (s), where it was made, when.

    `extra` are a receive's flags, the bytes offered to a send, whether an ioctl sets O_NONBLOCK.
    `outcome` is what came of it: bytes, a new descriptor, a tuple of what is ready; the negative
    errno; None after a time-out of Python's; NOT_MADE.
    """

    what: str
    fd: int | None
    timeout: float | None
    extra: int
    code: CodeType
    lasti: int
    start: int
    end: int
    outcome: object


class Look(NamedTuple):
    """What a thread had used up by `at` (ns, times), when what ended at `upto` had just ended."""

    upto: int
    at: int
    cpu: int
    queued: int
    switches: int


class Start(NamedTuple):
    """The descriptor `fd` is a connection that is recorded from `at` on."""

    fd: int
    at: int


class CallGate(Protocol):
    """Whoever is told of each call, before and after it."""

    def before(self, what: str, fd: int | None, timeout: float | None) -> None:
        """`what` is about to be called, for up to `timeout` s (None: for ever)."""
        ...

    def after(self, what: str, place: object, result: object) -> None:
        """It has returned; a BlockingIOError, if it would have had to wait."""
        ...


class Track:
    """What is taken down in one thread, by itself; its own code takes long from `due` on.

    `raw` holds stamps, looks and starts as plain tuples, which cost least; their lengths tell which
    is which.
    """

    __slots__ = (
        "_at", "_cpu", "_meter", "_seen", "add", "due", "gate", "ident", "name", "raw", "tid",
    )  # fmt: skip

    def __init__(self, stack: ExitStack, queues: bool, gate: CallGate | None = None) -> None:
        self.gate = gate
        self.name = threading.current_thread().name
        self.ident = threading.get_ident()
        self.tid = threading.get_native_id()
        self.raw: list[Row] = []
        self.add = self.raw.append
        self._meter = Meter(stack, queues)
        self._at = self._cpu = 0
        self._seen = (0, 0)
        self.due = self.look() + GAP_NS

    def look(self, upto: int | None = None) -> int:
        """At the end of what ended at `upto`, or of own code that ends now; returns that end.

        The run queue and the switches are only read if the CPU time does not account for the time.
        """
        at, cpu = clock(), cpu_clock()
        if (at - self._at) - (cpu - self._cpu) > OFF_NS:
            try:
                self._seen = self._meter.off_core()
            except (OSError, ValueError, IndexError):  # the recording ends in another thread
                pass
        self._at, self._cpu = at, cpu
        upto = clock() if upto is None else upto
        self.add((upto, at, cpu, *self._seen))
        return upto

    def look_from_outside(self, at: int) -> Look | None:
        """The same from another thread, by what /proc tells; None if this thread is over."""
        schedule = procfs.schedstat("self", self.tid)
        if schedule is None:
            return None
        asleep = procfs.state("self", self.tid) in ("S", "D")
        queued, switches = self._seen
        return Look(at, at, schedule[0], max(queued, schedule[1]), switches + asleep)

    def stop(self) -> None:
        """Whatever is still called in this thread leaves no stamp any more."""
        self.add = _forget


def _forget(_: Row) -> None:
    return None
