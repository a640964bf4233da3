"""From a recorder's stamps to a `Timeline`, once all is over.

Between two looks at a thread it is known how long it ran, how long it stood in the run queue, and
whether it gave its core away.  Where in between is deduced: in the calls that may wait, the longest
first, then in its own code; and within a call as `measured` does it (in, asleep, ready, out).

Nobody tells a recorder when data arrives, unless the sender does (`Sender`).  A call that slept
until there was something ended its sleep because of it: that is where the arrival is put, and where
it was *at the latest*.  What was there at once is put at the start of the call that found it, and
what was before, since it was last seen not to be there, is left open.
"""

from __future__ import annotations

import linecache
import os
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from errno import EAGAIN
from itertools import pairwise
from types import CodeType
from typing import NamedTuple

from ..machine.clocks import COARSE
from ..real.measured import Stretch, Usage
from ..trace import KERNEL, READY, SLEEPING, USER, Timeline
from ..trace.builder import MessageRecord, Text, TraceBuilder
from .event_buffer import NOT_MADE, OFF_NS, Look, Row, Stamp, Start
from .made import ACCEPT, AWAIT, RECEIVE, Made, Part
from .sender import Sender

__all__ = ["Change", "Senders", "Thread", "nobody", "timeline"]

UNSEEN = "in a call that is not recorded"  # a sleep, a lock, the GIL, a file
LEAST_NS = (
    2_000  # of CPU time for the way in and out, wherever else a thread may have lost its core
)

# -- one thread -----------------------------------------------------------------------------------


@dataclass(slots=True)
class Thread:
    """A track that was read: calls by their start, looks and starts in time; ns from the start."""

    name: str
    made: list[Made]
    looks: list[Look]
    starts: list[Start]
    parts: list[Part] = field(default_factory=list)

    @classmethod
    def read(cls, name: str, raw: Iterable[Row], zero: int, end: int) -> Thread:
        """What was taken down until `end` (on the clock), told from `zero`."""
        thread = cls(name, [], [], [])
        for row in raw:
            if len(row) == len(Stamp._fields):
                stamp = Stamp(*row)
                if stamp.end > end:
                    stamp = stamp._replace(end=end, outcome=0)
                if stamp.start <= end and stamp.outcome != NOT_MADE:
                    thread.made.append(Made(stamp, zero))
            elif len(row) == len(Look._fields) and row[0] <= end:
                upto, at, *used = row
                thread.looks.append(Look(upto - zero, at - zero, *used))
            elif len(row) == len(Start._fields):
                thread.starts.append(Start(row[0], row[1] - zero))
        thread.starts += [
            Start(made.count, made.end)
            for made in thread.made
            if made.role == ACCEPT and made.count
        ]
        thread.made.sort(key=lambda made: (made.start, -made.end))  # a handler's lie within others
        return thread

    def deduce(self) -> None:
        """Its states, in time."""
        stretches = list(self._stretches())
        place = 0
        for before, after in pairwise(self.looks):
            batch = []
            while place < len(stretches) and stretches[place][0].end <= after.upto:
                batch.append(stretches[place])
                place += 1
            _share_out(batch, before, after)
        for stretch, made in stretches:
            changes = stretch.parts(None)
            ends = [at for at, _ in changes[1:]] + [stretch.end]
            self.parts += [
                Part(at, end, state, made, stretch.start, stretch.end)
                for (at, state), end in zip(changes, ends, strict=True)
            ]

    def _stretches(self) -> Iterator[Piece]:
        """Its life in its own code and in calls; a call that a signal handler interrupts is cut."""
        at, within = self.looks[0].upto, list[Made]()
        cuts = [look.upto for look in self.looks]
        for made in self.made:
            while within and within[-1].end <= made.start:
                yield from _stretch(at, within[-1].end, within[-1])
                at = within.pop().end
            yield from _between(at, made.start, within, cuts)
            at = made.start
            within.append(made)
        while within:
            yield from _stretch(at, within[-1].end, within[-1])
            at = within.pop().end
        yield from _between(at, cuts[-1], within, cuts)


Piece = tuple[Stretch, Made | None]


