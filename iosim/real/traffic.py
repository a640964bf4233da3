"""A story of traffic: our sockets, and the process that sends at their other ends."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from typing import TYPE_CHECKING

from ..calls import MSG_DONTWAIT
from ..kernels.resource_limits import beginning
from ..trace import Disturbance, Evidence
from ..workloads.traffic import Traffic
from .features import stamp
from .gate import Gate
from .helper_process import PATIENCE_S
from .measured import Receipt
from .sender_process import SenderProcess
from .sockets import ANCILLARY

if TYPE_CHECKING:
    from .driver import Driver
    from .helpers.plans import SenderReport
    from .process import Process

__all__ = ["TrafficOutside"]

LEFTOVERS = 10_000  # receives, at most, to see what is still queued at the end


class TrafficOutside:
    """Our sockets, one for each connection, and the sender at their other ends."""

    helper: SenderProcess
    shows_line = True

    def __init__(
        self, story: Traffic, rcvbuf: int | None, stack: ExitStack, announces: bool = False
    ) -> None:
        self._announces = announces
        self.story, self._rcvbuf, self._stack = story, rcvbuf, stack
        connect = {"udp": self._datagrams, "tcp": self._streams}[story.transport]
        with beginning(f"the {story.connections} sockets of the story"):
            self._sockets = connect(story)
        for one in self._sockets:
            self._ask_for_stamps(one)

    def sockets(self) -> list[socket.socket]:
        """In the order of the connections."""
        return self._sockets

    def gate(self, process: Process, thread: int) -> Gate | None:
        """The sender hears of the first thread only."""
        if thread:
            return None
        return Gate(self.helper.tell, process.run.receipts.__len__, self.story.stepwise)

    def begin(self, zero: int) -> None:
        """The run begins at `zero` on `perf_counter_ns`."""
        self.helper.begin(zero)

    def begun(self, thread: int) -> None:
        """Nobody waits for it."""

    def ended(self, thread: int) -> None:
        """Likewise."""

    def has_come(self, driver: Driver, fd: int, port: int) -> None:
        """From the program itself: the story's connections were there when it began."""

    # -- the sockets ---------------------------------------------------------------------------

    def _open(self, kind: socket.SocketKind) -> socket.socket:
        one = self._stack.enter_context(socket.socket(socket.AF_INET, kind))
        if self._rcvbuf is not None:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._rcvbuf)
        one.bind(("127.0.0.1", 0))
        return one

    def _start(self, story: Traffic, ports: list[int]) -> list[int]:
        self.helper = SenderProcess()
        self._stack.callback(self.helper.kill)
        return self.helper.prepare(story, ports, self._announces)

    def _datagrams(self, story: Traffic) -> list[socket.socket]:
        sockets = [self._open(socket.SOCK_DGRAM) for _ in range(story.connections)]
        ports = self._start(story, [one.getsockname()[1] for one in sockets])
        for one, port in zip(sockets, ports, strict=True):
            one.connect(("127.0.0.1", port))  # takes nothing from anybody else
        return sockets

    def _streams(self, story: Traffic) -> list[socket.socket]:
        count = story.connections
        listener = self._open(socket.SOCK_STREAM)
        listener.listen(count)
        listener.settimeout(PATIENCE_S)
        ports = self._start(story, [listener.getsockname()[1]] * count)
        by_port: dict[int, socket.socket] = {}
        while not by_port.keys() >= set(ports):
            one, (_, port) = listener.accept()
            self._stack.enter_context(one)
            one.settimeout(None)
            by_port[port] = one  # anybody may come: the port was somebody else's a moment ago
        listener.close()
        return [by_port[port] for port in ports]

    @staticmethod
    def _ask_for_stamps(one: socket.socket) -> None:
        try:
            stamp(one)
        except OSError:  # none on this system: the sender's clock has to do
            return

    # -- the end -------------------------------------------------------------------------------

    def settle(self, process: Process) -> None:
        """What lies in the receive queues when the program is over has arrived, and is not lost."""
        for fd, one in list(process.descriptors.open.items()):
            theirs = fd in process.messages.connection
            if theirs and isinstance(one, socket.socket) and hasattr(one, "recvmsg"):
                self._empty(process, fd, one)

    def _empty(self, process: Process, fd: int, one: socket.socket) -> None:
        for _ in range(LEFTOVERS):
            try:
                data, ancillary, *_ = one.recvmsg(1 << 16, ANCILLARY, MSG_DONTWAIT)
            except OSError:
                break
            if not data:
                break
            parts = process.messages.taken(fd, data, 1 << 16)
            for fate, count in parts:
                fate.left -= count
            stamped, run = process.wall.at(ancillary), process.run
            run.receipts.append(Receipt(0, run.end, parts, stamped, None, False))

    def report(self, process: Process, told: SenderReport) -> None:
        """What the sender has sent and seen."""
        run = process.run
        run.sent = {number: (before, after) for number, before, after in told["sent"]}
        run.evidence = [Evidence(*row) for row in told["evidence"]]
        for what, ns in (("sent late", told["late"]), ("not seen asleep", told["unseen"])):
            if ns > 0:
                run.disturbances += (Disturbance(what, ns),)
