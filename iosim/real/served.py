"""The door of the real servers: `measure` over a story of clients."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from errno import EADDRNOTAVAIL, EMFILE
from pathlib import Path
from typing import Any

from ..bounds import whole
from ..clients import Clients
from ..cores import usable_cores
from ..costs import Costs
from ..disturbances import interference
from ..kernels.launch import launch_server
from ..sockets import SOMAXCONN
from ..syscalls import Program
from ..timeline import Disturbance, Timeline, Visit
from .features import machine
from .pools import within_cores
from .rings import LinuxRingKernel
from .servers import Door

__all__ = ["measure_clients"]

FREE = 64  # descriptors beside the clients' own
OWN = 6  # and those of their process: three that it begins with, epoll, the board, a file of /proc
PORTS = Path("/proc/sys/net/ipv4/ip_local_port_range")  # ip(7)


def measure_clients(
    program: Callable[..., Program], story: Clients, *, backlog: int = SOMAXCONN,
    sndbuf: int | None = None, rcvbuf: int | None = None, nofile: int | None = None,
    cores: int | None = None, costs: Costs | None = None, limit_s: float = 10.0, **options: Any,
) -> Timeline:  # fmt: skip
    """Run the server `program` on this machine's kernel, with `story`'s clients in another process.

    backlog       of the listening socket: 4,096 connections (SOMAXCONN)
    sndbuf        SO_SNDBUF of each connection in bytes; socket(7): Linux doubles it
    rcvbuf        SO_RCVBUF, likewise
    nofile        how many descriptors the program may have open besides the listener
    cores, costs  accepted, so that `measure` can stand for `simulate`; they have no effect
    limit_s       seconds after which a run that has not ended is stopped
    options       further arguments of the program

    Raises what the program raises, an OSError that it does not catch with a note of the place;
    TimeoutError at the limit; `Unsupported` where the system lacks what the program asks for;
    OSError for more clients than this system has room for; `HelperError` if their process fails.
    """
    plan = launch_server(program, story, options)
    whole("backlog", backlog, 0, SOMAXCONN, "connections")
    for name, size in (("sndbuf", sndbuf), ("rcvbuf", rcvbuf)):
        if size is not None:
            whole(name, size, 1, 1 << 30, "bytes")
    if nofile is not None:
        whole("nofile", nofile, 0, 1 << 20, "descriptors")
    _need_room(len(story))
    with ExitStack() as stack:
        door = Door(story, backlog, sndbuf, rcvbuf, stack)
        kernel = LinuxRingKernel(plan, door, stack)
        _limit_descriptors(len(story), nofile, stack)
        try:
            with interference() as found:
                kernel.run_program(limit_s)
        finally:
            kernel.stop_threads()
        kernel.complain()
        kernel.run.end = kernel.now()
        kernel.disarm()
        kernel.leave()
        report = door.sender.finish()
    run = kernel.run
    run.sent = {number: (before, after) for number, before, after in report["sent"]}
    run.disturbances = found.disturbances
    if report["unseen"]:
        run.disturbances += (Disturbance("clients not in step", report["unseen"]),)
    timeline = run.timeline(plan.text, usable_cores(), machine())
    if run.threads:
        log = tuple(sorted(timeline.call_log, key=lambda call: (call.start, call.id)))
        timeline = replace(within_cores(timeline), call_log=log)
    return replace(timeline, visits=_visits(report["visits"], run.end))


def _need_room(clients: int) -> None:
    """OSError if the clients, all in one process, are more than there is room for."""
    for errno, room, what in (
        (EMFILE, _hard_limit() - OWN, "descriptors they may have (RLIMIT_NOFILE, hard limit)"),
        (EADDRNOTAVAIL, _ports(), "ports there are for them (net.ipv4.ip_local_port_range)"),
    ):
        if clients > room:
            raise OSError(errno, f"{clients:,} clients are more than the {room:,} {what}")


def _hard_limit() -> int:
    try:
        import resource
    except ImportError:  # Windows
        return sys.maxsize
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return sys.maxsize if hard == resource.RLIM_INFINITY else hard


def _ports() -> int:
    """How many ports there are for who does not ask for a certain one."""
    try:
        low, high = map(int, PORTS.read_text().split())
    except OSError:  # not Linux
        return sys.maxsize
    return high - low + 1


def _visits(rows: Sequence[Any], end: int) -> tuple[Visit, ...]:
    """As the clients tell it; nothing is told of what happened after the end of the run."""

    def before(at: int | None) -> int | None:
        return at if at is not None and at <= end else None

    return tuple(
        Visit(
            number, before(begun), before(connected), tuple(at for at in answered if at <= end),
            sent, received, before(over), trouble if before(over) is not None else "", garbled,
        )
        for number, (begun, connected, answered, sent, received, over, trouble, garbled)
        in enumerate(rows)
    )  # fmt: skip


def _limit_descriptors(clients: int, nofile: int | None, stack: ExitStack) -> None:
    """Room for all clients, or for no more than `nofile`: RLIMIT_NOFILE bounds the *number*."""
    try:
        import resource
    except ImportError:  # Windows
        return
    soft, hard = limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    if nofile is not None:
        wanted = _number_of_free(nofile)
    else:
        wanted = max(soft, _number_of_free(clients + FREE))
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if wanted != soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, limits)


def _number_of_free(count: int) -> int:
    """The number after the `count` lowest that are free: as a limit, it leaves so many."""
    number = 0
    while True:
        try:
            os.fstat(number)
        except OSError:
            if not count:
                return number
            count -= 1
        number += 1
