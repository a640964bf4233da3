"""The echo servers: what stops the notes', and that nothing of it stops the survivor.

Most of it happens in one thread: the test is the clients, and gives the server its turns. So the
order of everything is the test's, and a failure comes again. IOSIM_LONG=1 runs the long ones at
full length: 10,000 random sequences of faults and 100,000 connections.
"""

import ast
import errno
import gc
import os
import random
import select
import selectors
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from waiting import bytes_waiting

from iosim.echo import faults, notes, survivor
from iosim.echo.child import Server, serving, until
from iosim.echo.printed import PRINTED
from iosim.echo.survivor import EchoServer

linux = pytest.mark.skipif(sys.platform != "linux", reason="breaks servers in Linux's own ways")

LONG = bool(os.environ.get("IOSIM_LONG"))
SEQUENCES = 10_000 if LONG else 500
CONNECTIONS = 100_000 if LONG else 4_000
KINDS = [
    kind
    for name in ("SelectSelector", "PollSelector", "EpollSelector", "KqueueSelector")
    if (kind := getattr(selectors, name, None))
]
SMALL = 4_096  # bytes: for buffers that are soon full


# --- the files ------------------------------------------------------------------------------------


def code_lines(tree: ast.Module, text: str, inside: ast.AST) -> int:
    """Lines of `inside` that are neither blank nor a comment nor of a docstring."""
    documented = {
        line
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node)
        for line in range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1)
    }
    numbered = enumerate(text.splitlines(), start=1)
    lines = {n for n, line in numbered if line.strip() and not line.strip().startswith("#")}
    return len({n for n in lines - documented if inside.lineno <= n <= inside.end_lineno})


def test_the_survivor_has_at_most_sixty_lines() -> None:
    text = Path(survivor.__file__).read_text(encoding="utf-8")
    tree = ast.parse(text)
    [server] = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    assert 40 < code_lines(tree, text, server) <= 60


@pytest.mark.parametrize("module", [notes, survivor], ids=lambda module: module.__name__)
def test_a_server_can_be_copied_without_the_rest(module: object) -> None:
    tree = ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8"))
    imported = {
        name.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([node.module or "."] if isinstance(node, ast.ImportFrom) else
                     [alias.name for alias in node.names])
    }  # fmt: skip
    assert imported <= sys.stdlib_module_names


