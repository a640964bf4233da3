"""What does the recorder add to a call?  Differences within one run, medians of alternating blocks.

    python benchmarks/record.py [--blocks 300]

1. Calls that do not sleep: plain, recorded, added, in us of real time.  The bound is 1.5 us.
2. Calls that sleep for 1 ms: the same in us of CPU time, as the real time is that of the sleep.
3. What a recorded call takes in memory, and how long the timeline of it takes afterwards.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import select
import selectors
import socket
import statistics
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from time import perf_counter_ns as clock
from typing import Any

from iosim import record

BOUND_US = 1.5
CALLS = 50  # in a block
DATA, ROOM = b"x" * 100, bytearray(200)
NAP_S = 0.001

Work = Callable[[int], None]
Wrap = Callable[[Any], Any]


@dataclass(frozen=True)
class Case:
    """`work(n)` makes n calls; `before(n)` and `after(n)` are not timed."""

    work: Work
    before: Work = lambda n: None
    after: Work = lambda n: None


def main() -> None:
    """Print the three tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--blocks", type=int, default=300, help=f"of {CALLS} calls, of each kind")
    blocks = parser.parse_args().blocks
    print(f"real time of a call that does not sleep, us; the bound is {BOUND_US}")
    table(AT_ONCE, blocks, CALLS, time.perf_counter_ns)
    print(f"\nCPU time of a call that sleeps for {NAP_S * 1e3:g} ms, us")
    table(ASLEEP, max(1, blocks // 10), 10, time.thread_time_ns)
    afterwards()


def table(
    kinds: dict[str, Callable[[Wrap, ExitStack], Case]], blocks: int, calls: int,
    now: Callable[[], int],
) -> None:  # fmt: skip
    """One row for each kind of call."""
    print(f"  {'':24} {'plain':>8} {'recorded':>9} {'added':>7}")
    for name, make in kinds.items():
        plain, recorded = compare(make, blocks, calls, now)
        print(f"  {name:24} {plain:8.2f} {recorded:9.2f} {recorded - plain:7.2f}")


def compare(
    make: Callable[[Wrap, ExitStack], Case], blocks: int, calls: int, now: Callable[[], int]
) -> tuple[float, float]:
    """Medians over blocks that take turns: us for a plain call, and for a recorded one."""
    with ExitStack() as stack, record() as tape:
        cases = [make(lambda thing: thing, stack), make(tape.wrap, stack)]
        times: list[list[float]] = [[], []]
        for _ in range(blocks):
            for case, row in zip(cases, times, strict=True):
                row.append(block(case, calls, now) / calls / 1e3)
        return statistics.median(times[0]), statistics.median(times[1])


def block(case: Case, calls: int, now: Callable[[], int]) -> int:
    """ns for `calls` calls."""
    case.before(calls)
    case.work(1)  # the stretch between two blocks is long, and costs a look
    start = now()
    case.work(calls - 1)
    took = now() - start
    case.after(calls)
    return took


# -- calls that do not sleep ----------------------------------------------------------------------


def pair(stack: ExitStack) -> tuple[socket.socket, socket.socket]:
    """Two ends that keep the borders of messages, with room for a block of them."""
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    for end in ends:
        stack.enter_context(end)
        end.setblocking(False)
    return ends


def receiving(call: Callable[[socket.socket], Any]) -> Callable[[Wrap, ExitStack], Case]:
    """Receive what lies in the queue."""

    def make(wrap: Wrap, stack: ExitStack) -> Case:
        one, other = pair(stack)
        one = wrap(one)

        def before(n: int) -> None:
            for _ in range(n):
                other.send(DATA)

        def work(n: int) -> None:
            for _ in range(n):
                call(one)

        return Case(work, before)

    return make


def sending(call: Callable[[socket.socket], Any]) -> Callable[[Wrap, ExitStack], Case]:
    """Send to a queue that has room."""

    def make(wrap: Wrap, stack: ExitStack) -> Case:
        one, other = pair(stack)
        one = wrap(one)

        def work(n: int) -> None:
            for _ in range(n):
                call(one)

        def after(n: int) -> None:
            for _ in range(n):
                other.recv(200)

        return Case(work, after=after)

    return make


def repeated(prepare: Callable[[Wrap, ExitStack], Callable[[], Any]]) -> Any:
    """The same call again and again."""

    def make(wrap: Wrap, stack: ExitStack) -> Case:
        call = prepare(wrap, stack)

        def work(n: int) -> None:
            for _ in range(n):
                call()

        return Case(work)

    return make


def eagain(wrap: Wrap, stack: ExitStack) -> Callable[[], Any]:
    one = wrap(pair(stack)[0])

    def call() -> None:
        try:
            one.recv(100)
        except BlockingIOError:
            pass

    return call


def readable(stack: ExitStack) -> socket.socket:
    """A socket with something in its queue."""
    one, other = pair(stack)
    other.send(DATA)
    return one


def selecting(wrap: Wrap, stack: ExitStack) -> Callable[[], Any]:
    waits, one = wrap(select.select), readable(stack)
    return lambda: waits([one], [], [])


def polling(wrap: Wrap, stack: ExitStack) -> Callable[[], Any]:
    poll = wrap(select.poll())
    poll.register(readable(stack), select.POLLIN)
    return poll.poll


def epolling(wrap: Wrap, stack: ExitStack) -> Callable[[], Any]:
    epoll = wrap(stack.enter_context(select.epoll()))
    epoll.register(readable(stack), select.EPOLLIN)
    return epoll.poll


def controlling(wrap: Wrap, stack: ExitStack) -> Callable[[], Any]:
    epoll, one = wrap(stack.enter_context(select.epoll())), readable(stack)
    epoll.register(one, select.EPOLLIN)
    return lambda: epoll.modify(one, select.EPOLLIN)


def of_a_selector(wrap: Wrap, stack: ExitStack) -> Callable[[], Any]:
    selector = wrap(stack.enter_context(selectors.DefaultSelector()))
    selector.register(readable(stack), selectors.EVENT_READ)
    return selector.select


def setting(wrap: Wrap, stack: ExitStack) -> Callable[[], Any]:
    one = wrap(pair(stack)[0])
    return lambda: one.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)


def accepting(wrap: Wrap, stack: ExitStack) -> Case:
    listener = wrap(stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=2 * CALLS)))
    address, waiting, made = listener.getsockname(), [], []

    def before(n: int) -> None:
        waiting.extend(socket.create_connection(address) for _ in range(n))

    def work(n: int) -> None:
        for _ in range(n):
            made.append(listener.accept()[0])

    def after(n: int) -> None:
        for one in (*waiting, *made):
            one.close()
        waiting.clear()
        made.clear()

    return Case(work, before, after)


