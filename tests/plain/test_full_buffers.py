"""Random programs that fill small send buffers: told the same by both kernels.

A program has both ends of two connections, one over 127.0.0.1 and one of socketpair(2).  How many
bytes there is room for is each kernel's own; what is compared is that all that was taken comes, in
order, who is told EAGAIN or another error, and who can be read and written.
"""

from __future__ import annotations

import errno
import select
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from seeds import SEED

from iosim import Costs, inconclusive, measure, undisturbed
from iosim.plain.simulate import run_plain

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the real kernel here is Linux's")

Op = tuple[str, int]  # what is done, and at which end

BUFFER = 16_384
CHUNK = 4_096
MUCH = 400_000  # more than all buffers hold
NAP_S = 0.002  # in which whatever is on its way comes
SOON_S = 0.004
EDGE = select.EPOLLIN | select.EPOLLOUT | select.EPOLLET
CASES = settings.default.max_examples // 4 if settings.default else 25


class Ends:
    """Four ends: 0 and 1 are connected over 127.0.0.1, 2 and 3 a pair."""

    def __init__(self) -> None:
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
            listener.bind(("127.0.0.1", 0))
            listener.listen()
            caller = socket.socket()
            caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
            caller.connect(listener.getsockname())
            self.sockets = [caller, listener.accept()[0], *socket.socketpair()]
        for one in self.sockets:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
            one.settimeout(0)
        self.epoll = select.epoll()
        self.full = set[int]()
        self.sent = [0] * 4  # bytes that were taken at each end,
        self.got = [0] * 4  # and that came out at each

    def close(self) -> None:
        for one in (*self.sockets, self.epoll):
            one.close()