@linux
def test_a_copy_of_the_survivor_runs_by_itself(tmp_path: Path) -> None:
    copy = shutil.copy(survivor.__file__, tmp_path / "copied.py")
    command = [sys.executable, "-I", str(copy)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            address = "127.0.0.1", int(process.stdout.readline())
            with socket.create_connection(address, timeout=20) as client:
                client.sendall(b"hello")
                assert client.recv(5) == b"hello"
            process.send_signal(signal.SIGINT)
            assert process.wait(20) == 0
        finally:
            process.kill()


def test_the_notes_server_is_what_the_notes_print(capsys: pytest.CaptureFixture[str]) -> None:
    """Its functions are those of the printed text, and serve a polite client."""
    text = "\n".join(line[3:] for line in PRINTED.splitlines() if "```" not in line)
    printed = ast.parse(text.replace("\n def read", "\ndef read"))
    ours = ast.parse(Path(notes.__file__).read_text(encoding="utf-8"))
    functions = [
        {node.name: ast.unparse(node) for node in tree.body if isinstance(node, ast.FunctionDef)}
        for tree in (printed, ours)
    ]
    assert list(functions[0]) == ["accept", "read"]
    assert functions[0].items() <= functions[1].items()

    listener = notes.listening()
    with listener, socket.create_connection(listener.getsockname()) as client:
        client.sendall(b"hello")
        for _ in range(2):
            for key, mask in notes.sel.select(5):
                key.data(key.fileobj, mask)
        assert client.recv(5) == b"hello"
        client.shutdown(socket.SHUT_WR)
        for key, mask in notes.sel.select(5):
            key.data(key.fileobj, mask)
        notes.sel.unregister(listener)
    assert len(notes.sel.get_map()) == 0
    words = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert words == ["accepted", "echoing", "closing"]


# --- a server that is given its turns -------------------------------------------------------------


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(survivor, "TICK", 0.0)


@contextmanager
def turned(*, send_buffer: int = 0, **options: float) -> Iterator[EchoServer]:
    """A server that has its turns from the test."""
    server = EchoServer(**options)
    if send_buffer:  # what it accepts inherits it: socket(7), tcp(7)
        server.listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
    try:
        yield server
    finally:
        for thing in (*server.due, server.listener, server.selector):
            thing.close()


class Client:
    """A client that never waits, and what it sent, received and saw at the end."""

    def __init__(self, server: EchoServer, small: bool = True) -> None:
        self.sock = socket.socket()
        if small:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL)
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL)
        self.sock.connect(server.listener.getsockname())
        self.sock.setblocking(False)
        self.sent, self.got = bytearray(), bytearray()
        self.half_closed = self.over = False

    def send(self, data: bytes) -> None:
        try:
            self.sent += data[: self.sock.send(data)]
        except BlockingIOError:
            pass  # its own buffer is full: nothing of it was sent

    def receive(self, most: int = 1 << 20) -> int:
        """The number of bytes; the end is noted."""
        try:
            data = self.sock.recv(most)
        except BlockingIOError:
            return 0
        self.over = not data
        self.got += data
        return len(data)

    def half_close(self) -> None:
        self.sock.shutdown(socket.SHUT_WR)
        self.half_closed = True

    def reset(self) -> None:
        """close(2) with SO_LINGER 0 sends a reset (tcp(7), RFC 9293 3.10.4)."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


def settle(server: EchoServer, clients: list[Client]) -> None:
    """Turns until every client has all that it sent, and its end if it ended."""

    def done() -> bool:
        server.turn()
        for client in clients:
            if not client.over:
                client.receive()
        return all(
            len(c.got) == len(c.sent) and c.over >= c.half_closed for c in clients
        )  # fmt: skip

    assert until(done), [(len(c.sent), len(c.got), c.half_closed, c.over) for c in clients]


class Echo(RuleBasedStateMachine):
    """Clients in any order of their deeds; whoever does not reset gets back what it sent."""

    clients: list[Client]

    def __init__(self) -> None:
        super().__init__()
        self.context = turned(send_buffer=SMALL)
        self.server = self.context.__enter__()
        self.clients = []

    def one(self, number: int) -> Client:
        return self.clients[number % len(self.clients)]

    @precondition(lambda self: len(self.clients) < 6)
    @rule(small=st.booleans())
    def connect(self, small: bool) -> None:
        self.clients.append(Client(self.server, small))

    @precondition(lambda self: self.clients)
    @rule(number=st.integers(0, 5), data=st.binary(max_size=300), times=st.sampled_from([1, 99]))
    def send(self, number: int, data: bytes, times: int) -> None:
        if not self.one(number).half_closed:
            self.one(number).send(data * times)

    @precondition(lambda self: self.clients)
    @rule(number=st.integers(0, 5), most=st.sampled_from([1, 100, 100_000]))
    def receive(self, number: int, most: int) -> None:
        if not self.one(number).over:
            self.one(number).receive(most)

    @precondition(lambda self: self.clients)
    @rule(number=st.integers(0, 5))
    def half_close(self, number: int) -> None:
        if not self.one(number).half_closed:
            self.one(number).half_close()

    @precondition(lambda self: self.clients)
    @rule(number=st.integers(0, 5))
    def reset(self, number: int) -> None:
        self.clients.pop(number % len(self.clients)).reset()

    @rule(turns=st.integers(1, 4))
    def turn(self, turns: int) -> None:
        for _ in range(turns):
            self.server.turn()

    @invariant()
    def nothing_is_made_up(self) -> None:
        assert all(client.sent.startswith(client.got) for client in self.clients)

    @invariant()
    def nothing_is_hoarded(self) -> None:
        keys = [key for key in self.server.selector.get_map().values() if key.data is not None]
        assert {key.fileobj for key in keys} == set(self.server.due)
        assert all(len(key.data) <= survivor.LIMIT for key in keys)
        assert all((key.events == survivor.EVENT_WRITE) == bool(key.data) for key in keys)

    def teardown(self) -> None:
        try:
            settle(self.server, self.clients)
            assert all(client.got == client.sent for client in self.clients)
            for client in self.clients:
                client.sock.close()
            until(lambda: self.server.turn() or not self.server.due)
            assert not self.server.due
            assert len(self.server.selector.get_map()) == 1
        finally:
            for client in self.clients:
                client.sock.close()
            self.context.__exit__(None, None, None)


if sys.platform == "linux":
    TestEcho = Echo.TestCase
    TestEcho.settings = settings(stateful_step_count=30, max_examples=100)


# --- ten thousand sequences, a hundred thousand connections ---------------------------------------


def misbehave(server: EchoServer, seed: int) -> tuple[int, int]:
    """One random sequence; how many clients came, and how many of them went by a reset."""
    chance = random.Random(seed)
    clients, resets = [Client(server, chance.random() < 0.5)], 0
    deeds: list[Callable[[Client], object]] = [
        lambda c: c.half_closed or c.send(chance.randbytes(chance.choice([1, 1_000, 50_000]))),
        lambda c: c.over or c.receive(chance.choice([1, 1_000, 1 << 20])),
        lambda c: c.half_closed or c.half_close(),
        lambda c: server.turn(),
        lambda c: server.turn(),
        lambda c: clients.append(Client(server, chance.random() < 0.5)),
        lambda c: clients.remove(c) or c.reset(),
    ]
    came = 1
    for _ in range(chance.randrange(3, 20)):
        if not clients:
            break
        before = len(clients)
        chance.choices(deeds, weights=[6, 4, 1, 4, 4, 2, 2])[0](chance.choice(clients))
        came += len(clients) > before
        resets += len(clients) < before
    settle(server, clients)
    assert all(client.got == client.sent for client in clients), seed
    for client in clients:
        client.sock.close()
    return came, resets


@linux
def test_after_any_sequence_of_faults_the_others_have_what_is_theirs() -> None:
    with turned(send_buffer=SMALL) as server:
        told = [misbehave(server, seed) for seed in range(SEQUENCES)]
        assert until(lambda: server.turn() or not server.due)
        assert len(server.selector.get_map()) == 1
    came, resets = (sum(column) for column in zip(*told, strict=True))
    assert came > SEQUENCES
    assert resets > SEQUENCES / 5  # the sequences are as bad as they are meant to be


@linux
def test_descriptors_threads_and_memory_are_flat_over_many_connections() -> None:
    """Blocks that the interpreter has allocated, in place of bytes: they can be counted."""

    def measured() -> tuple[int, int, int]:
        gc.collect()
        return len(os.listdir("/proc/self/fd")), threading.active_count(), sys.getallocatedblocks()

    with turned() as server:
        found = []
        for number in range(CONNECTIONS + 1):
            client = Client(server, small=False)
            client.send(b"hello")
            until(lambda: server.turn() or client.receive())  # noqa: B023 - done at once
            assert client.got == b"hello"
            if number % 10:
                client.reset()
            else:
                client.sock.close()
            if number % (CONNECTIONS // 4) == 0:
                until(lambda: server.turn() or not server.due)
                found.append(measured())
    descriptors, threads, blocks = zip(*found[1:], strict=True)
    assert len(found) == 5
    assert len(set(descriptors)) == len(set(threads)) == 1
    assert max(blocks) - min(blocks) < 500, blocks  # one block leaked each time would be thousands


@contextmanager
def running(**options: float) -> Iterator[tuple[EchoServer, threading.Thread]]:
    """A server in a thread of its own, which does wait."""
    server = EchoServer(**options)
    thread = threading.Thread(target=server.run)
    with mock.patch.object(survivor, "TICK", 0.02):
        thread.start()
        try:
            yield server, thread
        finally:
            server.stop()
            thread.join(20)
            assert not thread.is_alive()


@linux
def test_a_thousand_clients_at_once_are_all_served() -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 2_200:
        pytest.skip(f"RLIMIT_NOFILE allows {hard} descriptors here, and 1,000 clients need 2,200")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2_200), hard))
    clients: list[socket.socket] = []
    try:
        with running() as (server, _):
            for _ in range(1_000):  # nonblocking: nobody waits for the one before
                clients.append(socket.socket())
                clients[-1].setblocking(False)
                assert clients[-1].connect_ex(server.listener.getsockname()) in (
                    0, errno.EINPROGRESS,
                )  # fmt: skip
            for number, client in enumerate(clients):
                client.settimeout(20)
                client.sendall(f"{number:04}".encode())
            got = [client.recv(4, socket.MSG_WAITALL).decode() for client in clients]
            assert got == [f"{number:04}" for number in range(1_000)]
            assert until(lambda: len(server.due) == 1_000)  # it notes one after it has sent
    finally:
        for client in clients:
            client.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# --- what it does of its own accord ---------------------------------------------------------------


def test_who_does_not_move_is_given_up_and_who_moves_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 100.0
    monkeypatch.setattr(survivor, "monotonic", lambda: now)
    with turned(idle=60.0) as server:
        lively, quiet = Client(server, False), Client(server, False)  # in this order: it is turned
        until(lambda: server.turn() or len(server.due) == 2)
        now = 150.0
        lively.send(b"still here")
        until(lambda: server.turn() or lively.receive())
        now = 159.9
        server.turn()
        assert len(server.due) == 2
        now = 160.0
        server.turn()
        until(lambda: quiet.receive() or quiet.over)
        assert (quiet.over, lively.over, len(server.due)) == (True, False, 1)
        for client in (quiet, lively):
            client.sock.close()


@linux
def test_what_is_held_for_a_client_that_never_reads_is_bounded() -> None:
    with turned(send_buffer=SMALL) as server:
        client = Client(server)
        for _ in range(2_000):
            client.send(b"x" * 10_000)
            server.turn()
        [key] = [key for key in server.selector.get_map().values() if key.data is not None]
        assert 0 < len(key.data) <= survivor.LIMIT
        sent = len(client.sent)
        client.send(b"y")
        assert len(client.sent) == sent  # the pressure has come back to where the bytes come from
        settle(server, [client])
        client.sock.close()


def test_after_stop_what_was_owed_is_paid_and_nothing_is_reset() -> None:
    """Also if the client has sent more than was taken, which close(2) alone would answer by RST."""
    with running() as (server, thread):
        client = Client(server)
        client.sock.settimeout(20)
        other = Client(server)
        sent = 0
        client.sock.setblocking(False)
        blob = random.Random(1).randbytes(20_000_000)
        stuck = [0]

        def pushed() -> bool:
            nonlocal sent
            try:
                sent += client.sock.send(blob[sent : sent + 100_000])
                stuck[0] = 0
            except BlockingIOError:
                stuck[0] += 1
            return stuck[0] > 50

        assert until(pushed)
        server.stop()
        until(lambda: other.receive() or other.over)
        client.sock.settimeout(20)
        got = bytearray()
        while data := client.sock.recv(1 << 20):  # no ConnectionResetError, and then the end
            got += data
        assert 0 < len(got) < sent
        assert blob.startswith(got)
        client.sock.close()
        other.sock.close()
        assert until(lambda: not thread.is_alive())
    assert server.listener.fileno() == -1
    assert not server.due


def test_stop_waits_no_longer_than_grace_for_clients_that_do_not_end() -> None:
    with running(grace=0.0) as (server, thread):
        client, address = Client(server), server.listener.getsockname()
        assert until(lambda: server.due)
        server.stop()
        assert until(lambda: not thread.is_alive())
        client.sock.close()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address)
    assert server.listener.fileno() == -1


def test_a_port_that_is_taken_leaves_nothing_open() -> None:
    with turned() as server:
        with pytest.raises(OSError) as caught:
            EchoServer(server.listener.getsockname()[1])
        assert caught.value.errno == errno.EADDRINUSE


class Refusing(socket.socket):
    """A listener whose accept(2) fails."""

    __slots__ = ()
    number = asked = 0

    def accept(self) -> tuple[socket.socket, object]:
        Refusing.asked += 1
        raise OSError(Refusing.number, os.strerror(Refusing.number))


@pytest.mark.parametrize("number", sorted(survivor.FULL))
def test_without_room_for_another_it_asks_once_in_two_turns(number: int) -> None:
    """And not in each: with a time-out that is not 0 that would be a loop that spins."""
    Refusing.number, Refusing.asked = number, 0
    with turned() as server:
        first = Client(server, False)
        until(lambda: server.turn() or server.due)
        server.listener.__class__ = Refusing
        waiting = Client(server, False)
        for _ in range(20):
            server.turn()
        assert 9 <= Refusing.asked <= 10
        first.send(b"all the same")
        settle(server, [first])
        server.listener.__class__ = socket.socket
        waiting.send(b"in the end")
        settle(server, [waiting])
        for client in (first, waiting):
            client.sock.close()


# --- what it takes for granted of `selectors`: the rest is in test_selectors ----------------------


@pytest.fixture(params=KINDS, ids=lambda kind: kind.__name__)
def selector(request: pytest.FixtureRequest) -> Iterator[selectors.BaseSelector]:
    with request.param() as one:
        yield one


def test_the_end_and_a_reset_come_as_what_was_asked_for(
    selector: selectors.BaseSelector,
) -> None:
    """POLLHUP and POLLERR are folded in, so that a server that waits to write learns of a reset."""
    for wanted in (selectors.EVENT_READ, selectors.EVENT_WRITE):
        with turned() as server:
            client = Client(server, False)
            until(lambda: server.turn() or server.due)
            [sock] = server.due
            selector.register(sock, wanted)
            client.reset()
            assert [mask for _, mask in selector.select(5)] == [wanted]
            selector.unregister(sock)


def test_a_listener_is_never_writable(selector: selectors.BaseSelector) -> None:
    """On which the server relies when it looks away from it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        selector.register(listener, selectors.EVENT_WRITE)
        with socket.create_connection(listener.getsockname()):
            assert selector.select(0.05) == []
            selector.modify(listener, selectors.EVENT_READ)
            assert [mask for _, mask in selector.select(5)] == [selectors.EVENT_READ]


