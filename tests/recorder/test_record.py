"""The recorder: plain socket code comes out as the timeline of its model; never a duration.

What sends to the recorded code waits until proc(5) says that it sleeps in the call in which it
should sleep.
"""

from __future__ import annotations

import asyncio
import errno
import gc
import os
import select
import selectors
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from errno import (
    EAGAIN,
    EBADF,
    ECONNREFUSED,
    ECONNRESET,
    EINPROGRESS,
    EINTR,
    EMFILE,
    ENOENT,
    EPIPE,
)  # fmt: skip
from pathlib import Path
from typing import Any

import pytest

from iosim import Timeline, calls, draw, record
from iosim.machine import procfs
from iosim.machine.cores import usable_cores
from iosim.recorder.made import Part
from iosim.recorder.reconstruct import Thread, share_cores, unique
from iosim.trace import FIGURE_6_6, KERNEL, READY, SLEEPING, USER, WAIT, Broken, Row

resource = pytest.importorskip("resource")
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="records Linux's calls")

DATA = b"x" * 100
SOON_S = 20.0
WAITING = {"epoll_pwait", "epoll_wait", "poll", "ppoll", "pselect6", "recvfrom", "select"}


def traces() -> tuple[int, int, list[int]]:
    """What a recording could leave behind."""
    modules = (socket, select, selectors, socket.socket, selectors.EpollSelector)
    names = [hash(tuple(sorted((k, id(v)) for k, v in vars(m).items()))) for m in modules]
    return len(os.listdir("/proc/self/fd")), threading.active_count(), names


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    before = traces()
    yield
    assert traces() == before


Pair = tuple[socket.socket, socket.socket]


@contextmanager
def connected() -> Iterator[Pair]:
    """Two ends of a connection."""
    one, other = socket.socketpair()
    with one, other:
        yield one, other


@pytest.fixture
def pair() -> Iterator[Pair]:
    """Two ends of a connection, the first of which is to be recorded."""
    with connected() as ends:
        yield ends


def once_asleep(thread: int) -> None:
    """Return when that thread sleeps in a call that waits; where /proc hides it, a little later."""
    until = time.monotonic() + SOON_S
    while time.monotonic() < until:
        name = procfs.syscall("self", thread)
        if not name:
            time.sleep(0.1)
            return
        if name in WAITING and procfs.state("self", thread) == "S":
            time.sleep(0.02)  # a sleep that nobody can take for something else
            return
        time.sleep(0.001)


@contextmanager
def sending(other: socket.socket, looks: list[int] | None = None) -> Iterator[None]:
    """Send once this thread sleeps in a call, or after 3 `looks` of it."""
    here = threading.get_native_id()

    def work() -> None:
        if looks is None:
            once_asleep(here)
        while looks is not None and len(looks) < 3:
            time.sleep(0.001)
        other.sendall(DATA)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        thread.join(SOON_S)


# -- plain programs, one for each way to wait ------------------------------------------------------


def blocking(sock: socket.socket, tape: record, looks: list[int]) -> None:
    sock.sendall(DATA)
    sock.recv(4_096)


def nonblocking(sock: socket.socket, tape: record, looks: list[int]) -> None:
    sock.setblocking(False)
    while True:
        try:
            sock.recv(4_096)
            return
        except BlockingIOError:
            looks.append(1)
            time.sleep(0.001)


def with_a_time_out(sock: socket.socket, tape: record, looks: list[int]) -> None:
    sock.settimeout(SOON_S)
    sock.recv(4_096)


def selecting(sock: socket.socket, tape: record, looks: list[int]) -> None:
    wait = tape.wrap(select.select)
    for one in wait([sock], [], [])[0]:
        one.recv(4_096)


def polling(sock: socket.socket, tape: record, looks: list[int]) -> None:
    poll = tape.wrap(select.poll())
    poll.register(sock, select.POLLIN)
    for _ in poll.poll():
        sock.recv(4_096)


def epolling(sock: socket.socket, tape: record, looks: list[int]) -> None:
    with tape.wrap(select).epoll() as epoll:
        epoll.register(sock, select.EPOLLIN)
        for _ in epoll.poll():
            sock.recv(4_096)


def with_selectors(kind: str) -> Callable[..., None]:
    def program(sock: socket.socket, tape: record, looks: list[int]) -> None:
        with tape.wrap(getattr(selectors, kind)()) as selector:
            selector.register(sock, selectors.EVENT_READ)
            for key, _ in selector.select():
                key.fileobj.recv(4_096)

    return program


def on_a_loop(main: Callable[[socket.socket], Any]) -> Callable[..., None]:
    def program(sock: socket.socket, tape: record, looks: list[int]) -> None:
        loop = tape.wrap(asyncio.new_event_loop())
        loop.run_until_complete(main(sock))
        loop.close()

    return program


async def sock_recv(sock: socket.socket) -> None:
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_recv(sock, 4_096)


async def streams(sock: socket.socket) -> None:
    reader, writer = await asyncio.open_connection(sock=sock)
    writer.write(DATA)
    assert await reader.read(4_096) == DATA
    writer.close()
    await writer.wait_closed()


RECEIVE, LOOK = ("recvfrom", None), ("recvfrom", EAGAIN)
WAITS = {"multiplexing": "return", "blocking": "return", "nonblocking": "check"}
PROGRAMS: dict[str, tuple[Callable[..., None], str, list[tuple[str, int | None]]]] = {
    "blocking": (blocking, "blocking", [("sendto", None), RECEIVE]),
    "nonblocking": (nonblocking, "nonblocking", [("ioctl", None), LOOK, RECEIVE]),
    "time-out": (with_a_time_out, "multiplexing", [("ioctl", None), ("poll", None), RECEIVE]),
    "select": (selecting, "multiplexing", [("select", None), RECEIVE]),
    "poll": (polling, "multiplexing", [("poll", None), RECEIVE]),
    "epoll": (
        epolling,
        "multiplexing",
        [
            ("epoll_create", None), ("epoll_ctl", None), ("epoll_wait", None), RECEIVE,
            ("close", None),
        ],
    ),
    "EpollSelector": (
        with_selectors("EpollSelector"),
        "multiplexing",
        [("epoll_ctl", None), ("epoll_wait", None), RECEIVE, ("close", None)],
    ),
    "PollSelector": (
        with_selectors("PollSelector"), "multiplexing", [("poll", None), RECEIVE],
    ),
    "SelectSelector": (
        with_selectors("SelectSelector"), "multiplexing", [("select", None), RECEIVE],
    ),
    "asyncio, sock_recv": (
        on_a_loop(sock_recv),
        "multiplexing",
        [LOOK, ("epoll_ctl", None), ("epoll_wait", None), RECEIVE],
    ),
    "asyncio, streams": (
        on_a_loop(streams),
        "multiplexing",
        [("epoll_ctl", None), ("sendto", None), ("epoll_wait", None), RECEIVE],
    ),
}  # fmt: skip


