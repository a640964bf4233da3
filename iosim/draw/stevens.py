"""A run drawn as Stevens draws UNP Figures 6.1 to 6.5: application, kernel, arrows between them.

Time runs down, step by step and not to scale.  Every arrow, word and brace is derived from the
calls and intervals of the run; no figure knows its model.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from ..trace import (
    Timeline,
)
from .canvas import FILLS, HAIR, INK, MUTED, TAGS, Picture, Sheet, draw_tag, text_width
from .formatting import headline, moment
from .script import Brace, Script, Step, script_of

__all__ = ["stevens"]

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
    script = script_of(timeline, message)
    return Picture(_draw(script)[0], _text(script))
