"""The same plain functions on real sockets: the same calls, and nothing left of them."""

import asyncio
import contextlib
import errno
import fcntl
import functools
import gc
import http.client
import http.server
import os
import select
import selectors
import signal
import socket
import sys
import threading
import time
from collections import Counter
from typing import Any

import pytest
from plain_servers import (
    SERVERS,
    all_of_it,
    answered,
    by_a_pool,
    by_socketserver,
    by_threads,
    one_after_the_other,
)

from iosim import (
    Costs,
    clients,
    compare,
    draw,
    inconclusive,
    measure,
    predict,
    simulate,
    traffic,
    undisturbed,
)
from iosim.trace.comparison import Comparison

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="the real kernel here is Linux's"),
    pytest.mark.usefixtures("threads_told"),
]

IN_STEP = clients.paced(3, 6, 2, 100, 5).in_step()
BY_ITSELF = clients.of(clients.echo(3, 100, every_ms=2)).in_step()
ONE = traffic.one(after_ms=20, size=50)
OF_ONE_THREAD = [one for one in SERVERS if one not in (by_threads, by_a_pool, by_socketserver)]


def open_now() -> tuple[Counter[str], set[threading.Thread]]:
    """Descriptors, by what they are (all epolls have one name), and threads."""
    there = Counter[str]()
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # that of the listing itself
            there[os.readlink(f"/proc/self/fd/{name}")] += 1
    return there, set(threading.enumerate())


def calls_of(run: Any) -> list[tuple[str, int | None]]:
    return [(call.name, call.errno) for call in run.call_log]


@pytest.mark.parametrize("server", SERVERS)
def test_a_server_serves_its_clients(server: Any) -> None:
    before = open_now()
    run = measure(server, clients.several(3, clients.echo(2, 100)))
    assert answered(run)
    assert run.check() is run
    assert open_now() == before


@pytest.mark.parametrize("server", OF_ONE_THREAD)
def test_it_makes_the_same_calls_on_both_kernels(server: Any) -> None:
    """One client acts at a time, once the server waits: the order is made."""
    story = BY_ITSELF if server is one_after_the_other else IN_STEP
    run = undisturbed(lambda: measure(server, story))
    told: Comparison = compare(simulate(server, story, costs=Costs.typical()), run)
    same = "calls: identical" in str(told) and "the same row" in str(told)
    assert same or inconclusive(run), str(told)


def test_a_socket_of_traffic() -> None:
    def program(sock: socket.socket) -> None:
        sock.settimeout(30)
        sock.recv(100)
        sock.settimeout(None)
        while sock.recv(100):
            pass

    story = traffic.several(2, every_ms=20, size=50).in_step()
    runs = [simulate(program, story, costs=Costs.typical()), measure(program, story)]
    assert calls_of(runs[0]) == calls_of(runs[1])
    assert [name for name, _ in calls_of(runs[0])][:4] == ["ioctl", "poll", "recvfrom", "ioctl"]
    assert [one.size for one in runs[1].deliveries] == [50, 50]


def test_without_a_story() -> None:
    def program() -> None:
        reader, writer = os.pipe()
        os.write(writer, b"abc")
        assert os.read(reader, 10) == b"abc"
        time.sleep(0.001)

    before = open_now()
    names = [("pipe", None), ("write", None), ("read", None), ("sleep", None)]
    assert calls_of(measure(program)) == calls_of(simulate(program)) == names
    assert open_now() == before


def test_a_coroutine_in_a_notebook_whose_loop_runs() -> None:
    import asyncio

    async def cell() -> None:
        loop = asyncio.get_running_loop()

        async def program() -> None:
            await asyncio.sleep(0.01)

        measure(program)
        assert asyncio.get_running_loop() is loop
        await asyncio.sleep(0)

    asyncio.run(cell())


def test_all_of_asyncio() -> None:
    async def hurried() -> None:
        import asyncio

        assert await asyncio.to_thread(sum, (1, 2)) == 3
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.sleep(5), 0.01)

    measure(hurried)
    assert callable(all_of_it)


def test_nothing_is_left_of_a_run_that_failed() -> None:
    before = open_now()

    def program(listener: socket.socket) -> None:
        selector = selectors.DefaultSelector()
        selector.register(listener, selectors.EVENT_READ)
        one, _other = socket.socketpair()
        os.pipe()
        threading.Thread(target=one.recv, args=(1,), daemon=True).start()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        measure(program, clients.of(clients.echo()))
    assert open_now() == before


