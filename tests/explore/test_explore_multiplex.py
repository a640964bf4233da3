"""MultiplexExplorer without a browser: what it shows for every state is what the steps say."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from explorers import ends_of, states_of, walked, walks_of
from hypothesis import given, settings

pytest.importorskip("anywidget", reason="the explorers need anywidget, which is not installed")

from legible import assert_legible
from questions import ask

from iosim import Costs
from iosim.explore import MultiplexExplorer
from iosim.explore.controls import complete, write
from iosim.explore.multiplex import question_of
from iosim.sim.question import CALLS, ready_places

CONTROLS = MultiplexExplorer.CONTROLS


def check(state: dict[str, Any]) -> None:
    """A view keeps its promises, travels as JSON, and is the same whenever it is asked for."""
    view = MultiplexExplorer.view(state)
    question = view.run
    assert view.plain() == MultiplexExplorer.view(state).plain()
    assert json.loads(json.dumps(view.plain())) == view.plain()
    assert_legible(view.svg)
    ready = min(state["n"], state["ready"])
    assert (len(question.fds), len(question.ready)) == (state["n"], ready)
    assert [m.at for m in view.moments] == sorted({m.at for m in view.moments})
    assert view.moments[-1].at == question.end
    text = dict(view.program)
    for track in view.tracks:
        starts = [row[0] for row in track.rows]
        assert starts == sorted(set(starts))
        assert {row[3] for row in track.rows} - {None} <= text.keys()
    for track in view.tracks[1:]:  # in the end all that are ready are found, and known
        assert track.rows[-1][1] == ("full" if ready else "empty")
        if ready:
            assert track.rows[-1][2].startswith(f"{ready} descriptor")
    visible = MultiplexExplorer.visible(state)
    assert set(visible) <= {control.name for control in CONTROLS}
    assert ("sets" in visible) == (state["call"] == "select")


def extremes() -> list[dict[str, Any]]:
    found = []
    for call in CALLS:
        start = complete(CONTROLS, {"call": call})
        for control in CONTROLS[1:]:
            found += [{**start, control.name: end} for end in ends_of(control)]
    return found


@pytest.mark.parametrize("state", extremes(), ids=lambda s: write(CONTROLS, s) or "-")
def test_each_control_at_its_ends(state: dict[str, Any]) -> None:
    check(state)


@settings(max_examples=20, deadline=None)
@given(states_of(CONTROLS))
def test_any_choice_keeps_the_promises(state: dict[str, Any]) -> None:
    check(state)


@settings(max_examples=15, deadline=None)
@given(walks_of(CONTROLS))
def test_a_walk_over_the_controls(walk: list[tuple[str, Any]]) -> None:
    walked(MultiplexExplorer, walk)


# -- what it says ----------------------------------------------------------------------------------


@pytest.mark.parametrize("call", CALLS)
def test_the_table_holds_the_same_question_to_all_three(call: str) -> None:
    state = complete(CONTROLS, {"call": call, "n": 40, "ready": 7, "pattern": "last"})
    (table,) = MultiplexExplorer.view(state).tables
    places = ready_places(40, 7, "last")
    for row, name in zip(table.rows, CALLS, strict=True):
        question = ask(name, 40, places, Costs.typical())
        assert row[:5] == (
            name, str(question.calls_before), f"{question.bytes_in:,}", str(question.looks),
            f"{question.bytes_out:,}",
        )  # fmt: skip


def test_the_costs_are_those_that_were_chosen() -> None:
    state = complete(CONTROLS, {"call": "poll", "poll": 4.0, "syscall": 2.0})
    price = Costs.typical()
    dear = replace(price, poll_per_fd=4 * price.poll_per_fd, syscall=2 * price.syscall)
    assert question_of(state) == ask("poll", 12, ready_places(12, 3), dear)


def test_where_all_are_ready_epoll_is_no_cheaper() -> None:
    view = MultiplexExplorer.preview(n=20, ready=20)
    assert view.hints == ["Here a question to epoll is no cheaper than one to poll."]


def test_what_is_paid_once_is_paid_back() -> None:
    view = MultiplexExplorer.preview(n=20, ready=5)
    question, poll = (
        ask("epoll", 20, ready_places(20, 5), Costs.typical()),
        ask("poll", 20, ready_places(20, 5), Costs.typical()),
    )
    saved = poll.call_ns - question.call_ns
    assert 3 * saved < question.once_ns <= 4 * saved
    assert view.hints == [
        "Here a question to epoll saves 1.75 µs against poll: the calls before (6.3 µs) are paid "
        "back after 4 questions."
    ]


def test_where_all_are_ready_epoll_may_be_no_cheaper() -> None:
    view = MultiplexExplorer.preview(n=8, ready=8, epoll=8.0)
    assert view.hints == ["Here a question to epoll is no cheaper than one to poll."]


def test_more_cannot_be_ready_than_there_are() -> None:
    explorer = MultiplexExplorer(n=5, ready=40)
    assert explorer.shows.hints[0] == "There are only 5 descriptors: all of them are ready."
    assert len(explorer.shows.run.ready) == 5
    assert explorer.state == "n=5 ready=40"
    explorer.close()


@pytest.mark.parametrize(
    ("call", "steps"),
    [
        ("select", {"yield select(": ("enter", "look", "return"), "for fd in": ("scan",)}),
        ("poll", {"yield poll(": ("enter", "look", "return"), "for fd in": ("scan",)}),
        (
            "epoll",
            {"epoll_create(": ("create",), "epoll_ctl(": ("add",), "epoll_wait(": ("take",),
             "for fd in ready": ("scan",)},
        ),
    ],
)  # fmt: skip
def test_each_step_stands_in_its_line_of_the_program(
    call: str, steps: dict[str, tuple[str, ...]]
) -> None:
    view = MultiplexExplorer.preview(call=call)
    text = dict(view.program)
    rows = {row[0]: row for row in view.tracks[0].rows}
    for words, parts in steps.items():
        found = [s for s in view.run.steps if s.part in parts]
        assert found
        for step in found:
            line = rows[step.start][3]
            assert line is not None
            assert words in text[line]


def test_a_guess_is_held_against_the_question() -> None:
    explorer = MultiplexExplorer("call=epoll predict=on guess_looks=12 guess_bytes=36")
    assert explorer.shown["hidden"]
    assert not explorer.shown["view"].svg
    explorer.set(committed=True, guess_before=13)
    assert [row[1:] for row in explorer.shown["verdicts"]] == [
        ["12 descriptors", "3 descriptors", "too many, by 9 descriptors"],
        ["36 bytes", "36 bytes", "right"],
        ["13 calls", "13 calls", "right"],
    ]
    explorer.close()