def bytes_from(start: int, size: int) -> bytes:
    """What stands at that place of what an end sends: so that a lost or doubled byte is seen."""
    row = bytes(range(251))
    start %= 251
    return (row[start:] + row * (size // 251 + 1))[:size]


def told(act: Callable[[], Any]) -> Any:
    try:
        return act()
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, type(error).__name__)
    except ValueError:  # of a descriptor that is closed
        return "closed"


def fill(ends: Ends, at: int) -> str:
    """Until there is no room, and none comes."""
    ends.full.add(at)
    idle = 0
    while idle < 3:
        found = told(lambda: ends.sockets[at].send(bytes_from(ends.sent[at], CHUNK)))
        if isinstance(found, int):
            ends.sent[at] += found
            idle = 0
        elif found == "EAGAIN":
            idle += 1
            time.sleep(NAP_S)
        else:
            return str(found)
    return "EAGAIN"


def drain(ends: Ends, at: int) -> tuple[bool, bool, str]:
    """Is all there that was taken?  Is it that?  And what comes then?"""
    ends.full.discard(at ^ 1)
    right, idle = True, 0
    while idle < 3:
        found = told(lambda: ends.sockets[at].recv(CHUNK))
        if isinstance(found, bytes) and found:
            right = right and found == bytes_from(ends.got[at], len(found))
            ends.got[at] += len(found)
            idle = 0
        elif found == "EAGAIN":
            idle += 1
            time.sleep(NAP_S)
        else:
            return ends.got[at] == ends.sent[at ^ 1], right, str(found)
    return ends.got[at] == ends.sent[at ^ 1], right, "EAGAIN"


def sendall_late(ends: Ends, at: int) -> Any:
    """Another thread sends much; the other end reads late."""
    one, said = ends.sockets[at], list[Any]()
    one.settimeout(None)
    data = bytes_from(ends.sent[at], MUCH)
    thread = threading.Thread(target=lambda: said.append(told(lambda: one.sendall(data))))
    thread.start()
    time.sleep(SOON_S)
    found = True, True, ""
    while not said and found[2] in ("", "EAGAIN"):
        found = drain(ends, at ^ 1)
    if not said:  # nobody reads, or ever will
        told(lambda: one.shutdown(socket.SHUT_RDWR))
    thread.join()
    told(lambda: one.settimeout(0))
    if said != [None]:
        return said
    ends.sent[at] += MUCH
    return drain(ends, at ^ 1)[1:]


def in_time(ends: Ends, at: int) -> Any:
    """A sendall for which there is no room: how much of it was taken nobody is told."""
    one = ends.sockets[at]
    fill(ends, at)
    told(lambda: one.settimeout(SOON_S))
    found = told(lambda: one.sendall(bytes_from(ends.sent[at], MUCH)))
    told(lambda: one.settimeout(0))
    return found


def look(ends: Ends, at: int) -> Any:
    poll = select.poll()
    poll.register(ends.sockets[at], select.POLLIN | select.POLLOUT | select.POLLRDHUP)
    return [events for _, events in poll.poll(0)]


def edges(ends: Ends, at: int) -> Any:
    places = {one.fileno(): place for place, one in enumerate(ends.sockets)}
    return sorted((places[fd], events) for fd, events in ends.epoll.poll(0))


def small(ends: Ends, at: int) -> Any:
    """Where there is no room for a chunk, Linux may have some for a few bytes."""
    if at in ends.full:
        return None
    found = ends.sockets[at].send(bytes_from(ends.sent[at], 10))
    ends.sent[at] += found
    return found


ACTS: dict[str, Callable[[Ends, int], Any]] = {
    "fill": fill, "drain": drain, "sendall_late": sendall_late, "in_time": in_time, "look": look,
    "edges": edges, "small": small,
    "watch": lambda ends, at: ends.epoll.register(ends.sockets[at], EDGE),
    "select": lambda ends, at: [
        len(ready) for ready in select.select([ends.sockets[at]], [ends.sockets[at]], [], 0)
    ],
    "shut_wr": lambda ends, at: ends.sockets[at].shutdown(socket.SHUT_WR),
    "close": lambda ends, at: ends.sockets[at].close(),
}  # fmt: skip
#: Over TCP only one end fills its buffer: what the other one sends brings acknowledgements along,
#: after which Linux may count what lies there anew, and find room.
FILLING = ("fill", "sendall_late", "in_time")


def program(todo: Sequence[Op], said: list[str]) -> None:
    ends = Ends()
    for name, at in todo:
        at = 0 if at == 1 and name in FILLING else at
        said.append(f"{name} {at}: {told(lambda n=name, a=at: ACTS[n](ends, a))}")  # type: ignore[misc]
        time.sleep(NAP_S)
    ends.close()


def run(todo: Sequence[Op], real: bool) -> tuple[list[str], Any]:
    said: list[str] = []
    if real:
        return said, measure(program, todo=todo, said=said)
    outcome = run_plain(program, costs=Costs.typical(), todo=todo, said=said)
    assert outcome.error is None, (outcome.error, said)
    return said, outcome


ops = st.lists(st.tuples(st.sampled_from([*ACTS]), st.integers(0, 3)), min_size=1, max_size=8)


@seed(SEED)
@settings(
    max_examples=CASES, derandomize=False, database=None, report_multiple_bugs=False,
    deadline=None, suppress_health_check=list(HealthCheck),
)  # fmt: skip
@given(ops)
def test_they_agree_on_full_buffers(todo: list[Op]) -> None:
    simulated, _ = run(todo, real=False)
    first = run(todo, real=True)
    if simulated == first[0]:
        return
    runs = [first]

    def again() -> Any:
        said, seen = runs.pop() if runs else run(todo, real=True)
        results.append(said)
        return seen

    results: list[list[str]] = []
    seen = undisturbed(again)
    assert simulated == results[-1] or inconclusive(seen), f"IOSIM_SEED={SEED}"


FOUND = {
    "an end of a pair that was shut is not writable while its buffer is full": [
        ("in_time", 2), ("fill", 3), ("shut_wr", 3), ("look", 3), ("watch", 3), ("edges", 3),
    ],
    "the end of a pair comes at once, also behind a full buffer": [
        ("in_time", 2), ("shut_wr", 2), ("select", 2), ("look", 3), ("sendall_late", 3),
        ("look", 3),
    ],
}  # fmt: skip


@pytest.mark.parametrize("todo", FOUND.values(), ids=list(FOUND))
def test_they_agree_on_what_was_found(todo: list[Op]) -> None:
    assert run(todo, real=False)[0] == run(todo, real=True)[0]
