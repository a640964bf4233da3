"""The floor of this machine's kernel: the real modules, whose calls a recorder takes down."""

from __future__ import annotations

import _socket
import os
import select
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from types import ModuleType
from typing import Any

from ..real.descriptors import Kept, OpenFile, Waker
from ..recorder.record import record
from ..recorder.stamped import CREATE, FUNCTIONS
from .tasks import MeasuredTasks, watched
from .world import Floor, World, like

__all__ = ["Opened", "measured"]

REAL: dict[str, ModuleType] = {"_socket": _socket, "os": os, "time": time}
try:
    import fcntl
except ImportError:  # Windows
    pass
else:
    REAL["fcntl"] = fcntl


CLOSES = ("close", "_real_close")


class Opened:
    """What a program has opened, so that nothing of it is left open: sockets, epolls, pipes."""

    def __init__(self) -> None:
        self._things: weakref.WeakValueDictionary[int, OpenFile] = weakref.WeakValueDictionary()
        #: Of epoll: one that is thrown away is held in a cycle, by what stamps its calls.
        self.lists: list[OpenFile] = []
        self._ends: dict[int, tuple[int, int]] = {}  # of pipes, with device and inode
        self._waker = Waker()
        self.peers: list[tuple[int, int, int]] = []  # when an accepted fd was met, and the port
        self._kept = Kept()

    def add(self, thing: OpenFile) -> None:
        """A socket or an epoll that was made."""
        self._things[id(thing)] = thing

    def _all(self) -> list[OpenFile]:
        """Those that are there: of a copy, as threads and handlers open more meanwhile."""
        return [one for ref in self._things.valuerefs() if (one := ref()) is not None]

    def accepted(self, one: _socket.socket) -> None:
        """A socket of a descriptor that was there: what accept makes."""
        try:
            port = _socket.socket.getpeername(one)[1]
        except (OSError, IndexError):  # nobody is at the other end, or it is no internet socket
            return
        self.peers.append((time.perf_counter_ns(), one.fileno(), port))

    def enter(self, thread: object, what: str, fd: int | None) -> None:
        """`thread` is about to make a call; what it closes may be in use in another one."""
        if what in CLOSES and fd is not None and (uses := self._kept.uses(thread, fd)):
            made = next((one for one in self._all() if one.fileno() == fd), None)
            self._kept.keep(getattr(made, "_real", made), uses)
        self._kept.enter(thread, set() if fd is None else {fd})

    def leave(self, thread: object) -> None:
        """Its call is over, and so may be what was kept for it."""
        self._kept.leave(thread)

    def shut(self) -> None:
        """Wake whoever sleeps in a call on one of them, at the end of the run."""
        for thing in (*self._all(), *self._kept.things()):
            self._waker.wake(getattr(thing, "_real", thing))
        self._close_ends()

    def close(self) -> None:
        """All of it."""
        for thing in self._all():
            thing.close()
        while self.lists:
            self.lists.pop().close()
        self._kept.close()
        self._close_ends()
        self._waker.close()

    def pipe(self, ends: tuple[int, int]) -> tuple[int, int]:
        """The two ends of a pipe that was made."""
        self._ends |= {fd: _identity(fd) for fd in ends}
        return ends

    def _close_ends(self) -> None:
        """Those that are still these pipes': a file object may have closed one, and its number."""
        while self._ends:
            fd, identity = self._ends.popitem()
            with suppress(OSError):
                if _identity(fd) == identity:
                    os.close(fd)


def measured(tape: record, opened: Opened, tasks: MeasuredTasks) -> Floor:
    """The real modules, as far as a recorder knows their calls; `tasks` are told of asyncio's."""

    def like(name: str) -> Callable[[World], ModuleType]:
        return lambda world: _stamped(tape, name, opened)

    def sockets(world: World) -> ModuleType:
        made = world.execute("socket")
        vars(made)["socket"] = vars(made)["SocketType"] = _sockets(tape, made.socket, opened)
        return made

    return Floor(
        modules={
            **{name: like(name) for name in REAL}, "socket": sockets,
            "select": lambda world: _select(tape, opened),
        },
        # Tasks in C tell nobody of their steps, and know, from 3.14 on, one loop for a thread: a
        # notebook has its own.
        library=frozenset(("asyncio", "http", "selectors", "socketserver", "urllib")),
        in_c=frozenset(("_asyncio",)),
        watched={"asyncio.tasks": watched(lambda world: tasks)},
    )  # fmt: skip


def _stamped(tape: record, name: str, opened: Opened) -> ModuleType:
    """The module of this name, with the functions that are taken down."""
    real = REAL[name]
    made = like(real)
    for (module, function), method in FUNCTIONS.items():
        if module == name and hasattr(real, function):
            vars(made)[function] = tape.stamped(method, getattr(real, function))
    if name == "os":
        for function in ("pipe", "pipe2"):
            if hasattr(real, function):
                make = vars(made)[function]
                vars(made)[function] = lambda *flags, make=make: opened.pipe(make(*flags))
    return made


def _identity(fd: int) -> tuple[int, int]:
    found = os.fstat(fd)
    return found.st_dev, found.st_ino


def _sockets(tape: record, plain: Any, opened: Opened) -> type:
    """The class of sockets: those that are made are taken down as well, and kept in mind."""
    stamped: Any = tape.class_of(plain)
    create = tape.stamped(CREATE, plain.__init__)

    class Recorded(stamped):  # type: ignore[misc]
        __slots__ = ()

        def __init__(
            self, family: int = -1, type: int = -1, proto: int = -1, fileno: int | None = None
        ) -> None:
            if fileno is None:
                create(self, family, type, proto)
            else:
                plain.__init__(self, family, type, proto, fileno)
                opened.accepted(self)
            opened.add(self)

        def __del__(self) -> None:
            """One that is thrown away is closed, in silence: the process may be over."""
            _socket.socket.close(self)

        def __repr__(self) -> str:
            """It asks for names: calls that are nobody's, as when one is thrown away unclosed."""
            kind, self.__class__ = self.__class__, plain
            try:
                return str(plain.__repr__(self))
            finally:
                self.__class__ = kind

    Recorded.__name__ = Recorded.__qualname__ = plain.__name__
    Recorded.__module__ = plain.__module__
    return Recorded


def _select(tape: record, opened: Opened) -> ModuleType:
    made = ModuleType("select")
    vars(made).update(vars(tape.select_module()))
    for name in ("poll", "select"):
        if hasattr(made, name):
            vars(made)[name] = staticmethod(vars(made)[name])  # as one in C: no class binds it
    if hasattr(select, "epoll"):
        epoll = made.epoll

        class Kept(type(epoll)):  # type: ignore[misc]
            def __call__(cls, *args: object, **named: object) -> object:
                one = epoll(*args, **named)
                opened.add(one)
                opened.lists.append(one._real)
                return one

        vars(made)["epoll"] = Kept("epoll", (epoll,), {"__module__": "select"})
    return made
