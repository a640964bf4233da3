"""From strace's log of a run to a `Timeline`: each line is the program's, or a rule leaves it out.

What strace sees of a call is its entry, its arguments, its return and its errno.  It does not see
the scheduler.  So a call that waits is drawn asleep from its entry until the first arrival in it,
or until its return if it came back with nothing, and in the kernel from there on: the wake-up, the
time in the run queue and the tracer's own stops are in that stretch.  A line of source is not seen
either.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, ClassVar, NamedTuple

from iosim.calls import (
    Request,
    aio_read,
    epoll_create,
    epoll_ctl,
    epoll_wait,
    fcntl,
    getpid,
    io_uring_enter,
    io_uring_setup,
    io_uring_submit,
    pause,
    poll,
    recvfrom,
    select,
    setsockopt,
    sigaction,
    sigprocmask,
    sigtimedwait,
    sleep,
)
from iosim.kernels.launch import Plan
from iosim.real.measured import PROCESS, Job, Receipt, Run, Stretch, of_datagram, of_stream
from iosim.real.strace import Line, Signalled, signal_number, unquote
from iosim.trace import KERNEL, SLEEPING
from iosim.trace.builder import MessageRecord, messages

__all__ = ["CALLS", "RULES", "Heard", "Hearing"]

# -- why a line is left out --------------------------------------------------------------------

WORD = "announcements, which are no calls"
BEFORE = "before the program began"
AFTER = "after it had ended"
THREAD = "another thread's"
FD = "on a descriptor that is not the program's"
ELSE = "a command or an option that programs do not have"
LIBRARY = "the C library's own, to run a helper thread"
GUARD = "the recorder's guard against a signal that would end the process"
HANDLER = "the return from a signal's handler"
RULES = (WORD, BEFORE, AFTER, THREAD, FD, ELSE, LIBRARY, GUARD, HANDLER)


# -- what a line means -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Meaning:
    """A request of our vocabulary, as far as a line tells.

    `names`: the descriptors that it names, all of them the program's or the line is left out;
    `fd`: the one that the call is listed with; `waits`: does it return only when there is something
    for it, unless its descriptor is O_NONBLOCK?
    """

    request: type[Request]
    names: Sequence[int] = ()
    fd: int | None = None
    waits: bool = False
    arms: bool = False


AT_ONCE = {"0", "{tv_sec=0, tv_nsec=0}", "{tv_sec=0, tv_usec=0}"}
LIBRARY_SIGNALS = {32, 33}  # which the C library keeps for itself: nptl(7)
VOCABULARY = {"F_SETFL", "F_SETOWN", "F_SETOWN_EX", "F_SETSIG"}
Reader = Callable[[Line], Meaning | str]


def _numbers(text: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", text)]


def _receives(flags: int) -> Reader:
    def read(line: Line) -> Meaning:
        fd = line.number(0)
        return Meaning(recvfrom, [fd], fd, waits="MSG_DONTWAIT" not in line.args[flags])

    return read


def _select(line: Line) -> Meaning:
    return Meaning(select, _numbers(line.args[1]), waits=line.args[4] not in AT_ONCE)


def _poll(line: Line) -> Meaning:
    fds = [int(fd) for fd in re.findall(r"fd=(\d+)", line.args[0])]
    return Meaning(poll, fds, waits=line.args[2] not in AT_ONCE)


def _epoll_ctl(line: Line) -> Meaning:
    return Meaning(epoll_ctl, [line.number(0), line.number(2)], line.number(2))


def _epoll_wait(line: Line) -> Meaning:
    fd = line.number(0)
    return Meaning(epoll_wait, [fd], fd, waits=line.args[3] not in AT_ONCE)


def _fcntl(line: Line) -> Meaning | str:
    fd = line.number(0)
    if line.args[1] not in VOCABULARY:
        return ELSE
    arms = line.args[1] == "F_SETFL" and bool(re.search("FASYNC|O_ASYNC", line.args[2]))
    return Meaning(fcntl, [fd], fd, arms=arms)


def _setsockopt(line: Line) -> Meaning | str:
    fd = line.number(0)
    return Meaning(setsockopt, [fd], fd) if "SO_RCVTIMEO" in line.args[2] else ELSE


def _sigaction(line: Line) -> Meaning | str:
    return LIBRARY if signal_number(line.args[0]) in LIBRARY_SIGNALS else Meaning(sigaction)


def _sigprocmask(line: Line) -> Meaning | str:
    """Programs block and unblock; who sets the whole mask, or blocks nearly all, is the library."""
    how, signals = line.args[:2]
    theirs = LIBRARY_SIGNALS & set(map(signal_number, signals.strip("[]").split()))
    if how not in ("SIG_BLOCK", "SIG_UNBLOCK") or signals.startswith("~") or theirs:
        return LIBRARY
    return Meaning(sigprocmask)


def _io_uring_enter(line: Line) -> Meaning:
    fd, submits = line.number(0), line.number(1) > 0
    request = io_uring_submit if submits else io_uring_enter
    return Meaning(request, [fd], fd, waits=not submits, arms=submits)


def _is(request: type[Request], waits: bool = False) -> Reader:
    return lambda line: Meaning(request, waits=waits)


def _on(name: str) -> Reader:
    """A call that is none of the program's on any descriptor."""
    return lambda line: name


