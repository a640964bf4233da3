"""Tells the sender when the program waits: a message comes after the call that waits for it.

A delay alone does not make that order.  Other work may keep the program from its call for longer
than any delay, so the sender (`helpers.sender`) holds a message back until it was told here that
the program

- is about to make a call that returns for nothing but a message, or to sleep (the sender then looks
  into /proc until its thread does sleep);
- is at its own work (`compute`), or asks in vain for the second time at the same line: it does not
  sleep, and looks again.

That is asked for before the first message and, in a story that is `in_step`, before each one.

The threads of a server write the same on a `board`, where the clients' process sees it.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Callable
from errno import EAGAIN, EINPROGRESS
from typing import IO

from ..calls import (
    Request,
    aio_error,
    compute,
    io_uring_peek_cqe,
    pthread_join,
    setsockopt,
    sleep,
)
from .helpers import board

__all__ = ["Gate", "ServerGate", "board_file"]

SLEEPS, WORKS, GOES_ON = b"s", b"w", b"-"  # the sender's words for the two, and for neither
SHARED = "/dev/shm"  # a file there has no disk whose writing could hold us up


def board_file() -> IO[bytes]:
    """A file without a name for one board."""
    folder = SHARED if os.access(SHARED, os.W_OK) else None
    file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  (the caller's)
    file.truncate(board.SIZE)
    return file


class Gate:
    """What the sender was told, and whether there is more to tell.

    tell      sends one of the words
    received  how many receives have brought something so far
    in_step   does every message wait for the program, or the first one only?
    """

    def __init__(
        self, tell: Callable[[bytes], None], received: Callable[[], int], in_step: bool
    ) -> None:
        self._tell, self._received, self._in_step = tell, received, in_step
        self._asleep = False  # was it said of the call that is under way?
        self._opened = -1  # how many receives there had been when the sender was told all
        self._limited: set[int] = set()  # descriptors with a time-out
        self._vain: set[tuple[int, type[Request], int | None]] = set()

    def before(self, request: Request, waits: bool, sleeps: bool) -> None:
        """The program makes this request; `waits`: it returns only when there is something."""
        if type(request) is setsockopt:
            (self._limited.add if request.ns else self._limited.discard)(request.fd)
        elif type(request) in (compute, pthread_join):  # who sleeps is another thread
            self._say(WORKS)
        elif waits and self._without_limit(request):
            self._opened = -1  # whatever it has left unread, nothing but a message wakes it up
            self._say(SLEEPS)
        elif type(request) is sleep:
            self._say(SLEEPS)

    def again(self, request: Request) -> None:
        """A signal's handler is over; the call that it interrupted goes on."""

    def after(
        self, request: Request, line: int | None, reply: object, error: Exception | None
    ) -> None:
        """It was answered."""
        if self._asleep:
            self._asleep = False
            self._say(GOES_ON)
        if _in_vain(request, reply, error):
            look = self._received(), type(request), line
            if look in self._vain:
                self._say(WORKS)
            self._vain.add(look)

    def _say(self, word: bytes) -> None:
        received = self._received()
        if self._opened == received or (received and not self._in_step):
            return
        if word == WORKS:  # nothing more to be seen
            self._opened = received
        self._asleep = word == SLEEPS
        self._tell(word)

    def _without_limit(self, request: Request) -> bool:
        limit = getattr(request, "timeout", None)
        return limit is None and getattr(request, "fd", None) not in self._limited


class ServerGate:
    """What one thread of a server says of itself on the board."""

    def __init__(self, table: board.Board, thread: int) -> None:
        self._table, self._thread = table, thread
        self._number, self._word, self._rounds = 0, board.RUNS, 0
        self._vain: set[tuple[type[Request], int | None, int | None]] = set()
        table.is_native(thread, threading.get_native_id())

    def before(self, request: Request, waits: bool, sleeps: bool) -> None:
        """The thread makes this request; `sleeps`: it may sleep in it."""
        if type(request) is pthread_join:
            self._say(board.JOINS, request.thread)
        elif type(request) is compute:
            self._say(board.WORKS)
        elif sleeps:
            self._say(board.SLEEPS)

    def again(self, request: Request) -> None:
        """A signal's handler is over; the call that it interrupted goes on."""
        self._say(board.SLEEPS)

    def after(
        self, request: Request, line: int | None, reply: object, error: Exception | None
    ) -> None:
        """It was answered.  Who comes to a line again, all in vain, has made a round."""
        vain = _in_vain(request, reply, error)
        if self._word != board.RUNS and not (vain and self._word == board.POLLS):
            self._say(board.RUNS)
        look = type(request), getattr(request, "fd", None), line
        if vain and look in self._vain:
            self._vain.clear()
            self._rounds += 1
            self._say(board.POLLS, self._rounds)
        self._vain.add(look) if vain else self._begin_anew()

    def _say(self, word: int, about: int = 0) -> None:
        self._number += 1
        self._word = word
        self._table.say(self._thread, self._number, word, about)
        if word != board.POLLS:
            self._begin_anew()

    def _begin_anew(self) -> None:
        self._rounds = 0
        self._vain.clear()


def _in_vain(request: Request, reply: object, error: Exception | None) -> bool:
    if error is not None:
        return getattr(error, "errno", None) == EAGAIN
    return (
        reply == []
        or (reply is None and type(request) is io_uring_peek_cqe)
        or (reply == EINPROGRESS and type(request) is aio_error)
    )
