"""What select, poll and epoll cost by themselves: sockets to ask about, questions, prices."""

from __future__ import annotations

import os
import select
import sys
import time
from contextlib import ExitStack
from typing import Any

import pytest

from iosim import inconclusive
from iosim.calibration import microbench
from iosim.calibration.microbench import (
    ask_epoll,
    ask_poll,
    ask_select,
    c_poll,
    c_select,
    cost_us,
    hard_limit,
    numbered,
    price_us,
    room,
    sockets,
    wake,
)
from iosim.trace import Disturbance

linux = pytest.mark.skipif(sys.platform != "linux", reason="epoll, /proc and long maps are Linux's")


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def found(answer: Any) -> set[int]:
    """The descriptors of an answer, in whichever form it came."""
    if isinstance(answer, tuple):  # select's three lists
        return set(answer[0])
    return {fd for fd, _ in answer}


# -- sockets -------------------------------------------------------------------------------------


@linux
@pytest.mark.parametrize("ask", [ask_select, ask_poll, ask_epoll])
def test_the_last_ones_are_ready_and_a_question_finds_them(ask: microbench.Ask) -> None:
    before = descriptors()
    with sockets(5, ready=2) as socks, ExitStack() as stack:
        question = ask(socks, stack)
        assert found(question()) == {sock.fileno() for sock in socks[3:]}
        wake(socks[0])
        assert found(question()) == {sock.fileno() for sock in (socks[0], *socks[3:])}
    assert descriptors() == before


@linux
def test_nothing_is_left_open_when_the_reader_fails() -> None:
    before = descriptors()
    with pytest.raises(KeyError), sockets(5):
        raise KeyError
    assert descriptors() == before


@linux
def test_there_is_room_for_more_and_the_limit_comes_back() -> None:
    import resource

    _, hard = limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (300, hard))
    try:
        with room(400):
            assert resource.getrlimit(resource.RLIMIT_NOFILE) == (600, hard)
        with room(1):
            assert resource.getrlimit(resource.RLIMIT_NOFILE) == (300, hard)
        with pytest.raises(OSError), room(0):
            raise OSError
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (300, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert hard_limit() == (hard if hard != resource.RLIM_INFINITY else microbench.MAX_SOCKETS)
    if 0 < hard <= microbench.MAX_SOCKETS:
        with room(hard):
            assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == limits


@linux
def test_a_descriptor_of_a_number_that_one_asks_for() -> None:
    before = descriptors()
    with numbered(300) as first, numbered(300) as second:
        assert (first, second) == (300, 301)
        assert select.select([first, second], [], [], 0)[0] == [first, second]
    with pytest.raises(KeyError), numbered(300):
        raise KeyError
    if hard_limit() < microbench.MAX_SOCKETS:
        with pytest.raises(OSError, match="nvalid"), numbered(hard_limit()):
            pass
    assert descriptors() == before


def test_room_where_there_is_no_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "resource", None)  # as on Windows
    with room(10):
        assert hard_limit() == microbench.MAX_SOCKETS


@pytest.mark.parametrize(
    ("n", "ready", "complaint"),
    [
        (-1, 0, "sockets must be from 0 to 1,048,576 sockets, got -1"),
        (3, 4, "ready must be from 0 to 3 sockets, got 4"),
    ],
)
def test_a_bad_number_is_named(n: int, ready: int, complaint: str) -> None:
    with pytest.raises(ValueError) as error, sockets(n, ready):
        pass
    assert str(error.value) == complaint


def test_a_byte_that_does_not_come(monkeypatch: pytest.MonkeyPatch) -> None:
    class Deaf:
        def sendto(self, *_: Any) -> None: ...

        def getsockname(self) -> None: ...

        def recv(self, *_: Any) -> bytes:
            raise BlockingIOError

    monkeypatch.setattr(microbench, "WAKE_MS", 5)
    with pytest.raises(TimeoutError, match="has not arrived within 5 ms"):
        wake(Deaf())  # type: ignore[arg-type]


