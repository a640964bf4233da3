"""Plain Python on the simulated kernel: ordinary functions, with the library's ordinary modules."""

import asyncio
import contextlib
import fcntl
import ftplib
import functools
import http.client
import io
import os
import queue
import select
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from ftplib import FTP
from time import monotonic, sleep
from typing import Any

import pytest
from paths import ROOT
from plain_results import result
from plain_servers import (
    SERVERS,
    all_of_it,
    answered,
    by_a_pool,
    by_selectors,
    by_streams,
    by_threads,
    one_after_the_other,
    serve,
)
from waiting import bytes_waiting

from iosim import Costs, claims, clients, hunt, simulate, traffic
from iosim.exercises import EXERCISES
from iosim.hunting import Broken
from iosim.plain.kernel import GRACE_NS
from iosim.plain.run import NotSimulated
from iosim.plain.simulate import run_plain

pytestmark = [
    pytest.mark.simulated,
    pytest.mark.skipif(sys.platform != "linux", reason="select, fcntl: Linux's are simulated"),
]

THREE = clients.several(3, clients.echo(2, 100))
ONE = traffic.one(after_ms=20, size=50)


# -- servers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("costs", [Costs.textbook(), Costs.typical()], ids=["textbook", "typical"])
@pytest.mark.parametrize("server", SERVERS)
def test_a_server_serves_its_clients(server: Any, costs: Costs) -> None:
    run = simulate(server, THREE, costs=costs)
    assert answered(run)
    assert run.check() is run
    assert str(run) == str(simulate(server, THREE, costs=costs))


@pytest.mark.parametrize("server", [by_selectors, by_threads, by_streams])
def test_short_writes_and_small_buffers(server: Any) -> None:
    story = clients.several(2, clients.echo(1, 40_000))
    assert answered(simulate(server, story, costs=Costs.typical(), sndbuf=4_096, rcvbuf=2_000))


def test_every_call_is_on_the_lanes_with_its_line() -> None:
    run = simulate(one_after_the_other, clients.several(1, clients.echo(1, 100)))
    names = [call.name for call in run.call_log]
    assert names == ["accept", "recvfrom", "sendto", "recvfrom", "close", "accept"]
    lines = run.source.splitlines()
    said = [lines[(call.line or 0) - run.first_line].strip() for call in run.call_log]
    assert said[0] == "connection, _ = listener.accept()"
    assert said[1:3] == ["while data := connection.recv(1_000):", "connection.sendall(data)"]


# -- asyncio ---------------------------------------------------------------------------------------


def test_the_library_asyncio_runs_in_virtual_time() -> None:
    begun = monotonic()
    assert result(all_of_it, costs=Costs.typical()) == pytest.approx(2 + 0.5 + 2 + 0.5, abs=0.01)
    assert monotonic() - begun < 4


async def both_ends() -> int:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readexactly(300_000))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    reader, writer = await asyncio.open_connection("localhost", port)
    writer.write(b"x" * 300_000)
    back = await reader.read(-1) if False else await reader.readexactly(300_000)
    writer.close()
    server.close()
    return len(back)


def test_both_ends_of_a_connection_may_be_the_programs() -> None:
    assert result(both_ends, costs=Costs.typical()) == 300_000


def test_a_notebooks_own_loop_goes_on() -> None:
    async def cell() -> float:
        loop = asyncio.get_running_loop()
        found: float = result(all_of_it, costs=Costs.typical())
        assert asyncio.get_running_loop() is loop
        await asyncio.sleep(0)
        return found

    assert asyncio.run(cell()) > 4


def test_a_cancelled_task_is_cancelled() -> None:
    async def program() -> list[str]:
        said = []

        async def sleeper() -> None:
            try:
                await asyncio.sleep(100)
            except asyncio.CancelledError:
                said.append("cancelled")
                raise

        task = asyncio.create_task(sleeper())
        await asyncio.sleep(1)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return said

    assert result(program) == ["cancelled"]


# -- threads ---------------------------------------------------------------------------------------


def test_threads_have_their_turns() -> None:
    def program() -> list[int]:
        things: queue.Queue[int] = queue.Queue(maxsize=1)

        def put() -> None:
            for number in range(3):
                sleep(0.01)
                things.put(number)

        threading.Thread(target=put).start()
        return [things.get() for _ in range(3)]

    assert result(program) == [0, 1, 2]


