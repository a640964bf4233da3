"""How true is the prediction of the echo servers?  Calls and CPU per message, and the order of all.

    python benchmarks/servers.py [--connections 1 10 100 1000] [--messages 100] [--out build]

One message is under way at a time, on all connections in turn (`clients.paced`), so that the calls
for each message do not depend on chance and must be those of the prediction exactly (a thread that
is kept off its core for longer than the pause between two messages may find two completions at
once).  CPU time per message, the median, has a bound of 40 % on a machine that does nothing else.
Both are counted from the first message to the last one, so that to make and to end the connections
is not in them.  Servers are put in the order of their CPU time per message, predicted and measured
in the same run; where the prediction tells two apart by less than the bound, it says nothing of
their order.

Writes servers.json and prints a table.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import combinations, pairwise
from pathlib import Path
from statistics import median

from iosim import Costs, Timeline, clients, features, measure, predict, servers

BOUND = 0.40
#: An iterative server has one client at a time, a sweep asks as often as time allows, and a signal
#: may stand for a message, an end or an acknowledgement: their calls are a matter of chance.
CHANCE = {"iterative", "nonblocking_sweep", "signal_driven"}
FEW_THREADS = 100
START_MS = 6  # for each connection, to be made and accepted before the first message


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


def per_message(run: Timeline) -> tuple[dict[str, float], float]:
    """Calls by name, and the median of ns of CPU time, of each message but the last.

    A call that waits belongs where it ends, any other where it begins: so what is done for one
    message stands before what is done for the next, however late a thread is.
    """
    calls = [call for call in run.call_log if call.trap]
    calls.sort(key=lambda call: call.end if call.waits else call.start)
    brought = [place for place, call in enumerate(calls) if call.nbytes]
    count = len(brought) - 1
    made = Counter(call.name for call in calls[brought[0] : brought[-1]])
    arrivals = sorted(d.arrived for d in run.deliveries if d.arrived is not None)
    cpu = median(run.between(a, b).cpu_ns() for a, b in pairwise(arrivals))
    return {name: number / count for name, number in sorted(made.items())}, cpu


def row_of(name: str, connections: int, messages: int, costs: Costs) -> Row:
    """Predict, then measure."""
    program, start = servers.SERVERS[name], max(40.0, connections * START_MS)
    story = clients.paced(connections, messages, every_ms=2, size=600, start_ms=start)
    predicted = per_message(predict(program, story, costs=costs, limit_s=60))
    measured = per_message(measure(program, story, limit_s=60))
    return Row(name, connections, predicted[0], measured[0], predicted[1], measured[1])


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
    rows: list[Row] = []
    for connections in options.connections:
        costs = Costs.calibrate(progress=False)  # anew: how busy the machine is changes
        rows += [row_of(name, connections, options.messages, costs) for name in names(connections)]
    for line in table(rows):
        print(line)
    options.out.mkdir(parents=True, exist_ok=True)
    report = {"machine": costs.machine, "costs": json.loads(costs.to_json()),
              "rows": [asdict(row) for row in rows]}  # fmt: skip
    (options.out / "servers.json").write_text(json.dumps(report, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
