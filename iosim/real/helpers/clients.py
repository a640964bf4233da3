"""The clients: a process of its own, so that no interpreter lock ties it to the server.

A line of JSON on
its standard input tells it the server's port and the clients' scripts (`clients`); it answers with
its own ports, waits for a line with the instant 0 (ns of `perf_counter_ns`), follows the scripts,
and reports at the end of its input what each client met with.  One loop serves them all:
edge-triggered epoll, and a heap of what is due.

The first act (of a stepwise story: every one) is held back until all threads of the server wait,
and until the clients have met with all that it did before.  Meanwhile the story stands still: what
is due later is later by as much.
"""

from __future__ import annotations

import heapq
import json
import os
import select
import socket
import struct
import sys
from collections import deque
from collections.abc import Callable
from errno import EADDRNOTAVAIL, EAGAIN, ECONNRESET, EINPROGRESS, ENETUNREACH, errorcode
from functools import partial
from time import perf_counter_ns as clock
from typing import Any

from ...evidence import in_a_call, sample
from ...kernels.echo_check import EchoCheck
from .board import Board, Onlooker

SPIN_NS = 300_000  # a sleep ends up to this much late: the rest of the way the clock is watched
LOOK_NS = 100_000  # between two looks whether the server waits
PATIENCE_NS = 2_000_000_000  # so long an act is held back at the most
CHUNK = 1 << 20


class Client:
    """One client, how far its script has come, and what it met with."""

    def __init__(self, loop: ClientLoop, row: list[Any]) -> None:
        self.loop = loop
        self.at, rcvbuf, self.first, steps = row
        self.steps = iter([*steps, CLOSE])
        self.echo = EchoCheck()
        self.outbox: list[memoryview] = []
        self.end = "eof"  # what a receive means that brings nothing
        self.finishing = False
        self.gone = False  # it follows its script no more
        self.begun: int | None = None
        self.connected: int | None = None
        self.over: int | None = None
        self.trouble = ""
        self.socket = socket.socket()
        if rcvbuf:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
        self.socket.setblocking(False)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def begin(self) -> None:
        """Call connect, when it may."""
        if not self.loop.hold(self.connect):
            self.connect()

    def connect(self) -> None:
        self.begun = self.loop.now()
        errno = self.socket.connect_ex(("127.0.0.1", self.loop.port))
        if errno in (EADDRNOTAVAIL, ENETUNREACH):  # no trouble of a client's, but of all of us
            raise OSError(errno, os.strerror(errno))
        if errno not in (0, EINPROGRESS):
            self.leave(errorcode[errno])
            return
        self.loop.watch(self)

    def stir(self) -> None:
        """The kernel says that something has changed."""
        if self.over is not None:
            self.linger()
            return
        if self.connected is None:
            errno = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if errno:
                self.leave(errorcode[errno])
                return
            try:
                self.socket.getpeername()
            except OSError:  # not yet
                return
            self.connected = self.loop.now()
            self.go_on()
            return
        self.flush()
        if self.echo.wants > 0:
            self.read()

    def go_on(self) -> None:
        """Follow the script until a step takes time, or has to wait for the server."""
        for kind, amount in () if self.gone else self.steps:
            act = partial(ACTS[kind], self, amount)
            held = kind in NOTICED and self.loop.hold(partial(self.go_on_after, act))
            if held or act():
                return

    def go_on_after(self, act: Callable[[], bool]) -> None:
        """Do what was held back, and what comes after it."""
        if not self.gone and not act():
            self.go_on()

    def send(self, amount: int) -> bool:
        byte = bytes([self.first % 251])
        before = self.loop.now()
        self.echo.say(byte, amount)
        self.outbox.append(memoryview(byte * amount))
        self.flush()
        self.loop.sent.append([self.first, before, self.loop.now()])
        self.first += 1
        return False

    def flush(self) -> None:
        """As much as the kernel takes; it tells when it takes more."""
        try:
            while self.outbox:
                count = self.socket.send(self.outbox[0])
                self.outbox[0] = self.outbox[0][count:]
                self.outbox[:1] = self.outbox[:1] if self.outbox[0] else []
            if self.finishing:
                self.finishing = False
                self.socket.shutdown(socket.SHUT_WR)
        except BlockingIOError:
            return
        except OSError as error:  # the other side is gone: the next receive says how
            self.outbox.clear()
            if error.errno == ECONNRESET:  # which is told once
                self.end = "ECONNRESET"

    def receive(self, amount: int) -> bool:
        self.echo.wants = amount
        self.read(False)
        return self.echo.wants > 0 or self.gone

    def read(self, go_on: bool = True) -> None:
        """Take in what its receive step asks for; the next step, once it has it."""
        while self.echo.wants > 0:
            try:
                data = self.socket.recv(min(self.echo.wants, CHUNK))
            except OSError as error:
                if error.errno != EAGAIN:
                    self.give_up(errorcode[error.errno or 0])
                return
            if not data:
                self.give_up(self.end)
                return
            self.echo.hear(data)
        self.echo.answered.append(self.loop.now())
        self.loop.answer()
        if go_on:
            self.go_on()

    def wait(self, amount: int) -> bool:
        self.loop.later(self.loop.story() + amount, self.go_on)
        return True

    def until(self, amount: int) -> bool:
        self.loop.later(amount, self.go_on)
        return True

    def after(self, amount: int) -> bool:
        if self.loop.answers >= amount:
            return False
        self.loop.turns.append((amount, self))
        return True

    def shut(self, amount: int) -> bool:
        self.finishing = True
        self.flush()
        return False

    def reset(self, amount: int) -> bool:
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.outbox.clear()
        self.leave()
        return True

    def close(self, amount: int) -> bool:
        self.leave()
        return True

    def give_up(self, trouble: str) -> None:
        """Read no more, and close, when it may."""
        self.echo.wants, self.gone = 0, True
        if not self.loop.hold(partial(self.leave, trouble)):
            self.leave(trouble)

    def leave(self, trouble: str = "") -> None:
        """Close, and say why, if the script is not over."""
        self.over, self.trouble, self.gone = self.loop.now(), trouble, True
        if not self.outbox:  # else what it has to send goes on, as after any close
            self.socket.close()

    def linger(self) -> None:
        """It has closed, and what it had to send goes on."""
        if self.outbox:
            self.flush()
            if not self.outbox:
                self.socket.close()

    def report(self) -> list[Any]:
        """What it met with."""
        echo = self.echo
        return [
            self.begun, self.connected, echo.answered, echo.sent, echo.received, self.over,
            self.trouble, echo.garbled,
        ]  # fmt: skip


