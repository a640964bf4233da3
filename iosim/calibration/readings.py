"""What the experiments of a calibration share: their sizes and rhythms, and how a run is read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from ..api import measure
from ..calls import (
    Program,
    ms,
)
from ..trace import KERNEL, READY, SLEEPING, Call, Delivery, Timeline
from ..workloads.clients import Clients
from ..workloads.traffic import Traffic
from .steps import Calibration

__all__ = [
    "AGAIN",
    "FEW",
    "GAPS_MS",
    "LIMIT_S",
    "LISTED",
    "MANY",
    "NAP",
    "NOISE_NS",
    "ROUNDS",
    "SCANNED",
    "SERVED",
    "SERVED_MS",
    "SERVED_SIZE",
    "SERVER",
    "SIZES",
    "TCP",
    "before",
    "between",
    "busy",
    "calls_about",
    "per_byte",
    "run",
    "took",
    "unread",
    "wakes",
]

NOISE_NS = 200_000  # this long in the run queue: somebody else ran
GAPS_MS = (3, 7, 15, 30)  # how long a process sleeps; the benchmarks use others
SIZES = (64, 512, 4_096, 24_000, 45_000)  # of a message, in bytes; as above
TCP, SERVER = " (TCP)", " (server)"  # behind the name of a step
SERVED_MS, SERVED = (3, 7), 24  # a server's rhythm: how long it sleeps, and how often
SERVED_SIZE = SIZES[1]
NAP = ms(SERVED_MS[0])  # in shorter ones the caches stay warm, and long lists look cheap
FEW, MANY = 4, 64  # descriptors, for the slope of a scan
LISTED, SCANNED = 256, 6  # descriptors on a long list, and times in a row that it is scanned
ROUNDS = 4  # of all that is asked of them: a busy moment must not meet one kind of question alone
AGAIN = 150  # times a short call is repeated
LIMIT_S = 3.0  # for one experiment


def run(program: Callable[..., Program], story: Traffic | Clients, **options: Any) -> Timeline:
    return measure(program, story, limit_s=LIMIT_S, **options)


def took(run: Timeline, name: str) -> list[int]:
    return [call.end - call.start for call in run.call_log if call.name == name]


def between(run: Timeline, name: str, then: str = "") -> list[int]:
    """ns of own code between a call of that name and one of the name `then` (the same) after it."""
    return [
        after.start - before.end
        for before, after in pairwise(call for call in run.call_log if call.trap)
        if (before.name, after.name) == (name, then or name)
    ]


def before(run: Timeline, name: str) -> list[int]:
    """ns of own code before each call of that name."""
    return [b.start - a.end for a, b in pairwise(run.call_log) if b.name == name]


def busy(run: Timeline, name: str) -> list[int]:
    """ns of CPU time that each call of that name took."""
    spent = {call.id: 0 for call in run.call_log if call.name == name}
    for part in run.intervals:
        if part.call is not None and part.call.id in spent and part.state == KERNEL:
            spent[part.call.id] += part.duration
    return list(spent.values())


@dataclass(frozen=True, slots=True)
class _Wake:
    """What one message set off in the process that slept until it came; all but `size` in ns."""

    size: int
    transit: int
    wakeup: int
    context_switch: int
    way_out: int  # of the call in which it slept
    own_code: int = 0  # from there to the call that receives, if that is another one
    receive: int = 0


def wakes(run: Timeline) -> Iterator[_Wake]:
    """Each message that ended a sleep, unless its process then stood behind somebody else."""
    for fate in run.deliveries:
        calls = calls_about(run, fate)
        if fate.arrived is None or fate.sent is None or not 1 <= len(calls) <= 2:
            continue
        inside = [i for i in run.lane(run.processes[0]) if i.call is calls[0]]
        asleep = [i.end for i in inside if i.state == SLEEPING]
        ready = sum(i.duration for i in inside if i.state == READY)
        if not asleep or ready > NOISE_NS:
            continue
        way_out = sum(i.duration for i in inside if i.state == KERNEL and i.start >= asleep[-1])
        then = (calls[1].start - calls[0].end, calls[1].end - calls[1].start) if calls[1:] else ()
        yield _Wake(
            fate.size, fate.arrived - fate.sent, max(0, asleep[-1] - fate.arrived), ready, way_out,
            *then,
        )  # fmt: skip


def calls_about(run: Timeline, fate: Delivery) -> list[Call]:
    """The calls between a message's arrival and its last byte."""
    if fate.arrived is None or fate.received is None:
        return []
    return [c for c in run.call_log if fate.arrived <= c.end <= fate.received]


def unread(found: Calibration, run: Timeline, then: str, over: str) -> list[float]:
    """Own code after the receive of a short message, but for what the message itself costs it."""
    for_byte = per_byte(found, over)
    return [
        after.start - before.end - found["user"] - for_byte * before.nbytes
        for before, after in pairwise(run.call_log)
        if 0 < before.nbytes <= SIZES[1] and (before.name, after.name) == ("recvfrom", then)
    ]


def per_byte(found: Calibration, over: str) -> float:
    """ns of own code for each byte that it received; not measured over UDP."""
    read = found.steps.get("user_per_byte" + over)
    return read.median if read else 0.0
