"""The real kernel: order, counts, states and ratios; never a duration."""

from __future__ import annotations

import asyncio
import functools
import gc
import os
import select as real_select
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
import weakref
from errno import EAGAIN, ECONNRESET, EINVAL, ENOMEM, ENOSYS, EPERM
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from waiting import PIPE, until

from iosim import clients, inconclusive, measure, undisturbed
from iosim.calls import (
    F_SETFL,
    F_SETOWN,
    F_SETSIG,
    MSG_DONTWAIT,
    MSG_PEEK,
    O_ASYNC,
    SELF,
    SIG_BLOCK,
    SIGIO,
    SIGRTMIN,
    SIZE,
    SO_RCVTIMEO,
    Program,
    accept,
    aio_read,
    close,
    compute,
    epoll_create,
    eventfd,
    fcntl,
    getpid,
    io_uring_enter,
    io_uring_setup,
    io_uring_submit,
    ms,
    pause,
    pipe,
    poll,
    pthread_create,
    pthread_join,
    recvfrom,
    select,
    setsockopt,
    sigaction,
    sigprocmask,
    sigtimedwait,
    sleep,
)
from iosim.kernels import watchdog as watching
from iosim.kernels.launch import launch, line_of, resume
from iosim.kernels.watchdog import watchdog
from iosim.machine import procfs
from iosim.programs import models
from iosim.real import aio, recordings, ring
from iosim.real.accounting import Meter
from iosim.real.features import Unsupported, features, machine
from iosim.real.measured import Stretch, Usage
from iosim.real.ring import Ring
from iosim.real.signals import Signals
from iosim.real.traffic import TrafficOutside
from iosim.trace import COPY, FIGURE_6_6, KERNEL, READY, SLEEPING, USER, WAIT, Row, Timeline
from iosim.workloads.traffic import Message, Traffic, burst, one, replay, several

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="measures the Linux kernel"
)

LATE = 20  # ms; the sender waits for the program, so that nothing rests on it
HERE = {name: there for name, there, _ in features()} if sys.platform.startswith("linux") else {}
NEEDS = {
    "multiplexing_poll": "poll", "multiplexing_epoll": "epoll", "signal_driven": "SIGIO",
    "signal_waiting": "real-time signals", "asynchronous": "io_uring",
    "asynchronous_aio": "POSIX aio",
}  # fmt: skip
SOON_S = 5.0


def need(feature: str) -> None:
    """Skip where this system has no `feature`."""
    if not HERE[feature]:
        pytest.skip(f"no {feature} here")


def run(program, story=None, **options) -> Timeline:
    """A measured run whose invariants hold."""
    return measure(program, story or one(LATE), **options).check()


def traces() -> tuple:
    """What a run could leave behind in this process."""
    signals = (signal.SIGIO, signal.SIGALRM, signal.SIGRTMIN, signal.SIGINT)
    return (
        len(os.listdir("/proc/self/fd")),
        threading.active_count(),
        [signal.getsignal(signo) for signo in signals],
        signal.pthread_sigmask(signal.SIG_BLOCK, []),
        signal.sigpending(),
        signal.getitimer(signal.ITIMER_REAL),
        Path(f"/proc/self/task/{os.getpid()}/children").read_text(),
    )


@pytest.fixture(autouse=True)
def _nothing_is_left():
    """Descriptors, threads, handlers, mask, timers and processes are as they were."""
    before = traces()
    yield
    assert traces() == before


# -- the models --------------------------------------------------------------------------------

RECEIVE = ("recvfrom", None)
LOOK = ("recvfrom", EAGAIN)
OPENING = {
    "blocking": [],
    "nonblocking": [("fcntl", None)],
    "nonblocking_sleeping": [("fcntl", None)],
    "multiplexing": [("select", None)],
    "multiplexing_poll": [("poll", None)],
    "multiplexing_epoll": [("epoll_create", None), ("epoll_ctl", None), ("epoll_wait", None)],
    "signal_driven": [("sigaction", None), ("fcntl", None), ("fcntl", None), LOOK],
    "signal_waiting": [
        ("sigprocmask", None), *[("fcntl", None)] * 3, LOOK, ("sigtimedwait", None),
    ],
    "asynchronous": [("io_uring_setup", None), ("io_uring_submit", None)],
    "asynchronous_aio": [("aio_read", None)],
}  # fmt: skip
ENDING = {
    "signal_driven": [RECEIVE, LOOK],
    "signal_waiting": [RECEIVE, LOOK],
    "asynchronous": [],
    "asynchronous_aio": [],
}


@pytest.mark.parametrize("transport", ["udp", "tcp"])
@pytest.mark.parametrize("name", models.MODEL_OF)
def test_a_model(name: str, transport: str) -> None:
    need(NEEDS.get(name, "select"))
    timeline = run(getattr(models, name), one(LATE, transport=transport))
    assert timeline.kernel == "measured"
    assert timeline.machine == machine()
    assert timeline.title == name
    assert timeline.processes == ("process",)
    assert timeline.figure_6_6().agrees(FIGURE_6_6[models.MODEL_OF[name]])
    assert timeline.figure_6_6().wait is not None

    calls, opening, ending = timeline.calls(), OPENING[name], ENDING.get(name, [RECEIVE])
    assert calls[: len(opening)] == opening
    assert calls[len(opening) + timeline_polls(calls, opening, ending) :] == ending

    (fate,) = timeline.deliveries
    assert fate.sent <= fate.arrived <= fate.received <= timeline.end
    assert ms(LATE) <= fate.sent
    assert timeline.blocked(WAIT) <= fate.arrived
    lines = timeline.source.splitlines()
    if name != "nonblocking_sleeping":  # its calls stand in nonblocking
        for call in timeline.call_log:
            if call.process == "process" and call.name in timeline.source and call.line:
                at = call.line - timeline.first_line
                if 0 <= at < len(lines):
                    assert call.name in lines[at]


