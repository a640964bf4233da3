"""The connections of a measurement: our sockets, and the process that sends at their other ends."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, ClassVar

from ... import evidence
from ...traffic import Traffic
from .features import stamp

__all__ = ["Helper", "Sender", "Wires"]

PR_SET_PTRACER = 0x59616D61  # prctl(2): Yama lets a child read /proc/<pid>/syscall only if asked to
PEER_S = 20  # for the sender to start, or to stop


class Helper:
    """A process beside the program's: a script of this folder, told what to do, and when."""

    script: ClassVar[str]

    def __init__(self) -> None:
        script = Path(__file__).with_name(self.script)
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(script)], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, start_new_session=True,  # Ctrl-C is ours to handle
        )  # fmt: skip

    def _tell(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")
        self._process.stdin.flush()

    def _ports(self) -> list[int]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the sender process could not start")
        ports: list[int] = json.loads(line)
        return ports

    def begin(self, zero: int) -> None:
        """The run begins at `zero` on `perf_counter_ns`."""
        self._tell(str(zero))

    def finish(self) -> dict[str, Any]:
        """Stop it; what it has sent and seen."""
        out, _ = self._process.communicate(timeout=PEER_S)
        report: dict[str, Any] = json.loads(out)
        return report

    def kill(self) -> None:
        """Whatever happened: leave no process behind."""
        if self._process.poll() is None:
            self._process.kill()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                try:
                    stream.close()
                except BrokenPipeError:
                    pass
        self._process.wait()


class Sender(Helper):
    """The process that sends: `peer`, told what to send, waiting for the start."""

    script = "peer.py"

    def prepare(self, story: Traffic, ports: list[int]) -> list[int]:
        """Tell it what to send; its ends of the connections, once they are made.

        RuntimeError if it could not start.
        """
        _let_look(self._process.pid)
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
        return self._ports()

    def tell(self, word: bytes) -> None:
        """What the program is about to do: see `gate`.  That the sender is gone shows elsewhere."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            os.write(self._process.stdin.fileno(), word)

    def kill(self) -> None:
        """Whatever happened: leave no process behind."""
        super().kill()
        _let_look(0)


def _let_look(pid: int) -> None:
    """Allow the sender to read in which call we sleep, where the Yama module asks for that."""
    if os.path.exists("/proc/sys/kernel/yama"):
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_PTRACER, ctypes.c_ulong(pid), 0, 0, 0)


class Wires:
    """Our sockets, one for each connection, and the sender at their other ends."""

    def __init__(self, story: Traffic, rcvbuf: int | None, stack: ExitStack) -> None:
        self._rcvbuf, self._stack = rcvbuf, stack
        connect = {"udp": self._datagrams, "tcp": self._streams}[story.transport]
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
        listener.settimeout(PEER_S)
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
