"""What a story of traffic brings: sockets that are open already, and messages that come there."""

from __future__ import annotations

from collections.abc import Iterator
from errno import ECONNRESET
from typing import Any, ClassVar

from ..calls import EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLRDHUP
from ..trace.builder import MessageRecord, record_of
from ..workloads.traffic import Message, Traffic
from .descriptions import changed
from .kernel import Kernel
from .sockets import Pieces, Received, Socket, with_piece

__all__ = ["DEFAULT_RCVBUF", "Arrivals", "DatagramSocket", "TrafficStream"]

DEFAULT_RCVBUF = 212_992  # net.core.rmem_default of Linux, in bytes: socket(7)


class _TrafficSocket(Socket):
    """Its queue has pieces `[fate, message, bytes of it that lie here]`."""

    __slots__ = ()

    def put(self, fate: MessageRecord, message: Message, nbytes: int) -> None:
        """`nbytes` of `message` lie in the receive queue."""
        self.queue = with_piece(self.queue, [fate, message, nbytes])
        self.queued += nbytes


class DatagramSocket(_TrafficSocket):
    """A UDP socket: udp(7)."""

    __slots__ = ()
    broken: ClassVar[bool] = False  # there is nothing to break,
    behind: ClassVar[None] = None  # and nobody to overtake

    @property
    def events(self) -> int:
        """There is always room to send (udp_poll)."""
        return EPOLLOUT | (EPOLLIN if self.queue else 0)

    @property
    def waiting(self) -> int:
        """FIONREAD: the size of the next datagram alone: udp(7)."""
        return int(self.queue[0][2]) if self.queue else 0

    def put_away(self, kernel: Kernel) -> None:
        """There is no room any more."""
        self.rcvbuf = -1

    def arrive(self, arrivals: Arrivals, fate: MessageRecord, message: Message) -> None:
        """No room, no datagram: udp(7)."""
        if self.queued + message.size > self.rcvbuf:
            fate.dropped = True
        else:
            self.put(fate, message, message.size)

    def take(self, size: int, peek: bool) -> Received:
        """A datagram goes whole: what does not fit is lost (recv(2))."""
        fate, message, there = self.queue[0]
        if not peek:
            del self.queue[0]
            self.queued -= there
        return Received(message.payload(fate.number, min(size, there)), 0, [(fate, there)])


class TrafficStream(_TrafficSocket):
    """The program's end of a TCP connection, whose other end only sends."""

    __slots__ = ("behind", "broken", "held", "taken")
    stream: ClassVar[bool] = True

    def __init__(self, rcvbuf: int) -> None:
        super().__init__(rcvbuf)
        self.held: Pieces = ()  # sent, but the window is closed
        self.behind: list[tuple[int, Message]] | None = None  # who must not overtake a second part
        self.broken = False  # by a reset
        self.taken: dict[int, int] | None = None  # bytes of messages whose content matters

    @property
    def events(self) -> int:
        """As tcp_poll: a reset is an error, until that was fetched, and a hang-up."""
        found = EPOLLOUT | (EPOLLIN if self.readable else 0) | (EPOLLERR if self.error else 0)
        return found | (EPOLLRDHUP if self.ended else 0) | (EPOLLHUP if self.broken else 0)

    def arrive(self, arrivals: Arrivals, fate: MessageRecord, message: Message) -> None:
        """Its first part, and later the rest."""
        first = min(arrivals.part or message.size, message.size)
        self.hold(fate, message, first)
        if first < message.size:
            arrivals.rest_comes(self, fate, message, first)

    def hold(self, fate: MessageRecord, message: Message, nbytes: int) -> None:
        """The sender wants to send `nbytes` more of `message`."""
        self.held = with_piece(self.held, [fate, message, nbytes])
        self.open_window()

    def open_window(self) -> None:
        """Flow control: the sender holds back what the receive buffer cannot take."""
        while self.held and (room := self.rcvbuf - self.queued) > 0:
            piece = self.held[0]
            size = min(room, piece[2])
            self.put(piece[0], piece[1], size)
            piece[2] -= size
            if not piece[2]:
                self.held.pop(0)

    def window_opened(self, kernel: Kernel) -> None:
        """The sender goes on at once."""
        self.open_window()

    def unread(self, fate: MessageRecord) -> int:
        """How many of its bytes no receive has begun to take."""
        return sum(size for who, _, size in (*self.queue, *self.held) if who is fate)

    def end(self, kind: str) -> None:
        """An "eof", or a "reset"."""
        self.ended = True
        self.broken = kind == "reset"
        self.error = ECONNRESET if self.broken else 0

    def take(self, size: int, peek: bool) -> Received:
        """What there is, in order; then the error, once; or the end."""
        if self.error and not self.queue:
            errno, self.error = self.error, 0
            return Received(b"", errno, [])
        data: list[bytes] = []
        parts: list[tuple[MessageRecord, int]] = []
        room, peeked = size, dict[int, int]()
        for piece in self.queue[:]:
            fate, message, there = piece
            count = min(room, there)
            if not count:
                break
            offset = self._taken(fate.number) + peeked.get(fate.number, 0)
            data.append(message.payload(fate.number, count, offset))
            if peek:
                peeked[fate.number] = peeked.get(fate.number, 0) + count
            before = parts.pop()[1] if parts and parts[-1][0] is fate else 0  # of its first part
            parts.append((fate, before + count))
            room -= count
            if not peek:
                self._shorten(piece, count)
        return Received(b"".join(data), 0, parts)

    def _taken(self, number: int) -> int:
        """How many bytes of the message of this number were taken before."""
        return self.taken.get(number, 0) if self.taken else 0

    def _shorten(self, piece: list[Any], count: int) -> None:
        self.queued -= count
        fate, message, _ = piece
        if message.content:
            self.taken = {**(self.taken or {}), fate.number: self._taken(fate.number) + count}
        piece[2] -= count
        if not piece[2]:
            self.queue.pop(0)


