"""Random programs for both kernels: what they are made of, how they run, what they are told.

A program is a list of `Op`s: a call, whose arguments may be descriptors (`Fd`, by their number in
the order of their making), and a place for the clients' acts (`TURN`).  It is run step by step with
a nap after each call, so that what a call sets off has happened before the next one asks.

A turn makes the order of what clients do: client 0 is told to let the others act, does so, and
answers; meanwhile the program waits for that answer, on both kernels.

A call may be another thread's (`THREAD`), which may sleep in it through many statements.  One such
sleeper at a time, and nobody sleeps beside it but in a turn: which of two is woken first, and takes
what came, Linux leaves open.  What it is told is said after the statement that let it go on.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from errno import ETIMEDOUT, errorcode
from typing import Any, NamedTuple

import pytest
from hypothesis import strategies as st

from iosim import Costs, Timeline, calls, clients, measure, simulate
from iosim.calls import (
    F_SETFL,
    F_SETOWN,
    IORING_SETUP_DEFER_TASKRUN,
    IORING_SETUP_SINGLE_ISSUER,
    MSG_DONTWAIT,
    MSG_PEEK,
    O_ASYNC,
    O_NONBLOCK,
    SELF,
    SIG_BLOCK,
    SIG_UNBLOCK,
    SIGIO,
    SO_RCVTIMEO,
    Program,
    accept,
    ms,
    recvfrom,
    send,
    sleep,
)
from iosim.machine import procfs
from iosim.trace import Disturbance
from iosim.workloads.clients import AFTER, RECEIVE, SEND, WAIT, Client, Clients, script
from iosim.workloads.traffic import Message, Traffic

__all__ = [
    "TURN", "Acts", "Fd", "Op", "Port", "Told", "acts_of_clients", "acts_of_traffic", "compared",
    "over_clients", "over_traffic", "pasted", "story_of", "told", "traffic_of",
]  # fmt: skip

Acts = Sequence[Sequence[Sequence[tuple[str, int]]]]

ROUND = 10  # receives of client 0 at each turn: those of the others never make up for one
LEAST = 5
#: From one client's acts to the next one's (ns), what is between two acts of one of them, and the
#: time from a turn's beginning to its end, within which they act.  With threads each act comes when
#: who was woken by the one before has gone on.
GAPS: tuple[int, Sequence[tuple[str, int]], int] = (ms(1), (), ms(20))
GAPS_OF_THREADS: tuple[int, Sequence[tuple[str, int]], int] = (ms(4), ((WAIT, ms(12)),), ms(45))
APART_NS = ms(100)  # from one turn to the next over traffic: the calls between take less
FOR_EVER = (AFTER, 1_000_000_000)  # what never comes: no clock goes on for it
MAKERS = (
    "socket", "accept", "epoll_create", "memfd_create", "kqueue", "io_uring_setup", "eventfd",
)  # fmt: skip
TURN, THREAD, ARMED = "turn", "thread", "armed"  # the last one: O_ASYNC, for this thread
HANDLER = "handler"  # of SIGIO, which says so
SINGLE, LAZY = IORING_SETUP_SINGLE_ISSUER, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN
SLEEPERS_IN_KERNEL = ("aio_read", "io_uring_submit")
LIMIT_S = 5.0  # for a run of a real program, which is over after some ms for each call
ENOUGH = 60  # descriptors for any program
#: Bytes that never fit into these buffers; how many of them do is for Linux to say (it counts what
#: its own records take), so that only a send that waits until all of it fits is drawn.
MUCH, MOST = 1_000_000, 5_000
SOME = "some of it"
COSTS = Costs.typical()
linux = pytest.mark.skipif(sys.platform != "linux", reason="the real kernel here is Linux's")
KERNELS = [simulate, pytest.param(measure, marks=linux)]
BUFFERS = {"sndbuf": 65_536, "rcvbuf": 65_536}

#: How long the program naps after a call, in ms, if not for 1: after what it sets off in another
#: thread, and after what may be the first to hear of the messages of a turn, which are 1 ms apart.
NAPS = {"aio_read": 5} | dict.fromkeys(
    ("recvfrom", "recvmsg", "read", "select", "poll", "epoll_wait", "io_uring_enter"), 4
)


@dataclass(frozen=True)
class Fd:
    """The descriptor that was made as number `number`: 0 is the listener."""

    number: int

    def __repr__(self) -> str:
        return f"fds[{self.number}]"


@dataclass(frozen=True)
class Connection:
    """The connection that was accepted as number `number`; whatever there is, if none was."""

    number: int


@dataclass(frozen=True)
class Port:
    """The port of a listener."""

    number: int

    def __repr__(self) -> str:
        return f"port(fds[{self.number}])"


@dataclass(frozen=True)
class Op:
    """One statement: a call of this name with these arguments, or a turn."""

    name: str
    arguments: tuple[Any, ...] = ()

    def __repr__(self) -> str:
        return f"{self.name}({', '.join(map(_text, self.arguments))})"

    @property
    def inner(self) -> Op:
        """The call that is made: of another thread's, its own."""
        return self.arguments[0] if self.name == THREAD else self


