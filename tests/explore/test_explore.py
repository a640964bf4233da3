"""The explorers without a browser: states, views, guesses, errors, and what travels."""

import asyncio
import gc
import inspect
import json
import weakref
from bisect import bisect_right
from collections.abc import Callable
from typing import Any

import pytest
from explorers import asked, ends_of, states_of, travelling, walked, walks_of
from hypothesis import given, settings

pytest.importorskip("anywidget", reason="the explorers need anywidget, which is not installed")

from ipywidgets.widgets.widget import _instances

from iosim import Costs, explore, models, sim, simulate, traffic
from iosim.explore import ModelExplorer
from iosim.explore.controls import Choice, Slider, Switch, complete, quantity, read, write
from iosim.explore.playback import Moment, buffers, moments, program_text, tracks
from iosim.explore.prefetch import KEPT, Ahead
from iosim.explore.quiz import Question
from iosim.explore.view import View, of_timeline
from iosim.explore.widget import Explorer
from iosim.trace import Timeline

SIZE = Slider("size", "size", (1, 10, 100), 10, "bytes")
PAUSE = Slider("pause", "pause", (0.5, 1.0, 2.0), 1.0, "ms")
MODEL = Choice("model", "model", (("a", "the first"), ("b", "the second")), "a")
LOUD = Switch("loud", "loud")
CONTROLS = (SIZE, PAUSE, MODEL, LOUD)


# --- states ---------------------------------------------------------------------------------------


@given(states_of(CONTROLS))
def test_a_state_is_its_text(state: dict[str, Any]) -> None:
    assert read(CONTROLS, write(CONTROLS, state)) == state


def test_only_what_differs_is_written() -> None:
    assert write(CONTROLS, complete(CONTROLS, {})) == ""
    assert write(CONTROLS, complete(CONTROLS, {"loud": True, "pause": 2})) == "pause=2 loud=on"


def test_what_lies_between_two_stops_may_be_asked_for() -> None:
    assert read(CONTROLS, "size=37 pause=0.7") == {
        "size": 37, "pause": 0.7, "model": "a", "loud": False,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("size=0", "size must be from 1 to 100 bytes, got 0"),
        ("size=2.5", "size must be a whole number of bytes, got 2.5"),
        ("size=big", "size must be a number of bytes, got 'big'"),
        ("size=nan", "size must be from 1 to 100 bytes, got nan"),
        ("size=", "size must be a number of bytes, got ''"),
        ("pause=9", "pause must be from 0.5 to 2.0 ms, got 9"),
        ("model=c", "model must be one of a, b, got 'c'"),
        ("loud=yes", "loud must be on or off, got 'yes'"),
        ("colour=red", "there is no 'colour' to choose: there are size, pause, model, loud"),
        ("size", "a state is written name=value name=value, got 'size'"),
    ],
)
def test_a_bad_state_is_refused_in_one_line(text: str, complaint: str) -> None:
    with pytest.raises(ValueError) as caught:
        read(CONTROLS, text)
    assert str(caught.value).startswith(complaint)


@pytest.mark.parametrize(
    ("chosen", "complaint"),
    [
        ({"size": "10"}, "size must be a number of bytes, got '10'"),
        ({"size": True}, "size must be a number of bytes, got True"),
        ({"loud": 1}, "loud must be True or False, got 1"),
    ],
)
def test_a_value_of_another_type_is_refused(chosen: dict[str, Any], complaint: str) -> None:
    with pytest.raises(TypeError) as caught:
        complete(CONTROLS, chosen)
    assert str(caught.value) == complaint


def test_a_number_stands_in_its_unit() -> None:
    assert [quantity(1, "calls"), quantity(2, "calls"), quantity(1, "ms"), quantity(0.5, "")] == [
        "1 call", "2 calls", "1 ms", "0.5",
    ]  # fmt: skip


# --- the rails of the playhead --------------------------------------------------------------------


def run_of(name: str = "blocking", **story: Any) -> Timeline:
    return simulate(getattr(models, name), traffic.several(**{"count": 2, **story}))


