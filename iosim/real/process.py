"""What all threads of the measured program share: its descriptors, its messages, its record."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from functools import partial
from socket import SHUT_RD
from typing import TYPE_CHECKING, Any, Protocol

from ..trace.builder import MessageRecord, TraceBuilder
from .accounting import wall_clock
from .descriptors import Descriptors
from .measured import Receipt, Run, of_datagram, of_stream
from .ring import await_its_end

if TYPE_CHECKING:
    from socket import socket

    from ..calls import Request
    from .aio import Reads
    from .driver import Driver
    from .helper_process import HelperProcess
    from .signals import Signals
    from .threads import Threads
    from .uring import Submissions

__all__ = ["Messages", "Outside", "Process", "SharedTraceBuilder"]


class Outside(Protocol):
    """The story's side: what is there when the program begins, and what comes to it."""

    shows_line: bool  # are the gaps shown in which the program stood in line for a core?

    @property
    def helper(self) -> HelperProcess:
        """From where it comes."""
        ...

    def sockets(self) -> Sequence[socket]:
        """What is open when the program begins."""
        ...

    def gate(self, process: Process, thread: int) -> Gate | None:
        """Says what that thread is about to do; None if nothing waits for it."""
        ...

    def has_come(self, driver: Driver, fd: int, port: int) -> None:
        """A connection from `port` was accepted."""
        ...

    def begin(self, zero: int) -> None:
        """The run begins at `zero` on `perf_counter_ns`."""
        ...

    def begun(self, thread: int) -> None:
        """That thread of the program is about to begin; 0 is its first."""
        ...

    def ended(self, thread: int) -> None:
        """That thread is over."""
        ...

    def settle(self, process: Process) -> None:
        """The program is over."""
        ...

    def report(self, process: Process, told: Any) -> None:
        """What the helper has done and seen."""
        ...


class Gate(Protocol):
    """Is told of each call of a thread, for who waits until that does: see `gate`."""

    def before(self, request: Request, waits: bool, sleeps: bool) -> None: ...
    def again(self, request: Request) -> None: ...
    def after(
        self, request: Request, line: int | None, reply: object, error: Exception | None
    ) -> None: ...


class Messages:
    """The messages of a story, as they come into the program's hands."""

    def __init__(self, run: Run, connections: int) -> None:
        self._run = run
        self.connection: dict[int, int] = {}  # which one comes on that descriptor
        self._pending: list[deque[MessageRecord]] = [deque() for _ in range(connections)]
        for fate in run.fates:
            self._pending[fate.connection].append(fate)

    def taken(self, fd: int, data: bytes, size: int) -> list[tuple[MessageRecord, int]]:
        """Of which messages are these bytes, got with room for `size`, and how many of each?"""
        if fd not in self.connection:
            return []
        queue = self._pending[self.connection[fd]]
        if self._run.datagrams:
            return of_datagram(queue, data[0], len(data), size)
        return of_stream(queue, len(data))


class SharedTraceBuilder(TraceBuilder):
    """A tape on which several threads write."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()

    def enter(self, *given: Any, **named: Any) -> int:
        """As `TraceBuilder.enter`, one thread after the other."""
        with self._lock:
            return super().enter(*given, **named)


class Process:
    """A program under measurement, whatever its story; `run` is its record."""

    signals: Signals
    reads: Reads  # aio's
    submissions: Submissions  # io_uring's
    threads: Threads

    def __init__(self, outside: Outside, run: Run, connections: int) -> None:
        self.outside, self.run = outside, run
        self.descriptors = Descriptors()
        self.messages = Messages(run, connections)
        self.wall = wall_clock()
        for one in outside.sockets():
            self.descriptors.keep(one)

    def completed(
        self, driver: Driver, fd: int, data: bytes, since: int, end: int, call: int | None
    ) -> list[tuple[MessageRecord, int]]:
        """Bytes lie in the program's memory that it asked for before: the copy is in this part."""
        parts = self.messages.taken(fd, data, len(data)) if data else []
        if parts:
            driver.in_hands(parts, end, "completion")
            self.run.receipts.append(Receipt(since, end, parts, None, call))
        return parts

    def close(self) -> None:
        """Leave this process of ours as it was, on every way out."""
        self.signals.disarm()
        self.leave()
        if threading.get_ident() in self.submissions.made_by:
            await_its_end()
        self.signals.restore()

    def leave(self) -> None:
        """As when a process ends: no read is under way any more, and every descriptor is closed."""
        self.reads.finish(partial(self.descriptors.shut, SHUT_RD))
        self.descriptors.close()
