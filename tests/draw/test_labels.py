"""What is written over and under the bars: each label names its own bracket, and says all of it."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from legible import SVG, assert_legible, boxes

from iosim import (
    Costs,
    Timeline,
    clients,
    draw,
    jobs,
    models,
    pools,
    servers,
    simulate,
    traffic,
)
from iosim.calls import Program, ms, recvfrom
from iosim.draw.canvas import INK, text_width
from iosim.draw.labels import BLOCKED, flags_of
from iosim.draw.scene import Scale, Scene
from iosim.sim.question import ask

BRACKET = re.compile(r"M([\d.]+) ([\d.]+)(v-3)?H([\d.]+)(v3)?")


def two_clients() -> Timeline:
    """A server with a slow client and a quick one: many short calls between long ones."""
    slow = ("until", ms(20)), ("send", 12_000), ("until", ms(110)), ("receive", 12_000)
    quick = ("until", ms(70)), ("send", 1_000), ("receive", 1_000)
    story = clients.of(clients.script(*slow, rcvbuf=3_000), clients.script(*quick))
    return simulate(servers.reactor_epoll_out, story, sndbuf=4_000)


def brackets(svg: str) -> list[tuple[float, float, float, bool, bool]]:
    """Of each call: its left and right px, the y of its line, and is either end closed?"""
    found = []
    for path in ElementTree.fromstring(svg).iter(f"{SVG}path"):
        if path.get("stroke-width") == "0.8" and path.get("stroke") == INK:
            for left, y, opens, right, closes in BRACKET.findall(path.attrib["d"]):
                line = float(y) - 3 * bool(opens)
                found.append((float(left), float(right), line, bool(opens), bool(closes)))
    return found


RUNS = {
    "two clients": two_clients,
    "polling": lambda: simulate(models.nonblocking, traffic.several(2)).between(ms(5), ms(14)),
    "many": lambda: simulate(models.multiplexing_epoll, traffic.several(9, 7, connections=3)),
    "quick": lambda: simulate(models.multiplexing, traffic.several(9, 1), costs=Costs.typical()),
}


@pytest.mark.parametrize("name", RUNS)
def test_a_label_next_to_the_brackets_stands_over_its_own_alone(name: str) -> None:
    svg = draw.svg(RUNS[name]())
    assert_legible(svg)
    calls = brackets(svg)
    for left, top, right, bottom, text in boxes(svg):
        baseline = bottom - 0.2 * 9
        under = [
            (a, b) for a, b, y, *_ in calls
            if abs(y - 3 - baseline) < 0.2 and a + 1 < right and left < b - 1
        ]  # fmt: skip
        assert len(under) <= 1, (text, under, top)


def test_a_call_at_either_end_of_the_axis_has_its_label() -> None:
    run = simulate(models.nonblocking, traffic.one())
    first, last = run.call_log[4], run.call_log[10]
    svg = draw.svg(run, window=(first.start - 10_000, last.start + 20_000))
    assert_legible(svg)
    assert [text for *_, text in boxes(svg)].count("recvfrom EAGAIN") == 7
    submitted = draw.svg(simulate(models.asynchronous, traffic.one(), costs=Costs.typical()))
    assert "io_uring_submit" in [text for *_, text in boxes(submitted)]


def test_what_the_axis_cuts_off_is_open_there() -> None:
    """A call, and where it is blocked, did not begin at the edge of the picture."""
    run = simulate(models.blocking, traffic.one())
    (call,) = run.call_log
    whole = brackets(draw.svg(run))
    assert [ends[3:] for ends in whole] == [(True, True)]
    for start, end, ends in (
        (call.start + 600_000, run.end, (False, True)),
        (call.start - 1, call.end - 1, (True, False)),
        (call.start + 600_000, call.end - 600_000, (False, False)),
    ):
        drawn = draw.svg(run.between(start, end))
        assert [ends[3:] for ends in brackets(drawn)] == [ends]
        assert len(re.findall(r"M[\d.]+ [\d.]+v5H", drawn)) == (2 if ends[0] else 1)
        assert len(re.findall(r"H[\d.]+v-5", drawn)) == (2 if ends[1] else 1)
    magnified = draw.svg(simulate(models.blocking, traffic.one(), costs=Costs.typical()))
    assert [ends[3:] for ends in brackets(magnified)] == [(True, True), (False, True)]


def test_a_call_that_sleeps_for_long_is_not_joined_with_its_neighbours() -> None:
    def deaf(fd: int, nbytes: int) -> Program:
        for _ in range(11):
            yield recvfrom(fd, 1_000)

    run = simulate(deaf, traffic.replay([(ms(20), 1_000)] * 10 + [(ms(80), 1_000)]))
    texts = [text for *_, text in boxes(draw.svg(run))]
    assert [text for text in texts if text.startswith("recvfrom")] == [
        "recvfrom", "recvfrom ×9", "recvfrom",
    ]  # fmt: skip


def test_no_signal_hides_in_what_is_joined() -> None:
    """Each is told: by a label of its own, or in the turn that repeats."""
    run = simulate(models.signal_driven, traffic.several(3, 4))
    for right in range(120, 700, 20):
        scale = Scale(0, run.end, 60, right)
        told, joined = 0, []
        for flag in flags_of(Scene(run), "process", scale):
            turn, _, times = flag.texts[0].partition(" ×")
            told += turn.split(", ").count("SIGIO") * int(times or 1)
            joined += [flag] if times and "SIGIO" not in turn else []
        signals = [i for i in run.lane("process") if i.note.startswith("signal")]
        assert told == len(signals) > 1
        assert not any(f.start < i.start < f.end for f in joined for i in signals)


# -- the legend ------------------------------------------------------------------------------------


@pytest.mark.parametrize("program", models.FIVE)
def test_the_legend_names_brackets_and_arrivals_where_they_are(program: Any) -> None:
    run = simulate(program, traffic.one(), costs=Costs.typical())
    for svg in (draw.svg(run), draw.svg(run.between(0, ms(10))), draw.clock([run]).svg):
        words = [text for *_, text in boxes(svg)]
        assert_legible(svg)
        assert ("a message arrives" in words) == ('stroke-dasharray="2 2"' in svg)
        for phase, colour in BLOCKED.items():
            assert (f"blocked in {phase}" in words) == (colour in svg)


def test_the_arrivals_of_two_runs_are_told_apart() -> None:
    story = traffic.one()
    predicted = simulate(models.blocking, story, costs=Costs.typical())
    measured = replace(simulate(models.blocking, traffic.one(21)), kernel="measured")
    for svg in (draw.overlay(predicted, measured).svg, draw.clock([predicted], [measured]).svg):
        words = [text for *_, text in boxes(svg)]
        assert {"predicted: a message arrives", "measured: a message arrives"} <= {*words}
        assert "a message arrives" not in words
        main, _, _ = svg.partition("magnified")
        first, second = (
            set(re.findall(rf'M([\d.]+) [\d.]+V[^"]*"[^/]*stroke-dasharray="{dash}"', main))
            for dash in ("2 2", "6 3")
        )
        assert len(first) == len(second) == 1
        assert first != second


# -- the axis --------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(
    start=st.integers(0, 20_000_000), length=st.integers(1, 30_000_000),
    width=st.sampled_from([320, 500, 700, 1200]),
)  # fmt: skip
def test_each_tick_keeps_its_time(start: int, length: int, width: int) -> None:
    run = simulate(models.nonblocking, traffic.one(), costs=Costs.typical())
    for svg in (draw.svg(run, width, (start, start + length)), draw.clock([run], width=width).svg):
        assert_legible(svg)
        ticks = re.findall(r"M[\d.]+ ([\d.]+)v4", svg)
        times = [b for *_, b, text in boxes(svg) if re.fullmatch(r"-?[\d,]+(\.\d+)?", text)]
        assert len(ticks) == len(times) > 0


# -- words beside the bars -------------------------------------------------------------------------


def test_the_time_after_the_arrival_hides_no_bar() -> None:
    """It stands behind what it is about, or under it."""
    runs = [simulate(program, traffic.one(), costs=Costs.typical()) for program in models.FIVE]
    svg = draw.clock(runs).svg
    assert_legible(svg)
    bars = [
        tuple(float(r.attrib[name]) for name in ("x", "y", "width", "height"))
        for r in ElementTree.fromstring(svg).iter(f"{SVG}rect") if "data-lane" in r.attrib
    ]  # fmt: skip
    told = [box for box in boxes(svg) if "after its arrival" in box[-1]]
    assert len(told) == 10
    for left, top, right, bottom, words in told:
        for x, y, wide, high in bars:
            apart = right <= x or x + wide <= left or bottom <= y or y + high <= top + 1
            assert apart, words


def test_a_lens_names_a_message_as_its_lane_is_named() -> None:
    story = traffic.several(3, connections=3)
    for run, words in (
        (simulate(models.blocking, traffic.one(), costs=Costs.typical()), "message 1"),
        (simulate(models.multiplexing, story, costs=Costs.typical()), "message 1"),
    ):
        named = {i.lane: f"{i.lane}x" for i in run.intervals if i.lane.startswith("message")}
        other = replace(
            run, intervals=tuple(replace(i, lane=named.get(i.lane, i.lane)) for i in run.intervals)
        )
        assert f"times: {words}, " in draw.svg(run)
        assert f"times: a message of {words}x, " in draw.svg(other)


def test_the_label_of_a_call_has_a_halo() -> None:
    """An arrival's line may cross it."""
    svg = draw.svg(two_clients())
    labels = re.findall(r'<text [^>]*font-size="9"[^>]*>(?:send|recvfrom|epoll_wait)<', svg)
    assert len(labels) > 3
    assert all('paint-order="stroke"' in label for label in labels)


