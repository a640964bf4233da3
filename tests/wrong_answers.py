"""Answers to the exercises that are known to be wrong, each with the diagnosis that it must get."""

from __future__ import annotations

import contextlib
import errno
import heapq
import select
import selectors
import signal
import socket
import time
from collections.abc import Callable
from typing import Any

from iosim.exercises.loop import EventLoop, _Task

__all__ = ["WRONG"]

#: Of each exercise: the mistake, and an answer that makes it.
WRONG: list[tuple[str, str, Callable[..., Any]]] = []


def wrong(exercise: str, mistake: str) -> Callable[[Any], Any]:
    def register(answer: Any) -> Any:
        WRONG.append((exercise, mistake, answer))
        return answer

    return register


# -- 1 -------------------------------------------------------------------------------------------


@wrong("recv_exactly", "one recv is one message")
def one_recv(sock: Any, n: int) -> bytes:
    return sock.recv(n)


@wrong("recv_exactly", "one recv is one message")
def two_recvs(sock: Any, n: int) -> bytes:
    data = sock.recv(n)
    if len(data) < n:
        data += sock.recv(n - len(data))
    if not data:
        raise EOFError
    return data


@wrong("recv_exactly", "spins on the end")
def no_end(sock: Any, n: int) -> bytes:
    data = b""
    while len(data) < n:
        data += sock.recv(n - len(data))
    return data


@wrong("recv_exactly", "the end is not told")
def silent_end(sock: Any, n: int) -> bytes:
    data = b""
    while len(data) < n and (more := sock.recv(n - len(data))):
        data += more
    return data


@wrong("recv_exactly", "the end is not told")
def another_error(sock: Any, n: int) -> bytes:
    data = silent_end(sock, n)
    if len(data) < n:
        raise ValueError("too short")
    return data


@wrong("recv_exactly", "takes too much")
def whole_buffers(sock: Any, n: int) -> bytes:
    data = b""
    while len(data) < n:
        more = sock.recv(4_096)
        if not more:
            raise EOFError
        data += more
    return data[:n]


# -- 2 -------------------------------------------------------------------------------------------


@wrong("send_all", "a short write")
def one_send(sock: Any, data: bytes) -> None:
    try:
        sock.send(data)
    except BlockingIOError:
        select.select([], [sock], [])
        sock.send(data)


@wrong("send_all", "EAGAIN is no error")
def plain_sendall(sock: Any, data: bytes) -> None:
    sock.sendall(data)


@wrong("send_all", "EAGAIN is no error")
def without_a_try(sock: Any, data: bytes) -> None:
    while data:
        data = data[sock.send(data) :]


@wrong("send_all", "asks without a pause")
def again_and_again(sock: Any, data: bytes) -> None:
    while data:
        try:
            data = data[sock.send(data) :]
        except BlockingIOError:
            continue


@wrong("send_all", "a short write")
def gives_up(sock: Any, data: bytes) -> None:
    while data:
        try:
            data = data[sock.send(data) :]
        except BlockingIOError:
            return


@wrong("send_all", "sends bytes twice")
def from_the_start(sock: Any, data: bytes) -> None:
    left = len(data)
    while left > 0:
        try:
            left -= sock.send(data[:left])
        except BlockingIOError:
            select.select([], [sock], [])


@wrong("send_all", "waits for the wrong thing")
def waits_to_read(sock: Any, data: bytes) -> None:
    while data:
        try:
            data = data[sock.send(data) :]
        except BlockingIOError:
            select.select([sock], [], [])


@wrong("send_all", "closes it")
def closes_it(sock: Any, data: bytes) -> None:
    sock.setblocking(True)
    sock.sendall(data)
    sock.close()


@wrong("send_all", "sends bytes twice")
def counts_only(sock: Any, data: bytes) -> None:
    sent = 0
    while sent < len(data):
        try:
            sent += sock.send(data)
        except BlockingIOError:
            select.select([], [sock], [])


# -- 3 -------------------------------------------------------------------------------------------


@wrong("read_messages", "a header in two pieces")
def one_recv_each(sock: Any) -> list[bytes]:
    messages = []
    while len(header := sock.recv(2)) == 2:
        messages.append(sock.recv(int.from_bytes(header, "big")))
    return messages


@wrong("read_messages", "two messages in one")
def one_a_recv(sock: Any) -> list[bytes]:
    messages, buffer = [], b""
    while data := sock.recv(4_096):
        buffer += data
        if len(buffer) >= 2 and len(buffer) >= 2 + int.from_bytes(buffer[:2], "big"):
            size = int.from_bytes(buffer[:2], "big")
            messages.append(buffer[2 : 2 + size])
            buffer = buffer[2 + size :]
    return messages


@wrong("read_messages", "a header in two pieces")
def unpacks_at_once(sock: Any) -> list[bytes]:
    import struct

    messages, buffer = [], b""
    while data := sock.recv(4_096):
        buffer += data
        while buffer:
            (size,) = struct.unpack(">H", buffer[:2])
            if len(buffer) < 2 + size:
                break
            messages.append(buffer[2 : 2 + size])
            buffer = buffer[2 + size :]
    return messages


@wrong("read_messages", "a message in two pieces")
def one_recv_for_a_message(sock: Any) -> list[bytes]:
    messages = []
    while header := sock.recv(2, socket.MSG_WAITALL):
        messages.append(sock.recv(int.from_bytes(header, "big")))
    return messages


@wrong("read_messages", "the lower byte first")
def lower_byte_first(sock: Any) -> list[bytes]:
    messages, buffer = [], b""
    while data := sock.recv(4_096):
        buffer += data
        while len(buffer) >= 2:
            size = int.from_bytes(buffer[:2], "little")
            if len(buffer) < 2 + size:
                break
            messages.append(buffer[2 : 2 + size])
            buffer = buffer[2 + size :]
    return messages


