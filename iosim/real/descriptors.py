"""The program's descriptors, and the calls on any of them: fcntl(2), close(2), memfd_create(2)."""

from __future__ import annotations

import _socket
import os
import struct
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from errno import EBADF, ENOTSOCK
from functools import partial
from socket import SHUT_RDWR, socketpair
from socket import socket as Socket
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, runtime_checkable

from ..calls import (
    EPOLLIN,
    F_SETFL,
    F_SETOWN,
    F_SETSIG,
    O_ASYNC,
    O_NONBLOCK,
    SIGIO,
    Request,
    close,
    fcntl,
    memfd_create,
)
from ..kernels.watchdog import F_OWNER_TID, F_SETOWN_EX
from ..machine.errors import failure
from .answers import Prepared, answers, nothing
from .features import missing, real_fcntl

if TYPE_CHECKING:
    from .driver import Driver

__all__ = ["NO_FD", "Descriptors", "Kept", "Waker", "failure", "keep"]

NO_FD = -1  # a descriptor that is never open
Use = Callable[[], bool]  # does it go on?
Kind = TypeVar("Kind")


class OpenFile(Protocol):
    """What has a descriptor: a socket, an interest list, a ring, a file."""

    def fileno(self) -> int: ...
    def close(self) -> None: ...


@runtime_checkable
class InterestList(OpenFile, Protocol):
    """`select.epoll`, of which other systems have none."""

    def register(self, fd: int, eventmask: int, /) -> None: ...


@runtime_checkable
class EndOfPipe(OpenFile, Protocol):
    """What wakes by itself whoever waits for it."""

    def shut(self) -> None: ...


class Waker:
    """Ends every wait for what is open, in whatever thread; it stays open.

    An interest list is given a socket that is always readable.  (To close the list wakes nobody.)
    That socket is made before the program runs, which may leave no descriptor for it, and stays
    open until all have woken up: what is closed is in no list any more.
    """

    def __init__(self) -> None:
        self._end, other = socketpair()
        other.close()

    def wake(self, thing: OpenFile, how: int = SHUT_RDWR) -> None:
        """Whoever waits for it.  No recorder takes these calls down: they are not the program's."""
        if isinstance(thing, _socket.socket):  # of whatever class: plain code has one of its own
            with suppress(OSError):  # closed, or never connected: woken none the less
                _socket.socket.shutdown(thing, how)
        elif isinstance(thing, InterestList):
            with suppress(OSError, ValueError):  # it is closed, or has been told before
                thing.register(self._end.fileno(), EPOLLIN)
        elif isinstance(thing, EndOfPipe):
            thing.shut()

    def close(self) -> None:
        self._end.close()


class Kept:
    """What was closed under those who use it: the system keeps it for as long as they do.

    So does this, since who sleeps in it must be woken at the end of the run.  It is told of calls:
    who makes one (a thread, in whatever form), and which descriptors it names.  There is no
    lock, for which a signal's handler would wait in its own thread: it looks at copies.
    """

    def __init__(self) -> None:
        self._in_call: dict[object, set[int]] = {}
        self._pairs: list[tuple[Sequence[Use], OpenFile]] = []

    def enter(self, who: object, fds: set[int]) -> None:
        """`who` makes a call in which it may sleep."""
        self._in_call[who] = fds

    def leave(self, who: object) -> None:
        """It is over, and so is what nobody uses any more."""
        self._in_call.pop(who, None)  # a handler's call, within another one, has done so
        for pair in list(self._pairs):
            if not any(use() for use in pair[0]):
                with suppress(ValueError):  # somebody else was faster
                    self._pairs.remove(pair)
                pair[1].close()

    def uses(self, who: object, fd: int) -> list[Use]:
        """The calls of others that name it: each tells whether it still goes on."""
        calls = list(self._in_call.items())
        return [
            partial(self._goes_on, *each) for each in calls if fd in each[1] and each[0] is not who
        ]

    def _goes_on(self, who: object, fds: set[int]) -> bool:
        return self._in_call.get(who) is fds

    def keep(self, made: OpenFile | None, uses: Sequence[Use]) -> None:
        """`made` is about to be closed, and has these uses."""
        if uses and _can_be_woken(made):
            with suppress(OSError):  # no room: who sleeps in it does so until the limit
                self._pairs.append((uses, _duplicate(made)))

    def things(self) -> list[OpenFile]:
        """All that is kept."""
        return [one for _, one in self._pairs]

    def close(self) -> None:
        """All of it."""
        while self._pairs:
            self._pairs.pop()[1].close()


