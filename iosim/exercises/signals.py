"""Exercises 7 and 8: what comes between two steps."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import socket
import time
from functools import partial

from ..calls import ms
from ..hunting.claims import Claim, returns
from ..hunting.space import Space
from ..plain.simulate import Outcome
from ..workloads import traffic
from .exercise import Answer, Exercise, Mistake, Part, Program, spins, would_block
from .readiness import woken_too_often

__all__ = ["ON_SIGNAL", "WAIT_FOR"]

# -- 7: wait for a flag that a signal sets -------------------------------------------------------


def wait_for(arrived: list[int], reader: int) -> None:
    """A right answer."""
    while not arrived:
        select.select([reader], [], [])


LATE_NS = ms(60_000)
MOST_WAITS = 12  # a loop of asyncio has some before its own work begins
SIGNO = int(getattr(signal, "SIGUSR1", 10))


def _with_a_handler(answer: Answer) -> Program:
    def program() -> list[object]:
        arrived: list[int] = []
        came: list[int] = []
        reader, writer = os.pipe()

        def handler(signo: int, frame: object) -> None:
            came.append(signo)
            arrived.append(signo)
            os.write(writer, b"!")

        signal.signal(SIGNO, handler)
        answer(arrived, reader)
        return list(came)

    return program


def _a_signal(seed: int, by: int = ms(300)) -> Space:
    options = {"cores": 1 + seed % 2}
    return Space(signals=(SIGNO,), signals_by=by, in_vain=200, options=options)


def _woken(by: int, seed: int) -> Claim:
    def holds(outcome: Outcome) -> str:
        if outcome.returned != [SIGNO]:
            return "it returned before the signal had come"
        if said := woken_too_often(outcome, MOST_WAITS):
            return said
        over = (outcome.kernel.now - by) / 1e6
        return f"it was still waiting {over:,.0f} ms later" if over > 30 else ""

    return holds


WAIT_FOR = Exercise(
    7, "wait_for", "wait for a flag or a signal",
    (
        Part(_with_a_handler, _a_signal, partial(_woken, ms(300)), cases=60),
        Part(_with_a_handler, partial(_a_signal, by=LATE_NS), partial(_woken, LATE_NS), cases=20),
    ),
    (
        Mistake(
            "the lost wake-up",
            "The signal came between your look at the flag and your sleep: the handler has run, "
            "and nothing wakes you any more. What the handler leaves in the pipe stays there: "
            "sleep until the pipe can be read.",
            lambda part, found: found.kind == "stuck",
        ),
        Mistake(
            "does not wait",
            "You must not return before the signal has come.",
            lambda part, found: "before the signal" in found.words,
        ),
        Mistake(
            "polls",
            "You look again and again: sleep until the handler wakes you, by its byte in the pipe.",
            lambda part, found: "woke up" in found.words or spins(part, found),
        ),
        Mistake(
            "sleeps on",
            "A time-out repairs a lost wake-up late: the byte in the pipe wakes you at once.",
            lambda part, found: "still waiting" in found.words,
        ),
    ),
    wait_for,
)  # fmt: skip


# -- 8: SIGIO for a burst ------------------------------------------------------------------------


def on_signal(sock: socket.socket, taken: list[bytes]) -> None:
    """A right answer."""
    while True:
        try:
            taken.append(sock.recv(100))
        except BlockingIOError:
            return


def _armed(answer: Answer) -> Program:
    def program(sock: socket.socket) -> list[bytes]:
        taken: list[bytes] = []
        signal.signal(signal.SIGIO, lambda signo, frame: answer(sock, taken))
        fcntl.fcntl(sock, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(sock, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)
        for _ in range(4):
            time.sleep(0.03)
        return taken

    return program


def _sizes(seed: int) -> list[int]:
    """One of them is as long as any."""
    return [*(1 + n * (3 + seed % 5) for n in range(9 + seed % 3)), 100]


def _burst(seed: int) -> Space:
    messages = tuple(traffic.Message(ms(20), size) for size in _sizes(seed))
    return Space(traffic.Traffic(messages), delays=(ms(1), ms(10)), in_vain=9)


def _all_of_them(seed: int) -> Claim:
    """In whatever order: a handler may be interrupted by its own signal, and take what is next."""
    sent = [bytes([n]) * size for n, size in enumerate(_sizes(seed), start=1)]
    return returns(sent, in_order=False)


ON_SIGNAL = Exercise(
    8, "on_signal", "SIGIO for a burst",
    (Part(_armed, _burst, _all_of_them, cases=100),),
    (
        Mistake(
            "EAGAIN is no error",
            "BlockingIOError (EAGAIN) says that all has been taken: the handler is through. (Also "
            "after a look that has found something: your handler may be interrupted by itself.)",
            would_block,
        ),
        Mistake(
            "blocks in the handler",
            "Your handler waits for what has not come, and all of the program with it: it may only "
            "take what is there.",
            lambda part, found: found.kind == "stuck" or found.outcome.ended,
        ),
        Mistake(
            "one receive a signal",
            "Signals do not queue: one SIGIO may stand for several datagrams. Receive until "
            "nothing is left.",
            lambda part, found: found.kind == "claim",
        ),
        Mistake(
            "asks without a pause",
            "Your handler goes on when nothing is left: return at BlockingIOError.",
            spins,
        ),
    ),
    on_signal,
)  # fmt: skip