def played(program: Callable[..., None], pair: Pair) -> Timeline:
    """The timeline of `program`, to which a message is sent once it sleeps (or after 3 looks)."""
    one, other = pair
    looks: list[int] = []
    waits_for = looks if program is nonblocking else None
    with sending(other, waits_for), record("plain") as tape:
        program(tape.wrap(one), tape, looks)
    return tape.timeline.check()


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_plain_program_is_the_model_that_it_follows(name: str, pair: Pair) -> None:
    program, model, expected = PROGRAMS[name]
    timeline = played(program, pair)
    assert timeline.figure_6_6() == Row(FIGURE_6_6[model].wait, "blocked", "program", WAITS[model])
    assert (timeline.kernel, timeline.title) == ("measured", "plain")
    assert timeline.processes == ("MainThread",)
    (fate,) = timeline.deliveries
    assert (fate.size, fate.sent, fate.process) == (100, None, "MainThread")
    calls = timeline.calls()
    if name.startswith("asyncio"):  # less the loop's own business: rounds that do not wait
        calls = _around_the_wait(timeline)
    if name == "nonblocking":
        assert calls[1:-1] == [LOOK] * timeline.checks()
        calls = [*calls[:2], calls[-1]]
    assert calls == expected


def _around_the_wait(timeline: Timeline) -> list[tuple[str, int | None]]:
    """From the first look or registration to the receive, without the rounds that do not wait."""
    log = [c for c in timeline.call_log if c.name != "epoll_wait" or c.waits]
    first = next(n for n, c in enumerate(log) if c.errno == EAGAIN or c.name == "epoll_ctl")
    last = next(n for n, c in enumerate(log) if c.nbytes == 100)
    waits = [c for c in log[first : last + 1] if c.name == "epoll_wait"]
    assert all(not c.nbytes for c in waits)
    return [(c.name, c.errno) for c in log[first : last + 1]]


@pytest.mark.parametrize("name", PROGRAMS)
def test_blocked_is_where_it_slept_in_the_call_that_waited(name: str, pair: Pair) -> None:
    program, model, _ = PROGRAMS[name]
    timeline = played(program, pair)
    asleep = [i for i in timeline.lane("MainThread") if i.state == SLEEPING]
    if model == "nonblocking":
        assert timeline.blocked(WAIT) == 0
        # nearly all of it is its own sleep(), which is not recorded; a look may wait for the GIL
        elsewhere = sum(i.duration for i in asleep if i.call is None)
        assert elsewhere > 0.9 * sum(i.duration for i in asleep)
        return
    (fate,) = timeline.deliveries
    longest = max((i for i in asleep if i.call), key=lambda i: i.duration)
    assert longest.call is not None
    assert longest.call.waits
    assert longest.end == fate.arrived
    assert timeline.blocked(WAIT) == longest.duration


def test_the_lines_are_those_of_the_program() -> None:
    """Through selectors and asyncio as well: what calls them is the program."""
    for name in ("blocking", "EpollSelector"):
        with connected() as ends:
            timeline = played(PROGRAMS[name][0], ends)
        lines = timeline.source.splitlines()
        shown = {
            "recvfrom": ".recv(", "sendto": ".sendall(", "epoll_ctl": "register(",
            "epoll_wait": ".select(", "close": "with ",
        }  # fmt: skip
        for call in timeline.call_log:
            assert call.line is not None
            assert shown[call.name] in lines[call.line - timeline.first_line]


def test_what_a_loop_does_by_itself_has_no_line(
    pair: Pair,
) -> None:
    """A callback's receive is nobody's; what a coroutine asks for, through asyncio, is its own."""
    with connected() as ends:
        timeline = played(on_a_loop(streams), ends)
    receive = next(c for c in timeline.call_log if c.nbytes)
    assert receive.line is None

    with record() as tape, asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        runner.run(asked_for(tape, *pair))
    timeline = tape.timeline.check()
    lines = timeline.source.splitlines()
    names = {
        (c.name, c.errno): lines[c.line - timeline.first_line].split("(")[0].split()[-1]
        for c in timeline.call_log
        if c.line is not None
    }
    assert names["sendto", None] == "writer.write"
    assert names["recvfrom", EAGAIN] == "loop.sock_recv"


async def asked_for(tape: record, one: socket.socket, other: socket.socket) -> None:
    """Records the loop that it runs on."""
    loop = tape.wrap(asyncio.get_running_loop())
    one.setblocking(False)
    other.setblocking(False)
    _, writer = await asyncio.open_connection(sock=other)
    loop.call_later(0.05, writer.write, DATA)
    await loop.sock_recv(one, 4_096)
    writer.write(DATA)
    await loop.sock_recv(one, 4_096)
    writer.close()
    await writer.wait_closed()


# -- exactly the calls that the kernel saw ---------------------------------------------------------

