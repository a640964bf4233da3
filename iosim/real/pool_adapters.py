"""The pools of the standard library behind one face: open, greet, submit, wait, close.

Every wait has a bound, and after `close` no worker, no thread and no queue of the pool is left.
(Under spawn and forkserver `multiprocessing` itself starts a resource tracker, and a fork server,
once in a process; they live as long as that does.)
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import (
    BrokenExecutor,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
)
from concurrent.futures import (
    wait as wait_for,
)
from contextlib import contextmanager, suppress
from errno import EAGAIN
from multiprocessing.pool import TERMINATE, AsyncResult, Pool
from multiprocessing.process import BaseProcess
from typing import Any, Protocol, TypeVar

from ..kernels.pools import crew, flavour
from ..kernels.resource_limits import NO_THREAD, beginning
from ..machine.children import how_it_ended
from . import worker_tasks
from .worker_tasks import Semaphore

__all__ = ["OpenPool", "Told"]

OPEN_S = 60.0  # for all workers to start, or to end
LOOK_S = 0.05  # between two looks whether a worker has died instead
HAND_IN_S = 5.0  # for a worker to hand in a result before it is killed

Value = TypeVar("Value")
Handle = TypeVar("Handle")
#: `(value, error)` of a job, one of them None; called in a thread of the library.
Told = Callable[[Value | None, BaseException | None], object]
#: With which workers are held back: they release the one, and acquire the other.
Gate = tuple[Semaphore, Semaphore]


class _Pool(Protocol[Handle]):
    """What is asked of every pool; a handle is an AsyncResult or a Future."""

    def submit(
        self, told: Told[Value], function: Callable[..., Value], *given: object
    ) -> Handle: ...
    def get(self, handle: Handle, timeout: float) -> Any: ...
    def done(self, handle: Handle) -> bool: ...
    def wait(self, handles: Sequence[Handle], timeout: float) -> None: ...
    def add(self, handle: Handle, told: Told[Any]) -> bool: ...
    def check(self, handles: Iterable[Handle]) -> None: ...
    def close(self, at_once: bool) -> None: ...


class _Context:
    """A context of multiprocessing that knows which processes were made in it."""

    def __init__(self, start_method: str | None) -> None:
        self._plain: Any = multiprocessing.get_context(start_method)
        self.made: list[BaseProcess] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._plain, name)

    def Process(self, *given: object, **named: object) -> BaseProcess:  # the library calls it so
        self.made.append(self._plain.Process(*given, **named))
        return self.made[-1]

    def started(self) -> list[BaseProcess]:
        """Those that have begun, whatever has become of them."""
        return [process for process in self.made if process.pid is not None]

    def kill(self) -> None:
        """End them; returns once they are dead."""
        for process in self.started():
            process.kill()  # nothing, if it has ended
        for process in self.started():
            process.join()

    def end(self) -> None:
        """Whatever happened: none of them is left, nor a descriptor of theirs."""
        self.kill()
        while self.made:
            self.made.pop().close()


@contextmanager
def _nobody_handing_in(results: Any) -> Iterator[None]:
    """Here workers may be killed: none holds the lock of that queue, nor has sent half a result.

    One that keeps the lock too long is killed all the same.  Then the lock is freed in its place,
    and who reads on finds the end of the file where the other half would be.
    """
    lock = results._wlock
    held = lock.acquire(True, HAND_IN_S)
    try:
        yield
    finally:
        if not held:
            results._writer.close()
        with suppress(ValueError):  # it was freed meanwhile
            lock.release()


class _Multiprocessing:
    """multiprocessing.Pool.

    Its own `terminate` may wait for ever: a worker that it kills while that holds the lock of the
    result queue never gives it back, and a thread of the pool wants it next.
    """

    def __init__(self, workers: int, context: _Context, gate: Gate) -> None:
        self._pool, self._context = Pool.__new__(Pool), context
        try:
            Pool.__init__(self._pool, workers, worker_tasks.prepare, gate, context=context)
        except BaseException:  # before all of its threads are begun it has no way to end them
            self.close(at_once=True)
            raise

    def _thread(self, name: str) -> Any:
        """Of that name; None if it was never begun."""
        thread = vars(self._pool).get(name)
        return thread if thread is not None and thread.ident is not None else None

    def close(self, at_once: bool) -> None:
        """End the thread that begins workers, then the workers, then who hears of them.

        It is the same at once or later: a worker that has no job can be killed, too.
        """
        pool: Any = self._pool
        pool._state = TERMINATE  # else it would warn that nobody has closed it
        if "_terminate" in vars(pool):
            pool._terminate.cancel()  # else it would end itself, at the end of the interpreter
        workers, tasks, results = map(
            self._thread, ("_worker_handler", "_task_handler", "_result_handler")
        )
        if workers is None:  # the first of them: there is no other, nor a job
            self._context.end()
            return
        workers._state = TERMINATE
        pool._change_notifier.put(None)  # wakes it up
        workers.join(OPEN_S)
        with _nobody_handing_in(pool._outqueue):
            for thread in filter(None, (tasks, results)):
                thread._state = TERMINATE
            self._context.end()
        self._end_tasks(pool, tasks)
        self._end_results(pool, results)

    def _end_tasks(self, pool: Any, thread: threading.Thread | None) -> None:
        """No worker reads what it writes any more, which may be more than fits: we do."""
        until = time.monotonic() + OPEN_S
        pool._taskqueue.put(None)
        while thread is not None and thread.is_alive() and time.monotonic() < until:
            if pool._inqueue._reader.poll():
                os.read(pool._inqueue._reader.fileno(), 65_536)
            thread.join(0.001)

    def _end_results(self, pool: Any, thread: threading.Thread | None) -> None:
        """It looks whether it is to end when it has read something."""
        with suppress(OSError):  # full: it has something to read; closed: it finds that out
            os.set_blocking(pool._outqueue._writer.fileno(), False)
            pool._outqueue._writer.send(None)
        if thread is not None:
            thread.join(OPEN_S)

    def submit(
        self, told: Told[Value], function: Callable[..., Value], *given: object
    ) -> AsyncResult[Value]:
        return self._pool.apply_async(
            function, given, {}, lambda value: told(value, None), lambda error: told(None, error)
        )

    def get(self, handle: AsyncResult[Value], timeout: float) -> Value:
        try:
            return handle.get(timeout)
        except multiprocessing.TimeoutError as late:  # its own class, which is no OSError
            raise TimeoutError(str(late)) from None

    def done(self, handle: AsyncResult[Value]) -> bool:
        return handle.ready()

    def wait(self, handles: Sequence[AsyncResult[Value]], timeout: float) -> None:
        until = time.monotonic() + timeout
        for handle in handles:
            handle.wait(max(0.0, until - time.monotonic()))

    def add(self, handle: AsyncResult[Value], told: Told[Value]) -> bool:
        return False  # it takes callbacks only when a job is handed in

    def check(self, handles: Iterable[AsyncResult[Value]]) -> None:
        return


class _Executor:
    """An executor of concurrent.futures."""

    def __init__(self, executor: Executor, context: _Context) -> None:
        self._executor, self._context = executor, context
        self._handed: deque[Future[Any]] = deque()  # from the first one on that is not done

    def submit(
        self, told: Told[Value], function: Callable[..., Value], *given: object
    ) -> Future[Value]:
        try:
            future = self._executor.submit(function, *given)
        except BrokenExecutor:  # the jobs before it are told the cause
            wait_for(self._handed, HAND_IN_S)
            self.check(self._handed)
            raise
        while self._handed and self._handed[0].done():
            self._handed.popleft()
        self._handed.append(future)
        self.add(future, told)
        return future

    def get(self, handle: Future[Value], timeout: float) -> Value:
        return handle.result(timeout)

    def done(self, handle: Future[Value]) -> bool:
        return handle.done()

    def wait(self, handles: Sequence[Future[Value]], timeout: float) -> None:
        wait_for(handles, timeout)

    def add(self, handle: Future[Value], told: Told[Value]) -> bool:
        def settle(future: Future[Value]) -> None:
            if not future.cancelled():
                error = future.exception()
                told(None if error else future.result(), error)

        handle.add_done_callback(settle)
        return True

    def check(self, handles: Iterable[Future[Value]]) -> None:
        """OSError if its thread could not start another: then no job is done.

        It dies of that in Python 3.11; later ones end the workers, and tell the jobs the cause.
        """
        thread = getattr(self._executor, "_executor_manager_thread", None)
        dead = thread is not None and not thread.is_alive() and not self._executor._broken  # type: ignore[attr-defined]
        told = [handle.exception() for handle in handles if handle.done()]
        if dead or any(NO_THREAD in str(error.__cause__) for error in told if error is not None):
            raise OSError(EAGAIN, f"no thread: {os.strerror(EAGAIN)}")

    def close(self, at_once: bool) -> None:
        results = getattr(self._executor, "_result_queue", None)
        if at_once and results is not None:
            with _nobody_handing_in(results):
                self._context.kill()
        with suppress(RuntimeError):  # its thread could not be started: there is none to wait for
            self._executor.shutdown(wait=True, cancel_futures=True)


class OpenPool:
    """An open pool, all of whose workers have started; `names` tells which thread is which."""

    def __init__(self, pool: str, workers: int, start_method: str | None) -> None:
        self.flavour = flavour(pool)
        crew(workers)  # looks at the number
        if start_method not in (None, *multiprocessing.get_all_start_methods()):
            raise ValueError(
                f"start_method must be one of {', '.join(multiprocessing.get_all_start_methods())},"
                f" got {start_method!r}"
            )
        # The semaphores of an earlier pool go with its garbage.  Were that collected while this one
        # tells the resource tracker of its own, the tracker would warn (Python 3.12, 3.13).
        gc.collect()
        self._context = _Context(start_method)
        with beginning(f"a {pool} of {workers} worker{'s'[: workers != 1]}"):
            self._open(pool, workers)

    def _open(self, pool: str, workers: int) -> None:
        processes = self.flavour.processes
        semaphore: Any = self._context.Semaphore if processes else threading.Semaphore
        arrived, go = gate = semaphore(0), semaphore(0)
        self.stopped = None if processes else threading.Event()
        self.pool: _Pool[Any] = _OPEN[pool](workers, self._context, gate)
        try:
            where = self._greet(workers, arrived, go)
            self.names = dict(zip(where, crew(workers), strict=True))
            self.collector = self._collector(arrived, go)
        except BaseException:
            for _ in range(workers):
                go.release()  # a thread cannot be killed: who waits for the others goes on
            self.close(at_once=True)
            raise

    def _greet(self, workers: int, arrived: Semaphore, go: Semaphore) -> list[tuple[int, int]]:
        """Start every worker: each is held back until all of them are there."""
        handles = [self.pool.submit(_nobody, worker_tasks.greet) for _ in range(workers)]
        self._let_go(handles, arrived, go)
        return sorted(self.pool.get(handle, OPEN_S) for handle in handles)

    def _collector(self, arrived: Semaphore, go: Semaphore) -> int | None:
        """The number of the thread that takes the results in, as a callback finds it out.

        The job is held back until the callback is added: one that comes late runs in our thread.
        """
        if not self.flavour.collector:
            return None
        found: list[int] = []

        def take_down(*_: object) -> None:
            found.append(threading.get_native_id())

        handle = self.pool.submit(
            lambda *_: found.append(threading.get_native_id()), worker_tasks.greet
        )
        self._let_go([handle], arrived, go)
        self.pool.get(handle, OPEN_S)
        until = time.monotonic() + OPEN_S
        while not found and time.monotonic() < until:  # an executor wakes us before it calls back
            time.sleep(0.001)
        return found[0]

    def _let_go(self, jobs: Sequence[object], arrived: Semaphore, go: Semaphore) -> None:
        """Once the worker of each of these jobs is there, let all of them go on."""
        until = time.monotonic() + OPEN_S
        for _ in jobs:
            while not arrived.acquire(True, LOOK_S):
                self._look_for_dead(jobs)
                if time.monotonic() > until:
                    raise TimeoutError(f"{len(jobs)} workers did not start within {OPEN_S:g} s")
        for _ in jobs:
            go.release()

    def _look_for_dead(self, jobs: Sequence[object]) -> None:
        """A Pool would begin another worker, and again, for as long as they die."""
        codes = [process.exitcode for process in self._context.started()]
        self.pool.check(jobs)  # after them: the library tells the jobs first, and ends workers then
        for code in codes:
            if code is not None:
                how = how_it_ended(code)
                raise RuntimeError(f"a worker of the pool {how} before it had begun to work")

    def close(self, at_once: bool) -> None:
        """Let the workers go; `at_once`: in the middle of a job, if need be."""
        if self.stopped is not None:
            self.stopped.set()
        try:
            self.pool.close(at_once)
        finally:
            self._context.end()


def _nobody(value: object, error: BaseException | None) -> None:
    return


def _process_pool(workers: int, context: Any, gate: Gate) -> _Executor:
    return _Executor(ProcessPoolExecutor(workers, context, worker_tasks.prepare, gate), context)


def _thread_pool(workers: int, context: _Context, gate: Gate) -> _Executor:
    return _Executor(ThreadPoolExecutor(workers, "worker", worker_tasks.prepare, gate), context)


_OPEN: dict[str, Callable[[int, _Context, Gate], _Pool[Any]]] = {
    "Pool": _Multiprocessing,
    "ProcessPoolExecutor": _process_pool,
    "ThreadPoolExecutor": _thread_pool,
}
