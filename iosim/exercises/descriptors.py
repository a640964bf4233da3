"""Exercise 11: a server that stands a lack of descriptors."""

from __future__ import annotations

import errno
import selectors
import socket
import time
from dataclasses import replace
from itertools import pairwise
from typing import Any

from ..calls import ms
from ..hunting.claims import everybody_is_served, wrong
from ..hunting.search import Broken
from ..hunting.space import Space
from ..plain.simulate import Outcome
from ..workloads import clients
from .exercise import Exercise, Mistake, Part
from .readiness import over_listener

__all__ = ["ACCEPT_ALL"]

SOON_MS, MOST_TRIES = 1_200, 40
GAP_NS = ms(40 + 20 + 150)  # between two answers: the client's own pauses, and the server's


def accept_all(listener: socket.socket) -> None:
    """A right answer: it does not look at the listener for a while."""
    listener.setblocking(False)
    with selectors.DefaultSelector() as selector:
        selector.register(listener, selectors.EVENT_READ)
        back = 0.0  # when it will look again, if it does not
        while True:
            wait = max(0, back - time.monotonic()) if back else None
            for key, _ in selector.select(wait):
                sock: Any = key.fileobj
                if sock is listener:
                    try:
                        connection, _ = listener.accept()
                    except OSError as error:
                        if error.errno not in (errno.EMFILE, errno.ENFILE):
                            raise
                        selector.unregister(listener)
                        back = time.monotonic() + 0.05
                    else:
                        selector.register(connection, selectors.EVENT_READ)
                elif data := sock.recv(100):
                    sock.sendall(data)
                else:
                    selector.unregister(sock)
                    sock.close()
            if back and time.monotonic() >= back:
                back = 0.0
                selector.register(listener, selectors.EVENT_READ)


def _space(story: clients.Clients, full: int = 0, **options: int) -> Space:
    return Space(
        story, delays=(ms(20),), cuts=False, short_writes=False, full=full, options=options,
        in_vain=30, calls=600,
    )  # fmt: skip


def _until_one_leaves(seed: int) -> Space:
    """There is room for three clients beside a selector, for one beside asyncio's loop."""
    return _space(clients.several(6, clients.echo(2, 10 + seed % 3, every_ms=40), 3), nofile=4)


def _for_a_while(seed: int) -> Space:
    stays, comes = (clients.echo(n, 10 + seed % 3, every_ms=40) for n in (30, 2))
    later = (replace(comes, at_ns=ms(at)) for at in (15, 30))
    return _space(clients.of(stays, *later), full=2)


def _claim(outcome: Outcome) -> str:
    for visit in outcome.visits:
        gap = max((late - early for early, late in pairwise(visit.answered)), default=0)
        if gap > GAP_NS:
            return f"a client that was there was not answered for {gap / 1e6:,.0f} ms"
    tries = sum(
        call.name == "accept" and call.errno == errno.EMFILE
        for call in outcome.timeline.call_log
    )  # fmt: skip
    if tries > MOST_TRIES:
        return f"it called accept {tries} times in vain"
    return wrong(everybody_is_served(SOON_MS), outcome)


def _serves_nobody(part: int, found: Broken) -> bool:
    names = [call.name for call in found.timeline.call_log[-20:]]
    return found.kind == "endless" and "sleep" in names


ACCEPT_ALL = Exercise(
    11, "accept_all", "accept when descriptors run out",
    (
        Part(over_listener, _until_one_leaves, lambda seed: _claim, cases=15),
        Part(over_listener, _for_a_while, lambda seed: _claim, cases=60),
    ),
    (
        Mistake(
            "dies of it",
            "accept failed with EMFILE: no descriptor was left. That does not last; the clients "
            "that are there go on, the others wait in the queue.",
            lambda part, found: found.kind == "error" and "Too many open files" in found.words,
        ),
        Mistake(
            "serves nobody meanwhile",
            "You wait for a descriptor, and serve nobody: it may be one of your own clients who "
            "will free one, by leaving.",
            _serves_nobody,
        ),
        Mistake(
            "spins",
            "With no descriptor left the connection stays in the queue, and the listener readable: "
            "select returns at once, accept fails again. Stop asking for a while.",
            lambda part, found: found.kind == "spins" or "times in vain" in found.words,
        ),
        Mistake(
            "turns clients away",
            "You closed a connection that somebody still needed.",
            lambda part, found: "eof" in found.words or "ECONN" in found.words,
        ),
        Mistake(
            "the others wait",
            "You wait for one thing, for a descriptor or a client, and nobody else is served "
            "meanwhile.",
            lambda part, found: "not answered for" in found.words,
        ),
        Mistake(
            "asks too late",
            "You asked for a new connection too late: soon after there is room it is to be let in, "
            "whoever else is there.",
            lambda part, found: "was served after" in found.words,
        ),
        Mistake(
            "gives up",
            "Somebody waits for ever: ask again once a descriptor may be free, and close what "
            "nobody needs any more.",
            lambda part, found: found.kind in ("claim", "stuck", "endless"),
        ),
    ),
    accept_all, waits=True,
)  # fmt: skip
