"""Two kernels, any program: they tell it the same, call by call, and its clients as well.

A difference is shrunk, and printed as a program that can be pasted.  `seeds` says how others are
drawn, and more of them.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from contextlib import redirect_stdout
from errno import EBADF, errorcode
from io import StringIO
from itertools import zip_longest
from typing import Any

import pytest
from hypothesis import HealthCheck, given, seed, settings
from seeds import PROGRAMS, SEED
from two_kernels import (
    ARMED,
    LAZY,
    MUCH,
    SINGLE,
    THREAD,
    TURN,
    Acts,
    Fd,
    Op,
    Port,
    Receiver,
    Told,
    acts_of_clients,
    acts_of_traffic,
    compared,
    linux,
    over_clients,
    over_traffic,
    pasted,
    story_of,
    told,
    traffic_of,
)  # fmt: skip

from iosim import clients, inconclusive, jobs, measure, simulate, traffic, undisturbed
from iosim.calls import (
    EPOLL_CTL_ADD,
    EPOLL_CTL_MOD,
    EPOLLET,
    EPOLLIN,
    EPOLLONESHOT,
    EPOLLOUT,
    EPOLLRDHUP,
    F_SETFL,
    F_SETOWN,
    IORING_SETUP_DEFER_TASKRUN,
    MSG_DONTWAIT,
    O_ASYNC,
    O_NONBLOCK,
    SELF,
    SIG_BLOCK,
    SIG_UNBLOCK,
    SIGIO,
    SO_RCVTIMEO,
    Program,
    fcntl,
    io_uring_prep_accept,
    io_uring_prep_recv,
    io_uring_prep_send,
    io_uring_setup,
    io_uring_submit_and_wait,
    recvfrom,
    sigaction,
)
from iosim.real.features import features
from iosim.sim.tcp import Stream
from iosim.workloads.clients import RECEIVE, SEND, Clients
from iosim.workloads.traffic import Traffic

pytestmark = linux


PRESENT = {name: there for name, there, _ in features()}


def agree(ops: Sequence[Op], story: Clients | Traffic) -> Told:
    """What both kernels say; AssertionError with the difference, if it was not the machine's."""
    simulated, first = compared(ops, story)
    if simulated.lines == first.lines:
        return simulated
    runs = [first]  # again where other work disturbed it, and only there
    real = undisturbed(lambda: runs.pop() if runs else compared(ops, story)[1])
    if simulated.lines != real.lines:
        pairs = zip_longest(simulated.lines, real.lines, fillvalue="nothing")
        ours, linux = next((s, r) for s, r in pairs if s != r)
        text = pasted(simulated.done, story)
        words = f"simulated {ours}\nmeasured {linux}\nIOSIM_SEED={SEED}\n\n{text}"
        if not inconclusive(real):
            raise AssertionError(words)
        print(words)
    return simulated


