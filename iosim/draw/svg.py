"""A timeline as SVG text: lanes over one time axis, a legend, a closer look where one is needed.

Every interval is a `<rect>` with a tooltip and its facts in data attributes (`data-lane`,
`data-state`, `data-start`, `data-end` in ns, `data-call`, `data-line`, `data-message`), so that a
page can find and highlight it; each `<g data-x0 data-x1 data-t0 data-t1>` says how px are ns there.
A page that knows the intervals by itself can have them joined, which is drawn faster: a lane is
then a `<g data-lane data-top data-bottom>` with a `<path>` for each state.
Equal timelines give equal bytes.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from ..trace import (
    COPY,
    GIL,
    KERNEL,
    NETWORK,
    TRANSIT,
    WAIT,
    Call,
    Interval,
    Timeline,
    errno_name,
)
from ..validate import whole
from .canvas import (
    FILLS,
    INK,
    LOOKS,
    MUTED,
    TAGS,
    Free,
    Sheet,
    Tag,
    clipped,
    draw_tag,
    esc,
    look_of,
    text_width,
)
from .formatting import (
    blocked_of,
    copying,
    count,
    describe,
    duration,
    signal_name,
    steps,
    tick_text,
    tip,
    took_since_arrival,
    unit_of,
)

__all__ = [
    "MARGIN", "SMALL", "TINY", "Lane", "Scale", "Scene", "axis", "legend", "lens", "lens_words",
    "panel", "rows_of", "svg",
]  # fmt: skip

MARGIN = 12.0
MERGE = 600  # intervals on one lane, above which neighbours narrower than a px are drawn as one
ZOOM = 0.02  # a message's way from arrival to program below this part of the width is magnified
SMALL, TINY, TAG_SIZE = 11.0, 9.0, 7.0  # font sizes


@dataclass(slots=True)
class Scale:
    """ns to px; `ratio` is the px of one ns."""

    start: int
    end: int
    left: float
    right: float
    ratio: float = field(init=False)

    def __post_init__(self) -> None:
        self.ratio = (self.right - self.left) / max(1, self.end - self.start)

    def x(self, at: int) -> float:
        """The px of the instant `at`, inside the scale's ends."""
        if at <= self.start:
            return self.left
        return self.right if at >= self.end else self.left + (at - self.start) * self.ratio


@dataclass(frozen=True, slots=True)
class Lane:
    """A row of the picture and the room it gets: bar height, label lines above, brackets below.

    `label` stands beside it in place of its name, behind a `tag` if it has one.  Where several runs
    are drawn, `run` says whose lane it is, `above` is the room over it, and `after` stands where
    its last interval ends.
    """

    name: str
    bar: float
    lines: int = 0
    brackets: bool = False
    label: str | None = None
    tag: Tag | None = None
    run: str = ""
    above: float = 0.0
    after: str = ""


@dataclass(slots=True)
class Scene:
    """A timeline, its intervals by lane, and the sheet that it is drawn on."""

    timeline: Timeline
    sheet: Sheet = field(default_factory=Sheet)
    over: Sheet = field(default_factory=Sheet)  # labels: drawn over the bars and the arrivals
    lanes: dict[str, list[Interval]] = field(default_factory=dict)
    states: set[str] = field(default_factory=set)
    hidden: list[str] = field(default_factory=list)
    joined: bool = False  # the bars of a lane and a state are one path
    answers: bool = False  # clients' answers are marked

    def __post_init__(self) -> None:
        for interval in self.timeline.intervals:
            self.lanes.setdefault(interval.lane, []).append(interval)


# -- which lanes, how high ------------------------------------------------------------------------

# (at most so many, bar height, lines of call labels, brackets), in this order.
PROCESS_ROOM = ((2, 26.0, 4, True), (4, 22.0, 2, True), (8, 18.0, 1, True), (24, 12.0, 0, False),
                (120, 5.0, 0, False))  # fmt: skip
MESSAGE_ROOM = ((6, 16.0), (16, 12.0), (160, 4.0))


