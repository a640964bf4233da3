"""`Costs`, measured on this machine: each step by itself, in less than five seconds.

A step is measured by a program of a few lines on the real kernel, read off its timeline, so that
what is predicted and what is measured go through the same instrument: a cost holds Python's own
part of the step as well.  Values are medians; a wake-up that stood in the run queue behind
somebody else (schedstat) is left out.  The gaps and sizes used here are not those of the
benchmarks that hold a prediction to a run.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain, combinations, pairwise, product
from time import perf_counter_ns as clock
from typing import Any

from ..api import measure
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
    accept,
    close,
    compute,
    connect,
    fcntl,
    getpid,
    getsockname,
    io_uring_peek_cqe,
    io_uring_prep_accept,
    io_uring_prep_recv,
    io_uring_prep_send,
    io_uring_setup,
    io_uring_submit,
    io_uring_submit_and_wait,
    ms,
    poll,
    pthread_create,
    pthread_join,
    recvfrom,
    select,
    send,
    setsockopt,
    sigaction,
    sleep,
    socket,
    us,
)
from ..costs.model import HALF_WINDOW, SEGMENT, Costs
from ..real.features import Unsupported, machine
from ..trace import KERNEL, READY, SLEEPING, WAIT, Call, Delivery, Timeline
from ..workloads import clients
from ..workloads.clients import RECEIVE, SEND, Clients
from ..workloads.clients import WAIT as PAUSE
from ..workloads.traffic import Traffic, burst, one, replay, several
from .microbench import Ask, ask_epoll, ask_poll, ask_select, sockets

__all__ = ["Calibration", "Step", "calibrate"]

NOISE_NS = 200_000  # this long in the run queue: somebody else ran
GAPS_MS = (3, 7, 15, 30)  # how long a process sleeps; the benchmarks use others
SIZES = (64, 512, 4_096, 24_000, 45_000)  # of a message, in bytes; as above
TCP, SERVER = " (TCP)", " (server)"  # behind the name of a step
SERVED_MS, SERVED = (3, 7), 24  # a server's rhythm: how long it sleeps, and how often
SERVED_SIZE = SIZES[1]
NAP = ms(SERVED_MS[0])  # in shorter ones the caches stay warm, and long lists look cheap
FEW, MANY = 4, 64  # descriptors, for the slope of a scan
LISTED, SCANNED = 256, 6  # descriptors on a long list, and times in a row that it is scanned
ROUNDS = 4  # of all that is asked of them: a busy moment must not meet one kind of question alone
AGAIN = 150  # times a short call is repeated
LIMIT_S = 3.0  # for one experiment

Report = Callable[[int, int, str], None]  # experiments done, in all, and the next one's name


@dataclass(frozen=True, slots=True)
class Step:
    """One step: the median of `count` samples and their interquartile range, in `unit`."""

    name: str
    median: float
    spread: float
    count: int
    unit: str = "ns"


@dataclass(slots=True)
class Calibration:
    """What was measured, step by step; `missing` says what was not, and why not.

    `costs` are the prices that follow; where a step is missing, that of `Costs.typical()` stands.
    A step that was measured over TCP has " (TCP)" behind its name, one of a server " (server)".
    """

    costs: Costs
    steps: dict[str, Step] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    def __getitem__(self, name: str) -> float:
        """The median of a step that was measured.  LookupError for others."""
        if name not in self.steps:
            raise LookupError(f"it needs {name}, which was not measured")
        return self.steps[name].median

    def note(self, name: str, samples: Iterable[float], unit: str = "ns") -> None:
        """Take down a step.  LookupError if nothing was left of its samples."""
        values = sorted(samples)
        if not values:
            raise LookupError(f"{name}: every sample was noise")
        low, middle, high = _quartiles(values)
        self.steps[name] = Step(name, middle, high - low, len(values), unit)

    def note_line(self, name: str, points: Sequence[tuple[float, float]], over: str) -> None:
        """Take down a line through `(bytes, ns)`: its height at 0 bytes, and ns for each byte."""
        slopes, bases = _line(points)
        flat = name if name == "network" else f"{name}_base"
        self.note(flat + over, bases)
        self.note(f"{name}_per_byte{over}", slopes, "ns/B")

    def __str__(self) -> str:
        lines = [f"measured on {self.costs.machine}"]
        lines += [
            f"{step.name:<28}{step.median:>12,.2f} {step.unit:<6}"
            f"± {step.spread / 2:,.2f} ({step.count} samples)"
            for step in self.steps.values()
        ]
        return "\n".join(lines + self.complaints())

    def complaints(self) -> list[str]:
        """A line for each step that could not be measured."""
        return [f"not measured: {what}: {why}" for what, why in self.missing.items()]


def calibrate(report: Report | None = None) -> Calibration:
    """Measure every step that this system has; takes less than 5 s.

    `report` is called before each experiment.  Unsupported where there are no sockets or processes
    to measure with.
    """
    found = Calibration(replace(Costs.typical(), machine=machine()))
    for number, (title, experiment) in enumerate(EXPERIMENTS.items()):
        if report:
            report(number, len(EXPERIMENTS), title)
        try:
            experiment(found)
        except (LookupError, OSError, RuntimeError, ValueError) as error:  # FD_SETSIZE: ValueError
            found.missing[title] = str(error)
    if report:
        report(len(EXPERIMENTS), len(EXPERIMENTS), "done")
    if not found.steps:
        raise Unsupported("calibration", "; ".join(found.complaints()))
    costs = replace(found.costs, **_prices(found, ""))
    stream = replace(costs, **_prices(found, TCP))
    server = replace(stream, **_prices(found, SERVER))
    found.costs = replace(costs, stream=stream, server=server)
    return found


def _prices(found: Calibration, over: str) -> dict[str, Any]:
    """The steps that are prices; a difference of two noisy numbers is never below 0."""
    medians = {name: found.steps.get(name + over) for name in Costs.names()}
    return {name: max(0.0, round(s.median, 4)) for name, s in medians.items() if s is not None}


# -- statistics --------------------------------------------------------------------------------


def _quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    if len(values) == 1:
        return values[0], values[0], values[0]
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high


def _line(points: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    """Theil–Sen: the slopes of pairs that lie far apart, and with their median the intercepts."""
    far = max(x for x, _ in points) / 2 if points else 0
    slopes = [
        (y2 - y1) / (x2 - x1)
        for (x1, y1), (x2, y2) in combinations(points, 2)
        if abs(x2 - x1) > far
    ]
    slope = max(0.0, statistics.median(slopes)) if slopes else 0.0
    return slopes, [y - slope * x for x, y in points]


# -- reading timelines -------------------------------------------------------------------------


def _took(run: Timeline, name: str) -> list[int]:
    return [call.end - call.start for call in run.call_log if call.name == name]


def _between(run: Timeline, name: str, then: str = "") -> list[int]:
    """ns of own code between a call of that name and one of the name `then` (the same) after it."""
    return [
        after.start - before.end
        for before, after in pairwise(call for call in run.call_log if call.trap)
        if (before.name, after.name) == (name, then or name)
    ]


def _before(run: Timeline, name: str) -> list[int]:
    """ns of own code before each call of that name."""
    return [b.start - a.end for a, b in pairwise(run.call_log) if b.name == name]


def _busy(run: Timeline, name: str) -> list[int]:
    """ns of CPU time that each call of that name took."""
    spent = {call.id: 0 for call in run.call_log if call.name == name}
    for part in run.intervals:
        if part.call is not None and part.call.id in spent and part.state == KERNEL:
            spent[part.call.id] += part.duration
    return list(spent.values())


@dataclass(frozen=True, slots=True)
class _Wake:
    """What one message set off in the process that slept until it came; all but `size` in ns."""

    size: int
    transit: int
    wakeup: int
    context_switch: int
    way_out: int  # of the call in which it slept
    own_code: int = 0  # from there to the call that receives, if that is another one
    receive: int = 0


def _wakes(run: Timeline) -> Iterator[_Wake]:
    """Each message that ended a sleep, unless its process then stood behind somebody else."""
    for fate in run.deliveries:
        calls = _calls_about(run, fate)
        if fate.arrived is None or fate.sent is None or not 1 <= len(calls) <= 2:
            continue
        inside = [i for i in run.lane(run.processes[0]) if i.call is calls[0]]
        asleep = [i.end for i in inside if i.state == SLEEPING]
        ready = sum(i.duration for i in inside if i.state == READY)
        if not asleep or ready > NOISE_NS:
            continue
        way_out = sum(i.duration for i in inside if i.state == KERNEL and i.start >= asleep[-1])
        then = (calls[1].start - calls[0].end, calls[1].end - calls[1].start) if calls[1:] else ()
        yield _Wake(
            fate.size, fate.arrived - fate.sent, max(0, asleep[-1] - fate.arrived), ready, way_out,
            *then,
        )  # fmt: skip


def _calls_about(run: Timeline, fate: Delivery) -> list[Call]:
    """The calls between a message's arrival and its last byte."""
    if fate.arrived is None or fate.received is None:
        return []
    return [c for c in run.call_log if fate.arrived <= c.end <= fate.received]


