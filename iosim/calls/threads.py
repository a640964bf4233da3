"""Threads: to start one, and to wait for its end."""

from __future__ import annotations

from dataclasses import dataclass
from errno import ESRCH
from types import GeneratorType
from typing import ClassVar

from .request import PASSES, PREPARES, Bound, Program, Request

__all__ = ["pthread_create", "pthread_join"]


@dataclass(slots=True, eq=False)
class pthread_create(Request):
    """Run `start`, a program ready for its first step, in a new thread: pthread_create(3).

    Replies with the thread's number, from 1.  It shares all descriptors: clone(2), CLONE_FILES.
    """

    role: ClassVar[str] = PREPARES
    start: Program

    def __post_init__(self) -> None:
        if not isinstance(self.start, GeneratorType):
            raise TypeError(f"pthread_create: start must be a program, got {self.start!r}")


@dataclass(slots=True, eq=False)
class pthread_join(Request):
    """Wait until thread number `thread` is over: pthread_join(3)."""

    role: ClassVar[str] = PASSES
    errnos: ClassVar[tuple[int, ...]] = (ESRCH,)
    bounds: ClassVar[dict[str, Bound]] = {"thread": (1, 1_000_000, "(a thread)")}
    thread: int

    def sleeps(self, nonblocking: bool) -> bool:
        """Until it is over."""
        return True
