"""A run drawn as Stevens draws UNP Figures 6.1 to 6.5: application, kernel, arrows between them.

Time runs down, step by step and not to scale.  Every arrow, word and brace is derived from the
calls and intervals of the run; no figure knows its model.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
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
from .canvas import FILLS, HAIR, INK, MUTED, TAGS, Picture, Sheet, draw_tag, text_width
from .formatting import blocked_of, count, headline, moment, signal_name

__all__ = ["stevens"]

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


def _script(timeline: Timeline, message: int) -> Script:
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


# -- drawing --------------------------------------------------------------------------------------

WIDE = 700
TEXT_LEFT, BRACE_LEFT, TIME, APP, KERNEL_X, WORDS, BRACE_RIGHT, TEXT_RIGHT = (
    148.0, 160.0, 217.0, 224.0, 432.0, 440.0, 590.0, 602.0
)  # fmt: skip
TOP, GAP, LINE = 78.0, 31.0, 12.5


@lru_cache(maxsize=512)
def _wrap(words: str, width: float, size: float) -> tuple[str, ...]:
    lines, line = [], ""
    for word in words.split():
        longer = f"{line} {word}".strip()
        if line and text_width(longer, size) > width:
            lines.append(line)
            longer = word
        line = longer
    return (*lines, line)


def _places(script: Script) -> list[float]:
    """The y of each step: one gap apart, and more where a brace's words need it."""
    gaps = [GAP] * len(script.steps)
    for braces, width in ((script.left, TEXT_LEFT - 12), (script.right, WIDE - 8 - TEXT_RIGHT)):
        for brace in braces:
            need = len(_wrap(brace.words, width, 10)) * LINE + 4
            has = sum(gaps[brace.first : brace.last]) + 22
            if need > has:
                extra = need - has
                gaps[brace.last] += extra if brace.first == brace.last else 0
                if brace.first < brace.last:
                    gaps[brace.last - 1] += extra
                elif brace.first:
                    gaps[brace.first - 1] += extra
    y, places = TOP, []
    for gap in gaps:
        places.append(y)
        y += gap
    return [*places, y]


ARROWS = {  # colour and dash of each kind of arrow
    "call": (INK, ""), "setup": (MUTED, ""), "return": (INK, ""), "signal": ("#b34700", ""),
    "completion": ("#12806a", "5 3"),
}  # fmt: skip


def _arrow(sheet: Sheet, step: Step, y: float) -> None:
    if step.arrow == "gap":
        sheet.text((APP + KERNEL_X) / 2, y + 3, step.text, 10, "middle", MUTED)
        return
    colour, dash = ARROWS[step.arrow]
    if step.helper:
        colour, dash = "#6d4ba0", "5 3"
    more = f' stroke-dasharray="{dash}"' if dash else ""
    sheet.line(f"M{APP + 3:g} {y:.1f}H{KERNEL_X - 3:g}", colour, 1.3, more)
    heads = ""
    if step.arrow in ("call", "setup"):
        heads += f"M{KERNEL_X - 10:g} {y - 3.5:.1f}l7 3.5l-7 3.5z"
    if step.arrow != "call":
        heads += f"M{APP + 10:g} {y - 3.5:.1f}l-7 3.5l7 3.5z"
    sheet.add(f'<path d="{heads}" fill="{colour}"/>')
    if step.arrow in ("call", "setup"):
        text = f"helper thread: {step.text}" if step.helper else step.text
        sheet.text(APP + 12, y - 4, text, 10.5, fill=colour, bold=step.arrow == "call")
        note = "system call" if step.arrow == "call" else ""
        room = KERNEL_X - 14 - APP - 12 - text_width(text, 10.5, True)
        if note and text_width(note, 9) + 8 < room:
            sheet.text(KERNEL_X - 14, y - 4, note, 9, "end", MUTED)
    else:
        sheet.text((APP + KERNEL_X) / 2, y - 4, step.text, 10.5, "middle", colour)


def _brace_path(x: float, low: float, high: float, way: int) -> str:
    """A curly brace that points to the left (-1) or the right (1) of `x`."""
    middle, bend = (low + high) / 2, min(5.0, (high - low) / 4)
    return (
        f"M{x:.1f} {low:.1f}q{4 * way} 0 {4 * way} {bend:.1f}V{middle - bend:.1f}"
        f"q0 {bend:.1f} {4 * way} {bend:.1f}q{-4 * way} 0 {-4 * way} {bend:.1f}"
        f"V{high - bend:.1f}q0 {bend:.1f} {-4 * way} {bend:.1f}"
    )


def _draw_braces(sheet: Sheet, script: Script, y: Sequence[float]) -> None:
    for braces, x, way, edge, anchor, width in (
        (script.left, BRACE_LEFT, -1, TEXT_LEFT, "end", TEXT_LEFT - 12),
        (script.right, BRACE_RIGHT, 1, TEXT_RIGHT, "start", WIDE - 8 - TEXT_RIGHT),
    ):
        for brace in braces:
            low, high = y[brace.first] - 9, y[brace.last] + 9
            if brace.state:
                sheet.box(KERNEL_X - 2.5, low + 3, 5, high - low - 6, FILLS[brace.state])
            sheet.line(_brace_path(x, low, high, way), INK, 1)
            lines = _wrap(brace.words, width, 10)
            base = (low + high) / 2 - (len(lines) - 1) * LINE / 2 + 3.5
            for number, line in enumerate(lines):
                sheet.text(edge, base + number * LINE, line, 10, anchor)


