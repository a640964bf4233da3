"""What one question costs: select, poll and epoll by themselves, over a few and over many sockets.

For readers, and for calibration: plain calls of the real kernel, no program and no timeline.
"""

from __future__ import annotations

import ctypes
import os
import select
import socket
import struct
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from statistics import median

from ..machine.clocks import cpu_clock
from ..machine.disturbances import LIMIT_MS, Disturbance, interference, undisturbed
from ..validate import whole

__all__ = [
    "Ask", "Price", "ask_epoll", "ask_poll", "ask_select", "c_poll", "c_select", "cost_us",
    "hard_limit", "numbered", "price_us", "prices_us", "room", "sockets", "wake",
]  # fmt: skip

MAX_SOCKETS = 1 << 20
SPARE = 200  # descriptors that a process needs besides those that it asks about
WAKE_MS = 10_000  # loopback delivers at once; on a machine that is very busy, a little later
BLOCKS = 25  # of calls, of which the median is taken
TRIES = 4  # for a block
BLOCK_US = 500  # of CPU time in a block: a single short call drowns in the noise of the clock
MAX_CALLS = 200

#: Prepares a question to these sockets; what it needs is closed by the stack.
Ask = Callable[[Sequence[socket.socket], ExitStack], Callable[[], object]]


# --- sockets to ask about -------------------------------------------------------------------------


def hard_limit() -> int:
    """How many descriptors this process may have, if it asks; 1,048,576 if no limit is set.

    RLIMIT_NOFILE of getrlimit(2).
    """
    try:
        import resource
    except ImportError:
        return MAX_SOCKETS
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MAX_SOCKETS if hard == resource.RLIM_INFINITY else hard


@contextmanager
def room(n: int) -> Iterator[None]:
    """Raise the soft limit of descriptors for `n` more ones, as far as the hard limit allows.

    RLIMIT_NOFILE of getrlimit(2); restored afterwards.  Nothing happens where there is no such
    limit.  ValueError if `n` is not from 0 to 1,048,576.
    """
    whole("room", n, 0, MAX_SOCKETS, "descriptors")
    try:
        import resource
    except ImportError:
        yield
        return
    soft, hard = before = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(n + SPARE, hard_limit())
    if soft not in (resource.RLIM_INFINITY, hard) and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@contextmanager
def sockets(n: int, ready: int = 0) -> Iterator[list[socket.socket]]:
    """`n` non-blocking UDP sockets on 127.0.0.1; the last `ready` of them have a byte to read.

    OSError (EMFILE) if the hard limit has no room for them; ValueError for a bad number.
    """
    whole("sockets", n, 0, MAX_SOCKETS, "sockets")
    whole("ready", ready, 0, n, "sockets")
    with room(n), ExitStack() as stack:
        found = []
        for _ in range(n):
            sock = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            sock.bind(("127.0.0.1", 0))
            sock.setblocking(False)
            found.append(sock)
        for sock in found[n - ready :]:
            wake(sock)
        yield found


@contextmanager
def numbered(number: int) -> Iterator[int]:
    """A descriptor, `number` or the next that is free, of a UDP socket that has a byte to read.

    fcntl(2), F_DUPFD.  OSError (EINVAL) if the hard limit has no room for it; ValueError if
    `number` is not from 0 to 1,048,576; ImportError where there is no fcntl(2).
    """
    import fcntl

    whole("numbered", number, 0, MAX_SOCKETS, "(a descriptor)")
    with room(number), sockets(1, ready=1) as [sock]:
        fd = fcntl.fcntl(sock, fcntl.F_DUPFD, number)
        try:
            yield fd
        finally:
            os.close(fd)


def wake(sock: socket.socket) -> None:
    """Send a byte to the UDP socket `sock`, from itself; it has arrived when this returns.

    TimeoutError if it does not within 10 s.
    """
    sock.sendto(b"?", sock.getsockname())
    until = time.monotonic() + WAKE_MS / 1e3
    while time.monotonic() < until:
        try:
            sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            time.sleep(0.001)
        else:
            return
    raise TimeoutError(f"wake: the byte has not arrived within {WAKE_MS} ms")


# --- the questions --------------------------------------------------------------------------------


def ask_select(socks: Sequence[socket.socket], stack: ExitStack) -> Callable[[], object]:
    """select(2): which of `socks` are ready now?"""
    fds = [sock.fileno() for sock in socks]
    return lambda: select.select(fds, [], [], 0)


