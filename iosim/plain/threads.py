"""`_thread`, simulated: what the library's own `threading.py` and `queue.py` stand on.

A lock that is free costs no call; who must wait sleeps in futex(2), and who lets go of a lock for
which somebody waits wakes the one who has waited longest.
"""

from __future__ import annotations

import _thread as real
from collections.abc import Callable, Mapping, Sequence
from signal import SIGINT
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING

from .calls import futex, timeout_ns
from .kernel import Ended
from .run import NotSimulated
from .world import like

if TYPE_CHECKING:
    from ..sim.task import Task
    from .world import World

__all__ = ["Lock", "RLock", "module"]


class Lock:
    """`_thread.lock`."""

    __slots__ = ("__weakref__", "taken", "waiters")
    _world: World

    def __init__(self) -> None:
        self.taken = False
        self.waiters: list[Task] = []

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Take it; False if somebody else has it and time is up."""
        if not blocking and timeout != -1:
            raise ValueError("can't specify a timeout for a non-blocking call")
        if timeout < 0 and timeout != -1:
            raise ValueError("timeout value must be a non-negative number")
        if not self.taken:
            self.taken = True
            return True
        if not blocking or timeout == 0:
            return False
        got: bool = self._world.call(futex(self, timeout_ns(timeout)))
        return got

    acquire_lock = acquire

    def release(self) -> None:
        """RuntimeError if nobody has it."""
        if not self.taken:
            raise RuntimeError("release unlocked lock")
        self.taken = False
        if self.waiters and not self._world.run.over:  # those of a run that is over are gone
            self._world.call(futex(self, wake=True))

    release_lock = release

    def locked(self) -> bool:
        """Has somebody got it?"""
        return self.taken

    locked_lock = locked

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self.release()

    def _at_fork_reinit(self) -> None:
        self.taken, self.waiters = False, []

    def __repr__(self) -> str:
        return f"<{'locked' if self.taken else 'unlocked'} simulated lock>"


class RLock:
    """`_thread.RLock`: who has it may take it again."""

    _world: World

    def __init__(self) -> None:
        self._lock: Lock = self._world.load("_thread").allocate_lock()
        self._owner: int | None = None
        self._count = 0

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Take it, once more or at last; False if somebody else has it and time is up."""
        if self._is_owned():
            self._count += 1
            return True
        got = self._lock.acquire(blocking, timeout)
        if got:
            self._owner, self._count = real.get_ident(), 1
        return got

    def release(self) -> None:
        """As often as it was taken.  RuntimeError for who has not got it."""
        if not self._is_owned():
            raise RuntimeError("cannot release un-acquired lock")
        self._count -= 1
        if not self._count:
            self._owner = None
            self._lock.release()

    def locked(self) -> bool:
        """Has somebody got it?"""
        return self._lock.taken

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()

    # for a condition of threading's: it lets go of all, and has all again

    def _is_owned(self) -> bool:
        return self._owner == real.get_ident()

    def _recursion_count(self) -> int:
        return self._count if self._is_owned() else 0

    def _release_save(self) -> tuple[int, int | None]:
        if not self._count:
            raise RuntimeError("cannot release un-acquired lock")
        state, self._count, self._owner = (self._count, self._owner), 0, None
        self._lock.release()
        return state

    def _acquire_restore(self, state: tuple[int, int | None]) -> None:
        self._lock.acquire()
        self._count, self._owner = state

    def _at_fork_reinit(self) -> None:
        self._lock._at_fork_reinit()
        self._count, self._owner = 0, None

    def __repr__(self) -> str:
        return f"<simulated RLock owner={self._owner or 0} count={self._count}>"


class _Handle:
    """`_thread._ThreadHandle` (3.13): the end of a thread, to be waited for."""

    def __init__(self, lock: Lock, ident: int | None = None) -> None:
        self._running, self.ident = lock, ident

    def is_done(self) -> bool:
        """Is it over?"""
        return not self._running.taken

    def join(self, timeout: float | None = None) -> None:
        """Wait for its end."""
        if self._running.acquire(True, -1 if timeout is None else max(0, timeout)):
            self._running.release()

    def _set_done(self) -> None:
        if self._running.taken:
            self._running.release()


def module(world: World) -> ModuleType:
    """`_thread`, for this world, for the `threading.py` of any Python from 3.11 on."""
    lock = type("lock", (Lock,), {"__slots__": (), "_world": world, "__module__": "_thread"})
    joinable: list[_Handle] = []

    def start(
        function: Callable[..., object], args: Sequence[object] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> int:  # fmt: skip
        named = kwargs or {}
        thread = world.run.start_thread(lambda: function(*args, **named))
        return thread.os_thread.ident or 0

    def start_joinable(
        function: Callable[[], object], handle: _Handle | None = None, daemon: bool = True
    ) -> _Handle:
        ends = handle or handle_kind()
        ends._running.acquire()
        if not daemon:
            joinable.append(ends)

        def body() -> None:
            ends.ident = real.get_ident()
            world.run.mine().at_end.append(ends._set_done)
            function()

        ends.ident = world.run.start_thread(body).os_thread.ident
        return ends

    def handle_kind(ident: int | None = None) -> _Handle:
        return _Handle(lock(), ident)

    def sentinel() -> Lock:
        """3.11, 3.12: a lock that its thread lets go of at its end."""
        made: Lock = lock()
        if not world.run.is_main():
            world.run.mine().at_end.append(lambda: made.release() if made.taken else None)
        return made

    def shutdown() -> None:
        while joinable:
            joinable.pop().join()

    def interrupt_main(signum: int = SIGINT) -> None:
        world.run.raise_signal(signum)

    def excepthook(args: real._ExceptHookArgs) -> None:
        """A thread that the end of a run has ended says nothing; what is refused ends the run."""
        if isinstance(args.exc_value, NotSimulated):
            world.run.refused = args.exc_value
        elif not issubclass(args.exc_type, Ended):
            real._excepthook(args)

    made = like(
        real, _excepthook=excepthook, lock=lock, LockType=lock, allocate_lock=lock, allocate=lock,
        start_new_thread=start, start_new=start, _set_sentinel=sentinel,
        interrupt_main=interrupt_main,
        RLock=type("RLock", (RLock,), {"_world": world, "__module__": "_thread"}),
    )  # fmt: skip
    if hasattr(real, "start_joinable_thread"):
        vars(made).update(
            start_joinable_thread=start_joinable, _ThreadHandle=handle_kind,
            _make_thread_handle=handle_kind, _shutdown=shutdown,
            _get_main_thread_ident=real.get_ident,
        )  # fmt: skip
    return made
