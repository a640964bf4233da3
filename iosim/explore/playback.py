"""What is so at each instant of a run, and what changes there: the rails of the playhead.

The front end asks nothing of the kernel while it steps: all that it highlights stands in these
values, as plain lists that travel as JSON.  All times are ns from the start of the run.
"""

from __future__ import annotations

import ast
import inspect
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module

from ..draw.formatting import called, count, duration, signal_name
from ..trace import (
    COPY,
    KERNEL,
    NETWORK,
    PROCESS_STATES,
    QUEUED,
    READY,
    SLEEPING,
    USER,
    WAIT,
    Call,
    Delivery,
    Interval,
    KernelLine,
    Outcome,
    Timeline,
    Visit,
    errno_name,
)

__all__ = [
    "Moment", "Track", "buffers", "crowd", "kernel_text", "moments", "program_text", "tracks",
]  # fmt: skip

STATE_WORDS = {
    USER: "runs its own code", KERNEL: "runs in the kernel", READY: "is ready: it wants a core",
    SLEEPING: "sleeps", WAIT: "is not here yet", QUEUED: "is here: nobody copies it yet",
    COPY: "is being copied to the process",
}  # fmt: skip
#: The same for a lane that is about something else than a message, by the first word of its name.
DATA_WORDS = {
    "job": {
        WAIT: "its result is not there yet", QUEUED: "its result is there: nobody fetches it yet",
    },
    "client": {
        WAIT: "its next message is not here yet",
        QUEUED: "its message is here: nobody copies it yet",
        COPY: "its message is being copied to the process",
    },
}  # fmt: skip
#: What is so before a lane begins, and what becomes of it in the end, likewise.
NOT_YET = {"job": "is not asked for yet", "thread": "is not started yet"}
OVER = {"job": "its result is in the program's hands", "client": "all that it sent is received"}
CALLBACK = "callback"  # what a library's thread does for the program, as its lane names it
MOST_LANES = 12  # of processes, and of data, beside the picture; more would be read by nobody

Row = tuple[int, str, str, int | None]


@dataclass(frozen=True, slots=True)
class Moment:
    """An instant at which something happens: `words` say what, each of them one event."""

    at: int
    words: tuple[str, ...]

    def plain(self) -> list[int | str]:
        """As JSON."""
        return [self.at, "; ".join(self.words)]


@dataclass(frozen=True, slots=True)
class Track:
    """One lane, told as rows `(from, state, words, line)` in time; the last one ends the run.

    `kind`: "process", "data" or "buffer".  `line` of the program's file is that
    of the call that it is in, or that it made last; None before the first.  `kernel` has pairs
    `(from, place)`: where the kernel's side of its calls is ("": it is in none), as `kernel_text`
    names places.
    """

    name: str
    kind: str
    rows: tuple[Row, ...]
    kernel: tuple[tuple[int, str], ...] = ()

    def plain(self) -> dict[str, object]:
        """As JSON."""
        rows = [list(row) for row in self.rows]
        told: dict[str, object] = {"name": self.name, "kind": self.kind, "rows": rows}
        return told | ({"kernel": [list(pair) for pair in self.kernel]} if self.kernel else {})


# -- what happens, and when -----------------------------------------------------------------------


def moments(timeline: Timeline) -> list[Moment]:
    """Everything that happens, in time; what happens at the same instant stands together."""
    at: dict[int, list[str]] = defaultdict(list)
    for _, instant, words in sorted(_events(timeline), key=lambda event: (event[1], event[0])):
        if words not in at[instant]:
            at[instant].append(words)
    at.setdefault(timeline.start, []).insert(0, "the run begins")
    at.setdefault(timeline.end, []).append("the run ends")
    return [Moment(instant, tuple(words)) for instant, words in sorted(at.items())]