def _text(argument: Any) -> str:
    if isinstance(argument, dict):
        return "{" + ", ".join(f"{fd!r}: {events:#x}" for fd, events in argument.items()) + "}"
    if isinstance(argument, bytes) and len(argument) > 20:
        return f"{argument[:1]!r} * {len(argument)}"
    return repr(argument)


CALLS = {name: getattr(calls, name) for name in calls.__all__}


def threaded(ops: Sequence[Op]) -> bool:
    """Is one of the calls another thread's?"""
    return any(op.name == THREAD for op in ops)


def fills(op: Op) -> bool:
    """Does it send more than any buffer holds?"""
    return any(isinstance(one, bytes) and len(one) >= MUCH for one in op.inner.arguments)


def story_of(acts: Acts, ops: Sequence[Op]) -> Clients:
    """A client for each of `acts`, which has its steps for each turn; client 0 makes the turns.

    There are two more turns than the program asks for: one at its beginning, and one at its end.
    """
    gap, between, answer = GAPS_OF_THREADS if threaded(ops) else GAPS
    turn = ((RECEIVE, 1),) * ROUND + ((WAIT, answer), (SEND, 1))
    first = script(*turn * (ops.count(Op(TURN)) + 2), FOR_EVER)
    others = []
    for place, rounds in enumerate(acts, start=1):
        steps: list[tuple[str, int]] = []
        for number, round_ in enumerate(rounds, start=1):
            if round_:
                steps += [(AFTER, ROUND * number - LEAST), (WAIT, gap * place), round_[0]]
                steps += [step for act in round_[1:] for step in (*between, act)]
        if not steps or steps[-1][0] not in ("reset", "close"):
            steps.append(FOR_EVER)
        others.append(Client(ms(place), tuple(steps)))
    return clients.of(first, *others).in_step()


@contextmanager
def no_holes() -> Iterator[None]:
    """The numbers that are free follow each other: which one a call gets is the program's doing."""
    opened = [os.open(os.devnull, os.O_RDONLY)]
    while len(opened) < ENOUGH or opened[-1] - opened[-ENOUGH] >= ENOUGH:
        opened.append(os.open(os.devnull, os.O_RDONLY))
    for fd in opened[-ENOUGH:]:
        os.close(fd)
    try:
        yield
    finally:
        for fd in opened[:-ENOUGH]:
            os.close(fd)