def timeline_polls(calls: list, opening: list, ending: list) -> int:
    """How many calls stand between the opening and the ending: looks in vain, and rests."""
    between = calls[len(opening) : len(calls) - len(ending)]
    assert set(between) <= {LOOK, ("sleep", None)}
    return len(between)


@pytest.mark.parametrize("when", ["before the call", "after it"])
def test_a_core_lost_while_the_meter_is_read_is_not_the_call_s(
    monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """As a core is lost at the end of a system call, which a reading is: 30 ms here, planted."""
    off_core, lost, plants, read = Meter.off_core, [0], [0.0], [0]

    def loses() -> None:
        lost[0] += int(plants[0] * 1e9)
        time.sleep(plants.pop())
        plants.append(0.0)

    def reading(self: Meter) -> tuple[int, int]:
        read[0] += 1  # the first one is the run's, the others are the call's
        if read[0] == 3 and when == "after it":
            loses()
        queued, switches = off_core(self)
        seen = queued + lost[0]
        if read[0] == 2 and when == "before the call":
            loses()
        return seen, switches

    def run() -> Timeline:
        plants[0], read[0] = 0.03, 0
        return measure(naps, one(LATE))

    monkeypatch.setattr(Meter, "off_core", reading)
    timeline = undisturbed(run)
    (call,) = (c for c in timeline.call_log if c.name == "sleep")
    asleep = sum(i.duration for i in timeline.intervals if i.call == call and i.state == SLEEPING)
    assert asleep > 0.5 * (call.end - call.start)


def naps(fd: int, nbytes: int) -> Program:
    """One call that sleeps, for less than what is planted."""
    yield sleep(ms(20))


def test_a_call_that_ran_is_not_all_queueing() -> None:
    """The core was taken between the meter's reading and the call: that wait is not the call's."""
    stretch = Stretch(0, 50_000, KERNEL, 1, "", Usage(30_000, 10_000_000, 0))
    parts = stretch.parts(None)
    ends = [at for at, _ in parts[1:]] + [50_000]
    states = [(state, end - at) for (at, state), end in zip(parts, ends, strict=True)]
    assert parts[-1][1] == KERNEL
    assert sum(ns for state, ns in states if state == KERNEL) == 30_000


@pytest.mark.parametrize("name", ["blocking", "multiplexing"])
def test_sleeps_until_the_arrival(name: str) -> None:
    timeline = run(getattr(models, name))
    (fate,) = timeline.deliveries
    asleep = [i for i in timeline.lane("process") if i.state == SLEEPING]
    assert len(asleep) == 1
    assert asleep[0].end >= fate.arrived
    assert timeline.time_in(SLEEPING) > timeline.time_in(KERNEL)
    assert timeline.checks() == 0
    assert timeline.switches()[0] == 1
    assert timeline.blocked(COPY) > 0
    copy = next(i for i in timeline.lane("message 1") if i.state == COPY)
    runs = next(i for i in timeline.lane("process") if i.start == copy.start)
    assert runs.state == KERNEL


def test_the_busy_one_never_sleeps() -> None:
    timeline = run(models.nonblocking)
    assert timeline.time_in(SLEEPING) == 0
    assert timeline.checks() >= 1
    assert timeline.blocked(WAIT) == 0


def test_polling_rests_between_two_looks() -> None:
    timeline = run(models.nonblocking_sleeping)
    names = [name for name, _ in timeline.calls()[1:]]
    assert names[0::2] == ["recvfrom"] * (timeline.checks() + 1)
    assert names[1::2] == ["sleep"] * timeline.checks()
    asleep = {i.call.name for i in timeline.lane("process") if i.state == SLEEPING}
    assert asleep == {"sleep"}


def test_evidence_is_that_of_the_model() -> None:
    need("wchan")
    long = one(300)  # so that the sender, which samples, gets a core in the meantime
    asleep = run(models.multiplexing, long)
    busy = run(models.nonblocking, long, between=compute(ms(1)))
    assert len(asleep.evidence) <= 200
    assert len(busy.evidence) <= 200
    sleeping = [e for e in asleep.evidence if e.at < asleep.deliveries[0].sent]
    assert {e.state for e in sleeping} == {"S"}  # from the first look at it to the message
    assert sum(e.state == "R" for e in busy.evidence) / len(busy.evidence) > 0.5
    assert {e.wchan for e in sleeping if e.wchan} <= {
        "poll_schedule_timeout", "do_select", "schedule_hrtimeout_range_clock", "do_sys_poll",
        "schedule_hrtimeout_range", "do_poll",
    }  # fmt: skip
    assert {e.syscall for e in sleeping if e.syscall} <= {"select", "pselect6"}
    assert all(0 <= e.at <= asleep.end for e in asleep.evidence)


# -- many messages -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", models.MODEL_OF)
def test_a_burst_is_received_whole(name: str) -> None:
    need(NEEDS.get(name, "select"))
    timeline = run(getattr(models, name), burst(5, LATE, 100))
    assert [d.message for d in timeline.deliveries] == [1, 2, 3, 4, 5]
    received = [d.received for d in timeline.deliveries]
    assert None not in received
    assert received == sorted(received)
    assert not any(d.dropped for d in timeline.deliveries)


@pytest.mark.parametrize("name", ["multiplexing", "multiplexing_poll", "multiplexing_epoll"])
@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_many_connections_in_one_process(name: str, transport: str) -> None:
    need(NEEDS.get(name, "select"))
    story = several(6, 10, 500, transport, connections=3)
    timeline = run(getattr(models, name), story)
    assert [d.connection for d in timeline.deliveries] == [0, 1, 2, 0, 1, 2]
    assert all(d.received for d in timeline.deliveries)
    fds = {c.fd for c in timeline.call_log if c.name == "recvfrom"}
    assert len(fds) == 3


def test_one_descriptor_for_several_connections_is_refused() -> None:
    with pytest.raises(ValueError, match="use a program with fds"):
        measure(models.blocking, several(4, connections=2))


def test_a_stream_is_copied_in_pieces() -> None:
    size = 1 << 20
    timeline = run(models.blocking, one(LATE, size, "tcp"))
    copies = [i for i in timeline.lane("message 1") if i.state == COPY]
    assert len(copies) == len([c for c in timeline.call_log if c.nbytes])
    assert len(copies) >= size // SIZE
    assert sum(c.nbytes for c in timeline.call_log) == size
    assert timeline.figure_6_6().agrees(FIGURE_6_6["blocking"])


def test_a_stream_has_no_borders() -> None:
    def late(fd, nbytes):
        yield sleep(ms(LATE))
        yield from models.blocking(fd, nbytes)

    timeline = run(late, burst(3, LATE / 3, 1_000, "tcp"))
    assert len([c for c in timeline.call_log if c.name == "recvfrom"]) <= 3
    assert all(d.received for d in timeline.deliveries)


def test_what_has_no_room_is_dropped() -> None:
    def late(fds, nbytes):
        yield poll([fds[1]])  # what comes there comes after all the others
        try:
            while True:
                yield recvfrom(fds[0], SIZE, MSG_DONTWAIT)
        except BlockingIOError:
            yield recvfrom(fds[1], SIZE)

    story = replay([(ms(LATE), 2_000, 0)] * 20 + [(ms(LATE + 5), 10, 1)])
    timeline = run(late, story, rcvbuf=4_096)
    dropped = [d.dropped for d in timeline.deliveries]
    assert 0 < sum(dropped) < 20
    assert not dropped[-1]
    assert all(d.dropped != (d.received is not None) for d in timeline.deliveries)


def test_what_nobody_received_is_queued_or_not_there() -> None:
    def early(fd, nbytes):
        yield recvfrom(fd, SIZE)
        yield select([fd])  # the second one is there

    story = Traffic((Message(ms(LATE), 10), Message(ms(LATE), 20), Message(ms(60_000), 30)))
    first, second, third = run(early, story).deliveries
    assert first.received is not None
    assert second.arrived is not None
    assert second.received is None
    assert not second.dropped
    assert third.arrived is None
    assert not third.dropped


# -- single calls ------------------------------------------------------------------------------


def test_the_small_calls() -> None:
    seen: dict[str, object] = {}

    def program(fd, nbytes):
        seen["pid"] = yield getpid()
        seen["nothing"] = yield select([fd], 0)
        seen["polled"] = yield poll([fd], ms(1))
        yield setsockopt(fd, SO_RCVTIMEO, ms(2))
        try:
            yield recvfrom(fd, SIZE)
        except BlockingIOError:
            seen["timed out"] = True
        yield setsockopt(fd, SO_RCVTIMEO, 0)
        seen["peeked"] = yield recvfrom(fd, 1, MSG_PEEK)
        seen["data"] = yield recvfrom(fd, 3)
        try:
            yield recvfrom(0, 1)  # not one of its own
        except OSError as error:
            seen["foreign"] = error.errno

    timeline = run(program, one(LATE, 10))
    assert seen == {
        "pid": os.getpid(), "nothing": [], "polled": [], "timed out": True, "peeked": b"\x01",
        "data": b"\x01" * 3, "foreign": 9,
    }  # fmt: skip
    waits = {(c.name, c.waits) for c in timeline.call_log}
    assert ("getpid", False) in waits
    assert ("select", False) in waits  # timeout 0
    assert ("poll", True) in waits
    (fate,) = timeline.deliveries
    assert fate.told == "return"


@pytest.mark.parametrize("model", [models.asynchronous, models.blocking])
def test_a_run_s_ring_is_gone_when_it_is_over(model: Any) -> None:
    """Its end would interrupt what this thread sleeps in some ms later: a write came back early."""
    if model is models.asynchronous:
        need("io_uring")
    for _ in range(5):  # of 60 writes, 51 were cut short
        run(model)
        assert written_while_asleep(PIPE + 1) == PIPE + 1


def written_while_asleep(count: int) -> int:
    """Bytes that one write to a pipe takes whose reader begins 50 ms after the writer sleeps."""
    read_end, write_end = os.pipe()
    writer = threading.get_native_id()

    def read() -> None:
        while procfs.state("self", writer) != "S":
            time.sleep(0.001)
        time.sleep(0.05)
        with open(read_end, "rb") as pipe:
            pipe.read()

    reader = threading.Thread(target=read)
    reader.start()
    try:
        return os.write(write_end, bytes(count))
    finally:
        os.close(write_end)
        reader.join()


def test_the_ring_can_be_waited_for() -> None:
    need("io_uring")

    def program(fd, nbytes):
        ring = yield io_uring_setup()
        yield io_uring_submit(ring, fd, SIZE)
        data = yield io_uring_enter(ring)
        assert data == b"\x01" * nbytes

    timeline = run(program)
    row = timeline.figure_6_6()
    assert row == Row("blocked", "blocked", "program", "completion")


def test_a_ring_left_with_work_under_way() -> None:
    need("io_uring")

    def program(fd, nbytes):
        ring = yield io_uring_setup()
        yield io_uring_submit(ring, fd, SIZE)

    assert run(program).deliveries[0].received is None


def test_a_read_left_under_way() -> None:
    need("POSIX aio")

    def program(fd, nbytes):
        yield aio_read(fd, SIZE)

    assert run(program).deliveries[0].received is None


def test_the_helper_thread_has_a_lane() -> None:
    need("POSIX aio")
    timeline = run(models.asynchronous_aio)
    assert timeline.helpers == ("aio helper",)
    assert timeline.calls("aio helper") == [("read", None)]
    assert timeline.time_in(SLEEPING, "aio helper") > 0


def reads_a_counter(listener: int, n: int) -> Program:
    yield aio_read((yield eventfd(0)), 8)
    yield accept(listener)


def reads_a_pipe(listener: int, n: int) -> Program:
    yield aio_read((yield pipe())[0], SIZE)
    yield accept(listener)


def reads_a_connection(listener: int, n: int) -> Program:
    yield aio_read((yield accept(listener)), SIZE)


def reads_what_it_closes(listener: int, n: int) -> Program:
    fd = yield accept(listener)
    yield aio_read(fd, SIZE)
    yield sleep(ms(20))  # the helper is in its read, or has not begun: it must end either way
    yield close(fd)


@pytest.mark.parametrize(
    "program", [reads_a_counter, reads_a_pipe, reads_a_connection, reads_what_it_closes]
)
def test_no_read_of_aio_goes_on_after_its_run(program: Any) -> None:
    """glibc lets a later read of the same number wait for it, whosever that is then."""
    need("POSIX aio")
    before = list(aio._abandoned)
    measure(program, clients.of(clients.echo(1, 10)))
    assert aio._abandoned == before


# -- signals -----------------------------------------------------------------------------------


def collect(fd: int, inbox: list) -> object:
    """A handler that receives all there is."""
    return lambda signo: models.drain(fd, inbox)


def armed(fd: int, inbox: list):
    """The calls after which SIGIO tells of data."""
    yield sigaction(SIGIO, collect(fd, inbox))
    yield fcntl(fd, F_SETOWN, SELF)
    yield fcntl(fd, F_SETFL, O_ASYNC | 0o4000)


def test_pause_ends_with_the_handler() -> None:
    need("SIGIO")
    inbox: list[bytes] = []

    def program(fd, nbytes):
        yield from armed(fd, inbox)
        yield pause()

    timeline = run(program)
    assert inbox == [b"\x01" * 1_000]
    assert [name for name, _ in timeline.calls()][-3:] == ["pause", "recvfrom", "recvfrom"]
    assert timeline.figure_6_6().wait == "blocked"
    assert timeline.deliveries[0].told == "signal"


def interrupted(busy) -> Timeline:
    """A run in which a message comes while the program does `busy`, which it does until then."""
    need("SIGIO")
    inbox: list[bytes] = []

    def program(fd, nbytes):
        yield from armed(fd, inbox)
        while not inbox:
            yield getpid()
            yield busy

    timeline = run(program)
    assert inbox == [b"\x01" * 1_000]
    assert timeline.deliveries[0].told == "signal"
    assert any(i.note == f"signal {SIGIO}" for i in timeline.lane("process"))
    return timeline


def test_work_goes_on_after_a_handler() -> None:
    timeline = undisturbed(lambda: interrupted(compute(ms(LATE * 2))))
    begun = max(c.end for c in timeline.call_log if c.name == "getpid")
    assert timeline.deliveries[0].received > begun
    if not inconclusive(timeline):  # what the host takes of it is in line for a core
        assert timeline.between(begun, timeline.end).time_in(USER) > ms(LATE * 1.5)


def test_a_sleep_goes_on_after_a_handler() -> None:
    timeline = interrupted(sleep(ms(LATE * 20)))
    if not inconclusive(timeline, limit_ms=LATE * 10):  # a late message meets the sleep's end
        [nap] = [c for c in timeline.call_log if c.name == "sleep"]
        assert nap.start < timeline.deliveries[0].received < nap.end
        assert nap.end - nap.start >= ms(LATE * 20)


def test_a_signal_without_a_handler_ends_only_the_run() -> None:
    need("SIGIO")

    def program(fd, nbytes):
        yield fcntl(fd, F_SETOWN, SELF)
        yield fcntl(fd, F_SETFL, O_ASYNC)
        while True:
            yield compute(ms(1))

    with pytest.raises(RuntimeError, match="signal 29 ends process: it has no handler"):
        measure(program, one(LATE))


def test_pending_real_time_signals_are_taken_off() -> None:
    need("real-time signals")

    def program(fd, nbytes):
        yield sigprocmask(SIG_BLOCK, [SIGRTMIN])
        yield fcntl(fd, F_SETSIG, SIGRTMIN)
        yield fcntl(fd, F_SETOWN, SELF)
        yield fcntl(fd, F_SETFL, O_ASYNC)
        yield sigtimedwait([SIGRTMIN])  # one of five

    run(program, burst(5, LATE))


def test_sigtimedwait_gives_up() -> None:
    need("real-time signals")

    def program(fd, nbytes):
        yield sigprocmask(SIG_BLOCK, [SIGRTMIN])
        with pytest.raises(BlockingIOError):
            yield sigtimedwait([SIGRTMIN], ms(1))

    assert run(program).calls()[-1] == ("sigtimedwait", EAGAIN)


def test_an_error_in_a_handler_comes_out() -> None:
    need("SIGIO")

    def handler(signo):
        yield getpid()
        raise OSError(ENOSYS, "mine")

    def program(fd, nbytes):
        yield sigaction(SIGIO, handler)
        yield fcntl(fd, F_SETOWN, SELF)
        yield fcntl(fd, F_SETFL, O_ASYNC)
        try:
            while True:
                yield sleep(ms(LATE))
        except OSError:
            pytest.fail("the handler's error is not the call's errno")

    with pytest.raises(OSError, match="mine"):
        measure(program, one(LATE))


def test_an_ordinary_signal_is_pending_once_while_a_handler_runs() -> None:
    """signal(7): it is a flag; only real-time signals queue.  As in the simulation."""
    signals = Signals()
    signals.driver = SimpleNamespace(now=lambda: 0, open=None, doing=(None, None))  # type: ignore[assignment]
    for depth in (0, 1):
        signals.depth = depth
        for signo in (SIGIO, SIGRTMIN, SIGIO, SIGRTMIN):
            signals._arrives(signo, None)
    # in its own code each runs the handler anew; in a handler SIGIO was pending already
    assert [signo for signo, _ in signals.noted] == [SIGIO, SIGRTMIN] * 2 + [SIGRTMIN] * 2


# -- what goes wrong ---------------------------------------------------------------------------


def test_the_limit_names_the_call() -> None:
    with pytest.raises(TimeoutError, match=r"blocking was not over after 0\.5 s.*recvfrom.*line"):
        measure(models.blocking, one(60_000), limit_s=0.5)


def test_the_limit_stops_a_program_that_never_yields() -> None:
    def stuck(fd, nbytes):
        yield getpid()
        while True:
            try:
                pass
            except Exception:
                continue

    with pytest.raises(TimeoutError, match="its own code"):
        measure(stuck, one(LATE), limit_s=0.2)


def polls(fd, nbytes):
    while True:
        yield poll([fd], timeout=0)


def polls_in_a_thread(fd, nbytes):
    yield pthread_join((yield pthread_create(polls(fd, nbytes))))


def plain_receives(sock):
    sock.recv(10)


def plain_polls(sock):
    while not real_select.select([sock], [], [], 0)[0]:
        pass


def plain_polls_in_a_thread(sock):
    thread = threading.Thread(target=plain_polls, args=(sock,))
    thread.start()
    thread.join()


def plain_sleeps_in_a_task(sock):
    asyncio.run(asyncio.sleep(60))


POLLING = [
    models.nonblocking, models.asynchronous_aio, polls, polls_in_a_thread, plain_polls,
    plain_polls_in_a_thread,
]  # fmt: skip
WAITING = [models.blocking, models.multiplexing, plain_receives, plain_sleeps_in_a_task]


def limited(program: Any) -> list[BaseException]:
    """What comes out of a run in another thread that is ended after 0.2 s."""
    caught: list[BaseException] = []

    def work() -> None:
        try:
            measure(program, one(60_000), limit_s=0.2)
        except BaseException as error:
            caught.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(30)
    assert not thread.is_alive()
    return caught


@pytest.mark.parametrize("program", [*WAITING, *POLLING])
def test_the_limit_in_another_thread(
    program: Any, threads_told: list[Any], capfd: pytest.CaptureFixture[str]
) -> None:
    need(NEEDS.get(program.__name__, "select"))
    (error,) = limited(program)
    with pytest.raises(TimeoutError, match=rf"{program.__name__} was not over after 0\.2 s"):
        raise error
    assert (threads_told, capfd.readouterr().err) == ([], "")


@pytest.mark.parametrize("program", POLLING)
def test_the_limit_needs_no_turn_of_another_thread(
    program: Any, threads_told: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever polls holds the interpreter's lock, for seconds as the system decides."""
    need(NEEDS.get(program.__name__, "select"))
    monkeypatch.setattr(watchdog, "_keep_time", lambda dog, thread: dog._left.wait())
    (error,) = limited(program)
    assert isinstance(error, TimeoutError)
    assert threads_told == []


def test_a_run_in_another_thread() -> None:
    made: list[Timeline] = []
    thread = threading.Thread(target=lambda: made.append(run(models.multiplexing)))
    thread.start()
    thread.join(30)
    assert made[0].figure_6_6().agrees(FIGURE_6_6["multiplexing"])


def test_signals_need_the_main_thread() -> None:
    caught: list[BaseException] = []

    def work() -> None:
        try:
            measure(models.signal_driven, one(LATE))
        except RuntimeError as error:
            caught.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(30)
    assert "main thread" in str(caught[0])


def test_a_reset_says_where() -> None:
    story = one(LATE, transport="tcp").then("reset", after_ms=LATE)
    with pytest.raises(ConnectionResetError) as caught:
        measure(models.blocking, story)
    assert caught.value.errno == ECONNRESET
    assert "in blocking: recvfrom" in caught.value.__notes__[0]
    assert "line" in caught.value.__notes__[0]


def test_a_reset_can_be_caught() -> None:
    def program(fd, nbytes):
        try:
            yield from models.blocking(fd, nbytes)
        except ConnectionResetError:
            return

    timeline = run(program, one(LATE, transport="tcp").then("reset", after_ms=LATE))
    assert timeline.calls()[-1] == ("recvfrom", ECONNRESET)


@pytest.mark.parametrize("name", models.MODEL_OF)
def test_a_stream_ends(name: str) -> None:
    need(NEEDS.get(name, "select"))
    timeline = run(getattr(models, name), one(LATE, transport="tcp").then("eof", after_ms=LATE))
    assert timeline.deliveries[0].received is not None
    assert sum(c.nbytes for c in timeline.call_log if c.process == "process") == 1_000


def test_a_call_that_was_never_yielded() -> None:
    def forgetful(fd, nbytes):
        yield getpid()
        recvfrom(fd, SIZE)
        yield getpid()

    with pytest.raises(RuntimeError, match=r"line \d+: recvfrom.* was made but never yielded"):
        measure(forgetful, one(LATE))


def test_a_call_taken_for_its_reply() -> None:
    def forgetful(fd, nbytes):
        data = recvfrom(fd, SIZE)
        yield sleep(len(data))

    with pytest.raises(TypeError) as caught:
        measure(forgetful, one(LATE))
    assert "never yielded" in caught.value.__notes__[0]


def test_something_else_was_yielded() -> None:
    def program(fd, nbytes):
        yield 42

    with pytest.raises(TypeError, match=r"line \d+: a program yields calls, not 42"):
        measure(program, one(LATE))


def test_not_a_program() -> None:
    with pytest.raises(TypeError, match="is not a program: it has no yield"):
        measure(lambda fd, nbytes: None, one(LATE))
    with pytest.raises(TypeError, match="is not a program"):
        measure(3, one(LATE))
    with pytest.raises(TypeError, match="a story must be a Traffic"):
        measure(models.blocking, [1])
    with pytest.raises(TypeError, match="its options are between"):
        measure(models.nonblocking, one(LATE), betwen=compute(1))
    with pytest.raises(ValueError, match="begin with fd or fds"):
        measure(lambda socket, nbytes: (yield), one(LATE))
    with pytest.raises(ValueError, match="limit_s must be above 0"):
        measure(models.blocking, one(LATE), limit_s=0)


def test_a_partial_keeps_its_name() -> None:
    program = functools.partial(models.nonblocking, between=compute(ms(2)))
    assert run(program).title == "nonblocking"


def test_keyboard_interrupt_leaves_nothing() -> None:
    def program(fd, nbytes):
        yield getpid()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure(program, one(LATE))


@pytest.mark.usefixtures("_ctrl_c")
def test_ctrl_c_interrupts_a_blocked_call() -> None:
    main, here = threading.main_thread().ident, threading.get_native_id()

    def interrupt() -> None:
        while not procfs.syscall("self", here).startswith("recv"):
            time.sleep(0.001)
        signal.pthread_kill(main, signal.SIGINT)

    timer = threading.Thread(target=interrupt)
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        measure(models.blocking, one(60_000))
    timer.join()


# -- what is missing ---------------------------------------------------------------------------


def waits_for_a_ring(fd: int, nbytes: int) -> Any:
    ring = yield io_uring_setup()

    def waits() -> Any:
        yield io_uring_enter(ring)

    yield pthread_create(waits())
    yield recvfrom(fd, SIZE)


def test_no_thread_stays_in_a_ring() -> None:
    """Nothing was submitted, so that nothing completes; the run is over all the same."""
    need("io_uring")
    before = threading.active_count()
    measure(waits_for_a_ring, one())
    assert threading.active_count() == before


def test_no_io_uring(monkeypatch, tmp_path) -> None:
    def refused(self, entries, flags=0):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Ring, "__init__", refused)
    monkeypatch.setattr(recordings, "FOLDER", tmp_path)
    assert ("io_uring", False) in [row[:2] for row in features()]
    with pytest.raises(Unsupported, match="this system has no io_uring"):
        measure(models.asynchronous, one(LATE))


#: What a system may refuse of io_uring, and with which errno: at set-up (not enough memory may be
#: locked), to enter it (a container), and the operation (before Linux 5.6).
HALF_THERE = {"set up": (425, ENOMEM), "enter": (426, EPERM), "operation": (None, EINVAL)}


@pytest.mark.parametrize("refused", HALF_THERE)
def test_half_an_io_uring_is_none(monkeypatch, tmp_path, refused: str) -> None:
    """It is found out by doing, and ends in the recording, or says so."""
    need("io_uring")
    number, errno = HALF_THERE[refused]
    enter, write = ring._enter_kernel, Ring._write

    def half(asked, *arguments):
        if asked == number:
            raise OSError(errno, os.strerror(errno))
        return enter(asked, *arguments)

    def old(self, opcode, *more):
        write(self, 200 if opcode == ring.OP_RECV and number is None else opcode, *more)

    monkeypatch.setattr(ring, "_enter_kernel", half)
    monkeypatch.setattr(Ring, "_write", old)
    assert ("io_uring", False) in [row[:2] for row in features()]
    with pytest.warns(UserWarning, match="no io_uring.*recorded"):
        assert measure(models.asynchronous, one(20, 1_000)).kernel == "recorded"
    monkeypatch.setattr(recordings, "FOLDER", tmp_path)
    with pytest.raises(Unsupported, match="no io_uring"):
        measure(models.asynchronous, one(LATE))


def test_no_epoll_and_a_recording(monkeypatch, tmp_path) -> None:
    need("epoll")
    monkeypatch.setattr(recordings, "FOLDER", tmp_path)
    made = measure(models.multiplexing_epoll, one(LATE))
    path = recordings.path_of(launch(models.multiplexing_epoll, one(LATE), {}))
    path.write_text(made.to_json())
    monkeypatch.delattr(real_select, "epoll")
    with pytest.warns(UserWarning, match="no epoll.*recorded"):
        shown = measure(models.multiplexing_epoll, one(LATE))
    assert shown.kernel == "recorded"
    assert shown.machine == machine()
    assert shown.call_log == made.call_log
    with pytest.raises(Unsupported):
        measure(models.multiplexing_epoll, one(LATE + 1))


def test_a_recording_is_not_that_of_another_program_of_the_name(monkeypatch) -> None:
    """Somebody's own `multiplexing_epoll` over the same story is not ours."""
    monkeypatch.delattr(real_select, "epoll", raising=False)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("default")  # which shows the same one of a line once
        for _ in range(2):
            measure(models.multiplexing_epoll, one(20, 1_000))
    assert len(told) == 2
    assert told[0].filename == __file__  # where it was asked for, not where it was found

    def multiplexing_epoll(fd, nbytes):
        yield epoll_create()

    with pytest.raises(Unsupported):
        measure(multiplexing_epoll, one(20, 1_000))


def test_a_program_may_do_without(monkeypatch) -> None:
    monkeypatch.delattr(real_select, "epoll", raising=False)

    def program(fds, nbytes):
        try:
            yield epoll_create()
        except OSError:
            yield from models.multiplexing(fds, nbytes)

    assert run(program).calls()[0] == ("epoll_create", ENOSYS)


@pytest.mark.parametrize("comes", ["first", "last"])
def test_a_stranger_is_no_sender(monkeypatch: pytest.MonkeyPatch, comes: str) -> None:
    """Any process of the machine may come to a port that was another's a moment ago."""
    start, strangers = TrafficOutside._start, []

    def beside_a_stranger(self: TrafficOutside, story: Traffic, ports: list[int]) -> list[int]:
        def stranger() -> None:
            strangers.append(socket.create_connection(("127.0.0.1", ports[0])))

        if comes == "first":
            stranger()
        told = start(self, story, ports)
        if comes == "last":
            stranger()
        return told

    monkeypatch.setattr(TrafficOutside, "_start", beside_a_stranger)
    story = burst(3, 5, 100, connections=3).over("tcp")
    timeline = measure(models.multiplexing_poll, story).check()
    strangers.pop().close()
    assert [d.received is not None for d in timeline.deliveries] == [True] * 3


def test_no_schedstat_and_no_stamps(monkeypatch) -> None:
    real_open = os.open

    def no_schedstat(path, flags, *rest):
        if "schedstat" in str(path):
            raise FileNotFoundError(2, "none")
        return real_open(path, flags, *rest)

    def no_stamp(one):
        raise OSError(ENOSYS, "none")

    monkeypatch.setattr(os, "open", no_schedstat)
    monkeypatch.setattr("iosim.real.traffic.stamp", no_stamp)
    timeline = run(models.blocking)
    assert timeline.time_in(READY) == 0
    assert timeline.figure_6_6().agrees(FIGURE_6_6["blocking"])


def test_no_aio(monkeypatch, tmp_path) -> None:
    def none(*_):
        raise OSError(ENOSYS, "no aio_read in the C library")

    monkeypatch.setattr(aio, "_library", none)
    monkeypatch.setattr(recordings, "FOLDER", tmp_path)
    with pytest.raises(Unsupported, match="no POSIX aio"):
        measure(models.asynchronous_aio, one(LATE))


def test_every_model_has_a_recording() -> None:
    for name in models.MODEL_OF:
        recorded = recordings.load(launch(getattr(models, name), one(20, 1_000), {}))
        assert recorded is not None
        assert recorded.check().kernel == "recorded"
        assert recorded.figure_6_6().agrees(FIGURE_6_6[models.MODEL_OF[name]])


# -- the parts ---------------------------------------------------------------------------------


def test_the_watchdog_gives_back_what_it_found() -> None:
    rung: list[int] = []
    before = signal.signal(signal.SIGALRM, lambda signo, frame: rung.append(signo))
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    try:
        with pytest.raises(TimeoutError, match="the body was not"), watchdog(0.01, "the body"):
            time.sleep(5)
        until(lambda: bool(rung))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


# The limit is over, and the alarm rings, while the lock is taken: at once, and again each ms.
LOCKED = """
import coverage, signal, sys, threading, time
from coverage import collector
from iosim.validate import whole
from iosim.kernels import watchdog as module
from iosim.kernels.watchdog import watchdog

module.GRACE_S = 60  # however busy the machine is, the library is given time to return
lock, dog, rung = threading.Lock(), None, []

def slow():
    lock.acquire()
    if dog is not None and not rung:
        rung.append("in here")
        dog._due = dog._passed()
        signal.raise_signal(signal.SIGALRM)
        time.sleep(0.01)
    lock.release()

class Dying:
    def __del__(self):
        slow()
        done.append("finalizer")

class Tracer:
    def __call__(self, frame, event, arg):
        slow()
        done.append("tracer")

def cover():
    collector.slow, collector.done = slow, done
    exec("def lock_data(self): slow(); done.append('coverage')", vars(collector))
    exec("def unlock_data(self): pass", vars(collector))
    collector.Collector.lock_data = collector.lock_data
    collector.Collector.unlock_data = collector.unlock_data
    collected = coverage.Coverage(data_file=None, source=["iosim"])
    collected.start()
    return collected

done = []
covered = cover() if {covers} else None
try:
    with watchdog(60, "the body") as dog:
        {body}
        time.sleep(30)
except TimeoutError as error:
    sys.settrace(None)
    print(error, lock.locked(), done[-1])
"""


@pytest.mark.parametrize(
    ("body", "who"),
    [
        ("Dying()", "finalizer"),
        ("sys.settrace(Tracer()); (lambda: 1)()", "tracer"),
        ("whole('n', 1, 0, 2, '')", "coverage"),  # the first call of a file that is covered
        ("threading.Thread(target=slow).run(); done.append('library')", "library"),
    ],
)
def test_the_watchdog_throws_where_it_does_no_harm(body: str, who: str) -> None:
    text = LOCKED.replace("{body}", body).replace("{covers}", str(who == "coverage"))
    ran = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=60)
    assert (ran.stdout, ran.stderr) == (f"the body was not over after 60 s False {who}\n", "")