SCRIPT = """
import asyncio, os, select, selectors, socket, threading
from iosim import record

def client(address):
    with socket.create_connection(address) as one:
        one.sendall(b"x" * 100)
        one.recv(100)

def everything(tape, loop):
    listener = tape.wrap(socket.create_server(("127.0.0.1", 0)))
    selector = tape.wrap(selectors.DefaultSelector())
    selector.register(listener, selectors.EVENT_READ)
    thread = threading.Thread(target=client, args=(listener.getsockname(),))
    thread.start()
    selector.select()
    one, _ = listener.accept()
    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    selector.register(one, selectors.EVENT_READ)
    selector.select()
    one.send(one.recv(200))
    one.settimeout(5)
    one.recv(200)
    thread.join()
    selector.unregister(one)
    one.shutdown(socket.SHUT_RDWR)
    one.close()
    listener.close()
    selector.close()
    epoll = tape.wrap(select).epoll()
    epoll.close()
    here, there = map(tape.wrap, socket.socketpair())
    with here, there:
        here.sendmsg([b"ab", b"c"])
        there.recvmsg(10)
        here.settimeout(0.01)
        try:
            here.recv(1)
        except TimeoutError:
            pass
        here.setblocking(False)
        try:
            here.recv_into(bytearray(1))
        except BlockingIOError:
            pass
        tape.wrap(select.select)([here], [there], [], 0)
        poll = tape.wrap(select.poll())
        poll.register(here, select.POLLIN)
        poll.poll(1)
        here.send(b"x")
        there.makefile("rb").read(1)
    loop = tape.wrap(loop)
    loop.run_until_complete(echo(loop))
    loop.close()

async def echo(loop):
    async def serve(reader, writer):
        writer.write(await reader.read(100))
        await writer.drain()
        writer.close()
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname()[:2])
    writer.write(b"hello")
    assert await reader.read(100) == b"hello"
    assert await reader.read(100) == b""
    writer.close()
    await writer.wait_closed()
    server.close()
    await asyncio.sleep(0.01)

loop = asyncio.new_event_loop()  # from Python 3.14 on it also tries pidfd_open, and closes that
with record() as tape:
    os.getppid()
    everything(tape, loop)
    os.getppid()
for name, errno in tape.timeline.check().calls():
    print(name, errno or 0)
"""
#: What strace calls what the recorder calls otherwise.
SAME = {
    name: kind.__name__
    for kind in (calls.accept, calls.select, calls.poll, calls.epoll_create, calls.epoll_wait)
    for name in kind.linux_names()
}
TRACED = (
    "accept,accept4,bind,close,connect,epoll_create1,epoll_ctl,epoll_pwait,epoll_wait,getpeername,"
    "getppid,getsockname,getsockopt,ioctl,listen,poll,ppoll,pselect6,recvfrom,recvmsg,select,"
    "sendmsg,sendto,setsockopt,shutdown"
)