def _all_of(sock: Any, n: int) -> bytes:
    data = b""
    while len(data) < n:
        if not (part := sock.recv(n - len(data))):
            raise EOFError
        data += part
    return data


@wrong("read_messages", "the lower byte first")
def lower_byte_first_and_the_end_is_an_error(sock: Any) -> list[bytes]:
    messages = []
    while True:
        try:
            header = _all_of(sock, 2)
        except EOFError:
            return messages
        messages.append(_all_of(sock, int.from_bytes(header, "little")))


@wrong("read_messages", "the lower byte first")
def lower_byte_first_and_what_there_is(sock: Any) -> list[bytes]:
    messages = []
    while header := sock.recv(2, socket.MSG_WAITALL):
        messages.append(sock.recv(int.from_bytes(header, "little"), socket.MSG_WAITALL))
    return messages


@wrong("read_messages", "the end is not seen")
def no_end_of_messages(sock: Any) -> list[bytes]:
    messages, buffer = list[bytes](), b""
    while len(messages) < 5:
        buffer += sock.recv(4_096)
        while len(buffer) >= 2 and len(buffer) >= 2 + int.from_bytes(buffer[:2], "big"):
            size = int.from_bytes(buffer[:2], "big")
            messages.append(buffer[2 : 2 + size])
            buffer = buffer[2 + size :]
    return messages


@wrong("read_messages", "an empty message")
def skips_the_empty_one(sock: Any) -> list[bytes]:
    messages, buffer = [], b""
    while data := sock.recv(4_096):
        buffer += data
        while len(buffer) >= 2 and len(buffer) >= 2 + int.from_bytes(buffer[:2], "big"):
            size = int.from_bytes(buffer[:2], "big")
            if size:
                messages.append(buffer[2 : 2 + size])
            buffer = buffer[2 + size :]
    return messages


# -- 4 -------------------------------------------------------------------------------------------


@wrong("poll_for", "EAGAIN is no error")
def asks_once(sock: Any) -> bytes:
    return sock.recv(100)


@wrong("poll_for", "too often")
def without_a_pause(sock: Any) -> bytes:
    while True:
        try:
            return sock.recv(100)
        except BlockingIOError:
            pass


@wrong("poll_for", "too often")
def every_ms(sock: Any) -> bytes:
    while True:
        try:
            return sock.recv(100)
        except BlockingIOError:
            time.sleep(0.001)


@wrong("poll_for", "too rarely")
def every_half_second(sock: Any) -> bytes:
    while True:
        try:
            return sock.recv(100)
        except BlockingIOError:
            time.sleep(0.5)


@wrong("poll_for", "gives up")
def ten_times(sock: Any) -> bytes:
    for _ in range(10):
        try:
            return sock.recv(100)
        except BlockingIOError:
            time.sleep(0.02)
    return b""


@wrong("poll_for", "does not poll")
def sleeps_in_select(sock: Any) -> bytes:
    select.select([sock], [], [])
    data: bytes = sock.recv(100)
    return data


@wrong("poll_for", "cut off")
def asks_for_ten(sock: Any) -> bytes:
    while True:
        try:
            return sock.recv(10)
        except BlockingIOError:
            time.sleep(0.02)


@wrong("poll_for", "too often")
def looks_by_select(sock: Any) -> bytes:
    while not select.select([sock], [], [], 0)[0]:
        time.sleep(0.001)
    data: bytes = sock.recv(100)
    return data


@wrong("poll_for", "no return")
def forgets_to_return(sock: Any) -> None:
    while True:
        try:
            sock.recv(100)
            return
        except BlockingIOError:
            time.sleep(0.02)


# -- 5 -------------------------------------------------------------------------------------------


Take = Callable[[Any, bytes], bytes | None]


def relay_with(
    listener: Any, events_of: Callable[[bytes], int], take: Take, careful: bool = True
) -> None:
    """An echo server that asks for what `events_of` says of what is owed.

    `take` is what is owed after reading more; None at the end.
    """
    listener.setblocking(False)
    with selectors.DefaultSelector() as selector:
        selector.register(listener, selectors.EVENT_READ)
        while True:
            for key, mask in selector.select():
                sock: Any = key.fileobj
                if sock is listener:
                    connection, _ = listener.accept()
                    connection.setblocking(False)
                    selector.register(connection, events_of(b""), b"")
                    continue
                owed: bytes | None = key.data
                if mask & selectors.EVENT_READ:
                    owed = take(sock, key.data)
                    if owed is None:
                        selector.unregister(sock)
                        sock.close()
                        continue
                assert owed is not None
                try:
                    owed = owed[sock.send(owed) :] if owed else owed
                except BlockingIOError:
                    if not careful:
                        raise
                selector.modify(sock, events_of(owed), owed)


def up_to(most: int) -> Take:
    """What there is, until so much is owed."""

    def take(sock: Any, owed: bytes) -> bytes | None:
        if len(owed) >= most:
            return owed
        data = sock.recv(most - len(owed))
        return owed + data if data else None

    return take


def echo_server(listener: Any, events_of: Callable[[bytes], int], careful: bool = True) -> None:
    relay_with(listener, events_of, up_to(1_000_000), careful)


READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE


@wrong("serve_owed", "always writable")
def always_both(listener: Any) -> None:
    echo_server(listener, lambda owed: READ | WRITE)


@wrong("serve_owed", "told no more")
def never_write(listener: Any) -> None:
    echo_server(listener, lambda owed: READ)


@wrong("serve_owed", "told no more")
def only_if_much(listener: Any) -> None:
    echo_server(listener, lambda owed: READ | (WRITE if len(owed) > 10 else 0))


@wrong("serve_owed", "EAGAIN is no error")
def no_eagain(listener: Any) -> None:
    echo_server(listener, lambda owed: READ | (WRITE if owed else 0), careful=False)


