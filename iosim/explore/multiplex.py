"""One question to select, poll or epoll: which of these descriptors are ready, and at what cost?"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import ClassVar

from ..draw.formatting import count, duration
from ..draw.question import Asked
from ..draw.question import question_of as read
from ..draw.readiness_figure import asked as picture_of
from ..programs import models
from ..sim.question import CALLS, MOST, PATTERNS, ask, ready_places
from .controls import Choice, Control, Slider, State
from .model import COSTS, FACTORS, costs_of
from .model import TIMES as FACTOR_STOPS
from .playback import Moment, Track, program_text
from .quiz import Question
from .view import Number, Table, View
from .widget import Explorer

__all__ = ["MultiplexExplorer", "question_of"]

PROGRAMS = {
    "select": models.multiplexing, "poll": models.multiplexing_poll,
    "epoll": models.multiplexing_epoll,
}  # fmt: skip
#: Which line of the program a kind of step belongs to: what stands in it.
LINES = {
    "create": "epoll_create(", "add": "epoll_ctl(", "scan": "for fd in ready", "go on": "while",
}  # fmt: skip
HEADS = ("call", "calls before", "bytes in", "looked at", "bytes back", "the question")
WORDS = {"spread": "spread evenly", "first": "the first ones", "last": "the last ones"}


def question_of(state: State, call: str | None = None) -> Asked:
    """The question that `state` asks, put to its call or to another one."""
    name = str(state["call"]) if call is None else call
    places = ready_places(int(state["n"]), _ready(state), str(state["pattern"]))
    sets = int(state["sets"]) if name == "select" else 1
    return read(ask(name, int(state["n"]), places, costs_of(state)), sets)


def _ready(state: State) -> int:
    """No more are ready than there are."""
    return min(int(state["ready"]), int(state["n"]))


# -- the rails of the playhead --------------------------------------------------------------------


def _moments(question: Asked) -> list[Moment]:
    """Each step begins; what begins at the same instant stands together."""
    at: dict[int, list[str]] = defaultdict(list)
    for step in question.steps:
        at[step.start].append(step.words)
    ready = count(len(question.ready), "descriptor")
    at[question.end].append(f"the program knows of {ready} that can be read")
    return [Moment(instant, tuple(words)) for instant, words in sorted(at.items())]


def _tracks(question: Asked) -> list[Track]:
    where = "the ready list" if question.call == "epoll" else "found by the kernel"
    return [
        Track("the process", "process", tuple(_process(question))),
        Track(where, "buffer", tuple(_holding(_found(question)))),
        Track("known to the program", "buffer", tuple(_holding(_known(question)))),
    ]


STATES = {"user": "user", "kernel": "kernel", "copy": "kernel"}  # a copy runs in the kernel


def _process(question: Asked) -> Iterator[tuple[int, str, str, int | None]]:
    lines = program_text(PROGRAMS[question.call])
    question_line = f"yield {'epoll_wait' if question.call == 'epoll' else question.call}("
    for step in question.steps:
        if step.part != "arrive" and step.ns:
            wanted = LINES.get(step.part, question_line)
            line = next((number for number, text in lines if wanted in text), None)
            yield step.start, STATES[step.state], f"{step.words} ({duration(step.ns)})", line
    yield question.end, "over", "knows which are ready", None


Arrivals = list[tuple[int, int]]  # when which descriptor is there


def _found(question: Asked) -> Arrivals:
    """On epoll's ready list from its arrival; else in the answer once it was looked at.

    What is level-triggered never leaves the list for longer than its own step.
    """
    if question.call == "epoll":
        return [(s.start, s.fd or 0) for s in question.steps if s.part == "arrive"]
    return [(s.end, s.fd or 0) for s in question.steps if s.part == "look" and s.found]


def _known(question: Asked) -> Arrivals:
    return [(s.end, s.fd or 0) for s in question.steps if s.part == "scan" and s.found]


def _holding(arrivals: Arrivals) -> Iterator[tuple[int, str, str, int | None]]:
    """Which descriptors are there, from when on; of one instant only what is so in the end."""
    rows: dict[int, tuple[str, str]] = {0: ("empty", "none")}
    there: list[int] = []
    for at, fd in arrivals:
        there.append(fd)
        rows[at] = "full", _names(there)
    yield from ((at, state, words, None) for at, (state, words) in rows.items())


def _names(fds: Sequence[int]) -> str:
    listed = ", ".join(map(str, fds)) if len(fds) <= 8 else f"{fds[0]}, {fds[1]}, … {fds[-1]}"
    return f"{count(len(fds), 'descriptor')}: {listed}"


# -- numbers --------------------------------------------------------------------------------------


def _numbers(question: Asked) -> list[Number]:
    slept = question.looks if question.call == "epoll" else 2 * question.looks
    return [
        Number("the question", duration(question.call_ns), "from its way in to its return"),
        Number("copied in", f"{question.bytes_in:,} bytes", "by this question"),
        Number("copied back", f"{question.bytes_out:,} bytes", "by its answer"),
        Number("looked at", count(question.looks, "descriptor"), "by the kernel, to answer"),
        Number("had it slept", count(slept, "look"), "select and poll look at all again"),
        Number("looked through", count(question.scanned, "place"), "of the answer, by the program"),
        Number("calls before", count(question.calls_before, "call"), "once, before the first"),
        Number("paid once", duration(question.once_ns), "for these calls"),
    ]  # fmt: skip


def _row(question: Asked) -> tuple[str, ...]:
    return (
        question.call, str(question.calls_before), f"{question.bytes_in:,}", str(question.looks),
        f"{question.bytes_out:,}", duration(question.call_ns),
    )  # fmt: skip


def _hints(state: State, three: dict[str, Asked]) -> list[str]:
    found = []
    if int(state["ready"]) > int(state["n"]):
        found.append(f"There are only {state['n']} descriptors: all of them are ready.")
    saved = three["poll"].call_ns - three["epoll"].call_ns
    once = three["epoll"].once_ns
    if saved > 0:
        found.append(
            f"Here a question to epoll saves {duration(saved)} against poll: the calls before "
            f"({duration(once)}) are paid back after {count(-(-once // saved), 'question')}."
        )
    else:
        found.append("Here a question to epoll is no cheaper than one to poll.")
    return found


GUESSES = (
    Question[Asked](
        Slider("guess_looks", "How many descriptors does the kernel look at?", range(MOST + 1), 0,
               "descriptors"),
        lambda question: question.looks,
    ),
    Question[Asked](
        Slider("guess_bytes", "How many bytes are copied, in and back?", range(0, 801, 2), 0,
               "bytes"),
        lambda question: question.bytes_in + question.bytes_out,
    ),
    Question[Asked](
        Slider("guess_before", "How many calls did the program make before?", range(MOST + 2), 0,
               "calls"),
        lambda question: question.calls_before,
    ),
)  # fmt: skip


class MultiplexExplorer(Explorer):
    """One question about up to 64 descriptors: sets, scan and ready list, step by step.

    call     "select", "poll" or "epoll"
    n        how many descriptors are asked about
    ready    how many of them are ready; no more than `n`
    pattern  where these stand: "spread", "first" or "last"
    sets     how many sets select is given
    costs    "typical" or "textbook"
    syscall, select, poll, epoll
             how many times those costs each of these takes, from 0 to 8
    predict  True hides the answer until a guess is made

    Raises what `Explorer` raises.
    """

    TITLE = "Which descriptors are ready?"
    CONTROLS: ClassVar[Sequence[Control]] = (
        Choice("call", "call", tuple((call, call) for call in CALLS), "select"),
        Slider("n", "descriptors", range(1, MOST + 1), 12, "fds"),
        Slider("ready", "of these ready", range(MOST + 1), 3, "fds"),
        Choice("pattern", "the ready ones", tuple((name, WORDS[name]) for name in PATTERNS),
               "spread"),
        Slider("sets", "sets", range(1, 4), 1, "sets"),
        replace(COSTS, default="typical"),
        *(Slider(name, FACTORS[name][1], FACTOR_STOPS, 1.0, "×")
          for name in ("syscall", *CALLS)),
    )  # fmt: skip
    QUESTIONS = GUESSES

    @classmethod
    def visible(cls, state: State) -> list[str]:
        sets = ["sets"] if state["call"] == "select" else []
        return ["call", "n", "ready", "pattern", *sets, "costs", "syscall", str(state["call"])]

    @classmethod
    def view(cls, state: State) -> View:
        three = {call: question_of(state, call) for call in CALLS}
        question = three[str(state["call"])]
        picture = picture_of(question)
        few = f"{count(len(question.fds), 'descriptor')}, {len(question.ready)} of them ready"
        return View(
            picture.svg, picture.text, _moments(question), _tracks(question),
            program_text(PROGRAMS[question.call]), _numbers(question),
            (Table(f"The three: {few}", HEADS, tuple(map(_row, three.values()))),),
            hints=_hints(state, three), run=question,
        )  # fmt: skip
