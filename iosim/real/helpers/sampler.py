"""The process that looks at threads, about once a millisecond.

A line of JSON on its standard input names the
threads, which it answers with an empty list; the end of its input stops it, and it prints what it
saw.  Nothing is seen, and nothing goes wrong, where there is no /proc.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from time import perf_counter_ns as clock

from ...machine.procfs import sample

TYPE_CHECKING = False  # typing's, without importing it
if TYPE_CHECKING:
    from .plans import SamplerPlan

SAMPLE_S = 0.001
SAMPLES = 20_000


def main() -> None:
    """One watch."""
    plan: SamplerPlan = json.loads(sys.stdin.buffer.readline())
    stopped = threading.Event()

    def watch_input() -> None:
        while os.read(0, 4096):
            pass
        stopped.set()

    threading.Thread(target=watch_input, daemon=True).start()
    print("[]", flush=True)
    rows: list[list[int | str]] = []
    while len(rows) < SAMPLES and not stopped.wait(SAMPLE_S):
        for name, (pid, tid) in plan["threads"].items():
            seen = sample(pid, tid)
            if seen[0]:
                rows.append([clock(), name, *seen])
    stopped.wait()
    print(json.dumps(rows), flush=True)


if __name__ == "__main__":
    main()