def rows_of(scene: Scene, at_most: int | None = None) -> list[Lane]:
    """The lanes to draw: `at_most` so many of processes, and so many of data."""
    run, names = scene.timeline, scene.lanes
    own = [name for name in (*run.processes, *run.helpers) if name in names]
    data = [n for n, row in names.items() if n not in own and n != NETWORK and row]
    most, many = PROCESS_ROOM[-1][0], MESSAGE_ROOM[-1][0]
    if at_most is not None:
        most, many = min(most, at_most), min(many, at_most)
    _, bar, lines, brackets = next(r for r in PROCESS_ROOM if min(len(own), most) <= r[0])
    _, thin = next(room for room in MESSAGE_ROOM if min(len(data), many) <= room[0])
    scene.hidden = own[most:] + data[many:]
    rows = [Lane(name, bar, lines, brackets and name in run.processes) for name in own[:most]]
    rows += [Lane(name, thin) for name in data[:many]]
    return rows + ([Lane(NETWORK, 10.0)] if NETWORK in names else [])


# -- bars -----------------------------------------------------------------------------------------


def _rect(i: Interval, x: float, y: float, w: float, h: float, more: str, words: str) -> str:
    call, look = i.call, look_of(i)
    if call:
        more += f' data-call="{call.id}"'
        if call.line is not None:
            more += f' data-line="{call.line}"'
    if i.message is not None:
        more += f' data-message="{i.message}"'
    return (
        f'<rect x="{x:.2f}" y="{y:.1f}" width="{w:.2f}" height="{h:.1f}" fill="{FILLS[look]}" '
        f'data-lane="{esc(i.lane)}" data-state="{look}" data-start="{i.start}" '
        f'data-end="{i.end}"{more}><title>{esc(words)}</title></rect>'
    )


def _clusters(lane: Sequence[Interval], scale: Scale) -> Iterable[list[Interval]]:
    """The lane's intervals, those narrower than a px joined until they fill one."""
    per_px = 1 / scale.ratio
    cluster: list[Interval] = []
    for interval in lane:
        small = interval.end - interval.start < per_px
        if cluster and (not small or interval.end - cluster[0].start > per_px):
            yield cluster
            cluster = []
        cluster.append(interval)
        if not small:
            yield cluster
            cluster = []
    if cluster:
        yield cluster


def _groups(lane: Sequence[Interval], scale: Scale) -> Iterable[Sequence[Interval]]:
    """What is drawn as one bar each: every interval, unless there are very many."""
    return _clusters(lane, scale) if len(lane) > MERGE else ([i] for i in lane)


def _shares(cluster: Sequence[Interval]) -> list[tuple[str, float]]:
    """Each state of these intervals with its part of their time, the greatest first."""
    times = Counter[str]()
    for i in cluster:
        times[look_of(i)] += i.end - i.start
    total = max(1, sum(times.values()))
    return [(state, ns / total) for state, ns in times.most_common()]


def _stack(
    shares: Sequence[tuple[str, float]], y: float, h: float
) -> list[tuple[str, float, float]]:  # fmt: skip
    """`(state, top, height)` of each state that shares a bar, the one on top first."""
    (most, _), *others = shares
    bottom, stack = y + h, []
    for state, share in others:
        high = max(1.0, share * h)
        bottom -= high
        stack.append((state, bottom, high))
    return [(most, y, max(0.0, bottom - y)), *stack]


def _cluster_words(cluster: Sequence[Interval], shares: Sequence[tuple[str, float]]) -> str:
    parts = ", ".join(f"{state} {100 * share:.0f} %" for state, share in shares)
    calls = len({i.call.id for i in cluster if i.call})
    start, end = cluster[0].start, cluster[-1].end
    return (
        f"{cluster[0].lane}: {count(len(cluster), 'interval')} and {count(calls, 'call')} "
        f"in {duration(end - start)}, from {start / 1e6:,.3f} ms: {parts}"
    )


