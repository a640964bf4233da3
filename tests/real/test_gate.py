"""A message comes after the call that waits for it, however long other work holds the program up.

The faults are planted: a program that comes to its call 100 ms late, where the message is due after
5; a sender that is late; a thread that is never seen asleep.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from errno import EAGAIN
from itertools import pairwise
from typing import Any

import pytest
from rival import rival
from sender_plan import plan

from iosim import measure, models, simulate, traffic
from iosim.calls import (
    MSG_DONTWAIT,
    SIZE,
    SO_RCVTIMEO,
    Program,
    Request,
    compute,
    getpid,
    io_uring_peek_cqe,
    ms,
    poll,
    recvfrom,
    select,
    setsockopt,
    sleep,
)
from iosim.real.gate import GOES_ON, SLEEPS, WORKS, Gate
from iosim.real.helpers import sender as sending
from iosim.trace import READY, SLEEPING, USER, Timeline

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="measures the Linux kernel")

HELD_S = 0.1  # as if the program had no core for so long
SOON = traffic.one(after_ms=5)


def held(program: Callable[..., Program]) -> Callable[..., Program]:
    """The program, held up before its first call."""

    def late(fds: Sequence[int], nbytes: int) -> Program:
        time.sleep(HELD_S)
        one = fds if program is models.multiplexing else fds[0]
        yield from program(one, nbytes)

    return late


@pytest.mark.parametrize("name", ["blocking", "multiplexing", "signal_waiting"])
def test_who_comes_late_to_its_call_sleeps_in_it_all_the_same(name: str) -> None:
    run = measure(held(getattr(models, name)), SOON).check()
    (fate,) = run.deliveries
    waiting = next(c for c in run.call_log if c.waits)
    assert ms(HELD_S * 1_000) < waiting.start < fate.sent
    assert any(i.state == SLEEPING and i.call == waiting for i in run.lane("process"))
    assert run.figure_6_6().wait == "blocked"


@pytest.mark.parametrize("name", ["nonblocking", "nonblocking_sleeping", "signal_driven"])
def test_who_does_not_sleep_has_looked_in_vain(name: str) -> None:
    run = measure(held(getattr(models, name)), SOON).check()
    look = next(c for c in run.call_log if c.name == "recvfrom")
    assert look.errno == EAGAIN
    assert look.end < run.deliveries[0].sent


def test_nothing_is_sent_to_a_program_that_never_waits() -> None:
    def busy(fd: int, nbytes: int) -> Program:
        yield getpid()
        time.sleep(0.05)

    run = measure(busy, SOON).check()
    assert run.deliveries[0].arrived is None


def slow(fds: Sequence[int], nbytes: int) -> Program:
    """Held up after each message."""
    for fd in fds:
        yield recvfrom(fd, SIZE)
        time.sleep(HELD_S / 2)


def test_in_step_each_message_waits_for_the_program() -> None:
    story = traffic.several(3, every_ms=5, connections=3)
    run = measure(slow, story.in_step()).check()
    for before, after in pairwise(run.deliveries):
        assert before.received < after.sent
    asleep = [i.call for i in run.lane("process") if i.state == SLEEPING]
    assert all(call in asleep for call in run.call_log)
    rushed = measure(slow, story).check()  # as it is without: the second is there before its call
    assert rushed.deliveries[1].arrived < rushed.call_log[1].start


def crosswise(fds: Sequence[int], nbytes: int) -> Program:
    """Sleeps on while message 1 comes: that is for the other descriptor."""
    yield recvfrom(fds[1], SIZE)
    yield recvfrom(fds[0], SIZE)


def test_who_sleeps_on_waits_for_the_next_message_too() -> None:
    story = traffic.several(2, every_ms=5, connections=2).in_step()
    run = measure(crosswise, story, limit_s=5).check()
    first, second = run.deliveries
    assert second.received < first.received
    assert run.call_log[0].start < first.sent < second.sent < second.received


def test_the_simulated_kernel_is_never_late() -> None:
    story = traffic.several(3, every_ms=5)
    assert simulate(models.blocking, story.in_step()) == simulate(models.blocking, story)
    assert story.in_step().over("tcp").then("eof").stepwise
    assert repr(story.in_step()) == repr(story)


def test_who_stands_in_line_before_its_call_is_ready_and_does_not_run() -> None:
    """A fault is planted: another process has the program's only core for half of the time."""

    def works_first(fd: int, nbytes: int) -> Program:
        until = time.thread_time_ns() + ms(40)
        while time.thread_time_ns() < until:
            pass
        yield recvfrom(fd, SIZE)

    with rival():
        run = measure(works_first, SOON).check()
    (call,) = run.call_log
    before = run.between(0, call.start)
    assert before.time_in(READY) > ms(5)
    assert before.time_in(USER) + before.time_in(READY) == call.start


# -- what is told to the sender --------------------------------------------------------------------


class Told:
    """A gate whose words are kept, with a program that has received so much."""

    def __init__(self, in_step: bool = False) -> None:
        self.received, self.words = 0, b""
        self.gate = Gate(self.keep, lambda: self.received, in_step)

    def keep(self, word: bytes) -> None:
        self.words += word

    def ask(self, request: Request, waits: bool = True, reply: Any = None, line: int = 1) -> None:
        request.number = 0  # it was made
        self.gate.before(request, waits, waits)
        error = BlockingIOError(EAGAIN, "") if reply is EAGAIN else None
        self.gate.after(request, line, None if error else reply, error)