def ask_poll(socks: Sequence[socket.socket], stack: ExitStack) -> Callable[[], object]:
    """poll(2): the same.  AttributeError where there is none."""
    array = select.poll()
    for sock in socks:
        array.register(sock, select.POLLIN)
    return lambda: array.poll(0)


def ask_epoll(socks: Sequence[socket.socket], stack: ExitStack) -> Callable[[], object]:
    """epoll_wait(2): the same, of a list that the kernel keeps.  AttributeError likewise."""
    interest = stack.enter_context(select.epoll())
    for sock in socks:
        interest.register(sock, select.EPOLLIN)
    return lambda: interest.poll(0, len(socks))


def c_poll(fds: Sequence[int], timeout_ms: int = 0) -> Callable[[], int]:
    """poll(2) as C calls it, without Python's own work; how many are ready.

    A descriptor of -1 is copied in and out and not looked at.
    """
    call = ctypes.CDLL(None).poll
    entries = b"".join(struct.pack("ihh", fd, select.POLLIN, 0) for fd in fds)  # struct pollfd
    array = ctypes.create_string_buffer(entries, len(entries))
    return lambda: int(call(array, ctypes.c_ulong(len(fds)), timeout_ms))


def c_select(fds: Sequence[int], nbits: int) -> Callable[[], int]:
    """select(2) as C calls it, with a map of `nbits` bits, also beyond FD_SETSIZE; how many.

    The map is made afresh for each call, because the kernel writes its answer into it.
    """
    call, word = ctypes.CDLL(None).select, struct.calcsize("l")
    words = [0] * -(-nbits // (8 * word))  # fd_set: bits in C's longs, select(2)
    for fd in fds:
        words[fd // (8 * word)] |= 1 << fd % (8 * word)
    bits = struct.pack(f"{len(words)}L", *words)
    now = (ctypes.c_long * 2)(0, 0)  # struct timeval: does not wait
    return lambda: int(call(nbits, ctypes.create_string_buffer(bits, len(bits)), None, None, now))


# --- their price ----------------------------------------------------------------------------------


class Price(float):
    """µs of CPU time; `disturbances` is what other work did to the blocks of calls it is from."""

    disturbances: tuple[Disturbance, ...] = ()


def cost_us(call: Callable[[], object]) -> Price:
    """µs of this thread's CPU time for one `call`: the median of blocks of calls.

    Not the least: on a virtual machine the clock of a thread sometimes leaves time out.  A block
    that other work disturbed is repeated, three times at most, and the half that was disturbed most
    does not count: `inconclusive(price)` says if the other half was disturbed too.
    """
    return _costs_us([call])[0]


def _costs_us(calls: Sequence[Callable[[], object]]) -> list[Price]:
    """Of several, block by block in turn: what other work does to the caches it does to all."""
    for call in calls:
        _block(call, 1)  # finds cold caches
    counts = [min(MAX_CALLS, 1 + round(BLOCK_US / max(_block(call, 1), 1))) for call in calls]
    rows: list[list[Price]] = [[] for _ in calls]
    for _ in range(BLOCKS):
        for call, count, row in zip(calls, counts, rows, strict=True):
            make = partial(_block, call, count)
            row.append(undisturbed(make, tries=TRIES, limit_ms=LIMIT_MS / BLOCKS))
    return [_middle(row) for row in rows]


def _middle(blocks: list[Price]) -> Price:
    half = sorted(blocks, key=lambda block: sum(one.ns for one in block.disturbances))
    half = half[: len(blocks) // 2 + 1]
    price = Price(median(half))
    price.disturbances = tuple(one for block in half for one in block.disturbances)
    return price


def _block(call: Callable[[], object], calls: int) -> Price:
    with interference() as found:
        before = cpu_clock()
        for _ in range(calls):
            call()
        used = cpu_clock() - before
    price = Price(used / calls / 1e3)
    price.disturbances = found.disturbances
    return price


def price_us(ask: Ask, n: int, ready: int = 1) -> Price:
    """µs of CPU time to ask `n` sockets, of which the last `ready` are ready, once."""
    return prices_us({"": ask}, n, ready)[""]


def prices_us(asks: Mapping[str, Ask], n: int, ready: int = 1) -> dict[str, Price]:
    """The same for several questions, by their names: asked in turn, so that they compare."""
    with sockets(n, ready) as socks, ExitStack() as stack:
        calls = [ask(socks, stack) for ask in asks.values()]
        return dict(zip(asks, _costs_us(calls), strict=True))
