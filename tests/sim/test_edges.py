"""At the edge of a bound things still work: buffers of a byte, empty queues, flags that combine."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from errno import (
    EAGAIN,
    EALREADY,
    EBADF,
    ECONNREFUSED,
    EINPROGRESS,
    EINVAL,
    EMFILE,
    ENOTCONN,
    EPIPE,
    ETIMEDOUT,
)
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iosim import Costs, clients, futures, jobs, models, pools, servers, simulate, traffic
from iosim.calls import (
    EPOLL_CTL_ADD,
    EPOLL_CTL_MOD,
    EPOLLERR,
    EPOLLET,
    EPOLLHUP,
    EPOLLIN,
    EPOLLONESHOT,
    EPOLLOUT,
    F_SETFL,
    MSG_DONTWAIT,
    MSG_PEEK,
    MSG_TRUNC,
    O_ASYNC,
    O_NONBLOCK,
    SHUT_RD,
    SHUT_RDWR,
    SHUT_WR,
    Program,
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
    io_uring_enter,
    io_uring_setup,
    io_uring_submit,
    kevent,
    kqueue,
    listen,
    ms,
    poll,
    pthread_create,
    pthread_join,
    read,
    recvfrom,
    recvmsg,
    send,
    shutdown,
    sleep,
    socket,
    write,
)
from iosim.sim.simulate import over_traffic
from iosim.trace import COPY, SLEEPING

HOUR_MS = 3_600_000.0
ONE = traffic.one(after_ms=20, size=1_000)
LEAST = clients.of(clients.echo(2, size=3))
JOB = jobs.computing(1)

#: Each bound of a story or of a run, by the word that a refusal begins with and where it is: the
#: least that works, the most (None: it takes too long), and the step beyond.
BOUNDS: dict[str, tuple[Callable[[Any], Any], float, float | None, float]] = {
    "time: of a message": (lambda n: traffic.one(n), 0, HOUR_MS, 1),
    "size: of a message": (lambda n: traffic.one(0, n), 1, 65_507, 1),
    "size: of one on a stream": (lambda n: traffic.one(0, n, "tcp"), 1, 64 << 20, 1),
    "connection: of a message": (lambda n: traffic.Message(0, 1, n), 0, 1_000_000, 1),
    "count: several messages": (lambda n: traffic.several(n), 1, None, 1),
    "count: a burst": (lambda n: traffic.burst(n), 1, None, 1),
    "count: poisson": (lambda n: traffic.poisson(n, seed=0), 1, None, 1),
    "connections: of several": (lambda n: traffic.several(2, connections=n), 1, 1_000_000, 1),
    "connections: of a burst": (lambda n: traffic.burst(2, connections=n), 1, 1_000_000, 1),
    "connections: of poisson": (lambda n: traffic.poisson(2, seed=0, connections=n), 1, 10**6, 1),
    "seed": (lambda n: traffic.poisson(2, seed=n), 0, (1 << 63) - 1, 1),
    "rate_per_s": (lambda n: traffic.poisson(1, n, seed=0), 1e-3, 1e9, 1e-9),
    "a job's steps": (lambda n: jobs.Job((("wait", 1),) * n), 1, 1_000, 1),
    "wait: ns: of a job": (lambda n: jobs.Job((("wait", n),)), 1, 3_600 * 10**9, 1),
    "time: of a job": (lambda n: jobs.waiting(n), 1e-6, HOUR_MS, 1e-7),
    "jobs": (lambda n: jobs.of(*[JOB] * n), 1, 10_000, 1),
    "count: several jobs": (lambda n: jobs.several(n, JOB), 1, 10_000, 1),
    "kinds of jobs": (lambda n: jobs.several(3, [JOB] * n), 1, 10_000, 1),
    "time: of a client": (lambda n: clients.script(at_ms=n), 0, HOUR_MS, 1),
    "a client's rcvbuf": (lambda n: clients.script(rcvbuf=n), 1, 1 << 30, 1),
    "send": (lambda n: clients.script((clients.SEND, n)), 1, 64 << 20, 1),
    "receive": (lambda n: clients.script((clients.RECEIVE, n)), 1, 64 << 20, 1),
    "wait: of a client": (lambda n: clients.script((clients.WAIT, n)), 0, 3_600 * 10**9, 1),
    "until": (lambda n: clients.script((clients.UNTIL, n)), 0, 3_600 * 10**9, 1),
    "after": (lambda n: clients.script((clients.AFTER, n)), 0, 10**9, 1),
    "shutdown": (lambda n: clients.script((clients.SHUTDOWN, n)), 0, 0, 1),
    "count: echoes": (lambda n: clients.echo(n), 1, 3_333, 1),
    "clients": (lambda n: clients.of(*[clients.script()] * n), 1, 100_000, 1),
    "count: several clients": (lambda n: clients.several(n, clients.script()), 1, 100_000, 1),
    "kinds of clients": (lambda n: clients.several(1, [clients.script()] * n), 1, 100_000, 1),
    "connections: paced": (lambda n: clients.paced(n, 1), 1, 100_000, 1),
    "messages: paced": (lambda n: clients.paced(1, n), 1, None, 1),
    "cores": (lambda n: simulate(models.blocking, ONE, cores=n), 1, 1_024, 1),
    "rcvbuf": (lambda n: simulate(models.blocking, ONE.over("tcp"), rcvbuf=n), 1, 1 << 30, 1),
    "rcvbuf: of a server": (lambda n: simulate(servers.iterative, LEAST, rcvbuf=n), 1, 1 << 30, 1),
    "sndbuf": (lambda n: simulate(servers.iterative, LEAST, sndbuf=n), 1, 1 << 30, 1),
    "backlog": (lambda n: simulate(servers.iterative, LEAST, backlog=n), 0, 4_096, 1),
    "nofile": (lambda n: simulate(servers.iterative, LEAST, nofile=n), 1, 1 << 20, 2),
    "workers": (lambda n: simulate(pools.apply, jobs.of(JOB), workers=n), 1, 61, 1),
    "switch_interval": (
        lambda n: simulate(pools.apply, jobs.of(JOB), switch_interval=n), 1, 3_600 * 10**9, 1,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BOUNDS)
def test_a_bound_works_at_its_edge_and_is_refused_beyond_it(name: str) -> None:
    make, least, most, step = BOUNDS[name]
    words = f"^{name.rpartition(': ')[0] or name}.* must be from"
    make(least)
    with pytest.raises(ValueError, match=words):
        make(least - step)
    if most is not None:
        make(most)
        with pytest.raises(ValueError, match=words):
            make(math.nextafter(most, math.inf) if step < 1 else most + step)


@given(
    sizes=st.lists(st.integers(1, 30), min_size=1, max_size=4),
    sndbuf=st.integers(1, 40), rcvbuf=st.integers(1, 40), theirs=st.integers(1, 40),
    server=st.sampled_from([servers.iterative, servers.thread_per_connection]),
)  # fmt: skip
def test_an_echo_comes_back_whole_through_buffers_of_any_size(
    sizes: list[int], sndbuf: int, rcvbuf: int, theirs: int, server: Any
) -> None:
    steps = [step for n in sizes for step in ((clients.SEND, n), (clients.RECEIVE, n))]
    story = clients.of(clients.script(*steps, rcvbuf=theirs), clients.script(*steps))
    run = simulate(server, story, sndbuf=sndbuf, rcvbuf=rcvbuf).check()
    for visit in run.visits:
        assert (visit.sent, visit.received) == (sum(sizes), sum(sizes))
        assert (visit.end, visit.garbled, len(visit.answered)) == ("", False, len(sizes))


def over(program: Any, story: traffic.Traffic = ONE) -> list[tuple[str, int | None]]:
    return simulate(program, story).check().calls()


def test_flags_of_a_receive_combine() -> None:
    """To look without waiting takes nothing; and nothing there is EAGAIN, also for a look."""

    def program(fd: int, nbytes: int) -> Program:
        both = MSG_PEEK | MSG_DONTWAIT
        with pytest.raises(BlockingIOError):
            yield recvfrom(fd, 10, both)
        yield sleep(ms(30))
        assert (yield recvmsg(fd, 10, both)) == (b"\x01" * 10, MSG_TRUNC)
        assert (yield recvmsg(fd, 1_000, both)) == (b"\x01" * 1_000, 0)
        assert (yield recvmsg(fd, 999)) == (b"\x01" * 999, MSG_TRUNC)
        with pytest.raises(BlockingIOError):
            yield recvmsg(fd, 10, both)

    errnos = [errno for _, errno in over(program)]
    assert errnos == [EAGAIN, None, None, None, None, EAGAIN]


def test_flags_of_a_descriptor_combine_and_each_is_set_anew() -> None:
    def program(fd: int, nbytes: int) -> Program:
        yield fcntl(fd, F_SETFL, O_NONBLOCK | O_ASYNC)
        with pytest.raises(BlockingIOError):
            yield recvfrom(fd, 10)
        yield fcntl(fd, F_SETFL, O_ASYNC)  # O_NONBLOCK is gone; no owner, no signal
        assert len((yield recvfrom(fd, 10))) == 10

    over(program)


def test_an_edge_that_is_shot_once_is_told_once_until_it_is_armed_again() -> None:
    replies: list[list[int]] = []

    def program(fd: int, nbytes: int) -> Program:
        epfd = yield epoll_create()
        yield epoll_ctl(epfd, EPOLL_CTL_ADD, fd, EPOLLIN | EPOLLOUT | EPOLLET | EPOLLONESHOT)
        ready = yield epoll_wait(epfd)
        assert ready[0].events == EPOLLOUT  # nothing has come yet
        replies.append((yield epoll_wait(epfd, timeout=ms(30))))  # one came, it is spent
        yield epoll_ctl(epfd, EPOLL_CTL_MOD, fd, EPOLLIN | EPOLLET)
        replies.append((yield epoll_wait(epfd, timeout=0)))
        replies.append((yield epoll_wait(epfd, timeout=0)))  # an edge: not told again
        yield epoll_ctl(epfd, EPOLL_CTL_MOD, fd, EPOLLIN)
        replies.append((yield epoll_wait(epfd, timeout=0)))
        replies.append((yield epoll_wait(epfd, timeout=0)))  # a level is

    over(program)
    assert replies == [[], [3], [], [3], [3]]


def test_more_are_ready_than_are_asked_for_and_all_get_their_turn() -> None:
    turns: list[list[int]] = []

    def program(fds: list[int], nbytes: int) -> Program:
        epfd = yield epoll_create()
        for fd in fds:
            yield epoll_ctl(epfd, EPOLL_CTL_ADD, fd)
        yield sleep(ms(30))
        for most in (1, 1, 1, 2, 2, 3, 4):
            turns.append((yield epoll_wait(epfd, most)))

    over(program, traffic.burst(3, connections=3))
    assert turns == [[3], [4], [5], [3, 4], [5, 3], [4, 5, 3], [4, 5, 3]]


@pytest.mark.parametrize("how", [SHUT_RD, SHUT_WR, SHUT_RDWR])
def test_a_socket_that_is_not_connected_is_shut_all_the_same(how: int) -> None:
    """ENOTCONN says so, and poll tells what was done: shutdown(2), inet_shutdown."""

    def program(fd: int, nbytes: int) -> Program:
        end = yield socket()
        [before] = yield poll({end: EPOLLIN | EPOLLOUT}, 0)
        with pytest.raises(OSError) as caught:
            yield shutdown(end, how)
        assert caught.value.errno == ENOTCONN
        [after] = yield poll({end: EPOLLIN | EPOLLOUT}, 0)
        assert before.events == EPOLLOUT | EPOLLHUP
        assert after.events == before.events | (0 if how == SHUT_WR else EPOLLIN)
        if how != SHUT_WR:
            assert (yield recvfrom(end, 1)) == b""
        else:
            with pytest.raises(OSError) as caught:
                yield recvfrom(end, 1)
            assert caught.value.errno == ENOTCONN
        with pytest.raises(OSError) as caught:
            yield send(end, b"x")
        assert caught.value.errno == EPIPE

    over(program)


def test_nothing_is_sent_at_once_and_received_as_nothing() -> None:
    """send(2) of no bytes replies 0, also where the buffer is full; the peer hears nothing."""
    replies: list[Any] = []

    def peer(listener: int) -> Program:
        conn = yield accept(listener)
        replies.append((yield send(conn, b"")))
        with pytest.raises(BlockingIOError):
            yield recvfrom(conn, 1, MSG_DONTWAIT)
        replies.append((yield recvfrom(conn, 9)))
        yield close(conn)

    def program(fd: int, nbytes: int) -> Program:
        listener, end = (yield socket()), (yield socket())
        yield listen(listener, 0)
        thread = yield pthread_create(peer(listener))
        yield connect(end, (yield getsockname(listener)))
        replies.append((yield send(end, b"")))
        yield sleep(ms(30))
        replies.append((yield send(end, memoryview(b"12"))))
        replies.append((yield recvfrom(end, 9)))
        yield pthread_join(thread)

    over(program)
    assert sorted(map(str, replies)) == sorted(map(str, [0, 0, 2, b"12", b""]))


def test_a_counter_works_up_to_its_last_number() -> None:
    most = (1 << 64) - 2

    def eight(number: int) -> bytes:
        return number.to_bytes(8, sys.byteorder)

    def program(fd: int, nbytes: int) -> Program:
        counter = yield eventfd(0)
        yield fcntl(counter, F_SETFL, O_NONBLOCK)
        with pytest.raises(OSError) as caught:
            yield write(counter, eight(most + 1))
        assert caught.value.errno == EINVAL
        assert (yield write(counter, eight(most - 1))) == 8
        [ready] = yield poll({counter: EPOLLIN | EPOLLOUT}, 0)
        assert ready.events == EPOLLIN | EPOLLOUT
        with pytest.raises(BlockingIOError):
            yield write(counter, eight(2))
        assert (yield write(counter, eight(1))) == 8
        [ready] = yield poll({counter: EPOLLIN | EPOLLOUT}, 0)
        assert ready.events == EPOLLIN
        assert (yield write(counter, eight(0))) == 8
        with pytest.raises(OSError) as caught:
            yield read(counter, 7)
        assert caught.value.errno == EINVAL
        assert (yield read(counter, 8)) == eight(most)
        with pytest.raises(BlockingIOError):
            yield read(counter, 8)

    over(program)


def test_the_last_descriptor_is_given_and_the_next_is_not() -> None:
    """`nofile` counts what is open besides the listener; a number that is free is taken again."""

    def program(listener: int, clients: int) -> Program:
        first, second = (yield socket()), (yield socket())
        for make in (socket(), epoll_create(), eventfd(0)):
            with pytest.raises(OSError) as caught:
                yield make
            assert caught.value.errno == EMFILE
        yield close(first)
        assert (yield epoll_create()) == first
        assert second == first + 1

    simulate(program, clients.of(clients.script()), nofile=2).check()


# -- what was closed, or is full ---------------------------------------------------------------


def test_who_is_never_answered_gives_up_after_131_seconds() -> None:
    """tcp_syn_retries = 6, and tcp_syn_linear_timeouts = 4 more, a second apart."""

    def program(fd: int, nbytes: int) -> Program:
        listener, first, second = (yield socket()), (yield socket()), (yield socket())
        yield listen(listener, 0)
        port = yield getsockname(listener)
        yield connect(first, port)  # the queue of 0 holds one
        with pytest.raises(TimeoutError):
            yield connect(second, port)

    run = simulate(program, ONE).check()
    first, second = (call for call in run.call_log if call.name == "connect")
    begun, over = second.start + 500_000, second.end
    asleep = sum(i.duration for i in run.intervals if i.call is second and i.state == SLEEPING)
    assert (first.errno, second.errno) == (None, ETIMEDOUT)
    assert asleep == 131 * 10**9 + 300_000  # and the wake-up
    assert over - begun == asleep + 300_000  # and the switch


def test_a_listener_that_is_closed_or_shut_refuses_and_resets_who_stands_in_its_queue() -> None:
    def program(fd: int, nbytes: int) -> Program:
        for end_it in (close, lambda fd: shutdown(fd, SHUT_RD)):
            listener, first, second = (yield socket()), (yield socket()), (yield socket())
            yield listen(listener)
            port = yield getsockname(listener)
            yield connect(first, port)
            yield end_it(listener)
            with pytest.raises(ConnectionRefusedError):
                yield connect(second, port)
            yield sleep(ms(10))
            with pytest.raises(ConnectionResetError):
                yield recvfrom(first, 1)

    over(program)


def test_what_a_ring_had_under_way_is_called_off_when_it_is_closed() -> None:
    """The message that it waited for is there for a receive; another ring's goes on."""

    def program(fd: int, nbytes: int) -> Program:
        ring, other = (yield io_uring_setup()), (yield io_uring_setup())
        yield io_uring_submit(ring, fd, 100)
        yield io_uring_submit(other, fd, 100)
        yield close(ring)
        assert (yield io_uring_enter(other)) == b"\x01" * 10
        assert (yield recvfrom(fd, 100)) == b"\x02" * 10

    over(program, traffic.several(2, size=10))


