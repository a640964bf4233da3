"""select, poll, epoll and kqueue: four ways to ask which descriptors are ready."""

from __future__ import annotations

import select as real_select
from collections.abc import Callable, Iterable, Sequence
from errno import EBADF
from functools import partial
from typing import TYPE_CHECKING, Any

from ..calls import (
    EPOLL_CTL_ADD,
    EPOLL_CTL_DEL,
    EPOLL_CTL_MOD,
    EPOLLIN,
    EPOLLOUT,
    POLLNVAL,
    Ready,
    epoll_create,
    epoll_ctl,
    epoll_wait,
    kevent,
    kqueue,
    poll,
    select,
)
from .answers import Prepared, answers, nothing, seconds
from .descriptors import Descriptors, keep
from .features import missing
from .no_interest import NoInterest

if TYPE_CHECKING:
    from .driver import Driver

Found = list[tuple[int, int]]  # descriptors and their events
METHODS = {EPOLL_CTL_ADD: "register", EPOLL_CTL_MOD: "modify", EPOLL_CTL_DEL: "unregister"}


def told(driver: Driver, call: int, start: int, end: int, found: Found) -> tuple[list[Ready], int]:
    """The reply, which is also how the program has learned of its data."""
    ready = [Ready(fd, events) for fd, events in found]
    driver.notice = set(ready)
    return ready, 0


@answers(select)
def _select(driver: Driver, request: select) -> Prepared:
    """A descriptor stands in a set once."""
    reads, writes = (
        list(dict.fromkeys(map(driver.process.descriptors.mine, fds)))
        for fds in (request.fds, request.writefds)
    )
    timeout = seconds(_ns_until_the_end(driver, request))
    return partial(_selected, reads, writes, timeout), partial(told, driver)


def _ns_until_the_end(driver: Driver, request: select | poll) -> int | None:
    """The time-out in ns; in another thread no longer than the run, for nothing may wake it."""
    if request.timeout is None and driver.watches:
        return round(driver.process.threads.left_s() * 1e9)
    return request.timeout


def _selected(reads: Sequence[int], writes: Sequence[int], timeout: float | None) -> Found:
    """Each descriptor once, those that were asked about for reading first."""
    readable, writable, _ = real_select.select(reads, writes, [], timeout)
    if not writable:
        return [(fd, EPOLLIN) for fd in readable]  # in the order of the question
    events = dict.fromkeys(readable, EPOLLIN)
    for fd in writable:
        events[fd] = events.get(fd, 0) | EPOLLOUT
    return [(fd, events[fd]) for fd in dict.fromkeys((*reads, *writes)) if fd in events]


@answers(poll)
def _poll(driver: Driver, request: poll) -> Prepared:
    if not hasattr(real_select, "poll"):
        raise missing("poll")
    mine = {fd: events for fd, events in request.asked.items() if fd in driver.process.descriptors}
    interest = real_select.poll()
    for fd, events in mine.items():
        interest.register(fd, events)
    ns = _ns_until_the_end(driver, request)
    look = partial(interest.poll, None if ns is None else -(-ns // 1_000_000))
    if len(mine) < len(request.asked):
        look = partial(_polled, interest.poll, request.asked, mine)
    return look, partial(told, driver)


def _polled(look: Callable[[int], Found], asked: Iterable[int], mine: Iterable[int]) -> Found:
    """What is not open is POLLNVAL, at once: poll(2)."""
    found = dict.fromkeys(set(asked) - set(mine), POLLNVAL) | dict(look(0))
    return [(fd, found[fd]) for fd in asked if fd in found]


@answers(epoll_create)
def _epoll_create(driver: Driver, request: epoll_create) -> Prepared:
    if not hasattr(real_select, "epoll"):
        raise missing("epoll")
    return real_select.epoll, partial(keep, driver)


@answers(epoll_ctl)
def _epoll_ctl(driver: Driver, request: epoll_ctl) -> Prepared:
    descriptors = driver.process.descriptors
    control = getattr(_interest(descriptors, request.epfd), METHODS[request.op])
    events = () if request.op == EPOLL_CTL_DEL else (request.events,)
    return partial(control, descriptors.mine(request.fd), *events), nothing


@answers(epoll_wait)
def _epoll_wait(driver: Driver, request: epoll_wait) -> Prepared:
    wait = _interest(driver.process.descriptors, request.epfd).poll
    return partial(wait, seconds(request.timeout), request.maxevents), partial(told, driver)


def _interest(descriptors: Descriptors, fd: int) -> real_select.epoll | NoInterest:
    """The interest list; for another descriptor what makes the call all the same."""
    epoll = getattr(real_select, "epoll", None)
    if epoll is None:
        raise missing("epoll")
    one = descriptors.open[descriptors.mine(fd)]
    return one if isinstance(one, epoll) else NoInterest(fd)


@answers(kqueue)
def _kqueue(driver: Driver, request: kqueue) -> Prepared:
    if not hasattr(real_select, "kqueue"):
        raise missing("kqueue")
    return real_select.kqueue, partial(keep, driver)


@answers(kevent)
def _kevent(driver: Driver, request: kevent) -> Prepared:
    descriptors = driver.process.descriptors
    interest = descriptors.own(request.kq, getattr(real_select, "kqueue", ()), EBADF)
    adds = [_kevent_of(descriptors.mine(fd)) for fd in request.adds]
    wait = partial(interest.control, adds, request.nevents, seconds(request.timeout))
    return wait, partial(_told_by_kqueue, driver)


def _kevent_of(fd: int) -> object:
    return real_select.kevent(fd)  # type: ignore[attr-defined]  # EVFILT_READ, EV_ADD


def _told_by_kqueue(
    driver: Driver, call: int, start: int, end: int, found: Any
) -> tuple[list[Ready], int]:
    return told(driver, call, start, end, [(event.ident, EPOLLIN) for event in found])
