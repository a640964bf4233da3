"""A time limit on what may never return: a blocking call, or a program that never yields."""

from __future__ import annotations

import ctypes
import os
import signal
import struct
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from time import perf_counter, process_time, sleep
from types import CodeType, FrameType
from typing import Any, Protocol

from ..machine.cores import WASM
from .resource_limits import beginning

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["AGAIN_S", "PACKAGE", "Expired", "Needed", "watchdog"]

AGAIN_S = 0.5  # ring again, should somebody swallow the first exception
FAIR = 5  # times that it may be caught
AN_ALARM = FAIR // 2 + 1  # of them for each ring, of which there is one every half second
GRACE_S = 0.5  # for a body that asks whether its time is up
SOON_S = 1e-6  # for setitimer(2) 0 would mean never
TOOLS = 6  # that sys.monitoring has room for
OWN_TOOLS = (3, 4)  # of them, those that are nobody's by its documentation
PACKAGE = os.path.join(os.path.dirname(os.path.dirname(__file__)), "")
LATER_S = 1e-3  # ring again, where an exception would have been lost or done harm
IDLE = 10  # times the limit may pass while a body that works is kept from its core
LOOK_S = 0.1  # between two looks at what the body needs, where no signal tells of its end
F_SETOWN_EX, F_OWNER_TID = 15, 0  # fcntl(2): Python's fcntl has no name for them

#: Packages whose functions take locks: an exception between an acquire() and its release() would
#: leave one taken, and whoever needs it next would wait for ever.  And those whose functions are
#: called when a weak reference dies: what they raise goes no further.
LOCKING = frozenset(
    {"concurrent", "multiprocessing", "queue", "threading", "_weakrefset", "weakref"}
)


class Expired(SystemExit):
    """Time is up.  Not an Exception, so that no program catches it, nor takes it for an errno.

    A SystemExit, because that is what a loop of asyncio lets through at once.
    """


class Insisting(Expired):
    """The same for who catches everything (`except:`): raised again at the next line that it runs.

    That line is no part of the `try` any more, so that it gets one level further each time.
    """

    def __init__(self, dog: watchdog) -> None:
        super().__init__()
        self._dog = dog

    def __del__(self) -> None:
        if self._dog.watching:
            self._dog.insist(sys._getframe(1))


class Needed(Protocol):
    """Another process, without which the body has no sense: its pipe, and whether it is gone."""

    def fileno(self) -> int:
        """The end of a pipe that is readable when the process is gone."""
        ...

    def gone(self) -> bool:
        """Is it?"""
        ...

    def check(self) -> None:
        """If it is, raise what went wrong with it."""
        ...


def _package(module: object) -> str:
    return str(module).partition(".")[0]


def _watchers() -> Iterator[str]:
    """The packages of the tracer that is on, and of the tools of sys.monitoring (PEP 669)."""
    tracer = sys.gettrace()
    if tracer is not None:
        # a function or a method tells its module; for an object written in C its type does
        yield _package(getattr(tracer, "__module__", None) or type(tracer).__module__)
    if sys.version_info >= (3, 12):  # tools tell their name only: "coverage.py", "bdb"
        tools = map(sys.monitoring.get_tool, range(TOOLS))
        yield from (_package(tool) for tool in tools if tool is not None)


def _of_watcher(frame: FrameType) -> bool:
    """Is it a part of what watches the program, such as coverage or a debugger?"""
    return _package(frame.f_globals.get("__name__")) in _watchers()


