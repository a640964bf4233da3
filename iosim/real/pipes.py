"""Pipes and event counters, and read(2) and write(2) of any descriptor."""

from __future__ import annotations

import os
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

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

    shut = close  # whoever waits at the other end is woken


class Counter(PipeEnd):
    """An eventfd."""

    def shut(self) -> None:
        """Whoever waits for it is woken."""
        for wake in (partial(os.write, self._fd, (1).to_bytes(8, "little")),
                     partial(os.read, self._fd, 8)):  # fmt: skip
            with suppress(OSError):
                os.set_blocking(self._fd, False)
                wake()
                break


@answers(pipe)
def _pipe(driver: Driver, request: pipe) -> Prepared:
    def kept(call: int, start: int, end: int, made: tuple[int, int]) -> tuple[Any, int]:
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
