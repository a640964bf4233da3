"""Several sleep for one thing: which of them does an event wake, on either kernel?

They ask for a look only (MSG_PEEK) or never fetch what they were told of, so that whoever is woken
says so, and one that gets in first takes nothing away from the others.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from errno import EINVAL
from functools import partial
from typing import Any

import pytest
from two_kernels import KERNELS, LAZY

from iosim import Timeline, clients, simulate, traffic
from iosim.calls import (  # fmt: skip
    EPOLL_CTL_ADD,
    EPOLLEXCLUSIVE,
    EPOLLIN,
    F_SETFL,
    F_SETOWN,
    MSG_PEEK,
    O_ASYNC,
    O_NONBLOCK,
    SELF,
    SHUT_RD,
    SIGIO,
    Program,
    accept,
    close,
    compute,
    connect,
    epoll_create,
    epoll_ctl,
    epoll_wait,
    eventfd,
    fcntl,
    getsockname,
    io_uring_setup,
    io_uring_submit,
    listen,
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
    sigaction,
    sleep,
    socket,
    write,
)

SLEEPERS, TRIES = 4, 20
Wait = Callable[[int], Program]
ALL, ONE = SLEEPERS, 1


def in_accept(fd: int) -> Program:
    yield accept(fd)


def in_poll(fd: int) -> Program:
    yield poll([fd])


def in_select(fd: int) -> Program:
    yield select([fd])


def in_receive(fd: int) -> Program:
    yield recvfrom(fd, 100, MSG_PEEK)


def in_epoll(fd: int, events: int = EPOLLIN) -> Program:
    epfd = yield epoll_create()
    yield epoll_ctl(epfd, EPOLL_CTL_ADD, fd, events)
    yield epoll_wait(epfd)


def in_exclusive_epoll(fd: int) -> Program:
    yield from in_epoll(fd, EPOLLIN | EPOLLEXCLUSIVE)


def asleep(fd: int, waits: list[Wait], woken: list[str]) -> Program:
    """A thread for each of `waits`, which says so when it is woken."""

    def sleeper(wait: Wait) -> Program:
        yield from wait(fd)
        woken.append(wait.__name__)

    for wait in waits:
        yield pthread_create(sleeper(wait))


def sleep_on_a_listener(
    listener: int, clients: int, waits: list[Wait], woken: list[str]
) -> Program:
    """A client leaves when all sleep; one connects; another leaves when all sleep again."""
    first, second = (yield accept(listener)), (yield accept(listener))
    yield from asleep(listener, waits, woken)
    yield select([first])
    client = yield socket()
    yield connect(client, (yield getsockname(listener)))
    yield select([second])


def sleep_on_messages(fds: list[int], nbytes: int, waits: list[Wait], woken: list[str]) -> Program:
    """The second descriptor's message ends it."""
    yield from asleep(fds[0], waits, woken)
    yield select([fds[1]])


LEAVE = clients.of(clients.script(("until", ms(40))), clients.script(("until", ms(60)))).in_step()


@pytest.mark.parametrize("run", KERNELS)
@pytest.mark.parametrize(
    ("waits", "woken"),
    [
        ([in_accept] * SLEEPERS, ONE),
        ([in_poll] * SLEEPERS, ALL),
        ([in_select] * SLEEPERS, ALL),
        ([in_epoll] * SLEEPERS, ALL),
        ([in_exclusive_epoll] * SLEEPERS, ONE),
        ([in_accept, in_exclusive_epoll], ONE),
        ([in_exclusive_epoll, in_accept], ONE),
        ([in_exclusive_epoll, in_exclusive_epoll, in_poll, in_epoll], 3),
    ],
    ids=lambda value: "-".join(wait.__name__ for wait in value) if isinstance(value, list) else "",
)
def test_whom_a_connection_wakes(
    run: Callable[..., Timeline], waits: list[Wait], woken: int
) -> None:
    """accept(2) sleeps in a line, and so does EPOLLEXCLUSIVE (epoll_ctl(2)): one line for both."""
    told: list[str] = []
    run(sleep_on_a_listener, LEAVE, waits=waits, woken=told)
    assert len(told) == woken


