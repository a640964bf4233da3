"""What Stevens' figure of a message says: the steps between application and kernel, and the braces.

Every arrow, word and brace is derived from the calls and intervals of the run; no figure knows its
model.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from ..calls.request import ASKS, IS_TOLD, PASSES, PREPARES, role_of
from ..trace import (
    COPY,
    SLEEPING,
    USER,
    WAIT,
    Call,
    Delivery,
    Interval,
    Timeline,
    errno_name,
)
from .formatting import blocked_of, count, signal_name

__all__ = ["Brace", "Script", "Step", "script_of"]

RETURNS = {IS_TOLD: "return: signal", ASKS: "return: readable"}
#: How the kernel says that an operation is complete, by the call that asked for it.
COMPLETIONS = {"io_uring_submit": "completion in the ring", "aio_read": "done: aio_return"}

SHOWN = 2  # checks shown at the start of a longer run of them, and one at its end


@dataclass(slots=True)
class Step:
    """One line of the figure: an arrow between application and kernel, or a word of the kernel.

    `arrow`: "call", "setup", "return", "signal", "completion", "gap" or "" (none); `at` in ns.
    """

    at: int
    arrow: str = ""
    text: str = ""
    kernel: str = ""
    kernel_at: int | None = None
    call: Call | None = None
    helper: bool = False


class Brace(NamedTuple):
    """Words about the steps `first` to `last`; `state` is the phase whose look it gets, or ""."""

    first: int
    last: int
    words: str
    state: str = ""


@dataclass(slots=True)
class Script:
    """The steps of one message and the braces beside them."""

    timeline: Timeline
    fate: Delivery
    process: str
    steps: list[Step] = field(default_factory=list)
    left: list[Brace] = field(default_factory=list)
    right: list[Brace] = field(default_factory=list)


# -- which calls belong to a message --------------------------------------------------------------


def _fate(timeline: Timeline, message: int) -> Delivery:
    for fate in timeline.deliveries:
        if fate.message == message:
            return fate
    raise ValueError(f"no message {message!r}: this run has 1 to {len(timeline.deliveries)}")


def _stretch(timeline: Timeline, fate: Delivery) -> tuple[int, int]:
    """From the receipt of the message before it, by the same process, to its own."""
    until = timeline.end if fate.received is None else fate.received
    before = (
        d.received for d in timeline.deliveries
        if d.message != fate.message and d.process == fate.process and d.received is not None
        and (d.received, d.message) < (until, fate.message)
    )  # fmt: skip
    return max(before, default=0), until


def _own_calls(timeline: Timeline, process: str, since: int, until: int) -> list[Call]:
    return [
        c for c in timeline.call_log
        if c.process == process and c.trap and role_of(c.name) != PASSES
        and since < c.end and c.start < until
        and (since == 0 or c.start >= since or c.end > until or c.waits)
    ]  # fmt: skip


def _copies(timeline: Timeline, message: int) -> list[Interval]:
    return [i for i in timeline.intervals if i.state == COPY and i.message == message]


# -- steps ----------------------------------------------------------------------------------------


def _runs(calls: Iterable[Call]) -> list[list[Call]]:
    """Calls in runs: set-up calls together, and equal vain checks together."""
    runs: list[list[Call]] = []
    last: object = None
    for call in calls:
        kind: object = "setup" if role_of(call.name) == PREPARES else (call.name, call.errno)
        if runs and kind == last and (kind == "setup" or call.errno is not None):
            runs[-1].append(call)
        else:
            runs.append([call])
        last = kind
    return runs


def _call_steps(run: Sequence[Call], vain: bool) -> Iterator[Step]:
    if role_of(run[0].name) == PREPARES:
        yield Step(run[0].start, "setup", _setup_words(run), call=run[0])
        return
    kept = list(run) if len(run) <= SHOWN + 2 else [*run[:SHOWN], run[-1]]
    for number, call in enumerate(kept):
        if number == SHOWN and len(kept) < len(run):
            left = len(run) - len(kept)
            words = f"… {count(left, 'more check')} with {errno_name(call.errno)}"
            yield Step(run[SHOWN].start, "gap", words)
        yield from _one_call(call, vain)


def _one_call(call: Call, slept: bool) -> Iterator[Step]:
    nothing = slept or call.errno is not None
    yield Step(
        call.start, "call", call.name, "no data ready" if nothing else "",
        call.start if nothing else None, call,
    )  # fmt: skip
    yield Step(call.end, "return", _return_words(call), call=call)


def _setup_words(run: Sequence[Call]) -> str:
    names: dict[str, int] = {}
    for call in run:
        names[call.name] = names.get(call.name, 0) + 1
    return ", ".join(f"{name} ×{n}" if n > 1 else name for name, n in names.items())


def _return_words(call: Call) -> str:
    if call.errno is not None:
        return errno_name(call.errno)
    if call.nbytes:
        return f"return OK: {call.nbytes:,} bytes"
    return RETURNS.get(role_of(call.name), "return")


def _kernel_steps(fate: Delivery, copies: Sequence[Interval]) -> Iterator[Step]:
    if fate.dropped and fate.sent is not None:
        yield Step(fate.sent, kernel="no room: dropped", kernel_at=fate.sent)
    elif fate.arrived is not None:
        yield Step(fate.arrived, kernel="data ready", kernel_at=fate.arrived)
    shown = copies if len(copies) <= 3 else (copies[0], copies[-1])
    for copy in shown:
        yield Step(copy.start, kernel="copy data", kernel_at=copy.start, call=copy.call)
        yield Step(copy.end, kernel="copy complete", kernel_at=copy.end, call=copy.call)


def _told_steps(script: Script, calls: Sequence[Call], since: int, until: int) -> Iterator[Step]:
    """Signals, and a completion that no call brings."""
    for i in script.timeline.intervals:
        named = i.lane == script.process and i.call is None and i.note.startswith("signal ")
        if named and since <= i.start < until:
            yield Step(i.start, "signal", f"deliver {signal_name(i.note)}")
    fate = script.fate
    if fate.told != "completion" or fate.received is None:
        return
    if any(c.nbytes and c.start < fate.received <= c.end for c in calls):
        return
    armed = next((c.name for c in reversed(calls) if c.arms), "")
    yield Step(fate.received, "completion", COMPLETIONS.get(armed, "completion"))


RANK = {"return": 1, "": 2, "setup": 3, "call": 3, "gap": 3, "signal": 4, "completion": 5}
COPY_RANK = {"copy complete": 0, "copy data": 4}


def _ordered(steps: Iterable[Step]) -> list[Step]:
    """Steps in time; at one instant a copy begins after its call and ends before its return."""
    numbered = sorted(
        enumerate(steps),
        key=lambda pair: (pair[1].at, _rank(pair[1]), pair[0]),
    )
    return [step for _, step in numbered]


def _rank(step: Step) -> int:
    return COPY_RANK.get(step.kernel, RANK[step.arrow])


def _joins(last: Step, step: Step) -> bool:
    """May the kernel's word `last` move down to the arrow `step`?"""
    if last.arrow or step.kernel:
        return False
    if step.arrow == "return":
        return last.call is None or last.call is step.call
    return step.arrow in ("signal", "completion")


