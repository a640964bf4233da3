"""`select`, simulated: what the library's own `selectors.py` stands on."""

from __future__ import annotations

import math
import select as real
from collections.abc import Iterable
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING, Any

from .. import calls
from ..machine.errors import failure
from ..validate import HOUR_NS
from .calls import number_of, timeout_ns

if TYPE_CHECKING:
    from _typeshed import FileDescriptorLike

    from .world import World

    Files = Iterable[FileDescriptorLike]

__all__ = ["module"]

POLLIN, POLLPRI, POLLOUT, POLLERR, POLLHUP, POLLNVAL = 0x1, 0x2, 0x4, 0x8, 0x10, 0x20
#: What can be asked of a descriptor here; urgent data are not there.
ASKED = calls.EPOLLIN | calls.EPOLLOUT | calls.EPOLLRDHUP
KNOWN = ASKED | calls.EPOLLET | calls.EPOLLONESHOT | calls.EPOLLEXCLUSIVE
CONSTANTS = {
    "EPOLLIN": 0x1, "EPOLLPRI": 0x2, "EPOLLOUT": 0x4, "EPOLLERR": 0x8, "EPOLLHUP": 0x10,
    "EPOLLRDNORM": 0x40, "EPOLLRDBAND": 0x80, "EPOLLWRNORM": 0x100, "EPOLLWRBAND": 0x200,
    "EPOLLMSG": 0x400, "EPOLLRDHUP": 0x2000, "EPOLLEXCLUSIVE": 1 << 28, "EPOLLONESHOT": 1 << 30,
    "EPOLLET": 1 << 31, "EPOLL_CLOEXEC": 0o2000000, "POLLIN": POLLIN, "POLLPRI": POLLPRI,
    "POLLOUT": POLLOUT, "POLLERR": POLLERR, "POLLHUP": POLLHUP, "POLLNVAL": POLLNVAL,
    "POLLRDHUP": 0x2000, "PIPE_BUF": calls.PIPE_BUF, "error": OSError,
}  # fmt: skip


class Poll:
    """What select.poll() gives: poll(2)."""

    def __init__(self, world: World) -> None:
        self._world, self._asked = world, dict[int, int]()

    def register(self, fd: FileDescriptorLike, eventmask: int = POLLIN | POLLPRI | POLLOUT) -> None:
        """Ask for it, or change what is asked."""
        self._asked[number_of(fd)] = eventmask

    def modify(self, fd: FileDescriptorLike, eventmask: int) -> None:
        """FileNotFoundError (ENOENT) if it is not registered."""
        if number_of(fd) not in self._asked:
            raise failure(2)
        self._asked[number_of(fd)] = eventmask

    def unregister(self, fd: FileDescriptorLike) -> None:
        """KeyError if it is not registered."""
        del self._asked[number_of(fd)]

    def poll(self, timeout: float | None = None) -> list[tuple[int, int]]:
        """Which are ready; `timeout` in ms, None or negative: for ever."""
        ns = (
            None if timeout is None or timeout < 0 else min(math.ceil(timeout) * 1_000_000, HOUR_NS)
        )
        asked = {fd: mask & ASKED for fd, mask in self._asked.items()}
        return [(int(one), one.events) for one in self._world.call(calls.poll(asked, ns))]


class Epoll:
    """What select.epoll() gives: epoll(7)."""

    _world: World

    def __init__(self, sizehint: int = -1, flags: int = 0) -> None:
        self._run = getattr(self._world, "run", None)  # to which it belongs, as its descriptor does
        self._fd = self._world.call(calls.epoll_create())

    def _call(self, request: calls.Request) -> Any:
        """Garbage of one run may be collected in the middle of another."""
        return self._world.call(request, self._run)

    @property
    def closed(self) -> bool:
        """Is it?"""
        return bool(self._fd < 0)

    def fileno(self) -> int:
        """ValueError once it is closed."""
        if self._fd < 0:
            raise ValueError("I/O operation on closed epoll object")
        return int(self._fd)

    def close(self) -> None:
        """close(2); a run that is over has closed everything."""
        fd, self._fd = self._fd, -1
        if fd >= 0 and not (self._run and self._run.over):
            self._call(calls.close(fd))

    def __enter__(self) -> Epoll:
        self.fileno()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _control(self, op: int, fd: FileDescriptorLike, mask: int = 0) -> None:
        self._call(calls.epoll_ctl(self.fileno(), op, number_of(fd), mask & KNOWN))

    def register(self, fd: FileDescriptorLike, eventmask: int = POLLIN | POLLPRI | POLLOUT) -> None:
        """EPOLL_CTL_ADD."""
        self._control(calls.EPOLL_CTL_ADD, fd, eventmask)

    def modify(self, fd: FileDescriptorLike, eventmask: int) -> None:
        """EPOLL_CTL_MOD."""
        self._control(calls.EPOLL_CTL_MOD, fd, eventmask)

    def unregister(self, fd: FileDescriptorLike) -> None:
        """EPOLL_CTL_DEL."""
        self._control(calls.EPOLL_CTL_DEL, fd)

    def poll(self, timeout: float | None = None, maxevents: int = -1) -> list[tuple[int, int]]:
        """epoll_wait(2): `timeout` in s, None or negative: for ever."""
        request = calls.epoll_wait(
            self.fileno(), 1023 if maxevents < 0 else maxevents, timeout_ns(timeout)
        )
        return [(int(one), one.events) for one in self._call(request)]


def module(world: World) -> ModuleType:
    """`select`, for this world, with what Linux has."""

    def select(
        rlist: Files, wlist: Files, xlist: Files, timeout: float | None = None
    ) -> tuple[list[FileDescriptorLike], list[FileDescriptorLike], list[FileDescriptorLike]]:
        if timeout is not None and timeout < 0:
            raise ValueError("timeout must be non-negative")
        reading, writing = ({number_of(one): one for one in things} for things in (rlist, wlist))
        request = calls.select(list(reading), timeout_ns(timeout), list(writing))
        ready = {int(one): one.events for one in world.call(request)}
        readable = calls.EPOLLIN | calls.EPOLLHUP | calls.EPOLLERR
        writable = calls.EPOLLOUT | calls.EPOLLERR
        return (
            [one for fd, one in reading.items() if ready.get(fd, 0) & readable],
            [one for fd, one in writing.items() if ready.get(fd, 0) & writable],
            [],
        )

    made = ModuleType("select", real.__doc__)
    kind = type("epoll", (Epoll,), {"_world": world, "__module__": "select"})
    poll = partial(Poll, world)
    vars(made).update(
        CONSTANTS, select=staticmethod(select), poll=staticmethod(poll), epoll=kind
    )  # selectors has them as attributes of classes, which do not bind what is written in C
    return made
