"""The simulated kernel: it answers the calls of programs in virtual nanoseconds.

How a call goes: the program's own code takes `Costs.user`, the trap `Costs.syscall`, then the
call's method looks at the state of the kernel and either replies, or works on (a copy), or sleeps.
Who is woken looks again.  Times are int ns, sizes bytes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from errno import EAGAIN, EBADF, ECONNRESET, EINPROGRESS, EINVAL, ENOTSOCK, EOPNOTSUPP
from os import strerror
from typing import Any, ClassVar

from ...bounds import whole
from ...costs import Costs
from ...syscalls import (
    EPOLLERR,
    EPOLLHUP,
    EPOLLIN,
    F_SETFL,
    F_SETSIG,
    MSG_DONTWAIT,
    MSG_PEEK,
    O_ASYNC,
    O_NONBLOCK,
    SIG_BLOCK,
    SIGIO,
    SIGRTMIN,
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
from ...timeline import KERNEL, USER, Timeline
from ...traffic import Message, Traffic
from ..launch import launch, line_of, resume, waits
from ..tape import Fate, Tape, messages
from ..watchdog import watchdog
from .parts import Block, Completion, Ring, Socket, Task, futex, read
from .readiness import READINESS, Readiness, Refused

__all__ = ["DEFAULT_RCVBUF", "SimKernel", "simulate"]

DEFAULT_RCVBUF = 212_992  # net.core.rmem_default of Linux, in bytes: socket(7)


class SimKernel(Readiness):
    """Answers the calls of processes (`spawn`) over the arrivals of `story`; `run` runs them all.

    `story` None: a network on which nothing comes.
    `record` False takes nothing down (for large runs).
    """

    def __init__(
        self,
        story: Traffic | None,
        costs: Costs | None = None,
        cores: int = 1,
        rcvbuf: int | None = None,
        record: bool = True,
    ) -> None:
        prices = Costs.textbook() if costs is None else costs
        if not isinstance(prices, Costs):
            raise TypeError(f"costs must be Costs, got {costs!r}")
        price = prices if story is None else prices.over(story.transport)
        super().__init__(story, price, cores, Tape() if record else None)
        room = whole("rcvbuf", DEFAULT_RCVBUF if rcvbuf is None else rcvbuf, 1, 1 << 30, "bytes")
        self._syscall, self._user = round(price.syscall), round(price.user)
        self._signal = round(price.signal_delivery)
        self._step, self._eagain = round(price.step), round(price.eagain)
        self._submission, self._completion = round(price.submission), round(price.completion)
        self._always_warm = not any(
            (price.start, price.first_call, price.cold_user, price.cold_code, price.user_per_byte)
        )
        self._cold_code = round(price.cold_code)
        self.fates: list[Fate] = []
        self._nobody = Fate(1, 0, 0, 0, 0)  # stands for every message where nothing is taken down
        self.connections: list[Socket] = []
        self._wire = Task("network", None)  # type: ignore[arg-type]  # what comes later comes here
        self._part = 0
        if story is not None:
            stream = story.transport == "tcp"
            self._part = price.part if stream and price.segment else 0
            self.connections += [Socket(-1, stream, room) for _ in range(story.connections)]
            for socket in self.connections:
                self._install(socket)
        self._helpers: list[Task] = []
        self._jobs: deque[Block] = deque()
        self._blocks: dict[int, Block] = {}
        self._when_in_user, self._when_copied = self._trap, self._received

    def spawn(self, name: str, program: Program) -> Task:
        """A new process; it is ready at once."""
        task = Task(name, program)
        task.then = self._begin
        self.processes.append(task)
        self._alive += 1
        return task

    # -- programs ------------------------------------------------------------------------------

    def _begin(self, task: Task) -> None:
        self._resume(task, None)

    def _resume(self, task: Task, value: Any, error: Exception | None = None) -> None:
        """Hand the program its reply and take its next request."""
        try:
            request = resume(task.program, value, error)
        except StopIteration:
            self._over(task)
            return
        except OSError as failure:
            failure.add_note(
                f"in {task.name}: {task.request!r}, at {self.now / 1e6:,.3f} ms of virtual time"
            )
            raise
        task.request = request
        if not request.trap:
            self._look_up(task, request)
        elif ns := self._user if self._always_warm else self._own_code(task, request):
            self._work(task, USER, ns, self._when_in_user)
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
        return round(ns)

    @staticmethod
    def _new_lately(task: Task, kind: type[Request]) -> bool:
        """Has `task` made no request of this kind since it slept?"""
        if task.lately is None:
            task.lately = set()
        new = kind not in task.lately
        task.lately.add(kind)
        return new

    def _trap(self, task: Task) -> None:
        """Enter the kernel."""
        if (task.work or task.pending) and self._told(task):
            self._interrupt(task, 0, self._trap)
            return
        task.deadline = None
        if self.tape is not None:
            task.call = self._enter(task)
        self._work(task, KERNEL, self._syscall, self._when_awake)

    def _enter(self, task: Task) -> int:
        """Take down that a request begins."""
        request = task.request
        assert self.tape is not None
        assert request is not None
        nonblocking = getattr(self.sockets.get(getattr(request, "fd", -1)), "flags", 0) & O_NONBLOCK
        line = None if isinstance(request, read | futex) else line_of(task.program)
        return self.tape.enter(
            task.name, self.now, type(request).__name__, getattr(request, "fd", None),
            line, waits(request, bool(nonblocking)), request.arms, request.trap,
        )  # fmt: skip

    def _again(self, task: Task) -> None:
        """Let the call look at the state of the kernel; also whenever it has been woken."""
        if task.pending and self._deliverable(task):
            self._interrupt(task, 0, self._again)
        else:
            try:
                self._table[type(task.request)](self, task, task.request)
            except Refused as refusal:
                self._fail(task, refusal.error.errno or EBADF, str(refusal.error.strerror))

    def _sleep(self, task: Task, deadline: int | None = None, note: str = "") -> None:
        """Task work comes first: a call that finds something itself is over before it."""
        if task.work and type(task.request) is not io_uring_enter:
            self._task_work(task, self._again)
        else:
            super()._sleep(task, deadline, note)

    def _look_up(self, task: Task, request: Request) -> None:
        """A request that does not enter the kernel: its own code, or a look into its memory."""
        if not (self._step or self._cold_code) or type(request) is compute:
            self._answer(task)
            return
        cold = self._cold_code if self._new_lately(task, type(request)) else 0
        self._work(task, USER, self._step + cold, self._answer)

    def _answer(self, task: Task) -> None:
        request = task.request
        assert request is not None
        try:
            self._table[type(request)](self, task, request)
        except Refused as refusal:
            self._resume(task, None, refusal.error)

    def _reply(self, task: Task, value: Any = None, nbytes: int = 0) -> None:
        """The call returns."""
        if task.chilled:
            self._work(task, KERNEL, 0, lambda task: self._reply(task, value, nbytes))
            return
        task.brought = nbytes
        if self.tape is not None:
            self._leave(task, None, nbytes)
        if (task.work or task.pending) and self._told(task):
            self._interrupt(task, 0, lambda task: self._resume(task, value))
        else:
            self._resume(task, value)

    def _fail(self, task: Task, errno: int, text: str = "") -> None:
        """The call returns with an errno."""
        self._leave(task, errno)
        error = OSError(errno, text or strerror(errno))
        if self._told(task):
            self._interrupt(task, 0, lambda task: self._resume(task, None, error))
        else:
            self._resume(task, None, error)

    def _leave(self, task: Task, errno: int | None = None, nbytes: int = 0) -> None:
        if self.tape is not None and task.call is not None:
            self.tape.leave(task.call, self.now, errno, nbytes)
            task.call = None

    def _glance(self, task: Task, nbytes: int = 0) -> None:
        """A look into the program's own memory: no call, but worth a line in the record."""
        if self.tape is not None:
            self.tape.leave(self._enter(task), self.now, None, nbytes)

    def _over(self, task: Task) -> None:
        if task.frames:
            self._handler_returns(task)
            return
        task.program = None  # type: ignore[assignment]
        if self.tape is not None:
            self.tape.exit(task.name, self.now)
        task.token += 1
        self._alive -= 1
        self._off_core(task)

    # -- signals and task work: what comes between ---------------------------------------------

    def _told(self, task: Task) -> bool:
        return bool(task.work) or (bool(task.pending) and self._deliverable(task) is not None)

    def _deliverable(self, task: Task) -> int | None:
        held = task.blocked or set()
        if task.frames:  # a signal is held back while its own handler runs: sigaction(2)
            held = held | {frame[-1] for frame in task.frames}
        return next((signo for signo in task.pending or () if signo not in held), None)

    def _interrupt(self, task: Task, left: int, then: Callable[[Task], None] | None = None) -> None:
        """Signals and task work before `task` goes on with `then`, or `left` ns of its own code."""
        resume = then or task.then
        after = resume if not left else lambda task: self._work(task, USER, left, resume)
        if task.work:
            self._task_work(task, after)
            return
        signo = self._deliverable(task)
        assert task.pending is not None
        assert signo is not None
        task.pending.remove(signo)
        handler = (task.handlers or {}).get(signo)
        if handler is None:
            raise RuntimeError(f"signal {signo} ends {task.name}: it has no handler (signal(7))")
        if task.frames is None:
            task.frames = []
        task.frames.append((task.program, task.request, task.call, task.deadline, after, signo))
        task.program, task.call = handler(signo), None
        self._work(task, KERNEL, self._signal, self._begin, f"signal {signo}")

    def _handler_returns(self, task: Task) -> None:
        assert task.frames
        task.program, task.request, task.call, task.deadline, after, _ = task.frames.pop()
        if type(task.request) is pause and task.call is not None:
            self._reply(task)
        elif self._told(task):
            self._interrupt(task, 0, after)
        else:
            after(task)

    def signal(self, task: Task, signo: int) -> None:
        """Send `signo`: real-time signals queue, the others are pending once (signal(7))."""
        if task.pending is None:
            task.pending = []
        if signo < SIGRTMIN and signo in task.pending:
            return
        task.pending.append(signo)
        self._nudge(task)

    def _nudge(self, task: Task) -> None:
        """`task` has something new to see: at once if it sleeps or runs its own code."""
        if task.sleeping:
            self._wake(task)
        elif task.mode is USER and task in self._running and self._told(task):
            self._interrupt(task, task.until - self.now)

    def _task_work(self, task: Task, after: Callable[[Task], None] | None) -> None:
        """io_uring's copy, on the submitter's CPU: in no call (io_uring_enter does its own)."""
        assert task.work
        ring, socket, size = task.work.pop(0)
        if not socket.readable:  # somebody was faster: it waits on
            socket.submit(ring, size)
            if after is not None:
                after(task)
            return
        call, task.call = task.call, None
        got = self._take(socket, size)
        got.begun = self.now

        def finish(task: Task) -> None:
            self._copied(got, None)
            ring.completions.append(got)
            task.call = call
            if self._told(task):
                self._interrupt(task, 0, after)
            elif after is not None:
                after(task)

        ns = self._completion + self.costs.copy(len(got.data))
        self._work(task, KERNEL, ns, finish, "task work")

    # -- the network ---------------------------------------------------------------------------

    def _arrive(self, number: int, message: Message) -> None:
        socket = self.connections[message.connection]
        if message.kind == "data":
            self._enqueue(socket, number, message)
        else:
            socket.ended = True
            socket.broken = message.kind == "reset"
            socket.error = ECONNRESET if socket.broken else 0
        self._announce(socket)

    def _enqueue(self, socket: Socket, number: int, message: Message) -> None:
        if self.tape is not None:
            fate = Fate(number, message.connection, message.size, message.at_ns, message.size)
            fate.arrived = self.now
            self.fates.append(fate)
        else:
            fate = self._nobody
        if socket.stream:
            parts = self._parts(message)
            socket.hold(fate, message, parts[0])
            self._open_window(socket)
            if parts[1:]:
                self._plan(round(self.costs.segment), self._rest(socket, fate, message), self._wire)
        elif socket.queued + message.size > socket.rcvbuf:
            fate.dropped = True  # udp(7): no room, no datagram
        else:
            socket.put(fate, message, message.size)

    def _parts(self, message: Message) -> list[int]:
        """How many bytes of it come when: `Costs.segment`."""
        rest = message.size - self._part
        return [self._part, rest] if self._part and rest > 0 else [message.size]

    def _rest(self, socket: Socket, fate: Fate, message: Message) -> Callable[[Task], None]:
        """The second part arrives; a message that nobody has begun to take is there only now."""

        def arrive(wire: Task) -> None:
            if socket.unread(fate) == self._part:
                fate.arrived = self.now
            socket.hold(fate, message, message.size - self._part)
            self._open_window(socket)
            self._announce(socket)

        return arrive

    @staticmethod
    def _open_window(socket: Socket) -> None:
        """TCP's flow control: the sender holds back what the receive buffer cannot take."""
        while socket.held and (room := socket.rcvbuf - socket.queued) > 0:
            piece = socket.held[0]
            size = min(room, piece[2])
            socket.put(piece[0], piece[1], size)
            piece[2] -= size
            if not piece[2]:
                socket.held.pop(0)

    def _announce(self, socket: Socket) -> None:
        """Tell all who asked about this descriptor."""
        if socket.submissions and socket.readable:
            (ring, size), *others = socket.submissions
            socket.submissions = tuple(others)
            if ring.owner.work is None:
                ring.owner.work = []
            ring.owner.work.append((ring, socket, size))
            self._nudge(ring.owner)
        self._tell(socket, EPOLLIN | (EPOLLERR | EPOLLHUP if socket.broken else 0))

    # -- receiving -----------------------------------------------------------------------------

    def _take(self, socket: Socket, size: int, peek: bool = False) -> Completion:
        """Move at most `size` bytes out of the receive queue, or the error, or the end."""
        if socket.error and not socket.queue:
            errno, socket.error = socket.error, 0
            return Completion(b"", errno, [])
        if socket.queue and not socket.stream:
            return self._take_datagram(socket, size, peek)
        data, parts, room = [], [], size
        for piece in socket.queue[:]:
            fate, message, there = piece
            count = min(room, there)
            if not count:
                break
            data.append(message.payload(fate.number)[:count])
            parts.append((fate, count))
            room -= count
            if not peek:
                self._shorten(socket, piece, count)
        if not peek:
            self._open_window(socket)
        return Completion(b"".join(data), 0, parts)

    @staticmethod
    def _take_datagram(socket: Socket, size: int, peek: bool) -> Completion:
        """A datagram goes whole: what does not fit is lost (recv(2))."""
        fate, message, there = socket.queue[0]
        if not peek:
            del socket.queue[0]
            socket.queued -= there
        data = message.payload(fate.number)
        return Completion(data if there <= size else data[:size], 0, [(fate, there)])

    @staticmethod
    def _shorten(socket: Socket, piece: list[Any], count: int) -> None:
        socket.queued -= count
        piece[2] -= count
        if not piece[2]:
            socket.queue.pop(0)

    def _copied(self, got: Completion, call: int | None) -> None:
        if self.tape is not None:
            for fate, _ in got.parts:
                self.tape.copied(fate.number, got.begun, self.now, call)

    def _in_hands(self, task: Task, parts: list[tuple[Fate, int]], told: str) -> None:
        """`task` has these bytes now."""
        for fate, count in parts:
            fate.hand_over(task.name, count, self.now, told)

    def _recvfrom(self, task: Task, request: recvfrom) -> None:
        """recv(2), and read(2), which for what cannot be read is EINVAL, not ENOTSOCK."""
        socket = self._thing(request.fd, Socket, EINVAL if type(request) is read else ENOTSOCK)
        if socket.queue or socket.readable:
            self._receive(task, request, socket)
        elif self._impatient(task, request, socket):
            self._forget(task, [socket])
            self._after(task, self._eagain, self._found_nothing)
        else:
            if socket.timeout and task.deadline is None:
                task.deadline = self.now + socket.timeout
            self._wait_for(task, [socket])

    def _found_nothing(self, task: Task) -> None:
        self._fail(task, EAGAIN)

    def _after(self, task: Task, ns: int, then: Callable[[Task], None]) -> None:
        """`then`, once `ns` more of the call have passed."""
        if ns:
            self._work(task, KERNEL, ns, then)
        else:
            then(task)

    def _impatient(self, task: Task, request: recvfrom, socket: Socket) -> bool:
        """Does this receive not wait (any longer)?"""
        asked = bool(request.flags & MSG_DONTWAIT or socket.flags & O_NONBLOCK)
        return asked or (task.deadline is not None and self.now >= task.deadline)

    def _receive(self, task: Task, request: recvfrom, socket: Socket) -> None:
        got = self._take(socket, request.size, bool(request.flags & MSG_PEEK))
        if got.error:
            self._fail(task, got.error)
        elif got.parts:
            task.got, got.begun, got.told = got, self.now, self._how_told(task, request, socket)
            ns = self.costs.copy(len(got.data))
            if task.chilled:
                ns, task.chilled = ns + round(self.costs.cold_receive), False
            self._work(task, KERNEL, ns, self._when_copied)
        else:
            self._reply(task, got if type(request) is read else b"")

    def _received(self, task: Task) -> None:
        """The copy is over: the call returns with the bytes."""
        request, got = task.request, task.got
        assert isinstance(request, recvfrom)
        assert got is not None
        if self.tape is not None:
            self._copied(got, task.call)
        if type(request) is read:
            self._reply(task, got)
        elif request.flags & MSG_PEEK:
            self._reply(task, got.data)
        else:
            self._in_hands(task, got.parts, got.told)
            self._reply(task, got.data, got.nbytes)

    def _how_told(self, task: Task, request: recvfrom, socket: Socket) -> str:
        if task.frames or task.notice == "signal":
            return "signal"
        if isinstance(task.notice, set) and socket.fd in task.notice:
            return "return"
        nonblocking = request.flags & MSG_DONTWAIT or socket.flags & O_NONBLOCK
        return "check" if nonblocking else "return"

    # -- small calls ---------------------------------------------------------------------------

    def _compute(self, task: Task, request: compute) -> None:
        self._work(task, USER, self._step + request.ns, self._begin)

    def _nanosleep(self, task: Task, request: sleep) -> None:
        if self._expired(task, request.ns):
            self._reply(task)
        else:
            self._sleep(task, task.deadline)

    def _getpid(self, task: Task, request: getpid) -> None:
        self._reply(task, 1 + self.processes.index(task))

    def _fcntl(self, task: Task, request: fcntl) -> None:
        socket = self._thing(request.fd)
        if request.cmd == F_SETFL:
            socket.flags = request.arg & (O_NONBLOCK | O_ASYNC)
        elif request.cmd == F_SETSIG:
            socket.signo = request.arg or SIGIO
        else:
            socket.owner = task
        self._reply(task)

    def _setsockopt(self, task: Task, request: setsockopt) -> None:
        self._socket(request.fd).timeout = request.ns
        self._reply(task)

    def _sigaction(self, task: Task, request: sigaction) -> None:
        task.handlers = {**(task.handlers or {}), request.signo: request.handler}
        self._reply(task)

    def _sigprocmask(self, task: Task, request: sigprocmask) -> None:
        held, named = task.blocked or set(), set(request.signals)
        task.blocked = held | named if request.how == SIG_BLOCK else held - named
        self._reply(task)

    def _sigtimedwait(self, task: Task, request: sigtimedwait) -> None:
        pending = task.pending or []
        signo = next((signo for signo in pending if signo in request.signals), None)
        if signo is not None:
            pending.remove(signo)
            task.notice = "signal"
            self._reply(task, signo)
        elif self._expired(task, request.timeout):
            self._fail(task, EAGAIN)
        else:
            self._sleep(task, task.deadline)

    def _pause(self, task: Task, request: pause) -> None:
        self._sleep(task)

    # -- submission and completion -------------------------------------------------------------

    def _io_uring_setup(self, task: Task, request: io_uring_setup) -> None:
        self._new(task, Ring(-1, task))

    def _io_uring_submit(self, task: Task, request: io_uring_submit) -> None:
        self._thing(request.ring, Ring)
        self._after(task, self._submission, self._submitted)

    def _submitted(self, task: Task) -> None:
        """What is there already is copied at once, in the submission (io_uring(7))."""
        request = task.request
        assert isinstance(request, io_uring_submit)
        ring: Ring = self._thing(request.ring, Ring)
        try:
            socket = self._socket(request.fd)
        except Refused as refusal:  # which is the operation's outcome, not this call's
            ring.completions.append(Completion(b"", refusal.error.errno or EINVAL, []))
            self._reply(task)
            return
        if not socket.readable:
            socket.submit(ring, request.size)
            self._reply(task)
        else:
            self._complete(task, ring, socket, request.size, self._reply)

    def _complete(
        self, task: Task, ring: Ring, socket: Socket, size: int, then: Callable[[Task], None]
    ) -> None:
        """Copy within the call that `task` is in, and post the completion."""
        got = self._take(socket, size)
        got.begun = self.now

        def finish(task: Task) -> None:
            self._copied(got, task.call)
            ring.completions.append(got)
            then(task)

        self._work(task, KERNEL, self.costs.copy(len(got.data)), finish)

    def _io_uring_enter(self, task: Task, request: io_uring_enter) -> None:
        ring = self._thing(request.ring, Ring, EOPNOTSUPP)
        if ring.completions:
            self._finish(task, ring.completions.popleft())
        elif task.work:
            whose, socket, size = task.work.pop(0)
            if socket.readable:
                self._complete(task, whose, socket, size, self._again)
            else:  # somebody was faster: it waits on
                socket.submit(whose, size)
                self._again(task)
        else:
            self._sleep(task)

    def _finish(self, task: Task, done: Completion) -> None:
        """The outcome reaches the program by the return of a call."""
        if done.error:
            self._fail(task, done.error)
            return
        self._in_hands(task, done.parts, "completion")
        self._reply(task, done.data, done.nbytes)

    def _io_uring_peek(self, task: Task, request: io_uring_peek_cqe) -> None:
        ring = self._thing(request.ring, Ring)
        self._look(task, ring.completions.popleft() if ring.completions else None)

    def _look(self, task: Task, done: Completion | None) -> None:
        """The outcome, or None, reaches the program from its own memory."""
        if done is not None and done.error:
            self._glance(task)
            self._resume(task, None, OSError(done.error, strerror(done.error)))
            return
        if done is not None:
            self._in_hands(task, done.parts, "completion")
        self._glance(task, done.nbytes if done else 0)
        self._resume(task, done.data if done else None)

    def _aio_read(self, task: Task, request: aio_read) -> None:
        """Give the job to an idle helper thread, or start one: aio(7), "glibc"."""
        number = len(self._blocks) + 1
        self._blocks[number] = block = Block(task, request)
        self._jobs.append(block)
        idle = next((helper for helper in self._helpers if type(helper.request) is futex), None)
        if idle is None:
            self._start_helper()
        else:
            self._wake(idle)
        self._reply(task, number)

    def _start_helper(self) -> None:
        number = len(self._helpers) + 1
        helper = Task("aio helper" if number == 1 else f"aio helper {number}", self._help())
        helper.then = self._begin
        self._helpers.append(helper)
        if self.tape is not None:
            self.tape.helpers.append(helper.name)
        self._start(helper)

    def _help(self) -> Program:
        """The helper thread: itself a program."""
        while True:
            block = yield futex()
            try:
                block.done = yield read(block.fd, block.size)
            except OSError as error:
                block.done = Completion(b"", error.errno or EINVAL, [])
            if block.signo is not None:
                self.signal(block.owner, block.signo)

    def _futex(self, task: Task, request: futex) -> None:
        if self._jobs:
            self._reply(task, self._jobs.popleft())
        else:
            self._sleep(task)

    def _block(self, number: int) -> Block:
        if number not in self._blocks:
            raise Refused(EINVAL, number, "control block")
        return self._blocks[number]

    def _aio_error(self, task: Task, request: aio_error) -> None:
        done = self._block(request.block).done
        self._glance(task)
        self._resume(task, EINPROGRESS if done is None else done.error)

    def _aio_return(self, task: Task, request: aio_return) -> None:
        done = self._block(request.block).done
        if done is None:
            raise Refused(EINPROGRESS, request.block, "control block")
        self._look(task, done)

    _table: ClassVar[dict[type, Callable[..., None]]] = {
        **READINESS, recvfrom: _recvfrom, read: _recvfrom,
        compute: _compute, sleep: _nanosleep, getpid: _getpid, fcntl: _fcntl,
        setsockopt: _setsockopt, sigaction: _sigaction, sigprocmask: _sigprocmask,
        sigtimedwait: _sigtimedwait, pause: _pause, io_uring_setup: _io_uring_setup,
        io_uring_submit: _io_uring_submit, io_uring_enter: _io_uring_enter,
        io_uring_peek_cqe: _io_uring_peek, aio_read: _aio_read, aio_error: _aio_error,
        aio_return: _aio_return, futex: _futex,
    }  # fmt: skip


