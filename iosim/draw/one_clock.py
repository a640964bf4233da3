"""The frame of a picture of several runs on one clock, its closer look, and the lines under it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .canvas import INK, LOOKS, clipped
from .scene import MARGIN, SMALL, Lane, Scale, Scene
from .svg import axis, legend, lens, lens_words, panel

__all__ = ["closer_look", "framed", "lines_of"]

LINE = 15  # px of a line of words


def framed(
    scene: Scene, rows: Sequence[Lane], room: Callable[[Lane], float], width: int, top: float,
    below: Callable[[Scale, float], float],
) -> tuple[float, list[str]]:  # fmt: skip
    """Rows and their axis from `top` on, what is `below` them, and the legend.

    room  px beside a row for its label
    Returns where the picture ends, and the states that are drawn.
    """
    left = MARGIN + max(map(room, rows), default=0.0) + 8
    scale = Scale(0, max(1, scene.timeline.end), left, width - MARGIN - 2)
    y = panel(scene, rows, scale, top, lambda at: axis(scene, scale, at))
    y = legend(scene, width, below(scale, y) + 6)
    return y + 8, [state for state in LOOKS if state in scene.states]


def closer_look(
    scene: Scene, aligned: Scene, rows: Sequence[Lane], main: Scale, scale: Scale, zero: int,
    what: str, y: float, gap: float,
) -> float:  # fmt: skip
    """`what`, magnified to `scale`: the runs as they are in `aligned`, each with its arrival at
    `zero`.  Returns where it ends; the legend of `scene` has its states and marks as well.
    """
    lens(scene, main, scale, lens_words(scale, main, what), y)
    bottom = panel(
        aligned, rows, scale, y + gap,
        lambda at: axis(aligned, scale, at, zero, " from the arrival"),
    )  # fmt: skip
    scene.states |= aligned.states
    scene.marks |= aligned.marks
    return bottom


def lines_of(scene: Scene, lines: Sequence[str], y: float, width: int, bold: int = 0) -> float:
    """Lines of words, the first `bold` ones in bold; where they end."""
    for number, words in enumerate(lines):
        text = clipped(words, width - 2 * MARGIN, SMALL, number < bold)
        scene.sheet.text(MARGIN, y + 10, text, SMALL, fill=INK, bold=number < bold)
        y += LINE
    return y
