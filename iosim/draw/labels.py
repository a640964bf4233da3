"""What is written on, over and under a lane's bars: calls, states, where a process is blocked."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from ..trace import COPY, GIL, KERNEL, SLEEPING, WAIT, Interval, errno_name
from ..trace.records import AWAITS
from .canvas import INK, MUTED, Free, stroked, text_width
from .formatting import blocked_of, copying, duration, signal_name
from .scene import MERGE, TINY, Lane, Scale, Scene

__all__ = [
    "LINE", "after", "answers", "brackets", "draw_flags", "flags_of", "inside",
    "place_all",
]  # fmt: skip


class Event(NamedTuple):
    """What a process's lane notes: a call, a signal, task work, a wait for the GIL.

    `alone` is a number that no other one has, where it must not be joined with its neighbours.
    """

    start: int
    end: int
    name: str
    errno: str = ""
    alone: int | None = None

    @property
    def full(self) -> str:
        """What it is called where there is room."""
        return f"{self.name} {self.errno}".rstrip()


class Flag(NamedTuple):
    """Something to name over a process's lane, from `start` to `end`; the first text that fits."""

    start: int
    end: int
    texts: tuple[str, ...]


def _texts(turn: Sequence[Event], times: int = 1) -> tuple[str, ...]:
    """What to call `times` turns of these events, the longest first."""
    many = f" ×{times}" if times > 1 else ""
    short = [e.errno or e.name for e in turn]
    texts = [", ".join(e.full for e in turn), ", ".join(short)]
    texts += [f"{short[0]}, …"] if len(turn) > 1 else []
    return tuple(dict.fromkeys(text + many for text in texts))


def _needs_joining(events: Sequence[Event], turn: int, scale: Scale) -> bool:
    """Have these events, so many in turn, no room for a label each?"""
    wide = sum(text_width(e.full, TINY) + 6 for e in events[:turn])
    room = (scale.x(events[-1].end) - scale.x(events[0].start)) / (len(events) / turn)
    return room < wide


def _events(scene: Scene, name: str, scale: Scale) -> list[Event]:
    """What the lane of a process notes, in time.

    A call that waits stands alone where the room in which it sleeps is enough for its name: which
    of many calls is it that waits?
    """
    found, asleep = [], defaultdict[int, int](int)
    for i in scene.lanes.get(name, ()):
        if i.start >= scale.end or scale.start >= i.end:
            continue
        if i.note and not i.call and (i.state == KERNEL or i.note == GIL):
            found.append(Event(i.start, i.end, signal_name(i.note)))
        elif i.state == SLEEPING and i.call and i.call.waits:
            asleep[i.call.id] += min(i.end, scale.end) - max(i.start, scale.start)
    for c in scene.timeline.call_log:
        if c.process == name and c.trap and c.start < scale.end and scale.start < c.end:
            event = Event(c.start, c.end, c.name, errno_name(c.errno))
            alone = asleep[c.id] * scale.ratio >= text_width(event.full, TINY) + 4
            found.append(event._replace(alone=c.id) if alone else event)
    return sorted(found, key=lambda event: (event.start, event.end))


def flags_of(scene: Scene, name: str, scale: Scale) -> list[Flag]:
    """What a process's lane notes; what repeats as one if need be."""
    flags: list[Flag] = []
    for turn, run in _repeated(_events(scene, name, scale)):
        times = len(run) // turn
        if times > 1 and _needs_joining(run, turn, scale):
            flags.append(Flag(run[0].start, run[-1].end, _texts(run[:turn], times)))
        else:
            flags += [Flag(e.start, e.end, _texts([e])) for e in run]
    return sorted(flags, key=lambda flag: (flag.start, flag.end))


MOST_IN_TURN = 3  # events that repeat together, as epoll_wait, recvfrom, send do


def _repeated(events: Sequence[Event]) -> Iterator[tuple[int, Sequence[Event]]]:
    """All `events` in order: `(how many in turn, two turns of them or more)`, or one by itself."""
    kinds = [(event.full, event.alone) for event in events]
    at = 0
    while at < len(events):
        turn, length = next(
            (
                (turn, length) for turn in range(1, MOST_IN_TURN + 1)
                if (length := _in_turn(kinds, at, turn)) > turn
            ),
            (1, 1),
        )  # fmt: skip
        yield turn, events[at : at + length]
        at += length


def _in_turn(kinds: Sequence[object], at: int, turn: int) -> int:
    """How many from the place `at` on go in turns of so many; whole turns only."""
    end = at + turn
    while end < len(kinds) and kinds[end] == kinds[end - turn]:
        end += 1
    return (end - at) // turn * turn


@dataclass(slots=True)
class Placed:
    """A label with its place: line 0 is next to the bar; `pole` is the px of its leader, if any."""

    text: str
    x: float
    line: int
    pole: float | None


