"""The real kernel's one loop: resume a program, make its call, take it down; over any story.

Nothing is computed while the program runs: times are taken down, and `measured` makes a timeline of
them afterwards.  What each call is, the modules of the mechanisms know (`answers`).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from errno import EINVAL
from time import perf_counter_ns as clock
from typing import TYPE_CHECKING

from ..calls import MSG_DONTWAIT, Program, Request, compute, recvfrom, sigtimedwait
from ..kernels.launch import line_of, resume
from ..kernels.resource_limits import why
from ..machine.clocks import cpu_clock
from ..trace import GIL, KERNEL, READY, SLEEPING
from ..trace.builder import MessageRecord
from .accounting import Meter
from .answers import Action, Finish, Prepared, Thrown, nothing, preparation_of
from .features import Unsupported, feature_of
from .measured import Stretch, Usage

if TYPE_CHECKING:
    from .process import Gate, Process
    from .signals import Signals

__all__ = ["PREEMPTED_NS", "Driver", "Escaped", "Open"]

PREEMPTED_NS = 100_000  # a gap this long in a loop that watches the clock: somebody else ran
READINGS = 10  # of the meter, at most, until one is not interrupted
GAP_NS = 20_000  # this long without a core, or the GIL, between two calls of a thread: not its own

#: The call that a program is in and its line; None and None in its own code.
Doing = tuple[Request | None, int | None]
_NOTHING: Doing = (None, None)


class Escaped(BaseException):
    """An error out of a signal handler's program: no errno of the call that it interrupted."""

    def __init__(self, error: Exception) -> None:
        super().__init__(error)
        self.error = error


class Open:
    """A call that may sleep, under way: which, since when, and the meter's reading then."""

    __slots__ = ("call", "metered", "start")

    def __init__(self, call: int, start: int, metered: Usage) -> None:
        self.call, self.start, self.metered = call, start, metered


