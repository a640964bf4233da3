"""Exercises 9 to 11: servers that stand a slow reader, a slow sender, and a lack of descriptors."""

from __future__ import annotations

import errno
import selectors
import socket
import time
from typing import Any

from ..calls import ms
from ..hunting.claims import everybody_is_served
from ..hunting.space import Space
from ..plain.simulate import Outcome
from ..workloads import clients
from .exercise import Exercise, Mistake, Part, spins, would_block
from .readiness import over_listener

__all__ = ["ACCEPT_ALL", "RELAY", "SERVE_IN_TIME"]

# -- 9: a relay under a memory cap ---------------------------------------------------------------

CAP = 100  # bytes that may be held for a connection
MUCH = 600  # bytes that the slow reader sends


def relay(listener: socket.socket) -> None:
    """A right answer: it reads only when it owes nothing."""
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


def _little_room(*those: clients.Client) -> Space:
    """Less than `MUCH` fits into the buffers between the relay and its clients."""
    return Space(
        clients.of(*those), delays=(ms(3), ms(50)), cuts=False, in_vain=40,
        options={"sndbuf": 50, "rcvbuf": 200},
    )  # fmt: skip


def _late(seed: int, *between: clients.Step) -> clients.Client:
    """It sends `MUCH`, and reads nothing for most of a second."""
    return clients.script(
        ("send", MUCH), *between, ("wait", ms(900 + seed % 9)), ("receive", MUCH), rcvbuf=40
    )


def _a_slow_reader(seed: int) -> Space:
    return _little_room(_late(seed), clients.echo(2, 20, every_ms=100))


def _under_the_cap(outcome: Outcome) -> str:
    slow, quick = outcome.visits
    if quick.received < 40 or (quick.over or 0) > 700_000_000:
        got = f"got {quick.received} of 40 bytes" if quick.received < 40 else "was served too late"
        return f"the quick client {got}, beside one that does not read"
    if slow.received < MUCH or slow.garbled:
        return f"the slow client got {slow.received} of {MUCH} bytes"
    held: dict[int | None, int] = {}
    for call in outcome.timeline.call_log:
        held[call.fd] = held.get(call.fd, 0) + call.nbytes - call.sent
        if held[call.fd] > CAP:
            return f"it held {held[call.fd]} bytes for a connection, more than {CAP}"
    return ""


def _a_half_close(seed: int) -> Space:
    return _little_room(_late(seed, ("shutdown", 0)))


def _all_is_paid(outcome: Outcome) -> str:
    (half,) = outcome.visits
    if half.received < MUCH or half.garbled:
        return f"a client that sent no more, and went on reading, got {half.received} of {MUCH}"
    return ""