class Arrivals:
    """The connections of a story of traffic, and what comes there; `fates` has their messages."""

    def __init__(self, kernel: Kernel, story: Traffic, rcvbuf: int) -> None:
        stream = story.transport == "tcp"
        kind: Any = TrafficStream if stream else DatagramSocket
        self._kernel = kernel
        self.fates: list[MessageRecord] = []
        self._unrecorded = MessageRecord(1, 0, 0, 0, 0)  # of all, where nothing is taken down
        self.part = kernel.costs.part if stream and kernel.costs.segment else 0  # that comes first
        self.connections = [kind(rcvbuf) for _ in range(story.connections)]
        for socket in self.connections:
            kernel.table.install(socket)
        kernel.traffic, kernel.arrivals = self, self._arrive(story)

    def _arrive(self, story: Traffic) -> Iterator[int]:
        """When each message comes, and once that is so, the message: none overtakes another."""
        at, transit = 0, self._kernel.transit
        for number, message in enumerate(story.messages, start=1):
            at = max(at, message.at_ns + transit(message.size))
            yield at
            self.arrive(number, message)
        self._kernel.story_over()

    def arrive(self, number: int, message: Message) -> None:
        """`message`, number `number` of its story, is here: a stream keeps its bytes in order."""
        socket = self.connections[message.connection]
        if socket.behind is not None:
            socket.behind.append((number, message))
            return
        if message.kind == "data":
            fate = self._unrecorded if self._kernel.tape is None else self._fate(number, message)
            socket.arrive(self, fate, message)
        else:
            socket.end(message.kind)
        self._announce(socket)

    def _fate(self, number: int, message: Message) -> MessageRecord:
        fate = record_of(number, message)
        fate.arrived = self._kernel.now
        self.fates.append(fate)
        return fate

    def rest_comes(
        self, socket: TrafficStream, fate: MessageRecord, message: Message, first: int
    ) -> None:
        """The second part; a message that nobody has begun to take is there only then."""

        def arrive() -> None:
            if socket.unread(fate) == first:
                fate.arrived = self._kernel.now
            socket.hold(fate, message, message.size - first)
            self._announce(socket)
            behind, socket.behind = socket.behind or [], None
            for number, other in behind:
                self.arrive(number, other)

        socket.behind = []
        self._kernel.later(round(self._kernel.costs.segment), arrive)

    def _announce(self, socket: TrafficStream | DatagramSocket) -> None:
        over = (EPOLLRDHUP if socket.ended else 0) | (EPOLLERR | EPOLLHUP if socket.broken else 0)
        changed(self._kernel, socket, EPOLLIN | over)