@wrong("recv_exactly", "asks without a pause")
def without_waiting(sock: Any, n: int) -> bytes:
    sock.setblocking(False)
    data = b""
    while len(data) < n:
        try:
            more = sock.recv(n - len(data))
        except BlockingIOError:
            continue
        if not more:
            raise EOFError
        data += more
    return data


@wrong("serve_owed", "one client at a time")
def one_after_the_other(listener: Any) -> None:
    while True:
        connection, _ = listener.accept()
        with connection:
            while data := connection.recv(100):
                connection.sendall(data)


@wrong("serve_owed", "the server ends")
def only_one(listener: Any) -> None:
    connection, _ = listener.accept()
    with connection:
        while data := connection.recv(100):
            connection.sendall(data)


# -- 6 -------------------------------------------------------------------------------------------


def edge_server(listener: Any, drain: Callable[[Any], bool], wait: float = -1) -> None:
    """With EPOLLET; `drain` takes what there is of a connection: is it over?"""
    listener.setblocking(False)
    of_fd: dict[int, Any] = {}
    with select.epoll() as epoll:
        epoll.register(listener, select.EPOLLIN)
        while True:
            for fd, _ in epoll.poll(wait):
                if fd == listener.fileno():
                    connection, _ = listener.accept()
                    connection.setblocking(False)
                    of_fd[connection.fileno()] = connection
                    epoll.register(connection, select.EPOLLIN | select.EPOLLET)
                elif drain(of_fd[fd]):
                    of_fd.pop(fd).close()


def give_back(sock: Any, data: bytes) -> None:
    sock.setblocking(True)
    sock.sendall(data)
    sock.setblocking(False)


def drain_once(sock: Any) -> bool:
    data = sock.recv(20)
    give_back(sock, data)
    return not data


def drain_wholly(sock: Any) -> bool:
    while True:
        try:
            data = sock.recv(20)
        except BlockingIOError:
            return False
        if not data:
            return True
        give_back(sock, data)


def drain_in_turns(sock: Any) -> bool:
    for _ in range(4):
        try:
            data = sock.recv(20)
        except BlockingIOError:
            return False
        if not data:
            return True
        give_back(sock, data)
    return False


def drain_without_a_try(sock: Any) -> bool:
    while data := sock.recv(20):
        give_back(sock, data)
    return True


@wrong("serve_edge", "sleeps beside data")
def once_an_event(listener: Any) -> None:
    edge_server(listener, drain_once)


@wrong("serve_edge", "the others starve")
def to_the_end(listener: Any) -> None:
    edge_server(listener, drain_wholly)


@wrong("serve_edge", "sleeps beside data")
def four_an_event(listener: Any) -> None:
    edge_server(listener, drain_in_turns)


@wrong("serve_edge", "EAGAIN is no error")
def until_the_end(listener: Any) -> None:
    edge_server(listener, drain_without_a_try)


# -- 7 -------------------------------------------------------------------------------------------


@wrong("wait_for", "the lost wake-up")
def looks_then_pauses(arrived: list[int], reader: int) -> None:
    while not arrived:
        signal.pause()


@wrong("wait_for", "does not wait")
def does_nothing(arrived: list[int], reader: int) -> None:
    return


@wrong("wait_for", "polls")
def naps(arrived: list[int], reader: int) -> None:
    while not arrived:
        time.sleep(0.01)


@wrong("wait_for", "polls")
def with_a_time_out(arrived: list[int], reader: int) -> None:
    while not arrived:
        select.select([reader], [], [], 0.05)


@wrong("wait_for", "sleeps on")
def long_naps(arrived: list[int], reader: int) -> None:
    while not arrived:
        time.sleep(1)


@wrong("wait_for", "runs on")
def spins_in_its_own_code(arrived: list[int], reader: int) -> None:
    while not arrived:
        pass


@wrong("wait_for", "polls")
def looks_at_the_pipe(arrived: list[int], reader: int) -> None:
    while not select.select([reader], [], [], 0)[0]:
        pass


# -- 8 -------------------------------------------------------------------------------------------


@wrong("on_signal", "one receive a signal")
def one_receive(sock: Any, taken: list[bytes]) -> None:
    taken.append(sock.recv(100))


@wrong("on_signal", "EAGAIN is no error")
def until_it_raises(sock: Any, taken: list[bytes]) -> None:
    while True:
        taken.append(sock.recv(100))


@wrong("on_signal", "EAGAIN is no error")
def looks_first(sock: Any, taken: list[bytes]) -> None:
    """Between the two calls it may be interrupted by itself, and find nothing left."""
    while select.select([sock], [], [], 0)[0]:
        taken.append(sock.recv(100))


@wrong("on_signal", "blocks in the handler")
def blocking(sock: Any, taken: list[bytes]) -> None:
    sock.setblocking(True)
    while len(taken) < 20:
        taken.append(sock.recv(100))


@wrong("on_signal", "one receive a signal")
def counts_on_three(sock: Any, taken: list[bytes]) -> None:
    for _ in range(3):
        try:
            taken.append(sock.recv(100))
        except BlockingIOError:
            return


@wrong("on_signal", "asks without a pause")
def never_returns(sock: Any, taken: list[bytes]) -> None:
    while len(taken) < 99:
        try:
            taken.append(sock.recv(100))
        except BlockingIOError:
            continue


# -- 9 -------------------------------------------------------------------------------------------


def echo_by_sendall(listener: Any, prepare: Callable[[Any], object] = lambda sock: None) -> None:
    with selectors.DefaultSelector() as selector:
        selector.register(listener, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                sock: Any = key.fileobj
                if sock is listener:
                    connection, _ = listener.accept()
                    prepare(connection)
                    selector.register(connection, selectors.EVENT_READ)
                elif data := sock.recv(50):
                    sock.sendall(data)
                else:
                    selector.unregister(sock)
                    sock.close()


@wrong("relay", "one slow reader stops all")
def blocking_sendall(listener: Any) -> None:
    echo_by_sendall(listener)


@wrong("relay", "changes the buffers")
def with_room_in_the_kernel(listener: Any) -> None:
    echo_by_sendall(
        listener, lambda sock: sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1_000_000)
    )


