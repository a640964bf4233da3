"""What a calibration finds: steps, each with its median and its spread."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import combinations

from ..costs.model import Costs

__all__ = ["Calibration", "Step"]


@dataclass(frozen=True, slots=True)
class Step:
    """One step: the median of `count` samples and their interquartile range, in `unit`."""

    name: str
    median: float
    spread: float
    count: int
    unit: str = "ns"


@dataclass(slots=True)
class Calibration:
    """What was measured, step by step; `missing` says what was not, and why not.

    `costs` are the prices that follow; where a step is missing, that of `Costs.typical()` stands.
    A step that was measured over TCP has " (TCP)" behind its name, one of a server " (server)".
    """

    costs: Costs
    steps: dict[str, Step] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    def __getitem__(self, name: str) -> float:
        """The median of a step that was measured.  LookupError for others."""
        if name not in self.steps:
            raise LookupError(f"it needs {name}, which was not measured")
        return self.steps[name].median

    def note(self, name: str, samples: Iterable[float], unit: str = "ns") -> None:
        """Take down a step.  LookupError if nothing was left of its samples."""
        values = sorted(samples)
        if not values:
            raise LookupError(f"{name}: every sample was noise")
        low, middle, high = _quartiles(values)
        self.steps[name] = Step(name, middle, high - low, len(values), unit)

    def note_line(self, name: str, points: Sequence[tuple[float, float]], over: str) -> None:
        """Take down a line through `(bytes, ns)`: its height at 0 bytes, and ns for each byte."""
        slopes, bases = _line(points)
        flat = name if name == "network" else f"{name}_base"
        self.note(flat + over, bases)
        self.note(f"{name}_per_byte{over}", slopes, "ns/B")

    def __str__(self) -> str:
        lines = [f"measured on {self.costs.machine}"]
        lines += [
            f"{step.name:<28}{step.median:>12,.2f} {step.unit:<6}"
            f"± {step.spread / 2:,.2f} ({step.count} samples)"
            for step in self.steps.values()
        ]
        return "\n".join(lines + self.complaints())

    def complaints(self) -> list[str]:
        """A line for each step that could not be measured."""
        return [f"not measured: {what}: {why}" for what, why in self.missing.items()]


# -- statistics --------------------------------------------------------------------------------


def _quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    if len(values) == 1:
        return values[0], values[0], values[0]
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high


def _line(points: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    """Theil–Sen: the slopes of pairs that lie far apart, and with their median the intercepts."""
    far = max(x for x, _ in points) / 2 if points else 0
    slopes = [
        (y2 - y1) / (x2 - x1)
        for (x1, y1), (x2, y2) in combinations(points, 2)
        if abs(x2 - x1) > far
    ]
    slope = max(0.0, statistics.median(slopes)) if slopes else 0.0
    return slopes, [y - slope * x for x, y in points]
