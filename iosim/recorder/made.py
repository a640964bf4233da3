"""What each recorded call is, of what kind, and what it tells of itself."""

from __future__ import annotations

from dataclasses import dataclass
from errno import EINPROGRESS

from ..trace import KERNEL, SLEEPING
from .event_buffer import Stamp

__all__ = ["ACCEPT", "AWAIT", "Made", "Part"]

RECEIVE, SEND, ACCEPT, CONNECT, AWAIT, OTHER = (
    "receive", "send", "accept", "connect", "await", "other",
)  # fmt: skip
#: A Python call: its system call and its role.  Any other is a system call of its own name.
KINDS = {
    **dict.fromkeys(("recv", "recv_into", "recvfrom", "recvfrom_into"), ("recvfrom", RECEIVE)),
    **dict.fromkeys(("recvmsg", "recvmsg_into"), ("recvmsg", RECEIVE)),
    **dict.fromkeys(("send", "sendall", "sendto"), ("sendto", SEND)),
    **dict.fromkeys(("connect", "connect_ex"), ("connect", CONNECT)),
    **dict.fromkeys(("setblocking", "settimeout"), ("ioctl", OTHER)),
    **{name: (name, AWAIT) for name in ("select", "poll", "epoll_wait")},
    "sendmsg": ("sendmsg", SEND),
    "_accept": ("accept", ACCEPT),
    "_real_close": ("close", OTHER),
}
# recv(2), poll(2): Linux's values, the same on all of its machines; epoll(7)'s events are poll's.
MSG_PEEK, MSG_DONTWAIT, MSG_ERRQUEUE = 0x2, 0x40, 0x2000
READABLE = 0x1 | 0x2 | 0x8 | 0x10  # POLLIN, POLLPRI, POLLERR, POLLHUP


@dataclass(slots=True)
class Part:
    """A part of a thread's life in one state; its own clock was read at `since` and at `until`."""

    start: int
    end: int
    state: str
    made: Made | None
    since: int
    until: int


class Made:
    """One stamped call, the parts of the thread's life in it, and its system calls' numbers."""

    __slots__ = ("calls", "end", "fd", "name", "parts", "role", "stamp", "start")

    def __init__(self, stamp: Stamp, zero: int) -> None:
        self.stamp = stamp
        self.fd = -1 if stamp.fd is None else stamp.fd
        self.name, self.role = KINDS.get(stamp.what, (stamp.what, OTHER))
        self.start, self.end = stamp.start - zero, stamp.end - zero
        self.parts: list[Part] = []
        self.calls: list[int] = []

    # -- what was asked for --------------------------------------------------------------------

    @property
    def may_sleep(self) -> bool:
        """Nothing told it to return at once."""
        if self.stamp.timeout == 0:
            return False
        return self.role != RECEIVE or not self.stamp.extra & MSG_DONTWAIT

    @property
    def waits(self) -> bool:
        """It returns only when there is something for the program."""
        return self.may_sleep and self.role in (RECEIVE, ACCEPT, AWAIT)

    @property
    def polls(self) -> bool:
        """On a socket with a time-out CPython calls poll(2) first, and then the call itself."""
        return self.role in (RECEIVE, SEND, ACCEPT) and bool(self.stamp.timeout)

    # -- what came of it -----------------------------------------------------------------------

    @property
    def timed_out(self) -> bool:
        """Python's own time-out, on a socket."""
        return self.stamp.outcome is None

    @property
    def count(self) -> int:
        """Bytes, or a new descriptor; 0 if it failed."""
        outcome = self.stamp.outcome
        return outcome if type(outcome) is int and outcome > 0 else 0

    @property
    def errno(self) -> int | None:
        """None if it succeeded."""
        outcome = self.stamp.outcome
        return -outcome if type(outcome) is int and outcome < 0 else None

    @property
    def received(self) -> int:
        """Bytes that it took out of the receive queue."""
        looked = self.stamp.extra & (MSG_PEEK | MSG_ERRQUEUE)
        return 0 if self.role != RECEIVE or looked else self.count

    @property
    def sent(self) -> int:
        """Bytes that the kernel took."""
        return self.count if self.role == SEND else 0

    @property
    def readable(self) -> list[int]:
        """The descriptors that it reported as ready to be read."""
        if self.role != AWAIT or not isinstance(self.stamp.outcome, tuple):
            return []
        pairs = ((one, 1) if isinstance(one, int) else one for one in self.stamp.outcome)
        return [fd for fd, events in pairs if events & READABLE]

    # -- what the thread did in it -------------------------------------------------------------

    @property
    def woken(self) -> int | None:
        """The end of its last sleep; None if it did not sleep."""
        return max((p.end for p in self.parts if p.state == SLEEPING), default=None)

    @property
    def runs_from(self) -> int:
        """Since when it ran without a break; its start if it never left its core."""
        away = [p.end for p in self.parts if p.state != KERNEL and p.end < self.end]
        return max(away, default=self.start)

    def pieces(self) -> list[tuple[str, int, int | None]]:
        """Its system calls: `(name, end, errno)`, as far as their number can be known.

        The border between two calls of one Python call is where it ran again, or half-way.
        """
        ran = self.runs_from
        border = ran if ran > self.start else (self.start + self.end) // 2
        if self.role == CONNECT and self.timed_out:  # under way, then poll(2) gave up
            entered = next((p.start for p in self.parts if p.state == SLEEPING), self.end)
            return [(self.name, entered, EINPROGRESS), ("poll", self.end, None)]
        if self.polls and self.timed_out:
            return [("poll", self.end, None)]
        if self.polls:
            return [("poll", border, None), (self.name, self.end, self.errno)]
        return [(self.name, self.end, self.errno)]

    @property
    def note(self) -> str:
        """What its name does not say."""
        if self.stamp.what == "sendall":
            return "sendall: sendto, until all is sent"
        if self.role == CONNECT and self.stamp.timeout:
            return "with a time-out: connect, and poll if it is not over at once"
        if self.polls and not self.timed_out:
            return "one call in Python: where poll ends is a guess"
        if self.stamp.what in ("setblocking", "settimeout"):
            return f"FIONBIO: O_NONBLOCK {'on' if self.stamp.extra else 'off'}"
        if 0 < self.sent < self.stamp.extra:
            return f"{self.sent:,} of {self.stamp.extra:,} bytes"
        return ""