def below_the_cap(owed: bytes) -> int:
    return (READ if len(owed) < 100 else 0) | (WRITE if owed else 0)


@wrong("relay", "closes what it owes")
def closes_at_end_of_file(listener: Any) -> None:
    relay_with(listener, below_the_cap, up_to(100))


@wrong("relay", "a buffer without bound")
def no_bound(listener: Any) -> None:
    echo_server(listener, lambda owed: READ | (WRITE if owed else 0))


@wrong("relay", "asks without a pause")
def reads_nothing_when_full(listener: Any) -> None:
    relay_with(listener, lambda owed: READ | (WRITE if owed else 0), up_to(100))


@wrong("relay", "bytes are lost")
def throws_away(listener: Any) -> None:
    def take(sock: Any, owed: bytes) -> bytes | None:
        data = sock.recv(100)
        return (owed + data)[:100] if data else None

    relay_with(listener, below_the_cap, take)


def leave_if_nothing_is_owed(selector: Any, sock: Any, owed: bytes) -> None:
    """Else it stays, and its end is read again and again."""
    if not owed:
        selector.unregister(sock)
        sock.close()


def at_the_end(listener: Any, events: int, leave: Callable[[Any, Any, bytes], None]) -> None:
    """A right relay, but for the end of a client: `leave` it, with what it is owed.

    `events` are asked for while something is owed.
    """
    listener.setblocking(False)
    with selectors.DefaultSelector() as selector:
        selector.register(listener, selectors.EVENT_READ)
        while True:
            for key, mask in selector.select():
                sock: Any = key.fileobj
                if sock is listener:
                    connection, _ = listener.accept()
                    connection.setblocking(False)
                    selector.register(connection, selectors.EVENT_READ, b"")
                    continue
                owed = key.data
                if mask & selectors.EVENT_READ and len(owed) < 100:
                    data = sock.recv(100 - len(owed))
                    owed += data
                    if not data:
                        leave(selector, sock, owed)
                        continue
                with contextlib.suppress(BlockingIOError):
                    owed = owed[sock.send(owed) :] if owed else owed
                full = 0 if len(owed) >= 100 else selectors.EVENT_READ
                selector.modify(sock, events | full if owed else selectors.EVENT_READ, owed)


@wrong("relay", "one slow reader stops all")
def blocks_at_the_end(listener: Any) -> None:
    def leave(selector: Any, sock: Any, owed: bytes) -> None:
        selector.unregister(sock)
        sock.setblocking(True)
        sock.sendall(owed)
        sock.close()

    at_the_end(listener, WRITE, leave)


@wrong("relay", "reads on after the end")
def asks_for_more_than_all(listener: Any) -> None:
    at_the_end(listener, WRITE, leave_if_nothing_is_owed)


@wrong("relay", "never closes")
def leaves_it_open(listener: Any) -> None:
    kept = []

    def leave(selector: Any, sock: Any, owed: bytes) -> None:
        if owed:
            selector.modify(sock, WRITE, owed)
        else:
            selector.unregister(sock)
            kept.append(sock)

    at_the_end(listener, WRITE, leave)


@wrong("relay", "hangs up")
def hangs_up_at_the_cap(listener: Any) -> None:
    def take(sock: Any, owed: bytes) -> bytes | None:
        data = sock.recv(101 - len(owed))
        return owed + data if data and len(owed + data) <= 100 else None

    relay_with(listener, lambda owed: READ | (WRITE if owed else 0), take)


@wrong("relay", "hangs up")
def takes_nothing_for_the_end(listener: Any) -> None:
    def take(sock: Any, owed: bytes) -> bytes | None:
        data = sock.recv(100 - len(owed))
        return owed + data if data else None

    relay_with(listener, lambda owed: READ | (WRITE if owed else 0), take)


@wrong("relay", "the server ends")
def serves_one(listener: Any) -> None:
    connection, _ = listener.accept()
    with connection:
        connection.sendall(connection.recv(20))


@wrong("relay", "sends other bytes")
def prepends(listener: Any) -> None:
    def take(sock: Any, owed: bytes) -> bytes | None:
        data = sock.recv(100 - len(owed)) if len(owed) < 100 else b""
        return (data + owed) if data else None

    relay_with(listener, below_the_cap, take)


@wrong("relay", "sends other bytes")
def sends_all_again(listener: Any) -> None:
    listener.setblocking(False)
    with selectors.DefaultSelector() as selector:
        selector.register(listener, selectors.EVENT_READ, b"")
        while True:
            for key, _ in selector.select():
                sock: Any = key.fileobj
                if sock is listener:
                    connection, _ = listener.accept()
                    connection.setblocking(False)
                    selector.register(connection, selectors.EVENT_READ, b"")
                    continue
                owed = key.data or sock.recv(100)
                if not owed:
                    selector.unregister(sock)
                    sock.close()
                    continue
                try:
                    sock.sendall(owed)
                    owed = b""
                except BlockingIOError:
                    pass
                selector.modify(sock, WRITE if owed else READ, owed)


@wrong("relay", "asks without a pause")
def looks_a_hundred_times_a_second(listener: Any) -> None:
    listener.setblocking(False)
    owed: dict[Any, bytes] = {}
    while True:
        time.sleep(0.01)
        with contextlib.suppress(BlockingIOError):
            connection, _ = listener.accept()
            connection.setblocking(False)
            owed[connection] = b""
        for sock in list(owed):
            with contextlib.suppress(BlockingIOError):
                owed[sock] = owed[sock] or sock.recv(100)
                if not owed[sock]:
                    del owed[sock]
                    sock.close()
                    continue
                owed[sock] = owed[sock][sock.send(owed[sock]) :]


