"""What a picture of a timeline is drawn with: its time axis in px, its lanes, its sheet."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from ..trace import NETWORK, Interval, Timeline
from .canvas import Sheet, Tag

__all__ = ["MARGIN", "MERGE", "SMALL", "TINY", "Lane", "Mark", "Scale", "Scene", "rows_of"]

MARGIN = 12.0
MERGE = 600  # intervals on one lane, above which neighbours narrower than a px are drawn as one
SMALL, TINY = 11.0, 9.0  # font sizes


@dataclass(slots=True)
class Scale:
    """ns to px; `ratio` is the px of one ns."""

    start: int
    end: int
    left: float
    right: float
    ratio: float = field(init=False)

    def __post_init__(self) -> None:
        self.ratio = (self.right - self.left) / max(1, self.end - self.start)

    def x(self, at: int) -> float:
        """The px of the instant `at`, inside the scale's ends."""
        if at <= self.start:
            return self.left
        return self.right if at >= self.end else self.left + (at - self.start) * self.ratio


@dataclass(frozen=True, slots=True)
class Lane:
    """A row of the picture and the room it gets: bar height, label lines above, brackets below.

    `label` stands beside it in place of its name, behind a `tag` if it has one.  Where several runs
    are drawn, `run` says whose lane it is, `above` is the room over it, and `after` stands where
    its last interval ends.
    """

    name: str
    bar: float
    lines: int = 0
    brackets: bool = False
    label: str | None = None
    tag: Tag | None = None
    run: str = ""
    above: float = 0.0
    after: str = ""


#: A sample of a mark, as SVG, for the place that it gets in the legend.
Mark = Callable[[float, float], str]


@dataclass(slots=True)
class Scene:
    """A timeline, its intervals by lane, and the sheet that it is drawn on."""

    timeline: Timeline
    sheet: Sheet = field(default_factory=Sheet)
    over: Sheet = field(default_factory=Sheet)  # labels: drawn over the bars and the arrivals
    lanes: dict[str, list[Interval]] = field(default_factory=dict)
    states: set[str] = field(default_factory=set)
    hidden: list[str] = field(default_factory=list)
    joined: bool = False  # the bars of a lane and a state are one path
    marks: dict[str, Mark] = field(default_factory=dict)  # what the legend names besides states
    sides: tuple[str, ...] = ("",)  # the runs that arrivals are told apart by, as in lanes' names

    def __post_init__(self) -> None:
        for interval in self.timeline.intervals:
            self.lanes.setdefault(interval.lane, []).append(interval)


# (at most so many, bar height, lines of call labels, brackets), in this order.
PROCESS_ROOM = ((2, 26.0, 4, True), (4, 22.0, 2, True), (8, 18.0, 1, True), (24, 12.0, 0, False),
                (120, 5.0, 0, False))  # fmt: skip
MESSAGE_ROOM = ((6, 16.0), (16, 12.0), (160, 4.0))


def rows_of(scene: Scene, at_most: int | None = None) -> list[Lane]:
    """The lanes to draw: `at_most` so many of processes, and so many of data."""
    run, names = scene.timeline, scene.lanes
    own = [name for name in (*run.processes, *run.helpers) if name in names]
    data = [n for n, row in names.items() if n not in own and n != NETWORK and row]
    most, many = PROCESS_ROOM[-1][0], MESSAGE_ROOM[-1][0]
    if at_most is not None:
        most, many = min(most, at_most), min(many, at_most)
    _, bar, lines, brackets = next(r for r in PROCESS_ROOM if min(len(own), most) <= r[0])
    _, thin = next(room for room in MESSAGE_ROOM if min(len(data), many) <= room[0])
    scene.hidden = own[most:] + data[many:]
    rows = [Lane(name, bar, lines, brackets and name in run.processes) for name in own[:most]]
    rows += [Lane(name, thin) for name in data[:many]]
    return rows + ([Lane(NETWORK, 10.0)] if NETWORK in names else [])
