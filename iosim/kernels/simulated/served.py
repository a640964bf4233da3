"""The door of the simulated servers: `simulate` over a story of clients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ...clients import Clients
from ...costs import Costs
from ...sockets import SOMAXCONN
from ...syscalls import Program
from ...timeline import Timeline
from ..launch import launch_server
from ..watchdog import watchdog
from .rings import RingKernel
from .servers import DEFAULT_NOFILE

__all__ = ["simulate_clients"]


def simulate_clients(
    program: Callable[..., Program], story: Clients, *, costs: Costs | None = None, cores: int = 1,
    backlog: int = SOMAXCONN, sndbuf: int | None = None, rcvbuf: int | None = None,
    nofile: int = DEFAULT_NOFILE, limit_s: float = 10.0, **options: Any,
) -> Timeline:  # fmt: skip
    """Run the server `program` over the clients of `story` on the simulated kernel.

    costs    what each step costs (ns); `Costs.textbook()` unless given
    cores    how many cores the program's threads share; the clients need none of them
    backlog  of the listening socket: 4,096 connections (SOMAXCONN)
    sndbuf   size of each connection's send buffer in bytes: 87,040 unless given
    rcvbuf   and of its receive buffer: 131,072 unless given
    nofile   how many descriptors the program may have open besides the listener
    limit_s  seconds of processor time after which a run is stopped
    options  further arguments of the program

    Raises what the program raises; TypeError or ValueError for bad input; TimeoutError if the
    program would wait for ever, or never yields.
    """
    plan = launch_server(program, story, options)
    kernel = RingKernel(story, costs, cores, backlog, sndbuf, rcvbuf, nofile)
    kernel.spawn("process", plan.start(kernel.listener.fd))
    with watchdog(limit_s, f"{plan.text.title} on the simulated kernel", of_work=True):
        kernel.run()
    return timeline_of(kernel, plan.text)


def timeline_of(kernel: RingKernel, text: Any) -> Timeline:
    """What `kernel` took down, with what its clients met with."""
    assert kernel.tape is not None
    run = kernel.tape.timeline(text, "simulated", kernel.cores, kernel.fates, kernel.now)
    visits = tuple(visitor.visit(kernel.now) for visitor in kernel.visitors)
    return replace(run, visits=visits)
