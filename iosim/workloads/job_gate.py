"""Order that is made: a job that cannot end before it may, and what happens once a thread sleeps.

    with ProcessPoolExecutor() as pool, Gate() as gate:
        future = pool.submit(held, gate.port)
        ...                                 # it is not done, however long this takes
        gate.open()

(In this order: at its end the pool waits for the job, and the job for the gate.)  The gate is a
socket on 127.0.0.1, so that it holds whoever runs the job: a thread or a process, forked or started
afresh.
"""

from __future__ import annotations

import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from time import perf_counter_ns as clock
from types import TracebackType

from ..machine import procfs

__all__ = ["Gate", "asleep", "held", "once_asleep"]

GATE_S = 60.0  # no wait here is longer
LOOK_S = 0.002  # between two looks at a thread
KNOCK = b"?"  # what a job says when it comes to the gate
BLIND_S = 0.1  # in place of looking, where the system does not tell


class Gate:
    """Holds jobs until it is opened.  At the end of its block it is open, and nothing is left."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._listener.settimeout(GATE_S)
        self._held: list[socket.socket] = []
        self.port: int = self._listener.getsockname()[1]

    def __enter__(self) -> Gate:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        where: TracebackType | None,
    ) -> None:  # fmt: skip
        self.open()
        for one in (self._listener, *self._held):
            one.close()

    def wait_for(self, jobs: int) -> None:
        """Until so many jobs are held at once.  TimeoutError if they are not within 60 s."""
        while len(self._held) < jobs:
            one, _ = self._listener.accept()
            one.settimeout(GATE_S)
            if _knocks(one):
                self._held.append(one)
            else:
                one.close()

    def open(self) -> None:
        """Let all jobs go on, also those that are still to come."""
        for one in (self._listener, *self._held):
            with suppress(OSError):  # it is open already
                one.shutdown(socket.SHUT_RDWR)  # close would not do: a forked worker has a copy


def _knocks(one: socket.socket) -> bool:
    """Is it a job?  Any process may come: the port was somebody else's a moment ago."""
    try:
        return one.recv(1) == KNOCK
    except ConnectionError:
        return False


def held(
    port: int, function: Callable[..., object] = int, *given: object
) -> tuple[int, int, object]:
    """A job: wait at the gate of `port`, then call `function`.

    When that began and ended (ns of `perf_counter_ns`, which all processes of a system share), and
    its value.  TimeoutError if the gate does not open within 60 s.
    """
    try:
        with socket.create_connection(("127.0.0.1", port), GATE_S) as gate:
            # A listener that is shut down amid a handshake may reset the connection unheard (Linux
            # 6.18): who has sent something learns of it, as TCP sends that until it is answered.
            gate.send(KNOCK)
            gate.recv(1)  # b"" when it opens
    except ConnectionError:  # it is open already
        pass
    began = clock()
    value = function(*given)
    return began, clock(), value


def asleep(tid: int) -> bool:
    """Wait until the thread `tid` of this process sleeps; False if it ends, or not within 60 s.

    In one sleep, longer than the interpreter's switch interval: not a wait for the GIL, which wakes
    up after each interval to ask for it again.  Where there is no /proc: after a tenth of a second.
    """
    if not procfs.available():
        time.sleep(BLIND_S)
        return True
    until, sleep, since = time.monotonic() + GATE_S, None, clock()
    while procfs.state("self", tid) and time.monotonic() < until:
        time.sleep(LOOK_S)
        looked, before, sleep = clock(), sleep, _sleep(tid)
        if sleep is None or sleep != before:
            since = clock()
        elif looked - since > 3e9 * sys.getswitchinterval():
            return True
    return False


def _sleep(tid: int) -> int | None:
    """Which of its sleeps the thread is in; None if it is awake."""
    return procfs.voluntary("self", tid) if procfs.state("self", tid) == "S" else None


def once_asleep(function: Callable[..., object], *given: object) -> threading.Thread:
    """Call `function` in a thread of its own, as soon as the calling thread sleeps: join it."""
    caller = threading.get_native_id()

    def wait_and_call() -> None:
        asleep(caller)
        function(*given)

    thread = threading.Thread(target=wait_and_call)
    thread.start()
    return thread
