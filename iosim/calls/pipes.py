"""Pipes and event counters, and read(2) and write(2) of any descriptor.

r, w = yield pipe()
yield write(w, b"!")
wake = yield read(r, 1)
"""

from __future__ import annotations

from dataclasses import dataclass
from errno import EINVAL, EMFILE
from typing import ClassVar

from .request import A_DESCRIPTOR, A_SIZE, PREPARES, RECEIVES, SENDS, Bound, OfDescriptor, Request
from .sockets import OF_A_CONNECTION

__all__ = ["PIPE_BUF", "eventfd", "pipe", "read", "write"]

PIPE_BUF = 4_096  # a write of no more than so many bytes is not cut in two: pipe(7)


@dataclass(slots=True, eq=False)
class pipe(Request):
    """A new pipe: pipe(2).  Replies with the descriptors of its read end and of its write end.

    It holds 64 KiB, in 16 pages: pipe(7).
    """

    role: ClassVar[str] = PREPARES
    errnos: ClassVar[tuple[int, ...]] = (EMFILE,)


@dataclass(slots=True, eq=False)
class eventfd(Request):
    """A new counter in the kernel, which begins at `initval`: eventfd(2).  Gives its descriptor.

    Reading 8 bytes replies with the count and sets it to 0 (and waits while it is 0); writing 8
    bytes adds them to it, as an unsigned number in the byte order of the machine.  (More than 8 are
    refused, EINVAL, since Linux 6.9.)
    """

    role: ClassVar[str] = PREPARES
    errnos: ClassVar[tuple[int, ...]] = (EMFILE,)
    feature: ClassVar[str] = "eventfd"
    bounds: ClassVar[dict[str, Bound]] = {"initval": (0, (1 << 32) - 1, "(an unsigned int)")}
    initval: int = 0


@dataclass(slots=True, eq=False)
class read(OfDescriptor):
    """Read at most `size` bytes: read(2).  Of a socket it is `recvfrom` without flags.

    Of a pipe: waits while it is empty, unless the descriptor is O_NONBLOCK (then BlockingIOError,
    EAGAIN); b"" once every write end is closed: pipe(7).
    """

    role: ClassVar[str] = RECEIVES
    errnos: ClassVar[tuple[int, ...]] = (*OF_A_CONNECTION, EINVAL)
    flags: ClassVar[int] = 0
    bounds: ClassVar[dict[str, Bound]] = {"fd": A_DESCRIPTOR, "size": A_SIZE}
    size: int

    def waits(self, nonblocking: bool) -> bool:
        """Unless its descriptor is O_NONBLOCK."""
        return not nonblocking


@dataclass(slots=True, eq=False)
class write(OfDescriptor):
    """Write `data`: write(2).  Replies with how many bytes of it.  Of a socket it is `send`.

    Of a pipe: waits until all of it fits.  If the descriptor is O_NONBLOCK, up to PIPE_BUF bytes
    are written wholly or not at all (BlockingIOError, EAGAIN), of more those that fit.
    BrokenPipeError once every read end is closed; no SIGPIPE, which Python ignores: pipe(7).
    """

    role: ClassVar[str] = SENDS
    errnos: ClassVar[tuple[int, ...]] = (*OF_A_CONNECTION, EINVAL)
    flags: ClassVar[int] = 0
    data: bytes

    def __post_init__(self) -> None:
        self.check_descriptors(self.fd)
        if not isinstance(self.data, bytes | bytearray | memoryview):
            raise TypeError(f"write: data must be bytes, got {self.data!r}")

    def sleeps(self, nonblocking: bool) -> bool:
        """Until there is room for all of it, unless its descriptor is O_NONBLOCK."""
        return not nonblocking

    def __repr__(self) -> str:
        return f"write(fd={self.fd}, {len(self.data):,} bytes)"
