"""How fast is the simulated kernel?  Ratios within one run, of CPU time.

    python benchmarks/engine.py [--messages 1000]

1. `simulate` of a one-message model and its SVG, median of 1,000.
2. Events a second on 1,000 connections, one process each, timelines off, beside two SimPy versions:
   the same model (tests/oracles/simpy_model.py: stores, a resource for the cores, every cost)
   and a bare one
   (a store for each connection and one time-out a message: no cores, no run queue).
3. Memory of an idle process, beside SimPy's.
4. What `import iosim` adds to `python -c pass`.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import statistics
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import simpy

from iosim import Costs, draw, models, simulate, traffic
from iosim.sim.kernel import Kernel
from iosim.sim.simulate import over_traffic

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from oracles import simpy_model

CONNECTIONS, CORES, SIZE = 1_000, 2, 100
COSTS = Costs(
    syscall=300, user=2_000, network=40_000, copy_base=1_300, copy_per_byte=0.1, wakeup=15_000,
    context_switch=3_000, time_slice=10_000_000_000,
)  # fmt: skip


def main() -> None:
    """Print the four tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--messages", type=int, default=100, help="for each connection")
    count = parser.parse_args().messages
    one_picture()
    throughput(count)
    memory()
    start_up()


def one_picture() -> None:
    """`simulate` + `draw.svg`, for each of the five models."""
    story = traffic.one(after_ms=20, size=1_000)
    print("simulate + SVG, one message, median of 1,000 (ms of real time):")
    for program in models.FIVE:
        times = []
        for _ in range(1_000):
            start = perf_counter()
            draw.svg(simulate(program, story))
            times.append(perf_counter() - start)
        print(f"  {program.__name__:14} {statistics.median(times) * 1e3:.3f}")


def throughput(count: int) -> None:
    """The same story through three engines."""
    story = traffic.poisson(CONNECTIONS * count, 50_000, SIZE, seed=1, connections=CONNECTIONS)
    kernel, same, bare = _kernel(story), simpy_model.blocking(story, COSTS, CORES), _bare(story)
    ours = _cpu(kernel.run)
    steps_same, theirs = _count(same.start())
    steps_bare, simple = _count(bare)
    print(f"\n{CONNECTIONS:,} connections x {count:,} messages, CPU seconds:")
    for name, events, seconds in (
        ("iosim", kernel.events, ours),
        ("SimPy, the same model", steps_same, theirs),
        ("SimPy, bare Store", steps_bare, simple),
    ):
        rate, messages = events / seconds / 1e6, len(story.messages) / seconds / 1e3
        print(f"  {name:22} {seconds:7.2f} s {rate:6.2f} M events/s {messages:7.0f} k messages/s")
    print(f"  time, SimPy's same model : iosim = {theirs / ours:.2f}")
    ratio = (kernel.events / ours) / (steps_bare / simple)
    print(f"  events/s, iosim : SimPy's bare Store = {ratio:.2f}")


def _kernel(story: traffic.Traffic) -> Kernel:
    kernel = over_traffic(story, COSTS, CORES, record=False)
    assert kernel.traffic is not None
    for number, socket in enumerate(kernel.traffic.connections):
        kernel.spawn("p", models.blocking(socket.fd, story.nbytes(number)))
    return kernel


def _bare(story: traffic.Traffic) -> simpy.Environment:
    """As little as SimPy needs for a server on each connection: a store and a time-out."""
    env = simpy.Environment()
    stores = [simpy.Store(env) for _ in range(CONNECTIONS)]

    def network() -> Any:
        for message in story.messages:
            yield env.timeout(message.at_ns - env.now)
            yield stores[message.connection].put(message.size)

    def server(store: simpy.Store) -> Any:
        while True:
            yield store.get()
            yield env.timeout(COSTS.copy(SIZE))

    env.process(network())
    for store in stores:
        env.process(server(store))
    return env


def _count(env: simpy.Environment) -> tuple[int, float]:
    """(events, CPU seconds) of a SimPy run."""
    steps = 0
    gc.collect()
    start = process_time()
    try:
        while True:
            env.step()
            steps += 1
    except simpy.core.EmptySchedule:
        return steps, process_time() - start


def _cpu(work: Callable[[], object]) -> float:
    gc.collect()
    start = process_time()
    work()
    return process_time() - start


def memory() -> None:
    """Bytes for each process that waits for its first message."""
    print(f"\nidle processes: iosim {_idle_iosim():.0f} B each, SimPy {_idle_simpy():.0f} B each")


def _idle_iosim() -> float:
    """Sockets and processes of a kernel that has run dry: all sleep, and it says so."""
    story = traffic.replay([(0, 1, CONNECTIONS - 1)])
    gc.collect()
    tracemalloc.start()
    kernel = over_traffic(story, COSTS, CORES, record=False)
    assert kernel.traffic is not None
    for socket in kernel.traffic.connections:
        kernel.spawn("p", models.blocking(socket.fd, 2))
    with contextlib.suppress(TimeoutError):
        kernel.run()
    used = tracemalloc.get_traced_memory()[0] / CONNECTIONS
    tracemalloc.stop()
    return used


def _idle_simpy() -> float:
    env = simpy.Environment()

    def server(store: simpy.Store) -> Any:
        while True:
            yield store.get()
            yield env.timeout(COSTS.copy(SIZE))

    tracemalloc.start()
    stores = [simpy.Store(env) for _ in range(CONNECTIONS)]
    for store in stores:
        env.process(server(store))
    env.run()
    used = tracemalloc.get_traced_memory()[0] / CONNECTIONS
    tracemalloc.stop()
    return used


def start_up() -> None:
    """Minimum of ten, in turn: what is not noise."""
    plain, ours = (min(_start(code) for _ in range(10)) for code in ("pass", "import iosim"))
    print(f"import iosim: {(ours - plain) * 1e3:.1f} ms more than python -c pass")


def _start(code: str) -> float:
    start = perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return perf_counter() - start


if __name__ == "__main__":
    main()