def _cluster_rect(cluster: Sequence[Interval], scale: Scale, y: float, h: float) -> str:
    """Intervals too narrow to be told apart, as one; the height is shared out as their time is."""
    shares = _shares(cluster)
    start, end = cluster[0].start, cluster[-1].end
    x, right = scale.x(start), scale.x(end)
    joined = Interval(cluster[0].lane, start, end, shares[0][0], None, cluster[0].message)
    more = f' data-count="{len(cluster)}" shape-rendering="crispEdges"'
    words = _cluster_words(cluster, shares)
    wide = max(1.0, right - x)
    parts = [_rect(joined, x, y, wide, h, more, words)]
    parts += [
        f'<rect x="{x:.2f}" y="{top:.1f}" width="{wide:.2f}" height="{high:.1f}" '
        f'fill="{FILLS[state]}" pointer-events="none" shape-rendering="crispEdges"/>'
        for state, top, high in _stack(shares, y, h)[1:]
    ]
    return "".join(parts)


def _bars(scene: Scene, lane: Sequence[Interval], scale: Scale, y: float, h: float) -> None:
    """One lane's intervals; the narrowest last, so that they stay visible."""
    if scene.joined:
        _joined_bars(scene, lane, scale, y, h)
        return
    wide: list[str] = []
    narrow: list[str] = []
    for group in _groups(lane, scale):
        i = group[0]
        scene.states.update(map(look_of, group))
        if len(group) > 1:
            narrow.append(_cluster_rect(group, scale, y, h))
            continue
        x, right = scale.x(i.start), scale.x(i.end)
        if right - x < 1:
            x = min(x, scale.right - 1)
            narrow.append(_rect(i, x, y, 1.0, h, "", tip(i)))
        else:
            wide.append(_rect(i, x, y, right - x, h, "", tip(i)))
    scene.sheet.parts += wide
    scene.sheet.parts += narrow


def _joined_bars(
    scene: Scene, lane: Sequence[Interval], scale: Scale, y: float, h: float
) -> None:  # fmt: skip
    """The same as one path for each state."""
    wide: dict[str, list[str]] = defaultdict(list)
    narrow: dict[str, list[str]] = defaultdict(list)
    for group in _groups(lane, scale):
        x, right = scale.x(group[0].start), scale.x(group[-1].end)
        paths = wide
        if right - x < 1:
            x = min(x, scale.right - 1)
            right, paths = x + 1, narrow
        stack = _stack(_shares(group), y, h) if len(group) > 1 else [(look_of(group[0]), y, h)]
        for state, top, high in stack:
            paths[state].append(f"M{x:.2f} {top:.1f}H{right:.2f}v{high:.1f}H{x:.2f}z")
    scene.states.update(wide, narrow)
    scene.sheet.parts += [
        f'<path d="{"".join(path)}" fill="{FILLS[state]}"/>'
        for paths in (wide, narrow) for state, path in paths.items()
    ]  # fmt: skip


def _network(scene: Scene, lane: Sequence[Interval], scale: Scale, y: float, h: float) -> None:
    """Messages on their way: those that are so at once share the height."""
    ends: list[int] = []
    places: list[tuple[Interval, int]] = []
    for i in sorted(lane, key=lambda i: (i.start, i.message or 0)):
        free = next((n for n, end in enumerate(ends) if end <= i.start), len(ends))
        ends[free : free + 1] = [i.end]
        places.append((i, free))
    each = max(1.5, h / max(1, len(ends)))
    rows = max(1, int(h / each))
    scene.states.add(TRANSIT)
    for i, place in places:
        x = min(scale.x(i.start), scale.right - 1)
        w = max(1.0, scale.x(i.end) - x)
        scene.sheet.add(_rect(i, x, y + each * (place % rows), w, each, "", tip(i)))


# -- labels ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Flag:
    """Something to name over a process's lane, from `start` to `end`; the first text that fits."""

    start: int
    end: int
    texts: tuple[str, ...]


def _call_texts(turn: Sequence[Call], times: int = 1) -> tuple[str, ...]:
    """What to call `times` turns of these calls, the longest first."""
    many = f" ×{times}" if times > 1 else ""
    errnos = ["" if c.errno is None else errno_name(c.errno) for c in turn]
    full = [f"{c.name} {errno}".rstrip() for c, errno in zip(turn, errnos, strict=True)]
    short = [errno or c.name for c, errno in zip(turn, errnos, strict=True)]
    texts = [", ".join(full), ", ".join(short)] + ([f"{short[0]}, …"] if len(turn) > 1 else [])
    return tuple(dict.fromkeys(text + many for text in texts))


