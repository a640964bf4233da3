"""Runs side by side, as UNP Figure 6.6 has the five models: what each does while the data comes.

The two phases stand in line over all columns; inside a phase the time is to scale.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from ..calls.request import PASSES, PREPARES, role_of
from ..shown import in_columns
from ..trace import COPY, WAIT, Call, Delivery, Interval, Row, Timeline, errno_name  # fmt: skip
from .canvas import (
    FILLS,
    HAIR,
    INK,
    LOOKS,
    MUTED,
    TAGS,
    Free,
    Picture,
    Sheet,
    clipped,
    draw_tag,
    look_of,
    swatch,
    text_width,
)
from .formatting import blocked_of, duration, row_words, signal_name

__all__ = ["compare"]

WIDE, LEFT, TOP = 700, 108.0, 72.0
HEIGHTS = (250.0, 34.0, 120.0, 26.0)  # px of: wait, queued, copy, after
BAR, SIZE = 16.0, 9.0
ASIDE = (PREPARES, PASSES)  # the roles of calls that have to do with neither phase


@dataclass(slots=True)
class Column:
    """One run: the instants at which its phases meet, its process's lane, and its row."""

    timeline: Timeline
    fate: Delivery | None
    row: Row
    knots: tuple[int, ...]
    heights: tuple[float, ...]
    x: float
    width: float
    bars: list[Interval] = field(default_factory=list)

    def y(self, at: int) -> float:
        """The px of an instant: to scale inside its phase."""
        part = min(max(bisect_right(self.knots, at) - 1, 0), len(self.knots) - 2)
        start, end = self.knots[part], self.knots[part + 1]
        low, high = self.heights[part], self.heights[part + 1]
        inside = min(max(at - start, 0), end - start)
        return low + (high - low) * inside / (end - start) if end > start else low


def _first(timeline: Timeline) -> Delivery | None:
    return next((d for d in timeline.deliveries if d.received is not None), None)


