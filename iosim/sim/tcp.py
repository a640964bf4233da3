"""TCP between sockets of the program and of its clients: tcp(7).

Two ends of a connection are two `Stream`s, each other's `peer`.  What one sends lies in its
`outbox` (the send buffer) until the other one has room for it: flow control.  Whatever one end
does reaches the other one after `Costs.transit`, in order.  Times are int ns, sizes bytes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from errno import ECONNREFUSED, ECONNRESET, ENOTCONN, EPIPE, ETIMEDOUT
from itertools import count
from typing import TYPE_CHECKING, Any, ClassVar

from ..calls import EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLRDHUP, SOMAXCONN
from ..trace.builder import MessageRecord
from .descriptions import changed, refusal
from .kernel import Kernel
from .sockets import Received, Socket, with_piece

if TYPE_CHECKING:
    from .clients import StreamClient

__all__ = ["ANY", "InternetSocket", "Listener", "Network", "Stream"]

#: s until the next try, and after the last one until it is given up, since Linux 6.5: see
#: tcp_syn_retries ("the final timeout ... after 131 seconds") and tcp_syn_linear_timeouts,
#: Documentation/networking/ip-sysctl.rst.
SYN_TIMEOUTS = (1, 1, 1, 1, 1, 2, 4, 8, 16, 32, 64)
SECOND = 1_000_000_000
FIRST_PORT = 40_000  # of listeners
FIRST_OF_CLIENTS = 60_000
ANY = EPOLLIN | EPOLLOUT | EPOLLERR | EPOLLHUP | EPOLLRDHUP

Piece = list[Any]  # [fate or None, bytes]: None for what no client sent


class InternetSocket(Socket):
    """A TCP socket: what it is bound to."""

    __slots__ = ("bound", "port")
    stream: ClassVar[bool] = True

    def __init__(self, port: int = 0, rcvbuf: int = 1) -> None:
        super().__init__(rcvbuf)
        self.port = port  # 0: to none
        self.bound = False  # by bind(2), so that it stays

    @property
    def unconnected(self) -> bool:
        """Is it as socket(2) made it?"""
        return False

    def become(self, other: InternetSocket) -> None:
        """`other` stands in its place: who watches this, or sleeps here, is with that now."""
        for name in ("bound", "fd", "flags", "in_line", "operations", "owner", "signo", "timeout",
                     "waiters", "watches"):  # fmt: skip
            setattr(other, name, getattr(self, name))
        for watch in other.watches:
            watch.thing = other


class Listener(InternetSocket):
    """A listening socket: connections whose handshake is over, not yet accepted (listen(2))."""

    __slots__ = ("backlog", "incoming", "over")

    def __init__(self, port: int, backlog: int = SOMAXCONN) -> None:
        super().__init__(port)
        self.backlog = backlog
        self.over = False  # it listens no more
        self.incoming: deque[Stream] = deque()

    @property
    def full(self) -> bool:
        """Is there no room for a connection?  It holds one more than asked (sk_acceptq_is_full)."""
        return len(self.incoming) > self.backlog

    @property
    def events(self) -> int:
        """A connection waits, or not."""
        return EPOLLIN if self.incoming else 0

    def receiving(self) -> None:
        """There is no peer to receive from."""
        raise refusal(ENOTCONN, self.fd)

    def put_away(self, kernel: Kernel) -> None:
        """Who was not accepted is reset."""
        self.over = True
        del kernel.network.ports[self.port]
        while self.incoming:
            kernel.network.break_off(self.incoming.popleft())


class Stream(InternetSocket):
    """One end of a TCP connection."""

    __slots__ = (
        "arrives", "begun", "breaks_off", "broken", "client", "closed", "connecting", "expected",
        "finishing", "got_end", "outbox", "peer", "sent_end", "sndbuf", "unsent", "untold",
    )  # fmt: skip

    def __init__(self, rcvbuf: int, sndbuf: int) -> None:
        super().__init__(rcvbuf=rcvbuf)
        self.sndbuf = sndbuf
        self.peer: Stream | None = None  # None: not connected
        self.connecting = False
        self.untold = False  # no call has returned that its handshake is over
        self.outbox: deque[Piece] = deque()
        self.unsent = 0  # bytes of the outbox
        self.begun: set[int] = set()  # numbers of messages of which some bytes were received
        self.expected = 0  # bytes on their way here, or here and not yet received
        self.arrives = 0  # ns: nothing that it sends later arrives before
        self.finishing = self.sent_end = False  # SHUT_WR; and the end is on its way
        self.got_end = False  # the other side's
        self.closed = self.broken = False  # by its owner; by a reset
        self.breaks_off = False  # its close is a reset: SO_LINGER of 0 s (socket(7))
        self.client: StreamClient | None = None  # whose end this is

    local: ClassVar[bool] = False  # are both ends here, in one process?

    @property
    def unconnected(self) -> bool:
        """Was it never connected, nor is it about to be?"""
        return self.peer is None and not (self.broken or self.connecting)

    @property
    def gone(self) -> bool:
        """Is the connection over, by a reset or by an end in both directions (TCP_CLOSE)?"""
        return self.broken or (self.sent_end and self.got_end)

    @property
    def room(self) -> int:
        """Bytes that the send buffer can take."""
        return max(0, self.sndbuf - self.unsent)

    @property
    def writable(self) -> bool:
        """Is a third of the send buffer free (sk_stream_is_writeable), or will a send fail?"""
        if self.broken or self.finishing:
            return True
        return not self.connecting and 3 * self.room >= self.sndbuf

    @property
    def events(self) -> int:
        """As tcp_poll: both directions over is a hang-up; an error that was not fetched an error.

        A socket that was never connected hangs up and can be written to.
        """
        if self.connecting:
            return 0
        if self.unconnected:
            return EPOLLOUT | EPOLLHUP | (EPOLLIN | EPOLLRDHUP if self.ended else 0)
        over = self.broken or (self.ended and self.finishing)
        found = EPOLLIN if self.readable else 0
        found |= EPOLLRDHUP if self.ended else 0
        found |= EPOLLOUT if self.writable else 0
        return found | (EPOLLHUP if over else 0) | (EPOLLERR if self.error else 0)

    def receiving(self) -> None:
        """ENOTCONN, but for one that was shut: it has come to an end (tcp_recvmsg)."""
        if self.peer is None and not self.broken and not (self.unconnected and self.ended):
            raise refusal(ENOTCONN, self.fd)

    def receives_no_more(self, kernel: Kernel) -> None:
        """SHUT_RD: the other side is not told."""
        self.ended = True

    def window_opened(self, kernel: Kernel) -> None:
        """The other side may send what it holds back."""
        if self.peer is not None:
            kernel.network.transmit(self.peer)

    def put_away(self, kernel: Kernel) -> None:
        """close(2): an end for the other side, or a reset if something was not read."""
        if self.peer is not None:
            kernel.network.hang_up(self)

    # -- bytes ---------------------------------------------------------------------------------

    def post(self, kernel: Kernel, data: bytes, fate: MessageRecord | None = None) -> None:
        """`data` lie in the send buffer."""
        self.outbox.append([fate, memoryview(data)])
        self.unsent += len(data)
        kernel.network.transmit(self)

    @property
    def can_send(self) -> bool:
        """Has it neither failed nor been shut?"""
        return not (self.error or self.broken or self.finishing)

    def send_error(self) -> int:
        """The error that came in, once; after it, and after one's own SHUT_WR, EPIPE: send(2)."""
        errno, self.error = self.error, 0
        return errno or (EPIPE if self.broken or self.finishing else 0)

    def next_chunk(self, most: int) -> tuple[MessageRecord | None, memoryview]:
        """At most so many bytes of the oldest piece leave the send buffer."""
        fate, data = self.outbox[0]
        chunk = data[:most]
        if len(chunk) == len(data):
            self.outbox.popleft()
        else:
            self.outbox[0][1] = data[len(chunk) :]
        self.unsent -= len(chunk)
        return fate, chunk

    def put(self, fate: MessageRecord | None, data: memoryview) -> None:
        """`data` lie in the receive queue."""
        self.queue = with_piece(self.queue, [fate, data])
        self.queued += len(data)

    def take(self, size: int, peek: bool) -> Received:
        """At most `size` bytes out of the receive queue; then the error, once; or the end.

        An end that came before the reset is told in its place (SOCK_DONE in tcp_recvmsg).
        """
        if self.error not in (0, EPIPE) and not self.queue:
            errno, self.error = self.error, 0
            return Received(b"", errno, [])
        data: list[memoryview] = []
        parts: list[tuple[MessageRecord, int]] = []
        room = size
        for piece in list(self.queue):
            fate, there = piece
            taken = there[:room]
            if not taken:
                break
            data.append(taken)
            whose = _NOBODYS if fate is None else fate
            before = parts.pop()[1] if parts and parts[-1][0] is whose else 0
            parts.append((whose, before + len(taken)))
            room -= len(taken)
            if not peek:
                self._drop(piece, len(taken))
        got = Received(b"".join(data), 0, parts)
        got.nbytes = sum(count for fate, count in parts if fate is not _NOBODYS)
        return got

    def _drop(self, piece: Piece, count: int) -> None:
        if piece[0] is not None:
            self.begun.add(piece[0].number)
        self.queued -= count
        self.expected -= count
        if count == len(piece[1]):
            self.queue.pop(0)
        else:
            piece[1] = piece[1][count:]

    def reset(self) -> None:
        """The other side broke off: nothing more goes out.  EPIPE if its end had come before.

        What lies here can still be received (tcp_reset).
        """
        self.error = EPIPE if self.got_end else ECONNRESET
        self.outbox.clear()
        self.unsent = 0
        self.ended = self.broken = True


