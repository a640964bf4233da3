"""The sender: a process of its own, so that no interpreter lock ties it to the program it serves.

A line of JSON on its standard input tells it what
to send where; it answers with its own ports, waits for a line with the instant 0 (ns of
`perf_counter_ns`, the same clock in every process of a system), replays the schedule and at the end
reports the clock before and after each send.  The end of its input stops it.

The first message (of a stepwise story: every one) is held back until the program waits for it: the
input says so (see `gate`), or /proc says that its thread sleeps.  If it is late, the rest of the
schedule moves by as much.

While it waits for a send it samples what /proc says of the program's thread, and leaves off a
millisecond before each send, to be punctual.
"""

from __future__ import annotations

import json
import os
import select
import socket
import struct
from contextlib import suppress
from functools import partial
from time import perf_counter_ns as clock

from ...machine.procfs import in_a_call, sample
from .story_end import say_story_over

TYPE_CHECKING = False  # typing's, without importing it
if TYPE_CHECKING:
    from .plans import SenderPlan, SenderReport

SPIN_NS = 300_000  # a sleep ends up to this much late: the rest of the way the clock is watched
QUIET_NS = 1_000_000  # no sampling in the last stretch before a send
SAMPLE_NS = 1_000_000  # between two samples, at the least
SAMPLES = 200  # in all
LOOK_NS = 100_000  # between two looks whether the program waits
SLACK_NS = 2_000_000  # it may come to its call so late without moving anything
PATIENCE_NS = 2_000_000_000  # for a thread to be seen asleep that is about to be
UNTOLD_NS = 50_000_000  # plain code that sleeps for so long waits, in whatever nobody tells of
SLEEPS, WORKS = b"s", b"w"  # the words of `gate`


class Stop(Exception):
    """Nobody listens any more."""


class Sender:
    """Sockets, a schedule and what has been done of it."""

    def __init__(self, plan: SenderPlan) -> None:
        self.schedule = plan["schedule"]
        self.sent: list[tuple[int, int, int]] = []
        self.evidence: list[tuple[int, str, str, str]] = []
        self.late = 0  # ns by which the latest one was behind its time
        self.moved = 0  # ns by which the schedule is later than planned
        self.unseen = 0  # ns for which it was looked in vain whether the program sleeps
        self.said = b""  # what the program is at
        self.awake = 0  # when it was last seen so, by `clock`
        self.stepwise = plan["stepwise"]
        self.announces = plan.get("announces", False)
        self.input = 0  # the descriptor on which the program says what it is at
        self.zero = 0
        look = partial(sample, *plan["thread"])
        self.look = look if look()[0] else None  # else /proc tells nothing
        self.sockets = [_connect(plan["transport"], port) for port in plan["ports"]]

    def ports(self) -> list[int]:
        """Its own end of each connection."""
        return [s.getsockname()[1] for s in self.sockets]

    def replay(self) -> None:
        """Send everything at its time."""
        last = 0
        for number, at, size, connection, kind, *content in self.schedule:
            same = bytes([number % 251]) * size
            payload = "".join(content).encode("latin-1") or same  # made while there is time
            if at > last and (self.stepwise or not self.sent):
                self.hold_back(last, at)
            last, deadline = at, self.zero + self.moved + at
            self.wait_until(deadline)
            if self.said == WORKS:  # who sleeps on is seen to; who works must say so again
                self.said = b""
            before = clock()
            self.late = max(self.late, before - deadline)
            with suppress(OSError):  # the program has closed it: what is sent there is lost
                ACTIONS[kind](self.sockets[connection], payload)
            self.sent.append((number, before - self.zero, clock() - self.zero))

    def hold_back(self, last: int, at: int) -> None:
        """Until the program waits for what is planned for `at`; `last`: when the one before was."""
        told = self.awake = clock()
        while not self.waits(clock() - told):
            told = told if self.said == SLEEPS else clock()
            self.hear(LOOK_NS)
        slack = min(SLACK_NS, (at - last) // 2)
        self.moved += max(0, clock() - self.zero - self.moved - last - slack)

    def waits(self, since: int) -> bool:
        """Does the program wait?  `since`: for so many ns it is said to be about to sleep."""
        if self.said != SLEEPS:
            return self.said == WORKS or (self.announces and self.sleeps_on())
        if self.look is None:  # what cannot be seen is believed, a little later
            return since > SLACK_NS
        if in_a_call(*self.look()):
            self.hear(0)  # is it that sleep, or one after it?
            return self.said == SLEEPS
        self.unseen = max(self.unseen, since if since > PATIENCE_NS else 0)
        return since > PATIENCE_NS

    def sleeps_on(self) -> bool:
        """Plain code may wait where no call of it is taken down: for a signal, or for a thread."""
        if self.look is None or self.look()[0] != "S":
            self.awake = clock()
        return clock() - self.awake > UNTOLD_NS

    def wait_until(self, deadline: int) -> None:
        """Sleep, sampling on the way, and watch the clock at the end."""
        pause = (deadline - clock()) * len(self.schedule) // SAMPLES
        self.sample_until(deadline - QUIET_NS, max(SAMPLE_NS, pause))
        while (left := deadline - clock()) > 0:
            if left > SPIN_NS:
                self.hear(left - SPIN_NS)

    def sample_until(self, deadline: int, pause: int) -> None:
        """Look at the program's thread every `pause` ns."""
        while self.look and clock() + pause < deadline:
            self.hear(pause)
            before = clock()
            row = (before - self.zero, *self.look())
            if before >= self.zero and clock() < min(deadline, before + SAMPLE_NS):
                self.evidence.append(row)  # its parts are of one instant

    def hear(self, ns: int) -> None:
        """Sleep for `ns`, or until the program says something; `Stop` when it is over, or died."""
        if select.select([self.input], [], [], max(0, ns) / 1e9)[0]:
            said = os.read(self.input, 4096)
            if not said:
                raise Stop
            self.said = said[-1:]


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


def _line(rest: bytearray) -> bytes:
    """A line of the input, or b"" at its end; `rest` is what was read and belongs to the next."""
    while b"\n" not in rest:
        more = os.read(0, 1 << 16)
        if not more:
            return b""
        rest += more
    line, _, rest[:] = rest.partition(b"\n")
    return bytes(line)


def main() -> None:
    """One run."""
    rest = bytearray()
    sender = Sender(json.loads(_line(rest)))
    print(json.dumps(sender.ports()), flush=True)
    line = _line(rest)
    if not line:
        return
    sender.zero, sender.said = int(line), bytes(rest[-1:])
    with suppress(Stop):
        sender.replay()
        if sender.announces:
            say_story_over()
        while True:  # until the program is over
            sender.hear(1_000_000_000)
    report: SenderReport = {
        "sent": sender.sent, "evidence": sender.evidence, "late": sender.late,
        "unseen": sender.unseen,
    }  # fmt: skip
    print(json.dumps(report), flush=True)


if __name__ == "__main__":
    main()
