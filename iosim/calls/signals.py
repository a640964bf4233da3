"""Calls about signals: what a handler does, which are held back, and waiting for one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from errno import EAGAIN
from typing import ClassVar

from .request import IS_TOLD, PREPARES, Program, Request, Waiting, WithTimeout

__all__ = [
    "SIGIO", "SIGRTMIN", "SIG_BLOCK", "SIG_UNBLOCK", "pause", "sigaction", "sigprocmask",
    "sigtimedwait",
]  # fmt: skip

# Linux's values: signal(7), sigprocmask(2).
SIGIO, SIGRTMIN = 29, 34
SIG_BLOCK, SIG_UNBLOCK = 0, 1


@dataclass(slots=True, eq=False)
class sigaction(Request):
    """Run `handler`, itself a program, whenever signal `signo` is delivered: sigaction(2).

    `handler` is a generator function of one argument, the signal's number.
    """

    role: ClassVar[str] = PREPARES
    linux: ClassVar[tuple[str, ...]] = ("rt_sigaction",)
    feature: ClassVar[str] = "SIGIO"
    signo: int
    handler: Callable[[int], Program]

    def __post_init__(self) -> None:
        self.check_signal(self.signo)
        if not callable(self.handler):
            raise TypeError(f"sigaction: handler must be a program, got {self.handler!r}")


@dataclass(slots=True, eq=False)
class sigprocmask(Request):
    """Hold back (SIG_BLOCK) or let through (SIG_UNBLOCK) `signals`: sigprocmask(2)."""

    role: ClassVar[str] = PREPARES
    linux: ClassVar[tuple[str, ...]] = ("rt_sigprocmask",)
    feature: ClassVar[str] = "real-time signals"
    how: int
    signals: Sequence[int]

    def __post_init__(self) -> None:
        if self.how not in (SIG_BLOCK, SIG_UNBLOCK):
            raise ValueError(f"sigprocmask: how must be SIG_BLOCK or SIG_UNBLOCK, got {self.how!r}")
        for signo in self.signals:
            self.check_signal(signo)


@dataclass(slots=True, eq=False)
class sigtimedwait(WithTimeout):
    """Take a pending signal of `signals`, which are blocked, or wait for one: sigtimedwait(2).

    Replies with its number.  BlockingIOError (EAGAIN) after `timeout` ns (None: waits for ever).
    """

    role: ClassVar[str] = IS_TOLD
    errnos: ClassVar[tuple[int, ...]] = (EAGAIN,)
    linux: ClassVar[tuple[str, ...]] = ("rt_sigtimedwait",)
    feature: ClassVar[str] = "real-time signals"
    signals: Sequence[int]
    timeout: int | None = None

    def __post_init__(self) -> None:
        for signo in self.signals:
            self.check_signal(signo)
        self.check_timeout()


@dataclass(slots=True, eq=False)
class pause(Waiting):
    """Sleep until a signal's handler has run: pause(2).  One that came before is not waited for."""

    role: ClassVar[str] = IS_TOLD
    linux: ClassVar[tuple[str, ...]] = ("pause", "rt_sigsuspend")
    feature: ClassVar[str] = "SIGIO"
