"""Several runs on one clock: legible, told apart, to scale, and each measured run in its place."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from functools import cache
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from legible import SVG, assert_legible

from iosim import Costs, Timeline, draw, measure, models, predict, simulate, traffic
from iosim.draw.canvas import look_of

MODELS = [getattr(models, name) for name in models.MODEL_OF]
EXTREMES = {
    f"{count} of {size} B every {every} ms": traffic.several(count, every, size)
    for count in (1, 5) for size in (1, 60_000) for every in (0, 20, 200)
}  # fmt: skip


@cache
def five(story: traffic.Traffic, costs: Costs | None = None) -> tuple[Timeline, ...]:
    price = costs or Costs.typical()
    return tuple(
        predict(program, story, costs=price, cores=2, rcvbuf=1 << 20) for program in models.FIVE
    )


def stand_in(run: Timeline, by: float = 30_000) -> Timeline:
    """A run that says of itself that it was measured: slower to wake up than predicted."""
    price = replace(Costs.typical(), wakeup=15_000 + by, copy_base=9_000)
    again = simulate(getattr(models, run.title), traffic.one(), costs=price, cores=2)
    return replace(again, kernel="measured", machine="Linux 9.9, 2 cores")


def rects(svg: str, run: str) -> list[dict[str, str]]:
    """The intervals of one run, in every panel."""
    groups = ElementTree.fromstring(svg).iter(f"{SVG}g")
    rows = [group for group in groups if group.get("data-run") == run]
    return [dict(r.attrib) for row in rows for r in row if "data-lane" in r.attrib]


# -- what is drawn ---------------------------------------------------------------------------------


@pytest.mark.parametrize("costs", [Costs.typical(), Costs.textbook()], ids=["typical", "textbook"])
@pytest.mark.parametrize("story", EXTREMES)
def test_legible_and_deterministic_at_the_extremes(story: str, costs: Costs) -> None:
    runs = five(EXTREMES[story], costs)
    for measured in ((), [stand_in(run) for run in runs[:3]]):
        first, second = (draw.clock(runs, measured) for _ in range(2))
        assert (first.svg, first.text) == (second.svg, second.text)
        assert_legible(first.svg)
        assert all(len(line) <= 88 for line in first.text.splitlines() if " |" in line)


@settings(max_examples=10, deadline=None)
@given(
    programs=st.lists(st.sampled_from(MODELS), min_size=1, max_size=8),
    count=st.integers(1, 12),
    every=st.floats(0, 30),
    connections=st.integers(1, 3),
    width=st.sampled_from([320, 500, 700, 1200]),
    costs=st.sampled_from([Costs.textbook(), Costs.typical()]),
)
def test_legible_whatever_comes(
    programs: list[Any], count: int, every: float, connections: int, width: int, costs: Costs
) -> None:
    story = traffic.several(count, every, connections=min(connections, count))
    runs = [simulate(program, story, costs=costs, cores=2) for program in programs]
    real = [replace(run, kernel="recorded", machine="somewhere") for run in runs[::2]]
    for measured in ([], real):
        assert_legible(draw.clock(runs, measured, width).svg)


def test_every_interval_is_there_with_its_run() -> None:
    runs = five(traffic.one())
    svg = draw.clock(runs).svg
    for run in runs:
        drawn = {(r["data-state"], int(r["data-start"]), int(r["data-end"]))
                 for r in rects(svg, f"{run.title}, simulated")}  # fmt: skip
        wanted = {(look_of(i), i.start, i.end) for i in run.intervals if i.lane != "network"}
        assert wanted <= drawn


def test_lanes_and_calls_of_two_runs_never_share_a_name() -> None:
    runs = five(traffic.one())
    svg = draw.clock(runs, [stand_in(run) for run in runs]).svg
    owner: dict[str, set[str]] = {}
    for run in runs:
        for kind in ("predicted", "measured"):
            found = rects(svg, f"{run.title}, {kind}")
            assert found
            for rect in found:
                for key in ("data-lane", "data-call", "data-message"):
                    if key in rect:
                        name = f"{key} {rect[key]}"
                        owner.setdefault(name, set()).add(f"{run.title}, {kind}")
    assert all(len(owners) == 1 for owners in owner.values())


def test_px_and_ns_agree_in_both_panels() -> None:
    root = ElementTree.fromstring(draw.clock(five(traffic.one())).svg)
    panels = [g for g in root.iter(f"{SVG}g") if "data-x0" in g.attrib]
    assert len(panels) == 2
    for panel in panels:
        x0, x1, t0, t1 = (float(panel.attrib[f"data-{n}"]) for n in ("x0", "x1", "t0", "t1"))
        for rect in panel.iter(f"{SVG}rect"):
            if "data-lane" in rect.attrib:
                at = min(max(int(rect.attrib["data-start"]), t0), t1)
                x = x0 + (at - t0) * (x1 - x0) / (t1 - t0)
                assert float(rect.attrib["x"]) == pytest.approx(x, abs=1.01)


def test_a_measured_run_stands_directly_under_its_prediction() -> None:
    runs = five(traffic.one())
    svg = draw.clock(runs, [stand_in(run) for run in reversed(runs)]).svg
    order = list(dict.fromkeys(re.findall(r'data-run="([^"]+)"', svg)))
    assert order == [f"{run.title}, {kind}" for run in runs for kind in ("predicted", "measured")]
    assert svg.count(">PREDICTED</text>") == svg.count(">MEASURED</text>") == 1 + 2 * len(runs)
    assert ">SIMULATED<" not in svg


def test_a_copy_of_microseconds_can_be_seen_after_a_wait_of_milliseconds() -> None:
    svg = draw.clock(five(traffic.one(after_ms=20, size=60_000))).svg
    assert "magnified" in svg
    for run in ("blocking", "multiplexing", "signal_driven", "asynchronous"):
        copies = [r for r in rects(svg, f"{run}, simulated") if r["data-state"] == "copy"]
        assert len(copies) == 2
        assert max(float(r["width"]) for r in copies) > 25  # 7.3 µs of some 60


def test_what_is_near_in_time_is_laid_at_its_own_arrival() -> None:
    """A sender that was 3 ms late must not push its run out of the closer look."""
    story, late = traffic.one(), traffic.one(after_ms=23)
    runs = five(story)[:1]
    real = replace(predict(models.blocking, late, costs=Costs.typical(), cores=2),
                   kernel="measured")  # fmt: skip
    svg = draw.clock(runs, [real]).svg
    waits = [r for r in rects(svg, "blocking, measured") if r["data-state"] == "wait"]
    arrived = runs[0].deliveries[0].arrived
    assert [int(r["data-end"]) for r in waits] == [real.deliveries[0].arrived, arrived]


def test_no_closer_look_where_all_is_near() -> None:
    svg = draw.clock([simulate(models.blocking, traffic.one(after_ms=0))]).svg
    assert "magnified" not in svg
    assert "after its arrival" in svg


def test_two_runs_of_one_program_are_told_apart() -> None:
    slow = simulate(models.blocking, traffic.one(), costs=Costs.textbook())
    quick = simulate(models.blocking, traffic.one(), costs=Costs.typical())
    svg = draw.clock([slow, quick]).svg
    assert set(re.findall(r'data-run="([^"]+)"', svg)) == {
        "blocking, simulated", "blocking 2, simulated",
    }  # fmt: skip
    assert_legible(svg)


def test_in_words() -> None:
    runs = five(traffic.one())
    picture = draw.clock(runs, [stand_in(runs[0])])
    for form in (picture.text, picture.svg):
        assert "blocking: latency 51.4 µs, measured 89.1 µs; calls: identical, all 1" in form
    rows = [line.split()[:2] for line in picture.text.splitlines()]
    assert ["blocking", "predicted"] in rows
    assert ["blocking", "measured"] in rows
    desc = ElementTree.fromstring(picture.svg).findtext(f"{SVG}desc") or ""
    assert "5 runs on one clock" in desc
    assert "multiplexing, predicted: wait: blocked 20 ms, copy: blocked 1.4 µs, 53.9 µs" in desc
    assert "51.4 µs after its arrival" in desc


def test_a_run_without_a_message_is_drawn() -> None:
    empty = Timeline("nothing", "simulated", 1, (), (), (), ())
    assert_legible(draw.clock([empty]).svg)
    assert_legible(draw.clock([empty, *five(traffic.one())]).svg)


# -- what is refused -------------------------------------------------------------------------------


def test_a_bad_clock() -> None:
    run = five(traffic.one())[0]
    real = replace(run, kernel="measured")
    other = replace(real, title="nonblocking")
    cases: list[tuple[list[Any], list[Any], str]] = [
        ([], [], "clock takes 1 to 8 timelines, got 0"),
        ([run] * 9, [], "clock takes 1 to 8 timelines, got 9"),
        ([run], [run], "clock: the measured run of blocking is simulated"),
        ([run], [other], "clock: there is no other run of nonblocking on this clock"),
        ([run], [real, real], "clock: there is no other run of blocking on this clock"),
    ]
    for runs, measured, complaint in cases:
        with pytest.raises(ValueError) as error:
            draw.clock(runs, measured)
        assert str(error.value) == complaint
    with pytest.raises(TypeError, match="clock takes timelines, got 3"):
        draw.clock([3])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="width must be from"):
        draw.clock([run], width=100)


# -- the real kernel -------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform != "linux", reason="the real kernel here is Linux's")
@pytest.mark.parametrize(
    "story", [traffic.one(5, 1), traffic.several(5, 5, 60_000, "tcp")], ids=["one", "stream"]
)
def test_five_real_runs_are_legible(story: traffic.Traffic) -> None:
    real = [measure(program, story) for program in models.FIVE[:4]]
    picture = draw.clock(five(story), real)
    assert_legible(picture.svg)
    assert set(re.findall(r'data-run="(\w+), measured"', picture.svg)) == {r.title for r in real}
