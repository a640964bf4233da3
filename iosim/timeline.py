"""What happened: the one product of every kernel, and the questions that can be put to it.

All times are integer nanoseconds from the start of the run.  A run is told on *lanes*:

- one for each process (`user`, `kernel`, `ready`, `sleeping`): these intervals tile its life;
- one for each message (`wait`, `queued`, `copy`): the kernel's work on that piece of data, from the
  start of the run until its last byte is in the program's hands; or one for each connection, on
  which the messages follow each other;
- one for each job of a pool (`wait`, `queued`): until its result is there, and until it is fetched;
- the `network` (`transit`): a message on its way, from the sender's call to its arrival.

Nothing in a timeline says "blocked".  That is derived, by joining the two kinds of lanes.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from errno import EAGAIN, errorcode
from functools import cached_property
from itertools import accumulate, chain, pairwise
from typing import Any, NamedTuple

from .shown import bundle, picture

__all__ = [
    "COPY", "FIGURE_6_6", "FOUR_CORNERS", "GIL", "KERNEL", "NETWORK", "PROCESS_STATES", "QUEUED",
    "READY", "SLEEPING", "TRANSIT", "USER", "WAIT", "Broken", "Call", "Corner", "Delivery",
    "Disturbance", "Evidence", "Interval", "KernelLine", "Outcome", "Row", "Timeline", "Visit",
    "errno_name", "merged",
]  # fmt: skip

# States of a process.  `user` and `kernel` hold a core; `ready` wants one; `sleeping` does not.
USER, KERNEL, READY, SLEEPING = PROCESS_STATES = ("user", "kernel", "ready", "sleeping")
# Phases of the data (UNP 6.2 has two of them; `queued` lies between: ready, and nobody copies it).
WAIT, QUEUED, COPY = PHASES = ("wait", "queued", "copy")
NETWORK, TRANSIT = "network", "transit"
GIL = "GIL"  # the note of a sleep in which a thread waits for its process's interpreter lock


class Broken(AssertionError):
    """A timeline contradicts itself: one of the invariants does not hold."""


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
    io_uring's task work).
    """

    lane: str
    start: int
    end: int
    state: str
    call: Call | None = None
    message: int | None = None
    note: str = ""

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
    hands) are in ns.  `sent` is None if the sender is not known: then `arrived` is when the message
    was there at the latest.  `received` is None if the program did not take it all, `dropped` is
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


class KernelLine(NamedTuple):
    """From `at` on, the kernel's side of a call on `lane` is at `line` of `iosim.sim.<module>`.

    `module` is "" where the call, or task work of io_uring, is over.
    """

    lane: str
    at: int
    module: str
    line: int


@dataclass(frozen=True, slots=True)
class Disturbance:
    """What other work did to a real run, in a few words, and for how long in all: `ns`.

    Told by the scheduler, the host or the sender's clock, never by what the run came out as.
    """

    what: str
    ns: int


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


_SYNC, _ASYNC, _BLOCKING, _NOT = "synchronous", "asynchronous", "blocking", "nonblocking"

#: The expected answers: each program, the calls of it that are asked about, and their corner.
#: For I/O the first question is POSIX's (XBD, "Synchronous I/O Operation"): is the thread that asks
#: for the operation kept from going on until it completes?  So select stands beside recvfrom: it
#: waits for readiness, and the operation itself is done within the next call.
FOUR_CORNERS = {
    "direct": (("call",), Corner(_SYNC, _NOT)),  # of a job that computes
    "apply": (("apply",), Corner(_SYNC, _BLOCKING)),
    "submit_result": (("submit", "result"), Corner(_SYNC, _BLOCKING)),
    "submit": (("submit",), Corner(_ASYNC, _NOT)),
    "apply_async": (("apply_async",), Corner(_ASYNC, _NOT)),
    "bounded": (("submit",), Corner(_ASYNC, _BLOCKING)),  # with its queue full
    "blocking": (("recvfrom",), Corner(_SYNC, _BLOCKING)),
    "nonblocking": (("recvfrom",), Corner(_SYNC, _NOT)),
    "multiplexing": (("select",), Corner(_SYNC, _BLOCKING)),
    "signal_driven": (("recvfrom",), Corner(_SYNC, _NOT)),
    "asynchronous": (("io_uring_submit",), Corner(_ASYNC, _NOT)),
}

