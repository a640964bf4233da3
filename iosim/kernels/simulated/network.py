"""The simulated network of a server: handshakes, bytes both ways, and the clients at the other end.

Clients use up no core: they are on another machine.  Whatever one end of a connection does reaches
the other one after `Costs.transit`, in order.  Times are int ns, sizes bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from errno import ECONNREFUSED, ETIMEDOUT, errorcode
from itertools import count
from typing import ClassVar

from ...clients import AFTER, CLOSE, RECEIVE, RESET, SEND, SHUTDOWN, UNTIL, WAIT, Client, Clients
from ...costs import Costs
from ...sockets import EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT
from ...timeline import Visit
from ...traffic import Message
from ..ear import Ear
from ..tape import Fate
from .kernel import SimKernel
from .parts import Pollable
from .streams import Listener, Stream

__all__ = ["ANY", "Network", "Visitor"]

SYN_RETRIES = (1, 2, 4, 8, 16, 32)  # s until the next try: tcp(7), tcp_syn_retries (RFC 6298)
SECOND = 1_000_000_000
FIRST_PORT = 40_000  # of listeners
ANY = EPOLLIN | EPOLLOUT | EPOLLERR | EPOLLHUP


class Visitor:
    """A client at work: its end of the connection, and how far its script has come."""

    def __init__(self, number: int, client: Client, end: Stream, fates: list[Fate]) -> None:
        self.number, self.client, self.end = number, client, end
        self.fates = iter(fates)
        self.steps = iter(client.steps)
        self.ear = Ear()
        self.connected: int | None = None
        self.over: int | None = None
        self.trouble = ""

    def visit(self, now: int) -> Visit:
        """What it met with."""
        begun = self.client.at_ns if self.client.at_ns <= now else None
        return Visit(
            self.number, begun, self.connected, tuple(self.ear.answered), self.ear.sent,
            self.ear.received, self.over, self.trouble, self.ear.garbled,
        )  # fmt: skip


class Network(SimKernel):
    """What is between the server's sockets and its clients."""

    def __init__(
        self, story: Clients, costs: Costs | None, cores: int, backlog: int, sndbuf: int,
        rcvbuf: int, record: bool = True,
    ) -> None:  # fmt: skip
        prices = Costs.textbook() if costs is None else costs
        price = prices.of_server() if isinstance(prices, Costs) else prices
        super().__init__(None, price, cores, record=record)
        self._sndbuf, self._rcvbuf = sndbuf, rcvbuf
        self._ports: dict[int, Listener] = {}
        self._free_ports = count(FIRST_PORT)  # none is given to a second listener
        self._wire_ns = round(self.costs.network)
        self._answers = 0  # receive steps that are over, of all clients
        self._turns: list[tuple[int, Visitor]] = []  # who waits for how many of them
        self.listener = self._listen_on(self._lowest(), backlog)
        told: dict[int, list[Fate]] = {}
        for number, message in story.messages:
            fate = Fate(number, message.connection, message.size, message.at_ns, message.size)
            told.setdefault(message.connection, []).append(fate)
            self.fates.append(fate)
        self.visitors = [
            self._visitor(place, client, told.get(place, []))
            for place, client in enumerate(story.clients)
        ]

    def _listen_on(self, fd: int, backlog: int) -> Listener:
        listener = Listener(fd, next(self._free_ports), backlog)
        self.sockets[fd] = self._ports[listener.port] = listener
        return listener

    def _visitor(self, place: int, client: Client, fates: list[Fate]) -> Visitor:
        end = Stream(-1, client.rcvbuf or self._rcvbuf, 1 << 62)  # it writes in the background
        visitor = end.owner_of = Visitor(place, client, end, fates)
        port = self.listener.port
        self._later(
            client.at_ns, lambda: self._knock(end, port, lambda errno: self._met(visitor, errno))
        )
        return visitor

    def _later(self, delay: int, act: Callable[[], None]) -> None:
        """`act`, in `delay` ns: an event of the network, which no process has a part in."""
        self._plan(delay, lambda wire: act(), self._wire)

    # -- connections ---------------------------------------------------------------------------

    def _knock(self, end: Stream, port: int, tell: Callable[[int], None], tries: int = 0) -> None:
        """Connect `end` to `port`; `tell` an errno, or 0."""

        def arrive() -> None:
            listener = self._ports.get(port)
            if listener is None:
                self._later(self._wire_ns, lambda: tell(ECONNREFUSED))
            elif listener.full:  # not answered: it will ask again
                if tries == len(SYN_RETRIES):
                    tell(ETIMEDOUT)
                else:
                    wait = SYN_RETRIES[tries] * SECOND - self._wire_ns
                    self._later(wait, lambda: self._knock(end, port, tell, tries + 1))
            else:
                self._shake_hands(end, listener)
                self._later(self._wire_ns, lambda: tell(0))

        self._later(self._wire_ns, arrive)

    def _shake_hands(self, end: Stream, listener: Listener) -> None:
        ours = Stream(-1, self._rcvbuf, self._sndbuf)
        ours.peer, end.peer, ours.port = end, ours, listener.port
        listener.incoming.append(ours)
        self._stir(listener, EPOLLIN)

    def _transmit(self, end: Stream) -> None:
        """Whatever the other side has room for leaves the send buffer; at last, the end."""
        peer = end.peer
        if peer is None or end.connecting:
            return
        before = end.room
        while end.outbox and (room := peer.rcvbuf - peer.expected) > 0:
            fate, data = end.outbox[0]
            chunk = data[: min(room, self.costs.part)]
            if len(chunk) == len(data):
                end.outbox.popleft()
            else:
                end.outbox[0][1] = data[len(chunk) :]
            end.unsent -= len(chunk)
            peer.expected += len(chunk)
            self._carry(end, len(chunk), lambda f=fate, c=chunk: self._deliver(peer, f, c))  # type: ignore[misc]
        if end.finishing and not end.outbox and not end.sent_end:
            end.sent_end = True
            self._carry(end, 0, lambda: self._end_arrives(peer))
        if end.room > before:
            self._stir(end, EPOLLOUT)

    def _carry(self, end: Stream, nbytes: int, arrive: Callable[[], None]) -> None:
        """To the other side, behind all that was sent before."""
        end.arrives = max(end.arrives, self.now + self.costs.transit(nbytes))
        self._later(end.arrives - self.now, arrive)

    def _deliver(self, end: Stream, fate: Fate | None, data: bytes) -> None:
        if end.broken:
            return
        if end.closed:  # nobody will read it: RFC 1122, 4.2.2.13
            self._break(end)
            return
        if fate is not None and fate.number not in end.begun:
            fate.arrived = self.now  # a message of which nothing was taken is there only now
        end.put_bytes(fate, data)
        self._stir(end, EPOLLIN)

    def _end_arrives(self, end: Stream) -> None:
        if not end.broken:
            end.ended = end.got_end = True
            self._stir(end, ANY)

    def _break(self, end: Stream) -> None:
        """`end` breaks off: the other side is reset."""
        peer = end.peer
        end.broken = end.closed = True
        if peer is not None:
            self._carry(end, 0, lambda: self._reset_arrives(peer))

    def _reset_arrives(self, end: Stream) -> None:
        if not (end.broken or end.closed):
            end.reset()
            self._stir(end, ANY)
        end.broken = True

    def _hang_up(self, end: Stream) -> None:
        """close(2) of one end: an end for the other side, or a reset if something was not read."""
        end.closed = True
        if end.broken:
            return
        if end.queue:
            self._break(end)
        else:
            end.finishing = True
            self._transmit(end)

    def _stir(self, thing: Pollable, what: int) -> None:
        """Something has changed with `thing`: its client, or whoever watches it, is told."""
        visitor = thing.owner_of if isinstance(thing, Stream) else None
        if visitor is not None:
            self._read(visitor)
        else:
            self._tell(thing, what)

    def _tell_others(self, thing: Pollable) -> None:
        """Senders look whether there is room now, and rings whether their operation can be done."""
        if isinstance(thing, Stream) and thing.senders:
            senders, thing.senders = thing.senders, ()
            for task in senders:
                self._wake(task)
        operations, thing.operations = thing.operations, ()
        for operation in operations:
            operation.ring.doable.append(operation)
            self._wake(operation.ring.owner_task)
            self._tell(operation.ring, EPOLLIN)

    # -- what a client does --------------------------------------------------------------------

    def _met(self, visitor: Visitor, errno: int) -> None:
        """Its connect is over."""
        if errno:
            self._leave_server(visitor, errorcode[errno])
            return
        visitor.connected = self.now
        self._go_on(visitor)

    def _go_on(self, visitor: Visitor) -> None:
        """Follow the script until a step takes time."""
        for kind, amount in visitor.steps:
            if visitor.over is not None or self._acts[kind](self, visitor, amount):
                return
        if visitor.over is None:
            self._leave_server(visitor)

    def _send_step(self, visitor: Visitor, amount: int) -> bool:
        fate = next(visitor.fates)
        byte = Message(0, amount).payload(fate.number)[:1]
        fate.sent = self.now
        visitor.ear.say(byte, amount)
        visitor.end.outbox.append([fate, byte * amount])
        visitor.end.unsent += amount
        self._transmit(visitor.end)
        return False

    def _receive_step(self, visitor: Visitor, amount: int) -> bool:
        visitor.ear.wants = amount
        self._read(visitor, False)
        return visitor.ear.wants > 0 or visitor.over is not None

    def _wait_step(self, visitor: Visitor, amount: int) -> bool:
        self._later(amount, lambda: self._go_on(visitor))
        return True

    def _until_step(self, visitor: Visitor, amount: int) -> bool:
        return self._wait_step(visitor, max(0, amount - self.now))

    def _after_step(self, visitor: Visitor, amount: int) -> bool:
        if self._answers >= amount:
            return False
        self._turns.append((amount, visitor))
        return True

    def _answered(self, visitor: Visitor) -> None:
        """One receive step more is over; whose turn is it now?"""
        visitor.ear.answered.append(self.now)
        self._answers += 1
        due = [turn for turn in self._turns if turn[0] <= self._answers]
        self._turns = [turn for turn in self._turns if turn[0] > self._answers]
        for _, waiting in due:
            self._wait_step(waiting, 0)

    def _shutdown_step(self, visitor: Visitor, amount: int) -> bool:
        visitor.end.finishing = True
        self._transmit(visitor.end)
        return False

    def _close_step(self, visitor: Visitor, amount: int) -> bool:
        self._leave_server(visitor)
        return True

    def _reset_step(self, visitor: Visitor, amount: int) -> bool:
        visitor.over = self.now
        self._break(visitor.end)
        return True

    _acts: ClassVar[dict[str, Callable[..., bool]]] = {
        SEND: _send_step, RECEIVE: _receive_step, WAIT: _wait_step, UNTIL: _until_step,
        AFTER: _after_step,
        SHUTDOWN: _shutdown_step, CLOSE: _close_step, RESET: _reset_step,
    }  # fmt: skip

    def _read(self, visitor: Visitor, go_on: bool = True) -> None:
        """Take in what its receive step asks for; the next step, once it has it."""
        if visitor.ear.wants <= 0 or visitor.over is not None:
            return
        end = visitor.end
        got = end.take(visitor.ear.wants, False)
        if got.error or (not got.data and end.ended):
            self._leave_server(visitor, errorcode[got.error] if got.error else "eof")
            return
        if got.data:
            visitor.ear.hear(got.data)
            if end.peer is not None:
                self._transmit(end.peer)  # the window is open again
        if visitor.ear.wants <= 0:
            self._answered(visitor)
            if go_on:
                self._go_on(visitor)

    def _leave_server(self, visitor: Visitor, trouble: str = "") -> None:
        visitor.over, visitor.trouble = self.now, trouble
        self._hang_up(visitor.end)
