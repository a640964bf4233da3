"""One run of plain code on the simulated kernel: its threads, and whose turn it is.

A call of plain code is asked of the kernel, and the kernel goes on, event by event, until that call
returns: whoever waits drives it.  A program of one thread needs no thread of ours.  Each further
thread of the program is one of ours, too; only one at a time has the turn, and the simulated
scheduler says which.
"""

from __future__ import annotations

import ctypes
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from errno import EBADF
from functools import partial
from types import CodeType, FrameType, GeneratorType
from typing import Any

from ..calls import Request, ms, write
from ..kernels.resource_limits import beginning
from ..kernels.watchdog import PACKAGE, Expired
from ..machine.cores import WASM
from ..machine.errors import failure
from ..sim.kernel import Kernel
from ..sim.task import NotSimulated, Task
from .calls import pthread_create, tgkill
from .tasks import TaskLanes

__all__ = [
    "GRACE_NS", "Ended", "NotSimulated", "PlainKernel", "PlainThread", "Run", "consists_of",
    "run_of_this_thread",
]  # fmt: skip

#: ns that a program has to end by itself when its story is over; then it is ended as by Ctrl-C.
GRACE_NS = ms(150)
SignalHandler = Callable[[int, FrameType | None], object]  # as `signal.signal` takes it
JOIN_S = 0.2  # for a thread of ours to end


class Ended(SystemExit):
    """The run is over.  No program goes on after it, and no thread says that it was ended so."""


def consists_of(error: BaseException, kinds: tuple[type[BaseException], ...]) -> bool:
    """Is it one of these, or a group of nothing else?"""
    if isinstance(error, BaseExceptionGroup):
        return all(consists_of(one, kinds) for one in error.exceptions)
    return isinstance(error, kinds)


class PlainKernel(Kernel):
    """Hands a reply over to plain code, where `Kernel` resumes a generator."""

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
        self.signal(main, signal.SIGINT)

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


class PlainThread:
    """A thread of plain code: its task, whether it has the turn, and what it was replied."""

    __slots__ = ("at_end", "inbox", "line", "os_thread", "task", "turn")

    def __init__(self) -> None:
        self.task: Task
        self.turn = threading.Lock()
        self.turn.acquire()
        self.inbox: tuple[object, BaseException | None] | None = None
        self.line: int | None = None  # at which it has made its call
        self.os_thread: threading.Thread  # but for the first one, which is who began the run
        self.at_end: list[Callable[[], object]] = []


class Handler:
    """A signal's handler, in the place of the program that it interrupts."""

    __slots__ = ("begun", "function", "line", "signo")

    def __init__(self, function: SignalHandler, signo: int, line: int | None) -> None:
        self.function, self.signo, self.line = function, signo, line
        self.begun = False


_this_thread = threading.local()


def run_of_this_thread() -> Run | None:
    """The simulated run whose program this thread is executing."""
    return getattr(_this_thread, "run", None)


