"""How true is the prediction of the echo servers?  Calls and CPU per message, and the order of all.

    python benchmarks/servers.py [--connections 1 10 100 1000] [--messages 100] [--every-ms 5]
                                 [--servers reactor_poll ...] [--times 3] [--out build]

One message is under way at a time, on all connections in turn (`clients.paced`), so that the calls
for each message do not depend on chance and must be those of the prediction exactly.  (A thread
that is kept off its core from one message to the next may find two completions at once: give it a
machine that does nothing else.)  CPU time per message, the median, has a bound of 40 %.  Both are
counted from the first message to the last one, so that to make and to end the connections is not in
them.

Two servers need a story, or a measure, of their own:

iterative          has one client at a time: each sends when the one before has gone, and with more
                   connections than messages a message costs an accept and a close as well.
nonblocking_sweep  asks as often as time allows: how many rounds fall to a message is not a matter
                   of its text.  What is exact is the calls of a round, and one send a message; the
                   CPU time of a message follows from the rounds that are predicted.  With few
                   connections that is too high: in naps of 1 ms caches stay warmer than in those
                   of 3 and 7 ms, on which a server's costs are measured.

A host that others use is now faster and now slower, by half and more, within a minute.  So a fixed
little server (`pace`) runs when costs are calibrated, and before and after each row; the prediction
is for the pace of that row, which the table names.  All servers run `--times` times in turn, and
the time whose ratio is the middle one counts; the calls are exact if they were so each time.

At 1,000 connections some are left out (`MOST`).  Servers are put in the order of their CPU time per
message, predicted and measured in the same run; where the prediction tells two apart by less than
the bound, it says nothing of their order.

Writes servers.json and prints a table.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from itertools import combinations, pairwise
from pathlib import Path
from statistics import median

from iosim import Costs, Timeline, clients, features, measure, predict, servers
from iosim.calls import ms
from iosim.trace import Call
from iosim.workloads.clients import AFTER, RECEIVE, SEND, UNTIL, WAIT, Clients

BOUND = 0.40
SIZE = 600  # bytes of a message
#: Threads in such numbers stand in line for the interpreter's lock; select has FD_SETSIZE; to ask
#: all in each round takes half a million calls until the last of a thousand clients is accepted.
MOST = {
    "thread_per_connection": 100, "reactor_select": 900, "nonblocking_sweep": 100,
    "signal_driven": 100,
}  # fmt: skip
PACE = 40  # messages of the server that tells the pace
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
    pace: float = 1.0  # how many times the CPU time of the moment of calibration a thing takes

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


# -- stories -----------------------------------------------------------------------------------


def one_after_the_other(
    connections: int, messages: int, every_ms: float, size: int, start_ms: float
) -> Clients:
    """As `clients.paced`, but each client sends all of its messages, and leaves, before the next.

    All of them connect at the start, and wait for their turn in the listening socket's queue.
    """
    each = max(1, messages // connections)
    rows = []
    for place in range(connections):
        turns = range(place * each, min(messages, (place + 1) * each))
        steps = tuple(
            step
            for turn in turns
            for step in (
                (AFTER, turn), (WAIT, ms(every_ms)) if turn else (UNTIL, ms(start_ms)),
                (SEND, size), (RECEIVE, size),
            )
        )  # fmt: skip
        at = start_ms * place / (2 * connections)
        rows.append(clients.script(*(steps or ((AFTER, messages),)), at_ms=at))
    return clients.of(*rows)


# -- what is held against what -------------------------------------------------------------------


def made(run: Timeline) -> list[Call]:
    """The calls, in time: what is done for one message before what is done for the next.

    A call that waits belongs where it ends, any other where it begins, however late a thread is.
    """
    calls = [call for call in run.call_log if call.trap]
    return sorted(calls, key=lambda call: call.end if call.waits else call.start)


def per_message(run: Timeline) -> dict[str, float]:
    """Calls by name, of each message but the last."""
    calls = made(run)
    brought = [place for place, call in enumerate(calls) if call.nbytes]
    count = len(brought) - 1
    names = Counter(call.name for call in calls[brought[0] : brought[-1]])
    return {name: number / count for name, number in sorted(names.items())}


def per_round(run: Timeline) -> dict[str, float]:
    """Calls by name of each round, which a `sleep` ends; the sends of each message."""
    calls = made(run)
    brought = [place for place, call in enumerate(calls) if call.nbytes]
    rests = [
        place
        for place, call in enumerate(calls)
        if call.name == "sleep" and brought[0] < place < brought[-1]
    ]
    inside = calls[rests[0] : rests[-1]]
    names = Counter(call.name for call in inside)
    units = dict.fromkeys(names, len(rests) - 1)
    units["send"] = sum(call.nbytes > 0 for call in inside)
    return {name: number / units[name] for name, number in sorted(names.items())}


def cpu_of_each(run: Timeline) -> list[int]:
    """ns of CPU time from each message's arrival to that of the next one."""
    arrivals = sorted(d.arrived for d in run.deliveries if d.arrived is not None)
    return [run.between(a, b).cpu_ns() for a, b in pairwise(arrivals)]


