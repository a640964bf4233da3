"""I/O models as programs: one text, run on a simulated kernel and on the real one.

    from iosim import simulate, measure, models, traffic, Costs

    story = traffic.one(after_ms=20, size=1_000)
    simulate(models.blocking, story)      # -> Timeline, virtual time, textbook costs
    measure(models.blocking, story)       # -> Timeline, the real kernel

A story is Traffic for the I/O models (`models`), `jobs` for the calls of a pool (`calls`), or
`clients` for servers (`servers`).

Everything is fetched when it is first asked for, so that `import iosim` costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .costs import CALIBRATE
from .timeline import VIEWS, Timeline

if TYPE_CHECKING:
    from . import clients, draw, futures, jobs, sockets, syscalls, traffic
    from .comparison import compare
    from .costs import Costs
    from .disturbances import inconclusive, interference, undisturbed
    from .kernels.front import measure, simulate
    from .kernels.linux.features import Unsupported, features
    from .kernels.recorder.record import record
    from .prediction import predict
    from .programs import calls, models, servers

__all__ = [
    "Costs", "Timeline", "Unsupported", "calls", "clients", "compare", "draw", "features",
    "futures", "inconclusive", "interference", "jobs", "measure", "models", "predict", "record",
    "servers", "simulate", "sockets", "syscalls", "traffic", "undisturbed",
]  # fmt: skip

_HOMES = {  # public name: its module, and its name there (None: the module itself)
    "Costs": (".costs", "Costs"),
    "Unsupported": (".kernels.linux.features", "Unsupported"),
    "calls": (".programs.calls", None),
    "clients": (".clients", None),
    "compare": (".comparison", "compare"),
    "draw": (".draw", None),
    "features": (".kernels.linux.features", "features"),
    "futures": (".futures", None),
    "inconclusive": (".disturbances", "inconclusive"),
    "interference": (".disturbances", "interference"),
    "jobs": (".jobs", None),
    "measure": (".kernels.front", "measure"),
    "models": (".programs.models", None),
    "predict": (".prediction", "predict"),
    "record": (".kernels.recorder.record", "record"),
    "servers": (".programs.servers", None),
    "simulate": (".kernels.front", "simulate"),
    "sockets": (".sockets", None),
    "syscalls": (".syscalls", None),
    "traffic": (".traffic", None),
    "undisturbed": (".disturbances", "undisturbed"),
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, inside = _HOMES[name]
    found = import_module(module, __name__)
    value = globals()[name] = found if inside is None else getattr(found, inside)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _view(name: str) -> Any:
    """How timelines are shown, fetched when the first one is."""

    def show(timeline: Timeline, *args: Any) -> Any:
        return getattr(import_module(".draw", __name__), name)(timeline, *args)

    return show


VIEWS.update({name: _view(name) for name in ("svg", "text", "plot")})


def _calibrate(progress: bool) -> Any:
    """The costs of this machine; what could not be measured is printed."""
    bar = import_module(".progress", __name__).bar(progress)
    found = import_module(".kernels.calibration.calibrate", __name__).calibrate(bar)
    for complaint in found.complaints():
        print(complaint)
    return found.costs


CALIBRATE["calibrate"] = _calibrate
