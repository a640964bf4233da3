"""What judges others is judged: compare() and Figure 6.6, over lanes that were written by hand."""

from __future__ import annotations

from dataclasses import replace
from errno import EAGAIN
from typing import Any

import pytest

from iosim import Timeline, compare, models, simulate, traffic
from iosim.trace import (
    COPY,
    GIL,
    KERNEL,
    QUEUED,
    READY,
    SLEEPING,
    USER,
    WAIT,
    Call,
    Corner,
    Delivery,
    Interval,
    Row,
)

LOOKED = Call(0, "p", "recvfrom", 0, 10, EAGAIN)
WAITED = Call(1, "p", "recvfrom", 20, 100, None, waits=True)
LANE = [
    (KERNEL, 0, 10, LOOKED), (USER, 10, 20, None), (KERNEL, 20, 30, WAITED),
    (SLEEPING, 30, 60, WAITED), (READY, 60, 70, WAITED), (KERNEL, 70, 80, WAITED),
    (READY, 80, 85, WAITED), (KERNEL, 85, 100, WAITED),
]  # fmt: skip
DATA = [
    (WAIT, 0, 50, None, 1), (QUEUED, 50, 70, None, 1), (COPY, 70, 90, WAITED, 1),
    (WAIT, 0, 55, None, 2), (QUEUED, 55, 80, None, 2), (COPY, 80, 100, WAITED, 2),
    (WAIT, 0, 95, None, 3), (QUEUED, 95, 100, None, 3),
]  # fmt: skip
FATES = (
    Delivery(1, 0, 5, 0, 50, 90, "p", "return"),
    Delivery(2, 0, 5, 0, 55, 100, "p", "return"),
    Delivery(3, 0, 5, 0, 95, None),
)


def told(
    lane: Any = LANE, data: Any = DATA, calls: Any = (LOOKED, WAITED), fates: Any = FATES
) -> Timeline:
    own = [Interval("p", start, end, state, call) for state, start, end, call in lane]
    kept = [Interval(f"message {n}", start, end, state, call, n)
            for state, start, end, call, n in data]  # fmt: skip
    return Timeline("t", "simulated", 1, (*own, *kept), tuple(calls), tuple(fates), ("p",))


# -- compare -----------------------------------------------------------------------------------


def test_every_quantity_is_what_the_lanes_say() -> None:
    found = compare(told(), told())
    assert {quantity.name: quantity.measured for quantity in found.quantities} == {
        "latency after arrival": 42.5,  # the median of 40 and 45; the third was not received
        "blocked in wait": 25,  # asleep from 30, until the second came at 55
        "blocked in copy": 25,  # not from 80 to 85: to wait for a core is neither phase
        "data queued": 20 + 25 + 5,
        "data copied": 40,
        "own code": 10,
        "in the kernel": 45,
        "ready": 15,
        "CPU": 55,
        "CPU while waiting": 50,  # all of it until 95, when the last message came
        "calls": 2,
        "voluntary switches": 1,
        "involuntary switches": 1,
    }
    assert {quantity.error for quantity in found.quantities} == {0}


@pytest.mark.parametrize(
    ("calls", "place", "predicted", "measured"),
    [
        ((replace(LOOKED, errno=None), WAITED), 1, "recvfrom EAGAIN", "recvfrom"),
        ((LOOKED, replace(WAITED, errno=EAGAIN)), 2, "recvfrom", "recvfrom EAGAIN"),
        ((LOOKED, replace(WAITED, errno=4)), 2, "recvfrom", "recvfrom EINTR"),
        ((LOOKED, replace(WAITED, name="recvmsg")), 2, "recvfrom", "recvmsg"),
        ((LOOKED,), 2, "recvfrom", "-"),
        ((LOOKED, WAITED, replace(WAITED, id=2, name="close")), 3, "-", "close"),
        ((WAITED, LOOKED), 1, "recvfrom EAGAIN", "recvfrom"),
        ((replace(LOOKED, trap=False), WAITED), 1, "recvfrom EAGAIN", "recvfrom"),
    ],
)
def test_the_first_call_that_differs_is_named_also_if_only_its_errno_does(
    calls: Any, place: int, predicted: str, measured: str
) -> None:
    found = compare(told(), told(calls=calls))
    assert not found.same_calls
    assert found.verdict().startswith(
        f"calls: differ at number {place}: predicted {predicted}, simulated {measured}; "
    )
    turned = compare(told(calls=calls), told())
    assert turned.verdict().startswith(
        f"calls: differ at number {place}: predicted {measured}, simulated {predicted}; "
    )


def test_what_differs_in_its_times_only_is_identical() -> None:
    other = told(calls=(replace(LOOKED, end=11, fd=9, line=3), WAITED))
    assert compare(told(), other).verdict() == ("calls: identical, all 2; Figure 6.6: the same row")