def test_who_stands_first_in_line_is_woken_beside_all_others() -> None:
    """Simulated: on Linux nothing makes the order of threads, and an accept that is first takes the
    connection away from those who were told of it."""
    told: list[str] = []
    waits: list[Wait] = [in_exclusive_epoll, in_accept, in_poll, in_epoll]
    simulate(sleep_on_a_listener, LEAVE, waits=waits, woken=told)
    assert len(told) == 3


@pytest.mark.parametrize("run", KERNELS)
@pytest.mark.parametrize(("transport", "woken"), [("udp", ONE), ("tcp", ALL)])
@pytest.mark.parametrize("wait", [in_receive, in_poll])
def test_whom_a_message_wakes(
    run: Callable[..., Timeline], transport: Any, woken: int, wait: Wait
) -> None:
    """A receive of datagrams sleeps in a line, one on a stream and poll do not.

    Nothing holds the message back until all four sleep: a run in which one came too late to do so,
    which its lane tells, is made again.
    """
    story = traffic.replay([(ms(20), 10, 0), (ms(100), 10, 1)]).over(transport).in_step()
    for _ in range(TRIES):
        told: list[str] = []
        timeline = run(sleep_on_messages, story, waits=[wait] * SLEEPERS, woken=told)
        if all(naps(timeline)):
            break
    assert len(told) == (woken if wait is in_receive else ALL)


def naps(run: Timeline) -> list[int]:
    """How often each of its threads slept in a call."""
    return [
        sum(i.state == "sleeping" and i.call is not None for i in run.lane(thread))
        for thread in run.processes if thread != "process"
    ]  # fmt: skip


def sleep_on_bytes(fd: int, nbytes: int, counter: bool) -> Program:
    """Who is woken and finds nothing sleeps again, in the same read."""
    source, sink = ((yield eventfd(0)),) * 2 if counter else (yield pipe())
    threads = []
    for _ in range(SLEEPERS):
        threads.append((yield pthread_create(a_read(source))))
    for _ in range(SLEEPERS):
        yield sleep(ms(20))
        yield write(sink, (1).to_bytes(8, sys.byteorder))
    for thread in threads:
        yield pthread_join(thread)


def a_read(fd: int) -> Program:
    yield read(fd, 8)


@pytest.mark.parametrize(("counter", "woken"), [(False, SLEEPERS), (True, 4 + 3 + 2 + 1)])
def test_whom_a_write_wakes(counter: bool, woken: int) -> None:
    """A pipe's readers sleep in a line (pipe_read), an eventfd's do not (eventfd_read).

    Simulated: what the kernel counts as a switch has other reasons, too.  On Linux 6.18 one write
    switched 1 of 6 that slept for a pipe, and 6 of 6 for an eventfd.
    """
    run = simulate(sleep_on_bytes, traffic.one(after_ms=500), counter=counter)
    assert sum(naps(run)) == woken


# -- who has slept, and sleeps no more (simulated; Linux 6.18 told the same) ----------------------


def takes(fd: int, told: list[Any], name: str = "", late: int = 0) -> Program:
    if late:
        yield sleep(late)
    told.append((name, (yield recvfrom(fd, 100))[0]))


def armed(fds: list[int], handler: Callable[[int], Program]) -> Program:
    """SIGIO for what comes on the second descriptor."""
    yield sigaction(SIGIO, handler)
    yield fcntl(fds[1], F_SETOWN, SELF)
    yield fcntl(fds[1], F_SETFL, O_ASYNC)


def two_take(fds: list[int], nbytes: int, told: list[Any], nap: int, first: bool) -> Program:
    """This one's receive is interrupted, by a handler that takes `nap` ns."""

    def handler(signo: int) -> Program:
        yield sleep(nap) if nap else compute(ms(1))

    yield from armed(fds, handler)
    thread = yield pthread_create(takes(fds[0], told, "other", 0 if first else ms(10)))
    yield from takes(fds[0], told, "interrupted", ms(10) if first else 0)
    yield pthread_join(thread)


