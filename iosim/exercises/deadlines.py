"""Exercise 10: a server that closes in time on those who keep it waiting."""

from __future__ import annotations

import selectors
import socket
import time
from typing import Any

from ..calls import ms
from ..hunting.search import Broken
from ..hunting.space import Space
from ..plain.simulate import Outcome
from ..workloads import clients
from .exercise import Exercise, Mistake, Part, spins
from .readiness import over_listener, woken_too_often

__all__ = ["SERVE_IN_TIME"]

SIZE, SECONDS = 10, 1.0
LAST_NS = 1_550_000_000  # half a second late, and what the calls take
MOST_WAITS = 40
SILENT, DRIBBLES, ENDS, BOOKS = range(4)  # the parts: what one of the clients does


def serve_in_time(listener: socket.socket) -> None:
    """A right answer."""
    listener.setblocking(False)
    due: dict[socket.socket, float] = {}
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
                due[sock] = 0
            for sock in [one for one, at in due.items() if at <= time.monotonic()]:
                del due[sock]
                selector.unregister(sock)
                sock.close()


# -- the stories -----------------------------------------------------------------------------------

#: Whoever waits for one byte more than it is owed sees the server's close.
CLOSED = ("receive", 1)


def _space(*those: clients.Client) -> Space:
    return Space(
        clients.of(*those), delays=(ms(2), ms(40)), cuts=False, short_writes=False, in_vain=60
    )


def _honest(seed: int) -> clients.Client:
    """It needs 0.7 s for its request."""
    first = 3 + seed % 5
    pieces = (("send", first), ("wait", ms(700)), ("send", SIZE - first))
    return clients.script(*pieces, ("receive", SIZE), CLOSED, at_ms=1)


def _a_silent_one(seed: int) -> Space:
    return _space(clients.script(CLOSED), _honest(seed))


def _a_dribbler(seed: int) -> Space:
    step = (("send", 1), ("wait", ms(400 + seed % 5)))
    return _space(clients.script(*SIZE * step, CLOSED), _honest(seed))


def _an_early_end(seed: int) -> Space:
    early = clients.script(("send", 3 + seed % 5), ("shutdown", 0), CLOSED)
    whole = clients.script(("send", SIZE), ("receive", SIZE), CLOSED, at_ms=3)
    return _space(early, whole)


def _three(seed: int) -> Space:
    """The third one gets the number of the second one's descriptor."""
    quick = clients.script(("send", SIZE), ("receive", SIZE), CLOSED, at_ms=1)
    late = clients.script(
        ("send", 3), ("wait", ms(800)), ("send", 7), ("receive", SIZE), CLOSED, at_ms=800
    )
    return _space(clients.script(CLOSED), quick, late)


# -- what must hold --------------------------------------------------------------------------------


def _served(outcome: Outcome) -> str:
    """The second client's request is whole in time."""
    whole = outcome.visits[1]
    if whole.garbled or whole.received not in (0, SIZE):
        return f"a client got {whole.received} bytes, which are not the {SIZE} that it had sent"
    if whole.received < SIZE:
        came = sum(
            one.size for one in outcome.timeline.deliveries
            if one.connection == 1 and one.received is not None
        )  # fmt: skip
        why = f", though {SIZE} had come" if came == SIZE else ", and was closed"
        return f"a client that was in time got {whole.received} of {SIZE} bytes{why}"
    assert whole.begun is not None
    assert whole.over is not None
    first = (whole.answered[0] - whole.begun) / 1e9
    if first > 0.95:
        return f"a client whose request was whole after 0.7 s was answered after {first:.1f} s"
    if whole.over - whole.answered[0] > 200_000_000:
        later = (whole.over - whole.answered[0]) / 1e9
        return f"a client was closed {later:.1f} s later than it was answered"
    return ""


def _closed(outcome: Outcome, least: float, most: float) -> str:
    """The first client is closed after so many seconds, and has no answer."""
    other = outcome.visits[0]
    if other.received:
        return f"a client whose request was not whole was answered, with {other.received} bytes"
    assert other.connected is not None
    assert other.over is not None
    after = (other.over - other.connected) / 1e9
    return "" if least <= after <= most else f"it was closed after {after:.2f} s"


def _silent(outcome: Outcome) -> str:
    told = _served(outcome) or _closed(outcome, SECONDS, LAST_NS / 1e9)
    return told or woken_too_often(outcome, MOST_WAITS)