RELAY = Exercise(
    9, "relay", "a relay under a memory cap",
    (
        Part(over_listener, _a_slow_reader, lambda seed: _under_the_cap, cases=60),
        Part(over_listener, _a_half_close, lambda seed: _all_is_paid, cases=60),
    ),
    (
        Mistake(
            "closes what it owes",
            'recv gives b"" when the client has no more to send; it may well read on '
            "(shutdown(2), SHUT_WR). Close when nothing is owed.",
            lambda part, found: "sent no more" in found.words,
        ),
        Mistake(
            "one slow reader stops all",
            "You wait for one client to take what it is owed, and meanwhile serve nobody else.",
            lambda part, found: "quick client" in found.words,
        ),
        Mistake(
            "a buffer without bound",
            "You read on while a client does not take what it is owed: stop asking for "
            "EVENT_READ when the cap is reached. TCP then holds the sender back.",
            lambda part, found: "more than" in found.words,
        ),
        Mistake(
            "asks without a pause",
            "You are told again and again of what you do not take: ask only for what you can do "
            "now.",
            spins,
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
    relay, waits=True,
)  # fmt: skip


# -- 10: deadlines -------------------------------------------------------------------------------

SIZE, SECONDS = 10, 1.0


def serve_in_time(listener: socket.socket) -> None:
    """A right answer."""
    listener.setblocking(False)
    due: dict[Any, float] = {}
    with selectors.DefaultSelector() as selector:
        selector.register(listener, selectors.EVENT_READ)
        while True:
            now = time.monotonic()
            ready = selector.select(max(0, min(due.values()) - now) if due else None)
            for key, _ in ready:
                sock: Any = key.fileobj
                if sock is listener:
                    connection, _ = listener.accept()
                    selector.register(connection, selectors.EVENT_READ, b"")
                    due[connection] = time.monotonic() + SECONDS
                    continue
                data = sock.recv(SIZE)
                if data and len(key.data + data) < SIZE:
                    selector.modify(sock, selectors.EVENT_READ, key.data + data)
                    continue
                if data:
                    sock.sendall(key.data + data)
                _close(selector, due, sock)
            for sock in [one for one, at in due.items() if at <= time.monotonic()]:
                _close(selector, due, sock)


def _close(selector: Any, due: dict[Any, float], sock: Any) -> None:
    del due[sock]
    selector.unregister(sock)
    sock.close()


def _a_dribbler(seed: int) -> Space:
    dribble = [step for _ in range(SIZE) for step in (("send", 1), ("wait", ms(400 + seed % 5)))]
    honest = (("send", 5), ("wait", ms(700)), ("send", 5), ("receive", SIZE))
    silent = clients.script(("receive", SIZE), at_ms=5_000)
    story = clients.of(
        clients.script(*dribble, ("receive", SIZE)), clients.script(*honest, at_ms=1), silent
    )
    return Space(story, delays=(ms(2), ms(40)), cuts=False, short_writes=False, in_vain=60)


def _in_time(outcome: Outcome) -> str:
    dribbler, honest, _ = outcome.visits
    if honest.received < SIZE:
        return f"the client that needed 0.7 s got {honest.received} of {SIZE} bytes"
    first = honest.answered[0]
    if first > 950_000_000:
        return f"the client that needed 0.7 s was answered at {first / 1e9:.1f} s"
    if dribbler.received:
        return "the client that sent a byte now and then was waited for, and answered"
    late = [
        one.received for one in outcome.timeline.deliveries
        if one.connection == 0 and one.received is not None and one.received > 1_500_000_000
    ]  # fmt: skip
    return f"a client was still read from at {late[0] / 1e9:.1f} s" if late else ""


def _an_early_end(seed: int) -> Space:
    early = clients.script(("send", 3 + seed % 5), ("shutdown", 0), ("receive", SIZE))
    whole = clients.script(("send", SIZE), ("receive", SIZE), at_ms=3)
    return Space(clients.of(early, whole), delays=(ms(2), ms(40)), cuts=False, short_writes=False)


def _only_whole(outcome: Outcome) -> str:
    early, whole = outcome.visits
    if early.received:
        return f"a request that ended early was answered, with {early.received} bytes"
    if whole.received < SIZE:
        return f"the client after one that ended early got {whole.received} of {SIZE} bytes"
    return ""


SERVE_IN_TIME = Exercise(
    10, "serve_in_time", "deadlines",
    (
        Part(over_listener, _a_dribbler, lambda seed: _in_time, cases=60),
        Part(over_listener, _an_early_end, lambda seed: _only_whole, cases=60),
    ),
    (
        Mistake(
            "answers half a request",
            'Where recv gives b"" before the tenth byte, the client has sent all that it will '
            "send: that is no request. Close, and answer nothing.",
            lambda part, found: "ended early was answered" in found.words,
        ),
        Mistake(
            "nobody wakes you",
            "A client that sends nothing is never closed: when its deadline comes, nothing else "
            "may happen, so that your wait needs a time-out.",
            lambda part, found: found.kind == "stuck",
        ),
        Mistake(
            "each byte renews it",
            "Each byte starts your time-out anew, so that who sends one now and then holds a "
            "connection for ever: a deadline is an instant, fixed when the request begins.",
            lambda part, found: "now and then" in found.words or "still read" in found.words,
        ),
        Mistake(
            "closes an honest one",
            "A slow client that was within its second was cut off.",
            lambda part, found: "bytes" in found.words and "0.7 s got" in found.words,
        ),
        Mistake(
            "the others wait",
            "While you wait for one client, the others wait for you.",
            lambda part, found: "was answered at" in found.words,
        ),
        Mistake(
            "a time-out ends it",
            "A deadline that passes, or a client that is gone, is the end of one connection, not "
            "of the server.",
            lambda part, found: found.kind == "error",
        ),
        Mistake(
            "asks without a pause",
            "You look at the clock again and again: sleep in select until the next deadline.",
            spins,
        ),
    ),
    serve_in_time, waits=True,
)  # fmt: skip


# -- 11: accept when descriptors run out ---------------------------------------------------------


def accept_all(listener: socket.socket) -> None:
    """A right answer."""
    listener.setblocking(False)
    with selectors.DefaultSelector() as selector:
        selector.register(listener, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                sock: Any = key.fileobj
                if sock is listener:
                    try:
                        connection, _ = listener.accept()
                    except OSError as error:
                        if error.errno not in (errno.EMFILE, errno.ENFILE):
                            raise
                        time.sleep(0.05)  # it stays readable: wait, until somebody has gone
                        continue
                    selector.register(connection, selectors.EVENT_READ)
                elif data := sock.recv(100):
                    sock.sendall(data)
                else:
                    selector.unregister(sock)
                    sock.close()


def _no_descriptor_left(seed: int) -> Space:
    story = clients.several(3, clients.echo(2, 10 + seed % 3, every_ms=40), every_ms=15)
    return Space(story, delays=(ms(20),), cuts=False, short_writes=False, full=2, in_vain=30)


ACCEPT_ALL = Exercise(
    11, "accept_all", "accept when descriptors run out",
    (Part(over_listener, _no_descriptor_left, lambda seed: everybody_is_served(1_200), cases=80),),
    (
        Mistake(
            "dies of it",
            "accept failed with EMFILE: no descriptor was left. That ends by itself, in a while; "
            "the clients that are there go on, the others wait in the queue.",
            lambda part, found: found.kind == "error" and "Too many open files" in found.words,
        ),
        Mistake(
            "spins",
            "With no descriptor left the connection stays in the queue, and the listener readable: "
            "select returns at once, accept fails again. Wait a little, or stop asking for a "
            "while.",
            spins,
        ),
        Mistake(
            "gives up",
            "You stopped accepting for good: ask again once a descriptor may be free.",
            lambda part, found: found.kind in ("claim", "stuck"),
        ),
    ),
    accept_all, waits=True,
)  # fmt: skip