class watchdog:
    """`with watchdog(seconds, what):` raises TimeoutError if the body takes longer.

    Inside the body it is `Expired`; however the body ends then, that is the limit's doing.  `where`
    tells what the body was at.  With `insists` a body that goes on catching it does not go on.
    In the main thread by setitimer(2) and SIGALRM, which also interrupts a blocking call; the
    handler, the timer and `sys.unraisablehook` that were there before are restored.  A function of
    the library that takes locks is given half a second to return first.
    Elsewhere, and without setitimer, a second thread calls `wake`, which should end a blocking
    call, and if the body goes on, throws `Expired` into it between two bytecodes.
    Both means need the interpreter's lock, for which a thread may wait for seconds while another
    one polls: so whoever makes calls asks `check` at each.
    Where there is neither (WebAssembly, as in a browser), the interpreter tells of each jump in a
    loop (PEP 669, Python 3.12): code that calls nothing, and loops, is ended, and a call that
    blocks is not.
    Time is up at once when `needed` is gone, and what went wrong with it is raised.  (Where
    fcntl(2) has no F_SETSIG, as on macOS, a main thread that waits hears of it at the limit.)
    With `of_work` the seconds are those in which this process had a core, so that a busy machine
    ends nothing that only works; of those that pass, ten times as many.
    ValueError for a limit that is not above 0 and at most a day.
    """

    __slots__ = (
        "_before", "_body", "_due", "_handler", "_insists", "_leave", "_left", "_lock", "_needed",
        "_of_work", "_over", "_passed", "_place", "_seconds", "_since", "_thread", "_thrown",
        "_timer", "_times", "_tracer", "_unraisable", "_wake", "_what", "_where", "watching",
    )  # fmt: skip

    def __init__(
        self, seconds: float, what: str = "the program", wake: Callable[[], object] | None = None,
        needed: Needed | None = None, of_work: bool = False, where: Callable[[], str] | None = None,
        insists: bool = False,
    ) -> None:  # fmt: skip
        if not 0 < seconds <= 86_400:
            raise ValueError(f"limit_s must be above 0 and at most 86,400 s, got {seconds!r}")
        self._seconds, self._what, self._wake, self._needed = seconds, what, wake, needed
        self._of_work, self._where, self._insists = of_work, where, insists
        self._thread, self._times = threading.get_ident(), 0
        self._leave: Callable[[], None] = self._disarm
        self._timer: threading.Thread | None = None
        self._over = self._thrown = self.watching = False
        self._place = ""
        self._body: FrameType | None = None

    def __enter__(self) -> watchdog:
        self._passed, self._due = _clock(self._of_work), self._seconds
        self.watching, self._body, self._tracer = True, sys._getframe(1), sys.gettrace()
        if threading.get_ident() == threading.main_thread().ident and hasattr(signal, "setitimer"):
            self._unraisable, sys.unraisablehook = sys.unraisablehook, self._lost
            self._handler = signal.signal(signal.SIGALRM, self._ring)
            self._since = perf_counter()
            self._before = signal.setitimer(signal.ITIMER_REAL, self._seconds, AGAIN_S)
            if self._needed is not None:
                self._hear_of(self._needed)
        elif WASM:
            self._watch_loops()
        else:
            self._start_thread(threading.get_ident())
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.watching, self._body, leave = False, None, self._leave
        try:
            if self._times > FAIR:  # it has insisted
                sys.settrace(self._tracer)
            leave()
            if self._thrown and kind is not Expired:
                _await_expired()
        except Expired:  # at the last moment
            leave()
            kind = Expired
        self._judge(kind)

    def _judge(self, kind: type[BaseException] | None) -> None:
        """What the body's end means: `kind` is its exception's.

        What a body that was woken raises, or returns, is not its own.
        """
        if kind is not None and not issubclass(kind, Exception | SystemExit):
            return  # Ctrl-C, and the like
        if self._needed is not None and (kind or self._over):
            self._needed.check()  # nobody at the other ends: that is not the body's fault
        if self._over or kind is Expired:
            self._time_is_up()
            words = f"{self._what} was not over after {self._seconds:g} s"
            raise TimeoutError(words + self._place) from None

    def _time_is_up(self) -> None:
        """Take down what the body is at: what ends it changes that."""
        if self._where is not None and not self._place:
            self._place = f": it was in {self._where()}"
        self._over = True

    def _ring(self, signo: int, frame: FrameType | None) -> None:
        """Throw into the body; a moment later where an exception would be lost or do harm."""
        if self._body is None:
            return  # it has just been left
        passed = self._passed()
        if passed < self._due:
            if self._needed is None or not self._needed.gone():  # it says something, and goes on
                signal.setitimer(signal.ITIMER_REAL, max(self._due - passed, LATER_S), AGAIN_S)
                return
            self._due = passed
        self._time_is_up()
        if self._harmless(frame):
            raise self._expired(AN_ALARM)
        signal.setitimer(signal.ITIMER_REAL, LATER_S, AGAIN_S)

    def _lost(self, what: sys.UnraisableHookArgs) -> None:
        """An exception went no further, as out of a callback of a weak reference: ring again."""
        if not isinstance(what.exc_value, Expired):
            self._unraisable(what)
        elif self._body is not None:
            self._times -= AN_ALARM
            signal.setitimer(signal.ITIMER_REAL, LATER_S, AGAIN_S)

    def _harmless(self, frame: FrameType | None) -> bool:
        """May an exception come out of the call of the body that has got as far as `frame`?

        Out of a finalizer none comes; a tracer takes locks, as the library does; and out of the
        ends of a watchdog it would leave the timer on.
        """
        patient = self._passed() < self._due + GRACE_S
        while frame is not None and frame is not self._body:
            locking = patient and _package(frame.f_globals.get("__name__")) in LOCKING
            finalizer = frame.f_code.co_name == "__del__"
            if locking or finalizer or frame.f_code in ENDS or _of_watcher(frame):
                return False
            frame = frame.f_back
        return True

    def _hear_of(self, needed: Needed) -> None:
        """SIGALRM, also when its pipe has news: to this thread, which may be in a blocking call."""
        if hasattr(fcntl, "F_SETSIG"):
            owner = struct.pack("ii", F_OWNER_TID, threading.get_native_id())
            fcntl.fcntl(needed, F_SETOWN_EX, owner)
            fcntl.fcntl(needed, fcntl.F_SETSIG, signal.SIGALRM)
            self._tell(needed, os.O_ASYNC)
            if needed.gone():  # before anybody listened
                signal.raise_signal(signal.SIGALRM)

    def _tell(self, needed: Needed, tell: int) -> None:
        flags = fcntl.fcntl(needed, fcntl.F_GETFL) & ~os.O_ASYNC
        fcntl.fcntl(needed, fcntl.F_SETFL, flags | tell)

    def _disarm(self) -> None:
        if self._needed is not None and hasattr(fcntl, "F_SETSIG"):
            self._tell(self._needed, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        if sys.unraisablehook == self._lost:
            sys.unraisablehook = self._unraisable
        if self._handler is not None:  # None: not installed by Python, so Python cannot restore it
            signal.signal(signal.SIGALRM, self._handler)
        delay, interval = self._before
        if delay:
            rest = delay - (perf_counter() - self._since)
            signal.setitimer(signal.ITIMER_REAL, max(rest, SOON_S), interval)

    def check(self) -> None:
        """Raise `Expired` if time is up, in whatever thread."""
        if self._over or self._passed() >= self._due:
            self._time_is_up()
            raise self._expired()

    def _expired(self, times: int = 1) -> Expired:
        """A body that may be anybody's code is not to go on when it has caught it again and again.

        (To catch it once is fair: a loop of asyncio keeps it until it has closed what it had.)
        """
        self._times += times
        mine = self._insists and threading.get_ident() == self._thread
        return Insisting(self) if mine and self._times > FAIR else Expired()

    def insist(self, frame: FrameType | None) -> None:
        """Raise at the next line in `frame`, which has caught an exception of this one, or above.

        To raise turns the tracing off.  What is called meanwhile, such as a finalizer, is left out.
        """

        def raises(frame: FrameType, event: str, _: object) -> object:
            if event == "line" and self.watching:
                raise Insisting(self)
            return raises

        while frame is not None and frame is not self._body:
            frame.f_trace, frame = raises, frame.f_back
        sys.settrace(lambda *_: None)

    # -- where there is no alarm ---------------------------------------------------------------

    def _start_thread(self, thread: int) -> None:
        self._lock = threading.Lock()  # whoever takes it first decides: throw, or leave in peace
        self._left = threading.Event()
        timer = threading.Thread(target=self._keep_time, args=(thread,), daemon=True)
        with beginning("the thread that keeps the time limit"):
            timer.start()
        self._timer, self._leave = timer, self._stop_thread

    def _keep_time(self, thread: int) -> None:
        """Until the body is left, time is up, or what it needs is gone."""
        needed = self._needed
        look = threading.TIMEOUT_MAX if needed is None else LOOK_S
        while (left := self._due - self._passed()) > 0 and not (
            needed is not None and needed.gone()
        ):
            if self._left.wait(min(left, look)):
                return
        self._interrupt(thread)

    def _interrupt(self, thread: int) -> None:
        """Say so, end a blocking call, and if the body goes on all the same, throw."""
        self._time_is_up()
        if self._wake is not None:
            self._wake()
        self._left.wait(GRACE_S)
        with self._lock:
            if not self._left.is_set():
                self._thrown = True
                expired = ctypes.py_object(Expired)
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), expired)

    def _stop_thread(self) -> None:
        assert self._timer is not None
        with self._lock:
            self._left.set()
        self._timer.join()

    # -- where there are no threads either -----------------------------------------------------

    def _watch_loops(self) -> None:
        monitoring: Any = getattr(sys, "monitoring", None)
        if monitoring is None:  # Python 3.11: nobody tells
            self._leave = lambda: None
            return
        tool = next(number for number in OWN_TOOLS if monitoring.get_tool(number) is None)
        monitoring.use_tool_id(tool, "iosim")
        monitoring.register_callback(tool, monitoring.events.JUMP, self._jumped)
        monitoring.set_events(tool, monitoring.events.JUMP)
        self._leave = partial(_unwatch, monitoring, tool)

    def _jumped(self, code: CodeType, *_: int) -> object:
        """Of our own loops there is no more to be told: in them nobody is held up."""
        if code.co_filename.startswith(PACKAGE):
            return sys.monitoring.DISABLE  # type: ignore[attr-defined,unused-ignore]
        if self._passed() >= self._due and not self._over:
            self._over = True
            raise Expired
        return None


def _unwatch(monitoring: Any, tool: int) -> None:
    monitoring.set_events(tool, 0)  # which its end does not do by itself before Python 3.14
    monitoring.free_tool_id(tool)


def _clock(of_work: bool) -> Callable[[], float]:
    """Tells how many seconds of the limit have passed since now."""
    begun, worked = perf_counter(), process_time()
    if of_work:
        return lambda: max(process_time() - worked, (perf_counter() - begun) / IDLE)
    return lambda: perf_counter() - begun


ENDS = {watchdog.__enter__.__code__, watchdog.__exit__.__code__}


def _await_expired() -> None:
    """One is on its way and must not hit whoever comes after us: let it come.

    It cannot be taken back: PyThreadState_SetAsyncExc(thread, NULL) leaves CPython 3.11 with a
    request that is never met, and its evaluation loop in RESUME for ever when a tracer is on.
    """
    for _ in range(1_000):
        sleep(0.001)
    raise Expired  # it was swallowed in the body; the limit has passed all the same