def test_strace_saw_the_same_calls(tmp_path: Path) -> None:
    """Of the recorded thread, one after the other, with their errno."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("no strace here")
    script, log = tmp_path / "plain.py", tmp_path / "strace.txt"
    script.write_text(SCRIPT)
    run = subprocess.run(
        [strace, "-ff", "-o", str(log), "-e", f"trace={TRACED}", sys.executable, str(script)],
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    if run.returncode and "ptrace" in run.stderr:
        pytest.skip("strace may not trace here")
    assert run.stderr == ""
    recorded = [(name, int(errno)) for name, errno in map(str.split, run.stdout.splitlines())]
    texts = [path.read_text() for path in tmp_path.glob("strace.txt.*")]
    (traced,) = [text for text in texts if "getppid" in text]  # the recorded thread's
    _, between, _ = traced.split("getppid()", 2)
    seen = [_of_strace(line) for line in between.splitlines()[1:] if "(" in line]
    assert {name for name, _ in _not_recorded(seen, recorded)} <= BEFORE
    assert len(recorded) > 60


def _of_strace(line: str) -> tuple[str, int]:
    name, result = line.partition("(")[0], line.rpartition(" = ")[2].split()
    return SAME.get(name, name), getattr(errno, result[1]) if result[0] == "-1" else 0


#: What a socket goes through before anybody can wrap it, in `create_server`, `socketpair`, and in
#: asyncio.  All that moves data, waits or closes must be recorded.
BEFORE = {"bind", "epoll_create", "epoll_ctl", "getsockname", "ioctl", "listen", "setsockopt"}


def _not_recorded(
    seen: list[tuple[str, int]], recorded: list[tuple[str, int]]
) -> list[tuple[str, int]]:
    """What only the kernel saw.  Everything that was recorded must be there, in this order."""
    others, place = [], 0
    for call in seen:
        if place < len(recorded) and call == recorded[place]:
            place += 1
        else:
            others.append(call)
    assert place == len(recorded), f"not made: {recorded[place:][:3]}"
    return others


def test_a_call_too_many_or_too_few_is_seen() -> None:
    seen = [("ioctl", 0), ("recvfrom", EAGAIN), ("recvfrom", 0)]
    assert _not_recorded(seen, seen[1:]) == [("ioctl", 0)]
    assert _not_recorded(seen, seen[:2]) == [("recvfrom", 0)]
    for wrong in ([*seen, ("close", 0)], [("recvfrom", 0), ("recvfrom", EAGAIN)]):
        with pytest.raises(AssertionError, match="not made"):
            _not_recorded(seen, wrong)


# -- single calls ----------------------------------------------------------------------------------


def only(timeline: Timeline, name: str) -> Any:
    """The one call of that name."""
    (call,) = [c for c in timeline.check().call_log if c.name == name]
    return call


def notes(timeline: Timeline, call: Any) -> set[str]:
    """What the lane says of that call."""
    return {i.note for i in timeline.intervals if i.call == call and i.lane == call.process}


def test_bytes_in_and_bytes_out(pair: Pair) -> None:
    with record() as tape:
        one, other = map(tape.wrap, pair)
        one.send(b"12345")
        one.sendall(memoryview(bytes(16)).cast("I"))
        one.sendmsg([b"abc", b"de"])
        other.recv(5, socket.MSG_PEEK)
        assert other.recv(5) == b"12345"
        assert other.recv_into(bytearray(16)) == 16
        assert other.recvmsg(5)[0] == b"abcde"
        other.setblocking(False)
        with pytest.raises(BlockingIOError):
            other.recv(5)
        one.close()
        assert other.recv(5) == b""
    timeline = tape.timeline.check()
    assert [(c.name, c.sent or c.nbytes) for c in timeline.call_log] == [
        ("sendto", 5), ("sendto", 16), ("sendmsg", 5), ("recvfrom", 0), ("recvfrom", 5),
        ("recvfrom", 16), ("recvmsg", 5), ("ioctl", 0), ("recvfrom", 0), ("close", 0),
        ("recvfrom", 0),
    ]  # fmt: skip
    assert [d.size for d in timeline.deliveries] == [5, 16, 5]
    assert [c.waits for c in timeline.call_log if c.name == "recvfrom"] == [True] * 3 + [False] * 2
    assert sum(c.nbytes for c in timeline.call_log) == 26


def test_datagrams() -> None:
    with ExitStack() as stack:
        ends = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
        with record() as tape:
            one, other = (tape.wrap(stack.enter_context(end)) for end in ends)
            one.bind(("127.0.0.1", 0))
            other.sendto(DATA, one.getsockname())
            assert one.recvfrom(4_096)[0] == DATA
            other.sendto(DATA, 0, one.getsockname())
            assert one.recvfrom_into(bytearray(200))[0] == 100
            with pytest.raises(BlockingIOError):
                one.recv(10, socket.MSG_DONTWAIT)
    names = [("sendto", None), ("recvfrom", None)]
    expected = [("bind", None), ("getsockname", None), names[0], names[1], ("getsockname", None)]
    assert tape.timeline.check().calls() == [*expected, *names, ("recvfrom", EAGAIN)]
    assert not tape.timeline.call_log[-1].waits


def send_for_ever(one: socket.socket) -> None:
    while True:
        one.send(bytes(1 << 20))


def test_a_send_that_is_cut_short_and_one_that_has_no_room(
    pair: Pair,
) -> None:
    with record() as tape:
        one = tape.wrap(pair[0])
        one.setblocking(False)
        with pytest.raises(BlockingIOError):
            send_for_ever(one)
    timeline = tape.timeline.check()
    *whole, last = [c for c in timeline.call_log if c.name == "sendto"]
    assert last.errno == EAGAIN
    assert 0 < whole[-1].sent < 1 << 20
    assert notes(timeline, whole[-1]) == {f"{whole[-1].sent:,} of 1,048,576 bytes"}
    assert f"returns {whole[-1].sent:,} bytes" in str(timeline)


def test_a_server_and_what_goes_wrong_in_it() -> None:
    """Errnos of the failing calls: accept in vain, reset, pipe, refused, not on the list."""
    with record() as tape, ExitStack() as stack:
        listener = tape.wrap(socket.create_server(("127.0.0.1", 0)))
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()
        client = stack.enter_context(socket.create_connection(listener.getsockname()))
        one, _ = listener.accept()
        assert isinstance(one, socket.socket)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.close()
        with pytest.raises(ConnectionResetError):
            one.recv(10)
        with pytest.raises(BrokenPipeError):
            one.send(DATA)
        selector = tape.wrap(selectors.DefaultSelector())
        selector.register(one, selectors.EVENT_READ)
        one.close()
        selector.unregister(one)  # the kernel took it off the list when it was closed
        address = listener.getsockname()
        listener.close()
        refused = tape.wrap(stack.enter_context(socket.socket()))
        with pytest.raises(ConnectionRefusedError):
            refused.connect(address)
        selector.close()
    calls = tape.timeline.check().calls()
    assert [call for call in calls if call[1]] == [
        ("accept", EAGAIN), ("recvfrom", ECONNRESET), ("sendto", EPIPE),
        *[call for call in calls if call[0] == "epoll_ctl" and call[1]],
        ("connect", ECONNREFUSED),
    ]  # fmt: skip
    (gone,) = [call for call in calls if call[0] == "epoll_ctl" and call[1]]
    assert gone[1] in (EBADF, ENOENT)


def test_no_descriptor_is_left_for_an_accept() -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()),
        record() as tape,
        ExitStack() as stack,
    ):
        tape.wrap(listener)
        highest = fill_the_gaps(stack)
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, limits)
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, limits[1]))
        with pytest.raises(OSError, match="Too many open files"):
            listener.accept()
    assert tape.timeline.check().calls() == [("accept", EMFILE)]


def fill_the_gaps(stack: ExitStack) -> int:
    """Descriptors until none is free below the highest one, which is returned."""
    highest = max(int(name) for name in os.listdir("/proc/self/fd"))
    while True:
        new = stack.enter_context(socket.socket()).fileno()
        if new >= highest:
            return new


def test_connect_under_way() -> None:
    with record() as tape, socket.create_server(("127.0.0.1", 0)) as listener:
        with tape.wrap(socket.socket()) as one:
            one.setblocking(False)
            assert one.connect_ex(listener.getsockname()) == EINPROGRESS
        with tape.wrap(socket.socket()) as one:
            one.settimeout(SOON_S)
            one.connect(listener.getsockname())
    calls = [call for call in tape.timeline.check().calls() if call[0] not in ("ioctl", "close")]
    assert calls == [("connect", EINPROGRESS), ("connect", None)]
    assert any("poll" in i.note for i in tape.timeline.intervals)


def test_connect_that_nobody_answers() -> None:
    """A full backlog drops what comes: connect is under way, and poll gives up."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(2):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        tape = stack.enter_context(record())
        one = tape.wrap(stack.enter_context(socket.socket()))
        one.settimeout(0.05)
        with pytest.raises(TimeoutError):
            one.connect(listener.getsockname())
        assert tape.timeline.check().calls() == [
            ("ioctl", None), ("connect", EINPROGRESS), ("poll", None),
        ]  # fmt: skip
        under_way, poll = tape.timeline.call_log[-2:]
        assert under_way.end == poll.start


def test_a_time_out_is_a_poll_that_found_nothing(
    pair: Pair,
) -> None:
    with record() as tape:
        one = tape.wrap(pair[0])
        one.settimeout(0.01)
        with pytest.raises(TimeoutError):
            one.recv(10)
        pair[1].send(DATA)
        assert one.recv(10)
        one.send(DATA)
    names = [name for name, _ in tape.timeline.check().calls()]
    assert names == ["ioctl", "poll", "poll", "recvfrom", "poll", "sendto"]
    poll, receive = tape.timeline.call_log[2:4]
    assert poll.start < poll.end == receive.start < receive.end
    assert (poll.waits, receive.waits, receive.nbytes) == (True, False, 10)


def test_what_never_became_a_call(pair: Pair) -> None:
    with record() as tape:
        one = tape.wrap(pair[0])
        for mistake in (
            lambda: one.recv(-1), lambda: one.send("text"), lambda: one.connect(("no.such.", 1)),
            lambda: one.sendto(b"", 1, 2, 3),
        ):  # fmt: skip
            with pytest.raises((ValueError, TypeError, OSError)):
                mistake()
        one.close()
        one.close()
        with pytest.raises(OSError, match="Bad file descriptor"):
            one.recv(1)
    assert tape.timeline.check().calls() == [("close", None), ("recvfrom", EBADF)]