@pytest.mark.parametrize(
    ("story", "nap", "first", "outcome"),
    [
        ([(30, 1), (30.5, 0), (60, 0)], 0, True, [("interrupted", 2), ("other", 3)]),
        ([(30, 1), (60, 0), (200, 0)], ms(100), False, [("other", 2), ("interrupted", 3)]),
    ],
    ids=["who takes it awake leaves the line", "who is in a handler is passed over"],
)
def test_no_wake_up_is_swallowed_by_one_that_is_awake(
    story: list[tuple[float, int]], nap: int, first: bool, outcome: list[Any]
) -> None:
    """finish_wait; __wake_up_common goes on where try_to_wake_up finds one awake."""
    told: list[Any] = []
    messages = traffic.replay([(ms(at), 10, fd) for at, fd in story])
    simulate(two_take, messages, told=told, nap=nap, first=first)
    assert told == outcome


def wakes(fd: int, wait: Wait, told: list[Any]) -> Program:
    try:
        yield from wait(fd)
        told.append("woken")
    except OSError as error:
        told.append(error.errno)


def a_pipe_s_end(fd: int, nbytes: int, told: list[Any]) -> Program:
    """Two wait by one interest list, which is exclusive, and stands before a reader."""
    source, sink = yield pipe()
    epfd = yield epoll_create()
    yield epoll_ctl(epfd, EPOLL_CTL_ADD, source, EPOLLIN | EPOLLEXCLUSIVE)
    for place, wait in ((epfd, epoll_wait), (epfd, epoll_wait), (source, partial(read, size=8))):
        yield pthread_create(wakes(place, one_call(wait), told))
    yield sleep(ms(50))
    yield close(sink)
    yield sleep(ms(50))


def a_listener_s_end(fd: int, nbytes: int, told: list[Any]) -> Program:
    door = yield socket()
    yield listen(door)
    for _ in range(3):
        yield pthread_create(wakes(door, in_accept, told))
    yield sleep(ms(50))
    yield shutdown(door, SHUT_RD)
    yield sleep(ms(50))


def one_call(make: Callable[[int], Any]) -> Wait:
    def wait(fd: int) -> Program:
        yield make(fd)

    return wait


@pytest.mark.parametrize(
    ("program", "outcome"), [(a_pipe_s_end, ["woken"] * 3), (a_listener_s_end, [EINVAL] * 3)]
)
def test_an_end_wakes_everybody(program: Callable[..., Program], outcome: list[Any]) -> None:
    """pipe_release and sk_state_change: wake_up_interruptible_all."""
    told: list[Any] = []
    simulate(program, traffic.one(after_ms=500), told=told)
    assert told == outcome


def polls(ring: int, told: list[Any]) -> Program:
    told.append(len((yield poll([ring], timeout=ms(300)))))


def hands_in_what_is_there(fds: list[int], nbytes: int, flags: int, told: list[Any]) -> Program:
    ring = yield io_uring_setup(8, flags)
    thread = yield pthread_create(polls(ring, told))
    yield select([fds[1]])
    yield io_uring_submit(ring, fds[0], 9)
    yield pthread_join(thread)


def has_room_again(listener: int, clients: int, flags: int, told: list[Any]) -> Program:
    ring, conn = (yield io_uring_setup(8, flags)), (yield accept(listener))
    yield fcntl(conn, F_SETFL, O_NONBLOCK)
    yield io_uring_submit(ring, conn, 9)
    try:
        while True:
            yield send(conn, b"x" * 100_000)
    except BlockingIOError:
        yield from polls(ring, told)


@pytest.mark.parametrize("flags", [0, LAZY])
@pytest.mark.parametrize(
    ("program", "story", "ready"),
    [
        (hands_in_what_is_there, traffic.replay([(ms(30), 5, 0), (ms(60), 5, 1)]), 1),
        (has_room_again, clients.of(clients.script(("until", ms(100)), ("receive", 50_000),
                                                   ("until", ms(900)))), 0),
    ],
)  # fmt: skip
def test_a_ring_is_ready_when_a_completion_is_there_or_can_be(
    program: Callable[..., Program], story: Any, ready: int, flags: int
) -> None:
    """io_uring_poll; and io_poll_wake looks at what has changed."""
    told: list[Any] = []
    simulate(program, story, flags=flags, told=told)
    assert told == [ready]