ROW = Row("blocked", "free", "kernel", "signal")


@pytest.mark.parametrize(
    ("measured", "same"),
    [
        (ROW, True),
        (replace(ROW, wait="free"), False),
        (replace(ROW, copy="blocked"), False),
        (replace(ROW, starts="program"), False),
        (replace(ROW, wait=None), True),  # the run had no such phase
        (replace(ROW, copy=None, starts=None), True),
    ],
)
def test_a_row_is_another_if_one_phase_that_the_run_shows_is(measured: Row, same: bool) -> None:
    found = replace(compare(told(), told()), figure_6_6=(ROW, measured))
    assert found.same_row == same
    words = "the same row" if same else "another row"
    assert found.verdict() == f"calls: identical, all 2; Figure 6.6: {words}"
    shown = replace(found, figure_6_6=(replace(ROW, wait=None), ROW))
    assert not shown.same_row  # what only the prediction lacks was not predicted


# -- Figure 6.6 --------------------------------------------------------------------------------

ARMED = Call(2, "p", "fcntl", 0, 10, arms=True)
RUNS_ON = [(KERNEL, 0, 10, ARMED), (USER, 10, 100, None)]
ONE = (replace(FATES[0], told="signal"),)
OF_ONE = [(WAIT, 0, 50, None, 1), (QUEUED, 50, 90, None, 1)]


def test_blocked_comes_before_what_else_is_true_of_a_wait() -> None:
    assert told().figure_6_6() == Row("blocked", "blocked", "program", "return")


@pytest.mark.parametrize(
    ("wait", "change"),
    [
        ("free", {}),
        ("free", {"fates": (replace(ONE[0], told="completion"),)}),
        (None, {"fates": (replace(ONE[0], told="return"),)}),  # it had not asked to be told
        (None, {"fates": (replace(ONE[0], process="q"),)}),
        (None, {"calls": (replace(ARMED, arms=False),)}),
        (None, {"calls": (replace(ARMED, process="q"),)}),
        (None, {"calls": (replace(ARMED, end=50),)}),  # only once it was there
        ("free", {"calls": (replace(ARMED, end=49),)}),
        (None, {"lane": [(KERNEL, 0, 10, ARMED), (KERNEL, 10, 50, None), (USER, 50, 100, None)]}),
        ("free", {"lane": [(KERNEL, 0, 10, ARMED), (KERNEL, 10, 49, None), (USER, 49, 100, None)]}),
        (None, {"lane": [(USER, 0, 10, None), (SLEEPING, 10, 90, None)]}),  # before it asked
    ],
)
def test_a_wait_is_free_if_own_code_ran_in_it_after_the_program_asked_to_be_told(
    wait: str | None, change: dict[str, Any]
) -> None:
    run = told(**{"lane": RUNS_ON, "data": OF_ONE, "calls": (ARMED,), "fates": ONE} | change)
    assert run.figure_6_6().wait == wait


CHECKED = (replace(FATES[0], told="check"),)


@pytest.mark.parametrize(
    ("wait", "change"),
    [
        ("checks", {}),
        ("checks", {"calls": (replace(LOOKED, end=50),)}),
        (None, {"calls": (replace(LOOKED, end=51),)}),  # it came meanwhile
        (None, {"calls": (replace(LOOKED, errno=None),)}),
        (None, {"calls": (replace(LOOKED, errno=4),)}),
        (None, {"calls": (replace(LOOKED, process="q"),)}),
        (None, {"fates": (replace(CHECKED[0], told="return"),)}),
    ],
)
def test_a_wait_is_checks_if_the_program_looked_in_vain_and_found_it_so(
    wait: str | None, change: dict[str, Any]
) -> None:
    lane = [(KERNEL, 0, 10, LOOKED), (USER, 10, 100, None)]
    run = told(**{"lane": lane, "data": OF_ONE, "calls": (LOOKED,), "fates": CHECKED} | change)
    assert run.figure_6_6().wait == wait
    assert run.checks() == sum(
        call.errno == EAGAIN and call.process == "p" for call in run.call_log
    )


BY_KERNEL = (COPY, 50, 60, None, 1)
BY_CALL = (COPY, 50, 60, WAITED, 1)
IN_SUBMISSION = (COPY, 50, 60, ARMED, 1)
BY_HELPER = (COPY, 50, 60, replace(WAITED, process="helper"), 1)


