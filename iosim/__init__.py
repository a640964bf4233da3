"""I/O models as programs: one text, run on a simulated kernel and on the real one.

    from iosim import simulate, measure, models, traffic, Costs

    story = traffic.one(after_ms=20, size=1_000)
    simulate(models.blocking, story)      # -> Timeline, virtual time, textbook costs
    measure(models.blocking, story)       # -> Timeline, the real kernel

A program is a generator that yields calls, or plain Python with sockets (`iosim.plain`); `hunt`
searches for a story and a schedule under which that fails.

A story is Traffic for the I/O models (`models`), `jobs` for the calls of a pool (`pools`), or
`clients` for servers (`servers`).  What a program can yield is in `calls`.

`names` has all public names; they are fetched when the first one is asked for, so that
`import iosim` costs next to nothing, also in the helper processes.
"""

# ruff: noqa: F403, F405 (names has them all)
from __future__ import annotations

__all__ = [
    "Costs", "Space", "Timeline", "Unsupported", "calls", "claims", "clients", "compare", "draw",
    "features", "futures", "hunt", "inconclusive", "interference", "jobs", "measure", "models",
    "pools", "predict", "record", "servers", "simulate", "traffic", "undisturbed",
]  # fmt: skip

TYPE_CHECKING = False  # typing's, without importing it
if TYPE_CHECKING:
    from .names import *


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import names

    return getattr(names, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
