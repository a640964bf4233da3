"""io_uring: operations that are handed in and completed later, by `ring`."""

from __future__ import annotations

import threading
from collections.abc import Callable
from errno import EINVAL, EOPNOTSUPP
from functools import partial
from typing import TYPE_CHECKING

from ..calls import (
    io_uring_enter,
    io_uring_peek_cqe,
    io_uring_prep_accept,
    io_uring_prep_recv,
    io_uring_prep_send,
    io_uring_setup,
    io_uring_submit,
    io_uring_submit_and_wait,
)
from .answers import Prepared, answers
from .descriptors import keep
from .ring import Outcome, Ring
from .sockets import accepted

if TYPE_CHECKING:
    from .driver import Driver
    from .process import Process

__all__ = ["Submissions"]


class Submissions:
    """What is under way: by its ring and its number, and when a ring was last seen to be empty.

    `made_by` are the threads (`threading.get_ident`) that have made one; `empty` the rings in which
    nothing was found since the last submission.
    """

    def __init__(self) -> None:
        self.of: dict[tuple[int, int], tuple[type, int]] = {}  # the operation, and its descriptor
        self.looked: dict[int, int] = {}
        self.made_by: set[int] = set()
        self.empty: set[int] = set()


def _ring(process: Process, fd: int, errno: int = EINVAL) -> Ring:
    """Its rings lie in memory: there is none to look into behind another descriptor."""
    ring: Ring = process.descriptors.own(fd, Ring, errno)
    return ring


@answers(io_uring_setup)
def _io_uring_setup(driver: Driver, request: io_uring_setup) -> Prepared:
    def kept(call: int, start: int, end: int, ring: Ring) -> tuple[int, int]:
        driver.process.submissions.made_by.add(threading.get_ident())
        return keep(driver, call, start, end, ring)

    return partial(Ring, request.entries, request.flags), kept


# -- one receive at a time ---------------------------------------------------------------------


@answers(io_uring_submit)
def _io_uring_submit(driver: Driver, request: io_uring_submit) -> Prepared:
    process = driver.process
    ring, fd = _ring(process, request.ring), process.descriptors.operand(request.fd)
    return partial(ring.submit, fd, request.size), partial(_submitted, driver, request)


def _submitted(
    driver: Driver, request: io_uring_submit, call: int, start: int, end: int, number: int
) -> tuple[None, int]:
    driver.process.submissions.looked[request.ring] = start
    driver.process.submissions.empty.discard(request.ring)
    return _prepared(driver, request, call, start, end, number)


@answers(io_uring_peek_cqe)
def _io_uring_peek_cqe(driver: Driver, request: io_uring_peek_cqe) -> Prepared:
    ring = _ring(driver.process, request.ring)
    return ring.peek, partial(_completed, driver, request.ring)


@answers(io_uring_enter)
def _io_uring_enter(driver: Driver, request: io_uring_enter) -> Prepared:
    ring = _ring(driver.process, request.ring, EOPNOTSUPP)
    return ring.wait, partial(_completed, driver, request.ring, deferred=ring.deferred)


def _completed(
    driver: Driver, ring: int, call: int, start: int, end: int,
    result: tuple[int, bytes | OSError] | None, deferred: bool = False,
) -> tuple[bytes | None, int]:  # fmt: skip
    """The copy lies between the last look in vain and this one: nothing tells it closer.

    A call that slept until the completion did the copy itself, as task work, when it woke up; and
    so did one that waits on a `deferred` ring (IORING_SETUP_DEFER_TASKRUN), if that had been empty:
    what is there at the submission is copied by that.
    """
    submissions = driver.process.submissions
    since = submissions.looked.get(ring, 0)
    if result is None:
        submissions.looked[ring] = end
        submissions.empty.add(ring)
        return None, 0
    number, data = result
    _, fd = submissions.of.pop((ring, number))
    if isinstance(data, OSError):
        raise data
    woke = driver.woke(call) or (start if deferred and ring in submissions.empty else 0)
    parts = driver.process.completed(
        driver, fd, data, max(since, woke), end, call if woke else None
    )
    return data, sum(count for _, count in parts)


# -- many operations, handed in and awaited together --------------------------------------------


Preparing = io_uring_prep_accept | io_uring_prep_recv | io_uring_prep_send


@answers(io_uring_prep_accept)
def _prep_accept(driver: Driver, request: io_uring_prep_accept) -> Prepared:
    return _prepare(driver, request, Ring.prepare_accept)


@answers(io_uring_prep_recv)
def _prep_recv(driver: Driver, request: io_uring_prep_recv) -> Prepared:
    return _prepare(driver, request, Ring.prepare_recv, request.size)


@answers(io_uring_prep_send)
def _prep_send(driver: Driver, request: io_uring_prep_send) -> Prepared:
    return _prepare(driver, request, Ring.prepare_send, request.data)


def _prepare(
    driver: Driver, request: Preparing, prepare: Callable[..., int], *more: object
) -> Prepared:
    process = driver.process
    ring, fd = _ring(process, request.ring), process.descriptors.operand(request.fd)
    return partial(prepare, ring, fd, *more), partial(_prepared, driver, request)


def _prepared(
    driver: Driver, request: Preparing | io_uring_submit, call: int, start: int, end: int,
    number: int,
) -> tuple[None, int]:  # fmt: skip
    driver.process.submissions.of[request.ring, number] = type(request), request.fd
    return None, 0


@answers(io_uring_submit_and_wait)
def _submit_and_wait(driver: Driver, request: io_uring_submit_and_wait) -> Prepared:
    ring = _ring(driver.process, request.ring, EOPNOTSUPP)
    return ring.submit_and_wait, partial(_finished, driver, request.ring)


def _finished(
    driver: Driver, ring: int, call: int, start: int, end: int, found: list[tuple[int, Outcome]]
) -> tuple[list[tuple[type, int, Outcome]], int]:
    """All completions; what they copied lies in the part of the call after its sleep."""
    process = driver.process
    completions, nbytes, since = [], 0, max(start, driver.woke(call))
    for number, result in found:
        kind, fd = process.submissions.of.pop((ring, number))
        if kind is io_uring_prep_accept and isinstance(result, int):
            accepted(driver, result)
        elif isinstance(result, bytes):
            parts = process.completed(driver, fd, result, since, end, call)
            nbytes += sum(count for _, count in parts)
        completions.append((kind, fd, result))
    return completions, nbytes
