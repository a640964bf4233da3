"""What a run says: who was blocked by what, which row of Figure 6.6 it is, and which corner.

All of it is derived from the lanes, by joining what a process does with what becomes of the data.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from errno import EAGAIN
from itertools import accumulate, chain
from typing import TYPE_CHECKING

from .records import (
    ASYNCHRONOUS,
    BLOCKING,
    COPY,
    GIL,
    NONBLOCKING,
    READY,
    SLEEPING,
    SYNCHRONOUS,
    USER,
    WAIT,
    Call,
    Corner,
    Delivery,
    Interval,
    Outcome,
    Row,
    Span,
    without,
)

if TYPE_CHECKING:
    from .timeline import Timeline

__all__ = ["Blocked", "blocked", "corner", "figure_6_6", "of_program"]

Blocked = list[tuple[str, Span]]  # which process, from when to when

TOLD = ("completion", "signal", "return", "check")  # the ways to be told, the rarest first


def of_program(run: Timeline) -> Iterator[Interval]:
    """The intervals of the program's own processes, lane by lane."""
    return chain.from_iterable(map(run.lane, run.processes))


def _phases(run: Timeline, phase: str) -> Iterator[tuple[Interval, Delivery | Outcome]]:
    for interval in run.intervals:
        if interval.state == phase and interval.message is not None:
            yield interval, run.fates[interval.message]


# -- the join: who is blocked by what ----------------------------------------------------------


def _came(fate: Delivery | Outcome) -> bool:
    """Did what was waited for come, before the run was over?"""
    return (fate.done if isinstance(fate, Outcome) else fate.arrived) is not None


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


def blocked(run: Timeline) -> dict[str, Blocked]:
    """For each phase the stretches in which a process of the program was blocked in it, in ns."""
    found = {WAIT: _blocked_in_wait(run), COPY: _blocked_in_copy(run)}
    if run.window is None:
        return found
    part = run.window[:2]
    return {
        phase: [(who, seen) for who, span in spans if (seen := _meet(span, part))]
        for phase, spans in found.items()
    }


def _blocked_in_wait(run: Timeline) -> Blocked:
    """Asleep, in a call that returns only at the end of that phase, and was under way then."""
    asleep: dict[str | None, list[Interval]] = {}
    for i in of_program(run):
        if i.state == SLEEPING and i.call and i.call.waits:
            asleep.setdefault(i.lane, []).append(i)
    sleeps = {lane: _Sleeps(row) for lane, row in asleep.items()}
    return [
        (sleep.lane, span)
        for phase, fate in _phases(run, WAIT) if fate.process in sleeps and _came(fate)
        for sleep in sleeps[fate.process].ended_by(phase.whole[1])
        if (span := _meet(sleep.whole, phase.whole))
    ]  # fmt: skip


def _blocked_in_copy(run: Timeline) -> Blocked:
    """In the call for which the kernel copies: to wait for a core amid that is neither phase."""
    ready = {name: [i.whole for i in run.lane(name) if i.state == READY] for name in run.processes}
    return [
        (copy.call.process, span)
        for copy, _ in _phases(run, COPY) if copy.call and _for_the_program(run, copy)
        for span in without(copy.whole, ready[copy.call.process])
    ]  # fmt: skip


def _for_the_program(run: Timeline, copy: Interval) -> bool:
    """Is this copy made within a call of the program?"""
    return copy.call is not None and copy.call.process in run.processes


# -- Figure 6.6 --------------------------------------------------------------------------------


def figure_6_6(run: Timeline) -> Row:
    """This run's row of UNP Figure 6.6, derived from the lanes alone."""
    copies = [
        copy for copy, _ in _phases(run, COPY)
        if not (copy.call and copy.call.arms)  # done in the submission: it never had to wait
    ]  # fmt: skip
    ours = any(_for_the_program(run, copy) for copy in copies)
    told = {d.told for d in run.deliveries if d.told}
    return Row(
        wait=_row_wait(run),
        copy=("blocked" if ours else "free") if copies else None,
        starts=("program" if ours else "kernel") if copies else None,
        told=next((way for way in TOLD if way in told), None),
    )