def test_the_limit_ends_it() -> None:
    before = open_now()

    def program(sock: socket.socket) -> None:
        while True:
            try:
                sock.recv(10)
            except KeyboardInterrupt:
                pass

    with pytest.raises(TimeoutError, match=r"program was not over after 0.5 s"):
        measure(program, traffic.one(after_ms=1), limit_s=0.5)
    assert open_now() == before


def test_it_is_predicted_and_compared() -> None:
    told = compare(
        predict(one_after_the_other, BY_ITSELF, costs=Costs.typical()),
        measure(one_after_the_other, BY_ITSELF),
    )
    assert str(told)


def test_nothing_is_patched() -> None:
    names = ("socket", "select", "selectors", "threading", "time", "asyncio", "os")
    before = [(sys.modules[name], dict(vars(sys.modules[name]))) for name in names]
    measure(one_after_the_other, clients.of(clients.echo()))
    for module, content in before:
        assert vars(module) == content


def test_where_ctrl_c_is_ignored_it_ends_all_the_same() -> None:
    """As in the background of a shell: nohup, and many a CI."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert answered(measure(one_after_the_other, clients.of(clients.echo())))
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_no_handler_of_the_program_outlasts_it() -> None:
    def program() -> None:
        signal.signal(signal.SIGUSR1, lambda signo, frame: None)

    before = signal.getsignal(signal.SIGUSR1)
    measure(program)
    assert signal.getsignal(signal.SIGUSR1) is before


@pytest.mark.parametrize("name", ["backlog", "nofile", "rcvbuf", "sndbuf"])
def test_bad_options_of_a_run_are_named(name: str) -> None:
    with pytest.raises(ValueError, match=f"^{name} must be from "):
        measure(one_after_the_other, BY_ITSELF, **{name: -1})


def test_what_a_real_kernel_cannot_be_told_is_no_option() -> None:
    for story, name in ((traffic.one(), "nofile"), (traffic.one(), "sndbuf"), (None, "rcvbuf")):
        with pytest.raises(TypeError, match=f"has no option '{name}': its options are "):
            measure(one_after_the_other, story, **{name: 1})


@pytest.mark.parametrize("story", [None, clients.of(clients.script())], ids=["none", "clients"])
def test_both_kernels_count_the_descriptors_of_the_program_and_no_others(story: Any) -> None:
    """Not those of the instruments, also where a thread begins."""
    opened: list[Any] = []

    def program(*listener: Any) -> None:
        done = threading.Thread(target=time.sleep, args=(0.001,))
        done.start()
        done.join()
        with contextlib.ExitStack() as kept:
            for count in range(10):
                try:
                    kept.enter_context(socket.socket())
                except OSError as error:
                    opened.append((count, error.errno))
                    return

    for nofile in (0, 3):
        simulate(program, story, nofile=nofile)
        measure(program, story, nofile=nofile)
    assert opened == [(0, errno.EMFILE)] * 2 + [(3, errno.EMFILE)] * 2


def test_each_task_has_a_lane_on_both_kernels() -> None:
    """The same tasks, which wait for the same things in the same order."""

    async def program(listener: Any) -> None:
        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while data := await reader.read(100):
                await asyncio.sleep(0)
                writer.write(data)
            writer.close()

        async with await asyncio.start_server(handle, sock=listener) as server:
            await server.serve_forever()

    predicted, run = (kernel(program, IN_STEP).check() for kernel in (simulate, measure))
    assert run.helpers == predicted.helpers
    assert len(run.helpers) == 1 + len(IN_STEP)
    for lane in run.helpers:
        awaits, measured = (
            [i.note for i in each.intervals if i.lane == lane and i.state == "awaits"]
            for each in (predicted, run)
        )
        assert measured == awaits
        assert {"StreamReader.read", "sleep"} & {*awaits} or lane == "program"


# -- when data came --------------------------------------------------------------------------------


def test_what_nobody_fetches_lies_in_the_queue_from_its_send_on() -> None:
    """The server is with the first client; the second one has sent long ago."""
    first = clients.script(("send", 10), ("receive", 10), ("wait", 60_000_000))
    second = clients.script(("send", 10), ("receive", 10), at_ms=1)
    run = measure(one_after_the_other, clients.of(first, second)).check()
    fates = {fate.connection: fate for fate in run.deliveries}
    closes = [call for call in run.call_log if call.name == "close"]
    queued = [i for i in run.intervals if i.message == fates[1].message and i.state == "queued"]
    assert fates[1].sent <= fates[1].arrived < closes[0].start < fates[1].received
    assert queued[0].start == fates[1].arrived


def test_what_may_have_been_held_up_is_left_open() -> None:
    """A buffer is too small for what was sent: when each byte came, nobody knows."""

    def reads(listener: Any) -> None:
        connection, _ = listener.accept()
        with connection:
            while connection.recv(500):
                time.sleep(0.001)

    run = measure(reads, clients.of(clients.script(("send", 60_000))), rcvbuf=1).check()
    assert {fate.sent for fate in run.deliveries} == {None}
    slept = {i.call for i in run.intervals if i.state == "sleeping"}
    copies = [i for i in run.intervals if i.state == "copy"]
    at_once = {i.message for i in copies} - {i.message for i in copies if i.call in slept}
    assert at_once
    assert not [i for i in run.intervals if i.state == "wait" and i.message in at_once]
    assert "blank: not known" in str(run)
    assert "blank: not known" in draw.svg(run)


def test_datagrams_come_when_they_are_sent() -> None:
    def late(sock: Any) -> None:
        time.sleep(0.2)
        for _ in range(3):
            sock.recv(100)

    run = undisturbed(lambda: measure(late, traffic.burst(3, 10, 20)).check())
    if inconclusive(run):  # the sender may be late
        return
    [nap] = [call for call in run.call_log if call.name == "sleep"]
    assert all(fate.sent <= fate.arrived < nap.end for fate in run.deliveries)


# -- what is nobody's call, and what is left -------------------------------------------------------


def selects(sock: socket.socket) -> bytes:
    with selectors.DefaultSelector() as selector:
        selector.register(sock, selectors.EVENT_READ)
        selector.select()  # -1 ms: for ever
        return sock.recv(2_000)


def asks_again(sock: socket.socket) -> bytes:
    sock.settimeout(0.02)
    while True:
        with contextlib.suppress(TimeoutError):
            return sock.recv(2_000)


def pauses(sock: socket.socket) -> bytes:
    came: list[int] = []
    signal.signal(signal.SIGIO, lambda signo, frame: came.append(signo))
    fcntl.fcntl(sock, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(sock, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)
    while not came:
        signal.pause()
    return sock.recv(2_000)


def joins(sock: socket.socket) -> bytes:
    got: list[bytes] = []
    thread = threading.Thread(target=lambda: got.append(sock.recv(2_000)))
    thread.start()
    thread.join()
    return got[0]


@pytest.mark.parametrize("program", [selects, asks_again, pauses, joins])
def test_the_sender_sees_that_it_waits(program: Any) -> None:
    before = open_now()
    assert measure(program, ONE).deliveries[0].received is not None
    assert open_now() == before


def test_who_has_been_woken_and_has_no_core_yet_is_not_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is in its call still, as who waits for ever is; its data is there."""
    looks = iter(["R"] * 30)
    seen: list[str] = []

    def sample(pid: int | str, tid: int) -> tuple[str, str, str]:
        seen.append(next(looks, "S"))
        return seen[-1], "", "recvfrom"

    def once_too_often(sock: socket.socket) -> None:
        sock.recv(2_000)
        sock.recv(2_000)

    monkeypatch.setattr("iosim.machine.procfs.sample", sample)
    run = measure(once_too_often, ONE)
    assert len(run.deliveries) == 1
    assert seen[30:] == ["S"] * 3


