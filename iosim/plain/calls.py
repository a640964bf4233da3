"""Calls that Python's library makes and the course's programs do not, on the simulated kernel.

Their names are those of the system calls; each docstring names the manual page.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from errno import EADDRINUSE, EBADF, EINVAL, EMFILE, ENOPROTOOPT, ENOTCONN, ENOTSOCK, ENOTTY
from typing import TYPE_CHECKING, Any, ClassVar

from ..calls import O_NONBLOCK, send
from ..calls import getsockname as named_so
from ..calls import pthread_create as create_program
from ..calls.request import PASSES, PREPARES, OfDescriptor, Request
from ..sim.answers import answers
from ..sim.connections import internet, send_bytes
from ..sim.descriptions import failure, refusal
from ..sim.kernel import Kernel
from ..sim.sockets import Socket, socket_of
from ..sim.task import Side, Task, asleep
from ..sim.tcp import Listener, Stream
from ..sim.threads import start_thread
from ..sim.unix import UnixStream
from ..validate import HOUR_NS

if TYPE_CHECKING:
    from _typeshed import FileDescriptorLike

__all__ = [
    "FIONBIO", "FIONREAD", "SIOCOUTQ", "bind", "futex", "getpeername", "getsockname",
    "getsockopt", "ioctl", "number_of", "pthread_create", "sendto", "setsockopt", "socketpair",
    "tgkill", "timeout_ns",
]  # fmt: skip

# Linux's values, the same on all of its machines: ioctl(2), socket(7).
FIONBIO, FIONREAD, SIOCOUTQ = 0x5421, 0x541B, 0x5411
SOL_SOCKET = 1
SO_TYPE, SO_ERROR, SO_SNDBUF, SO_RCVBUF, SO_LINGER, SO_ACCEPTCONN = 3, 4, 7, 8, 13, 30
LAST_OPTION = 128  # of a socket: those of Linux 6 end below that
SOCK_STREAM = 1


def timeout_ns(seconds: float | None) -> int | None:
    """A time-out of Python's in ns, an hour at most; None, for ever, of None and of less than 0."""
    return None if seconds is None or seconds < 0 else min(math.ceil(seconds * 1e9), HOUR_NS)


def number_of(thing: FileDescriptorLike) -> int:
    """The descriptor of a file, or the descriptor.  ValueError for one that is closed."""
    if not isinstance(thing, int) and not hasattr(thing, "fileno"):
        raise TypeError("argument must be an int, or have a fileno() method.")
    fd = thing if isinstance(thing, int) else thing.fileno()
    if fd < 0:
        raise ValueError(f"file descriptor cannot be a negative integer ({fd})")
    return int(fd)


# -- sockets -----------------------------------------------------------------------------------


@dataclass(slots=True, eq=False)
class bind(OfDescriptor):
    """Give a socket `port` of 127.0.0.1 (0: any that is free): bind(2)."""

    role: ClassVar[str] = PREPARES
    errnos: ClassVar[tuple[int, ...]] = (EADDRINUSE, EBADF, EINVAL, ENOTSOCK)
    port: int


@answers(bind)
def bind_to(kernel: Kernel, task: Task, request: bind) -> None:
    """bind(2): EINVAL if it has one, EADDRINUSE if somebody listens there."""
    thing = internet(kernel, request)
    if thing.port or not thing.unconnected:
        raise refusal(EINVAL, request.fd)
    if request.port in kernel.network.ports:
        raise failure(EADDRINUSE)
    thing.port, thing.bound = request.port or kernel.network.free_port(), True


class getsockname(named_so):
    """The same, also of a connection of a story of traffic, whose port is not known."""

    __slots__ = ()


@answers(getsockname)
def own_port(kernel: Kernel, task: Task, request: getsockname) -> int:
    """getsockname(2)."""
    return int(getattr(socket_of(kernel, request.fd), "port", 0))


@dataclass(slots=True, eq=False)
class getpeername(OfDescriptor):
    """The port of the other side: getpeername(2)."""

    role: ClassVar[str] = PREPARES
    errnos: ClassVar[tuple[int, ...]] = (EBADF, ENOTCONN, ENOTSOCK)


@answers(getpeername)
def port_of_peer(kernel: Kernel, task: Task, request: getpeername) -> int:
    """getpeername(2)."""
    thing = socket_of(kernel, request.fd)
    if isinstance(thing, Stream) and thing.peer is not None and not thing.gone:
        return thing.peer.port
    if isinstance(thing, Stream | Listener):
        raise failure(ENOTCONN)
    return 0  # of a story of traffic, whose sender has no port here


@dataclass(slots=True, eq=False)
class socketpair(Request):
    """Two sockets, each connected to the other one: socketpair(2).  Gives both descriptors."""

    role: ClassVar[str] = PREPARES
    errnos: ClassVar[tuple[int, ...]] = (EMFILE,)


@answers(socketpair)
def new_pair(kernel: Kernel, task: Task, request: socketpair) -> tuple[int, int]:
    """socketpair(2)."""
    one, other = (kernel.network.new_stream(UnixStream) for _ in range(2))
    one.peer, other.peer = other, one
    first = kernel.table.new(one)
    try:
        return first, kernel.table.new(other)
    except OSError:
        kernel.table.close(kernel, first)
        raise


@dataclass(slots=True, eq=False)
class setsockopt(OfDescriptor):
    """Set an option: setsockopt(2), socket(7).

    SO_RCVBUF, SO_SNDBUF and SO_LINGER have their effect; others are kept, and have none.
    """

    role: ClassVar[str] = PREPARES
    errnos: ClassVar[tuple[int, ...]] = (EBADF, ENOTSOCK)
    level: int
    option: int
    value: Any


