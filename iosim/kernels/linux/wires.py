"""The connections of a measurement: our sockets, and the process that sends at their other ends."""

from __future__ import annotations

import json
import os
import socket
import threading
from contextlib import ExitStack, suppress

from ... import evidence
from ...traffic import Traffic
from ..scarce import beginning
from .features import stamp
from .helper import PATIENCE_S, Helper

__all__ = ["Sender", "Wires"]


class Sender(Helper):
    """The process that sends: `peer`, told what to send, waiting for the start."""

    script, name = "peer.py", "the sender"

    def prepare(self, story: Traffic, ports: list[int]) -> list[int]:
        """Tell it what to send; its ends of the connections, once they are made.

        `HelperError` if it cannot make them.
        """
        count = len(story.messages)
        self._task = f"send {count:,} message{'s'[: count != 1]} over {story.transport}"
        self._let_look()
        schedule = [
            [number, m.at_ns, m.size, m.connection, m.kind]
            for number, m in enumerate(story.messages, start=1)
        ]
        thread = [os.getpid(), threading.get_native_id()]
        self._tell(
            json.dumps(
                {
                    "transport": story.transport, "ports": ports, "schedule": schedule,
                    "thread": thread, "evidence": evidence.__file__, "stepwise": story.stepwise,
                }
            )
        )  # fmt: skip
        made: list[int] = self._answer()
        return made

    def tell(self, word: bytes) -> None:
        """What the program is about to do: see `gate`.  That the sender is gone shows elsewhere."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            os.write(self._process.stdin.fileno(), word)


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
        self.sender = Sender()
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
