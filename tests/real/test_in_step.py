"""Clients act once all threads of the server wait, however long other work holds the server up.

The faults are planted: servers that come to their wait 100 ms late, where a client is due after 5;
threads that are never seen asleep; a process of the clients that does not look.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise
from typing import Any

import pytest

from iosim import clients, jobs, measure, servers, simulate
from iosim.calls import (
    F_SETFL,
    MSG_DONTWAIT,
    O_NONBLOCK,
    SIZE,
    Program,
    Request,
    accept,
    close,
    compute,
    epoll_create,
    epoll_ctl,
    epoll_wait,
    fcntl,
    getpid,
    ms,
    pthread_create,
    pthread_join,
    recvfrom,
    select,
    send,
    sleep,
)
from iosim.calls.futures import apply
from iosim.real.gate import ServerGate, board_file
from iosim.real.helpers import clients as loop
from iosim.real.helpers.board import BLIND_NS as BLIND
from iosim.real.helpers.board import (
    ENDED,
    JOINS,
    POLLS,
    RUNS,
    SLEEPS,
    THREADS,
    WORKS,
    Board,
    Onlooker,
)
from iosim.trace import READY, SLEEPING, Call, Timeline
from iosim.workloads.clients import AFTER, RECEIVE, RESET, SEND, SHUTDOWN, WAIT, Clients, of, script

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="measures the Linux kernel")

HELD_S = 0.1  # as if the server had no core for so long
NOT_IN_STEP = "clients not in step"


def not_in_step(run: Timeline) -> list[int]:
    """For how many ns it was looked in vain whether the server waits, if the run says so."""
    return [one.ns for one in run.disturbances if one.what == NOT_IN_STEP]


def came_during(call: Call, at: int | None) -> bool:
    """Was the server in its call when a client acted?"""
    return at is not None and call.start < at < call.end


def has_waited(run: Timeline, call: Call) -> bool:
    """It slept in the call; or it was about to, and lost its core to others before that."""
    states = {i.state for i in run.lane(call.process) if i.call == call}
    return bool(states & {SLEEPING, READY})


# -- the order is made -----------------------------------------------------------------------------


def late(listener: int, clients: int) -> Program:
    """Held up before each of its waits."""
    for _ in range(clients):
        time.sleep(HELD_S)
        conn = yield accept(listener)
        time.sleep(HELD_S)
        while (yield recvfrom(conn, SIZE)):
            time.sleep(HELD_S)
        yield close(conn)


TALKS = script((WAIT, ms(5)), (SEND, 10), (WAIT, ms(5)), (SEND, 10), (WAIT, ms(5)), at_ms=5)


def test_each_act_finds_the_server_asleep() -> None:
    run = measure(late, of(TALKS).in_step()).check()
    assert [call.name for call in run.call_log] == ["accept", *["recvfrom"] * 3, "close"]
    (visit,) = run.visits
    acts = [visit.begun, *(fate.sent for fate in run.deliveries), visit.over]
    for call, at in zip(run.call_log[:4], acts, strict=True):
        assert came_during(call, at)
        assert has_waited(run, call)
    assert not_in_step(run) == []


def test_without_it_the_server_is_late() -> None:
    """As it is without: both messages, and the end, are there before it asks for the first."""
    run = measure(late, of(TALKS)).check()
    assert [call.name for call in run.call_log] == ["accept", "recvfrom", "recvfrom", "close"]


def test_the_first_connect_waits_for_every_server() -> None:
    run = measure(late, of(TALKS)).check()
    assert (run.visits[0].begun or 0) > run.call_log[0].start > ms(HELD_S * 1_000)
    at_once = of(clients.echo())  # it comes at 0: nobody can be waiting yet
    assert measure(servers.iterative, at_once).visits[0].begun < ms(HELD_S * 1_000)


def test_the_simulated_kernel_is_never_late() -> None:
    for name in ("thread_per_connection", "reactor_epoll"):
        story = clients.paced(connections=3, messages=6)
        plain, stepped = (
            simulate(servers.SERVERS[name], told) for told in (story, story.in_step())
        )
        assert plain.to_json() == stepped.to_json()
    assert repr(story.in_step()) == repr(story)
    assert story.in_step().stepwise


def test_clients_that_are_due_together_act_one_after_the_other() -> None:
    """Each message finds the loop asleep: it is told of one at a time."""

    def loop(listener: int, clients: int) -> Program:
        epfd = yield epoll_create()
        yield epoll_ctl(epfd, 1, listener)
        while clients:
            for fd in (yield epoll_wait(epfd)):
                time.sleep(HELD_S / 20)
                if fd == listener:
                    yield epoll_ctl(epfd, 1, (yield accept(listener)))
                elif not (yield recvfrom(fd, SIZE)):
                    yield close(fd)
                    clients -= 1

    story = clients.several(4, script((WAIT, ms(5)), (SEND, 10), (WAIT, ms(5)))).in_step()
    run = measure(loop, story).check()
    names = [call.name for call in run.call_log if call.name != "epoll_ctl"]
    assert names[1:] == [*["epoll_wait", "accept"] * 4, *["epoll_wait", "recvfrom"] * 4,
                         *["epoll_wait", "recvfrom", "close"] * 4]  # fmt: skip


def test_the_clients_have_met_with_all_that_the_server_did_before_one_of_them_acts() -> None:
    """The last one connects when the server sleeps again, and by then the first has its answer."""

    def answers(listener: int, clients: int) -> Program:
        conn = yield accept(listener)
        yield recvfrom(conn, SIZE)
        time.sleep(HELD_S)
        yield send(conn, bytes([1]) * 10)
        yield close(conn)
        yield accept(listener)

    first = script((SEND, 10), (RECEIVE, 10), (RECEIVE, 1), at_ms=5)
    run = measure(answers, of(first, script(at_ms=10)).in_step()).check()
    visit, last = run.visits
    assert (visit.end, len(visit.answered)) == ("eof", 1)
    assert visit.over is not None
    assert last.begun is not None
    assert visit.over < last.begun


def test_what_is_due_later_is_later_by_as_much() -> None:
    """Two clients: the second one's instants stay between the first one's."""

    def slow(listener: int, clients: int) -> Program:
        conns = []
        for _ in range(2):
            conns.append((yield accept(listener)))
            time.sleep(HELD_S)
        for conn in (*conns, *conns):
            yield recvfrom(conn, SIZE)
            time.sleep(HELD_S)

    talk = ((WAIT, ms(20)), (SEND, 10)) * 2
    story = of(script(*talk, (AFTER, 9), at_ms=5), script(*talk, (AFTER, 9), at_ms=15))
    run = measure(slow, story.in_step()).check()
    by_time = sorted(run.deliveries, key=lambda fate: fate.sent)
    assert [fate.connection for fate in by_time] == [0, 1, 0, 1]
    for before, after in pairwise(by_time):
        assert before.received is not None
        assert before.received < after.sent


def test_who_does_not_read_waits_for_the_server_to_be_held_up() -> None:
    """To begin to read is an act, too: by then a blocking send sleeps."""

    def fills(listener: int, clients: int) -> Program:
        conn = yield accept(listener)
        time.sleep(HELD_S)
        yield send(conn, bytes(4 << 20))

    greedy = script((RECEIVE, 4 << 20), at_ms=5, rcvbuf=20_000)
    run = measure(fills, of(greedy).in_step(), sndbuf=30_000).check()
    (call,) = (call for call in run.call_log if call.name == "send")
    assert has_waited(run, call)


@pytest.mark.parametrize(("end", "raises"), [(SHUTDOWN, False), (RESET, True)])
def test_an_end_waits_for_the_server_as_well(end: str, raises: bool) -> None:
    def hears_the_end(listener: int, clients: int) -> Program:
        conn = yield accept(listener)
        yield recvfrom(conn, SIZE)
        time.sleep(HELD_S)
        try:
            assert (yield recvfrom(conn, SIZE)) == b""
        except ConnectionResetError:
            assert raises
        else:
            assert not raises

    story = of(script((SEND, 10), (end, 0), at_ms=5) + (() if raises else ((AFTER, 1),)))
    run = measure(hears_the_end, story.in_step()).check()
    assert has_waited(run, run.call_log[-1])


# -- several threads -------------------------------------------------------------------------------


def late_threads(listener: int, clients: int) -> Program:
    """A thread for each client, which is late to its wait; the first thread is in a join."""
    heard: list[bytes] = []

    def hear(conn: int) -> Program:
        time.sleep(HELD_S)
        heard.append((yield recvfrom(conn, SIZE)))
        heard.append((yield recvfrom(conn, SIZE)))

    threads = []
    for _ in range(clients):
        threads.append((yield pthread_create(hear((yield accept(listener))))))
    for thread in threads:
        yield pthread_join(thread)
    assert [len(data) for data in heard] == [10, 0] * clients


def test_threads_that_are_not_started_or_are_over_are_not_waited_for() -> None:
    """The second connects after the first has started its thread, and ends after that is over."""
    story = of(
        script((WAIT, ms(10)), (SEND, 10), (WAIT, ms(5)), at_ms=5),
        script((WAIT, ms(30)), (SEND, 10), (WAIT, ms(5)), at_ms=10),
    ).in_step()
    run = measure(late_threads, story).check()
    for lane, fate, visit in zip(
        ("thread 1", "thread 2"), run.deliveries, run.visits, strict=True
    ):  # fmt: skip
        heard, ended = (call for call in run.call_log if call.process == lane)
        assert came_during(heard, fate.sent)
        assert came_during(ended, visit.over)
    assert not_in_step(run) == []


@pytest.mark.parametrize("name", ["thread_per_connection", "reactor_pool", "signal_driven"])
def test_every_kind_of_server_gets_in_step(name: str) -> None:
    story = clients.several(3, clients.echo(2, 100, every_ms=1), every_ms=1).in_step()
    run = measure(servers.SERVERS[name], story).check()
    assert [visit.end for visit in run.visits] == [""] * 3
    assert not_in_step(run) == []


def sweeps(listener: int, clients: int) -> Program:
    """Never sleeps: asks all, again and again."""
    yield fcntl(listener, F_SETFL, O_NONBLOCK)
    conns: list[int] = []
    while clients:
        with suppress(BlockingIOError):
            conns.append((yield accept(listener)))
        for conn in list(conns):
            with suppress(BlockingIOError):
                if not (yield recvfrom(conn, SIZE, MSG_DONTWAIT)):
                    conns.remove(conn)
                    clients -= 1


def test_who_polls_has_asked_everybody_in_vain_before_each_act() -> None:
    story = clients.several(3, script((WAIT, ms(1)), (SEND, 10), (WAIT, ms(1))), every_ms=0.1)
    run = measure(sweeps, story.in_step()).check()
    assert not_in_step(run) == []
    log = [call for call in run.call_log if call.name in ("accept", "recvfrom")]
    found = [place for place, call in enumerate(log) if call.errno is None]
    assert len(found) == 3 * 3
    assert found[0] > 2
    assert all(after - before > 1 for before, after in pairwise(found))


def test_who_computes_notices_nothing() -> None:
    def computes(listener: int, clients: int) -> Program:
        conn = yield accept(listener)
        yield compute(ms(30))
        assert len((yield recvfrom(conn, SIZE))) == 20

    story = of(script((WAIT, ms(5)), (SEND, 10), (SEND, 10), (AFTER, 1), at_ms=5))
    run = measure(computes, story.in_step()).check()
    assert [call.name for call in run.call_log] == ["accept", "recvfrom"]


# -- it ends ---------------------------------------------------------------------------------------


def too_late(listener: int, clients: int) -> Program:
    """Held up for longer than any client is."""
    yield getpid()
    time.sleep(loop.PATIENCE_NS / 1e9 + HELD_S)
    yield accept(listener)


@pytest.mark.parametrize("stepwise", [False, True])
def test_a_server_that_does_not_wait_is_given_up_and_the_run_says_so(stepwise: bool) -> None:
    run = measure(too_late, Clients((script((AFTER, 1), at_ms=5),), stepwise)).check()
    (ns,) = not_in_step(run)
    assert ns > loop.PATIENCE_NS
    assert ms(5) + loop.PATIENCE_NS < (run.visits[0].begun or 0) < run.call_log[1].start


def test_nothing_is_left() -> None:
    before = len(os.listdir("/proc/self/fd")), threading.active_count()
    for story in (of(TALKS), of(TALKS).in_step()):
        measure(servers.thread_per_connection, clients.several(3, clients.echo(2), 5).in_step())
        with pytest.raises(TimeoutError):
            measure(late_threads, Clients(story.clients * 2, True), limit_s=0.1)
    assert (len(os.listdir("/proc/self/fd")), threading.active_count()) == before


# -- what is written on the board, and what is made of it ------------------------------------------


@pytest.fixture
def board() -> Iterator[Board]:
    with board_file() as file:
        made = Board(file.fileno())
    yield made
    made.close()


class Eyes:
    """Sees of each thread what is set, and a clock that stands still."""

    def __init__(self) -> None:
        self.asleep: dict[int, bool | None] = {}
        self.now = 0

    def look(self, native: int) -> bool | None:
        return self.asleep[native]

    def clock(self) -> int:
        return self.now


@pytest.mark.parametrize(
    ("word", "about", "asleep", "waits"),
    [
        (RUNS, 0, True, False),
        (SLEEPS, 0, True, True),
        (SLEEPS, 0, False, False),
        (WORKS, 0, False, True),
        (JOINS, 1, False, True),
        (JOINS, 2, False, False),  # that one is over: it goes on
        (POLLS, 1, False, False),  # the round may have begun before
        (POLLS, 2, False, True),
        (ENDED, 0, False, True),
    ],
)
def test_whether_a_thread_waits(
    board: Board, word: int, about: int, asleep: bool, waits: bool
) -> None:
    eyes = Eyes()
    for thread in range(3):
        board.begin(thread)
        board.is_native(thread, thread)
    board.say(0, 5, word, about)
    board.say(1, 1, SLEEPS)
    board.end(2)
    eyes.asleep = {0: asleep, 1: True}
    onlooker = Onlooker(board, eyes.look, eyes.clock)
    assert onlooker.all_wait() == waits
    eyes.asleep[1] = False
    assert not onlooker.all_wait()


def test_who_polls_has_to_look_again_after_each_act(board: Board) -> None:
    onlooker = Onlooker(board, lambda native: False, lambda: 0)
    board.begin(0)
    assert not onlooker.all_wait()
    board.say(0, 7, POLLS, 7)
    assert onlooker.all_wait()
    onlooker.acted()
    for rounds, waits in ((7, False), (8, False), (9, True)):
        board.say(0, rounds, POLLS, rounds)
        assert onlooker.all_wait() == waits


@pytest.mark.parametrize(("then", "waits"), [((4, POLLS, 4), True), ((5, POLLS, 3), False),
                                             ((4, RUNS, 0), False)])  # fmt: skip
def test_who_goes_on_while_we_look_does_not_wait(
    board: Board, then: tuple[int, int, int], waits: bool
) -> None:
    """But to poll on in vain is to wait."""

    def look(native: int) -> bool:
        board.say(0, *then)
        return True

    board.begin(0)
    board.begin(1)
    board.say(0, 3, POLLS, 3)
    board.say(1, 1, SLEEPS)
    assert Onlooker(board, look, lambda: 0).all_wait() == waits


def test_a_thread_woken_by_another_that_is_looked_at_later_does_not_wait(board: Board) -> None:
    seen = iter([True, True, False])  # the first one wakes between the looks
    for thread in range(2):
        board.begin(thread)
        board.say(thread, 1, SLEEPS)
    assert not Onlooker(board, lambda native: next(seen), lambda: 0).all_wait()


def test_what_is_not_shown_is_believed_a_little_later(board: Board) -> None:
    eyes = Eyes()
    eyes.asleep[0] = None
    onlooker = Onlooker(board, eyes.look, eyes.clock)
    assert not onlooker.all_wait()  # there is no thread yet
    board.begin(0)
    board.say(0, 1, SLEEPS)
    for now, waits in ((0, False), (BLIND, False), (BLIND + 1, True)):
        eyes.now = now
        assert onlooker.all_wait() == waits
    board.say(0, 2, SLEEPS)
    assert not onlooker.all_wait()


def test_more_threads_than_there_is_room_for_are_never_in_step(board: Board) -> None:
    board.begin(0)
    board.end(0)
    board.begin(THREADS)
    board.is_native(THREADS, 1)
    board.end(THREADS)
    assert board.read() is None
    assert not Onlooker(board, lambda native: True, lambda: 0).all_wait()


@pytest.mark.parametrize(
    ("request_", "waits", "word"),
    [
        (recvfrom(3, 10), True, SLEEPS),
        (recvfrom(3, 10, MSG_DONTWAIT), False, RUNS),
        (select([3], ms(1)), True, SLEEPS),
        (sleep(5), False, SLEEPS),
        (pthread_join(1), False, JOINS),
        (compute(5), False, WORKS),
        (getpid(), False, RUNS),
    ],
)
def test_what_a_thread_says_before_a_call_and_after_it(
    board: Board, request_: Request, waits: bool, word: int
) -> None:
    request_.number = 0  # it was made
    board.begin(0)
    gate = ServerGate(board, 0)
    gate.before(request_, waits, waits or request_.sleeps(False))
    ((said, about, _, native),) = board.read() or []
    assert (said, about, native) == (word, int(word == JOINS), threading.get_native_id())
    gate.after(request_, 1, b"x", None)
    assert (board.read() or [])[0][0] == RUNS


def test_a_round_in_vain_is_counted_and_a_find_ends_the_count(board: Board) -> None:
    board.begin(0)
    gate = ServerGate(board, 0)

    def ask(fd: int, found: bool = False) -> tuple[int, int]:
        request = recvfrom(fd, 10, MSG_DONTWAIT)
        request.number = 0  # it was made
        gate.before(request, False, False)
        gate.after(request, 1, b"x" if found else None, None if found else BlockingIOError(11, ""))
        word, about, *_ = (board.read() or [])[0]
        return word, about

    assert [ask(fd) for fd in (3, 4, 3, 4, 3)] == [
        (RUNS, 0), (RUNS, 0), (POLLS, 1), (POLLS, 1), (POLLS, 2),
    ]  # fmt: skip
    assert ask(4, found=True) == (RUNS, 0)
    assert [ask(fd) for fd in (3, 4, 3)] == [(RUNS, 0), (RUNS, 0), (POLLS, 1)]


# -- what disturbed a run --------------------------------------------------------------------------


def test_servers_and_pools_say_what_disturbed_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault is planted: the scheduler's count says that each thread stood in line."""
    counts = iter(range(0, 10**12, 5_000_000))
    monkeypatch.setattr("iosim.machine.procfs.schedstat", lambda pid, tid: (0, next(counts), 0))

    def asks(jobs: Any) -> Program:
        yield apply(1)

    runs = (
        measure(servers.iterative, of(clients.echo())),
        measure(asks, jobs.of(jobs.waiting(1)), pool="ThreadPoolExecutor", workers=1),
    )
    for run in runs:
        assert ("in line for a core", 5_000_000) in [(d.what, d.ns) for d in run.disturbances]
