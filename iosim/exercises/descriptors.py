"""Exercise 11: a server that stands a lack of descriptors."""

from __future__ import annotations

import errno
import selectors
import socket
import time
from typing import Any

from ..calls import ms
from ..hunting.claims import everybody_is_served
from ..hunting.space import Space
from ..workloads import clients
from .exercise import Exercise, Mistake, Part, spins
from .readiness import over_listener

__all__ = ["ACCEPT_ALL"]


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


def _three(seed: int) -> clients.Clients:
    return clients.several(3, clients.echo(2, 10 + seed % 3, every_ms=40), every_ms=15)


def _no_descriptor_left(seed: int) -> Space:
    return Space(_three(seed), delays=(ms(20),), cuts=False, short_writes=False, full=2, in_vain=30)


def _room_for_one(seed: int) -> Space:
    """Descriptors for epoll and one client, until somebody leaves."""
    return Space(_three(seed), options={"nofile": 2})


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
    accept_all, waits=True, real=Part(over_listener, _room_for_one, lambda seed: None),
)  # fmt: skip
