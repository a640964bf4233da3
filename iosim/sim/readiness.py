"""Three ways to ask open descriptions what they are ready for: select, poll, epoll (and kqueue).

select and poll look at each description and stand in each of their queues; epoll has its interest
list told of every change, and looks at what is on its ready list: epoll(7).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from errno import EEXIST, EINVAL, ELOOP, ENOENT, EPERM
from itertools import islice

from ..calls import (
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
    POLLNVAL,
    Ready,
    Request,
    epoll_create,
    epoll_ctl,
    epoll_wait,
    kevent,
    kqueue,
    poll,
    select,
)
from ..trace import Scan
from .answers import answers
from .descriptions import (
    Description,
    File,
    changed,
    failure,
    forget,
    in_line,
    sleep_on,
    wake_line,
)
from .kernel import Kernel
from .task import Side, Task

__all__ = ["Interest", "Watch"]

MAX_NESTS = 4  # interest lists that lie in each other, below the outermost one (EP_MAX_NESTS)
MS = 1_000_000
#: What may stand beside EPOLLEXCLUSIVE: epoll_ctl(2).
WITH_EXCLUSIVE = EPOLLIN | EPOLLOUT | EPOLLERR | EPOLLHUP | EPOLLET | EPOLLEXCLUSIVE
HOW = EPOLLET | EPOLLONESHOT | EPOLLEXCLUSIVE  # how it is told, not of what (EP_PRIVATE_BITS)


# -- select and poll ---------------------------------------------------------------------------


@answers(select, poll)
def scan(kernel: Kernel, task: Task, request: select | poll) -> Side:
    """Look at all; if none is ready, stand in the queues of all, sleep, and look at all again."""
    is_select = type(request) is select
    wanted, found = request.asked, FOUND[type(request)]
    if is_select:
        for fd in wanted:
            kernel.table.get(fd)
    per_fd = kernel.costs.select_per_fd if is_select else kernel.costs.poll_per_fd
    timeout = request.timeout if is_select else _whole_ms(request.timeout)
    until, queues, places = None, 0, dict[Description, None]()
    while True:
        start, ns = kernel.now, per_fd * len(wanted)
        if kernel.costs.queue_per_fd and timeout != 0:
            moves, queues = _moves(kernel, request, queues)
            ns += kernel.costs.queue_per_fd / 2 * moves
        yield round(ns)
        ready = [
            Ready(fd, events)
            for fd, asked in wanted.items()
            if (events := found(_events(kernel, fd), asked))
        ]
        _note(kernel, task, start, wanted, ready)
        here = map(kernel.table.open.get, wanted)  # what is closed meanwhile: it stood there
        places |= dict.fromkeys(thing for thing in here if thing is not None)
        if until is None:
            until = kernel.deadline(timeout)
        if ready or kernel.passed(until):
            forget(task, places)
            task.notice = set(ready)
            return ready
        yield sleep_on(task, places, until)


def _note(kernel: Kernel, task: Task, start: int, fds: Iterable[int], ready: Iterable[int]) -> None:
    """Take down which descriptors were looked at since `start`."""
    if kernel.tape is not None and task.call is not None:
        found = tuple(map(int, ready))
        kernel.tape.scans.append(Scan(task.call, start, kernel.now, tuple(fds), found))


def _events(kernel: Kernel, fd: int) -> int:
    """What poll(2) says of it now."""
    thing = kernel.table.open.get(fd)
    return POLLNVAL if thing is None else thing.events


def _moves(kernel: Kernel, request: select | poll, queues: int) -> tuple[int, int]:
    """How often it now gets into a queue, or out of one; and in how many it stands then.

    At the first look into those of all descriptors before the first one that is ready, and if
    there is one out of them again; after a sleep out of all.
    """
    if queues:
        return queues, queues
    found, count = FOUND[type(request)], 0
    for fd, asked in request.asked.items():
        if found(_events(kernel, fd), asked):
            return 2 * count, 0
        count += 1
    return count, count


def _whole_ms(timeout: int | None) -> int | None:
    """poll(2) and epoll_wait(2) count in ms: what is less is rounded up."""
    return None if timeout is None else -(-timeout // MS) * MS


def _found_by_poll(events: int, asked: int) -> int:
    return events & (asked | EPOLLERR | EPOLLHUP | POLLNVAL)


def _found_by_select(events: int, asked: int) -> int:
    """Readable at an error or a hang-up, writable at an error: POLLIN_SET, POLLOUT_SET.

    What was closed meanwhile is both.
    """
    readable = EPOLLIN if events & (EPOLLIN | EPOLLHUP | EPOLLERR | POLLNVAL) else 0
    writable = EPOLLOUT if events & (EPOLLOUT | EPOLLERR | POLLNVAL) else 0
    return (readable | writable) & asked


FOUND: dict[type, Callable[[int, int], int]] = {select: _found_by_select, poll: _found_by_poll}


# -- epoll -------------------------------------------------------------------------------------


class Watch:
    """One entry of an interest list: a descriptor, what for, and how it is told.

    Of errors and hang-ups always: epoll_ctl(2).
    """

    __slots__ = ("events", "fd", "interest", "thing")

    def __init__(self, interest: Interest, fd: int, thing: Description, events: int) -> None:
        self.interest, self.fd, self.thing = interest, fd, thing
        self.ask(events)

    def ask(self, events: int) -> None:
        """For these from now on."""
        self.events = events | EPOLLERR | EPOLLHUP

    @property
    def exclusive(self) -> bool:
        """EPOLLEXCLUSIVE: not all who watch the same thing are woken."""
        return bool(self.events & EPOLLEXCLUSIVE)

    @property
    def found(self) -> int:
        """What it is ready for and was asked about."""
        return self.thing.events & self.events

    def look(self, kernel: Kernel) -> None:
        """Onto the ready list, if it is ready already."""
        if self.found:
            self.list_ready(kernel)

    def tell(self, kernel: Kernel, what: int) -> bool:
        """Of a change of `what`; does that wake somebody (ep_poll_callback)?"""
        return bool(what & self.events and self.found) and self.list_ready(kernel)

    def list_ready(self, kernel: Kernel) -> bool:
        """Onto the ready list; does that wake somebody?"""
        self.interest.ready.setdefault(self.fd, self)
        wakes = bool(self.interest.in_line)
        changed(kernel, self.interest, EPOLLIN)
        return wakes

    def harvest(self) -> Ready | None:
        """Take it off the ready list; level-triggered ones come back to its end (epoll(7))."""
        del self.interest.ready[self.fd]
        found = self.found
        if not found:
            return None
        if self.events & EPOLLONESHOT:
            self.events &= HOW  # spent: not even an error is told
        elif not self.events & EPOLLET:
            self.interest.ready[self.fd] = self
        return Ready(self.fd, found)

    def drop(self) -> None:
        """Off the interest list."""
        self.interest.watched.pop(self.fd, None)
        self.interest.ready.pop(self.fd, None)
        self.thing.watches = tuple(other for other in self.thing.watches if other is not self)
        self.thing.in_line = tuple(one for one in self.thing.in_line if one is not self)


class Interest(Description):
    """An interest list and its ready list: epoll(7)."""

    __slots__ = ("ready", "watched")

    def __init__(self) -> None:
        super().__init__()
        self.watched: dict[int, Watch] = {}
        self.ready: dict[int, Watch] = {}

    @property
    def events(self) -> int:
        """An epoll descriptor is itself readable when its ready list is not empty."""
        return EPOLLIN if any(watch.found for watch in self.ready.values()) else 0

    def put_away(self, kernel: Kernel) -> None:
        """Nothing is watched any longer."""
        for watch in list(self.watched.values()):
            watch.drop()

    def add(self, kernel: Kernel, fd: int, thing: Description, events: int) -> None:
        """Watch `thing`, by its number `fd`."""
        watch = self.watched[fd] = Watch(self, fd, thing, events)
        thing.watches = (*thing.watches, watch)
        if watch.exclusive:
            thing.in_line = (*thing.in_line, watch)
        watch.look(kernel)

    def reap(self, most: int) -> tuple[list[int], list[Ready]]:
        """Each on the ready list is looked at once, up to so many events: who was, and these."""
        looked: list[int] = []
        events: list[Ready] = []
        unseen = len(self.ready)
        while unseen and len(events) < most:
            batch = list(islice(self.ready.values(), min(unseen, most - len(events))))
            unseen -= len(batch)
            looked += [watch.fd for watch in batch]
            events += [found for watch in batch if (found := watch.harvest()) is not None]
        return looked, events


@answers(epoll_create, kqueue)
def new_interest_list(kernel: Kernel, task: Task, request: Request) -> int:
    """epoll_create1(2), kqueue(2)."""
    return kernel.table.new(Interest())


@answers(epoll_ctl)
def change_interest(kernel: Kernel, task: Task, request: epoll_ctl) -> None:
    """epoll_ctl(2)."""
    interest, thing = kernel.table.get(request.epfd), kernel.table.get(request.fd)
    errno = _errno(interest, thing, request)
    if errno:
        raise failure(errno)
    if request.op == EPOLL_CTL_DEL:
        interest.watched[request.fd].drop()
    elif request.op == EPOLL_CTL_MOD:
        interest.watched[request.fd].ask(request.events)
        interest.watched[request.fd].look(kernel)
    else:
        interest.add(kernel, request.fd, thing, request.events)


def _errno(interest: Description, thing: Description, request: epoll_ctl) -> int:
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


@answers(epoll_wait)
def wait_for_events(kernel: Kernel, task: Task, request: epoll_wait) -> Side:
    """epoll_wait(2)."""
    interest = kernel.table.get(request.epfd, Interest)
    timeout = _whole_ms(request.timeout)
    return (yield from _events_of(kernel, task, interest, request.maxevents, timeout))


@answers(kevent)
def watch_and_wait(kernel: Kernel, task: Task, request: kevent) -> Side:
    """kevent(2): begin to watch, then as epoll_wait."""
    interest = kernel.table.get(request.kq, Interest)
    for fd in request.adds:
        if fd not in interest.watched:
            interest.add(kernel, fd, kernel.table.get(fd), EPOLLIN)
    timeout = _whole_ms(request.timeout)
    return (yield from _events_of(kernel, task, interest, request.nevents, timeout))


def _events_of(
    kernel: Kernel, task: Task, interest: Interest, most: int, timeout: int | None
) -> Side:
    """Look at the ready list; sleep if it is empty; if something is left, the next one wakes up."""
    until = None
    while True:
        start = kernel.now
        if interest.ready:
            yield round(kernel.costs.epoll_per_ready * min(len(interest.ready), most))
        looked, events = interest.reap(most)
        _note(kernel, task, start, looked, events)
        if events:
            if interest.ready:
                wake_line(kernel, interest, EPOLLIN)
            task.notice = set(events)
            return events
        if looked:
            continue
        if until is None:
            until = kernel.deadline(timeout)
        if kernel.passed(until):
            return []
        yield in_line(interest, until)
