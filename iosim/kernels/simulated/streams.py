"""What the simulated kernel needs for servers: listeners, connections, files, interest lists.

Two ends of a connection are two `Stream`s, each other's `peer`.  What one sends lies in its
`outbox` (the send buffer) until the other one has room for it: TCP's flow control, tcp(7).
"""

from __future__ import annotations

from collections import deque
from errno import ECONNRESET, EPIPE
from typing import Any

from ...sockets import (
    EPOLLERR,
    EPOLLHUP,
    EPOLLIN,
    EPOLLOUT,
    SOMAXCONN,
)  # fmt: skip
from ...syscalls import Request
from ..tape import Fate
from .parts import Completion, Pollable, Socket, Task, with_piece

__all__ = ["InternetSocket", "Listener", "Pending", "ServerRing", "Stream"]

Piece = list[Any]  # [fate or None, bytes]: None for what no client sent


class InternetSocket(Socket):
    """A TCP socket: what it is bound to."""

    __slots__ = ("port",)

    def __init__(self, fd: int, port: int = 0, rcvbuf: int = 1) -> None:
        super().__init__(fd, True, rcvbuf)
        self.port = port  # 0: to none

    @property
    def unconnected(self) -> bool:
        """Is it as socket(2) made it?"""
        return False

    def become(self, other: InternetSocket) -> None:
        """`other` stands in its place: who watches this, or sleeps here, is with that now."""
        for name in ("acceptors", "flags", "operations", "owner", "signo", "timeout", "waiters",
                     "watches"):  # fmt: skip
            setattr(other, name, getattr(self, name))
        for watch in other.watches:
            watch.thing = other


class Listener(InternetSocket):
    """A listening socket: connections whose handshake is over, not yet accepted (listen(2))."""

    __slots__ = ("backlog", "incoming")

    def __init__(self, fd: int, port: int, backlog: int = SOMAXCONN) -> None:
        super().__init__(fd, port)
        self.backlog = backlog
        self.incoming: deque[Stream] = deque()

    @property
    def full(self) -> bool:
        """Is there no room for a connection?  It holds one more than asked (sk_acceptq_is_full)."""
        return len(self.incoming) > self.backlog

    @property
    def readable(self) -> bool:
        """Would accept not wait?"""
        return bool(self.incoming)

    @property
    def events(self) -> int:
        """A connection waits, or not."""
        return EPOLLIN if self.incoming else 0