def _needs_joining(calls: Sequence[Call], turn: int, scale: Scale) -> bool:
    """Have these calls, so many in turn, no room for a label each?"""
    wide = sum(text_width(_call_texts([call])[0], TINY) + 6 for call in calls[:turn])
    room = (scale.x(calls[-1].end) - scale.x(calls[0].start)) / (len(calls) / turn)
    return room < wide


def _flags(scene: Scene, name: str, scale: Scale) -> list[Flag]:
    """A process's calls and what else its lane notes; calls that repeat as one if need be."""
    flags: list[Flag] = []
    calls = [
        c for c in scene.timeline.call_log
        if c.process == name and c.trap and c.start < scale.end and scale.start < c.end
    ]  # fmt: skip
    for turn, run in _repeated(calls):
        times = len(run) // turn
        if times > 1 and _needs_joining(run, turn, scale):
            flags.append(Flag(run[0].start, run[-1].end, _call_texts(run[:turn], times)))
        else:
            flags += [Flag(c.start, c.end, _call_texts([c])) for c in run]
    flags += [
        Flag(i.start, i.end, (signal_name(i.note),))
        for i in scene.lanes.get(name, ())
        if i.note and not i.call and (i.state == KERNEL or i.note == GIL)
        if i.start < scale.end and scale.start < i.end
    ]
    return sorted(flags, key=lambda flag: (flag.start, flag.end))


MOST_IN_TURN = 3  # calls that repeat together, as epoll_wait, recvfrom, send do


def _repeated(calls: Sequence[Call]) -> Iterator[tuple[int, Sequence[Call]]]:
    """All `calls` in order: `(how many in turn, two turns of them or more)`, or one by itself."""
    kinds = [(call.name, call.errno) for call in calls]
    at = 0
    while at < len(calls):
        turn, length = next(
            (
                (turn, length) for turn in range(1, MOST_IN_TURN + 1)
                if (length := _in_turn(kinds, at, turn)) > turn
            ),
            (1, 1),
        )  # fmt: skip
        yield turn, calls[at : at + length]
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


def _place(flag: Flag, scale: Scale, lines: list[Free]) -> Placed | None:
    """The first place that is free: centred over a wide call, else as a flag on a pole."""
    left, right = scale.x(flag.start), scale.x(flag.end)
    for text in flag.texts:
        wide = text_width(text, TINY)
        if wide + 4 <= right - left:
            x = (left + right - wide) / 2
            if lines[0].offer(x - 2, x + wide + 2):
                return Placed(text, x, 0, None)
        pole = left + min(2.0, (right - left) / 2)
        for line, free in enumerate(lines):
            if not all(below.fits(pole - 1, pole + 1) for below in lines[:line]):
                break
            for x in (pole + 3, pole - 3 - wide):
                if free.offer(min(x, pole) - 3, max(x + wide, pole) + 3):
                    for below in lines[:line]:
                        below.take(pole - 2, pole + 2)
                    return Placed(text, x, line, pole)
    return None


def _place_all(flags: Sequence[Flag], scale: Scale, room: int) -> list[Placed]:
    """Labels from right to left, so that a flag flies over the poles of those placed before."""
    lines = [Free(scale.left, scale.right) for _ in range(room)]
    wide = {
        f for f in flags if text_width(f.texts[0], TINY) + 4 <= scale.x(f.end) - scale.x(f.start)
    }
    placed = [_place(flag, scale, lines) for flag in flags if flag in wide]
    tried: set[tuple[int, str]] = set()
    for flag in reversed(flags):
        key = (int(scale.x(flag.start)), flag.texts[0])
        if flag in wide or key in tried:
            continue
        tried.add(key)
        placed.append(_place(flag, scale, lines))
    return [label for label in placed if label]


LINE = 12.0  # px of one line of call labels


