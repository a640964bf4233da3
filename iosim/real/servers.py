"""The same servers on real sockets: `measure` of a program over `clients`.

The clients are a process of their own (`helpers.clients`).  A thread that the program
starts is a thread of this process, with a lane and a meter of its own.
"""

from __future__ import annotations

import copy
import os
import select as real_select
import socket as real_socket
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack, suppress
from errno import EBADF, ESRCH
from functools import partial
from typing import Any, ClassVar

from ..clients import Clients
from ..kernels.launch import ServerPlan
from ..kernels.scarce import beginning
from ..kernels.tape import Fate, Tape
from ..kernels.watchdog import Expired
from ..sockets import (
    EPOLLIN,
    SHUT_RD,
    SHUT_RDWR,
    SHUT_WR,
    SO_ERROR,
    Ready,
    accept,
    close,
    connect,
    getsockname,
    getsockopt,
    kevent,
    kqueue,
    listen,
    memfd_create,
    pthread_create,
    pthread_join,
    send,
    shutdown,
    socket,
)  # fmt: skip
from ..syscalls import (
    MSG_DONTWAIT,
    Program,
    Request,
    sleep,
)  # fmt: skip
from ..timeline import GIL, SLEEPING
from .accounting import Meter
from .answers import Prepared, as_it_is, nothing, seconds
from .client_process import ClientProcess
from .driver import LinuxKernel
from .features import Unsupported, missing, stamp
from .gate import ServerGate
from .helpers.board import Board, new_file
from .measured import Run, Stretch, Thread, Usage
from .readiness import told

__all__ = ["Door", "LinuxServerKernel", "SharedTape"]

GAP_NS = 20_000  # this long without a core, or the GIL, between two calls: not its own code
JOIN_S = 5.0  # for threads to end, once their sockets are shut

_SHUT = {SHUT_RD: real_socket.SHUT_RD, SHUT_WR: real_socket.SHUT_WR,
         SHUT_RDWR: real_socket.SHUT_RDWR}  # fmt: skip


# -- the two sides -----------------------------------------------------------------------------


class Door:
    """The listening socket, and the clients that will come to it."""

    def __init__(
        self, story: Clients, backlog: int, sndbuf: int | None, rcvbuf: int | None,
        stack: ExitStack,
    ) -> None:  # fmt: skip
        if not hasattr(real_select, "epoll"):  # the clients' loop
            raise Unsupported("epoll", "the clients need it")
        listener = stack.enter_context(real_socket.socket())
        for option, size in (
            (real_socket.SO_SNDBUF, sndbuf), (real_socket.SO_RCVBUF, rcvbuf),
        ):  # fmt: skip
            if size is not None:
                listener.setsockopt(real_socket.SOL_SOCKET, option, size)  # accepted ones inherit
        listener.setsockopt(real_socket.IPPROTO_TCP, real_socket.TCP_NODELAY, 1)
        listener.bind(("127.0.0.1", 0))
        listener.listen(backlog)
        with suppress(OSError):
            stamp(listener)
        self.sockets = [listener]
        self.open: dict[int, Any] = {}  # all of the program's, by descriptor
        self.board: Board | None = None
        ports = self._begin(story, listener.getsockname()[1], stack)
        self.client_at = {port: number for number, port in enumerate(ports)}

    def _begin(self, story: Clients, port: int, stack: ExitStack) -> list[int]:
        """Start the clients' process, with a board if one of them is to wait for the server."""
        with ExitStack() as until_told:
            shared: tuple[int, ...] = ()
            if story.stepwise or min(client.at_ns for client in story.clients):
                with beginning("the board of the server's threads"):
                    shared = (until_told.enter_context(new_file()).fileno(),)
                    self.board = Board(*shared)
                stack.callback(self.board.close)
            self.sender = ClientProcess(*shared)
            stack.callback(self.sender.kill)
            return self.sender.prepare(story, port, *shared)

    def shut(self) -> None:
        """End what waits for our sockets, in whatever thread: shutdown(2) wakes it."""
        for one in list(self.open.values()):
            with suppress(OSError, AttributeError):
                one.shutdown(real_socket.SHUT_RDWR)


