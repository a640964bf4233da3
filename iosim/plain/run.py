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
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from errno import EBADF
from functools import partial
from types import CodeType, FrameType
from typing import Any

from ..calls import Request, write
from ..kernels.resource_limits import beginning
from ..kernels.watchdog import PACKAGE, Expired
from ..machine.cores import WASM
from ..machine.errors import failure
from ..sim.task import NotSimulated, Task
from .calls import pthread_create, tgkill
from .kernel import Ended, PlainKernel, consists_of
from .tasks import TaskLanes

__all__ = ["NotSimulated", "PlainThread", "Run", "run_of_this_thread"]

SignalHandler = Callable[[int, FrameType | None], object]  # as `signal.signal` takes it
JOIN_S = 0.2  # for a thread of ours to end


class OfAnotherRun(OSError, NotSimulated):
    """What a run has made is used in a later one; there, its number is nobody's, or another's."""

    def __str__(self) -> str:
        return str(self.strerror)


class PlainThread:
    """A thread of plain code: its task, whether it has the turn, and what it was replied."""

    __slots__ = ("at_end", "inbox", "line", "os_thread", "run", "task", "turn")

    def __init__(self, run: Run) -> None:
        self.run = run
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
    thread: PlainThread | None = getattr(_this_thread, "plain", None)
    return thread.run if thread is not None else None


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
        self._failure: BaseException | None = None
        self._main = PlainThread(self)
        self._main.task = kernel.spawn("process", self._main)  # type: ignore[arg-type]
        self.on_signal(signal.SIGINT, signal.default_int_handler)

    def main(self, function: Callable[[], object]) -> object:
        """Run `function` as the program, from the instant 0 to its end; what it returns.

        Whatever it raises comes through, but for the end that it was asked for.
        """
        self.kernel.open()
        try:
            self._turn(self._main)
            with self.here():
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
            self._end()
            if self.refused is not None:  # whatever the program has made of it
                raise self.refused from None

    @contextmanager
    def here(self) -> Iterator[None]:
        """What this thread does meanwhile, the program does."""
        outer, _this_thread.plain = getattr(_this_thread, "plain", None), self._main
        try:
            yield
        finally:
            _this_thread.plain = outer

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
        request.number = 0  # also where it is refused: it was not forgotten
        me = self.mine()
        if self.kernel.stopped is not None:  # what its ends would call is no part of the run
            raise Ended
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
        thread = PlainThread(self)
        thread.os_thread = threading.Thread(target=self._body, args=(thread, function), daemon=True)
        with beginning("a thread of the program"):
            thread.os_thread.start()
        self._others.append(thread)
        self._begun += 1
        self.call(pthread_create(thread))  # type: ignore[arg-type]
        return thread

    def _body(self, me: PlainThread, function: Callable[[], object]) -> None:
        _this_thread.plain = me
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
        """The thread that asks.  If the run is over: `Ended` for one of its own, EBADF for others.

        `NotSimulated` for who is not in the run, or in another one: that has a kernel of its own.
        """
        thread: PlainThread | None = getattr(_this_thread, "plain", None)
        if thread is not None and thread.run is self:
            if self.over:
                raise Ended
            return thread
        if not self.over:
            name = threading.current_thread().name
            raise NotSimulated(f"thread {name} is not one of the simulated run")
        if thread is None:
            raise failure(EBADF)  # a finalizer, or something that the run has left
        raise OfAnotherRun(
            EBADF,
            "a socket, or what has one, is of an earlier run: make it in the program, and keep "
            "none in what outlives a run",
        )

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
            handler.function(int(handler.signo), _program_frame())  # no member of Signals
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
