"""Pipes, event counters, read(2) and write(2): each rule on both kernels."""

from __future__ import annotations

import sys
from collections.abc import Callable
from errno import EAGAIN, EBADF, EINVAL, EPIPE
from typing import Any

import pytest
from two_kernels import KERNELS, linux

from iosim import Timeline, measure, traffic
from iosim.calls import (
    EPOLL_CTL_ADD,
    EPOLLERR,
    EPOLLET,
    EPOLLHUP,
    EPOLLIN,
    EPOLLOUT,
    F_SETFL,
    F_SETOWN,
    MSG_PEEK,
    MSG_TRUNC,
    O_ASYNC,
    O_NONBLOCK,
    PIPE_BUF,
    SELF,
    SIGIO,
    Program,
    aio_error,
    aio_read,
    aio_return,
    close,
    epoll_create,
    epoll_ctl,
    epoll_wait,
    eventfd,
    fcntl,
    memfd_create,
    ms,
    pipe,
    poll,
    pthread_create,
    pthread_join,
    read,
    recvfrom,
    recvmsg,
    select,
    sigaction,
    sleep,
    write,
)

FULL = 65_536  # bytes of a pipe: pipe(7)
STORY = traffic.one(after_ms=1, size=100)


def errno_of(program: Program) -> Any:
    """The errno that a call ends with; 0 if it does not."""
    try:
        yield from program
    except OSError as error:
        return error.errno
    return 0


def does(request: Any) -> Program:
    return (yield request)


def fails(request: Any) -> Program:
    """The errno of one call."""
    return (yield from errno_of(does(request)))


def unblocked() -> Program:
    """A pipe whose ends are O_NONBLOCK."""
    r, w = yield pipe()
    for fd in (r, w):
        yield fcntl(fd, F_SETFL, O_NONBLOCK)
    return r, w


def three_readers(r: int, got: list[bytes]) -> Program:
    """Threads, each of which waits for a byte, and puts it into `got`."""

    def reader() -> Program:
        got.append((yield read(r, 1)))

    threads = []
    for _ in range(3):
        threads.append((yield pthread_create(reader())))
    return threads


def event(ready: Any) -> list[tuple[int, int]]:
    return [(int(fd), fd.events) for fd in ready]


# -- the rules ---------------------------------------------------------------------------------


def what_is_written_is_read(fd: int, nbytes: int) -> Program:
    r, w = yield pipe()
    assert r < w
    assert (yield write(w, b"hello")) == 5
    assert (yield write(w, memoryview(b", world"))) == 7
    assert (yield read(r, 3)) == b"hel"
    assert (yield read(r, 100)) == b"lo, world"


def its_end_is_told_once_nobody_writes(fd: int, nbytes: int) -> Program:
    r, w = yield pipe()
    yield write(w, b"x")
    yield close(w)
    assert event((yield poll({r: EPOLLIN}, 0))) == [(r, EPOLLIN | EPOLLHUP)]
    assert (yield read(r, 10)) == b"x"
    assert event((yield poll({r: EPOLLIN}, 0))) == [(r, EPOLLHUP)]
    assert (yield read(r, 10)) == (yield read(r, 10)) == b""


def nobody_reads(fd: int, nbytes: int) -> Program:
    r, w = yield pipe()
    yield close(r)
    assert event((yield poll({w: EPOLLOUT}, 0))) == [(w, EPOLLOUT | EPOLLERR)]
    assert (yield from fails(write(w, b"x"))) == EPIPE
    assert (yield write(w, b"")) == 0


def each_end_has_one_direction(fd: int, nbytes: int) -> Program:
    r, w = yield pipe()
    assert (yield from fails(read(w, 1))) == EBADF
    assert (yield from fails(write(r, b"x"))) == EBADF


def it_holds_16_pages(fd: int, nbytes: int) -> Program:
    r, w = yield from unblocked()
    assert (yield write(w, b"x" * 100_000)) == FULL
    assert (yield from fails(write(w, b"x"))) == EAGAIN
    assert event((yield poll({w: EPOLLOUT}, 0))) == []
    yield read(r, PIPE_BUF - 1)  # no page is free yet
    assert (yield from fails(write(w, b"x"))) == EAGAIN
    yield read(r, 1)
    assert event((yield poll({w: EPOLLOUT}, 0))) == [(w, EPOLLOUT)]
    assert (yield write(w, b"x" * 5_000)) == PIPE_BUF


def a_page_may_be_half_empty(fd: int, nbytes: int) -> Program:
    """A write begins in the last page only if its odd bytes fit there: fs/pipe.c."""
    r, w = yield from unblocked()
    sizes = [3_000] * 16
    for size in sizes:
        assert (yield write(w, b"x" * size)) == size
    assert (yield from fails(write(w, b"x" * 1_097))) == EAGAIN
    assert (yield write(w, b"x" * 1_096)) == 1_096
    assert len((yield read(r, 100_000))) == sum(sizes) + 1_096


