"""One echo server and its clients: what each of them waits, and what the server does for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from inspect import signature
from statistics import median
from typing import Any

from ..api import simulate
from ..calls import ms
from ..draw.formatting import count, duration
from ..programs.servers import SERVERS
from ..trace import NETWORK, Interval, Timeline
from ..workloads import clients
from .controls import Choice, Slider, State, Switch
from .model import COSTS, FACTORS, TIMES, costs_of
from .quiz import Question
from .view import Number, View, of_timeline
from .widget import Explorer

__all__ = ["ServerExplorer", "by_client", "run_of", "shown_of", "story_of"]

NAMES = {
    "iterative": "iterative: one client after the other",
    "thread_per_connection": "a thread for each client",
    "nonblocking_sweep": "nonblocking: asks all in turn",
    "reactor_select": "reactor: select",
    "reactor_poll": "reactor: poll",
    "reactor_epoll": "reactor: epoll",
    "reactor_pool": "reactor: epoll and a pool",
    "reactor_epoll_out": "reactor: epoll, waits for room to send",
    "reactor_epoll_et": "reactor: epoll, edge-triggered",
    "signal_driven": "signal-driven: SIGIO",
    "proactor": "proactor: io_uring",
}
#: The prices that matter for each server, besides the system call and the copy.
MATTERS = {
    "nonblocking_sweep": (), "proactor": ("switch",), "reactor_select": ("switch", "select"),
    "reactor_poll": ("switch", "poll"), "signal_driven": ("switch",),
    "iterative": ("switch",), "thread_per_connection": ("switch",),
    "reactor_epoll": ("switch", "epoll"), "reactor_pool": ("switch", "epoll"),
    "reactor_epoll_out": ("switch", "epoll"), "reactor_epoll_et": ("switch", "epoll"),
}  # fmt: skip
#: What some programs take besides: the control, the program's argument, and what is made for it.
ARGUMENTS: dict[str, tuple[Slider, str, Callable[[Any], int]]] = {
    "workers": (Slider("workers", "workers", range(1, 9), 4, "workers"), "workers", int),
    "handler_ms": (
        Slider("handler_ms", "a handler blocks for", (0.0, 1.0, 2.0, 5.0, 10.0, 20.0), 0.0, "ms"),
        "handler_ns", ms,
    ),
}  # fmt: skip
#: Which of them each server takes, by its own signature.
TAKES = {
    name: tuple(
        control for control, (_, argument, _) in ARGUMENTS.items()
        if argument in signature(program).parameters
    )
    for name, program in SERVERS.items()
}  # fmt: skip
LANES = 12  # of processes, and of clients, in the picture


def _messages(many: int, each: int) -> float:
    return many * each


#: How much there is to simulate and to draw, for so many clients and messages each; more than
#: `MOST` of it would take longer than a slider's picture may.
LOAD: dict[str, Callable[[int, int], float]] = {
    "nonblocking_sweep": lambda many, each: 2.4 * many * each,  # asks all, round after round
    "signal_driven": lambda many, each: many * many * each / 8,  # asks all, for each message
    "reactor_pool": lambda many, each: 2.4 * many * each,  # wakes all workers, for each message
}
MOST = 60

# The slow client: it sends more than the buffers between the two sides hold, and reads late.
LATE_MS, MUCH, BUFFER = 200, 24_000, 4_096


def shown_of(state: State) -> tuple[int, int]:
    """How many clients are shown, and with how many messages each: what `state` says, or less."""
    load = LOAD.get(str(state["server"]), _messages)
    many, each = _whole(state, "clients"), _whole(state, "messages")
    while load(many, each) > MOST and each > 1:
        each -= 1
    while load(many, each) > MOST:
        many -= 1
    return many, each


def story_of(state: State) -> clients.Clients:
    """The clients of `state` that are shown; the first of them may be slow."""
    many, each = shown_of(state)
    one = clients.echo(each, _whole(state, "size"), float(state["pause_ms"]))
    story = clients.several(many, one, float(state["within_ms"]) / max(1, many - 1))
    if not state["slow"]:
        return story
    steps = (clients.SEND, MUCH), (clients.UNTIL, ms(LATE_MS)), (clients.RECEIVE, MUCH)
    return clients.of(clients.script(*steps, rcvbuf=BUFFER), *story.clients[1:])


def run_of(state: State) -> Timeline:
    """The server that `state` chooses, over its clients, simulated; a lane for each client."""
    options: dict[str, Any] = {"sndbuf": BUFFER} if state["slow"] else {}
    for name in TAKES[str(state["server"])]:
        _, argument, make = ARGUMENTS[name]
        options[argument] = make(state[name])
    run = simulate(
        SERVERS[str(state["server"])], story_of(state), costs=costs_of(state),
        cores=_whole(state, "cores"), **options,
    )  # fmt: skip
    return by_client(run)


def by_client(run: Timeline) -> Timeline:
    """The same run, with the messages of each client one behind the other on its lane.

    The next message of a client is waited for from the end of the one before.
    """
    whose = {fate.message: f"client {fate.connection + 1}" for fate in run.deliveries}
    reach: dict[str, int] = {}

    def moved() -> Iterator[Interval]:
        for i in run.intervals:
            if i.message is None or i.lane == NETWORK:
                yield i
                continue
            lane = whose[i.message]
            start = max(i.start, reach.get(lane, 0))
            if start < i.end:
                reach[lane] = i.end
                yield replace(i, lane=lane, start=start)

    return replace(run, intervals=tuple(moved()))


def _whole(state: State, name: str) -> int:
    return int(state[name])


# -- what the run tells ---------------------------------------------------------------------------


def _answers(run: Timeline) -> list[list[tuple[int, int]]]:
    """For each client, when it had sent a message and when it had the answer to it, in ns."""
    sent: list[list[int]] = [[] for _ in run.visits]
    for fate in run.deliveries:
        if fate.sent is not None:
            sent[fate.connection].append(fate.sent)
    return [
        list(zip(times, visit.answered, strict=False))
        for times, visit in zip(sent, run.visits, strict=True)
    ]


def _is_slow(run: Timeline) -> bool:
    """Is the first client the one that reads late?  Its own waiting is its own doing."""
    return run.deliveries[0].size == MUCH


def _latencies(run: Timeline) -> list[int]:
    """How long each message's sender waited for its answer, in ns; without the slow client."""
    rows = _answers(run)[1 if _is_slow(run) else 0 :]
    return sorted(after - before for row in rows for before, after in row)