def test_what_a_closed_list_watched_is_watched_no_more() -> None:
    """Nothing is kept for it; and who closes first a descriptor, then the list, may do so."""
    kernel = over_traffic(traffic.several(2, connections=2))

    def program() -> Program:
        epfd = yield epoll_create()
        for fd in (3, 4):
            yield epoll_ctl(epfd, EPOLL_CTL_ADD, fd)
        yield close(3)
        yield close(epfd)
        yield sleep(ms(60))

    kernel.spawn("process", program())
    kernel.run()
    assert kernel.table.open[4].watches == ()


def test_kqueue_watches_what_it_was_once_told_and_its_time_out_holds() -> None:
    replies: list[list[int]] = []

    def program(fds: list[int], nbytes: int) -> Program:
        with pytest.raises(OSError) as caught:
            yield kevent(fds[0])
        assert caught.value.errno == EINVAL
        kq = yield kqueue()
        with pytest.raises(OSError) as caught:
            yield kevent(kq, (99,))
        assert caught.value.errno == EBADF
        replies.append((yield kevent(kq, (fds[0],), timeout=ms(1))))
        replies.append((yield kevent(kq, (fds[0], fds[1]), timeout=0)))
        yield sleep(ms(30))
        for most in (1, 1, 2):
            replies.append((yield kevent(kq, nevents=most)))
        yield recvfrom(fds[0], 10)
        replies.append((yield kevent(kq)))

    over(program, traffic.burst(3, connections=3))
    assert replies == [[], [], [3], [4], [3, 4], [4]]


