"""A prediction and the run that it was for, on one clock, with their differences named.

The two runs become one timeline whose lanes stand in pairs, and the drawing of timelines does the
rest.  What was predicted and what was measured never look alike: each lane bears its tag.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from ..trace import PHASES, Interval, Timeline
from ..trace.comparison import Comparison, compare
from ..validate import whole
from .canvas import MUTED, TAGS, Picture, Sheet, clipped, draw_tag, text_width
from .formatting import duration
from .one_clock import closer_look, framed, lines_of
from .paired_runs import arrival, joined, moved, sides
from .scene import MARGIN, SMALL, TINY, Lane, Scale, Scene, rows_of

__all__ = ["overlay"]

SIDES = ("predicted", "measured")
SOON = 0.05  # of the run: a first message that takes longer than this needs no lens
DELTA_INK = "#a0006d"


def overlay(predicted: Timeline, measured: Timeline, width: int = 700) -> Picture:
    """Both runs over one time axis, their processes and their data in pairs, and a closer look.

    `measured` is a run of the real kernel, or its recording.  The result shows itself as SVG in a
    notebook, and as the table of `iosim.compare` where it is printed.
    TypeError for what is not a timeline; ValueError for two programs, for a second run that is
    simulated, and unless 320 <= width <= 4000.
    """
    found = compare(predicted, measured)
    if measured.kernel == "simulated":
        raise ValueError("overlay draws a prediction and a real run: the second one is simulated")
    whole("width", width, 320, 4000, "px")
    return Picture(_draw(predicted, measured, found, width), str(found))


# -- two runs as one timeline ---------------------------------------------------------------------


def _naming(side: str, run: Timeline) -> Callable[[str], str]:
    """What the joint timeline calls a lane of this side's run."""

    def lane(name: str) -> str:
        if name.startswith("message "):
            number = name.removeprefix("message ")
            return f"data, {side}" if len(run.deliveries) < 2 else f"{number}, {side}"
        return side if (name,) == run.processes else f"{side}: {name}"

    return lane


def _joint(predicted: Timeline, measured: Timeline) -> Timeline:
    both = ((SIDES[0], predicted), (measured.kernel, measured))
    pair = joined(sides([(run, _naming(side, run)) for side, run in both]), predicted.title)
    return replace(pair, intervals=tuple(_in_pairs(pair.intervals)))


def _in_pairs(intervals: Sequence[Interval]) -> list[Interval]:
    """The data's lanes message by message, the prediction first."""
    order: dict[str, tuple[int, int]] = {}
    for i in intervals:
        seen = sum(name.partition(", ")[2] == i.lane.partition(", ")[2] for name in order)
        order.setdefault(i.lane, (seen, len(order)))
    data = sorted((i for i in intervals if i.state in PHASES), key=lambda i: order[i.lane])
    return [i for i in intervals if i.state not in PHASES] + data


# -- drawing --------------------------------------------------------------------------------------


def _draw(predicted: Timeline, measured: Timeline, found: Comparison, width: int) -> str:
    scene = _scene(predicted, measured, Sheet())
    rows = [_tagged(row, measured.kernel) for row in rows_of(scene)]

    def below(scale: Scale, y: float) -> float:
        y = _closer(scene, rows, scale, y, predicted, measured)
        return lines_of(scene, [found.verdict(), *_sentences(found)], y + 4, width, bold=1)

    y, drawn = framed(scene, rows, _room, width, _heading(scene, measured, width), below)
    title = f"{predicted.title}: predicted and {measured.kernel}"
    return scene.sheet.finish(width, y, title, _alt(measured, found), drawn)


def _scene(predicted: Timeline, measured: Timeline, sheet: Sheet) -> Scene:
    return Scene(_joint(predicted, measured), sheet, sides=(SIDES[0], measured.kernel))


def _tagged(row: Lane, kernel: str) -> Lane:
    """A lane bears the tag of its side: in its name, or before it."""
    side = SIDES[0] if SIDES[0] in row.name else kernel
    name = row.name.replace(f", {side}", "").removeprefix(side).removeprefix(": ")
    return replace(row, tag=TAGS[side], label=name)


