"""The experiments of a calibration on servers: threads, lists of descriptors, messages, rings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import chain, pairwise, product

from ..calls import (
    F_SETFL,
    O_NONBLOCK,
    SIZE,
    Program,
    accept,
    close,
    connect,
    fcntl,
    getpid,
    getsockname,
    io_uring_prep_accept,
    io_uring_prep_recv,
    io_uring_prep_send,
    io_uring_setup,
    io_uring_submit_and_wait,
    ms,
    poll,
    pthread_create,
    pthread_join,
    recvfrom,
    select,
    send,
    sleep,
    socket,
)
from ..workloads import clients
from ..workloads.clients import RECEIVE, SEND, Clients
from ..workloads.clients import WAIT as PAUSE
from . import readings
from .readings import (
    FEW,
    LISTED,
    NAP,
    ROUNDS,
    SCANNED,
    SERVED,
    SERVED_MS,
    SERVED_SIZE,
    SERVER,
    TCP,
)
from .steps import Calibration

__all__ = ["SERVERS"]


def serving(listener: int, count: int) -> Program:
    """Accept one client after the other, and start a thread for each."""

    def idle() -> Program:
        yield getpid()

    for _ in range(count):
        yield select([listener])
        conn = yield accept(listener)
        thread = yield pthread_create(idle())
        yield pthread_join(thread)
        yield close(conn)


def _server(found: Calibration) -> None:
    """The first of each kind has been measured as a first call: medians leave it out."""
    run = readings.run(serving, clients.several(9, clients.script(at_ms=3), every_ms=12))
    mine = replace(run, call_log=tuple(c for c in run.call_log if c.process == run.processes[0]))
    for name, call in (("accept", "accept"), ("clone", "pthread_create")):
        found.note(name, [ns - found["syscall"] for ns in readings.took(mine, call)])


def _served() -> Clients:
    """One client, in a server's rhythm."""
    steps = (
        step
        for number in range(SERVED)
        for step in (
            (PAUSE, ms(SERVED_MS[number % len(SERVED_MS)])),
            (SEND, SERVED_SIZE), (RECEIVE, SERVED_SIZE),
        )
    )  # fmt: skip
    return clients.of(clients.script(*steps))


def reacting(listener: int, count: int) -> Program:
    """A reactor with one connection."""
    conn = yield accept(listener)
    data = b"?"
    while data:
        yield select([conn])
        if data := (yield recvfrom(conn, SIZE)):
            yield send(conn, data)


def answering(listener: int, count: int) -> Program:
    """A server that sleeps in its receive."""
    conn = yield accept(listener)
    while data := (yield recvfrom(conn, SIZE)):
        yield send(conn, data)


def _message(found: Calibration) -> None:
    """What a message costs on the way through a server, part by part."""
    reactor, blocking = (readings.run(program, _served()) for program in (reacting, answering))
    call, warm = found["syscall"], found["user"]
    look = 2 * found["select_per_fd" + SERVER] + found["queue_per_fd"]
    found.note("cold_call" + SERVER, [ns - call - look for ns in readings.busy(reactor, "select")])
    after_sleep = [ns - warm for ns in readings.between(reactor, "select", "recvfrom")]
    found.note("cold_user" + SERVER, after_sleep + readings.unread(found, blocking, "send", TCP))
    gaps = readings.unread(found, reactor, "send", TCP)
    gaps += [ns - warm - found["user_per_fd"] for ns in readings.between(reactor, "send", "select")]
    found.note("cold_code" + SERVER, gaps)
    copied = call + found["copy_per_byte" + TCP] * SERVED_SIZE
    found.note("copy_base" + SERVER, [ns - copied for ns in readings.busy(reactor, "recvfrom")])
    copied += found["copy_base" + SERVER]
    found.note("send", [ns - copied for ns in readings.busy(reactor, "send")])
    found.note("cold_receive" + SERVER, [ns - copied for ns in readings.busy(blocking, "recvfrom")])


