"""A gate holds whoever runs the job, and a thread that sleeps is told from one that does not."""

import multiprocessing
import os
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from typing import Any

import pytest

from iosim.machine import procfs
from iosim.real.worker_tasks import total
from iosim.workloads import job_gate
from iosim.workloads.job_gate import Gate, asleep, held, once_asleep

linux = pytest.mark.skipif(sys.platform != "linux", reason="there is no /proc here")

EXECUTORS: dict[str, Callable[[int], Executor]] = {"threads": ThreadPoolExecutor} | {
    method: lambda n, method=method: ProcessPoolExecutor(n, get_context(method))
    for method in multiprocessing.get_all_start_methods()
}


@pytest.mark.parametrize("executor", EXECUTORS.values(), ids=EXECUTORS)
def test_a_job_is_held_until_the_gate_opens(executor: Callable[[int], Executor]) -> None:
    """Whoever runs it; the third comes when it is open, of which a forked worker has a copy."""
    with executor(2) as pool, Gate() as one:
        jobs = [pool.submit(held, one.port, total, 10) for _ in range(3)]
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


def test_who_comes_as_it_opens_goes_through(monkeypatch: pytest.MonkeyPatch) -> None:
    """Amid the handshake: nothing can place it there, so it is tried again and again."""
    monkeypatch.setattr(job_gate, "GATE_S", 5.0)
    for turn in range(3_000):
        with Gate() as one:
            thread = threading.Thread(target=held, args=(one.port,))
            thread.start()
            for _ in range(turn % 400):
                pass
            before = time.perf_counter_ns()
            one.open()
            thread.join()
            assert time.perf_counter_ns() - before < 5e9  # the limit is an error of the thread's


def test_a_gate_to_which_nobody_comes_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_gate, "GATE_S", 0.1)
    with Gate() as one, pytest.raises(TimeoutError):
        one.wait_for(1)


def test_a_stranger_is_no_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_gate, "GATE_S", 0.1)
    with Gate() as gate:
        with socket.create_connection(("127.0.0.1", gate.port)):
            pass
        with pytest.raises(TimeoutError):
            gate.wait_for(1)


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
            seen.append(procfs.state("self", me))
            theirs.send(b"!")

        thread = once_asleep(wake)
        assert ours.recv(1) == b"!"
        thread.join()
    assert seen == ["S"]


def test_who_sleeps_again_and_again_is_not_asleep(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a thread does that waits for the GIL: it sleeps at each look, never in the same sleep."""
    naps = iter(range(20))
    monkeypatch.setattr(procfs, "available", lambda: True)
    monkeypatch.setattr(procfs, "state", lambda pid, tid: "S")
    monkeypatch.setattr(procfs, "voluntary", lambda pid, tid: next(naps, 20))
    assert asleep(1)
    assert next(naps, None) is None


def test_who_is_over_is_not_asleep() -> None:
    thread = threading.Thread(target=int)
    thread.start()
    thread.join()
    assert asleep(thread.native_id or 0) == (not procfs.available())


@pytest.mark.parametrize("word", [b"", b"!", None])
def test_a_stranger_who_comes_to_the_gate_is_no_job(word: bytes | None) -> None:
    """Who says nothing, or something else; who breaks off (None: a reset)."""
    with ThreadPoolExecutor(1) as pool, Gate() as one:
        with socket.create_connection(("127.0.0.1", one.port)) as stranger:
            if word is None:
                linger = struct.pack("ii", 1, 0)
                stranger.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            elif word:
                stranger.send(word)
        job = pool.submit(held, one.port)
        one.wait_for(1)
        assert len(one._held) == 1
        assert not job.done()
        assert one._held[0].getpeername()  # it is the job that is held, not who has gone
        one.open()
        assert job.result(60)[2] == 0


def test_where_the_system_does_not_tell_a_thread_is_taken_to_sleep_after_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(procfs, "available", lambda: False)
    begun = time.monotonic()
    assert asleep(threading.get_native_id())
    assert time.monotonic() - begun >= job_gate.BLIND_S
