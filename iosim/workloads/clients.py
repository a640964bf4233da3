"""What the clients of a server do: each follows a short script, replayed alike by every kernel.

A story of clients says who connects when, sends what, and waits for how many bytes of an answer; it
knows nothing of the server.  Times are in ns from the start of the run, sizes in bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from ..validate import HOUR_NS, number, whole
from .client_script import (
    AFTER,
    CLOSE,
    KINDS,
    RECEIVE,
    RESET,
    SEND,
    SHUTDOWN,
    UNTIL,
    WAIT,
)
from .traffic import MAX_STREAM, Message

__all__ = [
    "AFTER", "CLOSE", "RECEIVE", "RESET", "SEND", "SHUTDOWN", "UNTIL", "WAIT", "Client", "Clients",
    "echo", "of", "paced", "script", "several",
]  # fmt: skip

SIZED, TIMED, LAST = (SEND, RECEIVE), (WAIT, UNTIL), (RESET, CLOSE)
MAX_STEPS = 10_000
MAX_CLIENTS = 100_000

Step = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Client:
    """Connects at `at_ns` and then follows `steps`, pairs of a kind and a number:

    ("send", n)      hand n bytes to its kernel, and go on: it writes in the background
    ("receive", n)   read until n more bytes have come; only then it reads at all
    ("wait", ns)     do nothing for that long
    ("until", ns)    do nothing until that instant of the run
    ("after", n)     do nothing until n receive steps are over, of all clients together
    ("shutdown", 0)  send nothing more, but go on reading: shutdown(2), SHUT_WR
    ("reset", 0)     break off: close(2) with SO_LINGER of 0 s (socket(7)), which is the last step
    ("close", 0)     close(2), which ends every other script, said or not

    `rcvbuf` bounds what it takes in unread, in bytes (None: the system's default).
    """

    at_ns: int
    steps: tuple[Step, ...]
    rcvbuf: int | None = None

    def __post_init__(self) -> None:
        whole("a client's at_ns", self.at_ns, 0, HOUR_NS, "ns")
        whole("a client's steps", len(self.steps), 0, MAX_STEPS, "steps")
        if self.rcvbuf is not None:
            whole("a client's rcvbuf", self.rcvbuf, 1, 1 << 30, "bytes")
        for place, (kind, amount) in enumerate(self.steps, start=1):
            if kind not in KINDS:
                raise ValueError(f"a step must be one of {', '.join(KINDS)}, got {kind!r}")
            low, high, unit = _bounds(kind)
            whole(f"{kind}", amount, low, high, unit)
            if kind in LAST and place < len(self.steps):
                raise ValueError(f"{kind} is a client's last step, got {len(self.steps)} steps")

    def total(self, kind: str) -> int:
        """What its steps of this kind come to: bytes, or ns."""
        return sum(amount for one, amount in self.steps if one == kind)

    def __add__(self, other: Iterable[tuple[str, int]]) -> Client:
        """The same client with more `(kind, number)` steps behind its own."""
        return replace(self, steps=(*self.steps, *other))


def _bounds(kind: str) -> tuple[int, int, str]:
    if kind in SIZED:
        return 1, MAX_STREAM, "bytes"
    if kind == AFTER:
        return 0, MAX_CLIENTS * MAX_STEPS, "receive steps"
    return (0, HOUR_NS, "ns") if kind in TIMED else (0, 0, "(it takes no number)")


@dataclass(frozen=True, slots=True)
class Clients:
    """A story: `clients` by their numbers, from 0.  What they send are messages, from 1.

    Messages are numbered client by client, each client's in the order of its script.

    On the real kernel other work may hold the server up.  So the first connect, unless it comes at
    0, is held back until all threads of the server wait; with `stepwise` so is each later act of a
    client that a server can notice, one after the other: to connect, to send, to begin to read,
    `shutdown`, `reset` and the close at the end.  What follows moves by as much.  An act is held
    back for 2 s at most: a run in which that happened says so in its `disturbances`.  On the
    simulated kernel nothing is ever late, and clients act at their times.
    """

    clients: tuple[Client, ...]
    stepwise: bool = field(default=False, repr=False)

    def __post_init__(self) -> None:
        whole("clients", len(self.clients), 1, MAX_CLIENTS, "clients")
        for client in self.clients:
            if not isinstance(client, Client):
                raise TypeError(f"a client must be a Client, as script() makes it, got {client!r}")

    def __len__(self) -> int:
        return len(self.clients)

    @property
    def messages(self) -> Iterator[tuple[int, Message]]:
        """`(number, message)` of all that is to be sent; `at_ns` is the earliest instant of it."""
        counter = 0
        for place, client in enumerate(self.clients):
            for kind, amount in client.steps:
                if kind == SEND:
                    counter += 1
                    yield counter, Message(client.at_ns, amount, place)

    def in_step(self) -> Clients:
        """The same story, in which a client acts only once all threads of the server wait again.

        A server that is slower than the story never meets two acts before it asks.
        """
        return replace(self, stepwise=True)

    def nbytes(self) -> int:
        """How many bytes they send in all."""
        return sum(message.size for _, message in self.messages)


def _ns(ms: object) -> int:
    return round(number("time", ms, 0, HOUR_NS / 1e6, "ms") * 1_000_000)


def script(*steps: Step, at_ms: float = 0, rcvbuf: int | None = None) -> Client:
    """A client that connects at `at_ms` and follows `steps`."""
    return Client(_ns(at_ms), steps, rcvbuf)


def echo(count: int = 1, size: int = 1_000, every_ms: float = 0, *, at_ms: float = 0) -> Client:
    """A client that sends `count` messages of `size` bytes, and the next only after the echo.

    It connects at `at_ms` and waits `every_ms` before each message.
    """
    whole("count", count, 1, MAX_STEPS // 3, "messages")
    pause = ((WAIT, _ns(every_ms)),) if every_ms else ()
    return Client(_ns(at_ms), (*pause, (SEND, size), (RECEIVE, size)) * count)


def of(*clients: Client) -> Clients:
    """The story of these clients."""
    return Clients(clients)


def several(count: int, client: Client | Iterable[Client], every_ms: float = 0) -> Clients:
    """The story of `count` clients like `client`, or like several in turn, `every_ms` apart."""
    whole("count", count, 1, MAX_CLIENTS, "clients")
    kinds = (client,) if isinstance(client, Client) else tuple(client)
    whole("kinds of clients", len(kinds), 1, MAX_CLIENTS, "clients")
    gap = _ns(every_ms)
    turns = ((i * gap, kinds[i % len(kinds)]) for i in range(count))
    return Clients(tuple(replace(one, at_ns=one.at_ns + later) for later, one in turns))


def paced(
    connections: int = 10, messages: int = 20, every_ms: float = 2, size: int = 1_000,
    start_ms: float = 20,
) -> Clients:  # fmt: skip
    """`connections` clients that take turns: one message under way at a time.

    The next client sends `every_ms` after the answer to the one before, the first at `start_ms`;
    until half of that they connect.  With fewer `messages` than connections, the others are idle
    to the end.  So a server's calls for each message do not depend on how fast it is.
    """
    whole("connections", connections, 1, MAX_CLIENTS, "connections")
    whole("messages", messages, 1, 1_000_000, "messages")
    gap, start = _ns(every_ms), _ns(start_ms)
    clients = []
    for place in range(connections):
        turns = range(place, messages, connections)
        steps = tuple(
            step
            for turn in turns
            for step in (
                (AFTER, turn), (WAIT, gap) if turn else (UNTIL, start),
                (SEND, size), (RECEIVE, size),
            )
        )  # fmt: skip
        delay = start * place // (2 * connections)
        clients.append(Client(delay, (*steps, (AFTER, messages), (WAIT, gap + delay))))
    return Clients(tuple(clients))
