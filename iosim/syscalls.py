"""The vocabulary: every call that a program can yield to a kernel.

A program is a generator.  It yields one of these values, the kernel does the work, and the reply is
sent back into the program; an errno is *thrown* into it as the OSError that Python would raise::

    data = yield recvfrom(fd, SIZE)

Calls are plain values: they can be kept and yielded again.  Times are in ns, sizes in bytes.
A call is only made by yielding it; one that is thrown away unyielded is an error that the kernel
reports, as Python reports a coroutine that was never awaited.

Each docstring names the manual page whose rule both kernels follow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from .request import Program, Request, Waiting, WithTimeout
from .validate import HOUR_NS, whole

__all__ = [
    "EPOLLERR", "EPOLLET", "EPOLLEXCLUSIVE", "EPOLLHUP", "EPOLLIN", "EPOLLONESHOT", "EPOLLOUT",
    "EPOLL_CTL_ADD", "EPOLL_CTL_DEL", "EPOLL_CTL_MOD", "F_SETFL", "F_SETOWN", "F_SETSIG",
    "MSG_DONTWAIT", "MSG_PEEK", "O_ASYNC", "O_NONBLOCK", "POLLNVAL", "SELF", "SIGIO",
    "SIGRTMIN", "SIG_BLOCK", "SIG_UNBLOCK", "SIZE", "SO_RCVTIMEO", "Program", "Ready", "Request",
    "aio_error", "aio_read", "aio_return", "compute", "epoll_create", "epoll_ctl", "epoll_wait",
    "fcntl", "getpid", "io_uring_enter", "io_uring_peek_cqe", "io_uring_setup", "io_uring_submit",
    "ms", "pause", "poll", "recvfrom", "select", "setsockopt", "sigaction",
    "sigprocmask", "sigtimedwait", "sleep", "us",
]  # fmt: skip

# Linux's values, so that a program reads the same on systems that lack the names (fcntl(2),
# epoll_ctl(2), signal(7), socket(7)).
F_SETFL, F_SETOWN, F_SETSIG = 4, 8, 10
O_NONBLOCK, O_ASYNC = 0o4000, 0o20000
MSG_PEEK, MSG_DONTWAIT = 0x2, 0x40
EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLL_CTL_MOD = 1, 2, 3
EPOLLIN, EPOLLOUT, EPOLLERR, EPOLLHUP = 0x1, 0x4, 0x8, 0x10  # and poll's: poll(2)
EPOLLEXCLUSIVE, EPOLLONESHOT, EPOLLET = 1 << 28, 1 << 30, 1 << 31
POLLNVAL = 0x20  # poll's answer for a descriptor that is not open: poll(2)
SIGIO, SIGRTMIN = 29, 34
SIG_BLOCK, SIG_UNBLOCK = 0, 1
SO_RCVTIMEO = 20
SELF = 0  # as the owner of a descriptor's signals: the caller

SIZE = 65_536  # of the buffer that the course's programs receive into: any datagram fits
MAX_FD = 1 << 20


def ms(value: float) -> int:
    """`value` milliseconds in ns."""
    return round(value * 1_000_000)


def us(value: float) -> int:
    """`value` microseconds in ns."""
    return round(value * 1_000)


@dataclass(slots=True, eq=False)
class compute(Request):
    """Run the program's own code for `ns` of CPU time.  Not a call: no kernel is needed."""

    trap: ClassVar[bool] = False
    ns: int

    def __post_init__(self) -> None:
        whole("compute: ns", self.ns, 1, HOUR_NS, "ns")


@dataclass(slots=True, eq=False)
class sleep(Request):
    """Sleep for `ns`: clock_nanosleep(2).  It wakes up later by the timer's slack (prctl(2))."""

    ns: int

    def __post_init__(self) -> None:
        whole("sleep: ns", self.ns, 1, HOUR_NS, "ns")

    def sleeps(self, nonblocking: bool) -> bool:
        """That is what it is for."""
        return True