fresh = settings(
    max_examples=PROGRAMS, derandomize=False, database=None, report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip


@seed(SEED)
@fresh
@given(over_clients, acts_of_clients)
def test_they_agree_on_any_program_over_clients(ops: list[Op], acts: Acts) -> None:
    agree(ops, story_of(acts, ops))


@seed(SEED)
@fresh
@given(over_traffic, acts_of_traffic)
def test_they_agree_on_any_program_over_traffic(ops: list[Op], acts: tuple[str, Acts]) -> None:
    agree(ops, traffic_of(*acts, ops))


# -- what they did not agree on ----------------------------------------------------------------

ACCEPTED = Op("accept", (Fd(0),))  # fds[1]
TURNED = Op(TURN)
PREPARED = Op("io_uring_prep_recv", (Fd(2), Fd(1), 9))
QUIET: Acts = [[]]  # a client that only connects
SENDS: Acts = [[[(SEND, 10)]]]
SENDS_AND_RESETS: Acts = [[[(SEND, 10), ("reset", 0)]]]
SENDS_AND_CLOSES: Acts = [[[(SEND, 10), ("close", 0)]]]


def receive(fd: int, size: int = 100) -> Op:
    return Op("recvfrom", (Fd(fd), size, MSG_DONTWAIT))


def in_thread(name: str, *arguments: Any) -> Op:
    return Op(THREAD, (Op(name, arguments),))


def looked(fd: int) -> Op:
    return Op("poll", ({Fd(fd): EPOLLIN | EPOLLOUT}, 0))


FOUND: dict[str, tuple[list[Op], Acts, str]] = {
    "what lies there when the reset comes is received first": (
        [ACCEPTED, TURNED, receive(1, 4), receive(1), receive(1), receive(1)], SENDS_AND_RESETS,
        "recvfrom(fds[1], 100, 64): ECONNRESET",
    ),
    "what lies there when the other side has closed and is sent to": (
        [ACCEPTED, TURNED, Op("send", (Fd(1), b"x", 0)), receive(1), receive(1)],
        SENDS_AND_CLOSES, "recvfrom(fds[1], 100, 64): b''",
    ),
    "a listener that is shut is a socket again": (
        [Op("shutdown", (Fd(0), 0)), looked(0), Op("accept", (Fd(0),)), Op("getsockname", (Fd(0),)),
         Op("listen", (Fd(0), 1))], QUIET, "shutdown(fds[0], 0): None",
    ),
    "one that is shut for writing goes on": (
        [Op("shutdown", (Fd(0), 1)), ACCEPTED], QUIET, "accept(fds[0]): fds[1]",
    ),
    "what is not connected is shut all the same": (
        [Op("socket"), receive(1), Op("shutdown", (Fd(1), 0)), receive(1), looked(1)], QUIET,
        "recvfrom(fds[1], 100, 64): b''",
    ),
    "a client that sends into a reset is told of it when it receives": (
        [ACCEPTED, Op("recvfrom", (Fd(1), 1, 0)), Op("close", (Fd(1),)), TURNED, TURNED],
        [[[(SEND, 10)], [(SEND, 10)], [(RECEIVE, 1)]]], "close(fds[1]): None",
    ),
    "who was refused is not connected": (
        [Op("socket"), Op("connect", (Fd(1), Port(9))), receive(1), looked(1),
         Op("connect", (Fd(1), Port(0))), looked(1)], QUIET, "connect(fds[1], port(fds[0])): None",
    ),
    "a connection that is over cannot be shut": (
        [ACCEPTED, Op("shutdown", (Fd(1), 1)), TURNED, Op("shutdown", (Fd(1), 1))],
        [[[("close", 0)]]], "shutdown(fds[1], 1): ENOTCONN",
    ),
    "a connection's port is its listener's": (
        [ACCEPTED, Op("getsockname", (Fd(1),)), Op("socket"), Op("getsockname", (Fd(2),))], QUIET,
        "getsockname(fds[1]): port 0",
    ),
    "an interest list goes on where a socket begins to listen": (
        [Op("socket"), Op("epoll_create"), Op("epoll_ctl", (Fd(2), EPOLL_CTL_ADD, Fd(1), EPOLLIN)),
         Op("listen", (Fd(1), 1)), Op("socket"), Op("connect", (Fd(3), Port(1))),
         Op("epoll_wait", (Fd(2), 4, 0))], QUIET, "epoll_wait(fds[2], 4, 0): [fds[1] 0x1]",
    ),
    "calls of a socket on what is none": (
        [Op("epoll_create"), Op("memfd_create"), Op("io_uring_setup"),
         *[Op(name, (Fd(fd), *more)) for fd in (1, 2, 3)
           for name, more in (("recvfrom", (1, 0)), ("send", (b"x", 0)), ("listen", (1,)),
                              ("accept", ()), ("shutdown", (1,)), ("getsockname", ()),
                              ("getsockopt", ()), ("connect", (Port(0),)),
                              ("setsockopt", (20, 0)), ("fcntl", (F_SETFL, O_NONBLOCK)))]],
        QUIET, "recvfrom(fds[3], 1, 0): ENOTSOCK",
    ),
    "calls of an interest list on what is none": (
        [Op("epoll_ctl", (Fd(0), EPOLL_CTL_ADD, Fd(0), EPOLLIN)), Op("epoll_wait", (Fd(0), 1, 0)),
         Op("epoll_create"), Op("close", (Fd(1),)), Op("epoll_wait", (Fd(1), 1, 0))], QUIET,
        "epoll_wait(fds[0], 1, 0): EINVAL",
    ),
    "poll tells of what is not open, select refuses it": (
        [Op("socket"), Op("close", (Fd(1),)),
         Op("poll", ({Fd(0): EPOLLIN, Fd(1): EPOLLIN}, 3_000_000)),
         Op("select", ((Fd(0), Fd(1)), 0, ()))], QUIET,
        "poll({fds[0]: 0x1, fds[1]: 0x1}, 3000000): [fds[0] 0x1, fds[1] 0x20]",
    ),
    "a descriptor stands in a set once": (
        [Op("select", ((Fd(0), Fd(0)), 0, ()))], QUIET,
        "select((fds[0], fds[0]), 0, ()): [fds[0] 0x1]",
    ),
    "two listeners are not on one port": (
        [Op("socket"), Op("listen", (Fd(1), 1)), Op("shutdown", (Fd(0), 0)), Op("socket"),
         Op("listen", (Fd(2), 1)), Op("socket"), Op("connect", (Fd(3), Port(1))), looked(1),
         looked(2), Op("close", (Fd(2),)), Op("close", (Fd(1),))], QUIET,
        "poll({fds[1]: 0x5}, 0): [fds[1] 0x1]",
    ),
    "the other side's end, asked for by name": (
        [ACCEPTED, Op("poll", ({Fd(1): EPOLLIN | EPOLLRDHUP}, 0)), TURNED,
         Op("poll", ({Fd(1): EPOLLIN | EPOLLRDHUP}, 0)), Op("shutdown", (Fd(1), 1)),
         Op("poll", ({Fd(1): EPOLLIN | EPOLLRDHUP}, 0))], [[[], [("shutdown", 0)]]],
        "poll({fds[1]: 0x2001}, 0): [fds[1] 0x2001]",
    ),
    "an interest list tells of it, in a thread that sleeps": (
        [ACCEPTED, Op("epoll_create"),
         Op("epoll_ctl", (Fd(2), EPOLL_CTL_ADD, Fd(1), EPOLLRDHUP | EPOLLET)),
         in_thread("epoll_wait", Fd(2), 4, None), TURNED], [[[(SEND, 10)], [("shutdown", 0)]]],
        "epoll_wait(fds[2], 4, None): [fds[1] 0x2000]",
    ),
    "who asks for nothing hears of errors": (
        [ACCEPTED, Op("epoll_create"), Op("epoll_ctl", (Fd(2), EPOLL_CTL_ADD, Fd(1), 0)), TURNED,
         Op("epoll_wait", (Fd(2), 4, 0))], [[[], [("reset", 0)]]],
        "epoll_wait(fds[2], 4, 0): [fds[1] 0x18]",
    ),
    "who has heard once, of nothing more": (
        [ACCEPTED, Op("epoll_create"),
         Op("epoll_ctl", (Fd(2), EPOLL_CTL_ADD, Fd(1), EPOLLIN | EPOLLONESHOT)), TURNED,
         Op("epoll_wait", (Fd(2), 4, 0)), TURNED, Op("epoll_wait", (Fd(2), 4, 0))],
        [[[(SEND, 10)], [("reset", 0)]]], "epoll_wait(fds[2], 4, 0): []",
    ),
    "a ring has room, and is closed with what is under way and what was never handed in": (
        [ACCEPTED, Op("io_uring_setup", (1,)), looked(2), PREPARED, looked(2), PREPARED,
         Op("close", (Fd(2),)), TURNED,
         receive(1)], SENDS, "recvfrom(fds[1], 100, 64): b'",
    ),
    "a ring is one descriptor": (
        [ACCEPTED, Op("epoll_create"), Op("close", (Fd(1),)), Op("close", (Fd(2),)),
         Op("io_uring_setup", (1,)), Op("pipe"), Op("io_uring_submit_and_wait", (Fd(2),))], QUIET,
        "io_uring_submit_and_wait(fds[2]): ENOTSUP",
    ),
    "a thread that sleeps for ever ends with its process": (
        [Op("eventfd", (0,)), in_thread("read", Fd(1), 8)], QUIET, "eventfd(0): fds[1]",
    ),
    "what a sleeper is woken by": (
        [ACCEPTED, in_thread("recvfrom", Fd(1), 100, 0), TURNED, looked(1)], [[[], [(SEND, 10)]]],
        "recvfrom(fds[1], 100, 0): b'",
    ),
    "a send that waits for room, and gets it": (
        [ACCEPTED, in_thread("send", Fd(1), b"x" * MUCH, 0), looked(1), TURNED, looked(1)],
        [[[], [(RECEIVE, MUCH)]]], "send(fds[1], b'x' * 1000000, 0): 1000000",
    ),
    "a reset cuts a send off, and the next call is told why": (
        [ACCEPTED, in_thread("send", Fd(1), b"x" * MUCH, 0), TURNED, looked(1), receive(1),
         looked(1)], [[[], [("reset", 0)]]], "recvfrom(fds[1], 100, 64): ECONNRESET",
    ),
    "how much there is of a send that its own side's end cuts off, Linux says": (
        [ACCEPTED, TURNED, TURNED, in_thread("send", Fd(1), b"x" * MUCH, 0),
         Op("shutdown", (Fd(1), 1))],
        [[[], [], [], [(RECEIVE, MUCH)]]], "client 1: 0, some of it, 'eof'",
    ),
    "who sleeps in a call does not become nonblocking in it": (
        [ACCEPTED, in_thread("send", Fd(1), b"x" * MUCH, 0), TURNED, Op("fcntl", (Fd(1), 4, 2048)),
         Op("shutdown", (Fd(1), 0)), looked(1)], QUIET, "shutdown(fds[1], 0): None",
    ),
    "a reset cuts an operation of a ring off, and nobody is told why": (
        [ACCEPTED, Op("io_uring_setup", (8,)),
         Op("io_uring_prep_send", (Fd(2), Fd(1), b"x" * MUCH)), PREPARED,
         Op("io_uring_submit_and_wait", (Fd(2),)), TURNED,
         Op("io_uring_submit_and_wait", (Fd(2),)), looked(1), receive(1)],
        [[[(SEND, 10)], [("reset", 0)]]],
        "io_uring_submit_and_wait(fds[2]): [io_uring_prep_send fds[1] some of it]",
    ),
    "and so at the end of a run": (
        [ACCEPTED, Op("io_uring_setup", (1,)), PREPARED], QUIET,
        "io_uring_setup(1): fds[2]",
    ),
}  # fmt: skip


# What is closed while somebody uses it has no number any more, and lives until they are done.
LISTENS = [Op("socket"), Op("listen", (Fd(1), 4))]
RECEIVES = in_thread("recvfrom", Fd(1), 100, 0)
SENDS_MUCH = in_thread("send", Fd(1), b"x" * MUCH, 0)
CLOSED = Op("close", (Fd(1),))
COMPLETED = Op("io_uring_submit_and_wait", (Fd(2),))
LATER: Acts = [[[], [(SEND, 10), (RECEIVE, 1)], []]]
FOUND |= {
    "closed under a receive: no end is sent": (
        [ACCEPTED, RECEIVES, CLOSED, TURNED, TURNED], [[[], [(RECEIVE, 1)], []]],
        "client 0: ",
    ),
    "closed under a receive that then gets something": (
        [ACCEPTED, RECEIVES, CLOSED, TURNED, TURNED], LATER, "recvfrom(fds[1], 100, 0): b'",
    ),
    "closed under a receive, and another one is": (
        [ACCEPTED, RECEIVES, CLOSED, Op("socket"), Op("close", (Fd(2),)), TURNED, TURNED], LATER,
        "recvfrom(fds[1], 100, 0): b'",
    ),
    "closed under a send, whose client ends": (
        [ACCEPTED, SENDS_MUCH, CLOSED, TURNED, TURNED],
        [[[], [("shutdown", 0)], [(RECEIVE, MUCH)]]], "send(fds[1], b'x' * 1000000, 0): 1000000",
    ),
    "closed under a send, whose client reads": (
        [ACCEPTED, SENDS_MUCH, CLOSED, TURNED, TURNED], [[[], [(RECEIVE, MUCH)], [(RECEIVE, 1)]]],
        "send(fds[1], b'x' * 1000000, 0): 1000000",
    ),
    "closed under an accept: it listens": (
        [*LISTENS, in_thread("accept", Fd(1)), Op("socket"), CLOSED,
         Op("connect", (Fd(2), Port(1))), looked(2)], QUIET, "accept(fds[1]): fds[3]",
    ),
    "closed under a poll": (
        [ACCEPTED, in_thread("poll", {Fd(1): EPOLLIN}, None), CLOSED, TURNED, TURNED], LATER,
        "poll({fds[1]: 0x1}, None): [fds[1] 0x20]",
    ),
    "closed under a select": (
        [ACCEPTED, in_thread("select", (Fd(1),), None, ()), CLOSED, TURNED, TURNED], LATER,
        "select((fds[1],), None, ()): [fds[1] 0x1]",
    ),
    "an interest list closed under who waits for it": (
        [ACCEPTED, Op("epoll_create"), Op("epoll_ctl", (Fd(2), EPOLL_CTL_ADD, Fd(1), EPOLLIN)),
         in_thread("epoll_wait", Fd(2), 4, None), Op("close", (Fd(2),)), TURNED], LATER,
        "epoll_wait(fds[2], 4, None): [fds[1] 0x1]",
    ),
    "an interest list watches what was closed under a receive": (
        [ACCEPTED, RECEIVES, Op("epoll_create"),
         Op("epoll_ctl", (Fd(2), EPOLL_CTL_ADD, Fd(1), EPOLLIN | EPOLLOUT)), CLOSED,
         Op("epoll_wait", (Fd(2), 4, 0)), TURNED, Op("epoll_wait", (Fd(2), 4, 0))], LATER,
        "epoll_wait(fds[2], 4, 0): [fds[1] 0x4]",
    ),
    "a pipe's end closed under a read": (
        [Op("pipe"), in_thread("read", Fd(1), 8), CLOSED, Op("write", (Fd(2), b"hi"))], QUIET,
        "write(fds[2], b'hi'): 2",
    ),
    "closed under an operation of a ring that has just been told": (
        [ACCEPTED, Op("io_uring_setup", (8,)), Op("io_uring_prep_recv", (Fd(2), Fd(1), 4)),
         PREPARED, COMPLETED, TURNED, CLOSED, COMPLETED, TURNED],
        [[[(SEND, 4)], [(SEND, 9)], [(RECEIVE, 1)]]],
        "io_uring_submit_and_wait(fds[2]): [io_uring_prep_recv fds[1] b'\\x06\\x06",
    ),
    "a listener closed under an operation of a ring": (
        [*LISTENS, Op("io_uring_setup", (8,)), Op("io_uring_prep_accept", (Fd(2), Fd(0))),
         Op("io_uring_prep_accept", (Fd(2), Fd(1))), COMPLETED, Op("socket"), CLOSED,
         Op("connect", (Fd(4), Port(1))), COMPLETED], QUIET,
        "connect(fds[4], port(fds[1])): None",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("ops", "acts", "says"), FOUND.values(), ids=FOUND)
def test_they_agree_on_what_was_found(ops: list[Op], acts: Acts, says: str) -> None:
    assert any(line.startswith(says) for line in agree(ops, story_of(acts, ops)).lines)


DATA, END, RESET = ("data", 10), ("eof", 0), ("reset", 0)
READ = Op("aio_read", (Fd(0), 100))
RING = [Op("io_uring_setup"), Op("io_uring_submit", (Fd(1), Fd(0), 100))]
BOTH = EPOLLIN | EPOLLOUT
FOUND_OVER_TRAFFIC: dict[str, tuple[list[Op], tuple[str, Acts], str]] = {
    "what lies there when the reset comes is received first": (
        [TURNED, receive(0, 4), receive(0), receive(0), looked(0)], ("tcp", [[[DATA, RESET]]]),
        "recvfrom(fds[0], 100, 64): ECONNRESET",
    ),
    "there is room to send": (
        [looked(0), Op("select", ((Fd(0),), 0, (Fd(0),)))], ("udp", [[[DATA]]]),
        "select((fds[0],), 0, (fds[0],)): [fds[0] 0x4]",
    ),
    "edges": (
        [Op("epoll_create"), Op("epoll_ctl", (Fd(1), EPOLL_CTL_ADD, Fd(0), EPOLLIN | EPOLLET)),
         TURNED, Op("epoll_wait", (Fd(1), 4, 0)), Op("epoll_wait", (Fd(1), 4, 0)), TURNED,
         Op("epoll_wait", (Fd(1), 4, 0))], ("udp", [[[DATA], [DATA]]]),
        "epoll_wait(fds[1], 4, 0): []",
    ),
    "the sender's end, asked for by name": (
        [Op("epoll_create"), Op("epoll_ctl", (Fd(1), EPOLL_CTL_ADD, Fd(0), EPOLLRDHUP)), TURNED,
         Op("epoll_wait", (Fd(1), 4, 0))], ("tcp", [[[DATA, END]]]),
        "epoll_wait(fds[1], 4, 0): [fds[0] 0x2000]",
    ),
    "what was asked for can be changed": (
        [Op("epoll_create"), Op("epoll_ctl", (Fd(1), EPOLL_CTL_ADD, Fd(0), EPOLLIN)),
         Op("epoll_ctl", (Fd(1), EPOLL_CTL_MOD, Fd(0), BOTH)), Op("epoll_wait", (Fd(1), 4, 0))],
        ("udp", [[[DATA]]]), "epoll_wait(fds[1], 4, 0): [fds[0] 0x4]",
    ),
    "interest lists that watch each other": (
        [Op("epoll_create"), Op("epoll_create"),
         Op("epoll_ctl", (Fd(1), EPOLL_CTL_ADD, Fd(2), EPOLLIN)),
         Op("epoll_ctl", (Fd(2), EPOLL_CTL_ADD, Fd(1), EPOLLIN)), looked(1), looked(2)],
        ("udp", [[[DATA]]]), "epoll_ctl(fds[2], 1, fds[1], 1): ELOOP",
    ),
    "aio reads what cannot be read, what is O_NONBLOCK, and in a limited time": (
        [Op("epoll_create"), Op("aio_read", (Fd(1), 9)), Op("aio_error", (1,)),
         Op("setsockopt", (Fd(0), SO_RCVTIMEO, 4_000_000)), READ, TURNED, Op("aio_error", (2,)),
         Op("fcntl", (Fd(0), F_SETFL, O_NONBLOCK)), READ, Op("aio_return", (3,)),
         Op("aio_return", (4,))], ("udp", [[]]), "aio_error(1): 22",
    ),
    "a ring of what cannot be received from, and of what is O_NONBLOCK": (
        [Op("io_uring_setup"), Op("io_uring_submit", (Fd(1), Fd(1), 9)),
         Op("io_uring_peek_cqe", (Fd(1),)), Op("fcntl", (Fd(0), F_SETFL, O_NONBLOCK)),
         Op("io_uring_submit", (Fd(1), Fd(0), 9)), Op("io_uring_enter", (Fd(1),))],
        ("udp", [[]]), "io_uring_enter(fds[1]): b'\\x02'",
    ),
    "a ring whose task work is put off completes nothing but in a call that waits for it": (
        [Op("io_uring_setup", (8, LAZY)), Op("io_uring_submit", (Fd(1), Fd(0), 100)), TURNED,
         Op("io_uring_peek_cqe", (Fd(1),)), looked(0), looked(1), Op("io_uring_enter", (Fd(1),)),
         looked(0), Op("io_uring_submit", (Fd(1), Fd(0), 100)), TURNED, receive(0),
         Op("io_uring_peek_cqe", (Fd(1),))],
        ("udp", [[[DATA], [DATA]]]), "io_uring_peek_cqe(fds[1]): None",
    ),
    "a ring of one thread's own": (
        [Op("io_uring_setup", (8, SINGLE)),
         in_thread("io_uring_submit", Fd(1), Fd(0), 9)],
        ("udp", [[[DATA]]]), "io_uring_submit(fds[1], fds[0], 9): EEXIST",
    ),
    "task work that is put off, and nobody in particular to do it": (
        [Op("io_uring_setup", (8, IORING_SETUP_DEFER_TASKRUN))], ("udp", [[]]),
        f"io_uring_setup(8, {IORING_SETUP_DEFER_TASKRUN}): EINVAL",
    ),
    "who sleeps in a call for it is faster than a ring": (
        [*RING, Op("recvfrom", (Fd(0), 100, 0)), TURNED, Op("io_uring_enter", (Fd(1),))],
        ("udp", [[[("data", 1)], [("data", 2)]]]), "recvfrom(fds[0], 100, 0): b'\\x01'",
    ),
    "what is closed sends no signals": (
        [Op(ARMED, (Fd(0), 0)), Op("close", (Fd(0),)), TURNED, TURNED],
        ("udp", [[[DATA], [DATA]]]), "close(fds[0]): None",
    ),
    "a signal that is held back comes when it is let through": (
        [Op(ARMED, (Fd(0), O_NONBLOCK)), Op("sigprocmask", (SIG_BLOCK, (SIGIO,))), TURNED,
         receive(0), Op("sigprocmask", (SIG_UNBLOCK, (SIGIO,))), TURNED],
        ("udp", [[[DATA], [DATA]]]), "signal(29): handled",
    ),
    "what nobody reads holds nothing up": (
        [looked(1), looked(1), TURNED, receive(0)], ("udp", [[[DATA]], [[DATA]]]),
        "recvfrom(fds[0], 100, 64): b'\\x01",
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("ops", "acts", "says"), FOUND_OVER_TRAFFIC.values(), ids=FOUND_OVER_TRAFFIC
)
def test_they_agree_on_what_was_found_over_traffic(
    ops: list[Op], acts: tuple[str, Acts], says: str
) -> None:
    assert any(line.startswith(says) for line in agree(ops, traffic_of(*acts, ops)).lines)


@pytest.mark.parametrize("run", [simulate, measure])
def test_who_sleeps_in_a_receive_on_a_stream_is_not_signalled_as_well(run: Any) -> None:
    """SOCKWQ_ASYNC_WAITDATA, which a datagram's receiver does not set."""
    if run is measure and not PRESENT["SIGIO"]:
        pytest.skip("this system has no SIGIO")
    story = traffic.one(after_ms=20, size=100)
    said: list[str] = []
    run(signalled_reader, story.over("tcp"), said=said)
    assert said == ["received"]
    simulate(signalled_reader, story.over("udp"), said=said)
    assert said == ["received", "signal", "received"]


def signalled_reader(fd: int, nbytes: int, said: list[str]) -> Program:
    """It asks for a signal, and waits in a receive all the same."""

    def handler(signo: int) -> Program:
        said.append("signal")
        yield from ()

    yield sigaction(SIGIO, handler)
    yield fcntl(fd, F_SETOWN, SELF)
    yield fcntl(fd, F_SETFL, O_ASYNC)
    yield recvfrom(fd, 100)
    said.append("received")


def nothing_over_traffic(fd: int, nbytes: int) -> Program:
    return
    yield


def nothing_over_clients(listener: int, clients: int) -> Program:
    return
    yield


def nothing_over_jobs(jobs: Any) -> Program:
    return
    yield


@pytest.mark.parametrize("run", [simulate, measure])
@pytest.mark.parametrize(
    ("program", "story"),
    [
        (nothing_over_traffic, traffic.one()), (nothing_over_clients, clients.of(clients.echo())),
        (nothing_over_jobs, jobs.of(jobs.computing(1))),
    ],
)  # fmt: skip
def test_a_program_that_asks_for_nothing_is_one(run: Any, program: Any, story: Any) -> None:
    timeline = run(program, story).check()
    assert timeline.calls() == []
    assert str(timeline)


def hands_in(listener: int, clients: int, other: int) -> Program:
    """Operations on `other`, and what becomes of them."""
    ring = yield io_uring_setup(8)
    yield io_uring_prep_accept(ring, other)
    yield io_uring_prep_recv(ring, other, 9)
    yield io_uring_prep_send(ring, other, b"x")
    met = []
    while len(met) < 3:
        met += [error.errno for *_, error in (yield io_uring_submit_and_wait(ring))]
    assert met == [EBADF] * 3


@pytest.mark.parametrize("run", [simulate, measure])
def test_a_ring_does_nothing_with_what_is_not_the_programs(run: Any) -> None:
    """What else is open in this process is not its business."""
    if run is measure and not PRESENT["io_uring"]:
        pytest.skip("this system has no io_uring")
    ours, theirs = socket.socketpair()
    with ours, theirs:
        run(hands_in, clients.of(clients.echo()), other=ours.fileno())
        theirs.setblocking(False)
        with pytest.raises(BlockingIOError):
            theirs.recv(1)


# -- the machine itself ------------------------------------------------------------------------


def test_signals_that_come_at_once_are_told_as_one() -> None:
    """They do not queue: signal(7).  Whether the handler has run in between is the machine's."""
    teller = Receiver(())
    for said in ("before", "between"):
        teller.said.append(said)
        for _ in range(2):
            assert list(teller._handler(SIGIO)) == []
    assert teller.said == ["before", "signal(29): handled", "between", "signal(29): handled"]


def test_a_difference_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """A socket that forgets what it has as the reset comes, as ours once did."""
    as_it_is = Stream.reset

    def forgets(self: Stream) -> None:
        as_it_is(self)
        self.queue, self.queued = (), 0

    monkeypatch.setattr(Stream, "reset", forgets)
    monkeypatch.setitem(globals(), "inconclusive", lambda real: False)
    ops, acts, _ = FOUND["what lies there when the reset comes is received first"]
    with pytest.raises(AssertionError, match=r"simulated recvfrom.* ECONNRESET\nmeasured .* b'"):
        agree(ops, story_of(acts, ops))


OF_BOTH = [
    *((ops, story_of(acts, ops)) for ops, acts, _ in FOUND.values()),
    *((ops, traffic_of(*acts, ops)) for ops, acts, _ in FOUND_OVER_TRAFFIC.values()),
]


@pytest.mark.parametrize(("ops", "story"), OF_BOTH, ids=[*FOUND, *FOUND_OVER_TRAFFIC])
def test_what_is_pasted_is_the_same_program(ops: list[Op], story: Clients | Traffic) -> None:
    """It makes the same calls, and each meets the same errno."""
    once = told(simulate, ops, story)
    names: dict[str, Any] = {}
    exec(pasted(once.done, story), names)
    with redirect_stdout(StringIO()) as out:
        simulate(names["program"], names["story"], **names["options"])
    asked = [(line.partition("(")[0], line.rpartition(": ")[2]) for line in once.lines
             if not line.startswith("client ")]  # fmt: skip
    again = [line.split(maxsplit=1) for line in out.getvalue().splitlines()]
    in_order: Any = sorted if any(op.name == THREAD for op in ops) else list  # two may be at once
    assert in_order(map(errno_of, again)) == in_order(map(errno_of, asked))


def errno_of(call: Any) -> tuple[str, str]:
    name, met = call
    return name, met if met in ERRNOS else ""


ERRNOS = set(errorcode.values())