@dataclass(slots=True)
class _Room:
    """Where a lane's labels may stand: its lines, and the brackets that line 0 is next to."""

    lines: list[Free]
    brackets: Free

    def flown(self, pole: float) -> range:
        """The lines that a pole reaches: up to the first one that is taken there."""
        for number, line in enumerate(self.lines):
            if not line.fits(pole - 1, pole + 1):
                return range(number + 1)
        return range(len(self.lines))

    def names(self, x: float, end: float, left: float, right: float, line: int) -> bool:
        """Would a text from `x` to `end` seem to name the bracket from `left` to `right` alone?

        Higher up its pole says so; on line 0 it may stand over no other bracket.
        """
        if line:
            return True
        before, after = (x, left - 1), (right + 1, end)
        return all(a >= b or self.brackets.fits(a, b) for a, b in (before, after))


def _place(flag: Flag, scale: Scale, room: _Room) -> Placed | None:
    """The first place that is free: centred over a wide call, else as a flag on a pole."""
    left, right = scale.x(flag.start), scale.x(flag.end)
    pole = left + min(2.0, (right - left) / 2)
    flown = room.flown(pole)
    for text in flag.texts:
        wide = text_width(text, TINY)
        if wide + 4 <= right - left:
            x = (left + right - wide) / 2
            if room.lines[0].offer(x - 2, x + wide + 2):
                return Placed(text, x, 0, None)
        for x in (pole + 3, pole - 3 - wide):
            for line in flown:
                if not room.names(x, x + wide, left, right, line):
                    continue
                if room.lines[line].offer(min(x, pole) - EDGE, max(x + wide, pole) + EDGE):
                    for below in room.lines[:line]:
                        below.take(pole - 2, pole + 2)
                    return Placed(text, x, line, pole)
    return None


def place_all(flags: Sequence[Flag], scale: Scale, lines: int) -> list[Placed]:
    """Labels from right to left, so that a flag flies over the poles of those placed before."""
    room = _Room([_line(scale) for _ in range(lines)], _line(scale))
    for flag in flags:
        room.brackets.take(scale.x(flag.start), scale.x(flag.end))
    wide = {
        f for f in flags if text_width(f.texts[0], TINY) + 4 <= scale.x(f.end) - scale.x(f.start)
    }
    placed = [_place(flag, scale, room) for flag in flags if flag in wide]
    tried: set[tuple[int, str]] = set()
    for flag in reversed(flags):
        key = (int(scale.x(flag.start)), flag.texts[0])
        if flag in wide or key in tried:
            continue
        tried.add(key)
        placed.append(_place(flag, scale, room))
    return [label for label in placed if label]


EDGE = 3.0  # px that a label keeps free around itself, also beyond either end of the axis


def _line(scale: Scale) -> Free:
    return Free(scale.left - EDGE, scale.right + EDGE)


LINE = 12.0  # px of one line of call labels


def draw_flags(scene: Scene, flags: Sequence[Flag], labels: Sequence[Placed], scale: Scale,
                bar: float) -> None:  # fmt: skip
    sheet = scene.over
    places = [(label, bar - 7 - LINE * label.line) for label in labels]
    for label, y in places:
        sheet.text(label.x, y, label.text, TINY, halo=True)
    paths = (_bracket(scale, flag.start, flag.end, 0.8, bar - 1, -3) for flag in flags)
    sheet.line("".join(dict.fromkeys(paths)), INK, 0.8)
    poles = [_pole(label, y, bar - 4) for label, y in places if label.pole is not None]
    if poles:
        sheet.line("".join(poles), MUTED, 0.7)


def _pole(label: Placed, y: float, foot: float) -> str:
    """From a bracket up to its label; bent under one that flies over the brackets on its left."""
    if label.line and label.x < (label.pole or 0):
        return f"M{label.pole:.1f} {foot:.1f}V{y + 2.5:.1f}H{label.x:.1f}"
    return f"M{label.pole:.1f} {foot:.1f}V{y - 7:.1f}"


def _bracket(
    scale: Scale, start: int, end: int, least: float, y: float, deep: float, gap: str = ""
) -> str:
    """The path of a bracket that is `deep` px high; open where the axis cuts it off."""
    left = scale.x(start)
    right = max(scale.x(end), left + least)
    begin, close = f"{y + deep:.1f}", ""
    if start >= scale.start:
        begin = f"{y:.1f}v{deep:g}"
    if end <= scale.end:
        close = f"v{-deep:g}"
    return f"M{left:.1f} {begin}{gap}H{right:.1f}{close}"