def _events(timeline: Timeline) -> Iterator[tuple[int, int, str]]:
    """`(rank, ns, words)`: at one instant a lower rank is told first."""
    own, start = {*timeline.processes, *timeline.helpers}, timeline.start
    alone = len(timeline.processes) == 1
    for call in timeline.call_log:
        if " " in call.name or call.name == CALLBACK:  # no call of the program's, but done for it
            yield 4, call.start, f"{call.process} begins {call.name}"
            yield 1, call.end, f"{call.process} ends {call.name}"
        elif call.process in own:
            yield 4, call.start, f"{call.process} calls {called(call)}"
            yield 1, call.end, f"{'' if alone else f'{call.process}: '}{call.name} {_result(call)}"
    for fate in timeline.deliveries:
        whose = f" of client {fate.connection + 1}" if timeline.visits else ""
        name = f"message {fate.message}{whose} ({fate.size:,} bytes)"
        if fate.dropped:
            yield 0, fate.arrived or fate.sent or 0, f"{name} is dropped: the buffer is full"
        elif fate.arrived is not None:
            yield 0, fate.arrived, f"{name} is in the kernel: data ready"
        if fate.received is not None:
            yield 2, fate.received, f"{name} is in the program's hands"
    for outcome in timeline.outcomes:
        if outcome.done is not None:
            yield 0, outcome.done, f"job {outcome.job} is done"
        if outcome.received is not None:
            yield 2, outcome.received, f"the result of job {outcome.job} is received"
    for visit in timeline.visits:
        yield from _stays(visit)
    for interval in timeline.intervals:
        if interval.start > start or interval.lane not in timeline.helpers:
            yield from _turns(interval, own)


def _stays(visit: Visit) -> Iterator[tuple[int, int, str]]:
    """What a client meets with."""
    name = f"client {visit.client + 1}"
    if visit.begun is not None:
        yield 0, visit.begun, f"{name} connects"
    if visit.connected is not None:
        yield 0, visit.connected, f"{name} is connected"
    for number, at in enumerate(visit.answered, start=1):
        yield 0, at, f"{name} has answer {number}"
    if visit.over is not None:
        yield 0, visit.over, f"{name} has closed{f': {visit.end}' if visit.end else ''}"


def _turns(interval: Interval, own: set[str]) -> Iterator[tuple[int, int, str]]:
    """What an interval's beginning tells that no call tells."""
    if interval.lane == NETWORK:
        yield 3, interval.start, f"message {interval.message} is sent"
    elif interval.lane not in own:
        if interval.state == COPY:
            yield 3, interval.start, f"the kernel begins to copy message {interval.message}"
    elif interval.note and interval.call is None and interval.state == KERNEL:
        yield 3, interval.start, f"{signal_name(interval.note)} interrupts {interval.lane}"
    elif interval.state in (SLEEPING, READY):
        turn = "falls asleep" if interval.state == SLEEPING else "is ready: it wants a core"
        yield 5, interval.start, f"{interval.lane} {turn}"


def _result(call: Call) -> str:
    if call.errno is not None:
        return f"fails with {errno_name(call.errno)}"
    if call.nbytes:
        return f"returns {call.nbytes:,} bytes"
    return f"has taken {call.sent:,} bytes" if call.sent else "returns"


# -- what is so, from when on ---------------------------------------------------------------------


def tracks(timeline: Timeline) -> list[Track]:
    """The lanes of the processes and of the data, and what lies in the buffers between the two.

    Of many lanes the first are told; the last track says how many are not.
    """
    own = {*timeline.processes, *timeline.helpers}
    names = [name for name in timeline.lanes if name != NETWORK]
    lanes = {
        "process": [name for name in names if name in own],
        "data": [name for name in names if name not in own],
    }
    kinds = {name: kind for kind, some in lanes.items() for name in some[:MOST_LANES]}
    rows, kernel = _rows(timeline, kinds), _kernel(timeline)
    told = [
        Track(name, kind, tuple(rows[name]), kernel.get(name, ()))
        for name, kind in kinds.items() if rows[name]
    ]  # fmt: skip
    left = sum(len(some[MOST_LANES:]) for some in lanes.values())
    return [*told, *_between(timeline), *_untold(left, timeline.start)]


