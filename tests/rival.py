"""Another process that computes on the core of this thread."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["rival"]

BUSY = """
import os, sys
os.sched_setaffinity(0, {int(sys.argv[1])})
print(flush=True)
while os.getppid() == int(sys.argv[2]): pass
"""


@contextmanager
def rival() -> Iterator[None]:
    """This thread has one core, and another process computes on the same one."""
    cores = os.sched_getaffinity(0)
    core = min(cores)
    other = subprocess.Popen(
        [sys.executable, "-c", BUSY, str(core), str(os.getpid())], stdout=subprocess.PIPE
    )
    os.sched_setaffinity(0, {core})
    try:
        assert other.stdout is not None
        other.stdout.readline()
        yield
    finally:
        os.sched_setaffinity(0, cores)
        other.kill()
        other.communicate()
