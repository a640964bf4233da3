"""The vocabulary of a server: calls on listening and connected sockets, and on threads.

These requests go with those of `syscalls`, and only over a story of clients (`clients`).  Sizes are
in bytes, times in ns.

    conn = yield accept(listener)
    data = yield recvfrom(conn, SIZE)
    sent = yield send(conn, data)

Each docstring names the manual page whose rule both kernels follow.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import GeneratorType
from typing import ClassVar

from .request import Program, Request, Waiting, WithTimeout
from .syscalls import (
    EPOLL_CTL_ADD,
    EPOLL_CTL_DEL,
    EPOLL_CTL_MOD,
    EPOLLERR,
    EPOLLET,
    EPOLLEXCLUSIVE,
    EPOLLHUP,
    EPOLLIN,
    EPOLLONESHOT,
    EPOLLOUT,
    MAX_FD,
    MSG_DONTWAIT,
    POLLNVAL,
    Ready,
    recvfrom,
)  # fmt: skip
from .validate import whole

__all__ = [
    "EPOLLERR", "EPOLLET", "EPOLLEXCLUSIVE", "EPOLLHUP", "EPOLLIN", "EPOLLONESHOT", "EPOLLOUT",
    "EPOLL_CTL_ADD", "EPOLL_CTL_DEL", "EPOLL_CTL_MOD", "MSG_TRUNC", "POLLNVAL", "SHUT_RD",
    "SHUT_RDWR",
    "SHUT_WR", "SOMAXCONN", "SO_ERROR", "Ready", "accept", "close", "connect", "getsockname",
    "getsockopt", "io_uring_prep_accept", "io_uring_prep_recv", "io_uring_prep_send",
    "io_uring_submit_and_wait", "kevent", "kqueue", "listen", "memfd_create", "pthread_create",
    "pthread_join", "recvmsg", "send",
    "shutdown", "socket",
]  # fmt: skip

SHUT_RD, SHUT_WR, SHUT_RDWR = 0, 1, 2
MSG_TRUNC = 0x20
SO_ERROR = 4
SOMAXCONN = 4_096  # of Linux since 5.4: listen(2)


def _fd(name: str, fd: int) -> None:
    whole(f"{name}: fd", fd, 0, MAX_FD, "(a descriptor)")


@dataclass(slots=True, eq=False)
class _OfFd(Request):
    """A call whose first argument is a descriptor."""

    fd: int

    def __post_init__(self) -> None:
        _fd(type(self).__name__, self.fd)


@dataclass(slots=True, eq=False)
class socket(Request):
    """A new TCP socket, not connected: socket(2).  Replies with its descriptor.

    OSError (EMFILE) when the process has as many as it may have: getrlimit(2), RLIMIT_NOFILE.
    """


@dataclass(slots=True, eq=False)
class accept(_OfFd):
    """Take the oldest connection off the listening socket `fd`: accept(2).

    Replies with the new descriptor, the lowest that is free, which inherits no flags.  Waits if
    there is none, unless `fd` is O_NONBLOCK: then BlockingIOError (EAGAIN).  OSError (EMFILE) at
    the limit of descriptors: the connection stays in the queue.
    """

    def waits(self, nonblocking: bool) -> bool:
        """Unless its descriptor is O_NONBLOCK."""
        return not nonblocking


@dataclass(slots=True, eq=False)
class listen(_OfFd):
    """Change the length of a listening socket's queue: listen(2).

    The queue holds `backlog` + 1 connections; who comes then is not answered, and tries again
    after 1 s, 2 s, ... (tcp(7), tcp_syn_retries).
    """

    backlog: int = SOMAXCONN

    def __post_init__(self) -> None:
        _fd("listen", self.fd)
        whole("listen: backlog", self.backlog, 0, SOMAXCONN, "connections")


@dataclass(slots=True, eq=False)
class getsockname(_OfFd):
    """The port that a socket is bound to, on 127.0.0.1: getsockname(2)."""


@dataclass(slots=True, eq=False)
class connect(_OfFd):
    """Connect to `port` of 127.0.0.1: connect(2).

    If `fd` is O_NONBLOCK: BlockingIOError (EINPROGRESS); once the handshake is over, or has failed,
    the descriptor is writable, and `getsockopt` tells which.  ConnectionRefusedError if nobody
    listens there.
    """

    port: int

    def __post_init__(self) -> None:
        _fd("connect", self.fd)
        whole("connect: port", self.port, 1, 65_535, "(a port)")

    def sleeps(self, nonblocking: bool) -> bool:
        """Until the handshake is over."""
        return True


@dataclass(slots=True, eq=False)
class getsockopt(_OfFd):
    """SO_ERROR: the pending error of a socket, an errno or 0, which is cleared: socket(7)."""

    option: int = SO_ERROR

    def __post_init__(self) -> None:
        _fd("getsockopt", self.fd)
        if self.option != SO_ERROR:
            raise ValueError(f"getsockopt: option must be SO_ERROR, got {self.option!r}")


class recvmsg(recvfrom):
    """As `recvfrom`, and what else is known of it: recvmsg(2).

    Replies with the bytes and with flags: MSG_TRUNC if a datagram was longer than `size`.
    """

    __slots__ = ()


@dataclass(slots=True, eq=False)
class send(_OfFd):
    """Copy `data` to the send buffer: send(2).  Replies with how many bytes of it.

    Waits until all fit, unless the descriptor is O_NONBLOCK or `flags` has MSG_DONTWAIT: then it
    may be fewer, and if none fit BlockingIOError (EAGAIN).  ConnectionResetError after a reset,
    BrokenPipeError after that, and after one's own SHUT_WR; no SIGPIPE (MSG_NOSIGNAL).
    """

    data: bytes
    flags: int = 0

    def __post_init__(self) -> None:
        _fd("send", self.fd)
        if not isinstance(self.data, bytes | bytearray | memoryview):
            raise TypeError(f"send: data must be bytes, got {self.data!r}")
        if self.flags not in (0, MSG_DONTWAIT):
            raise ValueError(f"send: flags must be 0 or MSG_DONTWAIT, got {self.flags!r}")

    def sleeps(self, nonblocking: bool) -> bool:
        """Until there is room for all of it, unless it is asked not to."""
        return not (nonblocking or self.flags & MSG_DONTWAIT)

    def __repr__(self) -> str:
        flags = f", flags={self.flags}" if self.flags else ""
        return f"send(fd={self.fd}, {len(self.data):,} bytes{flags})"


@dataclass(slots=True, eq=False)
class shutdown(_OfFd):
    """Close one direction of a connection: shutdown(2).  SHUT_WR: the other side reads an end."""

    how: int = SHUT_WR

    def __post_init__(self) -> None:
        _fd("shutdown", self.fd)
        if self.how not in (SHUT_RD, SHUT_WR, SHUT_RDWR):
            raise ValueError(f"shutdown: how must be SHUT_RD, _WR or _RDWR, got {self.how!r}")


@dataclass(slots=True, eq=False)
class close(_OfFd):
    """Close a descriptor: close(2).  Its number is free, and it leaves every interest list.

    What was not received is lost, and the other side is reset in place of an end (RFC 1122,
    4.2.2.13).
    """


@dataclass(slots=True, eq=False)
class memfd_create(Request):
    """A regular file that lives in memory: memfd_create(2).  Replies with its descriptor.

    select and poll call it always ready, epoll_ctl refuses it (PermissionError): epoll_ctl(2).
    """

    feature: ClassVar[str] = "memfd_create"


@dataclass(slots=True, eq=False)
class pthread_create(Request):
    """Run `start`, a program ready for its first step, in a new thread: pthread_create(3).

    Replies with the thread's number, from 1.  It shares all descriptors: clone(2), CLONE_FILES.
    """

    start: Program

    def __post_init__(self) -> None:
        if not isinstance(self.start, GeneratorType):
            raise TypeError(f"pthread_create: start must be a program, got {self.start!r}")


@dataclass(slots=True, eq=False)
class pthread_join(Request):
    """Wait until thread number `thread` is over: pthread_join(3)."""

    thread: int

    def __post_init__(self) -> None:
        whole("pthread_join: thread", self.thread, 1, 1_000_000, "(a thread)")

    def sleeps(self, nonblocking: bool) -> bool:
        """Until it is over."""
        return True


@dataclass(slots=True, eq=False)
class _Prepare(Request):
    """An operation written into the submission ring.  Not a call: it lies in one's own memory."""

    trap: ClassVar[bool] = False
    arms: ClassVar[bool] = True
    ring: int
    fd: int

    def __post_init__(self) -> None:
        _fd(type(self).__name__, self.ring)
        _fd(type(self).__name__, self.fd)