ACTS = {
    "send": Client.send, "receive": Client.receive, "wait": Client.wait, "until": Client.until,
    "after": Client.after,
    "shutdown": Client.shut, "reset": Client.reset, "close": Client.close,
}  # fmt: skip
NOTICED = ("send", "receive", "shutdown", "reset", "close")  # by a server, as connect is
CLOSE = ("close", 0)


class ClientLoop:
    """All the clients, and the loop that serves them."""

    def __init__(self, plan: dict[str, Any]) -> None:
        self.port: int = plan["port"]
        self.stepwise: bool = plan["stepwise"]
        self.server = _onlooker(plan)  # None: no client waits for the server
        self.held: deque[Callable[[], object]] = deque()  # acts, in the order of their time
        self.since = 0  # when the first of them was held back, while there is one
        self.moved = 0  # ns by which the story is later than planned
        self.unseen = 0  # ns for which it was looked in vain whether the server waits
        self.sent: list[list[int]] = []
        self.zero = 0
        self.due: list[tuple[int, int, Any]] = []
        self.number = 0
        self.epoll = select.epoll()
        self.edges = select.EPOLLIN | select.EPOLLOUT | select.EPOLLET
        self.clients = [Client(self, row) for row in plan["clients"]]
        self.of_fd = {client.socket.fileno(): client for client in self.clients}
        self.answers = 0  # receive steps that are over, of all clients
        self.turns: list[tuple[int, Client]] = []  # who waits for how many of them

    def now(self) -> int:
        """ns since the start of the run."""
        return clock() - self.zero

    def story(self) -> int:
        """As `now`, less what the clients had to wait for the server: their scripts' time."""
        return (self.since if self.held else self.now()) - self.moved

    def hold(self, act: Callable[[], object]) -> bool:
        """Must it be held back?  Then it is done when the server waits."""
        if self.server is None:
            return False
        self.since = self.since if self.held else self.now()
        self.held.append(act)
        return True

    def let_go(self) -> None:
        """Do what was held back first, if it may be done now; after it the rest, if that may."""
        if self.server and (not self.in_step(self.server) or self.meet(dict(self.epoll.poll(0)))):
            return
        now = self.now()
        self.moved, self.since = self.moved + now - self.since, now
        self.held.popleft()()
        if not self.stepwise:
            self.server = None
        if self.server:
            self.server.acted()

    def in_step(self, server: Onlooker) -> bool:
        """Does the server wait, or was that waited for long enough?"""
        if server.all_wait():
            return True
        since = self.now() - self.since
        self.unseen = max(self.unseen, since if since > PATIENCE_NS else 0)
        return since > PATIENCE_NS

    def watch(self, client: Client) -> None:
        """Be told of whatever changes."""
        self.epoll.register(client.socket.fileno(), self.edges)

    def later(self, at: int, act: Any) -> None:
        """`act` at the instant `at`."""
        self.number += 1
        heapq.heappush(self.due, (at, self.number, act))

    def answer(self) -> None:
        """One receive step more is over; whose turn is it now?"""
        self.answers += 1
        due = [turn for turn in self.turns if turn[0] <= self.answers]
        self.turns = [turn for turn in self.turns if turn[0] > self.answers]
        for _, client in due:
            self.later(self.story(), client.go_on)

    def run(self) -> None:
        """Until the end of the input: the server is over."""
        self.epoll.register(0)
        for client in self.clients:
            self.later(client.at, client.begin)
        while 0 not in (found := dict(self.changes())):
            self.meet(found)
            while self.due and self.due[0][0] <= self.story():
                heapq.heappop(self.due)[2]()
            if self.held:
                self.let_go()

    def changes(self) -> list[tuple[int, int]]:
        """Sleep until something changes, or is nearly due.

        select's time-outs are not whole ms, as epoll's are: to watch the clock for the rest of a ms
        would keep the server off the core that it shares with whoever it has just answered.
        """
        if self.held:
            left = LOOK_NS
        elif self.due:
            left = self.due[0][0] - self.story() - SPIN_NS
        else:
            return self.epoll.poll()
        if left > 0:
            select.select([self.epoll], [], [], left / 1e9)
        return self.epoll.poll(0)

    def meet(self, found: dict[int, int]) -> bool:
        """Let the clients meet with what has changed; was there anything?"""
        for fd in found:
            if fd:
                self.of_fd[fd].stir()
        return bool(found)


def _onlooker(plan: dict[str, Any]) -> Onlooker | None:
    if plan["board"] is None:
        return None

    def asleep(thread: int) -> bool | None:
        seen = sample(plan["process"], thread)
        return in_a_call(*seen) if seen[0] else None

    onlooker = Onlooker(Board(plan["board"]), asleep, clock)
    os.close(plan["board"])  # the memory stays
    return onlooker


def _more_descriptors(count: int) -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(count, hard), hard))


def main() -> None:
    """One run."""
    plan = json.loads(sys.stdin.buffer.readline())
    _more_descriptors(len(plan["clients"]) + 64)
    loop = ClientLoop(plan)
    print(json.dumps([c.socket.getsockname()[1] for c in loop.clients]), flush=True)
    line = b""
    while not line.endswith(b"\n"):  # no buffer: epoll must see the end of the input
        byte = os.read(0, 1)
        if not byte:
            return
        line += byte
    loop.zero = int(line)
    loop.run()
    report = {
        "sent": loop.sent, "visits": [client.report() for client in loop.clients],
        "unseen": loop.unseen,
    }  # fmt: skip
    print(json.dumps(report), flush=True)


if __name__ == "__main__":
    main()