def _rows(timeline: Timeline, names: Iterable[str]) -> dict[str, list[Row]]:
    """What is so from when on, on each of these lanes."""
    rows: dict[str, list[Row]] = {name: [] for name in names}
    last: dict[str, int | None] = {}  # its own code goes on behind the call that it made last
    ends: dict[str, Interval] = {}
    start = timeline.start
    for i in timeline.intervals:
        if i.lane not in rows or i.end <= i.start:
            continue
        before = NOT_YET.get(i.lane.partition(" ")[0])
        if before and i.lane not in ends and i.start > start:
            rows[i.lane].append((start, "", before, None))
        line = last[i.lane] = i.line or last.get(i.lane)
        rows[i.lane].append((i.start, i.state, _words(i), line))
        ends[i.lane] = i
    fates: dict[int, Delivery | Outcome] = {fate.message: fate for fate in timeline.deliveries}
    fates |= {outcome.number: outcome for outcome in timeline.outcomes}
    for lane, end in ends.items():
        fate = None if end.message is None else fates.get(end.message)
        rows[lane].append((end.end, "over", _over(end, fate), None))
    return rows


def _kernel(timeline: Timeline) -> dict[str, tuple[tuple[int, str], ...]]:
    """Where the kernel's side of the calls is, lane by lane; nothing of a real run."""
    lanes: dict[str, list[tuple[int, str]]] = {}
    for lane, at, module, line in timeline.kernel_lines:
        lanes.setdefault(lane, []).append((at, f"{module}:{line}" if module else ""))
    return {lane: tuple(pairs) for lane, pairs in lanes.items()}


def _between(timeline: Timeline) -> list[Track]:
    """What lies between the lanes; a server hands on what it has, and keeps nothing."""
    if timeline.visits:
        return [*crowd(timeline), *buffers(timeline)[:1]]
    return buffers(timeline)


def _untold(left: int, start: int) -> list[Track]:
    words = f"and {count(left, 'more lane')}, not told here"
    return [Track("…", "buffer", ((start, "", words, None),))] if left else []


def _over(last: Interval, fate: Delivery | Outcome | None) -> str:
    """What is so after the last interval of a lane."""
    if last.state in PROCESS_STATES:
        return "has ended"
    if fate is not None and fate.received is None:
        return "is not received: the run is over"
    return OVER.get(last.lane.partition(" ")[0], "is in the program's hands")


def _words(interval: Interval) -> str:
    about = DATA_WORDS.get(interval.lane.partition(" ")[0], STATE_WORDS)
    words = about.get(interval.state) or STATE_WORDS.get(interval.state, interval.state)
    took = f" ({duration(interval.end - interval.start)})"
    if interval.call and interval.state in (KERNEL, SLEEPING, READY):
        return f"{words}, in {called(interval.call)}{took}"
    if interval.note and interval.state in (KERNEL, SLEEPING):
        return f"{words}, for {signal_name(interval.note)}{took}"
    return words + took


def crowd(timeline: Timeline) -> list[Track]:
    """The clients of a server: how many are connected, and how many wait for an answer."""
    changes: dict[int, list[int]] = defaultdict(lambda: [0, 0])
    for visit in timeline.visits:
        for place, at, change in (
            (0, visit.connected, 1), (0, visit.over, -1), *((1, at, -1) for at in visit.answered),
        ):  # fmt: skip
            if at is not None:
                changes[at][place] += change
    for fate in timeline.deliveries:
        if fate.sent is not None:
            changes[fate.sent][1] += 1
    changes.setdefault(timeline.start, [0, 0])
    connected = waiting = 0
    rows: list[Row] = []
    for at, (more, asked) in sorted(changes.items()):
        connected, waiting = connected + more, waiting + asked
        words = f"{connected} connected, of whom {waiting} want an answer"
        rows.append((at, "full" if waiting else "empty", words, None))
    return [Track("clients", "buffer", tuple(rows))]