def _duplicate(made: Any) -> OpenFile:
    """Another descriptor of the same open description; OSError where there is no room for it.

    Its number is far from those that the program gets next: poll(2) and select(2), once woken, ask
    again by number, and must not meet with this one where the closed one was.
    """
    import resource

    far = resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2
    fd = real_fcntl.fcntl(made.fileno(), real_fcntl.F_DUPFD_CLOEXEC, far)
    if isinstance(made, _socket.socket):
        return Socket(fileno=fd)
    other: OpenFile = made.fromfd(fd) if hasattr(made, "fromfd") else type(made)(fd)
    return other


def _can_be_woken(made: object) -> bool:
    """Is there a way to end what waits for it: see `shut`."""
    return isinstance(made, _socket.socket | InterestList) or hasattr(made, "shut")


class Descriptors:
    """What the program has open, by number: what else is open here is not its business."""

    waker: Waker

    def __init__(self) -> None:
        self.open: dict[int, OpenFile] = {}
        self.nonblocking: set[int] = set()
        self.kept = Kept()

    def __contains__(self, fd: int) -> bool:
        return fd in self.open

    def mine(self, fd: int) -> int:
        """EBADF for what is not the program's."""
        if fd not in self.open:
            raise failure(EBADF)
        return fd

    def socket(self, fd: int) -> Socket:
        """For a socket's call: ENOTSOCK for another descriptor, as the system looks for that first.

        (Python does not let it be asked: it makes no socket of what is none.)
        """
        return self.own(fd, Socket, ENOTSOCK)

    def own(self, fd: int, kind: type[Kind] | tuple[()], errno: int) -> Kind:
        """What is kept for the descriptor; `errno`, if that is of another kind."""
        one = self.open[self.mine(fd)]
        if not isinstance(one, kind):
            raise failure(errno)
        return one

    def operand(self, fd: int) -> int:
        """For what tells of EBADF later: a closed one in place of what is not the program's."""
        return fd if fd in self.open else NO_FD

    def keep(self, made: OpenFile) -> int:
        """A new one; its number."""
        fd = made.fileno()
        self.open[fd] = made
        self.nonblocking.discard(fd)
        return fd

    def forget(self, fd: int) -> OpenFile:
        """What is to be closed.  Before its close: after it a thread may have the number again."""
        self.nonblocking.discard(fd)
        return self.open.pop(self.mine(fd))

    def enter(self, driver: Driver, request: Request) -> None:
        """Its thread makes a call in which it may sleep."""
        fds = *getattr(request, "fds", ()), *getattr(request, "writefds", ())
        self.kept.enter(driver, {getattr(request, "fd", NO_FD), *fds})

    def leave(self, driver: Driver) -> None:
        """It is over, and so is what was kept for it."""
        self.kept.leave(driver)

    def keep_for_others(self, driver: Driver, fd: int, reads: Sequence[Use]) -> None:
        """`driver` is about to close it: do others sleep in it, or do `reads` of it go on?"""
        self.kept.keep(self.open.get(fd), [*reads, *self.kept.uses(driver, fd)])

    def all(self) -> list[OpenFile]:
        """Those that are open now, and those that are kept."""
        return [*self.open.values(), *self.kept.things()]

    def sockets(self) -> list[Socket]:
        """Those of them that are sockets."""
        return [one for one in self.all() if isinstance(one, Socket)]

    def shut(self, how: int = SHUT_RDWR) -> None:
        """End what waits for them, in whatever thread."""
        for each in self.all():
            self.waker.wake(each, how)

    def close(self) -> None:
        """As when the process ends: all of them are closed."""
        while self.open:
            self.open.popitem()[1].close()
        self.kept.close()


