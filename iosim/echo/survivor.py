"""An echo server on `selectors` that survives its clients.  Copy it: it needs no other file.

    python survivor.py [PORT]       prints its port; Ctrl-C or SIGTERM ends it in good order

What a client sends comes back to it, whole and in order, also after it has ended its own side
(shutdown(2), SHUT_WR).  A client can stop nothing but its own connection.  On Windows select(2)
takes 512 descriptors at most; elsewhere the limit is the system's own.
"""

import contextlib
import errno
import signal
import socket
import sys
from collections import OrderedDict
from itertools import takewhile
from selectors import EVENT_READ, EVENT_WRITE, DefaultSelector, SelectorKey
from time import monotonic
from typing import Any, cast

LIMIT = 65_536  # bytes: what is held for a connection, which is not read before they are sent
TICK = 0.1  # seconds: as often, at least, it looks at the clock and whether it is to stop
FULL = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.ENOSPC}


def unacked(sock: socket.socket) -> int:
    """Bytes sent that the other side's kernel has not acknowledged; 0 where nothing tells."""
    with contextlib.suppress(ImportError, OSError):  # it is Linux's: tcp(7), SIOCOUTQ
        from fcntl import ioctl
        from termios import TIOCOUTQ  # the same number

        return int.from_bytes(ioctl(sock, TIOCOUTQ, bytes(4)), sys.byteorder)
    return 0


class EchoServer:
    """Listens on 127.0.0.1 from the beginning, and serves in run() until stop().

    `port` 0: a free one.  `idle`: seconds after which a connection on which nothing moved is
    closed; that a client takes what waits in the kernel counts, as far as its kernel tells
    (with large buffers after some 100 kB).  `grace`: seconds that clients have
    after stop() to take what they are owed.  OSError if the port is taken.
    """

    def __init__(self, port: int = 0, *, idle: float = 60.0, grace: float = 2.0) -> None:
        # `due`: when each connection is given up, and what was unacked; who is due first, first.
        self.selector, self.due = DefaultSelector(), OrderedDict[Any, tuple[float, int]]()
        # On POSIX with SO_REUSEADDR; the backlog, which listen(2) may cut, is for storms.
        self.listener = socket.create_server(("127.0.0.1", port), backlog=4_096)
        self.listener.setblocking(False)
        # What it accepts inherits this: an urgent byte (tcp(7)) stays in its place in the stream.
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
        self.selector.register(self.listener, EVENT_READ)
        self.idle, self.grace, self.stopping = idle, grace, False

    def run(self) -> None:
        """Serve until stop(), then pay what is owed.  Whatever happens, nothing is left open."""
        try:
            while not self.stopping:
                self.turn()
            self.close(self.listener)
            end = monotonic() + self.grace
            for sock in [*self.due]:
                self.serve(self.selector.get_key(sock), 0)
            while self.due and monotonic() < end:
                self.turn()
        finally:
            for thing in (*self.due, self.listener, self.selector):
                thing.close()

    def stop(self, *_: object) -> None:
        """End run() soon, from any thread or as the handler of a signal."""
        self.stopping = True

    def turn(self) -> None:
        """Wait a little, serve who is ready, close who is overdue."""
        ready = self.selector.select(TICK)
        if not self.stopping:
            self.selector.modify(self.listener, EVENT_READ)  # it may have been looked away from
        for key, mask in ready:
            self.accept() if key.fileobj is self.listener else self.serve(key, mask)
        for sock, (_, then) in [*takewhile(lambda it: it[1][0] <= monotonic(), self.due.items())]:
            # Who takes a little at a time moves, long before there is room enough for "writable".
            self.serve(self.selector.get_key(sock), 0) if unacked(sock) < then else self.close(sock)

    def accept(self) -> None:
        """Let in who is waiting, a hundred at most, so that a storm does not starve the others."""
        try:
            for _ in range(100):
                sock, _ = self.listener.accept()
                sock.setblocking(False)
                self.serve(self.selector.register(sock, EVENT_READ, b""), EVENT_READ)
        except OSError as error:  # nobody is left, or one has gone again: accept(2), ERRORS
            # With no room it stays readable, and the loop would spin; it never becomes writable.
            self.selector.modify(self.listener, EVENT_WRITE if error.errno in FULL else EVENT_READ)

    def serve(self, key: SelectorKey, mask: int) -> None:
        """Send what is owed to a connection; if that is nothing, receive what is new."""
        sock, owed = cast(socket.socket, key.fileobj), key.data
        try:
            if mask & EVENT_READ:
                if not (data := sock.recv(LIMIT)):
                    return self.close(sock)
                owed = memoryview(b"" if self.stopping else data)
            if owed:
                owed = owed[sock.send(owed) :]  # it takes as much as it has room for
            if self.stopping and not owed:  # close(2) with bytes unread would be a reset, which
                sock.shutdown(socket.SHUT_WR)  # overtakes what is on its way: wait for their end
        except OSError as error:
            if not isinstance(error, BlockingIOError):  # in which case "ready" was a hint
                return self.close(sock)
        self.selector.modify(sock, EVENT_WRITE if owed else EVENT_READ, owed)
        self.due[sock] = monotonic() + self.idle, unacked(sock)
        return self.due.move_to_end(sock)

    def close(self, sock: socket.socket) -> None:
        """In this order: a closed descriptor's number may be another's at once."""
        self.selector.unregister(sock)
        sock.close()
        self.due.pop(sock, None)


def main() -> None:
    """Serve until Ctrl-C or SIGTERM."""
    server = EchoServer(*map(int, sys.argv[1:2]))
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, server.stop)
    print(server.listener.getsockname()[1], flush=True)
    server.run()


if __name__ == "__main__":
    main()
