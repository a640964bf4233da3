"""A time limit on what may never return: a blocking call, or a program that never yields."""

from __future__ import annotations

import ctypes
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from time import perf_counter, sleep
from types import FrameType

__all__ = ["Expired", "watchdog"]

AGAIN_S = 0.5  # ring again, should somebody swallow the first exception
GRACE_S = 0.5  # for a body that asks whether its time is up
SOON_S = 1e-6  # for setitimer(2) 0 would mean never
TOOLS = 6  # that sys.monitoring has room for
LATER_S = 1e-3  # ring again, where an exception would have been lost or done harm

#: Packages whose functions take locks: an exception between an acquire() and its release() would
#: leave one taken, and whoever needs it next would wait for ever.
LOCKING = frozenset({"concurrent", "multiprocessing", "queue", "threading"})


class Expired(BaseException):
    """Time is up.  Not an Exception, so that no program catches it, nor takes it for an errno."""


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

    Inside the body it is `Expired`, which whoever knows more may turn into a better TimeoutError.
    In the main thread by setitimer(2) and SIGALRM, which also interrupts a blocking call; the
    handler and the timer that were there before are restored.  A function of the library that takes
    locks is given half a second to return first.  Elsewhere, and without setitimer, a second thread
    calls `wake`, which should end a blocking call, and the body asks `check`; if it does not,
    `Expired` is thrown into it between two bytecodes.
    ValueError for a limit that is not above 0 and at most a day.
    """

    __slots__ = (
        "_before", "_body", "_handler", "_left", "_lock", "_over", "_seconds", "_since", "_thrown",
        "_timer", "_wake", "_what",
    )  # fmt: skip

    def __init__(
        self, seconds: float, what: str = "the program", wake: Callable[[], object] | None = None
    ) -> None:
        if not 0 < seconds <= 86_400:
            raise ValueError(f"limit_s must be above 0 and at most 86,400 s, got {seconds!r}")
        self._seconds, self._what, self._wake = seconds, what, wake
        self._timer: threading.Timer | None = None
        self._over = self._thrown = False

    def __enter__(self) -> watchdog:
        if threading.get_ident() == threading.main_thread().ident and hasattr(signal, "setitimer"):
            self._body: FrameType | None = sys._getframe(1)
            self._handler = signal.signal(signal.SIGALRM, self._ring)
            self._since = perf_counter()
            self._before = signal.setitimer(signal.ITIMER_REAL, self._seconds, AGAIN_S)
        else:
            self._start_thread(threading.get_ident())
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        leave = self._disarm if self._timer is None else self._stop_thread
        try:
            leave()
            if self._thrown and kind is not Expired:
                _await_expired()
        except Expired:  # at the last moment
            leave()
            kind = Expired
        if kind is Expired:
            raise TimeoutError(f"{self._what} was not over after {self._seconds:g} s") from None

    def _ring(self, signo: int, frame: FrameType | None) -> None:
        """Throw into the body; a moment later where an exception would be lost or do harm."""
        if self._body is None:
            return  # it has just been left
        self._over = True
        if self._harmless(frame):
            raise Expired
        signal.setitimer(signal.ITIMER_REAL, LATER_S, AGAIN_S)

    def _harmless(self, frame: FrameType | None) -> bool:
        """May an exception come out of the call of the body that has got as far as `frame`?

        Out of a finalizer none comes; a tracer takes locks, as the library does; and out of the
        ends of a watchdog it would leave the timer on.
        """
        patient = perf_counter() < self._since + self._seconds + GRACE_S
        while frame is not None and frame is not self._body:
            locking = patient and _package(frame.f_globals.get("__name__")) in LOCKING
            finalizer = frame.f_code.co_name == "__del__"
            if locking or finalizer or frame.f_code in ENDS or _of_watcher(frame):
                return False
            frame = frame.f_back
        return True

    def _disarm(self) -> None:
        self._body = None
        signal.setitimer(signal.ITIMER_REAL, 0)
        if self._handler is not None:  # None: not installed by Python, so Python cannot restore it
            signal.signal(signal.SIGALRM, self._handler)
        delay, interval = self._before
        if delay:
            rest = delay - (perf_counter() - self._since)
            signal.setitimer(signal.ITIMER_REAL, max(rest, SOON_S), interval)

    def check(self) -> None:
        """Raise `Expired` if time is up.  A body that asks in time needs no harder means."""
        if self._over:
            raise Expired

    # -- where there is no alarm ---------------------------------------------------------------

    def _start_thread(self, thread: int) -> None:
        self._lock = threading.Lock()  # whoever takes it first decides: throw, or leave in peace
        self._left = threading.Event()
        self._timer = threading.Timer(self._seconds, self._interrupt, (thread,))
        self._timer.daemon = True
        self._timer.start()

    def _interrupt(self, thread: int) -> None:
        """Say so, end a blocking call, and if the body goes on all the same, throw."""
        self._over = True
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
        self._timer.cancel()
        with self._lock:
            self._left.set()
        self._timer.join()


ENDS = {watchdog.__enter__.__code__, watchdog.__exit__.__code__}


def _await_expired() -> None:
    """One is on its way and must not hit whoever comes after us: let it come.

    It cannot be taken back: PyThreadState_SetAsyncExc(thread, NULL) leaves CPython 3.11 with a
    request that is never met, and its evaluation loop in RESUME for ever when a tracer is on.
    """
    for _ in range(1_000):
        sleep(0.001)
    raise Expired  # it was swallowed in the body; the limit has passed all the same
