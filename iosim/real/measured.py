"""From what was read off the real kernel to a `Timeline`.

What is known of a call that may sleep: when it began and ended, how much CPU time it took, how long
it was in the run queue, and when the data arrived.  What is not known is the order of these parts;
it is the kernel's: in, asleep, ready, out.  So the sums are measured, the places within one call
are deduced, and the sleep never ends before the arrival of what ended it.

The copy of a message is the part of its receiving call in which the thread ran after the data was
there.  That is an upper bound: it holds the call's way out as well.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from operator import itemgetter

from ..kernels.pools import Promise, with_jobs
from ..trace import KERNEL, READY, SLEEPING, USER, Disturbance, Evidence, Interval, Timeline
from ..trace.builder import MessageRecord, Text, TraceBuilder
from .worker_tasks import Rows

__all__ = [
    "PROCESS", "Job", "Receipt", "Run", "Stretch", "Thread", "Usage", "of_datagram", "of_stream",
    "within_cores",
]  # fmt: skip

PROCESS = "process"
RUNNING = (USER, KERNEL)
ENTRY_SHARE = (
    4  # a quarter of a sleeping call's CPU time is its way in: it comes out to cold caches
)


@dataclass(slots=True)
class Usage:
    """What a thread used up: CPU ns, ns in the run queue, times that it gave its core away."""

    cpu: int
    queued: int
    switches: int


@dataclass(slots=True)
class Stretch:
    """A part of the process's life outside its own code; `usage` if it may have slept in it."""

    start: int
    end: int
    state: str
    call: int | None = None
    note: str = ""
    usage: Usage | None = None

    def parts(self, woken: int | None) -> list[tuple[int, str]]:
        """`(from, state)`, in time.  `woken`: the arrival before which no sleep can have ended."""
        if self.usage is None or not (self.usage.switches or self.usage.queued):
            return [(self.start, self.state)]  # it never left its core
        wall = self.end - self.start
        ran = min(self.usage.cpu, wall)
        queued = min(self.usage.queued, wall - ran)  # some of it may have been just before the call
        asleep = wall - queued - ran
        if not self.usage.switches:  # it only lost its core: what is left over are interrupts
            ran, asleep = ran + asleep, 0
        room = self.end - (self.start if woken is None else woken)
        way_in = ran // ENTRY_SHARE
        ready = min(queued, max(0, room - way_in))  # nearly always it is the wake-up that queues
        out = min(ran - way_in, room - ready)
        way_in = ran - out  # more than its share, if the way out would not fit after the arrival
        before = way_in // 2 if ready < queued else 0  # cut in two by what queued on the way in
        lengths = (
            (before, self.state),
            (queued - ready, READY),
            (way_in - before, self.state),
            (asleep, SLEEPING),
            (ready, READY),
            (out, self.state),
        )
        at, parts = self.start, []
        for length, state in lengths:
            parts += [(at, state)] if length else []
            at += length
        return parts


@dataclass(slots=True)
class Receipt:
    """Bytes of messages that came into the program's hands between `start` and `end`.

    `parts` are `(fate, bytes)`; `stamp` the kernel's arrival time of the last of them, if it told.
    """

    start: int
    end: int
    parts: list[tuple[MessageRecord, int]]
    stamp: int | None
    call: int | None
    taken: bool = True


@dataclass(slots=True)
class Job:
    """A read of glibc's helper thread `helper`: call number `call`, from `start` to `end`."""

    helper: str
    call: int
    start: int
    end: int | None = None
    receipt: Receipt | None = None


@dataclass(slots=True)
class Thread:
    """A further thread of the program: its lane, from `start` to `end` (None: to the run's)."""

    name: str
    start: int
    end: int | None = None
    stretches: list[Stretch] = field(default_factory=list)


def of_datagram(
    queue: deque[MessageRecord], first: int, length: int, size: int
) -> list[tuple[MessageRecord, int]]:
    """Of which message of `queue` is a datagram of `length` bytes, got with a buffer of `size`?

    The first that it can be: each byte tells the number, so the `first` does.  Those before it
    were dropped.
    """
    for place, fate in enumerate(queue):
        if fate.number % 251 == first and length == min(size, fate.size):
            for _ in range(place + 1):
                queue.popleft()
            return [(fate, fate.size)]  # the rest of a longer one is lost: udp(7)
    return []


def of_stream(queue: deque[MessageRecord], count: int) -> list[tuple[MessageRecord, int]]:
    """A stream has no borders: `count` bytes are those of the messages, in order."""
    parts = []
    while count and queue:
        fate = queue[0]
        parts.append((fate, min(count, fate.left)))
        if count >= fate.left:
            queue.popleft()
        count -= parts[-1][1]
    return parts


