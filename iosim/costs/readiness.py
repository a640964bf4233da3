"""How select, poll and epoll find out what is ready: one question, step by step, with its costs.

A question is put while data is there already, so that the call does not sleep.  (One that slept
looks at all of its descriptors a second time when it is woken, select and poll, that is.)  Each
step has its price from `Costs`, and the steps of a call add up to what the simulated kernel charges
for it.  Where `Costs` has one price for several steps it is shared out among them equally: the way
in, the copies of the arguments and the way back are one `syscall`, the program's own code one
`user`.  Times are ns, sizes bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from ..validate import whole
from .model import Costs

__all__ = ["CALLS", "MOST", "PATTERNS", "Asked", "Step", "ask", "bits_bytes", "ready_places"]

CALLS = ("select", "poll", "epoll")
MOST = 64  # descriptors of a question: each is told, and drawn, by itself
FIRST_FD = 3  # 0, 1 and 2 are taken
FD_SETSIZE = 1_024  # bits of a program's fd_set: select(2)
LONG = 8  # bytes of a kernel's long, in which the bits of an fd_set stand
POLLFD, REVENTS, EVENT = 8, 2, 12  # bytes: struct pollfd, its revents, struct epoll_event (x86-64)
USER, KERNEL, COPY, TRANSIT = "user", "kernel", "copy", "transit"


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


# -- which of them are ready ----------------------------------------------------------------------


def _spread(n: int, ready: int) -> Sequence[int]:
    return [n * place // ready for place in range(ready)]


def _first(n: int, ready: int) -> Sequence[int]:
    return range(ready)


def _last(n: int, ready: int) -> Sequence[int]:
    return range(n - ready, n)


#: Where the ready ones stand among `n`.
PATTERNS = {"spread": _spread, "first": _first, "last": _last}


def ready_places(n: int, ready: int, pattern: str = "spread") -> tuple[int, ...]:
    """The places, from 0, of `ready` ones among `n`: "spread" evenly, the "first" or the "last".

    ValueError unless 1 <= n <= 64 and 0 <= ready <= n, and for another pattern.
    """
    whole("n", n, 1, MOST, "descriptors")
    whole("ready", ready, 0, n, "descriptors")
    if pattern not in PATTERNS:
        raise ValueError(f"pattern must be one of {', '.join(PATTERNS)}, got {pattern!r}")
    return tuple(PATTERNS[pattern](n, ready)) if ready else ()


def bits_bytes(nfds: int) -> int:
    """Bytes of one set that the kernel copies for `nfds` bits: whole longs (FDS_BYTES, select.c).

    The program's own fd_set has room for FD_SETSIZE bits, 128 bytes, whatever `nfds` is.
    """
    return -(-nfds // (8 * LONG)) * LONG


# -- the steps ------------------------------------------------------------------------------------


def ask(
    call: str, n: int, ready: Sequence[int] = (), costs: Costs | None = None, sets: int = 1
) -> Asked:
    """The steps of one question to `call` about `n` descriptors, those at `ready` being ready.

    call   "select", "poll" or "epoll"
    ready  places from 0 to n - 1, as `ready_places` gives them
    costs  what each step costs; `Costs.textbook()` unless given
    sets   how many sets select is given, 1 to 3 (readfds; writefds; exceptfds)

    ValueError for another call, a place twice or out of range, unless 1 <= n <= 64, and for more
    than one set where there are none.
    """
    if call not in CALLS:
        raise ValueError(f"call must be one of {', '.join(CALLS)}, got {call!r}")
    whole("n", n, 1, MOST, "descriptors")
    whole("sets", sets, 1, 3 if call == "select" else 1, "sets")
    places = [whole("ready", place, 0, n - 1, "(a place)") for place in ready]
    if len({*places}) < len(places):
        raise ValueError(f"ready must name each place once, got {places}")
    fds = tuple(range(FIRST_FD, FIRST_FD + n))
    found = tuple(fds[place] for place in sorted(places))
    clock = _Clock(call, fds, found, costs or Costs.textbook(), sets)
    return Asked(call, fds, found, sets, tuple(_TELLERS[call](clock)))


@dataclass
class _Clock:
    """The question, and how late it is."""

    call: str
    fds: tuple[int, ...]
    ready: tuple[int, ...]
    costs: Costs
    sets: int
    now: int = 0

    def step(self, part: str, ns: int, state: str, words: str, **more: object) -> Step:
        start, self.now = self.now, self.now + ns
        return Step(part, start, self.now, state, words, **more)  # type: ignore[arg-type]


def _shares(ns: float, parts: int) -> list[int]:
    """`ns` in `parts` whole numbers of ns, as equal as can be."""
    total = round(ns)
    return [total * (n + 1) // parts - total * n // parts for n in range(parts)]


def _by_bits(clock: _Clock) -> Iterator[Step]:
    """select(2): core_sys_select copies the sets in and out, do_select asks one after another.

    It looks at every bit that is set, up to nfds, whatever it has found before (fs/select.c), and
    writes its answer over the sets: the program has to make them anew for each question.
    """
    nfds = clock.fds[-1] + 1
    nbytes = bits_bytes(nfds) * clock.sets
    own = FD_SETSIZE // 8 * clock.sets
    yield from _own_code(
        clock, f"the program writes its set anew, {own} bytes: the last answer stands in it"
    )
    times = f" × {clock.sets} sets" if clock.sets > 1 else ""
    what = f"{nbytes} bytes: {nfds} bits in whole longs{times}"
    yield from _scan(
        clock, clock.costs.select_per_fd, nbytes, f"the kernel copies in {what}",
        nbytes, f"the kernel copies {nbytes} bytes back, over the program's set",
    )  # fmt: skip
    yield from _look_through(clock, "is its bit still set?")


def _by_array(clock: _Clock) -> Iterator[Step]:
    """poll(2): do_sys_poll copies the array in, asks each entry, and writes back each revents."""
    n = len(clock.fds)
    yield from _own_code(
        clock, "the program's array stays as it is: the kernel writes into revents only"
    )
    yield from _scan(
        clock, clock.costs.poll_per_fd,
        n * POLLFD, f"the kernel copies in {n * POLLFD} bytes: {n} entries of {POLLFD}",
        n * REVENTS, f"the kernel writes back {n * REVENTS} bytes: the revents of every entry",
    )  # fmt: skip
    yield from _look_through(clock, "is there something in its revents?")


def _by_list(clock: _Clock) -> Iterator[Step]:
    """epoll(7): the kernel keeps the interest list; who becomes ready puts itself on another one.

    epoll_ctl puts each descriptor into a red-black tree and hangs a callback on it
    (ep_insert, fs/eventpoll.c); an arrival runs the callback, which appends to the ready list
    (ep_poll_callback); epoll_wait takes from its front, asks what it takes once more, and puts what
    is level-triggered back at its end (ep_send_events).
    """
    trap = round(clock.costs.syscall)
    yield clock.step("create", trap, KERNEL, "epoll_create: an empty interest list")
    for fd in clock.fds:
        yield clock.step(
            "add", trap, KERNEL, f"epoll_ctl: descriptor {fd} into the tree, a callback on it",
            fd=fd, nbytes=EVENT,
        )  # fmt: skip
    yield from _own_code(clock, "the program prepares nothing: the kernel has its list")
    way_in, way_out = _shares(trap, 2)
    yield clock.step("enter", way_in, KERNEL, "epoll_wait enters the kernel, with nothing to copy")
    looks = _shares(clock.costs.epoll_per_ready * len(clock.ready), max(1, len(clock.ready)))
    for fd, ns in zip(clock.ready, looks, strict=False):
        yield clock.step(
            "take", ns, KERNEL,
            f"descriptor {fd} off the ready list: its event, {EVENT} bytes, to the program; "
            "then back to the end of the list (level-triggered)",
            fd=fd, found=True, nbytes=EVENT,
        )  # fmt: skip
    yield clock.step("return", way_out, KERNEL, _returns("epoll_wait", len(clock.ready)))
    yield from _look_through(clock, "an event: this one is ready")


_TELLERS = {"select": _by_bits, "poll": _by_array, "epoll": _by_list}


def _own_code(clock: _Clock, words: str) -> Iterator[Step]:
    """The program's own code before the question; meanwhile the messages arrive."""
    start = clock.now
    own = clock.step("prepare", round(clock.costs.user), USER, words)
    yield own
    at = start
    told = "its callback puts it on the ready list" if clock.call == "epoll" else "nobody is told"
    for fd, ns in zip(clock.ready, _shares(own.ns, max(1, len(clock.ready))), strict=False):
        words = f"a message lies in the queue of descriptor {fd}: {told}"
        yield Step("arrive", at, at + ns, TRANSIT, words, fd, True)
        at += ns


