"""A gate holds whoever runs the job, and a thread that sleeps is told from one that does not."""

import multiprocessing
import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from typing import Any

import pytest

from iosim import evidence, gate
from iosim.gate import Gate, asleep, held, once_asleep
from iosim.kernels.linux.work import total

linux = pytest.mark.skipif(sys.platform != "linux", reason="there is no /proc here")

EXECUTORS: dict[str, Callable[[int], Executor]] = {"threads": ThreadPoolExecutor} | {
    method: lambda n, method=method: ProcessPoolExecutor(n, get_context(method))
    for method in multiprocessing.get_all_start_methods()
}


@pytest.mark.parametrize("executor", EXECUTORS.values(), ids=EXECUTORS)
def test_a_job_is_held_until_the_gate_opens(executor: Callable[[int], Executor]) -> None:
    """Whoever runs it; a forked worker has copies of the gate's sockets."""
    with executor(2) as pool, Gate() as one:
        jobs = [pool.submit(held, one.port, total, 10) for _ in range(2)]
        one.wait_for(2)
        assert not any(job.done() for job in jobs)
        before = time.perf_counter_ns()
        one.open()
        for job in jobs:
            began, ended, value = job.result(60)
            assert before <= began <= ended
            assert value == 45


def test_who_comes_to_an_open_gate_goes_through() -> None:
    with Gate() as one:
        one.open()
        assert held(one.port)[2] == 0
    assert held(one.port)[2] == 0


def test_a_gate_to_which_nobody_comes_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "GATE_S", 0.1)
    with Gate() as one, pytest.raises(TimeoutError):
        one.wait_for(1)


def test_a_gate_leaves_nothing() -> None:
    before = len(os.listdir("/proc/self/fd"))
    with Gate() as one:
        thread = threading.Thread(target=held, args=(one.port,))
        thread.start()
        one.wait_for(1)
    thread.join()
    assert len(os.listdir("/proc/self/fd")) == before


@linux
def test_what_waits_for_a_sleeper_happens_in_its_sleep() -> None:
    ours, theirs = socket.socketpair()
    seen: list[Any] = []
    me = threading.get_native_id()
    with ours, theirs:

        def wake() -> None:
            seen.append(evidence.state("self", me))
            theirs.send(b"!")

        thread = once_asleep(wake)
        assert ours.recv(1) == b"!"
        thread.join()
    assert seen == ["S"]


@linux
def test_a_wait_for_the_interpreter_is_no_sleep() -> None:
    """A thread that computes beside another sleeps again and again, for the GIL."""
    over, seen = threading.Event(), []

    def compute() -> None:
        while not over.is_set():
            seen.append(evidence.state("self", other.native_id or 0))
            total(10_000)

    def look() -> None:
        asleep(other.native_id or 0)
        seen.append("asleep")

    computing = threading.Thread(target=compute)
    other = threading.Thread(target=compute)
    looking = threading.Thread(target=look)
    for thread in (other, computing, looking):
        thread.start()
    looking.join(0.3)
    assert looking.is_alive()
    over.set()
    for thread in (other, computing):
        thread.join()
    looking.join(gate.GATE_S)
