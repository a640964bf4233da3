"""A call of the real kernel, prepared: what to make, and what becomes of its result."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["Action", "Finish", "Prepared", "as_it_is", "nothing", "seconds"]

Action = Callable[[], Any]
#: What becomes of an action's result: `(call, start, end, result)` to `(reply, bytes received)`.
Finish = Callable[[int, int, int, Any], tuple[Any, int]]
Prepared = tuple[Action, Finish]


def nothing(call: int, start: int, end: int, result: Any) -> tuple[None, int]:
    """The reply is None."""
    return None, 0


def as_it_is(call: int, start: int, end: int, result: Any) -> tuple[Any, int]:
    """The reply is the result."""
    return result, 0


def seconds(ns: int | None) -> float | None:
    """A time-out as Python takes it."""
    return None if ns is None else ns / 1e9
