"""What every call is: `Request`, a plain value that a program yields to a kernel.

A call is only made by yielding it; one that is thrown away unyielded is an error that the kernel
reports, as Python reports a coroutine that was never awaited.
"""

from __future__ import annotations

import functools
import sys
import threading
from collections.abc import Generator
from dataclasses import dataclass, field
from itertools import count
from typing import Any, ClassVar

from ..validate import HOUR_NS, whole

__all__ = [
    "ASKS", "A_DESCRIPTOR", "A_SIZE", "FETCHES", "HANDS_IN", "IS_TOLD", "MAX_FD", "PASSES",
    "PREPARES", "RECEIVES", "ROLES", "SENDS", "Bound", "OfDescriptor", "Program", "Request",
    "Waiting", "WithTimeout", "never_yielded", "role_of",
]  # fmt: skip

MAX_FD = 1 << 20
Bound = tuple[int, int, str]  # from, to, of what unit
A_DESCRIPTOR: Bound = (0, MAX_FD, "(a descriptor)")  # which need not be open
A_SIZE: Bound = (1, 1 << 30, "bytes")

#: What a call has to do with the two phases of an input operation (UNP 6.2), to wait for the data
#: and to copy it: nothing, as it only makes or changes something; it asks whether the first one is
#: over, or sleeps until a signal says so; it goes through both; it is output; it has somebody else
#: go through both; it fetches what became of that; it lets time pass.
PREPARES, ASKS, IS_TOLD, RECEIVES, SENDS, HANDS_IN, FETCHES, PASSES = ROLES = (
    "prepares", "asks", "is told", "receives", "sends", "hands in", "fetches", "passes",
)  # fmt: skip

_roles: dict[str, str] = {}


def role_of(name: str) -> str:
    """The role of the call of this name; "" if it is none of these, as in a recorded run."""
    return _roles.get(name, "")


#: A program: yields requests, is sent replies, returns a result.
Program = Generator["Request", Any, Any]

_numbers = count(1)


class _NeverYielded(threading.local):
    """Calls that a program made and threw away unyielded: `lines`, with their line, oldest first.

    Each thread has its own, since a program runs in one.  Garbage of an earlier run may go at any
    time, also in the middle of another program, which did not make it: what counts was made since
    `begin`.
    """

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """A program is to be started: forget what was."""
        self.lines: list[str] = []
        self.since = next(_numbers)


never_yielded = _NeverYielded()


@dataclass(slots=True, eq=False)
class Request:
    """One call.  `trap`: it enters the kernel (others only read the program's own memory).

    `enters`: at the price of a system call; `listed`: how many descriptors the program lists in it;
    `arms`: it asks to be told later; `feature`: what a system must have that does not refuse it.
    `bounds`: of the arguments that are whole numbers, whatever the others are;
    `role`: one of `ROLES`; `errnos`: those that it knows, less EINTR; `linux`: the names of the
    system calls that it is made of, as strace(1) shows them, if not its own; `number`: its place in
    the order of their making, 0 once it was yielded.

    A call (classes in lower case, as system calls are) without a role is no class: TypeError.
    """

    role: ClassVar[str] = ""
    errnos: ClassVar[tuple[int, ...]] = ()
    linux: ClassVar[tuple[str, ...]] = ()
    trap: ClassVar[bool] = True
    enters: ClassVar[bool] = True
    listed: ClassVar[int] = 0
    arms: ClassVar[bool] = False
    feature: ClassVar[str] = ""
    bounds: ClassVar[dict[str, Bound]] = {}
    number: int = field(default_factory=_numbers.__next__, init=False, repr=False)

    @classmethod
    def linux_names(cls) -> tuple[str, ...]:
        """The names that the system call goes by in strace(1) and in /proc."""
        return cls.linux or (cls.__name__,)

    def __init_subclass__(cls) -> None:
        """A call has a role; and one whose arguments were refused was never made."""
        if cls.__name__.islower() and cls.role not in ROLES:
            raise TypeError(f"{cls.__name__}: a call needs a role: {', '.join(ROLES)}")
        _roles[cls.__name__] = cls.role
        check: Any = cls.__dict__.get("__post_init__")
        if check is None or hasattr(check, "__wrapped__"):  # slots make the class a second time
            return

        @functools.wraps(check)
        def checked(self: Request) -> None:
            try:
                check(self)
            except BaseException:
                self.number = 0
                raise

        cls.__post_init__ = checked  # type: ignore[method-assign]

    def __post_init__(self) -> None:
        """TypeError or ValueError unless each argument of `bounds` is a whole number in there."""
        for name, (low, high, unit) in self.bounds.items():
            value = getattr(self, name)
            if type(value) is not int or not low <= value <= high:
                number, self.number = self.number, 0
                whole(f"{type(self).__name__}: {name}", value, low, high, unit)
                self.number = number

    def check(self, name: str, low: int, high: int, unit: str) -> None:
        """TypeError or ValueError unless the attribute `name` is a whole number in [low, high]."""
        value = getattr(self, name)
        if type(value) is not int or not low <= value <= high:  # the words only where they are used
            whole(f"{type(self).__name__}: {name}", value, low, high, unit)

    def check_descriptors(self, *fds: int) -> None:
        """The same for each of `fds`, which need not be open."""
        for fd in fds:
            if type(fd) is not int or not 0 <= fd <= MAX_FD:
                whole(f"{type(self).__name__}: fd", fd, 0, MAX_FD, "(a descriptor)")

    def check_signal(self, signo: int) -> None:
        """The same for the number of a signal."""
        whole(f"{type(self).__name__}: signal", signo, 1, 64, "(a signal number)")

    def waits(self, nonblocking: bool) -> bool:
        """Does it return only when there is something for it?

        `nonblocking`: its descriptor is O_NONBLOCK.  A sleep waits for no data: it does not count.
        """
        return False

    def sleeps(self, nonblocking: bool) -> bool:
        """May it sleep, be it for something else than data?"""
        return self.waits(nonblocking)

    def __del__(self) -> None:
        number = getattr(self, "number", 0)  # it has none if its arguments were wrong
        at_the_very_end = never_yielded is None  # of Python, when modules have lost their names
        if number and not at_the_very_end and number > never_yielded.since:
            caller = sys._getframe().f_back  # whose statement let go of it
            if caller is not None:
                never_yielded.lines.append(f"line {caller.f_lineno}: {self!r}")


@dataclass(slots=True, eq=False)
class OfDescriptor(Request):
    """A call whose first argument is a descriptor."""

    bounds: ClassVar[dict[str, Bound]] = {"fd": A_DESCRIPTOR}
    fd: int


class Waiting(Request):
    """A call that always waits."""

    __slots__ = ()

    def waits(self, nonblocking: bool) -> bool:
        """Whatever its descriptor is."""
        return True


class WithTimeout(Request):
    """A call that waits for `timeout` ns (None: for ever; 0: it only looks)."""

    __slots__ = ()
    timeout: int | None

    def check_timeout(self) -> None:
        """TypeError or ValueError unless the time-out is None or ns."""
        if self.timeout is not None:
            self.check("timeout", 0, HOUR_NS, "ns")

    def waits(self, nonblocking: bool) -> bool:
        """Unless its time-out is 0."""
        return self.timeout != 0
