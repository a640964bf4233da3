"""Random plain programs: ordinary sockets, told the same by both kernels.

A program is a list of operations on its two connections and on the two ends of a pair of its own,
with an interest list of epoll, and threads that wait in a receive; each client acts only when the
server waits (`in_step`), so that what a call finds is made, not hoped for.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from seeds import PROGRAMS, SEED
from waiting import bytes_waiting

from iosim import Costs, clients, inconclusive, measure, undisturbed
from iosim.plain.simulate import run_plain
from iosim.workloads.clients import Clients

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the real kernel here is Linux's")

Op = tuple[str, int, int]  # what is done, to which socket, and a number

NAP_S = 0.002
SOCKETS = 4
SOON_S = 0.001  # a time-out that passes
EVENTS = (
    select.EPOLLIN, select.EPOLLIN | select.EPOLLOUT, select.EPOLLIN | select.EPOLLET,
    select.EPOLLIN | select.EPOLLONESHOT, select.EPOLLIN | select.EPOLLRDHUP,
)  # fmt: skip


class Desk:
    """What a program has: its sockets, its interest list, and the threads that wait."""

    def __init__(self, listener: socket.socket) -> None:
        self.listener = listener
        self.control, _ = listener.accept()
        self.sockets = [listener.accept()[0] for _ in range(2)] + [*socket.socketpair()]
        for one in self.sockets:
            one.settimeout(0)
        listener.settimeout(0)
        self.interest = select.epoll()
        self.threads: dict[int, threading.Thread] = {}
        self.told: dict[int, str] = {}  # to a thread, by the place of its socket

    def close(self) -> list[str]:
        """All of it; what the threads were told."""
        for which, thread in self.threads.items():
            done("shutdown", self, which, 2)
            thread.join()
        for one in (*self.sockets, self.interest, self.control):
            one.close()
        return [f"thread at {which}: {told}" for which, told in sorted(self.told.items())]


def program(listener: socket.socket, todo: Sequence[Op], said: list[str]) -> None:
    """Do it, and say what came of each operation.

    A socket that a thread waits for is left to it: who of two gets what comes is the kernel's.
    """
    desk = Desk(listener)
    for name, which, number in todo:
        if which not in desk.threads or name == "turn":
            said.append(f"{name} {which} {number}: {done(name, desk, which, number)}")
            time.sleep(NAP_S)
    said += desk.close()


def done(name: str, desk: Desk, which: int, number: int) -> str:
    try:
        return repr(ACTS[name](desk, desk.sockets[which], number))
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, type(error).__name__)
    except ValueError as error:
        return str(error)


def _turn(desk: Desk, one: socket.socket, number: int) -> int:
    """Both clients do what comes next in their scripts; the second answer comes behind that."""
    for _ in range(2):
        desk.control.sendall(b".")
        desk.control.recv(1)
    return 0


def _option(desk: Desk, one: socket.socket, number: int) -> int:
    one.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, number % 2)
    return bool(one.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE))


def _poll(desk: Desk, one: socket.socket, number: int) -> list[int]:
    poll = select.poll()
    poll.register(one, select.POLLIN | select.POLLOUT)
    return [events for _, events in poll.poll(0)]


def _select(desk: Desk, one: socket.socket, number: int) -> list[int]:
    return [len(ready) for ready in select.select([one], [one], [], 0)]


def _in_time(desk: Desk, one: socket.socket, number: int) -> bytes:
    one.settimeout(SOON_S)
    try:
        return one.recv(number + 1)
    finally:
        one.settimeout(0)


def _into(desk: Desk, one: socket.socket, number: int) -> bytes:
    buffer = bytearray(number + 1)
    return bytes(buffer[: one.recv_into(buffer)])


def _waiting(desk: Desk, one: socket.socket, number: int) -> int:
    return bytes_waiting(one)


def _connect(desk: Desk, one: socket.socket, number: int) -> int:
    """In its place is one that connects to the program's own listener."""
    one.close()
    new = desk.sockets[desk.sockets.index(one)] = socket.socket()
    new.settimeout(0)
    return new.connect_ex(desk.listener.getsockname())


def _accept(desk: Desk, one: socket.socket, number: int) -> None:
    """In its place is the other end of such a connection, if there is one."""
    new, _ = desk.listener.accept()
    new.settimeout(0)
    one.close()
    desk.sockets[desk.sockets.index(one)] = new


def _linger(desk: Desk, one: socket.socket, number: int) -> None:
    """Its close is a reset, or not: socket(7)."""
    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", number % 2, 0))


def _thread(desk: Desk, one: socket.socket, number: int) -> None:
    """From now on another thread waits in a receive, and has the socket for itself."""
    which, begun = desk.sockets.index(one), threading.Event()

    def receive() -> None:
        begun.set()
        desk.told[which] = done("recv", desk, which, number)

    one.settimeout(None)
    desk.threads[which] = threading.Thread(target=receive)
    desk.threads[which].start()
    begun.wait()


def _epoll_wait(desk: Desk, one: socket.socket, number: int) -> list[tuple[int, int]]:
    """Of those that no thread waits for."""
    places = {each.fileno(): place for place, each in enumerate(desk.sockets)}
    found = ((places[fd], events) for fd, events in desk.interest.poll(0))
    return sorted(each for each in found if each[0] not in desk.threads)