# -- 10 ------------------------------------------------------------------------------------------


class Timed:
    """A right server, of which each method may go wrong."""

    seconds = 1.0

    def __init__(self, listener: Any) -> None:
        self.listener, self.due = listener, dict[Any, float]()
        self.selector = selectors.DefaultSelector()
        listener.setblocking(False)
        self.selector.register(listener, selectors.EVENT_READ)

    def serve(self) -> None:
        while True:
            for key, _ in self.selector.select(self.left()):
                sock: Any = key.fileobj
                if sock is self.listener:
                    connection, _ = self.listener.accept()
                    self.selector.register(connection, selectors.EVENT_READ, b"")
                    self.accepted(connection)
                else:
                    self.came(sock, key.data, sock.recv(10))
            for sock in [one for one, at in self.due.items() if at <= time.monotonic()]:
                self.late(sock)

    def left(self) -> float | None:
        return max(0, min(self.due.values()) - time.monotonic()) if self.due else None

    def accepted(self, sock: Any) -> None:
        self.due[sock] = time.monotonic() + self.seconds

    def came(self, sock: Any, had: bytes, data: bytes) -> None:
        if data and len(had + data) < 10:
            self.selector.modify(sock, selectors.EVENT_READ, had + data)
            return
        if data:
            sock.sendall(had + data)
        self.close(sock)

    def late(self, sock: Any) -> None:
        self.close(sock)

    def close(self, sock: Any) -> None:
        self.due.pop(sock, None)
        self.selector.unregister(sock)
        sock.close()


def timed(mistake: str) -> Callable[[type[Timed]], type[Timed]]:
    """A server of this kind is a wrong answer."""

    def register(kind: type[Timed]) -> type[Timed]:
        def serve(listener: Any) -> None:
            kind(listener).serve()

        serve.__name__ = kind.__name__
        wrong("serve_in_time", mistake)(serve)
        return kind

    return register


@timed("each byte renews it")
class Renewed(Timed):
    def came(self, sock: Any, had: bytes, data: bytes) -> None:
        self.accepted(sock)
        super().came(sock, had, data)


@timed("nobody wakes you")
class NoDeadline(Timed):
    def accepted(self, sock: Any) -> None:
        pass


@timed("nobody wakes you")
class FromTheFirstByte(Timed):
    def accepted(self, sock: Any) -> None:
        pass

    def came(self, sock: Any, had: bytes, data: bytes) -> None:
        self.due.setdefault(sock, time.monotonic() + 1)
        super().came(sock, had, data)


@timed("nobody wakes you")
class LooksWhenSomethingComes(Timed):
    def left(self) -> None:
        return None


@timed("answers half a request")
class EchoesWhatThereIs(Timed):
    def came(self, sock: Any, had: bytes, data: bytes) -> None:
        if data:
            super().came(sock, had, data)
        else:
            sock.sendall(had)
            self.close(sock)


@timed("answers half a request")
class AnswersAtTheDeadline(Timed):
    def late(self, sock: Any) -> None:
        sock.sendall(self.selector.get_key(sock).data)
        self.close(sock)


@timed("closes an honest one")
class TooShort(Timed):
    seconds = 0.5


@timed("closes at another time")
class ALittleTooShort(Timed):
    seconds = 0.9


@timed("closes at another time")
class TooLong(Timed):
    seconds = 1.6


@timed("closes at another time")
class ASecondEachWait(Timed):
    def left(self) -> float:
        return 1.0


@timed("closes at another time")
class ClosesAtTheDeadline(Timed):
    def came(self, sock: Any, had: bytes, data: bytes) -> None:
        if len(had + data) < 10:
            super().came(sock, had, data)
        else:
            sock.sendall(had + data)


@timed("never closes")
class AnswersAndNeverCloses(Timed):
    def came(self, sock: Any, had: bytes, data: bytes) -> None:
        if len(had + data) < 10:
            super().came(sock, had, data)
        else:
            sock.sendall(had + data)
            del self.due[sock]


@timed("never closes")
class NeverClosesWhatEnds(Timed):
    def came(self, sock: Any, had: bytes, data: bytes) -> None:
        if data:
            super().came(sock, had, data)
        else:
            del self.due[sock]
            self.selector.unregister(sock)


@timed("reads on after the end")
class TakesTheEndForNothing(Timed):
    def came(self, sock: Any, had: bytes, data: bytes) -> None:
        if data:
            super().came(sock, had, data)


@timed("forgets the first piece")
class Forgetful(Timed):
    def came(self, sock: Any, had: bytes, data: bytes) -> None:
        super().came(sock, b"", data)


@timed("another answer")
class Constant(Timed):
    def came(self, sock: Any, had: bytes, data: bytes) -> None:
        super().came(sock, had, data and bytes(len(data)))


@timed("another answer")
class Doubled(Timed):
    def came(self, sock: Any, had: bytes, data: bytes) -> None:
        if len(had + data) == 10:
            sock.sendall(had + data)
        super().came(sock, had, data)


@timed("another answer")
class OneBuffer(Timed):
    buffer = b""

    def came(self, sock: Any, had: bytes, data: bytes) -> None:
        self.buffer += data
        if len(self.buffer) >= 10:
            sock.sendall(self.buffer[:10])
            self.buffer = b""
        if len(self.buffer) == 0 or not data:
            self.close(sock)


@timed("whose deadline")
class ByNumber(Timed):
    """The deadline of a descriptor's number stays when the connection has gone."""

    def __init__(self, listener: Any) -> None:
        super().__init__(listener)
        self.of_fd: dict[int, float] = {}

    def accepted(self, sock: Any) -> None:
        now = time.monotonic()
        at = self.of_fd.get(sock.fileno(), 0)
        self.of_fd[sock.fileno()] = self.due[sock] = at if at > now else now + 1


