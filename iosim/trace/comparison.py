"""A prediction held against a run: are the calls the same, and by how much do the times differ?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from itertools import zip_longest
from statistics import median

from ..shown import bundle, in_columns
from .records import COPY, KERNEL, QUEUED, READY, USER, WAIT, Row, errno_name
from .timeline import Timeline

__all__ = ["Comparison", "Difference", "Quantity", "compare"]


@dataclass(frozen=True, slots=True)
class Quantity:
    """One number of both runs, in `unit` ("ns" or a count).  None: that run does not show it."""

    name: str
    predicted: float | None
    measured: float | None
    unit: str = "ns"

    @property
    def error(self) -> float | None:
        """Measured less predicted; None where one of them is missing."""
        if self.predicted is None or self.measured is None:
            return None
        return self.measured - self.predicted


@dataclass(frozen=True, slots=True)
class Difference:
    """The first place, from 1, at which the calls differ; "-" where one run has no call left."""

    place: int
    predicted: str
    measured: str


@dataclass(frozen=True)
class Comparison:
    """What `compare` found.  It prints itself as a table; `kernel` is that of the second run."""

    title: str
    quantities: tuple[Quantity, ...]
    difference: Difference | None
    calls: int
    figure_6_6: tuple[Row, Row]
    kernel: str = "measured"

    @property
    def same_calls(self) -> bool:
        """Did the run make exactly the predicted calls, in order, with their errno?"""
        return self.difference is None

    @property
    def same_row(self) -> bool:
        """Are the two the same row of Figure 6.6, in every phase that the run shows?"""
        predicted, measured = self.figure_6_6
        return measured.agrees(predicted)

    def __getitem__(self, name: str) -> Quantity:
        """The quantity of that name.  KeyError if there is none."""
        for quantity in self.quantities:
            if quantity.name == name:
                return quantity
        raise KeyError(name)

    def verdict(self) -> str:
        """The calls and the rows of Figure 6.6, in one line."""
        row = "Figure 6.6: the same row" if self.same_row else "Figure 6.6: another row"
        if self.difference is None:
            return f"calls: identical, all {self.calls}; {row}"
        d = self.difference
        return (
            f"calls: differ at number {d.place}: predicted {d.predicted}, "
            f"{self.kernel} {d.measured}; {row}"
        )

    def rows(self) -> list[tuple[str, str, str, str]]:
        """`(quantity, predicted, measured, measured less predicted)` as text."""
        return [
            (q.name, _text(q.predicted, q.unit), _text(q.measured, q.unit),
             _text(q.error, q.unit, "+"))
            for q in self.quantities
        ]  # fmt: skip

    def __str__(self) -> str:
        lines = in_columns([self._heads(), *self.rows()], "lrrr")
        return "\n".join([f"{self.title}: {self.verdict()}", *lines])

    __repr__ = __str__

    def _heads(self) -> tuple[str, str, str, str]:
        return "", "predicted", self.kernel, "difference"

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        return bundle(str(self), self._html())

    def _html(self) -> str:
        head = "".join(f'<th scope="col">{name}</th>' for name in self._heads())
        body = "".join(
            f'<tr><th scope="row">{escape(row[0])}</th>'
            + "".join(f"<td>{escape(cell)}</td>" for cell in row[1:])
            + "</tr>"
            for row in self.rows()
        )
        caption = escape(f"{self.title}: {self.verdict()}")
        return f"<table><caption>{caption}</caption><tr>{head}</tr>{body}</table>"


def _text(value: float | None, unit: str, sign: str = "") -> str:
    if value is None:
        return "-"
    return f"{value / 1e3:{sign},.1f} µs" if unit == "ns" else f"{value:{sign},g}"


def compare(predicted: Timeline, measured: Timeline) -> Comparison:
    """Hold the run `measured` against its prediction.

    Latencies are medians over the messages that both runs received, from the arrival to the data in
    the program's hands; times are sums over the program's processes, in ns.  A measured copy is an
    upper bound: it holds the way out of its call.
    TypeError for what is not a timeline; ValueError if the two are not of one program.
    """
    for run in (predicted, measured):
        if not isinstance(run, Timeline):
            raise TypeError(f"compare takes two timelines, got {run!r}")
    if predicted.title != measured.title:
        raise ValueError(
            f"compare takes two runs of one program, got {predicted.title} and {measured.title}"
        )
    quantities = (
        Quantity(name, read(predicted), read(measured), unit)
        for name, (read, unit) in READINGS.items()
    )
    difference = _first_difference(predicted, measured)
    rows = predicted.figure_6_6(), measured.figure_6_6()
    return Comparison(
        predicted.title, tuple(quantities), difference, len(measured.calls()), rows, measured.kernel
    )


def _first_difference(predicted: Timeline, measured: Timeline) -> Difference | None:
    pairs = zip_longest(predicted.calls(), measured.calls())
    for place, (before, after) in enumerate(pairs, start=1):
        if before != after:
            return Difference(place, _call_text(before), _call_text(after))
    return None


def _call_text(call: tuple[str, int | None] | None) -> str:
    if call is None:
        return "-"
    name, errno = call
    return f"{name} {errno_name(errno)}".rstrip()


def _latency(run: Timeline) -> float | None:
    took = [
        fate.received - fate.arrived
        for fate in run.deliveries
        if fate.received is not None and fate.arrived is not None
    ]
    return median(took) if took else None


def _of_data(phase: str) -> Callable[[Timeline], float]:
    return lambda run: sum(i.duration for i in run.intervals if i.state == phase)


def _switches(which: int) -> Callable[[Timeline], float]:
    return lambda run: run.switches()[which]


#: What is compared: how to read it off a run, and its unit.
READINGS: dict[str, tuple[Callable[[Timeline], float | None], str]] = {
    "latency after arrival": (_latency, "ns"),
    "blocked in wait": (lambda run: run.blocked(WAIT), "ns"),
    "blocked in copy": (lambda run: run.blocked(COPY), "ns"),
    "data queued": (_of_data(QUEUED), "ns"),
    "data copied": (_of_data(COPY), "ns"),
    "own code": (lambda run: run.time_in(USER), "ns"),
    "in the kernel": (lambda run: run.time_in(KERNEL), "ns"),
    "ready": (lambda run: run.time_in(READY), "ns"),
    "CPU": (lambda run: run.cpu_ns(), "ns"),
    "CPU while waiting": (lambda run: run.cpu_while(WAIT), "ns"),
    "calls": (lambda run: len(run.calls()), ""),
    "voluntary switches": (_switches(0), ""),
    "involuntary switches": (_switches(1), ""),
}
