"""The doors of the simulated kernel: `simulate`, for each kind of story."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ..calls import SOMAXCONN, Program, ms
from ..costs import Costs
from ..kernels.launch import launch, launch_jobs, launch_server
from ..kernels.pools import flavour, with_jobs
from ..kernels.watchdog import watchdog
from ..trace import Timeline
from ..trace.builder import MessageRecord, Text, messages
from ..validate import HOUR_NS, whole
from ..workloads.clients import Clients
from ..workloads.jobs import Jobs
from ..workloads.traffic import Traffic
from . import connections, pipes, readiness, signals, threads, uring  # noqa: F401  (they answer)
from .aio import Asynchronous
from .clients import ClientScripts
from .descriptions import DEFAULT_NOFILE
from .kernel import Kernel
from .pools import Pool
from .tcp import Listener, Network
from .traffic import DEFAULT_RCVBUF, Arrivals

__all__ = [
    "fates_of", "over_clients", "over_nothing", "over_traffic", "simulate_clients",
    "simulate_jobs", "simulate_traffic", "timeline_of",
]  # fmt: skip

SWITCH_INTERVAL = ms(5)  # sys.getswitchinterval() of CPython, in ns
# Linux tunes the buffers of a connection as it goes: tcp(7), tcp_rmem and tcp_wmem.
TUNED_SNDBUF, TUNED_RCVBUF = 87_040, 131_072


def _prices(costs: Costs | None) -> Costs:
    prices = Costs.textbook() if costs is None else costs
    if not isinstance(prices, Costs):
        raise TypeError(f"costs must be Costs, got {costs!r}")
    return prices


def _kernel(
    costs: Costs, cores: int, nofile: int = DEFAULT_NOFILE, record: bool = True,
    sndbuf: int | None = None, rcvbuf: int | None = None, kind: type[Kernel] = Kernel,
) -> tuple[Kernel, int]:  # fmt: skip
    """A kernel with all its mechanisms, on which nothing comes; and the receive buffers' size."""
    room = whole("sndbuf", TUNED_SNDBUF if sndbuf is None else sndbuf, 1, 1 << 30, "bytes")
    window = whole("rcvbuf", TUNED_RCVBUF if rcvbuf is None else rcvbuf, 1, 1 << 30, "bytes")
    kernel = kind(costs, cores, nofile, record)
    kernel.network = Network(kernel, room, window)
    kernel.asynchronous = Asynchronous(kernel)
    return kernel, window


def over_traffic(
    story: Traffic, costs: Costs | None = None, cores: int = 1, rcvbuf: int | None = None,
    record: bool = True, kind: type[Kernel] = Kernel,
) -> Kernel:  # fmt: skip
    """A kernel to whose sockets `story` comes; `spawn` its processes, and `run` it."""
    price = _prices(costs).of_traffic(story.transport)
    kernel, _ = _kernel(price, cores, record=record, kind=kind)
    room = whole("rcvbuf", DEFAULT_RCVBUF if rcvbuf is None else rcvbuf, 1, 1 << 30, "bytes")
    Arrivals(kernel, story, room)
    return kernel


def over_clients(
    story: Clients, costs: Costs | None = None, cores: int = 1, backlog: int = SOMAXCONN,
    sndbuf: int | None = None, rcvbuf: int | None = None, nofile: int = DEFAULT_NOFILE,
    record: bool = True, kind: type[Kernel] = Kernel,
) -> tuple[Kernel, Listener, ClientScripts]:  # fmt: skip
    """A kernel with a listener, to which the clients of `story` connect."""
    whole("backlog", backlog, 0, SOMAXCONN, "connections")
    whole("nofile", nofile, 0, DEFAULT_NOFILE, "descriptors")
    prices, most = _prices(costs).of_server(), nofile + 1  # the listener is one more
    kernel, window = _kernel(prices, cores, most, record, sndbuf, rcvbuf, kind)
    listener = kernel.network.listener(backlog)
    kernel.table.install(listener)
    return kernel, listener, ClientScripts(kernel, story, listener, window)


def over_nothing(
    costs: Costs | None = None, cores: int = 1, sndbuf: int | None = None,
    rcvbuf: int | None = None, nofile: int = DEFAULT_NOFILE, record: bool = True,
    kind: type[Kernel] = Kernel,
) -> Kernel:  # fmt: skip
    """A kernel to which nothing comes from outside."""
    whole("nofile", nofile, 0, DEFAULT_NOFILE, "descriptors")
    return _kernel(_prices(costs).of_server(), cores, nofile, record, sndbuf, rcvbuf, kind)[0]