class Run:
    """Plain code and the kernel that answers it.  `file`: where the program's own lines stand."""

    def __init__(self, kernel: PlainKernel, file: str) -> None:
        self.kernel, self.file = kernel, file
        self.codes: set[CodeType] = set()  # of that file, that have made calls
        self.over = False
        self.handlers: dict[int, object] = {}  # of signals, as Python knows them
        self._others: list[PlainThread] = []
        self.tasks = TaskLanes(self)
        self._begun = 0
        self.refused: NotSimulated | None = None  # a real call that the program has tried
        self.wakeup_fd = -1  # to which the number of each signal is written
        self._alarm = 0, 0  # when it is due, and how often again (ns)
        self._here = threading.local()  # `thread`: the one that asks
        self._failure: BaseException | None = None
        self._here.thread = self._main = PlainThread()
        self._main.task = kernel.spawn("process", self._main)  # type: ignore[arg-type]
        self.on_signal(signal.SIGINT, signal.default_int_handler)

    def main(self, function: Callable[[], object]) -> object:
        """Run `function` as the program, from the instant 0 to its end; what it returns.

        Whatever it raises comes through, but for the end that it was asked for.
        """
        self.kernel.open()
        outer, _this_thread.run = run_of_this_thread(), self
        try:
            self._turn(self._main)
            result = function()
            self.kernel.over(self._main.task)
            return result
        except OSError as error:
            if not getattr(error, "__notes__", None):
                error.add_note(f"at {self.kernel.now / 1e6:,.3f} ms of virtual time")
            raise
        except BaseException as error:
            if not consists_of(error, (KeyboardInterrupt, Ended)):
                raise
            if self.kernel.stopped is not None:
                raise self.kernel.stopped from None
            if not self.kernel.ended_it:
                raise
            return None
        finally:
            _this_thread.run = outer
            self._end()
            if self.refused is not None:  # whatever the program has made of it
                raise self.refused from None

    def _end(self) -> None:
        """No thread of ours outlasts it."""
        self.over = True
        self.kernel.close()
        for thread in self._others:
            thread.turn.release()
        while self._others:
            try:
                _await(self._others[-1].os_thread)
                self._others.pop()
            except Expired:  # which rings again, as long as the body is not left
                continue

    # -- calls ---------------------------------------------------------------------------------

    def call(self, request: Request) -> Any:
        """Make the call; its reply, or its OSError."""
        me = self.mine()
        if self.kernel.stopped is not None:  # what its ends would call is no part of the run
            raise Ended
        request.number = 0
        me.line = self._line()
        if self.kernel.time_is_up():
            self.kernel.later(0, self.kernel.look_at_clock)  # when the call is under way
        self.kernel.ask(me.task, request)
        return self._reply(me)

    def now(self) -> int:
        """ns of virtual time."""
        return self.kernel.now

    def _reply(self, me: PlainThread) -> object:
        """Drive the kernel until the call returns; run the handlers of signals meanwhile."""
        while True:
            value, error = self._turn(me)
            program = me.task.program
            if isinstance(program, Handler) and not program.begun:
                self._handle(me.task, program)
            elif error is not None:
                try:
                    raise error
                finally:
                    del error  # or its traceback, and with it whatever was sent, would stay
            else:
                return value

    def _turn(self, me: PlainThread) -> tuple[object, BaseException | None]:
        """Until it is the turn of `me`: what it has been given."""
        while me.inbox is None:
            other = self._next() if me is self._main else self._next_or_main()
            if other is not me:
                other.turn.release()
                me.turn.acquire()
                if self._failure is not None and me is self._main:
                    raise self._failure
                if self.over:
                    raise Ended
        reply, me.inbox = me.inbox, None
        return reply

    def _next(self) -> PlainThread:
        """Drive the kernel until some thread is to go on."""
        kernel = self.kernel
        kernel.proceed()
        task, value, error = kernel.handed.popleft()
        program = task.program
        thread: PlainThread = program if isinstance(program, PlainThread) else self._main
        thread.inbox = (value, error)
        return thread

    def _next_or_main(self) -> PlainThread:
        """The same; if nobody can go on, who began the run says so."""
        try:
            return self._next()
        except BaseException as error:
            self._failure = error
            return self._main

    # -- threads -------------------------------------------------------------------------------

    def start_thread(self, function: Callable[[], object]) -> PlainThread:
        """Another thread of the program: pthread_create(3).

        OSError with a note if this system has no room for it; `NotSimulated` if it has no threads.
        """
        if WASM:
            raise NotSimulated(f"threads are not simulated on {sys.platform}, which has none")
        thread = PlainThread()
        thread.os_thread = threading.Thread(target=self._body, args=(thread, function), daemon=True)
        with beginning("a thread of the program"):
            thread.os_thread.start()
        self._others.append(thread)
        self._begun += 1
        self.call(pthread_create(thread))  # type: ignore[arg-type]
        return thread

    def _body(self, me: PlainThread, function: Callable[[], object]) -> None:
        self._here.thread, _this_thread.run = me, self
        me.turn.acquire()
        me.inbox = None  # that it may begin
        try:
            if not self.over:
                me.task = next(t for t in self.kernel.threads if t.program is me)
                function()
                for act in me.at_end:
                    act()
        except (Ended, SystemExit):
            pass
        except BaseException as error:
            self._failure = self._failure or error
        if self.over:
            return
        if self._failure is None:
            self.kernel.over(me.task)
        following = self._main if self._failure is not None else self._next_or_main()
        following.turn.release()

    def mine(self) -> PlainThread:
        """The thread that asks.  If the run is over, `Ended`; EBADF for who has begun it."""
        if self.over:
            if getattr(self._here, "thread", None) is self._main:
                raise failure(EBADF)  # a finalizer, or something that the run has left
            raise Ended
        try:
            thread: PlainThread = self._here.thread
        except AttributeError:
            raise NotSimulated(
                f"thread {threading.current_thread().name} is not one of the simulated run"
            ) from None
        return thread

    @property
    def had_threads(self) -> bool:
        """Has the program begun any?"""
        return self._begun > 0

    def is_main(self) -> bool:
        """Is it the program's first thread that asks?"""
        return self.mine() is self._main

    # -- signals -------------------------------------------------------------------------------

    def on_signal(self, signo: int, function: SignalHandler) -> None:
        """`function` is called in the main thread when it comes, before a call returns."""
        main = self._main.task
        self.handlers[signo] = function
        handler: Any = lambda signo: Handler(function, signo, self._main.line)  # noqa: E731
        main.handlers = {**(main.handlers or {}), signo: handler}

    def alarm(self, ns: int, interval: int = 0) -> tuple[int, int]:
        """SIGALRM in `ns` (0: never), and again every `interval`: setitimer(2).  What was left."""
        kernel, (left, again) = self.kernel, self.alarm_left()
        self._alarm = kernel.now + ns if ns else 0, interval
        if ns:
            kernel.later(ns, partial(self._ring, self._alarm))
        return left, again

    def alarm_left(self) -> tuple[int, int]:
        """ns until SIGALRM comes (0: never), and until the next: getitimer(2)."""
        due, again = self._alarm
        return max(0, due - self.kernel.now) if due else 0, again

    def _ring(self, alarm: tuple[int, int]) -> None:
        if alarm != self._alarm or self.over:
            return
        self._alarm = 0, 0
        if alarm[1]:
            self.alarm(alarm[1], alarm[1])
        self.kernel.signal(self._main.task, signal.SIGALRM)

    def raise_signal(self, signo: int) -> None:
        """Send oneself a signal: raise(3); its handler has run when this returns.

        From another thread the first one gets it, whatever it is at: signal(7).
        """
        task = self._main.task
        if self.is_main():
            task.pending = [*(task.pending or []), signo]
        else:
            self.kernel.signal(task, signo)
        self.call(tgkill())

    def _handle(self, task: Task, handler: Handler) -> None:
        handler.begun = True
        try:
            self._write_wakeup(handler.signo)
            handler.function(handler.signo, _program_frame())
        except BaseException:
            self.kernel.abandon(task)
            raise
        self.kernel.over(task)

    def _write_wakeup(self, signo: int) -> None:
        """A byte for whoever sleeps in select meanwhile: signal.set_wakeup_fd."""
        if self.wakeup_fd >= 0:
            with suppress(OSError):  # as CPython, which may say so on stderr
                self.call(write(self.wakeup_fd, bytes([signo])))

    def held(self) -> set[int]:
        """Which signals the thread that asks holds back."""
        return set(self.mine().task.blocked or ())

    # -- the text ------------------------------------------------------------------------------

    def _line(self) -> int | None:
        """The line of the program's own text that has made the call; None if it is elsewhere."""
        frame = sys._getframe(2)
        file, end = self.file, Run.main.__code__
        while frame is not None and frame.f_code is not end:
            if frame.f_code.co_filename == file:
                self.codes.add(frame.f_code)
                return frame.f_lineno
            frame = frame.f_back  # type: ignore[assignment]
        return None


def _program_frame() -> FrameType | None:
    """The innermost frame that is none of ours: what a signal has interrupted."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith(PACKAGE):
        frame = frame.f_back
    return frame


def _await(thread: threading.Thread) -> None:
    """Until it is over.  One that makes no calls, so that nobody can tell it, is interrupted."""
    thread.join(JOIN_S)
    if thread.is_alive():
        ctypes.pythonapi.PyThreadState_SetAsyncExc(
            ctypes.c_ulong(thread.ident or 0), ctypes.py_object(Ended)
        )
        thread.join(JOIN_S)