def test_moments_tell_a_blocking_receive() -> None:
    assert moments(run_of(count=1)) == [
        Moment(0, ("the run begins",)),
        Moment(200_000, ("process calls recvfrom(fd 3)",)),
        Moment(700_000, ("process falls asleep",)),
        Moment(20_000_000, ("message 1 is sent",)),
        Moment(21_000_000, ("message 1 (1,000 bytes) is in the kernel: data ready",)),
        Moment(21_300_000, ("process is ready: it wants a core",)),
        Moment(21_600_000, ("the kernel begins to copy message 1",)),
        Moment(
            24_600_000,
            (
                "recvfrom returns 1,000 bytes",
                "message 1 (1,000 bytes) is in the program's hands",
                "the run ends",
            ),
        ),
    ]


def test_buffers_tell_where_the_bytes_are() -> None:
    kernel, program = buffers(run_of(count=1))
    assert [row[2] for row in kernel.rows] == [
        "is empty", "holds message 1: 1,000 bytes", "is empty",
    ]  # fmt: skip
    assert [row[2] for row in program.rows][-1] == "holds message 1: 1,000 bytes"
    assert kernel.rows[2][0] == program.rows[-1][0] == run_of(count=1).deliveries[0].received


@pytest.mark.parametrize("name", sorted(models.MODEL_OF))
def test_tracks_tile_the_lanes_and_name_lines_of_the_program(name: str) -> None:
    run = run_of(name)
    text = dict(program_text(getattr(models, name), {call.line for call in run.call_log}))
    for track in tracks(run):
        starts = [row[0] for row in track.rows]
        assert starts == sorted(starts)
        if track.kind != "buffer":
            ends = [i.end for i in run.lane(track.name) if i.end > i.start]
            assert starts[1:] == ends, "each row begins where the one before it ends"
        lines = {row[3] for row in track.rows} - {None}
        assert lines <= text.keys()
        assert all("yield" in text[line] for line in lines)


@pytest.mark.parametrize("name", sorted(models.MODEL_OF))
def test_the_playhead_walks_through_the_kernel_too(name: str) -> None:
    """Asleep, the kernel's side stands where it gives up the core; copying, where it copies."""
    run = run_of(name)
    view = of_timeline(run, getattr(models, name))
    text = {place: line.strip() for place, _, line in view.kernel}
    track = next(track for track in view.tracks if track.name == "process")
    starts = [at for at, _ in track.kernel]
    assert starts == sorted(starts)
    assert {place for _, place in track.kernel} - {""} <= text.keys()

    def line_at(at: int) -> str:
        return text.get(track.kernel[bisect_right(starts, at) - 1][1], "")

    for interval in run.lane("process"):
        if interval.state == "user":
            assert line_at(interval.start) == ""
        elif interval.state == "sleeping":
            assert line_at(interval.start).startswith("yield ")
        elif interval.call is not None and interval.start == interval.call.start:
            assert line_at(interval.start).startswith("@answers(")
    for copy in run.intervals:
        if copy.state == "copy" and (copy.call is None or copy.call.process == "process"):
            assert "copy" in line_at(copy.start)


def test_the_kernel_s_side_of_a_call_has_its_name() -> None:
    assert "recv(2)" in inspect.getsource(sim.recvfrom)
    assert sim.select is sim.poll
    with pytest.raises(AttributeError, match=r"no call .recv.: .*recvfrom"):
        sim.recv  # noqa: B018


def test_a_program_without_a_file_has_no_text() -> None:
    space: dict[str, Any] = {}
    exec("def program(fd, nbytes): yield", space)
    assert program_text(space["program"]) == []


# --- guesses --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("guess", "words"),
    [(3, "right"), (4, "too many, by 1 call"), (1, "too few, by 2 calls")],
)
def test_a_guess_is_held_against_the_run(guess: int, words: str) -> None:
    asked = Question[int](Slider("calls", "How many?", range(9), 0, "calls"), lambda run: run)
    assert asked.verdict(guess, 3) == ("How many?", f"{quantity(guess, 'calls')}", "3 calls", words)


def test_a_guessed_time_is_too_long_or_too_short() -> None:
    asked = Question[float](Slider("ms", "How long?", (0.0, 9.0), 0.0, "ms"), lambda run: run)
    assert asked.verdict(2.0, 1.5)[3] == "too long, by 0.5 ms"
    assert asked.verdict(1.0, 1.5)[3] == "too short, by 0.5 ms"