def _merged(steps: Sequence[Step]) -> list[Step]:
    """A word of the kernel moves to the arrow beside it, where that arrow has none."""
    out: list[Step] = []
    for step in steps:
        last = out[-1] if out else Step(-1, "gap")
        same = step.call is not None and last.call is step.call
        if same and not step.arrow and last.arrow == "call" and not last.kernel:
            last.kernel, last.kernel_at = step.kernel, step.kernel_at
        elif _joins(last, step):
            out[-1] = replace(step, kernel=last.kernel, kernel_at=last.kernel_at)
        else:
            out.append(step)
    return out


def script_of(timeline: Timeline, message: int) -> Script:
    """The steps and braces of message number `message`; ValueError if there is none."""
    fate = _fate(timeline, message)
    process = fate.process or (timeline.processes or ("process",))[0]
    script = Script(timeline, fate, process)
    since, until = _stretch(timeline, fate)
    calls = _own_calls(timeline, process, since, until)
    copies = _copies(timeline, message)
    slept = {i.call.id for i in timeline.intervals if i.state == SLEEPING and i.call}
    steps = [s for run in _runs(calls) for s in _call_steps(run, run[0].id in slept)]
    helpers = {c.call.id: c.call for c in copies if c.call and c.call.process != process}
    for call in helpers.values():
        steps += [replace(s, helper=True) for s in _one_call(call, call.id in slept)]
    steps += _kernel_steps(fate, copies)
    steps += _told_steps(script, calls, since, until)
    script.steps = _merged(_ordered(steps))
    script.left = _process_braces(script, calls)
    script.right = _phase_braces(script)
    return script