def traffic_of(transport: str, acts: Acts, ops: Sequence[Op]) -> Traffic:
    """A connection for each of `acts`, with what comes there in each turn; and one of turns.

    There is one more turn, and a last message on each that has not ended, so that there is a
    connection for it.
    """
    messages = []
    gap, _, answer = GAPS_OF_THREADS if threaded(ops) else GAPS
    for turn in range(ops.count(Op(TURN)) + 1):
        begins = APART_NS * (turn + 1)
        for place, rounds in enumerate(acts, start=1):
            for kind, size in rounds[turn] if turn < len(rounds) else ():
                messages.append(Message(begins + gap * place, size, place, kind))
        messages.append(Message(begins + answer, 1))
    ended = {message.connection for message in messages if message.kind != "data"}
    places = set(range(1, len(acts) + 1)) - ended
    last = begins + APART_NS  # one after the other: which of two is the first is nobody's to say
    messages += [Message(last + gap * place, 1, place) for place in sorted(places)]
    return Traffic(tuple(messages), transport).in_step()


def may_sleep(op: Op) -> bool:
    """For something else than room, if its descriptor is not O_NONBLOCK."""
    if op.name in ("recvfrom", "recvmsg"):
        return not op.arguments[2] & MSG_DONTWAIT
    if op.name in ("select", "poll", "epoll_wait"):
        return op.arguments[2 if op.name == "epoll_wait" else 1] != 0
    return op.name in (
        *("read", "accept", "io_uring_enter", "io_uring_submit_and_wait", "sigtimedwait"),
    )


class Told(NamedTuple):
    """A line for each call, and one for each client; the operations as they were done."""

    lines: tuple[str, ...]
    done: tuple[Op, ...]
    disturbances: tuple[Disturbance, ...]