# -- the experiments: a program, its run, what it shows -------------------------------------------


def _patient() -> Traffic:
    """A message that comes when all is over: these programs do not wait for it."""
    return one(after_ms=900, size=1)


def _run(program: Callable[..., Program], story: Traffic | Clients, **options: Any) -> Timeline:
    return measure(program, story, limit_s=LIMIT_S, **options)


def entering(fd: int, nbytes: int) -> Program:
    """The cheapest call, again and again."""
    for _ in range(AGAIN):
        yield getpid()


def _entry(found: Calibration) -> None:
    run = _run(entering, _patient())
    found.note("syscall", _took(run, "getpid"))
    found.note("user", _between(run, "getpid"))


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
        calls = _run(beginning, _patient()).call_log
        took += [after.end - before.end - warm for before, after in pairwise(calls)]
    found.note("first_call", took)


def _start(found: Calibration) -> None:
    """The CPU time of a run until its first sleep."""
    runs = [_run(receiving, one(after_ms=3, size=64)) for _ in range(6)]
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
    run = _run(looking, _patient())
    found.note("eagain", [ns - found["syscall"] for ns in _took(run, "recvfrom")])
    gaps = _between(run, "recvfrom")
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
    run = _run(waiting, _spaced(SIZES, 32, transport))
    wakes = list(_wakes(run))
    found.note("context_switch" + over, [w.context_switch for w in wakes])
    # A wake-up from another core shows now as the one, now as the other (the sleeper may enter its
    # queue late and leave it at once): the median of their sum is kept, not the sum of medians.
    queued = found["context_switch" + over]
    found.note("wakeup" + over, [w.wakeup + w.context_switch - queued for w in wakes])
    found.note("cold_call" + over, [w.way_out for w in wakes])
    found.note("cold_user" + over, [w.own_code - found["user"] for w in wakes])
    found.note("cold_code" + over, _unread(found, run, "select", over))
    points = [(w.size, w.receive - found["syscall"]) for w in wakes if w.receive]
    found.note_line("copy", points, over)
    whole = [w for w in wakes if not over or w.size <= HALF_WINDOW]
    found.note_line("network", [(w.size, w.transit) for w in whole], over)
    if over:
        first = found["network" + over] + found["network_per_byte" + over] * HALF_WINDOW
        found.note("segment" + over, [w.transit - first for w in wakes if w not in whole])


