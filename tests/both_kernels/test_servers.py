"""Servers on both kernels: one suite, the simulated kernel held to the real one.

Assert order, errnos, replies and counts; never absolute times.
"""

from __future__ import annotations

import os
import select as select_module
import sys
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from errno import (
    EAGAIN,
    EBADF,
    ECONNREFUSED,
    ECONNRESET,
    EEXIST,
    EINPROGRESS,
    EINVAL,
    EISCONN,
    EMFILE,
    ENOENT,
    EPERM,
    EPIPE,
    ESRCH,
)
from pathlib import Path
from typing import Any

import pytest
import strategies
from hypothesis import given, settings
from hypothesis import strategies as st

from iosim import Costs, Timeline, Unsupported, clients, features, measure, servers, simulate
from iosim.calls import (
    EPOLL_CTL_ADD,
    EPOLL_CTL_DEL,
    EPOLL_CTL_MOD,
    EPOLLERR,
    EPOLLET,
    EPOLLEXCLUSIVE,
    EPOLLHUP,
    EPOLLIN,
    EPOLLONESHOT,
    EPOLLOUT,
    F_SETFL,
    MSG_DONTWAIT,
    O_NONBLOCK,
    SHUT_WR,
    SIZE,
    Program,
    Request,
    accept,
    close,
    connect,
    epoll_create,
    epoll_ctl,
    epoll_wait,
    eventfd,
    fcntl,
    getsockname,
    getsockopt,
    kevent,
    kqueue,
    listen,
    memfd_create,
    ms,
    pipe,
    poll,
    pthread_create,
    pthread_join,
    read,
    recvfrom,
    select,
    send,
    shutdown,
    sleep,
    socket,
    write,
)
from iosim.real.helpers.clients import SPIN_NS, ClientLoop
from iosim.sim.descriptions import Descriptors
from iosim.sim.readiness import Watch
from iosim.sim.tcp import Listener, Stream
from iosim.trace import KERNEL, USER, Call, Visit
from iosim.workloads.clients import (
    AFTER,
    RECEIVE,
    RESET,
    SEND,
    SHUTDOWN,
    UNTIL,
    WAIT,
    Client,
    Clients,
    of,
    script,
)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the real kernel here is Linux's")

Run = Callable[..., Timeline]


def _simulate(program: Any, story: Clients, **options: Any) -> Timeline:
    return simulate(program, story, costs=Costs.typical(), **options)


RUNS: tuple[Run, Run] = (_simulate, measure)
KERNELS = [pytest.param(_simulate, id="simulated"), pytest.param(measure, id="linux")]
# In step: their order is made, and does not hang on how fast the machine is.
ONE_BY_ONE = of(
    *(clients.echo(2, 1_000, every_ms=3, at_ms=5 + 20 * i) for i in range(2))
).in_step()  # fmt: skip
MIXED = clients.paced(connections=3, messages=6, every_ms=3, start_ms=30).in_step()


# -- the servers -------------------------------------------------------------------------------

TURNS = {  # servers whose calls do not depend on chance, and a story that each can serve
    "iterative": ONE_BY_ONE,
    "thread_per_connection": MIXED,
    "reactor_select": MIXED,
    "reactor_poll": MIXED,
    "reactor_epoll": MIXED,
    "reactor_epoll_out": MIXED,
    "reactor_epoll_et": MIXED,
    "proactor": MIXED,
}

PRESENT = {name: present for name, present, _ in features()}


def _needs(name: str) -> None:
    """Skip where a feature is missing, and say so."""
    if name == "proactor" and not PRESENT["io_uring"]:
        pytest.skip("this system has no io_uring")


@pytest.mark.parametrize("name", TURNS)
def test_every_server_makes_the_same_calls_on_both_kernels(name: str) -> None:
    _needs(name)
    predicted, measured = (run(servers.SERVERS[name], TURNS[name]).check() for run in RUNS)
    assert predicted.processes == measured.processes
    for process in predicted.processes:
        assert predicted.calls(process) == measured.calls(process)
    for run in (predicted, measured):
        _all_served(run, TURNS[name])


def _all_served(run: Timeline, story: Clients) -> None:
    """Every byte came back, in order, and every script ran to its end."""
    assert len(run.visits) == len(story)
    for visit, client in zip(run.visits, story.clients, strict=True):
        assert (visit.end, visit.garbled) == ("", False)
        assert visit.sent == visit.received == sum(n for kind, n in client.steps if kind == SEND)
        assert len(visit.answered) == sum(kind == RECEIVE for kind, _ in client.steps)
        assert visit.over is not None
    assert all(fate.received is not None for fate in run.deliveries)
    # The proactor's calls hand in, and tell of, several operations; a pool's loop sends to its own.
    if run.title not in ("proactor", "reactor_pool"):
        assert sum(call.sent for call in run.call_log) == story.nbytes()


@pytest.mark.parametrize("run", KERNELS)
@pytest.mark.parametrize("name", [name for name in servers.SERVERS if name != "iterative"])
def test_every_server_serves_many_at_once(run: Run, name: str) -> None:
    _needs(name)
    story = clients.several(12, clients.echo(4, 3_000, every_ms=1))
    _all_served(run(servers.SERVERS[name], story).check(), story)


@pytest.mark.parametrize("run", KERNELS)
@pytest.mark.parametrize("name", list(servers.SERVERS))
def test_a_server_is_at_most_25_lines(run: Run, name: str) -> None:
    _needs(name)
    assert run(servers.SERVERS[name], of(clients.echo())).source.count("\n") <= 25


@pytest.mark.parametrize("run", KERNELS)
def test_the_iterative_server_keeps_the_second_client_waiting(run: Run) -> None:
    story = of(
        script((SEND, 10), (RECEIVE, 10), (UNTIL, ms(60)), at_ms=5),
        script((SEND, 10), (RECEIVE, 10), at_ms=20),
    )
    first, second = run(servers.iterative, story.in_step()).check().visits
    assert first.over is not None
    assert second.connected is not None
    assert second.connected < first.over < second.answered[0]


