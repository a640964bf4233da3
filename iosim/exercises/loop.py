"""A right answer to exercise 12: an event loop, as asyncio's, by the same names."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import selectors
import socket
import time
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from functools import partial

__all__ = ["EventLoop"]


class _Pause:
    """What a task waits for: so many seconds."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def __await__(self) -> Generator[float, None, None]:
        yield self._seconds


class Cancelled(Exception):
    """Thrown into a task that is cancelled."""


class _Task:
    """A coroutine, from one pause to the next; of those who would wake it only the last one may."""

    def __init__(self, loop: EventLoop, coroutine: Coroutine[float, None, object]) -> None:
        self._loop, self._coroutine, self.done = loop, coroutine, False
        self._turn = 0
        self._soon()

    def cancel(self) -> None:
        """It meets with Cancelled where it waits, in the next round."""
        if not self.done:
            self._soon(Cancelled())

    def _soon(self, error: Exception | None = None) -> None:
        self._loop.call_soon(self._next_turn(error))

    def _next_turn(self, error: Exception | None = None) -> Callable[[], None]:
        self._turn += 1
        turn = self._turn
        return lambda: None if self.done or turn != self._turn else self._step(error)

    def _step(self, error: Exception | None) -> None:
        turn = self._turn
        try:
            seconds = self._coroutine.throw(error) if error else self._coroutine.send(None)
        except (StopIteration, Cancelled):
            self.done = True
        except BaseException:
            self.done = True
            raise
        else:
            if turn == self._turn:  # it has not cancelled itself
                self._loop.call_later(seconds, self._next_turn())


class EventLoop:
    """A right answer."""

    def __init__(self) -> None:
        self.errors: list[Exception] = []
        self._ready: deque[Callable[[], object]] = deque()
        self._timers: list[tuple[float, int, Callable[[], object]]] = []
        self._numbers = itertools.count()
        self._selector = selectors.DefaultSelector()
        self._woken, self._wakes = socket.socketpair()
        for end in (self._woken, self._wakes):
            end.setblocking(False)
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
        with contextlib.suppress(OSError):  # the loop is over, or has been told often enough
            self._wakes.send(b"!")

    def add_reader(self, sock: socket.socket, function: Callable[[], object]) -> None:
        """Whenever `sock` can be read."""
        self._selector.register(sock, selectors.EVENT_READ, function)

    def remove_reader(self, sock: socket.socket) -> None:
        """No more."""
        self._selector.unregister(sock)

    def create_task(self, coroutine: Coroutine[float, None, object]) -> _Task:
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
            self._ready.append(partial(self._call_reader, key))
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            self._ready.append(heapq.heappop(self._timers)[2])
        for _ in range(len(self._ready)):
            try:
                self._ready.popleft()()
            except Exception as error:
                self.errors.append(error)

    def _call_reader(self, key: selectors.SelectorKey) -> None:
        """Unless a callback of this round has removed it."""
        if self._selector.get_map().get(key.fd) is key:
            key.data()

    def _drain(self) -> None:
        try:
            while self._woken.recv(100):
                pass
        except BlockingIOError:
            return