@pytest.mark.usefixtures("_ctrl_c")
def test_ctrl_c_ends_a_call_with_eintr(pair: Pair) -> None:
    here, main = threading.get_native_id(), threading.main_thread().ident

    def interrupt() -> None:
        once_asleep(here)
        signal.pthread_kill(main or 0, signal.SIGINT)

    tape, thread = record(), threading.Thread(target=interrupt)

    def interrupted() -> None:
        with tape:
            one = tape.wrap(pair[0])
            thread.start()
            one.recv(10)

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    thread.join(SOON_S)
    assert type(pair[0]) is socket.socket
    assert tape.timeline.check().calls() == [("recvfrom", EINTR)]
    assert tape.timeline.time_in(SLEEPING) > 0


def test_a_signal_handler_makes_its_calls_within_the_one_that_it_interrupts(
    pair: Pair,
) -> None:
    here, main = threading.get_native_id(), threading.main_thread().ident

    def interrupt() -> None:
        once_asleep(here)
        signal.pthread_kill(main or 0, signal.SIGUSR1)

    with record() as tape:
        one, other = map(tape.wrap, pair)
        before = signal.signal(signal.SIGUSR1, lambda *_: other.send(DATA))
        thread = threading.Thread(target=interrupt)
        thread.start()
        assert one.recv(4_096) == DATA
    thread.join(SOON_S)
    signal.signal(signal.SIGUSR1, before)
    receive, send = tape.timeline.check().call_log
    assert (receive.name, send.name) == ("recvfrom", "sendto")
    assert receive.start < send.start < send.end < receive.end
    states = [(i.call.name, i.state) for i in tape.timeline.lane("MainThread") if i.call]
    assert ("sendto", KERNEL) in states
    assert states[0][0] == states[-1][0] == "recvfrom"


# -- what is wrapped goes on as before -------------------------------------------------------------


def moved(timeline: Timeline) -> list[str]:
    """The names of the calls, less those that ask for addresses, as a socket's repr() does."""
    return [name for name, _ in timeline.check().calls() if not name.startswith("get")]


def test_a_recorded_socket_is_a_socket(pair: Pair) -> None:
    one, other = pair
    before = repr(one)
    with record() as tape:
        assert tape.wrap(one) is one
        assert tape.wrap(one) is one
        assert isinstance(one, socket.socket)
        assert repr(one) == before
        assert one.fileno() > 0
        with one.dup() as twin, one.makefile("wb") as file:
            file.write(DATA)
            twin.send(DATA)
        assert type(twin) is type(one)
        assert other.recv(200, socket.MSG_WAITALL) == 2 * DATA
        with selectors.DefaultSelector() as selector:
            selector.register(one, selectors.EVENT_WRITE)
            ((key, _),) = selector.select()
            assert key.fileobj is one
    assert type(one) is type(twin) is socket.socket
    assert moved(tape.timeline) == ["ioctl", "sendto", "sendto", "close"]  # dup() sets a time-out
    one.send(DATA)
    assert tape.timeline.call_log[-1].name == "close"


def test_a_class_of_ones_own(pair: Pair) -> None:
    class Mine(socket.socket):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.seen = 0

        def recv(self, *args: int) -> bytes:
            self.seen += 1
            return super().recv(*args)

    with Mine(fileno=pair[0].detach()) as one, record() as tape:
        tape.wrap(one)
        pair[1].send(DATA)
        assert one.recv(4_096) == DATA
        assert isinstance(one, Mine)
    assert type(one) is Mine
    assert one.seen == 1
    assert tape.timeline.check().calls() == [("recvfrom", None)]


def test_select_takes_what_it_took(pair: Pair) -> None:
    one, other = pair
    other.send(DATA)
    with record() as tape:
        wait = tape.wrap(select.select)
        assert wait([one.fileno()], [], [], 0) == ([one.fileno()], [], [])
        with pytest.raises(TypeError):
            wait([object()], [], [], 0)
        module = tape.wrap(select)
        assert module.EPOLLIN == select.EPOLLIN
        assert module.select([one], [], [])[0] == [one]
        poll = module.poll()
        poll.register(one, module.POLLIN)
        assert poll.poll() == [(one.fileno(), module.POLLIN)]
        with module.epoll() as epoll:
            epoll.register(one, module.EPOLLIN)
            assert epoll.poll(maxevents=1) == [(one.fileno(), module.EPOLLIN)]
            assert not epoll.closed
            with pytest.raises(FileExistsError):
                epoll.register(one.fileno())
    assert [name for name, _ in tape.timeline.check().calls()] == [
        "select", "select", "poll", "epoll_create", "epoll_ctl", "epoll_wait", "epoll_ctl", "close",
    ]  # fmt: skip


@pytest.mark.parametrize("kind", [selectors.DefaultSelector, selectors.SelectSelector])
def test_a_selector_and_a_loop_are_what_they_were(kind: type[selectors.BaseSelector]) -> None:
    selector = kind()
    before = dict(vars(selector))
    loop = asyncio.new_event_loop()
    of_the_loop = loop._selector._selector  # type: ignore[attr-defined]
    kind_of_loop = type(loop)

    def recorded() -> None:
        with record() as tape:
            assert tape.wrap(selector) is selector
            assert tape.wrap(loop) is loop
            assert vars(selector) != before
            assert type(loop) is not kind_of_loop
            assert isinstance(loop, kind_of_loop)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        recorded()
    assert vars(selector) == before
    assert type(loop) is kind_of_loop
    assert loop._selector._selector is of_the_loop  # type: ignore[attr-defined]
    assert type(loop._ssock) is socket.socket  # type: ignore[attr-defined]
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    selector.close()