@pytest.mark.parametrize("run", KERNELS)
def test_threads_do_not(run: Run) -> None:
    """The first one stays until the second has its answer, however long that takes."""
    story = of(
        script((SEND, 10), (RECEIVE, 10), (AFTER, 2), at_ms=5),
        script((SEND, 10), (RECEIVE, 10), at_ms=20),
    )
    first, second = run(servers.thread_per_connection, story).check().visits
    assert first.over is not None
    assert second.answered[0] <= first.over


GREEDY = ((SEND, 2 << 20), (RECEIVE, 2 << 20))
POLITE = clients.echo(2, 1_000, every_ms=3, at_ms=30)


def _greedy_and_polite(run: Run, program: Any, reads: tuple[str, int]) -> tuple[Visit, Visit]:
    """Two clients, of whom the first reads only after the step `reads`."""
    greedy = script(GREEDY[0], reads, GREEDY[1], at_ms=5, rcvbuf=20_000)
    visits = run(program, of(greedy, POLITE).in_step(), sndbuf=30_000).visits
    assert [(v.garbled, v.received) for v in visits] == [(False, 2 << 20), (False, 2_000)]
    return visits[0], visits[1]


@pytest.mark.parametrize("run", KERNELS)
def test_who_waits_for_epollout_keeps_nobody_waiting(run: Run) -> None:
    """The greedy one does not read before the polite one has both of its answers."""
    greedy, polite = _greedy_and_polite(run, servers.reactor_epoll_out, (AFTER, 2))
    assert polite.answered[-1] < greedy.answered[0]


@pytest.mark.parametrize("run", KERNELS)
def test_a_slow_reader_holds_up_who_waits_for_it(run: Run) -> None:
    _, polite = _greedy_and_polite(run, servers.reactor_epoll, (UNTIL, ms(100)))
    assert polite.answered[0] > ms(100)


# -- a handler that blocks ----------------------------------------------------------------------

START, HANDLER = ms(20), ms(100)
#: Each message comes while the handlers of those before it are under way, if they can be.
TOGETHER = of(
    *(script((UNTIL, START + ms(i)), (SEND, 10), (RECEIVE, 10), (AFTER, 6)) for i in range(6))
).in_step()  # fmt: skip


def _all_answered(run: Timeline) -> int:
    """When the last client has its answer, in ns after the messages were sent."""
    return max(visit.answered[0] for visit in run.visits) - START


def _handlers(run: Timeline) -> list[Call]:
    return [call for call in run.call_log if call.name == "sleep"]


def _overlap(run: Timeline) -> int:
    """How many handlers are under way at once, at the most."""
    begins = [call.start for call in _handlers(run)]
    return max(sum(h.start <= at < h.end for h in _handlers(run)) for at in begins)


def _received_meanwhile(run: Timeline) -> bool:
    """Is anything received while a handler is under way?"""
    received = [fate.received or 0 for fate in run.deliveries]
    return any(h.start < at < h.end for h in _handlers(run) for at in received)


@pytest.mark.parametrize("run", KERNELS)
def test_handlers_stand_in_line_in_a_loop_and_overlap_in_threads_and_in_a_pool(run: Run) -> None:
    loop = run(servers.reactor_epoll, TOGETHER, handler_ns=HANDLER).check()
    assert _all_answered(loop) >= 6 * HANDLER
    assert _overlap(loop) == 1
    assert not _received_meanwhile(loop)
    threads = run(servers.thread_per_connection, TOGETHER, handler_ns=HANDLER).check()
    pool = run(servers.reactor_pool, TOGETHER, workers=6, handler_ns=HANDLER).check()
    for overlapping in (threads, pool):
        _all_served(overlapping, TOGETHER)
        assert _all_answered(overlapping) >= HANDLER
        assert _overlap(overlapping) > 1
        assert _received_meanwhile(overlapping)


@pytest.mark.parametrize("run", KERNELS)
def test_a_pool_of_two_takes_three_turns_for_six(run: Run) -> None:
    pool = run(servers.reactor_pool, TOGETHER, workers=2, handler_ns=HANDLER).check()
    assert len(pool.processes) == 1 + 2
    assert _all_answered(pool) >= 3 * HANDLER
    assert _overlap(pool) == 2
    assert _received_meanwhile(pool)  # its loop is not held up


def test_a_pool_of_one_makes_the_same_calls_on_both_kernels() -> None:
    predicted, measured = (run(servers.reactor_pool, MIXED, workers=1).check() for run in RUNS)
    assert predicted.processes == measured.processes == ("process", "thread 1")
    for process in predicted.processes:
        assert predicted.calls(process) == measured.calls(process)


#: The second client stays until the first has its answer: a run, and what is told of it, ends with
#: the server, which may be before the answer is read.
ENDS_EARLY = of(
    script((SEND, 10), (SHUTDOWN, 0), (RECEIVE, 10), at_ms=5), script((AFTER, 1), at_ms=5)
).in_step()  # fmt: skip


@pytest.mark.parametrize("run", KERNELS)
def test_who_ends_while_the_pool_handles_is_answered_all_the_same(run: Run) -> None:
    _all_served(run(servers.reactor_pool, ENDS_EARLY, handler_ns=HANDLER).check(), ENDS_EARLY)


