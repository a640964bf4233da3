"""Several runs as one timeline, so that the drawing of timelines can put them on one clock."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from ..trace import NETWORK, Call, Delivery, Interval, Timeline, Window

__all__ = ["Side", "arrival", "joined", "moved", "part", "sides"]


@dataclass(frozen=True, slots=True)
class Side:
    """One of the runs: `lane` names its lanes among the others'.

    `calls` and `messages` are how many the runs before it have.
    """

    run: Timeline
    lane: Callable[[str], str]
    calls: int = 0
    messages: int = 0

    def call(self, call: Call) -> Call:
        """A call with its joint number and process."""
        return replace(call, id=call.id + self.calls, process=self.lane(call.process))

    def intervals(self, calls: Mapping[int, Call]) -> Iterator[Interval]:
        """All but the network's: when the data is there shows in its own lane.

        `calls` are the joint ones, by the number that each has in its run.
        """
        for i in self.run.intervals:
            if i.lane != NETWORK:
                yield replace(
                    i, lane=self.lane(i.lane), call=calls[i.call.id] if i.call else None,
                    message=None if i.message is None else i.message + self.messages,
                )  # fmt: skip

    def deliveries(self) -> Iterator[Delivery]:
        """The messages, told apart from the other runs'."""
        for fate in self.run.deliveries:
            process = None if fate.process is None else self.lane(fate.process)
            yield replace(fate, message=fate.message + self.messages, process=process)


def sides(runs: Sequence[tuple[Timeline, Callable[[str], str]]]) -> list[Side]:
    """The runs, each with the names of its lanes, numbered so that no call and message meet."""
    found: list[Side] = []
    calls = messages = 0
    for run, lane in runs:
        found.append(Side(run, lane, calls, messages))
        calls += 1 + max((call.id for call in run.call_log), default=0)
        messages += max((fate.message for fate in run.deliveries), default=0)
    return found


def joined(runs: Sequence[Side], title: str) -> Timeline:
    """All of them as one timeline, which says of itself what the last one says."""
    last = runs[-1].run
    calls = [{call.id: side.call(call) for call in side.run.call_log} for side in runs]
    return Timeline(
        title=title, kernel=last.kernel, cores=last.cores,
        intervals=tuple(
            i for side, own in zip(runs, calls, strict=True) for i in side.intervals(own)
        ),
        call_log=tuple(call for own in calls for call in own.values()),
        deliveries=tuple(fate for side in runs for fate in side.deliveries()),
        processes=tuple(side.lane(p) for side in runs for p in side.run.processes),
        helpers=tuple(side.lane(p) for side in runs for p in side.run.helpers),
        machine=last.machine,
    )  # fmt: skip


def part(run: Timeline, start: int, end: int) -> Timeline:
    """What of `run` meets the stretch from `start` to `end`, whole: `between` would cut it."""
    return replace(
        run,
        intervals=tuple(i for i in run.intervals if i.start < end and start < i.end),
        call_log=tuple(c for c in run.call_log if c.start < end and start < c.end),
    )


def moved(run: Timeline, by: int) -> Timeline:
    """The same run, `by` ns later on the clock."""
    calls = {c.id: replace(c, start=c.start + by, end=c.end + by) for c in run.call_log}
    return replace(
        run,
        intervals=tuple(
            replace(
                i,
                start=i.start + by,
                end=i.end + by,
                call=calls[i.call.id] if i.call else None,
                cut=i.cut and (i.cut[0] + by, i.cut[1] + by),
            )
            for i in run.intervals
        ),
        window=run.window and Window(*(at + by for at in run.window)),
        call_log=tuple(calls.values()),
        deliveries=tuple(_later(fate, by) for fate in run.deliveries),
    )


def _later(fate: Delivery, by: int) -> Delivery:
    sent, arrived, received = (
        None if at is None else at + by for at in (fate.sent, fate.arrived, fate.received)
    )
    return replace(fate, sent=sent, arrived=arrived, received=received)


def arrival(run: Timeline) -> Delivery | None:
    """The first message that arrived and was received."""
    return next(
        (f for f in run.deliveries if f.arrived is not None and f.received is not None), None
    )
