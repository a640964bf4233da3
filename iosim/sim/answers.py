"""Which function of the simulated kernel answers which call."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from ..calls import Request

__all__ = ["SIDES", "answers", "sides"]

KernelSide = TypeVar("KernelSide", bound=Callable[..., object])


class _Sides(dict[type[Request], Callable[..., object]]):
    def __missing__(self, kind: type[Request]) -> Callable[..., object]:
        raise RuntimeError(f"the simulated kernel has no call {kind.__name__}")


#: The kernel's side of each call.  A plain function replies at once; a generator takes time.
#: RuntimeError for a call that this kernel does not know.
SIDES = _Sides()


def answers(*kinds: type[Request]) -> Callable[[KernelSide], KernelSide]:
    """The decorated function, of the kernel, the task and its request, answers these calls.

    It returns the reply, or raises the OSError; or it is a generator, whose `yield`s are ns of work
    in the kernel, or a `Sleep`.
    """

    def register(side: KernelSide) -> KernelSide:
        SIDES.update(dict.fromkeys(kinds, side))
        return side

    return register


def sides() -> dict[str, Callable[..., object]]:
    """The kernel's side of each call that it knows so far, by the call's name."""
    return {kind.__name__: side for kind, side in SIDES.items()}