def test_a_heading_says_once_how_many_cores() -> None:
    run = simulate(models.blocking, traffic.one(), cores=2)
    real = replace(run, kernel="measured", machine="Linux 6.18, 2 cores, CPython 3.11")
    small = replace(real, cores=1)
    for svg in (draw.svg(real), draw.clock([run], [real]).svg):
        assert " ".join(text for *_, text in boxes(svg)).count("2 cores") == 1
    assert str(real).partition("\n")[0].count("2 cores") == 1
    assert all("1 core" in text and "2 cores" in text for text in (draw.svg(small), str(small)))


# -- alt text --------------------------------------------------------------------------------------


def alt(picture: Any) -> str:
    svg = draw.svg(picture) if isinstance(picture, Timeline) else picture.svg
    return ElementTree.fromstring(svg).findtext(f"{SVG}desc") or ""


def test_each_alt_text_says_simulated_or_measured() -> None:
    run = simulate(models.blocking, traffic.one())
    real = replace(run, kernel="measured")
    for kind, one in (("simulated", run), ("measured", real)):
        for picture in (one, draw.clock([one]), draw.corners([one]), draw.stevens(one)):
            assert kind in alt(picture).lower()
    assert "by simulated and measured runs" in alt(draw.corners([run, real])).lower()
    assert "simulated" in alt(draw.asked(draw.question_of(ask("select", 12, (3, 5)))))