def completing(listener: int, count: int) -> Program:
    """A proactor with one connection."""
    ring = yield io_uring_setup()
    yield io_uring_prep_accept(ring, listener)
    ((_, _, conn),) = yield io_uring_submit_and_wait(ring)
    data = b"?"
    while data:
        yield io_uring_prep_recv(ring, conn, SIZE)
        ((_, _, data),) = yield io_uring_submit_and_wait(ring)
        if data:
            yield io_uring_prep_send(ring, conn, data)
            yield io_uring_submit_and_wait(ring)


def _proactor(found: Calibration) -> None:
    """Two calls for each message: one sleeps and receives, the next one sends."""
    run = readings.run(completing, _served())
    copied = found["copy_base" + SERVER] + found["copy_per_byte" + TCP] * SERVED_SIZE
    both = found["cold_call" + SERVER] + found["send"] + 2 * (found["syscall"] + copied)
    spent = readings.busy(run, "io_uring_submit_and_wait")[1:]
    found.note("submission" + SERVER, [(a + b - both) / 2 for a, b in _twos(spent)])
    own = readings.between(run, "io_uring_submit_and_wait")[1:]
    both = found["cold_user" + SERVER] + 2 * (found["cold_code" + SERVER] + found["user"])
    both += readings.per_byte(found, TCP) * SERVED_SIZE
    found.note("step" + SERVER, [(a + b - both) / 2 for a, b in _twos(own)])


def _twos(values: Sequence[int]) -> Iterator[tuple[int, int]]:
    """The first and the second, the third and the fourth, and so on."""
    return zip(values[::2], values[1::2], strict=False)


def listing(listener: int, count: int) -> Program:
    """Ask about a few connections, and about many; nothing is ready.  Both ends are its own."""
    port, fds = (yield getsockname(listener)), list[int]()
    for _ in range(LISTED // 2):
        fds.append((yield socket()))
        yield connect(fds[-1], port)
        fds.append((yield accept(listener)))
    for fd in fds:
        yield fcntl(fd, F_SETFL, O_NONBLOCK)
    for _ in range(ROUNDS):
        for scan, some, timeout in product((select, poll), (fds[:FEW], fds), (0, NAP)):
            for _ in range(SCANNED):
                yield scan([some[0], *some[1:]], timeout)
        yield sleep(NAP)
        for fd in fds:
            with suppress(BlockingIOError):
                yield recvfrom(fd, SIZE)


def _lists(found: Calibration) -> None:
    """What each further descriptor costs: the look, the queue, and its own code to list it anew."""
    run = readings.run(listing, clients.of(clients.script(at_ms=900)))
    listed, queued = list[float](), list[float]()
    for scan in ("select", "poll"):
        looks, naps = _slopes(readings.busy(run, scan))
        found.note(f"{scan}_per_fd{SERVER}", looks)
        queued += [nap - 2 * found[f"{scan}_per_fd{SERVER}"] for nap in naps]
        listed += _slopes(readings.before(run, scan))[1]
    found.note("user_per_fd", listed)
    found.note("queue_per_fd", queued)
    vain = [(a, b) for a, b in pairwise(run.call_log) if a.errno and b.errno]
    warm = found["user"] + found["syscall"]
    found.note("eagain" + SERVER, [b.start - a.start - warm for a, b in vain])


def _slopes(values: Sequence[float]) -> list[list[float]]:
    """Of a scan's calls: ns more for each further descriptor, of those that looked and that slept.

    The first of those in a row follows another kind of question.
    """
    rows = [values[start + 1 : start + SCANNED] for start in range(0, len(values), SCANNED)]
    few, few_slept, many, many_slept = ([*chain(*rows[kind::4])] for kind in range(4))
    pairs = (few, many), (few_slept, many_slept)
    return [[(b - a) / (LISTED - FEW) for a, b in zip(*pair, strict=True)] for pair in pairs]


SERVERS: dict[str, Callable[[Calibration], None]] = {
    "server": _server,
    "lists to scan": _lists,
    "message of a server": _message,
    "proactor": _proactor,
}
