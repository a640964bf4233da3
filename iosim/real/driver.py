"""The same calls on real sockets: `measure` is to the real kernel what `simulate` is to ours.

A program is resumed step by step; each request is made as the one system call that it names, over
connections on 127.0.0.1 that a sender in another process serves.  Nothing is computed while the
program runs: times are taken down, and `measured` makes a timeline of them afterwards.
"""

from __future__ import annotations

import gc
import os
import select as real_select
import signal
import socket
import struct
import sys
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from errno import EAGAIN, EBADF, EINPROGRESS, EINVAL, ENOTSOCK, EOPNOTSUPP
from functools import partial
from time import perf_counter_ns as clock
from types import FrameType
from typing import Any, ClassVar

from ..bounds import whole
from ..cores import usable_cores
from ..costs import Costs
from ..disturbances import interference
from ..kernels.launch import Plan, launch, line_of, resume
from ..kernels.scarce import why
from ..kernels.tape import Fate, messages
from ..kernels.watchdog import F_OWNER_TID, F_SETOWN_EX, Expired, watchdog
from ..syscalls import (
    F_SETFL,
    F_SETOWN,
    F_SETSIG,
    MSG_DONTWAIT,
    MSG_PEEK,
    O_ASYNC,
    O_NONBLOCK,
    SIG_BLOCK,
    SIGIO,
    Program,
    Request,
    aio_error,
    aio_read,
    aio_return,
    compute,
    fcntl,
    getpid,
    io_uring_enter,
    io_uring_peek_cqe,
    io_uring_setup,
    io_uring_submit,
    pause,
    recvfrom,
    setsockopt,
    sigaction,
    sigprocmask,
    sigtimedwait,
    sleep,
)  # fmt: skip
from ..timeline import KERNEL, READY, Disturbance, Evidence, Timeline
from ..traffic import Traffic
from . import aio, recordings, uring
from .accounting import Meter, wall_clock
from .answers import Action, Finish, Prepared, as_it_is, nothing, seconds
from .features import (
    Unsupported,
    feature_of,
    machine,
    missing,
    real_fcntl,
)  # fmt: skip
from .gate import Gate, ServerGate
from .measured import (
    PROCESS,
    Job,
    Receipt,
    Run,
    Stretch,
    Usage,
    of_datagram,
    of_stream,
)  # fmt: skip
from .no_interest import NoInterest
from .readiness import READINESS
from .wires import Wires

__all__ = ["LinuxKernel", "Signals", "measure", "measure_on", "prepare"]

ANCILLARY = 128  # bytes for the arrival stamp
PREEMPTED_NS = 100_000  # a gap this long in a loop that watches the clock: somebody else ran
START_NS = 200_000  # between telling the sender when the run begins and its beginning
NO_FD = -1  # a descriptor that is never open
LEFTOVERS = 10_000  # receives, at most, to see what is still queued at the end

#: The call that a program is in and its line; None and None in its own code.
Doing = tuple[Request | None, int | None]
_NOTHING: Doing = (None, None)


class _Escaped(BaseException):
    """An error out of a signal handler's program: no errno of the call that it interrupted."""

    def __init__(self, error: Exception) -> None:
        super().__init__(error)
        self.error = error


def measure(
    program: Callable[..., Program], story: Traffic, *, cores: int | None = None,
    costs: Costs | None = None, rcvbuf: int | None = None, limit_s: float = 10.0, **options: Any,
) -> Timeline:  # fmt: skip
    """Run `program` over `story` on this machine's kernel and return its `Timeline`.

    cores, costs  accepted, so that `measure` can stand for `simulate`; they have no effect
    rcvbuf        SO_RCVBUF of each socket in bytes; socket(7): Linux doubles it
    limit_s       seconds after which a run that has not ended is stopped
    options       further arguments of the program

    The run takes place in this process and thread, and only the sender is another process: a
    program of one `fd` cannot serve several connections (ValueError).  Where a feature that the
    program needs is missing, the recorded run is returned, with a warning; without one
    `Unsupported` is raised.

    Raises what the program raises, an OSError that it does not catch with a note of the place;
    TimeoutError at the limit; RuntimeError for a call that was never yielded, and for signals
    outside of the main thread.
    """
    plan = prepare(program, story, options, rcvbuf)
    try:
        return measure_on(LinuxKernel, plan, rcvbuf, limit_s)
    except Unsupported as error:
        recorded = recordings.load(plan)
        if recorded is None:
            raise
        warnings.warn(f"{error}; shown is a recorded run: {recorded.machine}", stacklevel=3)
        return recorded


