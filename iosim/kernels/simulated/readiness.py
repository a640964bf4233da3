"""Readiness on the simulated kernel: open descriptions, who waits for them, and three ways to ask.

select and poll look at each description and stand in each of their queues; epoll has its interest
list told of every change, and looks at what is on its ready list: epoll(7).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from errno import EBADF, EEXIST, EINVAL, ELOOP, ENOENT, ENOTSOCK, EPERM
from itertools import islice
from os import strerror
from typing import Any

from ...syscalls import (
    EPOLL_CTL_ADD,
    EPOLL_CTL_DEL,
    EPOLL_CTL_MOD,
    EPOLLERR,
    EPOLLET,
    EPOLLEXCLUSIVE,
    EPOLLHUP,
    EPOLLIN,
    EPOLLONESHOT,
    EPOLLOUT,
    O_ASYNC,
    POLLNVAL,
    Ready,
    Request,
    epoll_create,
    epoll_ctl,
    epoll_wait,
    poll,
    select,
)  # fmt: skip
from ...timeline import KERNEL
from .engine import Engine
from .parts import File, Pollable, Socket, Task

__all__ = ["FOUND", "READINESS", "Interest", "Readiness", "Refused", "Watch"]

FIRST_FD = 3  # 0, 1 and 2 are taken
MAX_NESTS = 4  # interest lists that lie in each other, below the outermost one (EP_MAX_NESTS)
MS = 1_000_000
#: What may stand beside EPOLLEXCLUSIVE: epoll_ctl(2).
WITH_EXCLUSIVE = EPOLLIN | EPOLLOUT | EPOLLERR | EPOLLHUP | EPOLLET | EPOLLEXCLUSIVE


class Refused(Exception):
    """A call that fails with `errno` because of what is, or is not, number `number`."""

    def __init__(self, errno: int, number: int, what: str = "descriptor") -> None:
        super().__init__(errno, number)
        self.error = OSError(errno, f"{strerror(errno)}: {what} {number}")


class Watch:
    """One entry of an interest list: a descriptor, what for, and how it is told."""

    __slots__ = ("events", "fd", "interest", "thing")

    def __init__(self, interest: Interest, fd: int, thing: Pollable, events: int) -> None:
        self.interest, self.fd, self.thing, self.events = interest, fd, thing, events

    @property
    def exclusive(self) -> bool:
        """EPOLLEXCLUSIVE: not all who watch the same thing are woken."""
        return bool(self.events & EPOLLEXCLUSIVE)

    @property
    def found(self) -> int:
        """What it is ready for and was asked about; errors and hang-ups always: epoll_ctl(2)."""
        if not self.events & (EPOLLIN | EPOLLOUT):  # ONESHOT, spent
            return 0
        return self.thing.events & (self.events | EPOLLERR | EPOLLHUP)

    def harvest(self) -> Ready | None:
        """Take it off the ready list; level-triggered ones come back to its end (epoll(7))."""
        del self.interest.ready[self.fd]
        found = self.found & ~(EPOLLET | EPOLLONESHOT | EPOLLEXCLUSIVE)
        if not found:
            return None
        if self.events & EPOLLONESHOT:
            self.events &= ~(EPOLLIN | EPOLLOUT)
        elif not self.events & EPOLLET:
            self.interest.ready[self.fd] = self
        return Ready(self.fd, found)


class Interest(Pollable):
    """An interest list and its ready list: epoll(7)."""

    __slots__ = ("ready", "watched")

    def __init__(self, fd: int) -> None:
        super().__init__(fd)
        self.watched: dict[int, Watch] = {}
        self.ready: dict[int, Watch] = {}

    @property
    def events(self) -> int:
        """An epoll descriptor is itself readable when its ready list is not empty."""
        return EPOLLIN if any(watch.found for watch in self.ready.values()) else 0


class Readiness(Engine):
    """The table of descriptors, queues of sleepers, and the calls that ask what is ready."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.sockets: dict[int, Any] = {}  # all that is open, by descriptor
        self._free = FIRST_FD  # none below it is free

    def _reply(self, task: Task, value: Any = None, nbytes: int = 0) -> None:
        raise NotImplementedError

    def _fail(self, task: Task, errno: int, text: str = "") -> None:
        raise NotImplementedError

    def signal(self, task: Task, signo: int) -> None:
        """Send `signo` to `task`."""
        raise NotImplementedError

    def _tell_others(self, thing: Pollable) -> None:
        """Whoever else waits for a change of it."""

    # -- descriptors ---------------------------------------------------------------------------

    def _thing(self, fd: int, kind: type = Pollable, errno: int = EINVAL) -> Any:
        """What is open as `fd`: EBADF; and `errno`, if it is of another kind."""
        thing = self.sockets.get(fd)
        if not isinstance(thing, kind):
            raise Refused(EBADF if thing is None else errno, fd)
        return thing

    def _socket(self, fd: int, kind: type = Socket) -> Any:
        """For a socket's call."""
        return self._thing(fd, kind, ENOTSOCK)

    def _lowest(self) -> int:
        """The lowest descriptor that is free: open(2)."""
        while self._free in self.sockets:
            self._free += 1
        return self._free

    def _install(self, thing: Pollable) -> int:
        thing.fd = self._lowest()
        self.sockets[thing.fd] = thing
        return thing.fd

    def _new(self, task: Task, thing: Pollable) -> None:
        """The call replies with the descriptor of `thing`."""
        self._reply(task, self._install(thing))

    # -- sleeping, and being told --------------------------------------------------------------

    def _expired(self, task: Task, timeout: int | None) -> bool:
        """Is the time-out over?  Its clock starts at the first look."""
        if timeout is None:
            return False
        if task.deadline is None:
            task.deadline = self.now + timeout
        return self.now >= task.deadline

    def _wait_for(self, task: Task, places: Iterable[Pollable]) -> None:
        """Sleep until one of `places` has something."""
        for place in places:
            if task not in place.waiters:
                place.waiters = (*place.waiters, task)
        self._sleep(task, task.deadline)

    def _wake_all(self, place: Pollable) -> None:
        """Who waits here looks again; who finds nothing comes back."""
        waiters, place.waiters = place.waiters, ()
        for task in waiters:
            self._wake(task)

    @staticmethod
    def _forget(task: Task, places: Iterable[Pollable]) -> None:
        """`task` no longer waits here."""
        for place in places:
            if place.waiters:
                place.waiters = tuple(other for other in place.waiters if other is not task)

    def _wait_in_line(self, task: Task, thing: Pollable) -> None:
        """Asleep as one of whom a single one is woken (prepare_to_wait_exclusive)."""
        if task not in thing.acceptors:
            thing.acceptors = (*thing.acceptors, task)
        self._sleep(task, task.deadline)

    @staticmethod
    def _leave_line(task: Task, thing: Pollable) -> None:
        thing.acceptors = tuple(other for other in thing.acceptors if other is not task)

    def _tell(self, thing: Pollable, what: int) -> None:
        """Wake whoever sleeps for one of the events `what` of `thing`."""
        if thing.waiters:
            self._wake_all(thing)
        if thing.acceptors:
            first, *thing_rest = thing.acceptors
            thing.acceptors = tuple(thing_rest)
            self._wake(first)
        self._tell_others(thing)
        self._tell_watches(thing, what)
        if what & EPOLLIN and thing.flags & O_ASYNC and thing.owner is not None:
            self.signal(thing.owner, thing.signo)

    def _tell_watches(self, thing: Pollable, what: int) -> None:
        """Onto the ready lists; of those that watch exclusively, until one wakes somebody."""
        served = False
        for watch in sorted(thing.watches, key=lambda watch: watch.exclusive):
            if watch.exclusive and served:
                break
            if not (what & (watch.events | EPOLLERR | EPOLLHUP) and watch.found):
                continue
            woke = self._list_ready(watch)
            served = served or (watch.exclusive and woke)

    # -- the calls -----------------------------------------------------------------------------

    def _scan(self, task: Task, request: select | poll) -> None:
        wanted = request.asked
        if type(request) is select:
            for fd in wanted:
                self._thing(fd)
        per_fd = self.costs.select_per_fd if type(request) is select else self.costs.poll_per_fd
        ns = per_fd * len(wanted) + self._queueing(task, request, wanted)
        self._work(task, KERNEL, round(ns), self._scanned)

    def _queueing(self, task: Task, request: select | poll, wanted: Mapping[int, int]) -> float:
        """ns to get into the queues of all, and out again, where that has a price of its own."""
        return 0

    def _events(self, fd: int) -> int:
        """What poll(2) says of it now."""
        thing = self.sockets.get(fd)
        return POLLNVAL if thing is None else thing.events

    def _scanned(self, task: Task) -> None:
        request = task.request
        assert isinstance(request, select | poll)
        found, wanted = FOUND[type(request)], request.asked
        ready = [
            Ready(fd, events)
            for fd, asked in wanted.items()
            if (events := found(self._events(fd), asked))
        ]
        places = [self.sockets[fd] for fd in wanted if fd in self.sockets]
        timeout = request.timeout if isinstance(request, select) else _whole_ms(request.timeout)
        if ready or self._expired(task, timeout):
            self._forget(task, places)
            task.notice, task.lines = set(ready), 0
            self._reply(task, ready)
        else:
            self._wait_for(task, places)

    def _epoll_create(self, task: Task, request: Request) -> None:
        self._new(task, Interest(-1))

    def _epoll_ctl(self, task: Task, request: epoll_ctl) -> None:
        interest, thing = self._thing(request.epfd), self._thing(request.fd)
        errno = _refusal(interest, thing, request)
        if errno:
            self._fail(task, errno)
            return
        if request.op == EPOLL_CTL_DEL:
            self._drop(interest.watched[request.fd])
        elif request.op == EPOLL_CTL_MOD:
            interest.watched[request.fd].events = request.events
            self._look_at(interest.watched[request.fd])
        else:
            self._add(interest, request.fd, thing, request.events)
        self._reply(task)

    def _add(self, interest: Interest, fd: int, thing: Pollable, events: int) -> None:
        watch = interest.watched[fd] = Watch(interest, fd, thing, events)
        thing.watches = (*thing.watches, watch)
        self._look_at(watch)

    def _look_at(self, watch: Watch) -> None:
        if watch.found:
            self._list_ready(watch)

    @staticmethod
    def _drop(watch: Watch) -> None:
        watch.interest.watched.pop(watch.fd, None)
        watch.interest.ready.pop(watch.fd, None)
        watch.thing.watches = tuple(other for other in watch.thing.watches if other is not watch)

    def _list_ready(self, watch: Any) -> bool:
        interest: Interest = watch.interest
        interest.ready.setdefault(watch.fd, watch)
        woke = bool(interest.acceptors)
        self._tell(interest, EPOLLIN)
        return woke

    def _epoll_wait(self, task: Task, request: epoll_wait) -> None:
        interest = self._thing(request.epfd, Interest)
        self._wait_for_events(task, interest, request.maxevents, request.timeout)

    def _wait_for_events(
        self, task: Task, interest: Interest, most: int, timeout: int | None
    ) -> None:
        """Reply with what is ready of it, at most so many; sleep if there is nothing."""
        if interest.ready:
            ns = round(self.costs.epoll_per_ready * min(len(interest.ready), most))
            self._work(task, KERNEL, ns, lambda task: self._reap(task, interest, most))
        elif self._expired(task, _whole_ms(timeout)):
            self._leave_line(task, interest)
            self._reply(task, [])
        else:
            self._wait_in_line(task, interest)

    def _reap(self, task: Task, interest: Interest, most: int) -> None:
        """The events; and if something is left on the ready list, the next sleeper wakes up."""
        events: list[Ready] = []
        unseen = len(interest.ready)
        while unseen and len(events) < most:
            batch = list(islice(interest.ready.values(), min(unseen, most - len(events))))
            unseen -= len(batch)
            events += [found for watch in batch if (found := watch.harvest()) is not None]
        if not events:
            self._again(task)
            return
        self._leave_line(task, interest)
        if interest.ready and interest.acceptors:
            first, *others = interest.acceptors
            interest.acceptors = tuple(others)
            self._wake(first)
        task.notice = set(events)
        self._reply(task, events)


