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

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from errno import EAGAIN
from functools import cached_property
from itertools import accumulate, chain, pairwise
from typing import Any

from ..shown import bundle, picture
from . import export, invariants, part
from .records import (
    ASYNCHRONOUS,
    BLOCKING,
    COPY,
    GIL,
    KERNEL,
    NETWORK,
    NONBLOCKING,
    PHASES,
    PROCESS_STATES,
    READY,
    SLEEPING,
    SYNCHRONOUS,
    USER,
    WAIT,
    Call,
    Corner,
    Delivery,
    Disturbance,
    Evidence,
    Interval,
    KernelLine,
    Outcome,
    Row,
    Span,
    Visit,
    Window,
    merged,
    without,
)

__all__ = ["Timeline"]


def _came(fate: Delivery | Outcome) -> bool:
    """Did what was waited for come, before the run was over?"""
    return (fate.done if isinstance(fate, Outcome) else fate.arrived) is not None


def _union(spans: Iterable[Span]) -> int:
    """The length in ns of the union of `spans`."""
    return sum(end - start for start, end in merged(spans))


def _meet(a: Span, b: Span) -> Span | None:
    start, end = max(a[0], b[0]), min(a[1], b[1])
    return (start, end) if start < end else None


class _Sleeps:
    """A lane's sleeps in calls, in time, to be asked for those in a call that an instant ended.

    Calls may lie within each other (a signal's handler makes some): `reach` is the last end so far.
    """

    def __init__(self, row: Sequence[Interval]) -> None:
        self.row = row
        self.starts = [sleep.whole[0] for sleep in row]
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
    through.  `window` is the part of the run that `between` cut out.
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
    window: Window | None = None

    def __repr__(self) -> str:
        data = f"{len(self.outcomes)} jobs" if self.outcomes else f"{len(self.deliveries)} messages"
        part = f"{self.start / 1e6:.3f} ms to {self.end / 1e6:.3f} ms of " if self.window else ""
        return (
            f"<Timeline of {self.title}, {self.kernel}: {len(self.call_log)} calls, "
            f"{data}, {part}{self.run_end / 1e6:.3f} ms>"
        )

    def __str__(self) -> str:
        from ..draw import text

        return text(self)

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        from ..draw import svg

        return bundle(str(self), picture(svg(self)))

    def plot(self, ax: Any = None) -> Any:
        """Draw the lanes on matplotlib's `ax` (a new one if None) and return it."""
        from ..draw import plot

        return plot(self, ax)

    # -- what is in it -------------------------------------------------------------------------

    @property
    def start(self) -> int:
        """The first instant of the run, 0, or of the part that `between` cut out; in ns."""
        if self.window:
            return self.window.start
        return min((i.start for i in self.intervals), default=0)

    @property
    def end(self) -> int:
        """The last instant of the run, or of the part that `between` cut out; in ns."""
        if self.window:
            return self.window.end
        return max((i.end for i in self.intervals), default=0)

    @property
    def run_end(self) -> int:
        """The last instant of the run, also of one that only a part is left of; in ns."""
        return self.window.of if self.window else self.end

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
        return [(c.name, c.errno) for c in part.calls_seen(self) if c.process in wanted and c.trap]

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
        spans = self._blocked_in_wait() if phase == WAIT else self._blocked_in_copy()
        if self.window is None:
            return spans
        return [seen for span in spans if (seen := _meet(span, self.window[:2]))]

    def _blocked_in_wait(self) -> list[Span]:
        asleep: dict[str | None, list[Interval]] = {}
        for i in self._of_program():
            if i.state == SLEEPING and i.call and i.call.waits:
                asleep.setdefault(i.lane, []).append(i)
        sleeps = {lane: _Sleeps(row) for lane, row in asleep.items()}
        return [
            span
            for phase, fate in self._phases(WAIT) if fate.process in sleeps and _came(fate)
            for sleep in sleeps[fate.process].ended_by(phase.whole[1])
            if (span := _meet(sleep.whole, phase.whole))
        ]  # fmt: skip

    def _blocked_in_copy(self) -> list[Span]:
        """While the kernel copies for it: to wait for a core amid that is neither phase."""
        ready = {
            name: [i.whole for i in self._by_lane.get(name, ()) if i.state == READY]
            for name in self.processes
        }
        return [
            span
            for copy, _ in self._phases(COPY) if copy.call and self._for_the_program(copy)
            for span in without(copy.whole, ready[copy.call.process])
        ]  # fmt: skip

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
        return Corner(ASYNCHRONOUS if later else SYNCHRONOUS, BLOCKING if asleep else NONBLOCKING)

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
        opens = [c for c in named if c.name == names[0] and c.start <= call.start]
        first = opens[-1:] or named[:1]
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

    # -- invariants, and other forms -----------------------------------------------------------

    def check(self) -> Timeline:
        """Raise `Broken` if any invariant does not hold; return the timeline itself otherwise.

        Lanes are tiled; what a process does is its own, and in a call or for a reason; no more
        processes run than there are cores; no message is copied before it arrived, received twice,
        or lost without being reported; bytes out are bytes in; time never runs back.
        """
        invariants.check(self)
        return self

    def between(self, start: int, end: int) -> Timeline:
        """A closer look: the same run from `start` to `end` (ns), clipped; times are kept.

        What is counted and summed up is then of this part, while `call_log`, `deliveries` and
        `outcomes` stay those of the run.  ValueError unless 0 <= start < end.
        """
        return part.cut_out(self, start, end)

    def to_records(self) -> list[dict[str, Any]]:
        """One dict for each interval, for a table or a data frame."""
        return export.to_records(self)

    def to_trace_events(self) -> dict[str, Any]:
        """The run as Chrome's trace event format (JSON object form), for Perfetto; times in us.

        What goes on at once in one lane, as messages on their way, has rows of its own there.
        """
        return export.to_trace_events(self)

    def to_json(self) -> str:
        """The whole run as JSON; `from_json` reads it back, equal."""
        return export.to_json(self)

    @classmethod
    def from_json(cls, text: str) -> Timeline:
        """The timeline that `to_json` wrote."""
        return export.from_json(cls, text)
