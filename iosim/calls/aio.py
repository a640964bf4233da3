"""POSIX aio: a read that a helper of the C library makes, and what became of it."""

from __future__ import annotations

from dataclasses import dataclass
from errno import EBADF, EINPROGRESS, EINVAL
from typing import ClassVar

from .pipes import read
from .request import A_SIZE, ASKS, FETCHES, HANDS_IN, Bound, OfDescriptor, Request

__all__ = ["aio_error", "aio_read", "aio_return"]

A_BLOCK: Bound = (1, 1 << 30, "(a control block)")


@dataclass(slots=True, eq=False)
class aio_read(OfDescriptor):
    """Ask for at most `size` bytes from `fd`, and go on: aio_read(3).

    Replies with a control block's number.  glibc does it with a helper thread that calls read(2):
    aio(7).  With `signo` the completion sends that signal (sigevent(7), SIGEV_SIGNAL).
    """

    role: ClassVar[str] = HANDS_IN
    errnos: ClassVar[tuple[int, ...]] = (EBADF,)
    arms: ClassVar[bool] = True
    feature: ClassVar[str] = "POSIX aio"
    size: int
    signo: int | None = None

    def __post_init__(self) -> None:
        self.check_descriptors(self.fd)
        self.check("size", *A_SIZE)
        if self.signo is not None:
            self.check_signal(self.signo)


@dataclass(slots=True, eq=False)
class aio_error(Request):
    """EINPROGRESS, 0 when it is done, or an errno: aio_error(3).  Not a call: reads memory."""

    role: ClassVar[str] = ASKS
    errnos: ClassVar[tuple[int, ...]] = (EINVAL,)
    trap: ClassVar[bool] = False
    bounds: ClassVar[dict[str, Bound]] = {"block": A_BLOCK}
    block: int


@dataclass(slots=True, eq=False)
class aio_return(Request):
    """The bytes that it read, once it is done: aio_return(3).  Not a call: reads memory."""

    role: ClassVar[str] = FETCHES
    errnos: ClassVar[tuple[int, ...]] = (EINPROGRESS, *read.errnos)
    trap: ClassVar[bool] = False
    bounds: ClassVar[dict[str, Bound]] = {"block": A_BLOCK}
    block: int