def _most_waiting(run: Timeline) -> int:
    """How many clients wanted an answer at the same instant, at most."""
    changes = sorted(
        change
        for row in _answers(run) for before, after in row
        for change in ((before, 1), (after, -1))
    )  # fmt: skip
    most = now = 0
    for _, change in changes:
        now += change
        most = max(most, now)
    return most


def _per_message(run: Timeline) -> float:
    return len(run.calls()) / len(run.deliveries)


def _keeps_waiting(run: Timeline) -> str:
    """Does a client's first answer wait until the first client has left?"""
    over = run.visits[0].over
    last = run.visits[-1].answered
    return "before" if last and over is not None and last[0] <= over else "after"


def _worst(run: Timeline) -> int:
    return max(_latencies(run), default=0)


def _numbers(run: Timeline) -> list[Number]:
    """What the run comes to."""
    took = _latencies(run)
    middle = duration(round(median(took))) if took else "-"
    others = ", without client 1" if _is_slow(run) else ""
    return [
        Number("latency, median", middle, f"from a message's sending to its answer{others}"),
        Number("latency, worst", duration(took[-1]) if took else "-", f"the longest{others}"),
        Number("clients waiting", count(_most_waiting(run), "client"),
               "that want an answer at the same instant, at most"),
        Number("calls per message", f"{_per_message(run):,.1f}", "entries into the kernel"),
        Number("calls", count(len(run.calls()), "call"), "of all threads together"),
        Number("wasted calls", count(run.checks(), "call"), "that found nothing: EAGAIN"),
        Number("CPU per message", duration(round(run.cpu_ns() / len(run.deliveries))),
               "own code and the kernel's work for it"),
        Number("CPU busy", f"{100 * run.cpu_ns() / max(1, run.end * run.cores):.0f} %",
               "of what the cores have to give"),
        Number("threads", count(len(run.processes), "thread"), "of the server"),
        Number("the whole run", duration(run.end), "until the last client has left"),
    ]  # fmt: skip


# -- what there is to see -------------------------------------------------------------------------

ONE_AT_A_TIME = (
    "reactor_select", "reactor_poll", "reactor_epoll", "reactor_epoll_et", "signal_driven",
    "nonblocking_sweep",
)  # fmt: skip


def _crowded(state: State) -> bool:
    return _whole(state, "clients") > 1


def _blocks(state: State) -> bool:
    return "handler_ms" in TAKES[str(state["server"])] and state["handler_ms"] != 0


def _hints(state: State) -> Iterator[str]:
    many, each = shown_of(state)
    if (many, each) != (state["clients"], state["messages"]):
        yield (
            f"Shown with {count(many, 'client')} and {count(each, 'message')} each: with more, the "
            "picture would come too late for a slider."
        )
    yield from (words for holds, words in HINTS if holds(state))