def _run(kernel: Kernel, text: Text, limit_s: float) -> None:
    with watchdog(limit_s, f"{text.title} on the simulated kernel", of_work=True):
        kernel.run()


def timeline_of(kernel: Kernel, text: Text, fates: list[MessageRecord]) -> Timeline:
    """What it has taken down up to now."""
    assert kernel.tape is not None
    return kernel.tape.timeline(text, "simulated", kernel.cores, fates, kernel.now)


def simulate_traffic(
    program: Callable[..., Program], story: Traffic, *, costs: Costs | None = None, cores: int = 1,
    rcvbuf: int | None = None, limit_s: float = 10.0, **options: object,
) -> Timeline:  # fmt: skip
    """Run `program` over `story` on the simulated kernel and return its `Timeline`.

    costs    what each step costs (ns); `Costs.textbook()` unless given
    cores    how many cores the processes share
    rcvbuf   size of each receive buffer in bytes: 212,992 unless given
    limit_s  seconds of processor time after which a run is stopped
    options  further arguments of the program

    A program of one `fd` gets a process for each connection of the story.
    Raises what the program raises; TypeError or ValueError for bad input; TimeoutError if a process
    would wait for ever, or the program never yields.
    """
    plan = launch(program, story, options)
    kernel = over_traffic(story, costs, cores, rcvbuf)
    assert kernel.traffic is not None
    sockets = [socket.fd for socket in kernel.traffic.connections]
    if plan.serves_all:
        kernel.spawn("process", plan.start(sockets, plan.nbytes(None)))
    else:
        for number, fd in enumerate(sockets):
            name = "process" if len(sockets) == 1 else f"process {number + 1}"
            kernel.spawn(name, plan.start(fd, plan.nbytes(number)))
    _run(kernel, plan.text, limit_s)
    return timeline_of(kernel, plan.text, fates_of(kernel, story))


def fates_of(kernel: Kernel, story: Traffic) -> list[MessageRecord]:
    """Those of all its messages, by their numbers: not all come in that order, some do not."""
    assert kernel.traffic is not None
    come = kernel.traffic.fates
    known = {fate.number for fate in come}
    to_come = [fate for fate in messages(story) if fate.number not in known]
    return sorted(come + to_come, key=lambda fate: fate.number)


def simulate_clients(
    program: Callable[..., Program], story: Clients, *, costs: Costs | None = None, cores: int = 1,
    backlog: int = SOMAXCONN, sndbuf: int | None = None, rcvbuf: int | None = None,
    nofile: int = DEFAULT_NOFILE, limit_s: float = 10.0, **options: object,
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
    kernel, listener, scripts = over_clients(story, costs, cores, backlog, sndbuf, rcvbuf, nofile)
    kernel.spawn("process", plan.start(listener.fd))
    _run(kernel, plan.text, limit_s)
    run = timeline_of(kernel, plan.text, scripts.fates)
    return replace(run, visits=scripts.visits(kernel.now))


def simulate_jobs(
    program: Callable[..., Program], story: Jobs, *, costs: Costs | None = None, cores: int = 2,
    pool: str = "Pool", workers: int = 2, gil: bool = True, switch_interval: int = SWITCH_INTERVAL,
    start_method: str | None = None, limit_s: float = 10.0, **options: object,
) -> Timeline:  # fmt: skip
    """Run `program` over the jobs of `story` on the simulated kernel and return its `Timeline`.

    costs            what each step costs (ns); `Costs.textbook()` unless given
    cores            how many cores the caller and the workers share
    pool             "Pool" (of multiprocessing), "ProcessPoolExecutor" or "ThreadPoolExecutor"
    workers          how many workers it has; all are started before the run
    gil              has each process an interpreter lock?  False: a free-threaded Python (PEP 703)
    switch_interval  ns after which who waits for the lock asks for it: sys.setswitchinterval()
    start_method     accepted, so that `simulate` can stand for `measure`; it has no effect
    limit_s          seconds of processor time after which a run is stopped
    options          further arguments of the program

    Raises what the program raises; TypeError or ValueError for bad input; TimeoutError if the
    caller would wait for ever, or the program never yields.
    """
    plan = launch_jobs(program, story, options)
    whole("switch_interval", switch_interval, 1, HOUR_NS, "ns")
    kernel, _ = _kernel(_prices(costs), cores)
    jobs = Pool(kernel, story, workers, flavour(pool), bool(gil), switch_interval)
    jobs.open(plan.start())
    _run(kernel, plan.text, limit_s)
    return with_jobs(timeline_of(kernel, plan.text, []), jobs.promises)
