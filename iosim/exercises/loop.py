"""Exercise 12: an event loop, with timers, readers, tasks, cancellation, and outside wake-ups."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from typing import Any

from ..calls import ms
from ..hunting.claims import returns
from ..hunting.search import Broken
from ..hunting.space import Space
from ..workloads import traffic
from .exercise import Answer, Exercise, Mistake, Part, Program, spins

__all__ = ["EVENT_LOOP"]


# -- a right answer ------------------------------------------------------------------------------


class _Pause:
    """What a task waits for: so many seconds."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def __await__(self) -> Generator[float, None, None]:
        yield self._seconds


class Cancelled(Exception):
    """Thrown into a task that is cancelled."""


class _Task:
    """A coroutine, from one pause to the next."""

    def __init__(self, loop: EventLoop, coroutine: Coroutine[Any, Any, Any]) -> None:
        self._loop, self._coroutine, self.done = loop, coroutine, False
        self._turn = 0
        loop.call_soon(lambda: self._step(0))

    def _step(self, turn: int, cancelled: bool = False) -> None:
        if self.done or turn != self._turn:
            return
        self._turn += 1
        now = self._turn
        try:
            seconds = (
                self._coroutine.throw(Cancelled()) if cancelled else self._coroutine.send(None)
            )
        except (StopIteration, Cancelled):
            self.done = True
        else:
            self._loop.call_later(seconds, lambda: self._step(now))

    def cancel(self) -> None:
        """At its next turn it meets with Cancelled."""
        turn = self._turn
        self._loop.call_soon(lambda: self._step(turn, cancelled=True))


class EventLoop:
    """A right answer."""

    def __init__(self) -> None:
        self.errors: list[Exception] = []
        self._ready: deque[Callable[[], object]] = deque()
        self._timers: list[tuple[float, int, Callable[[], object]]] = []
        self._numbers = itertools.count()
        self._selector = selectors.DefaultSelector()
        self._woken, self._wakes = socket.socketpair()
        self._woken.setblocking(False)
        self._selector.register(self._woken, selectors.EVENT_READ, self._drain)
        self._running = False

    def call_soon(self, function: Callable[[], object]) -> None:
        """In the next round."""
        self._ready.append(function)

    def call_later(self, seconds: float, function: Callable[[], object]) -> None:
        """After so many seconds; in the order of their time."""
        when = time.monotonic() + seconds
        heapq.heappush(self._timers, (when, next(self._numbers), function))

    def call_soon_threadsafe(self, function: Callable[[], object]) -> None:
        """From another thread: the loop is woken."""
        self._ready.append(function)
        with contextlib.suppress(OSError):  # the loop may be over by now
            self._wakes.send(b"!")

    def add_reader(self, sock: socket.socket, function: Callable[[], object]) -> None:
        """Whenever `sock` can be read."""
        self._selector.register(sock, selectors.EVENT_READ, function)

    def remove_reader(self, sock: socket.socket) -> None:
        """No more."""
        self._selector.unregister(sock)

    def create_task(self, coroutine: Coroutine[Any, Any, Any]) -> _Task:
        """Run it beside others; its `cancel()` ends it."""
        return _Task(self, coroutine)

    def sleep(self, seconds: float) -> _Pause:
        """To be awaited in a task."""
        return _Pause(seconds)

    def stop(self) -> None:
        """After this round."""
        self._running = False

    def run(self) -> None:
        """Until stop()."""
        self._running = True
        while self._running:
            self._round()
        self._selector.close()
        self._woken.close()
        self._wakes.close()

    def _round(self) -> None:
        wait = 0.0 if self._ready else None
        if self._timers and not self._ready:
            wait = max(0.0, self._timers[0][0] - time.monotonic())
        for key, _ in self._selector.select(wait):
            self._ready.append(key.data)
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            self._ready.append(heapq.heappop(self._timers)[2])
        for _ in range(len(self._ready)):
            try:
                self._ready.popleft()()
            except Exception as error:
                self.errors.append(error)

    def _drain(self) -> None:
        try:
            while self._woken.recv(100):
                pass
        except BlockingIOError:
            return


# -- how it is tried -----------------------------------------------------------------------------


def _timers(answer: Answer) -> Program:
    """Timers come in the order of their time, not of their making, and not before their time."""

    def program() -> list[Any]:
        loop, said = answer(), list[Any]()
        begun = time.monotonic()

        def say(what: str, not_before: float) -> Callable[[], None]:
            def act() -> None:
                late = time.monotonic() - begun - not_before
                said.append(what if 0 <= late < 0.1 else f"{what} {late:+.2f} s")

            return act

        loop.call_later(0.3, say("second", 0.3))
        loop.call_later(0.1, say("first", 0.1))
        loop.call_soon(say("soon", 0))
        loop.call_later(0.5, loop.stop)
        loop.run()
        return said

    return program