def _draw_flags(scene: Scene, flags: Sequence[Flag], labels: Sequence[Placed], scale: Scale,
                bar: float) -> None:  # fmt: skip
    sheet = scene.over
    seen: set[tuple[float, float]] = set()
    path = []
    for flag in flags:
        left, right = round(scale.x(flag.start), 1), round(scale.x(flag.end), 1)
        if (left, right) not in seen:
            seen.add((left, right))
            right = max(right, left + 0.8)
            path.append(f"M{left:.1f} {bar - 1:.1f}v-3H{right:.1f}v3")
    if path:
        sheet.line("".join(path), INK, 0.8)
    places = [(label, bar - 7 - LINE * label.line) for label in labels]
    poles = [
        f"M{label.pole:.1f} {bar - 4:.1f}V{y - 7:.1f}"
        for label, y in places if label.pole is not None
    ]  # fmt: skip
    if poles:
        sheet.line("".join(poles), MUTED, 0.7)
    for label, y in places:
        sheet.text(label.x, y, label.text, TINY)


def _inside(
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


def _after(
    scene: Scene, words: str, shown: Sequence[Interval], scale: Scale, middle: float
) -> None:
    """`words` behind the last of the intervals, or on a white plate over the longest."""
    wide, x = text_width(words, TINY), scale.x(shown[-1].end)
    if x + wide + 6 <= scale.right:
        scene.over.text(x + 4, middle + 3.3, words, TINY)
        return
    ends = [(scale.x(i.start), scale.x(i.end)) for i in shown]
    _, right = max(ends, key=lambda pair: pair[1] - pair[0])
    left = max(scale.left, right - wide - 8)
    scene.over.box(
        left, middle - 5.5, wide + 6, 11, "#ffffff",
        ' fill-opacity="0.92" rx="2" pointer-events="none"',
    )  # fmt: skip
    scene.over.text(left + 3, middle + 3.3, words, TINY)


def _answers(scene: Scene, row: Lane, scale: Scale, bottom: float) -> None:
    """Under the lane of a server's client: where it has an answer.  A thin lane has no room."""
    times = [
        at for visit in scene.timeline.visits if f"client {visit.client + 1}" == row.name
        for at in visit.answered if scale.start <= at <= scale.end
    ]  # fmt: skip
    if times and row.bar > 9:
        scene.answers = True
        path = "".join(ANSWER.format(scale.x(at), bottom) for at in times)
        scene.over.add(f'<path d="{path}" fill="{INK}"/>')


ANSWER = "M{:.1f} {:.1f}l-3 5h6z"


def _brackets(scene: Scene, name: str, scale: Scale, y: float) -> None:
    """Under a process: where it is blocked, and by which phase."""
    free = Free(scale.left, scale.right)
    marks = [
        (max(start, scale.start), min(end, scale.end), phase)
        for phase in (COPY, WAIT)
        for start, end in blocked_of(scene.timeline, name, phase)
        if start < scale.end and scale.start < end
    ]
    for start, end, _ in marks:
        free.take(scale.x(start) - 1, max(scale.x(end), scale.x(start) + 1.5) + 1)
    path = {COPY: "", WAIT: ""}
    for start, end, phase in marks:
        left, right = scale.x(start), scale.x(end)
        right = max(right, left + 1.5)
        place = _bracket_text(phase, left, right, free)
        path[phase] += f"M{left:.1f} {y:.1f}v5"
        if place and place[1]:
            x, wide = place[2], text_width(place[0], TINY)
            path[phase] += f"H{x - 3:.1f}M{x + wide + 3:.1f} {y + 5:.1f}"
        path[phase] += f"H{right:.1f}v-5"
        if place:
            scene.over.text(place[2], y + 8.3, place[0], TINY, fill=BLOCKED[phase], halo=True)
    for phase, drawn in path.items():
        if drawn:
            scene.over.line(drawn, BLOCKED[phase], 1.4 if phase == WAIT else 2.2)


BLOCKED = {WAIT: "#1c5f92", COPY: "#0b3355"}


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


# -- the axis -------------------------------------------------------------------------------------


def axis(scene: Scene, scale: Scale, y: float, origin: int = 0, words: str = "") -> None:
    """Ticks at round times since `origin`, as many as have room, and the unit."""
    low, high = ends = scale.start - origin, scale.end - origin
    unit, name = unit_of(max(high - low, 1))
    for step in steps(high - low):
        px = step * scale.ratio
        if px >= 40 and px >= 18 + max(text_width(tick_text(t, step, unit), SMALL) for t in ends):
            break
    last = f"{name}{words}"
    sheet, free = scene.sheet, Free(0, 4000)
    wide = text_width(last, SMALL)
    right = scale.right + 0.0
    free.take(right - wide - 4, right + 2)
    path = f"M{scale.left:.1f} {y:.1f}H{scale.right:.1f}"
    for at in range(-(-low // step) * step, high + 1, step):
        x = scale.x(at + origin)
        path += f"M{x:.1f} {y:.1f}v4"
        text = tick_text(at, step, unit)
        half = text_width(text, SMALL) / 2
        if x + half <= scale.right and free.offer(x - half - 3, x + half + 3):
            sheet.text(x, y + 15, text, SMALL, "middle")
    sheet.line(path, INK, 1)
    sheet.text(right, y + 15, last, SMALL, "end", MUTED)


# -- a panel: lanes over one axis -----------------------------------------------------------------


def _lane(scene: Scene, row: Lane, scale: Scale, y: float) -> tuple[float, float]:
    """One lane from `y` down; returns the top of its bar and the px below all of it."""
    y += row.above
    shown = [i for i in scene.lanes[row.name] if i.start < scale.end and scale.start < i.end]
    flags = _flags(scene, row.name, scale) if row.lines else []
    labels = _place_all(flags, scale, row.lines) if flags else []
    top = y + (LINE * (1 + max((p.line for p in labels), default=-1)) + 6 if flags else 0)
    start = len(scene.sheet.parts)
    if row.name == NETWORK:
        _network(scene, shown, scale, top, row.bar)
    else:
        _bars(scene, shown, scale, top, row.bar)
        if scene.joined:
            scene.sheet.parts.insert(start, (
                f'<g data-lane="{esc(row.name)}" data-top="{top:.1f}" '
                f'data-bottom="{top + row.bar:.1f}">'
            ))  # fmt: skip
            scene.sheet.add("</g>")
        _inside(scene, shown, scale, top, row.bar, row.tag is TAGS["predicted"])
        _answers(scene, row, scale, top + row.bar)
    if row.run:
        scene.sheet.parts.insert(start, f'<g data-run="{esc(row.run)}">')
        scene.sheet.add("</g>")
    if row.after and shown:
        _after(scene, row.after, shown, scale, top + row.bar / 2)
    if flags:
        _draw_flags(scene, flags, labels, scale, top)
    bottom = top + row.bar
    if row.brackets:
        _brackets(scene, row.name, scale, bottom + 2)
        bottom += 12
    return top, bottom + (6 if row.bar > 9 else 1)


def _names(scene: Scene, places: Sequence[tuple[Lane, float]], left: float) -> None:
    """The names of the lanes, of every lane that has the room for one."""
    reach = -100.0
    for row, top in places:
        base = top + row.bar / 2 + 4
        if base - reach >= SMALL + 1.5:
            reach = base
            room, words = left - MARGIN - 8, row.name if row.label is None else row.label
            if row.tag:
                wide = text_width(row.tag.name, TAG_SIZE, True) + 14
                draw_tag(scene.sheet, left - 8 - wide, base - 11, row.tag, TAG_SIZE)
                room -= wide + 6
            text = clipped(words, room + 0.1, SMALL)  # what rounding may take
            scene.sheet.text(MARGIN + room, base, text, SMALL, "end")


def _arrivals(scene: Scene, scale: Scale, top: float, bottom: float) -> None:
    """A thin line down the picture where a message arrives."""
    times = sorted({
        d.arrived for d in scene.timeline.deliveries
        if d.arrived is not None and scale.start < d.arrived < scale.end
    })  # fmt: skip
    if 0 < len(times) <= 12:
        path = "".join(f"M{scale.x(at):.1f} {top:.1f}V{bottom:.1f}" for at in times)
        scene.sheet.line(path, "#707070", 0.8, ' stroke-dasharray="2 2"')


def panel(
    scene: Scene, rows: Sequence[Lane], scale: Scale, y: float,
    draw_axis: Callable[[float], None],
) -> float:  # fmt: skip
    """The lanes `rows` from `y` down, over their axis; returns the px below it."""
    places, at, top = [], y, y
    start = len(scene.sheet.parts)
    for row in rows:
        bar, at = _lane(scene, row, scale, at)
        places.append((row, bar))
    top = places[0][1] if places else y
    _arrivals(scene, scale, top, at)
    scene.sheet.parts += scene.over.parts
    scene.over.parts.clear()
    _names(scene, places, scale.left)
    draw_axis(at + 2)
    scene.sheet.parts.insert(start, (
        f'<g data-x0="{scale.left:.2f}" data-x1="{scale.right:.2f}" data-t0="{scale.start}" '
        f'data-t1="{scale.end}" data-top="{top:.1f}" data-bottom="{at:.1f}">'
    ))  # fmt: skip
    scene.sheet.add("</g>")
    return at + 24


# -- the closer look ------------------------------------------------------------------------------


def _zoom_window(scene: Scene) -> tuple[int, int, int] | None:
    """`(start, end, message)` if the first message's way to the program is too short to see."""
    total = scene.timeline.end
    for fate in scene.timeline.deliveries:
        if fate.arrived is None or fate.received is None:
            continue
        took = fate.received - fate.arrived
        if not 0 < took < ZOOM * total:
            return None
        before, after = max(1, took // 3), max(1, took // 4)
        return max(0, fate.arrived - before), min(total, fate.received + after), fate.message
    return None


def _zoom(scene: Scene, rows: Sequence[Lane], main: Scale, y: float) -> float:
    """A second axis that magnifies one message's way from its arrival to the program."""
    window = _zoom_window(scene)
    if window is None:
        return y
    start, end, number = window
    fate = next(d for d in scene.timeline.deliveries if d.message == number)
    scale = Scale(start, end, main.left, main.right)
    data = {i.lane for i in scene.timeline.intervals if i.message == number} | {NETWORK}
    wanted = (fate.process, *data, *scene.timeline.helpers)
    near = [row for row in rows if row.name in wanted]
    rooms = {name: Lane(name, 22.0, 3, name in scene.timeline.processes) for name in wanted if name}
    shown = [
        replace(row, bar=max(row.bar, 14.0)) if row.name in data else rooms[row.name]
        for row in near
    ]
    took = took_since_arrival(fate)
    text = lens_words(scale, main, f"message {number}, {took} from arrival to program")
    lens(scene, main, scale, text, y)
    return panel(
        scene, shown, scale, y + 28,
        lambda at: axis(scene, scale, at, fate.arrived or 0, " from the arrival"),
    )  # fmt: skip


def lens_words(near: Scale, main: Scale, what: str) -> str:
    """ "magnified 120 times: ..." """
    return f"magnified {_round(near.ratio / main.ratio)} times: {what}"


def lens(scene: Scene, main: Scale, near: Scale, text: str, y: float) -> None:
    """A cone from the stretch of `main` that `near` magnifies, and what it shows."""
    a, b = main.x(near.start), max(main.x(near.end), main.x(near.start) + 1)
    scene.sheet.add(
        f'<path d="M{a:.1f} {y - 20:.1f}L{main.left:.1f} {y + 22:.1f}H{main.right:.1f}'
        f'L{b:.1f} {y - 20:.1f}Z" fill="#7a7a7a" fill-opacity="0.13"/>'
    )
    text = clipped(text, main.right - main.left, SMALL, True)
    scene.sheet.text(main.left, y + 15, text, SMALL, bold=True, halo=True)


def _round(factor: float) -> str:
    return f"{factor:,.0f}" if factor < 100 else f"{round(factor, -1 - (factor >= 1000)):,.0f}"


# -- heading, legend, the whole -------------------------------------------------------------------


def _tag(kernel: str) -> Tag:
    return TAGS.get(kernel, TAGS["recorded"])


def _heading(scene: Scene, width: float, window: tuple[int, int] | None) -> float:
    run, sheet = scene.timeline, scene.sheet
    tag = _tag(run.kernel)
    x = draw_tag(sheet, MARGIN, 10, tag) + 9
    title = clipped(run.title, (width - x) * 0.6, 13, True)
    sheet.text(x, 24, title, 13, bold=True)
    x += text_width(title, 13, True) + 12
    facts = [tag.clock, duration(run.end), count(run.cores, "core")]
    if window:
        facts[1] = f"{duration(window[0])} to {duration(window[1])} of {facts[1]}"
    if run.kernel == "recorded" and run.machine:
        facts.insert(0, f"on {run.machine}")
    elif run.machine:
        facts.append(run.machine)
    room = width - MARGIN - x
    text = clipped(" · ".join(facts), room, SMALL)
    if text:
        sheet.text(x, 24, text, SMALL, fill=MUTED)
    return 38.0


def legend(scene: Scene, width: float, y: float) -> float:
    """What the looks of the states mean, from `y` down; returns the px below it."""
    sheet, x = scene.sheet, MARGIN
    for words, sample in _keys(scene):
        wide = 21 + text_width(words, 10) + 14
        if x > MARGIN and x + wide > width - MARGIN:
            x, y = MARGIN, y + 16
        sample(x, y)
        sheet.text(x + 21, y + 9, words, 10, fill=INK)
        x += wide
    if scene.hidden:
        y += 16
        text = f"not drawn, for want of room: {count(len(scene.hidden), 'more lane')}"
        sheet.text(MARGIN, y + 9, text, 10, fill=MUTED)
    return y + 16


def _keys(scene: Scene) -> Iterator[tuple[str, Callable[[float, float], None]]]:
    """What the legend explains: the words for it, and what draws a sample of it at a place."""
    sheet = scene.sheet
    for state in (state for state in LOOKS if state in scene.states):
        yield LOOKS[state].words, partial(sheet.swatch, state=state)
    if scene.answers:
        yield (
            "the client has an answer",
            lambda x, y: sheet.add(f'<path d="{ANSWER.format(x + 8, y + 2)}" fill="{INK}"/>'),
        )


def _check_window(window: tuple[int, int] | None) -> None:
    if window is not None and not 0 <= window[0] < window[1]:
        raise ValueError(f"a window needs 0 <= start < end, got {window[0]!r} to {window[1]!r} ns")


def svg(
    timeline: Timeline, width: int = 700, window: tuple[int, int] | None = None,
    lanes: int | None = None, joined: bool = False,
) -> str:  # fmt: skip
    """The picture of `timeline` as an SVG document, `width` px wide.

    `window`: `(start, end)` in ns shows only that stretch; without it the whole run is shown, and
    below it, magnified, a message's way to the program if that is too short to be seen.
    `lanes`: draw at most so many of processes, and so many of data; the legend says how many are
    left out.  `joined`: draw the bars of a lane and a state as one path, without their tooltips and
    facts, for a page that has these by itself.
    ValueError unless 320 <= width <= 4000, 0 <= start < end and 1 <= lanes <= 1000.
    """
    whole("width", width, 320, 4000, "px")
    if lanes is not None:
        whole("lanes", lanes, 1, 1000, "lanes")
    _check_window(window)
    scene = Scene(timeline, joined=joined)
    rows = rows_of(scene, lanes)
    names = max((text_width(row.name, SMALL) for row in rows), default=0.0)
    left = MARGIN + min(names, 110.0) + 8
    if window is None and timeline.start:  # a part that was cut out
        window = timeline.start, timeline.end
    start, end = window or (0, timeline.end)
    scale = Scale(start, max(end, start + 1), left, width - MARGIN - 2)
    y = _heading(scene, width, window)
    y = panel(scene, rows, scale, y, lambda at: axis(scene, scale, at))
    if window is None:
        y = _zoom(scene, rows, scale, y)
    y = legend(scene, width, y + 4)
    tag = _tag(timeline.kernel)
    return scene.sheet.finish(
        width, y + 8, _title(timeline), describe(timeline),
        [state for state in LOOKS if state in scene.states], tag,
        f' data-kernel="{esc(timeline.kernel)}"',
    )  # fmt: skip


def _title(timeline: Timeline) -> str:
    return f"Timeline of {timeline.title}, {timeline.kernel}"