@answers(setsockopt)
def set_option(kernel: Kernel, task: Task, request: setsockopt) -> None:
    """socket(7): Linux doubles the size of a buffer.  ENOPROTOOPT for an option that is none."""
    thing = socket_of(kernel, request.fd)
    if request.level == SOL_SOCKET and not 0 < request.option <= LAST_OPTION:
        raise failure(ENOPROTOOPT)
    options = kernel.socket_options.setdefault(thing, {})  # type: ignore[attr-defined]
    options[request.level, request.option] = request.value
    if request.level != SOL_SOCKET:
        return
    if request.option == SO_RCVBUF:
        thing.rcvbuf = 2 * int(request.value)
    elif request.option == SO_SNDBUF and isinstance(thing, Stream):
        thing.sndbuf = 2 * int(request.value)
    elif request.option == SO_LINGER and isinstance(thing, Stream):
        thing.breaks_off = request.value[:1] != b"\0" and not any(request.value[4:8])


@dataclass(slots=True, eq=False)
class getsockopt(OfDescriptor):
    """An option: getsockopt(2).  SO_ERROR is cleared: socket(7)."""

    role: ClassVar[str] = PREPARES
    errnos: ClassVar[tuple[int, ...]] = (EBADF, ENOPROTOOPT, ENOTSOCK)
    level: int
    option: int


@answers(getsockopt)
def get_option(kernel: Kernel, task: Task, request: getsockopt) -> object:
    """What was set, or what the kernel knows; 0 for what nobody has set."""
    thing = socket_of(kernel, request.fd)
    if (request.level, request.option) == (SOL_SOCKET, SO_ERROR):
        errno, thing.error = thing.error, 0
        return errno
    known = {
        SO_TYPE: SOCK_STREAM,
        SO_ACCEPTCONN: int(isinstance(thing, Listener)),
        SO_RCVBUF: thing.rcvbuf,
        SO_SNDBUF: getattr(thing, "sndbuf", 0),
    }
    if request.level == SOL_SOCKET and request.option in known:
        return known[request.option]
    options = kernel.socket_options.get(thing, {})  # type: ignore[attr-defined]
    return options.get((request.level, request.option), 0)


class sendto(send):
    """What Python's `send` and `sendto` are in Linux: sendto(2)."""

    __slots__ = ()


answers(sendto)(send_bytes)


# -- any descriptor ----------------------------------------------------------------------------


@dataclass(slots=True, eq=False)
class ioctl(OfDescriptor):
    """FIONBIO sets or clears O_NONBLOCK; FIONREAD and SIOCOUTQ count bytes: ioctl(2), tcp(7)."""

    role: ClassVar[str] = PREPARES
    errnos: ClassVar[tuple[int, ...]] = (EBADF, ENOTTY)
    op: int
    arg: int = 0


@answers(ioctl)
def control(kernel: Kernel, task: Task, request: ioctl) -> int:
    """FIONREAD: bytes to be read.  SIOCOUTQ: sent, and not yet with the other side."""
    thing = kernel.table.get(request.fd)
    if request.op == FIONBIO:
        thing.flags = thing.flags | O_NONBLOCK if request.arg else thing.flags & ~O_NONBLOCK
        return 0
    if request.op == FIONREAD and isinstance(thing, Socket):
        return thing.waiting
    if request.op == SIOCOUTQ and isinstance(thing, Stream):
        on_its_way = 0 if thing.peer is None else thing.peer.expected - thing.peer.queued
        return thing.unsent + on_its_way
    raise failure(ENOTTY)


# -- threads and locks -------------------------------------------------------------------------


class pthread_create(create_program):
    """The same, of plain code: `start` is whatever the kernel hands over to."""

    __slots__ = ()

    def __post_init__(self) -> None:
        """It is made by `Run` only."""


answers(pthread_create)(start_thread)


@dataclass(slots=True, eq=False)
class tgkill(Request):
    """Send a signal to a thread, here oneself: tgkill(2)."""

    role: ClassVar[str] = PREPARES


@answers(tgkill)
def send_signal(kernel: Kernel, task: Task, request: tgkill) -> None:
    """It is pending by now, and comes before the call is entered."""


@dataclass(slots=True, eq=False)
class futex(Request):
    """Sleep until `lock` is free, and take it; or wake who sleeps for it: futex(2).

    Replies whether it has the lock: not after `timeout` ns (None: waits for ever).  A lock that is
    free, or for which nobody waits, needs no call at all.
    """

    role: ClassVar[str] = PASSES
    lock: Any
    timeout: int | None = None
    wake: bool = False

    def sleeps(self, nonblocking: bool) -> bool:
        """Who wants the lock."""
        return not self.wake

    def __repr__(self) -> str:
        return "futex(wake)" if self.wake else "futex(wait)"


@answers(futex)
def wait_for_lock(kernel: Kernel, task: Task, request: futex) -> Side:
    """futex(2), as CPython's locks use it: woken in turn, and the first who looks has it."""
    lock = request.lock
    if request.wake:
        if lock.waiters:
            kernel.wake(lock.waiters.pop(0))
        return True
    until = kernel.deadline(request.timeout)
    while lock.taken:
        if kernel.passed(until):
            if task in lock.waiters:
                lock.waiters.remove(task)
            return False
        if task not in lock.waiters:
            lock.waiters.append(task)
        yield asleep(until)
    lock.taken = True
    return True
