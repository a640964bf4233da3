"""A timeline on matplotlib's axes, for figures that a reader composes; figures with alt text."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..shown import bundle, image
from ..trace import Timeline
from .canvas import LOOKS, TAGS, look_of
from .formatting import describe, duration, unit_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Shown", "dots", "plot", "show"]

HIGH = 0.62  # of a lane, of which each is 1 high

#: Of the series of a chart, in their order: mark, line and colour, each of which tells them apart.
SERIES = (
    ("o", ":", "#0b5394"), ("s", "--", "#b45309"), ("^", "-", "#1b5e20"), ("D", "-.", "#6a1b9a"),
)  # fmt: skip

Series = Mapping[str, Mapping[float, float]]


def _boxes(timeline: Timeline, unit: int) -> dict[str, list[list[tuple[float, float]]]]:
    """For each state the corners of its intervals, in units of time and of lanes."""
    rows = {name: number for number, name in enumerate(timeline.lanes)}
    boxes: dict[str, list[list[tuple[float, float]]]] = {}
    for i in timeline.intervals:
        left, right = i.start / unit, i.end / unit
        low, high = rows[i.lane] - HIGH / 2, rows[i.lane] + HIGH / 2
        corners = [(left, low), (right, low), (right, high), (left, high)]
        boxes.setdefault(look_of(i), []).append(corners)
    return {state: boxes[state] for state in LOOKS if state in boxes}


def plot(timeline: Timeline, ax: Axes | None = None) -> Axes:
    """Draw the lanes of `timeline` on `ax` (new axes if None) and return it.

    One `PolyCollection` for each state, in the colours and hatches of the SVG.
    """
    from matplotlib.collections import PolyCollection

    ax = ax if ax is not None else _new_axes(len(timeline.lanes))
    unit, name = unit_of(max(1, timeline.end))
    for state, corners in _boxes(timeline, unit).items():
        look = LOOKS[state]
        ax.add_collection(
            PolyCollection(
                corners, facecolors=look.fill, edgecolors="#333333", hatch=look.hatch_mpl,
                linewidths=0.3, label=look.words,
            )
        )  # fmt: skip
    ax.set_xlim(0, max(1, timeline.end) / unit)
    ax.set_ylim(len(timeline.lanes) - 0.5, -0.5)
    ax.set_yticks(range(len(timeline.lanes)), timeline.lanes)
    tag = TAGS.get(timeline.kernel, TAGS["recorded"])
    ax.set_xlabel(f"{tag.clock} in {name}")
    ax.set_title(f"{timeline.title}: {tag.name}, {duration(timeline.end)}", color=tag.colour)
    inches = ax.get_window_extent().height / ax.figure.dpi
    ax.legend(
        loc="upper center", bbox_to_anchor=(0.5, -0.5 / max(inches, 0.5)), ncols=3, frameon=False,
        fontsize=8,
    )  # fmt: skip
    return ax


def _new_axes(lanes: int) -> Axes:
    from matplotlib import pyplot

    figure = pyplot.figure(figsize=(7, 1.7 + 0.35 * lanes), layout="constrained")
    return figure.add_subplot()


def dots(measured: Series, predicted: Series, alt: str, **axes: Any) -> Shown:
    """What was measured, as dots over the predicted lines.

    Both map the name of a series to its `{x: y}`, and either may lack one; `alt` says in words what
    is to be seen, and `axes` is what matplotlib's `Axes.set` takes (xlabel, yscale, ...).
    ValueError for more than four series, and without words.
    """
    from matplotlib import pyplot

    names = list(dict.fromkeys([*predicted, *measured]))
    if len(names) > len(SERIES):
        raise ValueError(f"dots: series must be {len(SERIES)} at most, got {len(names)}")
    figure, ax = pyplot.subplots(figsize=(7, 4), layout="constrained")
    for name, (mark, line, colour) in zip(names, SERIES, strict=False):
        for rows, look, words in ((measured, mark, "measured"), (predicted, line, "predicted")):
            if row := rows.get(name):
                xs, ys = list(row), list(row.values())
                ax.plot(xs, ys, look, color=colour, label=f"{name}: {words}")
    ax.set(**axes)
    ax.legend(frameon=False, fontsize=8)
    return show(figure, alt)


class Shown:
    """A finished matplotlib figure: a PNG and the words for those who do not see it."""

    def __init__(self, png: bytes, alt: str) -> None:
        self.png, self.alt = png, alt

    def __repr__(self) -> str:
        return self.alt

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return bundle(self.alt, self.html())

    def html(self) -> str:
        """An `<img>` with its alt text."""
        return image(self.png, "image/png", self.alt)


def show(figure: Figure | Axes, alt: str | Timeline, dpi: int = 100) -> Shown:
    """`figure` (or the one of these axes) as a notebook's output with its alt text, then closed.

    `alt` says what the figure shows, in words; a timeline describes itself.
    ValueError if there are no words.
    """
    from matplotlib import pyplot

    words = describe(alt) if isinstance(alt, Timeline) else alt.strip()
    if not words:
        raise ValueError("show: alt must say in words what the figure shows, got nothing")
    whole: Any = getattr(figure, "figure", None) or figure
    data = io.BytesIO()
    whole.savefig(data, format="png", dpi=dpi, bbox_inches="tight", metadata={"Software": None})
    pyplot.close(whole)
    return Shown(data.getvalue(), words)