def _draw(script: Script) -> tuple[str, float]:
    sheet, y = Sheet(), _places(script)
    run, bottom = script.timeline, y[-2] + 14 if script.steps else TOP
    tag = TAGS.get(run.kernel, TAGS["recorded"])
    x = draw_tag(sheet, 12, 10, tag)
    heading = f"{run.title}: message {script.fate.message}, step by step"
    sheet.text(x + 9, 24, heading, 13, bold=True)
    sheet.text(WIDE - 12, 24, "time in ms, not to scale", 10, "end", MUTED)
    sheet.text(APP, 52, "application", 12, "middle", bold=True)
    sheet.text(KERNEL_X, 52, "kernel", 12, "middle", bold=True)
    sheet.line(f"M{APP:g} 58V{bottom:.1f}M{KERNEL_X:g} 58V{bottom:.1f}", HAIR, 2)
    _draw_braces(sheet, script, y)
    for number, (step, at) in enumerate(zip(script.steps, y, strict=False)):
        after = script.steps[number + 1 :]
        _draw_step(sheet, step, at, after[0].at if after else run.end)
    title = f"{headline(run)}: message {script.fate.message} as in UNP Figures 6.1 to 6.5"
    states = [brace.state for brace in script.right]
    text = sheet.finish(WIDE, bottom + 12, title, _alt(script), states, tag)
    return text, bottom


def _draw_step(sheet: Sheet, step: Step, y: float, until: int) -> None:
    """One step; a page can find it by its stretch of time, which lasts to the next one."""
    sheet.add(f'<g data-start="{step.at}" data-end="{until}">')
    if step.arrow:
        _arrow(sheet, step, y)
    if step.arrow and step.arrow != "gap":
        sheet.text(TIME, y + 3, _ms(step.at), 8.5, "end", MUTED)
    if step.kernel and step.kernel_at is not None:
        sheet.text(WORDS, y + 4, step.kernel, 10.5)
        if step.kernel_at != step.at or not step.arrow:
            sheet.text(BRACE_RIGHT - 8, y + 4, _ms(step.kernel_at), 8.5, "end", MUTED)
    sheet.add("</g>")


def _ms(at: int) -> str:
    return f"{at / 1e6:,.3f}"


# -- in words -------------------------------------------------------------------------------------


def _alt(script: Script) -> str:
    did = "; ".join(brace.words for brace in script.left)
    steps = "; ".join(_step_words(step) for step in script.steps)
    return (
        f"{headline(script.timeline)}, message {script.fate.message}, step by step. "
        f"The process: {did or 'is never blocked'}. Steps: {steps}."
    )


def _step_words(step: Step) -> str:
    parts = []
    who = "helper thread: " if step.helper else ""
    if step.arrow == "gap":
        parts.append(step.text)
    elif step.arrow:
        parts.append(f"{who}{step.text} at {moment(step.at)}")
    if step.kernel:
        when = f" at {moment(step.kernel_at)}" if step.kernel_at not in (None, step.at) else ""
        when = when if step.arrow else f" at {moment(step.at)}"
        parts.append(f"{step.kernel}{when}")
    return ", ".join(parts)


def _ascii_arrow(step: Step) -> str:
    width = 34
    if not step.arrow:
        return f"|{'':<{width}}|"
    if step.arrow == "gap":
        return f"|{step.text:^{width}}|"
    text = f" {'helper: ' if step.helper else ''}{step.text} "[: width - 4]
    if step.arrow == "call":
        return f"|-{text:-<{width - 2}}>|"
    if step.arrow == "setup":
        return f"|<{text:-^{width - 2}}>|"
    return f"|<{text:->{width - 2}}-|"


def _text(script: Script) -> str:
    run, phase = script.timeline, {b.first: b for b in script.right}
    tag = TAGS.get(run.kernel, TAGS["recorded"])
    lines = [
        f"[{tag.name}] {run.title}: message {script.fate.message}, step by step", "",
        f"{'':>14}  application{'':<22}kernel",
    ]  # fmt: skip
    now: Brace | None = None
    for number, step in enumerate(script.steps):
        now = phase.get(number, now)
        inside = now is not None and now.first <= number <= now.last
        note = (now.words if now and number == now.first else "") if inside else ""
        at = "" if step.arrow == "gap" else moment(step.at)
        line = f"{at:>14}  {_ascii_arrow(step)} {step.kernel:<17}{'}' if inside else ''} {note}"
        lines.append(line.rstrip())
    lines.append("")
    for brace in script.left:
        start, end = script.steps[brace.first].at, script.steps[brace.last].at
        lines.append(f"{moment(start)} to {moment(end)}: {brace.words}")
    return "\n".join(lines).rstrip()


def stevens(timeline: Timeline, message: int = 1) -> Picture:
    """Message number `message` of a run, drawn as UNP Figures 6.1 to 6.5 draw the five models.

    The result shows itself as SVG in a notebook, and as text where it is printed.
    ValueError if there is no such message.
    """
    script = _script(timeline, message)
    return Picture(_draw(script)[0], _text(script))
