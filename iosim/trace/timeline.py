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

from dataclasses import dataclass, field
from errno import EAGAIN
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING

from ..shown import bundle, picture
from . import analysis, export, invariants, part
from .records import (
    KERNEL,
    NETWORK,
    PHASES,
    PROCESS_STATES,
    READY,
    SLEEPING,
    USER,
    Call,
    Corner,
    Delivery,
    Disturbance,
    Evidence,
    Interval,
    KernelLine,
    Outcome,
    Row,
    Scan,
    Span,
    Visit,
    Window,
    merged,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Timeline"]


@dataclass(frozen=True)
class Timeline:
    """A run: what each process did and what became of each message.  Immutable.

    `kernel` is "simulated", "measured", "recorded" or "witnessed"; `title` names the program;
    `processes` lists the lanes of the program's own processes (a library's helper thread is in
    `helpers`); `source` is the program's text and `first_line` the number of its first line in its
    file.  `kernel_lines`, of a simulated run, are those of the kernel's own text that it went
    through, and `scans` say which descriptors select, poll and epoll_wait looked at there.
    `window` is the part of the run that `between` cut out.
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
    scans: tuple[Scan, ...] = field(default=(), repr=False)
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

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        from ..draw import svg

        return bundle(str(self), picture(svg(self)))

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the lanes on matplotlib's `ax` (a new one if None) and return it."""
        from ..draw import plot

        return plot(self, ax)

    # -- what is in it -------------------------------------------------------------------------

    @cached_property
    def start(self) -> int:
        """The first instant of the run, 0, or of the part that `between` cut out; in ns."""
        if self.window:
            return self.window.start
        return min((i.start for i in self.intervals), default=0)

    @cached_property
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
    def fates(self) -> dict[int, Delivery | Outcome]:
        """What became of each message and each job, by its number."""
        fates: dict[int, Delivery | Outcome] = {d.message: d for d in self.deliveries}
        return fates | {outcome.number: outcome for outcome in self.outcomes}

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

    def calls(self, process: str | None = None) -> list[tuple[str, int | None]]:
        """`(call, errno or None)` in order; of the program, or of one `process`."""
        wanted = set(self.processes if process is None else (process,))
        return [(c.name, c.errno) for c in part.calls_seen(self) if c.process in wanted and c.trap]

    def time_in(self, state: str, process: str | None = None) -> int:
        """ns that the program's processes (or one `process`) spent in one of the four states."""
        if state not in PROCESS_STATES:
            raise ValueError(f"no state {state!r}: the states are {', '.join(PROCESS_STATES)}")
        lane = analysis.of_program(self) if process is None else self._by_lane.get(process, ())
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
        busy = (i for i in analysis.of_program(self) if i.state in (USER, KERNEL))
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

    # -- what it says (`analysis`) -------------------------------------------------------------

    @cached_property
    def _blocked(self) -> dict[str, analysis.Blocked]:
        return analysis.blocked(self)

    def blocked_spans(self, phase: str, process: str | None = None) -> list[Span]:
        """The stretches `(start, end)` in which the program was blocked in `phase`, in ns.

        Or one `process` of it.

        *wait*: asleep, in a call that returns only when that phase is over and that was under way
        when it ended.  *copy*: inside the call for which the kernel copies.
        ValueError for any other phase.
        """
        if phase not in self._blocked:
            raise ValueError(f"no phase {phase!r}: the phases are {', '.join(self._blocked)}")
        return [span for who, span in self._blocked[phase] if process in (None, who)]

    def blocked(self, phase: str) -> int:
        """ns in which the program could not go on because of `phase` ("wait" or "copy")."""
        return sum(end - start for start, end in merged(self.blocked_spans(phase)))

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
        return analysis.figure_6_6(self)

    def corner(self, *names: str) -> Corner:
        """Where the calls `names` stand: one call, or the first and the last of an expression.

        `corner("submit")` asks about that call alone, `corner("submit", "result")` about
        `submit(...).result()`.  Asked for each job and each message that they have to do with.
        ValueError if this run has none.
        """
        return analysis.corner(self, names)

    # -- invariants, and other forms -----------------------------------------------------------

    def check(self) -> Timeline:
        """Raise `Broken` if any invariant does not hold; return the timeline itself otherwise.

        Lanes are tiled; what a process does is its own, and in a call or for a reason; no more
        processes run than there are cores; no message is copied before it arrived, received twice,
        or lost without being reported; a call tells of descriptors at which it looked; bytes out
        are bytes in; time never runs back.
        """
        invariants.check(self)
        return self

    def between(self, start: int, end: int) -> Timeline:
        """A closer look: the same run from `start` to `end` (ns), clipped; times are kept.

        What is counted and summed up is then of this part, while `call_log`, `deliveries` and
        `outcomes` stay those of the run.  ValueError unless 0 <= start < end.
        """
        return part.cut_out(self, start, end)

    def to_records(self) -> list[dict[str, object]]:
        """One dict for each interval, for a table or a data frame."""
        return export.to_records(self)

    def to_trace_events(self) -> dict[str, object]:
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
