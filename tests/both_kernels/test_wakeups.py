"""Several sleep for one thing: which of them does an event wake, on either kernel?

They ask for a look only (MSG_PEEK) or never fetch what they were told of, so that whoever is woken
says so, and one that gets in first takes nothing away from the others.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest

from iosim import Timeline, clients, measure, simulate, traffic
from iosim.calls import (
    EPOLL_CTL_ADD,
    EPOLLEXCLUSIVE,
    EPOLLIN,
    MSG_PEEK,
    Program,
    accept,
    epoll_create,
    epoll_ctl,
    epoll_wait,
    eventfd,
    ms,
    pipe,
    poll,
    pthread_create,
    pthread_join,
    read,
    recvfrom,
    select,
    sleep,
    write,
)

SLEEPERS = 4
Wait = Callable[[int], Program]
ALL, ONE = SLEEPERS, 1
KERNELS = [
    simulate,
    pytest.param(measure, marks=pytest.mark.skipif(sys.platform != "linux", reason="Linux only")),
]


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
    """Until the first client leaves: when all sleep again, the second one's coming is over."""
    first = yield accept(listener)
    yield from asleep(listener, waits, woken)
    yield select([first])


def sleep_on_messages(fds: list[int], nbytes: int, waits: list[Wait], woken: list[str]) -> Program:
    """The second descriptor's message comes when all sleep again, and ends it."""
    yield from asleep(fds[0], waits, woken)
    yield select([fds[1]])


LEAVES = clients.script(("until", ms(40)), at_ms=5)
COMES = clients.script(("until", ms(9_000)), at_ms=20)


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
        ([in_exclusive_epoll, in_accept, in_poll, in_epoll], 3),
    ],
    ids=lambda value: "-".join(wait.__name__ for wait in value) if isinstance(value, list) else "",
)
def test_whom_a_connection_wakes(
    run: Callable[..., Timeline], waits: list[Wait], woken: int
) -> None:
    """accept(2) sleeps in a line, and so does EPOLLEXCLUSIVE (epoll_ctl(2)): one line for both."""
    told: list[str] = []
    story = clients.of(LEAVES, COMES).in_step()
    run(sleep_on_a_listener, story, waits=waits, woken=told)
    assert len(told) == woken


@pytest.mark.parametrize("run", KERNELS)
@pytest.mark.parametrize(("transport", "woken"), [("udp", ONE), ("tcp", ALL)])
@pytest.mark.parametrize("wait", [in_receive, in_poll])
def test_whom_a_message_wakes(
    run: Callable[..., Timeline], transport: Any, woken: int, wait: Wait
) -> None:
    """A receive of datagrams sleeps in a line, one on a stream and poll do not."""
    told: list[str] = []
    story = traffic.replay([(ms(20), 10, 0), (ms(40), 10, 1)]).over(transport).in_step()
    run(sleep_on_messages, story, waits=[wait] * SLEEPERS, woken=told)
    assert len(told) == (woken if wait is in_receive else ALL)


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
    naps = [
        i for i in run.intervals
        if i.state == "sleeping" and i.call is not None and i.call.name == "read"
    ]  # fmt: skip
    assert len(naps) == woken