Span = tuple[int, int]


def merged(spans: Iterable[Span]) -> list[Span]:
    """The union of `spans` as stretches that neither touch nor overlap, in time."""
    union: list[Span] = []
    for start, end in sorted(spans):
        if union and start <= union[-1][1]:
            union[-1] = (union[-1][0], max(end, union[-1][1]))
        else:
            union.append((start, end))
    return union


def _visit(plain: dict[str, Any]) -> Visit:
    return Visit(**{**plain, "answered": tuple(plain["answered"])})


def _came(fate: Delivery | Outcome) -> bool:
    """Did what was waited for come, before the run was over?"""
    return (fate.done if isinstance(fate, Outcome) else fate.arrived) is not None


def _union(spans: Iterable[Span]) -> int:
    """The length in ns of the union of `spans`."""
    return sum(end - start for start, end in merged(spans))


def _meet(a: Interval, b: Interval) -> Span | None:
    start, end = max(a.start, b.start), min(a.end, b.end)
    return (start, end) if start < end else None


class _Sleeps:
    """A lane's sleeps in calls, in time, to be asked for those in a call that an instant ended.

    Calls may lie within each other (a signal's handler makes some): `reach` is the last end so far.
    """

    def __init__(self, row: Sequence[Interval]) -> None:
        self.row = row
        self.starts = [sleep.start for sleep in row]
        self.reach = list(accumulate((i.call.end if i.call else 0 for i in row), max))

    def ended_by(self, at: int) -> list[Interval]:
        """Those before `at` in a call that was under way then."""
        found: list[Interval] = []
        place = bisect_left(self.starts, at) - 1
        while place >= 0 and self.reach[place] >= at:
            call = self.row[place].call
            if call and call.start < at <= call.end:
                found.append(self.row[place])
            place -= 1
        return found[::-1]


