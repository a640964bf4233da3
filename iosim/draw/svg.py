"""A timeline as SVG text: lanes over one time axis, a legend, a closer look where one is needed.

Every interval is a `<rect>` with a tooltip and its facts in data attributes (`data-lane`,
`data-state`, `data-start`, `data-end` in ns, `data-call`, `data-line`, `data-message`), so that a
page can find and highlight it; each `<g data-x0 data-x1 data-t0 data-t1>` says how px are ns there.
A page that knows the intervals by itself can have them joined, which is drawn faster: a lane is
then a `<g data-lane data-top data-bottom>` with a `<path>` for each state.
Equal timelines give equal bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial

from ..trace import NETWORK, Timeline
from ..trace.part import unclipped
from ..validate import whole
from .bars import bars, network
from .canvas import (
    ALARM,
    INK,
    LOOKS,
    MUTED,
    TAGS,
    Sheet,
    Tag,
    clipped,
    draw_tag,
    esc,
    stroked,
    swatch,
    text_width,
)
from .formatting import (
    cores_of,
    count,
    describe,
    steps,
    stretch,
    tick_text,
    took_since_arrival,
    unit_of,
)
from .labels import (
    LINE,
    after,
    answers,
    brackets,
    draw_flags,
    flags_of,
    inside,
    place_all,
)
from .scene import MARGIN, SMALL, Lane, Mark, Scale, Scene, rows_of

__all__ = ["axis", "legend", "lens", "lens_words", "panel", "svg"]

ZOOM = 0.02  # a message's way from arrival to program below this part of the width is magnified
TAG_SIZE = 7.0  # font size


# -- the axis -------------------------------------------------------------------------------------


def axis(scene: Scene, scale: Scale, y: float, origin: int = 0, words: str = "") -> float:
    """Ticks at round times since `origin`, as many as have room, and the unit; to which px?

    The unit stands under the lanes' names, or below the ticks: each tick keeps its time.
    """
    low, high = ends = scale.start - origin, scale.end - origin
    unit, name = unit_of(max(high - low, 1))
    for step in steps(high - low):
        px = step * scale.ratio
        if px >= 40 and px >= 18 + max(text_width(tick_text(t, step, unit), SMALL) for t in ends):
            break
    sheet, path, first = scene.sheet, f"M{scale.left:.1f} {y:.1f}H{scale.right:.1f}", scale.left
    for at in range(-(-low // step) * step, high + 1, step):
        x = scale.x(at + origin)
        path += f"M{x:.1f} {y:.1f}v4"
        text = tick_text(at, step, unit)
        half = text_width(text, SMALL) / 2
        sheet.text(min(x, scale.right + 8 - half), y + 15, text, SMALL, "middle")
        first = min(first, x - half)
    sheet.line(path, INK, 1)
    last = f"{name}{words}"
    if text_width(last, SMALL) <= first - 8 - MARGIN:
        sheet.text(first - 8, y + 15, last, SMALL, "end", MUTED)
        return y + 22
    sheet.text(scale.right, y + 28, last, SMALL, "end", MUTED)
    return y + 35


# -- a panel: lanes over one axis -----------------------------------------------------------------


def _lane(scene: Scene, row: Lane, scale: Scale, y: float) -> tuple[float, float]:
    """One lane from `y` down; returns the top of its bar and the px below all of it."""
    y += row.above
    shown = [i for i in scene.lanes[row.name] if i.start < scale.end and scale.start < i.end]
    flags = flags_of(scene, row.name, scale) if row.lines else []
    labels = place_all(flags, scale, row.lines) if flags else []
    top = y + (LINE * (1 + max((p.line for p in labels), default=-1)) + 6 if flags else 0)
    start = len(scene.sheet.parts)
    if row.name == NETWORK:
        network(scene, shown, scale, top, row.bar)
    else:
        bars(scene, shown, scale, top, row.bar)
        if scene.joined:
            scene.sheet.parts.insert(start, (
                f'<g data-lane="{esc(row.name)}" data-top="{top:.1f}" '
                f'data-bottom="{top + row.bar:.1f}">'
            ))  # fmt: skip
            scene.sheet.add("</g>")
        inside(scene, shown, scale, top, row.bar, row.tag is TAGS["predicted"])
        answers(scene, row, scale, top + row.bar)
    if row.run:
        scene.sheet.parts.insert(start, f'<g data-run="{esc(row.run)}">')
        scene.sheet.add("</g>")
    bottom = top + row.bar
    if row.after and shown:
        bottom += after(scene, row.after, shown, scale, top, row.bar)
    if flags:
        draw_flags(scene, flags, labels, scale, top)
    if row.brackets:
        brackets(scene, row.name, scale, bottom + 2)
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
    """A thin line down the picture where a message arrives; each run's has its own dashes."""
    lanes = {i.message: i.lane for i in scene.timeline.intervals}
    for side, dashes in zip(scene.sides, ARRIVALS, strict=False):
        times = sorted({
            d.arrived for d in scene.timeline.deliveries
            if d.arrived is not None and scale.start < d.arrived < scale.end
            and side in lanes.get(d.message, "")
        })  # fmt: skip
        if 0 < len(times) <= 12:
            path = "".join(f"M{scale.x(at):.1f} {top:.1f}V{bottom:.1f}" for at in times)
            scene.sheet.add(_arrival(path, dashes))
            words = f"{side}: a message arrives" if side else "a message arrives"
            scene.marks[words] = partial(_arrival_sample, dashes)