# -- who gave up, who stands in line, and what came in parts -----------------------------------


def test_who_gave_up_waiting_stands_in_no_line_and_takes_nobody_s_turn() -> None:
    """Of those that wait for one list the first is woken: not who left it, and sleeps elsewhere."""
    replies: list[tuple[str, list[int]]] = []

    def first(epfd: int) -> Program:
        replies.append(("first", (yield epoll_wait(epfd, timeout=ms(5)))))
        yield sleep(ms(100))
        replies.append(("first", (yield epoll_wait(epfd, timeout=0))))

    def program(fd: int, nbytes: int) -> Program:
        epfd = yield epoll_create()
        yield epoll_ctl(epfd, EPOLL_CTL_ADD, fd)
        thread = yield pthread_create(first(epfd))
        yield sleep(ms(2))  # the thread came first
        replies.append(("second", (yield epoll_wait(epfd, timeout=ms(60)))))
        yield recvfrom(fd, 100)
        yield pthread_join(thread)

    run = simulate(program, ONE, cores=2).check()
    assert replies == [("first", []), ("second", [3]), ("first", [])]
    (waited,) = (c for c in run.call_log if c.name == "epoll_wait" and c.process == "process")
    assert waited.end < ms(25)
    naps = [i for i in run.lane("thread 1") if i.state == SLEEPING and i.call is not None]
    assert [i.call.name for i in naps if i.call] == ["epoll_wait", "sleep"]