def _row_wait(run: Timeline) -> str | None:
    if run.blocked(WAIT):
        return "blocked"
    waits = list(_phases(run, WAIT))
    if any(_ran_on(run, phase, fate) for phase, fate in waits):
        return "free"
    return "checks" if any(_looked(run, phase, fate) for phase, fate in waits) else None


def _looked(run: Timeline, phase: Interval, fate: Delivery | Outcome) -> bool:
    """Did the program ask in vain in this phase, and find the data by asking?"""
    return fate.told == "check" and any(
        c.errno == EAGAIN and c.process == fate.process and c.end <= phase.end for c in run.call_log
    )


def _ran_on(run: Timeline, phase: Interval, fate: Delivery | Outcome) -> bool:
    """Did the program run its own code in this phase, having asked to be told of its end?"""
    if fate.told not in ("signal", "completion"):
        return False
    armed = [c.end for c in run.call_log if c.arms and c.process == fate.process]
    return any(
        i.state == USER and i.lane == fate.process and armed[0] < min(i.end, phase.end)
        and i.start < phase.end
        for i in (run.intervals if armed else ())
    )  # fmt: skip


# -- synchronous or not, blocking or not -------------------------------------------------------


def corner(run: Timeline, names: Sequence[str]) -> Corner:
    """Where the calls `names` stand: one call, or the first and the last of an expression.

    Asked for each job and each message that they have to do with.  ValueError if there is none.
    """
    found = [
        (complete, stretch)
        for call, complete in _operations(run)
        if (stretch := _stretch(run, call, names))
    ]
    if not found:
        raise ValueError(f"no {' and '.join(names) or 'call'} in this run asked for a result")
    later = any(_returns_before(stretch, complete) for complete, stretch in found)
    asleep = any(_sleeps_in(run, stretch, names) for _, stretch in found)
    return Corner(ASYNCHRONOUS if later else SYNCHRONOUS, BLOCKING if asleep else NONBLOCKING)


def _operations(run: Timeline) -> Iterator[tuple[Call, int | None]]:
    """Each operation: the call that it is due to; when another completes it (None: nobody)."""
    calls = {call.id: call for call in run.call_log}
    for outcome in run.outcomes:
        end = run.end + 1 if outcome.done is None else outcome.done
        yield calls[outcome.call], None if outcome.worker is None else end
    for copy, fate in _phases(run, COPY):
        if copy.call is not None and _for_the_program(run, copy):
            yield copy.call, None
        else:
            armed = [c for c in run.call_log if c.arms and c.process == fate.process]
            yield from [(c, copy.end) for c in armed if c.end <= copy.end][-1:]


def _stretch(run: Timeline, call: Call, names: Sequence[str]) -> tuple[Call, Call] | None:
    """The first and the last call of the expression `names` that has to do with `call`."""
    named = [c for c in run.call_log if c.name in names and c.process == call.process]
    opens = [c for c in named if c.name == names[0] and c.start <= call.start]
    first = opens[-1:] or named[:1]
    last = [c for c in named if first and c.name == names[-1] and c.start >= first[0].start]
    return (first[0], last[0]) if last else None


def _returns_before(stretch: tuple[Call, Call], complete: int | None) -> bool:
    return complete is not None and stretch[1].end < complete


def _sleeps_in(run: Timeline, stretch: tuple[Call, Call], names: Sequence[str]) -> bool:
    """Does the thread sleep in one of them?  Only to take back the GIL does not count."""
    first, last = stretch
    return any(
        i.state == SLEEPING and i.call is not None and i.call.waits and i.call.name in names
        and i.lane == first.process and i.note != GIL and i.duration
        and first.start <= i.call.start <= last.start
        for i in run.intervals
    )  # fmt: skip
