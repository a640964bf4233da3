"""Looks at threads from another process: what /proc says of each, about once a millisecond.

A thread of one's own would need the interpreter lock of the process that it looks at, and would see
the program mostly when that waits.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from .helper_process import HelperProcess
from .helpers.plans import SamplerPlan, Thread

__all__ = ["Seen", "watching"]


class Seen:
    """What was seen: `rows` of `(clock, name, state, wchan, syscall)`, once the watch is over."""

    def __init__(self, watcher: SamplerProcess | None = None) -> None:
        self.watcher = watcher
        self.rows: list[tuple[int, str, str, str, str]] = []

    def letters(self, name: str, start: int = 0, end: int = sys.maxsize) -> Counter[str]:
        """How often each letter of proc(5) was seen of thread `name`.

        R runs or is ready, S sleeps.  Only from `start` to `end`, on `perf_counter_ns`.
        """
        return Counter(row[2] for row in self.rows if row[1] == name and start <= row[0] <= end)

    def share(self, name: str, letter: str, start: int = 0, end: int = sys.maxsize) -> float:
        """The part of these samples, from 0 to 1, that showed `letter`; 0 if there is none."""
        letters = self.letters(name, start, end)
        return letters[letter] / max(1, letters.total())


class SamplerProcess(HelperProcess):
    """The process that looks: `helpers.sampler`, told at which threads."""

    runs, name = ("-m", f"{__package__}.helpers.sampler"), "the watching process"

    def prepare(self, threads: Mapping[str, Thread]) -> None:
        """Tell it at what to look; it has begun to, when this returns."""
        self._task = f"look at {len(threads)} thread{'s'[: len(threads) != 1]}"
        plan: SamplerPlan = {"threads": threads}
        self._tell(json.dumps(plan))
        self._answer()


@contextmanager
def watching(threads: Mapping[str, Thread]) -> Iterator[Seen]:
    """`with watching({"caller": (pid, tid)}) as seen:` looks at these threads during the body.

    `seen` is filled in when the body is over.  `HelperError` if the watcher could not start, or has
    ended before the body; OSError if there is no process for it.
    """
    watcher = SamplerProcess()
    try:
        watcher.prepare(threads)
        seen = Seen(watcher)
        yield seen
        seen.rows += [tuple(row) for row in watcher.finish()]
    finally:
        watcher.kill()
