"""To wait until something holds, and what waits in a pipe or a socket."""

import sys
import time
from collections.abc import Callable
from typing import Any

__all__ = ["PIPE", "bytes_waiting", "until"]

PIPE = 65_536  # bytes that fit: pipe(7)


def until(holds: Callable[[], bool], limit_s: float = 60) -> None:
    """Wait until it does; AssertionError if it does not in time."""
    end = time.monotonic() + limit_s
    while not holds():
        assert time.monotonic() < end, f"it did not come about within {limit_s} s"
        time.sleep(0.002)


def bytes_waiting(source: Any) -> int:
    """How many can be read from a pipe, or from a socket (of the next datagram): FIONREAD."""
    import fcntl  # Windows has neither
    import termios

    return int.from_bytes(fcntl.ioctl(source, termios.FIONREAD, bytes(4)), sys.byteorder)
