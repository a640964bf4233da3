"""What a run is told in: intervals on lanes, calls, and what became of messages and jobs.

All times are integer nanoseconds from the start of the run.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from errno import errorcode
from typing import NamedTuple

from ..machine.disturbances import Disturbance

__all__ = [
    "ASYNCHRONOUS", "AWAITS", "BLOCKING", "COPY", "FIGURE_6_6", "FOUR_CORNERS", "GIL", "KERNEL",
    "NETWORK", "PHASES", "PROCESS_STATES", "QUEUED", "READY", "SLEEPING", "STEP", "TRANSIT",
    "USER", "WAIT", "Call", "Corner", "Delivery", "Disturbance", "Evidence", "Interval",
    "KernelLine", "Outcome", "Row", "Scan", "Span", "Visit", "Window", "errno_name", "merged",
    "without",
]  # fmt: skip

# States of a process.  `user` and `kernel` hold a core; `ready` wants one; `sleeping` does not.
USER, KERNEL, READY, SLEEPING = PROCESS_STATES = ("user", "kernel", "ready", "sleeping")
# Phases of the data (UNP 6.2 has two of them; `queued` lies between: ready, and nobody copies it).
WAIT, QUEUED, COPY = PHASES = ("wait", "queued", "copy")
NETWORK, TRANSIT = "network", "transit"
Span = tuple[int, int]  # from ns to ns
#: What a task of asyncio does, on a lane of its own: its step, on its loop's core, or it waits.
STEP, AWAITS = "step", "awaits"
GIL = "GIL"  # the note of a sleep in which a thread waits for its process's interpreter lock


def errno_name(errno: int | None) -> str:
    """`EAGAIN` for 11, and so on; an empty string for None (the call succeeded)."""
    return "" if errno is None else errorcode.get(errno, f"errno {errno}")


@dataclass(frozen=True, slots=True)
class Call:
    """One call of one process, of the system or of a pool's library, from its entry to its return.

    `errno` is None when it succeeded.  `line` is the line of the program's file that made it.
    `waits` says whether such a call, made in this way, returns only when there is something for it
    (a blocking recvfrom, select, io_uring_enter); `arms` that it asks to be told later (O_ASYNC, a
    submission).  `nbytes` is the number of bytes that it brought to the program, `sent` of those
    that it took from it.  `trap` False: it did not enter the kernel, but looked into the program's
    own memory (a completion ring).
    """

    id: int
    process: str
    name: str
    start: int
    end: int
    errno: int | None = None
    fd: int | None = None
    line: int | None = None
    waits: bool = False
    arms: bool = False
    nbytes: int = 0
    trap: bool = True
    sent: int = 0


@dataclass(frozen=True, slots=True)
class Interval:
    """A stretch of one lane in one state: `start` <= t < `end`, in ns.

    For a process's lane `call` is the call that it is in (None: in its own code, or in the kernel
    for another reason, which `note` names); for a worker's, the job or the callback that it does.
    For a message's `copy` it is the call for which the kernel copies (None: for no call, as with
    io_uring's task work).  `cut` is its stretch in the run if `Timeline.between` has left less of
    it.
    """

    lane: str
    start: int
    end: int
    state: str
    call: Call | None = None
    message: int | None = None
    note: str = ""
    cut: Span | None = None

    @property
    def whole(self) -> Span:
        """Its start and end in the run, also where only a part of it was cut out; in ns."""
        return self.cut or (self.start, self.end)

    @property
    def duration(self) -> int:
        """Its length in ns."""
        return self.end - self.start

    @property
    def errno(self) -> int | None:
        """The errno of its call, or None."""
        return self.call.errno if self.call else None

    @property
    def fd(self) -> int | None:
        """The descriptor of its call, or None."""
        return self.call.fd if self.call else None

    @property
    def line(self) -> int | None:
        """The source line of its call, or None."""
        return self.call.line if self.call else None


@dataclass(frozen=True, slots=True)
class Delivery:
    """The fate of one message (number 1, 2, ...): `size` bytes on connection `connection`.

    `sent`, `arrived` (in the kernel's receive queue), `received` (the last byte in the program's
    hands) are in ns.  `sent` is None if it is not known: then `arrived` is when the message was
    there at the latest.  `received` is None if the program did not take it all, `dropped` is
    True if the receive buffer had no room (UDP).  `told` is how the program learnt that it was
    there: "return" (of a call that waits), "check" (it asked and found it), "signal" (in its
    handler, or after it waited for one) or "completion".
    """

    message: int
    connection: int
    size: int
    sent: int | None
    arrived: int | None
    received: int | None
    process: str | None = None
    told: str = ""
    dropped: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """The fate of one job that `process` had done: number 1, 2, ... in the order of asking.

    `job` is its number in the story, `call` the call that asked for it.  `asked`, `begun`, `done`
    (its result is there) and `received` (in the program's hands) are in ns, None for what did not
    happen.  `worker` did it; None: the caller itself.  `told` is how the program learnt of the
    result: "return" (of a call that waits), "check" (it asked) or "callback".
    """

    number: int
    job: int
    call: int
    process: str
    asked: int
    begun: int | None = None
    done: int | None = None
    received: int | None = None
    worker: str | None = None
    told: str = ""


@dataclass(frozen=True, slots=True)
class Visit:
    """What client number `client` (0, 1, ...) met with, as it saw it; times in ns.

    It called connect at `begun`; `connected` is the end of the handshake (None: it never was).
    `answered` are the ends of its receive steps, in order, `sent` and `received` counts of bytes.
    `over` is when it had closed (None: its script was not over).  `end`: "" if its script ran to
    its end, "eof" if the server closed before, else the name of the errno that it met.  `garbled`:
    what came back was not what it had sent, in order.
    """

    client: int
    begun: int | None
    connected: int | None
    answered: tuple[int, ...]
    sent: int
    received: int
    over: int | None
    end: str = ""
    garbled: bool = False


@dataclass(frozen=True, slots=True)
class Evidence:
    """What proc(5) said of a thread at one instant: `stat`, `wchan`, `syscall`.

    `process` is the thread's lane; "" for that of a program that has only one.
    """

    at: int
    state: str
    wchan: str
    syscall: str
    process: str = ""


class Window(NamedTuple):
    """A part of a run: from `start` to `end`; the run itself ended at `of`.  In ns."""

    start: int
    end: int
    of: int


class KernelLine(NamedTuple):
    """From `at` on, the kernel's side of a call on `lane` is at `line` of `iosim.sim.<module>`.

    `module` is "" where the call, or task work of io_uring, is over.
    """

    lane: str
    at: int
    module: str
    line: int


class Scan(NamedTuple):
    """From `start` to `end`, in call number `call`, the kernel asked the descriptors `fds` in turn.

    All that select or poll were given, or those on epoll's ready list; `ready` are those of them
    that the call had to tell of.
    """

    call: int
    start: int
    end: int
    fds: tuple[int, ...]
    ready: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Row:
    """One row of UNP Figure 6.6, told by a run.  None: the run had no such phase to show.

    `wait`: "blocked", "checks" or "free"; `copy`: "blocked" or "free"; `starts`: who sets the copy
    off ("program": by a call; "kernel": by itself); `told`: how the program learns of the data
    ("return", "check", "signal", "completion").
    """

    wait: str | None
    copy: str | None
    starts: str | None
    told: str | None

    def agrees(self, expected: Row) -> bool:
        """Does every phase that this run shows look as `expected`?"""
        return all(
            getattr(self, phase) in (None, getattr(expected, phase))
            for phase in ("wait", "copy", "starts")
        )


#: UNP Figure 6.6: the expected answer.  Tests, text and picture take it from here.
FIGURE_6_6 = {
    "blocking": Row("blocked", "blocked", "program", "return"),
    "nonblocking": Row("checks", "blocked", "program", "check"),
    "multiplexing": Row("blocked", "blocked", "program", "return"),
    "signal_driven": Row("free", "blocked", "program", "signal"),
    "asynchronous": Row("free", "free", "kernel", "completion"),
}


@dataclass(frozen=True, slots=True)
class Corner:
    """A call's place by two questions that do not depend on each other, told by a run.

    `call`: "asynchronous" if it returns before the result, which somebody else then completes;
    else "synchronous".  `thread`: "blocking" if the calling thread sleeps in it, or "nonblocking".
    """

    call: str
    thread: str


SYNCHRONOUS, ASYNCHRONOUS, BLOCKING, NONBLOCKING = (
    "synchronous",
    "asynchronous",
    "blocking",
    "nonblocking",
)

#: The expected answers: each program, the calls of it that are asked about, and their corner.
#: For I/O the first question is POSIX's (XBD, "Synchronous I/O Operation"): is the thread that asks
#: for the operation kept from going on until it completes?  So select stands beside recvfrom: it
#: waits for readiness, and the operation itself is done within the next call.
FOUR_CORNERS = {
    "direct": (("call",), Corner(SYNCHRONOUS, NONBLOCKING)),  # of a job that computes
    "apply": (("apply",), Corner(SYNCHRONOUS, BLOCKING)),
    "submit_result": (("submit", "result"), Corner(SYNCHRONOUS, BLOCKING)),
    "submit": (("submit",), Corner(ASYNCHRONOUS, NONBLOCKING)),
    "apply_async": (("apply_async",), Corner(ASYNCHRONOUS, NONBLOCKING)),
    "bounded": (("submit",), Corner(ASYNCHRONOUS, BLOCKING)),  # with its queue full
    "blocking": (("recvfrom",), Corner(SYNCHRONOUS, BLOCKING)),
    "nonblocking": (("recvfrom",), Corner(SYNCHRONOUS, NONBLOCKING)),
    "multiplexing": (("select",), Corner(SYNCHRONOUS, BLOCKING)),
    "signal_driven": (("recvfrom",), Corner(SYNCHRONOUS, NONBLOCKING)),
    "asynchronous": (("io_uring_submit",), Corner(ASYNCHRONOUS, NONBLOCKING)),
}


def merged(spans: Iterable[Span]) -> list[Span]:
    """The union of `spans` as stretches that neither touch nor overlap, in time."""
    union: list[Span] = []
    for start, end in sorted(spans):
        if union and start <= union[-1][1]:
            union[-1] = (union[-1][0], max(end, union[-1][1]))
        else:
            union.append((start, end))
    return union


def without(span: Span, holes: Sequence[Span]) -> Iterator[Span]:
    """What is left of `span` less the `holes`, which are in time and do not overlap."""
    start, end = span
    for place in range(bisect_left(holes, (start, start)), len(holes)):
        hole = holes[place]
        if hole[0] >= end:
            break
        if start < hole[0]:
            yield start, hole[0]
        start = hole[1]
    if start < end:
        yield start, end
