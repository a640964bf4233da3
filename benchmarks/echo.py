"""The survivor against asyncio's streams and, where installed, uvloop: ratios within one run.

    python benchmarks/echo.py [--connections 1 10 100 1000] [--messages 20000] [--rounds 5]

Each server is a process of its own; the same client, in this process, holds the connections and
plays ping-pong on all of them at once: it sends a message of 100 bytes, waits for all of its echo,
and sends the next.  The servers take turns, round by round.  For each: messages a second, the 99th
percentile of a round trip, and the server's own CPU time a message; then the median over the rounds
of the ratio to asyncio's in the same round, with the least and the greatest.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import selectors
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter
from typing import NamedTuple

from iosim.echo.survivor import EchoServer
from iosim.machine.cores import usable_cores

SIZE = 100  # bytes in a message
REFERENCE = "asyncio"
LIFE_S = 600


class Found(NamedTuple):
    """What one round says of one server."""

    rate: float  # messages/s
    p99: float  # us, of a round trip
    cpu: float  # us a message, user and system, of the server alone


# -- the servers: each says its port ---------------------------------------------------------------


def survivor() -> None:
    server = EchoServer()
    print(server.listener.getsockname()[1], flush=True)
    server.run()


async def streams() -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0, backlog=4_096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def with_uvloop() -> None:
    import uvloop

    uvloop.run(streams())


SERVERS = {"survivor": survivor, "asyncio": lambda: asyncio.run(streams()), "uvloop": with_uvloop}


@contextmanager
def serving(name: str) -> Iterator[tuple[int, int]]:
    """Its port and its process."""
    command = [sys.executable, __file__, "--serve", name]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            yield int(process.stdout.readline()), process.pid
        finally:
            process.kill()


# -- the client ------------------------------------------------------------------------------------


def play(port: int, connections: int, messages: int) -> list[float]:
    """Round trips in s, of `messages` messages in all."""
    with ExitStack() as stack:
        selector = stack.enter_context(selectors.DefaultSelector())
        socks = [
            stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            for _ in range(connections)
        ]
        for sock in socks:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.sendall(bytes(SIZE))
            assert len(sock.recv(SIZE, socket.MSG_WAITALL)) == SIZE  # it is accepted by now
            selector.register(sock, selectors.EVENT_READ)
        since = {}
        for sock in socks:
            since[sock] = perf_counter()
            sock.sendall(bytes(SIZE))
        return list(ping_pong(selector, since, messages))


def ping_pong(
    selector: selectors.BaseSelector, since: dict[socket.socket, float], messages: int
) -> Iterator[float]:
    """To the last echo: who leaves with bytes unread sends a reset, and a reset is work, too."""
    unsent = messages - len(since)
    while selector.get_map():
        for key, _ in selector.select():
            sock: socket.socket = key.fileobj  # type: ignore[assignment]
            data = sock.recv(SIZE, socket.MSG_WAITALL)
            assert len(data) == SIZE
            now = perf_counter()
            yield now - since[sock]
            if unsent > 0:
                since[sock] = perf_counter()
                sock.send(data)
                unsent -= 1
            else:
                selector.unregister(sock)


def cpu_s(pid: int) -> float:
    """User and system time of a process (proc(5), schedstat: ns on a core)."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


def one_round(name: str, connections: int, messages: int) -> Found:
    with serving(name) as (port, pid):
        play(port, connections, max(connections, messages // 10))  # warm
        before, start = cpu_s(pid), perf_counter()
        trips = play(port, connections, messages)
        took, cpu = perf_counter() - start, cpu_s(pid) - before
    p99 = quantiles(trips, n=100)[98]
    return Found(len(trips) / took, p99 * 1e6, cpu / len(trips) * 1e6)


# -- the tables ------------------------------------------------------------------------------------


def compare(names: list[str], connections: int, messages: int, rounds: int) -> None:
    """One table: `connections` at once."""
    found = [
        {name: one_round(name, connections, messages) for name in names} for _ in range(rounds)
    ]
    print(f"\n{connections:,} connections, {messages:,} messages of {SIZE} bytes, {rounds} rounds")
    print(f"{'':10}{'messages/s':>11}{'p99':>12}{'CPU/message':>13}", end="")
    print(f"{'to ' + REFERENCE + ': messages/s':>34}{'p99':>18}{'CPU':>18}")
    for name in names:
        rate, p99, cpu = (median(column) for column in zip(*(r[name] for r in found), strict=True))
        ratios = [[a / b for a, b in zip(r[name], r[REFERENCE], strict=True)] for r in found]
        print(f"{name:10}{rate:11,.0f}{p99:9,.0f} us{cpu:10.1f} us{'':16}", end="")
        print("".join(spread(column) for column in zip(*ratios, strict=True)))


def spread(ratios: tuple[float, ...]) -> str:
    """ "1.30 (1.21–1.42)" """
    return f"{median(ratios):6.2f} ({min(ratios):.2f}–{max(ratios):.2f})".rjust(18)


def main() -> None:
    """Print the tables; or, with --serve, be a server."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 10, 100, 1_000])
    parser.add_argument("--messages", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--serve", choices=SERVERS, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.serve:
        signal.alarm(LIFE_S)
        SERVERS[asked.serve]()
        return
    names = [name for name in SERVERS if name != "uvloop" or importlib.util.find_spec("uvloop")]
    for missing in SERVERS.keys() - set(names):
        print(f"{missing} is not installed here: left out")
    print(f"Python {sys.version.split()[0]}, {usable_cores()} cores")
    for connections in asked.connections:
        compare(names, connections, asked.messages, asked.rounds)


if __name__ == "__main__":
    main()
