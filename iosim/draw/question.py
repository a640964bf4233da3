"""One question to select, poll or epoll as its run tells it, step by step, with its costs.

Which calls were made, when, which descriptors the kernel looked at, in which order, and which of
them were ready: all of that is read in the run.  Where a run has one stretch for several steps it
is shared out among them equally: of the trap the way in, the copies of the arguments and the way
back, of a scan the looks, of the own code afterwards the entries of the answer.  Own code between
the calls made once is left out.  What a copy holds is said here, by the layouts of the manual
pages.  Times are ns, sizes bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise

from ..trace import COPY, KERNEL, TRANSIT, USER, Call, Timeline
from ..trace.records import Scan
from ..validate import whole

__all__ = ["Asked", "Step", "bits_bytes", "question_of"]

FD_SETSIZE = 1_024  # bits of a program's fd_set: select(2)
LONG = 8  # bytes of a kernel's long, in which the bits of an fd_set stand
POLLFD, REVENTS, EVENT = 8, 2, 12  # bytes: struct pollfd, its revents, struct epoll_event (x86-64)


@dataclass(frozen=True, slots=True)
class Step:
    """What happens from `start` to `end` (ns): `part` is its kind, `state` who does it.

    `fd` is the descriptor that it is about, `found` whether that is ready, `nbytes` what is copied.
    `state` is "user", "kernel" or "copy" of the process; an arrival is "transit": the interrupt's
    time, beside the process's own code.
    """

    part: str
    start: int
    end: int
    state: str
    words: str
    fd: int | None = None
    found: bool = False
    nbytes: int = 0

    @property
    def ns(self) -> int:
        """Its cost in ns."""
        return self.end - self.start


@dataclass(frozen=True)
class Asked:
    """One question to `call` about the descriptors `fds`, of which `ready` are ready.

    `sets` is how many sets select is given; 1 for the others.  `steps` begin with what is done
    once, before the first question, and end when the program knows which are ready.
    """

    call: str
    fds: tuple[int, ...]
    ready: tuple[int, ...]
    sets: int
    steps: tuple[Step, ...] = field(repr=False)

    @property
    def end(self) -> int:
        """The last instant, in ns."""
        return max(step.end for step in self.steps)

    def parts(self) -> dict[str, list[Step]]:
        """The steps by their kind, in the order in which each kind begins."""
        found: dict[str, list[Step]] = {}
        for step in self.steps:
            found.setdefault(step.part, []).append(step)
        return found

    def _sum(self, parts: Iterable[str]) -> int:
        return sum(step.ns for step in self.steps if step.part in parts)

    @property
    def call_ns(self) -> int:
        """What the question itself costs: from its way into the kernel to its return."""
        return self._sum(IN_CALL)

    @property
    def once_ns(self) -> int:
        """What was paid once, before: epoll_create and every epoll_ctl."""
        return self._sum(ONCE)

    @property
    def calls_before(self) -> int:
        """How many calls the program made before its first question."""
        return sum(step.part in ONCE for step in self.steps)

    @property
    def looks(self) -> int:
        """How many descriptors the kernel looks at to answer."""
        return sum(step.part in ("look", "take") for step in self.steps)

    @property
    def scanned(self) -> int:
        """How many entries of the answer the program looks at."""
        return sum(step.part == "scan" for step in self.steps)

    @property
    def bytes_in(self) -> int:
        """Bytes that this question copies into the kernel."""
        return sum(step.nbytes for step in self.steps if step.part == "copy in")

    @property
    def bytes_out(self) -> int:
        """Bytes that its answer copies back."""
        return sum(step.nbytes for step in self.steps if step.part in ("copy back", "take"))

    @property
    def bytes_once(self) -> int:
        """Bytes that were copied in once, before."""
        return sum(step.nbytes for step in self.steps if step.part in ONCE)


#: The kinds of steps that are a call made once, and those of the question itself.
ONCE = ("create", "add")
IN_CALL = ("enter", "copy in", "look", "take", "copy back", "return")


def bits_bytes(nfds: int) -> int:
    """Bytes of one set that the kernel copies for `nfds` bits: whole longs (FDS_BYTES, select.c).

    The program's own fd_set has room for FD_SETSIZE bits, 128 bytes, whatever `nfds` is.
    """
    return -(-nfds // (8 * LONG)) * LONG


# -- the steps ------------------------------------------------------------------------------------


def question_of(run: Timeline, sets: int = 1) -> Asked:
    """The one question that `run` puts, to select, poll or epoll_wait.

    `sets`: how many sets select is given, 1 to 3 (readfds; writefds; exceptfds).
    ValueError for more than one set where there are none, and for any other run; in one that slept
    the kernel has looked twice.
    """
    looks = [run.call_log[scan.call].name for scan in run.scans]
    call = looks[0].removesuffix("_wait") if len(looks) == 1 else ""
    if call not in _TELLERS:
        raise ValueError(f"one look is told: this run has {', '.join(looks) or 'none'}")
    (scan,) = run.scans
    question = run.call_log[scan.call]
    whole("sets", sets, 1, 3 if call == "select" else 1, "sets")
    reading = _Reading(run, question, scan, call, sets)
    return Asked(call, reading.fds, scan.ready, sets, tuple(_TELLERS[call](reading)))


@dataclass
class _Reading:
    """The question's place in its run, and how far it is told."""

    run: Timeline
    question: Call
    scan: Scan
    call: str
    sets: int
    now: int = 0

    @property
    def before(self) -> tuple[Call, ...]:
        """The calls made once, before it: of epoll."""
        before = self.run.call_log[: self.question.id]
        return tuple(call for call in before if call.name in ("epoll_create", "epoll_ctl"))

    @property
    def fds(self) -> tuple[int, ...]:
        """Those that it is about: those that it names, or those on its interest list."""
        listed = tuple(call.fd for call in self.before if call.fd is not None)
        return listed or self.scan.fds

    def step(
        self, part: str, ns: int, state: str, words: str, fd: int | None = None,
        found: bool = False, nbytes: int = 0,
    ) -> Step:  # fmt: skip
        start, self.now = self.now, self.now + ns
        return Step(part, start, self.now, state, words, fd, found, nbytes)

    def looks(self) -> Iterator[tuple[int, int, bool]]:
        """Each descriptor that the kernel looked at: how long, and was it ready?"""
        fds, span = self.scan.fds, self.scan.end - self.scan.start
        for fd, ns in zip(fds, _shares(span, max(1, len(fds))), strict=False):
            yield fd, ns, fd in self.scan.ready

    def trap(self, parts: int) -> list[int]:
        """The rest of the call, in so many."""
        spent = self.scan.end - self.scan.start
        return _shares(self.question.end - self.question.start - spent, parts)


