"""The connections of a measurement: our sockets, and the process that sends at their other ends."""

from __future__ import annotations

import socket
from contextlib import ExitStack

from ..kernels.scarce import beginning
from ..traffic import Traffic
from .features import stamp
from .helper_process import PATIENCE_S
from .sender_process import SenderProcess

__all__ = ["Wires"]


class Wires:
    """Our sockets, one for each connection, and the sender at their other ends."""

    def __init__(self, story: Traffic, rcvbuf: int | None, stack: ExitStack) -> None:
        self._rcvbuf, self._stack = rcvbuf, stack
        connect = {"udp": self._datagrams, "tcp": self._streams}[story.transport]
        with beginning(f"the {story.connections} sockets of the story"):
            self.sockets = connect(story)
        for one in self.sockets:
            self._ask_for_stamps(one)

    def _open(self, kind: socket.SocketKind) -> socket.socket:
        one = self._stack.enter_context(socket.socket(socket.AF_INET, kind))
        if self._rcvbuf is not None:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._rcvbuf)
        one.bind(("127.0.0.1", 0))
        return one

    def _start(self, story: Traffic, ports: list[int]) -> list[int]:
        self.sender = SenderProcess()
        self._stack.callback(self.sender.kill)
        return self.sender.prepare(story, ports)

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
        while len(by_port) < count:
            one, (_, port) = listener.accept()
            self._stack.enter_context(one)
            one.settimeout(None)
            by_port[port] = one
        listener.close()
        return [by_port[port] for port in ports]

    @staticmethod
    def _ask_for_stamps(one: socket.socket) -> None:
        try:
            stamp(one)
        except OSError:  # none on this system: the sender's clock has to do
            return

    def shut(self) -> None:
        """End what waits for our sockets, in whatever thread: shutdown(2) wakes it."""
        for one in self.sockets:
            try:
                one.shutdown(socket.SHUT_RD)
            except OSError:  # a datagram socket is woken none the less
                continue