class Teller:
    """The program that does `ops` over clients, and what it was told."""

    def __init__(self, ops: Sequence[Op]) -> None:
        self.ops = ops
        self.said: list[str] = []
        self.fds: list[int] = []
        self.counters: list[Fd] = []
        self.accepted: list[Fd] = []
        self.ports: dict[int, int] = {}
        self.done: list[Op] = []  # with the numbers of descriptors that there are
        self.heard: list[str] = []  # by another thread, and not said yet
        self.asleep: list[Op] = []  # in which call another thread may sleep

    def program(self, listener: int, clients: int) -> Program:
        """The program itself."""
        with no_holes():
            yield from self._all(listener)

    def _all(self, listener: int) -> Program:
        self.fds.append(listener)
        self.ports[(yield calls.getsockname(listener))] = 0
        self.control = yield accept(listener)
        yield from self._turn()
        yield from self._statements()
        yield from self._turn()  # by then all clients have seen what was done to them

    def _statements(self) -> Program:
        for op in self.ops:
            self.doing = self._named_in(op)
            if not self._open_in_linux(self.doing):
                yield from self._turn() if op.name == TURN else self._do(self.doing)
                self.done.append(self.doing)
                yield sleep(ms(NAPS.get(op.name, 2 if self.asleep else 1)))
                self.said += self.heard
                self.heard.clear()

    def _named_in(self, op: Op) -> Op:
        """With the descriptors that there are."""
        if op.name == THREAD:
            return Op(THREAD, (self._named_in(op.inner),))
        return Op(op.name, tuple(map(self._named, op.arguments)))

    def _open_in_linux(self, op: Op) -> bool:
        """Two that sleep at once, one of them perhaps in the kernel: which is woken first?"""
        another = op.name in (THREAD, *SLEEPERS_IN_KERNEL) or may_sleep(op)
        waits_for_room = op.name in ("send", "write") and any(map(fills, self.asleep))
        return bool(self.asleep) and (another or waits_for_room)

    def _turn(self) -> Program:
        yield send(self.control, b"." * ROUND)
        yield recvfrom(self.control, 1)

    def _do(self, op: Op) -> Program:
        if op.name == THREAD:
            self.asleep.append(op.inner)
            yield calls.pthread_create(self._in_thread(op.inner))
        else:
            yield from self._make(op, self.said)

    def _in_thread(self, op: Op) -> Program:
        yield from self._make(op, self.heard)
        self.asleep.remove(op)

    def _make(self, op: Op, said: list[str]) -> Program:
        if op.name == "write" and op.arguments[0] in self.counters:  # Linux 6.9 refuses more
            op = Op("write", (op.arguments[0], op.arguments[1][:8]))
        request = CALLS[op.name](*map(self._plain, op.arguments))
        try:
            reply = yield request
        except OSError as error:
            if error.errno == ETIMEDOUT:  # after two minutes: for ever, here
                raise
            if error.errno not in request.errnos:
                raise AssertionError(f"{op.name} does not know {errorcode[error.errno]}") from error
            said.append(f"{op!r}: {errorcode[error.errno or 0]}")
            return
        said.append(f"{op!r}: {self._told(op, reply)}")
        if op.name == "listen":
            fd = op.arguments[0].number
            self.ports.setdefault((yield calls.getsockname(self.fds[fd])), fd)

    def _named(self, argument: Any) -> Any:
        """With the number of a descriptor that there is; port 1 for one that is not known."""
        if isinstance(argument, Connection) and self.accepted:
            return self.accepted[argument.number % len(self.accepted)]
        if isinstance(argument, Fd | Connection):
            return Fd(argument.number % len(self.fds))
        if isinstance(argument, Port) and argument.number not in self.ports.values():
            return 1
        if isinstance(argument, dict):
            return {self._named(fd): events for fd, events in argument.items()}
        if isinstance(argument, tuple):
            return tuple(map(self._named, argument))
        return argument

    def _handler(self, signo: int) -> Program:
        """Once for several in a row: they do not queue, and how many are told apart is open."""
        told = f"signal({signo}): handled"
        if self.said[-1:] != [told]:
            self.said.append(told)
        yield from ()

    def _plain(self, argument: Any) -> Any:
        """As the call takes it."""
        if argument == HANDLER:
            return self._handler
        if isinstance(argument, Fd):
            return self.fds[argument.number]
        if isinstance(argument, Port):
            return next(port for port, n in self.ports.items() if n == argument.number)
        if isinstance(argument, dict):
            return {self._plain(fd): events for fd, events in argument.items()}
        if isinstance(argument, tuple):
            return tuple(map(self._plain, argument))
        return argument

    def _told(self, op: Op, reply: Any) -> str:
        if op.name in MAKERS:
            self.fds.append(reply)
            self.counters += [Fd(len(self.fds) - 1)] if op.name == "eventfd" else []
            self.accepted += [Fd(len(self.fds) - 1)] if op.name == "accept" else []
            return f"fds[{len(self.fds) - 1}]"
        if op.name == "pipe":
            self.fds += reply
            return f"fds[{len(self.fds) - 2}], fds[{len(self.fds) - 1}]"
        if op.name == "io_uring_submit_and_wait":
            return f"[{', '.join(map(self._completed, reply))}]"
        if op.name == "send" and MUCH == len(op.arguments[1]) > reply:
            return SOME  # until a reset
        if op.name == "getsockname":
            known = self.ports.get(reply)
            return ("a port" if reply else "no port") if known is None else f"port {known}"
        return self._worded(reply)

    def _completed(self, completion: tuple[type, int, Any]) -> str:
        kind, fd, result = completion
        if kind is calls.io_uring_prep_accept and isinstance(result, int):
            self.fds.append(result)
            self.accepted.append(Fd(len(self.fds) - 1))
            return f"{kind.__name__} fds[{len(self.fds) - 1}]"
        sent = kind is calls.io_uring_prep_send and type(result) is int
        words = str(_amount(result)) if sent else self._worded(result)
        return f"{kind.__name__} {self._named_last(fd)} {words}"

    def _named_last(self, fd: int) -> str:
        return f"fds[{max(n for n, one in enumerate(self.fds) if one == fd)}]"

    def _worded(self, reply: Any) -> str:
        if isinstance(reply, calls.Ready):
            return f"{self._named_last(reply)} {reply.events:#x}"
        if isinstance(reply, list | tuple):
            return "[" + ", ".join(map(self._worded, reply)) + "]"
        if isinstance(reply, bytes):
            return _text(reply)
        if isinstance(reply, type):
            return reply.__name__
        if isinstance(reply, OSError):
            return errorcode[reply.errno or 0]
        return repr(reply)