@linux
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_the_server_is_the_same_on_every_selector(
    kind: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(survivor, "DefaultSelector", kind)
    with turned(send_buffer=SMALL) as server:
        assert type(server.selector) is kind
        for seed in range(40):
            misbehave(server, seed)
        assert until(lambda: server.turn() or not server.due)


# --- faults, one by one, in a process of its own --------------------------------------------------


def interrupts(server: Server) -> None:
    server.process.send_signal(signal.SIGINT)


def dies_unread(server: Server) -> None:
    faults.crash(server, unread=True)


FAULTS = [
    (faults.never_read, {}, "BlockingIOError: [Errno 11] Resource temporarily unavailable"),
    (faults.reset, {}, "ConnectionResetError: [Errno 104] Connection reset by peer"),
    (dies_unread, {}, "ConnectionResetError: [Errno 104] Connection reset by peer"),
    (faults.leave_early, {}, "BrokenPipeError: [Errno 32] Broken pipe"),
    (
        lambda server: faults.open_many(server, 20),
        {"files": 16},
        "OSError: [Errno 24] Too many open files",
    ),
    (interrupts, {}, "KeyboardInterrupt"),
]
each_fault = pytest.mark.parametrize(("fault", "options", "words"), FAULTS)


@linux
@each_fault
def test_the_notes_server_dies_of_it(
    fault: Callable[[Server], None], options: dict, words: str
) -> None:
    with serving("notes", **options) as server:
        assert server.echoes()
        fault(server)
        assert server.last_words() == words
        assert not server.alive()


@linux
@pytest.mark.parametrize("name", ["notes", "survivor"])
def test_a_client_that_is_killed_when_it_has_read_everything_ends_as_any_other(name: str) -> None:
    """By FIN: what makes a reset is what lies unread, not the crash."""
    with serving(name) as server:
        faults.crash(server, unread=False)
        assert server.echoes()


@linux
@each_fault
def test_the_survivor_does_not(fault: Callable[[Server], None], options: dict, words: str) -> None:
    with serving("survivor", grace=0.1, **options) as server:
        assert server.echoes()
        fault(server)
        if fault is interrupts:
            assert server.last_words() == ""
        else:
            for client in server.clients:
                client.close() if "files" in options else None
            assert server.echoes(b"as before")
            server.end()
        assert server.process.returncode == 0


@linux
@pytest.mark.parametrize(("name", "survives"), [("notes", False), ("survivor", True)])
def test_an_unread_stdout(name: str, survives: bool) -> None:
    """A pipe holds 65,536 bytes (pipe(7)), and an echo of the notes says some 370 of them."""
    with serving(name, unread=True) as server:
        assert all(server.echoes(b"x" * 900, seconds=3.0) for _ in range(80)) == survives
        assert server.alive()


@linux
@pytest.mark.parametrize(("name", "status"), [("notes", -2), ("survivor", 0)])
def test_a_restart_with_clients_connected(name: str, status: int) -> None:
    with serving(name, **({"grace": 0.1} if name == "survivor" else {})) as server:
        client = server.connect()
        client.sendall(b"x")
        assert client.recv(1) == b"x"
        server.end(signal.SIGINT if name == "notes" else signal.SIGTERM)
        assert server.process.returncode == status
        if name == "survivor":
            with serving(name, port=server.port) as again:
                assert again.echoes()
        else:
            with pytest.raises(OSError, match="in use"), serving(name, port=server.port):
                pass


@linux
def test_a_slow_client_and_a_storm() -> None:
    with serving("survivor", grace=0.1, files=1_200) as server:
        assert faults.byte_by_byte(server, b"slowly", 0.001) == b"slowly"
        assert faults.storm(server, 300) == 300
        assert server.alive()


def test_another_name_is_an_error() -> None:
    with pytest.raises(ValueError, match="notes, survivor, got 'other'"), serving("other"):
        pass


@linux
def test_who_never_reads_waits_for_a_server_that_had_no_core(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It takes nothing while others have the cores; that is not the end."""
    monkeypatch.setattr(faults, "STUCK_S", 0.05)
    asked = iter(["R"] * 5)
    with serving("notes") as server:
        server.process.send_signal(signal.SIGSTOP)  # as long as it is asked, it is not let run

        def state(pid: int, tid: int) -> str:
            told = next(asked, "")
            if not told:
                server.process.send_signal(signal.SIGCONT)
            return told or "R"

        monkeypatch.setattr(faults, "state", state)
        faults.never_read(server)
        assert server.last_words().startswith("BlockingIOError")


# --- how a connection ends: nobody is kept for ever, nobody starves -------------------------------

GONE = """
import select, socket, sys, time
from iosim.echo.survivor import EchoServer
from iosim.machine.wire import loopback, own_network
try: own_network()
except OSError: sys.exit("no namespace")
loopback(up=True)
server = EchoServer(idle=3600.0)
clients = [socket.create_connection(server.listener.getsockname()) for _ in range(3)]
while len(server.due) < 3: server.turn()
clients[1].setblocking(False)
for _ in range(200):  # it takes nothing: in the end it is owed bytes
    try: clients[1].send(bytes(65_536))
    except BlockingIOError: pass
    server.turn()
owed = sum(bool(server.selector.get_key(sock).data) for sock in server.due)
loopback(up=False)
poll = select.poll()
for sock in server.due: poll.register(sock, select.POLLRDHUP)
told = len(poll.poll(0))  # of an end, or a reset
due = [(time.monotonic() + 0.3, unacked) for _, unacked in server.due.values()]
server.due.update(zip(server.due, due, strict=True))
server.idle, end = 0.3, time.monotonic() + 20
while server.due and time.monotonic() < end: server.turn()
print(owed, told, len(server.due))
"""


@linux
def test_a_host_that_is_gone_is_noticed() -> None:
    """Whether something is owed to it or not, and though nothing tells: by the server's clock."""
    words = [sys.executable, "-c", GONE]
    ran = subprocess.run(words, capture_output=True, text=True, timeout=60)
    if "no namespace" in ran.stderr:
        pytest.skip("no network namespace (unshare(2) is refused)")
    assert ran.stdout.split() == ["1", "0", "0"], ran.stderr


@linux
def test_an_end_that_comes_with_the_last_bytes_leaks_nothing() -> None:
    with turned() as server, socket.create_connection(server.listener.getsockname()) as client:
        client.sendall(b"last words")
        client.shutdown(socket.SHUT_WR)
        assert until(lambda: server.turn() or (not server.due and bytes_waiting(client) == 10))
        assert client.recv(100) == b"last words"
        assert client.recv(100) == b""


@linux
def test_a_flood_gets_one_receive_a_turn() -> None:
    """Its bytes never end; the other is answered in the turn in which it is heard."""
    with turned() as server:
        address = server.listener.getsockname()
        with socket.create_connection(address) as flood, socket.create_connection(address) as other:
            flood.setblocking(False)
            assert until(lambda: server.turn() or len(server.due) == 2)
            for turn in range(20):
                for way in (lambda: flood.send(bytes(1 << 20)), lambda: flood.recv(1 << 20)):
                    with suppress(BlockingIOError):
                        way()
                if turn == 10:
                    other.sendall(b"?")
                    heard = [
                        sock for sock in server.due if sock.getpeername() == other.getsockname()
                    ]
                    assert select.select(heard, [], [], 20)[0]
                server.turn()
                if turn == 10:
                    assert select.select([other], [], [], 20)[0]
                    assert other.recv(1) == b"?"