class SharedTape(Tape):
    """A tape on which several threads write."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()

    def enter(self, *given: Any, **named: Any) -> int:
        """As `Tape.enter`, one thread after the other."""
        with self._lock:
            return super().enter(*given, **named)


# -- the calls ---------------------------------------------------------------------------------


class LinuxServerKernel(LinuxKernel):
    """Makes a server's requests, and those of its threads, and takes down when."""

    thread: Thread | None = None  # whose calls these are; None: the first one's

    def __init__(self, plan: ServerPlan, door: Door, stack: ExitStack) -> None:
        super().__init__(plan, door, stack)
        self.door = door
        door.open = self.sockets
        self.connection = {}
        self.pending = [deque[Fate]() for _ in range(len(plan.story))]
        for fate in self.run.fates:
            self.pending[fate.connection].append(fate)
        self.threads: list[threading.Thread] = []
        self.ends: list[threading.Event] = []  # of the threads, in their order
        self.trouble: list[BaseException] = []
        self.stopping = threading.Event()
        stack.callback(self.leave)

    def _make_run(self) -> Run:
        fates = [
            Fate(number, m.connection, m.size, m.at_ns, m.size)
            for number, m in self.plan.story.messages
        ]
        return Run(fates, datagrams=False, tape=SharedTape())

    def _make_gate(self) -> Any:
        if self.wires.board is not None:
            self.wires.board.begin(0)
        return self._gate_of(0)

    def _gate_of(self, thread: int) -> ServerGate | None:
        board = self.wires.board
        return None if board is None else ServerGate(board, thread, self._may_sleep)

    def _note_line(self, queued: int, start: int) -> None:
        """Only the sums of a server's calls are shown, and the gaps between a thread's."""
        self.queued = queued

    @property
    def stretches(self) -> list[Stretch]:
        """The life of this lane outside its own code."""
        return self.run.stretches if self.thread is None else self.thread.stretches

    def _program(self) -> Program:
        started: Program = self.plan.start(self.door.sockets[0].fileno())
        return started

    def _may_sleep(self, request: Request) -> bool:
        if isinstance(request, send):
            return request.fd not in self.nonblocking and not request.flags & MSG_DONTWAIT
        return type(request) in (sleep, connect, pthread_join)

    def run_handler(self, handler: Program) -> None:
        """What it interrupted goes on."""
        super().run_handler(handler)
        interrupted, _ = self.doing
        if self.gate is not None and interrupted is not None:
            self.gate.before(interrupted, True)

    def leave(self) -> None:
        """As when the process ends: every descriptor of the program is closed."""
        self.disarm()
        for one in list(self.sockets.values()):
            one.close()
        self.sockets.clear()

    def _taken(self, fd: int, data: bytes, size: int) -> list[tuple[Fate, int]]:
        return super()._taken(fd, data, size) if fd in self.connection else []

    # -- descriptors ---------------------------------------------------------------------------

    def _keep_socket(self, call: int, start: int, end: int, made: Any) -> tuple[int, int]:
        fd: int = made.fileno()
        self.sockets[fd] = made
        self.nonblocking.discard(fd)
        return fd, 0

    def _new_socket(self, request: socket) -> Prepared:
        return real_socket.socket, self._keep_socket

    def _memfd_create(self, request: memfd_create) -> Prepared:
        if not hasattr(os, "memfd_create"):
            raise missing("memfd_create")
        return partial(_File, "iosim"), self.keep

    def _close(self, request: close) -> Prepared:
        if request.fd in self.owned:
            return self.owned.pop(request.fd).close, nothing
        one = self._socket(request.fd)
        self._forget(request.fd)
        return one.close, nothing

    def _forget(self, fd: int) -> None:
        """Before its close: after it another thread's accept may have the number again."""
        self.sockets.pop(fd, None)
        self.connection.pop(fd, None)
        self.nonblocking.discard(fd)
        self.signals.armed.discard(fd)

    # -- connections ---------------------------------------------------------------------------

    def _accept(self, request: accept) -> Prepared:
        listener = self._socket(request.fd)
        return partial(_accept4, listener), self._accepted

    def _accepted(self, call: int, start: int, end: int, made: Any) -> tuple[int, int]:
        fd, (_, port) = made
        one = real_socket.socket(
            real_socket.AF_INET, real_socket.SOCK_STREAM, real_socket.IPPROTO_TCP, fileno=fd
        )
        self._accepted_from(one, port)
        return fd, 0

    def _accepted_from(self, one: real_socket.socket, port: int) -> None:
        """`one` is the program's; whose messages come on it, its client's port tells."""
        self._keep_socket(0, 0, 0, one)
        if port in self.door.client_at:
            self.connection[one.fileno()] = self.door.client_at[port]
        if not self.plan.story.stepwise:
            self.gate = None  # the first client has come: there is nothing more to wait for

    def _listen(self, request: listen) -> Prepared:
        return partial(self._socket(request.fd).listen, request.backlog), nothing

    def _getsockname(self, request: getsockname) -> Prepared:
        one = self._socket(request.fd)
        return one.getsockname, lambda call, start, end, address: (address[1], 0)

    def _connect(self, request: connect) -> Prepared:
        return partial(self._socket(request.fd).connect, ("127.0.0.1", request.port)), nothing

    def _getsockopt(self, request: getsockopt) -> Prepared:
        one = self._socket(request.fd)
        assert request.option == SO_ERROR
        return partial(one.getsockopt, real_socket.SOL_SOCKET, real_socket.SO_ERROR), as_it_is

    def _send(self, request: send) -> Prepared:
        one = self._socket(request.fd)
        action = one.send if request.fd in self.nonblocking or request.flags else one.sendall
        flags = real_socket.MSG_DONTWAIT if request.flags else 0
        return partial(action, request.data, flags), partial(self._sent, len(request.data))

    def _sent(
        self, size: int, call: int, start: int, end: int, sent: int | None
    ) -> tuple[int, int]:
        count = size if sent is None else sent  # None: sendall took all
        self.run.tape.took(call, count)
        return count, 0

    def _shutdown(self, request: shutdown) -> Prepared:
        return partial(self._socket(request.fd).shutdown, _SHUT[request.how]), nothing

    # -- readiness -----------------------------------------------------------------------------

    def _kqueue(self, request: kqueue) -> Prepared:
        if not hasattr(real_select, "kqueue"):
            raise missing("kqueue")
        return real_select.kqueue, self.keep

    def _kevent(self, request: kevent) -> Prepared:
        interest = self._own(request.kq, getattr(real_select, "kqueue", ()), EBADF)
        adds = [_kevent_of(self.mine(fd)) for fd in request.adds]
        wait = partial(interest.control, adds, request.nevents, seconds(request.timeout))
        return wait, self._told_by_kqueue

    def _told_by_kqueue(
        self, call: int, start: int, end: int, found: Any
    ) -> tuple[list[Ready], int]:
        return told(self, call, start, end, [(event.ident, EPOLLIN) for event in found])

    # -- threads -------------------------------------------------------------------------------

    def _pthread_create(self, request: pthread_create) -> Prepared:
        number = len(self.threads) + 1
        lane, over = Thread(f"thread {number}", 0), threading.Event()
        thread = threading.Thread(
            target=self._run_thread, args=(request.start, number, lane, over), name=lane.name,
            daemon=True,
        )  # fmt: skip
        return partial(self._begin_thread, thread, lane, over), lambda *_: (number, 0)

    def _begin_thread(self, thread: threading.Thread, lane: Thread, over: threading.Event) -> None:
        self.threads.append(thread)
        self.ends.append(over)
        self.run.threads.append(lane)
        if self.door.board is not None:
            self.door.board.begin(len(self.threads))
        try:
            with beginning("a thread of the program"):  # EAGAIN, where Python has a RuntimeError
                thread.start()
        except OSError:
            self._say_ended(len(self.threads))
            self.threads.remove(thread)
            self.ends.remove(over)
            self.run.threads.remove(lane)
            raise

    def _pthread_join(self, request: pthread_join) -> Prepared:
        if request.thread > len(self.threads):
            raise OSError(ESRCH, os.strerror(ESRCH))
        # Not Thread.join: if an alarm interrupts it, CPython 3.11 takes the thread for stopped.
        return self.ends[request.thread - 1].wait, nothing

    def _say_ended(self, number: int) -> None:
        if self.door.board is not None:
            self.door.board.end(number)

    def _run_thread(
        self, program: Program, number: int, lane: Thread, over: threading.Event
    ) -> None:
        with ExitStack() as stack:
            kernel = copy.copy(self)
            kernel.become(lane, number, stack)
            try:
                kernel._drive(program)
            except Expired:
                pass
            except BaseException as error:
                kernel._explain(error) if isinstance(error, OSError) else None
                self.trouble.append(error)
                self.door.shut()  # who waits for this thread must not wait for ever
            finally:
                program.close()
                lane.end = self.now()
                self._say_ended(number)
                over.set()

    def become(self, lane: Thread, number: int, stack: ExitStack) -> None:
        """From here on this is the kernel's side of another thread."""
        if self.gate is not None:
            self.gate = self._gate_of(number)
        lane.start = self.now()
        self.lane, self.thread = lane.name, lane
        self.notice = ""
        self.meter = Meter(stack)
        self.signals = _NoSignals()  # type: ignore[assignment]
        self.dog = _Leash(self.stopping)  # type: ignore[assignment]
        self.left: tuple[int, Usage] | None = None

    def _perform(self, program: Program, request: Request) -> Any:
        if self.thread is None:
            return super()._perform(program, request)
        if self.left is not None:
            self._note_gap(*self.left)
        try:
            return super()._perform(program, request)
        finally:
            self.left = self.now(), self.meter.read()

    def _note_gap(self, since: int, before: Usage) -> None:
        """Between two calls a thread may wait for the interpreter's lock, or for a core."""
        usage = self.meter.since(before)
        now = self.now()
        idle = now - since - usage.cpu
        if idle > GAP_NS:
            self.stretches.append(Stretch(since, since + idle, SLEEPING, note=GIL))

    def stop_threads(self) -> None:
        """None is left: whatever they wait for ends."""
        self.stopping.set()
        started = [thread for thread in self.threads if thread.ident is not None]
        if not all(over.is_set() for over in self.ends):
            self.door.shut()
            self._rouse()
        until = time.monotonic() + JOIN_S
        for thread in started:
            thread.join(max(0.0, until - time.monotonic()))

    def _rouse(self) -> None:
        """A socket that was shut is readable: it ends every wait for an interest list."""
        for made in list(self.owned.values()):
            for one in list(self.sockets.values()):
                with suppress(OSError, ValueError, AttributeError):  # a ring has no `register`
                    made.register(one.fileno(), EPOLLIN)

    def complain(self) -> None:
        """What went wrong in a thread is the program's error."""
        if self.trouble:
            self.wires.sender.check()  # which may be why
            raise self.trouble[0]

    _table: ClassVar[dict[type[Request], Callable[[Any, Any], Prepared]]] = LinuxKernel._table | {
        socket: _new_socket, accept: _accept, listen: _listen, getsockname: _getsockname,
        connect: _connect, getsockopt: _getsockopt, send: _send, shutdown: _shutdown,
        close: _close, memfd_create: _memfd_create, kqueue: _kqueue, kevent: _kevent,
        pthread_create: _pthread_create, pthread_join: _pthread_join,
    }  # fmt: skip


class _File:
    """A regular file in memory."""

    def __init__(self, name: str) -> None:
        self._fd = os.memfd_create(name)

    def fileno(self) -> int:
        return self._fd

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1


class _NoSignals:
    """Signals are the main thread's."""

    depth = 0

    def __init__(self) -> None:
        self.noted: tuple[int, ...] = ()
        self.open: Any = None
        self.armed: set[int] = set()

    def need_main_thread(self) -> None:
        raise RuntimeError("a thread of a server takes no signals: they are the main thread's")

    guard = install = need_main_thread


class _Leash:
    """A thread is stopped when its process is."""

    def __init__(self, stopping: threading.Event) -> None:
        self._stopping = stopping

    def check(self) -> None:
        if self._stopping.is_set():
            raise Expired


def _accept4(listener: real_socket.socket) -> tuple[int, tuple[str, int]]:
    """The call alone: socket.accept makes an object around it."""
    made: tuple[int, tuple[str, int]] = listener._accept()  # type: ignore[attr-defined]
    return made


def _kevent_of(fd: int) -> Any:
    return real_select.kevent(fd)  # type: ignore[attr-defined]  # EVFILT_READ, EV_ADD
