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
from errno import EADDRNOTAVAIL, ECONNRESET, EINPROGRESS, ENETUNREACH
from time import perf_counter_ns as clock

from ...machine.errors import failure
from ...machine.procfs import in_a_call, sample
from ...workloads.client_script import ScriptedClient, Scripts
from .board import Board, Onlooker
from .story_end import say_story_over

TYPE_CHECKING = False  # typing's, without importing it
if TYPE_CHECKING:
    from .plans import ClientsPlan, ClientsReport, Script

SPIN_NS = 300_000  # a sleep ends up to this much late: the rest of the way the clock is watched
LOOK_NS = 100_000  # between two looks whether the server waits
PATIENCE_NS = 2_000_000_000  # so long an act is held back at the most
CHUNK = 1 << 20


class SocketClient(ScriptedClient):
    """A client, and its socket."""

    def __init__(self, loop: ClientLoop, row: Script) -> None:
        self.at_ns, rcvbuf, self.first, steps = row
        super().__init__(loop, steps)
        self.loop = loop
        self.outbox: list[memoryview] = []
        self.broken = False  # a send was told so, which a receive is told no more
        self.finishing = False
        self.socket = socket.socket()
        if rcvbuf:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
        self.socket.setblocking(False)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def now(self) -> int:
        """ns since the start of the run."""
        return self.loop.now()

    def story(self) -> int:
        """Less what the clients had to wait for the server."""
        return self.loop.story()

    def at(self, when: int, act: Callable[[], None]) -> None:
        """When the story comes there."""
        self.loop.later(when, act)

    def hold(self, act: Callable[[], object]) -> bool:
        """As the loop says."""
        return self.loop.hold(act)

    # -- its connection ------------------------------------------------------------------------

    def begin(self) -> None:
        """Call connect, when it may."""
        if not self.hold(self.connect):
            self.connect()

    def connect(self) -> None:
        """Begin the handshake."""
        self.begun = self.now()
        errno = self.socket.connect_ex(("127.0.0.1", self.loop.port))
        if errno in (EADDRNOTAVAIL, ENETUNREACH):  # no trouble of a client's, but of all of us
            raise failure(errno)
        if errno in (0, EINPROGRESS):
            self.loop.watch(self)
        else:
            self.handshake_over(errno)

    def notify(self) -> None:
        """The kernel says that something has changed."""
        if self.over is not None:
            self.linger()
        elif self.connected is None:
            self.ask_how_it_went()
        else:
            self.flush()
            self.read()

    def ask_how_it_went(self) -> None:
        """The handshake: over, or not yet."""
        errno = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if not errno:
            try:
                self.socket.getpeername()
            except OSError:  # not yet
                return
        self.handshake_over(errno)

    def put(self, amount: int) -> None:
        """It writes in the background, what the kernel does not take at once."""
        byte = bytes([self.first % 251])
        before = self.now()
        self.echo.say(byte, amount)
        self.outbox.append(memoryview(byte * amount))
        self.flush()
        self.loop.sent.append((self.first, before, self.now()))
        self.first += 1

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
            self.broken = self.broken or error.errno == ECONNRESET  # which is told once

    def get(self, size: int) -> bytes | None:
        """recv(2)."""
        try:
            data = self.socket.recv(min(size, CHUNK))
        except BlockingIOError:
            return None
        if not data and self.broken:
            raise failure(ECONNRESET)
        return data

    def finish(self) -> None:
        """Once it has handed over what it has to send."""
        self.finishing = True
        self.flush()

    def break_off(self) -> None:
        """What it has to send is lost: socket(7), SO_LINGER."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.outbox.clear()
        self.socket.close()
        self.loop.left()

    def hang_up(self) -> None:
        """What it has to send goes on, as after any close."""
        if not self.outbox:
            self.socket.close()
            self.loop.left()

    def linger(self) -> None:
        """It has hung up; now there may be room for the rest."""
        if self.outbox:
            self.flush()
            self.hang_up()


class ClientLoop(Scripts):
    """All the clients, and the loop that serves them."""

    def __init__(self, plan: ClientsPlan) -> None:
        super().__init__()
        self.port = plan["port"]
        self.stepwise = plan["stepwise"]
        self.server = _onlooker(plan)  # None: no client waits for the server
        self.held: deque[Callable[[], object]] = deque()  # acts, in the order of their time
        self.since = 0  # when the first of them was held back, while there is one
        self.moved = 0  # ns by which the story is later than planned
        self.unseen = 0  # ns for which it was looked in vain whether the server waits
        self.sent: list[tuple[int, int, int]] = []
        self.zero = 0
        self.due: list[tuple[int, int, Callable[[], object]]] = []
        self.number = 0
        self.epoll = select.epoll()
        self.edges = select.EPOLLIN | select.EPOLLOUT | select.EPOLLET
        self.clients = [SocketClient(self, row) for row in plan["clients"]]
        self.of_fd = {client.socket.fileno(): client for client in self.clients}
        self.here = len(self.clients)
        self.announces = plan.get("announces", False)

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

    def left(self) -> None:
        """One client has; with the last one the story is over."""
        self.here -= 1
        if self.announces and not self.here:
            say_story_over()

    def watch(self, client: SocketClient) -> None:
        """Be told of whatever changes."""
        self.epoll.register(client.socket.fileno(), self.edges)

    def later(self, at: int, act: Callable[[], object]) -> None:
        """`act` at the instant `at`."""
        self.number += 1
        heapq.heappush(self.due, (at, self.number, act))

    def run(self) -> None:
        """Until the end of the input: the server is over."""
        self.epoll.register(0)
        for client in self.clients:
            self.later(client.at_ns, client.begin)
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
                self.of_fd[fd].notify()
        return bool(found)


def _onlooker(plan: ClientsPlan) -> Onlooker | None:
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
    report: ClientsReport = {
        "sent": loop.sent, "visits": [client.met() for client in loop.clients],
        "unseen": loop.unseen,
    }  # fmt: skip
    print(json.dumps(report), flush=True)


if __name__ == "__main__":
    main()
