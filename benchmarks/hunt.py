"""What a run of plain code costs beside that of a generator, and how many cases a hunt tries.

    python benchmarks/hunt.py

CPU time of one thread; the two runs in turn, the smallest of several rounds.  Bounds: a plain
program of one message takes at most 3 times as long as the generator's, and a hunt for the first
exercise tries at least 1,000 cases a second.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from time import process_time
from typing import Any

from iosim import hunt, models, simulate, traffic
from iosim.exercises import EXERCISES

ROUNDS, RUNS = 15, 100
MOST_TIMES, LEAST_CASES = 3.0, 1_000

STORY = traffic.one(after_ms=20, size=100)


def plain(sock: Any) -> None:
    """What `models.blocking` does."""
    sock.recv(65_536)


def seconds(run: Callable[[], object]) -> float:
    """CPU time of one run."""
    begun = process_time()
    for _ in range(RUNS):
        run()
    return (process_time() - begun) / RUNS


def cases_per_second() -> float:
    """Of a right answer to the first exercise, which is tried to the end."""
    exercise = EXERCISES["recv_exactly"]
    part = exercise.parts[0]
    begun = process_time()
    held = hunt(part.program(exercise.solution), part.claim(0), part.space(0), cases=3_000,
                seconds=60)  # fmt: skip
    assert not held.broken
    return held.cases / (process_time() - begun)


def main() -> int:
    """0 if both bounds hold."""
    rounds = [
        (seconds(lambda: simulate(models.blocking, STORY)), seconds(lambda: simulate(plain, STORY)))
        for _ in range(ROUNDS)
    ]
    generator, ours = (min(times) for times in zip(*rounds, strict=True))
    cases = cases_per_second()
    print(f"generator {generator * 1e6:.0f} us, plain {ours * 1e6:.0f} us: {ours / generator:.2f}")
    print(f"hunt: {cases:,.0f} cases a second of CPU time")
    return int(ours > MOST_TIMES * generator or cases < LEAST_CASES)


if __name__ == "__main__":
    sys.exit(main())
