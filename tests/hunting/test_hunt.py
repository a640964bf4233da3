"""The hunt: it finds what breaks a program, makes it small, and can do it again."""

import contextlib
import os
import select
import selectors
import signal
import socket
import sys
import threading
from dataclasses import replace
from typing import Any

import pytest

from iosim import Timeline, clients, simulate, traffic
from iosim.calls import ms
from iosim.calls.request import never_yielded
from iosim.hunting import Broken, Held, Space, hunt
from iosim.hunting.choices import Choices
from iosim.hunting.claims import (
    all_of,
    clean_end,
    everybody_is_served,
    memory_below,
    nothing_lost,
    returns,
)
from iosim.hunting.space import told, varied
from iosim.plain.run import NotSimulated
from iosim.plain.simulate import run_plain

pytestmark = [
    pytest.mark.simulated,
    pytest.mark.skipif(sys.platform != "linux", reason="select, fcntl: Linux's are simulated"),
]
TEN = traffic.stream(b"0123456789")
TWO = clients.several(2, clients.echo(2, 30))


def once(sock: socket.socket, size: int = 10) -> bytes:
    return sock.recv(size)


def until_there(sock: socket.socket, size: int = 10) -> bytes:
    data = b""
    while len(data) < size:
        data += sock.recv(size - len(data))
    return data


def test_one_recv_is_not_one_message() -> None:
    found = hunt(once, returns(b"0123456789"), TEN)
    assert isinstance(found, Broken)
    assert (found.kind, found.call) == (
        "claim",
        f"seen after call 1, recvfrom, line {found.timeline.call_log[0].line}",
    )
    assert found.words == "it returned b'0', not b'0123456789'"
    first, second = found.story.messages  # type: ignore[union-attr]
    assert (first.content, second.content) == (b"0", b"123456789")
    run = simulate(lambda sock: once(sock), found.story)
    assert run.call_log[0].nbytes == 1


def test_what_holds_is_said_to() -> None:
    held = hunt(until_there, returns(b"0123456789"), TEN, cases=300)
    assert isinstance(held, Held)
    assert (held.cases, held.all, held.broken) == (300, False, False)


def test_a_small_space_is_searched_wholly() -> None:
    space = Space(TEN, delays=(), cuts=False)
    held = hunt(once, returns(b"0123456789"), space)
    assert isinstance(held, Held)
    assert held.all
    assert held.cases < 10


def test_the_same_seed_finds_the_same_case() -> None:
    found = [hunt(until_there, late, TWO_MESSAGES, seed=5) for _ in range(2)]
    assert str(found[0]) == str(found[1])


TWO_MESSAGES = traffic.stream(b"01234", b"56789", every_ms=1)


def late(run: Timeline) -> bool:
    return run.run_end < 300_000_000


@pytest.mark.parametrize("seed", range(5))
def test_it_is_the_smallest_case(seed: int) -> None:
    found = hunt(until_there, late, TWO_MESSAGES, seed=seed)
    assert isinstance(found, Broken)
    assert found.words == "late does not hold"
    assert sum(map(bool, found.row)) == 2  # two delays of 200 ms


def test_a_call_that_is_refused_at_the_end_was_not_forgotten() -> None:
    """A generator that runs next in this thread is not blamed for it."""

    def spins(sock: socket.socket) -> None:
        try:
            sock.setblocking(False)
            while True:
                with contextlib.suppress(BlockingIOError):
                    sock.recv(10)
        finally:
            select.epoll()

    never_yielded.begin()
    found = hunt(spins, within=Space(traffic.one(after_ms=900), in_vain=20))
    assert isinstance(found, Broken)
    assert found.kind == "spins"
    assert never_yielded.lines == []


def test_who_takes_an_end_for_nothing_spins() -> None:
    found = hunt(until_there, None, TEN.then("eof"), size=11)
    assert isinstance(found, Broken)
    assert (found.kind, found.words) == ("spins", "it spins: 100 calls, and no progress")