def test_an_alt_text_says_who_there_is_and_what_is_a_sum() -> None:
    two = simulate(models.blocking, traffic.several(2, connections=2))
    assert ": 2 processes on 1 core" in alt(two)
    assert "; in sum over them: running its own code" in alt(two)
    assert "in sum" not in alt(simulate(models.blocking, traffic.one()))
    story = clients.several(3, clients.script(("send", 100), ("receive", 100)))
    pool = simulate(servers.reactor_pool, story, cores=2, workers=3)
    assert ": 1 process and 3 threads on 2 cores" in alt(pool)
    helped = simulate(models.asynchronous_aio, traffic.one(), cores=2)
    assert ": 1 process and 1 helper thread on 2 cores" in alt(helped)


def test_alt_texts_are_bounded() -> None:
    """Lanes of a kind are told together, and of many kinds of calls the most frequent."""
    crew = simulate(pools.notification, jobs.of(jobs.computing(2)), workers=20)
    assert "20 workers in sum over them: " in alt(crew)
    five = [simulate(program, traffic.one(), costs=Costs.typical()) for program in models.FIVE]
    for picture in (crew, two_clients(), draw.clock(five)):
        assert 100 < len(alt(picture)) < 470
    assert "and 2 other kinds" not in alt(two_clients())
    story = clients.several(3, clients.script(("send", 100), ("receive", 100)))
    assert "other kinds. " in alt(simulate(servers.reactor_pool, story, workers=3))


def test_a_label_that_flies_to_the_left_over_brackets_hangs_on_its_pole() -> None:
    """The pole is bent under it: it cannot seem to name what it flies over."""
    svg = draw.svg(two_clients())
    bent = re.findall(r"M([\d.]+) [\d.]+V([\d.]+)H([\d.]+)", svg)
    labels = {(x, y): text for x, y, text in re.findall(
        r'<text x="([\d.]+)" y="([\d.]+)" font-size="9"[^>]*>([^<]+)<', svg
    )}  # fmt: skip
    assert bent
    for pole, y, x in bent:
        text = labels[x, f"{float(y) - 2.5:.1f}"]
        assert 0 < float(pole) - float(x) - text_width(text, 9) < 4
