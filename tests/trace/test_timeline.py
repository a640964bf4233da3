"""The timeline: its questions, its invariants (each one broken once), its other forms."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import FrozenInstanceError, replace
from itertools import chain, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iosim import Timeline, clients, models, servers, simulate, traffic
from iosim.trace import (
    COPY,
    KERNEL,
    READY,
    SLEEPING,
    USER,
    WAIT,
    Broken,
    Call,
    Delivery,
    Interval,
    Scan,
)

STORY = traffic.one(after_ms=20, size=1_000)


@pytest.fixture(scope="module")
def run() -> Timeline:
    return simulate(models.blocking, STORY)


def test_the_textbook_run_to_the_nanosecond(run: Timeline) -> None:
    assert [(i.state, i.start, i.end) for i in run.lane("process")] == [
        ("user", 0, 200_000),
        ("kernel", 200_000, 700_000),
        ("sleeping", 700_000, 21_300_000),
        ("ready", 21_300_000, 21_600_000),
        ("kernel", 21_600_000, 24_600_000),
    ]
    assert [(i.state, i.start, i.end) for i in run.lane("message 1")] == [
        ("wait", 0, 21_000_000),
        ("queued", 21_000_000, 21_600_000),
        ("copy", 21_600_000, 24_600_000),
    ]


def test_questions(run: Timeline) -> None:
    assert run.calls() == [("recvfrom", None)]
    assert run.blocked(WAIT) == 20_300_000
    assert run.blocked(COPY) == 3_000_000
    assert run.latency_ns() == 3_600_000
    assert run.cpu_ns() == 200_000 + 500_000 + 3_000_000
    assert run.time_in(SLEEPING) == 20_600_000
    assert run.switches() == (1, 0)
    assert run.checks() == 0
    assert run.lanes == ("process", "message 1", "network")
    assert run.end == 24_600_000


def test_an_interval_names_its_call(run: Timeline) -> None:
    asleep = next(i for i in run.intervals if i.state == SLEEPING)
    assert (asleep.call.name, asleep.errno, asleep.fd) == ("recvfrom", None, 3)  # type: ignore[union-attr]
    lines = run.source.splitlines()
    assert asleep.line is not None
    assert "recvfrom" in lines[asleep.line - run.first_line]
    assert next(i for i in run.intervals if i.state == USER).line is None


class _Counted(tuple[Interval, ...]):
    """How often has somebody gone through all intervals?"""

    times = 0

    def __iter__(self) -> Iterator[Interval]:
        self.times += 1
        return super().__iter__()


def test_a_hundred_threads_are_asked_about_in_one_walk() -> None:
    """Once each lane was sought among all intervals: 1.2 s for the switches of 400 threads."""
    run = simulate(servers.thread_per_connection, clients.several(100, clients.echo()))
    counted = _Counted(run.intervals)
    again = replace(run, intervals=counted)
    asked = again.switches(), again.cpu_ns(), [again.lane(name) for name in again.lanes]
    assert counted.times == 1
    assert asked == (run.switches(), run.cpu_ns(), [run.lane(name) for name in run.lanes])


def test_it_cannot_be_changed(run: Timeline) -> None:
    with pytest.raises(FrozenInstanceError):
        run.title = "x"  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        run.intervals[0].start = 1  # type: ignore[misc]


def _nested(cuts: list[int], arrivals: list[int]) -> Timeline:
    """One process asleep in a call, in one within it, and in the first again; some messages."""
    a, b, c, d, e, f, g = cuts
    outer = Call(0, "process", "pause", a, g, waits=True)
    inner = Call(1, "process", "recvfrom", c, e, waits=True)
    parts = ((a, b, outer), (c, d, inner), (f, g, outer))
    asleep = [Interval("process", start, end, SLEEPING, call) for start, end, call in parts]
    waits = [Interval(f"message {n}", 0, at, WAIT, None, n) for n, at in enumerate(arrivals)]
    fates = tuple(Delivery(n, 0, 1, 0, at, at, "process") for n, at in enumerate(arrivals))
    return Timeline("t", "simulated", 1, (*asleep, *waits), (outer, inner), fates, ("process",))


INSTANTS = st.integers(0, 20)


@given(st.lists(INSTANTS, min_size=7, max_size=7).map(sorted), st.lists(INSTANTS, max_size=5))
def test_blocked_is_asleep_in_a_call_that_the_end_of_the_phase_ended(
    cuts: list[int], arrivals: list[int]
) -> None:
    """The definition, word for word: every sleep against every phase."""
    run = _nested(cuts, arrivals)
    expected = [
        (sleep.start, min(sleep.end, arrived))
        for arrived in arrivals
        for sleep in run.lane("process")
        if sleep.call
        and sleep.call.start < arrived <= sleep.call.end
        and sleep.start < min(sleep.end, arrived)
    ]
    assert run.blocked_spans(WAIT) == expected


@pytest.mark.parametrize(
    ("ask", "line"),
    [
        (lambda t: t.blocked("nap"), "no phase 'nap': the phases are wait, copy"),
        (lambda t: t.time_in("nap"), "no state 'nap': the states are user, kernel, ready, sleepi"),
        (lambda t: t.lane("nap"), "no lane 'nap': the lanes are process, message 1, network"),
        (lambda t: t.latency_ns(2), "no message 2: this run has 1 to 1"),
        (lambda t: t.between(5, 5), "a window needs 0 <= start < end, got 5 to 5 ns"),
    ],
)
def test_bad_questions_get_one_line(run: Timeline, ask: object, line: str) -> None:
    with pytest.raises(ValueError, match=line):
        ask(run)  # type: ignore[operator]


def test_a_message_that_was_not_received_has_no_latency(run: Timeline) -> None:
    lost = replace(run, deliveries=(replace(run.deliveries[0], received=None),))
    with pytest.raises(ValueError, match="message 1 was not received"):
        lost.latency_ns()


def _shift(run: Timeline, lane: str, number: int, **change: object) -> Timeline:
    """The same run with one interval of one lane changed."""
    victim = run.lane(lane)[number]
    return replace(
        run, intervals=tuple(replace(i, **change) if i is victim else i for i in run.intervals)
    )


FAULTS = {
    "gap": lambda t: _shift(t, "process", 1, end=600_000),
    "overlap": lambda t: _shift(t, "process", 1, start=100_000),
    "runs back": lambda t: _shift(t, "process", 0, start=300_000),
    "whole ns": lambda t: _shift(t, "process", 0, start=0.0),
    "outside the call": lambda t: replace(
        t,
        intervals=tuple(
            replace(i, call=replace(i.call, start=i.start + 1))
            if i.call and i.state == KERNEL
            else i
            for i in t.intervals
        ),
    ),
    "is in the call recvfrom of another": lambda t: _shift(
        t, "process", 1, call=replace(t.call_log[0], process="another")
    ),
    "own code within the call recvfrom": lambda t: _shift(t, "process", 0, call=t.call_log[0]),
    "kernel in no call, for no reason": lambda t: _shift(t, "process", 1, call=None),
    "sleeping in no call, for no reason": lambda t: _shift(t, "process", 2, call=None),
    "before it was ready": lambda t: replace(
        t, deliveries=(replace(t.deliveries[0], arrived=22_000_000),)
    ),
    "once received": lambda t: replace(
        t, deliveries=(replace(t.deliveries[0], received=21_500_000),)
    ),
    "received at": lambda t: replace(t, deliveries=(replace(t.deliveries[0], received=1),)),
    "dropped and yet": lambda t: replace(t, deliveries=(replace(t.deliveries[0], dropped=True),)),
    "bytes came out": lambda t: replace(t, deliveries=(replace(t.deliveries[0], size=999),)),
    "delivered twice": lambda t: replace(t, deliveries=t.deliveries * 2),
    "processes run on": lambda t: replace(
        t, intervals=(*t.intervals, Interval("aio helper", 0, 10, USER)), helpers=("aio helper",)
    ),
    "looks at descriptors at 5 ns": lambda t: replace(t, scans=(Scan(0, 5, 9, (3,), ()),)),
    "a descriptor at which it did not look": lambda t: replace(
        t, scans=(Scan(0, 600_000, 700_000, (3,), (4,)),)
    ),
    "returns at": lambda t: replace(t, call_log=(Call(0, "process", "recvfrom", 5, 4),)),
}


@pytest.mark.parametrize("name", FAULTS)
def test_check_sees_a_planted_fault(run: Timeline, name: str) -> None:
    run.check()
    with pytest.raises(Broken, match=name):
        FAULTS[name](run).check()


def test_other_forms(run: Timeline) -> None:
    assert Timeline.from_json(run.to_json()) == run
    assert run.to_records()[1] == {
        "lane": "process", "state": "kernel", "start_ns": 200_000, "end_ns": 700_000,
        "call": "recvfrom", "errno": None, "fd": 3, "line": run.call_log[0].line,
        "message": None, "note": "",
    }  # fmt: skip
    window = run.between(0, 1_000_000)
    assert [i.end for i in window.lane("process")] == [200_000, 700_000, 1_000_000]


def test_trace_events_are_chromes(run: Timeline) -> None:
    trace = json.loads(json.dumps(run.to_trace_events()))
    spans = [e for e in trace["traceEvents"] if e["ph"] == "X"]
    names = {e["args"]["name"] for e in trace["traceEvents"] if e["ph"] == "M"}
    assert len(spans) == len(run.intervals)
    assert {e["pid"] for e in trace["traceEvents"]} == {1}
    assert {"blocking (simulated)", "process", "message 1", "network"} <= names
    assert spans[1]["ts"] == 200.0
    assert spans[1]["dur"] == 500.0
    assert spans[1]["name"] == "recvfrom: kernel"


def test_what_goes_on_at_once_has_rows_of_its_own() -> None:
    """Complete events of one row must not overlap: Perfetto drops those that do."""
    run = simulate(models.multiplexing, traffic.burst(3, size=1_000))
    rows: dict[int, list[tuple[float, float]]] = {}
    for event in run.to_trace_events()["traceEvents"]:
        if event["ph"] == "X":
            rows.setdefault(event["tid"], []).append((event["ts"], event["ts"] + event["dur"]))
    for spans in rows.values():
        assert all(end <= start for (_, end), (start, _) in pairwise(sorted(spans)))
    names = [e["args"]["name"] for e in run.to_trace_events()["traceEvents"] if e["ph"] == "M"]
    assert {"network", "network 2", "network 3"} <= set(names)


# -- a part that is cut out ------------------------------------------------------------------------


def test_a_part_knows_its_window_and_what_was_cut(run: Timeline) -> None:
    start, end = 1_000_000, 22_000_000
    part = run.between(start, end)
    assert part.window == (start, end, run.end)
    assert (part.start, part.end, part.run_end) == (start, end, run.end)
    for i in part.intervals:
        (whole,) = (j for j in run.intervals if (j.lane, j.start, j.end) == (i.lane, *i.whole))
        assert (i.start, i.end) == (max(whole.start, start), min(whole.end, end))
        assert (i.cut is None) == (i == whole)
    assert {i.cut is None for i in part.intervals} == {True, False}


def test_a_part_of_a_part_knows_the_whole_run(run: Timeline) -> None:
    twice = run.between(1_000_000, 22_000_000).between(2_000_000, 21_500_000)
    assert twice == run.between(2_000_000, 21_500_000)
    assert run.between(0, run.end) == run


def test_json_keeps_a_part_and_reads_what_knew_none(run: Timeline) -> None:
    part = run.between(1_000_000, 22_000_000)
    assert Timeline.from_json(part.to_json()) == part
    assert "window" not in json.loads(run.to_json())
    assert all(len(row) == 7 for row in json.loads(run.to_json())["intervals"])


def test_what_is_counted_is_of_the_part() -> None:
    """And where the program is blocked does not change because the end of a wait is cut off."""
    run = simulate(models.multiplexing, traffic.several(3))
    second = run.calls().index(("select", None), 1)
    part = run.between(run.call_log[second].start, run.end - 1)
    assert part.calls() == run.calls()[second:]
    for phase in ("wait", "copy"):
        spans = run.blocked_spans(phase)
        parts = [run.between(at, at + 500_000) for at in range(0, run.end, 500_000)]
        assert sum(part.blocked(phase) for part in parts) == run.blocked(phase)
        assert spans


def test_each_process_has_its_own_part_of_what_is_blocked() -> None:
    run = simulate(models.blocking, traffic.several(6, 7, connections=3))
    for phase in ("wait", "copy"):
        parts = {name: run.blocked_spans(phase, name) for name in run.processes}
        assert sorted(chain(*parts.values())) == sorted(run.blocked_spans(phase))
        for name, spans in parts.items():
            assert spans == replace(run, processes=(name,)).blocked_spans(phase) != []


def test_the_first_row_that_is_free_is_taken_and_no_other_one_moves() -> None:
    spans = [(0, 10), (0, 30), (10, 40), (12, 20), (20, 25), (30, 35)]
    way = tuple(Interval("network", start, end, "transit") for start, end in spans)
    run = Timeline("t", "simulated", 1, way, (), (), ())
    rows = [e["tid"] for e in run.to_trace_events()["traceEvents"] if e["ph"] == "X"]
    assert rows == [1, 2, 1, 3, 3, 2]


def test_to_wait_for_a_core_amid_a_copy_is_neither_phase() -> None:
    both = traffic.replay([(20_000_000, 1_000, 0), (20_000_000, 1_000, 1)])
    run = simulate(models.nonblocking, both, cores=1)
    copies = {i.call.process: i for i in run.intervals if i.state == COPY and i.call}
    amid = [
        ready
        for name, copy in copies.items()
        for ready in run.lane(name)
        if ready.state == READY and copy.start < ready.start and ready.end < copy.end
    ]
    assert amid  # one of the two loses its core while the kernel copies for it
    blocked = sum(end - start for start, end in run.blocked_spans(COPY))
    in_line = sum(ready.duration for ready in amid)
    assert blocked == sum(copy.duration for copy in copies.values()) - in_line