def inside(
    scene: Scene, lane: Sequence[Interval], scale: Scale, y: float, h: float, exact: bool
) -> None:
    """The state's name and its length on a white plate, where the interval has the room."""
    if h < 12 or len(lane) > MERGE:
        return
    for i in lane:
        left, right = scale.x(i.start), scale.x(i.end)
        if right - left < 30:
            continue
        whole_time = scale.start <= i.start and i.end <= scale.end
        bound = i.state == COPY and not exact
        length = copying(scene.timeline, i.duration) if bound else duration(i.duration)
        full = (f"{i.state} {length}",) if whole_time else ()
        if i.state == AWAITS:
            full = (f"awaits {i.note}, {length}", f"awaits {i.note}", i.note, *full)
        for text in (*full, i.state):
            wide = text_width(text, TINY)
            if wide + 12 <= right - left:
                x = (left + right) / 2
                scene.over.box(
                    x - wide / 2 - 3, y + h / 2 - 6, wide + 6, 12, "#ffffff",
                    ' fill-opacity="0.88" rx="2" pointer-events="none"',
                )  # fmt: skip
                scene.over.text(x, y + h / 2 + 3.3, text, TINY, "middle")
                break


def after(
    scene: Scene, words: str, shown: Sequence[Interval], scale: Scale, y: float, h: float
) -> float:
    """`words` behind the last of the intervals, or else under it; returns the px of a new line."""
    x, wide = scale.x(shown[-1].end), text_width(words, TINY)
    if x + wide + 6 <= scale.right:
        scene.over.text(x + 4, y + h / 2 + 3.3, words, TINY, halo=True)
        return 0.0
    scene.over.text(max(scale.left, x - wide), y + h + 9.5, words, TINY, halo=True)
    return LINE


def answers(scene: Scene, row: Lane, scale: Scale, bottom: float) -> None:
    """Under the lane of a server's client: where it has an answer.  A thin lane has no room."""
    times = [
        at for visit in scene.timeline.visits if f"client {visit.client + 1}" == row.name
        for at in visit.answered if scale.start <= at <= scale.end
    ]  # fmt: skip
    if times and row.bar > 9:
        scene.marks["the client has an answer"] = lambda x, y: _answer([x + 8], y + 2)
        scene.over.add(_answer(map(scale.x, times), bottom))


def _answer(places: Iterable[float], y: float) -> str:
    path = "".join(f"M{x:.1f} {y:.1f}l-3 5h6z" for x in places)
    return f'<path d="{path}" fill="{INK}"/>'


def brackets(scene: Scene, name: str, scale: Scale, y: float) -> None:
    """Under a process: where it is blocked, and by which phase."""
    free = Free(scale.left, scale.right)
    marks = [
        (start, end, phase)
        for phase in (COPY, WAIT)
        for start, end in blocked_of(scene.timeline, name, phase)
        if start < scale.end and scale.start < end
    ]
    for start, end, _ in marks:
        free.take(scale.x(start) - 1, max(scale.x(end), scale.x(start) + 1.5) + 1)
    path = {COPY: "", WAIT: ""}
    for start, end, phase in marks:
        left = scale.x(start)
        place = _bracket_text(phase, left, max(scale.x(end), left + 1.5), free)
        gap = ""
        if place and place[1]:
            x, wide = place[2], text_width(place[0], TINY)
            gap = f"H{x - 3:.1f}M{x + wide + 3:.1f} {y + 5:.1f}"
        path[phase] += _bracket(scale, start, end, 1.5, y, 5, gap)
        if place:
            scene.over.text(place[2], y + 8.3, place[0], TINY, fill=BLOCKED[phase], halo=True)
    for phase, drawn in path.items():
        if drawn:
            scene.over.add(_blocked(drawn, phase))
            scene.marks[f"blocked in {phase}"] = partial(_blocked_sample, phase)


BLOCKED = {WAIT: "#1c5f92", COPY: "#0b3355"}


def _blocked(path: str, phase: str) -> str:
    return stroked(path, BLOCKED[phase], 1.4 if phase == WAIT else 2.2)


def _blocked_sample(phase: str, x: float, y: float) -> str:
    return _blocked(f"M{x + 1:.1f} {y + 2:.1f}v5h14v-5", phase)


def _bracket_text(
    phase: str, left: float, right: float, free: Free
) -> tuple[str, bool, float] | None:
    """`(text, inside the bracket?, x)` for the first place that is free."""
    text = f"blocked: {phase}"
    wide = text_width(text, TINY)
    if wide + 8 <= right - left:
        return text, True, (left + right - wide) / 2
    for x in (right + 4, left - 4 - wide):
        if free.offer(x - 2, x + wide + 2):
            return text, False, x
    short = text_width(phase, TINY)
    return (phase, True, (left + right - short) / 2) if short + 8 <= right - left else None
