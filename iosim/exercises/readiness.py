"""Exercises 4 to 6: to ask, to be told, and to be told only once."""

from __future__ import annotations

import select
import selectors
import socket
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

from ..calls import ms
from ..hunting.claims import everybody_is_served, short, took_ns
from ..hunting.search import Broken
from ..hunting.space import Space
from ..plain.kernel import GRACE_NS
from ..plain.simulate import Outcome
from ..trace import Call
from ..workloads import clients, traffic
from .exercise import Answer, Exercise, Mistake, Part, Program, goes_on_wrongly, spins, would_block

__all__ = [
    "AFTER_END", "ASKING", "POLL_FOR", "SERVE_EDGE", "SERVE_OWED", "never_closes", "over_listener",
    "woken_too_often",
]  # fmt: skip


def over_listener(answer: Answer) -> Program:
    """The answer is a server, or a coroutine function that is one."""

    def program(listener: socket.socket) -> object:
        return answer(listener)

    return program


def woken_too_often(outcome: Outcome, most: int) -> str:
    """Does it look again and again though nothing has changed?"""
    in_vain = _woken_in_vain(outcome.timeline.call_log)
    words = f"it woke up {in_vain} times and did nothing, where {most} are plenty"
    return words if in_vain > most else ""


def _woken_in_vain(log: Sequence[Call]) -> int:
    """After how many of its sleeps a thread sleeps again, and has got no further meanwhile."""
    idle: set[str] = set()  # threads that have not got any further since they slept
    count = 0
    for call in log:
        if call.name in WAITING:
            count += call.process in idle
            idle.add(call.process)
        elif call.nbytes or call.sent or (call.name in GOES_ON and call.errno is None):
            idle.discard(call.process)
    return count + len(idle)


# -- 4: poll with a budget of calls and of delay -------------------------------------------------

MOST_CALLS, MOST_LATE_MS = 60, 30
ASKING = ("recvfrom", "recvmsg", "select", "poll", "epoll_wait")
WAITING = (*ASKING[2:], "sleep")
GOES_ON = ("accept", "close", "connect", "shutdown")  # calls that bring no bytes


def poll_for(sock: socket.socket) -> bytes:
    """A right answer."""
    while True:
        try:
            return sock.recv(100)
        except BlockingIOError:
            time.sleep(0.02)


def _nonblocking(answer: Answer) -> Program:
    def program(sock: socket.socket) -> object:
        sock.setblocking(False)
        return answer(sock)

    return program


def _size(seed: int) -> int:
    return 93 + seed % 7


def _in_a_second(seed: int) -> Space:
    story = traffic.one(after_ms=1 + seed % 5, size=_size(seed))
    return Space(story, delays=(ms(9), ms(77), ms(433), ms(985)), in_vain=4_000)


def _within_budget(seed: int, outcome: Outcome) -> str:
    run = outcome.timeline
    asked = sum(call.name in ASKING for call in run.call_log)
    if outcome.ended:
        return f"it had not looked {GRACE_NS / 1e6:,.0f} ms after it came"
    size = _size(seed)
    if not isinstance(outcome.returned, bytes) or len(outcome.returned) != size:
        return f"it returned {short(outcome.returned)}, not the {size} bytes of the datagram"
    waits = {
        i.call.name
        for i in run.intervals
        if i.state == "sleeping" and i.call is not None and i.call.name != "sleep"
    }
    if waits:
        return f"it slept in {min(waits)}, until the datagram came"
    if asked > MOST_CALLS:
        return f"it asked {asked} times, more than {MOST_CALLS}"
    late = run.latency_ns(1)
    if late is not None and late > MOST_LATE_MS * 1_000_000:
        return f"it had the datagram {late / 1e6:.1f} ms after it came, more than {MOST_LATE_MS}"
    return ""


POLL_FOR = Exercise(
    4, "poll_for", "poll with a budget of calls and of delay",
    (Part(_nonblocking, _in_a_second, lambda seed: partial(_within_budget, seed), cases=60),),
    (
        Mistake(
            "EAGAIN is no error",
            "BlockingIOError (EAGAIN) says that nothing has come yet: look again, a little later.",
            would_block,
        ),
        Mistake(
            "too often",
            "You ask too often, or keep a core busy in between: a recv that finds nothing costs a "
            "system call. Sleep until the next look.",
            lambda part, found: "times, more than" in found.words
            or spins(part, found),
        ),
        Mistake(
            "too rarely",
            "You sleep too long: what comes just after a look waits for the next one.",
            lambda part, found: "after it came" in found.words,
        ),
        Mistake(
            "does not poll",
            "That is the better way, and the next model: here you are to look, and to do something "
            "else in between.",
            lambda part, found: "it slept in" in found.words,
        ),
        Mistake(
            "cut off",
            "You asked for fewer bytes than the datagram has: the rest of it is lost.",
            lambda part, found: isinstance(found.outcome.returned, bytes)
            and len(found.outcome.returned) > 0,
        ),
        Mistake(
            "gives up",
            "The datagram comes within a second, not within your patience: go on until it is "
            "there.",
            lambda part, found: "bytes of the datagram" in found.words,
        ),
    ),
    poll_for,
)  # fmt: skip


