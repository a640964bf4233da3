"""What a client has sent and should hear again: the simulated and the real ones keep it alike."""

from __future__ import annotations

__all__ = ["EchoCheck"]


class EchoCheck:
    """What a client has sent and should hear again, in order; times in ns, sizes in bytes."""

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
