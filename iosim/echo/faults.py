"""What clients do to an echo server, on purpose or not.  Each returns what became of it."""

from __future__ import annotations

import selectors
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

from ..kernels.resource_limits import beginning
from ..machine.children import plain_environment
from ..machine.procfs import state
from .child import PATIENCE_S, Server, until

__all__ = ["byte_by_byte", "crash", "leave_early", "never_read", "open_many", "reset", "storm"]

CLIENT = f"{__package__}.killed_client"
STUCK_S = 0.5  # without a byte taken, while the server sleeps: nobody will take another


def never_read(server: Server, most: int = 50_000_000) -> int:
    """Send and never read, until nothing more is taken or the server is gone; bytes taken."""
    client = server.connect(receive_buffer=4_096)
    client.settimeout(STUCK_S)
    taken = 0
    with suppress(OSError):  # the server is gone
        while taken < most:
            try:
                taken += client.send(b"x" * 65_536)
            except TimeoutError:
                if not _has_work(server):
                    break
    return taken


def _has_work(server: Server) -> bool:
    """Does its process run, or wait for a core that others have?  False where nobody tells."""
    return state(server.process.pid, server.process.pid) == "R"


def reset(server: Server) -> None:
    """Send, and be gone by a reset: close(2) with SO_LINGER 0 (tcp(7)); until it was heard."""
    client = server.connect()
    client.sendall(b"hello")
    client.recv(5)
    with _heard_by(server):
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()


def crash(server: Server, unread: bool) -> None:
    """A client's process is killed; `unread`: its echo lies in its queue still.

    Its kernel closes the connection as close(2) does: by FIN, or by RST where something is unread
    (RFC 1122, 4.2.2.13).
    """
    words = (sys.executable, "-m", CLIENT, str(server.port), "0" if unread else "5")
    with beginning("a client"):
        client = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=plain_environment()
        )
    with client:
        assert client.stdout
        client.stdout.readline()
        with _heard_by(server):
            client.kill()


def leave_early(server: Server, nbytes: int = 20_000) -> None:
    """Send more than the server takes in one receive, and close, before it has looked.

    Nothing lies unread, so that it is told the end (FIN); but what it sends then comes to a socket
    that is closed, and the answer to that is RST (RFC 1122, 4.2.2.13).  The server's process is
    stopped meanwhile: the order is made.
    """
    client = server.connect()
    client.sendall(b"hello")
    for _ in range(5):  # with a time-out MSG_WAITALL does not wait for all: socket(7)
        client.recv(1)
    with _heard_by(server):
        server.process.send_signal(signal.SIGSTOP)
        try:
            stopped = until(lambda: state(server.process.pid, server.process.pid) == "T")
            assert stopped, "the server's process could not be stopped"
            client.sendall(b"x" * nbytes)
            client.close()
        finally:
            server.process.send_signal(signal.SIGCONT)


@contextmanager
def _heard_by(server: Server) -> Iterator[None]:
    """Until the server has closed a connection, or is gone."""
    before = server.descriptors()
    yield
    if before:
        until(lambda: server.descriptors() < before)


def open_many(server: Server, count: int) -> int:
    """Connect, and stay; how many connections there are now."""
    for number in range(count):
        try:
            server.connect()
        except OSError:  # the server is gone
            return number
    return count


def byte_by_byte(server: Server, data: bytes, pause_s: float = 0.01) -> bytes:
    """Send and receive one byte at a time; what came back."""
    client, got = server.connect(), bytearray()
    for byte in data:
        client.sendall(bytes([byte]))
        time.sleep(pause_s)
        got += client.recv(1)
    return bytes(got)


def storm(server: Server, count: int) -> int:
    """`count` clients connect at once, and each sends its number; how many got it back."""
    with ExitStack() as stack:
        stack.enter_context(_room_for(count))
        selector = stack.enter_context(selectors.DefaultSelector())
        for number in range(count):
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(("127.0.0.1", server.port))  # EINPROGRESS: connect(2)
            selector.register(client, selectors.EVENT_WRITE, str(number).encode())
        return sum(_answers(selector))


def _answers(selector: selectors.BaseSelector) -> Iterator[bool]:
    """True for each client that has its number back, False for one that has failed."""
    end = time.monotonic() + PATIENCE_S
    while selector.get_map() and time.monotonic() < end:
        for key, _ in selector.select(1):
            client: socket.socket = key.fileobj  # type: ignore[assignment]
            try:
                if key.events == selectors.EVENT_WRITE:
                    client.send(key.data)
                    selector.modify(client, selectors.EVENT_READ, key.data)
                    continue
                yield client.recv(100) == key.data
            except OSError:
                yield False
            selector.unregister(client)


@contextmanager
def _room_for(count: int) -> Iterator[None]:
    """So many descriptors more than the usual 1,024, as far as RLIMIT_NOFILE may be raised."""
    if sys.platform == "win32":
        yield
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count + 300 if hard == resource.RLIM_INFINITY else min(count + 300, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
