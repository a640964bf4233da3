"""Exercises 7 and 8: what comes between two steps."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import socket
import time
from typing import Any

from ..calls import ms
from ..hunting.claims import returns
from ..hunting.space import Space
from ..plain.simulate import Outcome
from ..workloads import traffic
from .exercise import Answer, Exercise, Mistake, Part, Program, spins, would_block

__all__ = ["ON_SIGNAL", "WAIT_FOR"]

# -- 7: wait for a flag that a signal sets -------------------------------------------------------


def wait_for(arrived: list[int], reader: int) -> None:
    """A right answer."""
    while not arrived:
        select.select([reader], [], [])


SIGNO = int(getattr(signal, "SIGUSR1", 10))


def _with_a_handler(answer: Answer) -> Program:
    def program() -> list[Any]:
        arrived: list[int] = []
        reader, writer = os.pipe()

        def handler(signo: int, frame: object) -> None:
            arrived.append(signo)
            os.write(writer, b"!")

        signal.signal(SIGNO, handler)
        answer(arrived, reader)
        return list(arrived)

    return program


def _a_signal(seed: int) -> Space:
    return Space(signals=(SIGNO,), in_vain=200, options={"cores": 1 + seed % 2})


def _woken(outcome: Outcome) -> str:
    if outcome.returned != [SIGNO]:
        return "it returned before the signal had come"
    calls = len(outcome.timeline.call_log)
    if calls > 5:
        return f"it made {calls} calls while it waited"
    over = outcome.kernel.now / 1e6
    return (
        f"it was still waiting at {over:,.0f} ms: the signal had come before" if over > 330 else ""
    )


WAIT_FOR = Exercise(
    7, "wait_for", "wait for a flag or a signal",
    (Part(_with_a_handler, _a_signal, lambda seed: _woken, cases=60),),
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
            lambda part, found: "calls while it waited" in found.words
            or spins(part, found),
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
            time.sleep(0.04)
        return taken

    return program


def _count(seed: int) -> int:
    return 4 + seed % 3


def _burst(seed: int) -> Space:
    return Space(traffic.burst(_count(seed), 20, 10 + seed % 5), delays=(ms(1), ms(10)), in_vain=6)


def _all_of_them(seed: int) -> Any:
    return returns([bytes([number]) * (10 + seed % 5) for number in range(1, _count(seed) + 1)])


ON_SIGNAL = Exercise(
    8, "on_signal", "SIGIO for a burst",
    (Part(_armed, _burst, _all_of_them, cases=100),),
    (
        Mistake(
            "EAGAIN is no error",
            "BlockingIOError (EAGAIN) says that all has been taken: the handler is through.",
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
