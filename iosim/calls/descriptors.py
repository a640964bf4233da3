"""Calls on a descriptor, whatever it names: its flags, its options, its end."""

from __future__ import annotations

from dataclasses import dataclass
from errno import EBADF, EINVAL, EMFILE, ENOTSOCK
from typing import ClassVar

from ..validate import HOUR_NS
from .request import PREPARES, OfDescriptor, Request

__all__ = [
    "F_SETFL", "F_SETOWN", "F_SETSIG", "O_ASYNC", "O_NONBLOCK", "SELF", "SO_ERROR", "SO_RCVTIMEO",
    "close", "fcntl", "getsockopt", "memfd_create", "setsockopt",
]  # fmt: skip

# Linux's values, so that a program reads the same on systems that lack the names:
# fcntl(2), socket(7).
F_SETFL, F_SETOWN, F_SETSIG = 4, 8, 10
O_NONBLOCK, O_ASYNC = 0o4000, 0o20000
SELF = 0  # as the owner of a descriptor's signals: the caller
SO_ERROR, SO_RCVTIMEO = 4, 20


@dataclass(slots=True, eq=False)
class fcntl(OfDescriptor):
    """Change a descriptor: fcntl(2).

    F_SETFL sets the flags O_NONBLOCK and O_ASYNC; F_SETOWN says who gets the signals (SELF);
    F_SETSIG asks for a real-time signal, which queues, in place of SIGIO, which does not.
    """

    role: ClassVar[str] = PREPARES
    errnos: ClassVar[tuple[int, ...]] = (EBADF, EINVAL)
    cmd: int
    arg: int

    def __post_init__(self) -> None:
        self.check_descriptors(self.fd)
        if self.cmd not in (F_SETFL, F_SETOWN, F_SETSIG):
            raise ValueError(f"fcntl: cmd must be F_SETFL, F_SETOWN or F_SETSIG, got {self.cmd!r}")
        self.check("arg", 0, O_ASYNC | O_NONBLOCK, "(a flag or a signal)")

    @property
    def arms(self) -> bool:  # type: ignore[override]
        """O_ASYNC asks to be told."""
        return self.cmd == F_SETFL and bool(self.arg & O_ASYNC)

    @property
    def feature(self) -> str:  # type: ignore[override]
        """What signals need; O_NONBLOCK is everywhere."""
        if self.cmd == F_SETSIG:
            return "real-time signals"
        return "SIGIO" if self.cmd != F_SETFL or self.arg & O_ASYNC else ""


@dataclass(slots=True, eq=False)
class close(OfDescriptor):
    """Close a descriptor: close(2).  Its number is free, and it leaves every interest list.

    What was not received is lost, and the other side is reset in place of an end (RFC 1122,
    4.2.2.13).
    """

    role: ClassVar[str] = PREPARES
    errnos: ClassVar[tuple[int, ...]] = (EBADF,)


@dataclass(slots=True, eq=False)
class setsockopt(OfDescriptor):
    """SO_RCVTIMEO: a receive that waits longer than `ns` (0: for ever) fails, EAGAIN: socket(7).

    It is counted in jiffies (time(7)), and ends with a tick: 0.1 ms may take 8 ms at 250 Hz.
    """

    role: ClassVar[str] = PREPARES
    errnos: ClassVar[tuple[int, ...]] = (EBADF, ENOTSOCK)
    option: int
    ns: int

    def __post_init__(self) -> None:
        self.check_descriptors(self.fd)
        if self.option != SO_RCVTIMEO:
            raise ValueError(f"setsockopt: option must be SO_RCVTIMEO, got {self.option!r}")
        self.check("ns", 0, HOUR_NS, "ns")


@dataclass(slots=True, eq=False)
class getsockopt(OfDescriptor):
    """SO_ERROR: the pending error of a socket, an errno or 0, which is cleared: socket(7)."""

    role: ClassVar[str] = PREPARES
    errnos: ClassVar[tuple[int, ...]] = (EBADF, ENOTSOCK)
    option: int = SO_ERROR

    def __post_init__(self) -> None:
        self.check_descriptors(self.fd)
        if self.option != SO_ERROR:
            raise ValueError(f"getsockopt: option must be SO_ERROR, got {self.option!r}")


@dataclass(slots=True, eq=False)
class memfd_create(Request):
    """A regular file that lives in memory: memfd_create(2).  Replies with its descriptor.

    select and poll call it always ready, epoll_ctl refuses it (PermissionError): epoll_ctl(2).
    """

    role: ClassVar[str] = PREPARES
    errnos: ClassVar[tuple[int, ...]] = (EMFILE,)
    feature: ClassVar[str] = "memfd_create"
