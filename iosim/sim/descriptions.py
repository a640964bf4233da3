"""Open file descriptions, the table of descriptors, and the queues of who waits for a change."""

from __future__ import annotations

from collections.abc import Iterable
from errno import EBADF, EINVAL, EMFILE
from os import strerror
from typing import TYPE_CHECKING, Any, ClassVar

from ..calls import EPOLLERR, EPOLLIN, EPOLLOUT, O_ASYNC, SIGIO
from ..calls.request import RECEIVES
from ..machine.errors import failure
from .task import Sleep, Task, asleep

if TYPE_CHECKING:
    from .kernel import Kernel
    from .readiness import Watch
    from .uring import Operation

__all__ = [
    "DEFAULT_NOFILE", "Description", "Descriptors", "File", "changed", "failure", "forget",
    "in_line", "refusal", "sleep_on", "wake_line",
]  # fmt: skip

FIRST_FD = 3  # 0, 1 and 2 are taken
DEFAULT_NOFILE = 1 << 20


def refusal(errno: int, number: int, what: str = "descriptor") -> OSError:
    """The error of a call that fails because of what is, or is not, `what` `number`."""
    return OSError(errno, f"{strerror(errno)}: {what} {number}")


class Description:
    """An open file description: who sleeps for it, who watches it, and what it is ready for.

    `flags` are shared by all who have it open (dup(2)), unlike its number.
    """

    __slots__ = (
        "fd", "flags", "in_line", "operations", "owner", "senders", "signo", "waiters", "watches",
    )  # fmt: skip

    stream: ClassVar[bool] = False  # of bytes, without the ends of messages

    def __init__(self) -> None:
        self.fd = -1
        self.flags = 0  # O_NONBLOCK, O_ASYNC
        self.owner: Task | None = None  # of its signals: fcntl(2), F_SETOWN
        self.signo = SIGIO
        self.waiters: tuple[Task, ...] = ()  # asleep for it: all are woken
        self.in_line: tuple[Task | Watch, ...] = ()  # in a line: an event is for one of them
        self.senders: tuple[Task, ...] = ()  # asleep until there is room to send
        self.watches: tuple[Watch, ...] = ()  # of interest lists, in order of registration
        self.operations: tuple[Operation, ...] = ()  # of io_uring, waiting for it

    @property
    def events(self) -> int:
        """What poll(2) says of it now."""
        raise NotImplementedError

    @property
    def sleepers(self) -> set[Task]:
        """Who sleeps in a call on it."""
        in_line = (one for one in self.in_line if isinstance(one, Task))
        return {*self.waiters, *in_line, *self.senders}

    def put_away(self, kernel: Kernel) -> None:
        """Its last descriptor was closed, and nobody uses it any longer."""


class File(Description):
    """A regular file: always ready (poll(2))."""

    __slots__ = ()

    @property
    def events(self) -> int:
        """Both ways."""
        return EPOLLIN | EPOLLOUT


