"""The sender: a process of its own, so that no interpreter lock ties it to the program it serves.

Run as a script, with the standard library only.  A line of JSON on its standard input tells it what
to send where; it answers with its own ports, waits for a line with the instant 0 (ns of
`perf_counter_ns`, the same clock in every process of a system), replays the schedule and at the end
reports the clock before and after each send.  The end of its input stops it.

While it waits it samples what /proc says of the program's thread, and leaves off a millisecond
before each send, to be punctual.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import sys
import threading
from time import perf_counter_ns as clock
from typing import Any

SPIN_NS = 300_000  # a sleep ends up to this much late: the rest of the way the clock is watched
QUIET_NS = 1_000_000  # no sampling in the last stretch before a send
SAMPLE_NS = 1_000_000  # between two samples, at the least
SAMPLES = 200  # in all

Rows = list[list[Any]]


class Stop(Exception):
    """Nobody listens any more."""


class Peer:
    """Sockets, a schedule and what has been done of it."""

    def __init__(self, plan: dict[str, Any]) -> None:
        self.schedule: Rows = plan["schedule"]
        self.sent: Rows = []
        self.evidence: Rows = []
        self.late = 0  # ns by which the latest one was behind its time
        self.stopped = threading.Event()
        self.zero = 0
        self.look = _sampler(plan)
        self.sockets = [_connect(plan["transport"], port) for port in plan["ports"]]

    def ports(self) -> list[int]:
        """Its own end of each connection."""
        return [s.getsockname()[1] for s in self.sockets]

    def watch_input(self) -> None:
        """Stop when the input ends, which it also does when the other process dies."""
        while os.read(0, 4096):
            pass
        self.stopped.set()

    def replay(self) -> None:
        """Send everything at its time."""
        for number, at, size, connection, kind in self.schedule:
            payload = bytes([number % 251]) * size  # made while there is time
            self.wait_until(self.zero + at)
            before = clock()
            self.late = max(self.late, before - self.zero - at)
            ACTIONS[kind](self.sockets[connection], payload)
            self.sent.append([number, before - self.zero, clock() - self.zero])

    def wait_until(self, deadline: int) -> None:
        """Sleep, sampling on the way, and watch the clock at the end."""
        pause = (deadline - clock()) * len(self.schedule) // SAMPLES
        self.sample_until(deadline - QUIET_NS, max(SAMPLE_NS, pause))
        while (left := deadline - clock()) > 0:
            if left > SPIN_NS:
                self.sleep(left - SPIN_NS)

    def sample_until(self, deadline: int, pause: int) -> None:
        """Look at the program's thread every `pause` ns."""
        while self.look and clock() + pause < deadline:
            self.sleep(pause)
            at = clock() - self.zero
            if at >= 0 and clock() < deadline:
                self.evidence.append([at, *self.look()])

    def sleep(self, ns: int) -> None:
        """Sleep; `Stop` if told to meanwhile."""
        if self.stopped.wait(max(0, ns) / 1e9):
            raise Stop


def _connect(transport: str, port: int) -> socket.socket:
    kind = {"udp": socket.SOCK_DGRAM, "tcp": socket.SOCK_STREAM}[transport]
    one = socket.socket(socket.AF_INET, kind)
    one.connect(("127.0.0.1", port))
    if transport == "tcp":
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return one


def _reset(one: socket.socket, _: bytes) -> None:
    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    one.close()


ACTIONS = {
    "data": lambda one, payload: one.sendall(payload),
    "eof": lambda one, _: one.shutdown(socket.SHUT_WR),
    "reset": _reset,
}


def _sampler(plan: dict[str, Any]) -> Any:
    """`evidence.sample` for the program's thread; None where /proc tells nothing."""
    names: dict[str, Any] = {"__name__": "evidence"}
    with open(plan["evidence"], encoding="utf-8") as file:
        exec(compile(file.read(), plan["evidence"], "exec"), names)
    pid, tid = plan["thread"]
    return (lambda: names["sample"](pid, tid)) if names["sample"](pid, tid)[0] else None


def main() -> None:
    """One run."""
    peer = Peer(json.loads(sys.stdin.buffer.readline()))
    print(json.dumps(peer.ports()), flush=True)
    line = sys.stdin.buffer.readline()
    if not line:
        return
    peer.zero = int(line)
    threading.Thread(target=peer.watch_input, daemon=True).start()
    trouble = ""
    try:
        peer.replay()
        peer.stopped.wait()
    except Stop:
        pass
    except OSError as error:  # the program's end of a connection is gone
        trouble = str(error)
    report = {
        "sent": peer.sent, "evidence": peer.evidence, "late": peer.late, "trouble": trouble,
    }  # fmt: skip
    print(json.dumps(report), flush=True)


if __name__ == "__main__":
    main()
