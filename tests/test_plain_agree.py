"""Random plain programs: ordinary sockets, told the same by both kernels.

A program is a list of operations on its connections; each client acts only when the server waits
(`in_step`), so that what a call finds is made, not hoped for.
"""

from __future__ import annotations

import errno
import select
import socket
import sys
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from test_two_kernels import PROGRAMS, SEED

from iosim import Costs, clients, inconclusive, measure, undisturbed
from iosim.plain.simulate import run_plain
from iosim.workloads.clients import Clients

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the real kernel here is Linux's")

Op = tuple[str, int, int]

#: What can be done with a connection: its name, and what the number besides means.
NAMES = ("recv", "recv_all", "peek", "send", "shutdown", "close", "blocking", "select", "poll",
         "getpeername", "option", "turn")  # fmt: skip
ops = st.lists(
    st.tuples(st.sampled_from(NAMES), st.integers(0, 1), st.integers(0, 40)),
    min_size=1,
    max_size=14,
)
acts = st.lists(
    st.lists(
        st.sampled_from((("send", 10), ("send", 30), ("shutdown", 0), ("receive", 5))), max_size=3
    ),
    min_size=2, max_size=2,
)  # fmt: skip

NAP_S = 0.002


def program(listener: socket.socket, todo: Sequence[Op], said: list[str]) -> None:
    """Do it, and say what came of each operation."""
    import time

    control, _ = listener.accept()
    connections = [listener.accept()[0] for _ in range(2)]
    for one in connections:
        one.settimeout(0)
    for name, which, number in todo:
        said.append(f"{name} {which} {number}: {done(name, connections[which], number, control)}")
        time.sleep(NAP_S)
    for one in (*connections, control):
        one.close()


def done(name: str, one: socket.socket, number: int, control: socket.socket) -> str:
    try:
        return repr(ACTS[name](one, number, control))
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, type(error).__name__)
    except ValueError as error:
        return str(error)


def _turn(one: socket.socket, number: int, control: socket.socket) -> int:
    """Both clients do what comes next in their scripts; the second answer comes behind that."""
    for _ in range(2):
        control.sendall(b".")
        control.recv(1)
    return 0


def _option(one: socket.socket, number: int, control: socket.socket) -> int:
    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, number % 2)
    return bool(one.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))


def _poll(one: socket.socket, number: int, control: socket.socket) -> list[int]:
    poll = select.poll()
    poll.register(one, select.POLLIN | select.POLLOUT)
    return [events for _, events in poll.poll(0)]


def _select(one: socket.socket, number: int, control: socket.socket) -> list[int]:
    return [len(ready) for ready in select.select([one], [one], [], 0)]


ACTS: dict[str, Any] = {
    "recv": lambda one, number, _: one.recv(number + 1),
    "recv_all": lambda one, number, _: len(one.recv(1_000)),
    "peek": lambda one, number, _: one.recv(number + 1, socket.MSG_PEEK),
    "send": lambda one, number, _: one.send(b"x" * (number + 1)),
    "shutdown": lambda one, number, _: one.shutdown((0, 1, 2)[number % 3]),
    "close": lambda one, number, _: one.close(),
    "blocking": lambda one, number, _: (one.settimeout(0), one.getblocking()),
    "select": _select, "poll": _poll, "option": _option, "turn": _turn,
    "getpeername": lambda one, number, _: one.getpeername()[0],
}  # fmt: skip


def story_of(scripts: Sequence[Sequence[tuple[str, int]]], todo: Sequence[Op]) -> Clients:
    """The one that has the turns, and two that do an act in each."""
    turns = sum(name == "turn" for name, _, _ in todo)
    control = [step for _ in range(2 * turns) for step in (("receive", 1), ("send", 1))]
    two = []
    for script in scripts:
        steps: list[tuple[str, int]] = []
        ended = False
        for turn, act in enumerate(script[:turns], start=1):
            if not ended:
                steps += [("after", 2 * turn - 1)] + ([act] if act[0] != "receive" else [])
            ended = ended or act[0] == "shutdown"
        two.append(clients.script(*steps, ("wait", 60_000_000_000), at_ms=1 + len(two)))
    return clients.of(clients.script(*control, ("wait", 60_000_000_000)), *two).in_step()


def told(todo: Sequence[Op], story: Clients, real: bool) -> tuple[list[str], Any]:
    said: list[str] = []
    if real:
        return said, measure(program, story, todo=todo, said=said)
    outcome = run_plain(program, story, costs=Costs.typical(), todo=todo, said=said)
    assert outcome.error is None, outcome.error
    return said, outcome


@seed(SEED)
@settings(
    max_examples=PROGRAMS, derandomize=False, database=None, report_multiple_bugs=False,
    deadline=None, suppress_health_check=list(HealthCheck),
)  # fmt: skip
@given(ops, acts)
def test_they_agree_on_any_plain_program(todo: list[Op], scripts: Any) -> None:
    story = story_of(scripts, todo)
    simulated, _ = told(todo, story, real=False)
    first = told(todo, story, real=True)
    if simulated == first[0]:
        return
    runs = [first]

    def again() -> Any:
        said, run = runs.pop() if runs else told(todo, story, real=True)
        results.append(said)
        return run

    results: list[list[str]] = []
    run = undisturbed(again)
    assert simulated == results[-1] or inconclusive(run), f"IOSIM_SEED={SEED}"


FOUND = {
    "data come to who has shut both directions": (
        [("shutdown", 0, 2), ("turn", 0, 0), ("recv", 0, 0), ("recv", 0, 0), ("send", 0, 5)],
        [[("send", 10)], []],
    ),
    "data come to who has shut one of them": (
        [("shutdown", 0, 0), ("turn", 0, 0), ("recv", 0, 0), ("recv", 0, 40), ("poll", 0, 0)],
        [[("send", 10)], []],
    ),
}


@pytest.mark.parametrize(("todo", "scripts"), FOUND.values(), ids=list(FOUND))
def test_they_agree_on_what_was_found(todo: list[Op], scripts: Any) -> None:
    story = story_of(scripts, todo)
    assert told(todo, story, real=False)[0] == told(todo, story, real=True)[0]