def buffers(timeline: Timeline) -> list[Track]:
    """The kernel's receive buffer and the program's: which messages lie there, in order.

    A message is in the kernel from its arrival until its last byte is in the program's hands.
    Empty where the run knows no messages.
    """
    changes: dict[int, list[tuple[str, int, int]]] = defaultdict(list)
    for fate in timeline.deliveries:
        if fate.arrived is not None and not fate.dropped:
            changes[fate.arrived].append(("here", fate.message, fate.size))
            if fate.received is not None:
                changes[fate.received].append(("gone", fate.message, fate.size))
    if not changes:
        return []
    kernel, program = {}, {}
    rows: tuple[list[Row], list[Row]] = (
        [(timeline.start, "empty", "is empty", None)], [(timeline.start, "empty", "is empty", None)]
    )  # fmt: skip
    for at, events in sorted(changes.items()):
        for what, number, size in events:
            if what == "here":
                kernel[number] = size
            else:
                program[number] = kernel.pop(number, size)
        for buffer, row in zip((kernel, program), rows, strict=True):
            row.append((at, "full" if buffer else "empty", _holding(buffer), None))
    return [
        Track("kernel's buffer", "buffer", tuple(rows[0])),
        Track("program's buffer", "buffer", tuple(rows[1])),
    ]


def _holding(buffer: dict[int, int]) -> str:
    if not buffer:
        return "is empty"
    names = ", ".join(map(str, buffer)) if len(buffer) <= 6 else f"{min(buffer)} to {max(buffer)}"
    many = "message" if len(buffer) == 1 else "messages"
    return f"holds {many} {names}: {sum(buffer.values()):,} bytes"


# -- the program's text ---------------------------------------------------------------------------


def program_text(
    program: Callable[..., object], lines: Iterable[int | None] = ()
) -> list[tuple[int, str]]:
    """`(number, text)` of the program's lines, and of the functions of its file that it uses.

    These are all to which it delegates (`yield from`), and those that `lines` hit.  Lines are
    numbered as in the file.  A program without a file (typed at a prompt) has none.
    """
    try:
        _, first = inspect.getsourcelines(program)
        text = _file_of(program)
    except (OSError, TypeError):
        return []
    functions = _functions(text)
    wanted = {first, *(line for line in lines if line is not None)}
    names = {one.name for one in functions if any(line in one.numbers for line in wanted)}
    more = names
    while more:
        more = {name for one in functions if one.name in more for name in one.delegates} - names
        names |= more
    return [line for one in functions if one.name in names for line in one.text]


def kernel_text(lines: Iterable[KernelLine]) -> list[tuple[str, int, str]]:
    """`(place, number, text)` of the functions of the simulated kernel that these lines are of.

    A place is "module:number", a line of its file in `iosim.sim`.
    """
    wanted: dict[str, set[int]] = {}
    for line in lines:
        if not line.module:
            continue
        wanted.setdefault(line.module, set()).add(line.line)
    return [
        (f"{module}:{number}", number, text)
        for module, numbers in sorted(wanted.items())
        for one in _functions(_kernel_file(module)) if not numbers.isdisjoint(one.numbers)
        for number, text in one.text
    ]  # fmt: skip


@lru_cache(maxsize=32)
def _kernel_file(module: str) -> str:
    return inspect.getsource(import_module(f"iosim.sim.{module}"))


def _file_of(program: Callable[..., object]) -> str:
    module = inspect.getmodule(program)
    return inspect.getsource(module) if module else ""


@dataclass(frozen=True, slots=True)
class _Function:
    """A function of a file: its numbered lines, and the names of those to which it delegates."""

    name: str
    numbers: range
    text: tuple[tuple[int, str], ...]
    delegates: frozenset[str]


@lru_cache(maxsize=16)
def _functions(text: str) -> tuple[_Function, ...]:
    """The functions of a file."""
    source = text.splitlines()
    return tuple(
        _function(node, source) for node in ast.parse(text).body
        if isinstance(node, ast.FunctionDef) and node.end_lineno is not None
    )  # fmt: skip


def _function(node: ast.FunctionDef, source: Sequence[str]) -> _Function:
    first = min([node.lineno, *(one.lineno for one in node.decorator_list)])
    numbers = range(first, (node.end_lineno or node.lineno) + 1)
    calls = [one.value for one in ast.walk(node) if isinstance(one, ast.YieldFrom)]
    names = [call.func.id for call in calls
             if isinstance(call, ast.Call) and isinstance(call.func, ast.Name)]  # fmt: skip
    text = tuple((number, source[number - 1]) for number in numbers)
    return _Function(node.name, numbers, text, frozenset(names))