def simulate(
    program: Callable[..., Program], story: Traffic, *, costs: Costs | None = None, cores: int = 1,
    rcvbuf: int | None = None, limit_s: float = 10.0, **options: Any,
) -> Timeline:  # fmt: skip
    """Run `program` over `story` on the simulated kernel and return its `Timeline`.

    costs    what each step costs (ns); `Costs.textbook()` unless given
    cores    how many cores the processes share
    rcvbuf   size of each receive buffer in bytes: 212,992 unless given
    limit_s  seconds of processor time after which a run is stopped
    options  further arguments of the program

    A program of one `fd` gets a process for each connection of the story.
    Raises what the program raises; TypeError or ValueError for bad input; TimeoutError if a process
    would wait for ever, or the program never yields.
    """
    plan = launch(program, story, options)
    kernel = SimKernel(story, costs, cores, rcvbuf)
    sockets = [socket.fd for socket in kernel.connections]
    if plan.serves_all:
        kernel.spawn("process", plan.start(sockets, plan.nbytes(None)))
    else:
        for number, fd in enumerate(sockets):
            name = "process" if len(sockets) == 1 else f"process {number + 1}"
            kernel.spawn(name, plan.start(fd, plan.nbytes(number)))
    with watchdog(limit_s, f"{plan.text.title} on the simulated kernel", of_work=True):
        kernel.run()
    assert kernel.tape is not None
    fates = kernel.fates + messages_to_come(kernel, story)
    return kernel.tape.timeline(plan.text, "simulated", cores, fates, kernel.now)


def messages_to_come(kernel: SimKernel, story: Traffic) -> list[Fate]:
    """The messages that were still on their way when the last process ended."""
    known = {fate.number for fate in kernel.fates}
    return [fate for fate in messages(story) if fate.number not in known]