def test_without_one_shot_the_pool_would_close_it_too_early(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(servers, "EPOLLONESHOT", 0)
    with pytest.raises(OSError, match="ad file"):
        _simulate(servers.reactor_pool, ENDS_EARLY, handler_ns=HANDLER)


# -- one rule each, on both --------------------------------------------------------------------


def epoll_of(listener: int, flags: int = 0) -> Program:
    """Accept one client; the interest list on which it stands, and its descriptor."""
    conn = yield accept(listener)
    yield fcntl(conn, F_SETFL, O_NONBLOCK)
    epfd = yield epoll_create()
    yield epoll_ctl(epfd, EPOLL_CTL_ADD, conn, EPOLLIN | flags)
    return epfd, conn


def level(listener: int, clients: int) -> Program:
    """Level-triggered: told again and again, until nothing is left to read."""
    epfd, conn = yield from epoll_of(listener)
    for _ in range(3):
        assert (yield epoll_wait(epfd)) == [conn]
    assert len((yield recvfrom(conn, SIZE))) == 1_000
    assert (yield epoll_wait(epfd, timeout=0)) == []


def edge(listener: int, clients: int) -> Program:
    """Edge-triggered: told once for what has come, though most of it is still there."""
    epfd, conn = yield from epoll_of(listener, EPOLLET)
    assert (yield epoll_wait(epfd)) == [conn]
    assert len((yield recvfrom(conn, 100))) == 100
    assert (yield epoll_wait(epfd, timeout=0)) == []
    assert (yield epoll_wait(epfd)) == [conn]  # the second message: a new edge
    assert len((yield recvfrom(conn, SIZE))) == 1_900
    with pytest.raises(BlockingIOError):
        yield recvfrom(conn, SIZE)


def one_shot(listener: int, clients: int) -> Program:
    """ONESHOT: told once, and not again until it is armed anew."""
    epfd, conn = yield from epoll_of(listener, EPOLLONESHOT)
    assert (yield epoll_wait(epfd)) == [conn]
    assert (yield epoll_wait(epfd, timeout=0)) == []
    yield accept(listener)  # until the second message is there, which changes nothing
    assert (yield epoll_wait(epfd, timeout=0)) == []
    yield epoll_ctl(epfd, EPOLL_CTL_MOD, conn, EPOLLIN | EPOLLONESHOT)
    assert (yield epoll_wait(epfd, timeout=0)) == [conn]


def interest(listener: int, clients: int) -> Program:
    """Events for both directions; what epoll_ctl refuses."""
    epfd, conn = yield from epoll_of(listener)
    with pytest.raises(FileExistsError):
        yield epoll_ctl(epfd, EPOLL_CTL_ADD, conn)
    yield epoll_ctl(epfd, EPOLL_CTL_MOD, conn, EPOLLOUT)
    (ready,) = yield epoll_wait(epfd)
    assert (ready, ready.events) == (conn, EPOLLOUT)
    yield epoll_ctl(epfd, EPOLL_CTL_MOD, conn, EPOLLIN | EPOLLOUT)
    assert (yield poll([conn])) == [conn]  # until the message is there
    (ready,) = yield epoll_wait(epfd)
    assert ready.events == EPOLLIN | EPOLLOUT
    yield epoll_ctl(epfd, EPOLL_CTL_DEL, conn)
    for op in (EPOLL_CTL_MOD, EPOLL_CTL_DEL):
        with pytest.raises(FileNotFoundError):
            yield epoll_ctl(epfd, op, conn)
    with pytest.raises(OSError, match="nvalid"):
        yield epoll_ctl(epfd, EPOLL_CTL_ADD, conn, EPOLLIN | EPOLLEXCLUSIVE | EPOLLONESHOT)
    yield epoll_ctl(epfd, EPOLL_CTL_ADD, conn, EPOLLIN | EPOLLEXCLUSIVE)
    with pytest.raises(OSError, match="nvalid"):
        yield epoll_ctl(epfd, EPOLL_CTL_MOD, conn, EPOLLIN)


def writable(listener: int, clients: int) -> Program:
    """select and poll for both directions."""
    conn = yield accept(listener)
    for wait in (select([conn], None, [conn]), poll({conn: EPOLLIN | EPOLLOUT})):
        (ready,) = yield wait
        assert (ready, ready.events, ready.writable) == (conn, EPOLLOUT, True)
    assert (yield select([listener, conn])) == [conn]  # the message
    assert (yield poll([listener, conn])) == [conn]


def listening(listener: int, clients: int) -> Program:
    """A listening socket is readable when a connection waits; EAGAIN when none does."""
    yield fcntl(listener, F_SETFL, O_NONBLOCK)
    with pytest.raises(BlockingIOError):
        yield accept(listener)
    assert (yield select([listener], 0)) == []
    assert (yield poll([listener])) == [listener]
    conn = yield accept(listener)
    assert (yield poll([listener], 0)) == []
    assert len((yield recvfrom(conn, SIZE))) == 1_000  # O_NONBLOCK is not inherited: it waits


def partial_writes(listener: int, clients: int) -> Program:
    """Who does not read fills the buffers: a part, then nothing; then there is room again."""
    conn = yield accept(listener)
    data, sent = bytes(16 << 20), 0
    while True:
        try:
            count = yield send(conn, data, MSG_DONTWAIT)
            assert 0 < count < len(data)
            sent += count
        except BlockingIOError:
            if (yield poll({conn: EPOLLOUT}, 0)) == []:
                break
    assert (yield select([], None, [conn])) == [conn]  # it begins to read
    assert (yield send(conn, b"more", MSG_DONTWAIT)) == 4


def blocking_send(listener: int, clients: int) -> Program:
    """A blocking send returns when all of it is in the buffer, however long that takes."""
    conn = yield accept(listener)
    assert (yield send(conn, bytes(8 << 20))) == 8 << 20
    yield close(conn)
    assert (yield recvfrom((yield accept(listener)), SIZE)) == b""  # who leaves after the first


def end_of_file(listener: int, clients: int) -> Program:
    """A half-closed connection: the end is read, and sending goes on (UNP 6.6)."""
    conn = yield accept(listener)
    assert len((yield recvfrom(conn, SIZE))) == 1_000
    assert (yield recvfrom(conn, SIZE)) == b""
    (ready,) = yield poll([conn])
    assert (ready.events, ready.readable) == (EPOLLIN, True)
    yield send(conn, bytes([1]) * 1_000)
    yield shutdown(conn, SHUT_WR)
    (ready,) = yield poll([conn])
    assert ready.events == EPOLLIN | EPOLLHUP
    with pytest.raises(BrokenPipeError):
        yield send(conn, b"more")
    yield close(conn)
    yield accept(listener)


def was_reset(listener: int, clients: int) -> Program:
    """After a reset: ready in every way; the error once, then the end, and no more sending."""
    conn = yield accept(listener)
    assert (yield poll([conn])) == [conn]
    (ready,) = yield poll({conn: EPOLLIN | EPOLLOUT})
    assert ready.events == EPOLLIN | EPOLLOUT | EPOLLERR | EPOLLHUP
    assert (yield select([conn], 0, [conn])) == [conn]
    with pytest.raises(ConnectionResetError):
        yield recvfrom(conn, SIZE)
    assert (yield recvfrom(conn, SIZE)) == b""
    with pytest.raises(BrokenPipeError):
        yield send(conn, b"?")


def reset_in_the_queue(listener: int, clients: int) -> Program:
    """A client that breaks off before it was accepted is accepted all the same (UNP 16.6)."""
    assert (yield recvfrom((yield accept(listener)), SIZE)) == b""  # who leaves after that
    conn = yield accept(listener)
    with pytest.raises(ConnectionResetError):
        yield send(conn, b"?")


def sends_to_nobody(listener: int, clients: int) -> Program:
    """The first send to who has closed is well; it is answered by a reset, the next one fails."""
    conn = yield accept(listener)
    assert (yield recvfrom(conn, SIZE)) == b""
    assert (yield send(conn, b"?")) == 1
    assert (yield poll({conn: 0})) == [conn]  # until the answer is there
    with pytest.raises(BrokenPipeError):
        yield send(conn, b"?")
    assert (yield recvfrom(conn, SIZE)) == b""


def unread(listener: int, clients: int) -> Program:
    """To close with something unread is to reset (RFC 1122, 4.2.2.13)."""
    conn = yield accept(listener)
    assert len((yield recvfrom(conn, 10))) == 10
    yield close(conn)
    with pytest.raises(OSError, match="ad file"):
        yield recvfrom(conn, SIZE)
    yield accept(listener)


def descriptors(listener: int, clients: int) -> Program:
    """The lowest number that is free; at the limit EMFILE, and the client stays in the queue."""
    one, two = (yield socket()), (yield socket())
    yield close(one)
    three = yield socket()
    assert one == three < two
    with pytest.raises(OSError, match="oo many open files"):
        yield socket()
    for _ in range(2):
        with pytest.raises(OSError, match="oo many open files"):
            yield accept(listener)
        assert (yield poll([listener])) == [listener]  # level-triggered: it would spin
    yield close(two)
    assert (yield accept(listener)) == two
    yield close(three)
    yield accept(listener)


def regular_file(listener: int, clients: int) -> Program:
    """Always ready for select and poll; epoll does not take it (epoll_ctl(2), EPERM)."""
    file, epfd = (yield memfd_create()), (yield epoll_create())
    assert (yield select([file, listener], None, [file]))[0].events == EPOLLIN | EPOLLOUT
    assert (yield poll({file: EPOLLIN | EPOLLOUT, listener: EPOLLIN})) == [file]
    with pytest.raises(PermissionError):
        yield epoll_ctl(epfd, EPOLL_CTL_ADD, file)


def connects(listener: int, clients: int) -> Program:
    """A nonblocking connect (UNP 16.3): EINPROGRESS, writable, and what has become of it."""
    port = yield getsockname(listener)
    fd = yield socket()
    (ready,) = yield poll({fd: EPOLLOUT})
    assert ready.events == EPOLLOUT | EPOLLHUP  # never connected
    yield fcntl(fd, F_SETFL, O_NONBLOCK)
    with pytest.raises(BlockingIOError):
        yield connect(fd, port)
    assert (yield select([], None, [fd])) == [fd]
    assert (yield getsockopt(fd)) == 0
    conn = yield accept(listener)
    assert (yield send(fd, b"myself")) == 6
    assert (yield recvfrom(conn, SIZE)) == b"myself"
    yield connect(fd, port)  # tells, once, that it is over
    with pytest.raises(OSError, match="already connected"):
        yield connect(fd, port)


def is_refused(listener: int, clients: int) -> Program:
    """Nobody listens there: at once, and told by SO_ERROR, once, to who did not wait."""
    port = yield getsockname(listener)
    yield close(listener)
    one, two = (yield socket()), (yield socket())
    with pytest.raises(ConnectionRefusedError):
        yield connect(one, port)
    yield fcntl(two, F_SETFL, O_NONBLOCK)
    with pytest.raises((BlockingIOError, ConnectionRefusedError)):
        yield connect(two, port)
    (ready,) = yield poll({two: EPOLLIN | EPOLLOUT})
    assert ready.events == EPOLLIN | EPOLLOUT | EPOLLERR | EPOLLHUP
    assert (yield getsockopt(two)) == ECONNREFUSED
    assert (yield getsockopt(two)) == 0


def backlog(listener: int, clients: int) -> Program:
    """A queue of 1 holds 2; the third client is not answered and tries again after 1 s."""
    yield listen(listener, 1)
    assert (yield recvfrom((yield accept(listener)), SIZE)) == b""  # who leaves after they called
    yield fcntl(listener, F_SETFL, O_NONBLOCK)
    for _ in range(2):
        conn = yield accept(listener)
        assert len((yield recvfrom(conn, SIZE))) == 1
        yield close(conn)
    with pytest.raises(BlockingIOError):
        yield accept(listener)
    assert (yield poll([listener])) == [listener]
    assert len((yield recvfrom((yield accept(listener)), SIZE))) == 1


def threads(listener: int, clients: int) -> Program:
    """Threads share the descriptors; who joins waits."""
    heard: list[bytes] = []

    def hear(conn: int) -> Program:
        heard.append((yield recvfrom(conn, SIZE)))

    conn = yield accept(listener)
    thread = yield pthread_create(hear(conn))
    yield pthread_join(thread)
    assert [len(data) for data in heard] == [1_000]
    yield pthread_join(thread)
    with pytest.raises(ProcessLookupError):
        yield pthread_join(7)


TALK = ((WAIT, ms(3)), (SEND, 1_000))
STAYS = (AFTER, 1_000)  # to the end of the run
TWO = script(*TALK, *TALK, STAYS, at_ms=5)
ONE = script(*TALK, STAYS, at_ms=5)
MUTE = script(STAYS, at_ms=20)
HALF_CLOSED = script(*TALK, (SHUTDOWN, 0), (RECEIVE, 1_000), (RECEIVE, 1), at_ms=5)
BROKEN_OFF = script((WAIT, ms(3)), (RESET, 0), at_ms=5)
STALLS = script((UNTIL, ms(60)), (RECEIVE, 8 << 20), STAYS, at_ms=5, rcvbuf=20_000)
#: When it comes, the others have met with all that the server did before it waited for this one.
LAST = script(STAYS, at_ms=80)

RULES: list[tuple[Callable[..., Program], tuple[Client, ...], dict[str, Any]]] = [
    (level, (ONE,), {}), (edge, (TWO,), {}), (one_shot, (TWO, LAST), {}), (interest, (ONE,), {}),
    (writable, (ONE,), {}), (listening, (ONE,), {}),
    (blocking_send, (STALLS, script((AFTER, 1), at_ms=10)), {"sndbuf": 30_000}),
    (end_of_file, (HALF_CLOSED, LAST), {}),
    (was_reset, (BROKEN_OFF,), {}),
    (reset_in_the_queue, (script((UNTIL, ms(30)), at_ms=5), script((RESET, 0), at_ms=10)), {}),
    (sends_to_nobody, (script((WAIT, ms(3)), at_ms=5),), {}),
    (unread, (script(*TALK, (RECEIVE, 1), at_ms=5), LAST), {}),
    (descriptors, (MUTE, LAST), {"nofile": 2}), (regular_file, (MUTE,), {}),
    (connects, (script(STAYS, at_ms=900),), {}), (is_refused, (MUTE,), {}),
    (
        backlog,
        (script((UNTIL, ms(60)), at_ms=5),
         *(script((SEND, 1), (RECEIVE, 1), at_ms=10 + 10 * i) for i in range(3))),
        {},
    ),
    (threads, (ONE,), {}),
]  # fmt: skip
RULES_BY_NAME = {
    program.__name__: (program, of(*who).in_step(), options) for program, who, options in RULES
}


@pytest.mark.parametrize("run", KERNELS)
@pytest.mark.parametrize("name", [name for name in servers.SERVERS if name != "iterative"])
def test_a_server_that_does_not_look_ends_with_the_error_that_it_meets(name: str, run: Run) -> None:
    """Of a call, or of an operation that was handed in."""
    _needs(name)
    for story, options, errno in (
        (of(MUTE, MUTE, MUTE, MUTE), {"nofile": 4 if name == "reactor_pool" else 3}, EMFILE),
        (of(BROKEN_OFF), {}, ECONNRESET),
    ):
        with pytest.raises(OSError) as caught:
            run(servers.SERVERS[name], story, **options)
        assert caught.value.errno == errno
        assert caught.value.__notes__


@pytest.mark.parametrize("name", RULES_BY_NAME)
def test_a_rule_holds_on_both_kernels(name: str) -> None:
    program, story, options = RULES_BY_NAME[name]
    predicted, measured = (run(program, story, **options).check() for run in RUNS)
    for process in predicted.processes:
        assert predicted.calls(process) == measured.calls(process)
    for who, *visits in zip(story.clients, predicted.visits, measured.visits, strict=True):
        if who is not LAST:  # the run may end before it knows that it is there
            assert _met(visits[0]) == _met(visits[1])


def _met(visit: Visit) -> tuple[Any, ...]:
    connected = visit.connected is not None
    return connected, visit.sent, visit.received, visit.end, visit.garbled, len(visit.answered)


@pytest.mark.parametrize("run", KERNELS)
def test_buffers_fill_and_empty(run: Run) -> None:
    """How much goes in is the kernel's affair; that it is a part, then nothing, is the rule."""
    timeline = run(partial_writes, of(STALLS).in_step(), sndbuf=30_000).check()
    calls = [name for name, _ in timeline.calls()]
    assert Counter(timeline.calls())["send", EAGAIN] >= 1
    assert calls[-2:] == ["select", "send"]


@pytest.mark.parametrize("run", KERNELS)
def test_what_a_client_has_to_send_when_it_closes_holds_nobody_up(run: Run) -> None:
    """It all comes, though nobody reads it before the other client has been served."""
    much, got = 8_000_000, []

    def program(listener: int, clients: int) -> Program:
        first = yield accept(listener)
        second = yield accept(listener)
        yield send(second, (yield recvfrom(second, 100)))
        assert (yield recvfrom(second, 100)) == b""
        while data := (yield recvfrom(first, 1 << 20)):
            got.append(len(data))

    leaves = script((SEND, much), at_ms=1)
    asks = script((WAIT, ms(5)), (SEND, 10), (RECEIVE, 10), at_ms=5)
    timeline = run(program, of(leaves, asks).in_step()).check()
    assert sum(got) == much
    assert [visit.end for visit in timeline.visits] == ["", ""]


@pytest.mark.parametrize("run", KERNELS)
def test_the_third_client_of_a_queue_for_two_is_a_second_late(run: Run) -> None:
    _, *visits = run(*RULES_BY_NAME["backlog"][:2]).visits
    first, second, third = ((v.connected or 0) - (v.begun or 0) for v in visits)
    assert max(first, second) < third
    assert third >= 900e6


LINEAR = Path("/proc/sys/net/ipv4/tcp_syn_linear_timeouts")


@pytest.mark.parametrize("run", KERNELS)
def test_who_found_no_room_twice_tries_again_after_another_second(run: Run) -> None:
    """Not after two more: a client that comes 2.6 s after it is later."""
    if run is measure and not (LINEAR.exists() and int(LINEAR.read_text())):
        pytest.skip("no tcp_syn_linear_timeouts here (Linux 6.5)")

    def program(listener: int, clients: int) -> Program:
        yield listen(listener, 0)
        yield sleep(ms(1_300))
        for _ in range(3):
            yield close((yield accept(listener)))

    queued, dropped, late = (script(at_ms=at) for at in (5, 20, 2_600))
    _, second, third = run(program, of(queued, dropped, late)).visits
    assert second.connected is not None
    assert third.begun is not None
    assert second.connected < third.begun


def test_the_rules_meet_every_errno() -> None:
    """What the suite is worth: the errnos that it has compared."""
    met = {
        errno
        for program, story, options in RULES_BY_NAME.values()
        for _, errno in _simulate(program, story, **options).calls()
        if errno is not None
    }
    assert met == {
        EAGAIN, EBADF, ECONNREFUSED, ECONNRESET, EEXIST, EINPROGRESS, EINVAL, EISCONN, EMFILE,
        ENOENT, EPERM, EPIPE, ESRCH,
    }  # fmt: skip


def a_flood_and_another(size: int) -> Clients:
    """`size` bytes without a pause, and a client that comes in the middle of them."""
    flood = script((SEND, size), (RECEIVE, size))
    return of(flood, script((UNTIL, ms(60)), (SEND, 100), (RECEIVE, 100)))


@pytest.mark.parametrize("name", [name for name in servers.SERVERS if name != "iterative"])
def test_a_flood_starves_nobody(name: str) -> None:
    """epoll(7), "Starvation (edge-triggered)": simulated, so that the flood is as long as it is."""
    run = simulate(servers.SERVERS[name], a_flood_and_another(100_000), rcvbuf=2_000).check()
    flood, other = (visit.answered[-1] for visit in run.visits)
    assert other - ms(60) < (flood - ms(60)) / 4


# -- the herd ----------------------------------------------------------------------------------

WORKERS = 4


def herd(listener: int, clients: int, flags: int = 0, shared: bool = False) -> Program:
    """Workers that all watch the listener; who is woken waits for the others before it accepts.

    The first client leaves when all of them sleep again, and so lets everybody go.
    """
    first = yield accept(listener)
    common = (yield from _watch(listener, first, flags)) if shared else None

    def worker() -> Program:
        epfd = common or (yield from _watch(listener, first, flags))
        if first in (yield epoll_wait(epfd)):
            return
        yield select([first])
        try:
            yield accept(listener)
        except BlockingIOError:
            return

    yield fcntl(listener, F_SETFL, O_NONBLOCK)
    threads = []
    for _ in range(WORKERS):
        threads.append((yield pthread_create(worker())))
    for thread in threads:
        yield pthread_join(thread)


def _watch(listener: int, first: int, flags: int) -> Program:
    epfd = yield epoll_create()
    yield epoll_ctl(epfd, EPOLL_CTL_ADD, listener, EPOLLIN | flags)
    yield epoll_ctl(epfd, EPOLL_CTL_ADD, first)
    return epfd


@pytest.mark.parametrize("run", KERNELS)
@pytest.mark.parametrize(
    ("flags", "shared", "woken"),
    [(0, False, WORKERS), (EPOLLEXCLUSIVE, False, 1), (0, True, WORKERS), (EPOLLET, True, 1)],
)
def test_who_is_woken_for_one_connection(run: Run, flags: int, shared: bool, woken: int) -> None:
    """epoll_ctl(2): EPOLLEXCLUSIVE wakes at least one; epoll(7): an edge wakes only one."""
    story = of(script((UNTIL, ms(40)), at_ms=5), script(STAYS, at_ms=20)).in_step()
    timeline = run(herd, story, flags=flags, shared=shared).check()
    calls = Counter(timeline.calls())
    assert calls["accept", None] == 1 + 1
    assert calls["accept", EAGAIN] == woken - 1


# -- any clients, any costs (simulated) --------------------------------------------------------


@settings(max_examples=60)
@given(
    name=st.sampled_from([name for name in servers.SERVERS if name != "nonblocking_sweep"]),
    story=strategies.crowds, costs=strategies.costs, cores=st.integers(1, 3),
    sndbuf=st.integers(1_000, 300_000),
)  # fmt: skip
def test_nothing_is_lost_doubled_or_put_in_another_order(
    name: str, story: Clients, costs: Costs, cores: int, sndbuf: int
) -> None:
    run = simulate(servers.SERVERS[name], story, costs=costs, cores=cores, sndbuf=sndbuf).check()
    _all_served(run, story)
    again = simulate(servers.SERVERS[name], story, costs=costs, cores=cores, sndbuf=sndbuf)
    assert again.to_json() == run.to_json()


def test_a_run_of_a_server_is_stored_and_read_back() -> None:
    run = _simulate(servers.reactor_epoll, MIXED)
    assert Timeline.from_json(run.to_json()) == run
    assert run.visits


# -- what a scan costs, and code that has not run for a while ------------------------------------

FREE = Costs(**{name: 0 for name in Costs.names() if name != "time_slice"})
LATE = of(script(at_ms=900))  # a client that these programs do not wait for


def _own_pair(listener: int) -> Program:
    """A connection whose two ends are the program's."""
    one = yield socket()
    yield connect(one, (yield getsockname(listener)))
    return one, (yield accept(listener))


@pytest.mark.parametrize("scan", [select, poll])
@pytest.mark.parametrize("look", [0, 7])
def test_a_scan_that_may_sleep_stands_in_every_line_before_the_first_that_is_ready(
    scan: Any, look: int
) -> None:
    """To the ns: half of the price on the way into a line, half on the way out (fs/select.c)."""

    def asking(listener: int, count: int) -> Program:
        a, b = yield from _own_pair(listener)
        c, d = yield from _own_pair(listener)
        yield scan([a, b, c, d], ms(1))  # nothing comes: in, asleep, out
        yield scan([a, b, c, d], 0)  # does not wait: in no line
        yield send(d, b"?")  # c is ready
        yield scan([a, b, c, d], ms(1))
        yield scan([c, a, b, d])

    costs = replace(FREE, queue_per_fd=100, select_per_fd=look, poll_per_fd=look)
    run = simulate(asking, LATE, costs=costs).check()
    spent = [
        sum(i.duration for i in run.lane("process") if i.call is call and i.state == KERNEL)
        for call in run.call_log
        if call.name == scan.__name__
    ]
    assert spent == [400 + 8 * look, 4 * look, 200 + 4 * look, 4 * look]


def test_each_scan_stands_in_line_anew() -> None:

    def asking(listener: int, count: int) -> Program:
        a, b = yield from _own_pair(listener)
        for _ in range(3):
            yield poll([a, b], ms(1))

    run = simulate(asking, LATE, costs=replace(FREE, queue_per_fd=100))
    ran = [i.duration for i in run.lane("process") if i.call and i.call.name == "poll"
           and i.state == KERNEL]  # fmt: skip
    assert ran == [100] * 6  # in and out, three times


def test_cold_code_of_a_server() -> None:
    """What it prepares for io_uring counts as well: each kind once, until it sleeps again."""
    story = of(clients.echo(3, 10, every_ms=5))

    def own(name: str) -> int:
        costs = replace(FREE, cold_code=1_000)
        run = simulate(servers.SERVERS[name], story, costs=costs)
        return run.between(ms(7), ms(14)).time_in(USER)  # one message, and the next wait

    assert own("reactor_poll") == 2_000  # before send, before poll
    assert own("thread_per_connection") == 1_000  # before recvfrom
    assert own("reactor_epoll_et") == 2_000  # the second recvfrom is warm
    assert own("proactor") == 2_000  # prep_send and prep_recv: the calls follow the first at once


def test_prices_of_a_server_are_those_of_its_story() -> None:
    stream, served = replace(FREE, send=300), replace(FREE, send=20)
    took = [
        next(c.end - c.start for c in run.call_log if c.name == "send")
        for costs in (
            replace(FREE, send=1, stream=stream), replace(FREE, stream=stream, server=served),
        )
        for run in [simulate(servers.iterative, of(clients.echo(1, 10)), costs=costs)]
    ]  # fmt: skip
    assert took == [300, 20]


def test_the_clients_sleep_until_shortly_before_the_next_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """To watch the clock for long would keep a server off the core that it shares with them."""
    loop = ClientLoop({"port": 1, "clients": [], "stepwise": False, "board": None})
    naps: list[Any] = []
    monkeypatch.setattr("select.select", lambda *args: naps.append(args))
    monkeypatch.setattr(loop, "now", lambda: 5_000_000)
    try:
        for left in (SPIN_NS, SPIN_NS + 1_700_000):
            loop.due = [(5_000_000 + left, 1, None)]
            assert loop.changes() == []
    finally:
        loop.epoll.close()
    assert naps == [([loop.epoll], [], [], 0.0017)]


# -- what is refused ---------------------------------------------------------------------------


def _no_listener(fd: int, nbytes: int) -> Program:
    yield accept(fd)


@pytest.mark.parametrize("run", KERNELS)
@pytest.mark.parametrize(
    ("program", "story", "options", "error", "line"),
    [
        (_no_listener, of(MUTE), {}, ValueError, "begin with listener, then clients"),
        (servers.iterative, of(MUTE), {"backlog": -1}, ValueError, "backlog must be from 0 to"),
        (servers.iterative, of(MUTE), {"sndbuf": 0}, ValueError, "sndbuf must be from 1 to"),
        (servers.iterative, of(MUTE), {"nofile": -1}, ValueError, "nofile must be from 0 to"),
        (servers.iterative, of(MUTE), {"speed": 1}, TypeError, "has no option 'speed'"),
    ],
)
def test_bad_input_is_told_in_a_line(
    run: Run, program: Any, story: Clients, options: dict[str, Any], error: type, line: str
) -> None:
    with pytest.raises(error, match=line):
        run(program, story, **options)


@pytest.mark.parametrize(
    ("make", "error", "line"),
    [
        (lambda: script(("sing", 1)), ValueError, "a step must be one of send, receive"),
        (lambda: script((SEND, 0)), ValueError, "send must be from 1 to"),
        (lambda: script((RESET, 0), (SEND, 1)), ValueError, "reset is a client's last step"),
        (lambda: script(at_ms=-1), ValueError, "time must be from 0"),
        (lambda: of(), ValueError, "clients must be from 1 to"),
        (lambda: of(7), TypeError, "a client must be a Client"),  # type: ignore[arg-type]
        (lambda: send(3, "text"), TypeError, "send: data must be bytes"),  # type: ignore[arg-type]
        (lambda: listen(3, 5_000), ValueError, "listen: backlog must be from 0 to"),
        (lambda: pthread_create(print), TypeError, "start must be a program"),  # type: ignore[arg-type]
    ],
)
def test_a_bad_value_is_told_in_a_line(make: Callable[[], Any], error: type, line: str) -> None:
    with pytest.raises(error, match=line):
        make()


@pytest.mark.parametrize("run", KERNELS)
def test_an_uncaught_errno_comes_out_of_a_thread(run: Run) -> None:
    with pytest.raises(ConnectionResetError) as caught:
        run(servers.thread_per_connection, of(BROKEN_OFF).in_step(), limit_s=5)
    assert "recvfrom" in "".join(caught.value.__notes__)


@pytest.mark.parametrize("run", KERNELS)
def test_to_wait_for_ever_is_a_time_out(run: Run) -> None:
    with pytest.raises(TimeoutError, match="accept"):
        run(_greedy, of(MUTE), limit_s=1.0)


def _greedy(listener: int, clients: int) -> Program:
    """Waits for one client more than there are."""
    for _ in range(clients + 1):
        yield accept(listener)


def test_kqueue_is_skipped_where_there_is_none() -> None:
    """One text on both: the simulated kernel has it, the real one where the system does."""
    predicted = _simulate(_by_kqueue, of(clients.echo())).check()
    assert [name for name, _ in predicted.calls()][:3] == ["kqueue", "kevent", "accept"]
    if not hasattr(select_module, "kqueue"):
        with pytest.raises(Unsupported, match="no kqueue"):
            measure(_by_kqueue, of(clients.echo()))
        pytest.skip("this system has no kqueue: only the simulated kernel was asked")
    assert measure(_by_kqueue, of(clients.echo())).check().calls() == predicted.calls()


def _by_kqueue(listener: int, clients: int) -> Program:
    """A reactor as BSD and macOS have it."""
    kq, adds = (yield kqueue()), [listener]
    while clients:
        ready = yield kevent(kq, tuple(adds))
        adds.clear()
        for fd in ready:
            if fd == listener:
                adds.append((yield accept(listener)))
            elif (yield from servers.attempt(fd)):
                clients -= 1


# -- the suite is worth something: faults planted in the simulated kernel -------------------------


def _as_if_level(watch: Watch) -> Any:
    watch.events &= ~EPOLLET
    return _HARVEST(watch)


_HARVEST = Watch.harvest


def _as_if_at_an_end(stream: Stream) -> None:
    stream.ended = stream.broken = True


@pytest.mark.parametrize(
    ("kind", "name", "fault", "rule"),
    [
        (Watch, "harvest", _as_if_level, "edge"),
        (Watch, "exclusive", False, "interest"),
        (Stream, "reset", _as_if_at_an_end, "was_reset"),
        (Stream, "writable", False, "writable"),
        (Listener, "full", False, "backlog"),
        (Descriptors, "room_for_one", lambda *_: None, "descriptors"),
    ],
)
def test_a_planted_fault_is_seen(
    kind: type, name: str, fault: Any, rule: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    program, story, options = RULES_BY_NAME[rule]
    _simulate(program, story, **options)
    monkeypatch.setattr(kind, name, fault)
    with pytest.raises((AssertionError, TimeoutError, pytest.fail.Exception)):
        _simulate(program, story, **options)


# -- nothing is left ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["reactor_epoll", "thread_per_connection"])
def test_no_descriptor_and_no_thread_is_left(name: str) -> None:
    before = len(os.listdir("/proc/self/fd")), threading.active_count()
    measure(servers.SERVERS[name], clients.several(5, clients.echo(2)))
    assert (len(os.listdir("/proc/self/fd")), threading.active_count()) == before


def test_a_number_that_another_thread_gets_again_is_that_thread_s() -> None:
    """A descriptor's number is free once it is closed: who closed it must not touch it any more."""
    for _ in range(12):
        run = measure(servers.thread_per_connection, clients.several(8, clients.echo(2)))
        assert len([name for name, errno in run.calls() if (name, errno) == ("close", None)]) == 8


def _stuck(listener: int, clients: int, wait: str) -> Program:
    """A thread that nothing will ever wake."""

    def sleeper() -> Program:
        if wait == "epoll_wait":
            yield epoll_wait((yield epoll_create()))
        else:
            yield accept(listener)

    thread = yield pthread_create(sleeper())
    yield pthread_join(thread)


@pytest.mark.parametrize("wait", ["epoll_wait", "accept"])
def test_no_thread_is_left_at_the_limit(wait: str) -> None:
    before = len(os.listdir("/proc/self/fd")), threading.active_count()
    with pytest.raises(TimeoutError, match=rf"was in pthread_join.*; thread 1 in {wait}\("):
        measure(_stuck, of(script(at_ms=5_000)), limit_s=0.5, wait=wait)
    assert (len(os.listdir("/proc/self/fd")), threading.active_count()) == before


@pytest.mark.parametrize("which", [slice(0, 5), slice(4, 5)], ids=["all", "epoll_wait"])
def test_no_thread_stays_in_what_was_closed_under_it(which: slice) -> None:
    """The kernel keeps what a thread sleeps in, whatever becomes of its number: close(2)."""

    def in_thread(request: Request) -> Program:
        with suppress(OSError):
            yield request

    def program(listener: int, clients: int) -> Program:
        conn = yield accept(listener)
        counter, interest = (yield eventfd(0)), (yield epoll_create())
        yield epoll_ctl(interest, EPOLL_CTL_ADD, conn)
        sleeps = (
            lambda: recvfrom(conn, 1), lambda: read(counter, 8), lambda: poll([conn]),
            lambda: accept(listener), lambda: epoll_wait(interest),
        )  # fmt: skip
        for request in sleeps[which]:
            yield pthread_create(in_thread(request()))
        yield sleep(ms(20))
        for fd in (conn, counter, interest, listener):
            yield close(fd)

    before, limit_s = set(threading.enumerate()), 3
    run = measure(program, of(MUTE), limit_s=limit_s)
    run.check()
    assert set(threading.enumerate()) <= before
    assert max(call.end for call in run.call_log) < ms(limit_s * 1_000)  # woken, not timed out


def test_no_thread_stays_in_what_nothing_wakes() -> None:
    """A poll that asks for nothing, a counter that is full, a pipe that is."""

    def in_thread(*requests: Request) -> Program:
        for request in requests:
            _ = yield request  # a reply is sent, which the iterator itself would not take

    def program(listener: int, clients: int) -> Program:
        counter, full, (_, end) = (yield eventfd(0)), (yield eventfd(0)), (yield pipe())
        yield pthread_create(in_thread(poll({counter: 0})))
        yield pthread_create(in_thread(*[write(full, b"x" * 8) for _ in range(4)]))
        yield pthread_create(in_thread(write(end, b"x" * 200_000)))
        yield sleep(ms(20))

    before = set(threading.enumerate())
    measure(program, of(MUTE), limit_s=1).check()
    assert set(threading.enumerate()) <= before