@timed("whose deadline")
class OneForAll(Timed):
    def accepted(self, sock: Any) -> None:
        super().accepted(sock)
        self.due = dict.fromkeys(self.due, self.due[sock])


@timed("asks without a pause")
class InMilliseconds(Timed):
    """As who hands seconds to poll."""

    def left(self) -> float | None:
        left = super().left()
        return None if left is None else left / 1_000 + 0.01


@wrong("serve_in_time", "a time-out ends it")
def raises(listener: Any) -> None:
    while True:
        connection, _ = listener.accept()
        connection.settimeout(1.0)
        with connection:
            data = b""
            while len(data) < 10 and (more := connection.recv(10)):
                data += more
            connection.settimeout(0.05)
            connection.sendall(data)
            connection.recv(1)


@wrong("serve_in_time", "the others wait")
def one_by_one(listener: Any) -> None:
    while True:
        connection, _ = listener.accept()
        end = time.monotonic() + 1
        with connection:
            data = b""
            while len(data) < 10 and (left := end - time.monotonic()) > 0:
                connection.settimeout(left)
                try:
                    more = connection.recv(10)
                except TimeoutError:
                    break
                if not more:
                    break
                data += more
            if len(data) == 10:
                connection.settimeout(None)
                connection.sendall(data)


# -- 11 ------------------------------------------------------------------------------------------


