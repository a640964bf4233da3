"""What an explorer shows for one state: a pure value, made without any widget."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

from ..draw.svg import svg
from ..trace import Timeline
from .playback import Moment, Track, kernel_text, moments, program_text, tracks

__all__ = ["Figure", "Number", "Table", "View", "of_timeline"]


@dataclass(frozen=True, slots=True)
class Number:
    """One quantity of a run: its name, its value with its unit, and what it means."""

    name: str
    value: str
    meaning: str = ""

    def plain(self) -> list[str]:
        """As JSON."""
        return [self.name, self.value, self.meaning]


@dataclass(frozen=True, slots=True)
class Figure:
    """A further picture, which opens on demand: its title and its SVG."""

    title: str
    svg: str

    def plain(self) -> list[str]:
        """As JSON."""
        return [self.title, self.svg]


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under heads, all of them text."""

    caption: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def plain(self) -> dict[str, object]:
        """As JSON."""
        return {"caption": self.caption, "heads": list(self.heads),
                "rows": [list(row) for row in self.rows]}  # fmt: skip


@dataclass(frozen=True)
class View:
    """What an explorer shows.

    svg       the picture over which the playhead moves
    text      its text form; "" where that is the run's own
    moments   the instants between which it steps, in time
    tracks    what is so from when on, lane by lane
    program   the lines of the program, `(number, text)`
    numbers   what the run comes to
    tables    more of it, as tables
    figures   pictures that open on demand
    hints     a sentence each on what there is to see
    kernel    the functions of the simulated kernel that it went through, `(place, number, text)`
    run       what was run, for guesses and tests; it does not travel
    drawn     draws the picture again with its tooltips, where nothing moves over it; None: `svg`
    """

    svg: str
    text: str
    moments: Sequence[Moment] = ()
    tracks: Sequence[Track] = ()
    program: Sequence[tuple[int, str]] = ()
    numbers: Sequence[Number] = ()
    tables: Sequence[Table] = ()
    figures: Sequence[Figure] = ()
    hints: Sequence[str] = ()
    kernel: Sequence[tuple[str, int, str]] = ()
    run: Any = field(default=None, repr=False, compare=False)
    drawn: Callable[[], str] | None = field(default=None, repr=False, compare=False)

    def still(self) -> str:
        """The picture for where nothing moves over it."""
        return self.svg if self.drawn is None else self.drawn()

    def printed(self) -> str:
        """Its text form.  That of a run is made when it is asked for: a moved slider needs none."""
        return self.text or ("" if self.run is None else str(self.run))

    def plain(self) -> dict[str, object]:
        """As JSON, for the front end."""
        return {
            "svg": self.svg,
            "moments": [moment.plain() for moment in self.moments],
            "tracks": [track.plain() for track in self.tracks],
            "program": [list(line) for line in self.program],
            "kernel": [list(line) for line in self.kernel],
            "numbers": [number.plain() for number in self.numbers],
            "tables": [table.plain() for table in self.tables],
            "figures": [figure.plain() for figure in self.figures],
            "hints": list(self.hints),
        }

    @cached_property
    def packed(self) -> str:
        """The same as JSON text, made once."""
        return json.dumps(self.plain())


def of_timeline(
    run: Timeline, program: Callable[..., object], lanes: int | None = None, **more: Any
) -> View:  # fmt: skip
    """The view of one run of `program`: its picture, moments, tracks, text, and what is `more`.

    `lanes`: as `draw.svg` takes it.
    """
    lines = {call.line for call in run.call_log}
    return View(
        svg(run, lanes=lanes, joined=True), "", moments(run), tracks(run),
        program_text(program, lines), kernel=kernel_text(run.kernel_lines), run=run,
        drawn=partial(svg, run, lanes=lanes), **more,
    )  # fmt: skip
