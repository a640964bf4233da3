"""A timeline in other forms: records, JSON, and Chrome's trace events."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from .records import (
    Call,
    Delivery,
    Disturbance,
    Evidence,
    Interval,
    KernelLine,
    Outcome,
    Scan,
    Visit,
    Window,
    errno_name,
)

if TYPE_CHECKING:
    from .timeline import Timeline

__all__ = ["from_json", "to_json", "to_records", "to_trace_events"]


def _visit(plain: dict[str, Any]) -> Visit:
    return Visit(**{**plain, "answered": tuple(plain["answered"])})


def to_records(run: Timeline) -> list[dict[str, object]]:
    """A list of flat dicts, one an interval, for `pandas.DataFrame`."""
    return [
        {
            "lane": i.lane, "state": i.state, "start_ns": i.start, "end_ns": i.end,
            "call": i.call.name if i.call else None, "errno": errno_name(i.errno) or None,
            "fd": i.fd, "line": i.line, "message": i.message, "note": i.note,
        }
        for i in run.intervals
    ]  # fmt: skip


def to_trace_events(run: Timeline) -> dict[str, object]:
    """The run as Chrome's trace event format (JSON object form), for Perfetto; times in us.

    What goes on at once in one lane, as messages on their way, has rows of its own there.
    """
    rows = _rows(run)
    tids = {row: number for number, row in enumerate(dict.fromkeys(rows), start=1)}
    named: list[dict[str, object]] = [
        {"ph": "M", "pid": 1, "name": "process_name", "args": {"name": _label(run)}}
    ]
    named += [
        {"ph": "M", "pid": 1, "tid": tid, "name": "thread_name",
         "args": {"name": lane if number == 1 else f"{lane} {number}"}}
        for (lane, number), tid in tids.items()
    ]  # fmt: skip
    for interval, row in zip(run.intervals, rows, strict=True):
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


def _rows(run: Timeline) -> list[tuple[str, int]]:
    """For each interval its lane, and the first row there in which nothing goes on then."""
    ends: dict[str, list[int]] = {name: [] for name in run.lanes}
    rows: dict[int, tuple[str, int]] = {}
    order = sorted(range(len(run.intervals)), key=lambda n: run.intervals[n].start)
    for place in order:
        one = run.intervals[place]
        busy = ends[one.lane]
        row = next((n for n, end in enumerate(busy) if end <= one.start), len(busy))
        busy[row:] = [one.end, *busy[row + 1 :]]
        rows[place] = one.lane, row + 1
    return [rows[place] for place in range(len(run.intervals))]


def _label(run: Timeline) -> str:
    return f"{run.title} ({run.kernel})"


def to_json(run: Timeline) -> str:
    """The whole run as JSON; `from_json` reads it back, equal."""
    plain = {
        name: getattr(run, name)
        for name in ("title", "kernel", "cores", "processes", "helpers", "machine",
                     "source", "first_line")
    }  # fmt: skip
    for name in ("call_log", "deliveries", "evidence", "outcomes"):
        plain[name] = [asdict(item) for item in getattr(run, name)]
    for name in ("visits", "disturbances"):
        if rows := getattr(run, name):
            plain[name] = [asdict(row) for row in rows]
    if run.window:
        plain["window"] = list(run.window)
    if run.kernel_lines:
        plain["kernel_lines"] = [list(line) for line in run.kernel_lines]
    if run.scans:
        plain["scans"] = [list(scan) for scan in run.scans]
    plain["intervals"] = [
        [i.lane, i.start, i.end, i.state, i.call.id if i.call else None, i.message, i.note,
         *(i.cut or ())]
        for i in run.intervals
    ]  # fmt: skip
    return json.dumps(plain)


def from_json(kind: type[Timeline], text: str) -> Timeline:
    """The timeline that `to_json` wrote."""
    plain: dict[str, Any] = json.loads(text)
    calls = {c["id"]: Call(**c) for c in plain.pop("call_log")}
    intervals = tuple(
        Interval(lane, start, end, state, calls.get(call), message, note, tuple(cut) or None)
        for lane, start, end, state, call, message, note, *cut in plain.pop("intervals")
    )
    plain["deliveries"] = tuple(Delivery(**d) for d in plain["deliveries"])
    plain["evidence"] = tuple(Evidence(**e) for e in plain["evidence"])
    plain["outcomes"] = tuple(Outcome(**o) for o in plain.get("outcomes", ()))
    plain["visits"] = tuple(_visit(v) for v in plain.get("visits", ()))
    plain["disturbances"] = tuple(Disturbance(**d) for d in plain.get("disturbances", ()))
    plain["kernel_lines"] = tuple(KernelLine(*k) for k in plain.get("kernel_lines", ()))
    plain["scans"] = tuple(
        Scan(call, start, end, tuple(fds), tuple(ready))
        for call, start, end, fds, ready in plain.get("scans", ())
    )
    plain["window"] = Window(*plain["window"]) if "window" in plain else None
    plain["processes"], plain["helpers"] = tuple(plain["processes"]), tuple(plain["helpers"])
    return kind(intervals=intervals, call_log=tuple(calls.values()), **plain)