def _knots(timeline: Timeline, fate: Delivery | None) -> tuple[int, ...]:
    """Start, data ready, copy begins, copy complete, the end of the column."""
    if fate is None or fate.arrived is None or fate.received is None:
        return (0, timeline.end, timeline.end, timeline.end, timeline.end)
    copies = [i for i in timeline.intervals if i.state == COPY and i.message == fate.message]
    begun = copies[0].start if copies else fate.arrived
    done = copies[-1].end if copies else fate.received
    after = max(fate.received, done)
    return (0, fate.arrived, begun, done, min(timeline.end, after + max(1, (done - begun) // 3)))


def _column(timeline: Timeline, x: float, width: float) -> Column:
    fate = _first(timeline)
    heights = [TOP]
    for height in HEIGHTS:
        heights.append(heights[-1] + height)
    column = Column(
        timeline, fate, timeline.figure_6_6(), _knots(timeline, fate), tuple(heights), x, width
    )
    process = (fate.process if fate else None) or (timeline.processes or ("",))[0]
    last = column.knots[-1]
    column.bars = [i for i in timeline.intervals if i.lane == process and i.start < last]
    return column


# -- what stands beside a bar ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Note:
    """Words at an instant; `first` is its right to a place (0: before all others)."""

    at: int
    words: str
    first: int


def _notes(column: Column) -> Iterator[Note]:
    run, fate = column.timeline, column.fate
    process = fate.process if fate else None
    last = column.knots[3]
    copying = {
        i.call.id for i in run.intervals
        if i.state == COPY and i.call and fate and i.message == fate.message
    }  # fmt: skip
    for call in run.call_log:
        mine = call.process == process and call.trap and role_of(call.name) not in ASIDE
        if mine and call.start <= last:
            yield from _call_notes(call, copying)
    for i in column.bars:
        if i.note.startswith("signal ") and i.call is None:
            yield Note(i.start, f"notified: {signal_name(i.note)}", 0)
    yield from _ends(column)


def _call_notes(call: Call, copying: set[int]) -> Iterator[Note]:
    if call.errno is not None:
        yield Note(call.start, f"check: {errno_name(call.errno)}", 2)
    elif call.waits or call.id in copying or call.arms:
        yield Note(call.start, f"initiate: {call.name}", 1)


def _ends(column: Column) -> Iterator[Note]:
    fate = column.fate
    if fate is None or fate.received is None:
        return
    if fate.told == "completion":
        yield Note(fate.received, "notified: complete", 0)
    elif column.row.copy == "blocked":
        yield Note(fate.received, "complete", 0)


def _blocked(column: Column) -> Iterator[tuple[float, float, str]]:
    """The stretches in which the process is blocked, and in which phase."""
    last = column.knots[-1]
    process = column.bars[0].lane if column.bars else ""
    for phase in (WAIT, COPY):
        for start, end in blocked_of(column.timeline, process, phase):
            if start < last:
                yield column.y(start), column.y(end), phase


# -- drawing --------------------------------------------------------------------------------------


def _draw_column(sheet: Sheet, column: Column, states: set[str]) -> None:
    wide = [i for i in column.bars if column.y(i.end) - column.y(i.start) >= 1]
    narrow = [i for i in column.bars if column.y(i.end) - column.y(i.start) < 1]
    for i in (*wide, *narrow):
        low, high = column.y(i.start), column.y(i.end)
        states.add(look_of(i))
        sheet.add(
            f'<rect x="{column.x:.1f}" y="{low:.2f}" width="{BAR:g}" '
            f'height="{max(1.0, high - low):.2f}" fill="{FILLS[look_of(i)]}" '
            f'data-state="{look_of(i)}"/>'
        )
    _draw_blocked(sheet, column)
    _draw_notes(sheet, column)


def _draw_blocked(sheet: Sheet, column: Column) -> None:
    for low, high, phase in _blocked(column):
        x, thick = column.x + BAR + 3, 1.4 if phase == WAIT else 2.4
        sheet.line(f"M{x:.1f} {low:.1f}h4V{max(high, low + 1.5):.1f}h-4", INK, thick)


def _draw_notes(sheet: Sheet, column: Column) -> None:
    free = Free(column.heights[0] - 12, column.heights[-1] + 14)
    x, room = column.x + BAR + 11, column.width - BAR - 15
    notes = list(_notes(column))
    for low, high, _ in _blocked(column):
        middle = int((low + high) / 2)
        if high - low >= 14 and free.offer(middle - 5, middle + 5):
            sheet.text(x, middle + 3.3, clipped("blocked", room, SIZE), SIZE, halo=True)
    for note in sorted(notes, key=lambda note: (note.first, note.at)):
        y = column.y(note.at)
        for place in (y, y + 7, y - 7, y + 12):
            if free.offer(place - 5, place + 5):
                fits = text_width(note.words, SIZE) <= room
                words = note.words if fits else note.words.partition(":")[0]
                sheet.text(x, place + 3.3, clipped(words, room, SIZE), SIZE, halo=True)
                break
    if column.row.wait == "free":
        centre = (column.heights[0] + column.heights[1]) / 2
        if free.offer(centre - 6, centre + 6):
            sheet.text(x, centre + 3.3, "free", SIZE, fill=MUTED)


def _draw_phases(sheet: Sheet, column: Column) -> None:
    """On the left: which phase a height belongs to."""
    start, ready, begun, done, _ = column.heights
    for low, high, words, state in (
        (start, ready, ("wait for", "data"), WAIT),
        (begun, done, ("copy data", "from kernel", "to user"), COPY),
    ):
        sheet.box(
            LEFT - 18, low, 8, high - low, FILLS[state], ' stroke="#555555" stroke-width="0.6"'
        )
        base = (low + high) / 2 - 6.5 * (len(words) - 1) + 4
        for number, word in enumerate(words):
            sheet.text(LEFT - 24, base + 13 * number, word, 10.5, "end", bold=True)
    for y in (start, ready, begun, done):
        sheet.line(f"M{LEFT - 18:g} {y:.1f}H{WIDE - 12}", HAIR, 1, ' stroke-dasharray="3 3"')


def _draw_foot(sheet: Sheet, column: Column, y: float) -> None:
    row, fate, took = column.row, column.fate, "–"
    if fate and fate.received is not None and fate.arrived is not None:
        took = duration(fate.received - fate.arrived)
    lines = (f"wait: {row.wait or '–'}", f"copy: {row.copy or '–'}", _kind(row), took)
    for number, words in enumerate(lines):
        text = clipped(words, column.width - 6, 9.5, number == 2)
        sheet.text(column.x, y + 14 * number, text, 9.5, bold=number == 2)


KINDS = {("free", "free"): "asynchronous", ("blocked", "free"): "asynchronous, awaited"}


def _kind(row: Row) -> str:
    """POSIX's words, as UNP 6.2 quotes them: is the process blocked until the I/O is complete?"""
    return "–" if row.copy is None else KINDS.get((row.wait or "", row.copy), "synchronous")


def _draw_head(sheet: Sheet, column: Column) -> None:
    tag = TAGS.get(column.timeline.kernel, TAGS["recorded"])
    title = clipped(column.timeline.title.replace("_", " "), column.width - 6, 11, True)
    sheet.text(column.x, 46, title, 11, bold=True)
    draw_tag(sheet, column.x, 51, tag, 6.5)


def _legend(sheet: Sheet, states: set[str], y: float) -> float:
    x = 12.0
    for state in (state for state in LOOKS if state in states - {WAIT, COPY}):
        wide = 35 + text_width(LOOKS[state].words, 10)
        if x > 12 and x + wide > WIDE - 12:
            x, y = 12.0, y + 16
        sheet.add(swatch(state, x, y))
        sheet.text(x + 21, y + 9, LOOKS[state].words, 10)
        x += wide
    return y + 18


def _draw(columns: Sequence[Column]) -> str:
    sheet, states = Sheet(), {WAIT, COPY}
    sheet.text(12, 22, "What the process does while one message comes", 13, bold=True)
    _draw_phases(sheet, columns[0])
    for column in columns:
        _draw_head(sheet, column)
        _draw_column(sheet, column, states)
    foot = columns[0].heights[-1] + 20
    sheet.text(LEFT - 24, foot, "Figure 6.6", 10.5, "end", bold=True)
    sheet.text(LEFT - 24, foot + 42, "to program", 9.5, "end")
    sheet.text(LEFT - 24, foot + 30, "from arrival", 9.5, "end")
    for column in columns:
        _draw_foot(sheet, column, foot)
    note = "Each phase is to scale in itself; the first message of each run."
    sheet.text(12, foot + 62, note, 9.5, fill=MUTED)
    bottom = _legend(sheet, states, foot + 72)
    drawn = [state for state in LOOKS if state in states]
    return sheet.finish(WIDE, bottom + 6, "UNP Figure 6.6, from runs", _alt(columns), drawn)


# -- in words -------------------------------------------------------------------------------------


def _alt(columns: Sequence[Column]) -> str:
    rows = (f"{c.timeline.title} ({c.timeline.kernel}): {row_words(c.row)}" for c in columns)
    return f"{len(columns)} runs side by side, as in UNP Figure 6.6. {'; '.join(rows)}."


HEADS = ("run", "kernel", "wait", "copy", "copy set off by", "told by", "")


def _table(columns: Sequence[Column]) -> str:
    rows = [HEADS] + [
        (c.timeline.title, c.timeline.kernel, c.row.wait or "-", c.row.copy or "-",
         c.row.starts or "-", c.row.told or "-", _kind(c.row).replace("–", "-"))
        for c in columns
    ]  # fmt: skip
    return "\n".join(in_columns(rows, "l" * len(HEADS)))


def compare(timelines: Sequence[Timeline]) -> Picture:
    """Two to six runs side by side, as UNP Figure 6.6; the first message of each.

    The result shows itself as SVG in a notebook, and as a table where it is printed.
    ValueError for fewer or more runs.
    """
    runs = list(timelines)
    if not 2 <= len(runs) <= 6:
        raise ValueError(f"compare takes 2 to 6 timelines, got {len(runs)}")
    each = (WIDE - LEFT - 8) / len(runs)
    columns = [_column(run, LEFT + each * n, each) for n, run in enumerate(runs)]
    return Picture(_draw(columns), _table(columns))