def up_to_pipe_buf_bytes_stay_together(fd: int, nbytes: int) -> Program:
    _, w = yield from unblocked()
    yield write(w, b"x" * (FULL - 1_000))
    assert (yield from fails(write(w, b"y" * PIPE_BUF))) == EAGAIN
    assert (yield write(w, b"y" * 1_000)) == 1_000


def a_read_finds_nothing(fd: int, nbytes: int) -> Program:
    r, _ = yield from unblocked()
    assert (yield from fails(read(r, 1))) == EAGAIN


def a_thread_waits_for_a_byte(fd: int, nbytes: int) -> Program:
    """The self-pipe: who sleeps for descriptors is woken by another thread."""
    r, w = yield pipe()
    woken = []

    def sleeper() -> Program:
        woken.append(event((yield select([r], None))))
        woken.append((yield read(r, 10)))

    thread = yield pthread_create(sleeper())
    yield sleep(ms(2))
    yield write(w, b"!")
    yield pthread_join(thread)
    assert woken == [[(r, EPOLLIN)], b"!"]


def one_byte_wakes_one_reader(fd: int, nbytes: int) -> Program:
    r, w = yield pipe()
    got: list[bytes] = []
    threads = yield from three_readers(r, got)
    yield write(w, b"a")
    while not got:
        yield sleep(ms(1))
    assert got == [b"a"]
    yield write(w, b"bc")
    for thread in threads:
        yield pthread_join(thread)
    assert sorted(got) == [b"a", b"b", b"c"]


def the_end_wakes_all_readers(fd: int, nbytes: int) -> Program:
    r, w = yield pipe()
    got: list[bytes] = []
    threads = yield from three_readers(r, got)
    yield sleep(ms(2))
    yield close(w)
    for thread in threads:
        yield pthread_join(thread)
    assert got == [b"", b"", b""]


def a_write_waits_for_room(fd: int, nbytes: int) -> Program:
    r, w = yield pipe()
    wrote = []

    def writer() -> Program:
        wrote.append((yield write(w, b"x" * (FULL + 10))))

    thread = yield pthread_create(writer())
    yield sleep(ms(2))
    assert wrote == []
    assert len((yield read(r, FULL))) == FULL
    assert len((yield read(r, FULL))) == 10
    yield pthread_join(thread)
    assert wrote == [FULL + 10]


def who_waits_for_room_is_told_that_nobody_reads(fd: int, nbytes: int) -> Program:
    r, w = yield pipe()
    met = []

    def writer() -> Program:
        yield write(w, b"x" * FULL)
        met.append((yield from fails(write(w, b"y"))))

    thread = yield pthread_create(writer())
    while (yield poll({w: EPOLLOUT}, 0)):
        yield sleep(ms(1))
    yield close(r)
    yield pthread_join(thread)
    assert met == [EPIPE]


def edges(fd: int, nbytes: int) -> Program:
    """Each write tells an edge-triggered watcher anew; half a read does not."""
    r, w = yield pipe()
    watch = yield epoll_create()
    yield epoll_ctl(watch, EPOLL_CTL_ADD, r, EPOLLIN | EPOLLET)
    for _ in range(2):
        yield write(w, b"xy")
        assert event((yield epoll_wait(watch, 4, 0))) == [(r, EPOLLIN)]
        assert event((yield epoll_wait(watch, 4, 0))) == []
        yield read(r, 1)
        assert event((yield epoll_wait(watch, 4, 0))) == []


def a_signal_tells_of_data(fd: int, nbytes: int) -> Program:
    r, w = yield pipe()
    seen = []

    def handler(signo: int) -> Program:
        seen.append((yield read(r, 10)))

    yield sigaction(SIGIO, handler)
    yield fcntl(r, F_SETOWN, SELF)
    yield fcntl(r, F_SETFL, O_ASYNC | O_NONBLOCK)
    yield write(w, b"now")
    yield sleep(ms(1))
    assert seen == [b"now"]


def aio_reads_a_pipe(fd: int, nbytes: int) -> Program:
    r, w = yield pipe()
    block = yield aio_read(r, 10)
    yield write(w, b"later")
    while (yield aio_error(block)):
        yield sleep(ms(1))
    assert (yield aio_return(block)) == b"later"


def a_counter_counts(fd: int, nbytes: int) -> Program:
    counter = yield eventfd(3)
    assert (yield read(counter, 8)) == (3).to_bytes(8, sys.byteorder)
    for added in (4, 5):
        assert (yield write(counter, added.to_bytes(8, sys.byteorder))) == 8
    assert event((yield poll({counter: EPOLLIN | EPOLLOUT}, 0))) == [(counter, EPOLLIN | EPOLLOUT)]
    assert (yield read(counter, 100)) == (9).to_bytes(8, sys.byteorder)
    assert event((yield poll({counter: EPOLLIN | EPOLLOUT}, 0))) == [(counter, EPOLLOUT)]


