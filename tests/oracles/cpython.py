"""CPython's own tests, each in a run of its own on the simulated kernel, as they stand."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from iosim import Costs
from iosim.kernels.watchdog import watchdog
from iosim.plain.kernel import PlainKernel
from iosim.plain.run import Run
from iosim.plain.simulated_floor import SIMULATED
from iosim.plain.world import World
from iosim.sim.simulate import over_nothing

__all__ = ["names_of", "result_of"]

#: The tests, and what they themselves are made of, stand on the simulated floor as well.
FLOOR = dataclasses.replace(
    SIMULATED, library=SIMULATED.library | {"test", "unittest", "wsgiref", "http"}
)
LIMIT_S = 20.0


@contextmanager
def _world() -> Iterator[World]:
    kernel: Any = over_nothing(Costs.typical(), kind=PlainKernel)
    world = World(FLOOR)
    world.begin(Run(kernel, ""))
    with world.run.here():
        helper: Any = world.load("test.support.socket_helper")
        helper._bind_nix_socket_error = OSError("sockets with a path are not simulated")
        yield world


def names_of(module: str) -> Iterator[str]:
    """The tests of a module, as "Class.method"."""
    with _world() as world:
        loader = world.load("unittest").TestLoader()
        suites = loader.loadTestsFromModule(world.load(module))
        names = [".".join(test.id().split(".")[-2:]) for suite in suites for test in suite]
    yield from names


def result_of(module: str, name: str) -> str:
    """ "ok", "skip: why", or what went wrong, in a line."""
    results = list[Any]()
    kind, method = name.split(".")

    def main() -> None:
        result = world.load("unittest").TestResult()
        getattr(world.load(module), kind)(method).run(result)
        results.append(result)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with _world() as world, watchdog(LIMIT_S, name, of_work=True):
                world.run.main(main)
        except Exception as error:
            return f"{type(error).__name__}: {error}"
    if not results:
        return "it was ended"
    if results[0].skipped:
        return f"skip: {results[0].skipped[0][1]}"
    wrong = results[0].errors + results[0].failures
    return wrong[0][1].strip().splitlines()[-1] if wrong else "ok"