def _dribbles(outcome: Outcome) -> str:
    """It notices the close when its script comes to its receive, after four seconds."""
    read = [one.received or 0 for one in outcome.timeline.deliveries if one.connection == 0]
    late = [at for at in read if at > LAST_NS]
    if late:
        return f"a client was still read from at {late[0] / 1e9:.1f} s"
    return _served(outcome) or _closed(outcome, SECONDS, 60)


def _ends(outcome: Outcome) -> str:
    return _served(outcome) or _closed(outcome, 0, 0.2)


def _each_by_itself(outcome: Outcome) -> str:
    third = outcome.visits[2]
    if third.received < SIZE or third.garbled:
        return f"the third client, that was in time, got {third.received} of {SIZE} bytes"
    return _silent(outcome)


def _never_closes(part: int, found: Broken) -> bool:
    return found.kind == "stuck" and (part != SILENT or found.outcome.visits[0].over is not None)


SERVE_IN_TIME = Exercise(
    10, "serve_in_time", "deadlines",
    (
        Part(over_listener, _a_silent_one, lambda seed: _silent, cases=60),
        Part(over_listener, _a_dribbler, lambda seed: _dribbles, cases=60),
        Part(over_listener, _an_early_end, lambda seed: _ends, cases=60),
        Part(over_listener, _three, lambda seed: _each_by_itself, cases=60),
    ),
    (
        Mistake(
            "another answer",
            "The answer is the same ten bytes, no more and no fewer, and this client's own.",
            lambda part, found: "which are not" in found.words,
        ),
        Mistake(
            "whose deadline",
            "Each connection has a deadline of its own, and it goes when the connection does: the "
            "number of a descriptor is soon another client's.",
            lambda part, found: part == BOOKS
            and ("third client" in found.words or "was closed after" in found.words),
        ),
        Mistake(
            "answers half a request",
            "Fewer than ten bytes are no request, whether the client has ended its sending "
            '(recv gives b"") or its second is over: close, and answer nothing.',
            lambda part, found: "was not whole was answered" in found.words
            and f"with {SIZE} bytes" not in found.words,
        ),
        Mistake(
            "reads on after the end",
            'Behind its last byte a stream stays readable, and recv gives b"" again and again: '
            "that is the end of the request, and you close.",
            lambda part, found: part == ENDS and spins(part, found),
        ),
        Mistake(
            "never closes",
            "A client waits for your close, when it has been answered, and when it will not be.",
            _never_closes,
        ),
        Mistake(
            "nobody wakes you",
            "A client that sends nothing is never closed. Its second begins with accept, and when "
            "it is over nothing else may happen, so that your wait needs a time-out.",
            lambda part, found: found.kind == "stuck",
        ),
        Mistake(
            "each byte renews it",
            "Each byte starts your time-out anew, so that who sends one now and then holds a "
            "connection for long: a deadline is an instant, fixed at accept.",
            lambda part, found: part == DRIBBLES
            and ("still read" in found.words or "was answered, with" in found.words),
        ),
        Mistake(
            "forgets the first piece",
            "A request may come in pieces: keep what has come of each connection's, and answer "
            "with all of it.",
            lambda part, found: "had come" in found.words,
        ),
        Mistake(
            "closes an honest one",
            "A client that was within its second was cut off: its request came in pieces.",
            lambda part, found: "and was closed" in found.words,
        ),
        Mistake(
            "the others wait",
            "A client is answered as soon as its request is whole: while you wait for another "
            "one, or for a deadline, it waits for you.",
            lambda part, found: "was answered after" in found.words,
        ),
        Mistake(
            "closes at another time",
            "The deadline is one instant, a second after accept: sleep for what is left until the "
            "first one, whatever happens meanwhile, and close then. Close at once what has been "
            "answered, or has ended.",
            lambda part, found: "was closed" in found.words,
        ),
        Mistake(
            "a time-out ends it",
            "A deadline that passes is the end of one connection, not of the server.",
            lambda part, found: found.kind == "error" and isinstance(found.outcome.error, OSError),
        ),
        Mistake(
            "asks without a pause",
            "You look at the clock again and again: sleep in select until the next deadline, or, "
            "if there is none, until somebody comes (None). poll takes milliseconds.",
            lambda part, found: spins(part, found) or "woke up" in found.words,
        ),
    ),
    serve_in_time, waits=True,
)  # fmt: skip
