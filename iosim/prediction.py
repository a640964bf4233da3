"""What will happen on this machine: the simulation, at the costs that were measured here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

from .api import simulate
from .calls import Program
from .costs import Costs
from .machine.cores import usable_cores
from .trace import Timeline
from .workloads.clients import Clients
from .workloads.jobs import Jobs
from .workloads.traffic import Traffic

__all__ = ["predict", "this_machine"]


@cache
def this_machine() -> Costs:
    """The costs of this machine, measured once in this process: `Costs.calibrate()`."""
    return Costs.calibrate()


def predict(
    program: Callable[..., Program], story: Traffic | Jobs | Clients, *, costs: Costs | None = None,
    cores: int | None = None, **options: Any,
) -> Timeline:  # fmt: skip
    """What `measure(program, story)` will show: `simulate` at this machine's costs and cores.

    costs    measured before (`Costs.calibrate()`, `Costs.from_json`); if None, they are measured at
             the first prediction of this process and kept
    cores    this machine's if None
    options  as of `simulate`

    Raises what `simulate` raises.
    """
    price = this_machine() if costs is None else costs
    machine = cores or usable_cores()
    run = simulate(program, story, costs=price, cores=machine, **options)
    return replace(run, machine=f"at the costs of {price.machine}" if price.machine else "")