@dataclass
class Run:
    """All that was taken down in one run; `timeline` makes sense of it.  ns from its start."""

    fates: list[MessageRecord]
    datagrams: bool
    tape: TraceBuilder = field(default_factory=TraceBuilder)
    title: str = ""
    lane: str = PROCESS
    stretches: list[Stretch] = field(default_factory=list)
    receipts: list[Receipt] = field(default_factory=list)
    jobs: list[Job] = field(default_factory=list)
    threads: list[Thread] = field(default_factory=list)
    promises: list[Promise] = field(default_factory=list)
    awaited: dict[int, Promise] = field(default_factory=dict)  # whose end ends that call
    acts: dict[str, list[tuple[str, Rows]]] = field(
        default_factory=dict
    )  # of the library's threads
    sent: dict[int, tuple[int, int]] = field(default_factory=dict)
    evidence: list[Evidence] = field(default_factory=list)
    disturbances: tuple[Disturbance, ...] = ()
    end: int = 0

    def timeline(self, text: Text, cores: int, machine: str, kernel: str = "measured") -> Timeline:
        """The whole run; `kernel` is what the timeline is called."""
        self._settle_fates()
        for promise in self.promises:
            self._settle_promise(promise)
        runs_from = self._process_lanes()
        self._helper_lanes(cores)
        for name in self.tape.helpers:
            if name in self.acts:
                self._act_lane(name)
        for receipt in self.receipts:
            if receipt.taken:
                self._copies(receipt, runs_from)
        evidence = [e for e in self.evidence if e.at <= self.end]
        made = self.tape.timeline(text, kernel, cores, self.fates, self.end, evidence, machine)
        if self.threads or self.acts:
            log = tuple(sorted(made.call_log, key=lambda call: (call.start, call.id)))
            made = replace(within_cores(made), call_log=log)
        return replace(with_jobs(made, self.promises), disturbances=self.disturbances)

    # -- when did it arrive? -------------------------------------------------------------------

    def _settle_fates(self) -> None:
        for fate in self.fates:
            fate.sent = self.sent.get(fate.number, (fate.sent, 0))[0]
        for receipt in self.receipts:
            for fate, _ in receipt.parts:
                if fate.arrived is None:
                    self._settle(fate, receipt)
        for fate in self.fates:
            if self.datagrams and fate.arrived is None and fate.number in self.sent:
                fate.dropped = self.sent[fate.number][1] < self.end  # udp(7): no room, no datagram

    def _settle(self, fate: MessageRecord, receipt: Receipt) -> None:
        """The kernel's stamp is exact; else the middle of the sender's clock, before and after."""
        planned = fate.sent or 0
        before, after = self.sent.get(fate.number, (planned, planned))
        arrived = (before + after) // 2
        if receipt.stamp is not None:
            last = fate is receipt.parts[-1][0]  # the stamp is that of the last bytes received
            arrived = receipt.stamp if last else min(arrived, receipt.stamp)
        if not receipt.taken and arrived > self.end:  # found in the queue once all was over
            del self.sent[fate.number]
            return
        fate.arrived = max(0, min(arrived, receipt.end - 1))
        fate.sent = max(0, min(before, fate.arrived))

    def _settle_promise(self, promise: Promise) -> None:
        """Nothing is told of what happened after the end of the run.

        A result that the program has was done, even if we heard so later.
        """
        if promise.received is not None and promise.done is not None:
            promise.done = min(promise.done, promise.received)
        for name in ("begun", "done", "received"):
            at = getattr(promise, name)
            if at is not None and at > self.end:
                setattr(promise, name, None)
        if promise.begun is not None:
            promise.begun = max(promise.begun, promise.asked)
            if promise.done is not None:
                promise.begun = min(promise.begun, promise.done)

    # -- the lanes -----------------------------------------------------------------------------

    def _process_lanes(self) -> dict[int, int]:
        """The threads' states; since when each call ran without a break until its end."""
        arrivals = sorted(fate.arrived for fate in self.fates if fate.arrived is not None)
        change, runs_from = self.tape.change, dict[int, int]()
        for lane in (Thread(self.lane, 0, None, self.stretches), *self.threads):
            change(lane.name, lane.start, USER)
            for stretch in lane.stretches:
                parts = stretch.parts(self._woken(stretch, arrivals))
                for at, state in parts:
                    change(lane.name, at, state, stretch.call, stretch.note)
                change(lane.name, stretch.end, USER)
                if stretch.call is not None and parts:
                    runs_from[stretch.call] = parts[-1][0]
            if lane.end is not None:
                self.tape.exit(lane.name, lane.end)
        return runs_from

    def _woken(self, stretch: Stretch, arrivals: Sequence[int]) -> int | None:
        """The first arrival during a call that waits for one, or the end of its job."""
        if stretch.call is None:
            return None
        if stretch.call in self.awaited:
            done = self.awaited[stretch.call].done
            return None if done is None or done <= stretch.start else min(done, stretch.end)
        if not self.tape.waits(stretch.call):
            return None
        first = bisect_right(arrivals, stretch.start)
        found = first < len(arrivals) and arrivals[first] <= stretch.end
        return arrivals[first] if found else None

    def _helper_lanes(self, cores: int) -> None:
        """Asleep until the data is there, then in the kernel until the program sees its end.

        The program's own lane needs one core; helpers beyond the others are shown as ready.
        """
        names = list(dict.fromkeys(job.helper for job in self.jobs))
        self.tape.helpers += names
        for job in self.jobs:
            change, end = self.tape.change, self.end if job.end is None else job.end
            runs = KERNEL if names.index(job.helper) + 1 < cores else READY
            change(job.helper, job.start, SLEEPING, job.call)
            if job.end is not None:
                change(job.helper, self._arrival(job), runs, job.call)
                change(job.helper, end, SLEEPING)

    def _arrival(self, job: Job) -> int:
        assert job.end is not None
        arrivals = [f.arrived or 0 for f, _ in job.receipt.parts] if job.receipt else []
        return min(max([job.start, *arrivals]), job.end)

    def _act_lane(self, name: str) -> None:
        """Asleep but for its jobs and callbacks, which are clipped at the end of the run."""
        change, end = self.tape.change, self.end
        change(name, 0, SLEEPING)
        for label, rows in sorted(self.acts[name], key=lambda act: act[1][0][1]):
            start, stop = rows[0][1], min(rows[-1][2], end)
            if start >= end:
                continue
            number = self.tape.enter(name, start, label, None, None, False, False)
            for state, at, _, note in rows:
                if at < stop:
                    change(name, at, state, number, note)
            self.tape.leave(number, stop)
            change(name, stop, SLEEPING)

    def _copies(self, receipt: Receipt, runs_from: dict[int, int]) -> None:
        """Its stretch is shared out among the messages, by their bytes."""
        runs = 0 if receipt.call is None else runs_from.get(receipt.call, 0)
        start = max(receipt.start, runs)
        whole = sum(count for _, count in receipt.parts)
        at, done = start, 0
        for fate, count in receipt.parts:
            done += count
            until = start + (receipt.end - start) * done // whole
            begin = max(at, fate.arrived or 0)
            if begin < until:
                self.tape.copied(fate.number, begin, until, receipt.call)
            at = max(at, until)