def _stretch(start: int, end: int, made: Made | None) -> Iterator[Piece]:
    if start < end:
        yield Stretch(start, end, USER if made is None else KERNEL), made


def _between(start: int, end: int, within: Sequence[Made], cuts: Sequence[int]) -> Iterator[Piece]:
    """Up to the next call: in own code, cut where somebody looked, or in a call still."""
    if within:
        yield from _stretch(start, end, within[-1])
        return
    looks = cuts[bisect_right(cuts, start) : bisect_left(cuts, end)]
    for since, until in pairwise((start, *looks, end)):
        yield from _stretch(since, until, None)


def _share_out(batch: Iterable[Piece], before: Look, after: Look) -> None:
    """The time off its core between two looks, among the stretches that lie between them."""
    off = (after.at - before.at) - (after.cpu - before.cpu)
    queued, switches = after.queued - before.queued, after.switches - before.switches
    if not (queued or switches):  # interrupts
        return
    for stretch, made in sorted(batch, key=_rank):
        if off <= OFF_NS or (COARSE and not (made and made.may_sleep)):
            return
        length = stretch.end - stretch.start
        away = min(off, max(0, length - LEAST_NS))
        line = min(queued, away)
        stretch.usage = Usage(length - away, line, switches)
        off, queued = off - away, queued - line


def _rank(piece: Piece) -> tuple[bool, int]:
    """Calls that may sleep first, and the longest ones first."""
    stretch, made = piece
    return not (made and made.may_sleep), stretch.start - stretch.end


# -- many threads ---------------------------------------------------------------------------------


def share_cores(threads: Sequence[Thread], cores: int) -> None:
    """No more threads run than there are cores: the others, by what can be known, are ready.

    With CPython's lock (GIL) a thread whose call is over may have to wait before it reads its
    clock.  Such waits are shorter than what is looked into; where they leave too many running, the
    ones whose own clock readings are farthest away are taken to have waited.
    """
    changes = sorted(
        (at, begins, number, place)
        for number, thread in enumerate(threads)
        for place, part in enumerate(thread.parts)
        if part.state in (USER, KERNEL)
        for at, begins in ((part.start, True), (part.end, False))
    )
    running: dict[int, Part] = {}
    cuts: list[list[tuple[int, int]]] = [[] for _ in threads]
    for (at, begins, number, place), (until, *_) in pairwise([*changes, (0, False, 0, 0)]):
        if begins:
            running[number] = threads[number].parts[place]
        else:
            running.pop(number, None)
        if len(running) > cores and at < until:
            known = sorted(running, key=lambda n: _distance(running[n], at, until))
            for surplus in known[cores:]:
                cuts[surplus].append((at, until))
    for thread, cut in zip(threads, cuts, strict=True):
        if cut:
            thread.parts = list(_cut(thread.parts, cut))


def _distance(part: Part, start: int, end: int) -> int:
    """ns to the nearest instant at which the thread is known to have run: it read the clock."""
    return min(start - part.since, part.until - end)


def _cut(parts: Iterable[Part], cuts: Sequence[tuple[int, int]]) -> Iterator[Part]:
    """The same parts, and READY where a cut lies in one."""
    waiting = iter([*cuts, (1 << 63, 1 << 63)])
    start, end = next(waiting)
    for part in parts:
        at = part.start
        while start < part.end:
            if at < start:
                yield replace(part, start=at, end=start)
            yield replace(part, start=start, end=end, state=READY)
            at = end
            start, end = next(waiting)
        if at < part.end:
            yield replace(part, start=at)


# -- the data -------------------------------------------------------------------------------------


@dataclass(slots=True)
class Connection:
    """Its number, its lane, its beginning; since when it waits for its next bytes; who sends."""

    number: int
    lane: str
    begun: int
    since: int
    sender: Sender | None = None
    empty: int = 0  # when a receive last found nothing


Change = tuple[str, int, str | None, str]  # a lane, when, its new state (None: its end), a note
Senders = Callable[[int, int], Sender | None]  # of the connection with that descriptor, since then


def nobody(fd: int, since: int) -> None:
    """No sender is known."""


