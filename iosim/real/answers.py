"""What is made of each call on this machine: `@answers(call)` binds it to what prepares it.

All but the call itself is done before its clock starts: a function here looks at the arguments,
and returns what to make (`Action`) and what becomes of its result (`Finish`).  An OSError that it
raises is the call's errno.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from ..calls import Request

if TYPE_CHECKING:
    from .driver import Driver

__all__ = [
    "Action", "Finish", "Prepared", "Thrown", "answers", "as_it_is", "nothing", "preparation_of",
    "seconds",
]  # fmt: skip

Action = Callable[[], Any]
#: What becomes of an action's result: `(call, start, end, result)` to `(reply, bytes received)`.
Finish = Callable[[int, int, int, Any], tuple[object, int]]
Prepared = tuple[Action, Finish]
Preparation = Callable[["Driver", Any], Prepared]  # of its own class of requests

Asked = TypeVar("Asked", bound=Request)
Result = TypeVar("Result")

_PREPARATIONS: dict[type[Request], Preparation] = {}


def answers(
    call: type[Asked],
) -> Callable[[Callable[[Driver, Asked], Prepared]], Callable[[Driver, Asked], Prepared]]:
    """The decorated function, of a driver and a request, prepares this call."""

    def bind(function: Callable[[Driver, Asked], Prepared]) -> Callable[[Driver, Asked], Prepared]:
        _PREPARATIONS[call] = function
        return function

    return bind


def preparation_of(call: type[Request]) -> Preparation:
    """What prepares it.  RuntimeError for a call that this kernel does not have."""
    prepare = _PREPARATIONS.get(call)
    if prepare is None:
        raise RuntimeError(f"the real kernel has no call {call.__name__}")
    return prepare


class Thrown(Exception):
    """`error` is thrown into the program, though it is no errno."""

    def __init__(self, error: Exception) -> None:
        super().__init__(error)
        self.error = error


def nothing(call: int, start: int, end: int, result: object) -> tuple[None, int]:
    """The reply is None."""
    return None, 0


def as_it_is(call: int, start: int, end: int, result: Result) -> tuple[Result, int]:
    """The reply is the result."""
    return result, 0


def seconds(ns: int | None) -> float | None:
    """A time-out as Python takes it."""
    return None if ns is None else ns / 1e9