def test_an_asyncio_server_and_its_clients(pair: Pair) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.read(100))
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async def client(address: tuple[str, int]) -> None:
        reader, writer = await asyncio.open_connection(*address)
        writer.write(DATA)
        assert await reader.read(100) == DATA
        writer.close()
        await writer.wait_closed()

    async def main() -> None:
        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        async with server:
            await asyncio.gather(*(client(server.sockets[0].getsockname()) for _ in range(5)))

    def make_runner(tape: record) -> asyncio.Runner:
        return asyncio.Runner(loop_factory=lambda: tape.wrap(asyncio.new_event_loop()))

    with record() as tape, make_runner(tape) as runner:
        runner.run(main())
    timeline = tape.timeline.check()
    received = [d.size for d in timeline.deliveries]
    assert received.count(100) == 10
    assert {d.told for d in timeline.deliveries} == {"return"}
    assert sum(call == ("accept", None) for call in timeline.calls()) == 5
    assert {c.process for c in timeline.call_log} == {"MainThread"}


# -- bad input -------------------------------------------------------------------------------------


class OfAnotherKind(selectors.BaseSelector):
    """A selector that waits in a way of its own, as with kqueue."""

    def register(self, fileobj: Any, events: int, data: Any = None) -> Any: ...
    def unregister(self, fileobj: Any) -> Any: ...
    def select(self, timeout: float | None = None) -> Any: ...
    def get_map(self) -> Any: ...


def test_bad_input_gets_one_line(pair: Pair) -> None:
    tape = record()
    with pytest.raises(RuntimeError, match="nothing is recorded before the with block"):
        tape.timeline  # noqa: B018
    with pytest.raises(RuntimeError, match=r"wrap\(\) works inside the with block"):
        tape.wrap(pair[0])
    with tape:
        for thing in (42, None, "socket", select.poll, socket, object()):
            with pytest.raises(TypeError, match=r"record: cannot wrap .*; it takes a socket"):
                tape.wrap(thing)
        with (
            ssl.create_default_context().wrap_socket(
                socket.socket(), server_hostname="localhost", do_handshake_on_connect=False
            ) as secret,
            pytest.raises(TypeError, match="inside OpenSSL"),
        ):
            tape.wrap(secret)
        with pytest.raises(TypeError, match="uses neither select nor"):
            tape.wrap(OfAnotherKind())
    with pytest.raises(RuntimeError, match="a recording is made once"), tape:
        pass
    with pytest.raises(RuntimeError, match=r"wrap\(\) works inside the with block"):
        tape.wrap(pair[0])


def test_two_recorders(pair: Pair) -> None:
    """Each its own; what one records the other refuses."""
    one, other = pair
    with record("outer") as outer:
        outer.wrap(one)
        with record("inner") as inner:
            inner.wrap(other)
            with pytest.raises(RuntimeError, match="another recorder records <socket"):
                inner.wrap(one)
            selector = outer.wrap(selectors.DefaultSelector())
            with pytest.raises(RuntimeError, match="another recorder"):
                inner.wrap(selector)
            one.send(DATA)
            other.recv(4_096)
        assert type(other) is socket.socket
        one.send(DATA)
        selector.close()
    assert moved(outer.timeline) == ["sendto", "sendto", "close"]
    assert inner.timeline.calls() == [("recvfrom", None)]
    assert (outer.timeline.title, inner.timeline.title) == ("outer", "inner")


def test_the_recorder_that_began_last_may_end_last(
    pair: Pair,
) -> None:
    first, second = record(), record()
    first.__enter__()
    second.__enter__()
    first.wrap(pair[0])
    second.wrap(pair[1])
    first.__exit__()
    pair[0].send(DATA)
    pair[1].recv(4_096)
    second.__exit__()
    assert first.timeline.calls() == []
    assert second.timeline.calls() == [("recvfrom", None)]


# -- many threads, many connections ----------------------------------------------------------------


def test_each_thread_is_a_process(pair: Pair) -> None:
    with record() as tape:
        one, other = map(tape.wrap, pair)
        threads = [threading.Thread(target=one.send, args=(DATA,), name="worker") for _ in range(2)]
        for thread in threads:
            thread.start()
            thread.join()
        other.recv(4_096)
    timeline = tape.timeline.check()
    assert timeline.processes == ("MainThread", "worker", "worker (2)")
    assert timeline.calls("worker (2)") == [("sendto", None)]
    assert timeline.lanes[-1] == f"fd {other.fileno()}"


def test_a_thread_that_is_still_in_a_call(pair: Pair) -> None:
    one, other = pair
    with record() as tape:
        tape.wrap(one)
        thread = threading.Thread(target=one.recv, args=(10,), name="reader")
        thread.start()
        once_asleep(thread.native_id or 0)
        inside = tape.timeline.check()
    timeline = tape.timeline.check()
    other.send(DATA)
    thread.join(SOON_S)
    for made in (inside, timeline):
        (call,) = made.call_log
        assert (call.name, call.process, call.errno, call.nbytes) == ("recvfrom", "reader", None, 0)
        assert call.end == made.end
        assert made.lane("reader")[-1].call == call
    assert timeline.time_in(SLEEPING, "reader") > timeline.time_in(KERNEL, "reader")
    assert tape.timeline is timeline
    assert inside.end < timeline.end


def busy(sock: socket.socket, first: bool) -> None:
    """Ping-pong, with work in between."""
    for _ in range(50):
        if first:
            sock.send(DATA)
        sock.recv(4_096)
        sum(range(500))
        if not first:
            sock.send(DATA)


def test_more_threads_than_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """They wait for each other's lock (GIL) and for a core: never do more run than there are."""
    assert crowd().check().cores == usable_cores()
    monkeypatch.setattr("iosim.recorder.reconstruct.share_cores", lambda threads, cores: None)
    monkeypatch.setattr("iosim.recorder.record.usable_cores", lambda: 1)
    with pytest.raises(Broken, match="processes run on 1 cores"):
        crowd().check()


