"""The two front doors: the kind of story says which kernel answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .calls import Program
from .kernels.launch import is_plain
from .sim.simulate import simulate_clients, simulate_jobs, simulate_traffic
from .trace import Timeline
from .workloads.clients import Clients
from .workloads.jobs import Jobs
from .workloads.traffic import Traffic

__all__ = ["measure", "simulate"]

Doors = dict[type, Callable[..., Timeline]]  # who answers over which kind of story


def simulate(
    program: Callable[..., Program], story: Traffic | Jobs | Clients | None = None, **options: Any
) -> Timeline:  # fmt: skip
    """Run `program` over `story` on the simulated kernel and return its `Timeline`.

    costs    what each step costs (ns); `Costs.textbook()` unless given
    cores    how many cores the processes share: 1 over Traffic, 2 over Jobs, unless given
    limit_s  seconds of processor time after which a run is stopped: 10

    Over Traffic (programs of `fd` or `fds`, and `nbytes`):

    rcvbuf   size of each receive buffer in bytes: 212,992 unless given

    Over Jobs (programs of `jobs`):

    pool     "Pool" (of multiprocessing), "ProcessPoolExecutor" or "ThreadPoolExecutor"
    workers  how many workers it has: 2
    gil      has each process an interpreter lock?  True
    switch_interval  ns after which who waits for the lock asks for it: 5,000,000
    start_method     accepted; it has no effect

    Over Clients (programs of `listener` and `clients`):

    backlog  of the listening socket: 4,096 connections (SOMAXCONN)
    sndbuf   size of each connection's send buffer in bytes: 87,040
    rcvbuf   and of its receive buffer: 131,072
    nofile   how many descriptors the program may have open besides the listener: 1,048,576

    Whatever else is named is an argument of the program.  A program of one `fd` gets a process for
    each connection of the story.

    A program that yields nothing is plain Python: a function, a bound method or a coroutine
    function.  Over Traffic it is given a socket for each connection, over Clients the listening
    socket, without a story nothing; `socket`, `selectors`, `threading`, `asyncio`, ... mean the
    simulated ones in it (`iosim.plain`).  If it does not end when its story is over, it is ended as
    by Ctrl-C: at once if it waits for what will never come, and else after 0.15 s.
    Raises what the program raises; TypeError or ValueError for bad input; TimeoutError if a process
    would wait for ever, or the program never yields.
    """
    if is_plain(program) and not isinstance(story, Jobs):
        from .plain.simulate import simulate_plain  # not everybody has plain code

        return simulate_plain(program, story, **options)
    doors: Doors = {Traffic: simulate_traffic, Jobs: simulate_jobs, Clients: simulate_clients}
    return _door(doors, story, program)(program, story, **options)


def measure(
    program: Callable[..., Program], story: Traffic | Jobs | Clients | None = None, **options: Any
) -> Timeline:  # fmt: skip
    """Run `program` over `story` on this machine's kernel and return its `Timeline`.

    cores, costs  accepted, so that `measure` can stand for `simulate`; they have no effect
    limit_s       seconds after which a run that has not ended is stopped: 10

    Over Traffic the run takes place in this process and thread, and only the sender is another
    process: a program of one `fd` cannot serve several connections (ValueError).  The first message
    is held back until the program waits for it (`Traffic.in_step`: every message), unless it comes
    at 0.

    rcvbuf        SO_RCVBUF of each socket in bytes; socket(7): Linux doubles it

    Over Jobs the caller is this thread:

    pool, workers as for `simulate`
    gil           accepted; it has no effect
    start_method  "fork", "spawn" or "forkserver"; None: multiprocessing's default
    switch_interval  sys.setswitchinterval() for the run, in ns; None: as it is

    Over Clients the program and its threads run in this process, and the clients in another one.
    The first connect is held back until the server waits (`Clients.in_step`: every act), unless it
    comes at 0:

    backlog, nofile  as for `simulate`
    sndbuf, rcvbuf   SO_SNDBUF and SO_RCVBUF in bytes; None: the system tunes them itself

    Plain Python is given real sockets, and its calls are taken down (`iosim.recorder.record`): a
    message is what one call received.  It arrived when it was sent, if it had room for certain;
    else all that is known is by when it was there, and the picture leaves open what is not.  Each
    task of asyncio has a lane, as in a simulated run.

    What other work did to the run is in `disturbances` (see `undisturbed`).

    Whatever else is named is an argument of the program.  Where a feature that the program needs is
    missing, the recorded run is returned, with a warning; without one `Unsupported` is raised.
    Raises what the program raises, an OSError that it does not catch with a note of the place;
    TimeoutError at the limit; RuntimeError for a call that was never yielded, and for signals
    outside of the main thread; `HelperError` if the sender, the clients or the watcher fail;
    OSError with a note of what could not begin, and of the limit.
    """
    if is_plain(program) and not isinstance(story, Jobs):
        from .plain.measure import measure_plain

        return measure_plain(program, story, **options)
    from .real.measure import measure_clients, measure_traffic  # not everybody measures
    from .real.pools import measure_jobs

    doors: Doors = {Traffic: measure_traffic, Jobs: measure_jobs, Clients: measure_clients}
    return _door(doors, story, program)(program, story, **options)


def _door(doors: Doors, story: object, program: object) -> Callable[..., Timeline]:
    if story is None:
        raise TypeError(
            f"{program!r} is neither plain code (a function, a method, a coroutine function or an "
            "object, that yields nothing) nor a program with a story"
        )
    return doors.get(type(story), doors[Traffic])  # which refuses what is no story
