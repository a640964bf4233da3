"""The doors of the real kernel: `measure`, for a story of traffic and for one of clients.

The program runs in this process; what comes to it comes from another one, over 127.0.0.1.
"""

from __future__ import annotations

import gc
import sys
import warnings
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from dataclasses import replace
from time import perf_counter_ns as clock

from ..calls import SOMAXCONN, Program
from ..costs import Costs
from ..kernels.launch import Plan, launch, launch_server
from ..kernels.watchdog import watchdog
from ..machine.cores import usable_cores
from ..machine.disturbances import interference
from ..trace import Timeline
from ..trace.builder import messages, record_of
from ..workloads.clients import Clients
from ..workloads.traffic import Traffic
from . import pipes, readiness, recordings  # noqa: F401  (two of them answer calls)
from .aio import Reads
from .clients import ClientsOutside, check_options, limit_descriptors, need_room
from .descriptors import Waker
from .driver import Driver, Escaped
from .features import Unsupported, machine
from .measured import Run
from .process import Process, SharedTraceBuilder
from .signals import Signals
from .threads import Threads
from .traffic import TrafficOutside
from .uring import Submissions

__all__ = ["Measurement", "measure_clients", "measure_on", "measure_traffic", "prepare"]

START_NS = 200_000  # between telling the helper when the run begins and its beginning


def measure_traffic(
    program: Callable[..., Program], story: Traffic, *, cores: int | None = None,
    costs: Costs | None = None, rcvbuf: int | None = None, limit_s: float = 10.0, **options: object,
) -> Timeline:  # fmt: skip
    """Run `program` over `story` on this machine's kernel and return its `Timeline`.

    cores, costs  accepted, so that `measure` can stand for `simulate`; they have no effect
    rcvbuf        SO_RCVBUF of each socket in bytes; socket(7): Linux doubles it
    limit_s       seconds after which a run that has not ended is stopped
    options       further arguments of the program

    The run takes place in this process and thread, and only the sender is another process: a
    program of one `fd` cannot serve several connections (ValueError).  Where a feature that the
    program needs is missing, the recorded run is returned, with a warning; without one
    `Unsupported` is raised.

    Raises what the program raises, an OSError that it does not catch with a note of the place;
    TimeoutError at the limit; RuntimeError for a call that was never yielded, and for signals
    outside of the main thread.
    """
    plan = prepare(program, story, options, rcvbuf)
    try:
        return measure_on(Measurement, plan, rcvbuf, limit_s)
    except Unsupported as error:
        recorded = recordings.load(plan)
        if recorded is None:
            raise
        words = f"{error}; shown is a recorded run: {recorded.machine}"
        asked = sys._getframe(2)  # who called measure; each time, not only the first
        warnings.warn_explicit(words, UserWarning, asked.f_code.co_filename, asked.f_lineno)
        return recorded


def prepare(
    program: Callable[..., Program],
    story: Traffic,
    options: Mapping[str, object],
    rcvbuf: int | None,
) -> Plan:
    """What `measure` looks at before it begins; raises its TypeErrors and ValueErrors."""
    plan = launch(program, story, options)
    check_options(rcvbuf=rcvbuf)
    if not plan.serves_all and story.connections > 1:
        raise ValueError(
            f"{plan.text.title} serves one fd and the story has {story.connections} connections: "
            "the real kernel runs one process, use a program with fds"
        )
    return plan


def measure_on(kind: type[Measurement], plan: Plan, rcvbuf: int | None, limit_s: float) -> Timeline:
    """As `measure_traffic`, by this kind of measurement and without recordings."""
    with ExitStack() as stack:
        outside = TrafficOutside(plan.story, rcvbuf, stack)
        sockets = [one.fileno() for one in outside.sockets()]
        datagrams = plan.story.transport == "udp"
        run = Run(messages(plan.story), datagrams, SharedTraceBuilder(), plan.text.title)
        process = Process(outside, run, len(sockets))
        process.messages.connection.update((fd, number) for number, fd in enumerate(sockets))
        program = plan.start(sockets if plan.serves_all else sockets[0], plan.nbytes(None))
        kind(process, program, limit_s, stack).go()
    return run.timeline(plan.text, usable_cores(), machine())


