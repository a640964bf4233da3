"""One I/O model, and everything that can be varied about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from statistics import mean

from ..api import simulate
from ..calls import Program, Request, compute, ms, sleep
from ..costs import Costs
from ..draw.formatting import count, duration, row_words
from ..draw.stevens import stevens
from ..programs import models
from ..sim.traffic import DEFAULT_RCVBUF
from ..trace import COPY, FIGURE_6_6, WAIT, Timeline
from ..workloads.traffic import Traffic, several
from .controls import Choice, Control, Slider, State
from .quiz import Question
from .view import Figure, Number, View, of_timeline
from .widget import Explorer

__all__ = [
    "COSTS", "FACTORS", "TRAFFIC", "ModelExplorer", "costs_of", "room", "run_of", "story_of",
]  # fmt: skip

MODELS = {
    "blocking": "blocking",
    "nonblocking": "nonblocking (works)",
    "nonblocking_sleeping": "nonblocking (sleeps)",
    "multiplexing": "multiplexing: select",
    "multiplexing_poll": "multiplexing: poll",
    "multiplexing_epoll": "multiplexing: epoll",
    "signal_driven": "signal-driven",
    "signal_waiting": "signal-driven (waits)",
    "asynchronous": "asynchronous: io_uring",
    "asynchronous_aio": "asynchronous: POSIX aio",
}
#: What the program does between two looks, where it looks again and again.
BETWEEN = {"nonblocking": compute, "nonblocking_sleeping": sleep}

TRAFFIC: tuple[Control, ...] = (
    Slider("delay_ms", "arrival delay", range(101), 20, "ms"),
    Slider(
        "size", "size", (1, 10, 100, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 40_000, 65_507),
        1_000, "bytes",
    ),
    Slider("messages", "messages", range(1, 6), 1, "messages"),
)  # fmt: skip
INTERVAL = Slider("poll_ms", "poll interval", (0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0), 5.0, "ms")
CORES = Slider("cores", "cores", range(1, 5), 1, "cores")
COSTS = Choice(
    "costs", "costs",
    (("textbook", "textbook: round and large"), ("typical", "typical of a small machine")),
    "textbook",
)  # fmt: skip

TIMES = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
#: Each price that can be varied: the fields of `Costs` that it multiplies, and its name.
FACTORS = {
    "syscall": (("syscall",), "a system call"),
    "copy": (("copy_base", "copy_per_byte"), "the copy"),
    "switch": (("wakeup", "context_switch"), "wake-up and switch"),
    "select": (("select_per_fd",), "select's look at a descriptor"),
    "poll": (("poll_per_fd",), "poll's look at a descriptor"),
    "epoll": (("epoll_per_ready",), "epoll's look at a ready one"),
    "signal": (("signal_delivery",), "delivery of a signal"),
}
#: The prices that matter for each model, besides the system call and the copy.
MATTERS = {
    "blocking": ("switch",), "nonblocking": (), "nonblocking_sleeping": ("switch",),
    "multiplexing": ("switch", "select"), "multiplexing_poll": ("switch", "poll"),
    "multiplexing_epoll": ("switch", "epoll"), "signal_driven": ("signal",),
    "signal_waiting": ("switch",), "asynchronous": (), "asynchronous_aio": ("switch",),
}  # fmt: skip


def costs_of(state: State) -> Costs:
    """The costs that `state` names, each price as many times as it says."""
    base = Costs.typical() if state["costs"] == "typical" else Costs.textbook()
    changed = {
        field: getattr(base, field) * times
        for name, (fields, _) in FACTORS.items()
        if isinstance(times := state.get(name, 1.0), int | float) and times != 1
        for field in fields
    }
    return replace(base, **changed) if changed else base


def story_of(state: State) -> Traffic:
    """The messages that `state` asks for, `delay_ms` apart."""
    return several(_whole(state, "messages"), _whole(state, "delay_ms"), _whole(state, "size"))


def run_of(program: Callable[..., Program], state: State) -> Timeline:
    """`program` over the story of `state`, simulated at its costs."""
    story, options = story_of(state), dict[str, Request]()
    if program.__name__ in BETWEEN:
        options["between"] = BETWEEN[program.__name__](ms(float(state["poll_ms"])))
    return simulate(
        program, story, costs=costs_of(state), cores=_whole(state, "cores"), rcvbuf=room(story),
        **options,
    )  # fmt: skip


def room(story: Traffic) -> int:
    """A receive buffer in bytes for all of `story`: no program waits for what was dropped."""
    return max(DEFAULT_RCVBUF, story.nbytes())


def _whole(state: State, name: str) -> int:
    return int(state[name])


def _factor(name: str) -> Slider:
    return Slider(name, FACTORS[name][1], TIMES, 1.0, "×")


GUESSES = (
    Question[Timeline](
        Slider("guess_calls", "How many system calls does it make?", range(101), 0, "calls"),
        lambda run: len(run.calls()),
    ),
    Question[Timeline](
        Slider(
            "guess_wait", "For how long is it blocked, waiting for the data?",
            tuple(float(n) for n in range(0, 501, 5)), 0.0, "ms",
        ),
        lambda run: run.blocked(WAIT) / 1e6,
    ),
    Question[Timeline](
        Choice(
            "guess_copy", "Is it blocked while the data is copied?",
            (("blocked", "yes, blocked"), ("free", "no, free")), "blocked",
        ),
        lambda run: "blocked" if run.blocked(COPY) else "free",
    ),
)  # fmt: skip


class ModelExplorer(Explorer):
    """One of the models over a few messages: its timeline, its program, its numbers.

    model     a name of `iosim.models`
    delay_ms  from the start to the first message, and between two of them
    size      of each message in bytes
    messages  how many of them
    poll_ms   what lies between two looks, where the program looks again and again
    cores     of the machine
    costs     "textbook" or "typical"
    syscall, copy, switch, select, poll, epoll, signal
              how many times those costs each of these takes, from 0 to 8
    predict   True hides the run until a guess is made

    Raises what `Explorer` raises.
    """

    TITLE = "One I/O model"
    CONTROLS = (
        Choice("model", "model", tuple(MODELS.items()), "blocking"),
        *TRAFFIC, INTERVAL, CORES, COSTS, *map(_factor, FACTORS),
    )  # fmt: skip
    QUESTIONS = GUESSES

    @classmethod
    def visible(cls, state: State) -> list[str]:
        model = str(state["model"])
        interval = ["poll_ms"] if model in BETWEEN else []
        return [
            "model", "delay_ms", "size", "messages", *interval, "cores", "costs",
            "syscall", "copy", *MATTERS[model],
        ]  # fmt: skip

    @classmethod
    def view(cls, state: State) -> View:
        program = getattr(models, str(state["model"]))
        run = run_of(program, state)
        figure = Figure("Message 1, step by step, as Stevens draws it", stevens(run).svg)
        return of_timeline(
            run, program, numbers=_numbers(run), figures=(figure,), hints=_hints(run)
        )


#: What there is to see of each phase, by the run's own row of Figure 6.6.
HINTS = {
    (
        "wait",
        "blocked",
    ): "While the data is on its way the process sleeps in a call: it uses no core.",
    ("wait", "checks"): "While the data is on its way the process asks for it, again and again.",
    (
        "wait",
        "free",
    ): "While the data is on its way the process runs its own code: it will be told.",
    ("copy", "blocked"): "While the data is copied the process is in the call that copies it.",
    ("copy", "free"): "The data is copied in no call of the process: it is told when all is done.",
}


def _hints(run: Timeline) -> list[str]:
    row = run.figure_6_6()
    seen = (("wait", row.wait), ("copy", row.copy))
    return [HINTS[phase, how] for phase, how in seen if how is not None]


def _numbers(run: Timeline) -> list[Number]:
    """What the run comes to."""
    took = [
        fate.received - fate.arrived for fate in run.deliveries
        if fate.received is not None and fate.arrived is not None
    ]  # fmt: skip
    latency = duration(round(mean(took))) if took else "-"
    row = run.figure_6_6()
    expected = FIGURE_6_6[models.MODEL_OF[run.title]]
    agrees = "as the figure has it" if row.agrees(expected) else "not as the figure has it"
    return [
        Number("latency", latency, "from the arrival to the data in the program's hands, mean"),
        Number("blocked in wait", duration(run.blocked(WAIT)), "asleep until the data is there"),
        Number("blocked in copy", duration(run.blocked(COPY)), "in the call that copies"),
        Number("CPU", duration(run.cpu_ns()), "own code and the kernel's work for it"),
        Number("CPU while waiting", duration(run.cpu_while(WAIT)), "of that, before the data"),
        Number("system calls", count(len(run.calls()), "call"), "entries into the kernel"),
        Number("wasted checks", count(run.checks(), "check"), "calls that found nothing: EAGAIN"),
        Number("Figure 6.6", row_words(row), agrees),
    ]