def test_a_guessed_word_is_right_or_not_so() -> None:
    asked = Question[str](MODEL, lambda run: run)
    assert asked.verdict("a", "a") == ("model", "the first", "the first", "right")
    assert asked.verdict("a", "b") == ("model", "the first", "the second", "not so")


def test_the_run_does_not_travel_before_the_guess() -> None:
    explorer = ModelExplorer(model="multiplexing", predict=True)
    assert explorer.shown["hidden"]
    view = travelling(explorer)
    assert view["program"]
    assert not any(view[part] for part in view if part != "program")
    assert "text/markdown" not in explorer._repr_mimebundle_()[0]
    assert explorer.static().svg == ""
    explorer.set(committed=True, guess_calls=3)
    assert explorer.shown["view"].svg.startswith("<svg")
    _, guessed, ran, compared = explorer.shown["verdicts"][0]
    assert (guessed, ran, compared) == ("3 calls", "2 calls", "too many, by 1 call")


def test_another_experiment_asks_anew() -> None:
    explorer = ModelExplorer(predict=True, committed=True)
    assert not explorer.shown["hidden"]
    explorer.set(delay_ms=30)
    assert explorer.shown["hidden"]
    assert explorer.state == "delay_ms=30 predict=on"


# --- the widget -----------------------------------------------------------------------------------


def test_what_the_browser_asks_is_shown() -> None:
    explorer = ModelExplorer()
    before = explorer.shown["view"].svg
    asked(explorer, 1, delay_ms=40)
    assert (explorer.shown["n"], explorer.shown["seq"]) == (1, 1)
    assert explorer.shown["view"].svg != before
    assert explorer.state == "delay_ms=40"


def test_a_pasted_text_is_a_state() -> None:
    explorer = ModelExplorer()
    explorer._answer({"n": 1, "text": "model=nonblocking poll_ms=2 at_ms=0.9"})
    assert explorer.shows.run is not None
    assert explorer.shows.run.title == "nonblocking"
    assert repr(explorer) == "ModelExplorer('model=nonblocking poll_ms=2 at_ms=0.9')"
    assert ModelExplorer(explorer.state).shown["view"] == explorer.shown["view"]


def test_a_bad_text_is_shown_and_raised_and_changes_nothing() -> None:
    explorer = ModelExplorer()
    before = explorer.shown["view"]
    with pytest.raises(ValueError, match="size must be"):
        explorer._answer({"n": 1, "text": "size=-1"})
    assert explorer.shown["error"] == "ValueError: size must be from 1 to 65,507 bytes, got -1.0"
    assert explorer.shown["n"] == 1
    assert explorer.shown["view"] == before
    assert explorer.state == ""
    asked(explorer, 2, size=10)
    assert explorer.shown["error"] == ""


def test_an_error_in_a_view_is_shown_and_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    explorer = ModelExplorer()

    def broken(*_: Any) -> Any:
        raise ZeroDivisionError("as planted")

    monkeypatch.setattr(ModelExplorer, "view", broken)
    with pytest.raises(ZeroDivisionError):
        explorer.set(size=10)
    assert explorer.shown["error"] == "ZeroDivisionError: as planted"
    assert explorer.state == ""


