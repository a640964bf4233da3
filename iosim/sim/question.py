"""A run in which one question is put to select, poll or epoll, while data is there already."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..calls import (
    EPOLL_CTL_ADD,
    Program,
    epoll_create,
    epoll_ctl,
    epoll_wait,
    getpid,
    poll,
    select,
)
from ..costs import Costs
from ..trace import Timeline
from ..validate import HOUR_NS, whole
from ..workloads.traffic import replay
from .simulate import simulate_traffic

__all__ = ["CALLS", "MOST", "PATTERNS", "ask", "ready_places"]

MOST = 64  # descriptors of a question: each is told, and drawn, by itself


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


# -- the question ---------------------------------------------------------------------------------


def by_select(fds: Sequence[int], nbytes: int) -> Program:
    """Ask once, and go on."""
    yield select(fds, timeout=0)
    yield getpid()


def by_poll(fds: Sequence[int], nbytes: int) -> Program:
    """Ask once, and go on."""
    yield poll(fds, timeout=0)
    yield getpid()


def by_epoll(fds: Sequence[int], nbytes: int) -> Program:
    """Build the interest list, ask once, and go on."""
    epfd = yield epoll_create()
    for fd in fds:
        yield epoll_ctl(epfd, EPOLL_CTL_ADD, fd)
    yield epoll_wait(epfd, len(fds), timeout=0)
    yield getpid()


PROGRAMS: dict[str, Callable[[Sequence[int], int], Program]] = {
    "select": by_select, "poll": by_poll, "epoll": by_epoll,
}  # fmt: skip
CALLS = tuple(PROGRAMS)


def ask(call: str, n: int, ready: Sequence[int] = (), costs: Costs | None = None) -> Timeline:
    """A run that puts one question to `call` about `n` descriptors, those at `ready` being ready.

    call   "select", "poll" or "epoll"
    ready  places from 0 to n - 1, as `ready_places` gives them
    costs  of these the prices of a call, of own code and of a look; `Costs.textbook()` unless given

    The messages come one by one while the program is on its way to the question.
    ValueError for another call, a place twice or out of range, and unless 1 <= n <= 64.
    """
    if call not in CALLS:
        raise ValueError(f"call must be one of {', '.join(CALLS)}, got {call!r}")
    whole("n", n, 1, MOST, "descriptors")
    places = sorted(whole("ready", place, 0, n - 1, "(a place)") for place in ready)
    if len({*places}) < len(places):
        raise ValueError(f"ready must name each place once, got {list(ready)}")
    price = Costs.textbook() if costs is None else costs
    plain = Costs(
        syscall=price.syscall, user=price.user, network=0, select_per_fd=price.select_per_fd,
        poll_per_fd=price.poll_per_fd, epoll_per_ready=price.epoll_per_ready,
    )  # fmt: skip
    own, trap = round(price.user), round(price.syscall)
    begin = (n + 1) * (own + trap) if call == "epoll" else 0
    rows = [(begin + own * turn // len(places), 1, place) for turn, place in enumerate(places)]
    never = (HOUR_NS, 1, n - 1)  # so that the story has as many connections
    return simulate_traffic(PROGRAMS[call], replay([*rows, never]), costs=plain)