def test_a_condition_an_event_and_a_barrier() -> None:
    def program() -> list[str]:
        said, event, barrier = [], threading.Event(), threading.Barrier(3)
        condition = threading.Condition()

        def wait() -> None:
            with condition:
                condition.wait_for(event.is_set)
            said.append("told")
            barrier.wait()

        waiting = [threading.Thread(target=wait) for _ in range(2)]
        for thread in waiting:
            thread.start()
        sleep(0.1)
        event.set()
        with condition:
            condition.notify_all()
        barrier.wait()
        for thread in waiting:
            thread.join()
        return said

    assert result(program) == ["told", "told"]


def test_a_lock_has_a_time_out() -> None:
    def program() -> tuple[bool, float]:
        lock = threading.Lock()
        lock.acquire()
        before = monotonic()
        return lock.acquire(timeout=2), monotonic() - before

    got, waited = result(program, costs=Costs.typical())
    assert (got, waited) == (False, pytest.approx(2, abs=0.01))


def test_a_thread_that_ends_badly_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    def program() -> None:
        thread = threading.Thread(target=lambda: 1 // 0)
        thread.start()
        thread.join()

    simulate(program)
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_nothing_is_left_of_a_run_that_failed() -> None:
    before = set(threading.enumerate())

    def program() -> None:
        threading.Thread(target=sleep, args=(100,)).start()
        threading.Thread(target=threading.Event().wait, daemon=True).start()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        simulate(program)
    assert set(threading.enumerate()) == before


def test_a_thread_that_never_calls_is_ended_at_the_limit() -> None:
    before = set(threading.enumerate())

    def spin() -> None:
        while True:
            pass

    def program() -> None:
        threading.Thread(target=spin).start()

    with pytest.raises(TimeoutError, match=r"program on the simulated kernel was not over"):
        simulate(program, limit_s=0.2)
    assert set(threading.enumerate()) == before


# -- calls -----------------------------------------------------------------------------------------


def test_a_time_out_is_poll_and_the_call() -> None:
    def program(sock: socket.socket) -> int:
        sock.settimeout(0.005)
        with pytest.raises(TimeoutError, match="timed out"):
            sock.recv(10)
        sock.settimeout(1)
        return len(sock.recv(100))

    outcome = run_plain(program, ONE)
    assert outcome.returned == 50
    names = [call.name for call in outcome.timeline.call_log]
    assert names == ["ioctl", "poll", "ioctl", "poll", "recvfrom"]


def test_a_datagram_is_cut() -> None:
    def program(sock: socket.socket) -> tuple[bytes, int]:
        data, _, flags, _ = sock.recvmsg(10)
        return data, flags

    data, flags = result(program, traffic.one(after_ms=1, size=50, transport="udp"))
    assert (len(data), flags) == (10, socket.MSG_TRUNC)


def test_nonblocking_connect() -> None:
    def program() -> list[int]:
        listener = socket.create_server(("127.0.0.1", 0))
        said = []
        with socket.socket() as sock, selectors.DefaultSelector() as selector:
            sock.setblocking(False)
            said.append(sock.connect_ex(listener.getsockname()))
            selector.register(sock, selectors.EVENT_WRITE)
            selector.select()
            said.append(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
            assert sock.getpeername() == listener.getsockname()
            connection, address = listener.accept()
            assert address == sock.getsockname() == connection.getpeername()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("localhost", 1))
        return said

    assert result(program) == [115, 0]  # EINPROGRESS


def test_the_calls_of_os_and_fcntl() -> None:
    def program(sock: socket.socket) -> list[Any]:
        reader, writer = os.pipe()
        os.set_blocking(reader, False)
        with pytest.raises(BlockingIOError):
            os.read(reader, 1)
        os.write(writer, b"ab")
        said: list[Any] = [os.read(reader, 8), os.get_blocking(writer)]
        sock.recv(10, socket.MSG_PEEK)
        said.append(bytes_waiting(sock))
        said.append(bool(fcntl.fcntl(sock, fcntl.F_GETFL) & os.O_NONBLOCK))
        os.close(reader)
        with pytest.raises(BrokenPipeError):
            os.write(writer, b"!")
        counter = os.eventfd(3)
        said.append(os.eventfd_read(counter))
        return said

    assert result(program, ONE) == [b"ab", True, 50, False, 3]


def test_a_file_of_a_socket() -> None:
    def program() -> list[bytes]:
        one, other = socket.socketpair()
        with one, other:
            one.sendall(b"first\nsecond\n")
            one.shutdown(socket.SHUT_WR)
            with other.makefile("rb") as lines:
                return list(lines)

    assert result(program) == [b"first\n", b"second\n"]


def test_signals_come_between_calls() -> None:
    def program(sock: socket.socket) -> list[Any]:
        said: list[Any] = []
        signal.signal(signal.SIGIO, lambda signo, frame: said.append(signo))
        fcntl.fcntl(sock, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(sock, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)
        sleep(0.1)
        said.append(len(sock.recv(100)))
        return said

    assert result(program, ONE) == [signal.SIGIO, 50]


def test_the_end_of_the_story_is_the_end_of_a_program_that_goes_on() -> None:
    told = []

    def program(sock: socket.socket) -> None:
        try:
            while True:
                sock.recv(100)
        except KeyboardInterrupt:
            told.append("asked to end")
            raise

    outcome = run_plain(program, ONE)
    assert (told, outcome.ended, outcome.error) == (["asked to end"], True, None)
    assert outcome.timeline.run_end < 30_000_000


def test_who_has_timers_has_a_grace() -> None:
    def program(sock: socket.socket) -> None:
        while True:
            sleep(0.04)

    run = simulate(program, ONE)
    assert 20_000_000 + GRACE_NS < run.run_end < 20_000_000 + 2 * GRACE_NS


def test_who_does_not_listen_is_ended_all_the_same() -> None:
    def program(sock: socket.socket) -> None:
        while True:
            try:
                sleep(10)
            except KeyboardInterrupt:
                pass

    assert run_plain(program, ONE).ended


def test_a_server_in_asyncio_is_asked_to_end_in_its_own_way() -> None:
    said = []

    async def program(listener: socket.socket) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            said.append("cancelled")
            raise

    assert run_plain(program, clients.of(clients.script(("wait", 1_000)))).ended
    assert said == ["cancelled"]


# -- what it touches -------------------------------------------------------------------------------

total = 0
lock = threading.Lock()
selector_of_this_module = selectors.DefaultSelector()


def test_nothing_is_patched_for_anybody_else() -> None:
    names = ("socket", "select", "selectors", "signal", "threading", "time", "asyncio", "queue")
    before = [(name, sys.modules[name], dict(vars(sys.modules[name]))) for name in names]
    here = dict(globals())
    simulate(by_streams, THREE)
    simulate(by_a_pool, THREE)
    for name, module, content in before:
        assert sys.modules[name] is module
        assert vars(module) == content, name
    assert globals() == here
    assert serve.__globals__["socket"] is socket


def test_globals_that_the_program_binds_are_bound() -> None:
    def program() -> None:
        global total
        with lock:
            total += 1
        selector_of_this_module.register(socket.socketpair()[0], selectors.EVENT_READ)

    for times in (1, 2):
        simulate(program)
        assert total == times
    assert not lock.locked()
    assert not selector_of_this_module.get_map()


def test_a_method_a_partial_and_a_wrapped_function() -> None:
    class Counter:
        def __init__(self) -> None:
            self.taken = 0

        def program(self, sock: socket.socket) -> None:
            self.taken += self.size(sock)

        def size(self, sock: Any) -> int:
            assert isinstance(sock, socket.socket)
            return len(sock.recv(100))

    counter = Counter()
    simulate(counter.program, ONE)
    assert (counter.taken, type(counter)) == (50, Counter)

    def sized(sock: socket.socket, size: int) -> int:
        return len(sock.recv(size))

    @functools.wraps(sized)
    def around(*args: Any, **options: Any) -> int:
        return sized(*args, **options)

    assert result(functools.partial(sized, size=7), ONE) == 7
    assert result(around, ONE, size=9) == 9


def test_a_class_that_the_program_derives() -> None:
    class Counting(socket.socket):
        taken = 0

        def recv(self, *args: Any) -> bytes:
            data = super().recv(*args)
            Counting.taken += len(data)
            return data

    def program() -> int:
        one, other = socket.socketpair()
        one.sendall(b"abc")
        mine = Counting(other.family, other.type, other.proto, other.detach())
        mine.recv(10)
        return Counting.taken

    assert result(program) == 3


def test_what_is_not_there_is_not_looked_for() -> None:
    with pytest.raises(NotSimulated, match=r"made before the run"), socket.socket() as real:
        simulate(lambda: real.recv(1))


@pytest.mark.parametrize(
    ("program", "says"),
    [
        (lambda: __import__("ssl"), "TLS is not simulated"),
        (lambda: __import__("multiprocessing"), "multiprocessing is not simulated"),
        (lambda: __import__("subprocess").run(["ls"]), "subprocess.run is not simulated"),
        (lambda: socket.socket(type=socket.SOCK_DGRAM), "is not simulated: streams over IPv4 are"),
        (lambda: socket.create_connection(("example.org", 80)), "'example.org' is not simulated"),
        (lambda: os.open("file", os.O_RDONLY), "os.open is not simulated"),
        (lambda: os.fork(), "os.fork is not simulated"),
        (lambda: os.fdopen(os.pipe()[0]), "os.fdopen is not simulated"),
        (lambda: io.FileIO(os.pipe()[0]), "io.FileIO is not simulated"),
        (lambda: io.open(os.pipe()[0]), "io.open is not simulated"),  # noqa: SIM115, UP020
        (lambda: os.closerange(*os.pipe()), "os.closerange is not simulated"),
        (lambda: os.get_inheritable(os.pipe()[0]), "os.get_inheritable is not simulated"),
        (lambda: socket.socket().set_inheritable(True), "os.set_inheritable is not simulated"),
        (lambda: os.stat(os.pipe()[0]), "os.stat of a descriptor is not simulated"),
        (lambda: open("file"), "open is not simulated"),  # noqa: SIM115
        (lambda: time.process_time(), "time.process_time is not simulated"),
        (lambda: signal.sigwaitinfo([1]), "signal.sigwaitinfo is not simulated"),
        (lambda: fcntl.fcntl(0, fcntl.F_GETLK), "is not simulated"),
        (lambda: asyncio.run(asyncio.create_subprocess_exec("ls")), "is not simulated"),
    ],
)
def test_what_is_not_simulated_is_refused_in_one_line(program: Any, says: str) -> None:
    with pytest.raises((NotSimulated, ImportError, socket.gaierror)) as caught:
        simulate(program)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("program", "story", "options", "says"),
    [
        (lambda: None, ONE, {}, "<lambda> is given a socket: too many positional arguments"),
        (lambda one, two: None, ONE, {}, "is given a socket: missing a required argument: 'two'"),
        (lambda sock: None, ONE, {"size": 1}, "has no option 'size'"),
        (lambda sock, size: None, ONE, {"sizes": 1}, "did you mean size"),
        (lambda sock: None, "story", {}, "plain code runs over Traffic, Clients or None, got 'st"),
    ],
)
def test_bad_input_is_told(program: Any, story: Any, options: Any, says: str) -> None:
    with pytest.raises(TypeError) as caught:
        simulate(program, story, **options)
    assert says in str(caught.value)


def test_who_waits_for_ever_is_told_where() -> None:
    def program() -> None:
        held = threading.Lock()
        held.acquire()
        held.acquire()

    with pytest.raises(TimeoutError, match=r"process would wait in futex for ever: nothing more"):
        simulate(program)


def test_an_error_of_the_program_comes_through_with_its_time() -> None:
    def program(sock: socket.socket) -> None:
        sock.recv(10)
        socket.create_connection(("127.0.0.1", 9))

    with pytest.raises(ConnectionRefusedError) as caught:
        simulate(program, ONE)
    assert "ms of virtual time" in caught.value.__notes__[0]


def test_a_generator_without_its_yield_is_still_told() -> None:
    def forgotten(fd: int, nbytes: int) -> None:
        return None

    with pytest.raises(TypeError, match="it has no yield"):
        simulate(forgotten, ONE)  # type: ignore[arg-type]


def test_a_buffer_is_its_owners_again_after_a_send() -> None:
    """Found by the hunt, in asyncio: a traceback kept a view of its bytearray."""

    def program() -> int:
        one, other = socket.socketpair()
        one.setblocking(False)
        buffer, errors = bytearray(b"x" * 500_000), []
        while buffer:
            try:
                del buffer[: one.send(buffer)]
            except BlockingIOError as error:
                errors.append(error)
                other.recv(100_000)
        return len(errors)

    assert result(program) > 0


def test_what_is_thrown_away_closes_nothing_of_the_next_run() -> None:
    kept: list[Any] = []

    def first() -> None:
        kept.append(socket.socketpair())
        kept.append(select.epoll())

    def second() -> bytes:
        one, other = socket.socketpair()
        for thing in (*kept[0], kept[1]):
            thing.close()
        kept.clear()
        one.sendall(b"still open")
        return other.recv(100)

    simulate(first)
    assert result(second) == b"still open"


def test_an_alarm_interrupts_in_virtual_time() -> None:
    def program() -> list[Any]:
        said: list[Any] = []
        signal.signal(signal.SIGALRM, lambda signo, frame: said.append(round(monotonic())))
        assert signal.alarm(2) == 0
        sleep(5)
        signal.setitimer(signal.ITIMER_REAL, 1, 1)
        sleep(2.5)
        assert 0 < signal.alarm(0) <= 1
        sleep(5)
        signal.raise_signal(signal.SIGALRM)
        return said

    assert result(program, costs=Costs.typical()) == [2, 6, 7, 13]


def test_each_task_has_a_lane() -> None:
    """When it runs, and what it waits for; the loop's own tasks have none."""

    async def program(listener: socket.socket) -> None:
        async def tick() -> None:
            for _ in range(2):
                await asyncio.sleep(0.02)

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while data := await reader.read(100):
                writer.write(data)
            writer.close()

        server = await asyncio.start_server(handle, sock=listener)
        asyncio.create_task(tick(), name="the clock")  # noqa: RUF006
        async with server:
            await server.serve_forever()

    run = simulate(program, clients.several(2, clients.echo(1, 100)))
    assert run.check() is run
    assert run.helpers == ("program", "the clock", "handle", "handle (2)")
    notes = {
        lane: {i.note for i in run.intervals if i.lane == lane and i.state == "awaits"}
        for lane in run.helpers
    }
    assert notes == {
        "program": {"start_server", "Server.serve_forever"}, "the clock": {"sleep"},
        "handle": {"StreamReader.read"}, "handle (2)": {"StreamReader.read"},
    }  # fmt: skip
    steps = [i for i in run.intervals if i.lane == "the clock" and i.state == "step"]
    assert len(steps) == 3
    busy = [i for i in run.intervals if i.lane == "process" and i.state in ("user", "kernel")]
    assert all(any(b.start <= s.start < b.end for b in busy) for s in steps)
    assert "T a task runs" in str(run)


def test_a_loop_hears_of_signals() -> None:
    """By a byte in its socketpair: signal.set_wakeup_fd."""

    async def program() -> list[Any]:
        said: list[Any] = []
        loop = asyncio.get_running_loop()
        stopped = asyncio.Event()
        loop.add_signal_handler(signal.SIGALRM, lambda: (said.append("told"), stopped.set()))
        signal.alarm(3)
        await stopped.wait()
        return [*said, round(loop.time())]

    assert result(program, costs=Costs.typical()) == ["told", 3]


def test_signals_are_held_back_and_waited_for() -> None:
    def program() -> list[Any]:
        said: list[Any] = []
        signal.signal(signal.SIGUSR1, lambda signo, frame: said.append("handled"))
        assert signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1, signal.SIGALRM]) == set()
        signal.raise_signal(signal.SIGUSR1)
        said.append("held back")
        signal.pthread_sigmask(signal.SIG_SETMASK, [signal.SIGALRM])
        signal.alarm(1)
        said.append(signal.sigwait([signal.SIGALRM]))
        return said

    assert result(program) == ["held back", "handled", signal.SIGALRM]