# -- no more of them run than there are cores --------------------------------------------------

Span = tuple[int, int]


def within_cores(timeline: Timeline) -> Timeline:
    """The same run, in which a lane that finds all cores taken by those before it is ready.

    The kernel's sums do not say who waited where; that so many cannot run at once is certain.
    """
    order = (*timeline.processes, *timeline.helpers)
    lanes = [timeline.lane(name) for name in order]
    crowded = _crowded_out(lanes, timeline.cores)
    fitted = [
        part for lane, spans in zip(lanes, crowded, strict=True) for part in _cut(lane, spans)
    ]
    data = [i for i in timeline.intervals if i.lane not in set(order)]
    return replace(timeline, intervals=(*fitted, *data))


def _crowded_out(lanes: Sequence[Sequence[Interval]], cores: int) -> list[list[Span]]:
    """When each lane runs though all cores are taken by lanes before it."""
    changes = sorted(
        change
        for number, lane in enumerate(lanes) for i in lane if i.state in RUNNING
        for change in ((i.start, 1, number), (i.end, 0, number))
    )  # fmt: skip
    running: list[int] = []
    since: dict[int, int] = {}
    spans: list[list[Span]] = [[] for _ in lanes]
    for at, some in groupby(changes, key=itemgetter(0)):
        for _, begins, number in some:
            insort(running, number) if begins else running.remove(number)
        out = set(running[cores:])
        for number in since.keys() - out:
            spans[number].append((since.pop(number), at))
        since |= dict.fromkeys(out - since.keys(), at)
    return spans


def _cut(lane: Sequence[Interval], spans: Sequence[Span]) -> Iterator[Interval]:
    """The lane's intervals, ready in these spans."""
    for i in lane:
        at = i.start
        first = bisect_right(spans, i.start, key=itemgetter(1))
        for start, end in spans[first:] if i.state in RUNNING else ():
            if start >= i.end:
                break
            if at < start:
                yield replace(i, start=at, end=start)
            yield replace(i, start=max(at, start), end=min(end, i.end), state=READY)
            at = min(end, i.end)
        if at < i.end:
            yield i if at == i.start else replace(i, start=at)
