"""CallExplorer without a browser: every choice keeps the invariants, and each number is the run's.

What is asked about a call is answered from its run; nothing here measures time.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("anywidget", reason="the explorers need anywidget, which is not installed")

from explorers import ends_of, states_of, travelling, walked, walks_of

from iosim import draw, jobs, pools, simulate
from iosim.explore import CallExplorer
from iosim.explore.call import ARGUMENTS, ASKED, CALLS, CORNERS, TAKES, run_of
from iosim.explore.controls import State, complete, read, write
from iosim.explore.playback import program_text
from iosim.shown import picture
from iosim.trace import FOUR_CORNERS, GIL, SLEEPING, WAIT

CONTROLS = CallExplorer.CONTROLS
EVERYTHING = CallExplorer.controls()


def state(**chosen: Any) -> State:
    return complete(CONTROLS, chosen)


def number(name: str, **chosen: Any) -> str:
    """The value of one of the numbers that a state shows."""
    return {n.name: n.value for n in CallExplorer.view(state(**chosen)).numbers}[name]


def check(chosen: State) -> None:
    """A view is pure, keeps the invariants and travels; its rails lie where the run does."""
    view = CallExplorer.view(chosen)
    assert view == CallExplorer.view(chosen)
    assert view.run is not None
    run = view.run.check()
    assert json.loads(json.dumps(view.plain())) == view.plain()
    times = [moment.at for moment in view.moments]
    assert times == sorted(set(times))
    assert (times[0], times[-1]) == (run.start, run.end)
    text = dict(view.program)
    for track in view.tracks:
        starts = [row[0] for row in track.rows]
        if track.kind != "buffer":
            lane = [i for i in run.lane(track.name) if i.end > i.start]
            before = [] if lane[0].start == run.start else [run.start]
            assert starts == [*before, *(i.start for i in lane), lane[-1].end]
        for line in {row[3] for row in track.rows} - {None}:
            assert "yield" in text[line]
    visible = CallExplorer.visible(chosen)
    assert len(set(visible)) == len(visible)
    assert set(visible) <= {control.name for control in CONTROLS}


# --- every control --------------------------------------------------------------------------------


def extremes() -> list[State]:
    """Each control at its ends, for each call."""
    return [
        {**state(call=call), control.name: end}
        for call in CALLS
        for control in CONTROLS
        if control.name in {*CallExplorer.visible(state(call=call))} - {"call"}
        for end in ends_of(control)
    ]


@pytest.mark.parametrize("call", CALLS)
def test_each_control_at_its_ends(call: str) -> None:
    for chosen in extremes():
        if chosen["call"] == call:
            check(chosen)


@pytest.mark.parametrize("call", CALLS)
def test_all_at_their_ends_together(call: str) -> None:
    for end in (0, -1):
        chosen = state(call=call, pool="ThreadPoolExecutor")
        for control in CONTROLS:
            if control.name not in ("call", "pool"):
                chosen[control.name] = ends_of(control)[end]
        check(chosen)


@settings(max_examples=25)
@given(states_of(CONTROLS))
def test_any_choice_keeps_the_invariants(chosen: State) -> None:
    check(chosen)


@settings(max_examples=15)
@given(walks_of(CONTROLS))
def test_a_walk_over_the_controls(walk: list[tuple[str, Any]]) -> None:
    walked(CallExplorer, walk)


@given(states_of(EVERYTHING))
def test_a_state_is_its_text(chosen: State) -> None:
    assert read(EVERYTHING, write(EVERYTHING, chosen)) == chosen


def test_all_calls_of_the_course_can_be_chosen() -> None:
    assert {*CALLS} == {*pools.__all__}
    assert {*ASKED} == {*CALLS}
    assert {name for names in TAKES.values() for name in names} == {*ARGUMENTS}


@pytest.mark.parametrize("argument", ARGUMENTS)
def test_each_argument_reaches_the_call(argument: str) -> None:
    call = next(call for call, names in TAKES.items() if argument in names)
    control, _, _ = ARGUMENTS[argument]
    low, high = ends_of(control)
    assert argument in CallExplorer.visible(state(call=call))
    assert argument not in CallExplorer.visible(state(call="apply"))
    runs = [run_of(state(call=call, jobs=3, workers=1, **{argument: end})) for end in (low, high)]
    assert runs[0] != runs[1]


@pytest.mark.parametrize("control", ["pool", "job", "job_ms", "jobs", "workers", "cores", "costs"])
def test_each_other_control_changes_the_run(control: str) -> None:
    found = next(c for c in CONTROLS if c.name == control)
    first, *_, last = ends_of(found)
    assert run_of(state(call="submit", **{control: first})) != run_of(
        state(call="submit", **{control: last})
    )


def test_who_does_it_itself_needs_no_pool() -> None:
    visible = CallExplorer.visible(state(call="direct"))
    assert not {"pool", "workers", "gil"} & {*visible}
    assert {"pool", "workers", "gil"} < {*CallExplorer.visible(state(call="apply"))}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("call=fly", "call must be one of direct, apply,"),
        ("pool=Threads", "pool must be one of Pool, ProcessPoolExecutor, ThreadPoolExecutor,"),
        ("jobs=0", "jobs must be from 1 to 8 jobs, got 0"),
        ("jobs=2.5", "jobs must be a whole number of jobs, got 2.5"),
        ("workers=99", "workers must be from 1 to 8 workers, got 99"),
        ("job_ms=0", "job_ms must be from 1.0 to 50.0 ms, got 0"),
        ("gil=maybe", "gil must be on or off, got 'maybe'"),
        ("cores=x", "cores must be a number of cores, got 'x'"),
        ("model=blocking", "there is no 'model' to choose"),
    ],
)
def test_bad_input_is_refused_in_one_line(text: str, complaint: str) -> None:
    with pytest.raises(ValueError) as caught:
        CallExplorer(text)
    assert str(caught.value).startswith(complaint)
    assert "\n" not in str(caught.value)


# --- what the run tells ---------------------------------------------------------------------------


@pytest.mark.parametrize("call", [name for name in FOUR_CORNERS if name in CALLS])
def test_each_call_stands_where_the_table_expects_it(call: str) -> None:
    names, expected = FOUR_CORNERS[call]
    table = CallExplorer.view(state(call=call)).tables[0]
    assert ASKED[call][0] == names
    early, asleep = expected.call == "asynchronous", expected.thread == "blocking"
    assert table.rows[0][1:] == (
        f"{'yes' if early else 'no'}: {expected.call}",
        f"{'yes' if asleep else 'no'}: {expected.thread}",
    )


def test_the_corner_is_told_by_the_run() -> None:
    """A direct call blocks if its job waits; a bounded queue with room for all does not."""

    def corner(**chosen: Any) -> tuple[str, ...]:
        return CallExplorer.view(state(**chosen)).tables[0].rows[0]

    assert corner(call="direct") == ("call(…)", "no: synchronous", "no: nonblocking")
    assert corner(call="direct", job="wait") == ("call(…)", "no: synchronous", "yes: blocking")
    assert corner(call="bounded")[1:] == ("yes: asynchronous", "yes: blocking")
    assert corner(call="bounded", room=3)[1:] == ("yes: asynchronous", "no: nonblocking")
    assert corner(call="give_up", timeout_ms=5) == (
        "submit(…).result()", "yes: asynchronous", "yes: blocking",
    )  # fmt: skip
    assert corner(call="give_up", timeout_ms=50)[1:] == ("no: synchronous", "yes: blocking")


def test_the_figure_marks_the_present_call_among_the_others() -> None:
    (figure,) = CallExplorer.view(state(call="submit_result")).figures
    assert figure.svg.count("l8 4l-8 4z") == 2
    assert "&gt; submit, result (submit_result)" in figure.svg
    assert "asynchronous and blocking: submit (bounded)" in figure.svg
    assert "&gt; submit (status)" in CallExplorer.view(state(call="status")).figures[0].svg


def test_marked_calls_stand_out_in_the_corners() -> None:
    run = simulate(pools.status, jobs.several(2, jobs.computing(5)))
    direct = simulate(pools.direct, jobs.several(2, jobs.computing(5)))
    assert str(draw.corners([direct], [(run, ["submit"])])).splitlines()[1:] == [
        "synchronous                                    call (direct)",
        "asynchronous                                   > submit (status)",
    ]
    assert "l8 4l-8 4z" not in draw.corners([direct]).svg


def test_the_numbers_are_those_of_the_run() -> None:
    run = run_of(state(call="apply"))
    slept = sum(i.duration for i in run.lane("caller") if i.state == SLEEPING)
    assert slept > run.blocked(WAIT) > 0
    assert number("caller blocked", call="apply") == draw.duration(slept)
    assert number("caller blocked", call="status_sleeping") == "0 ms"
    assert number("caller blocked", call="give_up", jobs=1, timeout_ms=10) != "0 ms"
    assert number("last result in hand", call="apply") == draw.duration(run.outcomes[-1].received)
    assert number("the whole run", call="apply") == draw.duration(run.end)
    assert number("results received", call="give_up") == "0 of 3"
    assert number("first result in hand", call="give_up") == "never"
    assert number("told by", call="callback") == "callback"
    assert number("told by", call="status") == "check"


def test_who_asks_for_the_next_only_with_the_result_keeps_one_worker_busy() -> None:
    assert number("jobs at once", call="apply", workers=3) == "1 job"
    assert number("jobs at once", call="submit", workers=3, cores=4) == "3 jobs"
    assert number("jobs at once", call="direct") == "1 job"


def test_with_one_gil_one_job_computes_at_a_time() -> None:
    threads = {"call": "notification", "pool": "ThreadPoolExecutor", "workers": 3, "cores": 4}
    assert number("jobs at once", **threads) == "3 jobs"
    assert number("computing at once", **threads) == "1 job"
    assert number("computing at once", **threads, gil=False) == "3 jobs"
    assert number("waiting for the GIL", **threads, gil=False) == "0 ms"
    run = run_of(state(**threads))
    assert any(i.note == GIL and i.state == SLEEPING for i in run.intervals)
    assert number("waiting for the GIL", **threads) != "0 ms"


def test_who_looks_looks_in_vain() -> None:
    run = run_of(state(call="status", jobs=1))
    looks = [call for call in run.call_log if call.name == "done"]
    assert number("looks with no result", call="status", jobs=1) == f"{len(looks) - 1} looks"
    assert number("looks with no result", call="notification") == "0 looks"


def test_the_log_tells_who_does_what() -> None:
    view = CallExplorer.view(state(call="callback", jobs=1, workers=2))
    told = [words for moment in view.moments for words in moment.words]
    path = [
        "the run begins", "caller calls submit()", "submit returns", "worker 1 begins job 1",
        "worker 1 ends job 1", "job 1 is done", "result handler begins callback",
        "result handler ends callback", "the run ends",
    ]  # fmt: skip
    assert [words for words in told if words in path] == path
    assert view.moments[0].words == ("the run begins",)


def test_what_has_not_begun_and_what_never_came_say_so() -> None:
    said = {
        track.name: [row[2] for row in track.rows]
        for track in CallExplorer.view(state(call="give_up", jobs=2, workers=1)).tracks
    }
    assert said["job 2"][0] == "is not asked for yet"
    assert said["job 2"][-1] == "is not received: the run is over"
    said = {t.name: [row[2] for row in t.rows] for t in CallExplorer.view(state(jobs=2)).tracks}
    assert said["job 2"][-1] == "its result is in the program's hands"
    assert said["job 2"][-2].startswith("its result is there: nobody fetches it yet")


HINTED = [
    ({"call": "direct"}, "runs all the time"),
    ({"call": "direct", "job": "wait"}, "this direct call blocks"),
    ({"call": "bounded"}, "not room for all jobs"),
    ({"call": "bounded", "room": 8}, "room for all jobs: submit never"),
    ({"call": "give_up"}, "the job itself goes on"),
    ({"call": "apply"}, "one worker is busy at a time"),
    ({"call": "submit", "pool": "ThreadPoolExecutor"}, "one computes at a time"),
    ({"call": "status", "pool": "ThreadPoolExecutor"}, "takes the GIL"),
]


@pytest.mark.parametrize(("chosen", "words"), HINTED)
def test_a_sentence_says_what_there_is_to_see(chosen: dict[str, Any], words: str) -> None:
    assert any(words in hint for hint in CallExplorer.view(state(**chosen)).hints)


def test_no_sentence_where_there_is_nothing_to_see() -> None:
    assert not CallExplorer.view(state(call="apply", jobs=1)).hints
    assert not CallExplorer.view(state(call="submit", pool="ThreadPoolExecutor", gil=False)).hints


@pytest.mark.parametrize("call", CALLS)
def test_the_program_beside_the_picture_is_the_one_that_ran(call: str) -> None:
    view = CallExplorer.view(state(call=call))
    assert view.run is not None
    lines = {c.line for c in view.run.call_log if c.line is not None}
    assert lines
    assert lines <= dict(view.program).keys()
    assert list(view.program) == program_text(getattr(pools, call), lines)


# --- predict first --------------------------------------------------------------------------------


@pytest.mark.parametrize("call", CALLS)
def test_the_run_does_not_travel_before_the_guess(call: str) -> None:
    explorer = CallExplorer(call=call, predict=True)
    view = travelling(explorer)
    assert explorer.shown["hidden"]
    assert not explorer.shown["verdicts"]
    assert view["program"]
    assert not any(view[part] for part in view if part != "program")
    assert "svg" not in explorer.static().text
    explorer.close()


def test_the_guess_is_held_against_the_run() -> None:
    explorer = CallExplorer(
        call="submit", predict=True, committed=True, guess_corner="asynchronous-blocking",
        guess_blocked="yes", guess_last=45.0,
    )  # fmt: skip
    corner, blocked, last = explorer.shown["verdicts"]
    assert corner[1:] == ["asynchronous, blocking", "asynchronous, nonblocking", "not so"]
    assert blocked[1:] == ["yes", "yes", "right"]
    run = explorer.shows.run
    assert run is not None
    assert last[2] == f"{run.outcomes[-1].received / 1e6:.3f}".rstrip("0") + " ms"
    explorer.close()


@given(states_of(CONTROLS))
@settings(max_examples=25)
def test_every_answer_can_be_given(chosen: State) -> None:
    run = run_of(chosen)
    corner, blocked, last = (question.answer(run) for question in CallExplorer.QUESTIONS)
    assert corner in CORNERS
    assert blocked in ("yes", "no")
    slider = CallExplorer.QUESTIONS[2].ask
    assert slider.check(last) == last


def test_the_static_form_teaches() -> None:
    data, _ = CallExplorer(call="submit")._repr_mimebundle_()  # type: ignore[misc]
    run = run_of(state(call="submit"))
    assert picture(draw.svg(run)) in data["text/markdown"]
    assert data["text/plain"] == f"CallExplorer('call=submit')\n{run}"


@given(st.sampled_from(sorted(CALLS)))
def test_equal_states_give_equal_bytes(call: str) -> None:
    first, second = (json.dumps(CallExplorer.view(state(call=call)).plain()) for _ in range(2))
    assert first == second