def _every(kind: type[Request], reader: Reader) -> dict[str, Reader]:
    """By each name that the call goes by."""
    return dict.fromkeys(kind.linux_names(), reader)


#: Each call that strace is asked for.  The real kernel receives with recvmsg(2), for the arrival
#: stamp.
CALLS: dict[str, Reader] = {
    "recvmsg": _receives(2), "recvfrom": _receives(3),
    **_every(select, _select), **_every(poll, _poll),
    **_every(epoll_create, _is(epoll_create)), "epoll_ctl": _epoll_ctl,
    **_every(epoll_wait, _epoll_wait),
    "fcntl": _fcntl, "setsockopt": _setsockopt,
    **_every(sleep, _is(sleep)), "getpid": _is(getpid),
    **_every(sigaction, _sigaction), **_every(sigprocmask, _sigprocmask),
    **_every(sigtimedwait, lambda line: Meaning(sigtimedwait, waits=line.args[2] not in AT_ONCE)),
    **_every(pause, _is(pause, True)), "rt_sigreturn": _on(HANDLER),
    "io_uring_setup": _is(io_uring_setup), "io_uring_enter": _io_uring_enter,
    # aio_read(3) is none itself: glibc wakes a helper (futex) or makes one (clone), and that one
    # tries pread64, which a socket refuses, and then waits in read.
    "pread64": _on(FD), "read": _on(FD), "write": _on(FD), "futex": _on(LIBRARY),
    "clone": _on(LIBRARY), "clone3": _on(LIBRARY),
}  # fmt: skip

MAKES = {epoll_create, io_uring_setup}  # their result is a descriptor of the program's
ASKS_A_HELPER = {"futex", "clone", "clone3"}


@dataclass(frozen=True, slots=True)
class Heard:
    """One line of the log, and what was made of it: the `call`'s name, or the `rule` against it.

    Several lines may be one call: one that a signal interrupted is made again (PEP 475), and pause
    is made of three, as sigsuspend(2) is in one.
    """

    line: Line
    call: str = ""
    rule: str = ""


# -- what strace knows of a stretch ------------------------------------------------------------


@dataclass(slots=True)
class Seen(Stretch):
    """A stretch without the scheduler's word; `idle`: it slept unless something arrived.

    `latest`: when the thread was in its next line, and out of this one.  strace's clock of a call
    starts once it has written down how it begins, so that `end` is too early by as long as that
    took: on a busy machine, longer than a message needs.
    """

    idle: bool = False
    latest: int = 0

    def parts(self, woken: int | None) -> list[tuple[int, str]]:
        """Asleep until what it waited for arrived."""
        if woken is not None:
            return [(self.start, SLEEPING), (woken, KERNEL)]
        return [(self.start, SLEEPING if self.idle else KERNEL)]


READINESS = {each.__name__ for each in (recvfrom, select, poll, epoll_wait)}


class Made(NamedTuple):
    """What the log says of a call of the process: its name, descriptor and start (ns)."""

    name: str
    fd: int | None
    start: int


