"""The same plain functions on real sockets: the same calls, and nothing left of them."""

import asyncio
import contextlib
import errno
import os
import selectors
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from test_plain import (
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

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the real kernel here is Linux's")

IN_STEP = clients.paced(3, 6, 2, 100, 5).in_step()
BY_ITSELF = clients.of(clients.echo(3, 100, every_ms=2)).in_step()
ONE = traffic.one(after_ms=20, size=50)
OF_ONE_THREAD = [one for one in SERVERS if one not in (by_threads, by_a_pool, by_socketserver)]


def open_now() -> tuple[set[str], set[threading.Thread]]:
    """Descriptors, by what they are, and threads."""
    links = (f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd"))
    return {os.readlink(link) for link in links if Path(link).exists()}, set(threading.enumerate())


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
