"""select, poll and epoll on this machine's kernel: three ways to ask which descriptors are ready.

Each function prepares one call: what to make, and what becomes of its result.
"""

from __future__ import annotations

import select as real_select
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from ..syscalls import (
    EPOLL_CTL_ADD,
    EPOLL_CTL_DEL,
    EPOLL_CTL_MOD,
    EPOLLIN,
    EPOLLOUT,
    POLLNVAL,
    Ready,
    Request,
    epoll_create,
    epoll_ctl,
    epoll_wait,
    poll,
    select,
)
from .answers import Prepared, nothing, seconds
from .features import missing

if TYPE_CHECKING:
    from .driver import LinuxKernel

__all__ = ["READINESS", "told"]

Found = list[tuple[int, int]]  # descriptors and their events
METHODS = {EPOLL_CTL_ADD: "register", EPOLL_CTL_MOD: "modify", EPOLL_CTL_DEL: "unregister"}


def told(
    kernel: LinuxKernel, call: int, start: int, end: int, found: Found
) -> tuple[list[Ready], int]:
    """The reply, which is also how the program has learned of its data."""
    ready = [Ready(fd, events) for fd, events in found]
    kernel.notice = set(ready)
    return ready, 0


def _select(kernel: LinuxKernel, request: select) -> Prepared:
    """A descriptor stands in a set once."""
    reads, writes = (
        list(dict.fromkeys(map(kernel.mine, fds))) for fds in (request.fds, request.writefds)
    )
    return partial(_selected, reads, writes, seconds(request.timeout)), partial(told, kernel)


def _selected(reads: Sequence[int], writes: Sequence[int], timeout: float | None) -> Found:
    """Each descriptor once, those that were asked about for reading first."""
    readable, writable, _ = real_select.select(reads, writes, [], timeout)
    if not writable:
        return [(fd, EPOLLIN) for fd in readable]  # in the order of the question
    events = dict.fromkeys(readable, EPOLLIN)
    for fd in writable:
        events[fd] = events.get(fd, 0) | EPOLLOUT
    return [(fd, events[fd]) for fd in dict.fromkeys((*reads, *writes)) if fd in events]


def _poll(kernel: LinuxKernel, request: poll) -> Prepared:
    if not hasattr(real_select, "poll"):
        raise missing("poll")
    mine = {fd: events for fd, events in request.asked.items() if kernel.is_mine(fd)}
    interest = real_select.poll()
    for fd, events in mine.items():
        interest.register(fd, events)
    timeout = None if request.timeout is None else -(-request.timeout // 1_000_000)
    look = partial(interest.poll, timeout)
    if len(mine) < len(request.asked):
        look = partial(_polled, interest.poll, request.asked, mine)
    return look, partial(told, kernel)


def _polled(look: Callable[[int], Found], asked: Iterable[int], mine: Iterable[int]) -> Found:
    """What is not open is POLLNVAL, at once: poll(2)."""
    found = dict.fromkeys(set(asked) - set(mine), POLLNVAL) | dict(look(0))
    return [(fd, found[fd]) for fd in asked if fd in found]


def _epoll_create(kernel: LinuxKernel, request: epoll_create) -> Prepared:
    if not hasattr(real_select, "epoll"):
        raise missing("epoll")
    return real_select.epoll, kernel.keep


def _epoll_ctl(kernel: LinuxKernel, request: epoll_ctl) -> Prepared:
    control = getattr(kernel.interest(request.epfd), METHODS[request.op])
    events = () if request.op == EPOLL_CTL_DEL else (request.events,)
    return partial(control, kernel.mine(request.fd), *events), nothing


def _epoll_wait(kernel: LinuxKernel, request: epoll_wait) -> Prepared:
    wait = kernel.interest(request.epfd).poll
    return partial(wait, seconds(request.timeout), request.maxevents), partial(told, kernel)


READINESS: dict[type[Request], Callable[[Any, Any], Prepared]] = {
    select: _select, poll: _poll, epoll_create: _epoll_create, epoll_ctl: _epoll_ctl,
    epoll_wait: _epoll_wait,
}  # fmt: skip