@dataclass
class Watched(Run):
    """A run as strace saw it.

    `fds` are the program's sockets, with their connections; `made` its calls, by their numbers.
    """

    fds: dict[int, int] = field(default_factory=dict)
    made: dict[int, Made] = field(default_factory=dict)

    def _settle_fates(self) -> None:
        super()._settle_fates()
        arrivals = sorted(fate.arrived for fate in self.fates if fate.arrived is not None)
        for stretch in self.stretches:
            assert isinstance(stretch, Seen)
            if stretch.call is not None and not stretch.idle:
                self._outlast(stretch, stretch.call, arrivals)

    def _outlast(self, stretch: Seen, call: int, arrivals: Sequence[int]) -> None:
        """No call that a message ended was over before it."""
        whole = replace(stretch, end=max(stretch.end, stretch.latest))
        woken = self._woken(whole, arrivals)
        if woken is not None and woken > stretch.end:
            stretch.end = woken
            self.tape.leave(call, woken)

    def _woken(self, stretch: Stretch, arrivals: Sequence[int]) -> int | None:
        """The first arrival for this call during it; None if something lay there before it."""
        if stretch.call is None or super()._woken(stretch, arrivals) is None:
            return None
        call = self.made[stretch.call]
        number = None if call.fd is None else self.fds.get(call.fd)  # None: any of them
        came = [
            (fate.arrived, self.end if fate.received is None else fate.received)
            for fate in self.fates
            if number in (None, fate.connection) and fate.arrived is not None
        ]
        if call.name in READINESS and any(here <= stretch.start < gone for here, gone in came):
            return None
        return min((here for here, _ in came if stretch.start < here <= stretch.end), default=None)


_BASE = re.compile(r'iov_base=("(?:[^"\\]|\\.)*")')
_LENGTH = re.compile(r"iov_len=(\d+)")
_STAMP = re.compile(r"TIMESTAMPNS\w*, cmsg_data=\{tv_sec=(\d+), tv_nsec=(\d+)\}")


