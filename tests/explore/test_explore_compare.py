"""CompareExplorer without a browser: the five on one clock, and real runs in the background.

The background's process is a fake that goes on when the test lets it, but for one real run at the
end.  `until` waits for a thread, never for a time that has to be right.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from explorers import asked, ends_of, states_of, travelling, walked, walks_of
from hypothesis import given, settings
from waiting import until

pytest.importorskip("anywidget", reason="the explorers need anywidget, which is not installed")

from ipywidgets.widgets.widget import _instances

from iosim import Unsupported, models, simulate, traffic
from iosim.explore import CompareExplorer, ModelExplorer, measure_process
from iosim.explore.compare import job_of, predictions
from iosim.explore.controls import Slider, complete, write
from iosim.explore.measure_process import Background, Job, Told, answers, programs_of

CONTROLS = CompareExplorer.CONTROLS
FIVE = [program.__name__ for program in models.FIVE]
PATIENCE_S = 30.0

#: Says what it is told to, and before each run waits for the file that lets it.
FAKE = """
import json, os, sys, time
from dataclasses import replace
from iosim import models, simulate
from iosim.explore.measure_process import Job, Told
job = Job.from_json(sys.stdin.readline())
for n, name in enumerate(job.programs, start=1):
    print(Told(name, begins=True).to_json(), flush=True)
    until = time.monotonic() + 60
    while not os.path.exists(f"{sys.argv[1]}/{n}") and time.monotonic() < until:
        time.sleep(0.002)
    if os.path.exists(f"{sys.argv[1]}/lacks {name}"):
        print(Told(name, trouble="this system has no such thing: planted").to_json(), flush=True)
    else:
        run = simulate(getattr(models, name), job.story)
        print(Told(name, run=replace(run, kernel="measured")).to_json(), flush=True)