#: Stands for what is no message of the story: bytes between two sockets of the program.
_NOBODYS = MessageRecord(0, 0, 0, 0, 1 << 62)


class Network:
    """What is between the ends of connections: ports, handshakes, and bytes on their way."""

    def __init__(self, kernel: Kernel, sndbuf: int, rcvbuf: int) -> None:
        self._kernel, self._sndbuf, self._rcvbuf = kernel, sndbuf, rcvbuf
        self.ports: dict[int, Listener] = {}
        self._free_ports = count(FIRST_PORT)  # none is given to a second listener
        self._ports_of_clients = count(FIRST_OF_CLIENTS)
        self._latency = round(kernel.costs.network)

    def new_stream(self, kind: type[Stream] = Stream) -> Stream:
        """A socket of the program, not connected."""
        return kind(self._rcvbuf, self._sndbuf)

    def free_port(self) -> int:
        """That nobody has, or ever had."""
        return next(self._free_ports)

    def listener(self, backlog: int, port: int = 0) -> Listener:
        """A new one, on `port`, or on one of its own."""
        listener = Listener(port or self.free_port(), backlog)
        self.ports[listener.port] = listener
        return listener

    def connect(self, end: Stream, port: int, tell: Callable[[int], None], tries: int = 0) -> None:
        """Connect `end` to `port`; `tell` an errno, or 0."""
        later, latency = self._kernel.later, self._latency

        def arrive() -> None:
            listener = self.ports.get(port)
            if listener is None:
                later(latency, lambda: tell(ECONNREFUSED))
            elif listener.full:  # not answered: it will ask again, or give up
                wait = SYN_TIMEOUTS[tries] * SECOND - latency
                if tries + 1 == len(SYN_TIMEOUTS):
                    later(wait, lambda: tell(ETIMEDOUT))
                else:
                    later(wait, lambda: self.connect(end, port, tell, tries + 1))
            else:
                self._shake_hands(end, listener)
                later(latency, lambda: tell(0))

        later(latency, arrive)

    def _shake_hands(self, end: Stream, listener: Listener) -> None:
        ours = self.new_stream()
        end.port = end.port or next(self._ports_of_clients)
        ours.peer, end.peer, ours.port = end, ours, listener.port
        listener.incoming.append(ours)
        changed(self._kernel, listener, EPOLLIN)

    def transmit(self, end: Stream) -> None:
        """Whatever the other side has room for leaves the send buffer; at last, the end."""
        peer = end.peer
        if peer is None or end.connecting:
            return
        before, part = end.room, self._kernel.costs.part
        while end.outbox and (room := peer.rcvbuf - peer.expected) > 0:
            fate, chunk = end.next_chunk(min(room, part))
            peer.expected += len(chunk)
            self._carry(end, len(chunk), lambda f=fate, c=chunk: self._deliver(peer, f, c))  # type: ignore[misc]
        if end.finishing and not end.outbox and not end.sent_end:
            end.sent_end = True
            self._carry(end, 0, lambda: self._end_arrives(peer))
        if end.room > before:
            self._changed(end, EPOLLOUT)

    def _carry(self, end: Stream, nbytes: int, arrive: Callable[[], None]) -> None:
        """To the other side, behind all that was sent before."""
        if end.local:
            arrive()
            return
        now = self._kernel.now
        end.arrives = max(end.arrives, now + self._kernel.transit(nbytes))
        self._kernel.later(end.arrives - now, arrive)

    def _deliver(self, end: Stream, fate: MessageRecord | None, data: memoryview) -> None:
        if end.broken:
            return
        if end.closed:  # nobody will read it: RFC 1122, 4.2.2.13
            self.break_off(end)
            return
        if end.sent_end and end.ended and not end.got_end:
            self._abort(end)
            return
        if fate is not None and fate.number not in end.begun:
            fate.arrived = self._kernel.now  # of which nothing was taken: there only now
        end.put(fate, data)
        self._changed(end, EPOLLIN)

    def _abort(self, end: Stream) -> None:
        """Data come to who has shut both directions: a reset for both (tcp_rcv_state_process)."""
        peer = end.peer
        end.reset()
        self._changed(end, ANY)
        if peer is not None:
            self._carry(end, 0, lambda: self._reset_arrives(peer))

    def _end_arrives(self, end: Stream) -> None:
        if not end.broken:
            end.ended = end.got_end = True
            self._changed(end, ANY)

    def break_off(self, end: Stream) -> None:
        """`end` breaks off: the other side is reset."""
        peer = end.peer
        end.broken = end.closed = True
        if peer is not None:
            self._carry(end, 0, lambda: self._reset_arrives(peer))

    def _reset_arrives(self, end: Stream) -> None:
        if not (end.broken or end.closed):
            end.reset()
            self._changed(end, ANY)
        end.broken = True

    def hang_up(self, end: Stream) -> None:
        """close(2) of one end: an end for the other side, or a reset if something was not read."""
        end.closed = True
        if end.broken:
            return
        if end.queue or end.breaks_off:
            self.break_off(end)
        else:
            end.finishing = True
            self.transmit(end)

    def _changed(self, end: Stream, what: int) -> None:
        """Something has changed with `end`: its client, or whoever watches it, is told."""
        if end.client is not None:
            end.client.read()
        else:
            changed(self._kernel, end, what, everybody=what == ANY)
