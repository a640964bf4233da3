"""The simulated kernel: programs, their calls, and what comes between.

How a call goes: the program's own code takes `Costs.user`, the trap `Costs.syscall`; then the
kernel's side of the call (`answers`) replies at once, or works on, or sleeps.  Signals and the
task work of io_uring come between, where Linux looks for them.  Times are int ns, sizes bytes.
"""

from __future__ import annotations

from functools import cache, partial
from types import GeneratorType
from typing import TYPE_CHECKING, Any, ClassVar

from ..calls import (
    O_NONBLOCK,
    Program,
    Request,
    compute,
    io_uring_enter,
)
from ..costs import Costs
from ..kernels.launch import line_of, resume
from ..trace import KERNEL, USER
from ..trace.builder import TraceBuilder
from . import interrupts
from .answers import SIDES
from .descriptions import DEFAULT_NOFILE, Description, Descriptors
from .scheduler import Scheduler, Then
from .task import Sleep, Task, Thrown

if TYPE_CHECKING:
    from .aio import Asynchronous
    from .pools import Pool
    from .tcp import Network
    from .traffic import Arrivals

__all__ = ["Kernel"]


class Kernel(Scheduler):
    """Answers the calls of processes (`spawn`); `run` runs them all.

    `table` has their descriptors; `network`, `pool` and `traffic` what a story brings.
    `record` False takes nothing down (for large runs).
    """

    #: Is a signal held back while its own handler runs?  So it is for one in C: sigaction(2).
    holds_back: ClassVar[bool] = True

    network: Network
    asynchronous: Asynchronous
    pool: Pool | None = None
    traffic: Arrivals | None = None

    def __init__(
        self, costs: Costs, cores: int = 1, nofile: int = DEFAULT_NOFILE, record: bool = True
    ) -> None:
        super().__init__(costs, cores, TraceBuilder() if record else None)
        self.table = Descriptors(nofile)
        self.threads: list[Task] = []  # by pthread_create, by their number
        self.when_over: dict[Task, list[Task]] = {}  # who waits for its end
        self.eagain, self.cold_receive = round(costs.eagain), round(costs.cold_receive)
        #: ns, as `Costs` says, but computed once for each number of bytes.
        self.copy, self.transit = cache(costs.copy), cache(costs.transit)
        self._syscall, self._user = round(costs.syscall), round(costs.user)
        self._step = round(costs.step)
        self._cold_code = round(costs.cold_code)
        self._always_warm = not any(
            (
                costs.start, costs.first_call, costs.cold_user, costs.cold_code,
                costs.user_per_byte, costs.user_per_fd,
            )
        )  # fmt: skip
        self._when_trapped, self._when_entered = self._trap, self._entered
        self._when_worked, self.when_begun = self._go_on, self.begin

    def spawn(self, name: str, program: Program) -> Task:
        """A new process; it is ready at once."""
        return self.add(Task(name, program))

    def spawn_thread(self, program: Program) -> int:
        """Another thread of the program; its number.  It ends with its process: _exit(2)."""
        thread = self._new(Task(f"thread {len(self.threads) + 1}", program))
        self.threads.append(thread)
        self.start_later(thread)
        return len(self.threads)

    def add(self, task: Task) -> Task:
        """The run is not over before `task` is."""
        self._alive.add(task)
        return self._new(task)

    def _new(self, task: Task) -> Task:
        task.then = self.when_begun
        self.processes.append(task)
        return task

    def story_over(self) -> None:
        """All that comes from outside has come, and all clients are gone."""

    # -- programs ------------------------------------------------------------------------------

    def begin(self, task: Task) -> None:
        """Its program goes on, and is told nothing."""
        self._resume(task, None)

    def _resume(self, task: Task, value: object, error: BaseException | None = None) -> None:
        """Hand the program its reply and take its next request."""
        try:
            request = resume(task.program, value, error)
        except StopIteration:
            self.over(task)
            return
        except OSError as failure:
            failure.add_note(
                f"in {task.name}: {task.request!r}, at {self.now / 1e6:,.3f} ms of virtual time"
            )
            raise
        self.ask(task, request)

    def ask(self, task: Task, request: Request) -> None:
        """`task` has its core, and asks for this."""
        task.request = request
        if not request.trap:
            self._look_up(task, request)
        elif ns := self._user if self._always_warm else self._own_code(task, request):
            self.work(task, USER, ns, self._when_trapped)
        else:
            self._trap(task)

    def _own_code(self, task: Task, request: Request) -> int:
        """ns of the program's own code before its next call, with what its caches have lost."""
        kind, ns = type(request), self._user + self.costs.user_per_byte * task.brought
        new_lately = self._new_lately(task, kind)
        if task.cold:
            ns += self.costs.cold_user
        if task.made is None:
            task.made = {kind}
            ns += self.costs.start
        elif kind not in task.made:
            task.made.add(kind)
            ns += self.costs.first_call
        elif new_lately and not task.cold:
            ns += self._cold_code
        task.cold, task.brought = False, 0
        return round(ns) + round(self.costs.user_per_fd * request.listed)

    @staticmethod
    def _new_lately(task: Task, kind: type[Request]) -> bool:
        """Has `task` made no request of this kind since it slept?"""
        if task.lately is None:
            task.lately = set()
        new = kind not in task.lately
        task.lately.add(kind)
        return new

    def over(self, task: Task) -> None:
        """Its program is over: that of a signal's handler, or its own."""
        if task.frames:
            interrupts.over(self, task)
            return
        if task.interpreter is not None:
            task.interpreter.let_go(task)
        task.program = None
        if self.tape is not None:
            self.tape.exit(task.name, self.now)
        task.token += 1
        self._alive.discard(task)
        self.off_core(task)
        for joiner in self.when_over.pop(task, ()):
            self.wake(joiner)

    # -- calls ---------------------------------------------------------------------------------

    def _trap(self, task: Task) -> None:
        """Enter the kernel."""
        request = task.request
        if (task.work or task.pending) and task.told:
            interrupts.interrupt(self, task, 0, self._when_trapped)
            return
        if self.tape is not None:
            task.call = self._enter(task)
            side = SIDES[type(request)]  # type: ignore[index]
            self.at_line(task, side.__module__, side.__code__.co_firstlineno)
        if request.enters:  # type: ignore[union-attr]
            self.work(task, KERNEL, self._syscall, self._when_entered)
        else:
            self._entered(task)

    def _entered(self, task: Task) -> None:
        """The kernel's side of the call begins."""
        if task.pending and task.deliverable():
            interrupts.interrupt(self, task, 0, self._when_entered)
            return
        task.brought = 0
        self._answer(task)

    def _answer(self, task: Task) -> None:
        """The kernel's side replies at once, or takes time."""
        request = task.request
        try:
            side = SIDES[type(request)](self, task, request)  # type: ignore[index]
        except OSError as error:
            self.return_from_call(task, None, error)
            return
        if type(side) is GeneratorType:
            task.side = side
            self._go_on(task)
        else:
            self.return_from_call(task, side)

    def _go_on(self, task: Task) -> None:
        """The kernel's side of the call takes its next step."""
        value: object = None
        failure: Exception | None = None
        try:
            need = task.side.send(None)  # type: ignore[union-attr]
        except StopIteration as over:
            value = over.value
        except OSError as error:
            failure = error
        except Thrown as thrown:
            failure = thrown.error
        else:
            if self.tape is not None:
                self.note_line(task, task.side)
            if type(need) is int:
                self.work(task, KERNEL, need, self._when_worked)
            elif type(need) is Sleep:
                self._fall_asleep(task, need)
            else:
                interrupts.insert(self, task, need, self._when_worked)
            return
        task.side = None
        self.return_from_call(task, value, failure)

    def _awake(self, task: Task) -> None:
        """A call that has slept looks again; after a signal that came meanwhile."""
        if task.pending and task.deliverable():
            interrupts.interrupt(self, task, 0, self.when_awake)
        else:
            self._go_on(task)

    def _fall_asleep(self, task: Task, sleep: Sleep) -> None:
        """Task work comes first: a call that finds something itself is over before it."""
        if task.work and type(task.request) is not io_uring_enter:
            interrupts.task_work(self, task, self.when_awake)
        elif task.pending and task.deliverable():
            interrupts.interrupt(self, task, 0, self.when_awake)
        else:
            task.enter_line(sleep.line)
            self.sleep(task, sleep.deadline)

    def return_from_call(self, task: Task, value: object, error: Exception | None = None) -> None:
        """The call returns with a reply, or with an errno."""
        if error is not None:
            error = error.with_traceback(None)
        if task.request.trap:  # type: ignore[union-attr]
            if task.chilled and error is None:
                self.work(task, KERNEL, 0, partial(self.return_from_call, value=value))
                return
            if self.table.kept:
                self.table.done(self, task)
            if self.tape is not None:
                self.leave(task, getattr(error, "errno", None), 0 if error else task.brought)
            if (task.work or task.pending) and task.told:
                interrupts.interrupt(self, task, 0, partial(self._resume, value=value, error=error))
                return
        self._resume(task, value, error)

    def _interrupt(self, task: Task, left: int, then: Then | None = None) -> None:
        interrupts.interrupt(self, task, left, then)

    def signal(self, task: Task, signo: int) -> None:
        """Send `signo` to `task`."""
        interrupts.send(self, task, signo)

    def nudge(self, task: Task) -> None:
        """`task` may have something new to see."""
        interrupts.nudge(self, task)

    def _look_up(self, task: Task, request: Request) -> None:
        """A request that does not enter the kernel: its own code, or a look into its memory."""
        if type(request) is compute:
            self.work(task, USER, self._step + request.ns, self.when_begun)
        elif self._step or self._cold_code:
            cold = self._cold_code if self._new_lately(task, type(request)) else 0
            self.work(task, USER, self._step + cold, self._answer)
        else:
            self._answer(task)

    # -- the record ----------------------------------------------------------------------------

    def _enter(self, task: Task) -> int:
        """Take down that a request begins."""
        request: Any = task.request
        assert self.tape is not None
        fd = getattr(request, "fd", None)
        nonblocking = getattr(self.table.open.get(fd), "flags", 0) & O_NONBLOCK  # type: ignore[arg-type]
        return self.tape.enter(
            task.name, self.now, type(request).__name__, fd,
            self.line(task) if task.has_source else None,
            request.waits(bool(nonblocking)), request.arms, request.trap,
        )  # fmt: skip

    def line(self, task: Task) -> int | None:
        """The line at which its program stands."""
        return line_of(task.program)

    def replaced(self, thing: Description, other: Description) -> None:
        """`other` stands in its place from now on."""

    def note_line(self, task: Task, side: Any) -> None:
        """Take down where the kernel's side of a call, or task work, stands."""
        inner = side
        while type(inner.gi_yieldfrom) is GeneratorType:
            inner = inner.gi_yieldfrom
        self.at_line(task, inner.gi_frame.f_globals["__name__"], inner.gi_frame.f_lineno)

    def at_line(self, task: Task, module: str, line: int) -> None:
        assert self.tape is not None
        self.tape.at_line(task.name, self.now, module.rpartition(".")[2], line)

    def leave(self, task: Task, errno: int | None = None, nbytes: int = 0) -> None:
        """Take down that the call of `task` ends."""
        if self.tape is not None and task.call is not None:
            self.tape.leave(task.call, self.now, errno, nbytes)
            self.at_line(task, "", 0)
            task.call = None

    def took(self, task: Task, nbytes: int) -> None:
        """Take down that the call of `task` has taken `nbytes` more from the program."""
        if self.tape is not None and task.call is not None:
            self.tape.took(task.call, nbytes)

    def glance(self, task: Task, nbytes: int = 0) -> None:
        """A look into the program's own memory: no call, but worth a line in the record."""
        if self.tape is not None:
            self.tape.leave(self._enter(task), self.now, None, nbytes)