def test_an_alarm_at_either_end_of_a_watchdog_does_no_harm() -> None:
    rung: list[str] = []

    def ring(frame: Any, event: str, arg: object) -> None:
        if (event, frame.f_code) in {("return", ends[0]), ("call", ends[1])}:
            rung.append(event)
            signal.raise_signal(signal.SIGALRM)

    ends = watchdog.__enter__.__code__, watchdog.__exit__.__code__
    before = sys.getprofile()
    sys.setprofile(ring)
    try:
        with watchdog(60.0):
            pass
    finally:
        sys.setprofile(before)
    assert rung == ["return", "call"]
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


def test_the_watchdog_ends_even_a_wait_of_the_library() -> None:
    with pytest.raises(TimeoutError, match="the body was not"), watchdog(0.01, "the body"):
        threading.Event().wait(SOON_S)


def test_evidence_of_this_thread() -> None:
    pid, tid = os.getpid(), threading.get_native_id()
    assert procfs.state(pid, tid) == "R"
    assert procfs.wchan(pid, tid) == ""
    assert procfs.sample(pid, 1 << 30) == ("", "", "")
    assert procfs.schedstat(pid, 1 << 30) is None
    if HERE["schedstat"]:
        first, second = (procfs.schedstat("self", tid) for _ in range(2))
        assert all(a <= b for a, b in zip(first, second, strict=True))


