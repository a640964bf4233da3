"""How true is the prediction of the echo servers?  Calls and CPU per message, and the order of all.

    python benchmarks/servers.py [--connections 1 10 100 1000] [--messages 100] [--out build]

One message is under way at a time, on all connections in turn (`clients.paced`), so that the calls
for each message do not depend on chance and must be those of the prediction exactly.  CPU time per
message has a bound of 40 %.  Each server is run twice, with all messages and with none, at the same
connections: the difference is what the messages cost.  Servers are put in the order of their CPU
time per message, predicted and measured in the same run; where two differ by less than the bound
their order says nothing.

Writes servers.json and prints a table.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path

from iosim import Costs, Timeline, clients, features, measure, predict, servers
from iosim.clients import Clients

BOUND = 0.40
#: An iterative server has one client at a time, a sweep asks as often as time allows, and a signal
#: may stand for a message, an end or an acknowledgement: their calls are a matter of chance.
CHANCE = {"iterative", "nonblocking_sweep", "signal_driven"}
FEW_THREADS = 100


@dataclass(frozen=True, slots=True)
class Row:
    """One server at one number of connections; calls and ns of CPU time for each message."""

    server: str
    connections: int
    calls_predicted: dict[str, float]
    calls_measured: dict[str, float]
    cpu_predicted: float
    cpu_measured: float

    @property
    def exact(self) -> bool:
        """Are the calls those predicted?"""
        return self.calls_predicted == self.calls_measured

    @property
    def ratio(self) -> float:
        """CPU time, measured over predicted."""
        return self.cpu_measured / self.cpu_predicted

    @property
    def close(self) -> bool:
        """Is it within the bound?"""
        return abs(self.ratio - 1) <= BOUND


def calls_per_message(full: Timeline, empty: Timeline, messages: int) -> dict[str, float]:
    """Calls that the messages made, by name."""
    calls = Counter(c.name for c in full.call_log if c.trap)
    calls.subtract(c.name for c in empty.call_log if c.trap)
    return {name: count / messages for name, count in sorted(calls.items()) if count}


def story_of(connections: int, messages: int) -> tuple[Clients, Clients]:
    """The same connections with all messages and with none."""
    start = max(40.0, connections * 0.8)
    full = clients.paced(connections, messages, every_ms=2, size=600, start_ms=start)
    silent = tuple(
        clients.Client(one.at_ns, tuple(step for step in one.steps if step[0] == clients.UNTIL))
        for one in full.clients
    )
    return full, Clients(silent)


def row_of(name: str, connections: int, messages: int, costs: Costs) -> Row:
    """Predict both runs, then measure them."""
    program, stories = servers.SERVERS[name], story_of(connections, messages)
    predicted = [predict(program, story, costs=costs, limit_s=60) for story in stories]
    measured = [measure(program, story, limit_s=60) for story in stories]
    return Row(
        name, connections,
        calls_per_message(*predicted, messages), calls_per_message(*measured, messages),
        (predicted[0].cpu_ns() - predicted[1].cpu_ns()) / messages,
        (measured[0].cpu_ns() - measured[1].cpu_ns()) / messages,
    )  # fmt: skip


def names(connections: int) -> list[str]:
    """Which servers are asked at so many connections."""
    present = {name for name, there, _ in features() if there}
    return [
        name
        for name in servers.SERVERS
        if name not in CHANCE
        and (name != "proactor" or "io_uring" in present)
        and (name != "thread_per_connection" or connections <= FEW_THREADS)
        and (name != "reactor_select" or connections < 1_000)  # FD_SETSIZE
    ]


def order(rows: list[Row]) -> tuple[int, int]:
    """Of the pairs that the prediction tells apart by more than the bound, how many stand so?"""
    told = [
        sorted(pair, key=lambda row: row.cpu_predicted)
        for pair in combinations(rows, 2)
        if max(r.cpu_predicted for r in pair) > (1 + BOUND) * min(r.cpu_predicted for r in pair)
    ]
    return sum(less.cpu_measured < more.cpu_measured for less, more in told), len(told)


def table(rows: list[Row]) -> Iterator[str]:
    """A line for each row, and the order at each number of connections."""
    yield (
        f"{'server':22} {'conns':>5} {'calls':>6} {'CPU/message, µs':>22} {'ratio':>6}  calls made"
    )
    for row in rows:
        calls = ", ".join(f"{name} {count:.2f}" for name, count in row.calls_measured.items())
        yield (
            f"{row.server:22} {row.connections:5} {'exact' if row.exact else 'DIFFER':>6} "
            f"{row.cpu_predicted / 1e3:10.1f} {row.cpu_measured / 1e3:11.1f} {row.ratio:6.2f}"
            f"{' ' if row.close else '*'} {calls}"
        )
    for count in dict.fromkeys(row.connections for row in rows):
        right, told = order([row for row in rows if row.connections == count])
        yield f"order at {count:,} connections: {right} of {told} pairs as predicted"
    yield f"calls exact in {sum(row.exact for row in rows)} of {len(rows)} rows"
    yield f"CPU within {BOUND:.0%} in {sum(row.close for row in rows)} of {len(rows)} rows"


def main() -> None:
    """Run, write, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 10, 100, 1_000])
    parser.add_argument("--messages", type=int, default=100, help="in all (default 100)")
    parser.add_argument("--out", type=Path, default=Path("build"), help="folder of the results")
    options = parser.parse_args()
    costs = Costs.calibrate(progress=False)
    rows = [
        row_of(name, connections, options.messages, costs)
        for connections in options.connections
        for name in names(connections)
    ]
    for line in table(rows):
        print(line)
    options.out.mkdir(parents=True, exist_ok=True)
    report = {"machine": costs.machine, "costs": json.loads(costs.to_json()),
              "rows": [asdict(row) for row in rows]}  # fmt: skip
    (options.out / "servers.json").write_text(json.dumps(report, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
