"""A prediction is held to the run it was made for: calls, phases, and nearer than the null model.

The null model says that a message is in the program's hands when it arrives.  A busy machine makes
the measured latency longer, which does not help it, so these hold on one.  Whether the check can
fail at all is seen by faults that are planted into a cost, the order of calls and a phase.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from itertools import pairwise
from math import comb
from typing import Any, NamedTuple

import pytest

from iosim import (
    Costs,
    Timeline,
    compare,
    draw,
    measure,
    models,
    predict,
    simulate,
    traffic,
)  # fmt: skip
from iosim.calls import SIZE, Program, recvfrom, select
from iosim.prediction import this_machine
from iosim.trace import COPY, QUEUED
from iosim.trace.comparison import Comparison

RUNS = 15
WINDOWS = 3
LEVEL = 0.01  # of the sign test
EVENT_DRIVEN = ("blocking", "multiplexing", "multiplexing_poll", "multiplexing_epoll",
                "signal_driven")  # fmt: skip
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="the real kernel here is Linux's")


@cache
def stories() -> list[traffic.Traffic]:
    """Delays that the calibration does not use."""
    dice = random.Random(3)
    return [traffic.one(after_ms=5 + 6 * dice.random(), size=1_000) for _ in range(RUNS)]


class Measured(NamedTuple):
    """The runs of each program, between two calibrations: a machine's costs move by the second."""

    before: Costs
    runs: dict[str, list[Timeline]]
    after: Costs


@cache
def price(number: int) -> Costs:
    """Of this machine, before window `number`."""
    return Costs.calibrate(progress=False)


@cache
def window(number: int) -> Measured:
    before = price(number)
    runs = {
        name: [measure(getattr(models, name), story) for story in stories()]
        for name in EVENT_DRIVEN
    }
    return Measured(before, runs, price(number + 1))


Spoil = Callable[[Timeline], Timeline]


def predictions(name: str, price: Costs, spoil: Spoil = lambda run: run) -> list[Timeline]:
    program = getattr(models, name)
    return [spoil(predict(program, story, costs=price)) for story in stories()]


# -- the check: what is amiss with these predictions? --------------------------------------------


def sign_test(wins: int, runs: int) -> float:
    """The probability of at least so many wins by tossing a coin."""
    return sum(comb(runs, k) for k in range(wins, runs + 1)) / 2**runs


def complaints(predicted: list[Timeline], runs: list[Timeline]) -> list[str]:
    both = [compare(before, after) for before, after in zip(predicted, runs, strict=True)]
    found = []
    if not all(one.same_calls for one in both):
        found.append("calls")
    if not all(one.same_row for one in both):
        found.append("phases")
    if sign_test(sum(map(nearer, both)), len(both)) > LEVEL:
        found.append("latency")
    return found


def nearer(one: Comparison) -> bool:
    """Is the prediction nearer to the measured latency than 0, the null model's?"""
    latency = one["latency after arrival"]
    assert latency.error is not None
    assert latency.measured is not None
    return abs(latency.error) < latency.measured


@linux_only
@pytest.mark.parametrize("name", EVENT_DRIVEN)
def test_the_prediction_holds(name: str) -> None:
    """At the costs of before or of after, in some window: a wrong model is wrong in all of them.

    A further window is measured only where none before it will do.
    """
    told: list[list[str]] = []
    for before, runs, after in map(window, range(WINDOWS)):
        told += [complaints(predictions(name, costs), runs[name]) for costs in (before, after)]
        if [] in told:
            break
    assert [] in told
    assert {word for words in told for word in words} <= {"latency"}  # the rest always holds


# -- faults that it must see ---------------------------------------------------------------------