def prepare(
    program: Callable[..., Program], story: Traffic, options: Mapping[str, Any], rcvbuf: int | None
) -> Plan:
    """What `measure` looks at before it begins; raises its TypeErrors and ValueErrors."""
    plan = launch(program, story, options)
    if rcvbuf is not None:
        whole("rcvbuf", rcvbuf, 1, 1 << 30, "bytes")
    if not plan.serves_all and story.connections > 1:
        raise ValueError(
            f"{plan.text.title} serves one fd and the story has {story.connections} connections: "
            "the real kernel runs one process, use a program with fds"
        )
    return plan


def measure_on(kind: type[LinuxKernel], plan: Plan, rcvbuf: int | None, limit_s: float) -> Timeline:
    """As `measure`, on this kind of kernel and without recordings."""
    with ExitStack() as stack:
        wires = Wires(plan.story, rcvbuf, stack)
        kernel = kind(plan, wires, stack)
        with interference() as found:
            kernel.run_program(limit_s)
        kernel.run.end = kernel.now()
        kernel.disarm()
        kernel.note_leftovers()
        kernel.run.disturbances += found.disturbances
        kernel.note_report(wires.sender.finish())
    return kernel.run.timeline(plan.text, usable_cores(), machine())


# -- the kernel's side -------------------------------------------------------------------------


