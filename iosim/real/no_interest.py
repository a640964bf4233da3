"""epoll's calls on what is no interest list, made all the same: the system says what is wrong.

An object of Python's `select.epoll` would close the other's descriptor at its end.
"""

from __future__ import annotations

import ctypes
import struct

from ..calls import EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLL_CTL_MOD
from .libc import last_failure, libc

__all__ = ["NoInterest"]

EVENT = struct.Struct("=I12x")  # struct epoll_event, with room for any architecture's padding


class NoInterest:
    """What is no interest list, with the methods of `select.epoll`."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def register(self, fd: int, events: int) -> None:
        """epoll_ctl(2), EPOLL_CTL_ADD; raises what the system says, as the others do."""
        self._control(EPOLL_CTL_ADD, fd, events)

    def modify(self, fd: int, events: int) -> None:
        """EPOLL_CTL_MOD."""
        self._control(EPOLL_CTL_MOD, fd, events)

    def unregister(self, fd: int) -> None:
        """EPOLL_CTL_DEL."""
        self._control(EPOLL_CTL_DEL, fd, 0)

    def poll(self, timeout: float | None = None, maxevents: int = 1) -> list[tuple[int, int]]:
        """epoll_wait(2)."""
        found = ctypes.create_string_buffer(EVENT.size * maxevents)
        wait = -1 if timeout is None else round(1_000 * timeout)
        _check(libc().epoll_wait(self._fd, found, maxevents, wait))
        return []

    def _control(self, op: int, fd: int, events: int) -> None:
        _check(libc().epoll_ctl(self._fd, op, fd, EVENT.pack(events)))


def _check(result: int) -> None:
    if result < 0:
        raise last_failure()