class Receiver(Teller):
    """The same over traffic, whose connections are its descriptors; the first one has the turns."""

    def program(self, fds: list[int], nbytes: int) -> Program:  # type: ignore[override]
        """The program itself."""
        with no_holes():
            self.control, *self.fds = fds
            self.connections = len(self.fds)
            self.awaited: set[Fd] = set()
            yield from self._statements()

    def _do(self, op: Op) -> Program:
        """To a connection of Traffic one only listens.

        Which of two sleepers gets what comes, aio's helper or the program, Linux leaves open; and
        whether the signal of a datagram is there before the one that slept in a receive goes on.
        """
        if op.inner.name == "write" and op.inner.arguments[0].number < self.connections:
            return
        if op.name == ARMED:
            yield from self._arm(*op.arguments)
            return
        if op.name == "aio_read":
            self.awaited.add(op.arguments[0])
        receives = op.inner.name in ("recvfrom", "recvmsg", "read") and may_sleep(op.inner)
        if not (receives and op.inner.arguments[0] in self.awaited):
            yield from super()._do(op)

    def _arm(self, fd: Fd, flags: int) -> Program:
        """Signals of a connection; without a handler they would end the process."""
        if fd.number < self.connections:
            self.awaited.add(fd)
            yield from self._make(Op("sigaction", (SIGIO, HANDLER)), self.said)
            yield from self._make(Op("fcntl", (fd, F_SETOWN, SELF)), self.said)
            yield from self._make(Op("fcntl", (fd, F_SETFL, O_ASYNC | flags)), self.said)

    def _turn(self) -> Program:
        yield recvfrom(self.control, 1)


def _amount(nbytes: Any) -> int | str:
    """So many bytes; how many it were where a send was cut, Linux says: see `MUCH`."""
    return SOME if MOST < nbytes < MUCH else nbytes


def told(run: Callable[..., Timeline], ops: Sequence[Op], story: Clients | Traffic) -> Told:
    """What the program of `ops` is told on a kernel, and what became of its clients."""
    teller = (Teller if isinstance(story, Clients) else Receiver)(ops)
    before = _in_line()
    try:
        buffers = BUFFERS if any(map(fills, ops)) else {}
        timeline = run(teller.program, story, limit_s=LIMIT_S, costs=COSTS, **buffers)
    except TimeoutError:
        return Told((*teller.said, f"{teller.doing!r}: never returns"), tuple(teller.done), ())
    except AssertionError:
        raise
    except Exception as error:
        words = f"{type(error).__name__}: {error}"
        return Told((*teller.said, words), tuple(teller.done), ())
    visits = [f"client {v.client}: {v.sent}, {_amount(v.received)}, {v.end!r}"
              for v in timeline.visits]  # fmt: skip
    late = Disturbance("a thread began late", _lateness(timeline))
    queued = sum(ns - before.get(tid, 0) for tid, ns in _in_line().items())
    helpers = Disturbance("helper threads in line for a core", queued)
    found = (*timeline.disturbances, *(one for one in (late, helpers) if one.ns > ms(1)))
    return Told((*teller.said, *visits), tuple(teller.done), found)


def _in_line() -> dict[int, int]:
    """ns in the run queue so far, by thread, of all but this one: aio's helpers are not Python's.

    (They wait for a second for something more to do, so that they are still there after a run.)
    """
    try:
        others = {int(tid) for tid in os.listdir("/proc/self/task")} - {threading.get_native_id()}
    except OSError:
        return {}
    counts = {tid: procfs.schedstat("self", tid) for tid in others}
    return {tid: count[1] for tid, count in counts.items() if count is not None}


