"""The simulated kernel, as plain code meets it: who is given a reply, and when the program ends."""

from __future__ import annotations

from signal import SIGINT
from types import GeneratorType
from typing import Any, ClassVar

from ..calls import ms
from ..sim.descriptions import Description
from ..sim.kernel import Kernel
from ..sim.task import Task

__all__ = ["GRACE_NS", "Ended", "PlainKernel", "consists_of"]

#: ns that a program has to end by itself when its story is over; then it is ended as by Ctrl-C.
GRACE_NS = ms(150)


class Ended(SystemExit):
    """The run is over.  No program goes on after it, and no thread says that it was ended so."""


def consists_of(error: BaseException, kinds: tuple[type[BaseException], ...]) -> bool:
    """Is it one of these, or a group of nothing else?"""
    if isinstance(error, BaseExceptionGroup):
        return all(consists_of(one, kinds) for one in error.exceptions)
    return isinstance(error, kinds)


class PlainKernel(Kernel):
    """Hands a reply over to plain code, where `Kernel` resumes a generator."""

    #: The handler in C is CPython's own, which only takes a note: it has returned when the one in
    #: Python runs, and that one may be interrupted by its own signal.
    holds_back: ClassVar[bool] = False

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.socket_options: dict[object, dict[tuple[int, int], object]] = {}
        self.deadline_of_program: int | None = None  # ns: once the story is over
        self.ended_it = False  # was the program asked to end?
        self.stopped: Exception | None = None  # why the run was ended before its time

    def _resume(self, task: Task, value: object, error: BaseException | None = None) -> None:
        if type(task.program) is GeneratorType:
            super()._resume(task, value, error)
        else:
            self.handed.append((task, value, error))

    def replaced(self, thing: Description, other: Description) -> None:
        """A socket that listens or connects keeps its options."""
        if thing in self.socket_options:
            self.socket_options[other] = self.socket_options.pop(thing)

    def line(self, task: Task) -> int | None:
        """Where plain code has made its call."""
        line: int | None = task.program.line
        return line

    def story_over(self) -> None:
        """The program has `GRACE_NS` to end by itself; less, if it waits for what never comes."""
        self.deadline_of_program = self.now + GRACE_NS
        self._end_those_who_sleep_until(max((event[0] for event in self._heap), default=0))

    def sleep(self, task: Task, deadline: int | None = None, note: str = "") -> None:
        """Not longer than the program has."""
        super().sleep(task, deadline, note)
        if deadline is not None:
            self._end_those_who_sleep_until(deadline)

    def _end_those_who_sleep_until(self, at: int) -> None:
        if self.deadline_of_program is not None and at > self.deadline_of_program:
            self.later(max(0, self.deadline_of_program - self.now), self.look_at_clock)

    def standstill(self) -> None:
        """Nothing more is on its way: the end, if the story is over."""
        if self.deadline_of_program is None:
            self.stopped = TimeoutError(self._deadlock())
            self.now += self.now // 8  # so that its sleep is to be seen
            raise Ended  # which the program does not take for an errno
        self.end_program()

    def time_is_up(self) -> bool:
        """Has the program had its time?"""
        return self.deadline_of_program is not None and self.now >= self.deadline_of_program

    def look_at_clock(self) -> None:
        """End the program if it has."""
        if self.time_is_up():
            self.end_program()

    def end_program(self) -> None:
        """As by Ctrl-C; and if it goes on all the same, without being asked."""
        main = self.processes[0]
        if main.program is None:
            return
        if self.ended_it:
            raise Ended
        self.ended_it = True
        self.deadline_of_program = self.now + GRACE_NS
        self.signal(main, SIGINT)

    def close(self) -> None:
        """Whatever is still there ends with the process: _exit(2)."""
        for task in self.processes:
            if task.program is not None:
                task.program = None
                if self.tape is not None:
                    self.tape.exit(task.name, self.now)

    def abandon(self, task: Task) -> None:
        """A handler has raised: the call that it interrupted does not go on."""
        assert task.frames
        task.program, task.request, task.call, task.side, _, _ = task.frames.pop()
        if task.side is not None:
            task.side.close()
            task.side = None
        self.leave(task, 4)  # EINTR
