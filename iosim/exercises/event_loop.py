"""Exercise 12: an event loop, with timers, readers, tasks, cancellation, and outside wake-ups."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable

from ..calls import ms
from ..hunting.claims import Claim, returns, wrong
from ..hunting.search import Broken
from ..hunting.space import Space
from ..plain.simulate import Outcome
from ..workloads import traffic
from .exercise import Answer, Exercise, Mistake, Part, Program, spins
from .loop import EventLoop
from .readiness import ASKING

__all__ = ["EVENT_LOOP"]

MOST_CALLS = 12  # of those that wait, for one wake-up


def _timers(answer: Answer) -> Program:
    """Timers come in the order of their time, not of their making, and not before their time."""

    def program() -> list[object]:
        loop = answer()
        said: list[object] = []
        begun = time.monotonic()

        def say(what: str, not_before: float) -> Callable[[], None]:
            def act() -> None:
                late = time.monotonic() - begun - not_before
                said.append(what if 0 <= late < 0.1 else f"{what} {late:+.2f} s")

            return act

        loop.call_later(0.3, say("second", 0.3))
        loop.call_later(0.1, say("first", 0.1))
        loop.call_soon(say("soon", 0))
        loop.call_later(0.5, loop.stop)
        loop.run()
        return said

    return program


def _in_order(answer: Answer) -> Program:
    """Callbacks come in the order of their handing in; what one adds waits for the next round."""

    def program() -> list[str]:
        loop = answer()
        said: list[str] = []

        def adds() -> None:
            said.append("b")
            loop.call_soon(lambda: said.append("e"))

        loop.call_soon(lambda: said.append("a"))
        loop.call_soon(adds)
        loop.call_soon(lambda: said.append("c"))
        loop.call_soon(lambda: said.append("d"))
        loop.call_later(0, lambda: said.append("at once"))
        loop.call_later(-1, lambda: said.append("at once"))
        loop.call_later(0.1, loop.stop)
        early = list(said)
        loop.run()
        others = [what for what in said if what != "at once"]
        return [*early, *others, f"{said.count('at once')} at once"]

    return program


def _readers(answer: Answer) -> Program:
    """One is called again and again; two of whom each removes the other as well: one is called."""

    def program() -> list[object]:
        loop = answer()
        said: list[object] = []
        one, other = socket.socketpair()
        other.sendall(b"123")

        def again() -> None:
            said.append(one.recv(1))
            if len(said) == 2:
                loop.remove_reader(one)

        pairs = [socket.socketpair() for _ in range(2)]

        def removes() -> None:
            said.append("a pair")
            for mine, _ in pairs:
                loop.remove_reader(mine)

        def second() -> None:
            for mine, peer in pairs:
                loop.add_reader(mine, removes)
                peer.sendall(b"!")

        loop.add_reader(one, again)
        loop.call_later(0.1, second)
        loop.call_later(0.3, loop.stop)
        loop.run()
        return [*said, one.recv(9), *loop.errors]

    return program


def _reader_beside_a_flood(answer: Answer) -> Program:
    """A reader has its turn while callbacks call themselves again and again."""

    def program(sock: socket.socket) -> str:
        loop = answer()
        said: list[str] = []
        left = [300]

        def again() -> None:
            left[0] -= 1
            time.sleep(0.001)
            loop.call_soon(again) if left[0] else loop.stop()

        def read() -> None:
            said.append("in time" if left[0] else "too late")
            sock.recv(100)
            loop.remove_reader(sock)
            loop.stop()

        loop.add_reader(sock, read)
        loop.call_soon(again)
        loop.run()
        return said[0] if said else "never"

    return program


def _from_another_thread(answer: Answer) -> Program:
    """A loop that sleeps, or is about to, is woken by another thread."""

    def program() -> list[str]:
        loop = answer()
        said: list[str] = []

        def woken() -> None:
            said.append("woken")
            loop.call_later(0.3, loop.stop)  # it sleeps until then

        def outside() -> None:
            time.sleep(0.2)  # by then the loop sleeps
            loop.call_soon_threadsafe(woken)

        thread = threading.Thread(target=outside)
        thread.start()
        loop.run()
        thread.join()
        return said

    return program


def _after_an_error(answer: Answer) -> Program:
    """A callback that raises ends neither the loop nor the others: whoever has called it."""

    def program() -> list[str]:
        loop = answer()
        said: list[str] = []
        one, other = socket.socketpair()
        other.sendall(b"!")

        def reads() -> None:
            one.recv(1)
            raise EOFError

        async def fails() -> None:
            await loop.sleep(0.02)
            raise KeyError("a task")

        loop.call_soon(lambda: 1 // 0)
        loop.add_reader(one, reads)
        loop.create_task(fails())
        loop.call_later(0.05, lambda: [][0])
        loop.call_later(0.1, lambda: said.append("after"))
        loop.call_later(0.2, loop.stop)
        loop.run()
        return [*said, *(type(error).__name__ for error in loop.errors)]

    return program


def _tasks(answer: Answer) -> Program:
    """Two tasks beside each other; one is cancelled, and may clean up."""

    def program() -> list[str]:
        loop = answer()
        said: list[str] = []

        async def ticks() -> None:
            for number in range(3):
                said.append(f"tick {number}")
                await loop.sleep(0.1)

        async def sleeper() -> None:
            try:
                await loop.sleep(60)
                said.append("slept a minute")
            finally:
                said.append("cleaned up")

        loop.create_task(ticks())
        task = loop.create_task(sleeper())
        loop.call_later(0.15, task.cancel)
        loop.call_later(0.5, loop.stop)
        loop.run()
        return said

    return program


def _cancelled(answer: Answer) -> Program:
    """Before it has begun; when it is over; while its own timer is due; and one that sleeps on."""

    def program() -> list[str]:
        loop = answer()
        said: list[str] = []

        async def never() -> None:
            said.append("a task ran that was cancelled before")

        async def short() -> None:
            said.append("short")

        async def sleeper() -> None:
            await loop.sleep(0.02)
            await loop.sleep(0.1)
            said.append("a task went on that was cancelled")

        async def canceller() -> None:
            await loop.sleep(0.01)
            sleeps.cancel()

        async def survivor() -> None:
            try:
                await loop.sleep(0.3)
            except BaseException:
                begun = time.monotonic()
                await loop.sleep(0.5)
                whole = time.monotonic() - begun >= 0.5
                said.append("slept on" if whole else "was woken too early")

        loop.create_task(never()).cancel()
        over = loop.create_task(short())
        loop.create_task(canceller())
        sleeps = loop.create_task(sleeper())
        loop.call_later(0.005, lambda: time.sleep(0.05))  # the timers of both are due by then
        loop.call_later(0.1, over.cancel)
        survives = loop.create_task(survivor())
        loop.call_later(0.15, survives.cancel)
        loop.call_later(1, loop.stop)
        loop.run()
        return [*said, *map(repr, loop.errors)]

    return program


def _nothing_else(seed: int) -> Space:
    return Space(delays=(ms(1),), in_vain=400)


def _two_threads(seed: int) -> Space:
    return Space(delays=(), in_vain=60)


def _one_message(seed: int) -> Space:
    return Space(traffic.one(5 + seed % 5, 10), delays=(ms(3), ms(40)), in_vain=2_000)


SAYS: tuple[tuple[Callable[[Answer], Program], Callable[[int], Space], object], ...] = (
    (_timers, _nothing_else, ["soon", "first", "second"]),
    (_in_order, _nothing_else, [*"abcde", "2 at once"]),
    (_after_an_error, _nothing_else, ["after", "ZeroDivisionError", "EOFError", "KeyError",
                                      "IndexError"]),
    (_reader_beside_a_flood, _one_message, "in time"),
    (_readers, _nothing_else, [b"1", b"2", "a pair", b"3"]),
    (_tasks, _nothing_else, ["tick 0", "tick 1", "cleaned up", "tick 2"]),
    (_cancelled, _nothing_else, ["short", "slept on"]),
    (_from_another_thread, _two_threads, ["woken"]),
)  # fmt: skip
TIMERS, ORDER, ERRORS, FLOOD, READERS, TASKS, CANCELLED, THREADS = range(len(SAYS))


def _claim(expected: object) -> Callable[[int], Claim]:
    def holds(outcome: Outcome) -> str:
        if said := wrong(returns(expected), outcome):
            return said
        asked = sum(call.name in (*ASKING, "sleep") for call in outcome.timeline.call_log)
        return f"it looked {asked} times" if expected == ["woken"] and asked > MOST_CALLS else ""

    return lambda seed: holds


def _in_part(place: int, *kinds: str) -> Callable[[int, Broken], bool]:
    return lambda part, found: part == place and (not kinds or found.kind in kinds)


EVENT_LOOP = Exercise(
    12, EventLoop.__name__, "an event loop",
    tuple(
        Part(program, space, _claim(says), cases=40, told=True) for program, space, says in SAYS
    ),
    (
        Mistake(
            "readers",
            "A reader is called whenever its socket can be read, until it is removed: then no "
            "more, not even in that round, and its socket stays open.",
            _in_part(READERS),
        ),
        Mistake(
            "spins",
            "Your loop does not sleep: let select wait until the next timer is due, or something "
            "comes.",
            spins,
        ),
        Mistake(
            "never stops",
            "After stop() the loop was still there: it ends when its round is over, whatever "
            "waits.",
            lambda part, found: found.kind == "stuck" and part != THREADS,
        ),
        Mistake(
            "a timer at the wrong time",
            "Timers run in the order of their time, none before it, and none much later.",
            _in_part(TIMERS),
        ),
        Mistake(
            "another order",
            "call_soon keeps the order of handing in, and calls nothing by itself: what a "
            "callback adds comes in the next round, and what is due already soon.",
            _in_part(ORDER),
        ),
        Mistake(
            "an error ends the loop",
            "A callback that raises is one callback's trouble, be it a timer's, a reader's or a "
            "task's: keep the error in `errors`, and go on.",
            _in_part(ERRORS),
        ),
        Mistake(
            "starved readers",
            "Who calls call_soon again and again keeps your readers from their turn: run what "
            "was ready when the round began, then look at the sockets.",
            _in_part(FLOOD),
        ),
        Mistake(
            "cancelling",
            "cancel() throws an exception into the coroutine where it waits, so that its "
            "`finally` runs, and whatever would have woken it does so no more; the others go on. "
            "One that is over stays so, one that has not begun never runs.",
            lambda part, found: part in (TASKS, CANCELLED),
        ),
        Mistake(
            "polls",
            "Your loop looks again and again whether another thread has handed it something: let "
            "it sleep, and wake it, by a byte in a socketpair that it watches.",
            lambda part, found: "it looked" in found.words,
        ),
        Mistake(
            "the lost wake-up",
            "The loop slept in select while another thread had handed it something, or was over "
            "by then: wake it, by a byte in a socketpair or a pipe that it watches.",
            _in_part(THREADS),
        ),
    ),
    EventLoop,
)  # fmt: skip
