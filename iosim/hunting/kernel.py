"""A simulated kernel that goes every way that Linux may go, as its choices say."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from errno import EAGAIN, EMFILE
from functools import partial
from typing import Any

from .. import calls
from ..calls import ms
from ..machine.errors import failure
from ..plain.calls import sendto
from ..plain.kernel import Ended, PlainKernel
from ..sim.descriptions import changed
from ..sim.readiness import Interest
from ..sim.task import Task
from ..sim.tcp import Listener
from ..trace import READY
from .choices import Choices
from .space import Space

__all__ = ["HuntedKernel"]

FULL_NS = ms(200)  # for which no descriptor is left
ASIDE_NS = ms(2)  # for which a thread stands aside: somebody else has its core
SOON = ms(3)  # until a socket that took nothing says that it takes something
SPURIOUS = 2  # times, at most, that a descriptor is reported and is not ready


Look = calls.select | calls.poll | calls.epoll_wait


class HuntedKernel(PlainKernel):
    """`PlainKernel`, where what is free is chosen; it stops a program that makes no progress."""

    def __init__(self, choices: Choices, space: Space, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.choices, self.space = choices, space
        self.made = 0  # calls
        self._in_vain = self._spurious = self._full = 0
        self._full_until = 0
        self._signals = list(space.signals)
        self._planned: set[int] = set()

    # -- between two steps ---------------------------------------------------------------------

    def ask(self, task: Task, request: calls.Request) -> None:
        """Somebody else may go on first, or a signal come."""
        self._count(task)
        if self._signals and task is self.processes[0] and not task.frames:
            self._send_signals(task)
        super().ask(task, request)
        if self.space.threads and self._queue and self.choices.pick(2):
            task.slice_end = self.now
            self._plan_preemption(task)

    def _resume(self, task: Task, value: object, error: BaseException | None = None) -> None:
        """Somebody else may go on before the code behind the call does."""
        if not (self.space.threads and self.threads and self.choices.pick(2)):
            super()._resume(task, value, error)
            return
        task.then = lambda task: PlainKernel._resume(self, task, value, error)
        task.left = 0
        task.token += 1
        self._mark(task, READY)
        self.off_core(task)
        self.plan(ASIDE_NS, self._when_ready, task)

    def _send_signals(self, task: Task) -> None:
        """Those for which there is a handler: now, or else some time later."""
        for signo in [one for one in self._signals if one in (task.handlers or {})]:
            if self.choices.pick(2):
                self._signals.remove(signo)
                task.pending = [*(task.pending or []), signo]
            elif signo not in self._planned:
                self._planned.add(signo)
                self.later(self.space.signals_by, partial(self._at_last, task, signo))

    def _at_last(self, task: Task, signo: int) -> None:
        if signo in self._signals:
            self._signals.remove(signo)
            self.signal(task, signo)

    def off_core(self, task: Task) -> None:
        """Whoever is ready may be the next one."""
        if self.space.threads and len(self._queue) > 1:
            self._queue.rotate(-self.choices.pick(len(self._queue)))
        super().off_core(task)

    def _count(self, task: Task) -> None:
        self.made += 1
        self._in_vain += 1
        if self._in_vain > self.space.in_vain:
            self.stop(f"it spins: {self.space.in_vain} calls, and no progress")
        if self.made > self.space.calls:
            self.stop(f"it never ends: {self.space.calls:,} calls")

    def stop(self, why: str) -> None:
        """The run is over, whatever the program says."""
        self.stopped = RuntimeError(why)
        raise Ended

    def progress(self) -> None:
        """Something has happened that a program can be proud of."""
        self._in_vain = 0

    def sleep(self, task: Task, deadline: int | None = None, note: str = "") -> None:
        """To wait is no spinning."""
        self.progress()
        super().sleep(task, deadline, note)

    def leave(self, task: Task, errno: int | None = None, nbytes: int = 0) -> None:
        """Bytes, a new descriptor and one that is closed are progress."""
        if nbytes or (errno is None and type(task.request) in (calls.accept, calls.close)):
            self.progress()
        super().leave(task, errno, nbytes)

    def took(self, task: Task, nbytes: int) -> None:
        """So are bytes that were sent."""
        self.progress()
        super().took(task, nbytes)

    # -- calls ---------------------------------------------------------------------------------

    def _answer(self, task: Task) -> None:
        choose = WAYS.get(type(task.request))
        if choose is None or not choose(self, task, task.request):
            super()._answer(task)

    def take_less(self, task: Task, request: sendto) -> bool:
        """A send on a nonblocking socket: all of it, one byte, half of it; or EAGAIN."""
        thing = self.table.open.get(request.fd)
        nonblocking = getattr(thing, "flags", 0) & calls.O_NONBLOCK
        if not (self.space.short_writes and nonblocking and len(request.data)):
            return False
        way = self.choices.pick(4 if self.space.spurious else 3)
        if way == 3:
            assert thing is not None
            self.later(SOON, lambda: changed(self, thing, calls.EPOLLOUT))
            self.return_from_call(task, None, failure(EAGAIN))
        elif way:
            some = 1 if way == 1 else max(1, len(request.data) // 2)
            task.request = replace(request, data=request.data[:some])
            task.request.number = 0
        return way == 3

    def have_no_room(self, task: Task, request: calls.accept) -> bool:
        """An accept at the limit of descriptors: EMFILE, which is looked for first (do_accept)."""
        if self.now >= self._full_until:
            if self._full >= self.space.full or not self.choices.pick(2):
                return False
            self._full, self._full_until = self._full + 1, self.now + FULL_NS
        self.return_from_call(task, None, failure(EMFILE))
        return True

    def tell_too_much(self, task: Task, request: Look) -> bool:
        """A look that reports what is not ready."""
        if not self.space.spurious or self._spurious >= SPURIOUS:
            return False
        asked = self._asked(request)
        idle = [fd for fd, events in asked.items() if events & calls.EPOLLIN and self._idle_fd(fd)]
        if not idle or not self.choices.pick(2):
            return False
        self._spurious += 1
        self.return_from_call(task, [calls.Ready(idle[0], calls.EPOLLIN)])
        return True

    def _asked(self, request: Look) -> Mapping[int, int]:
        if not isinstance(request, calls.epoll_wait):
            return request.asked
        interest = self.table.open.get(request.epfd)
        watched = interest.watched if isinstance(interest, Interest) else {}
        return {fd: watch.events for fd, watch in watched.items()}

    def _idle_fd(self, fd: int) -> bool:
        thing = self.table.open.get(fd)
        return thing is not None and not isinstance(thing, Listener) and not thing.events & 1


WAYS: dict[type, Callable[[HuntedKernel, Task, Any], bool]] = {
    sendto: HuntedKernel.take_less, calls.accept: HuntedKernel.have_no_room,
    **dict.fromkeys((calls.select, calls.poll, calls.epoll_wait), HuntedKernel.tell_too_much),
}  # fmt: skip
