"""The five I/O models of UNP 6.2, each a program of a few lines.

A program's first parameter says what it serves.  `fd`: one descriptor, so that a story with
several connections starts a process for each; `fds`: all of them, in one process.  `nbytes` is how
many bytes to wait for; a stream may end before.
"""

from __future__ import annotations

from collections.abc import Sequence
from errno import EINPROGRESS

from ..calls import (
    EPOLL_CTL_ADD,
    F_SETFL,
    F_SETOWN,
    F_SETSIG,
    O_ASYNC,
    O_NONBLOCK,
    SELF,
    SIG_BLOCK,
    SIGIO,
    SIGRTMIN,
    SIZE,
    Program,
    Request,
    aio_error,
    aio_read,
    aio_return,
    compute,
    epoll_create,
    epoll_ctl,
    epoll_wait,
    fcntl,
    io_uring_peek_cqe,
    io_uring_setup,
    io_uring_submit,
    ms,
    poll,
    recvfrom,
    select,
    sigaction,
    sigprocmask,
    sigtimedwait,
    sleep,
)

__all__ = [
    "FIVE",
    "MODEL_OF",
    "asynchronous",
    "asynchronous_aio",
    "blocking",
    "drain",
    "enough",
    "multiplexing",
    "multiplexing_epoll",
    "multiplexing_poll",
    "nonblocking",
    "nonblocking_sleeping",
    "signal_driven",
    "signal_waiting",
]  # fmt: skip

WORK = ms(1)  # of other work, between two looks
REST = ms(5)
OTHER_WORK, NAP = compute(WORK), sleep(REST)


def left(nbytes: int, data: bytes) -> int:
    """How many bytes are still to come after `data`: none after b"", the end of a stream."""
    return nbytes - len(data) if data else 0


def blocking(fd: int, nbytes: int) -> Program:
    """Figure 6.1: ask, and sleep until the data is in the buffer."""
    while nbytes > 0:
        data = yield recvfrom(fd, SIZE)
        nbytes = left(nbytes, data)


def nonblocking(fd: int, nbytes: int, between: Request = OTHER_WORK) -> Program:
    """Figure 6.2: ask again and again, and do something else `between`."""
    yield fcntl(fd, F_SETFL, O_NONBLOCK)
    while nbytes > 0:
        try:
            data = yield recvfrom(fd, SIZE)
            nbytes = left(nbytes, data)
        except BlockingIOError:
            yield between


def nonblocking_sleeping(fd: int, nbytes: int, between: Request = NAP) -> Program:
    """Figure 6.2 with a poll interval: sleep between two looks."""
    yield from nonblocking(fd, nbytes, between)


def multiplexing(fds: Sequence[int], nbytes: int) -> Program:
    """Figure 6.3: sleep until one of many is ready, then receive from that one."""
    while nbytes > 0:
        ready = yield select(fds)
        for fd in ready:
            data = yield recvfrom(fd, SIZE)
            nbytes = left(nbytes, data)


def multiplexing_poll(fds: Sequence[int], nbytes: int) -> Program:
    """Figure 6.3 with poll: an array of descriptors in place of a bit map."""
    while nbytes > 0:
        ready = yield poll(fds)
        for fd in ready:
            data = yield recvfrom(fd, SIZE)
            nbytes = left(nbytes, data)


def multiplexing_epoll(fds: Sequence[int], nbytes: int) -> Program:
    """Figure 6.3 with epoll: the kernel keeps the list of descriptors."""
    epfd = yield epoll_create()
    for fd in fds:
        yield epoll_ctl(epfd, EPOLL_CTL_ADD, fd)
    while nbytes > 0:
        ready = yield epoll_wait(epfd)
        for fd in ready:
            data = yield recvfrom(fd, SIZE)
            nbytes = left(nbytes, data)


def drain(fd: int, inbox: list[bytes]) -> Program:
    """Receive until there is nothing more: one signal may stand for many messages (UNP 25.3)."""
    data = b"?"
    while data:
        try:
            data = yield recvfrom(fd, SIZE)
            inbox.append(data)
        except BlockingIOError:
            return


def enough(inbox: list[bytes], nbytes: int) -> bool:
    """Has all of it come, or the end of the stream?"""
    return sum(map(len, inbox)) >= nbytes or b"" in inbox


def signal_driven(fd: int, nbytes: int) -> Program:
    """Figure 6.4: work, until a signal says that there is something to receive."""
    inbox: list[bytes] = []
    yield sigaction(SIGIO, lambda signo: drain(fd, inbox))
    yield fcntl(fd, F_SETOWN, SELF)
    yield fcntl(fd, F_SETFL, O_ASYNC | O_NONBLOCK)
    yield from drain(fd, inbox)  # what came before raises no signal
    while not enough(inbox, nbytes):
        yield compute(WORK)


def signal_waiting(fd: int, nbytes: int) -> Program:
    """Not in Figure 6.6: signals that queue, and a program that does nothing but wait for them."""
    inbox: list[bytes] = []
    yield sigprocmask(SIG_BLOCK, [SIGRTMIN])
    yield fcntl(fd, F_SETSIG, SIGRTMIN)
    yield fcntl(fd, F_SETOWN, SELF)
    yield fcntl(fd, F_SETFL, O_ASYNC | O_NONBLOCK)
    yield from drain(fd, inbox)
    while not enough(inbox, nbytes):
        yield sigtimedwait([SIGRTMIN])
        yield from drain(fd, inbox)


def asynchronous(fd: int, nbytes: int) -> Program:
    """Figure 6.5: hand the whole operation to the kernel, and work until it is done (io_uring)."""
    ring = yield io_uring_setup()
    while nbytes > 0:
        yield io_uring_submit(ring, fd, SIZE)
        while (data := (yield io_uring_peek_cqe(ring))) is None:
            yield compute(WORK)
        nbytes = left(nbytes, data)


def asynchronous_aio(fd: int, nbytes: int) -> Program:
    """Figure 6.5 as POSIX has it: in glibc a helper thread does the reading."""
    while nbytes > 0:
        block = yield aio_read(fd, SIZE)
        while (yield aio_error(block)) == EINPROGRESS:
            yield compute(WORK)
        data = yield aio_return(block)
        nbytes = left(nbytes, data)


#: The five of Figure 6.6, in its order.
FIVE = (blocking, nonblocking, multiplexing, signal_driven, asynchronous)

#: Each program's row of Figure 6.6.
MODEL_OF = {
    "blocking": "blocking",
    "nonblocking": "nonblocking",
    "nonblocking_sleeping": "nonblocking",
    "multiplexing": "multiplexing",
    "multiplexing_poll": "multiplexing",
    "multiplexing_epoll": "multiplexing",
    "signal_driven": "signal_driven",
    "signal_waiting": "multiplexing",  # whoever waits for the signal is blocked, as in select
    "asynchronous": "asynchronous",
    "asynchronous_aio": "asynchronous",
}