def a_counter_has_bounds(fd: int, nbytes: int) -> Program:
    counter, most = (yield eventfd()), (1 << 64) - 2
    yield fcntl(counter, F_SETFL, O_NONBLOCK)
    assert (yield from fails(read(counter, 8))) == EAGAIN
    assert (yield from fails(read(counter, 7))) == EINVAL
    assert (yield from fails(write(counter, b"x" * 7))) == EINVAL
    assert (yield from fails(write(counter, b"\xff" * 8))) == EINVAL
    yield write(counter, most.to_bytes(8, sys.byteorder))
    assert event((yield poll({counter: EPOLLIN | EPOLLOUT}, 0))) == [(counter, EPOLLIN)]
    assert (yield from fails(write(counter, (1).to_bytes(8, sys.byteorder)))) == EAGAIN
    assert (yield write(counter, bytes(8))) == 8
    assert (yield read(counter, 8)) == most.to_bytes(8, sys.byteorder)


def a_write_waits_for_the_counter(fd: int, nbytes: int) -> Program:
    counter, most = (yield eventfd()), (1 << 64) - 2
    yield write(counter, most.to_bytes(8, sys.byteorder))

    def adder() -> Program:
        yield write(counter, (7).to_bytes(8, sys.byteorder))

    thread = yield pthread_create(adder())
    yield sleep(ms(2))
    yield read(counter, 8)
    yield pthread_join(thread)
    assert (yield read(counter, 8)) == (7).to_bytes(8, sys.byteorder)


def a_file_is_at_its_end(fd: int, nbytes: int) -> Program:
    file = yield memfd_create()
    assert (yield write(file, b"kept")) == 4
    assert (yield read(file, 10)) == b""


def what_has_no_bytes(fd: int, nbytes: int) -> Program:
    watch = yield epoll_create()
    assert (yield from fails(read(watch, 10))) == EINVAL
    assert (yield from fails(write(watch, b"x"))) == EINVAL
    assert (yield from fails(read(500, 10))) == EBADF


def a_socket_is_read_as_well(fd: int, nbytes: int) -> Program:
    assert (yield read(fd, 200)) == b"\x01" * 100


def a_longer_datagram_says_so(fd: int, nbytes: int) -> Program:
    assert (yield recvmsg(fd, 10, MSG_PEEK)) == (b"\x01" * 10, MSG_TRUNC)
    assert (yield recvmsg(fd, 100, MSG_PEEK)) == (b"\x01" * 100, 0)
    assert (yield recvfrom(fd, 10)) == b"\x01" * 10


RULES = [
    rule for name, rule in list(globals().items())
    if getattr(rule, "__code__", None) and rule.__code__.co_varnames[:2] == ("fd", "nbytes")
]  # fmt: skip


@pytest.mark.parametrize("run", KERNELS)
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_a_rule_holds(run: Callable[..., Timeline], rule: Callable[..., Program]) -> None:
    run(rule, STORY).check()


# -- what is shown, and what is refused --------------------------------------------------------


@pytest.mark.parametrize("run", KERNELS)
@pytest.mark.parametrize("receive", [recvfrom, recvmsg, read])
def test_each_way_to_receive_blocks_in_both_phases(
    run: Callable[..., Timeline], receive: Any
) -> None:
    """A receive that a table does not know must not be drawn as one that never waits."""

    def program(fd: int, nbytes: int) -> Program:
        yield receive(fd, 1_000)

    timeline = run(program, traffic.one(after_ms=20, size=1_000)).check()
    [call] = timeline.call_log
    assert (call.name, call.waits, call.nbytes) == (receive.__name__, True, 1_000)
    assert timeline.blocked("wait") > ms(10)
    assert timeline.blocked("copy") > 0
    assert timeline.deliveries[0].told == "return"


@linux
def test_nobody_waits_for_a_pipe_after_the_run() -> None:
    """Its threads are ended, whichever end they wait at."""

    def program(fd: int, nbytes: int) -> Program:
        r, w = yield pipe()
        full, counter = (yield pipe()), (yield eventfd())
        yield pthread_create(does(read(r, 1)))
        yield pthread_create(does(write(full[1], b"x" * 100_000)))
        yield pthread_create(does(read(counter, 8)))
        yield sleep(ms(5))
        assert w

    measure(program, STORY)


@pytest.mark.parametrize(
    ("make", "error", "line"),
    [
        (lambda: read(-1, 1), ValueError, "read: fd must be from 0 to"),
        (lambda: read(3, 0), ValueError, "read: size must be from 1 to"),
        (lambda: write(3, "text"), TypeError, "write: data must be bytes, got 'text'"),
        (lambda: eventfd(1 << 32), ValueError, "eventfd: initval must be from 0 to"),
        (lambda: recvmsg(3, 0), ValueError, "recvmsg: size must be from 1 to"),
    ],
)
def test_what_is_refused(make: Callable[[], Any], error: type, line: str) -> None:
    with pytest.raises(error, match=line):
        make()
