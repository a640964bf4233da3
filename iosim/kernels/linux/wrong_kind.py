"""Calls on descriptors of another kind, made all the same: the system says what is wrong.

Python's objects cannot be asked: a `socket` of an epoll's descriptor is possible only if Python
need not look, and an `epoll` of a socket's would close that at its end.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
from functools import cache
from typing import Any

from ...syscalls import EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLL_CTL_MOD

__all__ = ["NoInterest", "as_socket"]

EVENT = struct.Struct("=I12x")  # struct epoll_event, with room for any architecture's padding


def as_socket(fd: int) -> socket.socket:
    """Whatever `fd` is: `detach` it before it is closed as what it is."""
    kind = socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP
    return socket.socket(*kind, fileno=fd)  # told all of this, Python does not ask the system


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

    def poll(self, timeout: float | None = None, maxevents: int = 1) -> list[Any]:
        """epoll_wait(2)."""
        found = ctypes.create_string_buffer(EVENT.size * maxevents)
        wait = -1 if timeout is None else round(1_000 * timeout)
        _check(_libc().epoll_wait(self._fd, found, maxevents, wait))
        return []

    def _control(self, op: int, fd: int, events: int) -> None:
        _check(_libc().epoll_ctl(self._fd, op, fd, EVENT.pack(events)))


def _check(result: int) -> None:
    if result < 0:
        errno = ctypes.get_errno()
        raise OSError(errno, os.strerror(errno))


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
