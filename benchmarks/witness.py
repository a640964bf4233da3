"""What does it cost to be watched by strace?  Ratios within one run.

    python benchmarks/witness.py [--calls 1000]

The same program makes a call again and again, unwatched (`measure`) and under strace (`audit`), in
turns.  Per call, the median:

1. as the recorder times it, around the call, in either process;
2. as strace times it: from its note of the entry to its note of the return;
3. the whole loop by the number of calls, with everything that the recorder does between them.

Then what a whole run takes beyond its own length, for strace, an interpreter and the log.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from iosim import Timeline, measure, models, traffic
from iosim.calls import MSG_DONTWAIT, Program, Request, getpid, recvfrom

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from oracles.strace.witness import audit

ROUNDS = 3
STORY = traffic.one(after_ms=0)


def again_and_again(fd: int, nbytes: int, call: Callable[[int], Request], count: int) -> Program:
    """Make `call` on an empty socket `count` times."""
    yield recvfrom(fd, nbytes)
    for _ in range(count):
        try:
            yield call(fd)
        except BlockingIOError:
            pass


def look(fd: int) -> Request:
    """A receive that finds nothing: EAGAIN."""
    return recvfrom(fd, 1, MSG_DONTWAIT)


def ask(fd: int) -> Request:
    """The cheapest entry into the kernel."""
    return getpid()


def main() -> None:
    """Print the two tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--calls", type=int, default=1_000)
    count = parser.parse_args().calls
    print(f"us a call, the median of {count} calls, the least of {ROUNDS} rounds:")
    print(f"{'':24}{'unwatched':>10}{'watched':>10}{'ratio':>8}{'by strace':>11}")
    for name, call in (("getpid", ask), ("recvfrom, EAGAIN", look)):
        one_call(name, list(rounds(call, count)))
    whole_runs()


def rounds(
    call: Callable[[int], Request], count: int
) -> Iterator[tuple[Timeline, Timeline, Timeline]]:
    """Unwatched; watched, as the recorder has it and as strace has it."""
    for _ in range(ROUNDS):
        options: dict[str, Any] = {"call": call, "count": count}
        plain = measure(again_and_again, STORY, **options)
        watched = audit(again_and_again, STORY, **options)
        assert watched.differences(plain) == watched.differences() == []
        yield plain, watched.recorder, watched.timeline


def one_call(name: str, found: list[tuple[Timeline, Timeline, Timeline]]) -> None:
    """The rows of one call."""
    for kind, of in (("", per_call), (", whole loop", per_loop)):
        plain, watched, seen = (min(map(of, runs)) for runs in zip(*found, strict=True))
        by_strace = f"{seen:11.1f}" if of is per_call else ""
        print(f"{name + kind:24}{plain:10.1f}{watched:10.1f}{watched / plain:7.0f}x{by_strace}")


def per_call(run: Timeline) -> float:
    """us, the median."""
    return median(call.end - call.start for call in run.call_log[1:]) / 1_000


def per_loop(run: Timeline) -> float:
    """us from one call to the next."""
    calls = run.call_log
    return (calls[-1].end - calls[1].start) / len(calls[1:]) / 1_000


def whole_runs() -> None:
    """Real time of a run of 20 ms."""
    story = traffic.one(after_ms=20)
    print("\nms of real time for a run of 20 ms:")
    for run in (measure, audit):
        times = []
        for _ in range(ROUNDS):
            start = perf_counter()
            run(models.blocking, story)
            times.append(perf_counter() - start)
        print(f"  {run.__name__:8} {min(times) * 1_000:6.0f}")


if __name__ == "__main__":
    main()
