"""Sockets: what has come in, and the calls that take it: socket(7), recv(2)."""

from __future__ import annotations

from collections.abc import Callable
from errno import EAGAIN, ENOTSOCK
from typing import Any

from ..calls import (
    F_SETFL,
    F_SETSIG,
    MSG_DONTWAIT,
    MSG_PEEK,
    MSG_TRUNC,
    O_ASYNC,
    O_NONBLOCK,
    SIGIO,
    fcntl,
    read,
    recvfrom,
    recvmsg,
    setsockopt,
)
from ..trace.builder import MessageRecord
from .answers import answers
from .descriptions import Description, failure, forget, in_line, sleep_on
from .kernel import Kernel
from .task import Side, Task

__all__ = [
    "Pieces", "Received", "Socket", "arrived", "copied", "in_hands", "nothing_there",
    "socket_of", "take", "with_piece",
]  # fmt: skip

JIFFY = 4_000_000  # ns between two ticks, at the 250 Hz of most distributions: time(7)

Receiving = recvfrom | recvmsg | read
Pieces = Any  # a list of pieces, or ()
Parts = list[tuple[MessageRecord, int]]  # how many bytes of which messages


class Received:
    """What a receive took: bytes or an errno, and how much of which messages is in them."""

    __slots__ = ("begun", "data", "error", "nbytes", "parts")

    def __init__(self, data: bytes, error: int, parts: Parts) -> None:
        self.data, self.error, self.parts = data, error, parts
        self.nbytes = len(data) if len(parts) != 1 else parts[0][1]  # with what was cut off
        self.begun = 0  # when the copy to the program's buffer began, in ns


def with_piece(pieces: Pieces, piece: object) -> Pieces:
    """A thousand idle sockets should not hold two thousand lists: () until there is a piece."""
    if not pieces:
        return [piece]
    pieces.append(piece)
    return pieces


class Socket(Description):
    """A socket's receiving end: what the kernel has queued."""

    __slots__ = ("ended", "error", "queue", "queued", "rcvbuf", "timeout")

    def __init__(self, rcvbuf: int) -> None:
        super().__init__()
        self.rcvbuf = rcvbuf
        self.queue: Pieces = ()
        self.queued = 0  # bytes of the queue
        self.ended = False  # by the other side's end, or by a reset
        self.error = 0  # an errno that no call has told yet
        self.timeout = 0  # SO_RCVTIMEO, in ns

    @property
    def readable(self) -> bool:
        """Would a receive not wait?  Data, the end of a stream and an error count: poll(2)."""
        return bool(self.queue or self.ended or self.error)

    @property
    def waiting(self) -> int:
        """FIONREAD: bytes that can be read: tcp(7)."""
        return self.queued

    def receiving(self) -> None:
        """ENOTCONN if nothing can be received from it."""

    def take(self, size: int, peek: bool) -> Received:
        """Move at most `size` bytes out of the receive queue, or the error, or the end."""
        raise NotImplementedError

    def window_opened(self, kernel: Kernel) -> None:
        """There is room in its receive buffer again: TCP's flow control."""


def nothing_there(kernel: Kernel) -> Side:
    """EAGAIN, which has its price."""
    if kernel.eagain:
        yield kernel.eagain
    raise failure(EAGAIN)


def socket_of(kernel: Kernel, fd: int) -> Socket:
    """EBADF, ENOTSOCK."""
    socket: Socket = kernel.table.get(fd, Socket, ENOTSOCK)
    return socket


@answers(recvfrom)
def receive(kernel: Kernel, task: Task, request: recvfrom) -> Side:
    """recv(2): the bytes that have come."""
    return arrived(kernel, task, request, socket_of(kernel, request.fd))


@answers(recvmsg)
def receive_message(kernel: Kernel, task: Task, request: recvmsg) -> Side:
    """recvmsg(2): the same, and whether a datagram was longer than there was room for."""
    return arrived(kernel, task, request, socket_of(kernel, request.fd), delivered_with_flags)