def _unread(found: Calibration, run: Timeline, then: str, over: str) -> list[float]:
    """Own code after the receive of a short message, but for what the message itself costs it."""
    per_byte = _per_byte(found, over)
    return [
        after.start - before.end - found["user"] - per_byte * before.nbytes
        for before, after in pairwise(run.call_log)
        if 0 < before.nbytes <= SIZES[1] and (before.name, after.name) == ("recvfrom", then)
    ]


def _per_byte(found: Calibration, over: str) -> float:
    """ns of own code for each byte that it received; not measured over UDP."""
    read = found.steps.get("user_per_byte" + over)
    return read.median if read else 0.0


def receiving(fd: int, nbytes: int) -> Program:
    """Sleep in the receive itself."""
    while nbytes > 0:
        data = yield recvfrom(fd, SIZE)
        nbytes -= len(data)


def _receive(found: Calibration, transport: str = "udp", over: str = "") -> None:
    wakes = _wakes(_run(receiving, _spaced(SIZES, 20, transport)))
    base, each = found["copy_base" + over], found["copy_per_byte" + over]
    found.note("cold_receive" + over, [w.way_out - base - each * w.size for w in wakes])


def _long_stream(found: Calibration) -> None:
    """Whole segments, one after the other: what a copy of 64 KiB leaves of the caches."""
    run = _run(waiting, several(2, 20, 1 << 20, "tcp"))
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
        calls = _run(hoarding, burst(6, 2, size, transport), size=size).call_log
        full = [c for c in calls if c.nbytes == size][1:]
        points += [(size, c.end - c.start - found["syscall"]) for c in full]
    found.note_line("hot_copy", points, over)


