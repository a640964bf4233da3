"""What the other end of a connection says of its sends, laid beside what was received.

A byte that was handed to the kernel on this machine lies in the receive queue at once, if there is
room for it (tcp(7): the window; udp(7): the buffer).  Where there may be none, nothing is said.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import accumulate

__all__ = ["Sender"]

Row = tuple[int, int, int]


class Sender:
    """The sends of one connection: `(size, before, after)`, the clock around each of them, in ns.

    room       so many bytes, or datagrams, are taken in unread for certain
    datagrams  one send is one receive
    """

    def __init__(self, rows: Sequence[Row], room: int, datagrams: bool = False) -> None:
        self._ends = list(accumulate(1 if datagrams else size for size, _, _ in rows))
        self._clocks = [(before, after) for _, before, after in rows]
        self._room, self._datagrams = room, datagrams
        self._received: list[tuple[int, int]] = [(-1, 0)]  # when, and how much by then

    def took(self, nbytes: int, at: int) -> tuple[int, int] | None:
        """When the last of `nbytes`, received by `at`, was sent, and had come; None: not known."""
        before_it = self._received[-1][1]
        upto = before_it + (1 if self._datagrams else nbytes)
        self._received.append((at, upto))
        place = bisect_left(self._ends, upto)
        if place == len(self._ends):
            return None
        before, after = self._clocks[place]
        had = self._received[bisect_right(self._received, (before, self._ends[-1])) - 1][1]
        if self._ends[place] - had > self._room:
            return None
        return before, (before + after) // 2