class Driver:
    """Makes the requests of one thread of the program, and takes down when.

    lane       its name; `stretches`: its life outside its own code
    signals    those that it takes
    check      raises `Expired` when time is up
    watches    are the gaps between its calls told as well?  (It takes two readings for each call.)
    """

    def __init__(
        self, process: Process, lane: str, stretches: list[Stretch], signals: Signals,
        check: Callable[[], None], stack: ExitStack, watches: bool = False,
    ) -> None:  # fmt: skip
        self.process, self.lane, self.stretches, self.signals = process, lane, stretches, signals
        self.check, self.watches = check, watches
        self.gate: Gate | None = None
        self.zero = 0
        self.doing = _NOTHING
        self.notice: set[int] | str = ""  # what last told the program of data
        self.meter = Meter(stack)
        self.queued = 0  # ns in the run queue so far that a stretch tells of
        self.open: Open | None = None
        self._left: tuple[int, Usage] | None = None

    def now(self) -> int:
        """ns since the start of the run."""
        return clock() - self.zero

    # -- the loop ------------------------------------------------------------------------------

    def drive(self, program: Program) -> None:
        """Resume it, do what it asks for, and again; signals are delivered in between."""
        reply: object = None
        error: Exception | None = None
        while True:
            if self.signals.noted:
                self.signals.deliver(self)
            called, self.doing = self.doing, _NOTHING
            try:
                request = resume(program, reply, error)
            except StopIteration:
                return
            except OSError as failure:
                if failure is error:  # the program let it through
                    self.doing = called
                raise
            reply, error = None, None
            try:
                reply = self._perform(program, request)
            except OSError as errno:
                error = errno
            except Thrown as thrown:
                error = thrown.error
            if self.gate is not None:
                self.gate.after(request, self.doing[1], reply, error)
            self.check()

    def run_handler(self, handler: Program) -> None:
        """A signal's handler is a program as well; what it interrupted goes on."""
        doing = self.doing
        self.drive(handler)
        self.doing = doing
        if self.gate is not None and doing[0] is not None:
            self.gate.again(doing[0])

    def explain(self, error: BaseException) -> None:
        """An errno that comes out of the program says where.

        `Unsupported` if it is that of a call that this system does not have.
        """
        if not isinstance(error, OSError):
            return
        request, _ = self.doing
        feature = feature_of(request, error)
        if feature is not None:
            raise Unsupported(feature, str(error)) from error
        title = self.process.run.title
        place = f"in {title}: {self.where()}, at {self.now() / 1e6:,.3f} ms"
        limits = [] if isinstance(error, BlockingIOError) else why(error.errno)
        error.add_note(": ".join([place, *limits]))

    def where(self) -> str:
        """What it is at."""
        request, line = self.doing
        return "its own code" if request is None else f"{request!r}, line {line}"

    # -- one call ------------------------------------------------------------------------------

    def _perform(self, program: Program, request: Request) -> object:
        if self._left is not None:
            self._note_gap(*self._left)
        try:
            return self._ask(request, line_of(program))
        finally:
            if self.watches:
                self._left = self._reading()

    def _ask(self, request: Request, line: int | None) -> object:
        self.doing = (request, line)
        fd = getattr(request, "fd", None)
        nonblocking = fd in self.process.descriptors.nonblocking
        waits, sleeps = request.waits(nonblocking), request.sleeps(nonblocking)
        if self.gate is not None:
            self.gate.before(request, waits, sleeps)
        if isinstance(request, compute):
            self._compute(request.ns)
            return None
        if type(request) not in (sigtimedwait, recvfrom) and self.notice == "signal":
            self.notice = ""
        if sleeps:
            self.process.descriptors.enter(self, request)
        try:
            return self._call(request, fd, line, waits, sleeps)
        finally:
            if sleeps:
                self.process.descriptors.leave(self)

    def _call(
        self, request: Request, fd: int | None, line: int | None, waits: bool, sleeps: bool
    ) -> object:
        action, finish = self._prepare(request)
        start, metered = self._reading() if sleeps else (self.now(), None)
        if metered is not None:
            self._note_line(metered.queued, start)
        call = self.process.run.tape.enter(
            self.lane, start, type(request).__name__, fd, line, waits, request.arms, request.trap
        )
        if metered is not None:
            self.open = Open(call, start, metered)
        return self._make(call, start, action, finish, request.trap)

    def _prepare(self, request: Request) -> Prepared:
        """Everything that is not the call itself is done before its clock starts."""
        prepare = preparation_of(type(request))
        try:
            return prepare(self, request)
        except OSError as error:
            refusal = error

        def fail() -> None:
            raise refusal

        return fail, nothing

    def _make(self, call: int, start: int, action: Action, finish: Finish, trap: bool) -> object:
        result, error, told = None, None, len(self.stretches)
        try:
            result = action()
        except OSError as errno:
            error = errno
        opened, self.open = self.open, None
        end = clock() - self.zero
        if opened is not None:
            self.close_stretch(opened, end)
        elif trap and told == len(self.stretches):  # else the call itself has told what it was
            self.stretches.append(Stretch(start, end, KERNEL, call))
        tape = self.process.run.tape
        if error is not None:
            tape.leave(call, end, error.errno or EINVAL)
            raise error
        try:
            reply, nbytes = finish(call, start, end, result)
        except OSError as failed:  # a completion's errno
            tape.leave(call, end, failed.errno)
            raise
        except Thrown:  # an error of a job
            tape.leave(call, end)
            raise
        tape.leave(call, end, None, nbytes)
        return reply

    # -- what a stretch of time was -------------------------------------------------------------

    def _reading(self) -> tuple[int, Usage]:
        """Now, and what the meter says.

        A core is mostly lost at the end of a system call, and reading is one: what was read is as
        old then as the loss is long.  It is read again, until it is new.
        """
        for _ in range(READINGS):
            begun, usage, now = clock(), self.meter.read(), clock()
            if now - begun < PREEMPTED_NS:
                break
        return now - self.zero, usage

    def close_stretch(self, opened: Open, end: int) -> None:
        """A call that may have slept returns, or is interrupted.

        If the core was lost after its end, while the meter was read, that is not the call's time.
        """
        usage = self.meter.since(opened.metered)
        late = self.now() - end
        if late > PREEMPTED_NS:
            usage = replace(usage, queued=max(0, usage.queued - late))
        self.queued = opened.metered.queued + usage.queued
        self.stretches.append(Stretch(opened.start, end, KERNEL, opened.call, "", usage))

    def woke(self, call: int) -> int:
        """About when the thread ran again, if it slept in this call; else 0."""
        last = self.stretches[-1] if self.stretches else None
        if last is None or last.call != call or last.usage is None or not last.usage.switches:
            return 0
        return last.parts(None)[-1][0]

    def _note_line(self, queued: int, start: int) -> None:
        """What it stood in line for a core since the last reading, shown right before the call.

        (Of servers only the sums of the calls are shown, and the gaps between a thread's.)
        """
        unseen, self.queued = queued - self.queued, queued
        since = self.stretches[-1].end if self.stretches else 0
        if self.process.outside.shows_line and unseen > PREEMPTED_NS:
            self.stretches.append(Stretch(max(since, start - unseen), start, READY))

    def _note_gap(self, since: int, before: Usage) -> None:
        """Between two calls a thread may wait for the interpreter's lock, and for a core."""
        now, usage = self._reading()
        idle = now - since - (usage.cpu - before.cpu)
        if idle > GAP_NS:
            end = since + idle
            in_line = end - min(idle, usage.queued - before.queued)
            if since < in_line:
                self.stretches.append(Stretch(since, in_line, SLEEPING, note=GIL))
            if in_line < end:
                self.stretches.append(Stretch(in_line, end, READY))

    def _compute(self, ns: int) -> None:
        """Use up `ns` of CPU time; that of a signal's handler does not count."""
        end, last, given = cpu_clock() + ns, clock(), self.meter.switches()
        while cpu_clock() < end:
            now = clock()
            self.check()
            if now - last > PREEMPTED_NS:
                given = self._note_loss(last - self.zero, now - self.zero, given)
            if self.signals.noted:
                before = cpu_clock()
                self.signals.deliver(self)
                end, now = end + cpu_clock() - before, clock()
            last = now

    def _note_loss(self, start: int, end: int, given: int) -> int:
        """It lost its core, or gave it away, as it does to wait for the interpreter's lock."""
        switches = self.meter.switches()
        waited = switches > given
        state, note = (SLEEPING, GIL) if waited else (READY, "")
        self.stretches.append(Stretch(start, end, state, note=note))
        self.queued += 0 if waited else end - start
        return switches

    # -- what the program gets -----------------------------------------------------------------

    def how_told(self, fd: int, flags: int) -> str:
        """How the program has learned of what it receives on `fd`: "signal", "return", "check"."""
        if self.signals.depth or self.notice == "signal":
            return "signal"
        if isinstance(self.notice, set) and fd in self.notice:
            return "return"
        asks = fd in self.process.descriptors.nonblocking or flags & MSG_DONTWAIT
        return "check" if asks else "return"

    def in_hands(self, parts: list[tuple[MessageRecord, int]], at: int, told: str) -> None:
        """The program has these bytes of messages since `at`."""
        for fate, count in parts:
            fate.hand_over(self.lane, count, at, told)
