"""How true is the prediction on this machine?  Every model, transport, delay and size, many runs.

    python benchmarks/fidelity.py [--rounds 30] [--out build]

A round runs every cell once: five models x UDP and TCP x delays of 5, 10, 20, 50 ms (and up to one
more, drawn from a seed, so that pollers are met at any phase) x 1 B, 1 KiB, 60 kB, over TCP also
4 MiB.  The costs are measured every five rounds, on other delays and sizes, and each prediction is
made before its run.  Beside it stands the null model: a message is in the program's hands when it
arrives.  A run whose process stood in the run queue for more than 200 us while its message was
there is left out, and counted.

Writes fidelity.json (a row for each cell) and fidelity.png, and prints what became of each bound.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, median
from time import perf_counter
from typing import Any

from iosim import Costs, Timeline, compare, measure, models, predict, traffic
from iosim.calls import ms
from iosim.trace import QUEUED, READY

DELAYS_MS = (5, 10, 20, 50)
SIZES = {"udp": (1, 1_024, 60_000), "tcp": (1, 1_024, 60_000, 4 << 20)}
CALIBRATE_EVERY = 5  # rounds
NOISE_NS = 200_000
EVENT_DRIVEN = {"blocking", "multiplexing", "signal_driven"}
LOOKS_EVERY_MS = 1  # the others: models.WORK

#: What must hold (medians over a cell's runs; latencies in ns).
LATENCY_NS, OF_NULL, COPY, CPU = 40_000, 0.4, 0.25, 1.5


@dataclass(slots=True)
class Cell:
    """One model in one situation, and what its runs showed, as pairs (predicted, measured)."""

    model: str
    transport: str
    delay_ms: int
    size: int
    noisy: int = 0
    same_calls: list[bool] = field(default_factory=list)
    latency: list[tuple[float, float]] = field(default_factory=list)
    copied: list[tuple[float, float]] = field(default_factory=list)
    cpu_waiting: list[tuple[float, float]] = field(default_factory=list)
    detection: list[float] = field(default_factory=list)  # arrival to the look that finds it, ns
    period: float = 0.0  # between two looks, as predicted, in ns

    @property
    def event_driven(self) -> bool:
        """Is it told, and does not look?"""
        return self.model in EVENT_DRIVEN

    def add(self, predicted: Timeline, measured: Timeline) -> None:
        """Take down one run."""
        both = compare(predicted, measured)
        self.same_calls.append(both.same_calls)
        if _in_the_run_queue(measured) > NOISE_NS:
            self.noisy += 1
            return
        for pairs, name in (
            (self.latency, "latency after arrival"),
            (self.copied, "data copied"),
            (self.cpu_waiting, "CPU while waiting"),
        ):
            quantity = both[name]
            pairs.append((quantity.predicted or 0.0, quantity.measured or 0.0))
        if not self.event_driven:
            self.detection.append(_detection(measured))

    def row(self) -> dict[str, Any]:
        """The cell as plain numbers, and which bounds hold; a bound that is not its is None."""
        error, null = (
            median(abs(m - p) for p, m in self.latency),
            median(m for _, m in self.latency),
        )
        copied = _ratio(self.copied)
        cpu = _ratio(self.cpu_waiting)
        return {
            "model": self.model, "transport": self.transport, "delay_ms": self.delay_ms,
            "size": self.size, "runs": len(self.same_calls), "noisy": self.noisy,
            "same_calls": sum(self.same_calls),
            "predicted_us": median(p for p, _ in self.latency) / 1e3, "measured_us": null / 1e3,
            "error_us": error / 1e3, "error_of_null": error / null,
            "copied_ratio": copied, "cpu_waiting_ratio": cpu, **self._polling(),
            "holds": self._bounds(error, null, copied, cpu),
        }  # fmt: skip

    def _polling(self) -> dict[str, float]:
        if self.event_driven or not self.detection:
            return {}
        law = self.period / 2
        return {
            "detection_us": mean(self.detection) / 1e3, "law_us": law / 1e3,
            "off": abs(mean(self.detection) / law - 1),
            "allowed": 3 * 0.577 / math.sqrt(len(self.detection)),
        }  # fmt: skip

    def _bounds(
        self, error: float, null: float, copied: float, cpu: float
    ) -> dict[str, bool | None]:
        polling = self._polling()
        told = self.event_driven
        return {
            "calls identical": all(self.same_calls) if told else None,
            "latency within 40 us": error <= LATENCY_NS if told else None,
            "latency within 0.4 of null": error <= OF_NULL * null if told else None,
            "copy within 25 %": abs(copied - 1) <= COPY if told else None,
            "CPU while waiting within 1.5": 1 / CPU <= cpu <= CPU,
            "detection T/2": polling["off"] <= polling["allowed"] if polling else None,
        }


def _in_the_run_queue(run: Timeline) -> int:
    """ns that the process wanted a core and had none, while its message was there."""
    fate = run.deliveries[0]
    begin, end = fate.arrived or 0, fate.received or 0
    return sum(
        max(0, min(i.end, end) - max(i.start, begin)) for i in run.intervals if i.state == READY
    )


def _ratio(pairs: list[tuple[float, float]]) -> float:
    """Measured over predicted, of the medians."""
    return median(m for _, m in pairs) / max(1.0, median(p for p, _ in pairs))


def _detection(run: Timeline) -> float:
    """From the arrival to the look that finds it: without the copy, if that can be told."""
    if run.title == "nonblocking":
        return sum(i.duration for i in run.intervals if i.state == QUEUED)
    return run.latency_ns()


def _period(costs: Costs, model: str) -> float:
    """ns from look to look, for the models that look."""
    work = ms(LOOKS_EVERY_MS) + costs.step
    if model == "nonblocking":
        return work + costs.user + costs.syscall + costs.eagain
    return work + costs.step  # a look into the program's own memory


def cells() -> list[Cell]:
    """Every situation."""
    return [
        Cell(program.__name__, transport, delay, size)
        for program in models.FIVE
        for transport, sizes in SIZES.items()
        for delay in DELAYS_MS
        for size in sizes
    ]


def run(rounds: int, say: Callable[[str], None]) -> tuple[list[Cell], list[Costs]]:
    """All rounds; the costs that were measured on the way."""
    dice, all_cells, prices = random.Random(20), cells(), list[Costs]()
    for number in range(rounds):
        if number % CALIBRATE_EVERY == 0:
            prices.append(Costs.calibrate(progress=False))
        begun = perf_counter()
        for cell in all_cells:
            _one_run(cell, prices[-1], dice.random())
        say(f"round {number + 1} of {rounds}: {perf_counter() - begun:.0f} s")
    return all_cells, prices


def _one_run(cell: Cell, costs: Costs, phase: float) -> None:
    program = getattr(models, cell.model)
    story = traffic.one(cell.delay_ms + phase, cell.size, cell.transport)
    predicted = predict(program, story, costs=costs)
    cell.period = _period(costs.over(cell.transport), cell.model)
    cell.add(predicted, measure(program, story))


# -- what is shown -------------------------------------------------------------------------------


def table(rows: list[dict[str, Any]]) -> Iterator[str]:
    """A line for each cell."""
    yield (
        f"{'model':14} {'over':4} {'ms':>3} {'bytes':>9} {'calls':>7} {'pred':>8} {'meas':>8} "
        f"{'error':>7} {'/null':>6} {'copy':>6} {'CPU':>6}  what does not hold"
    )
    for row in rows:
        broken = ", ".join(name for name, holds in row["holds"].items() if holds is False)
        yield (
            f"{row['model']:14} {row['transport']:4} {row['delay_ms']:3} {row['size']:9,} "
            f"{row['same_calls']:3}/{row['runs']:3} {row['predicted_us']:8.0f} "
            f"{row['measured_us']:8.0f} {row['error_us']:7.1f} {row['error_of_null']:6.2f} "
            f"{row['copied_ratio']:6.2f} {row['cpu_waiting_ratio']:6.2f}  {broken}"
        )


def bounds(rows: list[dict[str, Any]]) -> Iterator[str]:
    """For each bound, in how many of its cells it holds."""
    for name in rows[0]["holds"]:
        asked = [row["holds"][name] for row in rows if row["holds"][name] is not None]
        yield f"{name:30} holds in {sum(asked)} of {len(asked)} cells"


def pooled(all_cells: list[Cell]) -> Iterator[str]:
    """Each event-driven model over all of its cells but those of 4 MiB."""
    for name in sorted(EVENT_DRIVEN):
        for transport in SIZES:
            pairs = [
                pair
                for cell in all_cells
                if (cell.model, cell.transport) == (name, transport) and cell.size < 1 << 20
                for pair in cell.latency
            ]
            if not pairs:
                continue
            error = median(abs(m - p) for p, m in pairs)
            null = median(m for _, m in pairs)
            yield (
                f"{name:14} {transport}: median error {error / 1e3:5.1f} us, "
                f"{error / null:.2f} of the null model's {null / 1e3:.0f} us, {len(pairs)} runs"
            )


def chart(all_cells: list[Cell], path: Path) -> None:
    """The error of the prediction beside the null model's, for each event-driven cell."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(
        1, 3, figsize=(12, 4.6), sharey=True, layout="constrained", squeeze=True
    )
    for ax, name in zip(axes, sorted(EVENT_DRIVEN), strict=True):
        own = [c for c in all_cells if c.model == name and c.size < 1 << 20 and c.latency]
        labels = [f"{c.transport} {c.delay_ms} ms {c.size:,} B" for c in own]
        places = range(len(own))
        ours = [median(abs(m - p) for p, m in c.latency) / 1e3 for c in own]
        null = [median(m for _, m in c.latency) / 1e3 for c in own]
        ax.barh(places, null, color="#dcdcdc", hatch="..", edgecolor="#777777",
                label='null model: "done at arrival"')  # fmt: skip
        ax.barh(places, ours, height=0.5, color="#1f4e9c", label="calibrated prediction")
        ax.axvline(LATENCY_NS / 1e3, color="#a0006d", linestyle="--", label="bound: 40 µs")
        ax.set_title(name)
        ax.set_xlabel("median error of the latency after arrival, µs")
        ax.set_yticks(places, labels, fontsize=7)
        ax.invert_yaxis()
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    figure.savefig(path, dpi=110)


def main() -> None:
    """Run, write, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=30, help="runs of each cell (default 30)")
    parser.add_argument("--out", type=Path, default=Path("build"), help="folder of the results")
    options = parser.parse_args()
    if options.rounds < 1:
        parser.error(f"--rounds must be at least 1, got {options.rounds}")
    all_cells, prices = run(options.rounds, lambda text: print(text, file=sys.stderr, flush=True))
    rows = [cell.row() for cell in all_cells if cell.latency]
    for line in [*table(rows), "", *bounds(rows), "", *pooled(all_cells)]:
        print(line)
    options.out.mkdir(parents=True, exist_ok=True)
    report = {
        "machine": prices[0].machine,
        "costs": [json.loads(price.to_json()) for price in prices],
        "cells": rows,
    }
    (options.out / "fidelity.json").write_text(json.dumps(report, indent=1) + "\n", "utf-8")
    chart(all_cells, options.out / "fidelity.png")


if __name__ == "__main__":
    main()