@dataclass(slots=True, eq=False)
class getpid(Request):
    """The caller's process number: getpid(2).  The cheapest entry into the kernel."""


@dataclass(slots=True, eq=False)
class recvfrom(Request):
    """Receive at most `size` bytes: recvfrom(2), recv(2).

    Replies with bytes: a whole datagram (the rest of a longer one is lost), or what a stream has
    (at least 1; b"" at end of file).  Waits if there is nothing, unless the descriptor is
    O_NONBLOCK or `flags` has MSG_DONTWAIT: then BlockingIOError (EAGAIN).  ConnectionResetError
    after a reset.
    """

    fd: int
    size: int
    flags: int = 0

    def __post_init__(self) -> None:
        name = type(self).__name__
        whole(f"{name}: fd", self.fd, 0, MAX_FD, "(a descriptor)")
        whole(f"{name}: size", self.size, 1, 1 << 30, "bytes")
        whole(f"{name}: flags", self.flags, 0, MSG_PEEK | MSG_DONTWAIT, "(MSG_ flags)")

    def waits(self, nonblocking: bool) -> bool:
        """Unless it is asked not to."""
        return not (nonblocking or self.flags & MSG_DONTWAIT)


@dataclass(slots=True, eq=False)
class fcntl(Request):
    """Change a descriptor: fcntl(2).

    F_SETFL sets the flags O_NONBLOCK and O_ASYNC; F_SETOWN says who gets the signals (SELF);
    F_SETSIG asks for a real-time signal, which queues, in place of SIGIO, which does not.
    """

    fd: int
    cmd: int
    arg: int

    def __post_init__(self) -> None:
        whole("fcntl: fd", self.fd, 0, MAX_FD, "(a descriptor)")
        if self.cmd not in (F_SETFL, F_SETOWN, F_SETSIG):
            raise ValueError(f"fcntl: cmd must be F_SETFL, F_SETOWN or F_SETSIG, got {self.cmd!r}")
        whole("fcntl: arg", self.arg, 0, O_ASYNC | O_NONBLOCK, "(a flag or a signal)")

    @property
    def arms(self) -> bool:  # type: ignore[override]
        """O_ASYNC asks to be told."""
        return self.cmd == F_SETFL and bool(self.arg & O_ASYNC)

    @property
    def feature(self) -> str:  # type: ignore[override]
        """What signals need; O_NONBLOCK is everywhere."""
        if self.cmd == F_SETSIG:
            return "real-time signals"
        return "SIGIO" if self.cmd != F_SETFL or self.arg & O_ASYNC else ""


@dataclass(slots=True, eq=False)
class setsockopt(Request):
    """SO_RCVTIMEO: a receive that waits longer than `ns` (0: for ever) fails, EAGAIN: socket(7).

    It is counted in jiffies (time(7)), and ends with a tick: 0.1 ms may take 8 ms at 250 Hz.
    """

    fd: int
    option: int
    ns: int

    def __post_init__(self) -> None:
        whole("setsockopt: fd", self.fd, 0, MAX_FD, "(a descriptor)")
        if self.option != SO_RCVTIMEO:
            raise ValueError(f"setsockopt: option must be SO_RCVTIMEO, got {self.option!r}")
        whole("setsockopt: ns", self.ns, 0, HOUR_NS, "ns")


def _descriptors(name: str, fds: Iterable[int]) -> None:
    for fd in fds:
        whole(f"{name}: fd", fd, 0, MAX_FD, "(a descriptor)")


