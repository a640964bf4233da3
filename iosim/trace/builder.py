"""What both kernels write while a program runs, and how it becomes a `Timeline`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ..workloads.traffic import Message, Traffic
from .records import (
    COPY,
    NETWORK,
    QUEUED,
    TRANSIT,
    WAIT,
    Call,
    Delivery,
    Evidence,
    Interval,
    KernelLine,
    Scan,
)
from .timeline import Timeline

__all__ = ["MessageRecord", "Text", "TraceBuilder"]


@dataclass(slots=True)
class MessageRecord:
    """What has become of one message so far; `left`: how many of its bytes are still to be had.

    It is waited for from `since` on, and told of on `lane` ("": on one of its own).  Until `absent`
    it is known not to have come; None: until it arrived.
    """

    number: int
    connection: int
    size: int
    sent: int | None
    left: int
    arrived: int | None = None
    received: int | None = None
    process: str | None = None
    told: str = ""
    dropped: bool = False
    since: int = 0
    lane: str = ""
    absent: int | None = None

    def hand_over(self, process: str, count: int, at: int, told: str) -> None:
        """`process` has `count` more of its bytes since `at`, and learnt of them by `told`."""
        self.process, self.told = process, self.told or told
        self.left -= count
        if self.left <= 0:
            self.received = at


@dataclass(frozen=True, slots=True)
class Text:
    """A program's name, source text and the number of that text's first line in its file."""

    title: str
    source: str = ""
    first_line: int = 1


@dataclass(slots=True)
class _Life:
    """One process's lane so far: `(at, state, call, note)`, the last one still open."""

    changes: list[tuple[int, str, int | None, str]] = field(default_factory=list)
    end: int | None = None


@dataclass(slots=True)
class _Entry:
    """A `Call` that is still being written; cheap, because a program runs meanwhile."""

    id: int
    process: str
    name: str
    start: int
    end: int
    errno: int | None
    fd: int | None
    line: int | None
    waits: bool
    arms: bool
    nbytes: int
    trap: bool
    sent: int = 0

    def call(self) -> Call:
        """As it stands now."""
        return Call(
            self.id, self.process, self.name, self.start, self.end, self.errno, self.fd, self.line,
            self.waits, self.arms, self.nbytes, self.trap, self.sent,
        )  # fmt: skip