def _whole_ms(timeout: int | None) -> int | None:
    """poll(2) and epoll_wait(2) count in ms: what is less is rounded up."""
    return None if timeout is None else -(-timeout // MS) * MS


def _found_by_poll(events: int, asked: int) -> int:
    return events & (asked | EPOLLERR | EPOLLHUP | POLLNVAL)


def _found_by_select(events: int, asked: int) -> int:
    """Readable at an error or a hang-up, writable at an error: POLLIN_SET, POLLOUT_SET."""
    readable = EPOLLIN if events & (EPOLLIN | EPOLLHUP | EPOLLERR) else 0
    writable = EPOLLOUT if events & (EPOLLOUT | EPOLLERR) else 0
    return (readable | writable) & asked


FOUND: dict[type, Callable[[int, int], int]] = {select: _found_by_select, poll: _found_by_poll}


def _refusal(interest: Pollable, thing: Pollable, request: epoll_ctl) -> int:
    """The errno of epoll_ctl(2), in the order in which do_epoll_ctl finds it; 0: it may be done."""
    if isinstance(thing, File):
        return EPERM
    if thing is interest or not isinstance(interest, Interest):
        return EINVAL
    known = interest.watched.get(request.fd)
    add, change = request.op == EPOLL_CTL_ADD, request.op == EPOLL_CTL_MOD
    exclusive = request.events & EPOLLEXCLUSIVE
    if add and known is None and isinstance(thing, Interest) and _nests(thing, interest):
        return ELOOP
    rules = (
        (exclusive and change, EINVAL),
        (exclusive and add and isinstance(thing, Interest), EINVAL),
        (exclusive and add and request.events & ~WITH_EXCLUSIVE, EINVAL),
        (add and known is not None, EEXIST),
        (not add and known is None, ENOENT),
        (change and known is not None and known.exclusive, EINVAL),
    )
    return next((errno for holds, errno in rules if holds), 0)


def _nests(inner: Interest, outer: Interest, depth: int = 1) -> bool:
    """Would `outer` watch itself, or lists lie more than five deep (ep_loop_check)?"""
    return depth > MAX_NESTS or inner is outer or any(
        _nests(watch.thing, outer, depth + 1)
        for watch in inner.watched.values() if isinstance(watch.thing, Interest)
    )  # fmt: skip


READINESS: dict[type[Request], Callable[..., None]] = {
    select: Readiness._scan, poll: Readiness._scan, epoll_create: Readiness._epoll_create,
    epoll_ctl: Readiness._epoll_ctl, epoll_wait: Readiness._epoll_wait,
}  # fmt: skip
