"""The clients at the other end: each follows its script, on another machine (no core of ours)."""

from __future__ import annotations

from collections.abc import Callable
from errno import errorcode
from typing import ClassVar

from ..clients import AFTER, CLOSE, RECEIVE, RESET, SEND, SHUTDOWN, UNTIL, WAIT, Client, Clients
from ..kernels.echo_check import EchoCheck
from ..kernels.tape import Fate
from ..timeline import Visit
from ..traffic import Message
from .kernel import Kernel
from .tcp import Listener, Stream

__all__ = ["ClientScripts", "ScriptedClient"]


class ClientScripts:
    """The clients of a story, who connect to `listener`; `fates` has the messages that they send.

    `rcvbuf`: how much a client takes in unread, in bytes, if its script does not say.
    """

    def __init__(self, kernel: Kernel, story: Clients, listener: Listener, rcvbuf: int) -> None:
        self._answers = 0  # receive steps that are over, of all clients
        self._turns: list[tuple[int, ScriptedClient]] = []  # who waits for how many of them
        self.fates: list[Fate] = []
        told: dict[int, list[Fate]] = {}
        for number, message in story.messages:
            fate = Fate(number, message.connection, message.size, message.at_ns, message.size)
            told.setdefault(message.connection, []).append(fate)
            self.fates.append(fate)
        self.clients = [
            ScriptedClient(kernel, self, place, client, told.get(place, []), rcvbuf)
            for place, client in enumerate(story.clients)
        ]
        for client in self.clients:
            client.connect(listener.port)

    def wait_for_answers(self, count: int, client: ScriptedClient) -> bool:
        """Are so many receive steps not over yet?  Then `client` goes on when they are."""
        if self._answers >= count:
            return False
        self._turns.append((count, client))
        return True

    def answered(self) -> None:
        """One receive step more is over; whose turn is it now?"""
        self._answers += 1
        due = [turn for turn in self._turns if turn[0] <= self._answers]
        self._turns = [turn for turn in self._turns if turn[0] > self._answers]
        for _, waiting in due:
            waiting.go_on_later(0)


class ScriptedClient:
    """A client at work: its end of the connection, and how far its script has come."""

    def __init__(
        self, kernel: Kernel, scripts: ClientScripts, number: int, client: Client,
        fates: list[Fate], rcvbuf: int,
    ) -> None:  # fmt: skip
        self._kernel, self._scripts = kernel, scripts
        self._number, self._client = number, client
        self._end = Stream(client.rcvbuf or rcvbuf, 1 << 62)  # it writes in the background
        self._end.client = self
        self._fates = iter(fates)
        self._steps = iter(client.steps)
        self._echo = EchoCheck()
        self._connected: int | None = None
        self._over: int | None = None
        self._trouble = ""

    def visit(self, now: int) -> Visit:
        """What it met with."""
        begun = self._client.at_ns if self._client.at_ns <= now else None
        echo = self._echo
        return Visit(
            self._number, begun, self._connected, tuple(echo.answered), echo.sent, echo.received,
            self._over, self._trouble, echo.garbled,
        )  # fmt: skip

    def connect(self, port: int) -> None:
        """At its time."""
        network = self._kernel.network
        self._kernel.later(self._client.at_ns, lambda: network.connect(self._end, port, self._met))

    def _met(self, errno: int) -> None:
        """Its connect is over."""
        if errno:
            self._leave(errorcode[errno])
            return
        self._connected = self._kernel.now
        self._go_on()

    def _go_on(self) -> None:
        """Follow the script until a step takes time."""
        for kind, amount in self._steps:
            if self._over is not None or self._acts[kind](self, amount):
                return
        if self._over is None:
            self._leave()

    def go_on_later(self, delay: int) -> bool:
        """In `delay` ns."""
        self._kernel.later(delay, self._go_on)
        return True

    def _send(self, amount: int) -> bool:
        fate = next(self._fates)
        byte = Message(0, amount).payload(fate.number, 1)
        fate.sent = self._kernel.now
        self._echo.say(byte, amount)
        self._end.post(self._kernel, byte * amount, fate)
        return False

    def _receive(self, amount: int) -> bool:
        self._echo.wants = amount
        self._take_in(go_on=False)
        return self._echo.wants > 0 or self._over is not None

    def _until(self, amount: int) -> bool:
        return self.go_on_later(max(0, amount - self._kernel.now))

    def _after(self, amount: int) -> bool:
        return self._scripts.wait_for_answers(amount, self)

    def _shutdown(self, amount: int) -> bool:
        self._end.finishing = True
        self._kernel.network.transmit(self._end)
        return False

    def _close(self, amount: int) -> bool:
        self._leave()
        return True

    def _reset(self, amount: int) -> bool:
        self._over = self._kernel.now
        self._kernel.network.break_off(self._end)
        return True

    _acts: ClassVar[dict[str, Callable[[ScriptedClient, int], bool]]] = {
        SEND: _send, RECEIVE: _receive, WAIT: go_on_later, UNTIL: _until, AFTER: _after,
        SHUTDOWN: _shutdown, CLOSE: _close, RESET: _reset,
    }  # fmt: skip

    def read(self) -> None:
        """Something has changed with its connection."""
        self._take_in(go_on=True)

    def _take_in(self, go_on: bool) -> None:
        """What its receive step asks for; the next step, once it has it."""
        echo, end = self._echo, self._end
        if echo.wants <= 0 or self._over is not None:
            return
        got = end.take(echo.wants, False)
        if got.error or (not got.data and end.ended):
            self._leave(errorcode[got.error] if got.error else "eof")
            return
        if got.data:
            echo.hear(got.data)
            end.window_opened(self._kernel)
        if echo.wants <= 0:
            echo.answered.append(self._kernel.now)
            self._scripts.answered()
            if go_on:
                self._go_on()

    def _leave(self, trouble: str = "") -> None:
        self._over, self._trouble = self._kernel.now, trouble
        self._kernel.network.hang_up(self._end)
