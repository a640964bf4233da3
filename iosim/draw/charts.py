"""A timeline on matplotlib's axes, for figures that a reader composes; figures with alt text."""

from __future__ import annotations

import io
from base64 import b64encode
from html import escape
from typing import TYPE_CHECKING, Any

from ..timeline import Timeline
from .marks import LOOKS, TAGS
from .words import describe, duration, unit_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Shown", "plot", "show"]

HIGH = 0.62  # of a lane, of which each is 1 high


def _boxes(timeline: Timeline, unit: int) -> dict[str, list[list[tuple[float, float]]]]:
    """For each state the corners of its intervals, in units of time and of lanes."""
    rows = {name: number for number, name in enumerate(timeline.lanes)}
    boxes: dict[str, list[list[tuple[float, float]]]] = {}
    for i in timeline.intervals:
        left, right = i.start / unit, i.end / unit
        low, high = rows[i.lane] - HIGH / 2, rows[i.lane] + HIGH / 2
        corners = [(left, low), (right, low), (right, high), (left, high)]
        boxes.setdefault(i.state, []).append(corners)
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


class Shown:
    """A finished matplotlib figure: a PNG and the words for those who do not see it."""

    def __init__(self, png: bytes, alt: str) -> None:
        self.png, self.alt = png, alt

    def __repr__(self) -> str:
        return self.alt

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, str], dict[str, dict[str, str]]]:
        data = {"text/plain": self.alt, "image/png": b64encode(self.png).decode()}
        return data, {"image/png": {"alt": self.alt}}

    def html(self) -> str:
        """An `<img>` with its alt text."""
        source = b64encode(self.png).decode()
        return f'<img alt="{escape(self.alt)}" src="data:image/png;base64,{source}">'


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