#: About what a small virtual machine has; a run at these costs stands for the real one where the
#: real one's noise could hide the fault.
MACHINE = Costs(
    syscall=1_100, user=2_200, network=25_000, copy_base=26_000, copy_per_byte=0.15, wakeup=5_000,
    context_switch=34_000, signal_delivery=130_000, select_per_fd=70, poll_per_fd=60,
    epoll_per_ready=180, timer_slack=55_000, eagain=9_000, step=16_000, start=85_000,
    first_call=34_000, cold_call=37_000, cold_receive=25_000, cold_user=100_000,
)  # fmt: skip


@pytest.mark.parametrize(
    ("name", "cost"),
    [
        ("blocking", "copy_base"),
        ("blocking", "context_switch"),
        ("blocking", "cold_receive"),
        ("multiplexing", "cold_user"),
        ("multiplexing_epoll", "cold_call"),
        ("signal_driven", "signal_delivery"),
    ],
)
def test_a_cost_ten_times_as_high_turns_it_red(name: str, cost: str) -> None:
    spoilt = replace(MACHINE, **{cost: 10 * getattr(MACHINE, cost)})
    runs = predictions(name, MACHINE)
    assert complaints(predictions(name, MACHINE), runs) == []
    assert complaints(predictions(name, spoilt), runs) == ["latency"]


def test_the_null_model_itself_is_no_prediction() -> None:
    nothing = Costs(**{name: 0 for name in Costs.names() if name != "time_slice"})
    runs = predictions("blocking", MACHINE)
    assert complaints(predictions("blocking", nothing), runs) == ["phases", "latency"]


@linux_only
def test_another_order_of_calls_turns_it_red(monkeypatch: pytest.MonkeyPatch) -> None:
    def multiplexing(fds: Any, nbytes: int) -> Program:
        """Selects once more after it has received."""
        yield select(fds)
        yield recvfrom(fds[0], SIZE)
        yield select(fds, 0)

    costs, measured, _ = window(0)
    runs = measured["multiplexing"]
    monkeypatch.setattr(models, "multiplexing", multiplexing)
    wrong = predictions("multiplexing", costs)
    assert "calls" in complaints(wrong, runs)
    difference = compare(wrong[0], runs[0]).difference
    assert difference is not None
    assert (difference.place, difference.predicted, difference.measured) == (3, "select", "-")


@linux_only
def test_a_wrong_phase_turns_it_red() -> None:
    def never_copied(run: Timeline) -> Timeline:
        lanes = (replace(i, state=QUEUED) if i.state == COPY else i for i in run.intervals)
        return replace(run, intervals=tuple(lanes))

    costs, runs, _ = window(0)
    wrong = predictions("blocking", costs, never_copied)
    assert "phases" in complaints(wrong, runs["blocking"])


# -- predict -------------------------------------------------------------------------------------


def test_a_prediction_is_a_simulation_at_these_costs() -> None:
    price = replace(Costs.typical(), machine="Linux 9.9, 3 cores")
    story = traffic.several(3)
    predicted = predict(models.multiplexing, story, costs=price, cores=3)
    plain = simulate(models.multiplexing, story, costs=price, cores=3)
    assert replace(predicted, machine="") == plain
    assert predicted.machine == "at the costs of Linux 9.9, 3 cores"
    assert predict(models.multiplexing, story, costs=Costs.textbook()).machine == ""


def test_the_machine_is_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []

    def once(*, progress: bool = True) -> Costs:
        asked.append(progress)
        return Costs.typical()

    monkeypatch.setattr(Costs, "calibrate", once)
    this_machine.cache_clear()
    try:
        first, second = (predict(models.blocking, traffic.one()) for _ in range(2))
    finally:
        this_machine.cache_clear()
    assert first == second
    assert asked == [True]