class Connections:
    """Which connection a descriptor stood for, and when: numbers are used again after a close."""

    def __init__(
        self, threads: Iterable[Thread], names: Counter[str], senders: Senders = nobody
    ) -> None:
        self._of: dict[int, list[Connection]] = {}
        starts = sorted((s for thread in threads for s in thread.starts), key=lambda s: s.at)
        for number, start in enumerate(starts):
            lane = unique(f"fd {start.fd}", names)
            sender = senders(start.fd, start.at)
            one = Connection(number, lane, start.at, start.at, sender)
            self._of.setdefault(start.fd, []).append(one)

    def __contains__(self, fd: int) -> bool:
        """Was it one at any time?  Not, if both ends were the program's own."""
        return fd in self._of

    def at(self, fd: int, at: int) -> Connection:
        """The connection that `fd` stands for at `at`."""
        place = bisect_right(self._of[fd], at, key=lambda one: one.begun)
        return self._of[fd][max(0, place - 1)]


def unique(name: str, taken: Counter[str]) -> str:
    """`name`, or `name (2)`, ... if it is taken; it is taken from now on."""
    taken[name] += 1
    return name if taken[name] == 1 else unique(f"{name} ({taken[name]})", taken)


def messages(
    threads: Sequence[Thread], names: Sequence[str], connections: Connections, tape: TraceBuilder
) -> list[MessageRecord]:
    """One for each successful receive, in the order of their ends."""
    fates: list[MessageRecord] = []
    reported: dict[int, dict[int, Found | None]] = {}  # by thread, by descriptor
    log = sorted(
        ((made.end, number, made) for number, t in enumerate(threads) for made in t.made),
        key=lambda row: row[:2],
    )
    for _, number, made in log:
        if made.role == AWAIT:
            reported[number] = dict.fromkeys(made.readable, _found(made, made.end))
        elif made.role == RECEIVE and made.errno == EAGAIN and made.fd in connections:
            connections.at(made.fd, made.start).empty = made.end
        elif made.received and made.fd in connections:
            found, told = _arrival(made, reported.values())
            fate = _fate(len(fates) + 1, made, found, connections)
            fate.hand_over(names[number], made.received, made.end, told)
            fates.append(fate)
            call = made.calls[-1]
            begin = max(made.runs_from, tape.span(call)[0], fate.arrived or 0)
            tape.copied(fate.number, begin, made.end, call)
    return fates


class Found(NamedTuple):
    """Data were there by `at`, and not yet at `absent` (None: that is not known)."""

    at: int
    absent: int | None


def _found(made: Made, at: int) -> Found:
    """By a call: at the end of its sleep, or at `at`, if it did not sleep."""
    return Found(at, None) if made.woken is None else Found(made.woken, made.woken)


def _arrival(made: Made, reports: Iterable[dict[int, Found | None]]) -> tuple[Found, str]:
    """When its bytes were there at the latest, and how the program learnt of them."""
    fd = made.fd
    report = next((report for report in reports if fd in report), None)
    found = _found(made, made.start)
    if report is None:
        return found, "return" if made.waits else "check"
    noticed, report[fd] = report[fd], None  # what it receives next may have come later
    return noticed or found, "return"


def _fate(number: int, made: Made, found: Found, connections: Connections) -> MessageRecord:
    connection = connections.at(made.fd, made.start)
    since, connection.since = connection.since, made.end
    arrived, absent = min(max(found.at, since), made.end - 1), found.absent
    told = connection.sender.took(made.received, made.end) if connection.sender else None
    sent = None
    if told is not None:
        arrived, absent = max(0, min(arrived, told[1])), None
        sent = max(0, min(told[0], arrived))
        if since == connection.begun:  # it may have lain there before accept
            since = min(since, arrived)
    elif absent is None:
        absent = connection.empty
    return MessageRecord(
        number, connection.number, made.received, sent, made.received, arrived,
        since=since, lane=connection.lane, absent=absent,
    )  # fmt: skip


# -- the text -------------------------------------------------------------------------------------