def _scan(
    clock: _Clock, per_fd: float, nbytes: int, copies_in: str, back: int, copies_back: str
) -> Iterator[Step]:
    """The call: in, the copy, a look at each, the copy back, out."""
    enter, copy_in, copy_back, leave = _shares(clock.costs.syscall, 4)
    yield clock.step("enter", enter, KERNEL, f"{clock.call} enters the kernel")
    yield clock.step("copy in", copy_in, COPY, copies_in, nbytes=nbytes)
    for fd, ns in zip(clock.fds, _shares(per_fd * len(clock.fds), len(clock.fds)), strict=True):
        found = fd in clock.ready
        words = f"the kernel asks descriptor {fd}: {'ready' if found else 'not ready'}"
        yield clock.step("look", ns, KERNEL, words, fd=fd, found=found)
    yield clock.step("copy back", copy_back, COPY, copies_back, nbytes=back)
    yield clock.step("return", leave, KERNEL, _returns(clock.call, len(clock.ready)))


def _returns(call: str, ready: int) -> str:
    return f"{call} returns {ready}"


def _look_through(clock: _Clock, question: str) -> Iterator[Step]:
    """The program's own way through the answer, until it has found as many as were returned.

    As UNP figures 6.22 and 6.26 do it (`--nready <= 0`); an epoll_wait has named them.
    """
    last = clock.fds.index(clock.ready[-1]) if clock.ready else -1
    seen = clock.ready if clock.call == "epoll" else clock.fds[: last + 1]
    if not seen:
        yield clock.step("go on", round(clock.costs.user), USER, "nothing is ready: it goes on")
        return
    for fd, ns in zip(seen, _shares(clock.costs.user, len(seen)), strict=True):
        found = fd in clock.ready
        words = question if clock.call == "epoll" else f"{question} {'yes' if found else 'no'}"
        yield clock.step("scan", ns, USER, f"the program at descriptor {fd}: {words}",
                         fd=fd, found=found)  # fmt: skip
