"""A part of a run: what `Timeline.between` cuts out, and what of the run it shows."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from .records import Call, Delivery, Interval, Outcome, Window

if TYPE_CHECKING:
    from .timeline import Timeline

__all__ = ["calls_seen", "cut_out", "deliveries_seen", "outcomes_seen", "unclipped"]


def cut_out(run: Timeline, start: int, end: int) -> Timeline:
    """The same run from `start` to `end` (ns), its intervals clipped.

    ValueError unless 0 <= start < end.
    """
    if not 0 <= start < end:
        raise ValueError(f"a window needs 0 <= start < end, got {start!r} to {end!r} ns")
    if start <= run.start and run.end <= end:
        return run
    start, end = max(start, run.start), max(start, min(end, run.end))
    clipped = tuple(_clip(i, start, end) for i in run.intervals if i.start < end and start < i.end)
    return replace(run, intervals=clipped, window=Window(start, end, run.run_end))


def _clip(i: Interval, start: int, end: int) -> Interval:
    if start <= i.start and i.end <= end:
        return i
    return replace(i, start=max(i.start, start), end=min(i.end, end), cut=i.whole)


def unclipped(run: Timeline) -> Timeline:
    """The intervals that a part shows something of, each as long as it was in the run."""
    if run.window is None:
        return run
    whole = (replace(i, start=i.whole[0], end=i.whole[1], cut=None) for i in run.intervals)
    return replace(run, intervals=tuple(whole), window=None)


def calls_seen(run: Timeline) -> tuple[Call, ...]:
    """The calls of a run; of a part those that it shows something of."""
    if run.window is None:
        return run.call_log
    start, end, _ = run.window
    return tuple(c for c in run.call_log if c.start < end and start < max(c.end, c.start + 1))


def deliveries_seen(run: Timeline) -> tuple[Delivery, ...]:
    """The messages of a run; of a part those that it shows something of."""
    seen = {i.message for i in run.intervals}
    return tuple(d for d in run.deliveries if run.window is None or d.message in seen)


def outcomes_seen(run: Timeline) -> tuple[Outcome, ...]:
    """The jobs of a run; of a part those that it shows something of."""
    seen = {i.message for i in run.intervals}
    return tuple(o for o in run.outcomes if run.window is None or o.number in seen)