def test_who_waits_for_what_never_comes_is_stuck() -> None:
    def program(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        until_there(connection, 31)

    found = hunt(program, None, TWO)
    assert isinstance(found, Broken)
    assert found.kind == "stuck"
    assert "would wait in recvfrom for ever" in found.words


def test_what_it_raises_is_told() -> None:
    def program(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        while data := connection.recv(100):
            connection.sendall(data)

    found = hunt(program, None, Space(TWO, faults=("reset",)))
    assert isinstance(found, Broken)
    assert (found.kind, "ConnectionResetError" in found.words) == ("error", True)
    assert any(kind == "reset" for one in found.story.clients for kind, _ in one.steps)  # type: ignore[union-attr]


def test_a_program_that_goes_on_for_ever_is_stopped() -> None:
    def program(listener: socket.socket) -> None:
        one, other = socket.socketpair()
        while True:
            one.send(b"!")
            other.recv(1)

    found = hunt(program, None, Space(TWO, calls=500))
    assert isinstance(found, Broken)
    assert (found.kind, found.words) == ("endless", "it never ends: 500 calls")


def echo(listener: socket.socket, careful: bool) -> None:
    """An echo server; one that is not careful drops what a send does not take."""
    listener.setblocking(False)
    owed: dict[Any, bytes] = {}
    with selectors.DefaultSelector() as selector:
        selector.register(listener, selectors.EVENT_READ)
        while True:
            for key, mask in selector.select():
                sock: Any = key.fileobj
                if sock is listener:
                    new, _ = listener.accept()
                    new.setblocking(False)
                    selector.register(new, selectors.EVENT_READ)
                    owed[new] = b""
                    continue
                if mask & selectors.EVENT_READ:
                    if not (data := sock.recv(1_000)):
                        selector.unregister(sock)
                        sock.close()
                        continue
                    owed[sock] += data
                try:
                    count = sock.send(owed[sock])
                except BlockingIOError:
                    count = 0
                owed[sock] = owed[sock][count:] if careful else b""
                selector.modify(sock, selectors.EVENT_WRITE if owed[sock] else selectors.EVENT_READ)


def test_a_short_write_is_found() -> None:
    found = hunt(echo, nothing_lost, TWO, careful=False)
    assert isinstance(found, Broken)
    assert found.words == "client 0 got 1 of 60 bytes" or found.kind == "stuck"
    assert not hunt(echo, all_of(nothing_lost, everybody_is_served(within_ms=5_000)), TWO,
                    careful=True, cases=400).broken  # fmt: skip


def test_a_lost_wake_up_is_found() -> None:
    """A signal between the look and the sleep; and a program that has none of it."""

    def lost() -> str:
        told: list[int] = []
        signal.signal(signal.SIGUSR1, lambda signo, frame: told.append(signo))
        while not told:
            signal.pause()
        return "told"

    def kept() -> str:
        reader, writer = os.pipe()
        signal.signal(signal.SIGUSR1, lambda signo, frame: os.write(writer, b"!"))
        os.read(reader, 1)
        return "told"

    space = Space(signals=(signal.SIGUSR1,))
    found = hunt(lost, returns("told"), space)
    assert isinstance(found, Broken)
    assert (found.kind, sum(map(bool, found.row))) == ("stuck", 1)
    held = hunt(kept, returns("told"), space)
    assert isinstance(held, Held)
    assert held.all


def test_a_race_of_threads_is_found() -> None:
    """Looked, then slept: the other thread comes in between."""

    def program(careful: bool) -> str:
        reader, writer = os.pipe()
        waiting: list[int] = []

        def wake() -> None:
            if careful or waiting:
                os.write(writer, b"!")

        thread = threading.Thread(target=wake)
        thread.start()
        waiting.append(1)
        os.read(reader, 1)
        return "woken"

    found = hunt(program, returns("woken"), Space(), careful=False, cases=200)
    assert isinstance(found, Broken)
    assert found.kind == "stuck"
    assert not hunt(program, returns("woken"), Space(), careful=True, cases=100).broken


def test_a_spurious_readiness_is_found() -> None:
    def program(listener: socket.socket, nonblocking: bool) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(listener, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select():
                    sock: Any = key.fileobj
                    if sock is listener:
                        new, _ = listener.accept()
                        new.setblocking(not nonblocking)
                        selector.register(new, selectors.EVENT_READ)
                        continue
                    try:
                        data = sock.recv(100)
                    except BlockingIOError:
                        continue
                    if data:
                        sock.sendall(data)
                    else:
                        selector.unregister(sock)
                        sock.close()

    late = clients.of(
        clients.script(("wait", ms(400)), ("send", 5), ("receive", 5)), clients.echo(1, 5)
    )
    space = Space(late, delays=(ms(10),), cuts=False, spurious=True, short_writes=False)
    claim = everybody_is_served(within_ms=300)
    assert hunt(program, claim, space, nonblocking=False).broken
    assert not hunt(program, claim, space, nonblocking=True, cases=300).broken


def test_no_descriptor_left_is_found() -> None:
    def program(listener: socket.socket) -> None:
        while True:
            connection, _ = listener.accept()
            with connection:
                while data := connection.recv(100):
                    connection.sendall(data)

    one = clients.of(clients.echo(1, 5))
    found = hunt(program, None, Space(one, full=1))
    assert isinstance(found, Broken)
    assert "Too many open files" in found.words


def test_memory_and_a_clean_end_are_claims() -> None:
    def hoards(listener: socket.socket, closes: bool) -> None:
        connection, _ = listener.accept()
        data = until_there(connection, 60)
        connection.sendall(data)
        if closes:
            connection.close()

    story = clients.of(clients.script(("send", 60), ("receive", 60)))
    assert str(hunt(hoards, memory_below(50), story, closes=True)).startswith(
        "broken in case 1: it held 60 bytes, more than 50 "
    )
    assert not hunt(hoards, memory_below(60), story, closes=True, cases=50).broken
    assert "1 descriptors are left open" in str(hunt(hoards, clean_end, story, closes=False))
    assert not hunt(hoards, clean_end, story, closes=True, cases=50).broken


def test_what_is_not_simulated_is_no_case() -> None:
    with pytest.raises(NotSimulated, match="streams over IPv4"):
        hunt(lambda: socket.socket(type=socket.SOCK_DGRAM), None)


@pytest.mark.parametrize(
    ("named", "says"),
    [
        ({"cases": 0}, "cases must be from 1 to 10,000,000 cases, got 0"),
        ({"seconds": 0}, "seconds must be from 0.001"),
        ({"within": "story"}, "plain code runs over Traffic, Clients or None, got 'story'"),
        ({"sizes": 3}, "did you mean size?"),
    ],
)
def test_bad_input_is_told(named: Any, says: str) -> None:
    with pytest.raises((TypeError, ValueError)) as caught:
        hunt(once, None, **{"within": TEN, **named})
    assert says in str(caught.value)


def test_a_space_has_bounds() -> None:
    with pytest.raises(ValueError, match="a fault must be one of shutdown, reset, got 'explode'"):
        Space(TWO, faults=("explode",))
    with pytest.raises(ValueError, match="in_vain must be from 1 to 5,000 calls, got 0"):
        Space(TWO, in_vain=0)


def test_a_row_of_noughts_is_the_story_itself() -> None:
    for story in (TEN, TWO, TEN.then("eof")):
        assert varied(Space(story), Choices()) == story


def test_cut_bytes_are_the_same_bytes() -> None:
    story = traffic.several(3, every_ms=1, size=7, transport="tcp")
    whole = b"".join(one.payload(number) for number, one in enumerate(story.messages, 1))
    from random import Random

    for seed in range(50):
        other: Any = varied(Space(story), Choices((), Random(seed), 2))
        pieces = [one.payload(number) for number, one in enumerate(other.messages, 1)]
        assert b"".join(pieces) == whole or len(other.messages) == 3


def test_the_server_of_the_readme_is_found_out() -> None:
    def server(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        while data := connection.recv(1_000):
            connection.sendall(data)

    simulate(server, clients.of(clients.echo(2, 100)))
    found = hunt(server, nothing_lost, clients.several(2, clients.echo(2, 100)))
    assert isinstance(found, Broken)
    assert found.words == "client 1 got 0 of 200 bytes"


def test_any_function_of_a_timeline_is_a_claim() -> None:
    def few_calls(run: Timeline) -> bool:
        return len(run.call_log) < 3

    def in_words(run: Timeline) -> str:
        return "too many" if len(run.call_log) >= 3 else ""

    assert hunt(until_there, few_calls, TEN).words == "few_calls does not hold"  # type: ignore[union-attr]
    assert hunt(until_there, in_words, TEN).words == "too many"  # type: ignore[union-attr]
    assert not hunt(until_there, lambda run: None, TEN, cases=20).broken


def test_all_may_come_at_once() -> None:
    """A queue for two: who comes while it is full asks again a second later (listen(2))."""

    def program(listener: socket.socket) -> None:
        while True:
            connection, _ = listener.accept()
            with connection:
                connection.recv(10)
                connection.sendall(b"answer")

    def quickly(run: Timeline) -> bool:
        return served(run, 500)

    story = clients.several(4, clients.script(("send", 10), ("receive", 6)), every_ms=50)
    quiet = Space(story, delays=(), cuts=False, options={"backlog": 1})
    assert not hunt(program, quickly, quiet, cases=20).broken
    found = hunt(program, quickly, replace(quiet, at_once=True))
    assert isinstance(found, Broken)
    assert {one.at_ns for one in found.story.clients} == {0}  # type: ignore[union-attr]


def served(run: Timeline, within_ms: int) -> bool:
    return all((one.over or 1 << 60) - (one.begun or 0) < within_ms * 1e6 for one in run.visits)


def test_a_story_is_told_in_words() -> None:
    assert told(traffic.stream(b"ab", b"c" * 20).then("eof")) == (
        "comes: at 20 ms 2 bytes b'ab', at 40 ms 20 bytes, at 41 ms the end"
    )
    dribble = [("send", 1), ("wait", ms(400))] * 4
    story = clients.of(clients.script(*dribble, ("receive", 4)), clients.echo(1, 2_000, at_ms=3))
    assert told(story).splitlines() == [
        "client 0: connects at 0 ms, 4 times (send 1, wait 400 ms), receive 4",
        "client 1: connects at 3 ms, send 2,000, receive 2,000",
    ]
    assert told(None) == "nothing comes from outside"


@pytest.mark.parametrize(
    ("found", "expected", "words"),
    [
        (b"ab", b"ab", ""),
        (b"ab", b"abc", "it returned b'ab', not b'abc'"),
        (bytearray(b"ab"), b"ab", "bytearray(b'ab') of type bytearray, not of type bytes"),
        ((b"a",), [b"a"], "it returned (b'a',) of type tuple, not of type list"),
        ([b"a", memoryview(b"b")], [b"a", b"b"], "of type memoryview, not of type bytes"),
        (None, [b"a"], "it returned None, not [b'a']"),
        ([b"a"], [b"a", b"b"], "it returned [b'a'], not [b'a', b'b']"),
        ([b"a", 96 * b"b"], [b"a", 99 * b"b"], "item 2 is 96 bytes (b'bbbbbb'...), not 99 bytes"),
    ],
)
def test_what_is_returned_is_told_from_what_should_be(
    found: object, expected: object, words: str
) -> None:
    said = returns(expected)(run_plain(lambda: found))
    assert words in said if words else said == ""