def test_an_interrupted_choice_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The page waits for it; the reader sees what was there before, and may choose again."""
    explorer = ModelExplorer()

    def interrupted(*_: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as planted:
        planted.setattr(ModelExplorer, "view", interrupted)
        with pytest.raises(KeyboardInterrupt):
            asked(explorer, 1, size=10)
    assert (explorer.shown["n"], explorer.shown["seq"], explorer.state) == (1, 0, "")
    assert explorer.shown["error"] == "The kernel was interrupted: choose again."
    asked(explorer, 2, size=10)
    assert (explorer.shown["error"], explorer.state) == ("", "size=10")


@pytest.mark.parametrize(
    ("state", "kind"), [(3, TypeError), ("size=", ValueError), ("hue=1", ValueError)]
)
def test_a_constructor_refuses_what_is_no_state(state: Any, kind: type[Exception]) -> None:
    with pytest.raises(kind):
        ModelExplorer(state)


def test_a_closed_explorer_leaves_nothing() -> None:
    before = set(_instances)
    explorer = ModelExplorer()
    assert set(_instances) > before
    explorer.close()
    assert set(_instances) == before
    seen = weakref.ref(explorer)
    del explorer
    gc.collect()
    assert seen() is None


def test_the_browser_hears_that_somebody_is_here(monkeypatch: pytest.MonkeyPatch) -> None:
    explorer = ModelExplorer()
    heard: list[Any] = []
    monkeypatch.setattr(explorer, "send", heard.append)
    explorer._handle_custom_msg({"hello": True}, [])
    explorer._handle_custom_msg({"action": "close"}, [])  # no action of this explorer
    explorer._handle_custom_msg({"ask": {"n": 1, "text": "delay_ms=30"}}, [])
    assert heard == [{"ready": True}]
    assert (explorer.state, explorer.shown["n"]) == ("delay_ms=30", 1)


def test_a_browser_that_missed_something_is_told_it(monkeypatch: pytest.MonkeyPatch) -> None:
    explorer = ModelExplorer()
    told: list[Any] = []
    monkeypatch.setattr(explorer, "send_state", lambda key: told.append(key))
    behind = explorer.shown["seq"]
    explorer.set(delay_ms=30)
    told.clear()
    for seq in (behind, explorer.shown["seq"]):
        explorer._handle_custom_msg({"hello": True, "seq": seq}, [])
    assert told == [["shown", "busy"]]


# --- views before they are asked for --------------------------------------------------------------


BEFORE = complete(CONTROLS, {"size": 1})
NOW = {**BEFORE, "size": 10}
NEXT = {**NOW, "size": 100}  # where the slider goes if it goes on, and its end


class Making:
    """Makes views, remembers of which values of SIZE, and can fail."""

    def __init__(self) -> None:
        self.made: list[Any] = []
        self.error: Exception | None = None
        self.ahead = Ahead(CONTROLS, self.make)

    def make(self, state: dict[str, Any]) -> View:
        self.made.append(state["size"])
        if self.error:
            raise self.error
        return View("<svg/>", str(state))

    def goes_on(self) -> None:
        """The reader has moved one slider, which has a further stop."""
        self.ahead.expect(BEFORE, NOW)

    def moved(self, **chosen: Any) -> None:
        """From the defaults, by hand."""
        before = complete(CONTROLS, {})
        self.ahead.expect(before, {**before, **chosen})


def after(act: Callable[[], None], until: Callable[[], bool]) -> None:
    """Do it in an event loop, and go on until something is so."""

    async def run() -> None:
        act()
        while not until():
            await asyncio.sleep(0.001)

    asyncio.run(asyncio.wait_for(run(), 60))


def test_who_moves_a_slider_finds_the_next_view_made() -> None:
    making = Making()
    after(making.goes_on, lambda: bool(making.made))
    assert making.made == [100]
    assert making.ahead.view(NEXT) is making.ahead.view(NEXT)
    assert making.made == [100]


@pytest.mark.parametrize(
    "chosen",
    [{"model": "b"}, {"loud": True}, {"size": 1, "pause": 0.5}, {"size": 37}, {"size": 100}, {}],
)
def test_nobody_knows_what_comes_after_other_choices(chosen: dict[str, Any]) -> None:
    making = Making()
    after(lambda: making.moved(**chosen), lambda: True)
    assert making.ahead._soon is None


def test_the_last_choice_says_what_is_expected_and_a_closed_explorer_expects_nothing() -> None:
    making = Making()

    def all_of_them() -> None:
        making.goes_on()
        assert making.ahead._soon is not None
        making.ahead.expect(NOW, NOW)  # the same again: it is still on its way
        assert making.ahead._soon is not None
        making.moved(pause=2)  # the end of another slider
        assert making.ahead._soon is None
        making.goes_on()
        making.ahead.close()

    after(all_of_them, lambda: True)
    assert making.ahead._soon is None
    assert making.made == []


def test_where_no_loop_runs_nothing_is_made_ahead() -> None:
    making = Making()
    making.goes_on()
    assert (making.made, making.ahead._soon) == ([], None)


def test_what_fails_ahead_is_raised_when_it_is_asked_for() -> None:
    making = Making()
    making.error = ZeroDivisionError("as planted")
    after(making.goes_on, lambda: bool(making.made))
    with pytest.raises(ZeroDivisionError, match="as planted"):
        making.ahead.view(NEXT)


def test_few_views_are_kept() -> None:
    making = Making()
    some = [complete(CONTROLS, {"size": size}) for size in range(1, KEPT + 2)]
    for state in [*some, *some]:
        making.ahead.view(state)
    assert len(making.made) == 2 * len(some)  # of one more than are kept, the oldest is gone
    for state in reversed(some[-KEPT:]):
        making.ahead.view(state)
    assert len(making.made) == 2 * len(some)


def test_an_explorer_makes_ahead_what_its_reader_will_ask_for() -> None:
    explorer = ModelExplorer()
    after(
        lambda: asked(explorer, 1, delay_ms=21),
        lambda: explorer._ahead._made.cache_info().currsize == 3,
    )
    asked(explorer, 2, delay_ms=22)
    assert explorer._ahead._made.cache_info().hits == 1
    assert explorer.shown["view"] == ModelExplorer.preview("delay_ms=22")
    explorer.close()


# --- standing still -------------------------------------------------------------------------------


def test_the_static_form_is_the_picture_and_its_text() -> None:
    data, _ = ModelExplorer(model="multiplexing")._repr_mimebundle_()
    run = simulate(models.multiplexing, traffic.one())
    assert run._repr_mimebundle_()["text/markdown"] in data["text/markdown"]
    assert "Run this cell" in data["text/markdown"]
    assert data["text/plain"] == f"ModelExplorer('model=multiplexing')\n{run}"
    assert "application/vnd.jupyter.widget-view+json" in data


def test_every_explorer_is_exported_and_says_what_it_is() -> None:
    for name in explore.__all__:
        kind = getattr(explore, name)
        assert issubclass(kind, Explorer)
        assert kind.TITLE
        assert kind.__doc__
    assert set(explore.__all__) <= set(dir(explore))
    with pytest.raises(AttributeError):
        _ = explore.NoExplorer


# --- every control of every model -----------------------------------------------------------------


def check(state: dict[str, Any]) -> None:
    """A view keeps the invariants, travels as JSON, and shows no control that is not there."""
    view = ModelExplorer.view(state)
    assert view.run is not None
    run = view.run.check()
    assert json.loads(json.dumps(view.plain())) == view.plain()
    assert view.svg == ModelExplorer.view(state).svg
    assert [moment.at for moment in view.moments] == sorted({m.at for m in view.moments})
    assert view.moments[-1].at == run.end
    assert all(fate.received is not None for fate in run.deliveries)
    assert set(ModelExplorer.visible(state)) <= {control.name for control in ModelExplorer.CONTROLS}


def extremes() -> list[dict[str, Any]]:
    start = complete(ModelExplorer.CONTROLS, {})
    found = []
    for control in ModelExplorer.CONTROLS:
        found += [{**start, control.name: end} for end in ends_of(control)]
    return found


@pytest.mark.parametrize("state", extremes(), ids=lambda s: write(ModelExplorer.CONTROLS, s) or "-")
def test_each_control_at_its_ends(state: dict[str, Any]) -> None:
    check(state)


@settings(max_examples=20)
@given(states_of(ModelExplorer.CONTROLS))
def test_any_choice_keeps_the_invariants(state: dict[str, Any]) -> None:
    check(state)


@settings(max_examples=15)
@given(walks_of(ModelExplorer.CONTROLS))
def test_a_walk_over_the_controls(walk: list[tuple[str, Any]]) -> None:
    walked(ModelExplorer, walk)


def test_hints_follow_the_run() -> None:
    asleep = ModelExplorer.preview("model=blocking").hints
    awake = ModelExplorer.preview("model=asynchronous").hints
    assert len(asleep) == len(awake) == 2
    assert "sleeps" in asleep[0]
    assert "own code" in awake[0]
    assert not set(asleep) & set(awake)


def test_prices_that_are_varied_change_the_run() -> None:
    for model, control in (("blocking", "switch"), ("multiplexing", "select"),
                           ("signal_driven", "signal"), ("nonblocking", "copy")):  # fmt: skip
        explorer = ModelExplorer(model=model)
        before = explorer.shows.run
        explorer.set(**{control: 4.0})
        assert explorer.shows.run != before, (model, control)
        explorer.close()


def test_typical_costs_are_those_of_the_package() -> None:
    run = simulate(models.blocking, traffic.one(), costs=Costs.typical())
    assert ModelExplorer(costs="typical").shows.run == run
