"""Pipes and event counters, and read(2) and write(2) of any descriptor."""

from __future__ import annotations

import os
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from ..calls import eventfd, pipe, read, write
from .answers import Prepared, answers
from .descriptors import NO_FD, keep
from .features import missing
from .sockets import in_hands, sent

if TYPE_CHECKING:
    from .driver import Driver

__all__ = ["Counter", "PipeEnd"]


class PipeEnd:
    """One end of a pipe."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def fileno(self) -> int:
        """Its descriptor."""
        return self._fd

    def close(self) -> None:
        """Once, however often it is asked for."""
        fd, self._fd = self._fd, NO_FD
        if fd != NO_FD:
            os.close(fd)

    def shut(self) -> None:
        """Whoever waits at the other end is woken.  The number stays: a thread may be about to use
        it, and must not meet what has it next."""
        if self._fd != NO_FD:
            with open(os.devnull, "r+b", buffering=0) as null:
                os.dup2(null.fileno(), self._fd, inheritable=False)


class Counter(PipeEnd):
    """An eventfd."""

    def shut(self) -> None:
        """Who waits until it can be written to is woken, and who waits until it can be read."""
        for wake in (partial(os.read, self._fd, 8),
                     partial(os.write, self._fd, (1).to_bytes(8, "little"))):  # fmt: skip
            with suppress(OSError):
                os.set_blocking(self._fd, False)
                wake()


@answers(pipe)
def _pipe(driver: Driver, request: pipe) -> Prepared:
    def kept(call: int, start: int, end: int, made: tuple[int, int]) -> tuple[tuple[int, ...], int]:
        descriptors = driver.process.descriptors
        return tuple(descriptors.keep(PipeEnd(fd)) for fd in made), 0

    return os.pipe, kept


@answers(eventfd)
def _eventfd(driver: Driver, request: eventfd) -> Prepared:
    if not hasattr(os, "eventfd"):
        raise missing("eventfd")
    return lambda: Counter(os.eventfd(request.initval)), partial(keep, driver)


@answers(read)
def _read(driver: Driver, request: read) -> Prepared:
    fd = driver.process.descriptors.mine(request.fd)

    def finish(call: int, start: int, end: int, data: bytes) -> tuple[bytes, int]:
        return data, in_hands(driver, request, call, start, end, data, [])

    return partial(os.read, fd, request.size), finish


@answers(write)
def _write(driver: Driver, request: write) -> Prepared:
    fd = driver.process.descriptors.mine(request.fd)
    return partial(os.write, fd, request.data), partial(sent, driver)
