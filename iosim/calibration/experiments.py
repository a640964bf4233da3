"""The experiments of a calibration: each is a program, its run, and what that shows."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from itertools import pairwise
from socket import socket as Socket
from time import perf_counter_ns as clock

from ..calls import (
    F_SETFL,
    F_SETOWN,
    MSG_DONTWAIT,
    O_ASYNC,
    O_NONBLOCK,
    SELF,
    SIGIO,
    SIZE,
    SO_RCVTIMEO,
    Program,
    compute,
    fcntl,
    getpid,
    io_uring_peek_cqe,
    io_uring_setup,
    io_uring_submit,
    ms,
    poll,
    recvfrom,
    select,
    setsockopt,
    sigaction,
    sleep,
    us,
)
from ..costs.model import HALF_WINDOW, SEGMENT
from ..real.features import Unsupported
from ..trace import WAIT
from ..workloads.traffic import Traffic, burst, one, replay, several
from . import readings
from .microbench import Ask, ask_epoll, ask_poll, ask_select, sockets
from .readings import (
    AGAIN,
    FEW,
    GAPS_MS,
    MANY,
    NOISE_NS,
    SIZES,
    TCP,
)
from .server_experiments import SERVERS
from .steps import Calibration

__all__ = ["EXPERIMENTS"]


def _patient() -> Traffic:
    """A message that comes when all is over: these programs do not wait for it."""
    return one(after_ms=900, size=1)


def entering(fd: int, nbytes: int) -> Program:
    """The cheapest call, again and again."""
    for _ in range(AGAIN):
        yield getpid()


def _entry(found: Calibration) -> None:
    run = readings.run(entering, _patient())
    found.note("syscall", readings.took(run, "getpid"))
    found.note("user", readings.between(run, "getpid"))


def beginning(fds: Sequence[int], nbytes: int) -> Program:
    """Six calls, each for the first time."""
    yield getpid()
    yield fcntl(fds[0], F_SETFL, O_NONBLOCK)
    yield setsockopt(fds[0], SO_RCVTIMEO, 0)
    yield select(fds, 0)
    yield poll(fds, 0)
    try:
        yield recvfrom(fds[0], SIZE)
    except BlockingIOError:
        return


def _first(found: Calibration) -> None:
    took, warm = [], found["user"] + found["syscall"]
    for _ in range(4):
        calls = readings.run(beginning, _patient()).call_log
        took += [after.end - before.end - warm for before, after in pairwise(calls)]
    found.note("first_call", took)


def _start(found: Calibration) -> None:
    """The CPU time of a run until its first sleep."""
    runs = [readings.run(receiving, one(after_ms=3, size=64)) for _ in range(6)]
    warm = found["user"] + found["syscall"]
    found.note("start", [run.cpu_while(WAIT) - warm for run in runs])


def looking(fd: int, nbytes: int) -> Program:
    """A poller: a look in vain, and a millisecond of other work."""
    for _ in range(40):
        try:
            yield recvfrom(fd, SIZE, MSG_DONTWAIT)
        except BlockingIOError:
            yield compute(ms(1))


def _eagain(found: Calibration) -> None:
    run = readings.run(looking, _patient())
    found.note("eagain", [ns - found["syscall"] for ns in readings.took(run, "recvfrom")])
    gaps = readings.between(run, "recvfrom")
    found.note("step", [gap - ms(1) - found["user"] for gap in gaps if gap < ms(1) + NOISE_NS])


def waiting(fds: Sequence[int], nbytes: int) -> Program:
    """Sleep until there is something, and receive it."""
    while nbytes > 0:
        for fd in (yield select(fds)):
            data = yield recvfrom(fd, SIZE)
            nbytes -= len(data)


def _spaced(sizes: Sequence[int], rounds: int, transport: str) -> Traffic:
    """Every size after every gap."""
    rows, at = [], 0
    for number in range(rounds):
        at += ms(GAPS_MS[number % len(GAPS_MS)])
        rows.append((at, sizes[number % len(sizes)]))
    return replay(rows, transport)


def _wake(found: Calibration, transport: str = "udp", over: str = "") -> None:
    run = readings.run(waiting, _spaced(SIZES, 32, transport))
    wakes = list(readings.wakes(run))
    found.note("context_switch" + over, [w.context_switch for w in wakes])
    # A wake-up from another core shows now as the one, now as the other (the sleeper may enter its
    # queue late and leave it at once): the median of their sum is kept, not the sum of medians.
    queued = found["context_switch" + over]
    found.note("wakeup" + over, [w.wakeup + w.context_switch - queued for w in wakes])
    found.note("cold_call" + over, [w.way_out for w in wakes])
    found.note("cold_user" + over, [w.own_code - found["user"] for w in wakes])
    found.note("cold_code" + over, readings.unread(found, run, "select", over))
    points = [(w.size, w.receive - found["syscall"]) for w in wakes if w.receive]
    found.note_line("copy", points, over)
    whole = [w for w in wakes if not over or w.size <= HALF_WINDOW]
    found.note_line("network", [(w.size, w.transit) for w in whole], over)
    if over:
        first = found["network" + over] + found["network_per_byte" + over] * HALF_WINDOW
        found.note("segment" + over, [w.transit - first for w in wakes if w not in whole])


def receiving(fd: int, nbytes: int) -> Program:
    """Sleep in the receive itself."""
    while nbytes > 0:
        data = yield recvfrom(fd, SIZE)
        nbytes -= len(data)


def _receive(found: Calibration, transport: str = "udp", over: str = "") -> None:
    wakes = readings.wakes(readings.run(receiving, _spaced(SIZES, 20, transport)))
    base, each = found["copy_base" + over], found["copy_per_byte" + over]
    found.note("cold_receive" + over, [w.way_out - base - each * w.size for w in wakes])


def _long_stream(found: Calibration) -> None:
    """Whole segments, one after the other: what a copy of 64 KiB leaves of the caches."""
    run = readings.run(waiting, several(2, 20, 1 << 20, "tcp"))
    full = [c for c in run.call_log if c.nbytes == SEGMENT]
    found.note("copy of 64 KiB, stream", [c.end - c.start for c in full])
    gaps = [b.start - a.end for a, b in pairwise(run.call_log) if a in full and b.name == "select"]
    per_byte = [(gap - found["user"]) / SEGMENT for gap in gaps]
    found.note("user_per_byte" + TCP, per_byte, "ns/B")


def hoarding(fd: int, nbytes: int, size: int) -> Program:
    """Let bytes come in, and receive them at one go: caches are hot but for the data."""
    yield sleep(ms(12))
    while nbytes > 0:
        data = yield recvfrom(fd, size)
        nbytes -= len(data)


def _hot(found: Calibration, transport: str = "udp", over: str = "") -> None:
    """For comparison only: Costs has the copy as a process meets it that has slept."""
    points = []
    for size in SIZES[:-1]:
        calls = readings.run(hoarding, burst(6, 2, size, transport), size=size).call_log
        full = [c for c in calls if c.nbytes == size][1:]
        points += [(size, c.end - c.start - found["syscall"]) for c in full]
    found.note_line("hot_copy", points, over)


def napping(fd: int, nbytes: int) -> Program:
    """Ask to sleep for two milliseconds, and see when it ends."""
    for _ in range(25):
        yield sleep(ms(2))


def _timer(found: Calibration) -> None:
    run = readings.run(napping, _patient())
    steps = ("syscall", "wakeup", "context_switch", "cold_call")
    rest = ms(2) + sum(found[step] for step in steps)
    found.note(
        "timer_slack", [ns - rest for ns in readings.took(run, "sleep") if ns - rest < NOISE_NS]
    )


def signalled(fd: int, nbytes: int) -> Program:
    """Work, until a signal says that there is something to receive."""
    inbox: list[bytes] = []

    def handler(signo: int) -> Program:
        data = b"?"
        with suppress(BlockingIOError):
            while data:  # one signal may stand for many messages (UNP 25.3)
                data = yield recvfrom(fd, SIZE)
                inbox.append(data)

    yield sigaction(SIGIO, handler)
    yield fcntl(fd, F_SETOWN, SELF)
    yield fcntl(fd, F_SETFL, O_ASYNC | O_NONBLOCK)
    while sum(map(len, inbox)) < nbytes:
        yield compute(ms(1))


def _signal(found: Calibration, transport: str = "udp", over: str = "") -> None:
    run = readings.run(signalled, several(16, 7, 64, transport))
    late = []
    for fate in run.deliveries:
        calls = readings.calls_about(run, fate)
        if fate.arrived is not None and len(calls) == 1:  # else its signal was merged with others
            late.append(calls[0].start - fate.arrived - found["user"])
    clean = [ns for ns in late if 0 < ns < NOISE_NS * 2]
    enough = len(clean) >= len(run.deliveries) / 4  # the few that a busy machine leaves are noise
    found.note("signal_delivery" + over, clean if enough else [])


LOOK = us(50)


def ringing(fd: int, nbytes: int) -> Program:
    """Submit a receive, and look for its completion every 50 µs."""
    ring = yield io_uring_setup()
    while nbytes > 0:
        yield io_uring_submit(ring, fd, SIZE)
        while (data := (yield io_uring_peek_cqe(ring))) is None:
            yield compute(LOOK)
        nbytes -= len(data)


def _ring(found: Calibration) -> None:
    run = readings.run(ringing, several(16, 7, 64))
    found.note(
        "submission", [ns - found["syscall"] for ns in readings.took(run, "io_uring_submit")]
    )
    between_looks = LOOK + 2 * found["step"]
    rest = found["copy_base"] + between_looks / 2
    late = [run.latency_ns(d.message) - rest for d in run.deliveries]
    found.note("completion", [ns for ns in late if ns < NOISE_NS])


def _scans(found: Calibration) -> None:
    """select, poll and epoll by themselves, over a few and over many descriptors."""
    for name, (ask, ready) in SCANS.items():
        with sockets(MANY, ready) as socks, ExitStack() as stack:
            try:
                slope = _slope(ask, socks, stack)
            except AttributeError:
                found.missing[name] = "this system has no such call"
            else:
                found.note(name, slope)


def _slope(ask: Ask, socks: Sequence[Socket], stack: ExitStack) -> list[float]:
    """ns more for each further descriptor; blocks of few and many in turn."""
    few, many = ask(socks[:FEW], stack), ask(socks, stack)
    pairs = [(_timed(few), _timed(many)) for _ in range(AGAIN)]
    return [(after - before) / (MANY - FEW) for before, after in pairs]


def _timed(action: Callable[[], object]) -> int:
    start = clock()
    action()
    return clock() - start


SCANS: dict[str, tuple[Ask, int]] = {  # the question, and how many are ready
    "select_per_fd": (ask_select, 0),
    "poll_per_fd": (ask_poll, 0),
    "epoll_per_ready": (ask_epoll, MANY),
}


def _time_slice(found: Calibration) -> None:
    """As the scheduler tells it: sched_rr_get_interval(2)."""
    if not hasattr(os, "sched_rr_get_interval"):
        raise Unsupported("sched_rr_get_interval", "not on this system")
    seconds = os.sched_rr_get_interval(0)
    if not seconds:
        raise LookupError("sched_rr_get_interval(2) answers 0; the usual 3 ms stand")
    found.note("time_slice", [seconds * 1e9])


EXPERIMENTS: dict[str, Callable[[Calibration], None]] = {
    "entry": _entry,
    "first calls": _first,
    "start": _start,
    "EAGAIN": _eagain,
    "wake-up, switch and copy": _wake,
    "long stream": _long_stream,
    "wake-up, switch and copy over TCP": partial(_wake, transport="tcp", over=TCP),
    "blocking receive": _receive,
    "blocking receive over TCP": partial(_receive, transport="tcp", over=TCP),
    "copy with hot caches": _hot,
    "copy with hot caches over TCP": partial(_hot, transport="tcp", over=TCP),
    "timer": _timer,
    "signal": _signal,
    "signal over TCP": partial(_signal, transport="tcp", over=TCP),
    "io_uring": _ring,
    **SERVERS,
    "scans": _scans,
    "time slice": _time_slice,
}