#: When there is what to see, and a sentence on it.
HINTS: tuple[tuple[Callable[[State], object], str], ...] = (
    (
        lambda s: s["slow"],
        f"Client 1 sends {MUCH:,} bytes at once, and reads nothing before {LATE_MS} ms have "
        f"passed. The buffers on the way back hold {BUFFER:,} bytes each.",
    ),
    (
        lambda s: s["slow"] and s["server"] in ONE_AT_A_TIME and _crowded(s),
        "The one thread waits for room to send to client 1, and meanwhile serves nobody.",
    ),
    (
        lambda s: s["slow"] and s["server"] in ("reactor_epoll_out", "proactor") and _crowded(s),
        "What client 1 does not take waits for it, and the server goes on with the others.",
    ),
    (
        lambda s: s["slow"] and s["server"] == "reactor_pool" and _whole(s, "workers") > 1,
        "One worker waits for room to send to client 1; the others serve the other clients.",
    ),
    (
        lambda s: _blocks(s) and s["server"] == "reactor_epoll",
        "The one thread blocks in the handler, and meanwhile serves nobody.",
    ),
    (
        lambda s: _blocks(s) and s["server"] != "reactor_epoll",
        "Each handler blocks a thread of its own: so many wait side by side.",
    ),
    (
        lambda s: s["server"] == "iterative" and _crowded(s),
        "The kernel connects a client and takes its message in, long before the server accepts "
        "it: whoever comes second waits for the first to leave.",
    ),
    (
        lambda s: s["server"] == "nonblocking_sweep",
        "It asks every descriptor in each round. What it finds there is mostly nothing.",
    ),
    (
        lambda s: s["server"] == "signal_driven",
        "A signal does not say where something has come: it asks every descriptor.",
    ),
)


class ServerExplorer(Explorer):
    """An echo server over a few clients or many: who is served when, and what it costs.

    server      a name of `iosim.servers.SERVERS`
    clients     how many of them
    messages    that each sends; the next only when it has the answer.  Of many clients with many
                messages fewer are shown, and a hint says so
    size        of each message in bytes
    pause_ms    that a client waits before each message
    within_ms   from the first client's connecting to the last one's, at even distances
    slow        the first client sends much and reads late
    handler_ms  for which the server blocks with each message, where its program has such a handler
    workers     of `reactor_pool`
    cores       of the server's machine; the clients need none of them
    costs       "textbook" or "typical"
    syscall, copy, switch, select, poll, epoll
                how many times those costs each of these takes, from 0 to 8
    predict     True hides the run until a guess is made

    Raises what `Explorer` raises.
    """

    TITLE = "One server, many clients"
    CONTROLS = (
        Choice("server", "server", tuple(NAMES.items()), "reactor_epoll"),
        Slider("clients", "clients", (1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 25, 30, 40, 50), 3,
               "clients"),
        Slider("messages", "messages each", range(1, 6), 2, "messages"),
        Slider("size", "size", (1, 10, 100, 500, 1_000, 2_000, 5_000, 10_000), 1_000, "bytes"),
        Slider("pause_ms", "pause of a client", (0.0, 0.5, 1.0, 2.0, 5.0, 10.0), 10.0, "ms"),
        Slider("within_ms", "all connect within", (0.0, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0), 10.0,
               "ms"),
        *(control for control, _, _ in ARGUMENTS.values()),
        Slider("cores", "cores", range(1, 5), 1, "cores"),
        COSTS,
        *(Slider(name, words, TIMES, 1.0, "×")
          for name, (_, words) in FACTORS.items() if name != "signal"),
        Switch("slow", f"client 1 sends much and reads after {LATE_MS} ms"),
    )  # fmt: skip
    QUESTIONS = (
        Question[Timeline](
            Slider("guess_calls", "How many system calls does it make for each message?",
                   range(1, 101), 1, "calls"),
            lambda run: round(_per_message(run)),
        ),
        Question[Timeline](
            Choice(
                "guess_order",
                "Has the last client its first answer before the first client has left, or after?",
                (("before", "before"), ("after", "after")), "before",
            ),
            _keeps_waiting,
        ),
        Question[Timeline](
            Slider(
                "guess_worst",
                "How long does a client that reads at once wait for an answer, at worst?",
                tuple(float(n) for n in (*range(0, 100, 5), *range(100, 1_001, 20))), 0.0, "ms",
            ),
            lambda run: round(_worst(run) / 1e6, 3),
        ),
    )  # fmt: skip

    @classmethod
    def visible(cls, state: State) -> list[str]:
        server = str(state["server"])
        shown = {"syscall", "copy", *MATTERS[server], *TAKES[server]}
        hidden = {*FACTORS, *ARGUMENTS} - shown
        return [control.name for control in cls.CONTROLS if control.name not in hidden]

    @classmethod
    def view(cls, state: State) -> View:
        run = run_of(state)
        return of_timeline(
            run, SERVERS[run.title], LANES, numbers=_numbers(run),
            hints=list(_hints(state)),
        )  # fmt: skip
