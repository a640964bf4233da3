"""Each price by itself: how often a program pays it, and in which state (own code, kernel, ready).

All other prices are 0, so that nothing else takes time but what the program computes.
"""

from __future__ import annotations

from typing import Any

import pytest

from iosim import Costs, clients, simulate, traffic
from iosim.calls import (
    EPOLL_CTL_ADD,
    F_SETFL,
    F_SETOWN,
    O_ASYNC,
    O_NONBLOCK,
    SELF,
    SIGIO,
    Program,
    accept,
    close,
    compute,
    epoll_create,
    epoll_ctl,
    epoll_wait,
    fcntl,
    getpid,
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
    sigaction,
)
from iosim.trace import KERNEL, READY, USER

PRICE, WORK = 1_000, ms(60)
NAMES = [name for name in Costs.names() if name != "time_slice"]
FREE = dict.fromkeys(NAMES, 0)


def thread() -> Program:
    yield getpid()


def server(listener: int, clients: int) -> Program:
    """15 calls, 12 kinds of them and getpid in the thread; it sleeps in three."""
    epfd = yield epoll_create()
    yield epoll_ctl(epfd, EPOLL_CTL_ADD, listener)
    yield epoll_wait(epfd)
    conn = yield accept(listener)
    yield select([conn, listener])
    data = yield recvfrom(conn, 100)
    yield fcntl(conn, F_SETFL, O_NONBLOCK)
    with pytest.raises(BlockingIOError):
        yield recvfrom(conn, 100)
    yield send(conn, data)
    yield poll([conn])
    assert (yield recvfrom(conn, 100)) == b""
    yield compute(WORK)
    yield pthread_join((yield pthread_create(thread())))
    yield close(conn)


SERVED = clients.of(
    clients.script((clients.WAIT, ms(10)), (clients.SEND, 30), (clients.RECEIVE, 30),
                   (clients.WAIT, ms(10)))
)  # fmt: skip
#: How often it is paid as own code, in the kernel, and in line for a core.
OF_SERVER = {
    "syscall": (0, 15, 0),
    "user": (15, 0, 0),
    "copy_base": (0, 2, 0),  # of a receive, of a send; not of an end
    "copy_per_byte": (0, 60, 0),
    "context_switch": (0, 0, 4),  # after three sleeps, and for the thread
    "select_per_fd": (0, 4, 0),  # two descriptors, before the sleep and after it
    "poll_per_fd": (0, 2, 0),
    "epoll_per_ready": (0, 1, 0),
    "eagain": (0, 1, 0),
    "step": (1, 0, 0),  # compute
    "start": (2, 0, 0),  # of the process, of the thread
    "first_call": (11, 0, 0),
    "cold_call": (0, 3, 0),
    "cold_user": (3, 0, 0),
    "user_per_byte": (30, 0, 0),
    "accept": (0, 1, 0),
    "send": (0, 1, 0),
    "clone": (0, 1, 0),
    "user_per_fd": (3, 0, 0),  # it lists two for select, one for poll, and nothing else
    "queue_per_fd": (0, 3, 0),  # into three queues and out of them
}


def handler(signo: int) -> Program:
    yield getpid()


def reader(fds: list[int], nbytes: int) -> Program:
    """10 calls, the handler's among them; it sleeps in both receives."""
    yield getpid()
    yield recvfrom(fds[0], 100)
    yield getpid()
    yield recvfrom(fds[0], 100)
    ring = yield io_uring_setup()
    yield io_uring_submit(ring, fds[1], 100)
    yield sigaction(SIGIO, handler)
    yield fcntl(fds[0], F_SETOWN, SELF)
    yield fcntl(fds[0], F_SETFL, O_ASYNC)
    yield compute(WORK)
    yield io_uring_peek_cqe(ring)


READ = traffic.replay([(ms(10), 10, 0), (ms(20), 10, 0), (ms(30), 10, 1), (ms(40), 10, 0)])
OF_READER = {
    "syscall": (0, 10, 0),
    "user": (10, 0, 0),
    "copy_base": (0, 3, 0),  # the ring's as well
    "copy_per_byte": (0, 30, 0),
    "context_switch": (0, 0, 2),
    "signal_delivery": (0, 1, 0),
    "step": (2, 0, 0),  # compute, and a look into the ring
    "start": (1, 0, 0),
    "first_call": (5, 0, 0),
    "cold_receive": (0, 2, 0),
    "cold_user": (2, 0, 0),
    "cold_code": (3, 0, 0),  # the second recvfrom, the handler's getpid, the look
    "user_per_byte": (20, 0, 0),
    "submission": (0, 1, 0),
    "completion": (0, 1, 0),
}


def rings(listener: int, clients: int) -> Program:
    """4 calls, of two kinds; of the three that wait it sleeps in one, for the data."""
    ring = yield io_uring_setup()
    yield compute(WORK)
    yield io_uring_prep_accept(ring, listener)
    [(_, _, conn)] = yield io_uring_submit_and_wait(ring)
    yield io_uring_prep_recv(ring, conn, 100)
    [(_, _, data)] = yield io_uring_submit_and_wait(ring)
    yield io_uring_prep_send(ring, conn, data)
    assert (yield io_uring_submit_and_wait(ring)) == [(io_uring_prep_send, conn, 30)]


TO_RINGS = clients.of(
    clients.script((clients.WAIT, ms(90)), (clients.SEND, 30), (clients.RECEIVE, 30))
)
OF_RINGS = {
    "syscall": (0, 4, 0),
    "user": (4, 0, 0),
    "copy_base": (0, 2, 0),
    "copy_per_byte": (0, 60, 0),
    "context_switch": (0, 0, 1),
    "step": (4, 0, 0),  # compute, and three entries of the ring
    "start": (1, 0, 0),
    "first_call": (1, 0, 0),
    "cold_call": (0, 1, 0),
    "cold_user": (1, 0, 0),
    "cold_code": (3, 0, 0),  # each entry is the first of its kind
    "user_per_byte": (30, 0, 0),
    "submission": (0, 3, 0),
    "accept": (0, 1, 0),
    "send": (0, 1, 0),
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("program", "story", "paid"),
    [(server, SERVED, OF_SERVER), (reader, READ, OF_READER), (rings, TO_RINGS, OF_RINGS)],
    ids=["server", "reader", "rings"],
)
def test_a_price_is_paid_where_and_as_often_as_it_is_due(
    program: Any, story: Any, paid: dict[str, tuple[int, int, int]], name: str
) -> None:
    run = simulate(program, story, costs=Costs(**FREE | {name: PRICE}), cores=2).check()
    user, kernel, in_line = (run.time_in(state) for state in (USER, KERNEL, READY))
    times = tuple(ns / PRICE for ns in (user - WORK, kernel, in_line))
    assert times == paid.get(name, (0, 0, 0))
