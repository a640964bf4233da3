"""What holds for every timeline, whoever made it."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from .records import COPY, KERNEL, NETWORK, SLEEPING, USER, Delivery, Interval, Outcome

if TYPE_CHECKING:
    from .timeline import Timeline

__all__ = ["Broken", "check"]


class Broken(AssertionError):
    """A timeline contradicts itself: one of the invariants does not hold."""


def check(run: Timeline) -> None:
    """Raise `Broken` if any invariant does not hold.

    Lanes are tiled; what a process does is its own, and in a call or for a reason; no more
    processes run than there are cores; no message is copied before it arrived, received twice, or
    lost without being reported; a call tells of descriptors at which it looked; bytes out are bytes
    in; time never runs back.
    """
    _check_lanes(run)
    _check_states(run)
    _check_cores(run)
    _check_calls(run)
    copies: dict[int | None, list[Interval]] = {}
    for interval in run.intervals:
        if interval.state == COPY:
            copies.setdefault(interval.message, []).append(interval)
    for delivery in run.deliveries:
        _check_delivery(run, delivery, copies.get(delivery.message, []))
    _check_bytes(run)
    for outcome in run.outcomes:
        _check_outcome(run, outcome)


def _check_lanes(run: Timeline) -> None:
    for interval in run.intervals:
        if not (type(interval.start) is type(interval.end) is int):
            raise Broken(f"{interval.lane}: times are whole ns, got {interval.start!r}")
        if not 0 <= interval.start <= interval.end:
            raise Broken(
                f"{interval.lane}: time runs back from {interval.start} to {interval.end} ns"
            )
    lanes: dict[str, list[Interval]] = {}
    for interval in run.intervals:
        if interval.lane != NETWORK:  # several messages may be on their way at once
            lanes.setdefault(interval.lane, []).append(interval)
    of_nobody = {fate.message for fate in run.deliveries if fate.sent is None}
    for name, lane in lanes.items():
        for before, after in pairwise(lane):
            if before.end < after.start and after.message in of_nobody:
                continue  # whether it was there by then is not known
            if before.end != after.start:
                kind = "gap" if before.end < after.start else "overlap"
                raise Broken(f"{name}: {kind} between {before.end} and {after.start} ns")


def _check_states(run: Timeline) -> None:
    """Whose time is it, and in which state?

    A call of a pool's library may run code of the program (`call`, a callback); one of the system
    does not.
    """
    own = {*run.processes, *run.helpers}
    for i in run.intervals:
        if i.lane not in own:
            continue
        if i.call is not None and i.call.process != i.lane:
            raise Broken(f"{i.lane}: is in the call {i.call.name} of {i.call.process}")
        if i.lane not in run.processes:
            continue
        if i.state == USER and i.call is not None and not run.outcomes:
            raise Broken(f"{i.lane}: own code within the call {i.call.name}, at {i.start} ns")
        if i.state in (KERNEL, SLEEPING) and i.call is None and not i.note:
            raise Broken(f"{i.lane}: {i.state} in no call, for no reason, at {i.start} ns")


def _check_cores(run: Timeline) -> None:
    changes = sorted(
        change
        for i in run.intervals
        if i.state in (USER, KERNEL) and i.start < i.end
        for change in ((i.start, 1), (i.end, -1))
    )
    running = 0
    for at, change in changes:
        running += change
        if running > run.cores:
            raise Broken(f"{running} processes run on {run.cores} cores at {at} ns")


def _check_calls(run: Timeline) -> None:
    for call in run.call_log:
        if call.start > call.end:
            raise Broken(f"{call.name}: returns at {call.end} ns, before {call.start} ns")
    for interval in run.intervals:
        within = interval.call
        if within and not within.start <= interval.start <= interval.end <= within.end:
            raise Broken(f"{interval.lane}: an interval lies outside the call {within.name}")
    for scan in run.scans:
        call = run.call_log[scan.call]
        if not call.start <= scan.start <= scan.end <= call.end:
            raise Broken(f"{call.name}: looks at descriptors at {scan.start} ns, outside the call")
        if not {*scan.ready} <= {*scan.fds}:
            raise Broken(f"{call.name}: tells of a descriptor at which it did not look")


def _check_delivery(run: Timeline, fate: Delivery, copies: list[Interval]) -> None:
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


def _check_outcome(run: Timeline, outcome: Outcome) -> None:
    name = f"job {outcome.job}"
    happened = (outcome.asked, outcome.begun, outcome.done, outcome.received)
    times = [at for at in happened if at is not None]
    if times != sorted(times):
        raise Broken(f"{name}: time runs back: {times} ns")
    if happened != (*times, *[None] * (4 - len(times))):
        raise Broken(f"{name}: a step is missing: {happened}")


def _check_bytes(run: Timeline) -> None:
    numbers = [d.message for d in run.deliveries]
    if len(set(numbers)) != len(numbers):
        raise Broken("a message is delivered twice")
    taken = sum(d.size for d in run.deliveries if d.received is not None)
    queued = sum(d.size for d in run.deliveries if d.received is None and not d.dropped)
    came = sum(c.nbytes for c in run.call_log if c.process in run.processes)
    if not taken <= came <= taken + queued:
        raise Broken(f"{came} bytes came out of the calls, {taken} bytes of messages went in")