def test_cold_caches_are_paid_for_once_a_sleep() -> None:
    """To the ns, where every other cost is 0: the call's rest, then the program's own code."""
    free = Costs(**{name: 0 for name in Costs.names() if name != "time_slice"})
    cold = replace(free, cold_call=7, cold_user=11, start=100, first_call=13, user_per_byte=0.5)
    run = simulate(models.multiplexing, traffic.several(2, 20, 1_000), costs=cold)
    arrived = [20_000_000, 40_000_000]
    assert [(c.name, c.start, c.end) for c in run.call_log] == [
        ("select", 100, arrived[0] + 7),
        ("recvfrom", arrived[0] + 7 + 11 + 13, arrived[0] + 31),
        ("select", arrived[0] + 31 + 500, arrived[1] + 7),
        ("recvfrom", arrived[1] + 7 + 11, arrived[1] + 18),
    ]
    own = simulate(models.blocking, traffic.one(), costs=replace(cold, cold_receive=3))
    assert own.latency_ns() == 3  # a receive pays for its copy and this, and not for cold_call


def test_code_that_has_not_run_since_the_last_sleep_is_cold() -> None:
    """To the ns: before the second kind of request after a sleep; first calls have their price."""
    free = Costs(**{name: 0 for name in Costs.names() if name != "time_slice"})
    cold = replace(free, cold_user=11, first_call=13, cold_code=5)
    run = simulate(models.multiplexing, traffic.several(3, 20, 10), costs=cold)
    gaps = [after.start - before.end for before, after in pairwise(run.call_log)]
    assert gaps == [11 + 13, 5, 11, 5, 11]
    spins = simulate(models.nonblocking, traffic.one(20), costs=cold).call_log[1:]
    assert {b.start - a.end for a, b in pairwise(spins)} == {models.OTHER_WORK.ns}  # it never slept


def test_a_long_message_of_a_stream_comes_in_two_parts() -> None:
    """Whoever is woken by the first part may find both; who looks at once finds half."""
    free = Costs(**{name: 0 for name in Costs.names() if name != "time_slice"})
    two = replace(free, segment=5_000)
    story = traffic.one(20, 40_000, "tcp")
    quick = simulate(models.blocking, story, costs=two)
    assert [c.nbytes for c in quick.call_log] == [32_768, 7_232]
    assert quick.deliveries[0].arrived == 20_000_000
    slow = simulate(models.blocking, story, costs=replace(two, wakeup=6_000))
    assert [c.nbytes for c in slow.call_log] == [40_000]
    assert slow.deliveries[0].arrived == 20_005_000
    assert slow.latency_ns() == 1_000
    whole = simulate(models.blocking, traffic.one(20, 40_000, "udp"), costs=two)
    assert [c.nbytes for c in whole.call_log] == [40_000]
    for run in (quick, slow, whole):
        run.check()


# -- compare -------------------------------------------------------------------------------------


def test_a_comparison_of_equals() -> None:
    run = simulate(models.blocking, traffic.one())
    same = compare(run, run)
    assert same.same_calls
    assert same.same_row
    assert all(quantity.error == 0 for quantity in same.quantities)
    assert str(same).splitlines()[0] == (
        "blocking: calls: identical, all 1; Figure 6.6: the same row"
    )


TABLE = """\
blocking: calls: identical, all 1; Figure 6.6: the same row
                         predicted     measured  difference
latency after arrival   3,601.3 µs   3,600.0 µs     -1.3 µs
blocked in wait        20,300.0 µs  20,300.0 µs     +0.0 µs
"""


def test_a_table_of_both() -> None:
    """Held to the byte: 1,000 bytes more at 2 µs, less 2 ms of base."""
    story = traffic.one()
    cheap = replace(Costs.textbook(), copy_base=1_001_300)
    before, after = simulate(models.blocking, story, costs=cheap), simulate(models.blocking, story)
    both = compare(before, stand_in(after))
    assert str(both).startswith(TABLE)
    recorded = str(compare(before, replace(after, kernel="recorded")))
    assert recorded == str(both).replace("measured", "recorded")
    assert both["latency after arrival"].error == -1_300
    assert both["calls"].unit == ""
    with pytest.raises(KeyError):
        both["colour"]
    html = both._repr_mimebundle_()["text/markdown"]
    assert '<th scope="row">blocked in wait</th><td>20,300.0 µs</td>' in html