def napping(fd: int, nbytes: int) -> Program:
    """Ask to sleep for two milliseconds, and see when it ends."""
    for _ in range(25):
        yield sleep(ms(2))


def _timer(found: Calibration) -> None:
    run = _run(napping, _patient())
    steps = ("syscall", "wakeup", "context_switch", "cold_call")
    rest = ms(2) + sum(found[step] for step in steps)
    found.note("timer_slack", [ns - rest for ns in _took(run, "sleep") if ns - rest < NOISE_NS])


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
    run = _run(signalled, several(16, 7, 64, transport))
    late = []
    for fate in run.deliveries:
        calls = _calls_about(run, fate)
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
    run = _run(ringing, several(16, 7, 64))
    found.note("submission", [ns - found["syscall"] for ns in _took(run, "io_uring_submit")])
    between_looks = LOOK + 2 * found["step"]
    rest = found["copy_base"] + between_looks / 2
    late = [run.latency_ns(d.message) - rest for d in run.deliveries]
    found.note("completion", [ns for ns in late if ns < NOISE_NS])


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
    run = _run(serving, clients.several(9, clients.script(at_ms=3), every_ms=12))
    mine = replace(run, call_log=tuple(c for c in run.call_log if c.process == run.processes[0]))
    for name, call in (("accept", "accept"), ("clone", "pthread_create")):
        found.note(name, [ns - found["syscall"] for ns in _took(mine, call)])


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
    reactor, blocking = (_run(program, _served()) for program in (reacting, answering))
    call, warm = found["syscall"], found["user"]
    look = 2 * found["select_per_fd" + SERVER] + found["queue_per_fd"]
    found.note("cold_call" + SERVER, [ns - call - look for ns in _busy(reactor, "select")])
    after_sleep = [ns - warm for ns in _between(reactor, "select", "recvfrom")]
    found.note("cold_user" + SERVER, after_sleep + _unread(found, blocking, "send", TCP))
    gaps = _unread(found, reactor, "send", TCP)
    gaps += [ns - warm - found["user_per_fd"] for ns in _between(reactor, "send", "select")]
    found.note("cold_code" + SERVER, gaps)
    copied = call + found["copy_per_byte" + TCP] * SERVED_SIZE
    found.note("copy_base" + SERVER, [ns - copied for ns in _busy(reactor, "recvfrom")])
    copied += found["copy_base" + SERVER]
    found.note("send", [ns - copied for ns in _busy(reactor, "send")])
    found.note("cold_receive" + SERVER, [ns - copied for ns in _busy(blocking, "recvfrom")])


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
    run = _run(completing, _served())
    copied = found["copy_base" + SERVER] + found["copy_per_byte" + TCP] * SERVED_SIZE
    both = found["cold_call" + SERVER] + found["send"] + 2 * (found["syscall"] + copied)
    spent = _busy(run, "io_uring_submit_and_wait")[1:]
    found.note("submission" + SERVER, [(a + b - both) / 2 for a, b in _twos(spent)])
    own = _between(run, "io_uring_submit_and_wait")[1:]
    both = found["cold_user" + SERVER] + 2 * (found["cold_code" + SERVER] + found["user"])
    both += _per_byte(found, TCP) * SERVED_SIZE
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
    run = _run(listing, clients.of(clients.script(at_ms=900)))
    listed, queued = list[float](), list[float]()
    for scan in ("select", "poll"):
        looks, naps = _slopes(_busy(run, scan))
        found.note(f"{scan}_per_fd{SERVER}", looks)
        queued += [nap - 2 * found[f"{scan}_per_fd{SERVER}"] for nap in naps]
        listed += _slopes(_before(run, scan))[1]
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


def _slope(ask: Ask, socks: Sequence[Any], stack: ExitStack) -> list[float]:
    """ns more for each further descriptor; blocks of few and many in turn."""
    few, many = ask(socks[:FEW], stack), ask(socks, stack)
    pairs = [(_timed(few), _timed(many)) for _ in range(AGAIN)]
    return [(after - before) / (MANY - FEW) for before, after in pairs]


def _timed(action: Callable[[], Any]) -> int:
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
    "server": _server,
    "lists to scan": _lists,
    "message of a server": _message,
    "proactor": _proactor,
    "scans": _scans,
    "time slice": _time_slice,
}
