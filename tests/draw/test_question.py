"""One question to select, poll and epoll, step by step: its bytes, its looks, its price."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from legible import SVG, assert_legible
from questions import ask
from strategies import costs as any_costs

from iosim import Costs, Timeline, draw, models, simulate, traffic
from iosim.calls import (
    EPOLL_CTL_ADD,
    Program,
    compute,
    epoll_create,
    epoll_ctl,
    epoll_wait,
    getpid,
    ms,
    poll,
    select,
)
from iosim.draw import question_of
from iosim.draw.question import Asked, bits_bytes
from iosim.sim import question
from iosim.sim.question import CALLS, PATTERNS, ready_places
from iosim.trace import Scan

LATER = ms(50)


def by_select(fds: list[int], nbytes: int) -> Program:
    yield compute(LATER)
    yield select(fds, timeout=0)
    yield getpid()


def by_poll(fds: list[int], nbytes: int) -> Program:
    yield compute(LATER)
    yield poll(fds, timeout=0)
    yield getpid()


def by_epoll(fds: list[int], nbytes: int) -> Program:
    epfd = yield epoll_create()
    for fd in fds:
        yield epoll_ctl(epfd, EPOLL_CTL_ADD, fd)
    yield compute(LATER)
    yield epoll_wait(epfd, len(fds), timeout=0)
    yield getpid()


PROGRAMS = {"select": by_select, "poll": by_poll, "epoll": by_epoll}


def charged(asked: Asked, costs: Costs) -> tuple[int, int, list[int]]:
    """ns that the simulated kernel charges: for the question, for the own code after it, before."""
    never = ms(3_000_000)  # makes the story have as many connections as there are descriptors
    rows = [(0, 1, asked.fds.index(fd)) for fd in asked.ready]
    story = traffic.replay([*rows, (never, 1, len(asked.fds) - 1)])
    run = simulate(PROGRAMS[asked.call], story, costs=costs)
    *before, question, after = run.call_log
    assert question.name == {"epoll": "epoll_wait"}.get(asked.call, asked.call)
    return (
        question.end - question.start, after.start - question.end,
        [call.end - call.start for call in before],
    )  # fmt: skip


QUESTIONS = [
    (n, ready, pattern)
    for n, ready in ((1, 0), (1, 1), (7, 3), (64, 1), (64, 64))
    for pattern in PATTERNS
]


# -- the price -------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("price", [Costs.textbook(), Costs.typical()], ids=["textbook", "typical"])
@pytest.mark.parametrize(("n", "ready", "pattern"), QUESTIONS)
def test_the_steps_cost_what_the_simulated_kernel_charges(
    call: str, price: Costs, n: int, ready: int, pattern: str
) -> None:
    asked = ask(call, n, ready_places(n, ready, pattern), price)
    question, own, before = charged(asked, price)
    assert asked.call_ns == question
    assert sum(s.ns for s in asked.steps if s.part in ("scan", "go on")) == own
    assert [s.ns for s in asked.steps if s.part in ("create", "add")] == before
    assert asked.once_ns == sum(before)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(CALLS), st.integers(1, 64), st.data(), any_costs)
def test_so_at_any_costs(call: str, n: int, data: st.DataObject, price: Costs) -> None:
    ready = data.draw(st.sets(st.integers(0, n - 1)))
    asked = ask(call, n, sorted(ready), price)
    plain = Costs(**{
        name: getattr(price, name)
        for name in ("syscall", "user", "select_per_fd", "poll_per_fd", "epoll_per_ready")
    })  # fmt: skip  # what a first call and cold caches add is no part of the steps
    question, _, before = charged(asked, plain)
    assert (asked.call_ns, asked.once_ns) == (question, sum(before))


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(("n", "ready", "pattern"), QUESTIONS)
def test_the_steps_follow_each_other_without_a_gap(
    call: str, n: int, ready: int, pattern: str
) -> None:
    """Only arrivals lie beside them, while the program runs its own code."""
    asked = ask(call, n, ready_places(n, ready, pattern))
    own = [step for step in asked.steps if step.part != "arrive"]
    assert own[0].start == 0
    assert all(a.end == b.start for a, b in pairwise(own))
    (prepare,) = (step for step in own if step.part == "prepare")
    arrivals = [step for step in asked.steps if step.part == "arrive"]
    assert [step.fd for step in arrivals] == list(asked.ready)
    assert all(prepare.start <= step.start <= step.end <= prepare.end for step in arrivals)


# -- what the run says -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "looks"),
    [
        *((name, [((3, 4, 5), ()), ((3, 4, 5), (4,)), ((3, 4, 5), ()), ((3, 4, 5), (5,))])
          for name in ("multiplexing", "multiplexing_poll")),
        # Level-triggered: 4 is still on the list, and its look finds nothing any more.
        ("multiplexing_epoll", [((), ()), ((4,), (4,)), ((4,), ()), ((), ()), ((5,), (5,))]),
    ],
)  # fmt: skip
def test_a_run_says_which_descriptors_the_kernel_looked_at(name: str, looks: list[Any]) -> None:
    """select and poll at all, and again when they have slept; epoll at its ready list."""
    run = simulate(getattr(models, name), traffic.replay([(ms(20), 1, 1), (ms(40), 1, 2)]))
    assert [(scan.fds, scan.ready) for scan in run.scans] == looks
    price = 200_000  # for each descriptor: `Costs.textbook()`
    assert all(scan.end - scan.start == price * len(scan.fds) for scan in run.scans)
    for scan in run.scans:
        call = run.call_log[scan.call]
        assert call.start <= scan.start <= scan.end <= call.end
    assert Timeline.from_json(run.to_json()) == run


@pytest.mark.parametrize(
    ("call", "part"), [("select", "look"), ("poll", "look"), ("epoll", "take")]
)
def test_the_steps_are_those_that_the_run_took(call: str, part: str) -> None:
    """A kernel that went another way through the descriptors would be drawn as one that did."""
    run = question.ask(call, 4, (1, 2))
    (scan,) = run.scans
    other = Scan(scan.call, scan.start, scan.end - 10, (5, 3, 4), (3, 4))
    asked = question_of(replace(run, scans=(other,)))
    looks = [step for step in asked.steps if step.part == part]
    assert [(step.fd, step.found) for step in looks] == [(5, False), (3, True), (4, True)]
    assert sum(step.ns for step in looks) == scan.end - scan.start - 10
    assert asked.call_ns == run.call_log[scan.call].end - run.call_log[scan.call].start
    assert asked.ready == (3, 4)
    assert [s.fd for s in asked.steps if s.part == "arrive"] == [4, 5]


def test_other_calls_before_a_question_are_no_part_of_it() -> None:
    def program(fds: list[int], nbytes: int) -> Program:
        yield getpid()
        yield from by_poll(fds, nbytes)

    asked = question_of(simulate(program, traffic.one(after_ms=5)))
    assert (asked.call, asked.fds, asked.ready, asked.calls_before) == ("poll", (3,), (3,), 0)
    prepare, arrive = asked.steps[:2]
    assert (prepare.part, prepare.start, prepare.end) == ("prepare", 0, LATER + 200_000)
    came = ms(6) - 700_000  # less own code and a call: the question's clock begins after them
    assert (arrive.part, arrive.start, arrive.end) == ("arrive", came, prepare.end)


def test_one_question_is_told_and_no_other_number_of_them() -> None:
    with pytest.raises(ValueError, match="one look is told: this run has none"):
        question_of(simulate(models.blocking, traffic.one()))
    slept = simulate(models.multiplexing, traffic.one())
    with pytest.raises(ValueError, match="this run has select, select"):  # it looked again
        question_of(slept)


# -- bytes and looks -------------------------------------------------------------------------------


@pytest.mark.parametrize(("nfds", "nbytes"), [(1, 8), (64, 8), (65, 16), (128, 16), (1_024, 128)])
def test_a_set_is_copied_in_whole_longs(nfds: int, nbytes: int) -> None:
    assert bits_bytes(nfds) == nbytes


def test_bytes_and_looks() -> None:
    expected = {  # n = 64: descriptors 3 to 66
        ("select", 1): (16, 16, 64, 0, 0),
        ("poll", 1): (512, 128, 64, 0, 0),
        ("epoll", 1): (0, 12, 1, 65, 768),
        ("epoll", 64): (0, 768, 64, 65, 768),
        ("select", 0): (16, 16, 64, 0, 0),
        ("epoll", 0): (0, 0, 0, 65, 768),
    }
    for (call, ready), row in expected.items():
        a = ask(call, 64, ready_places(64, ready))
        assert (a.bytes_in, a.bytes_out, a.looks, a.calls_before, a.bytes_once) == row, call


def test_each_set_that_select_is_given_is_copied() -> None:
    one, three = (ask("select", 10, (4,), sets=sets) for sets in (1, 3))
    assert (three.bytes_in, three.bytes_out) == (3 * one.bytes_in, 3 * one.bytes_out)
    assert three.looks == one.looks  # a descriptor is asked once for all of them


def test_select_and_poll_look_at_all_and_epoll_at_the_ready() -> None:
    for call in ("select", "poll"):
        a = ask(call, 9, (2, 5))
        looks = [(s.fd, s.found) for s in a.steps if s.part == "look"]
        assert looks == [(fd, fd in (5, 8)) for fd in range(3, 12)]
        assert [s.fd for s in a.steps if s.part == "scan"] == [3, 4, 5, 6, 7, 8]
    a = ask("epoll", 9, (5, 2))
    assert [s.fd for s in a.steps if s.part == "take"] == [5, 8]
    assert [s.fd for s in a.steps if s.part == "scan"] == [5, 8]


def test_where_the_ready_ones_stand() -> None:
    assert ready_places(10, 3, "first") == (0, 1, 2)
    assert ready_places(10, 3, "last") == (7, 8, 9)
    assert ready_places(10, 3) == (0, 3, 6)
    assert all(ready_places(n, n, p) == tuple(range(n)) for n in (1, 64) for p in PATTERNS)
    assert ready_places(5, 0, "last") == ()


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda: ask("kqueue", 1), "call must be one of select, poll, epoll, got 'kqueue'"),
        (lambda: ask("poll", 65), "n must be from 1 to 64 descriptors, got 65"),
        (lambda: ask("poll", 3, (3,)), "ready must be from 0 to 2 (a place), got 3"),
        (lambda: ask("poll", 3, (1, 1)), "ready must name each place once, got [1, 1]"),
        (lambda: ask("poll", 3, sets=2), "sets must be from 1 to 1 sets, got 2"),
        (lambda: ready_places(3, 4), "ready must be from 0 to 3 descriptors, got 4"),
        (
            lambda: ready_places(3, 1, "odd"),
            "pattern must be one of spread, first, last, got 'odd'",
        ),
    ],
)
def test_a_bad_question(make: Any, complaint: str) -> None:
    with pytest.raises(ValueError) as error:
        make()
    assert str(error.value) == complaint


# -- the picture -----------------------------------------------------------------------------------


def parts_of(svg: str) -> list[dict[str, str]]:
    return [dict(r.attrib) for r in ElementTree.fromstring(svg).iter(f"{SVG}rect")
            if "data-start" in r.attrib]  # fmt: skip


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("price", [Costs.textbook(), Costs.typical()], ids=["textbook", "typical"])
@pytest.mark.parametrize(("n", "ready", "pattern"), QUESTIONS)
def test_the_picture_is_legible_and_deterministic(
    call: str, price: Costs, n: int, ready: int, pattern: str
) -> None:
    asked = ask(call, n, ready_places(n, ready, pattern), price)
    first, second = draw.asked(asked), draw.asked(asked)
    assert (first.svg, first.text) == (second.svg, second.text)
    assert_legible(first.svg)


@pytest.mark.parametrize("call", CALLS)
def test_the_picture_shows_every_step_and_every_descriptor(call: str) -> None:
    asked = ask(call, 40, ready_places(40, 7))
    parts = parts_of(draw.asked(asked).svg)
    bars = [(p["data-part"], int(p["data-start"]), int(p["data-end"]))
            for p in parts if "data-state" in p]  # fmt: skip
    assert sorted(bars) == sorted((s.part, s.start, s.end) for s in asked.steps)
    rows: dict[str, list[int]] = {}
    for part in parts:
        if "data-row" in part:
            rows.setdefault(part["data-row"], []).append(int(part["data-fd"]))
    few, all_of_them = list(asked.ready), list(asked.fds)
    assert list(rows.values()) == {
        "select": [all_of_them] * 4, "poll": [all_of_them] * 4,
        "epoll": [all_of_them, few, few, few],
    }[call]  # fmt: skip


@pytest.mark.parametrize("call", ["select", "poll"])
def test_a_cell_is_lit_while_the_kernel_asks_it(call: str) -> None:
    asked = ask(call, 5, (1,))
    looks = {s.fd: (s.start, s.end) for s in asked.steps if s.part == "look"}
    cells = [p for p in parts_of(draw.asked(asked).svg) if p.get("data-row") == "the kernel's copy"]
    assert {int(c["data-fd"]): (int(c["data-start"]), int(c["data-end"])) for c in cells} == looks
    found = {p["data-fd"] for p in parts_of(draw.asked(asked).svg)
             if p.get("data-row") == "found" and p["data-look"] == "ready"}  # fmt: skip
    assert found == {"4"}


def test_the_ready_list_is_lit_from_the_arrival_until_it_is_taken() -> None:
    asked = ask("epoll", 5, (1, 3))
    cells = [p for p in parts_of(draw.asked(asked).svg) if p.get("data-row") == "ready list"]
    arrive, take = ([s for s in asked.steps if s.part == part] for part in ("arrive", "take"))
    assert [(int(c["data-start"]), int(c["data-end"])) for c in cells] == [
        (a.start, t.end) for a, t in zip(arrive, take, strict=True)
    ]


def test_in_words() -> None:
    picture = draw.asked(ask("poll", 12, ready_places(12, 3), Costs.typical()))
    sums = "The question: 96 bytes in, 12 descriptors looked at, 24 bytes back, 2.1 µs."
    assert sums in picture.text
    assert sums in (ElementTree.fromstring(picture.svg).findtext(f"{SVG}desc") or "")
    assert "SIMULATED" in picture.svg


@pytest.mark.parametrize("call", CALLS)
def test_each_copy_is_drawn_as_what_goes_its_way(call: str) -> None:
    """A copy of the arguments goes into the kernel; an answer comes back from it."""
    svg = draw.asked(ask(call, 12, ready_places(12, 3, "spread"))).svg
    fills = {p["data-part"]: p["fill"].partition("-")[2] for p in parts_of(svg) if "data-part" in p}
    assert fills.get("copy in", "inbound)") == "inbound)"
    assert "inbound)" not in {fill for part, fill in fills.items() if part != "copy in"}
    assert (">copy: process to kernel<" in svg) == ("copy in" in fills)
    assert (">copy: kernel to process<" in svg) == ("copy)" in fills.values())