class Descriptors:
    """The table of a process: descriptions by their number, at most `nofile`.

    `kept`: what was closed under those who use it, until the last of them is done (fget, fput);
    `under_way`: the operations of io_uring that have waited and are not complete, with what for.
    """

    def __init__(self, nofile: int) -> None:
        self.open: dict[int, Description] = {}
        self.kept: dict[Description, set[Task | Operation]] = {}
        self.under_way: dict[Operation, Description] = {}
        self._nofile = nofile
        self._free = FIRST_FD  # none below it is free

    def get(self, fd: int, kind: type = Description, errno: int = EINVAL) -> Any:
        """What is open as `fd`: EBADF; and `errno`, if it is of another kind."""
        thing = self.open.get(fd)
        if not isinstance(thing, kind):
            raise refusal(EBADF if thing is None else errno, fd)
        return thing

    def room_for_one(self, fd: int = -1) -> None:
        """EMFILE at the limit."""
        if len(self.open) >= self._nofile:
            raise refusal(EMFILE, fd)

    def install(self, thing: Description) -> int:
        """Open `thing` as the lowest descriptor that is free: open(2)."""
        while self._free in self.open:
            self._free += 1
        thing.fd = self._free
        self.open[thing.fd] = thing
        return thing.fd

    def new(self, thing: Description) -> int:
        """The same, if the limit allows it."""
        self.room_for_one()
        return self.install(thing)

    def close(self, kernel: Kernel, fd: int) -> None:
        """Its number is free again: close(2)."""
        thing: Description = self.get(fd)
        del self.open[fd]
        self._free = min(self._free, fd)
        waiting = {one for one, place in self.under_way.items() if place is thing}
        if users := waiting | thing.sleepers:
            self.kept[thing] = users
        else:
            _put_away(kernel, thing)

    def done(self, kernel: Kernel, user: Task | Operation) -> None:
        """`user`, a task whose call returns or an operation that is over, uses nothing more."""
        for thing, users in list(self.kept.items()):
            users.discard(user)
            if not users:
                del self.kept[thing]
                _put_away(kernel, thing)


def _put_away(kernel: Kernel, thing: Description) -> None:
    """Nobody watches it, nobody gets its signals any more (__fput)."""
    thing.owner = None
    for watch in thing.watches:
        watch.drop()
    thing.put_away(kernel)


# -- sleeping, and being told ------------------------------------------------------------------


def sleep_on(task: Task, places: Iterable[Description], until: int | None = None) -> Sleep:
    """Stand in the queue of each of `places`, to sleep until one has something."""
    for place in places:
        if task not in place.waiters:
            place.waiters = (*place.waiters, task)
    return asleep(until)


def forget(task: Task, places: Iterable[Description]) -> None:
    """`task` no longer waits here."""
    for place in places:
        if place.waiters:
            place.waiters = tuple(other for other in place.waiters if other is not task)


def in_line(thing: Description, until: int | None = None) -> Sleep:
    """To sleep as one of whom a single one is woken."""
    return Sleep(until, thing)


def wake_line(kernel: Kernel, thing: Description, what: int, everybody: bool = False) -> None:
    """The first whom it wakes, or all (__wake_up_common): whoever stands there sleeps.

    An interest list stays there (EPOLLEXCLUSIVE), and may have nobody to wake.
    """
    for one in thing.in_line:
        if isinstance(one, Task):
            kernel.wake(one)
        elif not one.tell(kernel, what):
            continue
        if not everybody:
            return


def changed(kernel: Kernel, thing: Description, what: int, everybody: bool = False) -> None:
    """Something has changed: tell whoever sleeps for one of the events `what` of `thing`.

    `everybody`: of those in line, too, as when its state has changed (sk_state_change).
    """
    signalled = _signalled(thing, what) if thing.flags & O_ASYNC else None
    if thing.waiters:
        waiters, thing.waiters = thing.waiters, ()
        for task in waiters:  # who finds nothing comes back
            kernel.wake(task)
    if thing.senders:
        senders, thing.senders = thing.senders, ()
        for task in senders:
            kernel.wake(task)
    if thing.operations:
        operations, thing.operations = thing.operations, ()
        for operation in operations:
            operation.tell(kernel, thing, what)
    for watch in thing.watches:
        if not watch.exclusive:
            watch.tell(kernel, what)
    if thing.in_line:
        wake_line(kernel, thing, what, everybody)
    if signalled is not None:
        kernel.signal(signalled, thing.signo)


def _signalled(thing: Description, what: int) -> Task | None:
    """Its owner; nobody, if one sleeps in a receive on a stream (SOCKWQ_ASYNC_WAITDATA)."""
    received = thing.stream and any(
        task.request is not None and task.request.role == RECEIVES for task in thing.waiters
    )
    return thing.owner if what & EPOLLIN and (not received or what & EPOLLERR) else None
