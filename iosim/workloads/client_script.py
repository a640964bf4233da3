"""How a client follows its script: one interpreter, for the simulated network and for the process
of the real clients.

Times are in ns, sizes in bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from errno import errorcode
from functools import partial

__all__ = [
    "AFTER", "CLOSE", "KINDS", "RECEIVE", "RESET", "SEND", "SHUTDOWN", "UNTIL", "WAIT",
    "EchoCheck", "Met", "ScriptedClient", "Scripts",
]  # fmt: skip

SEND, RECEIVE, WAIT, UNTIL, AFTER, SHUTDOWN, RESET, CLOSE = KINDS = (
    "send", "receive", "wait", "until", "after", "shutdown", "reset", "close",
)  # fmt: skip
NOTICED = (SEND, RECEIVE, SHUTDOWN, RESET, CLOSE)  # by a server, as connect is

#: What a client met with: begun, connected, answered, sent, received, over, trouble, garbled.
Met = tuple[int | None, int | None, list[int], int, int, int | None, str, bool]


class EchoCheck:
    """What a client has sent and should hear again, in order."""

    __slots__ = ("answered", "garbled", "received", "sent", "wants", "written")

    def __init__(self) -> None:
        self.wants = 0  # bytes that its receive step still waits for
        self.written: list[tuple[bytes, int]] = []  # (a byte, how many of it) that should come back
        self.sent = self.received = 0
        self.answered: list[int] = []
        self.garbled = False

    def say(self, byte: bytes, count: int) -> None:
        """`count` of `byte` were sent."""
        self.sent += count
        self.written.append((byte, count))

    def hear(self, data: bytes) -> None:
        """`data` came back: is it what was sent, in order?"""
        self.received += len(data)
        self.wants -= len(data)
        while data and self.written:
            byte, count = self.written[0]
            here = min(count, len(data))
            self.garbled |= data[:here] != byte * here
            data = data[here:]
            self.written[:1] = [(byte, count - here)] if here < count else []
        self.garbled |= bool(data)


class Scripts:
    """What the scripts of all clients share: whose turn it is."""

    def __init__(self) -> None:
        self.answers = 0  # receive steps that are over, of all clients
        self._turns: list[tuple[int, ScriptedClient]] = []  # who waits for how many of them

    def wait_for_answers(self, count: int, client: ScriptedClient) -> bool:
        """Are so many receive steps not over yet?  Then `client` goes on when they are."""
        if self.answers >= count:
            return False
        self._turns.append((count, client))
        return True

    def answered(self) -> None:
        """One receive step more is over; whose turn is it now?"""
        self.answers += 1
        due = [turn for turn in self._turns if turn[0] <= self.answers]
        self._turns = [turn for turn in self._turns if turn[0] > self.answers]
        for _, waiting in due:
            waiting.at(waiting.story(), waiting.go_on)


class ScriptedClient:
    """A client at work: how far its script has come, and what it met with.

    Its connection is made of what a subclass gives: `now`, `story` (the time of its script) and
    `at`; `put`, `get`, `finish`, `break_off` and `hang_up`.
    """

    __slots__ = (
        "_scripts", "_steps", "begun", "connected", "echo", "gone", "over", "trouble",
    )  # fmt: skip

    def __init__(self, scripts: Scripts, steps: Iterable[tuple[str, int]]) -> None:
        self._scripts, self._steps = scripts, iter((*steps, (CLOSE, 0)))
        self.echo = EchoCheck()
        self.gone = False  # it follows its script no more
        self.begun: int | None = None
        self.connected: int | None = None
        self.over: int | None = None
        self.trouble = ""

    def met(self) -> Met:
        """What it met with."""
        echo = self.echo
        return (
            self.begun, self.connected, echo.answered, echo.sent, echo.received, self.over,
            self.trouble, echo.garbled,
        )  # fmt: skip

    # -- what a subclass gives -----------------------------------------------------------------

    def now(self) -> int:
        """The time of the run."""
        raise NotImplementedError

    def story(self) -> int:
        """The time of its script, which may stand still."""
        return self.now()

    def at(self, when: int, act: Callable[[], None]) -> None:
        """`act` at that time of its script."""
        raise NotImplementedError

    def hold(self, act: Callable[[], object]) -> bool:
        """Is `act` held back until the server waits?"""
        return False

    def put(self, amount: int) -> None:
        """Hand the next message, of so many bytes, to the kernel."""
        raise NotImplementedError

    def get(self, size: int) -> bytes | None:
        """What has come, at most `size` bytes; b"" at the end, None if there is nothing yet.

        OSError with what ended the connection.
        """
        raise NotImplementedError

    def finish(self) -> None:
        """Send nothing more: SHUT_WR."""
        raise NotImplementedError

    def break_off(self) -> None:
        """Reset the connection."""
        raise NotImplementedError

    def hang_up(self) -> None:
        """Close."""
        raise NotImplementedError

    # -- its script ----------------------------------------------------------------------------

    def handshake_over(self, errno: int) -> None:
        """Its connect is over, with `errno` (0: it is connected)."""
        if errno:
            self.leave(errorcode[errno])
        else:
            self.connected = self.now()
            self.go_on()

    def go_on(self) -> None:
        """Follow the script until a step takes time, or has to wait for the server."""
        for kind, amount in () if self.gone else self._steps:
            act = partial(ACTS[kind], self, amount)
            if (kind in NOTICED and self.hold(partial(self._go_on_after, act))) or act():
                return

    def _go_on_after(self, act: Callable[[], bool]) -> None:
        """Do what was held back, and what comes after it."""
        if not self.gone and not act():
            self.go_on()

    def _send(self, amount: int) -> bool:
        self.put(amount)
        return False

    def _receive(self, amount: int) -> bool:
        self.echo.wants = amount
        self.read(go_on=False)
        return self.echo.wants > 0 or self.gone

    def read(self, go_on: bool = True) -> None:
        """Take in what its receive step asks for; the next step, once it has it."""
        echo = self.echo
        if echo.wants <= 0 or self.gone:
            return
        while echo.wants > 0:
            try:
                data = self.get(echo.wants)
            except OSError as error:
                self._give_up(errorcode[error.errno or 0])
                return
            if data is None:
                return
            if not data:
                self._give_up("eof")
                return
            echo.hear(data)
        echo.answered.append(self.now())
        self._scripts.answered()
        if go_on:
            self.go_on()

    def _wait(self, amount: int) -> bool:
        self.at(self.story() + amount, self.go_on)
        return True

    def _until(self, amount: int) -> bool:
        self.at(max(amount, self.story()), self.go_on)
        return True

    def _after(self, amount: int) -> bool:
        return self._scripts.wait_for_answers(amount, self)

    def _shutdown(self, amount: int) -> bool:
        self.finish()
        return False

    def _reset(self, amount: int) -> bool:
        self.over, self.gone = self.now(), True
        self.break_off()
        return True

    def _close(self, amount: int) -> bool:
        self.leave()
        return True

    def _give_up(self, trouble: str) -> None:
        """Read no more, and close, when it may."""
        self.echo.wants, self.gone = 0, True
        if not self.hold(partial(self.leave, trouble)):
            self.leave(trouble)

    def leave(self, trouble: str = "") -> None:
        """Close, and say why, if the script is not over."""
        self.over, self.trouble, self.gone = self.now(), trouble, True
        self.hang_up()


ACTS: dict[str, Callable[[ScriptedClient, int], bool]] = {
    SEND: ScriptedClient._send, RECEIVE: ScriptedClient._receive, WAIT: ScriptedClient._wait,
    UNTIL: ScriptedClient._until, AFTER: ScriptedClient._after,
    SHUTDOWN: ScriptedClient._shutdown, RESET: ScriptedClient._reset,
    CLOSE: ScriptedClient._close,
}  # fmt: skip
