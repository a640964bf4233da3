"""One suite against both kernels: the simulated one is a verified fake of the real one.

Assert order, errnos, replies and flags; never absolute times.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from errno import EAGAIN, EBADF, ECONNRESET, EEXIST, ENOENT
from itertools import groupby, pairwise
from typing import Any

import pytest

from iosim import Costs, Timeline, measure, models, simulate, traffic
from iosim.calls import (
    EPOLL_CTL_ADD,
    EPOLL_CTL_DEL,
    F_SETFL,
    F_SETOWN,
    F_SETSIG,
    MSG_DONTWAIT,
    MSG_PEEK,
    O_ASYNC,
    O_NONBLOCK,
    SELF,
    SIG_BLOCK,
    SIG_UNBLOCK,
    SIGIO,
    SIGRTMIN,
    SO_RCVTIMEO,
    Program,
    compute,
    epoll_create,
    epoll_ctl,
    epoll_wait,
    fcntl,
    getpid,
    io_uring_enter,
    io_uring_setup,
    io_uring_submit,
    ms,
    pause,
    poll,
    recvfrom,
    select,
    setsockopt,
    sigaction,
    sigprocmask,
    sigtimedwait,
    sleep,
)
from iosim.trace import FIGURE_6_6, Row

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the real kernel here is Linux's")

Run = Callable[..., Timeline]


def _simulate(program: Any, story: traffic.Traffic, **options: Any) -> Timeline:
    return simulate(program, story, costs=Costs.typical(), **options)


KERNELS = [pytest.param(_simulate, id="simulated"), pytest.param(measure, id="linux")]
TRANSPORTS = ("udp", "tcp")
STORIES = {
    "one": traffic.one(after_ms=20, size=1_000),
    "three": traffic.several(3, every_ms=20, size=1_000).in_step(),
}


# -- the five models ---------------------------------------------------------------------------


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("story", STORIES)
@pytest.mark.parametrize("name", list(models.MODEL_OF))
def test_every_model_makes_the_same_calls_on_both_kernels(
    name: str, story: str, transport: str
) -> None:
    program, told = getattr(models, name), STORIES[story].over(transport)
    predicted, measured = _simulate(program, told).check(), measure(program, told).check()
    assert in_step(predicted)
    assert in_step(measured)
    assert _once(predicted.calls()) == _once(measured.calls())
    if models.MODEL_OF[name] != "nonblocking":  # a poll's number of looks is a matter of time
        assert predicted.calls() == measured.calls()
    for run in (predicted, measured):
        assert run.figure_6_6().agrees(FIGURE_6_6[models.MODEL_OF[name]])
        assert all(fate.received is not None for fate in run.deliveries)
    assert [f.told for f in predicted.deliveries] == [f.told for f in measured.deliveries]


def in_step(run: Timeline) -> bool:
    """Was each message in the program's hands before the next one was sent?"""
    return all(
        before.received is not None and after.sent is not None and before.received < after.sent
        for before, after in pairwise(run.deliveries)
    )


def test_a_program_that_comes_late_is_not_in_step() -> None:
    """And one that waits is."""

    def late(fd: int, nbytes: int) -> Program:
        yield sleep(ms(50))
        yield from models.blocking(fd, nbytes)

    runs = [_simulate(program, STORIES["three"].over("tcp")) for program in (late, models.blocking)]
    assert [in_step(run) for run in runs] == [False, True]
    assert [run.calls().count(("recvfrom", None)) for run in runs] == [2, 3]


def _once(calls: list[tuple[str, int | None]]) -> list[tuple[str, int | None]]:
    """The calls with the loop of a polling program rolled up: `recvfrom EAGAIN, sleep` once."""
    rolled = [call for call in calls if call[0] != "sleep"]
    return [call for call, _ in groupby(rolled)]


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_poll_finds_the_message_with_its_next_look_on_both_kernels(transport: str) -> None:
    """However late its looks are: what ended before the arrival was in vain, the next one was not.

    A look that was under way when the message arrived may have been either.
    """
    story = traffic.one(after_ms=20, transport=transport)
    for run in (_simulate, measure):
        polled = run(models.nonblocking, story, between=sleep(ms(5))).check()
        (fate,) = polled.deliveries
        assert fate.arrived is not None
        *vain, found = [call for call in polled.call_log if call.name == "recvfrom"]
        assert vain[0].end < fate.arrived
        assert all(call.errno == EAGAIN and call.start <= fate.arrived for call in vain)
        assert (found.errno, found.nbytes) == (None, 1_000)
        assert polled.calls()[2::2] == [("sleep", None)] * len(vain)