"""


def gone(pid: int) -> bool:
    """Is that child of ours no more (and nobody's zombie)?"""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


class Stage:
    """An explorer whose real runs go on when the test lets them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.explorer = CompareExplorer()
        self.explorer.COMMAND = (sys.executable, "-c", FAKE, str(folder))  # type: ignore[misc]

    def let(self, *numbers: int) -> None:
        """Let these runs (1 to 5) be over."""
        for number in numbers:
            (self.folder / str(number)).touch()

    def lacks(self, name: str) -> None:
        (self.folder / f"lacks {name}").touch()

    def says(self, words: str) -> None:
        until(lambda: self.explorer.busy["words"] == words)

    @property
    def pid(self) -> int:
        assert self.explorer._background is not None
        return self.explorer._background.pid


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    threads = set(threading.enumerate())
    found = Stage(tmp_path)
    yield found
    found.explorer.close()
    until(lambda: set(threading.enumerate()) <= threads)


def titles(explorer: CompareExplorer) -> list[str]:
    return [run.title for run in explorer.measured]


# -- every state -----------------------------------------------------------------------------------


def check(state: dict[str, Any]) -> None:
    """A view keeps the invariants, travels as JSON, and is the same whenever it is asked for."""
    view = CompareExplorer.view(state)
    assert [run.title for run in view.run] == FIVE
    for run in view.run:
        assert all(fate.received is not None for fate in run.check().deliveries)
    assert view.svg == CompareExplorer.view(state).svg
    assert json.loads(json.dumps(view.plain())) == view.plain()
    assert [m.at for m in view.moments] == sorted({m.at for m in view.moments})
    assert view.moments[-1].at == max(run.end for run in view.run)
    text = dict(view.program)
    assert [track.name for track in view.tracks] == [name.replace("_", " ") for name in FIVE]
    assert all(row[3] is None or row[3] in text for track in view.tracks for row in track.rows)
    assert len(view.tables[0].rows) == len(view.numbers) == 5
    assert set(CompareExplorer.visible(state)) <= {control.name for control in CONTROLS}


def extremes() -> list[dict[str, Any]]:
    start = complete(CONTROLS, {})
    found = [
        {c.name: c.stops[-1] if isinstance(c, Slider) else c.default for c in CONTROLS},
        {c.name: c.stops[0] if isinstance(c, Slider) else c.default for c in CONTROLS},
        {**start, "size": 65_507, "messages": 5, "costs": "textbook"},
        {**start, "size": 65_507, "messages": 5, "delay_ms": 0},
    ]
    for control in CONTROLS:
        found += [{**start, control.name: end} for end in ends_of(control)]
    return found


@pytest.mark.parametrize("state", extremes(), ids=lambda s: write(CONTROLS, s) or "-")
def test_each_control_at_its_ends(state: dict[str, Any]) -> None:
    check(state)


@settings(max_examples=20, deadline=None)
@given(states_of(CONTROLS))
def test_any_choice_keeps_the_invariants(state: dict[str, Any]) -> None:
    check(state)


@settings(max_examples=8, deadline=None)
@given(walks_of(CONTROLS))
def test_a_walk_over_the_controls(walk: list[tuple[str, Any]]) -> None:
    walked(CompareExplorer, walk)


def test_no_model_waits_for_what_did_not_fit() -> None:
    """Five of the largest datagrams overflow the default receive buffer, if it stays at that."""
    for model in models.MODEL_OF:
        run = ModelExplorer.preview(model=model, size=65_507, messages=5).run
        assert all(fate.received is not None for fate in run.deliveries)


def test_what_happens_says_in_which_run() -> None:
    view = CompareExplorer.preview()
    words = [word for moment in view.moments for word in moment.words]
    assert "the run begins" in words
    assert "message 1 (1,000 bytes) is in the kernel: data ready" in words
    assert "blocking: message 1 (1,000 bytes) is in the program's hands" in words
    assert any(word.startswith("signal driven: SIGIO interrupts") for word in words)


def test_a_guess_is_held_against_the_five() -> None:
    explorer = CompareExplorer("predict=on guess_first=blocking guess_wait=2")
    assert not explorer.shown["view"].svg
    explorer.set(committed=True, guess_copy=5)
    assert [row[1:] for row in explorer.shown["verdicts"]] == [
        ["blocking", "signal driven", "not so"],
        ["2 models", "2 models", "right"],
        ["5 models", "4 models", "too many, by 1 model"],
    ]
    explorer.close()


# -- real runs, with a process that does as the test says ------------------------------------------


def test_progress_names_each_run_and_draws_it_when_it_is_there(stage: Stage) -> None:
    explorer = stage.explorer
    assert explorer.busy == {"words": "", "done": 0, "total": 0, "can": ["run_for_real"]}
    explorer._handle_custom_msg({"action": "run_for_real"}, [])
    for number, name in enumerate(FIVE, start=1):
        stage.says(f"{number} of 5: {name}")
        assert explorer.busy["can"] == ["cancel"]
        assert (explorer.busy["done"], explorer.busy["total"]) == (number - 1, 5)
        assert titles(explorer) == FIVE[: number - 1]
        assert explorer.shows.svg.count(">MEASURED</text>") == (
            0 if number == 1 else 1 + 2 * (number - 1)
        )
        stage.let(number)
    stage.says("measured: 5 of 5")
    assert explorer.busy["can"] == ["run_for_real"]
    assert explorer.shown["n"] == -1  # no choice of the reader's: the playhead stays
    assert titles(explorer) == FIVE
    assert [track.name for track in explorer.shows.tracks[:2]] == ["blocking", "blocking, measured"]
    assert len(explorer.shows.tables[0].rows) == 10
    assert explorer.wait(0)
    assert explorer.state == ""  # what was measured is no part of the state
    assert CompareExplorer(explorer.state).shows == CompareExplorer().shows


def test_cancel_kills_and_keeps_what_there_is(stage: Stage) -> None:
    explorer = stage.explorer
    stage.let(1, 2)
    explorer.run_for_real()
    stage.says("3 of 5: multiplexing")
    pid = stage.pid
    explorer._handle_custom_msg({"action": "cancel"}, [])
    assert gone(pid)
    assert explorer.busy["words"] == "cancelled: 2 of 5 were measured"
    assert explorer.busy["can"] == ["run_for_real"]
    assert titles(explorer) == FIVE[:2]
    explorer.cancel()  # again does no harm
    assert explorer.busy["words"] == "cancelled: 2 of 5 were measured"


def test_to_run_again_begins_anew(stage: Stage) -> None:
    explorer = stage.explorer
    stage.let(1)
    explorer.run_for_real()
    stage.says("2 of 5: nonblocking")
    first = stage.pid
    explorer.run_for_real()
    assert gone(first)
    stage.let(2, 3, 4, 5)
    stage.says("measured: 5 of 5")


@pytest.mark.real
def test_to_close_kills_and_leaves_nothing(tmp_path: Path) -> None:
    before = set(_instances)
    stage = Stage(tmp_path)
    stage.explorer.run_for_real()
    stage.says("1 of 5: blocking")
    pid = stage.pid
    stage.explorer.close()
    assert gone(pid)
    assert set(_instances) == before


def test_other_messages_end_it_and_other_costs_do_not(stage: Stage) -> None:
    explorer = stage.explorer
    stage.let(1)
    explorer.run_for_real()
    stage.says("2 of 5: nonblocking")
    asked(explorer, 1, costs="textbook", cores=2, copy=4.0)
    assert titles(explorer) == FIVE[:1]
    pid = stage.pid
    asked(explorer, 2, delay_ms=30)
    assert titles(explorer) == []
    assert explorer.busy["words"] == "cancelled: these are other messages"
    assert "MEASURED" not in explorer.shows.svg
    until(lambda: gone(pid))
    assert explorer.shown["n"] == 2


def test_what_was_measured_is_gone_with_its_messages(stage: Stage) -> None:
    explorer = stage.explorer
    stage.let(1, 2, 3, 4, 5)
    explorer.run_for_real()
    stage.says("measured: 5 of 5")
    explorer.set(poll_ms=2)
    assert titles(explorer) == []
    assert explorer.busy["words"] == ""


def test_a_missing_feature_is_named_and_the_others_go_on(stage: Stage) -> None:
    stage.lacks("multiplexing")
    stage.let(1, 2, 3, 4, 5)
    stage.explorer.run_for_real()
    stage.says("measured: 4 of 5")
    assert stage.explorer.shows.hints == ["multiplexing: this system has no such thing: planted"]
    assert titles(stage.explorer) == [name for name in FIVE if name != "multiplexing"]
    stage.explorer.set(delay_ms=21)
    assert not stage.explorer.shows.hints


def test_nothing_that_was_measured_travels_before_the_guess(stage: Stage) -> None:
    explorer = stage.explorer
    explorer.set(predict=True)
    stage.let(1, 2, 3, 4, 5)
    explorer.run_for_real()
    stage.says("measured: 5 of 5")
    assert not any(v for part, v in travelling(explorer).items() if part != "program")
    explorer.set(committed=True)
    assert "MEASURED" in explorer.shown["view"].svg


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("raise SystemExit('no such luck')", "measured: 0 of 5; then it ended: no such luck"),
        ("import os; os._exit(3)", "measured: 0 of 5; then it ended: it ended with exit status 3"),
        (
            "import os; print('{', end='', flush=True); os.kill(os.getpid(), 9)",
            "measured: 0 of 5; then it ended: it was ended by signal 9 (SIGKILL)",
        ),
        ("print('[1, 2]'); print('{}')", "measured: 0 of 5; then it ended: {}"),
    ],
)
def test_a_process_that_fails_says_why(stage: Stage, code: str, words: str) -> None:
    stage.explorer.COMMAND = (sys.executable, "-c", code)  # type: ignore[misc]
    stage.explorer.run_for_real()
    stage.says(words)
    assert stage.explorer.busy["can"] == ["run_for_real"]


def test_no_process_can_be_started(stage: Stage) -> None:
    stage.explorer.COMMAND = ("/nowhere/at/all",)  # type: ignore[misc]
    with pytest.raises(OSError):
        stage.explorer.run_for_real()
    assert stage.explorer.busy["words"].startswith("no process could be started: ")
    assert stage.explorer.busy["can"] == ["run_for_real"]


@pytest.mark.real
def test_the_process_does_not_outlive_this_one() -> None:
    code = (
        "import sys; from iosim.explore import CompareExplorer; explorer = CompareExplorer();"
        "explorer.COMMAND = (sys.executable, '-c', 'import time; time.sleep(60)');"
        "explorer.run_for_real(); print(explorer._background.pid)"
    )
    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    until(lambda: gone(int(said.stdout)))
    assert said.stderr == ""


def test_an_interrupted_cancel_has_cancelled(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.explorer.run_for_real()
    stage.says("1 of 5: blocking")

    def interrupted(one: Background) -> None:
        one.kill()
        raise KeyboardInterrupt

    with monkeypatch.context() as planted:
        planted.setattr(Background, "cancel", interrupted)
        with pytest.raises(KeyboardInterrupt):
            stage.explorer.cancel()
    assert stage.explorer.busy["can"] == ["run_for_real"]
    assert stage.explorer.busy["words"] == "cancelled: 0 of 5 were measured"


# -- what the process does -------------------------------------------------------------------------


def test_a_job_and_what_is_told_survive_their_way() -> None:
    state = complete(CONTROLS, {"messages": 5, "size": 65_507, "poll_ms": 0.5})
    job = job_of(state)
    assert Job.from_json(job.to_json()) == job
    assert job.programs == tuple(FIVE)
    assert job.rcvbuf == 5 * 65_507
    assert job.limit_s > 5 * 0.02
    assert job_of(complete(CONTROLS, {})).rcvbuf is None
    run = predictions(complete(CONTROLS, {}))[0]
    for told in (Told("blocking", True), Told("blocking", run=run), Told("x", trouble="none")):
        assert Told.from_json(told.to_json()) == told
        assert "\n" not in told.to_json()


def test_one_that_fails_does_not_stop_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}

    def measure(program: Any, story: traffic.Traffic, **options: Any) -> Any:
        import warnings

        given[program.__name__] = options
        if program is models.blocking:
            raise TimeoutError("it took too long")
        if program is models.asynchronous:
            raise Unsupported("io_uring", "Operation not permitted")
        if program is models.multiplexing:
            warnings.warn("shown is a recorded run", stacklevel=1)
        return simulate(program, story)

    monkeypatch.setattr(measure_process, "measure", measure)
    job = job_of(complete(CONTROLS, {}))
    said = list(answers(job))
    assert [(t.program, t.begins) for t in said] == [(n, b) for n in FIVE for b in (True, False)]
    over = {t.program: t for t in said if not t.begins}
    assert {name: t.trouble for name, t in over.items() if t.trouble} == {
        "blocking": "TimeoutError: it took too long",
        "multiplexing": "shown is a recorded run",
        "asynchronous": "this system has no io_uring: Operation not permitted",
    }
    assert [name for name, t in over.items() if t.run is None] == ["blocking", "asynchronous"]
    assert given["nonblocking"]["between"].ns == 1_000_000
    assert all(options["limit_s"] == job.limit_s for options in given.values())


def test_an_unknown_program_is_refused() -> None:
    job = replace(job_of(complete(CONTROLS, {})), programs=("blocking", "__import__"))
    with pytest.raises(ValueError, match="no program '__import__'"):
        programs_of(job)


@pytest.mark.real
@pytest.mark.skipif(sys.platform != "linux", reason="the real kernel here is Linux's")
def test_five_real_runs() -> None:
    explorer = CompareExplorer(delay_ms=5, size=100)
    explorer.run_for_real()
    assert explorer.wait(PATIENCE_S)
    troubled = set(explorer._trouble)
    assert troubled <= {"asynchronous"}  # containers often refuse io_uring
    assert explorer.busy["words"] == f"measured: {len(explorer.measured)} of 5"
    assert {run.title for run in explorer.measured} >= set(FIVE[:4])
    for run in explorer.measured:
        assert run.kernel in ("measured", "recorded")
        assert run.check().deliveries[0].received is not None
    assert explorer.shown["error"] == ""
    explorer.close()


@pytest.mark.real
@pytest.mark.skipif(sys.platform != "linux", reason="the real kernel here is Linux's")
def test_an_interrupt_of_the_notebook_does_not_end_it() -> None:
    """Jupyter sends it to all processes of the kernel's group."""
    explorer = CompareExplorer(delay_ms=50, size=100)
    explorer.run_for_real()
    until(lambda: explorer.busy["words"] == "1 of 5: blocking")
    assert explorer._background is not None
    os.kill(explorer._background.pid, signal.SIGINT)
    assert explorer.wait(PATIENCE_S)
    assert explorer.busy["words"] == f"measured: {len(explorer.measured)} of 5"
    explorer.close()


@pytest.mark.real
def test_a_background_without_an_explorer() -> None:
    heard: list[Any] = []
    job = job_of(complete(CONTROLS, {}))
    one = Background(
        job, lambda _, told: heard.append(told.program), lambda _, last: heard.append(last),
        (sys.executable, "-c", "print('nothing to tell')"),
    )  # fmt: skip
    assert one.wait(PATIENCE_S)
    assert heard == ["nothing to tell"]
    one.cancel()


def test_a_late_word_of_what_was_cancelled_is_not_heard(stage: Stage) -> None:
    """The thread may have read it before it was killed, and wait for the lock."""
    explorer = stage.explorer
    stage.let(1)
    explorer.run_for_real()
    stage.says("2 of 5: nonblocking")
    late = explorer._background
    assert late is not None
    explorer.cancel()
    before = (explorer.busy, explorer.shown)
    explorer._told(late, Told("nonblocking", run=explorer.measured[0]))
    explorer._told(late, Told("multiplexing", begins=True))
    explorer._over(late, "too late")
    assert (explorer.busy, explorer.shown) == before