def accepting(listener: Any, full: Callable[[Any, Any], None]) -> None:
    listener.setblocking(False)
    with selectors.DefaultSelector() as selector:
        selector.register(listener, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                sock: Any = key.fileobj
                if sock is listener:
                    try:
                        connection, _ = listener.accept()
                    except OSError as error:
                        if error.errno != errno.EMFILE:
                            raise
                        full(selector, listener)
                        continue
                    selector.register(connection, selectors.EVENT_READ)
                elif data := sock.recv(100):
                    sock.sendall(data)
                else:
                    selector.unregister(sock)
                    sock.close()


@wrong("accept_all", "spins")
def goes_on(listener: Any) -> None:
    accepting(listener, lambda selector, listener: None)


@wrong("accept_all", "the others wait")
def sleeps_for_long(listener: Any) -> None:
    accepting(listener, lambda selector, listener: time.sleep(0.5))


@wrong("accept_all", "spins")
def naps_too_shortly(listener: Any) -> None:
    accepting(listener, lambda selector, listener: time.sleep(1e-6))


@wrong("accept_all", "serves nobody meanwhile")
def retries_in_place(listener: Any) -> None:
    def full(selector: Any, listener: Any) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                time.sleep(0.02)
            else:
                selector.register(connection, selectors.EVENT_READ)
                return

    accepting(listener, full)


@wrong("accept_all", "turns clients away")
def closes_the_oldest(listener: Any) -> None:
    def full(selector: Any, listener: Any) -> None:
        for key in list(selector.get_map().values()):
            if key.fileobj is not listener:
                selector.unregister(key.fileobj)
                key.fileobj.close()
                return

    accepting(listener, full)


@wrong("accept_all", "asks too late")
def one_client_at_a_time(listener: Any) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            time.sleep(0.01)
            continue
        with connection:
            while data := connection.recv(100):
                connection.sendall(data)


class Away:
    """A server that does not look at its listener for `seconds`, once no descriptor is left."""

    seconds = 0.05

    def serve(self, listener: Any) -> None:
        listener.setblocking(False)
        with selectors.DefaultSelector() as selector:
            selector.register(listener, selectors.EVENT_READ)
            back = 0.0
            while True:
                for key, _ in selector.select(max(0, back - time.monotonic()) if back else None):
                    sock: Any = key.fileobj
                    if sock is listener:
                        try:
                            selector.register(listener.accept()[0], selectors.EVENT_READ)
                        except OSError:
                            selector.unregister(listener)
                            back = time.monotonic() + self.seconds
                    elif data := sock.recv(100):
                        sock.sendall(data)
                    else:
                        selector.unregister(sock)
                        self.leave(sock)
                if back and time.monotonic() >= back:
                    back = 0.0
                    selector.register(listener, selectors.EVENT_READ)

    def leave(self, sock: Any) -> None:
        sock.close()


@wrong("accept_all", "gives up")
def never_closes_a_client(listener: Any) -> None:
    kept = []

    class Keeps(Away):
        def leave(self, sock: Any) -> None:
            kept.append(sock)

    Keeps().serve(listener)


@wrong("accept_all", "asks too late")
def looks_away_for_long(listener: Any) -> None:
    class Late(Away):
        seconds = 2.0

    Late().serve(listener)


@wrong("accept_all", "gives up")
def never_again(listener: Any) -> None:
    accepting(listener, lambda selector, listener: selector.unregister(listener))


@wrong("accept_all", "dies of it")
def raises_it(listener: Any) -> None:
    def full(selector: Any, listener: Any) -> None:
        raise

    accepting(listener, full)


@wrong("accept_all", "asks too late")
def not_thought_of(listener: Any) -> None:
    while True:
        connection, _ = listener.accept()
        with connection:
            while data := connection.recv(100):
                connection.sendall(data)


# -- 12 ------------------------------------------------------------------------------------------


@wrong("EventLoop", "a timer at the wrong time")
class InOrderOfMaking(EventLoop):
    def call_later(self, seconds: float, function: Callable[[], object]) -> None:
        last = self._timers[-1][0] if self._timers else 0.0
        when = max(last, time.monotonic() + seconds)
        heapq.heappush(self._timers, (when, next(self._numbers), function))


@wrong("EventLoop", "a timer at the wrong time")
class TooEarly(EventLoop):
    def call_later(self, seconds: float, function: Callable[[], object]) -> None:
        super().call_later(seconds / 2, function)


@wrong("EventLoop", "spins")
class Busy(EventLoop):
    def _round(self) -> None:
        self._ready.append(lambda: None)
        super()._round()


@wrong("EventLoop", "spins")
class NotDrained(EventLoop):
    def _drain(self) -> None:
        return


@wrong("EventLoop", "the lost wake-up")
class WakesTooEarly(EventLoop):
    def call_soon_threadsafe(self, function: Callable[[], object]) -> None:
        self._wakes.send(b"!")
        self.call_soon(function)


@wrong("EventLoop", "an error ends the loop")
class Fragile(EventLoop):
    def _round(self) -> None:
        count = len(self.errors)
        super()._round()
        if len(self.errors) > count:
            raise self.errors[-1]


@wrong("EventLoop", "starved readers")
class ReadyFirst(EventLoop):
    def _round(self) -> None:
        while self._ready and self._running:
            try:
                self._ready.popleft()()
            except Exception as error:
                self.errors.append(error)
        if self._running:
            super()._round()


@wrong("EventLoop", "the lost wake-up")
class NotWoken(EventLoop):
    def call_soon_threadsafe(self, function: Callable[[], object]) -> None:
        self.call_soon(function)


class _NeverTold(_Task):
    def cancel(self) -> None:
        self.done = True


@wrong("EventLoop", "cancelling")
class DropsTheCoroutine(EventLoop):
    def create_task(self, coroutine: Any) -> Any:
        self._kept = [*getattr(self, "_kept", []), coroutine]
        return _NeverTold(self, coroutine)


@wrong("EventLoop", "cancelling")
class CancelsAtTheEnd(EventLoop):
    def create_task(self, coroutine: Any) -> Any:
        task = super().create_task(coroutine)
        now = task.cancel
        task.cancel = lambda: self.call_later(0.2, now)  # type: ignore[method-assign]
        return task


@wrong("EventLoop", "polls")
class Ticking(EventLoop):
    """Looks, at the latest, after a hundredth of a second: for who hands it something."""

    def call_soon_threadsafe(self, function: Callable[[], object]) -> None:
        self.call_soon(function)

    def _round(self) -> None:
        self.call_later(0.01, lambda: None)
        super()._round()


@wrong("EventLoop", "another order")
class LastFirst(EventLoop):
    def call_soon(self, function: Callable[[], object]) -> None:
        self._ready.appendleft(function)


@wrong("EventLoop", "another order")
class AtOnce(EventLoop):
    def call_later(self, seconds: float, function: Callable[[], object]) -> None:
        if seconds <= 0:
            function()
        else:
            super().call_later(seconds, function)


@wrong("EventLoop", "starved readers")
class InTheSameRound(EventLoop):
    def _round(self) -> None:
        super()._round()
        while self._ready and self._running:
            self._ready.pop()()


@wrong("EventLoop", "never stops")
class GoesOn(EventLoop):
    def stop(self) -> None:
        pass


@wrong("EventLoop", "readers")
class KeepsReaders(EventLoop):
    def remove_reader(self, sock: Any) -> None:
        pass


@wrong("EventLoop", "readers")
class ClosesReaders(EventLoop):
    def remove_reader(self, sock: Any) -> None:
        super().remove_reader(sock)
        sock.close()


@wrong("EventLoop", "readers")
class OnlyOnce(EventLoop):
    def add_reader(self, sock: Any, function: Callable[[], object]) -> None:
        def once() -> None:
            with contextlib.suppress(KeyError):
                self.remove_reader(sock)
            function()

        super().add_reader(sock, once)

    def remove_reader(self, sock: Any) -> None:
        with contextlib.suppress(KeyError):
            super().remove_reader(sock)


@wrong("EventLoop", "readers")
class CallsRemovedOnes(EventLoop):
    def _call_reader(self, key: Any) -> None:
        key.data()

    def remove_reader(self, sock: Any) -> None:
        with contextlib.suppress(KeyError):
            super().remove_reader(sock)


@wrong("EventLoop", "an error ends the loop")
class LosesErrorsOfTasks(EventLoop):
    def create_task(self, coroutine: Any) -> Any:
        async def quiet() -> None:
            with contextlib.suppress(Exception):
                await coroutine

        return super().create_task(quiet())


class _Late(_Task):
    """Its cancellation is overtaken by a wake-up that was on its way."""

    def cancel(self) -> None:
        turn = self._turn
        error = Exception("cancelled")
        self._loop.call_soon(lambda: self._step(error) if turn == self._turn else None)

    def _step(self, error: Exception | None) -> None:
        self._turn += 1
        super()._step(error)


@wrong("EventLoop", "cancelling")
class CancelsTooLate(EventLoop):
    def create_task(self, coroutine: Any) -> Any:
        return _Late(self, coroutine)


class _Touchy(_Task):
    def cancel(self) -> None:
        if self.done:
            raise RuntimeError("it is over")
        super().cancel()


@wrong("EventLoop", "cancelling")
class RefusesToCancel(EventLoop):
    def create_task(self, coroutine: Any) -> Any:
        return _Touchy(self, coroutine)


# -- 5 and 6 again --------------------------------------------------------------------------------


@wrong("serve_owed", "closes what it owes")
def closes_at_the_end(listener: Any) -> None:
    echo_server(listener, lambda owed: READ | (WRITE if owed else 0))


@wrong("serve_owed", "reads on after the end")
def asks_on_after_the_end(listener: Any) -> None:
    at_the_end(listener, WRITE, leave_if_nothing_is_owed)


@wrong("serve_owed", "reads on after the end")
def closes_nothing(listener: Any) -> None:
    relay_with(listener, lambda owed: READ | (WRITE if owed else 0), lambda s, o: o + s.recv(100))


@wrong("serve_owed", "sends other bytes")
def puts_new_bytes_first(listener: Any) -> None:
    def take(sock: Any, owed: bytes) -> bytes | None:
        data = sock.recv(20)
        return data + owed if data else None

    relay_with(listener, lambda owed: READ | (WRITE if owed else 0), take)


@wrong("serve_owed", "one client at a time")
def blocks_in_sendall(listener: Any) -> None:
    blocking_sendall(listener)


@wrong("serve_edge", "the server ends")
def answers_one(listener: Any) -> None:
    connection, _ = listener.accept()
    with connection:
        connection.sendall(connection.recv(20))


@wrong("serve_edge", "sends other bytes")
def backwards(listener: Any) -> None:
    import threading

    def serve(connection: Any) -> None:
        with connection:
            while data := connection.recv(20):
                connection.sendall(bytes(len(data)))

    while True:
        threading.Thread(target=serve, args=(listener.accept()[0],)).start()


# -- 3, 4, 7 and 8 again ---------------------------------------------------------------------------


@wrong("read_messages", "other messages")
def with_a_sign(sock: Any) -> list[bytes]:
    data = b""
    while more := sock.recv(4_096):
        data += more
    messages = []
    while data:
        size = int.from_bytes(data[:2], "big", signed=True)
        messages.append(data[2 : 2 + size])
        data = data[2 + size :]
    return messages


@wrong("read_messages", "other messages")
def without_spaces(sock: Any) -> list[bytes]:
    data = b""
    while more := sock.recv(4_096):
        data += more
    messages = []
    while data:
        size = int.from_bytes(data[:2], "big")
        messages.append(data[2 : 2 + size].strip())
        data = data[2 + size :]
    return messages


@wrong("poll_for", "cut off")
def takes_sixty_four(sock: Any) -> bytes:
    while True:
        with contextlib.suppress(BlockingIOError):
            return bytes(sock.recv(64))
        time.sleep(0.02)


@wrong("wait_for", "does not wait")
def pretends(arrived: list[int], reader: int) -> None:
    arrived.append(10)


@wrong("wait_for", "does not wait")
def waits_for_a_second(arrived: list[int], reader: int) -> None:
    select.select([reader], [], [], 1)


@wrong("wait_for", "polls")
def looks_ten_times_a_second(arrived: list[int], reader: int) -> None:
    while not arrived:
        time.sleep(0.1)


@wrong("on_signal", "one receive a signal")
def eight_at_most(sock: Any, taken: list[bytes]) -> None:
    with contextlib.suppress(BlockingIOError):
        for _ in range(8):
            taken.append(sock.recv(100))


# -- 1 and 2 again ---------------------------------------------------------------------------------


@wrong("recv_exactly", "a pause is no end")
def for_a_second(sock: Any, n: int) -> bytes:
    sock.settimeout(1)
    return silent_end_told(sock, n)


def silent_end_told(sock: Any, n: int) -> bytes:
    data = b""
    while len(data) < n:
        more = sock.recv(n - len(data))
        if not more:
            raise EOFError
        data += more
    return data


@wrong("recv_exactly", "keeps what is not its own")
def left_nonblocking(sock: Any, n: int) -> bytes:
    sock.setblocking(False)
    data = b""
    while len(data) < n:
        select.select([sock], [], [])
        more = sock.recv(n - len(data))
        if not more:
            raise EOFError
        data += more
    return data


@wrong("recv_exactly", "keeps what is not its own")
def by_a_buffered_file(sock: Any, n: int) -> bytes:
    files = vars(by_a_buffered_file).setdefault("files", {})
    if sock not in files:
        files.clear()
        files[sock] = sock.makefile("rb")
    data: bytes = files[sock].read(n)
    if len(data) < n:
        raise EOFError
    return data


@wrong("recv_exactly", "the end is not told")
def nothing_at_a_clean_end(sock: Any, n: int) -> bytes:
    data = b""
    while len(data) < n:
        more = sock.recv(n - len(data))
        if not more:
            if data:
                raise EOFError
            return b""
        data += more
    return data


@wrong("send_all", "asks without a pause")
def naps_for_a_moment(sock: Any, data: bytes) -> None:
    while data:
        try:
            data = data[sock.send(data) :]
        except BlockingIOError:
            time.sleep(0.0005)


@wrong("send_all", "sends bytes twice")
def adds_a_line(sock: Any, data: bytes) -> None:
    well_sent(sock, data + b"\n")


def well_sent(sock: Any, data: bytes) -> None:
    while data:
        try:
            data = data[sock.send(data) :]
        except BlockingIOError:
            select.select([], [sock], [])


@wrong("send_all", "closes it")
def says_that_it_is_all(sock: Any, data: bytes) -> None:
    well_sent(sock, data)
    sock.shutdown(socket.SHUT_WR)


@wrong("read_messages", "another type")
def mutable_messages(sock: Any) -> list[bytearray]:
    buffer, messages = bytearray(), []
    while data := sock.recv(4_096):
        buffer += data
        while len(buffer) >= 2 and len(buffer) >= 2 + (size := int.from_bytes(buffer[:2], "big")):
            messages.append(buffer[2 : 2 + size])
            del buffer[: 2 + size]
    return messages


@wrong("serve_owed", "never closes")
def keeps_who_is_paid(listener: Any) -> None:
    with selectors.DefaultSelector() as selector:
        selector.register(listener, selectors.EVENT_READ)
        while True:
            for key, mask in selector.select():
                sock, owed = key.fileobj, key.data
                if sock is listener:
                    connection, _ = listener.accept()
                    connection.setblocking(False)
                    selector.register(connection, selectors.EVENT_READ, b"")
                    continue
                reads = selectors.EVENT_READ if key.events & selectors.EVENT_READ else 0
                if mask & selectors.EVENT_READ:
                    data = sock.recv(1_000)
                    owed, reads = owed + data, reads if data else 0
                with contextlib.suppress(BlockingIOError):
                    owed = owed[sock.send(owed) :]
                if events := reads | (selectors.EVENT_WRITE if owed else 0):
                    selector.modify(sock, events, owed)
                else:
                    selector.unregister(sock)
