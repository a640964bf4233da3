"""Which function of the simulated kernel answers which call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..calls import Request

__all__ = ["answer_of", "answers", "sides"]

#: The kernel's side of each call.  A plain function replies at once; a generator takes time.
_ANSWERS: dict[type[Request], Callable[..., Any]] = {}


def answers(*kinds: type[Request]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The decorated function, of the kernel, the task and its request, answers these calls.

    It returns the reply, or raises the OSError; or it is a generator, whose `yield`s are ns of work
    in the kernel, or a `Sleep`.
    """

    def register(side: Callable[..., Any]) -> Callable[..., Any]:
        _ANSWERS.update(dict.fromkeys(kinds, side))
        return side

    return register


def answer_of(request: Request) -> Callable[..., Any]:
    """RuntimeError for a call that this kernel does not know."""
    try:
        return _ANSWERS[type(request)]
    except KeyError:
        name = type(request).__name__
        raise RuntimeError(f"the simulated kernel has no call {name}") from None


def sides() -> dict[str, Callable[..., Any]]:
    """The kernel's side of each call that it knows so far, by the call's name."""
    return {kind.__name__: side for kind, side in _ANSWERS.items()}
