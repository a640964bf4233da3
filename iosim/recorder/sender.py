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

PACKET = 1_280  # bytes that a send takes up besides its data, and more: struct sk_buff
IN_USE = 2  # half of SO_RCVBUF is the kernel's own: socket(7)
ALONE = 4  # what comes to an empty queue may take a fourth of it, whatever it takes up besides


class Sender:
    """The sends of one connection: `(size, before, after)`, the clock around each of them, in ns.

    rcvbuf     SO_RCVBUF in bytes, as the kernel tells it
    datagrams  one send is one receive
    """

    def __init__(self, rows: Sequence[Row], rcvbuf: int, datagrams: bool = False) -> None:
        self._sizes = [0, *accumulate(size for size, _, _ in rows)]
        self._clocks = [(before, after) for _, before, after in rows]
        self._rcvbuf, self._datagrams = rcvbuf, datagrams
        self._received: list[tuple[int, int]] = [(-1, 0)]  # when, and how much by then

    def took(self, nbytes: int, at: int) -> tuple[int, int] | None:
        """When the last of `nbytes`, received by `at`, was sent, and had come; None: not known."""
        so_far = self._received[-1][1]
        if self._datagrams:  # it may have been cut
            place = min(bisect_left(self._sizes, so_far) + 1, len(self._sizes) - 1)
            upto = self._sizes[place] if so_far < self._sizes[-1] else so_far + nbytes
        else:
            upto = so_far + nbytes
        self._received.append((at, upto))
        number = bisect_left(self._sizes, upto) - 1  # of the send that brought the last of it
        if number >= len(self._clocks):
            return None
        before, after = self._clocks[number]
        return (before, (before + after) // 2) if self._had_room(number, before) else None

    def _had_room(self, number: int, at: int) -> bool:
        """Was there room for that send, with whatever lay there at that instant?"""
        had = self._received[bisect_right(self._received, (at, self._sizes[-1])) - 1][1]
        unread = self._sizes[number + 1] - had
        sends = number + 2 - bisect_right(self._sizes, had)
        if sends == 1:
            return unread <= self._rcvbuf // ALONE
        return unread + sends * PACKET <= self._rcvbuf // IN_USE
