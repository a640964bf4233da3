"""The bars of a lane: an interval each, or joined where they are too many or too narrow to tell."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from ..trace import TRANSIT, Interval
from .canvas import FILLS, esc, look_of
from .formatting import OPEN, count, duration, left_open, tip
from .scene import MERGE, Scale, Scene

__all__ = ["bars", "network"]


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


def bars(scene: Scene, lane: Sequence[Interval], scale: Scale, y: float, h: float) -> None:
    """One lane's intervals; the narrowest last, so that they stay visible."""
    if scene.joined:
        _joined_bars(scene, lane, scale, y, h)
        return
    wide: list[str] = []
    narrow: list[str] = []
    scene.states.update(map(look_of, lane))
    for group in _groups(lane, scale):
        i = group[0]
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
    if left_open(lane):
        scene.marks[OPEN] = _open_sample


def _open_sample(x: float, y: float) -> str:
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="16" height="10" fill="none" stroke="#8a8a8a" '
        'stroke-width="0.8" stroke-dasharray="2 2"/>'
    )


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


def network(scene: Scene, lane: Sequence[Interval], scale: Scale, y: float, h: float) -> None:
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