# -- 5: EVENT_WRITE only while something is owed -------------------------------------------------


AFTER_END = 1  # the second part, as of the relay
IN_VAIN = 30  # calls without progress: it spins


def serve_owed(listener: socket.socket) -> None:
    """A right answer."""
    listener.setblocking(False)
    ended = set()  # who sends no more, and is owed something still
    with selectors.DefaultSelector() as selector:
        selector.register(listener, selectors.EVENT_READ)
        while True:
            for key, mask in selector.select():
                sock: Any = key.fileobj
                if sock is listener:
                    connection, _ = listener.accept()
                    connection.setblocking(False)
                    selector.register(connection, selectors.EVENT_READ, b"")
                    continue
                owed = key.data
                if mask & selectors.EVENT_READ:
                    data = sock.recv(1_000)
                    owed += data
                    if not data:
                        ended.add(sock)
                try:
                    owed = owed[sock.send(owed) :]
                except BlockingIOError:
                    pass
                reads = 0 if sock in ended else selectors.EVENT_READ
                if events := reads | (selectors.EVENT_WRITE if owed else 0):
                    selector.modify(sock, events, owed)
                else:
                    ended.discard(sock)
                    selector.unregister(sock)
                    sock.close()


def _two_that_echo(seed: int, size: int = 60) -> Space:
    """What the first one sends is more than there is room for."""
    much = size + seed % 3
    talker = clients.script(("send", much), ("wait", ms(40)), ("receive", much), rcvbuf=20)
    story = clients.of(talker, clients.echo(2, 10, every_ms=30))
    return Space(story, delays=(ms(5), ms(200)), options={"sndbuf": 30}, in_vain=IN_VAIN)


def _one_that_reads_late(seed: int) -> Space:
    """It has ended its sending by then; the other one is not to notice."""
    much = 100 + seed % 3
    late = clients.script(
        ("send", much), ("shutdown", 0), ("wait", ms(900)), ("receive", much), ("receive", 1),
        rcvbuf=20,
    )  # fmt: skip
    story = clients.of(late, clients.echo(2, 10, every_ms=30))
    return Space(story, delays=(ms(5),), cuts=False, options={"sndbuf": 30}, in_vain=IN_VAIN)


def _both_in_time(outcome: Outcome) -> str:
    """The quick one at once, whatever the other one does."""
    late, quick = outcome.visits
    assert isinstance(outcome.story, clients.Clients)
    wanted = outcome.story.clients[0].total(clients.SEND)
    if quick.over is None or quick.over > 700_000_000:
        return "a client was served too late, beside one that does not read yet"
    if late.garbled or quick.garbled:
        return "a client got other bytes than it had sent"
    if late.received < wanted:
        return f"client 0 got {late.received} of {wanted} bytes: {late.end}"
    return ""


def _met_the_end(found: Broken) -> int:
    """How many of its last calls were told that a client sends no more?"""
    last = found.timeline.call_log[-IN_VAIN:]
    return sum(c.name == "recvfrom" and c.errno is None and not c.nbytes for c in last)


def never_closes(part: int, found: Broken) -> bool:
    """In the part after the end: the first client has all of its bytes, and waits for the end."""
    late = found.outcome.visits[0]
    assert isinstance(found.story, clients.Clients)
    owed = found.story.clients[0].total(clients.SEND)
    return part == AFTER_END and found.kind == "stuck" and late.received == owed


def _only_waits(found: Broken) -> bool:
    """Did it wait for one thing at a time, in one thread?"""
    asked = {call.name for call in found.timeline.call_log}
    over = found.outcome.ended or found.kind == "stuck"
    unharmed = found.outcome.error is found.outcome.kernel.stopped
    return (
        found.kind in ("stuck", "claim")
        and not asked & {*ASKING[2:]}
        and len(found.timeline.processes) == 1
        and unharmed
        and over
    )