def awaited(fd: int, nbytes: int) -> Program:
    """Asynchronous only until it waits for the completion."""
    ring = yield io_uring_setup()
    yield io_uring_submit(ring, fd, 4_096)
    assert len((yield io_uring_enter(ring))) == 1_000


def test_who_waits_for_the_completion_is_blocked_on_both_kernels() -> None:
    rows = [run(awaited, UDP).check().figure_6_6() for run in (_simulate, measure)]
    assert rows[0] == rows[1] == Row("blocked", "blocked", "program", "completion")


@pytest.mark.parametrize("run", KERNELS)
@pytest.mark.parametrize("name", ["multiplexing", "multiplexing_poll", "multiplexing_epoll"])
def test_one_process_serves_many_connections(run: Run, name: str) -> None:
    story = traffic.several(4, every_ms=20, connections=2).in_step()
    timeline = run(getattr(models, name), story).check()
    assert [fate.process for fate in timeline.deliveries] == ["process"] * 4
    waits = name.removeprefix("multiplexing_").replace("multiplexing", "select")
    waits = waits.replace("epoll", "epoll_wait")
    calls = [call for call, _ in timeline.calls() if not call.startswith(("epoll_c",))]
    assert calls == [waits, "recvfrom"] * 4


@pytest.mark.parametrize("run", KERNELS)
@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("size", [1, 1_000, 60_000])
def test_bytes_out_are_bytes_in(run: Run, transport: str, size: int) -> None:
    inbox: list[bytes] = []

    def collect(fd: int, nbytes: int) -> Program:
        while nbytes > 0:
            data = yield recvfrom(fd, 65_536)
            inbox.append(data)
            nbytes -= len(data)

    story = traffic.several(2, every_ms=20, size=size, transport=transport)
    run(collect, story).check()
    assert b"".join(inbox) == bytes([1]) * size + bytes([2]) * size


# -- one rule each, on both --------------------------------------------------------------------

UDP, TCP = traffic.one(after_ms=20), traffic.one(after_ms=20, transport="tcp")
#: Ten messages on the first connection, and then one on the second: whoever has that has them all.
TEN_AND_ONE = traffic.replay([(ms(20), 1_000, 0)] * 10 + [(ms(25), 1_000, 1)])


def eagain(fd: int, nbytes: int) -> Program:
    for _ in range(2):
        with pytest.raises(BlockingIOError):
            yield recvfrom(fd, 10, MSG_DONTWAIT)
        yield fcntl(fd, F_SETFL, O_NONBLOCK)
    yield fcntl(fd, F_SETFL, 0)
    yield recvfrom(fd, 10)


def peek(fd: int, nbytes: int) -> Program:
    seen = yield recvfrom(fd, 10, MSG_PEEK)
    taken = yield recvfrom(fd, 4_096)
    assert (len(seen), len(taken)) == (10, 1_000)


def cut_off(fd: int, nbytes: int) -> Program:
    assert len((yield recvfrom(fd, 10))) == 10
    with pytest.raises(BlockingIOError):
        yield recvfrom(fd, 10, MSG_DONTWAIT)


def in_parts(fd: int, nbytes: int) -> Program:
    for expected in (600, 400):
        assert len((yield recvfrom(fd, 600))) == expected


def to_the_end(fd: int, nbytes: int) -> Program:
    assert len((yield recvfrom(fd, 4_096))) == 1_000
    assert (yield recvfrom(fd, 4_096)) == b""
    assert (yield recvfrom(fd, 4_096)) == b""
    assert (yield select([fd], 0)) == [fd]  # the end of a stream is readable