def test_parts_of_a_message_that_lie_there_are_one_copy() -> None:
    """100,000 bytes of a client come in two segments, and are received at once, after 10 bytes."""

    def server(listener: int, clients: int) -> Program:
        conn = yield accept(listener)
        yield sleep(ms(50))
        assert len((yield recvfrom(conn, 4))) == 4
        assert len((yield recvfrom(conn, 1 << 20))) == 100_006 + 7

    sends = [(clients.SEND, size) for size in (10, 100_000, 7)]
    run = simulate(server, clients.of(clients.script(*sends))).check()
    copies = [(i.message, i.call.nbytes if i.call else 0) for i in run.intervals if i.state == COPY]
    assert sorted(copies) == [(1, 4), (1, 100_013), (2, 100_013), (3, 100_013)]


def test_each_look_at_a_future_is_taken_down_and_is_no_call() -> None:
    seen: list[bool] = []

    def program(jobs: Any) -> Program:
        future = yield futures.submit(1)
        for nap in (1, 5, 30, 1):
            yield sleep(ms(nap))
            seen.append((yield futures.done(future)))

    run = simulate(program, jobs.of(jobs.waiting(20))).check()
    assert seen == [False, False, True, True]
    looks = [c for c in run.call_log if c.name == "done"]
    assert [(c.trap, c.end - c.start) for c in looks] == [(False, 0)] * 4
    assert run.outcomes[0].told == "check"


