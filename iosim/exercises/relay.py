"""Exercise 9: a relay under a memory cap, which stands a client that does not read."""

from __future__ import annotations

import selectors
import socket
from typing import Any

from ..calls import ms
from ..hunting.space import Space
from ..plain.simulate import Outcome
from ..workloads import clients
from .exercise import Exercise, Mistake, Part, goes_on_wrongly, spins, would_block
from .readiness import AFTER_END, never_closes, over_listener, woken_too_often

__all__ = ["RELAY"]

CAP = 100  # bytes that may be held for a connection
MUCH = 600  # bytes that the slow reader sends
PIECES = 10
MOST_WAITS = 60
BUFFERS = {(socket.SOL_SOCKET, option) for option in (socket.SO_RCVBUF, socket.SO_SNDBUF)}


def relay(listener: socket.socket) -> None:
    """It reads only when it owes nothing."""
    listener.setblocking(False)
    with selectors.DefaultSelector() as selector:
        selector.register(listener, selectors.EVENT_READ, b"")
        while True:
            for key, _ in selector.select():
                sock: Any = key.fileobj
                if sock is listener:
                    connection, _ = listener.accept()
                    connection.setblocking(False)
                    selector.register(connection, selectors.EVENT_READ, b"")
                    continue
                owed = key.data or sock.recv(CAP)
                if not owed:
                    selector.unregister(sock)
                    sock.close()
                    continue
                try:
                    owed = owed[sock.send(owed) :]
                except BlockingIOError:
                    pass
                wanted = selectors.EVENT_WRITE if owed else selectors.EVENT_READ
                selector.modify(sock, wanted, owed)


def _story(seed: int, size: int, *between: clients.Step) -> clients.Clients:
    """A client that reads nothing for most of a second, and a quick one beside it."""
    late = ms(900 + seed % 9)
    pieces = [("send", size // PIECES)] * PIECES  # each of other bytes
    slow = clients.script(*pieces, *between, ("wait", late), ("receive", size), rcvbuf=40)
    if between:  # it has the server's close to wait for
        slow += (("receive", 1),)
    return clients.of(slow, clients.echo(2, 20, every_ms=100))


def _little_room(story: clients.Clients) -> Space:
    """Hardly anything fits into the buffers between the relay and its clients."""
    return Space(
        story, delays=(ms(3), ms(50)), cuts=False, in_vain=40,
        options={"sndbuf": 50, "rcvbuf": 200},
    )  # fmt: skip


def _a_slow_reader(seed: int) -> Space:
    return _little_room(_story(seed, MUCH))


def _a_half_close(seed: int) -> Space:
    """Its end is there while the relay still owes."""
    return _little_room(_story(seed, 3 * CAP // 2, ("shutdown", 0)))


def _for_real(seed: int) -> Space:
    """The smallest buffers of a real kernel hold some thousand bytes."""
    return Space(_story(seed, 50 * MUCH), options={"sndbuf": 1, "rcvbuf": 1})


def _claim(outcome: Outcome) -> str:
    slow, quick = outcome.visits
    assert isinstance(outcome.story, clients.Clients)
    if any(BUFFERS & options.keys() for options in outcome.kernel.socket_options.values()):
        return "it changed the size of a buffer of the kernel"
    wanted = outcome.story.clients[0].total(clients.SEND)
    if quick.received < 40 or (quick.over or 0) > 700_000_000:
        got = f"got {quick.received} of 40 bytes" if quick.received < 40 else "was served too late"
        return f"the quick client {got}, beside one that does not read"
    if slow.garbled or quick.garbled:
        return "a client got other bytes than it had sent"
    if slow.received < wanted:
        closed = ": the server had closed" if slow.end else ""
        return f"the slow client got {slow.received} of {wanted} bytes{closed}"
    held: dict[int | None, int] = {}
    for call in outcome.timeline.call_log:
        held[call.fd] = held.get(call.fd, 0) + call.nbytes - call.sent
        if held[call.fd] > CAP:
            return f"it held {held[call.fd]} bytes for a connection, more than {CAP}"
    return woken_too_often(outcome, MOST_WAITS)


RELAY = Exercise(
    9, "relay", "a relay under a memory cap",
    (
        Part(over_listener, _a_slow_reader, lambda seed: _claim, cases=60),
        Part(over_listener, _a_half_close, lambda seed: _claim, cases=60),
    ),
    (
        Mistake(
            "changes the buffers",
            "The kernel's own buffers are to stay as they are: what is held there is held as well.",
            lambda part, found: "size of a buffer" in found.words,
        ),
        Mistake(
            "the server ends",
            "Your server returned while clients were waiting.",
            goes_on_wrongly,
        ),
        Mistake(
            "sends other bytes",
            "Bytes went out twice, in another order, or to another client: what each one is owed "
            "is its own, and goes on behind what send says it has taken. (sendall does not say "
            "how much it sent before it failed.)",
            lambda part, found: "other bytes" in found.words or "ConnectionReset" in found.words,
        ),
        Mistake(
            "closes what it owes",
            'recv gives b"" when the client has no more to send; it may well read on '
            "(shutdown(2), SHUT_WR). Close when nothing is owed.",
            lambda part, found: part == AFTER_END and "had closed" in found.words,
        ),
        Mistake(
            "hangs up",
            "A slow client is no reason to close its connection: do not read from it for a while. "
            '(Did you ask for recv(0)? It gives b"" as well, and that is not the end.)',
            lambda part, found: "had closed" in found.words,
        ),
        Mistake(
            "never closes",
            "The client has said that it sends no more, and has got all that it was owed: close "
            "the connection.",
            never_closes,
        ),
        Mistake(
            "one slow reader stops all",
            "While one client does not read, the others are to be served: wait for none of them "
            "alone, and let each have a cap of its own.",
            lambda part, found: "quick client" in found.words,
        ),
        Mistake(
            "a buffer without bound",
            "You hold too much for a client that does not take what it is owed: receive no more "
            "than there is room for below the cap, and stop asking for EVENT_READ where there is "
            "none. TCP then holds the sender back.",
            lambda part, found: "more than" in found.words,
        ),
        Mistake(
            "reads on after the end",
            'Behind its last byte a stream stays readable, and recv gives b"" again and again: '
            "ask for EVENT_READ no more, also while something is owed.",
            lambda part, found: part == AFTER_END and spins(part, found),
        ),
        Mistake(
            "asks without a pause",
            "You look, or try, again and again where nothing can be done: ask only for what you "
            "can do now, and sleep in select until then.",
            lambda part, found: spins(part, found) or "woke up" in found.words,
        ),
        Mistake(
            "EAGAIN is no error",
            "BlockingIOError (EAGAIN) says that there is no room now: wait for EVENT_WRITE.",
            would_block,
        ),
        Mistake(
            "bytes are lost",
            "What does not fit must not be thrown away, nor left lying: ask for EVENT_WRITE, and "
            "go on reading once there is room.",
            lambda part, found: found.kind in ("claim", "stuck"),
        ),
    ),
    relay, waits=True, real=Part(over_listener, _for_real, lambda seed: None),
)  # fmt: skip
