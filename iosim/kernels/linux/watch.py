"""Looks at threads from another process: what /proc says of each, about once a millisecond.

A thread of one's own would need the interpreter lock of the process that it looks at, and would see
the program mostly when that waits.  Run as a script, with the standard library only: a line of JSON
on its standard input names the threads, the end of its input stops it, and it prints what it saw.
Nothing is seen, and nothing goes wrong, where there is no /proc.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter_ns as clock
from typing import Any

__all__ = ["Seen", "watching"]

SAMPLE_S = 0.001
SAMPLES = 20_000
STOP_S = 20

#: A thread: its process's number and its own (threading.get_native_id()).
Thread = tuple[int, int]


class Seen:
    """What was seen: `rows` of `(clock, name, state, wchan, syscall)`, once the watch is over."""

    def __init__(self) -> None:
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


@contextmanager
def watching(threads: Mapping[str, Thread]) -> Iterator[Seen]:
    """`with watching({"caller": (pid, tid)}) as seen:` looks at these threads during the body.

    `seen` is filled in when the body is over.  RuntimeError if the watcher could not start.
    """
    seen = Seen()
    evidence = Path(__file__).parents[2] / "evidence.py"
    watcher = subprocess.Popen(
        [sys.executable, "-I", "-S", __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is not its business
    )  # fmt: skip
    assert watcher.stdin is not None
    assert watcher.stdout is not None
    try:
        plan = {"threads": threads, "evidence": str(evidence)}
        watcher.stdin.write(json.dumps(plan).encode() + b"\n")
        watcher.stdin.flush()
        if not watcher.stdout.readline():
            raise RuntimeError("the watching process could not start")
        yield seen
        out, _ = watcher.communicate(timeout=STOP_S)
        seen.rows += [tuple(row) for row in json.loads(out)]
    finally:
        watcher.kill()
        for stream in (watcher.stdin, watcher.stdout):
            stream.close()
        watcher.wait()


def main() -> None:
    """One watch."""
    plan: dict[str, Any] = json.loads(sys.stdin.buffer.readline())
    names: dict[str, Any] = {"__name__": "evidence"}
    with open(plan["evidence"], encoding="utf-8") as file:
        exec(compile(file.read(), plan["evidence"], "exec"), names)
    stopped = threading.Event()

    def watch_input() -> None:
        while os.read(0, 4096):
            pass
        stopped.set()

    threading.Thread(target=watch_input, daemon=True).start()
    print("ready", flush=True)
    rows: list[Any] = []
    while len(rows) < SAMPLES and not stopped.wait(SAMPLE_S):
        for name, (pid, tid) in plan["threads"].items():
            seen = names["sample"](pid, tid)
            if seen[0]:
                rows.append([clock(), name, *seen])
    stopped.wait()
    print(json.dumps(rows), flush=True)


if __name__ == "__main__":
    main()