def test_a_connect_that_was_refused_is_an_error_until_it_is_fetched_once() -> None:
    def program(fd: int, nbytes: int) -> Program:
        listener, end, other = (yield socket()), (yield socket()), (yield socket())
        yield listen(listener)
        port = yield getsockname(listener)
        yield close(listener)
        yield fcntl(end, F_SETFL, O_NONBLOCK)
        with pytest.raises(BlockingIOError) as caught:
            yield connect(end, port)
        assert caught.value.errno == EINPROGRESS
        for again, errno in ((connect(end, port), EALREADY), (listen(end), EINVAL)):
            with pytest.raises(OSError) as caught:
                yield again
            assert caught.value.errno == errno
        assert (yield poll([end], 0)) == []
        [ready] = yield poll([end], ms(10))
        assert ready.events == EPOLLIN | EPOLLERR | EPOLLHUP
        assert (yield getsockopt(end)) == ECONNREFUSED
        assert (yield getsockopt(end)) == 0
        [ready] = yield poll({end: EPOLLIN | EPOLLOUT}, 0)
        assert ready.events == EPOLLIN | EPOLLOUT | EPOLLHUP
        with pytest.raises(ConnectionRefusedError):
            yield connect(other, port)
        [ready] = yield poll({other: EPOLLIN | EPOLLOUT}, 0)
        assert ready.events == EPOLLOUT | EPOLLHUP  # as socket(2) made it

    simulate(program, ONE, costs=Costs.typical()).check()


def test_who_gives_up_does_so_after_5_ms() -> None:
    run = simulate(pools.give_up, jobs.of(jobs.waiting(20)))
    (asked,) = (call for call in run.call_log if call.name == "result")
    [slept] = [i.duration for i in run.intervals if i.call is asked and i.state == SLEEPING]
    assert slept == ms(5) + 50_000 + 300_000  # the timer's slack, and the wake-up


def test_a_callback_hands_each_value_on_once_and_in_the_order_of_its_call() -> None:
    handed: list[int] = []
    story = jobs.of(jobs.waiting(30), jobs.waiting(10), jobs.waiting(20))
    run = simulate(pools.callback, story, workers=3, cores=4, then=handed.append).check()
    assert handed == [2, 3, 1]
    assert {outcome.told for outcome in run.outcomes} == {"callback"}
    for outcome in run.outcomes:  # what a worker does for the program is a call of its own lane
        assert outcome.worker is not None
        assert (f"job {outcome.job}", None) in run.calls(outcome.worker)