def _lateness(run: Timeline) -> int:
    """ns from a thread's making to its first call, at the most: who made it waits for 2 ms."""
    made = [call.end for call in run.call_log if call.name == "pthread_create"]
    first: dict[str, int] = {}
    for call in run.call_log:
        if call.process.startswith("thread "):
            first.setdefault(call.process, call.start)
    began = [first.get(f"thread {number}", run.end) for number in range(1, len(made) + 1)]
    return max((start - end for start, end in zip(began, made, strict=True)), default=0)


def compared(ops: Sequence[Op], story: Clients | Traffic) -> tuple[Told, Told]:
    """What both kernels say.  A call that waits for ever ends the program before it."""
    simulated = told(simulate, ops, story)
    if simulated.lines and simulated.lines[-1].endswith("never returns"):
        ops = simulated.done
        simulated = told(simulate, ops, story)
    return simulated, told(measure, ops, story)


def pasted(done: Sequence[Op], story: Clients | Traffic) -> str:
    """The operations of a `Told` as a program of its own: `simulate` and `measure` take it.

    It prints a call and its errno, or its reply; `options` are those of the run.
    """
    begins = OVER_CLIENTS if isinstance(story, Clients) else OVER_TRAFFIC
    body = "\n    ".join(map(_statement, done))
    buffers = BUFFERS if any(map(fills, done)) else {}
    return PASTED.format(
        story=story, begins=begins, body=body, makers=MAKERS, naps=NAPS, options=buffers
    )


def _statement(op: Op) -> str:
    if op.name == TURN:
        return "yield from turn(control)"
    if op.name == THREAD:
        return f"yield pthread_create(said(fds, {op.inner!r}))\n    yield sleep(ms(2))"
    if op.name == ARMED:
        return f"yield from {op!r}"
    return f"yield from said(fds, {op!r})"


PASTED = """\
from errno import errorcode
from iosim import Costs
from iosim.calls import *
from iosim.workloads.clients import *
from iosim.workloads.clients import Client, Clients
from iosim.workloads.traffic import Message, Traffic

story = {story}
ports = {{}}

def port(fd):
    return ports[fd]

def handler(signo):
    print("signal", "handled")
    yield from ()

def armed(fd, flags):
    print("sigaction", (yield sigaction(SIGIO, handler)))
    print("fcntl", (yield fcntl(fd, F_SETOWN, SELF)))
    print("fcntl", (yield fcntl(fd, F_SETFL, O_ASYNC | flags)))

def said(fds, request):
    name = type(request).__name__
    try:
        reply = yield request
        print(name, reply)
    except OSError as error:
        print(name, errorcode[error.errno])
    else:
        if name in {makers}:
            fds.append(reply)
        elif name == "pipe":
            fds += reply
        elif name == "io_uring_submit_and_wait":
            fds += [fd for kind, _, fd in reply if kind is io_uring_prep_accept if type(fd) is int]
        elif name == "listen":
            ports[request.fd] = yield getsockname(request.fd)
    yield sleep(ms({naps}.get(name, 1)))

{begins}
    {body}

options = {options} | dict(costs=Costs.typical())  # of simulate and measure
"""
OVER_CLIENTS = """\
def turn(control):
    yield send(control, b"." * 10)
    yield recvfrom(control, 1)

def program(listener, clients):
    fds = [listener]
    ports[listener] = yield getsockname(listener)
    control = yield accept(listener)
    yield from turn(control)"""
OVER_TRAFFIC = """\
def turn(control):
    yield recvfrom(control, 1)

def program(fds, nbytes):
    control = fds.pop(0)"""


# -- what there is to draw ---------------------------------------------------------------------