def test_a_message_that_was_not_received_has_no_latency() -> None:
    story = traffic.one(size=1_000)
    full = compare(*(simulate(idle, story, rcvbuf=room) for room in (1, 2_000)))
    assert full["latency after arrival"].predicted is None
    assert full["latency after arrival"].error is None
    assert full.rows()[0] == ("latency after arrival", "-", "-", "-")


def idle(fd: int, nbytes: int) -> Program:
    """Asks whether there is something, once."""
    yield select([fd], 30_000_000)


@pytest.mark.parametrize(
    ("second", "error", "line"),
    [
        ("run", TypeError, "compare takes two timelines, got 'run'"),
        (simulate(models.nonblocking, traffic.one()), ValueError,
         "compare takes two runs of one program, got blocking and nonblocking"),
    ],
)  # fmt: skip
def test_a_bad_comparison(second: Any, error: type[Exception], line: str) -> None:
    with pytest.raises(error, match=line):
        compare(simulate(models.blocking, traffic.one()), second)


def test_what_waiting_costs() -> None:
    for name, share in (("blocking", 0), ("nonblocking", 1), ("asynchronous", 1)):
        run = simulate(getattr(models, name), traffic.one(), costs=Costs.typical())
        waited = run.deliveries[0].arrived
        assert waited is not None
        assert round(run.cpu_while("wait") / waited, 2) == share
    with pytest.raises(ValueError, match="no phase 'sleeping': the phases are wait, queued, copy"):
        run.cpu_while("sleeping")


# -- overlay -------------------------------------------------------------------------------------


def stand_in(run: Timeline) -> Timeline:
    """A simulated run that says of itself that it was measured: a picture equal at every run."""
    return replace(run, kernel="measured", machine="Linux 9.9, 2 cores")


def both(name: str, **more: Any) -> tuple[Timeline, Timeline]:
    program, story = getattr(models, name), traffic.several(2, 10)
    late = replace(Costs.typical(), cold_user=60_000, cold_call=20_000)
    after = simulate(program, story, costs=late, cores=2, **more)
    return simulate(program, story, costs=Costs.typical(), cores=2), stand_in(after)


@pytest.mark.parametrize("name", list(models.MODEL_OF))
def test_an_overlay_of_every_model(name: str) -> None:
    picture = draw.overlay(*both(name))
    assert picture.svg == draw.overlay(*both(name)).svg
    assert picture.svg.count(">PREDICTED<") >= 3  # the heading, a process, its data
    assert picture.svg.count(">MEASURED<") >= 3
    assert "calls: identical" in picture.svg
    assert str(picture) == str(compare(*both(name)))


def test_the_overlay_names_who_was_later() -> None:
    predicted, run = both("multiplexing")
    svg = draw.overlay(predicted, run).svg
    late = run.deliveries[0].received - predicted.deliveries[0].received  # type: ignore[operator]
    assert f">measured {draw.duration(late)} later<" in svg
    assert ">measured 80 µs later<" in svg
    earlier = draw.overlay(stand_in(predicted), replace(run, kernel="recorded")).svg
    assert ">RECORDED<" in earlier
    turned = draw.overlay(replace(run, kernel="simulated"), stand_in(predicted)).svg
    assert ">measured 80 µs earlier<" in turned


def test_the_overlay_takes_a_recording() -> None:
    predicted, run = both("blocking")
    recorded = Timeline.from_json(json.dumps(json.loads(run.to_json()) | {"kernel": "recorded"}))
    svg = draw.overlay(predicted, recorded).svg
    assert ">RECORDED<" in svg
    assert ">MEASURED<" not in svg


def test_a_bad_overlay() -> None:
    predicted, run = both("blocking")
    with pytest.raises(ValueError, match="the second one is simulated"):
        draw.overlay(predicted, predicted)
    with pytest.raises(ValueError, match="width must be from 320 to 4,000 px, got 100"):
        draw.overlay(predicted, run, width=100)