def keep(driver: Driver, call: int, start: int, end: int, made: OpenFile) -> tuple[int, int]:
    """A new descriptor is the program's: the end of the calls that make one."""
    return driver.process.descriptors.keep(made), 0


class _File:
    """A regular file in memory."""

    def __init__(self) -> None:
        self._fd = os.memfd_create("iosim")

    def fileno(self) -> int:
        return self._fd

    def close(self) -> None:
        os.close(self._fd)


@answers(memfd_create)
def _memfd_create(driver: Driver, request: memfd_create) -> Prepared:
    if not hasattr(os, "memfd_create"):
        raise missing("memfd_create")
    return _File, partial(keep, driver)


@answers(close)
def _close(driver: Driver, request: close) -> Prepared:
    process, fd = driver.process, request.fd
    process.descriptors.keep_for_others(driver, fd, process.reads.uses(fd))
    made = process.descriptors.forget(fd)
    process.messages.connection.pop(fd, None)
    process.signals.armed.discard(fd)
    return made.close, nothing


# -- fcntl -------------------------------------------------------------------------------------


@answers(fcntl)
def _fcntl(driver: Driver, request: fcntl) -> Prepared:
    descriptors = driver.process.descriptors
    fd = descriptors.mine(request.fd)
    if real_fcntl is None:
        return _without_fcntl(driver, descriptors.socket(fd), request)
    return partial(real_fcntl.fcntl, fd, *CHANGES[request.cmd](driver, request)), nothing


def _without_fcntl(driver: Driver, one: Socket, request: fcntl) -> Prepared:
    """Windows: O_NONBLOCK by ioctlsocket(FIONBIO), and nothing else."""
    if request.cmd != F_SETFL or request.arg & O_ASYNC:
        raise missing("fcntl")
    _note_nonblocking(driver, request)
    return partial(one.setblocking, not request.arg & O_NONBLOCK), nothing


def _note_nonblocking(driver: Driver, request: fcntl) -> None:
    nonblocking = driver.process.descriptors.nonblocking
    (nonblocking.add if request.arg & O_NONBLOCK else nonblocking.discard)(request.fd)


def _set_flags(driver: Driver, request: fcntl) -> tuple[int, int]:
    _note_nonblocking(driver, request)
    flags = os.O_NONBLOCK if request.arg & O_NONBLOCK else 0
    if request.arg & O_ASYNC:
        signals = driver.signals
        signals.guard(signals.of_fd.get(request.fd, SIGIO))
        signals.armed.add(request.fd)
        flags |= os.O_ASYNC
    return real_fcntl.F_SETFL, flags


def _set_owner(driver: Driver, request: fcntl) -> tuple[int, int | bytes]:
    """This thread: a signal for the process might be taken by another one, and end us all."""
    if not sys.platform.startswith("linux"):
        return real_fcntl.F_SETOWN, os.getpid()
    return F_SETOWN_EX, struct.pack("ii", F_OWNER_TID, threading.get_native_id())


def _set_signal(driver: Driver, request: fcntl) -> tuple[int, int]:
    if not hasattr(real_fcntl, "F_SETSIG"):
        raise missing("F_SETSIG")
    signo = request.arg or SIGIO
    driver.signals.guard(signo)
    driver.signals.of_fd[request.fd] = signo
    return real_fcntl.F_SETSIG, request.arg


CHANGES: dict[int, Callable[[Driver, fcntl], tuple[int, int | bytes]]] = {
    F_SETFL: _set_flags, F_SETOWN: _set_owner, F_SETSIG: _set_signal,
}  # fmt: skip