def delivered(
    kernel: Kernel, task: Task, request: Receiving, socket: Socket, got: Received
) -> bytes:
    """The program has it.  What was only looked at is in nobody's hands."""
    if got.parts and not request.flags & MSG_PEEK:
        if kernel.tape is not None:
            in_hands(kernel, task, got.parts, _how_told(task, socket, request))
        task.brought = got.nbytes
    return got.data


def delivered_with_flags(
    kernel: Kernel, task: Task, request: Receiving, socket: Socket, got: Received
) -> tuple[bytes, int]:
    """The same, and what recvmsg says of it."""
    truncated = MSG_TRUNC if got.nbytes > len(got.data) else 0
    return delivered(kernel, task, request, socket, got), truncated


def arrived(
    kernel: Kernel, task: Task, request: Any, socket: Socket,
    deliver: Callable[..., Any] = delivered,
) -> Side:  # fmt: skip
    """Sleep until there is something, then copy it.

    A datagram wakes one of those who sleep for it (__skb_wait_for_more_packets), what comes on a
    stream wakes all (sk_wait_data).
    """
    socket.receiving()
    until, timeout = None, socket.timeout  # as it is when the call is made
    nonblocking = _nonblocking(socket, request)
    while not socket.readable:
        if nonblocking or kernel.passed(until):
            forget(task, [socket])
            yield from nothing_there(kernel)
        if timeout and until is None:
            until = _tick_after(kernel.now, timeout)
        if socket.stream:
            yield sleep_on(task, [socket], until)
        else:
            yield in_line(socket, until)
    got = take(kernel, socket, request.size, bool(request.flags & MSG_PEEK))
    if got.error:
        raise failure(got.error)
    if got.parts:
        yield _copying(kernel, task, got)
        copied(kernel, task, got)
    return deliver(kernel, task, request, socket, got)


def _tick_after(now: int, ns: int) -> int:
    """When a time-out that is counted in jiffies is over: at the tick after so many of them.

    (The timer wheel rounds up, so as never to end one too early: kernel/time/timer.c.)
    """
    return (now // JIFFY + -(-ns // JIFFY) + 1) * JIFFY


def _nonblocking(socket: Socket, request: Receiving) -> bool:
    return bool(request.flags & MSG_DONTWAIT or socket.flags & O_NONBLOCK)


def _copying(kernel: Kernel, task: Task, got: Received) -> int:
    """ns of the copy to the program's buffer; who has slept finds cold caches."""
    ns: int = kernel.copy(len(got.data))
    if task.chilled:
        ns, task.chilled = ns + kernel.cold_receive, False
    return ns


def take(kernel: Kernel, socket: Socket, size: int, peek: bool = False) -> Received:
    """Out of the receive queue, and who waits for room in it may send."""
    got = socket.take(size, peek)
    got.begun = kernel.now
    if not peek:
        socket.window_opened(kernel)
    return got


def copied(kernel: Kernel, task: Task, got: Received) -> None:
    """Take down a copy that is over, in the call that `task` is in."""
    if kernel.tape is not None:
        for fate, _ in got.parts:
            kernel.tape.copied(fate.number, got.begun, kernel.now, task.call)


def in_hands(kernel: Kernel, task: Task, parts: Parts, told: str) -> None:
    """`task` has these bytes now."""
    for fate, count in parts:
        fate.hand_over(task.name, count, kernel.now, told)


def _how_told(task: Task, socket: Socket, request: Receiving) -> str:
    """By what did the task learn of the data that it now takes?"""
    if task.frames or task.notice == "signal":
        return "signal"
    if isinstance(task.notice, set) and socket.fd in task.notice:
        return "return"
    return "check" if _nonblocking(socket, request) else "return"


@answers(fcntl)
def change(kernel: Kernel, task: Task, request: fcntl) -> None:
    """fcntl(2), of what descriptors share."""
    thing = kernel.table.get(request.fd)
    if request.cmd == F_SETFL:
        thing.flags = request.arg & (O_NONBLOCK | O_ASYNC)
    elif request.cmd == F_SETSIG:
        thing.signo = request.arg or SIGIO
    else:
        thing.owner = task


@answers(setsockopt)
def set_timeout(kernel: Kernel, task: Task, request: setsockopt) -> None:
    """SO_RCVTIMEO: socket(7)."""
    socket_of(kernel, request.fd).timeout = request.ns