TURNS = 4
_fd = st.integers(0, 7).map(Fd) | st.integers(0, 2).map(Connection)
_size = st.sampled_from((1, 10, 100, 5_000))


def _bytes(size: int) -> bytes:
    return b"x" * size


_data = _size.map(_bytes)
_timeout = st.sampled_from((0, ms(1), ms(3)))
_events = st.sampled_from(
    (
        calls.EPOLLIN, calls.EPOLLOUT, calls.EPOLLIN | calls.EPOLLOUT, 0, calls.EPOLLRDHUP,
        calls.EPOLLIN | calls.EPOLLRDHUP,
    )
)  # fmt: skip
_modes = st.sampled_from((0, calls.EPOLLET, calls.EPOLLONESHOT, calls.EPOLLEXCLUSIVE))
_epoll = st.tuples(_events, _modes).map(lambda pair: pair[0] | pair[1])
_several = st.lists(_fd, min_size=1, max_size=4)


def _call(name: str, *arguments: st.SearchStrategy[Any]) -> st.SearchStrategy[Op]:
    return st.tuples(*arguments).map(lambda drawn: Op(name, drawn))


_sleeping = st.one_of(
    _call("recvfrom", _fd, _size, st.just(0)),
    _call("read", _fd, _size),
    _call("write", _fd, st.sampled_from((8, 70_000)).map(_bytes)),
    _call("epoll_wait", _fd, st.integers(1, 4), st.sampled_from((None, ms(300)))),
    _call("poll", st.dictionaries(_fd, _events, min_size=1, max_size=4), st.none()),
    _call("select", _several.map(tuple), st.none(), st.just(())),
)
#: How often, and what: calls over any story,
ANYWHERE = (
    (4, st.just(Op(TURN))),
    (2, _call(THREAD, _sleeping)),
    (1, _call("recvfrom", _fd, _size, st.sampled_from((0, MSG_PEEK)))),
    (3, _call("recvfrom", _fd, _size, st.sampled_from((MSG_DONTWAIT, MSG_PEEK | MSG_DONTWAIT)))),
    (1, _call("recvmsg", _fd, _size, st.sampled_from((0, MSG_DONTWAIT)))),
    (2, _call("pipe")),
    (1, _call("eventfd", st.sampled_from((0, 3)))),
    (3, _call("read", _fd, _size)),
    (3, _call("write", _fd, st.sampled_from((8, 10, 100, 4_000, 5_000, 60_000)).map(_bytes))),
    (2, _call("close", _fd)),
    (1, _call("epoll_create")),
    (3, _call("epoll_ctl", _fd, st.sampled_from((1, 1, 2, 3)), _fd, _epoll)),
    (2, _call("epoll_wait", _fd, st.integers(1, 4), _timeout)),
    (2, _call("select", _several.map(tuple), _timeout, _several.map(tuple))),
    (2, _call("poll", st.dictionaries(_fd, _events, min_size=1, max_size=4), _timeout)),
    (1, _call("fcntl", _fd, st.just(F_SETFL), st.sampled_from((0, O_NONBLOCK)))),
    (1, _call("setsockopt", _fd, st.just(SO_RCVTIMEO), st.sampled_from((0, ms(4))))),
    (1, _call("io_uring_setup", st.sampled_from((1, 8)), st.sampled_from((0, 0, SINGLE, LAZY)))),
)
#: over clients,
CLIENTS_ONLY = (
    (1, _call("socket")),
    (3, _call("accept", _fd)),
    (1, _call(THREAD, _call("accept", _fd))),
    (2, _call(THREAD, _call("send", _fd, st.just(_bytes(MUCH)), st.just(0)))),
    (1, _call("listen", _fd, st.sampled_from((0, 1, 10)))),
    (2, _call("connect", _fd, st.integers(0, 3).map(Port))),
    (1, _call("getsockname", _fd)),
    (1, _call("getsockopt", _fd)),
    (3, _call("send", _fd, _data, st.sampled_from((0, MSG_DONTWAIT)))),
    (2, _call("shutdown", _fd, st.sampled_from((0, 1, 2)))),
    (1, _call("memfd_create")),
    (1, _call("io_uring_prep_accept", _fd, _fd)),
    (2, _call("io_uring_prep_recv", _fd, _fd, _size)),
    (2, _call("io_uring_prep_send", _fd, _fd, _data | st.just(_bytes(MUCH)))),
    (2, _call("io_uring_submit_and_wait", _fd)),
)
#: and over traffic.
TRAFFIC_ONLY = (
    (2, _call("io_uring_submit", _fd, _fd, _size)),
    (1, _call("io_uring_enter", _fd)),
    (2, _call("io_uring_peek_cqe", _fd)),
    (2, _call("aio_read", _fd, _size)),
    (1, _call("aio_error", st.integers(1, 3))),
    (1, _call("aio_return", st.integers(1, 3))),
    (2, _call(ARMED, _fd, st.sampled_from((0, O_NONBLOCK)))),
    (1, _call("sigprocmask", st.sampled_from((SIG_BLOCK, SIG_UNBLOCK)), st.just((SIGIO,)))),
    (1, _call("sigtimedwait", st.just((SIGIO,)), _timeout)),
)