def _timeout(name: str, timeout: int | None) -> None:
    if timeout is not None:
        whole(f"{name}: timeout", timeout, 0, HOUR_NS, "ns")


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

    feature: ClassVar[str] = "select"
    fds: Sequence[int]
    timeout: int | None = None
    writefds: Sequence[int] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        _descriptors("select", self.fds)
        _descriptors("select", self.writefds)
        _timeout("select", self.timeout)

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

    `fds` may be a dict, from each descriptor to its events (EPOLLIN | EPOLLOUT).  One that is not
    open is POLLNVAL.
    """

    feature: ClassVar[str] = "poll"
    fds: Sequence[int] | Mapping[int, int]
    timeout: int | None = None

    def __post_init__(self) -> None:
        _descriptors("poll", self.fds)
        _timeout("poll", self.timeout)

    @property
    def asked(self) -> dict[int, int]:
        """What of each descriptor, as for `select`."""
        fds = self.fds
        return dict(fds) if isinstance(fds, Mapping) else dict.fromkeys(fds, EPOLLIN)


@dataclass(slots=True, eq=False)
class epoll_create(Request):
    """A new interest list: epoll_create1(2).  Replies with its descriptor."""

    feature: ClassVar[str] = "epoll"


@dataclass(slots=True, eq=False)
class epoll_ctl(Request):
    """Put `fd` on the interest list `epfd`, take it off, or change its `events`: epoll_ctl(2).

    FileExistsError if it is on the list already, FileNotFoundError if it is not.
    """

    epfd: int
    op: int
    fd: int
    events: int = field(default=EPOLLIN, repr=False)

    def __post_init__(self) -> None:
        _descriptors("epoll_ctl", (self.epfd, self.fd))
        if self.op not in (EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLL_CTL_MOD):
            raise ValueError(
                f"epoll_ctl: op must be EPOLL_CTL_ADD or _DEL or _MOD, got {self.op!r}"
            )
        whole("epoll_ctl: events", self.events, 0, (1 << 32) - 1, "(EPOLL flags)")


@dataclass(slots=True, eq=False)
class epoll_wait(WithTimeout):
    """Wait until a descriptor of the list is ready: epoll_wait(2); level-triggered, or EPOLLET.

    Replies with a list of at most `maxevents` `Ready`, empty after `timeout` ns, which are rounded
    up to ms.
    """

    epfd: int
    maxevents: int = 64
    timeout: int | None = None

    def __post_init__(self) -> None:
        _descriptors("epoll_wait", (self.epfd,))
        whole("epoll_wait: maxevents", self.maxevents, 1, 1 << 20, "events")
        _timeout("epoll_wait", self.timeout)

    @property
    def fd(self) -> int:
        """The descriptor that the call names."""
        return self.epfd


def _signal(name: str, signo: int) -> None:
    whole(f"{name}: signal", signo, 1, 64, "(a signal number)")


@dataclass(slots=True, eq=False)
class sigaction(Request):
    """Run `handler`, itself a program, whenever signal `signo` is delivered: sigaction(2).

    `handler` is a generator function of one argument, the signal's number.
    """

    feature: ClassVar[str] = "SIGIO"
    signo: int
    handler: Callable[[int], Program]

    def __post_init__(self) -> None:
        _signal("sigaction", self.signo)
        if not callable(self.handler):
            raise TypeError(f"sigaction: handler must be a program, got {self.handler!r}")


@dataclass(slots=True, eq=False)
class sigprocmask(Request):
    """Hold back (SIG_BLOCK) or let through (SIG_UNBLOCK) `signals`: sigprocmask(2)."""

    feature: ClassVar[str] = "real-time signals"
    how: int
    signals: Sequence[int]

    def __post_init__(self) -> None:
        if self.how not in (SIG_BLOCK, SIG_UNBLOCK):
            raise ValueError(f"sigprocmask: how must be SIG_BLOCK or SIG_UNBLOCK, got {self.how!r}")
        for signo in self.signals:
            _signal("sigprocmask", signo)


@dataclass(slots=True, eq=False)
class sigtimedwait(WithTimeout):
    """Take a pending signal of `signals`, which are blocked, or wait for one: sigtimedwait(2).

    Replies with its number.  BlockingIOError (EAGAIN) after `timeout` ns (None: waits for ever).
    """

    feature: ClassVar[str] = "real-time signals"
    signals: Sequence[int]
    timeout: int | None = None

    def __post_init__(self) -> None:
        for signo in self.signals:
            _signal("sigtimedwait", signo)
        _timeout("sigtimedwait", self.timeout)


@dataclass(slots=True, eq=False)
class pause(Waiting):
    """Sleep until a signal's handler has run: pause(2).  One that came before is not waited for."""

    feature: ClassVar[str] = "SIGIO"