def reset(fd: int, nbytes: int) -> Program:
    assert len((yield recvfrom(fd, 4_096))) == 1_000
    with pytest.raises(ConnectionResetError):
        yield recvfrom(fd, 4_096)
    assert (yield recvfrom(fd, 4_096)) == b""


def receive_timeout(fd: int, nbytes: int) -> Program:
    yield setsockopt(fd, SO_RCVTIMEO, ms(5))
    with pytest.raises(BlockingIOError):
        yield recvfrom(fd, 10)
    yield setsockopt(fd, SO_RCVTIMEO, 0)
    yield recvfrom(fd, 10)


def readiness(fd: int, nbytes: int) -> Program:
    for wait in (select, poll):
        assert (yield wait([fd], 0)) == []
        assert (yield wait([fd], ms(2))) == []
    for wait in (select, poll, select):
        assert (yield wait([fd])) == [fd]
    yield recvfrom(fd, 4_096)
    assert (yield select([fd], 0)) == []


def interest(fd: int, nbytes: int) -> Program:
    epfd = yield epoll_create()
    yield epoll_ctl(epfd, EPOLL_CTL_ADD, fd)
    with pytest.raises(FileExistsError):
        yield epoll_ctl(epfd, EPOLL_CTL_ADD, fd)
    assert (yield epoll_wait(epfd, timeout=0)) == []
    assert (yield epoll_wait(epfd, timeout=ms(2))) == []
    for _ in range(2):  # level-triggered
        assert (yield epoll_wait(epfd)) == [fd]
    yield recvfrom(fd, 4_096)
    yield epoll_ctl(epfd, EPOLL_CTL_DEL, fd)
    with pytest.raises(FileNotFoundError):
        yield epoll_ctl(epfd, EPOLL_CTL_DEL, fd)


def bad_descriptor(fd: int, nbytes: int) -> Program:
    for call in (recvfrom(9_999, 10), fcntl(9_999, F_SETFL, 0)):
        with pytest.raises(OSError, match="ad file descriptor"):
            yield call
    yield recvfrom(fd, 4_096)


def merged_signals(fds: Sequence[int], nbytes: int) -> Program:
    """Ten datagrams while SIGIO is held back: one delivery (signal(7))."""
    heard: list[int] = []
    yield from _listen(fds[0], SIGIO, heard)
    yield poll([fds[1]])
    yield sigprocmask(SIG_UNBLOCK, [SIGIO])
    yield compute(ms(5))
    assert heard == [SIGIO]


def queued_signals(fds: Sequence[int], nbytes: int) -> Program:
    """Ten datagrams while a real-time signal is held back: ten to be taken."""
    yield from _listen(fds[0], SIGRTMIN, [])
    yield poll([fds[1]])
    for _ in range(10):
        assert (yield sigtimedwait([SIGRTMIN], 0)) == SIGRTMIN
    with pytest.raises(BlockingIOError):
        yield sigtimedwait([SIGRTMIN], ms(1))


def _listen(fd: int, signo: int, heard: list[int]) -> Program:
    def handler(number: int) -> Program:
        heard.append(number)
        yield getpid()

    yield sigprocmask(SIG_BLOCK, [signo])
    yield sigaction(signo, handler)
    yield fcntl(fd, F_SETSIG, signo)
    yield fcntl(fd, F_SETOWN, SELF)
    yield fcntl(fd, F_SETFL, O_ASYNC | O_NONBLOCK)


def paused(fd: int, nbytes: int) -> Program:
    inbox: list[bytes] = []
    yield sigaction(SIGIO, lambda signo: models.drain(fd, inbox))
    yield fcntl(fd, F_SETOWN, SELF)
    yield fcntl(fd, F_SETFL, O_ASYNC | O_NONBLOCK)
    yield pause()
    assert [len(data) for data in inbox] == [1_000]


def interrupted_sleep(fd: int, nbytes: int) -> Program:
    inbox: list[bytes] = []
    yield sigaction(SIGIO, lambda signo: models.drain(fd, inbox))
    yield fcntl(fd, F_SETOWN, SELF)
    yield fcntl(fd, F_SETFL, O_ASYNC | O_NONBLOCK)
    while not inbox:  # on a busy machine the message may come when the first sleep is over
        yield sleep(ms(50))
    assert [len(data) for data in inbox] == [1_000]