@pytest.mark.parametrize(
    ("copies", "copy", "starts"),
    [
        ([], None, None),
        ([BY_KERNEL], "free", "kernel"),
        ([BY_HELPER], "free", "kernel"),
        ([BY_CALL], "blocked", "program"),
        ([IN_SUBMISSION], None, None),
        ([BY_KERNEL, BY_CALL], "blocked", "program"),  # of several kinds: who was blocked once is
        ([BY_CALL, BY_HELPER], "blocked", "program"),
        ([IN_SUBMISSION, BY_KERNEL], "free", "kernel"),
        ([IN_SUBMISSION, BY_CALL], "blocked", "program"),
    ],
)
def test_copies_of_several_kinds_make_one_row(
    copies: list[Any], copy: str | None, starts: str | None
) -> None:
    row = told(data=copies).figure_6_6()
    assert (row.copy, row.starts) == (copy, starts)


@pytest.mark.parametrize(
    ("ways", "way"),
    [
        (["check", "return", "signal", "completion"], "completion"),
        (["check", "return", "signal"], "signal"),
        (["check", "return"], "return"),
        (["check", ""], "check"),
        (["", ""], None),
    ],
)
def test_of_several_ways_to_be_told_the_row_has_the_most_asynchronous(
    ways: list[str], way: str | None
) -> None:
    fates = [replace(FATES[0], message=n, told=each) for n, each in enumerate(ways, 1)]
    for order in (fates, fates[::-1]):
        assert told(data=[], fates=order).figure_6_6().told == way


# -- corners -----------------------------------------------------------------------------------

SELECTED = Call(3, "p", "select", 10, 20, waits=True)
COPIED = [(COPY, 70, 90, WAITED, 1)]


@pytest.mark.parametrize(
    ("names", "thread", "change"),
    [
        (("recvfrom",), "blocking", {}),
        (("recvfrom",), "nonblocking", {"call": replace(WAITED, waits=False)}),
        (("recvfrom",), "nonblocking", {"state": READY}),
        (("recvfrom",), "nonblocking", {"note": GIL}),
        (("recvfrom",), "nonblocking", {"lane": "q"}),
        (("recvfrom",), "nonblocking", {"end": 30}),  # no time
        (("recvfrom",), "nonblocking", {"call": None}),
        (("recvfrom",), "nonblocking", {"call": SELECTED}),  # it slept in another call
        (("select",), "blocking", {"call": SELECTED}),
        (("select", "recvfrom"), "blocking", {"call": SELECTED}),
        (("recvfrom",), "nonblocking", {"call": replace(LOOKED, waits=True)}),  # in an earlier one
    ],
)
def test_a_call_is_blocking_if_its_thread_sleeps_in_that_call(
    names: tuple[str, ...], thread: str, change: dict[str, Any]
) -> None:
    sleep = replace(Interval("p", 30, 60, SLEEPING, WAITED), **change)
    run = told(lane=[], data=COPIED, calls=(LOOKED, SELECTED, WAITED))
    run = replace(run, intervals=(sleep, *run.intervals))
    assert run.corner(*names) == Corner("synchronous", thread)


@pytest.mark.parametrize(
    ("ends", "call"),
    [
        ([10], "asynchronous"),
        ([59], "asynchronous"),
        ([60], "synchronous"),  # it returned with the end of the copy: not before it
        ([10, 60], "synchronous"),  # the last that had returned by then asked for it
        ([10, 61], "asynchronous"),  # and this one did not
    ],
)
def test_a_call_is_asynchronous_if_it_returns_before_what_it_asked_for_is_done(
    ends: list[int], call: str
) -> None:
    armed = [replace(ARMED, id=2 + n, start=n, end=end) for n, end in enumerate(ends)]
    run = told(lane=[], data=[BY_KERNEL], calls=armed)
    assert run.corner("fcntl") == Corner(call, "nonblocking")


def test_an_expression_begins_with_its_first_call() -> None:
    """select, then recvfrom: it began with the recvfrom, so that the sleep in select was lost."""
    run = simulate(models.multiplexing, traffic.several(2))
    assert run.corner("recvfrom") == Corner("synchronous", "nonblocking")
    assert run.corner("select", "recvfrom") == Corner("synchronous", "blocking")


def test_who_asked_for_nothing_stands_in_no_corner() -> None:
    for run in (told(data=[]), told(data=COPIED, calls=(replace(WAITED, process="q"),))):
        with pytest.raises(ValueError, match="no recvfrom in this run asked for a result"):
            run.corner("recvfrom")
    with pytest.raises(ValueError, match="no call in this run asked for a result"):
        told().corner()
    with pytest.raises(ValueError, match="no select and recvmsg in this run asked for a result"):
        told().corner("select", "recvmsg")
    late = told(data=[BY_KERNEL], calls=(replace(ARMED, end=61),))  # it asked once all was over
    with pytest.raises(ValueError, match="no fcntl in this run asked for a result"):
        late.corner("fcntl")