@dataclass(slots=True, eq=False)
class io_uring_setup(Request):
    """Two rings shared with the kernel, for submissions and completions: io_uring_setup(2).

    Replies with a descriptor.  PermissionError or OSError (ENOSYS) where it is refused.
    """

    feature: ClassVar[str] = "io_uring"
    entries: int = 8

    def __post_init__(self) -> None:
        whole("io_uring_setup: entries", self.entries, 1, 4096, "entries")


@dataclass(slots=True, eq=False)
class io_uring_submit(Request):
    """Ask for at most `size` bytes from `fd`, and go on: io_uring_enter(2), IORING_OP_RECV."""

    arms: ClassVar[bool] = True
    feature: ClassVar[str] = "io_uring"
    ring: int
    fd: int
    size: int

    def __post_init__(self) -> None:
        _descriptors("io_uring_submit", (self.ring, self.fd))
        whole("io_uring_submit: size", self.size, 1, 1 << 30, "bytes")


@dataclass(slots=True, eq=False)
class io_uring_enter(Waiting):
    """Wait for a completion, and get its bytes: io_uring_enter(2), IORING_ENTER_GETEVENTS."""

    feature: ClassVar[str] = "io_uring"
    ring: int

    def __post_init__(self) -> None:
        _descriptors("io_uring_enter", (self.ring,))

    @property
    def fd(self) -> int:
        """The descriptor that the call names."""
        return self.ring


@dataclass(slots=True, eq=False)
class io_uring_peek_cqe(Request):
    """Look into the completion ring.  Replies with the bytes of the oldest completion, or None.

    Not a call: the ring lies in the program's own memory (io_uring(7)).
    """

    trap: ClassVar[bool] = False
    feature: ClassVar[str] = "io_uring"
    ring: int

    def __post_init__(self) -> None:
        _descriptors("io_uring_peek_cqe", (self.ring,))


@dataclass(slots=True, eq=False)
class aio_read(Request):
    """Ask for at most `size` bytes from `fd`, and go on: aio_read(3).

    Replies with a control block's number.  glibc does it with a helper thread that calls read(2):
    aio(7).  With `signo` the completion sends that signal (sigevent(7), SIGEV_SIGNAL).
    """

    arms: ClassVar[bool] = True
    feature: ClassVar[str] = "POSIX aio"
    fd: int
    size: int
    signo: int | None = None

    def __post_init__(self) -> None:
        _descriptors("aio_read", (self.fd,))
        whole("aio_read: size", self.size, 1, 1 << 30, "bytes")
        if self.signo is not None:
            _signal("aio_read", self.signo)


@dataclass(slots=True, eq=False)
class aio_error(Request):
    """EINPROGRESS, 0 when it is done, or an errno: aio_error(3).  Not a call: reads memory."""

    trap: ClassVar[bool] = False
    block: int

    def __post_init__(self) -> None:
        whole("aio_error: block", self.block, 1, 1 << 30, "(a control block)")


@dataclass(slots=True, eq=False)
class aio_return(Request):
    """The bytes that it read, once it is done: aio_return(3).  Not a call: reads memory."""

    trap: ClassVar[bool] = False
    block: int

    def __post_init__(self) -> None:
        whole("aio_return: block", self.block, 1, 1 << 30, "(a control block)")
