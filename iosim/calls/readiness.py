"""Which descriptors are ready: select, poll, epoll, and kqueue."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from errno import EBADF, EEXIST, EINVAL, ELOOP, EMFILE, ENOENT, ENOSYS, EPERM
from typing import ClassVar

from .request import ASKS, PREPARES, Request, WithTimeout

__all__ = [
    "EPOLLERR", "EPOLLET", "EPOLLEXCLUSIVE", "EPOLLHUP", "EPOLLIN", "EPOLLONESHOT", "EPOLLOUT",
    "EPOLLRDHUP", "EPOLL_CTL_ADD", "EPOLL_CTL_DEL", "EPOLL_CTL_MOD", "POLLNVAL", "Ready",
    "epoll_create", "epoll_ctl", "epoll_wait", "kevent", "kqueue", "poll", "select",
]  # fmt: skip

# Linux's values: epoll_ctl(2), and poll's own: poll(2).
EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLL_CTL_MOD = 1, 2, 3
EPOLLIN, EPOLLOUT, EPOLLERR, EPOLLHUP = 0x1, 0x4, 0x8, 0x10  # and poll's
EPOLLRDHUP = 0x2000  # nothing more will come: the other side's end, or one's own SHUT_RD
EPOLLEXCLUSIVE, EPOLLONESHOT, EPOLLET = 1 << 28, 1 << 30, 1 << 31
POLLNVAL = 0x20  # poll's answer for a descriptor that is not open


class Ready(int):
    """A descriptor that is ready; `events` says for what (EPOLLIN, EPOLLOUT, ...): epoll_ctl(2)."""

    events: int

    def __new__(cls, fd: int, events: int) -> Ready:
        ready = super().__new__(cls, fd)
        ready.events = events
        return ready

    def __reduce__(self) -> tuple[type[Ready], tuple[int, int]]:
        return Ready, (int(self), self.events)  # for copy and pickle

    @property
    def readable(self) -> bool:
        """Would a receive, or accept, not wait?  An end and an error count: poll(2)."""
        return bool(self.events & (EPOLLIN | EPOLLHUP | EPOLLERR))

    @property
    def writable(self) -> bool:
        """Is there room to send?"""
        return bool(self.events & EPOLLOUT)


class _Scan(WithTimeout):
    """A call that looks at each of `fds`."""

    __slots__ = ()
    fds: Sequence[int] | Mapping[int, int]

    @property
    def listed(self) -> int:  # type: ignore[override]
        """The program has made a list of what to scan."""
        return len(self.fds)


@dataclass(slots=True, eq=False)
class select(_Scan):
    """Wait until one of `fds` can be read: select(2).

    Replies with the list of those that can, as `Ready`; an empty one after `timeout` ns (None:
    waits for ever, 0: does not wait).  ValueError on the real kernel for a descriptor above 1023
    (FD_SETSIZE).  It also waits until one of `writefds` can be written to.
    """

    role: ClassVar[str] = ASKS
    errnos: ClassVar[tuple[int, ...]] = (EBADF,)
    linux: ClassVar[tuple[str, ...]] = ("select", "pselect6")
    feature: ClassVar[str] = "select"
    fds: Sequence[int]
    timeout: int | None = None
    writefds: Sequence[int] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        self.check_descriptors(*self.fds)
        self.check_descriptors(*self.writefds)
        self.check_timeout()

    @property
    def asked(self) -> dict[int, int]:
        """What of each descriptor: EPOLLIN, EPOLLOUT or both."""
        asked = dict.fromkeys(self.fds, EPOLLIN)
        for fd in self.writefds:
            asked[fd] = asked.get(fd, 0) | EPOLLOUT
        return asked


@dataclass(slots=True, eq=False)
class poll(_Scan):
    """As `select`, with an array in place of a bit map: poll(2).  Times are rounded up to ms.

    `fds` may be a dict, from each descriptor to its events (EPOLLIN | EPOLLOUT | EPOLLRDHUP).  One
    that is not open is POLLNVAL.
    """

    role: ClassVar[str] = ASKS
    linux: ClassVar[tuple[str, ...]] = ("poll", "ppoll")
    feature: ClassVar[str] = "poll"
    fds: Sequence[int] | Mapping[int, int]
    timeout: int | None = None

    def __post_init__(self) -> None:
        self.check_descriptors(*self.fds)
        self.check_timeout()

    @property
    def asked(self) -> dict[int, int]:
        """What of each descriptor, as for `select`."""
        fds = self.fds
        return dict(fds) if isinstance(fds, Mapping) else dict.fromkeys(fds, EPOLLIN)


@dataclass(slots=True, eq=False)
class epoll_create(Request):
    """A new interest list: epoll_create1(2).  Replies with its descriptor."""

    role: ClassVar[str] = PREPARES
    errnos: ClassVar[tuple[int, ...]] = (EMFILE,)
    linux: ClassVar[tuple[str, ...]] = ("epoll_create1", "epoll_create")
    feature: ClassVar[str] = "epoll"


@dataclass(slots=True, eq=False)
class epoll_ctl(Request):
    """Put `fd` on the interest list `epfd`, take it off, or change its `events`: epoll_ctl(2).

    FileExistsError if it is on the list already, FileNotFoundError if it is not.
    """

    role: ClassVar[str] = PREPARES
    errnos: ClassVar[tuple[int, ...]] = (EBADF, EEXIST, EINVAL, ELOOP, ENOENT, EPERM)
    epfd: int
    op: int
    fd: int
    events: int = field(default=EPOLLIN, repr=False)

    def __post_init__(self) -> None:
        self.check_descriptors(self.epfd, self.fd)
        if self.op not in (EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLL_CTL_MOD):
            raise ValueError(
                f"epoll_ctl: op must be EPOLL_CTL_ADD or _DEL or _MOD, got {self.op!r}"
            )
        self.check("events", 0, (1 << 32) - 1, "(EPOLL flags)")


@dataclass(slots=True, eq=False)
class epoll_wait(WithTimeout):
    """Wait until a descriptor of the list is ready: epoll_wait(2); level-triggered, or EPOLLET.

    Replies with a list of at most `maxevents` `Ready`, empty after `timeout` ns, which are rounded
    up to ms.
    """

    role: ClassVar[str] = ASKS
    errnos: ClassVar[tuple[int, ...]] = (EBADF, EINVAL)
    linux: ClassVar[tuple[str, ...]] = ("epoll_wait", "epoll_pwait", "epoll_pwait2")
    epfd: int
    maxevents: int = 64
    timeout: int | None = None

    def __post_init__(self) -> None:
        self.check_descriptors(self.epfd)
        self.check("maxevents", 1, 1 << 20, "events")
        self.check_timeout()

    @property
    def fd(self) -> int:
        """The descriptor that the call names."""
        return self.epfd


@dataclass(slots=True, eq=False)
class kqueue(Request):
    """BSD's and macOS's list of events: kqueue(2).  Replies with its descriptor.

    OSError (ENOSYS) on systems that have none, such as Linux.
    """

    role: ClassVar[str] = PREPARES
    errnos: ClassVar[tuple[int, ...]] = (EMFILE, ENOSYS)
    feature: ClassVar[str] = "kqueue"


@dataclass(slots=True, eq=False)
class kevent(WithTimeout):
    """Wait until a descriptor of `kq` is ready; first begin to watch `adds`: kevent(2).

    Replies with a list of at most `nevents` `Ready`, empty after `timeout` ns.  Level-triggered.
    """

    role: ClassVar[str] = ASKS
    errnos: ClassVar[tuple[int, ...]] = (EBADF,)
    kq: int
    adds: tuple[int, ...] = ()
    nevents: int = 64
    timeout: int | None = None

    def __post_init__(self) -> None:
        self.check_descriptors(self.kq, *self.adds)
        self.check("nevents", 1, 1 << 20, "events")
        self.check_timeout()

    @property
    def fd(self) -> int:
        """The descriptor that the call names."""
        return self.kq