class Hearing:
    """Reads a log, once; then `run` and `heard` hold all of it.

    RuntimeError if the log has no beginning or no end of a run.
    """

    def __init__(self, plan: Plan, log: Sequence[Line | Signalled]) -> None:
        self.run = Watched(messages(plan.story), plan.story.transport == "udp")
        self.heard: list[Heard] = []
        self._log = log
        self._fds = self.run.fds
        self._own: set[int] = set()  # these and what the program made
        self._nonblocking: set[int] = set()
        self._guarded: set[int] = set()
        self._handled: set[int] = set()
        self._notice = ""  # what last told the program of data, as in linux/kernel.py
        self._broken: dict[tuple[Any, ...], int] = {}  # calls that a signal interrupted
        self._delivered: list[Signalled] = []  # signals whose handlers have not returned
        self._submitted: deque[int] = deque()
        self._waited: tuple[int, Line] | None = None  # the last io_uring_enter, if no call followed
        self._reads: dict[int, int] = {}  # by helper thread: the aio_read that it works for
        self._read_facts()
        self.pending = [
            deque(fate for fate in self.run.fates if fate.connection == number)
            for number in range(plan.story.connections)
        ]
        self._pauses = dict(self._find_pauses())
        self._requests = self._find_aio()
        self._hear()

    # -- first reading: what was announced -----------------------------------------------------

    def _read_facts(self) -> None:
        begun, over = None, None
        for place, line in enumerate(self._log):
            words = line.words if isinstance(line, Line) else ()
            if words[:1] == ("fd",):
                self._fds[int(words[1])] = len(self._fds)
            elif words[:1] == ("sent",):
                number, before, after = map(int, words[1:])
                self.run.sent[number] = before, after
            elif words[:1] == ("begin",):
                begun = place
            elif words[:1] == ("end",):
                over = place
        if begun is None or over is None:
            raise RuntimeError(f"strace's log has no {'end' if begun else 'beginning'} of a run")
        self._own = set(self._fds)
        self._begun, self._over = begun, over
        first = self._line(begun)
        self._main, self._zero = first.tid, int(first.words[1])
        self.run.end = self._at(self._line(over).start)
        mine = [line.start for _, line in self._lines() if line.tid == self._main]
        self._next = {start: self._at(after) for start, after in pairwise(mine)}

    def _line(self, place: int) -> Line:
        line = self._log[place]
        assert isinstance(line, Line)
        return line

    def _at(self, wall: int) -> int:
        """ns since the start of the run."""
        return wall - self._zero

    def _lines(self) -> Iterator[tuple[int, Line]]:
        """Those of the run, with their places."""
        for place in range(self._begun + 1, self._over):
            line = self._log[place]
            if isinstance(line, Line):
                yield place, line

    def _find_pauses(self) -> Iterator[tuple[int, int]]:
        """Places of a SIG_BLOCK and of the SIG_SETMASK after it: between them was a pause."""
        opened: int | None = None
        for place, line in self._lines():
            if line.tid != self._main or line.name in ("rt_sigtimedwait", "rt_sigreturn"):
                continue
            signals = line.args[1] if line.name == "rt_sigprocmask" else "~"
            if line.args[:1] == ("SIG_SETMASK",) and opened is not None and signals[0] != "~":
                yield opened, place
            opened = place if line.args[0] == "SIG_BLOCK" and signals[0] != "~" else None

    def _find_aio(self) -> dict[int, int]:
        """Where each aio_read was made, and the socket it was for.

        A helper's pread64 tells that there was one.  It was made where the program's thread had
        made that helper (its number is clone's result), or had woken it up (the same futex).  For a
        helper that is busy glibc does neither: then the pread64 itself has to stand for the call.
        """
        asked: list[tuple[str, int]] = []  # whom, and where
        idle: dict[int, str] = {}  # by thread: the futex that it waits on
        found: dict[int, int] = {}
        for place, line in self._lines():
            if line.tid == self._main and line.name in ASKS_A_HELPER:
                asked.append((line.args[0] if line.name == "futex" else str(line.value), place))
            elif line.name == "futex" and "WAIT" in line.args[1]:
                idle.setdefault(line.tid, line.args[0])
            elif line.name == "pread64" and self._helps(line):
                whom = idle.pop(line.tid, str(line.tid))
                made = next((ask for ask in reversed(asked) if ask[0] == whom), (whom, place))
                found[made[1]] = line.number(0)
                asked = [ask for ask in asked if ask != made]
        return found

    def _helps(self, line: Line) -> bool:
        """Does a helper thread work on one of our sockets?"""
        return line.tid != self._main and line.number(0) in self._fds

    # -- second reading: line by line ----------------------------------------------------------

    def _hear(self) -> None:
        for place, line in enumerate(self._log):
            if isinstance(line, Signalled):
                self._signal(place, line)
                continue
            heard = self._judge(place, line)
            self.heard.append(Heard(line, *heard))

    def _judge(self, place: int, line: Line) -> tuple[str, str]:
        """The call's name and "", or "" and the rule."""
        if line.words:
            self._announced(line)
            return "", WORD
        if place < self._begun:
            return "", BEFORE
        if place > self._over:
            self._left_over(line)
            return "", AFTER
        if place in self._requests:
            self._made(line, Meaning(aio_read, fd=self._requests[place], arms=True))
            if line.tid == self._main:
                return aio_read.__name__, ""
        if line.tid != self._main:
            return self._helped(line) if self._helps(line) else ("", THREAD)
        if place in self._pauses:
            return self._paused(line, self._line(self._pauses[place]))
        if any(first < place <= last for first, last in self._pauses.items()):
            return pause.__name__, ""
        return self._understood(line)

    def _understood(self, line: Line) -> tuple[str, str]:
        meaning = CALLS[line.name](line) if line.name in CALLS else ELSE
        if line.name == "rt_sigreturn":
            self._handler_returned(line)
        if isinstance(meaning, str):
            return "", meaning
        if not self._own.issuperset(meaning.names):
            return "", FD
        if meaning.request is sigaction and self._is_guard(signal_number(line.args[0])):
            return "", GUARD
        return self._made(line, meaning)

    def _is_guard(self, signo: int) -> bool:
        self._handled.add(signo)
        announced = signo in self._guarded
        self._guarded.discard(signo)
        return announced

    # -- a call of the program -----------------------------------------------------------------

    def _made(self, line: Line, meaning: Meaning) -> tuple[str, str]:
        name = meaning.request.__name__
        waits = meaning.waits and meaning.fd not in self._nonblocking
        call = self._broken.pop((name, meaning.fd, waits), None)
        if call is None:
            call = self._enter(line, meaning, name, waits)
        idle = meaning.request is sleep or (waits and self._in_vain(line))
        self._stretch(line.start, line.end, call, idle=idle, latest=self._next.get(line.start, 0))
        if line.interrupted and meaning.request is not pause:
            self._broken[name, meaning.fd, waits] = call
            return name, ""
        end = self._at(line.end)
        errno = None if meaning.request is pause else line.errno
        self.run.tape.leave(call, end, errno)
        follow = self._follow.get(meaning.request)
        if follow is not None:
            follow(self, line, meaning, call)
        if meaning.request in MAKES and line.value is not None and line.value >= 0:
            self._own.add(line.value)
        return name, ""

    def _enter(self, line: Line, meaning: Meaning, name: str, waits: bool) -> int:
        if meaning.request not in (recvfrom, sigtimedwait) and self._notice == "signal":
            self._notice = ""
        self._waited = None
        made = Made(name, meaning.fd, self._at(line.start))
        call = self.run.tape.enter(PROCESS, made.start, name, made.fd, None, waits, meaning.arms)
        self.run.made[call] = made
        return call

    @staticmethod
    def _in_vain(line: Line) -> bool:
        return line.interrupted or not line.value or line.value < 0

    def _stretch(
        self, start: int, end: int, call: int | None, note: str = "", idle: bool = False,
        latest: int = 0,
    ) -> None:  # fmt: skip
        """Of the process's lane; never before the one before it."""
        last = self.run.stretches[-1].end if self.run.stretches else 0
        start = max(self._at(start), last)
        end = max(self._at(end), start)
        self.run.stretches.append(Seen(start, end, KERNEL, call, note, idle=idle, latest=latest))

    def _paused(self, first: Line, last: Line) -> tuple[str, str]:
        whole = replace(first, end=last.end, value=1, error="")
        return self._made(whole, Meaning(pause, waits=True))

    # -- what follows from a call --------------------------------------------------------------

    def _flags(self, line: Line, meaning: Meaning, call: int) -> None:
        if line.args[1] == "F_SETFL" and meaning.fd is not None and not line.error:
            blocks = "O_NONBLOCK" not in line.args[2]
            (self._nonblocking.discard if blocks else self._nonblocking.add)(meaning.fd)

    def _ready(self, line: Line, meaning: Meaning, call: int) -> None:
        self._notice = "return" if line.value else ""

    def _told_by_signal(self, line: Line, meaning: Meaning, call: int) -> None:
        self._notice = "" if line.error else "signal"

    def _submits(self, line: Line, meaning: Meaning, call: int) -> None:
        self._submitted.append(call)

    def _waits_for_completion(self, line: Line, meaning: Meaning, call: int) -> None:
        self._waited = call, line

    def _receives(self, line: Line, meaning: Meaning, call: int) -> None:
        fd = line.number(0)
        if line.error and self._notice == "signal":
            self._notice = ""  # its handler has drained the socket
        if not line.value or line.value < 0 or "MSG_PEEK" in line.args[-1]:
            return
        asks = fd in self._nonblocking or not meaning.waits
        told = self._notice or ("check" if asks else "return")
        parts = self._parts(line)
        start, end = self._at(line.start), self._at(line.end)
        for fate, count in parts:
            fate.hand_over(PROCESS, count, end, told)
        self.run.receipts.append(Receipt(start, end, parts, self._stamp(line), call))
        self.run.tape.leave(call, end, None, sum(count for _, count in parts))

    _follow: ClassVar[dict[type[Request], Callable[[Any, Line, Meaning, int], None]]] = {
        recvfrom: _receives, fcntl: _flags, select: _ready, poll: _ready, epoll_wait: _ready,
        sigtimedwait: _told_by_signal, pause: _told_by_signal, io_uring_submit: _submits,
        io_uring_enter: _waits_for_completion,
    }  # fmt: skip

    def _parts(self, line: Line) -> list[tuple[MessageRecord, int]]:
        """Of which messages are the bytes of a receive, and how many of each?"""
        base = _BASE.search(line.args[1])
        size = _LENGTH.search(line.args[1])
        first = unquote(base[1] if base else line.args[1])
        buffer = int(size[1]) if size else line.number(2)
        return self._taken(line.number(0), line.value or 0, first[0] if first else -1, buffer)

    def _taken(
        self, fd: int, count: int, first: int, buffer: int
    ) -> list[tuple[MessageRecord, int]]:
        queue = self.pending[self._fds[fd]]
        if self.run.datagrams:
            return of_datagram(queue, first, count, buffer)
        return of_stream(queue, count)

    def _stamp(self, line: Line) -> int | None:
        """The kernel's arrival time, which strace shows as the program gets it."""
        found = _STAMP.search(line.args[1])
        return None if found is None else self._at(int(found[1]) * 1_000_000_000 + int(found[2]))

    def _left_over(self, line: Line) -> None:
        """What the recorder finds in the queues when all is over: it arrived, and is not lost."""
        if line.name != "recvmsg" or line.number(0) not in self._fds or not line.value:
            return
        if line.value > 0:
            parts = self._parts(line)
            for fate, count in parts:
                fate.left -= count
            stamp = self._stamp(line)
            self.run.receipts.append(Receipt(0, self.run.end, parts, stamp, None, False))

    # -- signals -------------------------------------------------------------------------------

    def _signal(self, place: int, signalled: Signalled) -> None:
        if signalled.tid == self._main and self._begun < place < self._over:
            self._delivered.append(signalled)
            if signalled.signo in self._handled:
                self._notice = "signal"

    def _handler_returned(self, line: Line) -> None:
        if self._delivered:
            signalled = self._delivered.pop()
            self._stretch(signalled.at, line.end, None, f"signal {signalled.signo}")

    # -- what came without a call --------------------------------------------------------------

    def _announced(self, line: Line) -> None:
        kind, *words = line.words
        if kind == "guard":
            self._guarded.add(int(words[0]))
        elif kind == "done":
            self._completed(line, *map(int, words))

    def _completed(self, line: Line, fd: int, count: int, first: int = -1) -> None:
        """A completion of io_uring; whoever waited for it in a call was blocked in the copy too."""
        asked = self._submitted.popleft()
        parts = self._taken(fd, count, first, count)
        if not parts:  # the end of a stream
            return
        last = parts[-1][0].number
        self.run.tape.brought(asked, sum(part for _, part in parts))
        since, until, call = self.run.made[asked].start, self._at(line.start), None
        if self._waited is not None:
            waited, entry = self._waited
            if self._at(entry.start) < self.run.sent.get(last, (0, 0))[1]:
                since, until, call = self._at(entry.start), self._at(entry.end), waited
        for fate, part in parts:
            fate.hand_over(PROCESS, part, until, "completion")
        self.run.receipts.append(Receipt(since, until, parts, None, call))

    def _helped(self, line: Line) -> tuple[str, str]:
        """A helper of glibc's reads one of our sockets, for the process that goes on meanwhile."""
        if line.name == "pread64":
            self._reads[line.tid] = self._asked_for(line)
            return aio_read.__name__, ""
        if line.name != "read":
            return "", THREAD
        helper = self._name_of(line.tid)
        start, end = self._at(line.start), min(self._at(line.end), self.run.end)
        tape = self.run.tape
        call = tape.enter(helper, start, "read", line.number(0), None, True, False)
        job = Job(helper, call, start)
        self.run.jobs.append(job)
        if line.value is not None:
            job.end = end
            tape.leave(call, end, line.errno)
            self._read(line, job)
        return "read", ""

    def _asked_for(self, line: Line) -> int:
        """The newest aio_read of this socket."""
        newest = reversed(self.run.made.items())
        wanted = aio_read.__name__, line.number(0)
        return next(call for call, made in newest if made[:2] == wanted)

    def _name_of(self, tid: int) -> str:
        """As the recorder calls them."""
        number = list(self._reads).index(tid) + 1
        return "aio helper" if number == 1 else f"aio helper {number}"

    def _read(self, line: Line, job: Job) -> None:
        parts = self._parts(line) if line.value and line.value > 0 else []
        if not parts or job.end is None:
            return
        for fate, count in parts:
            fate.hand_over(PROCESS, count, job.end, "completion")
        job.receipt = Receipt(job.start, job.end, parts, None, job.call)
        self.run.receipts.append(job.receipt)
        self.run.tape.brought(self._reads[line.tid], sum(count for _, count in parts))