def _reader_beside_a_flood(answer: Answer) -> Program:
    """A reader has its turn while callbacks call themselves again and again."""

    def program(sock: socket.socket) -> str:
        loop, said = answer(), list[str]()
        left = [300]

        def again() -> None:
            left[0] -= 1
            time.sleep(0.001)
            loop.call_soon(again) if left[0] else loop.stop()

        def read() -> None:
            said.append("in time" if left[0] else "too late")
            sock.recv(100)
            loop.remove_reader(sock)
            loop.stop()

        loop.add_reader(sock, read)
        loop.call_soon(again)
        loop.run()
        return said[0] if said else "never"

    return program


def _from_another_thread(answer: Answer) -> Program:
    """A loop that sleeps, or is about to, is woken by another thread."""

    def program() -> list[str]:
        loop, said = answer(), list[str]()

        def woken() -> None:
            said.append("woken")
            loop.call_later(0.3, loop.stop)  # it sleeps until then

        def outside() -> None:
            time.sleep(0.2)  # by then the loop sleeps
            loop.call_soon_threadsafe(woken)

        thread = threading.Thread(target=outside)
        thread.start()
        loop.run()
        thread.join()
        return said

    return program


def _after_an_error(answer: Answer) -> Program:
    """A callback that raises ends neither the loop nor the others."""

    def program() -> list[str]:
        loop, said = answer(), list[str]()
        loop.call_soon(lambda: 1 // 0)
        loop.call_soon(lambda: said.append("after"))
        loop.call_later(0.1, loop.stop)
        loop.run()
        return [*said, *(type(error).__name__ for error in loop.errors)]

    return program


def _tasks(answer: Answer) -> Program:
    """Two tasks beside each other; one is cancelled, and may clean up."""

    def program() -> list[str]:
        loop, said = answer(), list[str]()

        async def ticks() -> None:
            for number in range(3):
                said.append(f"tick {number}")
                await loop.sleep(0.1)

        async def sleeper() -> None:
            try:
                await loop.sleep(60)
                said.append("slept a minute")
            finally:
                said.append("cleaned up")

        loop.create_task(ticks())
        task = loop.create_task(sleeper())
        loop.call_later(0.15, task.cancel)
        loop.call_later(0.5, loop.stop)
        loop.run()
        return said

    return program


def _nothing_else(seed: int) -> Space:
    return Space(delays=(ms(1),), in_vain=400)


def _two_threads(seed: int) -> Space:
    return Space(delays=(), in_vain=60)


def _one_message(seed: int) -> Space:
    return Space(traffic.one(5 + seed % 5, 10), delays=(ms(3), ms(40)), in_vain=2_000)


SAYS: tuple[tuple[Callable[[Answer], Program], Callable[[int], Space], Any], ...] = (
    (_timers, _nothing_else, ["soon", "first", "second"]),
    (_after_an_error, _nothing_else, ["after", "ZeroDivisionError"]),
    (_reader_beside_a_flood, _one_message, "in time"),
    (_tasks, _nothing_else, ["tick 0", "tick 1", "cleaned up", "tick 2"]),
    (_from_another_thread, _two_threads, ["woken"]),
)
TIMERS, ERRORS, READERS, TASKS, THREADS = range(len(SAYS))


def _claim(expected: Any) -> Callable[[int], Any]:
    return lambda seed: returns(expected)


def _in_part(place: int, *kinds: str) -> Callable[[int, Broken], bool]:
    return lambda part, found: part == place and (not kinds or found.kind in kinds)


EVENT_LOOP = Exercise(
    12, "EventLoop", "an event loop",
    tuple(Part(program, space, _claim(says), cases=40) for program, space, says in SAYS),
    (
        Mistake(
            "spins",
            "Your loop does not sleep: let select wait until the next timer is due, or something "
            "comes.",
            spins,
        ),
        Mistake(
            "a timer at the wrong time",
            "Timers run in the order of their time, none before it, and none much later.",
            _in_part(TIMERS),
        ),
        Mistake(
            "an error ends the loop",
            "A callback that raises is one callback's trouble: keep the error in `errors`, and "
            "go on.",
            _in_part(ERRORS),
        ),
        Mistake(
            "starved readers",
            "Who calls call_soon again and again keeps your readers from their turn: run what "
            "was ready when the round began, then look at the sockets.",
            _in_part(READERS),
        ),
        Mistake(
            "cancelling",
            "cancel() throws an exception into the coroutine where it waits, at once, so that its "
            "`finally` runs; the others go on.",
            _in_part(TASKS),
        ),
        Mistake(
            "the lost wake-up",
            "The loop slept in select while another thread had handed it something: wake it, by "
            "a byte in a socketpair or a pipe that it watches.",
            _in_part(THREADS),
        ),
    ),
    EventLoop,
)  # fmt: skip