def crowd() -> Timeline:
    with ExitStack() as stack, record() as tape:
        ends = [stack.enter_context(s) for _ in range(6) for s in socket.socketpair()]
        threads = [
            threading.Thread(target=busy, args=(tape.wrap(end), number % 2 == 0))
            for number, end in enumerate(ends)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    timeline = tape.timeline
    assert len(timeline.deliveries) == 600
    assert len(timeline.processes) == 13
    return timeline


def test_a_surplus_of_running_threads_is_ready() -> None:
    """Of three that seem to run on two cores the one that knows least of itself is ready."""

    def thread(name: str, start: int, end: int) -> Thread:
        return Thread(name, [], [], [], [Part(start, end, USER, None, start, end)])

    threads = [thread("a", 0, 100), thread("b", 40, 60), thread("c", 10, 90)]
    share_cores(threads, 2)
    told = [[(p.start, p.end, p.state) for p in t.parts] for t in threads]
    assert told[1] == [(40, 60, USER)]
    assert told[0] == [(0, 40, USER), (40, 60, READY), (60, 100, USER)]
    assert told[2] == [(10, 90, USER)]
    share_cores(threads, 2)
    assert [[(p.start, p.end, p.state) for p in t.parts] for t in threads] == told


def test_a_call_that_returns_after_the_end_is_cut_there() -> None:
    """As one that another thread finishes between the end of the block and the reading."""
    code, zero = test_a_call_that_returns_after_the_end_is_cut_there.__code__, 1_000
    stamps = [
        ("recv", 3, None, 0, code, 0, start, end, 10)
        for start, end in ((1_100, 1_900), (2_100, 2_200))
    ]
    thread = Thread.read("t", [(zero, zero, 0, 0, 0), *stamps], zero, 1_500)
    (made,) = thread.made
    assert (made.start, made.end, made.received) == (100, 500, 0)


def test_lanes_have_names_of_their_own() -> None:
    taken: Counter[str] = Counter()
    names = ["fd 7", "fd 7 (2)", "fd 7", "worker", "fd 7"]
    assert [unique(name, taken) for name in names] == [
        "fd 7", "fd 7 (2)", "fd 7 (2) (2)", "worker", "fd 7 (3)",
    ]  # fmt: skip


def test_a_number_that_is_used_again_is_another_connection() -> None:
    with record() as tape:
        numbers = []
        for _ in range(2):
            one, other = socket.socketpair()
            with tape.wrap(one), other:
                other.send(DATA)
                one.recv(4_096)
                numbers.append(one.fileno())
    assert numbers[0] == numbers[1]
    timeline = tape.timeline.check()
    lanes = [f"fd {numbers[0]}", f"fd {numbers[0]} (2)"]
    assert timeline.lanes == ("MainThread", *lanes)
    assert [d.connection for d in timeline.deliveries] == [0, 1]
    assert timeline.lane(lanes[0])[-1].end <= timeline.lane(lanes[1])[0].start


def serve(listener: socket.socket, selector: selectors.BaseSelector, clients: int) -> None:
    """An echo server on `selectors`, until all clients are gone."""
    selector.register(listener, selectors.EVENT_READ)
    while clients:
        for key, _ in selector.select():
            one = key.fileobj
            assert isinstance(one, socket.socket)
            if one is listener:
                selector.register(listener.accept()[0], selectors.EVENT_READ)
            elif data := one.recv(4_096):
                one.sendall(data)
            else:
                selector.unregister(one)
                one.close()
                clients -= 1
    selector.unregister(listener)


CLIENTS = """
import socket, sys
ones = [socket.create_connection(("127.0.0.1", int(sys.argv[1]))) for _ in range(int(sys.argv[2]))]
for _ in range(2):
    for one in ones:
        one.sendall(b"x" * 100)
    for one in ones:
        assert len(one.recv(100, socket.MSG_WAITALL)) == 100
"""


def test_a_server_with_hundreds_of_connections() -> None:
    clients = 300
    with (
        socket.create_server(("127.0.0.1", 0), backlog=clients) as listener,
        record() as tape,
        tape.wrap(selectors.DefaultSelector()) as selector,
    ):
        tape.wrap(listener)
        port = str(listener.getsockname()[1])
        peer = subprocess.Popen([sys.executable, "-c", CLIENTS, port, str(clients)])
        serve(listener, selector, clients)
    assert peer.wait(SOON_S) == 0
    timeline = tape.timeline.check()
    count = {name: 0 for name, _ in timeline.calls()}
    for name, errno_ in timeline.calls():
        assert errno_ is None
        count[name] += 1
    assert count["accept"] == count["close"] - 1 == clients  # and the selector's own
    assert sum(d.size for d in timeline.deliveries) == 2 * 100 * clients
    assert sum(c.sent for c in timeline.call_log) == 2 * 100 * clients
    assert {d.connection for d in timeline.deliveries} == set(range(1, clients + 1))
    assert timeline.figure_6_6().agrees(FIGURE_6_6["multiplexing"])
    assert "not drawn, for want of room" in draw.svg(timeline)


# -- the states ------------------------------------------------------------------------------------


def test_cpu_time_is_what_the_thread_used(pair: Pair) -> None:
    """The sums are measured: within what was read a moment earlier and later."""
    with record() as tape:
        one = tape.wrap(pair[0])
        before = time.thread_time_ns()
        with sending(pair[1]):
            one.recv(4_096)
        until = time.thread_time_ns() + 20_000_000
        while time.thread_time_ns() < until:
            pass
        used = time.thread_time_ns() - before
        time.sleep(0.02)
    timeline = tape.timeline.check()
    assert used <= timeline.cpu_ns() * 1.1
    assert timeline.cpu_ns() <= used * 1.2 + 5_000_000
    unseen = [i for i in timeline.lane("MainThread") if i.state == SLEEPING and not i.call]
    assert sum(i.duration for i in unseen) >= 18_000_000
    assert {i.note for i in unseen} == {"in a call that is not recorded"}


def test_data_that_was_there_is_received_without_a_sleep(
    pair: Pair,
) -> None:
    pair[1].send(DATA)
    with record() as tape:
        tape.wrap(pair[0]).recv(4_096)
    timeline = tape.timeline.check()
    (call,), (fate,) = timeline.call_log, timeline.deliveries
    assert fate.arrived == call.start
    assert timeline.blocked(WAIT) == 0
    assert timeline.figure_6_6() == Row(None, "blocked", "program", "return")


# -- other forms -----------------------------------------------------------------------------------


def test_what_was_taken_out_of_the_block_leaves_no_stamp(pair: Pair) -> None:
    with record() as tape:
        send, wait = tape.wrap(pair[0]).send, tape.wrap(select.select)
        send(DATA)
    rows = [list(track.raw) for track in tape._tracks]
    send(DATA)
    time.sleep(0.001)  # long enough to be looked into
    wait([pair[1]], [], [])
    assert [track.raw for track in tape._tracks] == rows
    assert tape.timeline.calls() == [("sendto", None)]


def test_an_unrecorded_sleep_is_no_label(pair: Pair) -> None:
    """It would take the room of the calls; the tooltip says it."""
    picture = draw.svg(played(nonblocking, pair))
    assert "in a call that is not recorded</title>" in picture
    assert "in a call that is not recorded</text>" not in picture


def test_it_is_a_timeline_like_every_other(pair: Pair) -> None:
    timeline = played(selecting, pair)
    assert Timeline.from_json(timeline.to_json()) == timeline
    assert {row["lane"] for row in timeline.to_records()} == set(timeline.lanes)
    names = {e["args"]["name"] for e in timeline.to_trace_events()["traceEvents"] if e["ph"] == "M"}
    assert {"MainThread", f"fd {pair[0].fileno()}"} <= names
    picture = draw.svg(timeline)
    assert picture == draw.svg(timeline)
    assert f'data-lane="fd {pair[0].fileno()}"' in picture
    assert "MEASURED" in picture
    assert "arrived by" in picture
    assert "≥" in picture
    assert "recvfrom" in str(timeline)
    window = timeline.between(0, timeline.end // 2)
    assert window.end == timeline.end // 2


WITHOUT = """
import select, socket, sys
del select.poll, select.epoll
sys.modules["resource"] = sys.modules["fcntl"] = None
from iosim import record
one, other = socket.socketpair()
with record() as tape:
    tape.wrap(one)
    wait = tape.wrap(select.select)
    other.send(b"x")
    wait([one], [], [])
    one.recv(1)
print(*tape.timeline.check().calls())
"""


def test_a_system_without_poll_epoll_and_resource() -> None:
    """As Windows: what there is of select and sockets is recorded."""
    run = subprocess.run(
        [sys.executable, "-c", WITHOUT], capture_output=True, text=True, timeout=60, check=False
    )
    assert (run.stdout, run.stderr) == ("('select', None) ('recvfrom', None)\n", "")


def test_nothing_recorded_is_a_timeline_too() -> None:
    with record() as tape:
        pass
    timeline = tape.timeline.check()
    assert timeline.calls() == []
    assert timeline.title == "test_nothing_recorded_is_a_timeline_too"
    assert timeline.processes == ("MainThread",)
    assert timeline.lane("MainThread")[0].start == 0


def test_a_stamp_is_small(pair: Pair) -> None:
    one = pair[0]
    with record() as tape:
        tape.wrap(one).setblocking(False)
        gc.collect()
        tracemalloc.start()
        for _ in range(2_000):
            try:
                one.recv(10)
            except BlockingIOError:
                pass
        used = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
    assert used / 2_000 < 400
    assert tape.timeline.check().checks() == 2_000


# -- what is wrapped stays what it is ------------------------------------------------------------


class Counting(socket.socket):
    """With a recv and a send of its own, and other parameters."""

    def recv(self, size: int = 10) -> bytes:  # type: ignore[override]
        self.asked = getattr(self, "asked", 0) + 1
        return super().recv(size)

    def send(self, data: bytes, *, twice: bool = False) -> int:  # type: ignore[override]
        return super().send(data * (1 + twice))


def test_a_subclass_keeps_its_own_methods() -> None:
    one, other = socket.socketpair()
    mine = Counting(one.family, one.type, one.proto, one.detach())
    with mine, other, record("own methods") as tape:
        wrapped = tape.wrap(mine)
        assert wrapped is mine
        assert isinstance(mine, Counting)
        assert mine.send(b"ab", twice=True) == 4
        other.send(b"xyz")
        assert mine.recv() == b"xyz"
        assert mine.asked == 1
    assert type(mine) is Counting
    assert [call.name for call in tape.timeline.call_log] == ["sendto", "recvfrom"]


class OwnAccept(socket.socket):
    """Whose accept returns something else."""

    def accept(self) -> Any:
        connection, _ = super().accept()
        return {"connection": connection}


def test_an_accept_of_its_own_may_return_something_else() -> None:
    with OwnAccept() as listener, record("accept") as tape:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        tape.wrap(listener)
        with socket.create_connection(listener.getsockname()):
            found = listener.accept()
        found["connection"].close()
    assert "accept" in [call.name for call in tape.timeline.call_log]


@pytest.mark.skipif(not hasattr(select, "epoll"), reason="epoll is Linux's")
def test_a_wrapped_module_has_types() -> None:
    with record("types") as tape:
        wrapped = tape.wrap(select)
        with wrapped.epoll() as epoll, wrapped.epoll.fromfd(os.dup(epoll.fileno())) as again:
            assert isinstance(epoll, wrapped.epoll)
            assert isinstance(again, wrapped.epoll)
            assert not isinstance(3, wrapped.epoll)


SENT_ON = """
import multiprocessing, socket
from iosim import record

def answers(pipe):
    with pipe.recv() as connection:
        connection.sendall(connection.recv(5) + b" from another process")

ours, theirs = multiprocessing.Pipe()
worker = multiprocessing.get_context("fork").Process(target=answers, args=(theirs,), daemon=True)
worker.start()
with record() as tape, tape.wrap(socket.create_server(("127.0.0.1", 0))) as listener:
    client = socket.create_connection(listener.getsockname(), timeout=30)
    with client, listener.accept()[0] as connection:
        ours.send(connection)
        client.sendall(b"hello")
        names = [name for name, _ in tape.timeline.calls() if name != "getsockname"]
        print(client.recv(100).decode(), names)
worker.join()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_an_accepted_socket_can_be_sent_to_another_process() -> None:
    """What multiprocessing leaves of that goes with a process."""
    said = subprocess.run(
        [sys.executable, "-c", SENT_ON], capture_output=True, text=True, timeout=60, check=False
    )
    assert said.stdout == "hello from another process ['accept']\n", said.stderr


def test_what_is_recorded_keeps_its_name() -> None:
    with record() as tape:
        with socket.socket() as one:
            plain = type(one).recv
            tape.wrap(one)
            kept = one.recv
            for name in ("__name__", "__qualname__", "__doc__"):
                assert getattr(kept, name) == getattr(plain, name)
        assert tape.wrap(select).select.__name__ == "select"
