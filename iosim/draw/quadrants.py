"""Calls in their corners: does it return before the result, and does its thread sleep?

Nothing is labelled by hand: each run tells where its calls stand (`Timeline.corner`).
"""

from __future__ import annotations

from collections.abc import Sequence

from ..trace import FOUR_CORNERS, Corner, Timeline
from .canvas import HAIR, INK, LOOKS, MUTED, TAGS, Picture, Sheet, Tag, clipped, draw_tag, swatch

__all__ = ["corners"]

WIDE, LEFT, TOP = 700, 118.0, 78.0
LINE, SIZE = 17.0, 11.0
CALLS = {
    "synchronous": ("synchronous", "returns with", "the result"),
    "asynchronous": ("asynchronous", "returns before", "the result"),
}
THREADS = {
    "blocking": ("blocking: the thread sleeps in it", "sleeping"),
    "nonblocking": ("nonblocking: it does not", "user"),
}

MARK = "> "  # before a label that stands out, where text is all there is

Asked = tuple[Timeline, Sequence[str]]
Entries = dict[Corner, list[tuple[str, bool]]]  # labels; does it stand out?


def _entries(runs: Sequence[Timeline], marked: Sequence[Asked]) -> Entries:
    found: Entries = {Corner(call, thread): [] for call in CALLS for thread in THREADS}
    for run in runs:
        if run.title not in FOUR_CORNERS:
            raise ValueError(
                f"nothing is known of the calls of {run.title!r}: known are "
                f"{', '.join(FOUR_CORNERS)}"
            )
        names, _ = FOUR_CORNERS[run.title]
        found[run.corner(*names)].append((_label(run, names), False))
    for run, asked in marked:
        found[run.corner(*asked)].append((_label(run, asked), True))
    return found


def _label(run: Timeline, names: Sequence[str]) -> str:
    label = ", ".join(names)
    return label if label == run.title else f"{label} ({run.title})"


def _plain(labels: Sequence[tuple[str, bool]]) -> list[str]:
    return [f"{MARK}{label}" if marked else label for label, marked in labels]


def _draw(found: Entries, tags: Sequence[Tag]) -> str:
    sheet, half = Sheet(), (WIDE - LEFT - 12) / 2
    x = 12.0
    for tag in tags:
        x = draw_tag(sheet, x, 10, tag) + 8
    sheet.text(x + 2, 24, "where each call stands, as its run tells", 13, bold=True)
    for column, (words, state) in enumerate(THREADS.values()):
        left = LEFT + half * column
        sheet.add(swatch(state, left + 8, TOP - 26))
        sheet.text(left + 30, TOP - 17, words, SIZE, bold=True)
    indent = 20 if any(marked for labels in found.values() for _, marked in labels) else 10
    y = TOP
    for call, (name, first, second) in CALLS.items():
        rows = [found[Corner(call, thread)] for thread in THREADS]
        high = max(3, *map(len, rows)) * LINE + 14
        sheet.text(12, y + 20, name, SIZE, bold=True)
        sheet.text(12, y + 36, first, 10, fill=MUTED)
        sheet.text(12, y + 50, second, 10, fill=MUTED)
        for column, labels in enumerate(rows):
            left = LEFT + half * column
            sheet.box(left, y, half, high, "none", f' stroke="{HAIR}"')
            for place, (label, marked) in enumerate(labels or [("nothing here", False)]):
                ink, base = INK if labels else MUTED, y + 20 + LINE * place
                text = clipped(label, half - indent - 10, SIZE, marked)
                sheet.text(left + indent, base, text, SIZE, bold=marked, fill=ink)
                if marked:
                    sheet.add(f'<path d="M{left + 8:.1f} {base - 8:.1f}l8 4l-8 4z" fill="{INK}"/>')
        y += high
    used = [state for state in LOOKS if state in {state for _, state in THREADS.values()}]
    return sheet.finish(
        WIDE, y + 14, "Four corners: calls by two questions", _words(found, tags), used
    )


def _words(found: Entries, tags: Sequence[Tag]) -> str:
    kinds = " and ".join(tag.name.lower() for tag in tags)
    parts = (
        f"{corner.call} and {corner.thread}: {', '.join(_plain(labels)) or 'nothing'}"
        for corner, labels in found.items()
    )
    return f"By {kinds} runs: {'; '.join(parts)}."


def _table(found: Entries) -> str:
    lines = [f"{'':<13} {'blocking':<32} nonblocking"]
    for call in CALLS:
        columns = [_plain(found[Corner(call, thread)]) for thread in THREADS]
        for place in range(max(1, *map(len, columns))):
            cells = [labels[place] if place < len(labels) else "" for labels in columns]
            lines.append(f"{call if not place else '':<13} {cells[0]:<32} {cells[1]}".rstrip())
    return "\n".join(lines)


def corners(runs: Sequence[Timeline], marked: Sequence[Asked] = ()) -> Picture:
    """The calls of `runs` in the four corners of (a)synchronous and (non)blocking.

    Which calls of a run are asked about is in `FOUR_CORNERS`; where they stand, the run tells.
    `marked` are further runs, each with the names of the calls to ask about as for
    `Timeline.corner`; these entries stand out.
    The result shows itself as SVG in a notebook, and as a table where it is printed.
    ValueError for no run, and for one of a program that the table does not know.
    """
    given = [*runs, *(run for run, _ in marked)]
    if not given:
        raise ValueError("corners takes one timeline or more, got none")
    kinds = dict.fromkeys(TAGS.get(run.kernel, TAGS["recorded"]).name for run in given)
    found = _entries(runs, marked)
    return Picture(_draw(found, [t for t in TAGS.values() if t.name in kinds]), _table(found))