@pytest.mark.parametrize(
    ("request_", "waits", "word"),
    [
        (recvfrom(3, 10), True, SLEEPS),
        (recvfrom(3, 10, MSG_DONTWAIT), False, b""),
        (select([3]), True, SLEEPS),
        (poll([3], ms(1)), True, b""),  # which ends by itself
        (sleep(5), False, SLEEPS),
        (compute(5), False, WORKS),
        (getpid(), False, b""),
    ],
)
def test_the_sender_is_told_of_a_wait(request_: Request, waits: bool, word: bytes) -> None:
    told = Told()
    told.ask(request_, waits)
    assert told.words == word + (GOES_ON if word == SLEEPS else b"")


def test_a_receive_with_a_time_out_ends_by_itself() -> None:
    told = Told()
    told.ask(setsockopt(3, SO_RCVTIMEO, ms(2)), False)
    told.ask(recvfrom(3, 10))
    assert told.words == b""
    told.ask(setsockopt(3, SO_RCVTIMEO, 0), False)
    told.ask(recvfrom(3, 10))
    assert told.words == SLEEPS + GOES_ON


@pytest.mark.parametrize(
    ("look", "reply"),
    [
        (recvfrom(3, 10, MSG_DONTWAIT), EAGAIN), (select([3], ms(1)), []),
        (io_uring_peek_cqe(4), None),
    ],
)  # fmt: skip
def test_who_asks_in_vain_at_one_line_for_the_second_time_looks_again(
    look: Request, reply: Any
) -> None:
    told = Told()
    for line in (1, 2):
        told.ask(look, False, reply, line)
    assert told.words == b""
    told.ask(look, False, reply, 2)
    assert told.words == WORKS


def test_after_a_receive_only_a_story_in_step_is_told_more() -> None:
    for in_step, words in ((False, SLEEPS), (True, SLEEPS + GOES_ON + SLEEPS + GOES_ON + WORKS)):
        told = Told(in_step)
        for number in (1, 2):
            request = recvfrom(3, 10)
            request.number = 0  # it was made
            told.gate.before(request, True, True)
            told.received = number
            told.gate.after(request, 1, b"x", None)
        for _ in range(3):
            told.ask(compute(5), False)
        assert told.words == words


# -- what the sender makes of it -------------------------------------------------------------------


@pytest.fixture
def sender() -> Any:
    """One that is told nothing yet, and that sees what `seen` says."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ours:
        ours.bind(("127.0.0.1", 0))
        made = sending.Sender(plan("udp", ours.getsockname()[1], [[1, 0, 1, 0, "data"]]))
        made.input, to_say = os.pipe()
        with closing(made.sockets[0]), open(made.input), open(to_say, "wb"):
            yield made


@pytest.mark.parametrize(
    ("at", "last", "seen", "moved"),
    [
        (ms(20), 0, ms(0.4), 0),  # within the slack: the story is the one that was predicted
        (ms(20), 0, ms(2), 0),
        (ms(20), 0, ms(150), ms(148)),
        (ms(1), 0, ms(0.7), ms(0.2)),  # half of a short delay
        (ms(40), ms(20), ms(21), 0),
        (ms(40), ms(20), ms(70), ms(48)),
    ],
)
def test_the_story_moves_by_as_much_as_the_program_is_late(
    sender: Any, monkeypatch: pytest.MonkeyPatch, at: int, last: int, seen: int, moved: int
) -> None:
    monkeypatch.setattr(sending, "clock", lambda: seen)
    sender.said = WORKS
    sender.hold_back(last, at)
    assert sender.moved == moved


@pytest.mark.parametrize(
    ("said", "seen", "waits"),
    [
        (b"", ("S", "do_epoll_wait", "epoll_wait"), False),  # not told: some other sleep
        (SLEEPS, ("S", "", ""), True),  # both are hidden
        (SLEEPS, ("S", "__skb_wait_for_more_packets", "recvfrom"), True),
        (SLEEPS, ("S", "futex_wait_queue", "futex"), False),  # it awaits the interpreter's lock
        (SLEEPS, ("S", "futex_wait_queue", ""), False),
        (SLEEPS, ("R", "", "running"), False),
        (WORKS, ("R", "", "running"), True),
    ],
)
def test_whether_the_program_waits(sender: Any, said: bytes, seen: tuple, waits: bool) -> None:
    sender.said, sender.look = said, lambda: seen
    assert sender.waits(0) == waits


def test_a_sleep_after_the_one_that_was_told_of_is_not_taken_for_it(sender: Any) -> None:
    """A fault is planted: between the look and the answer the program has gone on."""

    def look() -> tuple[str, str, str]:
        sender.hear = lambda ns: setattr(sender, "said", GOES_ON)
        return "S", "hrtimer_nanosleep", "clock_nanosleep"

    sender.said, sender.look = SLEEPS, look
    assert not sender.waits(0)


def test_a_thread_that_is_never_seen_asleep_is_given_up_and_reported(sender: Any) -> None:
    sender.said, sender.look = SLEEPS, lambda: ("R", "", "running")
    assert not sender.waits(sending.PATIENCE_NS)
    assert sender.unseen == 0
    assert sender.waits(sending.PATIENCE_NS + 1)
    assert sender.unseen > sending.PATIENCE_NS
    sender.look = None  # no /proc: believed after the slack, and nothing to report
    assert not sender.waits(sending.SLACK_NS)
    assert sender.waits(sending.SLACK_NS + 1)


def test_a_run_whose_thread_was_not_seen_asleep_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    from iosim.real.traffic import TrafficOutside

    real = TrafficOutside.report

    def unseen(self: Any, process: Any, told: dict[str, Any]) -> None:
        real(self, process, told | {"unseen": 3_000_000_000})

    monkeypatch.setattr(TrafficOutside, "report", unseen)
    run: Timeline = measure(models.blocking, SOON)
    assert ("not seen asleep", 3_000_000_000) in [(d.what, d.ns) for d in run.disturbances]
