"""Signals: handlers, the mask, armed descriptors, and how all of it is undone.

Python runs a handler between two bytecodes, or while a call that a signal interrupted is about to
be repeated (PEP 475).  In the latter case the program's handler runs at once; else the signal is
noted and its handler runs before the program goes on.
"""

from __future__ import annotations

import os
import signal
import threading
from collections import deque
from collections.abc import Callable
from errno import EAGAIN, EINVAL
from functools import partial
from types import FrameType

from ..calls import SIG_BLOCK, SIGRTMIN, Program, pause, sigaction, sigprocmask, sigtimedwait
from ..trace import KERNEL
from .answers import Prepared, Result, answers, nothing, seconds
from .descriptors import failure
from .driver import Driver, Escaped, Open
from .features import missing, real_fcntl
from .measured import Stretch

__all__ = ["NoSignals", "Signals"]


#: What Python keeps for a signal: a function, SIG_DFL or SIG_IGN, or None of C's own.
Handler = Callable[[int, FrameType | None], object] | int | None


class Signals:
    """Those of the main thread, which is driven by `driver` once it is set."""

    driver: Driver

    def __init__(self) -> None:
        self._previous: dict[int, Handler] = {}
        self._handlers: dict[int, Callable[[int], Program]] = {}
        self._mask = _mask()
        self.noted: deque[tuple[int, int]] = deque()
        self.depth = 0
        self.armed: set[int] = set()
        self.of_fd: dict[int, int] = {}

    def need_main_thread(self) -> None:
        """RuntimeError in any other: Python runs handlers in the main thread only.

        OSError (ENOSYS) on systems without POSIX signals.
        """
        if not hasattr(signal, "pthread_sigmask"):
            raise missing("signals")
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError("a program that uses signals must be measured in the main thread")

    def guard(self, signo: int) -> None:
        """From here on `signo` comes to us: by default most signals would end this process."""
        if signo not in self._previous:
            self._catch(signo)

    def install(self, signo: int, handler: Callable[[int], Program]) -> None:
        """The program's own handler: a call each time, even where there is a guard already."""
        self._catch(signo)
        self._handlers[signo] = handler

    def _catch(self, signo: int) -> None:
        self.need_main_thread()
        if signo == signal.SIGALRM:
            raise OSError(EINVAL, "SIGALRM is the watchdog's")
        previous = signal.signal(signo, self._arrives)
        self._previous.setdefault(signo, previous)

    def _arrives(self, signo: int, frame: FrameType | None) -> None:
        driver = self.driver
        if self.depth and signo < SIGRTMIN and signo in {noted for noted, _ in self.noted}:
            return  # a handler runs, and it is pending already: only real-time signals queue
        self.noted.append((signo, driver.now()))
        opened = driver.open
        if opened is None or self.depth or type(driver.doing[0]) is pause:
            return
        driver.open = None
        driver.close_stretch(opened, driver.now())
        self.deliver(driver)
        metered = driver.meter.read()
        driver.open = Open(opened.call, driver.now(), metered)

    def deliver(self, driver: Driver) -> None:
        """Run the handlers of all signals that were noted, one after the other."""
        while self.noted and not self.depth:
            signo, at = self.noted.popleft()
            handler = self._handlers.get(signo)
            if handler is None:
                raise Escaped(
                    RuntimeError(
                        f"signal {signo} ends {driver.lane}: it has no handler (signal(7))"
                    )
                )
            self._run(driver, handler, signo, at)

    def _run(self, driver: Driver, handler: Callable[[int], Program], signo: int, at: int) -> None:
        stretches = driver.stretches
        begin = max(at, stretches[-1].end if stretches else 0)
        stretches.append(Stretch(begin, driver.now(), KERNEL, note=f"signal {signo}"))
        self.depth += 1
        try:
            driver.run_handler(handler(signo))
        except Exception as error:
            raise Escaped(error) from None
        finally:
            self.depth -= 1

    def pause(self) -> None:
        """As sigsuspend(2): what comes between the look and the sleep ends the sleep at once."""
        if not hasattr(signal, "sigwaitinfo"):
            signal.pause()
            return
        held = signal.pthread_sigmask(signal.SIG_BLOCK, self._handlers)
        try:
            awaited = set(self._handlers) - {int(signo) for signo in held}
            if not awaited:
                signal.pause()
            elif not self.noted:
                signo = signal.sigwaitinfo(awaited).si_signo
                self.noted.append((signo, self.driver.now()))
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, held)

    def disarm(self) -> None:
        """No more signals from our descriptors: before any handler is taken away."""
        for fd in self.armed:
            real_fcntl.fcntl(fd, real_fcntl.F_SETFL, os.O_NONBLOCK)
        self.armed.clear()

    def restore(self) -> None:
        """Take pending signals off the queue, then let through, then give the handlers back."""
        if self._previous and hasattr(signal, "sigtimedwait"):
            signal.pthread_sigmask(signal.SIG_BLOCK, self._previous)
            while signal.sigtimedwait(set(self._previous), 0) is not None:
                continue
        if self._mask is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)
        for signo, handler in self._previous.items():
            signal.signal(signo, signal.SIG_DFL if handler is None else handler)
        self._previous.clear()


def _mask() -> set[int] | None:
    """What this thread holds back; None where a program that uses signals cannot run."""
    if threading.current_thread() is not threading.main_thread():
        return None
    if not hasattr(signal, "pthread_sigmask"):
        return None
    return signal.pthread_sigmask(signal.SIG_BLOCK, [])


class NoSignals(Signals):
    """Of any other thread: signals are the main thread's."""

    def need_main_thread(self) -> None:
        """RuntimeError."""
        raise RuntimeError("a thread of a server takes no signals: they are the main thread's")


# -- the calls ---------------------------------------------------------------------------------


@answers(sigaction)
def _sigaction(driver: Driver, request: sigaction) -> Prepared:
    return partial(driver.signals.install, request.signo, request.handler), nothing


@answers(sigprocmask)
def _sigprocmask(driver: Driver, request: sigprocmask) -> Prepared:
    driver.signals.need_main_thread()
    signals = set(request.signals) - {signal.SIGALRM}  # the watchdog's
    how = signal.SIG_BLOCK if request.how == SIG_BLOCK else signal.SIG_UNBLOCK
    for signo in signals:
        driver.signals.guard(signo)
    return partial(signal.pthread_sigmask, how, signals), nothing


@answers(sigtimedwait)
def _sigtimedwait(driver: Driver, request: sigtimedwait) -> Prepared:
    driver.signals.need_main_thread()
    if not hasattr(signal, "sigtimedwait"):
        raise missing("sigtimedwait")
    wait = partial(_take_signal, set(request.signals), seconds(request.timeout))
    return wait, partial(_told_by_signal, driver)


def _take_signal(signals: set[int], timeout: float | None) -> int:
    if timeout is None:
        return int(signal.sigwaitinfo(signals).si_signo)
    info = signal.sigtimedwait(signals, timeout)
    if info is None:
        raise failure(EAGAIN)
    return int(info.si_signo)


@answers(pause)
def _pause(driver: Driver, request: pause) -> Prepared:
    driver.signals.need_main_thread()
    return driver.signals.pause, partial(_told_by_signal, driver)


def _told_by_signal(
    driver: Driver, call: int, start: int, end: int, result: Result
) -> tuple[Result, int]:
    driver.notice = "signal"
    return result, 0