class Places:
    """Where calls were made: lines, in the file that makes most of them."""

    def __init__(self, made: Iterable[Made]) -> None:
        codes = [one.stamp.code for one in made]
        files = Counter(code.co_filename for code in codes if not _of_python(code))
        self.file = files.most_common(1)[0][0] if files else ""
        self._codes = {code for code in codes if code.co_filename == self.file}
        self._lines: dict[tuple[CodeType, int], int | None] = {}

    def line(self, stamp: Stamp) -> int | None:
        """The line of this call; None if it stands in another file."""
        key = (stamp.code, stamp.lasti)
        if stamp.code.co_filename != self.file:
            return None
        if key not in self._lines:
            self._lines[key] = _line(*key)
        return self._lines[key]

    def text(self, title: str) -> Text:
        """The part of the file from its first function that makes calls to its last."""
        if not self._codes:
            return Text(title)
        first = min(code.co_firstlineno for code in self._codes)
        last = max(line or first for code in self._codes for *_, line in code.co_lines())
        lines = linecache.getlines(self.file)[first - 1 : last]
        return Text(title, "".join(lines), first)


def _of_python(code: CodeType) -> bool:
    """Does it stand in Python's library, beside `linecache` or in asyncio?"""
    folder, library = os.path.dirname(code.co_filename), os.path.dirname(linecache.__file__)
    return folder in (library, os.path.join(library, "asyncio"))


def _line(code: CodeType, lasti: int) -> int | None:
    return next((line for start, end, line in code.co_lines() if start <= lasti < end), None)


# -- the whole ------------------------------------------------------------------------------------


def timeline(
    threads: Sequence[Thread], title: str, cores: int, machine: str, senders: Senders = nobody,
    changes: Iterable[Change] = (),
) -> Timeline:  # fmt: skip
    """All that was recorded."""
    tape, taken = TraceBuilder(), Counter[str]()
    threads = [thread for thread in threads if thread.looks]
    for thread in threads:
        thread.deduce()
    if len(threads) > cores:
        share_cores(threads, cores)
    names = [unique(thread.name, taken) for thread in threads]
    places = Places(made for thread in threads for made in thread.made)
    for thread in threads:
        for part in thread.parts:
            if part.made is not None:
                part.made.parts.append(part)
    connections = Connections(threads, taken, senders)
    _number_calls(tape, threads, names, places, connections)
    for thread, name in zip(threads, names, strict=True):
        _lane(tape, thread, name)
    fates = messages(threads, names, connections, tape)
    end = max((thread.parts[-1].end for thread in threads if thread.parts), default=0)
    for lane, at, state, note in changes:
        if lane not in tape.helpers:
            tape.helpers.append(lane)
        if state is None:
            tape.exit(lane, min(max(0, at), end))
        else:
            tape.change(lane, min(max(0, at), end), state, None, note)
    return tape.timeline(places.text(title), "measured", cores, fates, end, (), machine)


def _number_calls(
    tape: TraceBuilder, threads: Sequence[Thread], names: Sequence[str], places: Places,
    connections: Connections,
) -> None:  # fmt: skip
    """Every system call, in the order of their starts."""
    log = []
    for thread, name in zip(threads, names, strict=True):
        for made in thread.made:
            start = made.start
            for nth, (call, end, errno) in enumerate(made.pieces()):
                log.append((start, name, nth, end, call, errno, made))
                start = end
    log.sort(key=lambda row: row[:4])
    for start, name, nth, end, call, errno, made in log:
        line, waits = places.line(made.stamp), made.waits and nth == 0
        number = tape.enter(name, start, call, made.stamp.fd, line, waits, False)
        counts = call == made.name
        received = made.received if counts and made.fd in connections else 0
        moved = received, made.sent if counts else 0
        tape.leave(number, end, errno, *moved)
        made.calls.append(number)


def _lane(tape: TraceBuilder, thread: Thread, name: str) -> None:
    for part in thread.parts:
        if part.made is None:
            note = UNSEEN if part.state == SLEEPING else ""
            tape.change(name, part.start, part.state, None, note)
            continue
        at = part.start
        for number in part.made.calls:
            ends = tape.span(number)[1]
            if at < part.end and at < ends:
                tape.change(name, at, part.state, number, part.made.note)
                at = ends
    if thread.parts:
        tape.exit(name, thread.parts[-1].end)
