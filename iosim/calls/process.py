"""What a process does by itself: run its own code, sleep, ask for its number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..validate import HOUR_NS
from .request import PASSES, PREPARES, Bound, Request

__all__ = ["compute", "getpid", "ms", "sleep", "us"]


def ms(value: float) -> int:
    """`value` milliseconds in ns."""
    return round(value * 1_000_000)


def us(value: float) -> int:
    """`value` microseconds in ns."""
    return round(value * 1_000)


@dataclass(slots=True, eq=False)
class compute(Request):
    """Run the program's own code for `ns` of CPU time.  Not a call: no kernel is needed."""

    role: ClassVar[str] = PASSES
    trap: ClassVar[bool] = False
    bounds: ClassVar[dict[str, Bound]] = {"ns": (1, HOUR_NS, "ns")}
    ns: int


@dataclass(slots=True, eq=False)
class sleep(Request):
    """Sleep for `ns`: clock_nanosleep(2).  It wakes up later by the timer's slack (prctl(2))."""

    role: ClassVar[str] = PASSES
    linux: ClassVar[tuple[str, ...]] = ("clock_nanosleep", "nanosleep")
    bounds: ClassVar[dict[str, Bound]] = {"ns": (0, HOUR_NS, "ns")}
    ns: int

    def sleeps(self, nonblocking: bool) -> bool:
        """That is what it is for."""
        return True


@dataclass(slots=True, eq=False)
class getpid(Request):
    """The caller's process number: getpid(2).  The cheapest entry into the kernel."""

    role: ClassVar[str] = PREPARES
