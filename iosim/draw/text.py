"""A timeline as plain text: for terminals, diffs and screen readers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from textwrap import wrap

from ..trace import COPY, NETWORK, SLEEPING, WAIT, Call, Interval, Timeline, errno_name
from ..trace.part import calls_seen
from ..validate import whole
from .canvas import LOOKS, TAGS, look_of
from .formatting import (
    OPEN,
    called,
    copying,
    cores_of,
    count,
    duration,
    grouped,
    jobs_words,
    left_open,
    moment,
    row_words,
    steps,
    stretch,
    tick_text,
    unit_of,
)

__all__ = ["lanes", "text"]

FULL = 20  # so many calls are listed one by one; more are grouped
LINES = 24  # and so many lines of groups are shown
LANES = 24


def text(timeline: Timeline, width: int = 88) -> str:
    """`timeline` in at most `width` columns: lanes of characters, the calls, the derived row.

    ValueError unless 60 <= width <= 400.
    """
    whole("width", width, 60, 400, "columns")
    parts = (
        _heading(timeline),
        _picture(timeline, width),
        _calls(timeline),
        _derived(timeline),
    )
    return "\n".join(line for part in parts for row in part for line in _fit(row, width))


def _fit(line: str, width: int) -> list[str]:
    """`line`, continued on further ones where it is longer than `width`."""
    line = line.rstrip()
    return [line] if len(line) <= width else wrap(line, width, subsequent_indent=" " * 4)


def _heading(timeline: Timeline) -> Iterator[str]:
    tag = TAGS.get(timeline.kernel, TAGS["recorded"])
    facts = [tag.clock, stretch(timeline), *cores_of(timeline)]
    if timeline.machine:
        facts.append(timeline.machine)
    yield f"[{tag.name}] {timeline.title}: {', '.join(facts)}"
    yield ""


# -- the lanes ------------------------------------------------------------------------------------


def _picture(timeline: Timeline, width: int) -> Iterator[str]:
    rows: dict[str, list[Interval]] = {name: [] for name in timeline.lanes}
    origin = timeline.start if timeline.window else 0
    for i in timeline.intervals:
        rows[i.lane].append(replace(i, start=i.start - origin, end=i.end - origin))
    yield from lanes(rows, timeline.end - origin, width, origin=origin)


def lanes(
    rows: Mapping[str, Sequence[Interval]], end: int, width: int, longest: int = 16,
    origin: int = 0,
) -> Iterator[str]:  # fmt: skip
    """Lanes as rows of characters over an axis to `end`, their names cut to `longest` of them.

    The ticks say the times from `origin` on.
    """
    rows = {name: row for name, row in rows.items() if row}
    names = min(longest, max((len(name) for name in rows), default=0))
    columns = width - names - 3
    for number, (name, row) in enumerate(rows.items()):
        if number == LANES:
            yield f"{'...':<{names}}  and {count(len(rows) - LANES, 'more lane')}"
            break
        yield f"{name[:names]:<{names}} |{_row(row, max(1, end), columns)}|"
    yield from _axis(origin, max(1, end), names, columns)
    states = {look_of(i) for row in rows.values() for i in row}
    legend = [f"{look.char} {look.words}" for state, look in LOOKS.items() if state in states]
    legend += [OPEN] if any(left_open(row) for name, row in rows.items() if name != NETWORK) else []
    yield from _wrapped(legend, width)
    yield ""


def _wrapped(items: Sequence[str], width: int) -> Iterator[str]:
    line = ""
    for item in items:
        if line and len(line) + 3 + len(item) > width:
            yield line
            line = ""
        line += ("   " if line else "") + item
    yield line


def _row(lane: Sequence[Interval], end: int, columns: int) -> str:
    """Each column shows the state with most time in it; a state is never left out altogether."""
    most = [0] * columns
    chars = [" "] * columns
    for i in lane:
        char = LOOKS[look_of(i)].char
        first, last = i.start * columns // end, -(-i.end * columns // end)
        for column in range(first, min(last, columns)):
            low, high = column * end // columns, (column + 1) * end // columns
            part = min(i.end, high) - max(i.start, low)
            if part > most[column]:
                most[column], chars[column] = part, char
    return "".join(_with_all_states(lane, end, columns, chars))


def _with_all_states(
    lane: Sequence[Interval], end: int, columns: int, chars: list[str]
) -> list[str]:
    missing = {look_of(i) for i in lane if i.end > i.start} - {
        state for state, look in LOOKS.items() if look.char in chars
    }
    used: set[int] = set()
    for state in [state for state in reversed(LOOKS) if state in missing]:
        longest = max((i for i in lane if look_of(i) == state), key=lambda i: i.end - i.start)
        column = min(columns - 1, longest.start * columns // end)
        while column in used and column:
            column -= 1
        used.add(column)
        chars[column] = LOOKS[state].char
    return chars


def _axis(origin: int, end: int, names: int, columns: int) -> Iterator[str]:
    """Ticks at round times, their labels, and the unit."""
    unit, name = unit_of(max(1, end))
    for step in steps(end):
        room = step * columns // max(1, end)
        if room >= max(9, len(tick_text(origin + end, step, unit)) + 3):
            break
    marks, labels = ["-"] * columns, [" "] * (columns + 1)
    for at in range(-(-origin // step) * step, origin + end, step):
        column, label = (at - origin) * columns // end, tick_text(at, step, unit)
        marks[column] = "+"
        if column + len(label) + len(name) + 2 <= columns:
            labels[column : column + len(label)] = label
    labels[-len(name) :] = name
    yield f"{'':<{names}} +{''.join(marks)}+"
    yield f"{'':<{names}}  {''.join(labels)}"


# -- the calls ------------------------------------------------------------------------------------


def _calls(timeline: Timeline) -> Iterator[str]:
    calls = calls_seen(timeline)
    log = [call for call in calls if call.trap]
    looks = Counter(call.name for call in calls if not call.trap)
    yield f"{count(len(log), 'call')}:" if log else "no calls"
    asleep = Counter[int]()
    for i in timeline.intervals:
        if i.state == SLEEPING and i.call and _is_whole(timeline, i.call):
            asleep[i.call.id] += i.duration
    named = len({call.process for call in log}) > 1
    groups = [[call] for call in log] if len(log) <= FULL else grouped(log)
    lines = [(group, _call_line(group, asleep, named)) for group in groups]
    shown = lines if len(lines) <= LINES else lines[: LINES - 6]
    yield from (line for _, line in shown)
    if len(shown) < len(lines):
        yield _left_out([group for group, _ in lines[LINES - 6 : -5]])
        yield from (line for _, line in lines[-5:])
    if looks:
        names = ", ".join(f"{name} ×{times}" for name, times in looks.items())
        yield f"and {count(looks.total(), 'look')} into its own memory: {names}"
    yield ""


def _is_whole(timeline: Timeline, call: Call) -> bool:
    """Does the timeline, or its part, show all of this call?"""
    return timeline.window is None or timeline.start <= call.start <= call.end <= timeline.end


def _call_line(group: Sequence[Call], asleep: Counter[int], named: bool) -> str:
    call = group[0]
    who = f"{call.process}: " if named else ""
    slept = sum(asleep[c.id] for c in group)
    sleep = f", asleep {duration(slept)}" if slept else ""
    if len(group) > 1:
        errno = f" {errno_name(call.errno)}" if call.errno is not None else ""
        got = sum(c.nbytes or c.sent for c in group)
        data = f", {got:,} bytes" if got else ""
        return (
            f"{moment(call.start):>14}  {who}{called(call)}{errno} ×{len(group)}{data}, "
            f"the last at {moment(group[-1].start)}{sleep}"
        )
    moved = call.nbytes or call.sent
    result = errno_name(call.errno) if call.errno is not None else ""
    result = result or (f"{moved:,} bytes" if moved else "")
    took = duration(call.end - call.start)
    returns = f"returns {result} after {took}" if result else f"returns after {took}"
    return f"{moment(call.start):>14}  {who}{called(call)} {returns}{sleep}"


def _left_out(groups: Sequence[Sequence[Call]]) -> str:
    calls = list(chain.from_iterable(groups))
    counts = Counter(
        c.name + (f" {errno_name(c.errno)}" if c.errno is not None else "") for c in calls
    )
    names = ", ".join(f"{name} ×{times}" for name, times in counts.items())
    return f"{'...':>14}  {len(calls):,} more: {names}"


def _derived(timeline: Timeline) -> Iterator[str]:
    voluntary, involuntary = timeline.switches()
    if timeline.outcomes:
        yield (
            f"{jobs_words(timeline)}; CPU {duration(timeline.cpu_ns())}; "
            f"switches {voluntary} voluntary, {involuntary} involuntary"
        )
        return
    yield f"Figure 6.6: {row_words(timeline.figure_6_6())}"
    yield (
        f"blocked in wait {duration(timeline.blocked(WAIT))}, in copy "
        f"{copying(timeline, timeline.blocked(COPY))}; CPU {duration(timeline.cpu_ns())}; "
        f"switches {voluntary} voluntary, {involuntary} involuntary"
    )