RULES: list[tuple[Callable[..., Program], traffic.Traffic]] = [
    (eagain, UDP), (eagain, TCP), (peek, UDP), (peek, TCP), (cut_off, UDP), (in_parts, TCP),
    (to_the_end, TCP.then("eof")), (reset, TCP.then("reset", after_ms=20)),
    (receive_timeout, UDP), (receive_timeout, TCP), (readiness, UDP), (readiness, TCP),
    (interest, UDP), (interest, TCP), (bad_descriptor, UDP),
    (merged_signals, TEN_AND_ONE), (queued_signals, TEN_AND_ONE),
    (paused, UDP), (paused, TCP), (interrupted_sleep, UDP),
]  # fmt: skip


@pytest.mark.parametrize(
    ("program", "story"), RULES, ids=[f"{p.__name__}-{s.transport}" for p, s in RULES]
)
def test_a_rule_holds_on_both_kernels(program: Any, story: traffic.Traffic) -> None:
    predicted, measured = (run(program, story).check() for run in (_simulate, measure))
    assert _naps_once(predicted.calls()) == _naps_once(measured.calls())


def _naps_once(calls: list[tuple[str, int | None]]) -> list[tuple[str, int | None]]:
    """The calls, and a sleep that was followed by another one once only."""
    nap = ("sleep", None)
    pairs = pairwise([*calls, ("", None)])
    return [call for call, after in pairs if (call, after) != (nap, nap)]


def test_the_rules_meet_every_errno() -> None:
    """What the suite is worth: the errnos that it has compared."""
    met = {
        errno
        for program, story in RULES
        for _, errno in _simulate(program, story).calls()
        if errno is not None
    }
    assert met == {EAGAIN, EBADF, ECONNRESET, EEXIST, ENOENT}


# -- errors, alike on both ---------------------------------------------------------------------


@pytest.mark.parametrize("run", KERNELS)
def test_an_uncaught_errno_comes_out(run: Run) -> None:
    with pytest.raises(ConnectionResetError) as caught:
        run(models.blocking, TCP.then("reset", after_ms=20))
    assert "recvfrom" in "".join(caught.value.__notes__)


@pytest.mark.parametrize("run", KERNELS)
def test_to_wait_for_ever_is_a_time_out(run: Run) -> None:
    def greedy(fd: int, nbytes: int) -> Program:
        yield recvfrom(fd, 10)
        yield recvfrom(fd, 10)

    with pytest.raises(TimeoutError, match="recvfrom"):
        run(greedy, UDP, limit_s=0.5)


def forgetful(fd: int, nbytes: int) -> Program:
    yield sleep(1_000)
    recvfrom(fd, 10)
    yield sleep(1_000)


def yields_a_number(fd: int, nbytes: int) -> Program:
    yield 7  # type: ignore[misc]


def spins(fd: int, nbytes: int) -> Program:
    while nbytes:
        pass
    yield sleep(1)


def plain(fd: int, nbytes: int) -> int:
    return fd


@pytest.mark.parametrize("run", KERNELS)
@pytest.mark.parametrize(
    ("program", "error", "line"),
    [
        (forgetful, RuntimeError, "was made but never yielded"),
        (yields_a_number, TypeError, "a program yields calls, not 7"),
        (spins, TimeoutError, "0.5 s"),
        (plain, TypeError, "plain is not a program: it has no yield"),
    ],
)
def test_a_bad_program_is_told_so(run: Run, program: Any, error: type, line: str) -> None:
    with pytest.raises(error, match=line):
        run(program, UDP, limit_s=0.5)


def test_the_suite_sees_a_planted_fault() -> None:
    """A simulated kernel with one call too many would not pass."""

    def one_more(fd: int, nbytes: int) -> Program:
        yield getpid()
        yield from models.blocking(fd, nbytes)

    assert _simulate(one_more, UDP).calls() != measure(models.blocking, UDP).calls()