class LinuxKernel:
    """Makes a program's requests, and takes down when."""

    lane = PROCESS  # whose calls these are

    def __init__(self, plan: Any, wires: Any, stack: ExitStack) -> None:
        self.plan, self.wires = plan, wires
        self.run = self._make_run()
        self.zero = 0
        self.queued = 0  # ns in the run queue so far that a stretch tells of
        self.sockets: dict[int, socket.socket] = {one.fileno(): one for one in wires.sockets}
        self.connection = {fd: number for number, fd in enumerate(self.sockets)}
        self.pending = [
            deque(f for f in self.run.fates if f.connection == number)
            for number in range(len(self.sockets))
        ]
        self.nonblocking: set[int] = set()
        self.owned: dict[int, Any] = {}  # its other descriptors: epoll lists, rings, files
        self.doing = _NOTHING
        self.notice: set[int] | str = ""  # what last told the program of data
        self.looked: dict[tuple[str, int], int] = {}  # when it last saw that nothing is done
        self.blocks: dict[int, aio.Block] = {}
        self.jobs: dict[int, Job] = {}
        self.submissions: dict[tuple[int, int], int] = {}  # (ring, number): the socket
        self.meter = Meter(stack)
        self.wall = wall_clock()
        self.signals = self._make_signals()
        self.gate = self._make_gate()
        stack.callback(self.close)

    def _make_run(self) -> Run:
        return Run(messages(self.plan.story), self.plan.story.transport == "udp")

    def _make_signals(self) -> Signals:
        return Signals(self)

    def _make_gate(self) -> Gate | ServerGate | None:
        """None: what comes from outside does not wait for this program."""
        if not isinstance(self.plan.story, Traffic):
            return None
        receipts = self.run.receipts
        return Gate(self.wires.sender.tell, receipts.__len__, self.plan.story.stepwise)

    @property
    def stretches(self) -> list[Stretch]:
        """The life of this lane outside its own code."""
        return self.run.stretches

    def now(self) -> int:
        """ns since the start of the run."""
        return clock() - self.zero

    # -- running the program -------------------------------------------------------------------

    def run_program(self, limit_s: float) -> None:
        """From its start to its end."""
        self.limit_s = limit_s
        program = self._program()
        collects = gc.isenabled()
        gc.disable()  # its pauses would look like the program's
        try:
            title, wires = self.plan.text.title, self.wires
            with watchdog(limit_s, title, wires.shut, wires.sender) as self.dog:
                self._guarded(program, limit_s)
        finally:
            program.close()
            if collects:
                gc.enable()

    def _program(self) -> Program:
        plan, fds = self.plan, list(self.sockets)
        started: Program = plan.start(fds if plan.serves_all else fds[0], plan.nbytes(None))
        return started

    def _guarded(self, program: Program, limit_s: float) -> None:
        """What goes wrong says where."""
        try:
            self._begin()
            self._drive(program)
        except Expired:
            self.wires.sender.check()
            raise TimeoutError(
                f"{self.plan.text.title} was not over after {limit_s:g} s: "
                f"it was in {self._where()}"
            ) from None
        except _Escaped as escaped:
            self._explain(escaped.error)
            raise escaped.error from None
        except Exception as error:
            self.wires.sender.check()  # nobody at the other ends: that is not the program's
            self._explain(error)
            raise

    def _explain(self, error: Exception) -> None:
        if not isinstance(error, OSError):
            return
        request, _ = self.doing
        feature = feature_of(request, error)
        if feature is not None:
            raise Unsupported(feature, str(error)) from error
        place = f"in {self.plan.text.title}: {self._where()}, at {self.now() / 1e6:,.3f} ms"
        limits = [] if isinstance(error, BlockingIOError) else why(error.errno)
        error.add_note(": ".join([place, *limits]))

    def _where(self) -> str:
        request, line = self.doing
        return "its own code" if request is None else f"{request!r}, line {line}"

    def _begin(self) -> None:
        self.queued = self.meter.off_core()[0]
        self.zero = clock() + START_NS
        self.wires.sender.begin(self.zero)
        while clock() < self.zero:
            pass
        self.wall.zero = self.zero

    def _drive(self, program: Program) -> None:
        """Resume it, do what it asks for, and again; signals are delivered in between."""
        reply, error = None, None
        while True:
            if self.signals.noted:
                self.signals.deliver()
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
            if self.gate is not None:
                self.gate.after(request, self.doing[1], reply, error)
            self.dog.check()

    def run_handler(self, handler: Program) -> None:
        """A signal's handler is a program as well."""
        doing = self.doing
        self._drive(handler)
        self.doing = doing

    def _perform(self, program: Program, request: Request) -> Any:
        line = line_of(program)
        self.doing = (request, line)
        fd = getattr(request, "fd", None)
        may_wait = request.waits(fd in self.nonblocking)
        if self.gate is not None:
            self.gate.before(request, may_wait)
        if isinstance(request, compute):
            self._compute(request.ns)
            return None
        if type(request) not in (sigtimedwait, recvfrom) and self.notice == "signal":
            self.notice = ""
        action, finish = self._prepare(request)
        metered = self.meter.read() if may_wait or self._may_sleep(request) else None
        start = clock() - self.zero
        if metered is not None:
            self._note_line(metered.queued, start)
        call = self.run.tape.enter(
            self.lane, start, type(request).__name__, fd, line, may_wait, request.arms, request.trap
        )
        if metered is not None:
            self.signals.open = _Open(call, start, metered)
        return self._make(call, start, action, finish, request.trap)

    def _note_line(self, queued: int, start: int) -> None:
        """What it stood in line for a core since the last reading, shown right before the call."""
        unseen, self.queued = queued - self.queued, queued
        since = self.stretches[-1].end if self.stretches else 0
        if self.gate is not None and unseen > PREEMPTED_NS:
            self.stretches.append(Stretch(max(since, start - unseen), start, READY))

    def _may_sleep(self, request: Request) -> bool:
        """May a call sleep that waits for nothing of the network's?"""
        return type(request) is sleep

    def _make(self, call: int, start: int, action: Action, finish: Finish, trap: bool) -> Any:
        result, error = None, None
        try:
            result = action()
        except OSError as errno:
            error = errno
        opened, self.signals.open = self.signals.open, None
        end = clock() - self.zero
        if opened is not None:
            self.close_stretch(opened, end)
        elif trap:
            self.stretches.append(Stretch(start, end, KERNEL, call))
        if error is not None:
            self.run.tape.leave(call, end, error.errno or EINVAL)
            raise error
        try:
            reply, nbytes = finish(call, start, end, result)
        except OSError as failed:  # a completion's errno
            self.run.tape.leave(call, end, failed.errno)
            raise
        self.run.tape.leave(call, end, None, nbytes)
        return reply

    def close_stretch(self, opened: _Open, end: int) -> None:
        """A call that may have slept returns, or is interrupted."""
        usage = self.meter.since(opened.metered)
        self.queued = opened.metered.queued + usage.queued
        self.stretches.append(Stretch(opened.start, end, KERNEL, opened.call, "", usage))

    def _prepare(self, request: Request) -> Prepared:
        """Everything that is not the call itself is done before its clock starts."""
        prepare = self._table.get(type(request))
        if prepare is None:
            raise RuntimeError(f"the real kernel has no call {type(request).__name__}")
        try:
            return prepare(self, request)
        except OSError as error:
            return partial(_fail, error), nothing

    def is_mine(self, fd: int) -> bool:
        """Is it a descriptor of the program?"""
        return fd in self.sockets or fd in self.owned

    def mine(self, fd: int) -> int:
        """EBADF for what is not the program's: what else is open here is not its business."""
        if not self.is_mine(fd):
            raise OSError(EBADF, os.strerror(EBADF))
        return fd

    def _socket(self, fd: int) -> socket.socket:
        """For a socket's call: ENOTSOCK for another descriptor, as the system looks for that first.

        (Python does not let it be asked: it makes no socket of what is none.)
        """
        one = self.sockets.get(self.mine(fd))
        if one is None:
            raise OSError(ENOTSOCK, os.strerror(ENOTSOCK))
        return one

    def interest(self, fd: int) -> Any:
        """For epoll's calls, likewise."""
        epoll = getattr(real_select, "epoll", None)
        if epoll is None:
            raise missing("epoll")
        one = self.owned.get(self.mine(fd))
        return one if isinstance(one, epoll) else NoInterest(fd)

    def operand(self, fd: int) -> int:
        """For what tells of EBADF later: a closed one in place of what is not the program's."""
        return fd if self.is_mine(fd) else NO_FD

    def _own(self, fd: int, kind: Any, errno: int) -> Any:
        """What is kept for the descriptor; `errno`, if that is of another kind."""
        one = self.owned.get(self.mine(fd))
        if not isinstance(one, kind):
            raise OSError(errno, os.strerror(errno))
        return one

    def _ring(self, fd: int, errno: int = EINVAL) -> uring.Ring:
        """Its rings lie in memory: there is none to look into behind another descriptor."""
        ring: uring.Ring = self._own(fd, uring.Ring, errno)
        return ring

    def keep(self, call: int, start: int, end: int, made: Any) -> tuple[int, int]:
        """A new descriptor, that is no socket, is the program's."""
        fd = made.fileno()
        self.owned[fd] = made
        return fd, 0

    # -- the program's own code ----------------------------------------------------------------

    def _compute(self, ns: int) -> None:
        """Watch the clock for `ns`; time of somebody else, or of a handler, does not count."""
        signals, last = self.signals, clock()
        end = last + ns
        while True:
            now = clock()
            self.dog.check()
            if now - last > PREEMPTED_NS:
                self.stretches.append(Stretch(last - self.zero, now - self.zero, READY))
                end += now - last
                self.queued += now - last
            if signals.noted:
                signals.deliver()
                end += clock() - now
                now = clock()
            if now >= end:
                return
            last = now

    # -- receiving -----------------------------------------------------------------------------

    def _recvfrom(self, request: recvfrom) -> Prepared:
        one = self._socket(request.fd)
        if hasattr(one, "recvmsg"):
            action: Action = partial(one.recvmsg, request.size, ANCILLARY, request.flags)
        else:  # Windows
            action = partial(_receive, one, request.size, request.flags)
        return action, partial(self._received, request)

    def _received(
        self, request: recvfrom, call: int, start: int, end: int, result: Any
    ) -> tuple[bytes, int]:
        data, ancillary = result[0], result[1]
        if request.flags & MSG_PEEK or not data:
            return data, 0
        parts = self._taken(request.fd, data, request.size)
        self._in_hands(parts, end, self._how_told(request))
        self.run.receipts.append(Receipt(start, end, parts, self.wall.at(ancillary), call))
        return data, sum(count for _, count in parts)

    def _how_told(self, request: recvfrom) -> str:
        if self.signals.depth or self.notice == "signal":
            return "signal"
        if isinstance(self.notice, set) and request.fd in self.notice:
            return "return"
        asks = request.fd in self.nonblocking or request.flags & MSG_DONTWAIT
        return "check" if asks else "return"

    def _in_hands(self, parts: list[tuple[Fate, int]], at: int, told: str) -> None:
        for fate, count in parts:
            fate.hand_over(self.lane, count, at, told)

    def _taken(self, fd: int, data: bytes, size: int) -> list[tuple[Fate, int]]:
        """Of which messages are these bytes, and how many of each?"""
        queue = self.pending[self.connection[fd]]
        if self.run.datagrams:
            return of_datagram(queue, data[0], len(data), size)
        return of_stream(queue, len(data))

    def note_leftovers(self) -> None:
        """What lies in the receive queues when the program is over has arrived, and is not lost."""
        if not hasattr(socket.socket, "recvmsg"):
            return
        for fd, one in self.sockets.items():
            for _ in range(LEFTOVERS):
                try:
                    data, ancillary, *_ = one.recvmsg(1 << 16, ANCILLARY, MSG_DONTWAIT)
                except OSError:
                    break
                if not data:
                    break
                parts = self._taken(fd, data, 1 << 16)
                for fate, count in parts:
                    fate.left -= count
                stamped = self.wall.at(ancillary)
                self.run.receipts.append(Receipt(0, self.run.end, parts, stamped, None, False))

    def note_report(self, report: Mapping[str, Any]) -> None:
        """What the sender has sent and seen."""
        self.run.sent = {number: (before, after) for number, before, after in report["sent"]}
        self.run.evidence = [Evidence(*row) for row in report["evidence"]]
        for what, name in (("sent late", "late"), ("not seen asleep", "unseen")):
            if report[name] > 0:
                self.run.disturbances += (Disturbance(what, report[name]),)

    # -- descriptors, time ---------------------------------------------------------------------

    def _fcntl(self, request: fcntl) -> Prepared:
        self.mine(request.fd)
        if real_fcntl is None:
            return self._without_fcntl(self._socket(request.fd), request)
        change = {F_SETFL: self._set_flags, F_SETOWN: self._set_owner, F_SETSIG: self._set_signal}
        return partial(real_fcntl.fcntl, request.fd, *change[request.cmd](request)), nothing

    def _without_fcntl(self, one: socket.socket, request: fcntl) -> Prepared:
        """Windows: O_NONBLOCK by ioctlsocket(FIONBIO), and nothing else."""
        if request.cmd != F_SETFL or request.arg & O_ASYNC:
            raise missing("fcntl")
        self._note_nonblocking(request)
        return partial(one.setblocking, not request.arg & O_NONBLOCK), nothing

    def _note_nonblocking(self, request: fcntl) -> None:
        (self.nonblocking.add if request.arg & O_NONBLOCK else self.nonblocking.discard)(request.fd)

    def _set_flags(self, request: fcntl) -> tuple[int, int]:
        self._note_nonblocking(request)
        flags = os.O_NONBLOCK if request.arg & O_NONBLOCK else 0
        if request.arg & O_ASYNC:
            self.signals.guard(self.signals.of_fd.get(request.fd, SIGIO))
            self.signals.armed.add(request.fd)
            flags |= os.O_ASYNC
        return real_fcntl.F_SETFL, flags

    def _set_owner(self, request: fcntl) -> tuple[int, Any]:
        """This thread: a signal for the process might be taken by another one, and end us all."""
        if not sys.platform.startswith("linux"):
            return real_fcntl.F_SETOWN, os.getpid()
        return F_SETOWN_EX, struct.pack("ii", F_OWNER_TID, threading.get_native_id())

    def _set_signal(self, request: fcntl) -> tuple[int, int]:
        if not hasattr(real_fcntl, "F_SETSIG"):
            raise missing("F_SETSIG")
        signo = request.arg or SIGIO
        self.signals.guard(signo)
        self.signals.of_fd[request.fd] = signo
        return real_fcntl.F_SETSIG, request.arg

    def _setsockopt(self, request: setsockopt) -> Prepared:
        seconds, rest = divmod(request.ns, 1_000_000_000)
        value = struct.pack("ll", seconds, -(-rest // 1_000))  # struct timeval; 0 would be never
        one = self._socket(request.fd)
        return partial(one.setsockopt, socket.SOL_SOCKET, socket.SO_RCVTIMEO, value), nothing

    def _sleep(self, request: sleep) -> Prepared:
        # outside of the main thread nothing else ends a sleep: it must not pass the limit
        return partial(time.sleep, min(request.ns / 1e9, self.limit_s)), nothing

    def _getpid(self, request: getpid) -> Prepared:
        return os.getpid, as_it_is

    # -- signals -------------------------------------------------------------------------------

    def _sigaction(self, request: sigaction) -> Prepared:
        return partial(self.signals.install, request.signo, request.handler), nothing

    def _sigprocmask(self, request: sigprocmask) -> Prepared:
        self.signals.need_main_thread()
        signals = set(request.signals) - {signal.SIGALRM}  # the watchdog's
        how = signal.SIG_BLOCK if request.how == SIG_BLOCK else signal.SIG_UNBLOCK
        for signo in signals:
            self.signals.guard(signo)
        return partial(signal.pthread_sigmask, how, signals), nothing

    def _sigtimedwait(self, request: sigtimedwait) -> Prepared:
        self.signals.need_main_thread()
        if not hasattr(signal, "sigtimedwait"):
            raise missing("sigtimedwait")
        wait = partial(_take_signal, set(request.signals), seconds(request.timeout))
        return wait, self._told_by_signal

    def _told_by_signal(self, call: int, start: int, end: int, result: Any) -> tuple[Any, int]:
        self.notice = "signal"
        return result, 0

    def _pause(self, request: pause) -> Prepared:
        self.signals.need_main_thread()
        return self.signals.pause, self._told_by_signal

    # -- submission and completion -------------------------------------------------------------

    def _io_uring_setup(self, request: io_uring_setup) -> Prepared:
        return partial(uring.Ring, request.entries), self._keep_ring

    def _keep_ring(self, call: int, start: int, end: int, made: uring.Ring) -> tuple[int, int]:
        self.owned[made.fd] = made
        return made.fd, 0

    def _io_uring_submit(self, request: io_uring_submit) -> Prepared:
        ring = self._ring(request.ring)
        submit = partial(ring.submit, self.operand(request.fd), request.size)
        return submit, partial(self._submitted, request)

    def _submitted(
        self, request: io_uring_submit, call: int, start: int, end: int, number: int
    ) -> tuple[None, int]:
        self.submissions[request.ring, number] = request.fd
        self.looked["ring", request.ring] = start
        return None, 0

    def _io_uring_peek_cqe(self, request: io_uring_peek_cqe) -> Prepared:
        ring = self._ring(request.ring)
        return ring.peek, partial(self._completed, request.ring)

    def _io_uring_enter(self, request: io_uring_enter) -> Prepared:
        ring = self._ring(request.ring, EOPNOTSUPP)
        return ring.wait, partial(self._completed, request.ring)

    def _completed(
        self, ring: int, call: int, start: int, end: int, result: tuple[int, bytes | OSError] | None
    ) -> tuple[bytes | None, int]:
        """The copy lies between the last look in vain and this one: nothing tells it closer.

        A call that slept until the completion did the copy itself, as task work, when it woke up.
        """
        since = self.looked.get(("ring", ring), 0)
        if result is None:
            self.looked["ring", ring] = end
            return None, 0
        number, data = result
        fd = self.submissions.pop((ring, number))
        if isinstance(data, OSError):
            raise data
        woke = self._woke(call)
        parts = self._done(fd, data, max(since, woke), end, call if woke else None)
        return data, sum(count for _, count in parts)

    def _woke(self, call: int) -> int:
        """About when the thread ran again, if it slept in this call; else 0."""
        last = self.stretches[-1] if self.stretches else None
        if last is None or last.call != call or last.usage is None or not last.usage.switches:
            return 0
        return last.parts(None)[-1][0]

    def _done(
        self, fd: int, data: bytes, since: int, end: int, call: int | None
    ) -> list[tuple[Fate, int]]:
        if not data:
            return []
        parts = self._taken(fd, data, len(data))
        self._in_hands(parts, end, "completion")
        self.run.receipts.append(Receipt(since, end, parts, None, call))
        return parts

    def _aio_read(self, request: aio_read) -> Prepared:
        fd = self.operand(request.fd)
        if request.signo is not None:
            self.signals.guard(request.signo)
        return partial(aio.Block, fd, request.size, request.signo), self._read_begun

    def _read_begun(self, call: int, start: int, end: int, block: aio.Block) -> tuple[int, int]:
        number = len(self.blocks) + 1
        self.blocks[number] = block
        busy = {job.helper for job in self.jobs.values() if job.end is None}
        names = ("aio helper" if n == 1 else f"aio helper {n}" for n in range(1, len(busy) + 2))
        helper = next(name for name in names if name not in busy)
        read = self.run.tape.enter(helper, end, "read", block.fd, None, True, False)
        self.jobs[number] = job = Job(helper, read, end)
        self.run.jobs.append(job)
        self.looked["aio", number] = end
        return number, 0

    def _block(self, number: int) -> aio.Block:
        if number not in self.blocks:
            raise OSError(EINVAL, os.strerror(EINVAL))
        return self.blocks[number]

    def _aio_error(self, request: aio_error) -> Prepared:
        return self._block(request.block).error, partial(self._aio_looked, request.block)

    def _aio_looked(
        self, number: int, call: int, start: int, end: int, errno: int
    ) -> tuple[int, int]:
        job = self.jobs[number]
        if errno == EINPROGRESS:
            self.looked["aio", number] = end
        elif job.end is None:
            job.end = end
            self.run.tape.leave(job.call, end, errno or None)
        return errno, 0

    def _aio_return(self, request: aio_return) -> Prepared:
        block = self._block(request.block)
        return block.result, partial(self._aio_returned, request.block)

    def _aio_returned(
        self, number: int, call: int, start: int, end: int, data: bytes
    ) -> tuple[bytes, int]:
        self._aio_looked(number, call, start, end, 0)
        job = self.jobs[number]
        if job.receipt is not None or job.end is None:  # taken already: aio_return(3) says once
            return data, 0
        parts = self._done(self.blocks[number].fd, data, job.start, job.end, job.call)
        if parts:
            job.receipt = self.run.receipts[-1]
        for fate, _ in parts:
            fate.received = end if fate.received is not None else None
        return data, sum(count for _, count in parts)

    # -- the end -------------------------------------------------------------------------------

    def disarm(self) -> None:
        """No signal may be raised any more before any handler is taken away."""
        self.signals.disarm()

    def close(self) -> None:
        """Leave this process as it was, on every way out."""
        self.disarm()
        unfinished = [b for b in self.blocks.values() if b.error() == EINPROGRESS]
        if unfinished:
            self.wires.shut()
        for block in unfinished:
            block.finish()
        for made in self.owned.values():
            made.close()
        self.signals.restore()

    _table: ClassVar[dict[type[Request], Callable[[Any, Any], Prepared]]] = {
        **READINESS, recvfrom: _recvfrom, fcntl: _fcntl, setsockopt: _setsockopt, sleep: _sleep,
        getpid: _getpid, sigaction: _sigaction, sigprocmask: _sigprocmask,
        sigtimedwait: _sigtimedwait, pause: _pause, io_uring_setup: _io_uring_setup,
        io_uring_submit: _io_uring_submit, io_uring_enter: _io_uring_enter,
        io_uring_peek_cqe: _io_uring_peek_cqe, aio_read: _aio_read, aio_error: _aio_error,
        aio_return: _aio_return,
    }  # fmt: skip


# -- signals -----------------------------------------------------------------------------------


class _Open:
    """A call that may sleep, under way: which, since when, and the meter's reading then."""

    __slots__ = ("call", "metered", "start")

    def __init__(self, call: int, start: int, metered: Usage) -> None:
        self.call, self.start, self.metered = call, start, metered


class Signals:
    """Handlers, mask and armed descriptors, and how all of it is undone.

    Python runs a handler between two bytecodes, or while a call that a signal interrupted is about
    to be repeated (PEP 475).  In the latter case the program's handler runs at once; else the
    signal is noted and its handler runs before the program goes on.
    """

    def __init__(self, kernel: LinuxKernel) -> None:
        self._kernel = kernel
        self._previous: dict[int, Any] = {}
        self._handlers: dict[int, Callable[[int], Program]] = {}
        self._mask = _mask()
        self.noted: deque[tuple[int, int]] = deque()
        self.open: _Open | None = None
        self.depth = 0
        self.armed: set[int] = set()
        self.of_fd: dict[int, int] = {}

    def need_main_thread(self) -> None:
        """RuntimeError in any other: Python runs handlers in the main thread only.

        OSError (ENOSYS) on systems without POSIX signals.
        """
        if not hasattr(signal, "pthread_sigmask"):
            raise missing("signals")
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError("a program that uses signals must be measured in the main thread")

    def guard(self, signo: int) -> None:
        """From here on `signo` comes to us: by default most signals would end this process."""
        if signo not in self._previous:
            self._catch(signo)

    def install(self, signo: int, handler: Callable[[int], Program]) -> None:
        """The program's own handler: a call each time, even where there is a guard already."""
        self._catch(signo)
        self._handlers[signo] = handler

    def _catch(self, signo: int) -> None:
        self.need_main_thread()
        if signo == signal.SIGALRM:
            raise OSError(EINVAL, "SIGALRM is the watchdog's")
        previous = signal.signal(signo, self._arrives)
        self._previous.setdefault(signo, previous)

    def _arrives(self, signo: int, frame: FrameType | None) -> None:
        self.noted.append((signo, self._kernel.now()))
        opened = self.open
        if opened is None or self.depth or type(self._kernel.doing[0]) is pause:
            return
        self.open = None
        self._kernel.close_stretch(opened, self._kernel.now())
        self.deliver()
        metered = self._kernel.meter.read()
        self.open = _Open(opened.call, self._kernel.now(), metered)

    def deliver(self) -> None:
        """Run the handlers of all signals that were noted, one after the other."""
        while self.noted and not self.depth:
            signo, at = self.noted.popleft()
            handler = self._handlers.get(signo)
            if handler is None:
                raise _Escaped(
                    RuntimeError(f"signal {signo} ends {PROCESS}: it has no handler (signal(7))")
                )
            self._run(handler, signo, at)

    def _run(self, handler: Callable[[int], Program], signo: int, at: int) -> None:
        kernel, stretches = self._kernel, self._kernel.stretches
        begin = max(at, stretches[-1].end if stretches else 0)
        stretches.append(Stretch(begin, kernel.now(), KERNEL, note=f"signal {signo}"))
        self.depth += 1
        try:
            kernel.run_handler(handler(signo))
        except Exception as error:
            raise _Escaped(error) from None
        finally:
            self.depth -= 1

    def pause(self) -> None:
        """As sigsuspend(2): what comes between the look and the sleep ends the sleep at once."""
        if not hasattr(signal, "sigwaitinfo"):
            signal.pause()
            return
        held = signal.pthread_sigmask(signal.SIG_BLOCK, self._handlers)
        try:
            awaited = set(self._handlers) - {int(signo) for signo in held}
            if not awaited:
                signal.pause()
            elif not self.noted:
                signo = signal.sigwaitinfo(awaited).si_signo
                self.noted.append((signo, self._kernel.now()))
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, held)

    def disarm(self) -> None:
        """No more signals from our descriptors."""
        for fd in self.armed:
            real_fcntl.fcntl(fd, real_fcntl.F_SETFL, os.O_NONBLOCK)
        self.armed.clear()

    def restore(self) -> None:
        """Take pending signals off the queue, then let through, then give the handlers back."""
        if self._previous and hasattr(signal, "sigtimedwait"):
            signal.pthread_sigmask(signal.SIG_BLOCK, self._previous)
            while signal.sigtimedwait(set(self._previous), 0) is not None:
                continue
        if self._mask is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)
        for signo, handler in self._previous.items():
            signal.signal(signo, signal.SIG_DFL if handler is None else handler)
        self._previous.clear()


# -- small parts -------------------------------------------------------------------------------


def _mask() -> set[Any] | None:
    """What this thread holds back; None where a program that uses signals cannot run."""
    if threading.current_thread() is not threading.main_thread():
        return None
    if not hasattr(signal, "pthread_sigmask"):
        return None
    return signal.pthread_sigmask(signal.SIG_BLOCK, [])


def _fail(error: OSError) -> None:
    raise error


def _receive(one: socket.socket, size: int, flags: int) -> tuple[bytes, list[Any]]:
    return one.recv(size, flags), []


def _take_signal(signals: set[int], timeout: float | None) -> int:
    if timeout is None:
        return int(signal.sigwaitinfo(signals).si_signo)
    info = signal.sigtimedwait(signals, timeout)
    if info is None:
        raise OSError(EAGAIN, os.strerror(EAGAIN))
    return int(info.si_signo)