def test_the_line_is_that_of_the_inner_program() -> None:
    program = launch(models.nonblocking_sleeping, one(), {}).start(3, 1_000)
    resume(program)
    inner = launch(models.nonblocking, one(), {}).text
    assert "fcntl" in inner.source.splitlines()[line_of(program) - inner.first_line]


def test_a_limit_that_is_reached_in_the_collector_is_not_lost() -> None:
    """What its callbacks raise is printed, and goes no further; Hypothesis has one."""

    def slow(phase: str, _: object) -> None:
        compute_for(0.1)

    def body() -> None:
        gc.collect()
        time.sleep(5)

    gc.callbacks.append(slow)
    try:
        with pytest.raises(TimeoutError, match="the body was not"), watchdog(0.05, "the body"):
            body()
    finally:
        gc.callbacks.remove(slow)


def test_a_limit_that_is_reached_when_a_reference_dies_is_not_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also where that outlasts the patience with the library: seen where a collection was slow."""
    monkeypatch.setattr(watching, "GRACE_S", 0.0)

    def body() -> None:
        weakref.finalize(Thing(), compute_for, 0.3)
        time.sleep(5)

    with pytest.raises(TimeoutError, match="the body was not"), watchdog(0.05, "the body"):
        body()


def test_a_limit_that_is_lost_in_anybody_s_callback_comes_again() -> None:
    """A program's own cannot be told from its code: what is lost is told to sys.unraisablehook."""
    hook, lost = sys.unraisablehook, []

    def callback(_: object) -> None:
        compute_for(0.3)
        lost.append("was not interrupted")

    def body() -> None:
        thing = Thing()
        reference = weakref.ref(thing, callback)
        del thing
        time.sleep(5)
        reference()

    start = time.perf_counter()
    with pytest.raises(TimeoutError, match="the body was not"), watchdog(0.05, "the body"):
        body()
    assert time.perf_counter() - start < 5
    assert lost == []
    assert sys.unraisablehook == hook


def compute_for(seconds: float) -> None:
    """In Python, so that an alarm's handler runs meanwhile."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


class Thing:
    """Something that a weak reference can be to."""