def measure_clients(
    program: Callable[..., Program], story: Clients, *, backlog: int = SOMAXCONN,
    sndbuf: int | None = None, rcvbuf: int | None = None, nofile: int | None = None,
    cores: int | None = None, costs: Costs | None = None, limit_s: float = 10.0, **options: object,
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
    check_options(backlog, sndbuf, rcvbuf, nofile)
    need_room(len(story))
    with ExitStack() as stack:
        outside = ClientsOutside(story, backlog, sndbuf, rcvbuf, stack)
        fates = [record_of(number, message) for number, message in plan.story.messages]
        run = Run(fates, False, SharedTraceBuilder(), plan.text.title)
        process = Process(outside, run, len(story))
        measurement = Measurement(
            process, plan.start(outside.sockets()[0].fileno()), limit_s, stack
        )
        limit_descriptors(len(story), nofile, stack)
        measurement.go()
    timeline = run.timeline(plan.text, usable_cores(), machine())
    return replace(timeline, visits=outside.visits)


class Measurement:
    """One run of a program, from its beginning to the last report of its helper."""

    signals: type[Signals] = Signals

    def __init__(
        self, process: Process, program: Program, limit_s: float, stack: ExitStack
    ) -> None:
        self.process, self._program, self._limit_s = process, program, limit_s
        process.reads, process.submissions = Reads(), Submissions()
        process.signals = self.signals()
        process.threads = Threads(process, limit_s, self.in_time)
        process.descriptors.waker = stack.enter_context(closing(Waker()))
        stack.callback(process.close)
        self.driver = Driver(
            process, process.run.lane, process.run.stretches, process.signals, self.check, stack
        )
        process.signals.driver = self.driver
        process.outside.begun(0)
        self.driver.gate = process.outside.gate(process, 0)

    def go(self) -> None:
        """Run the program, and take down what its helper says."""
        process = self.process
        run, outside = process.run, process.outside
        try:
            with interference() as found:
                self._run()
        finally:
            process.threads.stop()
        process.threads.complain(outside.helper.check)
        run.end = self.driver.now()
        process.signals.disarm()
        outside.settle(process)
        run.disturbances += found.disturbances
        outside.report(process, outside.helper.finish())

    def _run(self) -> None:
        """The program, from its start to its end."""
        process, collects = self.process, gc.isenabled()
        gc.disable()  # its pauses would look like the program's
        try:
            helper, title = process.outside.helper, process.run.title
            shut = process.descriptors.shut
            with watchdog(self._limit_s, title, shut, helper, where=self._where) as self._dog:
                self.guarded()
        finally:
            self._program.close()
            if collects:
                gc.enable()

    def _where(self) -> str:
        """What the program is at, and its other threads."""
        return "; ".join([self.driver.where(), *self.process.threads.where()])

    def in_time(self) -> None:
        """Raise `Expired` when time is up."""
        self._dog.check()

    def check(self) -> None:
        """Between two calls: may it go on?"""
        self.in_time()

    def guarded(self) -> None:
        """What goes wrong says where."""
        driver = self.driver
        try:
            self.begin()
            driver.drive(self._program)
        except Escaped as escaped:
            driver.explain(escaped.error)
            raise escaped.error from None
        except Exception as error:
            driver.explain(error)
            raise

    def begin(self) -> None:
        """The instant 0, on the clocks of all."""
        driver, process = self.driver, self.process
        driver.queued = driver.meter.off_core()[0]
        driver.zero = process.threads.zero = process.wall.zero = clock() + START_NS
        process.outside.begin(driver.zero)
        while clock() < driver.zero:
            pass