def _programs(
    beginnings: Sequence[Op], *tables: Sequence[tuple[int, st.SearchStrategy[Op]]]
) -> st.SearchStrategy[list[Op]]:
    """Some of the `beginnings`, so that there is something to work with, and then anything."""
    kinds = [kind for table in tables for often, kind in table for _ in range(often)]
    first = st.lists(st.sampled_from(beginnings), min_size=1, max_size=4)
    then = st.lists(st.sampled_from(kinds).flatmap(lambda kind: kind), min_size=4, max_size=20)
    return st.tuples(first, then).map(lambda both: [*both[0], *both[1]])


_readers = (Op("epoll_create"), Op("io_uring_setup"), Op("pipe"), Op("eventfd", (0,)))
over_clients = _programs(
    (
        *[Op("accept", (Fd(0),))] * 3,
        Op(THREAD, (Op("send", (Connection(0), _bytes(MUCH), 0)),)),
        *(Op("socket"), *_readers),
    ),
    *(ANYWHERE, CLIENTS_ONLY),
)  # fmt: skip
_signals = (*[Op(ARMED, (Fd(0), 0))] * 2, Op(ARMED, (Fd(1), 0)))
over_traffic = _programs((*_readers, *_signals), ANYWHERE, TRAFFIC_ONLY)


@st.composite
def _acts(
    draw: st.DrawFn, kind: str, last: Sequence[tuple[str, int]], most: int = 2
) -> list[list[tuple[str, int]]]:
    """Up to `most` of `kind` in each turn, and at the very end perhaps one of `last`."""
    sends = st.lists(st.tuples(st.just(kind), _size), max_size=most)
    rounds = draw(st.lists(sends, max_size=TURNS))
    if rounds and last:
        rounds[-1] = [*rounds[-1], *draw(st.lists(st.sampled_from(last), max_size=1))]
    return rounds


acts_of_clients = st.lists(
    _acts(SEND, (*(("shutdown", 0), ("reset", 0), ("close", 0)),
                 *((RECEIVE, size) for size in (1, 100, MUCH, MUCH)))),
    min_size=1,
    max_size=3,
)  # fmt: skip
#: Over TCP one message at an instant: of two, a thread that the first one wakes may get both, or
#: only the first (a stream is cut as it comes).
acts_of_traffic = st.one_of(
    st.tuples(st.just("udp"), st.lists(_acts("data", ()), min_size=1, max_size=3)),
    st.tuples(
        st.just("tcp"),
        st.lists(_acts("data", (("eof", 0), ("reset", 0)), 1), min_size=1, max_size=3),
    ),
)
