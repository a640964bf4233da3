"""What the simulated kernel is made of: open descriptions, and tasks."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from ...syscalls import (
    EPOLLERR,
    EPOLLHUP,
    EPOLLIN,
    EPOLLOUT,
    SIGIO,
    Program,
    Request,
    aio_read,
    recvfrom,
)  # fmt: skip
from ...timeline import USER
from ...traffic import Message
from ..tape import Fate

__all__ = [
    "Block", "Completion", "File", "Pollable", "Ring", "Socket", "Task", "futex", "read",
    "with_piece",
]  # fmt: skip


Pieces = Any  # a list of pieces, or ()


def with_piece(pieces: Pieces, piece: list[Any]) -> Pieces:
    if not pieces:
        return [piece]
    pieces.append(piece)
    return pieces


class Pollable:
    """An open description: who sleeps for it, who watches it, and what it is ready for."""

    __slots__ = (
        "acceptors", "fd", "flags", "operations", "owner", "signo", "waiters", "watches",
    )  # fmt: skip

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.flags = 0  # O_NONBLOCK, O_ASYNC
        self.owner: Task | None = None
        self.signo = SIGIO
        self.waiters: tuple[Task, ...] = ()  # asleep for it: all are woken
        self.acceptors: tuple[Task, ...] = ()  # asleep in a line: one is woken for an event
        self.watches: tuple[Any, ...] = ()  # of interest lists, in the order of their registration
        self.operations: tuple[Any, ...] = ()  # of io_uring, waiting for it

    @property
    def events(self) -> int:
        """What poll(2) says of it now."""
        raise NotImplementedError


class File(Pollable):
    """A regular file: always ready (poll(2))."""

    __slots__ = ()

    @property
    def events(self) -> int:
        """Both ways."""
        return EPOLLIN | EPOLLOUT


class Socket(Pollable):
    """A socket's receiving end: what the kernel has queued."""

    __slots__ = (
        "broken", "ended", "error", "held", "queue", "queued", "rcvbuf", "stream", "submissions",
        "timeout",
    )  # fmt: skip

    def __init__(self, fd: int, stream: bool, rcvbuf: int) -> None:
        super().__init__(fd)
        self.stream = stream
        self.rcvbuf = rcvbuf
        # Pieces [fate, message, bytes of it that lie here].  Empty tuples until there is one: a
        # thousand idle sockets should not hold two thousand lists.
        self.queue: Pieces = ()
        self.held: Pieces = ()  # sent, but the window is closed (TCP flow control)
        self.queued = 0
        self.ended = self.broken = False  # by the other side's end; by a reset
        self.error = 0
        self.timeout = 0
        self.submissions: tuple[tuple[Ring, int], ...] = ()

    def put(self, fate: Fate, message: Message, nbytes: int) -> None:
        """`nbytes` of `message` lie in the receive queue."""
        self.queue = with_piece(self.queue, [fate, message, nbytes])
        self.queued += nbytes

    def hold(self, fate: Fate, message: Message, nbytes: int) -> None:
        """The sender wants to send `nbytes` more of `message`."""
        self.held = with_piece(self.held, [fate, message, nbytes])

    def unread(self, fate: Fate) -> int:
        """How many of its bytes no receive has begun to take."""
        return sum(size for who, _, size in (*self.queue, *self.held) if who is fate)

    def submit(self, ring: Ring, size: int) -> None:
        """A receive of at most `size` bytes for `ring` waits here."""
        self.submissions = (*self.submissions, (ring, size))

    @property
    def readable(self) -> bool:
        """Would a receive not wait?  Data, the end of a stream and an error count: poll(2)."""
        return bool(self.queue) or self.ended or bool(self.error)

    @property
    def events(self) -> int:
        """As udp_poll and tcp_poll: there is always room to send; a reset is an error, until that
        was fetched, and a hang-up."""
        found = EPOLLOUT | (EPOLLIN if self.readable else 0) | (EPOLLERR if self.error else 0)
        return found | (EPOLLHUP if self.broken else 0)


class Ring(Pollable):
    """An io_uring: who submitted, and the completions that lie in its memory."""

    __slots__ = ("completions",)
    owner: Task

    def __init__(self, fd: int, owner: Task) -> None:
        super().__init__(fd)
        self.owner = owner
        self.completions: deque[Completion] = deque()

    @property
    def events(self) -> int:
        """A completion is there; what was submitted was taken at once, so there is room."""
        return EPOLLOUT | (EPOLLIN if self.completions else 0)


class Completion:
    """The outcome of a receive: its bytes or its errno, and how much of which messages is in it."""

    __slots__ = ("begun", "data", "error", "nbytes", "parts", "told")

    def __init__(self, data: bytes, error: int, parts: list[tuple[Fate, int]]) -> None:
        self.data, self.error, self.parts = data, error, parts
        self.nbytes = len(data) if len(parts) != 1 else parts[0][1]  # with what was cut off
        self.begun = 0  # when the copy began, in ns
        self.told = ""


class Block:
    """An aiocb: one asynchronous read of POSIX, done by a helper thread (aio(7))."""

    __slots__ = ("done", "fd", "owner", "signo", "size")

    def __init__(self, owner: Task, request: aio_read) -> None:
        self.owner, self.fd = owner, request.fd
        self.size, self.signo = request.size, request.signo
        self.done: Completion | None = None


class read(recvfrom):
    """What glibc's helper thread calls; it waits even if the descriptor is O_NONBLOCK."""

    __slots__ = ()


class futex(Request):
    """The helper thread has nothing to do: it waits for the next operation (futex(2))."""

    __slots__ = ()


class Task:
    """A process (or thread): a program, what it is doing, and what it is still to be told."""

    __slots__ = (
        "blocked",
        "brought",
        "call",
        "chilled",
        "cold",
        "deadline",
        "frames",
        "got",
        "handlers",
        "lately",
        "left",
        "lines",
        "made",
        "mode",
        "name",
        "notice",
        "pending",
        "program",
        "request",
        "sleeping",
        "slice_end",
        "then",
        "token",
        "until",
        "work",
    )  # fmt: skip

    def __init__(self, name: str, program: Program) -> None:
        self.name = name
        self.program = program
        self.frames: list[tuple[Any, ...]] | None = None  # what signal handlers interrupted
        self.request: Request | None = None
        self.call: int | None = None
        self.got: Completion | None = None  # what its receive is copying
        self.mode = USER
        self.then: Callable[[Task], None] | None = None
        self.left = 0  # ns of the work that a preemption cut off
        self.until = 0
        self.slice_end = 0
        self.token = 0  # planned events of an older token are void
        self.sleeping = False
        self.chilled = False  # it slept in this call: the rest of it finds cold caches
        self.cold = False  # and so does its own code after such a call
        self.made: set[type[Request]] | None = None  # the kinds of calls that it has made
        self.lately: set[type[Request]] | None = None  # and those since it last slept
        self.lines = 0  # in the queues of how many descriptors its select or poll stands
        self.brought = 0  # bytes that its last call copied
        self.deadline: int | None = None
        self.handlers: dict[int, Callable[[int], Program]] | None = None
        self.blocked: set[int] | None = None
        self.pending: list[int] | None = None  # signals
        self.work: list[tuple[Ring, Socket, int]] | None = None  # copies, as task work
        self.notice: set[int] | str = ""  # what last told it of data