def of_a_loop(wrap: Wrap, stack: ExitStack) -> Case:
    """Four system calls for each message: recvfrom, epoll_ctl, epoll_wait, recvfrom."""
    loop = wrap(asyncio.new_event_loop())
    stack.callback(loop.close)
    one, other = pair(stack)

    async def echo(n: int) -> None:
        for _ in range(n):
            loop.call_soon(other.send, DATA)
            await loop.sock_recv(one, 200)

    return Case(lambda n: loop.run_until_complete(echo(n)))


AT_ONCE: dict[str, Callable[[Wrap, ExitStack], Case]] = {
    "recv": receiving(lambda one: one.recv(200)),
    "recv, EAGAIN": repeated(eagain),
    "recv_into": receiving(lambda one: one.recv_into(ROOM)),
    "recvfrom": receiving(lambda one: one.recvfrom(200)),
    "recvmsg": receiving(lambda one: one.recvmsg(200)),
    "send": sending(lambda one: one.send(DATA)),
    "sendall": sending(lambda one: one.sendall(DATA)),
    "sendmsg": sending(lambda one: one.sendmsg([DATA])),
    "setsockopt": repeated(setting),
    "accept": accepting,
    "select, ready": repeated(selecting),
    "poll, ready": repeated(polling),
    "epoll_wait, ready": repeated(epolling),
    "epoll_ctl": repeated(controlling),
    "selector.select, ready": repeated(of_a_selector),
    "sock_recv (4 calls)": of_a_loop,
}


# -- calls that sleep -----------------------------------------------------------------------------


def asleep_in_poll(wrap: Wrap, stack: ExitStack) -> Callable[[], Any]:
    poll = wrap(select.poll())
    poll.register(pair(stack)[0], select.POLLIN)
    return lambda: poll.poll(NAP_S * 1e3)


def asleep_in_recv(wrap: Wrap, stack: ExitStack) -> Callable[[], Any]:
    one = wrap(pair(stack)[0])
    one.settimeout(NAP_S)

    def call() -> None:
        try:
            one.recv(100)
        except TimeoutError:
            pass

    return call


def asleep_before_send(wrap: Wrap, stack: ExitStack) -> Callable[[], Any]:
    one = wrap(pair(stack)[0])

    def call() -> None:
        time.sleep(NAP_S)
        one.getsockname()

    return call


ASLEEP: dict[str, Callable[[Wrap, ExitStack], Case]] = {
    "poll": repeated(asleep_in_poll),
    "recv, with a time-out": repeated(asleep_in_recv),
    "any, after a sleep": repeated(asleep_before_send),
}


# -- afterwards -----------------------------------------------------------------------------------


@contextmanager
def memory() -> Iterator[list[int]]:
    """Bytes that are still in use at the end, in a list."""
    gc.collect()
    tracemalloc.start()
    used: list[int] = []
    yield used
    used.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()


def afterwards(calls: int = 20_000) -> None:
    """Bytes of a stamp, and us of the timeline, for each call."""
    with ExitStack() as stack, record() as tape:
        case = receiving(lambda one: one.recv(200))(tape.wrap, stack)
        with memory() as used:
            for _ in range(calls // CALLS):
                case.before(CALLS)
                case.work(CALLS)
    start = clock()
    made = tape.timeline
    took = clock() - start
    print(
        f"\na recorded call: {used[0] / calls:.0f} bytes, "
        f"{took / len(made.call_log) / 1e3:.0f} us in the timeline"
    )


if __name__ == "__main__":
    main()