def _shares(ns: int, parts: int) -> list[int]:
    """`ns` in `parts` whole numbers of ns, as equal as can be."""
    return [ns * (n + 1) // parts - ns * n // parts for n in range(parts)]


def _by_bits(reading: _Reading) -> Iterator[Step]:
    """select(2): core_sys_select copies the sets in and out, do_select asks one after another.

    It writes its answer over the sets (fs/select.c): the program has to make them anew for each
    question.
    """
    nfds = reading.fds[-1] + 1
    nbytes = bits_bytes(nfds) * reading.sets
    own = FD_SETSIZE // 8 * reading.sets
    yield from _own_code(
        reading, f"the program writes its set anew, {own} bytes: the last answer stands in it"
    )
    times = f" × {reading.sets} sets" if reading.sets > 1 else ""
    what = f"{nbytes} bytes: {nfds} bits in whole longs{times}"
    yield from _scan(
        reading, nbytes, f"the kernel copies in {what}",
        nbytes, f"the kernel copies {nbytes} bytes back, over the program's set",
    )  # fmt: skip
    yield from _look_through(reading, "is its bit still set?")


def _by_array(reading: _Reading) -> Iterator[Step]:
    """poll(2): do_sys_poll copies the array in, asks each entry, and writes back each revents."""
    n = len(reading.fds)
    yield from _own_code(
        reading, "the program's array stays as it is: the kernel writes into revents only"
    )
    yield from _scan(
        reading,
        n * POLLFD, f"the kernel copies in {n * POLLFD} bytes: {n} entries of {POLLFD}",
        n * REVENTS, f"the kernel writes back {n * REVENTS} bytes: the revents of every entry",
    )  # fmt: skip
    yield from _look_through(reading, "is there something in its revents?")


def _by_list(reading: _Reading) -> Iterator[Step]:
    """epoll(7): the kernel keeps the interest list; who becomes ready puts itself on another one.

    epoll_ctl puts each descriptor into a red-black tree and hangs a callback on it
    (ep_insert, fs/eventpoll.c); an arrival runs the callback, which appends to the ready list
    (ep_poll_callback).
    """
    for call in reading.before:
        ns = call.end - call.start
        if call.fd is None:
            yield reading.step("create", ns, KERNEL, "epoll_create: an empty interest list")
        else:
            words = f"epoll_ctl: descriptor {call.fd} into the tree, a callback on it"
            yield reading.step("add", ns, KERNEL, words, call.fd, nbytes=EVENT)
    yield from _own_code(reading, "the program prepares nothing: the kernel has its list")
    way_in, way_out = reading.trap(2)
    words = "epoll_wait enters the kernel, with nothing to copy"
    yield reading.step("enter", way_in, KERNEL, words)
    for fd, ns, found in reading.looks():
        yield reading.step(
            "take", ns, KERNEL,
            f"descriptor {fd} off the ready list: its event, {EVENT} bytes, to the program; "
            "then back to the end of the list (level-triggered)",
            fd, found, EVENT,
        )  # fmt: skip
    yield reading.step("return", way_out, KERNEL, _returns(reading))
    yield from _look_through(reading, "an event: this one is ready")


_TELLERS = {"select": _by_bits, "poll": _by_array, "epoll": _by_list}


def _own_code(reading: _Reading, words: str) -> Iterator[Step]:
    """The program's own code before the question; meanwhile the messages arrive."""
    question = reading.question
    begin, end = reading.run.call_log[question.id - 1].end if question.id else 0, question.start
    later = reading.now - begin
    yield reading.step("prepare", end - begin, USER, words)
    told = "its callback puts it on the ready list" if reading.before else "nobody is told"
    fds = sorted(reading.fds)  # numbered in the order of the connections
    come = [
        (d.arrived + later, fds[d.connection])
        for d in reading.run.deliveries if d.arrived is not None and begin <= d.arrived <= end
    ]  # fmt: skip
    for (at, fd), (until, _) in pairwise([*come, (end + later, 0)]):
        words = f"a message lies in the queue of descriptor {fd}: {told}"
        yield Step("arrive", at, until, TRANSIT, words, fd, True)


def _scan(
    reading: _Reading, nbytes: int, copies_in: str, back: int, copies_back: str
) -> Iterator[Step]:
    """The call: in, the copy, a look at each, the copy back, out."""
    enter, copy_in, copy_back, leave = reading.trap(4)
    yield reading.step("enter", enter, KERNEL, f"{reading.call} enters the kernel")
    yield reading.step("copy in", copy_in, COPY, copies_in, nbytes=nbytes)
    for fd, ns, found in reading.looks():
        words = f"the kernel asks descriptor {fd}: {'ready' if found else 'not ready'}"
        yield reading.step("look", ns, KERNEL, words, fd, found)
    yield reading.step("copy back", copy_back, COPY, copies_back, nbytes=back)
    yield reading.step("return", leave, KERNEL, _returns(reading))


def _returns(reading: _Reading) -> str:
    return f"{reading.question.name} returns {len(reading.scan.ready)}"


def _look_through(reading: _Reading, question: str) -> Iterator[Step]:
    """The program's own way through the answer, until it has found as many as were returned.

    As UNP figures 6.22 and 6.26 do it (`--nready <= 0`); an epoll_wait has named them.
    """
    ready, fds = reading.scan.ready, reading.fds
    after = (i for i in reading.run.lane(reading.question.process) if i.state == USER)
    own = sum(i.duration for i in after if i.start == reading.question.end)
    named = reading.call == "epoll"
    seen = ready if named else fds[: fds.index(ready[-1]) + 1] if ready else ()
    if not seen:
        yield reading.step("go on", own, USER, "nothing is ready: it goes on")
        return
    for fd, ns in zip(seen, _shares(own, len(seen)), strict=True):
        found = fd in ready
        words = question if named else f"{question} {'yes' if found else 'no'}"
        yield reading.step("scan", ns, USER, f"the program at descriptor {fd}: {words}", fd, found)
