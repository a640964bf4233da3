"""All five models on one clock, over the same messages: predicted, and held against real runs."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

from ..calls import compute, ms
from ..draw.clock import HEADS, clock, table
from ..draw.compare import compare
from ..draw.formatting import duration
from ..prediction import predict
from ..programs import models
from ..sim.traffic import DEFAULT_RCVBUF
from ..trace import COPY, WAIT, Timeline
from .controls import Choice, Control, Slider, State
from .measure_process import COMMAND, Background, Job, Told
from .model import CORES, COSTS, FACTORS, INTERVAL, TRAFFIC, costs_of, room, story_of
from .model import TIMES as FACTOR_STOPS
from .playback import Moment, Track, moments, program_text, tracks
from .quiz import Question
from .view import Figure, Number, Table, View
from .widget import Explorer

__all__ = ["CompareExplorer", "job_of", "predictions"]

FIVE = tuple(program.__name__ for program in models.FIVE)
#: What decides what a real run does; the rest is the prediction's.
OF_THE_RUN = ("delay_ms", "size", "messages", "poll_ms")
MORE = -1  # the view answers no choice: see Explorer.shown
PATIENCE_S = 3.0  # after the last message a real run is stopped
PRICES = ("syscall", "copy", "switch", "select", "signal")
Runs = tuple[Timeline, ...]


def predictions(state: State) -> Runs:
    """The five over the story of `state`, at its costs, in the order of Figure 6.6."""
    story, looks = story_of(state), compute(ms(float(state["poll_ms"])))
    options: Mapping[str, dict[str, compute]] = {"nonblocking": {"between": looks}}
    return tuple(
        predict(
            program, story, costs=costs_of(state), cores=int(state["cores"]),
            rcvbuf=room(story), **options.get(program.__name__, {}),
        )
        for program in models.FIVE
    )  # fmt: skip


def job_of(state: State) -> Job:
    """The real runs of the same five over the same story."""
    story = story_of(state)
    rcvbuf = None if story.nbytes() < DEFAULT_RCVBUF // 2 else room(story)
    limit = story.messages[-1].at_ns / 1e9 + PATIENCE_S
    return Job(FIVE, story, ms(float(state["poll_ms"])), rcvbuf, limit)


# -- guesses --------------------------------------------------------------------------------------


def _quickest(runs: Runs) -> str:
    """Who has the first message in its hands first."""
    return min(runs, key=lambda run: run.deliveries[0].received or run.end).title


def _blocked(phase: str, runs: Runs) -> int:
    return sum(run.blocked(phase) > 0 for run in runs)


GUESSES = (
    Question[Runs](
        Choice(
            "guess_first", "Which has the first message in its hands first?",
            tuple((name, name.replace("_", " ")) for name in FIVE), "blocking",
        ),
        _quickest,
    ),
    Question[Runs](
        Slider("guess_wait", "How many are blocked while they wait?", range(6), 0, "models"),
        lambda runs: _blocked(WAIT, runs),
    ),
    Question[Runs](
        Slider(
            "guess_copy", "How many are blocked while the data is copied?", range(6), 0, "models"
        ),
        lambda runs: _blocked(COPY, runs),
    ),
)  # fmt: skip


# -- what is shown --------------------------------------------------------------------------------


def shown(runs: Runs, real: Sequence[Timeline] = (), hints: Sequence[str] = ()) -> View:
    """The view of the predictions `runs`, with the measured runs that there are."""
    picture = clock(runs, real)
    named = _named(runs, real)
    lines = {call.line for run in runs for call in run.call_log}
    side_by_side = compare(runs)
    return View(
        picture.svg, picture.text, _moments(named), _tracks(named),
        program_text(models.blocking, lines), _numbers(runs, real),
        (Table("What each run comes to", HEADS, tuple(table(runs, real))),),
        (Figure("The first message, side by side, as Figure 6.6", side_by_side.svg),),
        hints, run=runs,
    )  # fmt: skip


def _named(runs: Runs, real: Sequence[Timeline]) -> dict[str, Timeline]:
    """The runs under the names that they have in words, each real one behind its prediction."""
    again = {run.title: run for run in real}
    found: dict[str, Timeline] = {}
    for run in runs:
        name = run.title.replace("_", " ")
        found[name] = run
        if run.title in again:
            found[f"{name}, {again[run.title].kernel}"] = again[run.title]
    return found


def _moments(named: Mapping[str, Timeline]) -> list[Moment]:
    """Everything that happens in any of them; what happens in all alike is told once."""
    said: dict[int, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for name, run in named.items():
        for moment in moments(run):
            for words in moment.words:
                said[moment.at][words].append(name)
    return [
        Moment(at, tuple(_whose(words, names, named) for words, names in each.items()))
        for at, each in sorted(said.items())
    ]


def _whose(words: str, names: Sequence[str], named: Mapping[str, Timeline]) -> str:
    return words if len(names) == len(named) else f"{' and '.join(names)}: {words}"


def _tracks(named: Mapping[str, Timeline]) -> list[Track]:
    """A lane for each run: what its process does."""
    return [replace(tracks(_process_of(run))[0], name=name) for name, run in named.items()]


def _process_of(run: Timeline) -> Timeline:
    """The run without its data: ten of them would be too much to read."""
    own = tuple(i for i in run.intervals if i.lane in run.processes)
    return replace(run, intervals=own, deliveries=())


def _numbers(runs: Runs, real: Sequence[Timeline]) -> list[Number]:
    """From the arrival to the program, for each model."""
    again = {run.title: run for run in real}
    return [
        Number(
            run.title.replace("_", " "),
            " / ".join(_latency(r) for r in (run, again.get(run.title)) if r is not None),
            "from the arrival of message 1 to the program's hands: predicted, and measured if run",
        )
        for run in runs
    ]


def _latency(run: Timeline) -> str:
    fate = run.deliveries[0]
    if fate.arrived is None or fate.received is None:
        return "-"
    return duration(fate.received - fate.arrived)


# -- the explorer ---------------------------------------------------------------------------------


class CompareExplorer(Explorer):
    """The five models over the same messages, on one clock; and, on demand, on this machine.

    delay_ms  from the start to the first message, and between two of them
    size      of each message in bytes
    messages  how many of them
    poll_ms   what the nonblocking model computes between two looks
    cores     of the machine, for the prediction
    costs     "typical" or "textbook", for the prediction
    syscall, copy, switch, select, signal
              how many times those costs each of these takes, from 0 to 8
    predict   True hides the runs until a guess is made

    `run_for_real` measures the five in a process of its own and draws them over; `cancel` stops
    that.  What was measured is no part of the state: other messages, and it is gone.
    Raises what `Explorer` raises.
    """

    TITLE = "Five I/O models on one clock"
    CONTROLS: ClassVar[Sequence[Control]] = (
        *TRAFFIC, replace(INTERVAL, default=1.0), CORES, replace(COSTS, default="typical"),
        *(Slider(name, FACTORS[name][1], FACTOR_STOPS, 1.0, "×") for name in PRICES),
    )  # fmt: skip
    QUESTIONS = GUESSES
    ACTIONS: ClassVar[Mapping[str, str]] = {
        "run_for_real": "Run it for real", "cancel": "Cancel",
    }  # fmt: skip
    COMMAND: ClassVar[Sequence[str]] = COMMAND  # what measures

    def __init__(self, state: str = "", **chosen: object) -> None:
        self._lock = threading.RLock()
        self._background: Background | None = None
        self._real: dict[str, Timeline] = {}
        self._trouble: dict[str, str] = {}
        super().__init__(state, **chosen)
        self._idle("")

    @classmethod
    def view(cls, state: State) -> View:
        return shown(predictions(state))

    def _look(self, state: State) -> View:
        """With what was measured, as long as it is of these messages."""
        if any(state[name] != self._state[name] for name in OF_THE_RUN):
            self._forget()
        if not self._real and not self._trouble:
            return super()._look(state)
        runs = predictions(state)
        hints = [f"{name}: {words}" for name, words in self._trouble.items()]
        return shown(runs, self.measured, hints)

    def _show(self, wanted: Mapping[str, object] | str, n: int = 0) -> None:
        with self._lock:  # the reader's choices and the measured runs come in two threads
            super()._show(wanted, n)

    @property
    def measured(self) -> Runs:
        """The real runs of these messages that there are."""
        return tuple(self._real[name] for name in FIVE if name in self._real)

    # -- the real runs -----------------------------------------------------------------------------

    def run_for_real(self) -> None:
        """Measure the five, in the background; what was measured before is forgotten.

        OSError if no process can be started.
        """
        self.cancel()
        with self._lock:
            self._real, self._trouble = {}, {}
            try:
                running = Background(job_of(self._state), self._told, self._over, self.COMMAND)
            except BaseException as error:
                self._idle(f"no process could be started: {error or 'interrupted'}")
                raise
            self._background = running
            self._progress("the measuring process starts", 0)

    def cancel(self) -> None:
        """Stop measuring, and keep what was measured; nothing happens if nothing runs."""
        with self._lock:
            running, self._background = self._background, None
        if running is not None:
            try:
                running.cancel()  # without the lock, which its thread may want
            finally:  # who interrupts the wait has cancelled it all the same
                self._idle(f"cancelled: {len(self._real)} of {len(FIVE)} were measured")

    def close(self) -> None:
        """Kill what runs, and free everything."""
        with self._lock:
            running, self._background = self._background, None
        if running is not None:
            running.cancel()
        super().close()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the real runs are over, at most `timeout` seconds; are they?"""
        running = self._background
        return running is None or running.wait(timeout)

    def _forget(self) -> None:
        """These are not the messages that were measured: kill what runs, drop what there is."""
        running, self._background = self._background, None
        self._real, self._trouble = {}, {}
        if running is not None:
            running.kill()
        self._idle("cancelled: these are other messages" if running is not None else "")

    def _told(self, background: Background, told: Told) -> None:
        """In the background's thread."""
        with self._lock:
            if self._background is not background:  # it was cancelled meanwhile
                return
            if told.begins:
                done = FIVE.index(told.program)
                self._progress(f"{done + 1} of {len(FIVE)}: {told.program}", done)
                return
            if told.run is not None:
                self._real[told.program] = told.run
            if told.trouble:
                self._trouble[told.program] = told.trouble
            self._show(self._state, MORE)

    def _over(self, background: Background, last: str) -> None:
        """In the background's thread: its process has ended."""
        with self._lock:
            if self._background is not background:  # it was cancelled meanwhile
                return
            self._background = None
            words = f"measured: {len(self._real)} of {len(FIVE)}"
            self._idle(f"{words}; then it ended: {last}" if last else words)

    def _progress(self, words: str, done: int) -> None:
        self.busy = {"words": words, "done": done, "total": len(FIVE), "can": ["cancel"]}

    def _idle(self, words: str) -> None:
        self.busy = {"words": words, "done": 0, "total": 0, "can": ["run_for_real"]}
