"""`Costs`, measured on this machine: each step by itself, in less than five seconds.

A step is measured by a program of a few lines on the real kernel, read off its timeline, so that
what is predicted and what is measured go through the same instrument: a cost holds Python's own
part of the step as well.  Values are medians; a wake-up that stood in the run queue behind
somebody else (schedstat) is left out.  The gaps and sizes used here are not those of the
benchmarks that hold a prediction to a run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ..costs.model import Costs
from ..machine.disturbances import interference
from ..real.features import Unsupported, machine
from .experiments import EXPERIMENTS
from .readings import SERVER, TCP
from .steps import Calibration

__all__ = ["calibrate"]

Report = Callable[[int, int, str], None]  # experiments done, in all, and the next one's name


def calibrate(report: Report | None = None) -> Calibration:
    """Measure every step that this system has; takes less than 5 s.

    `report` is called before each experiment.  Unsupported where there are no sockets or processes
    to measure with.
    """
    found = Calibration(replace(Costs.typical(), machine=machine()))
    with interference() as meanwhile:
        _experiment(found, report)
    if not found.steps:
        raise Unsupported("calibration", "; ".join(found.complaints()))
    costs = replace(found.costs, **_prices(found, ""), disturbances=meanwhile.disturbances)
    stream = replace(costs, **_prices(found, TCP))
    server = replace(stream, **_prices(found, SERVER))
    found.costs = replace(costs, stream=stream, server=server)
    return found


def _experiment(found: Calibration, report: Report | None) -> None:
    """All experiments, one after another; what this system has not goes to `found.missing`."""
    for number, (title, experiment) in enumerate(EXPERIMENTS.items()):
        if report:
            report(number, len(EXPERIMENTS), title)
        try:
            experiment(found)
        except (LookupError, OSError, RuntimeError, ValueError) as error:  # FD_SETSIZE: ValueError
            found.missing[title] = str(error)
    if report:
        report(len(EXPERIMENTS), len(EXPERIMENTS), "done")


def _prices(found: Calibration, over: str) -> dict[str, Any]:
    """The steps that are prices; a difference of two noisy numbers is never below 0."""
    medians = {name: found.steps.get(name + over) for name in Costs.names()}
    return {name: max(0.0, round(s.median, 4)) for name, s in medians.items() if s is not None}
