"""The clients at the other end: each follows its script, on another machine (no core of ours)."""

from __future__ import annotations

from collections.abc import Callable

from ..trace import Visit
from ..trace.builder import MessageRecord, record_of
from ..workloads.client_script import ScriptedClient, Scripts
from ..workloads.clients import Client, Clients
from ..workloads.traffic import Message
from .descriptions import failure
from .kernel import Kernel
from .tcp import Listener, Stream

__all__ = ["ClientScripts", "StreamClient"]


class ClientScripts(Scripts):
    """The clients of a story, who connect to `listener`; `fates` has the messages that they send.

    `rcvbuf`: how much a client takes in unread, in bytes, if its script does not say.
    """

    def __init__(self, kernel: Kernel, story: Clients, listener: Listener, rcvbuf: int) -> None:
        super().__init__()
        self.fates: list[MessageRecord] = []
        told: dict[int, list[MessageRecord]] = {}
        for number, message in story.messages:
            fate = record_of(number, message)
            told.setdefault(message.connection, []).append(fate)
            self.fates.append(fate)
        self.clients = [
            StreamClient(kernel, self, client, told.get(place, []), rcvbuf)
            for place, client in enumerate(story.clients)
        ]
        self._kernel, self._here = kernel, len(self.clients)
        for client in self.clients:
            client.connect(listener.port)

    def has_left(self) -> None:
        """One client has: the story is over with the last one."""
        self._here -= 1
        if not self._here:
            self._kernel.story_over()

    def visits(self, end: int) -> tuple[Visit, ...]:
        """What each of them met with until `end`."""
        return tuple(client.visit(number, end) for number, client in enumerate(self.clients))


class StreamClient(ScriptedClient):
    """A client, and its end of the connection."""

    __slots__ = ("_client", "_end", "_fates", "_kernel", "_story")

    def __init__(
        self, kernel: Kernel, scripts: ClientScripts, client: Client, fates: list[MessageRecord],
        rcvbuf: int,
    ) -> None:  # fmt: skip
        super().__init__(scripts, client.steps)
        self._kernel, self._story, self._client = kernel, scripts, client
        self._end = Stream(client.rcvbuf or rcvbuf, 1 << 62)  # it writes in the background
        self._end.client = self
        self._fates = iter(fates)

    def visit(self, number: int, end: int) -> Visit:
        """What it met with until `end`."""
        begun = self._client.at_ns if self._client.at_ns <= end else None
        _, connected, answered, sent, received, over, trouble, garbled = self.met()
        return Visit(
            number, begun, connected, tuple(answered), sent, received, over, trouble, garbled
        )

    def connect(self, port: int) -> None:
        """At its time."""
        network = self._kernel.network
        self.at(self._client.at_ns, lambda: network.connect(self._end, port, self.handshake_over))

    def now(self) -> int:
        """Virtual time."""
        return self._kernel.now

    def at(self, when: int, act: Callable[[], None]) -> None:
        """When the clock comes there."""
        self._kernel.later(when - self._kernel.now, act)

    def put(self, amount: int) -> None:
        """To the network, which takes all."""
        fate = next(self._fates)
        byte = Message(0, amount).payload(fate.number, 1)
        fate.sent = self._kernel.now
        self.echo.say(byte, amount)
        self._end.post(self._kernel, byte * amount, fate)

    def get(self, size: int) -> bytes | None:
        """Out of the receive queue, which opens the window again."""
        got = self._end.take(size, False)
        if got.error:
            raise failure(got.error)
        if got.data:
            self._end.window_opened(self._kernel)
        return got.data if got.data or self._end.ended else None

    def finish(self) -> None:
        """The end follows what is still to be sent."""
        self._end.finishing = True
        self._kernel.network.transmit(self._end)

    def break_off(self) -> None:
        """At once."""
        self._kernel.network.break_off(self._end)
        self._story.has_left()

    def hang_up(self) -> None:
        """What was not received makes a reset of it."""
        self._kernel.network.hang_up(self._end)
        self._story.has_left()