def test_what_a_run_has_left_is_no_part_of_another_one() -> None:
    """In the second run its number is that of something else, or of nothing."""
    kept: list[socket.socket] = []

    def keeps(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        kept.append(connection)
        while data := connection.recv(100):
            for one in kept:
                one.sendall(data)

    story = clients.of(clients.echo(1, 10))
    simulate(keeps, story)
    with pytest.raises(OSError, match="Bad file descriptor"):
        kept[0].recv(1)  # nor is it one of this process
    with pytest.raises(NotSimulated, match="is of an earlier run: make it in the program"):
        simulate(keeps, story)

    def in_a_thread(listener: socket.socket) -> None:
        thread = threading.Thread(target=keeps, args=(listener,))
        thread.start()
        thread.join()

    with pytest.raises(NotSimulated, match="is of an earlier run"):
        simulate(in_a_thread, story)


def test_a_program_that_catches_its_end_is_told_so() -> None:
    def program(listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
                while data := connection.recv(100):
                    connection.sendall(data)
            except:  # noqa: E722
                pass

    with pytest.raises(TimeoutError, match=r"it never ends: .* has caught that"):
        simulate(program, clients.of(clients.echo(1, 10)), limit_s=0.3)
    verdict = EXERCISES["serve_owed"].check(program)
    assert verdict.mistake == "catches its own end"
    assert verdict.advice.startswith("Your code catches everything, Ctrl-C as well")


def test_a_program_that_kills_itself_ends_nobody_else() -> None:
    """It has sent the real process a signal."""

    def program() -> list[int]:
        told: list[int] = []
        signal.signal(signal.SIGUSR1, lambda signo, frame: told.append(signo))
        os.kill(os.getpid(), signal.SIGUSR1)
        return told

    assert result(program) == [signal.SIGUSR1]
    for call in (
        lambda: os.kill(1, 0), lambda: os._exit(3), lambda: os.system("true"), lambda: os.abort(),
        lambda: os.killpg(0, 0), lambda: os.execv("/bin/true", []),
    ):  # fmt: skip
        with pytest.raises(NotSimulated, match=r"is not simulated$"):
            simulate(call)
    with pytest.raises(ChildProcessError):
        simulate(lambda: os.waitpid(-1, 0))
    with pytest.raises(RuntimeError, match=r"signal 15 ends process: it has no handler"):
        simulate(lambda: os.kill(os.getpid(), signal.SIGTERM))


def test_of_datagrams_the_next_one_can_be_read() -> None:
    def program(sock: Any) -> list[int]:
        time.sleep(0.1)
        sizes = []
        for _ in range(3):
            sizes.append(bytes_waiting(sock))
            sock.recv(100)
        return sizes

    story = traffic.Traffic(tuple(traffic.Message(1_000, size) for size in (10, 20, 30)))
    assert run_plain(program, story).returned == [10, 20, 30]


def test_an_option_that_would_have_no_effect_is_refused() -> None:
    def program(sock: Any, option: int) -> None:
        sock.setsockopt(socket.SOL_SOCKET, option, 10)

    for option in (socket.SO_RCVLOWAT, socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
        with pytest.raises(NotSimulated, match=r"the option SO_\w+ is not simulated"):
            simulate(program, traffic.one(transport="tcp"), option=option)


def test_msg_waitall_is_for_streams() -> None:
    """Of a datagram there is no more: recv(2)."""

    def program(sock: Any) -> int:
        return len(sock.recv(2_000, socket.MSG_WAITALL))

    assert run_plain(program, traffic.one(size=50)).returned == 50
    with pytest.raises(NotSimulated, match=r"recv\(MSG_PEEK \| MSG_WAITALL\)"):
        simulate(lambda sock: sock.recv(5, socket.MSG_PEEK | socket.MSG_WAITALL), traffic.one())


# -- how a run ends --------------------------------------------------------------------------------


def test_the_end_comes_while_a_call_is_under_way() -> None:
    """asyncio's handler of SIGINT does not raise: the call that it interrupts keeps its reply."""

    async def program(listener: Any) -> None:
        listener.setblocking(False)
        loop = asyncio.get_running_loop()
        while True:
            with contextlib.suppress(OSError):  # EMFILE: no room besides what the loop has
                await loop.sock_accept(listener)
            await asyncio.sleep(0.01)

    for k in range(60):  # at whichever instant of its round
        story = clients.of(clients.script(("wait", 1_000_000 + 170_000 * k), at_ms=1))
        assert run_plain(program, story, nofile=3).error is None


def test_threads_that_wait_for_ever_are_told_by_who_began_the_run(capfd: Any) -> None:
    """It was a ValueError of ours, and a traceback for each of them."""

    def program(listener: Any) -> None:
        def one(connection: Any) -> None:
            while connection.recv(10):
                pass

        while True:
            threading.Thread(target=one, args=(listener.accept()[0],), daemon=True).start()

    waits = clients.script(("receive", 1))
    outcome = run_plain(program, clients.of(waits, waits))
    assert "would wait in accept for ever" in str(outcome.error)
    assert outcome.timeline.call_log[-1].name != "close"
    assert capfd.readouterr() == ("", "")


def test_garbage_of_one_run_makes_no_calls_in_another() -> None:
    def program(listener: Any) -> list[int]:
        import gc

        class Kept:
            def __init__(self) -> None:
                self.me, self.selector = self, selectors.DefaultSelector()
                self.selector.register(listener, selectors.EVENT_READ)

            def __del__(self) -> None:
                self.selector.unregister(listener)
                self.selector.close()

        gc.collect()  # of the run before this one
        one = Kept()
        return [key.fd for key, _ in one.selector.select(0.01)]

    outcomes = [run_plain(program, clients.of(clients.script())) for _ in range(3)]
    assert {outcome.error for outcome in outcomes} == {None}
    assert len({str(outcome.returned) for outcome in outcomes}) == 1
    assert len({len(outcome.timeline.call_log) for outcome in outcomes}) == 1


# -- what engineers write, and what it means here --------------------------------------------------


def by_one_worker() -> int:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(pow, 2, 3).result()


async def _sleeps() -> None:
    await asyncio.sleep(0.001)


async def _in_another_thread() -> int:
    return await asyncio.to_thread(pow, 2, 5)


def test_a_program_after_another_one_is_as_the_first() -> None:
    """A world is used again: nothing in it has been shut down."""
    for before, program, value in (
        (lambda: queue.Queue().put(1), by_one_worker, 8), (_sleeps, _in_another_thread, 32),
    ):  # fmt: skip
        run_plain(before)
        first, again = run_plain(program), run_plain(program)
        assert first.returned == again.returned == value
        assert first.calls() == again.calls()


def test_every_clock_is_the_virtual_one() -> None:
    def program() -> tuple[Any, ...]:
        signal.signal(signal.SIGALRM, signal.SIG_IGN)
        signal.setitimer(signal.ITIMER_REAL, 5)
        left = signal.getitimer(signal.ITIMER_REAL)
        before = time.clock_gettime(time.CLOCK_MONOTONIC)
        time.sleep(0.5)
        passed = time.clock_gettime_ns(time.CLOCK_MONOTONIC) - int(before * 1e9)
        return left, passed, time.localtime().tm_year, time.gmtime().tm_year, time.strftime("%Y")

    left, passed, *years = run_plain(program).returned
    assert left == (pytest.approx(5), 0)
    assert passed == pytest.approx(0.5e9, rel=0.01)
    assert set(map(int, years)) <= {1999, 2000}  # wherever the reader is
    for name in ("process_time", "clock_settime", "thread_time_ns"):
        with pytest.raises(NotSimulated, match=rf"time\.{name} is not simulated"):
            simulate(lambda name=name: getattr(time, name)())


def test_a_sleep_of_nothing_is_a_call_and_others_have_their_turn() -> None:
    def program() -> int:
        count = [0]

        def add() -> None:
            seen = count[0]
            time.sleep(0)
            count[0] = seen + 1

        threads = [threading.Thread(target=add) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return count[0]

    assert simulate(lambda: time.sleep(0)).calls() == [("sleep", None)]
    assert isinstance(hunt(program, claims.returns(2), seconds=20), Broken)


def test_a_pair_whose_other_end_is_closed_hangs_up() -> None:
    def program() -> int:
        ours, other = socket.socketpair()
        other.close()
        asked = select.poll()
        asked.register(ours, select.POLLIN | select.POLLOUT)
        ((_, events),) = asked.poll(1_000)
        with pytest.raises(BrokenPipeError):
            ours.send(b"x")
        return events

    assert run_plain(program).returned == program() == 0x15


def test_a_signal_from_another_thread_is_waited_for() -> None:
    def program() -> int:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
        threading.Timer(0.01, os.kill, (os.getpid(), signal.SIGUSR1)).start()
        return signal.sigwait({signal.SIGUSR1})

    assert run_plain(program).returned == signal.SIGUSR1


def test_a_handler_is_told_what_it_has_interrupted() -> None:
    def program() -> list[str]:
        frames: list[str] = []
        signal.signal(signal.SIGALRM, lambda signo, frame: frames.append(frame.f_code.co_name))
        signal.setitimer(signal.ITIMER_REAL, 0.005)
        time.sleep(0.01)
        return frames

    assert run_plain(program).returned == ["program"]


def test_a_datagram_says_what_it_is_and_who_has_sent_it() -> None:
    def program(sock: socket.socket) -> Any:
        return sock.type, sock.recvfrom_into(bytearray(10))[1]

    kind, (host, _) = run_plain(program, traffic.one(size=5)).returned
    assert (kind, host) == (socket.SOCK_DGRAM, "127.0.0.1")
    tcp = run_plain(lambda sock: sock.type, traffic.one(size=5, transport="tcp"))
    assert tcp.returned == socket.SOCK_STREAM


def test_a_receive_into_several_buffers() -> None:
    def program() -> Any:
        one, other = socket.socketpair()
        one.send(b"abc")
        first, second = bytearray(1), bytearray(4)
        return other.recvmsg_into([first, second])[0], bytes(first), bytes(second)

    assert run_plain(program).returned == program() == (3, b"a", b"bc\0\0")


def test_what_would_make_real_calls_is_not_reached() -> None:
    """http and urllib stand on this floor; what does not, and makes calls, is refused by name."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        port = listener.getsockname()[1]

        class Asker(http.client.HTTPConnection):
            pass

        def asks() -> None:
            http.client.HTTPConnection("127.0.0.1", port).request("GET", "/")

        def asks_as_a_subclass() -> None:
            Asker("127.0.0.1", port).request("GET", "/")

        def opens() -> None:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/")

        for program in (asks, asks_as_a_subclass, opens):
            with pytest.raises(OSError, match="Connection refused"):
                simulate(program)

        def imports() -> None:
            import smtplib

            smtplib.SMTP("127.0.0.1", port)

        with pytest.raises(ImportError, match="smtplib is not simulated"):
            simulate(imports)
        for program in (
            lambda: ftplib.FTP().connect("127.0.0.1", port), lambda: FTP().connect("localhost"),
        ):  # fmt: skip
            with pytest.raises(NotSimulated, match=r"ftplib\.FTP.* not simulated"):
                simulate(program)
        with pytest.raises(BlockingIOError):
            listener.accept()


class Answering:
    """An object that is called."""

    def __call__(self, listener: socket.socket) -> None:
        connection, _ = listener.accept()
        connection.sendall(connection.recv(100))


def test_an_object_that_is_called_is_a_program() -> None:
    run = simulate(Answering(), clients.of(clients.echo(1, 10)))
    assert run.title == "Answering"
    assert len(run.deliveries) == 1


def test_what_is_no_program_is_told_so() -> None:
    for what in (print, len):
        with pytest.raises(TypeError, match=r"built-in function .* is neither plain code"):
            simulate(what)
    with pytest.raises(TypeError, match=r"a claim is a function of a timeline, .* got 'x'"):
        hunt(one_after_the_other, "x", clients.of(clients.echo()))  # type: ignore[arg-type]


def test_what_the_page_says_is_refused_is_refused() -> None:
    page = (ROOT / "docs" / "plain.md").read_text("utf-8")
    refused = page.partition("## What a simulated run refuses")[2].partition("##")[0]
    words = ("TLS", "subprocesses", "`multiprocessing`", "`open`", "`io.FileIO`", "`os.dup`",
             "datagrams of one's", "CPU time", "`smtplib`", "`ftplib`")  # fmt: skip
    assert [word for word in words if word not in refused] == []

    def by_import(name: str) -> Callable[[], Any]:
        return lambda: __import__(name)

    for program in (
        *map(by_import, ("ssl", "multiprocessing", "smtplib", "ftplib")),
        lambda: subprocess.run(["true"], check=True), lambda: os.dup(1), lambda: io.FileIO(1),
        lambda: open(os.devnull),  # noqa: SIM115
        lambda: socket.socket(type=socket.SOCK_DGRAM), lambda: time.process_time(),
    ):  # fmt: skip
        with pytest.raises((NotSimulated, ImportError), match="is not simulated"):
            simulate(program)
