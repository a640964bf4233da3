"""What the network does: schedules of messages, replayed alike by every kernel.

A story says which bytes are sent, when and on which connection; it knows nothing of who reads them.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from ..validate import HOUR_NS, number, whole

__all__ = [
    "MAX_DATAGRAM", "Message", "Traffic", "burst", "one", "poisson", "replay", "several",
    "stream",
]  # fmt: skip

MAX_DATAGRAM = 65_507  # 65,535 less the headers of IPv4 (20) and UDP (8): RFC 768, RFC 791
MAX_STREAM = 64 << 20  # of one message on a stream: more only takes time
MAX_MESSAGES = 10_000_000
KINDS = ("data", "eof", "reset")
TRANSPORTS = ("udp", "tcp")


@dataclass(frozen=True, slots=True, repr=False)
class Message:
    """`size` bytes sent at `at_ns` (ns from the start) on `connection` (0, 1, ...).

    `kind` "eof" is the sender's shutdown, "reset" its reset (TCP): they carry no bytes.  `content`
    are the bytes themselves (over TCP), if it matters which they are.
    """

    at_ns: int
    size: int
    connection: int = 0
    kind: str = "data"
    content: bytes = b""

    def __post_init__(self) -> None:
        whole("at_ns", self.at_ns, 0, HOUR_NS, "ns")
        whole("connection", self.connection, 0, 1_000_000, "(a connection's number)")
        if self.kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {self.kind!r}")
        low, high = (1, MAX_STREAM) if self.kind == "data" else (0, 0)
        whole("size", self.size, low, high, "bytes")
        if self.content:
            whole("size of a message with this content", self.size, len(self.content),
                  len(self.content), "bytes")  # fmt: skip

    def __repr__(self) -> str:
        content = f", content={self.content!r}" if self.content else ""
        return (
            f"Message(at_ns={self.at_ns}, size={self.size}, connection={self.connection}, "
            f"kind={self.kind!r}{content})"
        )

    def payload(self, number: int, count: int | None = None, offset: int = 0) -> bytes:
        """`count` of its bytes (None: all), from the one at `offset` on, if it is message `number`.

        Without a content each byte is that number, mod 251.
        """
        count = self.size if count is None else count
        if self.content:
            return self.content[offset : offset + count]
        return bytes([number % 251]) * count


@dataclass(frozen=True, slots=True)
class Traffic:
    """A story: `messages` in the order of time, over "udp" or "tcp"; their numbers start at 1.

    On the real kernel other work may hold the program up.  So the first message, unless it comes at
    0, is held back until the program waits for it; with `stepwise` every later one as well, unless
    it comes at the same instant as the one before.  What follows moves by as much.  On the
    simulated kernel nothing is ever late, and messages come at their times.
    """

    messages: tuple[Message, ...]
    transport: str = "udp"
    stepwise: bool = field(default=False, repr=False)

    def __post_init__(self) -> None:
        if self.transport not in TRANSPORTS:
            raise ValueError(f"transport must be udp or tcp, got {self.transport!r}")
        whole("messages", len(self.messages), 1, MAX_MESSAGES, "messages")
        times = [message.at_ns for message in self.messages]
        if times != sorted(times):
            raise ValueError("messages must stand in the order of their time")
        if self.transport == "udp":
            self._check_datagrams()
        else:
            self._check_ends()

    def _check_ends(self) -> None:
        """After its end nothing comes on a connection: who sends has none any more."""
        ended: dict[int, str] = {}
        for message in self.messages:
            if kind := ended.get(message.connection):
                at = message.at_ns / 1e6
                raise ValueError(
                    f"nothing comes after the {kind} of connection {message.connection}, got "
                    f"{message.kind} at {at:,g} ms"
                )
            if message.kind != "data":
                ended[message.connection] = message.kind

    def _check_datagrams(self) -> None:
        for message in self.messages:
            if message.kind != "data":
                raise ValueError(f"a datagram socket knows no {message.kind}: use transport='tcp'")
            whole("size of a datagram", message.size, 1, MAX_DATAGRAM, "bytes")
            if message.content:
                raise ValueError("a datagram's bytes tell its number: for a content, use tcp")

    @property
    def connections(self) -> int:
        """How many connections it uses."""
        return 1 + max(message.connection for message in self.messages)

    def nbytes(self, connection: int | None = None) -> int:
        """How many bytes it sends in all, or on one connection."""
        return sum(m.size for m in self.messages if connection in (None, m.connection))

    def over(self, transport: str) -> Traffic:
        """The same story over "udp" or "tcp"."""
        return replace(self, transport=transport)

    def then(self, kind: str, after_ms: float = 1, connection: int = 0) -> Traffic:
        """The same story over TCP, and `after_ms` after its last message an "eof" or a "reset"."""
        last = Message(self.messages[-1].at_ns + _ns(after_ms), 0, connection, kind)
        return Traffic((*self.messages, last), "tcp", self.stepwise)

    def in_step(self) -> Traffic:
        """The same story, each message of which is sent only once the program waits again.

        A program that is slower than the story is never sent two messages before it asks.
        """
        return replace(self, stepwise=True)


def _ns(ms: object) -> int:
    return round(number("time", ms, 0, HOUR_NS / 1e6, "ms") * 1_000_000)


def one(after_ms: float = 20, size: int = 1_000, transport: str = "udp") -> Traffic:
    """One message of `size` bytes, `after_ms` after the start."""
    return Traffic((Message(_ns(after_ms), size),), transport)


def several(
    count: int = 3, every_ms: float = 20, size: int = 1_000, transport: str = "udp",
    connections: int = 1,
) -> Traffic:  # fmt: skip
    """`count` messages, `every_ms` apart, the first one `every_ms` after the start.

    With more `connections` they take turns.
    """
    whole("count", count, 1, MAX_MESSAGES, "messages")
    whole("connections", connections, 1, 1_000_000, "connections")
    return Traffic(
        tuple(Message(_ns(every_ms * i), size, (i - 1) % connections) for i in range(1, count + 1)),
        transport,
    )


def stream(*pieces: bytes, every_ms: float = 20) -> Traffic:
    """The bytes of `pieces` over TCP, `every_ms` apart, the first `every_ms` after the start."""
    gap = _ns(every_ms)
    return Traffic(
        tuple(
            Message(gap * place, len(piece), content=bytes(piece))
            for place, piece in enumerate(pieces, start=1)
        ),
        "tcp",
    )


def burst(
    count: int = 10, after_ms: float = 20, size: int = 1_000, transport: str = "udp",
    connections: int = 1,
) -> Traffic:  # fmt: skip
    """`count` messages at the same instant, `after_ms` after the start."""
    whole("count", count, 1, MAX_MESSAGES, "messages")
    whole("connections", connections, 1, 1_000_000, "connections")
    at = _ns(after_ms)
    return Traffic(tuple(Message(at, size, i % connections) for i in range(count)), transport)


def poisson(
    count: int = 10, rate_per_s: float = 50, size: int = 1_000, *, seed: int,
    transport: str = "udp", connections: int = 1,
) -> Traffic:  # fmt: skip
    """`count` messages whose gaps are exponential with mean 1/`rate_per_s`; same seed, same story.

    Each goes to one of the `connections` at random.
    """
    whole("count", count, 1, MAX_MESSAGES, "messages")
    whole("seed", seed, 0, (1 << 63) - 1, "(a seed)")
    whole("connections", connections, 1, 1_000_000, "connections")
    rate = number("rate_per_s", rate_per_s, 1e-3, 1e9, "messages/s")
    dice, at, messages = random.Random(seed), 0, []
    for _ in range(count):
        at += round(dice.expovariate(rate) * 1e9)
        messages.append(Message(at, size, dice.randrange(connections)))
    return Traffic(tuple(messages), transport)


def replay(
    schedule: Iterable[tuple[int, int] | tuple[int, int, int]], transport: str = "udp"
) -> Traffic:
    """A story from `(at_ns, size)` or `(at_ns, size, connection)` tuples, in any order."""
    return Traffic(tuple(sorted((Message(*row) for row in schedule), key=_when)), transport)


def _when(message: Message) -> int:
    return message.at_ns
