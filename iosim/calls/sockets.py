"""Calls on sockets: datagrams and streams, and those of a server.

conn = yield accept(listener)
data = yield recvfrom(conn, SIZE)
sent = yield send(conn, data)
"""

from __future__ import annotations

from dataclasses import dataclass
from errno import (
    EAGAIN,
    EALREADY,
    EBADF,
    ECONNREFUSED,
    ECONNRESET,
    EINPROGRESS,
    EINVAL,
    EISCONN,
    EMFILE,
    ENOTCONN,
    ENOTSOCK,
    EPIPE,
    ETIMEDOUT,
)
from typing import ClassVar

from .request import A_DESCRIPTOR, A_SIZE, PREPARES, RECEIVES, SENDS, Bound, OfDescriptor, Request

__all__ = [
    "MSG_DONTWAIT", "MSG_PEEK", "MSG_TRUNC", "SHUT_RD", "SHUT_RDWR", "SHUT_WR", "SIZE",
    "SOMAXCONN", "accept", "connect", "getsockname", "listen", "recvfrom", "recvmsg", "send",
    "shutdown", "socket",
]  # fmt: skip

#: What a call that receives or sends may meet, besides EINTR.
OF_A_CONNECTION = (EAGAIN, EBADF, ECONNREFUSED, ECONNRESET, ENOTCONN, EPIPE)

SIZE = 65_536  # of the buffer that the course's programs receive into: any datagram fits

# Linux's values: recv(2), shutdown(2).
MSG_PEEK, MSG_TRUNC, MSG_DONTWAIT = 0x2, 0x20, 0x40
SHUT_RD, SHUT_WR, SHUT_RDWR = 0, 1, 2
SOMAXCONN = 4_096  # of Linux since 5.4: listen(2)


@dataclass(slots=True, eq=False)
class socket(Request):
    """A new TCP socket, not connected: socket(2).  Replies with its descriptor.

    OSError (EMFILE) when the process has as many as it may have: getrlimit(2), RLIMIT_NOFILE.
    """

    role: ClassVar[str] = PREPARES
    errnos: ClassVar[tuple[int, ...]] = (EMFILE,)


@dataclass(slots=True, eq=False)
class recvfrom(OfDescriptor):
    """Receive at most `size` bytes: recvfrom(2), recv(2).

    Replies with bytes: a whole datagram (the rest of a longer one is lost), or what a stream has
    (at least 1; b"" at end of file).  Waits if there is nothing, unless the descriptor is
    O_NONBLOCK or `flags` has MSG_DONTWAIT: then BlockingIOError (EAGAIN).  ConnectionResetError
    after a reset.
    """

    role: ClassVar[str] = RECEIVES
    errnos: ClassVar[tuple[int, ...]] = (*OF_A_CONNECTION, ENOTSOCK)
    bounds: ClassVar[dict[str, Bound]] = {
        "fd": A_DESCRIPTOR, "size": A_SIZE,
        "flags": (0, MSG_PEEK | MSG_DONTWAIT, "(MSG_ flags)"),
    }  # fmt: skip
    size: int
    flags: int = 0

    def waits(self, nonblocking: bool) -> bool:
        """Unless it is asked not to."""
        return not (nonblocking or self.flags & MSG_DONTWAIT)


class recvmsg(recvfrom):
    """As `recvfrom`, and what else is known of it: recvmsg(2).

    Replies with the bytes and with flags: MSG_TRUNC if a datagram was longer than `size`.
    """

    __slots__ = ()