# -- as C asks -----------------------------------------------------------------------------------


@linux
@pytest.mark.parametrize("fd", [63, 64, 65, 700, 1_023, 1_024, 1_500])
def test_c_is_asked_for_any_descriptor(fd: int) -> None:
    """The bits of a map stand in C's longs: look at both sides of their edges."""
    import fcntl

    with room(2_000), sockets(2, ready=1) as (silent, ready):
        for sock, answer in ((silent, 0), (ready, 1)):
            copy = fcntl.fcntl(sock, fcntl.F_DUPFD, fd)
            try:
                assert c_select([copy], copy + 1)() == answer
                assert c_poll([copy, -1])() == answer
                assert c_select([copy], copy + 1)() == answer
            finally:
                os.close(copy)


@linux
def test_a_question_of_c_can_be_put_again() -> None:
    """The kernel writes its answer over the map: each call must bring a new one."""
    with sockets(2) as socks:
        fds = [sock.fileno() for sock in socks]
        question, array = c_select(fds, max(fds) + 1), c_poll(fds)
        assert (question(), array()) == (0, 0)
        wake(socks[1])
        assert (question(), array()) == (1, 1)


# -- prices --------------------------------------------------------------------------------------


def spin(us: int) -> None:
    until = time.thread_time_ns() + 1_000 * us
    while time.thread_time_ns() < until:
        pass


@pytest.mark.parametrize("us", [20, 2_000])
def test_a_known_cost_is_found(us: int) -> None:
    assert us <= cost_us(lambda: spin(us)) < 2 * us + 20


@pytest.mark.parametrize(("disturbed", "most"), [(12, 0), (13, 1)])
def test_blocks_that_other_work_disturbed_do_not_count(
    monkeypatch: pytest.MonkeyPatch, disturbed: int, most: int
) -> None:
    """As long as half of them were left alone; and each is tried a few times."""
    bad = [microbench.Price(99)] * (microbench.TRIES * disturbed)
    prices = bad + [microbench.Price(1)] * (25 - disturbed)
    for price in bad:
        price.disturbances = (Disturbance("in line for a core", 2_000_000),)
    left = iter([microbench.Price(0), microbench.Price(0), *prices])
    monkeypatch.setattr(microbench, "_block", lambda call, calls: next(left))
    price = cost_us(int)
    assert float(price) == 1
    assert len(price.disturbances) == most
    assert next(left, None) is None


def test_sleep_costs_next_to_nothing() -> None:
    assert cost_us(lambda: time.sleep(0.005)) < 2_500


@linux
def test_a_scan_grows_with_the_descriptors_and_epoll_with_the_ready_ones() -> None:
    asks = ask_poll, ask_select, ask_epoll
    few, many = ([price_us(ask, n) for ask in asks] for n in (5, 500))
    some, all_ready = (price_us(ask_epoll, 500, ready) for ready in (5, 500))
    if not inconclusive(*few, *many, some, all_ready):
        assert all(b > 5 * a for a, b in zip(few[:2], many[:2], strict=True))
        assert many[2] < 4 * few[2]
        assert all_ready > 5 * some


@linux
def test_questions_that_are_compared_are_asked_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    asks: dict[str, microbench.Ask] = {
        name: lambda socks, stack, name=name: lambda: asked.append(name)  # type: ignore[misc]
        for name in ("a", "b")
    }
    monkeypatch.setattr(microbench, "MAX_CALLS", 1)
    monkeypatch.setattr(microbench, "undisturbed", lambda make, **_: make())
    assert list(microbench.prices_us(asks, 3)) == ["a", "b"]
    assert asked == [*"abab", *"ab" * microbench.BLOCKS]


@linux
def test_a_system_without_epoll_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(select, "epoll")
    with pytest.raises(AttributeError):
        price_us(ask_epoll, 1)