ARRIVALS = ("2 2", "6 3", "1 3", "9 2", "6 2 1 2")  # the dashes of each run's arrivals


def _arrival(path: str, dashes: str) -> str:
    return stroked(path, "#707070", 0.8, f' stroke-dasharray="{dashes}"')


def _arrival_sample(dashes: str, x: float, y: float) -> str:
    return _arrival(f"M{x + 8:.1f} {y - 1:.1f}v12", dashes)


def panel(
    scene: Scene, rows: Sequence[Lane], scale: Scale, y: float,
    draw_axis: Callable[[float], float],
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
    below = draw_axis(at + 2)
    scene.sheet.parts.insert(start, (
        f'<g data-x0="{scale.left:.2f}" data-x1="{scale.right:.2f}" data-t0="{scale.start}" '
        f'data-t1="{scale.end}" data-top="{top:.1f}" data-bottom="{at:.1f}">'
    ))  # fmt: skip
    scene.sheet.add("</g>")
    return below


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
    name, took = f"message {number}", took_since_arrival(fate)
    others = data - {NETWORK, name}
    name = f"a message of {min(others)}" if others else name
    text = lens_words(scale, main, f"{name}, {took} from arrival to program")
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


def _heading(sheet: Sheet, run: Timeline, width: float) -> float:
    tag = _tag(run.kernel)
    x = draw_tag(sheet, MARGIN, 10, tag) + 9
    title = clipped(run.title, (width - x) * 0.6, 13, True)
    sheet.text(x, 24, title, 13, bold=True)
    x += text_width(title, 13, True) + 12
    facts = [tag.clock, stretch(run), *cores_of(run)]
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
        sheet.add(sample(x, y))
        sheet.text(x + 21, y + 9, words, 10, fill=INK)
        x += wide
    if scene.hidden:
        y += 16
        text = f"not drawn, for want of room: {count(len(scene.hidden), 'more lane')}"
        sheet.text(MARGIN, y + 9, text, 10, fill=MUTED)
    return y + 16


def _keys(scene: Scene) -> Iterator[tuple[str, Mark]]:
    """What the legend explains: the words for it, and a sample of it."""
    for state, look in LOOKS.items():
        if state in scene.states:
            yield look.words, partial(swatch, state)
    yield from sorted(scene.marks.items())


def svg(
    timeline: Timeline, width: int = 700, window: tuple[int, int] | None = None,
    lanes: int | None = None, joined: bool = False, mark: tuple[int, str] | None = None,
) -> str:  # fmt: skip
    """The picture of `timeline` as an SVG document, `width` px wide.

    `window`: `(start, end)` in ns shows only that stretch, as `Timeline.between` does; a whole run
    is followed, magnified, by a message's way to the program if that is too short to be seen.
    `lanes`: draw at most so many of processes, and so many of data; the legend says how many are
    left out.  `joined`: draw the bars of a lane and a state as one path, without their tooltips and
    facts, for a page that has these by itself.  `mark`: an instant (ns) at which a line is drawn
    through all lanes, and what is said of it.
    ValueError unless 320 <= width <= 4000, 0 <= start < end and 1 <= lanes <= 1000.
    """
    whole("width", width, 320, 4000, "px")
    if lanes is not None:
        whole("lanes", lanes, 1, 1000, "lanes")
    if window is not None:
        timeline = timeline.between(*window)
    scene = Scene(unclipped(timeline), joined=joined)
    rows = rows_of(scene, lanes)
    names = max((text_width(row.name, SMALL) for row in rows), default=0.0)
    left = MARGIN + min(names, 110.0) + 8
    start, end = (timeline.start, timeline.end) if timeline.window else (0, timeline.end)
    scale = Scale(start, max(end, start + 1), left, width - MARGIN - 2)
    y = top = _heading(scene.sheet, timeline, width) + (LINE + 4 if mark else 0)
    below = len(scene.sheet.parts)
    y = panel(scene, rows, scale, y, lambda at: axis(scene, scale, at))
    if mark:
        scene.sheet.parts.insert(below, _mark(scene.sheet, scale, mark, (top, y)))
    if timeline.window is None:
        y = _zoom(scene, rows, scale, y)
    y = legend(scene, width, y + 4)
    tag = _tag(timeline.kernel)
    return scene.sheet.finish(
        width, y + 8, _title(timeline), f"{describe(timeline)}{f' {mark[1]}.' if mark else ''}",
        [state for state in LOOKS if state in scene.states], tag,
        f' data-kernel="{esc(timeline.kernel)}"',
    )  # fmt: skip


def _mark(sheet: Sheet, scale: Scale, mark: tuple[int, str], ends: tuple[float, float]) -> str:
    """A line through all lanes, from above them down to the axis, and what is said of it."""
    at, words = mark
    x, (top, bottom) = min(scale.x(at), scale.right), ends
    before = x - text_width(words, SMALL) > scale.left
    where, anchor = (x - 4, "end") if before else (x + 4, "start")
    sheet.text(where, top - 6, words, SMALL, anchor, ALARM)
    return stroked(f"M{x:.1f} {top - 4:.1f}V{bottom - 22:.1f}", ALARM, 2, "")


def _title(timeline: Timeline) -> str:
    return f"Timeline of {timeline.title}, {timeline.kernel}"
