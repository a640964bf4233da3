"""The surviving server and who reads slowly, who does not read, and who sends urgent bytes.

The test is the client, gives the server its turns, and tells it the time.
"""

import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from iosim.echo import survivor
from iosim.echo.child import until
from iosim.echo.survivor import EchoServer, unacked

linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what is unacked")

IDLE = 60.0
BUFFER = 1 << 20  # of the server's connections: much is in there before it is writable again
SMALL = 8_192  # bytes: the client's, and what it reads in one of its steps


class Clock:
    """The time that the server believes."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    monkeypatch.setattr(survivor, "monotonic", clock := Clock())
    monkeypatch.setattr(survivor, "TICK", 0.0)
    return clock


@contextmanager
def served() -> Iterator[tuple[EchoServer, socket.socket]]:
    """A server and a client, whose connection is accepted."""
    server = EchoServer(idle=IDLE)
    server.listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL)
    try:
        client.connect(server.listener.getsockname())
        client.setblocking(False)
        assert until(lambda: server.turn() or server.due)
        yield server, client
    finally:
        for thing in (*server.due, server.listener, server.selector, client):
            thing.close()


def fill(server: EchoServer, client: socket.socket) -> int:
    """Send, and read nothing, until the server owes what its kernel does not take; bytes sent."""
    sent = 0

    def owes() -> bool:
        nonlocal sent
        with suppress(BlockingIOError):
            sent += client.send(b"x" * 65_536)
        server.turn()
        (sock,) = server.due
        return bool(server.selector.get_key(sock).data)

    assert until(owes)
    return sent


def read(client: socket.socket, sock: socket.socket, before: int) -> None:
    """A step of a slow client: it reads a little, until the kernel of the server's `sock` hears."""

    def heard() -> bool:
        with suppress(BlockingIOError):
            client.recv(SMALL)
        return unacked(sock) < before

    assert until(heard)


@linux
def test_who_reads_slowly_but_steadily_is_served(clock: Clock) -> None:
    """Although it has read too little for the kernel to call the connection writable."""
    with served() as (server, client):
        fill(server, client)
        (sock,) = server.due
        for _ in range(5):
            read(client, sock, unacked(sock))
            assert server.selector.select(0) == []
            clock.now += IDLE
            server.turn()
            assert list(server.due) == [sock]


@linux
def test_who_stops_reading_is_closed(clock: Clock) -> None:
    with served() as (server, client):
        fill(server, client)
        (sock,) = server.due
        read(client, sock, unacked(sock))
        settled(sock)
        clock.now += IDLE
        server.turn()  # it has read since
        assert list(server.due) == [sock]
        clock.now += IDLE - 0.1
        server.turn()
        assert list(server.due) == [sock]
        clock.now += 0.1
        server.turn()
        assert not server.due


def settled(sock: socket.socket) -> None:
    """What the client's kernel takes without its client it has taken."""
    last, same = unacked(sock), 0

    def quiet() -> bool:
        nonlocal last, same
        now = unacked(sock)
        last, same = now, same + 1 if now == last else 0
        return same == 50

    assert until(quiet)


@linux
def test_a_client_that_is_owed_nothing_is_closed_as_ever(clock: Clock) -> None:
    with served() as (server, _):
        clock.now += IDLE
        server.turn()
        assert not server.due


@pytest.mark.parametrize("tells", [pytest.param(True, marks=linux), False])
def test_where_nothing_tells_what_is_unacked_nothing_is(
    tells: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on Windows, which has no `fcntl` to import."""
    if not tells:
        monkeypatch.setitem(sys.modules, "fcntl", None)
    with (
        socket.create_server(("127.0.0.1", 0)) as door,
        socket.create_connection(door.getsockname()),
        door.accept()[0] as sock,
    ):
        sock.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                sock.send(b"x" * 65_536)
        assert (unacked(sock) > 0) == tells


def test_an_urgent_byte_stays_in_its_place(clock: Clock) -> None:
    with served() as (server, client):
        client.send(b"before")
        client.send(b"!", socket.MSG_OOB)
        client.send(b"after")
        got = bytearray()

        def echoed() -> bool:
            server.turn()
            with suppress(BlockingIOError):
                got.extend(client.recv(100))
            return len(got) >= len(b"before!after")

        assert until(echoed, seconds=5), bytes(got)
        assert got == b"before!after"


def test_an_urgent_byte_that_is_there_before_the_connection_is_accepted(clock: Clock) -> None:
    server = EchoServer()
    with server.selector, server.listener, socket.socket() as client:
        client.connect(server.listener.getsockname())
        client.send(b"!", socket.MSG_OOB)
        client.setblocking(False)
        got = bytearray()

        def echoed() -> bool:
            server.turn()
            with suppress(BlockingIOError):
                got.extend(client.recv(100))
            return bool(got)

        assert until(echoed, seconds=5)
        for sock in server.due:
            sock.close()