@dataclass(slots=True, eq=False)
class send(OfDescriptor):
    """Copy `data` to the send buffer: send(2).  Replies with how many bytes of it.

    Waits until all fit (fewer, if the connection is reset meanwhile), unless the descriptor is
    O_NONBLOCK or `flags` has MSG_DONTWAIT: then it may be fewer, and if none fit BlockingIOError
    (EAGAIN).  ConnectionResetError after a reset,
    BrokenPipeError after that, and after one's own SHUT_WR; no SIGPIPE (MSG_NOSIGNAL).
    """

    role: ClassVar[str] = SENDS
    errnos: ClassVar[tuple[int, ...]] = (*OF_A_CONNECTION, ENOTSOCK)
    linux: ClassVar[tuple[str, ...]] = ("sendto",)
    data: bytes
    flags: int = 0

    def __post_init__(self) -> None:
        self.check_descriptors(self.fd)
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
class shutdown(OfDescriptor):
    """Close one direction of a connection: shutdown(2).  SHUT_WR: the other side reads an end."""

    role: ClassVar[str] = SENDS
    errnos: ClassVar[tuple[int, ...]] = (EBADF, ENOTCONN, ENOTSOCK)
    how: int = SHUT_WR

    def __post_init__(self) -> None:
        self.check_descriptors(self.fd)
        if self.how not in (SHUT_RD, SHUT_WR, SHUT_RDWR):
            raise ValueError(f"shutdown: how must be SHUT_RD, _WR or _RDWR, got {self.how!r}")


@dataclass(slots=True, eq=False)
class listen(OfDescriptor):
    """Change the length of a listening socket's queue: listen(2).

    The queue holds `backlog` + 1 connections; who comes then is not answered, and tries again
    after 1 s, 2 s, ... (tcp(7), tcp_syn_retries).
    """

    role: ClassVar[str] = PREPARES
    errnos: ClassVar[tuple[int, ...]] = (EBADF, EINVAL, ENOTSOCK)
    bounds: ClassVar[dict[str, Bound]] = {
        "fd": A_DESCRIPTOR,
        "backlog": (0, SOMAXCONN, "connections"),
    }
    backlog: int = SOMAXCONN


@dataclass(slots=True, eq=False)
class accept(OfDescriptor):
    """Take the oldest connection off the listening socket `fd`: accept(2).

    Replies with the new descriptor, the lowest that is free, which inherits no flags.  Waits if
    there is none, unless `fd` is O_NONBLOCK: then BlockingIOError (EAGAIN).  OSError (EMFILE) at
    the limit of descriptors: the connection stays in the queue.
    """

    role: ClassVar[str] = RECEIVES
    errnos: ClassVar[tuple[int, ...]] = (EAGAIN, EBADF, EINVAL, EMFILE, ENOTSOCK)
    linux: ClassVar[tuple[str, ...]] = ("accept", "accept4")

    def waits(self, nonblocking: bool) -> bool:
        """Unless its descriptor is O_NONBLOCK."""
        return not nonblocking


@dataclass(slots=True, eq=False)
class connect(OfDescriptor):
    """Connect to `port` of 127.0.0.1: connect(2).

    If `fd` is O_NONBLOCK: BlockingIOError (EINPROGRESS); once the handshake is over, or has failed,
    the descriptor is writable, and `getsockopt` tells which.  ConnectionRefusedError if nobody
    listens there.
    """

    role: ClassVar[str] = PREPARES
    errnos: ClassVar[tuple[int, ...]] = (
        EALREADY,
        EBADF,
        ECONNREFUSED,
        EINPROGRESS,
        EISCONN,
        ENOTSOCK,
        ETIMEDOUT,
    )
    bounds: ClassVar[dict[str, Bound]] = {"fd": A_DESCRIPTOR, "port": (1, 65_535, "(a port)")}
    port: int

    def sleeps(self, nonblocking: bool) -> bool:
        """Until the handshake is over."""
        return True


@dataclass(slots=True, eq=False)
class getsockname(OfDescriptor):
    """The port that a socket is bound to, on 127.0.0.1: getsockname(2)."""

    role: ClassVar[str] = PREPARES
    errnos: ClassVar[tuple[int, ...]] = (EBADF, ENOTSOCK)