class TraceBuilder:
    """Takes down states, calls, copies and fates; `timeline()` freezes them."""

    def __init__(self) -> None:
        self.lives: dict[str, _Life] = {}
        self.helpers: list[str] = []
        self._entries: list[_Entry] = []
        self._open: set[int] = set()  # the numbers of the calls that have not returned
        self.copies: list[tuple[int, int, int, int | None]] = []
        self.kernel_lines: list[KernelLine] = []
        self.scans: list[Scan] = []

    # -- one process ---------------------------------------------------------------------------

    def change(
        self, process: str, at: int, state: str, call: int | None = None, note: str = ""
    ) -> None:
        """From `at` on, `process` is in `state`, in call number `call` (None: in none)."""
        changes = self.lives.setdefault(process, _Life()).changes
        if changes and changes[-1][1:] == (state, call, note):
            return
        changes.append((at, state, call, note))

    def at_line(self, process: str, at: int, module: str, line: int) -> None:
        """From `at` on, the kernel's side of the call of `process` is at that line."""
        self.kernel_lines.append(KernelLine(process, at, module, line))

    def exit(self, process: str, at: int) -> None:
        """`process` is over."""
        self.lives.setdefault(process, _Life()).end = at  # it may have asked for nothing

    def enter(
        self, process: str, at: int, name: str, fd: int | None, line: int | None,
        waits: bool, arms: bool, trap: bool = True,
    ) -> int:  # fmt: skip
        """A call begins; returns its number."""
        number = len(self._entries)
        self._entries.append(
            _Entry(number, process, name, at, at, None, fd, line, waits, arms, 0, trap)
        )
        self._open.add(number)
        return number

    def leave(
        self, call: int, at: int, errno: int | None = None, nbytes: int = 0, sent: int = 0
    ) -> None:
        """Call number `call` returns."""
        entry = self._entries[call]
        entry.end, entry.errno, entry.nbytes = at, errno, nbytes
        entry.sent += sent
        self._open.discard(call)

    def brought(self, call: int, nbytes: int) -> None:
        """Call number `call` has brought `nbytes` more, be it after its return."""
        self._entries[call].nbytes += nbytes

    def took(self, call: int, sent: int) -> None:
        """Call number `call` has taken `sent` more from the program, be it before its return."""
        self._entries[call].sent += sent

    def waits(self, call: int) -> bool:
        """Does call number `call` return only when there is something for it?"""
        return self._entries[call].waits

    def span(self, call: int) -> tuple[int, int]:
        """When call number `call` began and when it returned, so far as that is known."""
        entry = self._entries[call]
        return entry.start, entry.end

    def copied(self, message: int, start: int, end: int, call: int | None) -> None:
        """The kernel copied bytes of `message` from `start` to `end`, for `call` or for none."""
        self.copies.append((message, start, end, call))

    # -- the whole -----------------------------------------------------------------------------

    def timeline(
        self, text: Text, kernel: str, cores: int, fates: Sequence[MessageRecord], end: int,
        evidence: Sequence[Evidence] = (), machine: str = "",
    ) -> Timeline:  # fmt: skip
        """All of it, frozen.  `end` (ns) closes what is still open: calls, lives, messages."""
        for number in sorted(self._open):
            self.leave(number, end)
        calls = [entry.call() for entry in self._entries]
        intervals = [
            interval
            for name, life in self.lives.items()
            for interval in self._lane(name, life, calls, end)
        ]
        copies: dict[int, list[tuple[int, int, int | None]]] = {}
        for message, start, stop, call in self.copies:
            copies.setdefault(message, []).append((start, stop, call))
        for fate in sorted(fates, key=lambda fate: fate.connection if fate.lane else 0):
            intervals += self._message(fate, copies.get(fate.number, []), calls, end)
        return Timeline(
            title=text.title, kernel=kernel, cores=cores, intervals=tuple(intervals),
            call_log=tuple(calls), deliveries=tuple(_delivery(fate) for fate in fates),
            processes=tuple(name for name in self.lives if name not in self.helpers),
            helpers=tuple(self.helpers), evidence=tuple(evidence), machine=machine,
            source=text.source, first_line=text.first_line,
            kernel_lines=tuple(self.kernel_lines), scans=tuple(self.scans),
        )  # fmt: skip

    @staticmethod
    def _lane(name: str, life: _Life, calls: list[Call], end: int) -> list[Interval]:
        if not life.changes:
            return []
        last = end if life.end is None else life.end
        ends = [change[0] for change in life.changes[1:]] + [last]
        return [
            Interval(name, at, until, state, None if call is None else calls[call], None, note)
            for (at, state, call, note), until in zip(life.changes, ends, strict=True)
            if at < until
        ]

    @staticmethod
    def _message(
        fate: MessageRecord, copies: list[tuple[int, int, int | None]], calls: list[Call], end: int
    ) -> list[Interval]:
        lane, number = fate.lane or f"message {fate.number}", fate.number
        if fate.arrived is None or fate.dropped:
            return []
        parts = []
        if fate.sent is not None:
            parts.append(Interval(NETWORK, fate.sent, fate.arrived, TRANSIT, message=number))
        absent = fate.arrived if fate.absent is None else min(fate.absent, fate.arrived)
        if fate.since < absent:
            parts.append(Interval(lane, fate.since, absent, WAIT, message=number))
        at = max(fate.since, fate.arrived)
        for start, stop, call in copies:
            if start == stop:
                continue
            if at < start:
                parts.append(Interval(lane, at, start, QUEUED, message=number))
            parts.append(
                Interval(lane, start, stop, COPY, None if call is None else calls[call], number)
            )
            at = stop
        until = end if fate.received is None else fate.received
        if at < until:
            parts.append(Interval(lane, at, until, QUEUED, message=number))
        return parts


def _delivery(fate: MessageRecord) -> Delivery:
    return Delivery(
        fate.number, fate.connection, fate.size, fate.sent, fate.arrived, fate.received,
        fate.process, fate.told, fate.dropped,
    )  # fmt: skip


def record_of(number: int, message: Message) -> MessageRecord:
    """A fresh one, of message number `number`."""
    return MessageRecord(number, message.connection, message.size, message.at_ns, message.size)


def messages(story: Traffic) -> list[MessageRecord]:
    """A fresh fate for each message of `story` that carries data, numbered from 1."""
    return [
        record_of(number, message)
        for number, message in enumerate(story.messages, start=1)
        if message.kind == "data"
    ]
