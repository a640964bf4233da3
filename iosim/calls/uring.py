"""io_uring: operations that the kernel carries out by itself, and a ring of their completions.

`io_uring_submit` and `io_uring_enter` are for one receive; a server prepares operations of every
kind, and hands them in together (`io_uring_submit_and_wait`).
"""

from __future__ import annotations

from dataclasses import dataclass
from errno import EBADF, EBUSY, EEXIST, EINVAL, EMFILE, ENOSYS, EOPNOTSUPP, EPERM
from typing import ClassVar

from ..validate import whole
from .request import A_SIZE, FETCHES, HANDS_IN, PREPARES, Bound, Request, Waiting
from .sockets import recvfrom

__all__ = [
    "IORING_SETUP_DEFER_TASKRUN", "IORING_SETUP_SINGLE_ISSUER", "io_uring_enter",
    "io_uring_peek_cqe", "io_uring_prep_accept", "io_uring_prep_recv", "io_uring_prep_send",
    "io_uring_setup", "io_uring_submit", "io_uring_submit_and_wait",
]  # fmt: skip

# Linux's values, of 6.0 and 6.1: io_uring_setup(2).
IORING_SETUP_SINGLE_ISSUER, IORING_SETUP_DEFER_TASKRUN = 1 << 12, 1 << 13
RING_FLAGS = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN


@dataclass(slots=True, eq=False)
class io_uring_setup(Request):
    """Two rings shared with the kernel, for submissions and completions: io_uring_setup(2).

    IORING_SETUP_SINGLE_ISSUER: this thread only submits (others meet EEXIST).  With
    IORING_SETUP_DEFER_TASKRUN besides, nothing is completed but in a call that waits for it.

    Replies with a descriptor.  PermissionError or OSError (ENOSYS) where it is refused; EINVAL for
    DEFER_TASKRUN without SINGLE_ISSUER, and for what an older Linux does not know.
    """

    role: ClassVar[str] = PREPARES
    errnos: ClassVar[tuple[int, ...]] = (EINVAL, EMFILE, ENOSYS, EPERM)
    bounds: ClassVar[dict[str, Bound]] = {
        "entries": (1, 4096, "entries"),
        "flags": (0, RING_FLAGS, "(IORING_SETUP_ flags)"),
    }  # fmt: skip
    entries: int = 8
    flags: int = 0

    def __post_init__(self) -> None:
        Request.__post_init__(self)
        if self.flags & ~RING_FLAGS:
            names = "IORING_SETUP_SINGLE_ISSUER and IORING_SETUP_DEFER_TASKRUN"
            raise ValueError(f"io_uring_setup: flags are made of {names}, got {self.flags:#x}")

    @property
    def feature(self) -> str:  # type: ignore[override]
        """Its flags came later than the rings."""
        return "DEFER_TASKRUN" if self.flags else "io_uring"


@dataclass(slots=True, eq=False)
class io_uring_submit(Request):
    """Ask for at most `size` bytes from `fd`, and go on: io_uring_enter(2), IORING_OP_RECV."""

    role: ClassVar[str] = HANDS_IN
    errnos: ClassVar[tuple[int, ...]] = (EBADF, EBUSY, EEXIST, EINVAL, EOPNOTSUPP)
    arms: ClassVar[bool] = True
    feature: ClassVar[str] = "io_uring"
    ring: int
    fd: int
    size: int

    def __post_init__(self) -> None:
        self.check_descriptors(self.ring, self.fd)
        self.check("size", *A_SIZE)


@dataclass(slots=True, eq=False)
class _WaitsForRing(Waiting):
    """A call that waits for a completion."""

    errnos: ClassVar[tuple[int, ...]] = (EBADF, EEXIST, EOPNOTSUPP, *recvfrom.errnos)
    feature: ClassVar[str] = "io_uring"
    ring: int

    def __post_init__(self) -> None:
        self.check_descriptors(self.ring)

    @property
    def fd(self) -> int:
        """The descriptor that the call names."""
        return self.ring


@dataclass(slots=True, eq=False)
class io_uring_enter(_WaitsForRing):
    """Wait for a completion, and get its bytes: io_uring_enter(2), IORING_ENTER_GETEVENTS."""

    role: ClassVar[str] = FETCHES


@dataclass(slots=True, eq=False)
class io_uring_peek_cqe(Request):
    """Look into the completion ring.  Replies with the bytes of the oldest completion, or None.

    Not a call: the ring lies in the program's own memory (io_uring(7)).
    """

    role: ClassVar[str] = FETCHES
    errnos: ClassVar[tuple[int, ...]] = (EBADF, EINVAL, EOPNOTSUPP, *recvfrom.errnos)
    trap: ClassVar[bool] = False
    feature: ClassVar[str] = "io_uring"
    ring: int

    def __post_init__(self) -> None:
        self.check_descriptors(self.ring)


@dataclass(slots=True, eq=False)
class _Prepare(Request):
    """An operation written into the submission ring.  Not a call: it lies in one's own memory."""

    role: ClassVar[str] = HANDS_IN
    errnos: ClassVar[tuple[int, ...]] = (EBADF, EBUSY, EINVAL, EOPNOTSUPP)
    trap: ClassVar[bool] = False
    arms: ClassVar[bool] = True
    ring: int
    fd: int

    def __post_init__(self) -> None:
        self.check_descriptors(self.ring, self.fd)


@dataclass(slots=True, eq=False)
class io_uring_prep_accept(_Prepare):
    """Accept a connection on the listening socket `fd`: io_uring_prep_accept(3)."""


@dataclass(slots=True, eq=False)
class io_uring_prep_recv(_Prepare):
    """Receive at most `size` bytes from `fd`: io_uring_prep_recv(3)."""

    size: int

    def __post_init__(self) -> None:
        _Prepare.__post_init__(self)
        self.check("size", *A_SIZE)


@dataclass(slots=True, eq=False)
class io_uring_prep_send(_Prepare):
    """Send all of `data` to `fd`: io_uring_prep_send(3), MSG_WAITALL."""

    data: bytes

    def __post_init__(self) -> None:
        _Prepare.__post_init__(self)
        whole("io_uring_prep_send: data", len(self.data), 1, 1 << 30, "bytes")


@dataclass(slots=True, eq=False)
class io_uring_submit_and_wait(_WaitsForRing):
    """Hand in all that was prepared, and wait for a completion: io_uring_submit_and_wait(3).

    Replies with all completions that are there, `(kind, fd, result)` each: the class of the
    operation, its descriptor, and a descriptor, bytes, a count, or the OSError that it met.
    """

    role: ClassVar[str] = FETCHES
