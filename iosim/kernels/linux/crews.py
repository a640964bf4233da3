"""The pools of the standard library behind one face: open, greet, submit, wait, close.

Every wait has a bound, and after `close` no worker, no thread and no queue of the pool is left.
(Under spawn and forkserver `multiprocessing` itself starts a resource tracker, and a fork server,
once in a process; they live as long as that does.)
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from contextlib import suppress
from multiprocessing.pool import AsyncResult, Pool
from typing import Any, Protocol

from ..pools import crew, flavour
from . import work

__all__ = ["Crew", "Told"]

OPEN_S = 60.0  # for all workers to start, or to end

#: `(value, error)` of a job, one of them None; called in a thread of the library.
Told = Callable[[Any, BaseException | None], None]


class _Pool(Protocol):
    """What is asked of every pool; a handle is an AsyncResult or a Future."""

    def submit(self, told: Told, function: Callable[..., Any], *given: Any) -> Any: ...
    def get(self, handle: Any, timeout: float) -> Any: ...
    def done(self, handle: Any) -> bool: ...
    def wait(self, handles: Sequence[Any], timeout: float) -> None: ...
    def add(self, handle: Any, told: Told) -> bool: ...
    def close(self, at_once: bool) -> None: ...


class _Multiprocessing:
    """multiprocessing.Pool."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def submit(self, told: Told, function: Callable[..., Any], *given: Any) -> AsyncResult[Any]:
        return self._pool.apply_async(
            function, given, {}, lambda value: told(value, None), lambda error: told(None, error)
        )

    def get(self, handle: AsyncResult[Any], timeout: float) -> Any:
        try:
            return handle.get(timeout)
        except multiprocessing.TimeoutError as late:  # its own class, which is no OSError
            raise TimeoutError(str(late)) from None

    def done(self, handle: AsyncResult[Any]) -> bool:
        return handle.ready()

    def wait(self, handles: Sequence[AsyncResult[Any]], timeout: float) -> None:
        until = time.monotonic() + timeout
        for handle in handles:
            handle.wait(max(0.0, until - time.monotonic()))

    def add(self, handle: AsyncResult[Any], told: Told) -> bool:
        return False  # it takes callbacks only when a job is handed in

    def close(self, at_once: bool) -> None:
        if at_once:
            self._pool.terminate()
        else:
            self._pool.close()
        self._pool.join()


class _Executor:
    """An executor of concurrent.futures."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self.pids: list[int] = []

    def submit(self, told: Told, function: Callable[..., Any], *given: Any) -> Future[Any]:
        future = self._executor.submit(function, *given)
        self.add(future, told)
        return future

    def get(self, handle: Future[Any], timeout: float) -> Any:
        return handle.result(timeout)

    def done(self, handle: Future[Any]) -> bool:
        return handle.done()

    def wait(self, handles: Sequence[Future[Any]], timeout: float) -> None:
        wait_for(handles, timeout)

    def add(self, handle: Future[Any], told: Told) -> bool:
        def settle(future: Future[Any]) -> None:
            if not future.cancelled():
                error = future.exception()
                told(None if error else future.result(), error)

        handle.add_done_callback(settle)
        return True

    def close(self, at_once: bool) -> None:
        if at_once:
            for pid in self.pids:
                with suppress(ProcessLookupError):  # a broken executor ends them by itself
                    os.kill(pid, getattr(signal, "SIGKILL", signal.SIGTERM))
        self._executor.shutdown(wait=True, cancel_futures=True)


class Crew:
    """An open pool, all of whose workers have started; `names` tells which thread is which."""

    def __init__(self, pool: str, workers: int, start_method: str | None) -> None:
        self.flavour = flavour(pool)
        names = crew(workers)
        if start_method not in (None, *multiprocessing.get_all_start_methods()):
            raise ValueError(
                f"start_method must be one of {', '.join(multiprocessing.get_all_start_methods())},"
                f" got {start_method!r}"
            )
        context = multiprocessing.get_context(start_method)
        semaphore: Any = context.Semaphore if self.flavour.processes else threading.Semaphore
        arrived, go = gate = semaphore(0), semaphore(0)
        self.stopped = None if self.flavour.processes else threading.Event()
        self.pool: _Pool = _OPEN[pool](workers, context, gate)
        try:
            where = self._greet(workers, arrived, go)
        except BaseException:
            self.close(at_once=True)
            raise
        self.names = dict(zip(where, names, strict=True))
        if isinstance(self.pool, _Executor) and self.flavour.processes:
            self.pool.pids = [pid for pid, _ in where]
        self.collector = self._collector(arrived, go)

    def _greet(self, workers: int, arrived: Any, go: Any) -> list[tuple[int, int]]:
        """Start every worker: each is held back until all of them are there."""
        handles = [self.pool.submit(_nobody, work.greet) for _ in range(workers)]
        _let_go(workers, arrived, go)
        return sorted(self.pool.get(handle, OPEN_S) for handle in handles)

    def _collector(self, arrived: Any, go: Any) -> int | None:
        """The number of the thread that takes the results in, as a callback finds it out.

        The job is held back until the callback is added: one that comes late runs in our thread.
        """
        if not self.flavour.collector:
            return None
        found: list[int] = []
        handle = self.pool.submit(lambda *_: found.append(threading.get_native_id()), work.greet)
        _let_go(1, arrived, go)
        self.pool.get(handle, OPEN_S)
        until = time.monotonic() + OPEN_S
        while not found and time.monotonic() < until:  # an executor wakes us before it calls back
            time.sleep(0.001)
        return found[0]

    def close(self, at_once: bool) -> None:
        """Let the workers go; `at_once`: in the middle of a job, if need be."""
        if self.stopped is not None:
            self.stopped.set()
        self.pool.close(at_once)


def _let_go(workers: int, arrived: Any, go: Any) -> None:
    """Once so many are there, let all of them go on."""
    for _ in range(workers):
        if not arrived.acquire(True, OPEN_S):
            raise TimeoutError(f"{workers} workers did not start within {OPEN_S:g} s")
    for _ in range(workers):
        go.release()


def _nobody(value: Any, error: BaseException | None) -> None:
    return


def _pool(workers: int, context: Any, gate: tuple[Any, Any]) -> _Pool:
    return _Multiprocessing(context.Pool(workers, work.prepare, gate))


def _process_pool(workers: int, context: Any, gate: tuple[Any, Any]) -> _Pool:
    return _Executor(ProcessPoolExecutor(workers, context, work.prepare, gate))


def _thread_pool(workers: int, context: Any, gate: tuple[Any, Any]) -> _Pool:
    return _Executor(ThreadPoolExecutor(workers, "worker", work.prepare, gate))


_OPEN: dict[str, Callable[[int, Any, tuple[Any, Any]], _Pool]] = {
    "Pool": _pool,
    "ProcessPoolExecutor": _process_pool,
    "ThreadPoolExecutor": _thread_pool,
}