SERVE_OWED = Exercise(
    5, "serve_owed", "EVENT_WRITE only while something is owed",
    (
        Part(over_listener, _two_that_echo, lambda seed: everybody_is_served(within_ms=2_000)),
        Part(over_listener, _one_that_reads_late, lambda seed: _both_in_time, cases=60),
    ),
    (
        Mistake(
            "EAGAIN is no error",
            "send on a nonblocking socket may find no room (BlockingIOError): wait for "
            "EVENT_WRITE.",
            would_block,
        ),
        Mistake(
            "reads on after the end",
            'Behind its last byte a stream stays readable, and recv gives b"" again and again: '
            "ask for EVENT_READ no more, and close when nothing is owed.",
            lambda part, found: spins(part, found) and _met_the_end(found) > 1,
        ),
        Mistake(
            "always writable",
            "A socket is nearly always writable: with EVENT_WRITE left on, select returns at once, "
            "for nothing, and the loop takes a whole core. (So does a send that is tried again "
            "and again.)",
            spins,
        ),
        Mistake(
            "sends other bytes",
            "Bytes went out twice, in another order, or to another client: keep `owed[n:]` of each "
            "client's own, and put what is new behind it. (sendall does not say how much it sent.)",
            lambda part, found: "other bytes" in found.words or "ConnectionReset" in found.words,
        ),
        Mistake(
            "closes what it owes",
            'recv gives b"" when the client has no more to send; it may well read on '
            "(shutdown(2), SHUT_WR). Close when nothing is owed.",
            lambda part, found: part == 1 and "eof" in found.words,
        ),
        Mistake(
            "one client at a time",
            "You wait for one client, and meanwhile for nobody else.",
            lambda part, found: "served too late" in found.words or _only_waits(found),
        ),
        Mistake(
            "the server ends",
            "Your server returned while clients were waiting.",
            goes_on_wrongly,
        ),
        Mistake(
            "never closes",
            "The client sends no more and has got all that it was owed: close its connection.",
            never_closes,
        ),
        Mistake(
            "told no more",
            "Something was still owed when you stopped asking for EVENT_WRITE: nobody tells you "
            "when there is room for the rest.",
            lambda part, found: found.kind in ("claim", "stuck"),
        ),
    ),
    serve_owed, waits=True,
    real=Part(over_listener, partial(_two_that_echo, size=60_000), lambda seed: None),
)  # fmt: skip


# -- 6: read under edge-triggering ---------------------------------------------------------------

TURN = 4  # receives of one connection, before others have their turn


def serve_edge(listener: socket.socket) -> None:
    """Drain, a little at a time, and remember who is not drained yet."""
    listener.setblocking(False)
    of_fd: dict[int, socket.socket] = {}
    with select.epoll() as epoll:
        epoll.register(listener, select.EPOLLIN)
        undrained: list[int] = []
        while True:
            found = epoll.poll(0 if undrained else -1)
            again, undrained = undrained, []
            for fd in dict.fromkeys([*(fd for fd, _ in found), *again]):
                if fd == listener.fileno():
                    connection, _ = listener.accept()
                    connection.setblocking(False)
                    of_fd[connection.fileno()] = connection
                    epoll.register(connection, select.EPOLLIN | select.EPOLLET)
                    continue
                for _ in range(TURN):
                    try:
                        data = of_fd[fd].recv(20)
                    except BlockingIOError:
                        break
                    if not data:
                        of_fd.pop(fd).close()
                        break
                    of_fd[fd].setblocking(True)
                    of_fd[fd].sendall(data)
                    of_fd[fd].setblocking(False)
                else:
                    undrained.append(fd)


FLOOD = 2_000  # bytes


def _a_flood_and_another(seed: int) -> Space:
    flood = clients.script(("send", FLOOD), ("receive", FLOOD))
    small = clients.script(("wait", ms(30 + seed % 5)), ("send", 10), ("receive", 10))
    return Space(
        clients.of(flood, small), delays=(ms(2), ms(40)), cuts=False, short_writes=False, in_vain=60
    )


def _the_small_one_in_time(outcome: Outcome) -> str:
    flood, small = outcome.visits
    if flood.garbled or small.garbled:
        return "a client got other bytes than it had sent"
    if small.received < 10 or not small.answered:
        return "the client with 10 bytes was never answered"
    took = took_ns(outcome, small, small.answered[0])
    if took > 120_000_000:
        return f"the client with 10 bytes was answered after {took / 1e6:,.0f} ms"
    if flood.received < FLOOD:
        return f"the client with {FLOOD:,} bytes got {flood.received:,} of them"
    return ""


SERVE_EDGE = Exercise(
    6, "serve_edge", "read under edge-triggering",
    (Part(over_listener, _a_flood_and_another, lambda seed: _the_small_one_in_time, cases=80),),
    (
        Mistake(
            "the server ends",
            "Your server returned while clients were waiting.",
            goes_on_wrongly,
        ),
        Mistake(
            "sends other bytes",
            "What a client sends is sent back to it: the same bytes, in their order, to no other.",
            lambda part, found: "other bytes" in found.words,
        ),
        Mistake(
            "sleeps beside data",
            "With EPOLLET you are told once, when something comes: read until BlockingIOError, or "
            "remember that more lies there. You sleep beside data.",
            lambda part, found: found.kind == "stuck" or "was never answered" in found.words
            or "bytes got" in found.words,
        ),
        Mistake(
            "the others starve",
            "You drain one connection to its end while it fills up again: after a few receives let "
            "the others have their turn, and come back.",
            lambda part, found: "was answered after" in found.words,
        ),
        Mistake(
            "EAGAIN is no error",
            "BlockingIOError (EAGAIN) is how a drained socket answers: it ends your loop.",
            would_block,
        ),
        Mistake(
            "asks without a pause",
            "You ask without a pause, also when nobody has anything: wait in epoll.poll().",
            spins,
        ),
    ),
    serve_edge, waits=True,
)  # fmt: skip