# -- braces ---------------------------------------------------------------------------------------


def _index(steps: Sequence[Step], word: str) -> list[int]:
    return [n for n, step in enumerate(steps) if step.kernel == word]


def _phase_braces(script: Script) -> list[Brace]:
    """What the kernel does, on the right: it waits for the data, it copies them."""
    steps, braces = script.steps, []
    ready = _index(steps, "data ready")
    first = next((n for n, s in enumerate(steps) if s.arrow != "setup"), 0)
    if ready and ready[0] > first:
        braces.append(Brace(first, ready[0], "wait for data", WAIT))
    begun, done = _index(steps, "copy data"), _index(steps, "copy complete")
    if begun and done:
        low = begun[0] + (1 if braces and begun[0] <= braces[-1].last else 0)
        braces.append(Brace(min(low, done[-1]), done[-1], "copy data from kernel to user", COPY))
    return braces


def _blocked_calls(script: Script, calls: Sequence[Call]) -> dict[int, str]:
    """Calls in which the process is blocked, and the words for it."""
    run = script.timeline
    spans = blocked_of(run, script.process, WAIT)
    copying = {i.call.id for i in _copies(run, script.fate.message) if i.call}
    words: dict[int, str] = {}
    for call in calls:
        if any(call.start <= start < call.end for start, _ in spans):
            more = (
                ", waiting for one of possibly many sockets" if role_of(call.name) == ASKS else ""
            )
            words[call.id] = f"process blocks in {call.name}{more}"
        elif call.id in copying:
            words[call.id] = f"process blocks in {call.name} while the data is copied"
    return words


def _process_braces(script: Script, calls: Sequence[Call]) -> list[Brace]:
    """What the process does, on the left."""
    steps = script.steps
    words = _blocked_calls(script, calls)
    braces: list[Brace] = []
    for first, step in enumerate(steps):
        if step.arrow != "call" or step.helper or step.call is None:
            continue
        if step.call.id in words:
            last = _return_of(steps, step.call)
            braces.append(Brace(first, last, words[step.call.id]))
    braces += _polling(script)
    taken = {n for brace in braces for n in range(brace.first, brace.last + 1)}
    braces += _running(script, taken)
    return sorted(braces)


def _return_of(steps: Sequence[Step], call: Call) -> int:
    found = (n for n, s in enumerate(steps) if s.arrow == "return" and s.call is call)
    return next(found, len(steps) - 1)


def _polling(script: Script) -> Iterator[Brace]:
    """Checks in vain, one after the other."""
    if script.fate.told != "check":
        return
    steps = script.steps
    vain = [n for n, s in enumerate(steps) if s.call and s.call.errno is not None and not s.helper]
    if not vain:
        return
    name = (steps[vain[0]].call or script.timeline.call_log[0]).name
    naps = any(
        role_of(c.name) == PASSES and c.process == script.process for c in script.timeline.call_log
    )
    nap = ", asleep in between" if naps else ""
    yield Brace(
        vain[0], vain[-1],
        f"process repeatedly calls {name}, waiting for an OK return (polling{nap})",
    )  # fmt: skip


def _running(script: Script, taken: set[int]) -> Iterator[Brace]:
    """The process runs its own code until it is told."""
    steps = script.steps
    told = next((n for n, s in enumerate(steps) if s.arrow in ("signal", "completion")), None)
    if told is None:
        return
    before = [
        n for n in range(told)
        if steps[n].arrow in ("return", "setup", "gap") and not steps[n].helper
    ]  # fmt: skip
    first = (before[-1] + (before[-1] in taken)) if before else 0
    last_call = steps[before[-1]].call if before else None
    low = last_call.end if last_call else 0
    ran = sum(
        min(i.end, steps[told].at) - max(i.start, low)
        for i in script.timeline.intervals
        if i.lane == script.process and i.state == USER and low < i.end and i.start < steps[told].at
    )  # fmt: skip
    if ran > 0 and first <= told:
        yield Brace(first, told, "process continues executing")