def _room(row: Lane) -> float:
    assert row.tag is not None
    return min(text_width(row.label or "", SMALL), 70.0) + text_width(row.tag.name, 7, True) + 24


def _heading(scene: Scene, measured: Timeline, width: int) -> float:
    sheet, tag = scene.sheet, TAGS[measured.kernel]
    x = draw_tag(sheet, MARGIN, 10, TAGS[SIDES[0]]) + 7
    x = draw_tag(sheet, x, 10, tag) + 9
    sheet.text(x, 24, scene.timeline.title, 13, bold=True)
    x += text_width(scene.timeline.title, 13, True) + 12
    facts = clipped(f"one clock · {measured.machine}", width - MARGIN - x, SMALL)
    if facts:
        sheet.text(x, 24, facts, SMALL, fill=MUTED)
    return 38.0


def _first(run: Timeline) -> tuple[int, int] | None:
    """When the first message that was received arrived, and when the program had it."""
    fate = arrival(run)
    return None if fate is None else (fate.arrived or 0, fate.received or 0)


def _closer(
    scene: Scene, rows: Sequence[Lane], main: Scale, y: float, predicted: Timeline,
    measured: Timeline,
) -> float:  # fmt: skip
    """The first message's way to the program, magnified; and who took longer.

    Each run is laid with its own arrival at 0: a sender that was late must not hide the rest.
    """
    before, after = _first(predicted), _first(measured)
    if before is None or after is None:
        return y
    zero, took = before[0], [received - arrived for arrived, received in (before, after)]
    if max(took) > SOON * scene.timeline.end:
        return y
    spare = max(2, max(took) // 4)
    scale = Scale(max(0, zero - spare), zero + max(took) + spare, main.left, main.right)
    what = "the first message, from its arrival to the program, in each run"
    aligned = _scene(predicted, moved(measured, zero - after[0]), scene.sheet)
    near = [replace(row, bar=max(row.bar, 16.0)) for row in _of_first(rows)]
    bottom = closer_look(scene, aligned, near, main, scale, zero, what, y, 28)
    return _delta(scene, scale, bottom + 2, measured.kernel, [zero + ns for ns in took])


def _of_first(rows: Sequence[Lane]) -> list[Lane]:
    """The processes, and of the data the first message's lanes."""
    data = [row for row in rows if row.label in ("data", "1")]
    return [row for row in rows if row.label == ""] + data


def _delta(scene: Scene, scale: Scale, y: float, kernel: str, received: Sequence[int]) -> float:
    """A bracket from where the prediction has the data to where the run had it."""
    predicted, measured = received
    a, b = sorted((scale.x(predicted), scale.x(measured)))
    words = f"{kernel} {duration(abs(measured - predicted))} "
    words += "later" if measured >= predicted else "earlier"
    scene.sheet.line(f"M{a:.1f} {y:.1f}v6H{max(b, a + 1):.1f}v-6", DELTA_INK, 1.6)
    wide = text_width(words, TINY)
    x = min(max((a + b - wide) / 2, scale.left), scale.right - wide)
    scene.sheet.text(x, y + 17, words, TINY, fill=DELTA_INK, halo=True)
    return y + 24


COPIED = "data copied"
#: Differences that are named under the picture, if a run has them.
NAMED = ("latency after arrival", "blocked in wait", COPIED, "CPU while waiting")


def _sentences(found: Comparison) -> Iterator[str]:
    for name in NAMED:
        quantity = found[name]
        if quantity.error is None or not (quantity.predicted or quantity.measured):
            continue
        before, after = round(quantity.predicted or 0), round(quantity.measured or 0)
        sign, off = "+" if after >= before else "−", duration(abs(after - before))
        bound = "≤ " if name == COPIED else ""  # a real kernel shows no more: see words.copying
        took = f"predicted {duration(before)}, {found.kernel} {bound}{duration(after)}"
        yield f"{name}: {took} ({sign}{off})"


def _alt(measured: Timeline, found: Comparison) -> str:
    where = f" Machine: {measured.machine}." if measured.machine else ""
    return (
        f"{found.title}, predicted and {measured.kernel}, on one clock. "
        f"{found.verdict()}. {'. '.join(_sentences(found))}.{where}"
    )
