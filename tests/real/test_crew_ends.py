"""A pool is ended in the middle of its work, and that has an end, whatever its workers are at.

Each case runs in a Python of its own, which is given up when it takes too long.
"""

import subprocess
import sys

import pytest

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(sys.platform != "linux", reason="workers are forked"),
]
LIMIT_S = 40

#: Every 0.1 s a worker hands in, and slowly: half of a result, a while, the other half; all that
#: time it holds the lock of the queue.  The pool's own thread asks for that lock late.
SLOW = """
import multiprocessing.queues as queues, multiprocessing.connection as connection
import gc, multiprocessing, os, threading, time
from iosim.real import pool_adapters

POOL, HOLD_S, LIMIT_S, JOBS = {pool!r}, {hold_s}, {limit_s}, {jobs}
WORKERS = 12
half_way = multiprocessing.get_context("fork").Semaphore(0)
send, put = connection.Connection._send, queues.SimpleQueue.put

def sends(self, data, *rest):
    os.write(self.fileno(), data[:len(data) // 2])
    half_way.release()
    time.sleep(HOLD_S)
    send(self, data[len(data) // 2:], *rest)

def puts(self, value):
    if "_handle_tasks" in threading.current_thread().name:
        time.sleep(1)
    put(self, value)

def job(number):
    connection.Connection._send = sends
    time.sleep(0.1 * (number % WORKERS))

queues.SimpleQueue.put, pool_adapters.HAND_IN_S = puts, LIMIT_S
crew = pool_adapters.OpenPool(POOL, WORKERS, "fork")
for number in range(JOBS):
    crew.pool.submit(lambda *_: None, job, number)
for _ in range(3 if HOLD_S < 1 else 1):
    assert half_way.acquire(True, 30)
crew.close(at_once=True)
assert multiprocessing.active_children() == []
del crew
gc.collect()
assert threading.enumerate() == [threading.main_thread()]
print("closed")
"""


def closed(**how: object) -> str:
    """What it says; subprocess.TimeoutExpired if it waits for ever."""
    run = subprocess.run([sys.executable, "-W", "error", "-c", SLOW.format(**how)],
                         capture_output=True, text=True, timeout=LIMIT_S, check=False)  # fmt: skip
    assert run.returncode == 0, run.stderr
    return run.stdout + run.stderr


@pytest.mark.parametrize("pool", ["Pool", "ProcessPoolExecutor"])
def test_a_pool_can_be_ended_while_its_workers_hand_in(pool: str) -> None:
    """When one lets the lock go, the next has it; and there are more jobs than a queue holds."""
    assert closed(pool=pool, hold_s=0.12, limit_s=20, jobs=5_000) == "closed\n"


@pytest.mark.parametrize("pool", ["Pool", "ProcessPoolExecutor"])
def test_a_pool_can_be_ended_while_a_worker_hands_in_for_ever(pool: str) -> None:
    """As one that is stopped by a signal does."""
    assert closed(pool=pool, hold_s=600, limit_s=0.3, jobs=12) == "closed\n"