@dataclass(slots=True, eq=False)
class io_uring_prep_accept(_Prepare):
    """Accept a connection on the listening socket `fd`: io_uring_prep_accept(3)."""


@dataclass(slots=True, eq=False)
class io_uring_prep_recv(_Prepare):
    """Receive at most `size` bytes from `fd`: io_uring_prep_recv(3)."""

    size: int

    def __post_init__(self) -> None:
        _Prepare.__post_init__(self)
        whole("io_uring_prep_recv: size", self.size, 1, 1 << 30, "bytes")


@dataclass(slots=True, eq=False)
class io_uring_prep_send(_Prepare):
    """Send all of `data` to `fd`: io_uring_prep_send(3), MSG_WAITALL."""

    data: bytes

    def __post_init__(self) -> None:
        _Prepare.__post_init__(self)
        whole("io_uring_prep_send: data", len(self.data), 1, 1 << 30, "bytes")


@dataclass(slots=True, eq=False)
class io_uring_submit_and_wait(Waiting):
    """Hand in all that was prepared, and wait for a completion: io_uring_submit_and_wait(3).

    Replies with all completions that are there, `(kind, fd, result)` each: the class of the
    operation, its descriptor, and a descriptor, bytes, a count, or the OSError that it met.
    """

    feature: ClassVar[str] = "io_uring"
    ring: int

    def __post_init__(self) -> None:
        _fd("io_uring_submit_and_wait", self.ring)

    @property
    def fd(self) -> int:
        """The descriptor that the call names."""
        return self.ring


@dataclass(slots=True, eq=False)
class kqueue(Request):
    """BSD's and macOS's list of events: kqueue(2).  Replies with its descriptor.

    OSError (ENOSYS) on systems that have none, such as Linux.
    """

    feature: ClassVar[str] = "kqueue"


@dataclass(slots=True, eq=False)
class kevent(WithTimeout):
    """Wait until a descriptor of `kq` is ready; first begin to watch `adds`: kevent(2).

    Replies with a list of at most `nevents` `Ready`, empty after `timeout` ns.  Level-triggered.
    """

    kq: int
    adds: tuple[int, ...] = ()
    nevents: int = 64
    timeout: int | None = None

    def __post_init__(self) -> None:
        for fd in (self.kq, *self.adds):
            _fd("kevent", fd)
        whole("kevent: nevents", self.nevents, 1, 1 << 20, "events")

    @property
    def fd(self) -> int:
        """The descriptor that the call names."""
        return self.kq