ACTS: dict[str, Any] = {
    "recv": lambda desk, one, number: one.recv(number + 1),
    "recv_all": lambda desk, one, number: len(one.recv(1_000)),
    "peek": lambda desk, one, number: one.recv(number + 1, socket.MSG_PEEK),
    "recv_into": _into, "recv_in_time": _in_time, "FIONREAD": _waiting,
    "os_read": lambda desk, one, number: os.read(one.fileno(), number + 1),
    "os_write": lambda desk, one, number: os.write(one.fileno(), b"w" * (number + 1)),
    "recvmsg": lambda desk, one, number: one.recvmsg(number + 1)[0],
    "send": lambda desk, one, number: one.send(b"x" * (number + 1)),
    "sendall": lambda desk, one, number: one.sendall(b"y" * (number + 1)),
    "sendmsg": lambda desk, one, number: one.sendmsg([b"z", b"z" * number]),
    "shutdown": lambda desk, one, number: one.shutdown((0, 1, 2)[number % 3]),
    "close": lambda desk, one, number: one.close(),
    "blocking": lambda desk, one, number: (one.settimeout(0), one.getblocking()),
    "SO_ERROR": lambda desk, one, number: one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR),
    "getpeername": lambda desk, one, number: one.getpeername()[:1],
    "select": _select, "poll": _poll, "option": _option, "turn": _turn, "thread": _thread,
    "connect": _connect, "accept": _accept, "SO_LINGER": _linger,
    "waitall": lambda desk, one, number: one.recv(number + 1, socket.MSG_WAITALL),
    "dontwait": lambda desk, one, number: one.recv(number + 1, socket.MSG_DONTWAIT),
    "register": lambda desk, one, n: desk.interest.register(one, EVENTS[n % len(EVENTS)]),
    "modify": lambda desk, one, n: desk.interest.modify(one, EVENTS[n % len(EVENTS)]),
    "unregister": lambda desk, one, number: desk.interest.unregister(one),
    "epoll_wait": _epoll_wait,
}  # fmt: skip

ops = st.lists(
    st.tuples(st.sampled_from([*ACTS]), st.integers(0, SOCKETS - 1), st.integers(0, 40)),
    min_size=1, max_size=20,
)  # fmt: skip
ONES = (("send", 10), ("send", 30), ("shutdown", 0), ("reset", 0), ("receive", 5))
acts = st.lists(st.lists(st.sampled_from(ONES), max_size=3), min_size=2, max_size=2)


def story_of(scripts: Sequence[Sequence[tuple[str, int]]], todo: Sequence[Op]) -> Clients:
    """The one that has the turns, and two that do an act in each."""
    turns = sum(name == "turn" for name, _, _ in todo)
    control = [step for _ in range(2 * turns) for step in (("receive", 1), ("send", 1))]
    two = []
    for script in scripts:
        steps: list[tuple[str, int]] = []
        ended = False
        for turn, act in enumerate(script[:turns], start=1):
            if not ended:
                steps += [("after", 2 * turn - 1)] + ([act] if act[0] != "receive" else [])
            ended = ended or act[0] in ("shutdown", "reset")
        stays = [] if steps and steps[-1][0] == "reset" else [("wait", 60_000_000_000)]
        two.append(clients.script(*steps, *stays, at_ms=1 + len(two)))
    return clients.of(clients.script(*control, ("wait", 60_000_000_000)), *two).in_step()


def told(todo: Sequence[Op], story: Clients, real: bool) -> tuple[list[str], Any]:
    said: list[str] = []
    if real:
        return said, measure(program, story, todo=todo, said=said)
    outcome = run_plain(program, story, costs=Costs.typical(), todo=todo, said=said)
    assert outcome.error is None, outcome.error
    return said, outcome


@seed(SEED)
@settings(
    max_examples=PROGRAMS, derandomize=False, database=None, report_multiple_bugs=False,
    deadline=None, suppress_health_check=list(HealthCheck),
)  # fmt: skip
@given(ops, acts)
def test_they_agree_on_any_plain_program(todo: list[Op], scripts: Any) -> None:
    story = story_of(scripts, todo)
    simulated, _ = told(todo, story, real=False)
    first = told(todo, story, real=True)
    if simulated == first[0]:
        return
    runs = [first]

    def again() -> Any:
        said, run = runs.pop() if runs else told(todo, story, real=True)
        results.append(said)
        return run

    results: list[list[str]] = []
    run = undisturbed(again)
    assert simulated == results[-1] or inconclusive(run), f"IOSIM_SEED={SEED}"


FOUND = {
    "data come to who has shut both directions": (
        [("shutdown", 0, 2), ("turn", 0, 0), ("recv", 0, 0), ("recv", 0, 0), ("send", 0, 5)],
        [[("send", 10)], []],
    ),
    "data come to who has shut one of them": (
        [("shutdown", 0, 0), ("turn", 0, 0), ("recv", 0, 0), ("recv", 0, 40), ("poll", 0, 0)],
        [[("send", 10)], []],
    ),
    "a pair of which one end receives no more": (
        [("shutdown", 2, 2), ("poll", 3, 0), ("send", 3, 5), ("recv", 3, 0)],
        [[], []],
    ),
    "a pair of which one end was closed with bytes unread": (
        [
            ("send", 3, 5),
            ("close", 2, 0),
            ("poll", 3, 0),
            ("send", 3, 5),
            ("recv", 3, 0),
            ("recv", 3, 0),
            ("shutdown", 3, 2),
        ],
        [[], []],
    ),
    "calls by the number of what is closed": (
        [("close", 0, 0), ("os_read", 0, 1), ("os_write", 0, 1), ("FIONREAD", 0, 0)],
        [[], []],
    ),
    "MSG_WAITALL where nothing waits": (
        [("send", 2, 5), ("waitall", 3, 10), ("waitall", 3, 10)],
        [[], []],
    ),
}


@pytest.mark.parametrize(("todo", "scripts"), FOUND.values(), ids=list(FOUND))
def test_they_agree_on_what_was_found(todo: list[Op], scripts: Any) -> None:
    story = story_of(scripts, todo)
    assert told(todo, story, real=False)[0] == told(todo, story, real=True)[0]