class Stream(InternetSocket):
    """One end of a TCP connection."""

    __slots__ = (
        "arrives", "begun", "closed", "connecting", "expected", "finishing", "got_end",
        "outbox", "owner_of", "peer", "senders", "sent_end", "sndbuf", "unsent", "untold",
    )  # fmt: skip

    def __init__(self, fd: int, rcvbuf: int, sndbuf: int) -> None:
        super().__init__(fd, rcvbuf=rcvbuf)
        self.sndbuf = sndbuf
        self.peer: Stream | None = None  # None: not connected
        self.connecting = False
        self.untold = False  # no call has returned that its handshake is over
        self.outbox: deque[Piece] = deque()
        self.unsent = 0  # bytes of the outbox
        self.begun: set[int] = set()  # numbers of messages of which some bytes were received
        self.expected = 0  # bytes on their way here, or here and not yet received
        self.arrives = 0  # ns: nothing that it sends later arrives before
        self.finishing = self.sent_end = False  # SHUT_WR; and the end is on its way
        self.got_end = False  # the other side's
        self.closed = False
        self.senders: tuple[Task, ...] = ()  # asleep in send
        self.owner_of: Any = None  # the client whose end this is

    @property
    def unconnected(self) -> bool:
        """Was it never connected, nor is it about to be?"""
        return self.peer is None and not (self.broken or self.connecting)

    @property
    def gone(self) -> bool:
        """Is the connection over, by a reset or by an end in both directions (TCP_CLOSE)?"""
        return self.broken or (self.sent_end and self.got_end)

    @property
    def room(self) -> int:
        """Bytes that the send buffer can take."""
        return max(0, self.sndbuf - self.unsent)

    @property
    def writable(self) -> bool:
        """Is a third of the send buffer free (sk_stream_is_writeable), or will a send fail?"""
        if self.broken or self.finishing:
            return True
        return not self.connecting and 3 * self.room >= self.sndbuf

    @property
    def events(self) -> int:
        """As tcp_poll: both directions over is a hang-up; an error that was not fetched an error.

        A socket that was never connected hangs up and can be written to.
        """
        if self.connecting:
            return 0
        if self.unconnected:
            return EPOLLOUT | EPOLLHUP | (EPOLLIN if self.ended else 0)
        over = self.broken or (self.ended and self.finishing)
        found = EPOLLIN if self.readable else 0
        found |= EPOLLOUT if self.writable else 0
        return found | (EPOLLHUP if over else 0) | (EPOLLERR if self.error else 0)

    def put_bytes(self, fate: Fate | None, data: bytes) -> None:
        """`data` lie in the receive queue."""
        self.queue = with_piece(self.queue, [fate, data])
        self.queued += len(data)

    def take(self, size: int, peek: bool) -> Completion:
        """At most `size` bytes out of the receive queue; then the error, once; or the end.

        An end that came before the reset is told in its place (SOCK_DONE in tcp_recvmsg).
        """
        if self.error not in (0, EPIPE) and not self.queue:
            errno, self.error = self.error, 0
            return Completion(b"", errno, [])
        data: list[bytes] = []
        parts: list[tuple[Fate, int]] = []
        room = size
        for piece in list(self.queue):
            fate, there = piece
            taken = there[:room]
            if not taken:
                break
            data.append(taken)
            whose = _GHOST if fate is None else fate
            before = parts.pop()[1] if parts and parts[-1][0] is whose else 0
            parts.append((whose, before + len(taken)))
            room -= len(taken)
            if not peek:
                self._drop(piece, len(taken))
        got = Completion(b"".join(data), 0, parts)
        got.nbytes = sum(count for fate, count in parts if fate is not _GHOST)
        return got

    def _drop(self, piece: Piece, count: int) -> None:
        if piece[0] is not None:
            self.begun.add(piece[0].number)
        self.queued -= count
        self.expected -= count
        if count == len(piece[1]):
            self.queue.pop(0)
        else:
            piece[1] = piece[1][count:]

    def reset(self) -> None:
        """The other side broke off: nothing more goes out.  EPIPE if its end had come before.

        What lies here can still be received (tcp_reset).
        """
        self.error = EPIPE if self.got_end else ECONNRESET
        self.outbox.clear()
        self.unsent = 0
        self.ended = self.broken = True


#: Stands for what is no message of the story: bytes between two sockets of the program.
_GHOST = Fate(0, 0, 0, 0, 1 << 62)


class Pending:
    """An operation of io_uring: what was asked for, and how much of it is done."""

    __slots__ = ("done", "request", "ring")

    def __init__(self, ring: ServerRing, request: Request) -> None:
        self.ring, self.request = ring, request
        self.done = 0


class ServerRing(Pollable):
    """An io_uring: what was prepared, what can be done now, and what is done."""

    __slots__ = ("doable", "entries", "finished", "owner_task", "prepared")

    def __init__(self, fd: int, owner: Task, entries: int) -> None:
        super().__init__(fd)
        self.owner_task, self.entries = owner, entries
        self.prepared: list[Pending] = []
        self.doable: deque[Pending] = deque()
        self.finished: list[tuple[type, int, Any, list[tuple[Fate, int]]]] = []

    @property
    def events(self) -> int:
        """A completion is there, or will be when its owner next runs; there is room to submit."""
        room = len(self.prepared) < self.entries
        return (EPOLLIN if self.finished or self.doable else 0) | (EPOLLOUT if room else 0)