@dataclass(frozen=True)
class Timeline:
    """A run: what each process did and what became of each message.  Immutable.

    `kernel` is "simulated", "measured", "recorded" or "witnessed"; `title` names the program;
    `processes` lists the lanes of the program's own processes (a library's helper thread is in
    `helpers`); `source` is the program's text and `first_line` the number of its first line in its
    file.  `kernel_lines`, of a simulated run, are those of the kernel's own text that it went
    through.
    """

    title: str
    kernel: str
    cores: int
    intervals: tuple[Interval, ...]
    call_log: tuple[Call, ...]
    deliveries: tuple[Delivery, ...]
    processes: tuple[str, ...]
    helpers: tuple[str, ...] = ()
    evidence: tuple[Evidence, ...] = ()
    machine: str = ""
    source: str = field(default="", repr=False)
    first_line: int = 1
    outcomes: tuple[Outcome, ...] = ()
    visits: tuple[Visit, ...] = ()
    disturbances: tuple[Disturbance, ...] = ()
    kernel_lines: tuple[KernelLine, ...] = field(default=(), repr=False)

    def __repr__(self) -> str:
        data = f"{len(self.outcomes)} jobs" if self.outcomes else f"{len(self.deliveries)} messages"
        return (
            f"<Timeline of {self.title}, {self.kernel}: {len(self.call_log)} calls, "
            f"{data}, {self.end / 1e6:.3f} ms>"
        )

    def __str__(self) -> str:
        from .draw import text

        return text(self)

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        from .draw import svg

        return bundle(str(self), picture(svg(self)))

    def plot(self, ax: Any = None) -> Any:
        """Draw the lanes on matplotlib's `ax` (a new one if None) and return it."""
        from .draw import plot

        return plot(self, ax)

    # -- what is in it -------------------------------------------------------------------------

    @property
    def start(self) -> int:
        """The first instant of the run, 0, or of the part that `between` cut out; in ns."""
        return min((i.start for i in self.intervals), default=0)

    @property
    def end(self) -> int:
        """The last instant of the run, in ns."""
        return max((i.end for i in self.intervals), default=0)

    @cached_property
    def _by_lane(self) -> dict[str, tuple[Interval, ...]]:
        """The one index: each lane's intervals, in time; processes first."""
        rows: dict[str, list[Interval]] = {name: [] for name in (*self.processes, *self.helpers)}
        network: list[Interval] = []
        for interval in self.intervals:
            if interval.lane == NETWORK:
                network.append(interval)
            elif interval.lane in rows or interval.state in PHASES:
                rows.setdefault(interval.lane, []).append(interval)
        rows |= {NETWORK: network} if network else {}
        return {name: tuple(row) for name, row in rows.items()}

    @property
    def lanes(self) -> tuple[str, ...]:
        """The names of the lanes, processes first, then helpers, messages and the network."""
        return tuple(self._by_lane)

    def lane(self, name: str) -> tuple[Interval, ...]:
        """The intervals of one lane, in time.  ValueError if there is no such lane."""
        if name not in self._by_lane:
            raise ValueError(f"no lane {name!r}: the lanes are {', '.join(self.lanes)}")
        return self._by_lane[name]

    def _of_program(self) -> Iterator[Interval]:
        """The intervals of the program's own processes, lane by lane."""
        return chain.from_iterable(map(self.lane, self.processes))

    def calls(self, process: str | None = None) -> list[tuple[str, int | None]]:
        """`(call, errno or None)` in order; of the program, or of one `process`."""
        wanted = set(self.processes if process is None else (process,))
        return [(c.name, c.errno) for c in self.call_log if c.process in wanted and c.trap]

    def time_in(self, state: str, process: str | None = None) -> int:
        """ns that the program's processes (or one `process`) spent in one of the four states."""
        if state not in PROCESS_STATES:
            raise ValueError(f"no state {state!r}: the states are {', '.join(PROCESS_STATES)}")
        lane = self._of_program() if process is None else self._by_lane.get(process, ())
        return sum(i.duration for i in lane if i.state == state)

    def cpu_ns(self) -> int:
        """CPU time of the program, its own code and the kernel's for it, in ns."""
        return self.time_in(USER) + self.time_in(KERNEL)

    def cpu_while(self, phase: str) -> int:
        """The part of `cpu_ns` during which a message was in `phase`, in ns.

        `cpu_while("wait")` is what it costs to wait.  ValueError for what is no phase.
        """
        if phase not in PHASES:
            raise ValueError(f"no phase {phase!r}: the phases are {', '.join(PHASES)}")
        spans = merged((i.start, i.end) for i in self.intervals if i.state == phase)
        busy = (i for i in self._of_program() if i.state in (USER, KERNEL))
        return sum(
            max(0, min(i.end, end) - max(i.start, start)) for i in busy for start, end in spans
        )

    def switches(self) -> tuple[int, int]:
        """(voluntary, involuntary) context switches: off the core to sleep, and to wait in line."""
        counts = {SLEEPING: 0, READY: 0}
        for process in self.processes:
            for before, after in pairwise(self.lane(process)):
                if before.state in (USER, KERNEL) and after.state in counts:
                    counts[after.state] += 1
        return counts[SLEEPING], counts[READY]

    # -- the join: who is blocked by what ------------------------------------------------------

    def _phases(self, phase: str) -> Iterator[tuple[Interval, Delivery | Outcome]]:
        fates: dict[int, Delivery | Outcome] = {d.message: d for d in self.deliveries}
        fates |= {outcome.number: outcome for outcome in self.outcomes}
        for interval in self.intervals:
            if interval.state == phase and interval.message is not None:
                yield interval, fates[interval.message]

    def blocked_spans(self, phase: str) -> list[Span]:
        """The stretches `(start, end)` in which the program was blocked in `phase`, in ns.

        *wait*: asleep, in a call that returns only when that phase is over and that was under way
        when it ended.  *copy*: inside the call for which the kernel copies.
        ValueError for any other phase.
        """
        if phase not in (WAIT, COPY):
            raise ValueError(f"no phase {phase!r}: the phases are {WAIT}, {COPY}")
        return self._blocked_in_wait() if phase == WAIT else self._blocked_in_copy()

    def _blocked_in_wait(self) -> list[Span]:
        asleep: dict[str | None, list[Interval]] = {}
        for i in self._of_program():
            if i.state == SLEEPING and i.call and i.call.waits:
                asleep.setdefault(i.lane, []).append(i)
        sleeps = {lane: _Sleeps(row) for lane, row in asleep.items()}
        return [
            span
            for phase, fate in self._phases(WAIT) if fate.process in sleeps and _came(fate)
            for sleep in sleeps[fate.process].ended_by(phase.end)
            if (span := _meet(sleep, phase))
        ]  # fmt: skip

    def _blocked_in_copy(self) -> list[Span]:
        return [(c.start, c.end) for c, _ in self._phases(COPY) if self._for_the_program(c)]

    def _for_the_program(self, copy: Interval) -> bool:
        """Is this copy made within a call of the program?"""
        return copy.call is not None and copy.call.process in self.processes

    def blocked(self, phase: str) -> int:
        """ns in which the program could not go on because of `phase` ("wait" or "copy")."""
        return _union(self.blocked_spans(phase))

    def checks(self) -> int:
        """How many calls looked for data and came back with EAGAIN."""
        return sum(errno == EAGAIN for _, errno in self.calls())

    def latency_ns(self, message: int = 1) -> int:
        """ns from the arrival of message number `message` to its data in the program's hands.

        ValueError if there is no such message or the program did not receive it.
        """
        for fate in self.deliveries:
            if fate.message == message:
                if fate.arrived is None or fate.received is None:
                    raise ValueError(f"message {message} was not received")
                return fate.received - fate.arrived
        raise ValueError(f"no message {message!r}: this run has 1 to {len(self.deliveries)}")

    def figure_6_6(self) -> Row:
        """This run's row of UNP Figure 6.6, derived from the lanes alone."""
        copies = [
            copy for copy, _ in self._phases(COPY)
            if not (copy.call and copy.call.arms)  # done in the submission: it never had to wait
        ]  # fmt: skip
        told = {d.told for d in self.deliveries if d.told}
        return Row(
            wait=self._row_wait(),
            copy=("blocked" if any(self._for_the_program(c) for c in copies) else "free")
            if copies
            else None,
            starts=("program" if any(self._for_the_program(c) for c in copies) else "kernel")
            if copies
            else None,
            told=next(
                (way for way in ("completion", "signal", "return", "check") if way in told), None
            ),
        )

    def _row_wait(self) -> str | None:
        if self.blocked(WAIT):
            return "blocked"
        waits = list(self._phases(WAIT))
        if any(self._ran_on(phase, fate) for phase, fate in waits):
            return "free"
        return "checks" if any(self._looked(phase, fate) for phase, fate in waits) else None

    def _looked(self, phase: Interval, fate: Delivery | Outcome) -> bool:
        """Did the program ask in vain in this phase, and find the data by asking?"""
        return fate.told == "check" and any(
            c.errno == EAGAIN and c.process == fate.process and c.end <= phase.end
            for c in self.call_log
        )

    def _ran_on(self, phase: Interval, fate: Delivery | Outcome) -> bool:
        """Did the program run its own code in this phase, having asked to be told of its end?"""
        if fate.told not in ("signal", "completion"):
            return False
        armed = [c.end for c in self.call_log if c.arms and c.process == fate.process]
        return any(
            i.state == USER and i.lane == fate.process and armed[0] < min(i.end, phase.end)
            and i.start < phase.end
            for i in (self.intervals if armed else ())
        )  # fmt: skip

    # -- synchronous or not, blocking or not ---------------------------------------------------

    def corner(self, *names: str) -> Corner:
        """Where the calls `names` stand: one call, or the first and the last of an expression.

        `corner("submit")` asks about that call alone, `corner("submit", "result")` about
        `submit(...).result()`.  Asked for each job and each message that they have to do with.
        ValueError if this run has none.
        """
        found = [
            (complete, stretch)
            for call, complete in self._operations()
            if (stretch := self._stretch(call, names))
        ]
        if not found:
            raise ValueError(f"no {' and '.join(names) or 'call'} in this run asked for a result")
        later = any(self._returns_before(stretch, complete) for complete, stretch in found)
        asleep = any(self._sleeps_in(stretch, names) for _, stretch in found)
        return Corner(_ASYNC if later else _SYNC, _BLOCKING if asleep else _NOT)

    def _operations(self) -> Iterator[tuple[Call, int | None]]:
        """Each operation: the call that it is due to; when another completes it (None: nobody)."""
        calls = {call.id: call for call in self.call_log}
        for outcome in self.outcomes:
            end = self.end + 1 if outcome.done is None else outcome.done
            yield calls[outcome.call], None if outcome.worker is None else end
        for copy, fate in self._phases(COPY):
            if copy.call is not None and self._for_the_program(copy):
                yield copy.call, None
            else:
                armed = [c for c in self.call_log if c.arms and c.process == fate.process]
                yield from [(c, copy.end) for c in armed if c.end <= copy.end][-1:]

    def _stretch(self, call: Call, names: Sequence[str]) -> tuple[Call, Call] | None:
        """The first and the last call of the expression `names` that has to do with `call`."""
        named = [c for c in self.call_log if c.name in names and c.process == call.process]
        first = [c for c in named if c.start <= call.start][-1:] or named[:1]
        last = [c for c in named if first and c.name == names[-1] and c.start >= first[0].start]
        return (first[0], last[0]) if last else None

    @staticmethod
    def _returns_before(stretch: tuple[Call, Call], complete: int | None) -> bool:
        return complete is not None and stretch[1].end < complete

    def _sleeps_in(self, stretch: tuple[Call, Call], names: Sequence[str]) -> bool:
        """Does the thread sleep in one of them?  Only to take back the GIL does not count."""
        first, last = stretch
        return any(
            i.state == SLEEPING and i.call is not None and i.call.waits and i.call.name in names
            and i.lane == first.process and i.note != GIL and i.duration
            and first.start <= i.call.start <= last.start
            for i in self.intervals
        )  # fmt: skip

    # -- invariants ----------------------------------------------------------------------------

    def check(self) -> Timeline:
        """Raise `Broken` if any invariant does not hold; return the timeline itself otherwise.

        Lanes are tiled; no more processes run than there are cores; no message is copied before it
        arrived, received twice, or lost without being reported; bytes out are bytes in; time
        never runs back.
        """
        self._check_lanes()
        self._check_cores()
        self._check_calls()
        copies: dict[int | None, list[Interval]] = {}
        for interval in self.intervals:
            if interval.state == COPY:
                copies.setdefault(interval.message, []).append(interval)
        for delivery in self.deliveries:
            self._check_delivery(delivery, copies.get(delivery.message, []))
        self._check_bytes()
        for outcome in self.outcomes:
            self._check_outcome(outcome)
        return self

    def _check_lanes(self) -> None:
        for interval in self.intervals:
            if not (type(interval.start) is type(interval.end) is int):
                raise Broken(f"{interval.lane}: times are whole ns, got {interval.start!r}")
            if not 0 <= interval.start <= interval.end:
                raise Broken(
                    f"{interval.lane}: time runs back from {interval.start} to {interval.end} ns"
                )
        lanes: dict[str, list[Interval]] = {}
        for interval in self.intervals:
            if interval.lane != NETWORK:  # several messages may be on their way at once
                lanes.setdefault(interval.lane, []).append(interval)
        for name, lane in lanes.items():
            for before, after in pairwise(lane):
                if before.end != after.start:
                    kind = "gap" if before.end < after.start else "overlap"
                    raise Broken(f"{name}: {kind} between {before.end} and {after.start} ns")

    def _check_cores(self) -> None:
        changes = sorted(
            change
            for i in self.intervals
            if i.state in (USER, KERNEL) and i.start < i.end
            for change in ((i.start, 1), (i.end, -1))
        )
        running = 0
        for at, change in changes:
            running += change
            if running > self.cores:
                raise Broken(f"{running} processes run on {self.cores} cores at {at} ns")

    def _check_calls(self) -> None:
        for call in self.call_log:
            if call.start > call.end:
                raise Broken(f"{call.name}: returns at {call.end} ns, before {call.start} ns")
        for interval in self.intervals:
            within = interval.call
            if within and not within.start <= interval.start <= interval.end <= within.end:
                raise Broken(f"{interval.lane}: an interval lies outside the call {within.name}")

    def _check_delivery(self, fate: Delivery, copies: list[Interval]) -> None:
        name = f"message {fate.message}"
        if fate.dropped:
            if fate.received is not None:
                raise Broken(f"{name}: dropped and yet received at {fate.received} ns")
            return
        if fate.received is not None and (fate.arrived is None or fate.received < fate.arrived):
            raise Broken(f"{name}: received at {fate.received} ns, arrived at {fate.arrived} ns")
        for copy in copies:
            if fate.arrived is None or copy.start < fate.arrived:
                raise Broken(f"{name}: copied at {copy.start} ns, before it was ready")
            if fate.received is not None and copy.start >= max(fate.received, 1):
                raise Broken(f"{name}: copied again at {copy.start} ns, once received")

    def _check_outcome(self, outcome: Outcome) -> None:
        name = f"job {outcome.job}"
        happened = (outcome.asked, outcome.begun, outcome.done, outcome.received)
        times = [at for at in happened if at is not None]
        if times != sorted(times):
            raise Broken(f"{name}: time runs back: {times} ns")
        if happened != (*times, *[None] * (4 - len(times))):
            raise Broken(f"{name}: a step is missing: {happened}")

    def _check_bytes(self) -> None:
        numbers = [d.message for d in self.deliveries]
        if len(set(numbers)) != len(numbers):
            raise Broken("a message is delivered twice")
        taken = sum(d.size for d in self.deliveries if d.received is not None)
        queued = sum(d.size for d in self.deliveries if d.received is None and not d.dropped)
        came = sum(c.nbytes for c in self.call_log if c.process in self.processes)
        if not taken <= came <= taken + queued:
            raise Broken(f"{came} bytes came out of the calls, {taken} bytes of messages went in")

    # -- other forms ---------------------------------------------------------------------------

    def between(self, start: int, end: int) -> Timeline:
        """A closer look: the same run from `start` to `end` (ns), clipped; times are kept.

        ValueError unless 0 <= start < end.
        """
        if not 0 <= start < end:
            raise ValueError(f"a window needs 0 <= start < end, got {start!r} to {end!r} ns")
        clipped = tuple(
            replace(i, start=max(i.start, start), end=min(i.end, end))
            for i in self.intervals
            if i.start < end and start < i.end
        )
        return replace(self, intervals=clipped)

    def to_records(self) -> list[dict[str, Any]]:
        """A list of flat dicts, one an interval, for `pandas.DataFrame`."""
        return [
            {
                "lane": i.lane, "state": i.state, "start_ns": i.start, "end_ns": i.end,
                "call": i.call.name if i.call else None, "errno": errno_name(i.errno) or None,
                "fd": i.fd, "line": i.line, "message": i.message, "note": i.note,
            }
            for i in self.intervals
        ]  # fmt: skip

    def to_trace_events(self) -> dict[str, Any]:
        """The run as Chrome's trace event format (JSON object form), for Perfetto; times in us.

        What goes on at once in one lane, as messages on their way, has rows of its own there.
        """
        rows = self._rows()
        tids = {row: number for number, row in enumerate(dict.fromkeys(rows), start=1)}
        named: list[dict[str, Any]] = [
            {"ph": "M", "pid": 1, "name": "process_name", "args": {"name": self._label()}}
        ]
        named += [
            {"ph": "M", "pid": 1, "tid": tid, "name": "thread_name",
             "args": {"name": lane if number == 1 else f"{lane} {number}"}}
            for (lane, number), tid in tids.items()
        ]  # fmt: skip
        for interval, row in zip(self.intervals, rows, strict=True):
            call = interval.call
            args = {"errno": errno_name(interval.errno), "fd": interval.fd, "line": interval.line}
            named.append(
                {
                    "ph": "X", "pid": 1, "tid": tids[row], "cat": interval.state,
                    "name": f"{call.name}: {interval.state}" if call else interval.state,
                    "ts": interval.start / 1_000, "dur": interval.duration / 1_000,
                    "args": {key: value for key, value in args.items() if value not in (None, "")},
                }
            )  # fmt: skip
        return {"displayTimeUnit": "ns", "traceEvents": named}

    def _rows(self) -> list[tuple[str, int]]:
        """For each interval its lane, and the first row there in which nothing goes on then."""
        ends: dict[str, list[int]] = {name: [] for name in self.lanes}
        rows: dict[int, tuple[str, int]] = {}
        order = sorted(range(len(self.intervals)), key=lambda n: self.intervals[n].start)
        for place in order:
            one = self.intervals[place]
            busy = ends[one.lane]
            row = next((n for n, end in enumerate(busy) if end <= one.start), len(busy))
            busy[row:] = [one.end, *busy[row + 1 :]]
            rows[place] = one.lane, row + 1
        return [rows[place] for place in range(len(self.intervals))]

    def _label(self) -> str:
        return f"{self.title} ({self.kernel})"

    def to_json(self) -> str:
        """The whole run as JSON; `from_json` reads it back, equal."""
        plain = {
            name: getattr(self, name)
            for name in ("title", "kernel", "cores", "processes", "helpers", "machine",
                         "source", "first_line")
        }  # fmt: skip
        for name in ("call_log", "deliveries", "evidence", "outcomes"):
            plain[name] = [asdict(item) for item in getattr(self, name)]
        for name in ("visits", "disturbances"):
            if rows := getattr(self, name):
                plain[name] = [asdict(row) for row in rows]
        if self.kernel_lines:
            plain["kernel_lines"] = [list(line) for line in self.kernel_lines]
        plain["intervals"] = [
            [i.lane, i.start, i.end, i.state, i.call.id if i.call else None, i.message, i.note]
            for i in self.intervals
        ]
        return json.dumps(plain)

    @classmethod
    def from_json(cls, text: str) -> Timeline:
        """The timeline that `to_json` wrote."""
        plain: dict[str, Any] = json.loads(text)
        calls = {c["id"]: Call(**c) for c in plain.pop("call_log")}
        intervals = tuple(
            Interval(lane, start, end, state, calls.get(call), message, note)
            for lane, start, end, state, call, message, note in plain.pop("intervals")
        )
        plain["deliveries"] = tuple(Delivery(**d) for d in plain["deliveries"])
        plain["evidence"] = tuple(Evidence(**e) for e in plain["evidence"])
        plain["outcomes"] = tuple(Outcome(**o) for o in plain.get("outcomes", ()))
        plain["visits"] = tuple(_visit(v) for v in plain.get("visits", ()))
        plain["disturbances"] = tuple(Disturbance(**d) for d in plain.get("disturbances", ()))
        plain["kernel_lines"] = tuple(KernelLine(*k) for k in plain.get("kernel_lines", ()))
        plain["processes"], plain["helpers"] = tuple(plain["processes"]), tuple(plain["helpers"])
        return cls(intervals=intervals, call_log=tuple(calls.values()), **plain)
