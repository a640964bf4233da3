"""A process or thread of the simulated kernel: a program, and what it is doing."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from ..calls import Program, Request
from ..trace import USER

if TYPE_CHECKING:
    from .descriptions import Description
    from .interpreter import Interpreter
    from .uring import Operation

__all__ = [
    "FOREVER",
    "Frame",
    "Handler",
    "NotSimulated",
    "Side",
    "Sleep",
    "Task",
    "Thrown",
    "asleep",
]

#: The kernel's side of a call: it yields ns of work in the kernel, or a `Sleep`; returns the reply.
Side = Generator[Any, None, Any]
#: Another program in the place of the task's own: for a signal, or for a call.
Handler = Callable[[int], Program]


class Sleep:
    """What the kernel's side of a call yields to give up the core, until `deadline` (ns).

    `line`: of whom it is to sleep in the line, where an event is for one.
    """

    __slots__ = ("deadline", "line")

    def __init__(self, deadline: int | None = None, line: Description | None = None) -> None:
        self.deadline, self.line = deadline, line


FOREVER = Sleep()


class Thrown(Exception):
    """What the kernel's side of a call raises if the program is to meet with `error`, no errno."""

    def __init__(self, error: Exception) -> None:
        super().__init__(error)
        self.error = error


def asleep(deadline: int | None) -> Sleep:
    """Until it is woken, or until `deadline` (ns; None: for ever)."""
    return FOREVER if deadline is None else Sleep(deadline)


class NotSimulated(RuntimeError):
    """What was asked for is not simulated: one line that names it."""


class Frame(NamedTuple):
    """What a signal's handler, or a function that a call runs, has interrupted."""

    program: Program
    request: Request | None
    call: int | None
    side: Side | None
    then: Callable[[Task], None]
    signo: int  # that is held back meanwhile; 0: none is


class Task:
    """A process (or thread): a program, what it is doing, and what it is still to be told."""

    __slots__ = (
        "blocked", "brought", "call", "chilled", "cold", "frames", "handlers", "lately", "left",
        "line", "made", "mode", "name", "note", "notice", "pending", "program", "request", "side",
        "sleeping", "slice_end", "then", "token", "until", "work",
    )  # fmt: skip

    has_source: ClassVar[bool] = True  # is its program one whose lines a reader knows?
    interpreter: Interpreter | None = None  # whose lock its own code needs

    def __init__(self, name: str, program: Program | None) -> None:
        self.name = name
        self.program: Any = program  # None: it is over
        self.frames: list[Frame] | None = None
        self.request: Request | None = None
        self.side: Side | None = None  # the kernel's, while the task is in a call
        self.call: int | None = None  # its number in the record
        self.mode = USER
        self.note = ""  # why it is in the kernel, if in no call
        self.then: Callable[[Any], None] | None = None
        self.left = 0  # ns of the work that a preemption cut off
        self.until = 0
        self.slice_end = 0
        self.token = 0  # planned events of an older token are void
        self.sleeping = False
        self.line: Description | None = None  # in whose line it sleeps
        self.chilled = False  # it slept in this call: the rest of it finds cold caches
        self.cold = False  # and so does its own code after such a call
        self.made: set[type[Request]] | None = None  # the kinds of calls that it has made
        self.lately: set[type[Request]] | None = None  # and those since it last slept
        self.brought = 0  # bytes that its call, or the last one, copied
        self.handlers: dict[int, Handler] | None = None
        self.blocked: set[int] | None = None
        self.pending: list[int] | None = None  # signals
        self.work: list[Operation] | None = None  # operations of io_uring, as task work
        self.notice: set[int] | str = ""  # what last told it of data

    def enter_line(self, line: Description | None) -> None:
        """It is about to sleep there (prepare_to_wait_exclusive)."""
        if line is not None:
            self.line, line.in_line = line, (*line.in_line, self)

    def leave_line(self) -> None:
        """It sleeps no more, whatever has woken it (finish_wait)."""
        if self.line is not None:
            self.line.in_line = tuple(one for one in self.line.in_line if one is not self)
            self.line = None

    def deliverable(self) -> int | None:
        """The first signal that is pending and not held back.

        One is held back while its own handler runs: sigaction(2).
        """
        held = self.blocked or set()
        if self.frames:
            held = held | {frame.signo for frame in self.frames}
        return next((signo for signo in self.pending or () if signo not in held), None)

    @property
    def told(self) -> bool:
        """Does something wait to come between: task work, or a signal?"""
        return bool(self.work) or (bool(self.pending) and self.deliverable() is not None)