def row_of(name: str, connections: int, messages: int, every_ms: float, costs: Costs) -> Row:
    """Predict, then measure."""
    program, start = servers.SERVERS[name], max(40.0, connections * START_MS)
    kind = one_after_the_other if name == "iterative" else clients.paced
    story = kind(connections, messages, every_ms=every_ms, size=SIZE, start_ms=start)
    runs = (
        predict(program, story, costs=costs, limit_s=60),
        measure(program, story, limit_s=60),
    )
    sweeps = name == "nonblocking_sweep"
    calls = [per_round(run) if sweeps else per_message(run) for run in runs]
    spent = (cpu_of_each(run) for run in runs)
    return Row(name, connections, *calls, *map(median, spent))


def pace() -> float:
    """ns of CPU time that a message costs a fixed server now."""
    story = clients.paced(1, PACE, every_ms=5, size=SIZE, start_ms=START_MS)
    return median(cpu_of_each(measure(servers.SERVERS["reactor_poll"], story, limit_s=60)))


def at_pace(row: Row, factor: float) -> Row:
    """As predicted where everything takes `factor` times as long."""
    return replace(row, cpu_predicted=row.cpu_predicted * factor, pace=factor)


def calibrated() -> tuple[Costs, float]:
    """This machine's costs now, and the pace at which they were measured."""
    before = pace()
    return Costs.calibrate(progress=False), (before + pace()) / 2


def rows_of(connections: int, costs: Costs, then: float, options: argparse.Namespace) -> list[Row]:
    """All servers at so many connections, predicted with `costs`, measured at the pace `then`."""
    found: dict[str, list[Row]] = {}
    last = pace()
    for name in names(connections, options.servers) * options.times:
        row = row_of(name, connections, options.messages, options.every_ms, costs)
        before, last = last, pace()
        found.setdefault(name, []).append(at_pace(row, (before + last) / 2 / then))
    return [middle(rows) for rows in found.values()]


def middle(rows: list[Row]) -> Row:
    """The one with the middle ratio; the calls of one in which they are not exact, if there is."""
    found = sorted(rows, key=lambda row: row.ratio)[len(rows) // 2]
    odd = next((row for row in rows if not row.exact), found)
    return replace(found, calls_predicted=odd.calls_predicted, calls_measured=odd.calls_measured)


def names(connections: int, wanted: list[str]) -> list[str]:
    """Which of the servers are asked at so many connections."""
    present = {name for name, there, _ in features() if there}
    return [
        name
        for name in wanted
        if (name != "proactor" or "io_uring" in present)
        and connections <= MOST.get(name, connections)
    ]


# -- the table ---------------------------------------------------------------------------------


def order(rows: list[Row]) -> tuple[list[str], int]:
    """Of the pairs that the prediction tells apart by more than the bound: which stand otherwise?

    And how many pairs are there.
    """
    told = [
        sorted(pair, key=lambda row: row.cpu_predicted)
        for pair in combinations(rows, 2)
        if max(r.cpu_predicted for r in pair) > (1 + BOUND) * min(r.cpu_predicted for r in pair)
    ]
    wrong = [
        f"{less.server} > {more.server}"
        for less, more in told
        if less.cpu_measured >= more.cpu_measured
    ]
    return wrong, len(told)


def table(rows: list[Row]) -> Iterator[str]:
    """A line for each row, and the order at each number of connections."""
    yield f"{'':28} {'calls':>6} {'':>5} {'CPU per message, µs':>22} {'ratio':>6}"
    yield f"{'server':22} {'conns':>5} {'exact':>6} {'pace':>5} {'predicted':>10} {'measured':>11}"
    for row in rows:
        calls = ", ".join(f"{name} {count:g}" for name, count in row.calls_measured.items())
        yield (
            f"{row.server:22} {row.connections:5} {'yes' if row.exact else 'NO':>6} "
            f"{row.pace:5.2f} {row.cpu_predicted / 1e3:10.1f} {row.cpu_measured / 1e3:11.1f} "
            f"{row.ratio:6.2f}{' ' if row.close else '*'} {calls}"
        )
    for count in dict.fromkeys(row.connections for row in rows):
        wrong, told = order([row for row in rows if row.connections == count])
        but = f"; measured otherwise: {', '.join(wrong)}" if wrong else ""
        yield f"order at {count:,}: {told - len(wrong)} of {told} pairs as predicted{but}"
    yield f"calls exact in {sum(row.exact for row in rows)} of {len(rows)} rows"
    yield f"CPU within {BOUND:.0%} in {sum(row.close for row in rows)} of {len(rows)} rows"


def main() -> None:
    """Run, write, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 10, 100, 1_000])
    parser.add_argument("--messages", type=int, default=100, help="in all (default 100)")
    parser.add_argument("--every-ms", type=float, default=5, help="ms between two (default 5)")
    parser.add_argument("--servers", nargs="+", default=list(servers.SERVERS), metavar="NAME")
    parser.add_argument("--times", type=int, default=3, help="that each runs (default 3)")
    parser.add_argument("--out", type=Path, default=Path("build"), help="folder of the results")
    options = parser.parse_args()
    rows: list[Row] = []
    prices: list[Costs] = []
    for connections in options.connections:
        costs, then = calibrated()  # anew: how busy the machine is changes
        prices.append(costs)
        rows += rows_of(connections, costs, then, options)
    for line in table(rows):
        print(line)
    options.out.mkdir(parents=True, exist_ok=True)
    report = {"machine": costs.machine, "costs": [json.loads(each.to_json()) for each in prices],
              "rows": [asdict(row) for row in rows]}  # fmt: skip
    (options.out / "servers.json").write_text(json.dumps(report, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