def catches_everything(listener: socket.socket) -> None:
    while True:
        try:
            inner(listener)
        except:  # noqa: E722
            pass


def inner(listener: socket.socket) -> None:
    try:
        while True:
            with contextlib.suppress(BaseException):
                connection, _ = listener.accept()
                while data := connection.recv(100):
                    connection.sendall(data)
    except:  # noqa: E722, the last line that it runs
        pass


def test_who_catches_everything_is_ended_all_the_same() -> None:
    """By `except:` at three levels, each of which it leaves by the next line."""
    before, tracer = open_now(), functools.partial(lambda *_: None)  # no function of this module
    sys.settrace(tracer)
    try:
        with pytest.raises(TimeoutError, match=r"was not over after 0\.5 s"):
            measure(catches_everything, clients.of(clients.echo(1, 20)), limit_s=0.5)
        assert sys.gettrace() is tracer
    finally:
        sys.settrace(None)
    assert open_now() == before


def _accept_for_ever(listener: socket.socket) -> None:
    while True:
        connection, _ = listener.accept()
        with connection:
            while data := connection.recv(1_000):
                connection.sendall(data)


def begins_and_joins(listener: socket.socket) -> None:
    threads = [threading.Thread(target=_accept_for_ever, args=(listener,)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def begins_and_ends(listener: socket.socket) -> None:
    threading.Thread(target=_accept_for_ever, args=(listener,)).start()
    time.sleep(0.05)


def begins_and_raises(listener: socket.socket) -> None:
    threading.Thread(target=_accept_for_ever, args=(listener,)).start()
    raise KeyError("nobody")


def closes_it_under_accept(listener: socket.socket) -> None:
    listener.accept()
    threading.Thread(target=_accept_for_ever, args=(listener,)).start()
    time.sleep(0.05)
    listener.close()


def closes_it_under_epoll_wait(listener: socket.socket) -> None:
    listener.accept()
    interest = select.epoll()
    threading.Thread(target=interest.poll).start()
    time.sleep(0.05)
    interest.close()


@pytest.mark.parametrize(
    "program",
    [begins_and_joins, begins_and_ends, begins_and_raises, closes_it_under_accept,
     closes_it_under_epoll_wait],
)  # fmt: skip
def test_no_thread_of_the_program_outlasts_it(program: Any, threads_told: list[Any]) -> None:
    before = open_now()
    with contextlib.suppress(KeyError):
        measure(program, clients.of(clients.echo(1, 10)))
    assert open_now() == before
    assert threads_told == []


def test_a_thread_that_nothing_can_end_is_told() -> None:
    over = threading.Event()

    def waits(listener: socket.socket) -> None:
        threading.Thread(target=lambda: over.wait(), name="the waiter", daemon=True).start()

    try:
        with pytest.warns(ResourceWarning, match="the waiter of the program goes on after its run"):
            measure(waits, clients.of(clients.echo(1, 10)))
    finally:
        over.set()


def waits_at_its_end(listener: socket.socket) -> None:
    connection, _ = listener.accept()

    def waits() -> None:
        interest = select.epoll()
        interest.register(connection, select.EPOLLIN)
        interest.poll()

    threading.Thread(target=waits).start()
    time.sleep(0.05)
    connection.close()


def test_an_interest_list_that_is_thrown_away_is_closed_in_the_end() -> None:
    before = len(os.listdir("/proc/self/fd"))
    gc.disable()  # which would find it, sooner or later
    try:
        for _ in range(3):
            measure(waits_at_its_end, clients.of(clients.script(("wait", 200_000_000))))
    finally:
        gc.enable()
    assert len(os.listdir("/proc/self/fd")) == before


def reads_by_a_file() -> bytes:
    r, w = os.pipe()
    with os.fdopen(r, "rb") as file:
        os.write(w, b"x")
        os.close(w)
        return file.read()


def makes_nonblocking_ends() -> tuple[int, int]:
    return os.pipe2(os.O_NONBLOCK)


def test_the_ends_of_a_pipe_are_closed_and_nothing_else() -> None:
    kept: list[int] = []

    def number_is_used_again() -> None:
        r, w = os.pipe()
        os.fdopen(r, "rb").close()
        os.close(w)
        kept.append(os.dup(1))

    before = open_now()
    assert measure(reads_by_a_file).calls()[0] == ("pipe", None)
    assert measure(makes_nonblocking_ends).calls() == [("pipe", None)]
    assert open_now() == before
    measure(number_is_used_again)
    os.close(kept[0])


def test_http_is_taken_down() -> None:
    def program() -> None:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: Any) -> None: ...

        with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
            thread = threading.Thread(target=server.handle_request)
            thread.start()
            asker = http.client.HTTPConnection(*server.server_address)
            asker.request("GET", "/")
            assert asker.getresponse().status == 204
            asker.close()
            thread.join()

    for run in (simulate(program), measure(program)):
        assert {"accept", "connect"} <= {name for name, _ in run.calls()}
