"""One question to select, poll or epoll: the sets, the kernel's way through them, what each costs.

Every cell and every bar has its step's `data-start` and `data-end` (ns), so that a page can light
up what happens at an instant; standing still it shows the whole of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from ..shown import in_columns
from ..trace import Timeline
from .canvas import (
    FILLS,
    HAIR,
    INBOUND,
    INK,
    LOOKS,
    MUTED,
    TAGS,
    Picture,
    clipped,
    draw_tag,
    esc,
    text_width,
)
from .formatting import count, duration
from .question import Asked, Step
from .scene import MARGIN, SMALL, TINY, Scale, Scene
from .svg import axis, legend

__all__ = ["asked"]

WIDE, LEFT = 700, 122.0
PER_LINE, CELL, HIGH = 32, 17.6, 16.0
BAR, ROW = 11.0, 17.0
BAR_LEFT, BAR_RIGHT = 172.0, 498.0

#: How a cell looks: its fill, its edge, the edge's dashes, and the colour of its text.
CELLS = {
    "set": ("#cfe6f7", "#1c5f92", "", INK),
    "clear": ("#ffffff", HAIR, "", MUTED),
    "ready": ("#0b4f8a", "#0b3355", "", "#ffffff"),
    "again": ("#ffffff", "#0b3355", "3 2", INK),
    "unseen": ("#f4f4f4", HAIR, "2 2", "#6a6a6a"),
}
DOT = "#b34700"

#: The names of the kinds of steps, where they are summed up.
NAMES = {
    "create": "epoll_create, once", "add": "epoll_ctl, once each", "prepare": "own code, before",
    "arrive": "arrivals, meanwhile", "enter": "into the kernel", "copy in": "copy in",
    "look": "look at each", "take": "take the ready", "copy back": "copy back",
    "return": "back to the program", "scan": "own code, after", "go on": "own code, after",
}  # fmt: skip


def asked(question: Asked) -> Picture:
    """`question` as a picture: sets and lists descriptor by descriptor, its steps to scale.

    The result shows itself as SVG in a notebook, and as a table of its steps where it is printed.
    """
    return Picture(_draw(question), _text(question))


def _draw(question: Asked) -> str:
    title = _title(question)
    scene = Scene(Timeline(title, "simulated", 1, (), (), (), ()))
    y = _heading(scene, question, title)
    for strip in _STRIPS[question.call](question):
        y = _strip(scene, strip, y, question)
    y = _key(scene, question, y + 2)
    y = _bars(scene, question, y + 6)
    y = legend(scene, WIDE, y + 4)
    drawn = [state for state in LOOKS if state in scene.states]
    return scene.sheet.finish(
        WIDE, y + 6, title, f"{title}, simulated. {_sums(question)}", drawn, TAGS["simulated"],
        f' data-call-name="{question.call}"',
    )  # fmt: skip


def _title(question: Asked) -> str:
    many = count(len(question.fds), "descriptor")
    return f"{question.call} over {many}, {len(question.ready)} ready"


def _heading(scene: Scene, question: Asked, title: str) -> float:
    x = draw_tag(scene.sheet, MARGIN, 10, TAGS["simulated"]) + 9
    scene.sheet.text(x, 24, title, 13, bold=True)
    facts = f"the question itself: {duration(question.call_ns)}"
    scene.sheet.text(x + 14 + text_width(title, 13, True), 24, facts, SMALL, fill=MUTED)
    return 40.0


# -- rows of cells --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Cell:
    """A descriptor in a row, its look, and when it is dealt with."""

    fd: int
    look: str
    start: int
    end: int
    words: str
    data: bool = False


@dataclass(frozen=True, slots=True)
class _Strip:
    """A row of cells: whose it is, what it is, and the step that handles it as a whole."""

    space: str
    name: str
    cells: Sequence[_Cell]
    note: str = ""
    whole: Step | None = None


def _steps(question: Asked, part: str) -> list[Step]:
    return [step for step in question.steps if step.part == part]


def _one(question: Asked, part: str) -> Step:
    return _steps(question, part)[0]


def _cells(steps: Iterable[Step], look: str, question: Asked, until: int | None = None,
           data: bool = False) -> list[_Cell]:  # fmt: skip
    """A cell for each step that is about a descriptor, lit while it lasts, or `until` later."""
    return [
        _Cell(step.fd, look, step.start, step.end if until is None else until, step.words,
              data and step.fd in question.ready)
        for step in steps if step.fd is not None
    ]  # fmt: skip


def _listed(question: Asked, step: Step, look: str = "set") -> list[_Cell]:
    return [_Cell(fd, look, step.start, step.end, step.words) for fd in question.fds]


def _scanned(question: Asked) -> Iterator[_Strip]:
    """What select and poll have in common: a set goes in, each is asked, a set comes back."""
    array = question.call == "poll"
    looks, scan = _steps(question, "look"), {s.fd: s for s in _steps(question, "scan")}
    names = ("array of pollfd", "the kernel's copy") if array else ("fd_set", "the kernel's copy")
    yield _Strip("program", names[0], _listed(question, _one(question, "prepare")))
    yield _Strip(
        "kernel", names[1], _cells(looks, "set", question, data=True),
        f"{question.bytes_in} B in", _one(question, "copy in"),
    )  # fmt: skip
    yield _Strip("kernel", "found", [
        _Cell(s.fd or 0, "ready" if s.found else "clear", s.end if s.found else s.start,
              question.end if s.found else s.end, s.words) for s in looks
    ])  # fmt: skip
    back, answer = _one(question, "copy back"), []
    for fd in question.fds:
        step, found = scan.get(fd), fd in question.ready
        look = "ready" if found else "clear" if step else "unseen"
        start, end = (step.start, step.end) if step else (back.start, back.start)
        words = step.words if step else f"the program has found all before descriptor {fd}"
        answer.append(_Cell(fd, look, start, end, words))
    yield _Strip("program", "revents" if array else "fd_set, after", answer,
                 f"{question.bytes_out} B back", back)  # fmt: skip


def _listed_by_kernel(question: Asked) -> Iterator[_Strip]:
    """epoll: a tree that is built once, a list on which arrivals put themselves."""
    taken = _steps(question, "take")
    added = _cells(_steps(question, "add"), "set", question, data=True)
    note = f"a red-black tree, {question.bytes_once} B in, once"
    yield _Strip("kernel", "interest list", added, note, _one(question, "create"))
    until = {step.fd: step.end for step in taken}
    waiting = [
        _Cell(s.fd or 0, "ready", s.start, until[s.fd], s.words)
        for s in _steps(question, "arrive")
    ]  # fmt: skip
    yield _Strip("kernel", "ready list", waiting, "nothing in", _one(question, "enter"))
    back = [
        _Cell(s.fd or 0, "again", s.end, question.end,
              f"descriptor {s.fd} is back on the list: level-triggered") for s in taken
    ]  # fmt: skip
    yield _Strip("kernel", "put back", back)
    yield _Strip("program", "events", _cells(_steps(question, "scan"), "ready", question),
                 f"{question.bytes_out} B back", _one(question, "return"))  # fmt: skip


_STRIPS = {"select": _scanned, "poll": _scanned, "epoll": _listed_by_kernel}
SPACES = {"program": "#12806a", "kernel": "#8a3a00"}


def _strip(scene: Scene, strip: _Strip, y: float, question: Asked) -> float:
    """One row of cells, with its name on the left; returns the px below it."""
    sheet = scene.sheet
    lines = max(1, -(-len(strip.cells) // PER_LINE))
    high = lines * (HIGH + 2)
    ink = SPACES[strip.space]
    sheet.box(MARGIN, y, 4, high + 12, ink)
    sheet.text(MARGIN + 9, y + 10, strip.space, TINY, fill=ink, bold=True)
    sheet.text(MARGIN + 9, y + 23, strip.name, SMALL)
    if strip.whole:
        facts = strip.whole
        sheet.add(
            f'<rect x="{LEFT - 3:.1f}" y="{y - 1:.1f}" width="{PER_LINE * CELL + 6:.1f}" '
            f'height="{high + 13:.1f}" fill="none" stroke="{HAIR}" data-part="{facts.part}" '
            f'data-start="{facts.start}" data-end="{facts.end}">'
            f"<title>{esc(facts.words)}</title></rect>"
        )
    if strip.note:
        sheet.text(LEFT + PER_LINE * CELL, y + 9, strip.note, TINY, "end", MUTED)
    if not strip.cells:
        sheet.text(LEFT, y + 23, "empty", SMALL, fill=MUTED)
    for place, cell in enumerate(strip.cells):
        line, column = divmod(place, PER_LINE)
        _cell(scene, cell, LEFT + column * CELL, y + 12 + line * (HIGH + 2), strip.name)
    return y + high + 19


def _cell(scene: Scene, cell: _Cell, x: float, y: float, row: str) -> None:
    fill, edge, dash, ink = CELLS[cell.look]
    more = f' stroke-dasharray="{dash}"' if dash else ""
    scene.sheet.add(
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{CELL - 2:.1f}" height="{HIGH - 2:g}" rx="2" '
        f'fill="{fill}" stroke="{edge}"{more} data-row="{esc(row)}" data-look="{cell.look}" '
        f'data-fd="{cell.fd}" data-start="{cell.start}" data-end="{cell.end}">'
        f"<title>{esc(cell.words)}</title></rect>"
    )
    middle = x + CELL / 2 - 1
    scene.sheet.text(middle, y + 10.2, str(cell.fd), TINY, "middle", ink, cell.look == "ready")
    if cell.data:
        scene.sheet.add(
            f'<circle cx="{x + CELL - 3:.1f}" cy="{y + 1:.1f}" r="3" fill="{DOT}" '
            f'stroke="#ffffff" pointer-events="none"/>'
        )


KEY = (
    ("set", "asked about"), ("ready", "found ready"), ("clear", "not ready"),
    ("unseen", "not looked at"), ("again", "back on the list"),
)  # fmt: skip


def _key(scene: Scene, question: Asked, y: float) -> float:
    """What the looks of the cells mean: of those that there are."""
    sheet, x = scene.sheet, LEFT
    looks = {cell.look for strip in _STRIPS[question.call](question) for cell in strip.cells}
    for look, words in KEY:
        if look in looks:
            fill, edge, dash, _ = CELLS[look]
            more = f' stroke-dasharray="{dash}"' if dash else ""
            sheet.box(x, y, 12, 10, fill, f' rx="2" stroke="{edge}"{more}')
            sheet.text(x + 17, y + 9, words, TINY)
            x += 31 + text_width(words, TINY)
    if question.ready:
        sheet.add(f'<circle cx="{x + 5:.1f}" cy="{y + 5:.1f}" r="3" fill="{DOT}"/>')
        sheet.text(x + 13, y + 9, "data in its queue", TINY)
    return y + 18


# -- the steps, to scale --------------------------------------------------------------------------


def _bars(scene: Scene, question: Asked, y: float) -> float:
    """The kinds of steps, one below the other, over one axis of time."""
    sheet = scene.sheet
    scale = Scale(0, max(1, question.end), BAR_LEFT, BAR_RIGHT)
    parts = question.parts()
    bottom = y + ROW * len(parts)
    sheet.add(
        f'<g data-x0="{BAR_LEFT:.2f}" data-x1="{BAR_RIGHT:.2f}" data-t0="0" '
        f'data-t1="{question.end}" data-top="{y:.1f}" data-bottom="{bottom:.1f}">'
    )
    for part, steps in parts.items():
        _bar_row(scene, part, steps, scale, y)
        y += ROW
    below = axis(scene, scale, bottom + 2)
    sheet.add("</g>")
    return below


def _bar_row(scene: Scene, part: str, steps: Sequence[Step], scale: Scale, y: float) -> None:
    many = f" ×{len(steps)}" if len(steps) > 1 else ""
    scene.sheet.text(BAR_LEFT - 8, y + 10, NAMES[part] + many, SMALL, "end")
    scene.sheet.line(f"M{BAR_LEFT:.1f} {y + 5.5:.1f}H{BAR_RIGHT:.1f}", HAIR, 0.6)
    for step in steps:
        x = min(scale.x(step.start), scale.right - 1)
        wide = max(1.0, scale.x(step.end) - x)
        look = INBOUND if part == "copy in" else step.state
        scene.states.add(look)
        about = "" if step.fd is None else f' data-fd="{step.fd}"'
        scene.sheet.add(
            f'<rect x="{x:.2f}" y="{y:.1f}" width="{wide:.2f}" height="{BAR:g}" '
            f'fill="{FILLS[look]}" data-part="{step.part}" data-state="{step.state}" '
            f'data-start="{step.start}" data-end="{step.end}"{about}>'
            f"<title>{esc(step.words)}: {duration(step.ns)}</title></rect>"
        )
    text = clipped(_cost(steps), WIDE - MARGIN - BAR_RIGHT - 8, SMALL)
    scene.sheet.text(BAR_RIGHT + 8, y + 10, text, SMALL, fill=MUTED)


def _cost(steps: Sequence[Step]) -> str:
    """ "1.8 µs, 150 ns each, 96 B"; an arrival is not the process's time."""
    nbytes = sum(step.nbytes for step in steps)
    copied = f", {nbytes:,} B" if nbytes else ""
    if steps[0].part == "arrive":
        return "not its time"
    total = duration(sum(step.ns for step in steps))
    return (f"{total}, {duration(steps[0].ns)} each" if len(steps) > 1 else total) + copied


# -- in words -------------------------------------------------------------------------------------


def _sums(question: Asked) -> str:
    before = (
        f"Before, once: {count(question.calls_before, 'call')}, {duration(question.once_ns)}, "
        f"{question.bytes_once:,} bytes in. " if question.calls_before else ""
    )  # fmt: skip
    return (
        f"{before}The question: {question.bytes_in:,} bytes in, "
        f"{count(question.looks, 'descriptor')} looked at, {question.bytes_out:,} bytes back, "
        f"{duration(question.call_ns)}. The program looks at {question.scanned} of the answer."
    )


def _text(question: Asked) -> str:
    rows = [("step", "times", "cost", "bytes", "what happens")]
    for part, steps in question.parts().items():
        nbytes = sum(step.nbytes for step in steps)
        cost = "-" if part == "arrive" else duration(sum(step.ns for step in steps))
        words = steps[0].words if len(steps) == 1 else f"{steps[0].words}; ..."
        rows.append((NAMES[part], str(len(steps)), cost, f"{nbytes:,}" if nbytes else "-", words))
    table = in_columns(rows, "lrrrl")
    return "\n".join([f"[SIMULATED] {_title(question)}", "", *table, "", _sums(question)])
