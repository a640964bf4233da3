"""What the simulated kernel is made of: sockets, interest lists, rings, and tasks."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from ...syscalls import SIGIO, Program, Request, aio_read, recvfrom
from ...timeline import USER
from ...traffic import Message
from ..tape import Fate

__all__ = ["Block", "Completion", "Epoll", "Ring", "Socket", "Task", "futex", "read", "with_piece"]


Pieces = Any  # a list of pieces, or ()


def with_piece(pieces: Pieces, piece: list[Any]) -> Pieces:
    if not pieces:
        return [piece]
    pieces.append(piece)
    return pieces


class Socket:
    """A descriptor's receiving end: what the kernel has queued, and whom it tells."""

    __slots__ = (
        "ended", "error", "fd", "flags", "held", "lists", "owner", "queue", "queued", "rcvbuf",
        "signo", "stream", "submissions", "timeout", "waiters",
    )  # fmt: skip

    def __init__(self, fd: int, stream: bool, rcvbuf: int) -> None:
        self.fd = fd
        self.stream = stream
        self.rcvbuf = rcvbuf
        # Pieces [fate, message, bytes of it that lie here].  Empty tuples until there is one: a
        # thousand idle sockets should not hold two thousand lists.
        self.queue: Pieces = ()
        self.held: Pieces = ()  # sent, but the window is closed (TCP flow control)
        self.queued = 0
        self.ended = False
        self.error = 0
        self.flags = 0
        self.owner: Task | None = None
        self.signo = SIGIO
        self.timeout = 0
        self.waiters: tuple[Task, ...] = ()
        self.lists: tuple[Epoll, ...] = ()
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

    @property
    def readable(self) -> bool:
        """Would a receive not wait?  Data, the end of a stream and an error count: poll(2)."""
        return bool(self.queue) or self.ended or bool(self.error)


class Epoll:
    """An interest list and its ready list: epoll(7)."""

    __slots__ = ("interest", "ready", "waiters")

    def __init__(self) -> None:
        self.interest: dict[int, Socket] = {}
        self.ready: dict[int, Socket] = {}
        self.waiters: tuple[Task, ...] = ()


class Ring:
    """An io_uring: who submitted, and the completions that lie in its memory."""

    __slots__ = ("completions", "owner")

    def __init__(self, owner: Task) -> None:
        self.owner = owner
        self.completions: deque[Completion] = deque()


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
